//! The program `hairpin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    hairpin::program::run(&name, words)
}
