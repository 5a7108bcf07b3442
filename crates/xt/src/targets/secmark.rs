//! `-j SECMARK`: label the packet for a security module.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "SECMARK",
    families: Families::Both,
    about: "label the packet for a security module (no effect here)",
    kind: Kind::NoEffect("there is no security module"),
    options: &[
        Opt::new("selctx", &["context"], "the security context").required(),
    ],
    build,
    cases: &[
        Case::Same("@security FORWARD|--selctx system_u:object_r:http_packet_t:s0"),
        Case::Fails("@mangle FORWARD|", "must be specified"),
    ],
};

/// The longest context in bytes; the rest is cut off.
const CONTEXT_MAX: usize = 255;

/// No security module is asked: the packet goes on, and the context is kept for saving.
#[derive(Debug)]
struct SecMark {
    context: String,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let given = parsed.required("selctx")?;
    Ok(Arc::new(SecMark { context: value::cut(given.value(), CONTEXT_MAX).to_owned() }))
}

impl Target for SecMark {
    fn name(&self) -> &'static str {
        "SECMARK"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --selctx {}", self.context)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " SECMARK selctx {}", self.context)
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
            let after = changed("-j SECMARK --selctx system_u:object_r:firewalld_exec_t:s0", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
