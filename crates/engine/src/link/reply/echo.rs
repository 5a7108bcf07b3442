//! Answers to queries: echo and time.

use super::Host;
use super::finish::{Header, Id, finish_ip, flow_label, flow_label_of, on_link_device, reply_mark};
use super::price::{Way, is_limited, limits, pays};
use crate::link::{IcmpError, options};
use crate::net::LO;
use crate::packet::Packet;
use crate::route::{OutputKey, RouteType};
use crate::time::Now;
use hairpin_wire::icmp::Icmp;
use hairpin_wire::{Family, icmp4, icmp6, proto};

/// The answer to an echo request that [`classify`](crate::link::local::classify) found good.
pub fn echo_reply(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    match request.family() {
        Family::V4 => {
            let mut message = request.l4().to_vec();
            *message.first_mut()? = icmp4::ECHO_REPLY;
            answer_v4(request, &mut message, host)
        }
        Family::V6 => echo_reply_v6(request, host),
    }
}

/// The answer to an IPv4 timestamp request.
pub fn timestamp_reply(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let mut message = request.l4().get(..12)?.to_vec();
    *message.first_mut()? = icmp4::TIMESTAMP_REPLY;
    *message.get_mut(1)? = 0;
    let time = wall_ms(host.now).to_be_bytes();
    message.extend(time);
    message.extend(time);
    answer_v4(request, &mut message, host)
}

/// Milliseconds since midnight UTC, as ICMP and IP time stamps count them.
pub fn wall_ms(now: Now) -> u32 {
    const DAY_MS: u64 = 86_400_000;
    (now.wall.0 / 1_000_000 % DAY_MS) as u32
}

/// An answer to a query, from the address that was asked (`icmp_reply`). Its checksum is filled in.
pub(super) fn answer_v4(request: &Packet, message: &mut [u8], host: &mut Host<'_>) -> Option<Packet> {
    let net = host.net;
    let kind = *message.first()?;
    if let Some(mut icmp) = Icmp::new(&mut *message) {
        icmp.fill_checksum(Family::V4, request.dst(), request.src());
        let limited = is_limited(Family::V4, IcmpError::new(kind, icmp.code(), 0), net);
        if limited && !host.limiter.allows_any(limits(Family::V4, net), host.now.mono) {
            return None;
        }
        let options = options::Echo::of(request, net)?;
        let dst = options.first_hop.unwrap_or(request.src());
        let src = options::own_address(request, net);
        let (tos, mark) = (request.tos(), reply_mark(request, net));
        let key = OutputKey { src: Some(src), tos, mark, protocol: proto::ICMP, ..OutputKey::to(Family::V4, dst) };
        let route = net.route_output(&key).ok()?;
        if limited && !pays(Family::V4, route.oif, dst, host) {
            return None;
        }
        let src = route.prefsrc.unwrap_or(src);
        let options = options.finish(src, request.src(), wall_ms(host.now));
        let header = Header { src, dst, tos, id: Id::Random, options: &options, flow_label: 0 };
        return finish_ip(Family::V4, header, proto::ICMP, icmp.as_bytes(), (route, mark), host);
    }
    None
}

pub(super) fn echo_reply_v6(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let net = host.net;
    let (asked, dst) = (request.dst(), request.src());
    let kind = request.meta.route.map(|route| route.kind);
    let own = match kind {
        Some(RouteType::Local) => Some(asked),
        Some(RouteType::Anycast) if net.sysctl.ipv6.anycast_src_echo_reply != 0 => Some(asked),
        _ => None,
    };
    let mark = reply_mark(request, net);
    // The answer goes back by the device that the request came by, where it is free to choose its source.
    let oif = if own.is_none() { request.meta.iif } else { on_link_device(request, dst) };
    // Type and code lie where a destination port would.
    let ports = (0, u16::from(icmp6::ECHO_REPLY) << 8);
    let key = OutputKey {
        src: own,
        mark,
        oif,
        any_source: true,
        protocol: proto::ICMPV6,
        ports,
        ..OutputKey::to(Family::V6, dst)
    };
    let route = net.route_output(&key).ok()?;
    let limited = request.meta.iif != Some(LO) && is_limited(Family::V6, IcmpError::new(icmp6::ECHO_REPLY, 0, 0), net);
    if limited
        && !(host.limiter.allows_any(limits(Family::V6, net), host.now.mono) && Way::to(&key, net).pays(dst, host))
    {
        return None;
    }
    let src = own.or(route.prefsrc)?;
    let mut message = request.l4().to_vec();
    let mut icmp = Icmp::new(&mut message)?;
    icmp.set_kind(icmp6::ECHO_REPLY);
    icmp.fill_checksum(Family::V6, src, dst);
    const REFLECT: i64 = 4;
    let reflected = if net.sysctl.ipv6.flowlabel_reflect & REFLECT != 0 { flow_label_of(request) } else { 0 };
    let ports = (u16::from(icmp6::ECHO_REPLY), 0);
    let flow_label = flow_label(reflected, src, dst, proto::ICMPV6, ports, host);
    let header = Header { src, dst, tos: request.tos(), flow_label, ..Header::default() };
    finish_ip(Family::V6, header, proto::ICMPV6, &message, (route, mark), host)
}
