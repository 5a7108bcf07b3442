//! Connections as text: lines, XML, the words that enter them again, JSON.

use super::filter::tags;
use super::options::{Output, plain};
use hairpin_engine::Wall;
use hairpin_engine::track::text::{ids, protocol_name, tuple};
use hairpin_engine::track::{Direction, ExpectRecord, Record, Status, TcpState, Tuple};
use hairpin_wire::{Family, proto};
use hairpin_xt::option::{NameKind, NumberNames};
use std::fmt::{self, Write as _};

/// What happened to a connection; None: it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It began.
    New,
    /// It changed.
    Update,
    /// It ended.
    Destroy,
}

/// How a connection is to be printed.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) output: Output,
    pub(super) happening: Option<Happening>,
    /// A command made it happen.
    pub(super) by_command: bool,
    /// The letter of `-o save`.
    pub(super) letter: char,
    /// What `use=` says: how many hold it.
    pub(super) uses: u32,
    pub(super) wall: Wall,
    pub(super) names: &'a dyn NumberNames,
}

impl Form<'_> {
    /// The text of a connection, without a newline.
    pub(super) fn text(&self, record: &Record) -> String {
        let mut out = String::new();
        let written = if self.output.json {
            self.json(&mut out, record)
        } else if self.output.save {
            self.save(&mut out, record)
        } else if self.output.xml {
            self.xml(&mut out, record)
        } else {
            self.line(&mut out, record)
        };
        debug_assert!(written.is_ok(), "a String takes everything");
        out
    }

    fn line(&self, f: &mut String, record: &Record) -> fmt::Result {
        self.stamp(f)?;
        match self.happening {
            Some(Happening::New) => f.write_str("    [NEW] ")?,
            Some(Happening::Update) => f.write_str(" [UPDATE] ")?,
            Some(Happening::Destroy) => f.write_str("[DESTROY] ")?,
            None => {}
        }
        if self.output.extended {
            f.write_str(match record.family() {
                Family::V4 => "ipv4     2 ",
                Family::V6 => "ipv6     10 ",
            })?;
        }
        write!(f, "{:<8} {} {} ", protocol_name(record.protocol()), record.protocol(), record.left.as_secs())?;
        if let Some(state) = record.state_text() {
            write!(f, "{state} ")?;
        }
        self.side(f, record, Direction::Original)?;
        if !record.status.has(Status::SEEN_REPLY) {
            f.write_str("[UNREPLIED] ")?;
        }
        self.side(f, record, Direction::Reply)?;
        if record.status.has(Status::ASSURED) {
            f.write_str("[ASSURED] ")?;
        }
        if self.shows_mark(record) {
            write!(f, "mark={} ", record.mark)?;
        }
        if record.zone.original == record.zone.reply && record.zone.original != 0 {
            write!(f, "zone={} ", record.zone.original)?;
        }
        if let Some(age) = self.age(record) {
            write!(f, "delta-time={age} ")?;
        }
        if let Some(at) = record.confirmed_at.filter(|at| self.output.ktimestamp && at.0 != 0) {
            write!(f, "[start={}] ", calendar(at))?;
            if self.happening == Some(Happening::Destroy) {
                write!(f, "[stop={}] ", calendar(self.wall))?;
            }
        }
        // The kernel's last word about a connection has none.
        if let Some(helper) = record.helper.filter(|_| self.happening != Some(Happening::Destroy)) {
            write!(f, "helper={helper} ")?;
        }
        if self.happening.is_none() {
            write!(f, "use={} ", self.uses)?;
        }
        if self.output.id {
            write!(f, "id={} ", record.number)?;
        }
        if self.shows_labels(record) {
            write!(f, "labels={} ", self.labels(record).join(","))?;
        }
        f.truncate(f.trim_end().len());
        Ok(())
    }

    /// `-o timestamp` is for events.
    fn stamp(&self, f: &mut String) -> fmt::Result {
        if self.output.timestamp && self.happening.is_some() {
            stamp(f, self.wall)?;
        }
        Ok(())
    }

    fn side(&self, f: &mut String, record: &Record, direction: Direction) -> fmt::Result {
        tuple(f, record.tuple(direction))?;
        let zone = record.zone;
        if zone.original != zone.reply {
            match direction {
                Direction::Original if zone.original != 0 => write!(f, "zone-orig={} ", zone.original)?,
                Direction::Reply if zone.reply != 0 => write!(f, "zone-reply={} ", zone.reply)?,
                _ => {}
            }
        }
        if let Some(counters) = self.counters(record) {
            let counter = counters[direction.index()];
            write!(f, "packets={} bytes={} ", counter.packets, counter.bytes)?;
        }
        Ok(())
    }

    /// Counters come with listings and with the end.
    fn counters(&self, record: &Record) -> Option<[hairpin_engine::rule::Counter; 2]> {
        record.counters.filter(|_| matches!(self.happening, None | Some(Happening::Destroy)))
    }

    fn shows_mark(&self, record: &Record) -> bool {
        // Of what a command changed the kernel tells all that it may have changed.
        let is_told = self.by_command && self.happening != Some(Happening::Destroy);
        self.happening.is_none() || record.mark != 0 || is_told
    }

    fn age(&self, record: &Record) -> Option<u64> {
        let at = record.confirmed_at.filter(|at| at.0 != 0)?;
        let shown = matches!(self.happening, None | Some(Happening::Destroy));
        shown.then(|| self.wall.secs().saturating_sub(at.secs()))
    }

    fn shows_labels(&self, record: &Record) -> bool {
        self.output.labels && self.happening != Some(Happening::Destroy) && record.labels.unwrap_or(0) != 0
    }

    fn labels(&self, record: &Record) -> Vec<String> {
        let bits = record.labels.unwrap_or(0);
        let set = (0..128).filter(|bit| bits >> bit & 1 != 0);
        // Those without a name are not shown.
        set.filter_map(|bit| self.names.name(NameKind::ConnLabel, bit)).collect()
    }

    fn save(&self, f: &mut String, record: &Record) -> fmt::Result {
        let letter = match self.happening {
            None => self.letter,
            Some(Happening::New) => 'A',
            Some(Happening::Update) => 'U',
            Some(Happening::Destroy) => 'D',
        };
        write!(f, "-{letter} -t {} -u {} ", record.left.as_secs(), status_words(record.status))?;
        let zone = record.zone;
        if zone.original == zone.reply {
            if zone.original != 0 {
                write!(f, "-w {} ", zone.original)?;
            }
        } else {
            for (name, zone) in [("orig", zone.original), ("reply", zone.reply)] {
                if zone != 0 {
                    write!(f, "--{name}-zone {zone} ")?;
                }
            }
        }
        let family = record.family();
        let [original, reply] = &record.tuples;
        let translated = |done, from, to| record.status.has(done) && from != to;
        let by_source = translated(Status::SRC_NAT_DONE, original.src, reply.dst);
        let by_destination = translated(Status::DST_NAT_DONE, original.dst, reply.src);
        write!(f, "-s {} -d {} ", original.src.display(family), original.dst.display(family))?;
        write!(f, "-{} {} ", if by_destination { 'g' } else { 'r' }, reply.src.display(family))?;
        write!(f, "-{} {} ", if by_source { 'n' } else { 'q' }, reply.dst.display(family))?;
        save_protocol(f, record)?;
        f.truncate(f.trim_end().len());
        Ok(())
    }

    fn xml(&self, f: &mut String, record: &Record) -> fmt::Result {
        f.write_str(match self.happening {
            None => "<flow>",
            Some(Happening::New) => "<flow type=\"new\">",
            Some(Happening::Update) => "<flow type=\"update\">",
            Some(Happening::Destroy) => "<flow type=\"destroy\">",
        })?;
        for (direction, name) in [(Direction::Original, "original"), (Direction::Reply, "reply")] {
            write!(f, "<meta direction=\"{name}\">")?;
            self.xml_side(f, record, direction)?;
            f.write_str("</meta>")?;
        }
        f.write_str("<meta direction=\"independent\">")?;
        // The tool has TCP's names for every protocol's states here.
        if let Some(state) = super::filter::state_number(record).and_then(TcpState::from_number) {
            write!(f, "<state>{}</state>", state.text())?;
        }
        write!(f, "<timeout>{}</timeout>", record.left.as_secs())?;
        if self.shows_mark(record) {
            write!(f, "<mark>{}</mark>", record.mark)?;
        }
        if self.shows_labels(record) {
            f.write_str("<labels>")?;
            for label in self.labels(record) {
                write!(f, "<label>{}</label>", escaped(&label))?;
            }
            f.write_str("</labels>")?;
        }
        if record.zone.original == record.zone.reply && record.zone.original != 0 {
            write!(f, "<zone>{}</zone>", record.zone.original)?;
        }
        if self.happening.is_none() {
            write!(f, "<use>{}</use>", self.uses)?;
        }
        write!(f, "<id>{}</id>", record.number)?;
        if record.status.has(Status::ASSURED) {
            f.write_str("<assured/>")?;
        }
        if !record.status.has(Status::SEEN_REPLY) {
            f.write_str("<unreplied/>")?;
        }
        if let Some(at) = record.confirmed_at.filter(|at| self.output.ktimestamp && at.0 != 0) {
            write!(f, "<timestamp><start>{}</start>", at.0)?;
            if self.happening == Some(Happening::Destroy) {
                write!(f, "<stop>{}</stop>", self.wall.0)?;
            }
            f.write_str("</timestamp>")?;
        }
        if let Some(age) = self.age(record) {
            write!(f, "<deltatime>{age}</deltatime>")?;
        }
        f.write_str("</meta>")?;
        if self.output.timestamp {
            when(f, self.wall)?;
        }
        if let Some(helper) = record.helper {
            write!(f, "<helper>{helper}</helper>")?;
        }
        f.write_str("</flow>")
    }

    fn xml_side(&self, f: &mut String, record: &Record, direction: Direction) -> fmt::Result {
        let tuple = record.tuple(direction);
        let (number, name) = layer3(tuple.family);
        let (src, dst) = (tuple.src.display(tuple.family), tuple.dst.display(tuple.family));
        write!(f, "<layer3 protonum=\"{number}\" protoname=\"{name}\"><src>{src}</src><dst>{dst}</dst></layer3>")?;
        write!(f, "<layer4 protonum=\"{}\" protoname=\"{}\">", tuple.protocol, protocol_name(tuple.protocol))?;
        match tuple.protocol {
            proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP | proto::DCCP => {
                write!(f, "<sport>{}</sport><dport>{}</dport>", tuple.src_id, tuple.dst_id)?;
            }
            proto::GRE => {
                write!(f, "<srckey>0x{:x}</srckey><dstkey>0x{:x}</dstkey>", tuple.src_id, tuple.dst_id)?;
            }
            _ => {}
        }
        f.write_str("</layer4>")?;
        if let Some(counters) = self.counters(record) {
            let counter = counters[direction.index()];
            write!(f, "<counters><packets>{}</packets><bytes>{}</bytes></counters>", counter.packets, counter.bytes)?;
        }
        let zone = record.zone;
        let zone = if zone.original == zone.reply { 0 } else { zone.of(direction) };
        if zone != 0 {
            write!(f, "<zone>{zone}</zone>")?;
        }
        Ok(())
    }

    fn json(&self, f: &mut String, record: &Record) -> fmt::Result {
        f.write_char('{')?;
        if let Some(happening) = self.happening {
            let word = match happening {
                Happening::New => "new",
                Happening::Update => "update",
                Happening::Destroy => "destroy",
            };
            write!(f, "\"event\":\"{word}\",\"time\":{}.{:06},", self.wall.secs(), micros(self.wall))?;
        }
        let protocol = record.protocol();
        write!(
            f,
            "\"id\":{},\"family\":\"{}\",\"protocol\":\"{}\",\"protonum\":{protocol},\"timeout\":{}",
            record.number,
            layer3(record.family()).1,
            protocol_name(protocol),
            record.left.as_secs()
        )?;
        if let Some(state) = record.state_text() {
            write!(f, ",\"state\":\"{state}\"")?;
        }
        for (direction, name) in [(Direction::Original, "original"), (Direction::Reply, "reply")] {
            let tuple = record.tuple(direction);
            let (src, dst) = (tuple.src.display(tuple.family), tuple.dst.display(tuple.family));
            write!(f, ",\"{name}\":{{\"src\":\"{src}\",\"dst\":\"{dst}\"")?;
            match protocol {
                proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => {
                    write!(f, ",\"sport\":{},\"dport\":{}", tuple.src_id, tuple.dst_id)?;
                }
                proto::ICMP | proto::ICMPV6 => {
                    let (kind, code) = tuple.icmp_type_code();
                    write!(f, ",\"type\":{kind},\"code\":{code},\"id\":{}", tuple.src_id)?;
                }
                proto::GRE => write!(f, ",\"srckey\":{},\"dstkey\":{}", tuple.src_id, tuple.dst_id)?,
                _ => {}
            }
            if let Some(counters) = record.counters {
                let counter = counters[direction.index()];
                write!(f, ",\"packets\":{},\"bytes\":{}", counter.packets, counter.bytes)?;
            }
            write!(f, ",\"zone\":{}}}", record.zone.of(direction))?;
        }
        let has = |status| record.status.has(status);
        write!(
            f,
            ",\"seen_reply\":{},\"assured\":{},\"expected\":{},\"snat\":{},\"dnat\":{},\"mark\":{}",
            has(Status::SEEN_REPLY),
            has(Status::ASSURED),
            has(Status::EXPECTED),
            has(Status::SRC_NAT),
            has(Status::DST_NAT),
            record.mark
        )?;
        if let Some(labels) = record.labels.filter(|labels| *labels != 0) {
            let set = (0..128u32).filter(|bit| labels >> bit & 1 != 0);
            let names: Vec<String> = set
                .map(|bit| self.names.name(NameKind::ConnLabel, bit).unwrap_or_else(|| bit.to_string()))
                .map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            write!(f, ",\"labels\":[{}]", names.join(","))?;
        }
        if let Some(helper) = record.helper {
            write!(f, ",\"helper\":\"{helper}\"")?;
        }
        if let Some(at) = record.confirmed_at.filter(|at| at.0 != 0) {
            write!(f, ",\"start\":{}.{:06}", at.secs(), micros(at))?;
        }
        f.write_char('}')
    }
}

