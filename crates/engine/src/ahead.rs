//! Looking ahead in a batch: the memory of connections is on its way while packets before them are handled.
//!
//! What packets will look up in large sets is touched for many packets at once, so that the waits for it overlap. For connections,
//! where memory can be asked for without waiting for it ([`Prefetch`]), packets are seen to in groups, stage by stage: the index of
//! tuples two groups ahead of their turn, the connection one group ahead. Where it cannot, the memory of many packets is touched at
//! once, so that at least the waits for it overlap.

use crate::engine::Engine;
use crate::packet::Packet;
use crate::rule::{Live, Needs};
use crate::track::{Ahead, Tracked, Tuple};

/// Asks the processor to have the memory at an address at hand soon, without waiting for it and without a promise. The engine knows no
/// safe way to; who runs it may (`hairpin_datapath::prefetch`).
pub type Prefetch = fn(*const u8);

/// How many packets a stage sees to in one go: their memory is on its way at once, and a processor has room for some ten to
/// twenty lines on their way.
const GROUP: usize = 4;
/// How many packets of a batch are touched at once where waiting is the only way.
const AHEAD: usize = 64;

impl Engine {
    /// Looks ahead before packet `at` of a batch is handled. Changes nothing but what is noted to find connections sooner.
    #[inline]
    pub(crate) fn look_ahead(&self, packets: &mut [Packet], at: usize) {
        if packets.len() < 2 {
            return;
        }
        if at.is_multiple_of(AHEAD) {
            self.touch_sets(part(packets, at, at + AHEAD));
        }
        match self.prefetch {
            Some(ask) if at.is_multiple_of(GROUP) => self.ask_ahead(packets, at, ask),
            None if at.is_multiple_of(AHEAD) => self.touch_ahead(part(packets, at, at + AHEAD)),
            _ => {}
        }
    }

    /// Touches what these packets will look up in the large sets that rules ask.
    #[inline]
    fn touch_sets(&self, packets: &[Packet]) {
        for asked in self.live.iter().flat_map(Live::asked) {
            self.sets.borrow().look_ahead(asked, packets);
        }
    }

    #[inline(never)]
    fn ask_ahead(&self, packets: &mut [Packet], at: usize, ask: Prefetch) {
        let conns = &self.tracker.conns;
        // At the beginning nothing is under way yet.
        let first = |n: usize| if at == 0 { 0 } else { at + n * GROUP };
        for packet in part(packets, first(3), at + 4 * GROUP) {
            packet.meta.ahead = self.sought(packet);
            if let Some(ahead) = packet.meta.ahead {
                conns.ask_index(ahead, ask);
            }
        }
        for packet in part(packets, first(2), at + 3 * GROUP) {
            let Some(ahead) = &mut packet.meta.ahead else { continue };
            conns.look_ahead(ahead);
            if ahead.finds_nothing() {
                if let Some(tuple) = Tuple::of_packet(packet) {
                    conns.ask_for_new(&tuple, ask);
                }
            } else {
                conns.ask_found(*ahead, ask);
            }
        }
        for packet in part(packets, first(1), at + 2 * GROUP) {
            if let Some(ahead) = packet.meta.ahead {
                conns.ask_aside(ahead, ask);
            }
        }
    }

    /// What is looked for ahead of a packet's turn: nothing if tracking will not look at it.
    #[inline]
    fn sought(&self, packet: &Packet) -> Option<Ahead> {
        if packet.meta.tracked != Tracked::No || !self.needs(packet.family(), Needs::TRACKING) {
            return None;
        }
        Tuple::of_packet(packet).map(|tuple| Ahead::new(&tuple, self.tracker.conns.hash(&tuple, 0)))
    }

    #[inline(never)]
    fn touch_ahead(&self, packets: &mut [Packet]) {
        let conns = &self.tracker.conns;
        let mut seen = [None; AHEAD];
        for (packet, ahead) in packets.iter().zip(&mut seen) {
            *ahead = self.sought(packet);
        }
        // Short loops of their own, without branches that depend on what they wait for: a processor waits for as many places at once
        // as it can see coming.
        let mut touched = 0;
        for ahead in seen.iter().flatten() {
            touched ^= conns.touch_index(*ahead);
        }
        for ahead in seen.iter_mut().flatten() {
            conns.look_ahead(ahead);
        }
        for ahead in seen.iter().flatten() {
            touched ^= conns.touch_found(*ahead);
        }
        for ahead in seen.iter().flatten() {
            touched ^= conns.touch_aside(*ahead);
        }
        for (packet, ahead) in packets.iter_mut().zip(&seen) {
            packet.meta.ahead = *ahead;
            if ahead.is_some_and(|ahead| ahead.finds_nothing()) {
                touched ^= Tuple::of_packet(packet).map_or(0, |tuple| conns.touch_for_new(&tuple));
            }
        }
        std::hint::black_box(touched);
    }
}

/// Those of the packets that there are between two places.
fn part(packets: &mut [Packet], from: usize, until: usize) -> &mut [Packet] {
    let until = until.min(packets.len());
    packets.get_mut(from.min(until)..until).unwrap_or_default()
}
