//! Numbers and ranges, as `strtoul` and `strtod` read them.

use crate::option::{Given, Parsed, SyntaxError};

/// The refusal of a value: `NAME: Bad value for "--OPT" option: "VALUE"`.
pub fn bad_value(parsed: &Parsed<'_>, given: &Given) -> SyntaxError {
    parsed
        .error(format_args!("Bad value for \"--{}\" option: \"{}\"", given.option.name, given.value()))
        .at(given.value())
}

/// What `strtoul(…, 0)` reads from the beginning of a text: white space, `+`, then a decimal, `0x` hexadecimal or `0` octal
/// number; and the rest. None when there is no number, when it is negative or exceeds 64 bits.
pub fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

/// The number that a text begins with, as `strtod` reads it, and what follows: after blanks and a sign, decimal with or without
/// an exponent, hexadecimal after `0x`, `inf` or `nan`.
pub fn split_float(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let starts = |word: &str| text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    for (word, number) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if starts(word) {
            return Some((sign * number, text.get(word.len()..)?));
        }
    }
    if let Some((number, rest)) = text.get(2..).filter(|_| starts("0x")).and_then(|hex| split_mantissa(hex, 16)) {
        let (exponent, rest) = split_exponent(rest, 'p');
        return Some((sign * number * f64::from(exponent).exp2(), rest));
    }
    let (_, rest) = split_mantissa(text, 10)?;
    let (_, rest) = split_exponent(rest, 'e');
    // Read as a whole, so that it is the nearest number.
    let number = text.get(..text.len() - rest.len())?.parse::<f64>().ok()?;
    Some((sign * number, rest))
}

/// Digits with at most one point among them; at least one digit.
fn split_mantissa(text: &str, radix: u32) -> Option<(f64, &str)> {
    let base = f64::from(radix);
    let (mut number, mut scale, mut digits, mut in_fraction) = (0.0, 1.0, 0, false);
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c.to_digit(radix) {
            Some(digit) => {
                number = number * base + f64::from(digit);
                scale *= if in_fraction { base } else { 1.0 };
                digits += 1;
            }
            None if c == '.' && !in_fraction => in_fraction = true,
            None => {
                end = at;
                break;
            }
        }
    }
    (digits > 0).then(|| (number / scale, text.get(end..).unwrap_or_default()))
}

/// An exponent after its letter, if there is one: the letter alone belongs to what follows.
fn split_exponent(text: &str, letter: char) -> (i32, &str) {
    let digits = text.strip_prefix([letter, letter.to_ascii_uppercase()]).and_then(|rest| {
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let (digits, after) = unsigned.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
        // One out of range is as good as the largest.
        let exponent = digits.parse::<i32>().unwrap_or(i32::MAX);
        Some((if rest.starts_with('-') { -exponent } else { exponent }, after))
    });
    digits.unwrap_or((0, text))
}

/// A number cut to 32 bits as x86 does it: by way of 64 bits with a sign, where what does not fit leaves nothing.
pub fn low_bits(number: f64) -> u32 {
    // i64::MIN as f64 is exact, and no smaller magnitude rounds up to it.
    let fits = number >= i64::MIN as f64 && number < -(i64::MIN as f64);
    if fits { number as i64 as u32 } else { 0 }
}

