//! A packet meets tracking: PREROUTING for what arrives, OUTPUT for what this host sends (`nf_conntrack_in`).

use super::icmp::{self, Message};
use super::{
    Class, Conn, ConnId, Direction, Knobs, Observe, Proxied, Seen, Status, Tracked, Tracker, Tuple, Zone, helper, room,
};
use crate::event::Event;
use crate::fate::DropReason;
use crate::hook::Hook;
use crate::packet::{Packet, Template};
use crate::rule::Counter;
use crate::time::{Now, Wall};
use hairpin_wire::{Family, proto};

/// Finds or makes the packet's connection and lets its protocol's tracker see the packet. Afterwards `packet.meta.tracked` says what
/// came of it; [`Tracked::No`] means INVALID, which is no reason to drop a packet; [`Tracker::why_invalid`] has the reason then.
///
/// # Errors
/// The table is full.
pub(crate) fn enter(
    tracker: &mut Tracker,
    packet: &mut Packet,
    hook: Hook,
    now: &Now,
    knobs: &Knobs,
    events: &mut Vec<Event>,
) -> Result<(), DropReason> {
    if packet.meta.tracked != Tracked::No {
        return Ok(());
    }
    let template = packet.meta.template.take();
    let zone = template.as_ref().map_or(Zone::default(), |template| template.zone_for(packet.meta.mark));
    tracker.expire(now.mono, knobs, events);
    if has_no_transport(packet) {
        return tracker.invalid("no transport header");
    }
    if is_own_icmp(packet) {
        match icmp::classify(packet, &tracker.conns, zone, hook, now.mono, knobs) {
            Message::Ordinary => {}
            Message::Untracked => {
                packet.meta.tracked = Tracked::Untracked;
                return Ok(());
            }
            Message::Related(id, direction) => {
                packet.meta.tracked = Tracked::Conn(id, Class::Related(direction));
                return Ok(());
            }
            Message::Invalid(reason) => {
                tracker.stats.error += 1;
                tracker.why_invalid = reason;
                return Ok(());
            }
        }
    }
    let Some(tuple) = Tuple::of_packet(packet) else {
        return tracker.invalid("transport header too short, or not one of a connection");
    };
    // Nearly every packet: its connection was found ahead of its turn.
    if template.is_none()
        && let Some(ahead) = packet.meta.ahead
        && let Some(found) = tracker.conns.find_there(ahead, &tuple, now.mono)
    {
        match meet(tracker, packet, found, &Observe { now, knobs, hook }, events) {
            Met::Done => return Ok(()),
            Met::Invalid(reason) => return tracker.invalid(reason),
            Met::Again => {}
        }
    }
    Visit { tuple, zone, template: template.as_deref(), hook, now, knobs }.resolve(tracker, packet, events)
}

impl Tracker {
    /// The packet is INVALID and goes on so.
    #[cold]
    fn invalid(&mut self, reason: &'static str) -> Result<(), DropReason> {
        self.stats.invalid += 1;
        self.why_invalid = reason;
        Ok(())
    }
}

/// A packet with a tuple, and what is known around it.
struct Visit<'a> {
    tuple: Tuple,
    zone: Zone,
    template: Option<&'a Template>,
    hook: Hook,
    now: &'a Now,
    knobs: &'a Knobs,
}

