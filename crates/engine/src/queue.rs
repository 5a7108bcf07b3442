//! Packets that NFQUEUE gave to a program, on hold until it decides (`nf_queue`, `nf_reinject`).
//!
//! Which queues have a listener is told by [`Engine::set_queues`]. A packet for one of them is held, and comes out in
//! [`Output::queued`](crate::Output); it takes its connection along. [`Engine::resume`] sends it on from the place where it was, with what
//! the program changed.

use crate::engine::Engine;
use crate::event::Output;
use crate::fate::{DropReason, Fate};
use crate::hook::{Hook, Step};
use crate::link::segment;
use crate::net::IfIndex;
use crate::packet::{Offload, Packet};
use crate::path::{Onward, Path};
use crate::rule::TableId;
use crate::steps::rules::RouteKey;
use crate::time::Now;
use crate::track::{Status, Tracked, note_resized};
use hairpin_wire::{proto, tcp};
use std::ops::ControlFlow::{Break, Continue};

/// A packet on hold. Letting go of it without [`Engine::resume`] leaves its new connection, if it has one, in memory.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The queue.
    pub number: u16,
    /// The packet as the rule saw it.
    pub packet: Packet,
    /// Where it was.
    pub hook: Hook,
    /// The table whose rule gave it away.
    pub table: TableId,
}

impl Queued {
    /// The device it arrived by, if one shows at its hook.
    pub fn iif(&self) -> Option<IfIndex> {
        crate::look::in_device(self.hook, &self.packet)
    }

    /// The device it leaves by, if one shows at its hook.
    pub fn oif(&self) -> Option<IfIndex> {
        crate::look::out_device(self.hook, &self.packet)
    }
}

/// What a program decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: QueueVerdict,
    /// Its new mark.
    pub mark: Option<u32>,
    /// Its new bytes, from the network header on, of the same family. Checksums are the program's.
    pub packet: Option<Vec<u8>>,
}

