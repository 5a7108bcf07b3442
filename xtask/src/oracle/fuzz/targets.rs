//! Random targets, and the rules at the end of a table that make a scenario worth running.

use std::net::IpAddr;

use super::rules::{Author, Place};

/// What a rule does, as its last words; empty for a rule that only counts.
pub fn target(a: &mut Author<'_>, p: Place<'_>) -> String {
    if !p.below.is_empty() && a.dice.chance(15) {
        let how = a.dice.word(&["-j", "-j", "-g"]);
        return format!("{how} {}", a.dice.pick(p.below));
    }
    match a.dice.below(100) {
        0..10 => return a.dice.word(&["", "-j RETURN", "-j ACCEPT"]),
        10..16 => return log(a),
        16..18 => return elsewhere(a),
        18..20 => return a.dice.word(&["", "-j QUEUE", "-j DROP", "-j CONNMARK --set-mark 0x3"]),
        _ => {}
    }
    match p.table {
        "filter" => filter(a, p),
        "raw" => raw(a, p),
        "mangle" => mangle(a, p),
        "nat" => nat(a, p),
        _ => a.dice.word(&["", "-j ACCEPT", "-j ACCEPT", "-j DROP"]),
    }
}

/// Translation outwards, port forwards, helpers, routing by mark.
pub fn closing(a: &mut Author<'_>, table: &str) -> String {
    let mut out = Vec::new();
    let me = a.world.primary("eth0");
    match table {
        "raw" => {
            if a.dice.chance(60) {
                out.push("-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp".into());
            }
            if a.dice.chance(50) {
                out.push("-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp".into());
            }
            if a.dice.chance(30) && !a.world.v6 {
                out.push("-A PREROUTING -p tcp -m tcp --dport 6667 -j CT --helper irc".into());
            }
        }
        "mangle" if !a.world.host.rule.is_empty() && a.dice.chance(60) => {
            let proto = a.dice.word(&["tcp", "udp"]);
            out.push(format!("-A PREROUTING -i eth1 -p {proto} -j MARK --set-mark 0x1"));
            if a.dice.chance(50) {
                out.push("-A PREROUTING -j CONNMARK --save-mark".into());
            }
        }
        "nat" => {
            if a.dice.chance(65) {
                let pool = pool(a.world.v6);
                out.push(match a.dice.below(5) {
                    0 => "-A POSTROUTING -j MASQUERADE".into(),
                    1 => format!("-A POSTROUTING -o eth0 -j SNAT --to-source {me}"),
                    2 => format!("-A POSTROUTING -o eth0 -j SNAT --to-source {pool}"),
                    _ => "-A POSTROUTING -o eth0 -j MASQUERADE".into(),
                });
            }
            for _ in 0..a.dice.below(4) {
                let (proto, port, inner) = (a.dice.word(&["tcp", "udp"]), a.port(), a.port());
                let (inside, range) = (a.inside(), inside_range(a));
                let to = match a.dice.below(5) {
                    0 => "-j REDIRECT --to-ports 9".into(),
                    1 => format!("-j DNAT --to-destination {range}"),
                    2 => format!("-j DNAT --to-destination {inside}"),
                    _ => format!("-j DNAT --to-destination {}", with_port(inside, &inner.to_string())),
                };
                let length = if a.world.v6 { 128 } else { 32 };
                out.push(format!("-A PREROUTING -d {me}/{length} -p {proto} -m {proto} --dport {port} {to}"));
            }
        }
        _ => {}
    }
    out.into_iter().map(|rule| rule + "\n").collect()
}

fn filter(a: &mut Author<'_>, p: Place<'_>) -> String {
    match a.dice.below(10) {
        0..5 => "-j ACCEPT".into(),
        5 => "-j DROP".into(),
        6..9 => reject(a, p),
        _ => String::new(),
    }
}

fn reject(a: &mut Author<'_>, p: Place<'_>) -> String {
    let four = [
        "icmp-net-unreachable",
        "icmp-host-unreachable",
        "icmp-port-unreachable",
        "icmp-proto-unreachable",
        "icmp-net-prohibited",
        "icmp-host-prohibited",
        "icmp-admin-prohibited",
    ];
    let six = [
        "icmp6-no-route",
        "icmp6-adm-prohibited",
        "icmp6-addr-unreachable",
        "icmp6-port-unreachable",
        "icmp6-policy-fail",
        "icmp6-reject-route",
    ];
    if p.proto == Some("tcp") && a.dice.chance(50) {
        return "-j REJECT --reject-with tcp-reset".into();
    }
    if a.dice.chance(20) {
        return "-j REJECT".into();
    }
    format!("-j REJECT --reject-with {}", a.dice.word(if a.world.v6 { &six } else { &four }))
}

