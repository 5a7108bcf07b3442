//! `-j HL`: change the hop limit of IPv6.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, hops};
use hairpin_engine::rule::Target;
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
        Case::Fails("--hl-set 1 --hl-dec 2 --hl-inc 3", "cannot be used together"),
        Case::Same("@mangle FORWARD|--hl-set 0"),
        Case::Same("@mangle FORWARD|--hl-dec 255"),
        Case::Same("@mangle FORWARD|--hl-inc 1"),
        Case::Fails("@mangle FORWARD|--hl-inc 0", "out of range (1-255)"),
        Case::Fails("@mangle FORWARD|--hl-set 256", "out of range (0-255)"),
        Case::Fails("@mangle FORWARD|--hl-inc 1 --hl-dec 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "You must specify an action"),
    ],
};

const OPERATIONS: &[&str] = &["hl-set", "hl-inc", "hl-dec"];

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    hops::change(parsed, "HL")
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
