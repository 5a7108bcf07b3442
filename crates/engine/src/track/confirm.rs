//! A connection is entered into the table when its first packet has come through (`nf_conntrack_confirm`).

use super::{Class, Conn, ConnId, Direction, Knobs, Status, Tracked, Tracker};
use crate::event::Event;
use crate::fate::DropReason;
use crate::packet::Packet;
use crate::time::{HZ, Instant, Now};
use hairpin_wire::proto;

/// Enters the packet's connection into the table, if it is not yet and the packet goes in original direction. Nothing else is
/// confirmed by a packet: an ICMP error or a RST that this host answers with goes the other way.
///
/// # Errors
/// Another connection has one of its tuples, and the protocol does not let that pass.
pub(crate) fn confirm(
    tracker: &mut Tracker,
    packet: &mut Packet,
    now: &Now,
    knobs: &Knobs,
    events: &mut Vec<Event>,
) -> Result<(), DropReason> {
    let Tracked::Conn(id, class) = packet.meta.tracked else { return Ok(()) };
    let Some(conn) = tracker.conns.get(id) else { return Ok(()) };
    if class.direction() != Direction::Original || conn.status.has(Status::CONFIRMED) {
        return Ok(());
    }
    if conn.status.has(Status::DYING) {
        tracker.stats.insert_failed += 1;
        return Err(DropReason::InsertFailed);
    }
    tracker.expire(now.mono, knobs, events);
    let Some(conn) = tracker.conns.get(id) else { return Ok(()) };
    match tracker.conns.clash(conn) {
        None => {
            tracker.conns.confirm(id, now.mono);
            stamp(tracker, id, now);
            events.push(Event::ConnNew(id));
            Ok(())
        }
        Some(winner) => resolve(tracker, packet, id, class, winner, now),
    }
}

/// Two packets made a connection each before either was confirmed. Protocols without a handshake survive that: the packet joins the
/// winner if both connections are the same, else the loser is entered for its answers only, for a second.
fn resolve(
    tracker: &mut Tracker,
    packet: &mut Packet,
    loser: ConnId,
    class: Class,
    winner: ConnId,
    now: &Now,
) -> Result<(), DropReason> {
    let may_clash = |conn: &Conn| matches!(conn.protocol(), proto::UDP | proto::UDPLITE | proto::GRE);
    let resolved = tracker.conns.get(winner).is_some_and(may_clash)
        && (merge(tracker, packet, loser, class, winner) || enter_for_answers(tracker, packet, loser, class, now));
    if resolved {
        tracker.stats.clash_resolve += 1;
        return Ok(());
    }
    tracker.stats.drop += 1;
    tracker.stats.insert_failed += 1;
    Err(DropReason::InsertFailed)
}

/// Moves the packet over to the winner if both are the same connection, or each the other turned round.
fn merge(tracker: &mut Tracker, packet: &mut Packet, loser: ConnId, class: Class, winner: ConnId) -> bool {
    let Some((lost, won)) = tracker.conns.get(loser).zip(tracker.conns.get(winner)) else { return false };
    if !is_same(won, lost) && !is_reverse(won, lost) {
        return false;
    }
    let bytes = lost.counters().map(|counters| counters[class.direction().index()].bytes);
    if let Some(won) = tracker.conns.get_mut(winner)
        && let Some(bytes) = bytes
    {
        won.account(class.direction(), usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    tracker.conns.remove(loser);
    packet.meta.tracked = Tracked::Conn(winner, class);
    true
}

/// Enters the loser by its reply tuple, which must be free or belong to the same connection.
fn enter_for_answers(tracker: &mut Tracker, packet: &mut Packet, loser: ConnId, class: Class, now: &Now) -> bool {
    let Some(conn) = tracker.conns.get(loser) else { return false };
    if let Some(other) = tracker.conns.clash_in(conn, Direction::Reply) {
        return merge(tracker, packet, loser, class, other);
    }
    if let Some(conn) = tracker.conns.get_mut(loser) {
        conn.status.set(Status::FIXED_TIMEOUT.union(Status::NAT_CLASH));
        conn.expires = Instant::from_jiffies(HZ);
    }
    tracker.conns.confirm_reply_only(loser, now.mono);
    stamp(tracker, loser, now);
    true
}

fn stamp(tracker: &mut Tracker, id: ConnId, now: &Now) {
    if let Some(extra) = tracker.conns.get_mut(id).and_then(|conn| conn.extra.as_mut())
        && let Some(at) = &mut extra.confirmed_at
    {
        *at = now.wall;
    }
}

fn is_same(a: &Conn, b: &Conn) -> bool {
    a.tuples == b.tuples && a.zone == b.zone
}

fn is_reverse(a: &Conn, b: &Conn) -> bool {
    let [original, reply] = b.tuples;
    a.tuples == [reply, original] && a.zone.original == b.zone.reply && a.zone.reply == b.zone.original
}
