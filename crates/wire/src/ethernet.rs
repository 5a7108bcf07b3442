//! Ethernet II frames (RFC 894).

use crate::addr::Mac;
use crate::bytes::{array_at, put_array, put_u16, range_mut, tail, u16_at};

/// Bytes of the header, without a VLAN tag.
pub const HEADER_LEN: usize = 14;
/// Bytes of a VLAN tag: two of the tag, then the next ethertype.
pub const VLAN_LEN: usize = 4;

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethertype of an outer VLAN tag (IEEE 802.1ad).
pub const QINQ: u16 = 0x88a8;

/// A view of an Ethernet frame from the destination address on, without preamble and check sequence.
///
/// [`Ethernet::new`] checks that the header is there. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<B>(B);

impl<B: AsRef<[u8]>> Ethernet<B> {
    /// A view if 14 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Ethernet(b))
    }

    /// Destination.
    pub fn dst(&self) -> Mac {
        Mac(array_at(self.as_bytes(), 0))
    }

    /// Source.
    pub fn src(&self) -> Mac {
        Mac(array_at(self.as_bytes(), 6))
    }

    /// Ethertype of the payload; values below 0x0600 are the length of an IEEE 802.3 frame.
    pub fn ethertype(&self) -> u16 {
        u16_at(self.as_bytes(), 12)
    }

    /// The bytes behind the header, with padding if there is any.
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Ethernet<B> {
    /// Sets the destination.
    pub fn set_dst(&mut self, dst: Mac) {
        put_array(self.0.as_mut(), 0, dst.0);
    }

    /// Sets the source.
    pub fn set_src(&mut self, src: Mac) {
        put_array(self.0.as_mut(), 6, src.0);
    }

    /// Sets the ethertype.
    pub fn set_ethertype(&mut self, ethertype: u16) {
        put_u16(self.0.as_mut(), 12, ethertype);
    }

    /// The bytes behind the header, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        range_mut(self.0.as_mut(), HEADER_LEN, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let mut frame = Ethernet::new([0; 15]).unwrap();
        frame.set_dst(Mac([1, 2, 3, 4, 5, 6]));
        frame.set_src(Mac([7, 8, 9, 10, 11, 12]));
        frame.set_ethertype(IPV6);
        frame.payload_mut().fill(99);
        assert_eq!(frame.as_bytes(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 99]);
        assert_eq!((frame.dst(), frame.src()), (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12])));
        assert_eq!((frame.ethertype(), frame.payload()), (IPV6, &[99][..]));
        assert!(Ethernet::new([0; 13]).is_none());
    }
}
