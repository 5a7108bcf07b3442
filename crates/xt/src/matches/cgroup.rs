//! `-m cgroup`: the control group of the process whose socket sent the packet, as it was given with the packet.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::packet::Sender;
use hairpin_engine::rule::{Listing, Match, Place, Refused, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "cgroup",
    aliases: &[],
    families: Families::Both,
    about: "the control group of the sending process",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("cgroup", &["classid"], "its class in the net_cls controller").inverts(),
        Opt::new("path", &["path"], "its path, or that of a group it is in").inverts(),
    ],
    build,
    cases: &[
        Case::Same("--cgroup 5"),
        Case::Same("! --path \"/\""),
        Case::Same("--path \"/\""),
        Case::Fails("--cgroup foo", "out of range"),
    ],
};

#[derive(Debug)]
struct Cgroup {
    class: Option<(u32, bool)>,
    path: Option<(String, bool)>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let class = match parsed.get("cgroup") {
        Some(given) => Some((value::number_u32(parsed, given)?, given.inverted)),
        None => None,
    };
    let path = match parsed.get("path") {
        Some(given) => Some((value::string(given, 0, MAX_PATH)?.to_owned(), given.inverted)),
        None => None,
    };
    Ok(Arc::new(Cgroup { class, path }))
}

impl Match for Cgroup {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        // The kernel's own sockets are in the root group, of class 0.
        let (group, own) = match look.sender() {
            Sender::None => return false,
            Sender::Kernel => ("", 0),
            Sender::Process(owner) => (owner.cgroup.as_str(), owner.class),
        };
        self.class.is_none_or(|(class, inverted)| (class == own) != inverted)
            && self.path.as_ref().is_none_or(|(path, inverted)| is_within(group, path) != *inverted)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, inverted)) = &self.path {
            write!(f, "{} --path \"{path}\"", if *inverted { " !" } else { "" })?;
        }
        match self.class {
            Some((class, inverted)) => write!(f, "{} --cgroup {class}", if inverted { " !" } else { "" }),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let not = |inverted: bool| if inverted { " !" } else { "" };
        if let Some((path, inverted)) = &self.path {
            write!(f, " cgroup{} {path}", not(*inverted))?;
        }
        match self.class {
            Some((class, inverted)) => write!(f, " cgroup{} {class}", not(inverted)),
            None => Ok(()),
        }
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Input, Hook::Output, Hook::Postrouting]), ..Scope::EVERYWHERE }
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let refuse = |text: &str| Err(Refused::Invalid(format!("xt_cgroup: {text}")));
        match (&self.class, &self.path) {
            (None, None) => refuse("no path or classid specified"),
            (Some(_), Some(_)) => refuse("path and classid specified"),
            _ => Ok(()),
        }
    }

    fn warning(&self) -> Option<String> {
        let (path, _) = self.path.as_ref().filter(|(path, _)| parts(path).next().is_some())?;
        Some(format!("cgroup: which groups exist is not known here; Linux refuses this rule while there is no {path}"))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether a group is this one or below it.
fn is_within(group: &str, path: &str) -> bool {
    let mut own = parts(group);
    parts(path).all(|part| own.next() == Some(part))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// `XT_CGROUP_PATH_MAX` without the final zero byte.
const MAX_PATH: usize = 511;

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, loads, parse, probe, udp};
    use hairpin_engine::Hook;
    use hairpin_engine::packet::{Origin, Owner, Sender};
    use hairpin_wire::Family;
    use std::sync::Arc;

    #[test]
    fn the_group_of_the_sender() {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Output;
        let owner = Owner { cgroup: "/system.slice/web.service".to_owned(), class: 0x10_0001, ..Owner::default() };
        probe.packet.meta.origin = Origin::Local(Sender::Process(Arc::new(owner)));
        for (options, expected) in [
            ("--cgroup 1048577", Yes),
            ("--cgroup 0", No),
            ("! --cgroup 1048577", No),
            ("--path /", Yes),
            ("--path system.slice", Yes),
            ("--path /system.slice/web.service/", Yes),
            ("--path /system.slice/web.service/below", No),
            ("--path /system", No),
            ("! --path /user.slice", Yes),
        ] {
            check_in(&mut probe, &format!("-m cgroup {options}"), expected);
        }
    }

    #[test]
    fn the_kernel_is_in_the_root_group() {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Output;
        check_in(&mut probe, "-m cgroup --cgroup 0", No);
        check_in(&mut probe, "-m cgroup ! --cgroup 5", No);
        probe.packet.meta.origin = Origin::Local(Sender::Kernel);
        check_in(&mut probe, "-m cgroup --cgroup 0", Yes);
        check_in(&mut probe, "-m cgroup --cgroup 5", No);
        check_in(&mut probe, "-m cgroup --path /", Yes);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused = |options: &str| loads(parse(Family::V4, &format!("-m cgroup {options}")).unwrap()).is_err();
        assert!(refused("") && refused("--cgroup 1 --path /"));
        assert!(!refused("--cgroup 1") && !refused("--path /") && !refused("--path /somewhere"));
    }
}
