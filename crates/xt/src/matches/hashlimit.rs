//! `-m hashlimit`: a token bucket for each address, port or network. Counts as `xt_hashlimit.c` does (revision 3).

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Memory, Place, Refused, Shared, SharedKind};
use hairpin_engine::time::{HZ, Now};
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "hashlimit",
    aliases: &[],
    families: Families::Both,
    about: "at most so many packets or bytes in a time, for each address or port",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hashlimit-upto", &["n[/second|minute|hour|day] | n[kb|mb]/s"], "the rate is not exceeded")
            .alias(&["hashlimit"])
            .inverts()
            .excludes(&["hashlimit-above"]),
        Opt::new("hashlimit-above", &["n[/second|minute|hour|day] | n[kb|mb]/s"], "the rate is exceeded")
            .inverts()
            .excludes(&["hashlimit-upto"]),
        Opt::new("hashlimit-srcmask", &["length"], "source networks of this prefix length share a bucket"),
        Opt::new("hashlimit-dstmask", &["length"], "destination networks of this prefix length share a bucket"),
        Opt::new("hashlimit-burst", &["n[kb|mb]"], "packets that pass at once, 5 if not given; bytes in byte mode"),
        Opt::new("hashlimit-htable-size", &["n"], "kept with the rule: buckets of the kernel's hash table"),
        Opt::new("hashlimit-htable-max", &["n"], "how many buckets there may be; packets beyond are dropped"),
        Opt::new("hashlimit-htable-gcinterval", &["ms"], "how often unused buckets are thrown away; 1000 if not given"),
        Opt::new("hashlimit-htable-expire", &["ms"], "after which time a bucket is unused"),
        Opt::new("hashlimit-mode", &["srcip|srcport|dstip|dstport[,...]"], "what has a bucket each"),
        Opt::new("hashlimit-name", &["name"], "rules of the same name share their buckets").required(),
        Opt::switch("hashlimit-rate-match", "compare rates, take nothing from the bucket"),
        Opt::new("hashlimit-rate-interval", &["seconds"], "over which time the rate is measured"),
    ],
    build,
    cases: &[
        Case::Saves(
            "--hashlimit 5/s --hashlimit-name a",
            "--hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name a",
        ),
        Case::Saves(
            "! --hashlimit-upto 5/sec --hashlimit-name a",
            "--hashlimit-above 5/sec --hashlimit-burst 5 --hashlimit-name a",
        ),
        Case::Same(
            "--hashlimit-above 5/min --hashlimit-burst 7 --hashlimit-mode srcip,srcport,dstip,dstport --hashlimit-name b \
             --hashlimit-htable-size 100 --hashlimit-htable-max 1000 --hashlimit-htable-gcinterval 500 \
             --hashlimit-htable-expire 5000 --hashlimit-srcmask 24 --hashlimit-dstmask 16",
        ),
        Case::Saves(
            "--hashlimit-upto 10/hour --hashlimit-htable-expire 3600000 --hashlimit-name a",
            "--hashlimit-upto 10/hour --hashlimit-burst 5 --hashlimit-name a",
        ),
        Case::Same("--hashlimit-upto 512kb/s --hashlimit-burst 1mb --hashlimit-name a"),
        Case::Saves("--hashlimit-upto 1024kb/s --hashlimit-name a", "--hashlimit-upto 1mb/s --hashlimit-name a"),
        Case::Saves(
            "--hashlimit-upto 512b/s --hashlimit-burst 1000000 --hashlimit-name a",
            "--hashlimit-upto 512b/s --hashlimit-burst 977kb --hashlimit-name a",
        ),
        Case::Saves("--hashlimit-upto 100b/s --hashlimit-name a", "--hashlimit-upto 96b/s --hashlimit-name a"),
        Case::Same("--hashlimit-upto 40mb/s --hashlimit-name a --hashlimit-rate-match"),
        Case::Saves(
            "--hashlimit-upto 5/min --hashlimit-rate-match --hashlimit-name a",
            "--hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name a --hashlimit-htable-expire 60000 \
             --hashlimit-rate-match --hashlimit-rate-interval 60",
        ),
        Case::Fails("--hashlimit-upto 5/sec", "must be specified"),
        Case::Fails("--hashlimit-name a", "You have to specify --hashlimit"),
        Case::Fails("--hashlimit-upto 1000001/s --hashlimit-name a", "Rate too fast \"1000001/s\""),
        Case::Fails("--hashlimit-upto 0/s --hashlimit-name a", "Bad value for \"--hashlimit-upto\" option: \"0/s\""),
        Case::Fails("--hashlimit-upto 5/s --hashlimit-burst 0 --hashlimit-name a", "out of range (1-1000000)"),
        Case::Fails(
            "--hashlimit-upto 5kb/s --hashlimit-burst 1kb --hashlimit-name a",
            "burst cannot be smaller than 5120b",
        ),
        Case::Fails("--hashlimit-upto 5/s --hashlimit-mode foo --hashlimit-name a", "Bad value for \"--hashlimit-mode\""),
    ],
};

