//! Policy rules (`ip rule`): which tables a packet is looked up in, and in which order.

use super::fib::{FibRoute, Hop, Table, TableId};
use super::{Flow, RouteType};
use crate::net::{IfIndex, Interface, Scope};
use hairpin_wire::{Addr, Family};
use std::ops::RangeInclusive;

/// What a rule does with the packets it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Look them up in this table; go on with the next rule when nothing is found there.
    Table(TableId),
    /// Go on with the first rule of at least this priority; nothing when there is none.
    Goto(u32),
    /// Go on with the next rule.
    Nop,
    /// Drop them silently.
    Blackhole,
    /// Refuse them: network unreachable.
    Unreachable,
    /// Refuse them: administratively prohibited.
    Prohibit,
}

/// A policy rule. What is None or 0 selects every packet. `Dev` is a device: by its number, or by its name where a rule is described;
/// `Priority` a place in the order: the number, or None where Linux is to choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule<Dev = IfIndex, Priority = u32> {
    /// Place in the order, lowest first.
    pub priority: Priority,
    /// Source and prefix length.
    pub from: Option<(Addr, u8)>,
    /// Destination and prefix length.
    pub to: Option<(Addr, u8)>,
    /// The device a packet came in by; `lo` for packets made here.
    pub iif: Option<Dev>,
    /// The device a local sender is bound to.
    pub oif: Option<Dev>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// TOS; IPv4 compares the bits 0x1c, IPv6 all six of the DSCP.
    pub tos: u8,
    /// Transport protocol.
    pub protocol: u8,
    /// Source ports.
    pub sport: Option<RangeInclusive<u16>>,
    /// Destination ports.
    pub dport: Option<RangeInclusive<u16>>,
    /// User ids of local senders.
    pub uid: Option<RangeInclusive<u32>>,
    /// Select what does not agree with the above.
    pub not: bool,
    /// What is done.
    pub action: RuleAction,
    /// Results whose prefix is not longer than this do not count.
    pub suppress_prefixlength: Option<u8>,
    /// Results by a device of this group do not count.
    pub suppress_group: Option<u32>,
    /// Destination realm for routes that have none, source realm in the upper 16 bits (IPv4).
    pub realm: u32,
}

impl<Dev, Priority> PolicyRule<Dev, Priority> {
    /// A rule that selects everything.
    pub const fn all(priority: Priority, action: RuleAction) -> PolicyRule<Dev, Priority> {
        PolicyRule {
            priority,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            tos: 0,
            protocol: 0,
            sport: None,
            dport: None,
            uid: None,
            not: false,
            action,
            suppress_prefixlength: None,
            suppress_group: None,
            realm: 0,
        }
    }

    /// The same rule with this priority, of the devices that `find` has for its names.
    pub(crate) fn found<Number>(&self, priority: u32, find: impl Fn(&Dev) -> Number) -> PolicyRule<Number> {
        PolicyRule {
            priority,
            iif: self.iif.as_ref().map(&find),
            oif: self.oif.as_ref().map(&find),
            from: self.from,
            to: self.to,
            mark: self.mark,
            tos: self.tos,
            protocol: self.protocol,
            sport: self.sport.clone(),
            dport: self.dport.clone(),
            uid: self.uid.clone(),
            not: self.not,
            action: self.action,
            suppress_prefixlength: self.suppress_prefixlength,
            suppress_group: self.suppress_group,
            realm: self.realm,
        }
    }
}

impl PolicyRule {
    fn selects(&self, flow: &Flow) -> bool {
        let ports = |range: &Option<RangeInclusive<u16>>, port: u16| range.as_ref().is_none_or(|r| r.contains(&port));
        let agrees = self.iif.is_none_or(|iif| iif == flow.iif)
            && self.oif.is_none_or(|oif| Some(oif) == flow.oif)
            && self.mark.is_none_or(|(mark, mask)| (mark ^ flow.mark) & mask == 0)
            && self.uid.as_ref().is_none_or(|uids| uids.contains(&flow.uid))
            && self.to.is_none_or(|(net, len)| flow.dst.in_net(net, flow.family.mask(len)))
            && self.from.is_none_or(|(net, len)| {
                // IPv6: a sender that has no source yet is nobody's.
                (flow.family == Family::V4 || len == 0 || flow.has_src) && flow.src.in_net(net, flow.family.mask(len))
            })
            && (self.tos == 0 || self.tos == flow.tos & tos_mask(flow.family))
            && (self.protocol == 0 || self.protocol == flow.protocol)
            && ports(&self.sport, flow.ports.0)
            && ports(&self.dport, flow.ports.1);
        agrees != self.not
    }

