//! A packet's way, in the order of the netfilter diagram. This file is order and nothing else: each step is a function of its own
//! in another room. A step edits the packet and lets it go on, or gives the fate that ends its story.
//!
//! ```text
//! from a device:  receive -> PREROUTING -> route -> deliver -> INPUT ------> this host
//!                                               \-> forward -> FORWARD --\
//! from this host: send -> route -> OUTPUT -------------------------------> leave -> POSTROUTING -> fragment -> neighbor
//! ```

use crate::engine::Engine;
use crate::event::Output;
use crate::fate::Fate;
use crate::hook::{Hook, Step};
use crate::packet::{Origin, Packet};
use crate::route::RouteType;
use crate::time::Now;
use hairpin_wire::Family;
use std::ops::ControlFlow;

/// Break: the packet's story ends here, with this fate.
pub(crate) type Onward<T = ()> = ControlFlow<Fate, T>;

/// One packet's way through the engine at one moment.
pub(crate) struct Path<'a> {
    pub(crate) engine: &'a mut Engine,
    pub(crate) now: &'a Now,
    pub(crate) out: &'a mut Output,
}

impl Path<'_> {
    /// The whole way of a packet, wherever it comes from.
    pub(crate) fn walk(&mut self, p: &mut Packet) -> Fate {
        let end = match p.meta.origin {
            Origin::Wire => self.receive(p),
            Origin::Local(_) => self.send(p),
        };
        match end {
            ControlFlow::Continue(fate) | ControlFlow::Break(fate) => fate,
        }
    }

    /// A packet from a device.
    fn receive(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.check_received(p)?;
        self.arrive(p)
    }

    /// A packet that passed the checks, or came back over `lo`.
    pub(crate) fn arrive(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.hook(Hook::Prerouting, p)?;
        self.behind_prerouting(p)
    }

    fn behind_prerouting(&mut self, p: &mut Packet) -> Onward<Fate> {
        let routed = self.route_in(p)?;
        self.read_options(p)?;
        self.check_route(p, routed)?;
        match p.meta.route.as_ref().map(|route| route.kind) {
            Some(RouteType::Unicast) => self.forward(p),
            _ => self.deliver(p),
        }
    }

    /// For this host.
    fn deliver(&mut self, p: &mut Packet) -> Onward<Fate> {
        // IPv4 fragments are collected before INPUT. In IPv6 that is one of the headers for the last host.
        if p.family() == Family::V4 {
            self.collect_local(p)?;
        }
        self.hook(Hook::Input, p)?;
        self.hand_to_host(p)
    }

    /// For somebody else.
    fn forward(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.check_forwarding(p)?;
        self.spend_ttl(p)?;
        if p.family() == Family::V4 {
            self.redirect_sender(p);
        }
        self.hook(Hook::Forward, p)?;
        self.behind_forward(p)
    }

    fn behind_forward(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.write_options(p);
        self.leave(p)
    }

    /// A packet of this host.
    pub(crate) fn send(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.route_out(p)?;
        self.hook(Hook::Output, p)?;
        self.behind_output(p)
    }

    fn behind_output(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.hear_oneself(p);
        self.leave(p)
    }

    /// About to leave by the device that the route names.
    pub(crate) fn leave(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.pass_postrouting(p)?;
        self.behind_postrouting(p)
    }

    fn behind_postrouting(&mut self, p: &mut Packet) -> Onward<Fate> {
        self.fit_mtu(p)?;
        self.transmit(p)
    }

    /// The last hook, at the device that the packet leaves by. A copy that comes back to this host passes it by itself.
    pub(crate) fn pass_postrouting(&mut self, p: &mut Packet) -> Onward {
        self.take_out_device(p)?;
        self.hook(Hook::Postrouting, p)
    }

    /// Everything that happens at a hook, in the order that [`Hook::steps`] gives, without the steps that the rules leave nothing to do.
    // Where the hook is known to the compiler, so is each step.
    #[inline(always)]
    fn hook(&mut self, hook: Hook, p: &mut Packet) -> Onward {
        self.trace_hook(hook);
        let plan = self.engine.plan(p.family()).at(hook);
        for (place, step) in hook.steps().iter().enumerate() {
            if plan.has_place(place) {
                self.step(*step, hook, p)?;
            }
        }
        Onward::Continue(())
    }

    #[inline(always)]
    fn step(&mut self, step: Step, hook: Hook, p: &mut Packet) -> Onward {
        match step {
            Step::Defragment => self.collect_fragments(hook, p),
            Step::Table(table) => self.ask_table(table, hook, p),
            Step::Track => self.track(hook, p),
            Step::Nat(side) => self.translate(hook, side, p),
            Step::Confirm => self.confirm(p),
        }
    }

    /// The rest of a hook, from this place in [`Hook::steps`] on: for a packet that a queue gave back.
    pub(crate) fn hook_from(&mut self, hook: Hook, from: usize, p: &mut Packet) -> Onward {
        for (place, step) in hook.steps().iter().enumerate().skip(from) {
            if self.engine.plan(p.family()).at(hook).has_place(place) {
                self.step(*step, hook, p)?;
            }
        }
        Onward::Continue(())
    }

    /// What follows a hook, for such a packet.
    pub(crate) fn behind(&mut self, hook: Hook, p: &mut Packet) -> Onward<Fate> {
        match hook {
            Hook::Prerouting => self.behind_prerouting(p),
            Hook::Input => self.hand_to_host(p),
            Hook::Forward => self.behind_forward(p),
            Hook::Output => self.behind_output(p),
            Hook::Postrouting => self.behind_postrouting(p),
        }
    }
}
