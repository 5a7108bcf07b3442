//! A capture as a device: its frames arrive as they did when it was made, and what leaves is written to another capture.

use crate::capture::{Capture, LinkType};
use crate::record::CaptureFile;
use crate::sys::{self, Timer};
use crate::{Bytes, Caps, Datapath, Outgoing, Received};
use hairpin_engine::packet::Offload;
use hairpin_wire::pcapng::{self, Way};
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

/// When frames arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As far apart as they were.
    #[default]
    Recorded,
    /// One after the other, without waiting.
    AtOnce,
}

/// A capture that is played, and one that is written.
pub struct Pcap {
    source: Option<Source>,
    sink: Option<CaptureFile>,
    timer: Timer,
    describe: String,
}

/// A capture that is being played.
struct Source {
    capture: Capture,
    pace: Pace,
    link: LinkType,
    /// The next frame.
    frame: Vec<u8>,
    /// When it is due, on the clock that never jumps.
    due: u64,
    /// What its time stamps lack to that clock; known with the first frame.
    shift: Option<u64>,
}

impl Pcap {
    /// Plays `read`, if there is one, from now on, and writes to `write`, if there is one. `link` is what the device's frames begin with.
    pub fn open(name: &str, link: LinkType, read: Option<&Path>, write: Option<&Path>, pace: Pace) -> io::Result<Pcap> {
        let timer = Timer::new()?;
        let sink = write.map(|path| {
            let link = match link {
                LinkType::Ethernet => pcapng::ETHERNET,
                LinkType::RawIp => pcapng::RAW_IP,
            };
            CaptureFile::open(name, link, path, false)
        });
        let source = read.map(|path| -> io::Result<Source> {
            let capture = Capture::open(path).map_err(io::Error::other)?;
            Ok(Source { capture, pace, link, frame: Vec::new(), due: 0, shift: None })
        });
        let what =
            |path: Option<&Path>, otherwise: &str| path.map_or(otherwise.to_owned(), |p| p.display().to_string());
        let describe = format!("capture: reads {}, writes {}", what(read, "nothing"), what(write, "nothing"));
        let mut pcap = Pcap { source: source.transpose()?, sink: sink.transpose()?, timer, describe };
        pcap.load()?;
        Ok(pcap)
    }

    /// Loads the next frame that can be played. At the end, and where the capture is damaged, it is over.
    fn load(&mut self) -> io::Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let result = source.load();
        if !matches!(result, Ok(true)) {
            self.source = None;
        }
        self.timer.set(self.source.as_ref().map(|source| source.due));
        result.map(drop)
    }
}

impl Source {
    /// False at the end.
    fn load(&mut self) -> io::Result<bool> {
        while let Some(info) = self.capture.next(&mut self.frame).map_err(io::Error::other)? {
            // A frame of another kind of link, and one whose end is missing, cannot arrive.
            if info.cut || info.link != self.link {
                continue;
            }
            let now = sys::monotonic_nanos();
            let shift = *self.shift.get_or_insert(now.wrapping_sub(info.nanos));
            self.due = match self.pace {
                Pace::Recorded => info.nanos.wrapping_add(shift),
                Pace::AtOnce => 0,
            };
            return Ok(true);
        }
        Ok(false)
    }
}

impl Datapath for Pcap {
    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn fd(&self) -> RawFd {
        self.timer.fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.timer.clear();
        let now = sys::monotonic_nanos();
        for n in 0..limit {
            let Some(source) = self.source.as_mut().filter(|source| source.due <= now) else {
                // It is wound anew: what was cleared may have been for the frame that is still to come.
                self.timer.set(self.source.as_ref().map(|source| source.due));
                return Ok(n);
            };
            take(Received { bytes: Bytes::Own(&mut source.frame), offload: Offload::default(), vlan: None });
            self.load()?;
        }
        Ok(limit)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        if let Some(sink) = &mut self.sink {
            for frame in frames {
                sink.put(Way::Out, frame.bytes);
            }
            sink.flush();
        }
        Ok(frames.len())
    }

    fn describe(&self) -> String {
        self.describe.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn plays_what_was_written() {
        let path = std::env::temp_dir().join(format!("hairpin-pcap-{}.pcapng", std::process::id()));
        let frames: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 60]).collect();
        let mut out = Pcap::open("a", LinkType::Ethernet, None, Some(&path), Pace::AtOnce).unwrap();
        let (first, rest) = frames.split_at(50);
        out.send(&first.iter().map(|frame| Outgoing::complete(frame)).collect::<Vec<_>>()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        out.send(&rest.iter().map(|frame| Outgoing::complete(frame)).collect::<Vec<_>>()).unwrap();
        for (pace, least) in [(Pace::AtOnce, Duration::ZERO), (Pace::Recorded, Duration::from_millis(60))] {
            let started = Instant::now();
            let mut back = Pcap::open("b", LinkType::Ethernet, Some(&path), None, pace).unwrap();
            let mut waiter = sys::Waiter::default();
            waiter.watch([back.fd()].into_iter());
            let mut seen = Vec::new();
            while seen.len() < frames.len() && started.elapsed() < Duration::from_secs(5) {
                waiter.wait(Duration::from_secs(1)).unwrap();
                back.recv(7, &mut |received| seen.push(received.bytes.as_slice().to_vec())).unwrap();
            }
            assert_eq!(seen, frames);
            assert!(started.elapsed() >= least, "{pace:?}");
            assert_eq!(waiter.wait(Duration::ZERO).unwrap(), 0, "it is over");
        }
        let other = Pcap::open("c", LinkType::RawIp, Some(&path), None, Pace::AtOnce).unwrap();
        assert!(other.source.is_none(), "no frame of this kind of link");
        std::fs::remove_file(&path).unwrap();
        let error = Pcap::open("d", LinkType::Ethernet, Some(&path), None, Pace::AtOnce).err().unwrap();
        assert!(error.to_string().contains("hairpin-pcap"), "{error}");
    }
}
