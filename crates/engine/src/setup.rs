//! Making a [`Net`]: what the administrator gives as plain values, checked as Linux checks it, with words that help.
//!
//! Everything may be given in any order; what depends on each other (a gateway on the subnet of an address or of another
//! route) is found. Addresses bring their routes with them, as in Linux.

pub mod text;

use crate::net::{IfAddr, IfIndex, IfName, Interface, LO, LinkKind, Neighbor, Net, Scope};
use crate::route::fib::{FibRoute, Hop, TableId};
use crate::route::policy::{self, Policy};
use crate::route::{Flow, PolicyRule, RouteType, RuleAction, select4};
use crate::sysctl::{Conf6, Sysctl, SysctlError};
use crate::words::nearest;
use hairpin_wire::{Addr, Family, Mac};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

pub use text::{BadText, Prefix};

/// Everything that makes a host. `lo` exists without being named; naming it adds addresses to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Devices in the order of their numbers, which start at 2.
    pub interfaces: Vec<NewInterface>,
    /// Routes beside those that addresses bring.
    pub routes: Vec<NewRoute>,
    /// Policy rules in the order of `ip rule add`.
    pub rules: Vec<NewRule>,
    /// Next hops.
    pub neighbors: Vec<NewNeighbor>,
    /// Settings in the order they are made, by Linux name. They are made before addresses are added.
    pub sysctls: Vec<(String, String)>,
}

/// A device to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInterface {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Ethernet or bare IP. `lo` is loopback whatever is said here.
    pub kind: LinkKind,
    /// Its link address.
    pub mac: Mac,
    /// Largest packet in bytes, 68 to 65,535.
    pub mtu: u32,
    /// Up, with carrier. Routes by a device that is down do not exist.
    pub up: bool,
    /// Device group.
    pub group: u32,
    /// Its addresses in the order of `ip address add`.
    pub addresses: Vec<NewAddress>,
}

impl NewInterface {
    /// An Ethernet device that is up, with an MTU of 1500 and no addresses.
    pub fn ethernet(name: &str, mac: Mac) -> NewInterface {
        NewInterface {
            name: name.to_owned(),
            kind: LinkKind::Ethernet,
            mac,
            mtu: 1500,
            up: true,
            group: 0,
            addresses: Vec::new(),
        }
    }
}

/// An address to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAddress {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The address.
    pub addr: Addr,
    /// Prefix length.
    pub prefix: u8,
    /// None for what suits the address: host for 127.0.0.0/8, link for fe80::/10, else global.
    pub scope: Option<Scope>,
    /// IPv4: None for the last address of the subnet (`brd +`).
    pub broadcast: Option<Addr>,
}

/// A route to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// IPv4 or IPv6.
    pub family: Family,
    /// What it does.
    pub kind: RouteType,
    /// Destination; prefix length 0 is the default route.
    pub to: (Addr, u8),
    /// Ways. One for most routes, several for multipath, none for the types that refuse.
    pub hops: Vec<NewHop>,
    /// Source address of local senders.
    pub src: Option<Addr>,
    /// None for `main`, and `local` for local, broadcast and anycast routes.
    pub table: Option<TableId>,
    /// None for 0 (IPv4) and 1024 (IPv6).
    pub metric: Option<u32>,
    /// IPv4: only for this TOS.
    pub tos: u8,
    /// None for what suits the type: link without a gateway, else global.
    pub scope: Option<Scope>,
    /// Largest packet in bytes; 0 for the device's.
    pub mtu: u32,
    /// Advertised MSS; 0 for none.
    pub advmss: u32,
    /// Hop limit; 0 for the setting's.
    pub hop_limit: u8,
}

/// A way of a route to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewHop {
    /// The router.
    pub via: Option<Addr>,
    /// The device; may be left out when the router is on a known subnet.
    pub dev: Option<String>,
    /// The router is on the link even though no subnet has it.
    pub onlink: bool,
    /// Share among the hops, from 1; 0 counts as 1.
    pub weight: u16,
    /// Routing realm, source realm in the upper 16 bits.
    pub realm: u32,
}

impl NewRoute {
    /// A unicast route without ways and attributes.
    pub fn to(family: Family, addr: Addr, prefix: u8) -> NewRoute {
        NewRoute {
            family,
            kind: RouteType::Unicast,
            to: (addr, prefix),
            hops: Vec::new(),
            src: None,
            table: None,
            metric: None,
            tos: 0,
            scope: None,
            mtu: 0,
            advmss: 0,
            hop_limit: 0,
        }
    }
}

