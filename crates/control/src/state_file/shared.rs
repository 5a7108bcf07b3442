//! What the kernel checks over all tables: rules that share something by name agree on it ([`SharedNames`]).

use super::rules::StoredRules;
use super::table::{StoredTable, Unloadable};
use hairpin_engine::rule::{Action, LoadError, LoadRefusal, Rule, SharedNames, TableId};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::io;

/// Checks the new rules of a table, given what was there before and the tables that took their place already. With `until`, the rule
/// that the kernel refuses for another reason, only what comes before that.
pub(super) fn check(
    old: &[StoredRules],
    new: &StoredRules,
    came: &[TableId],
    table: &StoredTable,
    until: Option<&LoadError>,
    names: &dyn Names,
) -> Result<(), Unloadable> {
    if until.is_some_and(|load| !matches!(load.why, LoadRefusal::Extension(_))) {
        // The kernel follows all jumps before it looks at any rule.
        return Ok(());
    }
    let mut there = SharedNames::default();
    let stays = |rules: &StoredRules, id| rules.family != new.family || !came.contains(&id);
    for rules in old {
        for table in rules.tables.iter().filter(|t| stays(rules, t.id())) {
            note(table, rules.family, &mut there, names)?;
        }
    }
    for table in came.iter().filter_map(|id| new.table(*id)) {
        note(table, new.family, &mut there, names)?;
    }
    let mut is_over = false;
    table.each_fresh(|chain, number, rule, line| {
        let last = until.filter(|load| (load.chain.as_str(), load.rule) == (chain, number));
        let loaded = match last {
            _ if is_over => Ok(()),
            None => there.load(new.family, rule),
            Some(load) => there.load(new.family, &begin_of(rule, load.passed)),
        };
        is_over |= last.is_some();
        loaded.map_err(|why| {
            let (chain, why) = (chain.to_owned(), LoadRefusal::Extension(why));
            Unloadable::Refused(LoadError { table: table.id(), chain, rule: number, passed: 0, why }, line)
        })
    })
}

/// A rule with its first matches only.
fn begin_of(rule: &Rule, matches: usize) -> Rule {
    let matches = rule.matches.iter().take(matches).cloned().collect();
    Rule { matches, action: Action::None, ..rule.clone() }
}

/// What a table's rules share. Rules are told by their text, so that others need not be read.
fn note(table: &StoredTable, family: Family, there: &mut SharedNames, names: &dyn Names) -> io::Result<()> {
    const TELLING: [&str; 3] = ["--rateest", "-m hashlimit ", "-j IDLETIMER "];
    for chain in table.in_order() {
        table.each(chain, |record| {
            if TELLING.iter().any(|text| record.text.contains(text)) {
                there.note(family, &table.rule(&chain.name, record, names)?);
            }
            Ok(())
        })?;
    }
    Ok(())
}
