//! One extension and one packet, outside of any rule set: what tests of matches and targets ask with.

use crate::account::Accounts;
use crate::event::Event;
use crate::hook::Hook;
use crate::look::{Edit, Effects, Ground, Look};
use crate::net::Net;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::rule::{Match, Memory, MemoryCell, TableId, Target, Verdict};
use crate::set::{SetId, Sets};
use crate::time::Now;
use crate::track::Conns;
use std::cell::RefCell;
use std::sync::Arc;

/// The surroundings an extension sees, each settable, and the memory of the extensions asked.
///
/// An extension is loaded once, which makes its memory, and may then be asked about any number of packets while
/// [`Probe::now`] and the rest change.
#[derive(Debug)]
pub struct Probe {
    /// The packet asked about; its mark, devices, connection and so on are in its `meta`.
    pub packet: Packet,
    /// The hook; FORWARD at first.
    pub hook: Hook,
    /// The table; filter at first.
    pub table: TableId,
    /// The time; zero at first.
    pub now: Now,
    /// The host; empty at first.
    pub net: Net,
    /// The connections; none at first.
    pub conns: Conns,
    /// The sets; none at first.
    pub sets: RefCell<Sets>,
    /// The accounting objects; none at first.
    pub accounts: RefCell<Accounts>,
    /// What targets reported so far.
    pub events: Vec<Event>,
    /// What matches told so far.
    pub told: RefCell<Vec<Event>>,
    rng: Rng,
    memories: Vec<MemoryCell>,
    shared: Vec<(&'static str, String, u32)>,
}

/// What a match says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It fits.
    Yes,
    /// It does not.
    No,
    /// It is malformed and ends here.
    Hotdrop,
}

/// An extension with its place in a [`Probe`]'s memory.
#[derive(Clone, Debug)]
pub struct Loaded<T: ?Sized> {
    /// The extension.
    pub extension: Arc<T>,
    slot: Option<u32>,
}

impl Probe {
    /// Surroundings for this packet.
    pub fn new(packet: Packet) -> Probe {
        Probe {
            packet,
            hook: Hook::Forward,
            table: TableId::Filter,
            now: Now::default(),
            net: Net::default(),
            conns: Conns::default(),
            sets: RefCell::default(),
            accounts: RefCell::default(),
            events: Vec::new(),
            told: RefCell::default(),
            rng: Rng::new(1),
            memories: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// Makes the memory of a match, as loading a rule does.
    pub fn load(&mut self, extension: Arc<dyn Match>) -> Loaded<dyn Match> {
        let memory = self.places(extension.sets()).unwrap_or_else(|| extension.memory(&self.now));
        let slot = self.remember(memory);
        Loaded { extension, slot }
    }

    /// Makes the memory of a target, as loading a rule does.
    pub fn load_target(&mut self, extension: Arc<dyn Target>) -> Loaded<dyn Target> {
        let memory = self.places(extension.sets()).unwrap_or_else(|| extension.memory(&self.now));
        let slot = self.remember(memory);
        Loaded { extension, slot }
    }

    /// What the match says of the packet now.
    pub fn ask(&self, loaded: &Loaded<dyn Match>) -> Answer {
        let look = Look::new(&self.packet, &self.conns, self.ground());
        look.set_slot(loaded.slot);
        let says = loaded.extension.matches(&look);
        match (look.is_hotdrop(), says) {
            (true, _) => Answer::Hotdrop,
            (false, true) => Answer::Yes,
            (false, false) => Answer::No,
        }
    }

    /// What the target does with the packet now; the packet and the connections are changed.
    pub fn act(&mut self, loaded: &Loaded<dyn Target>) -> Verdict {
        let mut effects = Effects::default();
        let ground = Ground {
            hook: self.hook,
            table: self.table,
            now: &self.now,
            net: &self.net,
            memories: &self.memories,
            sets: &self.sets,
            accounts: &self.accounts,
            rng: &self.rng,
            asked: None,
            told: &self.told,
        };
        let mut edit = Edit::new(&mut self.packet, &mut self.conns, ground, &mut effects, loaded.slot);
        let verdict = loaded.extension.act(&mut edit);
        self.events.append(&mut effects.events);
        verdict
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            hook: self.hook,
            table: self.table,
            now: &self.now,
            net: &self.net,
            memories: &self.memories,
            sets: &self.sets,
            accounts: &self.accounts,
            rng: &self.rng,
            asked: None,
            told: &self.told,
        }
    }

    fn places(&mut self, names: &[String]) -> Option<Memory> {
        let sets = self.sets.get_mut();
        let ids: Vec<Option<SetId>> = names.iter().map(|name| sets.id(name)).collect();
        (!ids.is_empty()).then(|| Memory::Own(Box::new(ids)))
    }

    fn remember(&mut self, memory: Memory) -> Option<u32> {
        let next = u32::try_from(self.memories.len()).ok()?;
        let first = match memory {
            Memory::None => return None,
            Memory::Own(first) => first,
            Memory::Shared { kind, name, first, join, .. } => {
                if let Some((_, _, slot)) = self.shared.iter().find(|(k, n, _)| (*k, n) == (kind, &name)) {
                    let cell = self.memories.get_mut(*slot as usize)?;
                    join(&mut **cell.get_mut(), &*first);
                    return Some(*slot);
                }
                self.shared.push((kind, name, next));
                first
            }
        };
        self.memories.push(RefCell::new(first));
        Some(next)
    }
}
