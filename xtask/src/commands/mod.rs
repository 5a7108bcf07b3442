//! `cargo xtask commands`: hold the commands people know against the real ones.

mod bench;
mod diff;
mod generate;
mod life;
mod moves;
pub(crate) mod reference;
mod sets;

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask commands COMMAND

  diff [--seed N] [--count M] [--family 4|6] [--only NAME] [--words] [--faults]
      random commands from the extension tables, given to hairpin and to iptables 1.8.11 in a namespace: the same acceptance, exit
      codes, words, -S, -L and save texts; --only tries one extension;
      --words shows also what both refuse, but in other words;
      --faults makes rules with several mistakes, to see which of them is named

  sets [--seed N] [--count M]
      random ipset commands, given to hairpin and to the real ipset on the running kernel: the same exit codes and words, and
      afterwards the same sets, headers, XML and JSON

  bench
      the time and memory of commands on 100,000 rules, hairpin's beside the real legacy program's in the same run

  life [NAME …]
      ufw, ferm, fail2ban, firewalld and shorewall (those that the tree has), and the commands that docker, kube-proxy and libvirt run, live their
      ordinary life with hairpin in iptables' place and with the real one: the same words, exit codes and rules after every step

The real iptables is that of a Debian 13 tree: HAIRPIN_TRIXIE names it, else trixie beside the repository, else target/debian13, which
debootstrap makes on first use. Needs root; without it the command says so and does nothing (with CI=true that is a failure).
";

pub(crate) fn main(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    match args.next()? {
        Some(Value(command)) if command == "diff" => {
            let mut options = diff::Options::default();
            while let Some(arg) = args.next()? {
                match arg {
                    Long("seed") => options.seed = args.value()?.parse()?,
                    Long("count") => options.count = args.value()?.parse()?,
                    Long("family") => options.family = Some(args.value()?.string()?),
                    Long("words") => options.words = true,
                    Long("faults") => options.faults = true,
                    Long("only") => options.only = Some(args.value()?.string()?),
                    other => return Err(other.unexpected()),
                }
            }
            with_reference(|tree| diff::run(tree, &options))
        }
        Some(Value(command)) if command == "sets" => {
            let mut options = sets::Options::default();
            while let Some(arg) = args.next()? {
                match arg {
                    Long("seed") => options.seed = args.value()?.parse()?,
                    Long("count") => options.count = args.value()?.parse()?,
                    other => return Err(other.unexpected()),
                }
            }
            with_reference(|tree| sets::run(tree, &options))
        }
        Some(Value(command)) if command == "bench" => with_reference(bench::run),
        Some(Value(command)) if command == "life" => {
            let mut names = Vec::new();
            while let Some(arg) = args.next()? {
                match arg {
                    Value(name) => names.push(name.string()?),
                    other => return Err(other.unexpected()),
                }
            }
            with_reference(|_| life::run(&names))
        }
        Some(Long("help") | Short('h')) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(other.unexpected()),
        None => Err(USAGE.into()),
    }
}

/// Does it with the reference tree, or says why not.
fn with_reference(work: impl FnOnce(PathBuf) -> Result<bool, String>) -> Result<ExitCode, lexopt::Error> {
    let tree = match reference::find() {
        Ok(tree) => tree,
        Err(why) => {
            println!("skipped: {why}");
            let ci = std::env::var("CI").as_deref() == Ok("true");
            return Ok(if ci { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    match work(tree) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(why) => Err(why.into()),
    }
}
