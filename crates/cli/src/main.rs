//! The program `hairpin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hairpin::program::run(std::env::args_os().skip(1))
}