#[derive(Clone, Debug)]
struct HashLimit {
    family: Family,
    name: String,
    config: Config,
}

/// What a rule says, and a table keeps from the rule that made it (`struct hashlimit_cfg3`).
#[derive(Clone, Debug)]
struct Config {
    /// Above the rate, not up to it.
    above: bool,
    bytes: bool,
    rate_match: bool,
    keys: Keys,
    /// The time for one packet in millionths of a second; in byte mode 2^32 by the number of chunks in a second.
    avg: u64,
    burst: u64,
    size: u32,
    max: u32,
    gc_interval_ms: u32,
    expire_ms: u32,
    interval_secs: u32,
    source_length: u8,
    destination_length: u8,
}

/// What has a bucket each.
#[derive(Clone, Copy, Debug, Default)]
struct Keys {
    source: bool,
    source_port: bool,
    destination: bool,
    destination_port: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let (given, above) = match (parsed.get("hashlimit-above"), parsed.get("hashlimit-upto")) {
        (Some(given), _) => (Some(given), !given.inverted),
        (None, Some(given)) => (Some(given), given.inverted),
        (None, None) => (None, false),
    };
    let rate = given.map(|given| parse_rate(parsed, given)).transpose()?.unwrap_or_default();
    let number = |name: &str, default: u32| {
        parsed.get(name).map_or(Ok(default), |given| value::number_u32(parsed, given))
    };
    let length = |name: &str| match parsed.get(name) {
        Some(given) => value::prefix_mask(parsed, given)
            // A mask with holes has no length; iptables makes 255 of it, which the kernel refuses.
            .map(|mask| value::prefix_of(parsed.family, mask).unwrap_or(u8::MAX)),
        None => Ok(parsed.family.bits()),
    };
    let mut config = Config {
        above,
        bytes: rate.bytes,
        rate_match: parsed.has("hashlimit-rate-match"),
        keys: parsed.get("hashlimit-mode").map_or(Ok(Keys::default()), |given| parse_keys(parsed, given))?,
        avg: rate.avg,
        burst: parsed.get("hashlimit-burst").map_or(Ok(DEFAULT_BURST), parse_burst)?,
        size: number("hashlimit-htable-size", 0)?,
        max: number("hashlimit-htable-max", 0)?,
        gc_interval_ms: number("hashlimit-htable-gcinterval", DEFAULT_GC_MS)?,
        expire_ms: number("hashlimit-htable-expire", rate.unit_secs * 1000)?,
        interval_secs: parsed.get("hashlimit-rate-interval").map_or(Ok(0), |given| parse_interval(parsed, given))?,
        source_length: length("hashlimit-srcmask")?,
        destination_length: length("hashlimit-dstmask")?,
    };
    if let Some(given) = parsed.get("hashlimit-name") {
        value::string(given, 1, usize::MAX)?;
    }
    if given.is_none() {
        return Err(SyntaxError::parameter("You have to specify --hashlimit"));
    }
    if config.bytes {
        config.burst = refills(parsed, &config)?;
        if config.burst != 0 && !parsed.has("hashlimit-htable-expire") {
            config.expire_ms = BYTE_BURST_EXPIRE_MS;
        }
    } else if config.burst > MAX_BURST {
        return Err(bad_burst());
    }
    let name = parsed.required("hashlimit-name")?;
    if config.rate_match {
        if !config.bytes {
            config.avg /= u64::from(rate.unit_secs);
        }
        if config.interval_secs == 0 {
            config.interval_secs = if config.bytes { 1 } else { rate.unit_secs };
        }
    }
    Ok(Arc::new(HashLimit {
        family: parsed.family,
        name: value::string(name, 1, MAX_NAME)?.to_owned(),
        config,
    }))
}

#[derive(Default)]
struct Rate {
    avg: u64,
    bytes: bool,
    unit_secs: u32,
}

fn parse_rate(parsed: &Parsed<'_>, given: &Given) -> Result<Rate, SyntaxError> {
    let text = given.value();
    let count = leading_number(text);
    if let Some(at) = text.find("b/s").filter(|at| *at > 0)
        && count != 0
    {
        let factor = factor(text.get(..at).and_then(|before| before.chars().next_back()));
        return match bytes_to_cost(count.wrapping_mul(factor)) {
            0 => Err(SyntaxError::parameter(format!("Rate too high \"{text}\"")).at(text)),
            avg => Ok(Rate { avg, bytes: true, unit_secs: BYTE_EXPIRE_MS / 1000 }),
        };
    }
    let unit = match text.split_once('/') {
        Some((_, unit)) => value::time_unit(unit),
        None => Some(1),
    };
    match unit {
        Some(unit_secs) if count != 0 => match SCALE * u64::from(unit_secs) / count {
            0 => Err(SyntaxError::parameter(format!("Rate too fast \"{text}\"")).at(text)),
            avg => Ok(Rate { avg, bytes: false, unit_secs }),
        },
        _ => {
            let message = format_args!("Bad value for \"--{}\" option: \"{text}\"", given.option.name);
            Err(parsed.error(message).at(text))
        }
    }
}

