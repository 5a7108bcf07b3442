//! DCCP packets (RFC 4340): the generic header.

use crate::bytes::{array_at, put_u16, u8_at, u16_at};

/// Bytes of the generic header with short sequence numbers.
pub const HEADER_LEN: usize = 12;
/// Bytes of the generic header with long sequence numbers.
pub const LONG_HEADER_LEN: usize = 16;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 6;

/// Packet types.
pub mod kind {
    /// Opens a connection.
    pub const REQUEST: u8 = 0;
    /// Answer to [`REQUEST`].
    pub const RESPONSE: u8 = 1;
    /// Data.
    pub const DATA: u8 = 2;
    /// Acknowledgment.
    pub const ACK: u8 = 3;
    /// Data with acknowledgment.
    pub const DATA_ACK: u8 = 4;
    /// The server wants to close.
    pub const CLOSE_REQ: u8 = 5;
    /// Close.
    pub const CLOSE: u8 = 6;
    /// Reset.
    pub const RESET: u8 = 7;
    /// Synchronize sequence numbers.
    pub const SYNC: u8 = 8;
    /// Answer to [`SYNC`].
    pub const SYNC_ACK: u8 = 9;
}

/// A view of a DCCP packet.
///
/// [`Dccp::new`] checks for the 12 bytes of the short generic header. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Dccp<B>(B);

impl<B: AsRef<[u8]>> Dccp<B> {
    /// A view if 12 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Dccp(b))
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16_at(self.as_bytes(), 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Bytes of the header with its options by the data offset, 0 to 1020.
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.as_bytes(), 4)) * 4
    }

    /// Checksum coverage, 0 to 15: 0 for all data, `n` for the first `n - 1` words of it.
    pub fn coverage(&self) -> u8 {
        u8_at(self.as_bytes(), 5) & 0x0f
    }

    /// The checksum field.
    pub fn checksum(&self) -> u16 {
        u16_at(self.as_bytes(), CHECKSUM_OFFSET)
    }

    /// The packet type, 0 to 15, see [`kind`].
    pub fn kind(&self) -> u8 {
        (u8_at(self.as_bytes(), 8) >> 1) & 0x0f
    }

    /// Whether sequence numbers are 48 bits long, not 24.
    pub fn is_extended(&self) -> bool {
        u8_at(self.as_bytes(), 8) & 1 != 0
    }

    /// The sequence number: 48 or 24 bits, zero if the packet ends before it.
    pub fn seq(&self) -> u64 {
        let data = self.as_bytes();
        if self.is_extended() {
            let [a, b, c, d, e, f] = array_at(data, 10);
            u64::from_be_bytes([0, 0, a, b, c, d, e, f])
        } else {
            let [a, b, c] = array_at(data, 9);
            u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c])
        }
    }

    /// The whole buffer.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.0
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Dccp<B> {
    /// Sets the source port. No setter touches the checksum.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 0, port);
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 2, port);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut bytes = [0; 16];
        bytes[4] = 5;
        bytes[5] = 0x3c;
        bytes[8] = kind::SYNC << 1 | 1;
        bytes[10..].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let mut dccp = Dccp::new(bytes).unwrap();
        dccp.set_src_port(7);
        dccp.set_dst_port(8);
        dccp.set_checksum(9);
        assert_eq!((dccp.src_port(), dccp.dst_port(), dccp.checksum()), (7, 8, 9));
        assert_eq!((dccp.header_len(), dccp.coverage(), dccp.kind()), (20, 12, kind::SYNC));
        assert_eq!((dccp.is_extended(), dccp.seq()), (true, 0x010203040506));
        bytes[8] = kind::RESET << 1;
        let short = Dccp::new(&bytes[..12]).unwrap();
        assert_eq!((short.kind(), short.seq()), (kind::RESET, 0x000102));
        assert!(Dccp::new([0; 11]).is_none());
    }
}
