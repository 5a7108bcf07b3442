//! A set and directions in a rule, `NAME src,dst`: what `-m set` and `-j SET` share.

use crate::option::{Given, KnownSet, Parsed, SyntaxError};
use hairpin_engine::set::Directions;
use hairpin_wire::Family;
use std::fmt;

/// The longest name of a set.
const LONGEST: usize = 31;

/// A set as a rule names it.
#[derive(Clone, Debug)]
pub(crate) struct SetUse {
    pub(crate) name: String,
    pub(crate) directions: Directions,
}

impl SetUse {
    /// From the two words of an option; `known` is the one given before.
    pub(crate) fn parse(parsed: &Parsed<'_>, given: &Given, known: Option<&SetUse>) -> Result<SetUse, SyntaxError> {
        let option = if given.name == "set" { "match-set" } else { given.option.name };
        let refuse = |text: String| Err(SyntaxError::parameter(text));
        if known.is_some() {
            return refuse(format!("--{option} can be specified only once"));
        }
        let [name, directions] = given.words.as_slice() else {
            return refuse(format!("--{option} requires two args."));
        };
        if name.len() > LONGEST {
            return refuse(format!("setname `{name}' too long, max {LONGEST} characters."));
        }
        match parsed.names.set(name) {
            KnownSet::Unchecked | KnownSet::Of(None) => {}
            KnownSet::Of(Some(family)) if family == parsed.family => {}
            KnownSet::Missing => {
                // The line break at the end is part of it.
                return Err(SyntaxError::parameter(format!("Set {name} doesn't exist.\n")).at(name));
            }
            KnownSet::Of(Some(family)) => {
                let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
                let text = format!("The protocol family of set {name} is {family}, which is not applicable.\n");
                return Err(SyntaxError::parameter(text).at(name));
            }
        }
        Ok(SetUse { name: name.clone(), directions: parse_directions(directions)? })
    }
}

fn parse_directions(text: &str) -> Result<Directions, SyntaxError> {
    let mut sources = Vec::new();
    for word in text.split(',') {
        if sources.len() == Directions::MAX {
            let text = format!("Can't be more src/dst options than {}.", Directions::MAX);
            return Err(SyntaxError::parameter(text));
        }
        // As the real one: what follows the three letters does not matter.
        match word.get(..3) {
            Some("src") => sources.push(true),
            Some("dst") => sources.push(false),
            _ => {
                let text = "You must specify (the comma separated list of) 'src' or 'dst'.";
                return Err(SyntaxError::parameter(text).at(word));
            }
        }
    }
    Ok(Directions::new(&sources))
}

impl fmt::Display for SetUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (n, is_source) in self.directions.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { " " } else { "," }, if is_source { "src" } else { "dst" })?;
        }
        Ok(())
    }
}
