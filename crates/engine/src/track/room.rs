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
    use crate::fate::DropReason;
    use crate::track::lab::{Lab, udp};
    use crate::track::{ProtoState, Ratelimit, TcpState, TcpTrack, Tracked};

    /// A table with this many connections, numbered by their source port.
    fn filled(count: u16, max: u32, buckets: u32) -> Lab {
        let mut lab = Lab::new();
        lab.knobs.max = max;
        lab.knobs.buckets = buckets;
        for port in 0..count {
            lab.pass(&udp((2, port), (3, 53))).unwrap();
        }
        lab
    }

    fn assure(lab: &mut Lab) {
        let ids: Vec<ConnId> = lab.tracker.conns.iter().map(|(id, _)| id).collect();
        for id in ids {
            lab.tracker.conns.get_mut(id).unwrap().status.set(Status::ASSURED);
        }
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let lab = filled(1000, 0, 1);
        assert_eq!((lab.count(), lab.tracker.stats.early_drop), (1000, 0));
    }

    #[test]
    fn the_limit_itself_is_reached() {
        let lab = filled(100, 100, 1);
        assert_eq!((lab.count(), lab.tracker.stats.early_drop), (100, 0));
    }

    #[test]
    fn a_bucket_gives_up_all_that_are_not_assured() {
        // With one bucket, that is everything.
        let mut lab = filled(10, 10, 1);
        lab.events.clear();
        lab.pass(&udp((4, 1), (3, 53))).unwrap();
        assert_eq!((lab.count(), lab.tracker.stats.early_drop, lab.tracker.stats.drop), (1, 10, 0));
        let gone = lab.events.iter().filter(|event| matches!(event, Event::ConnGone(_))).count();
        assert_eq!(gone, 10);
    }

    #[test]
    fn eight_buckets_are_searched_and_no_more() {
        // Seven buckets: whatever the new connection's, all are searched. The first that has any gives up its own only.
        let mut lab = filled(200, 200, 7);
        lab.pass(&udp((4, 1), (3, 53))).unwrap();
        let dropped = lab.tracker.stats.early_drop;
        assert!((10..120).contains(&dropped), "{dropped}");
        assert_eq!(lab.count() as u64, 201 - dropped);
        // So many that the eight are empty, for nearly any key.
        let mut lab = filled(20, 20, 1 << 31);
        assert_eq!(lab.pass(&udp((4, 1), (3, 53))), Err(DropReason::TableFull));
        assert_eq!((lab.count(), lab.tracker.stats.early_drop, lab.tracker.stats.drop), (20, 0, 1));
    }

    #[test]
    fn assured_ones_stay_and_the_new_one_is_dropped() {
        let mut lab = filled(10, 10, 1);
        assure(&mut lab);
        lab.events.clear();
        for port in 0..20 {
            assert_eq!(lab.pass(&udp((4, port), (3, 53))), Err(DropReason::TableFull));
        }
        assert_eq!((lab.tracker.conns.count(), lab.tracker.stats.drop), (10, 20));
        let said = lab
            .events
            .iter()
            .filter(|event| matches!(event, Event::Kernel(line) if line.contains("table full")))
            .count();
        assert_eq!((said, lab.events.len()), (10, 10));
        // What is known goes on, and so does what needs no connection.
        assert!(matches!(lab.pass(&udp((2, 1), (3, 53))), Ok(Tracked::Conn(..))));
        assert!(matches!(lab.pass(&udp((3, 53), (2, 1))), Ok(Tracked::Conn(..))));
    }

    #[test]
    fn unconfirmed_ones_count() {
        let mut lab = filled(9, 10, 1 << 31);
        let mut waiting = crate::Packet::from_ip(&udp((4, 1), (3, 53))).unwrap();
        lab.enter(&mut waiting, crate::Hook::Prerouting).unwrap();
        assert_eq!(lab.pass(&udp((4, 2), (3, 53))), Err(DropReason::TableFull));
        lab.tracker.release(&waiting);
        assert!(lab.pass(&udp((4, 2), (3, 53))).is_ok());
    }

    #[test]
    fn the_background_scan_follows_a_full_table() {
        let mut lab = filled(100, 100, 1 << 31);
        assure(&mut lab);
        let tcp = |state| ProtoState::Tcp(TcpTrack { state, ..TcpTrack::default() });
        let ids: Vec<ConnId> = lab.tracker.conns.iter().map(|(id, _)| id).collect();
        lab.tracker.conns.get_mut(ids[3]).unwrap().proto = tcp(TcpState::TimeWait);
        lab.tracker.conns.get_mut(ids[4]).unwrap().proto = tcp(TcpState::Established);
        lab.tracker.conns.get_mut(ids[5]).unwrap().status.clear(Status::ASSURED);
        assert!(lab.pass(&udp((4, 1), (3, 53))).is_err());
        assert_eq!(lab.tracker.next_expiry(), Some(relief_after(lab.now.mono)));
        lab.wait(1000);
        let knobs = lab.knobs.clone();
        lab.tracker.expire(lab.now.mono, &knobs, &mut lab.events);
        assert_eq!(lab.count(), 98);
        assert!(lab.tracker.conns.get(ids[3]).is_none() && lab.tracker.conns.get(ids[5]).is_none());
        assert!(lab.pass(&udp((4, 1), (3, 53))).is_ok());
    }

    #[test]
    fn messages_are_limited() {
        let mut limit = Ratelimit::default();
        let said = |limit: &mut Ratelimit, secs| (0..20).filter(|_| limit.allows(Instant::from_secs(secs))).count();
        assert_eq!(said(&mut limit, 100), 10);
        assert_eq!(said(&mut limit, 105), 0);
        assert_eq!(said(&mut limit, 106), 10);
    }
}