/// As `atoll` reads a count: the digits at the beginning.
fn leading_number(text: &str) -> u64 {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number =
        text.get(..end).map_or(0, |digits| if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) });
    if negative { number.wrapping_neg() } else { number }
}

fn factor(unit: Option<char>) -> u64 {
    match unit {
        Some('m') => 1 << 20,
        Some('k') => 1 << 10,
        _ => 1,
    }
}

fn parse_keys(parsed: &Parsed<'_>, given: &Given) -> Result<Keys, SyntaxError> {
    let mut keys = Keys::default();
    for word in given.value().split([',', '|']).filter(|word| !word.is_empty()) {
        match word {
            "srcip" => keys.source = true,
            "srcport" => keys.source_port = true,
            "dstip" => keys.destination = true,
            "dstport" => keys.destination_port = true,
            _ => return Err(value::bad_value(parsed, given)),
        }
    }
    Ok(keys)
}

fn parse_burst(given: &Given) -> Result<u64, SyntaxError> {
    match value::split_number(given.value()) {
        Some((0, _)) | None => Err(bad_burst()),
        Some((burst, "")) if burst > MAX_BURST => Err(bad_burst()),
        Some((burst, unit)) => Ok(burst.saturating_mul(factor(unit.chars().next()))),
    }
}

fn bad_burst() -> SyntaxError {
    SyntaxError::parameter("bad value for option \"--hashlimit-burst\", or out of range (1-1000000).").at("")
}

fn parse_interval(parsed: &Parsed<'_>, given: &Given) -> Result<u32, SyntaxError> {
    let seconds = leading_number(given.value());
    i32::try_from(seconds).ok().filter(|s| *s > 0).map(|s| s as u32).ok_or_else(|| value::bad_value(parsed, given))
}

/// A burst of bytes as how often the bucket may be filled anew; 0 when none was given.
fn refills(parsed: &Parsed<'_>, config: &Config) -> Result<u64, SyntaxError> {
    if !parsed.has("hashlimit-burst") {
        return Ok(0);
    }
    let bucket = cost_to_bytes(config.avg);
    if config.burst < bucket || bucket == 0 {
        return Err(SyntaxError::parameter(format!("burst cannot be smaller than {bucket}b")));
    }
    Ok(u64::from(config.burst.div_ceil(bucket) as u32))
}

