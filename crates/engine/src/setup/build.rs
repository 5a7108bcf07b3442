//! From the description to the host: one thing after another, each checked as Linux checks it.

use super::derived::{derive_routes, insert_address};
use super::{At, NewHop, NewInterface, NewNeighbor, NewRoute, NewRule, NewSocket, Problem, Setup, SetupError};
use crate::net::{IfAddr, IfIndex, IfName, Interface, LO, LinkKind, Neighbor, Net, Scope};
use crate::osf::Fingerprints;
use crate::route::fib::{FibRoute, Hop, TableId};
use crate::route::policy::{self, Policy};
use crate::route::{Flow, PolicyRule, RouteType, RuleAction, select4};
use crate::socket::{Socket, Sockets};
use crate::sysctl::Sysctl;
use crate::words::nearest;
use hairpin_wire::{Addr, Family, Mac};
use std::collections::BTreeMap;

impl Setup {
    /// Checks everything and makes the host, or names the first mistake.
    pub fn build(&self) -> Result<Net, SetupError> {
        let mut builder = Builder { interfaces: vec![loopback()], sysctl: Sysctl::default(), routes: Vec::new() };
        builder.sysctl.add_device("lo");
        let numbers = builder.add_interfaces(&self.interfaces)?;
        for (n, (name, value)) in self.sysctls.iter().enumerate() {
            let done = builder.sysctl.set_text(name, value);
            done.map_err(|error| SetupError { at: At::Sysctl(n), problem: Problem::Sysctl(error) })?;
        }
        if builder.sysctl.disable_ipv6(LO)
            && let Some(lo) = builder.interfaces.first_mut()
        {
            lo.addresses.retain(|own| own.family == Family::V4);
        }
        builder.add_addresses(&self.interfaces, &numbers)?;
        for interface in &builder.interfaces {
            derive_routes(interface, &builder.sysctl, &mut builder.routes);
        }
        let (custom_local, realms) = builder.add_routes(&self.routes)?;
        let (rules4, custom4) = builder.add_rules(Family::V4, &self.rules)?;
        let (rules6, custom6) = builder.add_rules(Family::V6, &self.rules)?;
        let neighbors = builder.add_neighbors(&self.neighbors)?;
        let sockets = builder.sockets(&self.sockets)?;
        let has_realms = realms || rules4.iter().any(|r| r.realm != 0);
        let mut net = Net::assemble(builder.interfaces, neighbors, builder.sysctl);
        let (v4, v6) = builder.routes.into_iter().partition(|(family, _)| *family == Family::V4);
        net.policy4 = Policy::new(Family::V4, without_family(v4), rules4, custom4);
        net.policy6 = Policy::new(Family::V6, without_family(v6), rules6, custom6);
        net.has_custom_local = custom_local;
        net.has_realms = has_realms;
        net.sockets = sockets;
        net.fingerprints = self.fingerprints.clone();
        Ok(net)
    }
}

impl Net {
    /// A host of these devices with the routes of their addresses.
    pub(crate) fn assemble(mut interfaces: Vec<Interface>, neighbors: Vec<Neighbor>, mut sysctl: Sysctl) -> Net {
        if interfaces.is_empty() {
            interfaces.push(loopback());
            sysctl.add_device("lo");
        }
        let mut routes = Vec::new();
        for interface in &interfaces {
            derive_routes(interface, &sysctl, &mut routes);
        }
        let own = |i: &Interface| i.addresses.iter().map(|a| (a.family, a.addr, i.index)).collect::<Vec<_>>();
        let mut owners: Vec<(Family, Addr, IfIndex)> = interfaces.iter().flat_map(own).collect();
        owners.sort_unstable();
        let mut names: Vec<(IfName, IfIndex)> = interfaces.iter().map(|i| (i.name, i.index)).collect();
        names.sort_unstable();
        let (v4, v6) = routes.into_iter().partition(|(family, _)| *family == Family::V4);
        Net {
            neighbor_macs: neighbors.iter().map(|n| ((n.dev, n.family, n.addr), n.mac)).collect(),
            interfaces,
            neighbors,
            sysctl,
            sockets: Sockets::default(),
            fingerprints: Fingerprints::default(),
            owners,
            names,
            policy4: Policy::new(Family::V4, without_family(v4), policy::standard(Family::V4), false),
            policy6: Policy::new(Family::V6, without_family(v6), policy::standard(Family::V6), false),
            has_custom_local: false,
            has_realms: false,
        }
    }
}

