//! Rule sets that people published load and are saved as they were restored.

mod common;

use common::{restored_onto, saved, shared};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_wire::Family;
use hairpin_xt::{find_match, find_target};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn published_rule_sets_round_trip() {
    let Some(root) = shared("rulesets") else { return };
    let readme = fs::read_to_string(root.join("README.md")).expect("the list of rule sets");
    let (mut held, mut wrong) = (0, Vec::new());
    let mut unsupported: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, expected) in readme.lines().filter_map(listed) {
        let text = fs::read(root.join(file)).expect("a listed rule set");
        let family = if file.contains(".v6.") { Family::V6 } else { Family::V4 };
        let missing = missing(family, &String::from_utf8_lossy(&text));
        if !missing.is_empty() && expected == "ok" {
            for name in missing {
                unsupported.entry(name).or_default().push(file.to_owned());
            }
            continue;
        }
        match check(family, file, &text, expected) {
            Ok(()) => held += 1,
            Err(why) => wrong.push(format!("{file}: {why}")),
        }
    }
    println!("{held} rule sets hold");
    for (name, files) in &unsupported {
        println!("unsupported: {name}: {}", files.join(" "));
    }
    assert!(wrong.is_empty(), "{} rule sets do not hold:\n{}", wrong.len(), wrong.join("\n"));
    assert!(held > 0, "no rule set was tried");
}

/// File and expectation of a row of the list.
fn listed(row: &str) -> Option<(&str, &str)> {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let file = cells.get(1).filter(|file| file.ends_with(".rules"))?;
    Some((file, cells.get(6)?))
}

fn check(family: Family, file: &str, text: &[u8], expected: &str) -> Result<(), String> {
    let names = SystemNames::new();
    let options = RestoreOptions { file, counters: true, noflush: false, table: None, names: &names };
    let result = restore(&Ruleset::new(family), text, &RestoreOptions { counters: false, ..options });
    if let Some(code) = expected.strip_prefix("rc ") {
        return match result {
            Ok(_) => Err(format!("accepted, expected {expected}")),
            Err(e) if e.code.to_string() == code => Ok(()),
            Err(e) => Err(format!("refused with {}, expected {expected}: {e}", e.code)),
        };
    }
    let restored = result.map_err(|e| e.to_string())?;
    Compiled::new(restored.ruleset.clone()).map_err(|e| restored.refused(&e).to_string())?;
    let once = saved(&restored.ruleset);
    let again = restored_onto(&Ruleset::new(family), &once, true, false).map_err(|e| format!("what was saved: {e}"))?;
    let mut tables = restored.ruleset.clone();
    tables.tables.reverse();
    if saved(&again.ruleset) != saved(&tables) {
        return Err("saved, restored and saved is not the same".to_owned());
    }
    // Nothing is lost: every rule of the file became at least one, unless another command took it away.
    let file = String::from_utf8_lossy(text);
    let tables = |text: &str| text.lines().filter(|l| l.starts_with('*')).count();
    let changes = |line: &str| ["-D ", "-F", "-X", "-R "].iter().any(|verb| line.starts_with(verb));
    if file.lines().any(changes) || tables(&file) != tables(&once) {
        return Ok(());
    }
    let rules = file.lines().filter(|l| l.contains("-A ") && !l.starts_with('#')).count();
    let kept = once.lines().filter(|l| l.contains("-A ")).count();
    if kept < rules { Err(format!("{rules} rules became {kept}")) } else { Ok(()) }
}

/// Extensions that are not there yet.
fn missing(family: Family, text: &str) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    let chains: BTreeSet<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix(':').or_else(|| l.strip_prefix("-N ")))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            match *pair {
                ["-m" | "--match", name] if find_match(name, family).is_none() => {
                    missing.insert(format!("match {name}"));
                }
                ["-j" | "--jump", name]
                    if name.bytes().all(|b| b.is_ascii_uppercase())
                        && !chains.contains(name)
                        && !["ACCEPT", "DROP", "RETURN", "QUEUE"].contains(&name)
                        && find_target(name, family).is_none() =>
                {
                    missing.insert(format!("target {name}"));
                }
                _ => {}
            }
        }
    }
    missing
}
