//! `-m dst`: the IPv6 destination options header.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::opts6::Options;
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::rule::Match;
use hairpin_wire::proto;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "dst",
    aliases: &[],
    families: Families::V6,
    about: "a destination options header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("dst-len", &["bytes"], "the header's length").inverts(),
        Opt::new("dst-opts", &["type[:length][,type[:length]...]"], "the options it begins with, in this order"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("! --dst-len 42"),
        Case::Same("--dst-len 42 --dst-opts 1:2,23:42,4"),
        Case::Saves("--dst-opts 1:255,256", "--dst-opts 1,0"),
        Case::Fails("--dst-opts x", "dst: no valid digits in opt `x'"),
        Case::Fails("! --dst-opts 1", "cannot be inverted"),
        Case::Fails("--dst-len 4294967296", "out of range"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Options::parse(parsed, "dst", proto::DSTOPTS, "dst-len", "dst-opts")?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6, v6};

    #[test]
    fn compares() {
        // Pad1, Router Alert, PadN.
        let packet = || v6(60, &[59, 0, 0, 5, 2, 0, 0, 0]);
        check("-m dst --dst-len 8", packet(), Yes);
        check("-m dst ! --dst-len 8", packet(), No);
        check("-m dst --dst-opts 0,5:2", packet(), Yes);
        check("-m dst --dst-opts 0,5", packet(), Yes);
        check("-m dst --dst-opts 0,5:3", packet(), No);
        check("-m dst --dst-opts 5:2", packet(), No);
        check("-m dst ! --dst-len 16", udp6(1, 2), No);
    }
}
