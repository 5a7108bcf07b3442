//! `cargo xtask bench-live`: bulk TCP through hairpin beside the kernel's NAT, in one run.

use super::stage::{self, Router, Stage};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask bench-live [--rounds N]

One TCP stream (iperf3, 2 s after 1 s of warming up) through the kernel's NAT, through the kernel again (the noise to read the rest
against), and through hairpin by packet, tap and xdp, in turn, the order reversed each round; medians, ranges and ratios to the kernel.
Needs what `cargo xtask live` needs. Packet rates are not measured here: they need a source that no ordinary program is.

  --rounds N    7 if not given
";

/// Runs the command.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let mut rounds = 7usize;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("rounds") => {
                rounds = args.value()?.to_string_lossy().parse().map_err(|_| "--rounds: a number")?
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected()),
        }
    }
    if let Err(lacking) = stage::prepare() {
        println!("skipped: {lacking}");
        return Ok(ExitCode::FAILURE);
    }
    let mut rows = [
        ("kernel", Router::Kernel, Vec::new()),
        ("kernel again", Router::Kernel, Vec::new()),
        ("packet", Router::Packet, Vec::new()),
        ("tap", Router::Tap, Vec::new()),
        ("xdp", Router::Xdp, Vec::new()),
    ];
    for round in 0..rounds {
        if round > 0 {
            rows.reverse();
        }
        for (name, router, figures) in &mut rows {
            match one(*router) {
                Ok(gbps) => figures.push(gbps),
                Err(why) => println!("round {round}, {name}: {why}"),
            }
        }
    }
    if rounds.is_multiple_of(2) {
        rows.reverse();
    }
    let reference = median(&mut rows[0].2).unwrap_or(f64::NAN);
    for (name, _, figures) in &mut rows {
        let Some(middle) = median(figures) else { continue };
        let (low, high) = (figures[0], figures[figures.len() - 1]);
        println!("{name:13} {middle:6.2} Gb/s [{low:.2}-{high:.2}]  {:.2} x kernel", middle / reference);
    }
    Ok(ExitCode::SUCCESS)
}

fn one(router: Router) -> Result<f64, String> {
    let stage = Stage::build(router)?;
    let text = stage.at("lan", "timeout 20 iperf3 -c 203.0.113.9 -t 2 -O 1 -J -i 0")?;
    let result: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let bits = result["end"]["sum_received"]["bits_per_second"].as_f64().ok_or("iperf3 gave no figure")?;
    Ok(bits / 1e9)
}

/// The middle one, after sorting.
fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
