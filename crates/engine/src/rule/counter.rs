//! Packets and bytes.

/// What a rule, a policy or a connection's direction has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets. A reassembled or aggregated packet counts once.
    pub packets: u64,
    /// L3 bytes: headers of the network layer on.
    pub bytes: u64,
}

impl Counter {
    /// Counts one packet of `bytes` L3 bytes.
    #[inline]
    pub fn add(&mut self, bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }
}

impl std::ops::Add for Counter {
    type Output = Counter;
    fn add(self, other: Counter) -> Counter {
        Counter { packets: self.packets.wrapping_add(other.packets), bytes: self.bytes.wrapping_add(other.bytes) }
    }
}
