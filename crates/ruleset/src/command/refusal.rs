//! Refusals: where they point, and what to do about them.

use super::{CommandError, Parser, standard_action};
use crate::suggest;
use hairpin_xt::MatchSpec;
use hairpin_xt::option::{Opt, SyntaxError};

impl<'w, W: AsRef<str>> Parser<'_, 'w, W> {
    /// At the word that is being read.
    pub(super) fn refuse(&self, message: impl Into<String>) -> CommandError {
        let at = self.reader.current();
        let word = self.words.get(at).map_or("", |w| w.as_ref());
        refuse_at(at, message, word)
    }

    /// At the value of the option that is being read.
    pub(super) fn refuse_value(&self, message: impl Into<String>, text: &str) -> CommandError {
        self.value_error(SyntaxError::parameter(message).at(text))
    }

    pub(super) fn value_error(&self, error: SyntaxError) -> CommandError {
        let at = self.reader.position().saturating_sub(1).max(self.reader.current());
        CommandError { error, word: Some(at), hint: None }
    }

    pub(super) fn bad_argument(&self, word: &str) -> CommandError {
        let error = SyntaxError { bare: true, ..SyntaxError::parameter(format!("Bad argument `{word}'")).at(word) };
        CommandError { error, word: Some(self.reader.current()), hint: None }
    }

    pub(super) fn unknown_option(&self, word: &str) -> CommandError {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        let no_target = || {
            let name = self.jump.filter(|_| self.target.is_none() && !self.is_goto)?;
            standard_action(name)
                .is_none()
                .then(|| format!("-j {name} is no target that is known, so it brings no options"))
        };
        let elsewhere = || {
            let has = |options: &[Opt]| options.iter().any(|o| o.name == name || o.aliases.contains(&name));
            let family = self.context.family;
            // Of several that have it (--dport), tcp is the one that people mean.
            let brings = |m: &&&MatchSpec| m.families.has(family) && has(m.options);
            let in_match = hairpin_xt::MATCHES.iter().filter(brings).max_by_key(|m| m.name == "tcp");
            let in_target = hairpin_xt::TARGETS.iter().find(|t| t.families.has(family) && has(t.options));
            match (in_match, in_target) {
                (Some(m), _) if matches!(m.name, "tcp" | "udp" | "icmp" | "icmp6" | "sctp" | "dccp") => {
                    Some(format!("it belongs to -p {0} or -m {0}, which must stand before it", m.name))
                }
                (Some(m), _) => Some(format!("it belongs to -m {}, which must stand before it", m.name)),
                (None, Some(t)) => Some(format!("it belongs to -j {}, which must stand before it", t.name)),
                (None, None) => None,
            }
        };
        let hint = elsewhere().or_else(no_target).or_else(|| {
            let names: Vec<&str> = self.reader.long_names().filter(|n| n.len() > 1).collect();
            let starting: Vec<&str> = names.iter().copied().filter(|n| n.starts_with(name)).collect();
            match starting.as_slice() {
                [] => suggest::nearest(name, names).map(|hint| hint.replacen('`', "`--", 1)),
                _ if name.is_empty() => None,
                several => Some(format!(
                    "it could be {}",
                    several.iter().map(|n| format!("--{n}")).collect::<Vec<_>>().join(", ")
                )),
            }
        });
        CommandError { hint, ..self.refuse(format!("unknown option \"{word}\"")) }
    }
}

pub(super) fn refuse_at(word: usize, message: impl Into<String>, text: &str) -> CommandError {
    CommandError { error: SyntaxError::parameter(message).at(text), word: Some(word), hint: None }
}
