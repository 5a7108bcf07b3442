//! `iptables-restore` and `ip6tables-restore`.

use crate::iptables::say_error;
use crate::{Access, Call, Failure, Input, Outcome, RestoreRequest, State, Wait};
use hairpin_ruleset::error::RuleFileError;
use hairpin_wire::Family;

/// Standard input, or the one word that is no option.
pub(crate) fn input(words: &[String]) -> Input {
    match read(words) {
        Ok(Asked { file: Some(file), .. }) => Input::File(file),
        Ok(_) => Input::Stdin,
        Err(_) => Input::Nothing,
    }
}

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let asked = match read(call.words) {
        Ok(asked) => asked,
        Err(outcome) => return *outcome,
    };
    let mut outcome = Outcome::default();
    if let Err(failure) = carry_out(call, family, &asked, state, &mut outcome) {
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
    noflush: bool,
    test: bool,
    table: Option<String>,
    wait: Option<Option<u32>>,
    file: Option<String>,
}

fn read(words: &[String]) -> Result<Asked, Box<Outcome>> {
    let mut asked = Asked::default();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        match word {
            "-c" | "--counters" => asked.counters = true,
            "-n" | "--noflush" => asked.noflush = true,
            "-t" | "--test" => asked.test = true,
            "-T" | "--table" => asked.table = words.next().map(str::to_owned),
            "-M" | "--modprobe" => drop(words.next()),
            "-w" | "--wait" => {
                let seconds = words.peek().and_then(|w| w.parse().ok());
                if seconds.is_some() {
                    words.next();
                }
                asked.wait = Some(seconds);
            }
            file if !file.starts_with('-') && asked.file.is_none() => asked.file = Some(file.to_owned()),
            _ => return Err(Box::new(Outcome::failed(1, "Unknown arguments found on commandline\n"))),
        }
    }
    Ok(asked)
}

fn carry_out(
    call: &Call<'_>,
    family: Family,
    asked: &Asked,
    state: &mut dyn State,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    state.begin(if asked.test { Access::Read } else { Access::Write(Wait::given(asked.wait)) })?;
    let request = RestoreRequest {
        file: asked.file.as_deref().unwrap_or("standard input"),
        counters: asked.counters,
        noflush: asked.noflush,
        table: asked.table.as_deref(),
        test: asked.test,
    };
    for notice in state.restore(family, call.input, &request)? {
        outcome.complain(notice);
    }
    Ok(())
}

fn complain(call: &Call<'_>, error: &RuleFileError, outcome: &mut Outcome) {
    let name = call.program.name();
    outcome.code = error.code;
    error.notices.iter().for_each(|notice| outcome.complain(notice));
    let line = error.line;
    if error.code == 2 {
        say_error(outcome, name, false, &error.message);
        outcome.complain(format_args!("Error occurred at line: {line}"));
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
    } else {
        outcome.complain(format_args!("{name}: {}", error.message));
    }
    outcome.hint(call, error.hint.as_deref());
}
