//! AF_PACKET: any Ethernet device, with whole super-packets (`PACKET_VNET_HDR`).
//!
//! Frames go out through the device's queueing discipline: the short cut past it silently drops a super-packet that the device
//! cannot take whole, while the usual way cuts it.

use crate::quiet::{self, Quiet};
use crate::ring::{Next, Ring};
use crate::sys::{self, at, check, own, set_option};
use crate::{Bytes, Caps, Datapath, Outgoing, Received, missed, vnet};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Frames that one call takes.
const BATCH: usize = 64;
/// The largest packet with its link header and a tag.
const ROOM: usize = 65_535 + 18;
/// Memory that the kernel may fill with frames that wait.
const SOCKET_BUFFER: libc::c_int = 8 << 20;

/// A packet socket on a device, which the kernel leaves alone meanwhile.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    caps: Caps,
    /// What arrives is in it, or behind it in the socket's queue.
    ring: Option<Ring>,
    /// Why there is no ring.
    lacks_ring: Option<String>,
    quiet: Arc<Quiet>,
    slots: Vec<Slot>,
    /// What is to be said about several queues.
    words: String,
}

/// What opening a device needs that a process without root cannot make: packet sockets that read nothing yet, and the program that
/// keeps the kernel off a device. Made while there is the right to, for devices that come later or come back.
#[derive(Debug)]
pub struct Kit {
    sockets: Vec<OwnedFd>,
    drops: io::Result<OwnedFd>,
    drops_most: io::Result<OwnedFd>,
}

/// Devices that may be opened after root was given up.
const SPARE: usize = 8;

impl Kit {
    /// A new one. What cannot be made is refused when it is needed.
    pub fn new() -> Kit {
        let sockets = (0..SPARE).map_while(|_| Kit::new_socket().ok()).collect();
        Kit { sockets, drops: quiet::program(), drops_most: quiet::program_of_followed() }
    }

    fn new_socket() -> io::Result<OwnedFd> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers. Without a protocol nothing is received before the socket is bound.
        own(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })
    }

    fn socket(&mut self) -> io::Result<OwnedFd> {
        Kit::new_socket().or_else(|error| {
            let text = format!(
                "a packet socket (needs root, or CAP_NET_RAW; the {SPARE} that were kept are used up): {error}"
            );
            self.sockets.pop().ok_or_else(|| io::Error::new(error.kind(), text))
        })
    }

    /// The program that drops every frame for the kernel; on a device that is followed, but for those that give it its addresses.
    pub(crate) fn drops(&self, follow: bool) -> io::Result<&OwnedFd> {
        let program = if follow { &self.drops_most } else { &self.drops };
        program.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }
}

impl Default for Kit {
    fn default() -> Kit {
        Kit::new()
    }
}

/// Room for one received frame.
#[derive(Debug, Default)]
struct Slot {
    header: [u8; vnet::LEN],
    /// A `tpacket_auxdata` and its header, aligned.
    control: [u64; 8],
    frame: Vec<u8>,
}

impl PacketSocket {
    /// Opens a device that exists, and keeps the kernel from working on its frames. A device with addresses of the kernel's is
    /// refused unless they are followed.
    pub fn open(device: &str, kit: &mut Kit, follow: bool) -> io::Result<PacketSocket> {
        let facts = sys::device(device)?;
        let quiet = Arc::new(Quiet::make(device, kit, follow)?);
        let socket = PacketSocket::prepare(kit, facts.mtu, quiet)?;
        socket.bind(facts.index).map_err(at(device))?;
        Ok(socket)
    }

    /// The same by several sockets, between which the kernel spreads what arrives.
    pub fn open_queues(device: &str, kit: &mut Kit, follow: bool, queues: u16) -> io::Result<Vec<PacketSocket>> {
        let facts = sys::device(device)?;
        let quiet = Arc::new(Quiet::make(device, kit, follow)?);
        let mut group = Fanout::new();
        let mut sockets = Vec::new();
        for _ in 0..queues {
            let socket = PacketSocket::prepare(kit, facts.mtu, Arc::clone(&quiet))?;
            // Until all are in the group, each would have every frame.
            take_nothing(&socket.fd)?;
            socket.bind(facts.index).map_err(at(device))?;
            group.join(&socket.fd).map_err(at(format_args!("{device}: several packet sockets")))?;
            sockets.push(socket);
        }
        if let (Err(why), Some(first)) = (group.spread(sockets.first().map(|one| &one.fd)), sockets.first_mut()) {
            first.words = format!("; the kernel spreads by its own reckoning ({why}): fragments may pass their flow");
        }
        sockets.iter().try_for_each(|socket| take_all(&socket.fd))?;
        Ok(sockets)
    }

