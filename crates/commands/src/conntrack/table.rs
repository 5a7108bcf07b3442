//! What the conntrack command acts on: the connections of an engine, reached as one pleases.

use hairpin_engine::track::{
    ConnChange, ConnId, ExpectId, ExpectRecord, ManageError, Record, TrackStats, Tuple, Wanted, Zone,
};
use hairpin_engine::{Change, Engine, Now, Wall};
use hairpin_wire::Family;

/// A connection, or an expectation, of one of the engines behind a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<T> {
    /// Which engine.
    pub engine: usize,
    /// Its handle there.
    pub id: T,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which engine.
    pub engine: usize,
    /// The place in its table.
    pub place: u32,
}

/// Some connections of a listing, and where it goes on; None at the end.
pub type Piece = (Vec<(Handle<ConnId>, Record)>, Option<Cursor>);

/// Why something was not done. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// As the kernel would refuse it.
    Refused(ManageError),
    /// The gateway does not answer; the text says why.
    Unavailable(String),
}

impl From<ManageError> for Trouble {
    fn from(error: ManageError) -> Trouble {
        Trouble::Refused(error)
    }
}

/// The connections that a command acts on. Each call is short work for whoever owns them, so that packets go on between calls.
#[expect(clippy::missing_errors_doc, reason = "all for the reasons of `Trouble`")]
pub trait Connections {
    /// The time of day there.
    fn wall(&mut self) -> Result<Wall, Trouble>;

    /// Some connections from a place on, and where to go on; None at the end.
    fn list(&mut self, from: Cursor) -> Result<Piece, Trouble>;

    /// The connection that a packet with this tuple belongs to.
    fn find(&mut self, tuple: &Tuple, zone: Zone) -> Result<Option<(Handle<ConnId>, Record)>, Trouble>;

    /// Enters a connection.
    fn create(&mut self, wanted: &Wanted) -> Result<(), Trouble>;

    /// Changes a connection, and shows it after that.
    fn change(&mut self, id: Handle<ConnId>, changes: &ConnChange) -> Result<Record, Trouble>;

    /// Forgets a connection. False when it is gone already.
    fn delete(&mut self, id: Handle<ConnId>) -> Result<bool, Trouble>;

    /// Sets the counters of connections to zero.
    fn zero(&mut self, ids: &[Handle<ConnId>]) -> Result<(), Trouble>;

    /// Forgets all connections, or those of a family.
    fn flush(&mut self, family: Option<Family>) -> Result<(), Trouble>;

    /// How many connections there are.
    fn count(&mut self) -> Result<usize, Trouble>;

    /// What was counted, for each engine.
    fn stats(&mut self) -> Result<Vec<TrackStats>, Trouble>;

    /// All expectations.
    fn expectations(&mut self) -> Result<Vec<(Handle<ExpectId>, ExpectRecord)>, Trouble>;

    /// Gives up expectations.
    fn delete_expectations(&mut self, ids: &[Handle<ExpectId>]) -> Result<(), Trouble>;
}

/// How many places of a table are looked at in one go: about a millisecond's work.
pub const PLACES_AT_ONCE: u32 = 4096;

/// The connections of one engine at hand.
#[derive(Debug)]
pub struct EngineConnections<'e> {
    /// The engine.
    pub engine: &'e mut Engine,
    /// The time.
    pub now: Now,
}

impl Connections for EngineConnections<'_> {
    fn wall(&mut self) -> Result<Wall, Trouble> {
        Ok(self.now.wall)
    }

    fn list(&mut self, from: Cursor) -> Result<Piece, Trouble> {
        let (found, next) = self.engine.state().tracker().records(self.now.mono, from.place, PLACES_AT_ONCE);
        let found = found.into_iter().map(|(id, record)| (Handle { engine: from.engine, id }, record)).collect();
        Ok((found, next.map(|place| Cursor { place, ..from })))
    }

    fn find(&mut self, tuple: &Tuple, zone: Zone) -> Result<Option<(Handle<ConnId>, Record)>, Trouble> {
        let found = self.engine.state().tracker().find_record(tuple, zone, self.now.mono);
        Ok(found.map(|(id, record)| (Handle { engine: 0, id }, record)))
    }

    fn create(&mut self, wanted: &Wanted) -> Result<(), Trouble> {
        Ok(self.engine.create_conn(&self.now, wanted).map(|_| ())?)
    }

    fn change(&mut self, id: Handle<ConnId>, changes: &ConnChange) -> Result<Record, Trouble> {
        self.engine.change_conn(&self.now, id.id, changes)?;
        let conns = &self.engine.state().tracker().conns;
        let conn = conns.get(id.id).ok_or(ManageError::NotFound)?;
        Ok(conns.record(conn, self.now.mono))
    }

    fn delete(&mut self, id: Handle<ConnId>) -> Result<bool, Trouble> {
        Ok(self.engine.apply(&self.now, Change::DeleteConn(id.id)).is_ok())
    }

    fn zero(&mut self, ids: &[Handle<ConnId>]) -> Result<(), Trouble> {
        ids.iter().for_each(|handle| self.engine.zero_conn(handle.id));
        Ok(())
    }

    fn flush(&mut self, family: Option<Family>) -> Result<(), Trouble> {
        let mut next = Some(0);
        while let Some(place) = next {
            let (found, then) = self.engine.state().tracker().records(self.now.mono, place, PLACES_AT_ONCE);
            for (id, record) in found {
                if family.is_none_or(|family| family == record.family()) {
                    let _ = self.engine.apply(&self.now, Change::DeleteConn(id));
                }
            }
            next = then;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<usize, Trouble> {
        Ok(self.engine.state().tracker().conns.count())
    }

    fn stats(&mut self) -> Result<Vec<TrackStats>, Trouble> {
        Ok(vec![self.engine.state().tracker().stats])
    }

    fn expectations(&mut self) -> Result<Vec<(Handle<ExpectId>, ExpectRecord)>, Trouble> {
        let all = self.engine.state().tracker().expect_records(self.now.mono);
        Ok(all.into_iter().map(|(id, record)| (Handle { engine: 0, id }, record)).collect())
    }

    fn delete_expectations(&mut self, ids: &[Handle<ExpectId>]) -> Result<(), Trouble> {
        for handle in ids {
            self.engine.delete_expectation(handle.id);
        }
        Ok(())
    }
}
