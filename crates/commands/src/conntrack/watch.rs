//! `conntrack -E`: what happens to connections, as it happens.

use super::form::{self, Form, Happening};
use super::options::{self, Command, Request, Table};
use super::{VERSION, refuse};
use crate::call::Outcome;
use hairpin_engine::Wall;
use hairpin_engine::track::{ExpectRecord, Record};
use hairpin_xt::option::Names;
use std::fmt::Write;

/// A `conntrack -E` under way.
#[derive(Debug)]
pub struct Watch {
    request: Request,
    /// How many events were shown.
    shown: usize,
}

impl Watch {
    /// The watch that a command line asks for; None when it is for another command. With the words for standard error.
    ///
    /// # Errors
    /// The command line is wrong; what came of it.
    pub fn of(words: &[String], names: &dyn Names) -> Result<Option<(Watch, String)>, Outcome> {
        let looks_so =
            |word: &String| word == "--event" || word.starts_with('-') && !word.starts_with("--") && word.contains('E');
        if !words.iter().any(looks_so) {
            return Ok(None);
        }
        let request = options::parse(words, names).map_err(|refusal| refuse(&refusal))?;
        if request.command != Command::Event {
            return Ok(None);
        }
        let said = request.warnings.clone();
        Ok(Some((Watch { request, shown: 0 }, said)))
    }

    /// Whether expectations are watched, not connections.
    pub fn is_of_expectations(&self) -> bool {
        self.request.table == Table::Expect
    }

    /// What to print of an event, with its newline; None when it is not asked for. `by` is the process whose command it was.
    pub fn text(
        &mut self,
        happening: Happening,
        record: &Record,
        wall: Wall,
        by: Option<u32>,
        names: &dyn Names,
    ) -> Option<String> {
        if !self.wishes(happening) || self.is_of_expectations() || !self.request.means(record) {
            return None;
        }
        let (output, by_command) = (self.request.output, by.is_some());
        let form = Form { output, happening: Some(happening), by_command, letter: 'A', uses: 1, wall, names };
        let mut text = form.text(record);
        if self.request.output.xml && self.shown == 0 {
            text.insert_str(0, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n");
        }
        if let Some(process) = by.filter(|_| !self.request.output.json) {
            let _ = write!(text, " [USERSPACE] portid={process}");
        }
        text.push('\n');
        self.shown += 1;
        Some(text)
    }

    /// The same for an expectation.
    pub fn expectation_text(&mut self, happening: Happening, record: &ExpectRecord, wall: Wall) -> Option<String> {
        let is_meant = self.request.family.is_none_or(|family| family == record.tuple.family);
        if !self.wishes(happening) || !self.is_of_expectations() || !is_meant {
            return None;
        }
        let mut text = form::expectation(record, self.request.output, Some(happening), wall);
        if self.request.output.xml && self.shown == 0 {
            text.insert_str(0, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n");
        }
        text.push('\n');
        self.shown += 1;
        Some(text)
    }

    const fn wishes(&self, happening: Happening) -> bool {
        match happening {
            Happening::New => self.request.events[0],
            Happening::Update => self.request.events[1],
            Happening::Destroy => self.request.events[2],
        }
    }

    /// What to print at the end: on standard output, and on standard error.
    pub fn end(&self) -> (String, String) {
        let out = match (self.request.output.xml && self.shown > 0, self.is_of_expectations()) {
            (false, _) => "",
            (true, false) => "</conntrack>\n",
            (true, true) => "</expect>\n",
        };
        let what = if self.is_of_expectations() { "expectation events" } else { "flow events" };
        (out.to_owned(), format!("conntrack v{VERSION} (conntrack-tools): {} {what} have been shown.\n", self.shown))
    }
}
