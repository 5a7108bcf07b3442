//! Random rules: the tables, their chains, and what a rule consists of. The matches and targets themselves are next door.

use std::net::IpAddr;

use super::dice::Dice;
use super::world::World;
use super::{matches, targets};

/// The tables, their built-in chains, and how often in a hundred each is used.
const TABLES: [(&str, &[&str], usize); 5] = [
    ("raw", &["PREROUTING", "OUTPUT"], 35),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"], 60),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"], 80),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"], 88),
    ("security", &["INPUT", "FORWARD", "OUTPUT"], 8),
];

/// Writes the rules of one family.
#[derive(Debug)]
pub struct Author<'a> {
    pub dice: &'a mut Dice,
    pub world: &'a World,
    /// What the prefixes of this scenario's LOG rules start with; no other scenario's do.
    pub tag: String,
    /// Many rules in nested chains.
    pub deep: bool,
    serial: usize,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub table: &'a str,
    /// The built-in chain from which the rule's chain is reached.
    pub base: &'a str,
    pub proto: Option<&'a str>,
    /// Chains that the rule may jump to.
    pub below: &'a [String],
}

impl<'a> Author<'a> {
    pub fn new(dice: &'a mut Dice, world: &'a World, tag: String, deep: bool) -> Self {
        Self { dice, world, tag, deep, serial: 0 }
    }

    /// A save file, with rules as a person might type them.
    pub fn text(&mut self) -> String {
        let mut out = String::new();
        let mut left = if self.deep { 60 } else { 26 };
        for (table, chains, percent) in TABLES {
            if self.dice.chance(percent) {
                out += &self.table(table, chains, &mut left);
            }
        }
        if out.is_empty() {
            out = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n".into();
        }
        out
    }

    /// A number that no other name in these rules has.
    pub fn serial(&mut self) -> usize {
        self.serial += 1;
        self.serial
    }

    /// The text, inverted once in a while.
    pub fn maybe_not(&mut self, text: impl AsRef<str>) -> String {
        self.not(15, text)
    }

    pub fn not(&mut self, percent: usize, text: impl AsRef<str>) -> String {
        let sign = if self.dice.chance(percent) { "! " } else { "" };
        format!("{sign}{}", text.as_ref())
    }

    pub fn any_address(&mut self) -> IpAddr {
        let all = self.world.addresses();
        *self.dice.pick(&all)
    }

    /// A net around one of the addresses there are.
    pub fn net(&mut self) -> String {
        let a = self.any_address();
        let lengths: &[u8] = if self.world.v6 { &[128, 128, 64, 48, 32, 124] } else { &[32, 32, 24, 16, 29, 31, 8] };
        match self.dice.below(8) {
            0 => a.to_string(),
            1 if !self.world.v6 => format!("{a}/255.255.255.0"),
            _ => format!("{a}/{}", self.dice.pick(lengths)),
        }
    }

    /// A port or a range of ports as most matches write it.
    pub fn ports(&mut self) -> String {
        let port = *self.dice.pick(&self.world.ports);
        match self.dice.below(7) {
            0 => format!("{port}:{}", port + 100),
            1 => ":1023".into(),
            2 => "1024:".into(),
            3 => "20000:40000".into(),
            _ => port.to_string(),
        }
    }

    pub fn port(&mut self) -> u16 {
        *self.dice.pick(&self.world.ports)
    }

    /// An address of a host inside.
    pub fn inside(&mut self) -> IpAddr {
        let hosts: Vec<IpAddr> = self.world.near_on("eth1").iter().map(|p| p.addr).collect();
        *self.dice.pick(&hosts)
    }

    pub fn iface(&mut self) -> String {
        if self.dice.chance(15) {
            return self.dice.word(&["eth+", "lo", "e+", "lan+", "wlan0"]);
        }
        self.dice.pick(&self.world.ifaces).clone()
    }

