//! Listings: plain, save, xml and json.

use super::icmp::{ICMP, ICMPV6, name};
use super::sort::compare;
use super::syntax::{Action, Opt, create_opts, entry_opts};
use crate::json::text;
use hairpin_engine::set::{Elem, Entry, Kind, Neighbour, Part, Range, Set, Sets, Shown};
use hairpin_engine::time::Instant;
use hairpin_wire::{Addr, Family, proto};
use hairpin_xt::option::{NameKind, Names};
use std::fmt::Write;

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Plain,
    /// As the commands that make the sets.
    Save,
    /// As XML.
    Xml,
    /// As JSON, in the way of ipset 7.22: it does not escape quotes.
    Json,
    /// As JSON for programs: `--json`, hairpin's addition.
    TrueJson,
}

/// Writes listings.
#[derive(Clone, Copy, Debug)]
pub struct Printer<'a> {
    /// How.
    pub form: Form,
    /// Elements in order.
    pub sorted: bool,
    /// Only names.
    pub names_only: bool,
    /// Only names and headers.
    pub headers_only: bool,
    /// Addresses by the names of hosts.
    pub resolve: bool,
    /// What names there are.
    pub names: &'a dyn Names,
    /// When.
    pub now: Instant,
}

impl Printer<'_> {
    /// The listing of these sets.
    pub fn print<'s>(&self, sets: &Sets, listed: impl Iterator<Item = (&'s str, &'s Set)>) -> String {
        let mut out = String::new();
        let listed: Vec<(&str, &Set)> = listed.collect();
        if self.form == Form::TrueJson {
            let sets: Vec<String> = listed.iter().map(|(name, set)| self.true_json(sets, name, set)).collect();
            return format!("[{}]\n", sets.join(","));
        }
        match self.form {
            Form::Xml => out.push_str("<ipsets>\n"),
            Form::Json => out.push_str("[\n"),
            Form::Plain | Form::Save | Form::TrueJson => {}
        }
        for (n, (name, set)) in listed.iter().enumerate() {
            let is_last = n + 1 == listed.len();
            match self.form {
                Form::Save => self.save(&mut out, sets, name, set),
                _ if self.names_only => self.name(&mut out, name, is_last),
                Form::Plain => self.plain(&mut out, sets, name, set, n == 0),
                Form::Xml => self.xml(&mut out, sets, name, set),
                Form::Json => self.json(&mut out, sets, name, set, is_last),
                Form::TrueJson => {}
            }
        }
        match self.form {
            Form::Xml => out.push_str("</ipsets>\n"),
            Form::Json if listed.is_empty() => out.push_str("\n]\n"),
            Form::Json => out.push_str("]\n"),
            Form::Plain | Form::Save | Form::TrueJson => {}
        }
        out
    }

    fn name(&self, out: &mut String, name: &str, is_last: bool) {
        let _ = match self.form {
            Form::Xml => writeln!(out, "<ipset name=\"{name}\"/>"),
            Form::Json => writeln!(out, "  {{ \"name\" : \"{name}\" }}{}", if is_last { "" } else { "," }),
            Form::Plain | Form::Save | Form::TrueJson => writeln!(out, "{name}"),
        };
    }

    fn plain(&self, out: &mut String, sets: &Sets, name: &str, set: &Set, is_first: bool) {
        if !is_first {
            out.push('\n');
        }
        let kind = set.kind();
        let _ = writeln!(out, "Name: {name}\nType: {kind}\nRevision: {}", kind.revision());
        let header: Vec<String> = self.header(set).iter().map(Field::plain).collect();
        let _ = writeln!(out, "Header: {}", header.join(" "));
        let _ = writeln!(out, "Size in memory: {}\nReferences: {}", set.memory(), sets.references(name));
        let _ = writeln!(out, "Number of entries: {}", set.len(self.now));
        if !self.headers_only {
            out.push_str("Members:\n");
            for member in self.members(sets, set) {
                let _ = writeln!(out, "{}", member.plain());
            }
        }
    }

    fn save(&self, out: &mut String, sets: &Sets, name: &str, set: &Set) {
        let header: Vec<String> = self.header(set).iter().map(Field::plain).collect();
        let _ = writeln!(out, "create {name} {} {}", set.kind(), header.join(" "));
        for member in self.members(sets, set) {
            let _ = writeln!(out, "add {name} {}", member.plain());
        }
    }

    fn xml(&self, out: &mut String, sets: &Sets, name: &str, set: &Set) {
        let kind = set.kind();
        let _ = write!(out, "<ipset name=\"{name}\">\n<type>{kind}</type>\n<revision>{}</revision>\n", kind.revision());
        let header: String = self.header(set).iter().map(Field::xml).collect();
        let _ = write!(out, "<header>{header}\n<memsize>{}</memsize>\n", set.memory());
        let (references, entries) = (sets.references(name), set.len(self.now));
        let _ = write!(out, "<references>{references}</references>\n<numentries>{entries}</numentries>\n</header>\n");
        if !self.headers_only {
            out.push_str("<members>\n");
            for member in self.members(sets, set) {
                let fields: String = member.fields.iter().map(Field::xml).collect();
                let _ = writeln!(out, "<member><elem>{}</elem>{fields}</member>", member.elem);
            }
            out.push_str("</members>\n");
        }
        out.push_str("</ipset>\n");
    }

    fn json(&self, out: &mut String, sets: &Sets, name: &str, set: &Set, is_last: bool) {
        let kind = set.kind();
        let _ = write!(out, "  {{\n    \"name\" : \"{name}\",\n    \"type\" : \"{kind}\",\n");
        let _ = write!(out, "    \"revision\" : {},\n    \"header\" : {{\n", kind.revision());
        for field in self.header(set) {
            let _ = writeln!(out, "      {},", field.json());
        }
        let (memory, references) = (set.memory(), sets.references(name));
        let _ = write!(out, "      \"memsize\" : {memory},\n      \"references\" : {references},\n");
        let _ = write!(out, "      \"numentries\" : {}\n    }},\n", set.len(self.now));
        if self.headers_only {
            // The comma before and the indent are its own.
            let _ = writeln!(out, "    }}{}", if is_last { "" } else { "," });
            return;
        }
        out.push_str("    \"members\" : [\n");
        let members = self.members(sets, set);
        for (n, member) in members.iter().enumerate() {
            let _ = write!(out, "      {{\n        \"elem\" : \"{}\"", member.quoted);
            for field in &member.fields {
                let _ = write!(out, ",\n        {}", field.json());
            }
            let _ = writeln!(out, "\n      }}{}", if n + 1 == members.len() { "" } else { "," });
        }
        let _ = writeln!(out, "    ]\n  }}{}", if is_last { "" } else { "," });
    }

    fn true_json(&self, sets: &Sets, name: &str, set: &Set) -> String {
        if self.names_only {
            return format!("{{\"name\":{}}}", text(name));
        }
        let header: Vec<String> = self.header(set).iter().map(Field::true_json).collect();
        let mut out = format!(
            "{{\"name\":{},\"type\":{},\"revision\":{},\"header\":{{{}}},\"memsize\":{},\"references\":{},\"numentries\":{}",
            text(name),
            text(&set.kind().to_string()),
            set.kind().revision(),
            header.join(","),
            set.memory(),
            sets.references(name),
            set.len(self.now)
        );
        if !self.headers_only {
            let member = |member: Member| {
                let fields = member.fields.iter().map(Field::true_json);
                let all: Vec<String> =
                    std::iter::once(format!("\"elem\":{}", text(&member.elem))).chain(fields).collect();
                format!("{{{}}}", all.join(","))
            };
            let members: Vec<String> = self.members(sets, set).into_iter().map(member).collect();
            let _ = write!(out, ",\"members\":[{}]", members.join(","));
        }
        out + "}"
    }

    /// The options with which a set can be made again.
    fn header(&self, set: &Set) -> Vec<Field> {
        let options = set.options();
        let mut fields = Vec::new();
        for opt in create_opts(set.kind()) {
            let name = opt.name();
            let number = |n: Option<u64>| n.map(|n| Field::raw(name, n.to_string()));
            let flag = |is_on: bool| is_on.then(|| Field::flag(name));
            fields.extend(match opt {
                Opt::Range => match options.range {
                    Some(Range::Addresses { from, to: Some(to), .. }) => {
                        let text = |addr: Addr| addr.display(Family::V4).to_string();
                        Some(Field::text(name, format!("{}-{}", text(from), text(to))))
                    }
                    Some(Range::Ports(from, to)) => Some(Field::raw(name, format!("{from}-{to}"))),
                    _ => None,
                },
                Opt::Family => {
                    options.family.map(|f| Field::text(name, if f == Family::V4 { "inet" } else { "inet6" }.to_owned()))
                }
                Opt::Markmask => options.markmask.map(|m| Field::text(name, format!("0x{m:08x}"))),
                Opt::Hashsize => number(set.hashsize().map(u64::from)),
                Opt::Maxelem => number(options.maxelem.map(u64::from)),
                Opt::Netmask => number(options.netmask.map(u64::from)),
                Opt::Bitmask => options.bitmask.map(|m| {
                    let family = options.family.unwrap_or(Family::V4);
                    Field::text(name, m.display(family).to_string())
                }),
                Opt::Timeout => number(options.timeout.map(u64::from)),
                Opt::Counters => flag(options.counters),
                Opt::Comment => flag(options.comment),
                Opt::Skbinfo => flag(options.skbinfo),
                Opt::Bucketsize => number(set.bucketsize().map(u64::from)),
                Opt::Initval => options.initval.map(|n| Field::text(name, format!("0x{n:08x}"))),
                Opt::Size => number(options.size.map(u64::from)),
                _ => None,
            });
        }
        fields
    }

    fn members(&self, sets: &Sets, set: &Set) -> Vec<Member> {
        let opts = entry_opts(set.kind(), Action::Add);
        let family = set.options().family.unwrap_or(Family::V4);
        let of_sets = sets.members(set, self.now).map(|(name, shown)| Member {
            elem: name.to_owned(),
            quoted: name.to_owned(),
            fields: fields(&opts, false, &shown),
        });
        let words = |elem: &Elem, quote| elem_words(set.kind(), family, elem, quote, self.resolve, Some(self.names));
        let of_elements = set.elements(self.now).map(|(elem, shown)| Member {
            elem: words(&elem, ""),
            quoted: words(&elem, "\""),
            fields: fields(&opts, elem.wildcard, &shown),
        });
        let mut members: Vec<Member> = of_sets.chain(of_elements).collect();
        if self.sorted && set.kind() != Kind::ListSet {
            members.sort_by_cached_key(|m| Sorted(m.plain()));
        }
        members
    }
}

