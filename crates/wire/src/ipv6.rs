//! IPv6 headers (RFC 8200) and the walk over extension headers.

use crate::addr::{Addr, Family};
use crate::bytes::{array_at, put_u8, put_u16, put_u32, range, range_mut, tail, tail_mut, u8_at, u16_at, u32_at};
use crate::proto;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Bytes of a fragment header.
pub const FRAGMENT_LEN: usize = 8;

/// A view of an IPv6 packet.
///
/// [`Ipv6::new`] checks that the fixed header is there; the payload length is the receiver's to judge. Accessors never
/// panic.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<B>(B);

impl<B: AsRef<[u8]>> Ipv6<B> {
    /// A view if the version is 6 and the fixed header is present.
    pub fn new(b: B) -> Option<Self> {
        let data = b.as_ref();
        let fits = data.len() >= HEADER_LEN && u8_at(data, 0) >> 4 == 6;
        fits.then_some(Ipv6(b))
    }

    /// Bytes of the fixed header, 40.
    pub fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// The traffic class: DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        (u16_at(self.as_bytes(), 0) >> 4) as u8
    }

    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Explicit congestion notification field, 0 to 3 (RFC 3168).
    pub fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// The flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        u32_at(self.as_bytes(), 0) & FLOW_LABEL
    }

    /// Bytes after the fixed header as the header says; zero in a jumbogram (RFC 2675).
    pub fn payload_len(&self) -> u16 {
        u16_at(self.as_bytes(), 4)
    }

    /// Protocol of what follows the fixed header, see [`crate::proto`].
    pub fn next_header(&self) -> u8 {
        u8_at(self.as_bytes(), 6)
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        u8_at(self.as_bytes(), 7)
    }

    /// Source address.
    pub fn src(&self) -> Addr {
        Addr::read(Family::V6, range(self.as_bytes(), 8, 24))
    }

    /// Destination address.
    pub fn dst(&self) -> Addr {
        Addr::read(Family::V6, range(self.as_bytes(), 24, 40))
    }

    /// The fixed header.
    pub fn header(&self) -> &[u8] {
        range(self.as_bytes(), 0, HEADER_LEN)
    }

    /// The bytes after the fixed header, to the payload length or to the end of the buffer if that comes first.
    pub fn payload(&self) -> &[u8] {
        range(self.as_bytes(), HEADER_LEN, HEADER_LEN + usize::from(self.payload_len()))
    }

    /// The extension headers of the packet.
    pub fn extensions(&self) -> ExtWalk<'_> {
        ExtWalk::new(self.as_bytes(), HEADER_LEN, self.next_header())
    }

    /// Where the upper layer is, see [`ExtWalk::transport`].
    ///
    /// # Errors
    /// As [`ExtWalk::transport`].
    pub fn transport(&self) -> Result<Transport, ExtError> {
        self.extensions().transport()
    }

    /// The whole buffer, with bytes beyond the payload length if there are any.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.0
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Ipv6<B> {
    /// Sets the traffic class.
    pub fn set_traffic_class(&mut self, class: u8) {
        let word = u32_at(self.as_bytes(), 0) & 0xf00f_ffff;
        put_u32(self.0.as_mut(), 0, word | u32::from(class) << 20);
    }

    /// Sets the flow label; 20 bits are kept.
    pub fn set_flow_label(&mut self, label: u32) {
        let word = u32_at(self.as_bytes(), 0) & !FLOW_LABEL;
        put_u32(self.0.as_mut(), 0, word | (label & FLOW_LABEL));
    }

    /// Sets the payload length.
    pub fn set_payload_len(&mut self, len: u16) {
        put_u16(self.0.as_mut(), 4, len);
    }

    /// Sets the next header.
    pub fn set_next_header(&mut self, next: u8) {
        put_u8(self.0.as_mut(), 6, next);
    }

    /// Sets the hop limit.
    pub fn set_hop_limit(&mut self, limit: u8) {
        put_u8(self.0.as_mut(), 7, limit);
    }

    /// Sets the source; the upper layer's checksum is left, see [`crate::checksum::update_addr`].
    pub fn set_src(&mut self, src: Addr) {
        src.write(Family::V6, range_mut(self.0.as_mut(), 8, 24));
    }

    /// Sets the destination; the upper layer's checksum is left.
    pub fn set_dst(&mut self, dst: Addr) {
        dst.write(Family::V6, range_mut(self.0.as_mut(), 24, 40));
    }

    /// The payload as [`Ipv6::payload`] bounds it, for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = HEADER_LEN + usize::from(self.payload_len());
        range_mut(self.0.as_mut(), HEADER_LEN, end)
    }

    /// The buffer after the fixed header, with bytes beyond the payload length, for writing.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        tail_mut(self.0.as_mut(), HEADER_LEN)
    }
}

