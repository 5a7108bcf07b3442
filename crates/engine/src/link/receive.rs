//! What a host looks at before PREROUTING: the frame, and the IP header.

use super::IcmpError;
use crate::fate::DropReason;
use crate::net::{Interface, LinkKind};
use crate::packet::{LinkType, NotAPacket, Packet};
use hairpin_wire::ethernet::{self, Ethernet};
use hairpin_wire::icmp6::parameter_problem;
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::{Addr, Family, Mac, proto};

/// The outcome of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// On to PREROUTING.
    Good,
    /// Gone, silently.
    Drop(DropReason),
    /// Gone, and the sender is to be told (IPv6 options).
    Problem(IcmpError),
}

/// Takes a frame from `device` into `packet` (whose buffer is reused) and checks it as far as PREROUTING. Device and link type
/// are noted in the packet's `meta`. A device without link headers gives bare IP packets.
pub fn frame(packet: &mut Packet, frame: &[u8], device: &Interface) -> Reception {
    if !device.up {
        return Reception::Drop(DropReason::NoDevice);
    }
    let loaded = match device.kind {
        LinkKind::Bare => packet.load_ip(frame),
        LinkKind::Ethernet | LinkKind::Loopback => {
            // Room for the link header and a VLAN tag beside the MTU, no more (`is_skb_forwardable`).
            if frame.len() > device.mtu as usize + ethernet::HEADER_LEN + 4 {
                return Reception::Drop(DropReason::BadFrame);
            }
            let Some(header) = Ethernet::new(frame) else { return Reception::Drop(DropReason::BadFrame) };
            let expected = match header.ethertype() {
                ethernet::IPV4 => Family::V4,
                ethernet::IPV6 => Family::V6,
                _ => return Reception::Drop(DropReason::NotIp),
            };
            if link_type(header.dst(), device.mac) == LinkType::OtherHost {
                return Reception::Drop(DropReason::OtherHost);
            }
            if Family::of_packet(header.payload()) != Some(expected) {
                return Reception::Drop(DropReason::BadHeader);
            }
            packet.load_frame(frame)
        }
    };
    if let Err(error) = loaded {
        return Reception::Drop(match error {
            NotAPacket::Short | NotAPacket::BadHeader => DropReason::BadHeader,
            NotAPacket::NotIp => DropReason::NotIp,
            NotAPacket::Truncated => DropReason::Truncated,
        });
    }
    check(packet, device)
}

/// The checks of a packet that is loaded already; see [`frame`].
pub fn check(packet: &mut Packet, device: &Interface) -> Reception {
    packet.meta.iif = Some(device.index);
    packet.meta.link_type = match Ethernet::new(packet.link_header()) {
        Some(header) => link_type(header.dst(), device.mac),
        None => LinkType::Host,
    };
    if packet.meta.link_type == LinkType::OtherHost {
        return Reception::Drop(DropReason::OtherHost);
    }
    match packet.family() {
        Family::V4 => check_v4(packet),
        Family::V6 => check_v6(packet, device),
    }
}

/// To whom a frame is addressed on its link (`eth_type_trans`).
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

fn check_v4(packet: &Packet) -> Reception {
    // Version, header length and total length were checked when the bytes were taken in.
    match Ipv4::new(packet.ip()) {
        Some(ip) if ip.checksum_ok() => Reception::Good,
        Some(_) => Reception::Drop(DropReason::BadHeaderChecksum),
        None => Reception::Drop(DropReason::BadHeader),
    }
}

fn check_v6(packet: &Packet, device: &Interface) -> Reception {
    let (src, dst) = (packet.src(), packet.dst());
    let outside = device.kind != LinkKind::Loopback;
    if outside && (src.is_loopback(Family::V6) || dst.is_loopback(Family::V6)) || src.is_multicast(Family::V6) {
        return Reception::Drop(DropReason::MartianSource);
    }
    let _ = (Addr::UNSPECIFIED, proto::HOPOPTS, parameter_problem::OPTION);
    Reception::Good
}
