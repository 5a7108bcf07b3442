//! UDP and UDP-Lite: two time-outs, and the rule of two seconds.

use super::{Conn, Observe, Seen, Status};
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::HZ;
use hairpin_wire::checksum;
use hairpin_wire::proto;
use hairpin_wire::udp::Udp;

/// Looks at a UDP datagram.
///
/// A flow with an answer is a stream only when it still lives two seconds after its first packet: a name server's question and
/// answer, however often repeated at once, stays on the short time-out and can be dropped early.
pub(super) fn observe(conn: &mut Conn, packet: &Packet, context: &Observe<'_>) -> Seen {
    if let Err(reason) = check(packet, context) {
        return Seen::Invalid(reason);
    }
    let now = context.now.mono;
    let is_stream =
        conn.status.has(Status::SEEN_REPLY) && now.jiffies() > conn.started.jiffies().saturating_add(2 * HZ);
    stream(conn, is_stream, context);
    Seen::Accept
}

/// Looks at a UDP-Lite datagram: as UDP, without the two seconds.
pub(super) fn observe_lite(conn: &mut Conn, packet: &Packet, context: &Observe<'_>) -> Seen {
    if let Err(reason) = check_lite(packet, context) {
        return Seen::Invalid(reason);
    }
    let is_stream = conn.status.has(Status::SEEN_REPLY);
    stream(conn, is_stream, context);
    Seen::Accept
}

/// Refreshes, and marks a stream as not to be dropped early, unless it is here in spite of a clash.
fn stream(conn: &mut Conn, is_stream: bool, context: &Observe<'_>) {
    let knobs = context.knobs;
    conn.refresh(context.now.mono, if is_stream { knobs.udp_timeout_stream } else { knobs.udp_timeout });
    if is_stream && !conn.status.has(Status::NAT_CLASH) {
        conn.status.set(Status::ASSURED);
    }
}

/// Header, length and checksum (RFC 768). A length shorter than the packet is fine; the rest is padding.
fn check(packet: &Packet, context: &Observe<'_>) -> Result<(), &'static str> {
    let datagram = packet.l4();
    let udp = Udp::new(datagram).ok_or("short packet")?;
    let length = usize::from(udp.len());
    let covered = datagram.get(..length).filter(|covered| covered.len() >= 8).ok_or("truncated/malformed packet")?;
    if udp.checksum() == 0 || !checks_sums(context) {
        return Ok(());
    }
    match checksum::transport(packet.family(), packet.src(), packet.dst(), proto::UDP, covered) {
        0 => Ok(()),
        _ => Err("bad checksum"),
    }
}

/// Header, coverage and checksum (RFC 3828): the checksum is a must, and covers what the coverage says, 0 meaning all.
fn check_lite(packet: &Packet, context: &Observe<'_>) -> Result<(), &'static str> {
    let datagram = packet.l4();
    let udp = Udp::new(datagram).ok_or("short packet")?;
    let coverage = match usize::from(udp.coverage()) {
        0 => datagram.len(),
        coverage if coverage < 8 || coverage > datagram.len() => return Err("invalid checksum coverage"),
        coverage => coverage,
    };
    if udp.checksum() == 0 {
        return Err("checksum missing");
    }
    if !checks_sums(context) {
        return Ok(());
    }
    // The pseudo header has the length of the datagram, not of the part covered.
    let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
    let pseudo = checksum::pseudo_header(packet.family(), packet.src(), packet.dst(), proto::UDPLITE, length);
    let covered = datagram.get(..coverage).unwrap_or_default();
    match checksum::finish(checksum::combine(pseudo, checksum::sum(covered))) {
        0 => Ok(()),
        _ => Err("bad checksum"),
    }
}

/// Checksums are looked at where packets come in; what this host sends may not have its own yet.
fn checks_sums(context: &Observe<'_>) -> bool {
    context.hook == Hook::Prerouting && context.knobs.checksum
}