/// The text of an expectation.
pub(super) fn expectation(record: &ExpectRecord, output: Output, happening: Option<Happening>, wall: Wall) -> String {
    let mut out = String::new();
    let written = if output.json {
        expectation_json(&mut out, record)
    } else if output.xml {
        expectation_xml(&mut out, record, output, happening, wall)
    } else {
        expectation_line(&mut out, record, output, happening, wall)
    };
    debug_assert!(written.is_ok(), "a String takes everything");
    out
}

fn expectation_line(
    f: &mut String,
    record: &ExpectRecord,
    output: Output,
    happening: Option<Happening>,
    wall: Wall,
) -> fmt::Result {
    if output.timestamp {
        stamp(f, wall)?;
    }
    match happening {
        Some(Happening::New) => f.write_str("    [NEW] ")?,
        Some(Happening::Update) => f.write_str(" [UPDATE] ")?,
        Some(Happening::Destroy) => f.write_str("[DESTROY] ")?,
        None => {}
    }
    write!(f, "{} proto={} ", record.left.as_secs(), record.tuple.protocol)?;
    tuple(f, &record.tuple)?;
    let mask = mask_tuple(record);
    write!(f, "mask-src={} mask-dst={} ", mask.src.display(mask.family), mask.dst.display(mask.family))?;
    ids(f, &mask)?;
    let master = &record.master.tuple;
    write!(f, "master-src={} master-dst={} ", master.src.display(master.family), master.dst.display(master.family))?;
    ids(f, master)?;
    if record.master.zone.id() != 0 {
        write!(f, "zone={} ", record.master.zone.id())?;
    }
    if record.is_permanent {
        f.write_str("PERMANENT ")?;
    }
    if record.is_inactive {
        f.write_str("INACTIVE ")?;
    }
    write!(f, "class={} ", record.class)?;
    if let Some(helper) = record.helper {
        write!(f, "helper={helper} ")?;
    }
    f.truncate(f.trim_end().len());
    Ok(())
}

