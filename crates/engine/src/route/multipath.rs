//! Choosing among the hops of a route by a hash of the packet, so that a conversation keeps its way.
//!
//! The hash is Linux's own (`fib_multipath_hash`, `rt6_multipath_hash`): SipHash of what the policy names, under
//! `fib_multipath_hash_seed`. A seed of 0 stands for a random number of the boot in Linux, and for 0 here: which hop a given conversation
//! gets is then nobody's promise, but both directions of a conversation, and ICMP errors about it, hash alike.

use super::Flow;
use super::dissect::{Depth, Dissected, dissect};
use super::fib::Hop;
use super::policy::Found;
use crate::jhash::jhash_3words;
use crate::net::Net;
use crate::packet::Packet;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, proto};
use siphasher::sip::SipHasher24;

/// The hop for a hash of 31 bits, which is only asked for when there is a choice (`fib_select_multipath`, `fib6_select_path`). IPv4: a hop
/// whose source address is the one that the sender already has is preferred.
pub(crate) fn choose<'a>(found: &Found<'a>, hash: impl FnOnce() -> u32, src: Option<Addr>) -> &'a Hop {
    let hops = &found.route.hops;
    if hops.len() < 2 {
        return found.hop;
    }
    let total = hops.iter().map(|hop| u64::from(hop.weight)).sum::<u64>().max(1);
    let hash = u64::from(hash());
    let mut sum = 0;
    let mut best: Option<(u8, &Hop)> = None;
    for hop in hops {
        sum += u64::from(hop.weight);
        // Every hop owns as much of the range of hashes as it weighs.
        let end = ((sum << 31) + total / 2) / total;
        let own_source = src.is_some() && hop.source == src;
        let score = u8::from(own_source) * 2 + u8::from(hash < end);
        if score > 0 && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, hop));
        }
    }
    best.map_or(found.hop, |(_, hop)| hop)
}

/// Fields of `fib_multipath_hash_fields` that every packet has.
const SRC: i64 = 0x1;
const DST: i64 = 0x2;
const PROTOCOL: i64 = 0x4;
const LABEL: i64 = 0x8;
const SPORT: i64 = 0x10;
const DPORT: i64 = 0x20;

/// The same fields of what a tunnel carries lie this many bits higher.
const INNER_SHIFT: u32 = 6;
const OUTER: i64 = 0x3f;

/// The hash of a received packet by the policy set.
pub(crate) fn of_packet(net: &Net, packet: &Packet) -> u32 {
    let family = packet.family();
    let read = |depth| dissect(packet.ip(), family, depth);
    match policy(net, family) {
        1 => Keys { label: 0, ..Keys::of(&read(Depth::Outer)) }.hash(net),
        2 => Keys::of(&read(Depth::Inner)).addresses().hash(net),
        3 => by_fields(net, packet) >> 1,
        _ => by_addresses(packet, Keys::of(&read(Depth::Outer))).hash(net),
    }
}

/// Policy 3: the fields that are set, of the packet and of what a tunnel carries.
fn by_fields(net: &Net, packet: &Packet) -> u32 {
    let family = packet.family();
    let fields = match family {
        Family::V4 => net.sysctl.ipv4.fib_multipath_hash_fields,
        Family::V6 => net.sysctl.ipv6.fib_multipath_hash_fields,
    };
    let of = |depth, fields: i64| {
        let found = dissect(packet.ip(), family, depth);
        let allowed = if found.family == Family::V4 { !LABEL } else { !0 };
        (found.is_tunnel, Keys::of(&found).only(fields & allowed).hash_32(net))
    };
    // What is not asked for is not looked at, and a tunnel not known as one.
    let (is_tunnel, outer) = if fields & OUTER == 0 { (true, 0) } else { of(Depth::Outer, fields & OUTER) };
    let inner_fields = fields >> INNER_SHIFT & OUTER;
    let inner = match is_tunnel && inner_fields != 0 {
        true => Some(of(Depth::Inner, inner_fields)).filter(|(is_tunnel, _)| *is_tunnel).map_or(0, |(_, hash)| hash),
        false => 0,
    };
    jhash_3words(outer, inner, 0, 0u32.wrapping_sub(4))
}

