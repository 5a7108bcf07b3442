//! A table as commands change it, however it is kept: as a value, or as text in a file.

use crate::rope::Rope;
use crate::save::rule_text;
use hairpin_engine::rule::{Action, Chain, Counter, Policy, Rule, Table, TableId};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::collections::HashMap;

/// A table being changed. Chains are found by name once ([`Chains::find`]) and then known by a number that is good until a chain is
/// made, deleted or renamed. Places of rules count from 0 and are asked for only where there is one.
pub trait Chains {
    /// iptables or ip6tables.
    fn family(&self) -> Family;

    /// Which table.
    fn id(&self) -> TableId;

    /// The chain of that name.
    fn find(&self, name: &str) -> Option<usize>;

    /// All names, built-in chains first.
    fn names(&self) -> Vec<&str>;

    /// How many chains there are.
    fn count(&self) -> usize;

    /// The policy of a built-in chain.
    fn policy(&self, chain: usize) -> Option<Policy>;

    /// How many rules a chain has.
    fn len(&self, chain: usize) -> usize;

    /// The place of the first rule that is the same but for its counters: the one that is saved the same.
    ///
    /// # Errors
    /// The table cannot be read.
    fn position(&mut self, chain: usize, wanted: &Rule) -> Result<Option<usize>, String>;

