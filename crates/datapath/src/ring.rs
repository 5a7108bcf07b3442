//! The ring that a packet socket's frames arrive in (`TPACKET_V2`): memory that the kernel fills and we read, without a call for each.
//!
//! A place is as long as a frame of the device. What is longer, a super-packet, waits in the socket's queue instead, and its place
//! only says that it does: it is then received into a buffer of its own, so that it is copied once like any other.

use crate::map::Map;
use crate::sys::set_option;
use crate::vnet;
use hairpin_engine::packet::Offload;
use std::io;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory of one ring.
const BYTES: u32 = 4 << 20;
/// Places are cut out of blocks of so many bytes, which the kernel wants in whole pages.
const BLOCK: u32 = 64 << 10;
/// The largest place: a page's worth of frame is not copied twice.
const LARGEST: u32 = 4096;
/// What stands before a frame in its place: `tpacket2_hdr`, an address, the header of `vnet`, and what aligns them.
const BEFORE: u32 = 96;

/// `struct tpacket2_hdr`.
#[repr(C)]
struct Header {
    status: AtomicU32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    sec: u32,
    nsec: u32,
    vlan_tci: u16,
    vlan_tpid: u16,
    padding: [u8; 4],
}

/// `struct tpacket_req`.
#[repr(C)]
struct Request {
    block_size: u32,
    block_nr: u32,
    frame_size: u32,
    frame_nr: u32,
}

const TPACKET_V2: libc::c_int = 1;
const PACKET_RX_RING: libc::c_int = 5;
const PACKET_COPY_THRESH: libc::c_int = 7;
const PACKET_VERSION: libc::c_int = 10;

const KERNEL: u32 = 0;
const USER: u32 = 1;
const COPY: u32 = 1 << 1;
const VLAN_VALID: u32 = 1 << 4;

/// A ring, and where we are in it.
#[derive(Debug)]
pub(crate) struct Ring {
    map: Map,
    place: u32,
    per_block: u32,
    places: u32,
    next: u32,
}

/// What the next place says.
pub(crate) enum Next<'r> {
    /// A frame.
    Frame { bytes: &'r mut [u8], offload: Offload, vlan: Option<u16> },
    /// A frame that waits in the socket's queue.
    Queued,
    /// A frame that neither had room.
    Lost,
}

impl Ring {
    /// Gives a socket that is not bound yet a ring for a device with packets of this size. The headers of `vnet` are on.
    pub(crate) fn open(fd: RawFd, mtu: u32) -> io::Result<Ring> {
        set_option(fd, libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2)?;
        set_option(fd, libc::SOL_PACKET, PACKET_COPY_THRESH, &1)?;
        // Whole cache lines, and no power of two: places side by side are not rivals for the same part of a cache.
        let place = ((mtu.min(LARGEST) + 18 + BEFORE).next_multiple_of(64) | 64).min(LARGEST);
        let per_block = BLOCK / place;
        let blocks = BYTES / BLOCK;
        let request = Request { block_size: BLOCK, block_nr: blocks, frame_size: place, frame_nr: blocks * per_block };
        set_option(fd, libc::SOL_PACKET, PACKET_RX_RING, &request)?;
        let map = Map::new((blocks * BLOCK) as usize, Some((fd, 0)))?;
        Ok(Ring { map, place, per_block, places: blocks * per_block, next: 0 })
    }

    /// Frames that there is room for.
    pub(crate) fn places(&self) -> u32 {
        self.places
    }

    fn offset(&self, n: u32) -> u64 {
        u64::from(n / self.per_block) * u64::from(BLOCK) + u64::from(n % self.per_block) * u64::from(self.place)
    }

    fn status(&self, n: u32) -> &AtomicU32 {
        let at = self.offset(n) as usize + offset_of!(Header, status);
        // SAFETY: a place of the ring begins with this header.
        unsafe { self.map.start.add(at).cast::<AtomicU32>().as_ref() }
    }

    /// The next place, if the kernel has filled it. It stays the next one until [`release`](Ring::release).
    pub(crate) fn next(&mut self) -> Option<Next<'_>> {
        let status = self.status(self.next).load(Ordering::Acquire);
        if status & USER == 0 {
            return None;
        }
        let offset = self.offset(self.next);
        // SAFETY: as in `status`; while the place is ours, the kernel does not write there.
        let (len, snaplen, mac, tci) = unsafe {
            let header = self.map.start.add(offset as usize).cast::<Header>().as_ref();
            (header.len, header.snaplen, u64::from(header.mac), header.vlan_tci)
        };
        let vlan = (status & VLAN_VALID != 0).then_some(tci & 0xfff);
        if status & COPY != 0 {
            return Some(Next::Queued);
        }
        let before = vnet::LEN as u64;
        let end = mac.checked_add(u64::from(snaplen)).filter(|end| *end <= u64::from(self.place) && mac >= before);
        if end.is_none() || snaplen < len {
            return Some(Next::Lost);
        }
        let frame = self.map.bytes_mut(offset + mac - before, snaplen + before as u32)?;
        let (header, bytes) = frame.split_first_chunk_mut::<{ vnet::LEN }>()?;
        let offload = vnet::parse(header, bytes, crate::packet::ETHERNET);
        Some(Next::Frame { bytes, offload, vlan })
    }

    /// How many places from the next one on say that their frame waits in the socket's queue, at most `limit`; their tags.
    pub(crate) fn queued(&self, tags: &mut [Option<u16>]) -> usize {
        for (n, tag) in tags.iter_mut().enumerate() {
            let place = (self.next + n as u32) % self.places;
            let status = self.status(place).load(Ordering::Acquire);
            if status & (USER | COPY) != USER | COPY {
                return n;
            }
            let at = self.offset(place) as usize;
            // SAFETY: as in `next`.
            let tci = unsafe { self.map.start.add(at).cast::<Header>().as_ref().vlan_tci };
            *tag = (status & VLAN_VALID != 0).then_some(tci & 0xfff);
        }
        tags.len()
    }

    /// Gives the next places back to the kernel.
    pub(crate) fn release(&mut self, count: usize) {
        for _ in 0..count {
            self.status(self.next).store(KERNEL, Ordering::Release);
            self.next += 1;
            if self.next == self.places {
                self.next = 0;
            }
        }
    }
}
