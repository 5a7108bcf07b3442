//! What a command does to the sets, as a value: read from words, carried out, and written as words that mean the same anywhere.

use super::options::{Target, Typed, create_options, entry};
use super::print::{addresses, port_number_words};
use super::syntax::{Action, Form, Opt, create_opts, forms};
use super::{Problem, checked_name, kind_named};
use hairpin_engine::set::{Entry, Kind, Neighbour, Options, Range, SetError, Sets};
use hairpin_engine::time::Instant;
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::fmt::Write;

/// A change to the sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `create NAME TYPE …`
    Create(String, Kind, Options),
    /// `add NAME ELEMENT …`
    Add(String, Entry),
    /// `del NAME ELEMENT …`
    Del(String, Entry),
    /// `flush [NAME]`
    Flush(Option<String>),
    /// `destroy [NAME]`
    Destroy(Option<String>),
    /// `rename NAME NAME`
    Rename(String, String),
    /// `swap NAME NAME`
    Swap(String, String),
}

/// The words after `create`: name, type, options.
///
/// # Errors
/// They are no such words.
pub fn read_create(name: &str, kind: &str, words: &[&str], names: &dyn Names) -> Result<Typed<Change>, Problem> {
    let name = checked_name(name)?.to_owned();
    if kind.len() > super::LONGEST_NAME {
        let text = format_args!("typename '{kind}' is longer than {} characters", super::LONGEST_NAME);
        return Err(Problem::syntax(text));
    }
    let kind = kind_named(kind).ok_or_else(|| Problem::syntax(format_args!("typename '{kind}' is unknown")))?;
    let typed = create_options(kind, words, names)?;
    Ok(Typed { value: Change::Create(name, kind, typed.value), warnings: typed.warnings })
}

/// The words after `add`, `del` or `test`: name, element, options; and what set it is for.
///
/// # Errors
/// There is no such set, or they are no such words.
pub fn read_entry(
    sets: &Sets,
    action: Action,
    name: &str,
    element: &str,
    words: &[&str],
    names: &dyn Names,
) -> Result<(Target, Typed<Entry>), Problem> {
    let name = checked_name(name)?;
    let set = sets.get(name).ok_or_else(|| Problem::value(SetError::NoSet.to_string()))?;
    let target = Target::of(set);
    Ok((target, entry(target, action, element, words, names)?))
}

impl Change {
    /// Carries it out. With `exist`, what is there already or not there is no error.
    ///
    /// # Errors
    /// As the kernel's.
    pub fn apply(&self, sets: &mut Sets, exist: bool, now: Instant) -> Result<(), SetError> {
        match self {
            Change::Create(name, kind, options) => sets.create(name, *kind, options, exist),
            Change::Add(name, entry) => sets.add(name, entry, exist, now),
            Change::Del(name, entry) => sets.del(name, entry, exist, now),
            Change::Flush(Some(name)) => sets.flush(name),
            Change::Flush(None) => {
                sets.flush_all();
                Ok(())
            }
            Change::Destroy(Some(name)) if exist && sets.get(name).is_none() => Ok(()),
            Change::Destroy(Some(name)) => sets.destroy(name, now),
            Change::Destroy(None) => sets.destroy_all(now),
            Change::Rename(from, to) => sets.rename(from, to, now),
            Change::Swap(from, to) => sets.swap(from, to),
        }
    }

    /// The words that mean this change to `sets` as they are before it, whatever names the reader knows. None when a name cannot
    /// be written.
    pub fn words(&self, sets: &Sets) -> Option<String> {
        let target = |name: &str| sets.get(name).map(|s| (s.kind(), s.options().family.unwrap_or(Family::V4)));
        let of_entry = |command: &str, name: &String, entry: &Entry| {
            let (kind, family) = target(name)?;
            Some(format!("{command} {} {}", quoted(name)?, entry_words(kind, family, entry)?))
        };
        match self {
            Change::Create(name, kind, options) => {
                Some(format!("create {} {kind}{}", quoted(name)?, create_words(*kind, options)))
            }
            Change::Add(name, entry) => of_entry("add", name, entry),
            Change::Del(name, entry) => of_entry("del", name, entry),
            Change::Flush(None) => Some("flush".to_owned()),
            Change::Flush(Some(name)) => Some(format!("flush {}", quoted(name)?)),
            Change::Destroy(None) => Some("destroy".to_owned()),
            Change::Destroy(Some(name)) => Some(format!("destroy {}", quoted(name)?)),
            Change::Rename(a, b) => Some(format!("rename {} {}", quoted(a)?, quoted(b)?)),
            Change::Swap(a, b) => Some(format!("swap {} {}", quoted(a)?, quoted(b)?)),
        }
    }

