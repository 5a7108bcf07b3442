//! What hairpin says of a rule, in the form of [`Answer`].

use super::real::Answer;
use super::rule::Rule;
use hairpin_engine::rule::{Action, Compiled, Listing, Ruleset, TableId};
use hairpin_ruleset::apply::apply;
use hairpin_ruleset::command::{self, Context, program};
use hairpin_ruleset::error::Refusal;
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::save::rule_text;
use hairpin_wire::Family;
use std::fmt;
use std::sync::LazyLock;

static NAMES: LazyLock<SystemNames> = LazyLock::new(|| {
    let tree = super::real::tree().unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(tree.join(path)).unwrap_or_default();
    SystemNames::new()
        .with_services(&read("etc/services"))
        .with_protocols(&read("etc/protocols"))
        .with_users(&read("etc/passwd"))
        .with_groups(&read("etc/group"))
});

pub(super) fn answer(rule: &Rule) -> Answer {
    let names = &*NAMES;
    let mut ruleset = Ruleset::new(rule.family);
    let run = |ruleset: &mut Ruleset, verb: &str| -> Result<String, (i32, String)> {
        let context = Context { family: rule.family, names, table: TableId::Filter, restore: false };
        let mut words = vec!["-t".to_owned(), rule.table.clone(), verb.to_owned(), rule.chain.clone()];
        words.extend(rule.words.iter().cloned());
        let command = command::parse(&context, &words)
            .map_err(|e| (i32::from(e.error.code), said(rule.family, &e.error.message, e.error.code, e.error.bare)))?;
        apply(ruleset, &command).map_err(|e| refused(rule.family, &e))?;
        Compiled::new(ruleset.clone()).map_err(|e| refused(rule.family, &Refusal::from(&e)))?;
        Ok(command.notices.iter().map(|n| format!("{n}\n")).collect())
    };
    let notices = match run(&mut ruleset, "-A") {
        Ok(notices) => notices,
        Err((code, said)) => return Answer { code, said, ..Answer::default() },
    };
    let rules: Vec<_> = TableId::from_name(&rule.table)
        .and_then(|table| ruleset.table(table)?.chain(&rule.chain))
        .map(|chain| chain.rules.clone())
        .unwrap_or_default();
    let text =
        |one: &dyn Fn(&hairpin_engine::rule::Rule) -> String| rules.iter().map(|r| one(r) + "\n").collect::<String>();
    let texts = [
        text(&|r| rule_text(rule.family, &rule.chain, r)),
        text(&|r| line(rule.family, r, false, false)),
        text(&|r| line(rule.family, r, true, false)),
        text(&|r| line(rule.family, r, true, true)),
    ];
    let deleted = run(&mut ruleset, "-D").map_or_else(|(code, _)| code, |_| 0);
    Answer { code: 0, said: notices, texts, deleted }
}

fn refused(family: Family, refusal: &Refusal) -> (i32, String) {
    let code = i32::from(refusal.error.code);
    match refusal.from_table {
        true => (code, refusal.text(family) + "\n"),
        false => (code, said(family, &refusal.error.message, refusal.error.code, refusal.error.bare)),
    }
}

fn said(family: Family, message: &str, code: u8, bare: bool) -> String {
    let program = program(family);
    let mut out = if bare { format!("{message}\n") } else { format!("{program} v1.8.11 (legacy): {message}\n") };
    match code {
        2 => out += &format!("Try `{program} -h' or '{program} --help' for more information.\n"),
        3 | 1 if !bare => {}
        _ => {}
    }
    out
}

/// A rule's line of `-L`.
fn line(family: Family, rule: &hairpin_engine::rule::Rule, numeric: bool, verbose: bool) -> String {
    let mut out = String::new();
    let _ = write_line(&mut out, family, rule, numeric, verbose);
    out
}

fn write_line(
    out: &mut dyn fmt::Write,
    family: Family,
    rule: &hairpin_engine::rule::Rule,
    numeric: bool,
    verbose: bool,
) -> fmt::Result {
    let header = &rule.header;
    if verbose {
        write!(out, "{:>8} {:>8} ", 0, 0)?;
    }
    let target = match &rule.action {
        Action::None => "",
        Action::Accept => "ACCEPT",
        Action::Drop => "DROP",
        Action::Return => "RETURN",
        Action::Queue => "QUEUE",
        Action::Jump(name) | Action::Goto(name) => name,
        Action::Target(target) => target.kernel_name(),
    };
    let protocol = match hairpin_xt::value::protocol_name(header.protocol) {
        Some(_) if header.protocol == 0 => "all".to_owned(),
        Some(name) => name.to_owned(),
        None if header.protocol == 0 => "all".to_owned(),
        None => header.protocol.to_string(),
    };
    write!(out, "{target:<9} {}{protocol:<4} ", if header.protocol_inverted { "!" } else { " " })?;
    let fragment = match header.fragment {
        None => "--",
        Some(true) => "-f",
        Some(false) => "!f",
    };
    write!(out, "{fragment} ")?;
    if verbose {
        write!(out, " {:<6} {:<6} ", "*", "*")?;
    }
    let any = match (numeric, family) {
        (false, _) => "anywhere",
        (_, Family::V4) => "0.0.0.0/0",
        _ => "::/0",
    };
    write!(out, " {any:<19}  {any:<19} ")?;
    let names = &*NAMES;
    let listing = Listing { numeric, protocol: header.protocol, names };
    for used in &rule.matches {
        write!(out, "{}", Shown(&|f| used.list(f, &listing)))?;
    }
    if let Action::Target(target) = &rule.action {
        write!(out, "{}", Shown(&|f| target.list(f, &listing)))?;
    }
    Ok(())
}

struct Shown<'a>(&'a dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}
