//! Options of an extension: how they are declared, and what a person typed.

pub use hairpin_engine::rule::{NameKind, NumberNames};

use hairpin_engine::rule::TableId;
use hairpin_wire::{Addr, Family};
use std::cell::RefCell;
use std::fmt;

/// One option of an extension.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The long name without dashes.
    pub name: &'static str,
    /// Other long names that mean the same.
    pub aliases: &'static [&'static str],
    /// A placeholder for each word of its value; empty for a switch.
    pub values: &'static [&'static str],
    /// The value may be left out.
    pub optional: bool,
    /// One line for people.
    pub help: &'static str,
    /// `!` may stand before it.
    pub invertible: bool,
    /// It may be given more than once.
    pub repeatable: bool,
    /// It must be given.
    pub required: bool,
    /// Options that cannot be given with it.
    pub excludes: &'static [&'static str],
    /// Options that must be given with it.
    pub needs: &'static [&'static str],
    /// What is said to whoever gives it.
    pub notice: &'static str,
    /// The words when it is given twice, if not the usual ones.
    pub twice: &'static str,
    /// The words when words of its value are missing, if not the usual ones.
    pub too_few: &'static str,
    /// The words when `!` stands before it although it may not, if not the usual ones.
    pub inverted: &'static str,
}

impl Opt {
    const BLANK: Opt = Opt {
        name: "",
        aliases: &[],
        values: &[],
        optional: false,
        help: "",
        invertible: false,
        repeatable: false,
        required: false,
        excludes: &[],
        needs: &[],
        notice: "",
        twice: "",
        inverted: "",
        too_few: "",
    };

    /// An option with a value of one word per placeholder.
    pub const fn new(name: &'static str, values: &'static [&'static str], help: &'static str) -> Opt {
        Opt { name, values, help, ..Opt::BLANK }
    }

    /// A switch.
    pub const fn switch(name: &'static str, help: &'static str) -> Opt {
        Opt { name, help, ..Opt::BLANK }
    }

    /// With other names.
    pub const fn alias(self, aliases: &'static [&'static str]) -> Opt {
        Opt { aliases, ..self }
    }

    /// The value may be left out.
    pub const fn optional(self) -> Opt {
        Opt { optional: true, ..self }
    }

    /// `!` may stand before it.
    pub const fn inverts(self) -> Opt {
        Opt { invertible: true, ..self }
    }

    /// It may be given more than once.
    pub const fn repeats(self) -> Opt {
        Opt { repeatable: true, ..self }
    }

    /// It must be given.
    pub const fn required(self) -> Opt {
        Opt { required: true, ..self }
    }

    /// It cannot be given together with these.
    pub const fn excludes(self, excludes: &'static [&'static str]) -> Opt {
        Opt { excludes, ..self }
    }

    /// It needs these to be given too.
    pub const fn needs(self, needs: &'static [&'static str]) -> Opt {
        Opt { needs, ..self }
    }

    /// With the extension's own words for giving it twice.
    pub const fn twice(self, twice: &'static str) -> Opt {
        Opt { twice, ..self }
    }

    /// With the extension's own words for a value of too few words.
    pub const fn too_few(self, too_few: &'static str) -> Opt {
        Opt { too_few, ..self }
    }

    /// With the extension's own words for `!` before it.
    pub const fn not_inverted(self, inverted: &'static str) -> Opt {
        Opt { inverted, ..self }
    }

    /// Whoever gives it is told this.
    pub const fn notice(self, notice: &'static str) -> Opt {
        Opt { notice, ..self }
    }
}

/// One option as typed.
#[derive(Clone, Debug)]
pub struct Given {
    /// Which.
    pub option: &'static Opt,
    /// Its name as declared that was typed (perhaps abbreviated): [`Opt::name`] or one of [`Opt::aliases`]. Messages about it
    /// use [`Opt::name`].
    pub name: &'static str,
    /// `!` stood before it.
    pub inverted: bool,
    /// The words of its value; empty for a switch and for an optional value that was left out.
    pub words: Vec<String>,
}

