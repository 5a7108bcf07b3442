//! IPv4 options: checked on arrival, filled in on the way through.

use super::IcmpError;
use crate::fate::DropReason;
use crate::net::Net;
use crate::packet::Packet;
use hairpin_wire::Addr;

/// What is wrong with a packet's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOptions {
    /// Gone, silently.
    Drop(DropReason),
    /// Gone, and the sender is to be told.
    Problem(IcmpError),
}

/// The check of a received IPv4 packet's options after its routing (`ip_rcv_options`).
///
/// # Errors
/// What is to become of it instead.
pub fn check(packet: &mut Packet, net: &Net) -> Result<(), BadOptions> {
    let _ = (packet, net);
    Ok(())
}

/// Fills in the options of a packet that is forwarded (`ip_forward_options`): `own` is the address of the device it leaves by.
pub fn forward(packet: &mut Packet, own: Addr, wall_ms: u32) {
    let _ = (packet, own, wall_ms);
}
