//! Reading addresses, routes and rules written as `ip` takes them.

use super::{NewAddress, NewHop, NewInterface, NewNeighbor, NewRoute, NewRule, Setup};
use crate::net::Scope;
use crate::route::fib::TableId;
use crate::route::{PolicyRule, RouteType, RuleAction};
use crate::words::nearest;
use hairpin_wire::{Addr, Family, Mac};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadText(String);

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadText {}

fn bad<T>(text: impl Into<String>) -> Result<T, BadText> {
    Err(BadText(text.into()))
}

/// An address with a prefix length: `10.0.0.0/8`, `2001:db8::1/64`, or an address alone for all of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The address as written, host bits included.
    pub addr: Addr,
    /// Prefix length, at most the family's.
    pub len: u8,
    /// Whether a length was written.
    pub has_len: bool,
}

impl FromStr for Prefix {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Prefix, BadText> {
        let (ip, len) = text.split_once('/').map_or((text, None), |(ip, len)| (ip, Some(len)));
        let Ok(ip) = ip.parse::<IpAddr>() else {
            return bad(format!("{text:?} is not an address: expected one such as 192.0.2.1/24 or 2001:db8::1/64"));
        };
        let (family, addr) = Addr::from_ip(ip);
        let parsed = match len {
            None => Some(family.bits()),
            Some(len) => number(len).filter(|len| *len <= family.bits()),
        };
        match parsed {
            Some(length) => Ok(Prefix { family, addr, len: length, has_len: len.is_some() }),
            None => bad(format!("{text:?}: the prefix length of an {family} address is 0 to {}", family.bits())),
        }
    }
}

impl FromStr for NewAddress {
    type Err = BadText;

    /// `ADDRESS/LENGTH`; without a length the address is alone in its subnet.
    fn from_str(text: &str) -> Result<NewAddress, BadText> {
        let prefix: Prefix = text.parse()?;
        Ok(NewAddress { family: prefix.family, addr: prefix.addr, prefix: prefix.len, scope: None, broadcast: None })
    }
}

impl FromStr for NewRoute {
    type Err = BadText;

    /// What follows `ip route add`: `[TYPE] PREFIX [via ADDRESS] [dev NAME] [onlink] [src ADDRESS] [table T] [metric N] [tos N]
    /// [scope S] [mtu N] [advmss N] [hoplimit N] [realm [S/]D] [nexthop [via ADDRESS] [dev NAME] [weight N] ...]...`.
    fn from_str(text: &str) -> Result<NewRoute, BadText> {
        let mut words = Words::new(text);
        let mut first = words.need("a destination")?;
        let mut kind = RouteType::Unicast;
        if let Some(given) = route_type(first) {
            kind = given;
            first = words.need("a destination")?;
        }
        let mut family = None;
        let mut to = (Addr::UNSPECIFIED, 0);
        if !matches!(first, "default" | "all" | "any") {
            let prefix: Prefix = first.parse()?;
            family = Some(prefix.family);
            to = (prefix.addr, prefix.len);
        }
        let mut route = NewRoute { kind, ..NewRoute::to(Family::V4, to.0, to.1) };
        let mut hop = NewHop::default();
        let mut is_multipath = false;
        while let Some(word) = words.next() {
            match word {
                "via" => hop.via = Some(words.addr(&mut family)?),
                "dev" => hop.dev = Some(words.need("an interface")?.to_owned()),
                "onlink" => hop.onlink = true,
                "weight" => hop.weight = words.number(1..=256, "weight")?,
                "realm" | "realms" => hop.realm = realm(words.need("a realm")?)?,
                "src" => route.src = Some(words.addr(&mut family)?),
                "table" => route.table = Some(table(words.need("a table")?)?),
                "metric" | "priority" | "preference" => route.metric = Some(words.number(0..=u32::MAX, "metric")?),
                "tos" | "dsfield" => route.tos = tos(words.need("a TOS")?)?,
                "scope" => route.scope = Some(scope(words.need("a scope")?)?),
                "mtu" => route.mtu = words.number(1..=65_535, "mtu")?,
                "advmss" => route.advmss = words.number(1..=65_535, "advmss")?,
                "hoplimit" => route.hop_limit = words.number(1..=255, "hoplimit")?,
                "proto" => {
                    words.need("a protocol")?;
                }
                "nexthop" => {
                    if is_multipath {
                        route.hops.push(std::mem::take(&mut hop));
                    } else if hop != NewHop::default() {
                        return bad("via and dev belong behind nexthop");
                    }
                    is_multipath = true;
                }
                _ => {
                    let known = [
                        "via", "dev", "onlink", "weight", "realm", "src", "table", "metric", "tos", "scope", "mtu",
                        "advmss", "hoplimit", "proto", "nexthop",
                    ];
                    return unknown(word, &known);
                }
            }
        }
        if hop != NewHop::default() {
            route.hops.push(hop);
        }
        route.family = family.unwrap_or(Family::V4);
        Ok(route)
    }
}