/// A number as `strtoul(…, 0)` reads it; the whole word must be one.
pub fn parse_number(text: &str) -> Option<u64> {
    split_number(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// A number within `min..=max`; the whole text must be one.
pub fn number_within(text: &str, min: u64, max: u64) -> Option<u64> {
    parse_number(text).filter(|n| (min..=max).contains(n))
}

/// The option's value as a number within `min..=max` (`XTTYPE_UINT8` to `XTTYPE_UINT64`).
pub fn number(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64) -> Result<u64, SyntaxError> {
    number_within(given.value(), min, max).ok_or_else(|| {
        let message =
            format_args!("bad value for option \"--{}\", or out of range ({min}-{max}).\n", given.option.name);
        parsed.error(message).at(given.value())
    })
}

/// [`number`] of 8 bits.
pub fn number_u8(parsed: &Parsed<'_>, given: &Given) -> Result<u8, SyntaxError> {
    number(parsed, given, 0, u64::from(u8::MAX)).map(|n| n as u8)
}

/// [`number`] of 16 bits.
pub fn number_u16(parsed: &Parsed<'_>, given: &Given) -> Result<u16, SyntaxError> {
    number(parsed, given, 0, u64::from(u16::MAX)).map(|n| n as u16)
}

/// [`number`] of 32 bits.
pub fn number_u32(parsed: &Parsed<'_>, given: &Given) -> Result<u32, SyntaxError> {
    number(parsed, given, 0, u64::from(u32::MAX)).map(|n| n as u32)
}

/// [`number`] of 64 bits.
pub fn number_u64(parsed: &Parsed<'_>, given: &Given) -> Result<u64, SyntaxError> {
    number(parsed, given, 0, u64::MAX)
}

/// A number or a range, as [`number_range`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub from: u64,
    /// The highest; the same as the lowest when only one number was given.
    pub to: u64,
    /// Whether there was a `:`.
    pub is_range: bool,
}

/// The option's value as `N`, `N:`, `:M`, `N:M` or `:` (`XTTYPE_UINT8RC` to `XTTYPE_UINT64RC`). What is left out is `min` or
/// `max`; `N` must not exceed `M`.
pub fn number_range(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64) -> Result<Range, SyntaxError> {
    let fields = numbers(parsed, given, min, max, 2)?;
    let from = fields.first().copied().unwrap_or(min);
    Ok(Range { from, to: fields.get(1).copied().unwrap_or(from), is_range: fields.len() > 1 })
}

/// The option's value as up to `count` numbers with `:` between, none below the one before.
pub fn numbers(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64, count: usize) -> Result<Vec<u64>, SyntaxError> {
    let (name, mut lowest) = (given.option.name, min);
    let mut fields = Vec::new();
    let mut rest = given.value();
    loop {
        if fields.len() == count {
            let message = format_args!("Too many components for option \"--{name}\" (max: {count})\n");
            return Err(parsed.error(message).at(given.value()));
        }
        if rest.is_empty() || rest.starts_with(':') {
            fields.push(if fields.len() == 1 { max } else { lowest });
        } else {
            let Some((number, after)) = split_number(rest).filter(|(n, _)| (lowest..=max).contains(n)) else {
                let message = format_args!(
                    "bad value for option \"--{name}\" near \"{rest}\", or out of range ({lowest}-{max}).\n"
                );
                return Err(parsed.error(message).at(given.value()));
            };
            if !after.is_empty() && !after.starts_with(':') {
                let message = format_args!("Argument to \"--{name}\" has unexpected characters near \"{after}\".\n");
                return Err(parsed.error(message).at(given.value()));
            }
            fields.push(number);
            lowest = number;
            rest = after;
        }
        match rest.strip_prefix(':') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A floating point number within `min..=max` (`XTTYPE_DOUBLE`); `max` of 0 for no limits.
pub fn float(parsed: &Parsed<'_>, given: &Given, min: u32, max: u32) -> Result<f64, SyntaxError> {
    let in_range = |v: &f64| min == max || (f64::from(min)..=f64::from(max)).contains(v);
    given.value().trim_start().parse::<f64>().ok().filter(in_range).ok_or_else(|| {
        let message =
            format_args!("bad value for option \"--{}\", or out of range ({min}-{max}).\n", given.option.name);
        parsed.error(message).at(given.value())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::with;

    #[test]
    fn floats_begin_as_in_c() {
        for (text, number, rest) in [
            ("1.5gbit", 1.5, "gbit"),
            (" +5kbit", 5.0, "kbit"),
            ("-1s", -1.0, "s"),
            ("1e3ms", 1000.0, "ms"),
            ("1e-2e", 0.01, "e"),
            ("1e", 1.0, "e"),
            ("1e+x", 1.0, "e+x"),
            (".5.5", 0.5, ".5"),
            ("5.", 5.0, ""),
            ("0x10kbit", 16.0, "kbit"),
            ("0x1p3", 8.0, ""),
            ("0x1.8", 1.5, ""),
            ("0x", 0.0, "x"),
            ("Inf", f64::INFINITY, ""),
            ("1e99999999999", f64::INFINITY, ""),
            ("1é", 1.0, "é"),
        ] {
            assert_eq!(split_float(text), Some((number, rest)), "{text}");
        }
        for text in ["", ".", "-", "e3", "x", "é"] {
            assert_eq!(split_float(text), None, "{text}");
        }
        assert!(split_float("nan").is_some_and(|(number, rest)| number.is_nan() && rest.is_empty()));
        assert_eq!([f64::NAN, f64::INFINITY, -1.0, 4294967297.9].map(low_bits), [0, 0, u32::MAX, 1]);
    }

    #[test]
    fn numbers_are_strtoul() {
        assert_eq!(split_number("10:20"), Some((10, ":20")));
        assert_eq!(split_number("0x1fg"), Some((0x1f, "g")));
        assert_eq!(split_number("010"), Some((8, "")));
        assert_eq!(split_number("08"), Some((0, "8")));
        assert_eq!(split_number("0x"), Some((0, "x")));
        assert_eq!(split_number(" +5"), Some((5, "")));
        assert_eq!(split_number("-5"), None);
        assert_eq!(split_number(""), None);
        assert_eq!(split_number("18446744073709551616"), None);
        assert_eq!(parse_number("5x"), None);
    }

    #[test]
    fn ranges_have_defaults_and_an_order() {
        let range = |text: &str| with(text, |p, g| number_range(p, g, 0, 255).map(|r| (r.from, r.to)));
        assert_eq!(range("5").unwrap(), (5, 5));
        assert_eq!(range("5:").unwrap(), (5, 255));
        assert_eq!(range(":5").unwrap(), (0, 5));
        assert_eq!(range(":").unwrap(), (0, 255));
        assert_eq!(range("").unwrap(), (0, 0));
        assert!(range("5:4").unwrap_err().message.contains("near \"4\", or out of range (5-255)"));
        assert!(range("1:2:3").unwrap_err().message.contains("Too many components"));
        assert!(range("1-2").unwrap_err().message.contains("unexpected characters near \"-2\""));
        assert!(range("256").is_err());
    }
}
