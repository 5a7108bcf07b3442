//! What the kernel knows of its devices, by rtnetlink: addresses now, and news of any change.

use crate::sys::{at, check, own};
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// An address of a kernel's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAddress {
    /// The kernel's number of the device.
    pub index: u32,
    /// The address.
    pub addr: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

impl KernelAddress {
    /// Whether it is one that every IPv6 device gives itself.
    pub fn is_link_local(&self) -> bool {
        matches!(self.addr, IpAddr::V6(addr) if addr.segments()[0] & 0xffc0 == 0xfe80)
    }
}

/// A netlink socket for questions about devices, or for news of them.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

const HEADER: usize = 16;

impl Netlink {
    fn open(groups: u32) -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | if groups == 0 { 0 } else { libc::SOCK_NONBLOCK };
        // SAFETY: no pointers.
        let fd = own(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }).map_err(at("netlink"))?;
        // SAFETY: plain numbers, for which zero is a value.
        let mut addr: libc::sockaddr_nl = unsafe { zeroed() };
        addr.nl_family = libc::AF_NETLINK as u16;
        addr.nl_groups = groups;
        let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: an address and its length.
        check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&addr).cast(), len) }).map_err(at("netlink"))?;
        Ok(Netlink(fd))
    }

    /// News of devices, addresses and routes.
    pub fn watch() -> io::Result<Netlink> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        Netlink::open(groups as u32)
    }

    /// What to wait on.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Reads all news that is there; whether there was any. What changed is asked for anew by the reader.
    pub fn drain(&self) -> bool {
        let mut buffer = vec![0u8; 32 << 10];
        let mut any = false;
        loop {
            // SAFETY: room for so many bytes.
            let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match got {
                n if n >= 0 => any = true,
                // News was lost: there was some.
                _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS) => any = true,
                _ => return any,
            }
        }
    }

    /// Asks for a list, and gives each entry's kind and bytes behind the netlink header to `take`.
    fn dump(&self, kind: u16, body: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> io::Result<()> {
        let len = (HEADER + body.len()) as u32;
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        let mut request = Vec::with_capacity(len as usize);
        request.extend_from_slice(&len.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&1u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        // SAFETY: so many bytes are there.
        let sent = unsafe { libc::send(self.fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            // SAFETY: room for so many bytes.
            let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(got) = usize::try_from(got) else { return Err(io::Error::last_os_error()) };
            let mut rest = buffer.get(..got).unwrap_or_default();
            while let (Some(len), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
                let len = len as usize;
                let Some(message) = rest.get(HEADER..len) else { break };
                match libc::c_int::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = u32_at(message, 0).unwrap_or(0) as i32;
                        return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    _ => take(kind, message),
                }
                rest = rest.get(aligned(len)..).unwrap_or_default();
            }
        }
    }
}

fn aligned(len: usize) -> usize {
    (len + 3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The attributes of a message: number and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen)))
}

/// All addresses of the devices of this network namespace.
pub fn addresses() -> io::Result<Vec<KernelAddress>> {
    let mut found = Vec::new();
    // `struct ifaddrmsg`, of any family.
    Netlink::open(0)?.dump(libc::RTM_GETADDR, &[0; 8], &mut |_, message| {
        let (Some(&prefix), Some(index), Some(rest)) = (message.get(1), u32_at(message, 4), message.get(8..)) else {
            return;
        };
        // On a link with two ends IFA_ADDRESS is the other end's, IFA_LOCAL ours.
        let mut addr = None;
        for (kind, value) in attributes(rest) {
            match kind {
                libc::IFA_LOCAL => addr = ip(value),
                libc::IFA_ADDRESS if addr.is_none() => addr = ip(value),
                _ => {}
            }
        }
        found.extend(addr.map(|addr| KernelAddress { index, addr, prefix }));
    })?;
    Ok(found)
}
