//! Choosing a binding: which address and port a connection gets (`get_unique_tuple`).
//!
//! A candidate is the tuple the connection's packets will have after translation; it is taken when its inverse is a tuple of some
//! other connection, since answers would then be ambiguous.

use super::Manip;
use crate::jhash::{jhash2, scale};
use crate::rng::Rng;
use crate::rule::NatRange;
use crate::time::Instant;
use crate::track::{Conn, ConnId, Conns, Direction, ProtoState, Status, TcpState, Tuple, Zone};
use hairpin_wire::{Addr, Family, proto};

/// The most ports tried in the first round (`NF_NAT_MAX_ATTEMPTS`).
const MAX_ATTEMPTS: u32 = 128;
/// In a round's last tries a finished TCP connection may be pushed out (`NF_NAT_HARDER_THRESH`).
const HARDER: u32 = 32;

/// What a choice is made for.
pub(super) struct Pick<'a> {
    pub(super) conns: &'a mut Conns,
    pub(super) id: ConnId,
    pub(super) range: &'a NatRange,
    pub(super) side: Manip,
    pub(super) rng: &'a Rng,
    pub(super) now: Instant,
}

/// The facts of the connection that a choice needs, taken before the table is searched.
struct Seeker {
    original: Tuple,
    reply: Tuple,
    zone: Zone,
    status: Status,
    has_master: bool,
    /// The end of its first segment, while it is a TCP connection of which only the SYN was seen.
    syn_end: Option<u32>,
}

