//! SCTP: which state the chunks of a packet bring an association to, and whether its verification tag fits.
//!
//! Facts: Linux 6.18; RFC 9260, sections 8.4 (packets out of the blue), 8.5 and 8.5.1 (verification tags). Nothing here panics, and
//! the work for a packet is bounded by its chunks.

use super::{Conn, Direction, Observe, ProtoState, Seen, Status};
use crate::hook::Hook;
use crate::packet::Packet;
use hairpin_wire::sctp::{CHUNK_HEADER_LEN, Chunk, Sctp, chunk};

/// Looks at a packet of `conn` that goes `dir`, and brings the association to its next state. `is_new` says that the connection is
/// not confirmed yet: then the packet must be one that may begin it.
pub(crate) fn observe(conn: &mut Conn, dir: Direction, packet: &Packet, is_new: bool, context: &Observe<'_>) -> Seen {
    let Some(sctp) = Sctp::new(packet.l4()) else { return Seen::Invalid("truncated packet") };
    if context.knobs.checksum && context.hook == Hook::Prerouting && !sctp.checksum_ok() {
        return Seen::Invalid("bad CRC");
    }
    let kinds = match Kinds::of(&sctp) {
        Ok(kinds) => kinds,
        Err(reason) => return Seen::Invalid(reason),
    };
    let known = match conn.proto {
        ProtoState::Sctp { state, tags, flags } if !is_new => Some(Association { state, tags, flags }),
        _ => Association::begin(&sctp, &kinds),
    };
    let Some(mut association) = known else { return Seen::Invalid("no association begins so") };
    if kinds.tag_counts() && sctp.tag() != association.tags[dir.index()] {
        return Seen::Invalid("verification tag");
    }
    let mut status = conn.status;
    let walked =
        Walk { association: &mut association, sctp: &sctp, kinds: &kinds, dir, is_new, status: &mut status }.run();
    // What the chunks before a refused one said stays.
    let Association { state, tags, flags } = association;
    conn.proto = ProtoState::Sctp { state, tags, flags };
    conn.status = status;
    match walked {
        Walked::Invalid => return Seen::Invalid("invalid state or verification tag"),
        Walked::Ignored => return Seen::Ignore,
        Walked::Counts => {}
    }
    conn.refresh(context.now.mono, context.knobs.sctp_timeouts.get(usize::from(state)).copied().unwrap_or_default());
    Seen::Accept
}

/// The word that `conntrack -L` prints for a state number.
pub(crate) const fn state_text(state: u8) -> &'static str {
    match state {
        CLOSED => "CLOSED",
        COOKIE_WAIT => "COOKIE_WAIT",
        COOKIE_ECHOED => "COOKIE_ECHOED",
        ESTABLISHED => "ESTABLISHED",
        SHUTDOWN_SENT => "SHUTDOWN_SENT",
        SHUTDOWN_RECD => "SHUTDOWN_RECD",
        SHUTDOWN_ACK_SENT => "SHUTDOWN_ACK_SENT",
        HEARTBEAT_SENT => "HEARTBEAT_SENT",
        _ => "NONE",
    }
}

/// The states (`enum sctp_conntrack`).
const NONE: u8 = 0;
const CLOSED: u8 = 1;
const COOKIE_WAIT: u8 = 2;
const COOKIE_ECHOED: u8 = 3;
const ESTABLISHED: u8 = 4;
const SHUTDOWN_SENT: u8 = 5;
const SHUTDOWN_RECD: u8 = 6;
const SHUTDOWN_ACK_SENT: u8 = 7;
const HEARTBEAT_SENT: u8 = 8;
/// Not a state: the chunk cannot be.
const INVALID: u8 = 9;

