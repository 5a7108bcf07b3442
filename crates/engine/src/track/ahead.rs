//! Finding connections ahead of their packets' turn, so that the waits for their memory overlap.
//!
//! For a group of packets each of these is called for all before the next one: [`Conns::touch_index`], [`Conns::look_ahead`],
//! [`Conns::touch_found`], [`Conns::touch_aside`]. The numbers they give mean nothing; to reckon them is to wait for the memory. Those
//! that ask do the same without waiting.

use super::{Conn, ConnId, Conns, Direction, ProtoState, Status, Tuple, Zone};
use crate::ahead::Prefetch;
use crate::time::Instant;
use hairpin_wire::{Family, proto};

/// What was seen of a packet's connection ahead of its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ahead {
    /// The hash of its tuple in zone 0.
    pub(super) hash: u32,
    /// Where the index of tuples led then: a slot times two plus direction, or [`Ahead::NOWHERE`].
    pub(super) place: u32,
    protocol: u8,
    family: Family,
}

impl Ahead {
    const NOWHERE: u32 = u32::MAX;

    /// Nothing seen yet but the tuple and its hash.
    pub(crate) const fn new(tuple: &Tuple, hash: u32) -> Ahead {
        Ahead { hash, place: Ahead::NOWHERE, protocol: tuple.protocol, family: tuple.family }
    }

    /// Whether the index led nowhere.
    pub(crate) const fn finds_nothing(self) -> bool {
        self.place == Ahead::NOWHERE
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl Conns {
    /// Notes where the index leads.
    #[inline]
    pub(crate) fn look_ahead(&self, ahead: &mut Ahead) {
        ahead.place = self.first_place(ahead.hash).unwrap_or(Ahead::NOWHERE);
    }

    /// Touches the connection there: one word of each cache line that its packets need.
    #[inline]
    pub(crate) fn touch_found(&self, ahead: Ahead) -> u64 {
        let Some((id, Some(conn))) = self.at_place(ahead.place) else { return 0 };
        let proto = match (ahead.protocol, &conn.proto) {
            (proto::TCP, ProtoState::Tcp(tcp)) => tcp.last_end,
            _ => 0,
        };
        u64::from(id.generation ^ proto)
    }

    /// As [`Conns::touch_index`].
    #[inline]
    pub(crate) fn ask_index(&self, ahead: Ahead, ask: Prefetch) {
        self.ask_hash(ahead.hash, ask);
    }

    /// As [`Conns::touch_found`].
    #[inline]
    pub(crate) fn ask_found(&self, ahead: Ahead, ask: Prefetch) {
        if let Some(entry) = self.address_of(ahead.place) {
            ask(entry);
            if ahead.protocol == proto::TCP {
                ask(entry.wrapping_add(LINE));
            }
        }
    }

    /// As [`Conns::touch_aside`].
    #[inline]
    pub(crate) fn ask_aside(&self, ahead: Ahead, ask: Prefetch) {
        if ahead.family == Family::V6
            && let Some(aside) = self.at_place(ahead.place).and_then(|(_, conn)| conn?.address_of_aside())
        {
            ask(aside);
        }
    }

    /// Touches what lies aside of it, once its own memory is at hand.
    #[inline]
    pub(crate) fn touch_aside(&self, ahead: Ahead) -> u64 {
        match ahead.family {
            Family::V4 => 0,
            Family::V6 => self.at_place(ahead.place).and_then(|(_, conn)| conn).map_or(0, Conn::touch_aside),
        }
    }

    /// As [`Conns::find_in`] in zone 0, for a packet that was looked at ahead of its turn. The table may have changed since.
    #[inline]
    pub(crate) fn find_ahead(&self, ahead: Ahead, tuple: &Tuple, now: Instant) -> Option<(ConnId, Direction)> {
        self.find_there(ahead, tuple, now).or_else(|| self.find_hashed(ahead.hash, tuple, Zone::default(), now))
    }

    /// The connection at a place that the index gave before, if a search for the tuple must give it too: the index leads to it, and no
    /// other connection has the tuple.
    #[inline]
    pub(super) fn find_there(&self, ahead: Ahead, tuple: &Tuple, now: Instant) -> Option<(ConnId, Direction)> {
        if self.may_have_twins() {
            return None;
        }
        let (id, conn) = self.at_place(ahead.place)?;
        let (conn, direction) = (conn?, if ahead.place & 1 == 0 { Direction::Original } else { Direction::Reply });
        let is_found = conn.has_tuple(direction, tuple)
            && conn.is_in_zone_0()
            && conn.is_in_table()
            && !conn.status.has(Status::NAT_CLASH)
            && !conn.is_expired_at(now.jiffies());
        is_found.then_some((id, direction))
    }
}
