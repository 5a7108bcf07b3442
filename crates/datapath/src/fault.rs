//! A link that is worse than it is: frames are lost, delayed, doubled, damaged and reordered, in both directions, by a seed. The same
//! seed and the same frames fare the same.

use crate::sys::{self, Timer, epoll_of};
use crate::{Bytes, Caps, Datapath, Outgoing, Received};
use hairpin_engine::packet::{Checksum, Offload};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What befalls frames. Chances are in millionths, for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What chance begins with.
    pub seed: u64,
    /// A frame is lost.
    pub loss: u32,
    /// A frame comes twice.
    pub duplicate: u32,
    /// One bit of a frame is another.
    pub corrupt: u32,
    /// A frame comes later than those behind it: by [`LATE`] beside the delay.
    pub reorder: u32,
    /// Every frame takes so many nanoseconds longer.
    pub delay: u64,
}

/// How much later a reordered frame comes, in nanoseconds.
pub const LATE: u64 = 5_000_000;
/// Frames that are under way at most in one direction; more are lost, as on a link whose buffer is full.
const UNDER_WAY: usize = 10_000;

/// A datapath with faults.
pub struct Faulty {
    inner: Box<dyn Datapath>,
    faults: Faults,
    dice: Dice,
    arriving: Line,
    leaving: Line,
    timer: Timer,
    /// Ready when a frame is due or the device has one.
    any: OwnedFd,
    /// Frames that befell what cannot be undone, for tests and people.
    counts: Counts,
}

/// How many frames fared how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lost.
    pub lost: u64,
    /// Came twice.
    pub doubled: u64,
    /// Damaged.
    pub damaged: u64,
    /// Held back.
    pub held: u64,
}

impl Faulty {
    /// Puts faults before a device.
    pub fn new(inner: Box<dyn Datapath>, faults: Faults) -> io::Result<Faulty> {
        let timer = Timer::new()?;
        let any = epoll_of([inner.fd(), timer.fd()].into_iter())?;
        Ok(Faulty {
            inner,
            faults,
            dice: Dice(faults.seed),
            arriving: Line::default(),
            leaving: Line::default(),
            timer,
            any,
            counts: Counts::default(),
        })
    }

    /// How frames have fared so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn send_due(&mut self, now: u64) -> io::Result<()> {
        while let Some(frame) = self.leaving.due(now) {
            self.inner.send(&[frame.outgoing()])?;
        }
        Ok(())
    }

    fn wind(&self) {
        let next = [self.arriving.next(), self.leaving.next()].into_iter().flatten().min();
        self.timer.set(next);
    }
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lot {
    copies: u8,
    /// The bit that is turned.
    damage: Option<u64>,
    late: bool,
}

fn draw(dice: &mut Dice, faults: &Faults, counts: &mut Counts) -> Lot {
    // Always the same number of throws: one kind of fault does not change the chances of another.
    let [lost, doubled, damaged, late] =
        [faults.loss, faults.duplicate, faults.corrupt, faults.reorder].map(|chance| dice.falls(chance));
    let bit = dice.next();
    let lot = Lot { copies: if lost { 0 } else { 1 + u8::from(doubled) }, damage: damaged.then_some(bit), late };
    counts.lost += u64::from(lost);
    counts.doubled += u64::from(!lost && doubled);
    counts.damaged += u64::from(!lost && damaged);
    counts.held += u64::from(!lost && late);
    lot
}

