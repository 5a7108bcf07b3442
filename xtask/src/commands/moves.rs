//! Random commands that are no new rule: all verbs, on rules and chains that are there or not, listings with any flags, rule files
//! onto what is there, and words gone wrong.

use super::generate::{Dice, Rule};

/// A command to be given to both programs.
#[derive(Debug)]
pub(super) struct Move {
    /// What follows `iptables` in the program's name.
    pub(super) program: &'static str,
    pub(super) words: Vec<String>,
    pub(super) input: String,
}

const CHAINS: &[&str] = &["INPUT", "FORWARD", "OUTPUT", "own", "other", "third", "fourth"];
const OWN: &[&str] = &["own", "other", "third", "fourth"];

/// Some command in the table of this rule; `before` are the words after `-A` of rules that were accepted.
pub(super) fn random(dice: &mut Dice, rule: &Rule, before: &[Vec<String>]) -> Move {
    let (program, mut words, mut input) = match dice.roll(22) {
        0..=6 => ("", of_chains(dice, rule), String::new()),
        7..=9 => ("", of_rules(dice, rule, before), String::new()),
        10..=13 => ("", listing(dice, rule), String::new()),
        14 => ("-save", save(dice), String::new()),
        15 => ("", mutated(dice, rule), String::new()),
        16 => ("", [of_chains(dice, rule), of_chains(dice, rule)].concat(), String::new()),
        17 => ("", asking_for_help(dice, rule), String::new()),
        _ => ("-restore", restore_flags(dice), file(dice, rule, before)),
    };
    if program.is_empty() {
        words.splice(0..0, ["-t".to_owned(), rule.table.clone()]);
    } else if program == "-restore" && dice.percent(5) {
        input = input.replacen("COMMIT", dice.pick(&["commit", "", "COMMIT x", "*filter"]), 1);
    }
    Move { program, words, input }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn number(dice: &mut Dice) -> &'static str {
    dice.pick(&["1", "1", "2", "3", "9", "0", "x", "-1", "1x", " 2", "4294967297", "", "0x1", "1:2"])
}

fn of_chains(dice: &mut Dice, rule: &Rule) -> Vec<String> {
    let chain = if dice.percent(30) { rule.chain.clone() } else { dice.pick(CHAINS).to_owned() };
    let own = dice.pick(OWN);
    let odd = dice.pick(&[
        "third",
        "fourth",
        "ACCEPT",
        "INPUT",
        "-x",
        "!a",
        "a b",
        "",
        "TCPMSS",
        "abcdefghijklmnopqrstuvwxyz12",
        "abcdefghijklmnopqrstuvwxyz123",
        "a/b",
        "x\ty",
    ]);
    match dice.roll(16) {
        0 | 1 => owned(&[dice.pick(&["-N", "--new-chain", "--new"]), dice.pick(&["third", "fourth", odd])]),
        2 => owned(&[dice.pick(&["-X", "--delete-chain"]), own]),
        3 => owned(&["-X"]),
        4 | 5 => owned(&[dice.pick(&["-E", "--rename-chain"]), dice.pick(&[own, &chain]), dice.pick(&[own, odd])]),
        6 => owned(&["-P", &chain, dice.pick(&["DROP", "ACCEPT", "REJECT", "drop", "RETURN"])]),
        7 => owned(&["--policy", &chain, "ACCEPT", "-c", dice.pick(&["1", "77", "x"]), "2"]),
        8 | 9 => owned(&[dice.pick(&["-F", "--flush"]), &chain]),
        10 => owned(&["-F"]),
        11 => owned(&["-Z", &chain]),
        12 => owned(&["-Z"]),
        13 => owned(&["--zero", &chain, number(dice)]),
        14 => owned(&["-D", &chain, number(dice)]),
        _ => owned(&["-v", "-D", &chain, number(dice)]),
    }
}

/// The verbs that take a rule: on one that is there, or with another.
fn of_rules(dice: &mut Dice, rule: &Rule, before: &[Vec<String>]) -> Vec<String> {
    let chain = if dice.percent(30) { dice.pick(CHAINS).to_owned() } else { rule.chain.clone() };
    let mut words = match dice.roll(6) {
        0 => owned(&["-C", &chain]),
        1 => owned(&["-D", &chain]),
        2 | 3 => owned(&["-R", &chain, number(dice)]),
        4 => owned(&["-I", &chain]),
        _ => owned(&["--insert", &chain, number(dice)]),
    };
    match dice.roll(4) {
        0 => words.extend(owned(&["-p", "tcp", "--syn"])),
        1 => words.extend(owned(&["-j", "ACCEPT"])),
        _ if before.is_empty() => words.extend(rule.words.iter().cloned()),
        _ => words.extend(before[dice.roll(before.len())].iter().cloned()),
    }
    if dice.percent(20) {
        words.push("-v".to_owned());
    }
    words
}

fn listing(dice: &mut Dice, rule: &Rule) -> Vec<String> {
    let mut words = owned(&[dice.pick(&["-L", "-L", "--list", "-S", "--list-rules"])]);
    if dice.percent(60) {
        words.push(if dice.percent(30) { dice.pick(CHAINS).to_owned() } else { rule.chain.clone() });
        if dice.percent(30) {
            words.push(number(dice).to_owned());
        }
    }
    let rules_only = words[0].starts_with("-S") || words[0].ends_with("rules");
    let flags: &[&str] = if dice.percent(15) {
        &["-4", "-6", "-w", "-w1", "--wait=2", "-W5", "-c", "-f", "-Z", "-M", "-x", "--exact", "-n"]
    } else if rules_only && dice.percent(90) {
        &["-v", "-Z", "--verbose"]
    } else {
        &["-v", "-n", "-x", "--line-numbers", "--exact", "--numeric", "--line", "-Z", "-vn", "-nvx"]
    };
    for _ in 0..dice.roll(4) {
        let at = if dice.percent(50) { 0 } else { words.len() };
        words.insert(at, dice.pick(flags).to_owned());
    }
    words
}

