//! Holding one outcome against another: exactly, but for what the kernel itself decides by dice.
//!
//! Two kinds of holding share the parts: `judge` (a program against the kernel's recorded answer) and `learn` (two runs
//! of the kernel, to find out where its dice fall).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::frame::{Frame, ICMP, ICMP6};
use super::scenario::{Outcome, Scenario, Shares};

/// Whole seconds by which the remaining lifetime of a connection may differ: `conntrack` prints whole seconds, and the
/// kernel's list is taken a moment after the last frame.
const TIMEOUT_TOLERANCE: u64 = 2;

/// `volatile.json`: the places in which two runs of the kernel differed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volatile {
    /// Fields of connections, by the original tuple.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conntrack: Fields,
    /// Fields of frames, by interface and the frame's number (from 0).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frames: BTreeMap<String, Fields>,
    /// Words of log lines, by the line's number (from 0).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub log: Fields,
}

pub type Fields = BTreeMap<String, BTreeSet<String>>;

/// One place where two outcomes disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub area: Area,
    /// One line for a reader.
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Area {
    /// A frame that left by an interface, by its number (from 0).
    Frame {
        iface: String,
        number: usize,
    },
    /// A rule's text, or the chains and tables there are.
    RuleText,
    RuleCounter,
    /// A line of the saved sets.
    Sets,
    Conntrack,
    /// A line of the log, by its number (from 0).
    Log(usize),
    /// No comparison was possible.
    Program,
}

/// Where `got` disagrees with what the kernel did. Of frames, only the first difference of each interface is told, since
/// those behind it mostly follow from it.
pub fn judge(
    scenario: &Scenario,
    want: &Outcome,
    got: &Outcome,
    volatile: &Volatile,
) -> Result<Vec<Difference>, String> {
    if let Some(shares) = &scenario.meta.statistical {
        return Ok(by_shares(shares, want, got));
    }
    // A later arrival may have copied a label that the router chose.
    let mut first_seen: BTreeMap<u32, u64> = BTreeMap::from([(0, 0)]);
    for a in scenario.arrivals()? {
        if let Some(label) = Frame::new(&a.data).flow() {
            let first = first_seen.entry(label).or_insert(a.micros);
            *first = a.micros.min(*first);
        }
    }
    let labels: BTreeSet<u32> = first_seen.keys().copied().collect();
    let mut out = Vec::new();
    let nothing = Fields::new();
    for (iface, wanted) in &want.frames {
        let given = got.frames.get(iface).map(Vec::as_slice).unwrap_or_default();
        let loose = volatile.frames.get(iface).unwrap_or(&nothing);
        for number in 0..wanted.len().max(given.len()) {
            let pair = (wanted.get(number).map(|f| &f.data[..]), given.get(number).map(|f| &f.data[..]));
            let names = loose.get(&number.to_string());
            let came_before = |label: u32| {
                first_seen.get(&label).is_some_and(|first| wanted.get(number).is_none_or(|f| *first <= f.micros))
            };
            if let Err(why) = frames_agree(pair, names, came_before) {
                let what = format!("{iface} frame {} of {}: {why}", number + 1, wanted.len());
                out.push(Difference { area: Area::Frame { iface: iface.clone(), number }, what });
                break;
            }
        }
    }
    rules("rules.v4", &want.rules4, &got.rules4, true, &mut out);
    if let Some(want6) = &want.rules6 {
        rules("rules.v6", want6, got.rules6.as_deref().unwrap_or_default(), true, &mut out);
    }
    conntrack(&want.conntrack, &got.conntrack, &volatile.conntrack, &mut out);
    sets(want.sets.as_deref(), got.sets.as_deref(), &mut out);
    log(&want.log, &got.log, &volatile.log, &labels, &mut out);
    Ok(out)
}

/// The sets in the end, line by line.
fn sets(want: Option<&str>, got: Option<&str>, out: &mut Vec<Difference>) {
    let (want, got) = (want.unwrap_or_default(), got.unwrap_or_default());
    let only_in =
        |a: &str, b: &str| a.lines().filter(|l| !b.lines().any(|m| m == *l)).map(str::to_owned).collect::<Vec<_>>();
    for line in only_in(want, got) {
        out.push(Difference { area: Area::Sets, what: format!("sets: kernel only: {line}") });
    }
    for line in only_in(got, want) {
        out.push(Difference { area: Area::Sets, what: format!("sets: program only: {line}") });
    }
}

