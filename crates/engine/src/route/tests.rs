//! Tests of routing decisions. What a whole host answers is also held against the kernel in `tests/kernel_routes.rs`.

use super::*;
use crate::fate::DropReason;
use crate::net::{IfName, Net};
use crate::packet::{LinkType, Packet};
use crate::setup::Setup;
use hairpin_wire::Mac;

/// A host from lines: `dev NAME ADDRESS...`, `sysctl NAME=VALUE`, `route ...`, `rule ...`, `neighbor ...`.
fn host(lines: &str) -> Net {
    let mut setup = Setup::default();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap();
        setup = match word {
            "dev" => {
                let mut words = rest.split_whitespace();
                setup.ethernet(words.next().unwrap(), &words.collect::<Vec<_>>()).unwrap()
            }
            "sysctl" => setup.sysctl(rest).unwrap(),
            "route" => setup.route(rest).unwrap(),
            "rule" => setup.rule(rest).unwrap(),
            "neighbor" => setup.neighbor(rest).unwrap(),
            _ => panic!("{line}"),
        };
    }
    setup.build().unwrap()
}

fn dev(net: &Net, name: &str) -> IfIndex {
    net.interface_by_name(IfName::new(name).unwrap()).unwrap().index
}

fn ip(text: &str) -> Addr {
    Addr::from_ip(text.parse().unwrap()).1
}

/// A UDP packet `src > dst` that arrived by `iif`.
fn packet(net: &Net, src: &str, dst: &str, iif: &str, ports: (u16, u16)) -> Packet {
    let (family, from) = Addr::from_ip(src.parse().unwrap());
    let mut bytes = match family {
        Family::V4 => vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0],
        Family::V6 => vec![0x60, 0, 0, 0, 0, 8, 17, 64],
    };
    let mut addresses = vec![0; family.addr_len() * 2];
    from.write(family, &mut addresses);
    ip(dst).write(family, &mut addresses[family.addr_len()..]);
    bytes.extend(addresses);
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    let mut packet = Packet::from_ip(&bytes).unwrap();
    packet.meta.iif = Some(dev(net, iif));
    packet
}

/// What becomes of a received packet, in short: `deliver`, `DEV`, `DEV via ADDRESS`, or the reason it is dropped for.
fn input(net: &Net, src: &str, dst: &str, iif: &str) -> String {
    let packet = packet(net, src, dst, iif, (1, 2));
    match net.route_input(&packet) {
        Ok(route) if route.delivers() => "deliver".to_owned(),
        Ok(route) => way(net, packet.family(), &route),
        Err(error) => match error.icmp {
            Some((kind, code)) => format!("{}, {kind}/{code}", error.reason.text()),
            None => error.reason.text().to_owned(),
        },
    }
}

fn way(net: &Net, family: Family, route: &Route) -> String {
    let name = net.interface(route.oif).unwrap().name;
    match route.gateway {
        Some(gateway) => format!("{name} via {}", gateway.display(family)),
        None => name.to_string(),
    }
}

fn output(net: &Net, key: &OutputKey) -> String {
    match net.route_output(key) {
        Ok(route) => {
            let src = route.prefsrc.map_or("-".to_owned(), |src| src.display(key.family).to_string());
            format!("{} from {src}", way(net, key.family, &route))
        }
        Err(error) => format!("{:?}", error.errno),
    }
}

fn to(dst: &str) -> OutputKey {
    let (family, dst) = Addr::from_ip(dst.parse().unwrap());
    OutputKey::to(family, dst)
}

const TWO_LINKS: &str = "
    dev eth0 10.0.1.1/24
    dev eth1 10.0.2.1/24
    sysctl net.ipv4.ip_forward=1
";

#[test]
fn martians_and_the_order_of_the_checks() {
    let net = host(TWO_LINKS);
    let cases = [
        ("224.0.0.5", "10.0.2.2", "martian source"),
        ("255.255.255.255", "10.0.2.2", "martian source"),
        ("0.0.0.0", "10.0.2.2", "martian source"),
        ("0.0.0.0", "0.0.0.0", "deliver"),
        ("0.0.0.0", "255.255.255.255", "deliver"),
        ("10.0.1.2", "255.255.255.255", "deliver"),
        ("10.0.1.2", "0.0.0.0", "martian destination"),
        ("10.0.1.2", "127.0.0.1", "martian destination"),
        ("127.0.0.1", "10.0.2.2", "martian source"),
        ("127.0.0.1", "127.0.0.1", "martian destination"),
        ("10.0.1.1", "10.0.2.2", "martian source"),
        ("10.0.2.1", "10.0.1.1", "martian source"),
        ("10.0.1.2", "10.0.1.255", "deliver"),
        ("10.0.1.2", "10.0.2.255", "deliver"),
        ("10.0.1.2", "10.0.2.0", "eth1"),
        ("10.0.1.2", "224.0.0.1", "deliver"),
        ("10.0.1.2", "224.0.0.2", "group not joined"),
        ("10.0.1.2", "10.0.2.1", "deliver"),
        ("10.0.1.2", "10.0.2.7", "eth1"),
        ("0.1.2.3", "10.0.2.7", "eth1"),
        ("240.0.0.1", "10.0.2.7", "eth1"),
        ("10.0.1.2", "240.0.0.1", "no route, 3/0"),
    ];
    for (src, dst, expected) in cases {
        assert_eq!(input(&net, src, dst, "eth0"), expected, "{src} > {dst}");
    }
}

