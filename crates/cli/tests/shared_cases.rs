//! The cases of the iptables command language in the reference material, by the program itself on a state file: appended, saved,
//! deleted; all of a file restored in one go; saved, restored and saved again.

#[path = "../../ruleset/tests/common/cases.rs"]
mod cases;

use cases::{Case, Line};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[test]
fn cases_of_iptables_hold() {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let root = std::env::var_os("HAIRPIN_SHARED").map_or(beside, PathBuf::from).join("xt-cases");
    if !root.is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is not there, and CI needs it", root.display());
        println!("skipped: {} is not there", root.display());
        return;
    }
    let mut files: Vec<(PathBuf, &'static str)> = Vec::new();
    for (directory, program) in [("ipv4", "iptables"), ("ipv6", "ip6tables")] {
        let found = fs::read_dir(root.join(directory)).expect("a directory").flatten();
        files.extend(found.map(|file| (file.path(), program)));
    }
    files.sort();
    let half = files.len() / 2;
    let (first, second) = files.split_at(half);
    let tallies = std::thread::scope(|scope| {
        let other = scope.spawn(|| check(second, "b"));
        [check(first, "a"), other.join().expect("a thread")]
    });
    let held: usize = tallies.iter().map(|(held, _)| held).sum();
    let wrong: Vec<String> = tallies.into_iter().flat_map(|(_, wrong)| wrong).collect();
    println!("{held} cases hold");
    assert!(wrong.is_empty(), "{} cases do not hold:\n{}", wrong.len(), wrong.join("\n"));
    assert!(held > 0, "no case was tried");
}

fn check(files: &[(PathBuf, &'static str)], worker: &str) -> (usize, Vec<String>) {
    let mut machine = Machine::new(worker);
    for (file, program) in files {
        machine.program = program;
        machine.check_file(file);
    }
    let _ = fs::remove_file(&machine.state);
    (machine.held, machine.wrong)
}

struct Machine {
    state: PathBuf,
    program: &'static str,
    held: usize,
    wrong: Vec<String>,
}

impl Machine {
    fn new(worker: &str) -> Machine {
        // Memory where there is some: thousands of commands, each of which waits for the disk.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let state = dir.join(format!("hairpin-cases-{}-{worker}", std::process::id()));
        Machine { state, program: "iptables", held: 0, wrong: Vec::new() }
    }

    fn run(&self, program: &str, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg(program)
            .args(words)
            .env("HAIRPIN_STATE", &self.state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // A command that reads nothing may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes());
        child.wait_with_output().expect("ends")
    }

    fn saved(&self, table: &str) -> String {
        let output = self.run(&format!("{}-save", self.program), &["-t", table], "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn check_file(&mut self, path: &Path) {
        let text = fs::read_to_string(path).expect("cases are text");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut together: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut counts = true;
        let _ = fs::remove_file(&self.state);
        for line in cases::read(&text) {
            match line {
                Line::Prepare(command) => {
                    counts = false;
                    let words = shell_words(command);
                    let words: Vec<&str> = words.iter().map(String::as_str).skip(1).collect();
                    self.run(self.program, &words, "");
                }
                Line::Case(case, table, chains) => {
                    for chain in chains {
                        match self.check_case(&case, table, chain) {
                            Ok(()) => self.held += 1,
                            Err(why) => {
                                self.wrong.push(format!("{} {name}: -A {chain} {}: {why}", self.program, case.rule))
                            }
                        }
                        if case.outcome == "OK" {
                            together.entry(table.to_owned()).or_default().push(format!("-A {chain} {}", case.saved));
                        }
                    }
                }
            }
        }
        if counts && let Err(why) = self.check_together(&together) {
            self.wrong.push(format!("{} {name}: all in one go: {why}", self.program));
        }
    }

    fn check_case(&self, case: &Case<'_>, table: &str, chain: &str) -> Result<(), String> {
        let rule = shell_words(case.rule);
        let words = |verb: &str, without_counters: bool| {
            let mut words = vec!["-t".to_owned(), table.to_owned(), verb.to_owned(), chain.to_owned()];
            let mut rule = rule.clone();
            if let Some(at) = rule.iter().position(|w| w == "-c").filter(|_| without_counters) {
                rule.drain(at..(at + 3).min(rule.len()));
            }
            words.extend(rule);
            words
        };
        let call = |words: Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.run(self.program, &words, "")
        };
        let output = call(words("-A", false));
        let code = output.status.code().ok_or("killed by a signal")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if code == 101 || said.contains("panicked") {
            return Err(format!("panicked: {said}"));
        }
        if case.outcome == "FAIL" {
            return if code == 0 { Err("accepted".to_owned()) } else { Ok(()) };
        }
        if code != 0 {
            return Err(format!("refused: {said}"));
        }
        let expected = format!("-A {chain} {}", case.saved);
        let saved = self.saved(table);
        let there = saved.lines().any(|line| line == expected.trim_end());
        if there != (case.outcome == "OK") {
            return Err(format!("expected {} of {expected:?} in\n{saved}", case.outcome));
        }
        let deleted = call(words("-D", true));
        if !deleted.status.success() {
            return Err(format!("not deleted: {}", String::from_utf8_lossy(&deleted.stderr)));
        }
        match self.saved(table).lines().any(|line| line == expected.trim_end()) {
            true => Err("deleted, and still there".to_owned()),
            false => Ok(()),
        }
    }

    /// All accepted lines load in one go, in order; what is saved then, restored and saved again is the same.
    fn check_together(&self, tables: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
        let _ = fs::remove_file(&self.state);
        let text: String =
            tables.iter().map(|(table, lines)| format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"))).collect();
        let restore = format!("{}-restore", self.program);
        let restored = self.run(&restore, &[], &text);
        if !restored.status.success() {
            return Err(String::from_utf8_lossy(&restored.stderr).into_owned());
        }
        for (table, lines) in tables {
            let saved = self.saved(table);
            let rules: Vec<&str> = saved.lines().filter(|l| l.starts_with("-A")).collect();
            for chain in chains_of(lines) {
                let of_chain = |line: &&str| line.split(' ').nth(1) == Some(chain);
                let expected: Vec<&str> = lines.iter().map(|l| l.trim_end()).filter(of_chain).collect();
                let got: Vec<&str> = rules.iter().copied().filter(of_chain).collect();
                if got != expected {
                    return Err(format!("{table} {chain}: {expected:#?} became {got:#?}"));
                }
            }
            let again = self.run(&restore, &["-c"], &saved);
            if !again.status.success() {
                return Err(format!("what was saved: {}", String::from_utf8_lossy(&again.stderr)));
            }
            let plain =
                |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
            if plain(&self.saved(table)) != plain(&saved) {
                return Err(format!("{table}: saved, restored and saved is not the same"));
            }
        }
        Ok(())
    }
}

fn chains_of(lines: &[String]) -> Vec<&str> {
    let mut chains: Vec<&str> = lines.iter().filter_map(|l| l.split(' ').nth(1)).collect();
    chains.sort_unstable();
    chains.dedup();
    chains
}

/// Words as a shell splits them.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut begun, mut quote) = (Vec::new(), String::new(), false, None);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (' ' | '\t', None) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            // In double quotes a backslash keeps its meaning only before these.
            ('\\', Some('"')) if !chars.peek().is_some_and(|n| matches!(n, '"' | '\\' | '$' | '`')) => word.push(c),
            ('\\', None | Some('"')) => word.extend(chars.next()),
            (c, _) => word.push(c),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    words
}
