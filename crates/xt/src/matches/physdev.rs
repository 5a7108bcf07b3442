//! `-m physdev`: the ports of a bridge that the packet crosses. Here packets cross none, as on a Linux without
//! br_netfilter: only what is inverted holds.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::hook::Hook;
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "physdev",
    aliases: &[],
    families: Families::Both,
    about: "the ports of a bridge that the packet crosses",
    kind: Kind::Partly("no packet crosses a bridge, so only what is inverted holds"),
    options: &[
        Opt::new("physdev-in", &["name[+]"], "the port it came by").inverts(),
        Opt::new("physdev-out", &["name[+]"], "the port it leaves by").inverts(),
        Opt::switch("physdev-is-in", "it came by a port of a bridge").inverts(),
        Opt::switch("physdev-is-out", "it leaves by a port of a bridge").inverts(),
        Opt::switch("physdev-is-bridged", "it is bridged, not routed").inverts(),
    ],
    build,
    cases: &[
        Case::Same("--physdev-in lo"),
        Case::Same("--physdev-is-in ! --physdev-in eth+ --physdev-is-out --physdev-out eth1 ! --physdev-is-bridged"),
        Case::Saves("--physdev-is-bridged --physdev-in lo", "--physdev-in lo --physdev-is-bridged"),
        Case::Fails("--physdev-in sixteen-bytes-00", "interface name"),
        Case::Fails("", "PHYSDEV: no physdev option specified"),
    ],
};

#[derive(Debug)]
struct PhysDev {
    is_in: Option<bool>,
    input: Option<Port>,
    is_out: Option<bool>,
    output: Option<Port>,
    is_bridged: Option<bool>,
}

#[derive(Debug)]
struct Port {
    name: String,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    if parsed.given.is_empty() {
        return Err(SyntaxError::parameter("PHYSDEV: no physdev option specified"));
    }
    let is = |name: &str| parsed.get(name).map(|given| !given.inverted);
    let port = |name: &str| parsed.get(name).map(|given| parse_port(parsed, given)).transpose();
    Ok(Arc::new(PhysDev {
        is_in: is("physdev-is-in"),
        input: port("physdev-in")?,
        is_out: is("physdev-is-out"),
        output: port("physdev-out")?,
        is_bridged: is("physdev-is-bridged"),
    }))
}

fn parse_port(parsed: &Parsed<'_>, given: &Given) -> Result<Port, SyntaxError> {
    let name = given.value();
    if name.len() > 15 {
        let message = format!("interface name `{name}' must be shorter than IFNAMSIZ (15)");
        return Err(SyntaxError::parameter(message).at(name));
    }
    if name.contains(['/', ' ']) {
        parsed.notice(format!(
            "Warning: weird character in interface `{name}' ('/' and ' ' are not allowed by the kernel)."
        ));
    }
    Ok(Port { name: name.to_owned(), inverted: given.inverted })
}

impl Match for PhysDev {
    fn name(&self) -> &'static str {
        "physdev"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        [self.is_in, self.is_out, self.is_bridged].iter().all(|is| *is != Some(true))
            && [&self.input, &self.output].iter().all(|port| port.as_ref().is_none_or(|port| port.inverted))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        save_switch(f, "physdev-is-in", self.is_in)?;
        save_port(f, "physdev-in", &self.input)?;
        save_switch(f, "physdev-is-out", self.is_out)?;
        save_port(f, "physdev-out", &self.output)?;
        save_switch(f, "physdev-is-bridged", self.is_bridged)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" PHYSDEV match")?;
        self.save(f)
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let asks_output = self.output.is_some() || self.is_out.is_some();
        if asks_output && self.is_bridged != Some(true) && place.hooks.contains(Hook::Output) {
            return Err(Refused::Invalid(
                "xt_physdev: --physdev-out and --physdev-is-out only supported in the FORWARD and POSTROUTING chains \
                 with bridged traffic"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn save_switch(f: &mut fmt::Formatter<'_>, name: &str, is: Option<bool>) -> fmt::Result {
    match is {
        Some(is) => write!(f, "{} --{name}", if is { "" } else { " !" }),
        None => Ok(()),
    }
}

fn save_port(f: &mut fmt::Formatter<'_>, name: &str, port: &Option<Port>) -> fmt::Result {
    match port {
        Some(port) => write!(f, "{} --{name} {}", if port.inverted { " !" } else { "" }, port.name),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn no_bridge() {
        check("-m physdev --physdev-in eth0", udp(1, 2), No);
        check("-m physdev ! --physdev-in eth0", udp(1, 2), Yes);
        check("-m physdev ! --physdev-in eth0 --physdev-is-bridged", udp(1, 2), No);
        check("-m physdev ! --physdev-is-bridged ! --physdev-out eth0", udp(1, 2), Yes);
    }
}
