//! Asking the kernel for one socket (sock_diag), by the two ends that it has; never for a list of all.

use crate::sys::own;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// An address and a port.
pub type End = (IpAddr, u16);

/// The way to ask.
#[derive(Debug)]
pub struct SockDiag(OwnedFd);

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is bound to; an unspecified address is any.
    pub local: End,
    /// Whom it is connected to; port 0 for nobody.
    pub remote: End,
    /// Its owner's user id.
    pub uid: u32,
    /// Its inode, by which its process is found.
    pub inode: u32,
    /// The class of its control group in the net_cls controller.
    pub class: u32,
    /// `SO_MARK`; told only to who administers the network.
    pub mark: u32,
    /// `IP_TRANSPARENT`. Of a connection that is not quite there yet, or over, the kernel does not say; it is taken for one.
    pub transparent: bool,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NETLINK_SOCK_DIAG: libc::c_int = 4;

/// Attributes of the answer.
const TCLASS: u8 = 6;
const MARK: u16 = 15;
const CLASS_ID: u16 = 17;
const SOCKOPT: u16 = 22;

/// Behind the netlink header: `struct inet_diag_msg`.
const MESSAGE: usize = 72;

impl SockDiag {
    /// Opens it.
    pub fn open() -> io::Result<SockDiag> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        Ok(SockDiag(own(unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG) })?))
    }

    /// The TCP or UDP socket that takes what `remote` sends to `local` by device `index` (0: by none in particular). Of a `remote` that
    /// is nobody (port 0) come listeners.
    pub fn find(&self, protocol: u8, local: End, remote: End, index: u32) -> Option<Found> {
        let request = request(protocol, local, remote, index);
        let mut answer = [0u8; 4096];
        // SAFETY: so many bytes are there, and so much room.
        let got = unsafe {
            if libc::send(self.0.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) < 0 {
                return None;
            }
            libc::recv(self.0.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        let answer = answer.get(..usize::try_from(got).ok()?)?;
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        (kind == SOCK_DIAG_BY_FAMILY).then(|| answer.get(16..).and_then(parse))?
    }
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(protocol: u8, local: End, remote: End, index: u32) -> Vec<u8> {
    let family = if local.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut request = Vec::with_capacity(MESSAGE);
    request.extend_from_slice(&72u32.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    // The traffic class is asked for, with which the control group's class comes.
    request.extend_from_slice(&[family as u8, protocol, 1 << (TCLASS - 1), 0]);
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    // The kernel looks a UDP socket up as for a packet that comes in: there the other's end is the source.
    let is_udp = protocol == libc::IPPROTO_UDP as u8;
    let ends = if is_udp { [remote, local] } else { [local, remote] };
    for (_, port) in ends {
        request.extend_from_slice(&port.to_be_bytes());
    }
    for (addr, _) in ends {
        request.extend_from_slice(&padded(addr));
    }
    request.extend_from_slice(&index.to_ne_bytes());
    // Any cookie.
    request.extend_from_slice(&[0xff; 8]);
    request
}

/// An address in the room that the longest need.
pub(crate) fn padded(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&addr.octets());
            bytes
        }
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// `struct inet_diag_msg`: family, state, timer, retransmissions; source and destination port; two addresses of 16 bytes; device and
/// cookie; expires, two queues, uid and inode.
fn parse(message: &[u8]) -> Option<Found> {
    let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let family = *message.first()?;
    let addr = |at: usize| {
        let bytes: [u8; 16] = message.get(at..at + 16)?.try_into().ok()?;
        Some(if libc::c_int::from(family) == libc::AF_INET {
            IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        } else {
            Ipv6Addr::from(bytes).to_canonical()
        })
    };
    let attributes = message.get(MESSAGE..).unwrap_or_default();
    let number = |kind| attribute(attributes, kind).and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?)));
    // `struct inet_diag_sockopt`: of its bits the sixth.
    let options = attribute(attributes, SOCKOPT).and_then(|bits| bits.first());
    Some(Found {
        local: (addr(8)?, port(4)?),
        remote: (addr(24)?, port(6)?),
        uid: word(64)?,
        inode: word(68)?,
        class: number(CLASS_ID).unwrap_or(0),
        mark: number(MARK).unwrap_or(0),
        transparent: options.is_none_or(|bits| bits & 1 << 5 != 0),
    })
}

/// The value of the attribute of this kind (`struct nlattr`).
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [a, b, c, d, ..] = *attributes else { return None };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const NOBODY: End = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    #[test]
    fn listeners_connections_and_datagrams() {
        let diag = SockDiag::open().unwrap();
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let at = (HERE, listener.local_addr().unwrap().port());
        let found = diag.find(6, at, NOBODY, 0).unwrap();
        assert_eq!((found.local, found.remote.1, found.transparent), (at, 0, false));
        let stream = TcpStream::connect(at).unwrap();
        let from = (HERE, stream.local_addr().unwrap().port());
        assert_eq!(diag.find(6, at, from, 0).map(|found| found.remote), Some(from));
        assert_eq!(diag.find(6, from, at, 0).map(|found| found.remote), Some(at));
        drop(listener);
        assert_eq!(diag.find(6, at, NOBODY, 0), None);
        let udp = UdpSocket::bind(NOBODY).unwrap();
        let port = udp.local_addr().unwrap().port();
        let found = diag.find(17, (HERE, port), (HERE, 9), 0).unwrap();
        assert_eq!((found.local, found.remote.1), ((NOBODY.0, port), 0));
    }
}
