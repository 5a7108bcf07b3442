//! What a host looks at before PREROUTING: the frame, and the IP header.

use super::IcmpError;
use super::options6::{self, OptionsHeader};
use crate::fate::DropReason;
use crate::net::{IfIndex, Interface, LinkKind, Net};
use crate::packet::{LinkType, NotAPacket, Packet};
use hairpin_wire::ethernet::{self, Ethernet};
use hairpin_wire::ipv4::{self, Ipv4};
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::{Addr, Family, Mac, checksum, proto};

/// The outcome of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// On to PREROUTING.
    Good,
    /// Gone, silently.
    Drop(DropReason),
    /// Gone, and the sender is to be told (IPv6 options): [`super::reply::icmp_error`].
    Problem(IcmpError),
}

/// Takes a frame that arrived by the device `iif` into `packet` (whose buffer is reused) and checks it as far as PREROUTING.
/// Device and link type are noted in the packet's `meta`. A device without link headers gives bare IP packets.
pub fn frame(packet: &mut Packet, frame: &[u8], iif: IfIndex, net: &Net) -> Reception {
    let Some(device) = net.interface(iif).filter(|device| device.up) else {
        return Reception::Drop(DropReason::NoDevice);
    };
    let loaded = match device.kind {
        LinkKind::Bare => packet.load_ip(frame),
        LinkKind::Ethernet | LinkKind::Loopback => {
            // Room for the link header and a VLAN tag beside the MTU, no more.
            if frame.len() > device.mtu as usize + ethernet::HEADER_LEN + ethernet::VLAN_LEN {
                return Reception::Drop(DropReason::BadFrame);
            }
            let Some(header) = Ethernet::new(frame) else { return Reception::Drop(DropReason::BadFrame) };
            if link_type(header.dst(), device.mac) == LinkType::OtherHost {
                return Reception::Drop(DropReason::OtherHost);
            }
            packet.load_frame(frame)
        }
    };
    match loaded {
        Ok(()) => check(packet, iif, net),
        Err(NotAPacket::Short | NotAPacket::BadHeader) => Reception::Drop(DropReason::BadHeader),
        Err(NotAPacket::NotIp) => Reception::Drop(DropReason::NotIp),
        Err(NotAPacket::OtherVlan) => Reception::Drop(DropReason::OtherHost),
        Err(NotAPacket::Truncated) => Reception::Drop(DropReason::Truncated),
    }
}

/// The checks of a packet that is loaded already, as [`frame`] does them, but for the frame's length and type.
pub fn check(packet: &mut Packet, iif: IfIndex, net: &Net) -> Reception {
    let Some(device) = net.interface(iif).filter(|device| device.up) else {
        return Reception::Drop(DropReason::NoDevice);
    };
    packet.meta.iif = Some(iif);
    let header = packet.link_header().first_chunk::<{ ethernet::HEADER_LEN }>();
    let ethertype = header.map(|header| u16::from_be_bytes([header[12], header[13]]));
    let link_type =
        header.map_or(LinkType::Host, |&[a, b, c, d, e, f, ..]| link_type(Mac([a, b, c, d, e, f]), device.mac));
    packet.meta.link_type = link_type;
    if packet.meta.link_type == LinkType::OtherHost {
        return Reception::Drop(DropReason::OtherHost);
    }
    let expected = match packet.family() {
        Family::V4 => ethernet::IPV4,
        Family::V6 => ethernet::IPV6,
    };
    if ethertype.is_some_and(|ethertype| ethertype != expected) {
        return Reception::Drop(DropReason::BadHeader);
    }
    match packet.family() {
        Family::V4 => check_v4(packet),
        Family::V6 => check_v6(packet, device, net),
    }
}

/// To whom a frame is addressed on its link.
pub fn link_type(dst: Mac, own: Mac) -> LinkType {
    if dst == own {
        LinkType::Host
    } else if dst.is_broadcast() {
        LinkType::Broadcast
    } else if dst.is_multicast() {
        LinkType::Multicast
    } else {
        LinkType::OtherHost
    }
}

/// Version and lengths were checked when the bytes were taken in. Addresses, TTL, options and the reserved flag are not looked
/// at here.
fn check_v4(packet: &Packet) -> Reception {
    // The usual length, which the compiler then knows.
    if let Some(header) = packet.ip().first_chunk::<{ ipv4::HEADER_LEN }>()
        && packet.head().l4 == ipv4::HEADER_LEN
    {
        let right = checksum::checksum(header) == 0;
        return if right { Reception::Good } else { Reception::Drop(DropReason::BadHeaderChecksum) };
    }
    match Ipv4::new(packet.ip()) {
        Some(ip) if ip.checksum_ok() => Reception::Good,
        Some(_) => Reception::Drop(DropReason::BadHeaderChecksum),
        None => Reception::Drop(DropReason::BadHeader),
    }
}

