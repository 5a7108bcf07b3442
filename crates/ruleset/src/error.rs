//! Refusals in the words of iptables and iptables-restore.

use crate::command::program;
use hairpin_engine::rule::{LoadError, LoadRefusal, Refused};
use hairpin_wire::Family;
use hairpin_xt::option::SyntaxError;
use std::fmt;

/// Why a command that was well formed is refused by the rule set it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, as iptables says it; the exit code is 1 but for an unknown target.
    pub error: SyntaxError,
    /// The reason comes from the table and not from the words: iptables prints `iptables: REASON.`
    pub from_table: bool,
    /// It is EINVAL, of which iptables says that the kernel log knows more.
    pub invalid: bool,
    /// More about it, or what to do.
    pub hint: Option<String>,
}

impl Refusal {
    /// A reason of the table.
    pub(crate) fn table(reason: &str) -> Refusal {
        Refusal { error: SyntaxError::other(reason), from_table: true, invalid: false, hint: None }
    }

    /// A reason of the table that is EINVAL.
    pub(crate) fn invalid(reason: &str) -> Refusal {
        Refusal { invalid: true, ..Refusal::table(reason) }
    }

    /// A reason of the words.
    pub(crate) fn words(error: SyntaxError) -> Refusal {
        Refusal { error, from_table: false, invalid: false, hint: None }
    }

    /// The table cannot be read.
    fn unavailable(why: String) -> Refusal {
        let error = SyntaxError { code: 4, bare: true, ..SyntaxError::parameter(why) };
        Refusal { error, from_table: false, invalid: false, hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Refusal {
        Refusal { hint: Some(hint.into()), ..self }
    }

    /// What iptables prints: `iptables: No chain/target/match by that name.`
    pub fn text(&self, family: Family) -> String {
        if !self.from_table {
            return self.error.message.clone();
        }
        let more = if self.invalid { " Run `dmesg' for more information." } else { "" };
        format!("{}: {}.{more}", program(family), self.error.message)
    }
}

impl From<String> for Refusal {
    /// Why a table cannot be read.
    fn from(why: String) -> Refusal {
        Refusal::unavailable(why)
    }
}

impl From<&LoadError> for Refusal {
    /// The kernel's refusal of a table, as iptables reports it; the hint has the line of the kernel's log.
    fn from(load: &LoadError) -> Refusal {
        let refusal = match &load.why {
            LoadRefusal::Loop => Refusal::table("Too many levels of symbolic links"),
            LoadRefusal::NoChain(_) | LoadRefusal::Extension(Refused::Invalid(_)) => {
                Refusal::invalid("Invalid argument")
            }
            LoadRefusal::Extension(Refused::Range(_)) => Refusal::table("Numerical result out of range"),
            LoadRefusal::Extension(Refused::Missing(_)) => Refusal::table("No chain/target/match by that name"),
            LoadRefusal::Extension(Refused::Exists(_)) => Refusal::table("File exists"),
        };
        refusal.hint(load.to_string())
    }
}

/// Why a rule file is refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFileError {
    /// As the caller named the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
    /// `iptables-restore` or `ip6tables-restore`.
    pub program: &'static str,
    /// The exit code.
    pub code: u8,
    /// In iptables-restore's words.
    pub message: String,
    /// The program's name and version do not go before it.
    pub bare: bool,
    /// The word at fault.
    pub word: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Lines for stderr, up to there, that are no errors.
    pub notices: Vec<String>,
    /// What `-v` and listings said up to there.
    pub report: String,
}

impl fmt::Display for RuleFileError {
    /// `FILE:LINE:COLUMN: iptables-restore: MESSAGE`, then a line with the word and the remedy when they are known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.trim().replace('\n', " ");
        let message = message.strip_prefix(&format!("{}: ", self.program)).unwrap_or(&message);
        write!(f, "{}:{}:{}: {}: {message}", self.file, self.line, self.column, self.program)?;
        let word = self.word.as_deref().map(str::trim_end).filter(|w| !w.is_empty());
        match (word, &self.hint) {
            (Some(word), Some(hint)) => write!(f, "\n  at `{word}': {hint}"),
            (Some(word), None) => write!(f, "\n  at `{word}'"),
            (None, Some(hint)) => write!(f, "\n  {hint}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for RuleFileError {}
