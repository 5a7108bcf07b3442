//! ICMP and ICMPv6: questions and answers are connections, errors belong to the connection they quote.

use super::{Conn, ConnId, Conns, Direction, Knobs, Observe, Seen, Tuple, Zone};
use crate::hook::Hook;
use crate::packet::Packet;
use crate::time::Instant;
use hairpin_wire::icmp::{HEADER_LEN, Icmp};
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
    let (kind, _) = conn.tuple(Direction::Original).icmp_type_code();
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

fn quote4(packet: &Packet, checks_sum: bool) -> Quote<'_> {
    const HIGHEST_KNOWN: u8 = 18;
    let bytes = packet.l4();
    let Some((icmp, quoted)) = Icmp::new(bytes).zip(bytes.get(HEADER_LEN..)) else {
        return Quote::None(Message::Invalid("short packet"));
    };
    if checks_sum && !icmp.checksum_ok(Family::V4, packet.src(), packet.dst()) {
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
    let Some((icmp, quoted)) = Icmp::new(bytes).zip(bytes.get(HEADER_LEN..)) else {
        return Quote::None(Message::Invalid("short packet"));
    };
    if checks_sum && !icmp.checksum_ok(Family::V6, packet.src(), packet.dst()) {
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
    let Some((fixed, options)) = packet.l4().split_at_checked(FIXED_LEN) else {
        return Quote::None(Message::Invalid("short redirect"));
    };
    if fixed.get(1) != Some(&0) {
        return Quote::None(Message::Ordinary);
    }
    if Ipv6::new(packet.ip()).is_none_or(|ip| ip.hop_limit() != 255) || !packet.src().is_link_local(Family::V6) {
        return Quote::None(Message::Invalid("invalid saddr or hoplimit for redirect"));
    }
    match *options {
        [] | [_] | [_, 0, ..] => Quote::None(Message::Invalid("redirect without options")),
        [REDIRECTED_HEADER, ..] => Quote::At(options.get(OPTION_LEN..).unwrap_or_default()),
        _ => Quote::None(Message::Ordinary),
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

#[cfg(test)]
mod tests {
    use crate::track::lab::{Lab, host, udp};
    use crate::track::{Class, Direction, Tracked};
    use hairpin_wire::build::{self, Icmp, Udp};
    use hairpin_wire::{Addr, Family, proto};

    const BACK: Class = Class::Established(Direction::Reply);

    fn icmp(kind: u8, code: u8, from: u8, to: u8) -> Vec<u8> {
        Icmp { kind, code, rest: 0x1234_0001, payload: b"data" }.packet(Family::V4, host(from), host(to))
    }

    fn error(kind: u8, quoted: &[u8], from: u8, to: u8) -> Vec<u8> {
        Icmp { kind, code: 1, rest: 0, payload: quoted }.packet(Family::V4, host(from), host(to))
    }

    fn v6(last: u16) -> Addr {
        Addr(0xfe80 << 112 | u128::from(last))
    }

    #[test]
    fn four_questions_begin_a_connection_and_no_other_type_does() {
        for kind in 0..=255 {
            let mut lab = Lab::new();
            let expected = matches!(kind, 8 | 13 | 15 | 17).then_some(Class::New);
            assert_eq!(lab.class(&icmp(kind, 0, 2, 3)), expected, "{kind}");
            assert_eq!(lab.count(), usize::from(expected.is_some()), "{kind}");
            assert_eq!(lab.tracker.conns.count(), lab.count(), "{kind}");
            let answer = match kind {
                8 => 0,
                _ => kind.wrapping_add(1),
            };
            let expected = expected.map(|_| BACK).or(matches!(answer, 8 | 13 | 15 | 17).then_some(Class::New));
            assert_eq!(lab.class(&icmp(answer, 0, 3, 2)), expected, "answer to {kind}");
        }
    }

    #[test]
    fn the_code_is_part_of_the_tuple() {
        let mut lab = Lab::new();
        assert_eq!(lab.class(&icmp(8, 0, 2, 3)), Some(Class::New));
        assert_eq!(lab.class(&icmp(0, 1, 3, 2)), None);
        assert_eq!(lab.class(&icmp(8, 1, 2, 3)), Some(Class::New));
        assert_eq!(lab.count(), 2);
    }

    #[test]
    fn every_answer_refreshes() {
        let mut lab = Lab::new();
        lab.class(&icmp(8, 0, 2, 3));
        for _ in 0..3 {
            lab.wait(20_000);
            assert_eq!(lab.class(&icmp(0, 0, 3, 2)), Some(BACK));
        }
        assert_eq!(lab.only().1.seconds_left(lab.now.mono), 30);
    }

    #[test]
    fn malformed_ones() {
        let mut bad_sum = icmp(8, 0, 2, 3);
        let last = bad_sum.len() - 1;
        bad_sum[last] ^= 1;
        let mut lab = Lab::new();
        assert_eq!(lab.class(&bad_sum), None);
        assert_eq!(lab.tracker.stats.error, 1);
        lab.knobs.checksum = false;
        assert_eq!(lab.class(&bad_sum), Some(Class::New));
        let short = build::ip(Family::V4, host(2), host(3), proto::ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0]);
        assert_eq!(lab.class(&short), None);
        let other_family = build::ip(Family::V4, host(2), host(3), proto::ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(lab.class(&other_family), None);
        assert_eq!(lab.count(), 1);
    }

    #[test]
    fn errors_belong_to_what_they_quote() {
        let there = udp((2, 999), (3, 53));
        let back = udp((3, 53), (2, 999));
        for kind in [3, 4, 5, 11, 12] {
            let mut lab = Lab::new();
            assert_eq!(lab.class(&error(kind, &there, 9, 2)), None, "nothing known");
            lab.class(&there);
            let (_, conn) = lab.only();
            let before = conn.clone();
            lab.wait(5000);
            // Anyone on the way may send it, to where the answer would go.
            assert_eq!(lab.class(&error(kind, &there, 9, 2)), Some(Class::Related(Direction::Reply)));
            assert_eq!(lab.class(&error(kind, &back, 9, 3)), Some(Class::Related(Direction::Original)));
            assert_eq!(lab.class(&error(kind, &there, 9, 3)), None, "to the wrong end");
            let (_, conn) = lab.only();
            assert_eq!((conn.expires, conn.status), (before.expires, before.status));
        }
    }

    #[test]
    fn quotes_that_say_nothing() {
        let mut lab = Lab::new();
        let there = udp((2, 999), (3, 53));
        lab.class(&there);
        assert!(lab.class(&error(3, &there[..24], 9, 2)).is_some());
        assert_eq!(lab.class(&error(3, &there[..23], 9, 2)), None, "the ports are cut off");
        assert_eq!(lab.class(&error(3, &there[..19], 9, 2)), None);
        let mut fragment = there.clone();
        fragment[7] = 1;
        assert_eq!(lab.class(&error(3, &fragment, 9, 2)), None, "a later fragment");
        let nested = error(3, &there, 9, 2);
        assert_eq!(lab.class(&error(11, &nested, 8, 9)), None, "an error about an error");
    }

    #[test]
    fn an_error_about_an_unconfirmed_connection() {
        let mut lab = Lab::new();
        let mut first = crate::Packet::from_ip(&udp((2, 999), (3, 53))).unwrap();
        lab.enter(&mut first, crate::Hook::Prerouting).unwrap();
        assert_eq!(lab.class(&error(3, first.ip(), 9, 2)), None);
    }

    #[test]
    fn version_6() {
        let pass = |kind: u8| {
            let mut lab = Lab::new();
            let bytes = Icmp { kind, code: 0, rest: 7 << 16, payload: &[0; 32] }.packet(Family::V6, v6(2), v6(3));
            lab.pass(&bytes).unwrap()
        };
        for kind in 0..=255 {
            let expected = match kind {
                128 | 139 => "new",
                130..=136 | 143 | 151 | 152 => "untracked",
                _ => "invalid",
            };
            let got = match pass(kind) {
                Tracked::Conn(_, Class::New) => "new",
                Tracked::Untracked => "untracked",
                Tracked::No => "invalid",
                other => panic!("{other:?}"),
            };
            assert_eq!(got, expected, "{kind}");
        }
    }

    #[test]
    fn errors_of_version_6() {
        let there = Udp { src_port: 1, dst_port: 2, payload: b"data" }.packet(Family::V6, v6(2), v6(3));
        let mut lab = Lab::new();
        lab.class(&there);
        for kind in [1, 2, 3, 4, 5, 127] {
            let error = |quoted, to| Icmp { kind, code: 0, rest: 0, payload: quoted }.packet(Family::V6, v6(9), to);
            assert_eq!(lab.class(&error(&there, v6(2))), Some(Class::Related(Direction::Reply)), "{kind}");
            assert_eq!(lab.class(&error(&there, v6(3))), None, "{kind}");
            assert_eq!(lab.class(&error(&there[..43], v6(2))), None, "{kind}");
        }
    }

    #[test]
    fn redirects_of_version_6_come_from_neighbors() {
        let there = Udp { src_port: 1, dst_port: 2, payload: b"data" }.packet(Family::V6, v6(2), v6(3));
        let redirect = |code: u8, option: &[u8], hop_limit: u8, src: Addr| {
            let payload = [&[0; 32], option, &there].concat();
            let message = Icmp { kind: 137, code, rest: 0, payload: &payload }.to_vec(Family::V6, src, v6(2));
            let ip = build::Ipv6 {
                src,
                dst: v6(2),
                next_header: proto::ICMPV6,
                hop_limit,
                payload: &message,
                ..Default::default()
            };
            ip.to_vec()
        };
        let header = [4, 8, 0, 0, 0, 0, 0, 0];
        let mut lab = Lab::new();
        lab.class(&there);
        assert_eq!(lab.class(&redirect(0, &header, 255, v6(9))), Some(Class::Related(Direction::Reply)));
        assert_eq!(lab.class(&redirect(0, &header, 254, v6(9))), None);
        assert_eq!(lab.class(&redirect(0, &header, 255, Addr(0x2001 << 112))), None);
        assert_eq!(lab.class(&redirect(1, &header, 255, v6(9))), None);
        assert_eq!(lab.class(&redirect(0, &[4, 0, 0, 0, 0, 0, 0, 0], 255, v6(9))), None);
        assert_eq!(lab.class(&redirect(0, &[2, 8, 0, 0, 0, 0, 0, 0], 255, v6(9))), None);
    }
}
