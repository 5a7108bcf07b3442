//! One rule as it stands in the file: its counters and its text as saved, without `-A CHAIN`.
//!
//! ```text
//! length of the text (4) │ of the words (4) │ where the target begins (4) │ flags (1) │ packets (8) │ bytes (8) │ text │ words
//! ```
//!
//! The few rules whose text cannot be read again (`-i "a b"` is saved without quotes) have the words they were read from
//! behind it: which of the words' rules it is (4), then each word with its length.

use super::codec::{Reader, Writer, damaged};
use hairpin_engine::rule::{Action, Counter, IfMatch, Rule};
use hairpin_ruleset::chains::callee;
use hairpin_ruleset::save::rule_body;
use hairpin_wire::Family;
use std::io;

/// The bytes before the text.
const HEAD: usize = 29;

/// A rule in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    pub(super) counter: Counter,
    /// Each word with a space before it.
    pub(super) text: &'a str,
    /// The words, empty when the text will do.
    words: &'a [u8],
    target: usize,
    flags: u8,
}

/// It goes to a chain.
const CALLS: u8 = 1;
/// It has `-i +`, or `-o +`, which are not saved but listed.
const ANY_IN: u8 = 2;
const ANY_OUT: u8 = 4;

impl<'a> Record<'a> {
    /// Takes the next one.
    pub(super) fn take(reader: &mut Reader<'a>) -> io::Result<Record<'a>> {
        let all = reader.0;
        let (len, words, target) = (reader.u32()? as usize, reader.u32()? as usize, reader.u32()? as usize);
        let flags = reader.u8()?;
        let counter = Counter { packets: reader.u64()?, bytes: reader.u64()? };
        let text = std::str::from_utf8(reader.take(len)?).map_err(|_| damaged())?;
        if !text.is_char_boundary(target) {
            return Err(damaged());
        }
        let bytes = all.get(..HEAD + len + words).ok_or_else(damaged)?;
        let words = reader.take(words)?;
        Ok(Record { bytes, counter, text, words, target, flags })
    }

    /// Passes over the next ones.
    pub(super) fn skip(reader: &mut Reader<'a>, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let len = reader.u32()? as usize + reader.u32()? as usize;
            reader.take(HEAD - 8 + len)?;
        }
        Ok(())
    }

    /// Adds it to a body, with the counter it has now.
    pub(super) fn write(&self, body: &mut Vec<u8>) {
        let start = body.len();
        body.extend_from_slice(self.bytes);
        for (at, value) in [(HEAD - 16, self.counter.packets), (HEAD - 8, self.counter.bytes)] {
            if let Some(place) = body.get_mut(start + at..start + at + 8) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// The tests, and the target with what follows it.
    pub(super) fn halves(&self) -> (&'a str, &'a str) {
        self.text.split_at(self.target)
    }

    /// The words it was read from and which of their rules it is, when its text will not do.
    pub(super) fn words(&self) -> io::Result<Option<(Vec<&'a str>, usize)>> {
        if self.words.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader(self.words);
        let nth = reader.u32()? as usize;
        let mut words = Vec::new();
        while !reader.0.is_empty() {
            words.push(reader.text()?);
        }
        Ok(Some((words, nth)))
    }

    /// What is not in the text.
    pub(super) fn complete(&self, rule: &mut Rule) {
        for (flag, device) in [(ANY_IN, &mut rule.header.iif), (ANY_OUT, &mut rule.header.oif)] {
            if self.flags & flag != 0 {
                *device = IfMatch::new("+", false).unwrap_or_default();
            }
        }
        // A chain may have got another name since.
        if let (Action::Jump(name) | Action::Goto(name), Some(callee)) = (&mut rule.action, self.callee()) {
            callee.clone_into(name);
        }
        rule.counter = self.counter;
    }

    /// Whether it is a verdict without any condition.
    pub(super) fn ends_chain(&self) -> bool {
        let any_device = self.flags & (ANY_IN | ANY_OUT) != 0;
        !any_device && matches!(self.text, " -j ACCEPT" | " -j DROP" | " -j RETURN" | " -j QUEUE")
    }

    /// The chain it goes to.
    pub(super) fn callee(&self) -> Option<&'a str> {
        // ` -j NAME` or ` -g NAME`
        if self.flags & CALLS != 0 { self.text.get(self.target + 4..) } else { None }
    }
}

/// The record of a rule.
pub(super) fn encode(family: Family, rule: &Rule) -> Vec<u8> {
    let (text, target) = rule_body(family, rule);
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    let any = |device: &IfMatch| device.any && !device.inverted;
    let flags = flag(callee(rule).is_some(), CALLS)
        | flag(any(&rule.header.iif), ANY_IN)
        | flag(any(&rule.header.oif), ANY_OUT);
    Record { bytes: &[], counter: rule.counter, text: &text, words: &[], target, flags }.encode()
}

/// The same rule with the words it was read from.
pub(super) fn with_words(record: &Record<'_>, words: &[String], nth: usize) -> Vec<u8> {
    let mut all = Writer::default();
    all.u32(nth as u32);
    words.iter().for_each(|word| all.text(word));
    Record { words: &all.0, ..*record }.encode()
}

/// The same rule with another counter.
pub(super) fn with_counter(record: &Record<'_>, counter: Counter) -> Vec<u8> {
    Record { counter, ..*record }.encode()
}

/// The same rule going to another chain.
pub(super) fn with_callee(record: &Record<'_>, name: &str) -> Vec<u8> {
    let text = format!("{}{name}", record.text.get(..record.target + 4).unwrap_or_default());
    Record { text: &text, ..*record }.encode()
}

impl Record<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(HEAD + self.text.len() + self.words.len()));
        out.u32(self.text.len() as u32);
        out.u32(self.words.len() as u32);
        out.u32(self.target as u32);
        out.u8(self.flags);
        out.u64(self.counter.packets);
        out.u64(self.counter.bytes);
        out.0.extend_from_slice(self.text.as_bytes());
        out.0.extend_from_slice(self.words);
        out.0
    }
}
