//! Decisions: where a received packet goes, where a local one goes, and from which address.

use super::fib::TableId;
use super::multipath;
use super::policy::{Found, Policy, Refused, plain_flow};
use super::source6;
use super::{AddressType, Flow, ReversePath, Route, RouteType};
use crate::fate::DropReason;
use crate::net::{IfAddr, IfIndex, Interface, LO, LinkKind, Net, Scope};
use crate::packet::{LinkType, Origin, Packet};
use hairpin_wire::{Addr, Family, Mac, proto};

/// Why a received packet is not routed, and what Linux answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputError {
    /// The reason for the counters.
    pub reason: DropReason,
    /// ICMP type and code to send to the source; None for silence. For IPv4 such an error also pays from the peer's
    /// error bucket (5 tokens, one a second) beside the usual ICMP limits.
    pub icmp: Option<(u8, u8)>,
}

impl InputError {
    /// Whether Linux has a route for such a packet that only says why it goes nowhere. The others, from or to an address that cannot
    /// be, are gone at once.
    pub fn has_route(&self) -> bool {
        matches!(
            self.reason,
            DropReason::NoRoute
                | DropReason::Unreachable
                | DropReason::Prohibited
                | DropReason::Blackhole
                | DropReason::NotForwarding
        )
    }
}

/// Where on the link a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAddress {
    /// The link has no addresses (loopback, TUN).
    NotNeeded,
    /// To this one: a neighbor, or the address of a group or of all.
    Known(Mac),
    /// No neighbor entry.
    Unknown,
}

/// What a local sender asks a route for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputKey {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The source, when the sender already has one.
    pub src: Option<Addr>,
    /// The destination.
    pub dst: Addr,
    /// TOS byte or traffic class.
    pub tos: u8,
    /// Packet mark.
    pub mark: u32,
    /// The device the sender is bound to.
    pub oif: Option<IfIndex>,
    /// A source that is not this host's is taken as it is.
    pub any_source: bool,
    /// Transport protocol, for policy rules; 0 when none.
    pub protocol: u8,
    /// Source and destination port, for policy rules; 0 when none.
    pub ports: (u16, u16),
    /// User id of the sender, for policy rules.
    pub uid: u32,
    /// The hash of 31 bits that chooses among several next hops, where it is not that of the fields above.
    pub hash: Option<u32>,
}

impl OutputKey {
    /// Only a destination; everything else unset.
    pub const fn to(family: Family, dst: Addr) -> OutputKey {
        OutputKey {
            family,
            src: None,
            dst,
            tos: 0,
            mark: 0,
            oif: None,
            any_source: false,
            protocol: 0,
            ports: (0, 0),
            uid: 0,
            hash: None,
        }
    }
}

/// What the sender of a local packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EACCES (13): a prohibit route.
    Access,
    /// ENODEV (19): no such device.
    NoDevice,
    /// EADDRNOTAVAIL (99): no source address to use (IPv6).
    NoAddress,
    /// EINVAL (22): an address that cannot be, or a blackhole route.
    Invalid,
    /// ENETUNREACH (101): no route.
    NetUnreachable,
    /// EHOSTUNREACH (113): an unreachable route.
    HostUnreachable,
}

/// Why there is no route for a local packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputError {
    /// What the sender is told.
    pub errno: Errno,
    /// The reason for the counters.
    pub reason: DropReason,
}

impl Net {
    /// Routes a received packet: its way out, or local delivery ([`Route::delivers`]), or why not. Uses `meta.iif`,
    /// `meta.link_type`, `meta.mark` and the header as they are after PREROUTING.
    pub fn route_input(&self, packet: &Packet) -> Result<Route, InputError> {
        let dev = packet.meta.iif.and_then(|iif| self.interface(iif)).ok_or(silent(DropReason::NoDevice))?;
        let route = match packet.family() {
            Family::V4 => self.input4(packet, dev),
            Family::V6 => self.input6(packet, dev),
        }?;
        match packet.meta.link_type {
            LinkType::Host => Ok(route),
            // A unicast packet in a frame to many: forwarded never, delivered unless that is switched off.
            _ if !route.delivers() => Err(silent(DropReason::LinkBroadcast)),
            LinkType::Broadcast | LinkType::Multicast
                if route.kind == RouteType::Local
                    && self.sysctl.drop_unicast_in_l2_multicast(packet.family(), dev.index) =>
            {
                Err(silent(DropReason::LinkBroadcast))
            }
            _ => Ok(route),
        }
    }

    /// Routes a packet that this host sends. [`Route::prefsrc`] of the answer is `key.src` or, without one, the source to use.
    pub fn route_output(&self, key: &OutputKey) -> Result<Route, OutputError> {
        match key.family {
            Family::V4 => self.output4(key),
            Family::V6 => self.output6(key),
        }
    }

