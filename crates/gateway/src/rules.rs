//! Rule files, as iptables-save prints them.

use crate::names;
use hairpin_engine::rule::{Chain, Compiled, Counter, Ruleset, Table};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_ruleset::save::{SaveOptions, rule_text, save};
use hairpin_wire::Family;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A rule file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// The exit code that iptables-restore gives.
    pub code: u8,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RulesError {}

/// Rules that can be loaded, and what people should know about them.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: Arc<Compiled>,
    /// Lines for standard error.
    pub notices: Vec<String>,
}

/// Reads a rule file. Counters in it are where counting begins.
pub fn read(path: &Path, family: Family) -> Result<Loaded, RulesError> {
    read_with(path, family, &names::of_system())
}

/// The same with these names, which may know sets.
pub fn read_with(path: &Path, family: Family, names: &SystemNames) -> Result<Loaded, RulesError> {
    let file = path.display().to_string();
    let text =
        std::fs::read(path).map_err(|e| RulesError { code: 1, message: format!("{file}: cannot be read: {e}") })?;
    parse_with(&file, &text, family, names)
}

/// The same for the text of a rule file. `file` is the name for messages.
pub fn parse(file: &str, text: &[u8], family: Family) -> Result<Loaded, RulesError> {
    parse_with(file, text, family, &names::of_system())
}

fn parse_with(file: &str, text: &[u8], family: Family, names: &SystemNames) -> Result<Loaded, RulesError> {
    let options = RestoreOptions { file, counters: true, noflush: false, table: None, names };
    let restored = restore(&Ruleset::new(family), text, &options)
        .map_err(|e| RulesError { code: e.code, message: e.to_string() })?;
    let mut notices: Vec<String> = restored.notices.iter().map(ToString::to_string).collect();
    notices.extend(warnings(&restored.ruleset).iter().map(|warning| format!("{file}: warning: {warning}")));
    match Compiled::new(restored.ruleset.clone()) {
        Ok(compiled) => Ok(Loaded { rules: Arc::new(compiled), notices }),
        Err(why) => {
            let e = restored.refused(&why);
            Err(RulesError { code: e.code, message: e.to_string() })
        }
    }
}

/// The rules in force as a value, with what they have counted: for each table, chain by chain, each rule and then the policy.
pub fn with_counters(rules: &Compiled, counters: &[Vec<Counter>; 5]) -> Ruleset {
    let mut ruleset = Ruleset { family: rules.family, tables: rules.tables().cloned().collect() };
    for table in &mut ruleset.tables {
        let mut counters = counters[table.id as usize].iter();
        for chain in &mut table.chains {
            for rule in &mut chain.rules {
                rule.counter = counters.next().copied().unwrap_or_default();
            }
            chain.counter = counters.next().copied().unwrap_or_default();
        }
    }
    ruleset
}

/// The text of the rule at a place among the counters of a table, with its chain and without its counter; None for a policy.
pub fn text_at(family: Family, table: &Table, place: usize) -> Option<String> {
    let mut at = 0;
    for chain in &table.chains {
        if place < at + chain.rules.len() {
            let mut rule = chain.rules[place - at].clone();
            rule.counter = Counter::default();
            let alone = Chain { rules: vec![rule], counter: Counter::default(), ..chain.clone() };
            let alone = Table { id: table.id, chains: vec![alone] };
            return Some(save(&Ruleset { family, tables: vec![alone] }, &SaveOptions::default(), |_| None));
        }
        at += chain.rules.len() + 1;
    }
    None
}

/// The chain, the number and the text of the rule at a place among the counters of a table; the number 0 for a policy.
pub fn named_at(family: Family, table: &Table, place: usize) -> (String, usize, String) {
    let mut at = 0;
    for chain in &table.chains {
        if place < at + chain.rules.len() {
            let number = place - at;
            let text = rule_text(family, &chain.name, &chain.rules[number]);
            let text = text.split_once(&format!("-A {} ", chain.name)).map_or("", |(_, text)| text);
            return (chain.name.clone(), number + 1, text.to_owned());
        }
        at += chain.rules.len() + 1;
        if place < at {
            return (chain.name.clone(), 0, "(policy)".to_owned());
        }
    }
    Default::default()
}

/// What is to be added to the counters of a table so that chains that are the same as `before` go on counting where they stopped.
/// `now` is what they have counted since.
pub fn counted_before(family: Family, table: &Table, before: &Table, now: &[Counter]) -> Vec<(usize, Counter)> {
    // As text, without counters: what people would call the same.
    let text = |chain: &Chain| {
        let mut alone = Table { id: table.id, chains: vec![chain.clone()] };
        for rule in &mut alone.chains[0].rules {
            rule.counter = Counter::default();
        }
        alone.chains[0].counter = Counter::default();
        save(&Ruleset { family, tables: vec![alone] }, &SaveOptions::default(), |_| None)
    };
    let mut more = Vec::new();
    let mut at = 0;
    for chain in &table.chains {
        if let Some(then) = before.chain(&chain.name)
            && then.rules.len() == chain.rules.len()
            && text(then) == text(chain)
        {
            let counters = then.rules.iter().map(|rule| rule.counter).chain([then.counter]);
            more.extend(counters.enumerate().map(|(n, then)| {
                let since = now.get(at + n).copied().unwrap_or_default();
                let packets = then.packets.saturating_sub(since.packets);
                (at + n, Counter { packets, bytes: then.bytes.saturating_sub(since.bytes) })
            }));
        }
        at += chain.rules.len() + 1;
    }
    more
}

/// What people should know about rules that are accepted all the same, once each.
fn warnings(ruleset: &Ruleset) -> BTreeSet<String> {
    let rules = ruleset.tables.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules);
    rules.flat_map(|rule| &rule.matches).filter_map(|m| m.warning()).collect()
}
