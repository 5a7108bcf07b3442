//! A command sent to a running gateway over its control socket, and what comes back.
//!
//! ```text
//! client                                    gateway
//!   Request { version, program, words, … }  ──>
//!                                           <──  Stdout(bytes), Stderr(bytes), … in the order of their making
//!                                           <──  End { code, file }       or  Refused(text)
//!   Stop (only while events are watched)    ──>
//! ```
//!
//! Everything is a [`Frame`]: a length, a kind, and so many bytes. No frame is longer than [`MAX_FRAME`]; a request that is, is
//! refused by its length alone. Reading never panics and takes no more memory than bytes have come, whatever they are.

use crate::queue::{Decided, QueuedPacket};
use hairpin_commands::{Call, Outcome};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where the gateway listens when `HAIRPIN_SOCKET` says nothing else.
pub const DEFAULT_SOCKET: &str = "/run/hairpin/control.sock";

/// The version of the protocol that this speaks.
pub const VERSION: u16 = 1;

/// The longest frame: rule files of some hundred thousand rules fit.
pub const MAX_FRAME: usize = 64 << 20;

/// Output is sent in pieces of at most this length.
pub const PIECE: usize = 64 << 10;

/// What is sent in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// From the client: do this.
    Request(Request),
    /// From the client: enough of it.
    Stop,
    /// From a listener of a queue ([`crate::queue`]): what becomes of a packet.
    Decided(Box<Decided>),
    /// To a listener of a queue: a packet that waits.
    Queued(Box<QueuedPacket>),
    /// For standard output.
    Stdout(Vec<u8>),
    /// For standard error.
    Stderr(Vec<u8>),
    /// Done.
    End {
        /// The exit code.
        code: u8,
        /// The file that standard output is for.
        file: Option<String>,
    },
    /// Not done, and why: who asks may not, or speaks another version, or asks too much.
    Refused(String),
}

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The program or verb: `iptables-save`, `status`.
    pub program: String,
    /// The name it was called by.
    pub name: String,
    /// The words behind it.
    pub words: Vec<String>,
    /// What it reads.
    pub input: Vec<u8>,
    /// The client's local date and time, as `ctime` writes it.
    pub date: String,
    /// Whether hints are welcome.
    pub hints: bool,
}

impl Request {
    /// A command as called.
    pub fn of(call: &Call<'_>) -> Request {
        Request {
            program: call.program.name().to_owned(),
            name: call.name.to_owned(),
            words: call.words.to_vec(),
            input: call.input.to_vec(),
            date: call.date.to_owned(),
            hints: call.hints,
        }
    }

    /// A verb with its words.
    pub fn verb(name: &str, words: &[String]) -> Request {
        Request { program: name.to_owned(), name: name.to_owned(), words: words.to_vec(), ..Request::default() }
    }
}

