//! The engine: its calls, and what it owns.

use crate::account::{Account, AccountError, AccountRequest, Accounts};
use crate::ahead::Prefetch;
use crate::event::{Event, Made, Output, TraceStep, TraceWhat};
use crate::fate::{DropReason, Fate};
use crate::hook::{Plan, Step};
use crate::link::solicit::{self, Solicitor};
use crate::link::synproxy::Cookies;
use crate::link::{FragCounters, IcmpLimiter, OpenPorts, Reassembler};
use crate::look::Effects;
use crate::net::{IfIndex, Net};
use crate::packet::{Offload, Packet};
use crate::path::Path;
use crate::rng::Rng;
use crate::route::known::KnownRoutes;
use crate::route::path_mtu::PathMtus;
use crate::rule::{Compiled, Counter, Live, LoadError, Memories, Needs, Table, TableId};
use crate::set::Sets;
use crate::socket::Ask;
use crate::steps::link::{load, take};
use crate::time::{Instant, Now};
use crate::track::{Conn, ConnId, Direction, Knobs, Tracked, Tracker};
use hairpin_wire::{Addr, Family, Mac};
use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// How often a packet of this host may come back over `lo` before it is taken for a loop: more often than a TTL lets one, which is all
/// that ends it in Linux.
pub const LOOP_LIMIT: u32 = 300;

/// What an engine starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The host: devices, addresses, routes, settings.
    pub net: Arc<Net>,
    /// IPv4 rules.
    pub rules4: Arc<Compiled>,
    /// IPv6 rules.
    pub rules6: Arc<Compiled>,
    /// The sets that rules ask and change.
    pub sets: Sets,
    /// The accounting objects that rules count in.
    pub accounts: Accounts,
    /// Ports that something on this host listens on; everything else is closed.
    pub open_ports: OpenPorts,
}

impl Setup {
    /// A host without rules and with every port closed.
    pub fn new(net: Net) -> Setup {
        Setup {
            net: Arc::new(net),
            rules4: Arc::new(Compiled::empty(Family::V4)),
            rules6: Arc::new(Compiled::empty(Family::V6)),
            sets: Sets::default(),
            accounts: Accounts::default(),
            open_ports: OpenPorts::default(),
        }
    }
}

/// A change to a running engine. It happens wholly or not at all, and between two packets.
#[derive(Clone, Debug)]
pub enum Change {
    /// All rules of the family. Tables that the new value shares with the present one keep their counters and memories.
    Rules(Arc<Compiled>),
    /// One table.
    Table(Family, Table),
    /// All counters of a table to zero.
    ZeroCounters(Family, TableId),
    /// Devices, addresses, routes, settings. MASQUERADE forgets connections of devices that went down and of addresses that
    /// are gone.
    Net(Arc<Net>),
    /// Which ports are open.
    OpenPorts(OpenPorts),
    /// Forgets a connection.
    DeleteConn(ConnId),
    /// Forgets all connections.
    FlushConns,
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The rules cannot be loaded.
    Rules(LoadError),
    /// There is no such connection.
    NoConn,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Rules(e) => e.fmt(f),
            Refused::NoConn => f.write_str("no such connection"),
        }
    }
}

impl std::error::Error for Refused {}

/// Packets to be handled, and room for what becomes of each.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The packets. A packet from a device has `meta.iif` set; one of this host has `meta.origin` set to Local.
    pub packets: &'a mut [Packet],
    /// The fate of each; as many as packets.
    pub fates: &'a mut [Fate],
}

