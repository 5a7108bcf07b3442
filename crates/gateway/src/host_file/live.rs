//! What only the gateway looks at in a host file.

use super::{Document, Fault, Item, fault};
use crate::names::{self, User};
use hairpin_datapath::fault::Faults;
use hairpin_datapath::pcap::Pace;
use hairpin_datapath::processor::Processor;
use hairpin_wire::Mac;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How a device is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatapathKind {
    /// The device is not opened: it is there for rules and routes only.
    #[default]
    None,
    /// What suits the device best.
    Auto,
    /// A packet socket on a device that exists.
    Packet,
    /// AF_XDP on a device that exists.
    Xdp,
    /// A TAP device that the gateway makes.
    Tap,
    /// A TUN device that the gateway makes.
    Tun,
    /// A capture that is played, and one that is written.
    Pcap,
}

/// The files of a device that is a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcapFiles {
    /// What arrives.
    pub read: Option<PathBuf>,
    /// Where what leaves is written.
    pub write: Option<PathBuf>,
    /// When it arrives.
    pub pace: Pace,
}

/// How AF_XDP is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else in the stack.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

/// A device that is a tag on another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The device that carries it.
    pub parent: String,
    /// The tag, 1 to 4094.
    pub id: u16,
}

/// What the gateway does with a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveInterface {
    /// How it is reached.
    pub datapath: DatapathKind,
    /// Why, where the file left the choice and it was made.
    pub chosen: Option<String>,
    /// The network namespace that a TAP or TUN device is made in: a name as `ip netns` knows it, or a path.
    pub netns: Option<String>,
    /// Queues to open; None: one, and by AF_XDP all that the device has.
    pub queues: Option<u16>,
    /// Whether each queue has a thread of its own; None: not settled yet.
    pub threads: Option<bool>,
    /// How AF_XDP is attached.
    pub xdp: XdpMode,
    /// Addresses and routes are those that the kernel's device has.
    pub follow: bool,
    /// It is a tag on another device.
    pub vlan: Option<Vlan>,
    /// The file names its link address.
    pub has_mac: bool,
    /// The file names its MTU.
    pub has_mtu: bool,
    /// Its frames are kept in this file.
    pub capture: Option<PathBuf>,
    /// What befalls its frames.
    pub faults: Option<Faults>,
    /// Its captures, if it is one.
    pub pcap: PcapFiles,
}

impl LiveInterface {
    /// Whether the device exists without the gateway, so that the kernel knows of it. What `auto` means must be settled.
    pub fn is_kernels(&self) -> bool {
        matches!(self.datapath, DatapathKind::Packet | DatapathKind::Xdp)
    }
}

/// Where LOG's lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    #[default]
    Stderr,
    /// Nowhere.
    Nowhere,
    /// systemd's journal.
    Journal,
    /// A file, appended to.
    File(PathBuf),
}

/// Where packets of an NFLOG group go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NflogFile {
    /// The group.
    pub group: u16,
    /// A capture of link type 239, written anew at start.
    pub file: PathBuf,
    /// When it is longer, it is set aside.
    pub max_bytes: u64,
}

/// What only the gateway looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// In the order of the file's interfaces.
    pub interfaces: Vec<LiveInterface>,
    /// Files of IPv4 and IPv6 rules. Without a section `[rules]`: the usual ones, if they exist.
    pub rules: [Option<PathBuf>; 2],
    /// Where rules are saved to: the files that are read, and the usual ones even if they do not exist yet.
    pub rule_files: [Option<PathBuf>; 2],
    /// The control socket.
    pub control: Option<PathBuf>,
    /// The group that may use the control socket.
    pub control_group: Option<String>,
    /// Where connections are kept over a restart.
    pub state: Option<PathBuf>,
    /// Seconds between two snapshots of the state.
    pub state_interval: Option<u32>,
    /// Where metrics can be asked for.
    pub metrics: Option<SocketAddr>,
    /// LOG's lines.
    pub log: LogTo,
    /// LOG's lines in a second.
    pub log_rate: u32,
    /// NFLOG's packets.
    pub nflog: Vec<NflogFile>,
    /// The TUN device by which this machine's own processes send and receive.
    pub host_device: Option<String>,
    /// Who the process becomes once the devices are open.
    pub user: Option<User>,
    /// Which processor the loop runs on.
    pub processor: Processor,
}

const DATAPATHS: [(&str, DatapathKind); 7] = [
    ("none", DatapathKind::None),
    ("auto", DatapathKind::Auto),
    ("packet", DatapathKind::Packet),
    ("xdp", DatapathKind::Xdp),
    ("tap", DatapathKind::Tap),
    ("tun", DatapathKind::Tun),
    ("pcap", DatapathKind::Pcap),
];

pub(super) fn is_tun(item: &Item<'_>) -> bool {
    item.get("datapath").is_some_and(|kind| kind.word().is_ok_and(|word| word == "tun"))
}

