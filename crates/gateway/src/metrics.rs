//! Metrics over HTTP for Prometheus: `[metrics] listen`.
//!
//! One thread answers one question at a time; numbers are taken between two batches, and what goes over all connections is taken by
//! pieces. Rules have a series each only when they carry a comment (`-m comment`): otherwise there would be as many series as rules.

use crate::control::{Numbers, TableNumbers};
use crate::limits;
use crate::logs::LogNumbers;
use crate::seam::{Attendant, Handle, Moment, PAUSES};
use hairpin_engine::rule::{Rule, Table, TableId};
use hairpin_wire::Family;
use std::fmt::{Display, Write as _};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A question must be there after so long, and its answer gone after as long again.
const PATIENCE: Duration = Duration::from_secs(2);
/// No question is longer.
const MAX_QUESTION: usize = 8 << 10;

/// Answers at an address.
pub struct Metrics {
    /// Until the thread that answers has it.
    listener: Option<TcpListener>,
    logs: Option<Arc<LogNumbers>>,
}

impl Metrics {
    /// Listens at this address.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn open(listen: SocketAddr) -> io::Result<Metrics> {
        let say = |why: io::Error| io::Error::new(why.kind(), format!("metrics at {listen}: {why}"));
        Ok(Metrics { listener: Some(TcpListener::bind(listen).map_err(say)?), logs: None })
    }
}

impl Metrics {
    /// Tells about these logs, too.
    #[must_use]
    pub fn with_logs(self, logs: Arc<LogNumbers>) -> Metrics {
        Metrics { logs: Some(logs), ..self }
    }
}

impl Attendant for Metrics {
    fn start(&mut self, _moment: &mut Moment<'_>, handle: &Handle) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let (handle, logs, started) = (handle.clone(), self.logs.clone(), Instant::now());
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                match listener.accept() {
                    // Who asks badly or goes away is not our trouble.
                    Ok((stream, _)) => drop(answer(&handle, started, logs.as_deref(), stream)),
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(())
    }
}

fn answer(handle: &Handle, started: Instant, logs: Option<&LogNumbers>, mut stream: TcpStream) -> io::Result<()> {
    let Some(path) = question(&mut stream)? else {
        return respond(&mut stream, "400 Bad Request", "text/plain", "hairpin answers GET /metrics\n");
    };
    match path.as_str() {
        "/metrics" => match text(handle, started, logs) {
            Some(text) => respond(&mut stream, "200 OK", "text/plain; version=0.0.4; charset=utf-8", &text),
            None => respond(&mut stream, "503 Service Unavailable", "text/plain", "the gateway has ended\n"),
        },
        "/" => respond(&mut stream, "200 OK", "text/plain", "hairpin: see /metrics\n"),
        _ => respond(&mut stream, "404 Not Found", "text/plain", "hairpin answers GET /metrics\n"),
    }
}

/// The path of a GET; None when it is something else.
fn question(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let until = Instant::now() + PATIENCE;
    let mut got = Vec::new();
    let mut some = [0; 1024];
    while !got.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || got.len() > MAX_QUESTION {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut some)? {
            0 => return Ok(None),
            n => got.extend_from_slice(&some[..n]),
        }
    }
    let text = String::from_utf8_lossy(&got);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let path = words.next().filter(|method| *method == "GET").and_then(|_| words.next());
    Ok(path.map(|path| path.split('?').next().unwrap_or_default().to_owned()))
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// All metrics; None when the gateway has ended.
fn text(handle: &Handle, started: Instant, logs: Option<&LogNumbers>) -> Option<String> {
    let numbers = handle.ask(Numbers::take).ok()?;
    let table = TableNumbers::take(handle)?;
    let mut page = Page(String::new());
    devices(&mut page, &numbers);
    connections(&mut page, &numbers, &table);
    rules(&mut page, handle)?;
    others(&mut page, handle, started)?;
    if let Some(logs) = logs {
        page.family("log_total", "counter", "Lines of LOG and packets of NFLOG, written and left out.");
        for (what, count) in [("written", &logs.written), ("left_out", &logs.left_out)] {
            page.series("log_total", &[("what", what)], count.load(Ordering::Relaxed));
        }
    }
    Some(page.0)
}

/// Metrics as text, in Prometheus' form.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP hairpin_{name} {help}\n# TYPE hairpin_{name} {kind}");
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "hairpin_{name}");
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.series(name, &[], value);
    }
}