/// The destination of an expectation counts wholly.
fn mask_tuple(record: &ExpectRecord) -> Tuple {
    let family = record.tuple.family;
    Tuple {
        src: record.mask.addr,
        dst: family.mask(family.bits()),
        src_id: record.mask.id,
        dst_id: u16::MAX,
        ..record.tuple
    }
}

fn expectation_xml(
    f: &mut String,
    record: &ExpectRecord,
    output: Output,
    happening: Option<Happening>,
    wall: Wall,
) -> fmt::Result {
    f.write_str(match happening {
        None => "<flow>",
        Some(Happening::New) => "<flow type=\"new\">",
        Some(Happening::Update) => "<flow type=\"update\">",
        Some(Happening::Destroy) => "<flow type=\"destroy\">",
    })?;
    let family = record.tuple.family;
    let (number, name) = layer3(family);
    let parts = [("expected", record.tuple), ("mask", mask_tuple(record)), ("master", record.master.tuple)];
    write!(f, "<layer3 protonum=\"{number}\" protoname=\"{name}\">")?;
    for (part, tuple) in &parts {
        let (src, dst) = (tuple.src.display(family), tuple.dst.display(family));
        write!(f, "<{part}><src>{src}</src><dst>{dst}</dst></{part}>")?;
    }
    let protocol = record.tuple.protocol;
    write!(f, "</layer3><layer4 protonum=\"{protocol}\" protoname=\"{}\">", protocol_name(protocol))?;
    for (part, tuple) in &parts {
        write!(f, "<{part}><sport>{}</sport><dport>{}</dport></{part}>", tuple.src_id, tuple.dst_id)?;
    }
    f.write_str("</layer4><meta>")?;
    if let Some(helper) = record.helper {
        write!(f, "<helper-name>{helper}</helper-name>")?;
    }
    write!(f, "<timeout>{}</timeout><class>{}</class>", record.left.as_secs(), record.class)?;
    if output.timestamp {
        when(f, wall)?;
    }
    f.write_str("</meta></flow>")
}

