//! Two answers beside each other.

use super::known;
use super::real::{Answer, LISTINGS};
use super::rule::Rule;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// What was compared so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rules: usize,
    accepted: usize,
    different: usize,
    /// Extensions that the running kernel does not have: its refusal says nothing about the rule.
    missing: BTreeMap<String, usize>,
    /// Differences that are meant, by their reason.
    meant: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(super) fn add(&mut self, rule: &Rule, ours: &Answer, real: &Answer) {
        self.rules += 1;
        self.accepted += usize::from(real.code == 0);
        // Kernels differ in what they have; a rate needs an estimator, which a rule by itself does not have.
        const MAY_BE_MISSING: [&str; 6] = ["LED", "SECMARK", "CONNSECMARK", "ipvs", "rateest", "IDLETIMER"];
        let missing = rule.words.iter().find(|w| MAY_BE_MISSING.contains(&w.as_str()));
        if let Some(name) = missing
            && real.said.ends_with(": No chain/target/match by that name.\n")
            && ours.said != real.said
        {
            *self.missing.entry(name.clone()).or_default() += 1;
            return;
        }
        let mut wrong = Vec::new();
        let mut differ = |what: &str, ours: &str, real: &str| {
            if ours != real {
                wrong.push(format!("  {what}\n    hairpin  {ours:?}\n    iptables {real:?}"));
            }
        };
        differ("exit code", &ours.code.to_string(), &real.code.to_string());
        differ("words", &ours.said, &real.said);
        if ours.code == 0 && real.code == 0 {
            for (what, (ours, real)) in LISTINGS.iter().zip(ours.texts.iter().zip(&real.texts)) {
                differ(what, ours, real);
            }
            differ("exit code of -D", &ours.deleted.to_string(), &real.deleted.to_string());
        }
        if wrong.is_empty() {
            return;
        }
        if let Some(reason) = known::reason(rule) {
            *self.meant.entry(reason).or_default() += 1;
        } else {
            self.different += 1;
            println!("{rule}\n{}", wrong.join("\n"));
        }
    }

    pub(super) fn report(&self) -> ExitCode {
        println!("{} rules, {} accepted, {} differ", self.rules, self.accepted, self.different);
        for (name, count) in &self.missing {
            println!("not in this kernel: {name} ({count} rules)");
        }
        for (reason, count) in &self.meant {
            println!("meant: {reason} ({count} rules)");
        }
        if self.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