/// `-h` or `-V` somewhere in a rule.
fn asking_for_help(dice: &mut Dice, rule: &Rule) -> Vec<String> {
    let mut words = if dice.percent(50) { owned(&["-A", &rule.chain]) } else { Vec::new() };
    words.extend(rule.words.iter().cloned());
    words.truncate(dice.roll(words.len() + 1));
    words.push(dice.pick(&["-h", "--help", "-h", "-V", "--version", "-hv"]).to_owned());
    if dice.percent(20) {
        words.push(dice.pick(&["x", "-L", "-j", "--nonesuch"]).to_owned());
    }
    words
}

fn save(dice: &mut Dice) -> Vec<String> {
    let mut words = Vec::new();
    if dice.percent(50) {
        words.push(dice.pick(&["-c", "--counters"]).to_owned());
    }
    if dice.percent(70) {
        words.extend(owned(&[dice.pick(&["-t", "--table"]), dice.pick(&["filter", "mangle", "raw", "nat", "nope"])]));
    }
    if dice.percent(15) {
        words.extend(owned(dice.pick(&[
            &["-M", "/bin/true"][..],
            &["--modprobe=x"],
            &["-f", "/dev/null"],
            &["-d"],
            &["-b"],
        ])));
    }
    if dice.percent(5) {
        words.push(dice.pick(&["x", "-q", "--count"]).to_owned());
    }
    words
}

/// A rule with one of its words gone, doubled or changed.
fn mutated(dice: &mut Dice, rule: &Rule) -> Vec<String> {
    let mut words = owned(&["-A", &rule.chain]);
    words.extend(rule.words.iter().cloned());
    let at = dice.roll(words.len());
    match dice.roll(4) {
        0 => drop(words.remove(at)),
        1 => words.insert(at, words[at].clone()),
        2 => words.swap(at, 0),
        _ => {
            words.insert(at, dice.pick(&["!", "-j", "-p", "--", "-Q", "--nonesuch", "-4", "-6", "-w", "x"]).to_owned())
        }
    }
    words
}

fn restore_flags(dice: &mut Dice) -> Vec<String> {
    let mut words = Vec::new();
    if dice.percent(85) {
        words.push(dice.pick(&["-n", "--noflush"]).to_owned());
    }
    if dice.percent(40) {
        words.push(dice.pick(&["-c", "--counters"]).to_owned());
    }
    while dice.percent(25) {
        words.push(dice.pick(&["-v", "-t", "-w", "--test", "--verbose", "-nv", "-tv", "-w5", "--wait=1"]).to_owned());
    }
    if dice.percent(10) {
        words.extend(owned(&[dice.pick(&["-T", "--table"]), dice.pick(&["filter", "mangle", "nope"])]));
    }
    if dice.percent(5) {
        words.extend(owned(dice.pick(&[
            &["-M", "/bin/true"][..],
            &["-W", "5"],
            &["-b"],
            &["-V"],
            &["-h"],
            &["nosuch", "file"],
        ])));
    }
    words
}

/// A rule file of one table. Commands on several would differ on purpose: hairpin applies none of a file with a fault.
fn file(dice: &mut Dice, rule: &Rule, before: &[Vec<String>]) -> String {
    let mut text = format!("*{}\n", rule.table);
    for _ in 0..dice.roll(4) {
        let line = match dice.roll(7) {
            0 => format!(":{} ACCEPT [3:4]", rule.chain),
            1 => format!(":{} DROP", dice.pick(CHAINS)),
            2 => ":INPUT - [0:0]".to_owned(),
            3 => dice
                .pick(&["# a comment", ":INPUT ACCEPT [a:b]", ":third", ":ACCEPT - [0:0]", ":x - x", ": x"])
                .to_owned(),
            4 => String::new(),
            _ => format!(":{} - [0:0]", dice.pick(OWN)),
        };
        text += &(line + "\n");
    }
    for _ in 0..dice.roll(6) {
        if dice.percent(25) {
            text += dice.pick(&["[1:2] ", "[0:0] ", "[100000:12345678901] ", "[1:2]", "[x:y] ", "[1] "]);
        }
        let words = match dice.roll(10) {
            0 | 1 => of_chains(dice, rule),
            2 => [listing(dice, rule), of_chains(dice, rule)][usize::from(dice.percent(60))].clone(),
            3 | 4 => of_rules(dice, rule, before),
            5 if dice.percent(20) => mutated(dice, rule),
            6 if dice.percent(30) => {
                let other = dice.pick(&["-4", "-6", "-w", "-t filter", "-v"]);
                [owned(&["-A", "own", "-j", "ACCEPT"]), owned(&[other])].concat()
            }
            _ if before.is_empty() || dice.percent(30) => [owned(&["-A", &rule.chain]), rule.words.clone()].concat(),
            _ => [owned(&["-A", dice.pick(OWN)]), before[dice.roll(before.len())].clone()].concat(),
        };
        text += &(words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ") + "\n");
    }
    text + "COMMIT\n"
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '\t', '"', '\'', '\\']) {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        word.to_owned()
    }
}
