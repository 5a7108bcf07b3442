//! One iptables command, from words to values: `-A INPUT -p tcp --dport 22 -j ACCEPT`.
//!
//! The words are read once, in order, as iptables reads them, and every refusal has the words and the exit code of iptables
//! 1.8.11. What depends on the rule set (is there such a chain?) is not looked at here but when the command is applied
//! ([`crate::apply`]).

mod extensions;
mod finish;
mod header;
mod refusal;
mod verbs;

use crate::getopt::{Extension, Item, JSON, Reader};
use hairpin_engine::rule::{Action, Counter, IfMatch, Rule, TableId};
use hairpin_wire::Family;
use hairpin_xt::option::{Given, Names, SyntaxError};
use std::borrow::Cow;

/// The longest name of a chain, a match or a target, in bytes (`XT_EXTENSION_MAXNAMELEN` - 1).
pub const MAX_NAME: usize = 28;

/// What a command is read for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// iptables or ip6tables.
    pub family: Family,
    /// What names stand for.
    pub names: &'a dyn Names,
    /// The table without `-t`; for a line of a rule file the table it stands in.
    pub table: TableId,
    /// The words are a line of a rule file: `-t` and `-w` are refused, and a line for the other family is passed over.
    pub restore: bool,
}

/// A command.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// The table.
    pub table: TableId,
    /// The rules of [`Verb::Append`], [`Verb::Insert`], [`Verb::Replace`], [`Verb::Delete`] and [`Verb::Check`]: one for each pair of a
    /// source and a destination address. A jump's chain has not been looked for yet.
    pub rules: Vec<Rule>,
    /// `-c`.
    pub counters: Option<Counter>,
    /// `-v`, how often.
    pub verbose: u8,
    /// `-n`.
    pub numeric: bool,
    /// `-x`.
    pub exact: bool,
    /// `--line-numbers`.
    pub line_numbers: bool,
    /// `-w`: whether, and how many seconds.
    pub wait: Option<Option<u32>>,
    /// `--json`: a listing for programs.
    pub json: bool,
    /// The words, when one of them has blanks, quotes or the like: not all that iptables-save prints of such rules can be read
    /// again (`-i "a b"`).
    pub odd_words: Option<Vec<String>>,
}

/// The verb of a command. Chains are named as typed; rule numbers count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `-A`.
    Append(String),
    /// `-I`, at this place.
    Insert(String, u32),
    /// `-R`.
    Replace(String, u32),
    /// `-D` with a rule.
    Delete(String),
    /// `-D` with a number.
    DeleteNumber(String, u32),
    /// `-C`.
    Check(String),
    /// `-L`; with `-Z` the counters are reset after.
    List {
        /// All when none.
        chain: Option<String>,
        /// One rule only.
        rule: Option<u32>,
        /// What `-Z` beside it resets.
        zero: Reset,
    },
    /// `-S`; with `-Z` the counters are reset after.
    ListRules {
        /// All when none.
        chain: Option<String>,
        /// One rule only.
        rule: Option<u32>,
        /// What `-Z` beside it resets.
        zero: Reset,
    },
    /// `-F`.
    Flush(Option<String>),
    /// `-Z`.
    Zero(Option<String>, Option<u32>),
    /// `-N`.
    New(String),
    /// `-X`.
    DeleteChain(Option<String>),
    /// `-E`, from and to.
    Rename(String, String),
    /// `-P`, chain and policy.
    Policy(String, String),
    /// `-h`, with what was loaded before it.
    Help {
        /// After `-m`, or by `-p`.
        matches: Vec<&'static str>,
        /// After `-j`.
        target: Option<&'static str>,
    },
    /// `-V`, perhaps after `!`.
    Version {
        /// After `!`.
        inverted: bool,
    },
    /// A line of a rule file for the other family (`-4`, `-6`), which is over there: nothing to do when its rule would be needed.
    OtherFamily,
}

/// What a listing resets the counters of, after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Nothing: it has no `-Z`.
    #[default]
    Nothing,
    /// The chain listed, or all: `-Z` has no number.
    Chains,
    /// The rule listed: `-Z` has a number.
    Rule,
}

