//! A hash table for elements: entries lie one after the other, an index of 32-bit slots leads to them.
//!
//! A slot holds an entry's position and, in the bits that the position does not need, a part of its hash: a look-up that fails
//! rarely touches an entry. Listing walks the entries: their order depends on what was done to the table and nothing else.

use super::elem::Elem;
use crate::net::IfName;
use hairpin_wire::{Addr, Mac};

/// An element as it is stored for one type and family.
pub(super) trait Key: Copy {
    fn pack(elem: &Elem) -> Self;
    fn unpack(self) -> Elem;
    /// How many of the words count.
    const WORDS: usize;
    /// What is hashed.
    fn words(&self) -> [u64; 4];
    /// Whether this entry is the one that `asked` names.
    fn is(&self, asked: &Self) -> bool;
}

#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    entries: Vec<K>,
    index: Vec<u32>,
    seed: u64,
}

const FIRST_SLOTS: usize = 8;

impl<K: Key> Table<K> {
    pub(super) fn new(seed: u64) -> Table<K> {
        Table { entries: Vec::new(), index: vec![0; FIRST_SLOTS], seed }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, position: usize) -> Option<Elem> {
        self.entries.get(position).map(|k| k.unpack())
    }

    /// The bytes it occupies.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<K>() + self.index.capacity() * size_of::<u32>()
    }

    /// The entry that `asked` names.
    pub(super) fn find(&self, asked: &K) -> Option<usize> {
        let hash = self.hash(asked);
        self.walk(hash, |position| self.entries.get(position).is_some_and(|k| k.is(asked)))
            .map(|(_, position)| position)
    }

    /// How many of the entries that share the hash of `asked` are like it in the way given.
    pub(super) fn count_like(&self, asked: &K, is_alike: impl Fn(&K) -> bool) -> usize {
        let mut count = 0;
        self.walk(self.hash(asked), |position| {
            count += usize::from(self.entries.get(position).is_some_and(&is_alike));
            false
        });
        count
    }

    /// Appends an entry that is not there yet.
    pub(super) fn insert(&mut self, key: K) {
        if (self.entries.len() + 1) * 8 > self.index.len() * 5 {
            self.grow();
        }
        let hash = self.hash(&key);
        if self.entries.len() == self.entries.capacity() {
            // By a quarter: large sets shall not be half empty.
            self.entries.reserve_exact(self.entries.len() / 4 + 4);
        }
        self.entries.push(key);
        self.enter(hash, self.entries.len() - 1);
    }

    /// Takes an entry out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, position: usize) {
        let Some(gone) = self.entries.get(position) else { return };
        if let Some((slot, _)) = self.walk(self.hash(gone), |at| at == position) {
            self.free(slot);
        }
        let last = self.entries.len() - 1;
        if last != position
            && let Some(moved) = self.entries.get(last)
        {
            let hash = self.hash(moved);
            if let Some((slot, _)) = self.walk(hash, |at| at == last) {
                self.index[slot] = self.slot_value(hash, position);
            }
        }
        self.entries.swap_remove(position);
    }

    pub(super) fn clear(&mut self) {
        self.entries = Vec::new();
        self.index = vec![0; FIRST_SLOTS];
    }

    fn grow(&mut self) {
        self.index = vec![0; self.index.len() * 2];
        for position in 0..self.entries.len() {
            self.enter(self.hash(&self.entries[position]), position);
        }
    }

    fn enter(&mut self, hash: u64, position: usize) {
        let mask = self.index.len() - 1;
        let mut slot = hash as usize & mask;
        while self.index[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.index[slot] = self.slot_value(hash, position);
    }

    /// Visits the entries that may have this hash until `is_it` says yes; the slot and the position.
    fn walk(&self, hash: u64, mut is_it: impl FnMut(usize) -> bool) -> Option<(usize, usize)> {
        let mask = self.index.len() - 1;
        let bits = self.bits();
        let tag = self.slot_value(hash, 0) >> bits;
        let mut slot = hash as usize & mask;
        loop {
            let value = *self.index.get(slot)?;
            if value == 0 {
                return None;
            }
            let position = (value as usize & mask) - 1;
            if value >> bits == tag && is_it(position) {
                return Some((slot, position));
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Empties a slot and moves those behind it that would no longer be found.
    fn free(&mut self, slot: usize) {
        let mask = self.index.len() - 1;
        let (mut hole, mut at) = (slot, slot);
        loop {
            at = (at + 1) & mask;
            let value = self.index[at];
            if value == 0 {
                break;
            }
            let position = (value as usize & mask) - 1;
            let home = self.entries.get(position).map_or(at, |k| self.hash(k) as usize & mask);
            // It may move into the hole unless its home lies behind the hole.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = value;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    /// How many bits of a slot the position needs. The position is stored plus one, and there are fewer entries than slots.
    fn bits(&self) -> u32 {
        self.index.len().trailing_zeros()
    }

    fn slot_value(&self, hash: u64, position: usize) -> u32 {
        let tag = ((hash >> 32) as u32).checked_shl(self.bits()).unwrap_or(0);
        tag | (position as u32 + 1)
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
    fn pack(elem: &Elem) -> Net4 {
        Net4(elem.ip.as_u32(), elem.cidr)
    }
    fn unpack(self) -> Elem {
        Elem { ip: Addr::v4(self.0), cidr: self.1, ..Elem::default() }
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

    #[test]
    fn keys_are_small() {
        assert_eq!([size_of::<Ip4>(), size_of::<Net4>(), size_of::<Ip6>()], [4, 8, 16]);
        assert_eq!([size_of::<Wide4>(), size_of::<Wide6>(), size_of::<Device>()], [20, 48, 40]);
    }
}
