//! `-j SNAT`: change the source address.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::nat_range::{self, Mapping};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{NatRange, Target};
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "SNAT",
    families: Families::Both,
    about: "change the source address",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("to-source", &["addr[-addr][:port[-port]]"], "map the source to this, or into this range").required(),
        Opt::switch("random", "choose the port at random"),
        Opt::switch("random-fully", "choose the port at random"),
        Opt::switch("persistent", "give a client the same address for each destination"),
    ],
    build,
    cases: &[
        Case::Same("@nat POSTROUTING|--to-source 10.1.0.1"),
        Case::Same("@nat POSTROUTING|--to-source 10.1.0.1-10.1.0.9 --persistent"),
        Case::Same("@nat INPUT|-p tcp |--to-source 10.1.0.1:2000-3000 --random"),
        Case::Same("@nat POSTROUTING|-p tcp |--to-source :2000-3000"),
        Case::Same("@nat POSTROUTING|--to-source 10.1.0.9-10.1.0.1"),
        Case::Same("@nat POSTROUTING|-p icmp |--to-source 10.1.0.1:7"),
        Case::Saves("@nat POSTROUTING|-p udp |--to-source 10.1.0.1:80-80", "--to-source 10.1.0.1:80"),
        Case::Saves("@nat POSTROUTING|--to-source 10.1.0.1-10.1.0.1", "--to-source 10.1.0.1"),
        Case::Saves(
            "@nat POSTROUTING|--to-source 10.1.0.1 --persistent --random-fully --random",
            "--to-source 10.1.0.1 --random --random-fully --persistent",
        ),
        Case::Same("@nat POSTROUTING|--to-source 2001:db8::1-2001:db8::9"),
        Case::Same("@nat POSTROUTING|-p udp |--to-source [2001:db8::1-2001:db8::9]:5"),
        Case::Saves("@nat POSTROUTING|--to-source [2001:db8::1]", "--to-source 2001:db8::1"),
        Case::Fails("@nat POSTROUTING|--to-source 10.1.0.1:80", "Need TCP, UDP, SCTP or DCCP with port specification"),
        Case::Fails("@nat POSTROUTING|-p udplite |--to-source 10.1.0.1:80", "Need TCP"),
        Case::Fails("@nat POSTROUTING|--to-source 10.1.0", "Bad IP address \"10.1.0\""),
        Case::Fails("@nat POSTROUTING|--to-source [10.1.0.1]", "Invalid address format"),
        Case::Fails("@nat POSTROUTING|-p tcp |--to-source 10.1.0.1:9-8", "Port range `8' funky"),
        Case::Fails("@nat POSTROUTING|-p tcp |--to-source 10.1.0.1:65536", "Port `65536' not valid"),
        Case::Fails("@nat POSTROUTING|-p tcp |--to-source 10.1.0.1:", "Port `' not valid"),
        Case::Fails("@nat POSTROUTING|--to-source 10.1.0.1 --to-source 10.1.0.2", "can only be used once"),
        Case::Fails("@nat POSTROUTING|", "must be specified"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let to = parsed.required("to-source")?;
    let mut range = NatRange {
        random: parsed.has("random"),
        random_fully: parsed.has("random-fully"),
        persistent: parsed.has("persistent"),
        ..NatRange::default()
    };
    nat_range::parse_to(parsed, to.value(), &mut range)?;
    // The kernel's form of this rule has no room for a base: one that was given counts as 0.
    range.base = range.base.map(|_| 0);
    Ok(Arc::new(Mapping { side: Manip::Src, family: parsed.family, range }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::nat::Manip;
    use hairpin_engine::rule::{NatRange, Verdict};
    use hairpin_wire::Addr;

    #[test]
    fn says_where_from() {
        let mut probe = probe(udp(1, 2));
        let verdict = act_in(&mut probe, "-p udp -j SNAT --to-source 192.0.2.1:7-8 --persistent --random-fully");
        let range = NatRange {
            addrs: Some((Addr::v4(0xc000_0201), Addr::v4(0xc000_0201))),
            ports: Some((7, 8)),
            random_fully: true,
            persistent: true,
            ..Default::default()
        };
        assert_eq!(verdict, Verdict::Nat(Manip::Src, range));
    }
}
