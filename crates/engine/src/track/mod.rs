//! Connection tracking: who talks to whom, and in which state.

mod ahead;
mod confirm;
mod conn;
mod enter;
mod expect;
pub mod helper;
mod icmp;
mod index;
mod knobs;
#[cfg(test)]
mod lab;
mod manage;
mod other;
mod record;
mod room;
mod sctp;
mod seq_adjust;
mod table;
mod tcp;
#[cfg(test)]
mod testing;
pub mod text;
mod tuple;
mod udp;
mod wheel;

pub use conn::{
    Class, Conn, ConnId, Direction, Extra, ProtoState, Proxied, SeqAdjust, Status, TcpSide, TcpState, TcpTrack, Tracked,
};
pub use expect::{ExpectError, ExpectId, ExpectNat, Expectation, Expectations, SourceMask};
pub use knobs::Knobs;
pub use manage::{ConnChange, ManageError, Wanted};
pub use record::{ExpectRecord, Key, Record};
pub use table::Conns;
pub use tuple::{Tuple, Zone};

pub(crate) use ahead::Ahead;
pub(crate) use confirm::confirm;
pub(crate) use enter::enter;
pub(crate) use seq_adjust::{adjust, move_sequence, note as note_resized};

use crate::event::Event;
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::{HZ, Instant, Now};
use expect::Happened;
use hairpin_wire::proto;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a protocol's tracker said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is part of the connection: count it.
    Accept,
    /// It passes with its class, but is not counted and changes nothing.
    Ignore,
    /// It is counted, and was the connection's last.
    AcceptAndDelete,
    /// It is INVALID, for this reason; it passes without a connection.
    Invalid(&'static str),
    /// Remove the connection and look the packet up again.
    Repeat,
}

/// What a protocol's tracker may know beside connection and packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observe<'a> {
    /// The time.
    pub now: &'a Now,
    /// The settings.
    pub knobs: &'a Knobs,
    /// Where the packet is.
    pub hook: Hook,
}

/// Connections, expectations, and what happened to them.
#[derive(Debug, Default)]
pub struct Tracker {
    /// The connections.
    pub conns: Conns,
    /// The connections that helpers expect.
    pub expectations: Expectations,
    /// What happened.
    pub stats: TrackStats,
    /// Whether new connections have labels: a rule uses `-m connlabel`.
    pub labels: bool,
    /// Why the last INVALID packet was; empty until there is one.
    pub why_invalid: &'static str,
    /// Whether changes of connections by packets are reported ([`Event::ConnChanged`]): someone watches.
    pub watched: bool,
    /// Expectations as they were announced, while someone watches: one goes with its master, and is told even so.
    announced: BTreeMap<ExpectId, ExpectRecord>,
    /// The connection of the packet at hand, and what it was like before, while someone watches.
    before: Option<(ConnId, Looks)>,
    /// Since when the table was too full for a new connection; None when it has not been lately.
    pressed_since: Option<Instant>,
    warnings: Ratelimit,
}

/// Numbers of events since the start (`conntrack -S`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackStats {
    /// Tuples that NAT wanted and found taken.
    pub found: u64,
    /// Packets that are not, and do not begin, a connection.
    pub invalid: u64,
    /// Connections entered other than by a packet.
    pub insert: u64,
    /// Connections that could not be entered.
    pub insert_failed: u64,
    /// Packets dropped: no room for their connection, or a clash.
    pub drop: u64,
    /// Connections removed to make room for others.
    pub early_drop: u64,
    /// ICMP messages that are malformed, or errors about nothing known.
    pub error: u64,
    /// Lookups begun again because the table changed meanwhile; never happens here.
    pub search_restart: u64,
    /// Clashes resolved without dropping the packet.
    pub clash_resolve: u64,
    /// Connections not entered because the search for a clash was too long; never happens here.
    pub chaintoolong: u64,
    /// Expected connections that came.
    pub expect_new: u64,
    /// Expectations made.
    pub expect_create: u64,
    /// Expectations that ended.
    pub expect_delete: u64,
    /// Expectations not made because there were too many altogether (`nf_conntrack_expect_max`); since the start of this process.
    pub expect_full: u64,
}

