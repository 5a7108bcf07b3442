//! What the engine reports beside packets.

use crate::fate::Fate;
use crate::hook::Hook;
use crate::net::IfIndex;
use crate::packet::Packet;
use crate::queue::Queued;
use crate::rule::{TableId, Verdict};
use crate::track::{Conn, ConnId, ExpectRecord, Record};
use hairpin_wire::Family;
use std::sync::Arc;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A line of the LOG target, in the kernel log's form, without a time stamp.
    Log {
        /// Syslog level, 0..=7.
        level: u8,
        /// The line.
        line: String,
    },
    /// A line about a packet that met the TRACE target, in the kernel log's form (its level is 4, warning).
    Trace(String),
    /// A packet for an NFLOG group.
    Nflog(Box<NflogPacket>),
    /// A message the kernel would write to its log (table full, martians, no address to masquerade with).
    Kernel(String),
    /// A connection was entered into the table; as it was then, while [`Tracker::watched`](crate::track::Tracker::watched).
    ConnNew(ConnId, Option<Box<Record>>),
    /// A tool changed a connection; or a packet did, while [`Tracker::watched`](crate::track::Tracker::watched). As it was then.
    ConnChanged(ConnId, Option<Box<Record>>),
    /// A connection was removed; its last state.
    ConnGone(Box<Conn>),
    /// A connection is expected, while [`Tracker::watched`](crate::track::Tracker::watched).
    ExpectNew(Box<ExpectRecord>),
    /// An expected connection came, or is not expected any more, while someone watches.
    ExpectGone(Box<ExpectRecord>),
    /// An invariant did not hold. Please report it.
    Bug(&'static str),
}

/// A packet that the NFLOG target was shown.
#[derive(Clone, Debug)]
pub struct NflogPacket {
    /// The group.
    pub group: u16,
    /// The prefix, at most 64 bytes.
    pub prefix: Arc<str>,
    /// The packet from the network header on, cut to the size asked for.
    pub bytes: Vec<u8>,
    /// Its family.
    pub family: Family,
    /// Where it was.
    pub hook: Hook,
    /// The device it arrived by, if one shows at this hook.
    pub iif: Option<IfIndex>,
    /// The device it leaves by, if one shows at this hook.
    pub oif: Option<IfIndex>,
    /// Its mark.
    pub mark: u32,
    /// The link header as received; empty where there is none.
    pub link_header: Vec<u8>,
}

/// A packet that the engine made or gave back, in order.
#[derive(Clone, Debug)]
pub struct Made {
    /// The packet.
    pub packet: Packet,
    /// What is to become of it.
    pub fate: Fate,
    /// The position in the batch of the packet that was being handled.
    pub cause: usize,
    /// It leaves after that packet, not before it: it came of what this host sent to itself meanwhile, which waits until the packet is
    /// done with.
    pub after: bool,
}

impl Made {
    /// The position in the batch of the packet before which it leaves.
    pub fn before(&self) -> usize {
        self.cause + usize::from(self.after)
    }
}

/// Where the engine puts what comes out beside the batch itself. The caller keeps and reuses it.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Packets made: answers, errors, fragments, copies, reassembled packets.
    pub made: Vec<Made>,
    /// Packets that wait in a queue of NFQUEUE ([`crate::Engine::set_queues`]), to be given back with [`crate::Engine::resume`].
    pub queued: Vec<Queued>,
    /// What happened.
    pub events: Vec<Event>,
    /// Each step of each packet, when tracing is on ([`crate::Engine::set_tracing`]).
    pub trace: Vec<TraceStep>,
}

impl Output {
    /// All that leaves, in its order, where the batch was this one packet.
    pub fn around<'a>(&'a self, fate: Fate, packet: &'a Packet) -> impl Iterator<Item = (Fate, &'a Packet)> {
        let made =
            |after| self.made.iter().filter(move |made| made.after == after).map(|made| (made.fate, &made.packet));
        made(false).chain([(fate, packet)]).chain(made(true))
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.made.clear();
        self.queued.clear();
        self.events.clear();
        self.trace.clear();
    }
}

/// One step on a packet's way.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// The position in the batch of the packet being handled.
    pub cause: usize,
    /// What was seen or done.
    pub what: TraceWhat,
}

/// The steps that tracing shows.
#[derive(Clone, Debug)]
pub enum TraceWhat {
    /// A packet enters the engine, or one that the engine made sets out; a one-line description.
    Packet(String),
    /// A hook is entered.
    Hook(Hook),
    /// A rule was visited.
    Rule {
        /// Of iptables or of ip6tables.
        family: Family,
        /// Its table.
        table: TableId,
        /// Its chain.
        chain: Arc<str>,
        /// Its number in the chain, from 1.
        number: u32,
        /// What it said.
        said: RuleSaid,
    },
    /// A built-in chain's policy decided.
    Policy {
        /// Of iptables or of ip6tables.
        family: Family,
        /// Its table.
        table: TableId,
        /// Its chain.
        chain: Arc<str>,
        /// Whether it let the packet through.
        accepted: bool,
    },
    /// Tracking, NAT, routing or anything else, in words.
    Note(String),
    /// The packet's end.
    Fate(Fate),
}

/// What a visited rule said.
#[derive(Clone, Debug)]
pub enum RuleSaid {
    /// Its addresses, devices, protocol or fragment option do not fit.
    HeaderNo,
    /// This match said no (its name).
    MatchNo(&'static str),
    /// This match dropped the packet on the spot.
    Hotdrop(&'static str),
    /// It fits and has no target, or its target lets the walk go on.
    Counted(&'static str),
    /// It fits and jumps, or goes, to this chain.
    Enters(Arc<str>),
    /// It fits and returns to the calling chain.
    Returns,
    /// It fits and ends the walk with this verdict.
    Verdict(Verdict),
}
