//! All connections: where they are kept, found by tuple or by source, and when they end.

use super::index::{Index, Key, Probe};
use super::wheel::{Links, Timers, Wheel};
use super::{Ahead, Conn, ConnId, Direction, Status, Tuple, Zone};
use crate::ahead::Prefetch;
use crate::packet::Template;
use crate::time::Instant;
use hairpin_wire::{Addr, Family};
use std::sync::Arc;

/// All connections.
///
/// Memory per connection: three cache lines for the [`Conn`] and what is beside it (a fourth for IPv6), 23 to 46 bytes for finding it by
/// its two tuples, and 12 to 23 bytes for finding it by its source once NAT has settled that. Nothing is allocated for a packet of a
/// known connection.
#[derive(Debug)]
pub struct Conns {
    key: Key,
    slab: Slab,
    /// Tuples of confirmed connections, both directions, to slot times two plus direction.
    tuples: Index,
    /// Original sources of connections whose source side is settled, to the newest connection with that source.
    sources: Index,
    wheel: Wheel,
    /// The source that NAT gave last, for each family.
    last_source: [Addr; 2],
    /// What rules see of a template, for each family.
    blank: [Box<Conn>; 2],
    /// The templates that rules marked, and what is seen of them.
    marked: Vec<(Arc<Template>, Box<Conn>)>,
    /// There were connections with a zone for each direction. Only then can two have the same tuple in the same zone, and the newest
    /// is found.
    is_split: bool,
}

impl Default for Conns {
    /// An empty table under a fixed key: for tests and places without strangers.
    fn default() -> Conns {
        Conns::new((0, 0))
    }
}

impl Conns {
    /// An empty table. `key` keeps those who choose the tuples from choosing where they go.
    pub fn new(key: (u64, u64)) -> Conns {
        Conns {
            key: Key::new(key),
            slab: Slab::default(),
            tuples: Index::default(),
            sources: Index::default(),
            wheel: Wheel::default(),
            last_source: [Addr::UNSPECIFIED; 2],
            blank: [Family::V4, Family::V6].map(|family| Box::new(blank(family))),
            marked: Vec::new(),
            is_split: false,
        }
    }

