//! Asking the kernel about its devices by netlink: their addresses, and news of any change.

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
    /// For questions about devices; with groups, for news of them.
    pub(crate) fn open(groups: u32) -> io::Result<Netlink> {
        Netlink::of(libc::NETLINK_ROUTE, groups)
    }

    /// For questions to other parts of the kernel.
    pub(crate) fn generic() -> io::Result<Netlink> {
        Netlink::of(libc::NETLINK_GENERIC, 0)
    }

    fn of(protocol: libc::c_int, groups: u32) -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | if groups == 0 { 0 } else { libc::SOCK_NONBLOCK };
        // SAFETY: no pointers.
        let fd = own(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) }).map_err(at("netlink"))?;
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

    /// Asks for a change, and waits for the answer.
    pub(crate) fn change(&self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<()> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        self.send(kind, flags, body)?;
        let mut buffer = vec![0u8; 8 << 10];
        // SAFETY: room for so many bytes.
        let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(got) = usize::try_from(got) else { return Err(io::Error::last_os_error()) };
        match buffer.get(..got).and_then(|bytes| u32_at(bytes, HEADER)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-(code as i32))),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    /// Asks for one thing; the answer behind the netlink header.
    pub(crate) fn ask(&self, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.send(kind, libc::NLM_F_REQUEST as u16, body)?;
        let mut buffer = vec![0u8; 8 << 10];
        // SAFETY: room for so many bytes.
        let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(got) = usize::try_from(got) else { return Err(io::Error::last_os_error()) };
        buffer.truncate(got);
        let (Some(len), Some(kind)) = (u32_at(&buffer, 0), u16_at(&buffer, 4)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let Some(message) = buffer.get(HEADER..len as usize) else { return Err(io::ErrorKind::InvalidData.into()) };
        if libc::c_int::from(kind) == libc::NLMSG_ERROR {
            return Err(io::Error::from_raw_os_error(-(u32_at(message, 0).unwrap_or(0) as i32)));
        }
        Ok(message.to_vec())
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let len = (HEADER + body.len()) as u32;
        let mut request = Vec::with_capacity(len as usize);
        request.extend_from_slice(&len.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&1u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        // SAFETY: so many bytes are there.
        let sent = unsafe { libc::send(self.fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Asks for a list, and gives each entry's kind and bytes behind the netlink header to `take`.
    pub(crate) fn dump(&self, kind: u16, body: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(kind, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16, body)?;
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

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The attributes of a message: number and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
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

/// Appends an attribute; what `value` writes is its value.
pub(crate) fn attribute(body: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let at = body.len();
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&kind.to_ne_bytes());
    value(body);
    let len = (body.len() - at) as u16;
    body[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    body.resize(aligned(body.len()), 0);
}

pub(crate) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

pub(crate) const fn family(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

const NEW: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Makes two devices that are the ends of one link: one here, one in another network namespace.
pub fn create_veth(name: &str, peer: &str, netns: &OwnedFd) -> io::Result<()> {
    const VETH_INFO_PEER: u16 = 1;
    let text = |text: &str| {
        let text = text.to_owned();
        move |body: &mut Vec<u8>| {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    };
    // `struct ifinfomsg`.
    let mut body = vec![0; 16];
    attribute(&mut body, libc::IFLA_IFNAME, text(name));
    attribute(&mut body, libc::IFLA_LINKINFO, |body| {
        attribute(body, libc::IFLA_INFO_KIND, |body| body.extend_from_slice(b"veth"));
        attribute(body, libc::IFLA_INFO_DATA, |body| {
            attribute(body, VETH_INFO_PEER, |body| {
                body.extend_from_slice(&[0; 16]);
                attribute(body, libc::IFLA_IFNAME, text(peer));
                let fd = netns.as_raw_fd() as u32;
                attribute(body, libc::IFLA_NET_NS_FD, |body| body.extend_from_slice(&fd.to_ne_bytes()));
            });
        });
    });
    Netlink::open(0)?.change(libc::RTM_NEWLINK, NEW, &body).map_err(at(format_args!("a veth pair {name} and {peer}")))
}

/// The words that somebody gave a device (`ip link set DEVICE alias TEXT`); empty if nobody did.
pub(crate) fn alias(index: u32) -> io::Result<String> {
    let mut found = String::new();
    Netlink::open(0)?.dump(libc::RTM_GETLINK, &[0; INFO], &mut |_, message| {
        if u32_at(message, 4) != Some(index) {
            return;
        }
        let text = attributes(message.get(INFO..).unwrap_or_default()).find(|(kind, _)| *kind == libc::IFLA_IFALIAS);
        if let Some((_, text)) = text {
            found = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
        }
    })?;
    Ok(found)
}

/// Gives it such words; none takes them away.
pub(crate) fn set_alias(index: u32, text: &str) -> io::Result<()> {
    let mut body = vec![0; INFO];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    attribute(&mut body, libc::IFLA_IFALIAS, |body| body.extend_from_slice(text.as_bytes()));
    Netlink::open(0)?.change(libc::RTM_NEWLINK, 0, &body)
}

/// `struct ifinfomsg`.
const INFO: usize = 16;

/// Gives a device an address.
pub fn add_address(index: u32, addr: IpAddr, prefix: u8) -> io::Result<()> {
    const IFA_F_NODAD: u8 = 2;
    // `struct ifaddrmsg`.
    let mut body = vec![family(addr), prefix, IFA_F_NODAD, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        attribute(&mut body, kind, |body| body.extend_from_slice(&octets(addr)));
    }
    Netlink::open(0)?.change(libc::RTM_NEWADDR, NEW, &body).map_err(at(format_args!("address {addr}/{prefix}")))
}

/// Takes an address from a device.
pub fn remove_address(index: u32, addr: IpAddr, prefix: u8) -> io::Result<()> {
    let mut body = vec![family(addr), prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, libc::IFA_LOCAL, |body| body.extend_from_slice(&octets(addr)));
    Netlink::open(0)?.change(libc::RTM_DELADDR, 0, &body).map_err(at(format_args!("address {addr}/{prefix}")))
}

/// Makes a device the way to everywhere, for senders that have no address yet with this one.
pub fn add_default_device(index: u32, source: IpAddr) -> io::Result<()> {
    let mut body =
        vec![family(source), 0, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_LINK, libc::RTN_UNICAST];
    body.extend_from_slice(&[0; 4]);
    attribute(&mut body, libc::RTA_OIF, |body| body.extend_from_slice(&index.to_ne_bytes()));
    attribute(&mut body, libc::RTA_PREFSRC, |body| body.extend_from_slice(&octets(source)));
    Netlink::open(0)?.change(libc::RTM_NEWROUTE, NEW, &body)
}

/// Makes a gateway the way to everywhere.
pub fn add_default_route(via: IpAddr) -> io::Result<()> {
    // `struct rtmsg`: family, lengths, TOS, table, protocol, scope, type, flags.
    let mut body = vec![
        family(via),
        0,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    ];
    body.extend_from_slice(&[0; 4]);
    attribute(&mut body, libc::RTA_GATEWAY, |body| body.extend_from_slice(&octets(via)));
    Netlink::open(0)?.change(libc::RTM_NEWROUTE, NEW, &body).map_err(at(format_args!("default route via {via}")))
}
