//! What a rule may see and change: [`Look`] for matches, [`Edit`] for targets. There is no other way to a packet.
//!
//! Every accessor of `Look` notes which fact was read ([`Facts`]): whatever depends on a packet beside those facts cannot exist.

use crate::account::Accounts;
use crate::event::Event;
use crate::hook::Hook;
use crate::link::IcmpError;
use crate::net::{IfIndex, IfName, Interface, LinkKind, Net};
use crate::packet::{LinkType, Origin, Packet, Sender, Template};
use crate::rng::Rng;
use crate::route::{AddressType, ReversePath, Route};
use crate::rule::{MemoryCell, TableId};
use crate::set::Sets;
use crate::socket::{Ask, Known, Socket};
use crate::time::Now;
use crate::track::{Class, Conn, ConnId, Conns, Status, Tracked, Tuple, Zone};
use hairpin_wire::tcp::Tcp;
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;

/// A set of things a rule looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(pub u32);

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Facts { $($(#[$doc])* pub const $name: Facts = Facts(1 << $bit);)* }
    };
}

facts! {
    /// Addresses, protocol and ports: constant for a connection's direction.
    TUPLE = 0;
    /// Devices.
    DEVICES = 1;
    /// The packet's mark.
    MARK = 2;
    /// The connection's identity, class, status, mark, NAT.
    CONN = 3;
    /// The connection's counters.
    CONN_COUNTERS = 4;
    /// The connection's remaining time.
    CONN_EXPIRY = 5;
    /// L3 length.
    LENGTH = 6;
    /// TTL or hop limit.
    TTL = 7;
    /// TOS byte or traffic class.
    TOS = 8;
    /// Fragment fields.
    FRAGMENT = 9;
    /// TCP flags.
    TCP_FLAGS = 10;
    /// Anything else in the transport header, or ICMP type and code.
    TRANSPORT = 11;
    /// The packet's bytes.
    BYTES = 12;
    /// The link header or the link type.
    LINK = 13;
    /// The host's addresses or routes.
    HOST = 14;
    /// The local socket.
    OWNER = 15;
    /// The clock.
    TIME = 16;
    /// A random number.
    RANDOM = 17;
    /// Memory between packets.
    MEMORY = 18;
    /// Other connections.
    OTHER_CONNS = 19;
    /// The route chosen.
    ROUTE = 20;
    /// The hook and table.
    HOOK = 21;
}

impl Facts {
    /// Both.
    pub const fn union(self, other: Facts) -> Facts {
        Facts(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Facts) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The surroundings of a walk, the same for every rule of it.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) hook: Hook,
    pub(crate) table: TableId,
    pub(crate) now: &'a Now,
    pub(crate) net: &'a Net,
    pub(crate) memories: &'a [MemoryCell],
    pub(crate) sets: &'a RefCell<Sets>,
    pub(crate) accounts: &'a RefCell<Accounts>,
    pub(crate) rng: &'a Rng,
    /// Who can be asked for sockets.
    pub(crate) asked: Option<&'a dyn Ask>,
    /// What matches want told.
    pub(crate) told: &'a RefCell<Vec<Event>>,
}

/// What a match may see.
pub struct Look<'a> {
    packet: &'a Packet,
    conns: &'a Conns,
    ground: Ground<'a>,
    slot: Cell<Option<u32>>,
    hotdrop: Cell<bool>,
    for_host: Cell<bool>,
    mark: Cell<u32>,
    facts: Cell<Facts>,
}

