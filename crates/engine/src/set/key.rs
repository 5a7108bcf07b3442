//! Elements as hashes store them: each type and family keeps what it has and nothing else.

use super::elem::Elem;
use crate::net::IfName;
use hairpin_wire::{Addr, Mac};

/// An element as it is stored for one type and family.
pub(super) trait Key: Copy {
    fn pack(elem: &Elem) -> Self;
    fn unpack(self) -> Elem;
    /// The same in another network: what a look-up changes from one prefix length to the next.
    fn with_net(self, _ip: Addr, _cidr: u8) -> Self {
        self
    }
    /// The same with another second network.
    fn with_second_net(self, _ip: Addr, _cidr: u8) -> Self {
        self
    }
    /// How many of the words count.
    const WORDS: usize;
    /// The whole key is in this many low bits of the first word; more than 64 when it is not in one word.
    const BITS: u32 = u32::MAX;
    /// What is hashed.
    fn words(&self) -> [u64; 4];
    /// Whether this entry is the one that `asked` names.
    fn is(&self, asked: &Self) -> bool;
}

/// `hash:ip` of IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip4(u32);

impl Key for Ip4 {
    const WORDS: usize = 1;
    const BITS: u32 = 32;
    fn pack(elem: &Elem) -> Ip4 {
        Ip4(elem.ip.as_u32())
    }
    fn unpack(self) -> Elem {
        Elem { ip: Addr::v4(self.0), ..Elem::default() }
    }
    fn words(&self) -> [u64; 4] {
        [u64::from(self.0), 0, 0, 0]
    }
    fn is(&self, asked: &Ip4) -> bool {
        self.0 == asked.0
    }
}

/// `hash:net` of IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net4(u32, u8);

impl Key for Net4 {
    const WORDS: usize = 1;
    const BITS: u32 = 38;
    fn pack(elem: &Elem) -> Net4 {
        Net4(elem.ip.as_u32(), elem.cidr)
    }
    fn unpack(self) -> Elem {
        Elem { ip: Addr::v4(self.0), cidr: self.1, ..Elem::default() }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Net4 {
        Net4(ip.as_u32(), cidr)
    }
    fn words(&self) -> [u64; 4] {
        [u64::from(self.0) | u64::from(self.1) << 32, 0, 0, 0]
    }
    fn is(&self, asked: &Net4) -> bool {
        (self.0, self.1) == (asked.0, asked.1)
    }
}

/// `hash:ip` of IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip6([u64; 2]);

impl Key for Ip6 {
    const WORDS: usize = 2;
    fn pack(elem: &Elem) -> Ip6 {
        Ip6(halves(elem.ip))
    }
    fn unpack(self) -> Elem {
        Elem { ip: joined(self.0), ..Elem::default() }
    }
    fn words(&self) -> [u64; 4] {
        [self.0[0], self.0[1], 0, 0]
    }
    fn is(&self, asked: &Ip6) -> bool {
        self.0 == asked.0
    }
}

/// `hash:net` of IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net6([u64; 2], u8);

impl Key for Net6 {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Net6 {
        Net6(halves(elem.ip), elem.cidr)
    }
    fn unpack(self) -> Elem {
        Elem { ip: joined(self.0), cidr: self.1, ..Elem::default() }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Net6 {
        Net6(halves(ip), cidr)
    }
    fn words(&self) -> [u64; 4] {
        [self.0[0], self.0[1], u64::from(self.1), 0]
    }
    fn is(&self, asked: &Net6) -> bool {
        (self.0, self.1) == (asked.0, asked.1)
    }
}

/// Two IPv4 addresses or fewer and whatever else there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide4 {
    ip: u32,
    ip2: u32,
    rest: Rest,
}

/// Two IPv6 addresses or fewer and whatever else there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide6 {
    ip: [u64; 2],
    ip2: [u64; 2],
    rest: Rest,
}

