//! Captures: classic pcap (micro- and nanoseconds, either byte order) and pcapng, read as a stream; classic pcap written.
//!
//! Nothing of a capture is trusted: lengths are bounded before anything is read for them, so that a damaged file costs an error and no
//! memory. Formats: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html> and
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What is wrong with a capture, and where.
#[derive(Debug)]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// The frame at fault, from 1; 0 when it is the file as a whole.
    pub frame: u64,
    /// Where in the file, in bytes, that frame begins.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

impl CaptureError {
    /// Something is wrong with a file as a whole.
    pub fn of_file(path: &Path, what: impl fmt::Display) -> CaptureError {
        CaptureError { path: path.to_owned(), frame: 0, at: 0, what: what.to_string() }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if self.frame != 0 {
            write!(f, "frame {} (byte {}): ", self.frame, self.at)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for CaptureError {}

/// What the frames of a capture begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// The IP header itself.
    RawIp,
}

/// What a capture says of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// When it came, in nanoseconds since 1970.
    pub nanos: u64,
    /// What it begins with.
    pub link: LinkType,
    /// Only its beginning was captured (tcpdump's `-s`).
    pub cut: bool,
}

/// A capture being read, frame by frame.
pub struct Capture {
    path: PathBuf,
    source: Box<dyn Read + Send>,
    format: Format,
    /// The frame being read, from 1.
    frame: u64,
    /// Where it begins, and how far the file was read.
    start: u64,
    at: u64,
    /// Bytes of the file, for progress; 0 when unknown.
    pub size: u64,
}

#[derive(Clone, Debug)]
enum Format {
    Classic { big: bool, nanos: bool, link: LinkType },
    Ng { big: bool, interfaces: Vec<Interface> },
}

/// A capture's own description of a device.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// `if_tsresol`.
    resolution: u8,
    /// `if_tsoffset`, in seconds.
    offset: i64,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capture({}, frame {})", self.path.display(), self.frame)
    }
}

/// No frame is longer: the kernel's largest packet, half a megabyte with BIG TCP, and some room.
const FRAME_MAX: u32 = 1 << 20;
/// No block that must be held in memory is longer.
const BLOCK_MAX: u32 = FRAME_MAX + (1 << 16);

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

impl Capture {
    /// Opens a capture and reads its head. Pipes will do.
    pub fn open(path: &Path) -> Result<Capture, CaptureError> {
        let file = File::open(path).map_err(|e| CaptureError::of_file(path, format_args!("cannot be opened: {e}")))?;
        let size = file.metadata().map(|m| m.len()).unwrap_or(0);
        let mut capture = Capture::read(path, Box::new(BufReader::with_capacity(1 << 18, file)))?;
        capture.size = size;
        Ok(capture)
    }

