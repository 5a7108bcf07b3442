//! The command line of `conntrack`, read in order as `getopt_long` reads it: a protocol's options are known only behind its `-p`.

use super::protocols::{self, Field, Protocol};
use super::values::{self, number};
use hairpin_engine::track::Status;
use hairpin_wire::{Addr, Family, proto};
use hairpin_xt::option::{NameKind, Names};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a command line is refused: the text, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) text: String,
    /// 2 for a wrong command line, 1 for anything else.
    pub(super) code: u8,
    /// A line that comes before.
    pub(super) warning: String,
}

pub(super) fn wrong(text: impl Into<String>) -> Refusal {
    Refusal { text: text.into(), code: 2, warning: String::new() }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    List,
    Get,
    Delete,
    Create,
    Add,
    Update,
    Event,
    Flush,
    Count,
    Stats,
    Load,
    Version,
    Help,
}

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Conntrack,
    Expect,
    Dying,
    Unconfirmed,
}

/// Options that are no commands, in the order in which the tool checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opt {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    Proto,
    Timeout,
    Status,
    Zero,
    EventMask,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    Mark,
    Id,
    Family,
    SrcNat,
    DstNat,
    Output,
    Secmark,
    BufferSize,
    AnyNat,
    Zone,
    Label,
    LabelAdd,
    LabelDel,
    OrigZone,
    ReplyZone,
}

use Opt as O;

/// Name in messages, long names, short name, how it takes a value.
const OPTIONS: [(Opt, &str, &[&str], char, Takes); 28] = [
    (O::Src, "src", &["src", "orig-src"], 's', Takes::Value),
    (O::Dst, "dst", &["dst", "orig-dst"], 'd', Takes::Value),
    (O::ReplySrc, "reply-src", &["reply-src"], 'r', Takes::Value),
    (O::ReplyDst, "reply-dst", &["reply-dst"], 'q', Takes::Value),
    (O::Proto, "protonum", &["protonum", "proto"], 'p', Takes::Value),
    (O::Timeout, "timeout", &["timeout"], 't', Takes::Value),
    (O::Status, "status", &["status"], 'u', Takes::Value),
    (O::Zero, "zero", &["zero"], 'z', Takes::Nothing),
    (O::EventMask, "event-mask", &["event-mask"], 'e', Takes::Value),
    (O::TupleSrc, "tuple-src", &["tuple-src"], '\0', Takes::Value),
    (O::TupleDst, "tuple-dst", &["tuple-dst"], '\0', Takes::Value),
    (O::MaskSrc, "mask-src", &["mask-src"], '\0', Takes::Value),
    (O::MaskDst, "mask-dst", &["mask-dst"], '\0', Takes::Value),
    (O::Mark, "mark", &["mark"], 'm', Takes::Value),
    (O::Id, "id", &["id"], 'i', Takes::Value),
    (O::Family, "family", &["family"], 'f', Takes::Value),
    (O::SrcNat, "src-nat", &["src-nat"], 'n', Takes::Perhaps),
    (O::DstNat, "dst-nat", &["dst-nat"], 'g', Takes::Perhaps),
    (O::Output, "output", &["output"], 'o', Takes::Value),
    (O::Secmark, "secmark", &["secmark"], 'c', Takes::Value),
    (O::BufferSize, "buffer-size", &["buffer-size"], 'b', Takes::Value),
    (O::AnyNat, "any-nat", &["any-nat"], 'j', Takes::Perhaps),
    (O::Zone, "zone", &["zone"], 'w', Takes::Value),
    (O::Label, "label", &["label"], 'l', Takes::Value),
    (O::LabelAdd, "label-add", &["label-add"], '<', Takes::Value),
    (O::LabelDel, "label-del", &["label-del"], '>', Takes::Perhaps),
    (O::OrigZone, "orig-zone", &["orig-zone"], '\0', Takes::Value),
    (O::ReplyZone, "reply-zone", &["reply-zone"], '\0', Takes::Value),
];

const COMMANDS: [(Command, &str, char); 13] = [
    (Command::List, "dump", 'L'),
    (Command::Create, "create", 'I'),
    (Command::Add, "add", 'A'),
    (Command::Delete, "delete", 'D'),
    (Command::Update, "update", 'U'),
    (Command::Get, "get", 'G'),
    (Command::Flush, "flush", 'F'),
    (Command::Event, "event", 'E'),
    (Command::Count, "count", 'C'),
    (Command::Stats, "stats", 'S'),
    (Command::Load, "load-file", 'R'),
    (Command::Version, "version", 'V'),
    (Command::Help, "help", 'h'),
];

