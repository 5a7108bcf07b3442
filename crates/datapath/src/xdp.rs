//! AF_XDP: frames go past the kernel's stack. A program of six instructions at the device's entrance hands every frame to the socket of its
//! queue; a frame without one is dropped, so that the kernel does not answer beside us.
//!
//! Each queue has memory of its own, half of it for frames that arrive and half for frames that leave. Frames are copied in and out: the
//! engine keeps its packets in buffers of their own.

use crate::bpf::{self, Attach, EXIT, Insn, Program, insn, set};
use crate::map::Map;
use crate::missed::{self, Growth};
use crate::packet::Kit;
use crate::quiet::Quiet;
use crate::sys::{self, at, check, own, set_option};
use crate::{Bytes, Caps, Datapath, Outgoing, Received};
use hairpin_engine::packet::{Checksum, Offload};
use hairpin_wire::{checksum, ethernet, ipv4::Ipv4, ipv6::Ipv6, proto};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries of each ring, and frames for each direction.
const ENTRIES: u32 = 2048;
/// Bytes of a frame's place. The kernel keeps 256 of it for itself.
const SMALL: u32 = 2048;
/// The same for a device with longer packets; the most there is.
const LARGE: u32 = 4096;
/// What the kernel keeps of a frame's place.
const HEADROOM: u32 = 256;
/// Kicks that a full send ring gets before its frames are left to the next call. One kick sends 32.
const KICKS: usize = 2 * ENTRIES as usize / 32;

/// The largest packet.
pub const MAX_MTU: u32 = LARGE - HEADROOM - 18;

/// In the driver, or in the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver where it can, else in the stack.
    Auto,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

/// A device's queues, or some of them.
#[derive(Debug)]
pub struct Xdp {
    /// Before the queues: frames stop coming before the sockets are closed.
    held: Arc<Held>,
    queues: Vec<Queue>,
    /// Ready when one of the queues is, where there are several. A queue alone is waited on itself: one that belongs to another descriptor
    /// has somebody to be told of each frame that comes or has left, also while nobody waits.
    any: Option<OwnedFd>,
    next: usize,
    missed: Growth,
}

/// What all queues of a device share.
#[derive(Debug)]
struct Held {
    _link: OwnedFd,
    native: bool,
    zero_copy: bool,
    fallback: Option<String>,
    /// The other end is on this machine. It leaves checksums open without saying so, and gives up super-packets for us.
    is_veth: bool,
    _quiet: Quiet,
}

