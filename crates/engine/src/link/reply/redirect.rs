//! Redirects: another router of the same link is nearer.

use super::Host;
use super::error::{ERROR_V6_MAX, icmp_error};
use super::finish::{Header, finish_ip};
use super::price::limits;
use crate::link::IcmpError;
use crate::link::limit::Limits;
use crate::packet::Packet;
use crate::route::{OutputKey, Route};
use crate::time::HZ;
use hairpin_wire::{Family, build, icmp4, icmp6, ipv6, proto};

/// The redirect for a packet that leaves by the device it came by, if it is due (`ip_rt_send_redirect`,
/// `ndisc_send_redirect`). `route` is the one the packet takes. IPv4 sends it after the TTL was lowered, IPv6 before.
pub fn redirect(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
    match about.family() {
        Family::V4 => redirect_v4(about, route, host),
        Family::V6 => redirect_v6(about, route, host),
    }
}

pub(super) fn redirect_v4(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
    let iif = about.meta.iif?;
    if about.meta.ip_options.has_source_route() || !host.net.sysctl.send_redirects(iif) {
        return None;
    }
    let peer = about.src();
    if !host.limiter.allows_redirect(peer, host.now.mono) {
        return None;
    }
    let gateway = route.gateway.unwrap_or(about.dst()).as_u32();
    let error = IcmpError::new(icmp4::REDIRECT, icmp4::redirect::HOST, gateway);
    let packet = icmp_error(about, error, host);
    host.limiter.count_redirect(peer, host.now.mono);
    packet
}

/// RFC 4861, section 4.5: from the link-local address of the device, to a neighbor, about a neighbor.
pub(super) fn redirect_v6(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
    const TARGET_LINK_ADDRESS: u8 = 2;
    const REDIRECTED_PACKET: u8 = 4;
    const HEADER_LEN: usize = 40;
    let (net, now) = (host.net, host.now.mono);
    let (sender, dst) = (about.src(), about.dst());
    let device = net.interface(about.meta.iif?)?;
    let limits = Limits { interval: HZ, ..limits(Family::V6, net) };
    // Both ends have a bucket, the same as that of errors to them.
    if !host.limiter.allows_peer(Family::V6, dst, limits, now) {
        return None;
    }
    let mut own = device.addresses.iter().filter(|a| a.family == Family::V6).map(|a| a.addr);
    let own = own.find(|addr| addr.is_link_local(Family::V6))?;
    let target = route.gateway.unwrap_or(dst);
    if target != dst && !target.is_link_local(Family::V6) {
        return None;
    }
    let key = OutputKey {
        src: Some(own),
        oif: Some(device.index),
        protocol: proto::ICMPV6,
        ..OutputKey::to(Family::V6, sender)
    };
    let back = net.route_output(&key).ok().filter(|back| back.gateway.is_none())?;
    if !host.limiter.allows_peer(Family::V6, sender, limits, now) {
        return None;
    }
    let mut options = Vec::new();
    if let Some(mac) = net.neighbor(Family::V6, route.oif, target) {
        options.extend([TARGET_LINK_ADDRESS, 1]);
        options.extend(mac.0);
    }
    let room = ERROR_V6_MAX - ipv6::HEADER_LEN - HEADER_LEN - options.len();
    let quote = room.min(about.length() + 8) & !7;
    options.extend([REDIRECTED_PACKET, (quote / 8) as u8, 0, 0, 0, 0, 0, 0]);
    options.extend(about.ip().get(..quote - 8).unwrap_or_default());
    let mut payload = target.0.to_be_bytes().to_vec();
    payload.extend(dst.0.to_be_bytes());
    payload.extend(options);
    let message =
        build::Icmp { kind: icmp6::REDIRECT, code: 0, rest: 0, payload: &payload }.to_vec(Family::V6, own, sender);
    let header = Header { src: own, dst: sender, ..Header::default() };
    // Neighbor discovery proves by the full hop limit that it comes from the link.
    let packet = finish_ip(Family::V6, header, proto::ICMPV6, &message, (Route { hop_limit: 255, ..back }, 0), host);
    packet.map(|mut packet| {
        packet.meta.route = Some(back);
        packet
    })
}
