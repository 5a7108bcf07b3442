//! `-m ttl`: the IPv4 time to live.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const TESTS: &[&str] = &["ttl-eq", "ttl-lt", "ttl-gt"];

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ttl",
    aliases: &[],
    families: Families::V4,
    about: "the time to live",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ttl-lt", &["value"], "the time to live is lower").excludes(TESTS),
        Opt::new("ttl-gt", &["value"], "the time to live is higher").excludes(TESTS),
        Opt::new("ttl-eq", &["value"], "the time to live is this").alias(&["ttl"]).inverts().excludes(TESTS),
    ],
    build,
    cases: &[
        Case::Same("--ttl-eq 64"),
        Case::Same("! --ttl-eq 255"),
        Case::Same("--ttl-lt 5"),
        Case::Same("--ttl-gt 5"),
        Case::Saves("--ttl 5", "--ttl-eq 5"),
        Case::Fails("--ttl-eq 256", "out of range (0-255)"),
        Case::Fails("--ttl-lt 5 --ttl-gt 9", "cannot be used together"),
        Case::Fails("! --ttl-lt 5", "cannot be inverted"),
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
        let message = "TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt";
        return Err(SyntaxError::parameter(message));
    };
    let compare = match (given.option.name, given.inverted) {
        ("ttl-lt", _) => Compare::Less,
        ("ttl-gt", _) => Compare::Greater,
        (_, false) => Compare::Equal,
        (_, true) => Compare::NotEqual,
    };
    Ok(Arc::new(Test { compare, value: value::number_u8(parsed, given)? }))
}

impl Match for Test {
    fn name(&self) -> &'static str {
        "ttl"
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
            Compare::Equal => "--ttl-eq",
            Compare::NotEqual => "! --ttl-eq",
            Compare::Less => "--ttl-lt",
            Compare::Greater => "--ttl-gt",
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
        write!(f, " TTL match TTL {sign} {}", self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn compares() {
        check("-m ttl --ttl-eq 64", udp(1, 2), Yes);
        check("-m ttl ! --ttl-eq 64", udp(1, 2), No);
        check("-m ttl --ttl-lt 64", udp(1, 2), No);
        check("-m ttl --ttl-lt 65", udp(1, 2), Yes);
        check("-m ttl --ttl-gt 63", udp(1, 2), Yes);
    }
}