    fn suppresses(&self, found: &Found<'_>, interfaces: &[Interface]) -> bool {
        let device = || found.route.hops.first().and_then(|hop| interfaces.get((hop.dev.0 as usize).checked_sub(1)?));
        self.suppress_prefixlength.is_some_and(|len| found.route.prefix_len <= len)
            || self.suppress_group.is_some_and(|group| device().is_some_and(|d| d.group == group))
    }
}

/// The bits of a TOS byte that select routes and rules.
pub(crate) const fn tos_mask(family: Family) -> u8 {
    match family {
        Family::V4 => 0x1c,
        Family::V6 => 0xfc,
    }
}

/// A route that fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) route: &'a FibRoute,
    /// The first of its hops that fits.
    pub(crate) hop: &'a Hop,
    /// Realm of the rule that led to it.
    pub(crate) rule_realm: u32,
}

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No route, or a rule of type unreachable: ENETUNREACH.
    NoRoute,
    /// EHOSTUNREACH.
    Unreachable,
    /// EACCES.
    Prohibit,
    /// EINVAL.
    Blackhole,
    /// EAGAIN: look further.
    Throw,
}

/// One family's tables and rules.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    family: Family,
    /// Ascending by number.
    tables: Vec<(TableId, Table)>,
    /// In their order, with the place of their table or of the rule to go to.
    rules: Vec<(PolicyRule, Option<usize>)>,
    /// No rule was ever added: IPv4 then searches `local` and `main` as one table.
    merged: Option<Table>,
    needs_ports: bool,
}

impl Policy {
    /// `rules` are all rules in their order, `custom` whether they differ from those a fresh namespace has.
    pub(crate) fn new(family: Family, routes: Vec<FibRoute>, rules: Vec<PolicyRule>, custom: bool) -> Policy {
        let merged = (family == Family::V4 && !custom).then(|| {
            let both = |r: &&FibRoute| matches!(r.table, TableId::LOCAL | TableId::MAIN);
            Table::new(family, routes.iter().filter(both).cloned().collect())
        });
        let mut ids: Vec<TableId> = routes.iter().map(|r| r.table).collect();
        ids.sort_unstable();
        ids.dedup();
        let of = |id: TableId| routes.iter().filter(|r| r.table == id).cloned().collect();
        let tables: Vec<(TableId, Table)> = ids.into_iter().map(|id| (id, Table::new(family, of(id)))).collect();
        let place = |at: usize, rule: &PolicyRule| match rule.action {
            RuleAction::Table(id) => tables.binary_search_by_key(&id, |(id, _)| *id).ok(),
            RuleAction::Goto(priority) => {
                (at + 1..rules.len()).find(|later| rules.get(*later).is_some_and(|r| r.priority >= priority))
            }
            _ => None,
        };
        let places: Vec<Option<usize>> = rules.iter().enumerate().map(|(at, rule)| place(at, rule)).collect();
        let needs_ports = rules.iter().any(|r| r.protocol != 0 || r.sport.is_some() || r.dport.is_some());
        Policy { family, rules: rules.into_iter().zip(places).collect(), tables, merged, needs_ports }
    }

    /// Whether a rule was added.
    pub(crate) fn is_custom(&self) -> bool {
        match self.family {
            Family::V4 => self.merged.is_none(),
            Family::V6 => self.rules.len() != 2,
        }
    }

    /// Whether a rule looks at the transport protocol or ports.
    pub(crate) fn needs_ports(&self) -> bool {
        self.needs_ports
    }

    /// The rules in their order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &PolicyRule> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    /// All tables by number.
    pub(crate) fn tables(&self) -> &[(TableId, Table)] {
        &self.tables
    }

    /// The table of this number, if it has routes.
    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        let at = self.tables.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.tables.get(at).map(|(_, table)| table)
    }

    /// What one table says. While no rule was added, `local` and `main` are one (IPv4).
    pub(crate) fn search_table(&self, id: TableId, flow: &Flow) -> Result<Found<'_>, Refused> {
        let merged = self.merged.as_ref().filter(|_| matches!(id, TableId::LOCAL | TableId::MAIN));
        merged.or_else(|| self.table(id)).map_or(Err(Refused::Throw), |table| search(table, flow))
    }

    /// The route for a flow by the rules.
    pub(crate) fn lookup(&self, flow: &Flow, interfaces: &[Interface]) -> Result<Found<'_>, Refused> {
        if let Some(merged) = &self.merged {
            let found = match (search(merged, flow), self.table(TableId::DEFAULT)) {
                (Err(Refused::Throw), Some(table)) => search(table, flow),
                (found, _) => found,
            };
            return found.map_err(|refused| if refused == Refused::Throw { Refused::NoRoute } else { refused });
        }
        let mut at = 0;
        while let Some((rule, place)) = self.rules.get(at) {
            at += 1;
            if !rule.selects(flow) {
                continue;
            }
            match rule.action {
                RuleAction::Goto(_) => at = place.unwrap_or(at),
                RuleAction::Nop => {}
                RuleAction::Blackhole => return Err(Refused::Blackhole),
                RuleAction::Unreachable => return Err(Refused::NoRoute),
                RuleAction::Prohibit => return Err(Refused::Prohibit),
                RuleAction::Table(_) => match place.and_then(|at| self.tables.get(at)).map(|(_, t)| search(t, flow)) {
                    Some(Ok(found)) if rule.suppresses(&found, interfaces) => {}
                    Some(Ok(found)) => return Ok(Found { rule_realm: rule.realm, ..found }),
                    Some(Err(Refused::Throw)) | None => {}
                    Some(Err(refused)) => return Err(refused),
                },
            }
        }
        Err(Refused::NoRoute)
    }
}

