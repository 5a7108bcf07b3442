//! The time to live of IPv4 and the hop limit of IPv6: what `-m ttl` and `-m hl`, and what `-j TTL` and `-j HL` share.

use crate::option::{Parsed, SyntaxError};
use crate::value;
use hairpin_engine::rule::{Listing, Match, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Look};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A comparison with the number of hops left.
#[derive(Debug)]
struct Test {
    /// The match's name, which its options begin with.
    name: &'static str,
    compare: Compare,
    value: u8,
}

#[derive(Clone, Copy, Debug)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    Greater,
}

/// Reads the options `NAME-eq`, `NAME-lt` and `NAME-gt`, of which one is given; `missing` is said when none is.
pub(crate) fn test(
    parsed: &Parsed<'_>,
    name: &'static str,
    missing: &'static str,
) -> Result<Arc<dyn Match>, SyntaxError> {
    let Some(given) = parsed.given.first() else { return Err(SyntaxError::parameter(missing)) };
    let compare = match (operation(given.option.name), given.inverted) {
        ("lt", _) => Compare::Less,
        ("gt", _) => Compare::Greater,
        (_, false) => Compare::Equal,
        (_, true) => Compare::NotEqual,
    };
    Ok(Arc::new(Test { name, compare, value: value::number_u8(parsed, given)? }))
}

impl Match for Test {
    fn name(&self) -> &'static str {
        self.name
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        match self.compare {
            Compare::Equal => look.ttl() == self.value,
            Compare::NotEqual => look.ttl() != self.value,
            Compare::Less => look.ttl() < self.value,
            Compare::Greater => look.ttl() > self.value,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (not, operation) = match self.compare {
            Compare::Equal => ("", "eq"),
            Compare::NotEqual => ("! ", "eq"),
            Compare::Less => ("", "lt"),
            Compare::Greater => ("", "gt"),
        };
        write!(f, " {not}--{}-{operation} {}", self.name, self.value)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let sign = match self.compare {
            Compare::Equal => "==",
            Compare::NotEqual => "!=",
            Compare::Less => "<",
            Compare::Greater => ">",
        };
        let name = self.name.to_ascii_uppercase();
        write!(f, " {name} match {name} {sign} {}", self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A change of the number of hops left, which stays within 0 and 255.
#[derive(Debug)]
struct Change {
    /// The target's name; in lower case its options begin with it.
    name: &'static str,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(u8),
    Lower(u8),
    Raise(u8),
}

/// Reads the options `NAME-set`, `NAME-dec` and `NAME-inc`, of which one is given.
pub(crate) fn change(parsed: &Parsed<'_>, name: &'static str) -> Result<Arc<dyn Target>, SyntaxError> {
    let Some(given) = parsed.given.first() else {
        return Err(parsed.error("You must specify an action"));
    };
    let by = || value::number(parsed, given, 1, 255).map(|n| n as u8);
    let step = match operation(given.option.name) {
        "set" => Step::Set(value::number_u8(parsed, given)?),
        "dec" => Step::Lower(by()?),
        _ => Step::Raise(by()?),
    };
    Ok(Arc::new(Change { name, step }))
}

impl Target for Change {
    fn name(&self) -> &'static str {
        self.name
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let now = edit.look().ttl();
        edit.packet().set_ttl(match self.step {
            Step::Set(value) => value,
            Step::Lower(by) => now.saturating_sub(by),
            Step::Raise(by) => now.saturating_add(by),
        });
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, value) = match self.step {
            Step::Set(value) => ("set", value),
            Step::Lower(by) => ("dec", by),
            Step::Raise(by) => ("inc", by),
        };
        write!(f, " --{}-{operation} {value}", self.name.to_ascii_lowercase())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        match self.step {
            Step::Set(value) => write!(f, " {} set to {value}", self.name),
            Step::Lower(by) => write!(f, " {} decrement by {by}", self.name),
            Step::Raise(by) => write!(f, " {} increment by {by}", self.name),
        }
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Mangle]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What stands behind the dash of an option's name.
fn operation(option: &str) -> &str {
    option.split_once('-').map_or(option, |(_, operation)| operation)
}
