//! ICMP errors (`icmp_send`, `icmpv6_send`): about what, to whom, from whom, and how much they quote.

use super::Host;
use super::echo::wall_ms;
use super::finish::{Header, Id, finish_ip, flow_label, is_to_many, on_link_device, reply_mark};
use super::intact::is_intact;
use super::price::{Way, is_limited, limits, pays};
use crate::link::{IcmpError, options};
use crate::net::{LO, Net};
use crate::packet::{LinkType, Packet};
use crate::route::{AddressType, OutputKey, RouteType, multipath};
use hairpin_wire::{Addr, Family, build, icmp4, icmp6, proto, udp};

/// An ICMP error about `about` (`icmp_send`, `icmpv6_send`). `about.meta.route` is its route, if it has one already.
///
/// "Port unreachable" quotes a UDP datagram without what follows it in its packet, as local delivery does; see
/// [`reject_unreachable`] for rules.
pub fn icmp_error(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    let length = match about.protocol() {
        proto::UDP if error == IcmpError::port_unreachable(about.family()) => datagram_end(about),
        _ => about.length(),
    };
    error_of(about, error, length, host)
}

/// The error of a packet that has no route (`ip_error`): as [`icmp_error`], but IPv4 has one more limit, which pays from the same
/// bucket.
pub fn route_error(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    if about.family() == Family::V4 && !host.limiter.allows_route_error(about.src(), host.now.mono) {
        return None;
    }
    icmp_error(about, error, host)
}

/// The ICMP error of REJECT: not about later fragments, nor about packets with a wrong checksum (`nf_send_unreach`,
/// `nf_send_unreach6`).
pub fn reject_unreachable(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    if about.is_later_fragment() || !is_intact(about) {
        return None;
    }
    error_of(about, error, about.length(), host)
}

pub(super) fn error_of(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
    match about.family() {
        Family::V4 => error_v4(about, error, length, host),
        Family::V6 => error_v6(about, error, length, host),
    }
}

pub(super) fn error_v4(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
    let net = host.net;
    if about.meta.link_type != LinkType::Host || about.is_later_fragment() {
        return None;
    }
    if about.meta.route.is_some_and(|route| is_to_many(&route)) {
        return None;
    }
    if about.protocol() == proto::ICMP {
        // Types that are not known or not used count as errors: 1, 2, 6, 7, and router discovery (9, 10).
        let kind = *about.l4().first()?;
        let is_unused = matches!(kind, 1 | 2 | 6 | 7 | 9 | 10);
        if kind > icmp4::ADDRESS_MASK_REPLY || is_unused || icmp4::is_error(kind) {
            return None;
        }
    }
    let limited = match about.meta.iif {
        Some(LO) => false,
        _ => is_limited(Family::V4, error, net),
    };
    if limited && !host.limiter.allows_any(limits(Family::V4, net), host.now.mono) {
        return None;
    }
    let local = about.meta.route.is_some_and(|route| route.kind == RouteType::Local);
    let src = if local { Some(about.dst()) } else { inbound_address(about, net) };
    let tos = about.tos() & 0x1e | 0xc0;
    let mark = reply_mark(about, net);
    let options = options::Echo::of(about, net)?;
    let dst = options.first_hop.unwrap_or(about.src());
    // An error takes the way of the packet it is about.
    let hash = Some(multipath::of_packet(net, about));
    let key = OutputKey { src, tos, mark, protocol: proto::ICMP, hash, ..OutputKey::to(Family::V4, dst) };
    let route = net.route_output(&key).ok()?;
    if limited && !pays(Family::V4, route.oif, dst, host) {
        return None;
    }
    let src = route.prefsrc.filter(|src| !src.is_unspecified()).unwrap_or(DUMMY_V4);
    let options = options.finish(src, about.src(), wall_ms(host.now));
    let mtu = host.path_mtus.of(Family::V4, dst, &route, false, host.net, host.now.mono);
    let room = (mtu.min(ERROR_V4_MAX) as usize).checked_sub(28 + options.len()).filter(|room| *room > 20)?;
    let quote = about.ip().get(..length.min(room)).unwrap_or(about.ip());
    let message = build::Icmp { kind: error.kind, code: error.code, rest: error.info, payload: quote }.to_vec(
        Family::V4,
        src,
        dst,
    );
    let header = Header { src, dst, tos, id: Id::Random, options: &options, flow_label: 0 };
    finish_ip(Family::V4, header, proto::ICMP, &message, (route, mark), host)
}

/// The longest ICMP error of IPv4 (RFC 1812, section 4.3.2.3), in bytes.
pub(super) const ERROR_V4_MAX: u32 = 576;

