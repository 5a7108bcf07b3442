//! `-m statistic`: every nth packet, or packets by chance.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Memory};
use hairpin_engine::time::Now;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "statistic",
    aliases: &[],
    families: Families::Both,
    about: "some of the packets, by chance or by count",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("mode", &["random|nth"], "by chance or by count").required(),
        Opt::new("probability", &["p"], "how likely, 0 to 1 (random)").inverts().excludes(&["every", "packet"]),
        Opt::new("every", &["n"], "one of n packets (nth)").inverts().needs(&["packet"]).excludes(&["probability"]),
        Opt::new("packet", &["p"], "which of the n, from 0 (nth)").needs(&["every"]).excludes(&["probability"]),
    ],
    build,
    cases: &[
        Case::Fails("--mode nth --probability 0.5 --packet 3", "cannot be used together"),
        Case::Same("--mode random --probability 1.00000000000"),
        Case::Same("--mode random ! --probability 0.50000000000"),
        Case::Saves("--mode random --probability 0.33", "--mode random --probability 0.33000000007"),
        Case::Saves("--mode random --probability 1e-1", "--mode random --probability 0.10000000009"),
        Case::Same("--mode nth --every 3 --packet 0"),
        Case::Same("--mode nth ! --every 5 --packet 4"),
        Case::Fails("", "--probability must be specified when using random mode"),
        Case::Fails("--probability 0.5", "option \"--mode\" must be specified"),
        Case::Fails("--mode foo", "Bad mode \"foo\""),
        Case::Fails("--mode random", "--probability must be specified when using random mode"),
        Case::Fails("--mode nth", "--every and --packet must be specified when using nth mode"),
        Case::Fails("--mode random --probability 1.1", "out of range (0-1)"),
        Case::Fails("--mode nth --every 5", "requires \"--packet\""),
        Case::Fails("--mode nth --every 5 --packet 5", "the --packet p must be 0 <= p <= n-1"),
        Case::Fails("--mode nth --every 0 --packet 0", "out of range (1-4294967295)"),
    ],
};

#[derive(Debug)]
struct Statistic {
    mode: Mode,
    inverted: bool,
}

#[derive(Debug)]
enum Mode {
    /// The packet fits when 31 random bits are below this.
    Random(u32),
    Nth {
        every: u32,
        packet: u32,
    },
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let inverted = parsed.given.iter().any(|given| given.inverted);
    // Also the values that the mode does not use must be good ones.
    parsed.get("probability").map(|given| value::float(parsed, given, 0, 1)).transpose()?;
    parsed.get("every").map(|given| value::number(parsed, given, 1, u64::from(u32::MAX))).transpose()?;
    parsed.get("packet").map(|given| value::number_u32(parsed, given)).transpose()?;
    let mode = match parsed.get("mode").map(|given| given.value()) {
        Some("random") | None => Mode::Random(parse_random(parsed)?),
        Some("nth") => parse_nth(parsed)?,
        Some(other) => return Err(SyntaxError::parameter(format!("Bad mode \"{other}\"")).at(other)),
    };
    check_packet(parsed)?;
    Ok(Arc::new(Statistic { mode, inverted }))
}

fn parse_random(parsed: &Parsed<'_>) -> Result<u32, SyntaxError> {
    let Some(given) = parsed.get("probability") else {
        return Err(SyntaxError::parameter("--probability must be specified when using random mode"));
    };
    Ok((value::float(parsed, given, 0, 1)? * CERTAIN).round() as u32)
}

fn parse_nth(parsed: &Parsed<'_>) -> Result<Mode, SyntaxError> {
    if !parsed.has("every") && !parsed.has("packet") {
        return Err(SyntaxError::parameter("--every and --packet must be specified when using nth mode"));
    }
    let number = |name: &str, min: u64, default: u32| match parsed.get(name) {
        Some(given) => value::number(parsed, given, min, u64::from(u32::MAX)).map(|n| n as u32),
        None => Ok(default),
    };
    Ok(Mode::Nth { every: number("every", 1, 1)?, packet: number("packet", 0, 0)? })
}