/// Whether the walk over extension headers goes through this protocol: hop-by-hop, routing, fragment, AH, no next
/// header and destination options, as Linux has it. ESP and the mobility header count as upper layers.
pub const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, proto::HOPOPTS | proto::ROUTING | proto::FRAGMENT | proto::AH | proto::NONE | proto::DSTOPTS)
}

/// One extension header met on the walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtHeader {
    /// What it is, see [`is_extension`]; never "no next header".
    pub kind: u8,
    /// Where it starts, in bytes from the start of the packet.
    pub offset: usize,
    /// Its length in bytes by its own length field. Only its first bytes are known to be in the buffer: two, or four of
    /// a fragment header.
    pub len: usize,
    /// What it says follows it.
    pub next: u8,
}

/// What a fragment header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Place of the fragment in units of 8 bytes, 0 to 8191.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification; zero if the packet ends before it.
    pub id: u32,
    /// Where the fragment header starts, in bytes from the start of the packet.
    pub header_offset: usize,
    /// Protocol of what follows the fragment header in the first fragment.
    pub next: u8,
}

/// What the walk ends at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// The last protocol named: an upper layer, or [`proto::NONE`]. For a later fragment it is what its fragment header
    /// names.
    pub protocol: u8,
    /// Where it starts, in bytes from the start of the packet; may lie beyond the buffer. For a later fragment it is
    /// where the fragment's data starts.
    pub offset: usize,
    /// The last fragment header met, also one with offset 0.
    pub fragment: Option<Fragment>,
    /// Where the byte is that names `protocol`: the pointer of a parameter problem message.
    pub named_at: usize,
}

impl Transport {
    /// Whether it is a fragment without the start of the upper layer.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

/// Why a walk does not reach an upper layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtError {
    /// The packet ends inside an extension header.
    Truncated {
        /// Where that header starts.
        offset: usize,
    },
    /// A later fragment names another extension header, which is not in this packet.
    InEarlierFragment {
        /// The fragment header.
        fragment: Fragment,
    },
}

impl std::fmt::Display for ExtError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExtError::Truncated { offset } => write!(f, "the packet ends in the extension header at byte {offset}"),
            ExtError::InEarlierFragment { fragment } => {
                write!(f, "extension header {} is in an earlier fragment", fragment.next)
            }
        }
    }
}

impl std::error::Error for ExtError {}

/// The walk over extension headers, an iterator of those met.
///
/// It goes as Linux does (`ipv6_find_hdr`, `ipv6_skip_exthdr`): any order and number of headers, each only as far
/// checked as needed to find the next, and it stops behind the fragment header of a later fragment.
///
/// Every header is at least 8 bytes long, so the walk ends after at most an eighth of the packet's length in steps.
#[derive(Clone, Debug)]
pub struct ExtWalk<'a> {
    packet: &'a [u8],
    offset: usize,
    protocol: u8,
    named_at: usize,
    fragment: Option<Fragment>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Walking,
    Truncated,
    LaterFragment,
}

impl<'a> ExtWalk<'a> {
    /// A walk over `packet`, an IPv6 packet from its first byte, that starts at byte `offset` with the protocol
    /// `protocol`. See [`Ipv6::extensions`] for the usual start.
    pub fn new(packet: &'a [u8], offset: usize, protocol: u8) -> Self {
        ExtWalk { packet, offset, protocol, named_at: 6, fragment: None, state: State::Walking }
    }

