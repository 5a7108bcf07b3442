//! One connection.

use super::{ExpectNat, Tuple, Zone};
use crate::net::IfIndex;
use crate::rule::Counter;
use crate::time::{HZ, Instant, Wall};
use hairpin_wire::{Addr, Family, proto};
use std::cell::Cell;

/// The direction of a packet relative to the packet that made the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// The other way.
    Reply,
}

impl Direction {
    /// The other way.
    pub const fn other(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// 0 or 1.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A handle to a connection. It goes stale when the connection is removed: looking it up then finds nothing, even when the
/// place was used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The place in the table.
    pub slot: u32,
    /// How often the place had been used before.
    pub generation: u32,
}

/// What a packet is to its connection (`enum ip_conntrack_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Part of an answered connection, or any packet in reply direction.
    Established(Direction),
    /// Begins an expected connection, or an ICMP error about this one.
    Related(Direction),
    /// Begins a connection, or repeats its beginning.
    New,
}

impl Class {
    /// The direction it goes.
    pub const fn direction(self) -> Direction {
        match self {
            Class::Established(d) | Class::Related(d) => d,
            Class::New => Direction::Original,
        }
    }
}

/// What tracking knows of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracked {
    /// Nothing: not asked yet, or INVALID.
    #[default]
    No,
    /// It was told not to look (NOTRACK), or never looks (neighbor discovery).
    Untracked,
    /// It belongs to a connection.
    Conn(ConnId, Class),
}

/// The status bits of a connection (`enum ip_conntrack_status`), with Linux's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// It was expected by a helper.
    pub const EXPECTED: Status = Status(1 << 0);
    /// Packets went both ways.
    pub const SEEN_REPLY: Status = Status(1 << 1);
    /// Not to be dropped early.
    pub const ASSURED: Status = Status(1 << 2);
    /// In the table.
    pub const CONFIRMED: Status = Status(1 << 3);
    /// The source is changed.
    pub const SRC_NAT: Status = Status(1 << 4);
    /// The destination is changed.
    pub const DST_NAT: Status = Status(1 << 5);
    /// Sequence numbers are adjusted.
    pub const SEQ_ADJUST: Status = Status(1 << 6);
    /// The source side is settled, changed or not.
    pub const SRC_NAT_DONE: Status = Status(1 << 7);
    /// The destination side is settled, changed or not.
    pub const DST_NAT_DONE: Status = Status(1 << 8);
    /// Removed.
    pub const DYING: Status = Status(1 << 9);
    /// Packets do not refresh it.
    pub const FIXED_TIMEOUT: Status = Status(1 << 10);
    /// Entered in spite of a clash, by its reply tuple only.
    pub const NAT_CLASH: Status = Status(1 << 12);
    /// A helper was attached by a rule.
    pub const HELPER: Status = Status(1 << 13);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn any(self, other: Status) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets the bits of `other`.
    pub fn set(&mut self, other: Status) {
        self.0 |= other.0;
    }

    /// Clears the bits of `other`.
    pub fn clear(&mut self, other: Status) {
        self.0 &= !other.0;
    }

    /// Both.
    pub const fn union(self, other: Status) -> Status {
        Status(self.0 | other.0)
    }
}

/// A connection.
///
/// The order of the fields is that of their use, in memory too. What finding and refreshing a connection needs comes first, in one
/// cache line; the protocol's state is in the next; then what is asked for rarely.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Conn {
    /// When it ends, unless a packet refreshes it. While it is not confirmed: how long it will live from then on, as an instant
    /// counted from 0.
    pub expires: Instant,
    /// Status bits.
    pub status: Status,
    masquerade: IfIndex,
    addrs: Addrs,
    /// Source and destination id of the original tuple, then of the reply tuple.
    ids: [u16; 4],
    protocol: u8,
    known: Known,
    routes: [[u8; 3]; 2],
    /// The protocol's own state.
    pub proto: ProtoState,
    /// Connection mark.
    pub mark: u32,
    started: Instant,
    counters: Option<Box<[Counter; 2]>>,
    extra: Option<Box<Extra>>,
    zone: Zone,
}

/// What is known of a connection's rarely used part, so that nobody has to look there.
#[derive(Clone, Copy, Debug, Default)]
struct Known(u8);

impl Known {
    const EXTRA: Known = Known(1 << 0);
    const COUNTERS: Known = Known(1 << 1);
    const MASQUERADE: Known = Known(1 << 2);
    /// It lives for more than two seconds.
    const LASTING: Known = Known(1 << 3);
    const ZONE: Known = Known(1 << 4);

