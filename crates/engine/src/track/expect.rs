//! Connections that helpers announce: an FTP server's data connection, a TFTP server's answer from another port.

use super::{ConnId, Conns, Direction, Status, Tuple, Zone};
use crate::time::{HZ, Instant};
use hairpin_wire::{Addr, Family};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A connection announced by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The original tuple it will have; the source only as far as the mask says.
    pub tuple: Tuple,
    /// Which bits of the source count.
    pub mask: SourceMask,
    /// Zones of the connection that announced it.
    pub zone: Zone,
    /// The connection that announced it.
    pub master: ConnId,
    /// The helper that the expected connection will have.
    pub helper: Option<&'static str>,
    /// The helper's kind of expectation: each kind has its own limit.
    pub class: u8,
    /// When it is given up.
    pub expires: Instant,
    /// It stays when it is met.
    pub is_permanent: bool,
    /// It cannot be met for now.
    pub is_inactive: bool,
    /// How NAT is to bind the expected connection; None: by its rules, as any other.
    pub nat: Option<ExpectNat>,
}

/// The bits of an expectation's source that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMask {
    /// Of the address.
    pub addr: Addr,
    /// Of the port or id.
    pub id: u16,
}

impl SourceMask {
    /// The address counts, the port does not: the usual one.
    pub const fn any_port(family: Family) -> SourceMask {
        SourceMask { addr: family.mask(family.bits()), id: 0 }
    }

    /// Nothing counts.
    pub const ANY: SourceMask = SourceMask { addr: Addr::UNSPECIFIED, id: 0 };
}

/// What NAT does with an expected connection: its source becomes the address that the far end of the announcing connection sees, its
/// destination the announcer's own address and the port it named before that was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectNat {
    /// The port or id that was announced, before translation.
    pub saved_id: u16,
    /// The address that was announced, before translation.
    pub saved_addr: Addr,
    /// The direction of the announcing connection in which the expected one will go.
    pub direction: Direction,
}

/// A handle to an expectation; never used again for another one. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpectId(u64);

impl ExpectId {
    /// A number that tools may show.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// Why an expectation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectError {
    /// Another one would be met by some of the same connections (EBUSY).
    Busy,
    /// The very same one exists for another purpose (EALREADY).
    Already,
    /// The connection may not announce more of this kind (EMFILE).
    ClassFull,
    /// There are too many altogether (EMFILE): `nf_conntrack_expect_max`.
    TableFull,
}

/// All expectations. Few are alive at a time, at most `nf_conntrack_expect_max`, so ordered trees keep them.
#[derive(Debug, Default)]
pub struct Expectations {
    by_id: BTreeMap<ExpectId, Expectation>,
    by_destination: BTreeMap<(Destination, ExpectId), ()>,
    by_master: BTreeMap<(ConnId, ExpectId), ()>,
    by_expiry: BTreeMap<(u64, ExpectId), ()>,
    last: u64,
    /// What came and went is noted: someone watches.
    watched: bool,
    happened: Vec<Happened>,
}

/// An expectation that came or went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    pub(super) is_new: bool,
    pub(super) id: ExpectId,
    pub(super) expected: Expectation,
}

/// The part of an expectation that must agree exactly.
type Destination = (Family, u8, Addr, u16);

impl Expectations {
    /// Takes an expectation. `class_max` is how many of this class its master may have at a time, 0 for no limit; `max` how many there
    /// may be altogether. The same one announced again replaces the old one; when the class is full its oldest goes.
    ///
    /// # Errors
    /// See [`ExpectError`]; nothing is changed then, except that the oldest of the class may have gone.
    pub fn insert(&mut self, new: Expectation, class_max: usize, max: usize) -> Result<ExpectId, ExpectError> {
        if let Some((id, old)) = self.first_conflict(&new) {
            if old.master != new.master || !is_equal(&old, &new) {
                return Err(ExpectError::Busy);
            }
            if old.class != new.class {
                return Err(ExpectError::Already);
            }
            self.remove(id);
        }
        if class_max != 0 {
            let mut of_class = self.of_class(&new);
            if of_class.len() >= class_max {
                self.remove(of_class.remove(0));
            }
            if of_class.len() >= class_max {
                return Err(ExpectError::ClassFull);
            }
        }
        if self.by_id.len() >= max {
            return Err(ExpectError::TableFull);
        }
        self.last += 1;
        let id = ExpectId(self.last);
        self.by_destination.insert((destination(&new.tuple), id), ());
        self.by_master.insert((new.master, id), ());
        self.by_expiry.insert((new.expires.jiffies(), id), ());
        self.by_id.insert(id, new);
        if self.watched {
            self.happened.push(Happened { is_new: true, id, expected: new });
        }
        Ok(id)
    }

