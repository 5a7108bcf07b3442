//! The host around the engine: devices, addresses, neighbors. Immutable while packets flow; replaced as a whole.

use crate::sysctl::Sysctl;
use hairpin_wire::{Addr, Family, Mac};
use std::fmt;

/// A device number, as Linux counts them (from 1; `lo` is 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// Loopback is always the first device.
pub const LO: IfIndex = IfIndex(1);

/// A device name: at most 15 bytes, comparable with a mask in one step, as rules need it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IfName(u128);

impl IfName {
    /// The longest name, in bytes (IFNAMSIZ - 1).
    pub const MAX: usize = 15;

    /// The name, or None when it is longer than [`IfName::MAX`].
    pub fn new(name: &str) -> Option<IfName> {
        if name.len() > Self::MAX {
            return None;
        }
        let mut bytes = [0u8; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(IfName(u128::from_be_bytes(bytes)))
    }

    /// The bytes as one number, first byte highest; unused bytes are 0.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// A mask over the first `len` bytes.
    pub const fn prefix_mask(len: usize) -> u128 {
        if len >= 16 { u128::MAX } else { !(u128::MAX >> (len * 8)) }
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_be_bytes();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(16);
        f.write_str(&String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()))
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What kind of link a device is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// Frames with an Ethernet header.
    Ethernet,
    /// Bare IP packets (TUN, PPP).
    Bare,
}

/// The reach of an address or a route (`ip address`, `ip route`: scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everywhere (0).
    Global,
    /// This site (200).
    Site,
    /// This link (253).
    Link,
    /// This host (254).
    Host,
    /// Nowhere (255).
    Nowhere,
}

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The address.
    pub addr: Addr,
    /// Prefix length, 0..=32 or 0..=128.
    pub prefix: u8,
    /// How far it reaches.
    pub scope: Scope,
    /// IPv4 broadcast address, if the subnet has one.
    pub broadcast: Option<Addr>,
    /// Not the first address of its subnet on this device (IPv4).
    pub secondary: bool,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: IfName,
    /// Link kind.
    pub kind: LinkKind,
    /// Own link address (all zero where the link has none).
    pub mac: Mac,
    /// Largest L3 packet in bytes.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Device group (`ip link set group`), 0 by default.
    pub group: u32,
    /// In the order of `ip address`: the order of addition, primaries before the secondaries of their subnet.
    pub addresses: Vec<IfAddr>,
}

/// A next hop's link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The device it is reached by.
    pub dev: IfIndex,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its IP address.
    pub addr: Addr,
    /// Its link address.
    pub mac: Mac,
}

/// The host: its devices, addresses, routes, neighbors and settings. Packets never change it.
#[derive(Clone, Debug, Default)]
pub struct Net {
    /// Devices, `lo` first, in the order of their numbers.
    pub interfaces: Vec<Interface>,
    /// Static next hops.
    pub neighbors: Vec<Neighbor>,
    /// Settings.
    pub sysctl: Sysctl,
}

impl Net {
    /// The device with this number.
    pub fn interface(&self, index: IfIndex) -> Option<&Interface> {
        self.interfaces.get((index.0 as usize).checked_sub(1)?)
    }

    /// The device of this name.
    pub fn interface_by_name(&self, name: IfName) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.name == name)
    }
}
