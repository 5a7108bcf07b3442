//! `iptables` and `ip6tables`.

use crate::{Access, Call, Failure, Outcome, State, Wait};
use hairpin_engine::rule::{Ruleset, TableId};
use hairpin_ruleset::apply::apply;
use hairpin_ruleset::command::{self, Command, CommandError, Context, Verb, program};
use hairpin_ruleset::error::Refusal;
use hairpin_ruleset::list::{ListOptions, list_rules};
use hairpin_ruleset::show::{ShowOptions, reported, show};
use hairpin_wire::Family;
use hairpin_xt::option::Names;

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let context = Context { family, names: state.names(), table: TableId::Filter, restore: false };
    let command = match command::parse(&context, call.words) {
        Ok(command) => command,
        Err(error) => return misspelt(call, family, &error),
    };
    let mut outcome = Outcome::default();
    for notice in &command.notices {
        outcome.complain(notice);
    }
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
    let mut ruleset = match state.ruleset(family) {
        Ok(ruleset) => ruleset,
        Err(failure) => return fail(call, family, &failure, outcome),
    };
    // A listing shows the counters from before it resets them.
    let listing = listing(command, &ruleset, state.names());
    if let Err(refusal) = apply(&mut ruleset, command) {
        return refuse(call, family, &refusal, outcome);
    }
    if access != Access::Read {
        let table = ruleset.table(command.table).cloned();
        if let Err(failure) = state.replace(family, table.into_iter().collect()) {
            return fail(call, family, &failure, outcome);
        }
    }
    outcome.stdout = listing.into_bytes();
}

/// Whether the verb changes anything.
fn changes(verb: &Verb) -> bool {
    match verb {
        Verb::List { zero, .. } | Verb::ListRules { zero, .. } => *zero,
        Verb::Check(_) | Verb::Help { .. } | Verb::Version | Verb::OtherFamily => false,
        _ => true,
    }
}

fn listing(command: &Command, ruleset: &Ruleset, names: &dyn Names) -> String {
    let list = |chain, rule| ListOptions { table: command.table, chain, rule, counters: command.verbose > 0 };
    match &command.verb {
        Verb::List { chain, rule, .. } => {
            let options = ShowOptions {
                list: list(chain.as_deref(), *rule),
                numeric: command.numeric,
                exact: command.exact,
                line_numbers: command.line_numbers,
                names,
            };
            show(ruleset, &options)
        }
        Verb::ListRules { chain, rule, .. } => list_rules(ruleset, &list(chain.as_deref(), *rule), &[]),
        _ if command.verbose > 0 => command.rules.iter().map(|rule| reported(ruleset.family, rule, names)).collect(),
        _ => String::new(),
    }
}

/// Words that are no command: exit code and words of iptables.
fn misspelt(call: &Call<'_>, family: Family, error: &CommandError) -> Outcome {
    let name = program(family);
    let mut outcome = Outcome::failed(error.error.code, "");
    say_error(&mut outcome, name, error.error.bare, &error.error.message);
    if error.error.code == 2 {
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
    } else if error.error.code == 3 {
        outcome.complain(format_args!("Perhaps {name} or your kernel needs to be upgraded."));
    }
    outcome.hint(call, error.hint.as_deref());
    outcome
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
        Failure::Unavailable(why) => {
            outcome.code = 4;
            outcome.complain(why);
        }
    }
}
