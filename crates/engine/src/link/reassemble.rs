//! Putting fragments together, as `ip_defrag`, `nf_ct_frag6_gather` and `ipv6_frag_rcv` do.
//!
//! Memory and time are bounded by [`FragLimits`]; nothing is done between calls.

use super::IcmpError;
use crate::fate::DropReason;
use crate::net::IfIndex;
use crate::packet::Packet;
use crate::sysctl::Sysctl;
use crate::time::Instant;
use hairpin_wire::icmp6::parameter_problem::HEADER_FIELD;
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::{Addr, Family, proto};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// On whose behalf fragments are collected. Each has its own queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FragUser {
    /// Tracking at PREROUTING, for a zone.
    TrackIn(u16),
    /// Tracking at OUTPUT, for a zone.
    TrackOut(u16),
    /// Local delivery without tracking. IPv4 does this before INPUT, IPv6 behind it.
    Deliver,
}

/// Limits of the reassembly of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragLimits {
    /// How long the fragments of a packet wait for each other, from the first to arrive.
    pub timeout: Duration,
    /// Bytes of memory; beyond it no fragment is taken until others are complete or timed out.
    pub high_bytes: usize,
    /// IPv4: most fragments of one sender between two of the same packet; 0 for no limit.
    pub max_distance: u32,
}

