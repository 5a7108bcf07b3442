//! `-m connlimit`: how many connections an address or a network has. Counts as `nf_conncount.c` does.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Memory, Needs};
use hairpin_engine::time::Now;
use hairpin_engine::track::{Conn, Direction, ProtoState, Status, TcpState, Tuple, Zone};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "connlimit",
    aliases: &[],
    families: Families::Both,
    about: "how many connections an address or a network has",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("connlimit-upto", &["n"], "at most n").inverts().excludes(&["connlimit-above"]),
        Opt::new("connlimit-above", &["n"], "more than n").inverts().excludes(&["connlimit-upto"]),
        Opt::new("connlimit-mask", &["length"], "networks of this prefix length together"),
        Opt::switch("connlimit-saddr", "of the source address").excludes(&["connlimit-daddr"]),
        Opt::switch("connlimit-daddr", "of the destination address").excludes(&["connlimit-saddr"]),
    ],
    build,
    cases: &[
        Case::Saves("--connlimit-upto 0", "--connlimit-upto 0 --connlimit-mask 32 --connlimit-saddr"),
        Case::Saves("! --connlimit-upto 3", "--connlimit-above 3 --connlimit-mask 32 --connlimit-saddr"),
        Case::Same("--connlimit-above 4294967295 --connlimit-mask 24 --connlimit-daddr"),
        Case::Fails("--connlimit-above 4294967296", "out of range"),
        Case::Fails("--connlimit-above 1 --connlimit-upto 1", "cannot be used together"),
        Case::Fails("--connlimit-above 1 --connlimit-saddr --connlimit-daddr", "cannot be used together"),
        Case::Fails("", "You must specify \"--connlimit-above\" or \"--connlimit-upto\"."),
    ],
};

#[derive(Debug)]
struct ConnLimit {
    family: Family,
    limit: u32,
    /// True for more than the limit, false for at most.
    above: bool,
    mask: Addr,
    destination: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let mask = match parsed.get("connlimit-mask") {
        Some(given) => value::prefix_mask(parsed, given)?,
        None => parsed.family.mask(128),
    };
    let (given, above) = match (parsed.get("connlimit-above"), parsed.get("connlimit-upto")) {
        (Some(given), _) => (given, !given.inverted),
        (None, Some(given)) => (given, given.inverted),
        (None, None) => {
            let message = "You must specify \"--connlimit-above\" or \"--connlimit-upto\".";
            return Err(SyntaxError::parameter(message));
        }
    };
    Ok(Arc::new(ConnLimit {
        family: parsed.family,
        limit: value::number_u32(parsed, given)?,
        above,
        mask,
        destination: parsed.has("connlimit-daddr"),
    }))
}

