//! IPv4 headers (RFC 791).

use crate::addr::{Addr, Family};
use crate::bytes::{put_u8, put_u16, range, range_mut, tail_mut, u8_at, u16_at};
use crate::checksum;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// A view of an IPv4 packet.
///
/// [`Ipv4::new`] checks that the header is there; the total length and the checksum are the receiver's to judge.
/// Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<B>(B);

impl<B: AsRef<[u8]>> Ipv4<B> {
    /// A view if the version is 4, the header length at least 20 and the whole header present.
    pub fn new(b: B) -> Option<Self> {
        let data = b.as_ref();
        let first = *data.first()?;
        let header_len = usize::from(first & 0x0f) * 4;
        let fits = first >> 4 == 4 && header_len >= HEADER_LEN && header_len <= data.len();
        fits.then_some(Ipv4(b))
    }

    /// Bytes of the header with its options, 20 to 60.
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.as_bytes(), 0) & 0x0f) * 4
    }

    /// The type-of-service byte: DSCP and ECN.
    pub fn tos(&self) -> u8 {
        u8_at(self.as_bytes(), 1)
    }

    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub fn dscp(&self) -> u8 {
        self.tos() >> 2
    }

    /// Explicit congestion notification field, 0 to 3 (RFC 3168).
    pub fn ecn(&self) -> u8 {
        self.tos() & 3
    }

    /// Bytes of the packet as the header says.
    pub fn total_len(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Identification.
    pub fn id(&self) -> u16 {
        u16_at(self.as_bytes(), 4)
    }

    /// The unused first flag bit.
    pub fn reserved_flag(&self) -> bool {
        self.flags_offset() & RESERVED != 0
    }

    /// The flag DF.
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// The flag MF.
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// Place of the payload in the unfragmented one, in units of 8 bytes, 0 to 8191.
    pub fn fragment_offset(&self) -> u16 {
        self.flags_offset() & OFFSET
    }

    /// Whether this is a part of a larger packet: MF set or an offset.
    pub fn is_fragment(&self) -> bool {
        self.flags_offset() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        u8_at(self.as_bytes(), 8)
    }

    /// Protocol of the payload, see [`crate::proto`].
    pub fn protocol(&self) -> u8 {
        u8_at(self.as_bytes(), 9)
    }

    /// The header checksum field.
    pub fn checksum(&self) -> u16 {
        u16_at(self.as_bytes(), 10)
    }

    /// Source address.
    pub fn src(&self) -> Addr {
        Addr::read(Family::V4, range(self.as_bytes(), 12, 16))
    }

    /// Destination address.
    pub fn dst(&self) -> Addr {
        Addr::read(Family::V4, range(self.as_bytes(), 16, 20))
    }

    /// The option bytes, 0 to 40; see [`options_iter`].
    pub fn options(&self) -> &[u8] {
        range(self.as_bytes(), HEADER_LEN, self.header_len())
    }

    /// The header with its options.
    pub fn header(&self) -> &[u8] {
        range(self.as_bytes(), 0, self.header_len())
    }

    /// The bytes from the end of the header to the total length, or to the end of the buffer if that comes first.
    pub fn payload(&self) -> &[u8] {
        range(self.as_bytes(), self.header_len(), usize::from(self.total_len()))
    }

    /// Whether the header checksum is right.
    pub fn checksum_ok(&self) -> bool {
        checksum::checksum(self.header()) == 0
    }

    /// The whole buffer, with bytes beyond the total length if there are any.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.0
    }

    fn flags_offset(&self) -> u16 {
        u16_at(self.as_bytes(), 6)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Ipv4<B> {
    /// Sets the type-of-service byte; the checksum is left, see [`Ipv4::change_tos`].
    pub fn set_tos(&mut self, tos: u8) {
        put_u8(self.0.as_mut(), 1, tos);
    }

    /// Sets the total length.
    pub fn set_total_len(&mut self, len: u16) {
        put_u16(self.0.as_mut(), 2, len);
    }

    /// Sets the identification.
    pub fn set_id(&mut self, id: u16) {
        put_u16(self.0.as_mut(), 4, id);
    }

    /// Sets DF, MF and the offset in units of 8 bytes (13 bits are kept); clears the reserved flag.
    pub fn set_flags_offset(&mut self, dont_fragment: bool, more_fragments: bool, offset: u16) {
        let df = if dont_fragment { DONT_FRAGMENT } else { 0 };
        let mf = if more_fragments { MORE_FRAGMENTS } else { 0 };
        put_u16(self.0.as_mut(), 6, df | mf | (offset & OFFSET));
    }

    /// Sets the time to live; the checksum is left, see [`Ipv4::change_ttl`].
    pub fn set_ttl(&mut self, ttl: u8) {
        put_u8(self.0.as_mut(), 8, ttl);
    }

    /// Sets the protocol.
    pub fn set_protocol(&mut self, protocol: u8) {
        put_u8(self.0.as_mut(), 9, protocol);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), 10, checksum);
    }

    /// Sets the source; the header checksum and the upper layer's are left, see [`checksum::update_addr`].
    pub fn set_src(&mut self, src: Addr) {
        src.write(Family::V4, range_mut(self.0.as_mut(), 12, 16));
    }

    /// Sets the destination; the header checksum and the upper layer's are left.
    pub fn set_dst(&mut self, dst: Addr) {
        dst.write(Family::V4, range_mut(self.0.as_mut(), 16, 20));
    }

    /// Computes the header checksum anew.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::checksum(self.header());
        self.set_checksum(sum);
    }

    /// Sets the time to live and corrects the checksum for it; a wrong checksum stays as wrong as it was.
    pub fn change_ttl(&mut self, ttl: u8) {
        let old = u16_at(self.as_bytes(), 8);
        self.set_ttl(ttl);
        self.correct(8, old);
    }

    /// Sets the type-of-service byte and corrects the checksum for it; a wrong checksum stays as wrong as it was.
    pub fn change_tos(&mut self, tos: u8) {
        let old = u16_at(self.as_bytes(), 0);
        self.set_tos(tos);
        self.correct(0, old);
    }

    /// Sets the source and corrects the header checksum for it; the upper layer's is left.
    pub fn change_src(&mut self, src: Addr) {
        let sum = checksum::update_addr(self.checksum(), Family::V4, self.src(), src);
        self.set_src(src);
        self.set_checksum(sum);
    }

    /// Sets the destination and corrects the header checksum for it; the upper layer's is left.
    pub fn change_dst(&mut self, dst: Addr) {
        let sum = checksum::update_addr(self.checksum(), Family::V4, self.dst(), dst);
        self.set_dst(dst);
        self.set_checksum(sum);
    }

    /// Sets the total length and corrects the checksum for it.
    pub fn change_total_len(&mut self, len: u16) {
        let old = self.total_len();
        self.set_total_len(len);
        self.correct(2, old);
    }

    /// The option bytes, for writing.
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        range_mut(self.0.as_mut(), HEADER_LEN, end)
    }

    /// The payload as [`Ipv4::payload`] bounds it, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.header_len(), usize::from(self.total_len()));
        range_mut(self.0.as_mut(), start, end)
    }

    /// The buffer from the end of the header on, with bytes beyond the total length, for writing.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        tail_mut(self.0.as_mut(), start)
    }

    /// Corrects the checksum after the word at `at` changed from `old`.
    fn correct(&mut self, at: usize, old: u16) {
        let new = u16_at(self.as_bytes(), at);
        self.set_checksum(checksum::update_u16(self.checksum(), old, new));
    }
}

