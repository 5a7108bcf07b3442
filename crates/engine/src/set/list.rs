//! `list:set`: other sets, in an order.

use super::elem::Ext;
use super::extensions::{Extensions, Shown};
use super::{Options, SetError, SetId};
use crate::time::Instant;

/// The sets of a list.
#[derive(Clone, Debug)]
pub(super) struct List {
    members: Vec<SetId>,
    pub(super) ext: Extensions,
}

/// Where among the others, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Before(SetId),
    After(SetId),
}

impl List {
    pub(super) fn new(options: &Options) -> List {
        List { members: Vec::new(), ext: Extensions::new(options) }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<List>() + self.members.capacity() * size_of::<SetId>() + self.ext.memory()
    }

    pub(super) fn members(&self) -> &[SetId] {
        &self.members
    }

    /// The next member from position `at` on that did not run out.
    pub(super) fn next(&self, at: usize, now: Instant) -> Option<(usize, SetId)> {
        (at..self.members.len()).find(|n| !self.ext.is_over(*n, now)).map(|n| (n, self.members[n]))
    }

    pub(super) fn shown(&self, at: usize, now: Instant) -> Shown<'_> {
        self.ext.shown(at, now)
    }

    /// Adds a set. True: it is new, and the list refers to it from now on.
    pub(super) fn add(
        &mut self,
        id: SetId,
        beside: Option<Beside>,
        ext: &Ext,
        exist: bool,
        options: &Options,
        now: Instant,
    ) -> Result<bool, SetError> {
        let default_timeout = options.timeout.unwrap_or(0);
        let find = |id: SetId| self.members.iter().position(|m| *m == id);
        let at = match beside {
            None => self.members.len(),
            // A set is not its own neighbour.
            Some(Beside::Before(other) | Beside::After(other)) if other == id => return Err(SetError::NotBeside),
            Some(Beside::Before(other)) => find(other).ok_or(SetError::NotBeside)?,
            Some(Beside::After(other)) => find(other).ok_or(SetError::NotBeside)? + 1,
        };
        if let Some(there) = find(id) {
            if !exist {
                return Err(SetError::ElementExists);
            }
            self.ext.store(there, ext, default_timeout, now);
            return Ok(false);
        }
        self.members.insert(at, id);
        self.ext.insert(at);
        self.ext.store(at, ext, default_timeout, now);
        Ok(true)
    }

    /// Takes a set out.
    pub(super) fn del(&mut self, id: SetId, beside: Option<Beside>) -> Result<(), SetError> {
        let missing = if beside.is_some() { SetError::NotBeside } else { SetError::ElementMissing };
        let at = self.members.iter().position(|m| *m == id).ok_or(missing)?;
        if !self.is_beside(at, beside) {
            return Err(SetError::NotBeside);
        }
        self.remove(at);
        Ok(())
    }

    pub(super) fn test(&self, id: SetId, beside: Option<Beside>) -> bool {
        self.members.iter().position(|m| *m == id).is_some_and(|at| self.is_beside(at, beside))
    }

    fn is_beside(&self, at: usize, beside: Option<Beside>) -> bool {
        match beside {
            None => true,
            Some(Beside::Before(other)) => self.members.get(at + 1) == Some(&other),
            Some(Beside::After(other)) => at.checked_sub(1).and_then(|n| self.members.get(n)) == Some(&other),
        }
    }

    fn remove(&mut self, at: usize) -> SetId {
        self.ext.remove(at);
        self.members.remove(at)
    }

    /// Takes out all that ran out; they are referred to no longer.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<SetId> {
        let mut gone = Vec::new();
        let mut at = 0;
        while at < self.members.len() {
            if self.ext.is_over(at, now) {
                gone.push(self.remove(at));
            } else {
                at += 1;
            }
        }
        gone
    }

    /// Takes out all.
    pub(super) fn clear(&mut self) -> Vec<SetId> {
        self.ext.clear();
        std::mem::take(&mut self.members)
    }
}