    /// The connection, unless it is gone. Unconfirmed ones are found as well, and those that were killed but not yet let go.
    #[inline]
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slab.get(id.slot).filter(|entry| entry.generation == id.generation)?.conn.as_ref()
    }

    /// What rules see of a template that `-j CT` attached and tracking has not seen yet (`nf_ct_tmpl_alloc`): confirmed, and everything
    /// else zero.
    pub(crate) fn template(&self, template: &Arc<Template>, family: Family) -> &Conn {
        let marked = self.marked.iter().find(|(marked, _)| Arc::ptr_eq(marked, template));
        marked.map_or(&self.blank[usize::from(family == Family::V6)], |(_, conn)| conn)
    }

    /// Gives a template a mark, which it has for the next packet as well. One whose rule is gone is forgotten.
    pub(crate) fn mark_template(&mut self, template: &Arc<Template>, family: Family, mark: u32) {
        if let Some((_, conn)) = self.marked.iter_mut().find(|(marked, _)| Arc::ptr_eq(marked, template)) {
            conn.mark = mark;
            return;
        }
        self.marked.retain(|(marked, _)| Arc::strong_count(marked) > 1);
        let mut conn = blank(family);
        conn.mark = mark;
        self.marked.push((Arc::clone(template), Box::new(conn)));
    }

    /// The connection, to be changed. Tuples and zone of a confirmed connection must stay as they are; after shortening its life call
    /// [`Conns::rearm`].
    #[inline]
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slab.get_mut(id.slot).filter(|entry| entry.generation == id.generation)?.conn.as_mut()
    }

    /// The confirmed connection that has this tuple in either direction in this zone, and has not ended.
    pub fn find(&self, tuple: &Tuple, zone: u16, now: Instant) -> Option<(ConnId, Direction)> {
        self.find_in(tuple, Zone::both(zone), now)
    }

    /// As [`Conns::find`], where the zone of each direction is its own: an entry fits when its zone in the direction found is the
    /// zone given for that direction.
    pub fn find_in(&self, tuple: &Tuple, zone: Zone, now: Instant) -> Option<(ConnId, Direction)> {
        let find = |id| self.find_hashed(self.hash(tuple, id), tuple, zone, now);
        find(zone.original).or_else(|| if zone.reply == zone.original { None } else { find(zone.reply) })
    }

    /// As [`Conns::find_in`] with the hash of the tuple in one of the two zones already known.
    #[inline]
    pub fn find_hashed(&self, hash: u32, tuple: &Tuple, zone: Zone, now: Instant) -> Option<(ConnId, Direction)> {
        let jiffies = now.jiffies();
        let mut alive = self.with_tuple(hash, tuple, zone).filter(|(_, _, conn)| !conn.is_expired_at(jiffies));
        let (mut id, mut direction, mut conn) = alive.next()?;
        if self.is_split {
            for other in alive {
                if other.2.started() > conn.started() {
                    (id, direction, conn) = other;
                }
            }
        }
        Some((id, direction))
    }

    /// The hash of a tuple in a zone.
    #[inline]
    pub fn hash(&self, tuple: &Tuple, zone: u16) -> u32 {
        let ids = u64::from(tuple.src_id) << 48
            | u64::from(tuple.dst_id) << 32
            | u64::from(zone) << 16
            | u64::from(tuple.protocol) << 8;
        match tuple.family {
            Family::V4 => self.key.hash2(u64::from(tuple.src.as_u32()) << 32 | u64::from(tuple.dst.as_u32()), ids | 4),
            Family::V6 => {
                let [a, b] = halves(tuple.src);
                let [c, d] = halves(tuple.dst);
                self.key.hash5([a, b, c, d, ids | 6])
            }
        }
    }

    /// Touches the place where a search for this hash begins: see [`super::ahead`].
    #[inline]
    pub(crate) fn touch_index(&self, ahead: Ahead) -> u64 {
        self.touch_hash(ahead.hash)
    }

    #[inline]
    fn touch_hash(&self, hash: u32) -> u64 {
        u64::from(self.tuples.hint(hash).unwrap_or(0))
    }

    /// The first place that the index of tuples has under this hash: a slot times two plus direction.
    #[inline]
    pub(super) fn first_place(&self, hash: u32) -> Option<u32> {
        self.tuples.get(hash).next()
    }

    /// What is at a place of the index of tuples.
    #[inline]
    pub(super) fn at_place(&self, place: u32) -> Option<(ConnId, Option<&Conn>)> {
        let slot = place >> 1;
        self.slab.get(slot).map(|entry| (ConnId { slot, generation: entry.generation }, entry.conn.as_ref()))
    }

    /// Whether two connections may have the same tuple in the same zone.
    #[inline]
    pub(super) fn may_have_twins(&self) -> bool {
        self.is_split
    }

    /// Asks for the place where a search for this hash begins.
    #[inline]
    pub(super) fn ask_hash(&self, hash: u32, ask: Prefetch) {
        if let Some(place) = self.tuples.home(hash) {
            ask(std::ptr::from_ref(place).cast());
        }
    }

    /// Where the entry at a place of the index of tuples lies.
    #[inline]
    pub(super) fn address_of(&self, place: u32) -> Option<*const u8> {
        self.slab.get(place >> 1).map(|entry| std::ptr::from_ref(entry).cast())
    }

    /// Touches what will be asked about a connection that begins with this tuple: whether its answer's tuple is taken, unchanged and
    /// with the source that NAT gave last, and whether its source is known. The number means nothing.
    pub(crate) fn touch_for_new(&self, tuple: &Tuple) -> u64 {
        let Some(([reply, translated], source)) = self.hashes_for_new(tuple) else { return 0 };
        self.touch_hash(reply) ^ self.touch_hash(translated) ^ u64::from(self.sources.hint(source).unwrap_or(0))
    }

    /// As [`Conns::touch_for_new`] without waiting.
    pub(crate) fn ask_for_new(&self, tuple: &Tuple, ask: Prefetch) {
        let Some((tuples, source)) = self.hashes_for_new(tuple) else { return };
        tuples.into_iter().for_each(|hash| self.ask_hash(hash, ask));
        if let Some(place) = self.sources.home(source) {
            ask(std::ptr::from_ref(place).cast());
        }
    }

    fn hashes_for_new(&self, tuple: &Tuple) -> Option<([u32; 2], u32)> {
        let reply = tuple.invert()?;
        let Tuple { src, src_id, protocol, family, .. } = *tuple;
        let source = self.source_hash(Source { family, src, src_id, protocol, zone: 0 });
        let translated = Tuple { dst: self.last_source[usize::from(family == Family::V6)], ..reply };
        Some(([self.hash(&reply, 0), self.hash(&translated, 0)], source))
    }

    /// Notes a source that NAT gave a connection: the next one may well be given the same.
    pub(crate) fn note_source(&mut self, family: Family, source: Addr) {
        self.last_source[usize::from(family == Family::V6)] = source;
    }

    /// Whether another confirmed connection has this tuple, so that NAT cannot give it to `by` as its reply tuple
    /// (`nf_conntrack_tuple_taken`). One with the same original tuple does not count: confirming will sort that out.
    pub fn taken(&self, tuple: &Tuple, by: ConnId, now: Instant) -> Option<(ConnId, Direction)> {
        let me = self.get(by)?;
        let original = me.tuple(Direction::Original);
        let jiffies = now.jiffies();
        self.with_tuple(self.hash(tuple, me.zone().reply), tuple, me.zone()).find_map(|(id, direction, conn)| {
            let same = conn.tuple(Direction::Original) == original && conn.zone().original == me.zone().original;
            (id != by && !same && !conn.is_expired_at(jiffies)).then_some((id, direction))
        })
    }

    /// Takes in a connection that is not yet in the table: only its handle leads to it. None when 2^31 places are in use.
    pub fn insert_unconfirmed(&mut self, conn: Conn) -> Option<ConnId> {
        self.slab.insert(conn)
    }

    /// Enters an unconfirmed connection into the table and starts its life. False, and nothing done, when the handle is stale, it is
    /// confirmed already, or it was killed. Clashes are the caller's to find before: see `Conns::clash`.
    pub fn confirm(&mut self, id: ConnId, now: Instant) -> bool {
        self.enter(id, now, [true, true])
    }

    /// As [`Conns::confirm`], by the reply tuple only: lookups of the original tuple go on finding the entry that was there first.
    pub(crate) fn confirm_reply_only(&mut self, id: ConnId, now: Instant) -> bool {
        self.enter(id, now, [false, true])
    }

    /// The confirmed connection that has one of this one's tuples, the original looked for first.
    pub(crate) fn clash(&self, conn: &Conn) -> Option<ConnId> {
        [Direction::Original, Direction::Reply].into_iter().find_map(|direction| self.clash_in(conn, direction))
    }

    /// The confirmed connection that has this one's tuple of a direction.
    pub(crate) fn clash_in(&self, conn: &Conn, direction: Direction) -> Option<ConnId> {
        let tuple = conn.tuple(direction);
        let hash = self.hash(&tuple, conn.zone().of(direction));
        self.with_tuple(hash, &tuple, conn.zone()).next().map(|(id, ..)| id)
    }

    /// Looks again when a confirmed connection ends, after its life was shortened. Lengthening needs no call.
    #[inline]
    pub fn rearm(&mut self, id: ConnId) {
        let due = self.get(id).map(|conn| conn.expires.jiffies());
        // The wheel knows the lower half of the jiffy it was armed for.
        if let Some(due) = due
            && self
                .slab
                .get(id.slot)
                .is_some_and(|entry| entry.links.is_linked() && ((due as u32).wrapping_sub(entry.armed) as i32) < 0)
        {
            self.wheel.disarm(&mut self.slab, id.slot);
            self.arm(id.slot, due);
        }
    }

    /// Changes a connection as [`Conns::get_mut`] and looks again when it ends. None when the handle is stale.
    #[inline]
    pub(crate) fn change<T>(&mut self, id: ConnId, change: impl FnOnce(&mut Conn) -> T) -> Option<T> {
        let entry = self.slab.get_mut(id.slot).filter(|entry| entry.generation == id.generation)?;
        let conn = entry.conn.as_mut()?;
        let before = conn.expires;
        let result = change(conn);
        if conn.expires < before {
            self.rearm(id);
        }
        Some(result)
    }

    /// Takes a connection out. None when the handle is stale.
    pub fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get(id)?;
        self.unlink(id);
        self.slab.remove(id.slot)
    }

    /// Takes a connection out of the table but keeps it for the packet that carries it, until [`Conns::let_go`]. False when the handle
    /// is stale or it was killed before.
    pub(crate) fn kill(&mut self, id: ConnId) -> bool {
        if self.get(id).is_none_or(|conn| conn.status.has(Status::DYING)) {
            return false;
        }
        self.unlink(id);
        if let Some(conn) = self.get_mut(id) {
            conn.status.set(Status::DYING);
        }
        true
    }

    /// Forgets a connection that only a packet carried: one that was killed, or never confirmed. Others stay.
    pub(crate) fn let_go(&mut self, id: ConnId) {
        let Some(status) = self.get(id).map(|conn| conn.status) else { return };
        if status.has(Status::DYING) || !status.has(Status::CONFIRMED) {
            self.remove(id);
        }
    }

    /// How many connections there are, unconfirmed ones and those killed but not let go included (`nf_conntrack_count`).
    pub fn count(&self) -> usize {
        self.slab.len
    }

    /// The confirmed connections in the order of their places, also those entered by their reply tuple only.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.slab.iter().filter(|(_, conn)| conn.is_in_table())
    }

    /// The connections in some of the places of the table, whatever their state.
    pub(crate) fn places(&self, from: u32, until: u32) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.slab.range(from, until)
    }

    /// How many places of the table were ever used.
    pub(crate) fn used_places(&self) -> u32 {
        self.slab.used
    }

    /// The connections that a listing shows: confirmed, not expired, found by their original tuple.
    pub fn listed(&self, now: Instant) -> impl Iterator<Item = (ConnId, &Conn)> {
        let jiffies = now.jiffies();
        self.iter().filter(move |(_, conn)| !conn.is_expired_at(jiffies) && !conn.status.has(Status::NAT_CLASH))
    }

    /// Takes out every connection that has ended, in the order in which they ended as far as the wheel knows it.
    pub fn expire(&mut self, now: Instant, gone: &mut impl FnMut(ConnId, Conn)) {
        let jiffies = now.jiffies();
        if jiffies <= self.wheel.now() {
            return;
        }
        while let Some(slot) = self.wheel.fire(&mut self.slab, jiffies) {
            let Some(entry) = self.slab.get(slot) else { continue };
            let id = ConnId { slot, generation: entry.generation };
            match entry.conn.as_ref().map(|conn| conn.expires.jiffies()) {
                Some(due) if due > jiffies => self.arm(slot, due),
                _ => {
                    if let Some(conn) = self.remove(id) {
                        gone(id, conn);
                    }
                }
            }
        }
    }

    /// Whether everything that had ended by then was taken out.
    #[inline]
    pub(crate) fn is_expired_to(&self, now: Instant) -> bool {
        now.jiffies() <= self.wheel.now()
    }

    /// An instant before which no connection ends; something may be due then. None when there are no confirmed connections.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.wheel.next().map(Instant::from_jiffies)
    }

    /// Makes a connection findable by its original source: NAT calls this when it has settled the source side. Calling it again does
    /// nothing.
    pub fn index_source(&mut self, id: ConnId) {
        let Some(conn) = self.get(id).filter(|conn| !conn.status.has(Status::DYING)) else { return };
        let source = Source::of(conn);
        let hash = self.source_hash(source);
        if self.slab.source(id.slot).is_some() {
            return;
        }
        let head = self.head_of(hash, source);
        match head {
            Some(old) => {
                self.sources.replace(hash, old, id.slot);
                self.slab.set_source(old, |links| links.newer = id.slot);
            }
            None => self.sources.insert(hash, id.slot),
        }
        self.slab.set_source(id.slot, |links| *links = SourceLinks { newer: END, older: head.unwrap_or(END) });
    }

    /// The connections with this original source address, port or ICMP id, protocol and original zone, whose source side NAT has
    /// settled; the newest first.
    pub fn by_source(
        &self,
        family: Family,
        src: Addr,
        src_id: u16,
        protocol: u8,
        zone: u16,
    ) -> impl Iterator<Item = ConnId> {
        let source = Source { family, src, src_id, protocol, zone };
        let head = self.head_of(self.source_hash(source), source);
        std::iter::successors(head, |slot| self.slab.source(*slot)?.older())
            .filter_map(|slot| Some(ConnId { slot, generation: self.slab.get(slot)?.generation }))
    }

    /// Confirmed connections whose tuples fall into one of the `buckets` parts of the hash range: what a bucket of the kernel's table
    /// holds. A connection may show twice.
    pub(crate) fn in_bucket(&self, bucket: u32, buckets: u32) -> impl Iterator<Item = (ConnId, &Conn)> {
        let edge = |n: u64| (n << 32).div_ceil(u64::from(buckets.max(1)));
        let (from, to) = (edge(u64::from(bucket)), edge(u64::from(bucket) + 1));
        let range =
            (to > from).then(|| self.tuples.range(from as u32, to.saturating_sub(1).min(u64::from(u32::MAX)) as u32));
        range.into_iter().flatten().filter_map(|number| {
            let entry = self.slab.get(number >> 1)?;
            Some((ConnId { slot: number >> 1, generation: entry.generation }, entry.conn.as_ref()?))
        })
    }

    /// Lets all connections forget the routes that they remember.
    pub(crate) fn forget_routes(&mut self) {
        for entry in self.slab.pieces.iter_mut().flatten() {
            if let Some(conn) = &mut entry.conn {
                conn.set_route(Direction::Original, 0);
                conn.set_route(Direction::Reply, 0);
            }
        }
    }

    /// Bytes of memory held for connections, without counters and what few of them have.
    pub fn bytes(&self) -> usize {
        self.slab.bytes() + self.tuples.bytes() + self.sources.bytes()
    }

    /// The confirmed connections with this tuple; the zone given for the direction must be theirs.
    #[inline]
    fn with_tuple<'a>(&'a self, hash: u32, tuple: &'a Tuple, zone: Zone) -> WithTuple<'a> {
        WithTuple { conns: self, probe: self.tuples.get(hash), tuple, zone }
    }

    fn enter(&mut self, id: ConnId, now: Instant, directions: [bool; 2]) -> bool {
        let Some(conn) = self.get_mut(id) else { return false };
        if conn.status.any(Status::CONFIRMED.union(Status::DYING)) {
            return false;
        }
        conn.status.set(Status::CONFIRMED);
        conn.expires = Instant::from_jiffies(now.jiffies().saturating_add(conn.expires.jiffies()));
        let (tuples, zone, due) = (conn.tuples(), conn.zone(), conn.expires.jiffies());
        self.is_split |= zone.original != zone.reply;
        // A conversation of a socket with itself has the same tuple in both directions; Linux then finds the reply.
        for direction in [Direction::Reply, Direction::Original] {
            if directions[direction.index()] {
                let hash = self.hash(&tuples[direction.index()], zone.of(direction));
                self.tuples.insert(hash, id.slot << 1 | direction.index() as u32);
            }
        }
        self.arm(id.slot, due);
        true
    }

    /// Takes a connection out of everything that leads to it except its handle.
    fn unlink(&mut self, id: ConnId) {
        let Some(conn) = self.get(id) else { return };
        if conn.is_in_table() {
            let hashes = [Direction::Original, Direction::Reply]
                .map(|direction| (direction, self.hash(&conn.tuple(direction), conn.zone().of(direction))));
            for (direction, hash) in hashes {
                self.tuples.remove(hash, id.slot << 1 | direction.index() as u32);
            }
        }
        self.wheel.disarm(&mut self.slab, id.slot);
        self.unlink_source(id);
    }

    fn unlink_source(&mut self, id: ConnId) {
        let Some(links) = self.slab.source(id.slot).copied() else { return };
        let Some(hash) = self.get(id).map(|conn| self.source_hash(Source::of(conn))) else { return };
        match (links.newer(), links.older()) {
            (Some(newer), _) => self.slab.set_source(newer, |newer| newer.older = links.older),
            (None, Some(older)) => {
                self.sources.replace(hash, id.slot, older);
            }
            (None, None) => {
                self.sources.remove(hash, id.slot);
            }
        }
        if let Some(older) = links.older() {
            self.slab.set_source(older, |older| older.newer = links.newer);
        }
        self.slab.set_source(id.slot, |links| *links = SourceLinks::OUT);
    }

    fn head_of(&self, hash: u32, source: Source) -> Option<u32> {
        self.sources.get(hash).find(|slot| {
            self.slab.get(*slot).and_then(|entry| entry.conn.as_ref()).is_some_and(|conn| Source::of(conn) == source)
        })
    }

    fn source_hash(&self, source: Source) -> u32 {
        let [high, low] = halves(source.src);
        let rest = u64::from(source.src_id) << 32
            | u64::from(source.zone) << 16
            | u64::from(source.protocol) << 8
            | source.family as u64;
        self.key.hash5([high, low, 0, 0, rest])
    }

    fn arm(&mut self, slot: u32, due: u64) {
        if let Some(entry) = self.slab.get_mut(slot) {
            entry.armed = due as u32;
        }
        self.wheel.arm(&mut self.slab, slot, due);
    }
}

