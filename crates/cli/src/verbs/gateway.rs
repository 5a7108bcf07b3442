//! Verbs that ask a running gateway: `hairpin status`, `hairpin save`.

use crate::applet::socket;
use crate::program::{Failure, Verb, say};
use hairpin_control::protocol::{Request, ask_live};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `hairpin status`.
pub const STATUS: Verb = Verb {
    name: "status",
    about: "what the running gateway does",
    help: "\
usage: hairpin status [--json]

Devices, rules, connections, limits, packets, drops, the last reload and the age of the snapshot of the gateway at HAIRPIN_SOCKET (or
/run/hairpin/control.sock). With --json as one JSON value.
",
    run: |words| {
        let is_json = words.first().is_some_and(|word| word == "--json");
        nothing_more("status", words.get(usize::from(is_json)..).unwrap_or_default())?;
        let flags = if is_json { vec!["--json".to_owned()] } else { Vec::new() };
        say(&String::from_utf8_lossy(&ask("status", &flags)?));
        Ok(())
    },
};

/// `hairpin save`.
pub const SAVE: Verb = Verb {
    name: "save",
    about: "writes the running gateway's rules back to their files",
    help: "\
usage: hairpin save

Writes the rules of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock), with counters, to the files that its host file
names, or else to /etc/iptables/rules.v4 and rules.v6. Each file is written aside and renamed.
",
    run: |words| {
        nothing_more("save", &words)?;
        let files = parts(&ask("save", &[])?).ok_or_else(|| Failure::input("save: the gateway's answer makes no sense"))?;
        for (path, text) in files {
            write(&path, &text).map_err(|why| Failure::input(format!("save: {}: {why}", path.display())))?;
            say(&format!("{}\n", path.display()));
        }
        Ok(())
    },
};

fn nothing_more(verb: &str, words: &[OsString]) -> Result<(), Failure> {
    match words.first() {
        None => Ok(()),
        Some(word) => Err(Failure::usage(format!("{verb}: {}? it takes no words", word.to_string_lossy()))),
    }
}

/// What the gateway answers to a verb.
fn ask(verb: &str, words: &[String]) -> Result<Vec<u8>, Failure> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = ask_live(&socket(), Request::verb(verb, words), |_| {}, &mut |is_error, bytes| {
        if is_error { err.extend_from_slice(bytes) } else { out.extend_from_slice(bytes) }
    })
    .map_err(Failure::input)?;
    match outcome.code {
        0 => Ok(out),
        code => Err(Failure { code, message: String::from_utf8_lossy(&err).trim_end().to_owned() }),
    }
}

/// Texts and the files they belong in: a line `LENGTH PATH` before each.
fn parts(mut bytes: &[u8]) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let (length, path) = line.split_once(' ')?;
        let (text, rest) = bytes[end + 1..].split_at_checked(length.parse().ok()?)?;
        parts.push((PathBuf::from(path), text.to_vec()));
        bytes = rest;
    }
    Some(parts)
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let aside = path.with_file_name(name);
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}
