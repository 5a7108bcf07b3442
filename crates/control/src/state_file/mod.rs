//! `HAIRPIN_STATE`: the rules of both families, counters and sets in one file.
//!
//! - `container.rs`: the file; what makes a command atomic and durable.
//! - `rules.rs`, `table.rs`, `pieces.rs`, `record.rs`, `operation.rs`: how rules stand in it, and how a command changes them without reading
//!   what it does not touch.
//! - `lock.rs`: how writers, and those who look in turn with them, take turns.

mod codec;
mod container;
mod lock;
mod operation;
mod pieces;
mod record;
mod rules;
mod sets;
mod shared;
mod table;

use container::{Container, Part, Section};
use hairpin_commands::{Access, Done, Failure, RestoreRequest, SetsAccess, SetsAtHand, State, Told, Wait};
use hairpin_engine::rule::{Ruleset, Table, TableId};
use hairpin_engine::set::Sets;
use hairpin_engine::time::Now;
use hairpin_ruleset::apply::apply_to;
use hairpin_ruleset::chains::{Chains, Origin};
use hairpin_ruleset::command::Command;
use hairpin_ruleset::error::RuleFileError;
use hairpin_ruleset::ipset::dump;
use hairpin_ruleset::list::ListOptions;
use hairpin_ruleset::restore::{RestoreOptions, Tables, refused, restore_to};
use hairpin_ruleset::save::SaveOptions;
use hairpin_ruleset::show::{ShowOptions, write_chain};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use lock::{Turn, reason};
use rules::{StoredRules, section};
use sets::{FileNames, Source, clock, written};
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use table::{StoredTable, Unloadable};

/// Rules in a file, made on first use.
#[derive(Debug)]
pub struct StateFile<'n> {
    path: PathBuf,
    names: FileNames<'n>,
    /// The sets, once they were asked for, and when.
    sets: Option<(Sets, Now)>,
    /// The lock that xtables programs share (`XTABLES_LOCKFILE`).
    shared_lock: Option<PathBuf>,
    /// The file as it was when the command began; locked for a change.
    container: Option<Container>,
    /// This command has the turn to write.
    writes: bool,
    /// The shared lock, held until the command is done.
    held: Option<File>,
}

impl<'n> StateFile<'n> {
    /// The state in the file of this path. Nothing is touched until a command begins.
    pub fn new(path: impl Into<PathBuf>, names: &'n dyn Names) -> StateFile<'n> {
        let path = path.into();
        let names = FileNames::new(names, path.clone());
        StateFile { path, names, sets: None, shared_lock: None, container: None, writes: false, held: None }
    }

    /// Writers also take the lock on this file.
    pub fn with_shared_lock(self, path: Option<PathBuf>) -> StateFile<'n> {
        StateFile { shared_lock: path, ..self }
    }

    fn failure(&self, why: &io::Error) -> Failure {
        Failure::Unavailable(format!("hairpin: state file {}: {}", self.path.display(), reason(why)))
    }

    fn rules(&self, family: Family) -> Result<StoredRules, Failure> {
        match &self.container {
            None => Ok(StoredRules::empty(family)),
            Some(container) => StoredRules::read(family, container).map_err(|why| self.failure(&why)),
        }
    }

    /// Writes down what was done to a family's rules.
    fn keep(&mut self, mut rules: StoredRules) -> Result<(), Failure> {
        let Some(container) = self.container.as_mut().filter(|_| self.writes) else { return Ok(()) };
        let done: Vec<Vec<u8>> = rules.tables.iter_mut().flat_map(StoredTable::take_done).collect();
        let rewrite = rules.tables.iter().any(|t| t.rewrite);
        if done.is_empty() && !rewrite {
            return Ok(());
        }
        let section = section(rules.family);
        let size = done.iter().map(|operation| operation.len() + 5).sum();
        let kept = if rewrite || container.should_fold(size) {
            rules.fold().and_then(|part| container.rewrite(&self.path, &[(section, part)]))
        } else {
            container.append(section, &done)
        };
        kept.map_err(|why| self.failure(&why))
    }

    /// The rules refer to their sets.
    fn refer(&self, sets: &mut Sets) -> Result<(), Failure> {
        for family in [Family::V4, Family::V6] {
            let rules = self.rules(family)?;
            for table in &rules.tables {
                for chain in table.in_order() {
                    let referred = table.each(chain, |record| {
                        sets_named(record.text).iter().for_each(|name| sets.refer_to(name));
                        Ok(())
                    });
                    referred.map_err(|why| self.failure(&why))?;
                }
            }
        }
        Ok(())
    }

