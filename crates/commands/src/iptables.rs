//! `iptables` and `ip6tables`.

use crate::{Access, Call, Failure, Outcome, State, Wait, help, hints, json};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::command::{self, Command, CommandError, Context, Verb, program};
use hairpin_ruleset::error::Refusal;
use hairpin_ruleset::list::ListOptions;
use hairpin_ruleset::show::ShowOptions;
use hairpin_wire::Family;

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let mut notices = Vec::new();
    let context = Context { family, names: state.names(), table: TableId::Filter, restore: false };
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
        Verb::Version { inverted } => outcome.stdout = version(program(family), *inverted).into_bytes(),
        Verb::Help { matches, target } => {
            outcome.stdout = help::of_iptables(family, program(family), matches, *target).into_bytes()
        }
        _ => {
            if let Err(failure) = carry_out(family, &command, state, &mut outcome) {
                fail(call, family, &failure, &mut outcome);
            } else {
                outcome.hint(call, hints::of_accepted(call.words));
            }
        }
    }
    outcome
}

/// What `-V` says.
pub(crate) fn version(name: &str, inverted: bool) -> String {
    let version = format!("{} (hairpin {})", crate::IPTABLES_VERSION, env!("CARGO_PKG_VERSION"));
    if inverted { format!("Not {version} ;-)\n") } else { format!("{name} v{version}\n") }
}

fn carry_out(family: Family, command: &Command, state: &mut dyn State, outcome: &mut Outcome) -> Result<(), Failure> {
    let changes = command.verb.changes();
    let wait = Wait::given(command.wait);
    state.begin(if changes { Access::Write(wait) } else { Access::Look(wait) })?;
    // A listing shows the counters from before it resets them.
    let listing = listing(family, command, state)?;
    if !changes {
        state.take_into_use(family, command.table)?;
    }
    // What `-v` reports of a rule is said before the rule is tried.
    let mut report = String::new();
    let applied = state.apply(family, command, &mut report);
    outcome.stdout = if listing.is_empty() { report } else { listing + &report }.into_bytes();
    if matches!(applied, Err(Failure::Refusal(_) | Failure::Refused(_))) {
        // It was looked at all the same.
        state.take_into_use(family, command.table)?;
    }
    applied
}

fn listing(family: Family, command: &Command, state: &mut dyn State) -> Result<String, Failure> {
    let list = |chain, rule| ListOptions { table: command.table, chain, rule, counters: command.verbose > 0 };
    match &command.verb {
        Verb::List { chain, rule, .. } | Verb::ListRules { chain, rule, .. } if command.json => {
            let ruleset = state.ruleset(family)?;
            Ok(json::of_table(&ruleset, &list(chain.as_deref(), *rule)))
        }
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
        _ => Ok(String::new()),
    }
}

/// Words that are no command: exit code and words of iptables.
fn misspelt(call: &Call<'_>, family: Family, error: &CommandError, outcome: &mut Outcome) {
    let name = program(family);
    outcome.code = error.error.code;
    if !error.error.message.is_empty() {
        say_error(outcome, name, error.error.bare, &error.error.message);
    }
    if error.error.code == 2 {
        outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
    } else if error.error.code == 3 {
        outcome.complain(format_args!("Perhaps {name} or your kernel needs to be upgraded."));
    }
    outcome.hint(call, hints::of_refused(call.words, &error.error.message).or(error.hint.as_deref()));
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
        if outcome.code == 2 {
            outcome.complain(format_args!("Try `{name} -h' or '{name} --help' for more information."));
        }
    }
    outcome.hint(call, hints::of_refused(call.words, &refusal.error.message).or(refusal.hint.as_deref()));
}

fn fail(call: &Call<'_>, family: Family, failure: &Failure, outcome: &mut Outcome) {
    match failure {
        Failure::Refused(load) => refuse(call, family, &Refusal::from(load.as_ref()), outcome),
        Failure::Refusal(refusal) => refuse(call, family, refusal, outcome),
        Failure::RuleFile(_) | Failure::Unavailable(_) => {
            outcome.code = failure.code();
            outcome.complain(failure);
        }
    }
}