impl FragLimits {
    /// What the settings say. IPv6 has separate ones for tracking and for delivery.
    pub fn of(sysctl: &Sysctl, family: Family, user: FragUser) -> FragLimits {
        let (seconds, bytes, max_distance) = match (family, user) {
            (Family::V4, _) => {
                let ipv4 = &sysctl.ipv4;
                (ipv4.ipfrag_time, ipv4.ipfrag_high_thresh, ipv4.ipfrag_max_dist)
            }
            (Family::V6, FragUser::Deliver) => (sysctl.ipv6.ip6frag_time, sysctl.ipv6.ip6frag_high_thresh, 0),
            (Family::V6, FragUser::TrackIn(_) | FragUser::TrackOut(_)) => {
                let setting = |name, default| sysctl.get(name).unwrap_or(default);
                let seconds = setting("net.netfilter.nf_conntrack_frag6_timeout", 60);
                (seconds, setting("net.netfilter.nf_conntrack_frag6_high_thresh", 4 << 20), 0)
            }
        };
        FragLimits {
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            high_bytes: usize::try_from(bytes).unwrap_or(0),
            max_distance: u32::try_from(max_distance).unwrap_or(0),
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassembled {
    /// Go on with what the packet holds: the whole packet, or one that is no fragment or not collected.
    Whole,
    /// Kept until the others come; the packet is empty now.
    Held,
    /// Gone, perhaps with all the fragments that waited for it.
    Drop(DropReason),
    /// Gone, and the sender is to be told (IPv6 local delivery).
    Problem(IcmpError),
}

/// A first fragment whose others did not come in time.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The first fragment as received.
    pub packet: Packet,
    /// Who collected it.
    pub user: FragUser,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragCounters {
    /// Packets put together.
    pub reassembled: u64,
    /// Packets given up for any reason.
    pub failed: u64,
    /// Packets given up because of time.
    pub timed_out: u64,
    /// Packets given up because fragments overlapped.
    pub overlaps: u64,
    /// Fragments refused for want of memory, of IPv4 and of IPv6.
    pub over_limit: [u64; 2],
}

/// The fragments waiting for others.
#[derive(Clone, Debug, Default)]
pub struct Reassembler {
    queues: BTreeMap<Key, Queue>,
    deadlines: BTreeSet<(Instant, Key)>,
    /// Fragments seen of each IPv4 source that has something waiting, and how many queues it has.
    sources: BTreeMap<Addr, Source>,
    /// Memory in use, IPv4 and IPv6.
    bytes: [usize; 2],
    counters: FragCounters,
}

impl Reassembler {
    /// Takes a packet. One that is no fragment is left alone.
    pub fn push(&mut self, packet: &mut Packet, user: FragUser, now: Instant, limits: &FragLimits) -> Reassembled {
        match packet.family() {
            Family::V4 => self.push_v4(packet, user, now, limits),
            Family::V6 => self.push_v6(packet, user, now, limits),
        }
    }

    /// Gives up packets whose time is over. Those whose first fragment came are put into `expired`: where the packet would
    /// have been for this host (IPv4), or in any case (IPv6), the sender is told ([`IcmpError::reassembly_expired`]).
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<Expired>) {
        while let Some((deadline, key)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let Some(queue) = self.remove(key) else {
                self.deadlines.remove(&(deadline, key));
                continue;
            };
            self.counters.timed_out += 1;
            self.counters.failed += 1;
            if let Some(first) = queue.parts.into_iter().next().filter(|part| part.start == 0) {
                expired.push(Expired { packet: first.packet, user: key.user });
            }
        }
    }

    /// When [`Reassembler::expire`] has work next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// What happened so far.
    pub fn counters(&self) -> FragCounters {
        self.counters
    }

    /// Memory in use for fragments of the family.
    pub const fn bytes(&self, family: Family) -> usize {
        self.bytes[match family {
            Family::V4 => 0,
            Family::V6 => 1,
        }]
    }

    /// How many packets are waiting for fragments.
    pub fn waiting(&self) -> usize {
        self.queues.len()
    }

    fn push_v4(&mut self, packet: &mut Packet, user: FragUser, now: Instant, limits: &FragLimits) -> Reassembled {
        let Some(ip) = Ipv4::new(packet.ip()).filter(|ip| ip.is_fragment()) else { return Reassembled::Whole };
        let (src, dst, protocol) = (ip.src(), ip.dst(), ip.protocol());
        let key = Key { family: Family::V4, src, dst, id: u32::from(ip.id()), protocol, device: 0, user };
        let (more, dont_fragment, ecn) = (ip.more_fragments(), ip.dont_fragment(), ip.ecn());
        let header_len = ip.header_len();
        let len = packet.length().saturating_sub(header_len);
        // A piece in the middle whose length is no multiple of 8 counts as far as it is.
        let len = if more { len & !7 } else { len };
        let start = usize::from(ip.fragment_offset()) * 8;
        let end = start + len;

        let Some(queue) = self.open(key, now, limits) else { return self.refuse(key.family) };
        if queue.is_too_far(limits.max_distance) {
            self.restart(key, now + limits.timeout);
        }
        let Some(queue) = self.queues.get_mut(&key) else { return Reassembled::Drop(DropReason::Bug) };
        if !queue.note_end(end, more) || len == 0 {
            return self.give_up(key);
        }
        match queue.place(start, end) {
            Place::Duplicate => return Reassembled::Drop(DropReason::BadFragment),
            Place::Overlap => return self.give_up_overlap(key),
            Place::New => {}
        }
        let size = header_len + len;
        queue.max_size = queue.max_size.max(size);
        if dont_fragment {
            queue.max_df_size = queue.max_df_size.max(size);
        }
        queue.ecn |= 1 << ecn;
        self.keep(key, Part { start, end, data_at: header_len, packet: packet.take_to_keep() });
        self.finish(key, packet, whole_v4)
    }

    fn push_v6(&mut self, packet: &mut Packet, user: FragUser, now: Instant, limits: &FragLimits) -> Reassembled {
        let bad = Reassembled::Drop(DropReason::BadFragment);
        let found = match FragmentHeader::find(packet.ip()) {
            Ok(Some(found)) => found,
            Ok(None) => return Reassembled::Whole,
            Err(Cut) => return bad,
        };
        let deliver = user == FragUser::Deliver;
        if deliver && found.start == 0 && !found.more {
            return Reassembled::Whole;
        }
        // The first fragment must hold all headers (RFC 8200, section 4.5). Tracking lets such a packet pass as it is.
        if found.start == 0 && !packet.is_later_fragment() && is_transport_cut(packet) {
            let told = Reassembled::Problem(IcmpError::bad_header6(INCOMPLETE_CHAIN, 0));
            return if deliver { told } else { Reassembled::Whole };
        }
        let Some(ip) = Ipv6::new(packet.ip()) else { return Reassembled::Whole };
        let (src, dst, ecn) = (ip.src(), ip.dst(), ip.ecn());
        let payload_len = usize::from(ip.payload_len());
        let on_link = dst.is_multicast(Family::V6) || dst.is_link_local(Family::V6);
        let device = packet.meta.iif.filter(|_| on_link).map_or(0, |iif| iif.0);
        let key = Key { family: Family::V6, src, dst, id: found.id, protocol: 0, device, user };
        let end = found.start + packet.length().saturating_sub(found.data_at());

        let Some(queue) = self.open(key, now, limits) else { return self.refuse(key.family) };
        if end > usize::from(u16::MAX) {
            let told = Reassembled::Problem(IcmpError::bad_header6(HEADER_FIELD, found.at as u32 + 2));
            return if deliver { told } else { bad };
        }
        if found.more && end % 8 != 0 {
            // Tracking gives up what waits and lets this fragment pass as it is; delivery tells the sender.
            if deliver {
                return Reassembled::Problem(IcmpError::bad_header6(HEADER_FIELD, PAYLOAD_LEN_AT));
            }
            self.give_up(key);
            return Reassembled::Whole;
        }
        if !queue.note_end(end, found.more) || end == found.start {
            // Tracking drops only what does not agree with the rest; delivery gives up the rest as well.
            return if deliver { self.give_up(key) } else { bad };
        }
        match queue.place(found.start, end) {
            Place::Duplicate => return bad,
            Place::Overlap => return self.give_up_overlap(key),
            Place::New => {}
        }
        queue.max_size = queue.max_size.max(payload_len);
        queue.ecn |= 1 << ecn;
        self.keep(key, Part { start: found.start, end, data_at: found.data_at(), packet: packet.take_to_keep() });
        let end = self.finish(key, packet, whole_v6);
        if end == Reassembled::Whole && !deliver {
            packet.meta.cut_at = u16::try_from(found.at).unwrap_or(0);
        }
        end
    }

    /// The queue of this key, made if there is none; None when there is no memory for any fragment.
    fn open(&mut self, key: Key, now: Instant, limits: &FragLimits) -> Option<&mut Queue> {
        let bytes = self.bytes.get_mut(key.family as usize)?;
        if *bytes > limits.high_bytes || limits.high_bytes == 0 {
            return None;
        }
        let queue = match self.queues.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let deadline = now + limits.timeout;
                self.deadlines.insert((deadline, key));
                *bytes += QUEUE_COST;
                if key.family == Family::V4 {
                    self.sources.entry(key.src).or_default().queues += 1;
                }
                entry.insert(Queue { deadline, bytes: QUEUE_COST, ..Queue::default() })
            }
        };
        if key.family == Family::V4
            && let Some(source) = self.sources.get_mut(&key.src)
        {
            source.fragments = source.fragments.wrapping_add(1);
            queue.distance = source.fragments.wrapping_sub(queue.last_fragment);
            queue.last_fragment = source.fragments;
        }
        Some(queue)
    }