/// Netfilter and the router around it. It reads no clock, opens nothing and prints nothing: packets and time come in, packets and
/// events go out.
///
/// ```text
/// apply            a change of rules, host or connections        may be refused
/// handle           a batch of packets                            cannot fail: each packet gets a fate
/// poll_timeout     when handle_timeout wants to be called        
/// handle_timeout   fragments and connections that ran out
/// state            rules, counters, connections, drops           read only
/// ```
///
/// A batch gives the same result as its packets one by one.
pub struct Engine {
    pub(crate) net: Arc<Net>,
    pub(crate) live: [Live; 2],
    pub(crate) memories: Memories,
    pub(crate) needs: [Needs; 2],
    /// The steps at each hook that the rules give something to do, by family.
    plans: [Plan; 2],
    pub(crate) tracker: Tracker,
    /// Routes that connections remember.
    pub(crate) known_routes: KnownRoutes,
    /// The router that the last packet was sent to, and its link address.
    pub(crate) last_hop: Option<((Family, IfIndex, Addr), Mac)>,
    pub(crate) reassembler: Reassembler,
    pub(crate) limiter: IcmpLimiter,
    pub(crate) path_mtus: PathMtus,
    pub(crate) open_ports: OpenPorts,
    pub(crate) rng: Rng,
    /// What SYNPROXY gives to clients that it does not know yet.
    pub(crate) cookies: Cookies,
    /// Asked and changed by rules while they are walked.
    pub(crate) sets: RefCell<Sets>,
    pub(crate) accounts: RefCell<Accounts>,
    /// Who knows the sockets that are open.
    pub(crate) asked: Option<Arc<dyn Ask>>,
    /// Packets of this host to itself, on their way over `lo`.
    pub(crate) backlog: VecDeque<Packet>,
    /// Connections that go when nothing is under way any more.
    held: Vec<ConnId>,
    /// Queues that have a listener.
    pub(crate) queues: Vec<u16>,
    /// A copy made by TEE is being sent: no other is made meanwhile.
    pub(crate) sending_copy: bool,
    /// Tracking's settings: the host's, and what rules switch on.
    pub(crate) knobs: Knobs,
    /// Reused by each walk of a table.
    pub(crate) effects: Effects,
    /// An ICMP message is being sent: the stack makes no other meanwhile.
    pub(crate) sending_icmp: bool,
    /// The batch position of the packet being handled.
    pub(crate) cause: usize,
    /// That packet is done with, and what this host sent to itself is being handled.
    is_later: bool,
    /// Events of changes, given out with the next packets.
    pub(crate) late_events: Vec<Event>,
    tracing: bool,
    /// Every packet is traced.
    trace_all: bool,
    /// The positions of the next batch that are traced.
    trace_next: u64,
    /// The caller finds out link addresses that are not known.
    pub(crate) resolving: bool,
    /// IPv6 neighbors that are being asked for where nobody else does it.
    pub(crate) solicitor: Solicitor,
    drops: Vec<u64>,
    pub(crate) prefetch: Option<Prefetch>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({} connections)", self.tracker.conns.count())
    }
}

impl Engine {
    /// An engine for this host, begun at `now`. Everything it chooses by chance (ports, ids, hash keys) comes from `seed`; a live gateway takes
    /// it from the system's random source, a replay a fixed one.
    pub fn new(setup: Setup, now: &Now, seed: u64) -> Engine {
        let rng = Rng::new(seed);
        let mut live = [Live::new(Family::V4), Live::new(Family::V6)];
        let needs = [setup.rules4.needs(), setup.rules6.needs()];
        let plans = [plan(&setup.rules4), plan(&setup.rules6)];
        let mut sets = setup.sets;
        let mut memories = Memories::default();
        live[0].replace(setup.rules4, &mut memories, &mut sets, now);
        live[1].replace(setup.rules6, &mut memories, &mut sets, now);
        let mut engine = Engine {
            net: setup.net,
            live,
            memories,
            needs,
            plans,
            tracker: Tracker::new(rng.key()),
            known_routes: KnownRoutes::default(),
            last_hop: None,
            reassembler: Reassembler::default(),
            limiter: IcmpLimiter::default(),
            path_mtus: PathMtus::default(),
            open_ports: setup.open_ports,
            cookies: Cookies::new(rng.key_for("SYN cookies")),
            rng,
            sets: RefCell::new(sets),
            accounts: RefCell::new(setup.accounts),
            asked: None,
            backlog: VecDeque::new(),
            held: Vec::new(),
            queues: Vec::new(),
            sending_copy: false,
            knobs: Knobs::default(),
            effects: Effects::default(),
            sending_icmp: false,
            cause: 0,
            is_later: false,
            late_events: Vec::new(),
            tracing: false,
            trace_all: false,
            trace_next: 0,
            resolving: false,
            solicitor: Solicitor::default(),
            drops: vec![0; DropReason::ALL.len()],
            prefetch: None,
        };
        engine.set_knobs();
        engine
    }

    /// `connbytes` switches accounting on, `connlabel` labels, for connections made from then on.
    fn set_knobs(&mut self) {
        self.knobs = self.net.sysctl.track.clone();
        self.knobs.accounting |= self.needs.iter().any(|n| n.contains(Needs::ACCOUNTING));
        self.tracker.labels = self.needs.iter().any(|n| n.contains(Needs::LABELS));
    }

