//! `-j DNAT`: change the destination address.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::nat_range::{self, Mapping};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{NatRange, Target};
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "DNAT",
    families: Families::Both,
    about: "change the destination address",
    kind: Kind::Evaluated,
    options: &[
        Opt::new(
            "to-destination",
            &["[addr[-addr]][:port[-port[/base]]]"],
            "map the destination to this, or into this range; with a base, a port keeps its distance from it",
        )
        .required(),
        Opt::switch("random", "choose the port at random"),
        Opt::switch("persistent", "send a client to the same address whatever it dialled"),
    ],
    build,
    cases: &[
        Case::Same("@nat PREROUTING|--to-destination 10.1.0.1"),
        Case::Same("@nat OUTPUT|--to-destination 10.1.0.1-10.1.0.9 --random --persistent"),
        Case::Same("@nat PREROUTING|-p tcp |--to-destination 10.1.0.1:8080"),
        Case::Same("@nat PREROUTING|-p tcp |--to-destination :8080-8090"),
        Case::Same("@nat PREROUTING|-p tcp |--to-destination 10.1.0.1:8080-8090/80"),
        Case::Same("@nat PREROUTING|-p tcp |--to-destination 2001:db8::1"),
        Case::Same("@nat PREROUTING|-p tcp |--to-destination [2001:db8::1-2001:db8::9]:8080-8090/80"),
        Case::Fails("@nat PREROUTING|-p tcp |--to-destination 10.1.0.1:8080-8090/0", "Port `0' not valid"),
        Case::Fails("@nat PREROUTING|-p tcp |--to-destination 10.1.0.1:80/5", "Garbage after port value: `/5'"),
        Case::Fails("@nat PREROUTING|-p tcp |--to-destination 10.1.0.1:1-2-3", "Garbage after port range: `-3'"),
        Case::Fails("@nat PREROUTING|--to-destination [2001:db8::1]:80", "Need TCP, UDP, SCTP or DCCP"),
        Case::Fails("@nat PREROUTING|--random", "must be specified"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let to = parsed.required("to-destination")?;
    let mut range = NatRange {
        random: parsed.has("random"),
        persistent: parsed.has("persistent"),
        ..NatRange::default()
    };
    nat_range::parse_to(parsed, to.value(), &mut range)?;
    Ok(Arc::new(Mapping { side: Manip::Dst, family: parsed.family, range }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::nat::Manip;
    use hairpin_engine::rule::{NatRange, Verdict};
    use hairpin_wire::Addr;

    #[test]
    fn says_where_to() {
        let mut probe = probe(udp(1, 2));
        let verdict = act_in(&mut probe, "-p udp -j DNAT --to-destination 192.0.2.1-192.0.2.2:7000-7010/53 --random");
        let range = NatRange {
            addrs: Some((Addr::v4(0xc000_0201), Addr::v4(0xc000_0202))),
            ports: Some((7000, 7010)),
            base: Some(53),
            random: true,
            ..Default::default()
        };
        assert_eq!(verdict, Verdict::Nat(Manip::Dst, range));
    }
}
