//! Commands applied to a table, with libiptc's conditions and words.

use crate::command::{Command, Verb};
use crate::error::Refusal;
use crate::save::rule_text;
use crate::suggest;
use hairpin_engine::rule::{Action, Chain, Counter, Policy, Rule, Ruleset, Table};
use hairpin_wire::Family;
use hairpin_xt::option::SyntaxError;
use std::collections::HashMap;

/// Applies one command to a rule set: all of it or nothing. Commands that only look change nothing.
///
/// # Errors
/// What libiptc refuses. What the kernel refuses (loops, misplaced extensions) shows when the result is loaded.
pub fn apply(ruleset: &mut Ruleset, command: &Command) -> Result<(), Refusal> {
    // Any command that names a table takes it into use, as the kernel does.
    let family = ruleset.family;
    let place = ruleset.table_mut(command.table);
    let mut editor = Editor::new(family, place.clone());
    editor.apply(command.clone(), 0)?;
    *place = editor.finish().0;
    Ok(())
}

/// A table being changed. The chains may be in any order until [`Editor::finish`].
#[derive(Debug)]
pub(crate) struct Editor {
    family: Family,
    table: Table,
    index: HashMap<String, usize>,
    /// For each chain: for each rule the line of the file it came from; 0 when from none.
    lines: Vec<Vec<usize>>,
}

impl Editor {
    pub(crate) fn new(family: Family, table: Table) -> Editor {
        let index = table.chains.iter().enumerate().map(|(n, c)| (c.name.clone(), n)).collect();
        let lines = table.chains.iter().map(|c| vec![0; c.rules.len()]).collect();
        Editor { family, table, index, lines }
    }

    /// The table with its chains in libiptc's order (built-in ones by hook, then the others by name), and for each chain the
    /// lines of its rules.
    pub(crate) fn finish(self) -> (Table, Vec<Vec<usize>>) {
        let Editor { mut table, lines, .. } = self;
        let mut pairs: Vec<(Chain, Vec<usize>)> = table.chains.into_iter().zip(lines).collect();
        let built_in = pairs.iter().take_while(|(c, _)| c.policy.is_some()).count();
        if let Some(own) = pairs.get_mut(built_in..) {
            own.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        }
        let (chains, lines) = pairs.into_iter().unzip();
        table.chains = chains;
        (table, lines)
    }

    /// Takes out all rules and all chains that are not built in; policies stay.
    pub(crate) fn clear(&mut self) {
        self.table.chains.retain(|c| c.policy.is_some());
        for chain in &mut self.table.chains {
            chain.rules.clear();
        }
        self.lines = vec![Vec::new(); self.table.chains.len()];
        self.reindex();
    }

    fn reindex(&mut self) {
        self.index = self.table.chains.iter().enumerate().map(|(n, c)| (c.name.clone(), n)).collect();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.index.get(name).and_then(|n| self.table.chains.get(*n)).is_some_and(|c| c.policy.is_some())
    }