/// For each command and table whether an option must (1), may (2) or may not (0) be given, in the order of [`Opt`].
fn allowed(command: Command, table: Table) -> [u8; 28] {
    let row = match (command, table) {
        //                                          sdrqptuzetdmmmifngocbjwl+-or
        (Command::List, Table::Expect) => "0000000000000002002000000000",
        (Command::Event, Table::Expect) => "0000000000000000002000000000",
        (Command::Create, Table::Expect) => "1122112001111000000000000000",
        (Command::Get | Command::Delete, Table::Expect) => "1122100000000000000000000000",
        (_, Table::Expect) => "0000000000000000000000000000",
        (Command::List, _) => "2222202200022202222202220022",
        (Command::Create | Command::Add, _) => "2222112000000200220000202022",
        (Command::Update, _) => "2222222000022222222000022200",
        (Command::Delete, _) => "2222222000022222222000220022",
        (Command::Get, _) => "2222100000000020002000000000",
        (Command::Event, _) => "2222200020022202222222220022",
        (Command::Flush, _) => "0000000000000002000000000000",
        _ => "0000000000000000000000000000",
    };
    let mut out = [0; 28];
    out.iter_mut().zip(row.bytes()).for_each(|(to, byte)| *to = byte - b'0');
    out
}

/// How an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// The next word, if it does not begin with a dash.
    Perhaps,
}

/// What is printed of each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) xml: bool,
    pub(super) extended: bool,
    pub(super) timestamp: bool,
    pub(super) id: bool,
    pub(super) ktimestamp: bool,
    pub(super) labels: bool,
    pub(super) userspace: bool,
    pub(super) save: bool,
    pub(super) json: bool,
}

/// An address (and perhaps ports) that NAT is asked or searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NatWish {
    pub(super) addr: Option<Addr>,
    pub(super) ports: Option<(u16, u16)>,
}

/// One side's tuple as far as it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) src: Option<Addr>,
    pub(super) dst: Option<Addr>,
    pub(super) src_id: Option<u16>,
    pub(super) dst_id: Option<u16>,
}

/// A command line, understood.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) table: Table,
    pub(super) given: u32,
    /// IPv4 or IPv6, if `-f` or an address said so.
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<Protocol>,
    pub(super) original: Side,
    pub(super) reply: Side,
    pub(super) masks: [Option<Addr>; 2],
    pub(super) state: Option<u8>,
    pub(super) tags: [Option<u32>; 2],
    pub(super) timeout: Option<u32>,
    pub(super) status: Option<Status>,
    pub(super) mark: Option<(u32, u32)>,
    pub(super) zone: Option<u16>,
    pub(super) zones: [Option<u16>; 2],
    pub(super) id: Option<u32>,
    pub(super) source: NatWish,
    pub(super) destination: NatWish,
    pub(super) labels: Option<u128>,
    pub(super) labels_added: u128,
    /// Some(0): all of them.
    pub(super) labels_removed: Option<u128>,
    pub(super) output: Output,
    /// NEW, UPDATE, DESTROY.
    pub(super) events: [bool; 3],
    /// Lines for standard error that come before everything.
    pub(super) warnings: String,
    /// The file of `-R`.
    pub(super) file: Option<String>,
}

impl Request {
    pub(super) fn has(&self, opt: Opt) -> bool {
        self.given >> opt as u8 & 1 != 0
    }
}

/// Reads a command line.
pub(super) fn parse(words: &[String], names: &dyn Names) -> Result<Request, Refusal> {
    let mut reader = Reader { words, at: 0, cluster: 0, names, command: None, request: blank(), fields: 0 };
    if let Err(mut refusal) = reader.read() {
        refusal.warning = std::mem::take(&mut reader.request.warnings);
        return Err(refusal);
    }
    let warnings = reader.request.warnings.clone();
    reader.finish().map_err(|refusal| Refusal { warning: warnings, ..refusal })
}

fn blank() -> Request {
    Request {
        command: Command::Help,
        table: Table::Conntrack,
        given: 0,
        family: None,
        protocol: None,
        original: Side::default(),
        reply: Side::default(),
        masks: [None; 2],
        state: None,
        tags: [None; 2],
        timeout: None,
        status: None,
        mark: None,
        zone: None,
        zones: [None; 2],
        id: None,
        source: NatWish::default(),
        destination: NatWish::default(),
        labels: None,
        labels_added: 0,
        labels_removed: None,
        output: Output::default(),
        events: [true; 3],
        warnings: String::new(),
        file: None,
    }
}