    /// Forgets the fragments that wait, but not the queue: too many others came from the source in between.
    fn restart(&mut self, key: Key, deadline: Instant) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        self.deadlines.remove(&(queue.deadline, key));
        self.deadlines.insert((deadline, key));
        if let Some(bytes) = self.bytes.get_mut(key.family as usize) {
            *bytes = bytes.saturating_sub(queue.bytes - QUEUE_COST);
        }
        *queue = Queue {
            deadline,
            bytes: QUEUE_COST,
            last_fragment: queue.last_fragment,
            max_size: queue.max_size,
            max_df_size: queue.max_df_size,
            ..Queue::default()
        };
        self.counters.failed += 1;
    }

    fn keep(&mut self, key: Key, part: Part) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let cost = cost(&part.packet);
        queue.bytes += cost;
        if let Some(bytes) = self.bytes.get_mut(key.family as usize) {
            *bytes += cost;
        }
        queue.received += part.end - part.start;
        queue.device = part.packet.meta.iif;
        let at = queue.parts.partition_point(|other| other.start < part.start);
        queue.parts.insert(at, part);
    }

    /// Hands the packet out if all of it is there.
    fn finish(&mut self, key: Key, packet: &mut Packet, whole: fn(Queue) -> Option<Packet>) -> Reassembled {
        let complete = self.queues.get(&key).is_some_and(|queue| {
            let begins = queue.parts.first().is_some_and(|part| part.start == 0);
            begins && queue.last_seen && queue.received == queue.len
        });
        if !complete {
            return Reassembled::Held;
        }
        match self.remove(key).and_then(whole) {
            Some(whole) => {
                self.counters.reassembled += 1;
                *packet = whole;
                Reassembled::Whole
            }
            None => {
                self.counters.failed += 1;
                Reassembled::Drop(DropReason::BadFragment)
            }
        }
    }

    fn refuse(&mut self, family: Family) -> Reassembled {
        self.counters.over_limit[family as usize] += 1;
        Reassembled::Drop(DropReason::FragmentLimit)
    }

    fn give_up(&mut self, key: Key) -> Reassembled {
        self.remove(key);
        self.counters.failed += 1;
        Reassembled::Drop(DropReason::BadFragment)
    }

    fn give_up_overlap(&mut self, key: Key) -> Reassembled {
        self.counters.overlaps += 1;
        self.give_up(key)
    }

    fn remove(&mut self, key: Key) -> Option<Queue> {
        let queue = self.queues.remove(&key)?;
        self.deadlines.remove(&(queue.deadline, key));
        if let Some(bytes) = self.bytes.get_mut(key.family as usize) {
            *bytes = bytes.saturating_sub(queue.bytes);
        }
        if key.family == Family::V4
            && let Entry::Occupied(mut source) = self.sources.entry(key.src)
        {
            source.get_mut().queues -= 1;
            if source.get().queues == 0 {
                source.remove();
            }
        }
        Some(queue)
    }
}

/// RFC 8200's code of a parameter problem: the first fragment does not hold all headers.
const INCOMPLETE_CHAIN: u8 = 3;

/// Where the payload length is in an IPv6 header.
const PAYLOAD_LEN_AT: u32 = 4;

/// What a queue costs beside its fragments, in bytes of kernel memory.
const QUEUE_COST: usize = 256;

/// What a waiting fragment costs: a socket buffer, and its data in a power of two (`skb->truesize`).
fn cost(packet: &Packet) -> usize {
    256 + (packet.frame().len() + 384).next_power_of_two()
}

