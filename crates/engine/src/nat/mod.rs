//! Address translation: choosing a binding for a connection, and rewriting packets by it.

use crate::hook::Hook;
use crate::track::Direction;

/// Which end of a packet is translated (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manip {
    /// The source: POSTROUTING and INPUT.
    Src,
    /// The destination: PREROUTING and OUTPUT.
    Dst,
}

impl Manip {
    /// The side that a hook translates. FORWARD translates nothing and counts as the source side.
    pub const fn at(hook: Hook) -> Manip {
        match hook {
            Hook::Prerouting | Hook::Output => Manip::Dst,
            Hook::Input | Hook::Forward | Hook::Postrouting => Manip::Src,
        }
    }

    /// The other side.
    pub const fn other(self) -> Manip {
        match self {
            Manip::Src => Manip::Dst,
            Manip::Dst => Manip::Src,
        }
    }

    /// The side of the original direction that a translation on this side of a packet going `direction` belongs to.
    pub const fn seen_from(self, direction: Direction) -> Manip {
        match direction {
            Direction::Original => self,
            Direction::Reply => self.other(),
        }
    }
}