fn expectation_json(f: &mut String, record: &ExpectRecord) -> fmt::Result {
    let family = record.tuple.family;
    let protocol = record.tuple.protocol;
    write!(f, "{{\"family\":\"{}\",\"protonum\":{protocol},\"timeout\":{}", layer3(family).1, record.left.as_secs())?;
    for (part, tuple) in [("expected", record.tuple), ("mask", mask_tuple(record)), ("master", record.master.tuple)] {
        let (src, dst) = (plain(family, tuple.src), plain(family, tuple.dst));
        write!(
            f,
            ",\"{part}\":{{\"src\":\"{src}\",\"dst\":\"{dst}\",\"sport\":{},\"dport\":{}}}",
            tuple.src_id, tuple.dst_id
        )?;
    }
    write!(f, ",\"class\":{}", record.class)?;
    if let Some(helper) = record.helper {
        write!(f, ",\"helper\":\"{helper}\"")?;
    }
    f.write_char('}')
}

/// The words of `-o save` for the protocol.
fn save_protocol(f: &mut String, record: &Record) -> fmt::Result {
    let [original, reply] = &record.tuples;
    match record.protocol() {
        number @ (proto::ICMP | proto::ICMPV6) => {
            let name = protocol_name(number);
            let (kind, code) = original.icmp_type_code();
            write!(f, "-p {name} --{name}-type {kind} --{name}-code {code} --{name}-id {} ", original.src_id)?;
        }
        number @ (proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP) => {
            write!(f, "-p {} ", protocol_name(number))?;
            write!(f, "--sport {} --dport {} ", original.src_id, original.dst_id)?;
            write!(f, "--reply-port-src {} --reply-port-dst {} ", reply.src_id, reply.dst_id)?;
        }
        proto::GRE => {
            write!(f, "-p gre --srckey {} --dstkey {} ", original.src_id, original.dst_id)?;
            write!(f, "--reply-key-src {} --reply-key-dst {} ", reply.src_id, reply.dst_id)?;
        }
        proto::DCCP => f.write_str("-p dccp ")?,
        other => write!(f, "-p {other} ")?,
    }
    if let Some(state) = record.state_text() {
        write!(f, "--state {state} ")?;
    }
    if let [Some(original), Some(reply)] = tags(record) {
        write!(f, "--orig-vtag {original} --reply-vtag {reply} ")?;
    }
    Ok(())
}

