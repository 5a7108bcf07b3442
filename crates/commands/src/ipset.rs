//! `ipset`: makes, changes and shows sets.
//!
//! The words are read by `hairpin_ruleset::ipset`; here is what the program does with them: its options, its commands and their
//! abbreviations, `restore`, and the interactive mode.

use crate::sets::SetsAccess;
use crate::{Access, Call, Failure, Input, Outcome, State, Wait};
use hairpin_engine::set::{Entry, SetError};
use hairpin_ruleset::ipset::{
    Action, Change, Form, Printer, Problem, Target, VERSION, checked_name, element_text, entry, general_help,
    kind_named, read_create, split_line, type_help,
};

/// What an interactive line or `restore` may take together in one go.
const BATCH: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Create,
    Add,
    Del,
    Test,
    Destroy,
    List,
    Save,
    Restore,
    Flush,
    Rename,
    Swap,
    Help,
    Version,
    Quit,
}

/// How many words a command wants before its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arguments {
    None,
    Optional,
    Two,
}

/// In the order in which beginnings of names are tried.
const COMMANDS: &[(Command, &[&str], Arguments)] = &[
    (Command::Create, &["create", "n", "-N"], Arguments::Two),
    (Command::Add, &["add", "-A"], Arguments::Two),
    (Command::Del, &["del", "-D"], Arguments::Two),
    (Command::Test, &["test", "-T"], Arguments::Two),
    (Command::Destroy, &["destroy", "x", "-X"], Arguments::Optional),
    (Command::List, &["list", "-L"], Arguments::Optional),
    (Command::Save, &["save", "-S"], Arguments::Optional),
    (Command::Restore, &["restore", "-R"], Arguments::None),
    (Command::Flush, &["flush", "-F"], Arguments::Optional),
    (Command::Rename, &["rename", "e", "-E"], Arguments::Two),
    (Command::Swap, &["swap", "w", "-W"], Arguments::Two),
    (Command::Help, &["help", "-h", "-H"], Arguments::Optional),
    (Command::Version, &["version", "-v", "-V"], Arguments::None),
    (Command::Quit, &["quit"], Arguments::None),
];

fn command_named(word: &str) -> Option<(Command, &'static str, Arguments)> {
    let bare = word.strip_prefix("--").unwrap_or(word);
    let is_named = |name: &&str| !bare.is_empty() && name.starts_with(bare);
    let found = COMMANDS.iter().find(|(_, names, _)| names.iter().any(is_named))?;
    Some((found.0, found.1.first().copied().unwrap_or_default(), found.2))
}

/// The program's options, short and long.
pub(crate) const OPTIONS: &[(&str, &str)] = &[
    ("-o", "-output"),
    ("-s", "-sorted"),
    ("-q", "-quiet"),
    ("-r", "-resolve"),
    ("-!", "-exist"),
    ("-n", "-name"),
    ("-t", "-terse"),
    ("-f", "-file"),
];

/// The commands by their first names.
pub(crate) fn command_words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter_map(|(_, names, _)| names.first().copied())
}

/// The options that were given.
#[derive(Clone, Debug, Default)]
struct Options {
    form: Option<Form>,
    sorted: bool,
    quiet: bool,
    resolve: bool,
    exist: bool,
    names_only: bool,
    terse: bool,
    file: Option<String>,
}

impl Options {
    /// Takes the options out of the words, wherever they stand.
    fn take(&mut self, words: &mut Vec<String>) -> Result<(), Problem> {
        let mut rest = Vec::new();
        let mut given = std::mem::take(words).into_iter();
        while let Some(word) = given.next() {
            if word == "--json" {
                self.form = Some(Form::TrueJson);
                continue;
            }
            let bare = word.strip_prefix('-').filter(|w| w.starts_with('-')).unwrap_or(&word);
            let known = OPTIONS.iter().find(|(short, long)| *short == bare || *long == bare);
            let Some((short, _)) = known else {
                rest.push(word);
                continue;
            };
            let mut value =
                || given.next().ok_or_else(|| Problem::usage(format!("Missing mandatory argument to option {short}")));
            match *short {
                "-o" => self.form = Some(form_named(&value()?)?),
                "-f" => self.file = Some(value()?),
                "-s" => self.sorted = true,
                "-q" => self.quiet = true,
                "-r" => self.resolve = true,
                "-!" => self.exist = true,
                "-n" => self.names_only = true,
                _ => self.terse = true,
            }
        }
        *words = rest;
        Ok(())
    }
}

fn form_named(name: &str) -> Result<Form, Problem> {
    match name {
        "plain" => Ok(Form::Plain),
        "save" => Ok(Form::Save),
        "xml" => Ok(Form::Xml),
        "json" => Ok(Form::Json),
        _ => Err(Problem::value(format!("Syntax error: unknown output mode '{name}'"))),
    }
}

