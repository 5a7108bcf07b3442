//! The key of a connection's direction: what it is made of, for every protocol, and how it is turned round.

use crate::packet::Packet;
use crate::track::Direction;
use hairpin_wire::gre::Gre;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, gre, proto};

/// What identifies one direction of a connection.
///
/// `src_id` and `dst_id` are overloaded as in the kernel: ports for TCP, UDP, UDP-Lite and SCTP; for ICMP the source part is the
/// id and the destination part is type (high byte) and code; for GRE the keys; otherwise 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, ICMP id, or GRE key.
    pub src_id: u16,
    /// Destination port, ICMP type and code, or GRE key.
    pub dst_id: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// IPv4 or IPv6.
    pub family: Family,
}

/// A zone number (`-j CT --zone`): connections of different zones do not know of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// Zone id of the original direction.
    pub original: u16,
    /// Zone id of the reply direction.
    pub reply: u16,
}

impl Zone {
    /// The same zone in both directions.
    pub const fn both(id: u16) -> Zone {
        Zone { original: id, reply: id }
    }

    /// The zone id of a direction.
    pub const fn of(self, direction: Direction) -> u16 {
        match direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// The zone's number whichever direction it is for (`nf_conntrack_zone.id`): expectations compare by it.
    pub const fn id(self) -> u16 {
        if self.original != 0 { self.original } else { self.reply }
    }
}

impl Tuple {
    /// The tuple of a packet; None when it is a later fragment, its headers cannot be walked, its transport header is cut short,
    /// or its protocol makes no tuple of it (GRE version 1 with another payload than PPP).
    #[inline]
    pub fn of_packet(packet: &Packet) -> Option<Tuple> {
        let head = packet.head();
        if head.broken || head.fragment_offset != 0 || is_nothing(head.family, head.protocol) {
            return None;
        }
        let (src_id, dst_id) = ids(head.protocol, packet.l4())?;
        Some(Tuple { src: head.src, dst: head.dst, src_id, dst_id, protocol: head.protocol, family: head.family })
    }

    /// The tuple of a packet quoted in an ICMP error, which may be cut short anywhere, and the offset of its transport header.
    ///
    /// As the kernel, this trusts the header length of a quoted IPv4 header and looks at nothing else in it.
    pub fn of_bytes(family: Family, ip: &[u8]) -> Option<(Tuple, usize)> {
        let (protocol, l4) = match family {
            Family::V4 => {
                let fixed = ip.first_chunk::<20>()?;
                if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0 {
                    return None;
                }
                (fixed[9], usize::from(fixed[0] & 0x0f) * 4)
            }
            Family::V6 => {
                let found = Ipv6::new(ip)?.transport().ok()?;
                if found.is_later_fragment() || is_nothing(family, found.protocol) {
                    return None;
                }
                (found.protocol, found.offset)
            }
        };
        let (src_at, dst_at) = match family {
            Family::V4 => (12, 16),
            Family::V6 => (8, 24),
        };
        let (src_id, dst_id) = ids(protocol, ip.get(l4..)?)?;
        let src = Addr::read(family, ip.get(src_at..)?);
        let dst = Addr::read(family, ip.get(dst_at..)?);
        Some((Tuple { src, dst, src_id, dst_id, protocol, family }, l4))
    }

    /// The tuple of an answer; None for ICMP types that have no answer.
    #[inline]
    pub fn invert(&self) -> Option<Tuple> {
        let (src_id, dst_id) = match self.protocol {
            proto::ICMP => (self.src_id, invert_icmp(self.dst_id, icmp4_answer)?),
            proto::ICMPV6 => (self.src_id, invert_icmp(self.dst_id, icmp6_answer)?),
            _ => (self.dst_id, self.src_id),
        };
        Some(Tuple { src: self.dst, dst: self.src, src_id, dst_id, ..*self })
    }

    /// Whether it has ports (TCP, UDP, UDP-Lite, SCTP).
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP)
    }

    /// Whether it is of ICMP or ICMPv6, and thus has id, type and code.
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, proto::ICMP | proto::ICMPV6)
    }

    /// ICMP type and code.
    pub const fn icmp_type_code(&self) -> (u8, u8) {
        ((self.dst_id >> 8) as u8, self.dst_id as u8)
    }
}

/// IPv6's "no next header" has no tuple; in IPv4 the number is one like any other.
fn is_nothing(family: Family, protocol: u8) -> bool {
    family == Family::V6 && protocol == proto::NONE
}

/// The two ids of a tuple from the transport header.
#[inline]
fn ids(protocol: u8, l4: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => {
            let [a, b, c, d] = *l4.first_chunk()?;
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        proto::ICMP | proto::ICMPV6 => {
            let [kind, code, _, _, id_high, id_low, _, _] = *l4.first_chunk()?;
            Some((u16::from_be_bytes([id_high, id_low]), u16::from_be_bytes([kind, code])))
        }
        proto::GRE => gre_ids(l4),
        _ => Some((0, 0)),
    }
}

/// Version 1 with PPP inside (PPTP) has a call id; the peer's, which would be the source part, is known only to a PPTP helper and
/// stays 0. Other versions are told apart by their addresses alone.
#[inline(never)]
fn gre_ids(l4: &[u8]) -> Option<(u16, u16)> {
    const NO_KEYS: Option<(u16, u16)> = Some((0, 0));
    let Some(header) = Gre::new(l4).filter(|header| header.version() == 1) else { return NO_KEYS };
    let Some(&[.., call_high, call_low]) = l4.first_chunk::<8>() else { return NO_KEYS };
    (header.protocol() == gre::PPP).then_some((0, u16::from_be_bytes([call_high, call_low])))
}

