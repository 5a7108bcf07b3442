//! NFQUEUE's listeners: the loop's side.
//!
//! A packet that a rule gives to a queue waits here for its listener's word (see `hairpin_control::queue`). At most `maxlen` packets and
//! 32 MiB wait in a queue; one more is dropped, or let pass when the listener said so. When a listener goes, what waits for it is
//! dropped, as Linux does it.

use hairpin_control::protocol::Frame;
use hairpin_control::queue::{Decided, QueuedPacket, Verdict};
use hairpin_engine::Now;
use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::queue::{Decision, QueueVerdict, Queued};
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes that wait in a queue at most.
const MAX_BYTES: usize = 32 << 20;

/// What a listener asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The queue.
    pub number: u16,
    /// Packets that wait at most.
    pub maxlen: usize,
    /// What finds no room passes; else it is dropped.
    pub fail_open: bool,
    /// Bytes of each packet that are sent.
    pub copy: usize,
}

/// A queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueNumbers {
    /// The queue.
    pub number: u16,
    /// Packets that wait.
    pub waiting: usize,
    /// Packets that may wait.
    pub maxlen: usize,
    /// Packets that it got.
    pub packets: u64,
    /// Packets that found no room.
    pub overrun: u64,
}

/// All of them.
#[derive(Default)]
pub struct Queues {
    list: Vec<Queue>,
    decided: VecDeque<(Queued, Decision)>,
}

struct Queue {
    wanted: Listening,
    to: SyncSender<Frame>,
    waiting: BTreeMap<u32, Queued>,
    bytes: usize,
    last_id: u32,
    packets: u64,
    overrun: u64,
}

impl Queues {
    /// Somebody listens from now on.
    ///
    /// # Errors
    /// Somebody else does.
    pub fn listen(&mut self, wanted: Listening) -> Result<Receiver<Frame>, String> {
        if self.list.iter().any(|queue| queue.wanted.number == wanted.number) {
            return Err(format!("queue {} has a listener already", wanted.number));
        }
        let (to, frames) = sync_channel(wanted.maxlen);
        self.list.push(Queue { wanted, to, waiting: BTreeMap::new(), bytes: 0, last_id: 0, packets: 0, overrun: 0 });
        Ok(frames)
    }

    /// Nobody listens any more: what waits is dropped.
    pub fn leave(&mut self, number: u16) {
        let Some(at) = self.list.iter().position(|queue| queue.wanted.number == number) else { return };
        let queue = self.list.swap_remove(at);
        let dropped = queue.waiting.into_values().map(|queued| (queued, Decision::plain(QueueVerdict::Drop)));
        self.decided.extend(dropped);
    }

    /// Which queues have a listener.
    pub fn numbers(&self) -> Vec<u16> {
        self.list.iter().map(|queue| queue.wanted.number).collect()
    }

    /// Each queue in numbers.
    pub fn state(&self) -> Vec<QueueNumbers> {
        let state = |queue: &Queue| QueueNumbers {
            number: queue.wanted.number,
            waiting: queue.waiting.len(),
            maxlen: queue.wanted.maxlen,
            packets: queue.packets,
            overrun: queue.overrun,
        };
        self.list.iter().map(state).collect()
    }

    /// Takes packets that the engine holds.
    pub(crate) fn take(&mut self, held: &mut Vec<Queued>, net: &Net, now: &Now) {
        for queued in held.drain(..) {
            let Some(queue) = self.list.iter_mut().find(|queue| queue.wanted.number == queued.number) else {
                self.decided.push_back((queued, Decision::plain(QueueVerdict::Drop)));
                continue;
            };
            queue.packets += 1;
            if let Some(queued) = queue.put(queued, net, now) {
                queue.overrun += 1;
                let verdict = if queue.wanted.fail_open { QueueVerdict::Accept } else { QueueVerdict::Drop };
                self.decided.push_back((queued, Decision::plain(verdict)));
            }
        }
    }

    /// A listener's word. One about a packet that does not wait is passed over.
    pub fn decide(&mut self, number: u16, decided: Decided) {
        let Some(queue) = self.list.iter_mut().find(|queue| queue.wanted.number == number) else { return };
        let Some(queued) = queue.waiting.remove(&decided.id) else { return };
        queue.bytes -= queued.packet.length();
        let verdict = match decided.verdict {
            Verdict::Drop => QueueVerdict::Drop,
            Verdict::Accept => QueueVerdict::Accept,
            Verdict::Queue(number) => QueueVerdict::Queue(number),
            Verdict::Repeat => QueueVerdict::Repeat,
        };
        self.decided.push_back((queued, Decision { verdict, mark: decided.mark, packet: decided.bytes }));
    }

    /// The next packet that goes on.
    pub(crate) fn next_decided(&mut self) -> Option<(Queued, Decision)> {
        self.decided.pop_front()
    }
}

impl Queue {
    /// Keeps the packet and tells the listener; gives it back when there is no room.
    fn put(&mut self, queued: Queued, net: &Net, now: &Now) -> Option<Queued> {
        let length = queued.packet.length();
        if self.waiting.len() >= self.wanted.maxlen || self.bytes + length > MAX_BYTES {
            return Some(queued);
        }
        let name = |dev: Option<IfIndex>| {
            dev.and_then(|dev| net.interface(dev)).map_or_else(String::new, |device| device.name.to_string())
        };
        let ip = queued.packet.ip();
        let id = self.last_id.wrapping_add(1);
        let told = QueuedPacket {
            id,
            queue: self.wanted.number,
            hook: queued.hook.number() as u8,
            family: queued.packet.family(),
            mark: queued.packet.meta.mark,
            nanos: now.wall.0,
            length: length as u32,
            table: queued.table.to_string(),
            iif: name(queued.iif()),
            oif: name(queued.oif()),
            link_header: queued.packet.link_header().to_vec(),
            bytes: ip[..ip.len().min(self.wanted.copy)].to_vec(),
        };
        if self.to.try_send(Frame::Queued(Box::new(told))).is_err() {
            return Some(queued);
        }
        self.last_id = id;
        self.bytes += length;
        self.waiting.insert(id, queued);
        None
    }
}
