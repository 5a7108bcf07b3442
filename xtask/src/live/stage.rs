//! Namespaces around a router: a home network, a stranger's network, a network of containers or of a second provider, and two
//! machines that share the home network by a bridge. Real servers are in each.

use super::{keeper, units};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Who routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Router {
    Kernel,
    Packet,
    Xdp,
    Tap,
    Tun,
    /// As packet, by the unit for systemd.
    Unit,
}

impl Router {
    pub(crate) const ALL: [Router; 6] =
        [Router::Kernel, Router::Packet, Router::Xdp, Router::Tap, Router::Tun, Router::Unit];

    /// hairpin makes the devices itself; they are the ends in the namespaces.
    pub(crate) fn makes_devices(self) -> bool {
        matches!(self, Router::Tap | Router::Tun)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Router::Kernel => "kernel",
            Router::Packet => "packet",
            Router::Xdp => "xdp",
            Router::Tap => "tap",
            Router::Tun => "tun",
            Router::Unit => "unit",
        }
    }

    /// A unit has places of its own for what is not in the file's directory.
    fn places(self, host: String) -> String {
        match self {
            Router::Unit => host
                .replace("\"control.sock\"", "\"/run/hairpin-gateway/control.sock\"")
                .replace("\"nflog-5.pcap\"", "\"/var/lib/hairpin-gateway/nflog-5.pcap\"")
                .replace("\"state\"", "\"/var/lib/hairpin-gateway/state\"\n")
                .replace("[host]\n", "[host]\n[log]\nto = \"journal\"\n"),
            _ => host,
        }
    }

    fn datapath(self) -> &'static str {
        if self == Router::Unit { "packet" } else { self.name() }
    }
}

pub(crate) const RULES4: &str = "\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.168.1.10:80
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 8081 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 192.168.1.10:80
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 192.168.1.11:80
-A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.0/24 -j MASQUERADE
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 9999 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -i lan0 -o wan0 -j ACCEPT
COMMIT
";

pub(crate) const RULES6: &str = "\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 2001:db8:9::1/128 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:1::10]:80
-A PREROUTING -d 2001:db8:9::1/128 -p tcp -m tcp --dport 8081 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination [fd00:1::10]:80
-A PREROUTING -d 2001:db8:9::1/128 -p tcp -m tcp --dport 8081 -j DNAT --to-destination [fd00:1::11]:80
-A POSTROUTING -s fd00:1::/64 -d fd00:1::/64 -j MASQUERADE
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 9999 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -i lan0 -o wan0 -j ACCEPT
COMMIT
";

/// What this router's side of a link is called in rules, by the names that Docker and Kubernetes give it.
const OTHER_NAMES: [(&str, &str); 4] = [("docker0", "lan0"), ("cni0", "lan0"), ("br-app", "dmz0"), ("eth0", "wan0")];

const SIDES: [&str; 6] = ["lan", "rt", "wan", "dmz", "p1", "p2"];

/// How all names of a run begin; then its process's number.
pub(crate) const TAG: &str = "hplive";

/// A program's output, or what went wrong.
pub(crate) fn sh(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}", output.status, error.trim().lines().last().unwrap_or_default()))
    }
}

/// Whether everything that is needed is here.
pub(crate) fn prepare() -> Result<(), String> {
    for program in [
        "nginx",
        "dnsmasq",
        "vsftpd",
        "iperf3",
        "curl",
        "dig",
        "ssh-keyscan",
        "sshd",
        "ping",
        "traceroute",
        "iptables-legacy-restore",
        "conntrack",
        "ipset",
        "python3",
        "setpriv",
    ] {
        sh(&format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}"))
            .map_err(|_| format!("{program} is not installed"))?;
    }
    let probe = format!("{TAG}-{}-probe", std::process::id());
    sh(&format!("ip netns add {probe} && ip netns del {probe}"))
        .map_err(|why| format!("namespaces cannot be made: {why}"))?;
    hairpin().map(drop)
}

/// hairpin: what `HAIRPIN_BIN` names, or the release build.
pub(crate) fn hairpin() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("HAIRPIN_BIN") {
        return Ok(PathBuf::from(named));
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release/hairpin");
    path.canonicalize().map_err(|_| "target/release/hairpin is not built (cargo build --release)".to_owned())
}

/// What changes of the host file while the gateway runs.
pub(crate) struct HostFile {
    pub(crate) public: &'static str,
    /// `nf_conntrack_max`.
    pub(crate) connections: u32,
    /// For the bench: nothing but packets, and these lines more.
    bench: Option<String>,
}

