//! The commands people know, run as programs on a state file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory with links to the program, and a state file in it.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Machine {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("applets-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        let made = Command::new(env!("CARGO_BIN_EXE_hairpin")).arg("install-links").arg(&dir).output().expect("runs");
        assert!(made.status.success(), "{made:?}");
        Machine(dir)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Runs a line: the program's name and its words, with this on standard input.
    fn run(&self, line: &str, input: &str) -> Output {
        let mut words = line.split_whitespace();
        let program: &Path = &self.0.join(words.next().expect("a program"));
        let mut child = Command::new(program)
            .args(words)
            .env("HAIRPIN_STATE", self.state())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // A command that reads nothing may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes());
        child.wait_with_output().expect("ends")
    }

    fn ok(&self, line: &str) -> String {
        let output = self.run(line, "");
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn both_families_live_in_one_file() {
    let machine = Machine::new("families");
    machine.ok("iptables -A INPUT -s 10.0.0.1 -j DROP");
    machine.ok("ip6tables-legacy -A INPUT -s fe80::1 -j DROP");
    machine.ok("iptables -t nat -N own");
    assert!(machine.ok("iptables -S").ends_with("-A INPUT -s 10.0.0.1/32 -j DROP\n"));
    assert!(machine.ok("ip6tables -S").ends_with("-A INPUT -s fe80::1/128 -j DROP\n"));
    assert!(machine.ok("iptables-save").contains(":own - [0:0]\n"));
}

#[test]
fn restore_is_all_or_nothing() {
    let machine = Machine::new("restore");
    let good = "*filter\n:INPUT DROP [7:8]\n[1:2] -A INPUT -i lo -j ACCEPT\nCOMMIT\n";
    assert!(machine.run("iptables-restore -c", good).status.success());
    let saved = machine.ok("iptables-save -c -t filter");
    assert!(saved.contains(":INPUT DROP [7:8]\n") && saved.contains("[1:2] -A INPUT -i lo -j ACCEPT\n"), "{saved}");
    let bad = "*filter\n-A INPUT -j DROP\nCOMMIT\n*nat\n-A OUTPUT -j NOWHERE\nCOMMIT\n";
    let output = machine.run("iptables-restore", bad);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line: 5"), "{output:?}");
    let again = machine.ok("iptables-save -c -t filter");
    assert_eq!(without_comments(&again), without_comments(&saved));
}

fn without_comments(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}
