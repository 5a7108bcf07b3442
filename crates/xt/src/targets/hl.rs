//! `-j HL`: change the hop limit of IPv6.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "HL",
    families: Families::V6,
    about: "change the hop limit",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hl-set", &["value"], "to this, 0 to 255").excludes(OPERATIONS),
        Opt::new("hl-dec", &["value"], "lower it by this, not below 0").excludes(OPERATIONS),
        Opt::new("hl-inc", &["value"], "raise it by this, not above 255").excludes(OPERATIONS),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--hl-set 0"),
        Case::Same("@mangle FORWARD|--hl-dec 255"),
        Case::Same("@mangle FORWARD|--hl-inc 1"),
        Case::Fails("@mangle FORWARD|--hl-inc 0", "out of range (1-255)"),
        Case::Fails("@mangle FORWARD|--hl-set 256", "out of range (0-255)"),
        Case::Fails("@mangle FORWARD|--hl-inc 1 --hl-dec 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "You must specify an action"),
    ],
};

const OPERATIONS: &[&str] = &["hl-set", "hl-dec", "hl-inc"];

#[derive(Clone, Copy, Debug)]
enum Hl {
    Set(u8),
    Lower(u8),
    Raise(u8),
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let Some(given) = parsed.given.first() else {
        return Err(parsed.error("You must specify an action"));
    };
    let step = || value::number(parsed, given, 1, 255).map(|n| n as u8);
    Ok(Arc::new(match given.option.name {
        "hl-set" => Hl::Set(value::number_u8(parsed, given)?),
        "hl-dec" => Hl::Lower(step()?),
        _ => Hl::Raise(step()?),
    }))
}

impl Target for Hl {
    fn name(&self) -> &'static str {
        "HL"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let now = edit.look().ttl();
        edit.packet().set_ttl(match *self {
            Hl::Set(value) => value,
            Hl::Lower(step) => now.saturating_sub(step),
            Hl::Raise(step) => now.saturating_add(step),
        });
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hl::Set(value) => write!(f, " --hl-set {value}"),
            Hl::Lower(step) => write!(f, " --hl-dec {step}"),
            Hl::Raise(step) => write!(f, " --hl-inc {step}"),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        match self {
            Hl::Set(value) => write!(f, " HL set to {value}"),
            Hl::Lower(step) => write!(f, " HL decrement by {step}"),
            Hl::Raise(step) => write!(f, " HL increment by {step}"),
        }
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Mangle]), hooks: Hooks::ALL, protocols: Protocols::Any }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing_targets::changed;
    use hairpin_wire::{Addr, build};

    #[test]
    fn stays_within_its_byte() {
        let packet = || build::Ipv6 { src: Addr(1), dst: Addr(2), hop_limit: 9, ..Default::default() }.to_vec();
        assert_eq!(changed("-j HL --hl-set 5", packet()).ttl(), 5);
        assert_eq!(changed("-j HL --hl-inc 250", packet()).ttl(), 255);
        assert_eq!(changed("-j HL --hl-dec 10", packet()).ttl(), 0);
    }
}
