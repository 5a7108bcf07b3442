//! One iptables command, from words to values: `-A INPUT -p tcp --dport 22 -j ACCEPT`.
//!
//! The words are read once, in order, as iptables reads them, and every refusal has the words and the exit code of iptables
//! 1.8.11. What depends on the rule set (is there such a chain?) is not looked at here but when the command is applied
//! ([`crate::apply`]).

use crate::getopt::{Extension, Found, Item, JSON, Reader};
use crate::{suggest, wait};
use hairpin_engine::rule::{Action, AddrMatch, Counter, Header, IfMatch, Match, Rule, TableId};
use hairpin_wire::{Addr, Family, proto};
use hairpin_xt::option::{Given, Names, Opt, Parsed, SyntaxError};
use hairpin_xt::{MatchSpec, find_match, find_target, value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;

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

    // Verbs

    /// The option of a verb.
    fn verb(&mut self, short: char, text: &'w str) -> Outcome {
        let owned = || text.to_owned();
        match short {
            'A' => self.set_verb(short, Verb::Append(owned()))?,
            'C' => self.set_verb(short, Verb::Check(owned()))?,
            'D' => {
                self.set_verb(short, Verb::Delete(owned()))?;
                if let Some(number) = self.number_to_delete()? {
                    self.verb = Some(Verb::DeleteNumber(owned(), number));
                }
            }
            'R' => {
                self.set_verb(short, Verb::Replace(owned(), 0))?;
                let number = self.rule_number()?.ok_or_else(|| self.refuse("-R requires a rule number"))?;
                self.verb = Some(Verb::Replace(owned(), number));
            }
            'I' => {
                self.set_verb(short, Verb::Insert(owned(), 1))?;
                let number = self.rule_number()?.unwrap_or(1);
                self.verb = Some(Verb::Insert(owned(), number));
            }
            'L' | 'S' => self.listing(short, text)?,
            'F' => {
                self.set_verb(short, Verb::Flush(None))?;
                self.verb = Some(Verb::Flush(self.optional_chain(text)));
            }
            'Z' => self.zero(text)?,
            'N' => {
                self.check_new_name(text)?;
                self.set_verb(short, Verb::New(owned()))?;
            }
            'X' => {
                self.set_verb(short, Verb::DeleteChain(None))?;
                self.verb = Some(Verb::DeleteChain(self.optional_chain(text)));
            }
            'E' => {
                self.set_verb(short, Verb::New(String::new()))?;
                let Some(new) = self.reader.argument() else {
                    return Err(self.refuse("-E requires old-chain-name and new-chain-name"));
                };
                self.check_new_name(new)?;
                self.verb = Some(Verb::Rename(owned(), new.to_owned()));
            }
            'P' => {
                self.set_verb(short, Verb::New(String::new()))?;
                let Some(policy) = self.reader.argument() else {
                    return Err(self.refuse("-P requires a chain and a policy"));
                };
                self.verb = Some(Verb::Policy(owned(), policy.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn set_verb(&mut self, letter: char, verb: Verb) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected '!' flag"));
        }
        if self.verb.is_some() {
            return Err(self.refuse(format!("Cannot use -{letter} with -{}", self.verb_letter)));
        }
        self.verb = Some(verb);
        self.verb_letter = letter;
        Ok(())
    }

    /// `-L` or `-S`, perhaps after `-Z`. Chain and number are those named last, whichever of the two named them.
    fn listing(&mut self, letter: char, text: &'w str) -> Outcome {
        let (mut chain, mut rule, mut zero) = (None, None, Reset::Nothing);
        if let Some(Verb::Zero(zeroed, number)) = self.verb.take_if(|verb| matches!(verb, Verb::Zero(..))) {
            zero = if number.is_some() { Reset::Rule } else { Reset::Chains };
            (chain, rule) = (zeroed, number);
        }
        self.set_verb(letter, Verb::Zero(None, None))?;
        chain = self.optional_chain(text).or(chain);
        rule = self.rule_number()?.or(rule);
        self.verb = Some(match letter {
            'L' => Verb::List { chain, rule, zero },
            _ => Verb::ListRules { chain, rule, zero },
        });
        Ok(())
    }

    /// `-Z`, perhaps after `-L` or `-S`.
    fn zero(&mut self, text: &'w str) -> Outcome {
        let is_first_zero = |verb: &mut Verb| {
            matches!(verb, Verb::List { zero: Reset::Nothing, .. } | Verb::ListRules { zero: Reset::Nothing, .. })
        };
        let listing = self.verb.take_if(is_first_zero);
        if matches!(self.verb, Some(Verb::List { .. } | Verb::ListRules { .. })) {
            self.verb_letter = 'Z';
        }
        self.set_verb('Z', Verb::Zero(None, None))?;
        let chain = self.optional_chain(text);
        let number = self.rule_number()?;
        let zero = if number.is_some() { Reset::Rule } else { Reset::Chains };
        self.verb = Some(match listing {
            Some(Verb::List { chain: c, rule, .. }) => Verb::List { chain: chain.or(c), rule: number.or(rule), zero },
            Some(Verb::ListRules { chain: c, rule, .. }) => {
                Verb::ListRules { chain: chain.or(c), rule: number.or(rule), zero }
            }
            _ => Verb::Zero(chain, number),
        });
        Ok(())
    }

    fn optional_chain(&mut self, attached: &'w str) -> Option<String> {
        let chain = if attached.is_empty() { self.reader.argument() } else { Some(attached) };
        chain.map(str::to_owned)
    }

    fn rule_number(&mut self) -> Outcome<Option<u32>> {
        let at = self.reader.position();
        let Some(text) = self.reader.argument() else { return Ok(None) };
        match value::number_within(text, 1, i32::MAX as u64) {
            Some(number) => Ok(Some(number as u32)),
            None => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
        }
    }

    /// A number after `-D CHAIN`, which is read in another way than those after other verbs: decimal, and of a larger one only the
    /// lower 32 bits count.
    fn number_to_delete(&mut self) -> Outcome<Option<u32>> {
        let at = self.reader.position();
        let Some(text) = self.reader.argument() else { return Ok(None) };
        if text.contains(':') {
            return Err(refuse_at(at, "Rule ranges are not supported", text));
        }
        let digits = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let digits = digits.strip_prefix('+').unwrap_or(digits);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse().unwrap_or(u64::MAX) as u32 {
            0 => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
            _ if !is_number => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
            number => Ok(Some(number)),
        }
    }

    fn check_new_name(&self, name: &str) -> Outcome {
        self.check_name_length(name)?;
        if let Some(first) = name.chars().next().filter(|c| matches!(c, '-' | '!')) {
            return Err(self.refuse(format!("chain name not allowed to start with `{first}'")));
        }
        // Without a name it is the standard target's.
        if name.is_empty() || standard_action(name).is_some() || find_target(name, self.context.family).is_some() {
            return Err(self.refuse("chain name may not clash with target name"));
        }
        if name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(self.refuse(format!("Invalid chain name `{name}'")));
        }
        Ok(())
    }

    fn check_name_length(&self, name: &str) -> Outcome {
        if name.len() > MAX_NAME {
            let limit = MAX_NAME + 1;
            return Err(self.refuse(format!("chain name `{name}' too long (must be under {limit} chars)")));
        }
        Ok(())
    }

    /// What is left of a line that ends before its rule is known: what needs no rule is done all the same.
    fn without_rules(&self) -> Verb {
        use Verb::{Append, Check, Delete, Insert, OtherFamily, Replace};
        match &self.verb {
            None | Some(Append(_) | Insert(..) | Replace(..) | Delete(_) | Check(_)) => OtherFamily,
            Some(verb) => verb.clone(),
        }
    }

    fn help(&self) -> Verb {
        let mut matches: Vec<&'static str> = Vec::new();
        for used in &self.matches {
            if let Extension::Match(spec) = used.extension {
                matches.push(spec.name);
            }
        }
        if matches.is_empty() {
            matches.extend(find_match(&self.protocol_text, self.context.family).map(|m| m.name));
        }
        let target = match self.target.as_ref().map(|t| t.extension) {
            Some(Extension::Target(spec)) => Some(spec.name),
            _ => None,
        };
        Verb::Help { matches, target }
    }

    // Options of the rule itself

    fn set(&mut self, flag: Flag) -> Outcome {
        if self.has(flag) {
            return Err(self.refuse(format!("multiple {} options not allowed", flag.name())));
        }
        if self.inverted && !flag.inverts() {
            return Err(self.refuse(format!("cannot have ! before {}", flag.name())));
        }
        self.seen.push(Seen { flag, inverted: self.inverted, word: self.reader.current() });
        Ok(())
    }

    fn seen(&self, flag: Flag) -> Option<Seen> {
        self.seen.iter().find(|s| s.flag == flag).copied()
    }

    fn has(&self, flag: Flag) -> bool {
        self.seen(flag).is_some()
    }

    fn set_protocol(&mut self, text: &'w str) -> Outcome {
        self.set(Flag::Protocol)?;
        let mut text = Cow::Borrowed(text);
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            text = Cow::Owned(text.to_ascii_lowercase());
        }
        let number = value::protocol(self.context.names, &text).map_err(|e| {
            let known = ["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "udplite", "dccp", "esp", "ah", "gre", "all"];
            CommandError { hint: suggest::nearest(&text, known), ..self.value_error(e) }
        })?;
        if number == 0 && self.inverted {
            return Err(self.refuse_value("rule would never match protocol", &text));
        }
        let headers = [proto::ROUTING, proto::FRAGMENT, proto::AH, proto::DSTOPTS];
        if self.context.family == Family::V6 && !self.inverted && headers.contains(&number) {
            self.notices.push(format!("Warning: never matched protocol: {text}. use extension match instead."));
        }
        self.protocol = Some((number, self.inverted));
        self.protocol_text = text;
        Ok(())
    }

    fn interface(&mut self, flag: Flag, text: &str) -> Outcome<IfMatch> {
        if text.is_empty() {
            return Err(self.refuse("Empty interface is likely to be undesired"));
        }
        self.set(flag)?;
        value::interface(text).map_err(|e| self.value_error(e))?;
        if text.contains(['/', ' ']) {
            self.notices.push(format!(
                "Warning: weird character in interface `{text}' ('/' and ' ' are not allowed by the kernel)."
            ));
        }
        // The length was just looked at, so there is always one.
        Ok(IfMatch::new(text, self.inverted).unwrap_or_default())
    }

    fn set_table(&mut self, text: &'w str) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected ! flag before --table"));
        }
        if self.context.restore {
            let program = restore_program(self.context.family);
            let mut error = self.refuse(format!("The -t option cannot be used in {program}.\n"));
            error.hint = Some("give the table by a line `*TABLE' above".to_owned());
            return Err(error);
        }
        self.table = Some(text);
        Ok(())
    }

    fn set_wait(&mut self, letter: char, attached: Option<&'w str>) -> Outcome {
        if self.context.restore {
            return Err(self.refuse(format!("You cannot use `-{letter}' from iptables-restore")));
        }
        let text = attached.or_else(|| self.reader.argument());
        if letter == 'W' {
            wait::check_interval(text).map_err(|why| self.refuse(why))?;
            self.has_interval = true;
            self.notices.push(wait::INTERVAL_NOTICE.to_owned());
            return Ok(());
        }
        self.wait = Some(match text {
            None => None,
            Some(text) => wait::seconds(text).ok_or_else(|| self.refuse("wait seconds not numeric"))?,
        });
        Ok(())
    }

    fn set_counters(&mut self, text: &'w str) -> Outcome {
        self.set(Flag::Counters)?;
        let (packets, bytes) = match text.split_once(',') {
            Some((packets, bytes)) => (packets, Some(bytes)),
            None => (text, self.reader.argument()),
        };
        let name = Flag::Counters.name();
        let Some(bytes) = bytes else {
            return Err(self.refuse(format!("{name} requires packet and byte counter")));
        };
        let Some(packets) = scan_counter(packets) else {
            return Err(self.refuse(format!("{name} packet counter not numeric")));
        };
        let Some(bytes) = scan_counter(bytes) else {
            return Err(self.refuse(format!("{name} byte counter not numeric")));
        };
        self.counters = Some(Counter { packets, bytes });
        Ok(())
    }

    fn check_target_name(&self, name: &str) -> Outcome {
        if name.is_empty() {
            return Err(self.refuse("Invalid target name (too short)"));
        }
        if name.len() > MAX_NAME {
            return Err(self.refuse_value(format!("Invalid target name `{name}' ({MAX_NAME} chars max)"), name));
        }
        if name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(self.refuse_value(format!("Invalid target name `{name}'"), name));
        }
        Ok(())
    }

    fn set_jump(&mut self, name: &'w str) -> Outcome {
        self.set(Flag::Jump)?;
        if name == "CONTINUE" {
            return Ok(());
        }
        self.check_target_name(name)?;
        if standard_action(name).is_none()
            && let Some(spec) = find_target(name, self.context.family)
        {
            let extension = Extension::Target(spec);
            self.target = Some(self.using(extension));
            self.reader.learn(extension);
        }
        self.jump = Some(name);
        Ok(())
    }

    fn set_match(&mut self, name: &str) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected ! flag before --match"));
        }
        if name.len() > MAX_NAME {
            return Err(self.refuse_value(format!("Invalid match name \"{name}\" ({MAX_NAME} chars max)"), name));
        }
        let Some(spec) = find_match(name, self.context.family) else {
            let message = format!("Couldn't load match `{name}':No such file or directory\n");
            let known = hairpin_xt::MATCHES.iter().filter(|m| m.families.has(self.context.family)).map(|m| m.name);
            return Err(CommandError { hint: suggest::nearest(name, known), ..self.refuse_value(message, name) });
        };
        let extension = Extension::Match(spec);
        self.matches.push(self.using(extension));
        self.reader.learn(extension);
        Ok(())
    }

    fn using(&self, extension: Extension) -> Use {
        Use {
            extension,
            name: extension.name(),
            word: self.reader.current(),
            given: Vec::new(),
            places: Vec::new(),
            protocol: self.protocol,
        }
    }

    // Options of extensions

    /// `-p tcp --dport 1` means `-p tcp -m tcp --dport 1`: the protocol's own match comes in, once, when an option is unknown
    /// without it.
    fn load_protocol(&mut self) -> bool {
        if self.protocol.is_none() || self.protocol_used {
            return false;
        }
        self.protocol_used = true;
        let name = match value::parse_number(&self.protocol_text) {
            Some(number) => u8::try_from(number).ok().and_then(value::protocol_name).unwrap_or_default(),
            None => self.protocol_text.as_ref(),
        };
        let Some(spec) = find_match(name, self.context.family) else { return false };
        let extension = Extension::Match(spec);
        self.matches.push(self.using(extension));
        self.reader.learn(extension);
        true
    }

    fn extension(&mut self, found: Found, first: Option<&'w str>) -> Outcome {
        let from = self.reader.current();
        let mut words: Vec<String> = first.map(str::to_owned).into_iter().collect();
        let values = found.option.values.len();
        if found.option.optional && words.is_empty() {
            words.extend(self.reader.argument().map(str::to_owned));
        }
        while !words.is_empty() && words.len() < values {
            match self.reader.argument() {
                Some(word) => words.push(word.to_owned()),
                None if !found.option.too_few.is_empty() => return Err(self.refuse(found.option.too_few)),
                None if values == 2 => return Err(self.refuse(format!("--{} requires two args.", found.name))),
                None => return Err(self.refuse(format!("--{} requires {values} args.", found.name))),
            }
        }
        let (protocol, inverted, to) = (self.protocol, self.inverted, self.reader.position());
        let used = match found.extension {
            Extension::Target(_) => self.target.as_mut(),
            Extension::Match(_) => self.matches.iter_mut().rev().find(|m| m.extension.is(found.extension)),
        };
        // An option is only known when its extension is in use.
        let Some(used) = used else { return Ok(()) };
        let option = found.option;
        let again = !option.repeatable && used.given.iter().any(|g| ptr::eq(g.option, option));
        let name = used.name;
        used.given.push(Given { option, name: found.name, inverted, words });
        used.places.push((from, to));
        used.protocol = protocol;
        // An extension with words of its own reads `!' before it knows the option.
        let inverted = inverted && !option.invertible;
        if inverted && !option.inverted.is_empty() {
            return Err(self.refuse(option.inverted));
        }
        if again {
            let usual = format!("{name}: option \"--{}\" can only be used once.\n", option.name);
            return Err(self.refuse(if option.twice.is_empty() { usual } else { option.twice.to_owned() }));
        }
        if inverted {
            return Err(self.refuse(format!("{name}: option \"--{}\" cannot be inverted.\n", option.name)));
        }
        if !option.notice.is_empty() {
            self.notices.push(option.notice.to_owned());
        }
        if self.eager { self.check_value(found.extension) } else { Ok(()) }
    }

    /// Tries the options of an extension as given so far. What is wrong with a value names the value; the rest may still come.
    fn check_value(&mut self, extension: Extension) -> Outcome {
        let used = match extension {
            Extension::Target(_) => self.target.as_ref(),
            Extension::Match(_) => self.matches.iter().rev().find(|m| m.extension.is(extension)),
        };
        let Some(used) = used else { return Ok(()) };
        let parsed = self.parsed(used, used.given.clone());
        let tried = |parsed: &Parsed<'_>| match extension {
            Extension::Target(spec) => (spec.build)(parsed).map(drop),
            Extension::Match(spec) => (spec.build)(parsed).map(drop),
        };
        let mistake = |parsed: &Parsed<'_>| tried(parsed).err().filter(|error| error.word.is_some() && !error.late);
        // Of options that exclude each other an extension may look at one only.
        let last = used.given.last().filter(|last| {
            let given =
                |name: &&str| used.given.iter().any(|g| g.option.name == *name && g.option.name != last.option.name);
            last.option.excludes.iter().any(given)
        });
        let alone = || mistake(&self.parsed(used, last.cloned().into_iter().collect()));
        let found = mistake(&parsed).or_else(|| last.and_then(|_| alone()));
        let outcome = found.map_or(Ok(()), |error| Err(self.use_error(used, error)));
        let said = parsed.notices.take();
        self.notices.extend(said.into_iter().filter(|notice| !self.notices.contains(notice)).collect::<Vec<_>>());
        outcome
    }

    // After the last word

    fn finished(&self, verb: Verb) -> Command {
        Command {
            verb,
            table: self.context.table,
            rules: Vec::new(),
            counters: self.counters,
            verbose: self.verbose,
            numeric: self.has(Flag::Numeric),
            exact: self.has(Flag::Exact),
            line_numbers: self.has(Flag::LineNumbers),
            wait: self.wait,
            json: self.json,
            odd_words: None,
        }
    }

    fn command(&mut self) -> Outcome<Command> {
        self.check_nat_drop()?;
        if self.has_interval && !wait::waits(self.wait) {
            return Err(self.refuse("--wait-interval only makes sense with --wait\n"));
        }
        let (matches, action) = self.build()?;
        if self.reader.position() < self.words.len() {
            return Err(refuse_at(self.reader.position(), "unknown arguments found on commandline", ""));
        }
        let Some(verb) = self.verb.clone() else { return Err(self.refuse("no command specified")) };
        if self.inverted {
            return Err(self.refuse("nothing appropriate following !"));
        }
        let sources = self.addresses(Flag::Source, self.source)?;
        let destinations = self.addresses(Flag::Destination, self.destination)?;
        self.check_not_inverted(&sources, &destinations)?;
        self.check_flags(&verb)?;
        if self.json && !matches!(verb, Verb::List { .. } | Verb::ListRules { .. }) {
            return Err(self.refuse("--json belongs to --list and --list-rules"));
        }
        let table = self.find_table()?;
        let mut command = Command { table, ..self.finished(verb) };
        if !matches!(
            command.verb,
            Verb::Append(_) | Verb::Insert(..) | Verb::Replace(..) | Verb::Delete(_) | Verb::Check(_)
        ) {
            return Ok(command);
        }
        let odd = |word: &W| {
            let bytes = word.as_ref().as_bytes();
            bytes.is_empty() || bytes.iter().any(|b| !b.is_ascii_graphic() || matches!(b, b'"' | b'\\'))
        };
        // rateest saves its mode once for bytes and once for packets, and takes it only once; time saves a list without days;
        // HMARK has no word for a mask with holes.
        let is_hmark = matches!(&action, Action::Target(target) if target.name() == "HMARK");
        let saves_oddly = is_hmark || matches.iter().any(|m| matches!(m.name(), "rateest" | "time"));
        if saves_oddly || self.words.iter().any(odd) {
            command.odd_words = Some(self.words.iter().map(|w| w.as_ref().to_owned()).collect());
        }
        let (protocol, protocol_inverted) = self.protocol.unwrap_or_default();
        // Of several addresses, `-R` takes the first.
        let wanted = if matches!(command.verb, Verb::Replace(..)) { 1 } else { usize::MAX };
        for &src in sources.iter().take(wanted) {
            for &dst in destinations.iter().take(wanted) {
                command.rules.push(Rule {
                    header: Header {
                        src,
                        dst,
                        iif: self.iif,
                        oif: self.oif,
                        protocol,
                        protocol_inverted,
                        fragment: self.seen(Flag::Fragment).map(|seen| !seen.inverted),
                    },
                    matches: matches.clone(),
                    action: action.clone(),
                    counter: self.counters.unwrap_or_default(),
                });
            }
        }
        Ok(command)
    }

    fn check_nat_drop(&self) -> Outcome {
        let table = self.table.unwrap_or_else(|| self.context.table.name());
        let policy = matches!(&self.verb, Some(Verb::Policy(_, policy)) if policy == "DROP");
        if table == "nat" && (policy || self.jump == Some("DROP")) {
            let message =
                "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n";
            let word = self.seen(Flag::Jump).map(|seen| seen.word);
            let hint = Some("drop in the filter table, or in mangle or raw PREROUTING".to_owned());
            return Err(CommandError { error: SyntaxError::parameter(message).at("DROP"), word, hint });
        }
        Ok(())
    }

    fn find_table(&self) -> Outcome<TableId> {
        let Some(name) = self.table else { return Ok(self.context.table) };
        TableId::from_name(name).ok_or_else(|| {
            let program = program(self.context.family);
            let why = "Table does not exist (do you need to insmod?)";
            let message = format!("can't initialize {program} table `{name}': {why}");
            let word = self.words.iter().position(|w| w.as_ref() == name);
            let hint = suggest::nearest(name, TableId::ALL.map(TableId::name));
            CommandError { error: SyntaxError { code: 3, ..SyntaxError::parameter(message).at(name) }, word, hint }
        })
    }

    /// Makes the matches and the action.
    fn build(&mut self) -> Outcome<(Vec<Arc<dyn Match>>, Action)> {
        let mut matches = Vec::with_capacity(self.matches.len());
        for used in std::mem::take(&mut self.matches) {
            if let Extension::Match(spec) = used.extension {
                matches.push(self.make(used, spec.build)?);
            }
        }
        let action = match (self.target.take(), self.jump) {
            (Some(used), _) => match used.extension {
                Extension::Target(spec) => Action::Target(self.make(used, spec.build)?),
                Extension::Match(_) => Action::None,
            },
            (None, Some(name)) if self.is_goto => Action::Goto(name.to_owned()),
            (None, Some(name)) => standard_action(name).unwrap_or_else(|| Action::Jump(name.to_owned())),
            (None, None) => Action::None,
        };
        Ok((matches, action))
    }

    fn make<T>(&mut self, mut used: Use, build: fn(&Parsed<'_>) -> Result<T, SyntaxError>) -> Outcome<T> {
        // An extension's own conditions come before those of its table; that it misses a required option is the table's.
        let table = check_options(&used);
        let given = std::mem::take(&mut used.given);
        let parsed = self.parsed(&used, given);
        let made = match build(&parsed) {
            Err(error) if error.missing => table.and(Err(error)),
            Err(error) => Err(error),
            Ok(made) => table.map(|()| made),
        };
        let said = parsed.notices.take();
        self.notices.extend(said);
        made.map_err(|error| self.use_error(&used, error))
    }

    fn parsed(&self, used: &Use, given: Vec<Given>) -> Parsed<'_> {
        Parsed {
            extension: used.name,
            family: self.context.family,
            table: self.table.and_then(TableId::from_name).unwrap_or(self.context.table),
            chain: self.verb.as_ref().map_or("", verb_chain),
            protocol: used.protocol,
            names: self.context.names,
            given,
            complete: !self.eager,
            notices: RefCell::default(),
        }
    }

    /// An extension's refusal: at the word it names if that is one of its own, else at its option or its name.
    fn use_error(&self, used: &Use, error: SyntaxError) -> CommandError {
        let mut own = used.places.iter().flat_map(|(from, to)| *from..*to);
        let text = |index: usize| self.words.get(index).map_or("", |w| w.as_ref());
        let named = error.word.as_deref().filter(|w| !w.is_empty());
        let word = named
            .and_then(|word| own.clone().find(|i| text(*i) == word).or_else(|| own.find(|i| text(*i).contains(word))));
        CommandError { error, word: Some(word.unwrap_or(used.word)), hint: None }
    }

    fn addresses(&self, flag: Flag, text: Option<&str>) -> Outcome<Vec<AddrMatch>> {
        let (Some(text), Some(seen)) = (text, self.seen(flag)) else { return Ok(vec![AddrMatch::default()]) };
        let family = self.context.family;
        let mut all = Vec::new();
        for part in text.split(',') {
            let part = part.trim_start();
            let refuse = |error: SyntaxError| CommandError { error, word: Some(seen.word + 1), hint: None };
            let (host, mask) = match part.rsplit_once('/') {
                None => (part, family.mask(128)),
                Some((host, mask)) => {
                    let error = || SyntaxError::parameter(format!("invalid mask `{mask}' specified")).at(mask);
                    (host, value::parse_mask(family, mask).ok_or_else(|| refuse(error()))?)
                }
            };
            // With an empty mask the address does not matter: "any/0".
            let hosts = match mask {
                Addr(0) => vec![Addr(0)],
                _ => value::network_hosts(self.context.names, family, host).map_err(refuse)?,
            };
            all.extend(hosts.into_iter().map(|addr| AddrMatch {
                addr: addr.masked(mask),
                mask,
                inverted: seen.inverted,
            }));
        }
        Ok(all)
    }

    fn check_not_inverted(&self, sources: &[AddrMatch], destinations: &[AddrMatch]) -> Outcome {
        let inverted = |list: &[AddrMatch]| list.iter().any(|a| a.inverted);
        if sources.len() == 1 && destinations.len() == 1 {
            return Ok(());
        }
        let flag = if sources.len() > 1 { Flag::Source } else { Flag::Destination };
        let refuse = |message: &str| match self.seen(flag) {
            Some(seen) => refuse_at(seen.word + 1, message, ""),
            None => self.refuse(message),
        };
        if inverted(sources) || inverted(destinations) {
            return Err(refuse("! not allowed with multiple source or destination IP addresses"));
        }
        Ok(())
    }

    fn check_flags(&self, verb: &Verb) -> Outcome {
        let misplaced = self.seen.iter().filter(|seen| !seen.flag.allowed(verb)).min_by_key(|seen| seen.flag);
        if let Some(seen) = misplaced {
            let message = format!("Illegal option `{}' with this command", seen.flag.name());
            return Err(refuse_at(seen.word, message, seen.flag.name()));
        }
        let chain = verb_chain(verb);
        self.check_name_length(chain)?;
        if !matches!(verb, Verb::Append(_) | Verb::Insert(..) | Verb::Replace(..) | Verb::Delete(_) | Verb::Check(_)) {
            return Ok(());
        }
        let impossible = match chain {
            "PREROUTING" | "INPUT" => self.seen(Flag::OutInterface),
            "POSTROUTING" | "OUTPUT" => self.seen(Flag::InInterface),
            _ => None,
        };
        if let Some(seen) = impossible {
            let name = seen.flag.name();
            let mut error = refuse_at(seen.word, format!("Can't use {name} with {chain}"), name);
            let which = if seen.flag == Flag::OutInterface { "outgoing" } else { "incoming" };
            error.hint = Some(format!("a packet in {chain} has no {which} device"));
            return Err(error);
        }
        Ok(())
    }

    // Refusals

    /// At the word that is being read.
    fn refuse(&self, message: impl Into<String>) -> CommandError {
        let at = self.reader.current();
        let word = self.words.get(at).map_or("", |w| w.as_ref());
        refuse_at(at, message, word)
    }

    /// At the value of the option that is being read.
    fn refuse_value(&self, message: impl Into<String>, text: &str) -> CommandError {
        self.value_error(SyntaxError::parameter(message).at(text))
    }

    fn value_error(&self, error: SyntaxError) -> CommandError {
        let at = self.reader.position().saturating_sub(1).max(self.reader.current());
        CommandError { error, word: Some(at), hint: None }
    }

    fn bad_argument(&self, word: &str) -> CommandError {
        let error = SyntaxError { bare: true, ..SyntaxError::parameter(format!("Bad argument `{word}'")).at(word) };
        CommandError { error, word: Some(self.reader.current()), hint: None }
    }

    fn unknown_option(&self, word: &str) -> CommandError {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        let no_target = || {
            let name = self.jump.filter(|_| self.target.is_none() && !self.is_goto)?;
            standard_action(name)
                .is_none()
                .then(|| format!("-j {name} is no target that is known, so it brings no options"))
        };
        let elsewhere = || {
            let has = |options: &[Opt]| options.iter().any(|o| o.name == name || o.aliases.contains(&name));
            let family = self.context.family;
            // Of several that have it (--dport), tcp is the one that people mean.
            let brings = |m: &&&MatchSpec| m.families.has(family) && has(m.options);
            let in_match = hairpin_xt::MATCHES.iter().filter(brings).max_by_key(|m| m.name == "tcp");
            let in_target = hairpin_xt::TARGETS.iter().find(|t| t.families.has(family) && has(t.options));
            match (in_match, in_target) {
                (Some(m), _) if matches!(m.name, "tcp" | "udp" | "icmp" | "icmp6" | "sctp" | "dccp") => {
                    Some(format!("it belongs to -p {0} or -m {0}, which must stand before it", m.name))
                }
                (Some(m), _) => Some(format!("it belongs to -m {}, which must stand before it", m.name)),
                (None, Some(t)) => Some(format!("it belongs to -j {}, which must stand before it", t.name)),
                (None, None) => None,
            }
        };
        let hint = elsewhere().or_else(no_target).or_else(|| {
            let names: Vec<&str> = self.reader.long_names().filter(|n| n.len() > 1).collect();
            let starting: Vec<&str> = names.iter().copied().filter(|n| n.starts_with(name)).collect();
            match starting.as_slice() {
                [] => suggest::nearest(name, names).map(|hint| hint.replacen('`', "`--", 1)),
                _ if name.is_empty() => None,
                several => Some(format!(
                    "it could be {}",
                    several.iter().map(|n| format!("--{n}")).collect::<Vec<_>>().join(", ")
                )),
            }
        });
        CommandError { hint, ..self.refuse(format!("unknown option \"{word}\"")) }
    }
}

