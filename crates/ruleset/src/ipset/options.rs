//! The options of `create`, `add`, `del` and `test`.

use super::element::Reader;
use super::syntax::{Action, Opt, create_opts, entry_opts};
use super::{Problem, checked_name, number};
use hairpin_engine::set::{Entry, Kind, Method, Neighbour, Options, Range, Set};
use hairpin_wire::Family;
use hairpin_xt::option::Names;

/// Bytes of a comment at most.
const LONGEST_COMMENT: usize = 255;

/// Seconds at most: in milliseconds they must fit the kernel's 32 bits, with one to spare.
const LONGEST_TIMEOUT: u64 = 2_147_483;

/// The set that an entry is for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its type.
    pub kind: Kind,
    /// Its family.
    pub family: Option<Family>,
}

impl Target {
    /// What entries this set takes.
    pub fn of(set: &Set) -> Target {
        Target { kind: set.kind(), family: set.options().family }
    }
}

/// What was typed, and what should be said although it is no error.
#[derive(Clone, Debug)]
pub struct Typed<T> {
    /// What was typed.
    pub value: T,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// The words after the type of `create`.
///
/// # Errors
/// A word is no option of the type, or its value is none.
pub fn create_options(kind: Kind, words: &[&str], names: &dyn Names) -> Result<Typed<Options>, Problem> {
    let opts = create_opts(kind);
    let mut options = Options::default();
    // The family decides how masks are read, wherever it stands: all words are looked at for it before any other value is.
    let (given, wrong_word) = given(&opts, words);
    let is_family = |opt: &Opt| matches!(opt, Opt::Family | Opt::Inet | Opt::Inet6);
    let mut families = given.iter().filter(|(opt, _)| is_family(opt));
    if let Some((opt, value)) = families.next() {
        options.family = Some(family(*opt, value)?);
    }
    if let Some((opt, _)) = families.next() {
        return Err(Problem::syntax(format_args!("{} already specified", opt.name())));
    }
    wrong_word?;
    let reader = Reader::new(kind, options.family, Action::Add, names);
    let mut making = Making { options, reader, ports: (None, None) };
    let mut seen: Vec<Opt> = Vec::new();
    for (opt, value) in given {
        if is_family(&opt) {
            continue;
        }
        note(&mut seen, opt)?;
        match opt {
            Opt::Range | Opt::From | Opt::To if kind == Kind::BitmapPort => making.ports(opt, value)?,
            Opt::Range | Opt::Network | Opt::From | Opt::To => making.addresses(opt, value)?,
            Opt::Netmask | Opt::Bitmask => making.mask(opt, value)?,
            _ => making.other(opt, value)?,
        }
    }
    let Making { mut options, reader, ports, .. } = making;
    if kind.method() == Method::Bitmap {
        complete_range(kind, &mut options, ports)?;
    }
    Ok(Typed { value: options, warnings: reader.warnings })
}

/// The options of `create` as they are read.
struct Making<'n> {
    options: Options,
    reader: Reader<'n>,
    /// The ends of a range of ports.
    ports: (Option<u16>, Option<u16>),
}

