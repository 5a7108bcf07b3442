//! `-m devgroup`: the group of a device (`ip link set group`).

use crate::option::{NameKind, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::Look;
use hairpin_engine::net::Interface;
use hairpin_engine::rule::{Listing, Match, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "devgroup",
    aliases: &[],
    families: Families::Both,
    about: "the group of a device",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("src-group", &["value[/mask]|name"], "group of the device the packet came by").inverts(),
        Opt::new("dst-group", &["value[/mask]|name"], "group of the device the packet leaves by").inverts(),
    ],
    build,
    cases: &[
        Case::Same("--src-group 0x5 ! --dst-group 0x5/0x6"),
        Case::Saves("! --src-group 17", "! --src-group 0x11"),
        Case::Fails("--src-group foo", "bad integer value for option \"--src-group\", or out of range."),
        Case::Fails("", "You must specify either '--src-group' or '--dst-group'"),
    ],
};

#[derive(Debug)]
struct DevGroup {
    source: Option<Group>,
    destination: Option<Group>,
}

#[derive(Debug)]
struct Group {
    value: u32,
    mask: u32,
    inverted: bool,
    /// What saving prints instead of the number.
    name: Option<String>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let group = |name: &str| {
        let Some(given) = parsed.get(name) else { return Ok(None) };
        let (value, mask) = value::named_mask(parsed, given, NameKind::DeviceGroup)?;
        let name = if mask == u32::MAX { parsed.names.name(NameKind::DeviceGroup, value) } else { None };
        Ok(Some(Group { value, mask, inverted: given.inverted, name }))
    };
    let (source, destination) = (group("src-group")?, group("dst-group")?);
    if source.is_none() && destination.is_none() {
        let message = "devgroup match: You must specify either '--src-group' or '--dst-group'";
        return Err(SyntaxError::parameter(message));
    }
    Ok(Arc::new(DevGroup { source, destination }))
}

impl Match for DevGroup {
    fn name(&self) -> &'static str {
        "devgroup"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        self.source.as_ref().is_none_or(|group| group.fits(look.iif()))
            && self.destination.as_ref().is_none_or(|group| group.fits(look.oif()))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--", true)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "", !listing.numeric)
    }

    fn scope(&self) -> Scope {
        let all = Hooks::ALL;
        let source = Hooks::of(&[Hook::Prerouting, Hook::Input, Hook::Forward]);
        let destination = Hooks::of(&[Hook::Forward, Hook::Output, Hook::Postrouting]);
        let not_source = if self.source.is_some() { all.minus(source) } else { Hooks::NONE };
        let not_destination = if self.destination.is_some() { all.minus(destination) } else { Hooks::NONE };
        Scope { hooks: all.minus(not_source).minus(not_destination), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DevGroup {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str, with_names: bool) -> fmt::Result {
        for (option, group) in [("src-group", &self.source), ("dst-group", &self.destination)] {
            let Some(group) = group else { continue };
            write!(f, "{} {dashes}{option}", if group.inverted { " !" } else { "" })?;
            match &group.name {
                Some(name) if with_names => write!(f, " {name}")?,
                _ if group.mask == u32::MAX => write!(f, " {:#x}", group.value)?,
                _ => write!(f, " {:#x}/{:#x}", group.value, group.mask)?,
            }
        }
        Ok(())
    }
}

impl Group {
    fn fits(&self, device: Option<&Interface>) -> bool {
        let group = device.map_or(0, |device| device.group);
        ((group ^ self.value) & self.mask == 0) != self.inverted
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, device, probe, udp};
    use hairpin_engine::net::LinkKind;

    #[test]
    fn compares_under_the_mask() {
        let mut probe = probe(udp(1, 2));
        let eth0 = device(&mut probe, "eth0", LinkKind::Ethernet);
        probe.net.interfaces.last_mut().unwrap().group = 5;
        probe.packet.meta.iif = Some(eth0);
        check_in(&mut probe, "-m devgroup --src-group 5", Yes);
        check_in(&mut probe, "-m devgroup --src-group 7/5", Yes);
        check_in(&mut probe, "-m devgroup ! --src-group 4", Yes);
        check_in(&mut probe, "-m devgroup --src-group 5 --dst-group 5", No);
    }
}
