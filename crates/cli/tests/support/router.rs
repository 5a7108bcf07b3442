//! A gateway process in a network namespace of its own, by packet sockets on links to two others. Needs root.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// Outside is 203.0.113.9 on `wan1`, inside 192.168.1.2 on `lan1`; the router has .1 of each.
pub(crate) struct Router {
    pub(crate) directory: PathBuf,
    tag: String,
    pub(crate) gateway: Option<Child>,
}

pub(crate) const INTERFACES: &str = "\
[[interface]]\nname = \"wan0\"\ndatapath = \"packet\"\naddresses = [\"203.0.113.1/24\"]\n\
[[interface]]\nname = \"lan0\"\ndatapath = \"packet\"\naddresses = [\"192.168.1.1/24\"]\n\
[[route]]\nto = \"default\"\nvia = \"203.0.113.9\"\n";

/// With a state, a socket and rules.
pub(crate) fn host(sysctls: &str, more: &str) -> String {
    format!(
        "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n{sysctls}\n[rules]\nv4 = \"rules.v4\"\n[control]\nsocket = \"control.sock\"\n\
         [state]\nfile = \"state\"\ninterval = 1\n{INTERFACES}{more}"
    )
}

impl Router {
    /// None, with a printed reason, where that cannot be done.
    pub(crate) fn new(name: &str, host: &str, rules: &str) -> Option<Router> {
        let tag = format!("hr-{name}{}", std::process::id() % 100_000);
        let router = Router { directory: std::env::temp_dir().join(&tag), tag, gateway: None };
        let script = format!(
            "set -e; for n in r w l; do ip netns add {0}-$n; ip -n {0}-$n link set lo up; done
            for s in wan:w lan:l; do d=${{s%:*}}; n=${{s#*:}}
            ip -n {0}-r link add ${{d}}0 type veth peer name ${{d}}1 netns {0}-$n; ip -n {0}-r link set ${{d}}0 up; ip -n {0}-$n link set ${{d}}1 up; done
            ip -n {0}-w addr add 203.0.113.9/24 dev wan1; ip -n {0}-l addr add 192.168.1.2/24 dev lan1
            ip -n {0}-l route add default via 192.168.1.1; python3 -V; setpriv --version",
            router.tag
        );
        if !super::lab::quiet(Command::new("sh").args(["-c", &script])) {
            let reason = "no root, no ip netns, no python3 or no setpriv";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no live gateway: {reason}");
            println!("skipped: {reason}");
            return None;
        }
        std::fs::create_dir_all(&router.directory).unwrap();
        router.write("gateway.toml", host);
        router.write("rules.v4", rules);
        Some(router)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.join(file), text).unwrap();
    }

    /// Starts it by way of another program, with these variables.
    pub(crate) fn start_by(&mut self, by: &[&str], variables: &[(&str, &str)]) {
        let mut program = self.at("r", by);
        program.arg(env!("CARGO_BIN_EXE_hairpin")).envs(variables.iter().copied());
        self.gateway = Some(super::lab::start_gateway(&mut program, &self.directory));
    }

    pub(crate) fn start(&mut self) {
        self.start_by(&[], &[]);
    }

    /// The gateway's process: the programs that started it became it.
    pub(crate) fn pid(&self) -> u32 {
        self.gateway.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// A program in a namespace: `r` of the router, `w` outside, `l` inside.
    pub(crate) fn at(&self, side: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{side}", self.tag)]).args(words);
        command
    }

    /// Whether a shell's line in a namespace succeeds; its output.
    pub(crate) fn sh(&self, side: &str, line: &str) -> (bool, String) {
        let output = self.at(side, &["sh", "-c", line]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn pings(&self) -> bool {
        self.sh("l", "ping -c 1 -W 2 203.0.113.9").0
    }

    pub(crate) fn hairpin(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.args(words).env("HAIRPIN_SOCKET", self.directory.join("control.sock")).env_remove("HAIRPIN_STATE");
        command.output().unwrap()
    }

    /// What a command that must succeed prints.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.hairpin(words);
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn signal(&self, signal: &str) {
        super::lab::quiet(Command::new("kill").args([signal, &self.pid().to_string()]));
    }

    /// Ends it, and waits until it has ended.
    pub(crate) fn kill(&mut self, signal: &str) {
        self.signal(signal);
        let Some(mut child) = self.gateway.take() else { return };
        wait_for("the gateway's end", || child.try_wait().unwrap().is_some());
    }

    /// A SIGHUP, until it has its effect.
    pub(crate) fn reload(&self) {
        let before = self.log().matches("in force anew").count();
        self.signal("-HUP");
        wait_for("the reload", || {
            assert!(!self.log().contains("nothing was changed"), "{}", self.log());
            self.log().matches("in force anew").count() > before
        });
    }
}

/// Waits, at most ten seconds.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for side in ["r", "w", "l"] {
            let name = format!("{}-{side}", self.tag);
            let line = format!("for p in $(ip netns pids {name}); do kill -9 $p; done; ip netns del {name}");
            super::lab::quiet(Command::new("sh").args(["-c", &line]));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
