//! What can be wrong with a description of a host, and the words that say how to mend it.

use crate::sysctl::SysctlError;
use hairpin_wire::{Addr, Family, Mac};
use std::fmt;

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
    /// A socket.
    Socket(usize),
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
            At::Socket(n) => write!(f, "socket {}: ", n + 1)?,
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for SetupError {}
