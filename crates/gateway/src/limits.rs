//! Limits of the gateway, how much of each is used, and a warning before one is reached.

use crate::control::TableNumbers;
use crate::seam::{Attendant, Handle, Moment};
use hairpin_wire::Family;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// From so many percent on a limit is near.
pub const NEAR: u64 = 80;
/// Under so many percent again, it is not any more.
const FAR: u64 = 70;
/// Ports that source NAT takes for itself: 1024 to 65535.
pub const NAT_PORTS: u64 = 64_512;
/// Going over all connections, so often.
const PORTS_EVERY: Duration = Duration::from_secs(30);

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name: a setting's, where there is one.
    pub name: String,
    /// So much is used.
    pub used: u64,
    /// So much can be.
    pub max: u64,
}

impl Limit {
    /// Whether 80 percent or more are used.
    pub const fn is_near(&self) -> bool {
        self.max > 0 && self.percent() >= NEAR
    }

    /// How much is used, in percent.
    pub const fn percent(&self) -> u64 {
        match self.used.saturating_mul(100).checked_div(self.max) {
            Some(percent) => percent,
            None => 0,
        }
    }
}

/// All limits that can be told without going over the connections.
pub fn of(moment: &Moment<'_>) -> Vec<Limit> {
    let state = moment.engine.state();
    let (tracker, sysctl) = (state.tracker(), &state.net().sysctl);
    let limit = |name: &str, used: usize, max: u64| Limit { name: name.to_owned(), used: used as u64, max };
    let mut limits = vec![
        limit("nf_conntrack_max", tracker.conns.count(), u64::from(sysctl.track.max)),
        limit("nf_conntrack_expect_max", tracker.expectations.len(), u64::from(sysctl.track.expect_max)),
        limit("ipfrag_high_thresh", state.fragment_bytes(Family::V4), sysctl.ipv4.ipfrag_high_thresh.max(0) as u64),
        limit("ip6frag_high_thresh", state.fragment_bytes(Family::V6), sysctl.ipv6.ip6frag_high_thresh.max(0) as u64),
        limit("neighbors", moment.neighbors.len(), crate::neighbors::ENTRIES as u64),
    ];
    for queue in moment.queues.state() {
        limits.push(limit(&format!("queue {}", queue.number), queue.waiting, queue.maxlen as u64));
    }
    let sets = state.sets();
    // Of those with timeouts, telling how many are still there takes long.
    for (name, set) in sets.iter() {
        if let Some(max) = set.options().maxelem.filter(|_| set.hashsize().is_some() && set.options().timeout.is_none())
        {
            limits.push(limit(&format!("set {name}"), set.len(moment.now.mono), u64::from(max)));
        }
    }
    limits
}

/// Says on standard error when a limit comes near, and when it is far again.
#[derive(Debug, Default)]
pub struct Warner {
    near: BTreeSet<String>,
}

impl Warner {
    /// What there is to say now.
    fn news(&mut self, limits: &[Limit]) -> Vec<String> {
        let mut lines = Vec::new();
        for limit in limits {
            let (name, used, max) = (&limit.name, limit.used, limit.max);
            if limit.is_near() {
                if self.near.insert(name.clone()) {
                    let percent = limit.percent();
                    lines.push(format!("warning: {percent} % of {name} are used: {used} of {max}"));
                }
            } else if limit.percent() < FAR && self.near.remove(name) {
                lines.push(format!("{name} has room again: {used} of {max} are used"));
            }
        }
        lines
    }
}

impl Attendant for Warner {
    fn start(&mut self, _moment: &mut Moment<'_>, handle: &Handle) -> io::Result<()> {
        let handle = handle.clone();
        std::thread::Builder::new().name("limits".to_owned()).spawn(move || {
            let mut ports = Warner::default();
            loop {
                std::thread::sleep(PORTS_EVERY);
                let Some(numbers) = TableNumbers::take(&handle) else { return };
                let limits = ports_of(&numbers);
                ports.news(&limits).iter().for_each(|line| eprintln!("hairpin: {line}"));
            }
        })?;
        Ok(())
    }

    fn tick(&mut self, moment: &mut Moment<'_>) {
        self.news(&of(moment)).iter().for_each(|line| eprintln!("hairpin: {line}"));
    }
}

/// Ports of source NAT by address and protocol. One port can serve several destinations: the limit is that of one of them.
pub(crate) fn ports_of(numbers: &TableNumbers) -> Vec<Limit> {
    let limit = |((address, protocol), used): (&(String, &str), &u64)| Limit {
        name: format!("{protocol} ports of {address}"),
        used: *used,
        max: NAT_PORTS,
    };
    numbers.ports.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_once_when_near_and_once_when_far() {
        let mut warner = Warner::default();
        let mut at = |used: u64| warner.news(&[Limit { name: "nf_conntrack_max".to_owned(), used, max: 100 }]);
        assert!(at(79).is_empty());
        assert_eq!(at(80), ["warning: 80 % of nf_conntrack_max are used: 80 of 100"]);
        assert!(at(95).is_empty() && at(75).is_empty() && at(85).is_empty());
        assert_eq!(at(60), ["nf_conntrack_max has room again: 60 of 100 are used"]);
        assert_eq!(at(100).len(), 1);
        assert!(Warner::default().news(&[Limit { name: "x".to_owned(), used: 5, max: 0 }]).is_empty());
    }
}