    const fn has(self, other: Known) -> bool {
        self.0 & other.0 != 0
    }

    fn put(&mut self, other: Known, is_so: bool) {
        self.0 = if is_so { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

/// Source and destination of the original tuple, then of the reply tuple. IPv6's are kept aside: IPv4 needs no room for them. The other
/// number, the lower half of the jiffy at which the connection was made, is here because there is room for it.
#[derive(Clone, Debug)]
enum Addrs {
    V4([u32; 4], u32),
    V6(Box<Aside>, u32),
}

/// A cache line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Aside([Addr; 4]);

impl Conn {
    /// A connection as its first packet makes it: nothing seen, nothing settled, no life yet. `reply` is the original tuple turned
    /// round, or at least of the same family and protocol.
    pub fn new(original: Tuple, reply: Tuple, zone: Zone, now: Instant) -> Conn {
        let (addrs, begun) = ([original.src, original.dst, reply.src, reply.dst], now.jiffies() as u32);
        let mut known = Known::default();
        known.put(Known::ZONE, zone != Zone::default());
        Conn {
            addrs: match original.family {
                Family::V4 => Addrs::V4(addrs.map(Addr::as_u32), begun),
                Family::V6 => Addrs::V6(Box::new(Aside(addrs)), begun),
            },
            ids: [original.src_id, original.dst_id, reply.src_id, reply.dst_id],
            protocol: original.protocol,
            known,
            zone,
            status: Status::default(),
            mark: 0,
            expires: Instant::default(),
            started: now,
            counters: None,
            masquerade: IfIndex(0),
            routes: [[0; 3]; 2],
            proto: ProtoState::for_protocol(original.protocol),
            extra: None,
        }
    }

    /// The tuple of a direction. NAT changes only the reply tuple.
    #[inline]
    pub fn tuple(&self, direction: Direction) -> Tuple {
        let (src, dst) = match (&self.addrs, direction) {
            (Addrs::V4([src, dst, ..], _), Direction::Original) => (Addr::v4(*src), Addr::v4(*dst)),
            (Addrs::V4([_, _, src, dst], _), Direction::Reply) => (Addr::v4(*src), Addr::v4(*dst)),
            (Addrs::V6(aside, _), Direction::Original) => (aside.0[0], aside.0[1]),
            (Addrs::V6(aside, _), Direction::Reply) => (aside.0[2], aside.0[3]),
        };
        let (src_id, dst_id) = match (self.ids, direction) {
            ([src, dst, ..], Direction::Original) => (src, dst),
            ([_, _, src, dst], Direction::Reply) => (src, dst),
        };
        Tuple { src, dst, src_id, dst_id, protocol: self.protocol, family: self.family() }
    }

    /// The source address and id of a direction.
    #[inline(always)]
    pub(crate) fn source(&self, direction: Direction) -> (Addr, u16) {
        let at = direction.index() * 2;
        (self.addr(at), self.ids[at])
    }

    /// The destination address and id of a direction.
    #[inline(always)]
    pub(crate) fn destination(&self, direction: Direction) -> (Addr, u16) {
        let at = direction.index() * 2 + 1;
        (self.addr(at), self.ids[at])
    }

    #[inline(always)]
    fn addr(&self, at: usize) -> Addr {
        match &self.addrs {
            Addrs::V4(addrs, _) => Addr::v4(addrs[at]),
            Addrs::V6(aside, _) => aside.0[at],
        }
    }

    /// Whether this is the tuple of a direction.
    #[inline]
    pub(crate) fn has_tuple(&self, direction: Direction, tuple: &Tuple) -> bool {
        let is_reply = direction == Direction::Reply;
        let [a, b, c, d] = self.ids;
        let ids = if is_reply { (c, d) } else { (a, b) };
        let has_addrs = match (&self.addrs, tuple.family) {
            (Addrs::V4([a, b, c, d], _), Family::V4) => {
                let addrs = if is_reply { (*c, *d) } else { (*a, *b) };
                addrs == (tuple.src.as_u32(), tuple.dst.as_u32())
            }
            (Addrs::V6(aside, _), Family::V6) => {
                let Aside([a, b, c, d]) = **aside;
                let addrs = if is_reply { (c, d) } else { (a, b) };
                addrs == (tuple.src, tuple.dst)
            }
            _ => false,
        };
        ids == (tuple.src_id, tuple.dst_id) && has_addrs && self.protocol == tuple.protocol
    }

    /// Original and reply tuple.
    pub fn tuples(&self) -> [Tuple; 2] {
        [self.tuple(Direction::Original), self.tuple(Direction::Reply)]
    }

    /// Gives a direction another tuple, which must be of the same family and protocol.
    pub fn set_tuple(&mut self, direction: Direction, tuple: Tuple) {
        debug_assert_eq!((tuple.family, tuple.protocol), (self.family(), self.protocol));
        let at = direction.index() * 2;
        match &mut self.addrs {
            Addrs::V4(addrs, _) => addrs[at..at + 2].copy_from_slice(&[tuple.src.as_u32(), tuple.dst.as_u32()]),
            Addrs::V6(aside, _) => aside.0[at..at + 2].copy_from_slice(&[tuple.src, tuple.dst]),
        }
        self.ids[at..at + 2].copy_from_slice(&[tuple.src_id, tuple.dst_id]);
    }

    /// Transport protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// IPv4 or IPv6.
    #[inline]
    pub fn family(&self) -> Family {
        match self.addrs {
            Addrs::V4(..) => Family::V4,
            Addrs::V6(..) => Family::V6,
        }
    }

    /// How far every packet of a connection reads, but for the protocol's state, and how far that goes.
    #[cfg(test)]
    pub(super) const END_OF_EVERY_PACKET: usize = std::mem::offset_of!(Conn, routes) + size_of::<[[u8; 3]; 2]>();
    #[cfg(test)]
    pub(super) const PROTOCOL_STATE: std::ops::Range<usize> =
        std::mem::offset_of!(Conn, proto)..std::mem::offset_of!(Conn, proto) + size_of::<ProtoState>();
    /// Bytes that an IPv6 connection has aside.
    pub(super) const ASIDE: usize = size_of::<Aside>();

    /// A word of what lies aside of the connection and is needed to find it: see [`super::ahead`].
    #[inline]
    pub(super) fn touch_aside(&self) -> u64 {
        match &self.addrs {
            Addrs::V4(..) => 0,
            Addrs::V6(aside, _) => aside.0[0].0 as u64,
        }
    }

    /// Where that is.
    #[inline]
    pub(super) fn address_of_aside(&self) -> Option<*const u8> {
        match &self.addrs {
            Addrs::V4(..) => None,
            Addrs::V6(aside, _) => Some(std::ptr::from_ref(&**aside).cast()),
        }
    }

    /// When it was made (UDP's two-second rule counts from here).
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether it was made more than two seconds ago. Once that is so it stays so, and is not reckoned again.
    #[inline]
    pub(crate) fn is_lasting(&mut self, now: Instant) -> bool {
        if !self.known.has(Known::LASTING) {
            let (Addrs::V4(_, begun) | Addrs::V6(_, begun)) = self.addrs;
            let age = (now.jiffies() as u32).wrapping_sub(begun);
            self.known.put(Known::LASTING, u64::from(age) > 2 * HZ);
        }
        self.known.has(Known::LASTING)
    }

    /// Packets and bytes by direction, if they are counted: that was decided when it was made.
    #[inline]
    pub fn counters(&self) -> Option<[Counter; 2]> {
        if self.known.has(Known::COUNTERS) { self.counters.as_deref().copied() } else { None }
    }

    /// Packets and bytes by direction, to be changed if they are counted.
    #[inline]
    pub(crate) fn counters_mut(&mut self) -> Option<&mut [Counter; 2]> {
        if self.known.has(Known::COUNTERS) { self.counters.as_deref_mut() } else { None }
    }

    /// Sets what was counted; None stops counting.
    pub fn set_counters(&mut self, counters: Option<[Counter; 2]>) {
        self.known.put(Known::COUNTERS, counters.is_some());
        self.counters = counters.map(Box::new);
    }

    /// The device a MASQUERADE bound it to.
    #[inline]
    pub fn masquerade(&self) -> Option<IfIndex> {
        self.known.has(Known::MASQUERADE).then_some(self.masquerade)
    }

    /// Binds it to a device, or to none.
    pub fn set_masquerade(&mut self, device: Option<IfIndex>) {
        self.known.put(Known::MASQUERADE, device.is_some());
        self.masquerade = device.unwrap_or(IfIndex(0));
    }

    /// Zones.
    #[inline]
    pub fn zone(&self) -> Zone {
        if self.is_in_zone_0() { Zone { original: 0, reply: 0 } } else { self.zone_aside() }
    }

    /// Whether both its zones are 0.
    #[inline]
    pub(super) fn is_in_zone_0(&self) -> bool {
        !self.known.has(Known::ZONE)
    }

    /// A call of its own: the compiler would read what it needs only in one case in any case, from a cache line that is far away.
    #[cold]
    #[inline(never)]
    fn zone_aside(&self) -> Zone {
        self.zone
    }

    #[cfg(test)]
    pub(super) fn set_zone(&mut self, zone: Zone) {
        self.known.put(Known::ZONE, zone != Zone::default());
        self.zone = zone;
    }

    /// The largest number of a route that a connection can remember.
    pub(crate) const LAST_ROUTE: u32 = (1 << 24) - 1;

    /// The number of the route that the last packet of a direction went by (see [`crate::route`]); 0 for none.
    #[inline]
    pub(crate) fn route(&self, direction: Direction) -> u32 {
        let [a, b, c] = self.routes[direction.index()];
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Remembers a route by its number, at most [`Conn::LAST_ROUTE`].
    #[inline]
    pub(crate) fn set_route(&mut self, direction: Direction, number: u32) {
        let [a, b, c, _] = number.to_le_bytes();
        self.routes[direction.index()] = [a, b, c];
    }

    /// Counts a packet of `bytes` L3 bytes, if packets are counted.
    #[inline]
    pub(crate) fn account(&mut self, direction: Direction, bytes: usize) {
        if let Some(counters) = self.counters_mut() {
            counters[direction.index()].add(bytes);
        }
    }

    /// Lets it live `secs` seconds from `now` on, in the kernel's steps of time. Before it is confirmed, so long from its
    /// confirmation on. A fixed time-out stays.
    #[inline]
    pub(crate) fn refresh(&mut self, now: Instant, secs: u32) {
        if self.status.has(Status::FIXED_TIMEOUT) {
            return;
        }
        let start = if self.status.has(Status::CONFIRMED) { now.jiffies() } else { 0 };
        self.expires = Instant::from_jiffies(start.saturating_add(u64::from(secs) * HZ));
    }

    /// Whole seconds until it ends; 0 when it has, and before it is confirmed (as `-m conntrack --ctexpire` sees a first packet).
    pub fn seconds_left(&self, now: Instant) -> u64 {
        if !self.status.has(Status::CONFIRMED) {
            return 0;
        }
        self.expires.jiffies().saturating_sub(now.jiffies()) / HZ
    }

    /// Whether a confirmed connection has ended at this jiffy.
    #[inline]
    pub(crate) fn is_expired_at(&self, jiffy: u64) -> bool {
        self.expires.jiffies() <= jiffy
    }

    /// Whether lookups by tuple find it.
    pub(crate) fn is_in_table(&self) -> bool {
        self.status.has(Status::CONFIRMED) && !self.status.has(Status::DYING)
    }

    /// What few connections have.
    #[inline]
    pub fn extra(&self) -> Option<&Extra> {
        if self.known.has(Known::EXTRA) { self.extra.as_deref() } else { None }
    }

    /// What few connections have, to be changed; made when it is missing.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.known.put(Known::EXTRA, true);
        self.extra.get_or_insert_default()
    }

    /// What few connections have, to be changed if it is there.
    #[inline]
    pub(crate) fn known_extra_mut(&mut self) -> Option<&mut Extra> {
        if self.known.has(Known::EXTRA) { self.extra.as_deref_mut() } else { None }
    }

    /// What SYNPROXY keeps of it, if it opened it.
    pub(crate) fn proxied(&self) -> Option<Proxied> {
        self.extra()?.proxied
    }

    /// The name of its helper.
    pub fn helper(&self) -> Option<&'static str> {
        self.extra()?.helper
    }

    /// The connection that announced it.
    pub fn master(&self) -> Option<ConnId> {
        self.extra()?.master
    }

    /// Whether it may go to make room although it is ASSURED: it is about to end anyway.
    pub(crate) fn is_ending(&self) -> bool {
        match self.proto {
            ProtoState::Tcp(tcp) => matches!(
                tcp.state,
                TcpState::FinWait | TcpState::LastAck | TcpState::TimeWait | TcpState::Close | TcpState::CloseWait
            ),
            // SHUTDOWN_SENT, SHUTDOWN_RECD, SHUTDOWN_ACK_SENT.
            ProtoState::Sctp { state, .. } => matches!(state, 5..=7),
            ProtoState::Udp | ProtoState::Gre { .. } | ProtoState::Other => false,
        }
    }
}

/// What few connections have: kept aside so that the others stay small.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The helper's name.
    pub helper: Option<&'static str>,
    /// Positions just behind a newline, per direction (FTP); None until seen.
    pub line_ends: [[Option<u32>; 2]; 2],
    /// The connection that announced this one.
    pub master: Option<ConnId>,
    /// Sequence adjustment per direction.
    pub seq_adjust: [SeqAdjust; 2],
    /// 128 labels. A match may set one (`-m connlabel --set`), so they change through a shared reference.
    pub labels: Option<Cell<u128>>,
    /// When it was confirmed (nf_conntrack_timestamp), if that is kept; 0 until then.
    pub confirmed_at: Option<Wall>,
    /// How NAT is to bind it as the expectation that it met asks; to be taken out when that is done.
    pub expected: Option<ExpectNat>,
    /// SYNPROXY opened it.
    pub(crate) proxied: Option<Proxied>,
}

/// A connection that SYNPROXY opened for a client (`struct nf_conn_synproxy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// The sequence number with which the client was answered.
    pub isn: u32,
    /// The time stamp with which it was answered.
    pub stamp: u32,
    /// How far the server's clock is ahead of that.
    pub stamp_offset: u32,
}

