//! `-m addrtype`: what the addresses are to this host.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::hook::Hook;
use hairpin_engine::Look;
use hairpin_engine::net::IfIndex;
use hairpin_engine::route::AddressType;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "addrtype",
    aliases: &[],
    families: Families::Both,
    about: "what an address is to this host: its own, a broadcast, ...",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("src-type", &["type[,type...]"], "type of the source address").inverts(),
        Opt::new("dst-type", &["type[,type...]"], "type of the destination address").inverts(),
        Opt::switch("limit-iface-in", "only on the device the packet came by").excludes(&["limit-iface-out"]),
        Opt::switch("limit-iface-out", "only on the device the packet leaves by").excludes(&["limit-iface-in"]),
    ],
    build,
    cases: &[
        Case::Same("--src-type UNICAST,LOCAL ! --dst-type MULTICAST"),
        Case::Saves("--src-type local,uni", "--src-type UNICAST,LOCAL"),
        Case::Same("--dst-type UNSPEC --limit-iface-in"),
        Case::Fails("--src-type foo", "bad type \"foo\""),
        Case::Fails("--limit-iface-in", "you must specify --src-type or --dst-type"),
        Case::Fails("--src-type LOCAL --limit-iface-in --limit-iface-out", "cannot be used together"),
        Case::Fails("", "you must specify --src-type or --dst-type"),
    ],
};

#[derive(Debug)]
struct AddrType {
    source: Option<Types>,
    destination: Option<Types>,
    limit: Option<Side>,
}

/// A set of types, perhaps inverted.
#[derive(Clone, Copy, Debug)]
struct Types {
    bits: u16,
    inverted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let types = |name: &str| parsed.get(name).map(parse_types).transpose();
    let (source, destination) = (types("src-type")?, types("dst-type")?);
    if source.is_none() && destination.is_none() {
        return Err(parsed.error("you must specify --src-type or --dst-type"));
    }
    let limit = match (parsed.has("limit-iface-in"), parsed.has("limit-iface-out")) {
        (true, _) => Some(Side::In),
        (false, true) => Some(Side::Out),
        (false, false) => None,
    };
    Ok(Arc::new(AddrType { source, destination, limit }))
}

fn parse_types(given: &Given) -> Result<Types, SyntaxError> {
    let mut rest = given.value();
    let bits = given.value().split(',').try_fold(0, |bits, word| {
        let from_here = rest;
        rest = rest.get(word.len() + 1..).unwrap_or_default();
        let starts = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        match NAMES.iter().position(|name| !word.is_empty() && starts(name)) {
            Some(bit) => Ok(bits | 1 << bit),
            // The front end quotes what is left in two ways.
            None if from_here.contains(',') => {
                Err(SyntaxError::parameter(format!("addrtype: bad type `{from_here}'")).at(word))
            }
            None => Err(SyntaxError::parameter(format!("addrtype: bad type \"{from_here}\"")).at(word)),
        }
    })?;
    Ok(Types { bits, inverted: given.inverted })
}

