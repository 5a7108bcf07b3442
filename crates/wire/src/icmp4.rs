//! ICMP for IPv4 (RFC 792).

use crate::addr::Addr;
use crate::bytes::{put_u8, put_u16, put_u32, range_mut, tail, u8_at, u16_at, u32_at};
use crate::checksum;

/// Bytes of the header: type, code, checksum and a word whose meaning the type decides.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 2;

/// Answer to [`ECHO`].
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable, codes in [`mod@unreachable`].
pub const UNREACHABLE: u8 = 3;
/// Source quench (historic).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect, codes in [`redirect`].
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO: u8 = 8;
/// Router advertisement (RFC 1256).
pub const ROUTER_ADVERTISEMENT: u8 = 9;
/// Router solicitation (RFC 1256).
pub const ROUTER_SOLICITATION: u8 = 10;
/// Time exceeded, codes in [`time_exceeded`].
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Timestamp request.
pub const TIMESTAMP: u8 = 13;
/// Answer to [`TIMESTAMP`].
pub const TIMESTAMP_REPLY: u8 = 14;
/// Information request (historic).
pub const INFO_REQUEST: u8 = 15;
/// Answer to [`INFO_REQUEST`].
pub const INFO_REPLY: u8 = 16;
/// Address mask request (RFC 950, historic).
pub const ADDRESS_MASK: u8 = 17;
/// Answer to [`ADDRESS_MASK`].
pub const ADDRESS_MASK_REPLY: u8 = 18;

/// Codes of [`UNREACHABLE`] (RFC 792, RFC 1812 section 5.2.7.1).
pub mod unreachable {
    /// Network unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set; the low half of the word is the next hop's MTU (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    /// Network unknown.
    pub const NET_UNKNOWN: u8 = 6;
    /// Host unknown.
    pub const HOST_UNKNOWN: u8 = 7;
    /// Network administratively prohibited.
    pub const NET_PROHIBITED: u8 = 9;
    /// Host administratively prohibited.
    pub const HOST_PROHIBITED: u8 = 10;
    /// Network unreachable for this type of service.
    pub const NET_TOS: u8 = 11;
    /// Host unreachable for this type of service.
    pub const HOST_TOS: u8 = 12;
    /// Communication administratively prohibited.
    pub const ADMIN_PROHIBITED: u8 = 13;
    /// Host precedence violation.
    pub const PRECEDENCE_VIOLATION: u8 = 14;
    /// Precedence cut-off in effect.
    pub const PRECEDENCE_CUTOFF: u8 = 15;
}

/// Codes of [`REDIRECT`].
pub mod redirect {
    /// For the network.
    pub const NET: u8 = 0;
    /// For the host.
    pub const HOST: u8 = 1;
}

/// Codes of [`TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Time to live ran out in transit.
    pub const TTL: u8 = 0;
    /// Fragments did not all arrive in time.
    pub const REASSEMBLY: u8 = 1;
}

/// Whether a message of this type is an error that quotes the packet it is about.
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// A view of an ICMP message.
///
/// [`Icmp4::new`] checks for 8 bytes, the shortest message Linux takes. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Icmp4<B>(B);

impl<B: AsRef<[u8]>> Icmp4<B> {
    /// A view if 8 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Icmp4(b))
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

    /// The word behind the checksum.
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

    /// MTU in a "fragmentation needed" message.
    pub fn mtu(&self) -> u16 {
        u16_at(self.as_bytes(), 6)
    }

    /// Offset of the offending byte in a parameter problem message.
    pub fn pointer(&self) -> u8 {
        u8_at(self.as_bytes(), 4)
    }

    /// The better gateway in a redirect.
    pub fn gateway(&self) -> Addr {
        Addr::v4(self.rest())
    }

    /// Whether it is an error that quotes a packet, see [`is_error`].
    pub fn is_error(&self) -> bool {
        is_error(self.kind())
    }

    /// The bytes behind the header: the quoted packet of an error, the data of a query.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), HEADER_LEN)
    }

    /// Whether the checksum over the whole buffer is right.
    pub fn checksum_ok(&self) -> bool {
        checksum::checksum(self.as_bytes()) == 0
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Icmp4<B> {
    /// Sets the type. Only [`Icmp4::fill_checksum`] touches the checksum.
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

    /// Computes the checksum over the whole buffer anew.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::checksum(self.as_bytes());
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
        let mut icmp = Icmp4::new([0; 9]).unwrap();
        icmp.set_kind(ECHO);
        icmp.set_code(1);
        icmp.set_id(0x0203);
        icmp.set_seq(0x0405);
        icmp.payload_mut().fill(6);
        icmp.fill_checksum();
        // 0801 + 0203 + 0405 + 0600 = 1409
        assert_eq!(icmp.as_bytes(), &[8, 1, 0xeb, 0xf6, 2, 3, 4, 5, 6]);
        assert_eq!((icmp.kind(), icmp.code(), icmp.id(), icmp.seq()), (8, 1, 0x0203, 0x0405));
        assert_eq!((icmp.rest(), icmp.mtu(), icmp.pointer()), (0x02030405, 0x0405, 2));
        assert_eq!((icmp.gateway(), icmp.payload()), (Addr::v4(0x02030405), &[6][..]));
        assert!(icmp.checksum_ok());
        icmp.set_rest(0);
        assert!(!icmp.checksum_ok());
        assert!(Icmp4::new([0; 7]).is_none());
    }

    #[test]
    fn five_types_are_errors() {
        let errors: Vec<u8> = (0..=255).filter(|kind| is_error(*kind)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }
}