/// The stage; it is taken down when it is dropped.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) router: Router,
    pub(crate) host: HostFile,
    daemons: Vec<Child>,
    pub(crate) gateway: Option<Child>,
    /// Where the gateway is a unit of systemd's.
    pub(crate) machine: Option<units::Machine>,
    /// The home network is a bridge with two more machines on it.
    has_bridge: bool,
}

impl Stage {
    /// The namespaces and the links.
    fn begin(router: Router) -> Result<Stage, String> {
        let dir = std::env::temp_dir().join(format!("{TAG}-{}-{}", std::process::id(), router.name()));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let host = HostFile { public: "203.0.113.1", connections: 65_536, bench: None };
        let mut stage =
            Stage { dir, router, host, daemons: Vec::new(), gateway: None, machine: None, has_bridge: false };
        stage.take_down();
        for side in SIDES {
            let ns = stage.namespace(side);
            sh(&format!("ip netns add {ns} && ip -n {ns} link set lo up"))?;
        }
        if !router.makes_devices() {
            stage.veths()?;
        }
        Ok(stage)
    }

    /// All of it. There is no bridge where frames are not Ethernet's.
    pub(crate) fn build(router: Router) -> Result<Stage, String> {
        let mut stage = Stage::begin(router)?;
        stage.has_bridge = router != Router::Tun;
        stage.write("rules.v4", &stage.localize(RULES4))?;
        stage.write("rules.v6", &stage.localize(RULES6))?;
        stage.write_host()?;
        match router {
            Router::Kernel => stage.kernel()?,
            _ => stage.start_gateway()?,
        }
        if stage.has_bridge {
            stage.bridge()?;
        }
        stage.ends()?;
        stage.servers()?;
        Ok(stage)
    }

    /// A stage for the bench: no servers, next hops that need no asking, and these rules alone.
    pub(crate) fn bench(router: Router, rules4: &str) -> Result<Stage, String> {
        let mut stage = Stage::begin(router)?;
        stage.write("rules.v4", rules4)?;
        stage.write("rules.v6", "")?;
        let neighbor = |side: &str, address: &str, mac: &str| {
            let dev = if router.makes_devices() { format!("{side}1") } else { format!("{side}0") };
            format!("[[neighbor]]\ndev = \"{dev}\"\naddress = \"{address}\"\nmac = \"{mac}\"\n")
        };
        let text = neighbor("lan", "192.168.1.10", MACS[0]) + &neighbor("wan", "203.0.113.9", MACS[1]);
        stage.host.bench = Some(text);
        stage.host.connections = 262_144;
        stage.write_host()?;
        match router {
            Router::Kernel => stage.kernel()?,
            _ => stage.start_gateway()?,
        }
        for (side, mac) in [("lan", MACS[0]), ("wan", MACS[1])] {
            let ns = stage.namespace(side);
            sh(&format!("ip -n {ns} link set {side}1 down; ip -n {ns} link set {side}1 address {mac}"))?;
        }
        stage.ends()?;
        let to_lan = stage.mac_of("lan")?;
        let to_wan = stage.mac_of("wan")?;
        stage.at("lan", &format!("ip neigh replace 192.168.1.1 lladdr {to_lan} dev lan1"))?;
        stage.at("wan", &format!("ip neigh replace 203.0.113.1 lladdr {to_wan} dev wan1"))?;
        if router == Router::Kernel {
            stage.at("rt", &format!("ip neigh replace 192.168.1.10 lladdr {} dev lan0", MACS[0]))?;
            stage.at("rt", &format!("ip neigh replace 203.0.113.9 lladdr {} dev wan0", MACS[1]))?;
        }
        Ok(stage)
    }

    /// The router's link address towards the client.
    pub(crate) fn router_mac(&self) -> Result<String, String> {
        self.mac_of("lan")
    }

    fn mac_of(&self, side: &str) -> Result<String, String> {
        match self.router {
            // The gateway makes its end up: it has told the other one.
            Router::Tap => {
                let (address, dev) = if side == "lan" { ("192.168.1.1", "lan1") } else { ("203.0.113.1", "wan1") };
                let _ = self.at(side, &format!("ping -c 1 -W 1 {address}"));
                let text = self.at(side, &format!("ip neigh show {address} dev {dev}"))?;
                let mac = text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
                mac.map(str::to_owned).ok_or_else(|| format!("{address} has no link address: {text}"))
            }
            _ => self.at("rt", &format!("cat /sys/class/net/{side}0/address")).map(|text| text.trim().to_owned()),
        }
    }

