//! A hash table for elements: entries lie one after the other, an index of 64-bit slots leads to them.
//!
//! A slot holds an entry's position and, in the bits that the position does not need, the key itself where it is small enough, or else
//! a part of its hash. Eight slots are a bucket, a cache line, all compared at once: a look-up in a large set waits for one line of
//! memory, and for an entry of a larger key only when it is there. What finds its bucket full goes into the next one.
//! Listing walks the entries: their order depends on what was done to the table and nothing else.

use super::ahead::BATCH;
use super::elem::Elem;
use crate::net::IfName;
use hairpin_wire::{Addr, Mac};

/// An element as it is stored for one type and family.
pub(super) trait Key: Copy {
    fn pack(elem: &Elem) -> Self;
    fn unpack(self) -> Elem;
    /// The same in another network: what a look-up changes from one prefix length to the next.
    fn with_net(self, _ip: Addr, _cidr: u8) -> Self {
        self
    }
    /// The same with another second network.
    fn with_second_net(self, _ip: Addr, _cidr: u8) -> Self {
        self
    }
    /// How many of the words count.
    const WORDS: usize;
    /// The whole key is in this many low bits of the first word; more than 64 when it is not in one word.
    const BITS: u32 = u32::MAX;
    /// What is hashed.
    fn words(&self) -> [u64; 4];
    /// Whether this entry is the one that `asked` names.
    fn is(&self, asked: &Self) -> bool;
}

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

/// `hash:ip` of IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip4(u32);

impl Key for Ip4 {
    const WORDS: usize = 1;
    const BITS: u32 = 32;
    fn pack(elem: &Elem) -> Ip4 {
        Ip4(elem.ip.as_u32())
    }
    fn unpack(self) -> Elem {
        Elem { ip: Addr::v4(self.0), ..Elem::default() }
    }
    fn words(&self) -> [u64; 4] {
        [u64::from(self.0), 0, 0, 0]
    }
    fn is(&self, asked: &Ip4) -> bool {
        self.0 == asked.0
    }
}

/// `hash:net` of IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net4(u32, u8);

impl Key for Net4 {
    const WORDS: usize = 1;
    const BITS: u32 = 38;
    fn pack(elem: &Elem) -> Net4 {
        Net4(elem.ip.as_u32(), elem.cidr)
    }
    fn unpack(self) -> Elem {
        Elem { ip: Addr::v4(self.0), cidr: self.1, ..Elem::default() }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Net4 {
        Net4(ip.as_u32(), cidr)
    }
    fn words(&self) -> [u64; 4] {
        [u64::from(self.0) | u64::from(self.1) << 32, 0, 0, 0]
    }
    fn is(&self, asked: &Net4) -> bool {
        (self.0, self.1) == (asked.0, asked.1)
    }
}

/// `hash:ip` of IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip6([u64; 2]);

impl Key for Ip6 {
    const WORDS: usize = 2;
    fn pack(elem: &Elem) -> Ip6 {
        Ip6(halves(elem.ip))
    }
    fn unpack(self) -> Elem {
        Elem { ip: joined(self.0), ..Elem::default() }
    }
    fn words(&self) -> [u64; 4] {
        [self.0[0], self.0[1], 0, 0]
    }
    fn is(&self, asked: &Ip6) -> bool {
        self.0 == asked.0
    }
}

/// `hash:net` of IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net6([u64; 2], u8);

impl Key for Net6 {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Net6 {
        Net6(halves(elem.ip), elem.cidr)
    }
    fn unpack(self) -> Elem {
        Elem { ip: joined(self.0), cidr: self.1, ..Elem::default() }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Net6 {
        Net6(halves(ip), cidr)
    }
    fn words(&self) -> [u64; 4] {
        [self.0[0], self.0[1], u64::from(self.1), 0]
    }
    fn is(&self, asked: &Net6) -> bool {
        (self.0, self.1) == (asked.0, asked.1)
    }
}

/// Two IPv4 addresses or fewer and whatever else there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide4 {
    ip: u32,
    ip2: u32,
    rest: Rest,
}

/// Two IPv6 addresses or fewer and whatever else there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide6 {
    ip: [u64; 2],
    ip2: [u64; 2],
    rest: Rest,
}

/// All but the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    /// The link address or the mark.
    other: [u16; 3],
    port: u16,
    proto: u8,
    cidr: u8,
    cidr2: u8,
}

impl Rest {
    fn pack(elem: &Elem) -> Rest {
        let other = match elem.mac {
            Some(Mac([a, b, c, d, e, f])) => {
                [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u16::from_be_bytes([e, f])]
            }
            None => [0, (elem.mark >> 16) as u16, elem.mark as u16],
        };
        Rest { other, port: elem.port, proto: elem.proto, cidr: elem.cidr, cidr2: elem.cidr2 }
    }

    fn unpack(self, ip: Addr, ip2: Addr) -> Elem {
        let [[a, b], [c, d], [e, f]] = self.other.map(u16::to_be_bytes);
        Elem {
            ip,
            ip2,
            cidr: self.cidr,
            cidr2: self.cidr2,
            proto: self.proto,
            port: self.port,
            mac: Some(Mac([a, b, c, d, e, f])),
            mark: u32::from(self.other[1]) << 16 | u32::from(self.other[2]),
            ..Elem::default()
        }
    }

