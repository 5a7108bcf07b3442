//! What the gateway gives up once its devices are open: the superuser's name, capabilities, most system calls that only an intruder
//! would want, and all places but its own.
//!
//! It is done on the first thread, before there are others: they inherit it. What a kernel lacks is said, and the gateway goes on.

use crate::names::User;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use rustix::process::{Gid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Directories to write in: of the socket, the snapshot, the log. They are made if they are not there.
    pub directories: Vec<PathBuf>,
    /// Who to be.
    pub user: Option<User>,
}

/// Gives up everything else. The lines say what could not be, as the kernel lacks it.
///
/// # Errors
/// The process could not become its user.
pub fn harden(needs: &Needs) -> io::Result<Vec<String>> {
    // Landlock first: it opens directories, for which capabilities may be needed.
    let files = restrict_files(needs);
    // Devices are changed (MTU, up, down) and given back at the end with this one; everything else is open already.
    let capabilities = drop_capabilities(&[Capability::CAP_NET_ADMIN], needs.user.as_ref());
    if let (Err(why), Some(user)) = (&capabilities, &needs.user)
        && crate::names::own_uid() != user.uid
    {
        return Err(io::Error::other(format!("the process cannot become user {}: {why}", user.name)));
    }
    Ok(lacking([
        ("files are not restricted (Landlock)", files),
        ("capabilities are kept", capabilities),
        ("system calls are not restricted (seccomp)", restrict_calls()),
    ]))
}

/// Gives up everything but looking into other processes' files in /proc. For one thread, which has no other work.
pub(crate) fn become_looker(user: Option<&User>) -> Vec<String> {
    let kept = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];
    lacking([
        ("capabilities are kept", drop_capabilities(&kept, user)),
        ("system calls are not restricted (seccomp)", restrict_calls()),
    ])
}

fn lacking<const N: usize>(results: [(&str, Result<(), String>); N]) -> Vec<String> {
    results.into_iter().filter_map(|(what, result)| result.err().map(|why| format!("{what}: {why}"))).collect()
}

/// Becomes the user, if there is one, and drops all capabilities but these.
fn drop_capabilities(wanted: &[Capability], user: Option<&User>) -> Result<(), String> {
    let have = caps::read(None, CapSet::Permitted).map_err(|why| why.to_string())?;
    let kept: CapsHashSet = wanted.iter().filter(|capability| have.contains(capability)).copied().collect();
    // The bounding set and what is inherited: only who may change them must.
    let _ = caps::clear(None, CapSet::Ambient);
    for capability in caps::all() {
        if !kept.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    if let Some(user) = user {
        become_user(user).map_err(|why| why.to_string())?;
    }
    let set = |which, value: &CapsHashSet| caps::set(None, which, value).map_err(|why| why.to_string());
    set(CapSet::Inheritable, &CapsHashSet::new())?;
    set(CapSet::Effective, &kept)?;
    set(CapSet::Permitted, &kept)
}

/// For this thread; what is permitted stays so, for the caller to choose from.
fn become_user(user: &User) -> io::Result<()> {
    use rustix::thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if rustix::process::geteuid() == uid {
        return Ok(());
    }
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    Ok(())
}

/// Whether the user may read or write (`bit` 4 or 2) what is there.
fn may(user: &User, path: &Path, bit: u32) -> bool {
    let Ok(file) = fs::metadata(path) else { return false };
    let shift = if file.uid() == user.uid {
        6
    } else if file.gid() == user.gid {
        3
    } else {
        0
    };
    file.mode() >> shift & bit != 0
}

/// Makes the directories that are not there, for the user if there is one, and looks whether he can do his work in them.
///
/// # Errors
/// What he cannot do, and how to allow it.
pub fn make_room(directories: &[PathBuf], user: Option<&User>) -> io::Result<()> {
    for directory in directories {
        let fail = |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", directory.display()));
        let is_new = !directory.exists();
        fs::create_dir_all(directory).map_err(fail)?;
        let Some(user) = user else { continue };
        if is_new {
            chown(directory, Some(user.uid), Some(user.gid)).map_err(fail)?;
        } else if !may(user, directory, 2) {
            let text = format!(
                "{}: user {1} may not write there: `chown {1} {0}', or choose another place",
                directory.display(),
                user.name
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    Ok(())
}

/// What the gateway has written as somebody else goes over to the user.
///
/// # Errors
/// It could not be given.
pub fn hand_over(file: &Path, user: Option<&User>) -> io::Result<()> {
    match user.filter(|_| file.exists()) {
        Some(user) => chown(file, Some(user.uid), Some(user.gid))
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", file.display()))),
        None => Ok(()),
    }
}

/// A line for each file that the user could not read anew.
pub fn unreadable<'p>(files: impl IntoIterator<Item = &'p Path>, user: Option<&User>) -> Vec<String> {
    let Some(user) = user else { return Vec::new() };
    let files = files.into_iter().filter(|file| file.exists() && !may(user, file, 4));
    files
        .map(|file| {
            format!(
                "SIGHUP will not read {} anew as user {1}: `chgrp {1} {0} && chmod g+r {0}' allows it",
                file.display(),
                user.name
            )
        })
        .collect()
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
    // A setting is written as a file that is cut to nothing first.
    allow(Path::new("/proc/sys/net"), read | AccessFs::WriteFile | AccessFs::Truncate)?;
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
        let needs = Needs { directories: vec![own.clone()], user: None };
        let (lacking, status, results) = std::thread::spawn({
            let (own, other) = (own.clone(), other.clone());
            move || {
                let lacking = harden(&needs).unwrap();
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
