//! Rule files, as iptables-save writes and iptables-restore reads them.

use crate::apply::{Editor, apply_to};
use crate::chains::{Chains, ValueChains};
use crate::command::{self, Command, CommandError, Context, MAX_NAME, Verb, restore_program, standard_action};
use crate::error::{Refusal, RuleFileError};
use crate::list::{ListOptions, list_rules};
use crate::show::{ShowOptions, show};
use crate::suggest;
use crate::words::{self, Word};
use hairpin_engine::rule::{Counter, LoadError, Ruleset, Table, TableId};
use hairpin_wire::Family;
use hairpin_xt::option::{Names, SyntaxError};
use std::borrow::Cow;

/// How to read a rule file.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOptions<'a> {
    /// What messages call the file.
    pub file: &'a str,
    /// `-c`: set the counters too.
    pub counters: bool,
    /// `-n`: change what is there; else each table in the file begins without rules and without own chains.
    pub noflush: bool,
    /// `-T`: only this table.
    pub table: Option<&'a str>,
    /// What names in rules stand for.
    pub names: &'a dyn Names,
}

/// A rule file that was read without fault.
#[derive(Debug)]
pub struct Restored {
    /// The rule set that the file makes of the one it began with.
    pub ruleset: Ruleset,
    /// The tables in the file, in its order.
    pub tables: Vec<TableId>,
    /// Lines for stderr that are no errors.
    pub notices: Vec<String>,
    /// What `-v` says.
    pub report: String,
    /// The line that ended the reading.
    pub ended: Option<Ended>,
    file: String,
    lines: Vec<TableLines>,
}

/// Where a table's rules come from.
#[derive(Debug)]
struct TableLines {
    table: TableId,
    commit: usize,
    /// For each chain of the result its name and, for each rule, the line; 0 for rules that were there before.
    chains: Vec<(String, Vec<usize>)>,
}

impl Restored {
    /// The line of a rule (from 1) of a chain, when it came from the file.
    pub fn line(&self, table: TableId, chain: &str, rule: usize) -> Option<usize> {
        let lines = self.lines.iter().rev().find(|t| t.table == table)?;
        let (_, rules) = lines.chains.iter().find(|(name, _)| name == chain)?;
        rules.get(rule.checked_sub(1)?).copied().filter(|line| *line != 0)
    }

    /// The refusal of the result by the engine, which checks as the kernel does, in iptables-restore's words. iptables-restore
    /// names the line of the `COMMIT`; this names the rule's when it is in the file.
    pub fn refused(&self, why: &LoadError) -> RuleFileError {
        let commit = self.lines.iter().rev().find(|t| t.table == why.table).map_or(0, |t| t.commit);
        let line = self.line(why.table, &why.chain, why.rule);
        let (notices, report) = (self.notices.clone(), self.report.clone());
        RuleFileError { notices, report, ..refused(self.ruleset.family, &self.file, commit, line, why) }
    }
}

/// The refusal of a table that a rule file made, in iptables-restore's words, which names the line of the `COMMIT`. `line` is the
/// rule's, when it is in the file.
pub fn refused(family: Family, file: &str, commit: usize, line: Option<usize>, why: &LoadError) -> RuleFileError {
    let refusal = Refusal::from(why);
    RuleFileError {
        file: file.to_owned(),
        line: line.unwrap_or(commit),
        column: 1,
        program: restore_program(family),
        code: 1,
        message: format!("line {commit} failed: {}", refusal.error.message),
        bare: true,
        word: None,
        hint: refusal.hint,
        notices: Vec::new(),
        report: String::new(),
    }
}

/// Reads a rule file onto a rule set. The given one is not touched.
///
/// # Errors
/// The first fault, as iptables-restore finds it. No table is changed then, not even one that was committed on an earlier
/// line.
pub fn restore(base: &Ruleset, text: &[u8], options: &RestoreOptions<'_>) -> Result<Restored, Box<RuleFileError>> {
    restore_reporting(base, text, options, false)
}

