//! Keeps what passes a device in a capture (pcapng): every frame as it came and as it left, each with its direction.

use crate::{Caps, Datapath, Outgoing, Received, sys};
use hairpin_wire::pcapng::{self, Way};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::RawFd;
use std::path::Path;

/// Longer frames are cut: a super-packet fits.
const SNAP: u32 = 65_535 + 18;
/// A capture that has grown to so many bytes is complete: a forgotten one fills no disk.
pub const LIMIT: u64 = 1 << 30;

/// A datapath whose frames are kept.
pub struct Recorded {
    inner: Box<dyn Datapath>,
    file: CaptureFile,
}

impl Recorded {
    /// Puts a capture before a device. A file of this name is written over, or added to: as a further section.
    pub fn open(inner: Box<dyn Datapath>, name: &str, link: u16, path: &Path, add: bool) -> io::Result<Recorded> {
        Ok(Recorded { inner, file: CaptureFile::open(name, link, path, add)? })
    }
}

impl Datapath for Recorded {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn fd(&self) -> RawFd {
        self.inner.fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let Recorded { inner, file } = self;
        let got = inner.recv(limit, &mut |received| {
            file.put(Way::In, received.bytes.as_slice());
            take(received);
        });
        file.flush();
        got
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        for frame in frames {
            self.file.put(Way::Out, frame.bytes);
        }
        self.file.flush();
        self.inner.send(frames)
    }

    fn missed(&mut self) -> u64 {
        self.inner.missed()
    }

    fn describe(&self) -> String {
        format!("{}; frames are kept in {}", self.inner.describe(), self.file.path)
    }
}

/// A capture being written.
#[derive(Debug)]
pub(crate) struct CaptureFile {
    path: String,
    /// None when it is full, or could not be written.
    out: Option<BufWriter<File>>,
    written: u64,
    block: Vec<u8>,
}

impl CaptureFile {
    pub(crate) fn open(name: &str, link: u16, path: &Path, add: bool) -> io::Result<CaptureFile> {
        let path_text = path.display().to_string();
        let mut options = File::options();
        let options = if add { options.append(true) } else { options.write(true).truncate(true) };
        let file = options.create(true).open(path).map_err(sys::at(&path_text))?;
        let mut block = Vec::new();
        pcapng::section(&mut block, concat!("hairpin ", env!("CARGO_PKG_VERSION")));
        pcapng::interface(&mut block, name, link, SNAP);
        let mut out = BufWriter::new(file);
        out.write_all(&block)?;
        out.flush()?;
        Ok(CaptureFile { path: path_text, out: Some(out), written: block.len() as u64, block })
    }

    pub(crate) fn put(&mut self, way: Way, bytes: &[u8]) {
        let Some(out) = &mut self.out else { return };
        self.block.clear();
        let length = bytes.len() as u32;
        let bytes = &bytes[..bytes.len().min(SNAP as usize)];
        let nanos = sys::wall_nanos();
        pcapng::packet(&mut self.block, &pcapng::Packet { interface: 0, nanos, bytes, length, way, comment: "" });
        self.written += self.block.len() as u64;
        let result = out.write_all(&self.block);
        let end = match result {
            Err(error) => format!("nothing more is kept: {error}"),
            Ok(()) if self.written >= LIMIT => "full, nothing more is kept".to_owned(),
            Ok(()) => return,
        };
        eprintln!("hairpin: {}: {end}", self.path);
        self.flush();
        self.out = None;
    }

    /// What was put can be read from now on.
    pub(crate) fn flush(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Capture;
    use crate::fault::{Faults, Faulty};
    use crate::memory;

    /// Wrappers stack: what is kept is what was left of the faults.
    #[test]
    fn keeps_both_directions() {
        let path = std::env::temp_dir().join(format!("hairpin-record-{}.pcapng", std::process::id()));
        let (ours, mut theirs) = memory::pair(Caps::default()).unwrap();
        let faulty = Faulty::new(Box::new(ours), Faults { duplicate: 1_000_000, ..Faults::default() }).unwrap();
        let mut recorded = Recorded::open(Box::new(faulty), "lan0", pcapng::ETHERNET, &path, false).unwrap();
        theirs.send(&[Outgoing::complete(b"a frame that comes")]).unwrap();
        let mut seen = 0;
        recorded.recv(64, &mut |_| seen += 1).unwrap();
        recorded.send(&[Outgoing::complete(b"one that leaves")]).unwrap();
        drop(recorded);
        let (again, _theirs) = memory::pair(Caps::default()).unwrap();
        let mut again = Recorded::open(Box::new(again), "lan0", pcapng::ETHERNET, &path, true).unwrap();
        again.send(&[Outgoing::complete(b"and one more")]).unwrap();
        assert_eq!(seen, 2);
        let mut capture = Capture::open(&path).unwrap();
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        while capture.next(&mut frame).unwrap().is_some() {
            frames.push(String::from_utf8(frame.clone()).unwrap());
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(frames, ["a frame that comes", "a frame that comes", "one that leaves", "and one more"]);
    }
}
