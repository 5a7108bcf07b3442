//! The extensions held against the real iptables: the cases of their tables and random rules made from their options.

mod compare;
mod known;
mod ours;
mod random;
mod real;
mod rule;

use compare::Tally;
use rule::Rule;
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

const USAGE: &str = "\
Usage: cargo xtask extensions COMMAND

  cases [NAME…]             each case of each extension (or of those named), as hairpin and as iptables 1.8.11 take it
  random [NAME…]            random rules made from the option tables (of those named)
      --seed N              1 when not given
      --count N             1000 when not given
  doc                       writes docs/extensions.md

Rules are appended, saved, listed with -L, -L -n and -L -v -n -x, and deleted by their own words; every difference in exit code,
words or text is printed. Needs root and a tree with Debian 13's iptables (HAIRPIN_TRIXIE, or trixie beside the repository);
without, it says why it does nothing.
";

/// Runs `cargo xtask extensions …`.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    match args.next()? {
        Some(Value(command)) if command == "cases" => cases(args),
        Some(Value(command)) if command == "random" => random(args),
        Some(Value(command)) if command == "doc" => Ok(doc()),
        Some(Long("help") | Short('h')) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(other.unexpected()),
        None => Err(USAGE.into()),
    }
}

fn cases(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let mut only = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Value(name) => only.push(name.to_string_lossy().into_owned()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(against_real(&rule::of_cases(&only)))
}

fn random(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut seed, mut count, mut only) = (1, 1000, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("seed") => seed = args.value()?.parse()?,
            Long("count") => count = args.value()?.parse()?,
            Value(name) => only.push(name.to_string_lossy().into_owned()),
            other => return Err(other.unexpected()),
        }
    }
    println!("seed {seed}, {count} rules");
    let rules: Vec<Rule> = (0..count).map(|number| random::rule(seed, number, &only)).collect();
    Ok(against_real(&rules))
}

fn doc() -> ExitCode {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/extensions.md");
    match std::fs::write(path, hairpin_xt::catalog::page()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {path}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn against_real(rules: &[Rule]) -> ExitCode {
    let tree = match real::tree() {
        Ok(tree) => tree,
        Err(why) => return skipped(&why),
    };
    let mut tally = Tally::default();
    for batch in rules.chunks(200) {
        match real::answers(&tree, batch) {
            Ok(answers) => {
                batch.iter().zip(answers).for_each(|(rule, real)| tally.add(rule, &ours::answer(rule), &real))
            }
            Err(why) => {
                eprintln!("xtask: {why}");
                return ExitCode::from(2);
            }
        }
    }
    tally.report()
}

/// Where everything must be there (CI=true), what cannot run is a failure.
fn skipped(why: &str) -> ExitCode {
    println!("skipped: {why}");
    match std::env::var("CI").as_deref() {
        Ok("true") => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
