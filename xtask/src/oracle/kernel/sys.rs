//! The system calls that the standard library lacks: network namespaces of the calling thread, packet sockets, and a
//! poll with microseconds. The only unsafe code of the workspace's chores.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Room for the longest frame a veth passes.
const LONGEST_FRAME: usize = 70_000;
/// What a socket holds until it is read: a scenario's bursts are far smaller.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// Moves the calling thread into a new network namespace and returns a handle that can bring it back there.
pub fn new_network() -> Result<OwnedFd> {
    // SAFETY: takes no pointers; affects only the calling thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    // Not /proc/self: that is the process's first thread.
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into the network namespace that `handle` holds.
pub fn enter_network(handle: &OwnedFd) -> Result<()> {
    // SAFETY: takes no pointers; the descriptor is open.
    check(unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A raw socket on one interface: every frame that arrives there, and only those.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens the socket on an interface of the calling thread's network namespace.
    pub fn open(iface: &str) -> Result<Self> {
        let name = CString::new(iface)?;
        let every = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: `name` is a string that ends in 0, alive during the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(Error::last_os_error());
        }
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers. Protocol 0: nothing is received before the bind below names an interface.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        // SAFETY: all zero is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is alive and of the stated length.
        check(unsafe { libc::bind(fd, (&raw const address).cast(), length) })?;
        Ok(socket)
    }

    /// The next frame, if one is there.
    pub fn receive(&self) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; LONGEST_FRAME];
        // SAFETY: the buffer is alive and of the stated length.
        let n = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => {
                buffer.truncate(n);
                Ok(Some(buffer))
            }
            Err(_) => match Error::last_os_error() {
                e if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                e => Err(e),
            },
        }
    }

    /// Puts a frame on the wire.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the frame is alive and of the stated length.
        let n = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if n < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }

    fn option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the value is alive and of the stated length.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const value).cast(), length) }).map(drop)
    }
}

/// Waits until one of the sockets has a frame or the time is over.
pub fn wait_for_any<'a>(sockets: impl Iterator<Item = &'a PacketSocket>, limit: Duration) -> Result<()> {
    let mut polled: Vec<libc::pollfd> =
        sockets.map(|s| libc::pollfd { fd: s.0.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let limit = libc::timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    // SAFETY: the list is alive and of the stated length, and so is the time; no signal mask is given.
    let n = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as u64, &raw const limit, std::ptr::null()) };
    match check(n) {
        Err(e) if e.kind() != std::io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// Makes reads of an open file return at once when nothing is there.
pub fn set_nonblocking(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no pointers; the descriptor is open.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}
