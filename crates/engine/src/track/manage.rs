//! What tools do with connections: make one, change one, take one up again from a snapshot (`ctnetlink_*`).

use super::record::{ExpectRecord, Key, Record};
use super::{
    Conn, ConnId, ExpectId, Expectation, Knobs, ProtoState, SeqAdjust, Status, TcpTrack, Tracker, Tuple, Zone,
};
use super::{helper, room};
use crate::event::Event;
use crate::nat::{self, Manip};
use crate::rng::Rng;
use crate::rule::{Counter, NatRange};
use crate::time::{HZ, Instant, Now, Wall};
use hairpin_wire::Addr;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

/// A connection that a tool asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Original and reply tuple.
    pub tuples: [Tuple; 2],
    /// Zones.
    pub zone: Zone,
    /// How many seconds it is to live.
    pub timeout: u32,
    /// Where its source is to be translated to: the address, and the ports if they matter.
    pub source: Option<(Addr, Option<(u16, u16)>)>,
    /// Where its destination is to be translated to.
    pub destination: Option<(Addr, Option<(u16, u16)>)>,
    /// The name of its helper.
    pub helper: Option<String>,
    /// What else it is to have.
    pub changes: ConnChange,
}

/// What a tool changes of a connection; what is None stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnChange {
    /// How many seconds it is to live from now on.
    pub timeout: Option<u32>,
    /// Status bits, all of them. Some cannot be changed, and some only be set.
    pub status: Option<Status>,
    /// Connection mark.
    pub mark: Option<u32>,
    /// The protocol's state: its number in the protocol's own list.
    pub state: Option<u8>,
    /// SCTP's verification tags.
    pub tags: [Option<u32>; 2],
    /// Labels, all of them.
    pub labels: Option<u128>,
}

/// Why a tool's wish about connections was not fulfilled. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManageError {
    /// There is no such connection, or no longer (ENOENT).
    NotFound,
    /// A connection with one of the tuples exists (EEXIST).
    Exists,
    /// The status cannot be changed so (EBUSY).
    Busy,
    /// The wish makes no sense: tuples of two kinds, a state that does not exist (EINVAL).
    Invalid,
    /// There is no such helper, or the connection's kind has no such thing (EOPNOTSUPP).
    NotSupported,
    /// The table is full (ENOMEM).
    Full,
    /// The time-out is fixed (EPERM).
    NotPermitted,
}

impl ManageError {
    /// What `strerror` says of the error that ctnetlink answers.
    pub const fn text(self) -> &'static str {
        match self {
            ManageError::NotFound => "No such file or directory",
            ManageError::Exists => "File exists",
            ManageError::Busy => "Device or resource busy",
            ManageError::Invalid => "Invalid argument",
            ManageError::NotSupported => "Operation not supported",
            ManageError::Full => "Cannot allocate memory",
            ManageError::NotPermitted => "Operation not permitted",
        }
    }
}

impl fmt::Display for ManageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ManageError {}

impl Tracker {
    /// Enters a connection that a tool asks for, with NAT if that is asked for (`ctnetlink_create_conntrack`).
    ///
    /// # Errors
    /// See [`ManageError`].
    pub fn create(
        &mut self,
        wanted: &Wanted,
        now: &Now,
        knobs: &Knobs,
        rng: &Rng,
        events: &mut Vec<Event>,
    ) -> Result<ConnId, ManageError> {
        let [original, reply] = &wanted.tuples;
        if original.family != reply.family || original.protocol != reply.protocol {
            return Err(ManageError::Invalid);
        }
        let mut conn = self.blueprint(wanted, now, knobs)?;
        change(&mut conn, &wanted.changes, None)?;
        let hash = self.conns.hash(original, wanted.zone.original);
        if !room::make(self, hash, now.mono, knobs, events) {
            return Err(ManageError::Full);
        }
        let id = self.conns.insert_unconfirmed(conn).ok_or(ManageError::Full)?;
        let entered = self.bind(id, wanted, rng, now.mono).and_then(|()| self.enter_wanted(id, now));
        if entered.is_err() {
            self.conns.remove(id);
        } else {
            self.stats.insert += 1;
            events.push(Event::ConnNew(id, self.seen(id, now.mono)));
        }
        entered.map(|()| id)
    }

