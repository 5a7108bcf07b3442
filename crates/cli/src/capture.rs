//! Captures: classic pcap (micro- and nanoseconds, either byte order) and pcapng, read as a stream; classic pcap written.

use pcap_file::pcap::{PcapReader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError, TsResolution};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// What is wrong with a capture, and where.
#[derive(Debug)]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// The frame at fault, from 1; 0 when it is the file's beginning.
    pub frame: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if self.frame != 0 {
            write!(f, "frame {}: ", self.frame)?;
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

/// A capture being read, frame by frame.
pub struct Capture {
    path: PathBuf,
    source: Source,
    frames: u64,
    /// Bytes of the file, for progress; 0 when unknown.
    pub size: u64,
}

enum Source {
    Classic(Box<PcapReader<BufReader<File>>>, LinkType),
    Ng(Box<PcapNgReader<BufReader<File>>>),
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capture({}, frame {})", self.path.display(), self.frames)
    }
}

impl Capture {
    /// Opens a capture and reads its head.
    pub fn open(path: &Path) -> Result<Capture, CaptureError> {
        let fail = |what: String| CaptureError { path: path.to_owned(), frame: 0, what };
        let open = || File::open(path).map_err(|e| fail(format!("cannot be opened: {e}")));
        let mut magic = [0u8; 4];
        let mut file = open()?;
        let size = file.metadata().map(|m| m.len()).unwrap_or(0);
        file.read_exact(&mut magic)
            .map_err(|_| fail("too short for a capture (a pcap file has a header of 24 bytes)".to_owned()))?;
        // Pipes cannot be opened twice, so what was read is not read again but known: only plain files are taken.
        let file = open()?;
        let source = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                let reader = PcapNgReader::new(BufReader::new(file)).map_err(|e| fail(describe(&e)))?;
                Source::Ng(Box::new(reader))
            }
            [0xa1, 0xb2, 0xc3, 0xd4 | 0xcd]
            | [0xd4 | 0x4d, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(BufReader::new(file)).map_err(|e| fail(describe(&e)))?;
                let link = link_type(reader.header().datalink).map_err(fail)?;
                Source::Classic(Box::new(reader), link)
            }
            _ => {
                let hex: String = magic.iter().map(|b| format!("{b:02x}")).collect();
                return Err(fail(format!(
                    "not a capture: it begins with {hex}, not with the magic number of pcap or pcapng \
                     (`tcpdump -w FILE` writes one)"
                )));
            }
        };
        Ok(Capture { path: path.to_owned(), source, frames: 0, size })
    }

    /// Reads the next frame into `frame`; gives its time in nanoseconds since 1970 and what it begins with. None at the end.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<(u64, LinkType)>, CaptureError> {
        self.frames += 1;
        let (path, number) = (&self.path, self.frames);
        let fail = |what: String| CaptureError { path: path.clone(), frame: number, what };
        frame.clear();
        match &mut self.source {
            Source::Classic(reader, link) => {
                let resolution = reader.header().ts_resolution;
                match reader.next_raw_packet() {
                    None => Ok(None),
                    Some(Err(e)) => Err(fail(describe(&e))),
                    Some(Ok(packet)) => {
                        frame.extend_from_slice(&packet.data);
                        Ok(Some((classic_time(&packet, resolution), *link)))
                    }
                }
            }
            Source::Ng(reader) => loop {
                let (data, ticks, interface) = match reader.next_block() {
                    None => return Ok(None),
                    Some(Err(e)) => return Err(fail(describe(&e))),
                    Some(Ok(Block::EnhancedPacket(p))) => {
                        (p.data.into_owned(), p.timestamp.as_nanos() as u64, p.interface_id)
                    }
                    Some(Ok(Block::SimplePacket(_))) => {
                        return Err(fail(
                            "a simple packet block: it has no time stamp, so it has no place in a replay".to_owned(),
                        ));
                    }
                    Some(Ok(_)) => continue,
                };
                let Some(interface) = reader.interfaces().get(interface as usize) else {
                    return Err(fail(format!("names interface {interface}, which the capture does not describe")));
                };
                let link = link_type(interface.linktype).map_err(fail)?;
                frame.extend_from_slice(&data);
                return Ok(Some((scaled(ticks, resolution(&interface.options)), link)));
            },
        }
    }
}

