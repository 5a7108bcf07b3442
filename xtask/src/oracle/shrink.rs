//! Making a scenario smaller while the program still differs from the kernel in it, in the same way.

use std::mem::discriminant;
use std::path::Path;

use super::compare::{Area, Difference};
use super::kernel::Switch;
use super::program::{Program, Scratch, Verdict};
use super::record;
use super::scenario::{self, Arrival, Host, Scenario};

/// A scenario in memory, to be cut.
#[derive(Debug, Clone)]
struct Cut {
    host: Host,
    rules4: Vec<String>,
    rules6: Option<Vec<String>>,
    arrivals: Vec<Arrival>,
    about: String,
}

/// Writes to `out` the smallest scenario found in which the program differs as it does in the one at `path`.
pub fn shrink(path: &Path, out: &Path, program: &Program, switch: &Switch) -> Result<Verdict, String> {
    let scenario = Scenario::load(path)?;
    let mut best = Cut {
        host: scenario.host.clone(),
        rules4: scenario.rules4.lines().map(str::to_string).collect(),
        rules6: scenario.rules6.as_ref().map(|r| r.lines().map(str::to_string).collect()),
        arrivals: scenario.arrivals()?,
        about: scenario.meta.about.clone(),
    };
    let found = hold(&best, out, program, switch)?.differences;
    // Of several differences the first tells what this is about; the others mostly follow from it. But not from a rule
    // that is only written otherwise.
    let wanted = found.iter().find(|d| d.area != Area::RuleText).or(found.first());
    let Some(wanted) = wanted else { return Err("the program agrees with the kernel here".into()) };
    let scratch = Scratch::new()?;
    let try_at = scratch.0.join("try");
    let mut differs = |cut: &Cut| {
        hold(cut, &try_at, program, switch).is_ok_and(|v| v.differences.iter().any(|d| same_kind(d, wanted)))
    };
    // What is dropped first makes the later tries faster. Twice, since less traffic needs fewer rules and the reverse.
    for _ in 0..2 {
        without(&mut best, |c| &mut c.arrivals, |_| true, &mut differs);
        without(&mut best, |c| &mut c.rules4, |l| is_rule(l), &mut differs);
        if best.rules6.is_some() {
            without(&mut best, |c| c.rules6.get_or_insert_default(), |l| is_rule(l), &mut differs);
        }
    }
    without(&mut best, |c| &mut c.rules4, |l| is_chain(l), &mut differs);
    without_empty_tables(&mut best, |c| &mut c.rules4, &mut differs);
    if best.rules6.is_some() {
        without(&mut best, |c| c.rules6.get_or_insert_default(), |l| is_chain(l), &mut differs);
        without_empty_tables(&mut best, |c| c.rules6.get_or_insert_default(), &mut differs);
    }
    let keys: Vec<String> = best.host.sysctl.keys().cloned().collect();
    // With a limit of ICMP errors back in force, errors would be missing for another reason.
    for key in keys.iter().filter(|k| !k.contains("ratelimit")) {
        let mut less = best.clone();
        less.host.sysctl.remove(key);
        if differs(&less) {
            best = less;
        }
    }
    without(&mut best, |c| &mut c.host.rule, |_| true, &mut differs);
    without(&mut best, |c| &mut c.host.route, |_| true, &mut differs);
    // In IPv6 a neighbor that is not known is asked for, which rules would count.
    let is_v6 = |n: &scenario::Neighbor| n.address.contains(':');
    without(&mut best, |c| &mut c.host.neighbor, |n| !is_v6(n), &mut differs);
    without(&mut best, |c| &mut c.host.interface, |_| true, &mut differs);
    hold(&best, out, program, switch)
}

