//! `-j TOS`: change the type-of-service byte or the traffic class.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TOS",
    families: Families::Both,
    about: "change the TOS byte or traffic class",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-tos", &["value[/mask]|name"], "clear the bits of the mask, then XOR the value").excludes(OPERATIONS),
        Opt::new("and-tos", &["bits"], "AND").excludes(OPERATIONS),
        Opt::new("or-tos", &["bits"], "OR").excludes(OPERATIONS),
        Opt::new("xor-tos", &["bits"], "XOR").excludes(OPERATIONS),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--set-tos 0x10/0x3f"),
        Case::Saves("@mangle FORWARD|--set-tos 0x10", "--set-tos 0x10/0xff"),
        Case::Saves("@mangle FORWARD|--set-tos minimize-cost", "--set-tos 0x02/0x3f"),
        Case::Saves("@mangle FORWARD|--and-tos 0x12", "--set-tos 0x00/0xed"),
        Case::Saves("@mangle FORWARD|--or-tos 0x12", "--set-tos 0x12/0x12"),
        Case::Saves("@mangle FORWARD|--xor-tos 0x12", "--set-tos 0x12/0x00"),
        Case::Fails("@mangle FORWARD|--set-tos 256", "Symbolic name \"256\" is unknown"),
        Case::Fails("@mangle FORWARD|--set-tos 1/256", "Illegal value: \"1/256\""),
        Case::Fails("@mangle FORWARD|--xor-tos 1 --set-tos 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "An action is required"),
    ],
};

const OPERATIONS: &[&str] = &["set-tos", "and-tos", "or-tos", "xor-tos"];

/// The mask that goes with a name: all but the bits of congestion notification, one of which RFC 1349 used.
const NAME_MASK: u8 = 0x3f;

#[derive(Debug)]
struct Tos {
    value: u8,
    mask: u8,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut tos = Err(parsed.error("An action is required"));
    for given in &parsed.given {
        let bits = || value::number_u8(parsed, given);
        let (value, mask) = match given.option.name {
            "set-tos" => value::tos_mask(given, NAME_MASK)?,
            "and-tos" => (0, !bits()?),
            "or-tos" => (bits()?, bits()?),
            _ => (bits()?, 0),
        };
        tos = Ok(Tos { value, mask });
    }
    Ok(Arc::new(tos?))
}

impl Target for Tos {
    fn name(&self) -> &'static str {
        "TOS"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let tos = edit.look().tos();
        edit.packet().set_tos((tos & !self.mask) ^ self.value);
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --set-tos {:#04x}/{:#04x}", self.value, self.mask)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        let named = value::TOS_NAMES.iter().find(|(_, tos)| *tos == self.value && self.mask == NAME_MASK);
        match (self.value, self.mask) {
            (value, mask) if listing.numeric => write!(f, " TOS set {value:#04x}/{mask:#04x}"),
            // The front end forgets a space here and puts one more there.
            _ if named.is_some() => write!(f, "  TOS set{}", named.map_or("", |(name, _)| name)),
            (0, mask) => write!(f, " TOS and {:#04x}", !mask),
            (value, mask) if value == mask => write!(f, " TOS or {value:#04x}"),
            (value, 0) => write!(f, " TOS xor {value:#04x}"),
            (value, mask) => write!(f, " TOS set {value:#04x}/{mask:#04x}"),
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
    use crate::testing::{DST, SRC};
    use crate::testing_targets::{changed, checksum_ok};
    use hairpin_wire::{build, proto};

    #[test]
    fn clears_and_flips_bits() {
        let tos = |rule, tos| {
            let packet = build::Ipv4 { src: SRC, dst: DST, protocol: proto::UDP, tos, ..Default::default() };
            let packet = changed(rule, packet.to_vec());
            assert!(packet.l4().is_empty() || checksum_ok(&packet));
            packet.tos()
        };
        assert_eq!(tos("-j TOS --set-tos 0x15/0x0f", 0xf6), 0xe5);
        assert_eq!(tos("-j TOS --and-tos 0xf0", 0x1f), 0x10);
        assert_eq!(tos("-j TOS --or-tos 0x11", 0x10), 0x11);
        assert_eq!(tos("-j TOS --xor-tos 0xff", 0x0f), 0xf0);
        assert_eq!(tos("-j TOS --set-tos minimize-delay", 0xc1), 0xd0);
    }
}
