//! A hash index of `u32` numbers: open addressing, linear probing, eight bytes a place.
//!
//! A place holds 32 bits of the key's hash and the number. The upper bits of those 32 say where the entry belongs, so growing and
//! removing never ask for the key again. The index consists of segments that grow each on its own: no insertion waits for more than
//! a small part of the whole to be moved. Nothing is ever iterated except along one probe or one range of hashes.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// An index from hashes to numbers below `u32::MAX`. Equal hashes may occur; the caller compares the keys.
#[derive(Clone, Debug)]
pub(super) struct Index {
    segments: Box<[Segment]>,
}

/// The upper bits of a hash that choose the segment.
const SEGMENT_BITS: u32 = 6;

impl Default for Index {
    fn default() -> Index {
        Index { segments: vec![Segment::default(); 1 << SEGMENT_BITS].into() }
    }
}

impl Index {
    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.segments.iter().map(|segment| segment.places.capacity()).sum();
        places * size_of::<u64>() + size_of_val(&*self.segments)
    }

    /// The numbers entered under this hash, and no others, the oldest first.
    #[inline]
    pub(super) fn get(&self, hash: u32) -> Probe<'_> {
        match self.segments.get(segment_of(hash)) {
            Some(segment) => Probe { places: &segment.places, at: segment.home(hash), hash },
            None => Probe { places: &[], at: 0, hash },
        }
    }

    /// The number at the place where a search for this hash starts: what a caller may touch early to warm the caches.
    #[inline]
    pub(super) fn hint(&self, hash: u32) -> Option<u32> {
        self.home(hash).and_then(|place| number(*place))
    }

    /// The place where a search for this hash starts.
    #[inline]
    pub(super) fn home(&self, hash: u32) -> Option<&u64> {
        let segment = self.segments.get(segment_of(hash))?;
        segment.places.get(segment.home(hash))
    }

    /// Enters a number. Entering it twice under the same hash makes two entries.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        if let Some(segment) = self.segments.get_mut(segment_of(hash)) {
            segment.insert(entry(hash, number));
        }
    }

    /// Takes a number out; false when it was not there.
    pub(super) fn remove(&mut self, hash: u32, number: u32) -> bool {
        self.segments.get_mut(segment_of(hash)).is_some_and(|segment| segment.remove(entry(hash, number)))
    }

    /// Changes the number of an entry in place; false when it was not there.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: u32) -> bool {
        let Some(segment) = self.segments.get_mut(segment_of(hash)) else { return false };
        let Some(at) = segment.position(entry(hash, old)) else { return false };
        segment.set(at, entry(hash, new));
        true
    }

    /// The numbers whose hashes lie in `from..=to`, in no particular order.
    pub(super) fn range(&self, from: u32, to: u32) -> impl Iterator<Item = u32> {
        let segments = self.segments.get(segment_of(from)..=segment_of(to)).unwrap_or_default();
        let last = segments.len().saturating_sub(1);
        segments.iter().enumerate().flat_map(move |(n, segment)| {
            let from = if n == 0 { from } else { 0 };
            let to = if n == last { to } else { u32::MAX };
            // In the segments between, everything is in the range.
            let start = if n == 0 { segment.home(from) } else { 0 };
            let end = if n == last { segment.home(to) } else { segment.places.len() };
            segment.between(start, end).filter(move |place| (from..=to).contains(&hash_of(*place))).filter_map(number)
        })
    }
}

/// A part of an [`Index`] with the entries of a part of the hashes.
#[derive(Clone, Debug, Default)]
struct Segment {
    /// See [`entry`]; 0 for an empty place. The length is a power of two, or 0 as long as nothing was entered.
    places: Vec<u64>,
    len: usize,
    /// 32 minus the binary logarithm of the length.
    shift: u32,
}

const SMALLEST_BITS: u32 = 4;

impl Segment {
    fn insert(&mut self, entry: u64) {
        // At most seven tenths full: a search that fails then looks at six places on average, one cache line.
        if (self.len + 1) * 10 > self.places.len() * 7 {
            self.grow();
        }
        self.put(entry);
        self.len += 1;
    }

