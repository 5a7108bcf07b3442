//! `-j AUDIT`: write an audit record.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Target, Verdict};
use hairpin_engine::{Edit};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "AUDIT",
    families: Families::Both,
    about: "write an audit record",
    kind: Kind::NoEffect("there is no audit log"),
    options: &[
        Opt::new("type", &["accept|drop|reject"], "what the record says is done with the packet").required(),
    ],
    build,
    cases: &[
        Case::Same("--type accept"),
        Case::Same("--type drop"),
        Case::Saves("--type REJECT", "--type reject"),
        Case::Fails("--type foo", "Bad action type value \"foo\""),
        Case::Fails("", "must be specified"),
    ],
};

const TYPES: &[&str] = &["accept", "drop", "reject"];

/// There is no audit system to write to, as in a kernel where it is switched off: the packet just goes on.
#[derive(Debug)]
struct Audit {
    kind: &'static str,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let given = parsed.required("type")?;
    let kind = TYPES.iter().find(|kind| kind.eq_ignore_ascii_case(given.value())).ok_or_else(|| {
        SyntaxError::parameter(format!("Bad action type value \"{}\"", given.value())).at(given.value())
    })?;
    Ok(Arc::new(Audit { kind }))
}

impl Target for Audit {
    fn name(&self) -> &'static str {
        "AUDIT"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --type {}", self.kind)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " AUDIT {}", self.kind)
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
            let after = changed("-j AUDIT --type accept", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
