//! The unit `hairpin@` under a systemd that is the first process of a machine of its own: a tree of Debian 13 with everything written to
//! it in memory, on the router's network. The gateway then is an ordinary user under all that the unit forbids.

use super::board::Teller;
use super::faults;
use super::keeper;
use super::stage::{Stage, TAG, hairpin, sh, wait_for};
use crate::commands::reference;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Outcome = Result<String, String>;
type Check = (&'static str, fn(&mut Stage) -> Outcome);

const CHECKS: &[Check] = &[
    ("who it is, and what it may", confined),
    ("LOG in the journal", logged),
    ("another address, by systemctl reload", reloaded),
    ("killed under 4 downloads, started again by systemd", killed),
    ("stopped like one that hangs: the watchdog", watched),
    ("systemctl stop leaves devices as they were", stopped),
];

/// Every check of the unit.
pub(crate) fn run(stage: &mut Stage, tell: Teller<'_>) {
    for (name, work) in CHECKS {
        tell.fault(name, work(stage));
    }
}

/// A running systemd; it ends when it is dropped.
pub(crate) struct Machine {
    systemd: u32,
}

/// The host file is `/etc/hairpin/gateway.toml`.
const UNIT: &str = "hairpin@gateway";

impl Machine {
    /// Boots, and starts the unit.
    pub(crate) fn start(stage: &mut Stage) -> Result<Machine, String> {
        let tree = reference::find_with("usr/lib/systemd/systemd")?;
        let tree = fs::canonicalize(&tree).map_err(|why| format!("{}: {why}", tree.display()))?;
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
        stage.write("boot.sh", &boot(stage, &tree, &units, &hairpin()?))?;
        stage.daemon("rt", &format!("unshare --mount bash {}/boot.sh", stage.dir.display()))?;
        let outer = stage.last_daemon();
        let mut inner: Option<Machine> = None;
        let is_up = wait_for(Duration::from_secs(30), || {
            if inner.is_none() {
                let child = sh(&format!("pgrep -P {outer} systemd")).ok().and_then(|pid| pid.trim().parse().ok());
                inner = child.map(|systemd| Machine { systemd });
            }
            // Something of the tree's own may have failed: it is up all the same.
            let state = inner.as_ref().map(|m| m.sh("systemctl is-system-running || true")).and_then(Result::ok);
            state.is_some_and(|text| ["running", "degraded"].contains(&text.trim()))
        });
        let log = || fs::read_to_string(stage.dir.join(stage.last_log())).unwrap_or_default();
        let machine = inner.filter(|_| is_up.is_ok()).ok_or_else(|| format!("systemd does not come up: {}", log()))?;
        machine.sh(&format!("systemctl start {UNIT}")).map_err(|_| machine.journal())?;
        Ok(machine)
    }

    /// Where something of the machine is for those outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{inside}", self.systemd))
    }

    /// A shell's line in it.
    fn sh(&self, line: &str) -> Outcome {
        sh(&format!(
            "nsenter -t {0} -m -p -u -i -n -C --root=/proc/{0}/root --wd=/ env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '{line}'",
            self.systemd
        ))
    }

    fn journal(&self) -> String {
        self.sh(&format!("journalctl -u {UNIT} -n 8 -o cat --no-pager")).unwrap_or_default()
    }

    fn property(&self, name: &str) -> Outcome {
        self.sh(&format!("systemctl show -p {name} --value {UNIT}")).map(|text| text.trim().to_owned())
    }

    /// The unit is active, and was started again so often.
    fn started_again(&self, times: u32) -> Result<(), String> {
        let is_so = || {
            self.property("NRestarts").is_ok_and(|text| text == times.to_string())
                && self.property("ActiveState").is_ok_and(|text| text == "active")
        };
        wait_for(Duration::from_secs(30), is_so).map_err(|why| format!("not started again {why}: {}", self.journal()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All that it started goes with the first process.
        let _ = sh(&format!("kill -9 {}", self.systemd));
        let run = std::process::id().to_string();
        for _ in 0..20 {
            if forget(&|other| other == run) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// From a script in a mount namespace to systemd in a machine: its file system, its control group, its first process.
fn boot(stage: &Stage, tree: &Path, units: &Path, hairpin: &Path) -> String {
    let (dir, tree, units) = (stage.dir.display(), tree.display(), units.display());
    let group = format!("{TAG}-{}-{}", std::process::id(), stage.router.name());
    let inside = format!(
        "set -e; root={dir}/root
        mount -t proc proc $root/proc; mount -t sysfs sysfs $root/sys; mount -t cgroup2 none $root/sys/fs/cgroup
        for t in run tmp dev; do mount -t tmpfs none $root/$t; done; mkdir $root/dev/pts $root/dev/shm $root/dev/net
        for d in null zero full random urandom tty; do touch $root/dev/$d; mount --bind /dev/$d $root/dev/$d; done
        touch $root/dev/console; ln -s /proc/self/fd $root/dev/fd; mknod -m 666 $root/dev/net/tun c 10 200; mount -t devpts devpts $root/dev/pts -o newinstance,ptmxmode=0666
        cd $root; mkdir -p old; pivot_root . old; umount -l /old
        exec env -i container=hairpin PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --show-status=no"
    );
    // A shorter wait for the watchdog than people have.
    format!(
        "set -e; mount --make-rprivate /; cd {dir}
        mkdir -p root memory groups; mount -t tmpfs none memory; mkdir memory/upper memory/work
        mount -t overlay none -o lowerdir={tree},upperdir=memory/upper,workdir=memory/work root
        cp {} root/usr/bin/hairpin; cp {units}/*.service root/etc/systemd/system/
        mkdir -p root/etc/systemd/system/{UNIT}.service.d
        printf '[Service]\\nWatchdogSec=4s\\n' > root/etc/systemd/system/{UNIT}.service.d/watchdog.conf
        rm -f root/etc/systemd/system/*.wants/*; systemctl --root=root mask -q console-getty getty.target networking || true
        chroot root useradd --system --user-group --no-create-home --shell /usr/sbin/nologin hairpin
        mkdir -p root/etc/hairpin; mount --bind . root/etc/hairpin
        mount -t cgroup2 none groups; mkdir -p groups/{group}; echo $$ > groups/{group}/cgroup.procs
        cat > inside.sh <<'END'\n{inside}\nEND
        exec unshare --mount --pid --fork --uts --ipc --cgroup --kill-child bash inside.sh",
        hairpin.display(),
    )
}

/// Removes the control groups of runs. False: something is left, for processes still end.
pub(crate) fn forget(is_wanted: &dyn Fn(&str) -> bool) -> bool {
    let dir = std::env::temp_dir().join(format!("{TAG}-{}-groups", std::process::id()));
    if fs::create_dir_all(&dir).is_err() || sh(&format!("mount -t cgroup2 none {}", dir.display())).is_err() {
        return true;
    }
    let mut all = true;
    for group in keeper::of_runs(&dir, is_wanted) {
        all &= sh(&format!("find {}/{group} -depth -type d -exec rmdir {{}} +", dir.display())).is_ok();
    }
    let _ = sh(&format!("umount {0} && rmdir {0}", dir.display()));
    all
}

fn machine(stage: &Stage) -> Result<&Machine, String> {
    stage.machine.as_ref().ok_or_else(|| "no machine".to_owned())
}

fn confined(stage: &mut Stage) -> Outcome {
    let machine = machine(stage)?;
    let status = machine.sh(&format!(
        "user=$(stat -c %U /proc/$(systemctl show -p MainPID --value {UNIT})); echo $user $(grep -E \"CapEff|NoNewPrivs|Seccomp:\" \
         /proc/$(systemctl show -p MainPID --value {UNIT})/status | cut -f2)"
    ))?;
    // CAP_NET_ADMIN alone; what the kernel lacks would be a line.
    let said = machine.journal();
    let lacks = said.contains("are kept") || said.contains("not restricted");
    match status.trim() {
        "hairpin 0000000000001000 1 2" if !lacks => Ok("user hairpin, CAP_NET_ADMIN, seccomp, Landlock".to_owned()),
        other => Err(format!("{other}: {said}")),
    }
}

fn logged(stage: &mut Stage) -> Outcome {
    stage.command("iptables -I FORWARD -p icmp -j LOG --log-prefix seen: --log-level 3")?;
    stage.at("lan", "ping -c 1 -W 2 203.0.113.9")?;
    let machine = machine(stage)?;
    let lines = || machine.sh("journalctl -t hairpin -p 3..3 -o cat --no-pager | grep -c ^seen:IN=lan0").is_ok();
    wait_for(Duration::from_secs(5), lines).map_err(|why| format!("{why}: {}", machine.journal()))?;
    Ok("with its level".to_owned())
}

fn reloaded(stage: &mut Stage) -> Outcome {
    stage.host.public = "203.0.113.2";
    stage.write_host()?;
    let machine = machine(stage)?;
    machine.sh(&format!("systemctl reload {UNIT}"))?;
    let is_new = || machine.journal().contains("is in force anew");
    wait_for(Duration::from_secs(10), is_new).map_err(|why| format!("{why}: {}", machine.journal()))?;
    let who = stage.at("lan", "curl -sf -m 5 http://203.0.113.9/who")?;
    if who.contains("sees 203.0.113.2") { Ok(who.trim().to_owned()) } else { Err(who) }
}

fn killed(stage: &mut Stage) -> Outcome {
    let downloads = faults::downloads(stage, 4);
    // Long enough for a snapshot of the connections.
    std::thread::sleep(Duration::from_millis(2500));
    let machine = machine(stage)?;
    machine.sh(&format!("kill -9 $(systemctl show -p MainPID --value {UNIT})"))?;
    machine.started_again(1)?;
    faults::all_complete(downloads)
}

fn watched(stage: &mut Stage) -> Outcome {
    let machine = machine(stage)?;
    machine.sh(&format!("kill -STOP $(systemctl show -p MainPID --value {UNIT})"))?;
    machine.started_again(2)?;
    stage.at("lan", "curl -sf -m 10 --retry 2 http://203.0.113.9/who").map(|_| "started again".to_owned())
}

fn stopped(stage: &mut Stage) -> Outcome {
    let see = |stage: &Stage| {
        stage.at(
            "rt",
            "sh -c 'cat /proc/sys/net/ipv4/conf/wan0/forwarding /proc/sys/net/ipv6/conf/wan0/disable_ipv6; ip link | grep -c -E \"hairpin|NOARP\" || true'",
        )
    };
    let during = see(stage)?;
    let machine = machine(stage)?;
    machine.sh(&format!("systemctl stop {UNIT}"))?;
    let (result, after) = (machine.property("Result")?, see(stage)?);
    let is_gone =
        !machine.path("run/hairpin-gateway").exists() && machine.path("var/lib/hairpin-gateway/state").exists();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match (words(&during).as_str(), words(&after).as_str(), result.as_str()) {
        ("0 1 1" | "0 1 2" | "0 1 3" | "0 1 4", "0 0 0", "success") if is_gone => {
            Ok("success, nothing left".to_owned())
        }
        (during, after, result) => Err(format!("{during}, then {after}, {result}: {}", machine.journal())),
    }
}
