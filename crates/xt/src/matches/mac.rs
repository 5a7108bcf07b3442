//! `-m mac`: the Ethernet address the packet came from.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::Look;
use hairpin_engine::net::LinkKind;
use hairpin_engine::rule::{Listing, Match, Scope};
use hairpin_wire::Mac;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "mac",
    aliases: &[],
    families: Families::Both,
    about: "the Ethernet address the packet came from",
    kind: Kind::Evaluated,
    options: &[Opt::new("mac-source", &["address"], "the source of the frame").inverts().required()],
    build,
    cases: &[
        Case::Same("--mac-source 42:01:02:03:04:05"),
        Case::Saves("! --mac-source 2:AB:2:3:4:5", "! --mac-source 02:ab:02:03:04:05"),
        Case::Fails("--mac-source 42:01:02:03:04", "Invalid MAC address specified."),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct MacSource {
    mac: Mac,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("mac-source")?;
    Ok(Arc::new(MacSource { mac: value::mac(given)?, inverted: given.inverted }))
}

impl Match for MacSource {
    fn name(&self) -> &'static str {
        "mac"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        // Also inverted: without an Ethernet header there is nothing to compare.
        if look.link_kind() != Some(LinkKind::Ethernet) {
            return false;
        }
        match look.link_header().get(6..12) {
            Some(source) => (source == self.mac.0) != self.inverted,
            None => false,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --mac-source {}", if self.inverted { " !" } else { "" }, self.mac)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " MAC{} {}", if self.inverted { " !" } else { "" }, self.mac)
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Prerouting, Hook::Input, Hook::Forward]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, device, probe, udp};
    use hairpin_engine::net::LinkKind;
    use hairpin_wire::Mac;

    #[test]
    fn only_ethernet_has_addresses() {
        let mut probe = probe(udp(1, 2));
        check_in(&mut probe, "-m mac ! --mac-source 02:00:00:00:00:01", No);
        probe.packet.set_link_header(Mac([2, 0, 0, 0, 0, 9]), Mac([2, 0, 0, 0, 0, 1]));
        probe.packet.meta.iif = Some(device(&mut probe, "eth0", LinkKind::Ethernet));
        check_in(&mut probe, "-m mac --mac-source 02:00:00:00:00:01", Yes);
        check_in(&mut probe, "-m mac ! --mac-source 02:00:00:00:00:01", No);
        check_in(&mut probe, "-m mac --mac-source 02:00:00:00:00:09", No);
        probe.packet.meta.iif = Some(device(&mut probe, "tun0", LinkKind::Bare));
        check_in(&mut probe, "-m mac --mac-source 02:00:00:00:00:01", No);
    }
}