#[test]
fn route_localnet_opens_loopback_addresses() {
    let net = host(&format!("{TWO_LINKS} \n sysctl net.ipv4.conf.eth0.route_localnet=1"));
    assert_eq!(input(&net, "10.0.1.2", "127.0.0.1", "eth0"), "deliver");
    assert_eq!(input(&net, "10.0.2.2", "127.0.0.1", "eth1"), "martian destination");
    // An address of this host is no source, wherever 127.0.0.0/8 is ordinary; the rest of it is.
    assert_eq!(input(&net, "127.0.0.1", "10.0.2.2", "eth0"), "martian source");
    assert_eq!(input(&net, "127.0.0.2", "10.0.2.2", "eth0"), "eth1");
}

#[test]
fn reverse_path_filter() {
    // Source, then what happens with rp_filter 0, 1 and 2: by eth0, to a host behind eth1.
    let cases = [
        ("10.0.1.2", ["eth1"; 3]),
        ("10.0.2.9", ["eth1", "reverse path filter", "eth1"]),
        ("10.0.3.9", ["eth1", "reverse path filter", "eth1"]),
        ("172.16.0.1", ["eth1", "reverse path filter", "reverse path filter"]),
        ("10.0.2.255", ["eth1", "martian source", "martian source"]),
        ("10.0.2.1", ["martian source"; 3]),
        ("10.66.0.1", ["eth1", "reverse path filter", "reverse path filter"]),
    ];
    for filter in 0..3 {
        let net = host(&format!(
            "{TWO_LINKS}
            route 10.0.3.0/24 via 10.0.2.254
            route blackhole 10.66.0.0/16
            sysctl net.ipv4.conf.all.rp_filter={filter}"
        ));
        for (src, expected) in cases {
            assert_eq!(input(&net, src, "10.0.2.7", "eth0"), expected[filter], "{src}, rp_filter {filter}");
        }
    }
}

#[test]
fn the_stricter_reverse_path_filter_counts_as_the_greater_number() {
    let net = host(&format!(
        "{TWO_LINKS}
        sysctl net.ipv4.conf.all.rp_filter=1
        sysctl net.ipv4.conf.eth0.rp_filter=2"
    ));
    assert_eq!(input(&net, "10.0.2.9", "10.0.1.1", "eth0"), "deliver");
    assert_eq!(input(&net, "10.0.1.9", "10.0.1.1", "eth1"), "reverse path filter");
}

#[test]
fn accept_local_lets_own_addresses_in() {
    let net = host(&format!("{TWO_LINKS}\n sysctl net.ipv4.conf.eth0.accept_local=1"));
    assert_eq!(input(&net, "10.0.2.1", "10.0.1.1", "eth0"), "deliver");
    assert_eq!(input(&net, "10.0.1.1", "10.0.2.1", "eth1"), "martian source");
}

#[test]
fn marks_count_on_the_way_back_when_told_so() {
    let lines = format!(
        "{TWO_LINKS}
        sysctl net.ipv4.conf.all.rp_filter=1
        route default via 10.0.1.254
        route default via 10.0.2.254 table 100
        rule fwmark 1 table 100"
    );
    let try_with = |lines: &str| {
        let net = host(lines);
        let mut packet = packet(&net, "8.8.8.8", "10.0.2.1", "eth1", (1, 2));
        packet.meta.mark = 1;
        net.route_input(&packet).map(|route| route.kind).map_err(|error| error.reason)
    };
    assert_eq!(try_with(&lines), Err(DropReason::ReversePath));
    let valid = format!("{lines}\n sysctl net.ipv4.conf.eth1.src_valid_mark=1");
    assert_eq!(try_with(&valid), Ok(RouteType::Local));
}

#[test]
fn what_refuses_and_what_is_answered() {
    let lines = "
        dev eth0 10.0.1.1/24
        route unreachable 10.1.0.0/16
        route prohibit 10.2.0.0/16
        route blackhole 10.3.0.0/16
        route throw 10.4.0.0/16
        rule to 10.5.0.0/16 unreachable
        rule to 10.6.0.0/16 prohibit
        rule to 10.7.0.0/16 blackhole
    ";
    let on = host(&format!("{lines}\n sysctl net.ipv4.ip_forward=1"));
    let off = host(lines);
    let cases = [
        ("10.1.0.1", "unreachable route, 3/1"),
        ("10.2.0.1", "prohibit route, 3/13"),
        ("10.3.0.1", "blackhole route"),
        ("10.4.0.1", "no route, 3/0"),
        ("10.5.0.1", "no route, 3/0"),
        ("10.6.0.1", "prohibit route, 3/13"),
        ("10.7.0.1", "blackhole route"),
        ("10.8.0.1", "no route, 3/0"),
    ];
    for (dst, expected) in cases {
        assert_eq!(input(&on, "10.0.1.2", dst, "eth0"), expected, "{dst}");
        // A host that does not forward says nothing.
        assert!(!input(&off, "10.0.1.2", dst, "eth0").contains('/'), "{dst}");
    }
    assert_eq!(input(&off, "10.0.1.2", "10.0.1.3", "eth0"), "forwarding is off");
    assert_eq!(input(&off, "10.0.1.2", "10.0.1.1", "eth0"), "deliver");
}