/// Adds to `volatile` the places in which two runs of the kernel differ; an error where no dice may excuse it.
pub fn learn(volatile: &mut Volatile, one: &Outcome, two: &Outcome) -> Result<(), String> {
    for (iface, first) in &one.frames {
        let second = two.frames.get(iface).map(Vec::as_slice).unwrap_or_default();
        if first.len() != second.len() {
            return Err(format!("{iface}: {} frames, then {}", first.len(), second.len()));
        }
        for (number, (a, b)) in first.iter().zip(second).enumerate() {
            if a.data != b.data {
                let names = learn_frame(&a.data, &b.data).map_err(|e| format!("{iface} frame {}: {e}", number + 1))?;
                volatile.frames.entry(iface.clone()).or_default().entry(number.to_string()).or_default().extend(names);
            }
        }
    }
    let mut differences = Vec::new();
    rules("rules.v4", &one.rules4, &two.rules4, true, &mut differences);
    if let (Some(a), Some(b)) = (&one.rules6, &two.rules6) {
        rules("rules.v6", a, b, true, &mut differences);
    }
    if let Some(d) = differences.first() {
        // Here both are the kernel.
        return Err(d.what.replace("kernel ", "first ").replace("program ", "then "));
    }
    learn_conntrack(volatile, &one.conntrack, &two.conntrack)?;
    learn_log(volatile, &one.log, &two.log)
}

/// How many places of which kind are left to dice; empty when none.
pub fn summary(volatile: &Volatile) -> String {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for name in volatile.frames.values().flat_map(BTreeMap::values).flatten() {
        *count.entry(if name.starts_with("bytes ") { "quoted bytes" } else { name }).or_default() += 1;
    }
    let mut parts: Vec<String> = count.iter().map(|(name, n)| format!("{n} {name}")).collect();
    for (n, name) in [(volatile.conntrack.len(), "conntrack"), (volatile.log.len(), "log")] {
        if n > 0 {
            parts.push(format!("{n} {name}"));
        }
    }
    parts.join(", ")
}

// Frames

fn frames_agree(
    pair: (Option<&[u8]>, Option<&[u8]>),
    names: Option<&BTreeSet<String>>,
    came_before: impl Fn(u32) -> bool,
) -> Result<(), String> {
    let (want, got) = match pair {
        (Some(w), Some(g)) => (w, g),
        (Some(w), None) => return Err(format!("is missing: {}", Frame::new(w).text())),
        (None, Some(g)) => return Err(format!("should not be there: {}", Frame::new(g).text())),
        (None, None) => return Ok(()),
    };
    let (mut a, mut b) = (want.to_vec(), got.to_vec());
    if let Some(names) = names {
        (a, b) = (masked(want, names), masked(got, names));
    }
    if Frame::new(want).flow().is_some_and(|label| !came_before(label)) {
        (a, b) = (without_flow_label(a), without_flow_label(b));
    }
    let quoted_label = quoted_flow_label(want).filter(|(_, label)| !came_before(*label)).map(|(place, _)| place);
    if let Some(place) = &quoted_label {
        (a, b) = (without_quoted_label(a, place), without_quoted_label(b, place));
    }
    if a != b {
        let at = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
        let (kernel, program) = (Frame::new(want), Frame::new(got));
        return Err(format!(
            "kernel {} / program {} (lengths {} and {}, first at byte {at}: {})",
            kernel.text(),
            program.text(),
            want.len(),
            got.len(),
            field_at(&kernel, at)
        ));
    }
    if (names.is_some() || quoted_label.is_some()) && Frame::new(want).checksums() != Frame::new(got).checksums() {
        return Err(format!("a checksum is wrong in {}", Frame::new(got).text()));
    }
    Ok(())
}

/// A name for the byte at `at`, as far as the usual headers go.
fn field_at(frame: &Frame<'_>, at: usize) -> String {
    let fields = frame.random_fields().into_iter().chain(frame.checksum_fields());
    if let Some((name, _)) = fields.into_iter().find(|(_, span)| span.contains(&at)) {
        return name.into();
    }
    match &frame.ip {
        _ if at < 6 => "destination MAC".into(),
        _ if at < 12 => "source MAC".into(),
        Some(ip) if at >= ip.l4 => format!("byte {} behind the network header", at - ip.l4),
        _ => format!("byte {} of the network header", at.saturating_sub(super::frame::ETH)),
    }
}

/// The frame with the named fields, and the checksums that follow from them, set to zero.
fn masked(data: &[u8], names: &BTreeSet<String>) -> Vec<u8> {
    let frame = Frame::new(data);
    let only_header = names.iter().all(|n| matches!(n.as_str(), "ip.id" | "ip.timestamp" | "frag.id"));
    let mut spans = Vec::new();
    spans.extend(frame.random_fields().into_iter().filter(|(n, _)| names.contains(*n)).map(|(_, s)| s));
    spans.extend(
        frame.checksum_fields().into_iter().filter(|(n, _)| *n == "ip.checksum" || !only_header).map(|(_, s)| s),
    );
    for name in names {
        if let Some((from, to)) = name.strip_prefix("bytes ").and_then(|r| r.split_once('-'))
            && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
        {
            spans.push(from..to);
        }
    }
    let mut out = data.to_vec();
    for span in spans {
        if let Some(field) = out.get_mut(span) {
            field.fill(0);
        }
    }
    out
}

