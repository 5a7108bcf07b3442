//! UDP and UDP-Lite: two time-outs, and the rule of two seconds.

use super::{Conn, Observe, Seen, Status};
use crate::hook::Hook;
use crate::packet::Packet;
use hairpin_wire::checksum;
use hairpin_wire::proto;
use hairpin_wire::udp::{self, Udp};

/// Looks at a UDP datagram.
///
/// A flow with an answer is a stream only when it still lives two seconds after its first packet: a name server's question and
/// answer, however often repeated at once, stays on the short time-out and can be dropped early.
pub(super) fn observe(conn: &mut Conn, packet: &Packet, context: &Observe<'_>) -> Seen {
    if let Err(reason) = check(packet, context) {
        return Seen::Invalid(reason);
    }
    let now = context.now.mono;
    let is_stream = conn.status.has(Status::SEEN_REPLY) && conn.is_lasting(now);
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

/// Header, length and checksum (RFC 768). A length shorter than the packet passes, but the checksum is then that of the whole packet,
/// with the whole length in the pseudo header: Linux leaves the length field aside there.
fn check(packet: &Packet, context: &Observe<'_>) -> Result<(), &'static str> {
    let datagram = packet.l4();
    let [_, _, _, _, high, low, sum @ ..] = datagram.first_chunk::<{ udp::HEADER_LEN }>().ok_or("short packet")?;
    if !(udp::HEADER_LEN..=datagram.len()).contains(&usize::from(u16::from_be_bytes([*high, *low]))) {
        return Err("truncated/malformed packet");
    }
    if *sum == [0, 0] {
        return Ok(());
    }
    check_sum(packet, datagram, context)
}

/// Header, coverage and checksum (RFC 3828): the checksum is a must, and covers what the coverage says, 0 meaning all.
fn check_lite(packet: &Packet, context: &Observe<'_>) -> Result<(), &'static str> {
    let datagram = packet.l4();
    let udp = Udp::new(datagram).ok_or("short packet")?;
    let covered = match usize::from(udp.coverage()) {
        0 => Some(datagram),
        coverage if coverage < 8 => None,
        coverage => datagram.get(..coverage),
    };
    let covered = covered.ok_or("invalid checksum coverage")?;
    if udp.checksum() == 0 {
        return Err("checksum missing");
    }
    check_sum(packet, covered, context)
}

/// Checksums are looked at where packets come in; what this host sends may not have its own yet.
///
/// The pseudo header has UDP's number for UDP-Lite too. That is a mistake of Linux (seen on 6.18), which thus finds every datagram of
/// UDP-Lite INVALID that comes in with a right checksum.
#[inline]
fn check_sum(packet: &Packet, covered: &[u8], context: &Observe<'_>) -> Result<(), &'static str> {
    if context.hook != Hook::Prerouting || !context.knobs.checksum || packet.is_checksum_trusted() {
        return Ok(());
    }
    let length = u32::try_from(packet.l4().len()).unwrap_or(u32::MAX);
    let pseudo = checksum::pseudo_header(packet.family(), packet.src(), packet.dst(), proto::UDP, length);
    match checksum::finish(checksum::combine(pseudo, checksum::sum(covered))) {
        0 => Ok(()),
        _ => Err("bad checksum"),
    }
}

#[cfg(test)]
mod tests {
    use crate::track::lab::{Lab, host, udp};
    use crate::track::{Class, Direction, Status};
    use hairpin_wire::build::{self, Udp};
    use hairpin_wire::{Family, checksum, proto};

    const THERE: Class = Class::Established(Direction::Original);
    const BACK: Class = Class::Established(Direction::Reply);

    /// Milliseconds after the first packet, direction, class, seconds set, ASSURED: as seen on Linux 6.18.
    type Row = (u64, char, Class, u64, bool);

    const TRACES: &[&[Row]] = &[
        &[
            (0, 'o', Class::New, 30, false),
            (0, 'o', Class::New, 30, false),
            (0, 'r', BACK, 30, false),
            (0, 'o', THERE, 30, false),
            (2000, 'r', BACK, 30, false),
            (2004, 'r', BACK, 120, true),
        ],
        &[(0, 'o', Class::New, 30, false), (2200, 'r', BACK, 30, false), (2200, 'o', THERE, 120, true)],
        &[
            (0, 'o', Class::New, 30, false),
            (10, 'r', BACK, 30, false),
            (2100, 'o', THERE, 120, true),
            (122_000, 'r', BACK, 120, true),
        ],
    ];

    #[test]
    fn two_seconds_make_a_stream() {
        for trace in TRACES {
            let mut lab = Lab::new();
            let mut last = 0;
            for (at, direction, class, secs, assured) in *trace {
                lab.wait(at - last);
                last = *at;
                let packet = if *direction == 'o' { udp((2, 999), (3, 53)) } else { udp((3, 53), (2, 999)) };
                assert_eq!(lab.class(&packet), Some(*class), "at {at}");
                let (_, conn) = lab.only();
                assert_eq!(
                    (conn.seconds_left(lab.now.mono), conn.status.has(Status::ASSURED)),
                    (*secs, *assured),
                    "at {at}"
                );
            }
        }
    }

    #[test]
    fn unanswered_ones_stay_new_and_end() {
        let mut lab = Lab::new();
        assert_eq!(lab.class(&udp((2, 999), (3, 53))), Some(Class::New));
        let (first, _) = lab.only();
        lab.wait(30_000);
        assert_eq!(lab.class(&udp((3, 53), (2, 999))), Some(Class::New));
        assert_ne!(lab.only().0, first);
    }

    #[test]
    fn lengths_and_checksums() {
        let datagram = Udp { src_port: 1, dst_port: 2, payload: b"data" }.to_vec(Family::V4, host(2), host(3));
        let pass = |change: &dyn Fn(&mut Vec<u8>), checks: bool| {
            let mut lab = Lab::new();
            lab.knobs.checksum = checks;
            let mut bytes = datagram.clone();
            change(&mut bytes);
            lab.class(&build::ip(Family::V4, host(2), host(3), proto::UDP, &bytes)).is_some()
        };
        assert!(pass(&|_| {}, true));
        assert!(!pass(&|b| b.truncate(7), true));
        assert!(!pass(&|b| b[5] = 7, true), "shorter than the header");
        assert!(!pass(&|b| b[5] = 13, true), "longer than the packet");
        assert!(!pass(&|b| b[7] ^= 1, true));
        assert!(pass(&|b| b[7] ^= 1, false), "checksums are not looked at");
        assert!(pass(&|b| b[6..8].fill(0), true), "no checksum");
        // A length shorter than the packet: the checksum must be the one of the whole packet.
        assert!(!pass(&|b| b.extend([1, 2]), true));
        assert!(pass(
            &|b| {
                b.extend([1, 2]);
                b[6..8].fill(0);
                let sum = checksum::transport(Family::V4, host(2), host(3), proto::UDP, b);
                b[6..8].copy_from_slice(&sum.to_be_bytes());
            },
            true
        ));
    }

    #[test]
    fn udp_lite() {
        let pass = |coverage: u16, number: u8, checks: bool| {
            let mut bytes = [&[0, 1, 0, 2][..], &coverage.to_be_bytes(), &[0, 0], b"some data"].concat();
            let covered = if coverage == 0 { bytes.len() } else { usize::from(coverage).min(bytes.len()) };
            let pseudo = checksum::pseudo_header(Family::V4, host(2), host(3), number, bytes.len() as u32);
            let sum = checksum::finish(checksum::combine(pseudo, checksum::sum(&bytes[..covered])));
            bytes[6..8].copy_from_slice(&sum.to_be_bytes());
            let mut lab = Lab::new();
            lab.knobs.checksum = checks;
            lab.class(&build::ip(Family::V4, host(2), host(3), proto::UDPLITE, &bytes)).is_some()
        };
        for coverage in [0, 8, 12, 17] {
            assert!(pass(coverage, proto::UDP, true), "{coverage}");
            assert!(!pass(coverage, proto::UDPLITE, true), "{coverage}");
            assert!(pass(coverage, proto::UDPLITE, false), "{coverage}");
        }
        assert!(!pass(7, proto::UDP, false));
        assert!(!pass(18, proto::UDP, false));
    }
}
