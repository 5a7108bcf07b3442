//! `-m eui64`: the source address was made from the Ethernet address the packet came from (RFC 4291, appendix A).

use crate::option::{Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::rule::{Listing, Match, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "eui64",
    aliases: &[],
    families: Families::V6,
    about: "the source address was made from the Ethernet address",
    kind: Kind::Evaluated,
    options: &[],
    build,
    cases: &[Case::Same("")],
};

#[derive(Debug)]
struct Eui64;

fn build(_parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Eui64))
}

impl Match for Eui64 {
    fn name(&self) -> &'static str {
        "eui64"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let header = look.link_header();
        let Some(&[a, b, c, d, e, f]) = header.get(6..).and_then(|rest| rest.first_chunk::<6>()) else {
            return if look.is_later_fragment() { look.hotdrop() } else { false };
        };
        let expected = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        header.get(12..14) == Some(&ETHERTYPE_IPV6) && look.src().0 as u64 == expected
    }

    fn save(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str("eui64 ")
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Prerouting, Hook::Input, Hook::Forward]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

#[cfg(test)]
mod tests {
    use crate::testing::{DST6, No, Yes, check_in, probe};
    use hairpin_wire::{Addr, Family, Mac, build};

    #[test]
    fn compares() {
        let src = Addr(0xfe80 << 112 | 0x0011_22ff_fe33_4455);
        let mut probe = probe(build::ip(Family::V6, src, DST6, 59, &[]));
        check_in(&mut probe, "-m eui64", No);
        probe.packet.set_link_header(Mac::ZERO, Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]));
        check_in(&mut probe, "-m eui64", Yes);
        probe.packet.set_link_header(Mac::ZERO, Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x56]));
        check_in(&mut probe, "-m eui64", No);
    }
}