#[test]
fn ipv6_refuses_by_destination_unreachable() {
    let lines = "
        dev eth0 2001:db8:1::1/64
        route unreachable 2001:db8:a::/48
        route prohibit 2001:db8:b::/48
        route blackhole 2001:db8:c::/48
        rule to 2001:db8:d::/48 unreachable
        rule to 2001:db8:e::/48 prohibit
    ";
    let on = host(&format!("{lines}\n sysctl net.ipv6.conf.all.forwarding=1"));
    let cases = [
        // Linux answers an unreachable route as no route.
        ("2001:db8:a::1", "unreachable route, 1/0"),
        ("2001:db8:b::1", "prohibit route, 1/1"),
        ("2001:db8:c::1", "blackhole route"),
        ("2001:db8:d::1", "no route, 1/0"),
        ("2001:db8:e::1", "prohibit route, 1/1"),
        ("2001:db8:f::1", "no route, 1/0"),
        ("2001:db8:1::", "deliver"),
        ("2001:db8:1::9", "eth0"),
        ("ff02::1", "deliver"),
        ("ff02::2", "deliver"),
        ("ff02::1:ff00:1", "deliver"),
        ("ff02::1:ff00:0", "deliver"),
        ("ff02::1:ff00:2", "group not joined"),
    ];
    for (dst, expected) in cases {
        assert_eq!(input(&on, "2001:db8:1::2", dst, "eth0"), expected, "{dst}");
    }
    let off = host(lines);
    // No route is answered even by a host that does not forward.
    assert_eq!(input(&off, "2001:db8:1::2", "2001:db8:f::1", "eth0"), "no route, 1/0");
    assert_eq!(input(&off, "2001:db8:1::2", "2001:db8:1::9", "eth0"), "forwarding is off");
    assert_eq!(input(&off, "2001:db8:1::2", "2001:db8:1::", "eth0"), "forwarding is off");
    assert_eq!(input(&off, "2001:db8:1::2", "ff02::2", "eth0"), "group not joined");
}

#[test]
fn ipv6_sources_that_are_not_forwarded() {
    let net = host(
        "dev eth0 2001:db8:1::1/64
        dev eth1 2001:db8:2::1/64
        sysctl net.ipv6.conf.all.forwarding=1",
    );
    let check = |src: &str, dst: &str| {
        let packet = packet(&net, src, dst, "eth0", (1, 2));
        let route = net.route_input(&packet).unwrap();
        net.check_forward_source(&packet, &route).map_err(|error| error.icmp)
    };
    assert_eq!(check("2001:db8:1::9", "2001:db8:2::9"), Ok(()));
    assert_eq!(check("fe80::9", "2001:db8:2::9"), Err(Some((1, 2))));
    assert_eq!(check("::", "2001:db8:2::9"), Err(None));
    // Back where it came from is a matter of redirects.
    assert_eq!(check("fe80::9", "2001:db8:1::8"), Ok(()));
}

#[test]
fn link_level_broadcasts_are_not_forwarded() {
    let net = host(&format!("{TWO_LINKS}\n sysctl net.ipv4.conf.eth1.drop_unicast_in_l2_multicast=1"));
    let by = |link_type, dst: &str, iif: &str| {
        let src = if iif == "eth0" { "10.0.1.9" } else { "10.0.2.9" };
        let mut packet = packet(&net, src, dst, iif, (1, 2));
        packet.meta.link_type = link_type;
        net.route_input(&packet).map(|_| ()).map_err(|error| error.reason)
    };
    assert_eq!(by(LinkType::Host, "10.0.2.7", "eth0"), Ok(()));
    assert_eq!(by(LinkType::Broadcast, "10.0.2.7", "eth0"), Err(DropReason::LinkBroadcast));
    assert_eq!(by(LinkType::Multicast, "10.0.2.7", "eth0"), Err(DropReason::LinkBroadcast));
    assert_eq!(by(LinkType::Broadcast, "10.0.1.1", "eth0"), Ok(()));
    assert_eq!(by(LinkType::Broadcast, "10.0.2.1", "eth1"), Err(DropReason::LinkBroadcast));
    assert_eq!(by(LinkType::Broadcast, "10.0.2.255", "eth1"), Ok(()));
}

#[test]
fn directed_broadcasts_are_forwarded_where_told_so() {
    let net = host(&format!(
        "{TWO_LINKS}
        sysctl net.ipv4.conf.all.bc_forwarding=1
        sysctl net.ipv4.conf.eth0.bc_forwarding=1"
    ));
    assert_eq!(input(&net, "10.0.1.2", "10.0.2.255", "eth0"), "eth1");
    assert_eq!(input(&net, "10.0.2.2", "10.0.1.255", "eth1"), "deliver");
}

#[test]
fn a_redirect_is_due_when_the_sender_is_on_the_way_out() {
    let redirect = |lines: &str, src: &str, dst: &str| {
        let net = host(&format!("{TWO_LINKS}\n route default via 10.0.1.254\n {lines}"));
        net.route_input(&packet(&net, src, dst, "eth0", (1, 2))).unwrap().redirect
    };
    assert!(redirect("", "10.0.1.2", "10.0.1.3"));
    assert!(redirect("", "10.0.1.2", "8.8.8.8"));
    assert!(!redirect("", "10.0.1.2", "10.0.2.3"));
    // The source is behind a router itself.
    assert!(!redirect("route 10.9.0.0/16 via 10.0.1.253", "10.9.0.1", "10.0.1.3"));
    let off = "sysctl net.ipv4.conf.all.send_redirects=0\n";
    assert!(redirect(off, "10.0.1.2", "10.0.1.3"));
    assert!(!redirect(&format!("{off} sysctl net.ipv4.conf.eth0.send_redirects=0"), "10.0.1.2", "10.0.1.3"));
    // Without shared media both must be in one subnet.
    let apart = "sysctl net.ipv4.conf.all.shared_media=0\n sysctl net.ipv4.conf.eth0.shared_media=0\n";
    assert!(redirect(apart, "10.0.1.2", "8.8.8.8"));
    assert!(!redirect(&format!("{apart} route 10.3.0.0/16 dev eth0"), "10.3.0.1", "8.8.8.8"));
}