    /// Checks changed tables as the kernel does, which take the place of the old ones one after the other.
    fn check(&self, rules: &StoredRules, changed: &[TableId]) -> Result<(), (TableId, Unloadable)> {
        for (n, id) in changed.iter().enumerate() {
            let Some(table) = rules.table(*id) else { continue };
            let refused = table.check(&self.names).err();
            // What was there before is read again, and only when a new rule shares something by name.
            let until = match &refused {
                None if table.shares => Some(None),
                Some(Unloadable::Refused(load, _)) if table.shares => Some(Some(load)),
                _ => None,
            };
            if let Some(until) = until {
                let old = self.old_rules().map_err(|why| (*id, why.into()))?;
                let came = changed.get(..n).unwrap_or_default();
                shared::check(&old, rules, came, table, until, &self.names).map_err(|why| (*id, why))?;
            }
            refused.map_or(Ok(()), |why| Err((*id, why)))?;
        }
        Ok(())
    }

    /// The rules of both families as they are in the file.
    fn old_rules(&self) -> io::Result<Vec<StoredRules>> {
        match &self.container {
            None => Ok(Vec::new()),
            Some(container) => [Family::V4, Family::V6].iter().map(|f| StoredRules::read(*f, container)).collect(),
        }
    }

    fn unloadable(&self, why: Unloadable) -> Failure {
        match why {
            Unloadable::Refused(load, _) => load.into(),
            Unloadable::Unreadable(why) => self.failure(&why),
        }
    }
}

