//! `-m frag`: the IPv6 fragment header.

use crate::ext6::{Found, Number, find};
use crate::numbers::Numbers;
use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "frag",
    aliases: &[],
    families: Families::V6,
    about: "a fragment header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("fragid", &["id[:id]"], "the identification").inverts(),
        Opt::new("fraglen", &["bytes"], "kept with the rule; the kernel does not look at it").inverts(),
        Opt::switch("fragres", "the reserved fields are 0"),
        Opt::switch("fragfirst", "the first fragment"),
        Opt::switch("fragmore", "more fragments follow").excludes(&["fraglast"]),
        Opt::switch("fraglast", "the last fragment").excludes(&["fragmore"]),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("! --fragid 1 ! --fraglen 42 --fragres --fragfirst --fragmore"),
        Case::Saves("--fragid 42:", "--fragid 42:4294967295"),
        Case::Saves("--fragid :", ""),
        Case::Saves("! --fragid :", "! --fragid 0:4294967295"),
        Case::Fails("--fragmore --fraglast", "cannot be used together"),
        Case::Fails("--fragid 4:3", "out of range"),
    ],
};

#[derive(Debug)]
struct Frag {
    id: Numbers,
    length: Number,
    reserved_is_zero: bool,
    first: bool,
    more: Option<bool>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Frag {
        id: Numbers::option(parsed, "fragid")?,
        length: Number::option(parsed, "fraglen")?,
        reserved_is_zero: parsed.has("fragres"),
        first: parsed.has("fragfirst"),
        more: match (parsed.has("fragmore"), parsed.has("fraglast")) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        },
    }))
}

impl Match for Frag {
    fn name(&self) -> &'static str {
        "frag"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let header = match find(look, proto::FRAGMENT) {
            Found::At(header) => header,
            Found::Absent => return false,
            Found::Broken => return look.hotdrop(),
        };
        let Some(&[_, reserved, high, low, a, b, c, d]) = header.first_chunk::<8>() else { return look.hotdrop() };
        let field = u16::from_be_bytes([high, low]);
        self.id.contains(u32::from_be_bytes([a, b, c, d]))
            && (!self.reserved_is_zero || (reserved == 0 && field & 6 == 0))
            && (!self.first || field >> 3 == 0)
            && self.more.is_none_or(|more| more == (field & 1 != 0))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.save(f, "fragid")?;
        self.length.save(f, "fraglen")?;
        let flags = [
            (self.reserved_is_zero, " --fragres"),
            (self.first, " --fragfirst"),
            (self.more == Some(true), " --fragmore"),
            (self.more == Some(false), " --fraglast"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, text)| f.write_str(text))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" frag ")?;
        self.id.list(f, "id")?;
        self.length.list(f, " length")?;
        let flags = [
            (self.reserved_is_zero, " reserved"),
            (self.first, " first"),
            (self.more == Some(true), " more"),
            (self.more == Some(false), " last"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, text)| f.write_str(text))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6, v6};
    use hairpin_wire::build::fragment_header;

    #[test]
    fn compares() {
        check("-m frag --fragid 7 --fragfirst --fragmore", v6(44, &fragment_header(17, 0, true, 7)), Yes);
        check("-m frag ! --fragid 7", v6(44, &fragment_header(17, 0, true, 7)), No);
        check("-m frag --fragfirst", v6(44, &fragment_header(17, 9, true, 7)), No);
        check("-m frag --fraglast --fragres", v6(44, &fragment_header(17, 9, false, 7)), Yes);
        // One that is whole is both.
        check("-m frag --fragfirst --fraglast", v6(44, &fragment_header(17, 0, false, 7)), Yes);
        check("-m frag ! --fragid 7", udp6(1, 2), No);
    }
}
