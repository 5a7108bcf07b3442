//! Recording: a scenario played on the kernel more than once, its answer kept, its dice learnt.

use std::path::Path;
use std::time::Duration;

use regex_lite::Regex;

use super::compare::{self, Volatile};
use super::kernel::{self, Switch};
use super::scenario::{Outcome, Scenario, put};

/// A 16-bit id that falls equal in two runs would be taken for fixed; three runs make that a matter of no concern.
const RUNS: usize = 3;

/// What a recording found.
#[derive(Debug)]
pub struct Recorded {
    pub outcome: Outcome,
    pub volatile: Volatile,
    pub late: Duration,
    /// Why the recording cannot be trusted; empty when it can.
    pub complaints: Vec<String>,
}

impl Recorded {
    /// One line for a reader, and one for each complaint.
    pub fn line(&self, name: &str) -> String {
        let verdict = if self.complaints.is_empty() { "ok " } else { "BAD" };
        let frames: usize = self.outcome.frames.values().map(Vec::len).sum();
        let (entries, lines) = (self.outcome.conntrack.lines().count(), self.outcome.log.lines().count());
        let late = self.late.as_secs_f64() * 1e3;
        let mut out = format!("{verdict} {name}: {frames} out, {entries} conntrack, {lines} log, late {late:.1} ms");
        let dice = compare::summary(&self.volatile);
        if !dice.is_empty() {
            out += &format!(", dice: {dice}");
        }
        self.complaints.iter().for_each(|c| out += &format!("\n    {c}"));
        out
    }
}

/// Plays the scenario `RUNS` times and writes `expected/`. What cannot be trusted is written too, and complained about.
pub fn record(switch: &Switch, scenario: &Scenario) -> Result<Recorded, String> {
    let recorded = ask(switch, scenario, RUNS)?;
    write(scenario, &recorded)?;
    Ok(recorded)
}

/// Plays the scenario several times and learns from it, without writing anything.
pub fn ask(switch: &Switch, scenario: &Scenario, runs: usize) -> Result<Recorded, String> {
    let arrivals = scenario.arrivals()?;
    let mut volatile = Volatile::default();
    let mut complaints = Vec::new();
    let mut late = Duration::ZERO;
    let mut first: Option<Outcome> = None;
    for _ in 0..runs.max(1) {
        let played = kernel::play(
            switch,
            &scenario.host,
            &scenario.rules4,
            scenario.rules6.as_deref(),
            scenario.sets.as_deref(),
            &arrivals,
        )?;
        late = late.max(played.late);
        match &first {
            None => first = Some(played.outcome),
            Some(one) if scenario.meta.statistical.is_none() => {
                if let Err(e) = compare::learn(&mut volatile, one, &played.outcome) {
                    complaints.push(format!("the kernel does not agree with itself: {e}"));
                }
            }
            Some(_) => {}
        }
    }
    let outcome = first.unwrap_or_default();
    complaints.extend(scenario.meta.wants.iter().filter_map(|want| unmet(want, &outcome).err()));
    if !scenario.meta.silent && outcome.frames.values().all(Vec::is_empty) {
        complaints.push("no frame came out".into());
    }
    Ok(Recorded { outcome, volatile, late, complaints })
}

/// Writes `expected/`.
pub fn write(scenario: &Scenario, recorded: &Recorded) -> Result<(), String> {
    let expected = scenario.path.join("expected");
    recorded.outcome.save(&expected)?;
    put(&expected.join("kernel.toml"), &kernel::facts()?)?;
    save_volatile(&expected, &recorded.volatile)
}

/// Writes `volatile.json`, each level indented by one space.
pub fn save_volatile(expected: &Path, volatile: &Volatile) -> Result<(), String> {
    let mut out = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, style);
    serde::Serialize::serialize(volatile, &mut writer).map_err(|e| e.to_string())?;
    put(&expected.join("volatile.json"), &format!("{}\n", String::from_utf8_lossy(&out)))
}

/// How the outcome fails an entry of `wants`, if it does.
fn unmet(want: &str, outcome: &Outcome) -> Result<(), String> {
    let bad = || format!("cannot understand the wish `{want}`");
    let at = want.find(['=', '>', '~', '!']).ok_or_else(bad)?;
    let (place, rest) = want.split_at(at);
    let relation = ["!~", ">=", "~", "="].into_iter().find(|r| rest.starts_with(r)).ok_or_else(bad)?;
    let value = &rest[relation.len()..];
    let text = match place {
        "conntrack" => Some(&outcome.conntrack),
        "log" => Some(&outcome.log),
        "rules" => Some(&outcome.rules4),
        "rules6" => outcome.rules6.as_ref(),
        _ => None,
    };
    if relation.ends_with('~') {
        let pattern = Regex::new(&format!("(?m){value}")).map_err(|e| format!("{}: {e}", bad()))?;
        let found = pattern.is_match(text.ok_or_else(bad)?);
        return if found == (relation == "~") { Ok(()) } else { Err(format!("{want} fails")) };
    }
    let n = match (text, outcome.frames.get(place)) {
        (Some(text), _) => text.lines().count(),
        (None, Some(frames)) => frames.len(),
        (None, None) => return Err(bad()),
    };
    let wanted: usize = value.parse().map_err(|_| bad())?;
    let holds = if relation == "=" { n == wanted } else { n >= wanted };
    if holds { Ok(()) } else { Err(format!("{want}, but there are {n}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let outcome = Outcome {
            frames: [("eth0".to_string(), vec![])].into(),
            rules4: "*nat\n[2:80] -A POSTROUTING -j MASQUERADE\n".into(),
            conntrack: "ipv4 one\nipv4 two\n".into(),
            ..Outcome::default()
        };
        for met in ["eth0=0", "eth0>=0", "conntrack=2", "conntrack>=1", "rules~^\\[[1-9]:\\d+\\] -A", "log!~x", "log=0"]
        {
            assert_eq!(unmet(met, &outcome), Ok(()), "{met}");
        }
        for not in
            ["eth0=1", "eth0>=1", "conntrack=3", "rules~DNAT", "conntrack!~two", "eth7=0", "nonsense", "rules6~x"]
        {
            assert!(unmet(not, &outcome).is_err(), "{not}");
        }
    }
}