impl Verb {
    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        match self {
            Verb::List { zero, .. } | Verb::ListRules { zero, .. } => *zero != Reset::Nothing,
            Verb::Check(_) | Verb::Help { .. } | Verb::Version { .. } | Verb::OtherFamily => false,
            _ => true,
        }
    }
}

/// Why words are no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Message and exit code.
    pub error: SyntaxError,
    /// The index of the word at fault, when there is one.
    pub word: Option<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<SyntaxError> for CommandError {
    fn from(error: SyntaxError) -> CommandError {
        CommandError { error, word: None, hint: None }
    }
}

/// Reads one command from its words, the program's name not among them.
///
/// # Errors
/// Whatever iptables refuses before it looks at the rule set, with its words.
pub fn parse<W: AsRef<str>>(context: &Context<'_>, words: &[W]) -> Result<Command, CommandError> {
    parse_noting(context, words, &mut Vec::new())
}

/// As [`parse`]; lines for stderr that are no errors are given even when the words are refused after them.
///
/// # Errors
/// As [`parse`].
pub fn parse_noting<W: AsRef<str>>(
    context: &Context<'_>,
    words: &[W],
    notices: &mut Vec<String>,
) -> Result<Command, CommandError> {
    let mut parser = Parser::new(context, words);
    let command = match parser.read() {
        // What ends the line (-h, -V) does so only when the values before it are right.
        Ok(Some(verb)) => match (Parser { eager: true, ..Parser::new(context, words) }).read() {
            Err(error) => Err(error),
            Ok(_) => Ok(parser.finished(verb)),
        },
        Ok(None) => parser.command(),
        Err(error) => Err(error),
    };
    let said = parser.notices;
    match command {
        Ok(command) => {
            notices.extend(said);
            Ok(command)
        }
        Err(error) => Err(first_error(context, words, error, said, notices)),
    }
}

/// Of several mistakes iptables names the one it comes to first: it looks at the value of an extension's option as soon as it
/// reads the option. Doing so costs time, so words are read in that way only when something is wrong with them.
fn first_error<W: AsRef<str>>(
    context: &Context<'_>,
    words: &[W],
    error: CommandError,
    said: Vec<String>,
    notices: &mut Vec<String>,
) -> CommandError {
    let mut parser = Parser { eager: true, ..Parser::new(context, words) };
    match parser.read() {
        Err(first) => {
            notices.append(&mut parser.notices);
            first
        }
        Ok(_) => {
            notices.extend(said);
            error
        }
    }
}

/// Reads the words of one rule, those after `-A CHAIN`.
///
/// # Errors
/// As [`parse`].
pub fn parse_rule<W: AsRef<str>>(context: &Context<'_>, chain: &str, words: &[W]) -> Result<Vec<Rule>, CommandError> {
    let all: Vec<&str> = ["-A", chain].into_iter().chain(words.iter().map(AsRef::as_ref)).collect();
    match parse(context, &all) {
        Ok(command) => Ok(command.rules),
        Err(e) => Err(CommandError { word: e.word.and_then(|w| w.checked_sub(2)), ..e }),
    }
}

/// iptables' own options that a rule or a listing has, in the order in which iptables looks for misplaced ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flag {
    Numeric,
    Source,
    Destination,
    Protocol,
    Jump,
    Exact,
    InInterface,
    OutInterface,
    LineNumbers,
    Counters,
    Fragment,
}

