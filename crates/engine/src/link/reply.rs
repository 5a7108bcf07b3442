//! Packets this host makes in answer to others: ICMP errors, echo replies, resets, redirects.
//!
//! Each function gives a finished packet without a link header, with the route it is to take in its `meta`, ready for OUTPUT;
//! or None, where Linux stays silent. Whether one is being sent already (Linux makes no ICMP message while it sends one) is the
//! caller's to know, and so is the connection an answer belongs to.

use super::limit::{IcmpLimiter, Limits};
use super::{IcmpError, options};
use crate::net::{IfIndex, LO, Net};
use crate::packet::{Checksum, LinkType, Origin, Packet, Sender};
use crate::rng::Rng;
use crate::route::{AddressType, OutputKey, Route, RouteType, multipath};
use crate::time::{HZ, Now};
use hairpin_wire::icmp::Icmp;
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::{Addr, Family, build, checksum, icmp4, icmp6, proto, tcp, udp};

/// What answering needs beside the packet answered.
#[derive(Debug)]
pub struct Host<'a> {
    /// Addresses, routes and settings.
    pub net: &'a Net,
    /// The rate limits.
    pub limiter: &'a mut IcmpLimiter,
    /// For identifications.
    pub rng: &'a Rng,
    /// The time.
    pub now: Now,
}

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

/// The redirect for a packet that leaves by the device it came by, if it is due (`ip_rt_send_redirect`,
/// `ndisc_send_redirect`). `route` is the one the packet takes. IPv4 sends it after the TTL was lowered, IPv6 before.
pub fn redirect(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
    match about.family() {
        Family::V4 => redirect_v4(about, route, host),
        Family::V6 => redirect_v6(about, route, host),
    }
}

/// The answer to an echo request that [`super::local::classify`] found good.
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
            finish_v4(header, proto::TCP, &payload, route, mark, host)
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
            finish_v6(header, proto::TCP, &payload, route, mark, host).map(without_socket).map(with_open_checksum)
        }
    }
}

/// The RST of REJECT (`nf_send_reset`, `nf_send_reset6`): from the address that was dialled, whoever's it is, and from no socket.
pub fn reject_reset(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    reset_by_rule(segment, host).map(without_socket)
}

fn without_socket(mut packet: Packet) -> Packet {
    packet.meta.origin = Origin::Local(Sender::None);
    packet
}

/// The device is to fill in the checksum: whoever looks at the packet before, or quotes it, finds the sum of the pseudo header.
fn with_open_checksum(mut packet: Packet) -> Packet {
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
    let made = match family {
        Family::V4 => {
            let kind = host.net.address_type(family, src, None);
            let is_source = matches!(kind, AddressType::Local | AddressType::Unicast);
            let route = host.net.route_output(&OutputKey { src: is_source.then_some(src), ..key }).ok()?;
            finish_v4(header, proto::TCP, &payload, route, 0, host)
        }
        Family::V6 => {
            let route = host.net.route_output(&OutputKey { src: Some(src), ..key }).ok()?;
            finish_v6(header, proto::TCP, &payload, route, 0, host)
        }
    };
    made.map(without_socket)
}

/// Whether a TCP segment's checksum is right, as SYNPROXY asks.
pub(crate) fn tcp_adds_up(segment: &Packet) -> bool {
    segment.protocol() == proto::TCP && adds_up(segment, proto::TCP)
}

fn reset_by_rule(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
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
            finish_v4(header, proto::TCP, &payload, Route { hop_limit: ttl, ..route }, mark, host).map(|mut packet| {
                packet.meta.route = Some(route);
                with_open_checksum(packet)
            })
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
            finish_v6(Header { src, dst, ..Header::default() }, proto::TCP, &payload, route, mark, host)
        }
    }
}

/// Milliseconds since midnight UTC, as ICMP and IP time stamps count them.
pub fn wall_ms(now: Now) -> u32 {
    const DAY_MS: u64 = 86_400_000;
    (now.wall.0 / 1_000_000 % DAY_MS) as u32
}

