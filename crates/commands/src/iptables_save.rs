//! `iptables-save` and `ip6tables-save`.

use crate::getopt::{self, Flag};
use crate::{Access, Call, Failure, Outcome, State};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::save::SaveOptions;
use hairpin_wire::Family;

/// Its options.
pub(crate) const FLAGS: &[Flag] = &[
    Flag { long: "counters", short: 'c', value: "", help: "with the counters of rules" },
    Flag { long: "version", short: 'V', value: "", help: "print the version" },
    Flag { long: "dump", short: 'd', value: "", help: "has no effect" },
    Flag { long: "table", short: 't', value: "table", help: "only this table" },
    Flag { long: "modprobe", short: 'M', value: "command", help: "has no effect" },
    Flag { long: "file", short: 'f', value: "file", help: "write to this file" },
    Flag { long: "", short: 'b', value: "", help: "has no effect" },
];

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let (given, rest) = match getopt::read(call.name, FLAGS, call.words) {
        Ok(read) => read,
        Err(why) => {
            outcome.code = 1;
            outcome.complain(why);
            outcome.complain(format_args!("Look at manual page `{}.8' for more information.", call.program.name()));
            return outcome;
        }
    };
    let value = |short: char| given.iter().rev().find(|(s, _)| *s == short).map(|(_, value)| *value);
    let program = format!("{} v{}", call.program.name(), crate::IPTABLES_VERSION);
    if value('b').is_some() {
        outcome.complain("-b/--binary option is not implemented");
    }
    if value('V').is_some() {
        outcome.stdout = format!("{program} (hairpin {})\n", env!("CARGO_PKG_VERSION")).into_bytes();
        return outcome;
    }
    if !rest.is_empty() {
        outcome.code = 1;
        outcome.complain("Unknown arguments found on commandline");
        return outcome;
    }
    outcome.file = value('f').map(str::to_owned);
    let table = match value('t').map(|name| TableId::from_name(name).ok_or(name)).transpose() {
        Ok(table) => table,
        Err(_) => {
            outcome.code = 1;
            let why = "Table does not exist (do you need to insmod?)";
            outcome.complain(format_args!("{program} (legacy): Cannot initialize: {why}"));
            return outcome;
        }
    };
    let comments = Some((program.as_str(), call.date));
    let options = SaveOptions { counters: value('c').is_some(), table, names: None, comments };
    match text(family, &options, state) {
        Ok(text) => outcome.stdout = text.into_bytes(),
        Err(failure) => {
            outcome.file = None;
            outcome.code = failure.code();
            outcome.complain(failure);
        }
    }
    outcome
}

fn text(family: Family, options: &SaveOptions<'_>, state: &mut dyn State) -> Result<String, Failure> {
    state.begin(Access::Read)?;
    if let Some(table) = options.table {
        state.take_into_use(family, table)?;
    }
    state.save(family, options)
}