    fn blueprint(&self, wanted: &Wanted, now: &Now, knobs: &Knobs) -> Result<Conn, ManageError> {
        // Nobody saw it begin: UDP's rule about the first two seconds is over for it.
        let started = Instant(now.mono.0.saturating_sub(Instant::from_secs(3).0));
        let mut conn = Conn::new(wanted.tuples[0], wanted.tuples[1], wanted.zone, started);
        conn.expires = Instant::from_jiffies(u64::from(wanted.timeout) * HZ);
        if knobs.accounting {
            conn.set_counters(Some([Counter::default(); 2]));
        }
        if knobs.timestamp {
            conn.extra_mut().confirmed_at = Some(Wall(0));
        }
        if self.labels {
            conn.extra_mut().labels = Some(Cell::new(0));
        }
        if let Some(name) = &wanted.helper {
            let name = helper::own_name(name).ok_or(ManageError::NotSupported)?;
            conn.extra_mut().helper = Some(name);
            conn.status.set(Status::HELPER);
        }
        Ok(conn)
    }

    /// NAT settles both sides as soon as one is asked for.
    fn bind(&mut self, id: ConnId, wanted: &Wanted, rng: &Rng, now: Instant) -> Result<(), ManageError> {
        if wanted.source.is_none() && wanted.destination.is_none() {
            return Ok(());
        }
        for (side, wish) in [(Manip::Dst, wanted.destination), (Manip::Src, wanted.source)] {
            let done = match wish {
                Some((addr, ports)) => {
                    let range = NatRange { addrs: Some((addr, addr)), ports, ..NatRange::default() };
                    nat::set_up(&mut self.conns, id, &range, side, None, rng, now)
                }
                None => nat::set_up_unchanged(&mut self.conns, id, side, rng, now),
            };
            done.map_err(|_| ManageError::Invalid)?;
        }
        Ok(())
    }

    fn enter_wanted(&mut self, id: ConnId, now: &Now) -> Result<(), ManageError> {
        let conn = self.conns.get(id).ok_or(ManageError::NotFound)?;
        if let Some(other) = self.conns.clash(conn) {
            // One that has ended but was not yet taken out is no reason.
            let ended = self.conns.get(other).is_some_and(|conn| conn.is_expired_at(now.mono.jiffies()));
            if !ended {
                return Err(ManageError::Exists);
            }
        }
        self.conns.confirm(id, now.mono);
        if let Some(at) = self.conns.get_mut(id).and_then(|conn| conn.known_extra_mut()?.confirmed_at.as_mut()) {
            *at = now.wall;
        }
        Ok(())
    }

    /// Changes a connection in the table (`ctnetlink_change_conntrack`).
    ///
    /// # Errors
    /// See [`ManageError`].
    pub fn change(&mut self, id: ConnId, changes: &ConnChange, now: Instant) -> Result<(), ManageError> {
        let has_labels = self.labels;
        let conn = self.conns.get_mut(id).filter(|conn| conn.is_in_table()).ok_or(ManageError::NotFound)?;
        if changes.labels.is_some() && has_labels && conn.extra().is_none_or(|extra| extra.labels.is_none()) {
            conn.extra_mut().labels = Some(Cell::new(0));
        }
        change(conn, changes, Some(now))?;
        self.conns.rearm(id);
        Ok(())
    }

    /// Sets a connection's counters to zero (`conntrack -L -z`).
    pub fn zero_counters(&mut self, id: ConnId) {
        if let Some(counters) = self.conns.get_mut(id).and_then(Conn::counters_mut) {
            *counters = Default::default();
        }
    }

