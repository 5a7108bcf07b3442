//! What changes with packets: counters and the memory of extensions. One engine owns it.

use super::compiled::{FlatAction, FlatMatch, FlatTable};
use super::{Compiled, Counter, Memory, TableId};
use crate::set::{Asked, SetId, Sets};
use crate::time::Now;
use hairpin_wire::Family;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The memory of one extension, or of all rules that share one by name.
pub type MemoryCell = RefCell<Box<dyn Any + Send>>;

/// The rules in force for one family, with their counters and memories.
#[derive(Debug)]
pub struct Live {
    compiled: Arc<Compiled>,
    tables: [LiveTable; 5],
    /// The walk's return addresses; kept to be reused.
    pub(crate) stack: Vec<usize>,
}

/// What memories are shared by: kind, family where each has its own, and name.
type SharedKey = (&'static str, Option<Family>, String);

/// The memories of both families' rules.
#[derive(Debug, Default)]
pub struct Memories {
    /// All memories; places are reused.
    pub(crate) cells: Vec<MemoryCell>,
    free: Vec<u32>,
    shared: BTreeMap<SharedKey, SharedMemory>,
    /// The name of each cell that has one.
    names: BTreeMap<u32, SharedKey>,
}

#[derive(Debug, Default)]
pub(crate) struct LiveTable {
    pub(crate) counters: Vec<Counter>,
    /// For each memory number of the flat table: its cell.
    pub(crate) cells: Vec<Option<u32>>,
    /// The first few sets that its rules ask.
    asked: Vec<Asked>,
}

/// As many sets of a table are looked at before a batch is walked.
const ASKED: usize = 4;

/// A memory that rules share by name, and how many do.
#[derive(Debug)]
pub struct SharedMemory {
    cell: u32,
    users: usize,
}

impl Live {
    /// No rules.
    pub fn new(family: Family) -> Live {
        Live { compiled: Arc::new(Compiled::empty(family)), tables: Default::default(), stack: Vec::new() }
    }

    /// The rules in force.
    pub fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// Puts other rules in force. Tables that both have in common (the same value, not an equal one) keep counters and
    /// memories; the others start with the counters they were loaded with and fresh memories, except those shared by name.
    pub fn replace(&mut self, new: Arc<Compiled>, memories: &mut Memories, sets: &mut Sets, now: &Now) {
        let old = std::mem::replace(&mut self.compiled, Arc::clone(&new));
        let mut left: Vec<LiveTable> = Vec::new();
        for id in TableId::ALL {
            let (before, after) = (old.flat(id), new.flat(id));
            if let (Some(a), Some(b)) = (before, after)
                && Arc::ptr_eq(a, b)
            {
                continue;
            }
            // The new one is taken up before the old one is let go, so that what they share by name lives on.
            let fresh = after.map(|t| load(new.family, t, memories, sets, now)).unwrap_or_default();
            left.push(std::mem::replace(&mut self.tables[id as usize], fresh));
        }
        for table in left {
            table.cells.into_iter().flatten().for_each(|cell| memories.release(cell, sets));
        }
    }

    /// The sets that rules ask, table by table; of each table the first few.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Asked> + '_ {
        self.tables.iter().flat_map(|table| table.asked.iter().copied())
    }

    pub(crate) fn table(&self, id: TableId) -> &LiveTable {
        &self.tables[id as usize]
    }

    /// Everything a walk needs, borrowed apart.
    pub(crate) fn parts(&mut self, id: TableId) -> Option<(&FlatTable, &mut LiveTable, &mut Vec<usize>)> {
        let flat = self.compiled.flat(id)?;
        Some((flat, &mut self.tables[id as usize], &mut self.stack))
    }

    /// The counter of a rule (from 1) of a chain, or of the chain's policy (0).
    pub fn counter(&self, table: TableId, chain: &str, rule: usize) -> Option<Counter> {
        let flat = self.compiled.flat(table)?;
        let range = &flat.chains.iter().find(|c| &*c.name == chain)?.rules;
        let at = if rule == 0 { range.end } else { range.start + rule - 1 };
        if at > range.end || (rule != 0 && at == range.end) {
            return None;
        }
        self.table(table).counters.get(at).copied()
    }

    /// All counters of a table, chain by chain: for each rule in order, then for the policy or hidden end.
    pub fn counters(&self, table: TableId) -> &[Counter] {
        &self.table(table).counters
    }

    /// What matches of a table want kept over a restart: the place of the rule among the counters, which of its matches, the numbers.
    pub fn kept(&self, memories: &Memories, table: TableId, now: &Now) -> Vec<(usize, usize, Vec<u64>)> {
        let Some(flat) = self.compiled.flat(table) else { return Vec::new() };
        let mut kept = Vec::new();
        // A memory that several rules share is kept once.
        let mut seen = std::collections::BTreeSet::new();
        for place in &flat.remembering {
            let (rule, Some(nth)) = (place.rule as usize, place.nth) else { continue };
            let Some(found) = flat.found(rule, nth as usize) else { continue };
            let cell = self.cell_of(table, found.memory).filter(|cell| seen.insert(*cell));
            if let Some(cell) = cell.and_then(|cell| memories.cells.get(cell)) {
                let numbers = found.test.keep(&**cell.borrow(), now);
                if !numbers.is_empty() {
                    kept.push((rule, nth as usize, numbers));
                }
            }
        }
        kept
    }

    /// Takes up what a match kept over a restart.
    pub fn take_up(
        &self,
        memories: &mut Memories,
        table: TableId,
        (place, nth): (usize, usize),
        kept: &[u64],
        now: &Now,
    ) {
        let Some(flat) = self.compiled.flat(table) else { return };
        let Some(found) = flat.found(place, nth) else { return };
        if let Some(cell) = self.cell_of(table, found.memory).and_then(|cell| memories.cells.get_mut(cell)) {
            found.test.take_up(&mut **cell.get_mut(), kept, now);
        }
    }

    fn cell_of(&self, table: TableId, memory: u32) -> Option<usize> {
        let cell = self.table(table).cells.get(memory as usize).copied().flatten()?;
        Some(cell as usize)
    }

    /// Adds to counters of a table, each named by its place in [`Live::counters`].
    pub fn add_counters(&mut self, table: TableId, more: &[(usize, Counter)]) {
        let counters = &mut self.tables[table as usize].counters;
        for (place, counter) in more {
            if let Some(old) = counters.get_mut(*place) {
                *old = *old + *counter;
            }
        }
    }

    /// Sets all counters of a table to zero.
    pub fn zero(&mut self, table: TableId) {
        self.tables[table as usize].counters.fill(Counter::default());
    }
}

