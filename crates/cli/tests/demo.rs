//! `hairpin demo` tells its whole story with real packets, and leaves nothing behind.

use std::process::{Command, Output};

fn hairpin(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin")).args(words).output().expect("the program starts")
}

/// Whether this system lets us make namespaces; a skip says why, and is a failure where CI is set.
fn is_forbidden(output: &Output) -> bool {
    let error = String::from_utf8_lossy(&output.stderr);
    let forbidden = error.contains("lets no ordinary user make namespaces");
    if forbidden {
        assert!(std::env::var_os("CI").is_none(), "{error}");
        eprintln!("skipped: {error}");
    }
    forbidden
}

#[test]
fn the_story_is_told() {
    let output = hairpin(&["demo"]);
    if is_forbidden(&output) {
        return;
    }
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{story}{}", String::from_utf8_lossy(&output.stderr));
    for seen in [
        "the stranger's server (203.0.113.9) sees 203.0.113.1:",
        "server A (192.168.1.11) sees 203.0.113.9:",
        "server A (192.168.1.11) sees 192.168.1.1:",
        "server B (192.168.1.12) sees 203.0.113.9:",
        "Connection refused",
        "1 packet   -t nat -A POSTROUTING -o wan0 -j MASQUERADE",
        "-j REJECT --reject-with tcp-reset",
        "TIME_WAIT src=192.168.1.10 dst=203.0.113.9",
    ] {
        assert!(story.contains(seen), "{seen:?} is not in the story:\n{story}");
    }
}

#[test]
fn a_command_runs_inside() {
    let words = ["demo", "--", "sh", "-c", "cat /proc/net/route | grep -c 0101A8C0; exit 7"];
    let output = hairpin(&words);
    if is_forbidden(&output) {
        return;
    }
    // The one default route there is by way of 192.168.1.1.
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), &b"1\n"[..]), "{output:?}");
}