fn refuse_at(word: usize, message: impl Into<String>, text: &str) -> CommandError {
    CommandError { error: SyntaxError::parameter(message).at(text), word: Some(word), hint: None }
}

/// The conditions of an extension's option table (`xtables_options_fcheck`): what must be there, what goes together and what
/// does not.
fn check_options(used: &Use) -> Result<(), SyntaxError> {
    let has = |name: &str| used.given.iter().any(|g| g.option.name == name);
    let (extension, options) = (used.name, used.extension.options());
    for option in options {
        let name = option.name;
        if !has(name) {
            if option.required {
                return Err(SyntaxError::parameter(format!("{extension}: option \"--{name}\" must be specified\n")));
            }
            continue;
        }
        if let Some(other) = option.needs.iter().find(|other| !has(other)) {
            let message = format!("{extension}: option \"--{name}\" also requires \"--{other}\".\n");
            return Err(SyntaxError::parameter(message).at(format!("--{name}")));
        }
        // In the order in which they are declared to go not together: that is how iptables numbers them.
        if let Some(other) = option.excludes.iter().find(|other| **other != name && has(other)) {
            let message = format!("{extension}: option \"--{name}\" cannot be used together with \"--{other}\".\n");
            return Err(SyntaxError::parameter(message).at(format!("--{other}")));
        }
    }
    Ok(())
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

/// What `sscanf("%llu")` reads: blanks, a sign, digits; what follows does not count.
fn scan_counter(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let digits = digits.get(..end).filter(|d| !d.is_empty())?;
    let number = digits.parse().unwrap_or(u64::MAX);
    Some(if negative { number.wrapping_neg() } else { number })
}
