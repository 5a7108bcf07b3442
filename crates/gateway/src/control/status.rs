//! What hairpin's own verbs ask a running gateway: `status`, `save`.

use super::Context;
use super::live::LiveState;
use crate::seam::{Handle, Moment, Stats};
use hairpin_commands::conntrack::table::PLACES_AT_ONCE;
use hairpin_commands::{Outcome, State};
use hairpin_control::protocol::Request;
use hairpin_engine::DropReason;
use hairpin_engine::track::{Record, Status, TrackStats};
use hairpin_ruleset::save::SaveOptions;
use hairpin_wire::{Family, proto};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Does what a verb asks; None when it is none.
pub(super) fn verb(context: &Context, request: &Request) -> Option<Outcome> {
    Some(match request.program.as_str() {
        "status" => status(context),
        "save" => save(context),
        "top" => top(context),
        "sysctl" => super::sysctl::sysctl(context, request),
        _ => return None,
    })
}

/// Numbers taken between two batches.
pub(crate) struct Numbers {
    pub(crate) stats: Stats,
    pub(crate) connections: usize,
    pub(crate) max: u32,
    pub(crate) expectations: usize,
    pub(crate) expect_max: u32,
    pub(crate) track: TrackStats,
    pub(crate) neighbors: [(&'static str, usize); 5],
    pub(crate) drops: Vec<(DropReason, u64)>,
    pub(crate) rules: [usize; 2],
}

impl Numbers {
    pub(crate) fn take(moment: &mut Moment<'_>) -> Numbers {
        let state = moment.engine.state();
        let tracker = state.tracker();
        let rules = |family| state.rules(family).tables().flat_map(|t| &t.chains).map(|c| c.rules.len()).sum();
        Numbers {
            stats: moment.stats.clone(),
            connections: tracker.conns.count(),
            max: state.net().sysctl.track.max,
            expectations: tracker.expectations.len(),
            expect_max: state.net().sysctl.track.expect_max,
            track: tracker.stats,
            neighbors: moment.neighbors.count(),
            drops: state.drops().collect(),
            rules: [rules(Family::V4), rules(Family::V6)],
        }
    }
}

impl Numbers {
    /// Limits, and whether they are used by 80 percent or more.
    pub(crate) fn warnings(&self) -> [(&'static str, bool); 2] {
        let is_near = |used: usize, max: u32| max != 0 && used as u64 * 100 >= u64::from(max) * 80;
        [
            ("nf_conntrack_max", is_near(self.connections, self.max)),
            ("nf_conntrack_expect_max", is_near(self.expectations, self.expect_max)),
        ]
    }
}

/// Numbers taken over all connections, by pieces.
#[derive(Default)]
pub(crate) struct TableNumbers {
    /// By protocol and state.
    pub(crate) by_state: BTreeMap<(&'static str, &'static str), u64>,
    /// Connections whose source is translated, by address and protocol.
    pub(crate) ports: BTreeMap<(String, &'static str), u64>,
}

impl TableNumbers {
    /// None when the gateway has ended.
    pub(crate) fn take(handle: &Handle) -> Option<TableNumbers> {
        let mut numbers = TableNumbers::default();
        let mut next = Some(0);
        while let Some(from) = next {
            let (found, then) = handle
                .ask(move |moment| moment.engine.state().tracker().records(moment.now.mono, from, PLACES_AT_ONCE))
                .ok()?;
            next = then;
            for (_, record) in found {
                numbers.count(&record);
            }
        }
        Some(numbers)
    }

    fn count(&mut self, record: &Record) {
        let protocol = match record.protocol() {
            proto::TCP => "tcp",
            proto::UDP => "udp",
            proto::ICMP => "icmp",
            proto::ICMPV6 => "icmpv6",
            proto::SCTP => "sctp",
            proto::GRE => "gre",
            proto::UDPLITE => "udplite",
            _ => "other",
        };
        let answered = if record.status.has(Status::SEEN_REPLY) { "ANSWERED" } else { "UNREPLIED" };
        *self.by_state.entry((protocol, record.state_text().unwrap_or(answered))).or_default() += 1;
        if record.status.has(Status::SRC_NAT) {
            let reply = &record.tuples[1];
            *self.ports.entry((reply.dst.display(reply.family).to_string(), protocol)).or_default() += 1;
        }
    }
}

fn gone() -> Outcome {
    Outcome::failed(1, "hairpin: the gateway has ended\n")
}

fn status(context: &Context) -> Outcome {
    let Ok(n) = context.handle.ask(Numbers::take) else { return gone() };
    let mut text = String::new();
    let up = context.started.elapsed().as_secs();
    let _ = writeln!(
        text,
        "hairpin {}, up {} d {:02}:{:02}:{:02}",
        env!("CARGO_PKG_VERSION"),
        up / 86_400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60
    );
    for device in &n.stats.devices {
        let _ = writeln!(
            text,
            "interface {}: received {} frames, {} bytes; sent {} frames, {} bytes; {} not taken",
            device.name, device.received, device.received_bytes, device.sent, device.sent_bytes, device.lost
        );
    }
    let _ = writeln!(text, "rules: {} IPv4, {} IPv6", n.rules[0], n.rules[1]);
    let share = if n.max == 0 { 0 } else { n.connections as u64 * 100 / u64::from(n.max) };
    let _ = writeln!(text, "connections: {} of {} ({share} %)", n.connections, n.max);
    for (limit, _) in n.warnings().into_iter().filter(|(_, is_near)| *is_near) {
        let _ = writeln!(text, "warning: 80 % or more of net.netfilter.{limit} are used");
    }
    let _ = writeln!(text, "expected connections: {}", n.expectations);
    let per_packet = n.stats.busy_nanos.checked_div(n.stats.packets).unwrap_or(0);
    let per_batch = n.stats.packets as f64 / n.stats.batches.max(1) as f64;
    let _ = writeln!(
        text,
        "packets: {} in {} batches ({per_batch:.1} each, {per_packet} ns per packet), {} for this host",
        n.stats.packets, n.stats.batches, n.stats.delivered
    );
    let drops: Vec<String> =
        n.drops.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| format!("{reason:?} {count}")).collect();
    let _ = writeln!(text, "drops: {}", if drops.is_empty() { "none".to_owned() } else { drops.join(", ") });
    Outcome::done(text)
}

/// How many lines each part of `hairpin top` has.
const TOP: usize = 10;

/// The busiest flows, hosts and rules. Bytes of connections are there when they are counted (nf_conntrack_acct).
fn top(context: &Context) -> Outcome {
    let mut flows: Vec<(u64, String)> = Vec::new();
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    let mut next = Some(0);
    while let Some(from) = next {
        let asked = context
            .handle
            .ask(move |moment| moment.engine.state().tracker().records(moment.now.mono, from, PLACES_AT_ONCE));
        let Ok((found, then)) = asked else { return gone() };
        next = then;
        for (_, record) in found {
            let bytes = record.counters.map_or(0, |counters| counters.iter().map(|counter| counter.bytes).sum());
            let [original, _] = &record.tuples;
            let host = original.src.display(original.family).to_string();
            flows.push((
                bytes,
                format!(
                    "{host}:{} > {}:{} ({})",
                    original.src_id,
                    original.dst.display(original.family),
                    original.dst_id,
                    original.protocol
                ),
            ));
            *hosts.entry(host).or_default() += bytes;
        }
        // No more than are shown are kept for long.
        flows.sort_unstable_by(|a, b| b.cmp(a));
        flows.truncate(TOP);
    }
    let mut rules: Vec<(u64, String)> = Vec::new();
    for family in [Family::V4, Family::V6] {
        let Ok(ruleset) = LiveState::new(context).ruleset(family) else { return gone() };
        for table in &ruleset.tables {
            for chain in &table.chains {
                let counted = chain.rules.iter().enumerate().filter(|(_, rule)| rule.counter.packets > 0);
                rules.extend(counted.map(|(n, rule)| {
                    (rule.counter.packets, format!("{family:?} {} {} {}", table.id, chain.name, n + 1))
                }));
            }
        }
    }
    rules.sort_unstable_by(|a, b| b.cmp(a));
    let mut hosts: Vec<(u64, String)> = hosts.into_iter().map(|(host, bytes)| (bytes, host)).collect();
    hosts.sort_unstable_by(|a, b| b.cmp(a));
    let mut outcome = status(context);
    for (title, lines) in [("bytes by flow", flows), ("bytes by host", hosts), ("packets by rule", rules)] {
        let lines: String = lines.iter().take(TOP).map(|(count, what)| format!("{count:>16}  {what}\n")).collect();
        outcome.stdout.extend(format!("\n{title}\n{lines}").into_bytes());
    }
    outcome
}

/// The rules of both families and where they belong: a line `PATH LENGTH` before each text. Who asks writes them, under their own
/// rights.
fn save(context: &Context) -> Outcome {
    let mut out = Vec::new();
    for (family, path) in [Family::V4, Family::V6].into_iter().zip(&context.rule_files) {
        let Some(path) = path else { continue };
        let options = SaveOptions { counters: true, ..SaveOptions::default() };
        match LiveState::new(context).save(family, &options) {
            Ok(text) => {
                out.extend(format!("{} {}\n", text.len(), path.display()).into_bytes());
                out.extend(text.into_bytes());
            }
            Err(why) => return Outcome::failed(why.code(), format!("hairpin: {why}\n")),
        }
    }
    Outcome::done(out)
}