/// What fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    family: Family,
    src: Addr,
    dst: Addr,
    id: u32,
    /// IPv4 only.
    protocol: u8,
    /// IPv6 only; 0 where it does not count.
    device: u32,
    user: FragUser,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    fragments: u32,
    queues: u32,
}

/// The fragments of one packet.
#[derive(Clone, Debug, Default)]
struct Queue {
    /// By place.
    parts: Vec<Part>,
    /// Stretches that arrived in order, by place. Whatever lies within one is a duplicate.
    runs: Vec<(usize, usize)>,
    /// The end of what is known of the packet's data.
    len: usize,
    /// Bytes of data that are there.
    received: usize,
    /// The last fragment came, so `len` is final.
    last_seen: bool,
    /// One bit for each value of the ECN field met.
    ecn: u8,
    /// Largest fragment: IPv4 in bytes, IPv6 its payload length.
    max_size: usize,
    /// IPv4: largest fragment with DF.
    max_df_size: usize,
    /// Device of the fragment that came last.
    device: Option<IfIndex>,
    deadline: Instant,
    bytes: usize,
    /// IPv4: the source's count of fragments when the last of this packet came, and how many that was after the one before.
    last_fragment: u32,
    distance: u32,
}

#[derive(Clone, Debug)]
struct Part {
    start: usize,
    end: usize,
    /// Where its data is in the packet.
    data_at: usize,
    packet: Packet,
}

impl Part {
    fn data(&self) -> &[u8] {
        self.packet.ip().get(self.data_at..self.data_at + (self.end - self.start)).unwrap_or_default()
    }
}

enum Place {
    New,
    Duplicate,
    Overlap,
}

impl Queue {
    fn is_too_far(&self, max_distance: u32) -> bool {
        max_distance != 0 && !self.parts.is_empty() && self.distance > max_distance
    }

    /// Notes where a fragment ends; false when that does not agree with the others.
    fn note_end(&mut self, end: usize, more: bool) -> bool {
        if !more {
            if end < self.len || self.last_seen && end != self.len {
                return false;
            }
            self.last_seen = true;
            self.len = end;
        } else if end > self.len {
            if self.last_seen {
                return false;
            }
            self.len = end;
        }
        true
    }

    /// Finds the place of a fragment and takes it (`inet_frag_queue_insert`).
    fn place(&mut self, start: usize, end: usize) -> Place {
        match self.runs.last_mut() {
            None => self.runs.push((start, end)),
            Some(last) if last.1 < end => {
                if start < last.1 {
                    return Place::Overlap;
                }
                if start == last.1 {
                    last.1 = end;
                } else {
                    self.runs.push((start, end));
                }
            }
            Some(_) => {
                let at = self.runs.partition_point(|run| run.1 <= start);
                match self.runs.get(at) {
                    Some(run) if start >= run.0 && end <= run.1 => return Place::Duplicate,
                    Some(run) if end > run.0 => return Place::Overlap,
                    _ => self.runs.insert(at, (start, end)),
                }
            }
        }
        Place::New
    }

    /// The ECN bits to add to the header of the whole packet (RFC 3168, section 5.3); None when they do not go together.
    fn combined_ecn(&self) -> Option<u8> {
        const NOT_ECT: u8 = 1;
        const CE: u8 = 8;
        match self.ecn {
            NOT_ECT | CE => Some(0),
            ecn if ecn & NOT_ECT != 0 => None,
            ecn if ecn & CE != 0 => Some(3),
            _ => Some(0),
        }
    }

    /// A packet of the first fragment's link header and `meta`, the network header given, and all data.
    fn assemble(&self, header: &[u8]) -> Option<Packet> {
        let first = &self.parts.first()?.packet;
        let mut bytes = Vec::with_capacity(first.link_header().len() + header.len() + self.len);
        bytes.extend_from_slice(first.link_header());
        bytes.extend_from_slice(header);
        for part in &self.parts {
            bytes.extend_from_slice(part.data());
        }
        let mut whole = match first.link_header() {
            [] => Packet::from_ip(&bytes),
            _ => Packet::from_frame(&bytes),
        }
        .ok()?;
        whole.meta = first.meta.clone();
        whole.meta.iif = self.device;
        whole.meta.pieces = self.parts.iter().map(|part| (part.end - part.start) as u16).collect();
        Some(whole)
    }
}

fn whole_v4(queue: Queue) -> Option<Packet> {
    let ecn = queue.combined_ecn()?;
    let first = queue.parts.first()?;
    let mut header = first.packet.ip().get(..first.data_at)?.to_vec();
    let total = u16::try_from(header.len() + queue.len).ok()?;
    let mut ip = Ipv4::new(&mut header)?;
    let tos = ip.tos() | ecn;
    // DF only if it was on the largest fragment: a small one with it says nothing about the path.
    let had_df = queue.max_df_size == queue.max_size;
    ip.set_tos(tos);
    ip.set_total_len(total);
    ip.set_flags_offset(had_df, false, 0);
    ip.fill_checksum();
    let mut whole = queue.assemble(&header)?;
    whole.meta.fragments_had_df = had_df;
    whole.meta.max_fragment = u16::try_from(queue.max_size).unwrap_or(u16::MAX);
    Some(whole)
}

