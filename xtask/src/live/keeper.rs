//! Whoever ends a run, and however, nothing of it stays on the machine. What a run makes bears its process's number: a process beside it
//! waits for its end, kill -9 too, and puts away what is left; and the next run puts away what is left of any that ended without one.

use super::stage::{TAG, sh};
use super::units;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The process beside this one; it works when its standard input ends.
pub(crate) struct Keeper(Child);

impl Keeper {
    pub(crate) fn start() -> Result<Keeper, String> {
        let this = std::env::current_exe().map_err(|why| why.to_string())?;
        let mut command = Command::new(this);
        command.args(["live", "keeper", &std::process::id().to_string()]);
        // In a group of its own: a Ctrl-C is not for it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map(Keeper).map_err(|why| format!("no keeper: {why}"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the process beside does: waits for the end, then puts away what is of the run with this number.
pub(crate) fn keep(run: &str) {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    put_away(&|other| other == run);
}

/// Puts away what is left of runs whose process is gone.
pub(crate) fn put_away_the_dead() {
    put_away(&|run| !is_alive(run));
}

fn is_alive(run: &str) -> bool {
    fs::read_to_string(format!("/proc/{run}/comm")).is_ok_and(|comm| comm.contains("xtask"))
}

fn put_away(is_wanted: &dyn Fn(&str) -> bool) {
    for name in of_runs(Path::new("/run/netns"), is_wanted) {
        take_down(&name);
    }
    units::forget(is_wanted);
    let temporary = std::env::temp_dir();
    for name in of_runs(&temporary, is_wanted) {
        let _ = fs::remove_dir_all(temporary.join(name));
    }
}

/// What in a directory belongs to such runs: `TAG-NUMBER-…`.
pub(crate) fn of_runs(directory: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| run_of(name).is_some_and(is_wanted)).collect()
}

fn run_of(name: &str) -> Option<&str> {
    let run = name.strip_prefix(TAG)?.strip_prefix('-')?.split('-').next()?;
    run.bytes().all(|b| b.is_ascii_digit()).then_some(run).filter(|run| !run.is_empty())
}

/// A namespace, the processes in it, and with it its devices.
pub(crate) fn take_down(namespace: &str) {
    let _ = sh(&format!(
        "for p in $(ip netns pids {namespace} 2>/dev/null); do kill -9 $p; done; ip netns del {namespace} 2>/dev/null"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_they_are() {
        assert_eq!(run_of("hplive-12-packet-lan"), Some("12"));
        assert_eq!(run_of("hplive-packet-lan"), None);
        assert_eq!(run_of("hplive--lan"), None);
        assert_eq!(run_of("other-12-lan"), None);
        assert!(!is_alive("4194305"), "beyond any process");
    }
}
