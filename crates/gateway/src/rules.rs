//! Rule files, as iptables-save prints them.

use crate::names;
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_wire::Family;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A rule file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// The exit code that iptables-restore gives.
    pub code: u8,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RulesError {}

/// Rules that can be loaded, and what people should know about them.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: Arc<Compiled>,
    /// Lines for standard error.
    pub notices: Vec<String>,
}

/// Reads a rule file. Counters in it are where counting begins.
pub fn read(path: &Path, family: Family) -> Result<Loaded, RulesError> {
    let file = path.display().to_string();
    let text =
        std::fs::read(path).map_err(|e| RulesError { code: 1, message: format!("{file}: cannot be read: {e}") })?;
    parse(&file, &text, family)
}

/// The same for the text of a rule file. `file` is the name for messages.
pub fn parse(file: &str, text: &[u8], family: Family) -> Result<Loaded, RulesError> {
    let names = names::of_system();
    let options = RestoreOptions { file, counters: true, noflush: false, table: None, names: &names };
    let restored = restore(&Ruleset::new(family), text, &options)
        .map_err(|e| RulesError { code: e.code, message: e.to_string() })?;
    let mut notices: Vec<String> = restored.notices.iter().map(ToString::to_string).collect();
    notices.extend(warnings(&restored.ruleset).iter().map(|warning| format!("{file}: warning: {warning}")));
    match Compiled::new(restored.ruleset.clone()) {
        Ok(compiled) => Ok(Loaded { rules: Arc::new(compiled), notices }),
        Err(why) => {
            let e = restored.refused(&why);
            Err(RulesError { code: e.code, message: e.to_string() })
        }
    }
}

/// What people should know about rules that are accepted all the same, once each.
fn warnings(ruleset: &Ruleset) -> BTreeSet<String> {
    let rules = ruleset.tables.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules);
    rules.flat_map(|rule| &rule.matches).filter_map(|m| m.warning()).collect()
}
