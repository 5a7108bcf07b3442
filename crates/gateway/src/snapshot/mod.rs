//! Restart without forgetting: connections with their NAT, expectations, statistics, sets, rules and counters are kept in a file, every few
//! seconds and at the end, and taken up at the next start.
//!
//! A thread of its own writes; it asks the loop for some thousand connections at a time, so a table of millions costs no pause. What
//! was taken when is noted with each piece, by the clock that goes on through changes of the time of day as long as the machine
//! runs, and by the time of day for a restart of the machine.

mod codec;
mod file;
mod sets;

use crate::rules;
use crate::seam::{Attendant, Handle, Moment};
use codec::{Reader, Writer};
use file::{Damage, Kind, Writing};
use hairpin_engine::account::Account;
use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::rule::{Compiled, Counter, Ruleset, TableId};
use hairpin_engine::set::Sets;
use hairpin_engine::track::{ConnId, ExpectRecord, Key, ProtoState, Record, TrackStats};
use hairpin_engine::{Change, Now, Wall};
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::Family;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two snapshots, if the host file says nothing.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Places of the table looked at in one go: well under a millisecond.
const PLACES: u32 = 4096;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Keeps the state of the gateway in a file.
pub struct Snapshots {
    path: PathBuf,
    interval: Duration,
    /// Families whose rules come from files.
    has_rule_file: [bool; 2],
    /// Set when the last snapshot is being written: none may follow it.
    ended: Arc<Mutex<bool>>,
    /// The writer ends when it is dropped.
    writer: Option<Sender<()>>,
}

impl Snapshots {
    /// In this file, this often. Rules of families without a rule file go on after the gateway was killed.
    pub fn new(path: PathBuf, interval: Duration, has_rule_file: [bool; 2]) -> Snapshots {
        Snapshots { path, interval, has_rule_file, ended: Arc::default(), writer: None }
    }
}

