//! SCTP packets (RFC 9260): the common header and the list of chunks.

use crate::bytes::{array_at, put_array, put_u16, put_u32, range, tail, u8_at, u16_at, u32_at};
use crate::checksum;

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 8;
/// Bytes of a chunk's header.
pub const CHUNK_HEADER_LEN: usize = 4;

/// Chunk types.
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// Opens an association.
    pub const INIT: u8 = 1;
    /// Answer to [`INIT`].
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgment.
    pub const SACK: u8 = 3;
    /// Keep-alive.
    pub const HEARTBEAT: u8 = 4;
    /// Answer to [`HEARTBEAT`].
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends the association at once.
    pub const ABORT: u8 = 6;
    /// Starts an orderly end.
    pub const SHUTDOWN: u8 = 7;
    /// Answer to [`SHUTDOWN`].
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Error causes.
    pub const ERROR: u8 = 9;
    /// The cookie back to its maker.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answer to [`COOKIE_ECHO`].
    pub const COOKIE_ACK: u8 = 11;
    /// Explicit congestion notification echo.
    pub const ECNE: u8 = 12;
    /// Congestion window reduced.
    pub const CWR: u8 = 13;
    /// Ends an orderly end.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    /// Authentication (RFC 4895).
    pub const AUTH: u8 = 15;
    /// User data, interleaved (RFC 8260).
    pub const I_DATA: u8 = 64;
    /// Answer to [`ASCONF`].
    pub const ASCONF_ACK: u8 = 0x80;
    /// Change of stream configuration (RFC 6525).
    pub const RE_CONFIG: u8 = 130;
    /// Padding (RFC 4820).
    pub const PAD: u8 = 132;
    /// The receiver may go on without some data (RFC 3758).
    pub const FORWARD_TSN: u8 = 0xc0;
    /// Change of addresses (RFC 5061).
    pub const ASCONF: u8 = 0xc1;
    /// As [`FORWARD_TSN`], interleaved (RFC 8260).
    pub const I_FORWARD_TSN: u8 = 0xc2;
}

/// A view of an SCTP packet.
///
/// [`Sctp::new`] checks that the common header is there. Accessors never panic.
#[derive(Clone, Copy, Debug)]
pub struct Sctp<B>(B);

impl<B: AsRef<[u8]>> Sctp<B> {
    /// A view if 12 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Sctp(b))
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16_at(self.as_bytes(), 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Verification tag.
    pub fn tag(&self) -> u32 {
        u32_at(self.as_bytes(), 4)
    }

    /// The checksum field, a CRC32c in little-endian order.
    pub fn checksum(&self) -> u32 {
        u32::from_le_bytes(array_at(self.as_bytes(), CHECKSUM_OFFSET))
    }

    /// Whether the checksum over the whole buffer is right.
    pub fn checksum_ok(&self) -> bool {
        self.checksum() == self.compute()
    }

    /// The bytes behind the common header.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), HEADER_LEN)
    }

    /// The chunks.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { packet: self.as_bytes(), at: HEADER_LEN, state: State::Walking }
    }

    /// The whole buffer.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.0
    }

    /// The checksum of the buffer, its own field taken as zero.
    fn compute(&self) -> u32 {
        let data = self.as_bytes();
        let before = checksum::crc32c_update(checksum::CRC32C_INIT, range(data, 0, CHECKSUM_OFFSET));
        let field = checksum::crc32c_update(before, &[0; 4]);
        checksum::crc32c_finish(checksum::crc32c_update(field, tail(data, HEADER_LEN)))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Sctp<B> {
    /// Sets the source port. Only [`Sctp::fill_checksum`] touches the checksum.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 0, port);
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.0.as_mut(), 2, port);
    }

    /// Sets the verification tag.
    pub fn set_tag(&mut self, tag: u32) {
        put_u32(self.0.as_mut(), 4, tag);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u32) {
        put_array(self.0.as_mut(), CHECKSUM_OFFSET, checksum.to_le_bytes());
    }

    /// Computes the checksum over the whole buffer anew.
    pub fn fill_checksum(&mut self) {
        let sum = self.compute();
        self.set_checksum(sum);
    }
}

