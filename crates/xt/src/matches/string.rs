//! `-m string`: bytes anywhere in the packet.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "string",
    aliases: &[],
    families: Families::Both,
    about: "bytes anywhere in the packet",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("from", &["offset"], "search from this byte on; the network header begins at 0"),
        Opt::new("to", &["offset"], "search up to this byte"),
        Opt::new("algo", &["bm|kmp"], "the algorithm; here it makes no difference").required(),
        Opt::new("string", &["text"], "the bytes as text").inverts().excludes(&["hex-string"]),
        Opt::new("hex-string", &["text"], "the bytes as text with hexadecimal between |bars|").inverts().excludes(&["string"]),
        Opt::switch("icase", "upper and lower case are the same"),
    ],
    build,
    cases: &[
        Case::Same("--string \"foo\" --algo bm"),
        Case::Same("! --string \"a b\" --algo kmp --from 5 --to 10 --icase"),
        Case::Same("|--string \"a\\\"b\\\\c|\" --algo bm"),
        Case::Saves("--algo bm --from 0 --to 65535 --string test", "--string \"test\" --algo bm"),
        Case::Saves("|--hex-string \"|0a 0b|x|41|\" --algo bm", "|--hex-string \"|0a0b7841|\" --algo bm"),
        Case::Saves("|--hex-string \"|66|oo\" --algo bm", "--string \"foo\" --algo bm"),
        Case::Saves("--string \"a\\\\\" --algo bm", "|--hex-string \"|615c|\" --algo bm"),
        Case::Fails("|--hex-string \"|6|\" --algo bm", "Invalid hex block"),
        Case::Fails("|--hex-string \"|6g|\" --algo bm", "Invalid hex char 'g'"),
        Case::Fails("|--string a --hex-string \"|6g|\" --algo bm", "Invalid hex char 'g'"),
        Case::Fails("--string a --hex-string b --algo bm", "cannot be used together"),
        Case::Fails("--hex-string \"\" --algo bm", "STRING must contain at least one char"),
        Case::Fails("--string foo", "must be specified"),
        Case::Fails("--algo bm", "STRING match: You must specify `--string' or `--hex-string'"),
        Case::Fails("--string foo --algo bm --to 65536", "out of range (0-65535)"),
    ],
};

#[derive(Debug)]
struct Text {
    /// In upper case when the case does not matter.
    pattern: Vec<u8>,
    typed: Vec<u8>,
    algorithm: String,
    from: u16,
    to: u16,
    ignore_case: bool,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let algorithm = match parsed.get("algo") {
        // What is longer is cut.
        Some(given) => given.value().char_indices().nth(MAX_ALGORITHM).map_or(given.value(), |(end, _)| &given.value()[..end]),
        None => "",
    };
    let from = parsed.get("from").map_or(Ok(0), |given| value::number_u16(parsed, given))?;
    let to = parsed.get("to").map_or(Ok(u16::MAX), |given| value::number_u16(parsed, given))?;
    let mut pattern = None;
    // Both are read, as they come, before the two together are refused.
    for given in &parsed.given {
        let typed = match given.option.name {
            "string" => parse_text(given)?,
            "hex-string" => parse_hex(given.value())?,
            _ => continue,
        };
        pattern = Some((typed, given.inverted));
    }
    let Some((typed, inverted)) = pattern else {
        let message = "STRING match: You must specify `--string' or `--hex-string'";
        return Err(SyntaxError::parameter(message));
    };
    parsed.required("algo")?;
    let ignore_case = parsed.has("icase");
    Ok(Arc::new(Text {
        pattern: if ignore_case { typed.iter().map(|b| upper(*b)).collect() } else { typed.clone() },
        typed,
        algorithm: algorithm.to_owned(),
        from,
        to,
        ignore_case,
        inverted,
    }))
}

fn parse_text(given: &Given) -> Result<Vec<u8>, SyntaxError> {
    let bytes = given.value().as_bytes();
    if bytes.len() > MAX_PATTERN { Err(too_long(given.value())) } else { Ok(bytes.to_vec()) }
}

