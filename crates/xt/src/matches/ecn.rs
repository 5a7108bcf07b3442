//! `-m ecn`: the ECN field of the network header and the ECN flags of TCP (RFC 3168).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::ports::tcp_header;
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use hairpin_wire::{proto, tcp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ecn",
    aliases: &[],
    families: Families::Both,
    about: "ECN field and TCP's ECN flags",
    kind: Kind::Evaluated,
    options: &[
        Opt::switch("ecn-tcp-cwr", "TCP's CWR is set").inverts(),
        Opt::switch("ecn-tcp-ece", "TCP's ECE is set").inverts(),
        Opt::new("ecn-ip-ect", &["0..3"], "the ECN field has this value").inverts(),
    ],
    build,
    cases: &[
        Case::Same("-p tcp|! --ecn-tcp-ece --ecn-tcp-cwr --ecn-ip-ect 2"),
        Case::Saves("-p tcp|! --ecn-tcp-cwr --ecn-tcp-ece", "-p tcp|--ecn-tcp-ece ! --ecn-tcp-cwr"),
        Case::Same("! --ecn-ip-ect 0"),
        Case::Fails("--ecn-ip-ect 4", "out of range (0-3)"),
        Case::Fails("", "ECN match: some option required"),
    ],
};

#[derive(Debug)]
struct Ecn {
    /// Whether the flag must be set.
    ece: Option<bool>,
    cwr: Option<bool>,
    ect: Option<(u8, bool)>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    if parsed.given.is_empty() {
        return Err(SyntaxError::parameter("ECN match: some option required"));
    }
    let flag = |name: &str| parsed.get(name).map(|given| !given.inverted);
    let ect = match parsed.get("ecn-ip-ect") {
        Some(given) => Some((value::number(parsed, given, 0, 3)? as u8, given.inverted)),
        None => None,
    };
    Ok(Arc::new(Ecn { ece: flag("ecn-tcp-ece"), cwr: flag("ecn-tcp-cwr"), ect }))
}

impl Match for Ecn {
    fn name(&self) -> &'static str {
        "ecn"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if let Some((ect, inverted)) = self.ect
            && (look.tos() & 3 == ect) == inverted
        {
            return false;
        }
        if self.ece.is_none() && self.cwr.is_none() {
            return true;
        }
        // The kernel does not ask here whether it is a later fragment.
        let Some(flags) = tcp_header(look).map(|tcp| tcp.flags()) else { return false };
        self.ece.is_none_or(|set| set == (flags & tcp::ECE != 0))
            && self.cwr.is_none_or(|set| set == (flags & tcp::CWR != 0))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, flag) in [("ecn-tcp-ece", self.ece), ("ecn-tcp-cwr", self.cwr)] {
            if let Some(set) = flag {
                write!(f, "{} --{name}", if set { "" } else { " !" })?;
            }
        }
        match self.ect {
            Some((ect, inverted)) => write!(f, "{} --ecn-ip-ect {ect}", if inverted { " !" } else { "" }),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" ECN match")?;
        for (name, flag) in [("ECE", self.ece), ("CWR", self.cwr)] {
            if let Some(set) = flag {
                write!(f, " {}{name}", if set { "" } else { "!" })?;
            }
        }
        match self.ect {
            Some((ect, inverted)) => write!(f, " {}ECT={ect}", if inverted { "!" } else { "" }),
            None => Ok(()),
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        let is_tcp = header.protocol == proto::TCP && !header.protocol_inverted;
        if (self.ece.is_some() || self.cwr.is_some()) && !is_tcp {
            return Err(Refused::Invalid("xt_ecn: cannot match TCP bits for non-tcp packets".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, SRC, Yes, check, tcp};
    use hairpin_wire::{build, tcp};

    #[test]
    fn flags_and_field() {
        check("-p tcp -m ecn --ecn-tcp-ece", tcp(1, 2, tcp::ECE), Yes);
        check("-p tcp -m ecn --ecn-tcp-ece --ecn-tcp-cwr", tcp(1, 2, tcp::ECE), No);
        check("-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr", tcp(1, 2, tcp::ECE), Yes);
        let marked = build::Ipv4 { src: SRC, dst: DST, tos: 0xb9, ..Default::default() }.to_vec();
        check("-m ecn --ecn-ip-ect 1", marked.clone(), Yes);
        check("-m ecn ! --ecn-ip-ect 1", marked, No);
    }
}