impl Flag {
    const fn name(self) -> &'static str {
        match self {
            Flag::Numeric => "--numeric",
            Flag::Source => "--source",
            Flag::Destination => "--destination",
            Flag::Protocol => "--protocol",
            Flag::Jump => "--jump",
            Flag::Exact => "--exact",
            Flag::InInterface => "--in-interface",
            Flag::OutInterface => "--out-interface",
            Flag::LineNumbers => "--line-numbers",
            Flag::Counters => "--set-counters",
            Flag::Fragment => "--fragments",
        }
    }

    const fn inverts(self) -> bool {
        use Flag::{Destination, Fragment, InInterface, OutInterface, Protocol, Source};
        matches!(self, Source | Destination | Protocol | InInterface | OutInterface | Fragment)
    }

    /// Whether the option belongs to a command.
    fn allowed(self, verb: &Verb) -> bool {
        use Verb::{Append, Check, Delete, Insert, List, Policy, Replace};
        match self {
            // 1.8.11 refuses them when `-Z` stands beside `-L`.
            Flag::Numeric | Flag::Exact | Flag::LineNumbers => matches!(verb, List { zero: Reset::Nothing, .. }),
            Flag::Counters => matches!(verb, Append(_) | Insert(..) | Replace(..) | Policy(..)),
            _ => matches!(verb, Append(_) | Insert(..) | Replace(..) | Delete(_) | Check(_)),
        }
    }
}

/// An option given, with what is needed to complain about it later.
#[derive(Clone, Copy, Debug)]
struct Seen {
    flag: Flag,
    inverted: bool,
    word: usize,
}

/// A match or target as used: which, where, and its options so far.
#[derive(Debug)]
struct Use {
    extension: Extension,
    /// The name to show in messages.
    name: &'static str,
    word: usize,
    given: Vec<Given>,
    /// The words of each option.
    places: Vec<(usize, usize)>,
    /// `-p` as it stood at its last option. What comes later on the line the extension does not see, as with iptables.
    protocol: Option<(u8, bool)>,
}

struct Parser<'c, 'w, W> {
    context: &'c Context<'c>,
    words: &'w [W],
    reader: Reader<'w, W>,
    seen: Vec<Seen>,
    verb: Option<Verb>,
    verb_letter: char,
    table: Option<&'w str>,
    protocol: Option<(u8, bool)>,
    protocol_text: Cow<'w, str>,
    protocol_used: bool,
    source: Option<&'w str>,
    destination: Option<&'w str>,
    iif: IfMatch,
    oif: IfMatch,
    jump: Option<&'w str>,
    is_goto: bool,
    matches: Vec<Use>,
    target: Option<Use>,
    counters: Option<Counter>,
    verbose: u8,
    wait: Option<Option<u32>>,
    has_interval: bool,
    json: bool,
    notices: Vec<String>,
    inverted: bool,
    /// Whether the value of an extension's option is looked at when it is read.
    eager: bool,
}

type Outcome<T = ()> = Result<T, CommandError>;

impl<'c, 'w, W: AsRef<str>> Parser<'c, 'w, W> {
    fn new(context: &'c Context<'c>, words: &'w [W]) -> Self {
        Parser {
            context,
            words,
            reader: match context.family {
                Family::V4 => Reader::new(words),
                Family::V6 => Reader::new(words).without("fragments"),
            },
            seen: Vec::new(),
            verb: None,
            verb_letter: ' ',
            table: None,
            protocol: None,
            protocol_text: Cow::Borrowed(""),
            protocol_used: false,
            source: None,
            destination: None,
            iif: IfMatch::default(),
            oif: IfMatch::default(),
            jump: None,
            is_goto: false,
            matches: Vec::new(),
            target: None,
            counters: None,
            verbose: 0,
            wait: None,
            has_interval: false,
            json: false,
            notices: Vec::new(),
            inverted: false,
            eager: false,
        }
    }

    /// Reads all words. Some verb when the rest of the line no longer matters.
    fn read(&mut self) -> Outcome<Option<Verb>> {
        while let Some(item) = self.reader.next() {
            match item {
                Item::Word("!") => {
                    if self.inverted {
                        return Err(self.refuse("multiple consecutive ! not allowed"));
                    }
                    self.inverted = true;
                    continue;
                }
                Item::Word(word) => return Err(self.bad_argument(word)),
                Item::Base(short, value) => {
                    if let Some(verb) = self.base(short, value)? {
                        return Ok(Some(verb));
                    }
                }
                Item::Extension(found, value) => self.extension(found, value)?,
                Item::UnknownShort(_) | Item::Unknown(_) | Item::NoValue(_) if self.load_protocol() => {
                    self.reader.again();
                    continue;
                }
                Item::UnknownShort(short) => return Err(self.unknown_option(&format!("-{short}"))),
                Item::Unknown(word) => return Err(self.unknown_option(word)),
                Item::NoValue(word) => return Err(self.refuse(format!("option \"{word}\" requires an argument"))),
            }
            self.inverted = false;
        }
        Ok(None)
    }