fn whole_v6(queue: Queue) -> Option<Packet> {
    let ecn = queue.combined_ecn()?;
    let first = queue.parts.first()?.packet.ip();
    let found = FragmentHeader::find(first).ok().flatten()?;
    let mut header = first.get(..found.at)?.to_vec();
    *header.get_mut(found.named_at)? = found.next;
    let prefix_len = header.len();
    let payload_len = u16::try_from(prefix_len.checked_sub(ipv6::HEADER_LEN)? + queue.len).ok()?;
    let mut ip = Ipv6::new(&mut header)?;
    let class = ip.traffic_class() | ecn;
    ip.set_traffic_class(class);
    ip.set_payload_len(payload_len);
    let mut whole = queue.assemble(&header)?;
    whole.meta.max_fragment = u16::try_from(ipv6::HEADER_LEN + queue.max_size).unwrap_or(u16::MAX);
    Some(whole)
}

/// The first fragment header of an IPv6 packet.
#[derive(Clone, Copy, Debug)]
struct FragmentHeader {
    at: usize,
    /// Where the byte is that names it.
    named_at: usize,
    next: u8,
    /// Place of the data in bytes.
    start: usize,
    more: bool,
    id: u32,
}

/// The packet ends in the fragment header.
struct Cut;

impl FragmentHeader {
    fn find(packet: &[u8]) -> Result<Option<FragmentHeader>, Cut> {
        let Some(ip) = Ipv6::new(packet) else { return Ok(None) };
        let mut named_at = 6;
        let mut walk = ip.extensions();
        for header in walk.by_ref() {
            if header.kind == proto::FRAGMENT {
                let at = header.offset;
                let &[next, _, a, b, c, d, e, f, ..] = packet.get(at..).unwrap_or_default() else {
                    // A first fragment that ends before its transport header does is not collected, even if it ends here.
                    let is_first = packet.get(at + 2..at + 4).is_some_and(|word| word[0] == 0 && word[1] & !7 == 0);
                    return if is_first { Ok(None) } else { Err(Cut) };
                };
                let word = u16::from_be_bytes([a, b]);
                let (start, more) = (usize::from(word & !7), word & 1 != 0);
                return Ok(Some(FragmentHeader {
                    at,
                    named_at,
                    next,
                    start,
                    more,
                    id: u32::from_be_bytes([c, d, e, f]),
                }));
            }
            named_at = header.offset;
        }
        let cut = walk.is_truncated() && walk.protocol() == proto::FRAGMENT && ip.payload_len() != 0;
        if cut { Err(Cut) } else { Ok(None) }
    }

    fn data_at(&self) -> usize {
        self.at + ipv6::FRAGMENT_LEN
    }
}