    fn remove(&mut self, entry: u64) -> bool {
        let Some(at) = self.position(entry) else { return false };
        self.close_gap(at);
        self.len -= 1;
        true
    }

    fn position(&self, wanted: u64) -> Option<usize> {
        let mut at = self.home(hash_of(wanted));
        loop {
            match self.places.get(at)? {
                0 => return None,
                place if *place == wanted => return Some(at),
                _ => at = (at + 1) & self.mask(),
            }
        }
    }

    /// The entries of which the first searches start at `start` and the last at `end`, and others.
    fn between(&self, start: usize, end: usize) -> impl Iterator<Item = u64> {
        let mask = self.mask();
        // Some may have slipped behind the end, up to the next empty place.
        let inside = end.saturating_sub(start);
        (0..self.places.len())
            .map(move |step| (step, self.places.get((start + step) & mask).copied().unwrap_or(0)))
            .take_while(move |(step, place)| *step <= inside || *place != 0)
            .map(|(_, place)| place)
    }

    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash << SEGMENT_BITS).checked_shr(self.shift).unwrap_or(0) as usize
    }

    fn set(&mut self, at: usize, entry: u64) {
        if let Some(place) = self.places.get_mut(at) {
            *place = entry;
        }
    }

    fn put(&mut self, entry: u64) {
        let mask = self.mask();
        let mut at = self.home(hash_of(entry));
        while let Some(place) = self.places.get_mut(at) {
            if *place == 0 {
                *place = entry;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Moves later entries of the cluster forward, so that no search stops at the hole.
    fn close_gap(&mut self, mut hole: usize) {
        let mask = self.mask();
        let mut at = (hole + 1) & mask;
        while let Some(entry) = self.places.get(at).copied().filter(|entry| *entry != 0) {
            let home = self.home(hash_of(entry));
            // It may move to the hole when the hole is not before its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.set(hole, entry);
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.set(hole, 0);
    }

    fn grow(&mut self) {
        // Slots are 31 bits wide, so a segment's entries never need more places than the hash has bits left.
        let bits = if self.places.is_empty() { SMALLEST_BITS } else { 32 - self.shift + 1 }.min(32 - SEGMENT_BITS);
        let old = std::mem::replace(&mut self.places, vec![0; 1 << bits]);
        self.shift = 32 - bits;
        // From the first gap on, so that entries with equal hashes keep their order even where a cluster goes round the end.
        let gap = old.iter().position(|place| *place == 0).unwrap_or(0);
        let (head, tail) = old.split_at(gap);
        tail.iter().chain(head).filter(|place| **place != 0).for_each(|entry| self.put(*entry));
    }
}

/// A search in an [`Index`].
#[derive(Clone, Debug)]
pub(super) struct Probe<'a> {
    places: &'a [u64],
    at: usize,
    hash: u32,
}

impl Iterator for Probe<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            let place = *self.places.get(self.at)?;
            let found = number(place)?;
            self.at = (self.at + 1) & (self.places.len() - 1);
            if hash_of(place) == self.hash {
                return Some(found);
            }
        }
    }
}

fn segment_of(hash: u32) -> usize {
    (hash >> (32 - SEGMENT_BITS)) as usize
}

/// Hash in the upper half, number plus one in the lower.
fn entry(hash: u32, number: u32) -> u64 {
    (u64::from(hash) << 32) | (u64::from(number) + 1)
}

fn hash_of(place: u64) -> u32 {
    (place >> 32) as u32
}

fn number(place: u64) -> Option<u32> {
    (place as u32).checked_sub(1)
}

/// The key of a hash of tuples, which strangers choose: who does not know it cannot tell which tuples will meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key([u64; 4]);

impl Key {
    pub(super) fn new(secret: (u64, u64)) -> Key {
        Key(std::array::from_fn(|n| {
            let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
            hasher.write_u64(n as u64);
            hasher.finish()
        }))
    }

    /// The hash of two words. Each passes through a multiplication with a factor that depends on the key and on the other.
    #[inline]
    pub(super) fn hash2(&self, a: u64, b: u64) -> u32 {
        let Key([k0, k1, k2, k3]) = self;
        (fold(fold(a ^ k0, b ^ k1) ^ k2, b ^ k3) >> 32) as u32
    }

