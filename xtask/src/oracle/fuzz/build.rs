//! Packets made to measure, right and wrong ones. The engine's own builders make only right ones.

use std::net::{IpAddr, Ipv4Addr};

use crate::oracle::frame::{
    DCCP, FRAGMENT, GRE, HOP, ICMP, ICMP6, SCTP, TCP, UDP, UDPLITE, checksum, crc32c, pseudo_header,
};

pub type Mac = [u8; 6];

/// What a packet's network header says beside the addresses.
#[derive(Debug, Clone)]
pub struct Head {
    pub ttl: u8,
    pub tos: u8,
    /// IPv4 only.
    pub id: u16,
    pub df: bool,
    pub options: Vec<u8>,
    pub bad_sum: bool,
    /// IPv6 only.
    pub flow: u32,
    /// A length that is not the packet's (IPv4: total, IPv6: behind the header).
    pub length: Option<u16>,
}

impl Default for Head {
    fn default() -> Self {
        Self { ttl: 64, tos: 0, id: 0, df: false, options: Vec::new(), bad_sum: false, flow: 0, length: None }
    }
}

/// A TCP segment.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
    pub bad_sum: bool,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

pub fn ethernet(src: Mac, dst: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet.first().is_some_and(|b| b >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
    [&dst[..], &src, &kind, packet].concat()
}

pub fn ip(src: IpAddr, dst: IpAddr, proto: u8, payload: &[u8], head: &Head) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ip4(src, dst, proto, payload, head),
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let first = 0x6000_0000 | u32::from(head.tos) << 20 | head.flow & 0xf_ffff;
            let length = head.length.unwrap_or(payload.len() as u16);
            let mut out = first.to_be_bytes().to_vec();
            out.extend(length.to_be_bytes());
            out.extend([proto, head.ttl]);
            out.extend(src.octets());
            out.extend(dst.octets());
            out.extend(payload);
            out
        }
        // No such packet: an empty one is not sent.
        _ => Vec::new(),
    }
}

pub fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), segment: &Segment, head: &Head) -> Vec<u8> {
    let mut options = segment.options.clone();
    options.resize(options.len().next_multiple_of(4), 1);
    let mut out = ports(src.1, dst.1);
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    out.extend([((5 + options.len() / 4) << 4) as u8, segment.flags]);
    out.extend(segment.window.to_be_bytes());
    out.extend([0, 0]);
    out.extend(segment.urgent.to_be_bytes());
    out.extend(options);
    out.extend(&segment.data);
    seal(&mut out, 16, src.0, dst.0, TCP, segment.bad_sum);
    ip(src.0, dst.0, TCP, &out, head)
}

/// How the checksum of a UDP packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Right,
    Wrong,
    Absent,
}

