//! `-m rateest`: how fast packets come to a RATEEST target, compared with a rate or with another target's.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::rateest::{Estimators, NAME_MAX, Rate};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::rule::{Listing, Match, Memory, Place, Refused};
use hairpin_engine::{Look, Now};
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

const NOT_INVERTED: &str = "rateest: rateest can't be inverted";
const BPS_NOT_INVERTED: &str = "rateest: rateest-bps can't be inverted";
const PPS_NOT_INVERTED: &str = "rateest: rateest-pps can't be inverted";
const DELTA_NOT_INVERTED: &str = "rateest: rateest-delta can't be inverted";
const MODE_TWICE: &str = "rateest: can't specify lt/gt/eq twice";

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "rateest",
    aliases: &[],
    families: Families::Both,
    about: "how fast packets come to a RATEEST target",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("rateest1", &["name"], "the estimator")
            .alias(&["rateest"])
            .twice("rateest: can't specify --rateest1 twice")
            .not_inverted(NOT_INVERTED),
        Opt::new("rateest-bps1", &["rate"], "subtract its bytes from this")
            .optional()
            .twice("rateest: can't specify --rateest-bps1 twice")
            .not_inverted(BPS_NOT_INVERTED),
        Opt::new("rateest-pps1", &["packets"], "subtract its packets from this")
            .optional()
            .twice("rateest: can't specify --rateest-pps1 twice")
            .not_inverted(PPS_NOT_INVERTED),
        Opt::new("rateest2", &["name"], "compare with this estimator")
            .twice("rateest: can't specify --rateest2 twice")
            .not_inverted(NOT_INVERTED),
        Opt::new("rateest-bps2", &["rate"], "compare bytes, with this rate")
            .alias(&["rateest-bps"])
            .optional()
            .twice("rateest: can't specify --rateest-bps2 twice")
            .not_inverted(BPS_NOT_INVERTED),
        Opt::new("rateest-pps2", &["packets"], "compare packets, with this rate")
            .alias(&["rateest-pps"])
            .optional()
            .twice("rateest: can't specify --rateest-pps2 twice")
            .not_inverted(PPS_NOT_INVERTED),
        Opt::switch("rateest-delta", "compare what is left of rates")
            .twice("rateest: can't specify --rateest-delta twice")
            .not_inverted(DELTA_NOT_INVERTED),
        Opt::switch("rateest-lt", "it is slower").inverts().twice(MODE_TWICE),
        Opt::switch("rateest-gt", "it is faster").inverts().twice(MODE_TWICE),
        Opt::switch("rateest-eq", "it is as fast").inverts().twice(MODE_TWICE),
    ],
    build,
    cases: &[
        Case::Same("--rateest RE1 --rateest-lt --rateest-bps 8bit"),
        Case::Same("--rateest RE1 ! --rateest-eq --rateest-pps 5"),
        Case::Same("--rateest-delta --rateest RE1 --rateest-bps1 8bit --rateest-gt --rateest-bps2 16bit"),
        Case::Same("--rateest1 RE1 --rateest-lt --rateest-bps --rateest2 RE2"),
        Case::Same("--rateest-delta --rateest1 RE1 --rateest-pps1 0 --rateest-lt --rateest-pps2 42 --rateest2 RE2"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps 5kbit", "--rateest RE1 --rateest-gt --rateest-bps 5000bit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps 1.5gbit", "--rateest RE1 --rateest-gt --rateest-bps 1500Mbit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps 1KiBps", "--rateest RE1 --rateest-gt --rateest-bps 8192bit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps 10mbit", "--rateest RE1 --rateest-gt --rateest-bps 10000Kbit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps \" +5kbit\"", "--rateest RE1 --rateest-gt --rateest-bps 5000bit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps 0x10kbit", "--rateest RE1 --rateest-gt --rateest-bps 16000bit"),
        Case::Saves("--rateest RE1 --rateest-gt --rateest-bps inf", "--rateest RE1 --rateest-gt --rateest-bps 0bit"),
        Case::Fails("--rateest RE1 --rateest-gt --rateest-bps 5x", "could not parse rate `5x'"),
        Case::Fails("--rateest RE1 --rateest-gt --rateest-pps x", "could not parse pps `x'"),
    ],
};

#[derive(Debug, Default)]
struct RateEst {
    first: String,
    /// With another estimator; else with a rate.
    second: Option<String>,
    rates: [Rate; 2],
    by_bytes: bool,
    by_packets: bool,
    delta: bool,
    /// None when none was given, which the kernel refuses.
    mode: Option<Ordering>,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let mut this = RateEst { delta: parsed.has("rateest-delta"), ..RateEst::default() };
    for given in &parsed.given {
        let name = || value::cut(given.value(), NAME_MAX).to_owned();
        let mode = match given.option.name {
            "rateest1" => {
                this.first = name();
                continue;
            }
            "rateest2" => {
                this.second = Some(name());
                continue;
            }
            "rateest-bps1" | "rateest-bps2" => {
                this.by_bytes = true;
                let rate = &mut this.rates[usize::from(given.option.name.ends_with('2'))];
                rate.bytes = if given.words.is_empty() { 0 } else { bytes(given)? };
                continue;
            }
            "rateest-pps1" | "rateest-pps2" => {
                this.by_packets = true;
                let rate = &mut this.rates[usize::from(given.option.name.ends_with('2'))];
                rate.packets = if given.words.is_empty() { 0 } else { packets(given)? };
                continue;
            }
            "rateest-lt" => Ordering::Less,
            "rateest-gt" => Ordering::Greater,
            "rateest-eq" => Ordering::Equal,
            _ => continue,
        };
        this.mode = Some(mode);
        this.inverted |= given.inverted;
    }
    Ok(Arc::new(this))
}