impl Pick<'_> {
    /// The tuple for a connection whose packets now look like `current`; None when the connection is gone.
    pub(super) fn tuple(&mut self, current: &Tuple) -> Option<Tuple> {
        let seeker = Seeker::new(self.conns.get(self.id)?);
        let random = self.range.random || self.range.random_fully;
        if self.side == Manip::Src && !random {
            if in_range(current, self.range) {
                if !self.is_taken_by_new(current, &seeker) {
                    return Some(*current);
                }
            } else if let Some(known) = self.mapping_of_source(current, &seeker)
                && !self.is_taken(&known)
            {
                return Some(known);
            }
        }
        let mut tuple = *current;
        self.choose_address(&mut tuple, seeker.zone);
        if !random {
            match self.range.ports {
                Some((min, max))
                    if self.range.base.is_none()
                        && key_in_range(&tuple, self.side, min, max)
                        && (min == max || !self.is_taken(&tuple)) =>
                {
                    return Some(tuple);
                }
                None if !self.is_taken(&tuple) => return Some(tuple),
                _ => {}
            }
        }
        self.choose_key(&mut tuple, &seeker);
        Some(tuple)
    }

    /// Where another flow of the same inside address and port went (`find_appropriate_src`).
    fn mapping_of_source(&self, current: &Tuple, seeker: &Seeker) -> Option<Tuple> {
        let source =
            self.conns.by_source(current.family, current.src, current.src_id, current.protocol, seeker.zone.original);
        source
            .filter_map(|id| {
                let mapped = self.conns.get(id)?.tuple(Direction::Reply).invert()?;
                Some(Tuple { dst: current.dst, dst_id: current.dst_id, ..mapped })
            })
            .find(|mapped| in_range(mapped, self.range))
    }

    /// A hash, not least use: one pair of hosts always meets the same choice (`find_best_ips_proto`).
    fn choose_address(&self, tuple: &mut Tuple, zone: Zone) {
        let Some((min, max)) = self.range.addrs else { return };
        let var = match self.side {
            Manip::Src => &mut tuple.src,
            Manip::Dst => &mut tuple.dst,
        };
        if min == max {
            *var = min;
            return;
        }
        let (src, dst) = (words(tuple.family, tuple.src), words(tuple.family, tuple.dst));
        let last = if tuple.family == Family::V4 { 0 } else { 3 };
        let start = if self.range.persistent { 0 } else { dst[last] ^ u32::from(zone.id()) };
        let mut hash = jhash2(&src, start);
        let (low, high) = (words(tuple.family, min), words(tuple.family, max));
        let mut chosen = [0u32; 4];
        let mut whole = false;
        for i in 0..=last {
            let (base, size) = if whole {
                (0, u32::MAX)
            } else {
                let (base, top) = (low[i].swap_bytes(), high[i].swap_bytes());
                (base, top.wrapping_sub(base).wrapping_add(1))
            };
            chosen[i] = base.wrapping_add(scale(hash, size)).swap_bytes();
            whole |= chosen[i] != high[i];
            if !self.range.persistent {
                // For the destination side this is the word just chosen.
                hash ^= if self.side == Manip::Dst { chosen[i] } else { dst[i] };
            }
        }
        let chosen = from_words(tuple.family, chosen);
        match self.side {
            Manip::Src => tuple.src = chosen,
            Manip::Dst => tuple.dst = chosen,
        }
    }

    /// Ports, ICMP ids and GRE keys (`nf_nat_l4proto_unique_tuple`). The last candidate stays when none is free.
    fn choose_key(&mut self, tuple: &mut Tuple, seeker: &Seeker) {
        let Some((min, size)) = self.key_range(tuple, seeker) else { return };
        let key = key(tuple, self.side);
        let mut offset = match self.range.base {
            Some(base) => key.wrapping_sub(base),
            None if self.range.random || self.range.random_fully || self.side == Manip::Src => {
                self.rng.next_u32() as u16
            }
            None => 0,
        };
        let mut attempts = size.min(MAX_ATTEMPTS);
        loop {
            for n in 0..attempts {
                set_key(tuple, self.side, (u32::from(min) + u32::from(offset) % size) as u16);
                if !self.is_taken_or_yields(tuple, seeker, attempts - n) {
                    return;
                }
                offset = offset.wrapping_add(1);
            }
            if attempts >= size || attempts < 16 {
                return;
            }
            attempts /= 2;
            offset = self.rng.next_u32() as u16;
        }
    }

    /// The lowest key and how many there are; None when the protocol has none that may change.
    fn key_range(&self, tuple: &Tuple, seeker: &Seeker) -> Option<(u16, u32)> {
        use proto::{GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
        let given = self.range.ports.map(|(a, b)| (a.min(b), u32::from(a.abs_diff(b)) + 1));
        match tuple.protocol {
            ICMP | ICMPV6 => Some(given.unwrap_or((0, 65_536))),
            // Without a master it is not PPTP, and the keys mean nothing to us.
            GRE if !seeker.has_master => None,
            GRE => Some(given.unwrap_or((1, 65_535))),
            TCP | UDP | UDPLITE | SCTP => match given {
                Some(range) => Some(range),
                None if self.side == Manip::Dst => None,
                None => Some(match tuple.src_id {
                    0..512 => (1, 511),
                    512..1024 => (600, 424),
                    1024.. => (1024, 64_512),
                }),
            },
            _ => None,
        }
    }

    fn is_taken(&self, tuple: &Tuple) -> bool {
        tuple.invert().is_some_and(|reply| self.conns.taken(&reply, self.id, self.now).is_some())
    }

    /// As [`Pick::is_taken`], but two hosts that call each other at the same moment, untranslated, are no clash
    /// (`nf_nat_used_tuple_new`).
    fn is_taken_by_new(&self, tuple: &Tuple, seeker: &Seeker) -> bool {
        if !self.is_taken(tuple) {
            return false;
        }
        let uses_nat = Status::SRC_NAT.union(Status::DST_NAT).union(Status::SEQ_ADJUST);
        let may_clash = matches!(seeker.original.protocol, proto::UDP | proto::UDPLITE | proto::GRE);
        if !may_clash || seeker.status.any(uses_nat) {
            return true;
        }
        let other = self
            .conns
            .find_in(tuple, seeker.zone, self.now)
            .or_else(|| self.conns.find_in(&tuple.invert()?, seeker.zone, self.now));
        let Some(other) = other.and_then(|(id, _)| self.conns.get(id)) else { return false };
        other.status.any(uses_nat) || other.tuples() != [seeker.reply, seeker.original]
    }

    /// Whether the tuple is taken, where in a round's last tries a TCP connection that is over gives way to a SYN with a later
    /// sequence number (`nf_nat_used_tuple_harder`).
    fn is_taken_or_yields(&mut self, tuple: &Tuple, seeker: &Seeker, left: u32) -> bool {
        let Some(syn_end) = seeker.syn_end.filter(|_| left <= HARDER) else {
            return self.is_taken(tuple);
        };
        let Some(reply) = tuple.invert() else { return true };
        let Some((id, direction)) = self.conns.find_in(&reply, seeker.zone, self.now) else { return false };
        let Some(other) = self.conns.get(id) else { return false };
        let refused = Status::FIXED_TIMEOUT.union(Status::DYING);
        let over = match &other.proto {
            ProtoState::Tcp(t) => t.state >= TcpState::TimeWait && (syn_end.wrapping_sub(t.sides[0].end) as i32) > 0,
            _ => false,
        };
        let yields = direction == Direction::Reply
            && id != self.id
            && over
            && other.status.has(Status::SRC_NAT)
            && !other.status.any(refused);
        if yields {
            self.conns.remove(id);
        }
        !yields
    }
}