impl Visit<'_> {
    /// Looks the packet up, again if the tracker says that it begins anew.
    #[inline(never)]
    fn resolve(&self, tracker: &mut Tracker, packet: &mut Packet, events: &mut Vec<Event>) -> Result<(), DropReason> {
        let context = Observe { now: self.now, knobs: self.knobs, hook: self.hook };
        loop {
            let found = match packet.meta.ahead.filter(|_| self.zone == Zone::default()) {
                Some(ahead) => tracker.conns.find_ahead(ahead, &self.tuple, self.now.mono),
                None => tracker.conns.find_in(&self.tuple, self.zone, self.now.mono),
            };
            let found = match found {
                Some(found) => Some(found),
                None => self.make(tracker, events)?.map(|id| (id, Direction::Original)),
            };
            let Some(found) = found else {
                return tracker.invalid("no connection begins with this type");
            };
            match meet(tracker, packet, found, &context, events) {
                // Each turn takes one connection away, so this ends.
                Met::Again => {}
                Met::Done => return Ok(()),
                Met::Invalid(reason) => return tracker.invalid(reason),
            }
        }
    }

    /// Makes a connection, unconfirmed; None when the tuple has no answer. The protocol's tracker has not seen it yet: the limit and
    /// a matching expectation are spent even if it then refuses.
    #[inline(never)]
    fn make(&self, tracker: &mut Tracker, events: &mut Vec<Event>) -> Result<Option<ConnId>, DropReason> {
        let Some(reply) = self.tuple.invert() else { return Ok(None) };
        let hash = tracker.conns.hash(&self.tuple, self.zone.original);
        if !room::make(tracker, hash, self.now.mono, self.knobs, events) {
            tracker.stats.drop += 1;
            return Err(DropReason::TableFull);
        }
        let mut conn = Conn::new(self.tuple, reply, self.zone, self.now.mono);
        if self.knobs.accounting {
            conn.set_counters(Some([Counter::default(); 2]));
        }
        if self.knobs.timestamp {
            conn.extra_mut().confirmed_at = Some(Wall(0));
        }
        if tracker.labels {
            conn.extra_mut().labels = Some(std::cell::Cell::new(0));
        }
        if self.template.is_some_and(|template| template.proxied) {
            conn.extra_mut().proxied = Some(Proxied::default());
        }
        if !self.meet_expectation(tracker, &mut conn)
            && let Some(helper) =
                self.template.and_then(|template| template.helper.as_deref()).and_then(helper::own_name)
        {
            conn.extra_mut().helper = Some(helper);
            conn.status.set(Status::HELPER);
        }
        match tracker.conns.insert_unconfirmed(conn) {
            Some(id) => Ok(Some(id)),
            None => Err(DropReason::TableFull),
        }
    }

    /// Makes the connection an expected one if it is.
    fn meet_expectation(&self, tracker: &mut Tracker, conn: &mut Conn) -> bool {
        let Some(expectation) = tracker.expectations.meet(&self.tuple, self.zone, &tracker.conns, self.now.mono) else {
            return false;
        };
        conn.status.set(Status::EXPECTED);
        conn.mark = tracker.conns.get(expectation.master).map_or(0, |master| master.mark);
        let extra = conn.extra_mut();
        extra.master = Some(expectation.master);
        extra.helper = expectation.helper;
        extra.expected = expectation.nat;
        tracker.stats.expect_new += 1;
        true
    }
}