    /// Walks to the end and says what is there.
    ///
    /// # Errors
    /// [`ExtError::Truncated`] if a header is not there in full, as far as it is needed;
    /// [`ExtError::InEarlierFragment`] for a later fragment whose upper layer cannot be known.
    pub fn transport(mut self) -> Result<Transport, ExtError> {
        while self.next().is_some() {}
        match (self.state, self.fragment) {
            (State::Truncated, _) => Err(ExtError::Truncated { offset: self.offset }),
            (State::LaterFragment, Some(fragment)) if is_extension(fragment.next) && fragment.next != proto::NONE => {
                Err(ExtError::InEarlierFragment { fragment })
            }
            (_, fragment) => {
                Ok(Transport { protocol: self.protocol, offset: self.offset, fragment, named_at: self.named_at })
            }
        }
    }

    /// The last fragment header met so far.
    pub fn fragment(&self) -> Option<Fragment> {
        self.fragment
    }

    /// Where the walk stands, in bytes from the start of the packet.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The protocol of what is at [`ExtWalk::offset`].
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the walk ended because the packet did.
    pub fn is_truncated(&self) -> bool {
        self.state == State::Truncated
    }

    /// Notes the fragment header at the place of the walk; false if the packet ends in it.
    fn read_fragment(&mut self, next: u8) -> bool {
        let header = tail(self.packet, self.offset);
        if header.len() < 4 {
            return false;
        }
        let word = u16_at(header, 2);
        let id = u32::from_be_bytes(array_at(header, 4));
        let fragment = Fragment { offset: word >> 3, more: word & 1 != 0, id, header_offset: self.offset, next };
        self.fragment = Some(fragment);
        if fragment.offset != 0 {
            self.state = State::LaterFragment;
        }
        true
    }
}

impl Iterator for ExtWalk<'_> {
    type Item = ExtHeader;

    fn next(&mut self) -> Option<ExtHeader> {
        if self.state != State::Walking || !is_extension(self.protocol) || self.protocol == proto::NONE {
            return None;
        }
        let &[next, len, ..] = tail(self.packet, self.offset) else {
            self.state = State::Truncated;
            return None;
        };
        let len = match self.protocol {
            proto::FRAGMENT => FRAGMENT_LEN,
            // AH counts words of 4 bytes, less two (RFC 4302, section 2.2).
            proto::AH => (usize::from(len) + 2) * 4,
            _ => (usize::from(len) + 1) * 8,
        };
        if self.protocol == proto::FRAGMENT && !self.read_fragment(next) {
            self.state = State::Truncated;
            return None;
        }
        let header = ExtHeader { kind: self.protocol, offset: self.offset, len, next };
        self.named_at = self.offset;
        self.protocol = next;
        self.offset += len;
        Some(header)
    }
}

