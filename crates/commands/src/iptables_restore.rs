//! `iptables-restore` and `ip6tables-restore`.

use crate::getopt::{Flag, Reader};
use crate::iptables::{say_error, version};
use crate::{Access, Call, Failure, Input, Outcome, RestoreRequest, State, Wait, help};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::command::Verb;
use hairpin_ruleset::error::RuleFileError;
use hairpin_ruleset::wait;
use hairpin_wire::Family;

/// Its options.
pub(crate) const FLAGS: &[Flag] = &[
    Flag { long: "counters", short: 'c', value: "", help: "set the counters too" },
    Flag { long: "verbose", short: 'v', value: "", help: "say what is done" },
    Flag { long: "version", short: 'V', value: "", help: "print the version" },
    Flag { long: "test", short: 't', value: "", help: "only see whether it could be done" },
    Flag { long: "help", short: 'h', value: "", help: "this text" },
    Flag { long: "noflush", short: 'n', value: "", help: "change what is there instead of replacing it" },
    Flag { long: "modprobe", short: 'M', value: "command", help: "has no effect" },
    Flag { long: "table", short: 'T', value: "table", help: "only this table" },
    Flag { long: "wait", short: 'w', value: "[seconds]", help: "wait for the lock, for ever when no number is given" },
    Flag { long: "wait-interval", short: 'W', value: "[microseconds]", help: "has no effect" },
    Flag { long: "", short: 'b', value: "", help: "has no effect" },
];

/// Standard input, or the one word that is no option.
pub(crate) fn input(words: &[String]) -> Input {
    match read("", words) {
        Asked { end: Some(_), .. } => Input::Nothing,
        Asked { file: Some(file), .. } => Input::File(file),
        Asked { file: None, .. } => Input::Stdin,
    }
}

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let name = call.program.name();
    let asked = read(call.name, call.words);
    asked.notices.iter().for_each(|notice| outcome.complain(notice));
    match &asked.end {
        Some(End::Version) => outcome.stdout = version(name, false).into_bytes(),
        Some(End::Help) => {
            outcome.stderr.extend(help::of_flags(&format!("{name} [options] [file]"), FLAGS).into_bytes());
        }
        Some(End::Unknown(why)) => {
            outcome.code = 1;
            outcome.complain(why);
            outcome.complain(format_args!("Try `{name} -h' for more information."));
        }
        Some(End::Refused { message, hint }) => {
            outcome.code = 2;
            say_error(&mut outcome, name, false, message);
            say_where(&mut outcome, name, 0);
            outcome.hint(call, hint.as_deref());
        }
        Some(End::Plain(why)) => {
            outcome.code = 1;
            outcome.complain(why);
        }
        None => match carry_out(call, family, &asked, state, &mut outcome) {
            Ok(()) => {}
            Err(Failure::RuleFile(error)) => complain(call, &error, &mut outcome),
            Err(other) => {
                outcome.code = other.code();
                outcome.complain(other);
            }
        },
    }
    outcome
}

#[derive(Default)]
struct Asked {
    counters: bool,
    verbose: bool,
    noflush: bool,
    test: bool,
    table: Option<String>,
    wait: Option<Option<u32>>,
    file: Option<String>,
    /// Lines for stderr that are no errors.
    notices: Vec<String>,
    /// What is done instead of reading rules.
    end: Option<End>,
}