/// Where a direction's sequence numbers were moved (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqAdjust {
    /// Sequence number of the last change.
    pub position: u32,
    /// Offset up to there.
    pub before: i32,
    /// Offset behind it.
    pub after: i32,
}

/// The state that a protocol keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoState {
    /// TCP.
    Tcp(TcpTrack),
    /// UDP and UDP-Lite.
    Udp,
    /// SCTP: state number as in the tables of the kernel, verification tags, flags.
    Sctp {
        /// `enum sctp_conntrack`.
        state: u8,
        /// Verification tag per direction.
        tags: [u32; 2],
        /// Directions that sent INIT, and heartbeat knowledge (internal).
        flags: u8,
    },
    /// GRE: time-outs in seconds.
    Gre {
        /// Before an answer.
        timeout: u32,
        /// After an answer.
        stream_timeout: u32,
    },
    /// ICMP and everything else.
    Other,
}

impl ProtoState {
    /// The state of a connection of this protocol before its first packet was looked at.
    pub fn for_protocol(protocol: u8) -> ProtoState {
        match protocol {
            proto::TCP => ProtoState::Tcp(TcpTrack::default()),
            proto::UDP | proto::UDPLITE => ProtoState::Udp,
            proto::SCTP => ProtoState::Sctp { state: 0, tags: [0; 2], flags: 0 },
            proto::GRE => ProtoState::Gre { timeout: 0, stream_timeout: 0 },
            _ => ProtoState::Other,
        }
    }
}

