//! Forwarding tables: routes, and the search for the longest prefix that covers an address.
//!
//! A table is built once and then only read. Its prefixes cut the address space into intervals, each owned by the longest prefix
//! that covers it; a lookup is a binary search in the starts of the intervals and allocates nothing. From a prefix the search can
//! go on to the next shorter one that covers the address, as Linux does when no route of the longest fits.

use super::RouteType;
use crate::net::{IfIndex, Scope};
use hairpin_wire::{Addr, Family};

/// The number of a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl TableId {
    /// `default`.
    pub const DEFAULT: TableId = TableId(253);
    /// `main`.
    pub const MAIN: TableId = TableId(254);
    /// `local`: what is this host's.
    pub const LOCAL: TableId = TableId(255);

    /// The table of this name: `local`, `main`, `default` or a number from 1.
    pub fn from_name(name: &str) -> Option<TableId> {
        match name {
            "local" => Some(TableId::LOCAL),
            "main" => Some(TableId::MAIN),
            "default" => Some(TableId::DEFAULT),
            _ => name.parse().ok().filter(|id| *id != 0).map(TableId),
        }
    }
}

impl std::fmt::Display for TableId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            TableId::LOCAL => f.write_str("local"),
            TableId::MAIN => f.write_str("main"),
            TableId::DEFAULT => f.write_str("default"),
            TableId(id) => write!(f, "{id}"),
        }
    }
}

/// One way of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The device.
    pub dev: IfIndex,
    /// The router; None when the destination is on the link.
    pub gateway: Option<Addr>,
    /// Share of the traffic among the hops of the route, from 1.
    pub weight: u16,
    /// Routing realm: source realm in the upper 16 bits.
    pub realm: u32,
    /// How far the next hop reaches: `Link` behind a gateway, `Host` on the link, `Nowhere` for this host itself.
    pub(crate) scope: Scope,
    /// What a local sender uses by this way when the route names no source (IPv4).
    pub(crate) source: Option<Addr>,
}

/// A route of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibRoute {
    /// The table it is in.
    pub table: TableId,
    /// What it does.
    pub kind: RouteType,
    /// First address of the destination.
    pub prefix: Addr,
    /// Length of the destination's prefix.
    pub prefix_len: u8,
    /// IPv4: only for packets of this TOS; 0 for all.
    pub tos: u8,
    /// The lower the better.
    pub metric: u32,
    /// How far the destination is.
    pub scope: Scope,
    /// The source that local senders use.
    pub prefsrc: Option<Addr>,
    /// Largest packet in bytes; 0 when not given.
    pub mtu: u32,
    /// Advertised MSS; 0 when not given.
    pub advmss: u32,
    /// Hop limit; 0 when not given.
    pub hop_limit: u8,
    /// Made from an address or a device, not given.
    pub derived: bool,
    /// Its ways; none for the types that refuse.
    pub hops: Vec<Hop>,
}

/// The routes of one table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Sorted by prefix, then by preference.
    routes: Vec<FibRoute>,
    /// Distinct prefixes.
    nodes: Vec<Node>,
    /// First address of each interval, ascending. IPv4 has its own, a quarter of the size.
    starts: Vec<Addr>,
    starts4: Vec<u32>,
    /// The node that owns the interval, or [`NONE`].
    owners: Vec<u32>,
    /// IPv4, many prefixes: the interval in which each /16 begins.
    index: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    first: u32,
    count: u32,
    /// The next shorter prefix that covers this one.
    parent: u32,
}

const NONE: u32 = u32::MAX;

/// With fewer intervals than this a plain binary search is as fast as an index.
const INDEX_FROM: usize = 64;

impl Table {
    /// A table of these routes, which are given in the order of their addition.
    pub fn new(family: Family, mut routes: Vec<FibRoute>) -> Table {
        // The sort is stable: among equals the order of addition stays. A merged table has `local` (255) before `main` (254).
        routes
            .sort_by_key(|r| (r.prefix, r.prefix_len, std::cmp::Reverse(r.table), std::cmp::Reverse(r.tos), r.metric));
        let mut table = Table { routes, ..Table::default() };
        table.find_intervals(family);
        if family == Family::V4 {
            // Behind the last address no interval begins.
            if table.starts.last().is_some_and(|start| start.0 > u128::from(u32::MAX)) {
                table.starts.pop();
                table.owners.pop();
            }
            table.starts4 = std::mem::take(&mut table.starts).into_iter().map(Addr::as_u32).collect();
            table.build_index();
        }
        table
    }

