//! Which packets are meant: `host 10.0.0.2 and tcp port 443 and not in wan0`, in the words of tcpdump.
//!
//! ```text
//! host ADDR            net ADDR/LENGTH         port N        portrange N-M      each with src or dst before it, or any of the two
//! tcp udp icmp icmp6 sctp gre esp ah udplite   proto N       ip  ip6            the first with port or portrange behind it: tcp port 80
//! in DEVICE            out DEVICE              on DEVICE
//! not ! and && or || ( )
//! ```
//!
//! `and` and `or` bind equally and from the left, as tcpdump has it. What stands behind `and` or `or` without its word takes the word before:
//! `port 80 or 443`. An empty filter fits every packet.

use hairpin_engine::Packet;
use hairpin_engine::net::{IfIndex, IfName, Net};
use hairpin_wire::{Addr, Family, proto};
use std::net::IpAddr;

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Where it arrived; None for one made here.
    pub iif: Option<IfIndex>,
    /// Where it leaves; None while that is not known or when it does not leave.
    pub oif: Option<IfIndex>,
    /// Where it leaves is not known yet.
    pub oif_is_open: bool,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Transport protocol.
    pub protocol: u8,
    /// Source and destination port, of protocols that have them.
    pub ports: Option<(u16, u16)>,
}

impl Facts {
    /// Those of a packet as it is now.
    pub fn of(packet: &Packet) -> Facts {
        let has_ports =
            matches!(packet.protocol(), proto::TCP | proto::UDP | proto::SCTP | proto::UDPLITE | proto::DCCP);
        Facts {
            iif: packet.meta.iif,
            oif: None,
            oif_is_open: true,
            family: packet.family(),
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            ports: packet.ports().filter(|_| has_ports),
        }
    }
}

/// A filter as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Term(Term),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Net(Side, Family, Addr, u8),
    Ports(Side, Option<u8>, u16, u16),
    Protocol(u8),
    Family(Family),
    Device(Way, Device),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Src,
    Dst,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Either,
}

/// A device by name, and by number once the host is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device(String, Option<IfIndex>);

/// Nested deeper, a filter is refused.
const MAX_DEPTH: usize = 64;
/// Longer filters are refused: each packet pays for each term.
const MAX_TERMS: usize = 256;

const PROTOCOLS: [(&str, u8); 10] = [
    ("tcp", proto::TCP),
    ("udp", proto::UDP),
    ("icmp", proto::ICMP),
    ("icmp6", proto::ICMPV6),
    ("sctp", proto::SCTP),
    ("gre", proto::GRE),
    ("esp", proto::ESP),
    ("ah", proto::AH),
    ("udplite", proto::UDPLITE),
    ("dccp", proto::DCCP),
];

impl Filter {
    /// The filter of these words.
    ///
    /// # Errors
    /// The word that makes no sense, and what could stand there.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let words = words_of(text);
        if words.is_empty() {
            return Ok(Filter(None));
        }
        let mut parser = Parser { words: &words, at: 0, last: None, terms: 0 };
        let node = parser.expression(0)?;
        match parser.peek() {
            None => Ok(Filter(Some(node))),
            Some(word) => Err(format!("`{word}' makes no sense here: `and' or `or' joins two parts")),
        }
    }

    /// With the devices of this host.
    ///
    /// # Errors
    /// There is no device of a name that it uses.
    pub fn on(mut self, net: &Net) -> Result<Filter, String> {
        if let Some(node) = &mut self.0 {
            find_devices(node, net)?;
        }
        Ok(self)
    }

    /// Whether it fits; None while that hangs on where the packet leaves.
    pub fn judge(&self, facts: &Facts) -> Option<bool> {
        self.0.as_ref().map_or(Some(true), |node| judge(node, facts))
    }
}

fn find_devices(node: &mut Node, net: &Net) -> Result<(), String> {
    match node {
        Node::And(a, b) | Node::Or(a, b) => {
            find_devices(a, net)?;
            find_devices(b, net)
        }
        Node::Not(a) => find_devices(a, net),
        Node::Term(Term::Device(_, Device(name, index))) => {
            *index = IfName::new(name).and_then(|name| net.interface_by_name(name)).map(|device| device.index);
            if index.is_some() {
                return Ok(());
            }
            let known: Vec<String> = net.interfaces.iter().map(|i| i.name.to_string()).collect();
            Err(format!("there is no device `{name}': there are {}", known.join(", ")))
        }
        Node::Term(_) => Ok(()),
    }
}