/// The next state, by direction, row of [`row`] and state.
#[rustfmt::skip]
static NEXT: [[[u8; 9]; 11]; 2] = {
    const NO: u8 = NONE;
    const CL: u8 = CLOSED;
    const CW: u8 = COOKIE_WAIT;
    const CE: u8 = COOKIE_ECHOED;
    const ES: u8 = ESTABLISHED;
    const SS: u8 = SHUTDOWN_SENT;
    const SR: u8 = SHUTDOWN_RECD;
    const SA: u8 = SHUTDOWN_ACK_SENT;
    const HS: u8 = HEARTBEAT_SENT;
    const IV: u8 = INVALID;
    // States are numbered in the order of the columns.
    const _: () = assert!(NO == 0 && HS == 8);
    [
        // Original direction. In state:
        //  NO  CL  CW  CE  ES  SS  SR  SA  HS
        [
            // INIT: begins; the answer brings it to COOKIE_WAIT.
            [CL, CL, CW, CE, ES, CL, CL, SA, CW],
            // INIT_ACK.
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            // ABORT.
            [CL, CL, CL, CL, CL, CL, CL, CL, CL],
            // SHUTDOWN.
            [CL, CL, CW, CE, SS, SS, SR, SA, CL],
            // SHUTDOWN_ACK: also out of the blue.
            [SA, CL, CW, CE, ES, SA, SA, SA, SA],
            // ERROR.
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            // COOKIE_ECHO.
            [CL, CL, CE, CE, ES, SS, SR, SA, CL],
            // COOKIE_ACK: of the other end's association in a collision.
            [CL, CL, CW, ES, ES, SS, SR, SA, CL],
            // SHUTDOWN_COMPLETE.
            [CL, CL, CW, CE, ES, SS, SR, CL, CL],
            // HEARTBEAT: begins a second path of a known association.
            [HS, CL, CW, CE, ES, SS, SR, SA, HS],
            // HEARTBEAT_ACK.
            [CL, CL, CW, CE, ES, SS, SR, SA, HS],
        ],
        // Reply direction. In state:
        //  NO  CL  CW  CE  ES  SS  SR  SA  HS
        [
            // INIT: a collision.
            [IV, CL, CW, CE, ES, SS, SR, SA, IV],
            // INIT_ACK: the answer to INIT.
            [IV, CW, CW, CE, ES, SS, SR, SA, IV],
            // ABORT.
            [IV, CL, CL, CL, CL, CL, CL, CL, IV],
            // SHUTDOWN.
            [IV, CL, CW, CE, SR, SS, SR, SA, IV],
            // SHUTDOWN_ACK.
            [IV, CL, CW, CE, ES, SA, SA, SA, IV],
            // ERROR: perhaps a stale cookie.
            [IV, CL, CW, CL, ES, SS, SR, SA, IV],
            // COOKIE_ECHO.
            [IV, CL, CE, CE, ES, SS, SR, SA, IV],
            // COOKIE_ACK: the handshake is over.
            [IV, CL, CW, ES, ES, SS, SR, SA, IV],
            // SHUTDOWN_COMPLETE.
            [IV, CL, CW, CE, ES, SS, SR, CL, IV],
            // HEARTBEAT.
            [IV, CL, CW, CE, ES, SS, SR, SA, HS],
            // HEARTBEAT_ACK: the path works.
            [IV, CL, CW, CE, ES, SS, SR, SA, ES],
        ],
    ]
};

/// The chunks that have a row in [`NEXT`]; the others change no state.
const ROWS: [u8; 11] = [
    chunk::INIT,
    chunk::INIT_ACK,
    chunk::ABORT,
    chunk::SHUTDOWN,
    chunk::SHUTDOWN_ACK,
    chunk::ERROR,
    chunk::COOKIE_ECHO,
    chunk::COOKIE_ACK,
    chunk::SHUTDOWN_COMPLETE,
    chunk::HEARTBEAT,
    chunk::HEARTBEAT_ACK,
];

fn next(dir: Direction, state: u8, kind: u8) -> u8 {
    match ROWS.iter().position(|row| *row == kind) {
        Some(row) => NEXT[dir.index()][row].get(usize::from(state)).copied().unwrap_or(INVALID),
        None => state,
    }
}

/// [`ProtoState::Sctp`]'s flags.
mod flag {
    use super::Direction;

    /// This direction sent INIT in a handshake that is not over.
    pub(super) const fn init(dir: Direction) -> u8 {
        1 << dir.index()
    }
    /// A HEARTBEAT had a wrong tag.
    pub(super) const HEARTBEAT_FAILED: u8 = 4;
    /// It went in reply direction.
    pub(super) const HEARTBEAT_REPLY: u8 = 8;
}

/// The kinds of chunk in a packet, a bit for each.
struct Kinds([u128; 2]);