impl Attendant for Snapshots {
    fn start(&mut self, moment: &mut Moment<'_>, handle: &Handle) -> io::Result<()> {
        match take_up(&self.path, moment, self.has_rule_file) {
            Ok(None) => {}
            Ok(Some(said)) => eprintln!("hairpin: {}: {said}", self.path.display()),
            Err(Damage::Io(why)) => return Err(io::Error::new(why.kind(), format!("{}: {why}", self.path.display()))),
            Err(damage) => {
                let aside = file::set_aside(&self.path)?;
                let (path, aside) = (self.path.display(), aside.display());
                eprintln!("hairpin: {path}: {damage}; it is set aside as {aside}, and the gateway starts without it");
            }
        }
        let (writer, orders) = channel();
        self.writer = Some(writer);
        let (path, interval, ended) = (self.path.clone(), self.interval, Arc::clone(&self.ended));
        let mut handle = handle.clone();
        std::thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
            let mut failing = false;
            while let Err(RecvTimeoutError::Timeout) = orders.recv_timeout(interval) {
                let may = || !*ended.lock().unwrap_or_else(PoisonError::into_inner);
                match write(&path, ".new", &mut handle, false, may) {
                    Ok(()) => failing = false,
                    // Said once, not every few seconds.
                    Err(why) if !std::mem::replace(&mut failing, true) => {
                        eprintln!("hairpin: {}: no snapshot could be written: {why}", path.display());
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(())
    }

    fn stop(&mut self, moment: &mut Moment<'_>) {
        if self.writer.take().is_none() {
            return;
        }
        // From here on the writer puts nothing in place any more.
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Err(why) = write(&self.path, ".last", moment, true, || true) {
            eprintln!("hairpin: {}: no snapshot could be written: {why}", self.path.display());
        }
    }
}

/// Where a snapshot is taken from: the loop at hand, or the way to it.
trait Source {
    /// Some connections from a place on, and where to go on.
    fn connections(&mut self, from: u32) -> io::Result<Piece>;
    /// Everything else.
    fn rest(&mut self) -> io::Result<Rest>;
}

struct Piece {
    now: Now,
    records: Vec<Record>,
    next: Option<u32>,
}

/// A rule's place, which of its matches, its numbers.
type Kept = Vec<(usize, usize, Vec<u64>)>;

struct Rest {
    now: Now,
    devices: Vec<(IfIndex, String)>,
    expectations: Vec<ExpectRecord>,
    stats: TrackStats,
    rules: [(Arc<Compiled>, [Vec<Counter>; 5]); 2],
    sets: Sets,
    accounts: Vec<Account>,
    /// By family and table: what matches want kept.
    kept: Vec<(usize, TableId, Kept)>,
}

impl Source for Moment<'_> {
    fn connections(&mut self, from: u32) -> io::Result<Piece> {
        let (found, next) = self.engine.state().tracker().records(self.now.mono, from, PLACES);
        Ok(Piece { now: self.now, records: found.into_iter().map(|(_, record)| record).collect(), next })
    }

    fn rest(&mut self) -> io::Result<Rest> {
        let state = self.engine.state();
        let tracker = state.tracker();
        let rules = |family| {
            let counters = TableId::ALL.map(|table| state.counters(family, table).to_vec());
            (Arc::clone(state.rules(family)), counters)
        };
        Ok(Rest {
            now: self.now,
            devices: state.net().interfaces.iter().map(|device| (device.index, device.name.to_string())).collect(),
            expectations: tracker.expect_records(self.now.mono).into_iter().map(|(_, record)| record).collect(),
            stats: tracker.stats,
            rules: FAMILIES.map(rules),
            sets: state.sets().clone(),
            accounts: state.accounts().iter().cloned().collect(),
            kept: (0..2)
                .flat_map(|family| TableId::ALL.map(|table| (family, table)))
                .map(|(family, table)| (family, table, state.kept(&self.now, FAMILIES[family], table)))
                .filter(|(.., kept)| !kept.is_empty())
                .collect(),
        })
    }
}

impl Source for Handle {
    fn connections(&mut self, from: u32) -> io::Result<Piece> {
        self.ask(move |moment| moment.connections(from)).map_err(io::Error::other)?
    }

    fn rest(&mut self) -> io::Result<Rest> {
        self.ask(|moment| moment.rest()).map_err(io::Error::other)?
    }
}

/// Writes a snapshot; it is put in place if that may still be.
fn write(
    path: &Path,
    suffix: &str,
    source: &mut impl Source,
    stopped: bool,
    may: impl FnOnce() -> bool,
) -> io::Result<()> {
    let rest = source.rest()?;
    let mut writing = Writing::begin(path, suffix)?;
    let mut head = Writer::default();
    clock(&mut head, &rest.now);
    head.bytes(boot_id().as_bytes());
    head.num(u64::from(stopped));
    head.num(rest.devices.len() as u64);
    for (index, name) in &rest.devices {
        head.num(index.0);
        head.bytes(name.as_bytes());
    }
    writing.section(Kind::Head, &head.0)?;
    let mut next = Some(0);
    while let Some(from) = next {
        let piece = source.connections(from)?;
        next = piece.next;
        if piece.records.is_empty() {
            continue;
        }
        let mut content = Writer::default();
        clock(&mut content, &piece.now);
        piece.records.iter().for_each(|record| content.record(record));
        writing.section(Kind::Connections, &content.0)?;
    }
    let mut content = Writer::default();
    clock(&mut content, &rest.now);
    rest.expectations.iter().for_each(|record| content.expectation(record));
    writing.section(Kind::Expectations, &content.0)?;
    let mut content = Writer::default();
    content.stats(&rest.stats);
    writing.section(Kind::Stats, &content.0)?;
    // Before the rules, which may name them.
    if !rest.sets.is_empty() {
        let text = sets::saved(&rest.sets, rest.now);
        for part in sets::in_parts(&text) {
            writing.section(Kind::Sets, part)?;
        }
    }
    let mut content = Writer::default();
    rest.accounts.iter().for_each(|account| content.account(account));
    writing.section(Kind::Accounts, &content.0)?;
    for (rules, counters) in &rest.rules {
        let ruleset = rules::with_counters(rules, counters);
        let text = save(&ruleset, &SaveOptions { counters: true, ..SaveOptions::default() }, |_| None);
        let mut content = Writer::default();
        content.num(if rules.family == Family::V4 { 4u64 } else { 6 });
        content.bytes(text.as_bytes());
        writing.section(Kind::Rules, &content.0)?;
    }
    for (family, table, kept) in &rest.kept {
        let Some(table) = rest.rules[*family].0.table(*table) else { continue };
        let mut content = Writer::default();
        content.num(*family as u64);
        content.bytes(table.id.name().as_bytes());
        for (place, nth, numbers) in kept {
            let Some(text) = rules::text_at(FAMILIES[*family], table, *place) else { continue };
            content.num(*place as u64);
            content.num(*nth as u64);
            content.bytes(text.as_bytes());
            content.num(numbers.len() as u64);
            numbers.iter().for_each(|number| content.num(*number));
        }
        writing.section(Kind::Memories, &content.0)?;
    }
    writing.finish(may)
}

fn clock(writer: &mut Writer, now: &Now) {
    writer.num(now.mono.0);
    writer.num(now.wall.0);
}

/// A name for this run of the machine: within one the monotonic clock goes on.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// What a snapshot's head says.
struct Head {
    boot_id: String,
    stopped: bool,
    /// Numbers of devices then, and their names.
    devices: Vec<(IfIndex, String)>,
}

fn read_head(content: &[u8]) -> Option<Head> {
    let mut reader = Reader(content);
    let _taken = read_clock(&mut reader)?;
    let boot_id = reader.text()?;
    let stopped = reader.num()? != 0;
    let count = reader.num()?;
    let mut devices = Vec::new();
    for _ in 0..count {
        devices.push((IfIndex(u32::try_from(reader.num()?).ok()?), reader.text()?));
    }
    Some(Head { boot_id, stopped, devices })
}

fn read_clock(reader: &mut Reader<'_>) -> Option<Now> {
    let mono = hairpin_engine::Instant(reader.num()?);
    Some(Now { mono, wall: Wall(reader.num()?) })
}

/// How long ago something was. A clock that was set back says: just now.
fn ago(then: &Now, now: &Now, same_boot: bool) -> Duration {
    Duration::from_nanos(match same_boot {
        true => now.mono.since(then.mono),
        false => now.wall.0.saturating_sub(then.wall.0),
    })
}

/// Takes up what a snapshot holds, after all of it was read once and found whole. What to say of it; None when there is none.
fn take_up(path: &Path, moment: &mut Moment<'_>, has_rule_file: [bool; 2]) -> Result<Option<String>, Damage> {
    if file::read(path, sections_make_sense)?.is_none() {
        return Ok(None);
    }
    let mut taking = Taking { moment, head: None, has_rule_file, masters: Vec::new(), taken: 0, ended: 0 };
    file::read(path, |kind, content| taking.section(kind, content))?;
    let Taking { moment, masters, taken, ended, .. } = taking;
    for (id, master) in masters {
        moment.engine.restore_master(&moment.now, id, &master);
    }
    Ok(Some(format!("{taken} connections go on, {ended} had ended")))
}

/// Whether these bytes are a whole snapshot.
///
/// # Errors
/// They are not; what is wrong with them.
pub fn check(mut bytes: &[u8]) -> Result<(), String> {
    file::read_from(&mut bytes, &mut sections_make_sense).map_err(|damage| damage.to_string())
}

fn sections_make_sense(kind: Kind, content: &[u8]) -> Option<()> {
    let mut reader = Reader(content);
    match kind {
        Kind::Head => read_head(content).map(|_| ()),
        Kind::Connections => {
            read_clock(&mut reader)?;
            while !reader.0.is_empty() {
                reader.record()?;
            }
            Some(())
        }
        Kind::Expectations => {
            read_clock(&mut reader)?;
            while !reader.0.is_empty() {
                reader.expectation()?;
            }
            Some(())
        }
        Kind::Stats => reader.stats().map(|_| ()),
        Kind::Rules => {
            reader.num()?;
            reader.text().map(|_| ())
        }
        Kind::Memories => read_memories(content, |_, _, _, _| ()),
        Kind::Accounts => {
            while !reader.0.is_empty() {
                reader.account()?;
            }
            Some(())
        }
        Kind::Sets | Kind::End => Some(()),
    }
}

/// A match's kept numbers: family and table, the rule's place and which match, the rule's text.
fn read_memories(content: &[u8], mut each: impl FnMut((Family, TableId), (usize, usize), &str, &[u64])) -> Option<()> {
    let mut reader = Reader(content);
    let family = *FAMILIES.get(usize::try_from(reader.num()?).ok()?)?;
    let table = TableId::from_name(&reader.text()?)?;
    while !reader.0.is_empty() {
        let mut place = || usize::try_from(reader.num()?).ok();
        let place = (place()?, place()?);
        let text = reader.text()?;
        let count = reader.num()?;
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(reader.num()?);
        }
        each((family, table), place, &text, &numbers);
    }
    Some(())
}

struct Taking<'m, 'e> {
    moment: &'m mut Moment<'e>,
    head: Option<Head>,
    has_rule_file: [bool; 2],
    masters: Vec<(ConnId, Key)>,
    taken: usize,
    ended: usize,
}

impl Taking<'_, '_> {
    fn section(&mut self, kind: Kind, content: &[u8]) -> Option<()> {
        let mut reader = Reader(content);
        match kind {
            Kind::Head => self.head = Some(read_head(content)?),
            Kind::Connections => {
                let gone = self.gone(&mut reader)?;
                while !reader.0.is_empty() {
                    let record = reader.record()?;
                    self.connection(record, gone);
                }
            }
            Kind::Expectations => {
                let gone = self.gone(&mut reader)?;
                while !reader.0.is_empty() {
                    let record = reader.expectation()?;
                    // One that ran out, or whose master did, is let go.
                    let _ = self.moment.engine.restore_expectation(&self.moment.now, &record, gone);
                }
            }
            Kind::Stats => self.moment.engine.restore_stats(reader.stats()?),
            Kind::Rules => {
                let family = if reader.num()? == 4 { Family::V4 } else { Family::V6 };
                self.rules(family, &reader.text()?);
            }
            Kind::Sets => self.sets(content),
            Kind::Accounts => {
                while !reader.0.is_empty() {
                    self.moment.engine.take_up_account(reader.account()?);
                }
            }
            Kind::Memories => self.memories(content)?,
            Kind::End => {}
        }
        Some(())
    }

