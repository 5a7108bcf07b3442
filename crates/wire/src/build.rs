//! Small emitters of whole packets, with lengths and checksums filled in.
//!
//! Each protocol is a struct with public fields and defaults. Upper layers need the addresses for their checksum, so
//! those are arguments:
//!
//! ```
//! use hairpin_wire::{Addr, Family, build, ipv4::Ipv4, proto, tcp};
//!
//! let (src, dst) = (Addr::v4(0x0a00_0001), Addr::v4(0x0a00_0002));
//! let syn = build::Tcp { src_port: 40000, dst_port: 80, flags: tcp::SYN, ..Default::default() };
//! let segment = syn.to_vec(Family::V4, src, dst);
//! let packet = build::Ipv4 { src, dst, protocol: proto::TCP, ttl: 32, payload: &segment, ..Default::default() };
//! let bytes = packet.to_vec();
//! assert!(Ipv4::new(&bytes).is_some_and(|ip| ip.checksum_ok() && ip.ttl() == 32));
//!
//! // Or at once, with the defaults of the network layer.
//! assert_eq!(syn.packet(Family::V4, src, dst).len(), 40);
//! ```
//!
//! Lengths that do not fit their field are cut to its greatest value; the bytes themselves are all emitted.

use crate::addr::{Addr, Family, Mac};
use crate::bytes::tail_mut;
use crate::{checksum, icmp, icmp4, icmp6, ipv4, ipv6, proto, sctp, tcp, udp};

/// An Ethernet frame around a packet, without padding.
pub fn frame(dst: Mac, src: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(crate::ethernet::HEADER_LEN + packet.len());
    out.extend(dst.0);
    out.extend(src.0);
    out.extend(ethertype.to_be_bytes());
    out.extend(packet);
    out
}

/// A packet of either family with the defaults of [`Ipv4`] or [`Ipv6`].
pub fn ip(family: Family, src: Addr, dst: Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => Ipv4 { src, dst, protocol, payload, ..Default::default() }.to_vec(),
        Family::V6 => Ipv6 { src, dst, next_header: protocol, payload, ..Default::default() }.to_vec(),
    }
}

/// An IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    /// Source; unspecified by default.
    pub src: Addr,
    /// Destination; unspecified by default.
    pub dst: Addr,
    /// Protocol of the payload, see [`crate::proto`].
    pub protocol: u8,
    /// Time to live; 64 by default.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// The flag DF.
    pub dont_fragment: bool,
    /// The flag MF.
    pub more_fragments: bool,
    /// Fragment offset in units of 8 bytes, 0 to 8191.
    pub fragment_offset: u16,
    /// Option bytes; padded with zeros to a multiple of 4, cut behind 40.
    pub options: &'a [u8],
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Default for Ipv4<'_> {
    fn default() -> Self {
        Ipv4 {
            src: Addr::UNSPECIFIED,
            dst: Addr::UNSPECIFIED,
            protocol: 0,
            ttl: 64,
            tos: 0,
            id: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            options: &[],
            payload: &[],
        }
    }
}

impl Ipv4<'_> {
    /// The bytes of the packet.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ipv4::HEADER_LEN + self.options.len() + 3 + self.payload.len());
        self.append_to(&mut out);
        out
    }

    /// Appends the bytes of the packet.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + ipv4::HEADER_LEN, 0);
        let header_len = ipv4::HEADER_LEN + append_options(out, self.options);
        out.extend(self.payload);
        let packet = tail_mut(out, start);
        let len = field_len(packet);
        if let Some(first) = packet.first_mut() {
            *first = 0x40 | (header_len / 4) as u8;
        }
        if let Some(mut ip) = ipv4::Ipv4::new(packet) {
            ip.set_tos(self.tos);
            ip.set_total_len(len);
            ip.set_id(self.id);
            ip.set_flags_offset(self.dont_fragment, self.more_fragments, self.fragment_offset);
            ip.set_ttl(self.ttl);
            ip.set_protocol(self.protocol);
            ip.set_src(self.src);
            ip.set_dst(self.dst);
            ip.fill_checksum();
        }
    }
}

/// An IPv6 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    /// Source; unspecified by default.
    pub src: Addr,
    /// Destination; unspecified by default.
    pub dst: Addr,
    /// Protocol of the payload; [`proto::NONE`] by default.
    pub next_header: u8,
    /// Hop limit; 64 by default.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// What follows the header, extension headers included.
    pub payload: &'a [u8],
}

