//! `iptables -S`: a table as the commands that would make it.

use crate::save::write_rule;
use hairpin_engine::rule::{Chain, Counter, Ruleset, Table, TableId};
use std::fmt::{self, Write};

/// What of a table to list.
#[derive(Clone, Copy, Debug)]
pub struct ListOptions<'a> {
    /// The table.
    pub table: TableId,
    /// Only this chain.
    pub chain: Option<&'a str>,
    /// Only the rule of this number, from 1, of the chain.
    pub rule: Option<u32>,
    /// `-v`: with counters.
    pub counters: bool,
}

impl ListOptions<'_> {
    /// Whether the rule of this number (from 1) is wanted.
    pub(crate) fn wants(&self, number: usize) -> bool {
        self.rule.is_none_or(|only| only as usize == number)
    }
}

/// The lines of `iptables -S`: policies and own chains, then the rules. `live` is the table's counters as
/// [`crate::save::save`] takes them; without them those that the rules were loaded with are shown.
///
/// A table that is not in use is listed as it would be used first: empty, with its built-in chains. A chain that is not there
/// gives no line; [`crate::apply::apply`] has refused it before.
pub fn list_rules(ruleset: &Ruleset, options: &ListOptions<'_>, live: &[Counter]) -> String {
    let unused;
    let table = match ruleset.table(options.table) {
        Some(table) => table,
        None => {
            unused = Table::new(options.table);
            &unused
        }
    };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_table(&mut out, ruleset, table, options, live);
    out
}

fn write_table(
    out: &mut String,
    ruleset: &Ruleset,
    table: &Table,
    options: &ListOptions<'_>,
    live: &[Counter],
) -> fmt::Result {
    let mut first = 0;
    let chains: Vec<(usize, &Chain)> = table
        .chains
        .iter()
        .map(|chain| {
            let at = first;
            first += chain.rules.len() + 1;
            (at, chain)
        })
        .filter(|(_, chain)| options.chain.is_none_or(|only| only == chain.name))
        .collect();
    for (at, chain) in chains.iter().filter(|_| options.rule.is_none()) {
        match chain.policy {
            None => writeln!(out, "-N {}", chain.name)?,
            Some(policy) => {
                write!(out, "-P {} {policy}", chain.name)?;
                if options.counters {
                    let counter = live.get(at + chain.rules.len()).copied().unwrap_or(chain.counter);
                    write!(out, " -c {} {}", counter.packets, counter.bytes)?;
                }
                out.push('\n');
            }
        }
    }
    for (at, chain) in chains {
        for (n, rule) in chain.rules.iter().enumerate() {
            if !options.wants(n + 1) {
                continue;
            }
            let counter = live.get(at + n).copied().unwrap_or(rule.counter);
            write_rule(out, ruleset.family, &chain.name, rule, options.counters.then_some(counter), None)?;
            out.push('\n');
        }
    }
    Ok(())
}

/// Puts a table's live counters into its rules and policies, so that a changed table that replaces it goes on from them.
pub fn take_counters(table: &mut Table, live: &[Counter]) {
    let mut counters = live.iter().copied();
    for chain in &mut table.chains {
        for rule in &mut chain.rules {
            rule.counter = counters.next().unwrap_or(rule.counter);
        }
        chain.counter = counters.next().unwrap_or(chain.counter);
    }
}
