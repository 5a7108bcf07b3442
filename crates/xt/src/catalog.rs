//! The table of all extensions, as it stands in `docs/extensions.md`.

use crate::option::Opt;
use crate::{Families, Kind, MATCHES, TARGETS};
use std::fmt::Write;

/// The whole text of `docs/extensions.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Extensions\n\n\
         Every match and target of iptables 1.8.11 for IPv4 and IPv6. All are read, checked, saved and listed as there. This page is\n\
         made from the extensions' own tables by `cargo xtask extensions doc`.\n\n\
         - evaluated: the engine does what Linux does; \"but\" names what is not known here\n\
         - without effect: accepted, for the reason given\n\
         - refused: read, and refused when it is loaded\n",
    );
    let matches = MATCHES.iter().map(|m| row(m.name, m.families, m.about, m.kind, m.options));
    let targets = TARGETS.iter().map(|t| row(t.name, t.families, t.about, t.kind, t.options));
    table(&mut page, "Matches (`-m NAME`)", matches.collect());
    table(&mut page, "Targets (`-j NAME`)", targets.collect());
    page
}

fn table(page: &mut String, title: &str, rows: Vec<String>) {
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "\n## {title}\n\n| name | for | what | state | options |\n|---|---|---|---|---|\n{}",
        rows.concat()
    );
}

fn row(name: &str, families: Families, about: &str, kind: Kind, options: &[Opt]) -> String {
    let families = match families {
        Families::V4 => "IPv4",
        Families::V6 => "IPv6",
        Families::Both => "both",
    };
    let state = match kind {
        Kind::Evaluated => "evaluated".to_owned(),
        Kind::Partly(but) => format!("evaluated, but {but}"),
        Kind::NoEffect(why) => format!("without effect: {why}"),
        Kind::Refused(why) => format!("refused: {why}"),
    };
    let options: Vec<String> = options.iter().map(|o| format!("`--{}`", o.name)).collect();
    format!("| {name} | {families} | {} | {state} | {} |\n", about.replace('|', "\\|"), options.join(" "))
}