pub fn udp(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8], sum: Sum, head: &Head) -> Vec<u8> {
    let mut out = ports(src.1, dst.1);
    out.extend(((8 + data.len()) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
    if sum != Sum::Absent {
        seal(&mut out, 6, src.0, dst.0, UDP, sum == Sum::Wrong);
        if out[6..8] == [0, 0] {
            out[6..8].fill(0xff);
        }
    }
    ip(src.0, dst.0, UDP, &out, head)
}

/// UDP-Lite whose checksum covers everything (RFC 3828).
pub fn udplite(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8], head: &Head) -> Vec<u8> {
    let mut out = ports(src.1, dst.1);
    out.extend([0; 4]);
    out.extend(data);
    seal(&mut out, 6, src.0, dst.0, UDPLITE, false);
    ip(src.0, dst.0, UDPLITE, &out, head)
}

/// An ICMP or ICMPv6 message; `rest` is the second word of its header.
pub fn icmp(src: IpAddr, dst: IpAddr, kind: (u8, u8), rest: [u8; 4], data: &[u8], bad: bool, head: &Head) -> Vec<u8> {
    let mut out = vec![kind.0, kind.1, 0, 0];
    out.extend(rest);
    out.extend(data);
    if src.is_ipv6() {
        seal(&mut out, 2, src, dst, ICMP6, bad);
        return ip(src, dst, ICMP6, &out, head);
    }
    let sum = checksum(&out) ^ if bad { 0x5555 } else { 0 };
    out[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(src, dst, ICMP, &out, head)
}

/// An echo request or reply.
pub fn echo(src: IpAddr, dst: IpAddr, id: u16, seq: u16, data: &[u8], reply: bool, head: &Head) -> Vec<u8> {
    let kind = match (src.is_ipv6(), reply) {
        (false, false) => 8,
        (false, true) => 0,
        (true, false) => 128,
        (true, true) => 129,
    };
    let [a, b] = id.to_be_bytes();
    let [c, d] = seq.to_be_bytes();
    icmp(src, dst, (kind, 0), [a, b, c, d], data, false, head)
}

pub fn gre(src: IpAddr, dst: IpAddr, inner: &[u8], head: &Head) -> Vec<u8> {
    ip(src, dst, GRE, &[&[0, 0, 8, 0], inner].concat(), head)
}

/// SCTP with chunks of (type, flags, value).
pub fn sctp(
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    tag: u32,
    chunks: &[(u8, u8, Vec<u8>)],
    bad: bool,
    head: &Head,
) -> Vec<u8> {
    let mut out = ports(src.1, dst.1);
    out.extend(tag.to_be_bytes());
    out.extend([0; 4]);
    for (kind, flags, value) in chunks {
        out.extend([*kind, *flags]);
        out.extend(((4 + value.len()) as u16).to_be_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let sum = crc32c(&out) ^ u32::from(bad);
    out[8..12].copy_from_slice(&sum.to_le_bytes());
    ip(src.0, dst.0, SCTP, &out, head)
}

/// DCCP with long sequence numbers (RFC 4340): type, sequence number, acknowledgement where the type has one.
pub fn dccp(src: (IpAddr, u16), dst: (IpAddr, u16), kind: u8, seq: u64, ack: Option<u64>, head: &Head) -> Vec<u8> {
    let number = |n: u64| n.to_be_bytes()[2..].to_vec();
    let mut tail = Vec::new();
    if let Some(ack) = ack {
        tail.extend([0, 0]);
        tail.extend(number(ack));
    }
    match kind {
        0 | 1 => tail.extend(42u32.to_be_bytes()),
        7 => tail.extend([3, 0, 0, 0]),
        _ => {}
    }
    let mut out = ports(src.1, dst.1);
    out.extend([((16 + tail.len()) / 4) as u8, 0, 0, 0, kind << 1 | 1, 0]);
    out.extend(number(seq));
    out.extend(tail);
    seal(&mut out, 6, src.0, dst.0, DCCP, false);
    ip(src.0, dst.0, DCCP, &out, head)
}

pub fn mss(value: u16) -> Vec<u8> {
    let [a, b] = value.to_be_bytes();
    vec![2, 4, a, b]
}

/// Cuts a packet into fragments that carry `size` bytes (a multiple of 8). In IPv6 a hop-by-hop header stays in each.
pub fn fragments(packet: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    if packet.first().is_some_and(|b| b >> 4 == 6) { fragments6(packet, size, id) } else { fragments4(packet, size) }
}

/// An IPv6 packet with extension headers behind its fixed header: kind, and all but the next-header byte.
pub fn extended(packet: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (Some(fixed), Some(first)) = (packet.get(..40), headers.first()) else { return packet.to_vec() };
    let mut chain = Vec::new();
    for (n, (_, body)) in headers.iter().enumerate() {
        chain.push(headers.get(n + 1).map_or(fixed[6], |(kind, _)| *kind));
        chain.extend(body);
    }
    let length = (packet.len() - 40 + chain.len()) as u16;
    [&fixed[..4], &length.to_be_bytes(), &[first.0], &fixed[7..], &chain, &packet[40..]].concat()
}

/// The body of a hop-by-hop or destination options header.
pub fn options6(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body: Vec<u8> =
        options.iter().flat_map(|(kind, data)| [&[*kind, data.len() as u8], *data].concat()).collect();
    match (body.len() + 2).next_multiple_of(8) - (body.len() + 2) {
        0 => {}
        1 => body.push(0),
        pad => {
            body.extend([1, (pad - 2) as u8]);
            body.resize(body.len() + pad - 2, 0);
        }
    }
    [&[((body.len() + 2) / 8 - 1) as u8][..], &body].concat()
}

/// The body of a routing header.
pub fn routing6(kind: u8, left: u8, addresses: &[IpAddr]) -> Vec<u8> {
    let mut out = vec![(2 * addresses.len()) as u8, kind, left, 0, 0, 0, 0];
    if kind == 4 {
        out[3] = addresses.len().saturating_sub(1) as u8;
    }
    for a in addresses {
        if let IpAddr::V6(a) = a {
            out.extend(a.octets());
        }
    }
    out
}

fn ip4(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, payload: &[u8], head: &Head) -> Vec<u8> {
    let mut options = head.options.clone();
    options.resize(options.len().next_multiple_of(4), 0);
    let size = 20 + options.len();
    let total = head.length.unwrap_or((size + payload.len()) as u16);
    let mut out = vec![0x40 | (size / 4) as u8, head.tos];
    out.extend(total.to_be_bytes());
    out.extend(head.id.to_be_bytes());
    out.extend([if head.df { 0x40 } else { 0 }, 0, head.ttl, proto, 0, 0]);
    out.extend(src.octets());
    out.extend(dst.octets());
    out.extend(options);
    let sum = checksum(&out) ^ if head.bad_sum { 0x0101 } else { 0 };
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(payload);
    out
}

fn fragments4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let header = packet.first().map_or(0, |b| usize::from(b & 15) * 4);
    let Some((head, body)) = packet.split_at_checked(header) else { return vec![packet.to_vec()] };
    let mut out = Vec::new();
    for (n, piece) in body.chunks(size).enumerate() {
        let (at, mut head) = (n * size, head.to_vec());
        let field = (at / 8) as u16 | if at + size < body.len() { 0x2000 } else { 0 };
        head[2..4].copy_from_slice(&((header + piece.len()) as u16).to_be_bytes());
        head[6..8].copy_from_slice(&field.to_be_bytes());
        head[10..12].fill(0);
        let sum = checksum(&head);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
        out.push([&head, piece].concat());
    }
    out
}

fn fragments6(packet: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    let hop = packet.get(6) == Some(&HOP);
    let keep = if hop { 48 + usize::from(packet.get(41).copied().unwrap_or(0)) * 8 } else { 40 };
    let at_kind = if hop { 40 } else { 6 };
    let Some((head, body)) = packet.split_at_checked(keep) else { return vec![packet.to_vec()] };
    let mut out = Vec::new();
    for (n, piece) in body.chunks(size).enumerate() {
        let (at, mut head) = (n * size, head.to_vec());
        let kind = std::mem::replace(&mut head[at_kind], FRAGMENT);
        head[4..6].copy_from_slice(&((keep - 40 + 8 + piece.len()) as u16).to_be_bytes());
        let field = at as u16 | u16::from(at + size < body.len());
        let [a, b] = field.to_be_bytes();
        out.push([&head, &[kind, 0, a, b][..], &id.to_be_bytes(), piece].concat());
    }
    out
}

fn ports(src: u16, dst: u16) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes()].concat()
}

/// Writes the checksum of a segment whose checksum field is zero.
fn seal(segment: &mut [u8], at: usize, src: IpAddr, dst: IpAddr, proto: u8, bad: bool) {
    let sum = checksum(&[&pseudo_header(src, dst, proto, segment.len()), &*segment].concat());
    let sum = sum ^ if bad { 0x5555 } else { 0 };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::frame::Frame;

    fn both() -> [(IpAddr, IpAddr); 2] {
        let a = |s: &str| s.parse().unwrap();
        [(a("10.0.0.1"), a("10.0.0.2")), (a("fd00::1"), a("fd00::2"))]
    }

    #[test]
    fn what_is_built_right_reads_right() {
        for (s, d) in both() {
            let head = Head { options: if s.is_ipv4() { vec![1, 1, 1] } else { vec![] }, ..Head::default() };
            let segment = Segment { flags: SYN, options: mss(1460), data: vec![1, 2, 3], ..Segment::default() };
            for packet in [
                tcp((s, 1), (d, 2), &segment, &head),
                udp((s, 1), (d, 2), b"x", Sum::Right, &head),
                echo(s, d, 1, 1, b"abc", false, &head),
                sctp((s, 1), (d, 2), 7, &[(1, 0, vec![0; 17])], false, &head),
            ] {
                let frame = ethernet([2; 6], [4; 6], &packet);
                let f = Frame::new(&frame);
                assert_eq!(f.checksums(), (s.is_ipv4().then_some(true), Some(true)), "{}", f.text());
                assert_eq!(f.ip.as_ref().unwrap().total, packet.len());
            }
        }
    }

    #[test]
    fn what_is_built_wrong_reads_wrong() {
        for (s, d) in both() {
            let wrong = ethernet([2; 6], [4; 6], &udp((s, 1), (d, 2), b"x", Sum::Wrong, &Head::default()));
            assert_eq!(Frame::new(&wrong).checksums().1, Some(false));
            let absent = ethernet([2; 6], [4; 6], &udp((s, 1), (d, 2), b"x", Sum::Absent, &Head::default()));
            assert_eq!(Frame::new(&absent).checksums().1, None);
        }
    }

    #[test]
    fn fragments_carry_everything_once() {
        for (s, d) in both() {
            let packet = udp((s, 1), (d, 2), &[7; 1000], Sum::Right, &Head::default());
            let pieces = fragments(&packet, 400, 9);
            assert_eq!(pieces.len(), 3);
            let mut total = 0;
            for (n, p) in pieces.iter().enumerate() {
                let frame = ethernet([2; 6], [4; 6], p);
                let f = Frame::new(&frame);
                let ip = f.ip.as_ref().unwrap();
                let fragment = ip.fragment.unwrap();
                assert_eq!((fragment.offset, fragment.more), (n * 400, n < 2));
                total += ip.end - ip.l4;
            }
            assert_eq!(total, 1008);
        }
    }

    #[test]
    fn extension_headers_are_walked_over() {
        let (s, d) = both()[1];
        let plain = udp((s, 1), (d, 2), b"x", Sum::Right, &Head::default());
        let headers = [(HOP, options6(&[(5, &[0, 0])])), (43, routing6(0, 0, &[d])), (60, options6(&[(1, &[0; 4])]))];
        let frame = ethernet([2; 6], [4; 6], &extended(&plain, &headers));
        let f = Frame::new(&frame);
        assert_eq!((f.ports(), f.checksums().1), (Some((1, 2)), Some(true)));
    }
}
