//! Who owns the socket that a packet of this machine came from: asked from the kernel for one socket (sock_diag), never by a list of all;
//! but for sockets without ports (ping's, and raw ones), which are few, and of which the kernel has nothing but lists.

use crate::sys::own;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The owner of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    /// User id.
    pub uid: u32,
    /// The class of its control group in the net_cls controller.
    pub class: u32,
    /// The process that has it open, where it was looked for and found.
    pub process: Option<Process>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its session.
    pub sid: u32,
    /// File system group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its name.
    pub command: String,
    /// Its control group in the one hierarchy (cgroup v2).
    pub cgroup: String,
}

/// A socket of this machine by what its packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// The transport protocol.
    pub protocol: u8,
    /// Own address.
    pub src: IpAddr,
    /// Own port; of an echo request its identifier.
    pub sport: u16,
    /// The other's address.
    pub dst: IpAddr,
    /// The other's port.
    pub dport: u16,
}

/// Asks for owners, and remembers the answers for a while.
#[derive(Debug)]
pub struct Owners {
    netlink: OwnedFd,
    known: HashMap<SocketKey, (Option<SocketOwner>, u64)>,
}

/// How long an answer is kept.
const KEPT: u64 = 2_000_000_000;
/// Answers that are kept at most.
const ROOM: usize = 4096;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NETLINK_SOCK_DIAG: libc::c_int = 4;

impl Owners {
    /// Opens the way to ask.
    pub fn open() -> io::Result<Owners> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let netlink = own(unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG) })?;
        Ok(Owners { netlink, known: HashMap::new() })
    }

    /// The owner of a socket. `process_of` finds the process by user and inode ([`process_of`], on a thread that may look at others'
    /// processes); it is called only where nothing is known yet.
    pub fn find(
        &mut self,
        key: SocketKey,
        now_nanos: u64,
        process_of: impl FnOnce(u32, u32) -> Option<Process>,
    ) -> Option<SocketOwner> {
        if let Some((owner, until)) = self.known.get(&key)
            && now_nanos < *until
        {
            return owner.clone();
        }
        let has_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].contains(&key.protocol.into());
        let listed = || listed(&key).map(|(uid, inode)| Asked { uid, inode, class: 0 });
        let found = if has_ports { self.ask(&key) } else { listed() };
        let owner =
            found.map(|Asked { uid, inode, class }| SocketOwner { uid, class, process: process_of(uid, inode) });
        if self.known.len() >= ROOM {
            self.known.retain(|_, (_, until)| *until > now_nanos);
            if self.known.len() >= ROOM {
                self.known.clear();
            }
        }
        self.known.insert(key, (owner.clone(), now_nanos + KEPT));
        owner
    }

    fn ask(&self, key: &SocketKey) -> Option<Asked> {
        let family = if key.src.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // `struct nlmsghdr`, then `struct inet_diag_req_v2`.
        let mut request = Vec::with_capacity(72);
        request.extend_from_slice(&72u32.to_ne_bytes());
        request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        // The traffic class is asked for, with which the control group's class comes.
        request.extend_from_slice(&[family as u8, key.protocol, 1 << (INET_DIAG_TCLASS - 1), 0]);
        request.extend_from_slice(&u32::MAX.to_ne_bytes());
        // The kernel looks a UDP socket up as for a packet that comes in: there the other's end is the source.
        let is_udp = key.protocol == libc::IPPROTO_UDP as u8;
        let ends = if is_udp {
            [(key.dst, key.dport), (key.src, key.sport)]
        } else {
            [(key.src, key.sport), (key.dst, key.dport)]
        };
        for (_, port) in ends {
            request.extend_from_slice(&port.to_be_bytes());
        }
        for (addr, _) in ends {
            let mut bytes = [0; 16];
            match addr {
                IpAddr::V4(addr) => bytes[..4].copy_from_slice(&addr.octets()),
                IpAddr::V6(addr) => bytes = addr.octets(),
            }
            request.extend_from_slice(&bytes);
        }
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(&[0xff; 8]);
        let mut answer = [0u8; 4096];
        // SAFETY: so many bytes are there, and so much room.
        let got = unsafe {
            if libc::send(self.netlink.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) < 0 {
                return None;
            }
            libc::recv(self.netlink.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        let answer = answer.get(..usize::try_from(got).ok()?)?;
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        if kind != SOCK_DIAG_BY_FAMILY {
            return None;
        }
        // `struct inet_diag_msg`: four bytes, the 48 of the socket's id, expires, rqueue, wqueue, uid, inode.
        let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
        let (uid, inode) = (number(16 + 4 + 48 + 12)?, number(16 + 4 + 48 + 16)?);
        let class = attribute(answer.get(16 + 72..).unwrap_or_default(), INET_DIAG_CLASS_ID);
        Some(Asked {
            uid,
            inode,
            class: class.and_then(|word| Some(u32::from_ne_bytes(word.try_into().ok()?))).unwrap_or(0),
        })
    }
}

/// What the kernel says of a socket.
struct Asked {
    uid: u32,
    inode: u32,
    class: u32,
}

const INET_DIAG_TCLASS: u8 = 6;
const INET_DIAG_CLASS_ID: u16 = 17;

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

/// User id and inode of a socket without ports: one of ping's, by the identifier, or a raw one, by its protocol.
fn listed(key: &SocketKey) -> Option<(u32, u32)> {
    let tables = if key.src.is_ipv4() { ["icmp", "raw"] } else { ["icmp6", "raw6"] };
    let places = [u16::from(key.protocol), key.sport];
    let of = |table: &str, place: u16| {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        text.lines().skip(1).find_map(|line| line_of(line, key, place))
    };
    let is_echo = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&key.protocol.into()) && key.sport != 0;
    is_echo.then(|| of(tables[0], places[1])).flatten().or_else(|| of(tables[1], places[0]))
}

