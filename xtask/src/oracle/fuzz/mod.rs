//! Random hosts, rules and traffic: the kernel's answer against hairpin's.
//!
//! The traffic is made against the live kernel, so that answers carry the translated addresses. The frames are then a
//! plain scenario like any other: recorded without that feedback, and compared. The same seed and number give the same
//! scenario as long as the kernel behaves the same; what it chooses at random may come back in an answer.

mod build;
pub mod dice;
mod helped;
mod matches;
mod odd;
mod rules;
mod stage;
mod talks;
mod targets;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use dice::Dice;
use rules::Author;
use stage::Stage;
use world::World;

use super::kernel::{self, Lab, Switch};
use super::program::{Program, Scratch, Verdict};
use super::record::{self, Recorded};
use super::scenario::{self, Host, Scenario};

/// Rules of one table that are tried one by one when the kernel refuses the table, and how many of them may fall.
const REFUSALS: usize = 40;
/// Runs that learn the kernel's dice before hairpin is compared, and those that ask again when it differs.
const RUNS: usize = 2;
const MORE_RUNS: usize = 5;

#[derive(Debug)]
pub struct Settings {
    pub seed: u64,
    pub first: u64,
    pub count: u64,
    pub deep: bool,
    pub family: Family,
    /// Where scenarios go in which hairpin differs.
    pub keep: PathBuf,
    /// Keep the others as well.
    pub keep_all: bool,
    /// Scenarios at a time.
    pub jobs: usize,
    pub coverage: bool,
    /// Matches and targets whose rules are left out.
    pub without: Vec<String>,
    /// How many scenarios may differ before the run counts as failed. They are printed and kept all the same.
    pub allow: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Both,
}

/// What became of one random scenario.
#[derive(Debug)]
enum End {
    Agrees,
    /// The kernel does not say the same every time.
    Unstable(String),
    /// Nothing of interest happened, or the kernel refused the host.
    Useless(String),
    Differs(Verdict),
}

/// Runs the scenarios; whether hairpin agreed in all of them that say anything.
pub fn run(settings: &Settings, program: &Program, switch: &Switch) -> Result<bool, String> {
    std::fs::create_dir_all(&settings.keep).map_err(|e| format!("{}: {e}", settings.keep.display()))?;
    let started = Instant::now();
    let next = AtomicU64::new(settings.first);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= settings.first + settings.count {
                        break;
                    }
                    let (end, hits) = one(settings, program, switch, number);
                    tally.lock().unwrap_or_else(|e| e.into_inner()).add(settings, number, end, hits);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(|e| e.into_inner());
    if settings.coverage {
        tally.print_coverage();
    }
    say!(
        "seed {}: {} of {} random scenarios agree with the kernel ({} unstable, {} of no use), {:.1} s",
        settings.seed,
        tally.agree,
        tally.agree + tally.differ,
        tally.unstable,
        tally.useless,
        started.elapsed().as_secs_f64()
    );
    if tally.agree + tally.differ == 0 {
        say!("no scenario could be compared");
    }
    Ok(tally.differ as u64 <= settings.allow && tally.agree > 0)
}

impl Settings {
    fn kind(&self) -> String {
        let family = match self.family {
            Family::V4 => "4",
            Family::V6 => "6",
            Family::Both => "46",
        };
        format!("{family}{}", if self.deep { "deep" } else { "" })
    }

    fn leaves_out(&self, rule: &str) -> bool {
        let words: Vec<&str> = rule.split_whitespace().collect();
        words.windows(2).any(|w| matches!(w[0], "-m" | "-j") && self.without.iter().any(|name| name == w[1]))
    }

    fn name(&self, number: u64) -> String {
        format!("fuzz{}-{}-{number}", self.kind(), self.seed)
    }
}

#[derive(Debug, Default)]
struct Tally {
    agree: usize,
    differ: usize,
    unstable: usize,
    useless: usize,
    /// Match or target -> rules with it, and rules of these that a packet met.
    coverage: BTreeMap<String, (usize, usize)>,
}

impl Tally {
    fn add(&mut self, settings: &Settings, number: u64, end: End, hits: Coverage) {
        for (word, (rules, hit)) in hits {
            let row = self.coverage.entry(word).or_default();
            row.0 += rules;
            row.1 += hit;
        }
        let name = settings.name(number);
        match end {
            End::Agrees => self.agree += 1,
            End::Unstable(why) => {
                self.unstable += 1;
                say!("-- {name}: unstable: {why}");
            }
            End::Useless(why) => {
                self.useless += 1;
                say!("-- {name}: of no use: {why}");
            }
            End::Differs(verdict) => {
                self.differ += 1;
                say!("FAIL {name} (--seed {} --first {number}), kept in {}", settings.seed, settings.keep.display());
                for d in verdict.differences {
                    say!("     {}", d.what);
                }
            }
        }
    }

