//! Routing decisions against those of a running Linux 6.18, recorded with `ip route get` in network namespaces.
//!
//! A recording is a list of hosts, an empty line between them. A host is lines of `dev NAME ADDRESS...`, `sysctl`, `route` and
//! `rule` as `ip` takes them, then questions with the kernel's answers: `in SOURCE DESTINATION DEVICE TOS MARK`, and `out
//! DESTINATION` with `from`, `oif`, `tos` and `mark` (all numbers decimal).

use hairpin_engine::Packet;
use hairpin_engine::fate::DropReason;
use hairpin_engine::net::{IfIndex, IfName, Net};
use hairpin_engine::route::{Errno, OutputKey, Route, RouteType};
use hairpin_engine::setup::Setup;
use hairpin_wire::{Addr, Family};

#[test]
fn ipv4_agrees_with_the_kernel() {
    replay(include_str!("kernel_routes/v4.txt"), 25);
}

#[test]
fn ipv6_agrees_with_the_kernel() {
    replay(include_str!("kernel_routes/v6.txt"), 25);
}

fn replay(recording: &str, at_least: usize) {
    let mut hosts = 0;
    for host in recording.split("\n\n").filter(|host| !host.trim().is_empty()) {
        hosts += 1;
        let mut setup = Setup::default();
        let mut questions = Vec::new();
        for line in host.lines() {
            if let Some(question) = line.split_once(" => ") {
                questions.push(question);
                continue;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            setup = match word {
                "dev" => {
                    let mut words = rest.split_whitespace();
                    let name = words.next().unwrap();
                    setup.ethernet(name, &words.collect::<Vec<_>>()).unwrap()
                }
                "sysctl" => setup.sysctl(rest).unwrap(),
                "route" => setup.route(rest).unwrap(),
                "rule" => setup.rule(rest).unwrap(),
                _ => panic!("{line}"),
            };
        }
        let net = setup.build().unwrap_or_else(|error| panic!("{error} in\n{host}"));
        for (question, kernel) in questions {
            let given = ask(&net, question);
            assert!(given.contains(&kernel.to_owned()), "{question}\nkernel: {kernel}\nengine: {given:?}\nin\n{host}");
        }
    }
    assert!(hosts >= at_least, "only {hosts} hosts");
}

/// The answers that would be right in the kernel's words.
fn ask(net: &Net, question: &str) -> Vec<String> {
    let words: Vec<&str> = question.split_whitespace().collect();
    match words.as_slice() {
        ["in", src, dst, dev, tos, mark] => {
            let mut packet = packet(src, dst, tos.parse().unwrap());
            packet.meta.iif = Some(device(net, dev));
            packet.meta.mark = mark.parse().unwrap();
            match net.route_input(&packet) {
                // Where IPv6 delivers, the recordings have the type alone.
                Ok(route) if packet.family() == Family::V6 && route.delivers() => {
                    let text = said(net, &packet.family(), &route, false);
                    vec![text.split(' ').next().unwrap().to_owned()]
                }
                Ok(route) => vec![said(net, &packet.family(), &route, false)],
                Err(error) => {
                    // The kernel says less than the engine.
                    let mut errors = vec![match error.reason {
                        DropReason::NoRoute => "Network is unreachable",
                        DropReason::Unreachable | DropReason::NotForwarding => "No route to host",
                        DropReason::Prohibited => "Permission denied",
                        _ => "Invalid argument",
                    }];
                    if packet.family() == Family::V4 && error.icmp.is_none() {
                        errors.push("No route to host");
                    }
                    errors.into_iter().map(|error| format!("error {error}")).collect()
                }
            }
        }
        ["out", dst, rest @ ..] => {
            let (family, dst) = Addr::from_ip(dst.parse().unwrap());
            let mut key = OutputKey::to(family, dst);
            for pair in rest.chunks(2) {
                match pair {
                    ["from", src] => key.src = Some(Addr::from_ip(src.parse().unwrap()).1),
                    ["oif", dev] => key.oif = Some(device(net, dev)),
                    ["tos", tos] => key.tos = tos.parse().unwrap(),
                    ["mark", mark] => key.mark = mark.parse().unwrap(),
                    _ => panic!("{question}"),
                }
            }
            match net.route_output(&key) {
                Ok(route) => vec![said(net, &family, &route, key.src.is_none())],
                Err(error) => {
                    let error = match error.errno {
                        Errno::Access => "Permission denied",
                        Errno::NoDevice => "No such device",
                        Errno::NoAddress | Errno::Invalid => "Invalid argument",
                        Errno::NetUnreachable => "Network is unreachable",
                        Errno::HostUnreachable => "No route to host",
                    };
                    vec![format!("error {error}")]
                }
            }
        }
        _ => panic!("{question}"),
    }
}

fn said(net: &Net, family: &Family, route: &Route, with_source: bool) -> String {
    let kind = match route.kind {
        RouteType::Local => "local",
        RouteType::Broadcast => "broadcast",
        RouteType::Multicast => "multicast",
        RouteType::Anycast => "anycast",
        _ => "unicast",
    };
    let addr = |addr: Option<Addr>| addr.map_or("-".to_owned(), |addr| addr.display(*family).to_string());
    let name = net.interface(route.oif).unwrap().name;
    let mut text = format!("{kind} dev {name} via {}", addr(route.gateway));
    if with_source {
        text += &format!(" src {}", addr(route.prefsrc));
    }
    // Whether a redirect goes out is asked of IPv4 only: IPv6 decides it later.
    if route.redirect && *family == Family::V4 {
        text += " redirect";
    }
    text
}

fn device(net: &Net, name: &str) -> IfIndex {
    net.interface_by_name(IfName::new(name).unwrap()).unwrap().index
}

/// A packet without a payload.
fn packet(src: &str, dst: &str, tos: u8) -> Packet {
    let (family, src) = Addr::from_ip(src.parse().unwrap());
    let (_, dst) = Addr::from_ip(dst.parse().unwrap());
    let mut bytes = match family {
        Family::V4 => vec![0x45, tos, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0],
        Family::V6 => vec![0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, 59, 64],
    };
    let mut addresses = vec![0; family.addr_len() * 2];
    src.write(family, &mut addresses);
    dst.write(family, &mut addresses[family.addr_len()..]);
    bytes.extend(addresses);
    Packet::from_ip(&bytes).unwrap()
}

#[test]
fn the_map_of_answers_can_fail() {
    let net = Setup::default().ethernet("eth0", &["10.0.0.1/24"]).unwrap().build().unwrap();
    assert_eq!(ask(&net, "out 10.0.0.7"), ["unicast dev eth0 via - src 10.0.0.1"]);
    assert_eq!(ask(&net, "out 10.0.1.7"), ["error Network is unreachable"]);
    assert_eq!(ask(&net, "in 10.0.0.1 10.0.0.1 eth0 0 0"), ["error Invalid argument", "error No route to host"]);
}
