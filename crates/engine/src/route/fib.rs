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
    /// First address of each interval, ascending.
    starts: Vec<Addr>,
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
        table.build_index(family);
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
        let (mut low, mut high) = (0, self.starts.len());
        if !self.index.is_empty() {
            let slot = (dst.as_u32() >> 16) as usize;
            low = self.index.get(slot).map_or(low, |at| *at as usize);
            high = self.index.get(slot + 1).map_or(high, |at| *at as usize + 1);
        }
        let interval = low + self.starts.get(low..high).map_or(0, |part| part.partition_point(|start| *start <= dst));
        interval.checked_sub(1).and_then(|at| self.owners.get(at)).copied().unwrap_or(NONE)
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

    fn build_index(&mut self, family: Family) {
        if family == Family::V4 && self.starts.len() >= INDEX_FROM {
            let before = |slot: u32| self.starts.partition_point(|start| start.0 <= u128::from(slot) << 16);
            self.index = (0..=0x1_0000).map(|slot| before(slot).saturating_sub(1) as u32).collect();
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