/// An IPv6 flow label that no input frame carries is the router's own: a hash with a secret of the boot, which two runs
/// on one machine cannot tell from a fixed value. So it is let pass wherever the kernel shows one.
fn without_flow_label(mut data: Vec<u8>) -> Vec<u8> {
    if let Some([first, rest @ ..]) = data.get_mut(15..18) {
        *first &= 0xf0;
        rest.fill(0);
    }
    data
}

/// The flow label of the IPv6 packet that an ICMPv6 error quotes, with the place of the error's checksum and of the label.
fn quoted_flow_label(data: &[u8]) -> Option<([usize; 2], u32)> {
    let frame = Frame::new(data);
    let ip = frame.ip.as_ref().filter(|ip| ip.is_v6() && ip.proto == ICMP6 && ip.fragment.is_none())?;
    let label = ip.l4 + 8 + 1;
    let is_error = data.get(ip.l4).is_some_and(|kind| *kind < 128);
    match data.get(label..label + 3) {
        Some(&[high, middle, low]) if is_error => {
            Some(([ip.l4 + 2, label], u32::from_be_bytes([0, high & 15, middle, low])))
        }
        _ => None,
    }
}

/// The same for the label in a quotation, and the checksum that covers it.
fn without_quoted_label(mut data: Vec<u8>, [checksum, label]: &[usize; 2]) -> Vec<u8> {
    if let Some(sum) = data.get_mut(*checksum..checksum + 2) {
        sum.fill(0);
    }
    if let Some([first, rest @ ..]) = data.get_mut(*label..label + 3) {
        *first &= 0xf0;
        rest.fill(0);
    }
    data
}

/// Names of the fields in which two runs differ, or why no dice can be the reason.
fn learn_frame(a: &[u8], b: &[u8]) -> Result<BTreeSet<String>, String> {
    let (one, two) = (Frame::new(a), Frame::new(b));
    let both = || format!("{} / {}", one.text(), two.text());
    let shape = |f: &Frame<'_>| f.ip.as_ref().map(|ip| (ip.src, ip.dst, ip.proto, ip.l4));
    if a.len() != b.len() || shape(&one) != shape(&two) || a.get(..14) != b.get(..14) {
        return Err(both());
    }
    let (fields, sums) = (one.random_fields(), one.checksum_fields());
    let mut names = BTreeSet::new();
    for at in (0..a.len()).filter(|at| a[*at] != b[*at]) {
        if sums.iter().any(|(_, span)| span.contains(&at)) {
            continue;
        }
        if let Some((name, _)) = fields.iter().find(|(_, span)| span.contains(&at)) {
            names.insert((*name).to_string());
        } else if one.ip.as_ref().is_some_and(|ip| matches!(ip.proto, ICMP | ICMP6) && at >= ip.l4 + 8) {
            // A quoted packet with a random port or id in it.
            names.insert(format!("bytes {at}-{}", at + 1));
        } else {
            return Err(format!("byte {at} of {}", both()));
        }
    }
    if names.is_empty() { Err(format!("only checksums differ: {}", both())) } else { Ok(names) }
}

// Rules

fn rules(file: &str, want: &str, got: &str, counters: bool, out: &mut Vec<Difference>) {
    let (want, got) = (tables(want), tables(got));
    let names = |t: &BTreeMap<String, Table>| t.keys().cloned().collect::<Vec<_>>().join(" ");
    let mut tell = |area, what: String| out.push(Difference { area, what: format!("{file} {what}") });
    if !want.keys().eq(got.keys()) {
        return tell(Area::RuleText, format!("tables: kernel {} / program {}", names(&want), names(&got)));
    }
    let (mut texts, mut numbers) = (None, None);
    for (name, a) in &want {
        let Some(b) = got.get(name) else { continue };
        let heads = |t: &Table| t.heads.keys().cloned().collect::<Vec<_>>().join(", ");
        if !a.heads.keys().eq(b.heads.keys()) {
            return tell(Area::RuleText, format!("{name} chains: kernel {} / program {}", heads(a), heads(b)));
        }
        for chain in a.chains.keys().chain(b.chains.keys()).collect::<BTreeSet<_>>() {
            let none = Vec::new();
            let (x, y) = (a.chains.get(chain).unwrap_or(&none), b.chains.get(chain).unwrap_or(&none));
            for n in 0..x.len().max(y.len()) {
                let (x, y) = (x.get(n), y.get(n));
                if x.map(|c| &c.text) != y.map(|c| &c.text) && texts.is_none() {
                    let show = |c: Option<&Counted>| c.map_or("nothing".into(), |c| c.text.clone());
                    texts = Some(format!("{name} text: kernel `{}` / program `{}`", show(x), show(y)));
                }
                if let (Some(x), Some(y)) = (x, y)
                    && x.counter != y.counter
                    && numbers.is_none()
                {
                    numbers = Some(format!("{name} counter: kernel {} / program {} {}", x.counter, y.counter, x.text));
                }
            }
        }
        for (head, x) in &a.heads {
            let y = b.heads.get(head).map_or("", String::as_str);
            if x != y && numbers.is_none() {
                numbers = Some(format!("{name} policy counter: kernel {x} / program {y} {head}"));
            }
        }
    }
    if let Some(what) = texts {
        tell(Area::RuleText, what);
    }
    if let (true, Some(what)) = (counters, numbers) {
        tell(Area::RuleCounter, what);
    }
}

