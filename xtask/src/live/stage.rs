//! Three namespaces, real servers in two of them, and a router in the third.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Router {
    Kernel,
    Packet,
    Xdp,
    Tap,
}

impl Router {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Router::Kernel => "kernel",
            Router::Packet => "packet",
            Router::Xdp => "xdp",
            Router::Tap => "tap",
        }
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
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 2001:db8:9::1/128 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:1::10]:80
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
";

const TAG: &str = "hplive";

pub(crate) fn namespace(side: &str) -> String {
    format!("{TAG}-{side}")
}

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
    ] {
        sh(&format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}"))
            .map_err(|_| format!("{program} is not installed"))?;
    }
    sh(&format!("ip netns add {TAG}-probe && ip netns del {TAG}-probe"))
        .map_err(|why| format!("namespaces cannot be made: {why}"))?;
    hairpin().map(drop)
}

/// The release build of the program.
pub(crate) fn hairpin() -> Result<PathBuf, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release/hairpin");
    path.canonicalize().map_err(|_| "target/release/hairpin is not built (cargo build --release)".to_owned())
}

/// The stage; it is taken down when it is dropped.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    router: Router,
    daemons: Vec<Child>,
    pub(crate) gateway: Option<Child>,
}

impl Stage {
    pub(crate) fn build(router: Router) -> Result<Stage, String> {
        let dir = std::env::temp_dir().join(format!("{TAG}-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let mut stage = Stage { dir, router, daemons: Vec::new(), gateway: None };
        stage.take_down();
        for side in ["lan", "rt", "wan"] {
            let ns = namespace(side);
            sh(&format!("ip netns add {ns} && ip -n {ns} link set lo up"))?;
        }
        if router != Router::Tap {
            stage.veths()?;
        }
        stage.write("rules.v4", RULES4)?;
        stage.write("rules.v6", RULES6)?;
        stage.write_host("")?;
        match router {
            Router::Kernel => stage.kernel()?,
            _ => stage.start_gateway()?,
        }
        stage.ends()?;
        stage.servers()?;
        Ok(stage)
    }

    /// A stage for the bench: no servers, next hops that need no asking, and these rules alone.
    pub(crate) fn bench(router: Router, rules4: &str) -> Result<Stage, String> {
        let dir = std::env::temp_dir().join(format!("{TAG}-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let mut stage = Stage { dir, router, daemons: Vec::new(), gateway: None };
        stage.take_down();
        for side in ["lan", "rt", "wan"] {
            let ns = namespace(side);
            sh(&format!("ip netns add {ns} && ip -n {ns} link set lo up"))?;
        }
        if router != Router::Tap {
            stage.veths()?;
        }
        stage.write("rules.v4", rules4)?;
        stage.write("rules.v6", "")?;
        let neighbor = |side: &str, address: &str, mac: &str| {
            let dev = if router == Router::Tap { format!("{side}1") } else { format!("{side}0") };
            format!("[[neighbor]]\ndev = \"{dev}\"\naddress = \"{address}\"\nmac = \"{mac}\"\n")
        };
        let text = neighbor("lan", "192.168.1.10", MACS[0]) + &neighbor("wan", "203.0.113.9", MACS[1]);
        stage.write_host(&text)?;
        let host = fs::read_to_string(stage.dir.join("gateway.toml")).map_err(|e| e.to_string())?;
        // Nothing but packets: no snapshots.
        stage.write("gateway.toml", &host.replace("[state]\nfile = \"state\"\ninterval = 1\n", ""))?;
        match router {
            Router::Kernel => stage.kernel()?,
            _ => stage.start_gateway()?,
        }
        for (side, mac) in [("lan", MACS[0]), ("wan", MACS[1])] {
            let ns = namespace(side);
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
        let wan = namespace("wan");
        wait_for(Duration::from_secs(5), || {
            sh(&format!("ip netns exec {wan} ss -ltnH 'sport = :5201' | grep -q .")).is_ok()
        })
    }

    /// A program in a namespace, until it is dropped. If it is to say that it is ready, it has.
    pub(crate) fn child(&self, side: &str, command: &str) -> Result<Running, String> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &namespace(side), "sh", "-c", &format!("exec {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        if command.contains(" sink ") {
            let mut line = String::new();
            let out = child.stdout.take().ok_or("no output")?;
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).map_err(|e| e.to_string())?;
            if line.trim() != "ready" {
                let _ = child.wait();
                return Err(format!("{command} did not start"));
            }
        }
        Ok(Running(child))
    }

    fn veths(&self) -> Result<(), String> {
        for side in ["lan", "wan"] {
            let (rt, end) = (namespace("rt"), namespace(side));
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
        let rt = namespace("rt");
        sh(&format!(
            "ip netns exec {rt} sh -ec 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            ip addr add 192.168.1.1/24 dev lan0; ip addr add fd00:1::1/64 dev lan0 nodad
            ip addr add 203.0.113.1/24 dev wan0; ip addr add 2001:db8:9::1/64 dev wan0 nodad
            iptables-legacy-restore {0}/rules.v4; ip6tables-legacy-restore {0}/rules.v6'",
            self.dir.display()
        ))
        .map(drop)
    }

    /// The host file, with more lines at its end.
    pub(crate) fn write_host(&self, more: &str) -> Result<(), String> {
        let datapath = |side: &str| match self.router {
            Router::Tap => format!("datapath = \"tap\"\nnetns = \"{}\"", namespace(side)),
            _ => format!("datapath = \"{}\"", self.router.name()),
        };
        let public = if more.contains("203.0.113.2") { "203.0.113.2" } else { "203.0.113.1" };
        let name = |side: &str| if self.router == Router::Tap { format!("{side}1") } else { format!("{side}0") };
        // Rules name lan0 and wan0; a TAP device is named as its end in the namespace.
        self.write(
            "gateway.toml",
            &format!(
                "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n\"net.ipv6.conf.all.forwarding\" = 1\n\
                 [rules]\nv4 = \"rules.v4\"\nv6 = \"rules.v6\"\n\
                 [control]\nsocket = \"control.sock\"\n[state]\nfile = \"state\"\ninterval = 1\n\
                 [[interface]]\nname = \"{}\"\n{}\naddresses = [\"192.168.1.1/24\", \"fd00:1::1/64\"]\n\
                 [[interface]]\nname = \"{}\"\n{}\naddresses = [\"{public}/24\", \"2001:db8:9::1/64\"]\n{more}",
                name("lan"),
                datapath("lan"),
                name("wan"),
                datapath("wan"),
            ),
        )?;
        if self.router == Router::Tap {
            for (file, rules) in [("rules.v4", RULES4), ("rules.v6", RULES6)] {
                self.write(file, &rules.replace("lan0", "lan1").replace("wan0", "wan1"))?;
            }
        }
        Ok(())
    }

    pub(crate) fn start_gateway(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.dir.join("gateway.log")).map_err(|e| e.to_string())?;
        let err = log.try_clone().map_err(|e| e.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace("rt")])
            .arg(hairpin()?)
            .arg("run")
            .arg(self.dir.join("gateway.toml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.gateway = Some(child);
        wait_for(Duration::from_secs(10), || self.log().contains("ready"))
            .map_err(|_| format!("no `ready': {}", self.log()))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }

    /// A command of the running gateway.
    pub(crate) fn command(&self, words: &str) -> Result<String, String> {
        sh(&format!("HAIRPIN_SOCKET={}/control.sock {} {words}", self.dir.display(), hairpin()?.display()))
    }

    fn ends(&self) -> Result<(), String> {
        let (lan, wan) = (namespace("lan"), namespace("wan"));
        sh(&format!(
            "ip netns exec {lan} sh -ec 'ip link set lan1 up
            for a in 192.168.1.10/24 192.168.1.11/24; do ip addr add $a dev lan1; done
            ip addr add fd00:1::10/64 dev lan1 nodad
            ip route replace default via 192.168.1.1; ip route add default via fd00:1::1'
            ip netns exec {wan} sh -ec 'ip link set wan1 up
            ip addr add 203.0.113.9/24 dev wan1; ip addr add 2001:db8:9::9/64 dev wan1 nodad'"
        ))
        .map(drop)
    }

    fn servers(&mut self) -> Result<(), String> {
        let dir = self.dir.display().to_string();
        let _ = fs::create_dir_all(self.dir.join("www"));
        let _ = fs::create_dir_all("/run/sshd");
        let _ = fs::create_dir_all("/var/run/vsftpd/empty");
        sh(&format!(
            "chmod 755 {dir} {dir}/www; head -c 5000000 /dev/urandom > {dir}/www/file; chmod 644 {dir}/www/file"
        ))?;
        for side in ["lan", "wan"] {
            self.write(
                &format!("nginx-{side}.conf"),
                &format!(
                    "daemon off; worker_processes 1; user root; pid {dir}/nginx-{side}.pid; error_log {dir}/nginx-{side}.err;\n\
                     events {{ worker_connections 256; }}\n\
                     http {{ access_log off; server {{ listen 80; listen [::]:80; root {dir}/www;\n\
                     location /who {{ return 200 \"$server_addr sees $remote_addr\\n\"; }} }} }}\n"
                ),
            )?;
            self.daemon(side, &format!("nginx -c {dir}/nginx-{side}.conf"))?;
        }
        self.write(
            "vsftpd.conf",
            &format!(
                "listen=YES\nanonymous_enable=YES\nanon_root={dir}/www\nlocal_enable=NO\nbackground=NO\nseccomp_sandbox=NO\n\
                 connect_from_port_20=NO\nno_anon_password=YES\nftp_username=root\nxferlog_enable=NO\nrun_as_launching_user=YES\n"
            ),
        )?;
        self.daemon("wan", &format!("vsftpd {dir}/vsftpd.conf"))?;
        self.daemon(
            "wan",
            "dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null --address=/name.test/198.51.100.7",
        )?;
        self.daemon("wan", "iperf3 -s -i 0")?;
        sh(&format!("rm -f {dir}/hostkey*; ssh-keygen -q -t ed25519 -N '' -f {dir}/hostkey"))?;
        self.daemon("wan", &format!("$(PATH=$PATH:/usr/sbin command -v sshd) -D -e -f /dev/null -h {dir}/hostkey"))?;
        let wan = namespace("wan");
        for port in ["80", "21", "53", "5201", "22"] {
            wait_for(Duration::from_secs(15), || {
                sh(&format!("ip netns exec {wan} ss -ltnH 'sport = :{port}' | grep -q .")).is_ok()
            })
            .map_err(|_| format!("no server on port {port}"))?;
        }
        Ok(())
    }

    fn daemon(&mut self, side: &str, command: &str) -> Result<(), String> {
        let log =
            fs::File::create(self.dir.join(format!("daemon{}.log", self.daemons.len()))).map_err(|e| e.to_string())?;
        let err = log.try_clone().map_err(|e| e.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace(side), "sh", "-c", &format!("exec {command}")])
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
        sh(&format!("ip netns exec {} {command}", namespace(side)))
    }

    pub(crate) fn is_kernel(&self) -> bool {
        self.router == Router::Kernel
    }

    fn take_down(&mut self) {
        for mut child in self.gateway.take().into_iter().chain(self.daemons.drain(..)) {
            let _ = sh(&format!("kill {}", child.id()));
            if wait_for(Duration::from_secs(3), || matches!(child.try_wait(), Ok(Some(_)))).is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        for side in ["lan", "rt", "wan"] {
            let ns = namespace(side);
            // Children of the daemons are in the namespace too.
            let _ = sh(&format!(
                "for p in $(ip netns pids {ns} 2>/dev/null); do kill -9 $p; done; ip netns del {ns} 2>/dev/null"
            ));
        }
    }
}

/// Link addresses of the ends of a bench.
const MACS: [&str; 2] = ["02:00:00:00:01:02", "02:00:00:00:02:02"];

/// A program that ends when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }
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
