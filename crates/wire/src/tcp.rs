//! TCP segments (RFC 9293).

use crate::bytes::{put_u8, put_u16, put_u32, range, range_mut, tail, u8_at, u16_at, u32_at};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = 60;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 16;

/// No more data from the sender.
pub const FIN: u8 = 1;
/// Synchronize sequence numbers.
pub const SYN: u8 = 2;
/// Reset the connection.
pub const RST: u8 = 4;
/// Push.
pub const PSH: u8 = 8;
/// The acknowledgment number counts.
pub const ACK: u8 = 16;
/// The urgent pointer counts.
pub const URG: u8 = 32;
/// ECN echo (RFC 3168).
pub const ECE: u8 = 64;
/// Congestion window reduced (RFC 3168).
pub const CWR: u8 = 128;

/// A view of a TCP segment.
///
/// [`Tcp::new`] checks for 20 bytes only; [`Tcp::header_ok`] says whether the data offset is right. Accessors never
/// panic either way.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<B>(B);

impl<B: AsRef<[u8]>> Tcp<B> {
    /// A view if 20 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Tcp(b))
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16_at(self.as_bytes(), 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Sequence number.
    pub fn seq(&self) -> u32 {
        u32_at(self.as_bytes(), 4)
    }

    /// Acknowledgment number.
    pub fn ack(&self) -> u32 {
        u32_at(self.as_bytes(), 8)
    }

    /// Bytes of the header by its data offset, 0 to 60.
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.as_bytes(), 12) >> 4) * 4
    }

    /// Whether the header is at least 20 bytes by its data offset and present in full.
    pub fn header_ok(&self) -> bool {
        (HEADER_LEN..=self.as_bytes().len()).contains(&self.header_len())
    }

    /// The four bits between data offset and CWR, in the low half.
    pub fn reserved(&self) -> u8 {
        u8_at(self.as_bytes(), 12) & 0x0f
    }

    /// The flags [`FIN`] to [`CWR`].
    pub fn flags(&self) -> u8 {
        u8_at(self.as_bytes(), 13)
    }

    /// Window, not scaled.
    pub fn window(&self) -> u16 {
        u16_at(self.as_bytes(), 14)
    }

    /// The checksum field.
    pub fn checksum(&self) -> u16 {
        u16_at(self.as_bytes(), CHECKSUM_OFFSET)
    }

    /// Urgent pointer.
    pub fn urgent(&self) -> u16 {
        u16_at(self.as_bytes(), 18)
    }

    /// The option bytes, as many as are present; see [`options_iter`].
    pub fn options(&self) -> &[u8] {
        range(self.as_bytes(), HEADER_LEN, self.header_len())
    }

    /// The bytes behind the header; empty if the header does not end in the buffer. A data offset below 20 counts as
    /// it stands.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), self.header_len())
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

impl<B: AsRef<[u8]> + AsMut<[u8]>> Tcp<B> {
    /// Sets the source port. No setter touches the checksum.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 0, port);
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 2, port);
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: u32) {
        put_u32(self.0.as_mut(), 4, seq);
    }

    /// Sets the acknowledgment number.
    pub fn set_ack(&mut self, ack: u32) {
        put_u32(self.0.as_mut(), 8, ack);
    }

    /// Sets the data offset from a length in bytes, rounded down to words of 4 and limited to 60.
    pub fn set_header_len(&mut self, len: usize) {
        let words = (len.min(MAX_HEADER_LEN) / 4) as u8;
        let byte = words << 4 | self.reserved();
        put_u8(self.0.as_mut(), 12, byte);
    }

    /// Sets the reserved bits from the low half of `bits`.
    pub fn set_reserved(&mut self, bits: u8) {
        let byte = u8_at(self.as_bytes(), 12) & 0xf0 | bits & 0x0f;
        put_u8(self.0.as_mut(), 12, byte);
    }

    /// Sets the flags.
    pub fn set_flags(&mut self, flags: u8) {
        put_u8(self.0.as_mut(), 13, flags);
    }

    /// Sets the window.
    pub fn set_window(&mut self, window: u16) {
        put_u16(self.0.as_mut(), 14, window);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }

    /// Sets the urgent pointer.
    pub fn set_urgent(&mut self, urgent: u16) {
        put_u16(self.0.as_mut(), 18, urgent);
    }

    /// The option bytes, for writing.
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        range_mut(self.0.as_mut(), HEADER_LEN, end)
    }

    /// The payload as [`Tcp::payload`] bounds it, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        range_mut(self.0.as_mut(), start, usize::MAX)
    }
}

