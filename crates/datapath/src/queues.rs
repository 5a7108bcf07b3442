//! Several queues of one device as one device.
//!
//! Either one loop serves them all, in turn, or each has a thread of its own, which hands batches of frames to the loop and takes batches
//! from it: by channels of fixed room, whose buffers come back to be used again. Neither side waits for the other: a thread without a free
//! batch leaves its frames in the device's queue, and what the loop cannot hand over is lost, as on any wire. A flow's frames go by one
//! queue (`spread.rs`), and so keep their order.

use crate::spread::queue_of;
use crate::sys::{self, Waiter, Wake};
use crate::{Bytes, Caps, Datapath, Outgoing, Received};
use hairpin_engine::packet::Offload;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames of a batch.
const BATCH: usize = 64;
/// Batches under way in each direction of a queue.
const BATCHES: usize = 8;
/// How long a thread leaves a device alone that has failed.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// All the queues of a device, served by whoever calls.
pub struct InTurn {
    queues: Vec<Box<dyn Datapath>>,
    /// Ready when one of the queues is.
    any: OwnedFd,
    next: usize,
}

impl InTurn {
    /// Joins queues, of which there is at least one.
    pub fn new(queues: Vec<Box<dyn Datapath>>) -> io::Result<InTurn> {
        let any = sys::epoll_of(queues.iter().map(|queue| queue.fd()))?;
        Ok(InTurn { queues, any, next: 0 })
    }
}

impl Datapath for InTurn {
    fn caps(&self) -> Caps {
        self.queues.first().map_or_else(Caps::default, |queue| queue.caps())
    }

    fn fd(&self) -> RawFd {
        self.any.as_raw_fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let mut got = 0;
        for _ in 0..self.queues.len() {
            if got == limit {
                break;
            }
            let queue = self.next % self.queues.len();
            self.next = queue + 1;
            got += self.queues[queue].recv(limit - got, take)?;
        }
        Ok(got)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        // One thread sends: the first queue is as good as any.
        self.queues.first_mut().map_or(Ok(0), |queue| queue.send(frames))
    }

    fn missed(&mut self) -> u64 {
        self.queues.iter_mut().map(|queue| queue.missed()).sum()
    }

    fn describe(&self) -> String {
        let one = self.queues.first().map(|queue| queue.describe()).unwrap_or_default();
        format!("{one}; {} queues in turn", self.queues.len())
    }
}

/// All the queues of a device, each served by a thread of its own.
///
/// The threads are made with the first frame that is asked for or sent: they inherit what the process has given up by then.
pub struct Threads {
    /// Those whose threads are not made yet.
    waiting: Vec<Box<dyn Datapath>>,
    queues: Vec<Queue>,
    caps: Caps,
    words: String,
    is_ethernet: bool,
    bell: Arc<Bell>,
    lies_down: bool,
    next: usize,
}

/// The loop's side of a queue.
struct Queue {
    arrived: Receiver<Arrivals>,
    /// A batch that is not empty yet, and how much of it was taken.
    open: Option<(Arrivals, usize)>,
    emptied: SyncSender<Arrivals>,
    leaving: SyncSender<Departures>,
    sent: Receiver<Departures>,
    /// A batch that is being filled.
    filling: Option<Departures>,
    bell: Arc<Bell>,
    failure: Arc<AtomicI32>,
    missed: Arc<Missed>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes one who sleeps, and costs nothing while he does not.
struct Bell {
    wake: Wake,
    sleeps: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        // Ordered after what was handed over, as `lie_down` is before the last look.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Relaxed) && self.sleeps.swap(false, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// Whoever rings from now on wakes; what came before is still to be looked for.
    fn lie_down(&self) {
        self.sleeps.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// One who rang just now may have his say later, and wakes the next sleep for nothing.
    fn get_up(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
        self.wake.clear();
    }
}

/// How many frames a thread's device missed. It looks when it was asked to and has something else to do: while it sleeps, it misses none.
#[derive(Default)]
struct Missed {
    asked: AtomicBool,
    count: AtomicU64,
}

impl Missed {
    /// What was found since this was last asked, and have it looked for again.
    fn ask(&self) -> u64 {
        self.asked.store(true, Ordering::Relaxed);
        self.count.swap(0, Ordering::Relaxed)
    }

