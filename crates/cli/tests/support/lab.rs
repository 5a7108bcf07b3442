//! Two namespaces and a gateway process between them, by TAP devices. Needs root.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The tests share names of namespaces only with their own process.
pub(crate) struct Lab {
    pub(crate) directory: PathBuf,
    /// Namespaces of the outer and the inner network.
    pub(crate) nets: [String; 2],
    pub(crate) gateway: Option<Child>,
}

pub(crate) const TOML: &str = r#"
[sysctl]
"net.ipv4.ip_forward" = 1
"net.netfilter.nf_conntrack_acct" = 1

[[interface]]
name = "wan0"
addresses = ["203.0.113.1/24"]
datapath = "tap"
netns = "WAN"

[[interface]]
name = "lan0"
addresses = ["192.168.1.1/24"]
datapath = "tap"
netns = "LAN"

[rules]
v4 = "rules.v4"

[control]
socket = "control.sock"

[state]
file = "state"
interval = 1
"#;

pub(crate) const RULES: &str = "*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n\
    *filter\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i lan0 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n";

impl Lab {
    /// None, with a printed reason, where that cannot be done.
    pub(crate) fn new(name: &str) -> Option<Lab> {
        let nets = ["w", "l"].map(|side| format!("hp-{side}{name}{}", std::process::id() % 100_000));
        let made = nets.iter().all(|net| quiet(Command::new("ip").args(["netns", "add", net])));
        let has_tun = Path::new("/dev/net/tun").exists() && quiet(Command::new("python3").arg("-V"));
        let directory = std::env::temp_dir().join(format!("hairpin-live-{name}-{}", std::process::id()));
        let lab = Lab { directory, nets, gateway: None };
        if !made || !has_tun {
            let reason = if has_tun { "no root, or no ip netns" } else { "no /dev/net/tun, or no python3" };
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no live gateway: {reason}");
            println!("skipped: {reason}");
            return None;
        }
        std::fs::create_dir_all(&lab.directory).unwrap();
        let toml =
            TOML.replace("\"WAN\"", &format!("{:?}", lab.nets[0])).replace("\"LAN\"", &format!("{:?}", lab.nets[1]));
        std::fs::write(lab.directory.join("gateway.toml"), toml).unwrap();
        std::fs::write(lab.directory.join("rules.v4"), RULES).unwrap();
        Some(lab)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.join(file), text).unwrap();
    }

    /// Starts the gateway and sets up the kernel's ends of its devices.
    pub(crate) fn start(&mut self) -> Vec<String> {
        self.gateway = Some(start_gateway(&mut Command::new(env!("CARGO_BIN_EXE_hairpin")), &self.directory));
        for (net, dev, addr) in [(0, "wan0", "203.0.113.2/24"), (1, "lan0", "192.168.1.2/24")] {
            assert!(self.inside(net, &["ip", "addr", "replace", addr, "dev", dev]).status().unwrap().success());
            assert!(self.inside(net, &["ip", "link", "set", dev, "up"]).status().unwrap().success());
        }
        let route = self.inside(1, &["ip", "route", "replace", "default", "via", "192.168.1.1"]).status();
        assert!(route.unwrap().success());
        self.log().lines().map(str::to_owned).collect()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.gateway.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn inside(&self, net: usize, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.nets[net]]).args(words);
        command
    }

    /// A signal that does not end it.
    pub(crate) fn quiet_kill(&self, signal: &str) {
        assert!(quiet(Command::new("kill").args([signal, &self.pid().to_string()])));
    }

    pub(crate) fn kill(&mut self, signal: &str) {
        if let Some(mut child) = self.gateway.take() {
            quiet(Command::new("kill").args([signal, &child.id().to_string()]));
            let until = Instant::now() + Duration::from_secs(10);
            while child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < until, "the gateway does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    pub(crate) fn hairpin(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.args(words).env("HAIRPIN_SOCKET", self.socket()).env_remove("HAIRPIN_STATE");
        command.output().unwrap()
    }

    /// What a command that must succeed prints.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.hairpin(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {err}\n{}", self.log());
        out.into_owned()
    }

    pub(crate) fn pings(&self) -> bool {
        quiet(&mut self.inside(1, &["ping", "-c", "1", "-W", "1", "203.0.113.2"]))
    }

    /// Reads rules as `iptables-restore` does.
    pub(crate) fn restore(&self, text: &str) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("iptables-restore")
            .env("HAIRPIN_SOCKET", self.socket())
            .env_remove("HAIRPIN_STATE")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for net in &self.nets {
            quiet(Command::new("ip").args(["netns", "del", net]));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts the gateway of the directory's host file, by the program or one that becomes it, and waits until it forwards.
pub(crate) fn start_gateway(program: &mut Command, directory: &Path) -> Child {
    let log = directory.join("log");
    let mut child = program
        .args(["run", "gateway.toml"])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        let read = out.read_line(&mut line).unwrap();
        assert!(read > 0, "the gateway ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
    }
    child
}

pub(crate) fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
