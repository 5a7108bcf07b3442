//! A rule set laid out for walking: one flat list of rules per table, chains one after the other, each ended by a hidden rule.
//! It never changes; engines on several threads can share it.

use super::check::{LoadError, LoadRefusal, callee, chain_index, check, missing_account};
use super::scan::{Scan, is_all_front};
use super::{
    Action, Chain, Counter, Header, Match, Memory, Needs, Policy, Refused, Rule, Ruleset, SharedNames, Table, TableId,
    Target, shared_uses,
};
use crate::account::Accounts;
use crate::hook::Hook;
use crate::set::Sets;
use crate::time::Now;
use hairpin_wire::Family;
use std::ops::Range;
use std::sync::Arc;

/// A checked rule set of one family, ready to be walked.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// IPv4 or IPv6.
    pub family: Family,
    tables: [Option<Arc<FlatTable>>; 5],
    order: Vec<TableId>,
}

impl Compiled {
    /// No table.
    pub fn empty(family: Family) -> Compiled {
        Compiled { family, tables: Default::default(), order: Vec::new() }
    }

    /// Checks and lays out a whole rule set.
    pub fn new(ruleset: Ruleset) -> Result<Compiled, LoadError> {
        let mut compiled = Compiled::empty(ruleset.family);
        for table in ruleset.tables {
            compiled = compiled.with_table(table)?;
        }
        Ok(compiled)
    }

    /// The same with one table replaced (or added); the others are shared and keep their state when the result is put in place.
    pub fn with_table(&self, table: Table) -> Result<Compiled, LoadError> {
        let id = table.id;
        let flat = FlatTable::new(self.family, table)?;
        let mut new = self.clone();
        new.tables[id as usize] = Some(Arc::new(flat));
        if !new.order.contains(&id) {
            new.order.push(id);
        }
        Ok(new)
    }

    /// The table as people wrote it, if it is in use.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.flat(id).map(|t| &t.source)
    }

    /// The tables in use, in the order in which they were first used.
    pub fn tables(&self) -> impl DoubleEndedIterator<Item = &Table> {
        self.order.iter().filter_map(|id| self.table(*id))
    }

    /// What the rules need to be switched on.
    pub fn needs(&self) -> Needs {
        self.tables.iter().flatten().fold(Needs::NONE, |all, t| all.union(t.needs))
    }

    /// Whether all sets that the rules name exist.
    ///
    /// # Errors
    /// The first rule whose set does not.
    pub fn check_sets(&self, sets: &Sets) -> Result<(), LoadError> {
        let named = self.tables.iter().flatten().flat_map(|t| t.sets.iter().map(move |s| (t, s)));
        for (table, (name, chain, rule)) in named {
            if sets.id(name).is_none() {
                let chain = table.chains.get(*chain as usize).map_or_else(String::new, |c| c.name.to_string());
                let why = LoadRefusal::Extension(Refused::Missing(format!("Set {name} doesn't exist.")));
                return Err(LoadError { table: table.source.id, chain, rule: *rule as usize, passed: 0, why });
            }
        }
        Ok(())
    }

    /// Whether all accounting objects that the rules name exist.
    ///
    /// # Errors
    /// The first rule whose object does not.
    pub fn check_accounts(&self, accounts: &Accounts) -> Result<(), LoadError> {
        for table in self.tables.iter().flatten() {
            let missing = table.accounts.iter().find(|(name, ..)| accounts.get(name).is_none());
            if let Some((name, chain, rule)) = missing {
                let chain = table.chains.get(*chain as usize).map_or_else(String::new, |c| c.name.to_string());
                let why = LoadRefusal::Extension(missing_account(name));
                return Err(LoadError { table: table.source.id, chain, rule: *rule as usize, passed: 0, why });
            }
        }
        Ok(())
    }

    /// Whether a rule counts in the accounting object of this name.
    pub fn uses_account(&self, name: &str) -> bool {
        self.tables.iter().flatten().any(|table| table.accounts.iter().any(|(used, ..)| used == name))
    }

    /// Whether rules that share something by name agree on it ([`SharedNames`]). The tables of `in_force` give way to these one after
    /// the other.
    ///
    /// # Errors
    /// The first rule that the kernel would not load.
    pub fn check_shared(&self, in_force: [&Compiled; 2]) -> Result<(), LoadError> {
        let is_own = |rules: &&Compiled| rules.family == self.family;
        let old = |id| in_force.iter().find(|rules| is_own(rules)).and_then(|rules| rules.flat(id));
        let shared = |new: &Arc<FlatTable>, id| old(id).is_some_and(|old| Arc::ptr_eq(old, new));
        let fresh = self.order.iter().filter_map(|id| Some((*id, self.flat(*id).filter(|new| !shared(new, *id))?)));
        let mut changed: Vec<TableId> = Vec::new();
        for (id, new) in fresh {
            if !new.sharing.is_empty() {
                let mut there = SharedNames::default();
                let stays = |rules: &Compiled, id: &TableId| !is_own(&rules) || !changed.contains(id);
                for rules in in_force {
                    let tables = rules.order.iter().filter(|id| stays(rules, id)).filter_map(|id| rules.flat(*id));
                    tables.flat_map(|t| t.sharing_rules()).for_each(|(_, _, rule)| there.note(rules.family, rule));
                }
                let came = changed.iter().filter_map(|id| self.flat(*id));
                came.flat_map(|t| t.sharing_rules()).for_each(|(_, _, rule)| there.note(self.family, rule));
                for (chain, number, rule) in new.sharing_rules() {
                    there.load(self.family, rule).map_err(|why| {
                        let why = LoadRefusal::Extension(why);
                        LoadError { table: id, chain: chain.to_owned(), rule: number, passed: 0, why }
                    })?;
                }
            }
            changed.push(id);
        }
        Ok(())
    }

    pub(crate) fn flat(&self, id: TableId) -> Option<&Arc<FlatTable>> {
        self.tables[id as usize].as_ref()
    }
}