impl Making<'_> {
    fn ports(&mut self, opt: Opt, value: &str) -> Result<(), Problem> {
        let mut entry = Entry::default();
        let (word, text) = match opt {
            Opt::Range => value.split_once(':').unwrap_or(("tcp", value)),
            _ => ("tcp", value),
        };
        let number = match word {
            "tcp" => hairpin_wire::proto::TCP,
            "udp" => hairpin_wire::proto::UDP,
            _ => return Err(Problem::syntax(format_args!("cannot parse '{word}' as a protocol"))),
        };
        self.reader.ports(text, word, number, &mut entry)?;
        match opt {
            Opt::Range => self.ports = (entry.port, entry.port_to),
            Opt::From => self.ports.0 = entry.port,
            _ => self.ports.1 = entry.port,
        }
        Ok(())
    }

    fn addresses(&mut self, opt: Opt, value: &str) -> Result<(), Problem> {
        let range = &mut self.options.range;
        match opt {
            Opt::Range if !value.contains(['/', '-']) => {
                return Err(Problem::syntax(format_args!("IP/cidr or IP-IP range must be specified: {value}")));
            }
            Opt::Network if !value.contains('/') => {
                return Err(Problem::syntax(format_args!("IP/netblock must be supplied: {value}")));
            }
            Opt::Range | Opt::Network => {
                let span = self.reader.span(Family::V4, value)?;
                let to = span.to.filter(|_| opt == Opt::Range);
                *range = Some(Range::Addresses { from: span.from, to, cidr: span.cidr });
            }
            Opt::From => {
                let from = self.reader.address(Family::V4, value)?;
                *range = Some(Range::Addresses { from, to: None, cidr: None });
            }
            _ => {
                let end = self.reader.address(Family::V4, value)?;
                if let Some(Range::Addresses { to, .. }) = range {
                    *to = Some(end);
                }
            }
        }
        Ok(())
    }

    fn mask(&mut self, opt: Opt, value: &str) -> Result<(), Problem> {
        let options = &mut self.options;
        let family = options.family.unwrap_or(Family::V4);
        if opt == Opt::Netmask {
            exclusive(options.bitmask.is_some())?;
            options.netmask = Some(netmask(value, family)?);
            return Ok(());
        }
        exclusive(options.netmask.is_some())?;
        let name = if family == Family::V4 { "inet" } else { "inet6" };
        let wrong = |e: Problem| e.and(format_args!("Syntax error: bitmask is not valid for family = {name}"));
        options.bitmask = Some(self.reader.address(family, value).map_err(wrong)?);
        Ok(())
    }

    fn other(&mut self, opt: Opt, value: &str) -> Result<(), Problem> {
        let options = &mut self.options;
        let small = || number(value, 0, u64::from(u32::MAX)).map(|n| n as u32);
        match opt {
            Opt::Markmask => options.markmask = Some(small()?),
            Opt::Hashsize => options.hashsize = Some(small()?),
            Opt::Maxelem => options.maxelem = Some(small()?),
            Opt::Size => options.size = Some(small()?),
            Opt::Initval => options.initval = Some(small()?),
            Opt::Bucketsize => options.bucketsize = Some(number(value, 0, 255)? as u8),
            Opt::Timeout => options.timeout = Some(number(value, 0, LONGEST_TIMEOUT)? as u32),
            Opt::Counters => options.counters = true,
            Opt::Comment => options.comment = true,
            Opt::Forceadd => options.forceadd = true,
            Opt::Skbinfo => options.skbinfo = true,
            Opt::Ignored(name) => {
                let name = if name == "network" { "from" } else { name };
                let text = format!("Option '--{name} {value}' is ignored. Please upgrade your syntax.");
                self.reader.warnings.push(text);
            }
            _ => {}
        }
        Ok(())
    }
}

fn complete_range(kind: Kind, options: &mut Options, ports: (Option<u16>, Option<u16>)) -> Result<(), Problem> {
    let missing = |name: &str| Err(Problem::usage(format!("Mandatory option `{name}' is missing")));
    if kind == Kind::BitmapPort {
        options.range = match ports {
            (Some(from), Some(to)) => Some(Range::Ports(from, to)),
            (Some(_), None) => return missing("to"),
            (None, _) => return missing("range"),
        };
    }
    match options.range {
        None => missing("range"),
        Some(Range::Addresses { to: None, cidr: None, .. }) => missing("to"),
        Some(_) => Ok(()),
    }
}

/// The element and the words after it.
///
/// # Errors
/// The element cannot be read, a word is no option of the type, or its value is none.
pub fn entry(
    target: Target,
    action: Action,
    element: &str,
    words: &[&str],
    names: &dyn Names,
) -> Result<Typed<Entry>, Problem> {
    let mut reader = Reader::new(target.kind, target.family, action, names);
    let read = reader.read(element).and_then(|mut entry| {
        let (given, wrong_word) = given(&entry_opts(target.kind, action), words);
        entry_options(given, &mut entry)?;
        wrong_word.map(|()| entry)
    });
    let entry = read.map_err(|problem| match reader.lost.take() {
        Some(lost) if !problem.is_usage => lost.and(problem),
        _ => problem,
    })?;
    reader.check(&entry)?;
    Ok(Typed { value: entry, warnings: reader.warnings })
}

