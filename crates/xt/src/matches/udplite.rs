//! `-m udplite`: ports of a UDP-Lite datagram. The kernel has this match; iptables never had a word for it.

use super::udp::build_for;
use crate::option::{Parsed, SyntaxError};
use crate::ports::{DPORT, SPORT};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::rule::Match;
use hairpin_wire::proto;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "udplite",
    aliases: &[],
    families: Families::Both,
    about: "UDP-Lite ports; only the kernel has it, iptables refuses it",
    kind: Kind::Evaluated,
    options: &[SPORT, DPORT],
    build,
    cases: &[
        Case::Same("-p udplite|"),
        Case::Same("-p udplite|! --sport 1024:65535 --dport 53"),
        Case::Fails("-p udplite|--sport 4:3", "Port range 4-3 is negative."),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    build_for(parsed, "udplite", &[proto::UDPLITE])
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, DST6, Hotdrop, No, SRC, SRC6, Yes, check, later_fragment, parse};
    use hairpin_wire::{Family, build, proto};

    #[test]
    fn ports() {
        let datagram = [0, 5, 0, 53, 0, 8, 0, 0];
        let v4 = || build::ip(Family::V4, SRC, DST, proto::UDPLITE, &datagram);
        check("-p udplite -m udplite --sport 5 --dport 53", v4(), Yes);
        check("-p udplite -m udplite --sport 5 ! --dport 53", v4(), No);
        check("-p udplite -m udplite --dport 53", build::ip(Family::V6, SRC6, DST6, proto::UDPLITE, &datagram), Yes);
        check("-p udplite -m udplite", later_fragment(proto::UDPLITE, 1, &datagram), No);
        check("-p udplite -m udplite", build::ip(Family::V4, SRC, DST, proto::UDPLITE, &datagram[..7]), Hotdrop);
    }

    #[test]
    fn it_is_told_that_iptables_lacks_it() {
        assert!(parse(Family::V4, "-p udplite -m udplite").unwrap().warning().is_some());
        assert!(parse(Family::V4, "-p udp -m udp").unwrap().warning().is_none());
    }
}