fn invert_icmp(type_code: u16, answer: fn(u8) -> Option<u8>) -> Option<u16> {
    let [kind, code] = type_code.to_be_bytes();
    Some(u16::from_be_bytes([answer(kind)?, code]))
}

/// Question and answer: echo, timestamp, information, address mask.
fn icmp4_answer(kind: u8) -> Option<u8> {
    match kind {
        8 => Some(0),
        0 => Some(8),
        13 | 15 | 17 => Some(kind + 1),
        14 | 16 | 18 => Some(kind - 1),
        _ => None,
    }
}

/// Question and answer: echo, node information.
fn icmp6_answer(kind: u8) -> Option<u8> {
    match kind {
        128 | 139 => Some(kind + 1),
        129 | 140 => Some(kind - 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_wire::build;
    use proptest::prelude::*;

    fn tuple(protocol: u8, src_id: u16, dst_id: u16) -> Tuple {
        Tuple { src: Addr::v4(1), dst: Addr::v4(2), src_id, dst_id, protocol, family: Family::V4 }
    }

    fn of(protocol: u8, l4: &[u8]) -> Option<Tuple> {
        Tuple::of_packet(&Packet::from_ip(&build::ip(Family::V4, Addr::v4(1), Addr::v4(2), protocol, l4)).unwrap())
    }

    #[test]
    fn ids_by_protocol() {
        const BYTES: [u8; 8] = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08];
        for protocol in [proto::TCP, proto::UDP, proto::UDPLITE, proto::SCTP] {
            assert_eq!(of(protocol, &BYTES), Some(tuple(protocol, 0x0102, 0x0304)));
            assert_eq!(of(protocol, &BYTES[..4]), Some(tuple(protocol, 0x0102, 0x0304)));
            assert_eq!(of(protocol, &BYTES[..3]), None);
        }
        for protocol in [proto::ICMP, proto::ICMPV6] {
            assert_eq!(of(protocol, &BYTES), Some(tuple(protocol, 0x0506, 0x0102)));
            assert_eq!(of(protocol, &BYTES[..7]), None);
        }
        for protocol in [proto::DCCP, proto::ESP, proto::IPIP, proto::NONE] {
            assert_eq!(of(protocol, &BYTES), Some(tuple(protocol, 0, 0)));
            assert_eq!(of(protocol, &[]), Some(tuple(protocol, 0, 0)));
        }
    }

    #[test]
    fn answers() {
        assert_eq!(tuple(proto::UDP, 5, 53).invert().map(|t| (t.src_id, t.dst_id)), Some((53, 5)));
        let icmp = |protocol, kind: u8| {
            let answer = tuple(protocol, 7, u16::from_be_bytes([kind, 3])).invert()?;
            assert_eq!((answer.src, answer.dst, answer.src_id), (Addr::v4(2), Addr::v4(1), 7));
            assert_eq!(answer.icmp_type_code().1, 3);
            Some(answer.icmp_type_code().0)
        };
        for kind in 0..=255 {
            let expected = match kind {
                8 => Some(0),
                0 => Some(8),
                13 | 15 | 17 => Some(kind + 1),
                14 | 16 | 18 => Some(kind - 1),
                _ => None,
            };
            assert_eq!(icmp(proto::ICMP, kind), expected, "{kind}");
            let expected6 = [(128, 129), (129, 128), (139, 140), (140, 139)].into_iter().find(|(k, _)| *k == kind);
            assert_eq!(icmp(proto::ICMPV6, kind), expected6.map(|(_, answer)| answer), "{kind}");
        }
    }

    #[test]
    fn quotes_are_read_by_their_own_header_length() {
        let datagram = [0, 1, 0, 2];
        let quoted = build::Ipv4 {
            src: Addr::v4(1),
            dst: Addr::v4(2),
            protocol: proto::UDP,
            options: &[1; 4],
            payload: &datagram,
            ..Default::default()
        };
        assert_eq!(Tuple::of_bytes(Family::V4, &quoted.to_vec()), Some((tuple(proto::UDP, 1, 2), 24)));
        let extension = [&[proto::UDP, 0, 0, 0, 0, 0, 0, 0][..], &datagram].concat();
        let quoted = build::Ipv6 { next_header: proto::DSTOPTS, payload: &extension, ..Default::default() }.to_vec();
        let (found, offset) = Tuple::of_bytes(Family::V6, &quoted).unwrap();
        assert_eq!((found.src_id, found.dst_id, found.protocol, offset), (1, 2, proto::UDP, 48));
        assert_eq!(Tuple::of_bytes(Family::V6, &quoted[..51]), None);
    }

    proptest! {
        #[test]
        fn inverting_twice_is_nothing(protocol in any::<u8>(), src_id in any::<u16>(), dst_id in any::<u16>()) {
            let tuple = tuple(protocol, src_id, dst_id);
            if let Some(answer) = tuple.invert() {
                prop_assert_eq!(answer.invert(), Some(tuple));
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            for family in [Family::V4, Family::V6] {
                let _ = Tuple::of_bytes(family, &bytes);
            }
            if let Ok(packet) = Packet::from_ip(&bytes) {
                let found = Tuple::of_packet(&packet);
                let quoted = Tuple::of_bytes(packet.family(), packet.ip()).map(|(tuple, _)| tuple);
                prop_assert_eq!(found, quoted, "a packet and its quote are the same");
            }
        }
    }
}
