//! `-m hbh`: the IPv6 hop-by-hop options header.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::opts6::Options;
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::rule::Match;
use hairpin_wire::proto;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "hbh",
    aliases: &[],
    families: Families::V6,
    about: "a hop-by-hop options header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hbh-len", &["bytes"], "the header's length").inverts(),
        Opt::new("hbh-opts", &["type[:length][,type[:length]...]"], "the options it begins with, in this order"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("! --hbh-len 42"),
        Case::Same("--hbh-len 42 --hbh-opts 1:2,23:42,4"),
        Case::Saves("--hbh-opts 1:255,256", "--hbh-opts 1,0"),
        Case::Fails("--hbh-opts x", "hbh: no valid digits in opt `x'"),
        Case::Fails("! --hbh-opts 1", "cannot be inverted"),
        Case::Fails("--hbh-len 4294967296", "out of range"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Options::parse(parsed, "hbh", proto::HOPOPTS, "hbh-len", "hbh-opts")?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6, v6};

    #[test]
    fn compares() {
        // Pad1, Router Alert, PadN.
        let packet = || v6(0, &[59, 0, 0, 5, 2, 0, 0, 0]);
        check("-m hbh --hbh-len 8", packet(), Yes);
        check("-m hbh ! --hbh-len 8", packet(), No);
        check("-m hbh --hbh-opts 0,5:2", packet(), Yes);
        check("-m hbh --hbh-opts 0,5", packet(), Yes);
        check("-m hbh --hbh-opts 0,5:3", packet(), No);
        check("-m hbh --hbh-opts 5:2", packet(), No);
        check("-m hbh ! --hbh-len 16", udp6(1, 2), No);
    }
}
