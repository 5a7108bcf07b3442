//! Random rules made from the option tables themselves: values that fit, values at the edges and beyond, inversion, repetition,
//! missing values, and places and protocols of which not all are allowed.

use super::rule::Rule;
use crate::oracle::fuzz::dice::Dice;
use hairpin_wire::Family;
use hairpin_xt::option::Opt;
use hairpin_xt::{Case, Families, MATCHES, TARGETS};

/// The rule of this number under this seed.
pub(super) fn rule(seed: u64, number: u64, only: &[String]) -> Rule {
    let mut dice = Dice::new("extensions", seed, number);
    let family = if dice.chance(50) { Family::V4 } else { Family::V6 };
    let extensions = extensions(family, only);
    let first = dice.pick(&extensions);
    let mut used = vec![first];
    if dice.chance(25) {
        used.push(dice.pick(&extensions));
    }
    // A rule has one target, the last thing on its line.
    used.sort_by_key(|e| e.is_target);
    if used.iter().filter(|e| e.is_target).count() > 1 {
        used.pop();
    }
    let (table, chain) = place(&mut dice, first);
    let mut words = protocol(&mut dice, first);
    for extension in &used {
        words.extend([if extension.is_target { "-j" } else { "-m" }.to_owned(), extension.name.to_owned()]);
        words.extend(options(&mut dice, extension, family));
    }
    if !used.iter().any(|e| e.is_target) && dice.chance(50) {
        words.extend(["-j".to_owned(), dice.word(&["ACCEPT", "DROP", "RETURN", "ACCEPT", "NOWHERE"])]);
    }
    Rule { family, table, chain, words }
}

struct Extension {
    name: &'static str,
    is_target: bool,
    options: &'static [Opt],
    cases: &'static [Case],
}

/// Those that are tried by chance. Sets are made by another command; what opens files or asks for what only a certain kernel
/// has would tell of the machine.
fn extensions(family: Family, only: &[String]) -> Vec<Extension> {
    const LEFT_OUT: [&str; 3] = ["set", "SET", "nfacct"];
    let wanted = |name: &str, families: Families| {
        families.has(family) && !LEFT_OUT.contains(&name) && (only.is_empty() || only.iter().any(|o| o == name))
    };
    let matches = MATCHES.iter().filter(|m| wanted(m.name, m.families)).map(|m| Extension {
        name: m.name,
        is_target: false,
        options: m.options,
        cases: m.cases,
    });
    let targets = TARGETS.iter().filter(|t| wanted(t.name, t.families)).map(|t| Extension {
        name: t.name,
        is_target: true,
        options: t.options,
        cases: t.cases,
    });
    matches.chain(targets).collect()
}

/// Mostly where a case of the extension stands.
fn place(dice: &mut Dice, extension: &Extension) -> (String, String) {
    const PLACES: [(&str, &str); 11] = [
        ("filter", "FORWARD"),
        ("filter", "INPUT"),
        ("filter", "OUTPUT"),
        ("mangle", "PREROUTING"),
        ("mangle", "POSTROUTING"),
        ("mangle", "OUTPUT"),
        ("nat", "PREROUTING"),
        ("nat", "POSTROUTING"),
        ("raw", "PREROUTING"),
        ("raw", "OUTPUT"),
        ("security", "INPUT"),
    ];
    let own: Vec<(&str, &str)> =
        texts(extension).filter_map(|text| text.strip_prefix('@')?.split_once('|')?.0.split_once(' ')).collect();
    let (table, chain) = if !own.is_empty() && dice.chance(85) { *dice.pick(&own) } else { *dice.pick(&PLACES) };
    (table.to_owned(), chain.to_owned())
}

