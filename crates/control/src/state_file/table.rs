//! A table as the file keeps it: chains of rules as text, read as far as a command needs.
//!
//! A chain is a list of pieces ([`Pieces`]): runs of rules that stand in the file's body, unread, and rules that came since. A change splits,
//! drops or adds pieces and is written down as an [`Operation`], which makes the same change when the file is read again. So appending
//! to a chain of 100,000 rules looks at none of them.

use super::codec::Reader;
use super::container::Body;
use super::operation::Operation;
use super::pieces::{Piece, Pieces, Run};
use super::record::{self, Record};
use hairpin_engine::hook::Hooks;
use hairpin_engine::rule::{
    Chain, Counter, LoadError, LoadRefusal, Place, Policy, Rule, Table, TableId, check_rule, check_table, reach,
    shared_uses,
};
use hairpin_ruleset::chains::{Chains, Origin, callee};
use hairpin_ruleset::command::{Context, parse, parse_rule};
use hairpin_ruleset::save::rule_body;
use hairpin_ruleset::words::split_saved;
use hairpin_wire::Family;
use hairpin_xt::option::{Names, NoNames};
use std::collections::{BTreeMap, HashMap};
use std::io;

/// How many bytes of changes a command notes before the file is rather written anew.
const NOTED: usize = 256 << 10;

/// A table.
#[derive(Debug)]
pub(super) struct StoredTable {
    family: Family,
    id: TableId,
    /// Built-in chains in the order of their hooks, then the others in no order.
    pub(super) chains: Vec<StoredChain>,
    index: HashMap<String, usize>,
    body: Body,
    /// What this command did, in order, as long as that is little.
    done: Vec<Vec<u8>>,
    done_bytes: usize,
    /// It did so much that the file is better written anew.
    pub(super) rewrite: bool,
    /// From which hooks chains could be reached before the first change of calls.
    reach_before: Option<HashMap<String, Hooks>>,
    /// A verdict without conditions was taken out from before other rules, which may be reached now.
    uncovered: bool,
    /// A rule of this command shares something by name.
    pub(super) shares: bool,
    /// The line of a rule file's `COMMIT`.
    pub(super) commit_line: usize,
}

/// A chain.
#[derive(Debug, Default)]
pub(super) struct StoredChain {
    pub(super) name: String,
    pub(super) policy: Option<Policy>,
    pub(super) counter: Counter,
    pieces: Pieces,
    /// The chains that its rules go to, and how many do.
    pub(super) calls: BTreeMap<String, u32>,
}

/// A rule of this command, not yet checked.
#[derive(Debug)]
pub(super) struct Fresh {
    rule: Rule,
    line: usize,
}

impl StoredTable {
    /// As it is used first.
    pub(super) fn unused(family: Family, id: TableId) -> StoredTable {
        let chain = |chain: Chain| StoredChain { name: chain.name, policy: chain.policy, ..StoredChain::default() };
        let chains = Table::new(id).chains.into_iter().map(chain).collect();
        StoredTable::new(family, id, chains, Body::empty())
    }

    pub(super) fn new(family: Family, id: TableId, chains: Vec<StoredChain>, body: Body) -> StoredTable {
        let index = chains.iter().enumerate().map(|(n, c)| (c.name.clone(), n)).collect();
        StoredTable {
            family,
            id,
            chains,
            index,
            body,
            done: Vec::new(),
            done_bytes: 0,
            rewrite: false,
            reach_before: None,
            uncovered: false,
            shares: false,
            commit_line: 0,
        }
    }

    pub(super) fn id(&self) -> TableId {
        self.id
    }

