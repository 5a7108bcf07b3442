//! `hairpin replay`: what Linux would have sent, counted, tracked and logged.
//!
//! A host, rules and captures of what arrived go in; for every device what left it, the rules with their counters, the connections
//! and the log come out. The captures' time stamps are the clock. Frames are read one at a time, so memory grows with connections
//! and not with captures.

use crate::capture::{Capture, CaptureError, CaptureWriter, FrameInfo, LinkType};
use hairpin_engine::net::{IfIndex, LinkKind, Net};
use hairpin_engine::packet::{Origin, Sender};
use hairpin_engine::socket::Ends;
use hairpin_engine::{Batch, DropReason, Engine, Event, Fate, Now, Output, Packet};
use hairpin_wire::{Family, ethernet, proto};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// As which device an input names the processes of the host: its packets are what they send.
pub const OWN: &str = "@host";

/// The number of [`OWN`], which is no device.
pub const OWN_INDEX: IfIndex = IfIndex(0);

/// A capture and the device its frames arrive by.
#[derive(Debug)]
pub struct Input {
    /// The device; [`OWN_INDEX`] for what processes of the host send.
    pub dev: IfIndex,
    /// The capture.
    pub capture: Capture,
}

/// The frames of several captures in the order of their time stamps, to the microsecond; at the same microsecond in the order of
/// the captures, then of the frames in each.
///
/// A capture may hold frames a little out of order, as several queues of a network card deliver them: so many frames of each are read
/// ahead and put in order (`AHEAD_FRAMES`, `AHEAD_BYTES`). Disorder over a longer stretch stays.
#[derive(Debug)]
pub struct Merge {
    queues: Vec<Queue>,
    spare: Vec<Vec<u8>>,
    failed: Option<CaptureError>,
}

/// At most so many frames of a capture are read ahead.
const AHEAD_FRAMES: usize = 4096;
/// At most so many bytes of a capture are read ahead (and one frame more).
const AHEAD_BYTES: usize = 4 << 20;

#[derive(Debug)]
struct Queue {
    input: Input,
    ended: bool,
    /// In the order of their microseconds; equal ones as they came.
    frames: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    info: FrameInfo,
    bytes: Vec<u8>,
}

impl Waiting {
    const fn micros(&self) -> u64 {
        self.info.nanos / 1000
    }
}

/// A frame that arrived.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// By which device.
    pub dev: IfIndex,
    /// When, and what its capture says of it.
    pub info: FrameInfo,
    /// Its bytes.
    pub frame: &'a [u8],
}

impl Merge {
    /// The merged captures.
    pub fn new(inputs: Vec<Input>) -> Merge {
        let queue = |input| Queue { input, ended: false, frames: VecDeque::new(), bytes: 0 };
        Merge { queues: inputs.into_iter().map(queue).collect(), spare: Vec::new(), failed: None }
    }

    /// The time of the first frame, in nanoseconds since 1970; 0 when there is none.
    pub fn start(&mut self) -> u64 {
        for queue in &mut self.queues {
            if let Err(e) = queue.fill(&mut self.spare) {
                self.failed.get_or_insert(e);
            }
        }
        self.queues.iter().filter_map(|q| q.frames.front()).map(|f| f.info.nanos).min().unwrap_or(0)
    }

    /// Bytes of all captures together.
    pub fn size(&self) -> u64 {
        self.queues.iter().map(|q| q.input.capture.size).sum()
    }