#[derive(Default)]
struct Table {
    /// Chain and policy -> counter. User chains come in no promised order.
    heads: BTreeMap<String, String>,
    chains: BTreeMap<String, Vec<Counted>>,
}

struct Counted {
    counter: String,
    text: String,
}

/// The tables of a save file, with white space squeezed and comments left out.
fn tables(text: &str) -> BTreeMap<String, Table> {
    let mut out: BTreeMap<String, Table> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(name) = line.strip_prefix('*') {
            current = Some(name.to_string());
            out.entry(name.to_string()).or_default();
        } else if let Some(table) = current.as_ref().and_then(|name| out.get_mut(name))
            && !line.is_empty()
            && !line.starts_with('#')
            && line != "COMMIT"
        {
            if let Some((head, counter)) = line.rsplit_once(' ').filter(|_| line.starts_with(':')) {
                table.heads.insert(head.to_string(), counter.to_string());
            } else {
                let (counter, text) =
                    line.split_once(' ').filter(|(c, _)| c.starts_with('[')).unwrap_or(("", line.as_str()));
                let chain = text.strip_prefix("-A ").and_then(|t| t.split(' ').next()).unwrap_or("");
                let row = Counted { counter: counter.to_string(), text: text.to_string() };
                table.chains.entry(chain.to_string()).or_default().push(row);
            }
        }
    }
    out
}

// Connections

/// Fields of one connection by name; those of the two tuples carry `orig.` or `reply.`.
type Connection = BTreeMap<String, String>;

fn conntrack(want: &str, got: &str, loose: &Fields, out: &mut Vec<Difference>) {
    let (want, got) = (connections(want), connections(got));
    let mut tell = |what: String| out.push(Difference { area: Area::Conntrack, what: format!("conntrack: {what}") });
    if let Some(key) = want.keys().find(|k| !got.contains_key(*k)) {
        tell(format!("missing {key}"));
    }
    if let Some(key) = got.keys().find(|k| !want.contains_key(*k)) {
        tell(format!("should not be there: {key}"));
    }
    for (key, a) in &want {
        let Some(b) = got.get(key) else { continue };
        let mut fields = differing(a, b);
        fields.retain(|f| !loose.get(key).is_some_and(|names| names.contains(f)));
        if let Some(f) = fields.first() {
            let show = |c: &Connection| c.get(f).cloned().unwrap_or("nothing".into());
            return tell(format!("{f} of {key}: kernel {} / program {}", show(a), show(b)));
        }
    }
}

fn learn_conntrack(volatile: &mut Volatile, one: &str, two: &str) -> Result<(), String> {
    let (one, two) = (connections(one), connections(two));
    let both: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    for key in both {
        let (Some(a), Some(b)) = (one.get(key), two.get(key)) else {
            return Err(format!("conntrack: {key} is in one run only"));
        };
        let fields = differing(a, b);
        if let Some(f) = fields.iter().find(|f| !matches!(f.as_str(), "reply.sport" | "reply.dport" | "reply.id")) {
            return Err(format!("conntrack: {f} of {key}: {:?} / {:?}", a.get(f), b.get(f)));
        }
        if !fields.is_empty() {
            volatile.conntrack.entry(key.clone()).or_default().extend(fields);
        }
    }
    Ok(())
}

/// The fields in which two connections differ, a lifetime by more than the tolerance.
fn differing(a: &Connection, b: &Connection) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let near = |x: &str, y: &str| match (x.parse::<u64>(), y.parse::<u64>()) {
        (Ok(x), Ok(y)) => x.abs_diff(y) <= TIMEOUT_TOLERANCE,
        _ => false,
    };
    names
        .into_iter()
        .filter(|name| match (a.get(*name), b.get(*name)) {
            (Some(x), Some(y)) => x != y && !(*name == "timeout" && near(x, y)),
            _ => true,
        })
        .cloned()
        .collect()
}

