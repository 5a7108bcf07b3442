//! What the kernel checks over all tables: rules that share something by name agree on it ([`SharedNames`]).

use super::rules::StoredRules;
use super::table::{StoredTable, Unloadable};
use hairpin_engine::rule::{LoadError, LoadRefusal, SharedNames, TableId};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::io;

/// Checks the new rules of changed tables, which give way one after the other, given what was there before.
pub(super) fn check(
    old: &[StoredRules],
    new: &StoredRules,
    changed: &[TableId],
    names: &dyn Names,
) -> Result<(), (TableId, Unloadable)> {
    for (n, id) in changed.iter().enumerate() {
        let Some(table) = new.table(*id).filter(|table| table.shares) else { continue };
        let mut there = SharedNames::default();
        let came = changed.get(..n).unwrap_or_default();
        let stays = |rules: &StoredRules, id| rules.family != new.family || !came.contains(&id);
        for rules in old {
            for table in rules.tables.iter().filter(|t| stays(rules, t.id())) {
                note(table, rules.family, &mut there, names).map_err(|why| (*id, why.into()))?;
            }
        }
        for table in came.iter().filter_map(|id| new.table(*id)) {
            note(table, new.family, &mut there, names).map_err(|why| (*id, why.into()))?;
        }
        table.each_fresh(|chain, number, rule, line| {
            there.load(new.family, rule).map_err(|why| {
                let why = LoadRefusal::Extension(why);
                let refused = LoadError { table: *id, chain: chain.to_owned(), rule: number, why };
                (*id, Unloadable::Refused(refused, line))
            })
        })?;
    }
    Ok(())
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
