//! The language of `ipset`: words to values and values to text, as ipset 7.22 reads and prints them.
//!
//! | file | what |
//! |---|---|
//! | `syntax.rs` | which options each type takes, and in which order they are printed |
//! | `element.rs` | elements: addresses, ranges, ports, link addresses, devices |
//! | `change.rs` | what a command does, as a value: read, carried out, written |
//! | `store.rs` | all sets as one text, and back |
//! | `options.rs` | the options of `create`, `add`, `del` and `test` |
//! | `print.rs` | listings: plain, save, xml, json |
//! | `sort.rs` | the order of `-sorted` |
//! | `help.rs` | the texts of `ipset help` |
//! | `icmp.rs` | names of ICMP types |
//!
//! What the commands do with it is in `hairpin-commands`.

mod change;
mod element;
mod help;
mod icmp;
mod options;
mod print;
mod sort;
mod store;
mod syntax;

pub use change::{Change, read_create, read_entry, read_saved, split_line};
pub use help::{general_help, option_words, type_help};
pub use options::{Target, Typed, create_options, entry};
pub use print::{Form, Printer, element_text};
pub use store::{dump, load, take_up};
pub use syntax::{Action, kind_named};

use std::fmt;

/// The longest name of a set.
pub const LONGEST_NAME: usize = 31;

/// The ipset whose words these are.
pub const VERSION: &str = "7.22";

/// Why words were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The words do not make a command (exit code 2), not: a value is wrong (exit code 1).
    pub is_usage: bool,
    /// What is said of it.
    pub message: String,
}

impl Problem {
    /// The words do not make a command.
    pub fn usage(message: impl Into<String>) -> Problem {
        Problem { is_usage: true, message: message.into() }
    }

    /// A value is wrong.
    pub fn value(message: impl Into<String>) -> Problem {
        Problem { is_usage: false, message: message.into() }
    }

    /// A value is wrong, in the words of its parser.
    fn syntax(message: impl fmt::Display) -> Problem {
        Problem::value(format!("Syntax error: {message}"))
    }

    /// Says more, on a line of its own.
    fn and(self, more: impl fmt::Display) -> Problem {
        Problem { message: format!("{}\n{more}", self.message), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// A set's name as typed.
///
/// # Errors
/// It is too long.
pub fn checked_name(name: &str) -> Result<&str, Problem> {
    if name.len() > LONGEST_NAME {
        return Err(Problem::syntax(format_args!("setname '{name}' is longer than {LONGEST_NAME} characters")));
    }
    if name.contains(['"', '\n']) {
        return Err(Problem::syntax(format_args!("setname '{name}' has a character that saved sets cannot have")));
    }
    Ok(name)
}

/// A number as `strtoull(…, 0)` reads it, within bounds.
fn number(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let range = || Problem::syntax(format_args!("'{text}' is out of range {min}-{max}"));
    let bare = text.trim_start();
    let is_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    // A negative number wraps to one that is too large; so does one of more than 64 bits.
    if bare.strip_prefix('-').is_some_and(is_digits) {
        return Err(range());
    }
    match hairpin_xt::value::parse_number(bare) {
        Some(n) if (min..=max).contains(&n) => Ok(n),
        Some(_) => Err(range()),
        None if is_digits(bare) && (bare.len() >= 20) => Err(range()),
        None => Err(Problem::syntax(format_args!("'{text}' is invalid as number"))),
    }
}
