//! The types of sets, as data: what an element is made of, and what a set of the type can do.

use std::fmt;

/// One component of an element, in the order in which people write them and `--match-set` counts directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An address.
    Ip,
    /// A network.
    Net,
    /// A port with its protocol (`bitmap:port`: without).
    Port,
    /// A link address.
    Mac,
    /// A packet mark.
    Mark,
    /// A device.
    Iface,
    /// Another set.
    Set,
}

/// The method of storage, the word before the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One bit for each element of a range.
    Bitmap,
    /// A hash table.
    Hash,
    /// An ordered list.
    List,
}

/// The type of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `bitmap:ip`
    BitmapIp,
    /// `bitmap:ip,mac`
    BitmapIpMac,
    /// `bitmap:port`
    BitmapPort,
    /// `hash:ip`
    HashIp,
    /// `hash:mac`
    HashMac,
    /// `hash:ip,mac`
    HashIpMac,
    /// `hash:ip,mark`
    HashIpMark,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `hash:net`
    HashNet,
    /// `hash:net,net`
    HashNetNet,
    /// `hash:net,port`
    HashNetPort,
    /// `hash:net,port,net`
    HashNetPortNet,
    /// `hash:net,iface`
    HashNetIface,
    /// `list:set`
    ListSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 16] = [
        Kind::BitmapIp,
        Kind::BitmapIpMac,
        Kind::BitmapPort,
        Kind::HashIp,
        Kind::HashMac,
        Kind::HashIpMac,
        Kind::HashIpMark,
        Kind::HashIpPort,
        Kind::HashIpPortIp,
        Kind::HashIpPortNet,
        Kind::HashNet,
        Kind::HashNetNet,
        Kind::HashNetPort,
        Kind::HashNetPortNet,
        Kind::HashNetIface,
        Kind::ListSet,
    ];

    /// The name, `hash:ip`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::BitmapIp => "bitmap:ip",
            Kind::BitmapIpMac => "bitmap:ip,mac",
            Kind::BitmapPort => "bitmap:port",
            Kind::HashIp => "hash:ip",
            Kind::HashMac => "hash:mac",
            Kind::HashIpMac => "hash:ip,mac",
            Kind::HashIpMark => "hash:ip,mark",
            Kind::HashIpPort => "hash:ip,port",
            Kind::HashIpPortIp => "hash:ip,port,ip",
            Kind::HashIpPortNet => "hash:ip,port,net",
            Kind::HashNet => "hash:net",
            Kind::HashNetNet => "hash:net,net",
            Kind::HashNetPort => "hash:net,port",
            Kind::HashNetPortNet => "hash:net,port,net",
            Kind::HashNetIface => "hash:net,iface",
            Kind::ListSet => "list:set",
        }
    }

    /// The revision of the type in Linux 6.18, which listings show.
    pub const fn revision(self) -> u8 {
        match self {
            Kind::BitmapIp | Kind::BitmapIpMac | Kind::BitmapPort | Kind::ListSet => 3,
            Kind::HashIp | Kind::HashIpPortIp => 6,
            Kind::HashMac | Kind::HashIpMac => 1,
            Kind::HashIpMark | Kind::HashNetPortNet => 3,
            Kind::HashIpPort | Kind::HashNet => 7,
            Kind::HashIpPortNet | Kind::HashNetPort | Kind::HashNetIface => 8,
            Kind::HashNetNet => 4,
        }
    }

    /// What an element is made of.
    pub const fn parts(self) -> &'static [Part] {
        match self {
            Kind::BitmapIp | Kind::HashIp => &[Part::Ip],
            Kind::BitmapIpMac | Kind::HashIpMac => &[Part::Ip, Part::Mac],
            Kind::BitmapPort => &[Part::Port],
            Kind::HashMac => &[Part::Mac],
            Kind::HashIpMark => &[Part::Ip, Part::Mark],
            Kind::HashIpPort => &[Part::Ip, Part::Port],
            Kind::HashIpPortIp => &[Part::Ip, Part::Port, Part::Ip],
            Kind::HashIpPortNet => &[Part::Ip, Part::Port, Part::Net],
            Kind::HashNet => &[Part::Net],
            Kind::HashNetNet => &[Part::Net, Part::Net],
            Kind::HashNetPort => &[Part::Net, Part::Port],
            Kind::HashNetPortNet => &[Part::Net, Part::Port, Part::Net],
            Kind::HashNetIface => &[Part::Net, Part::Iface],
            Kind::ListSet => &[Part::Set],
        }
    }

    /// How it is stored.
    pub const fn method(self) -> Method {
        match self {
            Kind::BitmapIp | Kind::BitmapIpMac | Kind::BitmapPort => Method::Bitmap,
            Kind::ListSet => Method::List,
            _ => Method::Hash,
        }
    }

    /// Whether some component is a network, and elements may be exceptions (`nomatch`).
    pub fn has_nets(self) -> bool {
        self.parts().contains(&Part::Net)
    }

    /// Whether a set of it is of one family: IPv4 for bitmaps of addresses, either for hashes with addresses.
    pub fn has_family(self) -> bool {
        self.parts().iter().any(|p| matches!(p, Part::Ip | Part::Net))
    }

    /// Whether addresses may be masked (`netmask`, and but for `bitmap:ip` `bitmask`).
    pub const fn has_netmask(self) -> bool {
        matches!(self, Kind::BitmapIp | Kind::HashIp | Kind::HashIpPort | Kind::HashNetNet)
    }

    /// Which types can be swapped: those whose elements carry the same things (`set->type->features`).
    pub(super) fn is_like(self, other: Kind) -> bool {
        let features = |kind: Kind| {
            let mut seen_address = false;
            kind.parts().iter().fold(0u32, |all, part| {
                all | match part {
                    Part::Ip | Part::Net if std::mem::replace(&mut seen_address, true) => 1,
                    Part::Ip | Part::Net => 2,
                    Part::Port => 4,
                    Part::Mac => 8,
                    Part::Mark => 16,
                    Part::Iface => 32,
                    Part::Set => 64,
                } | if *part == Part::Net { 128 } else { 0 }
            })
        };
        features(self) == features(other)
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_of_addresses_swaps_with_a_hash_of_them() {
        assert!(Kind::BitmapIp.is_like(Kind::HashIp));
        assert!(Kind::BitmapIpMac.is_like(Kind::HashIpMac));
        assert!(!Kind::HashIp.is_like(Kind::HashNet));
        assert!(!Kind::HashNet.is_like(Kind::HashNetNet));
        assert!(Kind::HashIpPortNet.is_like(Kind::HashNetPortNet));
    }
}