/// The route of one table for a flow; [`Refused::Throw`] when there is none.
fn search<'a>(table: &'a Table, flow: &Flow) -> Result<Found<'a>, Refused> {
    for routes in table.covering(flow.dst) {
        let found = match flow.family {
            Family::V4 => first_that_fits(routes, flow),
            Family::V6 => best_that_fits(routes, flow),
        };
        if let Some((route, hop)) = found {
            return match route.kind {
                RouteType::Blackhole => Err(Refused::Blackhole),
                RouteType::Unreachable => Err(Refused::Unreachable),
                RouteType::Prohibit => Err(Refused::Prohibit),
                RouteType::Throw => Err(Refused::Throw),
                _ => hop.map(|hop| Found { route, hop, rule_realm: 0 }).ok_or(Refused::Throw),
            };
        }
    }
    Err(Refused::Throw)
}

type Choice<'a> = Option<(&'a FibRoute, Option<&'a Hop>)>;

fn first_that_fits<'a>(routes: &'a [FibRoute], flow: &Flow) -> Choice<'a> {
    for route in routes {
        let of_this_tos = route.tos == 0 || route.tos == flow.tos & tos_mask(Family::V4);
        if !of_this_tos || route.scope < flow.scope {
            continue;
        }
        if route.hops.is_empty() {
            return Some((route, None));
        }
        let hop = route.hops.iter().find(|hop| flow.oif.is_none_or(|oif| oif == hop.dev));
        if hop.is_some() {
            return Some((route, hop));
        }
    }
    None
}

/// IPv6: the first of the lowest metric by the wished device, else the first of the lowest metric; with `strict` only by the
/// wished device.
fn best_that_fits<'a>(routes: &'a [FibRoute], flow: &Flow) -> Choice<'a> {
    let wished = flow.oif.or(flow.wished);
    let metric = routes.first()?.metric;
    let lowest = routes.iter().take_while(|r| r.metric == metric).count();
    for group in [routes.get(..lowest)?, routes.get(lowest..)?] {
        let mut other: Choice<'a> = None;
        for route in group {
            let device = |hop: &&Hop| wished.is_none_or(|dev| dev == hop.dev);
            match route.hops.iter().find(device) {
                Some(hop) => return Some((route, Some(hop))),
                // The types that refuse are routes by `lo`.
                None if route.hops.is_empty() && wished.is_none_or(|dev| dev == crate::net::LO) => {
                    return Some((route, None));
                }
                None if !flow.strict && other.is_none() => other = Some((route, route.hops.first())),
                None => {}
            }
        }
        if other.is_some() {
            return other;
        }
    }
    None
}

/// The rules of a fresh namespace.
pub(crate) fn standard(family: Family) -> Vec<PolicyRule> {
    let mut rules = vec![
        PolicyRule::all(0, RuleAction::Table(TableId::LOCAL)),
        PolicyRule::all(32766, RuleAction::Table(TableId::MAIN)),
    ];
    if family == Family::V4 {
        rules.push(PolicyRule::all(32767, RuleAction::Table(TableId::DEFAULT)));
    }
    rules
}

/// The place of the next rule that is added without one: Linux gives it one below that of the second rule.
pub(crate) fn next_priority(rules: &[PolicyRule]) -> u32 {
    rules.get(1).map_or(0, |second| second.priority.saturating_sub(1))
}

/// Adds a rule behind those of its priority.
pub(crate) fn add(rules: &mut Vec<PolicyRule>, rule: PolicyRule) {
    let at = rules.partition_point(|r| r.priority <= rule.priority);
    rules.insert(at, rule);
}

/// A flow that asks for the way to `dst` and nothing else.
pub(crate) fn plain_flow(family: Family, dst: Addr) -> Flow {
    Flow {
        family,
        src: Addr::UNSPECIFIED,
        has_src: false,
        dst,
        tos: 0,
        mark: 0,
        iif: crate::net::LO,
        oif: None,
        wished: None,
        strict: false,
        scope: Scope::Global,
        protocol: 0,
        ports: (0, 0),
        uid: 0,
    }
}
