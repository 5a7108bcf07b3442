//! Sets in the file: all of them as one text, and the changes since, each with the time at which it was made.

use super::codec::damaged;
use super::container::{Body, Container, Section};
use hairpin_engine::rule::NumberNames;
use hairpin_engine::set::Sets;
use hairpin_engine::time::Now;
use hairpin_ruleset::ipset::{Change, load};
use hairpin_wire::{Addr, Family};
use hairpin_xt::option::{KnownSet, NameKind, Names};
use std::cell::OnceCell;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the sets of a file are to be read from.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    body: Option<Body>,
    changes: Vec<Vec<u8>>,
}

impl Source {
    pub(super) fn of(container: &Container) -> io::Result<Source> {
        let changes = container.operations(Section::Sets)?.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Source { body: Some(container.body(Section::Sets)), changes })
    }

    /// The sets as they are now.
    pub(super) fn read(&self, now: Now) -> io::Result<Sets> {
        let bytes = self.body.as_ref().map(Body::bytes).transpose()?;
        let text = std::str::from_utf8(bytes.as_ref().map_or(&[], |b| b)).map_err(|_| damaged())?;
        // A set that is made gets a secret nobody knows.
        let seed = RandomState::new().hash_one(now.wall.0);
        let mut sets = load(text, seed, now).map_err(|_| damaged())?;
        for change in &self.changes {
            repeat(&mut sets, change, now)?;
        }
        Ok(sets)
    }
}

/// A change as it stands in the file: when, whether `-exist` was given, and its words.
pub(super) fn written(words: &str, exist: bool, now: Now) -> Vec<u8> {
    format!("{} {} {words}", now.wall.0, u8::from(exist)).into_bytes()
}

/// Makes a change as it was made then.
fn repeat(sets: &mut Sets, change: &[u8], now: Now) -> io::Result<()> {
    let text = std::str::from_utf8(change).map_err(|_| damaged())?;
    let mut parts = text.splitn(3, ' ');
    let (Some(nanos), Some(exist), Some(words)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(damaged());
    };
    let then = Now::from_unix_nanos(nanos.parse().map_err(|_| damaged())?);
    // Both clocks are the calendar's here, as they were then.
    debug_assert_eq!(now.mono.0, now.wall.0);
    let change = Change::from_words(words, sets).map_err(|_| damaged())?;
    match change.apply(sets, exist == "1", then.mono) {
        // What ran out since was not read any more.
        Err(_) if matches!(change, Change::Add(..) | Change::Del(..)) => Ok(()),
        done => done.map_err(|_| damaged()),
    }
}

/// Both clocks by the calendar: a file outlives the other one.
pub(super) fn clock() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The system's names and the file's sets, which are read when a rule first names one.
#[derive(Debug)]
pub(super) struct FileNames<'n> {
    system: &'n dyn Names,
    path: PathBuf,
    /// What the command found; None until it began: rules are read before that.
    source: Option<Source>,
    sets: OnceCell<Option<Sets>>,
}

impl<'n> FileNames<'n> {
    pub(super) fn new(system: &'n dyn Names, path: PathBuf) -> FileNames<'n> {
        FileNames { system, path, source: None, sets: OnceCell::new() }
    }

    pub(super) fn set_source(&mut self, source: Source) {
        self.source = Some(source);
        self.sets = OnceCell::new();
    }

    fn read(&self) -> io::Result<Sets> {
        match &self.source {
            Some(source) => source.read(clock()),
            None => Source::of(&Container::read(File::open(&self.path)?)?)?.read(clock()),
        }
    }
}

impl NumberNames for FileNames<'_> {
    fn name(&self, kind: NameKind, number: u32) -> Option<String> {
        self.system.name(kind, number)
    }

    fn host_name(&self, family: Family, addr: Addr) -> Option<String> {
        self.system.host_name(family, addr)
    }
}

impl Names for FileNames<'_> {
    fn number(&self, kind: NameKind, name: &str) -> Option<u32> {
        self.system.number(kind, name)
    }

    fn has_list(&self, kind: NameKind) -> bool {
        self.system.has_list(kind)
    }

    fn hosts(&self, family: Family, name: &str) -> Result<Vec<Addr>, String> {
        self.system.hosts(family, name)
    }

    fn set(&self, name: &str) -> KnownSet {
        let sets = self.sets.get_or_init(|| self.read().ok());
        match sets.as_ref().and_then(|sets| sets.get(name)) {
            Some(set) => KnownSet::Of(set.options().family),
            None => KnownSet::Missing,
        }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.system.file(path)
    }
}
