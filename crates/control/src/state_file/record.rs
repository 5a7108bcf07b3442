//! One rule as it stands in the file: its counters and its text as saved, without `-A CHAIN`.
//!
//! ```text
//! length of the text (4) │ where the target begins in it (4) │ 1 when it goes to a chain (1) │ packets (8) │ bytes (8) │ text
//! ```

use super::codec::{Reader, Writer, damaged};
use hairpin_engine::rule::{Counter, Rule};
use hairpin_ruleset::chains::callee;
use hairpin_ruleset::save::rule_body;
use hairpin_wire::Family;
use std::io;

/// The bytes before the text.
const HEAD: usize = 25;

/// A rule in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    pub(super) counter: Counter,
    /// Each word with a space before it.
    pub(super) text: &'a str,
    target: usize,
    calls: bool,
}

impl<'a> Record<'a> {
    /// Takes the next one.
    pub(super) fn take(reader: &mut Reader<'a>) -> io::Result<Record<'a>> {
        let all = reader.0;
        let (len, target) = (reader.u32()? as usize, reader.u32()? as usize);
        let calls = reader.u8()? != 0;
        let counter = Counter { packets: reader.u64()?, bytes: reader.u64()? };
        let text = std::str::from_utf8(reader.take(len)?).map_err(|_| damaged())?;
        if !text.is_char_boundary(target) {
            return Err(damaged());
        }
        let bytes = all.get(..HEAD + len).ok_or_else(damaged)?;
        Ok(Record { bytes, counter, text, target, calls })
    }

    /// Passes over the next ones.
    pub(super) fn skip(reader: &mut Reader<'a>, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let len = reader.u32()? as usize;
            reader.take(HEAD - 4 + len)?;
        }
        Ok(())
    }

    /// Adds it to a body, with the counter it has now.
    pub(super) fn write(&self, body: &mut Vec<u8>) {
        let start = body.len();
        body.extend_from_slice(self.bytes);
        for (at, value) in [(9, self.counter.packets), (17, self.counter.bytes)] {
            if let Some(place) = body.get_mut(start + at..start + at + 8) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// The tests, and the target with what follows it.
    pub(super) fn halves(&self) -> (&'a str, &'a str) {
        self.text.split_at(self.target)
    }

    /// The chain it goes to.
    pub(super) fn callee(&self) -> Option<&'a str> {
        // ` -j NAME` or ` -g NAME`
        if self.calls { self.text.get(self.target + 4..) } else { None }
    }
}

/// The record of a rule.
pub(super) fn encode(family: Family, rule: &Rule) -> Vec<u8> {
    let (text, target) = rule_body(family, rule);
    encode_text(&text, target, callee(rule).is_some(), rule.counter)
}

/// The same rule with another counter.
pub(super) fn with_counter(record: &Record<'_>, counter: Counter) -> Vec<u8> {
    encode_text(record.text, record.target, record.calls, counter)
}

/// The same rule going to another chain.
pub(super) fn with_callee(record: &Record<'_>, name: &str) -> Vec<u8> {
    let text = format!("{}{name}", record.text.get(..record.target + 4).unwrap_or_default());
    encode_text(&text, record.target, true, record.counter)
}

fn encode_text(text: &str, target: usize, calls: bool, counter: Counter) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(HEAD + text.len()));
    out.u32(text.len() as u32);
    out.u32(target as u32);
    out.u8(u8::from(calls));
    out.u64(counter.packets);
    out.u64(counter.bytes);
    out.0.extend_from_slice(text.as_bytes());
    out.0
}
