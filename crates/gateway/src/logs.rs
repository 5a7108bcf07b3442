//! Lines of LOG and packets of NFLOG, to where the host file wants them.
//!
//! ```toml
//! [log]
//! to = "stderr"          # or "none", "journal", or a file, which is appended to and opened anew when it was moved away
//! rate = 1000            # lines a second; what is more is left out and counted
//!
//! [[nflog]]              # packets of -j NFLOG --nflog-group 5 as pcap (link type 239), for tcpdump and Wireshark
//! group = 5
//! file = "dropped.pcap"
//! max_bytes = 100000000  # then it becomes dropped.pcap.1, and a new one begins
//! ```
//!
//! The loop only puts lines and packets into a queue that is bounded; a thread writes them. When the disk is slow, they are lost, and
//! packets are not. A changed host file (SIGHUP) opens and closes; what stays in it stays open.

use crate::host_file::{Live, LogTo, NflogFile};
use crate::seam::{Attendant, Handle, Moment};
use hairpin_engine::event::NflogPacket;
use hairpin_engine::{Engine, Event, Instant, Now, Wall};
use hairpin_wire::{Family, pcapng};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines and packets that wait to be written.
const MAX_WAITING: usize = 8192;
/// Bytes of packets that wait to be written.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// Lines of LOG in a second when the host file says nothing.
pub const RATE: u32 = 1000;
/// Bytes of a file of NFLOG when the host file says nothing.
pub const MAX_BYTES: u64 = 256 << 20;
/// Where systemd's journal takes messages.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// What was written and what was not.
#[derive(Debug, Default)]
pub struct LogNumbers {
    /// Lines and packets written.
    pub written: AtomicU64,
    /// Those left out: over the rate, or the disk was too slow.
    pub left_out: AtomicU64,
    waiting_bytes: AtomicUsize,
}

enum Entry {
    Line { level: u8, text: String, wall: Wall },
    Packet { group: u16, bytes: Vec<u8>, wall: Wall },
}

/// What a changed host file asks for, open already. What is not here stays as it is.
struct Anew {
    lines: Option<Lines>,
    files: Vec<(NflogFile, Option<File>)>,
}

/// Writes logs beside the packets.
pub struct Logs {
    numbers: Arc<LogNumbers>,
    to: LogTo,
    nflog: Vec<NflogFile>,
    rate: f64,
    tokens: f64,
    filled: Instant,
    queue: Option<SyncSender<Entry>>,
    writer: Option<Writer>,
    thread: Option<JoinHandle<()>>,
    /// Opened for a changed file that is not in force yet.
    prepared: Option<(Live, Anew)>,
    /// Where the thread finds it once it is.
    anew: Arc<Mutex<Option<Anew>>>,
}

impl Logs {
    /// Opens everything that the host file names.
    ///
    /// # Errors
    /// A file or the journal cannot be opened; the text says which.
    pub fn open(live: &Live) -> io::Result<Logs> {
        let mut files = Vec::new();
        for wanted in &live.nflog {
            let file = Pcap::open(wanted)?;
            files.push(Pcap::begin(wanted, file).map_err(of_file(&wanted.file))?);
        }
        let lines = Lines::open(&live.log)?;
        let numbers = Arc::new(LogNumbers::default());
        let anew = Arc::default();
        let rate = f64::from(live.log_rate);
        let writer = Writer { lines, files, anew: Arc::clone(&anew), numbers: Arc::clone(&numbers), said: 0 };
        Ok(Logs {
            to: live.log.clone(),
            nflog: live.nflog.clone(),
            rate,
            tokens: rate,
            filled: Instant(0),
            queue: None,
            writer: Some(writer),
            thread: None,
            prepared: None,
            anew,
            numbers,
        })
    }

    /// What was written and left out.
    pub fn numbers(&self) -> Arc<LogNumbers> {
        Arc::clone(&self.numbers)
    }

