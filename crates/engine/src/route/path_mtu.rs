//! The MTU of a way, learnt from errors about this host's own packets.
//!
//! IPv4 keeps it with the next hop that leads there (`update_or_create_fnhe`), IPv6 beside the route (`rt6_insert_exception`). It counts
//! for what this host sends. What it forwards keeps to it in IPv4 under `ip_forward_use_pmtu`, or when it is locked, which it is when it
//! is smaller than `min_pmtu`; in IPv6 always, but only on its way out, behind FORWARD.
//! Sockets learn by themselves: what is looked at here are errors about ICMP messages, which the host sends without one.

use super::{OutputKey, Route};
use crate::net::{IfIndex, Net};
use crate::packet::Packet;
use crate::time::Instant;
use hairpin_wire::icmp::Icmp;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, icmp4, icmp6, ipv4, ipv6, proto};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many are kept; beyond, one goes, whichever is found at once.
const MOST: usize = 4096;

/// A way: the destination, and how packets to it leave.
type Way = (Family, Addr, IfIndex, Option<Addr>);

/// What was learnt of ways.
#[derive(Debug, Default)]
pub(crate) struct PathMtus(BTreeMap<Way, Learnt>);

#[derive(Clone, Copy, Debug)]
struct Learnt {
    mtu: u32,
    is_locked: bool,
    until: Instant,
}

impl PathMtus {
    /// The largest packet that is let into FORWARD by this route.
    pub(crate) fn limit_before_forward(&self, p: &Packet, route: &Route, net: &Net, now: Instant) -> u32 {
        match p.family() {
            Family::V4 => self.limit(p, route, net, now),
            Family::V6 => route.mtu,
        }
    }

    /// The largest packet that leaves by this route.
    #[inline]
    pub(crate) fn limit(&self, p: &Packet, route: &Route, net: &Net, now: Instant) -> u32 {
        if self.0.is_empty() {
            return route.mtu;
        }
        let is_forwarded = p.meta.origin == crate::packet::Origin::Wire;
        self.of(p.family(), p.dst(), route, is_forwarded, net, now)
    }

    /// As [`PathMtus::limit`] for a packet to this address that is forwarded or this host's own.
    pub(crate) fn of(
        &self,
        family: Family,
        dst: Addr,
        route: &Route,
        is_forwarded: bool,
        net: &Net,
        now: Instant,
    ) -> u32 {
        let Some(learnt) = self.get(&way(family, dst, route), now) else { return route.mtu };
        let forwards_by_it = family == Family::V6 || learnt.is_locked || net.sysctl.ipv4.ip_forward_use_pmtu != 0;
        if is_forwarded && !forwards_by_it { route.mtu } else { learnt.mtu.min(route.mtu) }
    }

    fn get(&self, way: &Way, now: Instant) -> Option<Learnt> {
        self.0.get(way).copied().filter(|learnt| now < learnt.until)
    }

    /// Learns from an ICMP message for this host.
    pub(crate) fn hear(&mut self, message: &Packet, net: &Net, now: Instant) {
        let Some(icmp) = Icmp::new(message.l4()) else { return };
        let quoted = message.l4().get(8..).unwrap_or_default();
        match (message.family(), icmp.kind(), icmp.code()) {
            (Family::V4, icmp4::UNREACHABLE, icmp4::unreachable::FRAGMENTATION_NEEDED) => {
                self.hear_v4(message, quoted, u32::from(icmp4::mtu(icmp.rest())), net, now);
            }
            (Family::V6, icmp6::TOO_BIG, _) => self.hear_v6(message, quoted, icmp.rest(), net, now),
            _ => {}
        }
    }

    fn hear_v4(&mut self, message: &Packet, quoted: &[u8], said: u32, net: &Net, now: Instant) {
        let Some(header) = quoted.first_chunk::<{ ipv4::HEADER_LEN }>() else { return };
        let length = usize::from(header[0] & 15) * 4;
        let is_echo_reply = quoted.len() >= length + 8 && quoted.get(length) == Some(&icmp4::ECHO_REPLY);
        if length < ipv4::HEADER_LEN || header[9] != proto::ICMP || !is_echo_reply {
            return;
        }
        let said = match net.sysctl.ipv4.ip_no_pmtu_disc {
            0 => said,
            1 => 0,
            _ => return,
        };
        let (src, dst) = (Addr::read(Family::V4, &header[12..16]), Addr::read(Family::V4, &header[16..20]));
        let mark = reply_mark(message, net);
        let key =
            OutputKey { src: Some(src), tos: header[1], mark, protocol: proto::ICMP, ..OutputKey::to(Family::V4, dst) };
        let Ok(route) = net.route_output(&key) else { return };
        let way = way(Family::V4, dst, &route);
        let known = self.get(&way, now);
        let old = known.map_or(route.mtu, |known| known.mtu);
        if old < said || known.is_some_and(|known| known.is_locked) {
            return;
        }
        let smallest = u32::try_from(net.sysctl.ipv4.min_pmtu).unwrap_or(u32::MAX);
        let (mtu, is_locked) = if said < smallest { (old.min(smallest), true) } else { (said, false) };
        self.keep(way, Learnt { mtu, is_locked, until: now + seconds(net.sysctl.ipv4.mtu_expires) });
    }

