//! Connections as the `conntrack` tool prints them.

use super::{Conn, Direction, ProtoState, Status, Tuple, sctp};
use crate::rule::Counter;
use crate::time::{Instant, Now};
use hairpin_wire::{Family, proto};
use std::fmt::{self, Display, Formatter};

/// The line of a connection in `conntrack -L -o extended`.
pub fn line(conn: &Conn, now: Instant) -> String {
    Line { conn, now: Now { mono: now, wall: Default::default() } }.to_string()
}

/// As [`line`], with the time of day too: connections that keep when they were confirmed then print their age in seconds, as
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
        tuple(f, self.conn.tuple(direction))?;
        let zone = self.conn.zone;
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
        let zone = self.conn.zone;
        if zone.original == zone.reply && zone.original != 0 {
            write!(f, "zone={} ", zone.original)?;
        }
        let Some(extra) = &self.conn.extra else { return Ok(()) };
        if let Some(at) = extra.confirmed_at.filter(|at| at.0 != 0) {
            write!(f, "delta-time={} ", self.now.wall.secs().saturating_sub(at.secs()))?;
        }
        if let Some(helper) = extra.helper {
            write!(f, "helper={helper} ")?;
        }
        Ok(())
    }
}

fn tuple(f: &mut Formatter<'_>, tuple: &Tuple) -> fmt::Result {
    let family = tuple.family;
    write!(f, "src={} dst={} ", tuple.src.display(family), tuple.dst.display(family))?;
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

fn protocol_name(protocol: u8) -> &'static str {
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
