//! Connections as the `conntrack` tool prints them.

use super::{Conn, Direction, ProtoState, Status, Tuple, sctp};
use crate::rule::Counter;
use crate::time::{Instant, Now};
use hairpin_wire::{Family, proto};
use std::fmt::{self, Display, Formatter, Write};

/// The line of a connection in `conntrack -L -o extended`.
pub fn line(conn: &Conn, now: Instant) -> String {
    Line { conn, now: Now { mono: now, wall: Default::default() } }.to_string()
}

/// As [`fn@line`], with the time of day too: connections that keep when they were confirmed then print their age in seconds, as
/// `conntrack -L` does.
pub fn line_at(conn: &Conn, now: Now) -> String {
    Line { conn, now }.to_string()
}

struct Line<'a> {
    conn: &'a Conn,
    now: Now,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Line { conn, now } = *self;
        match conn.family() {
            Family::V4 => f.write_str("ipv4     2 ")?,
            Family::V6 => f.write_str("ipv6     10 ")?,
        }
        write!(f, "{:<8} {} ", protocol_name(conn.protocol()), conn.protocol())?;
        write!(f, "{} ", conn.seconds_left(now.mono))?;
        match conn.proto {
            ProtoState::Tcp(tcp) => write!(f, "{} ", tcp.state.text())?,
            ProtoState::Sctp { state, .. } => write!(f, "{} ", sctp::state_text(state))?,
            _ => {}
        }
        self.direction(f, Direction::Original)?;
        if !conn.status.has(Status::SEEN_REPLY) {
            f.write_str("[UNREPLIED] ")?;
        }
        self.direction(f, Direction::Reply)?;
        if conn.status.has(Status::ASSURED) {
            f.write_str("[ASSURED] ")?;
        }
        write!(f, "mark={} ", conn.mark)?;
        self.tail(f)?;
        f.write_str("use=1")
    }
}

impl Line<'_> {
    fn direction(&self, f: &mut Formatter<'_>, direction: Direction) -> fmt::Result {
        tuple(f, &self.conn.tuple(direction))?;
        let zone = self.conn.zone();
        if zone.original != zone.reply {
            match direction {
                Direction::Original if zone.original != 0 => write!(f, "zone-orig={} ", zone.original)?,
                Direction::Reply if zone.reply != 0 => write!(f, "zone-reply={} ", zone.reply)?,
                _ => {}
            }
        }
        if let Some(counters) = self.conn.counters() {
            let Counter { packets, bytes } = counters[direction.index()];
            write!(f, "packets={packets} bytes={bytes} ")?;
        }
        Ok(())
    }

    fn tail(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let zone = self.conn.zone();
        if zone.original == zone.reply && zone.original != 0 {
            write!(f, "zone={} ", zone.original)?;
        }
        let Some(extra) = self.conn.extra() else { return Ok(()) };
        if let Some(at) = extra.confirmed_at.filter(|at| at.0 != 0) {
            write!(f, "delta-time={} ", self.now.wall.secs().saturating_sub(at.secs()))?;
        }
        if let Some(helper) = extra.helper {
            write!(f, "helper={helper} ")?;
        }
        Ok(())
    }
}

/// The addresses of a tuple and what else tells it from others, with a space after each.
///
/// # Errors
/// The writer's.
pub fn tuple(f: &mut impl Write, tuple: &Tuple) -> fmt::Result {
    let family = tuple.family;
    write!(f, "src={} dst={} ", tuple.src.display(family), tuple.dst.display(family))?;
    ids(f, tuple)
}

/// What tells a tuple from others between the same addresses, with a space after each.
///
/// # Errors
/// The writer's.
pub fn ids(f: &mut impl Write, tuple: &Tuple) -> fmt::Result {
    match tuple.protocol {
        // The tool prints ports for DCCP too, though the kernel no longer knows them.
        proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP | proto::DCCP => {
            write!(f, "sport={} dport={} ", tuple.src_id, tuple.dst_id)
        }
        proto::GRE => write!(f, "srckey=0x{:x} dstkey=0x{:x} ", tuple.src_id, tuple.dst_id),
        proto::ICMP | proto::ICMPV6 => {
            let (kind, code) = tuple.icmp_type_code();
            write!(f, "type={kind} code={code} id={} ", tuple.src_id)
        }
        _ => Ok(()),
    }
}

