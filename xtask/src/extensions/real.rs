//! What the real iptables 1.8.11 says of a rule.

use super::rule::{Rule, quoted};
use hairpin_wire::Family;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What became of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Exit code of `-A`.
    pub(super) code: i32,
    /// What `-A` wrote to stdout and stderr.
    pub(super) said: String,
    /// The chain's lines of `-S`, `-L`, `-L -n` and `-L -v -n -x`, when it was accepted.
    pub(super) texts: [String; 4],
    /// Exit code of `-D` with the same words.
    pub(super) deleted: i32,
}

/// What is asked of an accepted rule, for [`Answer::texts`].
pub(super) const LISTINGS: [&str; 4] = ["-S", "-L", "-L -n", "-L -v -n -x"];

/// The tree that has iptables 1.8.11.
pub(super) fn tree() -> Result<PathBuf, String> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../trixie"));
    let tree = std::env::var_os("HAIRPIN_TRIXIE").map_or(beside, PathBuf::from);
    let tool = tree.join("usr/sbin/iptables-legacy");
    if tool.symlink_metadata().is_err() {
        return Err(format!(
            "{} is not there: make it with debootstrap, or name one in HAIRPIN_TRIXIE",
            tool.display()
        ));
    }
    let version = run(&tree, "iptables-legacy --version")?;
    match version.trim() {
        "iptables v1.8.11 (legacy)" => Ok(tree),
        other => Err(format!("{} has {other:?}, not iptables v1.8.11 (legacy)", tree.display())),
    }
}

/// Asks about each rule by itself, all in one network namespace.
pub(super) fn answers(tree: &Path, rules: &[Rule]) -> Result<Vec<Answer>, String> {
    let mut script = String::new();
    for rule in rules {
        let tool = match rule.family {
            Family::V4 => "iptables-legacy",
            Family::V6 => "ip6tables-legacy",
        };
        let words: Vec<String> = rule.words.iter().map(|w| quoted(w)).collect();
        let words = words.join(" ");
        let place = format!("{tool} -t {}", rule.table);
        let chain = &rule.chain;
        script += &format!("{place} -A {chain} {words} 2>&1; c=$?; printf '\\001%d\\001' $c\n");
        script += "if [ $c = 0 ]; then\n";
        for listing in LISTINGS {
            let (verb, rest) = listing.split_once(' ').unwrap_or((listing, ""));
            script += &format!("{place} {verb} {chain} {rest} 2>&1; printf '\\001'\n");
        }
        script += &format!("{place} -D {chain} {words} >/dev/null 2>&1; printf '%d' $?; {place} -F\n");
        script += "else printf '\\001\\001\\001\\0010'; fi; printf '\\002'\n";
    }
    let out = run(tree, &script)?;
    let answers: Vec<Answer> = out.split('\x02').map_while(answer).collect();
    if answers.len() == rules.len() {
        Ok(answers)
    } else {
        Err(format!("{} rules, {} answers", rules.len(), answers.len()))
    }
}

/// Lines that tell of the machine and not of the rule: what the kernel or the tree lacks.
const OF_THE_MACHINE: [&str; 2] = ["Warning: Extension ", "Warning: cannot open /etc/xtables/connlabel.conf"];

fn answer(text: &str) -> Option<Answer> {
    let of_the_machine = |line: &&str| OF_THE_MACHINE.iter().any(|start| line.starts_with(start));
    let of_the_rule =
        |field: &str| field.split_inclusive('\n').filter(|line| !of_the_machine(line)).collect::<String>();
    let mut fields = text.split('\x01').map(of_the_rule);
    let (said, code) = (fields.next()?, fields.next()?.parse().ok()?);
    let texts = [fields.next()?, fields.next()?, fields.next()?, fields.next()?].map(|text| without_head(&text));
    Some(Answer { said, code, texts, deleted: fields.next()?.parse().ok()? })
}

/// The lock file of a run, taken away at its end.
struct Lock(PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The lines of the rules.
pub(super) fn without_head(text: &str) -> String {
    let lines = text.lines().filter(|l| {
        !l.starts_with("-P ")
            && !l.starts_with("Chain ")
            && !l.starts_with("target     prot")
            && !l.starts_with("    pkts      bytes")
    });
    lines.map(|l| format!("{l}\n")).collect()
}

fn run(tree: &Path, script: &str) -> Result<String, String> {
    let mut child = Command::new("unshare")
        .args(["--net", "chroot"])
        .arg(tree)
        .args(["/bin/sh", "-s"])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        // Someone else may use the tree at the same time.
        .env("XTABLES_LOCKFILE", format!("/tmp/hairpin-xtask-{}.lock", std::process::id()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run unshare: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("unshare has no stdin")?;
    let text = script.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let _lock = Lock(tree.join(format!("tmp/hairpin-xtask-{}.lock", std::process::id())));
    let output = child.wait_with_output().map_err(|e| format!("unshare: {e}"))?;
    let _ = writer.join();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !complaint.is_empty() {
        return Err(format!("cannot run the tree's shell (root is needed): {}", complaint.trim()));
    }
    // There is nobody to ask for names in the namespace; with `hosts: files' the real one says what hairpin says.
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.replace("Temporary failure in name resolution", "Name or service not known"))
}
