//! Random commands, made from the extension tables.

use hairpin_wire::Family;
use hairpin_xt::option::Opt;
use hairpin_xt::{Case, MATCHES, TARGETS};
use std::collections::BTreeMap;

/// A seeded source of choices.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }

    /// Whether a thing of so many in a hundred happens.
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.roll(100) < chance
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.roll(all.len())]
    }
}

/// What the generator knows of an extension.
#[derive(Debug)]
pub(super) struct Extension {
    pub(super) name: &'static str,
    pub(super) is_target: bool,
    options: &'static [Opt],
    cases: Vec<Parts>,
    /// For each option the values that its cases have.
    values: BTreeMap<&'static str, Vec<Vec<String>>>,
}

/// A case taken apart.
#[derive(Clone, Debug)]
struct Parts {
    place: Option<(String, String)>,
    before: Vec<String>,
    after: Vec<String>,
    holds: bool,
}

/// A rule to be tried.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) words: Vec<String>,
}

/// All extensions of a family.
pub(super) fn extensions(family: Family) -> Vec<Extension> {
    let matches = MATCHES.iter().filter(|m| m.families.has(family)).map(|m| (m.name, false, m.options, m.cases));
    let targets = TARGETS.iter().filter(|t| t.families.has(family)).map(|t| (t.name, true, t.options, t.cases));
    matches.chain(targets).map(|(name, target, options, cases)| extension(name, target, options, cases)).collect()
}

/// Options of old iptables that hairpin has on purpose, and 1.8.11 does not.
const OURS_ALONE: &[&str] = &["pid-owner", "sid-owner", "cmd-owner"];

fn extension(name: &'static str, is_target: bool, options: &'static [Opt], cases: &[Case]) -> Extension {
    let ours_alone = |word: &String| word.strip_prefix("--").is_some_and(|name| OURS_ALONE.contains(&name));
    let cases: Vec<Parts> = cases.iter().map(parts).filter(|c| !c.after.iter().any(ours_alone)).collect();
    let mut values: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for option in options {
        for case in &cases {
            for (at, word) in case.after.iter().enumerate() {
                let is = word.strip_prefix("--").is_some_and(|n| n == option.name || option.aliases.contains(&n));
                if is {
                    let count = option.values.len();
                    let words = case.after.iter().skip(at + 1).take(count).cloned().collect();
                    values.entry(option.name).or_default().push(words);
                }
            }
        }
    }
    Extension { name, is_target, options, cases, values }
}

fn parts(case: &Case) -> Parts {
    let (Case::Same(text) | Case::Saves(text, _) | Case::Fails(text, _)) = *case;
    let (place, text) = match text.strip_prefix('@').and_then(|rest| rest.split_once('|')) {
        Some((place, text)) => (place.split_once(' ').map(|(t, c)| (t.to_owned(), c.to_owned())), text),
        None => (None, text),
    };
    let (before, after) = text.split_once('|').unwrap_or(("", text));
    Parts { place, before: split(before), after: split(after), holds: !matches!(case, Case::Fails(..)) }
}

fn split(text: &str) -> Vec<String> {
    let words = hairpin_ruleset::words::split(text).unwrap_or_default();
    words.into_iter().map(|w| w.text.into_owned()).collect()
}

/// A rule that the real program should accept when the kernel has the extension: its first case that holds.
pub(super) fn probe(extension: &Extension) -> Option<Rule> {
    let case = extension.cases.iter().find(|c| c.holds)?;
    let (table, chain) = case.place.clone().unwrap_or(("filter".to_owned(), "FORWARD".to_owned()));
    let mut words = case.before.clone();
    words.extend([flag(extension).to_owned(), extension.name.to_owned()]);
    words.extend(case.after.clone());
    Some(Rule { table, chain, words })
}

fn flag(extension: &Extension) -> &'static str {
    if extension.is_target { "-j" } else { "-m" }
}

