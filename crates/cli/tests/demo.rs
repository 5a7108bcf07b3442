//! `hairpin demo` tells its whole story with real packets, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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

/// The demonstration of an ordinary user, who has no rights at all. Its binary is a copy that he may read.
#[test]
fn an_ordinary_user_gets_the_story_too() {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let directory = std::env::temp_dir().join(format!("hairpin-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let program = directory.join("hairpin");
    std::fs::copy(env!("CARGO_BIN_EXE_hairpin"), &program).unwrap();
    let begun = Instant::now();
    let output = match is_root {
        true => Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"])
            .arg(&program)
            .arg("demo")
            .current_dir("/")
            .output(),
        false => Command::new(&program).arg("demo").output(),
    };
    std::fs::remove_dir_all(&directory).unwrap();
    let output = output.expect("setpriv");
    if is_forbidden(&output) {
        return;
    }
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{story}{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains("server B (192.168.1.12) sees 203.0.113.9:"), "{story}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Ctrl-C, as a terminal sends it: to the program and what it runs.
#[test]
fn nothing_is_left_after_ctrl_c() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["demo", "--", "sh", "-c", "echo inside; sleep 60"])
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        assert!(is_forbidden(&child.wait_with_output().unwrap()));
        return;
    }
    let group = child.id();
    // A shell that is told before it has begun its last program takes no notice.
    let until = Instant::now() + Duration::from_secs(5);
    while !runs(group, "sleep") {
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Its namespace is nobody else's.
    let namespace = std::fs::read_link(format!("/proc/{group}/ns/net")).unwrap();
    assert!(Command::new("kill").args(["-INT", "--", &format!("-{group}")]).status().unwrap().success());
    let until = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let still_there = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| std::fs::read_link(process.path().join("ns/net")).is_ok_and(|net| net == namespace))
        .count();
    assert_eq!(still_there, 0, "processes in the demonstration's network");
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!devices.contains("home0") && !devices.contains("wan0:"), "{devices}");
}

/// Whether a program of this name runs in a process group.
fn runs(group: u32, name: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(')') else { return false };
        head.ends_with(&format!("({name}")) && rest.split_ascii_whitespace().nth(2) == Some(group.to_string().as_str())
    })
}

/// Where namespaces are forbidden, the setting is named: in a user namespace that allows no further ones.
#[test]
fn who_forbids_it_is_named() {
    let inside = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" demo";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", inside, env!("CARGO_BIN_EXE_hairpin")])
        .output();
    let Ok(output) = output else { return println!("skipped: no unshare") };
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("unshare:") || error.contains("Permission denied") {
        return println!("skipped: {error}");
    }
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("user.max_user_namespaces is 0") && error.contains("sysctl -w"), "{error}");
}
