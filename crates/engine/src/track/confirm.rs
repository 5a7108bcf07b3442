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
            events.push(Event::ConnNew(id, tracker.seen(id, now.mono)));
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
    if let Some(extra) = tracker.conns.get_mut(id).and_then(|conn| conn.known_extra_mut())
        && let Some(at) = &mut extra.confirmed_at
    {
        *at = now.wall;
    }
}

fn is_same(a: &Conn, b: &Conn) -> bool {
    a.tuples() == b.tuples() && a.zone() == b.zone()
}

fn is_reverse(a: &Conn, b: &Conn) -> bool {
    let [original, reply] = b.tuples();
    a.tuples() == [reply, original] && a.zone().original == b.zone().reply && a.zone().reply == b.zone().original
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hook;
    use crate::track::Tuple;
    use crate::track::lab::{Lab, host, udp};
    use hairpin_wire::build::Tcp;
    use hairpin_wire::{Addr, Family, tcp};

    fn entered(lab: &mut Lab, bytes: &[u8]) -> (Packet, ConnId) {
        let mut packet = Packet::from_ip(bytes).unwrap();
        lab.enter(&mut packet, Hook::Prerouting).unwrap();
        let Tracked::Conn(id, _) = packet.meta.tracked else { panic!("INVALID") };
        (packet, id)
    }

    #[test]
    fn a_packet_that_is_dropped_leaves_nothing() {
        let mut lab = Lab::new();
        let (packet, id) = entered(&mut lab, &udp((2, 9), (3, 53)));
        assert_eq!((lab.tracker.conns.count(), lab.count()), (1, 0));
        lab.tracker.release(&packet);
        assert!(lab.tracker.conns.get(id).is_none());
        assert_eq!(lab.tracker.conns.count(), 0);
        assert!(lab.events.is_empty());
    }

    #[test]
    fn only_the_original_direction_confirms() {
        let mut lab = Lab::new();
        let (mut packet, id) = entered(&mut lab, &udp((2, 9), (3, 53)));
        let mut answer = Packet::from_ip(&udp((3, 53), (2, 9))).unwrap();
        answer.meta.tracked = Tracked::Conn(id, Class::Related(Direction::Reply));
        lab.confirm(&mut answer).unwrap();
        assert_eq!(lab.count(), 0);
        lab.confirm(&mut packet).unwrap();
        assert_eq!(lab.count(), 1);
        lab.confirm(&mut packet).unwrap();
        assert!(matches!(lab.events[..], [Event::ConnNew(new, None)] if new == id));
    }

    #[test]
    fn life_begins_with_confirmation() {
        let mut lab = Lab::new();
        lab.knobs.timestamp = true;
        let (mut packet, id) = entered(&mut lab, &udp((2, 9), (3, 53)));
        lab.wait(10_000);
        lab.confirm(&mut packet).unwrap();
        let conn = lab.tracker.conns.get(id).unwrap();
        assert_eq!(conn.seconds_left(lab.now.mono), 30);
        assert_eq!(conn.extra().unwrap().confirmed_at, Some(lab.now.wall));
    }

    #[test]
    fn twins_of_udp_become_one() {
        let mut lab = Lab::new();
        lab.knobs.accounting = true;
        let (mut first, winner) = entered(&mut lab, &udp((2, 9), (3, 53)));
        let (mut second, loser) = entered(&mut lab, &udp((2, 9), (3, 53)));
        assert_ne!(winner, loser);
        lab.confirm(&mut first).unwrap();
        lab.confirm(&mut second).unwrap();
        assert_eq!(second.meta.tracked, Tracked::Conn(winner, Class::New));
        assert!(lab.tracker.conns.get(loser).is_none());
        assert_eq!(lab.only().1.counters().unwrap()[0].packets, 2);
        assert_eq!(lab.tracker.stats.clash_resolve, 1);
    }

    #[test]
    fn mirror_images_of_udp_become_one() {
        let mut lab = Lab::new();
        let (mut first, winner) = entered(&mut lab, &udp((2, 9), (3, 53)));
        let (mut second, _) = entered(&mut lab, &udp((3, 53), (2, 9)));
        lab.confirm(&mut first).unwrap();
        lab.confirm(&mut second).unwrap();
        assert_eq!(second.meta.tracked, Tracked::Conn(winner, Class::New));
        assert_eq!(lab.count(), 1);
    }

    /// Two questions at once through a DNAT that sent them to different servers.
    fn change_reply(lab: &mut Lab, id: ConnId, change: impl FnOnce(&mut Tuple)) {
        let conn = lab.tracker.conns.get_mut(id).unwrap();
        let mut reply = conn.tuple(Direction::Reply);
        change(&mut reply);
        conn.set_tuple(Direction::Reply, reply);
    }

    fn answer_from(lab: &mut Lab, id: ConnId, host: Addr) {
        change_reply(lab, id, |reply| reply.src = host);
    }

    #[test]
    fn half_a_clash_of_udp_is_entered_for_its_answers() {
        let mut lab = Lab::new();
        let (mut first, winner) = entered(&mut lab, &udp((2, 9), (3, 53)));
        let (mut second, loser) = entered(&mut lab, &udp((2, 9), (3, 53)));
        answer_from(&mut lab, winner, host(4));
        answer_from(&mut lab, loser, host(5));
        lab.confirm(&mut first).unwrap();
        lab.confirm(&mut second).unwrap();
        assert_eq!(second.meta.tracked, Tracked::Conn(loser, Class::New));
        assert_eq!(lab.tracker.stats.clash_resolve, 1);
        assert_eq!(lab.tracker.conns.listed(lab.now.mono).map(|(id, _)| id).collect::<Vec<_>>(), [winner]);

        let (question, id) = entered(&mut lab, &udp((2, 9), (3, 53)));
        assert_eq!((id, question.meta.tracked), (winner, Tracked::Conn(winner, Class::New)));
        for _ in 0..3 {
            lab.wait(300);
            let (_, id) = entered(&mut lab, &udp((5, 53), (2, 9)));
            assert_eq!(id, loser);
        }
        let status = lab.tracker.conns.get(loser).unwrap().status;
        assert!(status.has(Status::NAT_CLASH) && !status.has(Status::ASSURED));
        // Answers do not make it live longer than its second.
        lab.wait(100);
        let (_, id) = entered(&mut lab, &udp((5, 53), (2, 9)));
        assert_ne!(id, loser);
    }

    #[test]
    fn a_taken_reply_tuple_drops() {
        let mut lab = Lab::new();
        let (mut first, _) = entered(&mut lab, &udp((2, 9), (3, 53)));
        let (mut second, loser) = entered(&mut lab, &udp((4, 9), (3, 53)));
        change_reply(&mut lab, loser, |reply| reply.dst = host(2));
        lab.confirm(&mut first).unwrap();
        assert_eq!(lab.confirm(&mut second), Err(DropReason::InsertFailed));
        let stats = lab.tracker.stats;
        assert_eq!((stats.insert_failed, stats.drop, stats.clash_resolve), (1, 1, 0));
        lab.tracker.release(&second);
        assert_eq!(lab.tracker.conns.count(), 1);
    }

    #[test]
    fn clashes_of_tcp_drop() {
        let mut lab = Lab::new();
        let syn = Tcp { src_port: 9, dst_port: 80, seq: 1, flags: tcp::SYN, ..Default::default() };
        let syn = syn.packet(Family::V4, host(2), host(3));
        let (mut first, _) = entered(&mut lab, &syn);
        let (mut second, _) = entered(&mut lab, &syn);
        lab.confirm(&mut first).unwrap();
        assert_eq!(lab.confirm(&mut second), Err(DropReason::InsertFailed));
    }

    #[test]
    fn a_reset_answer_ends_the_connection_but_stays_with_it() {
        let mut lab = Lab::new();
        let syn = Tcp { src_port: 9, dst_port: 80, seq: 1, flags: tcp::SYN, ..Default::default() };
        lab.pass(&syn.packet(Family::V4, host(2), host(3))).unwrap();
        let (id, _) = lab.only();
        let rst = Tcp { src_port: 80, dst_port: 9, ack: 2, flags: tcp::RST | tcp::ACK, ..Default::default() };
        let (packet, found) = entered(&mut lab, &rst.packet(Family::V4, host(3), host(2)));
        assert_eq!((found, lab.count()), (id, 0));
        assert_eq!(packet.meta.tracked, Tracked::Conn(id, Class::Established(Direction::Reply)));
        assert!(lab.tracker.conns.get(id).is_some(), "NAT still needs it");
        assert!(
            matches!(&lab.events[..], [Event::ConnNew(..), Event::ConnGone(gone)] if !gone.status.has(Status::SEEN_REPLY))
        );
        lab.tracker.release(&packet);
        assert_eq!(lab.tracker.conns.count(), 0);
    }
}
