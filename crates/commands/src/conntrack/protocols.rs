//! What `conntrack` knows of each transport protocol: its own options, its states, what is needed to name a connection.

use super::options::{Command, Refusal, wrong};
use hairpin_wire::proto;
use hairpin_xt::option::{NameKind, Names};

/// A transport protocol, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) u8);

/// An option of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    SrcId,
    DstId,
    ReplySrcId,
    ReplyDstId,
    IcmpType,
    IcmpCode,
    IcmpId,
    State,
    OrigTag,
    ReplyTag,
    Role,
    MaskSrcId,
    MaskDstId,
    TupleSrcId,
    TupleDstId,
}

use Field as F;

impl Protocol {
    pub(super) const TCP: Protocol = Protocol(proto::TCP);

    /// By name, in any case, or by number.
    pub(super) fn of_name(text: &str, names: &dyn Names) -> Option<Protocol> {
        const KNOWN: [(&str, u8); 10] = [
            ("tcp", proto::TCP),
            ("udp", proto::UDP),
            ("udplite", proto::UDPLITE),
            ("icmp", proto::ICMP),
            ("icmpv6", proto::ICMPV6),
            ("ipv6-icmp", proto::ICMPV6),
            ("sctp", proto::SCTP),
            ("dccp", proto::DCCP),
            ("gre", proto::GRE),
            ("esp", proto::ESP),
        ];
        if let Some((_, number)) = KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Some(Protocol(*number));
        }
        let number = text.parse::<u8>().ok();
        let named = || names.number(NameKind::Protocol, text).and_then(|n| u8::try_from(n).ok());
        number.or_else(named).map(Protocol)
    }

    /// Whether its connections have ports.
    pub(super) fn has_ports(self) -> bool {
        matches!(self.0, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP)
    }

    /// Whether its connections have ICMP type, code and id.
    pub(super) fn is_icmp(self) -> bool {
        matches!(self.0, proto::ICMP | proto::ICMPV6)
    }
}

/// The options that `-p` with this protocol brings.
pub(super) fn fields(protocol: Protocol) -> &'static [(Field, &'static str)] {
    const PORTS: [(Field, &str); 10] = [
        (F::SrcId, "orig-port-src"),
        (F::SrcId, "sport"),
        (F::DstId, "orig-port-dst"),
        (F::DstId, "dport"),
        (F::ReplySrcId, "reply-port-src"),
        (F::ReplyDstId, "reply-port-dst"),
        (F::MaskSrcId, "mask-port-src"),
        (F::MaskDstId, "mask-port-dst"),
        (F::TupleSrcId, "tuple-port-src"),
        (F::TupleDstId, "tuple-port-dst"),
    ];
    const fn with<const N: usize, const M: usize>(more: [(Field, &'static str); N]) -> [(Field, &'static str); M] {
        let mut all = [(F::State, ""); M];
        let mut n = 0;
        while n < PORTS.len() {
            all[n] = PORTS[n];
            n += 1;
        }
        while n < M {
            all[n] = more[n - PORTS.len()];
            n += 1;
        }
        all
    }
    const TCP: [(Field, &str); 11] = with([(F::State, "state")]);
    const SCTP: [(Field, &str); 13] =
        with([(F::State, "state"), (F::OrigTag, "orig-vtag"), (F::ReplyTag, "reply-vtag")]);
    const DCCP: [(Field, &str); 12] = with([(F::State, "state"), (F::Role, "role")]);
    match protocol.0 {
        proto::TCP => &TCP,
        proto::UDP | proto::UDPLITE => &PORTS,
        proto::SCTP => &SCTP,
        proto::DCCP => &DCCP,
        proto::ICMP => &[(F::IcmpType, "icmp-type"), (F::IcmpCode, "icmp-code"), (F::IcmpId, "icmp-id")],
        proto::ICMPV6 => &[(F::IcmpType, "icmpv6-type"), (F::IcmpCode, "icmpv6-code"), (F::IcmpId, "icmpv6-id")],
        proto::GRE => &[
            (F::SrcId, "orig-key-src"),
            (F::SrcId, "srckey"),
            (F::DstId, "orig-key-dst"),
            (F::DstId, "dstkey"),
            (F::ReplySrcId, "reply-key-src"),
            (F::ReplyDstId, "reply-key-dst"),
            (F::MaskSrcId, "mask-key-src"),
            (F::MaskDstId, "mask-key-dst"),
            (F::TupleSrcId, "tuple-key-src"),
            (F::TupleDstId, "tuple-key-dst"),
        ],
        _ => &[],
    }
}

/// The number of a state; or the refusal's text.
pub(super) fn state(protocol: Protocol, text: &str) -> Result<u8, String> {
    const TCP: [&str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    const SCTP: [&str; 9] = [
        "NONE",
        "CLOSED",
        "COOKIE_WAIT",
        "COOKIE_ECHOED",
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "SHUTDOWN_RECD",
        "SHUTDOWN_ACK_SENT",
        "HEARTBEAT_SENT",
    ];
    const DCCP: [&str; 8] = ["NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"];
    let (name, states): (_, &[&str]) = match protocol.0 {
        proto::SCTP => ("SCTP", &SCTP),
        proto::DCCP => ("DCCP", &DCCP),
        _ => ("TCP", &TCP),
    };
    // LISTEN is what SYN_SENT2 was called once.
    let text = if name == "TCP" && text == "LISTEN" { "SYN_SENT2" } else { text };
    let found = states.iter().position(|state| *state == text);
    found.map(|at| at as u8).ok_or_else(|| format!("unknown {name} state `{text}'"))
}

/// Whether the protocol's options that were given (by the bits of [`Field`]) suffice for a command, and fit it.
pub(super) fn check(protocol: Protocol, command: Command, given: u32) -> Result<(), Refusal> {
    let has = |field: Field| given >> field as u8 & 1 != 0;
    let known = fields(protocol);
    let searches = matches!(command, Command::List | Command::Delete);
    for (field, name) in known {
        let is_tag = matches!(field, F::OrigTag | F::ReplyTag) && searches;
        let is_expectations = matches!(field, F::MaskSrcId | F::MaskDstId | F::TupleSrcId | F::TupleDstId);
        if (is_expectations || is_tag) && has(*field) {
            return Err(wrong(format!("Illegal option `--{name}' with this command")));
        }
    }
    let creates = matches!(command, Command::Create | Command::Add);
    if !creates && command != Command::Get {
        return Ok(());
    }
    // Of an option with two names the second one is the usual.
    let needs = |field: Field| match known.iter().rev().find(|(known, _)| *known == field) {
        Some((_, name)) if !has(field) => {
            Err(wrong(format!("You need to supply the `--{name}' option for this command")))
        }
        _ => Ok(()),
    };
    if creates {
        needs(F::State)?;
        needs(F::OrigTag)?;
        needs(F::ReplyTag)?;
    }
    needs(F::IcmpType)?;
    needs(F::IcmpCode)?;
    let pair = |a, b| has(a) && has(b);
    if known.iter().any(|(field, _)| *field == F::SrcId)
        && !pair(F::SrcId, F::DstId)
        && !pair(F::ReplySrcId, F::ReplyDstId)
    {
        let names = if protocol.0 == proto::GRE { ("srckey", "dstkey") } else { ("sport", "dport") };
        return Err(wrong(format!("you have to specify `--{}' and `--{}'", names.0, names.1)));
    }
    Ok(())
}
