//! What the kernel checks when a table is loaded: loops, and whether each extension may be used where it is.

use super::{Action, Chain, Header, Place, Protocols, Refused, Rule, Scope, Table, TableId};
use crate::hook::{Hook, Hooks};
use hairpin_wire::Family;
use std::collections::HashMap;
use std::fmt;

/// Why a table was not loaded. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The table.
    pub table: TableId,
    /// The chain of the rule at fault.
    pub chain: String,
    /// Its number in the chain, from 1; 0 when the chain itself is at fault.
    pub rule: usize,
    /// How many of the rule's matches were found right before.
    pub passed: usize,
    /// The reason.
    pub why: LoadRefusal,
}

/// The kernel's reasons to refuse a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadRefusal {
    /// ELOOP: chains call each other in a circle that a built-in chain reaches.
    Loop,
    /// A jump to a chain that is not there or is built in.
    NoChain(String),
    /// An extension refused.
    Extension(Refused),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}, chain {}", self.table, self.chain)?;
        if self.rule != 0 {
            write!(f, ", rule {}", self.rule)?;
        }
        match &self.why {
            LoadRefusal::Loop => f.write_str(": chains form a loop"),
            LoadRefusal::NoChain(name) => write!(f, ": no chain `{name}' to go to"),
            LoadRefusal::Extension(
                Refused::Invalid(m) | Refused::Range(m) | Refused::Missing(m) | Refused::Exists(m),
            ) => write!(f, ": {m}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The chains of a table by name.
pub(super) fn chain_index(table: &Table) -> HashMap<&str, usize> {
    table.chains.iter().enumerate().map(|(n, c)| (c.name.as_str(), n)).collect()
}

/// Checks the whole table. The result says, chain by chain, from which hooks it can be reached.
pub(super) fn check(family: Family, table: &Table) -> Result<Vec<Hooks>, LoadError> {
    let reach = reachable(table)?;
    for (chain, hooks) in table.chains.iter().zip(&reach) {
        let end = last_reached(chain);
        for (n, rule) in chain.rules.iter().enumerate() {
            let hooks = if n <= end { *hooks } else { Hooks::NONE };
            let place = Place { family, table: table.id, hooks, rule };
            check_extensions(&place).map_err(|(passed, why)| LoadError { passed, ..refused(table, chain, n, why) })?;
        }
    }
    Ok(reach)
}

fn refused(table: &Table, chain: &Chain, n: usize, why: Refused) -> LoadError {
    let why = LoadRefusal::Extension(why);
    LoadError { table: table.id, chain: chain.name.clone(), rule: n + 1, passed: 0, why }
}

/// Checks a whole table as the kernel does when it is loaded, where there are no accounting objects.
///
/// # Errors
/// The first rule that the kernel refuses.
pub fn check_table(family: Family, table: &Table) -> Result<(), LoadError> {
    check(family, table)?;
    for chain in &table.chains {
        for (n, rule) in chain.rules.iter().enumerate() {
            check_accounts(rule).map_err(|why| refused(table, chain, n, why))?;
        }
    }
    Ok(())
}

/// Refuses a rule that names an accounting object.
fn check_accounts(rule: &Rule) -> Result<(), Refused> {
    match rule.matches.iter().find_map(|m| m.account()) {
        None => Ok(()),
        Some(name) => Err(missing_account(name)),
    }
}

pub(super) fn missing_account(name: &str) -> Refused {
    Refused::Missing(format!("xt_nfacct: accounting object `{name}' does not exist"))
}

/// Whether no packet passes this rule: a verdict without any condition. For the kernel the rules after it are not reached from any
/// hook, so that they may be what they could not be elsewhere, and their jumps do not count.
pub fn ends_chain(rule: &Rule) -> bool {
    let is_verdict = matches!(rule.action, Action::Accept | Action::Drop | Action::Return | Action::Queue);
    is_verdict && rule.matches.is_empty() && rule.header == Header::default()
}

/// The place of the last rule that packets come to.
fn last_reached(chain: &Chain) -> usize {
    chain.rules.iter().position(ends_chain).unwrap_or(usize::MAX)
}

/// Checks one rule as the kernel does when its table is loaded, where there are no accounting objects.
///
/// # Errors
/// The first of its extensions that refuses, and how many of its matches did not.
pub fn check_rule(place: &Place<'_>) -> Result<(), (usize, Refused)> {
    check_extensions(place)?;
    check_accounts(place.rule).map_err(|why| (0, why))
}

/// The matches in their order, then the target. Who refuses comes with the number of matches that did not.
fn check_extensions(place: &Place<'_>) -> Result<(), (usize, Refused)> {
    for (nth, m) in place.rule.matches.iter().enumerate() {
        let scope = check_scope(place, "match", "valid", m.name(), &m.scope());
        scope.and_then(|()| m.check(place)).map_err(|why| (nth, why))?;
    }
    if let Action::Target(t) = &place.rule.action {
        let scope = check_scope(place, "target", "usable", t.name(), &t.scope());
        scope.and_then(|()| t.check(place)).map_err(|why| (place.rule.matches.len(), why))?;
    }
    Ok(())
}

/// `xt_check_match` and `xt_check_target`: the kernel's words for its log.
fn check_scope(place: &Place<'_>, kind: &str, able: &str, name: &str, scope: &Scope) -> Result<(), Refused> {
    let prefix = match place.family {
        Family::V4 => "ip_tables",
        Family::V6 => "ip6_tables",
    };
    let say = |text: String| Err(Refused::Invalid(format!("x_tables: {prefix}: {name} {kind}: {text}")));
    if !scope.tables.contains(place.table) {
        let only = scope.tables.iter().next().map_or("no", TableId::name);
        return say(format!("only valid in {only} table, not {}", place.table));
    }
    if !place.hooks.minus(scope.hooks).is_empty() {
        return say(format!("used from hooks {}, but only {able} from {}", place.hooks, scope.hooks));
    }
    if let Protocols::Of(list) = scope.protocols
        && (place.rule.header.protocol_inverted || !list.contains(&place.rule.header.protocol))
    {
        return say(format!("only valid for protocol {}", list.first().copied().unwrap_or(0)));
    }
    Ok(())
}

/// From which hooks each chain can be reached; a loop that a built-in chain reaches is an error.
fn reachable(table: &Table) -> Result<Vec<Hooks>, LoadError> {
    let names = chain_index(table);
    let mut next: Vec<Vec<(usize, usize)>> = Vec::with_capacity(table.chains.len());
    for chain in &table.chains {
        let mut calls = Vec::new();
        let end = last_reached(chain);
        for (n, rule) in chain.rules.iter().enumerate() {
            if let Some(name) = callee(rule) {
                match names.get(name) {
                    Some(&to) if table.chains[to].policy.is_none() => {
                        if n < end {
                            calls.push((to, n + 1));
                        }
                    }
                    _ => {
                        return Err(LoadError {
                            table: table.id,
                            chain: chain.name.clone(),
                            rule: n + 1,
                            passed: 0,
                            why: LoadRefusal::NoChain(name.to_owned()),
                        });
                    }
                }
            }
        }
        next.push(calls);
    }
    let starts: Vec<_> = table.id.hooks().iter().filter_map(|hook| Some((hook, *names.get(hook.chain())?))).collect();
    reach(&starts, &next).map_err(|(chain, rule)| LoadError {
        table: table.id,
        chain: table.chains[chain].name.clone(),
        rule,
        passed: 0,
        why: LoadRefusal::Loop,
    })
}

/// From which hooks each chain of a table can be reached. `starts` are the built-in chains; `calls` has for each chain the chains
/// its rules go to, each with the number of such a rule.
///
/// # Errors
/// A chain and its rule that closes a loop which a built-in chain reaches.
pub fn reach(starts: &[(Hook, usize)], calls: &[Vec<(usize, usize)>]) -> Result<Vec<Hooks>, (usize, usize)> {
    let mut reach = vec![Hooks::NONE; calls.len()];
    for &(hook, start) in starts {
        let mut state = vec![Visit::New; calls.len()];
        // An explicit stack: the depth is the person's choice, and 100,000 chains deep is no reason to overflow ours.
        let mut stack = vec![(start, 0usize)];
        state[start] = Visit::Open;
        while let Some((chain, at)) = stack.last_mut() {
            match calls[*chain].get(*at) {
                None => {
                    state[*chain] = Visit::Done;
                    reach[*chain] = reach[*chain].union(Hooks::of(&[hook]));
                    stack.pop();
                }
                Some(&(to, rule)) => {
                    let from = *chain;
                    *at += 1;
                    match state[to] {
                        Visit::Done => {}
                        Visit::New => {
                            state[to] = Visit::Open;
                            stack.push((to, 0));
                        }
                        Visit::Open => return Err((from, rule)),
                    }
                }
            }
        }
    }
    Ok(reach)
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}

pub(super) fn callee(rule: &Rule) -> Option<&str> {
    match &rule.action {
        Action::Jump(name) | Action::Goto(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Counter;

    fn table(calls: &[(&str, &str)]) -> Table {
        let mut t = Table::new(TableId::Filter);
        for (from, to) in calls {
            for name in [from, to] {
                if t.chain(name).is_none() {
                    t.chains.push(Chain {
                        name: (*name).to_owned(),
                        policy: None,
                        counter: Counter::default(),
                        rules: Vec::new(),
                    });
                }
            }
            t.chain_mut(from).expect("just made").rules.push(Rule {
                header: Header::default(),
                matches: Vec::new(),
                action: Action::Jump((*to).to_owned()),
                counter: Counter::default(),
            });
        }
        t
    }

    #[test]
    fn a_loop_counts_only_where_a_built_in_chain_reaches_it() {
        assert!(check(Family::V4, &table(&[("a", "b"), ("b", "a")])).is_ok());
        let e = check(Family::V4, &table(&[("INPUT", "a"), ("a", "b"), ("b", "a")])).unwrap_err();
        assert_eq!((e.why, e.chain.as_str(), e.rule), (LoadRefusal::Loop, "b", 1));
        assert!(check(Family::V4, &table(&[("INPUT", "a"), ("INPUT", "a"), ("a", "b"), ("INPUT", "b")])).is_ok());
    }

    #[test]
    fn what_stands_after_a_verdict_without_conditions_is_not_reached() {
        let verdict = |action: Action, protocol| Rule {
            header: Header { protocol, ..Header::default() },
            matches: Vec::new(),
            action,
            counter: Counter::default(),
        };
        for (action, protocol, is_reached) in
            [(Action::Accept, 0, false), (Action::Return, 0, false), (Action::Accept, 6, true), (Action::None, 0, true)]
        {
            let mut t = table(&[("INPUT", "a"), ("a", "a")]);
            t.chain_mut("INPUT").expect("built in").rules.insert(0, verdict(action.clone(), protocol));
            assert_eq!(check(Family::V4, &t).is_err(), is_reached, "{action:?} -p {protocol}");
        }
    }

    #[test]
    fn reach_is_the_union_over_callers() {
        let t = table(&[("INPUT", "a"), ("OUTPUT", "b"), ("a", "b")]);
        let reach = check(Family::V4, &t).expect("no loop");
        let of = |name: &str| reach[t.chains.iter().position(|c| c.name == name).expect("there")];
        assert_eq!(of("a").to_string(), "INPUT");
        assert_eq!(of("b").to_string(), "INPUT/OUTPUT");
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let names: Vec<String> = (0..20_000).map(|n| format!("c{n}")).collect();
        let mut t = table(&[("INPUT", "c0")]);
        for pair in names.windows(2) {
            t.chains.push(Chain {
                name: pair[1].clone(),
                policy: None,
                counter: Counter::default(),
                rules: Vec::new(),
            });
            let at = t.chains.len() - 2;
            t.chains[at].rules.push(Rule {
                header: Header::default(),
                matches: Vec::new(),
                action: Action::Jump(pair[1].clone()),
                counter: Counter::default(),
            });
        }
        assert!(check(Family::V4, &t).is_ok());
    }
}