/// A search by tuple.
struct WithTuple<'a> {
    conns: &'a Conns,
    probe: Probe<'a>,
    tuple: &'a Tuple,
    zone: Zone,
}

impl<'a> Iterator for WithTuple<'a> {
    type Item = (ConnId, Direction, &'a Conn);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let number = self.probe.next()?;
            let direction = if number & 1 == 0 { Direction::Original } else { Direction::Reply };
            let Some(entry) = self.conns.slab.get(number >> 1) else { continue };
            if let Some(conn) = &entry.conn
                && conn.has_tuple(direction, self.tuple)
                && conn.zone().of(direction) == self.zone.of(direction)
            {
                return Some((ConnId { slot: number >> 1, generation: entry.generation }, direction, conn));
            }
        }
    }
}

/// What the index of sources goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    family: Family,
    src: Addr,
    src_id: u16,
    protocol: u8,
    zone: u16,
}

impl Source {
    fn of(conn: &Conn) -> Source {
        let Tuple { src, src_id, protocol, family, .. } = conn.tuple(Direction::Original);
        Source { family, src, src_id, protocol, zone: conn.zone().original }
    }
}

fn blank(family: Family) -> Conn {
    let none = Addr::UNSPECIFIED;
    let tuple = Tuple { src: none, dst: none, src_id: 0, dst_id: 0, protocol: 0, family };
    let mut conn = Conn::new(tuple, tuple, Zone::default(), Instant::default());
    conn.status = Status::CONFIRMED;
    conn
}

