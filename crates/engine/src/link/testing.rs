//! A small router for the tests of this room: `r0` 10.0.1.1/24 and 2001:db8:1::1/64, `r1` 10.0.2.1/24, 10.0.2.11/24 and
//! 2001:db8:2::1/64, forwarding; clients are on `r0`.

use super::IcmpLimiter;
use super::reply::Host;
use crate::net::{IfIndex, Net};
use crate::packet::{LinkType, Packet};
use crate::rng::Rng;
use crate::route::path_mtu::PathMtus;
use crate::setup::{NewAddress, NewInterface, Setup};
use crate::time::Now;
use hairpin_wire::{Addr, Family, Mac};

pub(super) const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);

pub(crate) fn v4(text: &str) -> Addr {
    text.parse().map(Addr::from_v4).unwrap()
}

pub(crate) fn v6(text: &str) -> Addr {
    text.parse().map(Addr::from_v6).unwrap()
}

pub(crate) fn net() -> Net {
    net_with(&[])
}

/// With more settings.
pub(crate) fn net_with(sysctls: &[(&str, &str)]) -> Net {
    let address = |family, addr, prefix| NewAddress { family, addr, prefix, scope: None, broadcast: None };
    let device = |name, addresses: &[&str], six: &str| {
        let mut device = NewInterface::ethernet(name, ROUTER_MAC);
        device.addresses = addresses.iter().map(|a| address(Family::V4, v4(a), 24)).collect();
        device.addresses.push(address(Family::V6, v6(six), 64));
        device
    };
    let interfaces =
        vec![device("r0", &["10.0.1.1"], "2001:db8:1::1"), device("r1", &["10.0.2.1", "10.0.2.11"], "2001:db8:2::1")];
    let forwarding = [("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")];
    let sysctls = forwarding.iter().chain(sysctls).map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Setup { interfaces, sysctls, ..Setup::default() }.build().unwrap()
}

/// A packet that arrived by `r0` and was routed, if there is a route.
pub(crate) fn received(bytes: &[u8]) -> Packet {
    let mut packet = Packet::from_ip(bytes).unwrap();
    packet.meta.iif = Some(IfIndex(2));
    packet.meta.link_type = LinkType::Host;
    static NET: std::sync::LazyLock<Net> = std::sync::LazyLock::new(net);
    packet.meta.route = NET.route_input(&packet).ok();
    packet
}

/// Answers, time after time.
pub(super) struct Answerer {
    pub(super) net: Net,
    pub(super) limiter: IcmpLimiter,
    pub(super) path_mtus: PathMtus,
    pub(super) rng: Rng,
    pub(super) now: Now,
}

impl Answerer {
    pub(crate) fn new(net: Net) -> Answerer {
        Answerer {
            net,
            limiter: IcmpLimiter::default(),
            path_mtus: PathMtus::default(),
            rng: Rng::new(1),
            now: Now::from_unix_nanos(1_700_000_000 << 30),
        }
    }

    pub(crate) fn host(&mut self) -> Host<'_> {
        let Answerer { net, limiter, path_mtus, rng, now } = self;
        Host { net, limiter, path_mtus, rng, now: *now }
    }
}