impl Seeker {
    fn new(conn: &Conn) -> Seeker {
        let syn_end = match &conn.proto {
            ProtoState::Tcp(t) if t.state == TcpState::SynSent => Some(t.sides[0].end),
            _ => None,
        };
        Seeker {
            original: conn.tuple(Direction::Original),
            reply: conn.tuple(Direction::Reply),
            zone: conn.zone(),
            status: conn.status,
            has_master: conn.extra().is_some_and(|e| e.master.is_some()),
            syn_end,
        }
    }
}

fn in_range(tuple: &Tuple, range: &NatRange) -> bool {
    let addr_ok = range.addrs.is_none_or(|(min, max)| (min..=max).contains(&tuple.src));
    addr_ok && range.ports.is_none_or(|(min, max)| key_in_range(tuple, Manip::Src, min, max))
}

/// Whether the changeable key lies in the range; protocols without one are always inside (`l4proto_in_range`).
fn key_in_range(tuple: &Tuple, side: Manip, min: u16, max: u16) -> bool {
    use proto::{GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    match tuple.protocol {
        ICMP | ICMPV6 | GRE | TCP | UDP | UDPLITE | SCTP => (min..=max).contains(&key(tuple, side)),
        _ => true,
    }
}

fn key(tuple: &Tuple, side: Manip) -> u16 {
    match (tuple.protocol, side) {
        (proto::ICMP | proto::ICMPV6, _) | (_, Manip::Src) => tuple.src_id,
        (_, Manip::Dst) => tuple.dst_id,
    }
}

fn set_key(tuple: &mut Tuple, side: Manip, key: u16) {
    match (tuple.protocol, side) {
        (proto::ICMP | proto::ICMPV6, _) | (_, Manip::Src) => tuple.src_id = key,
        (_, Manip::Dst) => tuple.dst_id = key,
    }
}

/// The address as the four words the kernel hashes: network order loaded on a little-endian machine, IPv4 in the first.
fn words(family: Family, addr: Addr) -> [u32; 4] {
    match family {
        Family::V4 => [addr.as_u32().swap_bytes(), 0, 0, 0],
        Family::V6 => std::array::from_fn(|i| ((addr.0 >> (96 - 32 * i)) as u32).swap_bytes()),
    }
}

fn from_words(family: Family, words: [u32; 4]) -> Addr {
    match family {
        Family::V4 => Addr::v4(words[0].swap_bytes()),
        Family::V6 => Addr(words.iter().fold(0, |addr, w| (addr << 32) | u128::from(w.swap_bytes()))),
    }
}