impl Default for Ipv6<'_> {
    fn default() -> Self {
        Ipv6 {
            src: Addr::UNSPECIFIED,
            dst: Addr::UNSPECIFIED,
            next_header: proto::NONE,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload: &[],
        }
    }
}

impl Ipv6<'_> {
    /// The bytes of the packet.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ipv6::HEADER_LEN + self.payload.len());
        self.append_to(&mut out);
        out
    }

    /// Appends the bytes of the packet.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(0x60);
        out.resize(start + ipv6::HEADER_LEN, 0);
        out.extend(self.payload);
        if let Some(mut ip) = ipv6::Ipv6::new(tail_mut(out, start)) {
            ip.set_traffic_class(self.traffic_class);
            ip.set_flow_label(self.flow_label);
            ip.set_payload_len(field_len(self.payload));
            ip.set_next_header(self.next_header);
            ip.set_hop_limit(self.hop_limit);
            ip.set_src(self.src);
            ip.set_dst(self.dst);
        }
    }
}

/// An IPv6 fragment header; `offset` in units of 8 bytes, 13 bits are kept.
pub fn fragment_header(next: u8, offset: u16, more: bool, id: u32) -> [u8; ipv6::FRAGMENT_LEN] {
    let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
    let [c, d, e, f] = id.to_be_bytes();
    [next, 0, a, b, c, d, e, f]
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Udp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Data.
    pub payload: &'a [u8],
}

impl Udp<'_> {
    /// The bytes of the datagram.
    pub fn to_vec(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        let mut out = vec![0; udp::HEADER_LEN];
        out.extend(self.payload);
        let len = field_len(&out);
        if let Some(mut udp) = udp::Udp::new(&mut out) {
            udp.set_src_port(self.src_port);
            udp.set_dst_port(self.dst_port);
            udp.set_len(len);
            let sum = checksum::transport(family, src, dst, proto::UDP, udp.as_bytes());
            udp.set_checksum(checksum::udp_nonzero(sum));
        }
        out
    }

    /// The datagram in a packet, see [`ip`].
    pub fn packet(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        ip(family, src, dst, proto::UDP, &self.to_vec(family, src, dst))
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, see [`crate::tcp`].
    pub flags: u8,
    /// Window; 65535 by default.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Option bytes; padded with zeros to a multiple of 4, cut behind 40.
    pub options: &'a [u8],
    /// Data.
    pub payload: &'a [u8],
}

impl Default for Tcp<'_> {
    fn default() -> Self {
        Tcp {
            src_port: 0,
            dst_port: 0,
            seq: 0,
            ack: 0,
            flags: 0,
            window: u16::MAX,
            urgent: 0,
            options: &[],
            payload: &[],
        }
    }
}

impl Tcp<'_> {
    /// The bytes of the segment.
    pub fn to_vec(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        let mut out = vec![0; tcp::HEADER_LEN];
        let header_len = tcp::HEADER_LEN + append_options(&mut out, self.options);
        out.extend(self.payload);
        if let Some(mut tcp) = tcp::Tcp::new(&mut out) {
            tcp.set_src_port(self.src_port);
            tcp.set_dst_port(self.dst_port);
            tcp.set_seq(self.seq);
            tcp.set_ack(self.ack);
            tcp.set_header_len(header_len);
            tcp.set_flags(self.flags);
            tcp.set_window(self.window);
            tcp.set_urgent(self.urgent);
            let sum = checksum::transport(family, src, dst, proto::TCP, tcp.as_bytes());
            tcp.set_checksum(sum);
        }
        out
    }

    /// The segment in a packet, see [`ip`].
    pub fn packet(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        ip(family, src, dst, proto::TCP, &self.to_vec(family, src, dst))
    }
}

/// An ICMP message of either family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Icmp<'a> {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The word behind the checksum.
    pub rest: u32,
    /// What follows: the quote of an error, the data of a query, an address.
    pub payload: &'a [u8],
}

impl Icmp<'_> {
    /// The bytes of the message. In IPv4 the addresses do not matter.
    pub fn to_vec(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        let mut out = vec![0; icmp::HEADER_LEN];
        out.extend(self.payload);
        if let Some(mut icmp) = icmp::Icmp::new(&mut out) {
            icmp.set_kind(self.kind);
            icmp.set_code(self.code);
            icmp.set_rest(self.rest);
            icmp.fill_checksum(family, src, dst);
        }
        out
    }

    /// The message in a packet, see [`ip`].
    pub fn packet(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        ip(family, src, dst, proto::icmp(family), &self.to_vec(family, src, dst))
    }
}

/// An echo request or reply of either family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo<'a> {
    /// Whether it is the reply.
    pub reply: bool,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// Data.
    pub payload: &'a [u8],
}