    /// A socket with its ring that receives nothing yet.
    fn prepare(kit: &mut Kit, mtu: u32, quiet: Arc<Quiet>) -> io::Result<PacketSocket> {
        let fd = kit.socket()?;
        let raw = fd.as_raw_fd();
        let one: libc::c_int = 1;
        set_option(raw, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &one)?;
        set_option(raw, libc::SOL_PACKET, libc::PACKET_AUXDATA, &one)?;
        set_option(raw, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &one)?;
        for (force, usual) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            if set_option(raw, libc::SOL_SOCKET, force, &SOCKET_BUFFER).is_err() {
                set_option(raw, libc::SOL_SOCKET, usual, &SOCKET_BUFFER)?;
            }
        }
        let (ring, lacks_ring) = match Ring::open(raw, mtu) {
            Ok(ring) => (Some(ring), None),
            Err(why) => (None, Some(why.to_string())),
        };
        let caps = Caps { checksum: true, tcp_segmentation: true, udp_segmentation: sys::kernel_is_at_least(6, 2) };
        let slots = (0..BATCH).map(|_| Slot::default()).collect();
        Ok(PacketSocket { fd, caps, ring, lacks_ring, quiet, slots, words: String::new() })
    }

    fn bind(&self, index: u32) -> io::Result<()> {
        // SAFETY: plain numbers, for which zero is a value.
        let mut addr: libc::sockaddr_ll = unsafe { zeroed() };
        addr.sll_family = libc::AF_PACKET as u16;
        addr.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        addr.sll_ifindex = index as libc::c_int;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: an address and its length.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), std::ptr::from_ref(&addr).cast(), len) }).map(drop)
    }
}

/// Sockets between which the kernel spreads frames (`PACKET_FANOUT`).
struct Fanout {
    id: u32,
    /// A program says by which socket; else a hash of the kernel's.
    by_program: bool,
}

const PACKET_FANOUT: libc::c_int = 18;
const PACKET_FANOUT_DATA: libc::c_int = 22;

impl Fanout {
    const HASH: u32 = 0;
    const PROGRAM: u32 = 7;
    const NEW_ID: u32 = 0x2000;
    const IGNORE_OUTGOING: u32 = 0x4000;

    fn new() -> Fanout {
        Fanout { id: 0, by_program: true }
    }

    fn join(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let raw = socket.as_raw_fd();
        let set = |kind: u32, id: u32| set_option(raw, libc::SOL_PACKET, PACKET_FANOUT, &(kind << 16 | id));
        if self.id == 0 {
            let flags = Fanout::NEW_ID | Fanout::IGNORE_OUTGOING;
            if set(Fanout::PROGRAM | flags, 0).is_err() {
                self.by_program = false;
                set(Fanout::HASH | flags, 0)?;
            }
            let (mut value, mut len) = (0u32, size_of::<u32>() as libc::socklen_t);
            // SAFETY: room for so many bytes.
            check(unsafe {
                libc::getsockopt(raw, libc::SOL_PACKET, PACKET_FANOUT, (&raw mut value).cast(), &raw mut len)
            })?;
            self.id = value & 0xffff;
            return Ok(());
        }
        let kind = if self.by_program { Fanout::PROGRAM } else { Fanout::HASH };
        set(kind | Fanout::IGNORE_OUTGOING, self.id)
    }

    /// Gives the group its program.
    fn spread(&self, socket: Option<&OwnedFd>) -> io::Result<()> {
        let Some(socket) = socket.filter(|_| self.by_program) else { return Err(io::ErrorKind::Unsupported.into()) };
        let program = crate::spread::program()?;
        set_option(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_FANOUT_DATA, &program.as_raw_fd())
    }
}

/// A filter that lets nothing through to a socket.
fn take_nothing(socket: &OwnedFd) -> io::Result<()> {
    let mut nothing = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

fn take_all(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
}

/// Where the network header begins.
pub(crate) const ETHERNET: usize = 14;
/// Since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

impl Datapath for PacketSocket {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let limit = limit.min(BATCH);
        let raw = self.fd.as_raw_fd();
        let Some(ring) = &mut self.ring else { return receive(raw, &mut self.slots[..limit], None, take) };
        let mut got = 0;
        while got < limit {
            match ring.next() {
                None => break,
                Some(Next::Frame { bytes, offload, vlan }) => {
                    take(Received { bytes: Bytes::Shared(bytes), offload, vlan });
                    ring.release(1);
                    got += 1;
                }
                Some(Next::Lost) => {
                    ring.release(1);
                    got += 1;
                }
                Some(Next::Queued) => {
                    let mut tags = [None; BATCH];
                    let count = ring.queued(&mut tags[..limit - got]);
                    // One that is not there, though its place says so, is lost.
                    let count = receive(raw, &mut self.slots[..count], Some(&tags), take)?.max(1);
                    ring.release(count);
                    got += count;
                }
            }
        }
        Ok(got)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for frames in frames.chunks(BATCH) {
            sent += self.send_batch(frames);
        }
        Ok(sent)
    }

    fn missed(&mut self) -> u64 {
        missed::of_packet_socket(&self.fd)
    }

    fn describe(&self) -> String {
        let lacks = if self.caps.udp_segmentation { "" } else { ", without UDP segmentation (Linux before 6.2)" };
        let ring = match (&self.ring, &self.lacks_ring) {
            (Some(ring), _) => format!(", a ring of {} frames", ring.places()),
            (None, why) => format!(", a call for every few frames (no ring: {})", why.as_deref().unwrap_or("unknown")),
        };
        format!("AF_PACKET with whole TCP super-packets{lacks}{ring}; {}{}", self.quiet.describe(), self.words)
    }
}

