//! `-m ipvs`: what the IP virtual server knows of the packet. There is none here, so no engine takes a rule with it.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ipvs",
    aliases: &[],
    families: Families::Both,
    about: "what the IP virtual server knows of the packet",
    kind: Kind::Refused(REASON),
    options: &[
        Opt::switch("ipvs", "the packet belongs to a virtual server").inverts(),
        Opt::new("vproto", &["proto"], "the server's protocol").inverts(),
        Opt::new("vaddr", &["address[/mask]"], "the server's address").inverts(),
        Opt::new("vport", &["port"], "the server's port").inverts(),
        Opt::new("vdir", &["ORIGINAL|REPLY"], "the direction"),
        Opt::new("vmethod", &["GATE|IPIP|MASQ"], "the forwarding method").inverts(),
        Opt::new("vportctl", &["port"], "the port of the controlling connection").inverts(),
    ],
    build,
    cases: &[
        Case::Same("! --ipvs"),
        Case::Saves("! --vproto tcp", "! --vproto 6"),
        Case::Same("--vproto 6 ! --vaddr 10.0.0.0/8 --vport 22 --vdir REPLY --vmethod GATE ! --vportctl 21"),
        Case::Saves("--vmethod masq --vdir original", "--vdir ORIGINAL --vmethod MASQ"),
        Case::Fails("--vdir foo", "Bad value for \"--vdir\" option: \"foo\""),
        Case::Fails("--vmethod foo", "Bad value for \"--vmethod\" option: \"foo\""),
        Case::Fails("! --ipvs --vport 80", "! --ipvs cannot be together with other options"),
        Case::Fails("", "IPVS: At least one option is required"),
    ],
};

const REASON: &str = "there is no IP virtual server here (a rule file keeps such rules, an engine refuses them)";

#[derive(Debug)]
struct Ipvs {
    family: Family,
    /// `--ipvs` alone, and whether it is inverted.
    alone: Option<bool>,
    protocol: Option<If<u8>>,
    address: Option<If<(Addr, Addr)>>,
    port: Option<If<u16>>,
    reply: Option<bool>,
    method: Option<If<&'static str>>,
    control_port: Option<If<u16>>,
}

#[derive(Debug)]
struct If<T> {
    value: T,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let ipvs = parsed.get("ipvs").map(|given| given.inverted);
    let others = parsed.given.iter().filter(|given| given.option.name != "ipvs").count();
    let reply = match parsed.get("vdir") {
        Some(given) if given.value().eq_ignore_ascii_case("ORIGINAL") => Some(false),
        Some(given) if given.value().eq_ignore_ascii_case("REPLY") => Some(true),
        Some(given) => return Err(value::bad_value(parsed, given)),
        None => None,
    };
    let this = Ipvs {
        family: parsed.family,
        alone: if others == 0 { ipvs } else { None },
        protocol: condition(parsed, "vproto", |given| value::protocol(parsed.names, given.value()))?,
        address: condition(parsed, "vaddr", |given| value::host_mask(parsed, given))?,
        port: condition(parsed, "vport", |given| value::port(parsed, given))?,
        reply,
        method: condition(parsed, "vmethod", |given| {
            let method = METHODS.iter().find(|method| given.value().eq_ignore_ascii_case(method));
            method.copied().ok_or_else(|| value::bad_value(parsed, given))
        })?,
        control_port: condition(parsed, "vportctl", |given| value::port(parsed, given))?,
    };
    match (ipvs, others) {
        (None, 0) => Err(SyntaxError::parameter("IPVS: At least one option is required")),
        (Some(true), 1..) => Err(SyntaxError::parameter("! --ipvs cannot be together with other options")),
        _ => Ok(Arc::new(this)),
    }
}

fn condition<T>(
    parsed: &Parsed<'_>,
    name: &str,
    read: impl FnOnce(&Given) -> Result<T, SyntaxError>,
) -> Result<Option<If<T>>, SyntaxError> {
    match parsed.get(name) {
        Some(given) => Ok(Some(If { value: read(given)?, inverted: given.inverted })),
        None => Ok(None),
    }
}

impl Match for Ipvs {
    fn name(&self) -> &'static str {
        "ipvs"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        false
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--", None)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "", Some(listing))
    }

    fn refused_here(&self) -> Option<&'static str> {
        Some("ipvs: there is no IP virtual server here")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Ipvs {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str, listing: Option<&Listing<'_>>) -> fmt::Result {
        let not = |inverted: bool| if inverted { " !" } else { "" };
        if let Some(inverted) = self.alone {
            write!(f, "{} {dashes}ipvs", not(inverted))?;
        }
        if let Some(If { value, inverted }) = &self.protocol {
            write!(f, "{} {dashes}vproto {value}", not(*inverted))?;
        }
        if let Some(If { value: (addr, mask), inverted }) = &self.address {
            write!(f, "{} {dashes}vaddr ", not(*inverted))?;
            match listing {
                None => value::save_host_mask(f, self.family, *addr, *mask)?,
                Some(listing) => value::list_host_mask(f, self.family, *addr, *mask, listing)?,
            }
        }
        if let Some(If { value, inverted }) = &self.port {
            write!(f, "{} {dashes}vport {value}", not(*inverted))?;
        }
        match self.reply {
            Some(true) => write!(f, " {dashes}vdir REPLY")?,
            Some(false) => write!(f, " {dashes}vdir ORIGINAL")?,
            None => {}
        }
        if let Some(If { value, inverted }) = &self.method {
            write!(f, "{} {dashes}vmethod {value}", not(*inverted))?;
        }
        match &self.control_port {
            Some(If { value, inverted }) => write!(f, "{} {dashes}vportctl {value}", not(*inverted)),
            None => Ok(()),
        }
    }
}

const METHODS: [&str; 3] = ["GATE", "IPIP", "MASQ"];

#[cfg(test)]
mod tests {
    use crate::testing::{loads, parse};
    use hairpin_engine::rule::{Action, Compiled, Counter, Header, Rule, Ruleset, Table, TableId};
    use hairpin_wire::Family;

    #[test]
    fn it_is_kept_in_a_file_and_refused_by_an_engine() {
        let built = parse(Family::V4, "-m ipvs ! --ipvs").unwrap();
        assert!(loads(built.clone()).is_ok());
        let mut table = Table::new(TableId::Filter);
        let (header, counter) = (Header::default(), Counter::default());
        table.chains[0].rules.push(Rule { header, matches: vec![built], action: Action::Accept, counter });
        let mut rules = Ruleset::new(Family::V4);
        rules.tables.push(table);
        let refused = Compiled::new(rules).unwrap_err().to_string();
        assert!(refused.starts_with("table filter, chain INPUT, rule 1: ipvs: there is no IP virtual server"), "{refused}");
    }
}