impl Echo<'_> {
    /// The bytes of the message.
    pub fn to_vec(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        let rest = u32::from(self.id) << 16 | u32::from(self.seq);
        let kind = match (family, self.reply) {
            (Family::V4, false) => icmp4::ECHO,
            (Family::V4, true) => icmp4::ECHO_REPLY,
            (Family::V6, false) => icmp6::ECHO,
            (Family::V6, true) => icmp6::ECHO_REPLY,
        };
        Icmp { kind, code: 0, rest, payload: self.payload }.to_vec(family, src, dst)
    }

    /// The message in a packet, see [`ip`].
    pub fn packet(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        ip(family, src, dst, proto::icmp(family), &self.to_vec(family, src, dst))
    }
}

/// An SCTP packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sctp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Verification tag.
    pub tag: u32,
    /// The chunks as bytes, padding included.
    pub chunks: &'a [u8],
}

impl Sctp<'_> {
    /// The bytes of the packet from the common header on.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; sctp::HEADER_LEN];
        out.extend(self.chunks);
        if let Some(mut sctp) = sctp::Sctp::new(&mut out) {
            sctp.set_src_port(self.src_port);
            sctp.set_dst_port(self.dst_port);
            sctp.set_tag(self.tag);
            sctp.fill_checksum();
        }
        out
    }

    /// It in an IP packet, see [`ip`].
    pub fn packet(&self, family: Family, src: Addr, dst: Addr) -> Vec<u8> {
        ip(family, src, dst, proto::SCTP, &self.to_vec())
    }
}

/// Appends at most 40 option bytes, padded with zeros to a multiple of 4; returns how many.
fn append_options(out: &mut Vec<u8>, options: &[u8]) -> usize {
    let kept = options.get(..MAX_OPTIONS).unwrap_or(options);
    let padded = kept.len().next_multiple_of(4);
    out.extend(kept);
    out.resize(out.len() + padded - kept.len(), 0);
    padded
}

fn field_len(data: &[u8]) -> u16 {
    u16::try_from(data.len()).unwrap_or(u16::MAX)
}