/// A route with its family, which a table has only once.
pub(super) type OfFamily = (Family, FibRoute);

fn without_family(routes: Vec<OfFamily>) -> Vec<FibRoute> {
    routes.into_iter().map(|(_, route)| route).collect()
}

struct Builder {
    interfaces: Vec<Interface>,
    sysctl: Sysctl,
    routes: Vec<OfFamily>,
}

impl Builder {
    fn sockets(&self, new: &[NewSocket]) -> Result<Sockets, SetupError> {
        let made = new.iter().enumerate().map(|(n, NewSocket { socket, dev })| {
            let find = |name: &String| self.device(name).map_err(|problem| SetupError { at: At::Socket(n), problem });
            let device = dev.as_ref().map(find).transpose()?;
            Ok(Socket { device, ..socket.clone() })
        });
        Ok(Sockets::new(made.collect::<Result<_, _>>()?))
    }

    /// Adds the devices; their places in `interfaces`.
    fn add_interfaces(&mut self, new: &[NewInterface]) -> Result<Vec<usize>, SetupError> {
        let mut places = Vec::new();
        for (n, new) in new.iter().enumerate() {
            let wrong = |problem| SetupError { at: At::Interface(n), problem };
            let name = valid_name(&new.name).ok_or_else(|| wrong(Problem::BadName(new.name.clone())))?;
            if let Some(place) = self.interfaces.iter().position(|i| i.name == name) {
                // `lo` may be named once, to add addresses.
                if place != 0 || places.contains(&0) {
                    return Err(wrong(Problem::NameTwice(new.name.clone())));
                }
                places.push(0);
                continue;
            }
            if !(68..=65_535).contains(&new.mtu) {
                return Err(wrong(Problem::BadMtu(new.mtu)));
            }
            if new.kind == LinkKind::Ethernet && (new.mac.is_multicast() || new.mac == Mac::ZERO) {
                return Err(wrong(Problem::BadMac(new.mac)));
            }
            places.push(self.interfaces.len());
            self.interfaces.push(Interface {
                index: IfIndex(self.interfaces.len() as u32 + 1),
                name,
                kind: new.kind,
                mac: new.mac,
                mtu: new.mtu,
                up: new.up,
                group: new.group,
                addresses: Vec::new(),
            });
            self.sysctl.add_device(&new.name);
        }
        Ok(places)
    }

    fn add_addresses(&mut self, new: &[NewInterface], places: &[usize]) -> Result<(), SetupError> {
        // Who has an address, and with which prefix lengths.
        let mut owners: BTreeMap<(Family, Addr), Vec<(usize, u8)>> = BTreeMap::new();
        for (n, (new, place)) in new.iter().zip(places).enumerate() {
            for (m, address) in new.addresses.iter().enumerate() {
                let wrong = |problem| SetupError { at: At::Address { interface: n, address: m }, problem };
                let (family, addr, prefix) = (address.family, address.addr, address.prefix);
                if prefix > family.bits() {
                    return Err(wrong(Problem::BadPrefix(family, prefix)));
                }
                if addr.is_unspecified()
                    || addr.is_multicast(family)
                    || family == Family::V4 && addr.as_u32() == u32::MAX
                {
                    return Err(wrong(Problem::BadAddress(family, addr)));
                }
                let Some(interface) = self.interfaces.get_mut(*place) else { continue };
                let is_off = self.sysctl.disable_ipv6(interface.index) || interface.mtu < 1280;
                if family == Family::V6 && is_off {
                    return Err(wrong(Problem::NoIpv6(new.name.clone())));
                }
                // Linux lets unnumbered links share an address; two subnets of one address are a slip. Link-local
                // addresses mean something on their link only.
                let others = owners.entry((family, addr)).or_default();
                let is_link_local = addr.is_link_local(family);
                let twice = others.iter().find(|(other, length)| {
                    if other == place {
                        *length == prefix || family == Family::V6
                    } else {
                        !is_link_local && prefix.max(*length) < family.bits()
                    }
                });
                if let Some((other, _)) = twice {
                    let name = if other == place { new.name.clone() } else { self.name_of(*other) };
                    return Err(wrong(Problem::AddressTwice(family, addr, name)));
                }
                others.push((*place, prefix));
                insert_address(&mut interface.addresses, address);
            }
        }
        Ok(())
    }

    fn name_of(&self, place: usize) -> String {
        self.interfaces.get(place).map(|i| i.name.to_string()).unwrap_or_default()
    }