/// One table, flat.
#[derive(Debug)]
pub(crate) struct FlatTable {
    pub(crate) source: Table,
    pub(crate) rules: Vec<FlatRule>,
    /// Passes over rules that do not fit.
    pub(super) scan: Scan,
    pub(crate) matches: Vec<FlatMatch>,
    pub(crate) chains: Vec<FlatChain>,
    /// Where the walk begins at each hook.
    entry: [Option<usize>; 5],
    /// The hidden rule with the policy, at each hook.
    policy: [Option<usize>; 5],
    /// How many memories its extensions have.
    pub(crate) memories: usize,
    /// The extensions that remember something, so that loading looks at no others.
    pub(crate) remembering: Vec<Remembering>,
    /// The counters as they are when the table is loaded, one for each flat rule.
    pub(crate) first_counters: Vec<Counter>,
    pub(crate) needs: Needs,
    /// The sets that rules name, each with the chain and the number of the rule.
    sets: Vec<(String, u32, u32)>,
    /// The accounting objects likewise.
    accounts: Vec<(String, u32, u32)>,
    /// The rules that share something by name: chain, and number in it from 0.
    sharing: Vec<(u32, u32)>,
}

/// A chain's place in the flat list: its rules, then its hidden end.
#[derive(Debug)]
pub(crate) struct FlatChain {
    pub(crate) name: Arc<str>,
    pub(crate) rules: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct FlatRule {
    pub(crate) header: Header,
    /// A packet that the scan stops for fits the header.
    pub(super) is_all_front: bool,
    pub(crate) matches: Range<usize>,
    pub(crate) action: FlatAction,
    /// Its chain.
    pub(crate) chain: u32,
    /// Its number in the chain, from 1.
    pub(crate) number: u32,
}

#[derive(Debug)]
pub(crate) struct FlatMatch {
    pub(crate) test: Arc<dyn Match>,
    pub(crate) memory: u32,
}

/// An extension with a memory: the place of its rule, and which of the rule's matches it is; None for the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembering {
    pub(crate) rule: u32,
    pub(crate) nth: Option<u32>,
}

/// The place of the memory of an extension that has none.
const NO_MEMORY: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) enum FlatAction {
    None,
    Accept,
    Drop,
    Return,
    Queue,
    Jump { to: usize, chain: u32 },
    Goto { to: usize, chain: u32 },
    Target { target: Arc<dyn Target>, memory: u32 },
    Policy(Policy),
    EndOfChain,
}

