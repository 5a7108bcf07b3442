//! Asking a table, and carrying out what it says.

use crate::event::Event;
use crate::fate::{DropReason, Fate};
use crate::hook::Hook;
use crate::look::Effects;
use crate::packet::Packet;
use crate::path::{Onward, Path};
use crate::rule::{Stopped, TableId, Verdict, Walk, walk};
use hairpin_wire::Family;
use std::ops::ControlFlow::{Break, Continue};

/// What the reroute check of mangle OUTPUT compares.
#[derive(PartialEq)]
pub(crate) struct RouteKey {
    src: hairpin_wire::Addr,
    dst: hairpin_wire::Addr,
    mark: u32,
    /// IPv4: TOS. IPv6: the first word (traffic class and flow label) and the hop limit.
    header: (u32, u8),
}

impl RouteKey {
    pub(crate) fn of(p: &Packet) -> RouteKey {
        let header = match p.family() {
            Family::V4 => (u32::from(p.tos()), 0),
            Family::V6 => {
                let word = p.ip().first_chunk::<4>().map_or(0, |w| u32::from_be_bytes(*w));
                (word, p.ttl())
            }
        };
        RouteKey { src: p.src(), dst: p.dst(), mark: p.meta.mark, header }
    }
}

impl Path<'_> {
    /// One table that is not nat.
    pub(crate) fn ask_table(&mut self, table: TableId, hook: Hook, p: &mut Packet) -> Onward {
        let watched = (table == TableId::Mangle && hook == Hook::Output).then(|| RouteKey::of(p));
        match self.walk_table(table, hook, p) {
            Verdict::Accept | Verdict::Continue => {}
            Verdict::Drop(reason) => return Break(Fate::Drop(reason)),
            Verdict::Queue { number, bypass } => self.queue(number, bypass, table, hook, p)?,
            Verdict::Reject(with) => {
                self.reject(with, hook, p);
                return Break(Fate::Drop(DropReason::Rejected));
            }
            Verdict::SynProxy(rule) => self.proxy_client(&rule, p)?,
            Verdict::Nat(..) => {
                self.report(Event::Bug("address translation asked for outside of the nat table"));
                return Break(Fate::Drop(DropReason::Bug));
            }
        }
        match watched {
            Some(before) if before != RouteKey::of(p) => self.reroute(p),
            _ => Continue(()),
        }
    }

    /// Walks a table and carries out what its targets asked for beside their verdict. A copy is sent at once, before the rules
    /// behind the one that made it see the packet.
    pub(crate) fn walk_table(&mut self, table: TableId, hook: Hook, p: &mut Packet) -> Verdict {
        let mut stopped = None;
        loop {
            let verdict = self.walk_on(table, hook, p, &mut stopped);
            if !self.engine.effects.is_empty() {
                self.carry_out_effects(hook, p);
            }
            if stopped.is_none() {
                return verdict;
            }
        }
    }

    fn walk_on(&mut self, table: TableId, hook: Hook, p: &mut Packet, stopped: &mut Option<Stopped>) -> Verdict {
        let tracing = self.engine.is_tracing();
        let engine = &mut *self.engine;
        let cause = engine.cause;
        let family = p.family();
        let live = &mut engine.live[usize::from(family == Family::V6)];
        let trace = tracing.then_some((&mut *self.out, cause));
        let (net, rng, memories) = (&engine.net, &engine.rng, engine.memories.cells.as_slice());
        let (sets, accounts) = (&engine.sets, &engine.accounts);
        let (now, asked) = (self.now, engine.asked.as_deref());
        let mut surroundings = Walk { family, table, hook, now, net, rng, memories, sets, accounts, asked, trace };
        walk(live, &mut surroundings, p, &mut engine.tracker.conns, &mut engine.effects, stopped)
    }

    #[cold]
    fn carry_out_effects(&mut self, hook: Hook, p: &mut Packet) {
        let Effects { events, copies, errors } = std::mem::take(&mut self.engine.effects);
        self.out.events.extend(events);
        for copy in copies {
            self.send_copy(copy, hook);
        }
        for error in errors {
            self.send_error(p, error);
        }
    }
}
