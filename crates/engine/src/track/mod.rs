//! Connection tracking: who talks to whom, and in which state.

mod conn;
mod knobs;
mod seq_adjust;
mod tcp;
#[cfg(test)]
mod testing;
mod tuple;

pub use conn::{
    Class, Conn, ConnId, Direction, Extra, ProtoState, SeqAdjust, Status, TcpSide, TcpState, TcpTrack, Tracked,
};
pub use knobs::Knobs;
pub use tuple::{Tuple, Zone};

use crate::hook::Hook;
use crate::time::{HZ, Instant, Now};

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
    /// It is dropped.
    Drop,
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
    /// What it is to its connection.
    pub class: Class,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Conns {}

impl Conns {
    /// The connection, unless it is gone.
    pub fn get(&self, _id: ConnId) -> Option<&Conn> {
        None
    }

    /// The connection, to be changed.
    pub fn get_mut(&mut self, _id: ConnId) -> Option<&mut Conn> {
        None
    }

    /// The connection that has this tuple in either direction.
    pub fn find(&self, _tuple: &Tuple, _zone: u16, _now: Instant) -> Option<(ConnId, Direction)> {
        None
    }
}

impl Tuple {
    /// The tuple of a packet; None when its transport header is cut, is a later fragment's, or has no tuple.
    pub fn of(_packet: &crate::Packet, _conns: &Conns) -> Option<Tuple> {
        None
    }
}

impl Conn {
    /// Lets it live `secs` seconds from `now` on, in the kernel's steps of time. Before it is confirmed, so long from its
    /// confirmation on. A fixed time-out stays.
    pub(crate) fn refresh(&mut self, now: Instant, secs: u32) {
        if self.status.has(Status::FIXED_TIMEOUT) {
            return;
        }
        let start = if self.status.has(Status::CONFIRMED) { now.jiffies() } else { 0 };
        self.expires = Instant::from_jiffies(start.saturating_add(u64::from(secs) * HZ));
    }

    /// Whole seconds until it ends; 0 when it has.
    pub fn seconds_left(&self, now: Instant) -> u64 {
        self.expires.since(now) / 1_000_000_000
    }
}