    /// Who routes.
    pub(crate) fn router(&self) -> Router {
        self.router
    }

    /// A server of iperf3 alone.
    pub(crate) fn iperf(&mut self) -> Result<(), String> {
        self.daemon("wan", "iperf3 -s -i 0")?;
        let wan = self.namespace("wan");
        wait_for(Duration::from_secs(5), || {
            sh(&format!("ip netns exec {wan} ss -ltnH 'sport = :5201' | grep -q .")).is_ok()
        })
    }

    /// A program in a namespace, before others on this machine, until it is dropped.
    pub(crate) fn child(&self, side: &str, command: &str) -> Result<Running, String> {
        // It does so itself: its share of the processors is that of its session, which must have begun.
        let favored =
            format!("echo -15 2>&- >/proc/self/autogroup; renice -n -15 -p $$ >/dev/null 2>&1; exec {command}");
        let mut child = Command::new("setsid")
            .args(["ip", "netns", "exec", &self.namespace(side), "sh", "-c", &favored])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let out = child.stdout.take().ok_or("no output")?;
        Ok(Running(child, BufReader::new(out)))
    }

    /// The name of a namespace.
    pub(crate) fn namespace(&self, side: &str) -> String {
        format!("{TAG}-{}-{}-{side}", std::process::id(), self.router.name())
    }

    /// Rules with the names of the devices as they are here. A device that hairpin makes is named as its end in the namespace.
    pub(crate) fn localize(&self, rules: &str) -> String {
        let mut text = rules.to_owned();
        for (other, name) in OTHER_NAMES {
            text = text.replace(other, name);
        }
        if self.router.makes_devices() {
            for side in ["lan", "wan", "dmz"] {
                text = text.replace(&format!("{side}0"), &format!("{side}1"));
            }
        }
        text
    }