impl FlatTable {
    fn new(family: Family, source: Table) -> Result<FlatTable, LoadError> {
        check(family, &source)?;
        check_served(&source)?;
        let index = chain_index(&source);
        let mut starts = Vec::with_capacity(source.chains.len());
        let mut total = 0;
        for chain in &source.chains {
            starts.push(total);
            total += chain.rules.len() + 1;
        }
        let mut flat = FlatTable {
            rules: Vec::with_capacity(total),
            scan: Scan::new(family, std::iter::empty()),
            matches: Vec::new(),
            chains: Vec::with_capacity(source.chains.len()),
            entry: [None; 5],
            policy: [None; 5],
            memories: 0,
            remembering: Vec::new(),
            first_counters: Vec::new(),
            needs: Needs::NONE,
            sets: Vec::new(),
            accounts: Vec::new(),
            sharing: Vec::new(),
            source: Table { id: source.id, chains: Vec::new() },
        };
        for (n, chain) in source.chains.iter().enumerate() {
            for (k, rule) in chain.rules.iter().enumerate() {
                let matches = flat.add_matches(&rule.matches);
                let to = callee(rule).and_then(|name| index.get(name)).copied().unwrap_or(0);
                let action = match &rule.action {
                    Action::None => FlatAction::None,
                    Action::Accept => FlatAction::Accept,
                    Action::Drop => FlatAction::Drop,
                    Action::Return => FlatAction::Return,
                    Action::Queue => FlatAction::Queue,
                    Action::Jump(_) => FlatAction::Jump { to: starts[to], chain: to as u32 },
                    Action::Goto(_) => FlatAction::Goto { to: starts[to], chain: to as u32 },
                    Action::Target(target) => {
                        flat.needs = flat.needs.union(target.needs());
                        let remembers = remembers(target.sets(), || target.memory(&Now::default()));
                        let place = Remembering { rule: flat.rules.len() as u32, nth: None };
                        FlatAction::Target { target: Arc::clone(target), memory: flat.next_memory(remembers, place) }
                    }
                };
                flat.add_names(rule, n as u32, k as u32 + 1);
                if shared_uses(rule).next().is_some() {
                    flat.sharing.push((n as u32, k as u32));
                }
                let header = rule.header.clone();
                let is_all_front = is_all_front(&header);
                let number = k as u32 + 1;
                flat.rules.push(FlatRule { header, is_all_front, matches, action, chain: n as u32, number });
            }
            let end = chain.policy.map_or(FlatAction::EndOfChain, FlatAction::Policy);
            let number = chain.rules.len() as u32 + 1;
            flat.rules.push(FlatRule {
                header: Header::default(),
                is_all_front: true,
                matches: 0..0,
                action: end,
                chain: n as u32,
                number,
            });
            let rules = starts[n]..starts[n] + chain.rules.len();
            if let Some(hook) = Hook::ALL.into_iter().find(|h| chain.policy.is_some() && h.chain() == chain.name) {
                flat.entry[hook.number()] = Some(rules.start);
                flat.policy[hook.number()] = Some(rules.end);
            }
            flat.chains.push(FlatChain { name: chain.name.as_str().into(), rules });
        }
        flat.scan = Scan::new(family, flat.rules.iter().map(|rule| &rule.header));
        let counters = |chain: &Chain| chain.rules.iter().map(|r| r.counter).chain([chain.counter]).collect::<Vec<_>>();
        flat.first_counters = source.chains.iter().flat_map(counters).collect();
        flat.source = source;
        Ok(flat)
    }

    /// The rules that share something by name, each with its chain and its number.
    fn sharing_rules(&self) -> impl Iterator<Item = (&str, usize, &Rule)> {
        self.sharing.iter().filter_map(|(chain, place)| {
            let (chain, place) = (self.source.chains.get(*chain as usize)?, *place as usize);
            Some((chain.name.as_str(), place + 1, chain.rules.get(place)?))
        })
    }

    fn add_names(&mut self, rule: &Rule, chain: u32, number: u32) {
        let of_target = match &rule.action {
            Action::Target(target) => target.sets(),
            _ => &[],
        };
        let names = rule.matches.iter().flat_map(|m| m.sets()).chain(of_target);
        self.sets.extend(names.map(|name| (name.clone(), chain, number)));
        let accounts = rule.matches.iter().filter_map(|m| m.account());
        self.accounts.extend(accounts.map(|name| (name.to_owned(), chain, number)));
    }

    fn add_matches(&mut self, matches: &[Arc<dyn Match>]) -> Range<usize> {
        let start = self.matches.len();
        for (nth, test) in matches.iter().enumerate() {
            self.needs = self.needs.union(test.needs());
            let remembers = remembers(test.sets(), || test.memory(&Now::default()));
            let place = Remembering { rule: self.rules.len() as u32, nth: Some(nth as u32) };
            let memory = self.next_memory(remembers, place);
            self.matches.push(FlatMatch { test: Arc::clone(test), memory });
        }
        start..self.matches.len()
    }

    fn next_memory(&mut self, remembers: bool, place: Remembering) -> u32 {
        if !remembers {
            return NO_MEMORY;
        }
        self.remembering.push(place);
        self.memories += 1;
        self.memories as u32 - 1
    }

    /// This match of this rule.
    pub(crate) fn found(&self, rule: usize, nth: usize) -> Option<&FlatMatch> {
        self.matches.get(self.rules.get(rule)?.matches.clone())?.get(nth)
    }

    /// The first rule of the hook's built-in chain.
    pub(crate) fn entry(&self, hook: Hook) -> Option<usize> {
        self.entry[hook.number()]
    }

    /// The hidden rule with the hook's policy.
    pub(crate) fn policy(&self, hook: Hook) -> Option<usize> {
        self.policy[hook.number()]
    }
}

/// Whether the table has nothing that is only read, saved and listed ([`Match::refused_here`]).
fn check_served(table: &Table) -> Result<(), LoadError> {
    for chain in &table.chains {
        for (n, rule) in chain.rules.iter().enumerate() {
            if let Some(why) = rule.matches.iter().find_map(|m| m.refused_here()) {
                let why = LoadRefusal::Extension(Refused::Missing(why.to_owned()));
                return Err(LoadError { table: table.id, chain: chain.name.clone(), rule: n + 1, passed: 0, why });
            }
        }
    }
    Ok(())
}

/// Whether an extension with these sets and this memory remembers something.
fn remembers(sets: &[String], memory: impl FnOnce() -> Memory) -> bool {
    !sets.is_empty() || !matches!(memory(), Memory::None)
}
