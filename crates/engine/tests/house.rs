//! The invariants of ARCHITECTURE.md that are a matter of text: what may stand where in the engine's sources.
//!
//! `clippy.toml` guards most of them as lints; these run with plain `cargo test`.
#![expect(clippy::disallowed_methods, reason = "the engine opens nothing; its test reads the sources")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file of the engine, without its unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, String)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).expect("readable").map(|e| e.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
            files.push((path, code.join("\n")));
        }
    }
}

fn refuse(words: &[&str], why: &str) {
    for (path, code) in sources() {
        for word in words {
            assert!(!code.contains(word), "{}: `{word}`: {why}", path.display());
        }
    }
}

#[test]
fn it_reads_no_clock() {
    refuse(&["std::time::Instant", "SystemTime", "Instant::now"], "time is an argument");
}

#[test]
fn it_opens_and_prints_nothing() {
    let words =
        ["std::fs", "std::io", "std::env", "std::process", "TcpStream", "UdpSocket", "println!", "print!(", "dbg!("];
    refuse(&words, "the engine opens and prints nothing");
}

#[test]
fn it_is_single_threaded() {
    refuse(&["std::thread", "Mutex", "RwLock", "Atomic"], "no thread, no lock on the packet's way");
}

#[test]
fn hash_maps_are_only_looked_up() {
    // Names of the maps in each file, then any walk over one of them.
    for (path, code) in sources() {
        let names: Vec<&str> = code
            .lines()
            .filter(|l| l.contains("HashMap<") || l.contains("HashSet<") || l.contains("HashMap::"))
            .filter_map(|l| {
                l.trim_start().split([':', ' ', '=']).find(|w| !["let", "mut", "pub", "pub(crate)"].contains(w))
            })
            .filter(|w| !w.is_empty())
            .collect();
        for name in names {
            for walk in ["iter()", "iter_mut()", "keys()", "values()", "values_mut()", "drain()", "retain("] {
                let text = format!("{name}.{walk}");
                assert!(!code.contains(&text), "{}: `{text}`: the order is not defined", path.display());
            }
        }
    }
}

#[test]
fn only_rewrite_changes_addresses() {
    for (path, code) in sources() {
        let allowed = ["nat/rewrite.rs", "link/"].iter().any(|p| path.to_string_lossy().contains(p));
        for word in ["set_src(", "set_dst(", "change_src(", "change_dst(", "set_src_port(", "set_dst_port("] {
            assert!(allowed || !code.contains(word), "{}: `{word}` belongs into nat/rewrite.rs", path.display());
        }
    }
}