impl<'a> Look<'a> {
    pub(crate) fn new(packet: &'a Packet, conns: &'a Conns, ground: Ground<'a>) -> Look<'a> {
        Look {
            packet,
            conns,
            ground,
            slot: Cell::new(None),
            hotdrop: Cell::new(false),
            for_host: Cell::new(false),
            mark: Cell::new(packet.meta.mark),
            facts: Cell::new(Facts::default()),
        }
    }

    /// Names the memory that the next match may open.
    pub(crate) fn set_slot(&self, slot: Option<u32>) {
        self.slot.set(slot);
    }

    /// Whether a match asked for the packet to be dropped on the spot.
    pub(crate) fn is_hotdrop(&self) -> bool {
        self.hotdrop.get()
    }

    /// The packet's mark, which a match may have changed.
    pub(crate) fn new_mark(&self) -> u32 {
        self.mark.get()
    }

    /// Whether a match asked for the packet to count as sent to this host.
    pub(crate) fn is_for_host(&self) -> bool {
        self.for_host.get()
    }

    /// What was looked at so far.
    pub fn facts(&self) -> Facts {
        self.facts.get()
    }

    fn note(&self, fact: Facts) {
        self.facts.set(self.facts.get().union(fact));
    }

    /// IPv4 or IPv6. Constant for a rule, so not noted.
    pub fn family(&self) -> Family {
        self.packet.family()
    }

    /// Source address.
    pub fn src(&self) -> Addr {
        self.note(Facts::TUPLE);
        self.packet.src()
    }

    /// Destination address.
    pub fn dst(&self) -> Addr {
        self.note(Facts::TUPLE);
        self.packet.dst()
    }

    /// Transport protocol (IPv6: the last header).
    pub fn protocol(&self) -> u8 {
        self.note(Facts::TUPLE);
        self.packet.protocol()
    }

    /// Source and destination port; None when the protocol has none, for later fragments, and when they are cut off.
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.note(Facts::TUPLE.union(Facts::FRAGMENT));
        self.packet.ports()
    }

    /// The first two 16-bit fields behind the network header, the ports of a protocol that has them, when at least
    /// `header_len` (4 or more) bytes are there. Asks neither for the protocol nor whether it is a later fragment.
    pub fn ports_of(&self, header_len: usize) -> Option<(u16, u16)> {
        self.note(Facts::TUPLE.union(Facts::FRAGMENT));
        match *self.packet.l4() {
            [a, b, c, d, ..] if self.packet.l4().len() >= header_len => {
                Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
            }
            _ => None,
        }
    }

    /// Whether this is a fragment that is not the first.
    pub fn is_later_fragment(&self) -> bool {
        self.note(Facts::FRAGMENT);
        self.packet.is_later_fragment()
    }

    /// Fragment offset in units of 8 bytes; 0 for whole packets and first fragments.
    pub fn fragment_offset(&self) -> u16 {
        self.note(Facts::FRAGMENT);
        self.packet.head().fragment_offset
    }

