//! A hash table for elements: entries lie one after the other, an index of 64-bit slots leads to them.
//!
//! A slot holds an entry's position and, in the bits that the position does not need, the key itself where it is small enough, or else
//! a part of its hash. Eight slots are a bucket, a cache line, all compared at once: a look-up in a large set waits for one line of
//! memory, and for an entry of a larger key only when it is there. What finds its bucket full goes into the next one.
//! Listing walks the entries: their order depends on what was done to the table and nothing else.

use super::ahead::BATCH;
use super::elem::Elem;
use super::key::Key;

#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    entries: Vec<K>,
    /// A power of two of them.
    index: Vec<Bucket>,
    seed: u64,
}

const SLOTS: usize = 8;

/// Used slots come before empty ones, which are 0.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
struct Bucket([u64; SLOTS]);

impl Bucket {
    const EMPTY: Bucket = Bucket([0; SLOTS]);

    fn is_full(&self) -> bool {
        self.0[SLOTS - 1] != 0
    }

    /// How many slots are used.
    fn used(&self) -> usize {
        self.0.iter().take_while(|slot| **slot != 0).count()
    }

    /// A bit for each slot that has this tag; an empty slot has tag 0.
    fn with_tag(&self, tag: u64, bits: u32) -> u32 {
        let mut found = 0;
        for (n, slot) in self.0.iter().enumerate() {
            found |= u32::from(slot >> bits == tag) << n;
        }
        found
    }
}

/// Where a slot is: its bucket, and its place there.
type SlotAt = (usize, usize);

impl<K: Key> Table<K> {
    pub(super) fn new(seed: u64) -> Table<K> {
        Table { entries: Vec::new(), index: vec![Bucket::EMPTY], seed }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, position: usize) -> Option<Elem> {
        self.entries.get(position).map(|k| k.unpack())
    }