/// Mostly what stands before a case of the extension.
fn protocol(dice: &mut Dice, extension: &Extension) -> Vec<String> {
    let own: Vec<&str> = texts(extension)
        .filter_map(|text| {
            let text = text.strip_prefix('@').and_then(|t| t.split_once('|')).map_or(text, |(_, text)| text);
            Some(text.split_once('|')?.0.trim()).filter(|before| before.starts_with("-p "))
        })
        .collect();
    let words = if !own.is_empty() && dice.chance(85) {
        *dice.pick(&own)
    } else {
        *dice.pick(&["", "", "", "-p tcp", "-p udp", "! -p tcp", "-p 0", "-p icmp", "-p sctp", "-p udplite", "-p 47"])
    };
    words.split_whitespace().map(str::to_owned).collect()
}

fn texts(extension: &Extension) -> impl Iterator<Item = &'static str> {
    extension.cases.iter().map(|case| match *case {
        Case::Same(text) | Case::Saves(text, _) | Case::Fails(text, _) => text,
    })
}

fn options(dice: &mut Dice, extension: &Extension, family: Family) -> Vec<String> {
    let mut chosen: Vec<&Opt> = Vec::new();
    let likely = 100 * 2 / extension.options.len().max(2);
    for option in extension.options {
        if dice.chance(if option.required { 95 } else { likely }) {
            chosen.push(option);
        }
    }
    // What goes with it, mostly; what does not, seldom.
    for option in chosen.clone() {
        for needed in extension.options.iter().filter(|o| option.needs.contains(&o.name)) {
            if dice.chance(85) && !chosen.iter().any(|c| c.name == needed.name) {
                chosen.push(needed);
            }
        }
        if dice.chance(85) {
            chosen.retain(|c| c.name == option.name || !option.excludes.contains(&c.name));
        }
    }
    if let Some(option) = chosen.first().copied()
        && dice.chance(if option.repeatable { 40 } else { 4 })
    {
        chosen.push(option);
    }
    for at in (1..chosen.len()).rev() {
        chosen.swap(at, dice.below(at + 1));
    }
    let mut words = Vec::new();
    for option in chosen {
        if dice.chance(if option.invertible { 25 } else { 2 }) {
            words.push("!".to_owned());
        }
        let names: Vec<&str> = [option.name].iter().chain(option.aliases).copied().collect();
        words.push(format!("--{}", dice.pick(&names)));
        for (at, placeholder) in option.values.iter().enumerate() {
            if (option.optional && dice.chance(30)) || dice.chance(1) {
                break;
            }
            words.push(value(dice, extension, option, at, placeholder, family));
        }
    }
    words
}

fn value(dice: &mut Dice, extension: &Extension, option: &Opt, at: usize, placeholder: &str, family: Family) -> String {
    let from_cases = values_of_cases(extension, option, at);
    let fits = |dice: &mut Dice| {
        if !from_cases.is_empty() && dice.chance(40) {
            dice.pick(&from_cases).clone()
        } else {
            made(dice, option.name, placeholder, family)
        }
    };
    match dice.below(20) {
        0 => number(dice, true),
        1 => dice.word(&ODD),
        2 => {
            let mut text = fits(dice);
            text.push_str(&dice.word(&["x", ":", ",", "/", "-", " ", "/24", ":5", "!"]));
            text
        }
        _ => fits(dice),
    }
}

const ODD: [&str; 12] = ["", " ", "x", "-", ":", ",", "/", "!", "-1", "any", "0x", "a b"];

/// What the cases give to the option as this word of its value.
fn values_of_cases(extension: &Extension, option: &Opt, at: usize) -> Vec<String> {
    let mut values = Vec::new();
    for text in texts(extension) {
        let Ok(words) = hairpin_ruleset::words::split(text.rsplit('|').next().unwrap_or(text)) else { continue };
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        for (n, word) in words.iter().enumerate() {
            let name = word.strip_prefix("--");
            if name.is_some_and(|name| name == option.name || option.aliases.contains(&name)) {
                values.extend(words.get(n + 1 + at).filter(|w| !w.starts_with("--")).map(|w| (*w).to_owned()));
            }
        }
    }
    values
}