    /// The hash of five words.
    #[inline]
    pub(super) fn hash5(&self, [a, b, c, d, e]: [u64; 5]) -> u32 {
        let Key([k0, k1, k2, k3]) = self;
        let half = fold(fold(a ^ k0, b ^ k1) ^ k2, fold(c ^ k1, d ^ k2) ^ k3);
        (fold(half ^ k0, e ^ k3) >> 32) as u32
    }
}

/// Both halves of a product, one upon the other: every bit of each factor reaches every bit of it.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Tuples as they come in practice (near each other in every field) are spread like chance.
    #[test]
    fn neighbors_are_spread() {
        for secret in [(0, 0), (1, 2), (u64::MAX, 7)] {
            let key = Key::new(secret);
            let two = |n: u64| key.hash2(0x0a00_0001_0000_0000 | n >> 8, (n & 0xff) << 32 | 17);
            let five = |n: u64| key.hash5([0x2001_0db8 << 32, n >> 8, 0x2001_0db8 << 32, 1, (n & 0xff) << 32 | 17]);
            for hash in [&two as &dyn Fn(u64) -> u32, &five] {
                let mut places = vec![0u32; 1 << 12];
                let mut low = vec![0u32; 1 << 12];
                for n in 0..1 << 16 {
                    places[(hash(n) >> 20) as usize] += 1;
                    low[(hash(n) & 0xfff) as usize] += 1;
                }
                // 16 on average; more than 45 in one place would be a chance of one in a hundred thousand.
                assert!(places.iter().chain(&low).all(|count| *count <= 45), "{:?}", places.iter().max());
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32),
        Remove(usize),
        Replace(usize),
        Range(u32, u32),
    }

    proptest! {
        /// Few hashes, so that clusters and equal hashes abound; those at the upper end of a segment make clusters wrap.
        #[test]
        fn acts_like_a_map(steps in prop::collection::vec(prop_oneof![
            5 => prop_oneof![0u32..8, Just(u32::MAX), (1u32 << 26) - 3..(1 << 26) + 3, any::<u32>()].prop_map(Step::Insert),
            3 => any::<usize>().prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::Replace),
            1 => (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Step::Range(a.min(b), a.max(b))),
        ], 0..200)) {
            let mut index = Index::default();
            // Number to hash and age.
            let mut model: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
            let mut next = 0;
            let pick = |model: &BTreeMap<u32, (u32, u32)>, n: usize| model.iter().nth(n % model.len().max(1)).map(|(k, v)| (*k, *v));
            for step in steps {
                match step {
                    Step::Insert(hash) => {
                        index.insert(hash, next);
                        model.insert(next, (hash, next));
                        next += 1;
                    }
                    Step::Remove(n) => {
                        if let Some((number, (hash, _))) = pick(&model, n) {
                            prop_assert!(index.remove(hash, number));
                            prop_assert!(!index.remove(hash, number));
                            model.remove(&number);
                        }
                    }
                    Step::Replace(n) => {
                        if let Some((number, (hash, age))) = pick(&model, n) {
                            prop_assert!(index.replace(hash, number, next));
                            prop_assert!(!index.replace(hash, number, next));
                            model.remove(&number);
                            model.insert(next, (hash, age));
                            next += 1;
                        }
                    }
                    Step::Range(from, to) => {
                        let mut got: Vec<u32> = index.range(from, to).collect();
                        got.sort_unstable();
                        let want = model.iter().filter(|(_, (h, _))| (from..=to).contains(h)).map(|(n, _)| *n);
                        prop_assert_eq!(got, want.collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(index.segments.iter().map(|segment| segment.len).sum::<usize>(), model.len());
                for (hash, _) in model.values() {
                    let got: Vec<u32> = index.get(*hash).collect();
                    let mut want: Vec<(u32, u32)> =
                        model.iter().filter(|(_, (h, _))| h == hash).map(|(n, (_, age))| (*age, *n)).collect();
                    want.sort_unstable();
                    let want: Vec<u32> = want.into_iter().map(|(_, n)| n).collect();
                    prop_assert_eq!(got, want);
                }
            }
        }
    }
}