    /// Takes up a connection from a snapshot, as if it had been here all the time; `gone` is how long ago that was taken. Its master
    /// is to be set when all are there: [`Tracker::restore_master`].
    ///
    /// # Errors
    /// It has ended meanwhile ([`ManageError::NotFound`]), is there already, or its tuples are of two kinds.
    pub fn restore(&mut self, record: &Record, now: Instant, gone: Duration) -> Result<ConnId, ManageError> {
        let [original, reply] = record.tuples;
        if original.family != reply.family || original.protocol != reply.protocol || !is_of(&record.proto, &original) {
            return Err(ManageError::Invalid);
        }
        let left = record.left.checked_sub(gone).filter(|left| !left.is_zero()).ok_or(ManageError::NotFound)?;
        let age = record.age.saturating_add(gone);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut conn = Conn::new(original, reply, record.zone, Instant(now.0.saturating_sub(nanos(age))));
        // Confirming sets it, and makes the time left an instant.
        conn.status = record.status;
        conn.status.clear(Status::CONFIRMED.union(Status::DYING));
        conn.expires = Instant(nanos(left));
        conn.set_counters(record.counters);
        conn.mark = record.mark;
        conn.set_masquerade(record.masquerade);
        conn.proto = record.proto;
        let is_plain = record.helper.is_none()
            && record.labels.is_none()
            && record.confirmed_at.is_none()
            && record.expected.is_none()
            && record.proxied.is_none()
            && record.seq_adjust == <[SeqAdjust; 2]>::default()
            && record.line_ends == <[[Option<u32>; 2]; 2]>::default();
        if !is_plain {
            let extra = conn.extra_mut();
            extra.helper = record.helper;
            extra.labels = record.labels.map(Cell::new);
            extra.confirmed_at = record.confirmed_at;
            extra.expected = record.expected;
            extra.proxied = record.proxied;
            extra.seq_adjust = record.seq_adjust;
            extra.line_ends = record.line_ends;
        }
        let clashes = match record.status.has(Status::NAT_CLASH) {
            true => self.conns.clash_in(&conn, super::Direction::Reply),
            false => self.conns.clash(&conn),
        };
        if clashes.is_some() {
            return Err(ManageError::Exists);
        }
        let id = self.conns.insert_unconfirmed(conn).ok_or(ManageError::Full)?;
        match record.status.has(Status::NAT_CLASH) {
            true => self.conns.confirm_reply_only(id, now),
            false => self.conns.confirm(id, now),
        };
        if record.status.has(Status::SRC_NAT_DONE) {
            self.conns.index_source(id);
        }
        Ok(id)
    }

    /// Says which connection announced one that was taken up again; nothing when that is gone.
    pub fn restore_master(&mut self, id: ConnId, master: &Key, now: Instant) {
        let Some((master, _)) = self.conns.find_in(&master.tuple, master.zone, now) else { return };
        if let Some(conn) = self.conns.get_mut(id) {
            conn.extra_mut().master = Some(master);
        }
    }

    /// Takes up an expectation from a snapshot.
    ///
    /// # Errors
    /// Its master is gone or its time is over ([`ManageError::NotFound`]); another one is in its way.
    pub fn restore_expectation(
        &mut self,
        record: &ExpectRecord,
        now: Instant,
        gone: Duration,
        knobs: &Knobs,
    ) -> Result<ExpectId, ManageError> {
        let (master, _) =
            self.conns.find_in(&record.master.tuple, record.master.zone, now).ok_or(ManageError::NotFound)?;
        let left = record.left.checked_sub(gone).filter(|left| !left.is_zero()).ok_or(ManageError::NotFound)?;
        let expectation = Expectation {
            tuple: record.tuple,
            mask: record.mask,
            zone: record.master.zone,
            master,
            helper: record.next_helper,
            class: record.class,
            expires: now + left,
            is_permanent: record.is_permanent,
            is_inactive: record.is_inactive,
            nat: record.nat,
        };
        let inserted = self.expectations.insert(expectation, 0, knobs.expect_max as usize);
        inserted.map_err(|_| ManageError::Busy)
    }

    /// Gives up an expectation (`conntrack -D expect`). False when it is gone already.
    pub fn remove_expectation(&mut self, id: ExpectId) -> bool {
        let removed = self.expectations.remove(id).is_some();
        self.stats.expect_delete += u64::from(removed);
        removed
    }
}

