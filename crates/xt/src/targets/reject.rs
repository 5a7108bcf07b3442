//! `-j REJECT` of iptables: answer with an error, then drop. The form of ip6tables is in [`super::reject6`].

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Place, Protocols, Refused, RejectWith, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hook, Hooks};
use hairpin_wire::{Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "REJECT",
    families: Families::V4,
    about: "answer with an error, then drop",
    kind: Kind::Evaluated,
    options: &[Opt::new("reject-with", &["type"], "which error; icmp-port-unreachable when not given")],
    build,
    cases: &[
        Case::Saves("", "--reject-with icmp-port-unreachable"),
        Case::Same("--reject-with icmp-net-unreachable"),
        Case::Same("--reject-with icmp-host-unreachable"),
        Case::Same("--reject-with icmp-proto-unreachable"),
        Case::Same("--reject-with icmp-net-prohibited"),
        Case::Same("--reject-with icmp-host-prohibited"),
        Case::Same("--reject-with icmp-admin-prohibited"),
        Case::Same("-p tcp |--reject-with tcp-reset"),
        Case::Saves("-p tcp |--reject-with TCP-RST", "--reject-with tcp-reset"),
        Case::Saves("--reject-with admin-prohib", "--reject-with icmp-admin-prohibited"),
        Case::Saves("--reject-with icmp-p", "--reject-with icmp-proto-unreachable"),
        Case::Fails("--reject-with icmp6-no-route", "unknown reject type \"icmp6-no-route\""),
    ],
};

/// Name, short name, what it means; the first is what saving prints.
type Answer = (&'static str, &'static str, RejectWith);

const KINDS: &[Answer] = &[
    ("icmp-net-unreachable", "net-unreach", RejectWith::Unreachable(0)),
    ("icmp-host-unreachable", "host-unreach", RejectWith::Unreachable(1)),
    ("icmp-proto-unreachable", "proto-unreach", RejectWith::Unreachable(2)),
    ("icmp-port-unreachable", "port-unreach", RejectWith::Unreachable(3)),
    ("icmp-net-prohibited", "net-prohib", RejectWith::Unreachable(9)),
    ("icmp-host-prohibited", "host-prohib", RejectWith::Unreachable(10)),
    ("tcp-reset", "tcp-rst", RejectWith::TcpReset),
    ("icmp-admin-prohibited", "admin-prohib", RejectWith::Unreachable(13)),
];

/// ICMPv6 destination unreachable, RFC 4443 section 3.1.
const KINDS6: &[Answer] = &[
    ("icmp6-no-route", "no-route", RejectWith::Unreachable(0)),
    ("icmp6-adm-prohibited", "adm-prohibited", RejectWith::Unreachable(1)),
    ("icmp6-addr-unreachable", "addr-unreach", RejectWith::Unreachable(3)),
    ("icmp6-port-unreachable", "port-unreach", RejectWith::Unreachable(4)),
    ("tcp-reset", "tcp-reset", RejectWith::TcpReset),
    ("icmp6-policy-fail", "policy-fail", RejectWith::Unreachable(5)),
    ("icmp6-reject-route", "reject-route", RejectWith::Unreachable(6)),
];

#[derive(Debug)]
struct Reject {
    name: &'static str,
    with: RejectWith,
}

/// Makes either family's.
pub(crate) fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let (kinds, default) = match parsed.family {
        Family::V4 => (KINDS, "icmp-port-unreachable"),
        Family::V6 => (KINDS6, "icmp6-port-unreachable"),
    };
    let word = parsed.get("reject-with").map_or(default, |given| given.value());
    // Any beginning of either name will do; the first that fits counts, and the empty word fits the first.
    let begins = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let kind = kinds.iter().find(|(name, short, _)| begins(name) || begins(short));
    let Some((name, _, with)) = kind else {
        let echoes = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if parsed.family == Family::V4 && (echoes("echo-reply") || echoes("echoreply")) {
            parsed.notice("--reject-with echo-reply no longer supported");
        }
        return Err(SyntaxError::parameter(format!("unknown reject type \"{word}\"")).at(word));
    };
    Ok(Arc::new(Reject { name, with: *with }))
}

impl Target for Reject {
    fn name(&self) -> &'static str {
        "REJECT"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Reject(self.with)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --reject-with {}", self.name)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " reject-with {}", self.name)
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Filter]),
            hooks: Hooks::of(&[Hook::Input, Hook::Forward, Hook::Output]),
            protocols: Protocols::Any,
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if self.with == RejectWith::TcpReset && (header.protocol != proto::TCP || header.protocol_inverted) {
            return Err(Refused::Invalid(match place.family {
                Family::V4 => "ipt_REJECT: TCP_RESET invalid for non-tcp".to_owned(),
                Family::V6 => "ip6t_REJECT: TCP_RESET illegal for non-tcp".to_owned(),
            }));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::rule::{RejectWith, Verdict};

    #[test]
    fn says_with_what() {
        let verdict = |rule| act_in(&mut probe(udp(1, 2)), rule);
        assert_eq!(verdict("-j REJECT"), Verdict::Reject(RejectWith::Unreachable(3)));
        assert_eq!(verdict("-j REJECT --reject-with icmp-admin-prohibited"), Verdict::Reject(RejectWith::Unreachable(13)));
        assert_eq!(verdict("-j REJECT --reject-with tcp-reset"), Verdict::Reject(RejectWith::TcpReset));
    }
}