    /// Adds the routes; whether one is of type local, and whether one has a realm (both IPv4).
    fn add_routes(&mut self, new: &[NewRoute]) -> Result<(bool, bool), SetupError> {
        let mut taken: BTreeMap<(Family, TableId, Addr, u8, u8, u32), ()> = BTreeMap::new();
        for (family, route) in &self.routes {
            taken.insert((*family, route.table, route.prefix, route.prefix_len, route.tos, route.metric), ());
        }
        let (mut custom_local, mut realms) = (false, false);
        // Gateways are found by routes onto links, so those come first.
        for behind_gateway in [false, true] {
            let ways = Ways::of(self);
            let mut made = Vec::new();
            for (n, new) in new.iter().enumerate() {
                if new.hops.iter().any(|hop| hop.via.is_some()) != behind_gateway {
                    continue;
                }
                let route = self.make_route(new, &ways).map_err(|problem| SetupError { at: At::Route(n), problem })?;
                let key = (new.family, route.table, route.prefix, route.prefix_len, route.tos, route.metric);
                if taken.insert(key, ()).is_some() {
                    let problem = Problem::RouteTwice(new.family, route.prefix, route.prefix_len);
                    return Err(SetupError { at: At::Route(n), problem });
                }
                custom_local |= new.family == Family::V4 && new.kind == RouteType::Local;
                realms |= new.family == Family::V4 && new.hops.iter().any(|hop| hop.realm != 0);
                let refuses = refuses(new.kind);
                if refuses || !route.hops.is_empty() {
                    made.push((new.family, route));
                }
            }
            self.routes.extend(made);
        }
        Ok((custom_local, realms))
    }

    fn make_route(&self, new: &NewRoute, ways: &Ways) -> Result<FibRoute, Problem> {
        let (family, (prefix, prefix_len)) = (new.family, new.to);
        if prefix_len > family.bits() {
            return Err(Problem::BadPrefix(family, prefix_len));
        }
        if prefix.masked(family.mask(prefix_len)) != prefix {
            return Err(Problem::HostBits(family, prefix, prefix_len));
        }
        if new.tos & 3 != 0 {
            return Err(Problem::BadTos(new.tos));
        }
        let of_this_host = matches!(new.kind, RouteType::Local | RouteType::Broadcast | RouteType::Anycast);
        let near = match new.kind {
            RouteType::Local => Scope::Host,
            RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => Scope::Link,
            RouteType::Unicast if new.hops.iter().all(|hop| hop.via.is_none()) => Scope::Link,
            _ => Scope::Global,
        };
        let scope = new.scope.unwrap_or(near);
        let least = match new.kind {
            RouteType::Local => Scope::Host,
            RouteType::Broadcast | RouteType::Anycast => Scope::Link,
            _ => Scope::Global,
        };
        let has_gateway = new.hops.iter().any(|hop| hop.via.is_some());
        if family == Family::V4 && (scope < least || scope > Scope::Host || has_gateway && scope >= Scope::Link) {
            return Err(Problem::BadScope);
        }
        let table = new.table.unwrap_or(if of_this_host { TableId::LOCAL } else { TableId::MAIN });
        let mut route = FibRoute {
            table,
            kind: new.kind,
            prefix,
            prefix_len,
            tos: if family == Family::V4 { new.tos } else { 0 },
            metric: new.metric.unwrap_or(if family == Family::V4 { 0 } else { 1024 }),
            scope,
            prefsrc: new.src,
            mtu: new.mtu,
            advmss: new.advmss,
            hop_limit: new.hop_limit,
            derived: false,
            hops: Vec::new(),
        };
        if refuses(new.kind) {
            if !new.hops.is_empty() || new.src.is_some() {
                return Err(Problem::WayNotAllowed);
            }
            return Ok(route);
        }
        if let Some(src) = new.src {
            let own = |i: &Interface| i.addresses.iter().any(|a| a.family == family && a.addr == src);
            let is_own = self.interfaces.iter().any(own)
                || family == Family::V4 && ways.is_local(src)
                || new.kind == RouteType::Local && prefix == src;
            if !is_own {
                return Err(Problem::ForeignSource(family, src));
            }
        }
        if new.hops.is_empty() {
            return Err(Problem::NoWay);
        }
        for hop in &new.hops {
            route.hops.extend(self.make_hop(new, hop, &route, ways)?);
        }
        // A link-local source is one only on its own link.
        if let Some(src) = new.src.filter(|src| family == Family::V6 && src.is_link_local(family)) {
            let there = |i: &Interface| i.addresses.iter().any(|a| a.family == family && a.addr == src);
            let has = |hop: &Hop| self.interfaces.iter().any(|i| i.index == hop.dev && there(i));
            if !route.hops.iter().all(has) {
                return Err(Problem::ForeignSource(family, src));
            }
        }
        Ok(route)
    }

