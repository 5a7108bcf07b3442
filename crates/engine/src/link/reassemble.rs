//! Putting fragments together, as `ip_defrag` and `nf_ct_frag6_gather` do.

use super::IcmpError;
use crate::fate::DropReason;
use crate::packet::Packet;
use crate::time::Instant;
use std::time::Duration;

/// On whose behalf fragments are collected. Each has its own queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FragUser {
    /// Tracking at PREROUTING, for a zone.
    TrackIn(u16),
    /// Tracking at OUTPUT, for a zone.
    TrackOut(u16),
    /// Local delivery without tracking.
    Deliver,
}

/// Limits of the reassembly of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragLimits {
    /// How long the fragments of a packet wait for each other, from the first to arrive.
    pub timeout: Duration,
    /// Bytes of memory; beyond it no fragment is taken until others are done or timed out.
    pub high_bytes: usize,
    /// IPv4: most fragments of one sender between two of the same packet; 0 for no limit.
    pub max_distance: u32,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassembled {
    /// Go on with what the packet holds: the whole packet, or one that is not to be collected.
    Whole,
    /// Kept until the others come; the packet is empty now.
    Held,
    /// Gone, perhaps with all the fragments that waited for it.
    Drop(DropReason),
    /// Gone, and the sender is to be told (IPv6 local delivery).
    Problem(IcmpError),
}

/// A first fragment whose others did not come in time.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The first fragment as received, without link header.
    pub packet: Packet,
    /// Who collected it.
    pub user: FragUser,
}

/// The fragments waiting for others.
#[derive(Clone, Debug, Default)]
pub struct Reassembler {}

impl Reassembler {
    /// Takes a packet. Those that are no fragments are left alone.
    pub fn push(&mut self, packet: &mut Packet, user: FragUser, now: Instant, limits: &FragLimits) -> Reassembled {
        let _ = (packet, user, now, limits);
        Reassembled::Whole
    }

    /// Gives up packets whose time is over. Of those whose first fragment came, it is put into `expired`: the sender may have
    /// to be told ([`IcmpError::reassembly_expired`]).
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<Expired>) {
        let _ = (now, expired);
    }

    /// When [`Reassembler::expire`] has work next.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
