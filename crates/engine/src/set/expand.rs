//! From what a person wrote to elements: ranges of addresses, networks and ports, as each type of the kernel takes them apart
//! (the `uadt` functions).

use super::elem::{Elem, Entry};
use super::kind::{Kind, Part};
use super::{Options, SetError};
use hairpin_wire::{Addr, Family, proto};

/// What is done with the elements. A test takes the first of each range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Add,
    Del,
    Test,
}

type Each<'a> = &'a mut dyn FnMut(&Elem) -> Result<(), SetError>;

/// Calls `each` for every element of a bitmap's entry.
pub(super) fn bitmap(
    kind: Kind,
    first: u32,
    last: u32,
    step: u64,
    entry: &Entry,
    act: Act,
    each: Each<'_>,
) -> Result<(), SetError> {
    let is_ports = kind == Kind::BitmapPort;
    let from = if is_ports { entry.port.map(u32::from) } else { entry.ip.map(Addr::as_u32) };
    let from = from.ok_or(SetError::Protocol)?;
    let to = if is_ports { entry.port_to.map(u32::from) } else { entry.ip_to.map(Addr::as_u32) };
    let (from, to) = match to {
        _ if act == Act::Test || kind == Kind::BitmapIpMac => (from, from),
        Some(to) => (from.min(to), from.max(to)),
        None => match entry.cidr.filter(|_| !is_ports) {
            Some(cidr) => net4(from, checked_cidr(cidr)?),
            None => (from, from),
        },
    };
    if from < first || to > last {
        return Err(SetError::OutOfRange);
    }
    let mut at = u64::from(from);
    while at <= u64::from(to) {
        let elem = match is_ports {
            true => Elem { port: at as u16, ..Elem::default() },
            false => Elem { ip: Addr::v4(at as u32), mac: entry.mac, ..Elem::default() },
        };
        each(&elem)?;
        at += step;
    }
    Ok(())
}

/// Whether a port as it is written, the end of a range aside, is in its bitmap: looked at before what comes with the element.
pub(super) fn check_port(kind: Kind, first: u32, last: u32, entry: &Entry) -> Result<(), SetError> {
    let port = entry.port.filter(|_| kind == Kind::BitmapPort).map(u32::from);
    if port.is_some_and(|port| !(first..=last).contains(&port)) { Err(SetError::OutOfRange) } else { Ok(()) }
}

/// Calls `each` for every element of a hash's entry.
pub(super) fn hash(kind: Kind, options: &Options, entry: &Entry, act: Act, each: Each<'_>) -> Result<(), SetError> {
    let family = options.family.unwrap_or(Family::V4);
    let parts = kind.parts();
    if family == Family::V6 && (entry.ip_to.is_some() || entry.ip2_to.is_some()) {
        return Err(SetError::RangeUnsupported);
    }
    let mut elem = Elem::default();
    for part in parts {
        match part {
            Part::Mac => elem.mac = Some(entry.mac.ok_or(SetError::Protocol)?),
            Part::Mark => {
                elem.mark = entry.mark.ok_or(SetError::Protocol)? & options.markmask.unwrap_or(u32::MAX);
            }
            Part::Iface => {
                elem.iface = entry.iface.ok_or(SetError::Protocol)?;
                (elem.physdev, elem.wildcard) = (entry.physdev, entry.wildcard);
            }
            Part::Ip | Part::Net | Part::Port | Part::Set => {}
        }
    }
    let ports = if parts.contains(&Part::Port) { ports(entry, family, &mut elem)? } else { (0, 0) };
    let mut addresses = parts.iter().filter(|p| matches!(p, Part::Ip | Part::Net));
    let Some(first_part) = addresses.next() else {
        // hash:mac
        return if elem.mac.is_some_and(|m| m.0 == [0; 6]) { Err(SetError::NullElement) } else { each(&elem) };
    };
    if kind == Kind::HashIpMac && elem.mac.is_some_and(|m| m.0 == [0; 6]) {
        return Err(SetError::NullElement);
    }
    let is_single = act == Act::Test
        || (entry.ip_to.is_none() && entry.ip2_to.is_none() && ports.0 == ports.1 && *first_part == Part::Net);
    let mask = options.address_mask().filter(|_| !entry.is_stored);
    let spans = [
        Some(Span::of(kind, *first_part, family, [entry.ip, entry.ip_to], entry.cidr, mask, is_single)?),
        match addresses.next() {
            Some(part) => {
                let mask = if kind == Kind::HashNetNet { mask } else { None };
                Some(Span::of(kind, *part, family, [entry.ip2, entry.ip2_to], entry.cidr2, mask, is_single)?)
            }
            None => None,
        },
    ];
    let step = match (kind, options.netmask) {
        (Kind::HashIp, Some(netmask)) => 1u128 << family.bits().saturating_sub(netmask),
        _ => 1,
    };
    let [first, second] = spans;
    let mut outer = first.map(|s| s.pieces(step, act)).into_iter().flatten();
    outer.try_for_each(|(ip, cidr)| {
        (elem.ip, elem.cidr) = (ip, cidr);
        let last_port = if act == Act::Test { ports.0 } else { ports.1 };
        (ports.0..=last_port).try_for_each(|port| {
            elem.port = port;
            match &second {
                None => each(&elem),
                Some(span) => span.pieces(1, act).try_for_each(|(ip2, cidr2)| {
                    (elem.ip2, elem.cidr2) = (ip2, cidr2);
                    each(&elem)
                }),
            }
        })
    })
}