fn raw(a: &mut Author<'_>, p: Place<'_>) -> String {
    match a.dice.below(10) {
        0 | 1 => a.dice.word(&["-j CT --notrack", "-j NOTRACK"]),
        2..5 => match p.proto {
            Some("tcp") => "-j CT --helper ftp".into(),
            Some("udp") => "-j CT --helper tftp".into(),
            _ => "-j CT --notrack".into(),
        },
        5 => match p.base {
            "PREROUTING" => a.dice.word(&[
                "-j CT --zone 3",
                "-j CT --zone 3",
                "-j CT --zone-orig 4",
                "-j CT --zone-reply 6",
                "-j CT --zone mark",
            ]),
            _ => "-j CT --zone 3".into(),
        },
        6 => "-j CT --ctevents new,destroy".into(),
        7 => a.dice.word(&["", "-j ACCEPT"]),
        8 => "-j DROP".into(),
        _ => String::new(),
    }
}

fn mangle(a: &mut Author<'_>, p: Place<'_>) -> String {
    let n = a.dice.below(5);
    let tcp = p.proto == Some("tcp");
    let route = matches!(p.base, "FORWARD" | "OUTPUT" | "POSTROUTING");
    match a.dice.below(26) {
        0 => format!("-j MARK --set-xmark {n:#x}/{}", a.dice.word(&["0xffffffff", "0xf", "0x3"])),
        1 | 2 => format!("-j MARK --set-mark {n:#x}"),
        3 => a.dice.word(&["-j MARK --or-mark 0x2", "-j MARK --and-mark 0x1", "-j MARK --xor-mark 0x3"]),
        4 => format!("-j CONNMARK --set-xmark {n:#x}/0xf"),
        5 => a.dice.word(&["-j CONNMARK --save-mark", "-j CONNMARK --save-mark --nfmask 0x3 --ctmask 0x3"]),
        6 => a.dice.word(&["-j CONNMARK --restore-mark", "-j CONNMARK --restore-mark --nfmask 0xf --ctmask 0x1"]),
        7 => {
            a.dice.word(&["-j CONNMARK --set-mark 0x2/0xf", "-j CONNMARK --or-mark 0x4", "-j CONNMARK --and-mark 0x3"])
        }
        8 => a.dice.word(&["-j DSCP --set-dscp 0x0a", "-j DSCP --set-dscp 46", "-j DSCP --set-dscp-class AF21"]),
        9 => a.dice.word(&[
            "-j TOS --set-tos 0x10/0xff",
            "-j TOS --set-tos 0x08/0x0c",
            "-j TOS --or-tos 0x04",
            "-j TOS --xor-tos 0x10",
        ]),
        10 | 11 => {
            let how = a.dice.word(&["set 64", "inc 1", "dec 1", "set 1", "inc 200", "set 2", "dec 70"]);
            if a.world.v6 { format!("-j HL --hl-{how}") } else { format!("-j TTL --ttl-{how}") }
        }
        12 | 13 if tcp && p.base != "INPUT" => {
            let clamp = matches!(p.base, "FORWARD" | "OUTPUT" | "POSTROUTING") && a.dice.chance(55);
            let how = if clamp { "--clamp-mss-to-pmtu" } else { "--set-mss 1200" };
            format!("-m tcp --tcp-flags SYN,RST SYN -j TCPMSS {how}")
        }
        14 | 15 if tcp => a.dice.word(&[
            "-j TCPOPTSTRIP --strip-options sack-permitted,timestamp",
            "-j TCPOPTSTRIP --strip-options wscale",
            "-j TCPOPTSTRIP --strip-options mss,sack",
        ]),
        16 if tcp && !a.world.v6 => "-j ECN --ecn-tcp-remove".into(),
        17 if route => format!("-j CLASSIFY --set-class 1:{n}"),
        18 => elsewhere(a),
        19 => "-j CHECKSUM --checksum-fill".into(),
        20 => hmark(a, p),
        21 if a.world.v6 && p.base == "POSTROUTING" => {
            "-j SNPT --src-pfx 2001:db8:1::/64 --dst-pfx 2001:db8:5c::/64".into()
        }
        21 if a.world.v6 && p.base == "PREROUTING" => {
            "-j DNPT --src-pfx 2001:db8:5c::/64 --dst-pfx 2001:db8:99::/64".into()
        }
        22 => "-j DROP".into(),
        23 => "-j ACCEPT".into(),
        _ => String::new(),
    }
}

fn hmark(a: &mut Author<'_>, p: Place<'_>) -> String {
    let ported = matches!(p.proto, Some("tcp" | "udp"));
    let tuples: &[&str] = if ported {
        &["src,dst", "src,sport,dport", "src,dst,sport,dport,proto", "ct,src,dst"]
    } else {
        &["src,dst", "src", "dst,proto"]
    };
    let (tuple, modulus, offset) = (a.dice.word(tuples), a.dice.within(2..9), a.dice.below(3));
    format!("-j HMARK --hmark-tuple {tuple} --hmark-mod {modulus} --hmark-offset {offset} --hmark-rnd 0xfeed")
}