fn redirect_v4(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
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
fn redirect_v6(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
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
    let packet = finish_v6(header, proto::ICMPV6, &message, Route { hop_limit: 255, ..back }, 0, host);
    packet.map(|mut packet| {
        packet.meta.route = Some(back);
        packet
    })
}

fn error_of(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
    match about.family() {
        Family::V4 => error_v4(about, error, length, host),
        Family::V6 => error_v6(about, error, length, host),
    }
}

fn error_v4(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
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
    let room = (route.mtu.min(ERROR_V4_MAX) as usize).checked_sub(28 + options.len()).filter(|room| *room > 20)?;
    let quote = about.ip().get(..length.min(room)).unwrap_or(about.ip());
    let message = build::Icmp { kind: error.kind, code: error.code, rest: error.info, payload: quote }.to_vec(
        Family::V4,
        src,
        dst,
    );
    let header = Header { src, dst, tos, id: Id::Random, options: &options, flow_label: 0 };
    finish_v4(header, proto::ICMP, &message, route, mark, host)
}

/// The longest ICMP error of IPv4 (RFC 1812, section 4.3.2.3), in bytes.
const ERROR_V4_MAX: u32 = 576;

/// The longest ICMPv6 error: the smallest MTU (RFC 4443, section 2.4).
const ERROR_V6_MAX: usize = 1280;

/// 192.0.0.8, the address of a host that has none (RFC 7600).
const DUMMY_V4: Addr = Addr::v4(0xc000_0008);

/// With `icmp_errors_use_inbound_ifaddr`, errors come from the device that the offender came by.
fn inbound_address(about: &Packet, net: &Net) -> Option<Addr> {
    let iif = about.meta.iif.filter(|_| net.sysctl.ipv4.icmp_errors_use_inbound_ifaddr != 0)?;
    net.select_address(Family::V4, iif, Some(about.src()), crate::net::Scope::Link)
}

/// Whether the settings hold this kind of error to a limit (`icmp_ratemask`, and `icmp.ratemask` of IPv6).
fn is_limited(family: Family, error: IcmpError, net: &Net) -> bool {
    match family {
        Family::V4 => {
            let too_big = error.kind == icmp4::UNREACHABLE && error.code == icmp4::unreachable::FRAGMENTATION_NEEDED;
            !too_big && error.kind <= icmp4::ADDRESS_MASK_REPLY && net.sysctl.ipv4.icmp_ratemask >> error.kind & 1 != 0
        }
        Family::V6 => {
            let [low, high] = net.sysctl.icmp6_ratemask;
            let word = if error.kind < 128 { low } else { high };
            word >> (error.kind & 127) & 1 != 0
        }
    }
}

/// The limits of a family. Each peer has its own bucket, whatever the width of the network that it is in; what all peers share is
/// IPv4's setting for both families.
fn limits(family: Family, net: &Net) -> Limits {
    let ipv4 = &net.sysctl.ipv4;
    let interval = match family {
        Family::V4 => ipv4.icmp_ratelimit,
        Family::V6 => net.sysctl.ipv6.icmp_ratelimit,
    };
    Limits { interval: jiffies(interval), per_second: ipv4.icmp_msgs_per_sec, burst: ipv4.icmp_msgs_burst }
}

/// Takes the price of a limited message that would leave by `device`; false when it cannot be paid.
fn pays(family: Family, device: IfIndex, peer: Addr, host: &mut Host<'_>) -> bool {
    let limits = limits(family, host.net);
    let pays = device == LO || host.limiter.allows_peer(family, peer, limits, host.now.mono);
    if pays {
        host.limiter.take_any(host.rng);
    }
    pays
}

fn jiffies(ms: i64) -> u64 {
    (u64::try_from(ms).unwrap_or(0) * HZ).div_ceil(1000)
}

/// An answer to a query, from the address that was asked (`icmp_reply`). Its checksum is filled in.
fn answer_v4(request: &Packet, message: &mut [u8], host: &mut Host<'_>) -> Option<Packet> {
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
        return finish_v4(header, proto::ICMP, icmp.as_bytes(), route, mark, host);
    }
    None
}

fn error_v6(about: &Packet, error: IcmpError, length: usize, host: &mut Host<'_>) -> Option<Packet> {
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
    finish_v6(header, proto::ICMPV6, &payload, route, mark, host)
}

/// The errors that packets to a group may cause (RFC 4443, section 2.4 e): "too big", and options that ask for it.
fn answers_groups(about: &Packet, error: IcmpError) -> bool {
    if error.kind == icmp6::TOO_BIG {
        return true;
    }
    let option = about.ip().get(error.info as usize).copied().unwrap_or(0);
    error.kind == icmp6::PARAMETER_PROBLEM && error.code == icmp6::parameter_problem::OPTION && option & 0xc0 == 0x80
}

