//! Frames that arrived at a device and that nobody took in time, so that the kernel dropped them.

use crate::netlink::{Netlink, attributes};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// What a counter of the kernel's has grown by since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Growth(u64);

impl Growth {
    pub(crate) fn to(&mut self, now: u64) -> u64 {
        now.saturating_sub(std::mem::replace(&mut self.0, now))
    }
}

/// Of a packet socket: since it was last asked.
pub(crate) fn of_packet_socket(socket: &OwnedFd) -> u64 {
    const PACKET_STATISTICS: libc::c_int = 6;
    // Packets, dropped ones, and how often a queue was frozen.
    let mut counts = [0u32; 3];
    read(socket, libc::SOL_PACKET, PACKET_STATISTICS, &mut counts);
    u64::from(counts[1])
}

/// Of an AF_XDP socket, since it was opened: for which there was no buffer, or no room in its ring.
pub(crate) fn of_xdp_socket(socket: &OwnedFd) -> u64 {
    // Dropped, invalid ones in both directions, ring full, fill ring empty, nothing to send.
    let mut counts = [0u64; 6];
    read(socket, libc::SOL_XDP, libc::XDP_STATISTICS, &mut counts);
    counts[0] + counts[3]
}

/// Numbers; those that the kernel does not have stay nought.
fn read<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, counts: &mut [T]) {
    let mut len = size_of_val(counts) as libc::socklen_t;
    // SAFETY: room for so many bytes.
    let _ = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, counts.as_mut_ptr().cast(), &raw mut len) };
}

/// Of a TAP or TUN device: what the kernel could not send to us. It is asked by a socket of the device's own network namespace.
#[derive(Debug)]
pub(crate) struct Unsent {
    netlink: Netlink,
    index: u32,
    growth: Growth,
}

impl Unsent {
    /// For a device of the namespace that the thread is in.
    pub(crate) fn of(name: &str) -> io::Result<Unsent> {
        Ok(Unsent { netlink: Netlink::open(0)?, index: sys::index_of(name)?, growth: Growth::default() })
    }

    /// Since it was last asked.
    pub(crate) fn more(&mut self) -> u64 {
        const INFO: usize = 16;
        const IFLA_STATS64: u16 = 23;
        /// Packets, bytes and errors of both directions, those dropped on their way in.
        const DROPPED_ON_THE_WAY_OUT: usize = 7 * 8;
        let mut body = [0; INFO];
        body[4..8].copy_from_slice(&self.index.to_ne_bytes());
        let Ok(answer) = self.netlink.ask(libc::RTM_GETLINK, &body) else { return 0 };
        let stats = attributes(answer.get(INFO..).unwrap_or_default()).find(|(kind, _)| *kind == IFLA_STATS64);
        let bytes = stats.and_then(|(_, stats)| stats.get(DROPPED_ON_THE_WAY_OUT..)?.first_chunk::<8>());
        bytes.map_or(0, |bytes| self.growth.to(u64::from_ne_bytes(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::Growth;

    #[test]
    fn a_counter_grows_and_begins_anew() {
        let mut growth = Growth::default();
        assert_eq!([5, 5, 9, 2, 3].map(|count| growth.to(count)), [5, 0, 4, 0, 1]);
    }
}