impl Memories {
    fn keep(&mut self, first: Box<dyn Any + Send>) -> u32 {
        match self.free.pop() {
            Some(cell) => {
                self.cells[cell as usize] = RefCell::new(first);
                cell
            }
            None => {
                self.cells.push(RefCell::new(first));
                self.cells.len() as u32 - 1
            }
        }
    }

    fn share(
        &mut self,
        key: SharedKey,
        first: Box<dyn Any + Send>,
        join: fn(&mut (dyn Any + Send), &(dyn Any + Send)),
    ) -> u32 {
        if let Some(memory) = self.shared.get_mut(&key) {
            memory.users += 1;
            if let Some(cell) = self.cells.get_mut(memory.cell as usize) {
                join(&mut **cell.get_mut(), &*first);
            }
            return memory.cell;
        }
        let cell = self.keep(first);
        self.names.insert(cell, key.clone());
        self.shared.insert(key, SharedMemory { cell, users: 1 });
        cell
    }

    fn release(&mut self, cell: u32, sets: &mut Sets) {
        if let Some(key) = self.names.get(&cell) {
            if let Some(memory) = self.shared.get_mut(key) {
                memory.users -= 1;
                if memory.users > 0 {
                    return;
                }
            }
            self.shared.remove(key);
            self.names.remove(&cell);
        }
        let gone = std::mem::replace(&mut self.cells[cell as usize], RefCell::new(Box::new(())));
        if let Ok(ids) = gone.into_inner().downcast::<Vec<Option<SetId>>>() {
            ids.iter().flatten().for_each(|id| sets.release(*id));
        }
        self.free.push(cell);
    }
}

/// Makes the counters and memories of a table that is put in force.
fn load(family: Family, table: &FlatTable, memories: &mut Memories, sets: &mut Sets, now: &Now) -> LiveTable {
    let (counters, cells) = (table.first_counters.clone(), vec![None; table.memories]);
    let mut live = LiveTable { counters, cells, asked: Vec::new() };
    for place in &table.remembering {
        let rule = place.rule as usize;
        let (slot, memory) = match place.nth {
            Some(nth) => {
                let Some(FlatMatch { test, memory: slot }) = table.found(rule, nth as usize) else { continue };
                if live.asked.len() < ASKED
                    && let Some(directions) = test.asks()
                    && let Some(set) = test.sets().first().and_then(|name| sets.id(name))
                {
                    let asked = Asked { set, directions };
                    if !live.asked.contains(&asked) {
                        live.asked.push(asked);
                    }
                }
                (*slot, memory(test.sets(), sets, || test.memory(now)))
            }
            None => {
                let action = table.rules.get(rule).map(|rule| &rule.action);
                let Some(FlatAction::Target { target, memory: slot }) = action else { continue };
                (*slot, memory(target.sets(), sets, || target.memory(now)))
            }
        };
        let cell = match memory {
            Memory::None => None,
            Memory::Own(first) => Some(memories.keep(first)),
            Memory::Shared { kind, by_family, name, first, join } => {
                Some(memories.share((kind, by_family.then_some(family), name), first, join))
            }
        };
        if let Some(place) = live.cells.get_mut(slot as usize) {
            *place = cell;
        }
    }
    live
}

/// The memory of an extension: the places of its sets, or its own.
fn memory(names: &[String], sets: &mut Sets, own: impl Fn() -> Memory) -> Memory {
    if names.is_empty() {
        return own();
    }
    let ids: Vec<Option<SetId>> = names.iter().map(|name| sets.id(name)).collect();
    ids.iter().flatten().for_each(|id| sets.refer(*id));
    Memory::Own(Box::new(ids))
}
