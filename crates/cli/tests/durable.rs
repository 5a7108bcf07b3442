//! A state file under fire: writers at once, and writers killed at any instant.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct State(PathBuf);

impl State {
    fn new(name: &str) -> State {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("durable-{name}"));
        let _ = std::fs::remove_file(&path);
        State(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.args(words).env("HAIRPIN_STATE", &self.0).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, words: &[&str]) -> Child {
        self.command(words).spawn().expect("starts")
    }

    /// The exit code and what was said.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn rules(&self) -> Vec<String> {
        let (code, out, err) = self.run(&["iptables-save", "-t", "filter"]);
        assert_eq!(code, 0, "{err}");
        out.lines().filter(|l| l.starts_with("-A")).map(str::to_owned).collect()
    }
}

#[test]
fn writers_take_turns_and_save_does_not_wait() {
    let state = State::new("turns");
    let source = |writer: u32, n: u32| format!("10.0.{writer}.{n}");
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = state.0.clone();
            std::thread::spawn(move || {
                let state = State(path);
                for n in 0..12 {
                    let (code, _, err) =
                        state.run(&["iptables", "-w", "-A", "FORWARD", "-s", &source(writer, n), "-j", "DROP"]);
                    assert_eq!(code, 0, "{err}");
                }
            })
        })
        .collect();
    while writers.iter().any(|w| !w.is_finished()) {
        // Whatever a reader meets, it is a whole state: each writer's rules in their order, none missing between.
        let rules = state.rules();
        for writer in 0..4 {
            let own: Vec<&String> = rules.iter().filter(|r| r.contains(&format!(" 10.0.{writer}."))).collect();
            for (n, rule) in own.iter().enumerate() {
                assert!(rule.contains(&format!(" {}/32 ", source(writer, n as u32))), "{rules:#?}");
            }
        }
    }
    writers.into_iter().for_each(|w| w.join().expect("a writer"));
    assert_eq!(state.rules().len(), 48);
}

#[test]
fn a_lock_held_elsewhere_is_waited_for_as_long_as_asked() {
    let state = State::new("lock");
    let lock = state.0.with_extension("xtables");
    let held = std::fs::File::create(&lock).expect("a file");
    held.lock().expect("a lock");
    let run = |words: &[&str]| {
        let started = Instant::now();
        let output = state.command(words).env("XTABLES_LOCKFILE", &lock).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), started.elapsed())
    };
    let (code, err, _) = run(&["iptables", "-A", "INPUT", "-j", "DROP"]);
    assert_eq!(code, Some(4));
    assert!(
        err.ends_with("Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n"),
        "{err}"
    );
    let (code, err, took) = run(&["iptables", "-w", "1", "-A", "INPUT", "-j", "DROP"]);
    assert_eq!(code, Some(4));
    assert!(err.starts_with("Can't lock ") && err.contains(": Resource temporarily unavailable\n"), "{err}");
    assert!(err.ends_with("\nAnother app is currently holding the xtables lock. Stopped waiting after 1s.\n"), "{err}");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    for looks in [&["iptables", "-S"][..], &["ip6tables", "-L", "-n"], &["iptables", "-C", "INPUT", "-j", "DROP"]] {
        let (code, err, _) = run(looks);
        assert_eq!(code, Some(4), "{looks:?}: {err}");
        assert!(err.starts_with("Can't lock ") && err.contains("use the -w option?"), "{looks:?}: {err}");
    }
    // What is wrong with the words is said before.
    assert_eq!(run(&["iptables", "-S", "--bad"]).0, Some(2));
    // Save takes no lock, nor does restore before the first table.
    for free in [&["iptables-save"][..], &["iptables-restore"], &["iptables", "-h"], &["iptables", "-V"]] {
        let (code, err, _) = run(free);
        assert_eq!(code, Some(0), "{free:?}: {err}");
    }
    let mut waiting = {
        let mut command = state.command(&["iptables", "-w", "-A", "INPUT", "-j", "DROP"]);
        command.env("XTABLES_LOCKFILE", &lock).spawn().expect("starts")
    };
    std::thread::sleep(Duration::from_millis(50));
    assert!(waiting.try_wait().expect("asks").is_none(), "it does not wait");
    held.unlock().expect("unlocks");
    assert!(waiting.wait().expect("ends").success());
    assert!(state.run(&["iptables", "-S", "INPUT"]).1.ends_with("-A INPUT -j DROP\n"));
    let _ = std::fs::remove_file(lock);
}

/// Kills writers after every fraction of the time that one takes; what is in the file is always all that was done before, and
/// perhaps what was being done.
#[test]
fn a_writer_killed_at_any_instant_leaves_the_old_or_the_new() {
    let state = State::new("killed");
    let many: String = (0..3000).map(|n| format!("-A FORWARD -s 10.1.{}.{} -j DROP\n", n / 256, n % 256)).collect();
    let file = state.0.with_extension("rules");
    std::fs::write(&file, format!("*filter\n{many}COMMIT\n")).expect("a file");
    let file_name = file.to_str().expect("UTF-8").to_owned();
    for (round, kill_after) in (0..60).map(|n| (n, Duration::from_micros(150 * n))).collect::<Vec<_>>() {
        let before = state.rules();
        // A whole new file, or a record appended to it.
        let marker = format!("10.9.0.{round}");
        let mut child = match round % 3 {
            0 => state.start(&["iptables-restore", &file_name]),
            _ => state.start(&["iptables", "-A", "FORWARD", "-s", &marker, "-j", "ACCEPT"]),
        };
        std::thread::sleep(kill_after);
        let _ = child.kill();
        let _ = child.wait();
        let after = state.rules();
        let done = match round % 3 {
            0 => after.len() == 3000,
            _ => after.len() == before.len() + 1 && after.last().is_some_and(|r| r.contains(&marker)),
        };
        assert!(done || after == before, "round {round}: {} rules became {}", before.len(), after.len());
    }
    // And life goes on.
    assert_eq!(state.run(&["iptables", "-A", "FORWARD", "-j", "LOG"]).0, 0);
    assert!(state.rules().last().is_some_and(|r| r == "-A FORWARD -j LOG"));
}
