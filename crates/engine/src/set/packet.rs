//! From a packet to an element: which of its addresses, ports, devices and marks a rule means (the `kadt` functions).

use super::elem::Elem;
use super::hash::Hash;
use super::kind::{Kind, Part};
use super::{Body, Set};
use crate::look::Look;
use hairpin_wire::{Addr, Family, Mac, proto};

/// The directions after a set's name in a rule, `src,dst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions {
    count: u8,
    /// A bit for each that is `src`.
    sources: u8,
}

impl Directions {
    /// As many as there can be.
    pub const MAX: usize = 6;

    /// The directions; true is `src`. More than [`Directions::MAX`] are left out.
    pub fn new(are_sources: &[bool]) -> Directions {
        let list = are_sources.iter().take(Directions::MAX);
        let sources = list.clone().enumerate().fold(0, |all, (n, is)| all | u8::from(*is) << n);
        Directions { count: list.count() as u8, sources }
    }

    /// Each in order; true is `src`.
    pub fn iter(self) -> impl Iterator<Item = bool> {
        (0..usize::from(self.count)).map(move |n| self.is_source(n))
    }

    pub(super) fn count(self) -> usize {
        usize::from(self.count)
    }

    fn is_source(self, n: usize) -> bool {
        self.sources >> n & 1 == 1
    }
}

/// The element that a packet is to a set. None: the packet has no such thing, and the set does not match it. To add and delete,
/// networks have the longest prefix length in the set.
pub(super) fn element(set: &Set, look: &Look<'_>, directions: Directions, is_test: bool) -> Option<Elem> {
    let family = look.family();
    if directions.count() < set.kind.parts().len() || set.options.family.is_some_and(|f| f != family) {
        return None;
    }
    let hash = match &set.body {
        Body::Hash(hash) => Some(hash),
        Body::Bitmap(_) | Body::List(_) => None,
    };
    let mask = set.options.address_mask();
    let mut elem = Elem::default();
    let mut addresses = 0;
    for (n, part) in set.kind.parts().iter().enumerate() {
        let is_source = directions.is_source(n);
        match part {
            Part::Ip | Part::Net => {
                let ip = if is_source { look.src() } else { look.dst() };
                let is_masked = addresses == 0 || set.kind == Kind::HashNetNet;
                let ip = if is_masked { Addr(ip.0 & mask.map_or(u128::MAX, |m| m.0)) } else { ip };
                let cidr = match part {
                    Part::Net if !is_test => hash.map_or(family.bits(), |h| Hash::packet_cidr(h, addresses)),
                    Part::Net => family.bits(),
                    _ => 0,
                };
                let ip = if *part == Part::Net { Addr(ip.0 & family.mask(cidr).0) } else { ip };
                match addresses {
                    0 => (elem.ip, elem.cidr) = (ip, cidr),
                    _ => (elem.ip2, elem.cidr2) = (ip, cidr),
                }
                addresses += 1;
            }
            Part::Port => {
                let (proto, port) = port(look, is_source)?;
                if set.kind == Kind::BitmapPort && !matches!(proto, proto::TCP | proto::UDP) {
                    return None;
                }
                (elem.proto, elem.port) = (proto, port);
            }
            Part::Mac => elem.mac = Some(mac(look, is_source)?),
            Part::Mark => elem.mark = look.mark() & set.options.markmask.unwrap_or(u32::MAX),
            Part::Iface => elem.iface = if is_source { look.iif()?.name } else { look.oif()?.name },
            Part::Set => {}
        }
    }
    let is_null = matches!(set.kind, Kind::HashIp | Kind::HashIpPort) && elem.ip.0 == 0;
    // Without any network of its own, `/0` cannot be added by a packet.
    let is_everything = set.kind == Kind::HashNetIface && !is_test && elem.cidr == 0;
    (!is_null && !is_everything).then_some(elem)
}

/// Protocol and port, or ICMP type and code; port 0 for protocols without. None where the packet does not tell
/// (`ip_set_get_ip4_port`, `ip_set_get_ip6_port`).
fn port(look: &Look<'_>, is_source: bool) -> Option<(u8, u16)> {
    let number = look.protocol();
    let header = match number {
        proto::TCP => 20,
        proto::SCTP => 12,
        proto::UDP | proto::UDPLITE | proto::ICMP | proto::ICMPV6 => 8,
        0 if look.family() == Family::V4 => return None,
        _ if look.family() == Family::V6 && look.is_later_fragment() => return None,
        _ => return Some((number, 0)),
    };
    if look.is_later_fragment() {
        // An IPv4 fragment of ICMPv6 is of a protocol without ports.
        return (number == proto::ICMPV6 && look.family() == Family::V4).then_some((number, 0));
    }
    if matches!(number, proto::ICMP | proto::ICMPV6) {
        let l4 = look.l4();
        return match *l4 {
            [kind, code, ..] if l4.len() >= header => Some((number, u16::from_be_bytes([kind, code]))),
            _ => None,
        };
    }
    let (source, destination) = look.ports_of(header)?;
    Some((number, if is_source { source } else { destination }))
}

/// The link address it came from or was sent to. None where there is no Ethernet header, and for a zero address.
fn mac(look: &Look<'_>, is_source: bool) -> Option<Mac> {
    let header = look.link_header();
    let bytes = if is_source { header.get(6..12) } else { header.get(..6) }?;
    let mac = Mac(*bytes.first_chunk()?);
    (header.len() >= 14 && mac != Mac::ZERO).then_some(mac)
}
