//! Connection tracking at a hook: at the entrance, and at the way out.

use crate::engine::Engine;
use crate::fate::{DropReason, Fate};
use crate::hook::Hook;
use crate::nat;
use crate::net::LO;
use crate::packet::Packet;
use crate::path::{Onward, Path};
use crate::track::helper::{self, Surroundings};
use crate::track::{self, Class, Direction, Status, Tracked};
use hairpin_wire::proto;
use std::ops::ControlFlow::{Break, Continue};

impl Path<'_> {
    /// Finds or makes the packet's connection (`nf_conntrack_in`).
    pub(crate) fn track(&mut self, hook: Hook, p: &mut Packet) -> Onward {
        let known = p.meta.tracked;
        let Engine { tracker, knobs, .. } = &mut *self.engine;
        if let Err(reason) = track::enter(tracker, p, hook, self.now, knobs, &mut self.out.events) {
            return Break(Fate::Drop(reason));
        }
        if known != Tracked::No {
            return Continue(());
        }
        let looked_at = matches!(p.protocol(), proto::TCP | proto::UDP | proto::ICMP | proto::ICMPV6);
        if hook == Hook::Prerouting && looked_at && !p.is_checksum_trusted() && knobs.checksum {
            if tracker.has_seen_checksum(p.meta.tracked) {
                p.meta.checksum_seen = Some(p.sum_to_keep_of_right());
            } else {
                p.meta.sum_was_wrong = tracker.has_seen_wrong_checksum();
            }
        }
        if let Tracked::Conn(id, Class::New | Class::Related(Direction::Original)) = p.meta.tracked {
            self.meet_new(id)?;
        }
        let why = self.engine.tracker.why_invalid;
        self.note(|| format!("conntrack: {}{}", self_text(p), reason_text(p, why)));
        Continue(())
    }

    /// A connection made just now that a helper expected goes its master's way.
    fn meet_new(&mut self, id: track::ConnId) -> Onward {
        let engine = &mut *self.engine;
        let Some(conn) = engine.tracker.conns.get_mut(id) else { return Continue(()) };
        if conn.status.has(Status::CONFIRMED) {
            return Continue(());
        }
        if let Some(expected) = conn.known_extra_mut().and_then(|e| e.expected.take()) {
            let conns = &mut engine.tracker.conns;
            // A failure leaves the side unsettled, and the nat chains are asked as for any other connection.
            let _ = nat::follow_master(conns, id, &expected, &engine.rng, self.now.mono);
        }
        Continue(())
    }

    /// Helpers, sequence numbers, and the entry into the table (`nf_confirm`).
    pub(crate) fn confirm(&mut self, p: &mut Packet) -> Onward {
        let Tracked::Conn(id, class) = p.meta.tracked else { return Continue(()) };
        let Some(conn) = self.engine.tracker.conns.get(id) else { return Continue(()) };
        if conn.extra().is_some() || conn.status.has(Status::SEQ_ADJUST) {
            if conn.proxied().is_some() {
                self.proxy_known(id, class, p)?;
            }
            self.help(id, class, p)?;
        } else if conn.status.has(Status::CONFIRMED) {
            return Continue(());
        }
        let Engine { tracker, knobs, .. } = &mut *self.engine;
        match track::confirm(tracker, p, self.now, knobs, &mut self.out.events) {
            Ok(()) => Continue(()),
            Err(reason) => Break(Fate::Drop(reason)),
        }
    }

    /// The connection's helper reads the packet, and the sequence numbers that helpers moved are put right. What came by way of `lo` was
    /// put right when it left.
    fn help(&mut self, id: track::ConnId, class: Class, p: &mut Packet) -> Onward {
        let Some(conn) = self.engine.tracker.conns.get(id) else { return Continue(()) };
        if class == Class::Related(Direction::Reply) {
            return Continue(());
        }
        let is_moved = conn.status.has(Status::SEQ_ADJUST) && p.meta.iif != Some(LO);
        if conn.helper().is_some() {
            let Engine { tracker, knobs, rng, .. } = &mut *self.engine;
            let mut around = Surroundings { now: self.now, knobs, rng, events: &mut self.out.events };
            if let Err(reason) = helper::run(tracker, p, id, class, &mut around) {
                return Break(Fate::Drop(reason));
            }
        }
        let tracker = &mut self.engine.tracker;
        let Some(conn) = tracker.conns.get(id).filter(|_| is_moved) else { return Continue(()) };
        if !track::adjust(conn, p, class.direction()) {
            tracker.stats.drop += 1;
            return Break(Fate::Drop(DropReason::Helper));
        }
        Continue(())
    }
}

/// Why the packet is INVALID, in parentheses; nothing for others.
fn reason_text(p: &Packet, why: &'static str) -> String {
    if p.meta.tracked == Tracked::No { format!(" ({why})") } else { String::new() }
}

fn self_text(p: &Packet) -> &'static str {
    match p.meta.tracked {
        Tracked::No => "INVALID",
        Tracked::Untracked => "UNTRACKED",
        Tracked::Conn(_, Class::New) => "NEW",
        Tracked::Conn(_, Class::Related(Direction::Original)) => "RELATED",
        Tracked::Conn(_, Class::Related(Direction::Reply)) => "RELATED, reply direction",
        Tracked::Conn(_, Class::Established(Direction::Original)) => "ESTABLISHED",
        Tracked::Conn(_, Class::Established(Direction::Reply)) => "ESTABLISHED, reply direction",
    }
}
