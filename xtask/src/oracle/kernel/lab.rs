//! One router on the running kernel: a network namespace with veth pairs whose far ends sit in a second namespace that
//! has no addresses at all. Nothing can leave them, and both vanish with the thread and the handles that hold them.

use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::log::Reader;
use super::sys::{self, PacketSocket};
use crate::oracle::frame::{ETH, Frame, ICMP6};
use crate::oracle::program::Scratch;
use crate::oracle::scenario::{Host, PolicyRule, Route, word};

/// How long a router with IPv6 gets to send its multicast listener reports before there are rules to count them.
const REPORTS: Duration = Duration::from_millis(150);
/// Frames that may come out at once; no scenario has so many.
const MOST: usize = 100_000;
/// Frames with this ICMPv6 type are talk between neighbors (discovery, listener reports), which no scenario shows.
const NEIGHBOR_TALK: [u8; 8] = [130, 131, 132, 133, 134, 135, 136, 143];

/// A running router. It lives in the thread that made it, and its thread lives in it.
#[derive(Debug)]
pub struct Lab {
    ports: Vec<Port>,
    log: Reader,
    has_v6: bool,
    _router: OwnedFd,
    _peers: OwnedFd,
}

/// The far end of the cable to one interface of the router.
#[derive(Debug)]
struct Port {
    iface: String,
    mtu: u32,
    socket: PacketSocket,
}

/// A frame that came out of the router.
#[derive(Debug, Clone)]
pub struct Departure {
    pub iface: String,
    pub data: Vec<u8>,
}

impl Lab {
    /// Sets the router up. To be called in a thread of its own, which ends with the lab: the thread's network namespace
    /// is changed for good.
    pub fn new(host: &Host, rules4: &str, rules6: Option<&str>, sets: Option<&str>) -> Result<Self, String> {
        let has_v6 = rules6.is_some() || host.interface.iter().flat_map(|i| &i.addresses).any(|a| a.contains(':'));
        let router = sys::new_network().map_err(|e| format!("unshare: {e}"))?;
        let peers = sys::new_network().map_err(|e| format!("unshare: {e}"))?;
        let enter = |ns: &OwnedFd| sys::enter_network(ns).map_err(|e| format!("setns: {e}"));
        for scope in ["all", "default"] {
            sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
        }
        enter(&router)?;
        quiet_v6(has_v6)?;
        cables(host, has_v6, &peers)?;
        for (key, value) in &host.sysctl {
            sysctl(key, &word(value))?;
        }
        enter(&peers)?;
        let ends: Vec<String> = (0..host.interface.len()).map(|n| format!("p{n}")).collect();
        ip(&[], ends.iter().flat_map(|p| [format!("link set {p} arp off"), format!("link set {p} up")]))?;
        plain_frames(ends.iter().map(String::as_str))?;
        enter(&router)?;
        addresses_and_routes(host)?;
        if has_v6 {
            std::thread::sleep(REPORTS);
        }
        if let Some(sets) = sets {
            run(&["ipset", "restore"], Some(sets)).map_err(|e| format!("ipset restore: {e}"))?;
        }
        load_rules("iptables-legacy-restore", rules4)?;
        if let Some(rules6) = rules6 {
            load_rules("ip6tables-legacy-restore", rules6)?;
        }
        enter(&peers)?;
        let mut ports = Vec::new();
        for (i, end) in host.interface.iter().zip(&ends) {
            let socket = PacketSocket::open(end).map_err(|e| format!("packet socket: {e}"))?;
            ports.push(Port { iface: i.name.clone(), mtu: i.mtu, socket });
        }
        enter(&router)?;
        let ifaces = ports.iter().map(|p| p.iface.clone()).collect();
        let log = Reader::open(&[rules4, rules6.unwrap_or_default()], ifaces)?;
        let lab = Self { ports, log, has_v6, _router: router, _peers: peers };
        lab.waiting()?;
        Ok(lab)
    }

    /// Lets a frame arrive at the router.
    pub fn inject(&self, iface: &str, data: &[u8]) -> Result<(), String> {
        let port = self.ports.iter().find(|p| p.iface == iface).ok_or(format!("no interface {iface}"))?;
        match port.socket.send(data) {
            // A veth refuses a frame that is longer than the router's interface takes, as a card does: not received.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) && data.len() > port.mtu as usize + ETH => Ok(()),
            result => result.map_err(|e| format!("cannot send {} bytes on {iface}: {e}", data.len())),
        }
    }