    /// Applies one command; `line` is where its rules come from.
    pub(crate) fn apply(&mut self, command: Command, line: usize) -> Result<(), Refusal> {
        let family = self.family;
        for rule in &command.rules {
            self.check_callee(rule)?;
        }
        match &command.verb {
            Verb::Append(name) => {
                let at = self.find(name)?;
                for rule in command.rules {
                    self.check_jump(&rule)?;
                    let (chain, lines) = self.chain(at)?;
                    chain.rules.push(rule);
                    lines.push(line);
                }
                Ok(())
            }
            Verb::Insert(name, number) => {
                let at = self.find(name)?;
                for rule in &command.rules {
                    let (chain, lines) = self.chain(at)?;
                    let place = *number as usize - 1;
                    if place > chain.rules.len() {
                        return Err(Refusal::table("Index of insertion too big").hint(count_of(name, chain)));
                    }
                    chain.rules.insert(place, rule.clone());
                    lines.insert(place, line);
                    self.check_jump(rule)?;
                }
                Ok(())
            }
            Verb::Replace(name, number) => {
                let at = self.find(name)?;
                for rule in &command.rules {
                    self.check_jump(rule)?;
                    let (chain, lines) = self.chain(at)?;
                    let refusal = Refusal::table("Index of replacement too big").hint(count_of(name, chain));
                    let place = *number as usize - 1;
                    *chain.rules.get_mut(place).ok_or(refusal)? = rule.clone();
                    if let Some(old) = lines.get_mut(place) {
                        *old = line;
                    }
                }
                Ok(())
            }
            Verb::Delete(name) => {
                let at = self.find(name)?;
                for rule in &command.rules {
                    let (chain, lines) = self.chain(at)?;
                    let place = position(family, chain, rule).ok_or_else(bad_rule)?;
                    chain.rules.remove(place);
                    lines.remove(place);
                }
                Ok(())
            }
            Verb::Check(name) => {
                let at = self.find(name)?;
                for rule in &command.rules {
                    let (chain, _) = self.chain(at)?;
                    position(family, chain, rule).ok_or_else(bad_rule)?;
                }
                Ok(())
            }
            Verb::DeleteNumber(name, number) => {
                let at = self.find(name)?;
                let (chain, lines) = self.chain(at)?;
                let place = *number as usize - 1;
                if place >= chain.rules.len() {
                    return Err(Refusal::table("Index of deletion too big").hint(count_of(name, chain)));
                }
                chain.rules.remove(place);
                lines.remove(place);
                Ok(())
            }
            Verb::Flush(name) => self.for_chains(name.as_deref(), |chain, lines| {
                chain.rules.clear();
                lines.clear();
            }),
            Verb::Zero(name, None) => self.for_chains(name.as_deref(), |chain, _| zero(chain)),
            Verb::Zero(name, Some(number)) => self.zero_rule(name.as_deref().unwrap_or_default(), *number),
            Verb::List { chain, rule, zero: reset } | Verb::ListRules { chain, rule, zero: reset } => {
                match (reset, chain, rule) {
                    (false, Some(name), _) => self.find(name).map(|_| ()),
                    (false, None, _) => Ok(()),
                    (true, Some(name), Some(number)) => self.zero_rule(name, *number),
                    (true, name, _) => self.for_chains(name.as_deref(), |chain, _| zero(chain)),
                }
            }
            Verb::New(name) => self.create(name),
            Verb::DeleteChain(Some(name)) => self.delete(name),
            Verb::DeleteChain(None) => {
                let own = self.table.chains.iter().filter(|c| c.policy.is_none());
                let mut names: Vec<String> = own.map(|c| c.name.clone()).collect();
                names.sort();
                names.iter().try_for_each(|name| self.delete(name))
            }
            Verb::Rename(from, to) => self.rename(from, to),
            Verb::Policy(name, policy) => self.set_policy(name, policy, command.counters.unwrap_or_default()),
            Verb::Help { .. } | Verb::Version | Verb::OtherFamily => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Result<usize, Refusal> {
        self.index.get(name).copied().ok_or_else(|| {
            let hint = match suggest::nearest(name, self.table.chains.iter().map(|c| c.name.as_str())) {
                Some(near) => format!("table {} has no chain `{name}'; {near}", self.table.id),
                None => format!("table {} has no chain `{name}'", self.table.id),
            };
            Refusal::table("No chain/target/match by that name").hint(hint)
        })
    }

    fn chain(&mut self, at: usize) -> Result<(&mut Chain, &mut Vec<usize>), Refusal> {
        // `at` comes from the index and so is always there.
        let missing = || Refusal::table("No chain/target/match by that name");
        self.table.chains.get_mut(at).zip(self.lines.get_mut(at)).ok_or_else(missing)
    }

    fn for_chains(
        &mut self,
        name: Option<&str>,
        mut change: impl FnMut(&mut Chain, &mut Vec<usize>),
    ) -> Result<(), Refusal> {
        if let Some(name) = name {
            let at = self.find(name)?;
            let (chain, lines) = self.chain(at)?;
            change(chain, lines);
            return Ok(());
        }
        for (chain, lines) in self.table.chains.iter_mut().zip(&mut self.lines) {
            change(chain, lines);
        }
        Ok(())
    }

    fn zero_rule(&mut self, name: &str, number: u32) -> Result<(), Refusal> {
        let at = self.find(name)?;
        let (chain, _) = self.chain(at)?;
        let hint = count_of(name, chain);
        match chain.rules.get_mut(number as usize - 1) {
            Some(rule) => {
                rule.counter = Counter::default();
                Ok(())
            }
            None => Err(Refusal::table("Index of counter too big").hint(hint)),
        }
    }

    /// A name that is neither a chain nor a target: iptables finds that out after reading the words, and says it in the words'
    /// way.
    fn check_callee(&self, rule: &Rule) -> Result<(), Refusal> {
        let (name, message) = match &rule.action {
            Action::Jump(name) => (name, format!("Couldn't load target `{name}':No such file or directory")),
            Action::Goto(name) => (name, format!("goto '{name}' is not a chain")),
            _ => return Ok(()),
        };
        if self.has(name) {
            return Ok(());
        }
        let targets = hairpin_xt::TARGETS.iter().filter(|t| t.families.has(self.family)).map(|t| t.name);
        let chains = self.table.chains.iter().filter(|c| c.policy.is_none()).map(|c| c.name.as_str());
        let known = ["ACCEPT", "DROP", "RETURN", "QUEUE"].into_iter().chain(targets).chain(chains);
        let refusal = Refusal::words(SyntaxError::parameter(message).at(name));
        Err(match suggest::nearest(name, known) {
            Some(near) => refusal.hint(near),
            None => refusal.hint(format!("neither a target nor a chain of table {}", self.table.id)),
        })
    }

    /// Built-in chains cannot be called.
    fn check_jump(&self, rule: &Rule) -> Result<(), Refusal> {
        match &rule.action {
            Action::Jump(name) | Action::Goto(name) if self.is_built_in(name) => {
                Err(Refusal::invalid("Invalid argument").hint(format!("no rule can go to the built-in chain {name}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<(), Refusal> {
        if self.has(name) {
            return Err(Refusal::table("Chain already exists"));
        }
        self.index.insert(name.to_owned(), self.table.chains.len());
        self.table.chains.push(Chain {
            name: name.to_owned(),
            policy: None,
            counter: Counter::default(),
            rules: Vec::new(),
        });
        self.lines.push(Vec::new());
        Ok(())
    }

    /// Empties a chain that is there.
    pub(crate) fn flush(&mut self, name: &str) -> Result<(), Refusal> {
        self.for_chains(Some(name), |chain, lines| {
            chain.rules.clear();
            lines.clear();
        })
    }

    fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let at = self.find(name)?;
        if self.is_built_in(name) {
            return Err(Refusal::invalid("Invalid argument").hint("a built-in chain cannot be deleted"));
        }
        let caller = self.table.chains.iter().find(|c| c.rules.iter().any(|r| callee(r) == Some(name)));
        if let Some(caller) = caller {
            let hint = format!("a rule of chain {} goes to it", caller.name);
            return Err(Refusal::table("Too many links").hint(hint));
        }
        let (chain, _) = self.chain(at)?;
        if !chain.rules.is_empty() {
            return Err(Refusal::table("Directory not empty").hint(format!("flush it first: -F {name}")));
        }
        self.table.chains.remove(at);
        self.lines.remove(at);
        self.reindex();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        if self.has(to) {
            return Err(Refusal::table("File exists"));
        }
        let at = self.find(from)?;
        if self.is_built_in(from) {
            let hint = "a built-in chain cannot be renamed";
            return Err(Refusal::table("No chain/target/match by that name").hint(hint));
        }
        self.chain(at)?.0.name = to.to_owned();
        for rule in self.table.chains.iter_mut().flat_map(|c| &mut c.rules) {
            match &mut rule.action {
                Action::Jump(name) | Action::Goto(name) if name == from => *name = to.to_owned(),
                _ => {}
            }
        }
        self.reindex();
        Ok(())
    }

    /// `-P`; it sets the policy's counters too.
    pub(crate) fn set_policy(&mut self, name: &str, policy: &str, counters: Counter) -> Result<(), Refusal> {
        if !self.is_built_in(name) {
            return Err(Refusal::table("Bad built-in chain name").hint("only built-in chains have a policy"));
        }
        let policy = match policy {
            "ACCEPT" => Policy::Accept,
            "DROP" => Policy::Drop,
            _ => return Err(Refusal::invalid("Bad policy name").hint("a policy is ACCEPT or DROP")),
        };
        let at = self.find(name)?;
        let (chain, _) = self.chain(at)?;
        chain.policy = Some(policy);
        chain.counter = counters;
        Ok(())
    }
}

fn zero(chain: &mut Chain) {
    chain.counter = Counter::default();
    for rule in &mut chain.rules {
        rule.counter = Counter::default();
    }
}

fn callee(rule: &Rule) -> Option<&str> {
    match &rule.action {
        Action::Jump(name) | Action::Goto(name) => Some(name),
        _ => None,
    }
}

fn bad_rule() -> Refusal {
    Refusal::table("Bad rule (does a matching rule exist in that chain?)")
}

fn count_of(name: &str, chain: &Chain) -> String {
    match chain.rules.len() {
        1 => format!("chain {name} has 1 rule"),
        n => format!("chain {name} has {n} rules"),
    }
}

/// The first rule that is the same but for its counters. Two matches are the same when they are saved the same.
fn position(family: Family, chain: &Chain, wanted: &Rule) -> Option<usize> {
    let text = rule_text(family, "", wanted);
    chain.rules.iter().position(|rule| {
        rule.header == wanted.header
            && rule.matches.len() == wanted.matches.len()
            && rule_text(family, "", rule) == text
    })
}
