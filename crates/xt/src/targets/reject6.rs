//! `-j REJECT` of ip6tables.

use super::reject::build;
use crate::option::Opt;
use crate::{Case, Families, TargetSpec};

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "REJECT",
    families: Families::V6,
    about: "answer with an error, then drop",
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
