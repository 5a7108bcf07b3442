//! Random matches. What depends on the running clock stays clear of its edges: rates of a token an hour, windows that
//! cannot flip, lifetimes far from their end.

use super::rules::{Author, Place};
use super::world::mac_text;

/// A way to write a match; `None` where the place does not allow it.
type Writer = fn(&mut Author<'_>, Place<'_>) -> Option<String>;

/// Name, weight, writer.
const MATCHES: &[(&str, usize, Writer)] = &[
    ("ports", 14, ports),
    ("multiport", 5, multiport),
    ("tcp", 6, tcp),
    ("tcpmss", 2, tcpmss),
    ("icmp", 12, icmp),
    ("sctp", 6, sctp),
    ("dccp", 6, dccp),
    ("ah", 3, ah),
    ("esp", 3, |a, p| {
        let spi = a.dice.word(&["256", "0:1000", "48879"]);
        (p.proto == Some("esp")).then(|| a.maybe_not(format!("--espspi {spi}"))).map(|t| format!("-m esp {t}"))
    }),
    ("conntrack", 12, conntrack),
    ("state", 3, |a, _| {
        let states = ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "RELATED,ESTABLISHED", "NEW,INVALID"];
        let state = a.dice.word(&states);
        Some(format!("-m state {}", a.maybe_not(format!("--state {state}"))))
    }),
    ("iprange", 3, iprange),
    ("addrtype", 4, addrtype),
    ("mark", 5, |a, _| marks(a, "mark")),
    ("connmark", 4, |a, _| marks(a, "connmark")),
    ("connlimit", 1, connlimit),
    ("connbytes", 3, connbytes),
    ("connlabel", 2, |a, _| {
        let label = a.dice.below(4);
        let set = if a.dice.chance(50) { " --set" } else { "" };
        Some(format!("-m connlabel {}{set}", a.maybe_not(format!("--label {label}"))))
    }),
    ("limit", 3, |a, _| {
        let rate = a.dice.word(&["1/hour", "2/hour", "1/day", "3/min"]);
        let burst = if a.dice.chance(85) { format!(" --limit-burst {}", a.dice.within(1..8)) } else { String::new() };
        Some(format!("-m limit --limit {rate}{burst}"))
    }),
    ("hashlimit", 4, hashlimit),
    ("recent", 5, recent),
    ("statistic", 4, |a, _| {
        let every = a.dice.within(1..6);
        let packet = a.dice.below(every as usize);
        let packet = if a.dice.chance(70) { format!(" --packet {packet}") } else { String::new() };
        let every = a.maybe_not(format!("--every {every}"));
        Some(format!("-m statistic --mode nth {every}{packet}"))
    }),
    ("quota", 2, |a, _| {
        let bytes = a.dice.within(40..1500);
        Some(format!("-m quota {}", a.maybe_not(format!("--quota {bytes}"))))
    }),
    ("owner", 3, owner),
    ("mac", 2, |a, p| {
        let macs: Vec<_> = a.world.people().map(|p| mac_text(p.mac)).collect();
        let mac = a.dice.pick(&macs).clone();
        matches!(p.base, "PREROUTING" | "INPUT" | "FORWARD")
            .then(|| format!("-m mac {}", a.maybe_not(format!("--mac-source {mac}"))))
    }),
    ("pkttype", 2, |a, _| {
        let kind = a.dice.word(&["unicast", "broadcast", "multicast", "host"]);
        Some(format!("-m pkttype {}", a.maybe_not(format!("--pkt-type {kind}"))))
    }),
    ("length", 3, |a, _| {
        let length = a.dice.word(&["0:60", "40", "52", "60", "100:1500", "41:64", "61:84", "1000:", ":80"]);
        Some(format!("-m length {}", a.maybe_not(format!("--length {length}"))))
    }),
    ("ttl", 4, |a, _| {
        let (module, option) = if a.world.v6 { ("hl", "hl") } else { ("ttl", "ttl") };
        let how = a.dice.word(&["eq 64", "gt 60", "lt 64", "eq 63", "lt 2", "eq 1", "gt 127", "eq 255"]);
        let test =
            if how.starts_with("eq") { a.maybe_not(format!("--{option}-{how}")) } else { format!("--{option}-{how}") };
        Some(format!("-m {module} {test}"))
    }),
    ("tos", 2, |a, _| {
        let tos = a.dice.word(&["0x10/0xff", "0x00/0xff", "0x08/0x08", "Minimize-Delay", "0xb8", "0x02/0x03"]);
        Some(format!("-m tos {}", a.maybe_not(format!("--tos {tos}"))))
    }),
    ("dscp", 2, |a, _| {
        let how = a.dice.word(&["--dscp 0x00", "--dscp 0x2e", "--dscp 10", "--dscp-class EF", "--dscp-class CS1"]);
        Some(format!("-m dscp {}", a.maybe_not(how)))
    }),
    ("ecn", 2, |a, p| {
        let ect = a.dice.below(4);
        let ip = a.maybe_not(format!("--ecn-ip-ect {ect}"));
        let tcp = a.dice.word(&["--ecn-tcp-cwr", "--ecn-tcp-ece", "! --ecn-tcp-cwr", "! --ecn-tcp-ece"]);
        Some(format!("-m ecn {}", if p.proto == Some("tcp") && a.dice.chance(60) { tcp } else { ip }))
    }),
    ("string", 4, string),
    ("u32", 3, u32_match),
    ("bpf", 2, |a, _| {
        // IP protocol (or next header) 6, 17, 1; anything; nothing
        let at = if a.world.v6 { 6 } else { 9 };
        let proto = a.dice.word(&["6", "17", "1", "58"]);
        let program = match a.dice.below(4) {
            0 => "1,6 0 0 65535".into(),
            1 => "1,6 0 0 0".into(),
            _ => format!("4,48 0 0 {at},21 0 1 {proto},6 0 0 1,6 0 0 0"),
        };
        Some(format!("-m bpf --bytecode \"{program}\""))
    }),
    ("comment", 2, |a, _| {
        Some(format!("-m comment --comment {}", a.dice.word(&["plain", "\"two words\"", "\"a -j b\"", "it's"])))
    }),
    ("helper", 2, |a, _| {
        let name = a.dice.word(&["ftp", "tftp", "\"\"", "ftp"]);
        Some(format!("-m helper {}", a.maybe_not(format!("--helper {name}"))))
    }),
    ("rpfilter", 6, |a, p| {
        let option = a.dice.word(&["", "--invert", "--loose", "--validmark", "--accept-local", "--loose --invert"]);
        (p.base == "PREROUTING" && matches!(p.table, "raw" | "mangle")).then(|| format!("-m rpfilter {option}"))
    }),
    ("realm", 1, |a, _| {
        let realm = a.maybe_not("--realm 7");
        (!a.world.v6).then(|| format!("-m realm {realm}"))
    }),
    ("physdev", 1, |a, p| {
        let how = match p.base {
            "PREROUTING" | "INPUT" | "FORWARD" => ["--physdev-in eth1", "--physdev-is-in", "--physdev-is-bridged"],
            "POSTROUTING" => ["--physdev-is-out", "--physdev-out eth0", "--physdev-is-bridged"],
            _ => return None,
        };
        let how = a.dice.word(&how);
        Some(format!("-m physdev {}", a.not(50, how)))
    }),
    ("cluster", 2, |a, _| {
        let node = a.dice.within(1..3);
        let seed = a.dice.word(&["0xdeadbeef", "1", "7"]);
        let node = a.maybe_not(format!("--cluster-local-node {node}"));
        Some(format!("-m cluster --cluster-total-nodes 2 {node} --cluster-hash-seed {seed}"))
    }),
    ("time", 2, |a, _| {
        let when = [
            "--datestart 2001-02-03",
            "--datestop 2009-08-07T06:05:04",
            "--weekdays Mon,Tue,Wed,Thu,Fri,Sat,Sun",
            "--timestart 00:00 --timestop 23:59:59",
            "--datestart 1999-01-01 --datestop 2001-01-01 --kerneltz",
        ];
        Some(format!("-m time {}", a.dice.word(&when)))
    }),
    ("fragment", 2, |a, p| (!a.world.v6 && p.proto.is_none()).then(|| a.maybe_not("-f"))),
    ("headers6", 12, headers6),
    ("eui64", 1, |a, p| {
        (a.world.v6 && matches!(p.base, "PREROUTING" | "INPUT" | "FORWARD")).then(|| "-m eui64".into())
    }),
];

