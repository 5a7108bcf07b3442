//! Decisions: where a received packet goes, where a local one goes, and from which address.

use crate::fate::DropReason;
use crate::net::{IfIndex, Net, Scope};
use crate::packet::Packet;
use crate::route::{AddressType, ReversePath, Route};
use hairpin_wire::{Addr, Family, Mac};

/// Why a received packet is not routed, and what Linux answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputError {
    /// The reason for the counters.
    pub reason: DropReason,
    /// ICMP type and code to send to the source; None for silence. For IPv4 such an error also pays from the peer's
    /// error bucket (5 tokens, one a second) beside the usual ICMP limits.
    pub icmp: Option<(u8, u8)>,
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
    /// Routes a received packet: its way out, or local delivery, or why not. Uses `meta.iif`, `meta.mark` and the TOS.
    pub fn route_input(&self, _packet: &Packet) -> Result<Route, InputError> {
        Err(InputError { reason: DropReason::NoRoute, icmp: None })
    }

    /// Routes a packet that this host sends. [`Route::prefsrc`] of the answer is `key.src` or, without one, the source to use.
    pub fn route_output(&self, _key: &OutputKey) -> Result<Route, OutputError> {
        Err(OutputError { errno: Errno::NetUnreachable, reason: DropReason::NoRoute })
    }

    /// Routes a local packet anew after its mark, TOS or addresses changed (`ip_route_me_harder`), and REJECT's answers.
    pub fn reroute(&self, _packet: &Packet) -> Result<Route, OutputError> {
        Err(OutputError { errno: Errno::NetUnreachable, reason: DropReason::Reroute })
    }

    /// IPv6: what forbids to forward a packet from this source, asked after the hop limit; always Ok for IPv4.
    pub fn check_forward_source(&self, _packet: &Packet, _route: &Route) -> Result<(), InputError> {
        Ok(())
    }

    /// The type of an address by the host's local table; with a device: only addresses of that device count as local.
    pub fn address_type(&self, _family: Family, _addr: Addr, _dev: Option<IfIndex>) -> AddressType {
        AddressType::Unicast
    }

    /// The way back to a packet's source, as `-m rpfilter` asks for it.
    pub fn reverse_path(&self, _packet: &Packet, _with_mark: bool) -> ReversePath {
        ReversePath::default()
    }

    /// A source address on `dev` for reaching `dst` (a next hop; None for any), of at most this scope (`inet_select_addr`;
    /// for IPv6 by RFC 6724).
    pub fn select_address(&self, _family: Family, _dev: IfIndex, _dst: Option<Addr>, _scope: Scope) -> Option<Addr> {
        None
    }

    /// The source that MASQUERADE gives a packet about to leave by this route.
    pub fn masquerade_source(&self, _packet: &Packet, _route: &Route) -> Option<Addr> {
        None
    }

    /// The destination that REDIRECT gives a packet for `dst` that arrived by `dev`.
    pub fn first_address(&self, _family: Family, _dev: IfIndex, _dst: Addr) -> Option<Addr> {
        None
    }

    /// The link address of a next hop on `dev`.
    pub fn neighbor(&self, _family: Family, _dev: IfIndex, _next_hop: Addr) -> Option<Mac> {
        None
    }

    /// The link address a packet for `dst` with this route is sent to.
    pub fn link_address(&self, _family: Family, _route: &Route, _dst: Addr) -> LinkAddress {
        LinkAddress::Unknown
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