    fn hear_v6(&mut self, message: &Packet, quoted: &[u8], said: u32, net: &Net, now: Instant) {
        const SMALLEST: u32 = 1280;
        let Some(ip) = Ipv6::new(quoted) else { return };
        if said < SMALLEST || !names_icmp(quoted, ip.next_header()) {
            return;
        }
        let (src, dst) = (ip.src(), ip.dst());
        let (mark, oif) = (reply_mark(message, net), message.meta.iif);
        let Ok(route) = net.route_output(&OutputKey { src: Some(src), mark, oif, ..OutputKey::to(Family::V6, dst) })
        else {
            return;
        };
        let way = way(Family::V6, dst, &route);
        if said >= self.get(&way, now).map_or(route.mtu, |known| known.mtu) {
            return;
        }
        self.keep(way, Learnt { mtu: said, is_locked: false, until: now + seconds(net.sysctl.ipv6.mtu_expires) });
    }

    fn keep(&mut self, way: Way, learnt: Learnt) {
        if self.0.len() >= MOST && !self.0.contains_key(&way) {
            self.0.pop_first();
        }
        self.0.insert(way, learnt);
    }
}

fn seconds(setting: i64) -> Duration {
    Duration::from_secs(u64::try_from(setting).unwrap_or(0))
}

fn way(family: Family, dst: Addr, route: &Route) -> Way {
    (family, dst, route.oif, route.gateway)
}

fn reply_mark(message: &Packet, net: &Net) -> u32 {
    let reflect = match message.family() {
        Family::V4 => net.sysctl.ipv4.fwmark_reflect,
        Family::V6 => net.sysctl.ipv6.fwmark_reflect,
    };
    if reflect != 0 { message.meta.mark } else { 0 }
}

/// Whether a quoted IPv6 packet is an ICMPv6 message of which eight bytes are there, behind whatever extension headers.
fn names_icmp(quoted: &[u8], mut next: u8) -> bool {
    let mut at = ipv6::HEADER_LEN;
    while ipv6::is_extension(next) && next != proto::NONE {
        let Some(&[following, words, high, low, ..]) = quoted.get(at..) else { return false };
        at += match next {
            // What is not at the beginning of a packet cannot be told.
            proto::FRAGMENT if u16::from_be_bytes([high, low]) & 0xfff8 != 0 => return false,
            proto::FRAGMENT => 8,
            proto::AH => (usize::from(words) + 2) * 4,
            _ => (usize::from(words) + 1) * 8,
        };
        next = following;
    }
    next == proto::ICMPV6 && quoted.len() >= at + 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{net_with, v4};
    use crate::packet::Origin;
    use hairpin_wire::build::{self, Ipv4};

    /// 3/4 from the peer about an echo reply of the host's own.
    fn told(src: Addr, peer: Addr, mtu: u32) -> Packet {
        let quoted = Ipv4 { src, dst: peer, protocol: proto::ICMP, payload: &[0; 8], ..Ipv4::default() }.to_vec();
        let error = build::Icmp { kind: icmp4::UNREACHABLE, code: 4, rest: mtu, payload: &quoted };
        let bytes = build::ip(Family::V4, peer, src, proto::ICMP, &error.to_vec(Family::V4, peer, src));
        Packet::from_ip(&bytes).unwrap()
    }

    fn ends(net: &Net) -> (Addr, Addr, Route) {
        let peer = v4("10.0.1.2");
        let route = net.route_output(&OutputKey::to(Family::V4, peer)).unwrap();
        (route.prefsrc.unwrap(), peer, route)
    }

    #[test]
    fn learnt_for_a_time_and_not_for_what_is_forwarded() {
        let net = net_with(&[("net.ipv4.route.mtu_expires", "20")]);
        let (own, peer, route) = ends(&net);
        let mut mtus = PathMtus::default();
        let at = Instant::from_secs;
        mtus.hear(&told(own, peer, 900), &net, at(1));
        let mut packet = Packet::from_ip(&build::ip(Family::V4, own, peer, proto::ICMP, &[0; 8])).unwrap();
        assert_eq!(mtus.limit(&packet, &route, &net, at(20)), route.mtu);
        packet.meta.origin = Origin::Local(Default::default());
        assert_eq!(mtus.limit(&packet, &route, &net, at(20)), 900);
        assert_eq!(mtus.limit(&packet, &route, &net, at(21)), route.mtu);
    }

    #[test]
    fn a_lie_is_locked() {
        let net = net_with(&[]);
        let (own, peer, route) = ends(&net);
        let mut mtus = PathMtus::default();
        let now = Instant::from_secs(1);
        mtus.hear(&told(own, peer, 0), &net, now);
        mtus.hear(&told(own, peer, 551), &net, now);
        let of = |mtus: &PathMtus, is_forwarded| mtus.of(Family::V4, peer, &route, is_forwarded, &net, now);
        assert_eq!((of(&mtus, false), of(&mtus, true)), (552, 552));
    }

    #[test]
    fn only_so_many_are_kept() {
        let net = net_with(&[]);
        let (own, peer, route) = ends(&net);
        let mut mtus = PathMtus::default();
        for n in 0..MOST as u32 + 10 {
            let learnt = Learnt { mtu: 1000, is_locked: false, until: Instant::from_secs(100 + u64::from(n)) };
            mtus.keep(way(Family::V4, Addr::v4(n), &route), learnt);
        }
        assert_eq!(mtus.0.len(), MOST);
        let known = |n| mtus.get(&way(Family::V4, Addr::v4(n), &route), Instant::default()).is_some();
        assert!(!known(9) && known(10));
        // Nobody else's addresses are believed.
        let mut mtus = PathMtus::default();
        mtus.hear(&told(v4("192.0.2.77"), peer, 900), &net, Instant::default());
        mtus.hear(&told(own, v4("10.255.255.255"), 90_000), &net, Instant::default());
        assert!(mtus.0.is_empty());
    }
}