/// A rate with its unit in bytes a second, as tc reads it; without a unit in bits.
fn bytes(given: &Given) -> Result<u32, SyntaxError> {
    // The units in bits.
    const UNITS: &[(&str, f64)] = &[
        ("", 1.0),
        ("bit", 1.0),
        ("kibit", 1024.0),
        ("kbit", 1000.0),
        ("mibit", 1024.0 * 1024.0),
        ("mbit", 1e6),
        ("gibit", 1024.0 * 1024.0 * 1024.0),
        ("gbit", 1e9),
        ("tibit", 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("tbit", 1e12),
        ("bps", 8.0),
        ("kibps", 8.0 * 1024.0),
        ("kbps", 8000.0),
        ("mibps", 8.0 * 1024.0 * 1024.0),
        ("mbps", 8e6),
        ("gibps", 8.0 * 1024.0 * 1024.0 * 1024.0),
        ("gbps", 8e9),
        ("tibps", 8.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("tbps", 8e12),
    ];
    let text = given.value();
    let found = value::split_float(text).and_then(|(number, unit)| {
        let (_, scale) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        Some(number * scale / 8.0)
    });
    // More than 32 bits lose their upper ones, as in iptables.
    found
        .map(value::low_bits)
        .ok_or_else(|| SyntaxError::parameter(format!("rateest: could not parse rate `{text}'")).at(text))
}

fn packets(given: &Given) -> Result<u32, SyntaxError> {
    let text = given.value();
    let number = value::number_within(text, 0, u64::from(u32::MAX));
    number
        .map(|n| n as u32)
        .ok_or_else(|| SyntaxError::parameter(format!("rateest: could not parse pps `{text}'")).at(text))
}

fn save_bytes(f: &mut fmt::Formatter<'_>, bytes: u32) -> fmt::Result {
    match f64::from(bytes) * 8.0 {
        bits if bits >= 1e9 => write!(f, " {:.0}Mbit", bits / 1e6),
        bits if bits >= 1e6 => write!(f, " {:.0}Kbit", bits / 1e3),
        bits => write!(f, " {bits:.0}bit"),
    }
}

impl RateEst {
    /// How it is compared; `before` is what stands before the word.
    fn write_mode(&self, f: &mut fmt::Formatter<'_>, before: &str) -> fmt::Result {
        f.write_str(if self.inverted { " !" } else { "" })?;
        let word = match self.mode {
            Some(Ordering::Less) => "lt",
            Some(Ordering::Greater) => "gt",
            Some(Ordering::Equal) => "eq",
            None => return Ok(()),
        };
        write!(f, " {before}{word}")
    }

    /// What is compared: the rate, or what it leaves of another.
    fn left(&self, of: Rate, rate: Rate) -> Rate {
        if !self.delta {
            return rate;
        }
        Rate { bytes: of.bytes.saturating_sub(rate.bytes), packets: of.packets.saturating_sub(rate.packets) }
    }
}

impl Match for RateEst {
    fn name(&self) -> &'static str {
        "rateest"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let now = look.now().mono;
        let Some(mut estimators) = look.memory::<Estimators>() else { return false };
        let first = self.left(self.rates[0], estimators.rate(&self.first, now));
        let second = match &self.second {
            Some(name) => self.left(self.rates[1], estimators.rate(name, now)),
            None => self.rates[1],
        };
        let bytes = !self.by_bytes || Some(first.bytes.cmp(&second.bytes)) == self.mode;
        let packets = !self.by_packets || Some(first.packets.cmp(&second.packets)) == self.mode;
        (bytes && packets) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_options(f)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        let show_bytes = |f: &mut fmt::Formatter<'_>, bytes| match listing.numeric {
            true => write!(f, " {bytes}"),
            false => save_bytes(f, bytes),
        };
        let [first, second] = self.rates;
        write!(f, " rateest match {}{}", self.first, if self.delta { " delta" } else { "" })?;
        if self.by_bytes {
            f.write_str(" bps")?;
            if self.delta {
                show_bytes(f, first.bytes)?;
            }
            if self.second.is_none() {
                show_bytes(f, second.bytes)?;
                self.write_mode(f, "")?;
            }
        }
        if self.by_packets {
            f.write_str(" pps")?;
            if self.delta {
                write!(f, " {}", first.packets)?;
            }
            if self.second.is_none() {
                self.write_mode(f, "")?;
                write!(f, " {}", second.packets)?;
            }
        }
        let Some(name) = &self.second else { return Ok(()) };
        self.write_mode(f, "")?;
        write!(f, " {name}")?;
        if self.by_bytes {
            f.write_str(" bps")?;
            if self.delta {
                show_bytes(f, second.bytes)?;
            }
        }
        if self.by_packets {
            f.write_str(" pps")?;
            if self.delta {
                write!(f, " {}", second.packets)?;
            }
        }
        Ok(())
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.mode.is_none() || !(self.by_bytes || self.by_packets) {
            return Err(Refused::Invalid("xt_rateest: nothing to compare".to_owned()));
        }
        Ok(())
    }

    fn reads_estimators(&self) -> [Option<&str>; 2] {
        [Some(&self.first), self.second.as_deref()]
    }

    fn memory(&self, _now: &Now) -> Memory {
        Estimators::default().memory()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl RateEst {
    fn write_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.rates;
        let digit = if self.delta { "2" } else { "" };
        let with_rate = self.delta || self.second.is_none();
        if self.delta {
            write!(f, " --rateest-delta")?;
        }
        write!(f, " --rateest{} {}", if self.second.is_some() { "1" } else { "" }, self.first)?;
        if self.by_bytes {
            if self.delta {
                write!(f, " --rateest-bps1")?;
                save_bytes(f, first.bytes)?;
            }
            self.write_mode(f, "--rateest-")?;
            write!(f, " --rateest-bps{digit}")?;
            if with_rate {
                save_bytes(f, second.bytes)?;
            }
        }
        if self.by_packets {
            if self.delta {
                write!(f, " --rateest-pps1 {}", first.packets)?;
            }
            self.write_mode(f, "--rateest-")?;
            write!(f, " --rateest-pps{digit}")?;
            if with_rate {
                write!(f, " {}", second.packets)?;
            }
        }
        match &self.second {
            Some(name) => write!(f, " --rateest2 {name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, load, probe, udp};
    use crate::option::NoNames;
    use crate::testing::parse;
    use crate::testing_targets::target;
    use hairpin_engine::rule::{Listing, Match};
    use hairpin_engine::time::Instant;
    use hairpin_wire::Family;
    use std::fmt;

    /// What `iptables -L` says of a match.
    struct Listed<'a>(&'a dyn Match, bool);

    impl fmt::Display for Listed<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.list(f, &Listing { numeric: self.1, protocol: 0, names: &NoNames })
        }
    }

    #[test]
    fn lists_names_rates_and_mode_in_their_order() {
        for (rule, numeric, plain) in [
            ("--rateest a --rateest-gt --rateest-bps 5kbit", "a bps 625 gt", "a bps 5000bit gt"),
            ("--rateest1 a ! --rateest-lt --rateest-bps --rateest2 b", "a bps ! lt b bps", "a bps ! lt b bps"),
            (
                "--rateest a ! --rateest-eq --rateest-bps 5mbit --rateest-pps 4",
                "a bps 625000 ! eq pps ! eq 4",
                "a bps 5000Kbit ! eq pps ! eq 4",
            ),
            (
                "--rateest-delta --rateest a --rateest-bps1 1gbit --rateest-lt --rateest-pps1 4 --rateest-pps2 5 --rateest-bps2 5kbit",
                "a delta bps 125000000 625 lt pps 4 lt 5",
                "a delta bps 1000Mbit 5000bit lt pps 4 lt 5",
            ),
            (
                "--rateest-delta --rateest1 a --rateest-lt --rateest-pps1 4 --rateest-pps2 5 --rateest2 b",
                "a delta pps 4 lt b pps 5",
                "a delta pps 4 lt b pps 5",
            ),
        ] {
            let built = parse(Family::V4, &format!("-m rateest {rule}")).expect("well formed");
            assert_eq!(Listed(&*built, true).to_string(), format!(" rateest match {numeric}"), "{rule}");
            assert_eq!(Listed(&*built, false).to_string(), format!(" rateest match {plain}"), "{rule}");
        }
    }

    #[test]
    fn reads_what_the_target_measured() {
        let mut probe = probe(udp(1, 2));
        let spec = crate::find_target("RATEEST", Family::V4).expect("listed");
        let text = "--rateest-name a --rateest-interval 250ms --rateest-ewmalog 500ms";
        let feed = target(spec, Family::V4, "", text).expect("well formed");
        let feed = probe.load_target(feed);
        let fast = load(&mut probe, "-m rateest --rateest a --rateest-gt --rateest-pps 10");
        let other = load(&mut probe, "-m rateest --rateest b --rateest-gt --rateest-pps 0");
        assert_eq!(probe.ask(&fast), No);
        for n in 0..40 {
            probe.now.mono = Instant(n * 50_000_000);
            probe.act(&feed);
        }
        assert_eq!((probe.ask(&fast), probe.ask(&other)), (Yes, No));
        probe.now.mono = Instant(10_000_000_000);
        assert_eq!(probe.ask(&fast), No);
    }
}