/// Up to `wanted` matches, no module twice.
pub fn some(author: &mut Author<'_>, place: Place<'_>, wanted: usize) -> Vec<String> {
    let weights: Vec<usize> = MATCHES.iter().map(|(_, weight, _)| *weight).collect();
    let mut out: Vec<String> = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    for _ in 0..12 {
        if out.len() >= wanted {
            break;
        }
        let (name, _, write) = MATCHES[author.dice.weighted(&weights)];
        // A later fragment has no ports: the two are refused together.
        let clash = (name == "fragment" && !used.is_empty()) || used.contains(&"fragment");
        if !used.contains(&name)
            && !clash
            && let Some(text) = write(author, place)
        {
            used.push(name);
            out.push(text);
        }
    }
    out
}

fn ports(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    let proto = p.proto.filter(|p| matches!(*p, "tcp" | "udp" | "sctp" | "dccp"))?;
    let mut out = format!("-m {proto}");
    let both = a.dice.chance(15);
    for option in if a.dice.chance(75) { ["--dport", "--sport"] } else { ["--sport", "--dport"] } {
        let ports = a.ports();
        out += &format!(" {}", a.maybe_not(format!("{option} {ports}")));
        if !both {
            break;
        }
    }
    Some(out)
}

fn multiport(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    p.proto.filter(|p| matches!(*p, "tcp" | "udp" | "sctp" | "dccp" | "udplite"))?;
    let more = ["20000:30000", "1:100", "7", "6000:7000"].map(String::from);
    let mut list: Vec<String> = a.world.ports.iter().map(u16::to_string).chain(more).collect();
    a.dice.shuffle(&mut list);
    let option = a.dice.word(&["--dports", "--sports", "--ports", "--dports"]);
    let count = a.dice.below(4) + 1;
    Some(format!("-m multiport {}", a.maybe_not(format!("{option} {}", list[..count].join(",")))))
}

