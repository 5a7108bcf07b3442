//! Large tables on huge pages: a packet's connection is a walk through memory that nobody touched lately, and with 4 KiB pages
//! each step of it is a walk through page tables as well. With a million connections that was about a third of a packet's time
//! (the engine's bench, one run after the other: 690 ns without, 471 with).
//!
//! Most systems give huge pages only to who asks (`/sys/kernel/mm/transparent_hugepage/enabled` says `madvise`), so this asks.
//! Where none are to be had, all goes on with small ones.

use crate::cells::{CELL, Cells};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks from this size on are worth it: the tables' parts, not the small change of a packet.
const LARGE: usize = 64 << 10;
/// What memory is taken from the system in, so that a huge page lies wholly in it.
const STEP: usize = 128 << 20;
/// A huge page.
const PAGE: usize = 2 << 20;

static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// From now on large blocks lie on huge pages where the system has them. For programs that keep tables for long; a command that
/// ends at once is faster without. Calls after the first do nothing.
pub fn prefer() {
    if IS_WANTED.swap(true, Ordering::Relaxed) {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes numbers and changes how the allocator grows from here on. It must not race with itself: the swap
    // above lets one caller through.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TOP_PAD, STEP as i32);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * STEP as i32);
    }
}

static CELLS: Cells = Cells::new();

/// The system's allocator, which after [`prefer`] asks for huge pages under large blocks, and has pieces of one cache line (64 bytes,
/// so aligned) side by side.
#[derive(Debug, Default)]
pub struct Allocator;

// SAFETY: blocks of the layout CELL are cells and nothing else is. Every other call goes to the system's allocator with its own
// arguments; what is added only advises on memory that it gave.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout == CELL {
            return CELLS.take(advise_chunk);
        }
        // SAFETY: the caller's promise is passed on.
        let block = unsafe { System.alloc(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout == CELL {
            let cell = CELLS.take(advise_chunk);
            if !cell.is_null() {
                // SAFETY: a cell has as many bytes.
                unsafe { cell.write_bytes(0, CELL.size()) };
            }
            return cell;
        }
        // SAFETY: the caller's promise is passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout == CELL {
            // SAFETY: all blocks of this layout are cells, and the caller promises not to use it any more.
            return unsafe { CELLS.give_back(block) };
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() == CELL.align() && (layout.size() == CELL.size()) != (size == CELL.size()) {
            // SAFETY: the caller promises that the new size goes with the alignment, and that the old block has that layout; both
            // blocks hold what is copied, and the old one is used no more.
            unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    new.copy_from_nonoverlapping(block, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                return new;
            }
        }
        // SAFETY: the caller's promise is passed on.
        let block = unsafe { System.realloc(block, layout, size) };
        advise(block, size);
        block
    }
}

#[inline]
fn advise(block: *mut u8, size: usize) {
    if size >= LARGE && !block.is_null() && IS_WANTED.load(Ordering::Relaxed) {
        ask(block as usize, size);
    }
}

fn advise_chunk(chunk: *mut u8, size: usize) {
    if size >= PAGE && IS_WANTED.load(Ordering::Relaxed) {
        // SAFETY: this advice changes no content and no mapping of any address.
        unsafe { libc::madvise(chunk.cast(), size, libc::MADV_HUGEPAGE) };
    }
}

/// Asks for the huge pages that the block touches, and for those of the memory behind it that was taken in the same step: advice
/// must come before the first touch. Advice about what is not mapped is passed over by the kernel, and a refusal leaves small pages.
#[cold]
fn ask(block: usize, size: usize) {
    let start = block & !(PAGE - 1);
    let end = block.saturating_add(size + STEP).checked_next_multiple_of(PAGE).unwrap_or(block);
    if let Some(length) = end.checked_sub(start) {
        // SAFETY: this advice changes no content and no mapping of any address.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of all sizes keep their content through growing and shrinking, before and after the wish.
    #[test]
    fn blocks_are_what_the_system_gives() {
        for wanted in [false, true] {
            if wanted {
                prefer();
            }
            for size in [1, 32, 64, 100, LARGE - 1, LARGE, PAGE + 1, 3 * PAGE] {
                let layout = Layout::from_size_align(size, 64).expect("a layout");
                // SAFETY: the layouts are not empty, and each block is written and read within its size and given back once.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert!(!block.is_null());
                    assert_eq!((*block, *block.add(size - 1)), (0, 0));
                    *block.add(size - 1) = 7;
                    let grown = Allocator.realloc(block, layout, 2 * size);
                    assert!(!grown.is_null());
                    assert_eq!(*grown.add(size - 1), 7);
                    Allocator.dealloc(grown, Layout::from_size_align(2 * size, 64).expect("a layout"));
                }
            }
        }
    }
}