    /// Hands the next frame to `take`; false when there is none left. When a capture was damaged, that is the error at the end,
    /// after every frame that could be read.
    pub fn next(&mut self, take: impl FnOnce(Arrived<'_>)) -> Result<bool, CaptureError> {
        for queue in &mut self.queues {
            if let Err(e) = queue.fill(&mut self.spare) {
                self.failed.get_or_insert(e);
            }
        }
        let heads = self.queues.iter().enumerate().filter_map(|(n, q)| Some((n, q.frames.front()?.micros())));
        let Some((earliest, _)) = heads.min_by_key(|(_, micros)| *micros) else {
            return self.failed.take().map_or(Ok(false), Err);
        };
        if let Some(queue) = self.queues.get_mut(earliest)
            && let Some(first) = queue.frames.pop_front()
        {
            queue.bytes -= first.bytes.len();
            take(Arrived { dev: queue.input.dev, info: first.info, frame: &first.bytes });
            self.spare.push(first.bytes);
        }
        Ok(true)
    }
}

impl Queue {
    fn fill(&mut self, spare: &mut Vec<Vec<u8>>) -> Result<(), CaptureError> {
        while !self.ended && self.frames.len() < AHEAD_FRAMES && self.bytes < AHEAD_BYTES {
            let mut bytes = spare.pop().unwrap_or_default();
            match self.input.capture.next(&mut bytes) {
                Ok(Some(info)) => self.put(Waiting { info, bytes }),
                Ok(None) => self.ended = true,
                Err(e) => {
                    self.ended = true;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, new: Waiting) {
        self.bytes += new.bytes.len();
        if self.frames.back().is_none_or(|last| last.micros() <= new.micros()) {
            self.frames.push_back(new);
        } else {
            let at = self.frames.partition_point(|f| f.micros() <= new.micros());
            self.frames.insert(at, new);
        }
    }
}

/// What happened in a replay.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Frames that arrived, by device.
    pub arrived: BTreeMap<String, u64>,
    /// Frames of which the capture holds only the beginning.
    pub cut: u64,
    /// Frames that left, by device.
    pub left: BTreeMap<String, u64>,
    /// Packets that a socket of the host took.
    pub delivered: u64,
    /// Packets dropped, by reason, in the order of the reasons.
    pub dropped: Vec<(DropReason, u64)>,
    /// Limits that were reached, and how often.
    pub reached: Vec<(String, u64)>,
    /// Connections in the table at the end.
    pub connections: usize,
    /// Lines of the log.
    pub log_lines: u64,
    /// Nanoseconds since 1970 of the first and the last frame.
    pub time: Option<(u64, u64)>,
}

/// Where the frames that leave and the log go.
pub trait Sink {
    /// What can go wrong.
    type Error;

    /// A frame leaves by a device.
    fn frame(&mut self, dev: IfIndex, nanos: u64, frame: &[u8]) -> Result<(), Self::Error>;

    /// A line of the log.
    fn log(&mut self, line: &str) -> Result<(), Self::Error>;

    /// Another line that the kernel would write to its log: a message of its own, or one about a traced packet.
    fn message(&mut self, line: &str) -> Result<(), Self::Error>;

    /// Everything the engine said about one arrived frame (its number, device and time), before its frames are passed on.
    fn steps(&mut self, arrived: u64, dev: IfIndex, nanos: u64, out: &Output) -> Result<(), Self::Error> {
        let _ = (arrived, dev, nanos, out);
        Ok(())
    }
}

/// Drives an engine with frames.
#[derive(Debug)]
pub struct Replay {
    engine: Engine,
    packet: Packet,
    out: Output,
    clock: u64,
    frames: u64,
    /// The frame as its device hands it over, when its capture has it otherwise.
    scratch: Vec<u8>,
    summary: Summary,
}

impl Replay {
    /// A replay on this engine.
    pub fn new(engine: Engine) -> Replay {
        Replay {
            engine,
            packet: Packet::default(),
            out: Output::default(),
            clock: 0,
            frames: 0,
            scratch: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// One frame arrives. A clock that goes back in the captures stands still here.
    pub fn frame<S: Sink>(&mut self, arrived: &Arrived<'_>, sink: &mut S) -> Result<(), S::Error> {
        self.clock = self.clock.max(arrived.info.nanos);
        self.frames += 1;
        let time = self.summary.time.get_or_insert((self.clock, self.clock));
        time.1 = self.clock;
        self.summary.cut += u64::from(arrived.info.cut);
        let net = self.engine.state().net();
        let name = name_of(net, arrived.dev);
        *self.summary.arrived.entry(name).or_default() += 1;
        let now = Now::from_unix_nanos(self.clock);
        self.out.clear();
        let fate = if arrived.dev == OWN_INDEX {
            self.send(&now, arrived)
        } else {
            let frame = as_on_link(net, arrived, &mut self.scratch);
            self.engine.receive_frame(&now, arrived.dev, frame, &mut self.packet, &mut self.out)
        };
        sink.steps(self.frames, arrived.dev, self.clock, &self.out)?;
        self.pass_on(fate, sink)
    }

    /// A packet of a process of the host. The sockets that are known say whose it is.
    fn send(&mut self, now: &Now, sent: &Arrived<'_>) -> Fate {
        let ip = match sent.info.link {
            LinkType::Ethernet => sent.frame.get(ethernet::HEADER_LEN..).unwrap_or_default(),
            LinkType::RawIp => sent.frame,
        };
        if self.packet.load_ip(ip).is_err() {
            return Fate::Drop(DropReason::BadHeader);
        }
        let packet = &mut self.packet;
        let sockets = &self.engine.state().net().sockets;
        let find = || {
            let (sport, dport) = packet.ports()?;
            let (local, remote) = ((packet.src(), sport), (packet.dst(), dport));
            sockets.find(&Ends { protocol: packet.protocol(), family: packet.family(), remote, local, device: None })
        };
        let sender = match find() {
            None => Sender::None,
            Some(socket) => socket.owner.clone().map_or(Sender::Kernel, Sender::Process),
        };
        packet.meta.mark = find().map_or(0, |socket| socket.mark);
        packet.meta.origin = Origin::Local(sender);
        let mut fates = [Fate::Held];
        let batch = &mut Batch { packets: std::slice::from_mut(packet), fates: &mut fates };
        self.engine.handle(now, batch, &mut self.out);
        let [fate] = fates;
        fate
    }

    fn pass_on<S: Sink>(&mut self, fate: Fate, sink: &mut S) -> Result<(), S::Error> {
        for event in &self.out.events {
            match event {
                Event::Log { line, .. } => {
                    self.summary.log_lines += 1;
                    sink.log(line.trim_end())?;
                }
                Event::Kernel(line) | Event::Trace(line) => sink.message(line.trim_end())?,
                Event::Nflog(_)
                | Event::ConnNew(..)
                | Event::ConnChanged(..)
                | Event::ConnGone(_)
                | Event::ExpectNew(_)
                | Event::ExpectGone(_)
                | Event::Bug(_) => {}
            }
        }
        for (fate, packet) in self.out.around(fate, &self.packet) {
            match fate {
                Fate::Transmit { oif, .. } => {
                    let name = name_of(self.engine.state().net(), oif);
                    *self.summary.left.entry(name).or_default() += 1;
                    sink.frame(oif, self.clock, packet.frame())?;
                }
                Fate::Deliver => self.summary.delivered += 1,
                Fate::Drop(_) | Fate::Held | Fate::Resolve { .. } => {}
            }
        }
        Ok(())
    }

    /// The time of the last frame.
    pub const fn now(&self) -> Now {
        Now::from_unix_nanos(self.clock)
    }

    /// The engine, to look at.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What happened so far.
    pub fn summary(&self) -> Summary {
        let state = self.engine.state();
        let mut summary = self.summary.clone();
        summary.dropped = state.drops().filter(|(_, n)| *n > 0).collect();
        summary.reached = state.limits_reached();
        summary.connections = state.conns().count();
        summary
    }
}

/// The frame with or without an Ethernet header, as its device has it.
fn as_on_link<'a>(net: &Net, arrived: &Arrived<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(device) = net.interface(arrived.dev) else { return arrived.frame };
    match (device.kind, arrived.info.link) {
        (LinkKind::Bare, LinkType::Ethernet) => arrived.frame.get(ethernet::HEADER_LEN..).unwrap_or_default(),
        (LinkKind::Ethernet, LinkType::RawIp) => {
            let kind = match Family::of_packet(arrived.frame) {
                Some(Family::V6) => ethernet::IPV6,
                _ => ethernet::IPV4,
            };
            scratch.clear();
            scratch.extend_from_slice(&device.mac.0);
            // Nobody knows who sent it; nothing but `-m mac` and LOG would tell.
            scratch.extend_from_slice(&[0; 6]);
            scratch.extend_from_slice(&kind.to_be_bytes());
            scratch.extend_from_slice(arrived.frame);
            scratch
        }
        _ => arrived.frame,
    }
}

fn name_of(net: &Net, dev: IfIndex) -> String {
    match net.interface(dev) {
        Some(device) => device.name.to_string(),
        None if dev == OWN_INDEX => OWN.to_owned(),
        None => format!("device {}", dev.0),
    }
}

/// The output directory: one capture per device, and the log.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    captures: Vec<Option<CaptureWriter>>,
    log: BufWriter<File>,
    /// Made when there is something to write.
    messages: Option<BufWriter<File>>,
}

impl Directory {
    /// Makes the directory if needed, and an empty capture for each device but `lo`.
    pub fn create(path: &Path, net: &Net) -> Result<Directory, CaptureError> {
        std::fs::create_dir_all(path).map_err(|e| CaptureError::of_file(path, format_args!("cannot be made: {e}")))?;
        let captures = net.interfaces.iter().map(|device| {
            let link = match device.kind {
                LinkKind::Loopback => return Ok(None),
                LinkKind::Ethernet => LinkType::Ethernet,
                LinkKind::Bare => LinkType::RawIp,
            };
            CaptureWriter::create(&path.join(format!("{}.pcap", device.name)), link).map(Some)
        });
        let captures = captures.collect::<Result<_, _>>()?;
        let log = text_file(&path.join("log"))?;
        // One of an earlier replay would be taken for this one's.
        let _ = std::fs::remove_file(path.join("messages"));
        Ok(Directory { path: path.to_owned(), captures, log, messages: None })
    }

    /// Writes a file of text beside the captures.
    pub fn write(&self, name: &str, text: &str) -> Result<(), CaptureError> {
        let path = self.path.join(name);
        std::fs::write(&path, text).map_err(|e| CaptureError::of_file(&path, format_args!("cannot be written: {e}")))
    }

    /// Closes the log and the captures.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        let flush = |file: &mut BufWriter<File>, name: &str| {
            file.flush()
                .map_err(|e| CaptureError::of_file(&self.path.join(name), format_args!("cannot be written: {e}")))
        };
        flush(&mut self.log, "log")?;
        if let Some(messages) = &mut self.messages {
            flush(messages, "messages")?;
        }
        self.captures.drain(..).flatten().try_for_each(CaptureWriter::finish)
    }
}

fn text_file(path: &Path) -> Result<BufWriter<File>, CaptureError> {
    let file = File::create(path);
    file.map(BufWriter::new).map_err(|e| CaptureError::of_file(path, format_args!("cannot be written: {e}")))
}

/// Whether a frame only keeps the link in order: group membership (IGMP, MLD) and neighbor discovery. Rules see and count it like any
/// other, but captures of what left are without it, as the kernel's recorded answers are: what a real host says about its groups
/// and neighbors beside the traffic is not part of the answer.
fn is_housekeeping(frame: &[u8]) -> bool {
    match Packet::from_frame(frame) {
        Ok(packet) => match (packet.family(), packet.protocol()) {
            (Family::V4, protocol) => protocol == proto::IGMP,
            (Family::V6, proto::ICMPV6) => matches!(packet.l4().first(), Some(130..=136 | 143)),
            (Family::V6, _) => false,
        },
        Err(_) => false,
    }
}

impl Sink for Directory {
    type Error = CaptureError;