fn turn_bit(bytes: &mut [u8], bit: u64) {
    let len = bytes.len() as u64 * 8;
    if len > 0 {
        let bit = bit % len;
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

impl Datapath for Faulty {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn fd(&self) -> RawFd {
        self.any.as_raw_fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let now = sys::monotonic_nanos();
        self.timer.clear();
        self.send_due(now)?;
        let mut given = 0;
        while given < limit
            && let Some(mut frame) = self.arriving.due(now)
        {
            take(Received { bytes: Bytes::Own(&mut frame.bytes), offload: frame.offload, vlan: frame.vlan });
            given += 1;
        }
        let Faulty { inner, faults, dice, arriving, counts, .. } = &mut *self;
        // A frame may come twice: half of the room is asked for.
        let room = (limit - given).div_ceil(2);
        let got = inner.recv(room, &mut |received| {
            let lot = draw(dice, faults, counts);
            let mut bytes = received.bytes.as_slice().to_vec();
            let mut offload = received.offload;
            if let Some(bit) = lot.damage {
                turn_bit(&mut bytes, bit);
                // What the device has said about the checksum is no longer so. An open one stays open, and will be right.
                if offload.checksum == Checksum::Good {
                    offload.checksum = Checksum::Bytes;
                }
            }
            let due = now + faults.delay + if lot.late { LATE } else { 0 };
            for _ in 0..lot.copies {
                if due > now || given == limit {
                    arriving.put(Held::arrived(due, bytes.clone(), offload, received.vlan));
                } else {
                    let mut bytes = bytes.clone();
                    take(Received { bytes: Bytes::Own(&mut bytes), offload, vlan: received.vlan });
                    given += 1;
                }
            }
        })?;
        self.wind();
        // The device may have more when it gave all that it was asked for.
        Ok(if got == room { limit } else { given })
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        let now = sys::monotonic_nanos();
        let mut damaged = Vec::new();
        for frame in frames {
            let lot = draw(&mut self.dice, &self.faults, &mut self.counts);
            let mut frame = *frame;
            if let Some(bit) = lot.damage {
                damaged.clear();
                damaged.extend_from_slice(frame.bytes);
                turn_bit(&mut damaged, bit);
                frame.bytes = &damaged;
            }
            let due = now + self.faults.delay + if lot.late { LATE } else { 0 };
            for _ in 0..lot.copies {
                if due > now {
                    self.leaving.put(Held::leaving(due, &frame));
                } else {
                    self.inner.send(&[frame])?;
                }
            }
        }
        self.wind();
        // What is lost on the way has left the device.
        Ok(frames.len())
    }

    fn missed(&mut self) -> u64 {
        self.inner.missed()
    }

    fn describe(&self) -> String {
        let Faults { seed, loss, duplicate, corrupt, reorder, delay } = self.faults;
        let mut words = Vec::new();
        for (chance, what) in [(loss, "lost"), (duplicate, "doubled"), (corrupt, "damaged"), (reorder, "reordered")] {
            if chance > 0 {
                words.push(format!("{}% {what}", f64::from(chance) / 10_000.0));
            }
        }
        if delay > 0 {
            words.push(format!("{} ms late", delay as f64 / 1e6));
        }
        format!("{}; FAULTS (seed {seed}): {}", self.inner.describe(), words.join(", "))
    }
}

/// A frame under way.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    due: u64,
    /// Equal times keep their order.
    order: u64,
    bytes: Vec<u8>,
    offload: Offload,
    vlan: Option<u16>,
    network: usize,
    transport: usize,
    protocol: u8,
}

impl Held {
    fn arrived(due: u64, bytes: Vec<u8>, offload: Offload, vlan: Option<u16>) -> Held {
        Held { due, order: 0, bytes, offload, vlan, network: 0, transport: 0, protocol: 0 }
    }

    fn leaving(due: u64, frame: &Outgoing<'_>) -> Held {
        let Outgoing { bytes, offload, network, transport, protocol } = *frame;
        Held { due, order: 0, bytes: bytes.to_vec(), offload, vlan: None, network, transport, protocol }
    }

    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            bytes: &self.bytes,
            offload: self.offload,
            network: self.network,
            transport: self.transport,
            protocol: self.protocol,
        }
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Frames under way in one direction, by the time they are due.
#[derive(Debug, Default)]
struct Line {
    frames: BinaryHeap<Reverse<Held>>,
    put: u64,
}

impl Line {
    fn put(&mut self, mut frame: Held) {
        if self.frames.len() < UNDER_WAY {
            frame.order = self.put;
            self.put += 1;
            self.frames.push(Reverse(frame));
        }
    }

    fn next(&self) -> Option<u64> {
        self.frames.peek().map(|Reverse(frame)| frame.due)
    }

    fn due(&mut self, now: u64) -> Option<Held> {
        if self.next()? > now {
            return None;
        }
        self.frames.pop().map(|Reverse(frame)| frame)
    }
}

/// Numbers by a seed (SplitMix64).
#[derive(Clone, Copy, Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn falls(&mut self, millionths: u32) -> bool {
        self.next() % 1_000_000 < u64::from(millionths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    /// What arrives of a thousand numbered frames; None for one that is damaged.
    fn through(faults: Faults) -> (Vec<Option<u16>>, Counts) {
        let (ours, mut theirs) = memory::pair(Caps::default()).unwrap();
        let mut faulty = Faulty::new(Box::new(ours), faults).unwrap();
        for n in 0..1000u16 {
            let frame = [n.to_be_bytes(), n.to_be_bytes()].concat();
            theirs.send(&[Outgoing::complete(&frame)]).unwrap();
        }
        let mut seen = Vec::new();
        let end = sys::monotonic_nanos() + 5_000_000_000;
        let all = |counts: Counts| (1000 + counts.doubled - counts.lost) as usize;
        let mut came = false;
        while !came && sys::monotonic_nanos() < end {
            let got = faulty
                .recv(64, &mut |received| {
                    let bytes = received.bytes.as_slice();
                    seen.push((bytes[..2] == bytes[2..]).then(|| u16::from_be_bytes([bytes[0], bytes[1]])));
                })
                .unwrap();
            assert!(got <= 64);
            came = got < 64 && seen.len() == all(faulty.counts());
        }
        (seen, faulty.counts())
    }

    #[test]
    fn a_seed_says_it_all() {
        let faults = Faults { seed: 7, loss: 100_000, duplicate: 50_000, corrupt: 20_000, ..Faults::default() };
        let (first, counts) = through(faults);
        assert_eq!((first.clone(), counts), through(faults));
        assert_ne!(first, through(Faults { seed: 8, ..faults }).0);
        assert!((60..140).contains(&counts.lost), "{counts:?}");
        assert!((20..80).contains(&counts.doubled), "{counts:?}");
        assert_eq!(first.len() as u64, 1000 - counts.lost + counts.doubled);
        assert!(first.iter().filter(|frame| frame.is_none()).count() as u64 >= counts.damaged);
    }

    #[test]
    fn late_frames_come_behind_others_and_none_is_lost() {
        let (seen, counts) = through(Faults { seed: 3, reorder: 100_000, ..Faults::default() });
        assert!(counts.held > 50, "{counts:?}");
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        assert_ne!(seen, sorted);
        assert_eq!(sorted, (0..1000).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn a_delay_keeps_the_order_and_wakes_who_waits() {
        let faults = Faults { delay: 30_000_000, ..Faults::default() };
        let (ours, mut theirs) = memory::pair(Caps::default()).unwrap();
        let mut faulty = Faulty::new(Box::new(ours), faults).unwrap();
        theirs.send(&[Outgoing::complete(b"one"), Outgoing::complete(b"two")]).unwrap();
        let started = std::time::Instant::now();
        assert_eq!(faulty.recv(64, &mut |_| panic!("too early")).unwrap(), 0);
        let mut waiter = sys::Waiter::default();
        waiter.watch([faulty.fd()].into_iter());
        waiter.wait(std::time::Duration::from_secs(5)).unwrap();
        let mut seen = Vec::new();
        faulty.recv(64, &mut |received| seen.push(received.bytes.as_slice().to_vec())).unwrap();
        assert_eq!(seen, [b"one", b"two"]);
        assert!(started.elapsed() >= std::time::Duration::from_millis(30));
        // The same on the way out.
        faulty.send(&[Outgoing::complete(b"back")]).unwrap();
        assert_eq!(theirs.recv(1, &mut |_| panic!("too early")).unwrap(), 0);
        waiter.wait(std::time::Duration::from_secs(5)).unwrap();
        faulty.recv(64, &mut |_| {}).unwrap();
        assert_eq!(theirs.recv(1, &mut |_| {}).unwrap(), 1);
    }
}