    /// Fragment facts and header offsets, for matches on IPv6 extension headers.
    pub fn head(&self) -> &'a crate::packet::Headers {
        self.note(Facts::FRAGMENT.union(Facts::BYTES));
        self.packet.head()
    }

    /// From the transport header to the end of the packet. Empty when the packet ends before it; for a later fragment: its
    /// payload.
    pub fn l4(&self) -> &'a [u8] {
        self.note(Facts::TRANSPORT);
        self.packet.l4()
    }

    /// The TCP header when the first 20 bytes of it are there (whatever the protocol field says).
    pub fn tcp(&self) -> Option<Tcp<&'a [u8]>> {
        self.note(Facts::TRANSPORT);
        Tcp::new(self.packet.l4())
    }

    /// TCP flags, FIN lowest; None when the header is cut.
    pub fn tcp_flags(&self) -> Option<u8> {
        self.note(Facts::TCP_FLAGS);
        self.packet.l4().get(13).copied()
    }

    /// The whole packet from the network header on.
    pub fn bytes(&self) -> &'a [u8] {
        self.note(Facts::BYTES);
        self.packet.ip()
    }

    /// L3 length in bytes.
    pub fn length(&self) -> usize {
        self.note(Facts::LENGTH);
        self.packet.length()
    }

    /// TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        self.note(Facts::TTL);
        self.packet.ttl()
    }

    /// TOS byte or traffic class.
    pub fn tos(&self) -> u8 {
        self.note(Facts::TOS);
        self.packet.tos()
    }

    /// Packet mark.
    pub fn mark(&self) -> u32 {
        self.note(Facts::MARK);
        self.mark.get()
    }

    /// The hook.
    pub fn hook(&self) -> Hook {
        self.note(Facts::HOOK);
        self.ground.hook
    }

    /// The table.
    pub fn table(&self) -> TableId {
        self.note(Facts::HOOK);
        self.ground.table
    }

    /// The device it arrived by, if one shows at this hook (all but OUTPUT).
    pub fn iif(&self) -> Option<&'a Interface> {
        self.note(Facts::DEVICES);
        in_device(self.ground.hook, self.packet).and_then(|i| self.ground.net.interface(i))
    }

    /// The device it leaves by, if one shows at this hook (FORWARD, OUTPUT, POSTROUTING).
    pub fn oif(&self) -> Option<&'a Interface> {
        self.note(Facts::DEVICES);
        out_device(self.ground.hook, self.packet).and_then(|i| self.ground.net.interface(i))
    }

    /// The link header as received; empty where there is none.
    pub fn link_header(&self) -> &'a [u8] {
        self.note(Facts::LINK);
        self.packet.link_header()
    }

    /// The kind of link of the device it arrived by.
    pub fn link_kind(&self) -> Option<LinkKind> {
        self.iif().map(|i| i.kind)
    }

    /// To whom the frame was addressed.
    pub fn link_type(&self) -> LinkType {
        self.note(Facts::LINK);
        self.packet.meta.link_type
    }

    /// Whether it comes from this host.
    pub fn is_local(&self) -> bool {
        self.note(Facts::OWNER);
        matches!(self.packet.meta.origin, Origin::Local(_))
    }

    /// The socket it comes from.
    pub fn sender(&self) -> &'a Sender {
        self.note(Facts::OWNER);
        match &self.packet.meta.origin {
            Origin::Local(sender) => sender,
            Origin::Wire => &Sender::None,
        }
    }

    /// What tracking knows of it.
    pub fn tracked(&self) -> Tracked {
        self.note(Facts::CONN);
        self.packet.meta.tracked
    }

    /// What `-j CT` attached and tracking has not seen yet.
    pub fn template(&self) -> Option<&'a Template> {
        self.note(Facts::CONN);
        self.packet.meta.template.as_deref()
    }

    /// Its connection and what it is to it; None when INVALID, UNTRACKED or not tracked yet. Between `-j CT` and tracking the kernel
    /// shows what the target attached: a blank connection, and the packet as its first.
    pub fn conn(&self) -> Option<(&'a Conn, Class)> {
        self.note(Facts::CONN);
        match (self.packet.meta.tracked, &self.packet.meta.template) {
            (Tracked::Conn(id, class), _) => Some((self.conns.get(id)?, class)),
            (Tracked::No, Some(template)) => Some((self.conns.template(template, self.packet.family()), Class::New)),
            _ => None,
        }
    }

    /// The handle of its connection.
    pub fn conn_id(&self) -> Option<ConnId> {
        self.note(Facts::CONN);
        match self.packet.meta.tracked {
            Tracked::Conn(id, _) => Some(id),
            _ => None,
        }
    }

    /// The labels of its connection; None without a connection and where it has no room for labels. Not part of
    /// [`Facts::CONN`]: rules change them while packets pass.
    pub fn conn_labels(&self) -> Option<&'a Cell<u128>> {
        self.note(Facts::MEMORY);
        self.conn()?.0.extra()?.labels.as_ref()
    }

    /// Notes that the connection's counters are read.
    pub fn conn_counters(&self) -> Option<[crate::rule::Counter; 2]> {
        self.note(Facts::CONN_COUNTERS);
        let (conn, _) = self.conn()?;
        conn.counters()
    }

    /// Whole seconds the connection has left. A connection that is not confirmed has none yet: its life has not begun.
    pub fn conn_seconds_left(&self) -> Option<u64> {
        self.note(Facts::CONN_EXPIRY);
        let (conn, _) = self.conn()?;
        Some(if conn.status.has(Status::CONFIRMED) { conn.seconds_left(self.ground.now.mono) } else { 0 })
    }

    /// Any connection of the host, by handle (connlimit).
    pub fn other_conn(&self, id: ConnId) -> Option<&'a Conn> {
        self.note(Facts::OTHER_CONNS);
        self.conns.get(id)
    }

    /// The connection that a tuple belongs to in the zone of the direction it is found in, and that direction (connlimit).
    pub fn find_conn(&self, tuple: &Tuple, zone: Zone) -> Option<(ConnId, crate::track::Direction)> {
        self.note(Facts::OTHER_CONNS);
        self.conns.find_in(tuple, zone, self.ground.now.mono)
    }

    /// The tuple of this packet, as tracking would make it.
    pub fn tuple(&self) -> Option<Tuple> {
        self.note(Facts::TUPLE);
        Tuple::of_packet(self.packet)
    }

    /// The type of an address by the host's local table (`-m addrtype`); with a device: whether it is local there.
    pub fn address_type(&self, addr: Addr, dev: Option<IfIndex>) -> AddressType {
        self.note(Facts::HOST);
        self.ground.net.address_type(self.family(), addr, dev)
    }

    /// The way back to the source (`-m rpfilter`).
    pub fn reverse_path(&self, with_mark: bool) -> ReversePath {
        self.note(Facts::HOST);
        self.ground.net.reverse_path(self.packet, with_mark)
    }

    /// The route chosen for the packet.
    pub fn route(&self) -> Option<&'a Route> {
        self.note(Facts::ROUTE);
        self.packet.meta.route.as_ref()
    }

    /// The source that MASQUERADE gives this packet on the route it has; None without a route or an address.
    pub fn masquerade_source(&self) -> Option<Addr> {
        self.note(Facts::HOST.union(Facts::ROUTE));
        self.ground.net.masquerade_source(self.packet, self.packet.meta.route.as_ref()?)
    }

    /// The host's devices, addresses and routes.
    pub fn net(&self) -> &'a Net {
        self.note(Facts::HOST);
        self.ground.net
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        self.note(Facts::TIME);
        *self.ground.now
    }

    /// 32 random bits.
    pub fn random(&self) -> u32 {
        self.note(Facts::RANDOM);
        self.ground.rng.next_u32()
    }

    /// This extension's memory ([`Match::memory`](crate::rule::Match::memory)); None when it declared none of type `T`.
    pub fn memory<T: Any>(&self) -> Option<RefMut<'a, T>> {
        self.note(Facts::MEMORY);
        let cell = self.ground.memories.get(self.slot.get()? as usize)?;
        RefMut::filter_map(cell.try_borrow_mut().ok()?, |any| any.downcast_mut::<T>()).ok()
    }

    /// The host's sets, to be asked about this packet or changed by it; None while they are in use.
    pub fn sets(&self) -> Option<RefMut<'a, Sets>> {
        self.note(Facts::MEMORY);
        self.ground.sets.try_borrow_mut().ok()
    }

    /// The socket that TPROXY handed it to.
    pub fn socket(&self) -> Option<&'a Arc<Socket>> {
        self.note(Facts::OWNER);
        self.packet.meta.socket.as_ref()
    }

    /// The sockets that are known.
    pub fn sockets(&self) -> Known<'a> {
        self.note(Facts::OWNER);
        Known { listed: &self.ground.net.sockets, asked: self.ground.asked }
    }

    /// Gives the packet another mark, whether the rule fits or not: what only `socket --restore-skmark` does.
    pub fn give_mark(&self, mark: u32) {
        self.mark.set(mark);
    }

    /// Tells of something: what only `osf --log` does.
    pub fn tell(&self, event: Event) {
        if let Ok(mut told) = self.ground.told.try_borrow_mut() {
            told.push(event);
        }
    }

    /// The accounting objects, to count the packet in one; None while they are in use.
    pub fn accounts(&self) -> Option<RefMut<'a, Accounts>> {
        self.note(Facts::MEMORY);
        self.ground.accounts.try_borrow_mut().ok()
    }

    /// From here on the packet counts as sent to this host on its link. One of two things that a match may change, and only `cluster`
    /// does it: its nodes share a multicast link address.
    pub fn take_for_host(&self) {
        self.for_host.set(true);
    }

    /// Drops the packet on the spot: it is malformed for this match. The match then returns false.
    pub fn hotdrop(&self) -> bool {
        self.hotdrop.set(true);
        false
    }
}

