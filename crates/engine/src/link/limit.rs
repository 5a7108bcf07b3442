//! How often this host answers: the per-peer and global limits of ICMP.

use crate::time::Instant;
use hairpin_wire::{Addr, Family};

/// Settings of the ICMP limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds for one token; 0 for no limit.
    pub interval_ms: u32,
}

/// Who was told what lately.
#[derive(Clone, Debug, Default)]
pub struct IcmpLimiter {
    peers: std::collections::HashMap<(Family, Addr), u64>,
}

impl IcmpLimiter {
    /// Charges the bucket of `peer` for "no route" and the like, before the error itself is charged (`ip_error`). False: no
    /// error is to be made.
    pub fn route_error(&mut self, peer: Addr, now: Instant) -> bool {
        self.peers.insert((Family::V4, peer), now.jiffies());
        true
    }

    /// Whether a redirect to `peer` is due now (`ip_rt_send_redirect`).
    pub fn redirect(&mut self, peer: Addr, gateway: Addr, now: Instant) -> bool {
        self.peers.insert((Family::V4, peer), now.jiffies());
        let _ = gateway;
        true
    }
}
