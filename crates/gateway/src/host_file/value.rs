//! The entries of a host file's sections, and their values as words, numbers, addresses; what is wrong is said with its place.

use hairpin_engine::route::fib::TableId;
use hairpin_engine::setup::text::{self, BadText, Prefix};
use hairpin_engine::words::nearest;
use hairpin_wire::{Addr, Family};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A mistake and the bytes of the file it is in.
pub(super) struct Fault {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

pub(super) fn fault<T>(at: Range<usize>, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
}

/// One entry of a list section.
pub(super) struct Item<'a> {
    pub(super) name: String,
    pub(super) table: &'a DeTable<'a>,
    pub(super) at: Range<usize>,
}

impl<'a> Item<'a> {
    pub(super) fn open(name: &str, value: &'a Spanned<DeValue<'a>>, keys: &[&str]) -> Result<Item<'a>, Fault> {
        let Some(table) = value.get_ref().as_table() else {
            return fault(value.span(), format!("a {name} has keys: {}", keys.join(", ")));
        };
        for (key, _) in in_order(table) {
            if !keys.contains(&key.get_ref().as_ref()) {
                let place = format!("in [[{name}]]");
                return fault(key.span(), unknown("key", key.get_ref(), &place, keys.iter().copied()));
            }
        }
        Ok(Item { name: name.to_owned(), table, at: value.span() })
    }

    pub(super) fn get<'k>(&self, key: &'k str) -> Option<Value<'a, 'k>> {
        self.table.get(key).map(|value| Value { key, value })
    }

    pub(super) fn need<'k>(&self, key: &'k str) -> Result<Value<'a, 'k>, Fault> {
        match self.get(key) {
            Some(value) => Ok(value),
            None => fault(self.at.clone(), format!("this [[{}]] has no {key}", self.name)),
        }
    }
}

/// A value and the key it belongs to.
pub(super) struct Value<'a, 'k> {
    pub(super) key: &'k str,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl Value<'_, '_> {
    pub(super) fn wrong<T>(&self, message: impl fmt::Display) -> Result<T, Fault> {
        fault(self.value.span(), format!("{}: {message}", self.key))
    }

    /// A word in quotes.
    pub(super) fn word(&self) -> Result<String, Fault> {
        match self.value.get_ref().as_str() {
            Some(word) => Ok(word.to_owned()),
            None => self.wrong(format!("expected a word in quotes, not {}", kind_of(self.value))),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        match self.value.get_ref().as_bool() {
            Some(flag) => Ok(flag),
            None => self.wrong(format!("expected true or false, not {}", kind_of(self.value))),
        }
    }

    /// A number, bare or in quotes.
    pub(super) fn number<T: TryFrom<i64>>(&self, range: std::ops::RangeInclusive<i64>) -> Result<T, Fault> {
        let number = text_of(self.value).and_then(|text| text::number::<i64>(&text));
        match number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(number),
            None => self.wrong(format!("expected a number from {} to {}", range.start(), range.end())),
        }
    }

    /// A number or a word, read by `read`.
    pub(super) fn parse_as<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Fault> {
        match text_of(self.value) {
            Some(text) => read(&text).or_else(|message| self.wrong(message)),
            None => self.wrong(format!("expected a number or a word in quotes, not {}", kind_of(self.value))),
        }
    }

    pub(super) fn parsed<T: FromStr<Err = BadText>>(&self) -> Result<T, Fault> {
        self.word()?.parse().or_else(|error: BadText| self.wrong(error))
    }

    pub(super) fn table(&self) -> Result<TableId, Fault> {
        self.parse_as(|text| text::table(text).map_err(|e| e.to_string()))
    }

    pub(super) fn one_of<T: Copy>(&self, known: &[(&str, T)]) -> Result<T, Fault> {
        let word = self.word()?;
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(*value),
            None => self.wrong(unknown("value", &word, "here", known.iter().map(|(name, _)| *name))),
        }
    }

    /// An address of the family known so far.
    pub(super) fn addr(&self, family: &mut Option<Family>) -> Result<Addr, Fault> {
        let word = self.word()?;
        let Ok(ip) = word.parse::<IpAddr>() else {
            return self.wrong(format!("{word:?} is not an address such as 192.0.2.1 or 2001:db8::1"));
        };
        let (own, addr) = Addr::from_ip(ip);
        self.agree(family, own)?;
        Ok(addr)
    }

    /// Address and port of the family known so far.
    pub(super) fn end(&self, family: &mut Option<Family>) -> Result<(Addr, u16), Fault> {
        let word = self.word()?;
        let Ok(end) = word.parse::<SocketAddr>() else {
            return self
                .wrong(format!("{word:?} is not an address and a port such as 192.0.2.1:53 or [2001:db8::1]:53"));
        };
        let (own, addr) = Addr::from_ip(end.ip());
        self.agree(family, own)?;
        Ok((addr, end.port()))
    }

    /// A network of the family known so far; None for the default route, or for all.
    pub(super) fn destination(&self, family: &mut Option<Family>) -> Result<Option<(Addr, u8)>, Fault> {
        if matches!(self.word()?.as_str(), "default" | "all" | "any") {
            return Ok(None);
        }
        let prefix: Prefix = self.parsed()?;
        self.agree(family, prefix.family)?;
        Ok(Some((prefix.addr, prefix.len)))
    }

    pub(super) fn agree(&self, family: &mut Option<Family>, own: Family) -> Result<(), Fault> {
        match *family.get_or_insert(own) {
            known if known == own => Ok(()),
            known => self.wrong(format!("this is {own}, but the others here are {known}")),
        }
    }
}

/// The text of a number or a word.
pub(super) fn text_of(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        _ => None,
    }
}

fn kind_of(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a word",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The entries of a table in the order of the file.
pub(super) fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The settings of `[sysctl]`: a name in quotes is one key, without quotes its dots make tables in tables.
pub(super) fn flatten<'a>(
    table: &'a DeTable<'a>,
    before: &str,
    settings: &mut Vec<(String, &'a Spanned<DeValue<'a>>, Range<usize>)>,
) {
    for (key, value) in in_order(table) {
        let name = format!("{before}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(inner, &format!("{name}."), settings),
            _ => settings.push((name, value, key.span())),
        }
    }
}

pub(super) fn unknown<'a>(what: &str, word: &str, place: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("unknown {what} {word:?} {place}; did you mean {near}?"),
        None => format!("unknown {what} {word:?} {place}: known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}
