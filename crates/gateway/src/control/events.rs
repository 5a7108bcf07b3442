//! Events of connections, from the loop to those who watch.

use hairpin_commands::conntrack::Happening;
use hairpin_engine::track::{ExpectRecord, Record};
use hairpin_engine::{Engine, Event, Now, Wall};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Events kept for a watcher that is slow; later ones are lost to it.
const MAX_WAITING: usize = 16_384;

/// Where the loop tells, and watchers listen. The loop never waits for a watcher.
#[derive(Default)]
pub struct Hub {
    watchers: Mutex<Vec<Arc<Queue>>>,
    count: AtomicUsize,
}

/// What happened to a connection or an expectation.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) happening: Happening,
    pub(super) what: What,
    pub(super) wall: Wall,
    /// The process that did it by a command; None for packets and time.
    pub(super) by: Option<u32>,
}

/// To which.
#[derive(Clone, Debug)]
pub(super) enum What {
    Connection(Arc<Record>),
    Expectation(Arc<ExpectRecord>),
}

/// Some events, and how many the watcher has lost so far.
pub(super) struct Batch {
    pub(super) items: VecDeque<Item>,
    pub(super) lost: u64,
}

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    lost: u64,
    stopped: bool,
}

impl Hub {
    /// Whether anyone watches.
    pub fn is_watched(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn watch(self: &Arc<Hub>) -> Watcher {
        let queue = Arc::new(Queue::default());
        lock(&self.watchers).push(Arc::clone(&queue));
        self.count.fetch_add(1, Ordering::Relaxed);
        Watcher { hub: Arc::clone(self), queue }
    }

    /// Tells what happened in a batch, or because of a process's command.
    pub(super) fn tell(&self, engine: &Engine, now: &Now, events: &[Event], by: Option<u32>) {
        if !self.is_watched() {
            return;
        }
        let conns = &engine.state().tracker().conns;
        let record = |id, seen: &Option<Box<Record>>| {
            let seen = seen.as_deref().cloned();
            let record = seen.or_else(|| Some(conns.record(conns.get(id)?, now.mono)))?;
            Some(What::Connection(Arc::new(record)))
        };
        let expected = |record: &ExpectRecord| What::Expectation(Arc::new(record.clone()));
        let items: Vec<Item> = events
            .iter()
            .filter_map(|event| {
                let (happening, what) = match event {
                    Event::ConnNew(id, seen) => (Happening::New, record(*id, seen)?),
                    Event::ConnChanged(id, seen) => (Happening::Update, record(*id, seen)?),
                    Event::ConnGone(conn) => {
                        (Happening::Destroy, What::Connection(Arc::new(conns.record(conn, now.mono))))
                    }
                    Event::ExpectNew(record) => (Happening::New, expected(record)),
                    Event::ExpectGone(record) => (Happening::Destroy, expected(record)),
                    _ => return None,
                };
                Some(Item { happening, what, wall: now.wall, by })
            })
            .collect();
        if items.is_empty() {
            return;
        }
        for queue in lock(&self.watchers).iter() {
            let mut waiting = lock(&queue.state);
            for item in &items {
                if waiting.items.len() < MAX_WAITING {
                    waiting.items.push_back(item.clone());
                } else {
                    waiting.lost += 1;
                }
            }
            queue.news.notify_one();
        }
    }
}

/// One who watches.
pub(super) struct Watcher {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
}

impl Watcher {
    /// Waits for events; None when it was told to stop.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut waiting = lock(&self.queue.state);
        while waiting.items.is_empty() && !waiting.stopped {
            waiting = self.queue.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.items.is_empty() {
            return None;
        }
        Some(Batch { items: std::mem::take(&mut waiting.items), lost: waiting.lost })
    }

    pub(super) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.queue))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        lock(&self.hub.watchers).retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.hub.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends a watch from another thread.
pub(super) struct Stopper(Arc<Queue>);

impl Stopper {
    pub(super) fn stop(&self) {
        lock(&self.0.state).stopped = true;
        self.0.news.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