impl Decision {
    /// This verdict, and nothing changed.
    pub const fn plain(verdict: QueueVerdict) -> Decision {
        Decision { verdict, mark: None, packet: None }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueVerdict {
    /// It ends here.
    Drop,
    /// It goes on behind the table that gave it away.
    Accept,
    /// That table is walked again.
    Repeat,
    /// It goes to another queue; without a listener there it is dropped.
    Queue(u16),
}

impl Engine {
    /// Which queues have a listener.
    pub fn set_queues(&mut self, numbers: &[u16]) {
        self.queues = numbers.to_vec();
    }

    /// Sends a packet on its way again. What comes of it, the packet included, is in `out.made`.
    pub fn resume(&mut self, now: &Now, queued: Queued, decision: Decision, out: &mut Output) {
        self.cause = 0;
        let Queued { number: _, mut packet, hook, table } = queued;
        let mut path = Path { engine: self, now, out };
        path.trace_packet(&packet);
        let end = path.decided(hook, table, decision, &mut packet);
        let (Continue(fate) | Break(fate)) = end;
        path.ended(fate);
        path.run_backlog();
        path.engine.tracker.report_change(path.now.mono, &mut path.out.events);
        path.engine.tracker.report_expectations(now.mono, &mut path.out.events);
        path.release(&packet);
        path.give_out(packet, fate);
        self.let_go_of_held();
    }
}

impl Path<'_> {
    /// A rule gave the packet to a queue. It is held, or ends, or goes on when there is nobody who takes it.
    #[cold]
    pub(crate) fn queue(&mut self, number: u16, bypass: bool, table: TableId, hook: Hook, p: &mut Packet) -> Onward {
        if !self.engine.queues.contains(&number) {
            return if bypass { Continue(()) } else { Break(Fate::Drop(DropReason::NoQueueListener)) };
        }
        self.note(|| format!("waits in queue {number}"));
        let mut packet = std::mem::take(p);
        let mut packets = Vec::new();
        if packet.meta.offload != Offload::default() {
            // A listener gets segments with checksums.
            packets = segment(&packet);
        }
        if packets.is_empty() {
            packet.complete_checksum();
            packets.push(packet);
        }
        self.out.queued.extend(packets.into_iter().map(|packet| Queued { number, packet, hook, table }));
        Break(Fate::Held)
    }

    fn decided(&mut self, hook: Hook, table: TableId, decision: Decision, p: &mut Packet) -> Onward<Fate> {
        let before = RouteKey::of(p);
        if let Some(mark) = decision.mark {
            p.meta.mark = mark;
        }
        if let Some(bytes) = decision.packet {
            self.replace(p, &bytes)?;
        }
        let is_it = |step: &Step| match step {
            Step::Nat(_) => table == TableId::Nat,
            step => *step == Step::Table(table),
        };
        let at = hook.steps().iter().position(is_it).unwrap_or(0);
        match decision.verdict {
            QueueVerdict::Drop => return Break(Fate::Drop(DropReason::QueueVerdict)),
            QueueVerdict::Queue(number) => self.queue(number, false, table, hook, p)?,
            QueueVerdict::Accept | QueueVerdict::Repeat => {}
        }
        if hook == Hook::Output && before != RouteKey::of(p) {
            self.reroute(p)?;
        }
        let from = if decision.verdict == QueueVerdict::Repeat { at } else { at + 1 };
        self.hook_from(hook, from, p)?;
        self.behind(hook, p)
    }

    /// The program's bytes instead of the packet's. What cannot be a packet of the same family ends here.
    fn replace(&mut self, p: &mut Packet, bytes: &[u8]) -> Onward {
        let mut whole = p.link_header().to_vec();
        whole.extend_from_slice(bytes);
        let Some(mut new) = p.with_bytes(whole).filter(|new| new.family() == p.family()) else {
            return Break(Fate::Drop(DropReason::BadHeader));
        };
        new.meta.checksum_seen = None;
        self.resized(p, &new);
        *p = new;
        Continue(())
    }

    /// The sequence numbers of a translated connection follow what the program made longer or shorter (`nfqnl_ct_seq_adjust`).
    fn resized(&mut self, old: &Packet, new: &Packet) {
        let change = new.length() as i32 - old.length() as i32;
        if change == 0 || old.protocol() != proto::TCP || new.protocol() != proto::TCP {
            return;
        }
        let Tracked::Conn(id, class) = old.meta.tracked else { return };
        let Some(conn) = self.engine.tracker.conns.get_mut(id) else { return };
        let is_translated = conn.status.has(Status::SRC_NAT) || conn.status.has(Status::DST_NAT);
        if let Some(tcp) = tcp::Tcp::new(old.l4()).filter(|_| is_translated) {
            note_resized(conn, class.direction(), tcp.seq(), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Batch, Change, Setup};
    use crate::rule::{Action, Compiled, Counter, Header, Rule, Ruleset};
    use crate::setup;
    use hairpin_wire::{Addr, Family, build};
    use std::sync::Arc;

    fn at(seconds: u64) -> Now {
        Now::from_unix_nanos(seconds * 1_000_000_000)
    }

    /// A router whose FORWARD gives everything to queue 0, by the old target QUEUE.
    fn router() -> Engine {
        let host = setup::Setup::default()
            .sysctl("net.ipv4.ip_forward=1")
            .and_then(|s| s.ethernet("lan0", &["192.168.1.1/24"]))
            .and_then(|s| s.ethernet("wan0", &["203.0.113.1/24"]));
        let mut engine = Engine::new(Setup::new(host.unwrap().build().unwrap()), &at(0), 1);
        let mut rules = Ruleset::new(Family::V4);
        let rule =
            Rule { header: Header::default(), matches: Vec::new(), action: Action::Queue, counter: Counter::default() };
        rules.table_mut(TableId::Filter).chain_mut("FORWARD").unwrap().rules.push(rule);
        engine.apply(&at(0), Change::Rules(Arc::new(Compiled::new(rules).unwrap()))).unwrap();
        engine.set_resolving(true);
        engine
    }

    fn udp() -> Packet {
        let (src, dst) = (Addr::v4(0xc0a8_0102), Addr::v4(0xcb00_7102));
        let bytes = build::Udp { src_port: 1000, dst_port: 53, payload: b"question" }.packet(Family::V4, src, dst);
        let mut packet = Packet::from_ip(&bytes).unwrap();
        packet.meta.iif = Some(IfIndex(2));
        packet
    }

    fn hand_over(engine: &mut Engine) -> (Fate, Output) {
        let mut out = Output::default();
        let (mut packets, mut fates) = ([udp()], [Fate::Deliver]);
        engine.handle(&at(1), &mut Batch { packets: &mut packets, fates: &mut fates }, &mut out);
        (fates[0], out)
    }

    #[test]
    fn nobody_listens() {
        assert_eq!(hand_over(&mut router()).0, Fate::Drop(DropReason::NoQueueListener));
    }

    #[test]
    fn what_waits_goes_on_where_it_was() {
        let mut engine = router();
        engine.set_queues(&[0]);
        let (fate, mut out) = hand_over(&mut engine);
        assert_eq!(fate, Fate::Held);
        let queued = out.queued.pop().unwrap();
        assert_eq!((queued.hook, queued.iif(), queued.oif()), (Hook::Forward, Some(IfIndex(2)), Some(IfIndex(3))));
        let bytes = queued.packet.ip().to_vec();
        let resume = |engine: &mut Engine, decision: Decision| {
            let mut out = Output::default();
            engine.resume(&at(2), queued.clone(), decision, &mut out);
            out
        };
        let accepted = resume(&mut engine, Decision::plain(QueueVerdict::Accept));
        assert_eq!(accepted.made[0].fate, Fate::Resolve { oif: IfIndex(3) });
        assert_eq!(accepted.made[0].packet.ttl(), 63);
        // Another mark and other bytes; the rest of the way is the same.
        let mut longer = bytes.clone();
        longer.extend([0; 4]);
        longer[3] += 4;
        let decision = Decision { verdict: QueueVerdict::Accept, mark: Some(7), packet: Some(longer) };
        let changed = resume(&mut engine, decision);
        assert_eq!((changed.made[0].packet.meta.mark, changed.made[0].packet.length()), (7, bytes.len() + 4));
        assert!(resume(&mut engine, Decision::plain(QueueVerdict::Drop)).made.is_empty());
        let again = resume(&mut engine, Decision::plain(QueueVerdict::Repeat));
        assert_eq!((again.made.len(), again.queued.len()), (0, 1), "the table is walked again");
        assert_eq!(resume(&mut engine, Decision::plain(QueueVerdict::Queue(0))).queued.len(), 1);
        assert!(resume(&mut engine, Decision::plain(QueueVerdict::Queue(9))).queued.is_empty());
        // Nonsense is dropped and counted.
        let nonsense = Decision { verdict: QueueVerdict::Accept, mark: None, packet: Some(vec![0x60; 10]) };
        assert!(resume(&mut engine, nonsense).made.is_empty());
        let dropped = |reason| engine.state().drops().find(|(r, _)| *r == reason).unwrap().1;
        assert_eq!((dropped(DropReason::QueueVerdict), dropped(DropReason::BadHeader)), (1, 1));
        assert_eq!(engine.state().conns().count(), 0);
    }
}