fn classic_time(packet: &RawPcapPacket<'_>, resolution: TsResolution) -> u64 {
    let unit = if resolution == TsResolution::NanoSecond { 1 } else { 1000 };
    u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit
}

/// pcapng's if_tsresol: a power of ten, or with the highest bit set of two; microseconds when it is missing.
fn resolution(options: &[InterfaceDescriptionOption<'_>]) -> u8 {
    options
        .iter()
        .find_map(|o| if let InterfaceDescriptionOption::IfTsResol(r) = o { Some(*r) } else { None })
        .unwrap_or(6)
}

fn scaled(ticks: u64, resolution: u8) -> u64 {
    let per_second = match resolution {
        r if r & 0x80 != 0 => 1u128.checked_shl(u32::from(r & 0x7f)),
        r => 10u128.checked_pow(u32::from(r)),
    };
    let nanos = u128::from(ticks) * 1_000_000_000 / per_second.unwrap_or(u128::MAX).max(1);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

fn link_type(link: DataLink) -> Result<LinkType, String> {
    match link {
        DataLink::ETHERNET => Ok(LinkType::Ethernet),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => Ok(LinkType::RawIp),
        other => Err(format!(
            "frames of link type {other:?}; only Ethernet (1) and raw IP (101) are understood \
             (capture on one device, not on `any`)"
        )),
    }
}

fn describe(error: &PcapError) -> String {
    match error {
        PcapError::IncompleteBuffer => "cut off in the middle of a frame".to_owned(),
        PcapError::InvalidField(field) => format!("damaged: {field}"),
        PcapError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "cut off in the middle of a frame".to_owned()
        }
        PcapError::IoError(e) => format!("cannot be read: {e}"),
        other => format!("damaged: {other}"),
    }
}

/// A classic pcap file with microseconds and Ethernet frames, being written.
pub struct CaptureWriter {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
}

impl fmt::Debug for CaptureWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaptureWriter({})", self.path.display())
    }
}

impl CaptureWriter {
    /// Creates the file with its header; `link` is what its frames begin with.
    pub fn create(path: &Path, link: LinkType) -> Result<CaptureWriter, CaptureError> {
        let fail = |what: String| CaptureError { path: path.to_owned(), frame: 0, what };
        let file = File::create(path).map_err(|e| fail(format!("cannot be written: {e}")))?;
        let header = pcap_file::pcap::PcapHeader {
            datalink: if link == LinkType::Ethernet { DataLink::ETHERNET } else { DataLink::RAW },
            snaplen: 262_144,
            endianness: pcap_file::Endianness::Little,
            ..Default::default()
        };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|e| fail(format!("cannot be written: {e}")))?;
        Ok(CaptureWriter { path: path.to_owned(), writer })
    }

    /// Adds a frame at a time in nanoseconds since 1970.
    pub fn add(&mut self, nanos: u64, frame: &[u8]) -> Result<(), CaptureError> {
        let packet = RawPcapPacket {
            ts_sec: (nanos / 1_000_000_000) as u32,
            ts_frac: (nanos % 1_000_000_000 / 1000) as u32,
            incl_len: frame.len() as u32,
            orig_len: frame.len() as u32,
            data: frame.into(),
        };
        match self.writer.write_raw_packet(&packet) {
            Ok(_) => Ok(()),
            Err(e) => Err(CaptureError { path: self.path.clone(), frame: 0, what: format!("cannot be written: {e}") }),
        }
    }

    /// Writes what is still in memory.
    pub fn finish(self) -> Result<(), CaptureError> {
        let path = self.path;
        let fail = |e| CaptureError { path: path.clone(), frame: 0, what: format!("cannot be written: {e}") };
        self.writer.into_writer().flush().map_err(fail)
    }
}
