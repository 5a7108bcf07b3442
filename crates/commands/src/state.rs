//! What a command acts on.

use crate::conntrack::table::Connections;
use hairpin_engine::rule::{LoadError, Ruleset, Table};
use hairpin_wire::Family;
use hairpin_xt::option::Names;

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
}

/// What a command will do with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only look: needs no turn.
    Read,
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
    /// A condition on rules does not hold.
    Refused(Box<LoadError>),
    /// The state cannot be reached, read or written; exit code 4. The text says why and what to do.
    Unavailable(String),
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        Failure::Refused(Box::new(error))
    }
}
