//! The form that ICMP messages of both families have (RFC 792, RFC 4443). What types, codes and the word behind the checksum mean is in
//! [`icmp4`](crate::icmp4) and [`icmp6`](crate::icmp6).

use crate::addr::{Addr, Family};
use crate::bytes::{put_u8, put_u16, put_u32, range_mut, tail, u8_at, u16_at, u32_at};
use crate::{checksum, proto};

/// Bytes of the header: type, code, checksum and a word whose meaning the type decides.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 2;

/// A view of an ICMP message of either family.
///
/// [`Icmp::new`] checks for 8 bytes, the shortest message Linux takes. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<B>(B);

impl<B: AsRef<[u8]>> Icmp<B> {
    /// A view if 8 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Icmp(b))
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        u8_at(self.as_bytes(), 0)
    }

    /// The code.
    pub fn code(&self) -> u8 {
        u8_at(self.as_bytes(), 1)
    }

    /// The checksum field.
    pub fn checksum(&self) -> u16 {
        u16_at(self.as_bytes(), CHECKSUM_OFFSET)
    }

    /// The word behind the checksum; what it means, the family's module says.
    pub fn rest(&self) -> u32 {
        u32_at(self.as_bytes(), 4)
    }

    /// Identifier of a query.
    pub fn id(&self) -> u16 {
        u16_at(self.as_bytes(), 4)
    }

    /// Sequence number of a query.
    pub fn seq(&self) -> u16 {
        u16_at(self.as_bytes(), 6)
    }

    /// The bytes behind the header: the quoted packet of an error, the data of a query.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), HEADER_LEN)
    }

    /// Whether the checksum over the whole buffer is right. In IPv6 it covers the addresses too (RFC 4443, section 2.3), in IPv4
    /// they do not matter (RFC 792).
    pub fn checksum_ok(&self, family: Family, src: Addr, dst: Addr) -> bool {
        sum(self.as_bytes(), family, src, dst) == 0
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Icmp<B> {
    /// Sets the type. Only [`Icmp::fill_checksum`] touches the checksum.
    pub fn set_kind(&mut self, kind: u8) {
        put_u8(self.0.as_mut(), 0, kind);
    }

    /// Sets the code.
    pub fn set_code(&mut self, code: u8) {
        put_u8(self.0.as_mut(), 1, code);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }

    /// Sets the word behind the checksum.
    pub fn set_rest(&mut self, rest: u32) {
        put_u32(self.0.as_mut(), 4, rest);
    }

    /// Sets the identifier of a query.
    pub fn set_id(&mut self, id: u16) {
        put_u16(self.0.as_mut(), 4, id);
    }

    /// Sets the sequence number of a query.
    pub fn set_seq(&mut self, seq: u16) {
        put_u16(self.0.as_mut(), 6, seq);
    }

    /// Computes the checksum over the whole buffer anew, see [`Icmp::checksum_ok`].
    pub fn fill_checksum(&mut self, family: Family, src: Addr, dst: Addr) {
        self.set_checksum(0);
        let sum = sum(self.as_bytes(), family, src, dst);
        self.set_checksum(sum);
    }

    /// The bytes behind the header, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        range_mut(self.0.as_mut(), HEADER_LEN, usize::MAX)
    }
}

fn sum(message: &[u8], family: Family, src: Addr, dst: Addr) -> u16 {
    match family {
        Family::V4 => checksum::checksum(message),
        Family::V6 => checksum::transport(family, src, dst, proto::ICMPV6, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let (src, dst) = (Addr(1), Addr(2));
        let mut icmp = Icmp::new([0; 9]).unwrap();
        icmp.set_kind(8);
        icmp.set_code(1);
        icmp.set_id(0x0203);
        icmp.set_seq(0x0405);
        icmp.payload_mut().fill(6);
        icmp.fill_checksum(Family::V4, src, dst);
        // 0801 + 0203 + 0405 + 0600 = 1409
        assert_eq!(icmp.as_bytes(), &[8, 1, 0xeb, 0xf6, 2, 3, 4, 5, 6]);
        assert_eq!((icmp.kind(), icmp.code(), icmp.id(), icmp.seq()), (8, 1, 0x0203, 0x0405));
        assert_eq!((icmp.rest(), icmp.payload()), (0x02030405, &[6][..]));
        assert!(icmp.checksum_ok(Family::V4, src, dst) && icmp.checksum_ok(Family::V4, dst, dst));
        icmp.set_rest(0);
        assert!(!icmp.checksum_ok(Family::V4, src, dst));
        assert!(Icmp::new([0; 7]).is_none());
    }

    #[test]
    fn in_ipv6_the_checksum_covers_the_addresses() {
        let (src, dst) = (Addr(1), Addr(2));
        let mut icmp = Icmp::new([0; 24]).unwrap();
        icmp.set_kind(128);
        icmp.set_code(1);
        icmp.set_rest(0x02030405);
        icmp.payload_mut().fill(6);
        icmp.fill_checksum(Family::V6, src, dst);
        let ok = |src, dst| icmp.checksum_ok(Family::V6, src, dst);
        assert!(ok(src, dst) && ok(dst, src) && !ok(src, src));
        // 8001 + 0203 + 0405 + 8 * 0606 + 1 + 2 + 58 + 24 = b68e
        assert_eq!(icmp.checksum(), !0xb68e);
    }
}
