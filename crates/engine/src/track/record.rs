//! A connection and an expectation as values of their own: what listings, events and snapshots hold.
//!
//! A [`Record`] has all that a connection has, without the table around it and without absolute monotonic time: it can be printed
//! after the connection is gone, written to a file, and entered again by another engine ([`Tracker::restore`]).

use super::{
    Conn, ConnId, Conns, Direction, ExpectId, ExpectNat, Expectation, ProtoState, Proxied, SeqAdjust, SourceMask,
};
use super::{Status, Tracker, Tuple, Zone};
use crate::net::IfIndex;
use crate::rule::Counter;
use crate::time::{Instant, Wall};
use hairpin_wire::Family;
use std::time::Duration;

/// What a connection is, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number that tools show for it (`-o id`): a hash of its original tuple and zone.
    pub number: u32,
    /// Original and reply tuple.
    pub tuples: [Tuple; 2],
    /// Zones.
    pub zone: Zone,
    /// Status bits.
    pub status: Status,
    /// How long it will live unless a packet comes.
    pub left: Duration,
    /// How long ago it was made.
    pub age: Duration,
    /// Connection mark.
    pub mark: u32,
    /// Packets and bytes by direction, if they are counted.
    pub counters: Option<[Counter; 2]>,
    /// The device a MASQUERADE bound it to.
    pub masquerade: Option<IfIndex>,
    /// The protocol's own state.
    pub proto: ProtoState,
    /// The helper's name.
    pub helper: Option<&'static str>,
    /// Labels, if it has any.
    pub labels: Option<u128>,
    /// When it was confirmed, if that is kept.
    pub confirmed_at: Option<Wall>,
    /// The connection that announced it.
    pub master: Option<Key>,
    /// Sequence adjustment per direction.
    pub seq_adjust: [SeqAdjust; 2],
    /// Positions just behind a newline, per direction (FTP).
    pub line_ends: [[Option<u32>; 2]; 2],
    /// How NAT is still to bind it as the expectation that it met asks.
    pub expected: Option<ExpectNat>,
    /// SYNPROXY opened it for a client.
    pub proxied: Option<Proxied>,
}

/// What a connection is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its tuple in original direction.
    pub tuple: Tuple,
    /// Its zones.
    pub zone: Zone,
}

impl Record {
    /// The tuple of a direction.
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.tuples[0],
            Direction::Reply => &self.tuples[1],
        }
    }

    /// Transport protocol.
    pub fn protocol(&self) -> u8 {
        self.tuples[0].protocol
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        self.tuples[0].family
    }

    /// What it is found by.
    pub fn key(&self) -> Key {
        Key { tuple: self.tuples[0], zone: self.zone }
    }

    /// The state that `conntrack -L` prints; None for protocols without one.
    pub fn state_text(&self) -> Option<&'static str> {
        match self.proto {
            ProtoState::Tcp(tcp) => Some(tcp.state.text()),
            ProtoState::Sctp { state, .. } => Some(super::sctp::state_text(state)),
            ProtoState::Udp | ProtoState::Gre { .. } | ProtoState::Other => None,
        }
    }
}

/// What an expectation is, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectRecord {
    /// A number for it.
    pub number: u32,
    /// The original tuple it will have; the source only as far as the mask says.
    pub tuple: Tuple,
    /// Which bits of the source count.
    pub mask: SourceMask,
    /// The connection that announced it.
    pub master: Key,
    /// Its tuples.
    pub master_tuples: [Tuple; 2],
    /// The helper of the announcing connection.
    pub helper: Option<&'static str>,
    /// The helper that the expected connection will have.
    pub next_helper: Option<&'static str>,
    /// The helper's kind of expectation.
    pub class: u8,
    /// How long it is still waited for.
    pub left: Duration,
    /// It stays when it is met.
    pub is_permanent: bool,
    /// It cannot be met for now.
    pub is_inactive: bool,
    /// How NAT is to bind the expected connection.
    pub nat: Option<ExpectNat>,
}

impl Conns {
    /// The number that tools show for a connection.
    pub fn number(&self, conn: &Conn) -> u32 {
        self.hash(&conn.tuple(Direction::Original), conn.zone().original)
    }

    /// A connection as a value.
    pub fn record(&self, conn: &Conn, now: Instant) -> Record {
        let extra = conn.extra();
        let key = |id| self.get(id).map(|master| Key { tuple: master.tuple(Direction::Original), zone: master.zone() });
        // In the kernel's steps of time: a fresh connection has its whole life before it.
        let begun = if conn.status.has(Status::CONFIRMED) { now.jiffies() } else { 0 };
        let left = Instant::from_jiffies(conn.expires.jiffies().saturating_sub(begun)).0;
        Record {
            number: self.number(conn),
            tuples: conn.tuples(),
            zone: conn.zone(),
            status: conn.status,
            left: Duration::from_nanos(left),
            age: Duration::from_nanos(now.since(conn.started())),
            mark: conn.mark,
            counters: conn.counters(),
            masquerade: conn.masquerade(),
            proto: conn.proto,
            helper: conn.helper(),
            labels: extra.and_then(|extra| Some(extra.labels.as_ref()?.get())),
            confirmed_at: extra.and_then(|extra| extra.confirmed_at),
            master: conn.master().and_then(key),
            seq_adjust: extra.map_or(Default::default(), |extra| extra.seq_adjust),
            line_ends: extra.map_or(Default::default(), |extra| extra.line_ends),
            expected: extra.and_then(|extra| extra.expected),
            proxied: conn.proxied(),
        }
    }
}

impl Tracker {
    /// Some of the connections that a listing shows (confirmed, not expired), from a place in the table on: at most `places` places
    /// are looked at, so that a listing of millions can go on between batches of packets. The second value is where to go on; None
    /// when the table is through.
    pub fn records(&self, now: Instant, from: u32, places: u32) -> (Vec<(ConnId, Record)>, Option<u32>) {
        let until = from.saturating_add(places);
        let found = self.conns.places(from, until);
        let listed = found.filter(|(_, conn)| conn.is_in_table() && !conn.is_expired_at(now.jiffies()));
        let records = listed.map(|(id, conn)| (id, self.conns.record(conn, now))).collect();
        (records, (until < self.conns.used_places()).then_some(until))
    }

    /// The connection that is found by a tuple in either direction, as packets find it.
    pub fn find_record(&self, tuple: &Tuple, zone: Zone, now: Instant) -> Option<(ConnId, Record)> {
        let (id, _) = self.conns.find_in(tuple, zone, now)?;
        Some((id, self.conns.record(self.conns.get(id)?, now)))
    }

    /// An expectation as a value; None when its master is gone.
    pub fn expect_record(&self, id: ExpectId, expected: &Expectation, now: Instant) -> Option<ExpectRecord> {
        let master = self.conns.get(expected.master)?;
        Some(ExpectRecord {
            number: id.number(),
            tuple: expected.tuple,
            mask: expected.mask,
            master: Key { tuple: master.tuple(Direction::Original), zone: master.zone() },
            master_tuples: master.tuples(),
            helper: master.helper(),
            next_helper: expected.helper,
            class: expected.class,
            left: Duration::from_nanos(expected.expires.since(now)),
            is_permanent: expected.is_permanent,
            is_inactive: expected.is_inactive,
            nat: expected.nat,
        })
    }

    /// All expectations, the oldest first.
    pub fn expect_records(&self, now: Instant) -> Vec<(ExpectId, ExpectRecord)> {
        let all = self.expectations.iter();
        all.filter_map(|(id, expected)| Some((id, self.expect_record(id, expected, now)?))).collect()
    }
}
