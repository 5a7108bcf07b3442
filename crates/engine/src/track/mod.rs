//! Connection tracking: who talks to whom, and in which state.

mod conn;
mod tuple;

pub use conn::{
    Class, Conn, ConnId, Direction, Extra, ProtoState, SeqAdjust, Status, TcpSide, TcpState, TcpTrack, Tracked,
};
pub use tuple::{Tuple, Zone};

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
    pub fn find(&self, _tuple: &Tuple, _zone: u16, _now: crate::time::Instant) -> Option<(ConnId, Direction)> {
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
    /// Whole seconds until it ends; 0 when it has.
    pub fn seconds_left(&self, now: crate::time::Instant) -> u64 {
        self.expires.since(now) / 1_000_000_000
    }
}