/// What the words make it read.
pub(crate) fn input(words: &[String]) -> Input {
    let (mut options, mut rest) = (Options::default(), words.to_vec());
    if options.take(&mut rest).is_err() {
        return Input::Nothing;
    }
    let Some(first) = rest.first() else { return Input::Nothing };
    if first == "-" {
        return Input::Stdin;
    }
    match (command_named(first), options.file) {
        (Some((Command::Restore, ..)), Some(file)) => Input::File(file),
        (Some((Command::Restore, ..)), None) => Input::Stdin,
        _ => Input::Nothing,
    }
}

pub(crate) fn run(call: &Call<'_>, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let mut words = call.words.to_vec();
    let mut options = Options::default();
    if let Err(problem) = options.take(&mut words) {
        return refusal(problem, 0, outcome);
    }
    match needs_state(&words, &options, &mut outcome) {
        Err(problem) => return quietly(refusal(problem, 0, outcome), options.quiet),
        Ok(None) => return outcome,
        Ok(Some(access)) => {
            if let Err(failure) = state.begin(access) {
                return Outcome::failed(failure.code(), format!("{failure}\n"));
            }
        }
    }
    let (outcome, done) = match state.sets() {
        Err(failure) => return Outcome::failed(failure.code(), format!("{failure}\n")),
        Ok(access) => {
            let mut session = Session { access, outcome, batch: Vec::new(), line: 0, form: None };
            let result = session.start(&words, &options, call.input);
            let (line, done) = (session.line, session.access.sets.done());
            let outcome = session.outcome;
            match result {
                Ok(()) => (outcome, done),
                Err(problem) => (refusal(problem, line, outcome), done),
            }
        }
    };
    let outcome = quietly(outcome, options.quiet);
    match state.keep_sets(&done) {
        Ok(()) => outcome,
        Err(failure) => Outcome::failed(failure.code(), format!("{failure}\n")),
    }
}

/// `-quiet` keeps errors to itself, too.
fn quietly(outcome: Outcome, is_quiet: bool) -> Outcome {
    if is_quiet { Outcome { stderr: Vec::new(), ..outcome } } else { outcome }
}

/// What the words will do with the state; None when they do nothing with it, and are done.
fn needs_state(words: &[String], options: &Options, outcome: &mut Outcome) -> Result<Option<Access>, Problem> {
    let write = Ok(Some(Access::Write(Wait::Forever)));
    let Some(first) = words.first() else {
        return Err(Problem::usage("No command specified."));
    };
    if first == "-" {
        return write;
    }
    let Some((command, _, _)) = command_named(first) else {
        return Err(Problem::usage(format!("No command specified: unknown argument {first}")));
    };
    match command {
        Command::Version => {
            outcome.stdout.extend_from_slice(version().as_bytes());
            Ok(None)
        }
        Command::Help => {
            outcome.stdout.extend_from_slice(general_help().as_bytes());
            let kind = match words.get(1) {
                Some(name) => {
                    Some(kind_named(name).ok_or_else(|| Problem::usage(format!("Unknown settype: `{name}'")))?)
                }
                None => None,
            };
            outcome.stdout.extend_from_slice(type_help(kind).as_bytes());
            Ok(None)
        }
        Command::Quit => Ok(None),
        Command::List | Command::Save => {
            outcome.file.clone_from(&options.file);
            Ok(Some(Access::Read))
        }
        Command::Test => Ok(Some(Access::Read)),
        _ => write,
    }
}

fn version() -> String {
    format!("ipset v{VERSION}, protocol version: 7\n")
}

fn refusal(problem: Problem, line: usize, mut outcome: Outcome) -> Outcome {
    outcome.stderr.extend_from_slice(refusal_text(&problem, line).as_bytes());
    outcome.code = if problem.is_usage { 2 } else { 1 };
    outcome.file = None;
    outcome
}

fn refusal_text(problem: &Problem, line: usize) -> String {
    match problem.is_usage {
        true => format!("ipset v{VERSION}: {problem}\nTry `ipset help' for more information.\n"),
        false if line > 0 => format!("ipset v{VERSION}: Error in line {line}: {problem}\n"),
        false => format!("ipset v{VERSION}: {problem}\n"),
    }
}

/// A run of the program on the sets.
struct Session<'a> {
    access: SetsAccess<'a>,
    outcome: Outcome,
    /// Changes of `restore` that are made together: all to one set, all additions or all deletions. When a later line cannot be
    /// read they are not made, as the real program, which has not sent them yet.
    batch: Vec<(usize, Change, bool)>,
    /// The line of `restore`; 0 outside.
    line: usize,
    /// The form of the first listing, which is that of all when no other is asked for.
    form: Option<Form>,
}