/// One step through the options of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpOption<'a> {
    /// End of list (kind 0); nothing follows.
    End {
        /// Bytes from the start of the options.
        offset: usize,
    },
    /// No operation (kind 1).
    Nop {
        /// Bytes from the start of the options.
        offset: usize,
    },
    /// Any other kind.
    Option {
        /// The first byte, with the copy flag and the class.
        kind: u8,
        /// Bytes from the start of the options.
        offset: usize,
        /// The bytes after kind and length.
        data: &'a [u8],
    },
    /// A length byte that is missing, below 2 or beyond the options; nothing follows.
    Malformed {
        /// Bytes from the start of the options to the kind of the offender. A parameter problem message points here
        /// (after adding the 20 bytes of the header).
        offset: usize,
    },
}

/// Option kinds.
pub mod option {
    /// End of list.
    pub const END: u8 = 0;
    /// No operation.
    pub const NOP: u8 = 1;
    /// Record route (RFC 791).
    pub const RECORD_ROUTE: u8 = 7;
    /// Timestamp (RFC 791).
    pub const TIMESTAMP: u8 = 68;
    /// Security (RFC 1108).
    pub const SECURITY: u8 = 130;
    /// Loose source route (RFC 791).
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Commercial security label.
    pub const CIPSO: u8 = 134;
    /// Stream identifier (RFC 791).
    pub const STREAM_ID: u8 = 136;
    /// Strict source route (RFC 791).
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;

    /// The bit of a kind that asks for the option in every fragment.
    pub const COPIED: u8 = 0x80;
}

/// Walks the option bytes of a header, see [`Ipv4::options`].
pub fn options_iter(options: &[u8]) -> IpOptions<'_> {
    IpOptions { options, at: 0 }
}

/// The iterator of [`options_iter`].
#[derive(Clone, Debug)]
pub struct IpOptions<'a> {
    options: &'a [u8],
    at: usize,
}

impl<'a> Iterator for IpOptions<'a> {
    type Item = IpOption<'a>;

