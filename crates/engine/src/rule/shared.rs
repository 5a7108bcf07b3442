//! What rules share by name over tables, as the kernel checks it when rules are loaded: estimators of rates, hashlimit's tables, idle
//! timers. The first rule that names one makes it; those that name it later must want it of the same form; it goes with the last.

use super::{Action, Refused, Rule};
use hairpin_wire::Family;
use std::collections::BTreeMap;

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedKind {
    /// RATEEST's estimator: one for all tables of both families (`net/netfilter/xt_RATEEST.c`).
    Estimator,
    /// A table of hashlimit: one for all tables of a family (`net/netfilter/xt_hashlimit.c`).
    RateTable,
    /// IDLETIMER's timer: one for all tables of both families (`net/netfilter/xt_IDLETIMER.c`).
    IdleTimer,
}

/// One of them, as a rule wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<'a> {
    /// Its kind.
    pub kind: SharedKind,
    /// Its name.
    pub name: &'a str,
    /// What all rules that name it must agree on, as the extension numbers it.
    pub form: u32,
}

/// What a rule does with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedUse<'a> {
    /// It makes it, or shares it.
    Makes(Shared<'a>),
    /// It reads one that must be there: `-m rateest`.
    Reads(SharedKind, &'a str),
}

/// What there is. The form is not known of one that is only read any more: its maker was taken out.
#[derive(Clone, Debug, Default)]
pub struct SharedNames(BTreeMap<(SharedKind, Option<Family>, String), Option<u32>>);

impl SharedNames {
    /// What a loaded rule of a family names.
    pub fn note(&mut self, family: Family, rule: &Rule) {
        for used in shared_uses(rule) {
            match used {
                SharedUse::Makes(shared) => {
                    self.0.insert(key(family, shared.kind, shared.name), Some(shared.form));
                }
                SharedUse::Reads(kind, name) => {
                    self.0.entry(key(family, kind, name)).or_default();
                }
            }
        }
    }

    /// A further rule of a family is loaded.
    ///
    /// # Errors
    /// It reads what is not there yet, or wants what is there in another form.
    pub fn load(&mut self, family: Family, rule: &Rule) -> Result<(), Refused> {
        for used in shared_uses(rule) {
            match used {
                SharedUse::Reads(kind, name) => {
                    if !self.0.contains_key(&key(family, kind, name)) {
                        let text = format!("there is no estimator {name}: no RATEEST made it before");
                        return Err(Refused::Missing(text));
                    }
                }
                SharedUse::Makes(Shared { kind, name, form }) => {
                    let key = key(family, kind, name);
                    if self.0.get(&key).copied().flatten().is_some_and(|there| there != form) {
                        return Err(Refused::Invalid(other_form(kind, name)));
                    }
                    self.0.insert(key, Some(form));
                }
            }
        }
        Ok(())
    }
}

fn key(family: Family, kind: SharedKind, name: &str) -> (SharedKind, Option<Family>, String) {
    (kind, (kind == SharedKind::RateTable).then_some(family), name.to_owned())
}

fn other_form(kind: SharedKind, name: &str) -> String {
    match kind {
        SharedKind::Estimator => format!("the estimator {name} is there, with another interval or ewmalog"),
        SharedKind::RateTable => {
            format!("hashlimit's table {name} is there, and only all or none that share it have --hashlimit-rate-match")
        }
        SharedKind::IdleTimer => format!("the timer {name} is there, and only all or none that share it have --alarm"),
    }
}

/// What a rule shares by name; nothing for most.
pub fn shared_uses(rule: &Rule) -> impl Iterator<Item = SharedUse<'_>> {
    let of_target = match &rule.action {
        Action::Target(target) => target.shares(),
        _ => None,
    };
    let reads = rule.matches.iter().flat_map(|m| m.reads_estimators()).flatten();
    let made = rule.matches.iter().filter_map(|m| m.shares()).chain(of_target);
    reads.map(|name| SharedUse::Reads(SharedKind::Estimator, name)).chain(made.map(SharedUse::Makes))
}
