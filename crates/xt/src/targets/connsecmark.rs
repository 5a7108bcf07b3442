//! `-j CONNSECMARK`: carry a security label between packet and connection.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Needs, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CONNSECMARK",
    families: Families::Both,
    about: "carry a security label between packet and connection (no effect here)",
    kind: Kind::NoEffect("there is no security module"),
    options: &[
        Opt::switch("save", "from the packet to the connection").excludes(&["restore"]),
        Opt::switch("restore", "from the connection to the packet").excludes(&["save"]),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--save"),
        Case::Same("@security FORWARD|--restore"),
        Case::Fails("@mangle FORWARD|--save --restore", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "parameter required"),
    ],
};

/// There are no security labels: the packet goes on.
#[derive(Debug)]
struct ConnSecMark {
    save: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    if parsed.given.is_empty() {
        return Err(SyntaxError::parameter("CONNSECMARK target: parameter required"));
    }
    Ok(Arc::new(ConnSecMark { save: parsed.has("save") }))
}

impl Target for ConnSecMark {
    fn name(&self) -> &'static str {
        "CONNSECMARK"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.save { " --save" } else { " --restore" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.save { " CONNSECMARK save" } else { " CONNSECMARK restore" })
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Mangle, TableId::Security]),
            hooks: Hooks::ALL,
            protocols: Protocols::Any,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{udp, udp6};
    use crate::testing_targets::changed;

    #[test]
    fn leaves_the_packet_and_goes_on() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            let after = changed("-j CONNSECMARK --save", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