    /// Reads [`Change::words`].
    ///
    /// # Errors
    /// They are no such words.
    pub fn from_words(text: &str, sets: &Sets) -> Result<Change, Problem> {
        let words = split_line(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let names = hairpin_xt::option::NoNames;
        let entry = |action, name: &str, element: &str, rest: &[&str]| {
            read_entry(sets, action, name, element, rest, &names).map(|(_, typed)| typed.value)
        };
        match words.as_slice() {
            ["create", name, kind, rest @ ..] => read_create(name, kind, rest, &names).map(|t| t.value),
            ["add", name, element, rest @ ..] => {
                Ok(Change::Add((*name).to_owned(), entry(Action::Add, name, element, rest)?))
            }
            ["del", name, element, rest @ ..] => {
                Ok(Change::Del((*name).to_owned(), entry(Action::Del, name, element, rest)?))
            }
            ["flush"] => Ok(Change::Flush(None)),
            ["flush", name] => Ok(Change::Flush(Some((*name).to_owned()))),
            ["destroy"] => Ok(Change::Destroy(None)),
            ["destroy", name] => Ok(Change::Destroy(Some((*name).to_owned()))),
            ["rename", a, b] => Ok(Change::Rename((*a).to_owned(), (*b).to_owned())),
            ["swap", a, b] => Ok(Change::Swap((*a).to_owned(), (*b).to_owned())),
            _ => Err(Problem::usage(format!("no change: {text}"))),
        }
    }
}

/// Carries out a file as `ipset save` prints it.
///
/// # Errors
/// The first line that is wrong, counted from 1, and why.
pub fn read_saved(text: &str, sets: &mut Sets, names: &dyn Names, now: Instant) -> Result<(), (usize, Problem)> {
    for (n, line) in text.lines().enumerate() {
        let words = split_line(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let change = match words.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            ["create", name, kind, rest @ ..] => read_create(name, kind, rest, names).map(|typed| typed.value),
            ["add", name, element, rest @ ..] => {
                let entry = read_entry(sets, Action::Add, name, element, rest, names);
                entry.map(|(_, typed)| Change::Add((*name).to_owned(), typed.value))
            }
            _ => Err(Problem::usage("a saved set has lines that begin with create and add")),
        };
        let done = change.and_then(|c| c.apply(sets, false, now).map_err(|why| Problem::value(why.to_string())));
        done.map_err(|problem| (n + 1, problem))?;
    }
    Ok(())
}

/// The words of a line: white space parts them, double quotes hold them together. A quote that is not closed ends the words before
/// it.
pub fn split_line(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            c if c.is_ascii_whitespace() && !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if !is_quoted {
        words.extend(word);
    }
    words
}

/// A word that [`split_line`] reads as this one.
fn quoted(word: &str) -> Option<String> {
    (!word.contains(['"', '\n'])).then(|| format!("\"{word}\""))
}

/// The options of `create`, all of them, each with a space before it.
pub(super) fn create_words(kind: Kind, options: &Options) -> String {
    let mut text = String::new();
    for opt in create_opts(kind) {
        let name = opt.name();
        let mut put = |value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(text, " {name} {value}");
            }
        };
        match opt {
            Opt::Range => put(match options.range {
                Some(Range::Addresses { from, to, cidr }) => {
                    Some(addresses(Family::V4, Some(from), cidr.filter(|_| to.is_none()), to))
                }
                Some(Range::Ports(from, to)) => Some(format!("{from}-{to}")),
                None => None,
            }),
            Opt::Family => put(options.family.map(|f| if f == Family::V4 { "inet" } else { "inet6" }.to_owned())),
            Opt::Markmask => put(options.markmask.map(|n| n.to_string())),
            Opt::Hashsize => put(options.hashsize.map(|n| n.to_string())),
            Opt::Maxelem => put(options.maxelem.map(|n| n.to_string())),
            Opt::Netmask => put(options.netmask.map(|n| n.to_string())),
            Opt::Bitmask => put(options.bitmask.map(|m| m.display(options.family.unwrap_or(Family::V4)).to_string())),
            Opt::Timeout => put(options.timeout.map(|n| n.to_string())),
            Opt::Bucketsize => put(options.bucketsize.map(|n| n.to_string())),
            Opt::Initval => put(options.initval.map(|n| n.to_string())),
            Opt::Size => put(options.size.map(|n| n.to_string())),
            Opt::Counters if options.counters => text.push_str(" counters"),
            Opt::Comment if options.comment => text.push_str(" comment"),
            Opt::Forceadd if options.forceadd => text.push_str(" forceadd"),
            Opt::Skbinfo if options.skbinfo => text.push_str(" skbinfo"),
            _ => {}
        }
    }
    text
}

/// An entry, ranges and all.
fn entry_words(kind: Kind, family: Family, entry: &Entry) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for (n, form) in forms(kind).into_iter().enumerate() {
        match form {
            Form::Any | Form::Single | Form::Any4Single6 | Form::Any4Net6 if n == 0 => {
                parts.push(addresses(family, entry.ip, entry.cidr, entry.ip_to));
            }
            Form::Any | Form::Single | Form::Any4Single6 | Form::Any4Net6 => {
                parts.push(addresses(family, entry.ip2, entry.cidr2, entry.ip2_to));
            }
            Form::Mac => parts.extend(entry.mac.map(|m| m.to_string())),
            Form::Mark => parts.push(entry.mark?.to_string()),
            Form::ProtoPort | Form::Port => parts.push(port_number_words(entry)),
            Form::Iface => {
                parts.push(format!("{}{}", if entry.physdev { "physdev:" } else { "" }, entry.iface?));
            }
            Form::Set => parts.push(entry.name.clone()?),
        }
    }
    let mut text = quoted(&parts.join(","))?;
    let ext = &entry.ext;
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, " {name} {value}");
        }
    };
    put("timeout", ext.timeout.map(|n| n.to_string()));
    put("packets", ext.packets.map(|n| n.to_string()));
    put("bytes", ext.bytes.map(|n| n.to_string()));
    put("skbmark", ext.skbmark.map(|(mark, mask)| format!("0x{mark:x}/0x{mask:x}")));
    put("skbprio", ext.skbprio.map(|n| format!("{:x}:{:x}", n >> 16, n & 0xffff)));
    put("skbqueue", ext.skbqueue.map(|n| n.to_string()));
    if let Some(comment) = &ext.comment {
        put("comment", Some(quoted(comment)?));
    }
    match &entry.place {
        Some(Neighbour::Before(other)) => put("before", Some(quoted(other)?)),
        Some(Neighbour::After(other)) => put("after", Some(quoted(other)?)),
        None => {}
    }
    if entry.nomatch {
        text.push_str(" nomatch");
    }
    if entry.wildcard {
        text.push_str(" wildcard");
    }
    Some(text)
}