/// Why what came is no frame.
#[derive(Debug)]
pub enum FrameError {
    /// The other end closed the connection, or the system says why it cannot be read.
    Io(io::Error),
    /// It is longer than it may be; so long.
    TooLong(u64),
    /// It is not what this version understands.
    Malformed(&'static str),
    /// It is of another version of the protocol.
    Version(u16),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Io(why) => why.fmt(f),
            FrameError::TooLong(length) => write!(f, "a frame of {length} bytes; {MAX_FRAME} are allowed"),
            FrameError::Malformed(what) => write!(f, "malformed frame: {what}"),
            FrameError::Version(version) => {
                write!(f, "version {version} of the control protocol; this speaks version {VERSION}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

/// Frame kinds on the wire.
mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const STOP: u8 = 2;
    pub(super) const DECIDED: u8 = 3;
    pub(super) const STDOUT: u8 = 16;
    pub(super) const STDERR: u8 = 17;
    pub(super) const END: u8 = 18;
    pub(super) const REFUSED: u8 = 19;
    pub(super) const QUEUED: u8 = 20;
}

impl Frame {
    /// The bytes of the frame: four of length (of what follows them), one of kind, the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Frame::Request(request) => {
                out.push(kind::REQUEST);
                out.extend(VERSION.to_be_bytes());
                put(&mut out, request.program.as_bytes());
                put(&mut out, request.name.as_bytes());
                put(&mut out, request.date.as_bytes());
                out.push(u8::from(request.hints));
                out.extend((request.words.len() as u32).to_be_bytes());
                request.words.iter().for_each(|word| put(&mut out, word.as_bytes()));
                put(&mut out, &request.input);
            }
            Frame::Stop => out.push(kind::STOP),
            Frame::Decided(decided) => {
                out.push(kind::DECIDED);
                decided.encode(&mut out);
            }
            Frame::Queued(packet) => {
                out.push(kind::QUEUED);
                packet.encode(&mut out);
            }
            Frame::Stdout(bytes) => {
                out.push(kind::STDOUT);
                out.extend(bytes);
            }
            Frame::Stderr(bytes) => {
                out.push(kind::STDERR);
                out.extend(bytes);
            }
            Frame::End { code, file } => {
                out.push(kind::END);
                out.push(*code);
                if let Some(file) = file {
                    out.push(1);
                    out.extend(file.as_bytes());
                }
            }
            Frame::Refused(text) => {
                out.push(kind::REFUSED);
                out.extend(text.as_bytes());
            }
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// The frame of these bytes, those behind the length.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        let Some((&kind, content)) = bytes.split_first() else { return Err(FrameError::Malformed("it is empty")) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match kind {
            kind::REQUEST => Frame::Request(decode_request(content)?),
            kind::STOP if content.is_empty() => Frame::Stop,
            kind::DECIDED => Frame::Decided(Box::new(Decided::decode(content)?)),
            kind::QUEUED => Frame::Queued(Box::new(QueuedPacket::decode(content)?)),
            kind::STDOUT => Frame::Stdout(content.to_vec()),
            kind::STDERR => Frame::Stderr(content.to_vec()),
            kind::END => match content {
                [code] => Frame::End { code: *code, file: None },
                [code, 1, file @ ..] => Frame::End { code: *code, file: Some(text(file)) },
                _ => return Err(FrameError::Malformed("an end without a code")),
            },
            kind::REFUSED => Frame::Refused(text(content)),
            _ => return Err(FrameError::Malformed("a kind that is not known")),
        })
    }

    /// Reads a frame of at most `limit` bytes. Memory grows with what has come, not with what is promised.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn read(from: &mut impl Read, limit: usize) -> Result<Frame, FrameError> {
        Frame::read_when(from, limit, |_| ())
    }

    /// As [`Frame::read`]; `admit` is called with the length before anything is read, and what it gives is kept until the frame is
    /// there: a place in a queue of long ones, perhaps.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn read_when<T>(
        from: &mut impl Read,
        limit: usize,
        admit: impl FnOnce(usize) -> T,
    ) -> Result<Frame, FrameError> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > limit as u64 {
            return Err(FrameError::TooLong(length));
        }
        let _admitted = admit(length as usize);
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Frame::decode(&bytes)
    }

    /// Sends it.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn decode_request(bytes: &[u8]) -> Result<Request, FrameError> {
    let mut reader = Reader(bytes);
    let version = u16::from_be_bytes(reader.array()?);
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let program = reader.text()?;
    let name = reader.text()?;
    let date = reader.text()?;
    let [hints] = reader.array()?;
    let count = u32::from_be_bytes(reader.array()?);
    // Not with_capacity: the count may promise more words than there are bytes.
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(reader.text()?);
    }
    let input = reader.bytes()?.to_vec();
    if !reader.0.is_empty() {
        return Err(FrameError::Malformed("bytes behind the end"));
    }
    Ok(Request { program, name, words, input, date, hints: hints != 0 })
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(FrameError::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self) -> Result<String, FrameError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

/// Asks the gateway at this socket, and gives output as it comes to `sink`: first whether it is for standard error, then the bytes.
/// The connection is given to `begun` before that, for who wants to send [`Frame::Stop`] from elsewhere.
///
/// # Errors
/// Nobody listens there, it refuses, or it goes away; the text says which and what to do.
pub fn ask_live(
    socket: &Path,
    request: Request,
    begun: impl FnOnce(&UnixStream),
    sink: &mut dyn FnMut(bool, &[u8]),
) -> Result<Outcome, String> {
    let name = request.name.clone();
    let mut stream = UnixStream::connect(socket).map_err(|why| {
        let remedy = match why.kind() {
            io::ErrorKind::PermissionDenied => "Be root, or a member of the group hairpin",
            _ => "Set HAIRPIN_STATE=FILE to keep the rules in a file, or start `hairpin run'",
        };
        format!("{name}: no gateway at {}: {}. {remedy}", socket.display(), plain(&why))
    })?;
    begun(&stream);
    let gone =
        |why: &dyn std::fmt::Display| format!("{name}: the gateway at {} did not answer: {why}", socket.display());
    let sent = Frame::Request(request).send(&mut stream);
    loop {
        match Frame::read(&mut stream, MAX_FRAME) {
            Ok(Frame::Stdout(bytes)) => sink(false, &bytes),
            Ok(Frame::Stderr(bytes)) => sink(true, &bytes),
            Ok(Frame::End { code, file }) => return Ok(Outcome { code, file, ..Outcome::default() }),
            Ok(Frame::Refused(text)) => return Err(format!("{name}: {text}")),
            Ok(Frame::Request(_) | Frame::Stop | Frame::Decided(_) | Frame::Queued(_)) => {
                return Err(gone(&"it speaks out of turn"));
            }
            // What kept the request from being sent is told by what came instead of an answer.
            Err(why) => return Err(gone(&sent.err().map_or(why, FrameError::Io))),
        }
    }
}