    /// Makes a change, all or nothing.
    pub fn apply(&mut self, now: &Now, change: Change) -> Result<(), Refused> {
        match change {
            Change::Rules(rules) => {
                self.find_what_they_name(&rules)?;
                self.put_rules(rules, now);
            }
            Change::Table(family, table) => {
                let rules = self.live[index(family)].compiled().with_table(table).map_err(Refused::Rules)?;
                self.find_what_they_name(&rules)?;
                self.put_rules(Arc::new(rules), now);
            }
            Change::ZeroCounters(family, table) => self.live[index(family)].zero(table),
            Change::Net(net) => self.put_net(net),
            Change::OpenPorts(ports) => self.open_ports = ports,
            Change::DeleteConn(id) => {
                if !self.tracker.remove(id, &mut self.late_events) {
                    return Err(Refused::NoConn);
                }
            }
            Change::FlushConns => self.forget(|_| true),
        }
        Ok(())
    }

    /// Rules name only sets, accounting objects and estimators that exist, and agree on what they share.
    fn find_what_they_name(&self, rules: &Compiled) -> Result<(), Refused> {
        let [four, six] = &self.live;
        let checked = rules.check_sets(&self.sets.borrow());
        let checked = checked.and_then(|()| rules.check_accounts(&self.accounts.borrow()));
        checked.and_then(|()| rules.check_shared([four.compiled(), six.compiled()])).map_err(Refused::Rules)
    }

    /// Takes up what a match of a rule kept over a restart; named as [`State::kept`] names it.
    pub fn take_up_memory(
        &mut self,
        now: &Now,
        family: Family,
        table: TableId,
        (place, nth): (usize, usize),
        kept: &[u64],
    ) {
        self.live[index(family)].take_up(&mut self.memories, table, (place, nth), kept, now);
    }

    /// Adds to counters of a table, each named by its place in [`State::counters`]: what was counted while rules were being changed,
    /// or before a restart.
    pub fn add_counters(&mut self, family: Family, table: TableId, more: &[(usize, Counter)]) {
        self.live[index(family)].add_counters(table, more);
    }

    fn put_rules(&mut self, rules: Arc<Compiled>, now: &Now) {
        let family = index(rules.family);
        self.needs[family] = rules.needs();
        self.plans[family] = plan(&rules);
        self.known_routes.forget();
        self.live[family].replace(rules, &mut self.memories, self.sets.get_mut(), now);
        self.set_knobs();
    }

    fn put_net(&mut self, net: Arc<Net>) {
        let old = std::mem::replace(&mut self.net, net);
        self.known_routes.forget();
        self.last_hop = None;
        self.set_knobs();
        let new = Arc::clone(&self.net);
        for before in &old.interfaces {
            let after = new.interfaces.iter().find(|i| i.name == before.name && i.index == before.index);
            let Some(after) = after.filter(|i| i.up) else {
                self.forget(|conn| conn.masquerade() == Some(before.index));
                continue;
            };
            for gone in before.addresses.iter().filter(|a| !after.addresses.iter().any(|b| b.addr == a.addr)) {
                self.forget(|conn| is_masqueraded_by(conn, before.index, gone.family, gone.addr));
            }
        }
    }

    fn forget(&mut self, which: impl Fn(&Conn) -> bool) {
        let ids: Vec<ConnId> = self.tracker.conns.iter().filter(|(_, conn)| which(conn)).map(|(id, _)| id).collect();
        for id in ids {
            self.tracker.remove(id, &mut self.late_events);
        }
    }

    /// Handles a batch of packets. Each gets exactly one fate; what the engine makes beside them is in `out.made`, in order, and
    /// leaves before the packet that caused it or, where it says so, after it.
    pub fn handle(&mut self, now: &Now, batch: &mut Batch<'_>, out: &mut Output) {
        self.handle_timeout(now, out);
        let traced = std::mem::take(&mut self.trace_next);
        for at in 0..batch.packets.len() {
            self.look_ahead(batch.packets, at);
            self.cause = at;
            if traced != 0 {
                self.tracing = self.trace_all || traced.checked_shr(at as u32).unwrap_or(0) & 1 != 0;
            }
            let Some(packet) = batch.packets.get_mut(at) else { break };
            let fate = self.handle_one(now, packet, out);
            if let Some(place) = batch.fates.get_mut(at) {
                *place = fate;
            }
        }
        self.tracing = self.trace_all;
    }