    /// Limits, quotas and rounds go on where the rule is the same as it was.
    fn memories(&mut self, content: &[u8]) -> Option<()> {
        let now = self.moment.now;
        let engine = &mut *self.moment.engine;
        read_memories(content, |(family, table), place, text, numbers| {
            let rules = Arc::clone(engine.state().rules(family));
            if rules.table(table).and_then(|table| rules::text_at(family, table, place.0)).as_deref() == Some(text) {
                engine.take_up_memory(&now, family, table, place, numbers);
            }
        })
    }

    /// Sets go on, and rules that were read before them find them now.
    fn sets(&mut self, text: &[u8]) {
        let now = self.moment.now;
        if let Err(why) = sets::take_up(self.moment.engine, now, text) {
            eprintln!("hairpin: some sets of the snapshot could not be taken up, the first: {why}");
        }
        for family in FAMILIES {
            let state = self.moment.engine.state();
            let counters = TableId::ALL.map(|table| state.counters(family, table).to_vec());
            let ruleset = rules::with_counters(state.rules(family), &counters);
            if let Ok(rules) = Compiled::new(ruleset) {
                let _ = self.moment.engine.apply(&now, Change::Rules(Arc::new(rules)));
            }
        }
    }

    fn gone(&self, reader: &mut Reader<'_>) -> Option<Duration> {
        let then = read_clock(reader)?;
        let same_boot = self.head.as_ref()?.boot_id == boot_id();
        Some(ago(&then, &self.moment.now, same_boot))
    }