impl Match for HashLimit {
    fn name(&self) -> &'static str {
        "hashlimit"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let now = look.now().mono.jiffies();
        let Some(mut table) = look.memory::<Table>() else { return false };
        let Some(key) = table.key(look) else { return look.hotdrop() };
        table.collect(now);
        let Some(bucket) = table.bucket(key, now) else { return look.hotdrop() };
        let fits = match (self.config.rate_match, self.config.bytes) {
            (true, bytes) => bucket.is_slow(if bytes { look.length() as u64 } else { 1 }),
            (false, true) => bucket.pays_bytes(look.length()),
            (false, false) => bucket.pays(bucket.cost),
        };
        fits != self.config.above
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, SAVED)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        self.write(f, LISTED)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let config = &self.config;
        let invalid = |text: String| Err(Refused::Invalid(format!("xt_hashlimit: {text}")));
        if !value::is_proc_name(&self.name) {
            return invalid(format!("bad name \"{}\"", self.name));
        }
        if config.source_length.max(config.destination_length) > self.family.bits() {
            return invalid("no network has such a length".to_owned());
        }
        if config.gc_interval_ms == 0 || config.expire_ms == 0 {
            return invalid("the interval and the expiry must not be 0".to_owned());
        }
        if config.rate_match {
            if config.avg == 0 || config.avg > u64::from(u32::MAX) {
                return Err(Refused::Range("xt_hashlimit: invalid rate".to_owned()));
            }
        } else if config.bytes {
            if credits_of_chunk(config.avg) == 0 {
                return invalid(format!("overflow, rate too high: {}", config.avg));
            }
        } else if config.burst == 0 || credits(config.avg.wrapping_mul(config.burst)) < credits(config.avg) {
            let message = format!("xt_hashlimit: overflow, try lower: {}/{}", config.avg, config.burst);
            return Err(Refused::Range(message));
        }
        Ok(())
    }

    fn shares(&self) -> Option<Shared<'_>> {
        let form = u32::from(self.config.rate_match);
        Some(Shared { kind: SharedKind::RateTable, name: &self.name, form })
    }

    fn memory(&self, now: &Now) -> Memory {
        let table = Table {
            family: self.family,
            config: self.config.clone(),
            made_at: now.mono.jiffies(),
            collections: 0,
            buckets: BTreeMap::new(),
        };
        // A table keeps what the rule said that made it.
        let (kind, name) = ("hashlimit", self.name.clone());
        Memory::Shared { kind, by_family: true, name, first: Box::new(table), join: |_, _| {} }
    }

    fn keep(&self, memory: &(dyn Any + Send), now: &Now) -> Vec<u64> {
        memory.downcast_ref::<Table>().map_or(Vec::new(), |table| table.keep(now))
    }

    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], now: &Now) {
        if let Some(table) = memory.downcast_mut::<Table>() {
            table.take_up(kept, now);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The words in which saving and listing differ.
#[derive(Clone, Copy)]
struct Words {
    upto: &'static str,
    above: &'static str,
    /// Before the name of an option.
    before: &'static str,
    between_keys: &'static str,
    /// Whether the table's name is shown.
    named: bool,
    /// Whether a rate to match is that of its whole interval.
    whole_interval: bool,
}

const SAVED: Words = Words {
    upto: " --hashlimit-upto",
    above: " --hashlimit-above",
    before: "--hashlimit-",
    between_keys: ",",
    named: true,
    whole_interval: false,
};

const LISTED: Words =
    Words { upto: " limit: up to", above: " limit: above", before: "", between_keys: "-", named: false, whole_interval: true };

impl HashLimit {
    fn write(&self, f: &mut fmt::Formatter<'_>, words: Words) -> fmt::Result {
        let config = &self.config;
        let before = words.before;
        f.write_str(if config.above { words.above } else { words.upto })?;
        let usual_expire_ms = if config.bytes {
            save_bytes(f, config, before)?
        } else {
            let intervals = if words.whole_interval { config.interval_secs.max(1) } else { 1 };
            let unit_secs = save_rate(f, config.avg.wrapping_mul(u64::from(intervals)))?;
            write!(f, " {before}burst {}", config.burst)?;
            unit_secs * 1000
        };
        save_keys(f, config.keys, words)?;
        if words.named {
            write!(f, " {before}name {}", self.name)?;
        }
        let whole = u32::from(self.family.bits());
        let numbers = [
            ("htable-size", config.size, 0),
            ("htable-max", config.max, 0),
            ("htable-gcinterval", config.gc_interval_ms, DEFAULT_GC_MS),
            ("htable-expire", config.expire_ms, usual_expire_ms),
            ("srcmask", u32::from(config.source_length), whole),
            ("dstmask", u32::from(config.destination_length), whole),
        ];
        for (name, number, usual) in numbers {
            if number != usual {
                write!(f, " {before}{name} {number}")?;
            }
        }
        if config.rate_match {
            write!(f, " {before}rate-match")?;
            if config.interval_secs != 1 {
                write!(f, " {before}rate-interval {}", config.interval_secs)?;
            }
        }
        Ok(())
    }
}

/// The largest unit that shows the rate well enough, by the front end's own rule; returns its seconds.
fn save_rate(f: &mut fmt::Formatter<'_>, avg: u64) -> Result<u32, fmt::Error> {
    const UNITS: [(&str, u32); 3] = [("hour", 3600), ("min", 60), ("sec", 1)];
    let mut shown = ("day", 86400);
    for (name, seconds) in UNITS {
        let ticks = SCALE * u64::from(seconds);
        if avg > ticks || ticks.checked_div(avg) < ticks.checked_rem(avg) {
            break;
        }
        shown = (name, seconds);
    }
    write!(f, " {}/{}", (SCALE * u64::from(shown.1)).checked_div(avg).unwrap_or(0), shown.0)?;
    Ok(shown.1)
}

/// Writes rate and burst of byte mode; returns the usual expiry in milliseconds.
fn save_bytes(f: &mut fmt::Formatter<'_>, config: &Config, before: &str) -> Result<u32, fmt::Error> {
    const UNITS: [(u64, &str); 2] = [(1 << 20, "m"), (1 << 10, "k")];
    let rate = cost_to_bytes(config.avg);
    let exact = |(size, _): &(u64, &str)| rate >= *size && bytes_to_cost(rate & !(size - 1)) == config.avg;
    let (size, unit) = UNITS.into_iter().find(exact).unwrap_or((1, ""));
    write!(f, " {}{unit}b/s", rate / size)?;
    if config.burst == 0 {
        return Ok(BYTE_EXPIRE_MS);
    }
    let burst = rate.wrapping_mul(config.burst);
    let (size, unit) = UNITS.into_iter().find(|(size, _)| burst >= *size).unwrap_or((1, ""));
    write!(f, " {before}burst {}{unit}b", burst / size)?;
    Ok(BYTE_BURST_EXPIRE_MS)
}

fn save_keys(f: &mut fmt::Formatter<'_>, keys: Keys, words: Words) -> fmt::Result {
    let names = [
        (keys.source, "srcip"),
        (keys.source_port, "srcport"),
        (keys.destination, "dstip"),
        (keys.destination_port, "dstport"),
    ];
    for (n, (_, name)) in names.into_iter().filter(|(used, _)| *used).enumerate() {
        if n == 0 {
            write!(f, " {}mode {name}", words.before)?;
        } else {
            write!(f, "{}{name}", words.between_keys)?;
        }
    }
    Ok(())
}

/// Source, destination, source port, destination port; 0 for what has no bucket of its own.
type Key = (Addr, Addr, u16, u16);

/// Buckets kept over a restart at most: they are copied between two batches of packets.
const MAX_KEPT: usize = 16_384;

/// The buckets of one name.
#[derive(Debug)]
struct Table {
    family: Family,
    config: Config,
    made_at: u64,
    /// How often unused buckets were thrown away.
    collections: u64,
    buckets: BTreeMap<Key, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// The jiffy from which on it is unused.
    expires: u64,
    filled_at: u64,
    credit: u64,
    cap: u64,
    cost: u64,
    /// For comparing rates: what came in this interval, whether the last one was too fast, and what is too much.
    current: u64,
    was_fast: bool,
    rate: u64,
    most: u64,
}

impl Table {
    /// None when the ports are asked for and cannot be read.
    fn key(&self, look: &Look<'_>) -> Option<Key> {
        let keys = self.config.keys;
        let masked = |wanted: bool, addr: Addr, length: u8| {
            if wanted { addr.masked(self.family.mask(length)) } else { Addr::UNSPECIFIED }
        };
        let source = masked(keys.source, look.src(), self.config.source_length);
        let destination = masked(keys.destination, look.dst(), self.config.destination_length);
        let (mut source_port, mut destination_port) = (0, 0);
        if keys.source_port || keys.destination_port {
            (source_port, destination_port) = ports(look)?;
        }
        let kept = |wanted: bool, port: u16| if wanted { port } else { 0 };
        Some((source, destination, kept(keys.source_port, source_port), kept(keys.destination_port, destination_port)))
    }

    /// Throws unused buckets away as often as the kernel's worker would have done it by now.
    fn collect(&mut self, now: u64) {
        let interval = jiffies(self.config.gc_interval_ms).max(1);
        let collections = now.saturating_sub(self.made_at) / interval;
        if collections > self.collections {
            self.collections = collections;
            let last = self.made_at + collections * interval;
            self.buckets.retain(|_, bucket| bucket.expires > last);
        }
    }

    /// The bucket of the key, filled up to now or new; None when there are too many.
    fn bucket(&mut self, key: Key, now: u64) -> Option<&mut Bucket> {
        let expires = now + jiffies(self.config.expire_ms);
        let is_full = self.buckets.len() >= self.most();
        let config = &self.config;
        match self.buckets.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let bucket = entry.into_mut();
                bucket.expires = expires;
                bucket.fill(config, now);
                Some(bucket)
            }
            std::collections::btree_map::Entry::Vacant(_) if is_full => None,
            std::collections::btree_map::Entry::Vacant(place) => {
                Some(place.insert(Bucket { expires, ..Bucket::new(config, now) }))
            }
        }
    }

    /// For each bucket: the halves of its addresses, its ports, when it is unused and was filled as times of day, and what is in it.
    fn keep(&self, now: &Now) -> Vec<u64> {
        let halves = |addr: Addr| [(addr.0 >> 64) as u64, addr.0 as u64];
        let mut kept = Vec::new();
        for ((source, destination, source_port, destination_port), bucket) in self.buckets.iter().take(MAX_KEPT) {
            kept.extend(halves(*source));
            kept.extend(halves(*destination));
            kept.push(u64::from(*source_port) << 16 | u64::from(*destination_port));
            kept.extend([now.wall_ms_of(bucket.expires), now.wall_ms_of(bucket.filled_at)]);
            kept.extend([bucket.credit, bucket.cap, bucket.current, u64::from(bucket.was_fast)]);
        }
        kept
    }

    fn take_up(&mut self, kept: &[u64], now: &Now) {
        let at = now.mono.jiffies();
        let (chunks, _) = kept.as_chunks::<11>();
        for [a, b, c, d, ports, expires, filled_at, credit, cap, current, was_fast] in chunks {
            let addr = |high: u64, low: u64| Addr(u128::from(high) << 64 | u128::from(low));
            let left = now.jiffies_of(*expires).wrapping_sub(at) as i64;
            let most_left = jiffies(self.config.expire_ms);
            if left <= 0 || left as u64 > most_left || self.buckets.len() >= self.most() {
                continue;
            }
            let new = Bucket::new(&self.config, at);
            let bucket = Bucket {
                expires: at + left as u64,
                filled_at: now.jiffies_of(*filled_at),
                credit: *credit,
                cap: (*cap).min(new.cap),
                current: *current,
                was_fast: *was_fast != 0,
                ..new
            };
            self.buckets.insert((addr(*a, *b), addr(*c, *d), (ports >> 16) as u16, *ports as u16), bucket);
        }
    }

    fn most(&self) -> usize {
        let size = if self.config.size == 0 { DEFAULT_SIZE } else { self.config.size.min(MAX_SIZE) };
        let max = if self.config.max == 0 { 8 * size } else { self.config.max.min(MAX_SIZE).max(size) };
        max as usize
    }
}

