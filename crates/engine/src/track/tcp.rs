//! TCP: which state a segment brings its connection to, whether it fits the window, and how long the connection then lives.
//!
//! The kernel watches from the middle: it cannot know which segments arrive, so it follows both ends with one state for the
//! connection and four numbers per end, and lets doubtful segments pass where an end will settle the doubt. [`observe`] goes
//! through one segment: validity, [`NEXT`], the special rules ([`choose`]), the window ([`Window::check`]), the time-out.
//! Facts: Linux 6.18 and RFC 9293; the window rules are those of van Rooij, "Real stateful TCP packet filtering in IP Filter".
//! Nothing here panics, and the work for a segment is bounded by its options.

use super::{Conn, Direction, Knobs, Observe, ProtoState, Seen, SeqAdjust, Status, TcpSide, TcpState, TcpTrack};
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::{HZ, Instant};
use hairpin_wire::checksum;
use hairpin_wire::proto;
use hairpin_wire::tcp::{self, Tcp, option, options_iter};

/// Looks at a segment of `conn` that goes `dir`, and brings the connection to its next state. `is_new` says that the connection
/// is not confirmed yet: then the segment must be one that may begin it.
pub(crate) fn observe(conn: &mut Conn, dir: Direction, packet: &Packet, is_new: bool, context: &Observe<'_>) -> Seen {
    let segment = match Segment::read(packet, context) {
        Ok(segment) => segment,
        Err(reason) => return Seen::Invalid(reason),
    };
    let known = match conn.proto {
        ProtoState::Tcp(track) if !is_new => Some(track),
        _ => begin(&segment, context.knobs),
    };
    let Some(mut track) = known else {
        return Seen::Invalid("no connection begins so");
    };
    let status = conn.status;
    let seen = match choose(&mut track, &segment, dir, status, context.knobs) {
        Course::Reopen => Seen::Repeat,
        Course::Pass => Seen::Ignore,
        Course::Invalid(reason) => Seen::Invalid(reason),
        Course::Move { old, new, unchecked: true } => move_on(conn, &mut track, &segment, dir, old, new, context),
        Course::Move { old, new, unchecked: false } => {
            let adjust = conn.extra().map_or(SeqAdjust::default(), |extra| extra.seq_adjust[dir.other().index()]);
            let liberal = context.knobs.tcp_be_liberal;
            match (Window { track: &mut track, segment: &segment, dir, adjust, liberal }).check() {
                Fit::Inside => move_on(conn, &mut track, &segment, dir, old, new, context),
                Fit::Ignore => Seen::Ignore,
                Fit::Outside(reason) => {
                    note_invalid(conn, &mut track, &segment, dir, context);
                    Seen::Invalid(reason)
                }
            }
        }
    };
    conn.proto = ProtoState::Tcp(track);
    seen
}

impl TcpTrack {
    /// The ends talked on while nobody looked: what was seen of their windows is too old to judge by. The connection is taken up from
    /// its next segments, and they are judged as leniently as those of one whose beginning was not seen. Window scales stay.
    pub fn forget_windows(&mut self) {
        for side in &mut self.sides {
            *side = TcpSide { scale: side.scale, flags: side.flags | side::LIBERAL, ..TcpSide::default() };
        }
    }
}

/// What the state table tells segments apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    /// No flag of the others. Also the memory of a connection's beginning: nothing was seen before.
    None,
}

/// An entry of the state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    To(TcpState),
    Ignore,
    Invalid,
}

