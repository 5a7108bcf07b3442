//! The part of a rule that every rule has: addresses, devices, protocol, fragment.

use crate::net::IfName;
use crate::packet::Headers;
use hairpin_wire::{Addr, Family};

/// An address under a mask, perhaps inverted (`-s`, `-d`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddrMatch {
    /// The network; bits outside the mask are 0.
    pub addr: Addr,
    /// Any mask, not only prefixes. 0 matches everything.
    pub mask: Addr,
    /// `!`.
    pub inverted: bool,
}

impl AddrMatch {
    fn matches(&self, addr: Addr) -> bool {
        (addr.0 & self.mask.0 == self.addr.0) != self.inverted
    }
}

/// A device name or, with a trailing `+`, its beginning (`-i`, `-o`).
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct IfMatch {
    name: u128,
    mask: u128,
    /// `!`.
    pub inverted: bool,
    /// It was written, as a bare `+`: the same as none but in a listing.
    pub any: bool,
}

impl PartialEq for IfMatch {
    /// Whether both mean the same: a bare `+` is no condition.
    fn eq(&self, other: &IfMatch) -> bool {
        (self.name, self.mask, self.inverted) == (other.name, other.mask, other.inverted)
    }
}

impl IfMatch {
    /// A match on `name`, of which a trailing `+` stands for any rest; `+` alone matches everything. None when the name is
    /// longer than 15 bytes.
    pub fn new(name: &str, inverted: bool) -> Option<IfMatch> {
        if let Some(stem) = name.strip_suffix('+') {
            // "thisis15bytes..+" has 16 bytes; iptables refuses it by its whole length.
            IfName::new(name)?;
            let mask = IfName::prefix_mask(stem.len());
            let any = stem.is_empty();
            return Some(IfMatch { name: IfName::new(stem)?.bits(), mask, inverted, any });
        }
        // The terminating NUL takes part, so that "eth1" is not "eth10".
        let mask = IfName::prefix_mask(name.len() + 1);
        Some(IfMatch { name: IfName::new(name)?.bits(), mask, inverted, any: false })
    }

    /// Whether it matches every device and so stands for "not given".
    pub fn is_any(&self) -> bool {
        self.mask == 0
    }

    /// Whether the option has no effect at all.
    pub fn is_absent(&self) -> bool {
        self.mask == 0 && !self.inverted
    }

    /// The one name that it matches; None if there may be others.
    pub(super) fn exact(&self) -> Option<u128> {
        let len = self.mask.leading_ones() / 8;
        // The NUL behind the name takes part.
        let is_whole = len > 0 && (self.name >> (128 - 8 * len)) & 0xff == 0;
        (is_whole && !self.inverted).then_some(self.name)
    }

    /// Whether it matches the device of this name; no device compares as the empty name.
    pub fn matches(&self, name: Option<IfName>) -> bool {
        (name.unwrap_or_default().bits() & self.mask == self.name) != self.inverted
    }

    /// The name as written on a command line.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.name.to_be_bytes().into_iter().take_while(|b| *b != 0).collect();
        let stem = String::from_utf8_lossy(&bytes).into_owned();
        let exact = self.mask == IfName::prefix_mask(stem.len() + 1) && !stem.is_empty();
        if exact { stem } else { stem + "+" }
    }
}

/// What a rule's options outside of any match say (`struct ipt_ip`, `struct ip6t_ip6`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `-s`.
    pub src: AddrMatch,
    /// `-d`.
    pub dst: AddrMatch,
    /// `-i`.
    pub iif: IfMatch,
    /// `-o`.
    pub oif: IfMatch,
    /// `-p`; 0 for any.
    pub protocol: u8,
    /// `! -p`.
    pub protocol_inverted: bool,
    /// `-f` (true) or `! -f` (false), IPv4 only.
    pub fragment: Option<bool>,
}

/// A packet's answer to a rule's header part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderSays {
    Yes,
    No,
    /// IPv6: the rule names a protocol and the packet's headers cannot be walked; the packet is dropped on the spot.
    Hotdrop,
}

impl Header {
    /// Whether the packet, on its way between these devices, fits.
    pub(crate) fn matches(&self, head: &Headers, iif: Option<IfName>, oif: Option<IfName>) -> HeaderSays {
        if !self.src.matches(head.src)
            || !self.dst.matches(head.dst)
            || !self.iif.matches(iif)
            || !self.oif.matches(oif)
        {
            return HeaderSays::No;
        }
        if self.protocol != 0 {
            if head.broken {
                return HeaderSays::Hotdrop;
            }
            if (self.protocol == head.protocol) == self.protocol_inverted {
                return HeaderSays::No;
            }
        }
        match self.fragment {
            Some(wanted) if head.family == Family::V4 && (head.fragment_offset != 0) != wanted => HeaderSays::No,
            _ => HeaderSays::Yes,
        }
    }
}