impl Bucket {
    fn new(config: &Config, now: u64) -> Bucket {
        let mut bucket = Bucket { filled_at: now, ..Bucket::default() };
        match (config.rate_match, config.bytes) {
            (true, true) => {
                bucket.rate = cost_to_bytes(u64::from(config.avg as u32));
                bucket.most = if config.burst == 0 { bucket.rate } else { bucket.rate.wrapping_mul(config.burst) };
            }
            (true, false) => {
                bucket.rate = SCALE.checked_div(config.avg).unwrap_or(0);
                bucket.most = bucket.rate.wrapping_add(config.burst);
            }
            (false, true) => {
                bucket.credit = BYTE_BUCKET;
                bucket.cost = credits_of_chunk(config.avg);
                bucket.cap = config.burst;
            }
            (false, false) => {
                bucket.credit = credits(config.avg.wrapping_mul(config.burst));
                bucket.cost = credits(config.avg);
                bucket.cap = bucket.credit;
            }
        }
        bucket
    }

    fn fill(&mut self, config: &Config, now: u64) {
        let passed = now.wrapping_sub(self.filled_at);
        if passed == 0 {
            return;
        }
        if config.rate_match {
            let interval = u64::from(config.interval_secs) * HZ;
            if passed >= interval {
                self.filled_at = now;
                self.was_fast = self.current.wrapping_mul(interval) > passed.wrapping_mul(self.rate);
                self.current = 0;
            }
            return;
        }
        self.filled_at = now;
        let (filled, cap) = if config.bytes {
            let filled = self.credit.wrapping_add(BYTE_CREDITS_PER_JIFFY.wrapping_mul(passed));
            (if filled <= self.credit { BYTE_BUCKET } else { filled }, BYTE_BUCKET)
        } else {
            (self.credit.wrapping_add(passed.wrapping_mul(CREDITS_PER_JIFFY)), self.cap)
        };
        self.credit = filled.min(cap);
    }

