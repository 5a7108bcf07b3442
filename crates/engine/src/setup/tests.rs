//! A host from its description: routes, addresses in order, gateways, and every refusal.

use super::*;
use crate::net::{IfIndex, LO, Net};
use crate::route::fib::FibRoute;

fn two_links() -> Setup {
    let setup = Setup::default().ethernet("eth0", &["10.0.1.1/24", "2001:db8:1::1/64"]).unwrap();
    setup.ethernet("eth1", &["10.0.2.1/24", "2001:db8:2::1/64"]).unwrap()
}

/// A table as `ip route` shows it, in short: `TYPE PREFIX/LENGTH DEVICE SOURCE`.
fn shown(net: &Net, family: Family, table: TableId) -> Vec<String> {
    let line = |r: &FibRoute| {
        let kind = format!("{:?}", r.kind).to_lowercase();
        let dev = r.hops.first().and_then(|hop| net.interface(hop.dev)).map_or("-".to_owned(), |d| d.name.to_string());
        let src = r.prefsrc.map_or("-".to_owned(), |src| src.display(family).to_string());
        format!("{kind} {}/{} {dev} {src}", r.prefix.display(family), r.prefix_len)
    };
    net.routes(family, table).iter().map(line).collect()
}

#[test]
fn addresses_bring_the_routes_that_linux_shows() {
    let eth0 = ["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64", "2001:db8::2/64"];
    let eth1 = ["10.0.1.1/31", "10.0.2.1/32", "10.0.3.1/30", "10.9.0.0/24", "2001:db8:1::1/128", "fd00::1/48"];
    let setup = Setup::default().ethernet("eth0", &eth0).unwrap().ethernet("eth1", &eth1).unwrap();
    let net = setup.build().unwrap();
    assert_eq!(
        shown(&net, Family::V4, TableId::LOCAL),
        [
            "local 10.0.0.1/32 eth0 10.0.0.1",
            "local 10.0.0.2/32 eth0 10.0.0.1",
            "broadcast 10.0.0.255/32 eth0 10.0.0.1",
            "local 10.0.1.1/32 eth1 10.0.1.1",
            "local 10.0.2.1/32 eth1 10.0.2.1",
            "local 10.0.3.1/32 eth1 10.0.3.1",
            "broadcast 10.0.3.3/32 eth1 10.0.3.1",
            "local 10.9.0.0/32 eth1 10.9.0.0",
            "broadcast 10.9.0.255/32 eth1 10.9.0.0",
            "local 127.0.0.0/8 lo 127.0.0.1",
            "local 127.0.0.1/32 lo 127.0.0.1",
            "broadcast 127.255.255.255/32 lo 127.0.0.1",
        ]
    );
    assert_eq!(
        shown(&net, Family::V4, TableId::MAIN),
        [
            "unicast 10.0.0.0/24 eth0 10.0.0.1",
            "unicast 10.0.1.0/31 eth1 10.0.1.1",
            "unicast 10.0.3.0/30 eth1 10.0.3.1",
            "unicast 10.9.0.0/24 eth1 10.9.0.0",
        ]
    );
    let router = setup.sysctl("net.ipv6.conf.all.forwarding=1").unwrap().build().unwrap();
    assert_eq!(
        shown(&router, Family::V6, TableId::LOCAL),
        [
            "local ::1/128 lo -",
            "anycast 2001:db8::/128 eth0 -",
            "local 2001:db8::1/128 eth0 -",
            "local 2001:db8::2/128 eth0 -",
            "local 2001:db8:1::1/128 eth1 -",
            "anycast fd00::/128 eth1 -",
            "local fd00::1/128 eth1 -",
            "multicast ff00::/8 eth0 -",
            "multicast ff00::/8 eth1 -",
        ]
    );
    assert_eq!(
        shown(&net, Family::V6, TableId::MAIN),
        ["unicast 2001:db8::/64 eth0 -", "unicast 2001:db8:1::1/128 eth1 -", "unicast fd00::/48 eth1 -"]
    );
    assert!(!shown(&net, Family::V6, TableId::LOCAL).iter().any(|line| line.starts_with("anycast")));
}