/// Option kinds.
pub mod option {
    /// End of list.
    pub const END: u8 = 0;
    /// No operation.
    pub const NOP: u8 = 1;
    /// Maximum segment size, two bytes of data.
    pub const MSS: u8 = 2;
    /// Window scale, one byte of data (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgment permitted, no data (RFC 2018).
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgment, pairs of sequence numbers (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps, two words of data (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
    /// MD5 signature (RFC 2385).
    pub const MD5: u8 = 19;
}

/// Walks the options as Linux's TCP and connection tracking do, giving kind and data of each.
///
/// No-operation bytes are skipped. The walk ends at an end-of-list byte, and at a length byte that is missing, below 2
/// or beyond the options.
pub fn options_iter(options: &[u8]) -> TcpOptions<'_> {
    TcpOptions { rest: options }
}

/// The iterator of [`options_iter`].
#[derive(Clone, Debug)]
pub struct TcpOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        while let [option::NOP, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (kind, data, rest) = match self.rest {
            [option::END, ..] | [] | [_] => return None,
            [kind, len, ..] => {
                let (option, rest) = self.rest.split_at_checked(usize::from(*len))?;
                (*kind, option.get(2..)?, rest)
            }
        };
        self.rest = rest;
        Some((kind, data))
    }
}

/// Walks the options as Linux's packet matches and targets do (`tcp`, `tcpmss`, `TCPMSS`, `TCPOPTSTRIP`), giving offset
/// and kind of each.
///
/// End-of-list and no-operation are options of one byte, and neither ends the walk; a length of zero or a missing
/// length byte counts as one byte. Lengths are otherwise trusted: an option may claim to end beyond the options, and an
/// option of length 1 is one byte long.
pub fn loose_options(options: &[u8]) -> LooseOptions<'_> {
    LooseOptions { options, at: 0 }
}

/// The iterator of [`loose_options`].
#[derive(Clone, Debug)]
pub struct LooseOptions<'a> {
    options: &'a [u8],
    at: usize,
}

/// An option met by [`loose_options`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LooseOption {
    /// Bytes from the start of the options.
    pub offset: usize,
    /// Its kind.
    pub kind: u8,
    /// Bytes it claims, 1 to 255; may reach beyond the options.
    pub len: usize,
}

impl Iterator for LooseOptions<'_> {
    type Item = LooseOption;

    fn next(&mut self) -> Option<LooseOption> {
        let offset = self.at;
        let kind = *self.options.get(offset)?;
        let claimed = u8_at(self.options, offset + 1);
        let len = if kind <= option::NOP { 1 } else { usize::from(claimed.max(1)) };
        self.at += len;
        Some(LooseOption { offset, kind, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_round_trip() {
        let mut tcp = Tcp::new(vec![0; 32]).unwrap();
        tcp.set_src_port(1);
        tcp.set_dst_port(2);
        tcp.set_seq(3);
        tcp.set_ack(4);
        tcp.set_header_len(28);
        tcp.set_reserved(5);
        tcp.set_flags(SYN | ECE | CWR);
        tcp.set_window(6);
        tcp.set_checksum(7);
        tcp.set_urgent(8);
        tcp.options_mut().fill(1);
        tcp.payload_mut().fill(9);
        let expected =
            [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0x75, 0xc2, 0, 6, 0, 7, 0, 8, 1, 1, 1, 1, 1, 1, 1, 1, 9, 9, 9, 9];
        assert_eq!(tcp.as_bytes(), expected);
        assert_eq!((tcp.src_port(), tcp.dst_port(), tcp.seq(), tcp.ack()), (1, 2, 3, 4));
        assert_eq!((tcp.header_len(), tcp.reserved(), tcp.flags()), (28, 5, 0xc2));
        assert_eq!((tcp.window(), tcp.checksum(), tcp.urgent()), (6, 7, 8));
        assert_eq!((tcp.options(), tcp.payload()), (&[1; 8][..], &[9; 4][..]));
    }

    #[test]
    fn header_ok_wants_the_whole_header() {
        let mut tcp = Tcp::new([0; 24]).unwrap();
        for (len, ok) in [(0, false), (16, false), (20, true), (24, true), (28, false)] {
            tcp.set_header_len(len);
            assert_eq!(tcp.header_ok(), ok, "{len}");
        }
        assert!(Tcp::new([0; 19]).is_none());
    }

    #[test]
    fn options_of_a_syn() {
        let options = [2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 99];
        let met: Vec<_> = options_iter(&options).collect();
        assert_eq!(met, [(option::MSS, &[5, 0xb4][..]), (option::WINDOW_SCALE, &[7]), (option::SACK_PERMITTED, &[])]);
    }

    #[test]
    fn options_end_at_nonsense() {
        for bad in [&[2][..], &[2, 0], &[2, 1, 0], &[2, 5, 0, 0], &[0, 2, 4, 0, 0]] {
            assert_eq!(options_iter(bad).next(), None, "{bad:?}");
        }
    }

    #[test]
    fn loose_walk_goes_past_the_end_of_list() {
        let met: Vec<_> = loose_options(&[0, 1, 5, 0, 2, 4, 0, 0, 8]).map(|o| (o.offset, o.kind, o.len)).collect();
        assert_eq!(met, [(0, 0, 1), (1, 1, 1), (2, 5, 1), (3, 0, 1), (4, 2, 4), (8, 8, 1)]);
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(mut tcp) = Tcp::new(&mut bytes) {
                prop_assert!(options_iter(tcp.options()).count() <= 20);
                prop_assert!(loose_options(tcp.options()).count() <= 40);
                prop_assert_eq!(tcp.payload().len(), tcp.payload_mut().len());
                prop_assert_eq!(tcp.options().len(), tcp.options_mut().len());
            }
        }
    }
}