fn number(dice: &mut Dice, odd: bool) -> String {
    const EDGES: [u64; 28] = [
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        15,
        16,
        30,
        31,
        32,
        33,
        63,
        64,
        100,
        127,
        128,
        255,
        256,
        1000,
        9999,
        10_000,
        65_535,
        65_536,
        1_000_000,
        4_294_967_295,
    ];
    let number = if dice.chance(70) { *dice.pick(&EDGES) } else { dice.bits() >> dice.below(64) };
    if !odd {
        return match dice.below(12) {
            0 => format!("{number:#x}"),
            1 => format!("0{number:o}"),
            _ => number.to_string(),
        };
    }
    match dice.below(6) {
        0 => format!("-{number}"),
        1 => format!("+{number}"),
        2 => format!(" {number}"),
        3 => format!("{number}x"),
        4 => format!("{number}.5"),
        _ => format!("{number}000000000000"),
    }
}

/// A number that most options of its kind take.
fn small(dice: &mut Dice) -> String {
    if dice.chance(70) { dice.below(256).to_string() } else { number(dice, false) }
}

fn list(dice: &mut Dice, items: &[&str]) -> String {
    let count = 1 + dice.below(3);
    (0..count).map(|_| dice.word(items)).collect::<Vec<_>>().join(",")
}

fn range(dice: &mut Dice, between: &str, item: fn(&mut Dice) -> String) -> String {
    match dice.below(8) {
        0 => between.to_owned(),
        1 => format!("{}{between}", item(dice)),
        2 => format!("{between}{}", item(dice)),
        3 | 4 => item(dice),
        _ => {
            let (a, b) = (item(dice), item(dice));
            match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(low), Ok(high)) if low > high && dice.chance(85) => format!("{b}{between}{a}"),
                _ => format!("{a}{between}{b}"),
            }
        }
    }
}

fn port(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => dice.word(&["ssh", "http", "domain", "ftp", "ntp", "nosuch", "https"]),
        1 => number(dice, false),
        _ => (dice.bits() & 0xffff).to_string(),
    }
}

fn address(dice: &mut Dice, family: Family) -> String {
    match family {
        Family::V4 => dice.word(&["10.1.2.3", "192.0.2.0", "0.0.0.0", "255.255.255.255", "10.1", "127.0.0.1", "::1"]),
        Family::V6 => dice.word(&["2001:db8::1", "::", "fe80::1", "::ffff:1.2.3.4", "fd00::", "::1", "10.0.0.1"]),
    }
}

fn masked(dice: &mut Dice, family: Family) -> String {
    let masks: &[&str] = match family {
        Family::V4 => &["", "", "/32", "/24", "/0", "/8", "/255.255.0.0", "/255.0.255.0", "/33"],
        Family::V6 => &["", "", "/128", "/64", "/0", "/48", "/ffff::", "/ffff:0:ffff::", "/129"],
    };
    address(dice, family) + &dice.word(masks)
}

