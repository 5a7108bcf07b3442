//! Estimators of rates (`net/core/gen_estimator.c`): fed by the target RATEEST, read by the match of that name.

use hairpin_engine::rule::Memory;
use hairpin_engine::time::{HZ, Instant};
use std::any::Any;
use std::collections::BTreeMap;

/// The names of estimators have at most so many bytes; the rest is cut off.
pub(crate) const NAME_MAX: usize = 15;

/// How an estimator measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// It looks every quarter of a second times two to the power of this, 0..=5.
    pub(crate) interval_log: u8,
    /// A new look counts one part in two to the power of this, 1..=30.
    pub(crate) ewma_log: u8,
}

/// A moving average of bytes and packets per second.
#[derive(Clone, Debug)]
struct Estimator {
    pace: Pace,
    /// The jiffy of the next look.
    next: u64,
    bytes: u64,
    packets: u64,
    /// The averages, times 256.
    avg_bytes: u64,
    avg_packets: u64,
}

/// A rate as it was estimated last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Bytes a second.
    pub(crate) bytes: u32,
    /// Packets a second.
    pub(crate) packets: u32,
}

/// All estimators of a family, by name.
#[derive(Debug, Default)]
pub(crate) struct Estimators(BTreeMap<String, Estimator>);

impl Estimators {
    /// The memory that all rules share.
    pub(crate) fn memory(self) -> Memory {
        let (kind, name) = ("rateest", String::new());
        Memory::Shared { kind, by_family: false, name, first: Box::new(self), join: Estimators::join }
    }

    /// Takes over an estimator from a rule that was loaded later; one that is there already goes on.
    fn join(all: &mut (dyn Any + Send), new: &(dyn Any + Send)) {
        if let (Some(Estimators(all)), Some(Estimators(new))) = (all.downcast_mut(), new.downcast_ref()) {
            for (name, estimator) in new {
                all.entry(name.clone()).or_insert_with(|| estimator.clone());
            }
        }
    }

    /// With an estimator that begins now.
    pub(crate) fn with(mut self, name: &str, pace: Pace, now: Instant) -> Estimators {
        self.0.insert(name.to_owned(), Estimator::new(pace, now));
        self
    }

    /// Counts a packet of `length` bytes; the estimator begins with it if there was none.
    pub(crate) fn count(&mut self, name: &str, pace: Pace, now: Instant, length: usize) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Estimator::new(pace, now));
        }
        if let Some(estimator) = self.0.get_mut(name) {
            estimator.look(now);
            estimator.bytes += length as u64;
            estimator.packets += 1;
        }
    }

    /// What was estimated last; nothing for a name that no target has.
    pub(crate) fn rate(&mut self, name: &str, now: Instant) -> Rate {
        let Some(estimator) = self.0.get_mut(name) else { return Rate::default() };
        estimator.look(now);
        Rate { bytes: (estimator.avg_bytes >> 8) as u32, packets: (estimator.avg_packets >> 8) as u32 }
    }
}

impl Estimator {
    fn new(pace: Pace, now: Instant) -> Estimator {
        let next = now.jiffies() + pace.jiffies();
        Estimator { pace, next, bytes: 0, packets: 0, avg_bytes: 0, avg_packets: 0 }
    }

    /// Makes up for the looks that were due until now. What was counted belongs to the first of them.
    fn look(&mut self, now: Instant) {
        let (jiffy, step) = (now.jiffies(), self.pace.jiffies());
        while self.next <= jiffy {
            let ewma = self.pace.ewma_log;
            let average = |average: &mut u64, count: &mut u64| {
                let fresh = (*count << (10 - self.pace.interval_log)) >> ewma;
                *average = average.wrapping_add(fresh).wrapping_sub(*average >> ewma);
                *count = 0;
            };
            let before = (self.avg_bytes, self.avg_packets);
            average(&mut self.avg_bytes, &mut self.bytes);
            average(&mut self.avg_packets, &mut self.packets);
            self.next += step;
            if before == (self.avg_bytes, self.avg_packets) && self.next <= jiffy {
                // Nothing changes any more however long it was quiet.
                self.next += (jiffy - self.next) / step * step + step;
            }
        }
    }
}

impl Pace {
    const fn jiffies(self) -> u64 {
        (HZ / 4) << self.interval_log
    }

    /// One number for each pace.
    pub(crate) fn form(self) -> u32 {
        u32::from(self.interval_log) << 8 | u32::from(self.ewma_log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval_log: 0, ewma_log: 1 };

    /// The kernel's quarter of a second, which is 62 jiffies and so 2 ms short.
    fn at(quarters: u64) -> Instant {
        Instant::from_jiffies(quarters * 62)
    }

    #[test]
    fn an_even_stream_is_measured() {
        let mut all = Estimators::default().with("a", PACE, at(0));
        for quarter in 0..40 {
            for _ in 0..5 {
                all.count("a", PACE, at(quarter), 100);
            }
        }
        let rate = all.rate("a", at(39));
        assert!((1990..=2000).contains(&rate.bytes) && (19..=20).contains(&rate.packets), "{rate:?}");
        assert_eq!(all.rate("b", at(39)), Rate::default());
    }

    #[test]
    fn silence_wears_it_off() {
        let mut all = Estimators::default().with("a", PACE, at(0));
        all.count("a", PACE, at(0), 1000);
        assert_eq!(all.rate("a", Instant(at(1).0 - 1)), Rate::default());
        assert_eq!(all.rate("a", at(1)).bytes, 2000);
        assert_eq!(all.rate("a", at(2)).bytes, 1000);
        assert_eq!(all.rate("a", at(1_000_000_000)).bytes, 0);
    }
}
