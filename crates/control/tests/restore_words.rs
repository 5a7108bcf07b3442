//! What iptables-restore says of its own words, and what a line that asks for help does to a file, as 1.8.11 does it.

use hairpin_commands::{Call, Outcome, find, run};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use std::path::{Path, PathBuf};

fn temporary(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn ask(path: &Path, line: &str, input: &str) -> Outcome {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let program = find(&words[0]).expect("a program");
    let names = SystemNames::new();
    let call = Call { program, name: &words[0], words: &words[1..], input: input.as_bytes(), date: "", hints: false };
    run(&call, &mut StateFile::new(path, &names))
}

/// Words after the name, the exit code, and the beginning of what is said.
const WORDS: &[(&str, u8, &str)] = &[
    ("--wait=5", 0, ""),
    ("--wait=5x", 0, ""),
    ("--wait=-3", 0, ""),
    ("-nw 3", 0, ""),
    ("--wait=", 2, "iptables-restore v1.8.11 (legacy): wait seconds not numeric\nError occurred at line: 0\nTry "),
    ("-w rules", 2, "iptables-restore v1.8.11 (legacy): wait seconds not numeric\n"),
    ("-w5", 1, "iptables-restore: invalid option -- '5'\nTry `iptables-restore -h' for more information.\n"),
    ("-wW 5", 0, "Ignoring deprecated --wait-interval option.\n"),
    ("-Ww 5", 2, "iptables-restore v1.8.11 (legacy): wait interval value required\n"),
    ("-W x -w", 2, "iptables-restore v1.8.11 (legacy): wait interval not numeric\n"),
    ("--wait-int=1000000", 2, "iptables-restore v1.8.11 (legacy): too long usec wait 1000000 > 999999 usec\n"),
    ("-W 5", 1, "Ignoring deprecated --wait-interval option.\nOption --wait-interval requires option --wait\n"),
    ("-w 0 -W 5", 1, "Ignoring deprecated --wait-interval option.\nOption --wait-interval requires option --wait\n"),
    ("-b a b", 1, "-b/--binary option is not implemented\nUnknown arguments found on commandline\n"),
];

#[test]
fn words_of_its_own() {
    let path = temporary("restore-words");
    for (words, code, says) in WORDS {
        let outcome = ask(&path, &format!("iptables-restore {words}"), "*filter\nCOMMIT\n");
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!((outcome.code, said.starts_with(says)), (*code, true), "{words}: {said}");
        assert!(!says.is_empty() || said.is_empty(), "{words}: {said}");
    }
}

#[test]
fn help_in_a_file_ends_it() {
    let path = temporary("restore-help");
    let file = "*mangle\n-A INPUT -j ACCEPT\nCOMMIT\n*filter\n-A INPUT -j DROP\n-A INPUT -p tcp -m ttl -h\nnonsense\n";
    let outcome = ask(&path, "iptables-restore", file);
    let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert_eq!(outcome.code, 0, "{:?}", outcome.stderr);
    assert!(said.starts_with("iptables-restore v1.8.11 ") && said.contains("--ttl-eq"), "{said}");
    let saved = ask(&path, "iptables-save", "").stdout;
    let saved = String::from_utf8_lossy(&saved);
    assert!(saved.contains("-A INPUT -j ACCEPT") && !saved.contains("DROP"), "{saved}");
    let not = ask(&path, "iptables-restore", "*filter\n-A INPUT ! -V\n").stdout;
    assert!(String::from_utf8_lossy(&not).starts_with("Not 1.8.11 (hairpin "), "{not:?}");
}

#[test]
fn what_a_listing_said_is_kept_when_the_commit_fails() {
    let path = temporary("restore-report");
    let outcome = ask(&path, "iptables-restore", "*filter\n-S INPUT\n-A INPUT -m rpfilter\nCOMMIT\n");
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!((outcome.code, said.as_str()), (1, "iptables-restore: line 4 failed\n"));
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "-P INPUT ACCEPT\n");
}
