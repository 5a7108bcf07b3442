//! What entries carry beside their element: each kind in a list of its own, made only when the set was created with it.

use super::elem::{Ext, SkbInfo};
use super::{Options, SetError};
use crate::rule::Counter;
use crate::time::{HZ, Instant};

/// What a person cannot give an entry because the set was created without it.
pub(super) fn check(ext: &Ext, options: &Options) -> Result<(), SetError> {
    if ext.timeout.is_some() && options.timeout.is_none() {
        return Err(SetError::NoTimeout);
    }
    if (ext.packets.is_some() || ext.bytes.is_some()) && !options.counters {
        return Err(SetError::NoCounters);
    }
    if ext.comment.is_some() && !options.comment {
        return Err(SetError::NoComment);
    }
    if ext.has_skbinfo() && !options.skbinfo {
        return Err(SetError::NoSkbinfo);
    }
    Ok(())
}

/// A comparison of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The counter is this.
    Equal(u64),
    /// The counter is not this.
    NotEqual(u64),
    /// The counter is less.
    Less(u64),
    /// The counter is more.
    More(u64),
}

impl Compare {
    fn holds(self, counter: u64) -> bool {
        match self {
            Compare::Equal(n) => counter == n,
            Compare::NotEqual(n) => counter != n,
            Compare::Less(n) => counter < n,
            Compare::More(n) => counter > n,
        }
    }
}

/// What a look-up does to an entry that is found, and asks of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touch {
    /// The bytes of the packet to be counted; None to count nothing.
    pub(super) count: Option<u64>,
    pub(super) packets: Option<Compare>,
    pub(super) bytes: Option<Compare>,
}

/// When an entry ends, in timer ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline(u64);

impl Deadline {
    /// Never.
    pub(super) const NEVER: Deadline = Deadline(0);

    pub(super) fn after(seconds: u32, now: Instant) -> Deadline {
        match seconds {
            0 => Deadline::NEVER,
            n => Deadline((now.jiffies() + u64::from(n) * HZ).max(1)),
        }
    }

    fn at(until: Instant) -> Deadline {
        Deadline(until.jiffies().max(1))
    }

    /// Seconds that have not begun yet.
    pub(super) fn waiting(seconds: u32) -> Deadline {
        Deadline(u64::from(seconds))
    }

    pub(super) fn waiting_seconds(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    pub(super) fn is_over(self, now: Instant) -> bool {
        self != Deadline::NEVER && self.0 < now.jiffies()
    }

    /// Whole seconds left, at least one; 0 for ever.
    pub(super) fn seconds_left(self, now: Instant) -> u32 {
        match self {
            Deadline::NEVER => 0,
            Deadline(at) => u32::try_from(at.saturating_sub(now.jiffies()) / HZ).unwrap_or(u32::MAX).max(1),
        }
    }
}

/// The extensions of all entries of a set, by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    deadlines: Option<Vec<Deadline>>,
    counters: Option<Vec<Counter>>,
    comments: Option<Vec<Option<Box<str>>>>,
    skbinfo: Option<Vec<SkbInfo>>,
    /// Exceptions; made when there is the first.
    nomatch: Vec<bool>,
}

/// Applies to each list that exists.
macro_rules! each {
    ($self:ident, $list:ident => $what:expr) => {
        if let Some($list) = &mut $self.deadlines {
            $what;
        }
        if let Some($list) = &mut $self.counters {
            $what;
        }
        if let Some($list) = &mut $self.comments {
            $what;
        }
        if let Some($list) = &mut $self.skbinfo {
            $what;
        }
    };
}

impl Extensions {
    pub(super) fn new(options: &Options) -> Extensions {
        Extensions {
            deadlines: options.timeout.map(|_| Vec::new()),
            counters: options.counters.then(Vec::new),
            comments: options.comment.then(Vec::new),
            skbinfo: options.skbinfo.then(Vec::new),
            nomatch: Vec::new(),
        }
    }

    /// Whether a look-up that found an entry looks at anything here.
    pub(super) fn is_any(&self) -> bool {
        self.deadlines.is_some() || self.counters.is_some() || self.skbinfo.is_some() || !self.nomatch.is_empty()
    }

    /// Touches what a look-up of this entry will look at. What comes back is of no use but to be used.
    pub(super) fn look_ahead(&self, at: usize) -> u64 {
        let ends = self.deadline(at).map_or(0, |d| d.0);
        let packets = self.counters.as_ref().and_then(|list| list.get(at)).map_or(0, |c| c.packets);
        let mark = self.skbinfo.as_ref().and_then(|list| list.get(at)).map_or(0, |info| info.mark);
        ends ^ packets ^ u64::from(mark) ^ u64::from(self.is_nomatch(at))
    }

    /// Room for one more entry, at the end.
    pub(super) fn push(&mut self) {
        each!(self, list => list.push(Default::default()));
        if !self.nomatch.is_empty() {
            self.nomatch.push(false);
        }
    }

    /// Room for an entry at a position; those behind move.
    pub(super) fn insert(&mut self, at: usize) {
        each!(self, list => list.insert(at, Default::default()));
    }

    /// Takes an entry out; those behind move.
    pub(super) fn remove(&mut self, at: usize) {
        each!(self, list => if at < list.len() { list.remove(at); });
    }

