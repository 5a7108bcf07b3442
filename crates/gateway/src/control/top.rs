//! Serves `hairpin top`: samples of the busiest flows, hosts, rules and drops, one a second, until the client goes.
//!
//! A sample is lines of words parted by tabs, the first of which says what the line is, and ends with a line `.`:
//!
//! ```text
//! N  name  value                                                     a number of the whole gateway
//! F  bytes/s  packets/s  bytes  packets  protocol  source  destination  state
//! H  bytes/s  packets/s  bytes  packets  address  connections
//! R  bytes/s  packets/s  bytes  packets  family  table  chain  number  rule
//! D  drops/s  drops  reason
//! ```
//!
//! Rates are those since the sample before; in the first one they are 0. Going over the table is done by pieces, between batches.

use super::clients::{answer, on_stop};
use super::{Context, Numbers};
use crate::rules;
use hairpin_commands::Outcome;
use hairpin_commands::conntrack::table::PLACES_AT_ONCE;
use hairpin_control::protocol::{Frame, PIECE, Request};
use hairpin_engine::DropReason;
use hairpin_engine::rule::{Counter, TableId};
use hairpin_engine::track::{ConnId, Record, Status};
use hairpin_wire::{Addr, Family, proto};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of each kind in a sample.
const LINES: usize = 100;
/// Connections whose counters are kept for the next sample; of more, rates of the others are not known.
const KEPT: usize = 1 << 18;

/// How many samples are asked for; None when the request is another.
pub(super) fn wanted(request: &Request) -> Option<Result<u64, Outcome>> {
    if request.program != "top" {
        return None;
    }
    let count = match request.words.first().map(|word| word.parse()) {
        None => Ok(u64::MAX),
        Some(Ok(count)) => Ok(count),
        Some(Err(_)) => Err(Outcome::failed(2, "hairpin: top: how many samples? a number is expected\n")),
    };
    Some(count)
}

/// Sends samples.
pub(super) fn serve(context: &Context, mut stream: UnixStream, count: u64) -> io::Result<()> {
    let stopped = Arc::new((Mutex::new(false), Condvar::new()));
    let stop = Arc::clone(&stopped);
    let listening = on_stop(&stream, move || {
        *stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        stop.1.notify_all();
    })?;
    let mut sampler = Sampler::default();
    for n in 0..count {
        if n > 0 {
            let lock = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = stopped.1.wait_timeout_while(lock, Duration::from_secs(1), |stopped| !*stopped);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                break;
            }
        }
        let Some(text) = sampler.sample(context) else {
            return answer(&mut stream, Outcome::failed(1, "hairpin: the gateway has ended\n"));
        };
        for piece in text.as_bytes().chunks(PIECE) {
            Frame::Stdout(piece.to_vec()).send(&mut stream)?;
        }
    }
    answer(&mut stream, Outcome::default())?;
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = listening.join();
    Ok(())
}

/// What was counted at the sample before.
#[derive(Default)]
struct Sampler {
    at: Option<Instant>,
    flows: HashMap<ConnId, Counter>,
    rules: HashMap<(Family, TableId, usize), Counter>,
    drops: BTreeMap<DropReason, u64>,
}

/// Since the sample before, in a second.
#[derive(Clone, Copy, Default)]
struct Rate {
    bytes: u64,
    packets: u64,
}

#[derive(Default)]
struct Host {
    rate: Rate,
    total: Counter,
    connections: u64,
}

impl Sampler {
    fn sample(&mut self, context: &Context) -> Option<String> {
        let at = Instant::now();
        let seconds = self.at.replace(at).map(|before| at.duration_since(before).as_secs_f64().max(0.001));
        let mut text = String::new();
        let numbers = context.handle.ask(Numbers::take).ok()?;
        self.whole(&mut text, context, &numbers);
        self.connections(&mut text, context, seconds)?;
        self.rules(&mut text, context, seconds)?;
        for (reason, count) in numbers.drops.iter().filter(|(_, count)| *count > 0) {
            let before = self.drops.insert(*reason, *count).unwrap_or(*count);
            let rate = seconds.map_or(0, |seconds| ((count - before.min(*count)) as f64 / seconds) as u64);
            let _ = writeln!(text, "D\t{rate}\t{count}\t{}", reason.text());
        }
        text += ".\n";
        Some(text)
    }

    fn whole(&self, text: &mut String, context: &Context, numbers: &Numbers) {
        let received: u64 = numbers.stats.devices.iter().map(|device| device.received_bytes).sum();
        for (name, value) in [
            ("uptime", context.started.elapsed().as_secs()),
            ("packets", numbers.stats.packets),
            ("bytes", received),
            ("busy_nanos", numbers.stats.busy_nanos),
            ("connections", numbers.connections as u64),
            ("connections_max", u64::from(numbers.max)),
            ("accounting", u64::from(numbers.accounting)),
        ] {
            let _ = writeln!(text, "N\t{name}\t{value}");
        }
    }