    /// Routes a local packet anew after its mark, TOS or addresses changed, and answers that REJECT makes
    /// (`ip_route_me_harder`). The source in the packet stays as it is, even where [`Route::prefsrc`] differs.
    pub fn reroute(&self, packet: &Packet) -> Result<Route, OutputError> {
        let family = packet.family();
        let src = packet.src();
        let is_source = match family {
            Family::V4 => {
                matches!(self.address_type(family, src, None), AddressType::Local | AddressType::Unicast)
            }
            Family::V6 => !src.is_unspecified(),
        };
        let on_link_only =
            family == Family::V6 && (packet.dst().is_multicast(family) || packet.dst().is_link_local(family));
        let (protocol, ports) = self.transport(packet);
        self.route_output(&OutputKey {
            family,
            src: is_source.then_some(src),
            dst: packet.dst(),
            tos: packet.tos(),
            mark: packet.meta.mark,
            oif: packet.meta.oif.filter(|_| on_link_only),
            any_source: true,
            protocol,
            ports,
            uid: 0,
            hash: multipath::of_rerouted(self, packet, protocol, ports),
        })
    }

    /// IPv6: what forbids to forward a packet from this source, asked after the hop limit was looked at; always Ok for IPv4.
    pub fn check_forward_source(&self, packet: &Packet, route: &Route) -> Result<(), InputError> {
        let (family, src) = (packet.family(), packet.src());
        // What leaves where it came from is asked about a redirect instead.
        if family == Family::V4 || packet.meta.iif == Some(route.oif) {
            return Ok(());
        }
        if src.is_unspecified() || src.is_multicast(family) || src.is_loopback(family) {
            return Err(silent(DropReason::MartianSource));
        }
        if src.is_link_local(family) {
            return Err(InputError { reason: DropReason::MartianSource, icmp: Some(BEYOND_SCOPE) });
        }
        Ok(())
    }

    /// What an address is to this host. IPv4: by the local table alone; with a device: what is not by that device counts as
    /// unicast. IPv6: by the address, then by a full lookup; with a device only its own addresses are local.
    ///
    /// `-m addrtype` for IPv6 takes every answer but `Unspecified` and `Multicast` for UNICAST as well.
    pub fn address_type(&self, family: Family, addr: Addr, dev: Option<IfIndex>) -> AddressType {
        match family {
            Family::V4 => self.address_type4(addr, dev),
            Family::V6 => self.address_type6(addr, dev),
        }
    }

    /// The way back to a received packet's source, as `-m rpfilter` asks for it; `with_mark` for `--validmark`.
    pub fn reverse_path(&self, packet: &Packet, with_mark: bool) -> ReversePath {
        let family = packet.family();
        let (src, dst) = (packet.src(), packet.dst());
        let dev = packet.meta.iif.and_then(|iif| self.interface(iif));
        let to_all = dst == LIMITED_BROADCAST || is_local_multicast4(dst);
        // What comes back to this host is not asked where it comes from.
        let exempt = dev.is_some_and(|dev| dev.kind == LinkKind::Loopback)
            || packet.meta.origin != Origin::Wire
            || src.is_unspecified() && (family == Family::V6 || to_all);
        let Some(dev) = dev.filter(|_| !exempt) else {
            return ReversePath { exempt, ..ReversePath::default() };
        };
        let is_limited_broadcast = family == Family::V4 && dst == LIMITED_BROADCAST;
        let is_one = !dst.is_multicast(family) && !dst.is_unspecified() && !is_limited_broadcast;
        let flow = Flow {
            src: if is_one { dst } else { Addr::UNSPECIFIED },
            has_src: is_one,
            tos: packet.tos(),
            mark: if with_mark { packet.meta.mark } else { 0 },
            oif: (family == Family::V6).then_some(dev.index),
            strict: family == Family::V6 && src.is_link_local(family),
            protocol: if family == Family::V6 { packet.protocol() } else { 0 },
            ..plain_flow(family, src)
        };
        match self.lookup(&flow) {
            Ok(found) => ReversePath {
                exempt: false,
                kind: Some(found.route.kind),
                oif: Some(found.hop.dev),
                by_input_device: match family {
                    Family::V4 => found.route.hops.iter().any(|hop| hop.dev == dev.index),
                    // This host itself is behind every device.
                    Family::V6 => found.hop.dev == dev.index || found.route.kind == RouteType::Local,
                },
            },
            Err(_) => ReversePath::default(),
        }
    }