/// As [`restore`]; `verbose` is `-v`: what is done is noted, not only what lines with a `-v` of their own do.
///
/// # Errors
/// As [`restore`].
pub fn restore_reporting(
    base: &Ruleset,
    text: &[u8],
    options: &RestoreOptions<'_>,
    verbose: bool,
) -> Result<Restored, Box<RuleFileError>> {
    let mut values = Values { ruleset: base.clone(), lines: Vec::new() };
    let applied = restore_to(&mut values, base.family, text, options, verbose)?;
    let Values { mut ruleset, lines } = values;
    let Applied { mut tables, notices, report, ended } = applied;
    if let Some(opened) = ended.as_ref().map(|ended| ended.table) {
        ruleset.table_mut(opened);
        tables.push(opened);
    }
    Ok(Restored { ruleset, tables, notices, report, ended, file: options.file.to_owned(), lines })
}

/// Tables as a rule file changes them, however they are kept.
pub trait Tables {
    /// One of them.
    type Chains: Chains;

    /// Takes a table out to be changed; one that is not in use comes as it is used first.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&mut self, id: TableId) -> Result<Self::Chains, String>;

    /// Puts a changed table back. The number is that of its `COMMIT` line.
    fn commit(&mut self, chains: Self::Chains, line: usize);
}

/// What a rule file did.
#[derive(Debug)]
pub struct Applied {
    /// The tables in the file, in its order.
    pub tables: Vec<TableId>,
    /// Lines for stderr that are no errors.
    pub notices: Vec<String>,
    /// What `-v` says.
    pub report: String,
    /// The line that ended the reading.
    pub ended: Option<Ended>,
}

/// A line with `-h` or `-V`: what was committed above it counts, and nothing below it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`Verb::Help`] or [`Verb::Version`].
    pub verb: Verb,
    /// The table it stands in, which was opened and is not committed.
    pub table: TableId,
    /// The last line before it that no table was open on.
    pub committed: usize,
}

impl Ended {
    /// The lines that count.
    pub fn committed<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let lines = text.split_inclusive(|byte| *byte == b'\n').take(self.committed);
        &text[..lines.map(<[u8]>::len).sum()]
    }
}

/// Reads a rule file onto tables. `verbose` is `-v`.
///
/// # Errors
/// The first fault, as iptables-restore finds it. The tables may be changed in part then and must be thrown away.
pub fn restore_to<T: Tables>(
    tables: &mut T,
    family: Family,
    text: &[u8],
    options: &RestoreOptions<'_>,
    verbose: bool,
) -> Result<Applied, Box<RuleFileError>> {
    let mut reader = Reader {
        options,
        family,
        target: tables,
        current: None,
        skipped_table: String::new(),
        tables: Vec::new(),
        notices: Vec::new(),
        // With --noflush it is silent.
        verbose: verbose && !options.noflush,
        comments: verbose,
        report: String::new(),
    };
    // Bytes that are no UTF-8 can only stand in free texts such as comments; they become replacement characters.
    let text = String::from_utf8_lossy(text);
    let (mut number, mut committed) = (0, 0);
    for line in text.split_inclusive('\n') {
        number += 1;
        // For iptables-restore, a zero byte is where the line ends.
        let line = line.find('\0').and_then(|end| line.get(..end)).unwrap_or(line);
        let ending = reader.line(number, line).map_err(|fault| Box::new(reader.error(number, line, fault)))?;
        if let Some((verb, table)) = ending.and_then(|verb| Some((verb, reader.current.as_ref()?.0))) {
            let Reader { tables, notices, report, .. } = reader;
            return Ok(Applied { tables, notices, report, ended: Some(Ended { verb, table, committed }) });
        }
        if reader.current.is_none() {
            committed = number;
        }
    }
    if reader.current.is_some() {
        let mut fault = Fault::bare(1, format!("COMMIT expected at line {}", number + 1));
        fault.hint = Some("each table ends with a line COMMIT".to_owned());
        return Err(Box::new(reader.error(number + 1, "", fault)));
    }
    Ok(Applied { tables: reader.tables, notices: reader.notices, report: reader.report, ended: None })
}

/// Tables as values.
struct Values {
    ruleset: Ruleset,
    lines: Vec<TableLines>,
}

impl Tables for Values {
    type Chains = ValueChains;

    fn open(&mut self, id: TableId) -> Result<ValueChains, String> {
        let table = self.ruleset.table(id).cloned().unwrap_or_else(|| Table::new(id));
        Ok(ValueChains::new(self.ruleset.family, table))
    }