    fn line(&mut self, level: u8, text: &str, now: &Now) {
        if self.to == LogTo::Nowhere {
            return;
        }
        let seconds = now.mono.since(self.filled) as f64 / 1e9;
        self.filled = now.mono;
        self.tokens = (self.tokens + seconds * self.rate).min(self.rate);
        if self.tokens < 1.0 {
            self.numbers.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tokens -= 1.0;
        self.put(Entry::Line { level, text: text.trim_end().to_owned(), wall: now.wall });
    }

    fn packet(&self, packet: &NflogPacket, now: &Now) {
        if !self.nflog.iter().any(|file| file.group == packet.group) {
            return;
        }
        let bytes = message(packet, now.wall);
        let before = self.numbers.waiting_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if before > MAX_WAITING_BYTES {
            self.numbers.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            self.numbers.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.put(Entry::Packet { group: packet.group, bytes, wall: now.wall });
    }

    fn put(&self, entry: Entry) {
        let Some(queue) = &self.queue else { return };
        if let Err(refused) = queue.try_send(entry) {
            self.numbers.left_out.fetch_add(1, Ordering::Relaxed);
            use std::sync::mpsc::TrySendError::{Disconnected, Full};
            if let Full(Entry::Packet { bytes, .. }) | Disconnected(Entry::Packet { bytes, .. }) = refused {
                self.numbers.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
        }
    }
}

impl Attendant for Logs {
    fn start(&mut self, _moment: &mut Moment<'_>, _handle: &Handle) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (queue, entries) = sync_channel(MAX_WAITING);
        self.queue = Some(queue);
        self.thread =
            Some(std::thread::Builder::new().name("logs".to_owned()).spawn(move || writer.write_all_of(&entries))?);
        Ok(())
    }

    fn events(&mut self, _engine: &Engine, now: &Now, events: &[Event]) {
        for event in events {
            match event {
                Event::Log { level, line } => self.line(*level, line, now),
                // Warnings, both.
                Event::Trace(line) | Event::Kernel(line) => self.line(4, line, now),
                Event::Nflog(packet) => self.packet(packet, now),
                _ => {}
            }
        }
    }

    fn prepare(&mut self, live: &Live) -> io::Result<()> {
        let lines = (live.log != self.to).then(|| Lines::open(&live.log)).transpose()?;
        let is_open = |wanted: &NflogFile| self.nflog.iter().any(|old| old.file == wanted.file);
        let open = |wanted: &NflogFile| (!is_open(wanted)).then(|| Pcap::open(wanted)).transpose();
        let files = live.nflog.iter().map(|wanted| Ok((wanted.clone(), open(wanted)?)));
        let files = files.collect::<io::Result<_>>()?;
        self.prepared = Some((live.clone(), Anew { lines, files }));
        Ok(())
    }

    fn settle(&mut self, in_force: bool) {
        let Some((live, anew)) = self.prepared.take().filter(|_| in_force) else { return };
        (self.to, self.nflog, self.rate) = (live.log, live.nflog, f64::from(live.log_rate));
        // What was opened for a file that another one followed at once: its lines are wanted, but not its captures.
        let mut waiting = self.anew.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.take();
        let files = anew.files.into_iter().map(|(wanted, file)| {
            let other = before.as_ref().and_then(|b| b.files.iter().find(|(old, _)| old.file == wanted.file));
            let file = file.or_else(|| other.and_then(|(_, file)| file.as_ref()?.try_clone().ok()));
            (wanted, file)
        });
        let files = files.collect();
        *waiting = Some(Anew { lines: anew.lines.or(before.and_then(|before| before.lines)), files });
    }

    fn stop(&mut self, _moment: &mut Moment<'_>) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where lines go.
enum Lines {
    Nowhere,
    /// With a level in front where the journal reads it.
    Stderr {
        has_level: bool,
    },
    Journal(UnixDatagram),
    File {
        path: PathBuf,
        file: BufWriter<File>,
        inode: u64,
    },
}

impl Lines {
    fn open(to: &LogTo) -> io::Result<Lines> {
        Ok(match to {
            LogTo::Nowhere => Lines::Nowhere,
            LogTo::Stderr => Lines::Stderr { has_level: std::env::var_os("JOURNAL_STREAM").is_some() },
            LogTo::Journal => {
                let connect = || {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(JOURNAL)?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                };
                let wrong = |why: io::Error| {
                    let text = format!("log: the journal at {JOURNAL}: {why}; name a file, or \"stderr\"");
                    io::Error::new(why.kind(), text)
                };
                Lines::Journal(connect().map_err(wrong)?)
            }
            LogTo::File(path) => Lines::of_file(path)?,
        })
    }

    fn of_file(path: &Path) -> io::Result<Lines> {
        let wrong = |why: io::Error| io::Error::new(why.kind(), format!("log: {}: {why}", path.display()));
        make_parent(path).map_err(wrong)?;
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(wrong)?;
        let inode = file.metadata().map_err(wrong)?.ino();
        Ok(Lines::File { path: path.to_owned(), file: BufWriter::new(file), inode })
    }

    fn write(&mut self, level: u8, text: &str, wall: Wall) -> io::Result<()> {
        match self {
            Lines::Nowhere => Ok(()),
            Lines::Stderr { has_level } => {
                let mut out = io::stderr().lock();
                if *has_level { writeln!(out, "<{level}>{text}") } else { writeln!(out, "{text}") }
            }
            Lines::Journal(socket) => {
                let message = format!("PRIORITY={level}\nSYSLOG_IDENTIFIER=hairpin\nMESSAGE={text}\n");
                socket.send(message.as_bytes()).map(|_| ())
            }
            Lines::File { file, .. } => writeln!(file, "{} {text}", date(wall)),
        }
    }

    /// What is in memory is written; a file that was moved away is opened anew.
    fn flush(&mut self) {
        let Lines::File { path, file, inode } = self else { return };
        let _ = file.flush();
        let is_there = std::fs::metadata(&*path).is_ok_and(|there| there.ino() == *inode);
        if !is_there && let Ok(new) = Lines::of_file(path) {
            *self = new;
        }
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::create_dir_all(parent),
        _ => Ok(()),
    }
}

/// `2026-11-26T14:22:01.123456Z`.
fn date(wall: Wall) -> String {
    let (seconds, micros) = (wall.0 / 1_000_000_000, wall.0 / 1000 % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted from the first of March of the year 0, so that leap days stand at the ends of years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

fn of_file(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |why| io::Error::new(why.kind(), format!("nflog: {}: {why}", path.display()))
}

/// Bytes before a capture's first packet.
const HEADER: u64 = 24;

/// A capture of one group.
struct Pcap {
    group: u16,
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
    max_bytes: u64,
    /// It could not be written, and that was said.
    failing: bool,
}

impl Pcap {
    /// Opens the file; what is in it stays until [`Pcap::begin`].
    fn open(wanted: &NflogFile) -> io::Result<File> {
        let open = || {
            make_parent(&wanted.file)?;
            OpenOptions::new().write(true).create(true).truncate(false).open(&wanted.file)
        };
        open().map_err(of_file(&wanted.file))
    }

    fn begin(wanted: &NflogFile, file: File) -> io::Result<Pcap> {
        let NflogFile { group, file: path, max_bytes } = wanted.clone();
        Ok(Pcap { group, path, file: Pcap::header(file)?, written: HEADER, max_bytes, failing: false })
    }

    fn header(file: File) -> io::Result<BufWriter<File>> {
        file.set_len(0)?;
        let mut file = BufWriter::new(file);
        for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 262_144, u32::from(pcapng::NFLOG)] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(file)
    }

    fn write(&mut self, bytes: &[u8], wall: Wall) -> io::Result<()> {
        if self.written > self.max_bytes {
            self.file.flush()?;
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            self.file = Pcap::header(File::create(&self.path)?)?;
            self.written = HEADER;
        }
        let length = bytes.len() as u32;
        for word in [(wall.0 / 1_000_000_000) as u32, (wall.0 / 1000 % 1_000_000) as u32, length, length] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.written += u64::from(length) + 16;
        self.file.write_all(bytes)
    }
}

/// The thread's side.
struct Writer {
    lines: Lines,
    files: Vec<Pcap>,
    anew: Arc<Mutex<Option<Anew>>>,
    numbers: Arc<LogNumbers>,
    /// How many that were left out were told.
    said: u64,
}

impl Writer {
    fn write_all_of(mut self, entries: &Receiver<Entry>) {
        loop {
            match entries.recv_timeout(Duration::from_millis(500)) {
                Ok(entry) => {
                    self.take_up();
                    self.write(&entry);
                    // What waits already is written with it.
                    while let Ok(entry) = entries.try_recv() {
                        self.write(&entry);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.take_up(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            }
            self.flush();
        }
    }

    /// What a changed host file asks for.
    fn take_up(&mut self) {
        let Some(anew) = self.anew.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.flush();
        if let Some(lines) = anew.lines {
            self.lines = lines;
        }
        let mut old = std::mem::take(&mut self.files);
        for (wanted, file) in anew.files {
            let stays = old.iter().position(|old| old.path == wanted.file).map(|at| old.swap_remove(at));
            let opened = match (stays, file) {
                (Some(stays), _) => Ok(Pcap { group: wanted.group, max_bytes: wanted.max_bytes, ..stays }),
                (None, Some(file)) => Pcap::begin(&wanted, file),
                (None, None) => continue,
            };
            match opened {
                Ok(file) => self.files.push(file),
                Err(why) => eprintln!("hairpin: nflog: {}: {why}", wanted.file.display()),
            }
        }
    }

    fn write(&mut self, entry: &Entry) {
        let written = match entry {
            Entry::Line { level, text, wall } => self.lines.write(*level, text, *wall),
            Entry::Packet { group, bytes, wall } => {
                self.numbers.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                let Some(file) = self.files.iter_mut().find(|file| file.group == *group) else { return };
                let written = file.write(bytes, *wall);
                if let Err(why) = &written
                    && !std::mem::replace(&mut file.failing, true)
                {
                    eprintln!("hairpin: nflog: {}: {why}", file.path.display());
                }
                written
            }
        };
        let count = if written.is_ok() { &self.numbers.written } else { &self.numbers.left_out };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        let left_out = self.numbers.left_out.load(Ordering::Relaxed);
        if left_out > self.said {
            let more = left_out - self.said;
            self.said = left_out;
            eprintln!(
                "hairpin: {more} log lines or packets were left out: they came faster than [log] rate, or than they were written"
            );
        }
        self.lines.flush();
        for file in &mut self.files {
            let _ = file.file.flush();
        }
    }
}

/// A packet as a message of link type 239: attributes as the kernel's log sends them (`linux/netfilter/nfnetlink_log.h`).
fn message(packet: &NflogPacket, wall: Wall) -> Vec<u8> {
    const PACKET_HDR: u16 = 1;
    const MARK: u16 = 2;
    const TIMESTAMP: u16 = 3;
    const IFINDEX_INDEV: u16 = 4;
    const IFINDEX_OUTDEV: u16 = 5;
    const HWADDR: u16 = 8;
    const PAYLOAD: u16 = 9;
    const PREFIX: u16 = 10;
    const HWTYPE: u16 = 15;
    const HWHEADER: u16 = 16;
    const HWLEN: u16 = 17;
    let (family, ethertype) = match packet.family {
        Family::V4 => (2, hairpin_wire::ethernet::IPV4),
        Family::V6 => (10, hairpin_wire::ethernet::IPV6),
    };
    let mut out = vec![family, 0];
    out.extend(packet.group.to_be_bytes());
    let mut attribute = |kind: u16, value: &[u8]| {
        let length = (value.len() + 4) as u16;
        out.extend(length.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(value);
        out.extend(&[0; 3][..value.len().wrapping_neg() % 4]);
    };
    let [high, low] = ethertype.to_be_bytes();
    attribute(PACKET_HDR, &[high, low, packet.hook.number() as u8, 0]);
    let mut prefix = packet.prefix.as_bytes().to_vec();
    prefix.push(0);
    attribute(PREFIX, &prefix);
    if let Some(dev) = packet.iif {
        attribute(IFINDEX_INDEV, &dev.0.to_be_bytes());
    }
    if let Some(dev) = packet.oif {
        attribute(IFINDEX_OUTDEV, &dev.0.to_be_bytes());
    }
    if packet.mark != 0 {
        attribute(MARK, &packet.mark.to_be_bytes());
    }
    let header = &packet.link_header;
    if let Some(source) = header.get(6..12) {
        let mut address = vec![0, 6, 0, 0];
        address.extend(source);
        address.extend([0, 0]);
        attribute(HWADDR, &address);
        attribute(HWTYPE, &1u16.to_be_bytes());
        attribute(HWLEN, &(header.len() as u16).to_be_bytes());
        attribute(HWHEADER, header);
    }
    let mut time = (wall.0 / 1_000_000_000).to_be_bytes().to_vec();
    time.extend((wall.0 / 1000 % 1_000_000).to_be_bytes());
    attribute(TIMESTAMP, &time);
    // A length has 16 bits.
    attribute(PAYLOAD, &packet.bytes[..packet.bytes.len().min(65_000)]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_703_999, "2026-11-26T14:39:59.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(date(Wall(seconds * 1_000_000_000)), text);
        }
    }

    #[test]
    fn lines_over_the_rate_are_counted() {
        let live = Live { log: LogTo::Stderr, log_rate: 10, ..Live::default() };
        let mut logs = Logs::open(&live).unwrap();
        let (queue, entries) = sync_channel(100);
        logs.queue = Some(queue);
        let line = |n: u64| Event::Log { level: 4, line: format!("line {n}") };
        let engine = Engine::new(
            hairpin_engine::Setup::new(hairpin_engine::setup::Setup::default().build().unwrap()),
            &Now::from_unix_nanos(0),
            0,
        );
        for n in 0..25 {
            logs.events(&engine, &Now::from_unix_nanos(0), &[line(n)]);
        }
        logs.events(&engine, &Now::from_unix_nanos(200_000_000), &[line(25), line(26), line(27)]);
        assert_eq!(entries.try_iter().count(), 12);
        assert_eq!(logs.numbers().left_out.load(Ordering::Relaxed), 16);
    }
}
