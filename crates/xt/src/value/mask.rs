//! Values with a mask: marks, and numbers that have names.

use super::split_number;
use crate::option::{Given, NameKind, Parsed, SyntaxError};
use std::fmt;

/// `VALUE[/MASK]` of 32 bits each (`XTTYPE_MARKMASK32`); without a mask all bits count.
pub fn mark_mask(parsed: &Parsed<'_>, given: &Given) -> Result<(u32, u32), SyntaxError> {
    let (name, text) = (given.option.name, given.value());
    let bad = || parsed.error(format_args!("bad integer value for option \"--{name}\", or out of range.\n")).at(text);
    let narrow = |n: u64| u32::try_from(n).map_err(|_| bad());
    let (value, rest) = split_number(text).ok_or_else(bad)?;
    let value = narrow(value)?;
    let (mask, rest) = match rest.strip_prefix('/') {
        Some(mask) => split_number(mask).ok_or_else(bad)?,
        None => (u64::from(u32::MAX), rest),
    };
    let mask = narrow(mask)?;
    if !rest.is_empty() {
        return Err(parsed.error(format_args!("trailing garbage after value for option \"--{name}\".\n")).at(text));
    }
    Ok((value, mask))
}

/// `VALUE[/MASK]` of 32 bits each, or a name of this kind, for which all bits count (`xtables_parse_val_mask`).
pub fn named_mask(parsed: &Parsed<'_>, given: &Given, kind: NameKind) -> Result<(u32, u32), SyntaxError> {
    let (name, text) = (given.option.name, given.value());
    let narrow = |n: u64| u32::try_from(n).ok();
    let number = split_number(text).and_then(|(n, rest)| Some((narrow(n)?, rest)));
    match number {
        Some((value, "")) => return Ok((value, u32::MAX)),
        Some((_, rest)) if !rest.starts_with('/') && !parsed.names.has_list(kind) => {
            let message = format_args!("trailing garbage after value for option \"--{name}\".\n");
            return Err(parsed.error(message).at(text));
        }
        Some((value, rest)) if rest.starts_with('/') => {
            let mask = rest.get(1..).and_then(split_number).and_then(|(n, rest)| Some((narrow(n)?, rest)));
            return match mask {
                Some((mask, "")) => Ok((value, mask)),
                Some(_) => {
                    let message = format_args!("trailing garbage after value for option \"--{name}\".\n");
                    Err(parsed.error(message).at(text))
                }
                None => {
                    let message = format_args!("bad integer value for option \"--{name}\", or out of range.\n");
                    Err(parsed.error(message).at(text))
                }
            };
        }
        _ => {}
    }
    parsed.names.number(kind, text).map(|value| (value, u32::MAX)).ok_or_else(|| {
        let message = match parsed.names.has_list(kind) {
            true => format!("could not map name {text} to an integer value for option \"--{name}\"."),
            false => format!("bad integer value for option \"--{name}\", or out of range.\n"),
        };
        parsed.error(message).at(text)
    })
}

/// Writes what MARK and CONNMARK do, in the shortest of iptables' words for it.
pub(crate) fn list_mark_change(f: &mut fmt::Formatter<'_>, target: &str, value: u32, mask: u32) -> fmt::Result {
    match (value, mask) {
        (0, mask) => write!(f, " {target} and {:#x}", !mask),
        (value, mask) if value == mask => write!(f, " {target} or {value:#x}"),
        (value, 0) => write!(f, " {target} xor {value:#x}"),
        (value, u32::MAX) => write!(f, " {target} set {value:#x}"),
        (value, mask) => write!(f, " {target} xset {value:#x}/{mask:#x}"),
    }
}
