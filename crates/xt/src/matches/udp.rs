//! `-m udp`: ports of a UDP datagram.

use crate::option::{Parsed, SyntaxError};
use crate::ports::{DPORT, Ports, SPORT};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::{proto, udp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "udp",
    aliases: &[],
    families: Families::Both,
    about: "UDP ports",
    kind: Kind::Evaluated,
    options: &[SPORT, DPORT],
    build,
    cases: &[
        Case::Same("-p udp|"),
        Case::Same("-p udp|! --sport 1024:65535 --dport 53"),
        Case::Saves("-p udp|--sport 4: --dport :", "-p udp|--sport 4:65535"),
        Case::Fails("-p udp|--sport 4:3", "Port range 4-3 is negative."),
        Case::Fails("-p udp|--dport -1", "Port \"-1\" does not resolve to anything."),
    ],
};

/// The match of UDP, and of UDP-Lite, which has the same ports in the same place.
#[derive(Debug)]
struct Udp {
    name: &'static str,
    protocols: &'static [u8],
    sport: Ports,
    dport: Ports,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    build_for(parsed, "udp", &[proto::UDP])
}

/// The match under this name, for this protocol.
pub(super) fn build_for(
    parsed: &Parsed<'_>,
    name: &'static str,
    protocols: &'static [u8],
) -> Result<Arc<dyn Match>, SyntaxError> {
    let (sport, dport) = (Ports::resolved(parsed, "source-port")?, Ports::resolved(parsed, "destination-port")?);
    Ok(Arc::new(Udp { name, protocols, sport, dport }))
}

impl Match for Udp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match look.ports_of(udp::HEADER_LEN) {
            Some((sport, dport)) => self.sport.contains(sport) && self.dport.contains(dport),
            None => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sport != Ports::ALL {
            self.sport.save(f, "sport")?;
        }
        if self.dport != Ports::ALL {
            self.dport.save(f, "dport")?;
        }
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        write!(f, " {}", self.name)?;
        self.sport.list(f, "spt", proto::UDP, listing)?;
        self.dport.list(f, "dpt", proto::UDP, listing)
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(self.protocols), ..Scope::EVERYWHERE }
    }

    fn warning(&self) -> Option<String> {
        let is_ours = self.protocols == [proto::UDPLITE];
        is_ours.then(|| "udplite: only the kernel has this match; iptables refuses this rule".to_owned())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment, udp, udp6};
    use hairpin_wire::{Family, build};

    #[test]
    fn ports() {
        check("-p udp -m udp --sport 5 --dport 53", udp(5, 53), Yes);
        check("-p udp -m udp --sport 5 ! --dport 53", udp(5, 53), No);
        check("-p udp -m udp --dport 53", udp6(5, 53), Yes);
    }

    #[test]
    fn fragments_and_short_headers() {
        check("-p udp -m udp", later_fragment(17, 1, &[0; 20]), No);
        check("-p udp -m udp ! --dport 5", later_fragment(17, 1, &[0; 20]), No);
        check("-p udp -m udp", build::ip(Family::V4, SRC, DST, 17, &[0; 7]), Hotdrop);
    }
}