enum Known {
    Command(Command),
    Option(Opt, Takes),
    /// `-a`, of long ago.
    NatRange,
    Field(Field),
}

struct Reader<'a> {
    words: &'a [String],
    at: usize,
    cluster: usize,
    names: &'a dyn Names,
    command: Option<Command>,
    request: Request,
    /// The protocol's own options that were given.
    fields: u32,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), Refusal> {
        while let Some(word) = self.words.get(self.at) {
            let word: &'a str = word;
            if let Some(long) = word.strip_prefix("--").filter(|_| self.cluster == 0) {
                self.at += 1;
                if long.is_empty() {
                    return Ok(());
                }
                let (name, attached) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let known = self.long(name).ok_or_else(|| wrong(format!("unknown option `{word}'")))?;
                self.take(known, word, attached)?;
            } else if word.starts_with('-') && word.len() > 1 {
                self.short(word)?;
            } else {
                // A word that nobody asked for; the tool ignores it.
                self.at += 1;
            }
        }
        Ok(())
    }

    /// One letter of a cluster.
    fn short(&mut self, word: &'a str) -> Result<(), Refusal> {
        let start = self.cluster.max(1);
        let rest = word.get(start..).unwrap_or_default();
        let mut letters = rest.chars();
        let letter = letters.next().unwrap_or_default();
        let behind = letters.as_str();
        let known = if letter == 'a' {
            Known::NatRange
        } else if let Some((command, ..)) = COMMANDS.iter().find(|(.., short)| *short == letter) {
            Known::Command(*command)
        } else if let Some((opt, .., takes)) =
            OPTIONS.iter().find(|(_, _, _, short, _)| *short == letter && letter > ' ')
        {
            Known::Option(*opt, *takes)
        } else {
            return Err(wrong(format!("unknown option `{word}'")));
        };
        let takes_rest = match known {
            // Their table may follow attached, and is then ignored.
            Known::Command(Command::Version | Command::Help | Command::Stats) => false,
            Known::Command(_) | Known::NatRange => true,
            Known::Option(_, takes) => takes != Takes::Nothing,
            Known::Field(_) => false,
        };
        let attached = (takes_rest && !behind.is_empty()).then_some(behind);
        if takes_rest || behind.is_empty() {
            self.cluster = 0;
            self.at += 1;
        } else {
            self.cluster = start + letter.len_utf8();
        }
        self.take(known, &word[..start + letter.len_utf8()], attached)
    }

    fn long(&self, name: &str) -> Option<Known> {
        let fields = self.request.protocol.map_or(&[][..], |protocol| protocols::fields(protocol));
        let commands = COMMANDS.iter().map(|(command, long, _)| (*long, Known::Command(*command)));
        let options = OPTIONS
            .iter()
            .flat_map(|(opt, _, longs, _, takes)| longs.iter().map(|l| (*l, Known::Option(*opt, *takes))));
        let nat_range = std::iter::once(("nat-range", Known::NatRange));
        let own = fields.iter().map(|(field, long)| (*long, Known::Field(*field)));
        let mut fitting: Vec<(&str, Known)> =
            commands.chain(options).chain(nat_range).chain(own).filter(|(long, _)| long.starts_with(name)).collect();
        let exact = fitting.iter().position(|(long, _)| *long == name);
        match (exact, fitting.len()) {
            (Some(at), _) => Some(fitting.swap_remove(at).1),
            (None, 1) => fitting.pop().map(|(_, known)| known),
            _ => None,
        }
    }

    /// The value of the option that was just read.
    fn value(&mut self, word: &str, attached: Option<&'a str>) -> Result<&'a str, Refusal> {
        if let Some(value) = attached {
            return Ok(value);
        }
        let next = self.words.get(self.at).ok_or_else(|| wrong(format!("option `{word}' requires an argument")))?;
        self.at += 1;
        Ok(next)
    }

    /// The next word if it is not an option.
    fn next_word(&mut self) -> Option<&'a str> {
        let next: &'a str = self.words.get(self.at)?;
        if next.starts_with('-') {
            return None;
        }
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, known: Known, word: &str, attached: Option<&'a str>) -> Result<(), Refusal> {
        match known {
            Known::Command(command) => self.command(command, word, attached),
            Known::NatRange => {
                self.value(word, attached)?;
                self.request.warnings += "WARNING: ignoring -a, deprecated option.\n";
                Ok(())
            }
            Known::Field(field) => {
                let value = self.value(word, attached)?;
                self.fields |= 1 << field as u8;
                self.field(field, value)
            }
            Known::Option(opt, takes) => {
                let value = match takes {
                    Takes::Nothing => None,
                    Takes::Value => Some(self.value(word, attached)?),
                    // The tool does not look at what is attached.
                    Takes::Perhaps => self.next_word(),
                };
                self.request.given |= 1 << opt as u8;
                self.option(opt, value)
            }
        }
    }

    fn command(&mut self, command: Command, word: &str, attached: Option<&'a str>) -> Result<(), Refusal> {
        if self.command.is_some_and(|old| old != command) {
            return Err(wrong("Invalid commands combination"));
        }
        self.command = Some(command);
        match command {
            Command::Load => {
                self.request.file =
                    Some(self.value(word, attached).map_err(|_| wrong("unknown option `-R'"))?.to_owned())
            }
            Command::Version | Command::Help => {}
            _ => {
                if attached.is_none()
                    && let Some(name) = self.next_word()
                {
                    self.request.table = match name {
                        "conntrack" => Table::Conntrack,
                        "expect" => Table::Expect,
                        "dying" => Table::Dying,
                        "unconfirmed" => Table::Unconfirmed,
                        _ => return Err(wrong(format!("unknown type `{name}'"))),
                    };
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: Field, value: &str) -> Result<(), Refusal> {
        let request = &mut self.request;
        let id = match request.protocol {
            // Keys may be hexadecimal.
            Some(Protocol(proto::GRE)) => number(value) as u16,
            _ => values::decimal(value) as u16,
        };
        match field {
            Field::SrcId => request.original.src_id = Some(id),
            Field::DstId => request.original.dst_id = Some(id),
            Field::ReplySrcId => request.reply.src_id = Some(id),
            Field::ReplyDstId => request.reply.dst_id = Some(id),
            Field::IcmpType => {
                let code = request.original.dst_id.unwrap_or_default() & 0xff;
                request.original.dst_id = Some((id & 0xff) << 8 | code);
            }
            Field::IcmpCode => {
                let kind = request.original.dst_id.unwrap_or_default() & 0xff00;
                request.original.dst_id = Some(kind | id & 0xff);
            }
            Field::IcmpId => request.original.src_id = Some(id),
            Field::State => {
                let protocol = request.protocol.unwrap_or(Protocol::TCP);
                request.state = Some(protocols::state(protocol, value).map_err(wrong)?);
            }
            Field::OrigTag => request.tags[0] = Some(number(value)),
            Field::ReplyTag => request.tags[1] = Some(number(value)),
            // The kernel knows no DCCP any more; masks and tuples of expectations are refused later.
            Field::Role | Field::MaskSrcId | Field::MaskDstId | Field::TupleSrcId | Field::TupleDstId => {}
        }
        Ok(())
    }

    fn option(&mut self, opt: Opt, value: Option<&str>) -> Result<(), Refusal> {
        let text = value.unwrap_or_default();
        match opt {
            Opt::Src | Opt::Dst | Opt::ReplySrc | Opt::ReplyDst | Opt::TupleSrc | Opt::TupleDst => {
                return self.address(opt, text);
            }
            Opt::MaskSrc | Opt::MaskDst => {
                let (family, addr, _) = self.parse_address(text)?;
                self.settle(family)?;
                self.request.masks[usize::from(opt == Opt::MaskDst)] = Some(addr);
            }
            Opt::Proto => {
                let protocol = Protocol::of_name(text, self.names);
                let protocol = protocol.ok_or_else(|| wrong(format!("`{text}' unsupported protocol")))?;
                self.request.protocol = Some(protocol);
            }
            Opt::Timeout => self.request.timeout = Some(number(text)),
            Opt::Status => self.status(text)?,
            Opt::EventMask => self.event_mask(text)?,
            Opt::Mark => {
                let (mark, mask) = text.split_once('/').map_or((text, None), |(mark, mask)| (mark, Some(mask)));
                self.request.mark = Some((number(mark), mask.map_or(u32::MAX, number)));
            }
            Opt::Id => self.request.id = Some(number(text)),
            Opt::Family => {
                let family = match text {
                    "ipv4" => Family::V4,
                    "ipv6" => Family::V6,
                    _ => return Err(wrong(format!("`{text}' unsupported protocol"))),
                };
                self.settle(family)?;
            }
            Opt::SrcNat | Opt::DstNat | Opt::AnyNat => {
                if let Some(text) = value {
                    self.nat(opt, text)?;
                }
            }
            Opt::Output => self.output(text)?,
            Opt::Zone => self.request.zone = Some(number(text) as u16),
            Opt::OrigZone => self.request.zones[0] = Some(number(text) as u16),
            Opt::ReplyZone => self.request.zones[1] = Some(number(text) as u16),
            Opt::Label => {
                let labels = self.label_list(text)?;
                *self.request.labels.get_or_insert(0) |= labels;
                self.request.output.labels = true;
            }
            Opt::LabelAdd => self.request.labels_added |= self.label_list(text)?,
            Opt::LabelDel => {
                let labels = match value {
                    Some(text) => self.label_list(text)?,
                    None => {
                        self.label_map();
                        0
                    }
                };
                *self.request.labels_removed.get_or_insert(0) |= labels;
            }
            Opt::Zero | Opt::Secmark | Opt::BufferSize => {}
        }
        Ok(())
    }

    /// All addresses are of one family.
    fn settle(&mut self, family: Family) -> Result<(), Refusal> {
        match self.request.family {
            Some(known) if known != family => Err(wrong("mismatched address family")),
            _ => {
                self.request.family = Some(family);
                Ok(())
            }
        }
    }

    fn parse_address(&self, text: &str) -> Result<(Family, Addr, Option<Addr>), Refusal> {
        let (host, prefix) = text.split_once('/').map_or((text, None), |(host, prefix)| (host, Some(prefix)));
        let (family, addr) = values::address(host).ok_or_else(|| wrong(format!("Invalid IP address `{host}'")))?;
        let mask = match prefix {
            None => None,
            Some(prefix) => {
                let bits = prefix.parse::<u8>().ok().filter(|bits| *bits <= family.bits());
                Some(family.mask(bits.ok_or_else(|| wrong("Invalid netmask"))?))
            }
        };
        Ok((family, addr, mask))
    }

    fn address(&mut self, opt: Opt, text: &str) -> Result<(), Refusal> {
        let (family, addr, mask) = self.parse_address(text)?;
        self.settle(family)?;
        let request = &mut self.request;
        match opt {
            Opt::Src | Opt::Dst => {
                let side = usize::from(opt == Opt::Dst);
                if let Some(mask) = mask {
                    request.masks[side] = Some(mask);
                    request.given |= 1 << if side == 0 { Opt::MaskSrc } else { Opt::MaskDst } as u8;
                }
                let place = if side == 0 { &mut request.original.src } else { &mut request.original.dst };
                *place = Some(addr);
            }
            Opt::ReplySrc | Opt::ReplyDst => {
                let name = if opt == Opt::ReplySrc { "reply-src" } else { "reply-dst" };
                if mask.is_some() {
                    return Err(wrong(format!("CIDR notation unavailable for `--{name}'")));
                }
                let place = if opt == Opt::ReplySrc { &mut request.reply.src } else { &mut request.reply.dst };
                *place = Some(addr);
            }
            _ => {}
        }
        Ok(())
    }

    fn status(&mut self, text: &str) -> Result<(), Refusal> {
        const NAMES: [(&str, u32); 7] = [
            ("ASSURED", Status::ASSURED.0),
            ("SEEN_REPLY", Status::SEEN_REPLY.0),
            ("UNSET", 0),
            ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT.0),
            ("EXPECTED", Status::EXPECTED.0),
            ("OFFLOAD", 1 << 14),
            ("HW_OFFLOAD", 1 << 15),
        ];
        for word in text.split(',') {
            let bit = match NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
                Some((_, bit)) => *bit,
                None if word.eq_ignore_ascii_case("SRC_NAT") || word.eq_ignore_ascii_case("DST_NAT") => {
                    let option = if word.eq_ignore_ascii_case("SRC_NAT") { "src" } else { "dst" };
                    self.request.warnings +=
                        &format!("WARNING: ignoring {}, use --{option}-nat instead\n", word.to_uppercase());
                    0
                }
                None => return Err(wrong(format!("Bad parameter `{text}'"))),
            };
            self.request.status.get_or_insert_default().set(Status(bit));
        }
        Ok(())
    }

    fn event_mask(&mut self, text: &str) -> Result<(), Refusal> {
        let first = self.request.events == [true; 3];
        let mut events = if first { [false; 3] } else { self.request.events };
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "ALL" => events = [true; 3],
                "NEW" => events[0] = true,
                "UPDATES" => events[1] = true,
                "DESTROY" => events[2] = true,
                _ => return Err(wrong(format!("Bad parameter `{word}'"))),
            }
        }
        self.request.events = events;
        Ok(())
    }

    fn output(&mut self, text: &str) -> Result<(), Refusal> {
        for word in text.split(',') {
            let output = &mut self.request.output;
            let place = match word.to_ascii_lowercase().as_str() {
                "xml" => &mut output.xml,
                "extended" => &mut output.extended,
                "timestamp" => &mut output.timestamp,
                "id" => &mut output.id,
                "ktimestamp" => &mut output.ktimestamp,
                "labels" => &mut output.labels,
                "userspace" => &mut output.userspace,
                "save" => &mut output.save,
                "json" => &mut output.json,
                _ => return Err(wrong(format!("Bad parameter `{word}'"))),
            };
            *place = true;
        }
        if self.request.output.labels {
            self.label_map();
        }
        if self.request.output.save && self.request.output != (Output { save: true, ..Output::default() }) {
            let text = "cannot combine save output with any other output type, use -o save only";
            return Err(Refusal { code: 1, ..wrong(text) });
        }
        Ok(())
    }

    fn nat(&mut self, opt: Opt, text: &str) -> Result<(), Refusal> {
        let (host, ports) = values::host_and_ports(text);
        let (family, addr, _) = self.parse_address(host)?;
        self.settle(family)?;
        let wish = NatWish { addr: Some(addr), ports };
        if opt != Opt::DstNat {
            self.request.source = wish;
        }
        if opt != Opt::SrcNat {
            self.request.destination = wish;
        }
        Ok(())
    }

    /// The tool reads the list of labels on first use, and says when it cannot.
    fn label_map(&mut self) {
        const SAID: &str = "nfct_labelmap_new: No such file or directory\n";
        if self.names.file("/etc/xtables/connlabel.conf").is_err() && !self.request.warnings.contains(SAID) {
            self.request.warnings += SAID;
        }
    }

    fn label_list(&mut self, text: &str) -> Result<u128, Refusal> {
        self.label_map();
        let mut bits = 0;
        for name in text.split(',') {
            let bit = self.names.number(NameKind::ConnLabel, name).filter(|bit| *bit < 128);
            bits |= 1u128 << bit.ok_or_else(|| wrong(format!("unknown label '{name}'")))?;
        }
        Ok(bits)
    }

    /// What can only be said of the whole command line.
    fn finish(mut self) -> Result<Request, Refusal> {
        let Some(command) = self.command else { return Ok(self.request) };
        self.request.command = command;
        let request = &self.request;
        if matches!(command, Command::Version | Command::Help | Command::Load) {
            return Ok(self.request);
        }
        if matches!(request.table, Table::Dying | Table::Unconfirmed) && command != Command::List {
            return Err(wrong("Can't do that command with tables `dying' and `unconfirmed'"));
        }
        if request.table == Table::Expect {
            match command {
                Command::Update => return Err(wrong("Can't do --update on expectations")),
                Command::Add => return Err(wrong("Can't do --add on expectations")),
                _ => {}
            }
        }
        let is_filter = matches!(command, Command::List | Command::Event | Command::Update | Command::Delete);
        if is_filter && request.table != Table::Expect {
            for (mask, opt, side, name) in
                [(Opt::MaskSrc, Opt::Src, "mask-src", "src"), (Opt::MaskDst, Opt::Dst, "mask-dst", "dst")]
            {
                if request.has(mask) && !request.has(opt) {
                    return Err(wrong(format!("Can't use --{side} without --{name}")));
                }
            }
        }
        for ((opt, name, ..), allowed) in OPTIONS.iter().zip(allowed(command, request.table)) {
            match (request.has(*opt), allowed) {
                (false, 1) => return Err(wrong(format!("You need to supply the `--{name}' option for this command"))),
                (true, 0) => return Err(wrong(format!("Illegal option `--{name}' with this command"))),
                _ => {}
            }
        }
        if matches!(command, Command::Create | Command::Add | Command::Get) {
            let [original, reply] = [request.original, request.reply].map(|s| s.src.is_some() && s.dst.is_some());
            if !original && !reply {
                return Err(wrong("you have to specify `--src' and `--dst'"));
            }
        }
        if let Some(protocol) = request.protocol {
            protocols::check(protocol, command, self.fields)?;
        }
        Ok(self.request)
    }
}

/// The address of a family as a plain one.
pub(super) fn plain(family: Family, addr: Addr) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(addr.as_u32())),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(addr.0)),
    }
}