    /// Whether what comes and goes is noted from now on.
    pub(super) fn set_watched(&mut self, on: bool) {
        self.watched = on;
        if !on {
            self.happened.clear();
        }
    }

    /// Whether something was noted.
    pub(super) const fn has_news(&self) -> bool {
        !self.happened.is_empty()
    }

    /// What was noted, in order.
    pub(super) fn take_news(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// The expectation, unless it is gone.
    pub fn get(&self, id: ExpectId) -> Option<&Expectation> {
        self.by_id.get(&id)
    }

    /// Gives up an expectation.
    pub fn remove(&mut self, id: ExpectId) -> Option<Expectation> {
        let gone = self.by_id.remove(&id)?;
        self.by_destination.remove(&(destination(&gone.tuple), id));
        self.by_master.remove(&(gone.master, id));
        self.by_expiry.remove(&(gone.expires.jiffies(), id));
        if self.watched {
            self.happened.push(Happened { is_new: false, id, expected: gone });
        }
        Some(gone)
    }

    /// The newest expectation that a connection with this original tuple and zone would meet, active or not.
    pub fn find(&self, tuple: &Tuple, zone: Zone) -> Option<(ExpectId, &Expectation)> {
        self.to(destination(tuple)).find(|(_, expected)| fits(expected, tuple, zone))
    }

    /// The newest active expectation that is met, if its master is confirmed and alive; it is gone then, unless permanent.
    pub fn meet(&mut self, tuple: &Tuple, zone: Zone, conns: &Conns, now: Instant) -> Option<Expectation> {
        if self.by_id.is_empty() {
            return None;
        }
        let is_met = |expected: &Expectation| {
            !expected.is_inactive && expected.expires.jiffies() > now.jiffies() && fits(expected, tuple, zone)
        };
        let (id, expected) = self.to(destination(tuple)).find(|(_, expected)| is_met(expected))?;
        let expected = *expected;
        let is_alive = |status: Status| status.has(Status::CONFIRMED) && !status.has(Status::DYING);
        if !conns.get(expected.master).is_some_and(|master| is_alive(master.status)) {
            return None;
        }
        if !expected.is_permanent {
            self.remove(id);
        }
        Some(expected)
    }

    /// Gives up all expectations of a connection; says how many that were.
    pub fn unlink_master(&mut self, master: ConnId) -> usize {
        if self.by_id.is_empty() {
            return 0;
        }
        let ids = self.of_master(master);
        ids.into_iter().filter(|id| self.remove(*id).is_some()).count()
    }

    /// Changes when an expectation is given up: `secs` seconds from now.
    pub fn refresh(&mut self, id: ExpectId, now: Instant, secs: u32) {
        if let Some(expected) = self.by_id.get_mut(&id) {
            self.by_expiry.remove(&(expected.expires.jiffies(), id));
            expected.expires = expiry(now, secs);
            self.by_expiry.insert((expected.expires.jiffies(), id), ());
        }
    }

    /// Gives up those whose time has come; says how many that were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut gone = 0;
        while let Some(((due, id), ())) = self.by_expiry.first_key_value()
            && *due <= now.jiffies()
        {
            let id = *id;
            if self.remove(id).is_none() {
                self.by_expiry.pop_first();
            }
            gone += 1;
        }
        gone
    }