/// The device that `-i` compares with at this hook. A forwarded packet still has it in POSTROUTING (since Linux 5.7): LOG shows
/// it there, and `-i` in a chain of the user's own matches.
pub(crate) fn in_device(hook: Hook, packet: &Packet) -> Option<IfIndex> {
    match hook {
        Hook::Postrouting if packet.meta.copied_on.is_some() => packet.meta.copied_on,
        Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Postrouting => packet.meta.iif,
        Hook::Output => None,
    }
}

/// The device that `-o` compares with at this hook.
pub(crate) fn out_device(hook: Hook, packet: &Packet) -> Option<IfIndex> {
    match hook {
        Hook::Forward | Hook::Output | Hook::Postrouting => packet.meta.oif,
        Hook::Prerouting | Hook::Input => None,
    }
}

/// What targets cause beside their verdict; carried out by the engine after the walk of the table, or where a copy stopped it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<Event>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) errors: Vec<IcmpError>,
}

impl Effects {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.copies.is_empty() && self.errors.is_empty()
    }
}

/// A copy that TEE asked for.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) packet: Packet,
    pub(crate) gateway: Addr,
    pub(crate) oif: Option<IfName>,
}

/// What a target may see and change.
pub struct Edit<'a> {
    packet: &'a mut Packet,
    conns: &'a mut Conns,
    ground: Ground<'a>,
    effects: &'a mut Effects,
    slot: Option<u32>,
}

