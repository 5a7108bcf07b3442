//! What a command acts on.

use crate::conntrack::table::Connections;
use crate::ipset::no_sets;
use crate::sets::{Done, SetsAccess};
use hairpin_engine::account::{Account, AccountError, AccountRequest};
use hairpin_engine::rule::{LoadError, Ruleset, Table, TableId};
use hairpin_ruleset::apply::apply_to;
use hairpin_ruleset::chains::ValueChains;
use hairpin_ruleset::command::Command;
use hairpin_ruleset::error::{Refusal, RuleFileError};
use hairpin_ruleset::list::{ListOptions, list_rules};
use hairpin_ruleset::restore::{Ended, RestoreOptions, restore_reporting};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_ruleset::show::{ShowOptions, show};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::fmt;

/// The rules of both families with their counters (and, as they come, sets and connections), wherever they live.
///
/// A command calls [`begin`](State::begin) once, before anything else, and then reads and perhaps changes. A change is made by
/// one call, so that it is there wholly or not at all. The methods with a body can be done better by a state that
/// knows how: they say what is meant.
pub trait State {
    /// What names in rules stand for.
    fn names(&self) -> &dyn Names;

    /// Says what will be done. For a change it waits until no one else makes one; the turn lasts until the state is dropped.
    ///
    /// # Errors
    /// The state cannot be reached, or someone else has the turn longer than the wait.
    fn begin(&mut self, access: Access) -> Result<(), Failure> {
        let _ = access;
        Ok(())
    }

    /// The rules of a family. Counters of rules and policies are the live ones.
    ///
    /// # Errors
    /// The state cannot be read.
    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure>;

    /// Puts these tables in the place of those of the same name, all or none; the other tables stay. Counters go on from what
    /// the rules and policies carry. Tables that were not in use come after those that were, in this order.
    ///
    /// # Errors
    /// The tables break a condition that the kernel checks when it loads one ([`LoadError`]), or the state cannot be written.
    fn replace(&mut self, family: Family, tables: Vec<Table>) -> Result<(), Failure>;

    /// The connections, and the names beside them.
    ///
    /// # Errors
    /// The state has no connections: only a running gateway has.
    fn connections(&mut self) -> Result<(&dyn Names, &mut dyn Connections), Failure> {
        let text = "a rule file has no connections; unset HAIRPIN_STATE to act on a running gateway";
        Err(Failure::Unavailable(text.to_owned()))
    }

    /// The sets, to be asked and changed. Changes are kept by [`keep_sets`](State::keep_sets).
    ///
    /// # Errors
    /// The state holds no sets, or cannot be read.
    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        Err(no_sets())
    }

    /// The sets were changed so; called at the end of every command on sets, also when nothing was done.
    ///
    /// # Errors
    /// The state cannot be written, or was lost on the way.
    fn keep_sets(&mut self, done: &Done) -> Result<(), Failure> {
        let _ = done;
        Ok(())
    }

    /// Does something with the accounting objects; what was listed is the answer.
    ///
    /// # Errors
    /// The state has none: only a running gateway has.
    fn account(&mut self, request: AccountRequest) -> Result<Result<Vec<Account>, AccountError>, Failure> {
        let _ = request;
        let text = "a rule file has no accounting objects; unset HAIRPIN_STATE to act on a running gateway";
        Err(Failure::Unavailable(text.to_owned()))
    }

    /// A table was looked at: as in the kernel it is in use from then on, empty when it was not before.
    ///
    /// # Errors
    /// The state cannot be written.
    fn take_into_use(&mut self, family: Family, table: TableId) -> Result<(), Failure> {
        if self.ruleset(family)?.table(table).is_some() {
            return Ok(());
        }
        self.replace(family, vec![Table::new(table)])
    }

    /// Applies one command to its table. What `-v` says of it is added to the report, also when it is refused then.
    ///
    /// # Errors
    /// The command's conditions on the table do not hold ([`Failure::Refusal`]), or those of [`replace`](State::replace).
    fn apply(&mut self, family: Family, command: &Command, report: &mut String) -> Result<(), Failure> {
        let mut ruleset = self.ruleset(family)?;
        let mut chains = ValueChains::new(family, ruleset.table_mut(command.table).clone());
        apply_to(&mut chains, command.clone(), 0, report).map_err(|refusal| Failure::Refusal(Box::new(refusal)))?;
        if command.verb.changes() { self.replace(family, vec![chains.finish().0]) } else { Ok(()) }
    }

    /// Reads a rule file onto the rules, all of it or nothing, and says what there is to tell.
    ///
    /// # Errors
    /// A line is wrong, or the kernel would refuse what came of them ([`Failure::RuleFile`]).
    fn restore(&mut self, family: Family, text: &[u8], request: &RestoreRequest<'_>) -> Result<Told, Failure> {
        let base = self.ruleset(family)?;
        let options = RestoreOptions {
            file: request.file,
            counters: request.counters,
            noflush: request.noflush,
            table: request.table,
            names: self.names(),
        };
        let restored = restore_reporting(&base, text, &options, request.verbose).map_err(Failure::RuleFile)?;
        let used = restored.ruleset.tables.iter().filter(|t| restored.tables.contains(&t.id));
        let changed: Vec<Table> = used.cloned().collect();
        if request.test {
            // The kernel, which would look at the rules together, is not asked.
            return Ok(Told { notices: restored.notices, report: restored.report, ended: restored.ended });
        }
        match self.replace(family, changed) {
            Err(Failure::Refused(why)) => Err(Failure::RuleFile(Box::new(restored.refused(&why)))),
            Err(other) => Err(other),
            Ok(()) => Ok(Told { notices: restored.notices, report: restored.report, ended: restored.ended }),
        }
    }

    /// The text of `iptables-save`.
    ///
    /// # Errors
    /// The state cannot be read.
    fn save(&mut self, family: Family, options: &SaveOptions<'_>) -> Result<String, Failure> {
        Ok(save(&self.ruleset(family)?, options, |_| None))
    }

    /// The text of `iptables -S`.
    ///
    /// # Errors
    /// The state cannot be read.
    fn list_rules(&mut self, family: Family, options: &ListOptions<'_>) -> Result<String, Failure> {
        Ok(list_rules(&self.ruleset(family)?, options, &[]))
    }

    /// The text of `iptables -L`.
    ///
    /// # Errors
    /// The state cannot be read.
    fn show(&mut self, family: Family, options: &ShowOptions<'_>) -> Result<String, Failure> {
        let ruleset = self.ruleset(family)?;
        Ok(show(&ruleset, options, self.names()))
    }
}