    /// Takes one frame from a device: reads it into `packet` (whose buffer is reused), checks it and handles it. Bytes that are no
    /// packet are counted and dropped like any other.
    pub fn receive_frame(
        &mut self,
        now: &Now,
        dev: IfIndex,
        frame: &[u8],
        packet: &mut Packet,
        out: &mut Output,
    ) -> Fate {
        if let Err(reason) = self.read_frame(dev, frame, Offload::default(), packet) {
            return Fate::Drop(reason);
        }
        let mut fates = [Fate::Held];
        self.handle(now, &mut Batch { packets: std::slice::from_mut(packet), fates: &mut fates }, out);
        fates[0]
    }

    /// Reads one frame from a device into `packet` (whose buffer is reused), to be handled later in a batch. Bytes that are no
    /// packet are counted as dropped, for the reason given. `offload`: what the device left undone.
    pub fn read_frame(
        &mut self,
        dev: IfIndex,
        frame: &[u8],
        offload: Offload,
        packet: &mut Packet,
    ) -> Result<(), DropReason> {
        let device = self.net.interface(dev).filter(|d| d.up);
        let read = match device {
            Some(device) => load(packet, frame, offload, device),
            None => Err(DropReason::NoDevice),
        };
        if let Err(reason) = read {
            self.count_drop(reason);
        }
        read
    }

    /// As [`read_frame`](Engine::read_frame); the frame's buffer and the packet's change places.
    pub fn take_frame(
        &mut self,
        dev: IfIndex,
        frame: &mut Vec<u8>,
        offload: Offload,
        packet: &mut Packet,
    ) -> Result<(), DropReason> {
        let device = self.net.interface(dev).filter(|d| d.up);
        let read = match device {
            Some(device) => take(packet, frame, offload, device),
            None => Err(DropReason::NoDevice),
        };
        if let Err(reason) = read {
            self.count_drop(reason);
        }
        read
    }

    fn handle_one(&mut self, now: &Now, packet: &mut Packet, out: &mut Output) -> Fate {
        let mut path = Path { engine: self, now, out };
        path.trace_packet(packet);
        let fate = path.walk(packet);
        path.ended(fate);
        path.run_backlog();
        path.engine.tracker.report_change(path.now.mono, &mut path.out.events);
        path.engine.tracker.report_expectations(now.mono, &mut path.out.events);
        path.release(packet);
        self.let_go_of_held();
        fate
    }

    #[inline]
    pub(crate) fn let_go_of_held(&mut self) {
        while let Some(id) = self.held.pop() {
            self.tracker.conns.let_go(id);
        }
    }

    /// Lets go of what ran out of time: connections, expectations, incomplete fragments.
    pub fn handle_timeout(&mut self, now: &Now, out: &mut Output) {
        // What time makes comes before the first packet of a batch.
        self.cause = 0;
        if self.known_routes.is_worn_out() {
            self.tracker.conns.forget_routes();
            self.known_routes = KnownRoutes::default();
        }
        out.events.append(&mut self.late_events);
        self.tracker.expire(now.mono, &self.knobs, &mut out.events);
        self.tracker.report_expectations(now.mono, &mut out.events);
        self.expire_fragments(now, out);
        self.ask_for_neighbors(now, out);
    }

    /// Asks again for neighbors that do not answer, and gives them up.
    fn ask_for_neighbors(&mut self, now: &Now, out: &mut Output) {
        while let Some(step) = self.solicitor.step(now.mono, &self.net) {
            let mut path = Path { engine: self, now, out };
            match step {
                solicit::Step::Ask(question) => path.say(*question),
                solicit::Step::GiveUp(packets) => packets.iter().for_each(|packet| path.neighbor_failed(packet)),
            }
            // This host may have told itself.
            path.run_backlog();
            self.let_go_of_held();
        }
    }

    /// Fragments that waited too long: the sender is told if the packet was for this host and its first piece had come.
    fn expire_fragments(&mut self, now: &Now, out: &mut Output) {
        if self.reassembler.next_timeout().is_none_or(|due| due > now.mono) {
            return;
        }
        let mut expired = Vec::new();
        self.reassembler.expire(now.mono, &mut expired);
        for mut piece in expired {
            Path { engine: self, now, out }.fragment_expired(&mut piece.packet, piece.user);
        }
    }

    /// When [`Engine::handle_timeout`] has something to do; None while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.tracker.next_expiry(), self.reassembler.next_timeout(), self.solicitor.next_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// Whether each step of each packet is noted in [`Output::trace`].
    pub fn set_tracing(&mut self, on: bool) {
        self.tracing = on;
        self.trace_all = on;
    }

