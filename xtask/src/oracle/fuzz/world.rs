//! A random router and the hosts around it, for one address family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::build::Mac;
use super::dice::Dice;
use crate::oracle::scenario::{Host, Interface, Neighbor, NextHop, PolicyRule, Route};

/// Ports that services listen on.
const PORTS: [u16; 10] = [21, 22, 53, 69, 80, 443, 2000, 5060, 8080, 30080];

/// The router as the traffic and the rules know it.
#[derive(Debug)]
pub struct World {
    pub v6: bool,
    pub ifaces: Vec<String>,
    /// The router's own addresses, by interface; the first of an interface is its primary one.
    pub mine: Vec<(String, IpAddr)>,
    /// Hosts on the router's own links.
    pub near: Vec<Person>,
    /// Hosts behind a gateway; their frames carry the gateway's MAC.
    pub far: Vec<Person>,
    /// The few ports that the traffic goes to and the rules speak of.
    pub ports: Vec<u16>,
    /// A rarer protocol that traffic and rules deal with.
    pub special: Option<&'static str>,
    pub host: Host,
}

#[derive(Debug, Clone)]
pub struct Person {
    pub iface: String,
    pub addr: IpAddr,
    pub mac: Mac,
}

/// What differs between the interfaces, by their number.
struct Link {
    name: &'static str,
    net4: [u8; 3],
    net6: u16,
}

const LINKS: [Link; 4] = [
    Link { name: "eth0", net4: [203, 0, 113], net6: 0xffff },
    Link { name: "eth1", net4: [192, 168, 1], net6: 1 },
    Link { name: "eth2", net4: [10, 7, 0], net6: 7 },
    Link { name: "lan0", net4: [172, 20, 5], net6: 0x20 },
];
/// The number of the gateway on eth0.
const GATEWAY: u8 = 254;

impl World {
    /// A router with IPv4 addresses.
    pub fn v4(dice: &mut Dice) -> Self {
        let links = *dice.pick(&[2, 2, 2, 3, 3, 4]);
        Self::make(dice, false, links)
    }

    /// A router with IPv6 addresses, on as many interfaces as the other family uses, if it is used.
    pub fn v6(dice: &mut Dice, links: Option<usize>) -> Self {
        let links = links.unwrap_or(*dice.pick(&[2, 2, 3]));
        Self::make(dice, true, links)
    }

    pub fn people(&self) -> impl Iterator<Item = &Person> + Clone {
        self.near.iter().chain(&self.far)
    }

