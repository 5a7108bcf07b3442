//! The lines that begin with `hint:`, each for the mistake it is about.

use hairpin_commands::{Call, find, run};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use std::path::PathBuf;

/// A command with a mistake, and words of the hint.
const MISTAKES: &[(&str, &str)] = &[
    ("iptables -A POSTROUTING -j MASQUERADE", "add `-t nat'"),
    ("iptables -t nat -A PREROUTING -j MASQUERADE", "`-t nat -A POSTROUTING -o DEVICE -j MASQUERADE'"),
    ("iptables -t nat -A PREROUTING -j SNAT --to 1.2.3.4", "SNAT changes the source, on the way out"),
    ("iptables -t nat -A POSTROUTING -j DNAT --to 1.2.3.4", "before routing: PREROUTING"),
    ("iptables -A INPUT -m state --state NWE -j ACCEPT", "the states are NEW"),
    ("iptables -A INPUT -m conntrack --ctstate NEW, ESTABLISHED -j ACCEPT", "joined by commas without blanks"),
    ("iptables -A INPUT -m stat --state NEW -j ACCEPT", "`-m conntrack --ctstate ESTABLISHED,RELATED'"),
    ("iptables -A INPUT --ctr-packets 5", "set with `-c PACKETS BYTES'"),
    ("iptables -A INPUT ip_masq_ftp", "of Linux 2.2"),
    ("iptables -A INPUT ip_conntrack_max", "net.netfilter.nf_conntrack_*"),
    ("iptables -t nat -A POSTROUTING -j MASQ", "the target is called MASQUERADE"),
    ("iptables -A INPUT -j DENY", "DENY was ipchains' word"),
    ("iptables -A INPUT -m state --state NEW --dport 80", "ports need a protocol first"),
    ("iptables -A INPUT -m tcp --dport 80", "ports need a protocol first"),
    ("iptables -A INPUT --dport 80", "belongs to -p tcp"),
    ("iptables -A OUTPUT -m owner --cmd-owner x", "Linux dropped --cmd-owner"),
    ("iptables -A INPUT -i eth0 -o eth1", "has no outgoing device"),
    ("iptables -A OUTPUT -i eth0", "has no incoming device"),
    ("iptables -t nat -P PREROUTING DROP", "drop in the filter table"),
    ("iptables -t fliter -L", "did you mean `filter'"),
    ("iptables -A INPTU -j ACCEPT", "did you mean `INPUT'"),
    ("iptables -A INPUT -p tpc", "did you mean `tcp'"),
    ("iptables -A INPUT -j ACEPT", "did you mean `ACCEPT'"),
    ("iptables -A INPUT -m conntrak", "did you mean `conntrack'"),
    ("iptables -6 -L", "-6 is a matter of ip6tables"),
    ("ip6tables -4 -L", "-4 is a matter of iptables"),
    ("iptables-restore -w rules.v4", "name the file before it"),
];

fn said(line: &str, hints: bool) -> String {
    said_of(line, "", hints)
}

fn said_of(line: &str, input: &str, hints: bool) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("hints-{}", std::thread::current().name().unwrap_or_default()));
    let _ = std::fs::remove_file(&path);
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let program = find(&words[0]).expect("a program");
    let names = SystemNames::new();
    let call = Call { program, name: &words[0], words: &words[1..], input: input.as_bytes(), date: "", hints };
    String::from_utf8_lossy(&run(&call, &mut StateFile::new(path, &names)).stderr).into_owned()
}

#[test]
fn each_mistake_has_its_hint() {
    for (line, wanted) in MISTAKES {
        let said = said(line, true);
        let hint = said.lines().find(|l| l.starts_with("hint: ")).unwrap_or_default();
        assert!(hint.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn a_line_of_a_rule_file_that_is_refused_has_its_reason() {
    let file = "*filter\n-A NOWHERE -j ACCEPT\nCOMMIT\n";
    let plain = "iptables-restore: line 2 failed\n";
    assert_eq!(said_of("iptables-restore -n", file, false), plain);
    let reason = "hint: No chain/target/match by that name: table filter has no chain `NOWHERE'\n";
    assert_eq!(said_of("iptables-restore -n", file, true), format!("{plain}{reason}"));
}

#[test]
fn without_being_asked_for_there_is_none() {
    for (line, _) in MISTAKES {
        let said = said(line, false);
        assert!(!said.contains("hint:"), "{line}: {said}");
    }
}