impl Match for AddrType {
    fn name(&self) -> &'static str {
        "addrtype"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let device = match self.limit {
            Some(Side::In) => look.iif().map(|i| i.index),
            Some(Side::Out) => look.oif().map(|i| i.index),
            None => None,
        };
        let fits = |types: Option<Types>, addr: fn(&Look<'_>) -> Addr| {
            types.is_none_or(|types| types.hold(look, addr(look), device) != types.inverted)
        };
        fits(self.source, |look| look.src()) && fits(self.destination, |look| look.dst())
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, types) in [("src-type", self.source), ("dst-type", self.destination)] {
            if let Some(types) = types {
                write!(f, "{} --{name} ", if types.inverted { " !" } else { "" })?;
                types.write(f)?;
            }
        }
        match self.limit {
            Some(Side::In) => f.write_str(" --limit-iface-in"),
            Some(Side::Out) => f.write_str(" --limit-iface-out"),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" ADDRTYPE match")?;
        for (name, types) in [("src-type", self.source), ("dst-type", self.destination)] {
            if let Some(types) = types {
                write!(f, " {name} {}", if types.inverted { "!" } else { "" })?;
                types.write(f)?;
            }
        }
        match self.limit {
            Some(Side::In) => f.write_str(" limit-in"),
            Some(Side::Out) => f.write_str(" limit-out"),
            None => Ok(()),
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let refuse = |text: &str| Err(Refused::Invalid(format!("xt_addrtype: {text}")));
        let reached = |hooks: &[Hook]| hooks.iter().any(|hook| place.hooks.contains(*hook));
        if self.limit == Some(Side::Out) && reached(&[Hook::Prerouting, Hook::Input]) {
            return refuse("output interface limitation not valid in PREROUTING and INPUT");
        }
        if self.limit == Some(Side::In) && reached(&[Hook::Postrouting, Hook::Output]) {
            return refuse("input interface limitation not valid in POSTROUTING and OUTPUT");
        }
        if place.family == Family::V6 {
            let bits = self.source.map_or(0, |t| t.bits) | self.destination.map_or(0, |t| t.bits);
            if bits & BLACKHOLE != 0 {
                return refuse("ipv6 BLACKHOLE matching not supported");
            }
            if bits >= PROHIBIT {
                return refuse("ipv6 PROHIBIT (THROW, NAT ..) matching not supported");
            }
            if bits & BROADCAST != 0 {
                return refuse("ipv6 does not support BROADCAST matching");
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Types {
    fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES.iter().enumerate().filter(|(bit, _)| self.bits & 1 << bit != 0);
        set.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

impl Types {
    fn hold(self, look: &Look<'_>, addr: Addr, device: Option<IfIndex>) -> bool {
        let asked = |bits: u16| self.bits & bits != 0;
        match look.family() {
            Family::V4 => asked(bit(look.address_type(addr, device))),
            // Here each type named is one more condition, and only these three ask the routes.
            Family::V6 => {
                let is_mapped = addr.0 >> 32 == 0xffff;
                let is_unicast = !addr.is_unspecified() && !addr.is_multicast(Family::V6) && !is_mapped;
                (!asked(MULTICAST) || addr.is_multicast(Family::V6))
                    && (!asked(UNICAST) || is_unicast)
                    && (!asked(UNSPEC) || addr.is_unspecified())
                    && (!asked(LOCAL | ANYCAST | UNREACHABLE) || asked(bit(look.address_type(addr, device)) & (LOCAL | ANYCAST | UNREACHABLE)))
            }
        }
    }
}

fn bit(kind: AddressType) -> u16 {
    match kind {
        AddressType::Unspecified => UNSPEC,
        AddressType::Unicast => UNICAST,
        AddressType::Local => LOCAL,
        AddressType::Broadcast => BROADCAST,
        AddressType::Anycast => ANYCAST,
        AddressType::Multicast => MULTICAST,
        AddressType::Blackhole => BLACKHOLE,
        AddressType::Unreachable => UNREACHABLE,
        AddressType::Prohibit => PROHIBIT,
        AddressType::Throw => THROW,
    }
}

/// In the order of the bits.
const NAMES: [&str; 12] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

const UNSPEC: u16 = 1;
const UNICAST: u16 = 1 << 1;
const LOCAL: u16 = 1 << 2;
const BROADCAST: u16 = 1 << 3;
const ANYCAST: u16 = 1 << 4;
const MULTICAST: u16 = 1 << 5;
const BLACKHOLE: u16 = 1 << 6;
const UNREACHABLE: u16 = 1 << 7;
const PROHIBIT: u16 = 1 << 8;
const THROW: u16 = 1 << 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{No, SRC, Yes, check_in, host, loads, parse, probe};
    use hairpin_engine::Packet;
    use hairpin_wire::build;

    #[test]
    fn types_by_the_local_table() {
        let mut probe = probe(build::ip(Family::V4, SRC, SRC, 17, &[]));
        probe.net = host();
        let mut to = |dst: u32, rule: &str, expected| {
            probe.packet = Packet::from_ip(&build::ip(Family::V4, SRC, Addr::v4(dst), 17, &[])).unwrap();
            probe.packet.meta.iif = Some(IfIndex(2));
            check_in(&mut probe, &format!("-m addrtype {rule}"), expected);
        };
        to(0x0a00_00fe, "--dst-type LOCAL", Yes);
        to(0x0a00_00fe, "--dst-type LOCAL --limit-iface-in", Yes);
        to(0xc0a8_0101, "--dst-type LOCAL --limit-iface-in", No);
        to(0xc0a8_0101, "! --dst-type LOCAL", No);
        to(0x0a00_00ff, "--dst-type BROADCAST", Yes);
        to(0xffff_ffff, "--dst-type BROADCAST", Yes);
        to(0xe000_0001, "--dst-type MULTICAST,BROADCAST", Yes);
        to(0x0808_0808, "--dst-type UNICAST ! --src-type LOCAL", Yes);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused = |rule: &str| loads(parse(Family::V4, rule).unwrap()).is_err();
        // Both devices are known in FORWARD.
        assert!(!refused("-m addrtype --src-type LOCAL --limit-iface-out"));
        let built = parse(Family::V4, "-m addrtype --src-type LOCAL --limit-iface-out").unwrap();
        let at = |hook: Hook| crate::testing::loads_at(built.clone(), hook).is_err();
        assert!(at(Hook::Input) && at(Hook::Prerouting) && !at(Hook::Output) && !at(Hook::Postrouting));
    }
}
