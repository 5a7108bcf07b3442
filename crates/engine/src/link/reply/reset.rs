//! TCP resets of closed ports and of REJECT; the segments of SYNPROXY.

use super::Host;
use super::echo::wall_ms;
use super::finish::{Header, Id, finish_ip, flow_label, flow_label_of, is_to_many, on_link_device, reply_mark};
use super::intact::adds_up;
use crate::link::options;
use crate::packet::{Checksum, Origin, Packet, Sender};
use crate::route::{AddressType, OutputKey, Route, RouteType};
use hairpin_wire::{Addr, Family, build, proto, tcp};

/// The RST of a closed TCP port (`tcp_v4_send_reset`, `tcp_v6_send_reset`).
pub fn tcp_reset(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    if segment.meta.route.is_none_or(|route| route.kind != RouteType::Local) {
        return None;
    }
    let (src, dst) = (segment.dst(), segment.src());
    let reset = reset_of(segment)?;
    let mark = reply_mark(segment, host.net);
    match segment.family() {
        Family::V4 => {
            let options = options::Echo::of(segment, host.net)?;
            let first_hop = options.first_hop.unwrap_or(dst);
            let tos = segment.tos() & !3;
            let ports = (reset.src_port, reset.dst_port);
            let key = OutputKey {
                src: Some(src),
                tos,
                mark,
                protocol: proto::TCP,
                ports,
                ..OutputKey::to(Family::V4, first_hop)
            };
            let route = host.net.route_output(&key).ok()?;
            let options = options.finish(src, dst, wall_ms(host.now));
            // The checksum counts the sender, not the first hop back to it.
            let payload = reset.to_vec(Family::V4, src, dst);
            let header = Header { src, dst: first_hop, tos, id: Id::DontFragment, options: &options, flow_label: 0 };
            finish_ip(Family::V4, header, proto::TCP, &payload, (route, mark), host)
        }
        Family::V6 => {
            let ports = (reset.src_port, reset.dst_port);
            let oif = on_link_device(segment, dst);
            let key = OutputKey {
                src: Some(src),
                mark,
                oif,
                any_source: true,
                protocol: proto::TCP,
                ports,
                ..OutputKey::to(Family::V6, dst)
            };
            let route = host.net.route_output(&key).ok()?;
            const REFLECT: i64 = 1;
            let asked = host.net.sysctl.ipv6.flowlabel_reflect & REFLECT != 0;
            let reflected = if asked { flow_label_of(segment) } else { 0 };
            let flow_label = flow_label(reflected, src, dst, proto::TCP, ports, host);
            // ECN is not copied.
            let tos = segment.tos() & !3;
            let payload = reset.to_vec(Family::V6, src, dst);
            let header = Header { src, dst, tos, flow_label, ..Header::default() };
            // The socket that sends it is known to IPv4 only.
            finish_ip(Family::V6, header, proto::TCP, &payload, (route, mark), host)
                .map(without_socket)
                .map(with_open_checksum)
        }
    }
}

/// The RST of REJECT (`nf_send_reset`, `nf_send_reset6`): from the address that was dialled, whoever's it is, and from no socket.
pub fn reject_reset(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    reset_by_rule(segment, host).map(without_socket)
}

pub(super) fn without_socket(mut packet: Packet) -> Packet {
    packet.meta.origin = Origin::Local(Sender::None);
    packet
}

/// The device is to fill in the checksum: whoever looks at the packet before, or quotes it, finds the sum of the pseudo header.
pub(super) fn with_open_checksum(mut packet: Packet) -> Packet {
    packet.meta.offload.checksum = Checksum::Partial;
    packet.settle_checksum();
    packet
}

