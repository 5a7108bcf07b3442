//! Host files: the machine that the engine plays, in TOML.
//!
//! ```toml
//! [sysctl]
//! "net.ipv4.ip_forward" = 1               # by Linux name, in the order of the file
//!
//! [[interface]]                           # `lo` exists without being named
//! name = "eth0"
//! mac = "02:00:00:00:01:01"               # or kind = "bare" for a link without addresses
//! addresses = ["203.0.113.1/24", "2001:db8::1/64"]
//! mtu = 1500                              # also: up = false, group = 7
//!
//! [[route]]
//! to = "default"
//! via = "203.0.113.254"                   # also: dev, src, table, metric, type, scope, mtu, tos, advmss, hoplimit, realm,
//!                                         # onlink, nexthop = [{ via = "...", weight = 2 }, ...]
//!
//! [[rule]]
//! fwmark = "0x1/0xff"                     # also: from, to, iif, oif, tos, ipproto, sport, dport, uidrange, not, priority,
//! table = 100                             # family, suppress_prefixlength, suppress_ifgroup, realm; or goto, or type
//!
//! [[neighbor]]
//! address = "203.0.113.254"
//! mac = "02:aa:00:01:71:fe"
//! dev = "eth0"
//!
//! [[socket]]                              # a socket of this host that takes packets, sends them, and that rules find
//! proto = "udp"                           # or tcp, udplite
//! local = "0.0.0.0:53"                    # also: remote, dev, transparent, mark; uid, gid, pid, command, cgroup, classid of the
//!                                         # process that opened it
//!
//! [[nfacct]]                              # an accounting object
//! name = "http"                           # also: quota_packets or quota_bytes
//!
//! [osf]
//! file = "pf.os"                          # fingerprints for `-m osf` in p0f's form; counts from the host file's directory
//! ```
//!
//! What only the gateway looks at, and replay passes over:
//!
//! ```toml
//! [[interface]]                           # its mac and mtu may be left out where a device has them
//! name = "lan0"
//! datapath = "packet"                     # or "xdp", "tap", "tun", "auto", "pcap"
//! follow = true                           # packet and xdp: addresses and routes of the kernel's device are the gateway's, and change
//!                                         # with it. This host's own processes go past the rules there
//! queues = 4                              # packet, tap and tun: so many; xdp: as many as the device has
//! threads = true                          # each queue has a thread of its own; if not said: where several have a processor each
//! capture = "lan0.pcapng"                 # frames are kept in a file
//! fault = { loss = "1%", delay = "20ms", duplicate = "0.1%", corrupt = "0.01%", reorder = "1%", seed = 7 }
//!                                         # frames are lost, delayed and so on, in both directions
//!                                         # also: mode = "native" | "generic" for xdp; netns for tap and tun; parent and vlan
//!
//! [[interface]]
//! name = "wan0"
//! datapath = "pcap"                       # a capture arrives, and what leaves is written to another one
//! read = "in.pcap"
//! write = "out.pcapng"
//! pace = "recorded"                       # or "at once": frames come without waiting for their time
//!
//! [rules]
//! v4 = "rules.v4"                         # as iptables-save prints them; v6 likewise. Names count from the host file's directory
//!
//! [host]                                  # this machine's own processes send and receive by a TUN device, hairpin0, also among
//!                                         # themselves by this host's addresses; 127.0.0.0/8 and ::1 stay the kernel's
//!
//! [run]
//! user = "hairpin"                        # who the process becomes once the devices are open; this is who it tries if nothing is said
//! cpu = "auto"                            # or a number: the processor that the loop stays on; "any": the scheduler moves it about
//!
//! [control]
//! socket = "/run/hairpin/control.sock"
//!
//! [state]
//! file = "/var/lib/hairpin/state"
//!
//! [metrics]
//! listen = "127.0.0.1:9464"
//!
//! [log]                                   # LOG's lines and NFLOG's packets: see `logs.rs`
//! to = "/var/log/hairpin.log"
//!
//! [[nflog]]
//! group = 5
//! file = "/var/log/hairpin-5.pcap"
//! ```
//!
//! A rule or route is one of IPv6 when an address in it is. Every mistake is refused with its place, `FILE:LINE:COLUMN`, and what
//! to do about it: a section or key that does not exist, a value that cannot be, and what the engine refuses ([`Problem`]).

