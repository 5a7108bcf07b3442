//! Making a [`Net`](crate::net::Net): what the administrator gives as plain values, checked as Linux checks it, with words that help.
//!
//! Everything may be given in any order; what depends on each other (a gateway on the subnet of an address or of another
//! route) is found. Addresses bring their routes with them, as in Linux.

mod build;
mod derived;
mod problem;
#[cfg(test)]
mod tests;
pub mod text;

use crate::net::{LinkKind, Scope};
use crate::osf::Fingerprints;
use crate::route::fib::TableId;
use crate::route::{PolicyRule, RouteType};
use crate::socket::Socket;
use hairpin_wire::{Addr, Family, Mac};

pub use problem::{At, Problem, SetupError};
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
    /// Sockets that are known.
    pub sockets: Vec<NewSocket>,
    /// What is known of operating systems by their SYNs.
    pub fingerprints: Fingerprints,
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

/// A policy rule to add. A device that does not exist is waited for: until then the rule selects nothing. Without a priority it goes
/// before all rules but the first, the last added first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The rule, with devices by name.
    pub rule: PolicyRule<String, Option<u32>>,
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

/// A socket to tell the host of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSocket {
    /// The socket; its device by name, in `dev`.
    pub socket: Socket,
    /// The device it is bound to.
    pub dev: Option<String>,
}
