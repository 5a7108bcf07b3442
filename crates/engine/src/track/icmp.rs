//! ICMP and ICMPv6: questions and answers are connections, errors belong to the connection they quote.

use super::{Conn, ConnId, Conns, Direction, Knobs, Observe, Seen, Tuple, Zone};
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::Instant;
use hairpin_wire::icmp4::Icmp4;
use hairpin_wire::icmp6::Icmp6;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, proto};

/// What an ICMP message is before its tuple is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A question or an answer, or a type that has no tuple.
    Ordinary,
    /// Of no concern to tracking (neighbor discovery, multicast listeners).
    Untracked,
    /// An error about this connection.
    Related(ConnId, Direction),
    /// Malformed, or an error about nothing known.
    Invalid(&'static str),
}

/// Looks at an ICMP message of the packet's own family.
pub(super) fn classify(packet: &Packet, conns: &Conns, zone: Zone, hook: Hook, now: Instant, knobs: &Knobs) -> Message {
    let checks_sum = hook == Hook::Prerouting && knobs.checksum;
    let quote = match packet.family() {
        Family::V4 => quote4(packet, checks_sum),
        Family::V6 => quote6(packet, checks_sum),
    };
    match quote {
        Quote::None(message) => message,
        Quote::At(quoted) => related(packet.family(), packet.dst(), quoted, conns, zone, now),
    }
}

/// Looks at a message that is part of a connection. Whether its type may begin one is asked of every packet; the answer is that of
/// the first.
pub(super) fn observe(conn: &mut Conn, packet: &Packet, context: &Observe<'_>) -> Seen {
    const ECHO: u8 = 8;
    const TIMESTAMP: u8 = 13;
    const INFORMATION: u8 = 15;
    const ADDRESS_MASK: u8 = 17;
    const ECHO6: u8 = 128;
    const NODE_INFORMATION6: u8 = 139;
    let (kind, _) = conn.tuples[0].icmp_type_code();
    let (begins, timeout) = match (packet.family(), conn.protocol()) {
        (Family::V4, proto::ICMP) => {
            (matches!(kind, ECHO | TIMESTAMP | INFORMATION | ADDRESS_MASK), context.knobs.icmp_timeout)
        }
        (Family::V6, proto::ICMPV6) => (matches!(kind, ECHO6 | NODE_INFORMATION6), context.knobs.icmpv6_timeout),
        _ => return Seen::Invalid("ICMP of the other family"),
    };
    if !begins {
        return Seen::Invalid("no connection begins with this type");
    }
    conn.refresh(context.now.mono, timeout);
    Seen::Accept
}

/// The packet that a message quotes, if it is one that tracking follows up.
enum Quote<'a> {
    None(Message),
    At(&'a [u8]),
}

const HEADER_LEN: usize = 8;

fn quote4(packet: &Packet, checks_sum: bool) -> Quote<'_> {
    const HIGHEST_KNOWN: u8 = 18;
    let bytes = packet.l4();
    let Some((icmp, quoted)) = Icmp4::new(bytes).zip(bytes.get(HEADER_LEN..)) else {
        return Quote::None(Message::Invalid("short packet"));
    };
    if checks_sum && !icmp.checksum_ok() {
        return Quote::None(Message::Invalid("bad hw icmp checksum"));
    }
    match icmp.kind() {
        kind if kind > HIGHEST_KNOWN => Quote::None(Message::Invalid("invalid icmp type")),
        3 | 4 | 5 | 11 | 12 => Quote::At(quoted),
        _ => Quote::None(Message::Ordinary),
    }
}

fn quote6(packet: &Packet, checks_sum: bool) -> Quote<'_> {
    const REDIRECT: u8 = 137;
    let bytes = packet.l4();
    let Some((icmp, quoted)) = Icmp6::new(bytes).zip(bytes.get(HEADER_LEN..)) else {
        return Quote::None(Message::Invalid("short packet"));
    };
    if checks_sum && !icmp.checksum_ok(packet.src(), packet.dst()) {
        return Quote::None(Message::Invalid("ICMPv6 checksum failed"));
    }
    match icmp.kind() {
        // Multicast listeners (RFC 2710, RFC 3810), neighbor discovery (RFC 4861), multicast routers (RFC 4286).
        130..=136 | 143 | 151 | 152 => Quote::None(Message::Untracked),
        REDIRECT => redirect6(packet),
        0..=127 => Quote::At(quoted),
        _ => Quote::None(Message::Ordinary),
    }
}

/// The packet that a redirect quotes is in its first option (RFC 4861, section 4.5). Only neighbors may redirect.
fn redirect6(packet: &Packet) -> Quote<'_> {
    const FIXED_LEN: usize = 40;
    const REDIRECTED_HEADER: u8 = 4;
    const OPTION_LEN: usize = 8;
    let from_neighbor =
        Ipv6::new(packet.ip()).is_some_and(|ip| ip.hop_limit() == 255) && packet.src().is_link_local(Family::V6);
    if !from_neighbor {
        return Quote::None(Message::Invalid("redirect not from a neighbor"));
    }
    match packet.l4().get(FIXED_LEN..) {
        Some(&[_, 0, ..]) | Some(&[] | &[_]) | None => Quote::None(Message::Invalid("redirect without a header")),
        Some(option @ &[REDIRECTED_HEADER, ..]) => match option.get(OPTION_LEN..) {
            Some(quoted) => Quote::At(quoted),
            None => Quote::None(Message::Invalid("redirect without a header")),
        },
        Some(_) => Quote::None(Message::Ordinary),
    }
}

/// The connection that a quoted packet belongs to. The quote went the other way than its answers do, so the answer's tuple is looked
/// for: found as the reply tuple, the error goes in reply direction.
///
/// An error must go to where the answer would go; its sender may be anyone on the way.
fn related(family: Family, to: Addr, quoted: &[u8], conns: &Conns, zone: Zone, now: Instant) -> Message {
    let Some(answer) = Tuple::of_bytes(family, quoted).and_then(|(tuple, _)| tuple.invert()) else {
        return Message::Invalid("quoted packet has no tuple");
    };
    let Some((id, direction)) = conns.find_in(&answer, zone, now) else {
        return Message::Invalid("about no known connection");
    };
    match conns.get(id) {
        Some(conn) if conn.tuple(direction).dst == to => Message::Related(id, direction),
        _ => Message::Invalid("outer daddr != inner"),
    }
}