mod live;
mod parts;
mod sections;
mod value;

use hairpin_engine::account::Accounts;
use hairpin_engine::net::Net;
use hairpin_engine::osf::Fingerprints;
use hairpin_engine::setup::text::Prefix;
use hairpin_engine::setup::{At, Problem, Setup, SetupError};
use parts::{accounts, fingerprints, interface, neighbor, route, rule, setting, socket};
use sections::SECTIONS;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use value::{Fault, Item, fault, flatten, in_order, line_and_column, unknown};

pub use live::{DatapathKind, Live, LiveInterface, LogTo, NflogFile, PcapFiles, Vlan, XdpMode};

/// A host file that was read: the host, and what only the gateway looks at.
#[derive(Clone, Debug)]
pub struct HostFile {
    /// Devices, addresses, routes, rules, neighbors, settings. `setup.interfaces[n]` belongs to `live.interfaces[n]`.
    pub setup: Setup,
    /// The accounting objects.
    pub accounts: Accounts,
    /// The rest.
    pub live: Live,
}

impl HostFile {
    /// The host. It can be made: reading the file tried it.
    pub fn net(&self) -> Result<Net, SetupError> {
        self.setup.clone().build()
    }
}

/// A host file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFileError {
    /// The file.
    pub file: String,
    /// Line and column, both from 1, the column in characters; None when the file could not be read.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for HostFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for HostFileError {}

/// Reads a host file and makes its host.
pub fn read(path: &Path) -> Result<Net, HostFileError> {
    load(path)?.net().map_err(|error| HostFileError {
        file: path.display().to_string(),
        place: None,
        message: error.to_string(),
    })
}

/// Makes the host of a host file's text. `file` is the name for messages.
pub fn parse(file: &str, text: &str) -> Result<Net, HostFileError> {
    examine(file, text, Path::new("")).map(|(_, net)| net)
}

/// Reads a host file with everything that the gateway needs. It is refused if its host cannot be made.
pub fn load(path: &Path) -> Result<HostFile, HostFileError> {
    let text = text(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    examine(&path.display().to_string(), &text, directory).map(|(file, _)| file)
}

/// The same for the text of a host file. `file` is the name for messages.
pub fn load_text(file: &str, text: &str) -> Result<HostFile, HostFileError> {
    examine(file, text, Path::new("")).map(|(file, _)| file)
}

fn text(path: &Path) -> Result<String, HostFileError> {
    let file = path.display().to_string();
    std::fs::read_to_string(path).map_err(|error| HostFileError { file, place: None, message: error.to_string() })
}

fn examine(file: &str, text: &str, directory: &Path) -> Result<(HostFile, Net), HostFileError> {
    let in_file = |Fault { at, message }: Fault| {
        let place = Some(line_and_column(text, at.start));
        HostFileError { file: file.to_owned(), place, message }
    };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or(text.len()..text.len());
        in_file(Fault { at, message: error.message().to_owned() })
    })?;
    let document = Document::open(root.get_ref()).map_err(in_file)?;
    let setup = document.setup(directory).map_err(in_file)?;
    let accounts = accounts(&document).map_err(in_file)?;
    let live = live::read(&document, directory).map_err(in_file)?;
    let net = setup.clone().build().map_err(|error| in_file(document.locate(&error)))?;
    Ok((HostFile { setup, accounts, live }, net))
}

/// A file whose sections and keys are all known.
struct Document<'a> {
    settings: Vec<(String, &'a Spanned<DeValue<'a>>, Range<usize>)>,
    interfaces: Vec<Item<'a>>,
    routes: Vec<Item<'a>>,
    rules: Vec<Item<'a>>,
    neighbors: Vec<Item<'a>>,
    sockets: Vec<Item<'a>>,
    accounts: Vec<Item<'a>>,
    nflog: Vec<Item<'a>>,
    /// Sections that stand once and have known keys.
    singles: Vec<Item<'a>>,
}