impl PacketSocket {
    fn send_batch(&self, frames: &[Outgoing<'_>]) -> usize {
        let mut headers = [[0u8; vnet::LEN]; BATCH];
        // SAFETY: plain numbers and null pointers, for which zero is a value.
        let mut parts: [[libc::iovec; 2]; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (((frame, header), part), message) in frames.iter().zip(&mut headers).zip(&mut parts).zip(&mut messages) {
            *header = vnet::emit(frame);
            part[0] = libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: vnet::LEN };
            part[1] = libc::iovec { iov_base: frame.bytes.as_ptr().cast_mut().cast(), iov_len: frame.bytes.len() };
            message.msg_hdr.msg_iov = part.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
        }
        let (mut at, mut sent) = (0, 0);
        while let Some(rest) = messages.get_mut(at..frames.len()).filter(|rest| !rest.is_empty()) {
            let flags = libc::MSG_DONTWAIT as _;
            // SAFETY: so many messages are there, and what they point to lives until the call is over.
            let done =
                unsafe { libc::sendmmsg(self.fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, flags) };
            match usize::try_from(done) {
                Ok(done) => {
                    sent += done;
                    at += done;
                }
                // The first of them cannot be sent: it is lost, the others may go.
                Err(_) => at += 1,
            }
        }
        sent
    }
}

/// Receives what waits in a socket's queue, as many frames as there are slots. The tags, where the frames do not say them themselves.
fn receive(
    fd: RawFd,
    slots: &mut [Slot],
    tags: Option<&[Option<u16>; BATCH]>,
    take: &mut dyn FnMut(Received<'_>),
) -> io::Result<usize> {
    // SAFETY: plain numbers and null pointers, for which zero is a value.
    let mut parts: [[libc::iovec; 2]; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for ((slot, part), message) in slots.iter_mut().zip(&mut parts).zip(&mut messages) {
        slot.frame.clear();
        slot.frame.reserve(ROOM);
        part[0] = libc::iovec { iov_base: slot.header.as_mut_ptr().cast(), iov_len: vnet::LEN };
        part[1] = libc::iovec { iov_base: slot.frame.as_mut_ptr().cast(), iov_len: ROOM };
        message.msg_hdr.msg_iov = part.as_mut_ptr();
        message.msg_hdr.msg_iovlen = 2;
        message.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = size_of_val(&slot.control);
    }
    let count = slots.len().min(BATCH) as libc::c_uint;
    let flags = libc::MSG_DONTWAIT as _;
    // SAFETY: so many messages are there, each with the room it says.
    let got = unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), count, flags, std::ptr::null_mut()) };
    let Ok(got) = usize::try_from(got) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
    };
    for (n, (slot, message)) in slots.iter_mut().zip(&messages).take(got).enumerate() {
        let Some(len) = (message.msg_len as usize).checked_sub(vnet::LEN) else { continue };
        // SAFETY: the call wrote so many bytes.
        unsafe { slot.frame.set_len(len.min(ROOM)) };
        let offload = vnet::parse(&slot.header, &mut slot.frame, ETHERNET);
        let vlan = tags.map_or_else(|| tag_of(&message.msg_hdr), |tags| tags[n]);
        take(Received { bytes: Bytes::Own(&mut slot.frame), offload, vlan });
    }
    Ok(got)
}

/// `struct tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AuxData {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

fn tag_of(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel filled in the control messages, and these calls stay inside of them.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let enough = header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<AuxData>();
        if header.cmsg_level != libc::SOL_PACKET || header.cmsg_type != libc::PACKET_AUXDATA || !enough {
            return None;
        }
        let data = libc::CMSG_DATA(header).cast::<AuxData>().read_unaligned();
        (data.status & TP_STATUS_VLAN_VALID != 0).then_some(data.vlan_tci & 0xfff)
    }
}