/// The next state, by direction, kind of segment and state.
#[rustfmt::skip]
static NEXT: [[[Next; 10]; 6]; 2] = {
    use TcpState::{Close, CloseWait, Established, FinWait, LastAck, SynRecv, SynSent, SynSent2, TimeWait};
    const SS: Next = Next::To(SynSent);
    const SR: Next = Next::To(SynRecv);
    const ES: Next = Next::To(Established);
    const FW: Next = Next::To(FinWait);
    const CW: Next = Next::To(CloseWait);
    const LA: Next = Next::To(LastAck);
    const TW: Next = Next::To(TimeWait);
    const CL: Next = Next::To(Close);
    const S2: Next = Next::To(SynSent2);
    const IG: Next = Next::Ignore;
    const IV: Next = Next::Invalid;
    [
        // Original direction. In state:
        //  none SS  SR  ES  FW  CW  LA  TW  CL  S2
        [
            // SYN: begins, is repeated, reopens what is closed; else the ends may know better than we do.
            [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
            // SYN+ACK: only the second half of a simultaneous open, and its repetition.
            [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
            // FIN: the first, the second (whoever sent the first), and late repetitions.
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            // ACK: ends the handshake, or acknowledges a FIN; without a connection it takes one up (loose).
            [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
            // RST.
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            // None of these flags.
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
        // Reply direction. In state:
        //  none SS  SR  ES  FW  CW  LA  TW  CL  S2
        [
            // SYN: a simultaneous open, or a reopening from the other end.
            [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
            // SYN+ACK: the answer; later ones may belong to a SYN that was ignored.
            [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
            // FIN: as in the other direction.
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            // ACK: may be the challenge of a half-open end to a SYN; else as in the other direction.
            [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
            // RST.
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            // None of these flags.
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
    ]
};

/// The largest window scale (RFC 7323, section 2.3).
const MAX_SCALE: u8 = 14;

/// [`TcpSide::flags`]: what an end has said or shown.
mod side {
    /// It offered window scaling.
    pub(super) const WINDOW_SCALE: u8 = 0x01;
    /// It offered selective acknowledgement.
    pub(super) const SACK_PERMITTED: u8 = 0x02;
    /// It sent the first FIN.
    pub(super) const CLOSE_INIT: u8 = 0x04;
    /// Its window is not known well enough to judge by.
    pub(super) const LIBERAL: u8 = 0x08;
    /// It sent data that was not acknowledged yet.
    pub(super) const UNACKNOWLEDGED: u8 = 0x10;
    /// [`super::TcpSide::max_ack`] counts.
    pub(super) const MAX_ACK_SET: u8 = 0x20;
}

/// [`TcpTrack::last_flags`]: the options of an ignored SYN as in [`side`], and these.
mod last {
    /// The answer to the ignored SYN may be a challenge (RFC 5961, section 4.2).
    pub(super) const CHALLENGE: u8 = 0x40;
    /// Both ends sent a SYN.
    pub(super) const SIMULTANEOUS: u8 = 0x80;
}

/// Whether the sequence number `a` lies before `b`.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether the sequence number `a` lies after `b`.
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// What counts of a segment.
struct Segment<'a> {
    kind: Kind,
    flags: u8,
    seq: u32,
    ack: u32,
    /// Sequence number behind the segment's data, SYN and FIN.
    end: u32,
    window: u16,
    options: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The packet's segment, or why it is not a valid one.
    fn read(packet: &'a Packet, context: &Observe<'_>) -> Result<Segment<'a>, &'static str> {
        let bytes = packet.l4();
        let tcp = Tcp::new(bytes).filter(Tcp::header_ok).ok_or("truncated packet")?;
        // What leaves this host or was already looked at is trusted.
        if context.knobs.checksum && context.hook == Hook::Prerouting && !checksum_ok(packet) {
            return Err("bad checksum");
        }
        let flags = tcp.flags();
        if !flags_ok(flags) {
            return Err("invalid tcp flag combination");
        }
        let (seq, header_len) = (tcp.seq(), tcp.header_len());
        let length = bytes.len() - header_len + usize::from(flags & tcp::SYN != 0) + usize::from(flags & tcp::FIN != 0);
        Ok(Segment {
            kind: Kind::of(flags),
            flags,
            seq,
            ack: tcp.ack(),
            end: seq.wrapping_add(length as u32),
            window: tcp.window(),
            options: bytes.get(tcp::HEADER_LEN..header_len).unwrap_or_default(),
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The window as a side begins with it: not scaled, and not 0, which means unknown.
    fn first_window(&self) -> u32 {
        u32::from(self.window).max(1)
    }
}

fn checksum_ok(packet: &Packet) -> bool {
    packet.is_checksum_trusted()
        || checksum::transport(packet.family(), packet.src(), packet.dst(), proto::TCP, packet.l4()) == 0
}

/// Whether an honest stack sends these flags together. PSH, ECE and CWR go with all.
fn flags_ok(flags: u8) -> bool {
    use tcp::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    const URGENT_TOO: [u8; 3] = [SYN | URG, FIN | ACK | URG, ACK | URG];
    const PLAIN: [u8; 6] = [SYN, SYN | ACK, RST, RST | ACK, FIN | ACK, ACK];
    let flags = flags & !(PSH | ECE | CWR);
    PLAIN.contains(&flags) || URGENT_TOO.contains(&flags)
}

impl Kind {
    fn of(flags: u8) -> Kind {
        let has = |flag| flags & flag != 0;
        match () {
            () if has(tcp::RST) => Kind::Rst,
            () if has(tcp::SYN) && has(tcp::ACK) => Kind::SynAck,
            () if has(tcp::SYN) => Kind::Syn,
            () if has(tcp::FIN) => Kind::Fin,
            () if has(tcp::ACK) => Kind::Ack,
            () => Kind::None,
        }
    }
}

/// The state of a connection that this segment begins; None when it cannot.
fn begin(segment: &Segment<'_>, knobs: &Knobs) -> Option<TcpTrack> {
    let mut track = TcpTrack { last_index: Kind::None as u8, ..TcpTrack::default() };
    match next(Direction::Original, segment.kind, TcpState::None) {
        Next::To(TcpState::SynSent) => {
            let sender = &mut track.sides[0];
            sender.end = segment.end;
            sender.max_end = segment.end;
            sender.max_window = segment.first_window();
            read_options(segment.options, sender);
        }
        // In the middle of a connection: its history, and so its window scaling, are lost.
        Next::To(_) if knobs.tcp_loose => {
            let sender = &mut track.sides[0];
            sender.end = segment.end;
            sender.max_window = segment.first_window();
            sender.max_end = segment.end.wrapping_add(sender.max_window);
            for side in &mut track.sides {
                side.flags = side::SACK_PERMITTED | side::LIBERAL;
            }
        }
        _ => return None,
    }
    Some(track)
}

fn next(dir: Direction, kind: Kind, state: TcpState) -> Next {
    NEXT[dir.index()][kind as usize][state as usize]
}

/// Takes up the options of a SYN: window scale and selective acknowledgement. Without any option at all, what was known stays.
fn read_options(options: &[u8], side: &mut TcpSide) {
    if options.is_empty() {
        return;
    }
    side.scale = 0;
    side.flags &= side::LIBERAL;
    for (kind, data) in options_iter(options) {
        match (kind, data) {
            (option::SACK_PERMITTED, []) => side.flags |= side::SACK_PERMITTED,
            (option::WINDOW_SCALE, &[scale]) => {
                side.scale = scale.min(MAX_SCALE);
                side.flags |= side::WINDOW_SCALE;
            }
            _ => {}
        }
    }
}

/// The highest sequence number that the segment acknowledges selectively, and at least `ack`. Only the first SACK option counts.
fn highest_sack(options: &[u8], ack: u32) -> u32 {
    let blocks = options_iter(options)
        .find(|(kind, data)| *kind == option::SACK && !data.is_empty() && data.len() % 8 == 0)
        .map_or(&[][..], |(_, data)| data);
    blocks.chunks_exact(8).fold(ack, |highest, block| match *block {
        [_, _, _, _, a, b, c, d] if after(u32::from_be_bytes([a, b, c, d]), highest) => {
            u32::from_be_bytes([a, b, c, d])
        }
        _ => highest,
    })
}

/// What is to be done with a segment.
enum Course {
    /// The connection goes from one state to another, if the segment fits the window or need not.
    Move { old: TcpState, new: TcpState, unchecked: bool },
    /// The connection is over, and this SYN begins another.
    Reopen,
    /// It passes and changes nothing but what was noted of it.
    Pass,
    /// It cannot be.
    Invalid(&'static str),
}

/// The state table's answer, and the rules that make up for what it does not know.
fn choose(track: &mut TcpTrack, segment: &Segment<'_>, dir: Direction, status: Status, knobs: &Knobs) -> Course {
    let old = track.state;
    let entry = next(dir, segment.kind, old);
    let checked = |new| Course::Move { old, new, unchecked: false };
    match entry {
        Next::To(TcpState::SynSent) if old >= TcpState::TimeWait => match may_reopen(track, dir) {
            true => Course::Reopen,
            false => ignore(track, segment, dir),
        },
        Next::Ignore => ignore(track, segment, dir),
        Next::Invalid => Course::Invalid("invalid state"),
        Next::To(TcpState::TimeWait) if is_challenge_in_last_ack(track, segment, dir) => {
            track.last_flags &= !last::CHALLENGE;
            Course::Pass
        }
        Next::To(TcpState::SynSent2) => {
            track.last_flags |= last::SIMULTANEOUS;
            checked(TcpState::SynSent2)
        }
        // The table takes this ACK for one that repeats the SYN+ACK's; after a simultaneous open it ends the handshake.
        Next::To(TcpState::SynRecv)
            if dir == Direction::Reply && segment.kind == Kind::Ack && track.last_flags & last::SIMULTANEOUS != 0 =>
        {
            checked(TcpState::Established)
        }
        Next::To(TcpState::Close) if segment.kind == Kind::Rst => reset(track, segment, dir, status, knobs),
        Next::To(new) => checked(new),
    }
}

/// Whether a SYN may take the place of this closed connection: an end closed it, or the SYN's sender has just reset it.
fn may_reopen(track: &TcpTrack, dir: Direction) -> bool {
    (track.sides[0].flags | track.sides[1].flags) & side::CLOSE_INIT != 0
        || (track.last_direction == dir as u8 && track.last_index == Kind::Rst as u8)
}

/// A segment that the state does not expect, but that the ends may: it passes. A SYN is noted, for if the other end answers it, it
/// was us who were wrong.
fn ignore(track: &mut TcpTrack, segment: &Segment<'_>, dir: Direction) -> Course {
    if answers_ignored_syn(track, segment, dir) {
        resynchronize(track, dir);
        return Course::Move { old: TcpState::SynSent, new: TcpState::SynRecv, unchecked: false };
    }
    track.last_index = segment.kind as u8;
    track.last_direction = dir as u8;
    track.last_seq = segment.seq;
    track.last_end = segment.end;
    track.last_window = segment.window;
    if segment.kind == Kind::Syn && dir == Direction::Original {
        let mut offered = TcpSide::default();
        read_options(segment.options, &mut offered);
        track.last_scale = offered.scale;
        track.last_flags = offered.flags;
        // A challenge in this state would look like the last acknowledgement.
        if track.state == TcpState::LastAck {
            track.last_flags |= last::CHALLENGE;
        }
    }
    if segment.kind == Kind::Ack && dir == Direction::Reply && track.state == TcpState::SynSent {
        track.last_ack = segment.ack;
    }
    Course::Pass
}

fn last_was(track: &TcpTrack, kind: Kind, dir: Direction) -> bool {
    track.last_index == kind as u8 && track.last_direction == dir as u8
}

fn answers_ignored_syn(track: &TcpTrack, segment: &Segment<'_>, dir: Direction) -> bool {
    segment.kind == Kind::SynAck && last_was(track, Kind::Syn, dir.other()) && segment.ack == track.last_end
}

/// Takes the ignored SYN for the connection's beginning; its answer, which goes `dir`, is still to be looked at.
fn resynchronize(track: &mut TcpTrack, dir: Direction) {
    track.last_flags &= !last::CHALLENGE;
    track.sides[dir.other().index()] = TcpSide {
        end: track.last_end,
        max_end: track.last_end,
        max_window: u32::from(track.last_window).max(1),
        max_ack: track.sides[dir.other().index()].max_ack,
        scale: track.last_scale,
        flags: track.last_flags,
    };
    let answering = &mut track.sides[dir.index()];
    *answering = TcpSide { flags: answering.flags & side::LIBERAL, ..TcpSide::default() };
}

/// Whether this ACK, which would end the connection, only challenges the SYN that was let pass.
fn is_challenge_in_last_ack(track: &TcpTrack, segment: &Segment<'_>, dir: Direction) -> bool {
    track.state == TcpState::LastAck
        && segment.kind == Kind::Ack
        && last_was(track, Kind::Syn, dir.other())
        && track.last_flags & last::CHALLENGE != 0
}

/// A RST. One that an end may not believe (RFC 5961, section 3.2) leaves the connection established: the end will challenge it.
fn reset(track: &TcpTrack, segment: &Segment<'_>, dir: Direction, status: Status, knobs: &Knobs) -> Course {
    let old = track.state;
    let course = |new, unchecked| Course::Move { old, new, unchecked };
    if is_closing(old) {
        // The ports may be in use again already; what is known of the window is old.
        return course(TcpState::Close, true);
    }
    let peer = &track.sides[dir.other().index()];
    let established = old == TcpState::Established && status.has(Status::ASSURED);
    let mut new = TcpState::Close;
    if peer.flags & side::MAX_ACK_SET != 0 && track.last_index != Kind::Syn as u8 {
        // Most likely the answer to a SYN.
        if segment.seq == 0 && !established {
            return course(new, false);
        }
        if before(segment.seq, peer.max_ack) && !knobs.tcp_ignore_invalid_rst {
            return Course::Invalid("invalid rst");
        }
        let follows_data = last_was(track, Kind::Ack, dir) && segment.seq == track.last_end;
        if !established || segment.seq == peer.max_ack || follows_data {
            return course(new, false);
        }
        new = old;
    }
    // It answers a SYN or ACK that was let pass, so it may acknowledge what we did not count.
    let answers_ignored = (status.has(Status::SEEN_REPLY) && last_was(track, Kind::Syn, dir.other()))
        || (!status.has(Status::ASSURED) && track.last_index == Kind::Ack as u8);
    let answers_challenge =
        old == TcpState::SynSent && last_was(track, Kind::Ack, Direction::Reply) && segment.seq == track.last_ack;
    course(new, answers_challenge || (answers_ignored && segment.ack == track.last_end))
}

/// The states from FIN_WAIT to CLOSE.
fn is_closing(state: TcpState) -> bool {
    (TcpState::FinWait..=TcpState::Close).contains(&state)
}

/// Whether a segment fits the window.
enum Fit {
    /// It does, or is not judged.
    Inside,
    /// It is old or a little too long: it passes and changes nothing.
    Ignore,
    /// It does not.
    Outside(&'static str),
}

/// A segment before the window of its connection.
struct Window<'a> {
    track: &'a mut TcpTrack,
    segment: &'a Segment<'a>,
    dir: Direction,
    /// How the sequence numbers of the other direction are changed on their way.
    adjust: SeqAdjust,
    /// Let everything pass.
    liberal: bool,
}

/// The numbers of a segment that the window is held against, after corrections.
struct Numbers {
    seq: u32,
    end: u32,
    ack: u32,
    sack: u32,
}

impl Window<'_> {
    /// Judges the segment, and takes up what it says when it fits.
    fn check(mut self) -> Fit {
        let mut n = self.numbers();
        if self.begin_side(&n) {
            return Fit::Inside;
        }
        self.settle(&mut n);
        if before(n.seq, self.sender().max_end.wrapping_add(1)) {
            if let Some(misfit) = self.misfit(&n) {
                return self.unless_liberal(misfit);
            }
        } else {
            let misfit = self.beyond(&n);
            return self.unless_liberal(misfit);
        }
        self.update_sender(&n);
        self.update_receiver(&n);
        self.count_repeats(&n);
        Fit::Inside
    }

    fn sender(&self) -> &TcpSide {
        &self.track.sides[self.dir.index()]
    }

    fn receiver(&self) -> &TcpSide {
        &self.track.sides[self.dir.other().index()]
    }

    fn sides(&mut self) -> (&mut TcpSide, &mut TcpSide) {
        let [original, reply] = &mut self.track.sides;
        match self.dir {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        }
    }

    /// The segment's numbers, as its sender's peer counted before NAT changed them.
    fn numbers(&self) -> Numbers {
        let segment = self.segment;
        let may_sack = self.receiver().flags & side::SACK_PERMITTED != 0;
        let sack = if may_sack { highest_sack(segment.options, segment.ack) } else { segment.ack };
        let offset = self.adjust.offset_at(segment.ack.wrapping_sub(1)) as u32;
        Numbers {
            seq: segment.seq,
            end: segment.end,
            ack: segment.ack.wrapping_sub(offset),
            sack: sack.wrapping_sub(offset),
        }
    }

    /// Begins with a side of which nothing is known yet, or anew with a SYN that differs from the first. True when there is nothing
    /// more to judge: the SYN of a simultaneous open.
    fn begin_side(&mut self, n: &Numbers) -> bool {
        let segment = self.segment;
        let (is_syn, is_bare) = (segment.has(tcp::SYN), !segment.has(tcp::ACK));
        let handshake = matches!(self.track.state, TcpState::SynSent | TcpState::SynRecv);
        if self.sender().max_window == 0 {
            match is_syn {
                true => self.begin_with_syn(n),
                false => self.begin_midway(n),
            }
            is_syn && is_bare
        } else if is_syn && handshake && after(n.end, self.sender().end) {
            self.begin_with_syn(n);
            self.dir == Direction::Reply && is_bare
        } else {
            false
        }
    }

    fn begin_with_syn(&mut self, n: &Numbers) {
        let (segment, dir) = (self.segment, self.dir);
        let (sender, receiver) = self.sides();
        sender.end = n.end;
        sender.max_end = n.end;
        sender.max_window = segment.first_window();
        read_options(segment.options, sender);
        // Scaling works only when both ends offer it (RFC 7323, section 2.2).
        if dir == Direction::Reply && sender.flags & receiver.flags & side::WINDOW_SCALE == 0 {
            sender.scale = 0;
            receiver.scale = 0;
        }
    }

    fn begin_midway(&mut self, n: &Numbers) {
        let window = u32::from(self.segment.window);
        let (sender, receiver) = self.sides();
        sender.end = n.end;
        sender.max_window = shifted(window, sender.scale).max(1);
        sender.max_end = n.end.wrapping_add(sender.max_window);
        if receiver.max_window == 0 {
            receiver.end = n.sack;
            receiver.max_end = n.sack;
        } else if n.sack == receiver.end.wrapping_add(1) {
            // The answer to a keep-alive, whose sequence number lies one below.
            receiver.end = n.sack;
        }
    }

    /// Gives segments without a usable number one that fits.
    fn settle(&self, n: &mut Numbers) {
        let segment = self.segment;
        let broken_reset = segment.has(tcp::RST) && n.ack == 0;
        if !segment.has(tcp::ACK) || broken_reset {
            n.ack = self.receiver().end;
            n.sack = n.ack;
        }
        // The answer of a closed port.
        if segment.has(tcp::RST) && n.seq == 0 && self.track.state == TcpState::SynSent {
            n.seq = self.sender().end;
            n.end = n.seq;
        }
    }

    /// A segment that begins beyond the window. Stacks exceed the window a little; if the other end takes it nevertheless, its
    /// acknowledgement must not look like one of unseen data.
    fn beyond(&mut self, n: &Numbers) -> Fit {
        let overshoot = n.end.wrapping_sub(self.sender().max_end).wrapping_add(1);
        let receiver = self.receiver();
        let excusable = receiver.max_window != 0
            && self.reaches_window(n)
            && self.ack_is_recent(n)
            && overshoot <= receiver.max_window
            && self.ack_is_of_seen_data(n);
        if !excusable {
            return Fit::Outside("SEQ is over upper bound (over the window of the receiver)");
        }
        let (sender, _) = self.sides();
        sender.end = n.end;
        sender.flags |= side::UNACKNOWLEDGED;
        Fit::Ignore
    }

    /// What else does not fit.
    fn misfit(&self, n: &Numbers) -> Option<Fit> {
        if !self.ack_is_of_seen_data(n) {
            Some(Fit::Outside("ACK is over upper bound (ACKed data not seen yet)"))
        } else if (self.receiver().max_window != 0 && !self.reaches_window(n)) || !self.ack_is_recent(n) {
            Some(Fit::Ignore)
        } else {
            None
        }
    }

    /// It does not end before the receiver's window begins.
    fn reaches_window(&self, n: &Numbers) -> bool {
        after(n.end, self.sender().end.wrapping_sub(self.receiver().max_window).wrapping_sub(1))
    }

    /// It acknowledges nothing that its receiver has not sent.
    fn ack_is_of_seen_data(&self, n: &Numbers) -> bool {
        before(n.sack, self.receiver().end.wrapping_add(1))
    }

    /// Its acknowledgement is not older than a window.
    fn ack_is_recent(&self, n: &Numbers) -> bool {
        /// A window for those that never advertised a large one.
        const LEAST: u32 = 66_000;
        let window = self.sender().max_window.max(LEAST);
        after(n.sack, self.receiver().end.wrapping_sub(window).wrapping_sub(1))
    }

    fn unless_liberal(&self, fit: Fit) -> Fit {
        if self.liberal || self.sender().flags & side::LIBERAL != 0 { Fit::Inside } else { fit }
    }

    /// The window the segment advertises. That of a SYN is never scaled.
    fn advertised(&self) -> u32 {
        let window = u32::from(self.segment.window);
        if self.segment.has(tcp::SYN) { window } else { shifted(window, self.sender().scale) }
    }

    fn update_sender(&mut self, n: &Numbers) {
        let reach = self.advertised().wrapping_add(n.sack.wrapping_sub(n.ack));
        let has_ack = self.segment.has(tcp::ACK);
        let (sender, receiver) = self.sides();
        sender.max_window = sender.max_window.max(reach);
        if after(n.end, sender.end) {
            sender.end = n.end;
            sender.flags |= side::UNACKNOWLEDGED;
        }
        if has_ack && (sender.flags & side::MAX_ACK_SET == 0 || after(n.ack, sender.max_ack)) {
            sender.max_ack = n.ack;
            sender.flags |= side::MAX_ACK_SET;
        }
        if receiver.max_window != 0 && after(n.end, sender.max_end) {
            receiver.max_window = receiver.max_window.wrapping_add(n.end.wrapping_sub(sender.max_end));
        }
    }

    fn update_receiver(&mut self, n: &Numbers) {
        let window = self.advertised();
        let (_, receiver) = self.sides();
        let reach = n.sack.wrapping_add(window);
        if after(reach, receiver.max_end.wrapping_sub(1)) {
            // A closed window may be probed with one byte.
            receiver.max_end = reach.wrapping_add(u32::from(window == 0));
        }
        if n.ack == receiver.end {
            receiver.flags &= !side::UNACKNOWLEDGED;
        }
    }

    /// Counts how often the same ACK came in a row: its sender misses something.
    fn count_repeats(&mut self, n: &Numbers) {
        if self.segment.kind != Kind::Ack {
            return;
        }
        let (dir, window, track) = (self.dir as u8, self.segment.window, &mut *self.track);
        let same = track.last_direction == dir
            && track.last_seq == n.seq
            && track.last_ack == n.ack
            && track.last_end == n.end
            && track.last_window == window;
        if same {
            track.retransmissions = track.retransmissions.wrapping_add(1);
            return;
        }
        track.last_direction = dir;
        track.last_seq = n.seq;
        track.last_ack = n.ack;
        track.last_end = n.end;
        track.last_window = window;
        track.retransmissions = 0;
    }
}

/// A window of at most 16 bits, scaled.
fn shifted(window: u32, scale: u8) -> u32 {
    window << scale.min(MAX_SCALE)
}

/// The segment counts: brings the connection to its state, and gives it its time.
fn move_on(
    conn: &mut Conn,
    track: &mut TcpTrack,
    segment: &Segment<'_>,
    dir: Direction,
    old: TcpState,
    new: TcpState,
    context: &Observe<'_>,
) -> Seen {
    track.last_index = segment.kind as u8;
    track.last_direction = dir as u8;
    track.state = new;
    if old != new && new == TcpState::FinWait {
        track.sides[dir.index()].flags |= side::CLOSE_INIT;
    }
    let mut secs = timeout(track, segment.kind, context.knobs);
    if !conn.status.has(Status::SEEN_REPLY) {
        if segment.has(tcp::RST) {
            return Seen::AcceptAndDelete;
        }
        // Whoever only repeats its SYN keeps nothing alive.
        if segment.kind == Kind::Syn && old == TcpState::SynSent {
            return Seen::Ignore;
        }
        if new == TcpState::Established {
            secs = secs.min(context.knobs.tcp_timeout_unacknowledged);
        }
    } else if matches!(old, TcpState::SynRecv | TcpState::Established) && new == TcpState::Established {
        conn.status.set(Status::ASSURED);
    }
    conn.refresh(context.now.mono, secs);
    Seen::Accept
}

/// Seconds that the connection lives on after a segment of this kind.
fn timeout(track: &TcpTrack, kind: Kind, knobs: &Knobs) -> u32 {
    let of_state = knobs.tcp_timeouts[track.state as usize];
    let unacknowledged = (track.sides[0].flags | track.sides[1].flags) & side::UNACKNOWLEDGED != 0;
    if track.retransmissions >= knobs.tcp_max_retrans && of_state > knobs.tcp_timeout_max_retrans {
        knobs.tcp_timeout_max_retrans
    } else if kind == Kind::Rst {
        knobs.tcp_timeouts[TcpState::Close as usize]
    } else if unacknowledged && of_state > knobs.tcp_timeout_unacknowledged {
        knobs.tcp_timeout_unacknowledged
    } else if track.last_window == 0 && of_state > knobs.tcp_timeout_max_retrans {
        knobs.tcp_timeout_max_retrans
    } else {
        of_state
    }
}

/// A FIN or RST outside the window, of an assured connection. When both ends send one, the ends know something that we do not: the
/// connection must not be kept for days.
fn note_invalid(conn: &mut Conn, track: &mut TcpTrack, segment: &Segment<'_>, dir: Direction, context: &Observe<'_>) {
    /// Seconds; what has less left is not worth shortening.
    const LEAST: u64 = 120;
    let settled = conn.status.has(Status::ASSURED) && !conn.status.has(Status::FIXED_TIMEOUT);
    if !settled || !matches!(segment.kind, Kind::Fin | Kind::Rst) {
        return;
    }
    if !last_was(track, Kind::Fin, dir.other()) && !last_was(track, Kind::Rst, dir.other()) {
        track.last_index = segment.kind as u8;
        track.last_direction = dir as u8;
        return;
    }
    let left = conn.expires.jiffies().saturating_sub(context.now.mono.jiffies());
    let shorter = u64::from(context.knobs.tcp_timeout_unacknowledged) * HZ;
    if left >= LEAST * HZ && left > shorter {
        conn.expires = Instant::from_jiffies(context.now.mono.jiffies() + shorter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;
    use crate::track::testing::{self, Follow};
    use hairpin_wire::{Addr, Family, build};
    use proptest::prelude::*;

    /// Conversations as Linux 6.18.44 followed them. A line is direction, flags, sequence number, acknowledgement, bytes of data,
    /// window and options of a segment; behind the colon its class and the entry after it: state, seconds left, whether it is
    /// assured, whether it began in the other direction, and packets counted by direction.
    const RECORDED: &str = include_str!("tcp_traces.txt");

    #[test]
    fn follows_conversations_as_the_kernel_does() {
        let mut traces = 0;
        for trace in RECORDED.split("trace").skip(1) {
            let (knobs, lines) = trace.split_once('\n').unwrap();
            replay(recorded_knobs(knobs), lines, 40);
            traces += 1;
        }
        assert!(traces > 100);
    }

    #[test]
    fn open_and_close() {
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             r SA 5000 1001 : ESTABLISHED SYN_RECV 60
             o A 1001 5001 : ESTABLISHED ESTABLISHED 432000 assured
             o PA 1001 5001 3 : ESTABLISHED ESTABLISHED 300 assured
             r A 5001 1004 : ESTABLISHED ESTABLISHED 432000 assured
             o FA 1004 5001 : ESTABLISHED FIN_WAIT 120 assured
             r A 5001 1005 : ESTABLISHED CLOSE_WAIT 60 assured
             r FA 5001 1005 : ESTABLISHED LAST_ACK 30 assured
             o A 1005 5002 : ESTABLISHED TIME_WAIT 120 assured
             o S 900000 0 : NEW SYN_SENT 120 p1/0",
        );
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             r SA 5000 1001 : ESTABLISHED SYN_RECV 60
             o A 1001 5001 : ESTABLISHED ESTABLISHED 432000 assured
             o FA 1001 5001 : ESTABLISHED FIN_WAIT 120 assured
             r FA 5001 1002 : ESTABLISHED LAST_ACK 30 assured
             o A 1002 5002 : ESTABLISHED TIME_WAIT 120 assured",
        );
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             r RA 0 1001 : ESTABLISHED -",
        );
    }

    /// A handshake that the tests below go on from: the next numbers are 1001 and 5001.
    const ESTABLISHED: &str = "o S 1000 0 0 8192 : NEW SYN_SENT 120
                               r SA 5000 1001 0 8192 : ESTABLISHED SYN_RECV 60
                               o A 1001 5001 0 8192 : ESTABLISHED ESTABLISHED 432000 assured p2/1\n";

    #[test]
    fn resets() {
        let check = |rest: &str| check(&format!("{ESTABLISHED}{rest}"));
        check(
            "o R 1050 0 0 0 : ESTABLISHED ESTABLISHED 10 assured
             o R 1001 0 0 0 : ESTABLISHED CLOSE 10 assured",
        );
        check("o R 900 0 0 0 : INVALID ESTABLISHED 432000 assured p2/1");
        check("o R 1000000 0 0 0 : INVALID ESTABLISHED 432000 assured p2/1");
        check(
            "o S 77000 0 0 8192 : ESTABLISHED ESTABLISHED 432000 assured p2/1
             r A 5001 1001 0 8192 : ESTABLISHED ESTABLISHED 432000
             o R 1001 0 0 0 : ESTABLISHED CLOSE 10",
        );
        check(
            "o FA 1001 5001 0 8192 : ESTABLISHED FIN_WAIT 120
             o R 7 0 0 0 : ESTABLISHED CLOSE 10
             o S 7 0 0 8192 : NEW SYN_SENT 120",
        );
    }

    #[test]
    fn an_answered_ignored_syn_begins_the_connection_anew() {
        check(&format!(
            "{ESTABLISHED}o S 700000 0 0 8192 : ESTABLISHED ESTABLISHED 432000 assured p2/1
             r SA 90000 700001 0 8192 : ESTABLISHED SYN_RECV 60 assured
             o A 700001 90001 0 8192 : ESTABLISHED ESTABLISHED 432000 assured"
        ));
    }

    #[test]
    fn a_challenge_in_last_ack_does_not_end_the_connection() {
        check(&format!(
            "{ESTABLISHED}o FA 1001 5001 0 8192 : ESTABLISHED FIN_WAIT 120
             r FA 5001 1002 0 8192 : ESTABLISHED LAST_ACK 30
             o S 40000 0 0 8192 : ESTABLISHED LAST_ACK 30 p3/2
             r A 5002 1002 0 8192 : ESTABLISHED LAST_ACK 30 p3/2
             r A 5002 1002 0 8192 : ESTABLISHED TIME_WAIT 120 p3/3"
        ));
    }

    #[test]
    fn taken_up_midway() {
        check(
            "o A 1001 5001 : NEW ESTABLISHED 300 p1/0
             r A 5001 1001 : ESTABLISHED ESTABLISHED 300
             r PA 5001 1001 10 : ESTABLISHED ESTABLISHED 300 assured
             o A 1001 5011 : ESTABLISHED ESTABLISHED 432000 assured",
        );
        let strict = Knobs { tcp_loose: false, ..Knobs::default() };
        replay(strict.clone(), "o A 1001 5001 : INVALID -", 0);
        replay(strict, "o S 1001 0 : NEW SYN_SENT 120", 0);
        for flags in ["SA", "FA", "R", "RA"] {
            check(&format!("o {flags} 1001 5001 : INVALID -"));
        }
    }

    #[test]
    fn handshakes_of_other_forms() {
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             wait 2
             o S 1000 0 : NEW SYN_SENT 118 p1/0",
        );
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             r S 5000 0 : ESTABLISHED SYN_SENT2 120
             o SA 1000 5001 : ESTABLISHED SYN_RECV 60
             r SA 5000 1001 : ESTABLISHED SYN_RECV 60
             o A 1001 5001 : ESTABLISHED ESTABLISHED 432000 assured",
        );
        check(
            "o S 1000 0 : NEW SYN_SENT 120
             r A 9000 5555 : ESTABLISHED SYN_SENT 120 p1/0
             o R 5555 0 : ESTABLISHED CLOSE 10
             o S 1000 0 : NEW SYN_SENT 120",
        );
    }

    #[test]
    fn windows() {
        let check = |rest: &str| check(&format!("{ESTABLISHED}{rest}"));
        // Keep-alive and its answer.
        check(
            "o A 1000 5001 0 8192 : ESTABLISHED ESTABLISHED 432000 p3/1
             r A 5001 1001 0 8192 : ESTABLISHED ESTABLISHED 432000 p3/2",
        );
        // Up to the window's end, a little beyond, far beyond.
        check("o PA 9193 5001 1 8192 : ESTABLISHED ESTABLISHED 300 p3/1");
        check("o PA 9194 5001 1 8192 : ESTABLISHED ESTABLISHED 432000 p2/1");
        check("o PA 19194 5001 1 8192 : INVALID ESTABLISHED 432000 p2/1");
        // Long acknowledged; acknowledging what was not sent.
        check("o PA 4000000000 5001 1 8192 : ESTABLISHED ESTABLISHED 432000 p2/1");
        check("o A 1001 5002 0 8192 : INVALID ESTABLISHED 432000 p2/1");
        check("o A 1001 4294900000 0 8192 : ESTABLISHED ESTABLISHED 432000 p2/1");
    }

    #[test]
    fn a_liberal_tracker_judges_no_window() {
        let liberal = Knobs { tcp_be_liberal: true, ..Knobs::default() };
        replay(liberal, &format!("{ESTABLISHED}o PA 19194 70000 1 8192 : ESTABLISHED ESTABLISHED 432000 p3/1"), 0);
    }

    #[test]
    fn repeated_acknowledgements_shorten_the_time() {
        check(&format!(
            "{ESTABLISHED}o A 1001 5001 0 8192 : ESTABLISHED ESTABLISHED 432000
             o A 1001 5001 0 8192 : ESTABLISHED ESTABLISHED 432000
             o A 1001 5001 0 8192 : ESTABLISHED ESTABLISHED 300
             o A 1001 5001 0 8000 : ESTABLISHED ESTABLISHED 432000
             o A 1001 5001 0 0 : ESTABLISHED ESTABLISHED 300"
        ));
    }

    #[test]
    fn invalid_ends_from_both_sides_shorten_the_time() {
        check(&format!(
            "{ESTABLISHED}o FA 1001 7000 0 8192 : INVALID ESTABLISHED 432000
             o FA 1001 7000 0 8192 : INVALID ESTABLISHED 432000
             r FA 5001 7000 0 8192 : INVALID ESTABLISHED 300"
        ));
    }

    #[test]
    fn flags_that_do_not_go_together() {
        for flags in ["-", "F", "U", "SF", "SR", "FRA", "SAU", "SUF", "FU", "RU", "RAU"] {
            check(&format!("{ESTABLISHED}o {flags} 1001 5001 0 8192 : INVALID ESTABLISHED 432000 p2/1"));
        }
        for flags in ["AU", "FA", "FAU", "APEC"] {
            check(&format!(
                "o S 1 0 : NEW SYN_SENT 120\nr SA 1 2 : ESTABLISHED SYN_RECV 60\no {flags} 2 2 : ESTABLISHED"
            ));
        }
    }

    #[test]
    fn checksums_count_where_packets_come_in() {
        let good = segment(&step("o S 1000 0"));
        let mut bytes = good.ip().to_vec();
        bytes[20 + tcp::CHECKSUM_OFFSET] ^= 1;
        let bad = Packet::from_ip(&bytes).unwrap();
        let observe = |packet: &Packet, hook, checksum| {
            let knobs = Knobs { checksum, ..Knobs::default() };
            let context = Observe { now: &Now::default(), knobs: &knobs, hook };
            super::observe(&mut testing::conn(proto::TCP), Direction::Original, packet, true, &context)
        };
        assert_eq!(observe(&good, Hook::Prerouting, true), Seen::Accept);
        assert_eq!(observe(&bad, Hook::Prerouting, true), Seen::Invalid("bad checksum"));
        assert_eq!(observe(&bad, Hook::Prerouting, false), Seen::Accept);
        assert_eq!(observe(&bad, Hook::Output, true), Seen::Accept);
    }

    #[test]
    fn selective_acknowledgements() {
        let block = |option: &[u8]| highest_sack(option, 100);
        assert_eq!(block(&[]), 100);
        assert_eq!(block(&[5, 10, 0, 0, 0, 110, 0, 0, 0, 120]), 120);
        assert_eq!(block(&[1, 1, 5, 18, 0, 0, 0, 110, 0, 0, 0, 120, 0, 0, 1, 0, 0, 0, 1, 1]), 257);
        assert_eq!(block(&[5, 10, 0, 0, 0, 1, 0, 0, 0, 20]), 100);
        assert_eq!(block(&[5, 11, 0, 0, 0, 110, 0, 0, 0, 120, 0]), 100);
        assert_eq!(block(&[5, 18, 0, 0, 0, 110, 0, 0, 0, 120]), 100);
    }

    proptest! {
        #[test]
        fn nothing_panics(
            segments in prop::collection::vec(
                (any::<bool>(), any::<u32>(), any::<u32>(), any::<u8>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)),
                1..40,
            ),
            cut in 0usize..60,
        ) {
            let mut follow = Follow::new(observe, proto::TCP, Knobs { checksum: false, ..Knobs::default() });
            for (reply, seq, ack, flags, window, options) in segments {
                let tcp = build::Tcp { seq, ack, flags, window, options: &options, ..build::Tcp::default() };
                let bytes = tcp.to_vec(Family::V4, Addr::v4(1), Addr::v4(2));
                let kept = &bytes[..bytes.len().saturating_sub(cut)];
                let packet = Packet::from_ip(&build::ip(Family::V4, Addr::v4(1), Addr::v4(2), proto::TCP, kept)).unwrap();
                follow.see(reply, &packet);
            }
        }
    }

    /// Follows lines as in [`RECORDED`].
    #[track_caller]
    fn check(lines: &str) {
        replay(Knobs::default(), lines, 0);
    }

    #[track_caller]
    fn replay(knobs: Knobs, lines: &str, tolerance: u64) {
        Follow::new(observe, proto::TCP, knobs).replay(lines, tolerance, |line| {
            let step = step(line);
            (step.reply, segment(&step))
        });
    }

    fn recorded_knobs(words: &str) -> Knobs {
        let mut knobs = Knobs {
            tcp_timeouts: [0, 1000, 2000, 9000, 3000, 4000, 5000, 6000, 700, 120],
            tcp_timeout_max_retrans: 800,
            tcp_timeout_unacknowledged: 900,
            ..Knobs::default()
        };
        for word in words.split_whitespace() {
            match word {
                "tcp_loose=0" => knobs.tcp_loose = false,
                "tcp_be_liberal=1" => knobs.tcp_be_liberal = true,
                "tcp_ignore_invalid_rst=1" => knobs.tcp_ignore_invalid_rst = true,
                "tcp_max_retrans=1" => knobs.tcp_max_retrans = 1,
                _ => panic!("{word}"),
            }
        }
        knobs
    }

    struct Step {
        reply: bool,
        flags: u8,
        seq: u32,
        ack: u32,
        length: usize,
        window: u16,
        options: Vec<u8>,
    }

    fn step(text: &str) -> Step {
        let mut words = text.split_whitespace();
        let reply = words.next() == Some("r");
        let flags = words.next().unwrap().chars().map(flag).sum();
        let mut number = |or: u32| words.next().map_or(or, |word| word.parse().unwrap());
        let (seq, ack, length, window) = (number(0), number(0), number(0) as usize, number(8192) as u16);
        Step { reply, flags, seq, ack, length, window, options: words.flat_map(options).collect() }
    }

    fn flag(letter: char) -> u8 {
        "FSRPAUEC".find(letter).map_or(0, |n| 1 << n)
    }

    fn options(word: &str) -> Vec<u8> {
        if let Some((left, right)) = word.strip_prefix("sack").and_then(|blocks| blocks.split_once('-')) {
            let edge = |text: &str| text.parse::<u32>().unwrap().to_be_bytes();
            [&[5, 10][..], &edge(left), &edge(right)].concat()
        } else if let Some(scale) = word.strip_prefix("ws") {
            vec![1, 3, 3, scale.parse().unwrap()]
        } else if word == "sok" {
            vec![4, 2]
        } else {
            assert_eq!(word, "ts");
            vec![1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }

    fn segment(step: &Step) -> Packet {
        let tcp = build::Tcp {
            seq: step.seq,
            ack: step.ack,
            flags: step.flags,
            window: step.window,
            options: &step.options,
            payload: &vec![0; step.length],
            ..build::Tcp::default()
        };
        Packet::from_ip(&tcp.packet(Family::V4, Addr::v4(1), Addr::v4(2))).unwrap()
    }
}