impl Xdp {
    /// Opens a device that exists. One with addresses of the kernel's is refused unless they are followed.
    pub fn open(device: &str, mode: Mode, kit: &Kit, follow: bool) -> io::Result<Xdp> {
        let facts = sys::device(device)?;
        let longest = facts.mtu + 18;
        let place = if longest + HEADROOM <= SMALL { SMALL } else { LARGE };
        if longest + HEADROOM > place {
            let text = format!(
                "packets of {} bytes are too long for AF_XDP, which takes {}; use datapath = \"packet\"",
                facts.mtu, MAX_MTU
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let quiet = Quiet::make(device, kit, follow)?;
        let count = queues_of(device);
        let map = bpf::socket_map(count)?;
        let mut queues = Vec::new();
        for n in 0..count {
            let queue = Queue::open(facts.index, n, place).map_err(at(format_args!("{device}, queue {n}")))?;
            bpf::put_socket(&map, n, &queue.fd)?;
            queues.push(queue);
        }
        let program = bpf::load(Program::Xdp, "hairpin_xdp", &redirect(map.as_raw_fd()))?;
        let (link, native, fallback) = attach(&program, facts.index, mode)?;
        let any = match queues.len() {
            1 => None,
            _ => Some(sys::epoll_of(queues.iter().map(|queue| queue.fd.as_raw_fd()))?),
        };
        let zero_copy = queues.first().is_some_and(Queue::is_zero_copy);
        let is_veth = sys::driver_of(device).as_deref() == Some("veth");
        let held = Arc::new(Held { _link: link, native, zero_copy, fallback, is_veth, _quiet: quiet });
        Ok(Xdp { held, queues, any, next: 0, missed: Growth::default() })
    }

    /// How many queues the device has.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Each queue by itself.
    pub fn split(self) -> Vec<Xdp> {
        let one = |queue| Xdp {
            held: Arc::clone(&self.held),
            queues: vec![queue],
            any: None,
            next: 0,
            missed: Growth::default(),
        };
        self.queues.into_iter().map(one).collect()
    }
}

/// `return bpf_redirect_map(map, context->rx_queue_index, XDP_DROP)`.
fn redirect(map: RawFd) -> [Insn; 6] {
    const REDIRECT_MAP: i32 = 51;
    const XDP_DROP: i32 = 1;
    /// The number in the instruction is a map's descriptor.
    const IS_MAP: u8 = 1;
    [
        insn(0x61, 2, 1, 16, 0),
        insn(0x18, 1, IS_MAP, 0, map),
        insn(0, 0, 0, 0, 0),
        set(3, XDP_DROP),
        insn(0x85, 0, 0, 0, REDIRECT_MAP),
        EXIT,
    ]
}

fn attach(program: &OwnedFd, index: u32, mode: Mode) -> io::Result<(OwnedFd, bool, Option<String>)> {
    if mode != Mode::Generic {
        match bpf::attach(program, index, Attach::XdpNative) {
            Ok(link) => return Ok((link, true, None)),
            Err(error) if mode == Mode::Native => {
                return Err(io::Error::new(error.kind(), format!("the driver takes no XDP program: {error}")));
            }
            Err(error) => {
                let link = bpf::attach(program, index, Attach::XdpGeneric)?;
                return Ok((link, false, Some(format!("the driver takes no XDP program: {error}"))));
            }
        }
    }
    Ok((bpf::attach(program, index, Attach::XdpGeneric)?, false, None))
}

/// How many queues a device has for what arrives.
pub fn queues_of(device: &str) -> u32 {
    let entries = std::fs::read_dir(format!("/sys/class/net/{device}/queues"));
    let count = entries.map_or(1, |list| {
        list.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count()
    });
    count.clamp(1, 64) as u32
}

impl Datapath for Xdp {
    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn fd(&self) -> RawFd {
        self.any.as_ref().unwrap_or(&self.queues[0].fd).as_raw_fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let guess = self.held.is_veth;
        let mut take = |bytes: &[u8]| {
            let is_open = guess && looks_open(bytes);
            let checksum = if is_open { Checksum::Partial } else { Checksum::Bytes };
            take(Received { bytes: Bytes::Shared(bytes), offload: Offload { checksum, gso: None }, vlan: None });
        };
        let mut got = 0;
        for _ in 0..self.queues.len() {
            if got == limit {
                break;
            }
            let queue = self.next % self.queues.len();
            self.next = queue + 1;
            got += self.queues[queue].recv(limit - got, &mut take);
        }
        Ok(got)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        // One thread sends: the first queue is as good as any.
        Ok(self.queues[0].send(frames))
    }

    fn missed(&mut self) -> u64 {
        self.missed.to(self.queues.iter().map(|queue| missed::of_xdp_socket(&queue.fd)).sum())
    }

    fn describe(&self) -> String {
        let Held { native, zero_copy, fallback, is_veth, .. } = &*self.held;
        let place = if *native { "in the driver" } else { "in the stack" };
        let copy = if *zero_copy { "zero copy" } else { "frames are copied" };
        let why = fallback.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let queues = self.queues.len();
        let lost = match (native, is_veth) {
            (true, true) => {
                ", which the other end does without too: bulk TCP is many times slower than by datapath = \"packet\""
            }
            (true, false) => "",
            (false, _) => "; longer ones that a local sender leaves whole are lost (`ethtool -K ... tso off gso off')",
        };
        format!(
            "AF_XDP {place}{why}, {copy}, {queues} queue{}; no super-packets{lost}",
            if queues == 1 { "" } else { "s" }
        )
    }
}

/// Whether a transport checksum holds the sum of the pseudo header alone: it was left open. A packet whose right checksum looks so
/// by chance is none the worse for being filled in again.
fn looks_open(frame: &[u8]) -> bool {
    let Some(packet) = frame.get(ethernet::HEADER_LEN..) else { return false };
    let (family, protocol, src, dst, l4) = match (frame[12], frame[13]) {
        (0x08, 0x00) => match Ipv4::new(packet) {
            Some(ip) if !ip.is_fragment() => {
                let end = usize::from(ip.total_len());
                (hairpin_wire::Family::V4, ip.protocol(), ip.src(), ip.dst(), packet.get(ip.header_len()..end))
            }
            _ => return false,
        },
        (0x86, 0xdd) => match Ipv6::new(packet) {
            Some(ip) => {
                let end = 40 + usize::from(ip.payload_len());
                (hairpin_wire::Family::V6, ip.next_header(), ip.src(), ip.dst(), packet.get(40..end))
            }
            None => return false,
        },
        _ => return false,
    };
    let (at, Some(l4)) = (if protocol == proto::TCP { 16 } else { 6 }, l4) else { return false };
    let (proto::TCP | proto::UDP, Some(field)) = (protocol, l4.get(at..at + 2)) else { return false };
    let pseudo = checksum::pseudo_header(family, src, dst, protocol, l4.len() as u32);
    u16::from_be_bytes([field[0], field[1]]) == !checksum::finish(pseudo)
}

/// One queue: a socket, its memory, and four rings that it shares with the kernel.
#[derive(Debug)]
struct Queue {
    /// Before the memory: the kernel lets go of it first.
    fd: OwnedFd,
    fill: Ring,
    completion: Ring,
    receive: Ring,
    send: Ring,
    memory: Map,
    place: u32,
    /// Places of frames that may be sent in.
    free: Vec<u64>,
}

impl Queue {
    fn open(index: u32, queue: u32, place: u32) -> io::Result<Queue> {
        // SAFETY: no pointers.
        let fd = own(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })
            .map_err(at("an AF_XDP socket"))?;
        let raw = fd.as_raw_fd();
        let memory = Map::new(2 * ENTRIES as usize * place as usize, None)?;
        // SAFETY: plain numbers, for which zero is a value.
        let mut register: libc::xdp_umem_reg = unsafe { zeroed() };
        register.addr = memory.start.as_ptr() as u64;
        register.len = memory.len as u64;
        register.chunk_size = place;
        set_option(raw, libc::SOL_XDP, libc::XDP_UMEM_REG, &register)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING] {
            set_option(raw, libc::SOL_XDP, ring, &ENTRIES)?;
        }
        // SAFETY: as above.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { zeroed() };
        let mut len = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
        // SAFETY: room for so many bytes.
        check(unsafe {
            libc::getsockopt(raw, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, (&raw mut offsets).cast(), &raw mut len)
        })?;
        let ring = |offsets: &libc::xdp_ring_offset, entry: usize, at: u64| Ring::map(raw, offsets, entry, at);
        let descriptor = size_of::<libc::xdp_desc>();
        let mut opened = Queue {
            fill: ring(&offsets.fr, size_of::<u64>(), libc::XDP_UMEM_PGOFF_FILL_RING)?,
            completion: ring(&offsets.cr, size_of::<u64>(), libc::XDP_UMEM_PGOFF_COMPLETION_RING)?,
            receive: ring(&offsets.rx, descriptor, libc::XDP_PGOFF_RX_RING as u64)?,
            send: ring(&offsets.tx, descriptor, libc::XDP_PGOFF_TX_RING as u64)?,
            free: (0..ENTRIES).map(|n| u64::from(ENTRIES + n) * u64::from(place)).collect(),
            memory,
            place,
            fd,
        };
        for n in 0..ENTRIES {
            opened.fill.put(u64::from(n) * u64::from(place));
        }
        opened.fill.publish();
        // SAFETY: as above.
        let mut addr: libc::sockaddr_xdp = unsafe { zeroed() };
        addr.sxdp_family = libc::AF_XDP as u16;
        // Neither copy nor zero copy is asked for: the kernel takes zero copy where the driver has it.
        addr.sxdp_flags = libc::XDP_USE_NEED_WAKEUP;
        addr.sxdp_ifindex = index;
        addr.sxdp_queue_id = queue;
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: an address and its length.
        check(unsafe { libc::bind(raw, (&raw const addr).cast(), len) })?;
        Ok(opened)
    }

