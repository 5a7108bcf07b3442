//! Pieces of memory of one cache line each, side by side. The system's allocator would spread them over small pages and put a header
//! before each: 80 bytes or more instead of 64, in two cache lines as often as not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// A cell, and what has to be asked for to be given one.
pub(super) const CELL: Layout = match Layout::from_size_align(64, 64) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Chunks of cells are taken from the system so large, from the first to the last.
const FIRST: usize = 64 << 10;
const LAST: usize = 2 << 20;

/// Cells that are free, and where the next ones come from. What was once taken from the system stays here.
pub(super) struct Cells {
    is_locked: AtomicBool,
    state: UnsafeCell<State>,
}

struct State {
    /// The last cell given back. Each holds the address of the one before it.
    free: *mut u8,
    next: *mut u8,
    /// Bytes left from `next` on.
    left: usize,
    /// Bytes taken from the system.
    taken: usize,
}

// SAFETY: the state is only touched under the lock.
unsafe impl Sync for Cells {}

impl Cells {
    pub(super) const fn new() -> Cells {
        let state = State { free: ptr::null_mut(), next: ptr::null_mut(), left: 0, taken: 0 };
        Cells { is_locked: AtomicBool::new(false), state: UnsafeCell::new(state) }
    }

    /// A cell; null when there is no memory. `advise` hears of each chunk before its first use.
    pub(super) fn take(&self, advise: impl FnOnce(*mut u8, usize)) -> *mut u8 {
        self.locked(|state| {
            if !state.free.is_null() {
                let cell = state.free;
                // SAFETY: a free cell is 64 bytes that nobody else uses, and begins with the address that `give_back` wrote.
                state.free = unsafe { cell.cast::<*mut u8>().read() };
                return cell;
            }
            if state.left == 0 {
                let size = state.taken.clamp(FIRST, LAST);
                let Ok(layout) = Layout::from_size_align(size, size) else { return ptr::null_mut() };
                // SAFETY: the layout is not empty.
                let chunk = unsafe { System.alloc(layout) };
                if chunk.is_null() {
                    return chunk;
                }
                advise(chunk, size);
                *state = State { free: state.free, next: chunk, left: size, taken: state.taken + size };
            }
            let cell = state.next;
            state.left -= CELL.size();
            // SAFETY: the chunk has `left` bytes more behind this cell, perhaps none.
            state.next = unsafe { cell.add(CELL.size()) };
            cell
        })
    }

    /// Takes a cell back.
    ///
    /// # Safety
    /// It has the layout [`CELL`], and nobody uses it any more.
    pub(super) unsafe fn give_back(&self, cell: *mut u8) {
        self.locked(|state| {
            // SAFETY: the caller's promise: 64 bytes that are ours now, well aligned for an address.
            unsafe { cell.cast::<*mut u8>().write(state.free) };
            state.free = cell;
        });
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self.is_locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: only one thread at a time gets past the lock.
        let result = act(unsafe { &mut *self.state.get() });
        self.is_locked.store(false, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cells_are_apart_and_come_again() {
        static CELLS: Cells = Cells::new();
        let mut chunks = Vec::new();
        let mut take = || CELLS.take(|_, size| chunks.push(size)) as usize;
        let first: BTreeSet<usize> = (0..3000).map(|_| take()).collect();
        assert_eq!(first.len(), 3000);
        assert!(first.iter().all(|cell| cell % 64 == 0));
        assert!(first.iter().zip(first.iter().skip(1)).all(|(a, b)| b - a >= 64));
        for cell in &first {
            // SAFETY: it came from `take` and is not used.
            unsafe { CELLS.give_back(*cell as *mut u8) };
        }
        assert!((0..3000).all(|_| first.contains(&take())));
        assert!(!first.contains(&take()));
        assert_eq!(chunks, [FIRST, FIRST, 2 * FIRST]);
    }

    #[test]
    fn threads_get_different_ones() {
        static CELLS: Cells = Cells::new();
        let all: BTreeSet<usize> = std::thread::scope(|scope| {
            let take = || (0..2000).map(|_| CELLS.take(|_, _| ()) as usize).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(all.len(), 8000);
    }
}