impl Kinds {
    /// Those of a packet whose chunks may stand together so.
    fn of(sctp: &Sctp<&[u8]>) -> Result<Kinds, &'static str> {
        let mut kinds = Kinds([0; 2]);
        let (mut alone, mut count) = (false, 0);
        for chunk in sctp.chunks() {
            alone |= matches!(chunk.kind, chunk::INIT | chunk::INIT_ACK | chunk::SHUTDOWN_COMPLETE);
            let first = alone || matches!(chunk.kind, chunk::COOKIE_ACK | chunk::COOKIE_ECHO);
            if (first && count != 0) || chunk.len == 0 {
                return Err("chunks that do not go together");
            }
            kinds.0[usize::from(chunk.kind >> 7)] |= 1 << (chunk.kind & 0x7f);
            count += 1;
        }
        if count == 0 { Err("no chunks") } else { Ok(kinds) }
    }

    fn has(&self, kind: u8) -> bool {
        self.0[usize::from(kind >> 7)] & 1 << (kind & 0x7f) != 0
    }

    /// Whether the packet's tag must be its direction's: no chunk of it has a rule of its own.
    fn tag_counts(&self) -> bool {
        const OWN_RULE: [u8; 7] = [
            chunk::INIT,
            chunk::SHUTDOWN_COMPLETE,
            chunk::COOKIE_ECHO,
            chunk::ABORT,
            chunk::SHUTDOWN_ACK,
            chunk::HEARTBEAT,
            chunk::HEARTBEAT_ACK,
        ];
        !OWN_RULE.iter().any(|kind| self.has(*kind))
    }
}

/// What is known of an association.
#[derive(Clone, Copy)]
struct Association {
    state: u8,
    /// The tag that packets of each direction carry; 0 until known.
    tags: [u32; 2],
    flags: u8,
}

impl Association {
    /// One that this packet begins; None when it cannot.
    fn begin(sctp: &Sctp<&[u8]>, kinds: &Kinds) -> Option<Association> {
        if [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::COOKIE_ACK].iter().any(|kind| kinds.has(*kind)) {
            return None;
        }
        let mut new = Association { state: NONE, tags: [0; 2], flags: 0 };
        for chunk in sctp.chunks() {
            if matches!(next(Direction::Original, NONE, chunk.kind), NONE | INVALID) {
                return None;
            }
            match chunk.kind {
                chunk::INIT if sctp.tag() != 0 => return None,
                chunk::INIT => {
                    new.tags[1] = init_tag(sctp, &chunk)?;
                    new.flags |= flag::init(Direction::Original);
                }
                chunk::HEARTBEAT => new.tags[0] = sctp.tag(),
                // Out of the blue, it is answered with its own tag.
                chunk::SHUTDOWN_ACK => new.tags[1] = sctp.tag(),
                _ => {}
            }
        }
        Some(new)
    }
}