impl FromStr for NewRule {
    type Err = BadText;

    /// What follows `ip rule add`: `[not] [from P] [to P] [iif NAME] [oif NAME] [fwmark M[/MASK]] [tos N] [ipproto N]
    /// [sport A[-B]] [dport A[-B]] [uidrange A-B] [priority N] [table T | goto N | nop | blackhole | unreachable | prohibit]
    /// [suppress_prefixlength N] [suppress_ifgroup N] [realms [S/]D]`. It is one of IPv6 when an address in it is.
    fn from_str(text: &str) -> Result<NewRule, BadText> {
        let mut words = Words::new(text);
        let mut family = None;
        let mut rule = PolicyRule::all(None, RuleAction::Table(TableId::MAIN));
        while let Some(word) = words.next() {
            match word {
                "not" => rule.not = true,
                "from" => rule.from = words.prefix(&mut family)?,
                "to" => rule.to = words.prefix(&mut family)?,
                "iif" | "dev" => rule.iif = Some(words.need("an interface")?.to_owned()),
                "oif" => rule.oif = Some(words.need("an interface")?.to_owned()),
                "fwmark" => rule.mark = Some(mark(words.need("a mark")?)?),
                "tos" | "dsfield" => rule.tos = tos(words.need("a TOS")?)?,
                "ipproto" => rule.protocol = protocol(words.need("a protocol")?)?,
                "sport" => rule.sport = Some(range(words.need("a port")?, "port")?),
                "dport" => rule.dport = Some(range(words.need("a port")?, "port")?),
                "uidrange" => rule.uid = Some(range(words.need("a range of users")?, "user id")?),
                "priority" | "preference" | "pref" | "order" => {
                    rule.priority = Some(words.number(0..=u32::MAX, "priority")?);
                }
                "table" | "lookup" => rule.action = RuleAction::Table(table(words.need("a table")?)?),
                "goto" => rule.action = RuleAction::Goto(words.number(0..=u32::MAX, "goto")?),
                "nop" => rule.action = RuleAction::Nop,
                "blackhole" => rule.action = RuleAction::Blackhole,
                "unreachable" => rule.action = RuleAction::Unreachable,
                "prohibit" => rule.action = RuleAction::Prohibit,
                "suppress_prefixlength" | "sup_pl" => {
                    rule.suppress_prefixlength = Some(words.number(0..=128, "suppress_prefixlength")?);
                }
                "suppress_ifgroup" | "sup_group" => {
                    rule.suppress_group = Some(words.number(0..=u32::MAX, "suppress_ifgroup")?);
                }
                "realms" | "realm" => rule.realm = realm(words.need("a realm")?)?,
                _ => {
                    let known = [
                        "not",
                        "from",
                        "to",
                        "iif",
                        "oif",
                        "fwmark",
                        "tos",
                        "ipproto",
                        "sport",
                        "dport",
                        "uidrange",
                        "priority",
                        "table",
                        "lookup",
                        "goto",
                        "nop",
                        "blackhole",
                        "unreachable",
                        "prohibit",
                        "suppress_prefixlength",
                        "suppress_ifgroup",
                        "realms",
                    ];
                    return unknown(word, &known);
                }
            }
        }
        Ok(NewRule { family: family.unwrap_or(Family::V4), rule })
    }
}

