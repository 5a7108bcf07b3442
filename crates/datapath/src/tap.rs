//! TAP and TUN devices. Whoever opens one is the other end of its link: frames that the kernel sends by it are read here.

use crate::missed::Unsent;
use crate::spread;
use crate::sys::{self, at, check, own};
use crate::{Bytes, Caps, Datapath, Outgoing, Received, vnet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The largest packet with its link header and a tag.
const ROOM: usize = 65_535 + 18;

const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_TSO_ECN: libc::c_uint = 0x08;
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0;

/// What kind of device to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With Ethernet headers.
    Tap,
    /// Bare IP packets.
    Tun,
}

/// One queue of a TAP or TUN device. The device is gone when its last queue is closed.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    kind: Kind,
    caps: Caps,
    buffer: Vec<u8>,
    /// What is to be said about several queues.
    words: String,
    /// Asks for what the kernel could not send; of several queues the first asks for all.
    unsent: Option<Unsent>,
}

impl Tap {
    /// Makes a device of this name in a network namespace (None: this one), brings it up, and opens so many queues of it.
    pub fn create(name: &str, kind: Kind, netns: Option<&str>, mtu: u32, queues: u16) -> io::Result<Vec<Tap>> {
        sys::in_namespace(netns, || Tap::create_here(name, kind, mtu, queues))
    }

    fn create_here(name: &str, kind: Kind, mtu: u32, queues: u16) -> io::Result<Vec<Tap>> {
        let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let mut taps = (0..queues).map(|_| Tap::queue(name, kind, several)).collect::<io::Result<Vec<Tap>>>()?;
        if let [first, _, ..] = &mut taps[..]
            && let Err(why) = spread::program().and_then(|program| steer(&first.fd, &program))
        {
            first.words = format!("; the kernel chooses the queues ({why}): a flow may change its own while it begins");
        }
        if let Some(first) = taps.first_mut() {
            first.unsent = Unsent::of(name).ok();
        }
        sys::set_mtu(name, mtu)?;
        sys::set_up(name)?;
        Ok(taps)
    }

    fn queue(name: &str, kind: Kind, several: libc::c_int) -> io::Result<Tap> {
        // SAFETY: a string that ends with 0.
        let fd =
            own(unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) })
                .map_err(at("/dev/net/tun"))?;
        let mut request = sys::request_for(name)?;
        let link = match kind {
            Kind::Tap => libc::IFF_TAP,
            Kind::Tun => libc::IFF_TUN,
        };
        request.ifr_ifru.ifru_flags = (link | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several) as libc::c_short;
        // SAFETY: the call reads and writes one ifreq.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) })
            .map_err(at(format_args!("device {name} cannot be made")))?;
        let caps = offer(fd.as_raw_fd());
        Ok(Tap { fd, kind, caps, buffer: Vec::new(), words: String::new(), unsent: None })
    }
}

/// Has a program choose the queue. Without it, the kernel chooses the one by which the flow's answers came last.
fn steer(tap: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let program = program.as_raw_fd();
    // SAFETY: the call reads one descriptor.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const program) }).map(drop)
}

/// Tells the kernel what it may leave undone in what it sends to us. The other direction needs no asking.
fn offer(fd: RawFd) -> Caps {
    let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    // SAFETY: a number as argument.
    let set = |flags: libc::c_uint| unsafe { libc::ioctl(fd, TUNSETOFFLOAD, libc::c_ulong::from(flags)) } == 0;
    let udp = set(tcp | TUN_F_USO4 | TUN_F_USO6);
    let caps = Caps { checksum: true, tcp_segmentation: true, udp_segmentation: udp };
    if udp || set(tcp) { caps } else { Caps { udp_segmentation: false, ..caps } }
}

impl Datapath for Tap {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        for n in 0..limit {
            let mut header = [0; vnet::LEN];
            self.buffer.clear();
            self.buffer.reserve(ROOM);
            let parts = [
                libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
                libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: ROOM },
            ];
            // SAFETY: both parts have the room they say.
            let got = unsafe { libc::readv(self.fd.as_raw_fd(), parts.as_ptr(), 2) };
            let Ok(got) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::WouldBlock { Ok(n) } else { Err(error) };
            };
            let Some(len) = got.checked_sub(vnet::LEN) else { continue };
            // SAFETY: the call wrote so many bytes.
            unsafe { self.buffer.set_len(len.min(ROOM)) };
            let offload = vnet::parse(&header, &mut self.buffer, if self.kind == Kind::Tap { 14 } else { 0 });
            take(Received { bytes: Bytes::Own(&mut self.buffer), offload, vlan: None });
        }
        Ok(limit)
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for frame in frames {
            let mut header = vnet::emit(frame);
            let parts = [
                libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
                libc::iovec { iov_base: frame.bytes.as_ptr().cast_mut().cast(), iov_len: frame.bytes.len() },
            ];
            // SAFETY: both parts are as long as they say; the call only reads them.
            sent += usize::from(unsafe { libc::writev(self.fd.as_raw_fd(), parts.as_ptr(), 2) } >= 0);
        }
        Ok(sent)
    }

    fn missed(&mut self) -> u64 {
        self.unsent.as_mut().map_or(0, Unsent::more)
    }

    fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Tap => "tap",
            Kind::Tun => "tun",
        };
        let lacks = if self.caps.udp_segmentation { "" } else { ", without UDP segmentation (the kernel has none)" };
        format!("{kind} with whole TCP super-packets{lacks}{}", self.words)
    }
}