/// A policy rule to add. What is None selects everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// None for the place Linux gives it: before all rules but the first, the last added first.
    pub priority: Option<u32>,
    /// Source.
    pub from: Option<(Addr, u8)>,
    /// Destination.
    pub to: Option<(Addr, u8)>,
    /// The device a packet came in by; `lo` for packets made here. May name a device that does not exist: never selects.
    pub iif: Option<String>,
    /// The device a local sender is bound to.
    pub oif: Option<String>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// TOS; 0 for any.
    pub tos: u8,
    /// Transport protocol; 0 for any.
    pub protocol: u8,
    /// Source ports.
    pub sport: Option<RangeInclusive<u16>>,
    /// Destination ports.
    pub dport: Option<RangeInclusive<u16>>,
    /// User ids of local senders.
    pub uid: Option<RangeInclusive<u32>>,
    /// Select what does not agree with the above.
    pub not: bool,
    /// What is done.
    pub action: RuleAction,
    /// Results whose prefix is not longer than this do not count.
    pub suppress_prefixlength: Option<u8>,
    /// Results by a device of this group do not count.
    pub suppress_group: Option<u32>,
    /// Realm for routes without one (IPv4).
    pub realm: u32,
}

impl NewRule {
    /// A rule that sends everything to the table `main`.
    pub fn new(family: Family) -> NewRule {
        NewRule {
            family,
            priority: None,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            tos: 0,
            protocol: 0,
            sport: None,
            dport: None,
            uid: None,
            not: false,
            action: RuleAction::Table(TableId::MAIN),
            suppress_prefixlength: None,
            suppress_group: None,
            realm: 0,
        }
    }
}

/// A next hop to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNeighbor {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its address.
    pub addr: Addr,
    /// Its link address.
    pub mac: Mac,
    /// The device it is reached by.
    pub dev: String,
}

/// Which of the things given is wrong, counted from 0 in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A device.
    Interface(usize),
    /// An address of a device.
    Address {
        /// The device.
        interface: usize,
        /// The address in its list.
        address: usize,
    },
    /// A route.
    Route(usize),
    /// A rule.
    Rule(usize),
    /// A neighbor.
    Neighbor(usize),
    /// A setting.
    Sysctl(usize),
}

/// Something given is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError {
    /// Where.
    pub at: At,
    /// What.
    pub problem: Problem,
}

