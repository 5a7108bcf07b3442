//! `-m mark`: the packet's mark.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "mark",
    aliases: &[],
    families: Families::Both,
    about: "the packet carries this mark",
    kind: Kind::Evaluated,
    options: &[Opt::new("mark", &["value[/mask]"], "the mark under the mask equals the value").inverts().required()],
    build,
    cases: &[
        Case::Same("--mark 0xfeedcafe/0xfeedcafe"),
        Case::Same("! --mark 0x1"),
        Case::Saves("--mark 1", "--mark 0x1"),
        // Can never hold, and is kept.
        Case::Same("--mark 0x13/0xf"),
        Case::Fails("--mark 4294967296", "bad integer value"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Mark {
    value: u32,
    mask: u32,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("mark")?;
    let (value, mask) = value::mark_mask(parsed, given)?;
    Ok(Arc::new(Mark { value, mask, inverted: given.inverted }))
}

impl Match for Mark {
    fn name(&self) -> &'static str {
        "mark"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (look.mark() & self.mask == self.value) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --mark {:#x}", if self.inverted { " !" } else { "" }, self.value)?;
        if self.mask != u32::MAX { write!(f, "/{:#x}", self.mask) } else { Ok(()) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " mark match{} {:#x}", if self.inverted { " !" } else { "" }, self.value)?;
        if self.mask != u32::MAX { write!(f, "/{:#x}", self.mask) } else { Ok(()) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, probe, udp};

    #[test]
    fn compares_under_the_mask() {
        let mut probe = probe(udp(1, 2));
        probe.packet.meta.mark = 0x13;
        check_in(&mut probe, "-m mark --mark 0x13", Yes);
        check_in(&mut probe, "-m mark --mark 3/0xf", Yes);
        check_in(&mut probe, "-m mark --mark 0x13/0xf", No);
        check_in(&mut probe, "-m mark ! --mark 0x13/0xf", Yes);
    }
}