    /// A source address on `dev` for reaching `dst` (a next hop; None for any). IPv4: of at most this scope
    /// (`inet_select_addr`); IPv6: by RFC 6724, whatever the scope.
    pub fn select_address(&self, family: Family, dev: IfIndex, dst: Option<Addr>, scope: Scope) -> Option<Addr> {
        match family {
            Family::V4 => select4(&self.interfaces, self.sysctl.route_localnet(dev), dev, dst, scope),
            Family::V6 => source6::select(self, dev, dst.unwrap_or(Addr::UNSPECIFIED)),
        }
    }

    /// The source that MASQUERADE gives a packet about to leave by this route; None when there is none (the packet is dropped).
    pub fn masquerade_source(&self, packet: &Packet, route: &Route) -> Option<Addr> {
        let next = match packet.family() {
            Family::V4 => route.gateway.unwrap_or(packet.dst()),
            Family::V6 => packet.dst(),
        };
        self.select_address(packet.family(), route.oif, Some(next), Scope::Global)
    }

    /// The destination that REDIRECT gives a packet for `dst` that arrived by `dev`: IPv4 the device's first address; IPv6 the
    /// first of the scope of `dst`.
    pub fn first_address(&self, family: Family, dev: IfIndex, dst: Addr) -> Option<Addr> {
        let mut addresses = self.interface(dev)?.addresses.iter().filter(|a| a.family == family);
        match family {
            Family::V4 => addresses.next().map(|a| a.addr),
            Family::V6 => addresses.find(|a| source6::redirect_fits(dst, a.addr)).map(|a| a.addr),
        }
    }

    /// The device that has this address, if it is one of this host's.
    pub fn owner(&self, family: Family, addr: Addr) -> Option<IfIndex> {
        let at = self.owners.partition_point(|(f, a, _)| (*f, *a) < (family, addr));
        self.owners.get(at).filter(|(f, a, _)| (*f, *a) == (family, addr)).map(|(_, _, dev)| *dev)
    }

    /// Whether packets for a group that arrive by `dev` are delivered: the all-hosts groups, and what IPv6 joins for its own
    /// addresses. No process of this host joins any.
    pub fn is_joined(&self, family: Family, dev: IfIndex, group: Addr) -> bool {
        match family {
            Family::V4 => group == ALL_HOSTS,
            Family::V6 => source6::is_joined(self, dev, group),
        }
    }

    /// The link address of a next hop on `dev`.
    pub fn neighbor(&self, family: Family, dev: IfIndex, next_hop: Addr) -> Option<Mac> {
        self.neighbor_macs.get(&(dev, family, next_hop)).copied()
    }

    /// The link address a packet for `dst` with this route is sent to.
    pub fn link_address(&self, family: Family, route: &Route, dst: Addr) -> LinkAddress {
        if self.interface(route.oif).is_none_or(|dev| dev.kind != LinkKind::Ethernet) {
            return LinkAddress::NotNeeded;
        }
        let next_hop = route.gateway.unwrap_or(dst);
        if next_hop.is_multicast(family) {
            return LinkAddress::Known(group_mac(family, next_hop));
        }
        if family == Family::V4 && route.gateway.is_none() && route.kind == RouteType::Broadcast {
            return LinkAddress::Known(Mac::BROADCAST);
        }
        self.neighbor(family, route.oif, next_hop).map_or(LinkAddress::Unknown, LinkAddress::Known)
    }

    /// The tables and rules of a family.
    pub(crate) fn policy(&self, family: Family) -> &Policy {
        match family {
            Family::V4 => &self.policy4,
            Family::V6 => &self.policy6,
        }
    }

