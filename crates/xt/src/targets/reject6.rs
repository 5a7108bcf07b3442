//! `-j REJECT` of ip6tables.

use super::reject::build;
use crate::option::Opt;
use crate::{Case, Families, Kind, TargetSpec};

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "REJECT",
    families: Families::V6,
    about: "answer with an error, then drop",
    kind: Kind::Evaluated,
    options: &[Opt::new("reject-with", &["type"], "which error; icmp6-port-unreachable when not given")],
    build,
    cases: &[
        Case::Saves("", "--reject-with icmp6-port-unreachable"),
        Case::Same("--reject-with icmp6-no-route"),
        Case::Same("--reject-with icmp6-adm-prohibited"),
        Case::Same("--reject-with icmp6-addr-unreachable"),
        Case::Same("--reject-with icmp6-policy-fail"),
        Case::Same("--reject-with icmp6-reject-route"),
        Case::Same("-p tcp |--reject-with tcp-reset"),
        Case::Saves("--reject-with addr-unreach", "--reject-with icmp6-addr-unreachable"),
        Case::Fails("--reject-with net-unreach", "unknown reject type \"net-unreach\""),
    ],
};

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp6};
    use crate::testing_targets::act_in;
    use hairpin_engine::rule::{RejectWith, Verdict};

    #[test]
    fn says_with_what() {
        let verdict = |rule: &str| act_in(&mut probe(udp6(1, 2)), rule);
        let codes = [
            ("", 4),
            (" --reject-with icmp6-no-route", 0),
            (" --reject-with icmp6-adm-prohibited", 1),
            (" --reject-with icmp6-addr-unreachable", 3),
            (" --reject-with icmp6-port-unreachable", 4),
            (" --reject-with icmp6-policy-fail", 5),
            (" --reject-with icmp6-reject-route", 6),
        ];
        for (with, code) in codes {
            assert_eq!(verdict(&format!("-j REJECT{with}")), Verdict::Reject(RejectWith::Unreachable(code)), "{with}");
        }
        assert_eq!(verdict("-p tcp -j REJECT --reject-with tcp-reset"), Verdict::Reject(RejectWith::TcpReset));
    }
}