/// The status of `-o save`.
fn status_words(status: Status) -> String {
    const WORDS: [(Status, &str); 4] = [
        (Status::EXPECTED, "EXPECTED"),
        (Status::SEEN_REPLY, "SEEN_REPLY"),
        (Status::ASSURED, "ASSURED"),
        (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    ];
    let words: Vec<&str> = WORDS.iter().filter(|(bit, _)| status.has(*bit)).map(|(_, word)| *word).collect();
    if words.is_empty() { "UNSET".to_owned() } else { words.join(",") }
}

fn layer3(family: Family) -> (u8, &'static str) {
    match family {
        Family::V4 => (2, "ipv4"),
        Family::V6 => (10, "ipv6"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn micros(wall: Wall) -> u64 {
    wall.0 / 1000 % 1_000_000
}

fn stamp(f: &mut String, wall: Wall) -> fmt::Result {
    write!(f, "[{}.{:<6}]\t", wall.secs(), micros(wall))
}

/// The parts of a day and time, in UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    /// 0 is Sunday.
    weekday: u64,
}

impl Civil {
    fn of(wall: Wall) -> Civil {
        let (days, secs) = (wall.secs() / 86_400, wall.secs() % 86_400);
        // Days are counted from 1 March of the year 0, so that the leap day is the last of its year.
        let day = days + 719_468;
        let (era, of_era) = (day / 146_097, day % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        Civil {
            year: year + era * 400 + u64::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
            day: of_year - (153 * month + 2) / 5 + 1,
            hour: secs / 3600,
            minute: secs / 60 % 60,
            second: secs % 60,
            weekday: (days + 4) % 7,
        }
    }
}

/// As `ctime` writes it, in UTC.
fn calendar(wall: Wall) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Civil { year, month, day, hour, minute, second, weekday } = Civil::of(wall);
    let name = |list: &[&'static str], n: u64| list.get(n as usize).copied().unwrap_or_default();
    format!(
        "{} {} {day:>2} {hour:02}:{minute:02}:{second:02} {year}",
        name(&DAYS, weekday),
        name(&MONTHS, month.saturating_sub(1))
    )
}

/// `<when>`: the moment of printing.
fn when(f: &mut String, wall: Wall) -> fmt::Result {
    let Civil { year, month, day, hour, minute, second, weekday } = Civil::of(wall);
    write!(
        f,
        "<when><hour>{hour}</hour><min>{minute:02}</min><sec>{second:02}</sec><wday>{}</wday><day>{day}</day>\
         <month>{month}</month><year>{year}</year></when>",
        weekday + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_days() {
        for (secs, text) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (1_795_690_770, "Thu Nov 26 10:59:30 2026"),
            (4_102_444_799, "Thu Dec 31 23:59:59 2099"),
        ] {
            assert_eq!(calendar(Wall(secs * 1_000_000_000)), text);
        }
    }
}
