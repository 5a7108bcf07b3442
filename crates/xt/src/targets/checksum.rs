//! `-j CHECKSUM`: complete a checksum that was left to the device.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CHECKSUM",
    families: Families::Both,
    about: "complete a checksum that was left to the device",
    kind: Kind::NoEffect("checksums are always complete here"),
    options: &[
        Opt::switch("checksum-fill", "complete it").required(),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--checksum-fill"),
        Case::Fails("@mangle FORWARD|", "must be specified"),
    ],
};

/// Packets carry complete checksums here, so there is never anything to do: exactly as in the kernel for such packets.
#[derive(Debug)]
struct Checksum;

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    if !parsed.has("checksum-fill") {
        return Err(parsed.error("option \"--checksum-fill\" must be specified\n"));
    }
    Ok(Arc::new(Checksum))
}

impl Target for Checksum {
    fn name(&self) -> &'static str {
        "CHECKSUM"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --checksum-fill")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" CHECKSUM fill")
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
    use crate::testing::{udp, udp6};
    use crate::testing_targets::changed;

    #[test]
    fn leaves_the_packet_and_goes_on() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            let after = changed("-j CHECKSUM --checksum-fill", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
