//! Who owns the socket that a packet of this machine came from: asked from the kernel for one socket (sock_diag), never by a list of all;
//! but for sockets without ports (ping's, and raw ones), which are few, and of which the kernel has nothing but lists.

use crate::sock_diag::SockDiag;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
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
    diag: SockDiag,
    known: HashMap<SocketKey, (Option<SocketOwner>, u64)>,
}

/// How long an answer is kept.
const KEPT: u64 = 2_000_000_000;
/// Answers that are kept at most.
const ROOM: usize = 4096;

impl Owners {
    /// Opens the way to ask.
    pub fn open() -> io::Result<Owners> {
        Ok(Owners { diag: SockDiag::open()?, known: HashMap::new() })
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
        let found = self.diag.find(key.protocol, (key.src, key.sport), (key.dst, key.dport), 0)?;
        Some(Asked { uid: found.uid, inode: found.inode, class: found.class })
    }
}

/// What the kernel says of a socket.
struct Asked {
    uid: u32,
    inode: u32,
    class: u32,
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
