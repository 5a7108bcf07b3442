//! The edges of the host: what it takes from a link, what it answers itself, and how packets are cut and put together.
//!
//! Pure functions and two small states ([`Reassembler`], [`IcmpLimiter`]). Nothing here panics on any bytes, and none of it
//! knows rules or connections.

pub mod fragment;
pub mod limit;
pub mod local;
pub mod options;
mod options6;
pub mod reassemble;
pub mod receive;
pub mod reply;
pub mod segment;
pub(crate) mod solicit;
pub(crate) mod synproxy;
#[cfg(test)]
pub(crate) mod testing;

pub use fragment::{Fit, exceeds, fit};
pub use limit::{IcmpLimiter, Limits};
pub use local::{Answer, Local, OpenPorts};
pub use reassemble::{FragCounters, FragLimits, FragUser, Reassembled, Reassembler};
pub use receive::Reception;
pub use reply::Host;
pub use segment::segment;

use hairpin_wire::{Family, icmp4, icmp6};

/// An ICMP error of this host: type, code, and the word behind the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Type, see [`icmp4`] or [`icmp6`].
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The word behind the checksum: MTU, gateway, pointer (IPv4: in the highest byte) or 0.
    pub info: u32,
}

impl IcmpError {
    /// Any error.
    pub const fn new(kind: u8, code: u8, info: u32) -> IcmpError {
        IcmpError { kind, code, info }
    }

    /// The TTL or hop limit ran out in transit.
    pub const fn expired(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::TIME_EXCEEDED, icmp4::time_exceeded::TTL, 0),
            Family::V6 => IcmpError::new(icmp6::TIME_EXCEEDED, icmp6::time_exceeded::HOP_LIMIT, 0),
        }
    }

    /// Fragments did not all arrive in time.
    pub const fn reassembly_expired(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::TIME_EXCEEDED, icmp4::time_exceeded::REASSEMBLY, 0),
            Family::V6 => IcmpError::new(icmp6::TIME_EXCEEDED, icmp6::time_exceeded::REASSEMBLY, 0),
        }
    }

    /// Longer than `mtu` and not to be fragmented.
    pub const fn too_big(family: Family, mtu: u32) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::FRAGMENTATION_NEEDED, mtu & 0xffff),
            Family::V6 => IcmpError::new(icmp6::TOO_BIG, 0, mtu),
        }
    }

    /// No route to the destination.
    pub const fn no_route(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::NET, 0),
            Family::V6 => IcmpError::new(icmp6::UNREACHABLE, icmp6::unreachable::NO_ROUTE, 0),
        }
    }

    /// A route of type `unreachable`, or no neighbor.
    pub const fn host_unreachable(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::HOST, 0),
            Family::V6 => IcmpError::new(icmp6::UNREACHABLE, icmp6::unreachable::ADDRESS, 0),
        }
    }

    /// A route of type `prohibit`.
    pub const fn prohibited(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::ADMIN_PROHIBITED, 0),
            Family::V6 => IcmpError::new(icmp6::UNREACHABLE, icmp6::unreachable::ADMIN_PROHIBITED, 0),
        }
    }

    /// Nobody listens on the port.
    pub const fn port_unreachable(family: Family) -> IcmpError {
        match family {
            Family::V4 => IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::PORT, 0),
            Family::V6 => IcmpError::new(icmp6::UNREACHABLE, icmp6::unreachable::PORT, 0),
        }
    }

    /// IPv4: the byte at `offset` of the header cannot be.
    pub const fn bad_header4(offset: u8) -> IcmpError {
        IcmpError::new(icmp4::PARAMETER_PROBLEM, 0, (offset as u32) << 24)
    }

    /// IPv6: the field at `offset` cannot be, with a code of [`icmp6::parameter_problem`].
    pub const fn bad_header6(code: u8, offset: u32) -> IcmpError {
        IcmpError::new(icmp6::PARAMETER_PROBLEM, code, offset)
    }
}
