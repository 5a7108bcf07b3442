//! `iptables-save` and `ip6tables-save`.

use crate::getopt::{Flag, Reader};
use crate::iptables::version;
use crate::{Access, Call, Failure, Outcome, State};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::save::SaveOptions;
use hairpin_wire::Family;
use std::fmt::Display;

/// Its options.
pub(crate) const FLAGS: &[Flag] = &[
    Flag { long: "counters", short: 'c', value: "", help: "with the counters of rules" },
    Flag { long: "version", short: 'V', value: "", help: "print the version" },
    Flag { long: "dump", short: 'd', value: "", help: "print at once; no option after it counts" },
    Flag { long: "table", short: 't', value: "table", help: "only this table" },
    Flag { long: "modprobe", short: 'M', value: "command", help: "has no effect" },
    Flag { long: "file", short: 'f', value: "file", help: "write to this file" },
    Flag { long: "", short: 'b', value: "", help: "has no effect" },
];

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let mut outcome = Outcome::default();
    let name = call.program.name();
    let (mut counters, mut table) = (false, None);
    let mut reader = Reader::new(call.name, FLAGS, call.words);
    // Options count in their order: after one that ends the call the others are not looked at.
    let end = loop {
        match reader.next() {
            None if reader.rest.is_empty() => break End::Save,
            None => break End::Refused("Unknown arguments found on commandline".to_owned()),
            Some(Err(why)) => {
                break End::Refused(format!("{why}\nLook at manual page `{name}.8' for more information."));
            }
            Some(Ok(('c', _))) => counters = true,
            Some(Ok(('t', value))) => table = value,
            Some(Ok(('f', value))) => outcome.file = value.map(str::to_owned),
            Some(Ok(('b', _))) => outcome.complain("-b/--binary option is not implemented"),
            Some(Ok(('d', _))) => break End::Save,
            Some(Ok(('V', _))) => break End::Version,
            Some(Ok(_)) => {}
        }
    };
    match end {
        End::Version => outcome.stdout = version(name, false).into_bytes(),
        End::Refused(why) => refuse(&mut outcome, 1, why),
        End::Save => save(call, family, counters, table, state, &mut outcome),
    }
    outcome
}

/// What the words come to.
enum End {
    Save,
    Version,
    Refused(String),
}

fn refuse(outcome: &mut Outcome, code: u8, why: impl Display) {
    outcome.file = None;
    outcome.code = code;
    outcome.complain(why);
}

fn save(
    call: &Call<'_>,
    family: Family,
    counters: bool,
    table: Option<&str>,
    state: &mut dyn State,
    outcome: &mut Outcome,
) {
    let program = format!("{} v{}", call.program.name(), crate::IPTABLES_VERSION);
    let Ok(table) = table.map(|name| TableId::from_name(name).ok_or(name)).transpose() else {
        let why = "Table does not exist (do you need to insmod?)";
        return refuse(outcome, 1, format_args!("{program} (legacy): Cannot initialize: {why}"));
    };
    let options = SaveOptions { counters, table, names: None, comments: Some((program.as_str(), call.date)) };
    match text(family, &options, state) {
        Ok(text) => outcome.stdout = text.into_bytes(),
        Err(failure) => refuse(outcome, failure.code(), failure),
    }
}

fn text(family: Family, options: &SaveOptions<'_>, state: &mut dyn State) -> Result<String, Failure> {
    state.begin(Access::Read)?;
    if let Some(table) = options.table {
        state.take_into_use(family, table)?;
    }
    state.save(family, options)
}
