//! `-m realm`: the routing realm of the packet's route.

use crate::option::{NameKind, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "realm",
    aliases: &[],
    families: Families::V4,
    about: "the routing realm of the packet's route",
    kind: Kind::Evaluated,
    options: &[Opt::new("realm", &["value[/mask]|name"], "the realm under the mask equals the value").inverts().required()],
    build,
    cases: &[
        Case::Same("--realm 0x1/0x2a"),
        Case::Same("! --realm 0x2a"),
        Case::Saves("--realm 10/0xffffffff", "--realm 0xa"),
        Case::Fails("--realm nowhere", "bad integer value for option \"--realm\", or out of range."),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Realm {
    value: u32,
    mask: u32,
    inverted: bool,
    /// What saving prints instead of the number.
    name: Option<String>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("realm")?;
    let (value, mask) = value::named_mask(parsed, given, NameKind::Realm)?;
    let name = if mask == u32::MAX { parsed.names.name(NameKind::Realm, value) } else { None };
    Ok(Arc::new(Realm { value, mask, inverted: given.inverted, name }))
}

impl Match for Realm {
    fn name(&self) -> &'static str {
        "realm"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let realm = look.route().map_or(0, |route| route.realm);
        (realm & self.mask == self.value) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--", true)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "", !listing.numeric)
    }

    fn scope(&self) -> Scope {
        // There is no route yet in PREROUTING.
        let hooks = Hooks::of(&[Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]);
        Scope { hooks, ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Realm {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str, with_names: bool) -> fmt::Result {
        write!(f, "{} {dashes}realm", if self.inverted { " !" } else { "" })?;
        match &self.name {
            Some(name) if with_names => write!(f, " {name}"),
            _ if self.mask == u32::MAX => write!(f, " {:#x}", self.value),
            _ => write!(f, " {:#x}/{:#x}", self.value, self.mask),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, probe, udp};
    use hairpin_engine::net::IfIndex;
    use hairpin_engine::route::{Route, RouteType};

    #[test]
    fn compares_under_the_mask() {
        let mut probe = probe(udp(1, 2));
        check_in(&mut probe, "-m realm --realm 0", Yes);
        probe.packet.meta.route = Some(Route {
            kind: RouteType::Unicast,
            oif: IfIndex(2),
            gateway: None,
            prefsrc: None,
            mtu: 1500,
            hop_limit: 0,
            advmss: 0,
            realm: 0x0003_0012,
            redirect: false,
        });
        check_in(&mut probe, "-m realm --realm 0x12/0xffff", Yes);
        check_in(&mut probe, "-m realm --realm 0x12", No);
        check_in(&mut probe, "-m realm ! --realm 0x30012", No);
    }
}