    fn look(&self, device: &mut dyn Datapath) {
        if self.asked.load(Ordering::Relaxed) {
            self.asked.store(false, Ordering::Relaxed);
            self.count.fetch_add(device.missed(), Ordering::Relaxed);
        }
    }
}

/// Frames that arrived.
#[derive(Default)]
struct Arrivals {
    frames: Vec<Arrival>,
    count: usize,
}

#[derive(Default)]
struct Arrival {
    bytes: Vec<u8>,
    offload: Offload,
    vlan: Option<u16>,
}

impl Arrivals {
    fn put(&mut self, received: Received<'_>) {
        if self.count == self.frames.len() {
            self.frames.push(Arrival::default());
        }
        let place = &mut self.frames[self.count];
        match received.bytes {
            Bytes::Own(bytes) => std::mem::swap(&mut place.bytes, bytes),
            Bytes::Shared(bytes) => {
                place.bytes.clear();
                place.bytes.extend_from_slice(bytes);
            }
        }
        (place.offload, place.vlan) = (received.offload, received.vlan);
        self.count += 1;
    }
}

/// Frames that leave.
#[derive(Default)]
struct Departures {
    frames: Vec<Departure>,
    count: usize,
}

#[derive(Default)]
struct Departure {
    bytes: Vec<u8>,
    offload: Offload,
    network: usize,
    transport: usize,
    protocol: u8,
}

impl Departures {
    fn put(&mut self, frame: &Outgoing<'_>) {
        if self.count == self.frames.len() {
            self.frames.push(Departure::default());
        }
        let place = &mut self.frames[self.count];
        place.bytes.clear();
        place.bytes.extend_from_slice(frame.bytes);
        place.offload = frame.offload;
        (place.network, place.transport, place.protocol) = (frame.network, frame.transport, frame.protocol);
        self.count += 1;
    }

    fn send(&self, queue: &mut dyn Datapath) -> io::Result<usize> {
        let frames: [Outgoing<'_>; BATCH] = std::array::from_fn(|n| match self.frames.get(n) {
            Some(Departure { bytes, offload, network, transport, protocol }) => {
                Outgoing { bytes, offload: *offload, network: *network, transport: *transport, protocol: *protocol }
            }
            None => Outgoing::complete(&[]),
        });
        queue.send(&frames[..self.count.min(BATCH)])
    }
}

impl Threads {
    /// Joins queues, of which there is at least one. `is_ethernet`: frames have Ethernet headers.
    pub fn new(queues: Vec<Box<dyn Datapath>>, is_ethernet: bool) -> io::Result<Threads> {
        let one = queues.first();
        let words = one.map(|queue| queue.describe()).unwrap_or_default();
        let threads = match queues.len() {
            1 => "a thread of its own".to_owned(),
            count => format!("{count} queues, each with a thread of its own"),
        };
        Ok(Threads {
            caps: one.map_or_else(Caps::default, |queue| queue.caps()),
            words: format!("{words}; {threads}"),
            waiting: queues,
            queues: Vec::new(),
            is_ethernet,
            bell: Arc::new(Bell { wake: Wake::new()?, sleeps: AtomicBool::new(true) }),
            lies_down: true,
            next: 0,
        })
    }

    fn start(&mut self) -> io::Result<()> {
        for queue in self.waiting.drain(..) {
            self.queues.push(Queue::start(queue, Arc::clone(&self.bell))?);
        }
        Ok(())
    }
}

impl Queue {
    fn start(device: Box<dyn Datapath>, bell: Arc<Bell>) -> io::Result<Queue> {
        let (to_loop, arrived) = sync_channel(BATCHES);
        let (emptied, to_fill) = sync_channel(BATCHES);
        let (leaving, to_send) = sync_channel(BATCHES);
        let (give_back, sent) = sync_channel(BATCHES);
        for _ in 0..BATCHES {
            // There is room for so many.
            let _ = emptied.try_send(Arrivals::default());
            let _ = give_back.try_send(Departures::default());
        }
        let (failure, end) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
        let missed = Arc::new(Missed::default());
        let own_bell = Arc::new(Bell { wake: Wake::new()?, sleeps: AtomicBool::new(false) });
        let worker = Worker {
            device,
            to_loop,
            to_fill,
            to_send,
            give_back,
            loop_bell: bell,
            bell: Arc::clone(&own_bell),
            failure: Arc::clone(&failure),
            missed: Arc::clone(&missed),
            end: Arc::clone(&end),
        };
        let thread = std::thread::Builder::new().name("hairpin-queue".to_owned()).spawn(move || {
            crate::processor::go_free();
            worker.work();
        })?;
        let thread = Some(thread);
        Ok(Queue {
            arrived,
            open: None,
            emptied,
            leaving,
            sent,
            filling: None,
            bell: own_bell,
            failure,
            missed,
            end,
            thread,
        })
    }