    /// What came out and was not yet collected. An error when there is no end to it: copies of TEE may go round in the kernel for ever.
    pub fn waiting(&self) -> Result<Vec<Departure>, String> {
        let mut out = Vec::new();
        for port in &self.ports {
            while let Some(data) = port.socket.receive().map_err(|e| format!("receive: {e}"))? {
                if !is_noise(&data) {
                    out.push(Departure { iface: port.iface.clone(), data });
                }
                if out.len() > MOST {
                    return Err(format!("more than {MOST} frames came out"));
                }
            }
        }
        Ok(out)
    }

    /// The sets as they are, in order.
    pub fn sets(&self) -> Result<String, String> {
        run(&["ipset", "save", "-sorted"], None)
    }

    /// Collects what comes out until `end`.
    pub fn until(&self, end: Instant) -> Result<Vec<Departure>, String> {
        let mut out = self.waiting()?;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            sys::wait_for_any(self.ports.iter().map(|p| &p.socket), left).map_err(|e| format!("poll: {e}"))?;
            out.extend(self.waiting()?);
            if out.len() > MOST {
                return Err(format!("more than {MOST} frames came out"));
            }
        }
        Ok(out)
    }

    /// The router's interfaces, in their order.
    pub fn ifaces(&self) -> impl Iterator<Item = &str> {
        self.ports.iter().map(|p| p.iface.as_str())
    }

    pub fn rules4(&self) -> Result<String, String> {
        run(&["iptables-legacy-save", "-c"], None).map(|s| without_comments(&s))
    }

    pub fn rules6(&self) -> Result<String, String> {
        run(&["ip6tables-legacy-save", "-c"], None).map(|s| without_comments(&s))
    }

    pub fn conntrack(&self) -> Result<String, String> {
        let mut text = run(&["conntrack", "-L", "-o", "extended"], None)?;
        if self.has_v6 {
            text += &run(&["conntrack", "-L", "-f", "ipv6", "-o", "extended"], None)?;
        }
        let mut rows: Vec<&str> = text.lines().map(str::trim_end).collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows.into_iter().map(|r| format!("{r}\n")).collect())
    }

    /// Takes what LOG rules wrote, before the kernel forgets it.
    pub fn read_log(&mut self) -> Result<(), String> {
        self.log.read()
    }

    /// Ends the lab; the lines that LOG rules wrote.
    pub fn into_log(self) -> Result<String, String> {
        self.log.lines()
    }

    pub fn expects_log(&self) -> bool {
        self.log.expects_lines()
    }
}

/// Runs a program in the calling thread's namespace, with a lock file for iptables that nobody shares; what it printed.
pub fn run(argv: &[&str], input: Option<&str>) -> Result<String, String> {
    let lock = Scratch::new()?;
    let fail = |e: std::io::Error| format!("{}: {e}", argv.join(" "));
    let mut child = Command::new(argv[0])
        .args(&argv[1..])
        .env("XTABLES_LOCKFILE", lock.0.join("xtables.lock"))
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
        // The programs here read all their input before they write much: no deadlock.
        stdin.write_all(text.as_bytes()).map_err(fail)?;
    }
    let done = child.wait_with_output().map_err(fail)?;
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        return Ok(out);
    }
    Err(format!("{}: {}", argv.join(" "), if said.trim().is_empty() { out.trim() } else { said.trim() }))
}

/// No address detection, no autoconfiguration, early listener reports; no IPv6 at all where none is wanted.
fn quiet_v6(wanted: bool) -> Result<(), String> {
    for scope in ["all", "default"] {
        sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), if wanted { "0" } else { "1" })?;
    }
    for (key, value) in [
        ("accept_dad", "0"),
        ("autoconf", "0"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("mldv2_unsolicited_report_interval", "5"),
        ("mldv1_unsolicited_report_interval", "5"),
    ] {
        sysctl(&format!("net.ipv6.conf.default.{key}"), value)?;
    }
    Ok(())
}

fn cables(host: &Host, has_v6: bool, peers: &OwnedFd) -> Result<(), String> {
    let there = format!("/proc/{}/fd/{}", std::process::id(), peers.as_raw_fd());
    let mut batch = vec!["link set lo up".to_string()];
    for (n, i) in host.interface.iter().enumerate() {
        batch.push(format!(
            "link add {} address {} mtu {} type veth peer name p{n} address 02:ff:ff:00:00:{n:02x} mtu 65535 netns {there}",
            i.name, i.mac, i.mtu
        ));
        if has_v6 {
            batch.push(format!("link set {} addrgenmode none", i.name));
        }
    }
    ip(&[], batch)?;
    plain_frames(host.interface.iter().map(|i| i.name.as_str()))
}