/// The text of an element by the order of `-sorted`.
#[derive(PartialEq, Eq)]
struct Sorted(String);

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Sorted) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, other: &Sorted) -> std::cmp::Ordering {
        compare(&self.0, &other.0)
    }
}

struct Member {
    elem: String,
    /// The element as JSON has it: addresses in quotes within the quotes.
    quoted: String,
    fields: Vec<Field>,
}

impl Member {
    fn plain(&self) -> String {
        let mut text = self.elem.clone();
        for field in &self.fields {
            text.push(' ');
            text.push_str(&field.plain());
        }
        text
    }
}

/// A word and its value.
struct Field {
    name: &'static str,
    value: Option<String>,
    /// JSON has it in quotes.
    is_text: bool,
}

impl Field {
    fn raw(name: &'static str, value: String) -> Field {
        Field { name, value: Some(value), is_text: false }
    }

    fn text(name: &'static str, value: String) -> Field {
        Field { name, value: Some(value), is_text: true }
    }

    fn flag(name: &'static str) -> Field {
        Field { name, value: None, is_text: false }
    }

    fn plain(&self) -> String {
        match &self.value {
            Some(value) => format!("{} {value}", self.name),
            None => self.name.to_owned(),
        }
    }

    fn xml(&self) -> String {
        match &self.value {
            Some(value) => format!("<{0}>{value}</{0}>", self.name),
            None => format!("<{}/>", self.name),
        }
    }