/// The places of connections, in pieces so that growing moves none of them.
#[derive(Debug, Default)]
struct Slab {
    pieces: Vec<Vec<Entry>>,
    free: Option<u32>,
    /// Places handed out at least once.
    used: u32,
    len: usize,
    /// How many of them have addresses aside.
    with_aside: usize,
}

/// A place. As in [`Conn`], the order is that of use: what every packet needs is in the first cache line, with the protocol's state in
/// the first two.
#[derive(Debug)]
#[repr(C, align(64))]
struct Entry {
    generation: u32,
    conn: Option<Conn>,
    source: SourceLinks,
    links: Links,
    /// Lower half of the jiffy the wheel was told. In a free place: the next free one plus one, or 0.
    armed: u32,
}

/// The neighbors among the connections with the same source: places, [`END`], or both [`OUT`].
#[derive(Clone, Copy, Debug)]
struct SourceLinks {
    newer: u32,
    older: u32,
}

const END: u32 = u32::MAX;
const OUT: u32 = u32::MAX - 1;

impl SourceLinks {
    const OUT: SourceLinks = SourceLinks { newer: OUT, older: OUT };

    fn newer(self) -> Option<u32> {
        (self.newer < OUT).then_some(self.newer)
    }

    fn older(self) -> Option<u32> {
        (self.older < OUT).then_some(self.older)
    }
}