    /// Takes an entry out; the last takes its place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        each!(self, list => if at < list.len() { list.swap_remove(at); });
        if at < self.nomatch.len() {
            self.nomatch.swap_remove(at);
        }
    }

    /// Room for this many entries (bitmaps).
    pub(super) fn resize(&mut self, len: usize) {
        each!(self, list => list.resize(len, Default::default()));
    }

    pub(super) fn clear(&mut self) {
        each!(self, list => list.clear());
        self.nomatch = Vec::new();
    }

    /// Makes an entry's extensions those of a new one.
    pub(super) fn reset(&mut self, at: usize) {
        each!(self, list => if let Some(place) = list.get_mut(at) { *place = Default::default(); });
    }

    /// Notes what is given for an entry, new or added again: counters stay when none are given, comment and the rest do not.
    pub(super) fn store(&mut self, at: usize, ext: &Ext, default_timeout: u32, now: Instant) {
        if let Some(counter) = self.counters.as_mut().and_then(|list| list.get_mut(at)) {
            counter.packets = ext.packets.unwrap_or(counter.packets);
            counter.bytes = ext.bytes.unwrap_or(counter.bytes);
        }
        if let Some(comment) = self.comments.as_mut().and_then(|list| list.get_mut(at)) {
            *comment = ext.comment.as_deref().filter(|text| !text.is_empty()).map(Into::into);
        }
        if let Some(info) = self.skbinfo.as_mut().and_then(|list| list.get_mut(at)) {
            *info = ext.skbinfo();
        }
        let deadline = match ext.until {
            Some(until) => Deadline::at(until),
            None => Deadline::after(ext.timeout.unwrap_or(default_timeout), now),
        };
        self.set_deadline(at, deadline);
    }

    pub(super) fn set_deadline(&mut self, at: usize, deadline: Deadline) {
        if let Some(place) = self.deadlines.as_mut().and_then(|list| list.get_mut(at)) {
            *place = deadline;
        }
    }

    pub(super) fn deadline(&self, at: usize) -> Option<Deadline> {
        self.deadlines.as_ref()?.get(at).copied()
    }

    /// The last jiffy of an entry.
    pub(super) fn ends(&self, at: usize) -> u64 {
        self.deadline(at).filter(|d| *d != Deadline::NEVER).map_or(u64::MAX, |d| d.0)
    }

    pub(super) fn is_over(&self, at: usize, now: Instant) -> bool {
        self.deadline(at).is_some_and(|d| d.is_over(now))
    }

    pub(super) fn set_nomatch(&mut self, at: usize, nomatch: bool, len: usize) {
        if nomatch && self.nomatch.is_empty() {
            self.nomatch = vec![false; len];
        }
        if let Some(place) = self.nomatch.get_mut(at) {
            *place = nomatch;
        }
    }

    pub(super) fn is_nomatch(&self, at: usize) -> bool {
        self.nomatch.get(at).copied().unwrap_or(false)
    }

    /// What a look-up that found an entry does (`ip_set_match_extensions`): it counts, compares and takes. False: the entry ran
    /// out or a counter says no.
    pub(super) fn touch(&mut self, at: usize, touch: &Touch, got: &mut SkbInfo, now: Instant) -> bool {
        if self.is_over(at, now) {
            return false;
        }
        if let Some(counter) = self.counters.as_mut().and_then(|list| list.get_mut(at)) {
            if let Some(bytes) = touch.count {
                counter.packets = counter.packets.wrapping_add(1);
                counter.bytes = counter.bytes.wrapping_add(bytes);
            }
            let says = |compare: Option<Compare>, count: u64| compare.is_none_or(|c| c.holds(count));
            if !says(touch.packets, counter.packets) || !says(touch.bytes, counter.bytes) {
                return false;
            }
        }
        if let Some(info) = self.skbinfo.as_ref().and_then(|list| list.get(at)) {
            *got = *info;
        }
        true
    }

    /// What a listing shows.
    pub(super) fn shown(&self, at: usize, now: Instant) -> Shown<'_> {
        Shown {
            timeout: self.deadline(at).map(|d| d.seconds_left(now)),
            until: self.deadline(at).filter(|d| *d != Deadline::NEVER).map(|d| Instant::from_jiffies(d.0)),
            counter: self.counters.as_ref().and_then(|list| list.get(at)).copied(),
            comment: self.comments.as_ref().and_then(|list| list.get(at)).and_then(Option::as_deref),
            skbinfo: self.skbinfo.as_ref().and_then(|list| list.get(at)).copied(),
            nomatch: self.is_nomatch(at),
        }
    }

    /// The bytes they occupy.
    pub(super) fn memory(&self) -> usize {
        fn of<T>(list: &Option<Vec<T>>) -> usize {
            list.as_ref().map_or(0, |l| l.capacity() * size_of::<T>())
        }
        let comments = self.comments.iter().flatten().flatten().map(|text| text.len()).sum::<usize>();
        of(&self.deadlines)
            + of(&self.counters)
            + of(&self.comments)
            + of(&self.skbinfo)
            + self.nomatch.capacity()
            + comments
    }
}

/// What an entry carries, as listings show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Seconds left; 0 for ever. None: the set has no timeouts.
    pub timeout: Option<u32>,
    /// When it ends. None: never, or not begun.
    pub until: Option<Instant>,
    /// The counters. None: the set has none.
    pub counter: Option<Counter>,
    /// The comment, if it has one.
    pub comment: Option<&'a str>,
    /// What packets take from it. None: the set has no such thing.
    pub skbinfo: Option<SkbInfo>,
    /// It is an exception.
    pub nomatch: bool,
}