/// A segment of SYNPROXY, from whose address it is to be (`synproxy_send_tcp`).
pub(crate) fn proxy_segment(
    family: Family,
    src: Addr,
    dst: Addr,
    segment: &build::Tcp<'_>,
    host: &mut Host<'_>,
) -> Option<Packet> {
    let ports = (segment.src_port, segment.dst_port);
    let key = OutputKey { protocol: proto::TCP, ports, any_source: true, ..OutputKey::to(family, dst) };
    let payload = segment.to_vec(family, src, dst);
    let header = Header { src, dst, id: Id::DontFragment, ..Header::default() };
    let is_source = match family {
        Family::V4 => {
            let kind = host.net.address_type(family, src, None);
            matches!(kind, AddressType::Local | AddressType::Unicast)
        }
        Family::V6 => true,
    };
    let route = host.net.route_output(&OutputKey { src: is_source.then_some(src), ..key }).ok()?;
    finish_ip(family, header, proto::TCP, &payload, (route, 0), host).map(without_socket)
}

pub(super) fn reset_by_rule(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let family = segment.family();
    if segment.protocol() != proto::TCP || segment.is_later_fragment() || segment.head().broken {
        return None;
    }
    if !adds_up(segment, proto::TCP) {
        return None;
    }
    let reset = reset_of(segment)?;
    let (src, dst) = (segment.dst(), segment.src());
    let mark = reply_mark(segment, host.net);
    // IPv4 looks for the way as for a rerouted packet: the ports are not looked at unless rules ask for them.
    let (protocol, ports) = match family {
        Family::V4 if !host.net.policy(family).needs_ports() => (0, (0, 0)),
        _ => (proto::TCP, (reset.src_port, reset.dst_port)),
    };
    let key = OutputKey { mark, protocol, ports, ..OutputKey::to(family, dst) };
    let payload = reset.to_vec(family, src, dst);
    match family {
        Family::V4 => {
            let offender = segment.meta.route;
            if offender.is_some_and(|route| is_to_many(&route)) {
                return None;
            }
            let kind = host.net.address_type(family, src, None);
            let is_source = matches!(kind, AddressType::Local | AddressType::Unicast);
            let key = OutputKey { src: is_source.then_some(src), any_source: true, ..key };
            let route = host.net.route_output(&key).ok()?;
            // The TTL is the one of the segment's own route.
            let ttl = offender.map_or(0, |route| route.hop_limit);
            let header = Header { src, dst, id: Id::DontFragment, ..Header::default() };
            finish_ip(Family::V4, header, proto::TCP, &payload, (Route { hop_limit: ttl, ..route }, mark), host).map(
                |mut packet| {
                    packet.meta.route = Some(route);
                    with_open_checksum(packet)
                },
            )
        }
        Family::V6 => {
            // An IPv4 address in IPv6's form is not unicast to Linux.
            let is_mapped = |addr: Addr| addr.0 >> 32 == 0xffff;
            let unicast = |addr: Addr| !addr.is_unspecified() && !addr.is_multicast(family) && !is_mapped(addr);
            if !unicast(src) || !unicast(dst) {
                return None;
            }
            // Linux does not ask which link an address of that link is on here.
            let route = host.net.route_output(&OutputKey { src: Some(src), any_source: true, ..key }).ok()?;
            finish_ip(Family::V6, Header { src, dst, ..Header::default() }, proto::TCP, &payload, (route, mark), host)
        }
    }
}

/// The RST that answers a segment (RFC 9293, section 3.10.7.1); None for a RST, or when the header is cut.
pub(super) fn reset_of(segment: &Packet) -> Option<build::Tcp<'static>> {
    let header = tcp::Tcp::new(segment.l4())?;
    let flags = header.flags();
    if flags & tcp::RST != 0 {
        return None;
    }
    let reset = build::Tcp {
        src_port: header.dst_port(),
        dst_port: header.src_port(),
        flags: tcp::RST,
        window: 0,
        ..Default::default()
    };
    if flags & tcp::ACK != 0 {
        return Some(build::Tcp { seq: header.ack(), ..reset });
    }
    let counted = u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
    let data = (segment.l4().len() as u32).wrapping_sub(header.header_len() as u32);
    let ack = header.seq().wrapping_add(counted).wrapping_add(data);
    Some(build::Tcp { ack, flags: tcp::RST | tcp::ACK, ..reset })
}