#[test]
fn rules_select_by_everything_they_can() {
    // A rule that sends to table 100, and who goes that way: by default, and with the one thing changed.
    let way = |rule: &str, key: OutputKey| {
        let net = host(&format!(
            "{TWO_LINKS}\n route default via 10.0.1.254\n route default via 10.0.2.254 table 100\n rule {rule} table 100"
        ));
        let key = OutputKey { oif: key.oif.map(|_| dev(&net, "eth1")), ..key };
        net.route_output(&key).map(|route| route.gateway == Some(ip("10.0.2.254"))).unwrap()
    };
    let plain = to("8.8.8.8");
    let own = OutputKey { src: Some(ip("10.0.1.1")), ..plain };
    for (rule, key) in [
        ("fwmark 5", OutputKey { mark: 5, ..plain }),
        ("fwmark 0x10/0xf0", OutputKey { mark: 0x1f, ..plain }),
        ("to 8.8.0.0/16", plain),
        ("from 10.0.1.0/24", own),
        ("tos 0x10", OutputKey { tos: 0x10, ..plain }),
        ("tos 0x10", OutputKey { tos: 0xf3, ..plain }),
        ("ipproto tcp", OutputKey { protocol: 6, ..plain }),
        ("dport 80-90", OutputKey { protocol: 6, ports: (1, 85), ..plain }),
        ("sport 7", OutputKey { protocol: 17, ports: (7, 1), ..plain }),
        ("uidrange 1000-2000", OutputKey { uid: 1500, ..plain }),
        ("iif lo", plain),
        ("oif eth1", OutputKey { oif: Some(LO), ..plain }),
        ("not to 9.0.0.0/8", plain),
    ] {
        assert!(way(rule, key), "{rule}");
        let (not, rest) = match rule.strip_prefix("not ") {
            Some(rest) => ("", rest),
            None => ("not ", rule),
        };
        assert!(!way(&format!("{not}{rest}"), key) || key.oif.is_some(), "{not}{rest}");
    }
    for (rule, key) in [
        ("fwmark 5", plain),
        ("to 8.8.0.0/16", to("8.9.0.1")),
        ("from 10.0.1.0/24", plain),
        ("tos 0x10", plain),
        ("ipproto tcp", OutputKey { protocol: 17, ..plain }),
        ("dport 80-90", OutputKey { protocol: 6, ports: (85, 1), ..plain }),
        ("uidrange 1000-2000", plain),
        ("iif eth0", plain),
        ("iif ppp0", plain),
    ] {
        assert!(!way(rule, key), "{rule}");
    }
}

#[test]
fn received_packets_have_no_user_and_their_own_device() {
    let net = host(&format!(
        "{TWO_LINKS}
        route default via 10.0.1.254
        route default via 10.0.2.254 table 100
        route default via 10.0.2.253 table 101
        rule uidrange 0-4294967294 table 100
        rule iif eth0 dport 53 ipproto udp table 101"
    ));
    let by = |iif: &str, ports| {
        let src = if iif == "eth0" { "10.0.1.9" } else { "10.0.2.9" };
        net.route_input(&packet(&net, src, "8.8.8.8", iif, ports)).unwrap().gateway
    };
    assert_eq!(by("eth0", (1, 53)), Some(ip("10.0.2.253")));
    assert_eq!(by("eth0", (53, 1)), Some(ip("10.0.1.254")));
    assert_eq!(by("eth1", (1, 53)), Some(ip("10.0.1.254")));
}

#[test]
fn rules_go_on_jump_and_suppress() {
    let net = host(&format!(
        "{TWO_LINKS}
        route default via 10.0.1.254
        route throw 10.50.0.0/16 table 100
        route default via 10.0.2.254 table 100
        rule priority 10 to 10.60.0.0/16 goto 30
        rule priority 20 table 100 suppress_prefixlength 0
        rule priority 25 to 10.70.0.0/16 table 100
        rule priority 30 to 10.80.0.0/16 nop
        rule priority 31 to 10.60.0.0/16 prohibit
        rule priority 40 to 10.90.0.0/16 goto 50000"
    ));
    let cases = [
        ("8.8.8.8", "eth0 via 10.0.1.254 from 10.0.1.1"),
        ("10.60.0.1", "Access"),
        ("10.70.0.1", "eth1 via 10.0.2.254 from 10.0.2.1"),
        ("10.80.0.1", "eth0 via 10.0.1.254 from 10.0.1.1"),
        ("10.90.0.1", "eth0 via 10.0.1.254 from 10.0.1.1"),
        ("10.50.0.1", "eth0 via 10.0.1.254 from 10.0.1.1"),
    ];
    for (dst, expected) in cases {
        assert_eq!(output(&net, &to(dst)), expected, "{dst}");
    }
}

