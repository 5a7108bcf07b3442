//! ICMP for IPv6 (RFC 4443), with the types of neighbour discovery (RFC 4861) and multicast listener discovery
//! (RFC 2710, RFC 3810).

use crate::addr::{Addr, Family};
use crate::bytes::{put_u8, put_u16, put_u32, range_mut, tail, u8_at, u16_at, u32_at};
use crate::{checksum, proto};

/// Bytes of the header: type, code, checksum and a word whose meaning the type decides.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 2;

/// Destination unreachable, codes in [`mod@unreachable`].
pub const UNREACHABLE: u8 = 1;
/// Packet too big; the word is the MTU.
pub const TOO_BIG: u8 = 2;
/// Time exceeded, codes in [`time_exceeded`].
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem, codes in [`parameter_problem`]; the word is the offset of the offending byte.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request.
pub const ECHO: u8 = 128;
/// Answer to [`ECHO`].
pub const ECHO_REPLY: u8 = 129;
/// Multicast listener query.
pub const MLD_QUERY: u8 = 130;
/// Multicast listener report, version 1.
pub const MLD_REPORT: u8 = 131;
/// Multicast listener done.
pub const MLD_DONE: u8 = 132;
/// Router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect.
pub const REDIRECT: u8 = 137;
/// Node information query (RFC 4620).
pub const NODE_INFO_QUERY: u8 = 139;
/// Answer to [`NODE_INFO_QUERY`].
pub const NODE_INFO_REPLY: u8 = 140;
/// Multicast listener report, version 2.
pub const MLD2_REPORT: u8 = 143;
/// Multicast router advertisement (RFC 4286).
pub const MRD_ADVERTISEMENT: u8 = 151;
/// Multicast router solicitation (RFC 4286).
pub const MRD_SOLICITATION: u8 = 152;
/// Multicast router termination (RFC 4286).
pub const MRD_TERMINATION: u8 = 153;

/// Codes of [`UNREACHABLE`].
pub mod unreachable {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const ADMIN_PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Address unreachable.
    pub const ADDRESS: u8 = 3;
    /// Port unreachable.
    pub const PORT: u8 = 4;
    /// Source address failed ingress or egress policy.
    pub const POLICY: u8 = 5;
    /// Reject route.
    pub const REJECT_ROUTE: u8 = 6;
}

/// Codes of [`TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Hop limit ran out in transit.
    pub const HOP_LIMIT: u8 = 0;
    /// Fragments did not all arrive in time.
    pub const REASSEMBLY: u8 = 1;
}

/// Codes of [`PARAMETER_PROBLEM`].
pub mod parameter_problem {
    /// Erroneous header field.
    pub const HEADER_FIELD: u8 = 0;
    /// Unknown next header.
    pub const NEXT_HEADER: u8 = 1;
    /// Unknown option.
    pub const OPTION: u8 = 2;
}

/// Whether a message of this type is an error that quotes the packet it is about: all below 128.
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// A view of an ICMPv6 message.
///
/// [`Icmp6::new`] checks for 8 bytes, the shortest message Linux takes. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Icmp6<B>(B);

impl<B: AsRef<[u8]>> Icmp6<B> {
    /// A view if 8 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Icmp6(b))
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

    /// The word behind the checksum: MTU of "too big", pointer of "parameter problem".
    pub fn rest(&self) -> u32 {
        u32_at(self.as_bytes(), 4)
    }

    /// Identifier of an echo.
    pub fn id(&self) -> u16 {
        u16_at(self.as_bytes(), 4)
    }

    /// Sequence number of an echo.
    pub fn seq(&self) -> u16 {
        u16_at(self.as_bytes(), 6)
    }

    /// MTU in a "too big" message.
    pub fn mtu(&self) -> u32 {
        self.rest()
    }

    /// Offset of the offending byte in a parameter problem message.
    pub fn pointer(&self) -> u32 {
        self.rest()
    }

    /// The first address behind the header: target of neighbour solicitation, advertisement and redirect, group of the
    /// old multicast listener messages. Unspecified if the message ends before it.
    pub fn target(&self) -> Addr {
        Addr::read(Family::V6, self.payload())
    }

    /// Whether it is an error that quotes a packet, see [`is_error`].
    pub fn is_error(&self) -> bool {
        is_error(self.kind())
    }

    /// The bytes behind the header: the quoted packet of an error, the data of an echo.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), HEADER_LEN)
    }

    /// Whether the checksum over the whole buffer and the pseudo header is right.
    pub fn checksum_ok(&self, src: Addr, dst: Addr) -> bool {
        checksum::transport(Family::V6, src, dst, proto::ICMPV6, self.as_bytes()) == 0
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Icmp6<B> {
    /// Sets the type. Only [`Icmp6::fill_checksum`] touches the checksum.
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

    /// Sets the identifier of an echo.
    pub fn set_id(&mut self, id: u16) {
        put_u16(self.0.as_mut(), 4, id);
    }

    /// Sets the sequence number of an echo.
    pub fn set_seq(&mut self, seq: u16) {
        put_u16(self.0.as_mut(), 6, seq);
    }

    /// Computes the checksum over the whole buffer and the pseudo header anew.
    pub fn fill_checksum(&mut self, src: Addr, dst: Addr) {
        self.set_checksum(0);
        let sum = checksum::transport(Family::V6, src, dst, proto::ICMPV6, self.as_bytes());
        self.set_checksum(sum);
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
        let (src, dst) = (Addr(1), Addr(2));
        let mut icmp = Icmp6::new([0; 24]).unwrap();
        icmp.set_kind(ECHO);
        icmp.set_code(1);
        icmp.set_id(0x0203);
        icmp.set_seq(0x0405);
        icmp.payload_mut().fill(6);
        icmp.fill_checksum(src, dst);
        assert_eq!(
            (icmp.kind(), icmp.code(), icmp.id(), icmp.seq(), icmp.rest()),
            (128, 1, 0x0203, 0x0405, 0x02030405)
        );
        assert_eq!(icmp.target(), Addr(u128::from_be_bytes([6; 16])));
        assert!(icmp.checksum_ok(src, dst) && icmp.checksum_ok(dst, src) && !icmp.checksum_ok(src, src));
        // 8001 + 0203 + 0405 + 8 * 0606 + 1 + 2 + 58 + 24 = b68e
        assert_eq!(icmp.checksum(), !0xb68e);
        assert!(Icmp6::new([0; 7]).is_none());
    }

    #[test]
    fn errors_are_below_128() {
        assert!(is_error(0) && is_error(127) && !is_error(ECHO) && !is_error(REDIRECT));
    }
}