impl Setup {
    /// Adds an Ethernet device that is up, with addresses as text. Its link address is made from its place in the list.
    pub fn ethernet(mut self, name: &str, addresses: &[&str]) -> Result<Setup, BadText> {
        let place = self.interfaces.len() as u16 + 1;
        let [high, low] = place.to_be_bytes();
        let mut interface = NewInterface::ethernet(name, Mac([2, 0, 0, 0, high, low]));
        interface.addresses = addresses.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
        self.interfaces.push(interface);
        Ok(self)
    }

    /// Adds a route as `ip route add` takes it.
    pub fn route(mut self, text: &str) -> Result<Setup, BadText> {
        self.routes.push(text.parse()?);
        Ok(self)
    }

    /// Adds a rule as `ip rule add` takes it.
    pub fn rule(mut self, text: &str) -> Result<Setup, BadText> {
        self.rules.push(text.parse()?);
        Ok(self)
    }

    /// Adds a neighbor: `ADDRESS lladdr MAC dev NAME`.
    pub fn neighbor(mut self, text: &str) -> Result<Setup, BadText> {
        let mut words = Words::new(text);
        let mut family = None;
        let addr = words.addr(&mut family)?;
        let (mut mac, mut dev) = (None, None);
        while let Some(word) = words.next() {
            match word {
                "lladdr" => {
                    let text = words.need("a link address")?;
                    mac = Some(text.parse().map_err(|error| BadText(format!("{text:?}: {error}")))?);
                }
                "dev" => dev = Some(words.need("an interface")?.to_owned()),
                "nud" => {
                    words.need("a state")?;
                }
                _ => return unknown(word, &["lladdr", "dev", "nud"]),
            }
        }
        let (Some(mac), Some(dev)) = (mac, dev) else { return bad("a neighbor needs lladdr and dev") };
        self.neighbors.push(NewNeighbor { family: family.unwrap_or(Family::V4), addr, mac, dev });
        Ok(self)
    }

    /// Adds a setting: `net.ipv4.ip_forward=1`.
    pub fn sysctl(mut self, text: &str) -> Result<Setup, BadText> {
        let Some((name, value)) = text.split_once('=') else { return bad(format!("{text:?} is not NAME=VALUE")) };
        self.sysctls.push((name.trim().to_owned(), value.trim().to_owned()));
        Ok(self)
    }
}

/// A type of route by its name.
pub fn route_type(name: &str) -> Option<RouteType> {
    Some(match name {
        "unicast" => RouteType::Unicast,
        "local" => RouteType::Local,
        "broadcast" => RouteType::Broadcast,
        "multicast" => RouteType::Multicast,
        "anycast" => RouteType::Anycast,
        "blackhole" => RouteType::Blackhole,
        "unreachable" => RouteType::Unreachable,
        "prohibit" => RouteType::Prohibit,
        "throw" => RouteType::Throw,
        _ => return None,
    })
}

/// A scope by its name or number.
pub fn scope(name: &str) -> Result<Scope, BadText> {
    match name {
        "global" | "universe" | "0" => Ok(Scope::Global),
        "site" | "200" => Ok(Scope::Site),
        "link" | "253" => Ok(Scope::Link),
        "host" | "254" => Ok(Scope::Host),
        "nowhere" | "255" => Ok(Scope::Nowhere),
        _ => bad(format!("{name:?} is not a scope: expected global, site, link or host")),
    }
}

/// A table by its name or number.
pub fn table(name: &str) -> Result<TableId, BadText> {
    match TableId::from_name(name) {
        Some(id) => Ok(id),
        None => bad(format!("{name:?} is not a table: expected local, main, default or a number from 1")),
    }
}