/// The hash of what a local sender asks for.
pub(crate) fn of_flow(net: &Net, flow: &Flow) -> u32 {
    let family = flow.family;
    let whole = Keys { family, src: flow.src, dst: flow.dst, protocol: flow.protocol, label: 0, ports: flow.ports };
    match policy(net, family) {
        1 => whole.hash(net),
        3 => whole.by_outer(net, fields(net, family)),
        _ => whole.addresses().hash(net),
    }
}

/// The hash of an IPv6 packet that a rule of OUTPUT sends another way: by its addresses and label, and by protocol and ports where a rule
/// asks for them (`ip6_route_me_harder`). None for IPv4, where it is that of any local sender.
pub(crate) fn of_rerouted(net: &Net, packet: &Packet, protocol: u8, ports: (u16, u16)) -> Option<u32> {
    let ip = Ipv6::new(packet.ip()).filter(|_| packet.family() == Family::V6)?;
    let label = ip.flow_label();
    let whole = Keys { family: Family::V6, src: ip.src(), dst: ip.dst(), protocol, label, ports };
    Some(match policy(net, Family::V6) {
        1 => Keys { label: 0, ..whole }.hash(net),
        3 => whole.by_outer(net, fields(net, Family::V6)),
        _ => whole.addresses().hash(net),
    })
}

/// Policy 0: the addresses of the packet, or of the one that an ICMP error is about; in IPv6 flow label and next header as well.
fn by_addresses(packet: &Packet, whole: Keys) -> Keys {
    let ip = quoted(packet).unwrap_or(packet.ip());
    match whole.family {
        Family::V4 => {
            let addr = |at: usize| ip.get(at..at + 4).map(|bytes| Addr::read(Family::V4, bytes)).unwrap_or_default();
            Keys { src: addr(12), dst: addr(16), ..whole }.only(SRC | DST)
        }
        Family::V6 => match Ipv6::new(ip) {
            Some(ip) => Keys {
                src: ip.src(),
                dst: ip.dst(),
                protocol: ip.next_header(),
                label: ip.flow_label(),
                ports: (0, 0),
                ..whole
            },
            None => whole.only(SRC | DST),
        },
    }
}

fn policy(net: &Net, family: Family) -> i64 {
    match family {
        Family::V4 => net.sysctl.ipv4.fib_multipath_hash_policy,
        Family::V6 => net.sysctl.ipv6.fib_multipath_hash_policy,
    }
}

fn fields(net: &Net, family: Family) -> i64 {
    match family {
        Family::V4 => net.sysctl.ipv4.fib_multipath_hash_fields & !LABEL,
        Family::V6 => net.sysctl.ipv6.fib_multipath_hash_fields,
    }
}

/// What is hashed (`struct flow_keys`).
#[derive(Clone, Copy)]
struct Keys {
    family: Family,
    src: Addr,
    dst: Addr,
    protocol: u8,
    label: u32,
    ports: (u16, u16),
}

impl Keys {
    fn of(found: &Dissected) -> Keys {
        let Dissected { family, src, dst, protocol, ports, label, .. } = *found;
        // The dissector keeps the label in the machine's order.
        let label = if family == Family::V6 { label.swap_bytes() } else { 0 };
        Keys { family, src, dst, protocol, label, ports }
    }

    /// The addresses, and what says as much in IPv6.
    fn addresses(self) -> Keys {
        match self.family {
            Family::V4 => self.only(SRC | DST),
            Family::V6 => self.only(SRC | DST | LABEL | PROTOCOL),
        }
    }

    /// The hash of a local sender's fields by policy 3.
    fn by_outer(self, net: &Net, fields: i64) -> u32 {
        if fields & OUTER == 0 { 0 } else { self.only(fields).hash(net) }
    }

    fn only(self, fields: i64) -> Keys {
        let has = |field| fields & field != 0;
        Keys {
            family: self.family,
            src: if has(SRC) { self.src } else { Addr::UNSPECIFIED },
            dst: if has(DST) { self.dst } else { Addr::UNSPECIFIED },
            protocol: if has(PROTOCOL) { self.protocol } else { 0 },
            label: if has(LABEL) { self.label } else { 0 },
            ports: (if has(SPORT) { self.ports.0 } else { 0 }, if has(DPORT) { self.ports.1 } else { 0 }),
        }
    }

    fn hash(self, net: &Net) -> u32 {
        self.hash_32(net) >> 1
    }