    fn json(&self) -> String {
        match &self.value {
            Some(value) if self.is_text => format!("\"{}\" : \"{value}\"", self.name),
            Some(value) => format!("\"{}\" : {value}", self.name),
            None => format!("\"{}\" : true", self.name),
        }
    }

    /// Numbers bare, other values as texts without quotes of their own.
    fn true_json(&self) -> String {
        let value = match &self.value {
            Some(value) if !self.is_text && value.bytes().all(|b| b.is_ascii_digit()) => value.clone(),
            Some(value) => text(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)),
            None => "true".to_owned(),
        };
        format!("\"{}\":{value}", self.name)
    }
}

/// What an entry carries.
fn fields(opts: &[Opt], wildcard: bool, shown: &Shown<'_>) -> Vec<Field> {
    let mut fields = Vec::new();
    for opt in opts {
        let name = opt.name();
        let number = |n: Option<u64>| n.map(|n| Field::raw(name, n.to_string()));
        let info = shown.skbinfo.unwrap_or_default();
        fields.extend(match opt {
            Opt::Timeout => number(shown.timeout.map(u64::from)),
            Opt::Nomatch => shown.nomatch.then(|| Field::flag(name)),
            Opt::Wildcard => wildcard.then(|| Field::flag(name)),
            Opt::Packets => number(shown.counter.map(|c| c.packets)),
            Opt::Bytes => number(shown.counter.map(|c| c.bytes)),
            // Its quotes are its own in every form.
            Opt::EntryComment => shown.comment.map(|text| Field::raw(name, format!("\"{text}\""))),
            Opt::Skbmark if (info.mark, info.mask) == (0, 0) => None,
            Opt::Skbmark if info.mask == u32::MAX => Some(Field::raw(name, format!("0x{:x}", info.mark))),
            Opt::Skbmark => Some(Field::raw(name, format!("0x{:x}/0x{:x}", info.mark, info.mask))),
            Opt::Skbprio if info.prio == 0 => None,
            Opt::Skbprio => Some(Field::raw(name, format!("{:x}:{:x}", info.prio >> 16, info.prio & 0xffff))),
            Opt::Skbqueue if info.queue == 0 => None,
            Opt::Skbqueue => Some(Field::raw(name, info.queue.to_string())),
            _ => None,
        });
    }
    fields
}

