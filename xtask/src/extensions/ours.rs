//! What hairpin says of a rule, in the form of [`Answer`].

use super::real::{self, Answer, LISTINGS};
use super::rule::Rule;
use hairpin_commands::{Call, Failure, Outcome, Program, State, run};
use hairpin_engine::rule::{Ruleset, Table};
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::sync::LazyLock;

pub(super) fn answer(rule: &Rule) -> Answer {
    let mut state = Memory(Ruleset::new(rule.family));
    let mut words = vec!["-t".to_owned(), rule.table.clone(), "-A".to_owned(), rule.chain.clone()];
    words.extend(rule.words.iter().cloned());
    let added = call(rule.family, &words, &mut state);
    let code = i32::from(added.code);
    let said = text(&added.stdout) + &text(&added.stderr);
    if code != 0 {
        return Answer { code, said, ..Answer::default() };
    }
    let texts = LISTINGS.map(|listing| {
        let mut words = vec!["-t".to_owned(), rule.table.clone()];
        words.extend(listing.split(' ').map(str::to_owned));
        words.insert(3, rule.chain.clone());
        let listed = call(rule.family, &words, &mut state);
        real::without_head(&(text(&listed.stdout) + &text(&listed.stderr)))
    });
    if let Some(word) = words.get_mut(2) {
        *word = "-D".to_owned();
    }
    let deleted = i32::from(call(rule.family, &words, &mut state).code);
    Answer { code, said, texts, deleted }
}

fn call(family: Family, words: &[String], state: &mut Memory) -> Outcome {
    let name = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    run(&Call { program: Program::Iptables(family), name, words, input: &[], date: "", hints: false }, state)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Rules in memory, with the names of the tree that the real iptables runs in.
struct Memory(Ruleset);

impl State for Memory {
    fn names(&self) -> &dyn Names {
        &*NAMES
    }

    fn ruleset(&mut self, _family: Family) -> Result<Ruleset, Failure> {
        Ok(self.0.clone())
    }

    fn replace(&mut self, _family: Family, tables: Vec<Table>) -> Result<(), Failure> {
        let mut next = self.0.clone();
        for table in tables {
            let id = table.id;
            *next.table_mut(id) = table;
        }
        next.check()?;
        self.0 = next;
        Ok(())
    }
}

static NAMES: LazyLock<SystemNames> = LazyLock::new(|| {
    let tree = real::tree().unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(tree.join(path)).unwrap_or_default();
    SystemNames::new()
        .with_services(&read("etc/services"))
        .with_protocols(&read("etc/protocols"))
        .with_users(&read("etc/passwd"))
        .with_groups(&read("etc/group"))
        .with_hosts_file(&read("etc/hosts"))
        .with_networks(&read("etc/networks"))
        .with_hosts(Box::new(|_, _| Err("Name or service not known".to_owned())))
});