impl State for StateFile<'_> {
    fn names(&self) -> &dyn Names {
        &self.names
    }

    fn begin(&mut self, access: Access) -> Result<(), Failure> {
        (self.container, self.held) = (None, None);
        let turn = match access {
            Access::Read => None,
            Access::Look(wait) | Access::Write(wait) => Some(Turn::new(wait)),
        };
        if let (Some(turn), Some(path)) = (&turn, &self.shared_lock) {
            self.held = Some(turn.shared(path)?);
        }
        // Who looks may have no right to write: there is nobody's turn then.
        let turn = turn.filter(|_| matches!(access, Access::Write(_)) || is_writable(&self.path));
        self.writes = turn.is_some();
        let file = match turn {
            Some(turn) => Some(turn.state(&self.path)?),
            None => match File::open(&self.path) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => None,
                opened => Some(opened.map_err(|why| self.failure(&why))?),
            },
        };
        self.container = file.map(Container::read).transpose().map_err(|why| self.failure(&why))?;
        let source = self.container.as_ref().map(Source::of).transpose().map_err(|why| self.failure(&why))?;
        self.names.set_source(source.unwrap_or_default());
        self.sets = None;
        Ok(())
    }

    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        let rules = self.rules(family)?;
        let mut ruleset = Ruleset::new(family);
        for table in &rules.tables {
            ruleset.tables.push(table.value(|_| true, &self.names).map_err(|why| self.failure(&why))?);
        }
        Ok(ruleset)
    }

    fn replace(&mut self, family: Family, tables: Vec<Table>) -> Result<(), Failure> {
        let mut rules = self.rules(family)?;
        let changed: Vec<TableId> = tables.iter().map(|table| table.id).collect();
        for table in tables {
            let mut stored = rules.open(table.id).map_err(Failure::Unavailable)?;
            stored.reset();
            fill(&mut stored, table).map_err(Failure::Unavailable)?;
            rules.commit(stored, 0);
        }
        self.check(&rules, &changed).map_err(|(_, why)| self.unloadable(why))?;
        self.keep(rules)
    }

    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        if self.sets.is_none() {
            let now = clock();
            let source = self.container.as_ref().map(Source::of).transpose().map_err(|why| self.failure(&why))?;
            let mut sets = source.unwrap_or_default().read(now).map_err(|why| self.failure(&why))?;
            self.refer(&mut sets)?;
            self.sets = Some((sets, now));
        }
        match &mut self.sets {
            Some((sets, now)) => Ok(SetsAccess { sets: Box::new(SetsAtHand::new(sets, *now)), names: &self.names }),
            None => Err(Failure::Unavailable("the sets were not read".to_owned())),
        }
    }

    fn keep_sets(&mut self, done: &Done) -> Result<(), Failure> {
        if *done == Done::default() {
            return Ok(());
        }
        let Some(container) = self.container.as_mut().filter(|_| self.writes) else { return Ok(()) };
        let Some((sets, now)) = &self.sets else { return Ok(()) };
        let changes: Vec<Vec<u8>> = done.changes.iter().map(|(words, exist)| written(words, *exist, *now)).collect();
        let size = changes.iter().map(|change| change.len() + 5).sum();
        let kept = if done.is_partial || container.should_fold(size) {
            let part = Part { index: Vec::new(), body: dump(sets, *now).into_bytes() };
            container.rewrite(&self.path, &[(Section::Sets, part)])
        } else {
            container.append(Section::Sets, &changes)
        };
        kept.map_err(|why| self.failure(&why))
    }

    fn take_into_use(&mut self, family: Family, table: TableId) -> Result<(), Failure> {
        if self.rules(family)?.table(table).is_some() {
            return Ok(());
        }
        let has_turn = self.writes;
        // Whoever has the turn is no reason to keep a reader waiting.
        if has_turn || self.begin(Access::Write(Wait::No)).is_ok() {
            let mut rules = self.rules(family)?;
            rules.table_mut(table);
            self.keep(rules)?;
        }
        if has_turn {
            // Who only looks keeps the turn and has nothing more to write.
            self.writes = false;
            return Ok(());
        }
        self.begin(Access::Read)
    }

    fn apply(&mut self, family: Family, command: &Command, report: &mut String) -> Result<(), Failure> {
        let mut rules = self.rules(family)?;
        let table = rules.table_mut(command.table);
        apply_to(table, command.clone(), 0, report).map_err(|refusal| Failure::Refusal(Box::new(refusal)))?;
        self.check(&rules, &[command.table]).map_err(|(_, why)| self.unloadable(why))?;
        self.keep(rules)
    }

    fn restore(&mut self, family: Family, text: &[u8], request: &RestoreRequest<'_>) -> Result<Told, Failure> {
        let mut rules = self.rules(family)?;
        let options = RestoreOptions {
            file: request.file,
            counters: request.counters,
            noflush: request.noflush,
            table: request.table,
            names: &self.names,
        };
        let applied = restore_to(&mut rules, family, text, &options, request.verbose).map_err(Failure::RuleFile)?;
        if let Some(ended) = &applied.ended {
            // The table that was open is not to change, but to be in use.
            rules = self.rules(family)?;
            let text = ended.committed(text);
            restore_to(&mut rules, family, text, &options, request.verbose).map_err(Failure::RuleFile)?;
            rules.table_mut(ended.table);
        }
        let refuse = |(id, why)| match why {
            Unloadable::Refused(load, line) => {
                let commit = rules.table(id).map_or(0, |table| table.commit_line);
                let line = Some(line).filter(|line| *line != 0);
                let (notices, report) = (applied.notices.clone(), applied.report.clone());
                let refused = refused(family, request.file, commit, line, &load);
                Failure::RuleFile(Box::new(RuleFileError { notices, report, ..refused }))
            }
            Unloadable::Unreadable(why) => self.failure(&why),
        };
        // With -t the kernel, which would look at the rules together, is not asked.
        if !request.test {
            self.check(&rules, &applied.tables).map_err(refuse)?;
            self.keep(rules)?;
        }
        Ok(Told { notices: applied.notices, report: applied.report, ended: applied.ended })
    }

    fn save(&mut self, family: Family, options: &SaveOptions<'_>) -> Result<String, Failure> {
        let rules = self.rules(family)?;
        let mut out = String::new();
        for table in rules.tables.iter().rev().filter(|t| options.table.is_none_or(|only| only == t.id())) {
            save_table(&mut out, table, options).map_err(|why| self.failure(&why))?;
        }
        Ok(out)
    }

    fn list_rules(&mut self, family: Family, options: &ListOptions<'_>) -> Result<String, Failure> {
        let mut rules = self.rules(family)?;
        let mut out = String::new();
        list_table(&mut out, rules.table_mut(options.table), options).map_err(|why| self.failure(&why))?;
        Ok(out)
    }

    fn show(&mut self, family: Family, options: &ShowOptions<'_>) -> Result<String, Failure> {
        let mut rules = self.rules(family)?;
        let table = rules.table_mut(options.list.table);
        let wanted = |name: &str| options.list.chain.is_none_or(|only| only == name);
        let value = table.value(wanted, &self.names).map_err(|why| self.failure(&why))?;
        let mut out = String::new();
        for chain in value.chains.iter().filter(|c| wanted(&c.name)) {
            if !out.is_empty() {
                out.push('\n');
            }
            // Writing to a String cannot fail.
            let _ = write_chain(&mut out, family, chain, table.references(&chain.name), options, &self.names);
        }
        Ok(out)
    }
}