    fn next(&mut self) -> Option<IpOption<'a>> {
        let offset = self.at;
        let kind = *self.options.get(offset)?;
        match kind {
            option::END => {
                self.at = self.options.len();
                Some(IpOption::End { offset })
            }
            option::NOP => {
                self.at += 1;
                Some(IpOption::Nop { offset })
            }
            _ => {
                let len = self.options.get(offset + 1).map_or(0, |len| usize::from(*len));
                match self.options.get(offset + 2..offset + len) {
                    Some(data) => {
                        self.at += len;
                        Some(IpOption::Option { kind, offset, data })
                    }
                    None => {
                        self.at = self.options.len();
                        Some(IpOption::Malformed { offset })
                    }
                }
            }
        }
    }
}

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The well-known example header 192.168.0.1 > 192.168.0.199, checksum 0xb861.
    const EXAMPLE: [u8; 20] =
        [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];

    #[test]
    fn reads_the_example() {
        let ip = Ipv4::new(&EXAMPLE).unwrap();
        assert_eq!((ip.header_len(), ip.total_len(), ip.ttl(), ip.protocol()), (20, 0x73, 64, 17));
        assert_eq!((ip.src(), ip.dst()), (Addr::v4(0xc0a80001), Addr::v4(0xc0a800c7)));
        assert!(ip.dont_fragment() && !ip.more_fragments() && !ip.reserved_flag() && !ip.is_fragment());
        assert!(ip.checksum_ok());
        assert_eq!(ip.payload(), &[] as &[u8]);
    }

    #[test]
    fn refuses_what_is_not_a_header() {
        assert!(Ipv4::new(&EXAMPLE[..19]).is_none());
        for first in [0x65, 0x44, 0x46] {
            let mut bad = EXAMPLE;
            bad[0] = first;
            assert!(Ipv4::new(&bad).is_none(), "{first:#x}");
        }
    }

    #[test]
    fn fill_restores_the_checksum() {
        let mut bytes = EXAMPLE;
        let mut ip = Ipv4::new(&mut bytes).unwrap();
        ip.set_checksum(0x1234);
        assert!(!ip.checksum_ok());
        ip.fill_checksum();
        assert_eq!(ip.checksum(), 0xb861);
    }

    #[test]
    fn payload_ends_at_total_length_or_buffer() {
        let mut bytes = EXAMPLE.to_vec();
        bytes.extend([7; 10]);
        let mut ip = Ipv4::new(&mut bytes).unwrap();
        ip.set_total_len(24);
        assert_eq!(ip.payload(), [7; 4]);
        ip.set_total_len(2000);
        assert_eq!(ip.payload(), [7; 10]);
        ip.set_total_len(3);
        assert_eq!(ip.payload(), [0u8; 0]);
    }

    #[test]
    fn options_walk() {
        let options = [1, 148, 4, 0, 0, 7, 3, 4, 0, 99];
        let steps: Vec<_> = options_iter(&options).collect();
        assert_eq!(
            steps,
            [
                IpOption::Nop { offset: 0 },
                IpOption::Option { kind: option::ROUTER_ALERT, offset: 1, data: &[0, 0] },
                IpOption::Option { kind: option::RECORD_ROUTE, offset: 5, data: &[4] },
                IpOption::End { offset: 8 },
            ]
        );
        for bad in [&[1, 7][..], &[1, 7, 0], &[1, 7, 1], &[1, 7, 3], &[1, 7, 255, 0]] {
            let last = options_iter(bad).last();
            assert_eq!(last, Some(IpOption::Malformed { offset: 1 }), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn incremental_changes_equal_full(mut bytes in prop::array::uniform20(any::<u8>()), ttl in any::<u8>(), tos in any::<u8>(), src in any::<u32>()) {
            bytes[0] = 0x45;
            let mut ip = Ipv4::new(&mut bytes).unwrap();
            ip.fill_checksum();
            ip.change_ttl(ttl);
            prop_assert!(ip.checksum_ok() && ip.ttl() == ttl);
            ip.change_tos(tos);
            prop_assert!(ip.checksum_ok() && ip.tos() == tos);
            ip.change_src(Addr::v4(src));
            ip.change_dst(Addr::v4(!src));
            ip.change_total_len(src as u16);
            let incremental = ip.checksum();
            ip.fill_checksum();
            prop_assert_eq!(incremental, ip.checksum());
        }

        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..80), first in 0x40u8..0x50) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            if let Some(mut ip) = Ipv4::new(&mut bytes) {
                let _ = (ip.header_len(), ip.options().len(), ip.payload().len(), ip.checksum_ok(), ip.fragment_offset());
                prop_assert!(options_iter(ip.options()).count() <= 40);
                ip.fill_checksum();
                prop_assert!(ip.checksum_ok());
                prop_assert_eq!(ip.payload().len(), ip.payload_mut().len());
            }
        }
    }
}