/// The reasons for INVALID that come from the checksum.
const WRONG_CHECKSUM: [&str; 3] = ["bad checksum", "bad hw icmp checksum", "ICMPv6 checksum failed"];

/// The reasons for INVALID that come before the checksum is looked at, or from it.
const BEFORE_CHECKSUM: [&str; 8] = [
    "no transport header",
    "transport header too short, or not one of a connection",
    "short packet",
    "truncated packet",
    "truncated/malformed packet",
    "bad checksum",
    "bad hw icmp checksum",
    "ICMPv6 checksum failed",
];

impl Tracker {
    /// Whether the checksum of a packet that has just come in was found right, or not there.
    pub(crate) fn has_seen_checksum(&self, tracked: Tracked) -> bool {
        match tracked {
            Tracked::Conn(..) | Tracked::Untracked => true,
            Tracked::No => !BEFORE_CHECKSUM.contains(&self.why_invalid),
        }
    }

    /// Whether an INVALID packet that has just come in is so by its checksum.
    pub(crate) fn has_seen_wrong_checksum(&self) -> bool {
        WRONG_CHECKSUM.contains(&self.why_invalid)
    }
}

impl Tracker {
    /// Nothing tracked yet. `key` is for the table of connections: see [`Conns::new`].
    pub fn new(key: (u64, u64)) -> Tracker {
        Tracker { conns: Conns::new(key), ..Tracker::default() }
    }

    /// Removes what has ended: connections, with an event each, and expectations.
    #[inline]
    pub fn expire(&mut self, now: Instant, knobs: &Knobs, events: &mut Vec<Event>) {
        if !self.conns.is_expired_to(now) || !self.expectations.is_empty() || self.pressed_since.is_some() {
            self.expire_all(now, knobs, events);
        }
    }

    #[cold]
    fn expire_all(&mut self, now: Instant, knobs: &Knobs, events: &mut Vec<Event>) {
        let Tracker { conns, expectations, stats, .. } = self;
        conns.expire(now, &mut |id, conn| {
            stats.expect_delete += expectations.unlink_master(id) as u64;
            events.push(Event::ConnGone(Box::new(conn)));
        });
        self.stats.expect_delete += self.expectations.expire(now) as u64;
        room::relieve(self, now, knobs, events);
    }