    fn is_zero_copy(&self) -> bool {
        let mut flags: u32 = 0;
        let mut len = size_of::<u32>() as libc::socklen_t;
        // SAFETY: room for so many bytes.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_OPTIONS,
                (&raw mut flags).cast(),
                &raw mut len,
            )
        };
        result == 0 && flags & libc::XDP_OPTIONS_ZEROCOPY != 0
    }

    fn recv(&mut self, limit: usize, take: &mut impl FnMut(&[u8])) -> usize {
        let there = (self.receive.ready() as usize).min(limit);
        for _ in 0..there {
            let frame: libc::xdp_desc = self.receive.get();
            if let Some(bytes) = self.memory.bytes(frame.addr, frame.len) {
                take(bytes);
            }
            // Its place goes back at once. There is room: no more places are about than the ring has entries.
            self.fill.put(frame.addr - frame.addr % u64::from(self.place));
        }
        if there > 0 {
            self.receive.release();
            self.fill.publish();
        }
        if self.fill.needs_wakeup() {
            // SAFETY: nothing is received by this call; it only wakes the kernel.
            unsafe {
                let null = std::ptr::null_mut();
                libc::recvfrom(self.fd.as_raw_fd(), null, 0, libc::MSG_DONTWAIT, null.cast(), null.cast());
            }
        }
        there
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> usize {
        let mut sent = 0;
        for frame in frames {
            if self.free.is_empty() {
                self.flush();
            }
            let Some(place) = self.free.pop() else { break };
            let len = frame.bytes.len();
            if len > self.place as usize {
                self.free.push(place);
                continue;
            }
            self.memory.write(place, frame.bytes);
            self.send.put(libc::xdp_desc { addr: place, len: len as u32, options: 0 });
            sent += 1;
        }
        self.flush();
        sent
    }

    /// Hands the frames over, and kicks until the kernel has them all.
    fn flush(&mut self) {
        self.send.publish();
        for _ in 0..KICKS {
            if self.send.is_drained() || !self.send.needs_wakeup() {
                break;
            }
            // EAGAIN only says that there is more: the kernel sends 32 at a time.
            // SAFETY: no bytes are given; the call only wakes the kernel.
            unsafe { libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        }
        for _ in 0..self.completion.ready() {
            let place: u64 = self.completion.get();
            self.free.push(place);
        }
        self.completion.release();
    }
}

/// A ring that is shared with the kernel. One side puts, the other takes; each publishes how far it is.
#[derive(Debug)]
struct Ring {
    map: Map,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    /// How far we are.
    own: u32,
    /// How far we know the other side to be.
    other: u32,
}

const NEED_WAKEUP: u32 = 1;

impl Ring {
    fn map(fd: RawFd, offsets: &libc::xdp_ring_offset, entry: usize, page_offset: u64) -> io::Result<Ring> {
        let map = Map::new(offsets.desc as usize + ENTRIES as usize * entry, Some((fd, page_offset)))?;
        Ok(Ring {
            map,
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            flags: offsets.flags as usize,
            entries: offsets.desc as usize,
            own: 0,
            other: 0,
        })
    }

    fn number(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel said that a 32-bit number is there, in a map that lives as long as we do.
        unsafe { self.map.start.add(offset).cast::<AtomicU32>().as_ref() }
    }

    fn place<T>(&self) -> *mut T {
        let n = (self.own % ENTRIES) as usize;
        // SAFETY: the map has so many entries of this type; see `map`.
        unsafe { self.map.start.as_ptr().add(self.entries).cast::<T>().add(n) }
    }

    /// Entries that the kernel has put and we have not taken.
    fn ready(&mut self) -> u32 {
        if self.other == self.own {
            self.other = self.number(self.producer).load(Ordering::Acquire);
        }
        self.other.wrapping_sub(self.own)
    }

    fn get<T: Copy>(&mut self) -> T {
        // SAFETY: `ready` said that the kernel has put it.
        let entry = unsafe { self.place::<T>().read() };
        self.own = self.own.wrapping_add(1);
        entry
    }

    /// Gives back what was taken.
    fn release(&self) {
        self.number(self.consumer).store(self.own, Ordering::Release);
    }

    /// Puts an entry; there are never more about than the ring has room for.
    fn put<T>(&mut self, entry: T) {
        // SAFETY: the place is ours until it is published.
        unsafe { self.place::<T>().write(entry) };
        self.own = self.own.wrapping_add(1);
    }

    fn publish(&self) {
        self.number(self.producer).store(self.own, Ordering::Release);
    }

    fn is_drained(&self) -> bool {
        self.number(self.consumer).load(Ordering::Acquire) == self.own
    }

    fn needs_wakeup(&self) -> bool {
        self.number(self.flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}
