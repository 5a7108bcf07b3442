//! A packet meets tracking: PREROUTING for what arrives, OUTPUT for what this host sends (`nf_conntrack_in`).

use super::icmp::{self, Message};
use super::{Class, Conn, ConnId, Direction, Knobs, Observe, Seen, Status, Tracked, Tracker, Tuple, Zone, room};
use crate::event::Event;
use crate::fate::DropReason;
use crate::hook::Hook;
use crate::packet::{Packet, Template};
use crate::rule::Counter;
use crate::time::{Now, Wall};
use hairpin_wire::{Family, proto};

/// Finds or makes the packet's connection and lets its protocol's tracker see the packet. Afterwards `packet.meta.tracked` says what
/// came of it; [`Tracked::No`] means INVALID, which is no reason to drop a packet.
///
/// # Errors
/// The table is full, or the protocol's tracker refuses the packet.
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
    let zone = template
        .as_ref()
        .map_or(Zone::default(), |template| Zone { original: template.zone_original, reply: template.zone_reply });
    tracker.expire(now.mono, knobs, events);
    if has_no_transport(packet) {
        tracker.stats.invalid += 1;
        return Ok(());
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
            Message::Invalid(_) => {
                tracker.stats.error += 1;
                return Ok(());
            }
        }
    }
    let Some(tuple) = Tuple::of_packet(packet) else {
        tracker.stats.invalid += 1;
        return Ok(());
    };
    let visit = Visit { tuple, zone, template: template.as_deref(), hook, now, knobs };
    visit.resolve(tracker, packet, events)
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
    fn resolve(&self, tracker: &mut Tracker, packet: &mut Packet, events: &mut Vec<Event>) -> Result<(), DropReason> {
        loop {
            let found = match tracker.conns.find_in(&self.tuple, self.zone, self.now.mono) {
                Some(found) => Some(found),
                None => self.make(tracker, events)?.map(|id| (id, Direction::Original)),
            };
            let Some((id, class)) = found.and_then(|(id, direction)| {
                let conn = tracker.conns.get(id)?;
                Some((id, class(conn.status, direction)))
            }) else {
                tracker.stats.invalid += 1;
                return Ok(());
            };
            match self.show(tracker, id, class, packet) {
                Seen::Repeat => {
                    // Each turn takes one connection away, so this ends.
                    tracker.remove(id, events);
                    continue;
                }
                Seen::Accept | Seen::Ignore => packet.meta.tracked = Tracked::Conn(id, class),
                Seen::AcceptAndDelete => {
                    packet.meta.tracked = Tracked::Conn(id, class);
                    tracker.kill(id, events);
                }
                Seen::Invalid(_) => {
                    tracker.stats.invalid += 1;
                    tracker.conns.let_go(id);
                    return Ok(());
                }
                Seen::Drop => {
                    tracker.stats.invalid += 1;
                    tracker.stats.drop += 1;
                    tracker.conns.let_go(id);
                    return Err(DropReason::BadTransport);
                }
            }
            if class == Class::Established(Direction::Reply)
                && let Some(conn) = tracker.conns.get_mut(id)
            {
                conn.status.set(Status::SEEN_REPLY);
            }
            return Ok(());
        }
    }

    /// Lets the protocol's tracker see the packet.
    fn show(&self, tracker: &mut Tracker, id: ConnId, class: Class, packet: &Packet) -> Seen {
        let Some(conn) = tracker.conns.get_mut(id) else { return Seen::Invalid("connection gone") };
        let context = Observe { now: self.now, knobs: self.knobs, hook: self.hook, class };
        let is_new = !conn.status.has(Status::CONFIRMED);
        let seen = super::observe(conn, class.direction(), packet, is_new, &context);
        if matches!(seen, Seen::Accept | Seen::AcceptAndDelete) {
            conn.account(class.direction(), packet.length());
        }
        tracker.conns.rearm(id);
        seen
    }

    /// Makes a connection, unconfirmed; None when the tuple has no answer. The protocol's tracker has not seen it yet: the limit and
    /// a matching expectation are spent even if it then refuses.
    fn make(&self, tracker: &mut Tracker, events: &mut Vec<Event>) -> Result<Option<ConnId>, DropReason> {
        let Some(reply) = self.tuple.invert() else { return Ok(None) };
        let hash = tracker.conns.hash(&self.tuple, self.zone.original);
        if !room::make(tracker, hash, self.now.mono, self.knobs, events) {
            tracker.stats.drop += 1;
            return Err(DropReason::TableFull);
        }
        let mut conn = Conn::new(self.tuple, reply, self.zone, self.now.mono);
        if self.knobs.accounting {
            conn.counters = Some(Box::new([Counter::default(); 2]));
        }
        if self.knobs.timestamp {
            conn.extra_mut().confirmed_at = Some(Wall(0));
        }
        if tracker.labels {
            conn.extra_mut().labels = Some(std::cell::Cell::new(0));
        }
        if !self.meet_expectation(tracker, &mut conn)
            && let Some(helper) = self.template.and_then(|template| template.helper.as_deref()).and_then(helper_name)
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

/// The helpers there are, by the names rules give them.
fn helper_name(name: &str) -> Option<&'static str> {
    const HELPERS: [&str; 3] = ["ftp", "tftp", "irc"];
    HELPERS.into_iter().find(|helper| *helper == name)
}