/// The tag that an INIT or INIT_ACK announces: what packets to its sender will carry.
fn init_tag(sctp: &Sctp<&[u8]>, chunk: &Chunk<'_>) -> Option<u32> {
    /// Bytes of the fixed part of INIT.
    const FIXED: usize = 16;
    let start = chunk.offset + CHUNK_HEADER_LEN;
    match *sctp.as_bytes().get(start..start + FIXED)? {
        [a, b, c, d, ..] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The walk over the chunks of a packet.
struct Walk<'a> {
    association: &'a mut Association,
    sctp: &'a Sctp<&'a [u8]>,
    kinds: &'a Kinds,
    dir: Direction,
    is_new: bool,
    status: &'a mut Status,
}

/// What a walk found.
enum Walked {
    Counts,
    /// It passes without being counted.
    Ignored,
    /// A chunk cannot be.
    Invalid,
}

/// What the tag of a chunk's packet says.
enum TagSays {
    Right,
    /// Wrong, but a HEARTBEAT's may be: the association may be newer than what we know.
    Ignore,
    Wrong,
}

impl Walk<'_> {
    /// Follows the chunks up to one that cannot be.
    fn run(mut self) -> Walked {
        let (mut ignored, sctp) = (false, self.sctp);
        for chunk in sctp.chunks() {
            match self.tag(&chunk, ignored) {
                TagSays::Right => {}
                TagSays::Ignore => {
                    ignored = true;
                    continue;
                }
                TagSays::Wrong => return Walked::Invalid,
            }
            let old = self.association.state;
            let new = next(self.dir, old, chunk.kind);
            if new == INVALID || self.announced(&chunk).is_none() {
                return Walked::Invalid;
            }
            // Whoever only repeats its INIT keeps nothing alive.
            ignored |= chunk.kind == chunk::INIT && old == CLOSED && new == CLOSED && !self.is_new;
            self.association.state = new;
            if old != new && new == ESTABLISHED {
                self.status.set(Status::ASSURED);
            }
        }
        if ignored { Walked::Ignored } else { Walked::Counts }
    }

    /// Takes up the tag that the chunk announces, if it does; None when it is refused.
    fn announced(&mut self, chunk: &Chunk<'_>) -> Option<()> {
        match chunk.kind {
            chunk::INIT => self.init(chunk),
            chunk::INIT_ACK => self.init_ack(chunk),
            _ => Some(()),
        }
    }

    /// The rule for the packet's tag that comes with this chunk.
    fn tag(&mut self, chunk: &Chunk<'_>, ignored: bool) -> TagSays {
        let tag = self.sctp.tag();
        let [own, peer] = [self.dir, self.dir.other()].map(|dir| self.association.tags[dir.index()]);
        let when = |right| if right { TagSays::Right } else { TagSays::Wrong };
        match chunk.kind {
            chunk::INIT => when(tag == 0),
            chunk::ABORT | chunk::SHUTDOWN_COMPLETE => {
                /// The sender knew no tag and reflects that of the packet it answers.
                const T: u8 = 1;
                when(tag == if chunk.flags & T == 0 { own } else { peer })
            }
            chunk::COOKIE_ECHO => when(tag == own),
            chunk::COOKIE_ACK => {
                // The handshake is over: no INIT waits for its answer.
                self.association.flags &= !(flag::init(Direction::Original) | flag::init(Direction::Reply));
                TagSays::Right
            }
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK => self.heartbeat_tag(chunk.kind, ignored),
            _ => TagSays::Right,
        }
    }

    /// Heartbeats teach the tags of a path that was not seen beginning. One with a wrong tag that the other end answers shows that we
    /// knew an older association.
    fn heartbeat_tag(&mut self, kind: u8, ignored: bool) -> TagSays {
        let (tag, dir) = (self.sctp.tag(), self.dir);
        let known = &mut *self.association;
        let own = known.tags[dir.index()];
        if own == 0 {
            known.tags[dir.index()] = tag;
            return TagSays::Right;
        }
        if tag == own {
            known.flags &= !flag::HEARTBEAT_FAILED;
            return TagSays::Right;
        }
        if ignored || self.kinds.has(chunk::DATA) {
            return TagSays::Wrong;
        }
        let failed_before = known.flags & flag::HEARTBEAT_FAILED != 0;
        let failed_dir = if known.flags & flag::HEARTBEAT_REPLY == 0 { Direction::Original } else { Direction::Reply };
        if kind == chunk::HEARTBEAT {
            known.flags = known.flags & !flag::HEARTBEAT_REPLY | flag::HEARTBEAT_FAILED;
            if dir == Direction::Reply {
                known.flags |= flag::HEARTBEAT_REPLY;
            }
            TagSays::Ignore
        } else if failed_before && failed_dir != dir {
            known.flags &= !flag::HEARTBEAT_FAILED;
            known.tags[dir.index()] = tag;
            known.tags[dir.other().index()] = 0;
            TagSays::Right
        } else {
            TagSays::Wrong
        }
    }

    /// Takes up the tag that an INIT announces.
    fn init(&mut self, chunk: &Chunk<'_>) -> Option<()> {
        let tag = init_tag(self.sctp, chunk)?;
        let (own, peer) = (flag::init(self.dir), flag::init(self.dir.other()));
        let known = &mut *self.association;
        let announced = &mut known.tags[self.dir.other().index()];
        if *announced != tag {
            // Both had sent one: this end begins anew.
            if known.flags & (own | peer) == own | peer {
                known.flags &= !peer;
            }
            known.flags |= own;
            *announced = tag;
        }
        Some(())
    }

    /// Takes up the tag that an INIT_ACK announces, unless another is known already and this is not the answer to an INIT.
    fn init_ack(&mut self, chunk: &Chunk<'_>) -> Option<()> {
        let tag = init_tag(self.sctp, chunk)?;
        let known = &mut *self.association;
        let [own_init, peer_init] = [self.dir, self.dir.other()].map(|dir| known.flags & flag::init(dir) != 0);
        let announced = &mut known.tags[self.dir.other().index()];
        let is_other = *announced != tag;
        if is_other && ((!peer_init && *announced != 0) || (own_init && peer_init)) {
            return None;
        }
        *announced = tag;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::Knobs;
    use crate::track::testing::Follow;
    use hairpin_wire::{Addr, Family, build, proto};
    use proptest::prelude::*;

    /// Conversations as Linux 6.18.44 followed them. A line is direction, verification tag and chunks of a packet (with the announced
    /// tag of INIT and INIT_ACK, T for the T bit); behind the colon its class and the entry after it.
    const RECORDED: &str = include_str!("sctp_traces.txt");

    #[test]
    fn follows_conversations_as_the_kernel_does() {
        let knobs = Knobs { sctp_timeouts: [0, 1000, 2000, 3000, 9000, 4000, 5000, 6000, 7000], ..Knobs::default() };
        let mut traces = 0;
        for lines in RECORDED.split("trace\n").skip(1) {
            Follow::new(observe, proto::SCTP, knobs.clone()).replay(lines, 40, packet);
            traces += 1;
        }
        assert!(traces > 100);
    }

    #[test]
    fn an_association_lives_and_ends() {
        Follow::new(observe, proto::SCTP, Knobs::default()).replay(
            "o 0 INIT:1 : NEW CLOSED 10
             r 1 INIT_ACK:2 : ESTABLISHED COOKIE_WAIT 3
             o 2 COOKIE_ECHO DATA : ESTABLISHED COOKIE_ECHOED 3
             r 1 COOKIE_ACK SACK : ESTABLISHED ESTABLISHED 210 assured
             o 3 DATA : INVALID ESTABLISHED 210
             o 2 DATA : ESTABLISHED ESTABLISHED 210
             o 2 SHUTDOWN : ESTABLISHED SHUTDOWN_SENT 3
             r 1 SHUTDOWN_ACK : ESTABLISHED SHUTDOWN_ACK_SENT 3
             o 2 SHUTDOWN_COMPLETE : ESTABLISHED CLOSED 10 assured p5/3",
            0,
            packet,
        );
    }

    #[test]
    fn checksums_count_where_packets_come_in() {
        let (_, good) = packet("o 0 INIT:1");
        let mut bytes = good.ip().to_vec();
        bytes[20 + hairpin_wire::sctp::CHECKSUM_OFFSET] ^= 1;
        let bad = Packet::from_ip(&bytes).unwrap();
        assert_eq!(Follow::new(observe, proto::SCTP, Knobs::default()).see(false, &bad), "INVALID");
        let trusting = Knobs { checksum: false, ..Knobs::default() };
        assert_eq!(Follow::new(observe, proto::SCTP, trusting).see(false, &bad), "NEW");
    }

    proptest! {
        #[test]
        fn nothing_panics(packets in prop::collection::vec((any::<bool>(), prop::collection::vec(0u8..20, 0..60)), 1..30)) {
            let mut follow = Follow::new(observe, proto::SCTP, Knobs { checksum: false, ..Knobs::default() });
            for (reply, bytes) in packets {
                let bytes = build::ip(Family::V4, Addr::v4(1), Addr::v4(2), proto::SCTP, &bytes);
                follow.see(reply, &Packet::from_ip(&bytes).unwrap());
            }
        }
    }

    fn packet(text: &str) -> (bool, Packet) {
        let mut words = text.split_whitespace();
        let reply = words.next() == Some("r");
        let tag = words.next().unwrap().parse().unwrap();
        let chunks: Vec<u8> = words.flat_map(chunk_bytes).collect();
        let sctp = build::Sctp { tag, chunks: &chunks, ..build::Sctp::default() };
        (reply, Packet::from_ip(&sctp.packet(Family::V4, Addr::v4(1), Addr::v4(2))).unwrap())
    }

    fn chunk_bytes(word: &str) -> Vec<u8> {
        let (name, argument) = word.split_once(':').unwrap_or((word, ""));
        let (kind, value) = match name {
            "ZERO" => return vec![0; 4],
            "SHORT" => return vec![chunk::SACK, 0],
            "DATA" => (chunk::DATA, vec![1; 12]),
            "SACK" => (chunk::SACK, vec![1; 12]),
            "COOKIE_ECHO" => (chunk::COOKIE_ECHO, vec![1; 12]),
            "INIT" => (chunk::INIT, init(argument)),
            "INIT_ACK" => (chunk::INIT_ACK, init(argument)),
            "HEARTBEAT" => (chunk::HEARTBEAT, vec![]),
            "HEARTBEAT_ACK" => (chunk::HEARTBEAT_ACK, vec![]),
            "ABORT" => (chunk::ABORT, vec![]),
            "SHUTDOWN" => (chunk::SHUTDOWN, vec![]),
            "SHUTDOWN_ACK" => (chunk::SHUTDOWN_ACK, vec![]),
            "ERROR" => (chunk::ERROR, vec![]),
            "COOKIE_ACK" => (chunk::COOKIE_ACK, vec![]),
            "SHUTDOWN_COMPLETE" => (chunk::SHUTDOWN_COMPLETE, vec![]),
            _ => panic!("{word}"),
        };
        let flags = u8::from(argument == "T");
        let length = (CHUNK_HEADER_LEN + value.len()) as u8;
        [vec![kind, flags, 0, length], value].concat()
    }

    fn init(tag: &str) -> Vec<u8> {
        match tag {
            "cut" => vec![0; 4],
            _ => [&tag.parse::<u32>().unwrap().to_be_bytes()[..], &[0; 12]].concat(),
        }
    }
}