/// Changes what can be changed. `now` is None for a connection that is being made.
fn change(conn: &mut Conn, changes: &ConnChange, now: Option<Instant>) -> Result<(), ManageError> {
    /// Set by tracking and NAT alone.
    const UNCHANGEABLE: u32 = Status::SRC_NAT.0
        | Status::DST_NAT.0
        | Status::SRC_NAT_DONE.0
        | Status::DST_NAT_DONE.0
        | Status::EXPECTED.0
        | Status::CONFIRMED.0
        | Status::DYING.0
        | Status::SEQ_ADJUST.0
        // Templates, untracked and offloaded connections.
        | 1 << 11
        | 1 << 14
        | 1 << 15;
    if now.is_some() && changes.timeout.is_some() && conn.status.has(Status::FIXED_TIMEOUT) {
        return Err(ManageError::NotPermitted);
    }
    let mut proto = conn.proto;
    set_state(&mut proto, changes)?;
    if let Some(Status(wish)) = changes.status {
        let differs = Status(conn.status.0 ^ wish);
        let mut fixed = Status::EXPECTED.union(Status::DYING);
        // One that is being made is confirmed in a moment.
        if now.is_some() {
            fixed.set(Status::CONFIRMED);
        }
        let fixed_differs = differs.any(fixed);
        let only_set = Status::SEEN_REPLY.union(Status::ASSURED);
        if fixed_differs || differs.0 & only_set.0 & !wish != 0 {
            return Err(ManageError::Busy);
        }
        conn.status.set(Status(wish & !UNCHANGEABLE));
    }
    conn.proto = proto;
    if let Some(mark) = changes.mark {
        conn.mark = mark;
    }
    if let (Some(secs), Some(now)) = (changes.timeout, now) {
        conn.expires = Instant::from_jiffies(now.jiffies().saturating_add(u64::from(secs) * HZ));
    }
    if let Some(labels) = changes.labels
        && let Some(cell) = conn.extra().and_then(|extra| extra.labels.as_ref())
    {
        cell.set(labels);
    }
    Ok(())
}

fn set_state(proto: &mut ProtoState, changes: &ConnChange) -> Result<(), ManageError> {
    if changes.state.is_none() && changes.tags == [None, None] {
        return Ok(());
    }
    match proto {
        ProtoState::Tcp(track) => {
            if let Some(number) = changes.state {
                let state = super::TcpState::from_number(number).ok_or(ManageError::Invalid)?;
                *track = TcpTrack { state, ..*track };
            }
        }
        ProtoState::Sctp { state, tags, .. } => {
            // The highest is HEARTBEAT_SENT.
            if let Some(number) = changes.state {
                *state = if number <= 8 { number } else { return Err(ManageError::Invalid) };
            }
            for (tag, wish) in tags.iter_mut().zip(changes.tags) {
                *tag = wish.unwrap_or(*tag);
            }
        }
        // ctnetlink asks the protocol, which has no such attributes and ignores them.
        ProtoState::Udp | ProtoState::Gre { .. } | ProtoState::Other => {}
    }
    Ok(())
}