    /// Notes the steps of those packets of the next batch whose bit is set (the first packet's is the lowest), and of no others unless
    /// all are traced.
    pub const fn trace_in_next_batch(&mut self, which: u64) {
        self.trace_next = which;
    }

    /// Whether the caller finds out the link addresses of next hops that the host does not know ([`Fate::Resolve`]).
    pub fn set_resolving(&mut self, on: bool) {
        self.resolving = on;
    }

    /// Who is asked for the sockets of this host that are not listed. What its processes send was allowed its source address by the real
    /// host then.
    pub fn set_sockets(&mut self, asked: Option<Arc<dyn Ask>>) {
        self.asked = asked;
    }

    /// How memory is asked for ahead of its use. Without, packets of a batch wait for it together: nothing else changes.
    pub const fn set_prefetch(&mut self, prefetch: Option<Prefetch>) {
        self.prefetch = prefetch;
    }

    /// The next hop of a packet with fate [`Fate::Resolve`] does not answer: its sender is told.
    pub fn unresolved(&mut self, now: &Now, packet: &Packet, out: &mut Output) {
        self.count_drop(DropReason::NoNeighbor);
        let mut path = Path { engine: self, now, out };
        path.neighbor_failed(packet);
        path.run_backlog();
        self.let_go_of_held();
    }

    pub(crate) const fn is_tracing(&self) -> bool {
        self.tracing
    }

    /// Counts a packet that never became one: bytes that cannot be read as a packet.
    pub fn count_drop(&mut self, reason: DropReason) {
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Does something with the accounting objects; what was listed is the answer.
    ///
    /// # Errors
    /// Nothing was done.
    pub fn account(&mut self, request: AccountRequest) -> Result<Vec<Account>, AccountError> {
        let [four, six] = &self.live;
        let is_used = |name: &str| four.compiled().uses_account(name) || six.compiled().uses_account(name);
        self.accounts.get_mut().perform(request, is_used)
    }

    /// Takes up an accounting object from a snapshot.
    pub fn take_up_account(&mut self, before: Account) {
        self.accounts.get_mut().take_up(before);
    }

    /// The sets, to be changed between two packets.
    pub fn sets(&mut self) -> &mut Sets {
        self.sets.get_mut()
    }

    /// What there is to see.
    pub fn state(&self) -> State<'_> {
        State { engine: self }
    }
}

impl Path<'_> {
    /// Packets of this host to itself that left by `lo` arrive there.
    #[inline]
    pub(crate) fn run_backlog(&mut self) {
        if !self.engine.backlog.is_empty() {
            self.run_all_backlog();
        }
    }

    #[inline(never)]
    fn run_all_backlog(&mut self) {
        let mut rounds = 0;
        self.engine.is_later = true;
        while let Some(mut packet) = self.engine.backlog.pop_front() {
            rounds += 1;
            if rounds > LOOP_LIMIT {
                self.ended(Fate::Drop(DropReason::LoopLimit));
                continue;
            }
            self.trace_packet(&packet);
            let fate = match self.arrive(&mut packet) {
                std::ops::ControlFlow::Continue(fate) | std::ops::ControlFlow::Break(fate) => fate,
            };
            self.ended(fate);
            self.release(&packet);
            self.give_out(packet, fate);
        }
        self.engine.is_later = false;
    }

    /// A packet lets go of its connection at its end. One that an error about it, still under way over `lo`, belongs to as well stays
    /// until the packet of the batch is done.
    #[inline]
    pub(crate) fn release(&mut self, packet: &Packet) {
        let Tracked::Conn(id, _) = packet.meta.tracked else { return };
        let is_alone = self.engine.backlog.is_empty();
        // Nearly every packet.
        if is_alone && self.engine.tracker.conns.get(id).is_none_or(Conn::is_in_table) {
            return;
        }
        self.release_with_care(packet);
    }

    #[inline(never)]
    fn release_with_care(&mut self, packet: &Packet) {
        let Some(id) = self.engine.tracker.takes_along(packet) else { return };
        if self.engine.backlog.is_empty() {
            self.engine.tracker.conns.let_go(id);
        } else {
            self.engine.held.push(id);
        }
    }

    /// A packet that did not come with the batch, at its end.
    pub(crate) fn give_out(&mut self, packet: Packet, fate: Fate) {
        if matches!(fate, Fate::Transmit { .. } | Fate::Resolve { .. } | Fate::Deliver) {
            self.out.made.push(Made { packet, fate, cause: self.engine.cause, after: self.engine.is_later });
        }
    }

    /// Counts and traces a packet's end.
    #[inline]
    pub(crate) fn ended(&mut self, fate: Fate) {
        if let Fate::Drop(reason) = fate {
            self.engine.count_drop(reason);
        }
        if self.engine.is_tracing() {
            self.trace(TraceWhat::Fate(fate));
        }
    }

    pub(crate) fn trace(&mut self, what: TraceWhat) {
        self.out.trace.push(TraceStep { cause: self.engine.cause, what });
    }

    /// Says something in the trace.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.engine.is_tracing() {
            let text = text();
            self.trace(TraceWhat::Note(text));
        }
    }

    pub(crate) fn trace_hook(&mut self, hook: crate::Hook) {
        if self.engine.is_tracing() {
            self.trace(TraceWhat::Hook(hook));
        }
    }

    pub(crate) fn trace_packet(&mut self, packet: &Packet) {
        if self.engine.is_tracing() {
            self.trace(TraceWhat::Packet(packet.describe()));
        }
    }

    /// Reports something.
    pub(crate) fn report(&mut self, event: Event) {
        self.out.events.push(event);
    }
}

const fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl Engine {
    pub(crate) fn plan(&self, family: Family) -> &Plan {
        &self.plans[index(family)]
    }

    /// Whether some rule of the family needs this.
    pub(crate) fn needs(&self, family: Family, what: Needs) -> bool {
        self.needs[index(family)].contains(what)
    }
}

/// What there is to do at each hook under these rules.
fn plan(rules: &Compiled) -> Plan {
    let needs = rules.needs();
    Plan::new(|step| match step {
        Step::Defragment => needs.contains(Needs::TRACKING) || needs.contains(Needs::DEFRAGMENT),
        Step::Table(table) => rules.flat(table).is_some(),
        Step::Track | Step::Confirm => needs.contains(Needs::TRACKING),
        Step::Nat(_) => rules.flat(TableId::Nat).is_some(),
    })
}

fn is_masqueraded_by(conn: &Conn, dev: IfIndex, family: Family, addr: Addr) -> bool {
    conn.masquerade() == Some(dev) && conn.family() == family && conn.tuple(Direction::Reply).dst == addr
}

/// A read-only view of an engine.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    engine: &'a Engine,
}

impl<'a> State<'a> {
    /// The rules in force.
    pub fn rules(&self, family: Family) -> &'a Arc<Compiled> {
        self.engine.live[index(family)].compiled()
    }

    /// The counters of a table, chain by chain: each rule in order, then the policy (or the hidden end of a user chain).
    pub fn counters(&self, family: Family, table: TableId) -> &'a [Counter] {
        self.engine.live[index(family)].counters(table)
    }

    /// What matches of a table want kept over a restart: the place of the rule among the counters, which of its matches, the numbers.
    pub fn kept(&self, now: &Now, family: Family, table: TableId) -> Vec<(usize, usize, Vec<u64>)> {
        self.engine.live[index(family)].kept(&self.engine.memories, table, now)
    }

    /// The counter of one rule (from 1) or of a policy (0).
    pub fn counter(&self, family: Family, table: TableId, chain: &str, rule: usize) -> Option<Counter> {
        self.engine.live[index(family)].counter(table, chain, rule)
    }

    /// The connections in the table, in a fixed order.
    pub fn conns(&self) -> impl Iterator<Item = (ConnId, &'a Conn)> + use<'a> {
        self.engine.tracker.conns.iter()
    }

    /// Tracking's own state: expectations, statistics.
    pub fn tracker(&self) -> &'a Tracker {
        &self.engine.tracker
    }

    /// The host.
    pub fn net(&self) -> &'a Arc<Net> {
        &self.engine.net
    }

    /// The accounting objects. Not to be held while packets are handled.
    pub fn accounts(&self) -> Ref<'a, Accounts> {
        self.engine.accounts.borrow()
    }

    /// The sets. Not to be held while packets are handled.
    pub fn sets(&self) -> Ref<'a, Sets> {
        self.engine.sets.borrow()
    }

    /// Memory of fragments that wait for others.
    pub fn fragment_bytes(&self, family: Family) -> usize {
        self.engine.reassembler.bytes(family)
    }

    /// What became of fragments.
    pub fn fragments(&self) -> FragCounters {
        self.engine.reassembler.counters()
    }

    /// How many packets were dropped for each reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + use<'a> {
        DropReason::ALL.iter().copied().zip(self.engine.drops.iter().copied())
    }
}
