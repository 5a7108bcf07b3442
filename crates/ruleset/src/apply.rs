//! Commands applied to tables: what libiptc does between a command's words and the kernel.

use crate::chains::{Chains, Origin, ValueChains, callee};
use crate::command::{Command, Reset, Verb};
use crate::error::Refusal;
use crate::show::reported;
use crate::suggest;
use hairpin_engine::rule::{Action, Counter, Policy, Rule, Ruleset};
use hairpin_xt::option::{NoNames, SyntaxError};

/// Applies one command to a rule set: all of it or nothing. Commands that only look change nothing.
///
/// # Errors
/// What libiptc refuses. What the kernel refuses (loops, misplaced extensions) shows when the result is loaded.
pub fn apply(ruleset: &mut Ruleset, command: &Command) -> Result<(), Refusal> {
    // Any command that names a table takes it into use, as the kernel does.
    let family = ruleset.family;
    let place = ruleset.table_mut(command.table);
    let mut chains = ValueChains::new(family, place.clone());
    apply_to(&mut chains, command.clone(), 0, &mut String::new())?;
    *place = chains.finish().0;
    Ok(())
}

/// Applies one command to a table, however it is kept. `line` is where in a rule file its rules stand; what `-v` says of it is
/// added to `report`. When it is refused the table may be changed in part and must be thrown away.
///
/// # Errors
/// As [`apply`].
pub fn apply_to<C: Chains>(chains: &mut C, command: Command, line: usize, report: &mut String) -> Result<(), Refusal> {
    let mut editor = Editor { chains };
    editor.check_callees(&command)?;
    if command.verbose > 0 {
        editor.report(&command, report);
    }
    editor.apply(command, line)
}

/// The rules by which a table is changed.
pub(crate) struct Editor<'t, C> {
    pub(crate) chains: &'t mut C,
}