    fn table(&mut self, table: &str, chains: &[&str], left: &mut usize) -> String {
        let mut heads = String::new();
        for chain in chains {
            let policy = if table == "filter" && self.dice.chance(12) { "DROP" } else { "ACCEPT" };
            let counter = if self.dice.chance(5) { "[7:420]" } else { "[0:0]" };
            heads += &format!(":{chain} {policy} {counter}\n");
        }
        let count = *self.dice.pick(if self.deep { &[2, 3, 4, 5] } else { &[0, 1, 1, 2, 3] });
        let mut users: Vec<(String, &str)> = Vec::new();
        for n in 0..count {
            let name = format!("{}-{table}{n}", self.dice.word(&["in", "out", "web", "x", "Log_it"]));
            heads += &format!(":{name} - [0:0]\n");
            users.push((name, *self.dice.pick(chains)));
        }
        let mut rules = String::new();
        let names = chains.iter().map(|c| (c.to_string(), *c)).chain(users.clone());
        for (n, (chain, base)) in names.enumerate() {
            // A chain calls only chains behind it: no loops.
            let behind = users.iter().skip((n + 1).saturating_sub(chains.len()));
            let below: Vec<String> = behind.filter(|(_, b)| *b == base).map(|(name, _)| name.clone()).collect();
            // What the router says itself is little.
            let quiet = base == "OUTPUT" || (table, base) == ("nat", "INPUT");
            let wanted = *self.dice.pick(match (self.deep, quiet) {
                (true, false) => &[1, 2, 3, 4],
                (false, false) => &[0, 1, 2, 3],
                (_, true) => &[0, 0, 1, 2],
            });
            for _ in 0..wanted.min(*left) {
                rules += &self.rule(&chain, Place { table, base, proto: None, below: &below });
                *left -= 1;
            }
            if n < chains.len() && !below.is_empty() {
                rules += &format!("-A {chain} -j {}\n", self.dice.pick(&below));
            }
        }
        format!("*{table}\n{heads}{rules}{}COMMIT\n", targets::closing(self, table))
    }

    fn rule(&mut self, chain: &str, place: Place<'_>) -> String {
        let four = [
            "tcp", "tcp", "tcp", "udp", "udp", "udp", "icmp", "icmp", "sctp", "dccp", "udplite", "47", "ah", "esp",
            "all",
        ];
        let six = [
            "tcp",
            "tcp",
            "tcp",
            "udp",
            "udp",
            "udp",
            "ipv6-icmp",
            "icmpv6",
            "sctp",
            "dccp",
            "udplite",
            "gre",
            "ah",
            "esp",
            "59",
        ];
        let proto =
            if self.dice.chance(45) { None } else { Some(*self.dice.pick(if self.world.v6 { &six } else { &four })) };
        let special = self.world.special.filter(|_| self.dice.chance(30));
        // What the router says itself is mostly ICMP, and resets.
        let own = match (place.base, proto) {
            ("OUTPUT", Some(_)) => Some(*self.dice.pick(if self.world.v6 {
                &["icmpv6", "icmpv6", "tcp"]
            } else {
                &["icmp", "icmp", "tcp"]
            })),
            _ => None,
        };
        let place = Place { proto: own.or(special).or(proto), ..place };
        let proto = place.proto;
        let mut words = Vec::new();
        if self.dice.chance(4) {
            words.push("[3:144]".into());
        }
        words.push(format!("-A {chain}"));
        for option in ["-s", "-d"] {
            if self.dice.chance(10) {
                let net = self.net();
                words.push(self.maybe_not(format!("{option} {net}")));
            }
        }
        for (option, bases) in
            [("-i", ["PREROUTING", "INPUT", "FORWARD"]), ("-o", ["FORWARD", "OUTPUT", "POSTROUTING"])]
        {
            if bases.contains(&place.base) && self.dice.chance(14) {
                let iface = self.iface();
                words.push(self.maybe_not(format!("{option} {iface}")));
            }
        }
        if let Some(proto) = proto {
            let inverted = self.dice.chance(4);
            words.push(format!("{}-p {proto}", if inverted { "! " } else { "" }));
            if inverted {
                // Nothing that needs the protocol can stand in such a rule.
                let place = Place { proto: None, ..place };
                words.push(targets::target(self, place));
                return words.join(" ") + "\n";
            }
        }
        let wanted = if words.len() > 1 { *self.dice.pick(&[0, 0, 1, 1, 1, 1, 2, 3]) } else { 1 };
        words.extend(matches::some(self, place, wanted));
        let target = targets::target(self, place);
        // Often only count, so that the packet meets the rules behind.
        let ends = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT", "-j QUEUE"].iter().any(|t| target.starts_with(t));
        if !(ends && place.table != "nat" && self.dice.chance(40)) {
            words.push(target);
        }
        words.retain(|w| !w.is_empty());
        words.join(" ") + "\n"
    }
}