/// `sl local:port remote:port state queues timer retransmissions uid timeout inode ...`, if it is the socket's.
fn line_of(line: &str, key: &SocketKey, place: u16) -> Option<(u32, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, port) = words.get(1)?.split_once(':')?;
    let is_it = u16::from_str_radix(port, 16) == Ok(place) && is_bound_to(local, key.src);
    is_it.then(|| Some((words.get(7)?.parse().ok()?, words.get(9)?.parse().ok()?))).flatten()
}

/// To the address, or to none. The kernel prints an address as numbers of 32 bits as they lie in memory.
fn is_bound_to(text: &str, addr: IpAddr) -> bool {
    let bytes = match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let words = bytes.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    text.bytes().all(|digit| digit == b'0') || text == words.collect::<String>()
}

/// The process of this user that has the socket open. Others' processes need CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and a thread
/// without a Landlock domain.
pub fn process_of(uid: u32, inode: u32) -> Option<Process> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let processes = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == uid).then_some(pid)
    });
    let has_it = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link == wanted))
    };
    processes.into_iter().find(has_it).and_then(describe)
}

fn describe(pid: u32) -> Option<Process> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name in parentheses: state, parent, group, session.
    let sid = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)?.parse().ok());
    let numbers = |text: &str| text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>();
    Some(Process {
        pid,
        sid: sid.unwrap_or(0),
        // Real, effective, saved, file system.
        gid: field("Gid:").and_then(|text| numbers(text).get(3).copied()).unwrap_or(0),
        groups: field("Groups:").map(numbers).unwrap_or_default(),
        command: field("Name:").unwrap_or_default().trim().to_owned(),
        cgroup: std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .ok()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)))
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_without_ports_are_found_in_lists() {
        let line = |local: &str| {
            format!(
                " 182: {local} 00000000:0000 07 00000000:00000000 00:00000000 00000000   1000        0 17334539 2 0 0"
            )
        };
        let key = |src: &str| SocketKey {
            protocol: 1,
            src: src.parse().unwrap(),
            sport: 0x1f2,
            dst: src.parse().unwrap(),
            dport: 0,
        };
        let own = format!("{:08X}", u32::from_ne_bytes([192, 0, 2, 1]));
        let found = Some((1000, 17_334_539));
        assert_eq!(line_of(&line("00000000:0001"), &key("192.0.2.1"), 1), found, "a raw one, bound to nothing");
        assert_eq!(line_of(&line(&format!("{own}:01F2")), &key("192.0.2.1"), 0x1f2), found, "ping's own");
        assert_eq!(line_of(&line(&format!("{own}:01F3")), &key("192.0.2.1"), 0x1f2), None);
        assert_eq!(line_of(&line(&format!("{own}:01F2")), &key("192.0.2.2"), 0x1f2), None);
        assert_eq!(line_of("  sl  local_address", &key("192.0.2.1"), 1), None);
    }
}
