//! `-j REDIRECT`: change the destination to this host.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, nat_range};
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{Listing, NatRange, Needs, Scope, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hook};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "REDIRECT",
    families: Families::Both,
    about: "send the packet to this host itself",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("to-ports", &["port[-port]"], "map the port to this, or into this range"),
        Opt::switch("random", "choose the port at random"),
    ],
    build,
    cases: &[
        Case::Same("@nat PREROUTING|"),
        Case::Same("@nat OUTPUT|-p udp |--to-ports 2000-3000 --random"),
        Case::Saves("@nat PREROUTING|-p tcp |--to-ports 5-5", "--to-ports 5"),
        Case::Fails("@nat PREROUTING|--to-ports 5", "Need TCP, UDP, SCTP or DCCP"),
        Case::Fails("@nat PREROUTING|-p tcp |--to-ports 80,90", "Garbage after port value: `,90'"),
        Case::Fails("@nat PREROUTING|-p tcp |--to-ports 1-2/3", "Shifted portmap ranges not supported"),
    ],
};

#[derive(Debug)]
struct Redirect {
    range: NatRange,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut range = NatRange { random: parsed.has("random"), ..NatRange::default() };
    if let Some(ports) = parsed.get("to-ports") {
        nat_range::parse_ports(parsed, ports.value(), &mut range)?;
        if range.base.is_some() {
            let error = SyntaxError::parameter("Shifted portmap ranges not supported with this kernel");
            return Err(error.at(ports.value()).late());
        }
    }
    Ok(Arc::new(Redirect { range }))
}

impl Target for Redirect {
    fn name(&self) -> &'static str {
        "REDIRECT"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let here = match (look.hook(), look.family()) {
            (Hook::Output, Family::V4) => Some(Addr::from_v4(Ipv4Addr::LOCALHOST)),
            (Hook::Output, Family::V6) => Some(Addr::from_v6(Ipv6Addr::LOCALHOST)),
            (_, family) => look.iif().and_then(|dev| look.net().first_address(family, dev.index, look.dst())),
        };
        match here {
            Some(here) => Verdict::Nat(Manip::Dst, NatRange { addrs: Some((here, here)), ..self.range }),
            None => Verdict::Drop(DropReason::NatFailed),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        nat_range::write_ports(f, &self.range, " --to-ports ", "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        nat_range::write_ports(f, &self.range, " redir ports ", "")
    }

    fn scope(&self) -> Scope {
        nat_range::scope(&[Hook::Prerouting, Hook::Output])
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::nat::Manip;
    use hairpin_engine::rule::{NatRange, Verdict};
    use hairpin_engine::{DropReason, Hook};
    use hairpin_wire::Addr;

    #[test]
    fn local_packets_go_to_loopback() {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Output;
        let here = Addr::v4(0x7f00_0001);
        let range = NatRange { addrs: Some((here, here)), ports: Some((80, 80)), ..Default::default() };
        assert_eq!(act_in(&mut probe, "-p tcp -j REDIRECT --to-ports 80"), Verdict::Nat(Manip::Dst, range));
    }

    #[test]
    fn without_an_address_it_drops() {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Prerouting;
        assert_eq!(act_in(&mut probe, "-j REDIRECT"), Verdict::Drop(DropReason::NatFailed));
    }
}