    /// Counts and compares with the rate; nothing is taken.
    fn is_slow(&mut self, amount: u64) -> bool {
        self.current = self.current.wrapping_add(amount);
        !self.was_fast && self.current <= self.most
    }

    fn pays(&mut self, cost: u64) -> bool {
        match self.credit.checked_sub(cost) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    /// As [`Bucket::pays`]; an empty bucket is filled as often as the burst allows.
    fn pays_bytes(&mut self, length: usize) -> bool {
        let cost = ((length as u64 >> CHUNK_SHIFT) + 1).wrapping_mul(self.cost).min(BYTE_BUCKET);
        if self.credit < cost && self.cap != 0 {
            self.cap -= 1;
            self.credit = BYTE_BUCKET;
        }
        self.pays(cost)
    }
}

/// The ports of a protocol that has them (of ESP and AH: the halves of the index), 0 for others.
fn ports(look: &Look<'_>) -> Option<(u16, u16)> {
    if look.family() == Family::V6 {
        if look.head().broken || look.protocol() == proto::NONE {
            return None;
        }
        if look.is_later_fragment() {
            return Some((0, 0));
        }
    }
    let at = match look.protocol() {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::DCCP | proto::SCTP | proto::ESP => 0,
        proto::AH => 4,
        _ => return Some((0, 0)),
    };
    let [a, b, c, d] = *look.l4().get(at..)?.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// `msecs_to_jiffies`.
fn jiffies(ms: u32) -> u64 {
    (u64::from(ms) * HZ).div_ceil(1000)
}

/// `user2credits`: 64 bits that wrap.
fn credits(time: u64) -> u64 {
    time.wrapping_mul(HZ * CREDITS_PER_JIFFY / SCALE)
}

/// `user2credits_byte`: what 16 bytes cost.
fn credits_of_chunk(avg: u64) -> u64 {
    u64::from(((avg & u64::from(u32::MAX)).wrapping_mul(HZ * BYTE_CREDITS_PER_JIFFY) >> 32) as u32)
}

fn bytes_to_cost(bytes: u64) -> u64 {
    let chunks = (bytes >> CHUNK_SHIFT) as u32;
    u64::from(u32::MAX.checked_div(chunks.wrapping_add(1)).unwrap_or(0))
}

fn cost_to_bytes(cost: u64) -> u64 {
    let chunks = u64::from(u32::MAX).checked_div(cost).unwrap_or(u64::from(u32::MAX));
    chunks.wrapping_sub(1) << CHUNK_SHIFT
}

/// Units of [`Config::avg`] in a second (`XT_HASHLIMIT_SCALE_v2`).
const SCALE: u64 = 1_000_000;
const DEFAULT_BURST: u64 = 5;
const MAX_BURST: u64 = 1_000_000;
const DEFAULT_GC_MS: u32 = 1000;
const BYTE_EXPIRE_MS: u32 = 15_000;
const BYTE_BURST_EXPIRE_MS: u32 = 60_000;
/// `NAME_MAX`.
const MAX_NAME: usize = 255;
/// Of a machine with more than 1 GiB.
const DEFAULT_SIZE: u32 = 8192;
const MAX_SIZE: u32 = 1 << 20;
/// Byte mode counts chunks of 16 bytes.
const CHUNK_SHIFT: u32 = 4;
/// The largest power of two with which a day's credits fit 64 bits.
const CREDITS_PER_JIFFY: u64 = 1 << (u64::MAX / (HZ * 86400)).ilog2();
/// The largest power of two with which a second's credits fit 32 bits.
const BYTE_CREDITS_PER_JIFFY: u64 = 1 << (u32::MAX as u64 / HZ).ilog2();
/// What the bucket of byte mode holds: a second's credits.
const BYTE_BUCKET: u64 = BYTE_CREDITS_PER_JIFFY * HZ;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, DST, Hotdrop, No, Yes, load, parse, probe, udp};
    use hairpin_engine::probe::{Loaded, Probe};
    use hairpin_engine::{Instant, Packet};
    use hairpin_wire::build;

