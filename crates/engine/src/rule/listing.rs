//! What `iptables -L` may ask and know while it prints a rule's extensions.

use hairpin_wire::{Addr, Family};
use std::borrow::Cow;
use std::fmt;

/// How `iptables -L` prints: given to [`Match::list`](super::Match::list) and [`Target::list`](super::Target::list).
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// `-n`: addresses and ports as numbers.
    pub numeric: bool,
    /// The rule's `-p`, 0 when there is none: whose services a port names.
    pub protocol: u8,
    /// What numbers are called, without `-n`.
    pub names: &'a dyn NumberNames,
}

impl<'a> Listing<'a> {
    /// The name of a number unless numbers are wanted.
    pub fn name(&self, kind: NameKind, number: u32) -> Option<String> {
        if self.numeric { None } else { self.names.name(kind, number) }
    }

    /// A port, by the name of its service over this protocol when names are wanted and it has one.
    pub fn port(&self, protocol: u8, port: u16) -> Cow<'a, str> {
        let name = self.name(NameKind::Service(protocol), u32::from(port));
        name.map_or_else(|| port.to_string().into(), Cow::Owned)
    }

    /// The name of a host unless numbers are wanted.
    pub fn host(&self, family: Family, addr: Addr) -> Option<String> {
        if self.numeric { None } else { self.names.host_name(family, addr) }
    }
}

/// What a [`NumberNames`] may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A service of this IP protocol (`/etc/services`); the number is its port. Protocol 0: of any, TCP first.
    Service(u8),
    /// An IP protocol (`/etc/protocols`).
    Protocol,
    /// A user; the number is the user id.
    User,
    /// A group; the number is the group id.
    Group,
    /// A routing realm (`/etc/iproute2/rt_realms`).
    Realm,
    /// A device group (`/etc/iproute2/group`).
    DeviceGroup,
    /// A connection label (`/etc/xtables/connlabel.conf`); the number is its bit.
    ConnLabel,
}

/// What numbers are called. The engine opens no file and asks no server, so the caller says.
pub trait NumberNames: fmt::Debug {
    /// The name of this number.
    fn name(&self, kind: NameKind, number: u32) -> Option<String>;

    /// The name of a host or network (`/etc/hosts`, `/etc/networks`).
    fn host_name(&self, family: Family, addr: Addr) -> Option<String> {
        let _ = (family, addr);
        None
    }
}
