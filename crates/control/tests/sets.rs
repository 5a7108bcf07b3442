//! Sets in the state file: they outlive a command, and rules hold on to them.

use hairpin_commands::{Call, Outcome, Program, run};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use std::path::PathBuf;

struct Host {
    path: PathBuf,
    names: SystemNames,
}

impl Host {
    fn new(name: &str) -> Host {
        let path = std::env::temp_dir().join(format!("hairpin-sets-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Host { path, names: SystemNames::new() }
    }

    fn run(&self, program: Program, words: &str, input: &str) -> Outcome {
        let words: Vec<String> = hairpin_ruleset::ipset::split_line(words);
        let call =
            Call { program, name: program.name(), words: &words, input: input.as_bytes(), date: "", hints: false };
        run(&call, &mut StateFile::new(&self.path, &self.names))
    }

    #[track_caller]
    fn ipset(&self, words: &str, code: u8) -> String {
        let outcome = self.run(Program::Ipset, words, "");
        let text = format!("{}{}", String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(outcome.code, code, "{words}: {text}");
        text
    }

    #[track_caller]
    fn iptables(&self, words: &str, code: u8) -> String {
        let outcome = self.run(Program::Iptables(Family::V4), words, "");
        assert_eq!(outcome.code, code, "{words}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8_lossy(&outcome.stderr).into_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn sets_stay_with_everything_in_them() {
    let host = Host::new("stay");
    host.ipset("create s hash:net timeout 100 counters comment skbinfo forceadd", 0);
    host.ipset("add s 10.0.0.0/8 comment \"a b\" packets 5 skbmark 0x1/0xff", 0);
    host.ipset("add s 10.1.0.0/16 nomatch timeout 0", 0);
    host.ipset("create m bitmap:ip,mac range 10.0.0.0/24 timeout 7", 0);
    host.ipset("add m 10.0.0.9", 0);
    host.ipset("create l list:set", 0);
    host.ipset("add l m", 0);
    let before = host.ipset("save -s", 0);
    assert!(
        before.contains("add s 10.0.0.0/8 timeout 99") || before.contains("add s 10.0.0.0/8 timeout 100"),
        "{before}"
    );
    assert!(before.contains("add m 10.0.0.9 timeout 7\n") && before.ends_with("add l m\n"), "{before}");
    // A command that fails half-way has the whole written anew.
    host.ipset("add s 10.0.0.0/8", 1);
    let without_times = |text: &str| {
        let words = text.split(' ').map(|w| if w.parse::<u8>().is_ok_and(|n| n > 90) { "T" } else { w });
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(without_times(&host.ipset("save -s", 0)), without_times(&before));
    host.ipset("flush s", 0);
    host.ipset("rename s t", 0);
    assert_eq!(host.ipset("list -n", 0), "t\nm\nl\n");
}

#[test]
fn what_ran_out_is_gone_when_the_file_is_read_again() {
    let host = Host::new("out");
    host.ipset("create s hash:ip timeout 1", 0);
    host.ipset("add s 10.0.0.1", 0);
    host.ipset("add s 10.0.0.2 timeout 1000", 0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let saved = host.ipset("save s", 0);
    assert!(!saved.contains("10.0.0.1") && saved.contains("add s 10.0.0.2 timeout 99"), "{saved}");
    host.ipset("del s 10.0.0.1", 1);
    host.ipset("add s 10.0.0.1", 0);
}

#[test]
fn rules_hold_on_to_their_sets() {
    let host = Host::new("rules");
    assert!(host.iptables("-A INPUT -m set --match-set s src", 2).contains("Set s doesn't exist."));
    host.ipset("create s hash:ip", 0);
    host.ipset("create six hash:ip family inet6", 0);
    host.iptables("-A INPUT -m set --match-set s src -j DROP", 0);
    assert!(host.iptables("-A INPUT -m set --match-set six src", 2).contains("The protocol family of set six is IPv6"));
    assert!(host.ipset("list -t s", 0).contains("References: 1\n"));
    host.ipset("destroy s", 1);
    host.ipset("destroy", 1);
    host.ipset("rename s t", 1);
    host.ipset("create other hash:ip", 0);
    host.ipset("add other 10.0.0.1", 0);
    host.ipset("swap s other", 0);
    host.ipset("test s 10.0.0.1", 0);
    host.iptables("-F INPUT", 0);
    host.ipset("destroy s", 0);
}

/// The kernel cuts only the first address of a range by the set's mask; the file keeps what came of it.
#[test]
fn what_a_range_put_beside_the_mask_stays() {
    let host = Host::new("beside-the-mask");
    host.ipset("create s hash:ip,port netmask 30", 0);
    host.ipset("add s 10.0.0.6/30,22", 0);
    host.ipset("add s 10.0.0.14,udp:1", 0);
    let saved = host.ipset("save s", 0);
    for entry in ["10.0.0.4,tcp:22", "10.0.0.5,tcp:22", "10.0.0.7,tcp:22", "10.0.0.12,udp:1"] {
        assert!(saved.contains(entry), "{saved}");
    }
}