/// What can be wrong. The words ([`fmt::Display`]) say how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No device can have this name.
    BadName(String),
    /// Two devices of one name.
    NameTwice(String),
    /// No Ethernet device can have this address.
    BadMac(Mac),
    /// Outside of 68 to 65,535.
    BadMtu(u32),
    /// No host can have this address.
    BadAddress(Family, Addr),
    /// Longer than the family's addresses.
    BadPrefix(Family, u8),
    /// The device has it already, or another device has.
    AddressTwice(Family, Addr, String),
    /// IPv6 is off on the device, or its MTU is below 1280.
    NoIpv6(String),
    /// There is no such device; the nearest name.
    UnknownDevice(String, Option<String>),
    /// Bits are set behind the prefix; the network it is in.
    HostBits(Family, Addr, u8),
    /// The same destination, TOS and metric in the same table.
    RouteTwice(Family, Addr, u8),
    /// A route that needs a way has none.
    NoWay,
    /// A route that refuses has a way, a source or several hops.
    WayNotAllowed,
    /// The gateway is on no subnet (of the device).
    Gateway(Family, Addr, Option<String>),
    /// The gateway is one of the host's own addresses.
    OwnGateway(Family, Addr),
    /// A link-local gateway says nothing without a device.
    GatewayNeedsDevice(Addr),
    /// `src` is none of the host's addresses.
    ForeignSource(Family, Addr),
    /// The TOS has bits that do not select.
    BadTos(u8),
    /// The scope does not go with the type or the gateway.
    BadScope,
    /// The same rule is there.
    RuleTwice,
    /// A goto must lead onward.
    BackwardGoto(u32),
    /// There is this neighbor already.
    NeighborTwice(Family, Addr),
    /// The device's link has no addresses.
    NoNeighborsThere(String),
    /// A setting was refused.
    Sysctl(SysctlError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::BadName(name) => write!(
                f,
                "{name:?} cannot be an interface name: use 1 to 15 bytes without spaces, '/' and ':', and not all, default, . or .."
            ),
            Problem::NameTwice(name) => write!(f, "interface {name} is there twice: give one of them another name"),
            Problem::BadMac(mac) => {
                write!(f, "{mac} cannot be an interface's address: the first byte must be even and not all may be zero")
            }
            Problem::BadMtu(mtu) => write!(f, "an MTU of {mtu} is not possible: use 68 to 65535"),
            Problem::BadAddress(family, addr) => {
                write!(f, "{} cannot be an address of a host", addr.display(*family))
            }
            Problem::BadPrefix(family, prefix) => {
                write!(f, "/{prefix} is longer than an {family} address: use at most /{}", family.bits())
            }
            Problem::AddressTwice(family, addr, dev) => write!(
                f,
                "{} is there twice, first on {dev}: an address belongs to one interface",
                addr.display(*family)
            ),
            Problem::NoIpv6(dev) => {
                write!(f, "IPv6 is off on {dev}: set net.ipv6.conf.{dev}.disable_ipv6 to 0 and an MTU of at least 1280")
            }
            Problem::UnknownDevice(name, near) => {
                write!(f, "there is no interface {name}")?;
                match near {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => Ok(()),
                }
            }
            Problem::HostBits(family, addr, prefix) => {
                let net = addr.masked(family.mask(*prefix));
                write!(
                    f,
                    "{}/{prefix} is not a network: did you mean {}/{prefix}, or {}/{}?",
                    addr.display(*family),
                    net.display(*family),
                    addr.display(*family),
                    family.bits()
                )
            }
            Problem::RouteTwice(family, addr, prefix) => write!(
                f,
                "File exists: a route to {}/{prefix} is there already; give this one another metric or table",
                addr.display(*family)
            ),
            Problem::NoWay => f.write_str("the route leads nowhere: give it via or dev"),
            Problem::WayNotAllowed => f.write_str("a route of this type has neither via nor dev nor src"),
            Problem::Gateway(family, addr, dev) => {
                let addr = addr.display(*family);
                match dev {
                    Some(dev) => write!(
                        f,
                        "Nexthop has invalid gateway: {addr} is on no subnet of {dev}; give {dev} an address in its subnet, or \
                         route {addr} to {dev} first"
                    ),
                    None => write!(
                        f,
                        "Nexthop has invalid gateway: {addr} is on no subnet of this host; give an interface an address in its \
                         subnet, or route {addr} to an interface first"
                    ),
                }
            }
            Problem::OwnGateway(family, addr) => {
                write!(f, "{} is this host's own address and cannot be a gateway", addr.display(*family))
            }
            Problem::GatewayNeedsDevice(addr) => {
                write!(f, "the gateway {} is on every link: say which with dev", addr.display(Family::V6))
            }
            Problem::ForeignSource(family, addr) => write!(
                f,
                "Invalid prefsrc address: {} is none of this host's addresses; add it to an interface or leave src out",
                addr.display(*family)
            ),
            Problem::BadTos(tos) => write!(f, "a TOS of {tos:#04x} does not select: its two lowest bits must be 0"),
            Problem::BadScope => f.write_str("the scope does not go with this type of route: leave it out"),
            Problem::RuleTwice => f.write_str("File exists: the same rule is there already; give this one a priority"),
            Problem::BackwardGoto(priority) => {
                write!(f, "a goto must lead to a later rule: {priority} is not behind this rule's priority")
            }
            Problem::NeighborTwice(family, addr) => {
                write!(f, "neighbor {} is there already on this interface", addr.display(*family))
            }
            Problem::NoNeighborsThere(dev) => write!(f, "{dev} has no link addresses, so it needs no neighbors"),
            Problem::Sysctl(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Interface(n) => write!(f, "interface {}: ", n + 1)?,
            At::Address { interface, address } => write!(f, "interface {}, address {}: ", interface + 1, address + 1)?,
            At::Route(n) => write!(f, "route {}: ", n + 1)?,
            At::Rule(n) => write!(f, "rule {}: ", n + 1)?,
            At::Neighbor(n) => write!(f, "neighbor {}: ", n + 1)?,
            At::Sysctl(n) => write!(f, "setting {}: ", n + 1)?,
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for SetupError {}

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
        let has_realms = realms || rules4.iter().any(|r| r.realm != 0);
        let mut net = Net::assemble(builder.interfaces, neighbors, builder.sysctl);
        let (v4, v6) = builder.routes.into_iter().partition(|(family, _)| *family == Family::V4);
        net.policy4 = Policy::new(Family::V4, without_family(v4), rules4, custom4);
        net.policy6 = Policy::new(Family::V6, without_family(v6), rules6, custom6);
        net.has_custom_local = custom_local;
        net.has_realms = has_realms;
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
type OfFamily = (Family, FibRoute);

fn without_family(routes: Vec<OfFamily>) -> Vec<FibRoute> {
    routes.into_iter().map(|(_, route)| route).collect()
}

struct Builder {
    interfaces: Vec<Interface>,
    sysctl: Sysctl,
    routes: Vec<OfFamily>,
}

impl Builder {
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
        let mut given: Vec<(&NewRule, u32)> = Vec::new();
        for (n, new) in new.iter().enumerate().filter(|(_, new)| new.family == family) {
            let wrong = |problem| SetupError { at: At::Rule(n), problem };
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
            let twice = |(old, priority): &(&NewRule, u32)| {
                NewRule { priority: new.priority, ..(*old).clone() } == *new
                    && new.priority.is_none_or(|wanted| wanted == *priority)
            };
            if given.iter().any(twice) {
                return Err(wrong(Problem::RuleTwice));
            }
            // A device that is not there is waited for: until then the rule selects nothing.
            let device =
                |name: &Option<String>| name.as_deref().map(|name| self.device(name).unwrap_or(IfIndex(u32::MAX)));
            let rule = PolicyRule {
                priority: 0,
                from: new.from,
                to: new.to,
                iif: device(&new.iif),
                oif: device(&new.oif),
                mark: new.mark,
                tos: new.tos,
                protocol: new.protocol,
                sport: new.sport.clone(),
                dport: new.dport.clone(),
                uid: new.uid.clone(),
                not: new.not,
                action: new.action,
                suppress_prefixlength: new.suppress_prefixlength,
                suppress_group: new.suppress_group,
                realm: new.realm,
            };
            let priority = policy::add(&mut rules, rule, new.priority);
            if let RuleAction::Goto(target) = new.action
                && target <= priority
            {
                return Err(wrong(Problem::BackwardGoto(target)));
            }
            given.push((new, priority));
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

/// Puts an address where the kernel puts it. IPv4: secondaries at the end, a primary behind the primaries of at least its scope
/// number; IPv6, behind all of IPv4: before the addresses of the same scope or a smaller one, so the newest comes first.
fn insert_address(addresses: &mut Vec<IfAddr>, new: &NewAddress) {
    let family = new.family;
    let mask = family.mask(new.prefix);
    let usual = match family {
        Family::V4 if new.addr.is_loopback(family) => Scope::Host,
        Family::V6 if new.addr.is_loopback(family) => Scope::Host,
        Family::V6 if new.addr.is_link_local(family) => Scope::Link,
        // fec0::/10 (RFC 3879 gave it up, Linux did not).
        Family::V6 if new.addr.0 >> 118 == 0xfec0 >> 6 => Scope::Site,
        _ => Scope::Global,
    };
    let same_subnet = |a: &IfAddr| a.family == family && a.prefix == new.prefix && new.addr.in_net(a.addr, mask);
    let own = IfAddr {
        family,
        addr: new.addr,
        prefix: new.prefix,
        scope: new.scope.unwrap_or(usual),
        broadcast: new.broadcast.or_else(|| {
            let last = Addr(new.addr.0 | (family.mask(family.bits()).0 & !mask.0));
            (family == Family::V4 && new.prefix < 31).then_some(last)
        }),
        secondary: family == Family::V4 && addresses.iter().any(same_subnet),
    };
    let first6 = addresses.iter().position(|a| a.family == Family::V6).unwrap_or(addresses.len());
    let at = match family {
        Family::V4 if own.secondary => first6,
        Family::V4 => {
            let before = |a: &IfAddr| a.family == Family::V4 && !a.secondary && own.scope <= a.scope;
            addresses.iter().rposition(before).map_or(0, |at| at + 1)
        }
        Family::V6 => {
            let behind = |a: &IfAddr| a.family == Family::V6 && a.scope >= own.scope;
            addresses.iter().position(behind).unwrap_or(addresses.len())
        }
    };
    addresses.insert(at, own);
}

/// The routes that a device and its addresses bring (`fib_add_ifaddr`, and its IPv6 counterparts), as Linux 6.18 shows them.
fn derive_routes(interface: &Interface, sysctl: &Sysctl, routes: &mut Vec<OfFamily>) {
    let mut add = |family: Family, route: FibRoute| {
        let same = |(f, r): &OfFamily| {
            *f == family
                && (r.table, r.prefix, r.prefix_len, r.kind)
                    == (route.table, route.prefix, route.prefix_len, route.kind)
                && r.hops.first().map(|h| h.dev) == route.hops.first().map(|h| h.dev)
        };
        if !routes.iter().rev().take_while(|(_, r)| r.hops.iter().any(|h| h.dev == interface.index)).any(same) {
            routes.push((family, route));
        }
    };
    for own in interface.addresses.iter().filter(|a| a.family == Family::V4) {
        derive_routes4(interface, own, &mut |route| add(Family::V4, route));
    }
    if !interface.up || sysctl.disable_ipv6(interface.index) {
        return;
    }
    let is_router = sysctl.conf6(interface.index, Conf6::Forwarding) != 0 && interface.kind != LinkKind::Loopback;
    let route = |table, kind, prefix, prefix_len, metric| FibRoute {
        metric,
        scope: Scope::Global,
        ..derived(interface, table, kind, (prefix, prefix_len), None)
    };
    for own in interface.addresses.iter().rev().filter(|a| a.family == Family::V6) {
        let prefix = own.addr.masked(Family::V6.mask(own.prefix));
        add(Family::V6, route(TableId::LOCAL, RouteType::Local, own.addr, 128, 0));
        if interface.kind != LinkKind::Loopback {
            add(Family::V6, route(TableId::MAIN, RouteType::Unicast, prefix, own.prefix, 256));
        }
        if is_router && own.prefix < 127 && !prefix.is_unspecified() {
            add(Family::V6, route(TableId::LOCAL, RouteType::Anycast, prefix, 128, 0));
        }
    }
    if interface.kind != LinkKind::Loopback && interface.mtu >= 1280 {
        add(Family::V6, route(TableId::LOCAL, RouteType::Multicast, Addr(0xff << 120), 8, 256));
    }
}

fn derive_routes4(interface: &Interface, own: &IfAddr, add: &mut dyn FnMut(FibRoute)) {
    let mask = Family::V4.mask(own.prefix);
    let prefix = own.addr.masked(mask);
    // A secondary's routes name the first address of its subnet as their source.
    let first =
        |a: &&IfAddr| a.family == Family::V4 && !a.secondary && a.prefix == own.prefix && own.addr.in_net(a.addr, mask);
    let src = interface.addresses.iter().find(first).map_or(own.addr, |a| a.addr);
    let route = |table, kind, to| derived(interface, table, kind, to, Some(src));
    add(route(TableId::LOCAL, RouteType::Local, (own.addr, 32)));
    if !interface.up {
        return;
    }
    if let Some(broadcast) = own.broadcast.filter(|b| b.as_u32() != u32::MAX) {
        add(route(TableId::LOCAL, RouteType::Broadcast, (broadcast, 32)));
    }
    if prefix.is_unspecified() || own.secondary || prefix == own.addr && own.prefix == 32 {
        return;
    }
    if interface.kind == LinkKind::Loopback {
        add(route(TableId::LOCAL, RouteType::Local, (prefix, own.prefix)));
    } else {
        add(route(TableId::MAIN, RouteType::Unicast, (prefix, own.prefix)));
    }
    if own.prefix < 31 {
        let last = Addr(prefix.0 | (Family::V4.mask(32).0 & !mask.0));
        add(route(TableId::LOCAL, RouteType::Broadcast, (last, 32)));
    }
}

fn derived(
    interface: &Interface,
    table: TableId,
    kind: RouteType,
    (prefix, prefix_len): (Addr, u8),
    prefsrc: Option<Addr>,
) -> FibRoute {
    let (scope, hop_scope) = match kind {
        RouteType::Local => (Scope::Host, Scope::Nowhere),
        _ => (Scope::Link, Scope::Host),
    };
    let hop = Hop { dev: interface.index, gateway: None, weight: 1, realm: 0, scope: hop_scope, source: prefsrc };
    FibRoute {
        table,
        kind,
        prefix,
        prefix_len,
        tos: 0,
        metric: 0,
        scope,
        prefsrc,
        mtu: 0,
        advmss: 0,
        hop_limit: 0,
        derived: true,
        hops: vec![hop],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_links() -> Setup {
        let setup = Setup::default().ethernet("eth0", &["10.0.1.1/24", "2001:db8:1::1/64"]).unwrap();
        setup.ethernet("eth1", &["10.0.2.1/24", "2001:db8:2::1/64"]).unwrap()
    }

    /// A table as `ip route` shows it, in short: `TYPE PREFIX/LENGTH DEVICE SOURCE`.
    fn shown(net: &Net, family: Family, table: TableId) -> Vec<String> {
        let line = |r: &FibRoute| {
            let kind = format!("{:?}", r.kind).to_lowercase();
            let dev =
                r.hops.first().and_then(|hop| net.interface(hop.dev)).map_or("-".to_owned(), |d| d.name.to_string());
            let src = r.prefsrc.map_or("-".to_owned(), |src| src.display(family).to_string());
            format!("{kind} {}/{} {dev} {src}", r.prefix.display(family), r.prefix_len)
        };
        net.routes(family, table).iter().map(line).collect()
    }

    #[test]
    fn addresses_bring_the_routes_that_linux_shows() {
        let eth0 = ["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64", "2001:db8::2/64"];
        let eth1 = ["10.0.1.1/31", "10.0.2.1/32", "10.0.3.1/30", "10.9.0.0/24", "2001:db8:1::1/128", "fd00::1/48"];
        let setup = Setup::default().ethernet("eth0", &eth0).unwrap().ethernet("eth1", &eth1).unwrap();
        let net = setup.build().unwrap();
        assert_eq!(
            shown(&net, Family::V4, TableId::LOCAL),
            [
                "local 10.0.0.1/32 eth0 10.0.0.1",
                "local 10.0.0.2/32 eth0 10.0.0.1",
                "broadcast 10.0.0.255/32 eth0 10.0.0.1",
                "local 10.0.1.1/32 eth1 10.0.1.1",
                "local 10.0.2.1/32 eth1 10.0.2.1",
                "local 10.0.3.1/32 eth1 10.0.3.1",
                "broadcast 10.0.3.3/32 eth1 10.0.3.1",
                "local 10.9.0.0/32 eth1 10.9.0.0",
                "broadcast 10.9.0.255/32 eth1 10.9.0.0",
                "local 127.0.0.0/8 lo 127.0.0.1",
                "local 127.0.0.1/32 lo 127.0.0.1",
                "broadcast 127.255.255.255/32 lo 127.0.0.1",
            ]
        );
        assert_eq!(
            shown(&net, Family::V4, TableId::MAIN),
            [
                "unicast 10.0.0.0/24 eth0 10.0.0.1",
                "unicast 10.0.1.0/31 eth1 10.0.1.1",
                "unicast 10.0.3.0/30 eth1 10.0.3.1",
                "unicast 10.9.0.0/24 eth1 10.9.0.0",
            ]
        );
        let router = setup.sysctl("net.ipv6.conf.all.forwarding=1").unwrap().build().unwrap();
        assert_eq!(
            shown(&router, Family::V6, TableId::LOCAL),
            [
                "local ::1/128 lo -",
                "anycast 2001:db8::/128 eth0 -",
                "local 2001:db8::1/128 eth0 -",
                "local 2001:db8::2/128 eth0 -",
                "local 2001:db8:1::1/128 eth1 -",
                "anycast fd00::/128 eth1 -",
                "local fd00::1/128 eth1 -",
                "multicast ff00::/8 eth0 -",
                "multicast ff00::/8 eth1 -",
            ]
        );
        assert_eq!(
            shown(&net, Family::V6, TableId::MAIN),
            ["unicast 2001:db8::/64 eth0 -", "unicast 2001:db8:1::1/128 eth1 -", "unicast fd00::/48 eth1 -"]
        );
        assert!(!shown(&net, Family::V6, TableId::LOCAL).iter().any(|line| line.starts_with("anycast")));
    }

    #[test]
    fn addresses_are_kept_in_the_kernels_order() {
        let given = [
            "fe80::1/64",
            "10.0.0.1/24",
            "10.0.0.2/24",
            "10.0.1.1/24",
            "2001:db8::1/64",
            "10.0.0.3/24",
            "2001:db8::2/64",
        ];
        let net = Setup::default().ethernet("eth0", &given).unwrap().build().unwrap();
        let eth0 = net.interface(IfIndex(2)).unwrap();
        let shown: Vec<String> = eth0
            .addresses
            .iter()
            .map(|a| format!("{}{}", a.addr.display(a.family), if a.secondary { " secondary" } else { "" }))
            .collect();
        assert_eq!(
            shown,
            [
                "10.0.0.1",
                "10.0.1.1",
                "10.0.0.2 secondary",
                "10.0.0.3 secondary",
                "2001:db8::2",
                "2001:db8::1",
                "fe80::1"
            ]
        );
        // A link-scope address goes before those of global scope.
        let mut setup = Setup::default().ethernet("eth0", &["10.0.0.1/24", "169.254.1.1/16"]).unwrap();
        setup.interfaces[0].addresses[1].scope = Some(Scope::Link);
        assert_eq!(setup.build().unwrap().interface(IfIndex(2)).unwrap().addresses[0].prefix, 16);
    }

    #[test]
    fn a_host_with_nothing_has_its_loopback() {
        let net = Net::default();
        assert_eq!(net.interfaces.len(), 1);
        assert_eq!(net.interface(LO).unwrap().mtu, 65_536);
        assert_eq!(net.owner(Family::V4, Addr::v4(0x7f00_0001)), Some(LO));
        let off = Setup::default().sysctl("net.ipv6.conf.all.disable_ipv6=1").unwrap().build().unwrap();
        assert_eq!(off.owner(Family::V6, Addr(1)), None);
        assert_eq!(off.routes(Family::V6, TableId::LOCAL), []);
    }

    #[test]
    fn gateways_are_found_whatever_the_order() {
        let setup = two_links()
            .route("default via 172.16.0.1")
            .unwrap()
            .route("172.16.0.1 dev eth1")
            .unwrap()
            .route("2001:db8:9::/48 via 2001:db8:1::fe")
            .unwrap()
            .route("10.77.0.0/16 via 192.0.2.1 dev eth0 onlink")
            .unwrap();
        let net = setup.build().unwrap();
        let main = shown(&net, Family::V4, TableId::MAIN);
        assert!(main.contains(&"unicast 0.0.0.0/0 eth1 -".to_owned()), "{main:?}");
        assert!(main.contains(&"unicast 10.77.0.0/16 eth0 -".to_owned()), "{main:?}");
        assert!(shown(&net, Family::V6, TableId::MAIN).contains(&"unicast 2001:db8:9::/48 eth0 -".to_owned()));
    }

    #[test]
    fn the_same_destination_needs_another_metric_tos_or_table() {
        let with = |text: &str| two_links().route("10.5.0.0/16 dev eth0").unwrap().route(text).unwrap().build();
        for text in ["10.5.0.0/16 dev eth1 metric 5", "10.5.0.0/16 dev eth1 tos 0x10", "10.5.0.0/16 dev eth1 table 7"] {
            assert!(with(text).is_ok(), "{text}");
        }
        for text in ["10.5.0.0/16 dev eth1", "unreachable 10.5.0.0/16", "10.0.1.0/24 dev eth1"] {
            let error = with(text).unwrap_err();
            assert_eq!(error.at, At::Route(1), "{text}");
            assert!(matches!(error.problem, Problem::RouteTwice(..)), "{text}");
            assert!(error.to_string().starts_with("route 2: File exists"), "{error}");
        }
    }

    #[test]
    fn unnumbered_links_may_share_an_address() {
        let of = |a: &str, b: &str| Setup::default().ethernet("a", &[a]).unwrap().ethernet("b", &[b]).unwrap().build();
        assert!(of("10.0.0.1/32", "10.0.0.1/32").is_ok());
        assert!(of("10.0.0.1/24", "10.0.0.1/32").is_ok());
        assert!(of("fe80::1/64", "fe80::1/64").is_ok());
        let error = of("10.0.0.1/24", "10.0.0.1/24").unwrap_err();
        assert_eq!(error.at, At::Address { interface: 1, address: 0 });
        assert!(error.to_string().contains("first on a"), "{error}");
        let twice = Setup::default().ethernet("a", &["10.0.0.1/24", "10.0.0.1/24"]).unwrap().build();
        assert!(matches!(twice.unwrap_err().problem, Problem::AddressTwice(..)));
    }

    #[test]
    fn every_refusal_says_where_and_what() {
        type Change = fn(&mut Setup);
        let cases: &[(Change, At, &str)] = &[
            (|s| s.interfaces[1].name = "a b".into(), At::Interface(1), "cannot be an interface name"),
            (|s| s.interfaces[1].name = "all".into(), At::Interface(1), "cannot be an interface name"),
            (|s| s.interfaces[1].name = "eth0".into(), At::Interface(1), "there twice"),
            (|s| s.interfaces[1].mac = Mac::ZERO, At::Interface(1), "cannot be an interface's address"),
            (|s| s.interfaces[0].mtu = 67, At::Interface(0), "use 68 to 65535"),
            (|s| s.interfaces[0].mtu = 1000, At::Address { interface: 0, address: 1 }, "IPv6 is off on eth0"),
            (|s| s.interfaces[0].addresses[0].prefix = 33, At::Address { interface: 0, address: 0 }, "at most /32"),
            (|s| s.interfaces[0].addresses[0].addr = Addr(0), At::Address { interface: 0, address: 0 }, "of a host"),
            (|s| s.routes.push("10.0.0.0/8".parse().unwrap()), At::Route(0), "leads nowhere"),
            (|s| s.routes.push("10.0.0.0/8 via 10.9.9.9".parse().unwrap()), At::Route(0), "invalid gateway"),
            (
                |s| s.routes.push("10.0.0.0/8 via 10.0.1.9 dev eth1".parse().unwrap()),
                At::Route(0),
                "on no subnet of eth1",
            ),
            (|s| s.routes.push("10.0.0.0/8 via 10.0.1.255".parse().unwrap()), At::Route(0), "invalid gateway"),
            (|s| s.routes.push("10.0.0.0/8 via 224.0.0.1".parse().unwrap()), At::Route(0), "cannot be an address"),
            (|s| s.routes.push("10.0.0.0/8 dev eht0".parse().unwrap()), At::Route(0), "did you mean eth0?"),
            (|s| s.routes.push("10.0.0.0/8 dev eth0 src 9.9.9.9".parse().unwrap()), At::Route(0), "Invalid prefsrc"),
            (|s| s.routes.push("10.0.0.0/8 dev eth0 tos 3".parse().unwrap()), At::Route(0), "two lowest bits"),
            (|s| s.routes.push("10.0.0.0/8 dev eth0 scope nowhere".parse().unwrap()), At::Route(0), "scope"),
            (|s| s.routes.push("local 10.0.0.0/8 dev lo scope link".parse().unwrap()), At::Route(0), "scope"),
            (|s| s.routes.push("blackhole 10.0.0.0/8 dev eth0".parse().unwrap()), At::Route(0), "neither via nor dev"),
            (|s| s.routes.push("default via fe80::1".parse().unwrap()), At::Route(0), "say which with dev"),
            (|s| s.routes.push("default via 2001:db8:1::1".parse().unwrap()), At::Route(0), "own address"),
            (|s| s.routes.push("10.0.0.1/8 dev eth0".parse().unwrap()), At::Route(0), "did you mean 10.0.0.0/8"),
            (|s| s.rules.push("from 10.0.0.1/8".parse().unwrap()), At::Rule(0), "not a network"),
            (|s| s.rules.push("tos 0x20".parse().unwrap()), At::Rule(0), "TOS"),
            (|s| s.rules.push("priority 9 goto 9".parse().unwrap()), At::Rule(0), "later rule"),
            (|s| s.sysctls.push(("net.ipv4.foo".into(), "1".into())), At::Sysctl(0), "unknown setting"),
        ];
        for (n, (change, at, words)) in cases.iter().enumerate() {
            let mut setup = two_links();
            change(&mut setup);
            let error = setup.build().expect_err(words);
            assert_eq!(error.at, *at, "case {n}: {error}");
            assert!(error.to_string().contains(words), "case {n}: {error}");
        }
        let neighbor =
            |text: &str| two_links().neighbor("10.0.1.9 lladdr 2:0:0:0:0:9 dev eth0").unwrap().neighbor(text).unwrap();
        for (text, words) in [
            ("10.0.1.9 lladdr 2:0:0:0:0:8 dev eth0", "there already"),
            ("10.0.1.9 lladdr 2:0:0:0:0:8 dev wan", "no interface wan"),
            ("10.0.1.9 lladdr 2:0:0:0:0:8 dev lo", "no link addresses"),
            ("224.0.0.1 lladdr 2:0:0:0:0:8 dev eth0", "cannot be an address"),
        ] {
            let error = neighbor(text).build().unwrap_err();
            assert_eq!(error.at, At::Neighbor(1));
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(neighbor("10.0.1.9 lladdr 2:0:0:0:0:8 dev eth1").build().is_ok());
        let rule = |text: &str| two_links().rule("fwmark 1 table 5").unwrap().rule(text).unwrap().build();
        assert_eq!(rule("fwmark 1 table 5").unwrap_err().problem, Problem::RuleTwice);
        assert_eq!(rule("fwmark 1 table 5 priority 32765").unwrap_err().problem, Problem::RuleTwice);
        assert!(rule("fwmark 1 table 5 priority 9").is_ok() && rule("fwmark 1 table 6").is_ok());
    }
}