/// Text in which hexadecimal stands between bars, and a backslash before a character that is meant as it is.
fn parse_hex(text: &str) -> Result<Vec<u8>, SyntaxError> {
    let refuse = |message: String| Err(SyntaxError::parameter(message).at(text));
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    let mut pattern = Vec::new();
    let (mut i, mut in_hex) = (0, false);
    if bytes.is_empty() {
        return refuse("STRING must contain at least one char".to_owned());
    }
    while let Some(byte) = at(i) {
        if byte == b'|' {
            in_hex = !in_hex;
            while in_hex && at(i + 1) == Some(b' ') {
                i += 1;
            }
            i += 1;
        } else if byte == b'\\' && in_hex {
            return refuse("Cannot include literals in hex data".to_owned());
        }
        let Some(byte) = at(i) else { break };
        if in_hex {
            let Some(second) = at(i + 1) else { return refuse("Odd number of hex digits".to_owned()) };
            if at(i + 2).is_none() {
                return refuse("Invalid hex block".to_owned());
            }
            match (hex_digit(byte), hex_digit(second)) {
                (Some(high), Some(low)) => pattern.push(high << 4 | low),
                (None, _) => return refuse(format!("Invalid hex char '{}'", char::from(byte))),
                (_, None) => return refuse(format!("Invalid hex char '{}'", char::from(second))),
            }
            i += if at(i + 2) == Some(b' ') { 3 } else { 2 };
        } else if byte == b'\\' {
            let Some(literal) = at(i + 1) else {
                return refuse("Bad literal placement at end of string".to_owned());
            };
            pattern.push(literal);
            i += 2;
        } else {
            pattern.push(byte);
            i += 1;
        }
    }
    if pattern.len() > MAX_PATTERN { Err(too_long(text)) } else { Ok(pattern) }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn too_long(text: &str) -> SyntaxError {
    SyntaxError::parameter(format!("STRING too long \"{text}\"")).at(text)
}

impl Match for Text {
    fn name(&self) -> &'static str {
        "string"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let bytes = look.bytes();
        let end = usize::from(self.to).min(bytes.len());
        let searched = bytes.get(usize::from(self.from)..end).unwrap_or_default();
        let same = |(found, wanted): (&u8, &u8)| (if self.ignore_case { upper(*found) } else { *found }) == *wanted;
        let found = !self.pattern.is_empty()
            && searched.windows(self.pattern.len()).any(|window| window.iter().zip(&self.pattern).all(same));
        found != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " !" } else { "" })?;
        self.write_typed(f, " --string ", " --hex-string ")?;
        write!(f, " --algo {}", self.algorithm)?;
        if self.from != 0 {
            write!(f, " --from {}", self.from)?;
        }
        if self.to != u16::MAX {
            write!(f, " --to {}", self.to)?;
        }
        f.write_str(if self.ignore_case { " --icase" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " STRING match !" } else { " STRING match " })?;
        self.write_typed(f, " ", " ")?;
        write!(f, " ALGO name {}", self.algorithm)?;
        if self.from != 0 {
            write!(f, " FROM {}", self.from)?;
        }
        if self.to != u16::MAX {
            write!(f, " TO {}", self.to)?;
        }
        f.write_str(if self.ignore_case { " ICASE" } else { "" })
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.from > self.to || self.typed.is_empty() {
            return Err(Refused::Invalid("xt_string: nothing to search for, or nowhere".to_owned()));
        }
        if !matches!(self.algorithm.as_str(), "bm" | "kmp") {
            return Err(Refused::Missing(format!("xt_string: no algorithm {}", self.algorithm)));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Text {
    /// The text in double quotes, or in hexadecimal digits when it has what cannot be printed.
    fn write_typed(&self, f: &mut fmt::Formatter<'_>, before_text: &str, before_hex: &str) -> fmt::Result {
        if self.typed.iter().all(|b| (b' '..=b'~').contains(b)) && self.typed.last() != Some(&b'\\') {
            write!(f, "{before_text}\"")?;
            for byte in &self.typed {
                write!(f, "{}{}", if matches!(byte, b'"' | b'\\') { "\\" } else { "" }, char::from(*byte))?;
            }
            f.write_str("\"")
        } else {
            write!(f, "{before_hex}\"|")?;
            self.typed.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("|\"")
        }
    }
}

/// The kernel's `toupper`, which knows Latin-1.
fn upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => byte - 0x20,
        other => other,
    }
}

const MAX_PATTERN: usize = 128;
/// `XT_STRING_MAX_ALGO_NAME_SIZE` without the final zero byte.
const MAX_ALGORITHM: usize = 15;

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, SRC, Yes, check, loads, parse};
    use hairpin_wire::{Family, build};

    fn packet() -> Vec<u8> {
        build::Udp { src_port: 1, dst_port: 2, payload: b"GET /Index" }.packet(Family::V4, SRC, DST)
    }

    #[test]
    fn finds_bytes() {
        check("-m string --algo bm --string GET", packet(), Yes);
        check("-m string --algo kmp --string get", packet(), No);
        check("-m string --algo kmp --string get --icase", packet(), Yes);
        check("-m string --algo bm ! --string GET", packet(), No);
        check("-m string --algo bm --hex-string \"|45 00|\"", packet(), Yes);
    }

    /// Offsets count from the network header; what is found must end before `--to`.
    #[test]
    fn within_bounds() {
        check("-m string --algo bm --string GET --from 28", packet(), Yes);
        check("-m string --algo bm --string GET --from 29", packet(), No);
        check("-m string --algo bm --string GET --to 31", packet(), Yes);
        check("-m string --algo bm --string GET --to 30", packet(), No);
        check("-m string --algo bm --string GET --from 1000", packet(), No);
        check("-m string --algo bm ! --string GET --from 1000", packet(), Yes);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused = |rule: &str| loads(parse(Family::V4, rule).unwrap()).is_err();
        assert!(refused("-m string --algo bm --string \"\""));
        assert!(refused("-m string --algo bm --string a --from 9 --to 8"));
        assert!(refused("-m string --algo foo --string a"));
        assert!(!refused("-m string --algo bm --string a --from 9 --to 9"));
    }
}