impl<'a> Document<'a> {
    fn open(root: &'a DeTable<'a>) -> Result<Document<'a>, Fault> {
        for (key, value) in in_order(root) {
            let name = key.get_ref().as_ref();
            let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
                let known = SECTIONS.iter().map(|section| section.name);
                return fault(key.span(), unknown("section", name, "in a host file", known));
            };
            match (section.is_list, value.get_ref()) {
                (true, DeValue::Array(_)) | (false, DeValue::Table(_)) => {}
                (true, _) => return fault(key.span(), format!("{name} is a list: write [[{name}]]")),
                (false, _) => return fault(key.span(), format!("{name} is one section: write [{name}]")),
            }
        }
        let list = |name: &str| -> Result<Vec<Item<'a>>, Fault> {
            let values = root.get(name).and_then(|value| value.get_ref().as_array());
            let keys = SECTIONS.iter().find(|s| s.name == name).and_then(|s| s.keys).unwrap_or_default();
            values.into_iter().flat_map(|values| values.iter()).map(|value| Item::open(name, value, keys)).collect()
        };
        let mut settings = Vec::new();
        if let Some(table) = root.get("sysctl").and_then(|value| value.get_ref().as_table()) {
            flatten(table, "", &mut settings);
        }
        settings.sort_by_key(|(_, _, at)| at.start);
        let singles = SECTIONS.iter().filter(|section| !section.is_list).filter_map(|section| {
            let value = root.get(section.name)?;
            Some(Item::open(section.name, value, section.keys?))
        });
        Ok(Document {
            settings,
            singles: singles.collect::<Result<_, _>>()?,
            interfaces: list("interface")?,
            routes: list("route")?,
            rules: list("rule")?,
            neighbors: list("neighbor")?,
            sockets: list("socket")?,
            accounts: list("nfacct")?,
            nflog: list("nflog")?,
        })
    }

    /// A section that stands once.
    fn single(&self, name: &str) -> Option<&Item<'a>> {
        self.singles.iter().find(|item| item.name == name)
    }

    fn setup(&self, directory: &Path) -> Result<Setup, Fault> {
        Ok(Setup {
            sysctls: self.settings.iter().map(setting).collect::<Result<_, _>>()?,
            interfaces: self.interfaces.iter().map(interface).collect::<Result<_, _>>()?,
            routes: self.routes.iter().map(route).collect::<Result<_, _>>()?,
            rules: self.rules.iter().map(rule).collect::<Result<_, _>>()?,
            neighbors: self.neighbors.iter().map(neighbor).collect::<Result<_, _>>()?,
            sockets: self.sockets.iter().map(socket).collect::<Result<_, _>>()?,
            fingerprints: self
                .single("osf")
                .map_or(Ok(Fingerprints::default()), |item| fingerprints(item, directory))?,
        })
    }

    /// The place of what the engine refuses: the key that is to blame, else the whole item.
    fn locate(&self, error: &SetupError) -> Fault {
        let of = |items: &[Item<'_>], n: usize| {
            items.get(n).map(|item| {
                let mut keys = blamed(&error.problem).iter().filter_map(|key| item.get(key));
                let key = match error.problem {
                    Problem::HostBits(_, addr, _) => {
                        keys.find(|key| key.parsed::<Prefix>().is_ok_and(|p| p.addr == addr))
                    }
                    _ => keys.next(),
                };
                key.map_or(item.at.clone(), |key| key.value.span())
            })
        };
        let at = match error.at {
            At::Interface(n) => of(&self.interfaces, n),
            At::Address { interface, address } => self.interfaces.get(interface).and_then(|item| {
                let list = item.table.get("addresses")?.get_ref().as_array()?;
                list.get(address).map(|value| value.span())
            }),
            At::Route(n) => of(&self.routes, n),
            At::Rule(n) => of(&self.rules, n),
            At::Neighbor(n) => of(&self.neighbors, n),
            At::Socket(n) => of(&self.sockets, n),
            At::Sysctl(n) => self.settings.get(n).map(|(_, _, at)| at.clone()),
        };
        Fault { at: at.unwrap_or_default(), message: error.problem.to_string() }
    }
}

