//! Chores of the workspace: `cargo xtask COMMAND`.

mod commands;
mod extensions;
mod live;
mod oracle;

use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  commands    hold iptables and the other commands against the real ones (`cargo xtask commands --help`)
  extensions  hold the extensions' language against the real iptables (`cargo xtask extensions --help`)
  bench-live  packet rates and bulk TCP through the gateway beside the kernel's NAT (`cargo xtask bench-live --help`)
  live        let real programs talk through the kernel's NAT and through the gateway (`cargo xtask live --help`)
  oracle      hold hairpin against the running Linux kernel (`cargo xtask oracle --help`)
";

fn main() -> ExitCode {
    let mut args = lexopt::Parser::from_env();
    let result = match args.next() {
        Ok(Some(Value(command))) if command == "oracle" => oracle::main(&mut args),
        Ok(Some(Value(command))) if command == "extensions" => extensions::main(&mut args),
        Ok(Some(Value(command))) if command == "bench-live" => live::bench::main(&mut args),
        Ok(Some(Value(command))) if command == "live" => live::main(&mut args),
        Ok(Some(Value(command))) if command == "commands" => commands::main(&mut args),
        Ok(Some(Long("help") | Short('h'))) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(other)) => Err(other.unexpected()),
        Ok(None) => Err(USAGE.into()),
        Err(e) => Err(e),
    };
    result.unwrap_or_else(|e| {
        eprintln!("xtask: {e}");
        ExitCode::from(2)
    })
}