/// The longest ICMPv6 error: the smallest MTU (RFC 4443, section 2.4).
pub(super) const ERROR_V6_MAX: usize = 1280;

/// 192.0.0.8, the address of a host that has none (RFC 7600).
pub(super) const DUMMY_V4: Addr = Addr::v4(0xc000_0008);

/// With `icmp_errors_use_inbound_ifaddr`, errors come from the device that the offender came by.
pub(super) fn inbound_address(about: &Packet, net: &Net) -> Option<Addr> {
    let iif = about.meta.iif.filter(|_| net.sysctl.ipv4.icmp_errors_use_inbound_ifaddr != 0)?;
    net.select_address(Family::V4, iif, Some(about.src()), crate::net::Scope::Link)
}

pub(super) fn error_v6(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
    let net = host.net;
    let (offender, target) = (about.src(), about.dst());
    let owned = matches!(
        net.address_type(Family::V6, target, about.meta.iif.filter(|_| target.is_link_local(Family::V6))),
        AddressType::Local | AddressType::Anycast
    );
    let to_many = target.is_multicast(Family::V6) || about.meta.link_type != LinkType::Host;
    if to_many && !answers_groups(about, error) {
        return None;
    }
    if offender.is_unspecified() || offender.is_multicast(Family::V6) || is_icmp6_error(about) {
        return None;
    }
    let limited = about.meta.iif != Some(LO) && is_limited(Family::V6, error, net);
    if limited && !host.limiter.allows_any(limits(Family::V6, net), host.now.mono) {
        return None;
    }
    let mark = reply_mark(about, net);
    let oif = on_link_device(about, offender);
    let hash = Some(multipath::of_packet(net, about));
    let key = OutputKey { mark, oif, protocol: proto::ICMPV6, hash, ..OutputKey::to(Family::V6, offender) };
    let way = Way::to(&key, net);
    let src = match owned && !to_many {
        true => Some(target),
        // Without a source given by the route, one of the device that the offender came by.
        false if way.prefsrc.is_none() => about
            .meta
            .iif
            .and_then(|iif| net.select_address(Family::V6, iif, Some(offender), crate::net::Scope::Global)),
        false => None,
    };
    let key = OutputKey { src, ..key };
    if limited && !Way::to(&key, net).pays(offender, host) {
        return None;
    }
    let route = net.route_output(&key).ok()?;
    // An anycast address is nobody to be told.
    if Way::to(&key, net).is_anycast && net.sysctl.ipv6.icmp_error_anycast_as_unicast == 0 {
        return None;
    }
    let src = route.prefsrc.or(src)?;
    let quote = about.ip().get(..length.min(ERROR_V6_MAX - 48)).unwrap_or(about.ip());
    let message = build::Icmp { kind: error.kind, code: error.code, rest: error.info, payload: quote };
    let payload = message.to_vec(Family::V6, src, offender);
    let ports = (u16::from(error.kind), u16::from(error.code));
    let flow_label = flow_label(0, src, offender, proto::ICMPV6, ports, host);
    let header = Header { src, dst: offender, flow_label, ..Header::default() };
    finish_ip(Family::V6, header, proto::ICMPV6, &payload, (route, mark), host)
}

/// The errors that packets to a group may cause (RFC 4443, section 2.4 e): "too big", and options that ask for it.
pub(super) fn answers_groups(about: &Packet, error: IcmpError) -> bool {
    if error.kind == icmp6::TOO_BIG {
        return true;
    }
    let option = about.ip().get(error.info as usize).copied().unwrap_or(0);
    error.kind == icmp6::PARAMETER_PROBLEM && error.code == icmp6::parameter_problem::OPTION && option & 0xc0 == 0x80
}

/// Whether the packet is an ICMPv6 error, or too short to tell. Later fragments are not.
pub(super) fn is_icmp6_error(packet: &Packet) -> bool {
    let head = packet.head();
    if head.broken || head.protocol != proto::ICMPV6 || packet.is_later_fragment() {
        return false;
    }
    match packet.l4().first() {
        Some(kind) => icmp6::is_error(*kind),
        None => !packet.is_fragment(),
    }
}

/// The end of a UDP datagram by its own length, which may be less than the packet's.
pub(super) fn datagram_end(packet: &Packet) -> usize {
    let all = packet.length();
    match udp::Udp::new(packet.l4()) {
        Some(udp) if udp.len() >= 8 && !packet.is_fragment() => all.min(packet.head().l4 + usize::from(udp.len())),
        _ => all,
    }
}
