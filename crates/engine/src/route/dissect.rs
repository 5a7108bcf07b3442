//! What a hash of a packet is made of: addresses, protocol and ports, of the packet itself or of what a tunnel carries.
//!
//! Follows the kernel's flow dissector, its order and its omissions, because multipath routes choose by what it finds.

use hairpin_wire::gre::{Gre, PPP};
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, ethernet, ipv4, ipv6, proto};

/// How often the reading goes on behind a tunnel's, a tag's or an extension's header.
const MAX_REPEATS: usize = 15;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// At the first header of a tunnel.
    Outer,
    /// At what the innermost tunnel carries.
    Inner,
}

/// What was found before the packet ended, or was nothing known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dissected {
    /// That of the addresses.
    pub(super) family: Family,
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) protocol: u8,
    pub(super) ports: (u16, u16),
    /// The last IPv6 flow label that was not 0.
    pub(super) label: u32,
    /// Whether there was a tunnel.
    pub(super) is_tunnel: bool,
}

/// Reads the headers of a network packet.
pub(super) fn dissect(packet: &[u8], family: Family, depth: Depth) -> Dissected {
    let (src, dst) = (Addr::UNSPECIFIED, Addr::UNSPECIFIED);
    let mut found = Dissected { family, src, dst, protocol: 0, ports: (0, 0), label: 0, is_tunnel: false };
    let mut steps = Steps { packet, at: 0, depth, is_fragment: false };
    let mut next = Next::Ethertype(match family {
        Family::V4 => ethernet::IPV4,
        Family::V6 => ethernet::IPV6,
    });
    for _ in 0..=MAX_REPEATS {
        next = match next {
            Next::Ethertype(ethernet::IPV4) => steps.ipv4(&mut found),
            Next::Ethertype(ethernet::IPV6) => steps.ipv6(&mut found),
            Next::Ethertype(ethernet::VLAN | ethernet::QINQ) => steps.tag(),
            Next::Protocol => steps.protocol(&mut found),
            Next::Ethertype(_) | Next::Nothing => break,
        };
    }
    found
}

/// What is to be read next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A header of this type.
    Ethertype(u16),
    /// What the protocol found last says.
    Protocol,
    Nothing,
}

/// Where the reading is.
struct Steps<'a> {
    packet: &'a [u8],
    at: usize,
    depth: Depth,
    is_fragment: bool,
}