    /// The hop, or None when its device is down.
    fn make_hop(&self, new: &NewRoute, hop: &NewHop, route: &FibRoute, ways: &Ways) -> Result<Option<Hop>, Problem> {
        let family = new.family;
        let named = hop.dev.as_deref().map(|name| self.device(name)).transpose()?;
        let (dev, gateway, scope) = match hop.via {
            None => {
                let dev = named.ok_or(Problem::NoWay)?;
                (dev, None, if route.scope == Scope::Host { Scope::Nowhere } else { Scope::Host })
            }
            Some(via) => {
                let Some((dev, gateway, scope)) = self.find_gateway(new, hop, via, named, ways)? else {
                    return Ok(None);
                };
                (dev, gateway, scope)
            }
        };
        let Some(interface) = self.interfaces.get(dev.0 as usize - 1).filter(|i| i.up) else { return Ok(None) };
        let source = (family == Family::V4)
            .then(|| select4(&self.interfaces, self.sysctl.route_localnet(dev), interface.index, gateway, route.scope));
        let source = source.flatten();
        Ok(Some(Hop { dev, gateway, weight: hop.weight.max(1), realm: hop.realm, scope, source }))
    }

    /// By which device a gateway is reached, what to send to, and how far it is; None when that device is down.
    fn find_gateway(
        &self,
        new: &NewRoute,
        hop: &NewHop,
        via: Addr,
        named: Option<IfIndex>,
        ways: &Ways,
    ) -> Result<Option<(IfIndex, Option<Addr>, Scope)>, Problem> {
        let family = new.family;
        let is_down = |dev: IfIndex| self.interfaces.get(dev.0 as usize - 1).is_some_and(|i| !i.up);
        if via.is_unspecified() || via.is_multicast(family) {
            return Err(Problem::BadAddress(family, via));
        }
        if let Some(dev) = named.filter(|dev| is_down(*dev)) {
            return Ok(Some((dev, Some(via), Scope::Link)));
        }
        if family == Family::V6 {
            if self.interfaces.iter().any(|i| i.addresses.iter().any(|a| a.family == family && a.addr == via)) {
                return Err(Problem::OwnGateway(family, via));
            }
            if via.is_link_local(family) {
                let dev = named.ok_or(Problem::GatewayNeedsDevice(via))?;
                return Ok(Some((dev, Some(via), Scope::Link)));
            }
        }
        if let Some(dev) = named.filter(|_| hop.onlink) {
            return Ok(Some((dev, Some(via), Scope::Link)));
        }
        let flow = Flow {
            oif: named,
            strict: named.is_some(),
            scope: if family == Family::V4 { Scope::Link } else { Scope::Global },
            ..policy::plain_flow(family, via)
        };
        let nowhere = || Problem::Gateway(family, via, hop.dev.clone());
        let policy = if family == Family::V4 { &ways.v4 } else { &ways.v6 };
        let table = new.table.unwrap_or(TableId::MAIN);
        let found = match policy.search_table(table, &flow) {
            Ok(found) => found,
            Err(_) => match policy.lookup(&flow, &self.interfaces) {
                Ok(found) => found,
                Err(_) if self.is_behind_down_device(family, via) => return Ok(None),
                Err(_) => return Err(nowhere()),
            },
        };
        match found.route.kind {
            // Linux takes an own address for "on this link" (IPv4).
            RouteType::Local if family == Family::V4 => Ok(Some((found.hop.dev, None, Scope::Host))),
            RouteType::Local | RouteType::Unicast if found.hop.dev != LO => {
                Ok(Some((found.hop.dev, Some(via), Scope::Link)))
            }
            _ => Err(nowhere()),
        }
    }

    fn is_behind_down_device(&self, family: Family, via: Addr) -> bool {
        let has = |a: &IfAddr| a.family == family && via.in_net(a.addr, family.mask(a.prefix));
        self.interfaces.iter().any(|i| !i.up && i.addresses.iter().any(has))
    }