/// How the words end a call before any rule is read.
enum End {
    Version,
    Help,
    /// An option that is none, in getopt's words.
    Unknown(String),
    /// A value that is none.
    Refused {
        message: String,
        hint: Option<String>,
    },
    /// Words that do not go together.
    Plain(&'static str),
}

fn read(name: &str, words: &[String]) -> Asked {
    let (mut asked, mut has_interval) = (Asked::default(), false);
    let mut reader = Reader::new(name, FLAGS, words);
    while let Some(option) = reader.next() {
        let (short, value) = match option {
            Ok(option) => option,
            Err(why) => return Asked { end: Some(End::Unknown(why)), ..asked },
        };
        match short {
            'c' => asked.counters = true,
            'v' => asked.verbose = true,
            'V' => return Asked { end: Some(End::Version), ..asked },
            't' => asked.test = true,
            'h' => return Asked { end: Some(End::Help), ..asked },
            'n' => asked.noflush = true,
            'T' => asked.table = value.map(str::to_owned),
            'b' => asked.notices.push("-b/--binary option is not implemented".to_owned()),
            'w' => match value.or_else(|| reader.argument()).map(|text| (text, wait::seconds(text))) {
                None => asked.wait = Some(None),
                Some((_, Some(seconds))) => asked.wait = Some(seconds),
                Some((text, None)) => {
                    let message = "wait seconds not numeric".to_owned();
                    let hint = Some(format!("`{text}' is taken for the seconds of -w: name the file before it"));
                    return Asked { end: Some(End::Refused { message, hint }), ..asked };
                }
            },
            'W' => match wait::check_interval(value.or_else(|| reader.argument())) {
                Ok(()) => {
                    has_interval = true;
                    asked.notices.push(wait::INTERVAL_NOTICE.to_owned());
                }
                Err(message) => return Asked { end: Some(End::Refused { message, hint: None }), ..asked },
            },
            _ => {}
        }
    }
    asked.file = reader.rest.first().map(|file| (*file).to_owned());
    if reader.rest.len() > 1 {
        asked.end = Some(End::Plain("Unknown arguments found on commandline"));
    } else if has_interval && !wait::waits(asked.wait) {
        asked.end = Some(End::Plain("Option --wait-interval requires option --wait"));
    }
    asked
}

fn carry_out(
    call: &Call<'_>,
    family: Family,
    asked: &Asked,
    state: &mut dyn State,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let wait = Wait::given(asked.wait);
    // The turn is taken at the first table.
    let has_table = call.input.split(|byte| *byte == b'\n').any(|line| line.first() == Some(&b'*'));
    state.begin(match (has_table, asked.test) {
        (false, _) => Access::Read,
        (true, true) => Access::Look(wait),
        (true, false) => Access::Write(wait),
    })?;
    let request = RestoreRequest {
        file: asked.file.as_deref().unwrap_or("standard input"),
        counters: asked.counters,
        noflush: asked.noflush,
        table: asked.table.as_deref(),
        test: asked.test,
        verbose: asked.verbose,
    };
    let restored = state.restore(family, call.input, &request);
    let read_to = match &restored {
        Err(Failure::RuleFile(error)) => error.line,
        Ok(_) if asked.test => usize::MAX,
        _ => 0,
    };
    let is_wanted = |table: &TableId| asked.table.as_deref().is_none_or(|only| only == table.name());
    for table in opened_tables(call.input, read_to).into_iter().filter(is_wanted) {
        // It was looked at all the same.
        state.take_into_use(family, table)?;
    }
    let restored = restored?;
    restored.notices.iter().for_each(|notice| outcome.complain(notice));
    outcome.stdout = restored.report.into_bytes();
    let said = match restored.ended.map(|ended| ended.verb) {
        Some(Verb::Help { matches, target }) => help::of_iptables(family, call.program.name(), &matches, target),
        Some(Verb::Version { inverted }) => version(call.program.name(), inverted),
        _ => String::new(),
    };
    outcome.stdout.extend(said.into_bytes());
    Ok(())
}

/// The tables that a rule file opens on its first lines.
fn opened_tables(text: &[u8], lines: usize) -> Vec<TableId> {
    let (mut opened, mut is_inside) = (Vec::new(), false);
    for line in text.split(|byte| *byte == b'\n').take(lines) {
        match line.strip_prefix(b"*") {
            Some(rest) if !is_inside => {
                let name = std::str::from_utf8(rest).ok().and_then(|rest| rest.split_ascii_whitespace().next());
                opened.extend(name.and_then(TableId::from_name));
                is_inside = true;
            }
            _ => is_inside &= line != b"COMMIT",
        }
    }
    opened
}

/// What iptables-restore says after a mistake in words.
fn say_where(outcome: &mut Outcome, name: &str, line: usize) {
    outcome.complain(format_args!("Error occurred at line: {line}"));
    outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
}

fn complain(call: &Call<'_>, error: &RuleFileError, outcome: &mut Outcome) {
    let name = call.program.name();
    outcome.code = error.code;
    error.notices.iter().for_each(|notice| outcome.complain(notice));
    outcome.stdout = error.report.clone().into_bytes();
    let line = error.line;
    if error.code == 2 {
        say_error(outcome, name, error.bare, &error.message);
        say_where(outcome, name, line);
        outcome.hint(call, error.hint.as_deref());
    } else if let Some((line, reason)) = error.message.split_once(" failed: ") {
        // 1.8.11 keeps the reason to itself.
        outcome.complain(format_args!("{name}: {line} failed"));
        let more = error.hint.as_ref().map_or(String::new(), |hint| format!(": {hint}"));
        outcome.hint(call, Some(&format!("{}{more}", reason.trim_end())));
    } else {
        match error.bare {
            true => outcome.complain(format_args!("{name}: {}", error.message)),
            false => say_error(outcome, name, false, &error.message),
        }
        outcome.hint(call, error.hint.as_deref());
    }
}
