//! `-m hl`: the IPv6 hop limit.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const TESTS: &[&str] = &["hl-eq", "hl-lt", "hl-gt"];

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "hl",
    aliases: &[],
    families: Families::V6,
    about: "the hop limit",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hl-lt", &["value"], "the hop limit is lower").excludes(TESTS),
        Opt::new("hl-gt", &["value"], "the hop limit is higher").excludes(TESTS),
        Opt::new("hl-eq", &["value"], "the hop limit is this").alias(&["hl"]).inverts().excludes(TESTS),
    ],
    build,
    cases: &[
        Case::Same("--hl-eq 64"),
        Case::Same("! --hl-eq 255"),
        Case::Same("--hl-lt 5"),
        Case::Same("--hl-gt 5"),
        Case::Saves("--hl 5", "--hl-eq 5"),
        Case::Fails("--hl-eq 256", "out of range (0-255)"),
        Case::Fails("--hl-lt 5 --hl-gt 9", "cannot be used together"),
        Case::Fails("! --hl-lt 5", "cannot be inverted"),
        Case::Fails("", "You must specify one of"),
    ],
};

#[derive(Debug)]
struct Test {
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

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let Some(given) = parsed.given.first() else {
        let message = "HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'";
        return Err(SyntaxError::parameter(message));
    };
    let compare = match (given.option.name, given.inverted) {
        ("hl-lt", _) => Compare::Less,
        ("hl-gt", _) => Compare::Greater,
        (_, false) => Compare::Equal,
        (_, true) => Compare::NotEqual,
    };
    Ok(Arc::new(Test { compare, value: value::number_u8(parsed, given)? }))
}

impl Match for Test {
    fn name(&self) -> &'static str {
        "hl"
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
        let option = match self.compare {
            Compare::Equal => "--hl-eq",
            Compare::NotEqual => "! --hl-eq",
            Compare::Less => "--hl-lt",
            Compare::Greater => "--hl-gt",
        };
        write!(f, " {option} {}", self.value)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let sign = match self.compare {
            Compare::Equal => "==",
            Compare::NotEqual => "!=",
            Compare::Less => "<",
            Compare::Greater => ">",
        };
        write!(f, " HL match HL {sign} {}", self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6};

    #[test]
    fn compares() {
        check("-m hl --hl-eq 64", udp6(1, 2), Yes);
        check("-m hl --hl-lt 64", udp6(1, 2), No);
        check("-m hl --hl-gt 63", udp6(1, 2), Yes);
    }
}
