//! The real iptables 1.8.11: the legacy variant of Debian 13, in a tree of its own, run in a network namespace of its own.

use crate::oracle::kernel::sys;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// The packages of the tree beside the base: the real iptables, programs that live on it, and systemd for the gateway's units.
const PACKAGES: &str = "iptables,ipset,netbase,iproute2,ufw,ferm,fail2ban,shorewall,shorewall6,arno-iptables-firewall,pyroman,systemd,dbus,\
                        conntrack";

/// A tree that has this file: the one that `HAIRPIN_TRIXIE` names, `trixie` beside the repository, or else `target/debian13`, made
/// when it is not there.
pub(crate) fn find_with(file: &str) -> Result<PathBuf, String> {
    if !sys::is_root() {
        return Err("running the real iptables needs root".to_owned());
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = here.join("../target/debian13");
    let named = std::env::var_os("HAIRPIN_TRIXIE").map(PathBuf::from);
    let all = named.into_iter().chain([here.join("../../trixie"), made.clone()]);
    for tree in all.filter(|tree| tree.join(file).exists()) {
        let version = Command::new("chroot").arg(&tree).args(["iptables-legacy", "-V"]).output();
        if version.is_ok_and(|output| output.stdout.starts_with(b"iptables v1.8.11 ")) {
            return Ok(tree);
        }
    }
    if !made.join("usr/sbin/iptables-legacy").exists() {
        make(&made)?;
    }
    if made.join(file).exists() {
        Ok(made)
    } else {
        Err(format!("no tree has /{file}: remove {}, and it is made anew", made.display()))
    }
}

/// A tree with the real iptables.
pub(super) fn find() -> Result<PathBuf, String> {
    find_with("usr/sbin/iptables-legacy")
}

/// Makes a tree, whole or not at all: it takes its name when it is done. One at a time, since checks of several routers run at once.
fn make(tree: &Path) -> Result<(), String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    if tree.join("usr/sbin/iptables-legacy").exists() {
        return Ok(());
    }
    println!("making a Debian 13 tree in {} (once)", tree.display());
    let unfinished = tree.with_extension(format!("unfinished-{}", std::process::id()));
    let include = format!("--include={PACKAGES}");
    let made = Command::new("debootstrap").args(["--variant=minbase", &include, "trixie"]).arg(&unfinished).output();
    let outcome = match made {
        Ok(output) if output.status.success() => match std::fs::rename(&unfinished, tree) {
            // Another process was quicker.
            Err(_) if tree.join("usr/sbin/iptables-legacy").exists() => Ok(()),
            other => other.map_err(|why| format!("{}: {why}", tree.display())),
        },
        // It tells its errors on standard output.
        Ok(output) => {
            let told = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&told);
            let last: Vec<&str> = told.lines().rev().take(3).collect();
            Err(format!("debootstrap: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / ")))
        }
        Err(why) => Err(format!("no tree with iptables 1.8.11, and debootstrap cannot make one: {why}")),
    };
    let _ = std::fs::remove_dir_all(&unfinished);
    outcome
}

/// Runs this program again in network and mount namespaces of its own, where the tree has a `/proc` (iptables-save asks there which
/// tables are in use). None when this is that run already.
pub(super) fn in_own_namespaces(tree: &Path) -> Option<Result<bool, String>> {
    const INSIDE: &str = "HAIRPIN_IN_NAMESPACES";
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let again = std::env::current_exe().and_then(|program| {
        Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", "mount --rbind /proc \"$0/proc\" && exec \"$@\""])
            .arg(tree)
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .status()
    });
    Some(again.map(|status| status.success()).map_err(|why| format!("unshare: {why}")))
}

/// The real programs, in a namespace without rules.
#[derive(Debug)]
pub(super) struct Reference {
    tree: PathBuf,
    lock: String,
}

impl Reference {
    /// The real programs in the namespaces that this process was started in; see [`in_own_namespaces`].
    pub(super) fn new(tree: PathBuf) -> Reference {
        Reference { tree, lock: format!("/tmp/xtables-{}.lock", std::process::id()) }
    }

    /// The file of this path in the tree.
    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.tree.join(path)).unwrap_or_default()
    }

    pub(super) fn run(&self, program: &str, words: &[String], input: &str) -> Result<Output, String> {
        let mut child = Command::new("chroot")
            .arg(&self.tree)
            .arg(program)
            .args(words)
            .env("XTABLES_LOCKFILE", &self.lock)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|why| format!("chroot: {why}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that reads nothing may be gone already.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output().map_err(|why| format!("{program}: {why}"))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.tree.join(self.lock.trim_start_matches('/')));
    }
}