    /// `flow_hash_from_keys_seed`: the fields lie as in the kernel's structure on a little-endian machine, with the lesser end first, so
    /// that either direction gives the same.
    fn hash_32(self, net: &Net) -> u32 {
        const PROTOCOL_AT: usize = 2;
        const LABEL_AT: usize = 4;
        const PORTS_AT: usize = 28;
        const ADDRS_AT: usize = 36;
        let len = self.family.addr_len();
        let mut bytes = [0u8; ADDRS_AT + 2 * 16 + 4];
        bytes[PROTOCOL_AT] = self.protocol;
        bytes[LABEL_AT..LABEL_AT + 4].copy_from_slice(&self.label.to_be_bytes());
        let (mut sport, mut dport) = (self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes());
        if u16::from_le_bytes(dport) < u16::from_le_bytes(sport) {
            std::mem::swap(&mut sport, &mut dport);
        }
        bytes[PORTS_AT..PORTS_AT + 2].copy_from_slice(&sport);
        bytes[PORTS_AT + 2..PORTS_AT + 4].copy_from_slice(&dport);
        let (mut src, mut dst) = (self.src, self.dst);
        let is_less = match self.family {
            Family::V4 => dst.as_u32().swap_bytes() < src.as_u32().swap_bytes(),
            Family::V6 => dst.0 < src.0,
        };
        if is_less {
            std::mem::swap(&mut src, &mut dst);
        }
        src.write(self.family, &mut bytes[ADDRS_AT..ADDRS_AT + len]);
        dst.write(self.family, &mut bytes[ADDRS_AT + len..ADDRS_AT + 2 * len]);
        let seed = net.sysctl.ipv4.fib_multipath_hash_seed as u32;
        let key = u64::from(seed) << 32 | u64::from(seed);
        // The structure's padding counts.
        (SipHasher24::new_with_keys(key, key).hash(&bytes[..ADDRS_AT + 2 * len + 4]) as u32).max(1)
    }
}

/// The packet that an ICMP error is about, from its network header on.
fn quoted(packet: &Packet) -> Option<&[u8]> {
    if packet.is_later_fragment() {
        return None;
    }
    let family = packet.family();
    let l4 = packet.l4();
    let kind = *l4.first()?;
    let is_error = match family {
        Family::V4 => packet.protocol() == proto::ICMP && matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Behind extension headers it is not looked for.
        Family::V6 => packet.ip().get(6) == Some(&proto::ICMPV6) && matches!(kind, 1..=4),
    };
    l4.get(8..).filter(|quote| is_error && quote.len() >= family.header_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{net_with, v4, v6};

    #[test]
    fn hashes_of_the_kernel() {
        // `ip route get` of Linux 6.18 with the seed 12345 and next hops of weight 1 and 2: which destinations take the first.
        let net = net_with(&[("net.ipv4.fib_multipath_hash_seed", "12345")]);
        let plain = Keys {
            family: Family::V4,
            src: v4("10.0.1.2"),
            dst: Addr::UNSPECIFIED,
            protocol: 0,
            label: 0,
            ports: (0, 0),
        };
        let takes_first = |keys: Keys| u64::from(keys.hash(&net)) < (1u64 << 31) / 3;
        let first = |keys: &dyn Fn(u128) -> Keys| (1..13).filter(|n| takes_first(keys(*n))).collect::<Vec<_>>();
        let four = |n: u128| Addr(v4("10.9.0.0").0 + n);
        assert_eq!(first(&|n| Keys { dst: four(n), ..plain }), [2, 3, 6, 7, 11]);
        assert_eq!(first(&|n| Keys { dst: four(n), src: v4("10.0.1.3"), ..plain }), [5, 11]);
        assert_eq!(first(&|n| Keys { dst: four(n), src: Addr::UNSPECIFIED, ..plain }), [1, 4, 8, 9, 12]);
        let by_ports = |n: u128| Keys { dst: four(1), protocol: 17, ports: (4000, n as u16), ..plain };
        assert_eq!(first(&by_ports), [5, 6, 7, 9, 10, 11, 12]);
        let six = |n: u128| Keys {
            family: Family::V6,
            src: v6("2001:db8:1::2"),
            dst: Addr(v6("2001:db8:9::").0 + n),
            ..plain
        };
        assert_eq!(first(&six), [3, 4, 6, 11]);
        let there = Keys { src: v6("2001:db8::1"), ports: (5, 1000), ..six(1) };
        let back = Keys { src: there.dst, dst: there.src, ports: (1000, 5), ..there };
        assert_eq!(there.hash(&net), back.hash(&net));
    }
}