impl Given {
    /// The first word of the value; empty when there is none.
    pub fn value(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// An extension's options as typed in one rule, in the order typed, and what else of the rule it may know.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    /// The extension's name, for messages.
    pub extension: &'static str,
    /// iptables or ip6tables.
    pub family: Family,
    /// The table after `-t`.
    pub table: TableId,
    /// The chain the rule goes to.
    pub chain: &'a str,
    /// `-p`, and whether it was inverted; None when not given.
    pub protocol: Option<(u8, bool)>,
    /// What names stand for.
    pub names: &'a dyn Names,
    /// The options.
    pub given: Vec<Given>,
    /// Whether these are all: not when values are looked at one by one.
    pub complete: bool,
    /// What to say to whoever typed them although nothing is wrong.
    pub notices: RefCell<Vec<String>>,
}

/// What names in a rule stand for. This crate opens no file and asks no server, so the caller says; see
/// `hairpin-ruleset` for one with the well-known names built in.
pub trait Names: NumberNames {
    /// The number of this name.
    fn number(&self, kind: NameKind, name: &str) -> Option<u32>;

    /// Whether there is any list of names of this kind. Only the words of a refusal depend on it.
    fn has_list(&self, kind: NameKind) -> bool {
        let _ = kind;
        false
    }

    /// The addresses of a host name, without repetition; or why there is none, in the resolver's words.
    fn hosts(&self, family: Family, name: &str) -> Result<Vec<Addr>, String>;

    /// What is known of the set of this name.
    fn set(&self, name: &str) -> KnownSet {
        let _ = name;
        KnownSet::Unchecked
    }

    /// The content of a file that a rule names (`--bytecode-file`, `--u32 file` and the like); or why not.
    fn file(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// What is known of a set that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownSet {
    /// Nothing: whether there is one shows when the rule is loaded.
    Unchecked,
    /// There is none.
    Missing,
    /// There is one; its addresses are of this family, if it has any.
    Of(Option<Family>),
}

/// Names stand for nothing: only numbers are understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl NumberNames for NoNames {
    fn name(&self, _kind: NameKind, _number: u32) -> Option<String> {
        None
    }
}

impl Names for NoNames {
    fn number(&self, _kind: NameKind, _name: &str) -> Option<u32> {
        None
    }

    fn hosts(&self, _family: Family, _name: &str) -> Result<Vec<Addr>, String> {
        Err("Name or service not known".to_owned())
    }

    fn file(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("No such file or directory".to_owned())
    }
}

impl Parsed<'_> {
    /// The option of that name, if it was given; the last one when it was repeated.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.iter().rev().find(|g| g.option.name == name)
    }

    /// Whether the option of that name was given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The option of that name, which must be given.
    pub fn required(&self, name: &str) -> Result<&Given, SyntaxError> {
        self.get(name).ok_or_else(|| {
            let error = self.error(format_args!("option \"--{name}\" must be specified\n"));
            SyntaxError { missing: true, ..error }
        })
    }

    /// Says something to whoever typed the rule, without refusing it.
    pub fn notice(&self, text: impl Into<String>) {
        self.notices.borrow_mut().push(text.into());
    }

    /// The protocol when one was given and not inverted.
    pub fn plain_protocol(&self) -> Option<u8> {
        self.protocol.and_then(|(p, inverted)| (!inverted && p != 0).then_some(p))
    }

    /// A refusal in this extension's name: `name: message`, exit code 2.
    pub fn error(&self, message: impl fmt::Display) -> SyntaxError {
        SyntaxError::parameter(format!("{}: {message}", self.extension))
    }
}

/// Why a command line or a line of a rule file is refused, in iptables' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The exit code: 1 other problem, 2 parameter problem, 3 version problem, 4 resource problem.
    pub code: u8,
    /// Without the leading `iptables v1.8.11 (legacy): `.
    pub message: String,
    /// The offending word as typed, when one can be named.
    pub word: Option<String>,
    /// It is printed without the program's name before it.
    pub bare: bool,
    /// It says that a required option is missing, which other mistakes go before.
    pub missing: bool,
    /// It is seen only when all options have been read, although it names a word.
    pub late: bool,
}

impl SyntaxError {
    /// Exit code 2.
    pub fn parameter(message: impl Into<String>) -> SyntaxError {
        SyntaxError { code: 2, message: message.into(), word: None, bare: false, missing: false, late: false }
    }

    /// Exit code 1.
    pub fn other(message: impl Into<String>) -> SyntaxError {
        SyntaxError { code: 1, message: message.into(), word: None, bare: false, missing: false, late: false }
    }

    /// It shows only when all options are read: mistakes in what is read later go before.
    pub fn late(self) -> SyntaxError {
        SyntaxError { late: true, ..self }
    }

    /// Names the offending word.
    pub fn at(self, word: impl Into<String>) -> SyntaxError {
        SyntaxError { word: Some(word.into()), ..self }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SyntaxError {}
