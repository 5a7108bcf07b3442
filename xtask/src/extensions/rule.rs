//! Rules to try: a place and the words after `-A CHAIN`.

use hairpin_wire::Family;
use hairpin_xt::{Case, Families, MATCHES, TARGETS};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) words: Vec<String>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -t {} -A {}", hairpin_ruleset::command::program(self.family), self.table, self.chain)?;
        for word in &self.words {
            let plain =
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && !b"'\"\\$&|;()<>`*".contains(&b));
            if plain { write!(f, " {word}")? } else { write!(f, " {}", quoted(word))? }
        }
        Ok(())
    }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The cases of the extensions' tables, in each place they may be for.
pub(super) fn of_cases(only: &[String]) -> Vec<Rule> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut rules = Vec::new();
    for spec in MATCHES.iter().filter(|m| wanted(m.name)) {
        add(&mut rules, &format!("-m {}", spec.name), spec.families, spec.cases);
    }
    for spec in TARGETS.iter().filter(|t| wanted(t.name)) {
        add(&mut rules, &format!("-j {}", spec.name), spec.families, spec.cases);
    }
    rules
}

fn add(rules: &mut Vec<Rule>, name: &str, families: Families, cases: &[Case]) {
    for case in cases {
        let (Case::Same(typed) | Case::Saves(typed, _) | Case::Fails(typed, _)) = *case;
        for family in [Family::V4, Family::V6].into_iter().filter(|f| families.has(*f)) {
            let (place, text) = match typed.strip_prefix('@').and_then(|rest| rest.split_once('|')) {
                Some((place, text)) => (Some(place), text),
                None => (None, typed),
            };
            let (before, after) = text.split_once('|').unwrap_or(("", text));
            let line = format!("{before} {name} {after}");
            let words = hairpin_ruleset::words::split(&line).unwrap_or_default();
            let places: Vec<(&str, &str)> = match place.and_then(|place| place.split_once(' ')) {
                Some(place) => vec![place],
                None => vec![
                    ("filter", "FORWARD"),
                    ("filter", "OUTPUT"),
                    ("mangle", "PREROUTING"),
                    ("nat", "POSTROUTING"),
                    ("nat", "PREROUTING"),
                    ("raw", "PREROUTING"),
                ],
            };
            for (table, chain) in places {
                rules.push(Rule {
                    family,
                    table: table.to_owned(),
                    chain: chain.to_owned(),
                    words: words.iter().map(|w| w.as_ref().to_owned()).collect(),
                });
            }
        }
    }
}