    fn lookup(&self, flow: &Flow) -> Result<Found<'_>, Refused> {
        self.policy(flow.family).lookup(flow, &self.interfaces)
    }

    /// What rules see of a packet's transport header; nothing when none of them looks.
    fn transport(&self, packet: &Packet) -> (u8, (u16, u16)) {
        if !self.policy(packet.family()).needs_ports() {
            return (0, (0, 0));
        }
        let ports = if packet.is_fragment() { None } else { packet.ports() };
        (packet.protocol(), ports.unwrap_or_default())
    }

    fn input4(&self, packet: &Packet, dev: &Interface) -> Result<Route, InputError> {
        let (src, dst) = (packet.src(), packet.dst());
        let martian_source = silent(DropReason::MartianSource);
        if dst.is_multicast(Family::V4) {
            return self.input4_group(packet, dev);
        }
        if src.is_multicast(Family::V4) || src == LIMITED_BROADCAST {
            return Err(martian_source);
        }
        if dst == LIMITED_BROADCAST || src.is_unspecified() && dst.is_unspecified() {
            return self.broadcast4(packet, dev);
        }
        if src.is_unspecified() {
            return Err(martian_source);
        }
        if dst.is_unspecified() {
            return Err(silent(DropReason::MartianDestination));
        }
        if dst.is_loopback(Family::V4) || src.is_loopback(Family::V4) {
            let reason =
                if dst.is_loopback(Family::V4) { DropReason::MartianDestination } else { martian_source.reason };
            if !self.sysctl.route_localnet(dev.index) {
                return Err(silent(reason));
            }
        }
        let flow = self.input_flow(packet, dev);
        let forwards = self.sysctl.forwarding(Family::V4, dev.index);
        let found = match self.lookup(&flow) {
            Ok(found) => found,
            Err(refused) => {
                let (reason, icmp) = match refused {
                    Refused::NoRoute | Refused::Throw => (DropReason::NoRoute, Some((3, 0))),
                    Refused::Unreachable => (DropReason::Unreachable, Some((3, 1))),
                    Refused::Prohibit => (DropReason::Prohibited, Some((3, 13))),
                    Refused::Blackhole => (DropReason::Blackhole, None),
                };
                return Err(InputError { reason, icmp: icmp.filter(|_| forwards) });
            }
        };
        match found.route.kind {
            RouteType::Broadcast if self.sysctl.bc_forwarding(dev.index) => self.forward4(packet, dev, &flow, &found),
            RouteType::Broadcast => self.broadcast4(packet, dev),
            RouteType::Local => {
                let check = self.validate_source(packet, dst, None, dev)?;
                Ok(Route { realm: check.realm, ..delivery(RouteType::Local, self) })
            }
            _ if !forwards => Err(silent(DropReason::NotForwarding)),
            RouteType::Unicast => self.forward4(packet, dev, &flow, &found),
            _ => Err(silent(DropReason::MartianDestination)),
        }
    }

    /// To a group: delivered where it is joined, forwarded never.
    fn input4_group(&self, packet: &Packet, dev: &Interface) -> Result<Route, InputError> {
        let src = packet.src();
        if !self.is_joined(Family::V4, dev.index, packet.dst()) {
            return Err(silent(DropReason::NotJoined));
        }
        let is_loopback = src.is_loopback(Family::V4) && !self.sysctl.route_localnet(dev.index);
        if src.is_multicast(Family::V4) || src == LIMITED_BROADCAST || is_loopback {
            return Err(silent(DropReason::MartianSource));
        }
        let mut realm = 0;
        if src.is_unspecified() {
            if !is_local_multicast4(packet.dst()) && packet.protocol() != proto::IGMP {
                return Err(silent(DropReason::MartianSource));
            }
        } else {
            realm = self.validate_source(packet, Addr::UNSPECIFIED, None, dev)?.realm;
        }
        Ok(Route { realm, ..delivery(RouteType::Multicast, self) })
    }

    fn broadcast4(&self, packet: &Packet, dev: &Interface) -> Result<Route, InputError> {
        let mut realm = 0;
        if !packet.src().is_unspecified() {
            realm = self.validate_source(packet, Addr::UNSPECIFIED, None, dev)?.realm;
        }
        Ok(Route { realm, ..delivery(RouteType::Broadcast, self) })
    }

    fn forward4(&self, packet: &Packet, dev: &Interface, flow: &Flow, found: &Found<'_>) -> Result<Route, InputError> {
        let hop = multipath::choose(found, || multipath::of_packet(self, packet), None);
        let check = self.validate_source(packet, flow.dst, Some(hop.dev), dev)?;
        let mut route = self.route_of(&Found { hop, ..*found });
        route.realm = combine_realms(hop.realm, found.rule_realm, check.realm);
        route.redirect = hop.dev == dev.index
            && check.on_link
            && self.sysctl.send_redirects(dev.index)
            && (self.sysctl.shared_media(dev.index) || on_one_subnet(dev, flow.src, hop.gateway));
        Ok(route)
    }

    fn input_flow(&self, packet: &Packet, dev: &Interface) -> Flow {
        let (protocol, ports) = self.transport(packet);
        Flow {
            src: packet.src(),
            has_src: true,
            tos: packet.tos(),
            mark: packet.meta.mark,
            iif: dev.index,
            protocol,
            ports,
            uid: NOBODY,
            ..plain_flow(packet.family(), packet.dst())
        }
    }

    /// Whether a packet may come from its source by this device (`fib_validate_source`). `dst` is its destination, or
    /// unspecified for broadcasts and groups; `oif` the way it would go on.
    fn validate_source(
        &self,
        packet: &Packet,
        dst: Addr,
        oif: Option<IfIndex>,
        dev: &Interface,
    ) -> Result<SourceCheck, InputError> {
        let src = packet.src();
        let accept_local = self.sysctl.accept_local(dev.index);
        let rp_filter = self.sysctl.rp_filter(dev.index);
        let may_redirect = oif == Some(dev.index) && self.sysctl.send_redirects(dev.index);
        if rp_filter == 0 && !self.has_realms && !may_redirect {
            if accept_local {
                return Ok(SourceCheck::default());
            }
            // With rules or local routes of its own, the host's addresses alone do not tell.
            if !self.has_custom_local && !self.policy4.is_custom() {
                return match self.owner(Family::V4, src) {
                    Some(_) => Err(silent(DropReason::MartianSource)),
                    None => Ok(SourceCheck::default()),
                };
            }
        }
        let (protocol, (sport, dport)) = self.transport(packet);
        let mut flow = Flow {
            src: dst,
            has_src: true,
            tos: packet.tos(),
            mark: if self.sysctl.src_valid_mark(dev.index) { packet.meta.mark } else { 0 },
            iif: oif.unwrap_or(LO),
            protocol,
            ports: (dport, sport),
            uid: NOBODY,
            ..plain_flow(Family::V4, src)
        };
        let spoofed = Err(silent(DropReason::ReversePath));
        let Ok(back) = self.lookup(&flow) else {
            return if rp_filter == 0 { Ok(SourceCheck::default()) } else { spoofed };
        };
        let is_local = back.route.kind == RouteType::Local;
        if back.route.kind != RouteType::Unicast && !(is_local && accept_local) {
            return Err(silent(DropReason::MartianSource));
        }
        let mut check = SourceCheck { on_link: false, realm: source_realm(&back) };
        let by_device = back.route.hops.iter().any(|hop| hop.dev == dev.index);
        if by_device || is_local && dev.kind == LinkKind::Loopback {
            check.on_link = back.hop.scope >= Scope::Host;
            return Ok(check);
        }
        if !dev.addresses.iter().any(|a| a.family == Family::V4) {
            return if rp_filter == 0 { Ok(SourceCheck::default()) } else { spoofed };
        }
        if rp_filter == 1 {
            return spoofed;
        }
        flow.oif = Some(dev.index);
        if let Ok(back) = self.lookup(&flow)
            && back.route.kind == RouteType::Unicast
        {
            check.on_link = back.hop.scope >= Scope::Host;
        }
        Ok(check)
    }

    fn input6(&self, packet: &Packet, dev: &Interface) -> Result<Route, InputError> {
        let dst = packet.dst();
        let flow = Flow { wished: Some(dev.index), strict: needs_device(dst), ..self.input_flow(packet, dev) };
        let found = self.lookup(&flow).map_err(|refused| match refused {
            Refused::NoRoute | Refused::Throw => InputError { reason: DropReason::NoRoute, icmp: Some((1, 0)) },
            Refused::Unreachable => InputError { reason: DropReason::Unreachable, icmp: Some((1, 0)) },
            Refused::Prohibit => InputError { reason: DropReason::Prohibited, icmp: Some((1, 1)) },
            Refused::Blackhole => silent(DropReason::Blackhole),
        })?;
        match found.route.kind {
            RouteType::Multicast if !self.is_joined(Family::V6, dev.index, dst) => Err(silent(DropReason::NotJoined)),
            kind @ (RouteType::Local | RouteType::Anycast) => Ok(delivery(kind, self)),
            kind @ RouteType::Multicast => Ok(Route { oif: found.hop.dev, ..delivery(kind, self) }),
            _ if !self.sysctl.forwarding(Family::V6, dev.index) => Err(silent(DropReason::NotForwarding)),
            _ => {
                let hop = multipath::choose(&found, || multipath::of_packet(self, packet), None);
                let mut route = self.route_of(&Found { hop, ..found });
                // Whether one can be sent is found out later: the destination pays for it in any case.
                route.redirect = hop.dev == dev.index;
                Ok(route)
            }
        }
    }

    fn output4(&self, key: &OutputKey) -> Result<Route, OutputError> {
        let mut src = key.src.filter(|src| !src.is_unspecified());
        let mut dst = key.dst;
        let mut oif = key.oif;
        let to_many = dst.is_multicast(Family::V4) || dst == LIMITED_BROADCAST;
        if let Some(src) = src {
            if src.is_multicast(Family::V4) || src == LIMITED_BROADCAST {
                return Err(output_error(Errno::Invalid));
            }
            let owner = || self.source_device(src).ok_or(output_error(Errno::NetUnreachable));
            if oif.is_none() && to_many {
                // The source says by which device a packet to many leaves.
                let dev = owner()?;
                return self.make_output4(key, dst, Some(src), Way { oif: dev, found: None });
            }
            if !key.any_source {
                owner()?;
            }
        }
        let select = |dev, scope| self.select_address(Family::V4, dev, None, scope);
        if let Some(dev) = oif {
            let device = self.interface(dev).ok_or(output_error(Errno::NoDevice))?;
            if !device.up {
                return Err(output_error(Errno::NetUnreachable));
            }
            if is_local_multicast4(dst) || dst == LIMITED_BROADCAST || key.protocol == proto::IGMP {
                let src = src.or_else(|| select(dev, Scope::Link));
                return self.make_output4(key, dst, src, Way { oif: dev, found: None });
            }
            if dst.is_multicast(Family::V4) {
                src = src.or_else(|| select(dev, Scope::Global));
            } else if dst.is_unspecified() {
                src = src.or_else(|| select(dev, Scope::Host));
            }
        }
        if dst.is_unspecified() {
            // To nobody is to oneself.
            let own = src.unwrap_or(LOOPBACK);
            dst = own;
            return self
                .make_output4(key, dst, Some(own), Way { oif: LO, found: None })
                .map(|route| Route { kind: RouteType::Local, ..route });
        }
        let flow = Flow {
            src: src.unwrap_or(Addr::UNSPECIFIED),
            has_src: src.is_some(),
            tos: key.tos,
            mark: key.mark,
            oif,
            protocol: key.protocol,
            ports: key.ports,
            uid: key.uid,
            ..plain_flow(Family::V4, dst)
        };
        let found = match self.lookup(&flow) {
            Ok(found) => found,
            Err(refused) => match oif {
                // The sender names a device and no route does: the destination is taken to be on its link.
                Some(dev) => {
                    let src = src.or_else(|| select(dev, Scope::Link));
                    return self.make_output4(key, dst, src, Way { oif: dev, found: None });
                }
                None => return Err(output_error(errno(refused))),
            },
        };
        if found.route.kind == RouteType::Local {
            src = src.or(found.route.prefsrc).or(Some(dst));
            oif = Some(LO);
        }
        let hop = match oif {
            Some(_) => found.hop,
            None => multipath::choose(&found, || key.hash.unwrap_or_else(|| multipath::of_flow(self, &flow)), src),
        };
        let found = Found { hop, ..found };
        src = src.or(found.route.prefsrc).or(hop.source);
        let oif = if found.route.kind == RouteType::Local { LO } else { hop.dev };
        self.make_output4(key, dst, src, Way { oif, found: Some(found) })
    }

    /// The last checks on a local packet's way (`__mkroute_output`).
    fn make_output4(&self, key: &OutputKey, dst: Addr, src: Option<Addr>, way: Way<'_>) -> Result<Route, OutputError> {
        let device = self.interface(way.oif).ok_or(output_error(Errno::NoDevice))?;
        if src.is_some_and(|src| src.is_loopback(Family::V4))
            && device.kind != LinkKind::Loopback
            && !self.sysctl.route_localnet(way.oif)
        {
            return Err(output_error(Errno::Invalid));
        }
        let mut route = match &way.found {
            Some(found) => Route {
                realm: combine_realms(found.hop.realm, found.rule_realm, 0),
                oif: way.oif,
                ..self.route_of(found)
            },
            None => Route { oif: way.oif, mtu: device.mtu.min(MAX_PACKET), ..delivery(RouteType::Unicast, self) },
        };
        if dst == LIMITED_BROADCAST {
            route.kind = RouteType::Broadcast;
            route.gateway = None;
        } else if dst.is_multicast(Family::V4) {
            route.kind = RouteType::Multicast;
            // A route for all unicast says nothing about the router of a group.
            if way.found.is_some_and(|found| found.route.prefix_len < 4) {
                route.gateway = None;
            }
        }
        if route.kind == RouteType::Local {
            route.mtu = if route.oif == LO { device.mtu.min(MAX_PACKET) } else { route.mtu };
        }
        route.prefsrc = src.or(key.src);
        Ok(route)
    }

    fn output6(&self, key: &OutputKey) -> Result<Route, OutputError> {
        // A socket that sends to nobody sends to this host; an answer to nobody takes the default route.
        let to_self = key.dst.is_unspecified() && !key.any_source;
        let dst = if to_self { LOOPBACK6 } else { key.dst };
        let src = key.src.filter(|src| !src.is_unspecified());
        if let Some(dev) = key.oif {
            let device = self.interface(dev).ok_or(output_error(Errno::NoDevice))?;
            if !device.up {
                return Err(output_error(Errno::NetUnreachable));
            }
        }
        let flow = Flow {
            src: src.unwrap_or(Addr::UNSPECIFIED),
            has_src: src.is_some(),
            tos: key.tos,
            mark: key.mark,
            oif: key.oif,
            // A sender that has its source already may use what the host owns on another device.
            strict: key.oif.is_some() && src.is_none() || needs_device(dst),
            protocol: key.protocol,
            ports: key.ports,
            uid: key.uid,
            ..plain_flow(Family::V6, dst)
        };
        let found = self.lookup(&flow).map_err(|refused| output_error(errno(refused)))?;
        let chosen = multipath::choose(&found, || key.hash.unwrap_or_else(|| multipath::of_flow(self, &flow)), None);
        // A way by a device that is not the one asked for is none.
        let is_allowed = !flow.strict || flow.oif.or(flow.wished).is_none_or(|dev| chosen.dev == dev);
        let hop = if is_allowed { chosen } else { found.hop };
        let mut route = self.route_of(&Found { hop, ..found });
        if matches!(route.kind, RouteType::Local | RouteType::Anycast) {
            route.oif = LO;
            route.mtu = self.interface(LO).map_or(MAX_PACKET, |lo| lo.mtu);
        }
        let chosen = || found.route.prefsrc.or_else(|| source6::select(self, hop.dev, dst));
        route.prefsrc = Some(src.or_else(chosen).ok_or(output_error(Errno::NoAddress))?);
        Ok(route)
    }

    /// The device of a source address that is this host's, by its addresses and then by the local table.
    fn source_device(&self, src: Addr) -> Option<IfIndex> {
        self.owner(Family::V4, src).or_else(|| {
            let found = self.policy4.search_table(TableId::LOCAL, &plain_flow(Family::V4, src)).ok()?;
            (found.route.kind == RouteType::Local).then_some(found.hop.dev)
        })
    }

    fn address_type4(&self, addr: Addr, dev: Option<IfIndex>) -> AddressType {
        if addr.is_unspecified() || addr == LIMITED_BROADCAST {
            return AddressType::Broadcast;
        }
        if addr.is_multicast(Family::V4) {
            return AddressType::Multicast;
        }
        let Ok(found) = self.policy4.search_table(TableId::LOCAL, &plain_flow(Family::V4, addr)) else {
            return AddressType::Unicast;
        };
        let first = found.route.hops.first().map(|hop| hop.dev);
        match found.route.kind {
            _ if dev.is_some() && dev != first => AddressType::Unicast,
            RouteType::Local => AddressType::Local,
            RouteType::Broadcast => AddressType::Broadcast,
            RouteType::Multicast => AddressType::Multicast,
            RouteType::Anycast => AddressType::Anycast,
            _ => AddressType::Unicast,
        }
    }

    fn address_type6(&self, addr: Addr, dev: Option<IfIndex>) -> AddressType {
        if addr.is_multicast(Family::V6) {
            return AddressType::Multicast;
        }
        if let Some(dev) = dev
            && self.interface(dev).is_some_and(|d| d.addresses.iter().any(|a| a.family == Family::V6 && a.addr == addr))
        {
            return AddressType::Local;
        }
        let flow = Flow { oif: dev, strict: dev.is_some() || needs_device(addr), ..plain_flow(Family::V6, addr) };
        match self.lookup(&flow).map(|found| found.route.kind) {
            Err(_) => AddressType::Unreachable,
            Ok(_) if addr.is_unspecified() => AddressType::Unspecified,
            Ok(RouteType::Local) if dev.is_none() => AddressType::Local,
            Ok(RouteType::Anycast) => AddressType::Anycast,
            Ok(_) => AddressType::Unicast,
        }
    }

    fn route_of(&self, found: &Found<'_>) -> Route {
        let mtu = match found.route.mtu {
            0 => self.interface(found.hop.dev).map_or(0, |dev| dev.mtu),
            mtu => mtu,
        };
        Route {
            kind: found.route.kind,
            oif: found.hop.dev,
            gateway: found.hop.gateway,
            prefsrc: found.route.prefsrc.or(found.hop.source),
            mtu: mtu.min(MAX_PACKET),
            hop_limit: found.route.hop_limit,
            advmss: found.route.advmss,
            realm: found.hop.realm,
            redirect: false,
        }
    }
}