    fn print_coverage(&self) {
        for (word, (rules, hit)) in &self.coverage {
            say!("{word:24} {rules:6} rules, {hit:6} met");
        }
    }
}

type Coverage = BTreeMap<String, (usize, usize)>;

fn one(settings: &Settings, program: &Program, switch: &Switch, number: u64) -> (End, Coverage) {
    let mut hits = Coverage::new();
    let end = make_and_hold(settings, program, switch, number, &mut hits).unwrap_or_else(End::Useless);
    (end, hits)
}

fn make_and_hold(
    settings: &Settings,
    program: &Program,
    switch: &Switch,
    number: u64,
    hits: &mut Coverage,
) -> Result<End, String> {
    let scratch = Scratch::new()?;
    let path = scratch.0.join(settings.name(number));
    make(settings, number, &path)?;
    let scenario = Scenario::load(&path)?;
    let mut recorded = record::ask(switch, &scenario, RUNS)?;
    if !recorded.complaints.is_empty() {
        // Perhaps somebody else on this machine was in the way.
        recorded = record::ask(switch, &scenario, RUNS)?;
    }
    if let Some(why) = recorded.complaints.first() {
        if settings.keep_all {
            record::write(&scenario, &recorded)?;
            copy(&path, &settings.keep.join(settings.name(number)))?;
        }
        return Ok(End::Unstable(why.clone()));
    }
    for rules in [Some(&recorded.outcome.rules4), recorded.outcome.rules6.as_ref()].into_iter().flatten() {
        count_hits(rules, hits);
    }
    if recorded.outcome.frames.values().map(Vec::len).sum::<usize>() < 2 {
        return Ok(End::Useless("fewer than two frames came out".into()));
    }
    record::write(&scenario, &recorded)?;
    let mut verdict = program.hold(&path);
    if !verdict.differences.is_empty() {
        // Perhaps the kernel threw dice that fell equal twice: ask it again.
        let again = record::ask(switch, &scenario, MORE_RUNS)?;
        if let Some(why) = again.complaints.first() {
            return Ok(End::Unstable(why.clone()));
        }
        if let Err(why) = merge(&recorded, &again, &scenario) {
            return Ok(End::Unstable(why));
        }
        verdict = program.hold(&path);
    }
    let end = if verdict.differences.is_empty() { End::Agrees } else { End::Differs(verdict) };
    if settings.keep_all || matches!(end, End::Differs(_)) {
        copy(&path, &settings.keep.join(settings.name(number)))?;
    }
    Ok(end)
}

/// Writes a scenario with everything that both recordings learnt; an error when they contradict each other.
fn merge(one: &Recorded, two: &Recorded, scenario: &Scenario) -> Result<(), String> {
    let mut volatile = one.volatile.clone();
    super::compare::learn(&mut volatile, &one.outcome, &two.outcome)?;
    for (mine, theirs) in [(&mut volatile.conntrack, &two.volatile.conntrack), (&mut volatile.log, &two.volatile.log)] {
        for (key, names) in theirs {
            mine.entry(key.clone()).or_default().extend(names.iter().cloned());
        }
    }
    for (iface, fields) in &two.volatile.frames {
        for (key, names) in fields {
            let row = volatile.frames.entry(iface.clone()).or_default().entry(key.clone()).or_default();
            row.extend(names.iter().cloned());
        }
    }
    record::save_volatile(&scenario.path.join("expected"), &volatile)
}

/// Makes the scenario of a number: a host, its rules, and traffic that the live kernel had a part in.
fn make(settings: &Settings, number: u64, path: &Path) -> Result<(), String> {
    let mut dice = Dice::new(&settings.kind(), settings.seed, number);
    let mut worlds = Vec::new();
    if settings.family != Family::V6 {
        worlds.push(World::v4(&mut dice));
    }
    if settings.family != Family::V4 {
        let links = worlds.first().map(|w| w.ifaces.len());
        worlds.push(World::v6(&mut dice, links));
    }
    let host = match &worlds[..] {
        [one, two] => one.joined(two),
        [one, ..] => one.host.clone(),
        [] => Host::default(),
    };
    let mut rules4 = None;
    let mut rules6 = None;
    for world in &worlds {
        // A line of one family is never taken for one of the other.
        let tag = format!("{}.{}.{number}", if world.v6 { "s" } else { "f" }, settings.seed);
        let text = Author::new(&mut dice, world, tag, settings.deep).text();
        let text: String = text.lines().filter(|l| !settings.leaves_out(l)).map(|l| format!("{l}\n")).collect();
        let settled = kernel::in_own_thread(|| settled(&text, world.v6))?;
        if world.v6 { &mut rules6 } else { &mut rules4 }.replace(settled);
    }
    let rules4 = rules4.unwrap_or_else(|| {
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n".into()
    });
    let arrivals = kernel::in_own_thread(|| {
        let lab = Lab::new(&host, &rules4, rules6.as_deref(), None)?;
        let stage = Stage::new(&mut dice, &worlds, &lab, settings.deep);
        stage.run(|| talks::any(&stage))
    })?;
    let about = format!("Random: seed {}, number {number} ({}).", settings.seed, settings.kind());
    scenario::save(path, &host, &rules4, rules6.as_deref(), &about, &arrivals)
}