    /// What was done since it was read, and forgets it.
    pub(super) fn take_done(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.done)
    }

    /// Notes that it is taken into use.
    pub(super) fn note_use(&mut self) {
        self.note(&Operation::Use);
    }

    /// The chains in the order of listings: built-in ones by hook, then the others by name.
    pub(super) fn in_order(&self) -> Vec<&StoredChain> {
        let mut chains: Vec<&StoredChain> = self.chains.iter().collect();
        let built_in = chains.iter().take_while(|c| c.policy.is_some()).count();
        if let Some(own) = chains.get_mut(built_in..) {
            own.sort_by(|a, b| a.name.cmp(&b.name));
        }
        chains
    }

    /// How many rules go to the chain of this name.
    pub(super) fn references(&self, name: &str) -> usize {
        self.chains.iter().filter_map(|c| c.calls.get(name)).map(|n| *n as usize).sum()
    }

    /// Shows each rule of a chain, in order.
    pub(super) fn each(
        &self,
        chain: &StoredChain,
        mut show: impl FnMut(&Record<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for piece in chain.pieces.iter() {
            match piece {
                Piece::Own { record, .. } => show(&Record::take(&mut Reader(record))?)?,
                Piece::Run(run) => {
                    let body = self.body.bytes()?;
                    let mut reader = self.run(&body, run)?;
                    for _ in 0..run.count {
                        let mut record = Record::take(&mut reader)?;
                        if run.zeroed {
                            record.counter = Counter::default();
                        }
                        show(&record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The rule of a record.
    pub(super) fn rule(&self, chain: &str, record: &Record<'_>, names: &dyn Names) -> io::Result<Rule> {
        let context = Context { family: self.family, names, table: self.id, restore: true };
        let wrong = |why: &str| {
            let text = format!("table {}: cannot read the rule `-A {chain}{}': {why}", self.id, record.text);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let read = match record.words()? {
            None => {
                let words = split_saved(record.text).map_err(|e| wrong(&e.message))?;
                parse_rule(&context, chain, &words).map(|rules| (rules, 0))
            }
            Some((words, nth)) => {
                let context = Context { restore: false, ..context };
                parse(&context, &words).map(|command| (command.rules, nth))
            }
        };
        let (rules, nth) = read.map_err(|e| wrong(&e.error.message))?;
        let mut rule = rules.into_iter().nth(nth).ok_or_else(|| wrong("there is none"))?;
        record.complete(&mut rule);
        Ok(rule)
    }

    fn run<'b>(&self, body: &'b [u8], run: &Run) -> io::Result<Reader<'b>> {
        let from = run.start as usize;
        let bytes = body.get(from..from + run.len as usize).ok_or_else(super::codec::damaged)?;
        Ok(Reader(bytes))
    }

    // Changes

    /// Makes a change and notes it.
    fn make(&mut self, operation: &Operation<'_>) -> io::Result<()> {
        self.note(operation);
        self.repeat(operation)
    }

    fn note(&mut self, operation: &Operation<'_>) {
        if self.rewrite {
            return;
        }
        let bytes = operation.encode(self.id);
        self.done_bytes += bytes.len();
        self.done.push(bytes);
        if self.done_bytes > NOTED {
            self.rewrite = true;
            self.done = Vec::new();
        }
    }

    /// Makes a change that is noted already.
    pub(super) fn repeat(&mut self, operation: &Operation<'_>) -> io::Result<()> {
        match *operation {
            Operation::Use => {}
            Operation::Reset => {
                self.chains.retain(|c| c.policy.is_some());
                self.index = self.chains.iter().enumerate().map(|(n, c)| (c.name.clone(), n)).collect();
                self.chains.iter_mut().for_each(StoredChain::clear);
            }
            Operation::Insert { chain, place, cut, record } => {
                let found = Record::take(&mut Reader(record))?;
                let chain = self.named(chain)?;
                if let Some(name) = found.callee() {
                    *chain.calls.entry(name.to_owned()).or_default() += 1;
                }
                chain.pieces.insert(place, cut, record.to_vec())?;
            }
            Operation::Remove { chain, place, cut, len, callee } => {
                let chain = self.named(chain)?;
                if let Some(count) = chain.calls.get_mut(callee) {
                    *count -= 1;
                    if *count == 0 {
                        chain.calls.remove(callee);
                    }
                }
                chain.pieces.remove(place, cut, len)?;
            }
            Operation::Clear { chain } => self.named(chain)?.clear(),
            Operation::Zero { chain } => self.named(chain)?.zero()?,
            Operation::Create { chain } => {
                self.index.insert(chain.to_owned(), self.chains.len());
                self.chains.push(StoredChain { name: chain.to_owned(), ..StoredChain::default() });
            }
            Operation::Delete { chain } => {
                let at = self.index.remove(chain).ok_or_else(super::codec::damaged)?;
                self.chains.swap_remove(at);
                if let Some(moved) = self.chains.get(at) {
                    self.index.insert(moved.name.clone(), at);
                }
            }
            Operation::Rename { chain, to } => {
                let at = self.index.remove(chain).ok_or_else(super::codec::damaged)?;
                to.clone_into(&mut self.chains[at].name);
                self.index.insert(to.to_owned(), at);
            }
            Operation::Policy { chain, policy, counter } => {
                let chain = self.named(chain)?;
                chain.policy = Some(policy);
                chain.counter = counter;
            }
        }
        Ok(())
    }

    fn named(&mut self, name: &str) -> io::Result<&mut StoredChain> {
        let at = self.index.get(name).copied().ok_or_else(super::codec::damaged)?;
        self.chains.get_mut(at).ok_or_else(super::codec::damaged)
    }

    /// Where in the body the rule at this place begins and how long it is; `u64::MAX` when it is not in the body or no run
    /// must be split to come to it.
    fn locate(&self, chain: usize, place: usize) -> io::Result<(u64, Vec<u8>)> {
        let pieces = &self.chains[chain].pieces;
        let found = pieces.find(place).and_then(|(spot, inside)| Some((pieces.get(spot)?, inside)));
        match found {
            None => Ok((u64::MAX, Vec::new())),
            Some((Piece::Own { record, .. }, _)) => Ok((u64::MAX, record.clone())),
            Some((Piece::Run(run), inside)) => {
                let body = self.body.bytes()?;
                let mut reader = self.run(&body, run)?;
                let all = reader.0.len();
                Record::skip(&mut reader, inside)?;
                let cut = run.start + (all - reader.0.len()) as u64;
                let record = Record::take(&mut reader)?;
                let bytes = match run.zeroed {
                    true => record::with_counter(&record, Counter::default()),
                    false => record.bytes.to_vec(),
                };
                Ok((cut, bytes))
            }
        }
    }

    fn put(&mut self, chain: usize, place: usize, record: &[u8], fresh: Option<Box<Fresh>>) -> io::Result<()> {
        let at_end = place == self.chains[chain].rules();
        let cut = if at_end || place == 0 { u64::MAX } else { self.locate(chain, place)?.0 };
        let name = self.chains[chain].name.clone();
        self.make(&Operation::Insert { chain: &name, place, cut, record })?;
        if let Some(fresh) = fresh {
            self.chains[chain].pieces.set_fresh(place, fresh);
        }
        Ok(())
    }

    /// Takes a rule out and gives its record.
    fn pull(&mut self, chain: usize, place: usize) -> io::Result<Vec<u8>> {
        let (cut, bytes) = self.locate(chain, place)?;
        let record = Record::take(&mut Reader(&bytes))?;
        let name = self.chains[chain].name.clone();
        let callee = record.callee().unwrap_or_default();
        if !callee.is_empty() {
            self.remember_reach();
        }
        self.uncovered |= record.ends_chain() && place + 1 < self.chains[chain].rules();
        let len = bytes.len() as u64;
        self.make(&Operation::Remove { chain: &name, place, cut, len, callee })?;
        Ok(bytes)
    }

    // What the kernel checks

    /// Checks what this command changed, as the kernel checks a table that it loads.
    ///
    /// Mostly the new rules tell, with the hooks that could reach their chains. Those may be more than do, for the kernel leaves out
    /// what stands after a verdict without conditions; so before something is refused, the table is looked at as a whole.
    pub(super) fn check(&self, names: &dyn Names) -> Result<(), Unloadable> {
        if !self.uncovered {
            match self.check_new(names) {
                Err(Unloadable::Refused(..)) => {}
                done => return done,
            }
        }
        check_table(self.family, &self.value(|_| true, names)?).map_err(|load| {
            let line = self.line(&load.chain, load.rule);
            Unloadable::Refused(load, line)
        })
    }

    /// The value of the table, with the rules of these chains.
    pub(super) fn value(&self, wanted: impl Fn(&str) -> bool, names: &dyn Names) -> io::Result<Table> {
        let mut value = Table { id: self.id, chains: Vec::new() };
        for chain in self.in_order() {
            let mut rules = Vec::new();
            if wanted(&chain.name) {
                self.each(chain, |record| {
                    rules.push(self.rule(&chain.name, record, names)?);
                    Ok(())
                })?;
            }
            value.chains.push(Chain { name: chain.name.clone(), policy: chain.policy, counter: chain.counter, rules });
        }
        Ok(value)
    }

    /// The line of a rule file that the rule of this number came from; 0 when it came from none.
    fn line(&self, chain: &str, rule: usize) -> usize {
        let mut line = 0;
        // Whatever it finds, it shows no error.
        let _ = self.each_fresh(|name, number, _, from| -> Result<(), ()> {
            if (name, number) == (chain, rule) {
                line = from;
            }
            Ok(())
        });
        line
    }

    fn check_new(&self, names: &dyn Names) -> Result<(), Unloadable> {
        let mut reach: Option<Vec<Hooks>> = None;
        for chain in self.in_order() {
            let fresh = chain.pieces.iter().any(|p| matches!(p, Piece::Own { fresh: Some(_), .. }));
            if !fresh && self.reach_before.is_none() {
                continue;
            }
            if reach.is_none() {
                reach = Some(self.reach()?);
            }
            let at = self.index.get(&chain.name).copied().unwrap_or_default();
            let hooks = reach.as_ref().and_then(|all| all.get(at)).copied().unwrap_or(Hooks::NONE);
            let before = self.reach_before.as_ref().and_then(|all| all.get(&chain.name)).copied();
            // Rules that were there must be looked at again when their chain can be reached from more hooks.
            let again = self.reach_before.is_some() && !hooks.minus(before.unwrap_or(Hooks::NONE)).is_empty();
            self.check_chain(chain, hooks, again, names)?;
        }
        Ok(())
    }

    fn check_chain(&self, chain: &StoredChain, hooks: Hooks, again: bool, names: &dyn Names) -> Result<(), Unloadable> {
        let mut number = 0;
        for piece in chain.pieces.iter() {
            match piece {
                Piece::Own { fresh: Some(fresh), .. } => {
                    self.check_one(chain, hooks, &fresh.rule, number + 1, fresh.line)?;
                }
                _ if !again => {}
                Piece::Own { record, .. } => {
                    let rule = Record::take(&mut Reader(record)).and_then(|r| self.rule(&chain.name, &r, names))?;
                    self.check_one(chain, hooks, &rule, number + 1, 0)?;
                }
                Piece::Run(run) => {
                    let body = self.body.bytes()?;
                    let mut reader = self.run(&body, run)?;
                    for n in 0..run.count {
                        let rule = Record::take(&mut reader).and_then(|r| self.rule(&chain.name, &r, names))?;
                        self.check_one(chain, hooks, &rule, number + n + 1, 0)?;
                    }
                }
            }
            number += piece.count();
        }
        Ok(())
    }

    /// Shows each rule of this command that has matches or a target, in the order of tables: its chain, its number and the line it
    /// came from.
    pub(super) fn each_fresh<E>(
        &self,
        mut show: impl FnMut(&str, usize, &Rule, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        for chain in self.in_order() {
            let mut number = 0;
            for piece in chain.pieces.iter() {
                if let Piece::Own { fresh: Some(fresh), .. } = piece {
                    show(&chain.name, number + 1, &fresh.rule, fresh.line)?;
                }
                number += piece.count();
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        chain: &StoredChain,
        hooks: Hooks,
        rule: &Rule,
        number: usize,
        line: usize,
    ) -> Result<(), Unloadable> {
        let place = Place { family: self.family, table: self.id, hooks, rule };
        check_rule(&place).map_err(|(passed, why)| {
            let (chain, why) = (chain.name.clone(), LoadRefusal::Extension(why));
            Unloadable::Refused(LoadError { table: self.id, chain, rule: number, passed, why }, line)
        })
    }

    /// From which hooks each chain can be reached.
    fn reach(&self) -> Result<Vec<Hooks>, LoadError> {
        let starts: Vec<_> =
            self.id.hooks().iter().filter_map(|hook| Some((hook, *self.index.get(hook.chain())?))).collect();
        let calls = |chain: &StoredChain| -> Vec<(usize, usize)> {
            chain.calls.keys().filter_map(|name| Some((*self.index.get(name)?, 0))).collect()
        };
        let calls: Vec<_> = self.chains.iter().map(calls).collect();
        reach(&starts, &calls).map_err(|(chain, rule)| {
            let chain = self.chains.get(chain).map_or_else(String::new, |c| c.name.clone());
            LoadError { table: self.id, chain, rule, passed: 0, why: LoadRefusal::Loop }
        })
    }

    fn remember_reach(&mut self) {
        if self.reach_before.is_none() {
            let reach = self.reach().unwrap_or_default();
            let names = self.chains.iter().map(|c| c.name.clone());
            self.reach_before = Some(names.zip(reach).collect());
        }
    }
}

/// Why a changed table is not kept.
#[derive(Debug)]
pub(super) enum Unloadable {
    /// The kernel would not load it; with the line of the rule at fault, 0 when it is not of a rule file.
    Refused(LoadError, usize),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl From<io::Error> for Unloadable {
    fn from(why: io::Error) -> Unloadable {
        Unloadable::Unreadable(why)
    }
}

impl From<LoadError> for Unloadable {
    fn from(why: LoadError) -> Unloadable {
        Unloadable::Refused(why, 0)
    }
}

impl StoredChain {
    /// A chain whose rules stand in the body.
    pub(super) fn stored(
        name: String,
        policy: Option<Policy>,
        counter: Counter,
        run: Run,
        calls: BTreeMap<String, u32>,
    ) -> StoredChain {
        StoredChain { name, policy, counter, pieces: Pieces::of(run), calls }
    }

    pub(super) fn rules(&self) -> usize {
        self.pieces.rules()
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.calls.clear();
    }

    fn zero(&mut self) -> io::Result<()> {
        self.counter = Counter::default();
        self.pieces.zero()
    }
}

impl Chains for StoredTable {
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
        self.chains[chain].rules()
    }

    fn position(&mut self, chain: usize, wanted: &Rule) -> Result<Option<usize>, String> {
        let (text, _) = rule_body(self.family, wanted);
        let (mut number, mut found) = (0, None);
        self.each(&self.chains[chain], |record| {
            if found.is_none() && record.text == text {
                found = Some(number);
            }
            number += 1;
            Ok(())
        })
        .map_err(|why| why.to_string())?;
        Ok(found)
    }

    fn insert(&mut self, chain: usize, place: usize, rule: Rule, origin: &Origin<'_>) -> Result<(), String> {
        if callee(&rule).is_some() {
            self.remember_reach();
        }
        let line = origin.line;
        let mut record = record::encode(self.family, &rule);
        if let Some((words, nth)) = origin.odd_words {
            record = self.readable(chain, &record, words, nth).map_err(|why| why.to_string())?;
        }
        let needs_look = !rule.matches.is_empty() || matches!(rule.action, hairpin_engine::rule::Action::Target(_));
        self.shares |= needs_look && shared_uses(&rule).next().is_some();
        let fresh = needs_look.then(|| Box::new(Fresh { rule, line }));
        self.put(chain, place, &record, fresh).map_err(|why| why.to_string())
    }

    fn remove(&mut self, chain: usize, place: usize) -> Result<(), String> {
        self.pull(chain, place).map(|_| ()).map_err(|why| why.to_string())
    }

    fn zero_rule(&mut self, chain: usize, place: usize) -> Result<(), String> {
        let zeroed = |this: &mut Self| -> io::Result<()> {
            let bytes = this.pull(chain, place)?;
            let record = record::with_counter(&Record::take(&mut Reader(&bytes))?, Counter::default());
            this.put(chain, place, &record, None)
        };
        zeroed(self).map_err(|why| why.to_string())
    }

    fn reset(&mut self) {
        self.remember_reach();
        // Making no reference to the body, it cannot fail.
        let _ = self.make(&Operation::Reset);
    }

    fn clear(&mut self, chain: usize) {
        if !self.chains[chain].calls.is_empty() {
            self.remember_reach();
        }
        let name = self.chains[chain].name.clone();
        let _ = self.make(&Operation::Clear { chain: &name });
    }

    fn zero(&mut self, chain: usize) {
        let name = self.chains[chain].name.clone();
        let _ = self.make(&Operation::Zero { chain: &name });
    }

    fn create(&mut self, name: &str) {
        let _ = self.make(&Operation::Create { chain: name });
    }

    fn delete(&mut self, chain: usize) {
        let name = self.chains[chain].name.clone();
        let _ = self.make(&Operation::Delete { chain: &name });
    }

    fn rename(&mut self, chain: usize, to: &str) -> Result<(), String> {
        let from = self.chains[chain].name.clone();
        let renamed = |this: &mut Self| -> io::Result<()> {
            this.make(&Operation::Rename { chain: &from, to })?;
            for caller in 0..this.chains.len() {
                if this.chains[caller].calls.contains_key(&from) {
                    this.redirect(caller, &from, to)?;
                }
            }
            Ok(())
        };
        renamed(self).map_err(|why| why.to_string())
    }

    fn set_policy(&mut self, chain: usize, policy: Policy, counter: Counter) {
        let name = self.chains[chain].name.clone();
        let _ = self.make(&Operation::Policy { chain: &name, policy, counter });
    }

    fn whole(&mut self, names: &dyn Names) -> Result<Table, String> {
        self.value(|_| true, names).map_err(|why| why.to_string())
    }

    fn caller(&self, chain: usize) -> Option<String> {
        let name = &self.chains[chain].name;
        self.in_order().into_iter().find(|c| c.calls.contains_key(name)).map(|c| c.name.clone())
    }
}

impl StoredTable {
    /// A record that can be read again: as it is when its text says the same again, else with the words it came from.
    fn readable(&self, chain: usize, record: &[u8], words: &[String], nth: usize) -> io::Result<Vec<u8>> {
        let found = Record::take(&mut Reader(record))?;
        match self.rule(&self.chains[chain].name, &found, &NoNames) {
            Ok(again) if rule_body(self.family, &again).0 == found.text => Ok(record.to_vec()),
            _ => Ok(record::with_words(&found, words, nth)),
        }
    }

    /// Makes the rules of a chain that go to one chain go to another.
    fn redirect(&mut self, chain: usize, from: &str, to: &str) -> io::Result<()> {
        let mut changed = Vec::new();
        let mut place = 0;
        self.each(&self.chains[chain], |record| {
            if record.callee() == Some(from) {
                changed.push((place, record::with_callee(record, to)));
            }
            place += 1;
            Ok(())
        })?;
        for (place, record) in changed {
            self.pull(chain, place)?;
            self.put(chain, place, &record, None)?;
        }
        Ok(())
    }
}
