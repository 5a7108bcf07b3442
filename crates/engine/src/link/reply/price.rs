//! What ICMP messages cost: the limits of both families and who is to pay.

use super::Host;
use crate::link::IcmpError;
use crate::link::limit::Limits;
use crate::net::{IfIndex, LO, Net};
use crate::route::{OutputKey, RouteType};
use crate::time::HZ;
use hairpin_wire::{Addr, Family, icmp4};

/// Whether the settings hold this kind of error to a limit (`icmp_ratemask`, and `icmp.ratemask` of IPv6).
pub(super) fn is_limited(family: Family, error: IcmpError, net: &Net) -> bool {
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
pub(super) fn limits(family: Family, net: &Net) -> Limits {
    let ipv4 = &net.sysctl.ipv4;
    let interval = match family {
        Family::V4 => ipv4.icmp_ratelimit,
        Family::V6 => net.sysctl.ipv6.icmp_ratelimit,
    };
    Limits { interval: jiffies(interval), per_second: ipv4.icmp_msgs_per_sec, burst: ipv4.icmp_msgs_burst }
}

/// Takes the price of a limited message that would leave by `device`; false when it cannot be paid.
pub(super) fn pays(family: Family, device: IfIndex, peer: Addr, host: &mut Host<'_>) -> bool {
    let limits = limits(family, host.net);
    let pays = device == LO || host.limiter.allows_peer(family, peer, limits, host.now.mono);
    if pays {
        host.limiter.take_any(host.rng);
    }
    pays
}

pub(super) fn jiffies(ms: i64) -> u64 {
    (u64::try_from(ms).unwrap_or(0) * HZ).div_ceil(1000)
}

/// What of an IPv6 route does not show in [`Route`].
pub(super) struct Way {
    pub(super) device: Option<IfIndex>,
    pub(super) prefsrc: Option<Addr>,
    pub(super) is_anycast: bool,
}

impl Way {
    /// Takes the price of a limited message on this way; false when it cannot be paid, or there is no way.
    pub(super) fn pays(&self, peer: Addr, host: &mut Host<'_>) -> bool {
        self.device.is_some_and(|device| pays(Family::V6, device, peer, host))
    }

    pub(super) fn to(key: &OutputKey, net: &Net) -> Way {
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
