//! Addresses: one number for both families, the family kept beside it.
//!
//! A rule, a route or a connection is of one family, so the family is stored once there and not in every address.
//! [`Addr`] compares, masks and orders as a plain number for both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which internet protocol a packet, rule or route belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bits of an address: 32 or 128.
    #[inline]
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// Bytes of an address: 4 or 16.
    #[inline]
    pub const fn addr_len(self) -> usize {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Bytes of the header without options and extension headers: 20 or 40.
    #[inline]
    pub const fn header_len(self) -> usize {
        match self {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }

    /// The netmask with the first `prefix` bits of the address set; a prefix beyond [`Family::bits`] means all bits.
    #[inline]
    pub const fn mask(self, prefix: u8) -> Addr {
        let bits = self.bits();
        let all = match self {
            Family::V4 => u32::MAX as u128,
            Family::V6 => u128::MAX,
        };
        if prefix >= bits {
            return Addr(all);
        }
        if prefix == 0 {
            return Addr(0);
        }
        Addr((all << (bits - prefix)) & all)
    }

    /// The family in the version field of an IP packet's first byte; none for an empty packet or another version.
    #[inline]
    pub fn of_packet(packet: &[u8]) -> Option<Family> {
        match packet.first()? >> 4 {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }
}

impl fmt::Display for Family {
    /// `IPv4` or `IPv6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// The numeric value of an address; an IPv4 address is its `u32` in the low 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Default)]
pub struct Addr(pub u128);

impl Addr {
    /// `0.0.0.0` and `::`.
    pub const UNSPECIFIED: Addr = Addr(0);

    /// The IPv4 address with this value, `0x0a000001` being 10.0.0.1.
    #[inline]
    pub const fn v4(value: u32) -> Addr {
        Addr(value as u128)
    }

    /// From a standard IPv4 address.
    #[inline]
    pub const fn from_v4(ip: Ipv4Addr) -> Addr {
        Addr(ip.to_bits() as u128)
    }

    /// From a standard IPv6 address.
    #[inline]
    pub const fn from_v6(ip: Ipv6Addr) -> Addr {
        Addr(ip.to_bits())
    }

    /// From a standard address, with its family. An IPv4-mapped IPv6 address stays IPv6.
    #[inline]
    pub const fn from_ip(ip: IpAddr) -> (Family, Addr) {
        match ip {
            IpAddr::V4(ip) => (Family::V4, Addr::from_v4(ip)),
            IpAddr::V6(ip) => (Family::V6, Addr::from_v6(ip)),
        }
    }

    /// The standard address of this family; for IPv4 only the low 32 bits count.
    #[inline]
    pub const fn to_ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.as_u32())),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.0)),
        }
    }

    /// The low 32 bits: the value of an IPv4 address.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0 as u32
    }

    /// Reads an address in network order from the start of `data`; [`Addr::UNSPECIFIED`] if `data` is too short.
    #[inline]
    pub fn read(family: Family, data: &[u8]) -> Addr {
        match family {
            Family::V4 => Addr::v4(data.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))),
            Family::V6 => Addr(data.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))),
        }
    }

    /// Writes the address in network order to the start of `data`; writes nothing if `data` is too short.
    #[inline]
    pub fn write(self, family: Family, data: &mut [u8]) {
        match family {
            Family::V4 => {
                if let Some(place) = data.first_chunk_mut() {
                    *place = self.as_u32().to_be_bytes();
                }
            }
            Family::V6 => {
                if let Some(place) = data.first_chunk_mut() {
                    *place = self.0.to_be_bytes();
                }
            }
        }
    }

    /// Whether the address agrees with `net` in every bit set in `mask`. The mask need not be a prefix.
    #[inline]
    pub const fn in_net(self, net: Addr, mask: Addr) -> bool {
        (self.0 ^ net.0) & mask.0 == 0
    }

    /// The address with only the bits of `mask` kept.
    #[inline]
    pub const fn masked(self, mask: Addr) -> Addr {
        Addr(self.0 & mask.0)
    }

    /// Whether every bit is zero.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0
    }

    /// Whether it is in 127.0.0.0/8, or is `::1`.
    #[inline]
    pub const fn is_loopback(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_u32() >> 24 == 127,
            Family::V6 => self.0 == 1,
        }
    }

    /// Whether it is in 224.0.0.0/4, or in ff00::/8.
    #[inline]
    pub const fn is_multicast(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_u32() >> 28 == 0xe,
            Family::V6 => self.0 >> 120 == 0xff,
        }
    }

    /// Whether it is in 169.254.0.0/16, or in fe80::/10.
    #[inline]
    pub const fn is_link_local(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_u32() >> 16 == 0xa9fe,
            Family::V6 => self.0 >> 118 == 0xfe80 >> 6,
        }
    }

    /// The address as text in its family's usual notation (RFC 5952 for IPv6).
    #[inline]
    pub const fn display(self, family: Family) -> AddrDisplay {
        AddrDisplay { addr: self, family }
    }
}

/// An address about to be written as text, made by [`Addr::display`].
#[derive(Clone, Copy, Debug)]
pub struct AddrDisplay {
    addr: Addr,
    family: Family,
}

