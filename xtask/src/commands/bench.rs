//! What commands cost with 100,000 rules in place: hairpin on a state file beside the real legacy program in a namespace, one after the
//! other in every round, so that the ratio means something on a busy machine too.

use super::life::program;
use super::reference::{Reference, in_own_namespaces};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

const RULES: usize = 100_000;
const ROUNDS: usize = 5;

/// A measurement: its name, the program after `iptables`, its words, and how many milliseconds hairpin may take.
const ROWS: &[(&str, &str, &[&str], f64)] = &[
    ("empty call", "", &["-V"], 3.0),
    ("restore", "-restore", &["/tmp/hairpin-bench.rules"], 500.0),
    ("one -A", "", &["-A", "FORWARD", "-s", "192.0.2.1", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"], 28.0),
    ("restore -n", "-restore", &["-n", "/tmp/hairpin-bench.more"], 28.0),
    ("save", "-save", &[], 100.0),
];

/// A rule file onto what is there: a chain that comes, rules before, between and after the others, one taken out.
const MORE: &str = "*filter\n:more - [0:0]\n-A more -s 192.0.2.2 -j DROP\n-I FORWARD -j more\n-I FORWARD 50000 -s 192.0.2.3 -j DROP\n\
                    -D FORWARD 3\n-A FORWARD -p udp -j ACCEPT\nCOMMIT\n";

/// True when hairpin keeps within its limits.
pub(super) fn run(tree: PathBuf) -> Result<bool, String> {
    if let Some(done) = in_own_namespaces(&tree) {
        return done;
    }
    let hairpin = program()?;
    let wrong = |why: std::io::Error| why.to_string();
    std::fs::write("/tmp/hairpin-bench.rules", rules()).map_err(wrong)?;
    std::fs::write("/tmp/hairpin-bench.more", MORE).map_err(wrong)?;
    for file in ["hairpin-bench.rules", "hairpin-bench.more"] {
        std::fs::copy(format!("/tmp/{file}"), tree.join("tmp").join(file)).map_err(wrong)?;
    }
    let state = std::env::temp_dir().join(format!("hairpin-bench-{}", std::process::id()));
    let reference = Reference::new(tree.clone());
    let mut within = true;
    println!(
        "{RULES} rules, best of {ROUNDS} rounds, milliseconds\n{:<12} {:>9} {:>9} {:>7}",
        "", "legacy", "hairpin", "ratio"
    );
    for (name, program, words, limit) in ROWS {
        let (mut real, mut ours) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let owned: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let started = Instant::now();
            let output = reference.run(&format!("iptables-legacy{program}"), &owned, "")?;
            if !output.status.success() {
                return Err(format!("the real one: {}", String::from_utf8_lossy(&output.stderr)));
            }
            real = real.min(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            let output = Command::new(&hairpin)
                .arg(format!("iptables{program}"))
                .args(*words)
                .env("HAIRPIN_STATE", &state)
                .stdin(Stdio::null())
                .output()
                .map_err(wrong)?;
            if !output.status.success() {
                return Err(format!("hairpin: {}", String::from_utf8_lossy(&output.stderr)));
            }
            ours = ours.min(started.elapsed().as_secs_f64() * 1e3);
        }
        let mark = if ours <= *limit { "" } else { "  over its limit" };
        within &= ours <= *limit;
        println!("{name:<12} {real:>9.1} {ours:>9.1} {:>7.3}{mark}", ours / real);
    }
    for file in [state, PathBuf::from("/tmp/hairpin-bench.rules"), tree.join("tmp/hairpin-bench.rules")] {
        let _ = std::fs::remove_file(file);
    }
    Ok(within)
}

/// Flat rules, each of another address and port.
fn rules() -> String {
    let mut out = String::from("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    for n in 0..RULES {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "-A FORWARD -s 10.{}.{}.{}/32 -p tcp -m tcp --dport {} -j ACCEPT",
            n >> 16,
            n >> 8 & 255,
            n & 255,
            n % 65535 + 1
        );
    }
    out + "COMMIT\n"
}