/// A chunk met on the walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk<'a> {
    /// The type, see [`chunk`].
    pub kind: u8,
    /// The flags, whose meaning depends on the type.
    pub flags: u8,
    /// The length field: header and value, without the padding. Below 4 it is wrong.
    pub len: u16,
    /// Where the chunk starts, in bytes from the start of the common header.
    pub offset: usize,
    /// The bytes behind the chunk's header, as many as are present.
    pub value: &'a [u8],
}

/// The walk over the chunks of a packet, made by [`Sctp::chunks`].
///
/// It trusts the length fields as Linux does, each rounded up to 4 bytes, and ends where the packet ends. It also ends
/// behind a chunk of length 0, from which there is no way on.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    packet: &'a [u8],
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Walking,
    Ended,
    Truncated,
}

impl Chunks<'_> {
    /// Whether the walk ended at a chunk header that is not there in full.
    pub fn is_truncated(&self) -> bool {
        self.state == State::Truncated
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        if self.state != State::Walking || self.at >= self.packet.len() {
            return None;
        }
        let offset = self.at;
        let header = tail(self.packet, offset);
        if header.len() < CHUNK_HEADER_LEN {
            self.state = State::Truncated;
            return None;
        }
        let len = u16_at(header, 2);
        if len == 0 {
            self.state = State::Ended;
        }
        self.at += usize::from(len).next_multiple_of(4);
        let value = range(header, CHUNK_HEADER_LEN, usize::from(len));
        Some(Chunk { kind: u8_at(header, 0), flags: u8_at(header, 1), len, offset, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_round_trip() {
        let mut sctp = Sctp::new([0; 16]).unwrap();
        sctp.set_src_port(0x0102);
        sctp.set_dst_port(0x0304);
        sctp.set_tag(0x05060708);
        sctp.set_checksum(0x090a0b0c);
        assert_eq!(sctp.as_bytes(), &[1, 2, 3, 4, 5, 6, 7, 8, 12, 11, 10, 9, 0, 0, 0, 0]);
        assert_eq!((sctp.src_port(), sctp.dst_port(), sctp.tag()), (0x0102, 0x0304, 0x05060708));
        assert!(!sctp.checksum_ok());
        sctp.fill_checksum();
        assert!(sctp.checksum_ok());
        let field = sctp.checksum();
        sctp.set_checksum(0);
        assert_eq!(field, checksum::crc32c(sctp.as_bytes()));
        assert!(Sctp::new([0; 11]).is_none());
    }

    #[test]
    fn chunks_are_padded() {
        let mut packet = vec![0; HEADER_LEN];
        packet.extend([chunk::HEARTBEAT, 1, 0, 5, 77, 0, 0, 0, chunk::COOKIE_ACK, 0, 0, 4]);
        let sctp = Sctp::new(&packet).unwrap();
        let met: Vec<_> = sctp.chunks().collect();
        assert_eq!(
            met,
            [
                Chunk { kind: chunk::HEARTBEAT, flags: 1, len: 5, offset: 12, value: &[77] },
                Chunk { kind: chunk::COOKIE_ACK, flags: 0, len: 4, offset: 20, value: &[] },
            ]
        );
    }

    #[test]
    fn bad_chunk_lists_end() {
        let walk = |chunks: &[u8]| {
            let mut packet = vec![0; HEADER_LEN];
            packet.extend(chunks);
            let sctp = Sctp::new(packet).unwrap();
            let mut walk = sctp.chunks();
            let met: Vec<_> = walk.by_ref().map(|chunk| chunk.len).collect();
            (met, walk.is_truncated())
        };
        assert_eq!(walk(&[]), (vec![], false));
        assert_eq!(walk(&[1, 0, 0]), (vec![], true));
        assert_eq!(walk(&[1, 0, 0, 0, 1, 0, 0, 4]), (vec![0], false));
        assert_eq!(walk(&[1, 0, 0, 2, 1, 0, 0, 4, 1]), (vec![2, 4], true));
        assert_eq!(walk(&[1, 0, 0, 99]), (vec![99], false));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..100)) {
            if let Some(sctp) = Sctp::new(&bytes) {
                prop_assert!(sctp.chunks().count() <= bytes.len());
                let _ = sctp.checksum_ok();
            }
        }
    }
}