impl fmt::Display for AddrDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The C library, whose notation the tools print, takes ::w.x.y.z for an IPv4 address as well.
        if self.family == Family::V6 && (1 << 16..1 << 32).contains(&self.addr.0) {
            return f.pad(&format!("::{}", std::net::Ipv4Addr::from_bits(self.addr.as_u32())));
        }
        fmt::Display::fmt(&self.addr.to_ip(self.family), f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// `00:00:00:00:00:00`, the address of the loopback interface.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether the group bit is set; true for the broadcast address too.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is the broadcast address.
    #[inline]
    pub const fn is_broadcast(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a & b & c & d & e & f == 0xff
    }
}

impl fmt::Display for Mac {
    /// Six pairs of lower-case hexadecimal digits with colons between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not six hexadecimal bytes with colons between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMac;

impl fmt::Display for BadMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an Ethernet address such as 02:00:00:00:00:01")
    }
}

impl std::error::Error for BadMac {}

impl FromStr for Mac {
    type Err = BadMac;

    /// Six groups of one or two hexadecimal digits of either case with colons between.
    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let mut bytes = [0; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let group = groups.next().ok_or(BadMac)?;
            let is_hex = group.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !is_hex || group.len() > 2 {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| BadMac)?;
        }
        if groups.next().is_some() {
            return Err(BadMac);
        }
        Ok(Mac(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_prefix_set() {
        assert_eq!(Family::V4.mask(0), Addr(0));
        assert_eq!(Family::V4.mask(1), Addr(0x8000_0000));
        assert_eq!(Family::V4.mask(24), Addr(0xffff_ff00));
        assert_eq!(Family::V4.mask(32), Addr(0xffff_ffff));
        assert_eq!(Family::V4.mask(200), Addr(0xffff_ffff));
        assert_eq!(Family::V6.mask(0), Addr(0));
        assert_eq!(Family::V6.mask(64), Addr(0xffff_ffff_ffff_ffff << 64));
        assert_eq!(Family::V6.mask(128), Addr(u128::MAX));
    }

    #[test]
    fn address_round_trips() {
        for text in [
            "10.1.2.3",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "::5",
            "::ffff",
            "::1.2.3.4",
            "::0.1.0.0",
            "2001:db8::1",
            "::ffff:1.2.3.4",
        ] {
            let ip: IpAddr = text.parse().unwrap();
            let (family, addr) = Addr::from_ip(ip);
            assert_eq!(addr.to_ip(family), ip);
            assert_eq!(addr.display(family).to_string(), text);
            let mut bytes = [0; 16];
            addr.write(family, &mut bytes);
            assert_eq!(Addr::read(family, &bytes), addr);
        }
    }

    #[test]
    fn short_slices_are_harmless() {
        let mut short = [7; 3];
        Addr::v4(0x01020304).write(Family::V4, &mut short);
        assert_eq!(short, [7; 3]);
        assert_eq!(Addr::read(Family::V4, &short), Addr::UNSPECIFIED);
        assert_eq!(Addr::read(Family::V6, &[1; 15]), Addr::UNSPECIFIED);
    }

    #[test]
    fn net_membership_follows_the_mask() {
        let net = Addr::v4(0x0a000000);
        assert!(Addr::v4(0x0a00_00ff).in_net(net, Family::V4.mask(24)));
        assert!(!Addr::v4(0x0a00_01ff).in_net(net, Family::V4.mask(24)));
        assert!(Addr::v4(0x0aff_0001).in_net(Addr::v4(1), Addr::v4(0xff)));
        assert!(Addr::v4(0x0aff_0001).in_net(Addr::v4(0x05), Addr(0)));
    }

    #[test]
    fn scopes() {
        let v6 = |text: &str| Addr::from_v6(text.parse().unwrap());
        let v4 = |text: &str| Addr::from_v4(text.parse().unwrap());
        assert!(v6("fe80::1").is_link_local(Family::V6) && v6("febf::1").is_link_local(Family::V6));
        assert!(!v6("fec0::1").is_link_local(Family::V6));
        assert!(v6("ff02::1").is_multicast(Family::V6) && v4("239.1.1.1").is_multicast(Family::V4));
        assert!(!v4("240.0.0.1").is_multicast(Family::V4));
        assert!(v4("127.9.9.9").is_loopback(Family::V4) && v6("::1").is_loopback(Family::V6));
        assert!(v4("169.254.3.4").is_link_local(Family::V4));
    }

    #[test]
    fn mac_text() {
        let mac: Mac = "02:00:0A:b:00:ff".parse().unwrap();
        assert_eq!(mac, Mac([2, 0, 10, 11, 0, 255]));
        assert_eq!(mac.to_string(), "02:00:0a:0b:00:ff");
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:+1", "02:00:00:00:00:001", "g::::: "]
        {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac), "{bad:?}");
        }
        assert!(Mac::BROADCAST.is_broadcast() && Mac::BROADCAST.is_multicast());
        assert!(!mac.is_multicast() && Mac([1, 0, 0x5e, 0, 0, 1]).is_multicast());
    }
}
