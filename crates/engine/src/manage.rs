//! The calls of tools: connections and expectations are listed, made, changed and taken up again from snapshots.
//!
//! All of them are bounded in work, so that they fit between two batches of packets: what goes over the whole table goes by pieces.

use crate::engine::Engine;
use crate::event::Event;
use crate::time::Now;
use crate::track::{ConnChange, ConnId, ExpectId, ExpectRecord, Key, ManageError, Record, TrackStats, Wanted};
use std::time::Duration;

impl Engine {
    /// Enters a connection that a tool asks for (`conntrack -I`).
    ///
    /// # Errors
    /// See [`ManageError`]; nothing is changed then.
    pub fn create_conn(&mut self, now: &Now, wanted: &Wanted) -> Result<ConnId, ManageError> {
        let Engine { tracker, knobs, rng, late_events, .. } = self;
        tracker.create(wanted, now, knobs, rng, late_events)
    }

    /// Changes a connection (`conntrack -U`).
    ///
    /// # Errors
    /// See [`ManageError`]; nothing is changed then.
    pub fn change_conn(&mut self, now: &Now, id: ConnId, changes: &ConnChange) -> Result<(), ManageError> {
        self.tracker.change(id, changes, now.mono)?;
        self.late_events.push(Event::ConnChanged(id, self.tracker.seen(id, now.mono)));
        Ok(())
    }

    /// Whether changes of connections by packets are reported: [`Event::ConnChanged`]. It costs a little for every packet.
    pub fn set_watched(&mut self, on: bool, now: &Now) {
        self.tracker.set_watched(on, now.mono);
    }

    /// The events of changes that were made from outside, for a caller that does not want to wait for the next packets to hear of them.
    pub fn take_events(&mut self, now: &Now) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.late_events);
        self.tracker.report_expectations(now.mono, &mut events);
        events
    }

    /// Sets the counters of a connection to zero (`conntrack -L -z`).
    pub fn zero_conn(&mut self, id: ConnId) {
        self.tracker.zero_counters(id);
    }

    /// Gives up an expectation. False when it is gone already.
    pub fn delete_expectation(&mut self, id: ExpectId) -> bool {
        self.tracker.remove_expectation(id)
    }

    /// Takes up a connection from a snapshot that was taken `gone` ago.
    ///
    /// # Errors
    /// It has ended meanwhile, is there already, or is damaged.
    pub fn restore_conn(&mut self, now: &Now, record: &Record, gone: Duration) -> Result<ConnId, ManageError> {
        self.tracker.restore(record, now.mono, gone)
    }

    /// Says which connection announced one that was taken up; to be called when all are there.
    pub fn restore_master(&mut self, now: &Now, id: ConnId, master: &Key) {
        self.tracker.restore_master(id, master, now.mono);
    }

    /// Takes up an expectation from a snapshot that was taken `gone` ago; its master must be there.
    ///
    /// # Errors
    /// Its time is over, its master is gone, or another one is in its way.
    pub fn restore_expectation(
        &mut self,
        now: &Now,
        record: &ExpectRecord,
        gone: Duration,
    ) -> Result<ExpectId, ManageError> {
        self.tracker.restore_expectation(record, now.mono, gone, &self.knobs)
    }

    /// Goes on counting what tracking counted before (`conntrack -S`).
    pub fn restore_stats(&mut self, stats: TrackStats) {
        self.tracker.stats = stats;
    }
}
