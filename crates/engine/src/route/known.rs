//! Routes that were found for connections, kept for as long as the host and the rules stay as they are.
//!
//! A decision about a received packet reads addresses, protocol and ports, which are those of the connection and direction, and what
//! [`Asked`] holds. So the connection remembers, for each direction, which of the routes kept here its last packet went by.

use super::Route;
use crate::net::IfIndex;
use crate::packet::Packet;
use crate::track::Conn;

/// What a routing decision reads of a packet beside the addresses, protocol and ports of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    iif: Option<IfIndex>,
    mark: u32,
    tos: u8,
}

impl Asked {
    #[inline]
    pub(crate) fn by(packet: &Packet) -> Asked {
        Asked { iif: packet.meta.iif, mark: packet.meta.mark, tos: packet.tos() }
    }
}

/// The routes kept, by number. A number is never used again, so that those of routes given up lead nowhere.
#[derive(Debug)]
pub(crate) struct KnownRoutes {
    /// The number of the first one kept; from 1, as 0 is no route's.
    first: u32,
    routes: Vec<(Asked, Route)>,
}

/// The most routes kept; then all are given up, and those still in use come again.
const MOST: usize = 4096;
/// How many of the newest are looked through for the same one.
const RECENT: usize = 32;

impl Default for KnownRoutes {
    fn default() -> KnownRoutes {
        KnownRoutes { first: 1, routes: Vec::new() }
    }
}

impl KnownRoutes {
    /// The route of this number, if it was found for a packet that asked so.
    #[inline]
    pub(crate) fn get(&self, number: u32, asked: Asked) -> Option<&Route> {
        let (was_asked, route) = self.routes.get(number.checked_sub(self.first)? as usize)?;
        (*was_asked == asked).then_some(route)
    }

    /// Keeps a route; its number, or 0 if the numbers have run out.
    pub(crate) fn keep(&mut self, asked: Asked, route: &Route) -> u32 {
        let recent = self.routes.len().saturating_sub(RECENT);
        let same = self.routes.iter().skip(recent).position(|kept| kept.0 == asked && kept.1 == *route);
        let at = same.map_or(self.routes.len(), |n| recent + n);
        if same.is_none() {
            if at >= MOST {
                self.forget();
                return self.keep(asked, route);
            }
            if self.first + at as u32 > Conn::LAST_ROUTE {
                return 0;
            }
            self.routes.push((asked, *route));
        }
        self.first + at as u32
    }

    /// Whether it is time to begin with the numbers anew, once all connections have forgotten theirs.
    #[inline]
    pub(crate) fn is_worn_out(&self) -> bool {
        self.first > Conn::LAST_ROUTE / 2
    }

    /// Gives all up: host or rules are others now.
    pub(crate) fn forget(&mut self) {
        self.first += self.routes.len() as u32;
        self.routes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Net;
    use crate::packet::LinkType;
    use crate::setup::Setup;
    use hairpin_wire::{Addr, Family, build};

    #[test]
    fn numbers_lead_to_what_was_asked_or_nowhere() {
        let host =
            Setup::default().ethernet("eth0", &["10.0.0.1/24"]).unwrap().sysctl("net.ipv4.ip_forward=1").unwrap();
        let net: Net = host.ethernet("eth1", &["10.1.0.1/24"]).unwrap().build().unwrap();
        let route_by = |mark: u32| {
            let bytes = build::ip(Family::V4, Addr::v4(0x0a00_0002), Addr::v4(0x0a01_0002), 17, &[0; 8]);
            let mut packet = Packet::from_ip(&bytes).unwrap();
            packet.meta.iif = Some(IfIndex(2));
            packet.meta.mark = mark;
            packet.meta.link_type = LinkType::Host;
            (Asked::by(&packet), net.route_input(&packet).unwrap())
        };
        let mut known = KnownRoutes::default();
        let (asked, route) = route_by(0);
        assert_eq!(known.get(0, asked), None);
        let number = known.keep(asked, &route);
        assert_eq!(known.get(number, asked), Some(&route));
        assert_eq!(known.keep(asked, &route), number);
        let (other, _) = route_by(7);
        assert_eq!(known.get(number, other), None);
        known.forget();
        assert_eq!(known.get(number, asked), None);
        // Full, it begins again.
        for mark in 0..2 * MOST as u32 {
            let (asked, route) = route_by(mark);
            let number = known.keep(asked, &route);
            assert_eq!(known.get(number, asked), Some(&route));
        }
        assert!(known.routes.len() <= MOST);
        // The numbers end where a connection can remember no more.
        assert!(!known.is_worn_out());
        known.first = Conn::LAST_ROUTE;
        known.routes.clear();
        assert_eq!(known.keep(asked, &route), Conn::LAST_ROUTE);
        assert!(known.is_worn_out());
        assert_eq!(known.get(Conn::LAST_ROUTE - 1, asked), None);
        assert_eq!(known.keep(other, &route), 0);
        known.forget();
        assert_eq!(known.keep(asked, &route), 0);
    }
}