    /// When the next one is given up.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first_key_value().map(|((due, _), ())| Instant::from_jiffies(*due))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (ExpectId, &Expectation)> {
        self.by_id.iter().map(|(id, expected)| (*id, expected))
    }

    /// Those with this destination, the newest first.
    fn to(&self, destination: Destination) -> impl Iterator<Item = (ExpectId, &Expectation)> {
        let range = (Bound::Included((destination, ExpectId(0))), Bound::Included((destination, ExpectId(u64::MAX))));
        self.by_destination.range(range).rev().filter_map(|((_, id), ())| Some((*id, self.by_id.get(id)?)))
    }

    /// The newest one that is the same as a new one, or in its way.
    fn first_conflict(&self, new: &Expectation) -> Option<(ExpectId, Expectation)> {
        let found = self
            .to(destination(&new.tuple))
            .find(|(_, old)| old.master == new.master && is_equal(old, new) || clashes(old, new));
        found.map(|(id, old)| (id, *old))
    }

    fn of_master(&self, master: ConnId) -> Vec<ExpectId> {
        let range = (Bound::Included((master, ExpectId(0))), Bound::Included((master, ExpectId(u64::MAX))));
        self.by_master.range(range).map(|((_, id), ())| *id).collect()
    }

    /// Those of the same master and class, the oldest first.
    fn of_class(&self, new: &Expectation) -> Vec<ExpectId> {
        let mut ids = self.of_master(new.master);
        ids.retain(|id| self.by_id.get(id).is_some_and(|old| old.class == new.class));
        ids
    }
}

/// When an expectation made now is given up that is to live `secs` seconds.
pub(crate) fn expiry(now: Instant, secs: u32) -> Instant {
    Instant::from_jiffies(now.jiffies().saturating_add(u64::from(secs) * HZ))
}

fn destination(tuple: &Tuple) -> Destination {
    (tuple.family, tuple.protocol, tuple.dst, tuple.dst_id)
}

/// Whether a connection meets an expectation; the destinations agree already.
fn fits(expected: &Expectation, tuple: &Tuple, zone: Zone) -> bool {
    source_fits(&expected.tuple, tuple, expected.mask) && expected.zone.id() == zone.id()
}

fn source_fits(a: &Tuple, b: &Tuple, mask: SourceMask) -> bool {
    a.src.in_net(b.src, mask.addr) && (a.src_id ^ b.src_id) & mask.id == 0
}

fn is_equal(a: &Expectation, b: &Expectation) -> bool {
    a.tuple == b.tuple && a.mask == b.mask && a.zone.id() == b.zone.id()
}

