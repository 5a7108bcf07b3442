//! `-j TEE`: send a copy of the packet to another machine on the link.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Place, Refused, Target, Verdict};
use hairpin_engine::{Edit};
use hairpin_engine::net::IfName;
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TEE",
    families: Families::Both,
    about: "send a copy of the packet to a gateway",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("gateway", &["address"], "where the copy is sent").required(),
        Opt::new("oif", &["device"], "by which device"),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--gateway 10.1.0.1"),
        Case::Same("@mangle FORWARD|--gateway 2001:db8::1 --oif eth0"),
        Case::Saves("@mangle FORWARD|--gateway 10.1.0.1 --oif a2345678901234567", "--gateway 10.1.0.1 --oif a23456789012345"),
        Case::Fails("@mangle FORWARD|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Tee {
    family: Family,
    gateway: Addr,
    oif: Option<IfName>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let gateway = parsed.required("gateway")?;
    let oif = parsed.get("oif").map_or("", |given| value::cut(given.value(), IfName::MAX));
    Ok(Arc::new(Tee {
        family: parsed.family,
        gateway: value::host(parsed, gateway)?,
        oif: IfName::new(oif).filter(|_| !oif.is_empty()),
    }))
}

impl Target for Tee {
    fn name(&self) -> &'static str {
        "TEE"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        edit.copy_to(self.gateway, self.oif);
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --gateway {}", value::show_addr(self.family, self.gateway))?;
        match self.oif {
            Some(oif) => write!(f, " --oif {oif}"),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        match listing.host(self.family, self.gateway) {
            Some(name) => write!(f, " TEE gw:{name}")?,
            None => write!(f, " TEE gw:{}", value::show_addr(self.family, self.gateway))?,
        }
        match self.oif {
            Some(oif) => write!(f, " oif={oif}"),
            None => Ok(()),
        }
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.gateway.is_unspecified() {
            return Err(Refused::Invalid("xt_TEE: the gateway has no address".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
