//! The reader of the shared cases; their README has the format.

/// A case: words after `-A CHAIN`, what is saved of them, and what becomes of it: `OK`, `FAIL` or `NOMATCH`.
pub(crate) struct Case<'a> {
    pub(crate) rule: &'a str,
    pub(crate) saved: &'a str,
    pub(crate) outcome: &'a str,
}

/// A line of a file that means something.
pub(crate) enum Line<'a> {
    /// A command to be run before, whatever comes of it.
    Prepare(&'a str),
    /// A case, with its table and the chains it is for.
    Case(Case<'a>, &'a str, Vec<&'a str>),
}

/// The lines of a file.
pub(crate) fn read(text: &str) -> Vec<Line<'_>> {
    let (mut chains, mut table) = (vec!["INPUT"], "filter");
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '@'])) {
        if let Some(list) = line.strip_prefix(':') {
            chains = list.split(',').collect();
        } else if let Some(other) = line.strip_prefix('*') {
            table = other;
        } else if let Some(command) = line.strip_prefix('%') {
            lines.push(Line::Prepare(command));
        } else {
            lines.push(Line::Case(case(line), table, chains.clone()));
        }
    }
    lines
}

fn case(line: &str) -> Case<'_> {
    let fields: Vec<&str> = line.split(';').collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    let (rule, mut saved, mut outcome) = (field(0), field(1), field(2));
    // hairpin is the legacy variant. A line for the other one says in its fifth field what holds here.
    if field(3) == "NFT" {
        outcome = match field(4) {
            "" if outcome == "OK" => "FAIL",
            "" => "OK",
            "=" => {
                saved = "=";
                "OK"
            }
            other => other,
        };
    }
    Case { rule, saved: if saved == "=" { rule } else { saved }, outcome }
}
