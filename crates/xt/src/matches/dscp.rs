//! `-m dscp`: the differentiated services code point.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "dscp",
    aliases: &[],
    families: Families::Both,
    about: "the upper six bits of the TOS byte or traffic class",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("dscp", &["value"], "the code point, 0 to 63").inverts().excludes(&["dscp-class"]),
        Opt::new("dscp-class", &["name"], "EF, AFxy, CSx or BE").inverts().excludes(&["dscp"]),
    ],
    build,
    cases: &[
        Case::Same("--dscp 0x00"),
        Case::Same("! --dscp 0x3f"),
        Case::Saves("--dscp-class af11", "--dscp 0x0a"),
        Case::Saves("! --dscp-class BE", "! --dscp 0x00"),
        Case::Fails("--dscp 0x40", "out of range (0-63)"),
        Case::Fails("--dscp-class foo", "Invalid DSCP value `foo'"),
        Case::Fails("--dscp 1 --dscp-class CS0", "cannot be used together"),
        Case::Fails("", "DSCP match: Parameter --dscp is required"),
    ],
};

#[derive(Debug)]
struct Dscp {
    value: u8,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let mut first = None;
    for given in &parsed.given {
        let value = match given.option.name {
            "dscp-class" => value::dscp_class(given.value())?,
            _ => value::number(parsed, given, 0, 63)? as u8,
        };
        first = first.or(Some((value, given.inverted)));
    }
    let Some((value, inverted)) = first else {
        return Err(SyntaxError::parameter("DSCP match: Parameter --dscp is required"));
    };
    Ok(Arc::new(Dscp { value, inverted }))
}

impl Match for Dscp {
    fn name(&self) -> &'static str {
        "dscp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (look.tos() >> 2 == self.value) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --dscp {:#04x}", if self.inverted { " !" } else { "" }, self.value)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " DSCP match {}{:#04x}", if self.inverted { "!" } else { "" }, self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, SRC, Yes, check};
    use hairpin_wire::build;

    #[test]
    fn ignores_ecn() {
        let packet = |tos| build::Ipv4 { src: SRC, dst: DST, tos, ..Default::default() }.to_vec();
        check("-m dscp --dscp-class EF", packet(0xb9), Yes);
        check("-m dscp --dscp-class EF", packet(0xb4), No);
        check("-m dscp ! --dscp 0x2e", packet(0xb8), No);
    }
}
