//! What rules share by name is there once for all tables: who reads it finds it, and all that name it agree on its form. What the real
//! iptables 1.8.11 answered stands beside each command.

use hairpin_commands::{Call, find, run};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use std::path::{Path, PathBuf};

fn temporary(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn ask(path: &Path, line: &str, input: &str) -> (u8, String) {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let program = find(&words[0]).expect("a program");
    let names = SystemNames::new();
    let call = Call { program, name: &words[0], words: &words[1..], input: input.as_bytes(), date: "", hints: false };
    let outcome = run(&call, &mut StateFile::new(path, &names));
    (outcome.code, String::from_utf8_lossy(&outcome.stderr).into_owned())
}

const READ: &str = "-m rateest --rateest RE1 --rateest-lt --rateest-bps 8bit";
const SLOW: &str = "-j RATEEST --rateest-name RE1 --rateest-interval 500ms --rateest-ewmalog 1s";
const FAST: &str = "-j RATEEST --rateest-name RE1 --rateest-interval 250ms --rateest-ewmalog 500ms";

const MISSING: &str = "No chain/target/match by that name.";
const INVALID: &str = "Invalid argument.";

/// Each command and what it is refused with, nothing when it is not.
fn live(name: &str, life: &[(String, &str)]) {
    let path = temporary(name);
    for (line, refusal) in life {
        let (code, said) = ask(&path, line, "");
        assert_eq!((code, said.contains(refusal)), (u8::from(!refusal.is_empty()), true), "{line}: {said}");
    }
}

#[test]
fn estimators() {
    live(
        "estimators",
        &[
            (format!("iptables -A INPUT {READ}"), MISSING),
            (format!("iptables -A INPUT {FAST}"), ""),
            (format!("iptables -A INPUT {SLOW}"), INVALID),
            (format!("iptables -t mangle -A INPUT {SLOW}"), INVALID),
            (format!("ip6tables -t mangle -A INPUT {SLOW}"), INVALID),
            (format!("ip6tables -A INPUT {READ}"), ""),
            ("iptables -F".to_owned(), ""),
            // It lives as long as a rule reads it.
            (format!("iptables -A INPUT {READ}"), ""),
            ("iptables -F".to_owned(), ""),
            ("ip6tables -F".to_owned(), ""),
            (format!("iptables -A INPUT {READ}"), MISSING),
            (format!("iptables -A INPUT {SLOW}"), ""),
        ],
    );
}

/// The kernel looks at a rule's matches one after the other, then at its target, and says what it found first.
#[test]
fn of_two_reasons_the_first_is_told() {
    let path = temporary("reasons");
    let tells = |rule: &str, reason: &str| {
        let (code, said) = ask(&path, &format!("iptables -A FORWARD {rule}"), "");
        assert!(code == 1 && said.contains(reason), "{rule}: {said}");
        let (code, said) = ask(&path, "iptables-restore", &format!("*filter\n-A FORWARD {rule}\nCOMMIT\n"));
        assert!(code == 1 && said.contains("line 3 failed"), "{rule}: {said}");
    };
    // The target is for mangle only; rpfilter for raw and mangle.
    tells(&format!("{READ} -j ECN --ecn-ip-ect 0"), MISSING);
    tells("-j ECN --ecn-ip-ect 0", INVALID);
    tells(&format!("{READ} -m rpfilter"), MISSING);
    tells(&format!("-m rpfilter {READ}"), INVALID);
    // The kernel is asked for the beginning of a long name.
    tells("-m string --string a --algo 12345678901234567", MISSING);
}

#[test]
fn tables_of_hashlimit() {
    let rule = "-A FORWARD -m hashlimit --hashlimit-upto 5/min --hashlimit-name d";
    live(
        "hashlimit",
        &[
            (format!("iptables {rule} --hashlimit-rate-match"), ""),
            (format!("iptables {rule}"), INVALID),
            (format!("iptables -t mangle {rule}"), INVALID),
            (format!("ip6tables {rule}"), ""),
            (format!("ip6tables {rule} --hashlimit-rate-match"), INVALID),
            ("iptables -F".to_owned(), ""),
            (format!("iptables {rule}"), ""),
        ],
    );
}

#[test]
fn idle_timers() {
    let rule = "-A FORWARD -j IDLETIMER --label w --timeout";
    live(
        "idle-timers",
        &[
            (format!("iptables {rule} 5"), ""),
            (format!("iptables {rule} 6"), ""),
            (format!("iptables {rule} 5 --alarm"), INVALID),
            (format!("ip6tables {rule} 5 --alarm"), INVALID),
            ("iptables -F".to_owned(), ""),
            (format!("ip6tables {rule} 5 --alarm"), ""),
        ],
    );
}

#[test]
fn in_a_rule_file_the_maker_comes_first() {
    let path = temporary("estimators-restored");
    let reader = |chain: &str| format!("-A {chain} {READ}");
    let maker = |chain: &str| format!("-A {chain} {SLOW}");
    let file = |lines: [String; 2]| format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
    let (code, said) = ask(&path, "iptables-restore", &file([reader("INPUT"), maker("OUTPUT")]));
    assert_eq!((code, said.contains("line 4 failed")), (1, true), "{said}");
    // The order of chains counts, not that of lines.
    let (code, said) = ask(&path, "iptables-restore", &file([reader("OUTPUT"), maker("INPUT")]));
    assert_eq!(code, 0, "{said}");
    // A table gives way to the one of its name: its estimators go with it.
    let other = format!("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*mangle\n-A INPUT {FAST}\nCOMMIT\n");
    let (code, said) = ask(&path, "iptables-restore", &other);
    assert_eq!(code, 0, "{said}");
}