fn tcp(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    p.proto.filter(|p| *p == "tcp")?;
    let how = a.dice.word(&[
        "--syn",
        "--tcp-flags SYN,RST SYN",
        "--tcp-flags FIN,SYN,RST,ACK SYN",
        "--tcp-flags ALL NONE",
        "--tcp-flags ALL FIN,PSH,URG",
        "--tcp-flags RST RST",
        "--tcp-flags PSH,ACK PSH,ACK",
        "--tcp-flags SYN,ACK SYN,ACK",
        "--tcp-option 2",
        "--tcp-option 8",
    ]);
    Some(format!("-m tcp {}", a.not(25, how)))
}

fn tcpmss(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    p.proto.filter(|p| *p == "tcp")?;
    let range = a.dice.word(&["500:1400", "1460", "0:1459", "1220:65535"]);
    Some(format!("-m tcpmss {}", a.maybe_not(format!("--mss {range}"))))
}

fn icmp(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    match p.proto? {
        "icmp" => {
            let kinds =
                ["8", "0", "3", "3/3", "3/4", "11", "any", "echo-request", "fragmentation-needed", "12", "4", "5"];
            let kind = a.dice.word(&kinds);
            Some(format!("-m icmp {}", a.maybe_not(format!("--icmp-type {kind}"))))
        }
        "ipv6-icmp" | "icmpv6" => {
            let kinds = ["128", "129", "1", "1/4", "2", "3", "3/0", "4", "4/1", "echo-request", "packet-too-big"];
            let kind = a.dice.word(&kinds);
            Some(format!("-m icmp6 {}", a.maybe_not(format!("--icmpv6-type {kind}"))))
        }
        _ => None,
    }
}