/// Whether the packet is an ICMPv6 error, or too short to tell. Later fragments are not.
fn is_icmp6_error(packet: &Packet) -> bool {
    let head = packet.head();
    if head.broken || head.protocol != proto::ICMPV6 || packet.is_later_fragment() {
        return false;
    }
    match packet.l4().first() {
        Some(kind) => icmp6::is_error(*kind),
        None => !packet.is_fragment(),
    }
}

/// What of an IPv6 route does not show in [`Route`].
struct Way {
    device: Option<IfIndex>,
    prefsrc: Option<Addr>,
    is_anycast: bool,
}

impl Way {
    /// Takes the price of a limited message on this way; false when it cannot be paid, or there is no way.
    fn pays(&self, peer: Addr, host: &mut Host<'_>) -> bool {
        self.device.is_some_and(|device| pays(Family::V6, device, peer, host))
    }

    fn to(key: &OutputKey, net: &Net) -> Way {
        let flow = crate::route::Flow {
            src: key.src.unwrap_or_default(),
            has_src: key.src.is_some(),
            mark: key.mark,
            oif: key.oif,
            strict: key.oif.is_some() && key.src.is_none() || key.dst.is_link_local(Family::V6),
            protocol: key.protocol,
            ..crate::route::policy::plain_flow(Family::V6, key.dst)
        };
        match net.policy(Family::V6).lookup(&flow, &net.interfaces) {
            Ok(found) => {
                let route = found.route;
                let local = matches!(route.kind, RouteType::Local | RouteType::Anycast);
                let names_net = route.prefix == key.dst && route.prefix_len < 127 && found.hop.gateway.is_none();
                Way {
                    device: Some(if local { LO } else { found.hop.dev }),
                    prefsrc: route.prefsrc,
                    is_anycast: route.kind == RouteType::Anycast || names_net,
                }
            }
            Err(_) => Way { device: None, prefsrc: None, is_anycast: false },
        }
    }
}

fn echo_reply_v6(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
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
    finish_v6(header, proto::ICMPV6, &message, route, mark, host)
}

/// The fields of an answer's IP header that differ from case to case.
#[derive(Default)]
struct Header<'a> {
    src: Addr,
    dst: Addr,
    tos: u8,
    id: Id,
    options: &'a [u8],
    flow_label: u32,
}

#[derive(Clone, Copy, Default)]
enum Id {
    /// Any but 0; may be cut.
    Random,
    /// 0, and DF: nobody will put it together.
    #[default]
    DontFragment,
}

fn finish_v4(
    header: Header<'_>,
    protocol: u8,
    payload: &[u8],
    route: Route,
    mark: u32,
    host: &Host<'_>,
) -> Option<Packet> {
    let bytes = build::Ipv4 {
        src: header.src,
        dst: header.dst,
        protocol,
        ttl: hop_limit(Family::V4, &route, host.net),
        tos: header.tos,
        id: match header.id {
            Id::Random => (host.rng.next_u32() as u16).max(1),
            Id::DontFragment => 0,
        },
        dont_fragment: matches!(header.id, Id::DontFragment),
        options: header.options,
        payload,
        ..Default::default()
    };
    finish(&bytes.to_vec(), route, mark)
}

fn finish_v6(
    header: Header<'_>,
    protocol: u8,
    payload: &[u8],
    route: Route,
    mark: u32,
    host: &Host<'_>,
) -> Option<Packet> {
    let bytes = build::Ipv6 {
        src: header.src,
        dst: header.dst,
        next_header: protocol,
        hop_limit: hop_limit(Family::V6, &route, host.net),
        traffic_class: header.tos,
        flow_label: header.flow_label,
        payload,
    };
    finish(&bytes.to_vec(), route, mark)
}

fn finish(bytes: &[u8], route: Route, mark: u32) -> Option<Packet> {
    let mut packet = Packet::from_ip(bytes).ok()?;
    packet.meta.origin = Origin::Local(Sender::Kernel);
    packet.meta.made_here = true;
    packet.meta.mark = mark;
    packet.meta.oif = Some(route.oif);
    packet.meta.route = Some(route);
    Some(packet)
}

fn hop_limit(family: Family, route: &Route, net: &Net) -> u8 {
    match route.hop_limit {
        0 => net.sysctl.hop_limit(family, route.oif),
        given => given,
    }
}