/// A device and, unless it is known without one, the route that led to it.
struct Way<'a> {
    oif: IfIndex,
    found: Option<Found<'a>>,
}

/// What [`Net::validate_source`] learns beside "it may".
#[derive(Clone, Copy, Default)]
struct SourceCheck {
    /// The source is on a link of this host.
    on_link: bool,
    /// Its realm, in the upper 16 bits.
    realm: u32,
}

/// `inet_select_addr`: the first primary address of `dev` of at most this scope, rather one whose subnet has `dst`; else of any
/// other device.
pub(crate) fn select4(
    interfaces: &[Interface],
    route_localnet: bool,
    dev: IfIndex,
    dst: Option<Addr>,
    scope: Scope,
) -> Option<Addr> {
    let host = if route_localnet { Scope::Link } else { Scope::Host };
    let device = (dev.0 as usize).checked_sub(1).and_then(|at| interfaces.get(at));
    let mut first = None;
    for own in device.into_iter().flat_map(primaries).filter(|a| a.scope.min(host) <= scope) {
        if dst.is_none_or(|dst| dst.in_net(own.addr, Family::V4.mask(own.prefix))) {
            return Some(own.addr);
        }
        first = first.or(Some(own.addr));
    }
    let usable = |a: &&IfAddr| a.scope != Scope::Link && a.scope <= scope;
    first.or_else(|| interfaces.iter().flat_map(primaries).find(usable).map(|a| a.addr))
}

