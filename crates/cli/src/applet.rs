//! The commands people know, run by this program: found by the name it was called by or by its first word.

use crate::live;
use hairpin_commands::{Call, Input, Outcome, Program, input_of, run, run_alone};
use hairpin_control::protocol::{DEFAULT_SOCKET, Request, ask};
use hairpin_control::state_file::StateFile;
use hairpin_gateway::names::WhenAsked;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The program that a file of this name stands for.
pub fn of_path(argv0: &OsStr) -> Option<Program> {
    hairpin_commands::find(Path::new(argv0).file_name()?.to_str()?)
}

/// Runs it with these words and prints what came of it.
pub fn execute(program: Program, name: &OsStr, words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let outcome = match read_input(program, &words) {
        Ok(input) => act(program, &name.to_string_lossy(), &words, &input),
        Err(outcome) => outcome,
    };
    print(program, outcome)
}

fn read_input(program: Program, words: &[String]) -> Result<Vec<u8>, Outcome> {
    let mut input = Vec::new();
    match input_of(program, words) {
        Input::Nothing => {}
        Input::Stdin => {
            let _ = std::io::stdin().lock().read_to_end(&mut input);
        }
        Input::File(file) => match std::fs::read(&file) {
            Ok(read) => input = read,
            Err(why) if program == Program::Ipset => {
                let text = format!("{} Cannot open {file} for reading: {}\n", ipset_says(), reason(&why));
                return Err(Outcome::failed(255, text));
            }
            Err(why) => return Err(Outcome::failed(1, format!("Can't open {file}: {}\n", reason(&why)))),
        },
    }
    Ok(input)
}

/// Acts on the state that the environment names: a file, or a gateway.
fn act(program: Program, name: &str, words: &[String], input: &[u8]) -> Outcome {
    let hints = std::env::var_os("HAIRPIN_HINTS").map_or_else(|| std::io::stderr().is_terminal(), |v| v == "1");
    let call = Call { program, name, words, input, date: &date(program), hints };
    if let Some(file) = std::env::var_os("HAIRPIN_STATE").filter(|f| !f.is_empty()) {
        let names = WhenAsked::default();
        let lock = std::env::var_os("XTABLES_LOCKFILE").filter(|f| !f.is_empty()).map(PathBuf::from);
        return run(&call, &mut StateFile::new(file, &names).with_shared_lock(lock));
    }
    if let Some(outcome) = run_alone(&call, &WhenAsked::default()) {
        return outcome;
    }
    if program == Program::Conntrack {
        let asked = live::ask_printing(&socket(), Request::of(&call));
        return asked.unwrap_or_else(|why| Outcome::failed(1, format!("{why}\n")));
    }
    ask(&socket(), &call).unwrap_or_else(|why| Outcome::failed(4, format!("{why}\n")))
}

/// Where the gateway listens.
pub(crate) fn socket() -> PathBuf {
    std::env::var_os("HAIRPIN_SOCKET").map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// The local time as `ctime` writes it, for those who save.
fn date(program: Program) -> String {
    match program {
        Program::Save(_) => jiff::ZonedDateTime::now().strftime("%a %b %e %H:%M:%S %Y").to_string(),
        _ => String::new(),
    }
}

fn print(program: Program, mut outcome: Outcome) -> ExitCode {
    match outcome.file.take() {
        Some(file) => {
            if let Err(why) = std::fs::write(&file, &outcome.stdout) {
                match program {
                    Program::Ipset => {
                        outcome.complain(format_args!(
                            "{} Cannot open {file} for writing: {}",
                            ipset_says(),
                            reason(&why)
                        ));
                    }
                    _ => outcome.complain(format_args!("Failed to open file, error: {}", reason(&why))),
                }
                outcome.code = 1;
            }
        }
        None => {
            // A reader that went away is no error.
            let mut out = std::io::stdout().lock();
            let mut write_out = || out.write_all(&outcome.stdout).and_then(|()| out.flush());
            let write_err = || std::io::stderr().lock().write_all(&outcome.stderr);
            // Only a terminal gets each line at once; elsewhere it comes at the end, after what stderr gets.
            if std::io::stdout().is_terminal() {
                let _ = (write_out(), write_err());
            } else {
                let _ = (write_err(), write_out());
            }
            return ExitCode::from(outcome.code);
        }
    }
    let _ = std::io::stderr().lock().write_all(&outcome.stderr);
    ExitCode::from(outcome.code)
}

/// What ipset's messages begin with.
fn ipset_says() -> String {
    format!("ipset v{}:", hairpin_ruleset::ipset::VERSION)
}

/// The system's words without Rust's number.
fn reason(why: &std::io::Error) -> String {
    let text = why.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
