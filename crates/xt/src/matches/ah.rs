//! `-m ah`: the security parameter index of an authentication header (RFC 4302).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::spi::{self, Ipsec};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::rule::Match;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ah",
    aliases: &[],
    families: Families::V4,
    about: "the security parameter index of AH",
    kind: Kind::Evaluated,
    options: &[Opt::new("ahspi", &["spi[:spi]"], "the security parameter index").inverts()],
    build,
    cases: &[
        Case::Same("-p ah|"),
        Case::Same("-p ah|--ahspi 5"),
        Case::Same("-p ah|! --ahspi 0:4294967295"),
        Case::Saves("-p ah|--ahspi :", "-p ah|"),
        Case::Saves("-p ah|! --ahspi 5:", "-p ah|! --ahspi 5:4294967295"),
        Case::Fails("-p ah|--ahspi 4:3", "out of range"),
        Case::Fails("-p ah|--ahspi 0x100000000", "out of range"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    spi::test(parsed, Ipsec::Ah)
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment};
    use hairpin_wire::{Family, build, proto};

    #[test]
    fn compares_the_index() {
        let packet = |len: usize| build::ip(Family::V4, SRC, DST, proto::AH, &[6, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9][..len]);
        check("-p ah -m ah --ahspi 256", packet(12), Yes);
        check("-p ah -m ah --ahspi 257:", packet(12), No);
        check("-p ah -m ah ! --ahspi 257:", packet(12), Yes);
        check("-p ah -m ah", packet(12 - 1), Hotdrop);
        check("-p ah -m ah", later_fragment(proto::AH, 1, &[0; 12]), No);
    }
}
