//! Devices: where frames come from and go to. The only crate that opens one, and the only one with `unsafe`.
//!
//! | file | what |
//! |---|---|
//! | `packet.rs` | AF_PACKET, for any Ethernet device |
//! | `tap.rs` | TAP and TUN devices, made here |
//! | `xdp.rs` | AF_XDP, past the kernel's stack |
//! | `pcap.rs` | a capture that is played, and one that is written |
//! | `memory.rs` | two ends in memory, for tests |
//! | `fault.rs` | around a device: frames are lost, delayed, doubled, damaged, reordered |
//! | `record.rs` | around a device: frames are kept in a capture |
//! | `queues.rs` | around several queues of a device: served in turn, or by a thread each |
//! | `spread.rs` | which queue a flow goes by |
//! | `absent.rs` | in place of a device that is not there just now |
//! | `owner.rs` | who owns a local socket |
//! | `sock_diag.rs` | asking the kernel for one socket |
//! | `way.rs` | the kernel's routing around the host's own device |
//! | `handover.rs` | gives a packet to a socket of this host that its addresses do not lead to |
//! | `quiet.rs` | keeps the kernel from answering on a device that is ours |
//! | `netlink.rs` | asking the kernel about its devices; their addresses |
//! | `kernel_routes.rs` | the kernel's routes |
//! | `features.rs` | what a driver can do for AF_XDP |
//! | `capture.rs` | reading and writing captures |
//! | `bpf.rs` | the few instructions that run in the kernel |
//! | `ring.rs` | the ring that a packet socket's frames arrive in |
//! | `missed.rs` | frames that nobody took in time |
//! | `map.rs` | memory shared with the kernel |
//! | `source.rs` | a flood of datagrams, for benches |
//! | `sys.rs` | the system calls that the others share |
//! | `huge_pages.rs` | large tables on huge pages |
//! | `processor.rs` | which processor a loop runs on |
//! | `prefetch.rs` | asking for memory ahead of its use |
//!
//! A datapath is one file and one type that implements [`Datapath`]; so is a wrapper, which has another one inside.

pub mod absent;
mod bpf;
pub mod capture;
mod cells;
pub mod fault;
pub mod features;
pub mod handover;
pub mod huge_pages;
pub mod kernel_routes;
mod map;
pub mod memory;
mod missed;
pub mod netlink;
pub mod owner;
pub mod packet;
pub mod pcap;
pub mod prefetch;
pub mod processor;
pub mod queues;
pub mod quiet;
pub mod record;
mod ring;
pub mod sock_diag;
pub mod source;
mod spread;
pub mod sys;
pub mod tap;
mod vnet;
pub mod way;
pub mod xdp;

use hairpin_engine::packet::Offload;
use std::io;
use std::os::fd::RawFd;

/// What a datapath can do without help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Fills in transport checksums that were left open.
    pub checksum: bool,
    /// Takes several TCP segments as one.
    pub tcp_segmentation: bool,
    /// Takes several UDP datagrams as one.
    pub udp_segmentation: bool,
}

/// The bytes of a received frame.
#[derive(Debug)]
pub enum Bytes<'a> {
    /// In memory that the device goes on to use.
    Shared(&'a [u8]),
    /// In a buffer of their own, which may be taken in exchange for another one.
    Own(&'a mut Vec<u8>),
}

impl Bytes<'_> {
    /// The same bytes for a shorter time.
    pub fn reborrow(&mut self) -> Bytes<'_> {
        match self {
            Bytes::Shared(bytes) => Bytes::Shared(bytes),
            Bytes::Own(bytes) => Bytes::Own(bytes),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Shared(bytes) => bytes,
            Bytes::Own(bytes) => bytes,
        }
    }
}

/// A frame that arrived.
#[derive(Debug)]
pub struct Received<'a> {
    /// Link header and packet; the packet alone on links without headers.
    pub bytes: Bytes<'a>,
    /// What the sender's device left undone.
    pub offload: Offload,
    /// The VLAN tag that the device took off.
    pub vlan: Option<u16>,
}

/// A frame to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Link header and packet; the packet alone on links without headers.
    pub bytes: &'a [u8],
    /// What is left to be done, as far as [`Caps`] say that it can be.
    pub offload: Offload,
    /// Where the network header begins, for what is left to be done.
    pub network: usize,
    /// Where the transport header begins, likewise.
    pub transport: usize,
    /// The transport protocol.
    pub protocol: u8,
}

impl<'a> Outgoing<'a> {
    /// A frame that is complete.
    pub fn complete(bytes: &'a [u8]) -> Outgoing<'a> {
        Outgoing { bytes, offload: Offload::default(), network: 0, transport: 0, protocol: 0 }
    }
}

/// A device.
pub trait Datapath: Send {
    /// What it can do.
    fn caps(&self) -> Caps;

    /// What to wait on until frames arrive.
    fn fd(&self) -> RawFd;

    /// Hands over what is there now, at most `limit` frames; how many there were. A datapath that says `limit` may have more: it is
    /// asked again without waiting.
    fn recv(&mut self, limit: usize, take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize>;

    /// Sends frames in their order; how many the device took. It does not wait: what does not fit is lost, as on any wire.
    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize>;

    /// Frames that arrived and that the kernel dropped because nobody took them in time, since this was last asked.
    fn missed(&mut self) -> u64 {
        0
    }

    /// One line about it for people: kind, and what it lacks.
    fn describe(&self) -> String;
}
