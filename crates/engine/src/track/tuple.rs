//! The key of a connection's direction.

use hairpin_wire::{Addr, Family};

/// What identifies one direction of a connection.
///
/// `src_id` and `dst_id` are overloaded as in the kernel: ports for TCP, UDP, UDP-Lite and SCTP; for ICMP the source part is the
/// id and the destination part is type (high byte) and code; for GRE the keys; otherwise 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, ICMP id, or GRE key.
    pub src_id: u16,
    /// Destination port, ICMP type and code, or GRE key.
    pub dst_id: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// IPv4 or IPv6.
    pub family: Family,
}

/// A zone number (`-j CT --zone`): connections of different zones do not know of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// Zone id of the original direction.
    pub original: u16,
    /// Zone id of the reply direction.
    pub reply: u16,
}