impl<'a> Edit<'a> {
    pub(crate) fn new(
        packet: &'a mut Packet,
        conns: &'a mut Conns,
        ground: Ground<'a>,
        effects: &'a mut Effects,
        slot: Option<u32>,
    ) -> Edit<'a> {
        Edit { packet, conns, ground, effects, slot }
    }

    /// What a match would see now.
    pub fn look(&self) -> Look<'_> {
        let look = Look::new(self.packet, self.conns, self.ground);
        look.set_slot(self.slot);
        look
    }

    /// The packet, for changes to its bytes other than addresses and ports (those are NAT's, and NAT is a verdict).
    pub fn packet(&mut self) -> &mut Packet {
        self.packet
    }

    /// Sets the packet mark.
    pub fn set_mark(&mut self, mark: u32) {
        self.packet.meta.mark = mark;
    }

    /// Hands the packet to a socket of this host, which takes it if it is routed here.
    pub fn hand_to(&mut self, socket: Arc<Socket>) {
        self.packet.meta.socket = Some(socket);
    }

    /// Sets the queueing priority.
    pub fn set_priority(&mut self, priority: u32) {
        self.packet.meta.priority = priority;
    }

    /// Changes the connection's mark; nothing when there is no connection.
    pub fn set_conn_mark(&mut self, mark: u32) {
        match (self.packet.meta.tracked, &self.packet.meta.template) {
            (Tracked::Conn(id, _), _) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.mark = mark;
                }
            }
            (Tracked::No, Some(template)) => self.conns.mark_template(template, self.packet.family(), mark),
            _ => {}
        }
    }

    /// The connection, to be changed (labels).
    pub fn conn_mut(&mut self) -> Option<&mut Conn> {
        match self.packet.meta.tracked {
            Tracked::Conn(id, _) => self.conns.get_mut(id),
            _ => None,
        }
    }

    /// Takes the packet out of tracking (NOTRACK), where the packet is open to it: no connection, no template, not untracked yet.
    pub fn untrack(&mut self) {
        if self.is_open_to_ct() {
            self.packet.meta.tracked = Tracked::Untracked;
        }
    }

    /// Attaches a template (CT), where the packet is open to it: no connection, no template, not untracked yet.
    pub fn set_template(&mut self, template: &Arc<Template>) {
        if self.is_open_to_ct() {
            self.packet.meta.template = Some(Arc::clone(template));
        }
    }

    /// Whether tracking knows nothing of the packet: no connection, no template, not untracked, nor the answer to an untracked one.
    fn is_open_to_ct(&self) -> bool {
        let meta = &self.packet.meta;
        meta.tracked == Tracked::No && meta.template.is_none() && !meta.answers_untracked
    }

    /// Switches tracing on for this packet (TRACE).
    pub fn trace(&mut self) {
        self.packet.meta.trace = true;
    }

    /// Sends a copy to `gateway` (TEE), by `oif` if given, unless a copy is being sent.
    pub fn copy_to(&mut self, gateway: Addr, oif: Option<IfName>) {
        self.effects.copies.push(Copy { packet: self.packet.clone(), gateway, oif });
    }

    /// Tells the sender, by an ICMP error about the packet as it is after this table, whatever its verdict.
    pub fn tell_sender(&mut self, error: IcmpError) {
        self.effects.errors.push(error);
    }

    /// Reports something.
    pub fn event(&mut self, event: Event) {
        self.effects.events.push(event);
    }
}