impl<C: Chains> Editor<'_, C> {
    fn check_callees(&self, command: &Command) -> Result<(), Refusal> {
        command.rules.iter().try_for_each(|rule| self.check_callee(rule))
    }

    /// What `-v` says before it is done.
    fn report(&self, command: &Command, report: &mut String) {
        for rule in &command.rules {
            report.push_str(&reported(self.chains.family(), rule, &NoNames));
        }
        let (deed, only) = match &command.verb {
            // A listing of a chain that is not there ends before it resets anything.
            Verb::List { chain: Some(name), .. } | Verb::ListRules { chain: Some(name), .. }
                if self.chains.find(name).is_none() =>
            {
                return;
            }
            Verb::Flush(name) => ("Flushing", name.as_deref()),
            Verb::Zero(chain, None)
            | Verb::List { chain, zero: Reset::Chains, .. }
            | Verb::ListRules { chain, zero: Reset::Chains, .. } => ("Zeroing", chain.as_deref()),
            Verb::DeleteChain(name) => ("Deleting", name.as_deref()),
            _ => return,
        };
        self.report_chains(deed, only, report);
    }

    pub(crate) fn report_chains(&self, deed: &str, only: Option<&str>, report: &mut String) {
        let mut names = match only {
            Some(name) => vec![name],
            None => self.chains.names(),
        };
        let built_in = names.iter().take_while(|name| self.is_built_in(name)).count();
        if let Some(own) = names.get_mut(built_in..) {
            own.sort_unstable();
        }
        let skipped = if deed == "Deleting" { built_in } else { 0 };
        for name in names.iter().skip(skipped) {
            report.push_str(&format!("{deed} chain `{name}'\n"));
        }
    }

    fn apply(&mut self, command: Command, line: usize) -> Result<(), Refusal> {
        let odd_words = command.odd_words.as_deref();
        let origin = |nth| Origin { line, odd_words: odd_words.map(|words| (words, nth)) };
        match &command.verb {
            Verb::Append(name) => {
                let at = self.find(name)?;
                for (nth, rule) in command.rules.into_iter().enumerate() {
                    self.check_jump(&rule)?;
                    let end = self.chains.len(at);
                    self.chains.insert(at, end, rule, &origin(nth))?;
                }
                Ok(())
            }
            Verb::Insert(name, number) => {
                let at = self.find(name)?;
                for (nth, rule) in command.rules.into_iter().enumerate() {
                    let place = *number as usize - 1;
                    if place > self.chains.len(at) {
                        return Err(Refusal::table("Index of insertion too big").hint(self.count_of(name, at)));
                    }
                    self.check_jump(&rule)?;
                    self.chains.insert(at, place, rule, &origin(nth))?;
                }
                Ok(())
            }
            Verb::Replace(name, number) => {
                let at = self.find(name)?;
                for rule in command.rules {
                    self.check_jump(&rule)?;
                    let place = self.place(name, at, *number, "replacement")?;
                    self.chains.remove(at, place)?;
                    self.chains.insert(at, place, rule, &origin(0))?;
                }
                Ok(())
            }
            Verb::Delete(name) => {
                let at = self.find_with_rule(name)?;
                for rule in &command.rules {
                    let place = self.chains.position(at, rule)?.ok_or_else(|| bad_rule(rule))?;
                    self.chains.remove(at, place)?;
                }
                Ok(())
            }
            Verb::Check(name) => {
                let at = self.find_with_rule(name)?;
                for rule in &command.rules {
                    self.chains.position(at, rule)?.ok_or_else(|| bad_rule(rule))?;
                }
                Ok(())
            }
            Verb::DeleteNumber(name, number) => {
                let at = self.find(name)?;
                let place = self.place(name, at, *number, "deletion")?;
                Ok(self.chains.remove(at, place)?)
            }
            Verb::Flush(name) => self.for_chains(name.as_deref(), C::clear),
            Verb::Zero(name, None) => self.for_chains(name.as_deref(), C::zero),
            Verb::Zero(name, Some(number)) => self.zero_rule(name.as_deref().unwrap_or_default(), *number),
            Verb::List { chain, rule, zero } | Verb::ListRules { chain, rule, zero } => match (zero, chain) {
                (Reset::Nothing, Some(name)) => self.find(name).map(|_| ()),
                (Reset::Nothing, None) => Ok(()),
                (Reset::Chains, name) => self.for_chains(name.as_deref(), C::zero),
                (Reset::Rule, name) => self.zero_rule(name.as_deref().unwrap_or_default(), rule.unwrap_or_default()),
            },
            Verb::New(name) => self.create(name),
            Verb::DeleteChain(Some(name)) => self.delete(name),
            Verb::DeleteChain(None) => {
                let own = |name: &&str| self.chains.find(name).is_some_and(|at| self.chains.policy(at).is_none());
                let mut names: Vec<String> = self.chains.names().into_iter().filter(own).map(str::to_owned).collect();
                names.sort();
                // It goes on after one that cannot be deleted, and tells the last reason.
                names.iter().filter_map(|name| self.delete(name).err()).last().map_or(Ok(()), Err)
            }
            Verb::Rename(from, to) => self.rename(from, to),
            Verb::Policy(name, policy) => self.set_policy(name, policy, command.counters.unwrap_or_default()),
            Verb::Help { .. } | Verb::Version { .. } | Verb::OtherFamily => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Result<usize, Refusal> {
        self.chains.find(name).ok_or_else(|| {
            let id = self.chains.id();
            let hint = match suggest::nearest(name, self.chains.names()) {
                Some(near) => format!("table {id} has no chain `{name}'; {near}"),
                None => format!("table {id} has no chain `{name}'"),
            };
            Refusal::table("No chain/target/match by that name").hint(hint)
        })
    }

    /// As [`find`](Self::find), in the words of `-D` and `-C` with a rule.
    fn find_with_rule(&self, name: &str) -> Result<usize, Refusal> {
        self.find(name).map_err(|refusal| Refusal { hint: refusal.hint, ..Refusal::table(BAD_RULE) })
    }

    /// The place of a rule by its number.
    fn place(&self, name: &str, at: usize, number: u32, deed: &str) -> Result<usize, Refusal> {
        let place = number as usize - 1;
        if place >= self.chains.len(at) {
            return Err(Refusal::table(&format!("Index of {deed} too big")).hint(self.count_of(name, at)));
        }
        Ok(place)
    }

    fn for_chains(&mut self, name: Option<&str>, change: fn(&mut C, usize)) -> Result<(), Refusal> {
        if let Some(name) = name {
            change(self.chains, self.find(name)?);
            return Ok(());
        }
        for at in 0..self.chains.count() {
            change(self.chains, at);
        }
        Ok(())
    }

    fn zero_rule(&mut self, name: &str, number: u32) -> Result<(), Refusal> {
        let at = self.find(name)?;
        let place = self.place(name, at, number, "counter")?;
        Ok(self.chains.zero_rule(at, place)?)
    }

    /// A name that is neither a chain nor a target: iptables finds that out after reading the words, and says it in the words'
    /// way.
    fn check_callee(&self, rule: &Rule) -> Result<(), Refusal> {
        let Some(name) = callee(rule).filter(|name| self.chains.find(name).is_none()) else { return Ok(()) };
        let message = match &rule.action {
            hairpin_engine::rule::Action::Goto(_) => format!("goto '{name}' is not a chain"),
            _ => format!("Couldn't load target `{name}':No such file or directory\n"),
        };
        let family = self.chains.family();
        let targets = hairpin_xt::TARGETS.iter().filter(|t| t.families.has(family)).map(|t| t.name);
        let own = |name: &&str| self.chains.find(name).is_some_and(|at| self.chains.policy(at).is_none());
        let chains = self.chains.names().into_iter().filter(own);
        let known = ["ACCEPT", "DROP", "RETURN", "QUEUE"].into_iter().chain(targets).chain(chains);
        let refusal = Refusal::words(SyntaxError::parameter(message).at(name));
        Err(match suggest::nearest(name, known) {
            Some(near) => refusal.hint(near),
            None => refusal.hint(format!("neither a target nor a chain of table {}", self.chains.id())),
        })
    }

    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.chains.find(name).is_some_and(|at| self.chains.policy(at).is_some())
    }

    /// Built-in chains cannot be called.
    fn check_jump(&self, rule: &Rule) -> Result<(), Refusal> {
        match callee(rule) {
            Some(name) if self.is_built_in(name) => {
                Err(Refusal::invalid("Invalid argument").hint(format!("no rule can go to the built-in chain {name}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<(), Refusal> {
        if self.chains.find(name).is_some() {
            return Err(Refusal::table("Chain already exists"));
        }
        self.chains.create(name);
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let at = self.find(name)?;
        if self.chains.policy(at).is_some() {
            return Err(Refusal::invalid("Invalid argument").hint("a built-in chain cannot be deleted"));
        }
        if let Some(caller) = self.chains.caller(at) {
            return Err(Refusal::table("Too many links").hint(format!("a rule of chain {caller} goes to it")));
        }
        if self.chains.len(at) > 0 {
            return Err(Refusal::table("Directory not empty").hint(format!("flush it first: -F {name}")));
        }
        self.chains.delete(at);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        if self.chains.find(to).is_some() {
            return Err(Refusal::table("File exists"));
        }
        let at = self.find(from)?;
        if self.chains.policy(at).is_some() {
            let hint = "a built-in chain cannot be renamed";
            return Err(Refusal::table("No chain/target/match by that name").hint(hint));
        }
        Ok(self.chains.rename(at, to)?)
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
        self.chains.set_policy(at, policy, counters);
        Ok(())
    }

    fn count_of(&self, name: &str, at: usize) -> String {
        match self.chains.len(at) {
            1 => format!("chain {name} has 1 rule"),
            n => format!("chain {name} has {n} rules"),
        }
    }
}

/// There is no such rule. What iptables says of it depends on where the rule goes.
fn bad_rule(rule: &Rule) -> Refusal {
    match rule.action {
        Action::Jump(_) | Action::Goto(_) | Action::Target(_) => {
            Refusal::table("No chain/target/match by that name").hint("the chain has no such rule")
        }
        _ => Refusal::table(BAD_RULE),
    }
}

const BAD_RULE: &str = "Bad rule (does a matching rule exist in that chain?)";
