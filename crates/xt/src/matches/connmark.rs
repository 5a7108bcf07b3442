//! `-m connmark`: the mark of the packet's connection.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "connmark",
    aliases: &[],
    families: Families::Both,
    about: "the packet's connection carries this mark",
    kind: Kind::Evaluated,
    options: &[Opt::new("mark", &["value[/mask]"], "the mark under the mask equals the value").inverts().required()],
    build,
    cases: &[
        Case::Same("--mark 0xffffffff/0x0"),
        Case::Same("! --mark 0x13/0xf"),
        Case::Saves("--mark 1/0xffffffff", "--mark 0x1"),
        Case::Fails("--mark 4294967296", "out of range"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct ConnMark {
    value: u32,
    mask: u32,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("mark")?;
    let (value, mask) = value::mark_mask(parsed, given)?;
    Ok(Arc::new(ConnMark { value, mask, inverted: given.inverted }))
}

impl Match for ConnMark {
    fn name(&self) -> &'static str {
        "connmark"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        match look.conn() {
            Some((conn, _)) => (conn.mark & self.mask == self.value) != self.inverted,
            None => false,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --mark {:#x}", if self.inverted { " !" } else { "" }, self.value)?;
        if self.mask != u32::MAX { write!(f, "/{:#x}", self.mask) } else { Ok(()) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " connmark match {} {:#x}", if self.inverted { "!" } else { "" }, self.value)?;
        if self.mask != u32::MAX { write!(f, "/{:#x}", self.mask) } else { Ok(()) }
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, belongs, check_in, connection, probe, udp};
    use hairpin_engine::track::Class;

    #[test]
    fn compares_under_the_mask() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m connmark --mark 0", No);
        check_in(&mut probe, "-m connmark ! --mark 1", No);
        let id = connection(&mut probe, 17, 5, |conn| conn.mark = 0x13);
        belongs(&mut probe, id, Class::New);
        check_in(&mut probe, "-m connmark --mark 3/0xf", Yes);
        check_in(&mut probe, "-m connmark --mark 0x13/0xf", No);
        check_in(&mut probe, "-m connmark ! --mark 0x12", Yes);
    }
}
