//! ufw in a machine of its own (a tree of Debian 13, everything written to it in memory), on the router's network: with hairpin's
//! programs it configures the running gateway, with the real ones the kernel; and real traffic shows that its rules hold.

use super::board::Teller;
use super::checks::outcome;
use super::stage::{Router, Stage, hairpin, sh, wait_for};
use crate::commands::reference;
use std::fs;
use std::time::Duration;

/// Name, where, command; where is `ufw` for ufw's own words.
const STEPS: &[(&str, &str, &str)] = &[
    ("enable", "ufw", "--force enable"),
    ("closed by default", "lan", "sh -c 'curl -s -m 1 http://192.168.1.1:8088/name; echo $?'"),
    ("ping may", "lan", "sh -c 'ping -c 1 -W 2 192.168.1.1 | grep -o \"[0-9]* received\"'"),
    ("nothing is routed", "lan", "sh -c 'curl -s -m 1 http://203.0.113.9/name; echo $?'"),
    ("allow from home", "ufw", "allow from 192.168.1.0/24 to any port 8088 proto tcp"),
    ("open to home", "lan", "curl -sf -m 5 http://192.168.1.1:8088/name"),
    ("closed to strangers", "wan", "sh -c 'curl -s -m 1 http://203.0.113.1:8088/name; echo $?'"),
    ("allow to all", "ufw", "allow 8089/tcp"),
    ("open to strangers", "wan", "curl -sf -m 5 http://203.0.113.1:8089/name"),
    ("open by IPv6", "wan", "curl -sf -m 5 http://[2001:db8:9::1]:8089/name"),
    ("reject", "ufw", "reject 3128/tcp"),
    ("refused", "wan", "sh -c 'curl -s -m 2 http://203.0.113.1:3128/name; echo $?'"),
    ("route allow", "ufw", "route allow in on lan0 out on wan0"),
    ("routed", "lan", "curl -sf -m 5 http://203.0.113.9/who"),
    ("reload", "ufw", "reload"),
    ("still open", "wan", "curl -sf -m 5 http://203.0.113.1:8089/name"),
    ("limit", "ufw", "limit 8089/tcp"),
    (
        "limited",
        "wan",
        "sh -c 'for i in 1 2 3 4 5 6 7 8; do curl -s -m 1 http://203.0.113.1:8089/name; done | sort | uniq -c | tr -s \" \"'",
    ),
    ("status", "ufw", "status verbose"),
    ("delete", "ufw", "delete allow from 192.168.1.0/24 to any port 8088 proto tcp"),
    ("closed again", "lan", "sh -c 'curl -s -m 1 http://192.168.1.1:8088/name; echo $?'"),
    ("disable", "ufw", "disable"),
    ("all is open", "wan", "curl -sf -m 5 http://203.0.113.1:8088/name"),
];

/// NAT is what people write into ufw's `before.rules`.
const NAT: &str = "*nat\\n:POSTROUTING ACCEPT [0:0]\\n-F\\n-A POSTROUTING -o eth0 -j MASQUERADE\\nCOMMIT";

/// Every step.
pub(crate) fn run(stage: &mut Stage, tell: Teller<'_>) {
    let machine = match stage.load("*filter\nCOMMIT\n").and_then(|()| Machine::start(stage)) {
        Ok(machine) => machine,
        Err(why) => return tell.check("ufw: its machine", format!("failed: {why}")),
    };
    for (name, side, command) in STEPS {
        let outcome = match *side {
            "ufw" => machine
                .run(&stage.localize(&format!("ufw {command}")))
                .map_or_else(|why| format!("failed: {why}"), |text| as_everywhere(stage, &text)),
            side => outcome(stage, side, command),
        };
        tell.check(format!("ufw: {name}"), outcome);
    }
}

/// Whether anything is forwarded ufw reads in the kernel's settings, where it is not.
fn as_everywhere(stage: &Stage, text: &str) -> String {
    stage.as_everywhere(text).replace("disabled (routed)", "deny (routed)")
}

/// A process that keeps the machine's file systems.
struct Machine {
    pid: u32,
    root: String,
}

impl Machine {
    fn start(stage: &mut Stage) -> Result<Machine, String> {
        let tree = reference::find_with("usr/sbin/ufw")?;
        let tree = fs::canonicalize(&tree).map_err(|why| format!("{}: {why}", tree.display()))?;
        let dir = stage.dir.join("machine");
        fs::create_dir_all(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        let root = format!("{}/root", dir.display());
        let programs = "$root/usr/sbin/xtables-nft-multi $root/usr/sbin/xtables-legacy-multi";
        // By links or by name: both are what people have.
        let ours = match stage.router {
            Router::Kernel => "cp $root/usr/sbin/xtables-legacy-multi $root/usr/sbin/xtables-nft-multi".to_owned(),
            _ => format!(
                "cp {} $root/opt/hairpin; for p in {programs}; do rm $p; cp $root/opt/hairpin $p; done
                chroot $root /opt/hairpin install-links /opt/links >&2",
                hairpin()?.display()
            ),
        };
        let script = format!(
            "set -e
            mount -t tmpfs none {0}; root={root}; mkdir {0}/upper {0}/work $root
            mount -t overlay none -o lowerdir={1},upperdir={0}/upper,workdir={0}/work $root
            mount -t proc proc $root/proc; mount --rbind /dev $root/dev; mount -t tmpfs none $root/run; mount -t tmpfs none $root/tmp
            mkdir -p $root/run/lock $root/opt/links $root/run/live; mount --bind {2} $root/run/live
            {ours}
            sed -i s,^IPT_SYSCTL=.*,IPT_SYSCTL=, $root/etc/default/ufw
            printf '{3}\\n' >> $root/etc/ufw/before.rules
            echo up; exec sleep 900",
            dir.display(),
            tree.display(),
            stage.dir.display(),
            stage.localize(NAT),
        );
        stage.write("machine.sh", &script)?;
        stage.write("machine.up", "")?;
        stage.daemon("rt", &format!("unshare --mount bash {0}/machine.sh > {0}/machine.up", stage.dir.display()))?;
        let up = stage.dir.join("machine.up");
        wait_for(Duration::from_secs(20), || fs::read_to_string(&up).is_ok_and(|text| text == "up\n"))
            .map_err(|why| format!("the machine is not up {why}"))?;
        Ok(Machine { pid: stage.last_daemon(), root })
    }

    /// Runs something in it. What it says of its own accord on standard error counts as said.
    fn run(&self, command: &str) -> Result<String, String> {
        sh(&format!(
            "nsenter --mount --net -t {} env -i PATH=/opt/links:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
             HAIRPIN_SOCKET=/run/live/control.sock /usr/sbin/chroot {} {command} 2>&1",
            self.pid, self.root
        ))
    }
}