const MAX_OPTIONS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

    fn upper(family: Family, packet: &[u8]) -> (Addr, Addr, u8, Vec<u8>) {
        match family {
            Family::V4 => {
                let ip = ipv4::Ipv4::new(packet).unwrap();
                assert!(ip.checksum_ok());
                assert_eq!(usize::from(ip.total_len()), packet.len());
                (ip.src(), ip.dst(), ip.protocol(), ip.payload().to_vec())
            }
            Family::V6 => {
                let ip = ipv6::Ipv6::new(packet).unwrap();
                assert_eq!(usize::from(ip.payload_len()) + 40, packet.len());
                (ip.src(), ip.dst(), ip.next_header(), ip.payload().to_vec())
            }
        }
    }

    #[test]
    fn every_field_of_an_ipv4_packet() {
        let packet = Ipv4 {
            src: Addr::v4(1),
            dst: Addr::v4(2),
            protocol: 3,
            ttl: 4,
            tos: 5,
            id: 6,
            dont_fragment: true,
            more_fragments: true,
            fragment_offset: 7,
            options: &[148, 4, 0, 0, 1],
            payload: &[8],
        };
        let bytes = packet.to_vec();
        let ip = ipv4::Ipv4::new(&bytes).unwrap();
        assert_eq!((ip.src(), ip.dst(), ip.protocol(), ip.ttl(), ip.tos(), ip.id()), (Addr(1), Addr(2), 3, 4, 5, 6));
        assert_eq!((ip.dont_fragment(), ip.more_fragments(), ip.fragment_offset()), (true, true, 7));
        assert_eq!((ip.options(), ip.payload()), (&[148, 4, 0, 0, 1, 0, 0, 0][..], &[8][..]));
        assert!(ip.checksum_ok() && ip.total_len() == 29);
        let long = Ipv4 { options: &[1; 50], ..packet }.to_vec();
        assert_eq!(ipv4::Ipv4::new(&long).map(|ip| ip.header_len()), Some(60));
    }

    #[test]
    fn every_field_of_an_ipv6_packet() {
        let bytes = Ipv6 {
            src: Addr(1),
            dst: Addr(2),
            next_header: 3,
            hop_limit: 4,
            traffic_class: 5,
            flow_label: 6,
            payload: &[7],
        };
        let bytes = bytes.to_vec();
        let ip = ipv6::Ipv6::new(&bytes).unwrap();
        assert_eq!((ip.src(), ip.dst(), ip.next_header(), ip.hop_limit()), (Addr(1), Addr(2), 3, 4));
        assert_eq!((ip.traffic_class(), ip.flow_label(), ip.payload()), (5, 6, &[7][..]));
    }

    #[test]
    fn a_fragment_header_is_read_back() {
        let bytes = Ipv6 {
            next_header: proto::FRAGMENT,
            payload: &fragment_header(proto::UDP, 5, true, 77),
            ..Default::default()
        };
        let found = ipv6::Ipv6::new(bytes.to_vec()).unwrap().transport().unwrap();
        let fragment = ipv6::Fragment { offset: 5, more: true, id: 77, header_offset: 40, next: proto::UDP };
        assert_eq!((found.fragment, found.offset), (Some(fragment), 48));
    }

    #[test]
    fn a_frame() {
        let bytes = frame(Mac::BROADCAST, Mac([2; 6]), crate::ethernet::ARP, &[1, 2]);
        let view = crate::ethernet::Ethernet::new(&bytes).unwrap();
        assert_eq!((view.dst(), view.src(), view.ethertype()), (Mac::BROADCAST, Mac([2; 6]), 0x0806));
        assert_eq!(view.payload(), [1, 2]);
    }

    #[test]
    fn an_echo_of_each_family() {
        let echo = Echo { reply: true, id: 1, seq: 2, payload: &[3] };
        let bytes = echo.to_vec(Family::V4, Addr(5), Addr(6));
        let icmp = icmp::Icmp::new(&bytes).unwrap();
        assert_eq!((icmp.kind(), icmp.id(), icmp.seq()), (icmp4::ECHO_REPLY, 1, 2));
        let bytes = Echo { reply: false, ..echo }.to_vec(Family::V6, Addr(5), Addr(6));
        let icmp = icmp::Icmp::new(&bytes).unwrap();
        assert_eq!((icmp.kind(), icmp.id(), icmp.seq()), (icmp6::ECHO, 1, 2));
        assert!(icmp.checksum_ok(Family::V6, Addr(5), Addr(6)));
    }

    #[test]
    fn a_computed_zero_is_sent_as_ones() {
        // Two words of data chosen so that the datagram of port 0 sums up to ones.
        let (src, dst) = (Addr::v4(0), Addr::v4(0));
        let first = Udp { payload: &[0, 0], ..Default::default() }.to_vec(Family::V4, src, dst);
        let sum = udp::Udp::new(&first).unwrap().checksum().to_be_bytes();
        let second = Udp { payload: &sum, ..Default::default() }.to_vec(Family::V4, src, dst);
        assert_eq!(udp::Udp::new(&second).unwrap().checksum(), 0xffff);
    }

    proptest! {
        #[test]
        fn upper_layers_are_right(
            src in any::<u32>(), dst in any::<u32>(), ports in any::<(u16, u16)>(), words in any::<(u32, u32)>(),
            options in prop::collection::vec(any::<u8>(), 0..50), payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let (src, dst, (src_port, dst_port), (seq, ack)) = (Addr::v4(src), Addr::v4(dst), ports, words);
            for family in FAMILIES {
                let tcp = Tcp { src_port, dst_port, seq, ack, flags: tcp::ACK, options: &options, payload: &payload, ..Default::default() };
                let (from, to, protocol, data) = upper(family, &tcp.packet(family, src, dst));
                prop_assert_eq!((from, to, protocol), (src, dst, proto::TCP));
                prop_assert_eq!(checksum::transport(family, src, dst, protocol, &data), 0);
                let view = tcp::Tcp::new(&data).unwrap();
                prop_assert!(view.header_ok());
                prop_assert_eq!((view.seq(), view.ack(), view.flags(), view.payload()), (seq, ack, tcp::ACK, &payload[..]));

                let udp = Udp { src_port, dst_port, payload: &payload };
                let (_, _, protocol, data) = upper(family, &udp.packet(family, src, dst));
                prop_assert_eq!(checksum::transport(family, src, dst, protocol, &data), 0);
                let view = udp::Udp::new(&data).unwrap();
                prop_assert_eq!((view.src_port(), view.dst_port(), usize::from(view.len())), (src_port, dst_port, data.len()));
                prop_assert!(view.checksum() != 0);

                let packet = Sctp { src_port, dst_port, tag: seq, chunks: &payload }.packet(family, src, dst);
                let (_, _, _, data) = upper(family, &packet);
                prop_assert!(sctp::Sctp::new(&data).is_some_and(|view| view.checksum_ok() && view.tag() == seq));
            }
        }
    }
}
