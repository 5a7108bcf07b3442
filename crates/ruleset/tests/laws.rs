//! Laws of reading and saving, tried on generated rules: whatever is saved is read again as the same thing.

mod common;

use common::{restored, restored_onto, run, saved};
use hairpin_engine::rule::{Rule, Ruleset, TableId};
use hairpin_ruleset::save::rule_text;
use hairpin_wire::Family;
use hairpin_xt::{Case, MATCHES, TARGETS};

const ROUNDS: u64 = 2_000;

#[test]
fn reading_what_was_saved_gives_the_same_rule() {
    for family in [Family::V4, Family::V6] {
        let mut tried = 0;
        for seed in 0..ROUNDS {
            let mut dice = Dice(seed);
            let line = rule(&mut dice, family);
            let mut first = Ruleset::new(family);
            // A combination may be refused (two matches that ask for different protocols); then there is nothing to save.
            if run(&mut first, &format!("-t mangle -A FORWARD {line}")).is_err() {
                continue;
            }
            tried += 1;
            let chain = first.table(TableId::Mangle).and_then(|t| t.chain("FORWARD")).expect("a built-in chain");
            for rule in &chain.rules {
                let text = rule_text(family, "FORWARD", rule);
                let mut second = Ruleset::new(family);
                run(&mut second, &format!("-t mangle {text}"))
                    .unwrap_or_else(|e| panic!("{line:?} was saved as {text:?}, refused: {}", e.message()));
                let table = second.table(TableId::Mangle).and_then(|t| t.chain("FORWARD")).expect("a built-in chain");
                let [again] = table.rules.as_slice() else { panic!("{text:?} is one rule") };
                assert_eq!(again.header, rule.header, "{line:?} saved as {text:?}");
                assert_eq!(rule_text(family, "FORWARD", again), text, "typed {line:?}");
                if !loses(&line) {
                    // Whether a bare + was written is seen in listings only.
                    let meant = |rule: &Rule| format!("{rule:?}").replace("any: true", "any: false");
                    assert_eq!(meant(again), meant(rule), "typed {line:?}, saved {text:?}");
                }
            }
        }
        assert!(tried > ROUNDS / 5, "only {tried} of {ROUNDS} rules were accepted");
    }
}

#[test]
fn saving_restoring_and_saving_is_saving() {
    for family in [Family::V4, Family::V6] {
        for seed in 0..100 {
            let text = file(&mut Dice(seed), family);
            let Ok(first) = restored_onto(&Ruleset::new(family), &text, true, false) else { continue };
            let once = saved(&first.ruleset);
            let second = restored_onto(&Ruleset::new(family), &once, true, false).expect("saved text is read");
            // Saving lists the table used last first, so that twice is the first order again.
            let third = restored_onto(&Ruleset::new(family), &saved(&second.ruleset), true, false).expect("and again");
            assert_eq!(saved(&third.ruleset), once, "{text}");
        }
    }
}

#[test]
fn a_rule_is_found_by_its_own_text() {
    for seed in 0..ROUNDS / 4 {
        let mut dice = Dice(seed);
        let line = rule(&mut dice, Family::V4);
        let mut ruleset = Ruleset::new(Family::V4);
        for filler in ["-s 9.9.9.9 -j DROP", &line, "-j ACCEPT"] {
            if run(&mut ruleset, &format!("-t mangle -A FORWARD {filler}")).is_err() {
                break;
            }
        }
        let before = saved(&ruleset);
        if before.lines().filter(|l| l.contains("-A ")).count() < 3 {
            continue;
        }
        run(&mut ruleset, &format!("-t mangle -C FORWARD {line}")).expect("it is there");
        run(&mut ruleset, &format!("-t mangle -D FORWARD {line}")).expect("it goes");
        assert_ne!(saved(&ruleset), before);
    }
}

#[test]
fn hostile_text_is_refused_or_read_but_never_panics() {
    let seeds = [
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -m comment --comment \"a b\" -j ACCEPT\nCOMMIT\n",
        "*nat\n:x - [0:0]\n[1:2] -A x -s 1.2.3.4/8,5.6.7.8 ! -i eth+ -j MASQUERADE --to-ports 1-2\n-g x\n-I x 1 -f\nCOMMIT\n",
        "*mangle\n-N y\n-A y -m limit --limit 3/s -m mark --mark 0x1/0xf -j MARK --set-mark 7\n-X\n-E y z\n-Z\n-P INPUT DROP\nCOMMIT\n",
    ];
    for seed in 0..6_000 {
        let mut dice = Dice(seed);
        let mut bytes = dice.of(&seeds).as_bytes().to_vec();
        for _ in 0..=dice.below(6) {
            let at = dice.below(bytes.len() as u64 + 1) as usize;
            match dice.below(4) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 => bytes.insert(at, *dice.of(b"\"\\!-+:[]/,*#= \n\0\xff9azA")),
                2 if at < bytes.len() => bytes[at] = dice.next() as u8,
                _ => bytes.truncate(at),
            }
        }
        for family in [Family::V4, Family::V6] {
            let names = hairpin_ruleset::names::SystemNames::new();
            let options = hairpin_ruleset::restore::RestoreOptions {
                file: "hostile",
                counters: seed % 2 == 0,
                noflush: seed % 3 == 0,
                table: None,
                names: &names,
            };
            if let Err(e) = hairpin_ruleset::restore::restore(&Ruleset::new(family), &bytes, &options) {
                assert!(matches!(e.code, 1..=3) && e.line > 0 && e.column > 0, "{e}");
            }
        }
    }
}

