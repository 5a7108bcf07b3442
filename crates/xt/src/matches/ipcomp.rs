//! `-m ipcomp`: the compression parameter index of a compressed packet (RFC 3173).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::numbers::Numbers;
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ipcomp",
    aliases: &["comp"],
    families: Families::Both,
    about: "the parameter index of a compressed packet",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ipcompspi", &["cpi[:cpi]"], "the compression parameter index").inverts(),
        Opt::switch("compres", "kept with the rule; the kernel does not look at it"),
    ],
    build,
    cases: &[
        Case::Same("-p 108|"),
        Case::Same("-p 108|! --ipcompspi 18 --compres"),
        Case::Same("-p 108|--ipcompspi 3:4"),
        Case::Saves("-p 108|--ipcompspi :", "-p 108|"),
        Case::Saves("-p 108|! --ipcompspi :", "-p 108|! --ipcompspi 0:4294967295"),
        Case::Fails("-p 108|--ipcompspi 4:3", "out of range"),
    ],
};

#[derive(Debug)]
struct IpComp {
    cpi: Numbers,
    reserved: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    // iptables without the option asks for index 0. But it saves `--ipcompspi :` like that, so that restoring changes the rule;
    // here it is any index both times.
    Ok(Arc::new(IpComp { cpi: Numbers::option(parsed, "ipcompspi")?, reserved: parsed.has("compres") }))
}

impl Match for IpComp {
    fn name(&self) -> &'static str {
        "ipcomp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match *look.l4() {
            [_, _, high, low, ..] => self.cpi.contains(u32::from(u16::from_be_bytes([high, low]))),
            _ => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cpi.save(f, "ipcompspi")?;
        f.write_str(if self.reserved { " --compres" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" comp ")?;
        self.cpi.list(f, "spi")?;
        f.write_str(if self.reserved { " reserved" } else { "" })
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[IPPROTO_COMP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

const IPPROTO_COMP: u8 = 108;

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check};
    use hairpin_wire::{Family, build};

    #[test]
    fn compares_the_index() {
        let packet = |bytes: &[u8]| build::ip(Family::V4, SRC, DST, 108, bytes);
        check("-p 108 -m ipcomp --ipcompspi 258", packet(&[6, 0, 1, 2]), Yes);
        check("-p 108 -m ipcomp ! --ipcompspi 258 --compres", packet(&[6, 0, 1, 2]), No);
        check("-p 108 -m ipcomp", packet(&[6, 0, 1]), Hotdrop);
    }
}