    fn words(&self) -> [u64; 2] {
        let [a, b, c] = self.other.map(u64::from);
        let small = [self.proto, self.cidr, self.cidr2].map(u64::from);
        [a << 32 | b << 16 | c, u64::from(self.port) | small[0] << 16 | small[1] << 24 | small[2] << 32]
    }
}

impl Key for Wide4 {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Wide4 {
        Wide4 { ip: elem.ip.as_u32(), ip2: elem.ip2.as_u32(), rest: Rest::pack(elem) }
    }
    fn unpack(self) -> Elem {
        self.rest.unpack(Addr::v4(self.ip), Addr::v4(self.ip2))
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Wide4 {
        Wide4 { ip: ip.as_u32(), rest: Rest { cidr, ..self.rest }, ..self }
    }
    fn with_second_net(self, ip: Addr, cidr2: u8) -> Wide4 {
        Wide4 { ip2: ip.as_u32(), rest: Rest { cidr2, ..self.rest }, ..self }
    }
    fn words(&self) -> [u64; 4] {
        let [a, b] = self.rest.words();
        [u64::from(self.ip) << 32 | u64::from(self.ip2), a, b, 0]
    }
    fn is(&self, asked: &Wide4) -> bool {
        self.ip == asked.ip && self.ip2 == asked.ip2 && self.rest == asked.rest
    }
}

impl Key for Wide6 {
    const WORDS: usize = 4;
    fn pack(elem: &Elem) -> Wide6 {
        Wide6 { ip: halves(elem.ip), ip2: halves(elem.ip2), rest: Rest::pack(elem) }
    }
    fn unpack(self) -> Elem {
        self.rest.unpack(joined(self.ip), joined(self.ip2))
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Wide6 {
        Wide6 { ip: halves(ip), rest: Rest { cidr, ..self.rest }, ..self }
    }
    fn with_second_net(self, ip: Addr, cidr2: u8) -> Wide6 {
        Wide6 { ip2: halves(ip), rest: Rest { cidr2, ..self.rest }, ..self }
    }
    fn words(&self) -> [u64; 4] {
        let [a, b] = self.rest.words();
        let [c, d] = self.ip2;
        [self.ip[0], self.ip[1], a ^ c.rotate_left(17), b ^ d.rotate_left(41)]
    }
    fn is(&self, asked: &Wide6) -> bool {
        self.ip == asked.ip && self.ip2 == asked.ip2 && self.rest == asked.rest
    }
}

/// `hash:net,iface`. The device is not hashed: a device of packets must find the names it begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    ip: [u64; 2],
    name: [u64; 2],
    cidr: u8,
    physdev: bool,
    wildcard: bool,
}

impl Device {
    /// Whether net and kind of device are the same.
    pub(super) fn is_beside(&self, other: &Device) -> bool {
        self.ip == other.ip && self.cidr == other.cidr && self.physdev == other.physdev
    }
}

impl Key for Device {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Device {
        let name = halves(Addr(elem.iface.bits()));
        Device { ip: halves(elem.ip), name, cidr: elem.cidr, physdev: elem.physdev, wildcard: elem.wildcard }
    }
    fn unpack(self) -> Elem {
        Elem {
            ip: joined(self.ip),
            cidr: self.cidr,
            iface: IfName::from_bits(joined(self.name).0),
            physdev: self.physdev,
            wildcard: self.wildcard,
            ..Elem::default()
        }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Device {
        Device { ip: halves(ip), cidr, ..self }
    }
    fn words(&self) -> [u64; 4] {
        [self.ip[0], self.ip[1], u64::from(self.cidr) | u64::from(self.physdev) << 8, 0]
    }
    fn is(&self, asked: &Device) -> bool {
        if !self.is_beside(asked) {
            return false;
        }
        let (mine, theirs) = (joined(self.name).0, joined(asked.name).0);
        if !self.wildcard {
            return mine == theirs;
        }
        let len = 16 - (mine.trailing_zeros() / 8) as usize;
        theirs & IfName::prefix_mask(len) == mine
    }
}

/// In two words, so that keys need no 16-byte alignment.
fn halves(addr: Addr) -> [u64; 2] {
    [(addr.0 >> 64) as u64, addr.0 as u64]
}

fn joined([high, low]: [u64; 2]) -> Addr {
    Addr(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
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
                    assert!(model.remove(&key.0).is_some());
                    table.swap_remove(position);
                }
                Some(_) => assert!(model.contains_key(&key.0)),
                None => {
                    assert!(model.insert(key.0, ()).is_none());
                    table.insert(key);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        for n in 0..0x1000 {
            assert_eq!(table.find(&Ip4::pack(&elem(n))).is_some(), model.contains_key(&n), "{n}");
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

    #[test]
    fn keys_are_small() {
        assert_eq!([size_of::<Ip4>(), size_of::<Net4>(), size_of::<Ip6>()], [4, 8, 16]);
        assert_eq!([size_of::<Wide4>(), size_of::<Wide6>(), size_of::<Device>()], [20, 48, 40]);
    }
}
