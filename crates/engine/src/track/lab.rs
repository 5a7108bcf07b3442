//! A tracker alone, for tests that pass packets.

use super::{Class, Conn, ConnId, Knobs, Tracked, Tracker, confirm, enter};
use crate::event::Event;
use crate::fate::DropReason;
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::{Instant, Now, Wall};
use hairpin_wire::build::Udp;
use hairpin_wire::{Addr, Family};

/// A tracker alone: packets enter at PREROUTING and, unless told otherwise, are confirmed at once.
pub(crate) struct Lab {
    pub(crate) tracker: Tracker,
    pub(crate) knobs: Knobs,
    pub(crate) now: Now,
    pub(crate) events: Vec<Event>,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let now = Now { mono: Instant::from_secs(1000), wall: Wall(1_700_000_000_000_000_000) };
        Lab { tracker: Tracker::new((1, 2)), knobs: Knobs::default(), now, events: Vec::new() }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now.mono.0 += millis * 1_000_000;
        self.now.wall.0 += millis * 1_000_000;
    }

    /// A packet enters and leaves.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<Tracked, DropReason> {
        let mut packet = Packet::from_ip(bytes).expect("a packet");
        self.pass_packet(&mut packet)
    }

    pub(crate) fn pass_packet(&mut self, packet: &mut Packet) -> Result<Tracked, DropReason> {
        let came = self.enter(packet, Hook::Prerouting);
        let went = came.and_then(|()| self.confirm(packet));
        let tracked = packet.meta.tracked;
        self.tracker.release(packet);
        went.map(|()| tracked)
    }

    pub(crate) fn enter(&mut self, packet: &mut Packet, hook: Hook) -> Result<(), DropReason> {
        enter(&mut self.tracker, packet, hook, &self.now, &self.knobs, &mut self.events)
    }

    pub(crate) fn confirm(&mut self, packet: &mut Packet) -> Result<(), DropReason> {
        confirm(&mut self.tracker, packet, &self.now, &self.knobs, &mut self.events)
    }

    /// What a packet is found to be; None when it is INVALID.
    pub(crate) fn class(&mut self, bytes: &[u8]) -> Option<Class> {
        match self.pass(bytes).expect("not dropped") {
            Tracked::Conn(_, class) => Some(class),
            Tracked::No => None,
            Tracked::Untracked => panic!("untracked"),
        }
    }

    /// The only connection.
    pub(crate) fn only(&self) -> (ConnId, &Conn) {
        let mut all = self.tracker.conns.iter();
        let one = all.next().expect("one connection");
        assert!(all.next().is_none(), "more than one connection");
        one
    }

    /// How many connections are in the table.
    pub(crate) fn count(&self) -> usize {
        self.tracker.conns.iter().count()
    }
}

/// `10.0.0.a`.
pub(crate) fn host(a: u8) -> Addr {
    Addr::v4(0x0a00_0000 | u32::from(a))
}

/// A datagram from port to port of two of these.
pub(crate) fn udp(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
    Udp { src_port: from.1, dst_port: to.1, payload: b"data" }.packet(Family::V4, host(from.0), host(to.0))
}
