//! `-m length`: the length of the packet with its network header.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "length",
    aliases: &[],
    families: Families::Both,
    about: "the length of the packet",
    kind: Kind::Evaluated,
    options: &[Opt::new("length", &["n[:m]"], "bytes of the packet from the network header on").inverts().required()],
    build,
    cases: &[
        Case::Same("--length 1"),
        Case::Same("! --length 0:65535"),
        Case::Saves("--length :2", "--length 0:2"),
        Case::Saves("--length 3:", "--length 3:65535"),
        Case::Saves("--length 4:4", "--length 4"),
        Case::Fails("--length 0:65536", "out of range"),
        Case::Fails("--length 5:3", "out of range"),
        Case::Fails("--length 1:2:3", "Too many components"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Length {
    min: u16,
    max: u16,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("length")?;
    let range = value::number_range(parsed, given, 0, u64::from(u16::MAX))?;
    Ok(Arc::new(Length { min: range.from as u16, max: range.to as u16, inverted: given.inverted }))
}

impl Match for Length {
    fn name(&self) -> &'static str {
        "length"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (usize::from(self.min)..=usize::from(self.max)).contains(&look.length()) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --length {}", if self.inverted { " !" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " length {}{}", if self.inverted { "!" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn the_network_header_counts() {
        check("-m length --length 38", udp(1, 2), Yes);
        check("-m length --length 0:37", udp(1, 2), No);
        check("-m length ! --length 39:", udp(1, 2), Yes);
    }
}