/// All but the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    /// The link address or the mark.
    other: [u16; 3],
    port: u16,
    proto: u8,
    cidr: u8,
    cidr2: u8,
}

impl Rest {
    fn pack(elem: &Elem) -> Rest {
        let other = match elem.mac {
            Some(Mac([a, b, c, d, e, f])) => {
                [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u16::from_be_bytes([e, f])]
            }
            None => [0, (elem.mark >> 16) as u16, elem.mark as u16],
        };
        Rest { other, port: elem.port, proto: elem.proto, cidr: elem.cidr, cidr2: elem.cidr2 }
    }

    fn unpack(self, ip: Addr, ip2: Addr) -> Elem {
        let [[a, b], [c, d], [e, f]] = self.other.map(u16::to_be_bytes);
        Elem {
            ip,
            ip2,
            cidr: self.cidr,
            cidr2: self.cidr2,
            proto: self.proto,
            port: self.port,
            mac: Some(Mac([a, b, c, d, e, f])),
            mark: u32::from(self.other[1]) << 16 | u32::from(self.other[2]),
            ..Elem::default()
        }
    }

    fn words(&self) -> [u64; 2] {
        let [a, b, c] = self.other.map(u64::from);
        let small = [self.proto, self.cidr, self.cidr2].map(u64::from);
        [a << 32 | b << 16 | c, u64::from(self.port) | small[0] << 16 | small[1] << 24 | small[2] << 32]
    }
}

impl Key for Wide4 {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Wide4 {
        Wide4 { ip: elem.ip.as_u32(), ip2: elem.ip2.as_u32(), rest: Rest::pack(elem) }
    }
    fn unpack(self) -> Elem {
        self.rest.unpack(Addr::v4(self.ip), Addr::v4(self.ip2))
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Wide4 {
        Wide4 { ip: ip.as_u32(), rest: Rest { cidr, ..self.rest }, ..self }
    }
    fn with_second_net(self, ip: Addr, cidr2: u8) -> Wide4 {
        Wide4 { ip2: ip.as_u32(), rest: Rest { cidr2, ..self.rest }, ..self }
    }
    fn words(&self) -> [u64; 4] {
        let [a, b] = self.rest.words();
        [u64::from(self.ip) << 32 | u64::from(self.ip2), a, b, 0]
    }
    fn is(&self, asked: &Wide4) -> bool {
        self.ip == asked.ip && self.ip2 == asked.ip2 && self.rest == asked.rest
    }
}

impl Key for Wide6 {
    const WORDS: usize = 4;
    fn pack(elem: &Elem) -> Wide6 {
        Wide6 { ip: halves(elem.ip), ip2: halves(elem.ip2), rest: Rest::pack(elem) }
    }
    fn unpack(self) -> Elem {
        self.rest.unpack(joined(self.ip), joined(self.ip2))
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Wide6 {
        Wide6 { ip: halves(ip), rest: Rest { cidr, ..self.rest }, ..self }
    }
    fn with_second_net(self, ip: Addr, cidr2: u8) -> Wide6 {
        Wide6 { ip2: halves(ip), rest: Rest { cidr2, ..self.rest }, ..self }
    }
    fn words(&self) -> [u64; 4] {
        let [a, b] = self.rest.words();
        let [c, d] = self.ip2;
        [self.ip[0], self.ip[1], a ^ c.rotate_left(17), b ^ d.rotate_left(41)]
    }
    fn is(&self, asked: &Wide6) -> bool {
        self.ip == asked.ip && self.ip2 == asked.ip2 && self.rest == asked.rest
    }
}

/// One IPv6 address and whatever else there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct One6 {
    /// In quarters, so that nothing is lost behind what follows.
    ip: [u32; 4],
    rest: Rest,
}

impl One6 {
    fn addr(&self) -> Addr {
        Addr(self.ip.iter().fold(0, |bits, quarter| bits << 32 | u128::from(*quarter)))
    }
}

impl Key for One6 {
    const WORDS: usize = 4;
    fn pack(elem: &Elem) -> One6 {
        One6 { ip: quarters(elem.ip), rest: Rest::pack(elem) }
    }
    fn unpack(self) -> Elem {
        self.rest.unpack(self.addr(), Addr::default())
    }
    fn with_net(self, ip: Addr, cidr: u8) -> One6 {
        One6 { ip: quarters(ip), rest: Rest { cidr, ..self.rest } }
    }
    fn words(&self) -> [u64; 4] {
        let ([high, low], [a, b]) = (halves(self.addr()), self.rest.words());
        [high, low, a, b]
    }
    fn is(&self, asked: &One6) -> bool {
        self.ip == asked.ip && self.rest == asked.rest
    }
}

/// `hash:net,iface`. The device is not hashed: a device of packets must find the names it begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    ip: [u64; 2],
    name: [u64; 2],
    cidr: u8,
    physdev: bool,
    wildcard: bool,
}