    fn frame(&mut self, dev: IfIndex, nanos: u64, frame: &[u8]) -> Result<(), CaptureError> {
        let at = (dev.0 as usize).wrapping_sub(1);
        match self.captures.get_mut(at).and_then(Option::as_mut) {
            Some(capture) if !is_housekeeping(frame) => capture.add(nanos, frame),
            _ => Ok(()),
        }
    }

    fn log(&mut self, line: &str) -> Result<(), CaptureError> {
        writeln!(self.log, "{line}")
            .map_err(|e| CaptureError::of_file(&self.path.join("log"), format_args!("cannot be written: {e}")))
    }

    fn message(&mut self, line: &str) -> Result<(), CaptureError> {
        let path = self.path.join("messages");
        let messages = match &mut self.messages {
            Some(messages) => messages,
            none => none.insert(text_file(&path)?),
        };
        writeln!(messages, "{line}").map_err(|e| CaptureError::of_file(&path, format_args!("cannot be written: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A classic capture of one-byte frames at these times in nanoseconds; `cut` ends it in the middle of another frame.
    fn capture(frames: &[(u64, u8)], cut: bool) -> Capture {
        let mut bytes = Vec::new();
        let mut words = |words: &[u32]| words.iter().for_each(|w| bytes.extend(w.to_le_bytes()));
        words(&[0xa1b2_3c4d, 4 << 16 | 2, 0, 0, 65_535, 1]);
        for (nanos, byte) in frames {
            words(&[(nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32, 4, 4, u32::from(*byte)]);
        }
        if cut {
            words(&[1, 2]);
        }
        Capture::read(Path::new("test.pcap"), Box::new(Cursor::new(bytes))).expect("a good header")
    }

    /// The frames' bytes in the order in which they come, and the error at the end.
    fn merged(captures: Vec<Capture>) -> (Vec<u8>, Option<String>) {
        let input = |(n, capture)| Input { dev: IfIndex(n as u32 + 2), capture };
        let mut merge = Merge::new(captures.into_iter().enumerate().map(input).collect());
        let mut seen = Vec::new();
        loop {
            match merge.next(|arrived| seen.push(arrived.frame[0])) {
                Ok(true) => {}
                Ok(false) => return (seen, None),
                Err(e) => return (seen, Some(e.to_string())),
            }
        }
    }

    #[test]
    fn by_the_microsecond_then_by_capture_then_by_place() {
        let first = capture(&[(5000, 1), (7999, 2), (9000, 3)], false);
        let second = capture(&[(4000, 10), (7001, 11), (7000, 12)], false);
        assert_eq!(merged(vec![first, second]), (vec![10, 1, 2, 11, 12, 3], None));
    }

    #[test]
    fn a_capture_in_disorder_is_put_in_order() {
        assert_eq!(merged(vec![capture(&[(5000, 1), (2000, 2), (5000, 3), (2000, 4)], false)]).0, [2, 4, 1, 3]);
    }

    #[test]
    fn more_frames_than_are_read_ahead() {
        let frames: Vec<(u64, u8)> = (0..3 * AHEAD_FRAMES).map(|n| (n as u64 * 1000, n as u8)).collect();
        let (seen, error) = merged(vec![capture(&frames, false), capture(&[(0, 99)], false)]);
        assert_eq!((seen.len(), error), (frames.len() + 1, None));
        assert_eq!(seen[..3], [0, 99, 1]);
    }

    #[test]
    fn a_damaged_capture_is_told_after_all_frames() {
        let (seen, error) = merged(vec![capture(&[(1000, 1)], true), capture(&[(2000, 2)], false)]);
        assert_eq!(seen, [1, 2]);
        assert!(error.expect("it is cut").starts_with("test.pcap: frame 2 (byte 44): cut off here"));
    }
}
