//! `-m ah` of ip6tables: the authentication header (RFC 4302), an extension header there.

use crate::ext6::{Found, Number, find};
use crate::option::{Opt, Parsed, SyntaxError};
use crate::numbers::Numbers;
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ah",
    aliases: &[],
    families: Families::V6,
    about: "an authentication header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ahspi", &["spi[:spi]"], "the security parameter index").inverts(),
        Opt::new("ahlen", &["bytes"], "the header's length").inverts(),
        Opt::switch("ahres", "the reserved field is 0"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("! --ahspi 5:6 ! --ahlen 24 --ahres"),
        Case::Saves("--ahspi :", ""),
        Case::Saves("! --ahspi :", "! --ahspi 0:4294967295"),
        Case::Saves("--ahspi 3:", "--ahspi 3:4294967295"),
        Case::Fails("--ahspi 4:3", "out of range"),
    ],
};

#[derive(Debug)]
struct Ah {
    spis: Numbers,
    length: Number,
    reserved_is_zero: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Ah {
        spis: Numbers::option(parsed, "ahspi")?,
        length: Number::option(parsed, "ahlen")?,
        reserved_is_zero: parsed.has("ahres"),
    }))
}

impl Match for Ah {
    fn name(&self) -> &'static str {
        "ah"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let header = match find(look, proto::AH) {
            Found::At(header) => header,
            Found::Absent => return false,
            Found::Broken => return look.hotdrop(),
        };
        let Some(&[_, words, r1, r2, a, b, c, d, ..]) = header.first_chunk::<12>() else { return look.hotdrop() };
        let length = (usize::from(words) + 2) * 4;
        if length > header.len() {
            return look.hotdrop();
        }
        self.spis.contains(u32::from_be_bytes([a, b, c, d]))
            // A length of 0 is taken for none.
            && (self.length.plain() == Some(0) || self.length.is(length))
            && (!self.reserved_is_zero || (r1, r2) == (0, 0))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spis.save(f, "ahspi")?;
        if self.length.plain() != Some(0) {
            self.length.save(f, "ahlen")?;
        }
        f.write_str(if self.reserved_is_zero { " --ahres" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" ah ")?;
        self.spis.list(f, "spi")?;
        if self.length.plain() != Some(0) {
            self.length.list(f, "length")?;
        }
        f.write_str(if self.reserved_is_zero { " reserved" } else { "" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Hotdrop, No, Yes, check, udp6, v6};

    #[test]
    fn compares() {
        let header = [17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        check("-m ah --ahspi 256", v6(51, &header), Yes);
        check("-m ah ! --ahspi 256", v6(51, &header), No);
        check("-m ah --ahlen 24 --ahres", v6(51, &header), Yes);
        check("-m ah ! --ahlen 24", v6(51, &header), No);
        check("-m ah --ahlen 28", v6(51, &header), No);
        // Without the header nothing fits, inverted or not.
        check("-m ah ! --ahspi 256", udp6(1, 2), No);
        check("-m ah", v6(51, &header[..1]), Hotdrop);
        check("-m ah", v6(51, &header[..20]), Hotdrop);
    }
}
