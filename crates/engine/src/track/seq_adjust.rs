//! Sequence numbers of TCP connections whose payload a helper made longer or shorter.

use super::SeqAdjust;

impl SeqAdjust {
    /// The offset that applies to the sequence number `seq` of this direction, as its sender counts.
    pub(crate) fn offset_at(&self, seq: u32) -> i32 {
        if (self.position.wrapping_sub(seq) as i32) < 0 { self.after } else { self.before }
    }
}
