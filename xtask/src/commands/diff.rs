//! Random commands given to hairpin and to the real iptables: whatever one says, the other must say.

use super::generate::{Dice, Extension, Rule, extensions, probe, rule};
use super::moves::{self, Move};
use super::reference::{Reference, in_own_namespaces};
use hairpin_commands::{Call, find, run as run_command};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to try.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) count: usize,
    pub(super) family: Option<String>,
    pub(super) only: Option<String>,
    /// Show also what is refused in other words.
    pub(super) words: bool,
    /// Rules with several mistakes, to see which is named.
    pub(super) faults: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { seed: 1, count: 1000, family: None, only: None, words: false, faults: false }
    }
}

/// How many rules stand together before the tables are compared and emptied.
const SESSION: usize = 25;
/// How many differences are printed in full.
const SHOWN: usize = 60;

/// True when there is no difference.
pub(super) fn run(tree: PathBuf, options: &Options) -> Result<bool, String> {
    if let Some(done) = in_own_namespaces(&tree) {
        return done;
    }
    let reference = Reference::new(tree);
    let names = names_of(&reference);
    let state = state_path("diff");
    let mut pair = Pair {
        reference,
        names,
        state,
        family: Family::V4,
        differences: Vec::new(),
        words: Vec::new(),
        known: BTreeMap::new(),
        log: Vec::new(),
        moves: 0,
        sessions: 0,
    };
    let mut tried = 0;
    let mut accepted = 0;
    for (family, number) in [(Family::V4, "4"), (Family::V6, "6")] {
        if options.family.as_deref().is_some_and(|only| only != number) {
            continue;
        }
        // Estimators, for one, are shared by both families: the other one's rules go first.
        pair.start_over(false)?;
        pair.family = family;
        pair.start_over(true)?;
        let all = usable(&mut pair, options)?;
        let share = if options.family.is_some() { options.count } else { options.count / 2 };
        let mut dice = Dice::new(options.seed);
        let mut left = share;
        while left > 0 {
            let size = SESSION.min(left);
            accepted += session(&mut pair, &mut dice, &all, size, options.faults)?;
            left -= size;
            tried += size;
        }
    }
    let _ = std::fs::remove_file(&pair.state);
    println!(
        "seed {}: {tried} rules tried, {accepted} accepted by both, and {} other commands: {} differences, {} in words of what both refuse",
        options.seed,
        pair.moves,
        pair.differences.len(),
        pair.words.len()
    );
    for (why, count) in &pair.known {
        println!("known, {count} not tried: {why}");
    }
    show(&pair.differences);
    if options.words {
        println!("\nrefused by both, in other words: {}", pair.words.len());
        show(&pair.words);
    }
    Ok(pair.differences.is_empty())
}

fn show(differences: &[String]) {
    for difference in differences.iter().take(SHOWN) {
        println!("\n{difference}");
    }
    if differences.len() > SHOWN {
        println!("\nand {} more", differences.len() - SHOWN);
    }
}

/// A state file in memory, where there is such a place: the disk's part is not what is compared.
pub(super) fn state_path(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let dir = if memory.is_dir() { memory } else { std::env::temp_dir() };
    dir.join(format!("hairpin-{name}-{}", std::process::id()))
}

/// The names that the real program finds in its tree.
fn names_of(reference: &Reference) -> SystemNames {
    SystemNames::new()
        .with_services(&reference.read("etc/services"))
        .with_protocols(&reference.read("etc/protocols"))
        .with_users(&reference.read("etc/passwd"))
        .with_groups(&reference.read("etc/group"))
        .with_hosts_file(&reference.read("etc/hosts"))
        .with_networks(&reference.read("etc/networks"))
}

/// The extensions that this kernel has.
fn usable(pair: &mut Pair, options: &Options) -> Result<Vec<Extension>, String> {
    let mut usable = Vec::new();
    let mut missing = Vec::new();
    for extension in extensions(pair.family) {
        if options.only.as_ref().is_some_and(|only| only != extension.name) {
            continue;
        }
        let there = match probe(&extension) {
            None => false,
            Some(rule) => {
                let said = pair.real(&pair.iptables(), &append(&rule))?;
                let flush = ["-t", &rule.table, "-F", &rule.chain].map(str::to_owned);
                let _ = pair.real(&pair.iptables(), &flush)?;
                let lacks = ["No chain/target/match by that name", "missing kernel module", "No such file"];
                !lacks.iter().any(|words| said.stderr.contains(words))
            }
        };
        if there {
            usable.push(extension);
        } else {
            missing.push(extension.name);
        }
    }
    if !missing.is_empty() {
        println!("{:?}: not in this kernel, so not compared: {}", pair.family, missing.join(" "));
    }
    Ok(usable)
}