pub(super) fn has_device(item: &Item<'_>) -> bool {
    ["datapath", "parent"].iter().any(|key| item.get(key).is_some())
}

/// A link address made of the device's name, marked as one that nobody sold.
pub(super) fn stand_in_mac(name: &str) -> Mac {
    // FNV-1a: spread well enough, and the same on every machine.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    Mac([0x02, 0x68, a, b, c, d])
}

/// `directory` is the host file's: names of files count from there.
pub(super) fn read(document: &Document<'_>, directory: &Path) -> Result<Live, Fault> {
    let mut live = Live::default();
    for item in &document.interfaces {
        live.interfaces.push(interface(item, directory)?);
    }
    let path = |item: &Item<'_>, key: &str| -> Result<Option<PathBuf>, Fault> {
        item.get(key).map(|value| value.word().map(|word| directory.join(word))).transpose()
    };
    if let Some(rules) = document.single("rules") {
        live.rules = [path(rules, "v4")?, path(rules, "v6")?];
        live.rule_files = live.rules.clone();
    } else {
        // Where Debian keeps them; what is not there need not be.
        let usual = ["/etc/iptables/rules.v4", "/etc/iptables/rules.v6"].map(PathBuf::from);
        live.rules = usual.clone().map(|path| Some(path).filter(|path| path.exists()));
        live.rule_files = usual.map(Some);
    }
    if let Some(control) = document.single("control") {
        live.control = path(control, "socket")?;
        live.control_group = control.get("group").map(|group| group.word()).transpose()?;
    }
    if let Some(state) = document.single("state") {
        live.state = path(state, "file")?;
        live.state_interval = state.get("interval").map(|seconds| seconds.number(1..=86_400)).transpose()?;
    }
    if let Some(listen) = document.single("metrics").and_then(|metrics| metrics.get("listen")) {
        let addr = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:9464"));
        live.metrics = Some(listen.parse_as(addr)?);
    }
    if let Some(to) = document.single("log").and_then(|log| log.get("to")) {
        live.log = match to.word()?.as_str() {
            "stderr" => LogTo::Stderr,
            "none" => LogTo::Nowhere,
            "journal" => LogTo::Journal,
            file => LogTo::File(directory.join(file)),
        };
    }
    let rate = document.single("log").and_then(|log| log.get("rate"));
    live.log_rate = rate.map_or(Ok(crate::logs::RATE), |rate| rate.number(1..=1_000_000))?;
    for item in &document.nflog {
        let group = item.need("group")?;
        let number: u16 = group.number(0..=65_535)?;
        if live.nflog.iter().any(|file| file.group == number) {
            return group.wrong(format!("group {number} has a file already"));
        }
        let path = item.need("file")?;
        let file = directory.join(path.word()?);
        if live.nflog.iter().any(|other| other.file == file) {
            return path.wrong("another group has this file already");
        }
        let max = item.get("max_bytes");
        let max_bytes = max.map_or(Ok(crate::logs::MAX_BYTES), |max| max.number(4096..=i64::MAX))?;
        live.nflog.push(NflogFile { group: number, file, max_bytes });
    }
    if let Some(host) = document.single("host") {
        live.host_device = Some(host.get("device").map_or_else(|| Ok("hairpin0".to_owned()), |device| device.word())?);
    }
    if let Some(user) = document.single("run").and_then(|run| run.get("user")) {
        let known = |name: &str| names::user(name).ok_or_else(|| format!("there is no user {name:?} on this system"));
        live.user = Some(user.parse_as(known)?);
    }
    if let Some(cpu) = document.single("run").and_then(|run| run.get("cpu")) {
        live.processor = cpu.parse_as(processor)?;
    }
    Ok(live)
}

fn processor(word: &str) -> Result<Processor, String> {
    match word {
        "auto" => Ok(Processor::Auto),
        "any" => Ok(Processor::Any),
        number => number
            .parse()
            .map(Processor::Number)
            .map_err(|_| format!("{word:?} is neither the number of a processor nor \"auto\" nor \"any\"")),
    }
}