    /// All routes by destination.
    pub fn routes(&self) -> &[FibRoute] {
        &self.routes
    }

    /// The routes that cover `dst`, longest prefix first, each prefix's in the order of preference, grouped by prefix.
    pub fn covering(&self, dst: Addr) -> Covering<'_> {
        Covering { table: self, node: self.owner(dst) }
    }

    fn owner(&self, dst: Addr) -> u32 {
        let interval = if self.starts4.is_empty() {
            self.starts.partition_point(|start| *start <= dst)
        } else {
            self.interval4(dst.as_u32())
        };
        interval.checked_sub(1).and_then(|at| self.owners.get(at)).copied().unwrap_or(NONE)
    }

    /// How many intervals begin at or before an IPv4 address.
    fn interval4(&self, dst: u32) -> usize {
        let slot = (dst >> 16) as usize;
        match self.index.get(slot..slot + 2) {
            Some(&[first, last]) => {
                let part = self.starts4.get(first as usize..=last as usize).unwrap_or_default();
                first as usize + part.partition_point(|start| *start <= dst)
            }
            _ => self.starts4.partition_point(|start| *start <= dst),
        }
    }

    fn find_intervals(&mut self, family: Family) {
        // The prefixes that are open where the sweep stands: last address and node.
        let mut open: Vec<(Addr, u32)> = Vec::new();
        let mut at = 0;
        while let Some(route) = self.routes.get(at) {
            let (start, len) = (route.prefix, route.prefix_len);
            let count = self.routes[at..].iter().take_while(|r| (r.prefix, r.prefix_len) == (start, len)).count();
            let end = Addr(start.0 | (family.mask(family.bits()).0 & !family.mask(len).0));
            self.close(&mut open, Some(start));
            let node = self.nodes.len() as u32;
            let parent = open.last().map_or(NONE, |(_, node)| *node);
            self.nodes.push(Node { first: at as u32, count: count as u32, parent });
            self.begin(start, node);
            open.push((end, node));
            at += count;
        }
        self.close(&mut open, None);
    }

    /// Ends the open prefixes that lie before `next` (all without one): behind each begins an interval of the one around it.
    fn close(&mut self, open: &mut Vec<(Addr, u32)>, next: Option<Addr>) {
        while let Some((end, _)) = open.last().copied().filter(|(end, _)| next.is_none_or(|next| *end < next)) {
            open.pop();
            if let Some(after) = end.0.checked_add(1) {
                self.begin(Addr(after), open.last().map_or(NONE, |(_, node)| *node));
            }
        }
    }

    fn begin(&mut self, start: Addr, owner: u32) {
        if self.starts.last() == Some(&start) {
            self.owners.pop();
        } else {
            self.starts.push(start);
        }
        self.owners.push(owner);
    }

    fn build_index(&mut self) {
        if self.starts4.len() >= INDEX_FROM {
            let up_to = |slot: u64| self.starts4.partition_point(|start| u64::from(*start) <= slot << 16);
            self.index = (0..=0x1_0000).map(|slot| up_to(slot).saturating_sub(1) as u32).collect();
        }
    }
}

/// See [`Table::covering`].
pub struct Covering<'a> {
    table: &'a Table,
    node: u32,
}

impl<'a> Iterator for Covering<'a> {
    type Item = &'a [FibRoute];

