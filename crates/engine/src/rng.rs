//! Chance, from a seed: the same seed gives the same choices, and who does not know it cannot guess them.

use siphasher::sip::SipHasher13;
use std::cell::Cell;
use std::hash::Hasher;

/// A stream of random numbers: SipHash-1-3 of a counter under a secret key.
#[derive(Clone, Debug)]
pub struct Rng {
    key: (u64, u64),
    counter: Cell<u64>,
}

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng { key: (seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15), counter: Cell::new(0) }
    }

    /// 64 random bits.
    pub fn next_u64(&self) -> u64 {
        let n = self.counter.get();
        self.counter.set(n.wrapping_add(1));
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(n);
        hasher.finish()
    }

    /// 32 random bits.
    pub fn next_u32(&self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number below `limit`; 0 when the limit is 0.
    pub fn below(&self, limit: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(limit)) >> 32) as u32
    }

    /// A key for one purpose, always the same: no number of the stream is used up.
    pub fn key_for(&self, purpose: &str) -> (u64, u64) {
        let half = |which: u8| {
            let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
            hasher.write(purpose.as_bytes());
            hasher.write_u8(which);
            hasher.finish()
        };
        (half(0), half(1))
    }

    /// A key for a hash table, different at each call.
    pub fn key(&self) -> (u64, u64) {
        (self.next_u64(), self.next_u64())
    }
}