/// What the tool calls a protocol.
pub fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::UDPLITE => "udplite",
        proto::ICMP => "icmp",
        proto::ICMPV6 => "icmpv6",
        proto::SCTP => "sctp",
        proto::GRE => "gre",
        proto::DCCP => "dccp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HZ, Wall};
    use crate::track::{TcpState, TcpTrack, Zone};
    use hairpin_wire::Addr;
    use std::net::IpAddr;

    fn tuple(protocol: u8, src: &str, dst: &str, src_id: u16, dst_id: u16) -> Tuple {
        let [(family, src), (_, dst)] = [src, dst].map(|text| Addr::from_ip(text.parse::<IpAddr>().unwrap()));
        Tuple { src, dst, src_id, dst_id, protocol, family }
    }

    /// A confirmed connection with `secs` seconds left, less one jiffy, as a tool sees it that asks at once.
    fn conn(original: Tuple, reply: Tuple, secs: u64, status: Status) -> Conn {
        let mut conn = Conn::new(original, reply, Zone::default(), Instant::default());
        conn.status = status.union(Status::CONFIRMED);
        conn.expires = Instant::from_jiffies(secs * HZ - 1);
        conn
    }

    fn counted(mut conn: Conn, counts: [(u64, u64); 2]) -> Conn {
        conn.set_counters(Some(counts.map(|(packets, bytes)| Counter { packets, bytes })));
        conn
    }

    const NONE: Status = Status(0);
    const ANSWERED: Status = Status::SEEN_REPLY;
    const ASSURED: Status = Status::SEEN_REPLY.union(Status::ASSURED);

    fn check(conn: &Conn, expected: &str) {
        assert_eq!(line(conn, Instant::default()), expected);
    }

    #[test]
    fn tcp() {
        let original = tuple(6, "192.168.1.10", "198.51.100.5", 40001, 80);
        let reply = tuple(6, "198.51.100.5", "203.0.113.1", 80, 40001);
        let mut conn = counted(conn(original, reply, 432_000, ASSURED), [(3, 136), (2, 92)]);
        conn.proto = ProtoState::Tcp(TcpTrack { state: TcpState::Established, ..TcpTrack::default() });
        check(
            &conn,
            "ipv4     2 tcp      6 431999 ESTABLISHED src=192.168.1.10 dst=198.51.100.5 sport=40001 dport=80 packets=3 \
             bytes=136 src=198.51.100.5 dst=203.0.113.1 sport=80 dport=40001 packets=2 bytes=92 [ASSURED] mark=0 use=1",
        );
    }

    #[test]
    fn tails() {
        let original = tuple(6, "10.77.0.2", "10.77.0.1", 57368, 21);
        let mut conn = counted(conn(original, original.invert().unwrap(), 120, NONE), [(1, 60), (0, 0)]);
        conn.proto = ProtoState::Tcp(TcpTrack { state: TcpState::SynSent, ..TcpTrack::default() });
        conn.set_zone(Zone::both(7));
        let now = Now { mono: Instant::default(), wall: Wall(1_700_000_002_500_000_000) };
        conn.extra_mut().helper = Some("ftp");
        conn.extra_mut().confirmed_at = Some(Wall(1_700_000_001_900_000_000));
        let expected = "ipv4     2 tcp      6 119 SYN_SENT src=10.77.0.2 dst=10.77.0.1 sport=57368 dport=21 packets=1 bytes=60 \
             [UNREPLIED] src=10.77.0.1 dst=10.77.0.2 sport=21 dport=57368 packets=0 bytes=0 mark=0 zone=7 delta-time=1 \
             helper=ftp use=1";
        assert_eq!(line_at(&conn, now), expected);
        // Not confirmed yet: nothing to count from.
        conn.extra_mut().confirmed_at = Some(Wall(0));
        assert_eq!(line_at(&conn, now), expected.replace("delta-time=1 ", ""));
    }

    #[test]
    fn zones_of_one_direction() {
        let original = tuple(17, "10.77.0.2", "10.77.0.1", 1005, 2005);
        let mut conn = conn(original, original.invert().unwrap(), 29, NONE);
        conn.set_zone(Zone { original: 9, reply: 0 });
        check(
            &conn,
            "ipv4     2 udp      17 28 src=10.77.0.2 dst=10.77.0.1 sport=1005 dport=2005 zone-orig=9 [UNREPLIED] \
             src=10.77.0.1 dst=10.77.0.2 sport=2005 dport=1005 mark=0 use=1",
        );
        conn.set_zone(Zone { original: 0, reply: 11 });
        check(
            &conn,
            "ipv4     2 udp      17 28 src=10.77.0.2 dst=10.77.0.1 sport=1005 dport=2005 [UNREPLIED] src=10.77.0.1 \
             dst=10.77.0.2 sport=2005 dport=1005 zone-reply=11 mark=0 use=1",
        );
    }

    #[test]
    fn other_protocols() {
        let cases = [
            (1, 0x1234, 0x0800, "icmp     1", "type=8 code=0 id=4660", "type=0 code=0 id=4660"),
            (47, 0, 0x1234, "gre      47", "srckey=0x0 dstkey=0x1234", "srckey=0x1234 dstkey=0x0"),
            (33, 0, 0, "dccp     33", "sport=0 dport=0", "sport=0 dport=0"),
            (136, 1, 2, "udplite  136", "sport=1 dport=2", "sport=2 dport=1"),
        ];
        for (protocol, src_id, dst_id, head, there, back) in cases {
            let original = tuple(protocol, "10.0.0.2", "10.0.0.3", src_id, dst_id);
            let conn = conn(original, original.invert().unwrap(), 30, ANSWERED);
            check(
                &conn,
                &format!(
                    "ipv4     2 {head} 29 src=10.0.0.2 dst=10.0.0.3 {there} src=10.0.0.3 dst=10.0.0.2 {back} mark=0 use=1"
                ),
            );
        }
        let original = tuple(50, "10.77.0.2", "10.77.0.1", 0, 0);
        check(
            &counted(conn(original, original.invert().unwrap(), 599, NONE), [(1, 28), (0, 0)]),
            "ipv4     2 unknown  50 598 src=10.77.0.2 dst=10.77.0.1 packets=1 bytes=28 [UNREPLIED] src=10.77.0.1 \
             dst=10.77.0.2 packets=0 bytes=0 mark=0 use=1",
        );
    }

    #[test]
    fn version_6_and_marks() {
        let original = tuple(58, "2001:db8:1::10", "2001:db8::5", 7, 0x8000);
        let mut conn = conn(original, original.invert().unwrap(), 30, ANSWERED);
        conn.mark = 0xffff_ffff;
        check(
            &conn,
            "ipv6     10 icmpv6   58 29 src=2001:db8:1::10 dst=2001:db8::5 type=128 code=0 id=7 src=2001:db8::5 \
             dst=2001:db8:1::10 type=129 code=0 id=7 mark=4294967295 use=1",
        );
    }
}