fn devices(page: &mut Page, numbers: &Numbers) {
    let stats = &numbers.stats;
    page.family("device_frames_total", "counter", "Frames by device and what became of them.");
    for device in &stats.devices {
        let counts = [
            ("received", device.received),
            ("missed", device.missed),
            ("sent", device.sent),
            ("not_taken", device.lost),
        ];
        for (what, count) in counts {
            page.series("device_frames_total", &[("device", &device.name), ("what", what)], count);
        }
    }
    page.family("device_bytes_total", "counter", "Bytes by device and direction.");
    for device in &stats.devices {
        for (what, count) in [("received", device.received_bytes), ("sent", device.sent_bytes)] {
            page.series("device_bytes_total", &[("device", &device.name), ("what", what)], count);
        }
    }
    page.single("packets_total", "counter", "Packets handled.", stats.packets);
    page.single("delivered_total", "counter", "Packets for this host.", stats.delivered);
    let busy = stats.busy_nanos as f64 / 1e9;
    page.single("busy_seconds_total", "counter", "Time spent with packets, from arrival to leaving.", busy);
    page.family("batch_size", "histogram", "Packets in a batch.");
    let mut sum = 0;
    for (n, count) in stats.batch_sizes.iter().enumerate() {
        sum += count;
        page.series("batch_size_bucket", &[("le", &(1u64 << n).to_string())], sum);
    }
    page.series("batch_size_bucket", &[("le", "+Inf")], stats.batches);
    page.series("batch_size_sum", &[], stats.packets);
    page.series("batch_size_count", &[], stats.batches);
    page.family("packet_seconds", "histogram", "Time that a packet took, as its batch has it on average.");
    let mut sum = 0;
    for (n, count) in stats.packet_nanos.iter().enumerate() {
        sum += count;
        // The last one has no end.
        if n + 1 < stats.packet_nanos.len() {
            page.series("packet_seconds_bucket", &[("le", &seconds(128 << n))], sum);
        }
    }
    page.series("packet_seconds_bucket", &[("le", "+Inf")], sum);
    page.series("packet_seconds_sum", &[], busy);
    page.series("packet_seconds_count", &[], sum);
    page.family("pause_seconds", "histogram", "Time that packets had to wait for something else that the loop did.");
    let mut sum = 0;
    for (n, count) in stats.pauses.iter().enumerate() {
        sum += count;
        let end = PAUSES.get(n).map_or("+Inf".to_owned(), |end| seconds(*end));
        page.series("pause_seconds_bucket", &[("le", &end)], sum);
    }
    page.series("pause_seconds_sum", &[], seconds(stats.pause_nanos));
    page.series("pause_seconds_count", &[], sum);
    let longest = seconds(stats.longest_pause_nanos);
    page.single("pause_longest_seconds", "gauge", "The longest of these waits since the start.", longest);
    page.family("dropped_total", "counter", "Packets dropped, by reason.");
    for (reason, count) in &numbers.drops {
        page.series("dropped_total", &[("reason", &format!("{reason:?}"))], count);
    }
    page.family("neighbors", "gauge", "Neighbors by state.");
    for (state, count) in numbers.neighbors {
        page.series("neighbors", &[("state", state)], count);
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}", nanos as f64 / 1e9)
}

/// Uptime, queues, sets.
fn others(page: &mut Page, handle: &Handle, started: Instant) -> Option<()> {
    let (queues, sets) = handle
        .ask(|moment| {
            let sets = moment.engine.state().sets().iter().count();
            (moment.queues.state(), sets)
        })
        .ok()?;
    let up = started.elapsed().as_secs();
    page.single("uptime_seconds", "gauge", "How long the gateway has been running.", up);
    page.single("sets", "gauge", "Sets of ipset.", sets);
    page.family("queue_waiting", "gauge", "Packets that wait for a listener of NFQUEUE.");
    for queue in &queues {
        page.series("queue_waiting", &[("queue", &queue.number.to_string())], queue.waiting);
    }
    page.family(
        "queue_packets_total",
        "counter",
        "Packets given to a listener of NFQUEUE, and those that found no room.",
    );
    for queue in &queues {
        let number = queue.number.to_string();
        for (what, count) in [("given", queue.packets - queue.overrun), ("no_room", queue.overrun)] {
            page.series("queue_packets_total", &[("queue", &number), ("what", what)], count);
        }
    }
    Some(())
}