    fn connections(&mut self, text: &mut String, context: &Context, seconds: Option<f64>) -> Option<()> {
        let mut hosts: HashMap<(Family, Addr), Host> = HashMap::new();
        let mut flows: Vec<(Rate, Counter, Record)> = Vec::new();
        let mut seen = HashMap::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let (found, then) = context
                .handle
                .ask(move |moment| moment.engine.state().tracker().records(moment.now.mono, from, PLACES_AT_ONCE))
                .ok()?;
            next = then;
            for (id, record) in found {
                let [original, reply] = record.counters.unwrap_or_default();
                let total = Counter { packets: original.packets + reply.packets, bytes: original.bytes + reply.bytes };
                let rate = rate(self.flows.get(&id), total, seconds);
                if seen.len() < KEPT {
                    seen.insert(id, total);
                }
                let host = hosts.entry((record.family(), record.tuples[0].src)).or_default();
                host.add(rate, total);
                flows.push((rate, total, record));
            }
            // No more than are shown are kept for long.
            flows.sort_by(|a, b| order(a.0, a.1).cmp(&order(b.0, b.1)).reverse());
            flows.truncate(LINES);
        }
        self.flows = seen;
        for (rate, total, record) in &flows {
            let [original, _] = &record.tuples;
            let end = |addr: Addr, port: u16| {
                let addr = addr.display(original.family);
                match (original.has_ports(), original.family) {
                    (false, _) => addr.to_string(),
                    (true, Family::V4) => format!("{addr}:{port}"),
                    (true, Family::V6) => format!("[{addr}]:{port}"),
                }
            };
            let _ = writeln!(
                text,
                "F\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                rate.bytes,
                rate.packets,
                total.bytes,
                total.packets,
                protocol(original.protocol),
                end(original.src, original.src_id),
                end(original.dst, original.dst_id),
                state(record)
            );
        }
        let mut hosts: Vec<_> = hosts.into_iter().collect();
        hosts.sort_by(|(a, x), (b, y)| order(y.rate, y.total).cmp(&order(x.rate, x.total)).then(a.cmp(b)));
        for ((family, addr), host) in hosts.iter().take(LINES) {
            let Host { rate, total, connections } = host;
            let _ = writeln!(
                text,
                "H\t{}\t{}\t{}\t{}\t{}\t{connections}",
                rate.bytes,
                rate.packets,
                total.bytes,
                total.packets,
                addr.display(*family)
            );
        }
        Some(())
    }

    fn rules(&mut self, text: &mut String, context: &Context, seconds: Option<f64>) -> Option<()> {
        let mut lines = Vec::new();
        let mut seen = HashMap::new();
        for family in [Family::V4, Family::V6] {
            let (compiled, counters) = context
                .handle
                .ask(move |moment| {
                    let state = moment.engine.state();
                    (Arc::clone(state.rules(family)), TableId::ALL.map(|id| state.counters(family, id).to_vec()))
                })
                .ok()?;
            for table in compiled.tables() {
                let counted = counters[table.id as usize].iter().enumerate();
                for (place, total) in counted.filter(|(_, counter)| counter.packets > 0) {
                    let key = (family, table.id, place);
                    let rate = rate(self.rules.get(&key), *total, seconds);
                    if seen.len() < KEPT {
                        seen.insert(key, *total);
                    }
                    lines.push((rate, *total, key));
                }
            }
            lines.sort_by(|a, b| order(b.0, b.1).cmp(&order(a.0, a.1)).then(a.2.cmp(&b.2)));
            lines.truncate(LINES);
            // The text of those that are shown, while their rules are at hand.
            for (rate, total, (of, id, place)) in lines.iter().filter(|(_, _, (of, ..))| *of == family) {
                let Some(table) = compiled.table(*id) else { continue };
                let (chain, number, rule) = rules::named_at(*of, table, *place);
                let _ = writeln!(
                    text,
                    "R\t{}\t{}\t{}\t{}\t{}\t{id}\t{chain}\t{number}\t{rule}",
                    rate.bytes,
                    rate.packets,
                    total.bytes,
                    total.packets,
                    if *of == Family::V4 { "IPv4" } else { "IPv6" },
                );
            }
        }
        self.rules = seen;
        Some(())
    }
}

impl Host {
    fn add(&mut self, rate: Rate, total: Counter) {
        self.rate.bytes += rate.bytes;
        self.rate.packets += rate.packets;
        self.total.bytes += total.bytes;
        self.total.packets += total.packets;
        self.connections += 1;
    }
}

/// By what they did since the sample before, and else by what they did in all.
const fn order(rate: Rate, total: Counter) -> (u64, u64, u64) {
    (rate.bytes, total.bytes, total.packets)
}

fn rate(before: Option<&Counter>, now: Counter, seconds: Option<f64>) -> Rate {
    let Some(seconds) = seconds else { return Rate::default() };
    // What is new counts whole.
    let before = before.copied().unwrap_or_default();
    let in_second = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds) as u64;
    Rate { bytes: in_second(now.bytes, before.bytes), packets: in_second(now.packets, before.packets) }
}

fn protocol(number: u8) -> String {
    match number {
        proto::TCP => "tcp".to_owned(),
        proto::UDP => "udp".to_owned(),
        proto::ICMP => "icmp".to_owned(),
        proto::ICMPV6 => "icmpv6".to_owned(),
        proto::SCTP => "sctp".to_owned(),
        proto::GRE => "gre".to_owned(),
        other => other.to_string(),
    }
}

fn state(record: &Record) -> &'static str {
    record.state_text().unwrap_or(if record.status.has(Status::SEEN_REPLY) { "ANSWERED" } else { "UNREPLIED" })
}