/// Asks the gateway at this socket and waits for everything.
///
/// # Errors
/// See [`ask_live`].
pub fn ask(socket: &Path, call: &Call<'_>) -> Result<Outcome, String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = ask_live(socket, Request::of(call), |_| {}, &mut |is_error, bytes| {
        if is_error { err.extend_from_slice(bytes) } else { out.extend_from_slice(bytes) }
    })?;
    Ok(Outcome { stdout: out, stderr: err, ..ended })
}

/// The system's words without Rust's number.
fn plain(why: &io::Error) -> String {
    let text = why.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Verdict;
    use hairpin_wire::Family;
    use proptest::prelude::*;

    fn requests() -> impl Strategy<Value = Request> {
        let words = prop::collection::vec(".{0,12}", 0..6);
        (".{0,9}", ".{0,9}", words, prop::collection::vec(any::<u8>(), 0..300), ".{0,24}", any::<bool>())
            .prop_map(|(program, name, words, input, date, hints)| Request { program, name, words, input, date, hints })
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            requests().prop_map(Frame::Request),
            Just(Frame::Stop),
            bytes().prop_map(Frame::Stdout),
            bytes().prop_map(Frame::Stderr),
            (any::<u8>(), prop::option::of(".{0,20}")).prop_map(|(code, file)| Frame::End { code, file }),
            ".{0,40}".prop_map(Frame::Refused),
            (
                any::<u32>(),
                any::<u16>(),
                any::<u8>(),
                0..4u8,
                prop::option::of(any::<u32>()),
                prop::option::of(bytes())
            )
                .prop_map(|(id, queue, _, verdict, mark, bytes)| {
                    let verdict = match verdict {
                        0 => Verdict::Drop,
                        1 => Verdict::Accept,
                        2 => Verdict::Queue(queue),
                        _ => Verdict::Repeat,
                    };
                    Frame::Decided(Box::new(Decided { id, verdict, mark, bytes }))
                }),
            (any::<(u32, u16, u8, bool, u32, u64, u32)>(), ".{0,9}", ".{0,9}", bytes(), bytes()).prop_map(
                |((id, queue, hook, is_v4, mark, nanos, length), table, iif, link_header, bytes)| {
                    let family = if is_v4 { Family::V4 } else { Family::V6 };
                    let oif = String::new();
                    Frame::Queued(Box::new(QueuedPacket {
                        id,
                        queue,
                        hook,
                        family,
                        mark,
                        nanos,
                        length,
                        table,
                        iif,
                        oif,
                        link_header,
                        bytes,
                    }))
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(frame in frames()) {
            let bytes = frame.encode();
            prop_assert_eq!(Frame::read(&mut &bytes[..], MAX_FRAME).unwrap(), frame);
        }

        /// Cut, flipped or random bytes give an error or some frame, and no panic.
        #[test]
        fn hostile_bytes(frame in frames(), cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let mut bytes = frame.encode();
            let whole = bytes.len();
            bytes.truncate(cut.index(whole) + 1);
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            let _ = Frame::read(&mut &bytes[..], MAX_FRAME);
            let _ = Frame::decode(&bytes);
        }
    }

    #[test]
    fn promises_take_no_memory() {
        // Four gigabytes announced, or four billion words, and nothing behind it.
        assert!(matches!(Frame::read(&mut &[0xff; 8][..], MAX_FRAME), Err(FrameError::TooLong(_))));
        let mut bytes = Frame::Request(Request::default()).encode();
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Frame::read(&mut &bytes[..], MAX_FRAME), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Frame::Request(Request::default()).encode();
        bytes[5..7].copy_from_slice(&7u16.to_be_bytes());
        let text = Frame::read(&mut &bytes[..], MAX_FRAME).unwrap_err().to_string();
        assert_eq!(text, "version 7 of the control protocol; this speaks version 1");
    }
}
