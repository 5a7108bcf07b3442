//! Values of options: numbers, ports, addresses, masks, as iptables' own option parser reads them and in its words.

use crate::option::{Given, Parsed, SyntaxError};

/// The refusal of a value: `NAME: Bad value for "--OPT" option: "VALUE"`.
pub fn bad_value(parsed: &Parsed<'_>, given: &Given) -> SyntaxError {
    parsed
        .error(format_args!("Bad value for \"--{}\" option: \"{}\"", given.option.name, given.value()))
        .at(given.value())
}

/// A number as `strtoul(…, 0)` reads it: decimal, `0x` hexadecimal or `0` octal; the whole word must be one.
pub fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// The option's value as a number within `min..=max`.
pub fn number(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64) -> Result<u64, SyntaxError> {
    parse_number(given.value()).filter(|n| (min..=max).contains(n)).ok_or_else(|| bad_value(parsed, given))
}

/// `VALUE[/MASK]` of 32 bits each; without a mask all bits count.
pub fn mark_mask(parsed: &Parsed<'_>, given: &Given) -> Result<(u32, u32), SyntaxError> {
    let (value, mask) = match given.value().split_once('/') {
        Some((value, mask)) => (parse_number(value), parse_number(mask)),
        None => (parse_number(given.value()), Some(u64::from(u32::MAX))),
    };
    let narrow = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    narrow(value).zip(narrow(mask)).ok_or_else(|| bad_value(parsed, given))
}
