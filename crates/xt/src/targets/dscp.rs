//! `-j DSCP`: change the differentiated services code point.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "DSCP",
    families: Families::Both,
    about: "change the DSCP field, keeping the ECN bits",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-dscp", &["value"], "to this, 0 to 63").excludes(&["set-dscp-class"]),
        Opt::new("set-dscp-class", &["class"], "to the code point of this class (EF, AF41, CS3)").excludes(&["set-dscp"]),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--set-dscp 0x00"),
        Case::Saves("@mangle FORWARD|--set-dscp 46", "--set-dscp 0x2e"),
        Case::Saves("@mangle FORWARD|--set-dscp-class ef", "--set-dscp 0x2e"),
        Case::Fails("@mangle FORWARD|--set-dscp 64", "out of range (0-63)"),
        Case::Fails("@mangle FORWARD|--set-dscp-class XY", "Invalid DSCP value `XY'"),
        Case::Fails("@mangle FORWARD|--set-dscp 1 --set-dscp-class EF", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "Parameter --set-dscp is required"),
    ],
};

/// The bits of congestion notification, which stay.
const ECN: u8 = 3;

#[derive(Debug)]
struct Dscp {
    value: u8,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut first = None;
    for given in &parsed.given {
        let value = match given.option.name {
            "set-dscp-class" => value::dscp_class(given.value())?,
            _ => value::number(parsed, given, 0, 63)? as u8,
        };
        first = first.or(Some(value));
    }
    let value = first.ok_or_else(|| SyntaxError::parameter("DSCP target: Parameter --set-dscp is required"))?;
    Ok(Arc::new(Dscp { value }))
}

impl Target for Dscp {
    fn name(&self) -> &'static str {
        "DSCP"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let tos = edit.look().tos();
        edit.packet().set_tos(tos & ECN | self.value << 2);
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --set-dscp {:#04x}", self.value)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " DSCP set {:#04x}", self.value)
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
    use crate::testing::{DST, SRC};
    use crate::testing_targets::changed;
    use hairpin_wire::{Addr, build, proto};

    #[test]
    fn keeps_congestion_notification() {
        let v4 = build::Ipv4 { src: SRC, dst: DST, protocol: proto::UDP, tos: 3, ..Default::default() }.to_vec();
        assert_eq!(changed("-j DSCP --set-dscp-class EF", v4).tos(), 0xbb);
        let v6 = build::Ipv6 { src: Addr(1), dst: Addr(2), traffic_class: 0xfd, ..Default::default() }.to_vec();
        assert_eq!(changed("-j DSCP --set-dscp 0", v6).tos(), 1);
    }
}