fn entry_options(given: Vec<(Opt, &str)>, entry: &mut Entry) -> Result<(), Problem> {
    let mut seen: Vec<Opt> = Vec::new();
    for (opt, value) in given {
        note(&mut seen, opt)?;
        match opt {
            Opt::Timeout => entry.ext.timeout = Some(number(value, 0, LONGEST_TIMEOUT)? as u32),
            Opt::Packets => entry.ext.packets = Some(number(value, 0, u64::MAX - 1)?),
            Opt::Bytes => entry.ext.bytes = Some(number(value, 0, u64::MAX - 1)?),
            Opt::EntryComment => entry.ext.comment = Some(comment(value)?.to_owned()),
            Opt::Skbmark => entry.ext.skbmark = Some(skbmark(value)?),
            Opt::Skbprio => entry.ext.skbprio = Some(skbprio(value)?),
            Opt::Skbqueue => entry.ext.skbqueue = Some(number(value, 0, u64::from(u16::MAX))? as u16),
            Opt::Nomatch => entry.nomatch = true,
            Opt::Wildcard => entry.wildcard = true,
            Opt::Before | Opt::After => {
                if entry.place.is_some() {
                    return Err(Problem::syntax("mixed syntax, before|after option already used"));
                }
                let name = checked_name(value)?.to_owned();
                entry.place = Some(if opt == Opt::Before { Neighbour::Before(name) } else { Neighbour::After(name) });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The options given, each with its value, and what ended them before the words did. Values are looked at first.
fn given<'a>(opts: &[Opt], words: &[&'a str]) -> (Vec<(Opt, &'a str)>, Result<(), Problem>) {
    let mut given = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bare = word.strip_prefix("--").unwrap_or(word);
        let Some(opt) = opts.iter().find(|opt| opt.name() == bare) else {
            return (given, Err(Problem::usage(format!("Unknown argument: `{word}'"))));
        };
        let value = match (opt.has_value(), words.as_slice().first()) {
            (false, _) => "",
            (true, Some(value)) => {
                words.next();
                value
            }
            (true, None) => {
                let text = format!("Missing mandatory argument of option `{}'", opt.name());
                return (given, Err(Problem::usage(text)));
            }
        };
        given.push((*opt, value));
    }
    (given, Ok(()))
}

/// Options with a value stand once.
fn note(seen: &mut Vec<Opt>, opt: Opt) -> Result<(), Problem> {
    if opt.has_value() && seen.contains(&opt) {
        return Err(Problem::syntax(format_args!("{} already specified", opt.name())));
    }
    seen.push(opt);
    Ok(())
}

fn family(opt: Opt, value: &str) -> Result<Family, Problem> {
    match (opt, value) {
        (Opt::Inet, _) | (_, "inet" | "ipv4" | "-4") => Ok(Family::V4),
        (Opt::Inet6, _) | (_, "inet6" | "ipv6" | "-6") => Ok(Family::V6),
        (_, "any" | "unspec") => Err(Problem::value("Protocol family not supported by the set type")),
        _ => Err(Problem::syntax(format_args!("unknown inet family {value}"))),
    }
}

fn exclusive(is_clash: bool) -> Result<(), Problem> {
    match is_clash {
        true => Err(Problem::syntax("bitmask and netmask are mutually exclusive, provide only one")),
        false => Ok(()),
    }
}

fn netmask(value: &str, family: Family) -> Result<u8, Problem> {
    let bits = family.bits();
    let range = format_args!("Syntax error: netmask is out of the inclusive range of 1-{bits}").to_string();
    match number(value, 0, 255) {
        Ok(n) if (1..=u64::from(bits)).contains(&n) => Ok(n as u8),
        Ok(_) => Err(Problem::syntax(format_args!("'{value}' is out of range 1-{bits}")).and(range)),
        Err(e) => Err(e.and(range)),
    }
}

fn comment(value: &str) -> Result<&str, Problem> {
    if value.contains('"') {
        return Err(Problem::syntax("\" character is not permitted in comments"));
    }
    if value.len() > LONGEST_COMMENT {
        let text = format_args!("Comment is longer than the maximum allowed {LONGEST_COMMENT} characters");
        return Err(Problem::syntax(text));
    }
    Ok(value)
}

/// `0xMARK` or `0xMARK/0xMASK`; what does not fit 32 bits is cut.
fn skbmark(value: &str) -> Result<(u32, u32), Problem> {
    let wrong = || Problem::syntax("Invalid skbmark format, it should be:  MARK/MASK or MARK (see manpage)");
    let (mark, rest) = hex(value.strip_prefix("0x").ok_or_else(wrong)?).ok_or_else(wrong)?;
    let mask = rest.strip_prefix("/0x").and_then(hex).map_or(u32::MAX, |(mask, _)| mask as u32);
    Ok((mark as u32, mask))
}

/// `MAJOR:MINOR`, hexadecimal.
fn skbprio(value: &str) -> Result<u32, Problem> {
    let wrong = || Problem::syntax("Invalid skbprio format, it should be:MAJOR:MINOR (see manpage)");
    let (major, rest) = hex(value).ok_or_else(wrong)?;
    let (minor, _) = rest.strip_prefix(':').and_then(hex).ok_or_else(wrong)?;
    Ok((major as u32) << 16 | (minor as u32 & 0xffff))
}

/// The hexadecimal number at the beginning, and the rest.
fn hex(text: &str) -> Option<(u64, &str)> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (!digits.is_empty()).then(|| (u64::from_str_radix(digits, 16).unwrap_or(u64::MAX), rest))
}
