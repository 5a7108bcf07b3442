//! Which processor a loop runs on.
//!
//! A loop that the scheduler moves about costs its neighbors: each frame wakes it, and to wake somebody on another processor, who may be
//! elsewhere next time, takes longer than to handle the frame. A loop that stays where it is leaves the other processors to those who
//! send and receive: bulk TCP between two namespaces on two processors is a quarter to two fifths faster for it.
//!
//! Staying is only good while nobody else is stuck on the same processor. The kernel counts how long a thread ran and how long it waited
//! to run (`/proc/thread-self/schedstat`): one that waited more than half as long as it ran goes free for a second, and stays where it finds
//! itself then. (Beside another busy thread it waits as long as it runs.)

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Which processor the loop of a gateway is to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// The last one that the process may use, or another one where there is less to wait for.
    #[default]
    Auto,
    /// Any, as the scheduler likes.
    Any,
    /// This one.
    Number(usize),
}

/// What the process was allowed before one of its threads chose.
static ALLOWED: OnceLock<CpuSet> = OnceLock::new();

/// How long a thread may wait in a second without being held up, in nanoseconds.
const HARMLESS: u64 = 50_000_000;

fn allowed() -> io::Result<&'static CpuSet> {
    let own = sched_getaffinity(None)?;
    Ok(ALLOWED.get_or_init(|| own))
}

/// A thread made by one that stays on a processor would stay there too: it is free again.
pub(crate) fn go_free() {
    if let Some(allowed) = ALLOWED.get() {
        // What it was allowed it may have been refused since; then it stays.
        let _ = sched_setaffinity(None, allowed);
    }
}

/// Nanoseconds that a thread has had.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    ran: u64,
    waited: u64,
}

impl Time {
    fn parse(text: &str) -> Option<Time> {
        let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
        Some(Time { ran: words.next()??, waited: words.next()?? })
    }

    fn since(self, before: Time) -> Time {
        Time { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }

    /// Whether a thread with so much time in a second should rather be elsewhere.
    fn is_held_up(self) -> bool {
        self.waited > HARMLESS.max(self.ran / 2)
    }
}

/// Keeps the thread that made it on a processor.
#[derive(Debug)]
pub struct Stay {
    choice: Processor,
    /// Where the kernel says how long this thread ran and waited; None where it does not say.
    times: Option<File>,
    before: Time,
    /// Where it stays; None while it is free.
    at: Option<usize>,
    /// It has stayed somewhere, and was held up.
    has_moved: bool,
}

impl Stay {
    /// For the calling thread, which is free until [`settle`](Stay::settle). Opens what it reads later.
    ///
    /// # Errors
    /// The process may not use the processor that was named.
    pub fn new(choice: Processor) -> io::Result<Stay> {
        if let Processor::Number(number) = choice {
            let may = allowed()?;
            if number >= CpuSet::MAX_CPU || !may.is_set(number) {
                let known: Vec<String> =
                    (0..CpuSet::MAX_CPU).filter(|n| may.is_set(*n)).map(|n| n.to_string()).collect();
                let text = format!("cpu {number}: this process may use {}", known.join(", "));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let times = File::open("/proc/thread-self/schedstat").ok();
        Ok(Stay { choice, times, before: Time::default(), at: None, has_moved: false })
    }

    /// Once a second, and first when the work begins. `alone`: no other thread works for the same devices; with others the scheduler
    /// decides.
    pub fn settle(&mut self, alone: bool) {
        let time = self.time();
        let lately = time.since(std::mem::replace(&mut self.before, time));
        let place = match (self.choice, self.at) {
            (Processor::Any, _) => None,
            (Processor::Number(number), _) => Some(number),
            (Processor::Auto, _) if !alone => None,
            (Processor::Auto, Some(_)) if lately.is_held_up() => None,
            (Processor::Auto, Some(at)) => Some(at),
            // The first time, or after a second of freedom.
            (Processor::Auto, None) => self.find(),
        };
        if place != self.at && set(place).is_ok() {
            self.has_moved |= place.is_none();
            self.at = place;
        }
    }

    /// Where it stays; None while it is free.
    pub fn at(&self) -> Option<usize> {
        self.at
    }

    fn time(&self) -> Time {
        let mut text = [0; 64];
        let len = self.times.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        std::str::from_utf8(&text[..len]).ok().and_then(Time::parse).unwrap_or_default()
    }

    /// The last one: interrupts mostly go to the first. One that was held up there stays where the scheduler has put it.
    fn find(&self) -> Option<usize> {
        let allowed = allowed().ok()?;
        match self.has_moved {
            _ if allowed.count() < 2 => None,
            true => Some(sched_getcpu()),
            false => (0..CpuSet::MAX_CPU).rev().find(|n| allowed.is_set(*n)),
        }
    }
}

fn set(place: Option<usize>) -> io::Result<()> {
    let everywhere = allowed()?;
    let set = match place {
        None => *everywhere,
        Some(number) => {
            let mut one = CpuSet::new();
            one.set(number);
            one
        }
    };
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_a_processor_is_held_up() {
        let time = |ran, waited| Time { ran, waited };
        assert!(!time(700_000_000, 250_000_000).is_held_up());
        assert!(time(500_000_000, 480_000_000).is_held_up());
        // A few milliseconds are nothing, however little he ran.
        assert!(!time(1_000_000, 40_000_000).is_held_up());
        let before = Time::parse("343526 91095 2\n").unwrap();
        assert_eq!((before.ran, before.waited), (343_526, 91_095));
        let lately = Time::parse("443526 91095 3\n").unwrap().since(before);
        assert_eq!((lately.ran, lately.waited), (100_000, 0));
        assert!(Time::parse("").is_none() && Time::parse("12").is_none());
    }

    /// In a thread of its own: it changes what the thread may use.
    #[test]
    fn a_thread_stays_and_those_it_makes_go_free() {
        std::thread::spawn(|| {
            let before = sched_getaffinity(None).unwrap();
            let mut stay = Stay::new(Processor::Auto).unwrap();
            assert_eq!(stay.at(), None);
            stay.settle(true);
            if before.count() < 2 {
                assert_eq!(stay.at(), None);
                return;
            }
            let last = (0..CpuSet::MAX_CPU).rev().find(|n| before.is_set(*n));
            assert_eq!(stay.at(), last);
            assert_eq!(Some(sched_getcpu()), last);
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
            std::thread::spawn(move || {
                assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
                go_free();
                assert_eq!(sched_getaffinity(None).unwrap(), before);
            })
            .join()
            .unwrap();
            // Threads of its own came: the scheduler decides.
            stay.settle(false);
            assert_eq!((stay.at(), sched_getaffinity(None).unwrap()), (None, before));
            // Since then it stays where it is, wherever that is.
            stay.settle(true);
            assert!(stay.at().is_some_and(|at| before.is_set(at)));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused_with_those_that_are() {
        let error = Stay::new(Processor::Number(CpuSet::MAX_CPU)).unwrap_err().to_string();
        assert!(error.starts_with("cpu 1024: this process may use "), "{error}");
        assert!(Stay::new(Processor::Any).is_ok());
    }
}
