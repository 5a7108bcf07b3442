//! Hostile bytes, without a fuzzer: the fuzz targets' own functions on inputs that once broke something, and on recorded ones
//! damaged under a seed.

mod support;
#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a crate of its own for the fuzzer")]
mod targets;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use support::{Dice, root, scenarios};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("packet", targets::packet),
    ("rules", targets::rules),
    ("host", targets::host),
    ("capture", targets::capture),
    ("control", targets::control),
    ("snapshot", targets::snapshot),
];

#[test]
fn what_once_broke_something_breaks_nothing() {
    for (name, target) in TARGETS {
        let dir = root().join("fuzz/crashers").join(name);
        let files = files(&dir);
        assert!(!files.is_empty(), "{}", dir.display());
        for file in files {
            holds(name, target, &std::fs::read(&file).expect("readable"), &file.display().to_string());
        }
    }
}

#[test]
fn frames_in_any_order_and_shape_break_nothing() {
    let frames: Vec<Vec<u8>> = scenarios().into_iter().flat_map(|s| s.frames).map(|f| f.bytes).collect();
    for seed in 0..500 {
        let dice = &mut Dice(seed);
        let mut input = Vec::new();
        for _ in 0..20 {
            let mut frame = frames[dice.below(frames.len())].clone();
            damage(&mut frame, dice);
            // As the target takes them: what it is, its length in pairs of bytes, its bytes.
            let (what, skip) =
                if dice.one_in(9) { (0, 0) } else { (if frame.get(12) == Some(&0x86) { 2 } else { 4 }, 14) };
            let bytes = frame.get(skip..).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min(510) / 2 * 2];
            input.extend([what | dice.below(2) as u8 | (dice.below(32) as u8) << 3, (bytes.len() / 2) as u8]);
            input.extend(bytes);
        }
        holds("packet", targets::packet, &input, &format!("seed {seed}"));
    }
}

#[test]
fn damaged_files_break_nothing() {
    let scenarios = root().join("oracle/scenarios");
    let mut seen = [0; 3];
    for (n, dir) in files(&scenarios).into_iter().enumerate() {
        for file in files(&dir).into_iter().chain(files(&dir.join("in"))) {
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let which = match name.as_str() {
                "rules.v4" | "rules.v6" => 0,
                "host.toml" => 1,
                _ if name.ends_with(".pcap") => 2,
                _ => continue,
            };
            seen[which] += 1;
            let whole = std::fs::read(&file).expect("readable");
            let (target, run) = TARGETS[which + 1];
            holds(target, run, &whole, &file.display().to_string());
            for seed in 0..4 {
                let mut bytes = whole.clone();
                damage(&mut bytes, &mut Dice(n as u64 * 100 + seed));
                holds(target, run, &bytes, &format!("{} damaged under {seed}", file.display()));
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 90), "{seen:?}");
}

/// Flips bits, writes bytes of note, takes pieces away and repeats them.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.below(5) {
        let (at, to) = (dice.below(bytes.len() + 1), dice.below(bytes.len() + 1));
        let piece = at.min(to)..at.max(to).min(at.min(to) + 40);
        match (dice.below(6), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << dice.below(8),
            (1, Some(byte)) => *byte = [0, 1, 0x7f, 0x80, 0xff, b' ', b'"', b'-', b'9'][dice.below(9)],
            (2, _) => bytes.truncate(at),
            (3, _) => drop(bytes.drain(piece)),
            (4, _) => {
                let again = bytes[piece].to_vec();
                bytes.splice(to..to, again);
            }
            (_, Some(byte)) => *byte = dice.next() as u8,
            _ => {}
        }
    }
}

/// What lies in a directory, in order; nothing when there is none.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Runs a target; a failure leaves the input where the fuzzer finds it, too.
fn holds(name: &str, target: Target, input: &[u8], origin: &str) {
    if catch_unwind(|| target(input)).is_err() {
        let file = std::env::temp_dir().join(format!("hairpin-{name}-crasher"));
        let kept = std::fs::write(&file, input).map(|()| file.display().to_string());
        panic!("{name}: {origin}; the input: {kept:?}");
    }
}

#[test]
fn noise_at_the_control_socket_and_in_snapshots_breaks_nothing() {
    for seed in 0..2000 {
        let dice = &mut Dice(seed);
        let noise: Vec<u8> =
            (0..dice.below(400)).map(|_| if dice.one_in(3) { 0 } else { dice.below(256) as u8 }).collect();
        // A plausible length before it, mostly.
        let framed = [&(noise.len() as u32).to_be_bytes()[..], &[1, 0, 1], &noise].concat();
        holds("control", targets::control, if dice.one_in(4) { &noise } else { &framed }, &format!("seed {seed}"));
        holds("snapshot", targets::snapshot, &noise, &format!("seed {seed}"));
    }
}
