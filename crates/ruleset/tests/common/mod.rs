//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod cases;

use hairpin_engine::rule::{Ruleset, TableId};
use hairpin_engine::set::{Kind, Options, Sets};
use hairpin_ruleset::command::{Context, parse};
use hairpin_ruleset::error::{Refusal, RuleFileError};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, Restored, restore};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_ruleset::{apply::apply, command::CommandError};
use hairpin_wire::Family;
use std::path::PathBuf;

/// Where the reference material lies: `HAIRPIN_SHARED`, or `shared` beside the repository. None prints why the test is passed
/// over; where it must be there (CI=true) that is a failure.
pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let root = std::env::var_os("HAIRPIN_SHARED").map_or(beside, PathBuf::from);
    let path = root.join(part);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is not there, and CI needs it", path.display());
    println!("skipped: {} is not there", path.display());
    None
}

/// Why a line was refused.
#[derive(Debug)]
pub(crate) enum Refused {
    Words(Box<CommandError>),
    Table(Box<Refusal>),
}

impl Refused {
    pub(crate) fn message(&self) -> &str {
        match self {
            Refused::Words(e) => &e.error.message,
            Refused::Table(e) => &e.error.message,
        }
    }
}

/// Runs a command line, split as a rule file's lines are, on a rule set.
pub(crate) fn run(ruleset: &mut Ruleset, line: &str) -> Result<(), Refused> {
    run_with(&SystemNames::new(), ruleset, line)
}

/// Names with the set that cases of extensions name: `both`, of both families.
pub(crate) fn names_with_set() -> SystemNames {
    let mut sets = Sets::default();
    sets.create("both", Kind::ListSet, &Options::default(), false).expect("created");
    SystemNames::new().with_sets(&sets)
}

/// [`run`] with these names.
pub(crate) fn run_with(names: &SystemNames, ruleset: &mut Ruleset, line: &str) -> Result<(), Refused> {
    let context = Context { family: ruleset.family, names, table: TableId::Filter, restore: false };
    let words = hairpin_ruleset::words::split(line).expect("a test's line is short");
    let command = parse(&context, &words).map_err(|e| Refused::Words(Box::new(e)))?;
    apply(ruleset, &command).map_err(|e| Refused::Table(Box::new(e)))
}

/// The lines of one chain as saved, without `-A CHAIN `.
pub(crate) fn rules_of(ruleset: &Ruleset, table: TableId, chain: &str) -> Vec<String> {
    let start = format!("-A {chain}");
    let options = SaveOptions { table: Some(table), ..SaveOptions::default() };
    save(ruleset, &options, |_| None)
        .lines()
        .filter_map(|line| line.strip_prefix(&start))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .collect()
}

/// Restores a text onto nothing.
pub(crate) fn restored(family: Family, text: &str) -> Result<Restored, Box<RuleFileError>> {
    restored_onto(&Ruleset::new(family), text, false, false)
}

pub(crate) fn restored_onto(
    base: &Ruleset,
    text: &str,
    counters: bool,
    noflush: bool,
) -> Result<Restored, Box<RuleFileError>> {
    let names = SystemNames::new();
    let options = RestoreOptions { file: "rules", counters, noflush, table: None, names: &names };
    restore(base, text.as_bytes(), &options)
}

/// The saved text, with counters.
pub(crate) fn saved(ruleset: &Ruleset) -> String {
    save(ruleset, &SaveOptions { counters: true, ..SaveOptions::default() }, |_| None)
}
