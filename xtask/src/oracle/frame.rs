//! A loose view of an Ethernet frame: enough to describe it, to check its checksums, and to find the fields the kernel
//! may choose at random.
//!
//! It shares no code with the engine on purpose: a judge that read frames with the eyes of the judged would share its
//! errors. Nothing here panics, whatever the bytes are.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const DCCP: u8 = 33;
pub const GRE: u8 = 47;
pub const ESP: u8 = 50;
pub const ICMP6: u8 = 58;
pub const SCTP: u8 = 132;
pub const UDPLITE: u8 = 136;

/// IPv6 extension headers that are walked over to find the transport header.
pub const HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AH: u8 = 51;
pub const DEST: u8 = 60;

/// Length of an Ethernet header.
pub const ETH: usize = 14;

/// What could be read of a frame. Offsets count from the start of the frame.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    pub data: &'a [u8],
    pub ethertype: Option<u16>,
    pub ip: Option<Ip>,
}

/// The network layer of a frame.
#[derive(Debug, Clone)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Protocol, behind all extension headers.
    pub proto: u8,
    pub ttl: u8,
    /// Length of the packet as its header states it.
    pub total: usize,
    /// Where the transport header starts.
    pub l4: usize,
    /// Where the packet ends as its header states it; may lie behind the end of the frame.
    pub end: usize,
    pub fragment: Option<Fragment>,
    /// IPv6 flow label.
    pub flow: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub struct Fragment {
    pub offset: usize,
    pub more: bool,
    /// Where the IPv6 fragment header starts.
    pub header: Option<usize>,
}

impl Ip {
    pub fn later_fragment(&self) -> bool {
        self.fragment.is_some_and(|f| f.offset > 0)
    }

    pub fn is_v6(&self) -> bool {
        self.src.is_ipv6()
    }
}

