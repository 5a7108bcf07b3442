//! An element of a set, what a person writes for one or many of them, and what an entry carries beside it.

use crate::net::IfName;
use crate::time::Instant;
use hairpin_wire::{Addr, Mac};

/// One element. What its type does not have is at the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elem {
    /// The first address.
    pub ip: Addr,
    /// Its prefix length, when it is a network.
    pub cidr: u8,
    /// The second address.
    pub ip2: Addr,
    /// Its prefix length, when it is a network.
    pub cidr2: u8,
    /// The protocol of the port.
    pub proto: u8,
    /// The port, or ICMP type and code.
    pub port: u16,
    /// The link address; None in `bitmap:ip,mac` for an element without one.
    pub mac: Option<Mac>,
    /// The packet mark.
    pub mark: u32,
    /// The device.
    pub iface: IfName,
    /// The device is a bridge's port.
    pub physdev: bool,
    /// The device's name is the beginning of names.
    pub wildcard: bool,
}

/// What a person writes after `ipset add`: one element, or a range in each component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The first address.
    pub ip: Option<Addr>,
    /// Its prefix length.
    pub cidr: Option<u8>,
    /// The end of its range.
    pub ip_to: Option<Addr>,
    /// The second address.
    pub ip2: Option<Addr>,
    /// Its prefix length.
    pub cidr2: Option<u8>,
    /// The end of its range.
    pub ip2_to: Option<Addr>,
    /// The protocol of the port.
    pub proto: Option<u8>,
    /// The port, or ICMP type and code.
    pub port: Option<u16>,
    /// The end of its range.
    pub port_to: Option<u16>,
    /// The link address.
    pub mac: Option<Mac>,
    /// The packet mark.
    pub mark: Option<u32>,
    /// The device.
    pub iface: Option<IfName>,
    /// The device is a bridge's port.
    pub physdev: bool,
    /// The device's name is the beginning of names.
    pub wildcard: bool,
    /// An exception: what it covers is not in the set.
    pub nomatch: bool,
    /// The other set (`list:set`).
    pub name: Option<String>,
    /// Where among the others.
    pub place: Option<Neighbour>,
    /// It is as it stands in a set: a range may have put there what the set's mask would cut.
    pub is_stored: bool,
    /// What it carries.
    pub ext: Ext,
}

/// Where a set stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Right before the set of this name.
    Before(String),
    /// Right after it.
    After(String),
}

impl Neighbour {
    /// The other's name.
    pub fn name(&self) -> &str {
        match self {
            Neighbour::Before(name) | Neighbour::After(name) => name,
        }
    }
}

/// What an entry carries beside the element, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ext {
    /// Seconds to live; 0 for ever. None: the set's default.
    pub timeout: Option<u32>,
    /// When it ends, instead.
    pub until: Option<Instant>,
    /// Packet counter.
    pub packets: Option<u64>,
    /// Byte counter.
    pub bytes: Option<u64>,
    /// Words for people.
    pub comment: Option<String>,
    /// Mark and mask.
    pub skbmark: Option<(u32, u32)>,
    /// Priority.
    pub skbprio: Option<u32>,
    /// Queue.
    pub skbqueue: Option<u16>,
}

impl Ext {
    /// What packets take from it.
    pub(super) fn skbinfo(&self) -> SkbInfo {
        let (mark, mask) = self.skbmark.unwrap_or_default();
        SkbInfo { mark, mask, prio: self.skbprio.unwrap_or(0), queue: self.skbqueue.unwrap_or(0) }
    }

    pub(super) fn has_skbinfo(&self) -> bool {
        self.skbmark.is_some() || self.skbprio.is_some() || self.skbqueue.is_some()
    }
}

/// What `-j SET --map-set` gives a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkbInfo {
    /// The mark.
    pub mark: u32,
    /// The bits of the mark that change.
    pub mask: u32,
    /// The priority, major and minor.
    pub prio: u32,
    /// The queue.
    pub queue: u16,
}