/// A mark with an optional mask, both decimal or hexadecimal; without a mask all bits count.
pub fn mark(text: &str) -> Result<(u32, u32), BadText> {
    let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
    match (number(value), mask.map_or(Some(u32::MAX), number)) {
        (Some(value), Some(mask)) => Ok((value, mask)),
        _ => bad(format!("{text:?} is not a mark: expected one such as 1, 0x1 or 0x1/0xff")),
    }
}

/// A TOS as `ip` reads it: hexadecimal, with or without `0x`.
fn tos(text: &str) -> Result<u8, BadText> {
    match u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16) {
        Ok(tos) => Ok(tos),
        Err(_) => bad(format!("{text:?} is not a TOS: expected one such as 0x10")),
    }
}

/// A realm, or source and destination realm: `5`, `3/5`.
pub fn realm(text: &str) -> Result<u32, BadText> {
    let (source, own) = text.split_once('/').unwrap_or(("0", text));
    match (number::<u16>(source), number::<u16>(own)) {
        (Some(source), Some(own)) => Ok(u32::from(source) << 16 | u32::from(own)),
        _ => bad(format!("{text:?} is not a realm: expected one such as 5 or 3/5")),
    }
}

/// A transport protocol by its number or usual name.
pub fn protocol(text: &str) -> Result<u8, BadText> {
    let names = [
        ("icmp", 1),
        ("igmp", 2),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("ipv6-icmp", 58),
        ("icmpv6", 58),
        ("sctp", 132),
        ("udplite", 136),
    ];
    match names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number).or_else(|| number(text)) {
        Some(protocol) => Ok(protocol),
        None => bad(format!("{text:?} is not a protocol: expected a number or a name such as tcp")),
    }
}

/// A number or a range of them, `A-B`.
pub fn range<T: Copy + PartialOrd + TryFrom<u64>>(text: &str, what: &str) -> Result<RangeInclusive<T>, BadText> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number::<T>(first), number::<T>(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => bad(format!("{text:?} is not a {what} or a range of them such as 1000-2000")),
    }
}

/// A number, decimal or hexadecimal with `0x`, that fits.
pub fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok()?,
        Some(_) => return None,
        None if text.starts_with('+') => return None,
        None => text.parse().ok()?,
    };
    T::try_from(value).ok()
}

fn unknown<T>(word: &str, known: &[&str]) -> Result<T, BadText> {
    match nearest(word, known.iter().copied()) {
        Some(near) => bad(format!("unknown word {word:?}; did you mean {near}?")),
        None => bad(format!("unknown word {word:?}: expected {}", known.join(", "))),
    }
}

struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Words<'a> {
        Words(text.split_whitespace())
    }

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn need(&mut self, what: &str) -> Result<&'a str, BadText> {
        self.next().ok_or_else(|| BadText(format!("{what} is missing at the end")))
    }

    fn number<T: Copy + PartialOrd + fmt::Display + TryFrom<u64>>(
        &mut self,
        range: RangeInclusive<T>,
        what: &str,
    ) -> Result<T, BadText> {
        let text = self.need("a number")?;
        match number(text).filter(|value| range.contains(value)) {
            Some(value) => Ok(value),
            None => bad(format!("{what} {text}: expected {} to {}", range.start(), range.end())),
        }
    }

    /// An address of the family known so far.
    fn addr(&mut self, family: &mut Option<Family>) -> Result<Addr, BadText> {
        let text = self.need("an address")?;
        let Ok(ip) = text.parse::<IpAddr>() else { return bad(format!("{text:?} is not an address")) };
        let (own, addr) = Addr::from_ip(ip);
        agree(family, own, text)?;
        Ok(addr)
    }

    /// A prefix of the family known so far; None for `all`.
    fn prefix(&mut self, family: &mut Option<Family>) -> Result<Option<(Addr, u8)>, BadText> {
        let text = self.need("a prefix")?;
        if matches!(text, "all" | "default" | "any") {
            return Ok(None);
        }
        let prefix: Prefix = text.parse()?;
        agree(family, prefix.family, text)?;
        Ok(Some((prefix.addr, prefix.len)))
    }
}