/// No state at all.
#[derive(Debug)]
pub(crate) struct Nowhere<'n> {
    pub(crate) names: &'n dyn Names,
    /// A command wanted to act on it.
    pub(crate) was_asked: bool,
}

impl Nowhere<'_> {
    fn fail<T>(&mut self) -> Result<T, Failure> {
        self.was_asked = true;
        Err(Failure::Unavailable("there is no state".to_owned()))
    }
}

impl State for Nowhere<'_> {
    fn names(&self) -> &dyn Names {
        self.names
    }

    fn begin(&mut self, _access: Access) -> Result<(), Failure> {
        self.fail()
    }

    fn ruleset(&mut self, _family: Family) -> Result<Ruleset, Failure> {
        self.fail()
    }

    fn replace(&mut self, _family: Family, _tables: Vec<Table>) -> Result<(), Failure> {
        self.fail()
    }

    fn connections(&mut self) -> Result<(&dyn Names, &mut dyn Connections), Failure> {
        self.fail()
    }

    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        self.fail()
    }
}

/// How to read a rule file.
#[derive(Clone, Copy, Debug)]
pub struct RestoreRequest<'a> {
    /// What messages call the file.
    pub file: &'a str,
    /// `-c`: set the counters too.
    pub counters: bool,
    /// `-n`: change what is there.
    pub noflush: bool,
    /// `-T`: only this table.
    pub table: Option<&'a str>,
    /// `-t`: only see whether the file can be read; what the kernel would say of the tables is not looked at.
    pub test: bool,
    /// `-v`: say what is done.
    pub verbose: bool,
}

/// What there is to tell of a rule file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Lines for stderr that are no errors.
    pub notices: Vec<String>,
    /// What `-v` says.
    pub report: String,
    /// The line that ended the reading.
    pub ended: Option<Ended>,
}

/// What a command will do with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only look: needs no turn.
    Read,
    /// Only look, but in turn with those who change, as `iptables -L`, `-S` and `-C` do.
    Look(Wait),
    /// Change.
    Write(Wait),
}

/// How long to wait for the turn (`-w`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// So many seconds.
    Seconds(u32),
    /// As long as it takes.
    Forever,
}

impl Wait {
    /// What `-w` says: None when it was not given, and the seconds when they were.
    pub fn given(wait: Option<Option<u32>>) -> Wait {
        match wait {
            None => Wait::No,
            Some(None) => Wait::Forever,
            Some(Some(seconds)) => Wait::Seconds(seconds),
        }
    }
}

/// Why a state did not do what it was asked. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A condition that the kernel checks does not hold.
    Refused(Box<LoadError>),
    /// A command does not fit the table it meets.
    Refusal(Box<Refusal>),
    /// A rule file is wrong.
    RuleFile(Box<RuleFileError>),
    /// The state cannot be reached, read or written; exit code 4. The text says why and what to do.
    Unavailable(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Refusal(why) => why.error.code,
            Failure::RuleFile(why) => why.code,
            Failure::Unavailable(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(why) => why.fmt(f),
            Failure::Refusal(why) => f.write_str(&why.error.message),
            Failure::RuleFile(why) => why.fmt(f),
            Failure::Unavailable(why) => f.write_str(why),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        Failure::Refused(Box::new(error))
    }
}