/// A random rule. With `faults` most of its extensions have a mistake.
pub(super) fn rule(dice: &mut Dice, family: Family, all: &[Extension], faults: bool) -> Rule {
    let mut place = None;
    let mut words = Vec::new();
    let mut rest = Vec::new();
    header(dice, family, &mut words);
    let matches: Vec<&Extension> = all.iter().filter(|e| !e.is_target).collect();
    let targets: Vec<&Extension> = all.iter().filter(|e| e.is_target).collect();
    let count = if matches.is_empty() { 0 } else { [0, 1, 1, 1, 1, 2, 2, 3][dice.roll(8)] };
    for _ in 0..count {
        let extension = matches[dice.roll(matches.len())];
        use_extension(dice, extension, faults, &mut place, &mut words, &mut rest);
    }
    if !targets.is_empty() && (count == 0 || dice.percent(50)) {
        let extension = targets[dice.roll(targets.len())];
        use_extension(dice, extension, faults, &mut place, &mut words, &mut rest);
    } else if dice.percent(80) {
        let known: &[&str] = &["ACCEPT", "DROP", "RETURN", "own", "QUEUE", "other", "own"];
        let name = if dice.percent(5) { dice.pick(&["CONTINUE", "MISSING", "INPUT"]) } else { dice.pick(known) };
        rest.push(
            if name == "own" || name == "other" {
                dice.pick(&["-j", "-g", "--goto"])
            } else {
                dice.pick(&["-j", "-j", "--jump"])
            }
            .to_owned(),
        );
        rest.push(name.to_owned());
    }
    words.extend(rest);
    if dice.percent(10) {
        words.extend(["-c".to_owned(), dice.pick(&["1", "100000", "12345678901"]).to_owned()]);
        words.push(dice.pick(&["2", "99999999", "18446744073709551615"]).to_owned());
    }
    let random_place = || ("filter".to_owned(), "FORWARD".to_owned());
    let (table, chain) = place.unwrap_or_else(random_place);
    let (table, chain) = match dice.roll(10) {
        0 => ("mangle".to_owned(), dice.pick(&["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]).to_owned()),
        1 => (table, dice.pick(&["INPUT", "OUTPUT", "own", "PREROUTING"]).to_owned()),
        _ => (table, chain),
    };
    Rule { table, chain, words }
}

fn header(dice: &mut Dice, family: Family, words: &mut Vec<String>) {
    let v4: &[&str] = &[
        "10.0.0.1",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "1.2.3.4/255.0.255.0",
        "192.168.1.1/24",
        "127.0.0.1",
        "10.1.1.1,10.2.2.2",
        "any",
        "10.1",
        "1.2.3.4/0",
        "localhost",
        "0",
        "loopback/8",
        "link-local",
        "127.0.0.0/8",
        "8.8.8.8/32",
    ];
    let v6: &[&str] = &[
        "::1",
        "fe80::/10",
        "::/0",
        "2001:db8::1/64",
        "::ffff:1.2.3.4",
        "2001:db8::1,2001:db8::2",
        "2001:db8::/ffff:0:ffff::",
        "2001:DB8::A",
        "::1.2.3.4",
        "ff02::1:2/127",
    ];
    let wrong: &[&str] = &["10.0.0.1/33", "300.1.1.1", "1::2::3", "::1/129", "nohost", "10.0.0.1/a", ""];
    let addresses = if family == Family::V4 { v4 } else { v6 };
    for (short, long) in [("-s", "--source"), ("-d", "--destination")] {
        if dice.percent(20) {
            let pool = if dice.percent(3) { wrong } else { addresses };
            option(dice, short, long, dice_value(pool), words);
        }
    }
    for (short, long) in [("-i", "--in-interface"), ("-o", "--out-interface")] {
        if dice.percent(12) {
            let devices: &[&str] = &["eth0", "eth+", "+", "lo", "verylongdevice1", "eth0.1"];
            let wrong: &[&str] = &["verylongdevice1x", "a b", ""];
            let pool = if dice.percent(5) { wrong } else { devices };
            option(dice, short, long, dice_value(pool), words);
        }
    }
    if dice.percent(20) {
        let protocols: &[&str] = &[
            "tcp",
            "udp",
            "icmp",
            "6",
            "17",
            "all",
            "0",
            "sctp",
            "TCP",
            "ipv6-icmp",
            "gre",
            "47",
            "255",
            "132",
            "esp",
        ];
        let pool = if dice.percent(5) { &["256", "nope", ""] } else { protocols };
        option(dice, "-p", "--protocol", dice_value(pool), words);
    }
    if dice.percent(3) {
        if dice.percent(30) {
            words.push("!".to_owned());
        }
        words.push(dice.pick(&["-f", "--fragment"]).to_owned());
    }
}

fn dice_value<'a>(all: &'a [&'a str]) -> impl FnOnce(&mut Dice) -> String + 'a {
    move |dice| dice.pick(all).to_owned()
}

fn option(dice: &mut Dice, short: &str, long: &str, value: impl FnOnce(&mut Dice) -> String, words: &mut Vec<String>) {
    let value = value(dice);
    if dice.percent(20) && !value.contains(',') && !matches!(value.as_str(), "all" | "0") {
        words.push("!".to_owned());
    }
    match dice.roll(8) {
        0 => words.push(format!("{short}{value}")),
        1 => words.push(format!("{long}={value}")),
        2 => words.extend([long.to_owned(), value]),
        3 => words.extend([long[..long.len() - 1 - dice.roll(3)].to_owned(), value]),
        _ => words.extend([short.to_owned(), value]),
    }
}

fn use_extension(
    dice: &mut Dice,
    extension: &Extension,
    faults: bool,
    place: &mut Option<(String, String)>,
    before: &mut Vec<String>,
    words: &mut Vec<String>,
) {
    let how = dice.roll(20);
    // Mostly what should hold, so that most rules have at most one fault.
    let wanted = |case: &&Parts| if faults { how < 4 || !case.holds } else { how == 0 || case.holds };
    let cases: Vec<&Parts> = extension.cases.iter().filter(wanted).collect();
    let Some(case) = cases.get(dice.roll(cases.len())) else { return };
    if place.is_none() {
        place.clone_from(&case.place);
    }
    if !before.iter().any(|w| w.starts_with("-p") || w.starts_with("--p")) {
        before.extend(case.before.iter().cloned());
    }
    words.extend([flag(extension).to_owned(), extension.name.to_owned()]);
    if how < 17 {
        words.extend(if dice.percent(20) { in_other_order(dice, &case.after) } else { case.after.clone() });
    }
    if how < 15 {
        return;
    }
    for _ in 0..=dice.roll(2) {
        let options: Vec<&'static Opt> = extension.options.iter().filter(|o| !OURS_ALONE.contains(&o.name)).collect();
        if !options.is_empty() {
            let option = options[dice.roll(options.len())];
            random_option(dice, extension, option, words);
        }
    }
}

/// The options of a case, each with its values, in another order.
fn in_other_order(dice: &mut Dice, words: &[String]) -> Vec<String> {
    let mut options: Vec<Vec<String>> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let begins = word == "!" || (word.starts_with("--") && (at == 0 || words[at - 1] != "!"));
        match options.last_mut() {
            Some(option) if !begins => option.push(word.clone()),
            _ => options.push(vec![word.clone()]),
        }
    }
    for at in (1..options.len()).rev() {
        options.swap(at, dice.roll(at + 1));
    }
    options.concat()
}

fn random_option(dice: &mut Dice, extension: &Extension, option: &'static Opt, words: &mut Vec<String>) {
    if dice.percent(if option.invertible { 30 } else { 4 }) {
        words.push("!".to_owned());
    }
    let names: Vec<&str> = std::iter::once(option.name).chain(option.aliases.iter().copied()).collect();
    let name = dice.pick(&names);
    let name = if dice.percent(10) && name.len() > 4 { &name[..name.len() - 1 - dice.roll(3)] } else { name };
    words.push(format!("--{name}"));
    if option.values.is_empty() || (option.optional && dice.percent(40)) {
        return;
    }
    let known = extension.values.get(option.name).filter(|_| dice.percent(60));
    if let Some(values) = known {
        words.extend(values[dice.roll(values.len())].iter().cloned());
        return;
    }
    for _ in option.values {
        words.push(any_value(dice));
    }
}

fn any_value(dice: &mut Dice) -> String {
    let fixed: &[&str] = &[
        "0",
        "1",
        "2",
        "7",
        "63",
        "64",
        "255",
        "256",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "-1",
        "0x10",
        "0xffff/0xff",
        "010",
        "1:5",
        "5:1",
        ":7",
        "7:",
        "1,2,3",
        "foo",
        "a b",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "2001:db8::/32",
        "10.0.0.1-10.0.0.9",
        "80",
        "http",
        "tcp",
        "1-5",
        "SYN,ACK",
        "ALL",
        "NONE",
        "1/2",
        "3/sec",
        "10/minute",
        "",
        "root",
        "eth0",
        "0x",
        "1.5",
        "x\"y",
        "new",
        "all",
    ];
    match dice.roll(4) {
        0 => dice.roll(70_000).to_string(),
        _ => dice.pick(fixed).to_owned(),
    }
}
