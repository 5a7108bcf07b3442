//! What hairpin's own verbs ask a running gateway: `status`, `save`.

use super::Context;
use super::live::LiveState;
use crate::limits::{self, Limit};
use crate::queues::QueueNumbers;
use crate::seam::{Handle, Moment, Stats};
use crate::trace::json_string;
use hairpin_commands::conntrack::table::PLACES_AT_ONCE;
use hairpin_commands::{Outcome, State};
use hairpin_control::protocol::Request;
use hairpin_engine::net::Net;
use hairpin_engine::track::{Record, Status, TrackStats};
use hairpin_engine::{DropReason, Wall};
use hairpin_ruleset::save::SaveOptions;
use hairpin_wire::{Family, proto};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Does what a verb asks; None when it is none.
pub(super) fn verb(context: &Context, request: &Request) -> Option<Outcome> {
    Some(match request.program.as_str() {
        "status" => status(context, &request.words),
        "save" => save(context),
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
    /// Connections are counted.
    pub(crate) accounting: bool,
    pub(crate) limits: Vec<Limit>,
    /// How often which limit was reached.
    pub(crate) reached: Vec<(String, u64)>,
    pub(crate) track: TrackStats,
    pub(crate) neighbors: [(&'static str, usize); 6],
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
            accounting: state.net().sysctl.track.accounting,
            limits: limits::of(moment),
            reached: state.limits_reached(),
            track: tracker.stats,
            neighbors: moment.neighbors.count(),
            drops: state.drops().collect(),
            rules: [rules(Family::V4), rules(Family::V6)],
        }
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

/// What `status` tells, taken between two batches.
struct Told {
    numbers: Numbers,
    net: Arc<Net>,
    queues: Vec<QueueNumbers>,
    sets: usize,
    uptime: Duration,
    /// The snapshot's file, and how old it is.
    snapshot: Option<(PathBuf, Option<Duration>)>,
    now: Wall,
}

fn status(context: &Context, words: &[String]) -> Outcome {
    let is_json = match words {
        [] => false,
        [word] if word == "--json" => true,
        [word, ..] => return Outcome::failed(2, format!("hairpin: status: {word}? only --json can stand here\n")),
    };
    let taken = context.handle.ask(|moment| {
        let numbers = Numbers::take(moment);
        let state = moment.engine.state();
        let sets = state.sets().iter().count();
        (Arc::clone(state.net()), moment.queues.state(), sets, moment.now.wall, numbers)
    });
    let Ok((net, queues, sets, now, numbers)) = taken else { return gone() };
    let age = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok()?.elapsed().ok();
    let snapshot = context.snapshot.as_ref().map(|path| (path.clone(), age(path)));
    let status = Told { numbers, net, queues, sets, uptime: context.started.elapsed(), snapshot, now };
    Outcome::done(if is_json { status.json() } else { status.text() })
}

impl Told {
    fn addresses(&self, name: &str) -> Vec<String> {
        let device = self.net.interfaces.iter().find(|device| device.name.to_string() == name);
        let addresses = device.map_or(&[][..], |device| &device.addresses);
        addresses.iter().map(|a| format!("{}/{}", a.addr.display(a.family), a.prefix)).collect()
    }

    fn is_up(&self, name: &str) -> bool {
        // This host's own device is none of the engine's, and up.
        self.net.interfaces.iter().find(|device| device.name.to_string() == name).is_none_or(|device| device.up)
    }

    fn since(&self, wall: Wall) -> u64 {
        self.now.0.saturating_sub(wall.0) / 1_000_000_000
    }

    fn text(&self) -> String {
        let n = &self.numbers;
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(text, "hairpin {version}, up {}", span(self.uptime.as_secs()));
        for device in &n.stats.devices {
            let up = if self.is_up(&device.name) { "up" } else { "down" };
            let addresses = self.addresses(&device.name).join(" ");
            let _ = writeln!(
                text,
                "interface {}: {up}, {}{}{addresses}; received {} frames, {} bytes; {} missed; sent {} frames, {} bytes; {} not taken",
                device.name,
                device.datapath,
                if addresses.is_empty() { "" } else { "; " },
                device.received,
                device.received_bytes,
                device.missed,
                device.sent,
                device.sent_bytes,
                device.lost
            );
        }
        let _ = writeln!(text, "rules: {} IPv4, {} IPv6; {} sets", n.rules[0], n.rules[1], self.sets);
        let share = if n.max == 0 { 0 } else { n.connections as u64 * 100 / u64::from(n.max) };
        let _ = writeln!(text, "connections: {} of {} ({share} %)", n.connections, n.max);
        let _ = writeln!(text, "expected connections: {}", n.expectations);
        let states: Vec<String> = n.neighbors.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let _ = writeln!(text, "neighbors: {}", states.join(", "));
        for queue in &self.queues {
            let QueueNumbers { number, waiting, maxlen, packets, overrun } = queue;
            let _ =
                writeln!(text, "queue {number}: {waiting} of {maxlen} wait, {packets} came, {overrun} found no room");
        }
        for limit in n.limits.iter().filter(|limit| limit.is_near()) {
            let _ = writeln!(
                text,
                "warning: {} % of {} are used: {} of {}",
                limit.percent(),
                limit.name,
                limit.used,
                limit.max
            );
        }
        if !n.reached.is_empty() {
            let reached: Vec<String> = n.reached.iter().map(|(limit, count)| format!("{limit} {count}")).collect();
            let _ = writeln!(text, "limits reached, and how often: {}", reached.join(", "));
        }
        let per_packet = n.stats.busy_nanos.checked_div(n.stats.packets).unwrap_or(0);
        let per_batch = n.stats.packets as f64 / n.stats.batches.max(1) as f64;
        let _ = writeln!(
            text,
            "packets: {} in {} batches ({per_batch:.1} each, {per_packet} ns per packet), {} for this host",
            n.stats.packets, n.stats.batches, n.stats.delivered
        );
        let _ = writeln!(text, "longest pause: {:.1} ms", n.stats.longest_pause_nanos as f64 / 1e6);
        let drops: Vec<String> = self.drops().map(|(reason, count)| format!("{} {count}", reason.text())).collect();
        let _ = writeln!(text, "drops: {}", if drops.is_empty() { "none".to_owned() } else { drops.join(", ") });
        let _ = match n.stats.reloaded {
            Some((wall, true)) => writeln!(text, "last reload: {} ago", span(self.since(wall))),
            Some((wall, false)) => writeln!(text, "last reload: {} ago, and it failed", span(self.since(wall))),
            None => writeln!(text, "last reload: none since the start"),
        };
        let _ = match &self.snapshot {
            Some((path, Some(age))) => writeln!(text, "snapshot: {}, {} old", path.display(), span(age.as_secs())),
            Some((path, None)) => writeln!(text, "snapshot: {}, not written yet", path.display()),
            None => writeln!(text, "snapshot: none is kept ([state] in the host file)"),
        };
        text
    }

    fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.numbers.drops.iter().copied().filter(|(_, count)| *count > 0)
    }

    fn json(&self) -> String {
        let n = &self.numbers;
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        let devices = n.stats.devices.iter().map(|device| {
            let addresses = self.addresses(&device.name).iter().map(|address| json_string(address)).collect();
            format!(
                "{{\"name\":{},\"up\":{},\"datapath\":{},\"addresses\":{},\"received\":{},\"received_bytes\":{},\"missed\":{},\"sent\":{},\"sent_bytes\":{},\"not_taken\":{}}}",
                json_string(&device.name),
                self.is_up(&device.name),
                json_string(&device.datapath),
                list(addresses),
                device.received,
                device.received_bytes,
                device.missed,
                device.sent,
                device.sent_bytes,
                device.lost
            )
        });
        let limits = n.limits.iter().map(|limit| {
            let (name, near) = (json_string(&limit.name), limit.is_near());
            format!("{{\"name\":{name},\"used\":{},\"max\":{},\"near\":{near}}}", limit.used, limit.max)
        });
        let queues = self.queues.iter().map(|queue| {
            format!(
                "{{\"number\":{},\"waiting\":{},\"maxlen\":{},\"packets\":{},\"overrun\":{}}}",
                queue.number, queue.waiting, queue.maxlen, queue.packets, queue.overrun
            )
        });
        let drops = self.drops().map(|(reason, count)| format!("{}:{count}", json_string(reason.text())));
        let reached = n.reached.iter().map(|(name, count)| format!("{}:{count}", json_string(name)));
        let neighbors = n.neighbors.iter().map(|(state, count)| format!("{}:{count}", json_string(state)));
        let reload = n.stats.reloaded.map_or("null".to_owned(), |(wall, is_done)| {
            format!("{{\"seconds_ago\":{},\"done\":{is_done}}}", self.since(wall))
        });
        let snapshot = self.snapshot.as_ref().map_or("null".to_owned(), |(path, age)| {
            let age = age.map_or("null".to_owned(), |age| age.as_secs().to_string());
            format!("{{\"file\":{},\"age_seconds\":{age}}}", json_string(&path.display().to_string()))
        });
        format!(
            "{{\"version\":{},\"uptime_seconds\":{},\"interfaces\":{},\"rules\":{{\"ipv4\":{},\"ipv6\":{}}},\"sets\":{},\"connections\":{},\"connections_max\":{},\"expectations\":{},\"neighbors\":{{{}}},\"queues\":{},\"limits\":{},\"limits_reached\":{{{}}},\"packets\":{},\"batches\":{},\"busy_nanos\":{},\"delivered\":{},\"longest_pause_nanos\":{},\"drops\":{{{}}},\"last_reload\":{reload},\"snapshot\":{snapshot}}}\n",
            json_string(env!("CARGO_PKG_VERSION")),
            self.uptime.as_secs(),
            list(devices.collect()),
            n.rules[0],
            n.rules[1],
            self.sets,
            n.connections,
            n.max,
            n.expectations,
            neighbors.collect::<Vec<_>>().join(","),
            list(queues.collect()),
            list(limits.collect()),
            reached.collect::<Vec<_>>().join(","),
            n.stats.packets,
            n.stats.batches,
            n.stats.busy_nanos,
            n.stats.delivered,
            n.stats.longest_pause_nanos,
            drops.collect::<Vec<_>>().join(","),
        )
    }
}

/// `1 d 02:03:04`.
fn span(seconds: u64) -> String {
    format!("{} d {:02}:{:02}:{:02}", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// The rules of both families and where they belong: a line `PATH LENGTH` before each text. Who asks writes them, under their own
/// rights.
fn save(context: &Context) -> Outcome {
    let mut out = Vec::new();
    for (family, path) in [Family::V4, Family::V6].into_iter().zip(&context.rule_files) {
        let Some(path) = path else { continue };
        let options = SaveOptions { counters: true, ..SaveOptions::default() };
        match LiveState::new(context, None).save(family, &options) {
            Ok(text) => {
                out.extend(format!("{} {}\n", text.len(), path.display()).into_bytes());
                out.extend(text.into_bytes());
            }
            Err(why) => return Outcome::failed(why.code(), format!("hairpin: {why}\n")),
        }
    }
    Outcome::done(out)
}