    fn commit(&mut self, chains: ValueChains, line: usize) {
        let (table, lines) = chains.finish();
        let chains = table.chains.iter().map(|c| c.name.clone()).zip(lines).collect();
        self.lines.push(TableLines { table: table.id, commit: line, chains });
        let id = table.id;
        *self.ruleset.table_mut(id) = table;
    }
}

/// What is wrong with a line.
struct Fault {
    error: SyntaxError,
    /// The byte of the line.
    start: Option<usize>,
    hint: Option<String>,
}

impl Fault {
    fn bare(code: u8, message: String) -> Fault {
        let error = SyntaxError { code, bare: true, ..SyntaxError::parameter(message) };
        Fault { error, start: None, hint: None }
    }
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Fault {
        Fault { error, start: None, hint: None }
    }
}

struct Reader<'a, T: Tables> {
    options: &'a RestoreOptions<'a>,
    family: Family,
    target: &'a mut T,
    /// The table between its `*` line and its `COMMIT`.
    current: Option<(TableId, T::Chains)>,
    /// The table that `-T` passes over.
    skipped_table: String,
    tables: Vec<TableId>,
    notices: Vec<String>,
    /// `-v`: what is done is noted.
    verbose: bool,
    /// `-v`: comments are repeated.
    comments: bool,
    report: String,
}

impl<T: Tables> Reader<'_, T> {
    /// The verb of the line, when it ends the reading.
    fn line(&mut self, number: usize, line: &str) -> Result<Option<Verb>, Fault> {
        if line == "\n" || line.starts_with('#') {
            if self.comments && line != "\n" {
                self.report.push_str(line);
            }
            return Ok(None);
        }
        let Some((table, chains)) = &mut self.current else { return self.outside(number, line).map(|()| None) };
        if line == "COMMIT\n" {
            self.commit(number);
            return Ok(None);
        }
        if let Some(rest) = line.strip_prefix(':') {
            return chain_line(chains, self.options, number, rest).map(|()| None);
        }
        let table = *table;
        let context = Context { family: self.family, names: self.options.names, table, restore: true };
        let said = Said { notices: &mut self.notices, report: &mut self.report, verbose: self.verbose };
        rule_line(chains, &context, self.options.counters, number, line, said)
    }

    fn outside(&mut self, number: usize, line: &str) -> Result<(), Fault> {
        let program = restore_program(self.family);
        if let Some(rest) = line.strip_prefix('*') {
            let Some(name) = fields(rest).next() else {
                let message = format!("{program}: line {number} table name invalid");
                return Err(SyntaxError::parameter(message).into());
            };
            if self.options.table.is_some_and(|only| only != name) {
                self.skipped_table = name.to_owned();
                return Ok(());
            }
            self.skipped_table.clear();
            let Some(id) = TableId::from_name(name) else {
                let message = format!("{program}: unable to initialize table '{name}'");
                let error = SyntaxError::parameter(message).at(name);
                let known = TableId::ALL.map(TableId::name);
                let hint =
                    suggest::nearest(name, known).unwrap_or_else(|| format!("the tables are {}", known.join(", ")));
                return Err(Fault { error, start: Some(1), hint: Some(hint) });
            };
            let mut chains = self.target.open(id).map_err(|why| Fault::bare(4, why))?;
            if !self.options.noflush {
                if self.verbose {
                    let editor = Editor { chains: &mut chains };
                    editor.report_chains("Flushing", None, &mut self.report);
                    editor.report_chains("Deleting", None, &mut self.report);
                }
                chains.reset();
            }
            self.current = Some((id, chains));
            return Ok(());
        }
        // With -T, lines before and in other tables do not count.
        if self.options.table.is_some_and(|only| only != self.tables.last().map_or("", |t| t.name()))
            || !self.skipped_table.is_empty()
        {
            return Ok(());
        }
        let mut fault = Fault::bare(1, format!("line {number} failed"));
        fault.hint = Some("a line before any `*TABLE', or after its COMMIT, has no table".to_owned());
        Err(fault)
    }

    fn commit(&mut self, number: usize) {
        let Some((id, chains)) = self.current.take() else { return };
        self.target.commit(chains, number);
        self.tables.push(id);
    }

    fn error(&self, number: usize, line: &str, fault: Fault) -> RuleFileError {
        let start = fault.start.unwrap_or(0);
        // Nobody sees these in an editor, so they are the better remedy.
        let unseen = if line.ends_with("\r\n") {
            Some("the line ends with a carriage return: the file has the line ends of Windows".to_owned())
        } else if line.starts_with('\u{feff}') {
            Some("the file begins with a byte order mark".to_owned())
        } else {
            None
        };
        RuleFileError {
            file: self.options.file.to_owned(),
            line: number,
            column: line.get(..start).map_or(0, |before| before.chars().count()) + 1,
            program: restore_program(self.family),
            code: fault.error.code,
            message: fault.error.message,
            bare: fault.error.bare,
            word: fault.error.word.filter(|w| !w.is_empty()),
            hint: unseen.or(fault.hint),
            notices: self.notices.clone(),
            report: self.report.clone(),
        }
    }
}