impl Session<'_> {
    fn start(&mut self, words: &[String], options: &Options, input: &[u8]) -> Result<(), Problem> {
        let text = String::from_utf8_lossy(input);
        if words.first().is_some_and(|w| w == "-") {
            self.interact(&text, options);
            self.outcome.code = 0;
            return Ok(());
        }
        if words.first().and_then(|w| command_named(w)).is_some_and(|(c, ..)| c == Command::Restore) {
            if let Some(word) = words.get(1) {
                return Err(Problem::usage(format!("Unknown argument {word}")));
            }
            self.restore(&text, options)?;
            self.line = 0;
            return Ok(());
        }
        self.execute(words, options)
    }

    /// Carries out a file's lines. An option on a line counts for those after it, too.
    fn restore(&mut self, text: &str, options: &Options) -> Result<(), Problem> {
        let mut options = options.clone();
        for (n, line) in text.lines().enumerate() {
            self.line = n + 1;
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == "COMMIT" {
                self.commit()?;
                continue;
            }
            let mut words = split_line(line);
            options.take(&mut words)?;
            let Some(first) = words.first() else {
                return Err(Problem::usage("No command specified."));
            };
            match command_named(first) {
                Some((Command::Restore | Command::Help | Command::Version, name, _)) => {
                    return Err(Problem::usage(format!("Command `{name}' is invalid in restore mode.")));
                }
                Some((Command::Quit, ..)) => break,
                // An answer ends the file, unless it is a silent yes.
                Some((Command::Test, ..)) => {
                    self.execute(&words, &options)?;
                    if self.outcome.code != 0 || !options.quiet {
                        return Ok(());
                    }
                }
                _ => self.execute(&words, &options)?,
            }
        }
        self.commit()
    }

    /// Carries out lines as a person at a terminal types them; errors do not end it.
    fn interact(&mut self, text: &str, options: &Options) {
        let mut options = options.clone();
        self.say("ipset> ");
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                self.say("ipset> ipset> ");
                continue;
            }
            let mut words = split_line(line);
            let result = options.take(&mut words).and_then(|()| {
                match words.first().and_then(|w| command_named(w)).map(|(c, ..)| c) {
                    Some(Command::Quit) => return Ok(true),
                    Some(Command::Restore) => self.say("Restore command is not supported in interactive mode\n"),
                    Some(Command::Version) => self.say(&version()),
                    Some(Command::Help) => self.say(&format!("{}{}", general_help(), type_help(None))),
                    Some(_) => self.execute(&words, &options)?,
                    None => self.say("No command specified\n"),
                }
                Ok(false)
            });
            match result {
                Ok(true) => return,
                Ok(false) => {}
                Err(problem) => self.outcome.stderr.extend_from_slice(refusal_text(&problem, 0).as_bytes()),
            }
            self.say("ipset> ");
        }
    }

    /// One command.
    fn execute(&mut self, words: &[String], options: &Options) -> Result<(), Problem> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((first, rest)) = words.split_first() else {
            return Err(Problem::usage("No command specified."));
        };
        let Some((command, name, arguments)) = command_named(first) else {
            return Err(Problem::usage(format!("No command specified: unknown argument {first}")));
        };
        let (one, two, rest) = match (arguments, rest) {
            (Arguments::Two, []) => {
                return Err(Problem::usage(format!("Missing mandatory argument to command {name}")));
            }
            (Arguments::Two, [_]) => {
                return Err(Problem::usage(format!("Missing second mandatory argument to command {name}")));
            }
            (Arguments::Two, [one, two, rest @ ..]) => (*one, *two, rest),
            (Arguments::Optional, [one, rest @ ..]) => (*one, "", rest),
            (_, rest) => ("", "", rest),
        };
        match command {
            Command::Create => {
                let typed = read_create(one, two, rest, self.access.names)?;
                self.warn(&typed.warnings, options);
                self.commit()?;
                self.make(typed.value, options.exist)
            }
            Command::Add | Command::Del => {
                let action = if command == Command::Add { Action::Add } else { Action::Del };
                let entry = self.entry(action, one, two, rest, options)?;
                self.flush_batch_of_others(action, one)?;
                let set = one.to_owned();
                let change = if action == Action::Add { Change::Add(set, entry) } else { Change::Del(set, entry) };
                if self.line == 0 {
                    return self.make(change, options.exist);
                }
                self.batch.push((self.line, change, options.exist));
                if self.batch.len() >= BATCH { self.commit() } else { Ok(()) }
            }
            Command::Test => self.test(one, two, rest, options),
            Command::List | Command::Save => {
                self.no_more(rest)?;
                self.commit()?;
                let default = if command == Command::Save { Form::Save } else { Form::Plain };
                self.list((!words.get(1..).unwrap_or_default().is_empty()).then_some(one), default, options)
            }
            Command::Flush | Command::Destroy => {
                self.no_more(rest)?;
                let name = (words.len() > 1).then(|| checked_name(one).map(str::to_owned)).transpose()?;
                self.commit()?;
                let change = if command == Command::Flush { Change::Flush(name) } else { Change::Destroy(name) };
                self.make(change, options.exist)
            }
            Command::Rename | Command::Swap => {
                self.no_more(rest)?;
                let (from, to) = (checked_name(one)?.to_owned(), checked_name(two)?.to_owned());
                self.commit()?;
                let change = if command == Command::Swap { Change::Swap(from, to) } else { Change::Rename(from, to) };
                self.make(change, options.exist)
            }
            Command::Restore | Command::Help | Command::Version | Command::Quit => Ok(()),
        }
    }

    fn no_more(&self, rest: &[&str]) -> Result<(), Problem> {
        match rest.first() {
            Some(word) => Err(Problem::usage(format!("Unknown argument {word}"))),
            None => Ok(()),
        }
    }

    fn entry(
        &mut self,
        action: Action,
        set: &str,
        element: &str,
        rest: &[&str],
        options: &Options,
    ) -> Result<Entry, Problem> {
        let target = self.target(set)?;
        let typed = entry(target, action, element, rest, self.access.names)?;
        self.warn(&typed.warnings, options);
        Ok(typed.value)
    }

    /// What the set of this name holds.
    fn target(&mut self, set: &str) -> Result<Target, Problem> {
        self.access.sets.target(checked_name(set)?).ok_or_else(|| said(SetError::NoSet))
    }

    fn test(&mut self, set: &str, element: &str, rest: &[&str], options: &Options) -> Result<(), Problem> {
        let asked = self.entry(Action::Test, set, element, rest, options)?;
        self.commit()?;
        let target = self.target(set)?;
        let element = element_text(target.kind, target.family, &asked, self.access.names);
        let is_in = self.access.sets.test(set, &asked).map_err(said)?;
        let text = match is_in {
            true => format!("Warning: {element} is in set {set}."),
            false => format!("{element} is NOT in set {set}."),
        };
        if !options.quiet {
            self.outcome.complain(text);
        }
        self.outcome.code = u8::from(!is_in);
        Ok(())
    }

    fn list(&mut self, name: Option<&str>, default: Form, options: &Options) -> Result<(), Problem> {
        let name = name.map(checked_name).transpose()?;
        let form = options.form.or(self.form).unwrap_or(default);
        self.form = Some(form);
        let (sets, now) = self.access.sets.look(name, options.names_only);
        let printer = Printer {
            form,
            sorted: options.sorted,
            names_only: options.names_only,
            headers_only: options.terse,
            resolve: options.resolve,
            names: self.access.names,
            now: now.mono,
        };
        let text = match name {
            None => printer.print(sets, sets.iter()),
            Some(name) => {
                let set = sets.get(name).ok_or_else(|| said(SetError::NoSet))?;
                printer.print(sets, std::iter::once((name, set)))
            }
        };
        self.say(&text);
        Ok(())
    }

    /// Makes a change.
    fn make(&mut self, change: Change, exist: bool) -> Result<(), Problem> {
        self.access.sets.apply(vec![(change, exist)]).map_err(|(_, why)| said(why))
    }

    /// Makes the changes that were put off.
    fn commit(&mut self) -> Result<(), Problem> {
        let (lines, changes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.batch).into_iter().map(|(line, change, exist)| (line, (change, exist))).unzip();
        if changes.is_empty() {
            return Ok(());
        }
        self.access.sets.apply(changes).map_err(|(n, why)| {
            self.line = lines.get(n).copied().unwrap_or(self.line);
            said(why)
        })
    }

    /// A batch is of one set and one action.
    fn flush_batch_of_others(&mut self, action: Action, set: &str) -> Result<(), Problem> {
        let is_same = match self.batch.first() {
            Some((_, Change::Add(name, _), _)) => action == Action::Add && name == set,
            Some((_, Change::Del(name, _), _)) => action == Action::Del && name == set,
            _ => true,
        };
        if is_same { Ok(()) } else { self.commit() }
    }

    fn warn(&mut self, warnings: &[String], options: &Options) {
        if !warnings.is_empty() && !options.quiet {
            self.outcome.complain(format_args!("Warning: {}", warnings.join("\n")));
        }
    }

    fn say(&mut self, text: &str) {
        self.outcome.stdout.extend_from_slice(text.as_bytes());
    }
}

fn said(error: SetError) -> Problem {
    Problem::value(error.to_string())
}

/// Says that a state holds no sets.
pub(crate) fn no_sets() -> Failure {
    Failure::Unavailable("this state holds no sets".to_owned())
}
