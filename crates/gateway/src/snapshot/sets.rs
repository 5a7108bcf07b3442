//! Sets as the text of `ipset save`, and back.

use hairpin_commands::{Call, Done, Failure, Program, SetsAccess, State, run};
use hairpin_engine::rule::{Ruleset, Table};
use hairpin_engine::set::Sets;
use hairpin_engine::{Engine, Now};
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use hairpin_xt::option::Names;

/// The text of `ipset save`.
pub(super) fn saved(mut sets: Sets, now: Now, names: &SystemNames) -> Vec<u8> {
    ipset(&["save"], b"", &mut OnlySets { sets: &mut sets, names, now }).1
}

/// Takes up sets from that text. False when something of it was refused.
pub(super) fn take_up(engine: &mut Engine, now: Now, names: &SystemNames, text: &[u8]) -> bool {
    ipset(&["restore", "-exist"], text, &mut OnlySets { sets: engine.sets(), names, now }).0
}

fn ipset(words: &[&str], input: &[u8], state: &mut OnlySets<'_>) -> (bool, Vec<u8>) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let call = Call { program: Program::Ipset, name: "ipset", words: &words, input, date: "", hints: false };
    let outcome = run(&call, state);
    (outcome.code == 0, outcome.stdout)
}

/// Sets at hand, and nothing else.
struct OnlySets<'s> {
    sets: &'s mut Sets,
    names: &'s SystemNames,
    now: Now,
}

impl State for OnlySets<'_> {
    fn names(&self) -> &dyn Names {
        self.names
    }

    fn ruleset(&mut self, _family: Family) -> Result<Ruleset, Failure> {
        Err(Failure::Unavailable("hairpin: there are no rules beside these sets".to_owned()))
    }

    fn replace(&mut self, family: Family, _tables: Vec<Table>) -> Result<(), Failure> {
        self.ruleset(family).map(|_| ())
    }

    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        Ok(SetsAccess { sets: self.sets, names: self.names, now: self.now })
    }

    fn keep_sets(&mut self, _done: &Done) -> Result<(), Failure> {
        Ok(())
    }
}