#[test]
fn groups_of_devices_are_suppressed() {
    let setup =
        Setup::default().ethernet("eth0", &["10.0.1.1/24"]).unwrap().ethernet("eth1", &["10.0.2.1/24"]).unwrap();
    let mut setup = setup.route("10.5.0.0/16 dev eth1 table 100").unwrap().route("10.5.0.0/16 dev eth0").unwrap();
    setup = setup.rule("table 100 suppress_ifgroup 3").unwrap();
    let oif = |setup: &Setup| net_of(setup).route_output(&to("10.5.0.1")).unwrap().oif;
    assert_eq!(oif(&setup), IfIndex(3));
    setup.interfaces[1].group = 3;
    assert_eq!(oif(&setup), IfIndex(2));
}

fn net_of(setup: &Setup) -> Net {
    setup.build().unwrap()
}

#[test]
fn rules_without_a_priority_go_before_the_others() {
    let net = host(
        "dev eth0 10.0.1.1/24
        rule to 10.1.0.0/16 table 100
        rule to 10.2.0.0/16 table 100
        rule to 10.3.0.0/16 table 100 priority 100
        rule to 10.4.0.0/16 table 100",
    );
    let priorities: Vec<u32> = net.rules(Family::V4).map(|rule| rule.priority).collect();
    assert_eq!(priorities, [0, 99, 100, 32764, 32765, 32766, 32767]);
    assert_eq!(net.rules(Family::V6).count(), 2);
}

#[test]
fn until_a_rule_is_added_local_and_main_are_one_table() {
    let lines = "
        dev eth0 10.0.1.1/24
        route local 10.5.0.0/16 dev lo
        route 10.5.1.0/24 via 10.0.1.254
    ";
    assert_eq!(output(&host(lines), &to("10.5.1.1")), "eth0 via 10.0.1.254 from 10.0.1.1");
    let net = host(&format!("{lines}\n rule to 10.99.0.0/16 table 100"));
    assert_eq!(output(&net, &to("10.5.1.1")), "lo from 10.5.1.1");
}

#[test]
fn sources_of_local_packets() {
    let net = host(
        "dev eth0 10.0.1.1/24 10.0.1.2/24 10.0.3.1/25
        dev eth1
        route default via 10.0.1.254
        route 10.7.0.0/16 via 10.0.3.2
        route 10.8.0.0/16 via 10.0.1.254 src 10.0.1.2
        route 10.9.0.0/16 dev eth1",
    );
    let cases = [
        ("8.8.8.8", "eth0 via 10.0.1.254 from 10.0.1.1"),
        ("10.0.1.77", "eth0 from 10.0.1.1"),
        ("10.0.3.77", "eth0 from 10.0.3.1"),
        ("10.7.0.1", "eth0 via 10.0.3.2 from 10.0.3.1"),
        ("10.8.0.1", "eth0 via 10.0.1.254 from 10.0.1.2"),
        // A device without an address borrows one.
        ("10.9.0.1", "eth1 from 10.0.1.1"),
        // To a secondary address from the first of its subnet.
        ("10.0.1.2", "lo from 10.0.1.1"),
        ("127.0.0.9", "lo from 127.0.0.1"),
        ("0.0.0.0", "lo from 127.0.0.1"),
    ];
    for (dst, expected) in cases {
        assert_eq!(output(&net, &to(dst)), expected, "{dst}");
    }
    let from = |src: &str, dst: &str| OutputKey { src: Some(ip(src)), ..to(dst) };
    assert_eq!(output(&net, &from("10.0.3.1", "8.8.8.8")), "eth0 via 10.0.1.254 from 10.0.3.1");
    assert_eq!(output(&net, &from("192.0.2.1", "8.8.8.8")), "NetUnreachable");
    assert_eq!(output(&net, &from("127.0.0.1", "8.8.8.8")), "Invalid");
    assert_eq!(output(&net, &from("224.0.0.1", "8.8.8.8")), "Invalid");
    let foreign = OutputKey { any_source: true, ..from("192.0.2.1", "8.8.8.8") };
    assert_eq!(output(&net, &foreign), "eth0 via 10.0.1.254 from 192.0.2.1");
    let bound = |dev, dst| OutputKey { oif: Some(IfIndex(dev)), ..to(dst) };
    assert_eq!(output(&net, &bound(3, "8.8.8.8")), "eth1 from 10.0.1.1");
    assert_eq!(output(&net, &bound(9, "8.8.8.8")), "NoDevice");
    assert_eq!(output(&net, &bound(2, "255.255.255.255")), "eth0 from 10.0.1.1");
    assert_eq!(output(&net, &bound(2, "224.0.0.5")), "eth0 from 10.0.1.1");
}

