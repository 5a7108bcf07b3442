//! What shells and manual readers make of what the program prints for them. A shell or reader that is not installed is skipped, and
//! said so; with `CI=true` that is a failure.

use std::path::PathBuf;
use std::process::{Command, Output};

/// What `hairpin VERB WHAT` prints, in a file.
fn printed(verb: &str, what: &str) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_hairpin")).args([verb, what]).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{verb}-{what}"));
    std::fs::write(&path, output.stdout).expect("written");
    path
}

/// A program's answer; None when it is not installed.
fn run(program: &str, words: &[&str]) -> Option<Output> {
    match Command::new(program).args(words).output() {
        Ok(output) => Some(output),
        Err(why) => {
            println!("skipped: {program}: {why}");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} must be installed in CI");
            None
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lines and what the last word of each becomes, among others.
const LINES: &[(&str, &str)] = &[
    ("iptables -m conntr", "conntrack"),
    ("iptables -A INPUT -m conntrack --ctstatu", "--ctstatus"),
    ("iptables -A INPUT -p tcp --dp", "--dport"),
    ("iptables -A INPUT -j REJ", "REJECT"),
    ("iptables -t nat -A POSTROUTING -j MASQUERADE --to-p", "--to-ports"),
    ("iptables -t man", "mangle"),
    ("ip6tables -p ipv6-ic", "ipv6-icmp"),
    ("iptables-legacy --line-n", "--line-numbers"),
    ("iptables-save --cou", "--counters"),
    ("iptables-restore --nofl", "--noflush"),
    ("ipset des", "destroy"),
    ("ipset create a hash:net,i", "hash:net,iface"),
    ("ipset create a hash:ip maxel", "maxelem"),
    ("ipset add a 1.1.1.1 comm", "comment"),
];

#[test]
fn bash_completes() {
    let script = printed("completion", "bash");
    for (line, wanted) in
        LINES.iter().filter(|(line, _)| !line.starts_with("iptables-save") && !line.contains("-restore"))
    {
        let function = if line.starts_with("ipset") { "_hairpin_ipset" } else { "_hairpin_iptables" };
        let code = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let Some(output) = run("bash", &["--norc", "-c", &code]) else { return };
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "{line}: {err}");
        assert!(out.lines().any(|word| word == *wanted), "{line}: {out}");
    }
    let Some(output) = run("bash", &["--norc", "-c", &format!("source {}; complete -p", script.display())]) else {
        return;
    };
    let all = text(&output.stdout);
    assert!(all.contains("--noflush") && all.contains(" ip6tables-legacy-restore\n"), "{all}");
}

#[test]
fn fish_completes() {
    let script = printed("completion", "fish");
    for (line, wanted) in LINES {
        let code = format!("source {}; complete -C '{line}'", script.display());
        let Some(output) = run("fish", &["--no-config", "-c", &code]) else { return };
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "{line}: {err}");
        assert!(out.lines().any(|l| l.split('\t').next() == Some(wanted)), "{line}: {out}");
    }
}

#[test]
fn zsh_completes() {
    let script = printed("completion", "zsh");
    // Completion needs a terminal: a pseudo-terminal of zsh's own, in which each line is typed, completed and taken back.
    let mut code = format!(
        "zmodload zsh/zpty; zpty -b z zsh -f -i\n\
         zpty -w z 'PS1=; autoload -U compinit; compinit -u -D; source {}; print READY'; zpty -r z x '*READY*READY*'\n",
        script.display()
    );
    for (line, wanted) in LINES {
        code += &format!(
            "zpty -w -n z '{line}'$'\\t'; zpty -r z x '*{wanted}*' && print -r -- 'is {wanted}'; zpty -w -n z $'\\x15'\n"
        );
    }
    code += "zpty -d z\n";
    let Some(output) = run("timeout", &["20", "zsh", "-f", "-c", &code]) else { return };
    if output.status.code() == Some(127) {
        assert!(run("zsh", &["--version"]).is_none(), "{output:?}");
        return;
    }
    let out = text(&output.stdout);
    for (line, wanted) in LINES {
        assert!(out.contains(&format!("is {wanted}\n")), "{line}: {out}{}", text(&output.stderr));
    }
}

#[test]
fn manual_pages_are_clean() {
    for page in [
        "iptables",
        "iptables-save",
        "iptables-restore",
        "ip6tables",
        "ip6tables-save",
        "ip6tables-restore",
        "iptables-extensions",
        "ipset",
    ] {
        let file = printed("man", page);
        let file = file.to_str().expect("a plain path");
        let Some(output) = run("groff", &["-ww", "-man", "-Tutf8", file]) else { return };
        assert_eq!(text(&output.stderr), "", "{page}");
        assert!(output.status.success() && !output.stdout.is_empty(), "{page}");
        let Some(output) = run("mandoc", &["-T", "lint", "-W", "warning", file]) else { continue };
        assert_eq!(text(&output.stdout), "", "{page}");
    }
}
