//! A command as called, and what came of it.

use crate::program::Program;
use std::fmt;

/// A command as called.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which program.
    pub program: Program,
    /// The name it was called by, as typed: for the few messages that repeat it.
    pub name: &'a str,
    /// The words after its name.
    pub words: &'a [String],
    /// What it reads: see [`input_of`].
    pub input: &'a [u8],
    /// The local date and time as `ctime` writes it (`Thu Jan  1 00:00:00 1970`), for the comments of saved files.
    pub date: &'a str,
    /// Whether lines that begin with `hint:` may be added to stderr.
    pub hints: bool,
}

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it says on standard output.
    pub stdout: Vec<u8>,
    /// What it says on standard error.
    pub stderr: Vec<u8>,
    /// The exit code.
    pub code: u8,
    /// The file that standard output goes to instead (`iptables-save -f FILE`); whoever called opens it.
    pub file: Option<String>,
}

impl Outcome {
    /// Done, with this on standard output.
    pub fn done(stdout: impl Into<Vec<u8>>) -> Outcome {
        Outcome { stdout: stdout.into(), ..Outcome::default() }
    }

    /// Not done.
    pub fn failed(code: u8, stderr: impl Into<Vec<u8>>) -> Outcome {
        Outcome { stderr: stderr.into(), code, ..Outcome::default() }
    }

    /// Adds a line to standard error.
    pub fn complain(&mut self, line: impl fmt::Display) {
        self.stderr.extend_from_slice(format!("{line}\n").as_bytes());
    }

    /// Adds a line `hint: …` to standard error, when the caller wants hints.
    pub fn hint(&mut self, call: &Call<'_>, hint: Option<&str>) {
        if let Some(hint) = hint.filter(|_| call.hints) {
            self.complain(format_args!("hint: {hint}"));
        }
    }
}

/// Where a command's input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It reads nothing.
    Nothing,
    /// Standard input.
    Stdin,
    /// A file.
    File(String),
}

/// What a command with these words reads. The caller reads it and puts it into [`Call::input`].
pub fn input_of(program: Program, words: &[String]) -> Input {
    match program {
        Program::Restore(_) => crate::iptables_restore::input(words),
        Program::Conntrack => crate::conntrack::input(words),
        Program::Ipset => crate::ipset::input(words),
        Program::Nfacct => crate::nfacct::input(words),
        Program::Iptables(_) | Program::Save(_) => Input::Nothing,
    }
}
