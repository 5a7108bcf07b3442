//! Captures in the form pcapng, as far as writing them goes: a section, its interfaces, and packets with comments.
//!
//! The form is that of draft-ietf-opsawg-pcapng. Numbers are little-endian; times are in nanoseconds.

/// Link type of Ethernet frames.
pub const ETHERNET: u16 = 1;
/// Link type of packets that begin with their IP header.
pub const RAW_IP: u16 = 101;
/// Link type of the messages of NFLOG.
pub const NFLOG: u16 = 239;

/// Longer comments are cut.
pub const MAX_COMMENT: usize = 60_000;

/// Which way a packet went, for its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It arrived.
    In,
    /// It left.
    Out,
}

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface: the first that was written is 0.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// Its bytes, perhaps only the first of them.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: u32,
    /// Which way it went.
    pub way: Way,
    /// What there is to say about it; nothing when empty.
    pub comment: &'a str,
}

/// Adds the beginning of a section.
pub fn section(out: &mut Vec<u8>, application: &str) {
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend(1u16.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend(u64::MAX.to_le_bytes());
    option(&mut body, 4, application.as_bytes());
    option(&mut body, 0, &[]);
    block(out, 0x0a0d_0d0a, &body);
}

/// Adds an interface.
pub fn interface(out: &mut Vec<u8>, name: &str, link: u16, snap: u32) {
    let mut body = Vec::new();
    body.extend(link.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend(snap.to_le_bytes());
    option(&mut body, 2, name.as_bytes());
    // Nanoseconds.
    option(&mut body, 9, &[9]);
    option(&mut body, 0, &[]);
    block(out, 1, &body);
}

/// Adds a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut body = Vec::with_capacity(packet.bytes.len() + packet.comment.len() + 48);
    body.extend(packet.interface.to_le_bytes());
    body.extend(((packet.nanos >> 32) as u32).to_le_bytes());
    body.extend((packet.nanos as u32).to_le_bytes());
    body.extend((packet.bytes.len() as u32).to_le_bytes());
    body.extend(packet.length.to_le_bytes());
    padded(&mut body, packet.bytes);
    if !packet.comment.is_empty() {
        let mut end = packet.comment.len().min(MAX_COMMENT);
        while !packet.comment.is_char_boundary(end) {
            end -= 1;
        }
        option(&mut body, 1, &packet.comment.as_bytes()[..end]);
    }
    let flags: u32 = match packet.way {
        Way::In => 1,
        Way::Out => 2,
    };
    option(&mut body, 2, &flags.to_le_bytes());
    option(&mut body, 0, &[]);
    block(out, 6, &body);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = value.len().min(usize::from(u16::MAX));
    out.extend(code.to_le_bytes());
    out.extend((length as u16).to_le_bytes());
    padded(out, &value[..length]);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.extend(&[0; 3][..bytes.len().wrapping_neg() % 4]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every block has its length at both ends and in steps of four.
    #[test]
    fn blocks_are_whole() {
        let mut out = Vec::new();
        section(&mut out, "x");
        interface(&mut out, "eth0", ETHERNET, 65_535);
        for length in 0..5 {
            let bytes = vec![7; length];
            packet(
                &mut out,
                &Packet { interface: 0, nanos: 5, bytes: &bytes, length: 9, way: Way::Out, comment: "äh" },
            );
        }
        let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut kinds) = (0, Vec::new());
        while at < out.len() {
            kinds.push(word(at));
            let length = word(at + 4);
            assert_eq!((length % 4, word(at + length - 4)), (0, length));
            at += length;
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 6, 6, 6, 6]);
    }

    #[test]
    fn long_comments_are_cut_between_letters() {
        let mut out = Vec::new();
        let comment = "ä".repeat(MAX_COMMENT);
        packet(&mut out, &Packet { interface: 0, nanos: 0, bytes: &[], length: 0, way: Way::In, comment: &comment });
        assert!(out.len() < MAX_COMMENT + 100);
    }
}