    fn veths(&self) -> Result<(), String> {
        for side in ["lan", "wan", "dmz"] {
            let (rt, end) = (self.namespace("rt"), self.namespace(side));
            sh(&format!(
                "ip -n {rt} link add {side}0 type veth peer name {side}1 netns {end} && ip -n {rt} link set {side}0 up"
            ))?;
            if self.router == Router::Xdp {
                sh(&format!("ip netns exec {end} ethtool -K {side}1 gro on"))?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> Result<(), String> {
        let rt = self.namespace("rt");
        sh(&format!(
            "ip netns exec {rt} sh -ec 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
            for d in lan0 wan0 dmz0; do sysctl -qw net.ipv4.conf.$d.rp_filter=0; done
            for a in 192.168.1.1/24 172.17.0.1/16 10.244.0.1/24; do ip addr add $a dev lan0; done; ip addr add fd00:1::1/64 dev lan0 nodad
            ip addr add 203.0.113.1/24 dev wan0; ip addr add 2001:db8:9::1/64 dev wan0 nodad; ip addr add 172.18.0.1/16 dev dmz0
            {1}
            iptables-legacy-restore {0}/rules.v4; ip6tables-legacy-restore {0}/rules.v6'",
            self.dir.display(),
            if self.host.bench.is_some() { "" } else { "ip route add default via 203.0.113.9
                ip route add default via 172.18.0.2 table 100; ip rule add fwmark 7 table 100
                for f in -4 -6; do ip $f route add local default dev lo table 101; ip $f rule add fwmark 1 table 101; done" }
        ))
        .map(drop)
    }

    /// The host file, as [`HostFile`] wants it.
    pub(crate) fn write_host(&self) -> Result<(), String> {
        let interface = |side: &str, addresses: &str| {
            let datapath = match self.router.makes_devices() {
                true => format!("datapath = \"{}\"\nnetns = \"{}\"", self.router.datapath(), self.namespace(side)),
                false => format!("datapath = \"{}\"", self.router.datapath()),
            };
            let name = self.localize(&format!("{side}0"));
            format!("[[interface]]\nname = \"{name}\"\n{datapath}\naddresses = [{addresses}]\n")
        };
        let more = match &self.host.bench {
            Some(text) => text.clone(),
            None => "[host]\n[metrics]\nlisten = \"127.0.0.1:9464\"\n[state]\nfile = \"state\"\ninterval = 1\n\
                 [[nflog]]\ngroup = 5\nfile = \"nflog-5.pcap\"\n\
                 [[route]]\nto = \"default\"\nvia = \"203.0.113.9\"\n\
                 [[route]]\nto = \"default\"\nvia = \"172.18.0.2\"\ntable = 100\n[[rule]]\nfwmark = 7\ntable = 100\n\
                 [[route]]\nto = \"0.0.0.0/0\"\ntype = \"local\"\ndev = \"lo\"\ntable = 101\n\
                 [[rule]]\nfwmark = 1\ntable = 101\n\
                 [[route]]\nto = \"::/0\"\ntype = \"local\"\ndev = \"lo\"\ntable = 101\n\
                 [[rule]]\nfamily = \"ipv6\"\nfwmark = 1\ntable = 101\n"
                .to_owned(),
        };
        let (lan, wan, dmz) = (
            interface("lan", "\"192.168.1.1/24\", \"172.17.0.1/16\", \"10.244.0.1/24\", \"fd00:1::1/64\""),
            interface("wan", &format!("\"{}/24\", \"2001:db8:9::1/64\"", self.host.public)),
            interface("dmz", "\"172.18.0.1/16\""),
        );
        let connections = self.host.connections;
        self.write(
            "gateway.toml",
            &self.router.places(format!(
                "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n\"net.ipv6.conf.all.forwarding\" = 1\n\
                 \"net.netfilter.nf_conntrack_max\" = {connections}\n\"net.netfilter.nf_conntrack_buckets\" = {connections}\n\
                 [rules]\nv4 = \"rules.v4\"\nv6 = \"rules.v6\"\n[control]\nsocket = \"control.sock\"\n{lan}{wan}{dmz}{more}"
            )),
        )
    }

    pub(crate) fn start_gateway(&mut self) -> Result<(), String> {
        if self.router == Router::Unit {
            self.machine = Some(units::Machine::start(self)?);
            return Ok(());
        }
        let log = fs::File::create(self.dir.join("gateway.log")).map_err(|e| e.to_string())?;
        let err = log.try_clone().map_err(|e| e.to_string())?;
        // In a session of its own: its share of the processors can be set apart from ours.
        let child = Command::new("setsid")
            .args(["ip", "netns", "exec", &self.namespace("rt")])
            .arg(hairpin()?)
            .arg("run")
            .arg(self.dir.join("gateway.toml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.gateway = Some(child);
        wait_for(Duration::from_secs(20), || self.log().contains("ready"))
            .map_err(|_| format!("no `ready': {}", self.log()))
    }

    /// As somebody who pulls the plug, and starts it again.
    pub(crate) fn kill_and_start(&mut self) -> Result<(), String> {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.kill().and_then(|()| gateway.wait()).map_err(|e| e.to_string())?;
        }
        self.start_gateway()?;
        // Devices that it makes went with it.
        if self.router.makes_devices() { self.ends() } else { Ok(()) }
    }

    /// The gateway's process: `ip netns exec` became it.
    pub(crate) fn pid(&self) -> u32 {
        self.gateway.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        if let Some(machine) = &self.machine {
            return machine.path("run/hairpin-gateway/control.sock");
        }
        self.dir.join("control.sock")
    }

    /// A command of iptables, ipset or conntrack, on whoever routes.
    pub(crate) fn command(&self, words: &str) -> Result<String, String> {
        let words = self.localize(words);
        if self.router == Router::Kernel {
            let words = words.replacen("iptables", "iptables-legacy", 1).replacen("ip6tables", "ip6tables-legacy", 1);
            return self.at("rt", &words);
        }
        sh(&format!("HAIRPIN_SOCKET={} {} {words}", self.socket().display(), hairpin()?.display()))
    }

    /// What a command says, on one line, with the names that devices have elsewhere.
    pub(crate) fn as_everywhere(&self, text: &str) -> String {
        let mut text = text.trim().replace('\n', " / ");
        if self.router.makes_devices() {
            for side in ["lan", "wan", "dmz"] {
                text = text.replace(&format!("{side}1"), &format!("{side}0"));
            }
        }
        text
    }

    /// These IPv4 rules and no others; nothing is remembered of connections.
    pub(crate) fn load(&self, rules: &str) -> Result<(), String> {
        self.replace("iptables-restore", rules)?;
        // Says how many on standard error.
        self.command("conntrack -F").map(drop)
    }

    /// These IPv6 rules and no others.
    pub(crate) fn load6(&self, rules: &str) -> Result<(), String> {
        self.replace("ip6tables-restore", rules)
    }

    fn replace(&self, by: &str, rules: &str) -> Result<(), String> {
        let tables = [
            ("raw", &["PREROUTING", "OUTPUT"][..]),
            ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
            ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
            ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
        ];
        let mut empty = String::new();
        for (table, chains) in tables.iter().filter(|(table, _)| !rules.contains(&format!("*{table}\n"))) {
            let policies: String = chains.iter().map(|chain| format!(":{chain} ACCEPT [0:0]\n")).collect();
            empty.push_str(&format!("*{table}\n{policies}COMMIT\n"));
        }
        self.write("loaded.rules", &format!("{empty}{}", self.localize(rules)))?;
        self.command(&format!("{by} {}/loaded.rules", self.dir.display())).map(drop)
    }

    fn bridge(&self) -> Result<(), String> {
        let lan = self.namespace("lan");
        sh(&format!("ip -n {lan} link add br0 address 02:00:00:00:aa:01 type bridge && ip -n {lan} link set br0 up"))?;
        for pod in ["p1", "p2"] {
            let ns = self.namespace(pod);
            sh(&format!(
                "ip -n {lan} link add {pod} type veth peer name eth0 netns {ns} && ip -n {lan} link set {pod} master br0 up
                ip -n {ns} link set eth0 up"
            ))?;
        }
        Ok(())
    }

    /// Addresses and routes of the ends; what is there already stays.
    pub(crate) fn ends(&self) -> Result<(), String> {
        let (lan, wan, dmz) = (self.namespace("lan"), self.namespace("wan"), self.namespace("dmz"));
        let (device, bridge) = match self.has_bridge {
            true => ("br0", "ip link set lan1 master br0"),
            false => ("lan1", ""),
        };
        sh(&format!(
            "ip netns exec {lan} sh -ec 'ip link set lan1 up; {bridge}
            for a in 192.168.1.10/24 192.168.1.11/24; do ip addr replace $a dev {device}; done
            for a in fd00:1::10/64 fd00:1::11/64; do ip addr replace $a dev {device} nodad; done
            ip route replace default via 192.168.1.1; ip -6 route replace default via fd00:1::1 src fd00:1::10'
            ip netns exec {wan} sh -ec 'ip link set wan1 up; ip addr replace 198.51.100.1/32 dev lo
            ip addr replace 203.0.113.9/24 dev wan1; ip addr replace 2001:db8:9::9/64 dev wan1 nodad'
            ip netns exec {dmz} sh -ec 'ip link set dmz1 up; ip addr replace 198.51.100.1/32 dev lo
            ip addr replace 172.18.0.2/16 dev dmz1; ip route replace default via 172.18.0.1'"
        ))
        .map(drop)
    }

    fn servers(&mut self) -> Result<(), String> {
        let dir = self.dir.display().to_string();
        let _ = fs::create_dir_all(self.dir.join("www"));
        let _ = fs::create_dir_all("/run/sshd");
        let _ = fs::create_dir_all("/var/run/vsftpd/empty");
        sh(&format!(
            "chmod 755 {dir} {dir}/www; head -c 5000000 /dev/urandom > {dir}/www/file; echo a small file > {dir}/www/small; chmod 644 {dir}/www/*"
        ))?;
        for side in SIDES {
            // The router's own services have ports that are not forwarded.
            let ports: &[u16] = if side == "rt" { &[3128, 8088, 8089] } else { &[80, 8080] };
            let listen: String = ports.iter().map(|port| format!("listen {port}; listen [::]:{port}; ")).collect();
            self.write(
                &format!("nginx-{side}.conf"),
                &format!(
                    "daemon off; worker_processes 1; user root; pid {dir}/nginx-{side}.pid; error_log {dir}/nginx-{side}.err;\n\
                     events {{ worker_connections 256; }}\n\
                     http {{ access_log off; server {{ {listen} root {dir}/www;\n\
                     location /who {{ return 200 \"$server_addr sees $remote_addr\\n\"; }}\n\
                     location /port {{ return 200 \"$remote_port\\n\"; }}\n\
                     location /name {{ return 200 \"{side}\\n\"; }} }} }}\n"
                ),
            )?;
            self.daemon(side, &format!("nginx -c {dir}/nginx-{side}.conf"))?;
        }
        self.write(
            "vsftpd.conf",
            &format!(
                "listen=NO\nlisten_ipv6=YES\nanonymous_enable=YES\nanon_root={dir}/www\nlocal_enable=NO\nbackground=NO\nseccomp_sandbox=NO\n\
                 connect_from_port_20=NO\nno_anon_password=YES\nftp_username=root\nxferlog_enable=NO\nrun_as_launching_user=YES\n\
                 pasv_min_port=50100\npasv_max_port=50190\n"
            ),
        )?;
        self.daemon("wan", &format!("vsftpd {dir}/vsftpd.conf"))?;
        for side in ["wan", "p2"] {
            let name = format!(
                "dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --address=/name.test/198.51.100.7 --user=root \
                 --enable-tftp --tftp-root={dir}/www"
            );
            self.daemon(side, &name)?;
        }
        self.daemon("wan", "iperf3 -s -i 0")?;
        sh(&format!(
            "rm -f {dir}/*key*; for k in hostkey userkey; do ssh-keygen -q -t ed25519 -N '' -f {dir}/$k; done; cp {dir}/userkey.pub {dir}/keys"
        ))?;
        self.daemon(
            "wan",
            &format!(
                "$(PATH=$PATH:/usr/sbin command -v sshd) -D -e -f /dev/null -h {dir}/hostkey -o AuthorizedKeysFile={dir}/keys \
                 -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=no"
            ),
        )?;
        for (side, port) in [
            ("wan", "80"),
            ("wan", "21"),
            ("wan", "53"),
            ("wan", "5201"),
            ("wan", "22"),
            ("lan", "80"),
            ("rt", "8088"),
            ("dmz", "80"),
            ("p1", "80"),
            ("p2", "53"),
        ] {
            let ns = self.namespace(side);
            wait_for(Duration::from_secs(30), || {
                sh(&format!("ip netns exec {ns} ss -ltnH 'sport = :{port}' | grep -q .")).is_ok()
            })
            .map_err(|_| format!("no server on port {port} of {side}"))?;
        }
        Ok(())
    }

    /// Starts something that goes on, in a namespace. Its place among the stage's daemons.
    pub(crate) fn daemon(&mut self, side: &str, command: &str) -> Result<(), String> {
        let log =
            fs::File::create(self.dir.join(format!("daemon{}.log", self.daemons.len()))).map_err(|e| e.to_string())?;
        let err = log.try_clone().map_err(|e| e.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(side), "sh", "-c", &format!("exec {command}")])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.daemons.push(child);
        Ok(())
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.dir.join(file), text).map_err(|e| format!("{file}: {e}"))
    }

    /// Runs something in a namespace.
    pub(crate) fn at(&self, side: &str, command: &str) -> Result<String, String> {
        sh(&format!("ip netns exec {} {command}", self.namespace(side)))
    }

    pub(crate) fn is_kernel(&self) -> bool {
        self.router == Router::Kernel
    }

    /// The process of a daemon of [`Stage::daemon`], the last one started.
    pub(crate) fn last_daemon(&self) -> u32 {
        self.daemons.last().map_or(0, Child::id)
    }

    /// What it says is written there.
    pub(crate) fn last_log(&self) -> String {
        format!("daemon{}.log", self.daemons.len() - 1)
    }

    fn take_down(&mut self) {
        self.machine = None;
        for mut child in self.gateway.take().into_iter().chain(self.daemons.drain(..)) {
            let _ = sh(&format!("kill {}", child.id()));
            if wait_for(Duration::from_secs(3), || matches!(child.try_wait(), Ok(Some(_)))).is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        for side in SIDES {
            // Children of the daemons are in the namespace too.
            keeper::take_down(&self.namespace(side));
        }
    }
}

/// Link addresses of the ends of a bench.
const MACS: [&str; 2] = ["02:00:00:00:01:02", "02:00:00:00:02:02"];

/// A program that ends when it is dropped.
pub(crate) struct Running(Child, BufReader<ChildStdout>);

impl Running {
    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.0.stdin.as_mut().ok_or("no input")?;
        writeln!(stdin, "{line}").map_err(|e| e.to_string())
    }

    /// The next line that it says; empty when it has ended.
    pub(crate) fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.1.read_line(&mut line).map_err(|e| e.to_string())?;
        Ok(line.trim().to_owned())
    }
}

/// Gives a process the processor before others, so that what else the machine does disturbs it less. Where that is not allowed it goes
/// on as it is.
pub(crate) fn favor(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/autogroup"), "-15");
    let _ = sh(&format!("renice -n -15 -p {pid}"));
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.take_down();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until it is so.
pub(crate) fn wait_for(at_most: Duration, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + at_most;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("not within {at_most:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
