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
//! [host]                                  # this machine's own processes send and receive by a TUN device, hairpin0
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

use hairpin_engine::account::{Account, AccountError, Accounts, Quota};
use hairpin_engine::net::{LinkKind, Net};
use hairpin_engine::osf::Fingerprints;
use hairpin_engine::packet::Owner;
use hairpin_engine::route::fib::TableId;
use hairpin_engine::route::{PolicyRule, RouteType, RuleAction};
use hairpin_engine::setup::text::{self, BadText, Prefix};
use hairpin_engine::setup::{
    At, NewAddress, NewHop, NewInterface, NewNeighbor, NewRoute, NewRule, NewSocket, Problem, Setup, SetupError,
};
use hairpin_engine::socket::Socket;
use hairpin_engine::words::nearest;
use hairpin_wire::{Addr, Family, Mac, proto};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

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

/// The sections and what may stand in them. The keys are checked by this list alone.
const SECTIONS: &[Section] = &[
    Section { name: "sysctl", is_list: false, keys: None },
    Section {
        name: "interface",
        is_list: true,
        keys: Some(&[
            "name",
            "mac",
            "mtu",
            "addresses",
            "up",
            "group",
            "kind",
            "datapath",
            "netns",
            "queues",
            "threads",
            "mode",
            "follow",
            "capture",
            "fault",
            "read",
            "write",
            "pace",
            "parent",
            "vlan",
        ]),
    },
    Section {
        name: "route",
        is_list: true,
        keys: Some(&[
            "to", "via", "dev", "src", "table", "metric", "type", "scope", "mtu", "tos", "advmss", "hoplimit", "realm",
            "onlink", "nexthop",
        ]),
    },
    Section {
        name: "rule",
        is_list: true,
        keys: Some(&[
            "family",
            "priority",
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
            "table",
            "type",
            "goto",
            "suppress_prefixlength",
            "suppress_ifgroup",
            "realm",
        ]),
    },
    Section { name: "neighbor", is_list: true, keys: Some(&["address", "mac", "dev"]) },
    Section {
        name: "socket",
        is_list: true,
        keys: Some(&[
            "proto",
            "local",
            "remote",
            "dev",
            "transparent",
            "mark",
            "uid",
            "gid",
            "pid",
            "command",
            "cgroup",
            "classid",
        ]),
    },
    Section { name: "nfacct", is_list: true, keys: Some(&["name", "quota_packets", "quota_bytes"]) },
    Section { name: "osf", is_list: false, keys: Some(&["file"]) },
    Section { name: "rules", is_list: false, keys: Some(&["v4", "v6"]) },
    Section { name: "control", is_list: false, keys: Some(&["socket", "group"]) },
    Section { name: "state", is_list: false, keys: Some(&["file", "interval"]) },
    Section { name: "metrics", is_list: false, keys: Some(&["listen"]) },
    Section { name: "log", is_list: false, keys: Some(&["to", "rate"]) },
    Section { name: "nflog", is_list: true, keys: Some(&["group", "file", "max_bytes"]) },
    Section { name: "host", is_list: false, keys: Some(&["device"]) },
    Section { name: "run", is_list: false, keys: Some(&["user", "cpu"]) },
];

const NEXTHOP_KEYS: &[&str] = &["via", "dev", "weight", "onlink", "realm"];

struct Section {
    name: &'static str,
    /// Written `[[name]]`, any number of times.
    is_list: bool,
    /// None where any key may stand.
    keys: Option<&'static [&'static str]>,
}

/// A mistake and the bytes of the file it is in.
struct Fault {
    at: Range<usize>,
    message: String,
}

