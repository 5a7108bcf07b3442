//! `iptables` and `ip6tables`.

use crate::{Access, Call, Failure, Outcome, State, Wait};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::command::{self, Command, CommandError, Context, Verb, program};
use hairpin_ruleset::error::Refusal;
use hairpin_ruleset::list::ListOptions;
use hairpin_ruleset::show::{ShowOptions, reported};
use hairpin_wire::Family;

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let context = Context { family, names: state.names(), table: TableId::Filter, restore: false };
    let mut outcome = Outcome::default();
    let mut notices = Vec::new();
    let command = command::parse_noting(&context, call.words, &mut notices);
    for notice in &notices {
        outcome.complain(notice);
    }
    let command = match command {
        Ok(command) => command,
        Err(error) => {
            misspelt(call, family, &error, &mut outcome);
            return outcome;
        }
    };
    match &command.verb {
        Verb::Version => outcome.stdout = version(family).into_bytes(),
        Verb::Help { .. } => outcome.stdout = format!("{}\n", command::program(family)).into_bytes(),
        _ => execute(call, family, &command, state, &mut outcome),
    }
    outcome
}

fn version(family: Family) -> String {
    format!("{} v{} (hairpin {})\n", program(family), crate::IPTABLES_VERSION, env!("CARGO_PKG_VERSION"))
}

fn execute(call: &Call<'_>, family: Family, command: &Command, state: &mut dyn State, outcome: &mut Outcome) {
    let access = if changes(&command.verb) { Access::Write(Wait::given(command.wait)) } else { Access::Read };
    if let Err(failure) = state.begin(access) {
        return fail(call, family, &failure, outcome);
    }
    if let Err(failure) = carry_out(family, command, access, state, outcome) {
        fail(call, family, &failure, outcome);
    }
}

fn carry_out(
    family: Family,
    command: &Command,
    access: Access,
    state: &mut dyn State,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    // A listing shows the counters from before it resets them.
    let listing = listing(family, command, state)?;
    if access == Access::Read {
        state.take_into_use(family, command.table)?;
    }
    // What `-v` reports of a rule is said before the rule is tried.
    let report = !matches!(command.verb, Verb::List { .. } | Verb::ListRules { .. });
    if report {
        outcome.stdout = listing.clone().into_bytes();
    }
    state.apply(family, command)?;
    outcome.stdout = listing.into_bytes();
    Ok(())
}

/// Whether the verb changes anything.
fn changes(verb: &Verb) -> bool {
    match verb {
        Verb::List { zero, .. } | Verb::ListRules { zero, .. } => *zero,
        Verb::Check(_) | Verb::Help { .. } | Verb::Version | Verb::OtherFamily => false,
        _ => true,
    }
}

fn listing(family: Family, command: &Command, state: &mut dyn State) -> Result<String, Failure> {
    let list = |chain, rule| ListOptions { table: command.table, chain, rule, counters: command.verbose > 0 };
    match &command.verb {
        Verb::List { chain, rule, .. } => {
            let options = ShowOptions {
                list: list(chain.as_deref(), *rule),
                numeric: command.numeric,
                exact: command.exact,
                line_numbers: command.line_numbers,
            };
            state.show(family, &options)
        }
        Verb::ListRules { chain, rule, .. } => state.list_rules(family, &list(chain.as_deref(), *rule)),
        _ if command.verbose > 0 => {
            Ok(command.rules.iter().map(|rule| reported(family, rule, state.names())).collect())
        }
        _ => Ok(String::new()),
    }
}

/// Words that are no command: exit code and words of iptables.
fn misspelt(call: &Call<'_>, family: Family, error: &CommandError, outcome: &mut Outcome) {
    let name = program(family);
    outcome.code = error.error.code;
    say_error(outcome, name, error.error.bare, &error.error.message);
    if error.error.code == 2 {
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
    } else if error.error.code == 3 {
        outcome.complain(format_args!("Perhaps {name} or your kernel needs to be upgraded."));
    }
    outcome.hint(call, error.hint.as_deref());
}

pub(crate) fn say_error(outcome: &mut Outcome, name: &str, bare: bool, message: &str) {
    if bare {
        outcome.complain(message);
    } else {
        outcome.complain(format_args!("{name} v{} (legacy): {message}", crate::IPTABLES_VERSION));
    }
}

fn refuse(call: &Call<'_>, family: Family, refusal: &Refusal, outcome: &mut Outcome) {
    let name = program(family);
    outcome.code = refusal.error.code;
    if refusal.from_table {
        outcome.complain(refusal.text(family));
    } else {
        say_error(outcome, name, refusal.error.bare, &refusal.error.message);
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
    }
    outcome.hint(call, refusal.hint.as_deref());
}

fn fail(call: &Call<'_>, family: Family, failure: &Failure, outcome: &mut Outcome) {
    match failure {
        Failure::Refused(load) => refuse(call, family, &Refusal::from(load.as_ref()), outcome),
        Failure::Refusal(refusal) => refuse(call, family, refusal, outcome),
        Failure::RuleFile(why) => {
            outcome.code = why.code;
            outcome.complain(why);
        }
        Failure::Unavailable(why) => {
            outcome.code = 4;
            outcome.complain(why);
        }
    }
}
