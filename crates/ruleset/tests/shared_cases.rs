//! The cases of the iptables command language in the reference material: appended, saved, deleted, restored together.

mod common;

use common::cases::{self, Case, Line};
use common::{Refused, rules_of, run, saved, shared};
use hairpin_engine::rule::{Ruleset, TableId};
use hairpin_wire::Family;
use hairpin_xt::find_target;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn cases_of_iptables_hold() {
    let Some(root) = shared("xt-cases") else { return };
    let mut tally = Tally::default();
    for (directory, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        let mut files: Vec<_> = fs::read_dir(root.join(directory)).expect("a directory").flatten().collect();
        files.sort_by_key(|f| f.file_name());
        for file in files {
            check_file(&file.path(), family, &mut tally);
        }
    }
    println!("{} cases hold", tally.held);
    for (what, count) in &tally.unsupported {
        println!("unsupported: {what}: {count} cases");
    }
    assert!(tally.wrong.is_empty(), "{} cases do not hold:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert!(tally.held > 0, "no case was tried");
}

#[derive(Default)]
struct Tally {
    held: usize,
    wrong: Vec<String>,
    unsupported: BTreeMap<String, usize>,
}

fn check_file(path: &Path, family: Family, tally: &mut Tally) {
    let text = fs::read_to_string(path).expect("cases are text");
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut prepared = Vec::new();
    let mut together: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in cases::read(&text) {
        let (case, table, chains) = match line {
            Line::Prepare(command) => {
                prepared.extend(command.strip_prefix("iptables ").map(str::to_owned));
                continue;
            }
            Line::Case(case, table, chains) => (case, TableId::from_name(table).expect("a table"), chains),
        };
        for chain in chains {
            match check(&case, family, table, chain, &prepared) {
                Ok(()) => {
                    tally.held += 1;
                    if case.outcome == "OK" {
                        let line = format!("-A {chain} {}", case.saved);
                        together.entry(table.name()).or_default().push(line);
                    }
                }
                Err(Wrong::Unsupported(what)) => *tally.unsupported.entry(what).or_default() += 1,
                Err(Wrong::Different(why)) => {
                    tally.wrong.push(format!("{family} {name}: -A {chain} {}: {why}", case.rule));
                }
            }
        }
    }
    if prepared.is_empty() {
        check_together(&name, family, &together, tally);
    }
}

/// All accepted lines of a file load in one go, in order, and saving what was restored gives the same text twice.
fn check_together(name: &str, family: Family, tables: &BTreeMap<&str, Vec<String>>, tally: &mut Tally) {
    let mut text = String::new();
    for (table, lines) in tables {
        text += &format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"));
    }
    match common::restored(family, &text) {
        Err(e) => tally.wrong.push(format!("{family} {name}: all in one go: {e}")),
        Ok(restored) => {
            let once = saved(&restored.ruleset);
            for (table, lines) in tables {
                for line in lines {
                    let line = line.trim_end();
                    if !once.lines().any(|l| l.ends_with(line)) {
                        tally.wrong.push(format!("{family} {name}: {table}: {line} is lost when restored"));
                    }
                }
            }
            match common::restored_onto(&Ruleset::new(family), &once, true, false) {
                Ok(again) if in_table_order(&saved(&again.ruleset)) == in_table_order(&once) => {}
                Ok(_) => tally.wrong.push(format!("{family} {name}: saved, restored and saved is not the same")),
                Err(e) => tally.wrong.push(format!("{family} {name}: what was saved is refused: {e}")),
            }
        }
    }
}

/// Restoring takes tables into use in the order of the file, and saving prints the last one first.
fn in_table_order(text: &str) -> Vec<&str> {
    let mut tables: Vec<&str> = text.split_inclusive("COMMIT\n").collect();
    tables.sort_unstable();
    tables
}

enum Wrong {
    Unsupported(String),
    Different(String),
}

fn check(case: &Case<'_>, family: Family, table: TableId, chain: &str, prepared: &[String]) -> Result<(), Wrong> {
    let different = |why: String| Err(Wrong::Different(why));
    if let Some(target) = missing_target(case.rule, family) {
        return Err(Wrong::Unsupported(format!("target {target}")));
    }
    let mut ruleset = Ruleset::new(family);
    for command in prepared {
        // Its outcome does not count.
        let _ = run(&mut ruleset, command);
    }
    let empty = ruleset.clone();
    let words = in_restore_quotes(case.rule);
    let result = run(&mut ruleset, &format!("-t {table} -A {chain} {words}"))
        .and_then(|()| ruleset.check().map_err(|e| Refused::Table(Box::new((&e).into()))));
    match (result, case.outcome) {
        (Err(refused), "FAIL") => match unsupported(refused.message()) {
            Some(what) => Err(Wrong::Unsupported(what)),
            None => Ok(()),
        },
        (Ok(()), "FAIL") => different(format!("accepted as {:?}", rules_of(&ruleset, table, chain))),
        (Err(refused), _) => match unsupported(refused.message()) {
            Some(what) => Err(Wrong::Unsupported(what)),
            None => different(format!("refused: {}", refused.message())),
        },
        (Ok(()), outcome) => {
            let rules = rules_of(&ruleset, table, chain);
            let before = rules_of(&empty, table, chain).len();
            let new = rules.get(before..).unwrap_or_default();
            if (new.iter().any(|rule| rule == case.saved)) != (outcome == "OK") {
                return different(format!("saved as {new:?}, expected {} of {:?}", outcome, case.saved));
            }
            // A rule is deleted by the same words, but for its counters.
            let bare = words.split(" -c ").next().unwrap_or_default();
            run(&mut ruleset, &format!("-t {table} -D {chain} {bare}"))
                .map_err(|e| Wrong::Different(format!("not deleted: {}", e.message())))
        }
    }
}

/// A target that is neither known nor the name of a chain: its options are unknown too, and that would be the complaint.
fn missing_target(rule: &str, family: Family) -> Option<&str> {
    let mut words = rule.split(' ').skip_while(|word| *word != "-j");
    let name = words.nth(1)?;
    let standard = ["ACCEPT", "DROP", "RETURN", "QUEUE"].contains(&name);
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
    (is_name && !standard && find_target(name, family).is_none()).then_some(name)
}

fn unsupported(message: &str) -> Option<String> {
    let (what, rest) = message.strip_prefix("Couldn't load ")?.split_once(" `")?;
    let (name, _) = rest.split_once('\'')?;
    Some(format!("{what} {name}"))
}

/// Words as a shell splits them, written for iptables-restore: single quotes become double ones.
fn in_restore_quotes(rule: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = rule.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                out.push('"');
            }
            (c, Some(q)) if c == q => {
                quote = None;
                out.push('"');
            }
            // In double quotes a shell's backslash keeps its meaning only before these.
            ('\\', Some('"')) if chars.peek().is_some_and(|n| matches!(n, '"' | '\\' | '$' | '`')) => {
                out.push('\\');
                out.extend(chars.next());
            }
            ('\\', None) => match chars.next() {
                Some(next @ ('"' | '\\')) => out.push_str(&format!("\"\\{next}\"")),
                Some(next) => out.push(next),
                None => {}
            },
            ('\\' | '"', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            (c, _) => out.push(c),
        }
    }
    out
}