/// A piece is a whole number of huge pages: 32,768 places of 192 bytes are three.
const PIECE_BITS: u32 = 15;
const PIECE: usize = 1 << PIECE_BITS;

/// The piece of a place, and where it is in it.
#[inline]
fn split(slot: u32) -> (usize, usize) {
    ((slot >> PIECE_BITS) as usize, slot as usize & (PIECE - 1))
}

/// An empty piece. The first one grows as it is needed, for the small tables of which there may be many.
fn new_piece<T>(number: usize) -> Vec<T> {
    if number == 0 { Vec::new() } else { Vec::with_capacity(PIECE) }
}

impl Slab {
    #[inline]
    fn get(&self, slot: u32) -> Option<&Entry> {
        let (piece, place) = split(slot);
        self.pieces.get(piece)?.get(place)
    }

    #[inline]
    fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let (piece, place) = split(slot);
        self.pieces.get_mut(piece)?.get_mut(place)
    }

    /// The links of a connection that is in the index of sources.
    fn source(&self, slot: u32) -> Option<&SourceLinks> {
        self.get(slot).map(|entry| &entry.source).filter(|links| links.newer != OUT)
    }

    fn set_source(&mut self, slot: u32, change: impl FnOnce(&mut SourceLinks)) {
        if let Some(entry) = self.get_mut(slot) {
            change(&mut entry.source);
        }
    }

    fn insert(&mut self, conn: Conn) -> Option<ConnId> {
        let slot = match self.free {
            Some(slot) => {
                self.free = self.get(slot).and_then(|entry| entry.armed.checked_sub(1));
                slot
            }
            None => self.new_place()?,
        };
        self.with_aside += usize::from(conn.family() == Family::V6);
        let entry = self.get_mut(slot)?;
        entry.conn = Some(conn);
        let id = ConnId { slot, generation: entry.generation };
        self.len += 1;
        Some(id)
    }

    fn new_place(&mut self) -> Option<u32> {
        // The wheel's heads and the direction bit of the tuple index leave 31 bits, of which one value means "none".
        let slot = self.used;
        if slot >= (1 << 31) - 1 {
            return None;
        }
        let (piece, _) = split(slot);
        if piece == self.pieces.len() {
            self.pieces.push(new_piece(piece));
        }
        let piece = self.pieces.get_mut(piece)?;
        if piece.len() == piece.capacity() {
            piece.reserve_exact((piece.len() / 8).max(16).min(PIECE - piece.len()));
        }
        piece.push(Entry { conn: None, generation: 0, armed: 0, links: Links::OUT, source: SourceLinks::OUT });
        self.used += 1;
        Some(slot)
    }

    fn remove(&mut self, slot: u32) -> Option<Conn> {
        let next = self.free.map_or(0, |free| free + 1);
        let entry = self.get_mut(slot)?;
        let conn = entry.conn.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.armed = next;
        self.free = Some(slot);
        self.len -= 1;
        self.with_aside -= usize::from(conn.family() == Family::V6);
        Some(conn)
    }

    fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.pieces
            .iter()
            .flatten()
            .zip(0u32..)
            .filter_map(|(entry, slot)| Some((ConnId { slot, generation: entry.generation }, entry.conn.as_ref()?)))
    }

    fn range(&self, from: u32, until: u32) -> impl Iterator<Item = (ConnId, &Conn)> {
        (from..until.min(self.used)).filter_map(|slot| {
            let entry = self.get(slot)?;
            Some((ConnId { slot, generation: entry.generation }, entry.conn.as_ref()?))
        })
    }

    fn bytes(&self) -> usize {
        let places: usize = self.pieces.iter().map(Vec::capacity).sum();
        places * size_of::<Entry>() + self.with_aside * Conn::ASIDE
    }
}