#[test]
fn masquerade_takes_the_primary_address_that_suits_the_next_hop() {
    let net = host(
        "dev eth0 10.0.1.1/24 10.0.1.2/24 10.0.3.1/25 2001:db8:1::1/64 fd00:1::1/64
        dev eth1
        sysctl net.ipv4.ip_forward=1
        sysctl net.ipv6.conf.all.forwarding=1
        route default via 10.0.1.254 src 10.0.1.2
        route 10.7.0.0/16 via 10.0.3.2
        route 10.9.0.0/16 dev eth1
        route 2000::/3 via fd00:1::fe",
    );
    let masquerade = |src: &str, dst: &str, oif: &str| {
        let packet = packet(&net, src, dst, "eth1", (1, 2));
        let route = net.route_output(&OutputKey { oif: Some(dev(&net, oif)), ..to(dst) }).unwrap();
        net.masquerade_source(&packet, &route)
    };
    // The route's own source is not asked, secondary addresses are not taken.
    assert_eq!(masquerade("10.5.0.1", "8.8.8.8", "eth0"), Some(ip("10.0.1.1")));
    assert_eq!(masquerade("10.5.0.1", "10.7.0.1", "eth0"), Some(ip("10.0.3.1")));
    assert_eq!(masquerade("10.5.0.1", "10.0.3.9", "eth0"), Some(ip("10.0.3.1")));
    assert_eq!(masquerade("10.5.0.1", "10.9.0.1", "eth1"), Some(ip("10.0.1.1")));
    // IPv6 goes by the destination.
    assert_eq!(masquerade("2001:db8:9::1", "2600::1", "eth0"), Some(ip("2001:db8:1::1")));
    assert_eq!(masquerade("2001:db8:9::1", "fd00:1::9", "eth0"), Some(ip("fd00:1::1")));
    let alone = host("dev eth0");
    assert_eq!(alone.select_address(Family::V4, IfIndex(2), None, Scope::Global), None);
}

#[test]
fn redirect_takes_the_first_address_of_the_device() {
    let net = host("dev eth0 10.0.1.1/24 10.0.3.1/24 2001:db8::1/64 2001:db8::2/64 fe80::1/64\n dev eth1");
    let first = |family, dev: u32, dst: &str| net.first_address(family, IfIndex(dev), ip(dst));
    assert_eq!(first(Family::V4, 2, "8.8.8.8"), Some(ip("10.0.1.1")));
    assert_eq!(first(Family::V4, 3, "8.8.8.8"), None);
    assert_eq!(first(Family::V4, 9, "8.8.8.8"), None);
    // The link-local address is fit for link-local destinations only if they have that scope.
    assert_eq!(first(Family::V6, 2, "fe80::9"), Some(ip("fe80::1")));
    assert!(first(Family::V6, 2, "2600::1").is_some());
}

#[test]
fn ipv6_sources_follow_rfc_6724() {
    let net = host(
        "dev eth0 2001:db8:1::1/64 2001:db8:1::2/64 fd00:1::1/64 fe80::1/64
        dev eth1 2001:db8:2::1/64 2002:a00:1::1/48
        route default via 2001:db8:1::fe",
    );
    let from = |oif: u32, dst: &str| net.select_address(Family::V6, IfIndex(oif), Some(ip(dst)), Scope::Global);
    let cases = [
        // Rule 1: the same address.
        (2, "fd00:1::1", "fd00:1::1"),
        // Rule 2: the scope that suffices.
        (2, "fe80::9", "fe80::1"),
        (2, "ff02::1", "fe80::1"),
        (2, "ff0e::1", "2001:db8:1::2"),
        // Rule 5: the outgoing device before the longer prefix.
        (3, "2001:db8:1::9", "2001:db8:2::1"),
        // Rule 6: the same label.
        (2, "fd77::1", "fd00:1::1"),
        (3, "2002:b00::1", "2002:a00:1::1"),
        // Rule 8: the longest common prefix; of equals the one added last.
        (2, "2001:db8:1::3", "2001:db8:1::2"),
    ];
    for (oif, dst, expected) in cases {
        assert_eq!(from(oif, dst), Some(ip(expected)), "{dst} by {oif}");
    }
    assert_eq!(output(&net, &to("2600::1")), "eth0 via 2001:db8:1::fe from 2001:db8:1::2");
    assert_eq!(output(&net, &to("2001:db8:2::1")), "lo from 2001:db8:2::1");
    assert_eq!(output(&net, &to("::")), "lo from ::1");
}

#[test]
fn types_of_addresses() {
    let net = host(
        "dev eth0 10.0.1.1/24
        dev eth1 10.0.2.1/24
        route blackhole 10.66.0.0/16
        route local 10.5.0.0/16 dev eth1",
    );
    let of = |addr: &str, dev: Option<u32>| net.address_type(Family::V4, ip(addr), dev.map(IfIndex));
    let cases = [
        ("0.0.0.0", None, AddressType::Broadcast),
        ("255.255.255.255", None, AddressType::Broadcast),
        ("10.0.1.255", None, AddressType::Broadcast),
        ("10.0.1.0", None, AddressType::Unicast),
        ("10.0.1.1", None, AddressType::Local),
        ("10.0.1.1", Some(2), AddressType::Local),
        ("10.0.1.1", Some(3), AddressType::Unicast),
        ("10.0.1.255", Some(3), AddressType::Unicast),
        ("127.9.9.9", None, AddressType::Local),
        ("10.5.7.7", None, AddressType::Local),
        ("10.66.0.1", None, AddressType::Unicast),
        ("224.1.2.3", None, AddressType::Multicast),
        ("240.0.0.1", None, AddressType::Unicast),
        ("0.1.2.3", None, AddressType::Unicast),
    ];
    for (addr, dev, expected) in cases {
        assert_eq!(of(addr, dev), expected, "{addr} {dev:?}");
    }
    let net = host(
        "dev eth0 2001:db8:1::1/64
        dev eth1 2001:db8:2::1/64
        sysctl net.ipv6.conf.all.forwarding=1",
    );
    let of = |addr: &str, dev: Option<u32>| net.address_type(Family::V6, ip(addr), dev.map(IfIndex));
    // Looked up like any other: here no route leads to it.
    assert_eq!(of("::", None), AddressType::Unreachable);
    assert_eq!(of("ff02::1", None), AddressType::Multicast);
    assert_eq!(of("2001:db8:1::1", None), AddressType::Local);
    assert_eq!(of("2001:db8:1::1", Some(2)), AddressType::Local);
    assert_ne!(of("2001:db8:1::1", Some(3)), AddressType::Local);
    assert_eq!(of("2001:db8:1::", None), AddressType::Anycast);
    assert_eq!(of("2001:db8:1::9", None), AddressType::Unicast);
    assert_eq!(of("2600::1", None), AddressType::Unreachable);
}