    /// The bytes it occupies.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<K>() + self.index.capacity() * size_of::<Bucket>()
    }

    /// An element as it would be stored here.
    #[expect(clippy::unused_self, reason = "tells the type of key")]
    pub(super) fn key(&self, elem: &Elem) -> K {
        K::pack(elem)
    }

    /// The entry that `asked` names.
    pub(super) fn find(&self, asked: &K) -> Option<usize> {
        let hash = self.hash(asked);
        if self.is_whole() {
            return self.walk(hash, self.tag(asked, hash), |_| true).map(|(_, position)| position);
        }
        let is_it = |position: usize| self.entries.get(position).is_some_and(|k| k.is(asked));
        self.walk(hash, self.tag(asked, hash), is_it).map(|(_, position)| position)
    }

    /// Touches the buckets of a batch of keys, and then, where look-ups need more than the bucket, the entries that are probably theirs.
    /// With `wants_positions` those are noted.
    pub(super) fn look_ahead(
        &self,
        key: impl Fn(usize) -> Option<K>,
        wants_positions: bool,
        positions: &mut [usize; BATCH],
    ) -> u64 {
        let (mask, bits) = (self.index.len() - 1, self.bits());
        let mut places = [(usize::MAX, 0); BATCH];
        for (n, place) in places.iter_mut().enumerate() {
            if let Some(key) = key(n) {
                let hash = self.hash(&key);
                *place = (hash as usize & mask, self.tag(&key, hash));
            }
        }
        // Short loops of their own: a processor waits for as many places at once as it can see coming.
        let mut touched = 0;
        for (at, _) in &places {
            touched ^= self.index.get(*at).map_or(0, |bucket| bucket.0[0]);
        }
        if self.is_whole() && !wants_positions {
            return touched;
        }
        for ((at, tag), position) in places.iter().zip(positions.iter_mut()) {
            let Some(bucket) = self.index.get(*at) else { continue };
            let found = bucket.with_tag(*tag, bits);
            let slot = bucket.0.get(found.trailing_zeros() as usize).copied().unwrap_or_default();
            *position = ((slot & ((1 << bits) - 1)) as usize).wrapping_sub(1);
        }
        if !self.is_whole() {
            for position in positions.iter() {
                touched ^= self.entries.get(*position).map_or(0, |key| key.words()[0]);
            }
        }
        touched
    }

    /// How many of the entries that share the hash of `asked` are like it in the way given.
    pub(super) fn count_like(&self, asked: &K, is_alike: impl Fn(&K) -> bool) -> usize {
        let mut count = 0;
        let hash = self.hash(asked);
        self.walk(hash, self.tag(asked, hash), |position| {
            count += usize::from(self.entries.get(position).is_some_and(&is_alike));
            false
        });
        count
    }

    /// Appends an entry that is not there yet.
    pub(super) fn insert(&mut self, key: K) {
        if (self.entries.len() + 1) * 8 > self.index.len() * SLOTS * 5 {
            self.grow();
        }
        if self.entries.len() == self.entries.capacity() {
            // By a quarter: large sets shall not be half empty.
            self.entries.reserve_exact(self.entries.len() / 4 + 4);
        }
        self.entries.push(key);
        self.enter(&key, self.entries.len() - 1);
    }

    /// Takes an entry out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, position: usize) {
        if position >= self.entries.len() {
            return;
        }
        if let Some(slot) = self.slot_of(position) {
            self.free(slot);
        }
        let last = self.entries.len() - 1;
        if last != position
            && let Some((bucket, n)) = self.slot_of(last)
        {
            let slot = &mut self.index[bucket].0[n];
            *slot = *slot - (last as u64 + 1) + (position as u64 + 1);
        }
        self.entries.swap_remove(position);
    }

    pub(super) fn clear(&mut self) {
        self.entries = Vec::new();
        self.index = vec![Bucket::EMPTY];
    }

    /// Twice as many buckets. Goes by the old ones: what was in one goes to the same place of either half, so that memory is written in
    /// order and a large set keeps packets waiting for less.
    fn grow(&mut self) {
        let bits = self.bits();
        let twice = vec![Bucket::EMPTY; self.index.len() * 2];
        for bucket in std::mem::replace(&mut self.index, twice) {
            for slot in bucket.0.into_iter().take_while(|slot| *slot != 0) {
                let position = (slot & ((1 << bits) - 1)) as usize - 1;
                let key = self.entries[position];
                self.enter(&key, position);
            }
        }
    }

    fn enter(&mut self, key: &K, position: usize) {
        let mask = self.index.len() - 1;
        let hash = self.hash(key);
        let value = self.tag(key, hash) << self.bits() | (position as u64 + 1);
        let mut bucket = hash as usize & mask;
        while self.index[bucket].is_full() {
            bucket = (bucket + 1) & mask;
        }
        let free = self.index[bucket].used();
        self.index[bucket].0[free] = value;
    }

    /// The slot that leads to the entry at a position.
    fn slot_of(&self, position: usize) -> Option<SlotAt> {
        let key = self.entries.get(position)?;
        let hash = self.hash(key);
        self.walk(hash, self.tag(key, hash), |at| at == position).map(|(slot, _)| slot)
    }

    /// Visits the entries with this tag until `is_it` says yes; the slot and the position.
    fn walk(&self, hash: u64, tag: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<(SlotAt, usize)> {
        let bits = self.bits();
        let mut at = hash as usize & (self.index.len() - 1);
        loop {
            let bucket = self.index.get(at)?;
            let mut found = bucket.with_tag(tag, bits);
            while found != 0 {
                let n = found.trailing_zeros() as usize;
                found &= found - 1;
                let next = bucket.0[n & (SLOTS - 1)] & ((1 << bits) - 1);
                if next != 0 && is_it(next as usize - 1) {
                    return Some(((at, n), next as usize - 1));
                }
            }
            if !bucket.is_full() {
                return None;
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    /// Empties a slot: the last of its bucket moves there, and into a bucket that was full one that had to go on to a later one.
    fn free(&mut self, (mut bucket, mut n): SlotAt) {
        loop {
            let was_full = self.index[bucket].is_full();
            let last = self.index[bucket].used() - 1;
            self.index[bucket].0[n] = self.index[bucket].0[last];
            self.index[bucket].0[last] = 0;
            if !was_full {
                return;
            }
            let Some((from, from_n)) = self.one_that_went_past(bucket) else { return };
            self.index[bucket].0[last] = self.index[from].0[from_n];
            (bucket, n) = (from, from_n);
        }
    }

    /// A slot behind a bucket whose entry would have gone there if there had been room.
    fn one_that_went_past(&self, bucket: usize) -> Option<SlotAt> {
        let mask = self.index.len() - 1;
        let mut at = bucket;
        loop {
            at = (at + 1) & mask;
            if at == bucket {
                return None;
            }
            for (n, slot) in self.index[at].0.iter().take_while(|slot| **slot != 0).enumerate() {
                let position = (slot & ((1 << self.bits()) - 1)) as usize - 1;
                let home = self.entries.get(position).map_or(at, |k| self.hash(k) as usize & mask);
                if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(bucket) & mask) {
                    return Some((at, n));
                }
            }
            if !self.index[at].is_full() {
                return None;
            }
        }
    }

    /// How many bits of a slot the position needs. The position is stored plus one, and there are fewer entries than slots.
    fn bits(&self) -> u32 {
        (self.index.len() * SLOTS).trailing_zeros()
    }

    /// Whether slots hold whole keys.
    fn is_whole(&self) -> bool {
        K::BITS.saturating_add(self.bits()) <= u64::BITS
    }

    /// What a slot says of its key.
    fn tag(&self, key: &K, hash: u64) -> u64 {
        match self.is_whole() {
            true => key.words()[0],
            // The lowest bits of the hash chose the bucket.
            false => hash >> self.bits(),
        }
    }

    /// Folded multiplication under the set's secret: strangers choose what is stored.
    fn hash(&self, key: &K) -> u64 {
        let mut state = self.seed;
        for word in key.words().into_iter().take(K::WORDS) {
            let product = u128::from(word ^ state) * u128::from(MULTIPLIER);
            state = (product as u64) ^ (product >> 64) as u64 ^ self.seed.rotate_left(23);
        }
        let product = u128::from(state) * u128::from(MULTIPLIER);
        (product as u64) ^ (product >> 64) as u64
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::super::key::{Ip4, Wide4};
    use super::*;
    use hairpin_wire::Addr;
    use std::collections::BTreeMap;

    fn elem(n: u32) -> Elem {
        Elem { ip: Addr::v4(n), ..Elem::default() }
    }

    #[test]
    fn it_is_a_set() {
        let mut table = Table::<Ip4>::new(7);
        let mut model = BTreeMap::new();
        let mut x = 1u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = Ip4::pack(&elem(x >> 8 & 0xfff));
            match table.find(&key) {
                Some(position) if x & 3 == 0 => {
                    assert!(model.remove(&key.words()[0]).is_some());
                    table.swap_remove(position);
                }
                Some(_) => assert!(model.contains_key(&key.words()[0])),
                None => {
                    assert!(model.insert(key.words()[0], ()).is_none());
                    table.insert(key);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        for n in 0..0x1000 {
            assert_eq!(table.find(&Ip4::pack(&elem(n))).is_some(), model.contains_key(&u64::from(n)), "{n}");
        }
        for position in 0..table.len() {
            let elem = table.get(position).expect("an entry");
            assert_eq!(table.find(&Ip4::pack(&elem)), Some(position));
        }
    }

    /// Full buckets, and what went past them, are found and let go.
    #[test]
    fn full_buckets() {
        let mut table = Table::<Wide4>::new(7);
        let key = |n: u32| Wide4::pack(&Elem { ip: Addr::v4(n), ip2: Addr::v4(n / 3), port: 7, ..Elem::default() });
        for n in 0..5000 {
            table.insert(key(n));
            // The load is at its highest just before the index grows.
            if (table.len() + 1) * 8 > table.index.len() * SLOTS * 5 {
                assert!((0..=n).all(|n| table.find(&key(n)).is_some()));
            }
        }
        assert!(table.index.iter().any(Bucket::is_full), "the test wants full buckets");
        for n in (0..5000).filter(|n| n % 7 != 0) {
            let position = table.find(&key(n)).expect("not removed yet");
            table.swap_remove(position);
            assert_eq!(table.find(&key(n)), None);
        }
        for n in 0..5000 {
            assert_eq!(table.find(&key(n)).is_some(), n % 7 == 0, "{n}");
        }
        assert_eq!(table.index.iter().map(Bucket::used).sum::<usize>(), table.len());
    }

    /// What is looked at ahead is what a look-up finds, but for the few that full buckets sent on.
    #[test]
    fn looks_ahead_where_a_look_up_looks() {
        let mut table = Table::<Wide4>::new(7);
        let key = |n: u32| Wide4::pack(&Elem { ip: Addr::v4(n * 7), port: 7, ..Elem::default() });
        (0..5000).for_each(|n| table.insert(key(n)));
        let (mut found, mut right) = (0, 0);
        for first in (0..6000).step_by(BATCH) {
            let mut positions = [usize::MAX; BATCH];
            table.look_ahead(|n| (n % 9 != 0).then(|| key(first + n as u32)), true, &mut positions);
            for (n, position) in positions.iter().enumerate().filter(|(n, _)| n % 9 != 0) {
                let is_at = table.find(&key(first + n as u32));
                assert!(is_at.is_some() || *position >= table.len());
                found += usize::from(is_at.is_some());
                right += usize::from(is_at == Some(*position));
            }
        }
        assert!(found > 4000 && right * 10 > found * 9, "{right} of {found}");
    }
}