impl Timers for Slab {
    fn links(&mut self, timer: u32) -> Option<&mut Links> {
        self.get_mut(timer).map(|entry| &mut entry.links)
    }
}

fn halves(addr: Addr) -> [u64; 2] {
    [(addr.0 >> 64) as u64, addr.0 as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_wire::proto;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashMap};

    fn tuple(src: u32, src_id: u16) -> Tuple {
        let (src, dst) = (Addr::v4(0x0a00_0000 + src), Addr::v4(0x0a01_0000));
        Tuple { src, dst, src_id, dst_id: 53, protocol: proto::UDP, family: Family::V4 }
    }

    fn to(dst_id: u16, src: u32, src_id: u16) -> Tuple {
        Tuple { dst_id, ..tuple(src, src_id) }
    }

    fn conn(original: Tuple, zone: Zone, secs: u32) -> Conn {
        let mut conn = Conn::new(original, original.invert().unwrap(), zone, Instant::default());
        conn.refresh(Instant::default(), secs);
        conn
    }

    fn add(conns: &mut Conns, original: Tuple, secs: u32, now: Instant) -> ConnId {
        let id = conns.insert_unconfirmed(conn(original, Zone::default(), secs)).unwrap();
        assert!(conns.confirm(id, now));
        id
    }

    /// What a search reads, and what every packet of a connection reads, is in as few cache lines as can be.
    #[test]
    fn memory_is_laid_out_by_use() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (192, 64));
        let conn = std::mem::offset_of!(Entry, conn);
        assert!(conn + Conn::END_OF_EVERY_PACKET <= 64);
        let state = conn + Conn::PROTOCOL_STATE.start..conn + Conn::PROTOCOL_STATE.end;
        assert!(state.start >= 64 && state.end <= 128, "{state:?}");
        assert_eq!((size_of::<Option<Conn>>(), Conn::ASIDE), (size_of::<Conn>(), 64));
    }

    #[test]
    fn a_connection_stays_small() {
        assert!(size_of::<Conn>() <= 208, "{}", size_of::<Conn>());
        assert!(size_of::<Entry>() <= 224, "{}", size_of::<Entry>());
    }

    #[test]
    fn unconfirmed_ones_are_counted_but_not_found() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(1000);
        let id = conns.insert_unconfirmed(conn(tuple(1, 1), Zone::default(), 30)).unwrap();
        assert_eq!((conns.count(), conns.find(&tuple(1, 1), 0, now), conns.iter().count()), (1, None, 0));
        assert_eq!(conns.next_expiry(), None);
        assert!(conns.confirm(id, now));
        assert!(!conns.confirm(id, now));
        assert_eq!(conns.find(&tuple(1, 1), 0, now), Some((id, Direction::Original)));
        assert_eq!(conns.find(&tuple(1, 1).invert().unwrap(), 0, now), Some((id, Direction::Reply)));
        assert_eq!(conns.get(id).unwrap().expires, Instant::from_secs(1030));
    }

    #[test]
    fn routes_are_remembered_by_direction_and_forgotten() {
        let mut conns = Conns::default();
        let id = add(&mut conns, tuple(1, 1), 30, Instant::from_secs(5));
        let routes = |conns: &Conns| [Direction::Original, Direction::Reply].map(|d| conns.get(id).unwrap().route(d));
        conns.get_mut(id).unwrap().set_route(Direction::Reply, Conn::LAST_ROUTE);
        assert_eq!(routes(&conns), [0, Conn::LAST_ROUTE]);
        conns.get_mut(id).unwrap().set_route(Direction::Original, 0x01_0203);
        assert_eq!(routes(&conns), [0x01_0203, Conn::LAST_ROUTE]);
        conns.forget_routes();
        assert_eq!(routes(&conns), [0, 0]);
    }

    #[test]
    fn a_handle_goes_stale() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(5);
        let first = add(&mut conns, tuple(1, 1), 30, now);
        assert!(conns.remove(first).is_some());
        let second = add(&mut conns, tuple(1, 1), 30, now);
        assert_eq!(first.slot, second.slot);
        assert!(conns.get(first).is_none() && conns.get_mut(first).is_none() && conns.remove(first).is_none());
        assert!(conns.get(second).is_some());
    }

    #[test]
    fn ends_to_the_jiffy() {
        let mut conns = Conns::default();
        let start = Instant(Instant::from_secs(7).0 + 3_999_999);
        let id = add(&mut conns, tuple(1, 1), 30, start);
        let end = Instant::from_secs(37);
        let mut gone = Vec::new();
        conns.expire(Instant(end.0 - 1), &mut |id, _| gone.push(id));
        assert!(gone.is_empty() && conns.find(&tuple(1, 1), 0, Instant(end.0 - 1)).is_some());
        assert_eq!(conns.find(&tuple(1, 1), 0, end), None);
        conns.expire(end, &mut |id, _| gone.push(id));
        assert_eq!((gone, conns.count(), conns.next_expiry()), (vec![id], 0, None));
    }

    #[test]
    fn a_shorter_life_needs_rearming_a_longer_one_does_not() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(100);
        let short = add(&mut conns, tuple(1, 1), 432_000, now);
        let long = add(&mut conns, tuple(2, 2), 10, now);
        conns.get_mut(short).unwrap().refresh(now, 10);
        conns.rearm(short);
        conns.get_mut(long).unwrap().refresh(now, 432_000);
        conns.rearm(long);
        let mut gone = Vec::new();
        conns.expire(Instant::from_secs(110), &mut |id, _| gone.push(id));
        assert_eq!(gone, [short]);
        conns.expire(Instant::from_secs(432_099), &mut |id, _| gone.push(id));
        assert_eq!(gone, [short]);
        conns.expire(Instant::from_secs(432_100), &mut |id, _| gone.push(id));
        assert_eq!(gone, [short, long]);
    }

    #[test]
    fn zones_keep_equal_tuples_apart() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(1);
        let original = tuple(1, 1);
        let reply = original.invert().unwrap();
        let zones = [Zone::both(0), Zone::both(7), Zone { original: 8, reply: 0 }];
        let ids = zones.map(|zone| {
            let id = conns.insert_unconfirmed(conn(original, zone, 30)).unwrap();
            assert!(conns.confirm(id, now));
            id
        });
        assert_eq!(conns.find(&original, 0, now), Some((ids[0], Direction::Original)));
        assert_eq!(conns.find(&original, 7, now), Some((ids[1], Direction::Original)));
        assert_eq!(conns.find(&original, 8, now), Some((ids[2], Direction::Original)));
        assert_eq!(conns.find(&original, 9, now), None);
        assert_eq!(conns.find(&reply, 7, now), Some((ids[1], Direction::Reply)));
        assert_eq!(conns.find(&reply, 8, now), None);
        // With a zone for one direction only, either number leads to it, each in its own direction.
        conns.remove(ids[0]);
        assert_eq!(conns.find(&reply, 0, now), Some((ids[2], Direction::Reply)));
        assert_eq!(conns.find_in(&reply, Zone { original: 8, reply: 0 }, now), Some((ids[2], Direction::Reply)));
        assert_eq!(conns.find_in(&original, Zone { original: 0, reply: 8 }, now), None);
    }

    #[test]
    fn taken_by_another_flow_only() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(1);
        let there = add(&mut conns, tuple(1, 1), 30, now);
        let other = conns.insert_unconfirmed(conn(tuple(2, 1), Zone::default(), 30)).unwrap();
        let same = conns.insert_unconfirmed(conn(tuple(1, 1), Zone::default(), 30)).unwrap();
        let reply = tuple(1, 1).invert().unwrap();
        assert_eq!(conns.taken(&reply, other, now), Some((there, Direction::Reply)));
        assert_eq!(conns.taken(&reply, same, now), None);
        assert_eq!(conns.taken(&reply, there, now), None);
        assert_eq!(conns.taken(&reply, other, Instant::from_secs(31)), None);
    }

    #[test]
    fn killed_ones_stay_for_their_packet() {
        let mut conns = Conns::default();
        let now = Instant::from_secs(1);
        let id = add(&mut conns, tuple(1, 1), 30, now);
        conns.index_source(id);
        assert!(conns.kill(id) && !conns.kill(id));
        assert_eq!((conns.find(&tuple(1, 1), 0, now), conns.iter().count(), conns.count()), (None, 0, 1));
        assert_eq!(conns.by_source(Family::V4, tuple(1, 1).src, 1, proto::UDP, 0).count(), 0);
        assert!(conns.get(id).is_some());
        conns.let_go(id);
        assert!(conns.get(id).is_none());
        assert_eq!(conns.count(), 0);
    }

    #[test]
    fn buckets_hold_what_hashes_into_them() {
        let mut conns = Conns::new((3, 4));
        let now = Instant::from_secs(1);
        let ids: Vec<ConnId> = (0..300).map(|n| add(&mut conns, tuple(n, 1), 30, now)).collect();
        for buckets in [1, 7, 1000, 262_144] {
            let mut seen: BTreeMap<ConnId, usize> = BTreeMap::new();
            let occupied: std::collections::BTreeSet<u32> = ids
                .iter()
                .flat_map(|id| conns.get(*id).unwrap().tuples())
                .map(|tuple| ((u64::from(conns.hash(&tuple, 0)) * u64::from(buckets)) >> 32) as u32)
                .collect();
            for bucket in occupied {
                conns.in_bucket(bucket, buckets).for_each(|(id, _)| *seen.entry(id).or_default() += 1);
            }
            assert_eq!(seen.len(), ids.len());
            assert!(seen.values().all(|times| *times == 2), "{buckets}");
        }
    }

    #[test]
    fn a_million_fit_and_are_found() {
        const COUNT: u32 = if cfg!(debug_assertions) { 110_000 } else { 1_000_000 };
        let mut conns = Conns::new((1, 2));
        let now = Instant::from_secs(1);
        let original = |n: u32| tuple(n >> 6, (n & 63) as u16);
        let ids: Vec<ConnId> = (0..COUNT)
            .map(|n| {
                let id = add(&mut conns, original(n), 30, now);
                conns.index_source(id);
                id
            })
            .collect();
        for (n, id) in (0..COUNT).zip(&ids) {
            assert_eq!(conns.find(&original(n), 0, now), Some((*id, Direction::Original)));
        }
        assert_eq!(conns.find(&original(COUNT), 0, now), None);
        assert!(conns.bytes() / COUNT as usize <= 320, "{}", conns.bytes() / COUNT as usize);
        let mut gone = 0;
        conns.expire(Instant::from_secs(31), &mut |_, _| gone += 1);
        assert_eq!((gone, conns.count()), (COUNT, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add { original: Tuple, secs: u32 },
        Remove(usize),
        Refresh(usize, u32),
        IndexSource(usize),
        Sleep(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let original = (0u32..3, 0u16..2, 53u16..56).prop_map(|(src, src_id, dst_id)| to(dst_id, src, src_id));
        let step = prop_oneof![
            4 => (original, 1u32..100).prop_map(|(original, secs)| Step::Add { original, secs }),
            1 => any::<usize>().prop_map(Step::Remove),
            2 => (any::<usize>(), 1u32..1000).prop_map(|(n, secs)| Step::Refresh(n, secs)),
            2 => any::<usize>().prop_map(Step::IndexSource),
            1 => (0u64..60_000_000_000).prop_map(Step::Sleep),
        ];
        prop::collection::vec(step, 0..120)
    }

    struct Known {
        original: Tuple,
        ends: u64,
        /// When its source was indexed, counted.
        indexed: Option<usize>,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn acts_like_a_map(steps in steps(), key in any::<(u64, u64)>()) {
            let mut conns = Conns::new(key);
            let mut now = Instant::from_secs(1_000_000);
            let mut known: BTreeMap<ConnId, Known> = BTreeMap::new();
            let mut indexed = 0;
            // What was seen ahead, before one or several steps.
            let mut seen: HashMap<Tuple, Vec<Ahead>> = HashMap::new();
            let pick = |known: &BTreeMap<ConnId, Known>, n: usize| known.keys().nth(n % known.len().max(1)).copied();
            for step in steps {
                match step {
                    Step::Add { original, secs } => {
                        let id = conns.insert_unconfirmed(conn(original, Zone::default(), secs)).unwrap();
                        if known.values().any(|known| known.original == original) {
                            prop_assert!(conns.clash(conns.get(id).unwrap()).is_some());
                            conns.let_go(id);
                        } else {
                            prop_assert_eq!(conns.clash(conns.get(id).unwrap()), None);
                            prop_assert!(conns.confirm(id, now));
                            let ends = now.jiffies() + u64::from(secs) * crate::time::HZ;
                            known.insert(id, Known { original, ends, indexed: None });
                        }
                    }
                    Step::Remove(n) => {
                        if let Some(id) = pick(&known, n) {
                            prop_assert_eq!(conns.remove(id).map(|conn| conn.tuple(Direction::Original)), known.remove(&id).map(|k| k.original));
                        }
                    }
                    Step::Refresh(n, secs) => {
                        if let Some(id) = pick(&known, n) {
                            conns.get_mut(id).unwrap().refresh(now, secs);
                            conns.rearm(id);
                            known.get_mut(&id).unwrap().ends = now.jiffies() + u64::from(secs) * crate::time::HZ;
                        }
                    }
                    Step::IndexSource(n) => {
                        if let Some(id) = pick(&known, n) {
                            conns.index_source(id);
                            indexed += 1;
                            known.get_mut(&id).unwrap().indexed.get_or_insert(indexed);
                        }
                    }
                    Step::Sleep(nanos) => {
                        now = Instant(now.0 + nanos);
                        let mut gone = Vec::new();
                        conns.expire(now, &mut |id, _| gone.push(id));
                        gone.sort_unstable();
                        let due: Vec<ConnId> = known.iter().filter(|(_, k)| k.ends <= now.jiffies()).map(|(id, _)| *id).collect();
                        prop_assert_eq!(&gone, &due);
                        known.retain(|_, k| k.ends > now.jiffies());
                    }
                }
                prop_assert_eq!(conns.count(), known.len());
                prop_assert_eq!(conns.iter().map(|(id, _)| id).collect::<Vec<_>>(), known.keys().copied().collect::<Vec<_>>());
                let model: HashMap<Tuple, (ConnId, Direction)> = known
                    .iter()
                    .flat_map(|(id, k)| {
                        [(k.original, (*id, Direction::Original)), (k.original.invert().unwrap(), (*id, Direction::Reply))]
                    })
                    .collect();
                for (src, src_id, dst_id) in (0..18).map(|n| (n / 6, (n / 3 % 2) as u16, 53 + (n % 3) as u16)) {
                    let there = to(dst_id, src, src_id);
                    let back = there.invert().unwrap();
                    prop_assert_eq!(conns.find(&there, 0, now), model.get(&there).copied());
                    prop_assert_eq!(conns.find(&back, 0, now), model.get(&back).copied());
                    for tuple in [there, back] {
                        let mut ahead = Ahead::new(&tuple, conns.hash(&tuple, 0));
                        conns.look_ahead(&mut ahead);
                        let seen = seen.entry(tuple).or_default();
                        seen.push(ahead);
                        seen.dedup();
                        for ahead in seen {
                            prop_assert_eq!(conns.find_ahead(*ahead, &tuple, now), model.get(&tuple).copied());
                        }
                    }
                    let mut same_source: Vec<(usize, ConnId)> = known
                        .iter()
                        .filter(|(_, k)| (k.original.src, k.original.src_id) == (there.src, src_id))
                        .filter_map(|(id, k)| Some((k.indexed?, *id)))
                        .collect();
                    same_source.sort_unstable();
                    let newest_first: Vec<ConnId> = same_source.into_iter().rev().map(|(_, id)| id).collect();
                    let got: Vec<ConnId> = conns.by_source(Family::V4, there.src, src_id, proto::UDP, 0).collect();
                    prop_assert_eq!(got, newest_first);
                }
                let first = known.values().map(|k| k.ends).min();
                prop_assert_eq!(conns.next_expiry().is_some(), first.is_some());
                prop_assert!(conns.next_expiry().zip(first).is_none_or(|(next, first)| next.jiffies() <= first));
            }
        }
    }
}
