//! Seeded dice: the same seed throws the same numbers on every machine (xoshiro256**, seeded by splitmix64).

use std::ops::Range;

#[derive(Debug)]
pub struct Dice([u64; 4]);

impl Dice {
    /// Dice for one scenario: `kind` and both numbers make the seed.
    pub fn new(kind: &str, seed: u64, number: u64) -> Self {
        let mut state = kind.bytes().fold(seed, |s, b| s.wrapping_mul(257).wrapping_add(u64::from(b)));
        state = state.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    pub fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    pub fn within(&mut self, range: Range<u32>) -> u32 {
        range.start + self.below((range.end - range.start) as usize) as u32
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items, which must not be none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of the words, which must not be none.
    pub fn word(&mut self, items: &[&str]) -> String {
        self.pick(items).to_string()
    }

    /// An index, each as often as its weight says.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (n, w) in weights.iter().enumerate() {
            if left < *w {
                return n;
            }
            left -= w;
        }
        0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same() {
        let throw = |kind: &str, seed, number| {
            let mut d = Dice::new(kind, seed, number);
            [d.bits(), d.bits(), d.bits()]
        };
        assert_eq!(throw("4", 1, 2), throw("4", 1, 2));
        assert_ne!(throw("4", 1, 2), throw("4", 1, 3));
        assert_ne!(throw("4", 1, 2), throw("6", 1, 2));
    }

    #[test]
    fn every_side_comes_up() {
        let mut d = Dice::new("", 7, 7);
        let mut seen = [0; 6];
        (0..600).for_each(|_| seen[d.below(6)] += 1);
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
        let weighted: usize = (0..1000).filter(|_| d.weighted(&[1, 0, 3]) == 2).count();
        assert!((650..850).contains(&weighted), "{weighted}");
        assert!((0..100).all(|_| d.weighted(&[1, 0, 3]) != 1));
    }
}
