//! Who looks at packets of the running gateway: `hairpin trace --live`, `hairpin capture`.
//!
//! The loop asks [`Watchers::before`] which packets of a batch somebody wants to see, has the engine note those packets' steps, and hands
//! what came of them to [`Watchers::after`]. A watcher that reads too slowly, or wants more than its rate, misses packets and is told how
//! many; packets themselves wait for nobody. While nobody watches, a batch costs one look.

pub mod filter;
pub mod options;

use filter::{Facts, Filter};
use hairpin_engine::event::{Made, Output};
use hairpin_engine::net::{IfIndex, LinkKind, Net};
use hairpin_engine::rule::Compiled;
use hairpin_engine::track::Tuple;
use hairpin_engine::{Engine, Fate, Instant, Now, Packet, RuleSaid, TraceStep, TraceWhat};
use hairpin_wire::Family;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// No more watchers at a time.
pub const MAX_WATCHERS: usize = 8;
/// Packets kept for a watcher that is slow.
const MAX_WAITING: usize = 1024;
/// Bytes of packets kept for it.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// Steps noted for a watcher in a second: a packet that visits a hundred thousand rules is as dear as a thousand others.
const STEPS_PER_SECOND: f64 = 200_000.0;
/// Of a packet with more steps, rules that did not fit are left out.
const MAX_STEPS: usize = 2000;
/// Positions of a batch that can be told apart.
const POSITIONS: usize = 64;

/// What a watcher wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which packets.
    pub filter: Filter,
    /// How many in a second.
    pub rate: u32,
    /// Bytes of each frame that are kept; 0 when frames are not wanted.
    pub snap: usize,
}

/// A packet that was seen.
#[derive(Debug)]
pub struct Seen {
    /// When, in nanoseconds since 1970.
    pub nanos: u64,
    /// How it arrived; None for what the gateway sent by itself.
    pub arrived: Option<Frame>,
    /// Each step on its way.
    pub steps: Vec<TraceStep>,
    /// What left because of it, in order.
    pub left: Vec<Frame>,
    /// The host then.
    pub net: Arc<Net>,
    /// The rules then.
    pub rules: [Arc<Compiled>; 2],
}

/// A frame at a device.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The device; 0 is this host's own.
    pub dev: IfIndex,
    /// Whether it begins with an Ethernet header.
    pub is_ethernet: bool,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub length: usize,
}

impl Seen {
    fn size(&self) -> usize {
        let frames = self.arrived.iter().chain(&self.left).map(|frame| frame.bytes.len()).sum::<usize>();
        frames + self.steps.len() * size_of::<TraceStep>() + size_of::<Seen>()
    }
}

/// A packet that was asked about, before anything happened to it.
struct Candidate {
    position: usize,
    /// Which watchers may want it, one bit each.
    watchers: u32,
    /// As it arrived.
    facts: Facts,
    arrived: Frame,
}

/// The loop's side.
#[derive(Default)]
pub struct Watchers {
    list: Vec<Watching>,
    candidates: Vec<Candidate>,
}

/// A watcher as the loop sees it.
struct Watching {
    wanted: Wanted,
    queue: Arc<Queue>,
    /// Packets and steps that may still be noted, filled up as time passes.
    packets: f64,
    steps: f64,
    filled: Instant,
}

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    seen: VecDeque<Arc<Seen>>,
    bytes: usize,
    missed: u64,
    stopped: bool,
    /// Nobody reads any more.
    left: bool,
}

impl Watchers {
    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds one who watches from now on.
    ///
    /// # Errors
    /// There are too many, or the filter names a device that is not there.
    pub fn add(&mut self, wanted: Wanted, net: &Net, now: Instant) -> Result<Watcher, String> {
        self.list.retain(|watching| !lock(&watching.queue.state).left);
        if self.list.len() >= MAX_WATCHERS {
            return Err(format!("{MAX_WATCHERS} others are watching already; try again when one has ended"));
        }
        let wanted = Wanted { filter: wanted.filter.on(net)?, ..wanted };
        let queue = Arc::new(Queue::default());
        let (packets, steps) = (f64::from(wanted.rate), STEPS_PER_SECOND);
        self.list.push(Watching { wanted, queue: Arc::clone(&queue), packets, steps, filled: now });
        Ok(Watcher { queue })
    }

