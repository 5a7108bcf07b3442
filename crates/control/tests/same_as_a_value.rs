//! Rules in a file answer every command as rules in memory do, whatever was done before.

use hairpin_commands::{Call, Failure, Outcome, Program, State, find, run};
use hairpin_control::state_file::StateFile;
use hairpin_engine::rule::{Ruleset, Table};
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::path::PathBuf;

/// Rules in memory: only what a state must have.
struct InMemory {
    names: SystemNames,
    rules: [Ruleset; 2],
}

impl InMemory {
    fn new() -> InMemory {
        InMemory { names: SystemNames::new(), rules: [Ruleset::new(Family::V4), Ruleset::new(Family::V6)] }
    }

    fn of(&mut self, family: Family) -> &mut Ruleset {
        &mut self.rules[usize::from(family == Family::V6)]
    }
}

impl State for InMemory {
    fn names(&self) -> &dyn Names {
        &self.names
    }

    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        Ok(self.of(family).clone())
    }

    fn replace(&mut self, family: Family, tables: Vec<Table>) -> Result<(), Failure> {
        let mut new = self.of(family).clone();
        for table in tables {
            let id = table.id;
            *new.table_mut(id) = table;
        }
        new.check()?;
        *self.of(family) = new;
        Ok(())
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len() as u64) as usize]
    }
}

const CHAINS: &[&str] = &["INPUT", "FORWARD", "OUTPUT", "one", "two", "three", "four"];
const OWN: &[&str] = &["one", "two", "three", "four"];

fn rule(dice: &mut Dice) -> String {
    let test = dice.pick(&[
        "",
        "-s 10.0.0.1",
        "-p tcp --dport 80",
        "-p udp -m udp ! --sport 1:5",
        "-m comment --comment \"a \\\"quoted\\\" text\"",
        "-m owner --uid-owner 0",
        "-m mark --mark 1",
    ]);
    let target = match dice.roll(3) {
        0 => format!("-j {}", dice.pick(OWN)),
        1 => format!("-g {}", dice.pick(OWN)),
        _ => dice
            .pick(&["-j ACCEPT", "-j DROP", "", "-j LOG --log-prefix \"x y\"", "-j REJECT", "-c 7 9 -j RETURN"])
            .to_owned(),
    };
    format!("{test} {target}")
}

fn command(dice: &mut Dice) -> String {
    let (chain, own, number) = (dice.pick(CHAINS), dice.pick(OWN), 1 + dice.roll(6));
    match dice.roll(20) {
        0..=4 => format!("-A {chain} {}", rule(dice)),
        5 | 6 => format!("-I {chain} {number} {}", rule(dice)),
        7 => format!("-R {chain} {number} {}", rule(dice)),
        8 => format!("-D {chain} {}", rule(dice)),
        9 => format!("-D {chain} {number}"),
        10 | 11 => format!("-N {own}"),
        12 => dice.pick(&["-X one", "-X", "-X two"]).to_owned(),
        13 => format!("-E {own} {}", dice.pick(OWN)),
        14 => format!("-P {} {} -c 3 4", dice.pick(&["INPUT", "OUTPUT"]), dice.pick(&["DROP", "ACCEPT"])),
        15 => format!("-Z {chain} {number}"),
        16 => dice.pick(&["-Z", "-Z INPUT", "-F one", "-F", "-Z one"]).to_owned(),
        17 => format!("-C {chain} {}", rule(dice)),
        18 => format!("-vnL {chain} --line-numbers"),
        _ => format!("-vS {chain}"),
    }
}

fn ask(state: &mut dyn State, program: &str, line: &str, input: &str) -> Outcome {
    let program: Program = find(program).expect("a program");
    let words: Vec<String> =
        hairpin_ruleset::words::split(line).expect("short").into_iter().map(|w| w.text.into_owned()).collect();
    let call = Call { program, name: "", words: &words, input: input.as_bytes(), date: "", hints: true };
    run(&call, state)
}

fn temporary(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn any_life() {
    for seed in 0..12 {
        let path = temporary(&format!("life-{seed}"));
        let names = SystemNames::new();
        let mut memory = InMemory::new();
        let mut dice = Dice(seed);
        let mut log = String::new();
        for step in 0..150 {
            let (program, line, input) = match dice.roll(30) {
                // Into the body of the file, so that later commands split it.
                0 => {
                    let input: String =
                        (0..dice.roll(20)).map(|_| format!("-A {} {}\n", dice.pick(CHAINS), rule(&mut dice))).collect();
                    let flags = dice.pick(&["", "-c", "-n", "-n -c"]);
                    let text = format!(
                        "*filter\n:one - [0:0]\n:two - [0:0]\n:three - [0:0]\n:four - [0:0]\n:INPUT DROP [5:6]\n{input}COMMIT\n"
                    );
                    ("iptables-restore", flags.to_owned(), text)
                }
                _ => ("iptables", command(&mut dice), String::new()),
            };
            log += &format!("{program} {line}\n{input}");
            let expected = ask(&mut memory, program, &line, &input);
            let got = ask(&mut StateFile::new(&path, &names), program, &line, &input);
            let context = || format!("seed {seed} step {step}: {program} {line}\n{input}\nafter\n{log}");
            // A loop is found in the same chain, but the file does not know by which rule.
            let plain = |outcome: &Outcome| {
                let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
                let lines = text.lines().filter(|l| !l.contains("chains form a loop"));
                (
                    outcome.code,
                    String::from_utf8_lossy(&outcome.stdout).into_owned(),
                    lines.collect::<Vec<_>>().join("\n"),
                )
            };
            assert_eq!(plain(&got), plain(&expected), "{}", context());
            let expected = ask(&mut memory, "iptables-save", "-c", "");
            let got = ask(&mut StateFile::new(&path, &names), "iptables-save", "-c", "");
            let text = |o: &Outcome| String::from_utf8_lossy(&o.stdout).into_owned();
            assert_eq!(text(&got), text(&expected), "{}", context());
        }
        let _ = std::fs::remove_file(path);
    }
}
