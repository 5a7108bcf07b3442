//! `-j TTL`: change the time to live of IPv4.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, hops};
use hairpin_engine::rule::Target;
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
        Case::Fails("--ttl-set 1 --ttl-dec 2 --ttl-inc 3", "cannot be used together"),
        Case::Same("@mangle FORWARD|--ttl-set 0"),
        Case::Same("@mangle FORWARD|--ttl-dec 255"),
        Case::Same("@mangle FORWARD|--ttl-inc 1"),
        Case::Fails("@mangle FORWARD|--ttl-inc 0", "out of range (1-255)"),
        Case::Fails("@mangle FORWARD|--ttl-set 256", "out of range (0-255)"),
        Case::Fails("@mangle FORWARD|--ttl-inc 1 --ttl-dec 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "You must specify an action"),
    ],
};

const OPERATIONS: &[&str] = &["ttl-set", "ttl-inc", "ttl-dec"];

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    hops::change(parsed, "TTL")
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
