//! How others act on the running gateway. The loop alone touches the engine; everybody else comes to it between two batches.
//!
//! * From another thread: [`Handle::ask`] hands a piece of work to the loop, which does it between two batches, and gives back its result. No
//!   packet sees half of what it does. Whatever takes long (reading rules, making text) is done before or after, on the thread that asks.
//! * On the loop's own thread: an [`Attendant`] is called at start, with each batch's events, every second, with a changed
//!   host file, and at the end.

use crate::host_file::Live;
use crate::neighbors::Neighbors;
use crate::queues::Queues;
use crate::watch::Watchers;
use hairpin_datapath::sys::Wake;
use hairpin_engine::{Engine, Event, Now, Wall};
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What is at hand between two batches.
pub struct Moment<'a> {
    /// The engine, to look at and to change.
    pub engine: &'a mut Engine,
    /// What time it is.
    pub now: Now,
    /// Next hops.
    pub neighbors: &'a mut Neighbors,
    /// What the loop has counted.
    pub stats: &'a Stats,
    /// The host as the host file describes it, from which it is made anew: the engine has what was made of it.
    pub setup: &'a mut hairpin_engine::setup::Setup,
    /// Who decides about packets.
    pub queues: &'a mut Queues,
    /// Who looks at packets.
    pub watchers: &'a mut Watchers,
    /// Set it to end the gateway.
    pub end: &'a mut bool,
}

/// What the loop counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each device, in the order of the host file.
    pub devices: Vec<DeviceStats>,
    /// Batches handled.
    pub batches: u64,
    /// Packets in them.
    pub packets: u64,
    /// Nanoseconds spent with them, from their arrival to their leaving.
    pub busy_nanos: u64,
    /// Batches by size: of 1, 2, up to 4, 8, ... packets.
    pub batch_sizes: [u64; 10],
    /// Packets for this host.
    pub delivered: u64,
    /// Packets by the time that a packet of their batch took: of up to 128 ns, 256, 512 and so on.
    pub packet_nanos: [u64; 14],
    /// The longest time that packets had to wait for something else that the loop did.
    pub longest_pause_nanos: u64,
    /// Such waits: of up to 0.1 ms, 1, 10, 50, 100 ms, and longer.
    pub pauses: [u64; 6],
    /// All of them together.
    pub pause_nanos: u64,
    /// When the host file was last read anew, and whether it was put in force.
    pub reloaded: Option<(Wall, bool)>,
}

/// Upper ends of all but the last of [`Stats::pauses`].
pub const PAUSES: [u64; 5] = [100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000];

impl Stats {
    /// Packets had to wait so long.
    pub(crate) fn note_pause(&mut self, nanos: u64) {
        self.longest_pause_nanos = self.longest_pause_nanos.max(nanos);
        self.pause_nanos += nanos;
        self.pauses[PAUSES.iter().position(|end| nanos <= *end).unwrap_or(PAUSES.len())] += 1;
    }

    /// A batch of so many packets took so long.
    pub(crate) fn note_batch(&mut self, packets: usize, nanos: u64) {
        self.busy_nanos += nanos;
        let each = nanos / packets.max(1) as u64;
        // Up to 128 ns is the first, each of the others twice as much as the one before.
        let at = (each.max(1) - 1).checked_ilog2().map_or(0, |log| (log + 1).saturating_sub(7)) as usize;
        self.packet_nanos[at.min(self.packet_nanos.len() - 1)] += packets as u64;
    }
}

/// What the loop counts of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Its name.
    pub name: String,
    /// How it is reached, in words.
    pub datapath: String,
    /// Frames that arrived. A super-packet is one.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that the kernel dropped before they were taken.
    pub missed: u64,
    /// Frames that left.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that the device did not take.
    pub lost: u64,
}

/// Serves something beside the packets, on the loop's thread: snapshots, logs, metrics. What it does keeps packets waiting.
pub trait Attendant {
    /// The devices are open; packets flow from now on. An error keeps the gateway from starting.
    fn start(&mut self, moment: &mut Moment<'_>, handle: &Handle) -> io::Result<()> {
        let _ = (moment, handle);
        Ok(())
    }

    /// After each batch that reported something.
    fn events(&mut self, engine: &Engine, now: &Now, events: &[Event]) {
        let _ = (engine, now, events);
    }

    /// Every second.
    fn tick(&mut self, moment: &mut Moment<'_>) {
        let _ = moment;
    }

    /// The host file is another one: opens what it asks for, and changes nothing yet.
    ///
    /// # Errors
    /// The file as a whole is refused.
    fn prepare(&mut self, live: &Live) -> io::Result<()> {
        let _ = live;
        Ok(())
    }

    /// What was prepared is in force; or it is not, and forgotten.
    fn settle(&mut self, in_force: bool) {
        let _ = in_force;
    }

    /// The gateway ends; no packet will be handled any more.
    fn stop(&mut self, moment: &mut Moment<'_>) {
        let _ = moment;
    }
}

type Job = Box<dyn FnOnce(&mut Moment<'_>) + Send>;

/// The way to a running gateway from other threads. It can be copied.
#[derive(Clone)]
pub struct Handle {
    jobs: Sender<Job>,
    wake: Wake,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// The gateway has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway has ended")
    }
}

impl std::error::Error for Gone {}

impl Handle {
    /// A handle, and the loop's end of it.
    pub(crate) fn new() -> io::Result<(Handle, Inbox)> {
        let (jobs, inbox) = channel();
        let wake = Wake::new()?;
        Ok((Handle { jobs, wake: wake.clone() }, Inbox { jobs: inbox, wake }))
    }

    /// Has the loop do this between two batches, and waits for the result.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Moment<'_>) -> T + Send + 'static) -> Result<T, Gone> {
        let (answer, result) = channel();
        // Who asked may have gone away meanwhile; the work is done all the same.
        let job: Job = Box::new(move |moment| drop(answer.send(work(moment))));
        self.jobs.send(job).map_err(|_| Gone)?;
        self.wake.wake();
        result.recv().map_err(|_| Gone)
    }
}

/// The loop's end of the handles.
pub(crate) struct Inbox {
    jobs: Receiver<Job>,
    pub(crate) wake: Wake,
}

impl Inbox {
    /// Does what was asked for.
    pub(crate) fn serve(&self, moment: &mut Moment<'_>) {
        self.wake.clear();
        while let Ok(job) = self.jobs.try_recv() {
            job(moment);
        }
    }
}