    /// Every address that there is.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.mine.iter().map(|(_, a)| *a).chain(self.people().map(|p| p.addr)).collect()
    }

    pub fn near_on(&self, iface: &str) -> Vec<&Person> {
        self.near.iter().filter(|p| p.iface == iface).collect()
    }

    /// The router's primary address on an interface.
    pub fn primary(&self, iface: &str) -> IpAddr {
        self.mine.iter().find(|(i, _)| i == iface).map_or(Ipv4Addr::UNSPECIFIED.into(), |(_, a)| *a)
    }

    pub fn router_mac(&self, iface: &str) -> Mac {
        let n = self.ifaces.iter().position(|i| i == iface).unwrap_or(0);
        [2, 0, 0, 0, n as u8 + 1, 1]
    }

    /// The destination MAC of a frame to `dst` that arrives on `iface`.
    pub fn mac_towards(&self, dst: IpAddr, iface: &str) -> Mac {
        match dst {
            IpAddr::V4(a) if a.is_multicast() => {
                let [_, b, c, d] = a.octets();
                [1, 0, 0x5e, b & 0x7f, c, d]
            }
            IpAddr::V4(a) if a.octets()[3] == 255 => [0xff; 6],
            IpAddr::V6(a) if a.is_multicast() => {
                let o = a.octets();
                [0x33, 0x33, o[12], o[13], o[14], o[15]]
            }
            _ => self.router_mac(iface),
        }
    }

    /// The address number `n` of an interface's net.
    pub fn on_link(&self, iface: &str, n: u16) -> IpAddr {
        let link = LINKS.iter().find(|l| l.name == iface).unwrap_or(&LINKS[0]);
        address(self.v6, link, n)
    }

    /// This world and one of the other family as one router on the same interfaces.
    pub fn joined(&self, other: &World) -> Host {
        let mut host = self.host.clone();
        for (key, value) in &other.host.sysctl {
            host.sysctl.insert(key.clone(), value.clone());
        }
        for (a, b) in host.interface.iter_mut().zip(&other.host.interface) {
            a.addresses.extend(b.addresses.iter().cloned());
            a.mtu = a.mtu.max(1280);
        }
        host.route.extend(other.host.route.iter().cloned());
        host.rule.extend(other.host.rule.iter().cloned());
        host.neighbor.extend(other.host.neighbor.iter().cloned());
        host
    }

    fn make(dice: &mut Dice, v6: bool, links: usize) -> Self {
        let mut ports = PORTS.to_vec();
        dice.shuffle(&mut ports);
        ports.truncate(4);
        let mut world = Self {
            v6,
            ports,
            special: dice
                .chance(35)
                .then(|| *dice.pick(&["sctp", "dccp", "udplite", "gre", "ah", "esp", "sctp", "dccp"])),
            ifaces: LINKS[..links].iter().map(|l| l.name.to_string()).collect(),
            mine: Vec::new(),
            near: Vec::new(),
            far: Vec::new(),
            host: Host::default(),
        };
        for (n, link) in LINKS[..links].iter().enumerate() {
            world.add_link(dice, n, link);
        }
        world.add_routes(dice);
        world.add_sysctls(dice);
        world
    }

    fn add_link(&mut self, dice: &mut Dice, n: usize, link: &Link) {
        let mut numbers = vec![1];
        if dice.chance(30) {
            numbers.push(2);
        }
        let length = if self.v6 { 64 } else { 24 };
        let mut addresses = Vec::new();
        for number in numbers {
            let a = address(self.v6, link, number);
            self.mine.push((link.name.into(), a));
            addresses.push(format!("{a}/{length}"));
        }
        if !self.v6 && dice.chance(8) {
            // A second net on the same link.
            let a = IpAddr::from([10, 40 + n as u8, 0, 1]);
            self.mine.push((link.name.into(), a));
            addresses.push(format!("{a}/28"));
        }
        let mtu = *dice.pick(if self.v6 { &[1500, 1500, 1500, 1400, 1280] } else { &[1500, 1500, 1500, 1400, 576] });
        let mac = mac_text(self.router_mac(link.name));
        self.host.interface.push(Interface { name: link.name.into(), mac, mtu, addresses });
        let hosts: &[u16] = match (n, dice.chance(50)) {
            (0, _) => &[GATEWAY as u16, 10],
            (_, true) => &[10, 11, 12],
            (_, false) => &[10, 11, 12, 200],
        };
        for number in hosts {
            let family = if self.v6 { 0xbb } else { 0xaa };
            let mac = [2, family, 0, n as u8 + 1, 0, *number as u8];
            let addr = address(self.v6, link, *number);
            self.host.neighbor.push(Neighbor { address: addr.to_string(), mac: mac_text(mac), dev: link.name.into() });
            self.near.push(Person { iface: link.name.into(), addr, mac });
        }
    }

    fn add_routes(&mut self, dice: &mut Dice) {
        let v6 = self.v6;
        let address = |four: &str, six: &str| if v6 { six.to_string() } else { four.to_string() };
        let gateway = self.on_link("eth0", GATEWAY.into());
        let out =
            |to: String| Route { to, via: Some(gateway.to_string()), dev: Some("eth0".into()), ..Route::default() };
        let mut routes = Vec::new();
        let to = if dice.chance(88) { "default".into() } else { address("198.51.100.0/24", "2001:db8:beef::/48") };
        routes.push(if dice.chance(12) { self.shared_route(dice, to) } else { out(to) });
        let outside = if self.v6 {
            ["2001:db8:beef::5", "2001:db8:beef::77", "2001:db8:cafe::9"]
        } else {
            ["198.51.100.5", "198.51.100.77", "192.0.2.9"]
        };
        let mut far = vec![("eth0", gateway, outside.to_vec())];
        let inner = self.on_link("eth1", 11);
        if dice.chance(35) {
            let to = address("10.99.0.0/16", "2001:db8:99::/64");
            let dev = Some("eth1".to_string());
            let src = dice.chance(15).then(|| self.primary("eth1").to_string());
            routes.push(Route { to, via: Some(inner.to_string()), dev, src, ..Route::default() });
            far.push(("eth1", inner, vec![if self.v6 { "2001:db8:99::5" } else { "10.99.1.1" }]));
        }
        if dice.chance(18) {
            let to = address("198.51.100.77/32", "2001:db8:beef::77/128");
            let kind = dice.word(&["unreachable", "prohibit", "blackhole", "unreachable", "prohibit", "throw"]);
            routes.push(Route { to, kind: Some(kind), ..Route::default() });
        }
        let mut rules = Vec::new();
        if self.ifaces.len() > 2 && dice.chance(65) {
            let via = Some(self.on_link("eth2", 10).to_string());
            let table = Some(toml::Value::Integer(100));
            let dev = Some("eth2".to_string());
            // Without a gateway only the zeros say of which family the route is.
            let (to, metric) = (address("default", "::/0"), None);
            routes.push(match dice.below(10) {
                0 => Route { to, kind: Some("unreachable".into()), table: table.clone(), metric, ..Route::default() },
                1 => Route { to, kind: Some("throw".into()), table: table.clone(), metric, ..Route::default() },
                _ => Route { to, via, dev, table: table.clone(), metric, ..Route::default() },
            });
            let mut rule = PolicyRule { table, priority: Some(toml::Value::Integer(1000)), ..PolicyRule::default() };
            let mark = |text: &str| Some(toml::Value::String(text.into()));
            // Without an address nothing would say that the rule is one of IPv6.
            let everywhere = self.v6.then(|| "::/0".to_string());
            let inside = self.on_link("eth1", 10);
            match dice.below(6) {
                0 | 1 => (rule.fwmark, rule.from) = (mark("0x1/0x1"), everywhere),
                2 => rule.from = Some(format!("{inside}/{}", if self.v6 { 128 } else { 32 })),
                3 => rule.to = Some(address("198.51.100.77/32", "2001:db8:beef::77/128")),
                4 => (rule.fwmark, rule.iif, rule.from) = (mark("0x2"), Some("eth1".into()), everywhere),
                _ => (rule.fwmark, rule.from) = (mark("0x1/0xf"), everywhere),
            }
            rules.push(rule);
        }
        for (iface, gateway, hosts) in far {
            let mac = self.near.iter().find(|p| p.addr == gateway).map_or([2; 6], |p| p.mac);
            let person = |a: &str| a.parse().ok().map(|addr| Person { iface: iface.into(), addr, mac });
            self.far.extend(hosts.iter().filter_map(|a| person(a)));
        }
        self.host.route = routes;
        self.host.rule = rules;
    }

    /// A route by several neighbors. The kernel's choice among them can be foretold under a seed that is not 0.
    fn shared_route(&mut self, dice: &mut Dice, to: String) -> Route {
        let mut ways = vec![("eth0", GATEWAY.into()), ("eth0", 10)];
        if self.ifaces.len() > 2 && dice.chance(50) {
            ways.push(("eth2", 10));
        }
        dice.shuffle(&mut ways);
        let hop = |(dev, number): (&str, u16)| NextHop {
            via: self.on_link(dev, number).to_string(),
            dev: dev.into(),
            weight: *dice.pick(&[1, 1, 2, 5]),
        };
        let nexthop = ways.into_iter().map(hop).collect();
        let family = if self.v6 { "ipv6" } else { "ipv4" };
        let policy = toml::Value::Integer(*dice.pick(&[0, 0, 1, 1, 3]));
        self.host.sysctl.insert(format!("net.{family}.fib_multipath_hash_policy"), policy);
        let fields = toml::Value::Integer(*dice.pick(&[7, 0x37, 0x30, 1, 0x3f]));
        self.host.sysctl.insert(format!("net.{family}.fib_multipath_hash_fields"), fields);
        let seed = toml::Value::Integer(1 + dice.below(1 << 30) as i64);
        self.host.sysctl.insert("net.ipv4.fib_multipath_hash_seed".into(), seed);
        Route { to, nexthop, ..Route::default() }
    }

    fn add_sysctls(&mut self, dice: &mut Dice) {
        let mut set = |key: &str, value: i64| drop(self.host.sysctl.insert(key.into(), toml::Value::Integer(value)));
        let on = i64::from(dice.chance(95));
        set(if self.v6 { "net.ipv6.conf.all.forwarding" } else { "net.ipv4.ip_forward" }, on);
        set("net.netfilter.nf_conntrack_acct", *dice.pick(&[0, 1, 1]));
        if self.v6 {
            set("net.ipv6.auto_flowlabels", *dice.pick(&[0, 0, 1]));
        } else {
            // How many redirects come out hangs on the jiffy: rarely let.
            for name in ["all", "eth0", "eth1", "eth2", "lan0"] {
                if (name == "all" || self.ifaces.iter().any(|i| i == name)) && !dice.chance(2) {
                    set(&format!("net.ipv4.conf.{name}.send_redirects"), 0);
                }
            }
        }
        // key, values, how often in a hundred
        type Rare = (&'static str, &'static [i64], usize);
        let common: [Rare; 20] = [
            ("net.netfilter.nf_conntrack_tcp_loose", &[0], 10),
            ("net.netfilter.nf_conntrack_tcp_be_liberal", &[1], 8),
            ("net.netfilter.nf_conntrack_checksum", &[0], 5),
            ("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", &[1], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_established", &[600, 7200], 4),
            ("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", &[60], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_time_wait", &[40], 3),
            ("net.netfilter.nf_conntrack_udp_timeout", &[60], 4),
            ("net.netfilter.nf_conntrack_udp_timeout_stream", &[300], 3),
            ("net.netfilter.nf_conntrack_icmp_timeout", &[90], 3),
            ("net.netfilter.nf_conntrack_generic_timeout", &[700], 3),
            ("net.netfilter.nf_conntrack_tcp_max_retrans", &[1], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", &[100], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged", &[90], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_close", &[30], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_fin_wait", &[50], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_last_ack", &[55], 3),
            ("net.netfilter.nf_conntrack_tcp_timeout_syn_recv", &[45], 3),
            ("net.netfilter.nf_conntrack_sctp_timeout_cookie_wait", &[40], 3),
            ("net.netfilter.nf_conntrack_gre_timeout", &[70], 3),
        ];
        let four: [Rare; 20] = [
            ("net.ipv4.icmp_ratelimit", &[0], 85),
            ("net.ipv4.conf.all.rp_filter", &[1, 2], 16),
            ("net.ipv4.conf.eth1.rp_filter", &[1, 2], 8),
            ("net.ipv4.conf.eth0.rp_filter", &[1, 2], 6),
            ("net.ipv4.conf.eth1.route_localnet", &[1], 12),
            ("net.ipv4.conf.all.route_localnet", &[1], 4),
            ("net.ipv4.ip_default_ttl", &[128, 32], 6),
            ("net.ipv4.icmp_echo_ignore_all", &[1], 4),
            ("net.ipv4.icmp_echo_ignore_broadcasts", &[0], 5),
            ("net.ipv4.conf.eth1.forwarding", &[0], 4),
            ("net.ipv4.conf.all.accept_source_route", &[1], 5),
            ("net.ipv4.conf.eth1.accept_local", &[1], 4),
            ("net.ipv4.conf.all.src_valid_mark", &[1], 4),
            ("net.ipv4.fwmark_reflect", &[1], 5),
            ("net.ipv4.icmp_errors_use_inbound_ifaddr", &[1], 4),
            ("net.ipv4.ip_forward_use_pmtu", &[1], 2),
            ("net.ipv4.conf.all.bc_forwarding", &[1], 2),
            ("net.ipv4.ip_no_pmtu_disc", &[1], 2),
            ("net.ipv4.icmp_ratemask", &[0], 2),
            ("net.ipv4.conf.all.drop_unicast_in_l2_multicast", &[1], 2),
        ];
        let six: [Rare; 9] = [
            ("net.ipv6.icmp.ratelimit", &[0], 85),
            ("net.ipv6.conf.eth1.hop_limit", &[100], 8),
            ("net.ipv6.icmp.echo_ignore_all", &[1], 4),
            ("net.ipv6.icmp.echo_ignore_multicast", &[1], 3),
            ("net.ipv6.icmp.echo_ignore_anycast", &[1], 3),
            ("net.ipv6.conf.eth1.accept_source_route", &[1], 4),
            ("net.ipv6.fwmark_reflect", &[1], 4),
            ("net.netfilter.nf_conntrack_icmpv6_timeout", &[90], 3),
            ("net.ipv6.conf.eth1.forwarding", &[0], 3),
        ];
        for (key, values, percent) in common.iter().chain(if self.v6 { &six[..] } else { &four[..] }) {
            if dice.chance(*percent) {
                set(key, *dice.pick(values));
            }
        }
    }
}

fn address(v6: bool, link: &Link, n: u16) -> IpAddr {
    let [a, b, c] = link.net4;
    if v6 { Ipv6Addr::new(0x2001, 0xdb8, link.net6, 0, 0, 0, 0, n).into() } else { [a, b, c, n as u8].into() }
}

/// A MAC as rules and `host.toml` write it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}
