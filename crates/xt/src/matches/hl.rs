//! `-m hl`: the IPv6 hop limit.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, hops};
use hairpin_engine::rule::Match;
use std::sync::Arc;

const TESTS: &[&str] = &["hl-eq", "hl-lt", "hl-gt"];

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "hl",
    aliases: &[],
    families: Families::V6,
    about: "the hop limit",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hl-lt", &["value"], "the hop limit is lower").excludes(TESTS),
        Opt::new("hl-gt", &["value"], "the hop limit is higher").excludes(TESTS),
        Opt::new("hl-eq", &["value"], "the hop limit is this").alias(&["hl"]).inverts().excludes(TESTS),
    ],
    build,
    cases: &[
        Case::Same("--hl-eq 64"),
        Case::Same("! --hl-eq 255"),
        Case::Same("--hl-lt 5"),
        Case::Same("--hl-gt 5"),
        Case::Saves("--hl 5", "--hl-eq 5"),
        Case::Fails("--hl-eq 256", "out of range (0-255)"),
        Case::Fails("--hl-lt 5 --hl-gt 9", "cannot be used together"),
        Case::Fails("! --hl-lt 5", "cannot be inverted"),
        Case::Fails("", "You must specify one of"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    hops::test(parsed, "hl", "HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'")
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6};

    #[test]
    fn compares() {
        check("-m hl --hl-eq 64", udp6(1, 2), Yes);
        check("-m hl --hl-lt 64", udp6(1, 2), No);
        check("-m hl --hl-gt 63", udp6(1, 2), Yes);
    }
}
