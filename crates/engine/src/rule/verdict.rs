//! What a target says.

use crate::fate::DropReason;
use crate::nat::Manip;
use hairpin_wire::Addr;

/// A target's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the next rule.
    Continue,
    /// Leave this table with ACCEPT.
    Accept,
    /// The packet ends here.
    Drop(DropReason),
    /// Translate this side of the connection, then leave the table with ACCEPT. The packet is dropped when no binding is found.
    Nat(Manip, NatRange),
    /// Answer a TCP client in the server's name until it proved that it exists.
    SynProxy(SynProxy),
    /// Answer with an error, then drop.
    Reject(RejectWith),
    /// Hand to user space (NFQUEUE).
    Queue {
        /// Queue number.
        number: u16,
        /// Accept, instead of drop, when nobody listens.
        bypass: bool,
    },
}

/// Where NAT may map to (`struct nf_nat_range2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// Lowest and highest address; None keeps the address.
    pub addrs: Option<(Addr, Addr)>,
    /// Lowest and highest port, ICMP id or GRE key; None leaves the choice to the protocol's rules.
    pub ports: Option<(u16, u16)>,
    /// `--to-destination a:p-q/base`: the port keeps its distance from this base.
    pub base: Option<u16>,
    /// `--random` (`PROTO_RANDOM`).
    pub random: bool,
    /// `--random-fully` (`PROTO_RANDOM_FULLY`); the same as `--random` since Linux 5.0.
    pub random_fully: bool,
    /// `--persistent`: the choice of address does not look at the destination.
    pub persistent: bool,
    /// Made by MASQUERADE: the connection is bound to the device the packet leaves by, and forgotten with it.
    pub masquerade: bool,
}

/// What `-j SYNPROXY` offers clients; each only to those that offer it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynProxy {
    /// Selective acknowledgements.
    pub sack: bool,
    /// Time stamps. Without them nothing but the segment size is offered: the rest is carried in them.
    pub timestamp: bool,
    /// A window scale.
    pub scale: Option<u8>,
    /// A segment size.
    pub mss: Option<u16>,
    /// Congestion notification.
    pub ecn: bool,
}

/// `-j REJECT --reject-with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// ICMP (or ICMPv6) destination unreachable with this code.
    Unreachable(u8),
    /// A TCP RST.
    TcpReset,
}
