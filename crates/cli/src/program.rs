//! The verbs of the program, and which one was asked for.

use crate::applet;
use crate::verbs::{capture, demo, gateway, install_links, manual, queue, replay, run, sysctl, top, trace};
use hairpin_commands::NAMES;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Why the program ends without having done what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// Exit code: 1 for input that is wrong, 2 for a wrong command line.
    pub code: u8,
    /// What to print on standard error.
    pub message: String,
}

impl Failure {
    /// Input that is wrong (a file, a capture): exit code 1.
    pub fn input(message: impl fmt::Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// A wrong command line: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }
}

/// One thing the program can do.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Does it, with the words behind the name.
    pub run: fn(Vec<OsString>) -> Result<(), Failure>,
}

/// Everything the program can do.
pub const VERBS: &[Verb] = &[
    demo::VERB,
    replay::VERB,
    trace::VERB,
    run::VERB,
    gateway::STATUS,
    top::VERB,
    capture::VERB,
    sysctl::VERB,
    queue::VERB,
    gateway::SAVE,
    install_links::VERB,
    manual::MAN,
    manual::COMPLETION,
];

/// Runs the program called by this name with these words and says how it ended. The name, or else the first word, may be that of
/// a command people know.
pub fn run(name: &OsStr, words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.collect();
    if let Some(program) = applet::of_path(name) {
        return applet::execute(program, name, &words);
    }
    if let Some((first, rest)) = words.split_first()
        && let Some(program) = applet::of_path(first)
    {
        return applet::execute(program, first, rest);
    }
    match dispatch(name, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hairpin: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints on standard output. A reader that went away is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn dispatch(called: &OsStr, words: Vec<OsString>) -> Result<(), Failure> {
    let (first, rest) = match words.split_first() {
        Some((first, rest)) => (first.to_string_lossy().into_owned(), rest.to_vec()),
        None => return Err(Failure::usage(format!("what shall it be?\n\n{}", overview()))),
    };
    match first.as_str() {
        "-h" | "--help" | "help" => match rest.first().and_then(|name| find(&name.to_string_lossy())) {
            Some(verb) => {
                say(verb.help);
                Ok(())
            }
            None => {
                say(&overview());
                Ok(())
            }
        },
        "-V" | "--version" => {
            say(concat!("hairpin ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        name => match find(name) {
            Some(verb) if rest.iter().take_while(|w| *w != "--").any(|w| w == "-h" || w == "--help") => {
                say(verb.help);
                Ok(())
            }
            Some(verb) => (verb.run)(rest),
            None => Err(Failure::usage(format!("there is no `{}'\n\n{}", unknown(called, name), overview()))),
        },
    }
}

/// What is not known: the name of a link, or the first word.
fn unknown(called: &OsStr, word: &str) -> String {
    let link = Path::new(called).file_name().unwrap_or_default().to_string_lossy();
    if link.is_empty() || link.starts_with("hairpin") { word.to_owned() } else { link.into_owned() }
}

fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

fn overview() -> String {
    let mut text = "hairpin: Linux netfilter and iptables in user space\n\nusage: hairpin VERB …\n\n".to_owned();
    for verb in VERBS {
        text += &format!("  {:<13} {}\n", verb.name, verb.about);
    }
    text += "\nor one of the commands people know, as a first word or as the name of a link:\n\n ";
    for (name, _) in NAMES {
        text += &format!(" {name}");
    }
    text + "\n\n`hairpin help VERB' says more.\n"
}