fn append(rule: &Rule) -> Vec<String> {
    let mut words = vec!["-t".to_owned(), rule.table.clone(), "-A".to_owned(), rule.chain.clone()];
    words.extend(rule.words.iter().cloned());
    words
}

/// Some rules one after the other, then what all tables look like. Gives how many both accepted.
fn session(pair: &mut Pair, dice: &mut Dice, all: &[Extension], size: usize, faults: bool) -> Result<usize, String> {
    let estimators = dice.percent(70);
    pair.start_over(estimators)?;
    let mut accepted = 0;
    let mut before: Vec<Vec<String>> = Vec::new();
    for _ in 0..size {
        let mut rule = rule(dice, pair.family, all, faults);
        pair.own_labels(&mut rule);
        let mut words = append(&rule);
        if dice.percent(5) {
            words.insert(0, "-v".to_owned());
        }
        if let Some(why) = known(&words) {
            *pair.known.entry(why).or_default() += 1;
            continue;
        }
        let iptables = pair.iptables();
        match pair.both(&iptables, &words, "")? {
            Both::Same { code: 0 } => {
                accepted += 1;
                // Taken out by its own words, and back.
                if dice.percent(15) && !words.iter().any(|w| w == "-c") {
                    let swapped = |verb: &str| -> Vec<String> {
                        words.iter().map(|w| if w == "-A" { verb.to_owned() } else { w.clone() }).collect()
                    };
                    for verb in ["-C", "-D", "-I"] {
                        pair.both(&iptables, &swapped(verb), "")?;
                    }
                }
                before.push(rule.words.clone());
            }
            Both::Same { .. } => {}
            // The tables differ now; whatever follows would differ too.
            Both::Different => pair.start_over(estimators)?,
        }
        while dice.percent(30) {
            let Move { program, words, input } = moves::random(dice, &rule, &before);
            let of_line = |line: &str| {
                // What the program is told counts for each line.
                let line = words.iter().map(String::as_str).chain(line.split(' ')).map(str::to_owned);
                known(&line.collect::<Vec<_>>())
            };
            if let Some(why) =
                known(&words).or_else(|| input.lines().find_map(of_line)).or_else(|| zeroes_own(&words, &input))
            {
                *pair.known.entry(why).or_default() += 1;
                continue;
            }
            pair.moves += 1;
            if let Both::Different = pair.both(&format!("{iptables}{program}"), &words, &input)? {
                pair.start_over(estimators)?;
            }
        }
    }
    pair.compare_tables()?;
    Ok(accepted)
}

/// Where hairpin differs on purpose, or the kernel's answer depends on more than the rules; such rules are not tried.
fn known(words: &[String]) -> Option<&'static str> {
    let verbose = |word: &String| match word.strip_prefix('-') {
        Some("-verbose") => 1,
        Some(short) if !short.starts_with('-') => short.matches('v').count(),
        _ => 0,
    };
    if words.iter().map(verbose).sum::<usize>() > 1 {
        return Some("-v twice: iptables prints libiptc's dump of the kernel's bytes");
    }
    let has = |word: &str| words.iter().any(|w| w == word);
    let begins = |start: &str| words.iter().any(|w| w.starts_with(start));
    let compares = ["--rateest-lt", "--rateest-gt", "--rateest-eq"].iter().any(|option| begins(option));
    if has("rateest") && !compares && words.iter().any(|word| verbose(word) > 0) {
        return Some(
            "rateest without a comparison and -v: iptables ends in the middle of the line, before the kernel refuses the rule",
        );
    }
    let of_cgroup = words.windows(2).find(|pair| pair[0].starts_with("--pa") && words.iter().any(|w| w == "cgroup"));
    if of_cgroup.is_some_and(|pair| !pair[1].trim_matches('/').is_empty()) {
        return Some("cgroup --path: iptables refuses a group that this machine does not have; hairpin takes any");
    }
    // Each use of it needs one.
    let count = |is: &dyn Fn(&str) -> bool| words.iter().filter(|word| is(word)).count();
    let with_index = count(&|word| word.starts_with("--ipcompspi"));
    if has("ipcomp") && (count(&|word| word == "ipcomp") > with_index || has(":")) {
        return Some(
            "ipcomp without an index: iptables asks for index 0, but saves `--ipcompspi :', any index, like that; hairpin means any",
        );
    }
    None
}

/// A rule file that resets counters which it set itself, or shows what it reset.
fn zeroes_own(words: &[String], input: &str) -> Option<&'static str> {
    let has = |starts: &[&str], word: &str| starts.iter().any(|start| word.starts_with(start));
    let in_file = |starts: &[&str]| input.split_whitespace().any(|word| has(starts, word));
    let sets = words.iter().any(|word| has(&["-c", "--counters"], word)) || in_file(&["-c", "--set-c"]);
    if in_file(&["-Z", "--zero"]) && (sets || in_file(&["-L", "-S", "--list"])) {
        return Some(
            "-Z in a rule file: iptables resets what was there before the file, at the commit; hairpin at once, whatever it is",
        );
    }
    None
}