/// An element in numbers only.
pub(super) fn element_numbers(kind: Kind, family: Family, elem: &Elem) -> String {
    elem_words(kind, family, elem, "", false, None)
}

/// An element as listings have it; without names in numbers.
fn elem_words(
    kind: Kind,
    family: Family,
    elem: &Elem,
    quote: &str,
    resolve: bool,
    names: Option<&dyn Names>,
) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut addresses = 0;
    for part in kind.parts() {
        match part {
            Part::Ip | Part::Net => {
                let (ip, cidr) = if addresses == 0 { (elem.ip, elem.cidr) } else { (elem.ip2, elem.cidr2) };
                addresses += 1;
                let host = names.filter(|_| resolve).and_then(|names| names.host_name(family, ip));
                let ip = host.unwrap_or_else(|| ip.display(family).to_string());
                words.push(match part {
                    Part::Net if cidr != family.bits() => format!("{quote}{ip}/{cidr}{quote}"),
                    _ => format!("{quote}{ip}{quote}"),
                });
            }
            Part::Port if kind == Kind::BitmapPort => words.push(elem.port.to_string()),
            Part::Port => words.push(port_words(elem.proto, elem.port, names)),
            Part::Mac => words.extend(elem.mac.map(|mac| mac.to_string())),
            Part::Mark => words.push(format!("0x{:08x}", elem.mark)),
            Part::Iface => words.push(format!("{}{}", if elem.physdev { "physdev:" } else { "" }, elem.iface)),
            Part::Set => {}
        }
    }
    words.join(",")
}