fn agree(family: &mut Option<Family>, own: Family, text: &str) -> Result<(), BadText> {
    match *family.get_or_insert(own) {
        known if known == own => Ok(()),
        known => bad(format!("{text} is an {own} address among {known} ones")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_ip_writes_them() {
        let route: NewRoute = "prohibit 10.0.0.0/8 table 7 metric 0x10".parse().unwrap();
        assert_eq!(
            (route.kind, route.to, route.table),
            (RouteType::Prohibit, (Addr::v4(0x0a00_0000), 8), Some(TableId(7)))
        );
        assert_eq!((route.metric, route.hops.len()), (Some(16), 0));
        let route: NewRoute = "default via 2001:db8::1 dev eth0 proto static onlink mtu 1300".parse().unwrap();
        assert_eq!((route.family, route.to, route.mtu), (Family::V6, (Addr(0), 0), 1300));
        assert_eq!(route.hops[0].dev.as_deref(), Some("eth0"));
        assert!(route.hops[0].onlink);
        let route: NewRoute =
            "10.1.0.0/16 tos 10 src 10.0.0.1 nexthop via 10.0.0.2 weight 3 nexthop dev eth1".parse().unwrap();
        assert_eq!((route.tos, route.src, route.hops.len()), (0x10, Some(Addr::v4(0x0a00_0001)), 2));
        assert_eq!((route.hops[0].weight, route.hops[1].via), (3, None));
    }

    #[test]
    fn rules_are_read_as_ip_writes_them() {
        let rule: NewRule =
            "not from 10.0.0.0/8 fwmark 0x1/0xff iif eth0 dport 80-90 ipproto tcp lookup main priority 5"
                .parse()
                .unwrap();
        let NewRule { family, rule } = rule;
        assert!(rule.not && rule.mark == Some((1, 255)) && rule.dport == Some(80..=90) && rule.protocol == 6);
        assert_eq!((rule.action, rule.priority, family), (RuleAction::Table(TableId::MAIN), Some(5), Family::V4));
        let rule: NewRule = "from all to 2001:db8::/32 goto 77 suppress_prefixlength 0 realms 3/5".parse().unwrap();
        let NewRule { family, rule } = rule;
        assert_eq!((family, rule.from, rule.action), (Family::V6, None, RuleAction::Goto(77)));
        assert_eq!((rule.suppress_prefixlength, rule.realm), (Some(0), 3 << 16 | 5));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, words) in [
            ("", "a destination is missing"),
            ("10.0.0.0/33 dev eth0", "0 to 32"),
            ("10.0.0.0/8 dve eth0", "did you mean dev?"),
            ("10.0.0.0/8 via", "an address is missing"),
            ("10.0.0.0/8 via fe80::1", "IPv6 address among IPv4 ones"),
            ("10.0.0.0/8 dev eth0 metric -1", "metric -1"),
            ("10.0.0.0/8 dev eth0 mtu 0", "expected 1 to 65535"),
            ("10.0.0.0/8 dev eth0 scope lnk", "is not a scope"),
            ("10.0.0.0/8 via 10.0.0.1 nexthop via 10.0.0.2", "belong behind nexthop"),
        ] {
            let error = text.parse::<NewRoute>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (text, words) in [
            ("fwmark x", "is not a mark"),
            ("fwmark 1/+2", "is not a mark"),
            ("tos zz", "is not a TOS"),
            ("dport 9-1", "is not a port"),
            ("table 0", "is not a table"),
            ("ipproto bgp", "is not a protocol"),
            ("realms 70000", "is not a realm"),
            ("form 10.0.0.0/8", "did you mean from?"),
        ] {
            let error = text.parse::<NewRule>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number::<u8>("255"), Some(255));
        assert_eq!(number::<u8>("256"), None);
        assert_eq!(number::<u32>("0xff"), Some(255));
        for text in ["", "+1", "0x+1", "-1", "1 ", "0x"] {
            assert_eq!(number::<u32>(text), None, "{text:?}");
        }
    }
}