/// Whether the packet ends before its transport header does.
fn is_transport_cut(packet: &Packet) -> bool {
    let head = packet.head();
    let needed = match head.protocol {
        proto::NONE => return false,
        proto::TCP => 20,
        proto::UDP | proto::ICMPV6 => 8,
        _ => 1,
    };
    !head.broken && head.l4 + needed > packet.length()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::fragment::{Fit, fit};
    use crate::link::testing::{v4, v6};
    use crate::rng::Rng;
    use hairpin_wire::build;
    use proptest::prelude::*;

    const LIMITS: FragLimits = FragLimits { timeout: Duration::from_secs(30), high_bytes: 4 << 20, max_distance: 64 };
    const USER: FragUser = FragUser::TrackIn(0);

    fn part4(id: u16, offset: usize, more: bool, payload: &[u8]) -> Packet {
        part4_tos(id, offset, more, payload, 0, false)
    }

    fn part4_tos(id: u16, offset: usize, more: bool, payload: &[u8], tos: u8, df: bool) -> Packet {
        let ip = build::Ipv4 {
            src: v4("10.0.1.2"),
            dst: v4("10.0.2.2"),
            protocol: proto::UDP,
            id,
            tos,
            dont_fragment: df,
            fragment_offset: (offset / 8) as u16,
            more_fragments: more,
            payload,
            ..Default::default()
        };
        Packet::from_ip(&ip.to_vec()).unwrap()
    }

    fn part6(id: u32, offset: usize, more: bool, payload: &[u8]) -> Packet {
        let mut body = build::fragment_header(proto::UDP, (offset / 8) as u16, more, id).to_vec();
        body.extend(payload);
        let bytes = build::ip(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:2::2"), proto::FRAGMENT, &body);
        Packet::from_ip(&bytes).unwrap()
    }

    fn push(r: &mut Reassembler, mut packet: Packet) -> (Reassembled, Packet) {
        let done = r.push(&mut packet, USER, Instant(0), &LIMITS);
        (done, packet)
    }

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    const BAD: Reassembled = Reassembled::Drop(DropReason::BadFragment);

    #[test]
    fn limits_come_from_the_settings() {
        let mut sysctl = Sysctl::default();
        assert_eq!(FragLimits::of(&sysctl, Family::V4, USER), LIMITS);
        let six = FragLimits { timeout: Duration::from_secs(60), max_distance: 0, ..LIMITS };
        assert_eq!(FragLimits::of(&sysctl, Family::V6, USER), six);
        assert_eq!(FragLimits::of(&sysctl, Family::V6, FragUser::Deliver), six);
        sysctl.set("net.ipv4.ipfrag_time", 2).unwrap();
        sysctl.set("net.netfilter.nf_conntrack_frag6_timeout", 3).unwrap();
        assert_eq!(FragLimits::of(&sysctl, Family::V4, USER).timeout, Duration::from_secs(2));
        assert_eq!(FragLimits::of(&sysctl, Family::V6, USER).timeout, Duration::from_secs(3));
    }

    #[test]
    fn any_order_makes_the_whole() {
        let data = bytes(40);
        let parts = |order: [usize; 3], family| {
            let mut r = Reassembler::default();
            let mut last = None;
            for (n, index) in order.into_iter().enumerate() {
                let (start, end) = [(0, 16), (16, 32), (32, 40)][index];
                let part = match family {
                    Family::V4 => part4(7, start, index != 2, &data[start..end]),
                    Family::V6 => part6(7, start, index != 2, &data[start..end]),
                };
                let (done, packet) = push(&mut r, part);
                assert_eq!(done, if n == 2 { Reassembled::Whole } else { Reassembled::Held });
                last = Some(packet);
            }
            assert_eq!((r.waiting(), r.next_timeout(), r.bytes, r.sources.len()), (0, None, [0, 0], 0));
            assert_eq!(r.counters(), FragCounters { reassembled: 1, ..Default::default() });
            last.unwrap()
        };
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
            let whole = parts(order, Family::V4);
            assert_eq!(
                (whole.l4(), whole.meta.max_fragment, &whole.meta.pieces[..]),
                (&data[..], 36, &[16, 16, 8][..])
            );
            assert!(!whole.is_fragment() && Ipv4::new(whole.ip()).is_some_and(|ip| ip.checksum_ok()));
            let whole = parts(order, Family::V6);
            assert_eq!((whole.l4(), whole.meta.max_fragment), (&data[..], 64));
            assert_eq!((whole.length(), whole.protocol(), whole.head().fragment_header), (80, proto::UDP, None));
        }
    }

    #[test]
    fn what_lies_within_a_run_is_a_duplicate_and_any_other_overlap_is_fatal() {
        let data = bytes(64);
        for family in [Family::V4, Family::V6] {
            let part = |start: usize, end: usize| match family {
                Family::V4 => part4(1, start, end != 64, &data[start..end]),
                Family::V6 => part6(1, start, end != 64, &data[start..end]),
            };
            let mut r = Reassembler::default();
            assert_eq!(push(&mut r, part(0, 16)).0, Reassembled::Held);
            assert_eq!(push(&mut r, part(16, 32)).0, Reassembled::Held);
            assert_eq!(push(&mut r, part(0, 16)).0, BAD);
            assert_eq!(push(&mut r, part(8, 24)).0, BAD);
            assert_eq!(r.waiting(), 1);
            let (done, whole) = push(&mut r, part(32, 64));
            assert_eq!((done, whole.l4()), (Reassembled::Whole, &data[..]));

            let mut r = Reassembler::default();
            push(&mut r, part(0, 16));
            assert_eq!(push(&mut r, part(8, 24)).0, BAD);
            assert_eq!((r.waiting(), r.counters().overlaps), (0, 1));
            // What comes then begins anew and never completes.
            assert_eq!(push(&mut r, part(16, 64)).0, Reassembled::Held);

            // Fragments that came out of order are runs of their own: one that spans two of them is no duplicate.
            let mut r = Reassembler::default();
            push(&mut r, part(48, 64));
            push(&mut r, part(0, 16));
            push(&mut r, part(16, 32));
            assert_eq!(push(&mut r, part(8, 24)).0, BAD);
            assert_eq!(r.waiting(), 0);
        }
    }

    #[test]
    fn ends_must_agree() {
        let mut r = Reassembler::default();
        push(&mut r, part4(1, 16, false, &[0; 8]));
        assert_eq!(push(&mut r, part4(1, 16, false, &[0; 9])).0, BAD);
        assert_eq!(r.waiting(), 0);
        push(&mut r, part4(1, 16, false, &[0; 8]));
        assert_eq!(push(&mut r, part4(1, 24, true, &[0; 8])).0, BAD);
        assert_eq!(r.waiting(), 0);
        assert_eq!(push(&mut r, part4(1, 24, true, &[])).0, BAD);
        assert_eq!(r.waiting(), 0);
    }

    #[test]
    fn ecn_is_combined() {
        let combine = |a: u8, b: u8| {
            let mut r = Reassembler::default();
            push(&mut r, part4_tos(1, 0, true, &[0; 8], a, false));
            let (done, whole) = push(&mut r, part4_tos(1, 8, false, &[0; 8], b, false));
            (done == Reassembled::Whole).then(|| whole.tos())
        };
        assert_eq!(combine(0x10, 0x20), Some(0x10));
        assert_eq!(combine(1, 3), Some(3));
        assert_eq!(combine(2, 1), Some(2));
        assert_eq!(combine(3, 3), Some(3));
        assert_eq!(combine(0, 2), None);
        assert_eq!(combine(0, 3), None);
    }

    #[test]
    fn df_stays_if_the_largest_had_it() {
        let whole = |first: bool, second: bool| {
            let mut r = Reassembler::default();
            push(&mut r, part4_tos(1, 0, true, &[0; 16], 0, first));
            let (_, whole) = push(&mut r, part4_tos(1, 16, false, &[0; 8], 0, second));
            (whole.meta.fragments_had_df, Ipv4::new(whole.ip()).unwrap().dont_fragment())
        };
        assert_eq!(whole(true, false), (true, true));
        assert_eq!(whole(false, true), (false, false));
    }

    #[test]
    fn time_runs_from_the_first() {
        let mut r = Reassembler::default();
        let limits = LIMITS;
        let at = |secs| Instant::from_secs(secs);
        r.push(&mut part4(1, 0, true, &[0; 8]), USER, at(1), &limits);
        r.push(&mut part4(1, 16, false, &[0; 8]), USER, at(20), &limits);
        r.push(&mut part4(2, 16, false, &[0; 8]), USER, at(2), &limits);
        assert_eq!(r.next_timeout(), Some(at(31)));
        let mut expired = Vec::new();
        r.expire(Instant(at(31).0 - 1), &mut expired);
        assert_eq!((expired.len(), r.waiting()), (0, 2));
        r.expire(at(31), &mut expired);
        assert_eq!((expired.len(), r.waiting()), (1, 1));
        assert_eq!((expired[0].user, expired[0].packet.length()), (USER, 28));
        // Without its first fragment nobody can be told.
        r.expire(at(40), &mut expired);
        assert_eq!((expired.len(), r.waiting(), r.next_timeout()), (1, 0, None));
        assert_eq!(r.counters().timed_out, 2);
    }

    #[test]
    fn memory_is_limited() {
        let mut r = Reassembler::default();
        let mut refused = 0;
        for id in 0..4000 {
            let mut part = part4(id, 0, true, &[0; 1400]);
            if r.push(&mut part, USER, Instant(0), &LIMITS) == Reassembled::Drop(DropReason::FragmentLimit) {
                refused += 1;
            }
        }
        assert!(r.waiting() < 2000 && refused > 2000, "{} {refused}", r.waiting());
        assert!(r.bytes[0] < LIMITS.high_bytes + 8192);
        // The families do not share it.
        assert_eq!(push(&mut r, part6(1, 0, true, &[0; 16])).0, Reassembled::Held);
        r.expire(Instant::from_secs(30), &mut Vec::new());
        assert_eq!(r.bytes, [0, 0]);
    }

    #[test]
    fn too_many_fragments_between_begin_anew() {
        let mut r = Reassembler::default();
        push(&mut r, part4(1, 0, true, &[0; 8]));
        for id in 2..2 + 64 {
            push(&mut r, part4(id, 0, true, &[0; 8]));
        }
        assert_eq!(push(&mut r, part4(1, 8, false, &[0; 8])).0, Reassembled::Held);
        assert_eq!(push(&mut r, part4(1, 0, true, &[0; 8])).0, Reassembled::Whole);
    }

    #[test]
    fn too_large_is_dropped() {
        let mut r = Reassembler::default();
        let data = vec![0; 32768];
        push(&mut r, part4(1, 0, true, &data));
        assert_eq!(push(&mut r, part4(1, 32768, false, &data[..32767 - 19])).0, BAD);
        assert_eq!(r.waiting(), 0);
    }

    #[test]
    fn an_atomic_fragment_loses_its_header() {
        let mut r = Reassembler::default();
        let (done, whole) = push(&mut r, part6(9, 0, false, &bytes(20)));
        assert_eq!((done, whole.length(), whole.head().fragment_header), (Reassembled::Whole, 60, None));
        assert!(matches!(fit(&whole, 1500, &Rng::new(1)), Fit::Whole));
        let mut atomic = part6(9, 0, false, &bytes(20));
        assert_eq!(r.push(&mut atomic, FragUser::Deliver, Instant(0), &LIMITS), Reassembled::Whole);
        assert_eq!(atomic.length(), 68);
    }

    #[test]
    fn odd_ipv6_fragments() {
        let mut r = Reassembler::default();
        let told = |code, at| Reassembled::Problem(IcmpError::bad_header6(code, at));
        let deliver = |r: &mut Reassembler, mut part: Packet| r.push(&mut part, FragUser::Deliver, Instant(0), &LIMITS);
        assert_eq!(push(&mut r, part6(1, 0, true, &[0; 4])).0, Reassembled::Whole);
        assert_eq!(deliver(&mut r, part6(1, 0, true, &[0; 4])), told(3, 0));
        assert_eq!(push(&mut r, part6(1, 16, true, &[0; 12])).0, Reassembled::Whole);
        assert_eq!(deliver(&mut r, part6(1, 16, true, &[0; 12])), told(0, 4));
        assert_eq!(push(&mut r, part6(1, 65528, false, &[0; 12])).0, BAD);
        assert_eq!(deliver(&mut r, part6(1, 65528, false, &[0; 12])), told(0, 42));
        let mut cut = Packet::from_ip(&build::ip(Family::V6, Addr(1), Addr(2), proto::FRAGMENT, &[17, 0, 0])).unwrap();
        assert_eq!(r.push(&mut cut, USER, Instant(0), &LIMITS), BAD);
    }

    proptest! {
        #[test]
        fn cut_and_put_together(len in 9usize..4000, mtu in 68u32..1500, v6_family in any::<bool>(), seed in any::<u64>()) {
            let family = if v6_family { Family::V6 } else { Family::V4 };
            let data = bytes(len);
            let udp = build::Udp { src_port: 1, dst_port: 2, payload: &data };
            let packet = match family {
                Family::V4 => udp.packet(family, v4("10.0.1.2"), v4("10.0.2.2")),
                Family::V6 => udp.packet(family, v6("2001:db8:1::2"), v6("2001:db8:2::2")),
            };
            let mut packet = Packet::from_ip(&packet).unwrap();
            packet.meta.origin = crate::packet::Origin::Local(Default::default());
            let mtu = if v6_family { mtu + 1280 } else { mtu };
            let rng = Rng::new(seed);
            match fit(&packet, mtu, &rng) {
                Fit::Whole => prop_assert!(packet.length() <= mtu as usize),
                Fit::TooBig(_) | Fit::Gone => prop_assert!(false),
                Fit::Pieces(mut pieces) => {
                    prop_assert!(pieces.iter().all(|piece| piece.length() <= mtu as usize));
                    let sizes: Vec<_> = pieces.iter().map(Packet::length).collect();
                    for at in (1..pieces.len()).rev() {
                        pieces.swap(at, rng.below(at as u32 + 1) as usize);
                    }
                    let mut r = Reassembler::default();
                    let count = pieces.len();
                    for (n, mut piece) in pieces.into_iter().enumerate() {
                        let done = r.push(&mut piece, USER, Instant(0), &LIMITS);
                        prop_assert_eq!(done, if n + 1 == count { Reassembled::Whole } else { Reassembled::Held });
                        if n + 1 == count {
                            prop_assert_eq!(piece.ip(), packet.ip());
                            // It leaves in the sizes it came in, whatever the link could carry.
                            if let Fit::Pieces(again) = fit(&piece, 9000, &rng) {
                                let again: Vec<_> = again.iter().map(Packet::length).collect();
                                prop_assert_eq!(again, sizes.clone());
                            } else {
                                prop_assert!(packet.length() <= usize::from(piece.meta.max_fragment));
                            }
                        }
                    }
                }
            }
        }

        #[test]
        fn never_panics(parts in prop::collection::vec((0u16..9, any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 1..40)) {
            let mut r = Reassembler::default();
            for (n, (kind, word, payload)) in parts.into_iter().enumerate() {
                let start = usize::from(word & 63) * 8;
                let mut part = match kind % 3 {
                    0 => part4(kind / 3, start, word & 64 != 0, &payload),
                    1 => part6(u32::from(kind / 3), start, word & 64 != 0, &payload),
                    _ => {
                        let bytes = build::ip(Family::V6, Addr(1), Addr(2), proto::FRAGMENT, &payload);
                        Packet::from_ip(&bytes).unwrap()
                    }
                };
                let user = if kind == 8 { FragUser::Deliver } else { USER };
                if r.push(&mut part, user, Instant(n as u64), &LIMITS) == Reassembled::Whole {
                    fit(&part, u32::from(word), &Rng::new(1));
                }
            }
            r.expire(Instant::from_secs(1000), &mut Vec::new());
            prop_assert_eq!((r.bytes, r.deadlines.len(), r.sources.len()), ([0, 0], 0, 0));
        }
    }
}
