//! `-m pkttype`: to whom the frame was addressed on its link.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::packet::LinkType;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "pkttype",
    aliases: &[],
    families: Families::Both,
    about: "to whom the frame was addressed",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("pkt-type", &["unicast|broadcast|multicast|otherhost"], "the frame's addressee").inverts().required(),
    ],
    build,
    cases: &[
        Case::Same("--pkt-type unicast"),
        Case::Same("! --pkt-type otherhost"),
        Case::Saves("--pkt-type BCAST", "--pkt-type broadcast"),
        Case::Saves("--pkt-type host", "--pkt-type unicast"),
        Case::Fails("--pkt-type wrong", "Bad packet type 'wrong'"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct PktType {
    kind: LinkType,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("pkt-type")?;
    let word = given.value();
    match NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        Some((_, kind)) => Ok(Arc::new(PktType { kind: *kind, inverted: given.inverted })),
        None => Err(SyntaxError::parameter(format!("Bad packet type '{word}'")).at(word)),
    }
}

impl Match for PktType {
    fn name(&self) -> &'static str {
        "pkttype"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (look.link_type() == self.kind) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("unicast", |(name, _)| name);
        write!(f, "{} --pkt-type {name}", if self.inverted { " !" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("unicast", |(name, _)| name);
        write!(f, " PKTTYPE {} {name}", if self.inverted { "!=" } else { "=" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The first name of each is the one it is saved with.
const NAMES: &[(&str, LinkType)] = &[
    ("unicast", LinkType::Host),
    ("broadcast", LinkType::Broadcast),
    ("multicast", LinkType::Multicast),
    ("otherhost", LinkType::OtherHost),
    ("bcast", LinkType::Broadcast),
    ("mcast", LinkType::Multicast),
    ("host", LinkType::Host),
];

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, probe, udp};
    use hairpin_engine::packet::LinkType;

    #[test]
    fn compares() {
        let mut probe = probe(udp(1, 2));
        check_in(&mut probe, "-m pkttype --pkt-type unicast", Yes);
        probe.packet.meta.link_type = LinkType::Broadcast;
        check_in(&mut probe, "-m pkttype --pkt-type unicast", No);
        check_in(&mut probe, "-m pkttype ! --pkt-type multicast", Yes);
        check_in(&mut probe, "-m pkttype --pkt-type broadcast", Yes);
    }
}
