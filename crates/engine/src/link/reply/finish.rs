//! From what an answer says to a packet: header, route, mark, flow label.

use super::Host;
use crate::net::{IfIndex, Net};
use crate::packet::{Origin, Packet, Sender};
use crate::route::{Route, RouteType};
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, build};

/// The fields of an answer's IP header that differ from case to case.
#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) tos: u8,
    pub(super) id: Id,
    pub(super) options: &'a [u8],
    pub(super) flow_label: u32,
}

#[derive(Clone, Copy, Default)]
pub(super) enum Id {
    /// Any but 0; may be cut.
    Random,
    /// 0, and DF: nobody will put it together.
    #[default]
    DontFragment,
}

/// The packet of a header and its payload, on its way by `route`.
pub(super) fn finish_ip(
    family: Family,
    header: Header<'_>,
    protocol: u8,
    payload: &[u8],
    (route, mark): (Route, u32),
    host: &Host<'_>,
) -> Option<Packet> {
    let Header { src, dst, tos, id, options, flow_label } = header;
    let ttl = hop_limit(family, &route, host.net);
    let bytes = match family {
        Family::V4 => {
            let (id, dont_fragment) = match id {
                Id::Random => ((host.rng.next_u32() as u16).max(1), false),
                Id::DontFragment => (0, true),
            };
            let ip =
                build::Ipv4 { src, dst, protocol, ttl, tos, id, dont_fragment, options, payload, ..Default::default() };
            ip.to_vec()
        }
        Family::V6 => {
            build::Ipv6 { src, dst, next_header: protocol, hop_limit: ttl, traffic_class: tos, flow_label, payload }
                .to_vec()
        }
    };
    finish(&bytes, route, mark)
}

pub(super) fn finish(bytes: &[u8], route: Route, mark: u32) -> Option<Packet> {
    let mut packet = Packet::from_ip(bytes).ok()?;
    packet.meta.origin = Origin::Local(Sender::Kernel);
    packet.meta.made_here = true;
    packet.meta.mark = mark;
    packet.meta.oif = Some(route.oif);
    packet.meta.route = Some(route);
    Some(packet)
}

pub(super) fn hop_limit(family: Family, route: &Route, net: &Net) -> u8 {
    match route.hop_limit {
        0 => net.sysctl.hop_limit(family, route.oif),
        given => given,
    }
}

pub(super) fn reply_mark(about: &Packet, net: &Net) -> u32 {
    let reflect = match about.family() {
        Family::V4 => net.sysctl.ipv4.fwmark_reflect,
        Family::V6 => net.sysctl.ipv6.fwmark_reflect,
    };
    if reflect != 0 { about.meta.mark } else { 0 }
}

pub(super) fn is_to_many(route: &Route) -> bool {
    matches!(route.kind, RouteType::Broadcast | RouteType::Multicast)
}

/// The device that an address with meaning on one link only is to be looked for on.
pub(super) fn on_link_device(about: &Packet, addr: Addr) -> Option<IfIndex> {
    about.meta.iif.filter(|_| addr.is_link_local(Family::V6) || addr.is_multicast(Family::V6))
}

pub(super) fn flow_label_of(packet: &Packet) -> u32 {
    Ipv6::new(packet.ip()).map_or(0, |ip| ip.flow_label())
}

/// The flow label of a packet of this host: the one given, or an automatic one where the setting says so (1 and 3).
pub(super) fn flow_label(
    given: u32,
    src: Addr,
    dst: Addr,
    protocol: u8,
    ports: (u16, u16),
    host: &mut Host<'_>,
) -> u32 {
    match host.net.sysctl.ipv6.auto_flowlabels {
        _ if given != 0 => given,
        1 | 3 => host.limiter.flow_label(host.rng, src, dst, protocol, ports),
        _ => 0,
    }
}