fn primaries(device: &Interface) -> impl Iterator<Item = &IfAddr> {
    device.addresses.iter().filter(|a| a.family == Family::V4 && !a.secondary)
}

/// Destinations that mean something only together with a device.
fn needs_device(dst: Addr) -> bool {
    dst.is_multicast(Family::V6) || dst.is_link_local(Family::V6) || dst.is_loopback(Family::V6)
}

/// Whether one subnet of the device has both addresses (`inet_addr_onlink`).
fn on_one_subnet(dev: &Interface, a: Addr, b: Option<Addr>) -> bool {
    primaries(dev).any(|own| {
        let mask = Family::V4.mask(own.prefix);
        a.in_net(own.addr, mask) && b.is_none_or(|b| b.in_net(own.addr, mask))
    })
}

/// The realms of a way: the hop's own, what is missing from the rule, then from the source.
fn combine_realms(own: u32, rule: u32, source: u32) -> u32 {
    let mut realm = own;
    for other in [rule, source] {
        if realm & 0xffff == 0 {
            realm |= other & 0xffff;
        }
        if realm & 0xffff_0000 == 0 {
            realm |= other & 0xffff_0000;
        }
    }
    realm
}

/// The destination realm of the way back is the source realm of the packet.
fn source_realm(back: &Found<'_>) -> u32 {
    let own = back.hop.realm << 16;
    let upper = if own == 0 { back.rule_realm << 16 } else { own };
    upper | back.rule_realm >> 16
}

