//! A link in memory, for tests: what one end sends, the other receives.

use crate::sys::Wake;
use crate::{Bytes, Caps, Datapath, Outgoing, Received};
use hairpin_engine::packet::Offload;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

type Queue = Arc<Mutex<VecDeque<(Vec<u8>, Offload)>>>;

/// One end of a link.
#[derive(Debug)]
pub struct Memory {
    caps: Caps,
    incoming: Queue,
    outgoing: Queue,
    wake: Wake,
    wake_other: Wake,
}

/// How many frames wait at most.
const ROOM: usize = 4096;

/// Both ends of a link.
pub fn pair(caps: Caps) -> io::Result<(Memory, Memory)> {
    let (a, b) = (Queue::default(), Queue::default());
    let (wake_a, wake_b) = (Wake::new()?, Wake::new()?);
    let one = Memory {
        caps,
        incoming: Arc::clone(&a),
        outgoing: Arc::clone(&b),
        wake: wake_a.clone(),
        wake_other: wake_b.clone(),
    };
    Ok((one, Memory { caps, incoming: b, outgoing: a, wake: wake_b, wake_other: wake_a }))
}

fn locked(queue: &Queue) -> std::sync::MutexGuard<'_, VecDeque<(Vec<u8>, Offload)>> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Datapath for Memory {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.wake.clear();
        for n in 0..limit {
            let Some((mut bytes, offload)) = locked(&self.incoming).pop_front() else { return Ok(n) };
            take(Received { bytes: Bytes::Own(&mut bytes), offload, vlan: None });
        }
        Ok(limit)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        let mut queue = locked(&self.outgoing);
        let room = ROOM.saturating_sub(queue.len()).min(frames.len());
        queue.extend(frames.iter().take(room).map(|frame| (frame.bytes.to_vec(), frame.offload)));
        drop(queue);
        self.wake_other.wake();
        Ok(room)
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