#[test]
fn addresses_are_kept_in_the_kernels_order() {
    let given =
        ["fe80::1/64", "10.0.0.1/24", "10.0.0.2/24", "10.0.1.1/24", "2001:db8::1/64", "10.0.0.3/24", "2001:db8::2/64"];
    let net = Setup::default().ethernet("eth0", &given).unwrap().build().unwrap();
    let eth0 = net.interface(IfIndex(2)).unwrap();
    let shown: Vec<String> = eth0
        .addresses
        .iter()
        .map(|a| format!("{}{}", a.addr.display(a.family), if a.secondary { " secondary" } else { "" }))
        .collect();
    assert_eq!(
        shown,
        ["10.0.0.1", "10.0.1.1", "10.0.0.2 secondary", "10.0.0.3 secondary", "2001:db8::2", "2001:db8::1", "fe80::1"]
    );
    // A link-scope address goes before those of global scope.
    let mut setup = Setup::default().ethernet("eth0", &["10.0.0.1/24", "169.254.1.1/16"]).unwrap();
    setup.interfaces[0].addresses[1].scope = Some(Scope::Link);
    assert_eq!(setup.build().unwrap().interface(IfIndex(2)).unwrap().addresses[0].prefix, 16);
}

#[test]
fn a_host_with_nothing_has_its_loopback() {
    let net = Net::default();
    assert_eq!(net.interfaces.len(), 1);
    assert_eq!(net.interface(LO).unwrap().mtu, 65_536);
    assert_eq!(net.owner(Family::V4, Addr::v4(0x7f00_0001)), Some(LO));
    let off = Setup::default().sysctl("net.ipv6.conf.all.disable_ipv6=1").unwrap().build().unwrap();
    assert_eq!(off.owner(Family::V6, Addr(1)), None);
    assert_eq!(off.routes(Family::V6, TableId::LOCAL), []);
}

#[test]
fn gateways_are_found_whatever_the_order() {
    let setup = two_links()
        .route("default via 172.16.0.1")
        .unwrap()
        .route("172.16.0.1 dev eth1")
        .unwrap()
        .route("2001:db8:9::/48 via 2001:db8:1::fe")
        .unwrap()
        .route("10.77.0.0/16 via 192.0.2.1 dev eth0 onlink")
        .unwrap();
    let net = setup.build().unwrap();
    let main = shown(&net, Family::V4, TableId::MAIN);
    assert!(main.contains(&"unicast 0.0.0.0/0 eth1 -".to_owned()), "{main:?}");
    assert!(main.contains(&"unicast 10.77.0.0/16 eth0 -".to_owned()), "{main:?}");
    assert!(shown(&net, Family::V6, TableId::MAIN).contains(&"unicast 2001:db8:9::/48 eth0 -".to_owned()));
}

#[test]
fn the_same_destination_needs_another_metric_tos_or_table() {
    let with = |text: &str| two_links().route("10.5.0.0/16 dev eth0").unwrap().route(text).unwrap().build();
    for text in ["10.5.0.0/16 dev eth1 metric 5", "10.5.0.0/16 dev eth1 tos 0x10", "10.5.0.0/16 dev eth1 table 7"] {
        assert!(with(text).is_ok(), "{text}");
    }
    for text in ["10.5.0.0/16 dev eth1", "unreachable 10.5.0.0/16", "10.0.1.0/24 dev eth1"] {
        let error = with(text).unwrap_err();
        assert_eq!(error.at, At::Route(1), "{text}");
        assert!(matches!(error.problem, Problem::RouteTwice(..)), "{text}");
        assert!(error.to_string().starts_with("route 2: File exists"), "{error}");
    }
}

#[test]
fn unnumbered_links_may_share_an_address() {
    let of = |a: &str, b: &str| Setup::default().ethernet("a", &[a]).unwrap().ethernet("b", &[b]).unwrap().build();
    assert!(of("10.0.0.1/32", "10.0.0.1/32").is_ok());
    assert!(of("10.0.0.1/24", "10.0.0.1/32").is_ok());
    assert!(of("fe80::1/64", "fe80::1/64").is_ok());
    let error = of("10.0.0.1/24", "10.0.0.1/24").unwrap_err();
    assert_eq!(error.at, At::Address { interface: 1, address: 0 });
    assert!(error.to_string().contains("first on a"), "{error}");
    let twice = Setup::default().ethernet("a", &["10.0.0.1/24", "10.0.0.1/24"]).unwrap().build();
    assert!(matches!(twice.unwrap_err().problem, Problem::AddressTwice(..)));
}