/// The rows of `conntrack -L -o extended` by original tuple, protocol and zone.
fn connections(text: &str) -> BTreeMap<String, Connection> {
    text.lines().filter(|l| l.starts_with("ipv4") || l.starts_with("ipv6")).map(connection).collect()
}

fn connection(line: &str) -> (String, Connection) {
    const TUPLE: [&str; 9] = ["src", "dst", "sport", "dport", "type", "code", "id", "srckey", "dstkey"];
    let mut fields = Connection::new();
    let mut side = "orig";
    let mut flags = Vec::new();
    for (n, word) in line.split_whitespace().enumerate() {
        if let Some((name, value)) = word.split_once('=') {
            if matches!(name, "use" | "secctx" | "delta-time") {
                continue;
            }
            if name == "src" && fields.contains_key("orig.src") {
                side = "reply";
            }
            let of_side = TUPLE.contains(&name) || matches!(name, "packets" | "bytes") || name.starts_with("zone");
            let name = if of_side { format!("{side}.{name}") } else { name.to_string() };
            fields.insert(name, value.to_string());
        } else if word.starts_with('[') {
            flags.push(word);
        } else {
            let name = match n {
                0 => "l3",
                2 => "proto",
                4 if word.bytes().all(|b| b.is_ascii_digit()) => "timeout",
                1 | 3 => continue,
                _ => "state",
            };
            fields.insert(name.into(), word.to_string());
        }
    }
    flags.sort_unstable();
    fields.insert("flags".into(), flags.join(" "));
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let mut key = vec![field("l3"), field("proto")];
    key.extend(TUPLE.iter().filter_map(|t| fields.get(&format!("orig.{t}")).map(|v| format!("{t}={v}"))));
    key.extend(fields.iter().filter(|(name, _)| name.contains(".zone")).map(|(name, v)| format!("{name}={v}")));
    (key.join(" "), fields)
}

// Log

fn log(want: &str, got: &str, loose: &Fields, labels: &BTreeSet<u32>, out: &mut Vec<Difference>) {
    let (want, got) = (lines(want), lines(got));
    for n in 0..want.len().max(got.len()) {
        let (x, y) = (want.get(n), got.get(n));
        let names = loose.get(&n.to_string());
        let foreign = x.is_some_and(|x| x.split(' ').any(|w| foreign_label(w, labels)));
        let hide = |line: Option<&&str>| {
            line.map(|l| {
                let keep = |w: &str| match w.split_once('=') {
                    Some((name, _)) if names.is_some_and(|s| s.contains(name)) => format!("{name}=*"),
                    Some(("FLOWLBL", _)) if foreign => "FLOWLBL=*".into(),
                    _ => w.to_string(),
                };
                l.split(' ').map(keep).collect::<Vec<_>>().join(" ")
            })
        };
        if hide(x) != hide(y) {
            let show = |line: Option<&&str>| line.map_or("nothing".into(), |l| format!("`{l}`"));
            let what = format!("log line {}: kernel {} / program {}", n + 1, show(x), show(y));
            return out.push(Difference { area: Area::Log(n), what });
        }
    }
}

fn learn_log(volatile: &mut Volatile, one: &str, two: &str) -> Result<(), String> {
    let (one, two) = (lines(one), lines(two));
    if one.len() != two.len() {
        return Err(format!("log: {} lines, then {}", one.len(), two.len()));
    }
    for (n, (x, y)) in one.iter().zip(&two).enumerate().filter(|(_, (x, y))| x != y) {
        let differing = x.split(' ').zip(y.split(' ')).filter(|(a, b)| a != b).map(|(a, _)| a.split('=').next());
        let names: BTreeSet<String> = differing.flatten().map(str::to_string).collect();
        if names.is_empty() || !names.iter().all(|name| matches!(name.as_str(), "ID" | "SPT" | "DPT")) {
            return Err(format!("log line {}: {x} / {y}", n + 1));
        }
        volatile.log.entry(n.to_string()).or_default().extend(names);
    }
    Ok(())
}

fn foreign_label(word: &str, labels: &BTreeSet<u32>) -> bool {
    let label = word.strip_prefix("FLOWLBL=").and_then(|n| n.parse().ok());
    label.is_some_and(|n: u32| !labels.contains(&n))
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect()
}

// Shares