    /// A capture from any stream of bytes; `path` is its name in messages.
    pub fn read(path: &Path, source: Box<dyn Read + Send>) -> Result<Capture, CaptureError> {
        let format = Format::Ng { big: false, interfaces: Vec::new() };
        let mut capture = Capture { path: path.to_owned(), source, format, frame: 0, start: 0, at: 0, size: 0 };
        let mut magic = [0; 4];
        if !capture.fill(&mut magic)? {
            return Err(CaptureError::of_file(path, "empty: not even the header of a capture"));
        }
        match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => capture.section()?,
            [0xa1, 0xb2, 0xc3, 0xd4] => capture.classic(true, false)?,
            [0xd4, 0xc3, 0xb2, 0xa1] => capture.classic(false, false)?,
            [0xa1, 0xb2, 0x3c, 0x4d] => capture.classic(true, true)?,
            [0x4d, 0x3c, 0xb2, 0xa1] => capture.classic(false, true)?,
            other => return Err(CaptureError::of_file(path, foreign(other))),
        }
        Ok(capture)
    }

    /// Reads the next frame into `frame`. None at the end.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<FrameInfo>, CaptureError> {
        self.frame += 1;
        self.start = self.at;
        frame.clear();
        match self.format {
            Format::Classic { big, nanos, link } => self.next_classic(frame, big, nanos, link),
            Format::Ng { .. } => self.next_ng(frame),
        }
    }

    fn classic(&mut self, big: bool, nanos: bool) -> Result<(), CaptureError> {
        let mut head = [0; 20];
        self.must_fill(&mut head)?;
        // Version, two unused words, the snapshot length, the link type; the upper bits of the last speak of checksums behind
        // frames, which are padding to us.
        let link = word(&head, 16, big) & 0x03ff_ffff;
        let link = link_type(link).map_err(|what| self.fail(what))?;
        self.format = Format::Classic { big, nanos, link };
        Ok(())
    }

    fn next_classic(
        &mut self,
        frame: &mut Vec<u8>,
        big: bool,
        nanos: bool,
        link: LinkType,
    ) -> Result<Option<FrameInfo>, CaptureError> {
        let mut head = [0; 16];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [seconds, fraction, captured, length] = [0, 4, 8, 12].map(|at| word(&head, at, big));
        self.take(captured, frame)?;
        let unit = if nanos { 1 } else { 1000 };
        let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit;
        Ok(Some(FrameInfo { nanos, link, cut: captured < length }))
    }

    fn next_ng(&mut self, frame: &mut Vec<u8>) -> Result<Option<FrameInfo>, CaptureError> {
        loop {
            self.start = self.at;
            let mut kind = [0; 4];
            if !self.fill(&mut kind)? {
                return Ok(None);
            }
            let big = matches!(self.format, Format::Ng { big: true, .. });
            // The same in both byte orders, so that a section of the other order is recognized.
            if word(&kind, 0, true) == SECTION {
                self.section()?;
                continue;
            }
            let mut length = [0; 4];
            self.must_fill(&mut length)?;
            let length = word(&length, 0, big);
            let Some(body) = length.checked_sub(12).filter(|_| length.is_multiple_of(4)) else {
                return Err(self.fail(format!("damaged: a block of {length} bytes")));
            };
            let kind = word(&kind, 0, big);
            let wanted = matches!(kind, INTERFACE | OLD_PACKET | ENHANCED_PACKET);
            if kind == SIMPLE_PACKET {
                return Err(
                    self.fail("a simple packet block: it has no time stamp, so it has no place in a replay".into())
                );
            }
            if !wanted {
                self.skip(u64::from(body) + 4)?;
                continue;
            }
            if body > BLOCK_MAX {
                return Err(self.fail(format!("damaged: a block of {length} bytes")));
            }
            self.take_block(body, frame)?;
            self.skip(4)?;
            if kind == INTERFACE {
                let described = interface(frame, big);
                match (&mut self.format, described) {
                    (Format::Ng { interfaces, .. }, Some(described)) => interfaces.push(described),
                    _ => return Err(self.fail("damaged: an interface description that is too short".into())),
                }
                continue;
            }
            return self.packet_block(frame, kind, big).map(Some);
        }
    }

    /// Reads what follows the type of a section header block.
    fn section(&mut self) -> Result<(), CaptureError> {
        let mut head = [0; 8];
        self.must_fill(&mut head)?;
        let big = match word(&head, 4, true) {
            0x1a2b_3c4d => true,
            0x4d3c_2b1a => false,
            _ => return Err(self.fail("damaged: a section without byte order".into())),
        };
        let length = word(&head, 0, big);
        // Type, length, byte order, version, section length, options, length.
        let Some(rest) = length.checked_sub(12).filter(|rest| *rest >= 16) else {
            return Err(self.fail(format!("damaged: a section header of {length} bytes")));
        };
        let mut version = [0; 4];
        self.must_fill(&mut version)?;
        let major = half(&version, 0, big);
        if major != 1 {
            return Err(self.fail(format!("pcapng of version {major}; only version 1 is understood")));
        }
        self.skip(u64::from(rest) - 4)?;
        self.format = Format::Ng { big, interfaces: Vec::new() };
        Ok(())
    }

    /// Makes the frame out of a packet block's body, in place.
    fn packet_block(&self, block: &mut Vec<u8>, kind: u32, big: bool) -> Result<FrameInfo, CaptureError> {
        const HEAD: usize = 20;
        if block.len() < HEAD {
            return Err(self.fail("damaged: a packet block that is too short".into()));
        }
        let number = if kind == OLD_PACKET { u32::from(half(block, 0, big)) } else { word(block, 0, big) };
        let [high, low, captured, length] = [4, 8, 12, 16].map(|at| word(block, at, big));
        let ticks = u64::from(high) << 32 | u64::from(low);
        let end = HEAD.saturating_add(captured as usize);
        if captured > FRAME_MAX || end > block.len() {
            return Err(self.fail(format!("damaged: a frame of {captured} bytes in a block of {}", block.len() + 12)));
        }
        block.truncate(end);
        block.drain(..HEAD);
        let interface = match &self.format {
            Format::Ng { interfaces, .. } => interfaces.get(number as usize),
            Format::Classic { .. } => None,
        };
        let Some(interface) = interface else {
            return Err(self.fail(format!("of interface {number}, which the capture does not describe")));
        };
        let link = link_type(interface.link).map_err(|what| self.fail(what))?;
        let nanos = i128::from(scaled(ticks, interface.resolution)) + i128::from(interface.offset) * 1_000_000_000;
        let nanos = u64::try_from(nanos.max(0)).unwrap_or(u64::MAX);
        Ok(FrameInfo { nanos, link, cut: captured < length })
    }

    fn fail(&self, what: String) -> CaptureError {
        CaptureError { path: self.path.clone(), frame: self.frame, at: self.start, what }
    }

    /// Fills `bytes`; false at the end of the file, an error in the middle.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, CaptureError> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if done == 0 => return Ok(false),
                Ok(0) => return Err(self.cut_off()),
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fail(format!("cannot be read: {e}"))),
            }
        }
        self.at += done as u64;
        Ok(true)
    }

    fn must_fill(&mut self, bytes: &mut [u8]) -> Result<(), CaptureError> {
        if self.fill(bytes)? { Ok(()) } else { Err(self.cut_off()) }
    }

    fn cut_off(&self) -> CaptureError {
        self.fail(match self.frame {
            0 => "cut off in its header".to_owned(),
            _ => "cut off here: the capture ends in the middle of a frame (was it still being written?)".to_owned(),
        })
    }

    fn take(&mut self, length: u32, into: &mut Vec<u8>) -> Result<(), CaptureError> {
        if length > FRAME_MAX {
            return Err(self.fail(format!("damaged: a frame of {length} bytes")));
        }
        self.take_block(length, into)
    }

    fn take_block(&mut self, length: u32, into: &mut Vec<u8>) -> Result<(), CaptureError> {
        into.resize(length as usize, 0);
        if length > 0 { self.must_fill(into) } else { Ok(()) }
    }

    fn skip(&mut self, length: u64) -> Result<(), CaptureError> {
        match std::io::copy(&mut self.source.by_ref().take(length), &mut std::io::sink()) {
            Ok(n) if n == length => {
                self.at += n;
                Ok(())
            }
            Ok(_) => Err(self.cut_off()),
            Err(e) => Err(self.fail(format!("cannot be read: {e}"))),
        }
    }
}

