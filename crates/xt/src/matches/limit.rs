//! `-m limit`: a token bucket for the rule. Counts credits as the kernel does (`xt_limit.c`), jiffy by jiffy.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Memory, Place, Refused};
use hairpin_engine::time::{HZ, Now};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "limit",
    aliases: &[],
    families: Families::Both,
    about: "at most so many packets in a time, after a burst",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("limit", &["n[/second|minute|hour|day]"], "the average rate; 3/hour if not given"),
        Opt::new("limit-burst", &["number"], "packets that pass at once; 5 if not given"),
    ],
    build,
    cases: &[
        Case::Saves("", "--limit 3/hour"),
        Case::Same("--limit 5/sec"),
        Case::Same("--limit 7/min --limit-burst 10"),
        Case::Saves("--limit 5", "--limit 5/sec"),
        Case::Saves("--limit 9999/s", "--limit 10000/sec"),
        Case::Saves("--limit 1000000/d", "--limit 694/min"),
        Case::Saves("--limit 1/MINUTE --limit-burst 5", "--limit 1/min"),
        Case::Same("--limit 1/day --limit-burst 1"),
        Case::Fails("--limit 10001/s", "Rate too fast \"10001/s\""),
        Case::Saves("--limit 4294977296", "--limit 10000/sec"),
        Case::Fails("--limit 4294967296", "bad rate \"4294967296\"'"),
        Case::Fails("--limit -1", "Rate too fast \"-1\""),
        Case::Fails("--limit 0/s", "bad rate \"0/s\"'"),
        Case::Fails("--limit 5/minutes", "bad rate \"5/minutes\"'"),
        Case::Fails("--limit-burst 10001", "out of range (0-10000)"),
        Case::Fails("! --limit 5/sec", "cannot be inverted"),
    ],
};

#[derive(Debug)]
struct Limit {
    /// The time for one packet in units of 1/10000 second.
    avg: u32,
    burst: u32,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let avg = match parsed.get("limit") {
        Some(given) => parse_rate(given.value())?,
        None => SCALE * 3600 / 3,
    };
    let burst = match parsed.get("limit-burst") {
        Some(given) => value::number(parsed, given, 0, 10_000)? as u32,
        None => DEFAULT_BURST,
    };
    Ok(Arc::new(Limit { avg, burst }))
}

fn parse_rate(text: &str) -> Result<u32, SyntaxError> {
    let bad = || SyntaxError::parameter(format!("bad rate \"{text}\"'")).at(text);
    let unit = match text.split_once('/') {
        Some((_, unit)) => value::time_unit(unit).ok_or_else(bad)?,
        None => 1,
    };
    match (SCALE * unit).checked_div(leading_number(text)) {
        None => Err(bad()),
        Some(0) => Err(SyntaxError::parameter(format!("Rate too fast \"{text}\"")).at(text)),
        Some(avg) => Ok(avg),
    }
}

/// As `atoi` reads a count: the digits at the beginning, and of a larger number the lower 32 bits.
fn leading_number(text: &str) -> u32 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number = match &digits[..end] {
        "" => 0,
        digits => digits.parse().unwrap_or(i64::MAX),
    };
    (if negative { -number } else { number }) as u32
}

/// What is left in the bucket.
#[derive(Debug)]
struct Bucket {
    credit: u32,
    filled_at: u64,
}

