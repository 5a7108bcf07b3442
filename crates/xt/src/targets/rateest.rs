//! `-j RATEEST`: measure the rate of the packets that come here, for the match of that name.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::rateest::{Estimators, NAME_MAX, Pace};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Memory, Shared, SharedKind, Target, Verdict};
use hairpin_engine::{Edit, Now};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "RATEEST",
    families: Families::Both,
    about: "measure the rate of the packets that come here",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("rateest-name", &["name"], "the estimator's name"),
        Opt::new("rateest-interval", &["time"], "how often to look: 250ms to 8s"),
        Opt::new("rateest-ewmalog", &["time"], "over what time to average"),
    ],
    build,
    cases: &[
        Case::Same("--rateest-name RE1 --rateest-interval 250.0ms --rateest-ewmalog 500.0ms"),
        Case::Saves(
            "--rateest-name RE2 --rateest-interval 300ms --rateest-ewmalog 5s",
            "--rateest-name RE2 --rateest-interval 500.0ms --rateest-ewmalog 8.0s",
        ),
        Case::Saves(
            "--rateest-name a --rateest-interval 300000us --rateest-ewmalog 2sec",
            "--rateest-name a --rateest-interval 500.0ms --rateest-ewmalog 2.0s",
        ),
        Case::Saves(
            "--rateest-name a --rateest-interval 1s --rateest-ewmalog 1000s",
            "--rateest-name a --rateest-interval 1.0s --rateest-ewmalog 512.0s",
        ),
        Case::Fails("--rateest-name a --rateest-interval 9s --rateest-ewmalog 16s", "interval value is too large"),
        Case::Fails("--rateest-name a --rateest-interval 250ms --rateest-ewmalog 250ms", "ewmalog value is out of range"),
        Case::Fails("--rateest-name a --rateest-interval 1x --rateest-ewmalog 2s", "bad interval value \"1x\""),
        Case::Saves(
            "--rateest-name d --rateest-interval 1e3 --rateest-ewmalog 500ms",
            "--rateest-name d --rateest-interval 250.0ms --rateest-ewmalog 64.0s",
        ),
        Case::Saves(
            "--rateest-name j --rateest-interval +250ms --rateest-ewmalog \" 2s\"",
            "--rateest-name j --rateest-interval 250.0ms --rateest-ewmalog 2.0s",
        ),
        Case::Fails("--rateest-name a --rateest-interval 1e --rateest-ewmalog 2s", "bad interval value \"1e\""),
        Case::Fails("--rateest-name a --rateest-interval -1s --rateest-ewmalog 2s", "interval value is too large"),
        Case::Fails("--rateest-name a --rateest-interval nan --rateest-ewmalog 2s", "ewmalog value is out of range"),
        Case::Fails("--rateest-name a --rateest-interval inf --rateest-ewmalog 2s", "ewmalog value is out of range"),
        Case::Fails("--rateest-interval 1s --rateest-ewmalog 2s", "\"--rateest-name\" must be specified"),
        Case::Fails("", "ewmalog value is out of range"),
    ],
};

/// Microseconds in a quarter of a second, the shortest interval.
const QUARTER: u32 = 250_000;

#[derive(Debug)]
struct RateEst {
    name: String,
    pace: Pace,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let micros = |option: &str, word: &str| {
        parsed.get(option).map_or(Ok(0), |given| {
            time(given).ok_or_else(|| {
                SyntaxError::parameter(format!("RATEEST: bad {word} value \"{}\"", given.value())).at(given.value())
            })
        })
    };
    let interval = micros("rateest-interval", "interval")?;
    let window = micros("rateest-ewmalog", "ewmalog")?;
    let Some(interval_log) = (0..=5).find(|log| interval <= QUARTER << log) else {
        return Err(SyntaxError::parameter("RATEEST: interval value is too large"));
    };
    // The largest power of two whose average forgets within the window. It goes by the interval as typed, not as rounded.
    let forgets = |log: &i32| f64::from(interval) / -(1.0 - f64::from(-log).exp2()).ln() > f64::from(window);
    let ewma_log = (1..32).find(forgets).unwrap_or(32) - 1;
    if !(1..31).contains(&ewma_log) {
        return Err(SyntaxError::parameter("RATEEST: ewmalog value is out of range"));
    }
    let name = parsed.required("rateest-name")?;
    let name = value::cut(name.value(), NAME_MAX).to_owned();
    Ok(Arc::new(RateEst { name, pace: Pace { interval_log, ewma_log: ewma_log as u8 } }))
}

/// A time with its unit in microseconds; without a unit it is in microseconds.
fn time(given: &Given) -> Option<u32> {
    let (number, unit) = value::split_float(given.value())?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" => 1e6,
        "ms" | "msec" | "msecs" => 1e3,
        "" | "us" | "usec" | "usecs" => 1.0,
        _ => return None,
    };
    Some(value::low_bits(number * scale))
}

fn save_time(f: &mut fmt::Formatter<'_>, micros: u64) -> fmt::Result {
    match micros as f64 {
        n if n >= 1e6 => write!(f, "{:.1}s", n / 1e6),
        n if n >= 1e3 => write!(f, "{:.1}ms", n / 1e3),
        n => write!(f, "{n}us"),
    }
}

impl Target for RateEst {
    fn name(&self) -> &'static str {
        "RATEEST"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let (now, length) = (look.now().mono, look.length());
        if let Some(mut estimators) = look.memory::<Estimators>() {
            estimators.count(&self.name, self.pace, now, length);
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--rateest-")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        self.write(f, "")
    }

    fn shares(&self) -> Option<Shared<'_>> {
        Some(Shared { kind: SharedKind::Estimator, name: &self.name, form: self.pace.form() })
    }

    fn memory(&self, now: &Now) -> Memory {
        Estimators::default().with(&self.name, self.pace, now.mono).memory()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl RateEst {
    fn write(&self, f: &mut fmt::Formatter<'_>, before: &str) -> fmt::Result {
        let interval = u64::from(QUARTER) << self.pace.interval_log;
        write!(f, " {before}name {} {before}interval ", self.name)?;
        save_time(f, interval)?;
        write!(f, " {before}ewmalog ")?;
        // 32 bits, as iptables reckons.
        save_time(f, u64::from((interval << self.pace.ewma_log) as u32))
    }
}
