//! Who owns the socket that a packet of this machine came from: asked from the kernel for one socket (sock_diag), never by a list of all.

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
}

/// A socket of this machine by what its packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// TCP or UDP.
    pub protocol: u8,
    /// Own address.
    pub src: IpAddr,
    /// Own port.
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
        let owner = self.ask(&key).map(|(uid, inode)| SocketOwner { uid, process: process_of(uid, inode) });
        if self.known.len() >= ROOM {
            self.known.retain(|_, (_, until)| *until > now_nanos);
            if self.known.len() >= ROOM {
                self.known.clear();
            }
        }
        self.known.insert(key, (owner.clone(), now_nanos + KEPT));
        owner
    }

    /// User id and inode.
    fn ask(&self, key: &SocketKey) -> Option<(u32, u32)> {
        let family = if key.src.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // `struct nlmsghdr`, then `struct inet_diag_req_v2`.
        let mut request = Vec::with_capacity(72);
        request.extend_from_slice(&72u32.to_ne_bytes());
        request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[family as u8, key.protocol, 0, 0]);
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
        Some((number(16 + 4 + 48 + 12)?, number(16 + 4 + 48 + 16)?))
    }
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
    })
}
