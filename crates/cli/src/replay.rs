//! `hairpin replay`: what Linux would have sent, counted, tracked and logged.
//!
//! A host, rules and captures of what arrived go in; for every device what left it, the rules with their counters, the connections
//! and the log come out. The captures' time stamps are the clock. Frames are read one at a time, so memory grows with connections
//! and not with captures.

use crate::capture::{Capture, CaptureError, CaptureWriter, LinkType};
use hairpin_engine::net::{IfIndex, LinkKind, Net};
use hairpin_engine::{DropReason, Engine, Event, Fate, Now, Output, Packet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A capture and the device its frames arrive by.
#[derive(Debug)]
pub struct Input {
    /// The device.
    pub dev: IfIndex,
    /// The capture.
    pub capture: Capture,
}

/// The frames of several captures in the order of their time stamps, to the microsecond; at the same microsecond in the order of
/// the captures.
#[derive(Debug)]
pub struct Merge {
    inputs: Vec<Input>,
    heads: Vec<Head>,
}

#[derive(Debug, Default)]
struct Head {
    micros: u64,
    nanos: u64,
    link: Option<LinkType>,
    frame: Vec<u8>,
}

/// A frame that arrived.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// When, in nanoseconds since 1970.
    pub nanos: u64,
    /// By which device.
    pub dev: IfIndex,
    /// What it begins with.
    pub link: LinkType,
    /// Its bytes.
    pub frame: &'a [u8],
}

impl Merge {
    /// Reads the first frame of each capture.
    pub fn new(inputs: Vec<Input>) -> Result<Merge, CaptureError> {
        let mut merge = Merge { heads: inputs.iter().map(|_| Head::default()).collect(), inputs };
        for n in 0..merge.inputs.len() {
            merge.advance(n)?;
        }
        Ok(merge)
    }

    /// Bytes of all captures together.
    pub fn size(&self) -> u64 {
        self.inputs.iter().map(|i| i.capture.size).sum()
    }

    fn advance(&mut self, n: usize) -> Result<(), CaptureError> {
        let (input, head) = (&mut self.inputs[n], &mut self.heads[n]);
        match input.capture.next(&mut head.frame)? {
            Some((nanos, link)) => (head.micros, head.nanos, head.link) = (nanos / 1000, nanos, Some(link)),
            None => head.link = None,
        }
        Ok(())
    }

    /// Hands the next frame to `take`; false when there is none left.
    pub fn next(&mut self, take: impl FnOnce(Arrived<'_>)) -> Result<bool, CaptureError> {
        let earliest =
            (0..self.heads.len()).filter(|n| self.heads[*n].link.is_some()).min_by_key(|n| self.heads[*n].micros);
        let Some(n) = earliest else { return Ok(false) };
        let head = &self.heads[n];
        if let Some(link) = head.link {
            take(Arrived { nanos: head.nanos, dev: self.inputs[n].dev, link, frame: &head.frame });
        }
        self.advance(n)?;
        Ok(true)
    }
}

/// What happened in a replay.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Frames that arrived, by device.
    pub arrived: BTreeMap<String, u64>,
    /// Frames that left, by device.
    pub left: BTreeMap<String, u64>,
    /// Packets that a socket of the host took.
    pub delivered: u64,
    /// Packets dropped, by reason, in the order of the reasons.
    pub dropped: Vec<(DropReason, u64)>,
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
            summary: Summary::default(),
        }
    }

    /// One frame arrives. A clock that goes back in the captures stands still here.
    pub fn frame<S: Sink>(&mut self, arrived: &Arrived<'_>, sink: &mut S) -> Result<(), S::Error> {
        self.clock = self.clock.max(arrived.nanos);
        self.frames += 1;
        let time = self.summary.time.get_or_insert((self.clock, self.clock));
        time.1 = self.clock;
        let name = name_of(self.engine.state().net(), arrived.dev);
        *self.summary.arrived.entry(name).or_default() += 1;
        let now = Now::from_unix_nanos(self.clock);
        self.out.clear();
        let fate = self.engine.receive_frame(&now, arrived.dev, arrived.frame, &mut self.packet, &mut self.out);
        sink.steps(self.frames, arrived.dev, self.clock, &self.out)?;
        self.pass_on(fate, sink)
    }

    fn pass_on<S: Sink>(&mut self, fate: Fate, sink: &mut S) -> Result<(), S::Error> {
        for event in &self.out.events {
            match event {
                Event::Log { line, .. } => {
                    self.summary.log_lines += 1;
                    sink.log(line.trim_end())?;
                }
                Event::Kernel(line) => sink.log(line.trim_end())?,
                Event::Nflog { .. } | Event::ConnNew(_) | Event::ConnGone(_) | Event::Bug(_) => {}
            }
        }
        let made = self.out.made.iter().map(|m| (m.fate, &m.packet));
        for (fate, packet) in made.chain([(fate, &self.packet)]) {
            match fate {
                Fate::Transmit { oif, .. } => {
                    let name = name_of(self.engine.state().net(), oif);
                    *self.summary.left.entry(name).or_default() += 1;
                    sink.frame(oif, self.clock, packet.frame())?;
                }
                Fate::Deliver => self.summary.delivered += 1,
                Fate::Drop(_) | Fate::Held => {}
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
        summary.connections = state.conns().count();
        summary
    }
}

fn name_of(net: &Net, dev: IfIndex) -> String {
    net.interface(dev).map_or_else(|| format!("device {}", dev.0), |i| i.name.to_string())
}

/// The output directory: one capture per device, and the log.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    captures: Vec<Option<CaptureWriter>>,
    log: String,
}

impl Directory {
    /// Makes the directory if needed, and an empty capture for each device but `lo`.
    pub fn create(path: &Path, net: &Net) -> Result<Directory, CaptureError> {
        std::fs::create_dir_all(path).map_err(|e| CaptureError {
            path: path.to_owned(),
            frame: 0,
            what: format!("cannot be made: {e}"),
        })?;
        let captures = net.interfaces.iter().map(|device| {
            let link = match device.kind {
                LinkKind::Loopback => return Ok(None),
                LinkKind::Ethernet => LinkType::Ethernet,
                LinkKind::Bare => LinkType::RawIp,
            };
            CaptureWriter::create(&path.join(format!("{}.pcap", device.name)), link).map(Some)
        });
        Ok(Directory { path: path.to_owned(), captures: captures.collect::<Result<_, _>>()?, log: String::new() })
    }

    /// Writes a file of text beside the captures.
    pub fn write(&self, name: &str, text: &str) -> Result<(), CaptureError> {
        let path = self.path.join(name);
        std::fs::write(&path, text).map_err(|e| CaptureError {
            path,
            frame: 0,
            what: format!("cannot be written: {e}"),
        })
    }

    /// Writes the log and closes the captures.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.write("log", &self.log)?;
        self.captures.drain(..).flatten().try_for_each(CaptureWriter::finish)
    }
}

impl Sink for Directory {
    type Error = CaptureError;

    fn frame(&mut self, dev: IfIndex, nanos: u64, frame: &[u8]) -> Result<(), CaptureError> {
        let at = (dev.0 as usize).wrapping_sub(1);
        match self.captures.get_mut(at).and_then(Option::as_mut) {
            Some(capture) => capture.add(nanos, frame),
            None => Ok(()),
        }
    }

    fn log(&mut self, line: &str) -> Result<(), CaptureError> {
        self.log.push_str(line);
        self.log.push('\n');
        Ok(())
    }
}