impl<'a> Frame<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let ethertype = be16(data, 12);
        let ip = match ethertype {
            Some(0x0800) => read_v4(data),
            Some(0x86dd) => read_v6(data),
            _ => None,
        };
        Self { data, ethertype, ip }
    }

    /// Source and destination port, where the protocol has them and the packet shows them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let ip = self.first()?;
        matches!(ip.proto, TCP | UDP | SCTP | DCCP | UDPLITE).then_some(())?;
        Some((be16(self.data, ip.l4)?, be16(self.data, ip.l4 + 2)?))
    }

    /// TCP flags in the usual letters (F S R P A U E C).
    pub fn tcp_flags(&self) -> Option<String> {
        let bits = self.tcp_bits()?;
        Some("FSRPAUEC".chars().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, c)| c).collect())
    }

    pub fn tcp_bits(&self) -> Option<u8> {
        let ip = self.first()?;
        if ip.proto != TCP {
            return None;
        }
        self.data.get(ip.l4 + 13).copied()
    }

    /// ICMP or ICMPv6 type and code.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        let ip = self.first()?;
        matches!(ip.proto, ICMP | ICMP6).then_some(())?;
        Some((*self.data.get(ip.l4)?, *self.data.get(ip.l4 + 1)?))
    }

    /// The IPv6 flow label.
    pub fn flow(&self) -> Option<u32> {
        self.ip.as_ref()?.flow
    }

    /// Whether the IPv4 header checksum and the transport checksum are right; `None` where there is none to check.
    pub fn checksums(&self) -> (Option<bool>, Option<bool>) {
        let Some(ip) = &self.ip else { return (None, None) };
        let head = (!ip.is_v6()).then(|| self.data.get(ETH..ip.l4).is_some_and(|h| checksum(h) == 0));
        let body = if ip.fragment.is_some() { None } else { self.data.get(ip.l4..ip.end) };
        let whole = |seg: &[u8]| checksum(&[&pseudo(ip, seg.len()), seg].concat()) == 0;
        let l4 = body.and_then(|seg| match ip.proto {
            TCP if seg.len() >= 20 => Some(whole(seg)),
            ICMP6 => Some(whole(seg)),
            UDP if seg.len() >= 8 && seg[6..8] != [0, 0] => Some(whole(seg)),
            ICMP if seg.len() >= 8 => Some(checksum(seg) == 0),
            SCTP if seg.len() >= 12 => {
                let zeroed = [&seg[..8], &[0; 4], &seg[12..]].concat();
                Some(crc32c(&zeroed).to_le_bytes() == seg[8..12])
            }
            _ => None,
        });
        (head, l4)
    }

    /// The fields that the kernel may choose at random, by the names that `volatile.json` knows them by.
    pub fn random_fields(&self) -> Vec<(&'static str, Range<usize>)> {
        let mut out = Vec::new();
        let Some(ip) = &self.ip else { return out };
        if !ip.is_v6() {
            out.push(("ip.id", 18..20));
            out.extend(timestamps(self.data, ip.l4).map(|span| ("ip.timestamp", span)));
        }
        if let Some(at) = ip.fragment.and_then(|f| f.header) {
            out.push(("frag.id", at + 4..at + 8));
        }
        if !ip.later_fragment() {
            if matches!(ip.proto, TCP | UDP | SCTP | DCCP | UDPLITE) {
                out.push(("sport", ip.l4..ip.l4 + 2));
                out.push(("dport", ip.l4 + 2..ip.l4 + 4));
            }
            if matches!(self.icmp(), Some((0 | 8 | 128 | 129, _))) {
                out.push(("icmp.id", ip.l4 + 4..ip.l4 + 6));
            }
        }
        out
    }

    /// The checksums, which follow whatever else differs.
    pub fn checksum_fields(&self) -> Vec<(&'static str, Range<usize>)> {
        let mut out = Vec::new();
        let Some(ip) = &self.ip else { return out };
        if !ip.is_v6() {
            out.push(("ip.checksum", 24..26));
        }
        let at = match ip.proto {
            TCP => 16..18,
            UDP | UDPLITE | DCCP => 6..8,
            ICMP | ICMP6 => 2..4,
            SCTP => 8..12,
            _ => return out,
        };
        if !ip.later_fragment() {
            out.push(("l4.checksum", ip.l4 + at.start..ip.l4 + at.end));
        }
        out
    }

    /// One line for a reader.
    pub fn text(&self) -> String {
        let Some(ip) = &self.ip else {
            return match self.ethertype {
                Some(kind) => format!("ethertype {kind:#06x}, {} bytes", self.data.len()),
                None => format!("short frame, {} bytes", self.data.len()),
            };
        };
        let name = match ip.proto {
            ICMP => "ICMP".into(),
            TCP => "TCP".into(),
            UDP => "UDP".into(),
            GRE => "GRE".into(),
            ICMP6 => "ICMPv6".into(),
            SCTP => "SCTP".into(),
            DCCP => "DCCP".into(),
            UDPLITE => "UDPLITE".into(),
            other => format!("proto {other}"),
        };
        let (src, dst) = match (self.ports(), ip.is_v6()) {
            (Some((s, d)), false) => (format!("{}:{s}", ip.src), format!("{}:{d}", ip.dst)),
            (Some((s, d)), true) => (format!("[{}]:{s}", ip.src), format!("[{}]:{d}", ip.dst)),
            (None, _) => (ip.src.to_string(), ip.dst.to_string()),
        };
        let mut out = format!("{name} {src} > {dst} ttl={} len={}", ip.ttl, ip.total);
        if !ip.is_v6() {
            let _ = write!(out, " tos={:#04x} id={}", self.data[15], be16(self.data, 18).unwrap_or(0));
            if self.data[20] & 0x40 != 0 {
                out.push_str(" DF");
            }
        }
        if let Some(f) = ip.fragment {
            let _ = write!(out, " fragment at {}{}", f.offset, if f.more { ", more" } else { "" });
        }
        if let (Some(flags), Some(seq), Some(ack)) =
            (self.tcp_flags(), be32(self.data, ip.l4 + 4), be32(self.data, ip.l4 + 8))
        {
            let _ = write!(out, " [{flags}] seq={seq} ack={ack}");
        }
        if let Some((kind, code)) = self.icmp() {
            let _ = write!(out, " type={kind} code={code}");
        }
        if let (head, l4) = self.checksums()
            && (head == Some(false) || l4 == Some(false))
        {
            let which = if head == Some(false) { "header" } else { "transport" };
            let _ = write!(out, " ({which} checksum wrong)");
        }
        out
    }

    /// The network layer of a packet whose transport header is in this frame.
    fn first(&self) -> Option<&Ip> {
        self.ip.as_ref().filter(|ip| !ip.later_fragment())
    }
}

/// The Internet checksum (RFC 1071) of `data`; 0 over data that carries a right one.
pub fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of SCTP (RFC 9260, appendix A).
pub fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 })
    })
}

/// The pseudo header that TCP, UDP and ICMPv6 include in their checksum.
pub fn pseudo_header(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let len = (len as u16).to_be_bytes();
            [&s.octets()[..], &d.octets(), &[0, proto], &len].concat()
        }
        (s, d) => {
            let octets = |a: IpAddr| match a {
                IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                IpAddr::V6(a) => a.octets(),
            };
            [&octets(s)[..], &octets(d), &(len as u32).to_be_bytes(), &[0, 0, 0, proto]].concat()
        }
    }
}

pub fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