#[test]
fn every_refusal_says_where_and_what() {
    type Change = fn(&mut Setup);
    let cases: &[(Change, At, &str)] = &[
        (|s| s.interfaces[1].name = "a b".into(), At::Interface(1), "cannot be an interface name"),
        (|s| s.interfaces[1].name = "all".into(), At::Interface(1), "cannot be an interface name"),
        (|s| s.interfaces[1].name = "eth0".into(), At::Interface(1), "there twice"),
        (|s| s.interfaces[1].mac = Mac::ZERO, At::Interface(1), "cannot be an interface's address"),
        (|s| s.interfaces[0].mtu = 67, At::Interface(0), "use 68 to 65535"),
        (|s| s.interfaces[0].mtu = 1000, At::Address { interface: 0, address: 1 }, "IPv6 is off on eth0"),
        (|s| s.interfaces[0].addresses[0].prefix = 33, At::Address { interface: 0, address: 0 }, "at most /32"),
        (|s| s.interfaces[0].addresses[0].addr = Addr(0), At::Address { interface: 0, address: 0 }, "of a host"),
        (|s| s.routes.push("10.0.0.0/8".parse().unwrap()), At::Route(0), "leads nowhere"),
        (|s| s.routes.push("10.0.0.0/8 via 10.9.9.9".parse().unwrap()), At::Route(0), "invalid gateway"),
        (|s| s.routes.push("10.0.0.0/8 via 10.0.1.9 dev eth1".parse().unwrap()), At::Route(0), "on no subnet of eth1"),
        (|s| s.routes.push("10.0.0.0/8 via 10.0.1.255".parse().unwrap()), At::Route(0), "invalid gateway"),
        (|s| s.routes.push("10.0.0.0/8 via 224.0.0.1".parse().unwrap()), At::Route(0), "cannot be an address"),
        (|s| s.routes.push("10.0.0.0/8 dev eht0".parse().unwrap()), At::Route(0), "did you mean eth0?"),
        (|s| s.routes.push("10.0.0.0/8 dev eth0 src 9.9.9.9".parse().unwrap()), At::Route(0), "Invalid prefsrc"),
        (|s| s.routes.push("10.0.0.0/8 dev eth0 tos 3".parse().unwrap()), At::Route(0), "two lowest bits"),
        (|s| s.routes.push("10.0.0.0/8 dev eth0 scope nowhere".parse().unwrap()), At::Route(0), "scope"),
        (|s| s.routes.push("local 10.0.0.0/8 dev lo scope link".parse().unwrap()), At::Route(0), "scope"),
        (|s| s.routes.push("blackhole 10.0.0.0/8 dev eth0".parse().unwrap()), At::Route(0), "neither via nor dev"),
        (|s| s.routes.push("default via fe80::1".parse().unwrap()), At::Route(0), "say which with dev"),
        (|s| s.routes.push("default via 2001:db8:1::1".parse().unwrap()), At::Route(0), "own address"),
        (|s| s.routes.push("10.0.0.1/8 dev eth0".parse().unwrap()), At::Route(0), "did you mean 10.0.0.0/8"),
        (|s| s.rules.push("from 10.0.0.1/8".parse().unwrap()), At::Rule(0), "not a network"),
        (|s| s.rules.push("tos 0x20".parse().unwrap()), At::Rule(0), "TOS"),
        (|s| s.rules.push("priority 9 goto 9".parse().unwrap()), At::Rule(0), "later rule"),
        (|s| s.sysctls.push(("net.ipv4.foo".into(), "1".into())), At::Sysctl(0), "unknown setting"),
    ];
    for (n, (change, at, words)) in cases.iter().enumerate() {
        let mut setup = two_links();
        change(&mut setup);
        let error = setup.build().expect_err(words);
        assert_eq!(error.at, *at, "case {n}: {error}");
        assert!(error.to_string().contains(words), "case {n}: {error}");
    }
    let neighbor =
        |text: &str| two_links().neighbor("10.0.1.9 lladdr 2:0:0:0:0:9 dev eth0").unwrap().neighbor(text).unwrap();
    for (text, words) in [
        ("10.0.1.9 lladdr 2:0:0:0:0:8 dev eth0", "there already"),
        ("10.0.1.9 lladdr 2:0:0:0:0:8 dev wan", "no interface wan"),
        ("10.0.1.9 lladdr 2:0:0:0:0:8 dev lo", "no link addresses"),
        ("224.0.0.1 lladdr 2:0:0:0:0:8 dev eth0", "cannot be an address"),
    ] {
        let error = neighbor(text).build().unwrap_err();
        assert_eq!(error.at, At::Neighbor(1));
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(neighbor("10.0.1.9 lladdr 2:0:0:0:0:8 dev eth1").build().is_ok());
    let rule = |text: &str| two_links().rule("fwmark 1 table 5").unwrap().rule(text).unwrap().build();
    assert_eq!(rule("fwmark 1 table 5").unwrap_err().problem, Problem::RuleTwice);
    assert_eq!(rule("fwmark 1 table 5 priority 32765").unwrap_err().problem, Problem::RuleTwice);
    assert!(rule("fwmark 1 table 5 priority 9").is_ok() && rule("fwmark 1 table 6").is_ok());
}
