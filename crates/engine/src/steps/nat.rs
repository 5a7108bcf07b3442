//! Address translation at a hook (`nf_nat_inet_fn` and its IPv4 and IPv6 wrappers).

use crate::event::Event;
use crate::fate::{DropReason, Fate};
use crate::hook::Hook;
use crate::nat::{self, Manip};
use crate::packet::Packet;
use crate::path::{Onward, Path};
use crate::rule::{TableId, Verdict};
use crate::track::{Class, Conn, ConnId, Direction, Tracked};
use hairpin_wire::proto;
use std::ops::ControlFlow::{Break, Continue};

impl Path<'_> {
    /// Settles and applies the translation of this hook's side.
    pub(crate) fn translate(&mut self, hook: Hook, side: Manip, p: &mut Packet) -> Onward {
        let Tracked::Conn(id, class) = p.meta.tracked else { return Continue(()) };
        // Nearly every packet: the binding is there, and the packet leaves the way it is bound to.
        if let Some(conn) = self.engine.tracker.conns.get(id)
            && is_bound(conn, class, side)
            && !has_moved(conn, hook, class.direction(), p)
        {
            if !nat::is_changed(conn, class.direction(), side) {
                return Continue(());
            }
            if hook != Hook::Output && !self.engine.is_tracing() {
                let before = p.dst();
                let done = fate(nat::translate(conn, class, side, p));
                if hook == Hook::Prerouting && before != p.dst() {
                    p.meta.route = None;
                }
                return done;
            }
        }
        self.translate_with_care(hook, side, p, id, class)
    }

    #[inline(never)]
    fn translate_with_care(&mut self, hook: Hook, side: Manip, p: &mut Packet, id: ConnId, class: Class) -> Onward {
        let before = p.dst();
        let told = self.engine.is_tracing().then(|| p.describe());
        let is_icmp = matches!(p.protocol(), proto::ICMP | proto::ICMPV6);
        let done = match class {
            Class::Related(_) if is_icmp => self.translate_error(hook, side, p, id, class),
            Class::Related(_) | Class::New => self.bind_and_translate(hook, side, p, id, class),
            Class::Established(_) => self.translate_known(hook, side, p, id, class),
        };
        done?;
        if let Some(now) = told.and_then(|told| Some(p.describe()).filter(|now| *now != told)) {
            self.note(|| format!("nat: now {now}"));
        }
        match hook {
            Hook::Prerouting if before != p.dst() => {
                p.meta.route = None;
                Continue(())
            }
            Hook::Output if self.is_redirected(id, class) => self.reroute(p),
            _ => Continue(()),
        }
    }

    #[cold]
    fn translate_error(&mut self, hook: Hook, side: Manip, p: &mut Packet, id: ConnId, class: Class) -> Onward {
        let comes_in = matches!(hook, Hook::Prerouting | Hook::Input);
        match self.engine.tracker.conns.get(id) {
            Some(conn) => fate(nat::translate_error(conn, class, side, comes_in, p)),
            None => Continue(()),
        }
    }

    /// The first packet on this side: the nat chain decides.
    #[inline(never)]
    fn bind_and_translate(&mut self, hook: Hook, side: Manip, p: &mut Packet, id: ConnId, class: Class) -> Onward {
        let Some(conn) = self.engine.tracker.conns.get(id) else { return Continue(()) };
        if nat::is_settled(conn, side) {
            return self.translate_known(hook, side, p, id, class);
        }
        let verdict = self.walk_table(TableId::Nat, hook, p);
        // Somebody decides, or the packet goes on without: past the rest of this hook's translation, so that the next one asks the chain again.
        if let Verdict::Queue { number, bypass } = verdict {
            return self.queue(number, bypass, TableId::Nat, hook, p);
        }
        let oif = p.meta.oif;
        let engine = &mut *self.engine;
        let (conns, rng, now) = (&mut engine.tracker.conns, &engine.rng, self.now.mono);
        let settled = match verdict {
            Verdict::Nat(_, range) => nat::set_up(conns, id, &range, side, oif, rng, now),
            Verdict::Accept | Verdict::Continue => nat::set_up_unchanged(conns, id, side, rng, now),
            Verdict::Drop(reason) => Err(reason),
            Verdict::Queue { .. } => {
                self.report(Event::Bug("a queue asked for twice"));
                Err(DropReason::Bug)
            }
            Verdict::SynProxy(rule) => return self.proxy_client(&rule, p),
            Verdict::Reject(_) => {
                self.report(Event::Bug("REJECT asked for in the nat table"));
                Err(DropReason::Bug)
            }
        };
        fate(settled)?;
        self.apply_binding(id, class, side, p)
    }

    /// A later packet: the binding is there. A masqueraded connection that leaves by another device is forgotten.
    fn translate_known(&mut self, hook: Hook, side: Manip, p: &mut Packet, id: ConnId, class: Class) -> Onward {
        let Some(conn) = self.engine.tracker.conns.get(id) else { return Continue(()) };
        if has_moved(conn, hook, class.direction(), p) {
            self.engine.tracker.kill(id, &mut self.out.events);
            return Break(Fate::Drop(DropReason::NatFailed));
        }
        self.apply_binding(id, class, side, p)
    }

    fn apply_binding(&mut self, id: ConnId, class: Class, side: Manip, p: &mut Packet) -> Onward {
        match self.engine.tracker.conns.get(id) {
            Some(conn) => fate(nat::translate(conn, class, side, p)),
            None => Continue(()),
        }
    }

    /// Whether packets of this direction go elsewhere than their sender meant.
    fn is_redirected(&self, id: ConnId, class: Class) -> bool {
        let direction = class.direction();
        self.engine
            .tracker
            .conns
            .get(id)
            .is_some_and(|conn| conn.tuple(direction).dst != conn.tuple(direction.other()).src)
    }
}

/// Whether a packet of this class only needs its connection's binding; errors about a connection are others' matter.
#[inline]
fn is_bound(conn: &Conn, class: Class, side: Manip) -> bool {
    match class {
        Class::Established(_) => true,
        Class::New => nat::is_settled(conn, side),
        Class::Related(_) => false,
    }
}

/// Whether a masqueraded connection leaves by another device than the one it is bound to.
fn has_moved(conn: &Conn, hook: Hook, direction: Direction, p: &Packet) -> bool {
    hook == Hook::Postrouting
        && direction == Direction::Original
        && conn.masquerade().is_some_and(|dev| Some(dev) != p.meta.oif)
}

fn fate(result: Result<(), DropReason>) -> Onward {
    match result {
        Ok(()) => Continue(()),
        Err(reason) => Break(Fate::Drop(reason)),
    }
}