/// Both programs.
struct Pair {
    reference: Reference,
    names: SystemNames,
    state: PathBuf,
    family: Family,
    differences: Vec<String>,
    /// Refused by both with the same code, but not with the same words. A rule with two faults may well be refused for
    /// either, so these are shown and do not count.
    words: Vec<String>,
    /// Rules that were not tried, by reason.
    known: BTreeMap<&'static str, usize>,
    /// The commands that both accepted since the tables were empty.
    log: Vec<String>,
    /// How many commands that are no new rule were tried.
    moves: usize,
    sessions: usize,
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

enum Both {
    Same { code: i32 },
    Different,
}

impl Pair {
    fn iptables(&self) -> String {
        hairpin_ruleset::command::program(self.family).to_owned()
    }

    fn real(&self, program: &str, words: &[String]) -> Result<Said, String> {
        self.real_with(program, words, "")
    }

    fn real_with(&self, program: &str, words: &[String], input: &str) -> Result<Said, String> {
        let output = self.reference.run(&legacy(program), words, input)?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn ours(&self, program: &str, words: &[String], input: &str) -> Result<Said, String> {
        let known = find(program).ok_or_else(|| format!("no program {program}"))?;
        // The other is called by this name, which stands in what getopt says.
        let name = &legacy(program);
        let call = Call { program: known, name, words, input: input.as_bytes(), date: "DATE", hints: false };
        let outcome = run_command(&call, &mut StateFile::new(&self.state, &self.names));
        let stdout = if outcome.file.is_some() { &[][..] } else { &outcome.stdout };
        Ok(Said {
            code: i32::from(outcome.code),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(&outcome.stderr).into_owned(),
        })
    }

    fn both(&mut self, program: &str, words: &[String], input: &str) -> Result<Both, String> {
        let mut real = self.real_with(program, words, input)?;
        let mut ours = self.ours(program, words, input)?;
        // There is nobody to ask for names in the namespace; with `hosts: files' the real one says what hairpin says.
        real.stderr = real.stderr.replace("Temporary failure in name resolution", "Name or service not known");
        for said in [&mut real, &mut ours] {
            without_help(&mut said.stdout);
            without_help(&mut said.stderr);
        }
        let mut line = shown(program, words);
        input.lines().for_each(|l| line += &format!("\n  < {l}"));
        if without_dates(&real) == without_dates(&ours) {
            if real.code == 0 {
                self.log.push(line);
            }
            return Ok(Both::Same { code: real.code });
        }
        let before = if real.code == ours.code && words.iter().any(|w| w == "-A") {
            String::new()
        } else {
            self.log.join("\n") + "\n"
        };
        let text = format!("{before}{line}\n{}", contrast(&real, &ours));
        if real.code != 0 && real.code == ours.code {
            self.words.push(text);
            return Ok(Both::Same { code: real.code });
        }
        self.differences.push(text);
        Ok(Both::Different)
    }

    /// A label is one for the whole machine, whatever the namespace, so each session has its own.
    fn own_labels(&self, rule: &mut Rule) {
        let is_timer = rule.words.iter().any(|word| word == "IDLETIMER");
        for at in 1..rule.words.len() {
            let named = is_timer && rule.words[at - 1] == "--label";
            if named && rule.words[at].bytes().all(|b| b.is_ascii_alphabetic()) && rule.words[at].len() < 10 {
                rule.words[at] += &format!("{}x{}", std::process::id(), self.sessions);
            }
        }
    }

    /// Empty tables; with the estimators that the cases of rateest read, if so asked.
    fn start_over(&mut self, estimators: bool) -> Result<(), String> {
        self.sessions += 1;
        let makers: String = ["RE1", "RE2", "a"]
            .iter()
            .map(|name| {
                format!("-A own -j RATEEST --rateest-name {name} --rateest-interval 250ms --rateest-ewmalog 500ms\n")
            })
            .collect();
        let empty: String = ["raw", "mangle", "nat", "filter", "security"]
            .iter()
            .map(|table| {
                // The last one: what the others had of them before is gone by then.
                let rules = if estimators && *table == "security" { &makers } else { "" };
                format!("*{table}\n{}:own - [0:0]\n:other - [0:0]\n{rules}COMMIT\n", policies(table))
            })
            .collect();
        let restore = format!("{}-restore", self.iptables());
        let real = self.real_with(&restore, &[], &empty)?;
        if real.code != 0 {
            return Err(format!("the real iptables-restore: {}", real.stderr));
        }
        let _ = std::fs::remove_file(&self.state);
        let ours = self.ours(&restore, &[], &empty)?;
        if ours.code != 0 {
            return Err(format!("hairpin's iptables-restore: {}", ours.stderr));
        }
        self.log.clear();
        Ok(())
    }

    /// What all tables look like, in every form.
    fn compare_tables(&mut self) -> Result<(), String> {
        let iptables = self.iptables();
        let save = format!("{iptables}-save");
        let mut forms: Vec<(String, Vec<String>)> = Vec::new();
        for table in ["raw", "mangle", "nat", "filter"] {
            forms.push((save.clone(), vec!["-c".to_owned(), "-t".to_owned(), table.to_owned()]));
            for form in [&["-S"][..], &["-vS"], &["-nvxL", "--line-numbers"], &["-L"], &["-vL"], &["-nL"]] {
                let words = ["-t", table].iter().chain(form).map(|w| (*w).to_owned()).collect();
                forms.push((iptables.clone(), words));
            }
        }
        let mut seen: BTreeMap<String, ()> = BTreeMap::new();
        for (program, words) in forms {
            let (real, ours) = (self.real(&program, &words)?, self.ours(&program, &words, "")?);
            if without_dates(&real) != without_dates(&ours) {
                let text = contrast(&real, &ours);
                // One wrong line shows in several forms; one of each kind is enough.
                if seen.insert(text.clone(), ()).is_none() {
                    let culprits = culprits(&self.log, &text);
                    self.differences.push(format!("{}\n{text}{culprits}", shown(&program, &words)));
                }
            }
        }
        Ok(())
    }
}

fn policies(table: &str) -> String {
    let chains: &[&str] = match table {
        "raw" => &["PREROUTING", "OUTPUT"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    };
    chains.iter().map(|chain| format!(":{chain} ACCEPT [0:0]\n")).collect()
}

/// The commands that mention an extension of the lines that differ.
fn culprits(log: &[String], text: &str) -> String {
    let names: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("- ")).collect();
    let telling = |command: &&String| {
        let mut words = command.split(' ').skip_while(|w| *w != "-m" && *w != "-j").skip(1);
        words.next().is_some_and(|name| names.iter().any(|line| line.contains(name)))
    };
    log.iter().filter(telling).take(3).map(|command| format!("  perhaps by {command}\n")).collect()
}

fn shown(program: &str, words: &[String]) -> String {
    let quote = |word: &String| match word.contains([' ', '"', '\'']) || word.is_empty() {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    let words: Vec<String> = words.iter().map(quote).collect();
    format!("{program} {}", words.join(" "))
}

/// What may differ: dates, and a list that the system lacks.
const ODD: &[&str] = &["# Generated by", "# Completed", "Warning: cannot open /etc/xtables/connlabel.conf"];

/// Help is in hairpin's own words, and a version says whose: what counts is that there is one, and what stands before it.
fn without_help(text: &mut String) {
    *text = text.replace(&format!(" (hairpin {})", env!("CARGO_PKG_VERSION")), " (legacy)");
    if let Some(at) = text.find("Usage: ") {
        text.truncate(at + "Usage: ".len());
    }
}

fn legacy(program: &str) -> String {
    program.replacen("tables", "tables-legacy", 1)
}

/// The same without what may differ.
fn without_dates(said: &Said) -> Said {
    let plain = |text: &str| {
        text.lines()
            .filter(|l| !l.trim().is_empty() && !ODD.iter().any(|odd| l.starts_with(odd)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Said { code: said.code, stdout: plain(&said.stdout), stderr: plain(&said.stderr) }
}

/// The lines in which they differ: `-` the real one's, `+` hairpin's.
fn contrast(real: &Said, ours: &Said) -> String {
    let mut out = String::new();
    if real.code != ours.code {
        out += &format!("- exit code {}\n+ exit code {}\n", real.code, ours.code);
    }
    let (real, ours) = (without_dates(real), without_dates(ours));
    for (real, ours) in [(&real.stdout, &ours.stdout), (&real.stderr, &ours.stderr)] {
        let (a, b): (Vec<&str>, Vec<&str>) = (real.lines().collect(), ours.lines().collect());
        if a.len() == b.len() {
            for (x, y) in a.iter().zip(&b).filter(|(x, y)| x != y) {
                out += &format!("- {x}\n+ {y}\n");
            }
        } else {
            a.iter().filter(|x| !b.contains(x)).for_each(|x| out += &format!("- {x}\n"));
            b.iter().filter(|y| !a.contains(y)).for_each(|y| out += &format!("+ {y}\n"));
        }
    }
    out
}
