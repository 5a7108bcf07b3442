//! What happens when the table is full.

use super::{Conn, ConnId, Knobs, Status, Tracker};
use crate::event::Event;
use crate::time::{HZ, Instant};

/// Makes sure that one more connection may be made. `hash` is that of its original tuple.
///
/// As in the kernel, the count may exceed the limit by the one just made: first it is counted, then room is looked for. Room is made
/// near the new connection only, so that the work is bounded: in eight buckets of a table of `nf_conntrack_buckets`, the first that
/// has connections which are not ASSURED gives up all of those.
pub(super) fn make(tracker: &mut Tracker, hash: u32, now: Instant, knobs: &Knobs, events: &mut Vec<Event>) -> bool {
    if knobs.max == 0 || tracker.conns.count() < knobs.max as usize {
        return true;
    }
    if drop_early(tracker, hash, knobs, events) {
        return true;
    }
    tracker.pressed_since.get_or_insert(now);
    if tracker.warnings.allows(now) {
        events.push(Event::Kernel("nf_conntrack: nf_conntrack: table full, dropping packet".to_owned()));
    }
    false
}

fn drop_early(tracker: &mut Tracker, hash: u32, knobs: &Knobs, events: &mut Vec<Event>) -> bool {
    const BUCKETS_SEARCHED: u64 = 8;
    let buckets = knobs.buckets.max(1);
    let first = (u64::from(hash) * u64::from(buckets)) >> 32;
    for n in first..first + BUCKETS_SEARCHED {
        let bucket = (n % u64::from(buckets)) as u32;
        let victims: Vec<ConnId> = tracker
            .conns
            .in_bucket(bucket, buckets)
            .filter(|(_, conn)| !conn.status.has(Status::ASSURED))
            .map(|(id, _)| id)
            .collect();
        // One that is found by both of its tuples goes once.
        let dropped = victims.into_iter().filter(|id| tracker.remove(*id, events)).count();
        if dropped > 0 {
            tracker.stats.early_drop += dropped as u64;
            return true;
        }
    }
    false
}

/// When the background scan that follows a full table is due.
///
/// The kernel's runs one to sixty seconds after the last one, depending on how long connections live; here it is always one second.
pub(super) fn relief_after(pressed_since: Instant) -> Instant {
    Instant::from_jiffies(pressed_since.jiffies().saturating_add(HZ))
}

/// The background scan: while the table is filled to 95 percent or more, connections go that are not ASSURED or are ending anyway.
pub(super) fn relieve(tracker: &mut Tracker, now: Instant, knobs: &Knobs, events: &mut Vec<Event>) {
    if tracker.pressed_since.is_none_or(|since| relief_after(since) > now) {
        return;
    }
    tracker.pressed_since = None;
    let enough = (knobs.max / 100 * 95) as usize;
    if enough == 0 || tracker.conns.count() < enough {
        return;
    }
    let may_go = |conn: &Conn| !conn.status.has(Status::ASSURED) || conn.is_ending();
    let victims: Vec<ConnId> = tracker.conns.iter().filter(|(_, conn)| may_go(conn)).map(|(id, _)| id).collect();
    for id in victims {
        if tracker.conns.count() < enough {
            break;
        }
        tracker.remove(id, events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::Ratelimit;

    #[test]
    fn messages_are_limited() {
        let mut limit = Ratelimit::default();
        let said = |limit: &mut Ratelimit, secs| (0..20).filter(|_| limit.allows(Instant::from_secs(secs))).count();
        assert_eq!(said(&mut limit, 100), 10);
        assert_eq!(said(&mut limit, 105), 0);
        assert_eq!(said(&mut limit, 106), 10);
    }
}