/// Addresses (RFC 4291, sections 2.5.3 and 2.7), then the hop-by-hop options.
fn check_v6(packet: &Packet, device: &Interface, net: &Net) -> Reception {
    let (src, dst) = (packet.src(), packet.dst());
    let outside = device.kind != LinkKind::Loopback;
    let scope = multicast_scope(dst);
    if net.sysctl.disable_ipv6(device.index) {
        return Reception::Drop(DropReason::NoDevice);
    }
    if outside && dst.is_loopback(Family::V6) || scope == Some(0) || outside && scope == Some(1) {
        return Reception::Drop(DropReason::MartianDestination);
    }
    if outside && src.is_loopback(Family::V6) || src.is_multicast(Family::V6) {
        return Reception::Drop(DropReason::MartianSource);
    }
    if scope.is_none()
        && packet.meta.link_type != LinkType::Host
        && net.sysctl.drop_unicast_in_l2_multicast(Family::V6, device.index)
    {
        return Reception::Drop(DropReason::LinkBroadcast);
    }
    let Some(ip) = Ipv6::new(packet.ip()) else { return Reception::Drop(DropReason::BadHeader) };
    if ip.next_header() != proto::HOPOPTS {
        return Reception::Good;
    }
    let header = OptionsHeader {
        hop_by_hop: true,
        max_count: net.sysctl.ipv6.max_hbh_opts_number,
        max_length: net.sysctl.ipv6.max_hbh_length,
    };
    options6::check(packet.ip(), ipv6::HEADER_LEN, header)
}

/// The scope of a group (RFC 4291, section 2.7), None for other addresses.
fn multicast_scope(addr: Addr) -> Option<u8> {
    addr.is_multicast(Family::V6).then_some((addr.0 >> 112) as u8 & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{self, ROUTER_MAC, v6};
    use hairpin_wire::build;
    use proptest::prelude::*;

    const ETH: IfIndex = IfIndex(2);

    fn receive(bytes: &[u8]) -> (Reception, Packet) {
        let mut packet = Packet::default();
        let reception = frame(&mut packet, bytes, ETH, &testing::net());
        (reception, packet)
    }

    fn udp4(dst: Mac) -> Vec<u8> {
        let udp = build::Udp { src_port: 1, dst_port: 2, payload: b"x" };
        let ip = udp.packet(Family::V4, Addr::v4(0x0a00_0102), Addr::v4(0x0a00_0202));
        build::frame(dst, Mac([2, 0, 0, 0, 0, 9]), ethernet::IPV4, &ip)
    }

    #[test]
    fn the_link_says_for_whom() {
        let group = Mac([1, 0, 0x5e, 0, 0, 1]);
        for (mac, expected) in
            [(ROUTER_MAC, LinkType::Host), (Mac::BROADCAST, LinkType::Broadcast), (group, LinkType::Multicast)]
        {
            let (reception, packet) = receive(&udp4(mac));
            assert_eq!((reception, packet.meta.link_type), (Reception::Good, expected));
            assert_eq!(packet.meta.iif, Some(ETH));
        }
        let other = udp4(Mac([2, 0, 0, 0, 0, 7]));
        assert_eq!(receive(&other).0, Reception::Drop(DropReason::OtherHost));
    }

    #[test]
    fn headers_are_checked_and_padding_cut() {
        let good = udp4(ROUTER_MAC);
        let mut padded = good.clone();
        padded.resize(60, 7);
        assert_eq!(receive(&padded).1.frame(), good);

        let mut bad = good.clone();
        bad[24] ^= 1;
        assert_eq!(receive(&bad).0, Reception::Drop(DropReason::BadHeaderChecksum));
        let mut bad = good.clone();
        bad[14] = 0x44;
        assert_eq!(receive(&bad).0, Reception::Drop(DropReason::BadHeader));
        let mut bad = good.clone();
        bad.pop();
        assert_eq!(receive(&bad).0, Reception::Drop(DropReason::Truncated));
        let mut bad = good.clone();
        bad[13] = 6;
        assert_eq!(receive(&bad).0, Reception::Drop(DropReason::NotIp));
        let mut bad = good;
        bad[12..14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(receive(&bad).0, Reception::Drop(DropReason::BadHeader));
    }

    #[test]
    fn a_frame_may_be_18_bytes_longer_than_the_mtu() {
        let mut long = udp4(ROUTER_MAC);
        long.resize(1518, 0);
        assert_eq!(receive(&long).0, Reception::Good);
        long.push(0);
        assert_eq!(receive(&long).0, Reception::Drop(DropReason::BadFrame));
    }

    #[test]
    fn addresses_that_cannot_come_from_outside() {
        let from = |src: &str, dst: &str| {
            let ip = build::Udp::default().packet(Family::V6, v6(src), v6(dst));
            receive(&build::frame(ROUTER_MAC, Mac::ZERO, ethernet::IPV6, &ip)).0
        };
        assert_eq!(from("2001:db8::1", "2001:db8::2"), Reception::Good);
        assert_eq!(from("::", "ff02::1"), Reception::Good);
        assert_eq!(from("::1", "2001:db8::2"), Reception::Drop(DropReason::MartianSource));
        assert_eq!(from("ff02::5", "2001:db8::2"), Reception::Drop(DropReason::MartianSource));
        assert_eq!(from("2001:db8::1", "::1"), Reception::Drop(DropReason::MartianDestination));
        assert_eq!(from("2001:db8::1", "ff01::1"), Reception::Drop(DropReason::MartianDestination));
        assert_eq!(from("2001:db8::1", "ff00::1"), Reception::Drop(DropReason::MartianDestination));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0x60), any::<u8>()], 0..120), v6 in any::<bool>()) {
            let mut bytes = build::frame(ROUTER_MAC, Mac::ZERO, if v6 { ethernet::IPV6 } else { ethernet::IPV4 }, &bytes);
            if let Some(first) = bytes.get_mut(14) {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            receive(&bytes);
        }
    }
}
