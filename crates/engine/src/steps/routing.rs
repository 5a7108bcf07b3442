//! Routing decisions on a packet's way, and what forwarding asks before it lets a packet go on.

use crate::engine::Engine;
use crate::fate::{DropReason, Fate};
use crate::link::{self, IcmpError};
use crate::net::{IfIndex, IfName};
use crate::packet::{LinkType, Origin, Packet, Sender};
use crate::path::{Onward, Path};
use crate::route::known::Asked;
use crate::route::{InputError, OutputKey, Route, RouteType};
use crate::track::{Class, ConnId, Conns, Direction, Status, Tracked};
use hairpin_wire::{Family, proto};
use std::ops::ControlFlow::{Break, Continue};

impl Path<'_> {
    /// Where a received packet goes, or why nowhere: that is only said after its options were read. One that came back over `lo` keeps
    /// its route unless NAT changed its destination.
    pub(crate) fn route_in(&mut self, p: &mut Packet) -> Onward<Result<(), InputError>> {
        if p.meta.route.is_some() || self.take_known_route(p) {
            return Continue(Ok(()));
        }
        self.choose_route(p)
    }

    #[inline(never)]
    fn choose_route(&mut self, p: &mut Packet) -> Onward<Result<(), InputError>> {
        match self.find_route(p) {
            Ok(route) => {
                p.meta.route = Some(route);
                self.note_route(p, &route);
                if p.meta.link_type != LinkType::Host && route.kind == RouteType::Unicast {
                    return Break(Fate::Drop(DropReason::LinkBroadcast));
                }
                Continue(Ok(()))
            }
            Err(error) if error.has_route() => Continue(Err(error)),
            Err(error) => Break(Fate::Drop(error.reason)),
        }
    }

    /// Where no route leads on, the packet ends, and its sender may be told (`ip_error`).
    pub(crate) fn check_route(&mut self, p: &Packet, routed: Result<(), InputError>) -> Onward {
        let Err(error) = routed else { return Continue(()) };
        if let Some((kind, code)) = error.icmp {
            self.send_route_error(p, IcmpError::new(kind, code, 0));
        }
        Break(Fate::Drop(error.reason))
    }

    fn note_route(&mut self, p: &Packet, route: &Route) {
        if self.engine.is_tracing() {
            let dev = self.device_name(route.oif);
            self.note(|| format!("route: {}", route.describe(p.family(), dev)));
        }
    }

    /// Gives a received packet the route of its connection's last packet that way, if nothing that the decision reads has changed.
    #[inline]
    fn take_known_route(&mut self, p: &mut Packet) -> bool {
        let Engine { net, tracker, known_routes, .. } = &*self.engine;
        let Some((id, direction)) = lasting(&tracker.conns, p) else { return false };
        let number = tracker.conns.get(id).map_or(0, |conn| conn.route(direction));
        let Some(known) = known_routes.get(number, Asked::by(p)) else { return false };
        debug_assert_eq!(Ok(*known), net.route_input(p));
        p.meta.route = Some(*known);
        if self.engine.is_tracing() {
            let route = *known;
            self.note_route(p, &route);
        }
        true
    }

    /// The routing decision for a received packet, which its connection will know.
    fn find_route(&mut self, p: &Packet) -> Result<Route, InputError> {
        let Engine { net, tracker, known_routes, .. } = &mut *self.engine;
        let route = net.route_input(p)?;
        if let Some((id, direction)) = lasting(&tracker.conns, p)
            && let Some(conn) = tracker.conns.get_mut(id)
        {
            conn.set_route(direction, known_routes.keep(Asked::by(p), &route));
        }
        Ok(route)
    }

    /// Where a local packet goes. One that was made with a route keeps it.
    pub(crate) fn route_out(&mut self, p: &mut Packet) -> Onward {
        let route = match p.meta.route {
            Some(route) => route,
            None => {
                let uid = match &p.meta.origin {
                    Origin::Local(Sender::Process(owner)) => owner.uid,
                    _ => 0,
                };
                let key = OutputKey {
                    src: Some(p.src()),
                    tos: p.tos(),
                    mark: p.meta.mark,
                    protocol: p.protocol(),
                    ports: p.ports().unwrap_or((0, 0)),
                    uid,
                    any_source: self.engine.asked.is_some(),
                    ..OutputKey::to(p.family(), p.dst())
                };
                match self.engine.net.route_output(&key) {
                    Ok(route) => route,
                    Err(error) => return Break(Fate::Drop(error.reason)),
                }
            }
        };
        p.meta.route = Some(route);
        p.meta.oif = Some(route.oif);
        Continue(())
    }

    /// After OUTPUT changed what routing looks at (`ip_route_me_harder`). Rules of this hook go on to see the old device.
    pub(crate) fn reroute(&mut self, p: &mut Packet) -> Onward {
        match self.engine.net.reroute(p) {
            Ok(route) => {
                p.meta.route = Some(route);
                let dev = self.device_name(route.oif);
                self.note(|| format!("rerouted: {}", route.describe(p.family(), dev)));
                Continue(())
            }
            Err(_) => Break(Fate::Drop(DropReason::Reroute)),
        }
    }

    /// What forwarding asks of a packet before its TTL is lowered, in the kernel's order.
    pub(crate) fn check_forwarding(&mut self, p: &mut Packet) -> Onward {
        if p.meta.link_type != LinkType::Host {
            return Break(Fate::Drop(DropReason::LinkBroadcast));
        }
        // What TPROXY handed to a socket is not forwarded: no routing rule brought it here.
        if p.meta.socket.is_some() {
            return Break(Fate::Drop(DropReason::NotForwarding));
        }
        let family = p.family();
        if p.ttl() <= 1 {
            self.send_error(p, IcmpError::expired(family));
            return Break(Fate::Drop(DropReason::TtlExpired));
        }
        let Some(route) = &p.meta.route else { return Break(Fate::Drop(DropReason::Bug)) };
        let mtu = self.engine.path_mtus.limit_before_forward(p, route, &self.engine.net, self.now.mono);
        if let Err(error) = self.engine.net.check_forward_source(p, route) {
            if let Some((kind, code)) = error.icmp {
                self.send_error(p, IcmpError::new(kind, code, 0));
            }
            return Break(Fate::Drop(error.reason));
        }
        // IPv6 redirects quote the packet as it came.
        if family == Family::V6 {
            self.redirect_sender(p);
        }
        if link::options::strict_route_fails(p) {
            self.send_error(p, link::options::source_route_failed());
            return Break(Fate::Drop(DropReason::BadOptions));
        }
        if link::exceeds(p, mtu) {
            self.send_error(p, IcmpError::too_big(family, mtu));
            return Break(Fate::Drop(DropReason::TooBig));
        }
        Continue(())
    }

    /// The device a packet leaves by shows from FORWARD on; before POSTROUTING it is taken again from the route, which OUTPUT may
    /// have changed.
    pub(crate) fn take_out_device(&mut self, p: &mut Packet) -> Onward {
        match &p.meta.route {
            Some(route) => {
                p.meta.oif = Some(route.oif);
                Continue(())
            }
            None => Break(Fate::Drop(DropReason::Bug)),
        }
    }

    /// One hop less. The way out shows from here on.
    pub(crate) fn spend_ttl(&mut self, p: &mut Packet) -> Onward {
        p.set_ttl(p.ttl().saturating_sub(1));
        self.take_out_device(p)
    }

    fn device_name(&self, dev: IfIndex) -> IfName {
        self.engine.net.interface(dev).map(|device| device.name).unwrap_or_default()
    }
}

/// The connection that may remember the packet's route, and the packet's direction: one in the table, answered or not, whose tuples say
/// everything about the packet that it was routed by. NAT is settled for it, but may be switched off meanwhile, so the addresses are compared.
#[inline]
fn lasting(conns: &Conns, p: &Packet) -> Option<(ConnId, Direction)> {
    let (id, direction) = match p.meta.tracked {
        Tracked::Conn(_, Class::Related(_)) => return None,
        Tracked::Conn(id, class) => (id, class.direction()),
        _ => return None,
    };
    let conn = conns.get(id)?;
    let is_plain = matches!(p.protocol(), proto::TCP | proto::UDP) && p.meta.link_type == LinkType::Host;
    let is_lasting = is_plain
        && conn.status.has(Status::CONFIRMED)
        && !conn.status.has(Status::DYING)
        && p.src() == conn.source(direction).0
        && p.dst() == conn.source(direction.other()).0;
    is_lasting.then_some((id, direction))
}
