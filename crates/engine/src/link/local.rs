//! What this host does with a packet that is for it.

use super::IcmpError;
use crate::fate::DropReason;
use crate::net::Net;
use crate::packet::Packet;
use hairpin_wire::Addr;

/// What becomes of a packet for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A socket takes it.
    Deliver,
    /// It is answered.
    Answer(Answer),
    /// Gone, silently.
    Drop(DropReason),
}

/// An answer of this host; made by [`super::reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`super::reply::echo_reply`].
    Echo,
    /// [`super::reply::timestamp_reply`].
    Timestamp,
    /// [`super::reply::tcp_reset`].
    Reset,
    /// [`super::reply::icmp_error`].
    Error(IcmpError),
}

/// The ports something listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenPorts(Vec<(u8, u16, Addr)>);

impl OpenPorts {
    /// Opens a port of a protocol at an address of this host; unspecified: at all of them, of both families.
    pub fn open(&mut self, protocol: u8, addr: Addr, port: u16) {
        let entry = (protocol, port, addr);
        if let Err(at) = self.0.binary_search(&entry) {
            self.0.insert(at, entry);
        }
    }

    /// Closes it again.
    pub fn close(&mut self, protocol: u8, addr: Addr, port: u16) {
        if let Ok(at) = self.0.binary_search(&(protocol, port, addr)) {
            self.0.remove(at);
        }
    }

    /// Whether somebody listens.
    pub fn is_open(&self, protocol: u8, addr: Addr, port: u16) -> bool {
        [addr, Addr::UNSPECIFIED].iter().any(|addr| self.0.binary_search(&(protocol, port, *addr)).is_ok())
    }
}

/// What becomes of a whole packet for this host, after INPUT.
pub fn classify(packet: &Packet, ports: &OpenPorts, net: &Net) -> Local {
    let _ = net;
    match packet.ports() {
        Some((_, port)) if ports.is_open(packet.protocol(), packet.dst(), port) => Local::Deliver,
        _ => Local::Drop(DropReason::NoSocket),
    }
}
