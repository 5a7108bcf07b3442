//! `-j SNPT`: translate the prefix of the source address, without remembering anything (RFC 6296).

use crate::npt::{self, Side};
use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::Target;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "SNPT",
    families: Families::V6,
    about: "translate the prefix of the source address, statelessly",
    kind: Kind::Evaluated,
    options: OPTIONS,
    build,
    cases: &[
        Case::Same("@mangle POSTROUTING|--src-pfx fd00:1::/48 --dst-pfx 2001:db8:1::/48"),
        Case::Same("@mangle INPUT|--src-pfx fd00:1::/61 --dst-pfx 2001:db8:1::/51"),
        Case::Saves("@mangle INPUT|--src-pfx fd00::/ffff:: --dst-pfx 2001:db8::/64", "--src-pfx fd00::/16 --dst-pfx 2001:db8::/64"),
        Case::Fails("@mangle POSTROUTING|--src-pfx fd00:1::/48", "\"--dst-pfx\" must be specified"),
        Case::Fails("@mangle POSTROUTING|--dst-pfx fd00:1::/48", "\"--src-pfx\" must be specified"),
    ],
};

/// The options of both directions.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt::new("src-pfx", &["prefix/length"], "the prefix to be replaced, up to 64 bits").required(),
    Opt::new("dst-pfx", &["prefix/length"], "the prefix to put there, up to 64 bits").required(),
];

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    npt::build(parsed, Side::Source)
}

#[cfg(test)]
mod tests {
    use crate::testing_targets::changed;
    use hairpin_wire::{Addr, Family, build};

    /// Example of RFC 6296, section 3.1: fd01:203:405::/48 to 2001:db8:1::/48 is checksum-neutral by 0xd550 in the subnet.
    #[test]
    fn is_checksum_neutral() {
        let inside = Addr(0xfd01_0203_0405_0001_0000_0000_0000_1234);
        let outside = Addr(0x2001_0db8_0001_d550_0000_0000_0000_1234);
        let peer = Addr(0x2001_0db8_0002_0000_0000_0000_0000_0001);
        let packet = build::Udp { src_port: 1, dst_port: 2, payload: b"x" }.packet(Family::V6, inside, peer);
        let packet = changed("-j SNPT --src-pfx fd01:203:405::/48 --dst-pfx 2001:db8:1::/48", packet);
        assert_eq!(packet.src(), outside);
        assert!(crate::testing_targets::checksum_ok(&packet));
    }

    #[test]
    fn longer_prefixes_adjust_the_interface_id() {
        let source = Addr(0xfd00_0000_0000_0001_ffff_0000_0000_0001);
        let peer = Addr(0x2001_0db8_0002_0000_0000_0000_0000_0001);
        let packet = build::Udp { src_port: 1, dst_port: 2, payload: b"x" }.packet(Family::V6, source, peer);
        let packet = changed("-j SNPT --src-pfx fd00:0:0:1::/64 --dst-pfx 2001:db8:0:2::/64", packet);
        assert_eq!(packet.src().0 >> 48, 0x2001_0db8_0000_0002_ffff);
        assert!(crate::testing_targets::checksum_ok(&packet));
    }
}