    /// One of iptables' own options. Some verb when the rest of the line no longer matters.
    fn base(&mut self, short: char, value: Option<&'w str>) -> Outcome<Option<Verb>> {
        let text = value.unwrap_or_default();
        match short {
            'A' | 'C' | 'D' | 'R' | 'I' | 'L' | 'S' | 'F' | 'Z' | 'N' | 'X' | 'E' | 'P' => self.verb(short, text)?,
            'h' => return Ok(Some(self.help())),
            'V' => return Ok(Some(Verb::Version { inverted: self.inverted })),
            'p' => self.set_protocol(text)?,
            's' => {
                self.set(Flag::Source)?;
                self.source = Some(text);
            }
            'd' => {
                self.set(Flag::Destination)?;
                self.destination = Some(text);
            }
            'i' => self.iif = self.interface(Flag::InInterface, text)?,
            'o' => self.oif = self.interface(Flag::OutInterface, text)?,
            'j' => self.set_jump(text)?,
            'g' => {
                self.set(Flag::Jump)?;
                self.check_target_name(text)?;
                self.is_goto = true;
                self.jump = Some(text);
            }
            'm' => self.set_match(text)?,
            'f' => {
                if self.context.family == Family::V6 {
                    return Err(self.refuse("`-f' is not supported in IPv6, use -m frag instead"));
                }
                self.set(Flag::Fragment)?;
            }
            'c' => self.set_counters(text)?,
            'n' => self.set(Flag::Numeric)?,
            'x' => self.set(Flag::Exact)?,
            '0' => self.set(Flag::LineNumbers)?,
            JSON => self.json = true,
            'v' => {
                if self.inverted {
                    return Err(self.refuse("cannot have ! before --verbose"));
                }
                self.verbose = self.verbose.saturating_add(1);
            }
            't' => self.set_table(text)?,
            'w' | 'W' => self.set_wait(short, value)?,
            'M' => {}
            '4' | '6' => {
                let meant = if short == '4' { Family::V4 } else { Family::V6 };
                if meant != self.context.family {
                    if self.context.restore {
                        return Ok(Some(self.without_rules()));
                    }
                    let other = if short == '4' { "iptables" } else { "ip6tables" };
                    // 1.8.11 says nothing but where to look for help.
                    let mut error = self.refuse("");
                    error.error.bare = true;
                    error.hint = Some(format!("-{short} is a matter of {other}"));
                    return Err(error);
                }
            }
            _ => return Err(self.unknown_option(&format!("-{short}"))),
        }
        Ok(None)
    }
}

/// The verdicts that need no extension.
pub(crate) fn standard_action(name: &str) -> Option<Action> {
    match name {
        "ACCEPT" => Some(Action::Accept),
        "DROP" => Some(Action::Drop),
        "QUEUE" => Some(Action::Queue),
        "RETURN" => Some(Action::Return),
        _ => None,
    }
}

/// The chain that a verb names first; empty when none.
fn verb_chain(verb: &Verb) -> &str {
    match verb {
        Verb::Append(chain)
        | Verb::Insert(chain, _)
        | Verb::Replace(chain, _)
        | Verb::Delete(chain)
        | Verb::DeleteNumber(chain, _)
        | Verb::Check(chain)
        | Verb::New(chain)
        | Verb::Rename(chain, _)
        | Verb::Policy(chain, _) => chain,
        Verb::List { chain, .. }
        | Verb::ListRules { chain, .. }
        | Verb::Flush(chain)
        | Verb::Zero(chain, _)
        | Verb::DeleteChain(chain) => chain.as_deref().unwrap_or_default(),
        Verb::Help { .. } | Verb::Version { .. } | Verb::OtherFamily => "",
    }
}

/// `iptables` or `ip6tables`.
pub fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// `iptables-restore` or `ip6tables-restore`.
pub fn restore_program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
}