/// TCP states (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    /// Nothing seen.
    #[default]
    None,
    /// SYN seen.
    SynSent,
    /// SYN+ACK seen.
    SynRecv,
    /// Established.
    Established,
    /// FIN seen.
    FinWait,
    /// Acknowledged FIN.
    CloseWait,
    /// Both FINs.
    LastAck,
    /// Both acknowledged.
    TimeWait,
    /// RST.
    Close,
    /// SYN from both ends.
    SynSent2,
}

impl TcpState {
    /// The state of a number; None when there is none.
    pub const fn from_number(number: u8) -> Option<TcpState> {
        const ALL: [TcpState; 10] = [
            TcpState::None,
            TcpState::SynSent,
            TcpState::SynRecv,
            TcpState::Established,
            TcpState::FinWait,
            TcpState::CloseWait,
            TcpState::LastAck,
            TcpState::TimeWait,
            TcpState::Close,
            TcpState::SynSent2,
        ];
        if (number as usize) < ALL.len() { Some(ALL[number as usize]) } else { None }
    }

    /// The word that `conntrack -L` prints.
    pub const fn text(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }
}

/// What is known of one end of a TCP connection (`struct ip_ct_tcp_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSide {
    /// Highest sequence number plus length sent.
    pub end: u32,
    /// Highest sequence number plus window the peer allowed.
    pub max_end: u32,
    /// Largest window advertised.
    pub max_window: u32,
    /// Highest acknowledgement sent.
    pub max_ack: u32,
    /// Window scale.
    pub scale: u8,
    /// `IP_CT_TCP_FLAG_*`.
    pub flags: u8,
}

/// A TCP connection's state (`struct ip_ct_tcp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpTrack {
    /// By direction.
    pub sides: [TcpSide; 2],
    /// The state.
    pub state: TcpState,
    /// Direction of the last packet, 0 or 1.
    pub last_direction: u8,
    /// How often the last packet was repeated.
    pub retransmissions: u8,
    /// Kind of the last packet.
    pub last_index: u8,
    /// Its sequence number.
    pub last_seq: u32,
    /// Its acknowledgement.
    pub last_ack: u32,
    /// Its sequence number plus length.
    pub last_end: u32,
    /// Its window.
    pub last_window: u16,
    /// Scale of an ignored SYN.
    pub last_scale: u8,
    /// Flags of an ignored SYN.
    pub last_flags: u8,
}
