//! `-m ttl`: the IPv4 time to live.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, hops};
use hairpin_engine::rule::Match;
use std::sync::Arc;

const TESTS: &[&str] = &["ttl-eq", "ttl-lt", "ttl-gt"];

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ttl",
    aliases: &[],
    families: Families::V4,
    about: "the time to live",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ttl-lt", &["value"], "the time to live is lower").excludes(TESTS),
        Opt::new("ttl-gt", &["value"], "the time to live is higher").excludes(TESTS),
        Opt::new("ttl-eq", &["value"], "the time to live is this").alias(&["ttl"]).inverts().excludes(TESTS),
    ],
    build,
    cases: &[
        Case::Same("--ttl-eq 64"),
        Case::Same("! --ttl-eq 255"),
        Case::Same("--ttl-lt 5"),
        Case::Same("--ttl-gt 5"),
        Case::Saves("--ttl 5", "--ttl-eq 5"),
        Case::Fails("--ttl-eq 256", "out of range (0-255)"),
        Case::Fails("--ttl-lt 5 --ttl-gt 9", "cannot be used together"),
        Case::Fails("! --ttl-lt 5", "cannot be inverted"),
        Case::Fails("", "You must specify one of"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    hops::test(parsed, "ttl", "TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt")
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn compares() {
        check("-m ttl --ttl-eq 64", udp(1, 2), Yes);
        check("-m ttl ! --ttl-eq 64", udp(1, 2), No);
        check("-m ttl --ttl-lt 64", udp(1, 2), No);
        check("-m ttl --ttl-lt 65", udp(1, 2), Yes);
        check("-m ttl --ttl-gt 63", udp(1, 2), Yes);
    }
}
