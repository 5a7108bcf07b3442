//! The routes that the kernel has by its devices, as far as a host's DHCP client, pppd or administrator made them.

use crate::netlink::{Netlink, attributes, ip, u32_at};
use std::io;
use std::net::IpAddr;

/// A route of the kernel's main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// The kernel's number of the device.
    pub index: u32,
    /// Destination; None is the default route of the gateway's family, or of the source's.
    pub to: Option<IpAddr>,
    /// Prefix length.
    pub prefix: u8,
    /// Whether it is one of IPv6.
    pub is_v6: bool,
    /// The router.
    pub via: Option<IpAddr>,
    /// The router is on the link though no subnet has it.
    pub onlink: bool,
    /// The address that local senders use.
    pub src: Option<IpAddr>,
    /// Its metric, if it has one.
    pub metric: Option<u32>,
}

/// All unicast routes of the main table with one way, but for those that addresses bring by themselves.
pub fn routes() -> io::Result<Vec<KernelRoute>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = vec![0; 12];
        body[0] = family as u8;
        Netlink::open(0)?.dump(libc::RTM_GETROUTE, &body, &mut |_, message| found.extend(route(message)))?;
    }
    Ok(found)
}

/// `RTNH_F_ONLINK`.
const ONLINK: u32 = 4;

/// `struct rtmsg` and its attributes.
fn route(message: &[u8]) -> Option<KernelRoute> {
    let &[family, prefix, _, _, table, protocol, _, kind] = message.get(..8)? else { return None };
    let flags = u32_at(message, 8)?;
    if kind != libc::RTN_UNICAST || protocol == libc::RTPROT_KERNEL || flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let mut table = u32::from(table);
    let mut route = KernelRoute {
        index: 0,
        to: None,
        prefix,
        is_v6: libc::c_int::from(family) == libc::AF_INET6,
        via: None,
        onlink: flags & ONLINK != 0,
        src: None,
        metric: None,
    };
    for (kind, value) in attributes(message.get(12..)?) {
        match kind {
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            libc::RTA_OIF => route.index = u32_at(value, 0)?,
            libc::RTA_DST => route.to = ip(value),
            libc::RTA_GATEWAY => route.via = ip(value),
            libc::RTA_PREFSRC => route.src = ip(value),
            libc::RTA_PRIORITY => route.metric = u32_at(value, 0),
            _ => {}
        }
    }
    (table == u32::from(libc::RT_TABLE_MAIN) && route.index != 0).then_some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_can_be_asked() {
        let all = routes().unwrap();
        assert!(all.iter().all(|route| route.index != 0 && (route.to.is_some() || route.prefix == 0)), "{all:?}");
    }
}