/// Whether there is such a file and it may be written to.
fn is_writable(path: &Path) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

/// The sets that a saved rule names.
fn sets_named(rule: &str) -> Vec<String> {
    if !rule.contains("-set ") {
        return Vec::new();
    }
    let words = hairpin_ruleset::words::split(rule).unwrap_or_default();
    let words: Vec<&str> = words.iter().map(|word| &*word.text).collect();
    let is_option = |word: &str| matches!(word, "--match-set" | "--add-set" | "--del-set" | "--map-set");
    words.windows(2).filter(|pair| is_option(pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// Fills an empty table with a value.
fn fill(stored: &mut StoredTable, table: Table) -> Result<(), String> {
    for chain in &table.chains {
        if stored.find(&chain.name).is_none() {
            stored.create(&chain.name);
        }
    }
    for chain in table.chains {
        let at = stored.find(&chain.name).unwrap_or_default();
        if let Some(policy) = chain.policy {
            stored.set_policy(at, policy, chain.counter);
        }
        for (place, rule) in chain.rules.into_iter().enumerate() {
            stored.insert(at, place, rule, &Origin::default())?;
        }
    }
    Ok(())
}

/// As [`hairpin_ruleset::save::save`] writes it, from the text that is kept.
fn save_table(out: &mut String, table: &StoredTable, options: &SaveOptions<'_>) -> io::Result<()> {
    // Writing to a String cannot fail.
    if let Some((program, time)) = options.comments {
        let _ = writeln!(out, "# Generated by {program} on {time}");
    }
    let _ = writeln!(out, "*{}", table.id());
    let chains = table.in_order();
    for chain in &chains {
        let _ = match chain.policy {
            Some(policy) => {
                writeln!(out, ":{} {policy} [{}:{}]", chain.name, chain.counter.packets, chain.counter.bytes)
            }
            None => writeln!(out, ":{} - [0:0]", chain.name),
        };
    }
    for chain in &chains {
        table.each(chain, |record| {
            if options.counters {
                let _ = write!(out, "[{}:{}] ", record.counter.packets, record.counter.bytes);
            }
            for part in ["-A ", &chain.name, record.text, "\n"] {
                out.push_str(part);
            }
            Ok(())
        })?;
    }
    out.push_str("COMMIT\n");
    if let Some((_, time)) = options.comments {
        let _ = writeln!(out, "# Completed on {time}");
    }
    Ok(())
}

/// As [`hairpin_ruleset::list::list_rules`] writes it, from the text that is kept.
fn list_table(out: &mut String, table: &StoredTable, options: &ListOptions<'_>) -> io::Result<()> {
    let mut chains = table.in_order();
    chains.retain(|chain| options.chain.is_none_or(|only| only == chain.name));
    for chain in chains.iter().filter(|_| options.rule.is_none()) {
        let counter = match chain.policy {
            Some(_) if options.counters => format!(" -c {} {}", chain.counter.packets, chain.counter.bytes),
            _ => String::new(),
        };
        let _ = match chain.policy {
            Some(policy) => writeln!(out, "-P {} {policy}{counter}", chain.name),
            None => writeln!(out, "-N {}", chain.name),
        };
    }
    for chain in chains {
        let mut number = 0;
        table.each(chain, |record| {
            number += 1;
            if options.rule.is_some_and(|only| only != number) {
                return Ok(());
            }
            let (tests, target) = record.halves();
            let _ = write!(out, "-A {}{tests}", chain.name);
            if options.counters {
                let _ = write!(out, " -c {} {}", record.counter.packets, record.counter.bytes);
            }
            let _ = writeln!(out, "{target}");
            Ok(())
        })?;
    }
    Ok(())
}