fn group_mac(family: Family, group: Addr) -> Mac {
    let [a, b, c, d] = group.as_u32().to_be_bytes();
    match family {
        Family::V4 => Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]),
        Family::V6 => Mac([0x33, 0x33, a, b, c, d]),
    }
}

fn delivery(kind: RouteType, net: &Net) -> Route {
    Route {
        kind,
        oif: LO,
        gateway: None,
        prefsrc: None,
        mtu: net.interface(LO).map_or(MAX_PACKET, |lo| lo.mtu.min(MAX_PACKET)),
        hop_limit: 0,
        advmss: 0,
        realm: 0,
        redirect: false,
    }
}

fn silent(reason: DropReason) -> InputError {
    InputError { reason, icmp: None }
}

fn output_error(errno: Errno) -> OutputError {
    let reason = match errno {
        Errno::Access => DropReason::Prohibited,
        Errno::NoDevice => DropReason::NoDevice,
        Errno::Invalid | Errno::NoAddress => DropReason::Reroute,
        Errno::NetUnreachable => DropReason::NoRoute,
        Errno::HostUnreachable => DropReason::Unreachable,
    };
    OutputError { errno, reason }
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NoRoute | Refused::Throw => Errno::NetUnreachable,
        Refused::Unreachable => Errno::HostUnreachable,
        Refused::Prohibit => Errno::Access,
        Refused::Blackhole => Errno::Invalid,
    }
}

const LIMITED_BROADCAST: Addr = Addr::v4(0xffff_ffff);
const ALL_HOSTS: Addr = Addr::v4(0xe000_0001);
const LOOPBACK: Addr = Addr::v4(0x7f00_0001);
const LOOPBACK6: Addr = Addr(1);
/// Largest L3 packet (`IP_MAX_MTU`).
const MAX_PACKET: u32 = 0xffff;
/// The user of a received packet: nobody, whom no range of users has.
const NOBODY: u32 = u32::MAX;
/// ICMPv6 destination unreachable, beyond scope of source address.
const BEYOND_SCOPE: (u8, u8) = (1, 2);

fn is_local_multicast4(addr: Addr) -> bool {
    addr.as_u32() >> 8 == 0xe0_0000
}