/// Random balancing: every frame but for its destination, how many went where, and what does not depend on the dice.
fn by_shares(rule: &Shares, want: &Outcome, got: &Outcome) -> Vec<Difference> {
    let mut out = Vec::new();
    let none = Vec::new();
    for (iface, wanted) in &want.frames {
        let given = got.frames.get(iface).unwrap_or(&none);
        let mut tell = |number: usize, what: String| {
            out.push(Difference { area: Area::Frame { iface: iface.clone(), number }, what: format!("{iface} {what}") })
        };
        if wanted.len() != given.len() {
            tell(wanted.len().min(given.len()), format!("frames: kernel {} / program {}", wanted.len(), given.len()));
            continue;
        }
        for (n, (a, b)) in wanted.iter().zip(given).enumerate() {
            let (x, y) = (Frame::new(&a.data), Frame::new(&b.data));
            if but_destination(&x) != but_destination(&y) || x.checksums() != y.checksums() {
                tell(n, format!("frame {}, apart from its destination: {} / {}", n + 1, x.text(), y.text()));
                break;
            }
        }
    }
    let sent = got.frames.get(&rule.iface).unwrap_or(&none);
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for f in sent {
        let dst = Frame::new(&f.data).ip.map_or("nowhere".into(), |ip| ip.dst.to_string());
        *count.entry(dst).or_default() += 1;
    }
    let total = sent.len() as f64;
    let mut tell = |what| out.push(Difference { area: Area::Frame { iface: rule.iface.clone(), number: 0 }, what });
    for (dst, share) in &rule.share {
        let hits = count.remove(dst).unwrap_or(0);
        let (mean, slack) = (total * share, rule.sigma * (total * share * (1.0 - share)).sqrt() + 1.0);
        if (hits as f64 - mean).abs() > slack {
            tell(format!("{}: {hits} of {total} frames to {dst}, {mean:.0} +- {slack:.0} expected", rule.iface));
        }
    }
    if let Some((dst, hits)) = count.pop_first() {
        tell(format!("{}: {hits} frames to {dst}, which has no share", rule.iface));
    }
    rules("rules.v4", &want.rules4, &got.rules4, false, &mut out);
    let (a, b) = (connections(&want.conntrack).len(), connections(&got.conntrack).len());
    if a != b {
        out.push(Difference { area: Area::Conntrack, what: format!("conntrack entries: kernel {a} / program {b}") });
    }
    out
}