    /// Puts a rule before the one at this place, or after the last.
    ///
    /// # Errors
    /// The table cannot be read.
    fn insert(&mut self, chain: usize, place: usize, rule: Rule, origin: &Origin<'_>) -> Result<(), String>;

    /// Takes a rule out.
    ///
    /// # Errors
    /// The table cannot be read.
    fn remove(&mut self, chain: usize, place: usize) -> Result<(), String>;

    /// Sets a rule's counters to zero.
    ///
    /// # Errors
    /// The table cannot be read.
    fn zero_rule(&mut self, chain: usize, place: usize) -> Result<(), String>;

    /// Takes out all rules and all chains that are not built in; policies stay.
    fn reset(&mut self);

    /// Takes all rules out.
    fn clear(&mut self, chain: usize);

    /// Sets the counters of a chain and its rules to zero.
    fn zero(&mut self, chain: usize);

    /// Makes a chain.
    fn create(&mut self, name: &str);

    /// Takes out a chain, which has no rules.
    fn delete(&mut self, chain: usize);

    /// Gives a chain another name, also in the rules that go to it.
    ///
    /// # Errors
    /// The table cannot be read.
    fn rename(&mut self, chain: usize, to: &str) -> Result<(), String>;

    /// Sets a built-in chain's policy and its counters.
    fn set_policy(&mut self, chain: usize, policy: Policy, counter: Counter);

    /// The name of a chain with a rule that goes to this one.
    fn caller(&self, chain: usize) -> Option<String>;

    /// The table as it is now.
    ///
    /// # Errors
    /// The table cannot be read.
    fn whole(&mut self, names: &dyn Names) -> Result<Table, String>;
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The line of a rule file; 0 for nowhere.
    pub line: usize,
    /// The words it was read from, when iptables-save may print it so that it cannot be read again
    /// ([`Command::odd_words`](crate::command::Command::odd_words)), and which of their rules it is.
    pub odd_words: Option<(&'a [String], usize)>,
}

/// The chain that a rule goes to.
pub fn callee(rule: &Rule) -> Option<&str> {
    match &rule.action {
        Action::Jump(name) | Action::Goto(name) => Some(name),
        _ => None,
    }
}

/// A table as a value, being changed. Its chains may be in any order until [`ValueChains::finish`].
#[derive(Debug)]
pub struct ValueChains {
    family: Family,
    id: TableId,
    chains: Vec<ValueChain>,
    index: HashMap<String, usize>,
}

/// A chain of it.
#[derive(Debug)]
struct ValueChain {
    name: String,
    policy: Option<Policy>,
    counter: Counter,
    /// The rules, each with the line of the file it came from; 0 when from none.
    rules: Rope<(Rule, usize)>,
}

impl ValueChains {
    /// The table as it is.
    pub fn new(family: Family, table: Table) -> ValueChains {
        let chain = |Chain { name, policy, counter, rules }: Chain| {
            let rules = rules.into_iter().map(|rule| (rule, 0)).collect();
            ValueChain { name, policy, counter, rules }
        };
        let chains = table.chains.into_iter().map(chain).collect();
        let mut chains = ValueChains { family, id: table.id, chains, index: HashMap::new() };
        chains.reindex();
        chains
    }

    /// The table with its chains in libiptc's order (built-in ones by hook, then the others by name), and for each chain the
    /// lines of its rules.
    pub fn finish(mut self) -> (Table, Vec<Vec<usize>>) {
        let built_in = self.chains.iter().take_while(|c| c.policy.is_some()).count();
        if let Some(own) = self.chains.get_mut(built_in..) {
            own.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut table = Table { id: self.id, chains: Vec::with_capacity(self.chains.len()) };
        let mut all_lines = Vec::with_capacity(self.chains.len());
        for ValueChain { name, policy, counter, rules } in self.chains {
            let (rules, lines) = rules.into_items().unzip();
            table.chains.push(Chain { name, policy, counter, rules });
            all_lines.push(lines);
        }
        (table, all_lines)
    }

    fn reindex(&mut self) {
        self.index = self.chains.iter().enumerate().map(|(n, c)| (c.name.clone(), n)).collect();
    }
}

impl Chains for ValueChains {
    fn family(&self) -> Family {
        self.family
    }

    fn id(&self) -> TableId {
        self.id
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    fn names(&self) -> Vec<&str> {
        self.chains.iter().map(|c| c.name.as_str()).collect()
    }

    fn count(&self) -> usize {
        self.chains.len()
    }

    fn policy(&self, chain: usize) -> Option<Policy> {
        self.chains[chain].policy
    }

    fn len(&self, chain: usize) -> usize {
        self.chains[chain].rules.len()
    }

    fn position(&mut self, chain: usize, wanted: &Rule) -> Result<Option<usize>, String> {
        let text = rule_text(self.family, "", wanted);
        Ok(self.chains[chain].rules.iter().position(|(rule, _)| {
            rule.header == wanted.header
                && rule.matches.len() == wanted.matches.len()
                && rule_text(self.family, "", rule) == text
        }))
    }

    fn insert(&mut self, chain: usize, place: usize, rule: Rule, origin: &Origin<'_>) -> Result<(), String> {
        self.chains[chain].rules.insert(place, (rule, origin.line));
        Ok(())
    }

    fn remove(&mut self, chain: usize, place: usize) -> Result<(), String> {
        self.chains[chain].rules.remove(place);
        Ok(())
    }

    fn zero_rule(&mut self, chain: usize, place: usize) -> Result<(), String> {
        if let Some((rule, _)) = self.chains[chain].rules.get_mut(place) {
            rule.counter = Counter::default();
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.chains.retain(|c| c.policy.is_some());
        for chain in &mut self.chains {
            chain.rules = Rope::default();
        }
        self.reindex();
    }

    fn clear(&mut self, chain: usize) {
        self.chains[chain].rules = Rope::default();
    }

    fn zero(&mut self, chain: usize) {
        let chain = &mut self.chains[chain];
        chain.counter = Counter::default();
        for (rule, _) in chain.rules.iter_mut() {
            rule.counter = Counter::default();
        }
    }

    fn create(&mut self, name: &str) {
        self.index.insert(name.to_owned(), self.chains.len());
        let name = name.to_owned();
        self.chains.push(ValueChain { name, policy: None, counter: Counter::default(), rules: Rope::default() });
    }

    fn delete(&mut self, chain: usize) {
        self.chains.remove(chain);
        self.reindex();
    }

    fn rename(&mut self, chain: usize, to: &str) -> Result<(), String> {
        let from = std::mem::replace(&mut self.chains[chain].name, to.to_owned());
        for (rule, _) in self.chains.iter_mut().flat_map(|c| c.rules.iter_mut()) {
            match &mut rule.action {
                Action::Jump(name) | Action::Goto(name) if *name == from => *name = to.to_owned(),
                _ => {}
            }
        }
        self.reindex();
        Ok(())
    }

    fn set_policy(&mut self, chain: usize, policy: Policy, counter: Counter) {
        let chain = &mut self.chains[chain];
        chain.policy = Some(policy);
        chain.counter = counter;
    }

    fn caller(&self, chain: usize) -> Option<String> {
        let name = &self.chains[chain].name;
        let calls = |c: &&ValueChain| c.rules.iter().any(|(rule, _)| callee(rule) == Some(name));
        self.chains.iter().find(calls).map(|c| c.name.clone())
    }

    fn whole(&mut self, _names: &dyn Names) -> Result<Table, String> {
        let chain = |c: &ValueChain| {
            let rules = c.rules.iter().map(|(rule, _)| rule.clone()).collect();
            Chain { name: c.name.clone(), policy: c.policy, counter: c.counter, rules }
        };
        let mut chains: Vec<Chain> = self.chains.iter().map(chain).collect();
        let built_in = chains.iter().take_while(|c| c.policy.is_some()).count();
        if let Some(own) = chains.get_mut(built_in..) {
            own.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(Table { id: self.id, chains })
    }
}
