//! What the gateway gives up once its devices are open: capabilities, most system calls that only an intruder would want, and all
//! places but its own.
//!
//! It is done on the first thread, before there are others: they inherit it. What a kernel lacks is said, and the gateway goes on.

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Directories to write in: of the socket, the snapshot, the log. They are made if they are not there.
    pub directories: Vec<PathBuf>,
    /// The owner of a local socket is looked up in /proc, also that of others' processes.
    pub owners: bool,
}

/// Gives up everything else. The lines say what could not be.
pub fn harden(needs: &Needs) -> Vec<String> {
    let mut lacking = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| {
        if let Err(why) = result {
            lacking.push(format!("{what}: {why}"));
        }
    };
    // Landlock first: it opens directories, for which capabilities may be needed.
    note("files are not restricted (Landlock)", restrict_files(needs));
    note("capabilities are kept", drop_capabilities(needs));
    note("system calls are not restricted (seccomp)", restrict_calls());
    lacking
}

/// Devices are changed (MTU, up, down) and given back at the end with this one; everything else is open already.
fn drop_capabilities(needs: &Needs) -> Result<(), String> {
    let mut kept: CapsHashSet = [Capability::CAP_NET_ADMIN].into();
    if needs.owners {
        kept.insert(Capability::CAP_SYS_PTRACE);
    }
    let have = caps::read(None, CapSet::Permitted).map_err(|why| why.to_string())?;
    let kept: CapsHashSet = kept.intersection(&have).copied().collect();
    // The bounding set and what is inherited: only who may change them must.
    let _ = caps::clear(None, CapSet::Ambient);
    for capability in caps::all() {
        if !kept.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    let set = |which, value: &CapsHashSet| caps::set(None, which, value).map_err(|why| why.to_string());
    set(CapSet::Inheritable, &CapsHashSet::new())?;
    set(CapSet::Effective, &kept)?;
    set(CapSet::Permitted, &kept)
}

/// Reading stays possible (names, rule files, /proc); writing only in the gateway's own directories and to the settings of devices.
fn restrict_files(needs: &Needs) -> Result<(), String> {
    const ABI: ABI = landlock::ABI::V5;
    let failed = |why: landlock::RulesetError| why.to_string();
    let all = AccessFs::from_all(ABI);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let mut allow = |path: &Path, access| -> Result<(), String> {
        // What is not there needs no permission.
        let Ok(open) = PathFd::new(path) else { return Ok(()) };
        (&mut ruleset).add_rule(PathBeneath::new(open, access)).map(|_| ()).map_err(failed)
    };
    allow(Path::new("/"), read)?;
    allow(Path::new("/proc/sys/net"), read | AccessFs::WriteFile)?;
    allow(Path::new("/dev"), read | AccessFs::WriteFile | AccessFs::IoctlDev)?;
    for directory in &needs.directories {
        fs::create_dir_all(directory).map_err(|why| format!("{}: {why}", directory.display()))?;
        allow(directory, all ^ AccessFs::Execute)?;
    }
    match ruleset.restrict_self().map_err(failed)?.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel has none".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Programs, other processes, mounts, modules, keys and namespaces are nothing for a gateway at work: such calls fail with EPERM.
fn restrict_calls() -> Result<(), String> {
    const REFUSED: &[i64] = &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_acct,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_personality,
        libc::SYS_quotactl,
    ];
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|_| "not on this kind of processor".to_owned())?;
    let rules: BTreeMap<i64, Vec<_>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch)
        .map_err(|why| why.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|why: seccompiler::BackendError| why.to_string())?;
    // Sets no_new_privs too.
    seccompiler::apply_filter(&program).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::process::Command;

    /// On a thread of its own, which alone is restricted.
    #[test]
    fn an_intruder_can_do_little() {
        let base = std::env::temp_dir().join(format!("hairpin-harden-{}", std::process::id()));
        let (own, other) = (base.join("own"), base.join("other"));
        fs::create_dir_all(&other).unwrap();
        let needs = Needs { directories: vec![own.clone()], owners: false };
        let (lacking, status, results) = std::thread::spawn({
            let (own, other) = (own.clone(), other.clone());
            move || {
                let lacking = harden(&needs);
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                let write = |path: PathBuf| fs::write(path, "x").map_err(|why| why.kind());
                let run = Command::new("true").status().map(|_| ()).map_err(|why| why.kind());
                (lacking, status, [write(own.join("file")), write(other.join("file")), run])
            }
        })
        .join()
        .unwrap();
        fs::remove_dir_all(&base).unwrap();
        let line = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned()
        };
        let has = |what: &str| !lacking.iter().any(|line| line.contains(what));
        println!("lacking here: {lacking:?}");
        assert_eq!(results[0], Ok(()), "its own directory");
        if has("Landlock") {
            assert_eq!(results[1], Err(ErrorKind::PermissionDenied), "another directory");
        }
        if has("seccomp") {
            assert_eq!(results[2], Err(ErrorKind::PermissionDenied), "a program");
            assert_eq!((line("Seccomp:").as_str(), line("NoNewPrivs:").as_str()), ("2", "1"));
        }
        if has("capabilities") {
            let effective = u64::from_str_radix(&line("CapEff:"), 16).unwrap();
            // CAP_NET_ADMIN is number 12.
            assert_eq!(effective & !(1 << 12), 0, "{effective:x}");
        }
        assert!(lacking.len() < 3, "{lacking:?}");
    }
}