/// The 32 bits at `at`; 0 behind the end.
fn word(bytes: &[u8], at: usize, big: bool) -> u32 {
    let found = bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
    if big { u32::from_be_bytes(found) } else { u32::from_le_bytes(found) }
}

/// The 16 bits at `at`; 0 behind the end.
fn half(bytes: &[u8], at: usize, big: bool) -> u16 {
    let found = bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
    if big { u16::from_be_bytes(found) } else { u16::from_le_bytes(found) }
}

/// An interface description block's body: link type, snapshot length, options.
fn interface(body: &[u8], big: bool) -> Option<Interface> {
    const TSRESOL: u16 = 9;
    const TSOFFSET: u16 = 14;
    let mut options = body.get(8..)?;
    let mut interface = Interface { link: u32::from(half(body, 0, big)), resolution: 6, offset: 0 };
    while options.len() >= 4 {
        let (code, length) = (half(options, 0, big), usize::from(half(options, 2, big)));
        let Some(value) = options.get(4..4 + length) else { break };
        match (code, value) {
            (0, _) => break,
            (TSRESOL, [resolution, ..]) => interface.resolution = *resolution,
            (TSOFFSET, [_, _, _, _, _, _, _, _, ..]) => {
                let (first, second) = (word(value, 0, big), word(value, 4, big));
                let (high, low) = if big { (first, second) } else { (second, first) };
                interface.offset = (u64::from(high) << 32 | u64::from(low)) as i64;
            }
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(interface)
}

/// Ticks in nanoseconds: `if_tsresol` is the negative power of ten, or with the highest bit set of two, of a second.
fn scaled(ticks: u64, resolution: u8) -> u64 {
    let per_second = match resolution {
        r if r & 0x80 != 0 => 1u128.checked_shl(u32::from(r & 0x7f)),
        r => 10u128.checked_pow(u32::from(r)),
    };
    let nanos = u128::from(ticks) * 1_000_000_000 / per_second.unwrap_or(u128::MAX);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// The link types of <https://www.tcpdump.org/linktypes.html> that a replay can use.
fn link_type(link: u32) -> Result<LinkType, String> {
    match link {
        1 => Ok(LinkType::Ethernet),
        // LINKTYPE_RAW, what some systems write for it, LINKTYPE_IPV4 and LINKTYPE_IPV6.
        101 | 12 | 14 | 228 | 229 => Ok(LinkType::RawIp),
        other => {
            let name = match other {
                0 | 108 => " (BSD loopback)",
                105 | 127 => " (Wi-Fi)",
                113 | 276 => " (Linux `any')",
                189 | 220 => " (USB)",
                _ => "",
            };
            Err(format!(
                "frames of link type {other}{name}; only Ethernet (1) and raw IP (101) are understood, so capture on one device"
            ))
        }
    }
}

/// What a file is that begins with these bytes and is no capture.
fn foreign(magic: [u8; 4]) -> String {
    let known = match magic {
        [0x1f, 0x8b, ..] => "compressed with gzip; unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd] => "compressed with zstd; unpack it first",
        [0xfd, b'7', b'z', b'X'] => "compressed with xz; unpack it first",
        [b's', b'n', b'o', b'o'] => "a capture of snoop; `editcap -F pcap' converts it",
        [0xa1, 0xb2, 0xcd, 0x34] | [0x34, 0xcd, 0xb2, 0xa1] => {
            "pcap as an old patch to libpcap wrote it; `editcap -F pcap' converts it"
        }
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let hex: String = magic.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "not a capture: it begins with {hex}, not with the magic number of pcap or pcapng (`tcpdump -w FILE' writes one)"
    )
}

/// A classic pcap file with microseconds, being written.
pub struct CaptureWriter {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl fmt::Debug for CaptureWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaptureWriter({})", self.path.display())
    }
}

impl CaptureWriter {
    /// Creates the file with its header; `link` is what its frames begin with.
    pub fn create(path: &Path, link: LinkType) -> Result<CaptureWriter, CaptureError> {
        let file =
            File::create(path).map_err(|e| CaptureError::of_file(path, format_args!("cannot be written: {e}")))?;
        let mut writer = CaptureWriter { path: path.to_owned(), writer: BufWriter::with_capacity(1 << 18, file) };
        let link = match link {
            LinkType::Ethernet => 1,
            LinkType::RawIp => 101,
        };
        writer.put(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 262_144, link], &[])?;
        Ok(writer)
    }

    /// Adds a frame at a time in nanoseconds since 1970.
    pub fn add(&mut self, nanos: u64, frame: &[u8]) -> Result<(), CaptureError> {
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let length = frame.len() as u32;
        self.put(&[seconds as u32, (rest / 1000) as u32, length, length], frame)
    }

    /// Writes what is still in memory.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.writer.flush().map_err(|e| CaptureError::of_file(&self.path, format_args!("cannot be written: {e}")))
    }

    fn put(&mut self, words: &[u32], bytes: &[u8]) -> Result<(), CaptureError> {
        let write = |writer: &mut BufWriter<File>| {
            words.iter().try_for_each(|w| writer.write_all(&w.to_le_bytes()))?;
            writer.write_all(bytes)
        };
        write(&mut self.writer).map_err(|e| CaptureError::of_file(&self.path, format_args!("cannot be written: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Numbers in one byte order.
    struct Bytes(Vec<u8>, bool);

    impl Bytes {
        fn word(mut self, n: u32) -> Bytes {
            self.0.extend(if self.1 { n.to_be_bytes() } else { n.to_le_bytes() });
            self
        }

        fn half(mut self, n: u16) -> Bytes {
            self.0.extend(if self.1 { n.to_be_bytes() } else { n.to_le_bytes() });
            self
        }

        fn bytes(mut self, bytes: &[u8]) -> Bytes {
            self.0.extend(bytes);
            self
        }

        fn block(self, kind: u32, body: &[u8]) -> Bytes {
            let length = body.len() as u32 + 12;
            self.word(kind).word(length).bytes(body).word(length)
        }
    }

    fn classic(big: bool, magic: u32, link: u32) -> Bytes {
        Bytes(Vec::new(), big).word(magic).half(2).half(4).word(0).word(0).word(65_535).word(link)
    }

    fn record(bytes: Bytes, time: (u32, u32), captured: u32, length: u32, frame: &[u8]) -> Bytes {
        bytes.word(time.0).word(time.1).word(captured).word(length).bytes(frame)
    }

    fn section(big: bool) -> Bytes {
        let body = Bytes(Vec::new(), big).word(0x1a2b_3c4d).half(1).half(0).word(u32::MAX).word(u32::MAX);
        Bytes(Vec::new(), big).block(SECTION, &body.0)
    }

    fn describe(bytes: Bytes, link: u16, options: &[u8]) -> Bytes {
        let body = Bytes(Vec::new(), bytes.1).half(link).half(0).word(0).bytes(options);
        bytes.block(INTERFACE, &body.0)
    }

    fn enhanced(bytes: Bytes, number: u32, ticks: u64, frame: &[u8]) -> Bytes {
        let body = Bytes(Vec::new(), bytes.1).word(number).word((ticks >> 32) as u32).word(ticks as u32);
        let length = frame.len() as u32;
        let body =
            body.word(length).word(length).bytes(frame).bytes(&vec![0; frame.len().next_multiple_of(4) - frame.len()]);
        bytes.block(ENHANCED_PACKET, &body.0)
    }

    type Frames = Vec<(FrameInfo, Vec<u8>)>;

    /// Everything up to the end or the first error.
    fn read(bytes: Bytes) -> (Frames, Option<String>) {
        let mut frames = Vec::new();
        let mut capture = match Capture::read(Path::new("x.pcap"), Box::new(Cursor::new(bytes.0))) {
            Ok(capture) => capture,
            Err(e) => return (frames, Some(e.to_string())),
        };
        let mut frame = Vec::new();
        loop {
            match capture.next(&mut frame) {
                Ok(Some(info)) => frames.push((info, frame.clone())),
                Ok(None) => return (frames, None),
                Err(e) => return (frames, Some(e.to_string())),
            }
        }
    }

    fn info(nanos: u64, link: LinkType) -> FrameInfo {
        FrameInfo { nanos, link, cut: false }
    }

    #[test]
    fn classic_files_of_each_kind() {
        for (big, magic, nanos) in [
            (false, 0xa1b2_c3d4, 7_000_009_000),
            (true, 0xa1b2_c3d4, 7_000_009_000),
            (false, 0xa1b2_3c4d, 7_000_000_009),
            (true, 0xa1b2_3c4d, 7_000_000_009),
        ] {
            let file = record(classic(big, magic, 1), (7, 9), 3, 3, b"abc");
            let (frames, error) = read(record(file, (8, 0), 0, 0, b""));
            assert_eq!(error, None);
            assert_eq!(frames[0], (info(nanos, LinkType::Ethernet), b"abc".to_vec()));
            assert_eq!(frames[1], (info(8_000_000_000, LinkType::Ethernet), Vec::new()));
        }
    }

    #[test]
    fn frames_captured_in_part_are_told() {
        let (frames, _) = read(record(classic(false, 0xa1b2_c3d4, 101), (0, 0), 2, 9, b"ab"));
        assert_eq!(frames[0].0, FrameInfo { nanos: 0, link: LinkType::RawIp, cut: true });
    }

    #[test]
    fn a_cut_file_says_where() {
        let whole = record(record(classic(false, 0xa1b2_c3d4, 1), (0, 0), 3, 3, b"abc"), (0, 0), 5, 5, b"ab");
        let (frames, error) = read(whole);
        assert_eq!(frames.len(), 1);
        assert!(error.unwrap().starts_with("x.pcap: frame 2 (byte 43): cut off here"));
        let (_, error) = read(Bytes(classic(false, 0xa1b2_c3d4, 1).0[..20].to_vec(), false));
        assert_eq!(error.unwrap(), "x.pcap: cut off in its header");
        assert!(read(Bytes(Vec::new(), false)).1.unwrap().contains("empty"));
    }

    #[test]
    fn a_damaged_length_costs_no_memory() {
        let (_, error) = read(record(classic(false, 0xa1b2_c3d4, 1), (0, 0), u32::MAX, 3, b"abc"));
        assert_eq!(error.unwrap(), "x.pcap: frame 1 (byte 24): damaged: a frame of 4294967295 bytes");
        let file = describe(section(false), 1, &[]).word(ENHANCED_PACKET).word(!3u32);
        assert!(read(file).1.unwrap().contains("damaged: a block of 4294967292 bytes"));
        let file = section(false).word(77).word(4);
        assert!(read(file).1.unwrap().contains("damaged: a block of 4 bytes"));
    }

    #[test]
    fn foreign_files_are_named() {
        let told = |magic: &[u8; 4]| read(Bytes(magic.to_vec(), false)).1.unwrap();
        assert!(told(b"\x1f\x8b\x08\x00").contains("gzip"));
        assert!(told(b"[[in").contains("not a capture: it begins with 5b5b696e"));
        assert!(read(classic(false, 0xa1b2_c3d4, 113)).1.unwrap().contains("link type 113 (Linux `any')"));
    }

    #[test]
    fn pcapng_with_units_offsets_and_sections() {
        for big in [false, true] {
            let file = describe(section(big), 1, &[]);
            let nanos = Bytes(Vec::new(), big).half(9).half(1).bytes(&[9, 0, 0, 0]).half(0).half(0);
            let file = describe(file, 101, &nanos.0);
            let binary = Bytes(Vec::new(), big).half(9).half(1).bytes(&[0x8a, 0, 0, 0]).half(14).half(8);
            let offset = if big { 5u64.to_be_bytes() } else { 5u64.to_le_bytes() };
            let file = describe(file, 1, &binary.bytes(&offset).0);
            let file =
                enhanced(enhanced(file, 0, 1_700_000_000_000_001, b"abc"), 1, 1_700_000_000_000_000_001, b"defg");
            let file = enhanced(file.block(0xbad, b"whatever"), 2, 512, b"h");
            // Another section, of the other byte order, counts its interfaces anew.
            let second = enhanced(describe(section(!big), 229, &[]), 0, 1, b"i");
            let (frames, error) = read(file.bytes(&second.0));
            assert_eq!(error, None);
            assert_eq!(frames[0], (info(1_700_000_000_000_001_000, LinkType::Ethernet), b"abc".to_vec()));
            assert_eq!(frames[1], (info(1_700_000_000_000_000_001, LinkType::RawIp), b"defg".to_vec()));
            assert_eq!(frames[2], (info(5_500_000_000, LinkType::Ethernet), b"h".to_vec()));
            assert_eq!(frames[3], (info(1000, LinkType::RawIp), b"i".to_vec()));
        }
    }

    #[test]
    fn pcapng_that_cannot_be_replayed() {
        let simple = describe(section(false), 1, &[]).block(SIMPLE_PACKET, b"\x01\0\0\0abcd");
        assert!(read(simple).1.unwrap().contains("no time stamp"));
        assert!(read(enhanced(section(false), 0, 0, b"abc")).1.unwrap().contains("of interface 0, which"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let path = std::env::temp_dir().join(format!("hairpin-capture-{}.pcap", std::process::id()));
        let mut writer = CaptureWriter::create(&path, LinkType::RawIp).unwrap();
        writer.add(1_700_000_000_123_456_789, b"frame").unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (frames, error) = read(Bytes(bytes, false));
        assert_eq!((frames.len(), error), (1, None));
        assert_eq!(frames[0], (info(1_700_000_000_123_456_000, LinkType::RawIp), b"frame".to_vec()));
    }
}
