//! Time as the engine knows it: a value that comes in with each call. Nothing in this crate reads a clock.

use std::ops::Add;

/// Timer interrupts per second of the kernel that is imitated. Rate limits, `recent` stamps and connection time-outs count in
/// these steps (`CONFIG_HZ=250`, Debian's and most distributions' choice).
pub const HZ: u64 = 250;

const NANOS: u64 = 1_000_000_000;
const NANOS_PER_JIFFY: u64 = NANOS / HZ;

/// A point of monotonic time in nanoseconds since a start that the caller chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `secs` seconds after the start.
    pub const fn from_secs(secs: u64) -> Instant {
        Instant(secs.saturating_mul(NANOS))
    }

    /// The instant at which jiffy `n` begins.
    pub const fn from_jiffies(n: u64) -> Instant {
        Instant(n.saturating_mul(NANOS_PER_JIFFY))
    }

    /// Whole jiffies since the start.
    pub const fn jiffies(self) -> u64 {
        self.0 / NANOS_PER_JIFFY
    }

    /// Nanoseconds from `earlier` to here; 0 when `earlier` is later.
    pub const fn since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<std::time::Duration> for Instant {
    type Output = Instant;
    fn add(self, d: std::time::Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point of calendar time in nanoseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

impl Wall {
    /// Whole seconds since 1970.
    pub const fn secs(self) -> u64 {
        self.0 / NANOS
    }
}

/// What time it is: for time-outs and rates, and for the calendar (`-m time`, time stamps).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Instant,
    /// Calendar time.
    pub wall: Wall,
}

impl Now {
    /// Both clocks from one count of nanoseconds since 1970, as a capture carries it.
    pub const fn from_unix_nanos(nanos: u64) -> Now {
        Now { mono: Instant(nanos), wall: Wall(nanos) }
    }
}

impl Now {
    /// The time of day at a jiffy of the monotonic clock, in milliseconds since 1970: what is kept over a restart.
    pub fn wall_ms_of(&self, jiffies: u64) -> u64 {
        let ahead = jiffies.wrapping_sub(self.mono.jiffies()) as i64;
        let ms = ahead.saturating_mul((NANOS_PER_JIFFY / 1_000_000) as i64);
        (self.wall.0 / 1_000_000).saturating_add_signed(ms)
    }

    /// The jiffy of the monotonic clock at a time of day, the other way around. Jiffies wrap: it may be before the start.
    pub const fn jiffies_of(&self, wall_ms: u64) -> u64 {
        let ahead = wall_ms as i64 - (self.wall.0 / 1_000_000) as i64;
        self.mono.jiffies().wrapping_add((ahead / (NANOS_PER_JIFFY / 1_000_000) as i64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jiffy_is_four_milliseconds() {
        assert_eq!(Instant(3_999_999).jiffies(), 0);
        assert_eq!(Instant(4_000_000).jiffies(), 1);
        assert_eq!(Instant::from_secs(1).jiffies(), HZ);
        assert_eq!(Instant::from_jiffies(HZ), Instant::from_secs(1));
    }
}
