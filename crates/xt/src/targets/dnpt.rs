//! `-j DNPT`: translate the prefix of the destination address, without remembering anything (RFC 6296).

use super::snpt::OPTIONS;
use crate::npt::{self, Side};
use crate::option::{Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::Target;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "DNPT",
    families: Families::V6,
    about: "translate the prefix of the destination address, statelessly",
    kind: Kind::Evaluated,
    options: OPTIONS,
    build,
    cases: &[
        Case::Same("@mangle PREROUTING|--src-pfx 2001:db8:1::/48 --dst-pfx fd00:1::/48"),
        Case::Same("@mangle OUTPUT|--src-pfx 2001:db8:1::/48 --dst-pfx fd00:1::/64"),
        Case::Fails("@mangle PREROUTING|", "must be specified"),
    ],
};

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    npt::build(parsed, Side::Destination)
}

#[cfg(test)]
mod tests {
    use crate::testing_targets::changed;
    use hairpin_wire::{Addr, Family, build};

    #[test]
    fn undoes_what_snpt_did() {
        let inside = Addr(0xfd01_0203_0405_0001_0000_0000_0000_1234);
        let peer = Addr(0x2001_0db8_0002_0000_0000_0000_0000_0001);
        let datagram = build::Udp { src_port: 1, dst_port: 2, payload: b"x" };
        let there = changed(
            "-j SNPT --src-pfx fd01:203:405::/48 --dst-pfx 2001:db8:1::/48",
            datagram.packet(Family::V6, inside, peer),
        );
        let back = changed(
            "-j DNPT --src-pfx 2001:db8:1::/48 --dst-pfx fd01:203:405::/48",
            datagram.packet(Family::V6, peer, there.src()),
        );
        assert_eq!(back.dst(), inside);
    }
}