#[test]
fn the_reverse_path_match() {
    let net = host(
        "dev eth0 10.0.1.1/24 2001:db8:1::1/64
        dev eth1 10.0.2.1/24 2001:db8:2::1/64
        route 10.9.0.0/16 nexthop via 10.0.1.9 nexthop via 10.0.2.9
        route default via 10.0.2.254 table 100
        rule fwmark 1 table 100",
    );
    let back = |src: &str, dst: &str, iif: &str| {
        let mut packet = packet(&net, src, dst, iif, (1, 2));
        packet.meta.mark = 1;
        net.reverse_path(&packet, false)
    };
    let here = back("10.0.1.9", "10.0.2.2", "eth0");
    assert_eq!((here.kind, here.by_input_device, here.exempt), (Some(RouteType::Unicast), true, false));
    assert!(!back("10.0.2.9", "10.0.2.2", "eth0").by_input_device);
    assert!(back("10.9.0.1", "10.0.2.2", "eth1").by_input_device);
    assert_eq!(back("10.0.2.1", "10.0.1.1", "eth0").kind, Some(RouteType::Local));
    assert_eq!(back("8.8.8.8", "10.0.1.1", "eth0"), ReversePath::default());
    assert!(back("0.0.0.0", "255.255.255.255", "eth0").exempt);
    assert!(!back("0.0.0.0", "10.0.1.1", "eth0").exempt);
    assert!(back("127.0.0.1", "127.0.0.1", "lo").exempt);
    assert!(back("::", "ff02::1", "eth0").exempt);
    assert!(back("2001:db8:1::9", "2001:db8:2::2", "eth0").by_input_device);
    assert!(!back("2001:db8:2::9", "2001:db8:2::2", "eth0").by_input_device);
    let mut marked = packet(&net, "8.8.8.8", "10.0.1.1", "eth1", (1, 2));
    marked.meta.mark = 1;
    assert!(net.reverse_path(&marked, true).by_input_device);
}

#[test]
fn rerouting_keeps_foreign_sources() {
    let lines = "
        dev eth0 10.0.1.1/24
        dev eth1 10.0.2.1/24
        route default via 10.0.1.254
        route default via 10.0.2.254 table 100
        route prohibit 10.66.0.0/16
        rule fwmark 1 table 100
        rule dport 25 ipproto udp table 100
    ";
    let net = host(lines);
    let reroute = |net: &Net, src: &str, dst: &str, mark, dport| {
        let mut packet = packet(net, src, dst, "lo", (1, dport));
        packet.meta.iif = None;
        packet.meta.mark = mark;
        match net.reroute(&packet) {
            Ok(route) => way(net, Family::V4, &route),
            Err(error) => format!("{:?}", error.errno),
        }
    };
    assert_eq!(reroute(&net, "10.0.1.1", "8.8.8.8", 0, 1), "eth0 via 10.0.1.254");
    assert_eq!(reroute(&net, "10.0.1.1", "8.8.8.8", 1, 1), "eth1 via 10.0.2.254");
    assert_eq!(reroute(&net, "10.0.1.1", "8.8.8.8", 0, 25), "eth1 via 10.0.2.254");
    assert_eq!(reroute(&net, "192.0.2.1", "8.8.8.8", 1, 1), "eth1 via 10.0.2.254");
    assert_eq!(reroute(&net, "10.0.1.1", "10.0.2.1", 0, 1), "lo");
    assert_eq!(reroute(&net, "10.0.1.1", "10.66.0.1", 0, 1), "Access");
    assert_eq!(reroute(&net, "127.0.0.1", "8.8.8.8", 0, 1), "Invalid");
    let open = host(&format!("{lines}\n sysctl net.ipv4.conf.eth0.route_localnet=1"));
    assert_eq!(reroute(&open, "127.0.0.1", "8.8.8.8", 0, 1), "eth0 via 10.0.1.254");
    assert_eq!(reroute(&open, "127.0.0.1", "8.8.8.8", 1, 1), "Invalid");
}