fn connections(page: &mut Page, numbers: &Numbers, table: &TableNumbers) {
    page.single("connections", "gauge", "Connections in the table.", numbers.connections);
    page.single("connections_max", "gauge", "The most there may be (nf_conntrack_max); 0 for no limit.", numbers.max);
    page.single("expectations", "gauge", "Connections that helpers expect.", numbers.expectations);
    page.single("expectations_max", "gauge", "The most there may be (nf_conntrack_expect_max).", numbers.expect_max);
    let ports = limits::ports_of(table);
    let all = || numbers.limits.iter().chain(&ports);
    page.family("limit_used", "gauge", "How much of each limit is used.");
    all().for_each(|limit| page.series("limit_used", &[("limit", &limit.name)], limit.used));
    page.family("limit_max", "gauge", "Each limit; 0 for none.");
    all().for_each(|limit| page.series("limit_max", &[("limit", &limit.name)], limit.max));
    page.family(
        "limit_reached_total",
        "counter",
        "How often a limit was reached; those that never were have no series.",
    );
    numbers.reached.iter().for_each(|(name, count)| page.series("limit_reached_total", &[("limit", name)], count));
    page.family("limit_warning", "gauge", "1 while a limit is used by 80 percent or more.");
    all().for_each(|limit| page.series("limit_warning", &[("limit", &limit.name)], u8::from(limit.is_near())));
    page.family("connections_by_state", "gauge", "Connections by protocol and state.");
    for ((protocol, state), count) in &table.by_state {
        page.series("connections_by_state", &[("protocol", protocol), ("state", state)], count);
    }
    page.family("nat_ports_used", "gauge", "Ports in use by source NAT, by address and protocol.");
    for ((address, protocol), count) in &table.ports {
        page.series("nat_ports_used", &[("address", address), ("protocol", protocol)], count);
    }
    page.family("conntrack_total", "counter", "What tracking counted (conntrack -S).");
    let s = &numbers.track;
    let all = [
        ("found", s.found),
        ("invalid", s.invalid),
        ("insert", s.insert),
        ("insert_failed", s.insert_failed),
        ("drop", s.drop),
        ("early_drop", s.early_drop),
        ("error", s.error),
        ("clash_resolve", s.clash_resolve),
        ("expect_new", s.expect_new),
        ("expect_create", s.expect_create),
        ("expect_delete", s.expect_delete),
        ("expect_full", s.expect_full),
    ];
    for (what, count) in all {
        page.series("conntrack_total", &[("what", what)], count);
    }
}

/// Rules that carry a comment, and the number of all.
fn rules(page: &mut Page, handle: &Handle) -> Option<()> {
    let mut series = Vec::new();
    page.family("rules", "gauge", "Rules by family.");
    for (family, name) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        let (rules, counters) = handle
            .ask(move |moment| {
                let state = moment.engine.state();
                (state.rules(family).clone(), TableId::ALL.map(|id| state.counters(family, id).to_vec()))
            })
            .ok()?;
        let mut count = 0;
        for table in rules.tables() {
            count += table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
            let counters = &counters[table.id as usize];
            commented(table, |place, chain, comment| {
                let counter = counters.get(place).copied().unwrap_or_default();
                series.push((name, table.id.name(), chain.to_owned(), comment, counter));
            });
        }
        page.series("rules", &[("family", name)], count);
    }
    for (metric, help) in [("rule_packets_total", "Packets"), ("rule_bytes_total", "Bytes")] {
        page.family(metric, "counter", &format!("{help} that met a rule with a comment."));
        for (family, table, chain, comment, counter) in &series {
            let value = if metric == "rule_packets_total" { counter.packets } else { counter.bytes };
            let labels = [("family", *family), ("table", table), ("chain", chain), ("comment", comment)];
            page.series(metric, &labels, value);
        }
    }
    Some(())
}

/// Visits the rules with a comment: the place of the counter, the chain, the comment. Rules of a chain with the same comment are told
/// apart by their number.
fn commented(table: &Table, mut visit: impl FnMut(usize, &str, String)) {
    let mut at = 0;
    for chain in &table.chains {
        let mut seen = std::collections::BTreeSet::new();
        for (n, rule) in chain.rules.iter().enumerate() {
            if let Some(comment) = comment(rule) {
                let name = if seen.insert(comment.clone()) { comment } else { format!("{comment} ({})", n + 1) };
                visit(at + n, &chain.name, name);
            }
        }
        at += chain.rules.len() + 1;
    }
}

fn comment(rule: &Rule) -> Option<String> {
    let found = rule.matches.iter().find(|m| m.name() == "comment")?;
    struct Saved<'m>(&'m dyn hairpin_engine::rule::Match);
    impl Display for Saved<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.save(f)
        }
    }
    let text = Saved(&**found).to_string();
    let text = text.trim().strip_prefix("--comment ")?;
    Some(text.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted() {
        let mut page = Page(String::new());
        page.series("x", &[("a", "say \"hi\"\\\n"), ("b", "c")], 5);
        page.series("y", &[], 0.5);
        assert_eq!(page.0, "hairpin_x{a=\"say \\\"hi\\\"\\\\\\n\",b=\"c\"} 5\nhairpin_y 0.5\n");
    }
}