/// The rules without those that iptables or the kernel refuses. Runs in a thread that may change its namespace.
fn settled(rules: &str, v6: bool) -> Result<String, String> {
    let _namespace = kernel::new_network()?;
    let program = if v6 { "ip6tables-legacy-restore" } else { "iptables-legacy-restore" };
    let refusal = |lines: &[&str]| kernel::run(&[program, "-c", "-w", "10"], Some(&(lines.join("\n") + "\n"))).err();
    let mut lines: Vec<&str> = rules.lines().collect();
    for _ in 0..REFUSALS {
        let Some(why) = refusal(&lines) else { return Ok(lines.join("\n") + "\n") };
        let at = line_number(&why).filter(|n| (1..=lines.len()).contains(n)).ok_or_else(|| why.clone())? - 1;
        let culprit = match lines[at].strip_prefix("COMMIT") {
            None => at,
            Some(_) => culprit(&lines, at, refusal).ok_or(why)?,
        };
        lines.remove(culprit);
    }
    Err("too many rules are refused".into())
}

/// The rule for which the kernel refuses the table that is committed at line `commit`: the last one of the shortest
/// refused beginning.
fn culprit(lines: &[&str], commit: usize, refusal: impl Fn(&[&str]) -> Option<String>) -> Option<usize> {
    let start = lines[..commit].iter().rposition(|l| l.starts_with('*'))?;
    let first = start + 1 + lines[start + 1..commit].iter().position(|l| !l.starts_with(':'))?;
    let is_refused = |end: usize| refusal(&[&lines[start..end], &["COMMIT"]].concat()).is_some();
    let (mut good, mut bad) = (first, commit);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if is_refused(middle) { bad = middle } else { good = middle }
    }
    is_refused(bad).then_some(bad - 1)
}

/// The line that a message of iptables-restore names ("Error occurred at line: 5", "line 5 failed").
fn line_number(message: &str) -> Option<usize> {
    let (_, rest) = message.rsplit_once("line")?;
    let digits: String = rest.chars().skip_while(|c| matches!(c, ':' | ' ')).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Counts rules with each match and target, and those of them that a packet met.
fn count_hits(rules: &str, hits: &mut Coverage) {
    for line in rules.lines().filter(|l| l.starts_with('[')) {
        let met = usize::from(!line.starts_with("[0:"));
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            if matches!(word, "-m" | "-j" | "-g")
                && let Some(name) = words.next()
            {
                let is_own_chain = name.contains('-') || word == "-g";
                let name = if is_own_chain { "(a chain)".into() } else { format!("{word} {name}") };
                let row = hits.entry(name).or_default();
                row.0 += 1;
                row.1 += met;
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", to.display());
    std::fs::create_dir_all(to).map_err(fail)?;
    for entry in std::fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target).map_err(fail)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_iptables_names() {
        assert_eq!(line_number("bad argument\nError occurred at line: 12\nTry `--help'"), Some(12));
        assert_eq!(line_number("iptables-legacy-restore: line 7 failed"), Some(7));
        assert_eq!(line_number("no memory"), None);
    }

    #[test]
    fn the_culprit_is_found() {
        let lines = ["*raw", "-A x", "COMMIT", "*nat", ":A - [0:0]", "-A ok", "-A bad", "-A ok", "COMMIT"];
        let refusal = |part: &[&str]| part.contains(&"-A bad").then(|| "line 5 failed".to_string());
        assert_eq!(culprit(&lines, 8, refusal), Some(6));
        assert_eq!(culprit(&lines, 8, |_| None), None);
    }

    #[test]
    fn the_same_number_writes_the_same_rules() {
        let write = |number, v6: bool| {
            let mut dice = Dice::new("4", 3, number);
            let world = if v6 { World::v6(&mut dice, None) } else { World::v4(&mut dice) };
            let rules = Author::new(&mut dice, &world, "t".into(), true).text();
            world.host.to_toml() + &rules
        };
        for v6 in [false, true] {
            assert_eq!(write(5, v6), write(5, v6));
            assert_ne!(write(5, v6), write(6, v6));
        }
    }

    #[test]
    fn rules_are_counted_by_what_they_use() {
        let mut hits = Coverage::new();
        count_hits("*filter\n[1:60] -A A -m tcp -j DROP\n[0:0] -A A -m tcp -g in-x1\n", &mut hits);
        assert_eq!(hits["-m tcp"], (2, 1));
        assert_eq!(hits["-j DROP"], (1, 1));
        assert_eq!(hits["(a chain)"], (1, 0));
    }
}