impl Match for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let now = look.now().mono.jiffies();
        let Some(mut bucket) = look.memory::<Bucket>() else { return false };
        // 32 bits that wrap, as in the kernel.
        let earned = (now.wrapping_sub(bucket.filled_at) as u32).wrapping_mul(CREDITS_PER_JIFFY);
        let credit = bucket.credit.wrapping_add(earned).min(self.cap());
        bucket.filled_at = now;
        match credit.checked_sub(self.cost()) {
            Some(rest) => {
                bucket.credit = rest;
                true
            }
            None => {
                bucket.credit = credit;
                false
            }
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --limit ")?;
        save_rate(f, self.avg)?;
        if self.burst != DEFAULT_BURST { write!(f, " --limit-burst {}", self.burst) } else { Ok(()) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" limit: avg ")?;
        save_rate(f, self.avg)?;
        write!(f, " burst {}", self.burst)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.burst == 0 || self.cap() < self.cost() {
            let message = format!("xt_limit: Overflow, try lower: {}/{}", self.avg, self.burst);
            return Err(Refused::Range(message));
        }
        Ok(())
    }

    fn memory(&self, now: &Now) -> Memory {
        Memory::Own(Box::new(Bucket { credit: self.cap(), filled_at: now.mono.jiffies() }))
    }

    fn keep(&self, memory: &(dyn Any + Send), now: &Now) -> Vec<u64> {
        let Some(bucket) = memory.downcast_ref::<Bucket>() else { return Vec::new() };
        vec![u64::from(bucket.credit), now.mono.jiffies().saturating_sub(bucket.filled_at)]
    }

    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], now: &Now) {
        if let (Some(bucket), &[credit, age]) = (memory.downcast_mut::<Bucket>(), kept) {
            bucket.credit = u32::try_from(credit).unwrap_or(u32::MAX).min(self.cap());
            bucket.filled_at = now.mono.jiffies().saturating_sub(age);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Limit {
    fn cost(&self) -> u32 {
        credits(self.avg)
    }

    fn cap(&self) -> u32 {
        credits(self.avg.wrapping_mul(self.burst))
    }
}

/// `user2credits`: 32 bits that wrap.
fn credits(time: u32) -> u32 {
    const PER_SECOND: u32 = HZ as u32 * CREDITS_PER_JIFFY;
    if time > u32::MAX / PER_SECOND {
        (time / SCALE).wrapping_mul(PER_SECOND)
    } else {
        time * PER_SECOND / SCALE
    }
}

/// The largest unit that shows the rate well enough, by the front end's own rule.
fn save_rate(f: &mut fmt::Formatter<'_>, avg: u32) -> fmt::Result {
    const UNITS: [(&str, u32); 4] = [("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1)];
    let mut shown = ("day", 86400);
    for (name, seconds) in UNITS.into_iter().skip(1) {
        let ticks = SCALE * seconds;
        if avg > ticks || ticks / avg < ticks % avg {
            break;
        }
        shown = (name, seconds);
    }
    write!(f, "{}/{}", (SCALE * shown.1).checked_div(avg).unwrap_or(0), shown.0)
}

/// Units of [`Limit::avg`] in a second (`XT_LIMIT_SCALE`).
const SCALE: u32 = 10_000;
const DEFAULT_BURST: u32 = 5;
/// The largest power of two with which a day's credits fit 32 bits.
const CREDITS_PER_JIFFY: u32 = {
    let most = u32::MAX / (HZ as u32 * 86400);
    1 << most.ilog2()
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{load, loads, parse, probe, udp};
    use hairpin_engine::Instant;
    use hairpin_engine::probe::{Answer, Loaded, Probe};
    use hairpin_wire::Family;

    /// How many of `count` packets at this jiffy pass.
    fn passed(probe: &mut Probe, loaded: &Loaded<dyn Match>, jiffy: u64, count: usize) -> usize {
        probe.now.mono = Instant::from_jiffies(jiffy);
        (0..count).filter(|_| probe.ask(loaded) == Answer::Yes).count()
    }

    #[test]
    fn burst_then_rate() {
        let mut probe = probe(udp(1, 2));
        let loaded = load(&mut probe, "-m limit --limit 10/sec --limit-burst 3");
        assert_eq!(passed(&mut probe, &loaded, 0, 9), 3);
        assert_eq!(passed(&mut probe, &loaded, 24, 9), 0);
        assert_eq!(passed(&mut probe, &loaded, 25, 9), 1);
        assert_eq!(passed(&mut probe, &loaded, 75, 9), 2);
        assert_eq!(passed(&mut probe, &loaded, 10_000, 9), 3);
    }

    /// 128 credits a jiffy in 32 bits: after 2^25 jiffies without a packet the count starts again.
    #[test]
    fn a_long_silence_earns_nothing() {
        let mut probe = probe(udp(1, 2));
        let loaded = load(&mut probe, "-m limit --limit 1/sec --limit-burst 1");
        assert_eq!(passed(&mut probe, &loaded, 0, 2), 1);
        assert_eq!(passed(&mut probe, &loaded, 1 << 25, 2), 0);
        assert_eq!(passed(&mut probe, &loaded, (1 << 25) + 250, 2), 1);
    }

    #[test]
    fn credits_of_the_kernel() {
        assert_eq!(CREDITS_PER_JIFFY, 128);
        assert_eq!(credits(10_000), 32_000);
        assert_eq!(credits(134_217), 429_494);
        assert_eq!(credits(134_219), 13 * 32_000);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused =
            |rule: &str| matches!(loads(parse(Family::V4, rule).unwrap()), Err(Refused::Range(_)));
        assert!(refused("-m limit --limit-burst 0"));
        assert!(refused("-m limit --limit 1/day"));
        assert!(!refused("-m limit --limit 1/day --limit-burst 1"));
        assert!(!refused("-m limit --limit 1/hour"));
    }
}