impl Steps<'_> {
    fn rest(&self) -> &[u8] {
        self.packet.get(self.at..).unwrap_or_default()
    }

    fn ipv4(&mut self, found: &mut Dissected) -> Next {
        let Some(header) = self.rest().first_chunk::<{ ipv4::HEADER_LEN }>() else { return Next::Nothing };
        let length = usize::from(header[0] & 15) * 4;
        if length < ipv4::HEADER_LEN {
            return Next::Nothing;
        }
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
        found.family = Family::V4;
        found.src = Addr::read(Family::V4, &header[12..16]);
        found.dst = Addr::read(Family::V4, &header[16..20]);
        found.protocol = header[9];
        self.at += length;
        if fragment == 0 { self.protocol(found) } else { Next::Nothing }
    }

    fn ipv6(&mut self, found: &mut Dissected) -> Next {
        let Some(ip) = Ipv6::new(self.rest()) else { return Next::Nothing };
        found.family = Family::V6;
        (found.src, found.dst, found.protocol) = (ip.src(), ip.dst(), ip.next_header());
        if ip.flow_label() != 0 {
            found.label = ip.flow_label();
        }
        self.at += ipv6::HEADER_LEN;
        self.protocol(found)
    }

    fn tag(&mut self) -> Next {
        let Some(&[_, _, high, low]) = self.rest().first_chunk::<4>() else { return Next::Nothing };
        self.at += 4;
        Next::Ethertype(u16::from_be_bytes([high, low]))
    }

    fn protocol(&mut self, found: &mut Dissected) -> Next {
        match (found.protocol, found.family) {
            (proto::GRE, _) => self.gre(found),
            (proto::IPIP, _) => self.tunnel(found, ethernet::IPV4),
            (proto::IPV6, _) => self.tunnel(found, ethernet::IPV6),
            (proto::HOPOPTS | proto::ROUTING | proto::DSTOPTS, Family::V6) => {
                let Some(&[next, words]) = self.rest().first_chunk::<2>() else { return Next::Nothing };
                found.protocol = next;
                self.at += (usize::from(words) + 1) * 8;
                Next::Protocol
            }
            (proto::FRAGMENT, Family::V6) => {
                if let Some(header) = self.rest().first_chunk::<8>() {
                    found.protocol = header[0];
                    self.is_fragment = true;
                }
                Next::Nothing
            }
            _ => {
                found.ports = self.ports(found.protocol);
                Next::Nothing
            }
        }
    }

    fn tunnel(&self, found: &mut Dissected, carried: u16) -> Next {
        found.is_tunnel = true;
        if self.depth == Depth::Outer { Next::Nothing } else { Next::Ethertype(carried) }
    }

    /// What GRE of version 0 carries, an Ethernet frame among it, and IP within the PPP of PPTP.
    fn gre(&mut self, found: &mut Dissected) -> Next {
        const ROUTING: u16 = 0x4000;
        const BRIDGED: u16 = 0x6558;
        const PPP_IP: u16 = 0x21;
        const PPP_IPV6: u16 = 0x57;
        let Some(header) = Gre::new(self.rest()) else { return Next::Nothing };
        let (version, mut carried, mut length) = (header.version(), header.protocol(), header.header_len());
        let is_known = match version {
            0 => true,
            1 => carried == PPP && header.has_key(),
            _ => false,
        };
        if header.flags() & ROUTING != 0 || !is_known || header.has_key() && header.key().is_none() {
            return Next::Nothing;
        }
        if version == 1 {
            let Some(&[_, _, high, low]) = header.payload().first_chunk() else { return Next::Nothing };
            carried = match u16::from_be_bytes([high, low]) {
                PPP_IP => ethernet::IPV4,
                PPP_IPV6 => ethernet::IPV6,
                _ => carried,
            };
            length += 4;
        } else if carried == BRIDGED {
            let Some(frame) = header.payload().first_chunk::<{ ethernet::HEADER_LEN }>() else { return Next::Nothing };
            carried = u16::from_be_bytes([frame[12], frame[13]]);
            length += ethernet::HEADER_LEN;
        }
        self.at += length;
        self.tunnel(found, carried)
    }

    /// Ports, or the parameter index of AH and ESP; nothing behind a fragment's header.
    fn ports(&self, protocol: u8) -> (u16, u16) {
        let skip = match protocol {
            proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP | proto::DCCP | proto::ESP => 0,
            proto::AH => 4,
            _ => return (0, 0),
        };
        match self.rest().get(skip..) {
            Some(&[a, b, c, d, ..]) if !self.is_fragment => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{v4, v6};
    use hairpin_wire::build::{Ipv4, Ipv6, Udp};
    use proptest::prelude::*;

    fn udp(family: Family) -> Vec<u8> {
        let (src, dst) = match family {
            Family::V4 => (v4("10.0.0.1"), v4("10.0.0.2")),
            Family::V6 => (v6("fd00::1"), v6("fd00::2")),
        };
        Udp { src_port: 5, dst_port: 6, payload: b"x" }.packet(family, src, dst)
    }

    fn in_four(protocol: u8, payload: &[u8]) -> Vec<u8> {
        Ipv4 { src: v4("192.0.2.1"), dst: v4("192.0.2.2"), protocol, payload, ..Ipv4::default() }.to_vec()
    }

    fn both(packet: &[u8]) -> (Dissected, Dissected) {
        let family = if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
        (dissect(packet, family, Depth::Outer), dissect(packet, family, Depth::Inner))
    }

    #[test]
    fn without_a_tunnel_both_are_the_same() {
        for family in [Family::V4, Family::V6] {
            let (outer, inner) = both(&udp(family));
            assert_eq!((outer, outer.protocol, outer.ports, outer.is_tunnel), (inner, proto::UDP, (5, 6), false));
        }
    }

    #[test]
    fn tunnels() {
        let gre = |head: &[u8], payload: &[u8]| in_four(proto::GRE, &[head, payload].concat());
        let four = udp(Family::V4);
        let framed = [&[2; 12][..], &[8, 0], &four].concat();
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 5, 8, 0], &four].concat();
        for packet in [
            in_four(proto::IPIP, &four),
            in_four(proto::IPIP, &in_four(proto::IPIP, &four)),
            gre(&[0, 0, 8, 0], &four),
            gre(&[0xb0, 0, 8, 0, 1, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1], &four),
            gre(&[0, 0, 0x65, 0x58], &framed),
            gre(&[0, 0, 0x65, 0x58], &tagged),
            gre(&[0x30, 0x81, 0x88, 0x0b, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21], &four),
        ] {
            let (outer, inner) = both(&packet);
            assert!(outer.is_tunnel && inner.is_tunnel, "{packet:02x?}");
            assert_eq!((outer.src, outer.ports), (v4("192.0.2.1"), (0, 0)));
            assert_eq!((inner.src, inner.protocol, inner.ports), (v4("10.0.0.1"), proto::UDP, (5, 6)));
        }
        let (_, inner) = both(&in_four(proto::IPV6, &udp(Family::V6)));
        assert_eq!((inner.family, inner.src, inner.ports), (Family::V6, v6("fd00::1"), (5, 6)));
    }

    #[test]
    fn what_is_not_looked_into() {
        let four = udp(Family::V4);
        // Source routes, an unknown version, version 1 without a key, and what does not fit.
        for (head, is_tunnel) in
            [([0x40, 0, 8, 0], false), ([0, 2, 8, 0], false), ([0, 1, 0x88, 0x0b], false), ([0, 0, 8, 1], true)]
        {
            let (_, inner) = both(&in_four(proto::GRE, &[&head[..], &four].concat()));
            assert_eq!((inner.src, inner.ports, inner.is_tunnel), (v4("192.0.2.1"), (0, 0), is_tunnel), "{head:02x?}");
        }
        let (_, inner) = both(&in_four(proto::IPIP, &four[..19]));
        assert_eq!((inner.src, inner.protocol, inner.is_tunnel), (v4("192.0.2.1"), proto::IPIP, true));
        let mut deep = four;
        for _ in 0..30 {
            deep = in_four(proto::IPIP, &deep);
        }
        assert_eq!(both(&deep).1.protocol, proto::IPIP);
    }

    #[test]
    fn extensions_fragments_and_labels() {
        let inside = udp(Family::V6);
        let outer = |next_header, payload: &[u8], flow_label| {
            let (src, dst) = (v6("fd00::8"), v6("fd00::9"));
            Ipv6 { src, dst, next_header, payload, flow_label, ..Ipv6::default() }.to_vec()
        };
        let hop = |next: u8| [&[next, 0, 1, 4, 0, 0, 0, 0][..], &inside[40..]].concat();
        let found = both(&outer(proto::HOPOPTS, &hop(proto::UDP), 7)).1;
        assert_eq!((found.protocol, found.ports, found.label), (proto::UDP, (5, 6), 7));
        let found = both(&outer(proto::FRAGMENT, &hop(proto::UDP), 7)).1;
        assert_eq!((found.protocol, found.ports), (proto::UDP, (0, 0)));
        // The label of the outer header stays where the inner one has none.
        let found = both(&outer(proto::IPV6, &inside, 7)).1;
        assert_eq!((found.src, found.label), (v6("fd00::1"), 7));
        let mut cut = in_four(proto::UDP, &inside[40..]);
        cut[6] = 0x20;
        assert_eq!(both(&cut).0.ports, (0, 0));
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), protocol in 0usize..8) {
            let protocols = [proto::GRE, proto::IPIP, proto::IPV6, proto::HOPOPTS, proto::FRAGMENT, proto::AH, proto::UDP, 255];
            if let Some(byte) = bytes.get_mut(9) {
                *byte = protocols[protocol];
            }
            for family in [Family::V4, Family::V6] {
                dissect(&bytes, family, Depth::Inner);
            }
        }
    }
}
