//! `-j TTL`: change the time to live of IPv4.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TTL",
    families: Families::V4,
    about: "change the time to live",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ttl-set", &["value"], "to this, 0 to 255").excludes(OPERATIONS),
        Opt::new("ttl-dec", &["value"], "lower it by this, not below 0").excludes(OPERATIONS),
        Opt::new("ttl-inc", &["value"], "raise it by this, not above 255").excludes(OPERATIONS),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--ttl-set 0"),
        Case::Same("@mangle FORWARD|--ttl-dec 255"),
        Case::Same("@mangle FORWARD|--ttl-inc 1"),
        Case::Fails("@mangle FORWARD|--ttl-inc 0", "out of range (1-255)"),
        Case::Fails("@mangle FORWARD|--ttl-set 256", "out of range (0-255)"),
        Case::Fails("@mangle FORWARD|--ttl-inc 1 --ttl-dec 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "You must specify an action"),
    ],
};

const OPERATIONS: &[&str] = &["ttl-set", "ttl-dec", "ttl-inc"];

#[derive(Clone, Copy, Debug)]
enum Ttl {
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
        "ttl-set" => Ttl::Set(value::number_u8(parsed, given)?),
        "ttl-dec" => Ttl::Lower(step()?),
        _ => Ttl::Raise(step()?),
    }))
}

impl Target for Ttl {
    fn name(&self) -> &'static str {
        "TTL"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let now = edit.look().ttl();
        edit.packet().set_ttl(match *self {
            Ttl::Set(value) => value,
            Ttl::Lower(step) => now.saturating_sub(step),
            Ttl::Raise(step) => now.saturating_add(step),
        });
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ttl::Set(value) => write!(f, " --ttl-set {value}"),
            Ttl::Lower(step) => write!(f, " --ttl-dec {step}"),
            Ttl::Raise(step) => write!(f, " --ttl-inc {step}"),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        match self {
            Ttl::Set(value) => write!(f, " TTL set to {value}"),
            Ttl::Lower(step) => write!(f, " TTL decrement by {step}"),
            Ttl::Raise(step) => write!(f, " TTL increment by {step}"),
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
    use crate::testing::udp;
    use crate::testing_targets::{changed, checksum_ok};

    #[test]
    fn stays_within_its_byte() {
        let ttl = |rule| {
            let packet = changed(rule, udp(1, 2));
            assert!(checksum_ok(&packet));
            packet.ttl()
        };
        assert_eq!(ttl("-j TTL --ttl-set 0"), 0);
        assert_eq!(ttl("-j TTL --ttl-inc 1"), 65);
        assert_eq!(ttl("-j TTL --ttl-inc 255"), 255);
        assert_eq!(ttl("-j TTL --ttl-dec 1"), 63);
        assert_eq!(ttl("-j TTL --ttl-dec 255"), 0);
    }
}