/// The keys that a problem may come from, the likeliest first.
fn blamed(problem: &Problem) -> &'static [&'static str] {
    match problem {
        Problem::BadName(_) | Problem::NameTwice(_) => &["name"],
        Problem::BadMac(_) => &["mac"],
        Problem::BadMtu(_) => &["mtu"],
        Problem::AddressTwice(..) | Problem::NoIpv6(_) => &["addresses"],
        Problem::UnknownDevice(..) | Problem::NoNeighborsThere(_) => &["dev", "nexthop"],
        Problem::HostBits(..) | Problem::BadPrefix(..) => &["to", "from"],
        Problem::RouteTwice(..) | Problem::NoWay => &["to"],
        Problem::WayNotAllowed => &["type"],
        Problem::Gateway(..) | Problem::OwnGateway(..) | Problem::GatewayNeedsDevice(_) => &["via", "nexthop"],
        Problem::BadAddress(..) => &["via", "address", "nexthop"],
        Problem::ForeignSource(..) => &["src"],
        Problem::BadTos(_) => &["tos"],
        Problem::BadScope => &["scope", "type"],
        Problem::BackwardGoto(_) => &["goto"],
        Problem::NeighborTwice(..) => &["address"],
        Problem::RuleTwice | Problem::Sysctl(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_engine::net::IfIndex;
    use hairpin_engine::net::IfName;
    use hairpin_engine::route::fib::TableId;
    use hairpin_engine::route::{RouteType, RuleAction};
    use hairpin_wire::{Addr, Family, Mac};

    const HOST: &str = r#"
[sysctl]
"net.ipv4.ip_forward" = 1
"net.ipv4.conf.eth1.rp_filter" = true

[[interface]]
name = "eth0"
mac = "02:00:00:00:01:01"
mtu = 1400
addresses = ["203.0.113.1/24", "203.0.113.2/24", "2001:db8::1/64"]
group = 7

[[interface]]
name = "eth1"
mac = "02:00:00:00:02:01"
addresses = ["192.168.1.1/24"]

[[interface]]
name = "tun0"
kind = "bare"
up = false
addresses = ["10.9.0.1/30"]

[[interface]]
name = "lo"
addresses = ["198.51.100.1/32"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "eth0"

[[route]]
type = "unreachable"
to = "10.0.0.0/8"
table = 100
metric = 5

[[route]]
to = "2001:db8:5::/48"
via = "2001:db8::fe"
mtu = 1280
hoplimit = 9

[[route]]
to = "10.77.0.0/16"
nexthop = [{ via = "203.0.113.9", weight = 3 }, { dev = "eth1", realm = "2/5" }]
src = "192.168.1.1"

[[rule]]
fwmark = "0x1/0xff"
table = 100

[[rule]]
not = true
from = "2001:db8::/32"
type = "prohibit"
priority = 10

[[neighbor]]
address = "203.0.113.254"
mac = "02:aa:00:01:71:fe"
dev = "eth0"
"#;

    #[test]
    fn reads_everything() {
        let net = parse("host.toml", HOST).unwrap();
        let eth0 = net.interface_by_name(IfName::new("eth0").unwrap()).unwrap();
        assert_eq!((eth0.index, eth0.mtu, eth0.group, eth0.addresses.len()), (IfIndex(2), 1400, 7, 3));
        assert!(eth0.addresses[1].secondary);
        assert_eq!(net.interface(IfIndex(1)).unwrap().addresses.len(), 3);
        assert!(!net.interface(IfIndex(4)).unwrap().up);
        assert!(net.sysctl.forwarding(Family::V4, IfIndex(3)));
        assert_eq!((net.sysctl.rp_filter(IfIndex(3)), net.sysctl.rp_filter(IfIndex(2))), (1, 0));
        let wide = net.routes(Family::V4, TableId(100));
        assert_eq!((wide.len(), wide[0].kind, wide[0].metric), (1, RouteType::Unreachable, 5));
        let six = net.routes(Family::V6, TableId::MAIN).iter().find(|r| r.prefix_len == 48).unwrap();
        assert_eq!((six.mtu, six.hop_limit, six.metric), (1280, 9, 1024));
        let multi = net.routes(Family::V4, TableId::MAIN).iter().find(|r| r.prefix_len == 16).unwrap();
        assert_eq!(multi.hops.iter().map(|h| (h.weight, h.realm)).collect::<Vec<_>>(), [(3, 0), (1, 2 << 16 | 5)]);
        let rules: Vec<_> = net.rules(Family::V4).map(|r| (r.priority, r.mark)).collect();
        assert_eq!(rules, [(0, None), (32765, Some((1, 255))), (32766, None), (32767, None)]);
        let six = net.rules(Family::V6).nth(1).unwrap();
        assert_eq!((six.priority, six.not, six.action), (10, true, RuleAction::Prohibit));
        let router = Addr::v4(0xcb00_71fe);
        assert_eq!(net.neighbor(Family::V4, IfIndex(2), router), Some(Mac([2, 0xaa, 0, 1, 0x71, 0xfe])));
    }

    #[test]
    fn settings_are_made_in_the_order_of_the_file() {
        let interface = "[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:00:01\"\n";
        let forwards = |settings: &str| {
            let net = parse("f", &format!("{interface}[sysctl]\n{settings}")).unwrap();
            net.sysctl.forwarding(Family::V4, IfIndex(2))
        };
        assert!(!forwards("\"net.ipv4.ip_forward\" = 1\n\"net.ipv4.conf.eth0.forwarding\" = 0\n"));
        assert!(forwards("\"net.ipv4.conf.eth0.forwarding\" = 0\n\"net.ipv4.ip_forward\" = 1\n"));
        // Without quotes, dots make tables; with slashes as in /proc.
        assert!(forwards("net.ipv4.ip_forward = 1\n"));
        assert!(forwards("\"net/ipv4/ip_forward\" = \"1\"\n"));
    }

    /// Every refusal: what is added to a good file, where the mistake is found (line of the added text, column), and words of the
    /// message.
    const REFUSED: &[(&str, (usize, usize), &str)] = &[
        (
            "[[interfaces]]\nname = \"x\"",
            (1, 3),
            "unknown section \"interfaces\" in a host file; did you mean interface?",
        ),
        ("[nonsense]", (1, 2), "known are sysctl, interface, route"),
        (
            "[[neighbor]]\naddres = \"10.0.0.2\"",
            (2, 1),
            "unknown key \"addres\" in [[neighbor]]; did you mean address?",
        ),
        ("[[route]]\ncolour = 1", (2, 1), "unknown key \"colour\" in [[route]]: known are to, via"),
        ("[[route]]\nto = ", (2, 6), "string"),
        ("[[neighbor]]\naddress = \"10.0.0.2\"\ndev = \"eth0\"", (1, 1), "this [[neighbor]] has no mac"),
        ("[[neighbor]]\naddress = \"10.0.0\"\nmac = \"2:0:0:0:0:1\"\ndev = \"eth0\"", (2, 11), "is not an address"),
        (
            "[[neighbor]]\naddress = \"10.0.0.9\"\nmac = \"2:0:0\"\ndev = \"eth0\"",
            (3, 7),
            "expected an Ethernet address",
        ),
        (
            "[[neighbor]]\naddress = \"10.0.0.9\"\nmac = \"2:0:0:0:0:1\"\ndev = \"eth9\"",
            (4, 7),
            "no interface eth9; did you mean eth0?",
        ),
        ("[[neighbor]]\naddress = \"10.0.0.8\"\nmac = \"2:0:0:0:0:1\"\ndev = \"eth0\"", (2, 11), "is there already"),
        ("[[neighbor]]\naddress = \"10.0.0.9\"\nmac = \"2:0:0:0:0:1\"\ndev = \"lo\"", (4, 7), "has no link addresses"),
        ("[[interface]]\nname = \"eth0\"\nmac = \"02:0:0:0:0:1\"", (2, 8), "interface eth0 is there twice"),
        ("[[interface]]\nname = \"a-name-of-16-byt\"\nmac = \"02:0:0:0:0:1\"", (2, 8), "cannot be an interface name"),
        ("[[interface]]\nname = 7\nmac = \"02:0:0:0:0:1\"", (2, 8), "expected a word in quotes, not a number"),
        ("[[interface]]\nname = \"x\"", (1, 1), "interface x has no mac"),
        ("[[interface]]\nname = \"x\"\nmac = \"01:0:0:0:0:1\"", (3, 7), "the first byte must be even"),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\nmtu = 67",
            (4, 7),
            "mtu: expected a number from 68 to 65535",
        ),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\nup = \"yes\"",
            (4, 6),
            "expected true or false, not a word",
        ),
        ("[[interface]]\nname = \"x\"\nkind = \"etherned\"", (3, 8), "did you mean ethernet?"),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = \"10.1.0.1/24\"",
            (4, 13),
            "addresses is a list",
        ),
        ("[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = [\"10.1.0.1/33\"]", (4, 14), "0 to 32"),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = [\"10.1.0/24\"]",
            (4, 14),
            "is not an address",
        ),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = [\"10.1.0.1/24\", \"10.1.0.1/24\"]",
            (4, 29),
            "10.1.0.1 is there twice, first on x",
        ),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = [\"10.0.0.1/24\"]",
            (4, 14),
            "10.0.0.1 is there twice, first on eth0",
        ),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\naddresses = [\"224.0.0.1/24\"]",
            (4, 14),
            "cannot be an address of a host",
        ),
        (
            "[[interface]]\nname = \"x\"\nmac = \"02:0:0:0:0:1\"\nmtu = 1000\naddresses = [\"fd00::1/64\"]",
            (5, 14),
            "IPv6 is off on x",
        ),
        ("[[route]]\nto = \"default\"\nvia = \"10.9.0.1\"", (3, 7), "10.9.0.1 is on no subnet of this host"),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.9.0.1\"\ndev = \"eth0\"",
            (3, 7),
            "give eth0 an address in its subnet",
        ),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\ndev = \"etho\"",
            (4, 7),
            "no interface etho; did you mean eth0?",
        ),
        ("[[route]]\nto = \"default\"", (2, 6), "the route leads nowhere: give it via or dev"),
        ("[[route]]\nto = \"10.1.2.3/24\"\ndev = \"eth0\"", (2, 6), "did you mean 10.1.2.0/24, or 10.1.2.3/32?"),
        ("[[route]]\nto = \"10.0.0.0/24\"\ndev = \"eth0\"", (2, 6), "File exists"),
        (
            "[[route]]\nto = \"10.5.0.0/16\"\nvia = \"2001:db8::1\"",
            (3, 7),
            "this is IPv6, but the others here are IPv4",
        ),
        ("[[route]]\nto = \"default\"\nvia = \"fe80::1\"", (3, 7), "say which with dev"),
        ("[[route]]\nto = \"default\"\nvia = \"2001:db8::1\"", (3, 7), "this host's own address"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nsrc = \"10.0.0.77\"", (4, 7), "Invalid prefsrc address"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\ntable = \"mian\"", (4, 9), "is not a table"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nscope = \"link\"", (4, 9), "leave it out"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nscope = \"lnik\"", (4, 9), "is not a scope"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\ntos = 1", (4, 7), "two lowest bits must be 0"),
        ("[run]\ncpu = \"first\"", (2, 7), "\"first\" is neither the number of a processor nor"),
        ("[run]\ncpu = -1", (2, 7), "\"-1\" is neither the number of a processor nor"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nmetric = -1", (4, 10), "expected a number from 0"),
        ("[[route]]\nto = \"default\"\ntype = \"blackhole\"\nvia = \"10.0.0.2\"", (3, 8), "neither via nor dev"),
        ("[[route]]\nto = \"default\"\ntype = \"blackhol\"", (3, 8), "did you mean blackhole?"),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nrealm = \"x\"", (4, 9), "is not a realm"),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"\nnexthop = [{ dev = \"eth0\" }]",
            (3, 7),
            "via belongs into each of them",
        ),
        ("[[route]]\nto = \"default\"\nnexthop = \"eth0\"", (3, 11), "nexthop is a list"),
        ("[[route]]\nto = \"default\"\nnexthop = [{ vai = \"10.0.0.2\" }]", (3, 14), "did you mean via?"),
        ("[[rule]]\nfwmark = 1", (1, 1), "the rule does nothing"),
        ("[[rule]]\nfwmark = \"1/x\"\ntable = 5", (2, 10), "is not a mark"),
        ("[[rule]]\nfrom = \"10.0.0.1/24\"\nto = \"10.0.0.0/8\"\ntable = 5", (2, 8), "is not a network"),
        ("[[rule]]\ntable = 5\ntype = \"prohibit\"", (2, 9), "a rule does one thing"),
        ("[[rule]]\ngoto = 5\npriority = 9", (2, 8), "a goto must lead to a later rule"),
        ("[[rule]]\ntable = 0", (2, 9), "is not a table"),
        ("[[rule]]\ntable = 5\ndport = \"9-1\"", (3, 9), "is not a port"),
        ("[[rule]]\ntable = 5\nuidrange = \"a\"", (3, 12), "is not a user id"),
        ("[[rule]]\ntable = 5\nipproto = \"tpc\"", (3, 11), "is not a protocol"),
        ("[[rule]]\ntable = 5\nfamily = 4", (3, 10), "expected a word in quotes"),
        ("[[rule]]\ntable = 5\ntos = 1", (3, 7), "two lowest bits must be 0"),
        ("[[rule]]\ntable = 5\n[[rule]]\ntable = 5", (3, 1), "the same rule is there already"),
        ("[sysctl]\n\"net.ipv4.ip_foward\" = 1", (2, 1), "did you mean net.ipv4.ip_forward?"),
        ("[sysctl]\n\"net.ipv4.conf.eth9.rp_filter\" = 1", (2, 1), "no interface eth9; did you mean eth0?"),
        ("[sysctl]\n\"net.ipv4.icmp_ratelimit\" = \"x\"", (2, 1), "expected a number"),
        ("[sysctl]\n\"net.ipv4.ip_default_ttl\" = 256", (2, 1), "1 to 255"),
        ("[sysctl]\n\"net.ipv4.ip_forward\" = 1.5", (2, 1), "is a number, a word or true or false"),
        ("[sysctl]\n\"net.netfilter.nf_conntrack_count\" = 1", (2, 1), "can only be read"),
        ("[[sysctl]]\n", (1, 3), "write [sysctl]"),
        ("[rule]\ntable = 5", (1, 2), "write [[rule]]"),
    ];

    #[test]
    fn refuses_every_mistake_with_its_place() {
        let good = concat!(
            "[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:01:01\"\n",
            "addresses = [\"10.0.0.1/24\", \"2001:db8::1/64\"]\n",
            "[[neighbor]]\naddress = \"10.0.0.8\"\nmac = \"2:0:0:0:0:8\"\ndev = \"eth0\"\n",
        );
        parse("f", good).unwrap();
        let before = good.lines().count();
        for (added, (line, column), words) in REFUSED {
            let error = parse("host.toml", &format!("{good}{added}\n")).expect_err(added);
            assert!(error.message.contains(words), "{added}\n{error}");
            assert_eq!(error.place, Some((before + line, *column)), "{added}\n{error}");
            assert!(error.to_string().starts_with("host.toml:"), "{error}");
        }
    }

    #[test]
    fn says_where_in_a_line_of_other_letters() {
        assert_eq!(line_and_column("a\nüß x", 7), (2, 4));
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("a", 99), (1, 2));
    }

    #[test]
    fn a_file_that_is_not_there_has_no_place() {
        let error = read(Path::new("/nowhere/host.toml")).unwrap_err();
        assert_eq!(error.place, None);
        assert!(error.to_string().starts_with("/nowhere/host.toml: "), "{error}");
    }
}