fn interface(item: &Item<'_>, directory: &Path) -> Result<LiveInterface, Fault> {
    let mut live = LiveInterface {
        has_mac: item.get("mac").is_some(),
        has_mtu: item.get("mtu").is_some(),
        ..LiveInterface::default()
    };
    if let Some(kind) = item.get("datapath") {
        live.datapath = kind.one_of(&DATAPATHS)?;
    }
    if let Some(netns) = item.get("netns") {
        live.netns = Some(netns.word()?);
        if !matches!(live.datapath, DatapathKind::Tap | DatapathKind::Tun) {
            return netns
                .wrong("only a tap or tun device, which the gateway makes itself, can be put into a namespace");
        }
    }
    if let Some(queues) = item.get("queues") {
        live.queues = Some(queues.number(1..=64)?);
    }
    if let Some(threads) = item.get("threads") {
        live.threads = Some(threads.flag()?);
    }
    for key in ["queues", "threads"] {
        if let Some(value) = item.get(key)
            && matches!(live.datapath, DatapathKind::None | DatapathKind::Pcap)
        {
            return value.wrong("this belongs to a device with queues: packet, xdp, tap, tun or auto");
        }
    }
    if let Some(mode) = item.get("mode") {
        live.xdp =
            mode.one_of(&[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)])?;
    }
    if let Some(follow) = item.get("follow") {
        live.follow = follow.flag()?;
        if live.follow && !matches!(live.datapath, DatapathKind::Packet | DatapathKind::Xdp | DatapathKind::Auto) {
            return follow.wrong("only a device that the kernel has, packet or xdp, can be followed");
        }
    }
    wrappers(item, directory, &mut live)?;
    captures(item, directory, &mut live)?;
    live.vlan = match (item.get("parent"), item.get("vlan")) {
        (Some(parent), Some(id)) => Some(Vlan { parent: parent.word()?, id: id.number(1..=4094)? }),
        (None, None) => None,
        _ => return fault(item.at.clone(), "a VLAN needs both: parent = \"eth0\" and vlan = 10"),
    };
    if live.vlan.is_some() && live.datapath != DatapathKind::None {
        return fault(item.at.clone(), "a VLAN is carried by its parent: leave datapath out");
    }
    Ok(live)
}

/// What stands around the device.
fn wrappers(item: &Item<'_>, directory: &Path, live: &mut LiveInterface) -> Result<(), Fault> {
    if let Some(capture) = item.get("capture") {
        live.capture = Some(directory.join(capture.word()?));
        if live.datapath == DatapathKind::None {
            return capture.wrong("no frames pass here: it needs a datapath (a VLAN's frames pass its parent)");
        }
    }
    let Some(fault) = item.get("fault") else { return Ok(()) };
    if live.datapath == DatapathKind::None {
        return fault.wrong("no frames pass here: it needs a datapath (a VLAN's frames pass its parent)");
    }
    let keys = Item::open("fault", fault.value, &["loss", "duplicate", "corrupt", "reorder", "delay", "seed"])?;
    let chance = |key| keys.get(key).map_or(Ok(0), |value| value.parse_as(millionths));
    live.faults = Some(Faults {
        loss: chance("loss")?,
        duplicate: chance("duplicate")?,
        corrupt: chance("corrupt")?,
        reorder: chance("reorder")?,
        delay: keys.get("delay").map_or(Ok(0), |value| value.parse_as(duration))?,
        seed: keys.get("seed").map_or(Ok(1), |value| value.number(0..=i64::MAX))?,
    });
    Ok(())
}

/// The files of a device that is a capture.
fn captures(item: &Item<'_>, directory: &Path, live: &mut LiveInterface) -> Result<(), Fault> {
    let is_pcap = live.datapath == DatapathKind::Pcap;
    for key in ["read", "write", "pace"] {
        if let Some(value) = item.get(key)
            && !is_pcap
        {
            return value
                .wrong("this belongs to datapath = \"pcap\"; capture = \"FILE\" keeps the frames of another device");
        }
    }
    let file = |key| item.get(key).map(|value| value.word().map(|word| directory.join(word))).transpose();
    live.pcap = PcapFiles { read: file("read")?, write: file("write")?, pace: Pace::Recorded };
    if let Some(pace) = item.get("pace") {
        live.pcap.pace = pace.one_of(&[("recorded", Pace::Recorded), ("at once", Pace::AtOnce)])?;
    }
    if is_pcap && live.pcap.read.is_none() && live.pcap.write.is_none() {
        return fault(item.at.clone(), "a device that is a capture needs read = \"FILE\", write = \"FILE\", or both");
    }
    Ok(())
}

/// A share such as "1%" or "0.05%", in millionths.
fn millionths(text: &str) -> Result<u32, String> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok((percent * 10_000.0).round() as u32),
        None => Err(format!("{text:?} is no share from 0% to 100% such as \"1%\" or \"0.05%\"")),
    }
}

/// A time such as "20ms", "150us" or "1.5s", in nanoseconds.
fn duration(text: &str) -> Result<u64, String> {
    let units = [("ms", 1e6), ("us", 1e3), ("s", 1e9)];
    let read = units.iter().find_map(|(unit, nanos)| {
        let number = text.trim().strip_suffix(unit)?.trim().parse::<f64>().ok()?;
        (0.0..=60.0 * 1e9).contains(&(number * nanos)).then_some((number * nanos) as u64)
    });
    read.ok_or_else(|| format!("{text:?} is no time up to a minute such as \"20ms\", \"150us\" or \"1.5s\""))
}
