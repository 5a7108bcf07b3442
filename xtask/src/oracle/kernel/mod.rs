//! The running kernel, asked: a scenario is played in network namespaces made for it.

mod lab;
mod log;
pub(crate) mod sys;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use lab::{Departure, Lab, run};
pub use log::Switch;

use super::scenario::{self, Arrival, Host, Outcome};
use crate::oracle::pcap::Stamped;

/// How long the router may take to answer the last frame.
const SETTLE: Duration = Duration::from_millis(12);
/// How often a playing that another user of the machine disturbed is done again.
const ATTEMPTS: usize = 5;

/// One playing of a scenario.
#[derive(Debug)]
pub struct Played {
    pub outcome: Outcome,
    /// The most by which a frame was sent after its time.
    pub late: Duration,
}

/// Why the kernel cannot be asked here; `None` when it can.
pub fn obstacle() -> Option<String> {
    if !sys::is_root() {
        return Some("it needs root".into());
    }
    let wanted = [
        ["iptables-legacy", "-V"],
        ["ip6tables-legacy", "-V"],
        ["conntrack", "-V"],
        ["ip", "-V"],
        ["ethtool", "--version"],
    ];
    wanted.iter().find_map(|argv| run(argv, None).err())
}

/// Plays frames at their times on a new router, and tells what came of it.
pub fn play(
    switch: &Switch,
    host: &Host,
    rules4: &str,
    rules6: Option<&str>,
    sets: Option<&str>,
    arrivals: &[Arrival],
) -> Result<Played, String> {
    for _ in 0..ATTEMPTS {
        switch.keep_on();
        let (played, expects_log) = in_own_thread(|| {
            let lab = Lab::new(host, rules4, rules6, sets)?;
            let expects_log = lab.expects_log();
            Ok((play_in(lab, rules6.is_some(), sets.is_some(), arrivals)?, expects_log))
        })?;
        // Another run on this machine may have turned the log off meanwhile: then lines may be missing.
        if switch.keep_on() || !expects_log {
            return Ok(played);
        }
    }
    Err("somebody keeps turning off the log of network namespaces".into())
}

/// Runs `work` in a thread that may change its namespaces at will.
pub fn in_own_thread<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| Err("the lab's thread panicked".into())))
}

/// Moves the calling thread into a new, empty network namespace, which lasts as long as the thread and the handle.
pub fn new_network() -> Result<OwnedFd, String> {
    sys::new_network().map_err(|e| format!("unshare: {e}"))
}

/// What `kernel.toml` says about this machine.
pub fn facts() -> Result<String, String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|e| format!("osrelease: {e}"))?;
    let iptables = run(&["iptables-legacy", "-V"], None)?;
    Ok(format!("kernel = \"{}\"\niptables = \"{}\"\n", release.trim(), iptables.trim()))
}

fn play_in(mut lab: Lab, has_rules6: bool, has_sets: bool, arrivals: &[Arrival]) -> Result<Played, String> {
    let mut outcome = Outcome::default();
    for iface in lab.ifaces() {
        outcome.frames.insert(iface.to_string(), Vec::new());
    }
    let first = arrivals.first().map_or(0, |a| a.micros);
    let (mut now, mut late, start) = (first, Duration::ZERO, Instant::now());
    let mut keep = |departures: Vec<Departure>, micros| {
        for d in departures {
            outcome.frames.entry(d.iface).or_default().push(Stamped { micros, data: d.data });
        }
    };
    for a in arrivals {
        let due = start + Duration::from_micros(a.micros.saturating_sub(first));
        keep(lab.until(due)?, now);
        late = late.max(due.elapsed());
        now = a.micros;
        lab.inject(&a.iface, &a.data)?;
        lab.read_log()?;
    }
    keep(lab.until(Instant::now() + SETTLE)?, now);
    outcome.conntrack = lab.conntrack()?;
    outcome.rules4 = lab.rules4()?;
    outcome.rules6 = if has_rules6 { Some(lab.rules6()?) } else { None };
    outcome.sets = if has_sets { Some(scenario::without_chance(&lab.sets()?)) } else { None };
    outcome.log = lab.into_log()?;
    Ok(Played { outcome, late })
}