    /// Looks at packets that are about to be handled. The result is for [`Engine::trace_in_next_batch`].
    pub fn before(&mut self, engine: &Engine, packets: &[Packet], now: Instant) -> u64 {
        self.candidates.clear();
        self.list.retain_mut(|watching| watching.go_on(now));
        let mut mask = 0;
        for (position, packet) in packets.iter().enumerate().take(POSITIONS) {
            let facts = Facts::of(packet);
            let translated = OnceFacts::default();
            let mut watchers = 0;
            for (n, watching) in self.list.iter_mut().enumerate() {
                let filter = &watching.wanted.filter;
                let may_fit = filter.judge(&facts) != Some(false)
                    || translated.get(engine, packet, &facts, now).is_some_and(|f| filter.judge(&f) != Some(false));
                if may_fit && watching.has_room() {
                    watchers |= 1 << n;
                }
            }
            if watchers != 0 {
                let snap = self.snap(watchers);
                let dev = packet.meta.iif.unwrap_or(IfIndex(0));
                let arrived = frame(dev, engine.state().net(), packet, snap);
                self.candidates.push(Candidate { position, watchers, facts, arrived });
                mask |= 1 << position;
            }
        }
        mask
    }

    /// Takes what came of a batch: the packets asked about, and what left beside them. Frames have their link headers.
    pub fn after(
        &mut self,
        engine: &Engine,
        packets: &[Packet],
        fates: &[Fate],
        out: &Output,
        cuts: &[Made],
        now: &Now,
    ) {
        let state = engine.state();
        let (net, rules) = (state.net(), [Family::V4, Family::V6].map(|family| state.rules(family)));
        let candidates = std::mem::take(&mut self.candidates);
        for candidate in &candidates {
            let n = candidate.position;
            let made = || out.made.iter().chain(cuts).filter(|made| made.cause == n);
            let own = packets.get(n).zip(fates.get(n).copied());
            let leaving = || made().map(|m| (&m.packet, m.fate)).chain(own);
            let facts: Vec<Facts> =
                leaving().map(|(packet, fate)| left_facts(packet, fate, &candidate.facts)).collect();
            let arrived = Facts { oif: facts.iter().find_map(|f| f.oif), oif_is_open: false, ..candidate.facts };
            let fits = |filter: &Filter| {
                filter.judge(&arrived) == Some(true) || facts.iter().any(|f| filter.judge(f) == Some(true))
            };
            let mut watchers = candidate.watchers;
            for (w, watching) in self.list.iter().enumerate() {
                if watchers & 1 << w != 0 && !fits(&watching.wanted.filter) {
                    watchers &= !(1 << w);
                }
            }
            if watchers == 0 {
                continue;
            }
            let steps: Vec<TraceStep> = out.trace.iter().filter(|step| step.cause == n).cloned().collect();
            let noted = steps.len();
            let snap = self.snap(watchers);
            let frames = leaving().filter_map(|(packet, fate)| frame_that_left(packet, fate, net, snap));
            let seen = Arc::new(Seen {
                nanos: now.wall.0,
                arrived: Some(candidate.arrived.clone()),
                steps: shortened(steps),
                left: if snap == 0 { Vec::new() } else { frames.collect() },
                net: Arc::clone(net),
                rules: rules.map(Arc::clone),
            });
            for (w, watching) in self.list.iter_mut().enumerate() {
                if watchers & 1 << w != 0 {
                    watching.put(&seen, noted);
                }
            }
        }
        self.beside(&candidates, out, cuts, net, rules, now);
        self.candidates = candidates;
        self.candidates.clear();
    }

    /// What left for no packet that was asked about, for those who want frames.
    fn beside(
        &mut self,
        of: &[Candidate],
        out: &Output,
        cuts: &[Made],
        net: &Arc<Net>,
        rules: [&Arc<Compiled>; 2],
        now: &Now,
    ) {
        if self.list.iter().all(|watching| watching.wanted.snap == 0) {
            return;
        }
        for made in out.made.iter().chain(cuts).filter(|made| !of.iter().any(|one| one.position == made.cause)) {
            let facts = left_facts(&made.packet, made.fate, &Facts { iif: None, ..Facts::of(&made.packet) });
            for watching in self.list.iter_mut().filter(|watching| watching.wanted.snap > 0) {
                if watching.wanted.filter.judge(&facts) == Some(true)
                    && let Some(frame) = frame_that_left(&made.packet, made.fate, net, watching.wanted.snap)
                    && watching.has_room()
                {
                    let (net, rules) = (Arc::clone(net), rules.map(Arc::clone));
                    let seen =
                        Seen { nanos: now.wall.0, arrived: None, steps: Vec::new(), left: vec![frame], net, rules };
                    watching.put(&Arc::new(seen), 0);
                }
            }
        }
    }

    /// The most bytes that one of these wants.
    fn snap(&self, watchers: u32) -> usize {
        let of = self.list.iter().enumerate().filter(|(n, _)| watchers & 1 << n != 0);
        of.map(|(_, watching)| watching.wanted.snap).max().unwrap_or(0)
    }
}

impl Watching {
    /// Fills up what may be noted; false when nobody reads any more.
    fn go_on(&mut self, now: Instant) -> bool {
        let seconds = now.since(self.filled) as f64 / 1e9;
        self.filled = now;
        let rate = f64::from(self.wanted.rate);
        self.packets = (self.packets + seconds * rate).min(rate.max(1.0));
        self.steps = (self.steps + seconds * STEPS_PER_SECOND).min(STEPS_PER_SECOND);
        !lock(&self.queue.state).left
    }