/// The ports, and the protocol into the element.
fn ports(entry: &Entry, family: Family, elem: &mut Elem) -> Result<(u16, u16), SetError> {
    elem.proto = match entry.proto {
        Some(0) => return Err(SetError::BadProto),
        Some(number) => number,
        None => return Err(SetError::MissingProto),
    };
    let port = entry.port.ok_or(SetError::Protocol)?;
    let has_ports = matches!(elem.proto, proto::TCP | proto::SCTP | proto::UDP | proto::UDPLITE);
    let icmp = if family == Family::V4 { proto::ICMP } else { proto::ICMPV6 };
    Ok(match entry.port_to {
        Some(to) if has_ports => (port.min(to), port.max(to)),
        _ if has_ports || elem.proto == icmp => (port, port),
        _ => (0, 0),
    })
}

/// A range of addresses, or the networks that cover one.
struct Span {
    family: Family,
    from: Addr,
    to: Addr,
    is_net: bool,
    /// The prefix length when it is one network.
    cidr: Option<u8>,
}

impl Span {
    fn of(
        kind: Kind,
        part: Part,
        family: Family,
        [from, to]: [Option<Addr>; 2],
        cidr: Option<u8>,
        mask: Option<Addr>,
        is_single: bool,
    ) -> Result<Span, SetError> {
        let is_net = part == Part::Net;
        let mut from = from.ok_or(SetError::Protocol)?;
        let cidr = match cidr {
            Some(cidr) if cidr > family.bits() => return Err(SetError::BadCidr),
            Some(0) if is_net && kind != Kind::HashNetIface => return Err(SetError::BadCidr),
            Some(0) if !is_net && !is_single => return Err(SetError::BadCidr),
            other => other,
        };
        if !is_net || is_single {
            from = Addr(from.0 & mask.map_or(u128::MAX, |m| m.0));
        }
        if kind == Kind::HashIp && from.0 == 0 {
            return Err(SetError::NullElement);
        }
        if kind == Kind::HashIpPort && from.0 == 0 {
            return Err(SetError::Invalid);
        }
        let (from, to, cidr) = match (to, cidr) {
            (Some(to), _) if !is_single => {
                if kind == Kind::HashIp && to.0 == 0 {
                    return Err(SetError::NullElement);
                }
                (from.min(to), from.max(to), None)
            }
            // A single address with a prefix length is one address to a test.
            (_, Some(cidr)) if is_net || !is_single => {
                let mask = family.mask(cidr).0;
                let from = from.0 & mask;
                (Addr(from), Addr(from | (family.mask(family.bits()).0 & !mask)), Some(cidr))
            }
            _ => (from, from, Some(family.bits())),
        };
        if is_net && cidr.is_none() && from.0 == 0 && to == family.mask(family.bits()) {
            return Err(SetError::WholeRange);
        }
        Ok(Span { family, from, to, is_net, cidr })
    }

    /// Its addresses, every `step`th; or the fewest networks that make it up.
    fn pieces(&self, step: u128, act: Act) -> impl Iterator<Item = (Addr, u8)> + use<> {
        let (family, to, is_net, whole) = (self.family, self.to, self.is_net, self.cidr);
        let mut next = Some(self.from);
        std::iter::from_fn(move || {
            let from = next.filter(|from| *from <= to)?;
            if !is_net {
                let more = act != Act::Test;
                next = from.0.checked_add(step).map(Addr).filter(|_| more);
                return Some((from, 0));
            }
            let cidr = whole.unwrap_or_else(|| largest_net(family, from, to));
            let last = from.0 | (family.mask(family.bits()).0 & !family.mask(cidr).0);
            next = last.checked_add(1).map(Addr);
            Some((from, cidr))
        })
    }
}

/// The prefix length of the largest network that begins at `from` and does not exceed `to` (`ip_set_range_to_cidr`).
fn largest_net(family: Family, from: Addr, to: Addr) -> u8 {
    let all = family.mask(family.bits()).0;
    (1..family.bits())
        .find(|cidr| {
            let mask = family.mask(*cidr).0;
            from.0 & mask == from.0 && from.0 | (all & !mask) <= to.0
        })
        .unwrap_or(family.bits())
}

fn checked_cidr(cidr: u8) -> Result<u8, SetError> {
    if cidr == 0 || cidr > 32 { Err(SetError::BadCidr) } else { Ok(cidr) }
}

fn net4(addr: u32, cidr: u8) -> (u32, u32) {
    let mask = Family::V4.mask(cidr).as_u32();
    (addr & mask, addr | !mask)
}