    /// Takes frames of batches that have arrived; how many.
    fn take(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> usize {
        let mut got = 0;
        while got < limit {
            let Some((mut batch, mut at)) = self.open.take().or_else(|| Some((self.arrived.try_recv().ok()?, 0)))
            else {
                break;
            };
            while at < batch.count && got < limit {
                let Arrival { bytes, offload, vlan } = &mut batch.frames[at];
                take(Received { bytes: Bytes::Own(bytes), offload: *offload, vlan: *vlan });
                at += 1;
                got += 1;
            }
            if at < batch.count {
                self.open = Some((batch, at));
            } else {
                batch.count = 0;
                // There is room for all that there are.
                let _ = self.emptied.try_send(batch);
                self.bell.ring();
            }
        }
        got
    }

    /// Takes a frame on its way. False: there is no room.
    fn put(&mut self, frame: &Outgoing<'_>) -> bool {
        if self.filling.is_none() {
            self.filling = self.sent.try_recv().ok();
        }
        let Some(batch) = &mut self.filling else { return false };
        batch.put(frame);
        if batch.count == BATCH {
            self.hand_over();
        }
        true
    }

    fn hand_over(&mut self) {
        if let Some(batch) = self.filling.take() {
            // There is room for all that there are.
            let _ = self.leaving.try_send(batch);
            self.bell.ring();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        self.bell.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Datapath for Threads {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn fd(&self) -> RawFd {
        self.bell.wake.fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.start()?;
        if std::mem::take(&mut self.lies_down) {
            self.bell.get_up();
        }
        let mut got = 0;
        for look in 0..2 {
            for _ in 0..self.queues.len() {
                let queue = self.next % self.queues.len();
                self.next = queue + 1;
                got += self.queues[queue].take(limit - got, take);
                if got == limit {
                    return Ok(got);
                }
            }
            // There was less than was asked for: the caller is going to wait.
            if look == 0 {
                self.bell.lie_down();
                self.lies_down = true;
            }
        }
        for queue in &self.queues {
            match queue.failure.swap(0, Ordering::AcqRel) {
                0 => {}
                number => return Err(io::Error::from_raw_os_error(number)),
            }
        }
        Ok(got)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        self.start()?;
        let (count, mut sent) = (self.queues.len(), 0);
        for frame in frames {
            let n = if count == 1 { 0 } else { queue_of(frame.bytes, self.is_ethernet, count) };
            sent += usize::from(self.queues.get_mut(n).is_some_and(|queue| queue.put(frame)));
        }
        self.queues.iter_mut().for_each(Queue::hand_over);
        Ok(sent)
    }

    fn missed(&mut self) -> u64 {
        self.queues.iter().map(|queue| queue.missed.ask()).sum()
    }

    fn describe(&self) -> String {
        self.words.clone()
    }
}

/// The thread's side of a queue.
struct Worker {
    device: Box<dyn Datapath>,
    to_loop: SyncSender<Arrivals>,
    to_fill: Receiver<Arrivals>,
    to_send: Receiver<Departures>,
    give_back: SyncSender<Departures>,
    loop_bell: Arc<Bell>,
    bell: Arc<Bell>,
    failure: Arc<AtomicI32>,
    missed: Arc<Missed>,
    end: Arc<AtomicBool>,
}

impl Worker {
    fn work(mut self) {
        let mut waiter = Waiter::default();
        let (mut free, mut lies_down) = (None, false);
        while !self.end.load(Ordering::Acquire) {
            self.missed.look(&mut *self.device);
            let mut busy = false;
            while let Ok(batch) = self.to_send.try_recv() {
                self.send(batch);
                busy = true;
            }
            free = free.or_else(|| self.to_fill.try_recv().ok());
            let mut failed = false;
            if let Some(batch) = free.take() {
                match self.receive(batch) {
                    Ok(None) => busy = true,
                    Ok(rest) => free = rest,
                    Err(()) => failed = true,
                }
            }
            if busy {
                if std::mem::take(&mut lies_down) {
                    self.bell.get_up();
                }
                continue;
            }
            // A last look after having said that one sleeps.
            if !lies_down && !failed {
                self.bell.lie_down();
                lies_down = true;
                continue;
            }
            let device = (free.is_some() && !failed).then(|| self.device.fd());
            waiter.watch([self.bell.wake.fd()].into_iter().chain(device));
            let longest = if failed { AFTER_FAILURE } else { Duration::from_secs(3600) };
            if waiter.wait(longest).is_err() {
                return;
            }
            if std::mem::take(&mut lies_down) {
                self.bell.get_up();
            }
        }
    }

    fn send(&mut self, mut batch: Departures) {
        // What the device does not take is lost on the wire; who handed it over has gone on.
        let _ = batch.send(&mut *self.device);
        batch.count = 0;
        let _ = self.give_back.try_send(batch);
    }

    /// Fills a batch and hands it over; gives it back when nothing was there. A failure is told.
    fn receive(&mut self, mut batch: Arrivals) -> Result<Option<Arrivals>, ()> {
        let result = self.device.recv(BATCH, &mut |received| batch.put(received));
        if let Err(error) = &result {
            self.failure.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Release);
        }
        if batch.count == 0 && result.is_ok() {
            return Ok(Some(batch));
        }
        let _ = self.to_loop.try_send(batch);
        self.loop_bell.ring();
        result.map(|_| None).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, Memory};
    use std::time::Instant;

    /// A frame of one of many TCP flows, with a number.
    fn frame(flow: u8, number: u16) -> Vec<u8> {
        let mut frame = [[2; 12].as_slice(), &[0x08, 0x00, 0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0]].concat();
        frame.extend([10, 0, 0, flow, 203, 0, 113, 9, 4, flow, 0, 80]);
        frame.extend(number.to_be_bytes());
        frame.resize(60, 0);
        frame
    }

    fn read(frame: &[u8]) -> (u8, u16) {
        (frame[29], u16::from_be_bytes([frame[38], frame[39]]))
    }

    /// The loop's end of so many queues, and the far ends.
    fn ends(count: usize) -> (Vec<Box<dyn Datapath>>, Vec<Memory>) {
        let pairs: Vec<_> = (0..count).map(|_| memory::pair(Caps::default()).unwrap()).collect();
        pairs.into_iter().map(|(near, far)| (Box::new(near) as Box<dyn Datapath>, far)).unzip()
    }

    const FLOWS: u8 = 10;
    const FRAMES: u16 = 300;

    /// Every flow comes whole and in its order, though nobody takes anything while there is more than the batches hold.
    fn all_arrive(mut device: impl Datapath, mut far: Vec<Memory>) {
        for number in 0..FRAMES {
            for flow in 0..FLOWS {
                let frame = frame(flow, number);
                let queue = queue_of(&frame, true, far.len());
                assert_eq!(far[queue].send(&[Outgoing::complete(&frame)]).unwrap(), 1);
            }
        }
        let mut next = [0u16; FLOWS as usize];
        let mut waiter = Waiter::default();
        let until = Instant::now() + Duration::from_secs(20);
        while next.iter().any(|next| *next < FRAMES) {
            assert!(Instant::now() < until, "{next:?}");
            let got = device.recv(13, &mut |received| {
                let (flow, number) = read(received.bytes.as_slice());
                assert_eq!(number, next[usize::from(flow)], "flow {flow}");
                next[usize::from(flow)] += 1;
            });
            if got.unwrap() < 13 {
                waiter.watch([device.fd()].into_iter());
                waiter.wait(Duration::from_secs(5)).unwrap();
            }
        }
    }

    #[test]
    fn queues_in_turn_keep_their_order() {
        let (near, far) = ends(3);
        all_arrive(InTurn::new(near).unwrap(), far);
    }

    #[test]
    fn threads_keep_the_order_of_each_flow() {
        for count in [1, 4] {
            let (near, far) = ends(count);
            all_arrive(Threads::new(near, true).unwrap(), far);
        }
    }

    #[test]
    fn threads_send_by_the_flow_and_wake_up_for_it() {
        let (near, mut far) = ends(4);
        let mut device = Threads::new(near, true).unwrap();
        let mut next = [0u16; FLOWS as usize];
        for number in 0..FRAMES {
            let frames: Vec<Vec<u8>> = (0..FLOWS).map(|flow| frame(flow, number)).collect();
            let list: Vec<Outgoing<'_>> = frames.iter().map(|frame| Outgoing::complete(frame)).collect();
            assert_eq!(device.send(&list).unwrap(), list.len());
            // Now and then the threads sleep in between.
            if number % 50 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let until = Instant::now() + Duration::from_secs(20);
            while next.iter().any(|next| *next <= number) {
                assert!(Instant::now() < until, "{next:?}");
                for (n, far) in far.iter_mut().enumerate() {
                    far.recv(64, &mut |received| {
                        let bytes = received.bytes.as_slice();
                        let (flow, number) = read(bytes);
                        assert_eq!(queue_of(bytes, true, 4), n);
                        assert_eq!(number, next[usize::from(flow)], "flow {flow}");
                        next[usize::from(flow)] += 1;
                    })
                    .unwrap();
                }
            }
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_lost_and_counted() {
        /// A device that takes its time.
        struct Slow(Memory);
        impl Datapath for Slow {
            fn caps(&self) -> Caps {
                self.0.caps()
            }
            fn fd(&self) -> RawFd {
                self.0.fd()
            }
            fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
                self.0.recv(limit, take)
            }
            fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_millis(30));
                self.0.send(frames)
            }
            fn describe(&self) -> String {
                "slow".to_owned()
            }
        }
        let (near, mut far) = memory::pair(Caps::default()).unwrap();
        let mut device = Threads::new(vec![Box::new(Slow(near))], true).unwrap();
        let bytes = frame(1, 1);
        let list = [Outgoing::complete(&bytes); 64];
        let taken: usize = (0..40).map(|_| device.send(&list).unwrap()).sum();
        assert!((BATCHES * BATCH..40 * 64).contains(&taken), "{taken}");
        let (mut came, until) = (0, Instant::now() + Duration::from_secs(20));
        while came < taken {
            assert!(Instant::now() < until, "{came} of {taken}");
            came += far.recv(64, &mut |_| {}).unwrap();
        }
        // Ends without waiting for anything.
        drop(device);
    }

    #[test]
    fn a_failure_of_the_device_is_the_loops() {
        /// A device that fails once, and has a frame then.
        struct Failing(Memory, bool);
        impl Datapath for Failing {
            fn caps(&self) -> Caps {
                self.0.caps()
            }
            fn fd(&self) -> RawFd {
                self.0.fd()
            }
            fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
                match std::mem::replace(&mut self.1, false) {
                    true => Err(io::Error::from_raw_os_error(libc::ENETDOWN)),
                    false => self.0.recv(limit, take),
                }
            }
            fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
                self.0.send(frames)
            }
            fn describe(&self) -> String {
                "failing".to_owned()
            }
        }
        let (near, mut far) = memory::pair(Caps::default()).unwrap();
        let mut device = Threads::new(vec![Box::new(Failing(near, true))], true).unwrap();
        far.send(&[Outgoing::complete(&frame(1, 1))]).unwrap();
        let mut waiter = Waiter::default();
        let (mut failures, mut frames) = (0, 0);
        let until = Instant::now() + Duration::from_secs(20);
        while (failures, frames) != (1, 1) {
            assert!(Instant::now() < until, "{failures} failures, {frames} frames");
            match device.recv(64, &mut |_| frames += 1) {
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
                    failures += 1;
                }
                Ok(_) => {
                    waiter.watch([device.fd()].into_iter());
                    waiter.wait(Duration::from_millis(200)).unwrap();
                }
            }
        }
    }
}