impl Match for ConnLimit {
    fn name(&self) -> &'static str {
        "connlimit"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let addr = if self.destination { look.dst() } else { look.src() };
        let number = zone(look).map_or(0, |zone| zone.original.max(zone.reply));
        let Some(mut counted) = look.memory::<Counted>() else { return false };
        match counted.count((addr.masked(self.mask), number), look) {
            // Nothing that could be counted, not even the packet itself.
            0 => look.hotdrop(),
            count => (count > self.limit as usize) == self.above,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.above { " --connlimit-above" } else { " --connlimit-upto" })?;
        let length = value::prefix_of(self.family, self.mask).unwrap_or(0);
        write!(f, " {} --connlimit-mask {length}", self.limit)?;
        f.write_str(if self.destination { " --connlimit-daddr" } else { " --connlimit-saddr" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let (end, sign) = (if self.destination { "dst" } else { "src" }, if self.above { ">" } else { "<=" });
        let length = value::prefix_of(self.family, self.mask).unwrap_or(0);
        write!(f, " #conn {end}/{length} {sign} {}", self.limit)
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn memory(&self, _now: &Now) -> Memory {
        Memory::Own(Box::new(Counted::default()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a rule counts together: the address under the mask, and the zone's number, whichever directions it is for.
type Key = (Addr, u16);

/// The connections a rule has met, by key.
#[derive(Debug, Default)]
struct Counted {
    lists: BTreeMap<Key, List>,
    /// At how many lists the empty ones are thrown away.
    tidy_at: usize,
}

#[derive(Debug)]
struct List {
    conns: Vec<(Tuple, Zone)>,
    /// The jiffy of the last sweep, and how many were left then.
    swept_at: u64,
    left: usize,
}

/// The connection that a packet stands for.
struct Subject<'a> {
    tuple: Tuple,
    zone: Zone,
    conn: Option<&'a Conn>,
}

impl Counted {
    /// How many connections the key has, that of the packet included; 0 when the packet must be dropped.
    fn count(&mut self, key: Key, look: &Look<'_>) -> usize {
        let Some(subject) = Subject::of(look) else { return 0 };
        let now = look.now().mono.jiffies();
        if let Some(list) = self.lists.get_mut(&key) {
            return list.add(&subject, look, now);
        }
        if self.lists.len() >= self.tidy_at.max(TIDY) {
            self.lists.retain(|_, list| {
                list.sweep(look, now);
                !list.conns.is_empty()
            });
            self.tidy_at = self.lists.len() * 2;
        }
        let list = List { conns: vec![(subject.tuple, subject.zone)], swept_at: now, left: 0 };
        self.lists.insert(key, list);
        1
    }
}

impl List {
    fn add(&mut self, subject: &Subject<'_>, look: &Look<'_>, now: u64) -> usize {
        let was_empty = self.conns.is_empty();
        match subject.conn.filter(|conn| conn.status.has(Status::CONFIRMED)) {
            Some(conn) if conn.status.has(Status::ASSURED) => {
                // An old connection is not counted anew; the list is only swept.
                if !was_empty {
                    self.sweep(look, now);
                }
            }
            confirmed => {
                let full_look = confirmed.is_some()
                    || now != self.swept_at
                    || self.conns.len().saturating_sub(self.left) >= MAX_COLLECT;
                if !(full_look && self.has(subject, look, now)) {
                    self.conns.push((subject.tuple, subject.zone));
                }
            }
        }
        self.conns.len()
    }

    /// Whether the connection is in the list. On the way there, those that ended are thrown away.
    fn has(&mut self, subject: &Subject<'_>, look: &Look<'_>, now: u64) -> bool {
        let (mut at, mut collected) = (0, 0);
        while let Some((tuple, zone)) = self.conns.get(at).copied() {
            if collected > MAX_COLLECT {
                break;
            }
            let conn = find(look, &tuple, zone);
            if conn.is_some() && (tuple, zone) == (subject.tuple, subject.zone) {
                return true;
            }
            if conn.is_none_or(is_closed) {
                self.conns.remove(at);
                collected += 1;
            } else {
                at += 1;
            }
        }
        (self.swept_at, self.left) = (now, self.conns.len());
        false
    }

    /// Throws away those that ended, at most once in a jiffy.
    fn sweep(&mut self, look: &Look<'_>, now: u64) {
        if now == self.swept_at {
            return;
        }
        let mut collected = 0;
        self.conns.retain(|(tuple, zone)| {
            let ended = collected <= MAX_COLLECT && find(look, tuple, *zone).is_none_or(is_closed);
            collected += usize::from(ended);
            !ended
        });
        (self.swept_at, self.left) = (now, self.conns.len());
    }
}

impl<'a> Subject<'a> {
    fn of(look: &Look<'a>) -> Option<Subject<'a>> {
        let zone = zone(look).unwrap_or_default();
        if let Some((conn, _)) = look.conn().filter(|_| look.template().is_none()) {
            return Some(Subject { tuple: conn.tuple(Direction::Original), zone, conn: Some(conn) });
        }
        let tuple = look.tuple()?;
        let conn = find(look, &tuple, zone);
        Some(Subject { tuple, zone, conn })
    }
}

fn find<'a>(look: &Look<'a>, tuple: &Tuple, zone: Zone) -> Option<&'a Conn> {
    look.other_conn(look.find_conn(tuple, zone)?.0)
}

/// The zone of the packet's connection, or that `-j CT` wants for it.
fn zone(look: &Look<'_>) -> Option<Zone> {
    match look.template() {
        Some(template) => Some(template.zone),
        None => look.conn().map(|(conn, _)| conn.zone()),
    }
}

fn is_closed(conn: &Conn) -> bool {
    match &conn.proto {
        ProtoState::Tcp(track) => matches!(track.state, TcpState::TimeWait | TcpState::Close),
        _ => false,
    }
}

/// How many ended connections are thrown away at once (`CONNCOUNT_GC_MAX_COLLECT`).
const MAX_COLLECT: usize = 64;
/// Below this number of keys empty lists are let be.
const TIDY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, No, Yes, belongs, connection, load, probe, udp};
    use hairpin_engine::Instant;
    use hairpin_engine::probe::{Loaded, Probe};
    use hairpin_engine::track::{Class, ConnId, Direction};
    use hairpin_wire::proto;

    /// Asks about the first packet of a connection, which is confirmed after.
    fn begin(probe: &mut Probe, loaded: &Loaded<dyn Match>, port: u16) -> (Answer, ConnId) {
        let id = connection(probe, proto::TCP, port, |_| {});
        let mut conn = probe.conns.remove(id).unwrap();
        conn.status = Status::default();
        let id = probe.conns.insert_unconfirmed(conn).unwrap();
        belongs(probe, id, Class::New);
        let answer = probe.ask(loaded);
        if let Some(conn) = probe.conns.get_mut(id) {
            conn.expires = Instant::from_secs(60);
        }
        probe.conns.confirm(id, probe.now.mono);
        (answer, id)
    }

    fn tick(probe: &mut Probe) {
        probe.now.mono = Instant::from_jiffies(probe.now.mono.jiffies() + 1);
    }

    #[test]
    fn counts_open_connections() {
        let mut probe = probe(udp(5, 80));
        let limit = load(&mut probe, "-m connlimit --connlimit-above 2");
        let (first, id) = begin(&mut probe, &limit, 1);
        tick(&mut probe);
        assert_eq!((first, begin(&mut probe, &limit, 2).0), (No, No));
        tick(&mut probe);
        assert_eq!(begin(&mut probe, &limit, 3).0, Yes);
        // One that ended does not count, nor one that is closed.
        tick(&mut probe);
        probe.conns.remove(id);
        assert_eq!(begin(&mut probe, &limit, 4).0, Yes);
        let mut close = |port: u16| {
            let tuple = probe.conns.iter().find(|(_, conn)| conn.tuple(Direction::Original).src_id == port).map(|(id, _)| id).unwrap();
            if let ProtoState::Tcp(track) = &mut probe.conns.get_mut(tuple).unwrap().proto {
                track.state = TcpState::TimeWait;
            }
        };
        close(2);
        close(3);
        tick(&mut probe);
        assert_eq!(begin(&mut probe, &limit, 5).0, No);
    }

    #[test]
    fn later_packets_are_not_counted_again() {
        let mut probe = probe(udp(5, 80));
        let limit = load(&mut probe, "-m connlimit --connlimit-upto 1");
        let (answer, id) = begin(&mut probe, &limit, 1);
        assert_eq!(answer, Yes);
        for _ in 0..3 {
            tick(&mut probe);
            belongs(&mut probe, id, Class::Established(Direction::Reply));
            assert_eq!(probe.ask(&limit), Yes);
        }
        // One that was there before the rule is not counted when it is not the first of its key.
        let old = connection(&mut probe, proto::TCP, 9, |conn| conn.status.set(Status::ASSURED));
        belongs(&mut probe, old, Class::Established(Direction::Original));
        tick(&mut probe);
        assert_eq!(probe.ask(&limit), Yes);
    }

    #[test]
    fn a_zone_of_one_direction_is_found_in_that_direction() {
        let mut probe = probe(udp(5, 80));
        let limit = load(&mut probe, "-m connlimit --connlimit-above 1");
        for zone in [Zone { original: 0, reply: 6 }, Zone { original: 6, reply: 0 }] {
            for (port, answer) in [(1, No), (2, Yes)] {
                let id = connection(&mut probe, proto::TCP, port, |_| {});
                let mut conn = probe.conns.remove(id).unwrap();
                let tuples = conn.tuples();
                conn = Conn::new(tuples[0], tuples[1], zone, probe.now.mono);
                conn.expires = Instant::from_secs(60);
                let id = probe.conns.insert_unconfirmed(conn).unwrap();
                belongs(&mut probe, id, Class::New);
                tick(&mut probe);
                assert_eq!(probe.ask(&limit), answer, "{zone:?} {port}");
                assert!(probe.conns.confirm(id, probe.now.mono));
            }
            for conn in probe.conns.iter().map(|(id, _)| id).collect::<Vec<_>>() {
                probe.conns.remove(conn);
            }
        }
    }
}
