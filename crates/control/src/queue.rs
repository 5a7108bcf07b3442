//! Packets of NFQUEUE over the control socket: what a listener sends and gets.
//!
//! ```text
//! listener                                             gateway
//!   Request { program: "queue", words: ["5", …] }  ──>          5 is the queue's number
//!                                                  <──  Queued { id, … }         one for each packet, as they come
//!   Decided { id, verdict, … }                     ──>          in any order
//!   Stop, or the connection's end                  ──>          what still waits is dropped
//!                                                  <──  End { code }, or Refused(text)
//! ```
//!
//! Frames are those of [`crate::protocol`]: four bytes of length, one of kind, the content. Numbers are big-endian. A text is its length
//! in four bytes and so many of UTF-8.
//!
//! ```text
//! Queued, kind 20              Decided, kind 3
//!   id          4                id        4
//!   queue       2                verdict   1   0 drop, 1 accept, 3 another queue, 4 repeat (the kernel's NF_ numbers)
//!   hook        1   0 to 4       queue     2   for verdict 3, else 0
//!   family      1   4 or 6       has mark  1   0 or 1
//!   mark        4                mark      4
//!   nanos       8   since 1970   has bytes 1   0 or 1
//!   length      4   the whole    bytes         the rest: the packet from its IP header on, checksums right
//!   table       text
//!   in device   text, or empty
//!   out device  text, or empty
//!   link header text (bytes)
//!   packet          the rest: from the IP header on, perhaps only the first bytes
//! ```
//!
//! The words of the request behind the number: `--maxlen N` packets wait at most (1024, as Linux), `--fail-open` lets those pass that find
//! no room (else they are dropped), `--copy N` bytes of each packet are sent (65535).

use crate::protocol::FrameError;
use hairpin_wire::Family;

/// A packet that waits for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedPacket {
    /// Names it in the verdict.
    pub id: u32,
    /// The queue.
    pub queue: u16,
    /// Linux's number of the hook.
    pub hook: u8,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its mark.
    pub mark: u32,
    /// When, in nanoseconds since 1970.
    pub nanos: u64,
    /// How long it is.
    pub length: u32,
    /// The table whose rule gave it here.
    pub table: String,
    /// The device it arrived by; empty when none shows.
    pub iif: String,
    /// The device it leaves by; empty when none shows.
    pub oif: String,
    /// Its link header as received.
    pub link_header: Vec<u8>,
    /// Its bytes, perhaps only the first.
    pub bytes: Vec<u8>,
}

/// What a listener decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which packet.
    pub id: u32,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Its new mark.
    pub mark: Option<u32>,
    /// Its new bytes.
    pub bytes: Option<Vec<u8>>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ends here.
    Drop,
    /// It goes on.
    Accept,
    /// It goes to this queue.
    Queue(u16),
    /// The table is walked again.
    Repeat,
}

impl QueuedPacket {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.id.to_be_bytes());
        out.extend(self.queue.to_be_bytes());
        out.push(self.hook);
        out.push(if self.family == Family::V4 { 4 } else { 6 });
        out.extend(self.mark.to_be_bytes());
        out.extend(self.nanos.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        for text in [self.table.as_bytes(), self.iif.as_bytes(), self.oif.as_bytes(), &self.link_header] {
            out.extend((text.len() as u32).to_be_bytes());
            out.extend(text);
        }
        out.extend(&self.bytes);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<QueuedPacket, FrameError> {
        let mut reader = crate::protocol::Reader(bytes);
        Ok(QueuedPacket {
            id: u32::from_be_bytes(reader.array()?),
            queue: u16::from_be_bytes(reader.array()?),
            hook: u8::from_be_bytes(reader.array()?),
            family: match reader.array()? {
                [4] => Family::V4,
                [6] => Family::V6,
                _ => return Err(FrameError::Malformed("a family that is neither 4 nor 6")),
            },
            mark: u32::from_be_bytes(reader.array()?),
            nanos: u64::from_be_bytes(reader.array()?),
            length: u32::from_be_bytes(reader.array()?),
            table: reader.text()?,
            iif: reader.text()?,
            oif: reader.text()?,
            link_header: reader.bytes()?.to_vec(),
            bytes: reader.0.to_vec(),
        })
    }
}

impl Decided {
    /// This verdict, and nothing changed.
    pub const fn plain(id: u32, verdict: Verdict) -> Decided {
        Decided { id, verdict, mark: None, bytes: None }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (verdict, queue) = match self.verdict {
            Verdict::Drop => (0, 0),
            Verdict::Accept => (1, 0),
            Verdict::Queue(number) => (3, number),
            Verdict::Repeat => (4, 0),
        };
        out.extend(self.id.to_be_bytes());
        out.push(verdict);
        out.extend(queue.to_be_bytes());
        out.push(u8::from(self.mark.is_some()));
        out.extend(self.mark.unwrap_or(0).to_be_bytes());
        out.push(u8::from(self.bytes.is_some()));
        out.extend(self.bytes.iter().flatten());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Decided, FrameError> {
        let mut reader = crate::protocol::Reader(bytes);
        let id = u32::from_be_bytes(reader.array()?);
        let [verdict] = reader.array()?;
        let queue = u16::from_be_bytes(reader.array()?);
        let [has_mark] = reader.array()?;
        let mark = u32::from_be_bytes(reader.array()?);
        let [has_bytes] = reader.array()?;
        let verdict = match verdict {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            3 => Verdict::Queue(queue),
            4 => Verdict::Repeat,
            _ => return Err(FrameError::Malformed("a verdict that is not known")),
        };
        let mark = Some(mark).filter(|_| has_mark != 0);
        let bytes = Some(reader.0.to_vec()).filter(|_| has_bytes != 0);
        Ok(Decided { id, verdict, mark, bytes })
    }
}
