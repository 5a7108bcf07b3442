//! What `ipset` acts on: the sets of a file or of a running gateway.

use hairpin_engine::set::{Entry, SetError, Sets};
use hairpin_engine::time::Now;
use hairpin_ruleset::ipset::{Change, Target};
use hairpin_xt::option::Names;
use std::fmt::Debug;

/// The sets of a state, and what is needed to read and write about them.
#[derive(Debug)]
pub struct SetsAccess<'a> {
    /// All sets.
    pub sets: Box<dyn SetsHost + 'a>,
    /// What names stand for.
    pub names: &'a dyn Names,
}

/// All sets of a host, wherever they are. What a call costs does not grow with the sets that it does not name.
///
/// A host that cannot be reached any more answers with [`SetError::NoSet`] or [`SetError::Protocol`]; the state says why when it is
/// asked to keep what was done.
pub trait SetsHost: Debug {
    /// What elements the set of this name has; None when there is no such set.
    fn target(&mut self, name: &str) -> Option<Target>;

    /// Makes changes in order, each with whether `-exist` was given.
    ///
    /// # Errors
    /// The place of the first that is refused, and why. Those before it are made.
    fn apply(&mut self, changes: Vec<(Change, bool)>) -> Result<(), (usize, SetError)>;

    /// Whether an element is in a set.
    ///
    /// # Errors
    /// There is no such set.
    fn test(&mut self, name: &str, entry: &Entry) -> Result<bool, SetError>;

    /// The sets to be listed and when that is: the set of this name, or all, must have its entries unless only names are wanted.
    fn look(&mut self, name: Option<&str>, names_only: bool) -> (&Sets, Now);

    /// What was done so far; nothing for a host that needs not be told.
    fn done(&mut self) -> Done;
}

/// What a command did to the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The changes in order, each as [`Change::words`] with whether `-exist` was given.
    pub changes: Vec<(String, bool)>,
    /// Some of them were refused half-way: where they cannot be repeated on the very same sets, only the sets themselves say what
    /// happened.
    pub is_partial: bool,
}

/// Sets at hand. What is done to them is written down.
#[derive(Debug)]
pub struct SetsAtHand<'a> {
    sets: &'a mut Sets,
    now: Now,
    done: Done,
}

impl<'a> SetsAtHand<'a> {
    /// These sets, at this time.
    pub fn new(sets: &'a mut Sets, now: Now) -> SetsAtHand<'a> {
        SetsAtHand { sets, now, done: Done::default() }
    }

    /// Makes a change and notes it.
    fn make(&mut self, change: &Change, exist: bool) -> Result<(), SetError> {
        let now = self.now.mono;
        let words = match change {
            // As it was made, secrets and all.
            Change::Create(name, kind, _) if self.sets.get(name).is_none() => {
                change.apply(self.sets, exist, now)?;
                let made = self.sets.get(name).map(|set| set.options().clone()).unwrap_or_default();
                Change::Create(name.clone(), *kind, made).words(self.sets)
            }
            _ => {
                let words = change.words(self.sets);
                if let Err(error) = change.apply(self.sets, exist, now) {
                    if matches!(change, Change::Add(..) | Change::Del(..)) {
                        // Part of a range may have been added or deleted before.
                        self.done.is_partial = true;
                        self.done.changes.extend(words.map(|words| (words, exist)));
                    }
                    return Err(error);
                }
                words
            }
        };
        match words {
            Some(words) => self.done.changes.push((words, exist)),
            None => self.done.is_partial = true,
        }
        Ok(())
    }
}

impl SetsHost for SetsAtHand<'_> {
    fn target(&mut self, name: &str) -> Option<Target> {
        self.sets.get(name).map(Target::of)
    }

    fn apply(&mut self, changes: Vec<(Change, bool)>) -> Result<(), (usize, SetError)> {
        changes.iter().enumerate().try_for_each(|(n, (change, exist))| self.make(change, *exist).map_err(|e| (n, e)))
    }

    fn test(&mut self, name: &str, entry: &Entry) -> Result<bool, SetError> {
        self.sets.test(name, entry, self.now.mono)
    }

    fn look(&mut self, _name: Option<&str>, _names_only: bool) -> (&Sets, Now) {
        (self.sets, self.now)
    }

    fn done(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }
}
