//! `-j NETMAP`: map a whole network onto another, address by address.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{Listing, NatRange, Needs, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hook, Hooks};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "NETMAP",
    families: Families::Both,
    about: "map a network onto another, keeping the host part of each address",
    kind: Kind::Evaluated,
    options: &[Opt::new("to", &["network[/mask]"], "the network to map to").required()],
    build,
    cases: &[
        Case::Same("@nat PREROUTING|--to 10.1.2.0/24"),
        Case::Saves("@nat POSTROUTING|--to 10.1.2.3/24", "--to 10.1.2.0/24"),
        Case::Saves("@nat INPUT|--to 10.1.2.3/255.255.0.0", "--to 10.1.0.0/16"),
        Case::Saves("@nat OUTPUT|--to 10.1.2.3", "--to 10.1.2.3/32"),
        Case::Saves("@nat OUTPUT|--to 10.1.2.3/255.0.255.0", "--to 10.0.2.0/255.0.255.0"),
        Case::Same("@nat PREROUTING|--to 2001:db8:1::/48"),
        Case::Saves("@nat PREROUTING|--to 2001:db8::1", "--to 2001:db8::1/128"),
        Case::Fails("@nat PREROUTING|--to 2001:db8::1/129", "neither a valid network mask"),
        Case::Fails("@nat PREROUTING|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Netmap {
    family: Family,
    net: Addr,
    mask: Addr,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let family = parsed.family;
    let to = parsed.required("to")?;
    let (addr, mask) = value::host_mask(parsed, to)?;
    Ok(Arc::new(Netmap { family, net: addr.masked(mask), mask }))
}

impl Target for Netmap {
    fn name(&self) -> &'static str {
        "NETMAP"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let side = Manip::at(look.hook());
        let now = match side {
            Manip::Src => look.src(),
            Manip::Dst => look.dst(),
        };
        let new = Addr((now.0 & !self.mask.0) | self.net.0);
        Verdict::Nat(side, NatRange { addrs: Some((new, new)), ..NatRange::default() })
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --to ")?;
        self.write(f)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" to:")?;
        self.write(f)
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Nat]),
            hooks: Hooks::of(&[Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting]),
            protocols: Protocols::Any,
        }
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Netmap {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", value::show_addr(self.family, self.net))?;
        match value::prefix_of(self.family, self.mask) {
            Some(prefix) => write!(f, "/{prefix}"),
            None => write!(f, "/{}", value::show_addr(self.family, self.mask)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::Hook;
    use hairpin_engine::nat::Manip;
    use hairpin_engine::rule::Verdict;
    use hairpin_wire::Addr;

    #[test]
    fn the_hook_says_which_side() {
        let mapped = |hook| {
            let mut probe = probe(udp(1, 2));
            probe.hook = hook;
            match act_in(&mut probe, "-j NETMAP --to 192.0.2.0/24") {
                Verdict::Nat(side, range) => (side, range.addrs),
                other => panic!("{other:?}"),
            }
        };
        let to = |last: u32| Some((Addr::v4(0xc000_0200 | last), Addr::v4(0xc000_0200 | last)));
        assert_eq!(mapped(Hook::Postrouting), (Manip::Src, to(1)));
        assert_eq!(mapped(Hook::Input), (Manip::Src, to(1)));
        assert_eq!(mapped(Hook::Prerouting), (Manip::Dst, to(2)));
        assert_eq!(mapped(Hook::Output), (Manip::Dst, to(2)));
    }
}