/// What came of a packet's meeting with its connection.
enum Met {
    Done,
    /// The packet is INVALID, for this reason.
    Invalid(&'static str),
    /// The connection is over and gone: the search begins anew.
    Again,
}

/// Lets the protocol's tracker see the packet, and does what it says.
#[inline]
fn meet(
    tracker: &mut Tracker,
    packet: &mut Packet,
    (id, direction): (ConnId, Direction),
    context: &Observe<'_>,
    events: &mut Vec<Event>,
) -> Met {
    tracker.note_before(id);
    let shown = tracker.conns.change(id, |conn| show(conn, direction, packet, context));
    let Some((seen, class)) = shown else { return Met::Invalid("no connection begins with this type") };
    match seen {
        Seen::Accept | Seen::Ignore => packet.meta.tracked = Tracked::Conn(id, class),
        Seen::Repeat => {
            tracker.remove(id, events);
            return Met::Again;
        }
        Seen::AcceptAndDelete => {
            packet.meta.tracked = Tracked::Conn(id, class);
            tracker.kill(id, events);
            if let Some(conn) = tracker.conns.get_mut(id) {
                note_reply(conn, class);
            }
        }
        Seen::Invalid(reason) => {
            tracker.conns.let_go(id);
            return Met::Invalid(reason);
        }
    }
    Met::Done
}

/// Lets the protocol's tracker see the packet.
#[inline]
fn show(conn: &mut Conn, direction: Direction, packet: &Packet, context: &Observe<'_>) -> (Seen, Class) {
    let class = class(conn.status, direction);
    let is_new = !conn.status.has(Status::CONFIRMED);
    let seen = super::observe(conn, direction, packet, is_new, context);
    if matches!(seen, Seen::Accept | Seen::AcceptAndDelete) {
        conn.account(direction, packet.length());
    }
    // The event of a connection's end does not know yet of the answer that ended it.
    if matches!(seen, Seen::Accept | Seen::Ignore) {
        note_reply(conn, class);
    }
    (seen, class)
}

fn note_reply(conn: &mut Conn, class: Class) {
    if class == Class::Established(Direction::Reply) {
        conn.status.set(Status::SEEN_REPLY);
    }
}

/// What a packet is to the connection it was found to belong to.
fn class(status: Status, direction: Direction) -> Class {
    match direction {
        Direction::Reply => Class::Established(Direction::Reply),
        Direction::Original if status.has(Status::SEEN_REPLY) => Class::Established(Direction::Original),
        Direction::Original if status.has(Status::EXPECTED) => Class::Related(Direction::Original),
        Direction::Original => Class::New,
    }
}

/// Whether the transport header cannot be found: a later fragment, or extension headers that cannot be walked.
fn has_no_transport(packet: &Packet) -> bool {
    let head = packet.head();
    head.broken || head.fragment_offset != 0 || head.family == Family::V6 && head.protocol == proto::NONE
}

fn is_own_icmp(packet: &Packet) -> bool {
    matches!((packet.family(), packet.protocol()), (Family::V4, proto::ICMP) | (Family::V6, proto::ICMPV6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::lab::{Lab, host, udp};
    use crate::track::{ExpectNat, Expectation, SourceMask};
    use hairpin_wire::build::{self, Echo, Tcp};
    use hairpin_wire::{Addr, tcp};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn segment(from: (u8, u16), to: (u8, u16), seq: u32, ack: u32, flags: u8) -> Vec<u8> {
        let tcp = Tcp { src_port: from.1, dst_port: to.1, seq, ack, flags, ..Default::default() };
        tcp.packet(Family::V4, host(from.0), host(to.0))
    }

    fn with_template(bytes: &[u8], template: Template) -> Packet {
        let mut packet = Packet::from_ip(bytes).unwrap();
        packet.meta.template = Some(Arc::new(template));
        packet
    }

    #[test]
    fn what_is_decided_stays() {
        let mut lab = Lab::new();
        let mut packet = Packet::from_ip(&udp((2, 1), (3, 2))).unwrap();
        packet.meta.tracked = Tracked::Untracked;
        assert_eq!(lab.pass_packet(&mut packet), Ok(Tracked::Untracked));
        assert_eq!(lab.tracker.conns.count(), 0);
        // A packet that comes back over lo keeps its connection, and is not looked at again.
        lab.class(&udp((2, 1), (3, 2)));
        let (id, _) = lab.only();
        packet.meta.tracked = Tracked::Conn(id, Class::New);
        lab.wait(5000);
        lab.enter(&mut packet, Hook::Prerouting).unwrap();
        assert_eq!(lab.only().1.seconds_left(lab.now.mono), 25);
    }

    #[test]
    fn classes() {
        let mut lab = Lab::new();
        let (there, back) = (udp((2, 1), (3, 2)), udp((3, 2), (2, 1)));
        assert_eq!(lab.class(&there), Some(Class::New));
        assert_eq!(lab.class(&there), Some(Class::New));
        assert_eq!(lab.class(&back), Some(Class::Established(Direction::Reply)));
        assert_eq!(lab.class(&there), Some(Class::Established(Direction::Original)));
    }

    #[test]
    fn who_talks_to_himself_answers() {
        let mut lab = Lab::new();
        let packet = udp((2, 5000), (2, 5000));
        assert_eq!(lab.class(&packet), Some(Class::New));
        assert_eq!(lab.class(&packet), Some(Class::Established(Direction::Reply)));
        assert!(lab.only().1.status.has(Status::SEEN_REPLY));
    }

    #[test]
    fn fragments_and_broken_headers_are_invalid() {
        let mut lab = Lab::new();
        let later = build::Ipv4 {
            src: host(2),
            dst: host(3),
            protocol: proto::UDP,
            fragment_offset: 1,
            payload: &[0; 8],
            ..Default::default()
        };
        assert_eq!(lab.class(&later.to_vec()), None);
        let nothing = build::Ipv6 { next_header: proto::NONE, payload: &[0; 8], ..Default::default() };
        assert_eq!(lab.class(&nothing.to_vec()), None);
        let broken = build::Ipv6 { next_header: proto::DSTOPTS, payload: &[6, 9, 0, 0], ..Default::default() };
        assert_eq!(lab.class(&broken.to_vec()), None);
        let short = build::ip(Family::V4, host(2), host(3), proto::TCP, &[0, 1, 0]);
        assert_eq!(lab.class(&short), None);
        assert_eq!((lab.tracker.stats.invalid, lab.tracker.conns.count()), (4, 0));
        // IPv4 knows no protocol 59, so it is one as any other.
        assert_eq!(lab.class(&build::ip(Family::V4, host(2), host(3), 59, &[])), Some(Class::New));
    }

    #[test]
    fn other_protocols_go_by_addresses() {
        for (number, secs) in [(proto::ESP, 600), (proto::IGMP, 600), (proto::DCCP, 600), (255, 600)] {
            let mut lab = Lab::new();
            let packet = |from, to| build::ip(Family::V4, host(from), host(to), number, &[1, 2, 3, 4]);
            assert_eq!(lab.class(&packet(2, 3)), Some(Class::New));
            assert_eq!(lab.class(&packet(3, 2)), Some(Class::Established(Direction::Reply)));
            let (_, conn) = lab.only();
            assert_eq!((conn.seconds_left(lab.now.mono), conn.status.has(Status::ASSURED)), (secs, false));
        }
    }

    #[test]
    fn gre() {
        let mut lab = Lab::new();
        let packet = |from, to, header: &[u8]| build::ip(Family::V4, host(from), host(to), proto::GRE, header);
        let plain = [0x20, 0, 8, 0, 0, 0, 0, 9];
        assert_eq!(lab.class(&packet(2, 3, &plain)), Some(Class::New));
        assert_eq!(lab.only().1.seconds_left(lab.now.mono), 30);
        lab.class(&packet(3, 2, &plain));
        assert!(!lab.only().1.status.has(Status::ASSURED));
        assert_eq!(lab.class(&packet(2, 3, &plain)), Some(Class::Established(Direction::Original)));
        let (_, conn) = lab.only();
        assert_eq!((conn.seconds_left(lab.now.mono), conn.status.has(Status::ASSURED)), (180, true));

        let mut lab = Lab::new();
        let pptp = [0x30, 1, 0x88, 0x0b, 0, 4, 0x12, 0x34, 0, 0, 0, 1];
        assert_eq!(lab.class(&packet(2, 3, &pptp)), Some(Class::New));
        let [original, reply] = lab.only().1.tuples();
        assert_eq!((original.src_id, original.dst_id, reply.src_id, reply.dst_id), (0, 0x1234, 0x1234, 0));
        assert_eq!(lab.class(&packet(3, 2, &pptp)), Some(Class::New), "the other call is another flow");
        assert_eq!(lab.class(&packet(2, 3, &[0x30, 1, 8, 0, 0, 4, 0x12, 0x34])), None);
        assert_eq!(lab.class(&packet(2, 3, &[0x30, 1, 8, 0])), Some(Class::New), "too short to tell");
    }

    #[test]
    fn version_6_takes_the_same_way() {
        let mut lab = Lab::new();
        let (a, b) = (Addr(0x2001 << 112 | 1), Addr(0x2001 << 112 | 2));
        let echo = |reply, from, to| Echo { reply, id: 7, seq: 1, payload: b"x" }.packet(Family::V6, from, to);
        assert_eq!(lab.class(&echo(false, a, b)), Some(Class::New));
        assert_eq!(lab.class(&echo(true, b, a)), Some(Class::Established(Direction::Reply)));
        assert_eq!(lab.only().1.seconds_left(lab.now.mono), 30);
        // Behind extension headers.
        let datagram = build::Udp { src_port: 1, dst_port: 2, payload: b"" }.to_vec(Family::V6, a, b);
        let payload = [&[proto::UDP, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
        let ip = build::Ipv6 { src: a, dst: b, next_header: proto::DSTOPTS, payload: &payload, ..Default::default() };
        assert_eq!(lab.class(&ip.to_vec()), Some(Class::New));
        assert_eq!(lab.count(), 2);
    }

    #[test]
    fn invalid_ones_leave_nothing_but_their_number() {
        let mut lab = Lab::new();
        assert_eq!(lab.class(&segment((2, 1), (3, 80), 1, 1, tcp::SYN | tcp::ACK)), None);
        assert_eq!((lab.tracker.conns.count(), lab.tracker.stats.invalid), (0, 1));
        assert_eq!(lab.tracker.why_invalid, "no connection begins so");
        assert!(lab.events.is_empty());
    }

    #[test]
    fn counts_what_is_accepted() {
        let mut lab = Lab::new();
        lab.class(&segment((2, 1), (3, 80), 1, 0, tcp::SYN));
        assert_eq!(lab.only().1.counters(), None);

        let mut lab = Lab::new();
        lab.knobs.accounting = true;
        lab.class(&segment((2, 1), (3, 80), 1, 0, tcp::SYN));
        lab.class(&segment((3, 80), (2, 1), 1, 2, tcp::SYN | tcp::ACK));
        lab.class(&segment((2, 1), (3, 80), 2, 2, tcp::ACK));
        lab.class(&segment((2, 1), (3, 80), 2, 2, tcp::FIN));
        let counters = lab.only().1.counters().unwrap().map(|counter| (counter.packets, counter.bytes));
        assert_eq!(counters, [(2, 80), (1, 40)]);
    }

    #[test]
    fn a_new_syn_after_the_end_begins_anew() {
        let mut lab = Lab::new();
        let steps: [(u8, u32, u32, u8); 7] = [
            (2, 100, 0, tcp::SYN),
            (3, 500, 101, tcp::SYN | tcp::ACK),
            (2, 101, 501, tcp::ACK),
            (2, 101, 501, tcp::FIN | tcp::ACK),
            (3, 501, 102, tcp::FIN | tcp::ACK),
            (2, 102, 502, tcp::ACK),
            (2, 9000, 0, tcp::SYN),
        ];
        let mut ids = Vec::new();
        let mut classes = Vec::new();
        for (from, seq, ack, flags) in steps {
            let (from, to) = if from == 2 { ((2, 1), (3, 80)) } else { ((3, 80), (2, 1)) };
            classes.push(lab.class(&segment(from, to, seq, ack, flags)));
            ids.push(lab.only().0);
        }
        assert!(ids[..6].iter().all(|id| *id == ids[0]) && ids[6] != ids[0]);
        assert_eq!(classes[6], Some(Class::New));
        assert_eq!(lab.events.iter().filter(|event| matches!(event, Event::ConnGone(_))).count(), 1);
    }

    #[test]
    fn zones_of_a_template() {
        let mut lab = Lab::new();
        let there = udp((2, 1), (3, 2));
        let zone = |original, reply| Template { zone: Zone { original, reply }, ..Template::default() };
        let class = |lab: &mut Lab, bytes: &[u8], template| match lab.pass_packet(&mut with_template(bytes, template)) {
            Ok(Tracked::Conn(_, class)) => class,
            other => panic!("{other:?}"),
        };
        assert_eq!(class(&mut lab, &there, zone(5, 5)), Class::New);
        assert_eq!(lab.only().1.zone(), Zone::both(5));
        let back = udp((3, 2), (2, 1));
        assert_eq!(lab.class(&back), Some(Class::New), "zone 0 knows nothing of it");
        assert_eq!(class(&mut lab, &back, zone(5, 5)), Class::Established(Direction::Reply));
        // A zone for the original direction only: the answer comes in the default zone.
        let (there, back) = (udp((2, 9), (3, 2)), udp((3, 2), (2, 9)));
        assert_eq!(class(&mut lab, &there, zone(6, 0)), Class::New);
        assert_eq!(lab.class(&back), Some(Class::Established(Direction::Reply)));
        assert_eq!(class(&mut lab, &there, zone(6, 0)), Class::Established(Direction::Original));
        // The mark that the packet has by then.
        let mut marked =
            with_template(&there, Template { mark_bits: Zone { original: 0, reply: 0xffff }, ..zone(0, 0) });
        marked.meta.mark = 0x1_0007;
        let Ok(Tracked::Conn(id, Class::New)) = lab.pass_packet(&mut marked) else { panic!() };
        assert_eq!(lab.tracker.conns.get(id).map(|conn| conn.zone()), Some(Zone { original: 0, reply: 7 }));
    }

    #[test]
    fn a_template_brings_a_helper_to_new_connections_only() {
        let mut lab = Lab::new();
        let ftp = Template { helper: Some("ftp".to_owned()), ..Template::default() };
        let syn = segment((2, 1), (3, 21), 1, 0, tcp::SYN);
        lab.pass_packet(&mut with_template(&syn, ftp.clone())).unwrap();
        let (_, conn) = lab.only();
        assert_eq!((conn.helper(), conn.status.has(Status::HELPER)), (Some("ftp"), true));

        let mut lab = Lab::new();
        lab.class(&syn);
        lab.pass_packet(&mut with_template(&syn, ftp)).unwrap();
        assert_eq!(lab.only().1.helper(), None);
    }

    #[test]
    fn labels_while_a_rule_uses_them() {
        let mut lab = Lab::new();
        lab.tracker.labels = true;
        lab.class(&udp((2, 1), (3, 2)));
        assert_eq!(lab.only().1.extra().unwrap().labels.as_ref().map(|labels| labels.get()), Some(0));
    }

    fn expectation(lab: &Lab, master: ConnId) -> Expectation {
        let tuple =
            Tuple { src: host(3), dst: host(2), src_id: 0, dst_id: 5000, protocol: proto::TCP, family: Family::V4 };
        Expectation {
            tuple,
            mask: SourceMask::any_port(Family::V4),
            zone: Zone::default(),
            master,
            helper: Some("ftp"),
            class: 0,
            expires: super::super::expect::expiry(lab.now.mono, 300),
            is_permanent: false,
            is_inactive: false,
            nat: Some(ExpectNat { saved_id: 5000, saved_addr: host(2), direction: Direction::Reply }),
        }
    }

    #[test]
    fn an_expected_connection_is_related_to_its_master() {
        let mut lab = Lab::new();
        lab.class(&segment((2, 1), (3, 21), 1, 0, tcp::SYN));
        let (master, _) = lab.only();
        lab.tracker.conns.get_mut(master).unwrap().mark = 77;
        let expected = expectation(&lab, master);
        lab.tracker.expectations.insert(expected, 1, 4096).unwrap();
        let syn = segment((3, 20), (2, 5000), 1, 0, tcp::SYN);
        let Ok(Tracked::Conn(id, class)) = lab.pass(&syn) else { panic!() };
        assert_eq!(class, Class::Related(Direction::Original));
        let conn = lab.tracker.conns.get(id).unwrap();
        assert_eq!((conn.mark, conn.master(), conn.helper()), (77, Some(master), Some("ftp")));
        assert!(conn.status.has(Status::EXPECTED) && !conn.status.has(Status::HELPER));
        assert_eq!(conn.extra().unwrap().expected, expected.nat);
        assert_eq!((lab.tracker.stats.expect_new, lab.tracker.expectations.len()), (1, 0));
        assert_eq!(lab.class(&syn), Some(Class::Related(Direction::Original)));
        let answer = segment((2, 5000), (3, 20), 1, 2, tcp::SYN | tcp::ACK);
        assert_eq!(lab.class(&answer), Some(Class::Established(Direction::Reply)));
        assert_eq!(
            lab.class(&segment((3, 20), (2, 5000), 2, 2, tcp::ACK)),
            Some(Class::Established(Direction::Original))
        );
    }

    #[test]
    fn expectations_go_with_their_master_and_with_time() {
        let syn = segment((3, 20), (2, 5000), 1, 0, tcp::SYN);
        let lab_with = |secs| {
            let mut lab = Lab::new();
            lab.class(&segment((2, 1), (3, 21), 1, 0, tcp::SYN));
            let (master, _) = lab.only();
            let mut expected = expectation(&lab, master);
            expected.expires = super::super::expect::expiry(lab.now.mono, secs);
            lab.tracker.expectations.insert(expected, 1, 4096).unwrap();
            (lab, master)
        };
        let (mut lab, master) = lab_with(300);
        let mut events = Vec::new();
        assert!(lab.tracker.remove(master, &mut events));
        assert_eq!(lab.class(&syn), Some(Class::New));
        assert_eq!(lab.tracker.stats.expect_delete, 1);

        let (mut lab, _) = lab_with(10);
        lab.wait(9_999);
        assert_eq!(lab.class(&syn), Some(Class::Related(Direction::Original)));
        let (mut lab, _) = lab_with(10);
        lab.wait(10_000);
        assert_eq!(lab.class(&syn), Some(Class::New));
        assert_eq!((lab.tracker.stats.expect_delete, lab.tracker.expectations.len()), (1, 0));
    }

    /// A packet of one of a few conversations, or an error about one.
    fn any_packet() -> impl Strategy<Value = Vec<u8>> {
        let ends = (2u8..4, 2u8..4, 1u16..3, 1u16..3);
        let plain = (
            ends,
            prop::sample::select(vec![1u8, 6, 17, 47, 50, 58, 132, 136]),
            prop::collection::vec(any::<u8>(), 0..40),
        );
        let plain = plain.prop_map(|((from, to, src, dst), protocol, mut l4)| {
            if protocol != proto::ICMP && l4.len() >= 4 {
                l4[..4].copy_from_slice(&[0, src as u8, 0, dst as u8]);
            }
            build::ip(Family::V4, host(from), host(to), protocol, &l4)
        });
        let good = (ends_of_udp(), prop_oneof![Just(None), (0u8..19, 0u8..2).prop_map(Some)]);
        let good = good.prop_map(|(datagram, error)| match error {
            None => datagram,
            Some((kind, code)) => {
                let to = if code == 0 { host(2) } else { host(3) };
                build::Icmp { kind, code, rest: 0, payload: &datagram }.packet(Family::V4, host(9), to)
            }
        });
        let segment = (2u8..4, 0u32..4, 0u32..4, any::<u8>())
            .prop_map(|(from, seq, ack, flags)| segment((from, 1), (5 - from, 1), seq, ack, flags));
        prop_oneof![plain, good, segment]
    }

    fn ends_of_udp() -> impl Strategy<Value = Vec<u8>> {
        (2u8..4, 1u16..3, 1u16..3).prop_map(|(from, src, dst)| udp((from, src), (5 - from, dst)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever comes: nothing panics, every connection in the table is found by its tuples, only confirmed ones outlive their
        /// packet, and all end at last.
        #[test]
        fn keeps_its_house_in_order(
            packets in prop::collection::vec((any_packet(), prop_oneof![4 => 0u64..2000, 1 => 0u64..200_000], 0u8..6), 0..60),
            max in prop_oneof![Just(0u32), 1u32..6],
            checksum in any::<bool>(),
        ) {
            let mut lab = Lab::new();
            lab.knobs.max = max;
            lab.knobs.buckets = 3;
            lab.knobs.checksum = checksum;
            for (bytes, millis, fate) in packets {
                lab.wait(millis);
                let mut packet = Packet::from_ip(&bytes).unwrap();
                let hook = if fate == 0 { Hook::Output } else { Hook::Prerouting };
                if lab.enter(&mut packet, hook).is_ok() && fate != 1 {
                    let _ = lab.confirm(&mut packet);
                }
                if let Tracked::Conn(id, _) = packet.meta.tracked {
                    prop_assert!(lab.tracker.conns.get(id).is_some());
                }
                lab.tracker.release(&packet);
                let conns = &lab.tracker.conns;
                prop_assert_eq!(conns.count(), conns.iter().count());
                prop_assert!(max == 0 || conns.count() <= max as usize);
                for (id, conn) in conns.iter() {
                    for direction in [Direction::Original, Direction::Reply] {
                        let found = conns.find(&conn.tuple(direction), 0, lab.now.mono);
                        let direction = if conn.tuple(Direction::Original) == conn.tuple(Direction::Reply) { Direction::Reply } else { direction };
                        prop_assert_eq!(found, Some((id, direction)));
                    }
                }
            }
            lab.wait(500_000_000);
            let knobs = lab.knobs.clone();
            lab.tracker.expire(lab.now.mono, &knobs, &mut lab.events);
            prop_assert_eq!((lab.tracker.conns.count(), lab.tracker.next_expiry()), (0, None));
            let came = lab.events.iter().filter(|event| matches!(event, Event::ConnNew(..))).count();
            let went = lab.events.iter().filter(|event| matches!(event, Event::ConnGone(_))).count();
            prop_assert_eq!(came, went);
        }
    }
}
