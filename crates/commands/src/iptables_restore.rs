//! `iptables-restore` and `ip6tables-restore`.

use crate::getopt::{self, Flag};
use crate::iptables::say_error;
use crate::{Access, Call, Failure, Input, Outcome, RestoreRequest, State, Wait};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::error::RuleFileError;
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
    Flag {
        long: "wait",
        short: 'w',
        value: "",
        help: "wait for the lock, for ever or as many seconds as the next word says",
    },
    Flag { long: "wait-interval", short: 'W', value: "", help: "has no effect" },
    Flag { long: "", short: 'b', value: "", help: "has no effect" },
];

/// Standard input, or the one word that is no option.
pub(crate) fn input(words: &[String]) -> Input {
    match read("", words) {
        Ok(asked) if asked.wants_text() => match asked.file {
            Some(file) => Input::File(file),
            None => Input::Stdin,
        },
        _ => Input::Nothing,
    }
}

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let name = call.program.name();
    if let Some(word) = wait_without_number(call.words) {
        let version = crate::IPTABLES_VERSION;
        outcome.code = 2;
        outcome.complain(format_args!("{name} v{version} (legacy): wait seconds not numeric"));
        outcome.complain("Error occurred at line: 0");
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
        outcome.hint(call, Some(&format!("`{word}' is taken for the seconds of -w: name the file before it")));
        return outcome;
    }
    let asked = match read(call.name, call.words) {
        Ok(asked) => asked,
        Err(why) => {
            outcome.code = 1;
            outcome.complain(why);
            outcome.complain(format_args!("Try `{name} -h' for more information."));
            return outcome;
        }
    };
    if asked.binary {
        outcome.complain("-b/--binary option is not implemented");
    }
    if asked.interval {
        outcome.complain("Ignoring deprecated --wait-interval option.");
    }
    if asked.version {
        let version = crate::IPTABLES_VERSION;
        outcome.stdout = format!("{name} v{version} (hairpin {})\n", env!("CARGO_PKG_VERSION")).into_bytes();
    } else if asked.help {
        outcome.stderr = crate::help::of_flags(&format!("{name} [options] [file]"), FLAGS).into_bytes();
    } else if asked.too_many {
        outcome.code = 1;
        outcome.complain("Unknown arguments found on commandline");
    } else if asked.interval && asked.wait.is_none() {
        outcome.code = 1;
        outcome.complain("Option --wait-interval requires option --wait");
    } else if let Err(failure) = carry_out(call, family, &asked, state, &mut outcome) {
        match failure {
            Failure::RuleFile(error) => complain(call, &error, &mut outcome),
            other => {
                outcome.code = other.code();
                outcome.complain(other);
            }
        }
    }
    outcome
}

#[derive(Default)]
struct Asked {
    counters: bool,
    verbose: bool,
    noflush: bool,
    test: bool,
    binary: bool,
    version: bool,
    help: bool,
    interval: bool,
    too_many: bool,
    table: Option<String>,
    wait: Option<Option<u32>>,
    file: Option<String>,
}

impl Asked {
    fn wants_text(&self) -> bool {
        !(self.version || self.help || self.too_many || self.interval && self.wait.is_none())
    }
}

fn read(name: &str, words: &[String]) -> Result<Asked, String> {
    let (mut words, mut asked) = (words.to_vec(), Asked::default());
    // The numbers of -w and -W are words of their own: getopt does not know of them.
    for flag in [["-w", "--wait"], ["-W", "--wait-interval"]] {
        let is = |w: &String| flag.contains(&w.as_str()) || (flag[0] == "-w" && is_cluster_with_w(w));
        if let Some(at) = words.iter().position(is) {
            let number = words.get(at + 1).and_then(|w| w.parse::<u32>().ok());
            if number.is_some() {
                words.remove(at + 1);
            }
            if flag[0] == "-w" {
                asked.wait = Some(number);
            }
        }
    }
    let (given, rest) = getopt::read(name, FLAGS, &words)?;
    for (short, value) in given {
        match short {
            'c' => asked.counters = true,
            'v' => asked.verbose = true,
            'V' => asked.version = true,
            't' => asked.test = true,
            'h' => asked.help = true,
            'n' => asked.noflush = true,
            'T' => asked.table = Some(value.to_owned()),
            'W' => asked.interval = true,
            'b' => asked.binary = true,
            'w' => asked.wait = Some(asked.wait.flatten()),
            _ => {}
        }
    }
    asked.too_many = rest.len() > 1;
    asked.file = rest.first().map(|file| (*file).to_owned());
    Ok(asked)
}

/// The word after `-w` that is taken for its number and is none.
fn wait_without_number(words: &[String]) -> Option<&String> {
    let is = |word: &String| word == "-w" || word == "--wait" || is_cluster_with_w(word);
    let next = words.get(words.iter().position(is)? + 1)?;
    let is_number = next.trim_start().trim_start_matches('+').parse::<u32>().is_ok();
    (!next.starts_with('-') && !is_number).then_some(next)
}

/// `-nw`, where the number may follow.
fn is_cluster_with_w(word: &str) -> bool {
    !word.starts_with("--") && word.starts_with('-') && word.ends_with('w')
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

fn complain(call: &Call<'_>, error: &RuleFileError, outcome: &mut Outcome) {
    let name = call.program.name();
    outcome.code = error.code;
    error.notices.iter().for_each(|notice| outcome.complain(notice));
    outcome.stdout = error.report.clone().into_bytes();
    let line = error.line;
    if error.code == 2 {
        say_error(outcome, name, error.bare, &error.message);
        outcome.complain(format_args!("Error occurred at line: {line}"));
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
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
