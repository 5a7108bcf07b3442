//! The running gateway's sets as what `ipset` acts on: elements are read on the client's thread, changes are made by the loop between
//! two batches, and only what is listed is copied.

use super::Context;
use crate::seam::Moment;
use hairpin_commands::{Done, SetsHost};
use hairpin_engine::set::{Entry, SetError, Sets};
use hairpin_engine::time::Now;
use hairpin_ruleset::ipset::{Change, Target};
use std::fmt;

/// The gateway's sets, for one command.
pub(super) struct LiveSets<'c> {
    context: &'c Context,
    /// What the set that was named last holds. Nobody else changes that: this client has the turn.
    known: Option<(String, Target)>,
    /// What is being listed.
    listed: Sets,
    is_lost: bool,
}

impl fmt::Debug for LiveSets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveSets")
    }
}

impl<'c> LiveSets<'c> {
    pub(super) fn new(context: &'c Context) -> LiveSets<'c> {
        LiveSets { context, known: None, listed: Sets::default(), is_lost: false }
    }

    /// Whether the gateway has ended meanwhile.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn ask<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Moment<'_>) -> T + Send + 'static) -> Option<T> {
        let answer = self.context.handle.ask(work).ok();
        self.is_lost |= answer.is_none();
        answer
    }
}

impl SetsHost for &mut LiveSets<'_> {
    fn target(&mut self, name: &str) -> Option<Target> {
        if let Some((known, target)) = &self.known
            && known == name
        {
            return Some(*target);
        }
        let wanted = name.to_owned();
        let target = self.ask(move |moment| moment.engine.state().sets().get(&wanted).map(Target::of)).flatten()?;
        self.known = Some((name.to_owned(), target));
        Some(target)
    }

    fn apply(&mut self, changes: Vec<(Change, bool)>) -> Result<(), (usize, SetError)> {
        if changes.iter().any(|(change, _)| !matches!(change, Change::Add(..) | Change::Del(..) | Change::Flush(_))) {
            self.known = None;
        }
        let made = self.ask(move |moment| {
            let now = moment.now.mono;
            let sets = moment.engine.sets();
            let mut all = changes.iter().enumerate();
            all.try_for_each(|(n, (change, exist))| change.apply(sets, *exist, now).map_err(|why| (n, why)))
        });
        made.unwrap_or(Err((0, SetError::Protocol)))
    }

    fn test(&mut self, name: &str, entry: &Entry) -> Result<bool, SetError> {
        let (name, entry) = (name.to_owned(), entry.clone());
        let found = self.ask(move |moment| moment.engine.sets().test(&name, &entry, moment.now.mono));
        found.unwrap_or(Err(SetError::Protocol))
    }

    /// Set by set, so that packets do not wait for the copy of all.
    fn look(&mut self, name: Option<&str>, names_only: bool) -> (&Sets, Now) {
        let outline = self.ask(|moment| (moment.engine.state().sets().outline(), moment.now));
        let (outline, now) = outline.unwrap_or_default();
        let wanted: Vec<String> = match (name, names_only) {
            (_, true) => Vec::new(),
            (Some(name), _) => vec![name.to_owned()],
            (None, _) => outline.iter().map(|(name, _)| name.to_owned()).collect(),
        };
        self.listed = outline;
        for name in wanted {
            let asked = name.clone();
            let copy = self.ask(move |moment| moment.engine.state().sets().get(&asked).cloned()).flatten();
            if let Some(set) = copy {
                self.listed.fill_in(&name, set);
            }
        }
        (&self.listed, now)
    }

    fn done(&mut self) -> Done {
        Done::default()
    }
}
