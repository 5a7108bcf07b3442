//! A small router for the tests of this room: `lo`, `r0` 10.0.1.1/24 and 2001:db8:1::1/64, `r1` 10.0.2.1/24 and
//! 2001:db8:2::1/64.

use crate::net::{IfAddr, IfIndex, IfName, Interface, LinkKind, Net, Scope};
use hairpin_wire::{Addr, Family, Mac};

pub(super) const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);

pub(super) fn v4(text: &str) -> Addr {
    text.parse().map(Addr::from_v4).unwrap()
}

pub(super) fn v6(text: &str) -> Addr {
    text.parse().map(Addr::from_v6).unwrap()
}

pub(super) fn net() -> Net {
    let addr =
        |family, addr, prefix| IfAddr { family, addr, prefix, scope: Scope::Global, broadcast: None, secondary: false };
    let device = |index, name: &str, kind, addresses| Interface {
        index: IfIndex(index),
        name: IfName::new(name).unwrap(),
        kind,
        mac: ROUTER_MAC,
        mtu: 1500,
        up: true,
        group: 0,
        addresses,
    };
    let ethernet = |index, name, n| {
        let v4 = addr(Family::V4, v4(&format!("10.0.{n}.1")), 24);
        let v6 = addr(Family::V6, v6(&format!("2001:db8:{n}::1")), 64);
        device(index, name, LinkKind::Ethernet, vec![v4, v6])
    };
    let interfaces = vec![
        device(1, "lo", LinkKind::Loopback, vec![addr(Family::V4, v4("127.0.0.1"), 8)]),
        ethernet(2, "r0", 1),
        ethernet(3, "r1", 2),
    ];
    let mut net = Net { interfaces, ..Net::default() };
    for name in ["lo", "r0", "r1"] {
        net.sysctl.add_device(name);
    }
    net
}