/// Targets that hand the packet, or a copy, to somebody else. Nobody listens.
fn elsewhere(a: &mut Author<'_>) -> String {
    match a.dice.below(9) {
        0 => "-j NFQUEUE --queue-num 3".into(),
        1 => "-j NFQUEUE --queue-num 3 --queue-bypass".into(),
        2 => "-j NFQUEUE --queue-balance 0:3 --queue-bypass".into(),
        3 => "-j QUEUE".into(),
        4 => "-j NFLOG --nflog-group 5".into(),
        5 => "-j NFLOG --nflog-prefix \"some words\" --nflog-group 2 --nflog-threshold 3".into(),
        _ => {
            let copies: Vec<IpAddr> = a.world.near.iter().map(|p| p.addr).collect();
            let gateway = *a.dice.pick(&copies);
            let oif = a.world.near.iter().find(|p| p.addr == gateway).map(|p| p.iface.clone()).unwrap_or_default();
            let oif = if a.dice.chance(30) { format!(" --oif {oif}") } else { String::new() };
            format!("-j TEE --gateway {gateway}{oif}")
        }
    }
}

fn log(a: &mut Author<'_>) -> String {
    let options = [
        "",
        "",
        " --log-level 4",
        " --log-tcp-options --log-ip-options",
        " --log-tcp-sequence",
        " --log-uid",
        " --log-macdecode",
        " --log-level debug --log-tcp-options",
    ];
    let (serial, options) = (a.serial(), a.dice.word(&options));
    format!("-j LOG --log-prefix \"{}.{serial} \"{options}", a.tag)
}

fn nat(a: &mut Author<'_>, p: Place<'_>) -> String {
    let ported = matches!(p.proto, Some("tcp" | "udp"));
    let inside = a.inside();
    let port = a.port().to_string();
    let random = match a.dice.below(16) {
        0 => " --random",
        1 => " --persistent",
        _ => "",
    };
    if matches!(p.base, "PREROUTING" | "OUTPUT") {
        let redirect_ok = !random.contains("persistent");
        return match a.dice.below(12) {
            0..4 if ported && a.dice.chance(60) => format!("-j DNAT --to-destination {}", with_port(inside, &port)),
            0..4 => format!("-j DNAT --to-destination {inside}{random}"),
            4 => format!("-j DNAT --to-destination {}{random}", inside_range(a)),
            5 if ported && !a.world.v6 => format!("-j DNAT --to-destination {}:80", inside_range(a)),
            6 if ported => format!("-j DNAT --to-destination {}", with_port(inside, "8000-8003")),
            7 => format!(
                "-j NETMAP --to {}",
                if a.world.v6 {
                    "2001:db8:1::/64".into()
                } else {
                    format!("192.168.1.0/{}", a.dice.word(&["28", "24"]))
                }
            ),
            8 | 9 if ported && redirect_ok => format!("-j REDIRECT --to-ports {}", a.dice.word(&[&port, "7000-7003"])),
            8 | 9 => "-j REDIRECT".into(),
            10 if !a.world.v6 => "-j DNAT --to-destination 127.0.0.1".into(),
            _ => "-j ACCEPT".into(),
        };
    }
    let all: Vec<IpAddr> = a.world.mine.iter().map(|(_, a)| *a).collect();
    let me = *a.dice.pick(&all);
    if p.base == "INPUT" {
        let choices = [
            format!("-j SNAT --to-source {me}"),
            format!("-j SNAT --to-source {inside}"),
            String::new(),
            "-j ACCEPT".into(),
        ];
        return a.dice.pick(&choices).clone();
    }
    match a.dice.below(14) {
        0..4 => format!("-j MASQUERADE{}", if random == " --random" { random } else { "" }),
        4..6 => format!("-j SNAT --to-source {me}{random}"),
        6 => format!("-j SNAT --to-source {}{random}", pool(a.world.v6)),
        7 => format!("-j NETMAP --to {}", if a.world.v6 { "2001:db8:5b::/64" } else { "203.0.113.32/28" }),
        8 if ported => format!("-j SNAT --to-source {}", with_port(me, "20000-20003")),
        9 if ported => "-j MASQUERADE --to-ports 30000-30001".into(),
        10 if ported => format!("-j SNAT --to-source {}", with_port(me, "1024-65535")),
        11 => "-j RETURN".into(),
        _ => "-j ACCEPT".into(),
    }
}

fn with_port(address: IpAddr, port: &str) -> String {
    if address.is_ipv6() { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Hosts inside.
fn inside_range(a: &Author<'_>) -> String {
    format!("{}-{}", a.world.on_link("eth1", 10), a.world.on_link("eth1", 12))
}

/// Addresses outside that nobody else has.
fn pool(v6: bool) -> &'static str {
    if v6 { "2001:db8:5a::16-2001:db8:5a::19" } else { "203.0.113.16-203.0.113.19" }
}
