//! Between frames and packets: what a device gave is read into a packet, and a packet is made fit for the device it leaves by.

use super::Port;
use crate::local::Senders;
use crate::seam::DeviceStats;
use hairpin_datapath::{Bytes, Caps, Outgoing, Received, sys};
use hairpin_engine::net::{IfIndex, LinkKind, Net};
use hairpin_engine::packet::GsoKind;
use hairpin_engine::{Engine, Fate, Packet};
use hairpin_wire::{Family, ethernet, icmp6, proto};

/// Takes a frame into a packet; false when it is none.
pub(super) fn load(engine: &mut Engine, dev: IfIndex, received: Received<'_>, packet: &mut Packet) -> bool {
    match received.bytes {
        Bytes::Own(bytes) => engine.take_frame(dev, bytes, received.offload, packet).is_ok(),
        Bytes::Shared(bytes) => engine.read_frame(dev, bytes, received.offload, packet).is_ok(),
    }
}

/// Takes a packet of this machine.
pub(super) fn load_own(received: Received<'_>, packet: &mut Packet, senders: &mut Senders) -> bool {
    let read = match received.bytes {
        Bytes::Own(bytes) => packet.swap_ip(bytes),
        Bytes::Shared(bytes) => packet.load_ip(bytes),
    };
    packet.meta.offload = received.offload;
    senders.mark(packet, sys::monotonic_nanos());
    read.is_ok()
}

/// The VLAN tag of a frame, which is taken out.
pub(super) fn tag_of<'a>(received: &mut Received<'a>, kind: LinkKind, scratch: &'a mut Vec<u8>) -> Option<u16> {
    if kind != LinkKind::Ethernet || received.vlan.is_some() {
        return received.vlan.map(|tag| tag & 0xfff);
    }
    let &[a, b, high, low] = received.bytes.as_slice().get(12..16)? else { return None };
    if u16::from_be_bytes([a, b]) != ethernet::VLAN {
        return None;
    }
    match &mut received.bytes {
        Bytes::Own(bytes) => drop(bytes.drain(12..16)),
        Bytes::Shared(bytes) => {
            scratch.extend_from_slice(&bytes[..12]);
            scratch.extend_from_slice(&bytes[16..]);
            received.bytes = Bytes::Own(scratch);
        }
    }
    Some(u16::from_be_bytes([high, low]) & 0xfff)
}

/// A packet for this machine, as its TUN device takes it.
pub(super) fn to_host(packet: &Packet) -> Outgoing<'_> {
    Outgoing {
        bytes: packet.ip(),
        offload: packet.meta.offload,
        network: 0,
        transport: packet.head().l4,
        protocol: packet.protocol(),
    }
}

pub(super) fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ethernet::ARP.to_be_bytes())
}

pub(super) fn is_discovery(packet: &Packet) -> bool {
    packet.family() == Family::V6
        && packet.protocol() == proto::ICMPV6
        && matches!(packet.l4().first(), Some(&icmp6::NEIGHBOUR_SOLICITATION | &icmp6::NEIGHBOUR_ADVERTISEMENT))
}

pub(super) fn address(packet: &mut Packet, net: &Net, oif: IfIndex, mac: hairpin_wire::Mac) -> Fate {
    let Some(device) = net.interface(oif) else { return Fate::Held };
    packet.set_link_header(mac, device.mac);
    Fate::Transmit { oif, to: Some(mac) }
}

/// Does what the way out does not do of what is left to do, as far as that needs no cutting. False: the packet is to be cut.
pub(super) fn finish(packet: &mut Packet, caps: Caps) -> bool {
    match packet.meta.offload.gso.map(|gso| gso.kind) {
        Some(GsoKind::Tcp) if !caps.tcp_segmentation => return false,
        Some(GsoKind::Udp) if !caps.udp_segmentation => return false,
        _ => {}
    }
    if caps.checksum {
        packet.settle_checksum();
    } else {
        packet.complete_checksum();
    }
    true
}

pub(super) fn outgoing(packet: &Packet) -> Outgoing<'_> {
    let network = packet.link_header().len();
    Outgoing {
        bytes: packet.frame(),
        offload: packet.meta.offload,
        network,
        transport: network + packet.head().l4,
        protocol: packet.protocol(),
    }
}

/// The same list without its frames, for other ones: collecting in place keeps its memory.
pub(super) fn emptied<'a>(mut list: Vec<Outgoing<'_>>) -> Vec<Outgoing<'a>> {
    list.clear();
    list.into_iter().map(|_| Outgoing::complete(&[])).collect()
}

pub(super) fn send(port: &mut Port, frames: &[Outgoing<'_>], stats: &mut DeviceStats) {
    let sent = port.device.datapath.send(frames).unwrap_or(0);
    stats.sent += sent as u64;
    stats.lost += (frames.len() - sent.min(frames.len())) as u64;
    stats.sent_bytes += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
}
