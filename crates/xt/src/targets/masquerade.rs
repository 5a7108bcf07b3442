//! `-j MASQUERADE`: change the source to an address of the device the packet leaves by.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, nat_range};
use hairpin_engine::track::Direction;
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{Listing, NatRange, Needs, Scope, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Event, Hook};
use hairpin_wire::Family;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "MASQUERADE",
    families: Families::Both,
    about: "change the source to the address of the device the packet leaves by",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("to-ports", &["port[-port]"], "map the port to this, or into this range"),
        Opt::switch("random", "choose the port at random"),
        Opt::switch("random-fully", "choose the port at random"),
    ],
    build,
    cases: &[
        Case::Same("@nat POSTROUTING|"),
        Case::Same("@nat POSTROUTING|-p udp |--to-ports 2000-3000 --random"),
        Case::Saves("@nat POSTROUTING|--random-fully --random", "--random --random-fully"),
        Case::Saves("@nat POSTROUTING|-p tcp |--to-ports 5-5", "--to-ports 5"),
        Case::Fails("@nat POSTROUTING|--to-ports 5", "Need TCP, UDP, SCTP or DCCP"),
        Case::Fails("@nat POSTROUTING|-p tcp |--to-ports -1", "Port `-1' not valid"),
    ],
};

#[derive(Debug)]
struct Masquerade {
    range: NatRange,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut range = NatRange {
        random: parsed.has("random"),
        random_fully: parsed.has("random-fully"),
        masquerade: true,
        ..NatRange::default()
    };
    if let Some(ports) = parsed.get("to-ports") {
        nat_range::parse_ports(parsed, ports.value(), &mut range)?;
    }
    // As in SNAT: no room for a base in the kernel's form of this rule.
    range.base = range.base.map(|_| 0);
    Ok(Arc::new(Masquerade { range }))
}

impl Target for Masquerade {
    fn name(&self) -> &'static str {
        "MASQUERADE"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        // A host that has no address yet (DHCP) must keep having none.
        if look.family() == Family::V4 && look.conn().is_some_and(|(conn, _)| conn.tuple(Direction::Original).src.is_unspecified()) {
            return Verdict::Accept;
        }
        if let Some(source) = look.masquerade_source() {
            return Verdict::Nat(Manip::Src, NatRange { addrs: Some((source, source)), ..self.range });
        }
        if look.family() == Family::V4
            && let Some(dev) = look.oif()
        {
            let line = format!("{} ate my IP address", dev.name);
            edit.event(Event::Kernel(line));
        }
        Verdict::Drop(DropReason::NatFailed)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        nat_range::write_ports(f, &self.range, " --to-ports ", "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        nat_range::write_ports(f, &self.range, " masq ports: ", "")
    }

    fn scope(&self) -> Scope {
        nat_range::scope(&[Hook::Postrouting])
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
    use crate::testing::{DST, probe, udp};
    use crate::testing_targets::{act_in, track};
    use hairpin_engine::rule::Verdict;
    use hairpin_engine::{DropReason, Hook};
    use hairpin_wire::{Addr, Family, build};

    #[test]
    fn without_an_address_it_drops() {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Postrouting;
        track(&mut probe, 0);
        assert_eq!(act_in(&mut probe, "-j MASQUERADE"), Verdict::Drop(DropReason::NatFailed));
    }

    #[test]
    fn a_host_without_an_address_keeps_having_none() {
        let packet = build::Udp { src_port: 68, dst_port: 67, payload: b"" }.packet(Family::V4, Addr::UNSPECIFIED, DST);
        let mut probe = probe(packet);
        probe.hook = Hook::Postrouting;
        track(&mut probe, 0);
        assert_eq!(act_in(&mut probe, "-j MASQUERADE"), Verdict::Accept);
    }
}