/// Whether `--packet` is one of those that `--every` counts. iptables keeps `--probability` in the place of `--every`, and looks at what
/// came last of the two before it refuses them together.
fn check_packet(parsed: &Parsed<'_>) -> Result<(), SyntaxError> {
    let Some(packet) = parsed.get("packet") else { return Ok(()) };
    let last = parsed.given.iter().rfind(|given| matches!(given.option.name, "every" | "probability"));
    let most = match last {
        None => 0,
        Some(given) if given.option.name == "every" => value::number(parsed, given, 1, u64::from(u32::MAX))? - 1,
        Some(given) => (value::float(parsed, given, 0, 1)? * CERTAIN).round() as u64,
    };
    if u64::from(value::number_u32(parsed, packet)?) > most {
        return Err(SyntaxError::parameter("the --packet p must be 0 <= p <= n-1"));
    }
    Ok(())
}

/// How many packets of the current round were seen.
#[derive(Debug)]
struct Round(u32);

impl Match for Statistic {
    fn name(&self) -> &'static str {
        "statistic"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let hit = match self.mode {
            Mode::Random(below) => look.random() & 0x7fff_ffff < below,
            Mode::Nth { every, .. } => {
                let Some(mut round) = look.memory::<Round>() else { return false };
                round.0 = if round.0 == every - 1 { 0 } else { round.0 + 1 };
                round.0 == 0
            }
        };
        hit != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" statistic")?;
        self.write(f, "")
    }

    fn memory(&self, _now: &Now) -> Memory {
        match self.mode {
            Mode::Random(_) => Memory::None,
            Mode::Nth { every, packet } => Memory::Own(Box::new(Round(every - 1 - packet))),
        }
    }

    fn keep(&self, memory: &(dyn Any + Send), _now: &Now) -> Vec<u64> {
        memory.downcast_ref::<Round>().map_or(Vec::new(), |round| vec![u64::from(round.0)])
    }

    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], _now: &Now) {
        if let (Mode::Nth { every, .. }, Some(round), &[seen]) = (&self.mode, memory.downcast_mut::<Round>(), kept) {
            round.0 = u32::try_from(seen).unwrap_or(0) % every;
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Statistic {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        let not = if self.inverted { " !" } else { "" };
        match self.mode {
            Mode::Random(below) => {
                let probability = f64::from(below) / CERTAIN;
                write!(f, " {dashes}mode random{not} {dashes}probability {probability:.11}")
            }
            Mode::Nth { every, packet } => {
                write!(f, " {dashes}mode nth{not} {dashes}every {every}")?;
                // Listing leaves out the packet when it is the first.
                if packet != 0 || !dashes.is_empty() { write!(f, " {dashes}packet {packet}") } else { Ok(()) }
            }
        }
    }
}

/// The probability 1.
const CERTAIN: f64 = 2_147_483_648.0;

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, load, probe, udp};

    fn hits(rule: &str, count: usize) -> Vec<usize> {
        let mut probe = probe(udp(1, 2));
        let loaded = load(&mut probe, rule);
        (0..count).filter(|_| probe.ask(&loaded) == Answer::Yes).collect()
    }

    #[test]
    fn nth_counts_from_its_packet() {
        assert_eq!(hits("-m statistic --mode nth --every 3 --packet 0", 8), [0, 3, 6]);
        assert_eq!(hits("-m statistic --mode nth --every 3 --packet 2", 8), [2, 5]);
        assert_eq!(hits("-m statistic --mode nth ! --every 3 --packet 1", 6), [0, 2, 3, 5]);
        assert_eq!(hits("-m statistic --mode nth --every 1 --packet 0", 3), [0, 1, 2]);
    }

    #[test]
    fn chance() {
        assert_eq!(hits("-m statistic --mode random --probability 1", 1000).len(), 1000);
        assert_eq!(hits("-m statistic --mode random --probability 0", 1000).len(), 0);
        assert!((200..400).contains(&hits("-m statistic --mode random --probability 0.3", 1000).len()));
        assert!((600..800).contains(&hits("-m statistic --mode random ! --probability 0.3", 1000).len()));
    }
}