    /// Whether one more may be noted; counted as missed when not.
    fn has_room(&mut self) -> bool {
        let mut waiting = lock(&self.queue.state);
        let has_room = self.packets >= 1.0
            && self.steps > 0.0
            && waiting.seen.len() < MAX_WAITING
            && waiting.bytes < MAX_WAITING_BYTES
            && !waiting.stopped;
        waiting.missed += u64::from(!has_room);
        has_room
    }

    fn put(&mut self, seen: &Arc<Seen>, steps: usize) {
        self.packets -= 1.0;
        self.steps -= steps as f64;
        let mut waiting = lock(&self.queue.state);
        waiting.bytes += seen.size();
        waiting.seen.push_back(Arc::clone(seen));
        self.queue.news.notify_one();
    }
}

/// A packet's facts as its connection translates them, looked up once if at all.
#[derive(Default)]
struct OnceFacts(std::cell::OnceCell<Option<Facts>>);

impl OnceFacts {
    fn get(&self, engine: &Engine, packet: &Packet, facts: &Facts, now: Instant) -> Option<Facts> {
        *self.0.get_or_init(|| {
            let conns = &engine.state().tracker().conns;
            let (id, direction) = conns.find(&Tuple::of_packet(packet)?, 0, now)?;
            // What the other direction sends is what this one becomes, turned around.
            let leaves = conns.get(id)?.tuple(direction.other()).invert()?;
            let ports = facts.ports.map(|_| (leaves.src_id, leaves.dst_id));
            Some(Facts { src: leaves.src, dst: leaves.dst, ports, ..*facts })
        })
    }
}

fn left_facts(packet: &Packet, fate: Fate, arrived: &Facts) -> Facts {
    let oif = match fate {
        Fate::Transmit { oif, .. } | Fate::Resolve { oif } => Some(oif),
        // It waits for its next hop, or was cut: the route says where it will leave.
        Fate::Held => packet.meta.oif,
        Fate::Deliver | Fate::Drop(_) => None,
    };
    Facts { iif: arrived.iif, oif, oif_is_open: false, ..Facts::of(packet) }
}

fn frame(dev: IfIndex, net: &Net, packet: &Packet, snap: usize) -> Frame {
    let is_ethernet = net.interface(dev).is_some_and(|device| device.kind == LinkKind::Ethernet);
    let bytes = if is_ethernet { packet.frame() } else { packet.ip() };
    Frame { dev, is_ethernet, bytes: bytes[..bytes.len().min(snap)].to_vec(), length: bytes.len() }
}

fn frame_that_left(packet: &Packet, fate: Fate, net: &Net, snap: usize) -> Option<Frame> {
    match fate {
        Fate::Transmit { oif, .. } => Some(frame(oif, net, packet, snap)),
        _ => None,
    }
}

/// Without the rules that did not fit, when there are too many steps.
fn shortened(mut steps: Vec<TraceStep>) -> Vec<TraceStep> {
    if steps.len() <= MAX_STEPS {
        return steps;
    }
    let before = steps.len();
    steps.retain(|step| !matches!(step.what, TraceWhat::Rule { said: RuleSaid::HeaderNo | RuleSaid::MatchNo(_), .. }));
    let mut left_out = before - steps.len();
    if steps.len() > MAX_STEPS {
        left_out += steps.len() - MAX_STEPS;
        steps.truncate(MAX_STEPS);
    }
    let what = TraceWhat::Note(format!("{left_out} steps, of rules that did not fit, are left out"));
    steps.push(TraceStep { cause: 0, what });
    steps
}

/// The reader's side.
pub struct Watcher {
    queue: Arc<Queue>,
}

/// Some packets, and how many were missed so far.
pub struct Batch {
    /// In the order they came.
    pub seen: VecDeque<Arc<Seen>>,
    /// How many fitted, perhaps, and were not noted.
    pub missed: u64,
    /// There will be no more.
    pub is_end: bool,
}

impl Watcher {
    /// Waits for packets, at most so long.
    pub fn next(&self, patience: Duration) -> Batch {
        let waiting = lock(&self.queue.state);
        let is_idle = |waiting: &mut Waiting| waiting.seen.is_empty() && !waiting.stopped;
        let waited = self.queue.news.wait_timeout_while(waiting, patience, is_idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        Batch { seen: std::mem::take(&mut waiting.seen), missed: waiting.missed, is_end: waiting.stopped }
    }

    /// What ends the watch from another thread.
    pub fn stopper(&self) -> impl FnOnce() + Send + 'static + use<> {
        let queue = Arc::clone(&self.queue);
        move || {
            lock(&queue.state).stopped = true;
            queue.news.notify_all();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        lock(&self.queue.state).left = true;
    }
}

fn lock(mutex: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