    /// An instant before which [`Tracker::expire`] has nothing to do. None when nothing ever ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        let pressure = self.pressed_since.map(room::relief_after);
        [self.conns.next_expiry(), self.expectations.next_expiry(), pressure].into_iter().flatten().min()
    }

    /// Notes what a connection is like before a packet changes it.
    pub(crate) fn note_before(&mut self, id: ConnId) {
        if self.watched {
            self.before = self.conns.get(id).filter(|conn| conn.is_in_table()).map(|conn| (id, Looks::of(conn)));
        }
    }

    /// Whether changes are reported from now on.
    pub fn set_watched(&mut self, on: bool, now: Instant) {
        if on && !self.watched {
            self.announced = self.expect_records(now).into_iter().collect();
        } else if !on {
            self.announced.clear();
        }
        self.watched = on;
        self.expectations.set_watched(on);
    }

    /// Reports expectations that came and went, while someone watches.
    #[inline]
    pub(crate) fn report_expectations(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.expectations.has_news() {
            self.report_all_expectations(now, events);
        }
    }

    #[cold]
    fn report_all_expectations(&mut self, now: Instant, events: &mut Vec<Event>) {
        for Happened { is_new, id, expected } in self.expectations.take_news() {
            let record = self.expect_record(id, &expected, now);
            if is_new {
                let Some(record) = record else { continue };
                self.announced.insert(id, record.clone());
                events.push(Event::ExpectNew(Box::new(record)));
            } else if let Some(announced) = self.announced.remove(&id) {
                let left = Duration::from_nanos(expected.expires.since(now));
                let record = record.unwrap_or(ExpectRecord { left, ..announced });
                events.push(Event::ExpectGone(Box::new(record)));
            }
        }
    }

    /// Reports that the packet at hand changed its connection, if it did.
    #[inline]
    pub(crate) fn report_change(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.before.is_some() {
            self.report_changed(now, events);
        }
    }

    #[cold]
    fn report_changed(&mut self, now: Instant, events: &mut Vec<Event>) {
        if let Some((id, before)) = self.before.take()
            && self.conns.get(id).is_some_and(|conn| conn.is_in_table() && Looks::of(conn) != before)
        {
            events.push(Event::ConnChanged(id, self.seen(id, now)));
        }
    }

    /// A connection for those who watch, as it is at this moment.
    pub(crate) fn seen(&self, id: ConnId, now: Instant) -> Option<Box<Record>> {
        let conn = self.conns.get(id).filter(|_| self.watched)?;
        Some(Box::new(self.conns.record(conn, now)))
    }

    /// Removes a confirmed connection, as `conntrack -D`, a full table, or NAT does. False when the handle is stale.
    pub fn remove(&mut self, id: ConnId, events: &mut Vec<Event>) -> bool {
        let Some(conn) = self.conns.remove(id) else { return false };
        self.stats.expect_delete += self.expectations.unlink_master(id) as u64;
        if conn.is_in_table() {
            events.push(Event::ConnGone(Box::new(conn)));
        }
        true
    }

    /// Removes the connection of the packet at hand from the table. The packet goes on with it; [`Tracker::takes_along`] it.
    pub(crate) fn kill(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.is_in_table()).cloned() else { return };
        self.conns.kill(id);
        self.stats.expect_delete += self.expectations.unlink_master(id) as u64;
        events.push(Event::ConnGone(Box::new(conn)));
    }

    /// The connection that a packet takes along at its end, whatever that was: one that was killed, or that it made. Letting go of it
    /// forgets it unless it was confirmed. An error or a RST that this host answered with in the other direction takes no such
    /// connection along: the packet that made it may still be under way.
    pub(crate) fn takes_along(&self, packet: &Packet) -> Option<ConnId> {
        let Tracked::Conn(id, class) = packet.meta.tracked else { return None };
        let conn = self.conns.get(id)?;
        (conn.status.has(Status::DYING) || class.direction() == Direction::Original).then_some(id)
    }

    /// Lets go of the connection that a packet takes along.
    #[cfg(test)]
    pub(crate) fn release(&mut self, packet: &Packet) {
        if let Some(id) = self.takes_along(packet) {
            self.conns.let_go(id);
        }
    }
}

/// What a change of is worth a report (`IPCT_REPLY`, `IPCT_ASSURED`, `IPCT_PROTOINFO`, `IPCT_MARK`, `IPCT_SEQADJ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    status: Status,
    mark: u32,
    state: u8,
}

impl Looks {
    fn of(conn: &Conn) -> Looks {
        let state = match conn.proto {
            ProtoState::Tcp(tcp) => tcp.state as u8,
            ProtoState::Sctp { state, .. } => state,
            ProtoState::Udp | ProtoState::Gre { .. } | ProtoState::Other => 0,
        };
        Looks { status: conn.status, mark: conn.mark, state }
    }
}

/// At most so many messages in so long, as the kernel's log has it for those about the network.
#[derive(Clone, Copy, Debug, Default)]
struct Ratelimit {
    since: Option<Instant>,
    said: u32,
}

impl Ratelimit {
    const BURST: u32 = 10;
    const INTERVAL: u64 = 5 * HZ;

    fn allows(&mut self, now: Instant) -> bool {
        let begin = self.since.is_none_or(|since| now.jiffies().saturating_sub(since.jiffies()) > Self::INTERVAL);
        if begin {
            *self = Ratelimit { since: Some(now), said: 0 };
        }
        self.said = self.said.saturating_add(1);
        self.said <= Self::BURST
    }
}

/// Lets the tracker of the connection's protocol see a packet.
pub(crate) fn observe(conn: &mut Conn, dir: Direction, packet: &Packet, is_new: bool, context: &Observe<'_>) -> Seen {
    match conn.protocol() {
        proto::TCP => tcp::observe(conn, dir, packet, is_new, context),
        proto::UDP => udp::observe(conn, packet, context),
        proto::UDPLITE => udp::observe_lite(conn, packet, context),
        proto::ICMP | proto::ICMPV6 => icmp::observe(conn, packet, context),
        proto::SCTP => sctp::observe(conn, dir, packet, is_new, context),
        proto::GRE => other::observe_gre(conn, is_new, context),
        _ => other::observe(conn, context),
    }
}