pub fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// Bytes as rows of hexadecimal, 16 a row, each with its offset; at most `rows` of them.
pub fn hex(data: &[u8], rows: usize) -> String {
    let mut out = String::new();
    for (n, row) in data.chunks(16).take(rows).enumerate() {
        let _ = write!(out, "{:04x} ", n * 16);
        for (k, byte) in row.iter().enumerate() {
            let _ = write!(out, "{}{byte:02x}", if k % 2 == 0 { " " } else { "" });
        }
        out.push('\n');
    }
    if data.len() > rows * 16 {
        let _ = writeln!(out, "...   ({} bytes in all)", data.len());
    }
    out
}

/// Where a timestamp option of IPv4 keeps its times: the router writes the time of day there.
fn timestamps(data: &[u8], end: usize) -> Option<Range<usize>> {
    let mut at = ETH + 20;
    while at < end {
        at += match *data.get(at)? {
            0 => return None,
            1 => 1,
            68 => return Some(at + 4..(at + usize::from(*data.get(at + 1)?)).max(at + 4).min(end)),
            _ => usize::from(*data.get(at + 1)?).max(2),
        };
    }
    None
}

fn pseudo(ip: &Ip, len: usize) -> Vec<u8> {
    pseudo_header(ip.src, ip.dst, ip.proto, len)
}

fn read_v4(data: &[u8]) -> Option<Ip> {
    let head = data.get(ETH..ETH + 20)?;
    let total = usize::from(be16(head, 2)?);
    let field = be16(head, 6)?;
    let (more, offset) = (field & 0x2000 != 0, usize::from(field & 0x1fff) * 8);
    Some(Ip {
        src: Ipv4Addr::from(be32(head, 12)?).into(),
        dst: Ipv4Addr::from(be32(head, 16)?).into(),
        proto: head[9],
        ttl: head[8],
        total,
        l4: ETH + usize::from(head[0] & 15) * 4,
        end: ETH + total,
        fragment: (more || offset > 0).then_some(Fragment { offset, more, header: None }),
        flow: None,
    })
}

fn read_v6(data: &[u8]) -> Option<Ip> {
    let head = data.get(ETH..ETH + 40)?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = head.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    let total = 40 + usize::from(be16(head, 4)?);
    let mut ip = Ip {
        src: address(8)?,
        dst: address(24)?,
        proto: head[6],
        ttl: head[7],
        total,
        l4: ETH + 40,
        end: ETH + total,
        fragment: None,
        flow: Some(be32(head, 0)? & 0xf_ffff),
    };
    while matches!(ip.proto, HOP | ROUTING | FRAGMENT | AH | DEST) && !ip.later_fragment() {
        let Some(ext) = data.get(ip.l4..ip.l4 + 8) else { break };
        let size = match ip.proto {
            FRAGMENT => {
                let field = be16(ext, 2)?;
                let header = ip.fragment.and_then(|f| f.header).or(Some(ip.l4));
                ip.fragment = Some(Fragment { offset: usize::from(field & 0xfff8), more: field & 1 == 1, header });
                8
            }
            AH => 8 + usize::from(ext[1]) * 4,
            _ => 8 + usize::from(ext[1]) * 8,
        };
        ip.proto = ext[0];
        ip.l4 += size;
    }
    Some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP 10.0.0.1:1000 > 10.0.0.2:53 "hi", with right checksums.
    const UDP_FRAME: &[u8] = &[
        2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 2, 1, 8, 0, 0x45, 0, 0, 30, 0, 1, 0, 0, 64, 17, 0x66, 0xcc, 10, 0, 0, 1, 10, 0,
        0, 2, 0x03, 0xe8, 0, 53, 0, 10, 0x7f, 0x51, 104, 105,
    ];

    #[test]
    fn reads_a_frame() {
        let f = Frame::new(UDP_FRAME);
        assert_eq!(f.checksums(), (Some(true), Some(true)));
        assert_eq!(f.ports(), Some((1000, 53)));
        assert_eq!(f.text(), "UDP 10.0.0.1:1000 > 10.0.0.2:53 ttl=64 len=30 tos=0x00 id=1");
    }

    #[test]
    fn a_wrong_checksum_is_seen() {
        let mut data = UDP_FRAME.to_vec();
        data[43] ^= 1;
        assert_eq!(Frame::new(&data).checksums(), (Some(true), Some(false)));
        data[22] ^= 1;
        assert_eq!(Frame::new(&data).checksums(), (Some(false), Some(false)));
    }

    #[test]
    fn crc32c_of_the_well_known_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn no_prefix_of_a_frame_panics() {
        for kind in [0x0800u16, 0x86dd] {
            for first in 0..=255u8 {
                let mut data = UDP_FRAME.to_vec();
                data[12..14].copy_from_slice(&kind.to_be_bytes());
                data[14] = first;
                data[20] = first;
                for n in 0..data.len() {
                    let f = Frame::new(&data[..n]);
                    let _ = (f.text(), f.checksums(), f.random_fields(), f.checksum_fields(), hex(f.data, 2));
                }
            }
        }
    }
}