    fn next(&mut self) -> Option<&'a [FibRoute]> {
        let node = self.table.nodes.get(self.node as usize)?;
        self.node = node.parent;
        let first = node.first as usize;
        self.table.routes.get(first..first + node.count as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(prefix: u128, prefix_len: u8, tos: u8, metric: u32) -> FibRoute {
        FibRoute {
            table: TableId::MAIN,
            kind: RouteType::Unicast,
            prefix: Addr(prefix),
            prefix_len,
            tos,
            metric,
            scope: Scope::Global,
            prefsrc: None,
            mtu: 0,
            advmss: 0,
            hop_limit: 0,
            derived: false,
            hops: Vec::new(),
        }
    }

    /// Prefix lengths of the prefixes that cover an address, in the order of the search.
    fn lengths(table: &Table, dst: u128) -> Vec<u8> {
        table.covering(Addr(dst)).map(|group| group[0].prefix_len).collect()
    }

    #[test]
    fn goes_from_the_longest_prefix_to_the_shortest() {
        let routes = vec![
            route(0, 0, 0, 0),
            route(0x0a00_0000, 8, 0, 0),
            route(0x0a01_0000, 16, 0, 0),
            route(0x0a01_0200, 24, 0, 0),
            route(0x0a01_0203, 32, 0, 0),
            route(0xffff_ffff, 32, 0, 0),
        ];
        let table = Table::new(Family::V4, routes);
        assert_eq!(lengths(&table, 0x0a01_0203), [32, 24, 16, 8, 0]);
        assert_eq!(lengths(&table, 0x0a01_0204), [24, 16, 8, 0]);
        assert_eq!(lengths(&table, 0x0a02_0000), [8, 0]);
        assert_eq!(lengths(&table, 0x0b00_0000), [0]);
        assert_eq!(lengths(&table, 0), [0]);
        assert_eq!(lengths(&table, 0xffff_ffff), [32, 0]);
        assert_eq!(lengths(&Table::default(), 1), [0u8; 0]);
    }

    #[test]
    fn without_a_default_route_there_are_gaps() {
        let table = Table::new(Family::V6, vec![route(1, 128, 0, 0), route(0xff << 120, 8, 0, 0)]);
        assert_eq!(lengths(&table, 0), [0u8; 0]);
        assert_eq!(lengths(&table, 1), [128]);
        assert_eq!(lengths(&table, 2), [0u8; 0]);
        assert_eq!(lengths(&table, u128::MAX), [8]);
    }

    #[test]
    fn of_one_prefix_tos_comes_first_then_the_metric_then_the_order() {
        let mut routes =
            vec![route(0, 0, 0, 5), route(0, 0, 0, 0), route(0, 0, 4, 9), route(0, 0, 0, 5), route(0, 0, 8, 7)];
        for (n, route) in routes.iter_mut().enumerate() {
            route.mtu = n as u32;
        }
        let table = Table::new(Family::V4, routes);
        let order: Vec<u32> = table.covering(Addr(7)).flatten().map(|r| r.mtu).collect();
        assert_eq!(order, [4, 2, 1, 0, 3]);
    }

    #[test]
    fn tables_have_names() {
        for (name, id) in [("local", 255), ("main", 254), ("default", 253), ("7", 7), ("4294967295", u32::MAX)] {
            assert_eq!(TableId::from_name(name), Some(TableId(id)));
            assert_eq!(TableId(id).to_string(), name);
        }
        for name in ["0", "-1", "", "lokal", "4294967296"] {
            assert_eq!(TableId::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_looking_at_every_route(
            family in prop_oneof![Just(Family::V4), Just(Family::V6)],
            prefixes in proptest::collection::vec((any::<u128>(), 0u8..=128, any::<bool>()), 0..100),
            asked in proptest::collection::vec((any::<u128>(), any::<proptest::sample::Index>(), 0u8..=128), 1..20),
        ) {
            let all = family.mask(family.bits()).0;
            let routes: Vec<FibRoute> = prefixes
                .iter()
                .map(|(addr, len, near)| {
                    let len = len % (family.bits() + 1);
                    // Half of them crowd together, so that they lie in each other.
                    let addr = if *near { (addr & 0xff) << (family.bits() - 8) } else { *addr };
                    route(addr & family.mask(len).0, len, 0, 0)
                })
                .collect();
            let table = Table::new(family, routes.clone());
            for (random, at, bit) in asked {
                // Any address, and those around the edges of a prefix.
                let edge = match routes.is_empty() {
                    true => random,
                    false => at.get(&routes).prefix.0,
                };
                let flipped = edge ^ (1u128 << (bit % family.bits()));
                for dst in [random, edge, edge.wrapping_sub(1), edge.wrapping_add(1), flipped] {
                    let dst = Addr(dst & all);
                    let mut naive: Vec<(u8, usize)> = Vec::new();
                    for len in (0..=family.bits()).rev() {
                        let net = dst.masked(family.mask(len));
                        let count = routes.iter().filter(|r| r.prefix_len == len && r.prefix == net).count();
                        if count > 0 {
                            naive.push((len, count));
                        }
                    }
                    let found: Vec<(u8, usize)> =
                        table.covering(dst).map(|group| (group[0].prefix_len, group.len())).collect();
                    prop_assert_eq!(found, naive);
                }
            }
        }
    }
}