/// A value of the kind that an option's placeholder names.
fn made(dice: &mut Dice, option: &str, placeholder: &str, family: Family) -> String {
    let words = |dice: &mut Dice, words: &str| {
        let words: Vec<&str> = words.split('|').collect();
        dice.word(&words)
    };
    match placeholder {
        "value[/mask]" | "value[/mask]|name" => match dice.below(3) {
            0 => number(dice, false),
            1 => format!("{}/{}", number(dice, false), number(dice, false)),
            _ => format!("{:#x}/{:#x}", dice.bits() as u32, dice.bits() as u32),
        },
        "address" if option == "mac-source" => {
            dice.word(&["00:11:22:33:44:55", "1:2:3:4:5:6", "aa:BB:cc:dd:ee:ff", "0"])
        }
        "address" => address(dice, family),
        "address[/mask]" | "address[/length]" | "network[/mask]" | "prefix/length" => masked(dice, family),
        "address[,address...]" => format!("{},{}", address(dice, family), address(dice, family)),
        "addr[-addr][:ports]" => match dice.below(4) {
            0 => address(dice, family),
            1 => format!("{}:{}", address(dice, family), range(dice, "-", port)),
            2 => format!("{}-{}:{}", address(dice, family), address(dice, family), port(dice)),
            _ => format!("{}-{}", address(dice, family), address(dice, family)),
        },
        "from[-to]" => format!("{}-{}", address(dice, family), address(dice, family)),
        "port" => port(dice),
        "port[:port]" => range(dice, ":", port),
        "port[-port]" => range(dice, "-", port),
        text if text.starts_with("port[,") => {
            (0..1 + dice.below(4)).map(|_| range(dice, ":", port)).collect::<Vec<_>>().join(",")
        }
        text if text.contains("[:") && !text.contains("type") => range(dice, ":", |dice| number(dice, false)),
        text if text.contains("id[-id]") => match dice.below(4) {
            0 => dice.word(&["root", "nobody", "daemon", "tty", "nosuch"]),
            1 => range(dice, "-", small),
            2 => range(dice, ":", small),
            _ => number(dice, false),
        },
        "first:last" => range(dice, ":", |dice| number(dice, false)),
        "major:minor" => format!("{:x}:{:x}", dice.bits() & 0x1ffff, dice.bits() & 0x1ffff),
        text if text.starts_with("n[/second") => {
            let unit = dice.word(&[
                "", "/s", "/sec", "/second", "/m", "/minute", "/hour", "/h", "/day", "/d", "/x", "kb/s", "mb/s", "b/s",
            ]);
            small(dice) + &unit
        }
        text if text.starts_with("n[kb") => small(dice) + &dice.word(&["", "", "b", "kb", "mb", "x"]),
        "rate" => small(dice) + &dice.word(&["bit", "kbit", "mbit", "Kibit", "bps", "kbps", "MiBps", "", "x"]),
        "time" => small(dice) + &dice.word(&["s", "ms", "us", "sec", "msec", "", "x"]),
        "mask" if option == "mask" => match family {
            Family::V4 => dice.word(&["255.255.255.0", "255.255.255.255", "0.0.0.0", "255.0.255.0", "0xff", "24"]),
            Family::V6 => dice.word(&["ffff::", "ffff:ffff:ffff:ffff::", "::", "64", "0xff"]),
        },
        "mask" | "comp" if option == "tcp-flags" => {
            list(dice, &["SYN", "ACK", "fin", "RST", "URG", "PSH", "ALL", "NONE"])
        }
        "hh:mm[:ss]" => dice.word(&["00:00", "8:05", "12:34:56", "23:59:59", "24:00", "1:60", "7", "01:02:03:04"]),
        text if text.starts_with("YYYY") => dice.word(&[
            "2020",
            "2021-02",
            "2022-03-04",
            "2023-01-02T03",
            "2024-12-31T23:59",
            "2037-02-03T04:05:06",
            "1969",
            "2038-13",
        ]),
        "day[,day...]" if option == "weekdays" => {
            list(dice, &["Mon", "tue", "We", "Thursday", "5", "Sat", "7", "8", "0"])
        }
        "day[,day...]" => list(dice, &["1", "2", "3", "11", "12", "13", "21", "22", "23", "30", "31", "32", "0"]),
        "state[,state...]" => {
            list(dice, &["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT", "new", "FOO"])
        }
        "status[,status...]" => list(dice, &["NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED", "seen", "FOO"]),
        "event[,event...]" => list(
            dice,
            &["new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "secmark", "foo"],
        ),
        "part[,part...]" => list(dice, &["src", "dst", "sport", "dport", "spi", "proto", "ct", "foo"]),
        "header[,header...]" => {
            list(dice, &["hop", "dst", "route", "frag", "auth", "esp", "none", "prot", "0", "60", "59", "ah", "foo"])
        }
        "option[,option...]" => {
            list(dice, &["wscale", "mss", "sack-permitted", "sack", "timestamp", "md5", "5", "255", "1", "foo"])
        }
        text if text.starts_with("srcip") => list(dice, &["srcip", "srcport", "dstip", "dstport", "foo"]),
        "type[,type...]" if option == "dccp-types" => {
            list(dice, &["REQUEST", "response", "DATA", "ACK", "INVALID", "FOO"])
        }
        "type[,type...]" => list(dice, &["UNICAST", "local", "BROADCAST", "MULTICAST", "UNSPEC", "FOO", "prohibit"]),
        text if text.starts_with("type[:flags") => list(
            dice,
            &["DATA", "data:U", "DATA:be", "INIT", "ABORT:T", "SHUTDOWN_COMPLETE:t", "ALL", "NONE", "FOO", "INIT:x"],
        ),
        text if text.starts_with("type[:length]") => list(dice, &["1", "2:3", "4:255", "0", "5:0", "300", "1:x"]),
        "type[:type]" => {
            range(dice, ":", |dice| dice.word(&["0", "3", "brr", "bu", "binding-error", "hoti", "255", "256", "foo"]))
        }
        "type[/code]" if family == Family::V6 => dice.word(&[
            "128",
            "echo-request",
            "1/3",
            "no-route",
            "neighbour-solicit",
            "ttl",
            "255",
            "256",
            "1/256",
            "foo",
            "e",
        ]),
        "type[/code]" => dice.word(&[
            "8",
            "echo-request",
            "3/4",
            "any",
            "host-un",
            "ttl",
            "255",
            "256",
            "3/256",
            "foo",
            "e",
            "255/0",
        ]),
        "type" if family == Family::V6 => dice.word(&[
            "icmp6-no-route",
            "no-route",
            "adm-prohibited",
            "port-unreach",
            "tcp-reset",
            "policy-fail",
            "foo",
        ]),
        "type" => dice.word(&[
            "icmp-net-unreachable",
            "host-unreach",
            "tcp-reset",
            "port-unreach",
            "host-prohib",
            "admin-prohib",
            "echo-reply",
            "foo",
        ]),
        "level" => {
            dice.word(&["0", "7", "8", "warning", "warn", "debug", "emerg", "panic", "error", "err", "INFO", "info"])
        }
        "class" => dice.word(&["BE", "CS1", "af11", "AF43", "EF", "cs8", "foo", "VA", "LE"]),
        "proto" | "protocol" => dice.word(&["tcp", "6", "udp", "255", "256", "esp", "ah", "ipcomp", "108", "foo", "0"]),
        "name" | "text" | "prefix" | "context"
            if !option.contains("prefix") || option.starts_with("log") || option.starts_with("nflog") =>
        {
            dice.word(&[
                "a",
                "foo",
                "a b",
                "it's",
                "\"q\"",
                "back\\slash",
                "a,b",
                "x/y",
                "0123456789012345678901234567890123456789",
                ".",
                "|61|",
            ])
        }
        "name|number" => dice.word(&["0", "127", "128", "foo", "65536", "0x10"]),
        "name[+]" | "device" => dice.word(&["eth0", "lo", "eth+", "sixteen-bytes-00", "a/b", "+", "fifteen-bytes-0"]),
        "path" => dice.word(&["/", "/nosuch", "", "/a b"]),
        "tests" => dice.word(&[
            "0=0",
            "0>>22&0x3C@0&0xFF=1:2",
            "1=1&&2=2,3",
            "1=",
            "=1",
            "1&2=3:2",
            "0=99999999999",
            "1<<2=4 && 3=3",
        ]),
        "n,code jt jf k,..." => {
            dice.word(&["1,6 0 0 1", "2,48 0 0 9,6 0 0 0", "0", "1,6 0 0", "65,1 1 1 1", "1,6 300 0 1"])
        }
        "ms|inf" => dice.word(&["inf", "0", "500", "infinite", "-1", "x"]),
        "id|mark" => dice.word(&["mark", "0", "1", "65535", "65536", "0x10", "foo"]),
        text if text.contains('|') && !text.contains('[') => {
            if dice.chance(12) {
                words(dice, text).to_uppercase()
            } else {
                words(dice, text)
            }
        }
        "0..2" | "0..3" => dice.below(5).to_string(),
        "p" if option == "probability" => {
            dice.word(&["0", "1", "0.5", "0.33", "1.1", ".25", "1e-3", "-0", "0.00000000001"])
        }
        _ => small(dice),
    }
}
