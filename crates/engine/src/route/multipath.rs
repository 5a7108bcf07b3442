//! Choosing among the hops of a route by a hash of the packet, so that a conversation keeps its way.
//!
//! Linux's hash is keyed with a random number of the boot; which hop a given conversation gets is therefore nobody's promise.
//! The promises kept are: both directions of a conversation, and ICMP errors about it, hash alike; the shares follow the weights.

use super::Flow;
use super::fib::Hop;
use super::policy::Found;
use crate::net::Net;
use crate::packet::Packet;
use hairpin_wire::{Addr, Family, proto};

/// The hop for a hash, which is only asked for when there is a choice. IPv4: a hop whose source address is the one that the
/// sender already has is preferred.
pub(crate) fn choose<'a>(found: &Found<'a>, hash: impl FnOnce() -> u64, src: Option<Addr>) -> &'a Hop {
    let hops = &found.route.hops;
    if hops.len() < 2 {
        return found.hop;
    }
    let total: u64 = hops.iter().map(|hop| u64::from(hop.weight)).sum();
    // A point below the total weight; every hop owns as many points as it weighs.
    let point = ((hash() >> 32) * total.max(1)) >> 32;
    let mut sum = 0;
    let mut best: Option<(u8, &Hop)> = None;
    for hop in hops {
        sum += u64::from(hop.weight);
        let own_source = src.is_some() && hop.source == src;
        let score = u8::from(own_source) * 2 + u8::from(point < sum);
        if score > 0 && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, hop));
        }
    }
    best.map_or(found.hop, |(_, hop)| hop)
}

/// The hash of a received packet by the policy set.
pub(crate) fn of_packet(net: &Net, packet: &Packet) -> u64 {
    let family = packet.family();
    let ports = if packet.is_fragment() { (0, 0) } else { packet.ports().unwrap_or_default() };
    let inner = match policy(net, family) {
        0 | 2 => quoted(packet),
        _ => None,
    };
    let (src, dst) = inner.unwrap_or((packet.src(), packet.dst()));
    hash(net, family, src, dst, packet.protocol(), ports)
}

/// The hash of what a local sender asks for.
pub(crate) fn of_flow(net: &Net, flow: &Flow) -> u64 {
    hash(net, flow.family, flow.src, flow.dst, flow.protocol, flow.ports)
}

fn policy(net: &Net, family: Family) -> i64 {
    match family {
        Family::V4 => net.sysctl.ipv4.fib_multipath_hash_policy,
        Family::V6 => net.sysctl.ipv6.fib_multipath_hash_policy,
    }
}

fn hash(net: &Net, family: Family, src: Addr, dst: Addr, protocol: u8, (sport, dport): (u16, u16)) -> u64 {
    const SRC: i64 = 0x1;
    const DST: i64 = 0x2;
    const PROTOCOL: i64 = 0x4;
    const SPORT: i64 = 0x10;
    const DPORT: i64 = 0x20;
    let fields = match (policy(net, family), family) {
        (1, _) => SRC | DST | PROTOCOL | SPORT | DPORT,
        (3, Family::V4) => net.sysctl.ipv4.fib_multipath_hash_fields,
        (3, Family::V6) => net.sysctl.ipv6.fib_multipath_hash_fields,
        _ => SRC | DST,
    };
    let only = |field: i64, value: u128| if fields & field != 0 { value } else { 0 };
    let a = (only(SRC, src.0), only(SPORT, sport.into()));
    let b = (only(DST, dst.0), only(DPORT, dport.into()));
    // Either direction gives the same order.
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut sum = net.sysctl.ipv4.fib_multipath_hash_seed as u64;
    for word in [low.0, high.0] {
        sum = mix(mix(sum ^ word as u64) ^ (word >> 64) as u64);
    }
    mix(mix(sum ^ (low.1 << 16 | high.1) as u64) ^ only(PROTOCOL, protocol.into()) as u64)
}

/// The addresses of the packet that an ICMP error is about.
fn quoted(packet: &Packet) -> Option<(Addr, Addr)> {
    let family = packet.family();
    let l4 = packet.l4();
    let kind = *l4.first()?;
    let (is_error, first) = match family {
        Family::V4 => (packet.protocol() == proto::ICMP && matches!(kind, 3 | 5 | 11 | 12), 12),
        Family::V6 => (packet.protocol() == proto::ICMPV6 && kind < 128, 8),
    };
    let quote = l4.get(8..).filter(|quote| is_error && quote.len() >= family.header_len())?;
    let (src, dst) = quote.get(first..)?.split_at_checked(family.addr_len())?;
    Some((Addr::read(family, src), Addr::read(family, dst)))
}

/// The finalizer of splitmix64: every bit of the result depends on every bit of the input.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