fn judge(node: &Node, facts: &Facts) -> Option<bool> {
    match node {
        Node::And(a, b) => match (judge(a, facts), judge(b, facts)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Node::Or(a, b) => match (judge(a, facts), judge(b, facts)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Node::Not(a) => judge(a, facts).map(|fits| !fits),
        Node::Term(term) => term.judge(facts),
    }
}

impl Term {
    fn judge(&self, facts: &Facts) -> Option<bool> {
        let leaves_by = |index: Option<IfIndex>| {
            if facts.oif_is_open { None } else { Some(facts.oif.is_some() && facts.oif == index) }
        };
        Some(match self {
            Term::Net(side, family, addr, length) => {
                let mask = family.mask(*length);
                let is_in = |what: Addr| what.in_net(*addr, mask);
                *family == facts.family && side.holds(is_in(facts.src), is_in(facts.dst))
            }
            Term::Ports(side, protocol, low, high) => match facts.ports {
                Some((src, dst)) if protocol.is_none_or(|protocol| protocol == facts.protocol) => {
                    let is_in = |port: u16| (*low..=*high).contains(&port);
                    side.holds(is_in(src), is_in(dst))
                }
                _ => false,
            },
            Term::Protocol(protocol) => *protocol == facts.protocol,
            Term::Family(family) => *family == facts.family,
            Term::Device(Way::In, Device(_, index)) => facts.iif.is_some() && facts.iif == *index,
            Term::Device(Way::Out, Device(_, index)) => return leaves_by(*index),
            Term::Device(Way::Either, Device(_, index)) => {
                if facts.iif.is_some() && facts.iif == *index {
                    true
                } else {
                    return leaves_by(*index);
                }
            }
        })
    }
}

impl Side {
    const fn holds(self, src: bool, dst: bool) -> bool {
        match self {
            Side::Src => src,
            Side::Dst => dst,
            Side::Either => src || dst,
        }
    }
}

fn words_of(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in text.chars() {
        match c {
            '(' | ')' | '!' => {
                spaced.push(' ');
                spaced.push(c);
                spaced.push(' ');
            }
            c => spaced.push(c),
        }
    }
    spaced.replace("&&", " && ").replace("||", " || ").split_whitespace().map(str::to_owned).collect()
}

struct Parser<'w> {
    words: &'w [String],
    at: usize,
    /// What a value alone stands for.
    last: Option<Kind>,
    terms: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Host(Side),
    Net(Side),
    Port(Side, Option<u8>),
    PortRange(Side, Option<u8>),
    Proto,
    Device(Way),
}

const KNOWN: &str = "host, net, port, portrange, src, dst, tcp, udp, icmp, icmp6, proto, ip, ip6, in, out, on, not and ( can stand there";

impl<'w> Parser<'w> {
    fn peek(&self) -> Option<&'w str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&'w str> {
        let word = self.peek();
        self.at += usize::from(word.is_some());
        word
    }

    fn expression(&mut self, depth: usize) -> Result<Node, String> {
        let mut left = self.factor(depth)?;
        loop {
            let is_and = match self.peek() {
                Some("and" | "&&") => true,
                Some("or" | "||") => false,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.factor(depth)?;
            let (a, b) = (Box::new(left), Box::new(right));
            left = if is_and { Node::And(a, b) } else { Node::Or(a, b) };
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        match self.peek() {
            Some("not" | "!") => {
                self.at += 1;
                Ok(Node::Not(Box::new(self.factor(depth + 1)?)))
            }
            Some("(") => {
                self.at += 1;
                let inner = self.expression(depth + 1)?;
                match self.next() {
                    Some(")") => Ok(inner),
                    Some(word) => Err(format!("`{word}' makes no sense here: `and', `or' or `)' was expected")),
                    None => Err("a `)' is missing at the end".to_owned()),
                }
            }
            _ => self.term(),
        }
    }

    fn term(&mut self) -> Result<Node, String> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(format!("it has more than {MAX_TERMS} parts"));
        }
        let Some(word) = self.next() else { return Err(format!("something is missing at the end: {KNOWN}")) };
        let kind = match word {
            "src" | "dst" => {
                let side = if word == "src" { Side::Src } else { Side::Dst };
                self.of_side(side, None)?
            }
            "host" => Kind::Host(Side::Either),
            "net" => Kind::Net(Side::Either),
            "port" => Kind::Port(Side::Either, None),
            "portrange" => Kind::PortRange(Side::Either, None),
            "proto" => Kind::Proto,
            "in" => Kind::Device(Way::In),
            "out" => Kind::Device(Way::Out),
            "on" | "ifname" => Kind::Device(Way::Either),
            "ip" => return Ok(Node::Term(Term::Family(Family::V4))),
            "ip6" => return Ok(Node::Term(Term::Family(Family::V6))),
            name => match PROTOCOLS.iter().find(|(known, _)| *known == name) {
                Some((_, number)) => match self.peek() {
                    Some("port" | "portrange") => self.of_side(Side::Either, Some(*number))?,
                    Some(side @ ("src" | "dst"))
                        if matches!(self.words.get(self.at + 1).map(String::as_str), Some("port" | "portrange")) =>
                    {
                        self.at += 1;
                        self.of_side(if side == "src" { Side::Src } else { Side::Dst }, Some(*number))?
                    }
                    _ => return Ok(Node::Term(Term::Protocol(*number))),
                },
                // A value alone.
                None => match self.last {
                    Some(kind) if !matches!(name, ")" | "and" | "or" | "&&" | "||") => {
                        self.at -= 1;
                        kind
                    }
                    _ => return Err(format!("`{name}' is not understood: {KNOWN}")),
                },
            },
        };
        self.last = Some(kind);
        let Some(value) = self.next() else { return Err(format!("`{word}' needs something behind it")) };
        value_of(kind, value).map(Node::Term)
    }

    /// What is meant by `src` or `dst` (or a protocol) and the word behind it.
    fn of_side(&mut self, side: Side, protocol: Option<u8>) -> Result<Kind, String> {
        Ok(match self.peek() {
            Some("host") => {
                self.at += 1;
                Kind::Host(side)
            }
            Some("net") => {
                self.at += 1;
                Kind::Net(side)
            }
            Some("port") => {
                self.at += 1;
                Kind::Port(side, protocol)
            }
            Some("portrange") => {
                self.at += 1;
                Kind::PortRange(side, protocol)
            }
            Some(_) => Kind::Host(side),
            None => return Err("`src' and `dst' need host, net, port or portrange behind them".to_owned()),
        })
    }
}

fn value_of(kind: Kind, value: &str) -> Result<Term, String> {
    let address = |text: &str| -> Result<(Family, Addr), String> {
        let ip: IpAddr = text.parse().map_err(|_| format!("`{text}' is not an address: names are not looked up"))?;
        Ok(Addr::from_ip(ip))
    };
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}' is not a port: 0 to 65535 are"));
    Ok(match kind {
        Kind::Host(side) => match value.split_once('/') {
            Some(_) => return Err(format!("`{value}' is a network: write `net {value}'")),
            None => {
                let (family, addr) = address(value)?;
                Term::Net(side, family, addr, family.bits())
            }
        },
        Kind::Net(side) => {
            let (text, length) = value.split_once('/').unwrap_or((value, ""));
            let (family, addr) = address(text)?;
            let length =
                match length {
                    "" => family.bits(),
                    digits => digits.parse().ok().filter(|length| *length <= family.bits()).ok_or_else(|| {
                        format!("`{value}': a length of 0 to {} is expected behind `/'", family.bits())
                    })?,
                };
            Term::Net(side, family, addr.masked(family.mask(length)), length)
        }
        Kind::Port(side, protocol) => {
            let port = port(value)?;
            Term::Ports(side, protocol, port, port)
        }
        Kind::PortRange(side, protocol) => {
            let (low, high) =
                value.split_once('-').ok_or_else(|| format!("`{value}' is not a range: write 1000-2000"))?;
            let (low, high) = (port(low)?, port(high)?);
            if low > high {
                return Err(format!("`{value}' ends before it begins"));
            }
            Term::Ports(side, protocol, low, high)
        }
        Kind::Proto => {
            let named = PROTOCOLS.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
            let number = named.or_else(|| value.parse().ok());
            Term::Protocol(
                number
                    .ok_or_else(|| format!("`{value}' is no protocol: a number of 0 to 255, or a name such as gre"))?,
            )
        }
        Kind::Device(way) => Term::Device(way, Device(value.to_owned(), None)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(src: &str, dst: &str, protocol: u8, ports: (u16, u16)) -> Facts {
        let (family, src) = Addr::from_ip(src.parse().unwrap());
        let (_, dst) = Addr::from_ip(dst.parse().unwrap());
        Facts {
            iif: Some(IfIndex(2)),
            oif: None,
            oif_is_open: true,
            family,
            src,
            dst,
            protocol,
            ports: Some(ports).filter(|_| protocol == 6 || protocol == 17),
        }
    }

    fn fits(text: &str, facts: &Facts) -> Option<bool> {
        Filter::parse(text).unwrap().judge(facts)
    }

    #[test]
    fn words_of_tcpdump() {
        let tcp = facts("10.0.0.2", "1.1.1.1", 6, (40_000, 443));
        let ping6 = facts("2001:db8::1", "2001:db8::2", 58, (0, 0));
        for (text, of_tcp, of_ping6) in [
            ("", true, true),
            ("host 10.0.0.2", true, false),
            ("src host 1.1.1.1", false, false),
            ("dst 1.1.1.1", true, false),
            ("net 10.0.0.0/8", true, false),
            ("net 2001:db8::/32", false, true),
            ("net 0.0.0.0/0", true, false),
            ("port 443", true, false),
            ("src port 443", false, false),
            ("tcp dst port 443", true, false),
            ("udp port 443", false, false),
            ("port 80 or 443", true, false),
            ("portrange 400-500", true, false),
            ("tcp", true, false),
            ("icmp6 or tcp", true, true),
            ("not tcp", false, true),
            ("! ( tcp or icmp6 )", false, false),
            ("!(udp||icmp6)&&ip", true, false),
            ("proto 58", false, true),
            ("proto tcp", true, false),
            ("ip6", false, true),
            // From the left: (icmp or tcp) and ip6.
            ("icmp or tcp and ip6", false, false),
        ] {
            assert_eq!(fits(text, &tcp), Some(of_tcp), "{text}");
            assert_eq!(fits(text, &ping6), Some(of_ping6), "{text}");
        }
    }

    #[test]
    fn the_way_out_is_open_at_first() {
        let mut facts = facts("10.0.0.2", "1.1.1.1", 17, (1, 53));
        let device = |way, number| Node::Term(Term::Device(way, Device("x".to_owned(), Some(IfIndex(number)))));
        let out = Filter(Some(device(Way::Out, 3)));
        assert_eq!(out.judge(&facts), None);
        assert_eq!(Filter(Some(Node::Not(Box::new(device(Way::Out, 3))))).judge(&facts), None);
        assert_eq!(Filter(Some(device(Way::In, 2))).judge(&facts), Some(true));
        assert_eq!(Filter(Some(device(Way::Either, 2))).judge(&facts), Some(true));
        let and_tcp = Node::And(Box::new(device(Way::Out, 3)), Box::new(Node::Term(Term::Protocol(6))));
        assert_eq!(Filter(Some(and_tcp)).judge(&facts), Some(false), "no tcp, wherever it goes");
        facts.oif_is_open = false;
        assert_eq!(out.judge(&facts), Some(false));
        facts.oif = Some(IfIndex(3));
        assert_eq!(out.judge(&facts), Some(true));
    }

    #[test]
    fn mistakes_name_the_word() {
        for (text, says) in [
            ("hst 10.0.0.1", "`hst' is not understood"),
            ("host 10.0.0.0/8", "write `net 10.0.0.0/8'"),
            ("host example.org", "`example.org' is not an address"),
            ("port 70000", "`70000' is not a port"),
            ("portrange 9-1", "`9-1' ends before it begins"),
            ("net 10.0.0.0/33", "0 to 32"),
            ("(tcp", "a `)' is missing"),
            ("tcp udp", "`udp' makes no sense here"),
            ("tcp and", "something is missing at the end"),
            ("host", "`host' needs something behind it"),
            ("proto frob", "`frob' is no protocol"),
            ("src", "need host"),
            ("port 80 or )", "`)' is not understood"),
        ] {
            let why = Filter::parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
        assert!(Filter::parse(&"(".repeat(5000)).unwrap_err().contains("nested"));
        let why = Filter::parse("in nowhere0").unwrap().on(&hairpin_engine::setup::Setup::default().build().unwrap());
        assert!(why.unwrap_err().contains("there is no device `nowhere0'"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z0-9 ().!&|/:-]{0,80}") {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn nor_with_its_own_words(words in prop::collection::vec(prop::sample::select(vec!["host", "net", "port", "portrange", "src", "dst", "tcp", "udp", "and", "or", "not", "(", ")", "!", "10.0.0.1", "80", "1-2", "in", "eth0", "::1/64"]), 0..12)) {
            if let Ok(filter) = Filter::parse(&words.join(" ")) {
                let _ = filter.judge(&facts("10.0.0.1", "10.0.0.2", 6, (1, 2)));
            }
        }
    }
}