fn reply_mark(about: &Packet, net: &Net) -> u32 {
    let reflect = match about.family() {
        Family::V4 => net.sysctl.ipv4.fwmark_reflect,
        Family::V6 => net.sysctl.ipv6.fwmark_reflect,
    };
    if reflect != 0 { about.meta.mark } else { 0 }
}

fn is_to_many(route: &Route) -> bool {
    matches!(route.kind, RouteType::Broadcast | RouteType::Multicast)
}

/// The device that an address with meaning on one link only is to be looked for on.
fn on_link_device(about: &Packet, addr: Addr) -> Option<IfIndex> {
    about.meta.iif.filter(|_| addr.is_link_local(Family::V6) || addr.is_multicast(Family::V6))
}

fn flow_label_of(packet: &Packet) -> u32 {
    Ipv6::new(packet.ip()).map_or(0, |ip| ip.flow_label())
}

/// The flow label of a packet of this host: the one given, or an automatic one where the setting says so (1 and 3).
fn flow_label(given: u32, src: Addr, dst: Addr, protocol: u8, ports: (u16, u16), host: &mut Host<'_>) -> u32 {
    match host.net.sysctl.ipv6.auto_flowlabels {
        _ if given != 0 => given,
        1 | 3 => host.limiter.flow_label(host.rng, src, dst, protocol, ports),
        _ => 0,
    }
}

/// The RST that answers a segment (RFC 9293, section 3.10.7.1); None for a RST, or when the header is cut.
fn reset_of(segment: &Packet) -> Option<build::Tcp<'static>> {
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

/// The end of a UDP datagram by its own length, which may be less than the packet's.
fn datagram_end(packet: &Packet) -> usize {
    let all = packet.length();
    match udp::Udp::new(packet.l4()) {
        Some(udp) if udp.len() >= 8 && !packet.is_fragment() => all.min(packet.head().l4 + usize::from(udp.len())),
        _ => all,
    }
}