    fn add_rules(&self, family: Family, new: &[NewRule]) -> Result<(Vec<PolicyRule>, bool), SetupError> {
        let mut rules = policy::standard(family);
        let mut given: Vec<PolicyRule<String>> = Vec::new();
        for (n, new) in new.iter().enumerate().filter(|(_, new)| new.family == family) {
            let (new, wrong) = (&new.rule, |problem| SetupError { at: At::Rule(n), problem });
            for (addr, prefix) in [new.from, new.to].into_iter().flatten() {
                if prefix > family.bits() {
                    return Err(wrong(Problem::BadPrefix(family, prefix)));
                }
                if addr.masked(family.mask(prefix)) != addr {
                    return Err(wrong(Problem::HostBits(family, addr, prefix)));
                }
            }
            if new.tos & !policy::tos_mask(family) != 0 {
                return Err(wrong(Problem::BadTos(new.tos)));
            }
            // Without a priority it is the same rule at whatever place.
            let twice =
                |old: &PolicyRule<String>| new.found(new.priority.unwrap_or(old.priority), String::clone) == *old;
            if given.iter().any(twice) {
                return Err(wrong(Problem::RuleTwice));
            }
            let priority = new.priority.unwrap_or_else(|| policy::next_priority(&rules));
            if let RuleAction::Goto(target) = new.action
                && target <= priority
            {
                return Err(wrong(Problem::BackwardGoto(target)));
            }
            let number = |name: &String| self.device(name).unwrap_or(IfIndex(u32::MAX));
            policy::add(&mut rules, new.found(priority, number));
            given.push(new.found(priority, String::clone));
        }
        let custom = !given.is_empty();
        Ok((rules, custom))
    }

    fn add_neighbors(&self, new: &[NewNeighbor]) -> Result<Vec<Neighbor>, SetupError> {
        let mut taken = BTreeMap::new();
        let mut neighbors = Vec::new();
        for (n, new) in new.iter().enumerate() {
            let wrong = |problem| SetupError { at: At::Neighbor(n), problem };
            let dev = self.device(&new.dev).map_err(wrong)?;
            if new.addr.is_unspecified() || new.addr.is_multicast(new.family) {
                return Err(wrong(Problem::BadAddress(new.family, new.addr)));
            }
            if self.interfaces.get(dev.0 as usize - 1).is_none_or(|i| i.kind != LinkKind::Ethernet) {
                return Err(wrong(Problem::NoNeighborsThere(new.dev.clone())));
            }
            if taken.insert((dev, new.family, new.addr), ()).is_some() {
                return Err(wrong(Problem::NeighborTwice(new.family, new.addr)));
            }
            neighbors.push(Neighbor { dev, family: new.family, addr: new.addr, mac: new.mac });
        }
        Ok(neighbors)
    }

    fn device(&self, name: &str) -> Result<IfIndex, Problem> {
        let known = IfName::new(name).and_then(|name| self.interfaces.iter().find(|i| i.name == name));
        known.map(|i| i.index).ok_or_else(|| {
            let names: Vec<String> = self.interfaces.iter().map(|i| i.name.to_string()).collect();
            let near = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            Problem::UnknownDevice(name.to_owned(), near)
        })
    }
}

/// The routes known so far, to find gateways by.
struct Ways {
    v4: Policy,
    v6: Policy,
}

impl Ways {
    fn of(builder: &Builder) -> Ways {
        let of = |family| {
            let routes = builder.routes.iter().filter(|(f, _)| *f == family).map(|(_, r)| r.clone()).collect();
            Policy::new(family, routes, policy::standard(family), false)
        };
        Ways { v4: of(Family::V4), v6: of(Family::V6) }
    }

    fn is_local(&self, addr: Addr) -> bool {
        let found = self.v4.search_table(TableId::LOCAL, &policy::plain_flow(Family::V4, addr));
        found.is_ok_and(|found| found.route.kind == RouteType::Local)
    }
}

fn refuses(kind: RouteType) -> bool {
    matches!(kind, RouteType::Blackhole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw)
}

fn valid_name(name: &str) -> Option<IfName> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    if name.is_empty() || name.contains(is_bad) || ["all", "default", ".", ".."].contains(&name) {
        return None;
    }
    IfName::new(name)
}

fn loopback() -> Interface {
    let address =
        |family, addr, prefix| IfAddr { family, addr, prefix, scope: Scope::Host, broadcast: None, secondary: false };
    Interface {
        index: LO,
        name: IfName::new("lo").unwrap_or_default(),
        kind: LinkKind::Loopback,
        mac: Mac::ZERO,
        mtu: 65_536,
        up: true,
        group: 0,
        addresses: vec![address(Family::V4, Addr::v4(0x7f00_0001), 8), address(Family::V6, Addr(1), 128)],
    }
}
