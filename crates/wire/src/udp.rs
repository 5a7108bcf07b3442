//! UDP datagrams (RFC 768), and UDP-Lite (RFC 3828), which has the coverage where UDP has the length.

use crate::bytes::{put_u16, range_mut, tail, u16_at};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 6;

/// A view of a UDP or UDP-Lite datagram.
///
/// [`Udp::new`] checks for 8 bytes only; the length field is the receiver's to judge. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Udp<B>(B);

/// UDP-Lite has the same layout; see [`Udp::coverage`].
pub type UdpLite<B> = Udp<B>;

impl<B: AsRef<[u8]>> Udp<B> {
    /// A view if 8 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Udp(b))
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16_at(self.as_bytes(), 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Bytes of header and data by the header.
    pub fn len(&self) -> u16 {
        u16_at(self.as_bytes(), 4)
    }

    /// Whether the length field leaves no data.
    pub fn is_empty(&self) -> bool {
        usize::from(self.len()) <= HEADER_LEN
    }

    /// Of UDP-Lite: the bytes the checksum covers, 0 for all of them.
    pub fn coverage(&self) -> u16 {
        self.len()
    }

    /// The checksum field; in UDP zero means there is none.
    pub fn checksum(&self) -> u16 {
        u16_at(self.as_bytes(), CHECKSUM_OFFSET)
    }

    /// All bytes of the buffer behind the header, whatever the length field says.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), HEADER_LEN)
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Udp<B> {
    /// Sets the source port. No setter touches the checksum.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 0, port);
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 2, port);
    }

    /// Sets the length field, the coverage of UDP-Lite.
    pub fn set_len(&mut self, len: u16) {
        put_u16(self.0.as_mut(), 4, len);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }

    /// All bytes of the buffer behind the header, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        range_mut(self.0.as_mut(), HEADER_LEN, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let mut udp = Udp::new([0; 10]).unwrap();
        udp.set_src_port(0x0102);
        udp.set_dst_port(0x0304);
        udp.set_len(10);
        udp.set_checksum(0x0506);
        udp.payload_mut().fill(7);
        assert_eq!(udp.as_bytes(), &[1, 2, 3, 4, 0, 10, 5, 6, 7, 7]);
        assert_eq!((udp.src_port(), udp.dst_port(), udp.len(), udp.checksum()), (0x0102, 0x0304, 10, 0x0506));
        assert_eq!((udp.payload(), udp.is_empty(), udp.coverage()), (&[7, 7][..], false, 10));
        assert!(Udp::new([0; 7]).is_none());
    }
}
