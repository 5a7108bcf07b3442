//! What addresses bring with them: their place in a device's list, and routes.

use super::NewAddress;
use super::build::OfFamily;
use crate::net::{IfAddr, Interface, LinkKind, Scope};
use crate::route::RouteType;
use crate::route::fib::{FibRoute, Hop, TableId};
use crate::sysctl::{Conf6, Sysctl};
use hairpin_wire::{Addr, Family};

/// Puts an address where the kernel puts it. IPv4: secondaries at the end, a primary behind the primaries of at least its scope
/// number; IPv6, behind all of IPv4: before the addresses of the same scope or a smaller one, so the newest comes first.
pub(super) fn insert_address(addresses: &mut Vec<IfAddr>, new: &NewAddress) {
    let family = new.family;
    let mask = family.mask(new.prefix);
    let usual = match family {
        Family::V4 if new.addr.is_loopback(family) => Scope::Host,
        Family::V6 if new.addr.is_loopback(family) => Scope::Host,
        Family::V6 if new.addr.is_link_local(family) => Scope::Link,
        // fec0::/10 (RFC 3879 gave it up, Linux did not).
        Family::V6 if new.addr.0 >> 118 == 0xfec0 >> 6 => Scope::Site,
        _ => Scope::Global,
    };
    let same_subnet = |a: &IfAddr| a.family == family && a.prefix == new.prefix && new.addr.in_net(a.addr, mask);
    let own = IfAddr {
        family,
        addr: new.addr,
        prefix: new.prefix,
        scope: new.scope.unwrap_or(usual),
        broadcast: new.broadcast.or_else(|| {
            let last = Addr(new.addr.0 | (family.mask(family.bits()).0 & !mask.0));
            (family == Family::V4 && new.prefix < 31).then_some(last)
        }),
        secondary: family == Family::V4 && addresses.iter().any(same_subnet),
    };
    let first6 = addresses.iter().position(|a| a.family == Family::V6).unwrap_or(addresses.len());
    let at = match family {
        Family::V4 if own.secondary => first6,
        Family::V4 => {
            let before = |a: &IfAddr| a.family == Family::V4 && !a.secondary && own.scope <= a.scope;
            addresses.iter().rposition(before).map_or(0, |at| at + 1)
        }
        Family::V6 => {
            let behind = |a: &IfAddr| a.family == Family::V6 && a.scope >= own.scope;
            addresses.iter().position(behind).unwrap_or(addresses.len())
        }
    };
    addresses.insert(at, own);
}

/// The routes that a device and its addresses bring (`fib_add_ifaddr`, and its IPv6 counterparts), as Linux 6.18 shows them.
pub(super) fn derive_routes(interface: &Interface, sysctl: &Sysctl, routes: &mut Vec<OfFamily>) {
    let mut add = |family: Family, route: FibRoute| {
        let same = |(f, r): &OfFamily| {
            *f == family
                && (r.table, r.prefix, r.prefix_len, r.kind)
                    == (route.table, route.prefix, route.prefix_len, route.kind)
                && r.hops.first().map(|h| h.dev) == route.hops.first().map(|h| h.dev)
        };
        if !routes.iter().rev().take_while(|(_, r)| r.hops.iter().any(|h| h.dev == interface.index)).any(same) {
            routes.push((family, route));
        }
    };
    for own in interface.addresses.iter().filter(|a| a.family == Family::V4) {
        derive_routes4(interface, own, &mut |route| add(Family::V4, route));
    }
    if !interface.up || sysctl.disable_ipv6(interface.index) {
        return;
    }
    let is_router = sysctl.conf6(interface.index, Conf6::Forwarding) != 0 && interface.kind != LinkKind::Loopback;
    let route = |table, kind, prefix, prefix_len, metric| FibRoute {
        metric,
        scope: Scope::Global,
        ..derived(interface, table, kind, (prefix, prefix_len), None)
    };
    for own in interface.addresses.iter().rev().filter(|a| a.family == Family::V6) {
        let prefix = own.addr.masked(Family::V6.mask(own.prefix));
        add(Family::V6, route(TableId::LOCAL, RouteType::Local, own.addr, 128, 0));
        if interface.kind != LinkKind::Loopback {
            add(Family::V6, route(TableId::MAIN, RouteType::Unicast, prefix, own.prefix, 256));
        }
        if is_router && own.prefix < 127 && !prefix.is_unspecified() {
            add(Family::V6, route(TableId::LOCAL, RouteType::Anycast, prefix, 128, 0));
        }
    }
    if interface.kind != LinkKind::Loopback && interface.mtu >= 1280 {
        add(Family::V6, route(TableId::LOCAL, RouteType::Multicast, Addr(0xff << 120), 8, 256));
    }
}

fn derive_routes4(interface: &Interface, own: &IfAddr, add: &mut dyn FnMut(FibRoute)) {
    let mask = Family::V4.mask(own.prefix);
    let prefix = own.addr.masked(mask);
    // A secondary's routes name the first address of its subnet as their source.
    let first =
        |a: &&IfAddr| a.family == Family::V4 && !a.secondary && a.prefix == own.prefix && own.addr.in_net(a.addr, mask);
    let src = interface.addresses.iter().find(first).map_or(own.addr, |a| a.addr);
    let route = |table, kind, to| derived(interface, table, kind, to, Some(src));
    add(route(TableId::LOCAL, RouteType::Local, (own.addr, 32)));
    if !interface.up {
        return;
    }
    if let Some(broadcast) = own.broadcast.filter(|b| b.as_u32() != u32::MAX) {
        add(route(TableId::LOCAL, RouteType::Broadcast, (broadcast, 32)));
    }
    if prefix.is_unspecified() || own.secondary || prefix == own.addr && own.prefix == 32 {
        return;
    }
    if interface.kind == LinkKind::Loopback {
        add(route(TableId::LOCAL, RouteType::Local, (prefix, own.prefix)));
    } else {
        add(route(TableId::MAIN, RouteType::Unicast, (prefix, own.prefix)));
    }
    if own.prefix < 31 {
        let last = Addr(prefix.0 | (Family::V4.mask(32).0 & !mask.0));
        add(route(TableId::LOCAL, RouteType::Broadcast, (last, 32)));
    }
}

fn derived(
    interface: &Interface,
    table: TableId,
    kind: RouteType,
    (prefix, prefix_len): (Addr, u8),
    prefsrc: Option<Addr>,
) -> FibRoute {
    let (scope, hop_scope) = match kind {
        RouteType::Local => (Scope::Host, Scope::Nowhere),
        _ => (Scope::Link, Scope::Host),
    };
    let hop = Hop { dev: interface.index, gateway: None, weight: 1, realm: 0, scope: hop_scope, source: prefsrc };
    FibRoute {
        table,
        kind,
        prefix,
        prefix_len,
        tos: 0,
        metric: 0,
        scope,
        prefsrc,
        mtu: 0,
        advmss: 0,
        hop_limit: 0,
        derived: true,
        hops: vec![hop],
    }
}
