//! What the tests of the trackers share.

use super::{Conn, Tuple, Zone};
use crate::time::Instant;
use hairpin_wire::{Addr, Family};

/// A connection of which nothing is known but its protocol.
pub(crate) fn conn(protocol: u8) -> Conn {
    let tuple = |src, dst, src_id, dst_id| Tuple {
        src: Addr::v4(src),
        dst: Addr::v4(dst),
        src_id,
        dst_id,
        protocol,
        family: Family::V4,
    };
    let original = tuple(0x0a00_0002, 0x0a00_0102, 1024, 80);
    let reply = tuple(0x0a00_0102, 0x0a00_0002, 80, 1024);
    Conn::new(original, reply, Zone::default(), Instant::default())
}
