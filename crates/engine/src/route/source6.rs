//! IPv6 addresses of this host: which one to send from (RFC 6724 as Linux does it), and which groups it is in.

use crate::net::{IfAddr, IfIndex, Interface, LO, LinkKind, Net};
use hairpin_wire::{Addr, Family};
use std::cmp::Reverse;

/// The source address for packets to `dst` that leave by `dev`; of equals the first in the kernel's order.
pub(crate) fn select(net: &Net, dev: IfIndex, dst: Addr) -> Option<Addr> {
    let scope = scope(dst);
    let label = label(dst);
    // Groups and destinations on the link are reached from the device's own addresses only.
    let own_only = dst.is_multicast(Family::V6)
        || scope <= LINK
        || net.sysctl.conf6(dev, crate::sysctl::Conf6::UseOifAddrsOnly) != 0;
    let devices = net.interfaces.iter().filter(|d| d.index == dev || !own_only);
    let mut best: Option<(Score, Addr)> = None;
    for (device, own) in devices.flat_map(|d| d.addresses.iter().map(move |a| (d, a))) {
        if own.family != Family::V6 {
            continue;
        }
        let score = score(device, own, dev, dst, scope, label);
        if best.as_ref().is_none_or(|(best, _)| score > *best) {
            best = Some((score, own.addr));
        }
    }
    best.map(|(_, addr)| addr)
}

/// Rules 1, 2, 5, 6 and 8, in this order. No address here is deprecated, temporary or a home address (3, 4, 7).
type Score = (bool, i32, bool, bool, u32);

fn score(device: &Interface, own: &IfAddr, dev: IfIndex, dst: Addr, dst_scope: i32, dst_label: u32) -> Score {
    let own_scope = scope(own.addr);
    // Large enough, but no larger than it must be; else as large as can be had.
    let fits = if own_scope >= dst_scope { -own_scope } else { own_scope - 128 };
    let common = (own.addr.0 ^ dst.0).leading_zeros().min(u32::from(own.prefix));
    (own.addr == dst, fits, device.index == dev, label(own.addr) == dst_label, common)
}

const LINK: i32 = 2;

/// The scope of an address in the numbers of RFC 4291, a unicast address's as if it were a group's.
fn scope(addr: Addr) -> i32 {
    if addr.is_multicast(Family::V6) {
        return (addr.0 >> 112 & 0xf) as i32;
    }
    if addr.is_loopback(Family::V6) || addr.is_link_local(Family::V6) {
        return LINK;
    }
    if addr.0 >> 118 == 0xfec0 >> 6 { 5 } else { 14 }
}

/// The default policy table of Linux (`ip addrlabel`): prefix, its length, label; the longest first.
const LABELS: [(u128, u8, u32); 8] = [
    (1, 128, 0),
    (0xffff << 32, 96, 4),
    (0, 96, 3),
    (0x2001_0000 << 96, 32, 6),
    (0x2001_0010 << 96, 28, 7),
    (0x2002 << 112, 16, 2),
    (0xfc00 << 112, 7, 5),
    (0, 0, 1),
];

fn label(addr: Addr) -> u32 {
    let longest = LABELS
        .iter()
        .filter(|(net, len, _)| addr.in_net(Addr(*net), Family::V6.mask(*len)))
        .min_by_key(|(_, len, _)| Reverse(*len));
    longest.map_or(1, |(_, _, label)| *label)
}

/// Whether REDIRECT may send a packet for `dst` to `own`: an address with the scope bits of `dst`, if it has any.
pub(crate) fn redirect_fits(dst: Addr, own: Addr) -> bool {
    let is_mapped = own.0 >> 32 == 0xffff;
    !is_mapped && (scope_bits(dst) == 0 || scope_bits(dst) & scope_bits(own) != 0)
}

/// The scope as a bit, groups' as well; none for the whole network. IPv4-compatible addresses have one of their own.
fn scope_bits(addr: Addr) -> u8 {
    match scope(addr) {
        1 => 1,
        _ if addr.is_loopback(Family::V6) => 1,
        LINK => 2,
        5 => 4,
        _ if addr.0 >> 32 == 0 && !addr.is_unspecified() => 8,
        _ => 0,
    }
}

/// Whether the device is in a group: all nodes, all routers where it routes, and the solicited-node groups of its addresses.
pub(crate) fn is_joined(net: &Net, dev: IfIndex, group: Addr) -> bool {
    const ALL_NODES: [u128; 2] = [(0xff01 << 112) | 1, (0xff02 << 112) | 1];
    const ALL_ROUTERS: [u128; 3] = [(0xff01 << 112) | 2, (0xff02 << 112) | 2, (0xff05 << 112) | 2];
    const SOLICITED: u128 = (0xff02 << 112) | (1 << 32) | (0xff << 24);
    let Some(device) = net.interface(dev) else { return false };
    let is_router = net.sysctl.conf6(dev, crate::sysctl::Conf6::Forwarding) != 0;
    let own = || device.addresses.iter().filter(|a| a.family == Family::V6);
    let solicits = |addr: u128| addr & 0xff_ffff == group.0 & 0xff_ffff;
    let anycast = |a: &IfAddr| a.prefix < 127 && solicits(a.addr.masked(Family::V6.mask(a.prefix)).0);
    ALL_NODES.contains(&group.0)
        || is_router && device.kind != LinkKind::Loopback && ALL_ROUTERS.contains(&group.0)
        || group.0 >> 24 == SOLICITED >> 24
            && (own().any(|a| solicits(a.addr.0)) || is_router && dev != LO && own().any(anycast))
}
