//! Routing: the forwarding table, policy rules, and the decisions made with them.

mod decide;
mod dissect;
pub mod fib;
pub(crate) mod known;
pub(crate) mod multipath;
pub(crate) mod path_mtu;
pub(crate) mod policy;
mod source6;
#[cfg(test)]
mod tests;

pub use decide::{Errno, InputError, LinkAddress, OutputError, OutputKey};
pub use policy::{PolicyRule, RuleAction};

pub(crate) use decide::select4;

use crate::net::{IfIndex, IfName, LO, Scope};
use hairpin_wire::{Addr, Family};

/// The type of a route (`ip route add TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteType {
    /// To a next hop or onto a link.
    Unicast,
    /// To this host.
    Local,
    /// To all on a link.
    Broadcast,
    /// To a group.
    Multicast,
    /// IPv6: to the nearest of several.
    Anycast,
    /// Dropped silently.
    Blackhole,
    /// Refused: host unreachable.
    Unreachable,
    /// Refused: administratively prohibited.
    Prohibit,
    /// Ends the lookup in this table.
    Throw,
}

/// A routing decision: where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unicast, Local, Broadcast, Multicast or Anycast.
    pub kind: RouteType,
    /// The device it leaves by; `lo` for local delivery.
    pub oif: IfIndex,
    /// The gateway, or None when the destination is on the link.
    pub gateway: Option<Addr>,
    /// The source address a local sender would use.
    pub prefsrc: Option<Addr>,
    /// Largest packet in bytes: the route's own `mtu`, else the device's.
    pub mtu: u32,
    /// Default hop limit of this route, 0 when not given.
    pub hop_limit: u8,
    /// `advmss`, 0 when not given.
    pub advmss: u32,
    /// Routing realm: source realm in the upper 16 bits.
    pub realm: u32,
    /// The sender could have sent it to the next hop directly: a redirect is due.
    pub redirect: bool,
}

impl Route {
    /// Whether a received packet with this route is for this host. (A directed broadcast that is forwarded is not.)
    pub fn delivers(&self) -> bool {
        match self.kind {
            RouteType::Local | RouteType::Multicast | RouteType::Anycast => true,
            RouteType::Broadcast => self.oif == LO,
            _ => false,
        }
    }
}

/// What an address is to this host (`-m addrtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// IPv6 `::`.
    Unspecified,
    /// Somebody's.
    Unicast,
    /// This host's.
    Local,
    /// A broadcast address.
    Broadcast,
    /// IPv6 anycast.
    Anycast,
    /// A group.
    Multicast,
    /// Covered by a blackhole route of the local table.
    Blackhole,
    /// IPv6: no route.
    Unreachable,
    /// Covered by a prohibit route of the local table.
    Prohibit,
    /// Covered by a throw route of the local table.
    Throw,
}

/// The way back to a packet's source (`-m rpfilter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReversePath {
    /// Linux does not ask: the packet came over loopback, or from the unspecified address to all. The match is true.
    pub exempt: bool,
    /// Type of the route back; None when there is none (or one that refuses).
    pub kind: Option<RouteType>,
    /// The device it leaves by.
    pub oif: Option<IfIndex>,
    /// One of its next hops leaves by the device that the packet came in by.
    pub by_input_device: bool,
}

impl Route {
    /// The route in a few words, for traces: `unicast by eth0 via 10.0.0.1`.
    pub fn describe(&self, family: hairpin_wire::Family, dev: IfName) -> String {
        let kind = match self.kind {
            RouteType::Unicast => "unicast",
            RouteType::Local => "local",
            RouteType::Broadcast => "broadcast",
            RouteType::Multicast => "multicast",
            RouteType::Anycast => "anycast",
            RouteType::Blackhole => "blackhole",
            RouteType::Unreachable => "unreachable",
            RouteType::Prohibit => "prohibit",
            RouteType::Throw => "throw",
        };
        match self.gateway {
            Some(gateway) => format!("{kind} by {dev} via {}", gateway.display(family)),
            None => format!("{kind} by {dev}"),
        }
    }
}

/// What routes and rules see of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) family: Family,
    pub(crate) src: Addr,
    /// There is a source; IPv6 rules with `from` ask.
    pub(crate) has_src: bool,
    pub(crate) dst: Addr,
    /// TOS byte or traffic class.
    pub(crate) tos: u8,
    pub(crate) mark: u32,
    /// The device it came in by; `lo` for packets made here.
    pub(crate) iif: IfIndex,
    /// The device the sender is bound to. IPv4: only by this device. IPv6: rather by this device.
    pub(crate) oif: Option<IfIndex>,
    /// IPv6, without `oif`: rather by this device; rules do not see it.
    pub(crate) wished: Option<IfIndex>,
    /// IPv6: only by the device of `oif` or `wished`.
    pub(crate) strict: bool,
    /// IPv4: only routes of at least this scope (a gateway must be nearer than what lies behind it).
    pub(crate) scope: Scope,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    pub(crate) uid: u32,
}
