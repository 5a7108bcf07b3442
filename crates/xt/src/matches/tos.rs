//! `-m tos`: the TOS byte or traffic class.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "tos",
    aliases: &[],
    families: Families::Both,
    about: "the TOS byte or traffic class",
    kind: Kind::Evaluated,
    options: &[Opt::new("tos", &["value[/mask]|name"], "the byte under the mask equals the value").inverts().required()],
    build,
    cases: &[
        Case::Same("! --tos 0x05/0x03"),
        Case::Saves("--tos 0x10", "--tos 0x10/0xff"),
        Case::Saves("--tos minimize-delay", "--tos 0x10/0x3f"),
        Case::Fails("--tos foo", "Symbolic name \"foo\" is unknown"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Tos {
    value: u8,
    mask: u8,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("tos")?;
    let (value, mask) = value::tos_mask(given, NAME_MASK)?;
    Ok(Arc::new(Tos { value, mask, inverted: given.inverted }))
}

impl Match for Tos {
    fn name(&self) -> &'static str {
        "tos"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (look.tos() & self.mask == self.value) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --tos {:#04x}/{:#04x}", if self.inverted { " !" } else { "" }, self.value, self.mask)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " tos match!" } else { " tos match" })?;
        let named = value::TOS_NAMES.iter().find(|(_, tos)| *tos == self.value && self.mask == NAME_MASK);
        match named.filter(|_| !listing.numeric) {
            Some((name, _)) => write!(f, " {name}"),
            None => write!(f, "{:#04x}/{:#04x}", self.value, self.mask),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What counts of the byte when it is named: not the upper two bits of the precedence.
const NAME_MASK: u8 = 0x3f;

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, SRC, Yes, check};
    use hairpin_wire::build;

    #[test]
    fn compares_under_the_mask() {
        let packet = |tos| build::Ipv4 { src: SRC, dst: DST, tos, ..Default::default() }.to_vec();
        check("-m tos --tos 0x10", packet(0x10), Yes);
        check("-m tos --tos 0x10", packet(0x50), No);
        check("-m tos --tos Minimize-Delay", packet(0x50), Yes);
        // A value with bits outside of its mask never fits.
        check("-m tos --tos 5/3", packet(5), No);
        check("-m tos ! --tos 5/3", packet(5), Yes);
    }
}