/// Whether the transport checksum of a received packet is right, as far as REJECT asks (`nf_reject_verify_csum`,
/// `nf_ip_checksum`). A protocol that is not known is held against the rule of the known ones, as Linux does.
fn is_intact(packet: &Packet) -> bool {
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
fn adds_up(packet: &Packet, protocol: u8) -> bool {
    match (packet.family(), protocol) {
        _ if packet.is_checksum_trusted() => true,
        (Family::V6, _) => checksum_ok(packet, protocol),
        (Family::V4, proto::TCP | proto::UDP) => {
            let len = packet.l4().len() as u32;
            let pseudo = checksum::pseudo_header(Family::V4, packet.src(), packet.dst(), protocol, len);
            checksum::finish(checksum::combine(pseudo, checksum::sum(packet.ip()))) == 0
        }
        (Family::V4, _) => checksum::checksum(packet.ip()) == 0,
    }
}

/// Whether the checksum over all of the transport layer with its pseudo header is right.
pub(super) fn checksum_ok(packet: &Packet, protocol: u8) -> bool {
    packet.is_sum_kept() || checksum::transport(packet.family(), packet.src(), packet.dst(), protocol, packet.l4()) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{Answerer, net, net_with, received, v4, v6};
    use hairpin_wire::ipv4::Ipv4;
    use hairpin_wire::tcp::{ACK, FIN, PSH, RST, SYN, Tcp};

    fn udp4(dst: &str, ttl: u8, tos: u8, data: usize) -> Vec<u8> {
        let (src, dst) = (v4("10.0.1.2"), v4(dst));
        let payload = build::Udp { src_port: 5, dst_port: 8, payload: &vec![7; data] }.to_vec(Family::V4, src, dst);
        build::Ipv4 { src, dst, protocol: proto::UDP, ttl, tos, payload: &payload, ..Default::default() }.to_vec()
    }

    /// Source, destination, length, TOS, TTL, type, code, word, and the quote of an error.
    fn summary(packet: &Packet) -> (String, usize, u8, u8, u8, u8, u32, Vec<u8>) {
        let ip = Ipv4::new(packet.ip()).unwrap();
        let icmp = Icmp::new(packet.l4()).unwrap();
        assert!(
            ip.checksum_ok() && icmp.checksum_ok(Family::V4, ip.src(), ip.dst()) && !ip.dont_fragment() && ip.id() != 0
        );
        let way = format!("{} > {}", ip.src().display(Family::V4), ip.dst().display(Family::V4));
        let quote = icmp.payload().to_vec();
        (way, packet.length(), ip.tos(), ip.ttl(), icmp.kind(), icmp.code(), icmp.rest(), quote)
    }

    #[test]
    fn the_errors_of_a_router() {
        let mut a = Answerer::new(net());
        let way = "10.0.1.1 > 10.0.1.2".to_owned();

        let late = received(&udp4("10.0.2.2", 1, 0x12, 40));
        let error = icmp_error(&late, IcmpError::expired(Family::V4), &mut a.host()).unwrap();
        assert_eq!(summary(&error), (way.clone(), 96, 0xd2, 64, 11, 0, 0, late.ip().to_vec()));

        let large = received(&udp4("10.0.2.2", 64, 0, 1200));
        let error = icmp_error(&large, IcmpError::too_big(Family::V4, 1000), &mut a.host()).unwrap();
        assert_eq!(summary(&error), (way.clone(), 576, 0xc0, 64, 3, 4, 1000, large.ip()[..548].to_vec()));

        let closed = received(&udp4("10.0.1.1", 64, 0x10, 1));
        let error = icmp_error(&closed, IcmpError::port_unreachable(Family::V4), &mut a.host()).unwrap();
        assert_eq!(summary(&error), (way, 57, 0xd0, 64, 3, 3, 0, closed.ip().to_vec()));
        assert_eq!((error.meta.oif, error.meta.made_here), (Some(IfIndex(2)), true));
        assert_eq!(error.meta.origin, Origin::Local(Sender::Kernel));
    }

    #[test]
    fn the_source_is_the_address_asked_or_one_towards_the_sender() {
        let mut a = Answerer::new(net());
        let src = |packet: &Packet, a: &mut Answerer| {
            icmp_error(packet, IcmpError::port_unreachable(Family::V4), &mut a.host()).map(|error| error.src())
        };
        // An address of the host on another device is the source, if the packet was for it.
        assert_eq!(src(&received(&udp4("10.0.2.11", 64, 0, 1)), &mut a), Some(v4("10.0.2.11")));
        assert_eq!(src(&received(&udp4("10.0.2.2", 64, 0, 1)), &mut a), Some(v4("10.0.1.1")));
        let mut nowhere = received(&udp4("192.0.2.1", 64, 0, 1));
        nowhere.meta.route = None;
        assert_eq!(src(&nowhere, &mut a), Some(v4("10.0.1.1")));
        let mut inbound = Answerer::new(net_with(&[("net.ipv4.icmp_errors_use_inbound_ifaddr", "1")]));
        let mut other = received(&udp4("10.0.2.2", 64, 0, 1));
        other.meta.iif = Some(IfIndex(3));
        assert_eq!(src(&other, &mut inbound), Some(v4("10.0.2.1")));
    }

    #[test]
    fn a_datagram_is_quoted_without_what_follows_it() {
        let mut a = Answerer::new(net());
        let mut bytes = udp4("10.0.1.1", 64, 0, 4);
        bytes.extend([9; 6]);
        let mut ip = Ipv4::new(&mut bytes).unwrap();
        ip.change_total_len(38);
        let packet = received(&bytes);
        let error = IcmpError::port_unreachable(Family::V4);
        assert_eq!(icmp_error(&packet, error, &mut a.host()).unwrap().length(), 28 + 32);
    }

    #[test]
    fn some_are_never_told() {
        let mut a = Answerer::new(net());
        let told = |packet: &Packet, a: &mut Answerer| {
            icmp_error(packet, IcmpError::expired(Family::V4), &mut a.host()).is_some()
        };
        let icmp = |kind: u8| {
            let message = build::Icmp { kind, payload: &[0; 28], ..Default::default() };
            received(&message.packet(Family::V4, v4("10.0.1.3"), v4("10.0.2.2")))
        };
        let silent: Vec<u8> = (0..=60).filter(|kind| !told(&icmp(*kind), &mut Answerer::new(net()))).collect();
        assert_eq!(silent, [(1..=7).collect(), (9..=12).collect(), (19..=60).collect::<Vec<u8>>()].concat());

        let good = received(&udp4("10.0.2.2", 64, 0, 1));
        assert!(told(&good, &mut a));
        let mut group = good.clone();
        group.meta.link_type = LinkType::Multicast;
        assert!(!told(&group, &mut a));
        let mut later = good.clone();
        Ipv4::new(later.ip_mut()).unwrap().set_flags_offset(false, false, 1);
        later.refresh().unwrap();
        assert!(!told(&later, &mut a));
        let mut broadcast = good;
        broadcast.meta.route = broadcast.meta.route.map(|route| Route { kind: RouteType::Broadcast, ..route });
        assert!(!told(&broadcast, &mut a));
    }

    #[test]
    fn bursts() {
        let count = |a: &mut Answerer, make: &dyn Fn(&mut Host<'_>) -> Option<Packet>| {
            (0..12).filter(|_| make(&mut a.host()).is_some()).count()
        };
        let closed = received(&udp4("10.0.1.1", 64, 0, 1));
        let port = IcmpError::port_unreachable(Family::V4);
        let mut a = Answerer::new(net());
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, port, host)), 6);
        a.now.mono.0 += 2_200_000_000;
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, port, host)), 2);
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::too_big(Family::V4, 1000), host)), 12);
        let mut a = Answerer::new(net());
        assert_eq!(count(&mut a, &|host| route_error(&closed, IcmpError::no_route(Family::V4), host)), 2);
        let mut a = Answerer::new(net_with(&[("net.ipv4.icmp_ratelimit", "0")]));
        assert_eq!(count(&mut a, &|host| route_error(&closed, IcmpError::no_route(Family::V4), host)), 5);

        let bytes = build::Udp::default().packet(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::1"));
        let closed = received(&bytes);
        let mut a = Answerer::new(net());
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::port_unreachable(Family::V6), host)), 6);
        a.now.mono.0 += 100_000_000;
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::port_unreachable(Family::V6), host)), 1);
        assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::too_big(Family::V6, 1280), host)), 12);
    }

    fn tcp4(dst: &str, flags: u8, seq: u32, ack: u32, tos: u8, payload: &[u8]) -> Packet {
        let (src, dst) = (v4("10.0.1.2"), v4(dst));
        let segment = build::Tcp { src_port: 5, dst_port: 8, seq, ack, flags, payload, ..Default::default() };
        let payload = segment.to_vec(Family::V4, src, dst);
        let ip = build::Ipv4 { src, dst, protocol: proto::TCP, tos, id: 99, payload: &payload, ..Default::default() };
        received(&ip.to_vec())
    }

    /// Source, TOS, flags, sequence and acknowledgment number; the rest is the same in every reset.
    fn reset(packet: Option<Packet>) -> (Addr, u8, u8, u32, u32) {
        let packet = packet.unwrap();
        let ip = Ipv4::new(packet.ip()).unwrap();
        let tcp = Tcp::new(packet.l4()).unwrap();
        assert_eq!((packet.length(), ip.id(), ip.dont_fragment(), ip.ttl()), (40, 0, true, 64));
        assert_eq!((ip.dst(), tcp.src_port(), tcp.dst_port(), tcp.window()), (v4("10.0.1.2"), 8, 5, 0));
        assert!(checksum_ok(&packet, proto::TCP) && ip.checksum_ok());
        (ip.src(), ip.tos(), tcp.flags(), tcp.seq(), tcp.ack())
    }

    #[test]
    fn resets_of_reject() {
        let mut a = Answerer::new(net());
        let mut answer = |packet: Packet| reject_reset(&packet, &mut a.host());
        let server = v4("10.0.2.2");
        let dst = "10.0.2.2";
        assert_eq!(reset(answer(tcp4(dst, SYN, 1000, 0, 8, b""))), (server, 0, RST | ACK, 0, 1001));
        assert_eq!(reset(answer(tcp4(dst, PSH | ACK, 1000, 5000, 0, b"hello"))), (server, 0, RST, 5000, 0));
        assert_eq!(reset(answer(tcp4(dst, SYN | FIN, 1000, 0, 0, b"hello"))), (server, 0, RST | ACK, 0, 1007));
        assert!(answer(tcp4(dst, RST, 1000, 0, 0, b"")).is_none());
        let mut bad = tcp4(dst, SYN, 1000, 0, 0, b"x");
        *bad.l4_mut().last_mut().unwrap() ^= 1;
        assert!(answer(bad).is_none());
    }

    #[test]
    fn resets_of_closed_ports() {
        let mut a = Answerer::new(net());
        let mut answer = |packet: Packet| tcp_reset(&packet, &mut a.host());
        let own = v4("10.0.1.1");
        assert_eq!(reset(answer(tcp4("10.0.1.1", SYN, 7, 0, 0x10, b""))), (own, 0x10, RST | ACK, 0, 8));
        assert_eq!(reset(answer(tcp4("10.0.1.1", ACK, 7, 99, 0x10, b""))), (own, 0x10, RST, 99, 0));
        assert!(answer(tcp4("10.0.1.1", RST, 7, 99, 0, b"")).is_none());
        assert!(answer(tcp4("10.0.2.2", SYN, 7, 0, 0, b"")).is_none());
    }

    #[test]
    fn rejects_only_what_is_intact() {
        let mut a = Answerer::new(net());
        let error = IcmpError::port_unreachable(Family::V4);
        let mut answers = |bytes: &[u8]| reject_unreachable(&received(bytes), error, &mut a.host()).is_some();
        let good = udp4("10.0.2.2", 63, 8, 1);
        assert!(answers(&good));
        let mut bad = good.clone();
        bad[28] ^= 1;
        assert!(!answers(&bad));
        bad[26..28].fill(0);
        assert!(answers(&bad));
        let (src, dst) = (v4("10.0.1.2"), v4("10.0.2.2"));
        assert!(!answers(&build::ip(Family::V4, src, dst, 99, b"x")));
        assert!(answers(&build::ip(Family::V4, src, dst, proto::GRE, b"x")));
        let six = |next, payload: &[u8]| build::ip(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:2::2"), next, payload);
        assert!(!answers(&six(200, b"x")));
        assert!(!answers(&six(proto::NONE, b"")));
        let mut fragment = build::fragment_header(proto::UDP, 0, true, 1).to_vec();
        fragment.extend([0, 1, 0, 2, 0, 40, 1, 1]);
        assert!(!answers(&six(proto::FRAGMENT, &fragment)));
        assert!(!answers(&six(proto::UDP, &[0, 1, 0, 2, 0, 40, 1, 1])));
    }

    #[test]
    fn echo_and_time() {
        let mut a = Answerer::new(net());
        let (src, dst) = (v4("10.0.1.2"), v4("10.0.2.11"));
        let message =
            build::Echo { id: 3, seq: 4, payload: b"ping", ..Default::default() }.to_vec(Family::V4, src, dst);
        let request =
            build::Ipv4 { src, dst, protocol: proto::ICMP, tos: 0xb9, payload: &message, ..Default::default() };
        let reply = echo_reply(&received(&request.to_vec()), &mut a.host()).unwrap();
        assert_eq!(summary(&reply), ("10.0.2.11 > 10.0.1.2".into(), 32, 0xb9, 64, 0, 0, 3 << 16 | 4, b"ping".to_vec()));

        let message = build::Icmp { kind: icmp4::TIMESTAMP, code: 0, rest: 9, payload: &[1, 2, 3, 4, 5, 6, 7, 8] };
        let time = wall_ms(a.now).to_be_bytes();
        let reply = timestamp_reply(&received(&message.packet(Family::V4, src, dst)), &mut a.host()).unwrap();
        let expected = [&[1, 2, 3, 4][..], &time, &time].concat();
        assert_eq!(summary(&reply), ("10.0.2.11 > 10.0.1.2".into(), 40, 0, 64, 14, 0, 9, expected));

        let group = received(&build::Echo::default().packet(Family::V4, src, v4("10.0.1.255")));
        assert_eq!(echo_reply(&group, &mut a.host()).map(|reply| reply.src()), Some(v4("10.0.1.1")));
    }

    #[test]
    fn ipv6_errors_and_echoes() {
        let mut a = Answerer::new(net());
        let (src, near, far) = (v6("2001:db8:1::2"), v6("2001:db8:1::1"), v6("2001:db8:2::2"));
        let large = build::Udp { src_port: 1, dst_port: 2, payload: &[0; 1400] }.packet(Family::V6, src, far);
        let error = icmp_error(&received(&large), IcmpError::too_big(Family::V6, 1280), &mut a.host()).unwrap();
        let ip = Ipv6::new(error.ip()).unwrap();
        let icmp = Icmp::new(error.l4()).unwrap();
        assert_eq!((error.length(), ip.src(), ip.dst(), ip.hop_limit(), ip.traffic_class()), (1280, near, src, 64, 0));
        assert_eq!((icmp.kind(), icmp.code(), icmp.rest(), icmp.payload()), (2, 0, 1280, &large[..1232]));
        assert!(icmp.checksum_ok(Family::V6, near, src) && ip.flow_label() != 0);
        assert!(icmp_error(&error, IcmpError::expired(Family::V6), &mut a.host()).is_none());

        let mut request = build::Echo::default().packet(Family::V6, src, near);
        Ipv6::new(&mut request).unwrap().set_traffic_class(0xb9);
        let reply = echo_reply(&received(&request), &mut a.host()).unwrap();
        assert_eq!((reply.src(), reply.tos(), reply.l4()[0]), (near, 0xb9, 129));
        let anycast = build::Echo::default().packet(Family::V6, src, v6("2001:db8:1::"));
        let reply = echo_reply(&received(&anycast), &mut a.host()).unwrap();
        assert_eq!(reply.src(), near);
        let mut plain = Answerer::new(net_with(&[("net.ipv6.auto_flowlabels", "0")]));
        let reply = echo_reply(&received(&request), &mut plain.host()).unwrap();
        assert_eq!(Ipv6::new(reply.ip()).unwrap().flow_label(), 0);
    }

    #[test]
    fn groups_cause_few_errors_in_ipv6() {
        let mut a = Answerer::new(net());
        let hop = |option: u8| {
            let payload = [proto::NONE, 0, option, 4, 0, 0, 0, 0];
            received(&build::ip(Family::V6, v6("2001:db8:1::2"), v6("ff02::1"), proto::HOPOPTS, &payload))
        };
        let option = IcmpError::bad_header6(icmp6::parameter_problem::OPTION, 42);
        assert_eq!(icmp_error(&hop(0x9e), option, &mut a.host()).map(|error| error.src()), Some(v6("2001:db8:1::1")));
        assert!(icmp_error(&hop(0xde), option, &mut a.host()).is_none());
        assert!(icmp_error(&hop(0x9e), IcmpError::expired(Family::V6), &mut a.host()).is_none());
    }

    #[test]
    fn redirects_name_the_next_hop_and_become_rare() {
        let mut a = Answerer::new(net());
        let packet = received(&udp4("10.0.1.3", 63, 0, 1));
        let route = packet.meta.route.unwrap();
        let error = redirect(&packet, &route, &mut a.host()).unwrap();
        let expected = ("10.0.1.1 > 10.0.1.2".into(), 57, 0xc0, 64, 5, 1, 0x0a00_0103, packet.ip().to_vec());
        assert_eq!(summary(&error), expected);
        assert!(redirect(&packet, &route, &mut a.host()).is_none());
        a.now.mono.0 += 60_000_000;
        assert!(redirect(&packet, &route, &mut a.host()).is_some());
    }

    #[test]
    fn ipv6_redirects_come_from_the_link() {
        let udp = build::Udp { src_port: 1, dst_port: 2, payload: b"x" };
        let packet = received(&udp.packet(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::7")));
        let route = packet.meta.route.unwrap();
        assert!(redirect(&packet, &route, &mut Answerer::new(net()).host()).is_none());
        let mut with_link_local = net();
        let own = with_link_local.interfaces[1].addresses[1];
        with_link_local.interfaces[1].addresses.push(crate::net::IfAddr { addr: v6("fe80::1"), ..own });
        let mut a = Answerer::new(with_link_local);
        let answer = redirect(&packet, &route, &mut a.host()).unwrap();
        let icmp = Icmp::new(answer.l4()).unwrap();
        assert_eq!((answer.src(), answer.dst(), answer.ttl()), (v6("fe80::1"), packet.src(), 255));
        assert_eq!((icmp.kind(), icmp6::target(icmp.payload()), icmp.rest()), (137, packet.dst(), 0));
        assert!(icmp.checksum_ok(Family::V6, answer.src(), answer.dst()));
        // 49 and 8 bytes in units of 8, the rest of the packet is left out.
        assert_eq!(icmp.payload()[32..40], [4, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(icmp.payload()[40..], packet.ip()[..48]);
        assert_eq!((1..12).filter(|_| redirect(&packet, &route, &mut a.host()).is_some()).count(), 5);
    }

    #[test]
    fn marks_are_reflected_if_asked() {
        let mut packet = received(&udp4("10.0.1.1", 64, 0, 1));
        packet.meta.mark = 7;
        let error = IcmpError::port_unreachable(Family::V4);
        let mark = |net| icmp_error(&packet, error, &mut Answerer::new(net).host()).map(|error| error.meta.mark);
        assert_eq!(mark(net()), Some(0));
        assert_eq!(mark(net_with(&[("net.ipv4.fwmark_reflect", "1")])), Some(7));
    }
}
