//! `-m cpu`: the processor that handles the packet. The engine is one processor, number 0.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "cpu",
    aliases: &[],
    families: Families::Both,
    about: "the processor that handles the packet; here it is always 0",
    kind: Kind::Partly("there is one processor, number 0"),
    options: &[Opt::new("cpu", &["number"], "the processor's number").inverts().required()],
    build,
    cases: &[
        Case::Same("--cpu 0"),
        Case::Same("! --cpu 4294967295"),
        Case::Fails("--cpu 4294967296", "out of range"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Cpu {
    number: u32,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("cpu")?;
    Ok(Arc::new(Cpu { number: value::number_u32(parsed, given)?, inverted: given.inverted }))
}

impl Match for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        (self.number == 0) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --cpu {}", if self.inverted { " !" } else { "" }, self.number)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " cpu {}{}", if self.inverted { "! " } else { "" }, self.number)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn there_is_one() {
        check("-m cpu --cpu 0", udp(1, 2), Yes);
        check("-m cpu --cpu 1", udp(1, 2), No);
        check("-m cpu ! --cpu 1", udp(1, 2), Yes);
    }
}