    fn ask(probe: &mut Probe, loaded: &Loaded<dyn Match>, host: u32, port: u16, ms: u64) -> Answer {
        let datagram = build::Udp { src_port: port, dst_port: 53, payload: &[0; 72] };
        probe.packet = Packet::from_ip(&datagram.packet(Family::V4, Addr::v4(host), DST)).unwrap();
        probe.now.mono = Instant(ms * 1_000_000);
        probe.ask(loaded)
    }

    /// How many of ten packets at this millisecond fit.
    fn burst(probe: &mut Probe, loaded: &Loaded<dyn Match>, host: u32, ms: u64) -> usize {
        (0..10).filter(|_| ask(probe, loaded, host, 1, ms) == Yes).count()
    }

    #[test]
    fn a_bucket_each() {
        let mut probe = probe(udp(1, 2));
        let limit = load(
            &mut probe,
            "-m hashlimit --hashlimit-upto 2/sec --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-name a",
        );
        assert_eq!(burst(&mut probe, &limit, 1, 0), 3);
        assert_eq!(burst(&mut probe, &limit, 2, 0), 3);
        assert_eq!(burst(&mut probe, &limit, 1, 499), 0);
        assert_eq!(burst(&mut probe, &limit, 1, 500), 1);
        // The other was left alone for its expiry of a second and is as new.
        assert_eq!(burst(&mut probe, &limit, 2, 1000), 3);
    }

    #[test]
    fn above_networks_ports_and_shared_names() {
        let mut probe = probe(udp(1, 2));
        let above = load(
            &mut probe,
            "-m hashlimit --hashlimit-above 1/hour --hashlimit-burst 2 --hashlimit-mode srcip,srcport \
             --hashlimit-srcmask 24 --hashlimit-name a",
        );
        let same = load(&mut probe, "-m hashlimit --hashlimit-upto 1/sec --hashlimit-name a");
        assert_eq!(ask(&mut probe, &above, 0x0a00_0001, 7, 0), No);
        assert_eq!(ask(&mut probe, &above, 0x0a00_0002, 7, 0), No);
        assert_eq!(ask(&mut probe, &above, 0x0a00_0003, 7, 0), Yes);
        assert_eq!(ask(&mut probe, &above, 0x0a00_0003, 8, 0), No);
        assert_eq!(ask(&mut probe, &above, 0x0a00_0103, 7, 0), No);
        // What the first rule said holds for the table.
        assert_eq!(ask(&mut probe, &same, 0x0a00_0001, 7, 0), No);
        assert_eq!(ask(&mut probe, &same, 0x0a00_0203, 7, 0), Yes);
    }