/// Whether some connection would meet both; the destinations agree already.
fn clashes(a: &Expectation, b: &Expectation) -> bool {
    let both = SourceMask { addr: a.mask.addr.masked(b.mask.addr), id: a.mask.id & b.mask.id };
    source_fits(&a.tuple, &b.tuple, both) && a.zone.id() == b.zone.id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_wire::proto;

    const MASTER: ConnId = ConnId { slot: 1, generation: 0 };
    const OTHER: ConnId = ConnId { slot: 2, generation: 0 };
    const NO_LIMIT: usize = usize::MAX;

    /// To a port of 10.0.0.2, from anywhere on 10.0.0.3.
    fn to(port: u16) -> Expectation {
        let tuple = Tuple {
            src: Addr::v4(0x0a00_0003),
            dst: Addr::v4(0x0a00_0002),
            src_id: 0,
            dst_id: port,
            protocol: proto::TCP,
            family: Family::V4,
        };
        Expectation {
            tuple,
            mask: SourceMask::any_port(Family::V4),
            zone: Zone::default(),
            master: MASTER,
            helper: None,
            class: 0,
            expires: Instant::from_secs(300),
            is_permanent: false,
            is_inactive: false,
            nat: None,
        }
    }

    fn ports(all: &Expectations) -> Vec<u16> {
        all.iter().map(|(_, expected)| expected.tuple.dst_id).collect()
    }

    #[test]
    fn the_oldest_of_a_full_class_goes() {
        let mut all = Expectations::default();
        for port in [1, 2, 3] {
            all.insert(to(port), 2, NO_LIMIT).unwrap();
        }
        assert_eq!(ports(&all), [2, 3]);
        // Other classes and other masters have their own limit.
        all.insert(Expectation { class: 1, ..to(4) }, 2, NO_LIMIT).unwrap();
        all.insert(Expectation { master: OTHER, ..to(5) }, 2, NO_LIMIT).unwrap();
        assert_eq!(ports(&all), [2, 3, 4, 5]);
    }

    #[test]
    fn a_full_table_refuses() {
        let mut all = Expectations::default();
        all.insert(to(1), 0, 2).unwrap();
        all.insert(to(2), 0, 2).unwrap();
        assert_eq!(all.insert(to(3), 0, 2), Err(ExpectError::TableFull));
        assert_eq!(ports(&all), [1, 2]);
        // The same once more takes the place of the old one.
        all.insert(to(2), 0, 2).unwrap();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn the_same_again_replaces_and_an_overlap_is_refused() {
        let mut all = Expectations::default();
        let first = all.insert(to(1), 1, NO_LIMIT).unwrap();
        let again = all.insert(Expectation { expires: Instant::from_secs(900), ..to(1) }, 1, NO_LIMIT).unwrap();
        assert!(all.get(first).is_none());
        assert_eq!(all.next_expiry(), Some(Instant::from_secs(900)));
        assert_eq!(all.insert(Expectation { class: 1, ..to(1) }, 1, NO_LIMIT), Err(ExpectError::Already));
        assert_eq!(all.insert(Expectation { master: OTHER, ..to(1) }, 1, NO_LIMIT), Err(ExpectError::Busy));
        let anyone = Expectation { mask: SourceMask::ANY, ..to(1) };
        assert_eq!(all.insert(anyone, 1, NO_LIMIT), Err(ExpectError::Busy));
        let mut from_elsewhere = to(1);
        from_elsewhere.tuple.src = Addr::v4(9);
        all.insert(from_elsewhere, 0, NO_LIMIT).unwrap();
        all.insert(Expectation { zone: Zone::both(5), master: OTHER, ..to(1) }, 0, NO_LIMIT).unwrap();
        assert_eq!((all.len(), all.get(again).is_some()), (3, true));
    }

    #[test]
    fn found_by_mask_and_zone() {
        let mut all = Expectations::default();
        let id = all.insert(to(1), 0, NO_LIMIT).unwrap();
        let found = |tuple: Tuple, zone| all.find(&tuple, zone).map(|(id, _)| id);
        let tuple = Tuple { src_id: 4444, ..to(1).tuple };
        assert_eq!(found(tuple, Zone::default()), Some(id));
        assert_eq!(found(tuple, Zone::both(1)), None);
        assert_eq!(found(Tuple { src: Addr::v4(9), ..tuple }, Zone::default()), None);
        assert_eq!(found(Tuple { dst_id: 2, ..tuple }, Zone::default()), None);
        assert_eq!(found(Tuple { protocol: proto::UDP, ..tuple }, Zone::default()), None);
    }

    #[test]
    fn met_once_unless_permanent() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(1);
        let tuple = to(1).tuple;
        let conn = super::super::Conn::new(tuple, tuple, Zone::default(), now);
        let master = conns.insert_unconfirmed(conn).unwrap();
        let mut all = Expectations::default();
        all.insert(Expectation { master, ..to(1) }, 0, NO_LIMIT).unwrap();
        assert!(all.meet(&tuple, Zone::default(), &conns, now).is_none(), "the master is not confirmed");
        conns.get_mut(master).unwrap().expires = Instant::from_secs(100);
        conns.confirm(master, now);
        assert!(all.meet(&tuple, Zone::default(), &conns, Instant::from_secs(300)).is_none(), "too late");
        assert!(all.meet(&tuple, Zone::default(), &conns, now).is_some());
        assert!(all.meet(&tuple, Zone::default(), &conns, now).is_none());
        all.insert(Expectation { master, is_permanent: true, ..to(1) }, 0, NO_LIMIT).unwrap();
        all.insert(Expectation { master, is_inactive: true, ..to(2) }, 0, NO_LIMIT).unwrap();
        for _ in 0..2 {
            assert!(all.meet(&tuple, Zone::default(), &conns, now).is_some());
            assert!(all.meet(&to(2).tuple, Zone::default(), &conns, now).is_none());
        }
        conns.kill(master);
        assert!(all.meet(&tuple, Zone::default(), &conns, now).is_none(), "the master is gone");
    }

    #[test]
    fn time_and_masters_end_them() {
        let mut all = Expectations::default();
        let first = all.insert(to(1), 0, NO_LIMIT).unwrap();
        all.insert(Expectation { master: OTHER, ..to(2) }, 0, NO_LIMIT).unwrap();
        all.insert(Expectation { master: OTHER, ..to(3) }, 0, NO_LIMIT).unwrap();
        all.refresh(first, Instant::from_secs(300), 10);
        assert_eq!(all.unlink_master(OTHER), 2);
        assert_eq!((all.expire(Instant::from_secs(309)), all.next_expiry()), (0, Some(Instant::from_secs(310))));
        assert_eq!((all.expire(Instant::from_secs(310)), all.next_expiry(), all.is_empty()), (1, None, true));
    }
}
