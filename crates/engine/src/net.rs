//! The host around the engine: devices, addresses, neighbors. Immutable while packets flow; replaced as a whole.

use crate::osf::Fingerprints;
use crate::route::PolicyRule;
use crate::route::fib::{FibRoute, Table, TableId};
use crate::route::policy::Policy;
use crate::socket::Sockets;
use crate::sysctl::Sysctl;
use hairpin_wire::{Addr, Family, Mac};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

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

    /// From [`IfName::bits`].
    pub(crate) const fn from_bits(bits: u128) -> IfName {
        IfName(bits)
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

/// The host: its devices, addresses, routes, neighbors and settings. Packets never change it; [`Setup`](crate::setup::Setup)
/// makes it, and makes another one when something changes.
#[derive(Clone, Debug)]
pub struct Net {
    /// Devices, `lo` first, in the order of their numbers.
    pub interfaces: Vec<Interface>,
    /// Static next hops.
    pub neighbors: Vec<Neighbor>,
    /// Settings.
    pub sysctl: Sysctl,
    /// The sockets that are known.
    pub sockets: Sockets,
    /// What is known of operating systems by their SYNs.
    pub fingerprints: Fingerprints,
    /// The same neighbors by what is looked for.
    pub(crate) neighbor_macs: HashMap<(IfIndex, Family, Addr), Mac, BuildHasherDefault<AddrHasher>>,
    /// Own addresses, ascending.
    pub(crate) owners: Vec<(Family, Addr, IfIndex)>,
    /// Device names, ascending.
    pub(crate) names: Vec<(IfName, IfIndex)>,
    pub(crate) policy4: Policy,
    pub(crate) policy6: Policy,
    /// A route of type local was given (IPv4).
    pub(crate) has_custom_local: bool,
    /// A route or rule has a realm (IPv4).
    pub(crate) has_realms: bool,
}

impl Default for Net {
    /// A host with nothing but `lo`.
    fn default() -> Net {
        Net::assemble(Vec::new(), Vec::new(), Sysctl::default())
    }
}

impl Net {
    /// The device with this number.
    pub fn interface(&self, index: IfIndex) -> Option<&Interface> {
        self.interfaces.get((index.0 as usize).checked_sub(1)?)
    }

    /// The device of this name.
    pub fn interface_by_name(&self, name: IfName) -> Option<&Interface> {
        let at = self.names.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        self.interface(self.names.get(at)?.1)
    }

    /// The routes of a table by destination; none for a table without routes.
    pub fn routes(&self, family: Family, table: TableId) -> &[FibRoute] {
        self.policy(family).table(table).map_or(&[], Table::routes)
    }

    /// The tables that have routes, by number.
    pub fn tables(&self, family: Family) -> impl Iterator<Item = TableId> {
        self.policy(family).tables().iter().map(|(id, _)| *id)
    }

    /// The policy rules in their order.
    pub fn rules(&self, family: Family) -> impl Iterator<Item = &PolicyRule> {
        self.policy(family).rules()
    }
}

/// A quick hash of a few numbers. What is hashed with it is found, never added, by strangers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddrHasher(u64);

impl Hasher for AddrHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