/// The parts of a `*` or `:` line.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', '\n']).filter(|field| !field.is_empty())
}

/// `:CHAIN POLICY [PACKETS:BYTES]`, without the colon.
fn chain_line(chains: &mut impl Chains, options: &RestoreOptions<'_>, number: usize, rest: &str) -> Result<(), Fault> {
    let program = restore_program(chains.family());
    let mut editor = Editor { chains };
    let mut fields = fields(rest);
    let Some(name) = fields.next() else {
        return Err(SyntaxError::parameter(format!("{program}: line {number} chain name invalid")).into());
    };
    let place = |text: &str| Some(1 + (text.as_ptr() as usize).saturating_sub(rest.as_ptr() as usize));
    if name.len() > MAX_NAME {
        let error = SyntaxError::parameter(format!("Invalid chain name `{name}' ({MAX_NAME} chars max)")).at(name);
        return Err(Fault { error, start: place(name), hint: None });
    }
    if !editor.is_built_in(name) {
        let there = editor.chains.find(name).filter(|_| options.noflush);
        if let Some(at) = there {
            editor.chains.clear(at);
        } else if standard_action(name).is_some() || editor.create(name).is_err() {
            let error = SyntaxError::parameter(format!("error creating chain '{name}':File exists")).at(name);
            let hint = match standard_action(name) {
                Some(_) => "it is the name of a verdict",
                None => "the chain is declared twice",
            };
            return Err(Fault { error, start: place(name), hint: Some(hint.to_owned()) });
        }
    }
    let Some(policy) = fields.next() else {
        let error = SyntaxError::parameter(format!("{program}: line {number} policy invalid"));
        let hint = Some(format!("write `:{name} - [0:0]', or a policy ACCEPT or DROP for a built-in chain"));
        return Err(Fault { error, start: place(name), hint });
    };
    if policy == "-" {
        return Ok(());
    }
    let written = fields.next();
    let given = written.and_then(parse_counters);
    // Without -c they do not count, but what stands there must be counters.
    if given.is_none() && (options.counters || written.is_some()) {
        let error = SyntaxError::parameter(format!("invalid policy counters for chain '{name}'"));
        return Err(Fault { error, start: place(policy), hint: Some("write [PACKETS:BYTES]".to_owned()) });
    }
    let counter = given.filter(|_| options.counters).unwrap_or_default();
    editor.set_policy(name, policy, counter).map_err(|refusal| {
        let why = refusal.error.message;
        let message = format!("Can't set policy `{policy}' on `{name}' line {number}: {why}");
        Fault { error: SyntaxError::other(message).at(policy), start: place(policy), hint: refusal.hint }
    })
}

/// `[PACKETS:BYTES]`.
fn parse_counters(text: &str) -> Option<Counter> {
    let (packets, rest) = text.strip_prefix('[')?.split_once(':')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(Counter { packets: packets.parse().ok()?, bytes: rest.get(..end)?.parse().ok()? })
}

/// What is said while lines are read.
struct Said<'a> {
    notices: &'a mut Vec<String>,
    report: &'a mut String,
    verbose: bool,
}