/// A frame without its destination (MAC and IPv4 address) and without the checksums that depend on it.
fn but_destination(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = frame.data.to_vec();
    let sums = frame.checksum_fields().into_iter().map(|(_, span)| span);
    for span in [0..6, 30..34].into_iter().chain(sums) {
        if let Some(field) = out.get_mut(span) {
            field.fill(0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::frame::{ETH, checksum};
    use super::super::pcap::Stamped;
    use super::*;

    const RULES: &str = "*filter\n:INPUT ACCEPT [1:60]\n:FORWARD DROP [0:0]\n:x - [0:0]\n:y - [0:0]\n\
        [3:180] -A FORWARD -p tcp -j ACCEPT\n[0:0] -A x -j DROP\nCOMMIT\n";
    const CONNTRACK: &str = "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53 packets=1 bytes=36 \
        [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5 packets=0 bytes=0 mark=0 use=1\n";
    const LOG: &str = "p: IN=eth1 OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 LEN=36 ID=7 PROTO=UDP SPT=5 DPT=53 LEN=16\n";

    /// UDP 10.0.0.1:5 > 10.0.0.2:53 of the given id, without a transport checksum.
    fn udp(id: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        let sum = checksum(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        packet.extend([0, 5, 0, 53, 0, 10, 0, 0, 104, 105]);
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &packet].concat()
    }

    /// ICMPv6 "too big" of the given flow label and MTU.
    fn too_big(label: u8, mtu: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, label, 0, 8, 58, 64];
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend([2, 0, 0, 0, 0, 0, 5, mtu]);
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd][..], &packet].concat()
    }

    fn outcome(frames: &[Vec<u8>]) -> Outcome {
        let frames = frames.iter().map(|d| Stamped { micros: 1, data: d.clone() }).collect();
        Outcome {
            frames: BTreeMap::from([("eth0".to_string(), frames)]),
            rules4: RULES.into(),
            rules6: None,
            conntrack: CONNTRACK.into(),
            log: LOG.into(),
            sets: None,
        }
    }

    fn scenario() -> Scenario {
        Scenario {
            path: "here".into(),
            name: "here".into(),
            host: Default::default(),
            rules4: String::new(),
            rules6: None,
            sets: None,
            meta: Default::default(),
            inputs: Vec::new(),
        }
    }

    fn differences(want: &Outcome, got: &Outcome, volatile: &Volatile) -> Vec<Difference> {
        judge(&scenario(), want, got, volatile).unwrap()
    }

    /// The one difference between the usual outcome and one changed by `change`.
    fn only(change: impl FnOnce(&mut Outcome)) -> Difference {
        let want = outcome(&[udp(1)]);
        let mut got = want.clone();
        change(&mut got);
        let all = differences(&want, &got, &Volatile::default());
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn equal_outcomes_agree() {
        let want = outcome(&[udp(1)]);
        assert_eq!(differences(&want, &want.clone(), &Volatile::default()), []);
    }

    #[test]
    fn each_byte_of_a_frame_counts() {
        for at in 0..udp(1).len() {
            let d = only(|o| o.frames.get_mut("eth0").unwrap()[0].data[at] ^= 1);
            assert_eq!(d.area, Area::Frame { iface: "eth0".into(), number: 0 });
        }
    }

    #[test]
    fn missing_and_surplus_frames() {
        assert!(only(|o| o.frames.get_mut("eth0").unwrap().clear()).what.contains("is missing"));
        let extra = Stamped { micros: 2, data: udp(2) };
        assert!(only(|o| o.frames.get_mut("eth0").unwrap().push(extra)).what.contains("should not be there"));
        assert!(only(|o| o.frames.clear()).what.contains("is missing"));
        assert!(only(|o| o.frames.get_mut("eth0").unwrap()[0].data.truncate(43)).what.contains("lengths 44 and 43"));
    }

    #[test]
    fn frame_times_are_let_pass() {
        let want = outcome(&[udp(1)]);
        let mut got = want.clone();
        got.frames.get_mut("eth0").unwrap()[0].micros = 99;
        assert_eq!(differences(&want, &got, &Volatile::default()), []);
    }

    #[test]
    fn rules_count_by_text_and_by_counter() {
        let counter = |from: &str, to: &str| {
            let text = RULES.replace(from, to);
            assert_ne!(text, RULES);
            only(|o| o.rules4 = text).area
        };
        assert_eq!(counter("[3:180]", "[3:181]"), Area::RuleCounter);
        assert_eq!(counter("[1:60]", "[2:60]"), Area::RuleCounter);
        assert_eq!(counter("-p tcp", "-p udp"), Area::RuleText);
        assert_eq!(counter("FORWARD DROP", "FORWARD ACCEPT"), Area::RuleText);
        assert_eq!(counter("[0:0] -A x -j DROP\n", ""), Area::RuleText);
        assert_eq!(counter("*filter", "*mangle"), Area::RuleText);
        assert_eq!(counter("-A x", "-A y"), Area::RuleText);
    }

    #[test]
    fn order_of_chain_heads_and_white_space_do_not_count() {
        let want = outcome(&[]);
        let mut got = want.clone();
        got.rules4 =
            RULES.replace(":x - [0:0]\n:y - [0:0]", ":y - [0:0]\n:x  -  [0:0] ").replace("*filter", "# by\n*filter");
        assert_eq!(differences(&want, &got, &Volatile::default()), []);
    }

    #[test]
    fn rules_of_ipv6_count_too() {
        let mut want = outcome(&[]);
        want.rules6 = Some(RULES.into());
        let mut got = want.clone();
        got.rules6 = Some(RULES.replace("[3:180]", "[4:180]"));
        assert_eq!(differences(&want, &got, &Volatile::default())[0].area, Area::RuleCounter);
        got.rules6 = None;
        assert_eq!(differences(&want, &got, &Volatile::default())[0].area, Area::RuleText);
    }

    #[test]
    fn every_field_of_a_connection_counts() {
        let change = |from: &str, to: &str| {
            let text = CONNTRACK.replacen(from, to, 1);
            assert_ne!(text, CONNTRACK);
            let want = outcome(&[]);
            let got = Outcome { conntrack: text, ..want.clone() };
            differences(&want, &got, &Volatile::default())
        };
        for (from, to) in [
            ("dport=53", "dport=54"),
            ("dport=5 ", "dport=6 "),
            ("[UNREPLIED] ", ""),
            ("[UNREPLIED]", "[ASSURED]"),
            ("mark=0", "mark=1"),
            ("packets=1", "packets=2"),
            ("bytes=36", "bytes=37"),
            (" 29 ", " 26 "),
            ("mark=0", "mark=0 helper=ftp"),
            ("mark=0", "mark=0 zone=3"),
            ("17 29", "17 29 ESTABLISHED"),
        ] {
            assert!(change(from, to).iter().all(|d| d.area == Area::Conntrack));
            assert_ne!(change(from, to), [], "{from} {to}");
        }
        assert_eq!(change("use=1", "use=2"), []);
        assert_eq!(change(" 29 ", " 27 "), []);
        assert!(change(CONNTRACK, "")[0].what.contains("missing"));
    }

    #[test]
    fn log_lines_count() {
        assert_eq!(only(|o| o.log = LOG.replace("SPT=5", "SPT=6")).area, Area::Log(0));
        assert_eq!(only(|o| o.log = String::new()).area, Area::Log(0));
        assert_eq!(only(|o| o.log.push_str("more\n")).area, Area::Log(1));
    }

    #[test]
    fn a_volatile_field_is_let_pass_and_nothing_beside_it() {
        let want = outcome(&[udp(1)]);
        let mut volatile = Volatile::default();
        learn(&mut volatile, &want, &outcome(&[udp(2)])).unwrap();
        assert_eq!(serde_json::to_string(&volatile).unwrap(), r#"{"frames":{"eth0":{"0":["ip.id"]}}}"#);
        assert_eq!(differences(&want, &outcome(&[udp(77)]), &volatile), []);
        let mut wrong_sum = udp(77);
        wrong_sum[24] ^= 1;
        assert!(differences(&want, &outcome(&[wrong_sum]), &volatile)[0].what.contains("checksum is wrong"));
        let mut other = udp(77);
        other[36] ^= 1;
        assert_eq!(differences(&want, &outcome(&[other]), &volatile).len(), 1);
    }

    #[test]
    fn learning_excuses_only_dice() {
        let one = outcome(&[udp(1)]);
        let refuses = |two: &Outcome| learn(&mut Volatile::default(), &one, two).is_err();
        let mut ttl = udp(1);
        ttl[22] = 63;
        assert!(refuses(&outcome(&[ttl])));
        assert!(refuses(&outcome(&[])));
        assert!(refuses(&Outcome { rules4: RULES.replace("[3:", "[4:"), ..one.clone() }));
        assert!(refuses(&Outcome { conntrack: CONNTRACK.replace("mark=0", "mark=1"), ..one.clone() }));
        assert!(refuses(&Outcome { conntrack: String::new(), ..one.clone() }));
        assert!(refuses(&Outcome {
            log: LOG.replace("TTL=1", "TTL=2").replace("PROTO=UDP", "PROTO=TCP"),
            ..one.clone()
        }));
    }

    #[test]
    fn learnt_ports_and_ids_of_connections_and_log() {
        let one = outcome(&[]);
        let two = Outcome {
            conntrack: CONNTRACK.replace("dport=5 ", "dport=1044 "),
            log: LOG.replace("ID=7", "ID=8"),
            ..one.clone()
        };
        let mut volatile = Volatile::default();
        learn(&mut volatile, &one, &two).unwrap();
        let key = "ipv4 udp src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53".to_string();
        assert_eq!(volatile.conntrack[&key], BTreeSet::from(["reply.dport".to_string()]));
        assert_eq!(volatile.log["0"], BTreeSet::from(["ID".to_string()]));
        assert_eq!(differences(&one, &two, &volatile), []);
        let three = Outcome { log: LOG.replace("SPT=5", "SPT=6"), ..one.clone() };
        assert_eq!(differences(&one, &three, &volatile).len(), 1);
        assert_eq!(summary(&volatile), "1 conntrack, 1 log");
    }

    #[test]
    fn the_routers_own_flow_label_is_let_pass() {
        let want = outcome(&[too_big(5, 220)]);
        assert_eq!(differences(&want, &outcome(&[too_big(9, 220)]), &Volatile::default()), []);
        assert_eq!(differences(&want, &outcome(&[too_big(9, 221)]), &Volatile::default()).len(), 1);
        let unlabelled = outcome(&[too_big(0, 220)]);
        assert_eq!(differences(&unlabelled, &want, &Volatile::default()).len(), 1, "0 is no label of the router's");
    }

    #[test]
    fn shares_are_held_within_their_slack() {
        let to = |last: u8| {
            let mut data = udp(1);
            data[ETH + 19] = last;
            let sum = checksum(&[&data[ETH..ETH + 10], &[0, 0], &data[ETH + 12..ETH + 20]].concat()).to_be_bytes();
            data[ETH + 10..ETH + 12].copy_from_slice(&sum);
            data
        };
        let dealt = |a: usize, b: usize| outcome(&[vec![to(2); a], vec![to(3); b]].concat());
        let mut s = scenario();
        let share = BTreeMap::from([("10.0.0.2".to_string(), 0.5), ("10.0.0.3".to_string(), 0.5)]);
        s.meta.statistical = Some(Shares { iface: "eth0".into(), sigma: 5.0, share });
        let holds = |want: &Outcome, got: &Outcome| judge(&s, want, got, &Volatile::default()).unwrap().is_empty();
        assert!(holds(&dealt(50, 50), &dealt(60, 40)));
        assert!(!holds(&dealt(50, 50), &dealt(95, 5)));
        assert!(!holds(&dealt(50, 50), &dealt(50, 49)));
        let mut elsewhere = dealt(50, 49);
        elsewhere.frames.get_mut("eth0").unwrap().push(Stamped { micros: 1, data: to(4) });
        assert!(!holds(&dealt(50, 50), &elsewhere));
        let mut counted = dealt(50, 50);
        counted.rules4 = RULES.replace("[3:180]", "[4:180]");
        assert!(holds(&dealt(50, 50), &counted), "counters follow the dice");
        counted.conntrack.clear();
        assert!(!holds(&dealt(50, 50), &counted));
    }
}