fn sctp(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    p.proto.filter(|p| *p == "sctp")?;
    let how = a.dice.word(&[
        "any INIT",
        "all INIT",
        "only INIT",
        "any DATA",
        "only DATA:Be",
        "any INIT_ACK,COOKIE_ECHO",
        "all COOKIE_ACK",
        "any ABORT:T",
        "only SHUTDOWN",
        "any DATA:BE",
        "all INIT,DATA",
    ]);
    Some(format!("-m sctp {}", a.maybe_not(format!("--chunk-types {how}"))))
}

fn dccp(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    p.proto.filter(|p| *p == "dccp")?;
    let types = a.dice.word(&["REQUEST", "RESPONSE", "REQUEST,RESPONSE", "DATA,ACK,DATAACK", "RESET,CLOSE", "INVALID"]);
    Some(format!("-m dccp {}", a.maybe_not(format!("--dccp-types {types}"))))
}

fn ah(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    if a.world.v6 {
        let how = a.dice.word(&["--ahspi 48879", "! --ahspi 0:9", "--ahlen 24", "--ahres"]);
        return p.proto.is_none().then(|| format!("-m ah {how}"));
    }
    let spi = a.dice.word(&["48879", "0:9", "256"]);
    (p.proto == Some("ah")).then(|| format!("-m ah {}", a.maybe_not(format!("--ahspi {spi}"))))
}

fn conntrack(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let states = [
        "NEW",
        "ESTABLISHED",
        "RELATED",
        "INVALID",
        "UNTRACKED",
        "SNAT",
        "DNAT",
        "RELATED,ESTABLISHED",
        "NEW,RELATED",
        "NEW,DNAT",
    ];
    let mut parts = Vec::new();
    for _ in 0..*a.dice.pick(&[1, 1, 1, 2, 3]) {
        let (name, value, invertible) = match a.dice.below(16) {
            0..=5 => ("ctstate", a.dice.word(&states), true),
            6 => (
                "ctproto",
                a.dice.word(if a.world.v6 { &["6", "17", "58"] } else { &["6", "17", "1", "47", "132"] }),
                true,
            ),
            7 => ("ctorigsrc", a.net(), true),
            8 => ("ctorigdst", a.net(), true),
            9 => ("ctreplsrc", a.net(), true),
            10 => ("ctrepldst", a.net(), true),
            11 => {
                (*a.dice.pick(&["ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"]), a.ports(), true)
            }
            12 | 13 => {
                let status = ["ASSURED", "SEEN_REPLY", "CONFIRMED", "EXPECTED", "NONE", "SEEN_REPLY,ASSURED"];
                ("ctstatus", a.dice.word(&status), true)
            }
            14 => ("ctexpire", a.dice.word(&["0:10", "15:70", "80:250", "1000:4000000"]), true),
            _ => ("ctdir", a.dice.word(&["ORIGINAL", "REPLY"]), false),
        };
        if parts.iter().all(|(n, _)| *n != name) {
            let text = format!("--{name} {value}");
            parts.push((name, if invertible { a.not(20, text) } else { text }));
        }
    }
    let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    Some(format!("-m conntrack {}", parts.join(" ")))
}

fn iprange(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let (x, y) = (a.any_address(), a.any_address());
    let option = a.dice.word(&["--src-range", "--dst-range"]);
    Some(format!("-m iprange {}", a.maybe_not(format!("{option} {}-{}", x.min(y), x.max(y)))))
}