impl Device {
    /// Whether net and kind of device are the same.
    pub(super) fn is_beside(&self, other: &Device) -> bool {
        self.ip == other.ip && self.cidr == other.cidr && self.physdev == other.physdev
    }
}

impl Key for Device {
    const WORDS: usize = 3;
    fn pack(elem: &Elem) -> Device {
        let name = halves(Addr(elem.iface.bits()));
        Device { ip: halves(elem.ip), name, cidr: elem.cidr, physdev: elem.physdev, wildcard: elem.wildcard }
    }
    fn unpack(self) -> Elem {
        Elem {
            ip: joined(self.ip),
            cidr: self.cidr,
            iface: IfName::from_bits(joined(self.name).0),
            physdev: self.physdev,
            wildcard: self.wildcard,
            ..Elem::default()
        }
    }
    fn with_net(self, ip: Addr, cidr: u8) -> Device {
        Device { ip: halves(ip), cidr, ..self }
    }
    fn words(&self) -> [u64; 4] {
        [self.ip[0], self.ip[1], u64::from(self.cidr) | u64::from(self.physdev) << 8, 0]
    }
    fn is(&self, asked: &Device) -> bool {
        if !self.is_beside(asked) {
            return false;
        }
        let (mine, theirs) = (joined(self.name).0, joined(asked.name).0);
        if !self.wildcard {
            return mine == theirs;
        }
        let len = 16 - (mine.trailing_zeros() / 8) as usize;
        theirs & IfName::prefix_mask(len) == mine
    }
}

/// In two words, so that keys need no 16-byte alignment.
fn halves(addr: Addr) -> [u64; 2] {
    [(addr.0 >> 64) as u64, addr.0 as u64]
}

fn quarters(addr: Addr) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| (addr.0 >> shift) as u32)
}

fn joined([high, low]: [u64; 2]) -> Addr {
    Addr(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_small() {
        assert_eq!([size_of::<Ip4>(), size_of::<Net4>(), size_of::<Ip6>()], [4, 8, 16]);
        assert_eq!([size_of::<Wide4>(), size_of::<One6>(), size_of::<Wide6>(), size_of::<Device>()], [20, 28, 48, 40]);
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let ip = Addr(0x2001_0db8_0001_0002_0003_0004_0005_0006);
        let elem = Elem { ip, cidr: 77, proto: 132, port: 4711, ..Elem::default() };
        let one = One6::pack(&elem).unpack();
        assert_eq!((one.ip, one.cidr, one.proto, one.port), (ip, 77, 132, 4711));
        let other = One6::pack(&Elem { port: 4712, ..elem });
        assert!(!other.is(&One6::pack(&elem)) && other.words() != One6::pack(&elem).words());
        assert!(One6::pack(&elem).with_net(Addr(5), 3).is(&One6::pack(&Elem { ip: Addr(5), cidr: 3, ..elem })));
    }
}