/// Protocols that have a name even where the system's list is missing.
const PROTOCOLS: &[(u8, &str)] = &[
    (proto::ICMP, "icmp"),
    (proto::TCP, "tcp"),
    (proto::UDP, "udp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (proto::ICMPV6, "ipv6-icmp"),
    (proto::SCTP, "sctp"),
    (proto::UDPLITE, "udplite"),
];

/// Protocol and port, or the name of an ICMP type.
fn port_words(protocol: u8, port: u16, names: Option<&dyn Names>) -> String {
    let well_known = || PROTOCOLS.iter().find(|(number, _)| *number == protocol).map(|(_, name)| (*name).to_owned());
    let name_of = names.and_then(|n| n.name(NameKind::Protocol, u32::from(protocol)).or_else(well_known));
    let protocol_word = name_of.unwrap_or_else(|| protocol.to_string());
    let list = match protocol {
        proto::ICMP => ICMP,
        proto::ICMPV6 => ICMPV6,
        _ => return format!("{protocol_word}:{port}"),
    };
    match name(list, port) {
        Some(name) => format!("{protocol_word}:{name}"),
        None => format!("{protocol_word}:{}/{}", port >> 8, port & 0xff),
    }
}

/// An address, a network or a range.
pub(super) fn addresses(family: Family, ip: Option<Addr>, cidr: Option<u8>, to: Option<Addr>) -> String {
    let mut text = ip.unwrap_or_default().display(family).to_string();
    if let Some(cidr) = cidr.filter(|c| *c != family.bits()) {
        let _ = write!(text, "/{cidr}");
    }
    if let Some(to) = to {
        let _ = write!(text, "-{}", to.display(family));
    }
    text
}

/// Protocol and port or range of ports in numbers.
pub(super) fn port_number_words(entry: &Entry) -> String {
    let port = entry.port.unwrap_or(0);
    match entry.proto {
        Some(number @ (proto::ICMP | proto::ICMPV6)) => format!("{number}:{}/{}", port >> 8, port & 0xff),
        Some(number) if !matches!(number, proto::TCP | proto::SCTP | proto::UDP | proto::UDPLITE) => {
            format!("{number}:0")
        }
        other => {
            let protocol = other.map_or_else(String::new, |number| format!("{number}:"));
            let to = entry.port_to.map_or_else(String::new, |to| format!("-{to}"));
            format!("{protocol}{port}{to}")
        }
    }
}

/// What was typed, as the answer of `test` repeats it.
pub fn element_text(kind: Kind, family: Option<Family>, entry: &Entry, names: &dyn Names) -> String {
    let family = family.unwrap_or(Family::V4);
    let mut words: Vec<String> = Vec::new();
    let mut seen = false;
    for part in kind.parts() {
        match part {
            Part::Ip | Part::Net if std::mem::replace(&mut seen, true) => {
                words.push(addresses(family, entry.ip2, entry.cidr2, None));
            }
            Part::Ip | Part::Net => words.push(addresses(family, entry.ip, entry.cidr, entry.ip_to)),
            Part::Port if kind == Kind::BitmapPort => words.push(entry.port.unwrap_or(0).to_string()),
            Part::Port => words.push(port_words(entry.proto.unwrap_or(0), entry.port.unwrap_or(0), Some(names))),
            Part::Mac => words.extend(entry.mac.map(|mac| mac.to_string())),
            Part::Mark => words.push(format!("0x{:08x}", entry.mark.unwrap_or(0))),
            Part::Iface => {
                // Whether it is a bridge's port is not said.
                words.push(entry.iface.unwrap_or_default().to_string());
            }
            Part::Set => {
                let mut text = entry.name.clone().unwrap_or_default();
                if let Some(place) = &entry.place {
                    // Both are called so.
                    let (Neighbour::Before(other) | Neighbour::After(other)) = place;
                    let _ = write!(text, " after {other}");
                }
                words.push(text);
            }
        }
    }
    words.join(",")
}
