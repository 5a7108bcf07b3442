//! Plain texts.

use crate::option::{Given, SyntaxError};
use std::fmt;

/// The option's value as a text of `min..=max` bytes (`XTTYPE_STRING`).
pub fn string(given: &Given, min: usize, max: usize) -> Result<&str, SyntaxError> {
    let text = given.value();
    if text.len() < min {
        let message = format!("Argument must have a minimum length of {min} characters\n");
        return Err(SyntaxError::parameter(message).at(text));
    }
    if text.len() > max {
        let message = format!("Argument must have a maximum length of {max} characters\n");
        return Err(SyntaxError::parameter(message).at(text));
    }
    Ok(text)
}

/// The beginning of a text that fits into `max` bytes, without half a character at its end.
pub fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// Bytes from pairs of hexadecimal digits, with blanks allowed between pairs; None for anything else.
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b' ' {
            rest = after;
            continue;
        }
        let [second, after @ ..] = after else { return None };
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push((digit(*first)? * 16 + digit(*second)?) as u8);
        rest = after;
    }
    Some(bytes)
}

/// Whether the kernel could name a file in `/proc` so: not empty, `.` or `..`, and without `/`.
pub fn is_proc_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/')
}

/// Refuses a device name that the kernel could not hold: more than 15 bytes.
pub fn interface(text: &str) -> Result<(), SyntaxError> {
    if text.len() > 15 {
        let message = format!("interface name `{text}' must be shorter than 16 characters");
        return Err(SyntaxError::parameter(message).at(text));
    }
    Ok(())
}

/// Writes ` TEXT` as saving writes a free text (`xtables_save_string`): bare when it has only letters, digits, `_` and `-`;
/// else in double quotes, with a backslash before `"`, `\` and `'`.
pub fn save_string(f: &mut dyn fmt::Write, text: &str) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return write!(f, " {text}");
    }
    f.write_str(" \"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_when_needed() {
        let saved = |text: &str| {
            let mut out = String::new();
            save_string(&mut out, text).unwrap();
            out
        };
        assert_eq!(saved("plain_1-x"), " plain_1-x");
        assert_eq!(saved(""), " \"\"");
        assert_eq!(saved("a b"), " \"a b\"");
        assert_eq!(saved("it's \"\\\""), " \"it\\'s \\\"\\\\\\\"\"");
    }

    #[test]
    fn hex_comes_in_pairs() {
        assert_eq!(hex_bytes("0a 0B0c"), Some(vec![10, 11, 12]));
        assert_eq!(hex_bytes("0a0"), None);
        assert_eq!(hex_bytes("zz"), None);
    }
}