/// Records a scenario at `path` and holds the program against it. An error when the kernel does not agree with itself.
fn hold(cut: &Cut, path: &Path, program: &Program, switch: &Switch) -> Result<Verdict, String> {
    let text = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let rules6 = cut.rules6.as_deref().map(text);
    scenario::save(path, &cut.host, &text(&cut.rules4), rules6.as_deref(), &cut.about, &cut.arrivals)?;
    let scenario = Scenario::load(path)?;
    let recorded = record::ask(switch, &scenario, 2)?;
    if let Some(why) = recorded.complaints.first() {
        return Err(why.clone());
    }
    record::write(&scenario, &recorded)?;
    Ok(program.hold(path))
}

fn same_kind(a: &Difference, b: &Difference) -> bool {
    let shape = |d: &Difference| (d.what.contains("is missing"), d.what.contains("should not be there"));
    match (&a.area, &b.area) {
        (Area::Frame { iface: x, .. }, Area::Frame { iface: y, .. }) => x == y && shape(a) == shape(b),
        (x, y) => discriminant(x) == discriminant(y),
    }
}

fn is_rule(line: &str) -> bool {
    line.starts_with("-A") || line.starts_with('[')
}

/// Whether a line makes a user's chain.
fn is_chain(line: &str) -> bool {
    line.starts_with(':') && line.contains(" - ")
}

/// Drops items of a list that may be dropped, in halves, quarters and so on down to single ones, as long as the program
/// still differs.
fn without<T: Clone>(
    best: &mut Cut,
    list: impl Fn(&mut Cut) -> &mut Vec<T>,
    may_go: impl Fn(&T) -> bool,
    differs: &mut impl FnMut(&Cut) -> bool,
) {
    let mut size = list(best).len().div_ceil(2);
    while size > 0 {
        let mut end = list(best).len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut less = best.clone();
            let items = list(&mut less);
            let before = items.len();
            let kept = items[start..end].iter().filter(|i| !may_go(i)).cloned().collect::<Vec<_>>();
            items.splice(start..end, kept);
            if items.len() < before && differs(&less) {
                *best = less;
            }
            end = start;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

/// Drops tables that have no rules.
fn without_empty_tables(
    best: &mut Cut,
    lines: impl Fn(&mut Cut) -> &mut Vec<String>,
    differs: &mut impl FnMut(&Cut) -> bool,
) {
    let tables: Vec<String> = lines(best).iter().filter(|l| l.starts_with('*')).cloned().collect();
    for table in tables {
        let mut less = best.clone();
        let list = lines(&mut less);
        let Some(start) = list.iter().position(|l| *l == table) else { continue };
        let Some(length) = list[start..].iter().position(|l| l == "COMMIT") else { continue };
        if !list[start..start + length].iter().any(|l| is_rule(l)) {
            list.drain(start..=start + length);
            if differs(&less) {
                *best = less;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_left() {
        let rules = ["*filter", ":INPUT ACCEPT [0:0]", "-A INPUT -j a", "-A INPUT -j b", "-A INPUT -j c", "COMMIT"];
        let mut cut = Cut {
            host: Host::default(),
            rules4: [&rules[..], &["*raw", ":OUTPUT ACCEPT [0:0]", "COMMIT"]]
                .concat()
                .iter()
                .map(|l| l.to_string())
                .collect(),
            rules6: None,
            arrivals: (0..37).map(|n| Arrival { micros: n, iface: "eth0".into(), data: vec![] }).collect(),
            about: String::new(),
        };
        let mut differs = |c: &Cut| {
            c.rules4.iter().any(|l| l.ends_with("b"))
                && [5, 6, 30].iter().all(|n| c.arrivals.iter().any(|a| a.micros == *n))
        };
        without(&mut cut, |c| &mut c.arrivals, |_| true, &mut differs);
        without(&mut cut, |c| &mut c.rules4, |l| is_rule(l), &mut differs);
        without_empty_tables(&mut cut, |c| &mut c.rules4, &mut differs);
        assert_eq!(cut.arrivals.iter().map(|a| a.micros).collect::<Vec<_>>(), [5, 6, 30]);
        assert_eq!(cut.rules4, ["*filter", ":INPUT ACCEPT [0:0]", "-A INPUT -j b", "COMMIT"]);
    }
}