/// Turns every offload off, so that what is sent and seen is what a wire would carry.
fn plain_frames<'a>(ifaces: impl Iterator<Item = &'a str>) -> Result<(), String> {
    for name in ifaces {
        let off = ["tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
        run(&[&["ethtool", "-K", name], &off[..]].concat(), None)?;
    }
    Ok(())
}

fn addresses_and_routes(host: &Host) -> Result<(), String> {
    let mut batch = Vec::new();
    for i in &host.interface {
        batch.push(format!("link set {} up", i.name));
        for a in &i.addresses {
            batch.push(format!("addr add {a} dev {} {}", i.name, if a.contains(':') { "nodad" } else { "brd +" }));
        }
    }
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for route in &host.route {
        let first_hop = route.nexthop.first().map(|h| &h.via);
        if is_v6(&[Some(&route.to), route.via.as_ref(), first_hop]) { &mut six } else { &mut four }
            .push(route_line(route));
    }
    for rule in &host.rule {
        if is_v6(&[rule.from.as_ref(), rule.to.as_ref()]) { &mut six } else { &mut four }.push(rule_line(rule));
    }
    batch.extend(four);
    for n in &host.neighbor {
        batch.push(format!("neigh add {} lladdr {} dev {} nud permanent", n.address, n.mac, n.dev));
    }
    ip(&[], batch)?;
    ip(&["-6"], six)
}

fn is_v6(addresses: &[Option<&String>]) -> bool {
    addresses.iter().flatten().any(|a| a.contains(':'))
}

fn route_line(r: &Route) -> String {
    let kind = r.kind.as_ref().map_or(String::new(), |k| format!("{k} "));
    let words = [
        ("via", r.via.clone()),
        ("dev", r.dev.clone()),
        ("src", r.src.clone()),
        ("table", r.table.as_ref().map(word)),
        ("metric", r.metric.as_ref().map(word)),
    ];
    let hops: String =
        r.nexthop.iter().map(|h| format!(" nexthop via {} dev {} weight {}", h.via, h.dev, h.weight)).collect();
    format!("route add {kind}{}{}{hops}", r.to, options(&words))
}

fn rule_line(r: &PolicyRule) -> String {
    let words = [
        ("from", r.from.clone()),
        ("to", r.to.clone()),
        ("iif", r.iif.clone()),
        ("fwmark", r.fwmark.as_ref().map(word)),
        ("table", r.table.as_ref().map(word)),
        ("priority", r.priority.as_ref().map(word)),
    ];
    format!("rule add{}", options(&words))
}

fn options(words: &[(&str, Option<String>)]) -> String {
    words.iter().filter_map(|(name, value)| value.as_ref().map(|v| format!(" {name} {v}"))).collect()
}

fn ip(options: &[&str], lines: impl IntoIterator<Item = String>) -> Result<(), String> {
    let text: String = lines.into_iter().map(|l| l + "\n").collect();
    if text.is_empty() {
        return Ok(());
    }
    let argv = [&["ip"], options, &["-batch", "-"]].concat();
    run(&argv, Some(&text)).map(drop).map_err(|e| format!("{e}, in:\n{text}"))
}

fn load_rules(program: &str, rules: &str) -> Result<(), String> {
    if rules.trim().is_empty() {
        return Ok(());
    }
    run(&[program, "-c", "-w", "10"], Some(rules)).map(drop)
}

fn sysctl(key: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    std::fs::write(path, value).map_err(|e| format!("sysctl {key} = {value}: {e}"))
}

/// What neighbors say among themselves, and what is not IP.
fn is_noise(data: &[u8]) -> bool {
    let frame = Frame::new(data);
    match (&frame.ip, frame.ethertype) {
        (None, kind) => !matches!(kind, Some(0x0800 | 0x86dd)),
        (Some(ip), _) if ip.is_v6() && ip.proto == ICMP6 => {
            data.get(ip.l4).is_some_and(|kind| NEIGHBOR_TALK.contains(kind))
        }
        (Some(ip), _) => ip.proto == 2,
    }
}

fn without_comments(save: &str) -> String {
    save.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{}\n", l.trim_end())).collect()
}
