//! `-m esp`: the security parameter index of an ESP header (RFC 4303).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::spi::{self, Ipsec};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::rule::Match;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "esp",
    aliases: &[],
    families: Families::Both,
    about: "the security parameter index of ESP",
    kind: Kind::Evaluated,
    options: &[Opt::new("espspi", &["spi[:spi]"], "the security parameter index").inverts()],
    build,
    cases: &[
        Case::Same("-p esp|"),
        Case::Same("-p esp|--espspi 5"),
        Case::Same("-p esp|! --espspi 0:4294967295"),
        Case::Saves("-p esp|--espspi :", "-p esp|"),
        Case::Saves("-p esp|! --espspi 5:", "-p esp|! --espspi 5:4294967295"),
        Case::Fails("-p esp|--espspi 4:3", "out of range"),
        Case::Fails("-p esp|--espspi 0x100000000", "out of range"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    spi::test(parsed, Ipsec::Esp)
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment};
    use hairpin_wire::{Family, build, proto};

    #[test]
    fn compares_the_index() {
        let packet = |len: usize| build::ip(Family::V4, SRC, DST, proto::ESP, &[0, 0, 1, 0, 0, 0, 0, 9][..len]);
        check("-p esp -m esp --espspi 256", packet(8), Yes);
        check("-p esp -m esp --espspi 257:", packet(8), No);
        check("-p esp -m esp ! --espspi 257:", packet(8), Yes);
        check("-p esp -m esp", packet(8 - 1), Hotdrop);
        check("-p esp -m esp", later_fragment(proto::ESP, 1, &[0; 12]), No);
    }
}
