//! The options of matches and targets, and what is made of them.

use super::{CommandError, Outcome, Parser, Use, standard_action, verb_chain};
use crate::getopt::{Extension, Found};
use hairpin_engine::rule::{Action, Match, TableId};
use hairpin_xt::option::{Given, Parsed, SyntaxError};
use hairpin_xt::{find_match, value};
use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;

impl<'w, W: AsRef<str>> Parser<'_, 'w, W> {
    /// `-p tcp --dport 1` means `-p tcp -m tcp --dport 1`: the protocol's own match comes in, once, when an option is unknown
    /// without it.
    pub(super) fn load_protocol(&mut self) -> bool {
        if self.protocol.is_none() || self.protocol_used {
            return false;
        }
        self.protocol_used = true;
        let name = match value::parse_number(&self.protocol_text) {
            Some(number) => u8::try_from(number).ok().and_then(value::protocol_name).unwrap_or_default(),
            None => self.protocol_text.as_ref(),
        };
        let Some(spec) = find_match(name, self.context.family) else { return false };
        let extension = Extension::Match(spec);
        self.matches.push(self.using(extension));
        self.reader.learn(extension);
        true
    }

    pub(super) fn extension(&mut self, found: Found, first: Option<&'w str>) -> Outcome {
        let from = self.reader.current();
        let mut words: Vec<String> = first.map(str::to_owned).into_iter().collect();
        let values = found.option.values.len();
        if found.option.optional && words.is_empty() {
            words.extend(self.reader.argument().map(str::to_owned));
        }
        while !words.is_empty() && words.len() < values {
            match self.reader.argument() {
                Some(word) => words.push(word.to_owned()),
                None if !found.option.too_few.is_empty() => return Err(self.refuse(found.option.too_few)),
                None if values == 2 => return Err(self.refuse(format!("--{} requires two args.", found.name))),
                None => return Err(self.refuse(format!("--{} requires {values} args.", found.name))),
            }
        }
        let (protocol, inverted, to) = (self.protocol, self.inverted, self.reader.position());
        let used = match found.extension {
            Extension::Target(_) => self.target.as_mut(),
            Extension::Match(_) => self.matches.iter_mut().rev().find(|m| m.extension.is(found.extension)),
        };
        // An option is only known when its extension is in use.
        let Some(used) = used else { return Ok(()) };
        let option = found.option;
        let again = !option.repeatable && used.given.iter().any(|g| ptr::eq(g.option, option));
        let name = used.name;
        used.given.push(Given { option, name: found.name, inverted, words });
        used.places.push((from, to));
        used.protocol = protocol;
        // An extension with words of its own reads `!' before it knows the option.
        let inverted = inverted && !option.invertible;
        if inverted && !option.inverted.is_empty() {
            return Err(self.refuse(option.inverted));
        }
        if again {
            let usual = format!("{name}: option \"--{}\" can only be used once.\n", option.name);
            return Err(self.refuse(if option.twice.is_empty() { usual } else { option.twice.to_owned() }));
        }
        if inverted {
            return Err(self.refuse(format!("{name}: option \"--{}\" cannot be inverted.\n", option.name)));
        }
        if !option.notice.is_empty() {
            self.notices.push(option.notice.to_owned());
        }
        if self.eager { self.check_value(found.extension) } else { Ok(()) }
    }

    /// Tries the options of an extension as given so far. What is wrong with a value names the value; the rest may still come.
    pub(super) fn check_value(&mut self, extension: Extension) -> Outcome {
        let used = match extension {
            Extension::Target(_) => self.target.as_ref(),
            Extension::Match(_) => self.matches.iter().rev().find(|m| m.extension.is(extension)),
        };
        let Some(used) = used else { return Ok(()) };
        let parsed = self.parsed(used, used.given.clone());
        let tried = |parsed: &Parsed<'_>| match extension {
            Extension::Target(spec) => (spec.build)(parsed).map(drop),
            Extension::Match(spec) => (spec.build)(parsed).map(drop),
        };
        let mistake = |parsed: &Parsed<'_>| tried(parsed).err().filter(|error| error.word.is_some() && !error.late);
        // Of options that exclude each other an extension may look at one only.
        let last = used.given.last().filter(|last| {
            let given =
                |name: &&str| used.given.iter().any(|g| g.option.name == *name && g.option.name != last.option.name);
            last.option.excludes.iter().any(given)
        });
        let alone = || mistake(&self.parsed(used, last.cloned().into_iter().collect()));
        let found = mistake(&parsed).or_else(|| last.and_then(|_| alone()));
        let outcome = found.map_or(Ok(()), |error| Err(self.use_error(used, error)));
        let said = parsed.notices.take();
        self.notices.extend(said.into_iter().filter(|notice| !self.notices.contains(notice)).collect::<Vec<_>>());
        outcome
    }

    /// Makes the matches and the action.
    pub(super) fn build(&mut self) -> Outcome<(Vec<Arc<dyn Match>>, Action)> {
        let mut matches = Vec::with_capacity(self.matches.len());
        for used in std::mem::take(&mut self.matches) {
            if let Extension::Match(spec) = used.extension {
                matches.push(self.make(used, spec.build)?);
            }
        }
        let action = match (self.target.take(), self.jump) {
            (Some(used), _) => match used.extension {
                Extension::Target(spec) => Action::Target(self.make(used, spec.build)?),
                Extension::Match(_) => Action::None,
            },
            (None, Some(name)) if self.is_goto => Action::Goto(name.to_owned()),
            (None, Some(name)) => standard_action(name).unwrap_or_else(|| Action::Jump(name.to_owned())),
            (None, None) => Action::None,
        };
        Ok((matches, action))
    }

    pub(super) fn make<T>(&mut self, mut used: Use, build: fn(&Parsed<'_>) -> Result<T, SyntaxError>) -> Outcome<T> {
        // An extension's own conditions come before those of its table; that it misses a required option is the table's.
        let table = check_options(&used);
        let given = std::mem::take(&mut used.given);
        let parsed = self.parsed(&used, given);
        let made = match build(&parsed) {
            Err(error) if error.missing => table.and(Err(error)),
            Err(error) => Err(error),
            Ok(made) => table.map(|()| made),
        };
        let said = parsed.notices.take();
        self.notices.extend(said);
        made.map_err(|error| self.use_error(&used, error))
    }

    pub(super) fn parsed(&self, used: &Use, given: Vec<Given>) -> Parsed<'_> {
        Parsed {
            extension: used.name,
            family: self.context.family,
            table: self.table.and_then(TableId::from_name).unwrap_or(self.context.table),
            chain: self.verb.as_ref().map_or("", verb_chain),
            protocol: used.protocol,
            names: self.context.names,
            given,
            complete: !self.eager,
            notices: RefCell::default(),
        }
    }

    /// An extension's refusal: at the word it names if that is one of its own, else at its option or its name.
    pub(super) fn use_error(&self, used: &Use, error: SyntaxError) -> CommandError {
        let mut own = used.places.iter().flat_map(|(from, to)| *from..*to);
        let text = |index: usize| self.words.get(index).map_or("", |w| w.as_ref());
        let named = error.word.as_deref().filter(|w| !w.is_empty());
        let word = named
            .and_then(|word| own.clone().find(|i| text(*i) == word).or_else(|| own.find(|i| text(*i).contains(word))));
        CommandError { error, word: Some(word.unwrap_or(used.word)), hint: None }
    }
}

/// The conditions of an extension's option table (`xtables_options_fcheck`): what must be there, what goes together and what
/// does not.
fn check_options(used: &Use) -> Result<(), SyntaxError> {
    let has = |name: &str| used.given.iter().any(|g| g.option.name == name);
    let (extension, options) = (used.name, used.extension.options());
    for option in options {
        let name = option.name;
        if !has(name) {
            if option.required {
                return Err(SyntaxError::parameter(format!("{extension}: option \"--{name}\" must be specified\n")));
            }
            continue;
        }
        if let Some(other) = option.needs.iter().find(|other| !has(other)) {
            let message = format!("{extension}: option \"--{name}\" also requires \"--{other}\".\n");
            return Err(SyntaxError::parameter(message).at(format!("--{name}")));
        }
        // In the order in which they are declared to go not together: that is how iptables numbers them.
        if let Some(other) = option.excludes.iter().find(|other| **other != name && has(other)) {
            let message = format!("{extension}: option \"--{name}\" cannot be used together with \"--{other}\".\n");
            return Err(SyntaxError::parameter(message).at(format!("--{other}")));
        }
    }
    Ok(())
}
