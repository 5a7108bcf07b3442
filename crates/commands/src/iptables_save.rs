//! `iptables-save` and `ip6tables-save`.

use crate::{Access, Call, Failure, Outcome, State};
use hairpin_engine::rule::TableId;
use hairpin_ruleset::save::SaveOptions;
use hairpin_wire::Family;

pub(crate) fn run(call: &Call<'_>, family: Family, state: &mut dyn State) -> Outcome {
    let asked = match read(call) {
        Ok(asked) => asked,
        Err(outcome) => return *outcome,
    };
    match text(call, family, &asked, state) {
        Ok(text) => Outcome { file: asked.file, ..Outcome::done(text) },
        Err(failure) => Outcome::failed(failure.code(), format!("{failure}\n")),
    }
}

#[derive(Default)]
struct Asked {
    counters: bool,
    table: Option<String>,
    file: Option<String>,
    version: bool,
}

fn read(call: &Call<'_>) -> Result<Asked, Box<Outcome>> {
    let mut asked = Asked::default();
    let mut words = call.words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-c" | "--counters" => asked.counters = true,
            "-t" | "--table" => asked.table = words.next().map(str::to_owned),
            "-f" | "--file" => asked.file = words.next().map(str::to_owned),
            "-M" | "--modprobe" => drop(words.next()),
            "-V" | "--version" => asked.version = true,
            _ => return Err(Box::new(Outcome::failed(1, "Unknown arguments found on commandline\n"))),
        }
    }
    Ok(asked)
}

fn text(call: &Call<'_>, family: Family, asked: &Asked, state: &mut dyn State) -> Result<String, Failure> {
    let program = format!("{} v{}", call.program.name(), crate::IPTABLES_VERSION);
    if asked.version {
        return Ok(format!("{program} (hairpin {})\n", env!("CARGO_PKG_VERSION")));
    }
    state.begin(Access::Read)?;
    let table = asked.table.as_deref().and_then(TableId::from_name);
    if let Some(table) = table {
        state.take_into_use(family, table)?;
    }
    let options = SaveOptions { counters: asked.counters, table, names: None, comments: Some((&program, call.date)) };
    state.save(family, &options)
}
