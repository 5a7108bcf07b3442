//! What the tests of the trackers share: a table of one connection, and conversations in text.

use super::{Conn, Direction, Knobs, Observe, ProtoState, Seen, Status, Tuple, Zone, sctp};
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::{Instant, Now};
use hairpin_wire::{Addr, Family};
use std::time::Duration;

/// A connection from 10.0.0.2:1024 to 10.0.1.2:80 of which nothing is known but its protocol.
pub(crate) fn conn(protocol: u8) -> Conn {
    let tuple = |src, dst, src_id, dst_id| Tuple {
        src: Addr::v4(src),
        dst: Addr::v4(dst),
        src_id,
        dst_id,
        protocol,
        family: Family::V4,
    };
    let original = tuple(0x0a00_0002, 0x0a00_0102, 1024, 80);
    let reply = tuple(0x0a00_0102, 0x0a00_0002, 80, 1024);
    Conn::new(original, reply, Zone::default(), Instant::default())
}

/// A protocol's tracker.
type Tracker = fn(&mut Conn, Direction, &Packet, bool, &Observe<'_>) -> Seen;

/// A table of one connection, through which all packets leave.
pub(crate) struct Follow {
    tracker: Tracker,
    protocol: u8,
    knobs: Knobs,
    now: Now,
    /// The connection, and whether it began in the other direction.
    conn: Option<(Conn, bool)>,
    /// Packets counted by direction.
    packets: [u32; 2],
}

impl Follow {
    pub(crate) fn new(tracker: Tracker, protocol: u8, knobs: Knobs) -> Follow {
        let now = Now { mono: Instant::from_secs(1_000_000), ..Now::default() };
        Follow { tracker, protocol, knobs, now, conn: None, packets: [0; 2] }
    }

    /// Follows lines of a packet, ` : `, and words that [`Follow::describe`] must say after it, in this order. Seconds may differ by
    /// `tolerance`. A line `wait N` lets N seconds pass.
    #[track_caller]
    pub(crate) fn replay(mut self, lines: &str, tolerance: u64, packet: impl Fn(&str) -> (bool, Packet)) {
        let mut done = String::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(secs) = line.strip_prefix("wait ") {
                self.now.mono = self.now.mono + Duration::from_secs(secs.parse().unwrap());
                continue;
            }
            let (said, expected) = line.split_once(" : ").unwrap();
            let (reply, packet) = packet(said);
            let class = self.see(reply, &packet);
            let got = self.describe(class);
            done += &format!("{line}   {got}\n");
            assert!(agree(expected, &got, tolerance), "got {got} after\n{done}");
        }
    }

    /// Tracks a packet; the class it has.
    pub(crate) fn see(&mut self, reply: bool, packet: &Packet) -> &'static str {
        let is_new = self.conn.is_none();
        let (mut conn, turned) = self.conn.take().unwrap_or_else(|| (conn(self.protocol), reply));
        let dir = if reply == turned { Direction::Original } else { Direction::Reply };
        if is_new {
            self.packets = [0; 2];
        }
        let context = Observe { now: &self.now, knobs: &self.knobs, hook: Hook::Prerouting };
        let seen = (self.tracker)(&mut conn, dir, packet, is_new, &context);
        if is_new && seen == Seen::Accept {
            conn.status.set(Status::CONFIRMED);
            conn.expires = Instant::from_jiffies(conn.expires.jiffies() + self.now.mono.jiffies());
        }
        let answered = dir == Direction::Reply || conn.status.has(Status::SEEN_REPLY);
        match seen {
            Seen::Accept => self.packets[dir.index()] += 1,
            Seen::Repeat => return self.see(reply, packet),
            Seen::Invalid(_) => {
                self.conn = (!is_new).then_some((conn, turned));
                return "INVALID";
            }
            Seen::Ignore | Seen::AcceptAndDelete => {}
        }
        if dir == Direction::Reply {
            conn.status.set(Status::SEEN_REPLY);
        }
        self.conn = (seen != Seen::AcceptAndDelete).then_some((conn, turned));
        if answered { "ESTABLISHED" } else { "NEW" }
    }

    /// The class, then the connection: state, seconds left, whether it is assured, whether it began in the other direction, packets.
    fn describe(&self, class: &str) -> String {
        let Some((conn, turned)) = &self.conn else { return format!("{class} -") };
        let state = match conn.proto {
            ProtoState::Tcp(track) => track.state.text(),
            ProtoState::Sctp { state, .. } => sctp::state_text(state),
            _ => "NONE",
        };
        let secs = conn.seconds_left(self.now.mono);
        let assured = if conn.status.has(Status::ASSURED) { " assured" } else { "" };
        let rev = if *turned { " rev" } else { "" };
        let [original, reply] = self.packets;
        format!("{class} {state} {secs}{assured}{rev} p{original}/{reply}")
    }
}

/// Whether every word expected is there, in order; numbers may differ by `tolerance`.
fn agree(expected: &str, got: &str, tolerance: u64) -> bool {
    let mut got = got.split_whitespace();
    expected.split_whitespace().all(|word| {
        got.any(|got| match (word.parse::<u64>(), got.parse::<u64>()) {
            (Ok(word), Ok(got)) => word.abs_diff(got) <= tolerance,
            _ => word == got,
        })
    })
}
