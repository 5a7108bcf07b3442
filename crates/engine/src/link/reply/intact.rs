//! Whether the sums of a received packet come out right, as those who answer it ask.

use crate::packet::Packet;
use crate::route::RouteType;
use hairpin_wire::{Family, checksum, proto};

/// Whether a TCP segment's checksum is right, as SYNPROXY asks.
pub(crate) fn tcp_adds_up(segment: &Packet) -> bool {
    segment.protocol() == proto::TCP && adds_up(segment, proto::TCP)
}

/// Whether the transport checksum of a received packet is right, as far as REJECT asks (`nf_reject_verify_csum`,
/// `nf_ip_checksum`). A protocol that is not known is held against the rule of the known ones, as Linux does.
pub(super) fn is_intact(packet: &Packet) -> bool {
    if packet.is_checksum_known(packet.meta.route.is_none_or(|route| route.kind == RouteType::Local)) {
        return true;
    }
    let head = packet.head();
    if packet.family() == Family::V6 && (head.broken || head.protocol == proto::NONE || packet.l4().is_empty()) {
        return false;
    }
    match head.protocol {
        proto::UDP if matches!(packet.l4(), [_, _, _, _, _, _, 0, 0, ..]) => true,
        proto::GRE | proto::AH | proto::ESP | proto::SCTP | proto::UDPLITE => true,
        protocol => adds_up(packet, protocol),
    }
}

/// Whether the sums of a packet come out right, as REJECT adds them. IPv4's takes in the header, whose own sum is wrong after
/// options were filled in.
pub(super) fn adds_up(packet: &Packet, protocol: u8) -> bool {
    match (packet.family(), protocol) {
        _ if packet.is_checksum_trusted() => true,
        (Family::V6, _) => checksum_ok(packet, protocol),
        (Family::V4, proto::TCP | proto::UDP) => {
            let len = packet.l4().len() as u32;
            let pseudo = checksum::pseudo_header(Family::V4, packet.src(), packet.dst(), protocol, len);
            // What tracking reckoned on arrival counts for this host, when the header's own sum was right.
            let is_here = packet.meta.route.is_none_or(|route| route.kind == RouteType::Local);
            let bytes = if packet.meta.sum_was_wrong && is_here { packet.l4() } else { packet.ip() };
            checksum::finish(checksum::combine(pseudo, checksum::sum(bytes))) == 0
        }
        (Family::V4, _) => checksum::checksum(packet.ip()) == 0,
    }
}

/// Whether the checksum over all of the transport layer with its pseudo header is right.
pub(in crate::link) fn checksum_ok(packet: &Packet, protocol: u8) -> bool {
    packet.is_sum_kept() || checksum::transport(packet.family(), packet.src(), packet.dst(), protocol, packet.l4()) == 0
}
