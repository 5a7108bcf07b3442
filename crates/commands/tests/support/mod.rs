//! What the tests of `ipset` share.
#![allow(dead_code, reason = "each test file uses its part")]

use hairpin_commands::{Access, Call, Done, Failure, Outcome, Program, SetsAccess, SetsAtHand, State, run};
use hairpin_engine::rule::{Ruleset, Table};
use hairpin_engine::set::Sets;
use hairpin_engine::time::Now;
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use hairpin_xt::option::Names;

/// Sets in memory, asked by `ipset`.
pub(crate) struct Memory {
    pub(crate) sets: Sets,
    names: SystemNames,
    pub(crate) now: Now,
    pub(crate) kept: Vec<Done>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
        Memory { sets: Sets::new(1), names: SystemNames::new(), now, kept: Vec::new() }
    }

    pub(crate) fn input(&mut self, words: &str, input: &str) -> Outcome {
        let words: Vec<String> = hairpin_ruleset::ipset::split_line(words);
        let call = Call {
            program: Program::Ipset,
            name: "ipset",
            words: &words,
            input: input.as_bytes(),
            date: "",
            hints: false,
        };
        run(&call, self)
    }

    /// Standard output after a command that succeeds silently otherwise.
    #[track_caller]
    pub(crate) fn ok(&mut self, words: &str) -> String {
        let outcome = self.input(words, "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((outcome.code, text(&outcome.stderr)), (0, String::new()), "{words}");
        text(&outcome.stdout)
    }

    #[track_caller]
    pub(crate) fn fails(&mut self, words: &str, code: u8, says: &str) {
        let outcome = self.input(words, "");
        let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!((outcome.code, stderr.trim_end()), (code, says), "{words}");
    }

    /// So many seconds pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = Now::from_unix_nanos(self.now.wall.0 + seconds * 1_000_000_000);
    }
}

impl State for Memory {
    fn names(&self) -> &dyn Names {
        &self.names
    }
    fn begin(&mut self, _access: Access) -> Result<(), Failure> {
        Ok(())
    }
    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        Ok(Ruleset::new(family))
    }
    fn replace(&mut self, _family: Family, _tables: Vec<Table>) -> Result<(), Failure> {
        Ok(())
    }
    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        let sets = Box::new(SetsAtHand::new(&mut self.sets, self.now));
        Ok(SetsAccess { sets, names: &self.names })
    }
    fn keep_sets(&mut self, done: &Done) -> Result<(), Failure> {
        self.kept.extend((*done != Done::default()).then(|| done.clone()));
        Ok(())
    }
}