#[test]
fn link_addresses() {
    let net = host(
        "dev eth0 10.0.1.1/24 2001:db8::1/64
        neighbor 10.0.1.9 lladdr 02:00:00:00:00:09 dev eth0
        neighbor 2001:db8::9 lladdr 02:00:00:00:00:66 dev eth0
        route default via 10.0.1.9",
    );
    let at = |dst: &str| {
        let key = OutputKey { oif: Some(IfIndex(2)), ..to(dst) };
        net.link_address(key.family, &net.route_output(&key).unwrap(), key.dst)
    };
    let known = |mac: &str| LinkAddress::Known(mac.parse().unwrap());
    assert_eq!(at("10.0.1.9"), known("02:00:00:00:00:09"));
    assert_eq!(at("8.8.8.8"), known("02:00:00:00:00:09"));
    assert_eq!(at("10.0.1.8"), LinkAddress::Unknown);
    assert_eq!(at("10.0.1.255"), LinkAddress::Known(Mac::BROADCAST));
    assert_eq!(at("255.255.255.255"), LinkAddress::Known(Mac::BROADCAST));
    assert_eq!(at("224.129.2.3"), known("01:00:5e:01:02:03"));
    assert_eq!(at("2001:db8::9"), known("02:00:00:00:00:66"));
    assert_eq!(at("ff02::1:ff00:9"), known("33:33:ff:00:00:09"));
    let key = to("127.0.0.1");
    assert_eq!(net.link_address(key.family, &net.route_output(&key).unwrap(), key.dst), LinkAddress::NotNeeded);
    // The same number of another family or device is another neighbor.
    assert_eq!(net.neighbor(Family::V6, IfIndex(2), ip("10.0.1.9")), None);
    assert_eq!(net.neighbor(Family::V4, IfIndex(1), ip("10.0.1.9")), None);
}

#[test]
fn several_ways_are_shared_by_weight_and_kept_by_a_conversation() {
    let lines = "
        dev eth0 10.0.1.1/24
        dev eth1 10.0.2.1/24
        sysctl net.ipv4.ip_forward=1
        sysctl net.ipv4.conf.all.accept_local=1
        route 10.9.0.0/16 nexthop via 10.0.1.9 weight 3 nexthop via 10.0.2.9 weight 1
        route default via 10.0.1.254
    ";
    let net = host(lines);
    let gateway = |net: &Net, src: &str, dst: &str, ports| {
        net.route_input(&packet(net, src, dst, "eth0", ports)).unwrap().gateway
    };
    let mut by_first = 0;
    for n in 0..4000u32 {
        let (src, dst) = (format!("172.16.{}.{}", n / 250, n % 250 + 1), format!("10.9.{}.{}", n % 7, n % 199));
        let way = gateway(&net, &src, &dst, (n as u16, 80));
        // By addresses alone, whatever the ports.
        assert_eq!(way, gateway(&net, &src, &dst, (80, 5)));
        by_first += u32::from(way == Some(ip("10.0.1.9")));
    }
    assert!((2850..=3150).contains(&by_first), "{by_first} of 4000 by the way of weight 3 of 4");

    let by_ports = host(&format!("{lines}\n sysctl net.ipv4.fib_multipath_hash_policy=1"));
    let ways = (1..200).map(|port| gateway(&by_ports, "172.16.0.1", "10.9.0.1", (port, 80)));
    assert_eq!(ways.collect::<std::collections::BTreeSet<_>>().len(), 2);

    // A sender that has the address of one way uses that way.
    for n in 1..100 {
        let key = OutputKey { src: Some(ip("10.0.2.1")), ..to(&format!("10.9.0.{n}")) };
        assert_eq!(net.route_output(&key).unwrap().gateway, Some(ip("10.0.2.9")));
    }
}

#[test]
fn routes_bring_their_attributes() {
    let net = host(
        "dev eth0 10.0.1.1/24
        sysctl net.ipv4.ip_forward=1
        route default via 10.0.1.254 mtu 1300 advmss 1000 hoplimit 9 realm 3/5
        route 10.5.0.0/16 dev eth0 realm 7
        route 10.6.0.0/16 via 10.0.1.9",
    );
    let route = net.route_output(&to("8.8.8.8")).unwrap();
    assert_eq!((route.mtu, route.advmss, route.hop_limit, route.realm), (1300, 1000, 9, 3 << 16 | 5));
    assert_eq!(net.route_output(&to("10.0.1.9")).unwrap().mtu, 1500);
    assert_eq!(net.route_output(&to("127.0.0.1")).unwrap().mtu, 65_535);
    // The realm of the way back is the source realm.
    let forwarded = net.route_input(&packet(&net, "10.5.0.1", "10.6.0.1", "eth0", (1, 2))).unwrap();
    assert_eq!(forwarded.realm, 7 << 16);
    let through = net.route_input(&packet(&net, "10.5.0.1", "8.8.8.8", "eth0", (1, 2))).unwrap();
    assert_eq!(through.realm, 3 << 16 | 5);
}

#[test]
fn what_is_down_is_not_there() {
    let mut setup =
        Setup::default().ethernet("eth0", &["10.0.1.1/24"]).unwrap().ethernet("eth1", &["10.0.2.1/24"]).unwrap();
    setup = setup.route("default via 10.0.1.254 metric 1").unwrap().route("default via 10.0.2.254 metric 2").unwrap();
    setup = setup.route("10.9.0.0/16 nexthop via 10.0.1.9 nexthop via 10.0.2.9").unwrap();
    assert_eq!(output(&net_of(&setup), &to("8.8.8.8")), "eth0 via 10.0.1.254 from 10.0.1.1");
    setup.interfaces[0].up = false;
    let net = net_of(&setup);
    assert_eq!(output(&net, &to("8.8.8.8")), "eth1 via 10.0.2.254 from 10.0.2.1");
    assert_eq!(output(&net, &to("10.9.0.1")), "eth1 via 10.0.2.9 from 10.0.2.1");
    assert_eq!(output(&net, &to("10.0.1.7")), "eth1 via 10.0.2.254 from 10.0.2.1");
    // Its own address stays this host's.
    assert_eq!(output(&net, &to("10.0.1.1")), "lo from 10.0.1.1");
}