    fn connection(&mut self, mut record: Record, gone: Duration) {
        let net = Arc::clone(self.moment.engine.state().net());
        if let Some(device) = record.masquerade {
            match self.device_now(&net, device) {
                // As when an address goes away while the gateway runs.
                Some(device) if has_address(&net, device, &record) => record.masquerade = Some(device),
                _ => {
                    self.ended += 1;
                    return;
                }
            }
        }
        // The ends talked on meanwhile.
        if let ProtoState::Tcp(track) = &mut record.proto {
            track.forget_windows();
        }
        match self.moment.engine.restore_conn(&self.moment.now, &record, gone) {
            Ok(id) => {
                self.taken += 1;
                self.masters.extend(record.master.map(|master| (id, master)));
            }
            Err(_) => self.ended += 1,
        }
    }

    /// The number that a device of the snapshot has now.
    fn device_now(&self, net: &Net, then: IfIndex) -> Option<IfIndex> {
        let (_, name) = self.head.as_ref()?.devices.iter().find(|(index, _)| *index == then)?;
        net.interfaces.iter().find(|device| device.name.to_string() == *name).map(|device| device.index)
    }

    /// Rules without a file go on if the gateway was killed; counters go on where rules are the same as they were.
    fn rules(&mut self, family: Family, text: &str) {
        let names = crate::names::of_system();
        let options =
            RestoreOptions { file: "the snapshot", counters: true, noflush: false, table: None, names: &names };
        let Ok(restored) = restore(&Ruleset::new(family), text.as_bytes(), &options) else { return };
        let was = restored.ruleset;
        let stopped = self.head.as_ref().is_none_or(|head| head.stopped);
        if !stopped && !self.has_rule_file[usize::from(family == Family::V6)] {
            if let Ok(rules) = Compiled::new(was) {
                let _ = self.moment.engine.apply(&self.moment.now, Change::Rules(Arc::new(rules)));
            }
            return;
        }
        let is = Arc::clone(self.moment.engine.state().rules(family));
        for table in is.tables() {
            let Some(then) = was.table(table.id) else { continue };
            let now = self.moment.engine.state().counters(family, table.id).to_vec();
            let more = rules::counted_before(family, table, then, &now);
            self.moment.engine.add_counters(family, table.id, &more);
        }
    }
}

/// Whether a connection that MASQUERADE bound to a device still has one of its addresses.
fn has_address(net: &Net, device: IfIndex, record: &Record) -> bool {
    let reply = &record.tuples[1];
    let addresses = net.interface(device).map_or(&[][..], |device| &device.addresses);
    addresses.iter().any(|a| a.family == reply.family && a.addr == reply.dst)
}
