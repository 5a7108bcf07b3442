//! `-j TRACE`: log every rule that the packet visits from here on.

use crate::option::{Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TRACE",
    families: Families::Both,
    about: "log every rule the packet visits",
    kind: Kind::Evaluated,
    options: &[
    ],
    build,
    cases: &[
        Case::Same("@raw PREROUTING|"),
        Case::Same("@raw OUTPUT|"),
    ],
};

#[derive(Debug)]
struct Trace;

fn build(_parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    Ok(Arc::new(Trace))
}

impl Target for Trace {
    fn name(&self) -> &'static str {
        "TRACE"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        edit.trace();
        Verdict::Continue
    }

    fn save(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn list(&self, _: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        Ok(())
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Raw]), hooks: Hooks::ALL, protocols: Protocols::Any }
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
    fn marks_the_packet_to_be_traced() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            assert!(changed("-j TRACE", packet).meta.trace);
        }
    }
}
