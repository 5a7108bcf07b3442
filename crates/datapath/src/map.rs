//! Memory that is mapped: of our own, or shared with the kernel.

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// Mapped memory.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) start: NonNull<u8>,
    pub(crate) len: usize,
}

// SAFETY: memory, and nothing that belongs to a thread.
unsafe impl Send for Map {}

impl Map {
    /// So many bytes: new ones, or those that a descriptor has at an offset.
    pub(crate) fn new(len: usize, shared: Option<(RawFd, u64)>) -> io::Result<Map> {
        let (kind, fd, offset) = match shared {
            Some((fd, offset)) => (libc::MAP_SHARED, fd, offset),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        };
        // SAFETY: new memory at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                kind | libc::MAP_POPULATE,
                fd,
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(|start| Map { start, len }).ok_or_else(|| io::Error::other("no memory"))
    }

    /// Bytes that the kernel does not write to meanwhile; None where they are not all inside.
    pub(crate) fn bytes(&self, at: u64, len: u32) -> Option<&[u8]> {
        let (at, len) = (usize::try_from(at).ok()?, len as usize);
        if at.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: inside the map; the kernel does not write there until the place is given back.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) })
    }

    /// The same, to be changed.
    pub(crate) fn bytes_mut(&mut self, at: u64, len: u32) -> Option<&mut [u8]> {
        let (at, len) = (usize::try_from(at).ok()?, len as usize);
        if at.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: as in `bytes`, and nobody else has the map.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), len) })
    }

    /// Puts bytes at a place that is free.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        if let Some(place) = self.bytes_mut(at, bytes.len() as u32) {
            place.copy_from_slice(bytes);
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody uses it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