/// `[PACKETS:BYTES] -A CHAIN …`, or any other command.
fn rule_line(
    chains: &mut impl Chains,
    context: &Context<'_>,
    with_counters: bool,
    number: usize,
    line: &str,
    said: Said<'_>,
) -> Result<Option<Verb>, Fault> {
    let (counters, rest) = split_counters(number, line)?;
    let offset = (rest.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    let mut words = words::split(rest).map_err(|error| Fault { error, start: Some(offset), hint: None })?;
    let mut added = 0;
    if let Some((packets, bytes)) = counters.filter(|_| with_counters) {
        let word = |text| Word { text: Cow::Borrowed(text), start: 0 };
        words.splice(0..0, [word("--set-counters"), word(packets), word(bytes)]);
        added = 3;
    }
    let start = |at: Option<usize>| {
        let at = at?.checked_sub(added)?;
        words.get(at + added).map(|word| word.start + offset)
    };
    let mut command =
        command::parse_noting(context, &words, said.notices).map_err(|CommandError { error, word, hint }| {
            // At a word's end there is nothing to point at but the line's end.
            let start = start(word).or_else(|| word.map(|_| line.trim_end().len()));
            Fault { error, start, hint }
        })?;
    if said.verbose {
        command.verbose = 1;
    }
    if matches!(command.verb, Verb::List { .. } | Verb::ListRules { .. }) {
        let listing = listing(chains, context, &command).map_err(|why| Fault::bare(4, why))?;
        said.report.push_str(&listing);
    }
    if matches!(command.verb, Verb::Help { .. } | Verb::Version { .. }) {
        return Ok(Some(command.verb));
    }
    apply_to(chains, command, number, said.report).map_err(|refusal| {
        let target = || words.iter().position(|w| matches!(w.as_ref(), "-j" | "-g" | "--jump" | "--goto"));
        let at = if refusal.from_table { Some(added + 1) } else { target().map(|at| at + 1) };
        from_refusal(refusal, number, start(at))
    })?;
    Ok(None)
}

/// What `-L` or `-S` says of the table as it is on this line.
fn listing(chains: &mut impl Chains, context: &Context<'_>, command: &Command) -> Result<String, String> {
    let mut ruleset = Ruleset::new(context.family);
    ruleset.tables.push(chains.whole(context.names)?);
    let (Verb::List { chain, rule, .. } | Verb::ListRules { chain, rule, .. }) = &command.verb else {
        return Ok(String::new());
    };
    let list =
        ListOptions { table: context.table, chain: chain.as_deref(), rule: *rule, counters: command.verbose > 0 };
    Ok(match &command.verb {
        Verb::List { .. } => {
            let (numeric, exact, line_numbers) = (command.numeric, command.exact, command.line_numbers);
            show(&ruleset, &ShowOptions { list, numeric, exact, line_numbers }, context.names)
        }
        _ => list_rules(&ruleset, &list, &[]),
    })
}

/// Packets and bytes as written, if there; and the rest of the line.
type Counters<'a> = (Option<(&'a str, &'a str)>, &'a str);

/// The words of `[PACKETS:BYTES]` at the beginning of a line, and what follows it. Where the colon or the second bracket is not where
/// it belongs, iptables-restore takes the next one of the line, and the line ends there.
fn split_counters(number: usize, line: &str) -> Result<Counters<'_>, SyntaxError> {
    let Some(inside) = line.strip_prefix('[') else { return Ok((None, line)) };
    let need = |what| SyntaxError::parameter(format!("Bad line {number}: need {what}"));
    let close = inside.find(']').ok_or_else(|| need(']'))?;
    // Up to the separator, those before it passed over; and where that ended.
    let token = |from: usize, separator: char| {
        let start = from + inside[from..].find(|c| c != separator)?;
        Some((start, inside[start..].find(separator).map_or(inside.len(), |length| start + length)))
    };
    let (start, colon) = token(0, ':').ok_or_else(|| need(':'))?;
    let packets = &inside[start..colon];
    let (start, end) = token((colon + 1).min(inside.len()), ']').ok_or_else(|| need(']'))?;
    let bytes = &inside[start..end];
    let rest = [colon, end].into_iter().filter(|cut| *cut > close).min().unwrap_or(inside.len());
    Ok((Some((packets, bytes)), &inside[close + 1..rest]))
}

fn from_refusal(refusal: Refusal, number: usize, start: Option<usize>) -> Fault {
    if !refusal.from_table {
        return Fault { error: refusal.error, start, hint: refusal.hint };
    }
    let mut fault = Fault::bare(refusal.error.code, format!("line {number} failed: {}", refusal.error.message));
    fault.start = start;
    fault.hint = refusal.hint;
    fault
}