/// Whether this is a state of the tuple's protocol.
fn is_of(proto: &ProtoState, tuple: &Tuple) -> bool {
    std::mem::discriminant(proto) == std::mem::discriminant(&ProtoState::for_protocol(tuple.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::lab::{Lab, host, udp};
    use crate::track::{Direction, SourceMask, TcpState};
    use hairpin_wire::build::Tcp;
    use hairpin_wire::{Family, proto, tcp};

    fn tuple(protocol: u8, port: u16) -> Tuple {
        Tuple { src: host(2), dst: host(3), src_id: port, dst_id: 80, protocol, family: Family::V4 }
    }

    fn wanted(protocol: u8, port: u16) -> Wanted {
        let original = tuple(protocol, port);
        Wanted {
            tuples: [original, original.invert().unwrap()],
            zone: Zone::default(),
            timeout: 100,
            source: None,
            destination: None,
            helper: None,
            changes: ConnChange::default(),
        }
    }

    fn create(lab: &mut Lab, wanted: &Wanted) -> Result<ConnId, ManageError> {
        lab.tracker.create(wanted, &lab.now, &lab.knobs, &Rng::new(1), &mut lab.events)
    }

    fn records(lab: &Lab) -> Vec<Record> {
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let (some, then) = lab.tracker.records(lab.now.mono, from, 2);
            all.extend(some.into_iter().map(|(_, record)| record));
            next = then;
        }
        all
    }

    #[test]
    fn one_that_is_made_is_met_by_packets() {
        let mut lab = Lab::new();
        let status = Some(Status::SEEN_REPLY.union(Status::ASSURED));
        let changes = ConnChange { status, mark: Some(7), ..ConnChange::default() };
        create(&mut lab, &Wanted { changes, ..wanted(proto::UDP, 9) }).unwrap();
        assert_eq!(create(&mut lab, &wanted(proto::UDP, 9)), Err(ManageError::Exists));
        lab.class(&udp((2, 9), (3, 80)));
        assert_eq!(lab.count(), 1);
        let only = records(&lab).remove(0);
        assert_eq!((only.mark, only.left), (7, Duration::from_secs(120)));
        assert!(only.status.has(Status::SEEN_REPLY.union(Status::ASSURED)));
    }

    #[test]
    fn a_wish_for_nat_changes_the_reply() {
        let mut lab = Lab::new();
        let wish = Wanted { source: Some((host(9), None)), ..wanted(proto::UDP, 9) };
        create(&mut lab, &wish).unwrap();
        let only = records(&lab).remove(0);
        assert_eq!((only.tuples[1].dst, only.tuples[1].dst_id), (host(9), 9));
        let both = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);
        assert!(only.status.has(Status::SRC_NAT.union(both)) && !only.status.has(Status::DST_NAT));
    }

    #[test]
    fn what_may_change() {
        let mut lab = Lab::new();
        let id = create(&mut lab, &wanted(proto::TCP, 9)).unwrap();
        let mut try_change = |changes| lab.tracker.change(id, &changes, lab.now.mono);
        let status = |status: Status| ConnChange { status: Some(status), ..ConnChange::default() };
        assert_eq!(try_change(status(Status::ASSURED)), Err(ManageError::Busy), "not CONFIRMED");
        assert_eq!(try_change(status(Status::CONFIRMED.union(Status::ASSURED))), Ok(()));
        assert_eq!(try_change(status(Status::CONFIRMED)), Err(ManageError::Busy), "ASSURED stays");
        assert_eq!(try_change(ConnChange { state: Some(77), ..ConnChange::default() }), Err(ManageError::Invalid));
        assert_eq!(try_change(ConnChange { state: Some(3), timeout: Some(5), ..ConnChange::default() }), Ok(()));
        let only = records(&lab).remove(0);
        assert_eq!((only.state_text(), only.left), (Some("ESTABLISHED"), Duration::from_secs(5)));
        lab.wait(5000);
        assert!(records(&lab).is_empty());
        lab.tracker.expire(lab.now.mono, &lab.knobs, &mut lab.events);
        assert_eq!(lab.count(), 0, "the shorter time-out was noticed");
        let gone = lab.tracker.change(id, &ConnChange::default(), lab.now.mono);
        assert_eq!(gone, Err(ManageError::NotFound));
    }

    #[test]
    fn changes_are_reported_to_who_watches() {
        let mut lab = Lab::new();
        let reports = |lab: &mut Lab, bytes: &[u8]| {
            lab.class(bytes);
            let mut events = Vec::new();
            lab.tracker.report_change(lab.now.mono, &mut events);
            assert!(events.iter().all(|event| matches!(event, Event::ConnChanged(_, Some(_)))), "as it is now");
            events.len()
        };
        let (there, back) = (udp((2, 9), (3, 53)), udp((3, 53), (2, 9)));
        lab.tracker.watched = true;
        assert_eq!(reports(&mut lab, &there), 0, "it is new");
        assert_eq!(reports(&mut lab, &there), 0, "nothing changed");
        assert_eq!(reports(&mut lab, &back), 1, "answered");
        lab.tracker.watched = false;
        lab.wait(3000);
        assert_eq!(reports(&mut lab, &there), 0, "no one watches");
    }

    /// Traffic of all kinds, with everything that a connection can have.
    fn busy_lab() -> Lab {
        let mut lab = Lab::new();
        lab.knobs.accounting = true;
        lab.knobs.timestamp = true;
        lab.tracker.labels = true;
        let segment = |from: (u8, u16), to: (u8, u16), seq, ack, flags| {
            let tcp = Tcp { src_port: from.1, dst_port: to.1, seq, ack, flags, window: 1000, ..Default::default() };
            tcp.packet(Family::V4, host(from.0), host(to.0))
        };
        lab.class(&segment((2, 5), (3, 80), 10, 0, tcp::SYN));
        lab.class(&segment((3, 80), (2, 5), 70, 11, tcp::SYN | tcp::ACK));
        lab.class(&segment((2, 5), (3, 80), 11, 71, tcp::ACK));
        lab.wait(700);
        lab.class(&udp((2, 7), (4, 53)));
        lab.class(&udp((4, 53), (2, 7)));
        let ftp = Wanted { helper: Some("ftp".to_owned()), source: Some((host(9), None)), ..wanted(proto::TCP, 21) };
        let master = create(&mut lab, &ftp).unwrap();
        let conn = lab.tracker.conns.get_mut(master).unwrap();
        conn.extra_mut().seq_adjust[1] = SeqAdjust { position: 5, before: -1, after: 3 };
        conn.extra_mut().line_ends[0][1] = Some(88);
        conn.extra().unwrap().labels.as_ref().unwrap().set(5);
        let data = create(&mut lab, &wanted(proto::TCP, 20)).unwrap();
        lab.tracker.conns.get_mut(data).unwrap().extra_mut().master = Some(master);
        let expected = Expectation {
            tuple: tuple(proto::TCP, 0),
            mask: SourceMask::any_port(Family::V4),
            zone: Zone::default(),
            master,
            helper: None,
            class: 0,
            expires: lab.now.mono + Duration::from_secs(60),
            is_permanent: false,
            is_inactive: false,
            nat: None,
        };
        lab.tracker.expectations.insert(expected, 0, 10).unwrap();
        lab
    }

    #[test]
    fn a_snapshot_taken_up_is_the_same_but_older() {
        let mut old = busy_lab();
        let before = records(&old);
        let expected = old.tracker.expect_records(old.now.mono);
        let gone = Duration::from_secs(10);
        let mut new = Lab::new();
        new.now.mono = Instant::from_secs(5);
        let mut masters = Vec::new();
        for record in &before {
            let id = new.tracker.restore(record, new.now.mono, gone).unwrap();
            assert_eq!(new.tracker.restore(record, new.now.mono, gone), Err(ManageError::Exists));
            masters.extend(record.master.map(|master| (id, master)));
        }
        for (id, master) in masters {
            new.tracker.restore_master(id, &master, new.now.mono);
        }
        for (_, record) in &expected {
            new.tracker.restore_expectation(record, new.now.mono, gone, &new.knobs).unwrap();
        }
        // What the old one knows ten seconds later; this engine began five seconds ago, so nothing is older than that.
        old.wait(10_000);
        let age = |mut record: Record| {
            record.age = record.age.min(Duration::from_secs(5));
            record
        };
        let then: Vec<Record> = records(&old).into_iter().map(age).collect();
        assert_eq!(then.len(), 4);
        assert_eq!(records(&new).into_iter().map(age).collect::<Vec<_>>(), then);
        let [was, is] = [&old, &new].map(|lab| lab.tracker.expect_records(lab.now.mono).remove(0).1);
        assert_eq!(was, is);
        // An established TCP connection goes on.
        let tcp =
            Tcp { src_port: 80, dst_port: 5, seq: 71, ack: 11, flags: tcp::ACK, window: 1000, ..Default::default() };
        let class = new.class(&tcp.packet(Family::V4, host(3), host(2)));
        assert_eq!(class, Some(crate::track::Class::Established(Direction::Reply)));
        let state = records(&new).iter().find(|r| r.tuples[0].src_id == 5).map(|r| r.state_text());
        assert_eq!(state, Some(Some(TcpState::Established.text())));
    }

    #[test]
    fn windows_that_moved_on_are_no_obstacle() {
        let old = busy_lab();
        let mut record = records(&old).into_iter().find(|r| r.tuples[0].src_id == 5).unwrap();
        let ProtoState::Tcp(track) = &mut record.proto else { panic!("TCP") };
        track.forget_windows();
        let mut new = Lab::new();
        new.tracker.restore(&record, new.now.mono, Duration::from_secs(1)).unwrap();
        // The server repeats a segment that the client has long had, with much more behind it; the client says so.
        let tcp = |from: (u8, u16), to: (u8, u16), seq, ack, payload| {
            let tcp = Tcp {
                src_port: from.1,
                dst_port: to.1,
                seq,
                ack,
                flags: tcp::ACK,
                window: 500,
                payload,
                ..Default::default()
            };
            tcp.packet(Family::V4, host(from.0), host(to.0))
        };
        assert!(new.class(&tcp((3, 80), (2, 5), 50_000, 11, b"again")).is_some());
        assert!(new.class(&tcp((2, 5), (3, 80), 11, 900_000, b"")).is_some());
        assert!(new.class(&tcp((3, 80), (2, 5), 900_000, 11, b"more")).is_some());
    }

    #[test]
    fn what_ended_meanwhile_is_not_taken_up() {
        let old = busy_lab();
        let mut new = Lab::new();
        let all = records(&old);
        let taken = |record: &&Record| new.tracker.restore(record, new.now.mono, Duration::from_secs(110)).is_ok();
        assert_eq!(all.iter().filter(taken).count(), 1, "only the established one lives so long");
    }
}