    #[test]
    fn too_many_buckets_and_unreadable_ports() {
        let mut probe = probe(udp(1, 2));
        let limit = load(
            &mut probe,
            "-m hashlimit --hashlimit-upto 1/hour --hashlimit-mode srcip,srcport --hashlimit-htable-size 2 \
             --hashlimit-htable-max 1 --hashlimit-name a",
        );
        assert_eq!(ask(&mut probe, &limit, 1, 1, 0), Yes);
        assert_eq!(ask(&mut probe, &limit, 2, 1, 0), Yes);
        assert_eq!(ask(&mut probe, &limit, 3, 1, 0), Hotdrop);
        assert_eq!(ask(&mut probe, &limit, 1, 1, 0), Yes);
        assert_eq!(ask(&mut probe, &limit, 3, 1, 3_601_000), Yes);
        probe.packet = Packet::from_ip(&build::ip(Family::V4, DST, DST, proto::UDP, &[0; 3])).unwrap();
        assert_eq!(probe.ask(&limit), Hotdrop);
        probe.packet = Packet::from_ip(&build::ip(Family::V4, DST, DST, proto::ICMP, &[])).unwrap();
        assert_eq!(probe.ask(&limit), Yes);
    }

    #[test]
    fn bytes() {
        let mut probe = probe(udp(1, 2));
        // 100 bytes are 7 chunks; 640 bytes a second are 41 of them.
        let limit = load(&mut probe, "-m hashlimit --hashlimit-upto 640b/s --hashlimit-name a");
        assert_eq!(burst(&mut probe, &limit, 1, 0), 5);
        assert_eq!(burst(&mut probe, &limit, 1, 1000), 5);
        let limit = load(
            &mut probe,
            "-m hashlimit --hashlimit-upto 640b/s --hashlimit-burst 641 --hashlimit-name b",
        );
        assert_eq!(burst(&mut probe, &limit, 1, 0), 10);
        assert_eq!(burst(&mut probe, &limit, 1, 0), 5);
    }

    #[test]
    fn rates_are_compared() {
        let mut probe = probe(udp(1, 2));
        let limit = load(
            &mut probe,
            "-m hashlimit --hashlimit-upto 4/sec --hashlimit-burst 1 --hashlimit-htable-expire 10000 \
             --hashlimit-rate-match --hashlimit-name a",
        );
        assert_eq!(burst(&mut probe, &limit, 1, 0), 5);
        // The interval that ends now was too fast, so this one gets nothing.
        assert_eq!(burst(&mut probe, &limit, 1, 1000), 0);
        assert_eq!(burst(&mut probe, &limit, 1, 9000), 5);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let check = |options: &str| {
            let built = parse(Family::V4, &format!("-m hashlimit {options} --hashlimit-name a")).unwrap();
            crate::testing::loads(built)
        };
        assert!(matches!(check("--hashlimit-upto 3/day"), Err(Refused::Range(_))));
        assert_eq!(check("--hashlimit-upto 1/day --hashlimit-burst 1"), Ok(()));
        assert_eq!(check("--hashlimit-upto 1000000/day"), Ok(()));
        assert!(matches!(check("--hashlimit-upto 5/s --hashlimit-htable-gcinterval 0"), Err(Refused::Invalid(_))));
        assert_eq!(check("--hashlimit-upto 5mb/s"), Ok(()));
    }

    /// Who had used up its credit before a restart gets no more of it by that; time passes meanwhile.
    #[test]
    fn goes_on_after_a_restart() {
        let mut probe = probe(udp(1, 2));
        let rule = "-m hashlimit --hashlimit-upto 1/min --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-name h --hashlimit-htable-expire 600000";
        let loaded = load(&mut probe, rule);
        assert_eq!(burst(&mut probe, &loaded, 1, 0), 3);
        let now = |ms: u64| Now::from_unix_nanos(ms * 1_000_000);
        let memory = |at: u64| match loaded.extension.memory(&now(at)) {
            Memory::Shared { first, .. } => first,
            other => panic!("{other:?}"),
        };
        let mut before = memory(0);
        let key = (Addr::v4(1), Addr::UNSPECIFIED, 0, 0);
        let left = |memory: &mut Box<dyn Any + Send>, ms: u64| {
            let table = memory.downcast_mut::<Table>().unwrap();
            let bucket = table.bucket(key, now(ms).mono.jiffies()).unwrap();
            (0..10).take_while(|_| bucket.pays(bucket.cost)).count()
        };
        assert_eq!(left(&mut before, 0), 3);
        let kept = loaded.extension.keep(&*before, &now(0));
        assert_eq!(kept.len(), 11);
        let taken_up = |ms: u64, kept: &[u64]| {
            let mut memory = memory(ms);
            loaded.extension.take_up(&mut *memory, kept, &now(ms));
            memory
        };
        assert_eq!(left(&mut taken_up(1000, &kept), 1000), 0);
        assert_eq!(left(&mut taken_up(61_000, &kept), 61_000), 1);
        assert_eq!(left(&mut taken_up(700_000, &kept), 700_000), 3, "it was unused for so long that it is gone");
        taken_up(0, &kept[..7]);
        taken_up(0, &[u64::MAX; 33]);
    }
}