fn addrtype(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    let four = [
        "LOCAL",
        "UNICAST",
        "BROADCAST",
        "MULTICAST",
        "ANYCAST",
        "UNSPEC",
        "UNREACHABLE",
        "PROHIBIT",
        "BLACKHOLE",
        "THROW",
    ];
    let six = ["LOCAL", "UNICAST", "MULTICAST", "ANYCAST", "UNREACHABLE", "UNSPEC"];
    let mut out = "-m addrtype".to_string();
    let both = a.dice.chance(20);
    for side in if a.dice.chance(70) { ["dst", "src"] } else { ["src", "dst"] } {
        let kind = a.dice.word(if a.world.v6 { &six } else { &four });
        let kind = if a.dice.chance(15) { format!("{kind},LOCAL") } else { kind };
        out += &format!(" {}", a.maybe_not(format!("--{side}-type {kind}")));
        if !both {
            break;
        }
    }
    if a.dice.chance(15) {
        out += match p.base {
            "PREROUTING" | "INPUT" => " --limit-iface-in",
            "POSTROUTING" | "OUTPUT" => " --limit-iface-out",
            _ => "",
        };
    }
    Some(out)
}

fn marks(a: &mut Author<'_>, module: &str) -> Option<String> {
    let value = a.dice.below(5);
    let mask = a.dice.word(&["", "/0xf", "/0x1", "/0x3"]);
    Some(format!("-m {module} {}", a.not(25, format!("--mark {value:#x}{mask}"))))
}

fn connlimit(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let how = a.dice.word(&["--connlimit-upto", "--connlimit-above"]);
    let count = a.dice.within(0..4);
    let mask = a.dice.word(if a.world.v6 { &["128", "64", "0"] } else { &["32", "24", "0", "29"] });
    let side = a.dice.word(&["--connlimit-saddr", "--connlimit-daddr", ""]);
    Some(format!("-m connlimit {how} {count} --connlimit-mask {mask} {side}"))
}

fn connbytes(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let (mode, amounts) = match a.dice.below(3) {
        0 => ("packets", ["1", "2:", "0:3", "3:5"]),
        1 => ("bytes", ["100:", "0:2000", "60:400", "300"]),
        _ => ("avgpkt", ["40:60", "61:", "0:52", "100:1000"]),
    };
    let amount = a.dice.word(&amounts);
    let side = a.dice.word(&["original", "reply", "both"]);
    Some(format!(
        "-m connbytes {} --connbytes-mode {mode} --connbytes-dir {side}",
        a.maybe_not(format!("--connbytes {amount}"))
    ))
}

fn hashlimit(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    let how = a.dice.word(&["--hashlimit-upto", "--hashlimit-above"]);
    let rate = a.dice.word(&["1/hour", "2/day", "1/min"]);
    let ported = matches!(p.proto, Some("tcp" | "udp" | "sctp" | "dccp" | "udplite"));
    let modes: &[&str] = if ported {
        &["srcip", "dstip", "srcip,dstport", "dstport", "srcip,dstip,srcport,dstport", ""]
    } else {
        &["srcip", "dstip", "srcip,dstip", ""]
    };
    let mode = a.dice.word(modes);
    let mut out = format!("-m hashlimit {how} {rate} --hashlimit-burst {}", a.dice.within(1..6));
    if !mode.is_empty() {
        out += &format!(" --hashlimit-mode {mode}");
    }
    if mode.contains("srcip") && a.dice.chance(30) {
        out += &format!(
            " --hashlimit-srcmask {}",
            a.dice.word(if a.world.v6 { &["64", "120"] } else { &["24", "28", "0"] })
        );
    }
    if mode.contains("dstip") && a.dice.chance(20) {
        out += &format!(" --hashlimit-dstmask {}", a.dice.word(if a.world.v6 { &["64"] } else { &["24", "16"] }));
    }
    Some(format!("{out} --hashlimit-name h{}", a.serial()))
}

fn recent(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    let how = a.dice.word(&[
        "--set",
        "--set",
        "--rcheck",
        "! --rcheck",
        "--update --seconds 600 --hitcount 2",
        "--update",
        "--rcheck --seconds 300 --hitcount 3",
        "--remove",
        "--rcheck --rttl",
        "--update --seconds 600 --reap",
    ]);
    // Lists of one name in one family must have one mask.
    let mask = match (a.world.v6, p.table) {
        (false, "filter") => "",
        (false, _) => "--mask 255.255.255.0",
        (true, "filter") => "",
        (true, _) => "--mask ffff:ffff:ffff:ffff::",
    };
    let side = a.dice.word(&["--rsource", "--rdest", ""]);
    Some(format!("-m recent {how} --name {}{} {mask} {side}", p.table, a.dice.below(2)))
}

