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

/// `--test` reads and asks no kernel; what was named in a file was looked at, also when nothing came of it.
#[test]
fn a_file_that_changes_nothing_has_looked_at_its_tables() {
    let machine = Machine::new("looked");
    let loop_of_one = "*mangle\n:own - [0:0]\n-A own -j own\n-A INPUT -j own\nCOMMIT\n";
    assert_eq!(machine.run("iptables-restore --test", loop_of_one).status.code(), Some(0));
    assert_eq!(without_comments(&machine.ok("iptables-save"))[0], "*mangle");
    assert!(!machine.ok("iptables-save").contains(":own"));
    assert_eq!(machine.run("iptables-restore", loop_of_one).status.code(), Some(1));
    let output =
        machine.run("iptables-restore -v", "# of the raw table\n*raw\n-A NOWHERE -j ACCEPT\nCOMMIT\n*nat\nCOMMIT\n");
    assert_eq!(output.status.code(), Some(1));
    let said = "# of the raw table\nFlushing chain `PREROUTING'\nFlushing chain `OUTPUT'\n";
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(said), "{output:?}");
    let saved = machine.ok("iptables-save");
    assert!(saved.contains("*raw") && !saved.contains("*nat"), "{saved}");
}

/// The version and help are there without rules and gateway; everything else says what to do.
#[test]
fn versions_and_help_need_no_state() {
    let run = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        command.args(line.split(' ')).env_remove("HAIRPIN_STATE").env("HAIRPIN_SOCKET", "/nowhere/socket");
        command.stdin(Stdio::null()).output().expect("runs")
    };
    for line in [
        "iptables -V",
        "ip6tables --version",
        "iptables -m tcp -h",
        "iptables-save -V",
        "iptables-restore --version",
        "iptables-restore -h",
        "ipset version",
        "ipset help hash:ip",
        "conntrack -V",
    ] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert!(output.stdout.len() + output.stderr.len() > 10, "{line}");
    }
    for line in ["iptables -L", "iptables-save", "ipset list", "iptables -A INPUT -j ACCEPT"] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(4), "{line}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/nowhere/socket") && said.contains("HAIRPIN_STATE=FILE"), "{said}");
    }
}

/// A link of another name is told from a first word that is none; both are told what there is.
#[test]
fn an_unknown_name_lists_the_known_ones() {
    let machine = Machine::new("names");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hairpin"), machine.0.join("arptables")).expect("a link");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hairpin"), machine.0.join("hairpin")).expect("a link");
    for (line, unknown) in [("arptables -L", "`arptables'"), ("hairpin frobnicate", "`frobnicate'")] {
        let output = machine.run(line, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("hairpin: there is no {unknown}")), "{said}");
        assert!(said.contains("ip6tables-legacy-restore") && said.contains("install-links"), "{said}");
    }
}

#[test]
fn ipset_names_files_that_cannot_be_opened() {
    let machine = Machine::new("ipset-files");
    machine.ok("ipset create s hash:ip");
    for (line, code, says) in [
        ("ipset restore -file /nowhere/f", 255, "Cannot open /nowhere/f for reading: No such file or directory"),
        ("ipset save -file /nowhere/f", 1, "Cannot open /nowhere/f for writing: No such file or directory"),
    ] {
        let output = machine.run(line, "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.trim_end()), (Some(code), format!("ipset v7.22: {says}").as_str()));
    }
}

fn without_comments(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}