#[test]
fn a_restored_table_is_all_or_nothing() {
    let base = restored(Family::V4, "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n").expect("a rule").ruleset;
    let before = saved(&base);
    let bad = "*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n*filter\n-A INPUT -j DROP\n-A INPUT -j NOPE\nCOMMIT\n";
    let error = restored_onto(&base, bad, false, false).expect_err("no such target");
    assert_eq!((error.line, error.code), (6, 2));
    assert_eq!(saved(&base), before);
}

/// Whether Linux' own form of a rule says less than the rule: iptables-save prints two zones of `-j CT` as one, and a list of recent
/// without a mask, which holds all of the addresses of both families, as one with the mask of its own family.
fn loses(line: &str) -> bool {
    let one_zone = line.contains("--zone-orig") && line.contains("--zone-reply") || line.contains("--zone ");
    one_zone || line.contains("-m recent") && !line.contains("--mask ")
}

/// A whole file with chains that call each other downwards.
fn file(dice: &mut Dice, family: Family) -> String {
    let mut text = String::new();
    for table in ["mangle", "raw"].iter().take(1 + dice.below(2) as usize) {
        text +=
            &format!("*{table}\n:PREROUTING {} [{}:{}]\n", dice.of(&["ACCEPT", "DROP"]), dice.below(99), dice.next());
        let chains = dice.below(4);
        for chain in 0..chains {
            text += &format!(":chain{chain} - [0:0]\n");
        }
        for _ in 0..dice.below(12) {
            let from = dice.below(chains + 1);
            let name = if from == chains { "PREROUTING".to_owned() } else { format!("chain{from}") };
            let action = match dice.below(3) {
                0 if from > 0 => format!("-{} chain{}", dice.of(&["j", "g"]), dice.below(from)),
                1 => "-j RETURN".to_owned(),
                _ => String::new(),
            };
            text += &format!("[{}:{}] -A {name} {} {action}\n", dice.below(9), dice.below(1000), header(dice, family));
        }
        text += "COMMIT\n";
    }
    text
}

/// The words of one rule: a header, some matches and perhaps a target, from the cases that extensions bring.
fn rule(dice: &mut Dice, family: Family) -> String {
    let mut words = vec![header(dice, family)];
    for _ in 0..dice.below(3) {
        let spec = dice.of(MATCHES);
        if spec.families.has(family) {
            words.push(use_of("-m", spec.name, dice.of(spec.cases)));
        }
    }
    match dice.below(4) {
        0 => words.push("-j ACCEPT".to_owned()),
        1 => words.push("-j RETURN".to_owned()),
        2 => {
            let spec = dice.of(TARGETS);
            if spec.families.has(family) {
                words.push(use_of("-j", spec.name, dice.of(spec.cases)));
            }
        }
        _ => {}
    }
    words.join(" ")
}

fn use_of(option: &str, name: &str, case: &Case) -> String {
    let (Case::Same(text) | Case::Saves(text, _) | Case::Fails(text, _)) = *case;
    let text = text.strip_prefix('@').and_then(|t| t.split_once('|')).map_or(text, |(_, t)| t);
    let (before, after) = text.split_once('|').unwrap_or(("", text));
    format!("{before} {option} {name} {after}")
}

fn header(dice: &mut Dice, family: Family) -> String {
    let mut words = String::new();
    let not = |dice: &mut Dice| if dice.below(4) == 0 { "! " } else { "" };
    for option in ["-s", "-d"] {
        let addr = match (dice.below(5), family) {
            (0, Family::V4) => format!("{}.{}.0.1", dice.below(256), dice.below(256)),
            (1, Family::V4) => format!("10.{}.3.4/{}", dice.below(256), dice.below(33)),
            (2, Family::V4) => format!("10.1.2.3/{}.0.{}.255", dice.below(256), dice.below(256)),
            (0, Family::V6) => format!("2001:db8::{:x}", dice.below(65536)),
            (1, Family::V6) => format!("fe80::{:x}:1/{}", dice.below(65536), dice.below(129)),
            (2, Family::V6) => format!("2001:db8::/ffff::{:x}", dice.below(65536)),
            _ => continue,
        };
        words += &format!("{}{option} {addr} ", not(dice));
    }
    for option in ["-i", "-o"] {
        if dice.below(3) == 0 {
            let name = dice.of(&["eth0", "eth+", "+", "a.very-long_if1", "wg0", "veth+", "büro0"]);
            words += &format!("{}{option} {name} ", not(dice));
        }
    }
    match dice.below(4) {
        0 => {
            words +=
                &format!("{}-p {} ", not(dice), dice.of(&["tcp", "udp", "sctp", "esp", "GRE", "ipv6-icmp", "dccp"]))
        }
        1 => words += &format!("-p {} ", dice.below(256)),
        _ => {}
    }
    if family == Family::V4 && dice.below(6) == 0 {
        words += &format!("{}-f ", not(dice));
    }
    words
}

/// A reproducible source of choices (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