fn owner(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    let how = a.dice.word(&["--uid-owner 0", "--gid-owner 0", "--socket-exists", "--uid-owner 0-1000"]);
    matches!(p.base, "OUTPUT" | "POSTROUTING").then(|| format!("-m owner {}", a.not(50, how)))
}

fn string(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let what = a.dice.word(&[
        "--string que",
        "--string answer",
        "--string GET",
        "--string USER",
        "--string data",
        "--hex-string \"|0d 0a|\"",
        "--hex-string \"P|4f|RT\"",
        "--string \"GET /\"",
    ]);
    let mut out = format!("-m string {} --algo {}", a.maybe_not(what), a.dice.word(&["bm", "kmp"]));
    out += &a.dice.word(&["", "", " --from 40 --to 90", " --to 60", " --from 20", " --icase"]);
    Some(out)
}

fn u32_match(a: &mut Author<'_>, _: Place<'_>) -> Option<String> {
    let four = [
        "0x6&0xff=0x11",
        "0>>22&0x3C@0>>16=20000:65535",
        "0>>22&0x3C@12>>26&0x3C@0&0xffffffff=0x47455420",
        "0x8>>0x18=0x0:0x3f",
        "6&0xFF=1&&4&0x3FFF=0",
        "0x0>>0x16&0x3c@0x0>>0x10=0x35,0x50,0x1388:0x4e20",
        "2&0xffff=0x100:0xffff",
    ];
    let six = [
        "0x4&0xff00=0x1100",
        "0x4>>0x8&0xff=0x6,0x3a",
        "0x4&0xff=0x0:0x3f",
        "0x28>>0x10=0x1388:0xffff",
        "0x8&0xffff0000=0x20010000",
    ];
    let test = a.dice.word(if a.world.v6 { &six } else { &four });
    Some(format!("-m u32 {}", a.maybe_not(format!("--u32 \"{test}\""))))
}

fn headers6(a: &mut Author<'_>, p: Place<'_>) -> Option<String> {
    if !a.world.v6 || p.proto.is_some() {
        return None;
    }
    let inside = a.inside();
    Some(match a.dice.below(7) {
        0 => {
            let how =
                a.dice.word(&["--rt-type 0", "--rt-type 4", "--rt-segsleft 0", "--rt-segsleft 1:5", "--rt-len 24"]);
            format!("-m rt {}", a.maybe_not(how))
        }
        1 => format!("-m rt --rt-type 0 --rt-0-addrs {inside} --rt-0-not-strict"),
        2 => {
            let how = ["--fragfirst", "--fragmore", "--fraglast", "--fragid 0:4294967295", "! --fragid 7", "--fragres"];
            format!("-m frag {}", a.dice.word(&how))
        }
        3 => {
            let how = ["--dst-len 8", "! --dst-len 8", "--dst-opts 1:4", "--dst-opts 62:4,1", "--dst-opts 201"];
            format!("-m dst {}", a.dice.word(&how))
        }
        4 => {
            let how = ["--hbh-len 8", "! --hbh-len 8", "--hbh-opts 5:2", "--hbh-opts 5", "--hbh-opts 1:4"];
            format!("-m hbh {}", a.dice.word(&how))
        }
        5 => {
            let kinds = ["frag", "hop", "dst", "route", "none", "prot", "hop,prot", "auth", "esp"];
            let kind = a.dice.word(&kinds);
            let header = a.maybe_not(format!("--header {kind}"));
            format!("-m ipv6header {header} {}", a.dice.word(&["--soft", "--soft", ""]))
        }
        _ => {
            let how = ["--srh-segs-left-eq 0", "! --srh-segs-left-eq 0", "--srh-next-hdr 17", "--srh-hdr-len-gt 1"];
            format!("-m srh {}", a.dice.word(&how))
        }
    })
}