fn fault<T>(at: Range<usize>, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
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

fn setting((name, value, at): &(String, &Spanned<DeValue<'_>>, Range<usize>)) -> Result<(String, String), Fault> {
    let text = match value.get_ref() {
        DeValue::Boolean(on) => Some(u8::from(*on).to_string()),
        _ => text_of(value),
    };
    match text {
        Some(text) => Ok((name.clone(), text)),
        None => fault(at.clone(), format!("{name} is a number, a word or true or false")),
    }
}

fn interface(item: &Item<'_>) -> Result<NewInterface, Fault> {
    let name = item.need("name")?.word()?;
    let mut new = NewInterface::ethernet(&name, Mac::ZERO);
    if let Some(kind) = item.get("kind") {
        new.kind = kind.one_of(&[("ethernet", LinkKind::Ethernet), ("bare", LinkKind::Bare)])?;
    } else if live::is_tun(item) {
        new.kind = LinkKind::Bare;
    }
    match item.get("mac") {
        Some(mac) => new.mac = mac.parse_as(|text| text.parse::<Mac>().map_err(|e| format!("{text:?}: {e}")))?,
        None if name == "lo" || new.kind == LinkKind::Bare => {}
        // The device has one. Where there is no device (replay) any will do, as long as it is always the same.
        None if live::has_device(item) => new.mac = live::stand_in_mac(&name),
        None => {
            let advice =
                "give it one such as mac = \"02:00:00:00:00:01\", or kind = \"bare\" for a link without addresses";
            return fault(item.at.clone(), format!("interface {name} has no mac: {advice}"));
        }
    }
    if let Some(mtu) = item.get("mtu") {
        new.mtu = mtu.number(68..=65_535)?;
    }
    if let Some(up) = item.get("up") {
        new.up = up.flag()?;
    }
    if let Some(group) = item.get("group") {
        new.group = group.number(0..=i64::from(u32::MAX))?;
    }
    if let Some(addresses) = item.get("addresses") {
        let Some(list) = addresses.value.get_ref().as_array() else {
            return fault(addresses.value.span(), "addresses is a list: write addresses = [\"192.0.2.1/24\"]");
        };
        for value in list.iter() {
            new.addresses.push(Value { key: "addresses", value }.parsed::<NewAddress>()?);
        }
    }
    Ok(new)
}

fn route(item: &Item<'_>) -> Result<NewRoute, Fault> {
    let mut family = None;
    let to = item.need("to")?.destination(&mut family)?.unwrap_or((Addr::UNSPECIFIED, 0));
    let mut new = NewRoute::to(Family::V4, to.0, to.1);
    if let Some(kind) = item.get("type") {
        new.kind = kind.one_of(&ROUTE_TYPES)?;
    }
    if let Some(list) = item.get("nexthop") {
        if let Some(key) = ["via", "dev", "onlink", "realm"].iter().find_map(|key| item.get(key)) {
            return fault(key.value.span(), format!("with nexthop, {} belongs into each of them", key.key));
        }
        let Some(hops) = list.value.get_ref().as_array() else {
            return fault(
                list.value.span(),
                "nexthop is a list: write nexthop = [{ via = \"192.0.2.1\", weight = 1 }]",
            );
        };
        for hop in hops.iter() {
            new.hops.push(next_hop(&Item::open("nexthop", hop, NEXTHOP_KEYS)?, &mut family)?);
        }
    } else {
        let hop = next_hop(item, &mut family)?;
        new.hops.extend((hop != NewHop::default()).then_some(hop));
    }
    if let Some(src) = item.get("src") {
        new.src = Some(src.addr(&mut family)?);
    }
    if let Some(table) = item.get("table") {
        new.table = Some(table.table()?);
    }
    if let Some(metric) = item.get("metric") {
        new.metric = Some(metric.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(scope) = item.get("scope") {
        new.scope = Some(scope.parse_as(|text| text::scope(text).map_err(|e| e.to_string()))?);
    }
    if let Some(tos) = item.get("tos") {
        new.tos = tos.number(0..=255)?;
    }
    if let Some(mtu) = item.get("mtu") {
        new.mtu = mtu.number(68..=65_535)?;
    }
    if let Some(advmss) = item.get("advmss") {
        new.advmss = advmss.number(1..=65_535)?;
    }
    if let Some(hop_limit) = item.get("hoplimit") {
        new.hop_limit = hop_limit.number(1..=255)?;
    }
    new.family = family.unwrap_or(Family::V4);
    Ok(new)
}

fn next_hop(item: &Item<'_>, family: &mut Option<Family>) -> Result<NewHop, Fault> {
    let mut hop = NewHop::default();
    if let Some(via) = item.get("via") {
        hop.via = Some(via.addr(family)?);
    }
    if let Some(dev) = item.get("dev") {
        hop.dev = Some(dev.word()?);
    }
    if let Some(onlink) = item.get("onlink") {
        hop.onlink = onlink.flag()?;
    }
    if let Some(weight) = item.get("weight") {
        hop.weight = weight.number(1..=256)?;
    }
    if let Some(realm) = item.get("realm") {
        hop.realm = realm.parse_as(|text| text::realm(text).map_err(|e| e.to_string()))?;
    }
    Ok(hop)
}

fn rule(item: &Item<'_>) -> Result<NewRule, Fault> {
    let mut family = None;
    if let Some(given) = item.get("family") {
        family = Some(given.one_of(&[("ipv4", Family::V4), ("ipv6", Family::V6)])?);
    }
    let mut new = PolicyRule::all(None, action(item)?);
    if let Some(from) = item.get("from") {
        new.from = from.destination(&mut family)?;
    }
    if let Some(to) = item.get("to") {
        new.to = to.destination(&mut family)?;
    }
    if let Some(priority) = item.get("priority") {
        new.priority = Some(priority.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(not) = item.get("not") {
        new.not = not.flag()?;
    }
    new.iif = item.get("iif").map(|dev| dev.word()).transpose()?;
    new.oif = item.get("oif").map(|dev| dev.word()).transpose()?;
    if let Some(mark) = item.get("fwmark") {
        new.mark = Some(mark.parse_as(|text| text::mark(text).map_err(|e| e.to_string()))?);
    }
    if let Some(tos) = item.get("tos") {
        new.tos = tos.number(0..=255)?;
    }
    if let Some(protocol) = item.get("ipproto") {
        new.protocol = protocol.parse_as(|text| text::protocol(text).map_err(|e| e.to_string()))?;
    }
    if let Some(ports) = item.get("sport") {
        new.sport = Some(ports.parse_as(|text| text::range(text, "port").map_err(|e| e.to_string()))?);
    }
    if let Some(ports) = item.get("dport") {
        new.dport = Some(ports.parse_as(|text| text::range(text, "port").map_err(|e| e.to_string()))?);
    }
    if let Some(users) = item.get("uidrange") {
        new.uid = Some(users.parse_as(|text| text::range(text, "user id").map_err(|e| e.to_string()))?);
    }
    if let Some(len) = item.get("suppress_prefixlength") {
        new.suppress_prefixlength = Some(len.number(0..=128)?);
    }
    if let Some(group) = item.get("suppress_ifgroup") {
        new.suppress_group = Some(group.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(realm) = item.get("realm") {
        new.realm = realm.parse_as(|text| text::realm(text).map_err(|e| e.to_string()))?;
    }
    Ok(NewRule { family: family.unwrap_or(Family::V4), rule: new })
}

/// What a rule does: exactly one of `table`, `goto` and a `type` that needs neither.
fn action(item: &Item<'_>) -> Result<RuleAction, Fault> {
    let by_type = match item.get("type") {
        Some(kind) => kind.one_of(&[
            ("lookup", None),
            ("unicast", None),
            ("goto", None),
            ("nop", Some(RuleAction::Nop)),
            ("blackhole", Some(RuleAction::Blackhole)),
            ("unreachable", Some(RuleAction::Unreachable)),
            ("prohibit", Some(RuleAction::Prohibit)),
        ])?,
        None => None,
    };
    match (by_type, item.get("table"), item.get("goto")) {
        (Some(action), None, None) => Ok(action),
        (None, Some(table), None) => Ok(RuleAction::Table(table.table()?)),
        (None, None, Some(target)) => Ok(RuleAction::Goto(target.number(0..=i64::from(u32::MAX))?)),
        (None, None, None) => fault(
            item.at.clone(),
            "the rule does nothing: give it table, goto, or type = \"blackhole\", \"unreachable\", \"prohibit\" or \"nop\"",
        ),
        (_, Some(other), _) | (_, None, Some(other)) => {
            fault(other.value.span(), format!("a rule does one thing: leave {} out, or the other", other.key))
        }
    }
}

fn neighbor(item: &Item<'_>) -> Result<NewNeighbor, Fault> {
    let mut family = None;
    let addr = item.need("address")?.addr(&mut family)?;
    let mac = item.need("mac")?.parse_as(|text| text.parse::<Mac>().map_err(|e| format!("{text:?}: {e}")))?;
    let dev = item.need("dev")?.word()?;
    Ok(NewNeighbor { family: family.unwrap_or(Family::V4), addr, mac, dev })
}

fn socket(item: &Item<'_>) -> Result<NewSocket, Fault> {
    const PROTOCOLS: [(&str, u8); 3] = [("tcp", proto::TCP), ("udp", proto::UDP), ("udplite", proto::UDPLITE)];
    let mut family = None;
    let local = item.need("local")?.end(&mut family)?;
    let remote = item.get("remote").map(|remote| remote.end(&mut family)).transpose()?;
    let number = |key: &str| match item.get(key) {
        Some(value) => value.number(0..=i64::from(u32::MAX)),
        None => Ok(0),
    };
    let known = ["uid", "gid", "pid", "command", "cgroup", "classid"].iter().any(|key| item.get(key).is_some());
    let owner = Owner {
        uid: number("uid")?,
        gid: number("gid")?,
        pid: item.get("pid").map(|_| number("pid")).transpose()?,
        command: item.get("command").map(|command| command.word()).transpose()?,
        cgroup: item.get("cgroup").map_or(Ok(String::new()), |cgroup| cgroup.word())?,
        class: number("classid")?,
        ..Owner::default()
    };
    let socket = Socket {
        protocol: item.need("proto")?.one_of(&PROTOCOLS)?,
        family: family.unwrap_or(Family::V4),
        local,
        remote,
        device: None,
        transparent: item.get("transparent").map_or(Ok(false), |flag| flag.flag())?,
        mark: number("mark")?,
        owner: known.then(|| Arc::new(owner)),
    };
    Ok(NewSocket { socket, dev: item.get("dev").map(|dev| dev.word()).transpose()? })
}

fn accounts(document: &Document<'_>) -> Result<Accounts, Fault> {
    let mut all = Accounts::default();
    for item in &document.accounts {
        let name = item.need("name")?;
        let limit = |value: Value<'_, '_>| value.number::<u64>(0..=i64::MAX);
        let quota = match (item.get("quota_packets"), item.get("quota_bytes")) {
            (None, None) => None,
            (Some(packets), None) => Some(Quota::Packets(limit(packets)?)),
            (None, Some(bytes)) => Some(Quota::Bytes(limit(bytes)?)),
            (Some(_), Some(bytes)) => return bytes.wrong("an object has one quota: of packets or of bytes"),
        };
        let word = name.word()?;
        match all.add(Account::new(&word, quota)) {
            Ok(()) => {}
            Err(AccountError::Busy) => return name.wrong(format!("{word} is there already")),
            Err(_) => return name.wrong(format!("{word:?} cannot be a name: use 1 to 31 bytes")),
        }
    }
    Ok(all)
}

fn fingerprints(item: &Item<'_>, directory: &Path) -> Result<Fingerprints, Fault> {
    let file = item.need("file")?;
    let path = directory.join(file.word()?);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return file.wrong(format!("{}: {error}", path.display())),
    };
    match Fingerprints::parse(&text) {
        Ok(all) => Ok(all),
        Err(error) => file.wrong(format!("{}: {error}", path.display())),
    }
}

const ROUTE_TYPES: [(&str, RouteType); 9] = [
    ("unicast", RouteType::Unicast),
    ("local", RouteType::Local),
    ("broadcast", RouteType::Broadcast),
    ("multicast", RouteType::Multicast),
    ("anycast", RouteType::Anycast),
    ("blackhole", RouteType::Blackhole),
    ("unreachable", RouteType::Unreachable),
    ("prohibit", RouteType::Prohibit),
    ("throw", RouteType::Throw),
];

/// One entry of a list section.
struct Item<'a> {
    name: String,
    table: &'a DeTable<'a>,
    at: Range<usize>,
}

impl<'a> Item<'a> {
    fn open(name: &str, value: &'a Spanned<DeValue<'a>>, keys: &[&str]) -> Result<Item<'a>, Fault> {
        let Some(table) = value.get_ref().as_table() else {
            return fault(value.span(), format!("a {name} has keys: {}", keys.join(", ")));
        };
        for (key, _) in in_order(table) {
            if !keys.contains(&key.get_ref().as_ref()) {
                let place = format!("in [[{name}]]");
                return fault(key.span(), unknown("key", key.get_ref(), &place, keys.iter().copied()));
            }
        }
        Ok(Item { name: name.to_owned(), table, at: value.span() })
    }

    fn get<'k>(&self, key: &'k str) -> Option<Value<'a, 'k>> {
        self.table.get(key).map(|value| Value { key, value })
    }

    fn need<'k>(&self, key: &'k str) -> Result<Value<'a, 'k>, Fault> {
        match self.get(key) {
            Some(value) => Ok(value),
            None => fault(self.at.clone(), format!("this [[{}]] has no {key}", self.name)),
        }
    }
}

/// A value and the key it belongs to.
struct Value<'a, 'k> {
    key: &'k str,
    value: &'a Spanned<DeValue<'a>>,
}

impl Value<'_, '_> {
    fn wrong<T>(&self, message: impl fmt::Display) -> Result<T, Fault> {
        fault(self.value.span(), format!("{}: {message}", self.key))
    }

    /// A word in quotes.
    fn word(&self) -> Result<String, Fault> {
        match self.value.get_ref().as_str() {
            Some(word) => Ok(word.to_owned()),
            None => self.wrong(format!("expected a word in quotes, not {}", kind_of(self.value))),
        }
    }

    fn flag(&self) -> Result<bool, Fault> {
        match self.value.get_ref().as_bool() {
            Some(flag) => Ok(flag),
            None => self.wrong(format!("expected true or false, not {}", kind_of(self.value))),
        }
    }

    /// A number, bare or in quotes.
    fn number<T: TryFrom<i64>>(&self, range: std::ops::RangeInclusive<i64>) -> Result<T, Fault> {
        let number = text_of(self.value).and_then(|text| text::number::<i64>(&text));
        match number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(number),
            None => self.wrong(format!("expected a number from {} to {}", range.start(), range.end())),
        }
    }

    /// A number or a word, read by `read`.
    fn parse_as<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Fault> {
        match text_of(self.value) {
            Some(text) => read(&text).or_else(|message| self.wrong(message)),
            None => self.wrong(format!("expected a number or a word in quotes, not {}", kind_of(self.value))),
        }
    }

    fn parsed<T: FromStr<Err = BadText>>(&self) -> Result<T, Fault> {
        self.word()?.parse().or_else(|error: BadText| self.wrong(error))
    }

    fn table(&self) -> Result<TableId, Fault> {
        self.parse_as(|text| text::table(text).map_err(|e| e.to_string()))
    }

    fn one_of<T: Copy>(&self, known: &[(&str, T)]) -> Result<T, Fault> {
        let word = self.word()?;
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(*value),
            None => self.wrong(unknown("value", &word, "here", known.iter().map(|(name, _)| *name))),
        }
    }

    /// An address of the family known so far.
    fn addr(&self, family: &mut Option<Family>) -> Result<Addr, Fault> {
        let word = self.word()?;
        let Ok(ip) = word.parse::<IpAddr>() else {
            return self.wrong(format!("{word:?} is not an address such as 192.0.2.1 or 2001:db8::1"));
        };
        let (own, addr) = Addr::from_ip(ip);
        self.agree(family, own)?;
        Ok(addr)
    }

    /// Address and port of the family known so far.
    fn end(&self, family: &mut Option<Family>) -> Result<(Addr, u16), Fault> {
        let word = self.word()?;
        let Ok(end) = word.parse::<SocketAddr>() else {
            return self
                .wrong(format!("{word:?} is not an address and a port such as 192.0.2.1:53 or [2001:db8::1]:53"));
        };
        let (own, addr) = Addr::from_ip(end.ip());
        self.agree(family, own)?;
        Ok((addr, end.port()))
    }

    /// A network of the family known so far; None for the default route, or for all.
    fn destination(&self, family: &mut Option<Family>) -> Result<Option<(Addr, u8)>, Fault> {
        if matches!(self.word()?.as_str(), "default" | "all" | "any") {
            return Ok(None);
        }
        let prefix: Prefix = self.parsed()?;
        self.agree(family, prefix.family)?;
        Ok(Some((prefix.addr, prefix.len)))
    }

    fn agree(&self, family: &mut Option<Family>, own: Family) -> Result<(), Fault> {
        match *family.get_or_insert(own) {
            known if known == own => Ok(()),
            known => self.wrong(format!("this is {own}, but the others here are {known}")),
        }
    }
}

/// The text of a number or a word.
fn text_of(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        _ => None,
    }
}

fn kind_of(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a word",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The entries of a table in the order of the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The settings of `[sysctl]`: a name in quotes is one key, without quotes its dots make tables in tables.
fn flatten<'a>(
    table: &'a DeTable<'a>,
    before: &str,
    settings: &mut Vec<(String, &'a Spanned<DeValue<'a>>, Range<usize>)>,
) {
    for (key, value) in in_order(table) {
        let name = format!("{before}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(inner, &format!("{name}."), settings),
            _ => settings.push((name, value, key.span())),
        }
    }
}

fn unknown<'a>(what: &str, word: &str, place: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("unknown {what} {word:?} {place}; did you mean {near}?"),
        None => format!("unknown {what} {word:?} {place}: known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_engine::net::IfIndex;
    use hairpin_engine::net::IfName;

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
