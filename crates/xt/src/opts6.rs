//! The options headers of IPv6: what `-m hbh` and `-m dst` share.

use crate::ext6::{Found, Number, find, length};
use crate::option::{Parsed, SyntaxError};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;

/// What a rule asks of an options header.
#[derive(Debug)]
pub(crate) struct Options {
    name: &'static str,
    /// The header's protocol number.
    kind: u8,
    length: Number,
    /// Type and length of each; a length of 255 stands for any.
    options: Vec<(u8, u8)>,
}

impl Options {
    /// Reads the options `NAME-len` and `NAME-opts`.
    pub(crate) fn parse(
        parsed: &Parsed<'_>,
        name: &'static str,
        kind: u8,
        length: &str,
        options: &str,
    ) -> Result<Options, SyntaxError> {
        let list = || parsed.get(options).map_or(Ok(Vec::new()), |given| parse_list(name, given.value()));
        // What is wrong with the first of the two is said first.
        if parsed.given.first().is_some_and(|given| given.option.name == options) {
            list()?;
        }
        Ok(Options { name, kind, length: Number::option(parsed, length)?, options: list()? })
    }

    /// Whether the header begins with these options, in this order.
    fn follow(&self, mut rest: &[u8]) -> bool {
        for (n, (kind, wanted)) in self.options.iter().enumerate() {
            let taken = match *rest {
                // Pad1 has no length.
                [0, ..] if *kind == 0 => 1,
                [met, length, ..] if met == *kind => {
                    if *wanted != ANY_LENGTH && *wanted != length {
                        return false;
                    }
                    usize::from(length) + 2
                }
                _ => return false,
            };
            match rest.get(taken..) {
                Some(after) => rest = after,
                // The last one may claim to be longer than the header.
                None if n + 1 == self.options.len() => {}
                None => return false,
            }
        }
        true
    }

    fn write_options(&self, f: &mut fmt::Formatter<'_>, before: fmt::Arguments<'_>) -> fmt::Result {
        for (n, (kind, length)) in self.options.iter().enumerate() {
            if n == 0 {
                f.write_fmt(before)?
            } else {
                f.write_str(",")?
            }
            write!(f, "{kind}")?;
            if *length != ANY_LENGTH {
                write!(f, ":{length}")?;
            }
        }
        Ok(())
    }
}

impl Match for Options {
    fn name(&self) -> &'static str {
        self.name
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let header = match find(look, self.kind) {
            Found::At(header) => header,
            Found::Absent => return false,
            Found::Broken => return look.hotdrop(),
        };
        let length = length(header);
        let Some(header) = header.get(..length) else { return look.hotdrop() };
        self.length.is(length) && (self.options.is_empty() || self.follow(header.get(2..).unwrap_or_default()))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        self.length.save(f, if name == "hbh" { "hbh-len" } else { "dst-len" })?;
        self.write_options(f, format_args!(" --{name}-opts "))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " {}", self.name)?;
        self.length.list(f, " length")?;
        self.write_options(f, format_args!(" opts "))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `type[:length]` with commas between; of the numbers only the lowest byte counts.
fn parse_list(name: &str, text: &str) -> Result<Vec<(u8, u8)>, SyntaxError> {
    let number = |what: &str, word: &str| match split_signed(word) {
        Some((number, "")) => Ok(number as u8),
        Some(_) => Err(SyntaxError::parameter(format!("{name}: error parsing {what} `{word}'")).at(word)),
        None => Err(SyntaxError::parameter(format!("{name}: no valid digits in {what} `{word}'")).at(word)),
    };
    let options: Vec<(u8, u8)> = text
        .split(',')
        .map(|word| match word.split_once(':') {
            Some((kind, length)) => Ok((number("opt", kind)?, number("length", length)?)),
            None => Ok((number("opt", word)?, ANY_LENGTH)),
        })
        .collect::<Result<_, _>>()?;
    if options.len() > MOST {
        return Err(SyntaxError::parameter("too many addresses specified").at(text));
    }
    Ok(options)
}

/// As `strtoul`, which takes `-1` for the largest number.
fn split_signed(text: &str) -> Option<(u64, &str)> {
    match text.strip_prefix('-') {
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            crate::value::split_number(text).map(|(number, rest)| (number.wrapping_neg(), rest))
        }
        _ => crate::value::split_number(text),
    }
}

const ANY_LENGTH: u8 = 255;
/// `IP6T_OPTS_OPTSNR`.
const MOST: usize = 16;