const FLOW_LABEL: u32 = 0x000f_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[0] = 0x60;
        bytes[5] = rest.len() as u8;
        bytes[6] = next;
        bytes[7] = 64;
        bytes.extend(rest);
        bytes
    }

    fn transport(next: u8, rest: &[u8]) -> Result<Transport, ExtError> {
        Ipv6::new(packet(next, rest)).unwrap().transport()
    }

    #[test]
    fn fields() {
        let mut ip = Ipv6::new(packet(17, &[1, 2, 3, 4])).unwrap();
        ip.set_traffic_class(0xab);
        ip.set_flow_label(0xfff_12345);
        assert_eq!((ip.traffic_class(), ip.flow_label(), ip.dscp(), ip.ecn()), (0xab, 0x12345, 0x2a, 3));
        assert_eq!(ip.as_bytes()[..4], [0x6a, 0xb1, 0x23, 0x45]);
        ip.set_traffic_class(0);
        assert_eq!((ip.flow_label(), ip.payload_len(), ip.payload()), (0x12345, 4, &[1, 2, 3, 4][..]));
        ip.set_src(Addr(1));
        ip.set_dst(Addr(2 << 64));
        assert_eq!((ip.src(), ip.dst(), ip.hop_limit()), (Addr(1), Addr(2 << 64), 64));
        assert!(Ipv6::new(&ip.as_bytes()[..39]).is_none());
        assert!(Ipv6::new([0x45; 40]).is_none());
    }

    #[test]
    fn no_extension() {
        let found = transport(proto::TCP, &[]).unwrap();
        assert_eq!(found, Transport { protocol: proto::TCP, offset: 40, fragment: None, named_at: 6 });
        assert_eq!(transport(proto::NONE, &[]).unwrap().protocol, proto::NONE);
        assert_eq!(transport(proto::ESP, &[6, 0]).unwrap().protocol, proto::ESP);
    }

    #[test]
    fn a_chain_of_headers() {
        let mut rest = vec![proto::ROUTING, 0, 1, 4, 0, 0, 0, 0];
        rest.extend([proto::AH, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([proto::UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let bytes = packet(proto::HOPOPTS, &rest);
        let ip = Ipv6::new(&bytes).unwrap();
        let met: Vec<_> = ip.extensions().map(|header| (header.kind, header.offset, header.len)).collect();
        assert_eq!(met, [(proto::HOPOPTS, 40, 8), (proto::ROUTING, 48, 16), (proto::AH, 64, 12)]);
        let found = ip.transport().unwrap();
        assert_eq!((found.protocol, found.offset, found.named_at), (proto::UDP, 76, 64));
    }

    #[test]
    fn fragments() {
        let first = transport(proto::FRAGMENT, &[proto::UDP, 0, 0, 1, 0, 0, 0, 9]).unwrap();
        let header = Fragment { offset: 0, more: true, id: 9, header_offset: 40, next: proto::UDP };
        assert_eq!((first.protocol, first.offset, first.fragment), (proto::UDP, 48, Some(header)));
        assert!(!first.is_later_fragment());

        let later = transport(proto::FRAGMENT, &[proto::UDP, 0, 0x05, 0xa8, 0, 0, 0, 9]).unwrap();
        assert_eq!((later.protocol, later.offset), (proto::UDP, 48));
        assert_eq!(later.fragment.map(|fragment| fragment.offset), Some(181));
        assert!(later.is_later_fragment());

        let hidden = transport(proto::FRAGMENT, &[proto::DSTOPTS, 0, 0x05, 0xa8, 0, 0, 0, 9, 58, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(hidden, Err(ExtError::InEarlierFragment { fragment }) if fragment.next == proto::DSTOPTS));
    }

    #[test]
    fn truncated() {
        assert_eq!(transport(proto::HOPOPTS, &[6]), Err(ExtError::Truncated { offset: 40 }));
        assert_eq!(transport(proto::FRAGMENT, &[6, 0, 0]), Err(ExtError::Truncated { offset: 40 }));
        // A header that claims more than there is only matters if something has to be read behind it.
        assert_eq!(transport(proto::HOPOPTS, &[6, 9]).map(|found| found.offset), Ok(120));
        assert_eq!(transport(proto::HOPOPTS, &[60, 9]), Err(ExtError::Truncated { offset: 120 }));
    }

    proptest! {
        #[test]
        fn never_panics(rest in prop::collection::vec(prop_oneof![Just(0u8), Just(44), Just(51), Just(60), any::<u8>()], 0..300), next in prop_oneof![Just(0u8), Just(44), any::<u8>()]) {
            let bytes = packet(next, &rest);
            let ip = Ipv6::new(&bytes).unwrap();
            let mut at = HEADER_LEN;
            for header in ip.extensions() {
                prop_assert_eq!(header.offset, at);
                prop_assert!(header.len >= 8);
                at += header.len;
            }
            let _ = ip.transport();
        }

        #[test]
        fn arbitrary_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(mut ip) = Ipv6::new(&mut bytes) {
                let _ = (ip.payload().len(), ip.transport());
                prop_assert_eq!(ip.payload().len(), ip.payload_mut().len());
            }
        }
    }
}
