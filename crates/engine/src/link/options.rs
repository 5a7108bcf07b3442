//! IPv4 options: read on arrival, filled in on the way through, echoed in answers (`net/ipv4/ip_options.c` in behaviour).

use super::IcmpError;
use crate::fate::DropReason;
use crate::net::{Net, Scope};
use crate::packet::{LinkType, Packet};
use crate::route::{AddressType, OutputKey, RouteType};
use hairpin_wire::ipv4::{self, Ipv4, option};
use hairpin_wire::{Addr, Family, icmp4};

/// What is wrong with a packet's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOptions {
    /// Gone, silently.
    Drop(DropReason),
    /// Gone, and the sender is to be told.
    Problem(IcmpError),
}

/// What [`check`] found in a packet's options. Places count from the start of the IP header; 0 means there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    record_route: u8,
    timestamp: u8,
    source_route: u8,
    cipso: u8,
    /// The record route option has room for an address of this host, and its pointer already counts it.
    route_wants_address: bool,
    /// The same of the timestamp option, with an address and with a time.
    time_wants_address: bool,
    time_wants_time: bool,
    /// The source route is a strict one.
    strict: bool,
    /// The packet goes on to this address, the next of its source route.
    next_hop: Option<Addr>,
    /// Bytes of the header were changed, its checksum is not right any more.
    changed: bool,
}

impl Found {
    /// No field as in [`Found::default`].
    #[cfg(test)]
    pub(crate) fn of_everything() -> Found {
        Found {
            record_route: 1,
            timestamp: 1,
            source_route: 1,
            cipso: 1,
            route_wants_address: true,
            time_wants_address: true,
            time_wants_time: true,
            strict: true,
            next_hop: Some(Addr::UNSPECIFIED),
            changed: true,
        }
    }

    /// As [`Found::default`], in place.
    #[inline]
    pub(crate) fn reset(&mut self) {
        (self.record_route, self.timestamp, self.source_route, self.cipso) = (0, 0, 0, 0);
        (self.route_wants_address, self.time_wants_address, self.time_wants_time) = (false, false, false);
        (self.strict, self.next_hop, self.changed) = (false, None, false);
    }

    /// Whether the packet says by which hosts it goes.
    pub fn has_source_route(&self) -> bool {
        self.source_route != 0
    }
}

/// Reads a received IPv4 packet's options after its routing (`ip_rcv_options`), fills in what this host records on arrival, and
/// notes the rest in the packet's `meta`. `wall_ms` are milliseconds since midnight UTC.
///
/// A loose or strict source route that names this host gets its next hop's route.
///
/// # Errors
/// What is to become of the packet instead.
pub fn check(packet: &mut Packet, net: &Net, wall_ms: u32) -> Result<(), BadOptions> {
    let result = read(packet, net, wall_ms);
    result.map_err(|at| BadOptions::Problem(IcmpError::bad_header4(at as u8)))?;
    if packet.meta.ip_options.has_source_route() {
        let dev = packet.meta.iif.ok_or(BadOptions::Drop(DropReason::BadOptions))?;
        if !net.sysctl.accept_source_route(dev) {
            return Err(BadOptions::Drop(DropReason::BadOptions));
        }
        follow_source_route(packet, net)?;
    }
    Ok(())
}

/// Whether a strict source route asks for a neighbor where the route has a gateway: the packet is refused with "source route
/// failed" (`ip_forward`).
pub fn strict_route_fails(packet: &Packet) -> bool {
    packet.meta.ip_options.strict && packet.meta.route.as_ref().is_some_and(|route| route.gateway.is_some())
}

/// Fills in the options of a packet that is forwarded, after FORWARD (`ip_forward_options`). `own` is this host's address on
/// the way out.
pub fn forward(packet: &mut Packet, own: Addr) {
    let found = packet.meta.ip_options;
    let bytes = packet.ip_mut();
    let mut changed = found.changed;
    if found.route_wants_address {
        write_before(bytes, found.record_route, 5, own);
        changed = true;
    }
    if let Some(next) = found.next_hop {
        let at = usize::from(found.source_route);
        let (len, mut pointer) = (byte(bytes, at + 1), byte(bytes, at + 2));
        while pointer + 3 <= len && read_addr(bytes, at + pointer - 1) != next {
            pointer += 4;
        }
        if pointer + 3 <= len {
            changed = true;
            next.write(Family::V4, bytes.get_mut(16..).unwrap_or_default());
            own.write(Family::V4, bytes.get_mut(at + pointer - 1..).unwrap_or_default());
            put(bytes, at + 2, pointer + 4);
        }
        // Linux fills in the address of a time stamp only here.
        if found.time_wants_address {
            write_before(bytes, found.timestamp, 9, own);
            changed = true;
        }
    }
    if changed && let Some(mut ip) = Ipv4::new(packet.ip_mut()) {
        ip.fill_checksum();
    }
    packet.meta.ip_options.changed = false;
    if found.next_hop.is_some() {
        // The destination changed; the lengths did not.
        let _ = packet.refresh();
    }
}

/// Options of an answer, made from those of the packet it answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Echo {
    bytes: Vec<u8>,
    record_route: Option<usize>,
    time_address: Option<usize>,
    time_time: Option<usize>,
    source_route: Option<usize>,
    /// Where the answer goes first, when it takes the packet's source route back.
    pub(super) first_hop: Option<Addr>,
}

impl Echo {
    /// The options to answer `packet` with (`__ip_options_echo`); None when nothing can be answered.
    pub(super) fn of(packet: &Packet, net: &Net) -> Option<Echo> {
        let found = packet.meta.ip_options;
        let mut echo = Echo::default();
        if packet.family() == Family::V6 || found == Found::default() {
            return Some(echo);
        }
        let header = Ipv4::new(packet.ip())?.header().to_vec();
        echo.record_route(&header, found)?;
        echo.timestamp(&header, found, net)?;
        echo.source_route(&header, found, packet.src());
        echo.append(&header, found.cipso);
        while !echo.bytes.len().is_multiple_of(4) {
            echo.bytes.push(option::END);
        }
        Some(echo)
    }

    /// The bytes, for an answer from `own` to `dst` (`ip_options_build`).
    pub(super) fn finish(mut self, own: Addr, dst: Addr, wall_ms: u32) -> Vec<u8> {
        let bytes = &mut self.bytes;
        if let Some(at) = self.source_route {
            let end = at + byte(bytes, at + 1);
            dst.write(Family::V4, bytes.get_mut(end.saturating_sub(4)..).unwrap_or_default());
        }
        for (at, back) in [(self.record_route, 5), (self.time_address, 9)] {
            if let Some(at) = at {
                let place = (at + byte(bytes, at + 2)).saturating_sub(back);
                own.write(Family::V4, bytes.get_mut(place..).unwrap_or_default());
            }
        }
        if let Some(at) = self.time_time {
            let place = (at + byte(bytes, at + 2)).saturating_sub(5);
            Addr::v4(wall_ms).write(Family::V4, bytes.get_mut(place..).unwrap_or_default());
        }
        self.bytes
    }

    /// Copies the option at `at` of the header; its place in the answer.
    fn append(&mut self, header: &[u8], at: u8) -> Option<usize> {
        let at = usize::from(at);
        if at == 0 {
            return None;
        }
        let place = self.bytes.len();
        self.bytes.extend_from_slice(header.get(at..at + byte(header, at + 1))?);
        Some(place)
    }

    fn record_route(&mut self, header: &[u8], found: Found) -> Option<()> {
        let Some(at) = self.append(header, found.record_route) else { return Some(()) };
        let (len, pointer) = (byte(&self.bytes, at + 1), byte(&self.bytes, at + 2));
        if found.route_wants_address && pointer <= len {
            if pointer + 3 > len {
                return None;
            }
            put(&mut self.bytes, at + 2, pointer + 4);
            self.record_route = Some(at);
        }
        Some(())
    }

    fn timestamp(&mut self, header: &[u8], found: Found, net: &Net) -> Option<()> {
        let Some(at) = self.append(header, found.timestamp) else { return Some(()) };
        let (len, mut pointer) = (byte(&self.bytes, at + 1), byte(&self.bytes, at + 2));
        if pointer > len {
            return Some(());
        }
        if found.time_wants_address {
            if pointer + 3 > len {
                return None;
            }
            self.time_address = Some(at);
            pointer += 4;
        }
        if found.time_wants_time {
            if pointer + 3 > len {
                return None;
            }
            if byte(&self.bytes, at + 3) & 0xf != PRESPECIFIED {
                self.time_time = Some(at);
                pointer += 4;
            } else if pointer + 7 <= len
                && net.address_type(Family::V4, read_addr(&self.bytes, at + pointer - 1), None) != AddressType::Unicast
            {
                self.time_time = Some(at);
                pointer += 8;
            }
        }
        put(&mut self.bytes, at + 2, pointer);
        Some(())
    }

    /// The source route back: the hops travelled, in reverse. What the pointer says is taken as it is.
    fn source_route(&mut self, header: &[u8], found: Found, sender: Addr) {
        let at = usize::from(found.source_route);
        if at == 0 {
            return;
        }
        let (len, pointer) = (byte(header, at + 1), byte(header, at + 2));
        let hop = |offset: usize| read_addr(header, at + offset - 1);
        let mut offset = pointer.min(len + 1).saturating_sub(4);
        if offset <= 3 {
            return;
        }
        // The last one travelled is where the answer goes first.
        let first_hop = hop(offset);
        let mut back = Vec::new();
        offset -= 4;
        while offset > 3 {
            back.push(hop(offset));
            offset -= 4;
        }
        // RFC 1812: a route that begins with the sender itself is illegal, and mended.
        if hop(offset + 4) == sender && back.pop().is_none() {
            return;
        }
        let place = self.bytes.len();
        let len = back.len() * 4 + 7;
        self.bytes.extend([byte(header, at) as u8, len as u8, 4]);
        for hop in back {
            self.bytes.extend(hop.as_u32().to_be_bytes());
        }
        // The last place is for the sender's own address.
        self.bytes.extend([0; 4]);
        self.first_hop = Some(first_hop);
        self.source_route = Some(place);
    }
}

/// Timestamp option of hosts named beforehand (RFC 791).
const PRESPECIFIED: usize = 3;

/// Walks the options and fills them in; the offset from the header's start of what cannot be (`__ip_options_compile`).
fn read(packet: &mut Packet, net: &Net, wall_ms: u32) -> Result<(), usize> {
    let mut found = Found::default();
    let end = packet.head().l4;
    let mut at = ipv4::HEADER_LEN;
    let mut result = Ok(());
    while at < end {
        let kind = packet.ip().get(at).copied().unwrap_or(option::END);
        match kind {
            option::END => {
                for byte in packet.ip_mut().get_mut(at + 1..end).unwrap_or_default() {
                    found.changed |= *byte != option::END;
                    *byte = option::END;
                }
                break;
            }
            option::NOP => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let len = byte(packet.ip(), at + 1);
        if at + 1 >= end || len < 2 || len > end - at {
            result = Err(at);
            break;
        }
        if let Err(offset) = read_one(packet, net, wall_ms, at, &mut found) {
            result = Err(at + offset);
            break;
        }
        at += len;
    }
    packet.meta.ip_options = found;
    result
}

/// One option; the offset within it of what cannot be.
fn read_one(packet: &mut Packet, net: &Net, wall_ms: u32, at: usize, found: &mut Found) -> Result<(), usize> {
    let bytes = packet.ip();
    let (kind, len, pointer) = (byte(bytes, at) as u8, byte(bytes, at + 1), byte(bytes, at + 2));
    match kind {
        option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => {
            need(len >= 3, 1)?;
            need(pointer >= 4, 2)?;
            need(found.source_route == 0, 0)?;
            found.strict = kind == option::STRICT_SOURCE_ROUTE;
            found.source_route = at as u8;
        }
        option::RECORD_ROUTE => {
            need(found.record_route == 0, 0)?;
            need(len >= 3, 1)?;
            need(pointer >= 4, 2)?;
            if pointer <= len {
                need(pointer + 3 <= len, 2)?;
                let own = own_address(packet, net);
                let bytes = packet.ip_mut();
                own.write(Family::V4, bytes.get_mut(at + pointer - 1..).unwrap_or_default());
                put(bytes, at + 2, pointer + 4);
                found.changed = true;
                found.route_wants_address = true;
            }
            found.record_route = at as u8;
        }
        option::TIMESTAMP => {
            need(found.timestamp == 0, 0)?;
            need(len >= 4, 1)?;
            need(pointer >= 5, 2)?;
            if pointer <= len {
                need(pointer + 3 <= len, 2)?;
                stamp(packet, net, wall_ms, at, found)?;
            } else if byte(bytes, at + 3) & 0xf != PRESPECIFIED {
                let flags = byte(bytes, at + 3);
                // The number of hosts that found no room.
                need(flags >> 4 != 15, 3)?;
                put(packet.ip_mut(), at + 3, flags + 0x10);
                found.changed = true;
            }
            found.timestamp = at as u8;
        }
        option::ROUTER_ALERT => need(len >= 4, 1)?,
        // Understood only where a labelling domain is set up, which this host has none of: its number is refused.
        option::CIPSO => {
            need(found.cipso == 0, 0)?;
            found.cipso = at as u8;
            return Err(if len < 8 { 1 } else { 2 });
        }
        _ => {}
    }
    Ok(())
}

/// Fills in a time stamp that has room.
fn stamp(packet: &mut Packet, net: &Net, wall_ms: u32, at: usize, found: &mut Found) -> Result<(), usize> {
    const TIME_ONLY: usize = 0;
    const TIME_AND_ADDRESS: usize = 1;
    let (len, pointer) = (byte(packet.ip(), at + 1), byte(packet.ip(), at + 2));
    let place = at + pointer - 1;
    let time = match byte(packet.ip(), at + 3) & 0xf {
        TIME_ONLY => {
            put(packet.ip_mut(), at + 2, pointer + 4);
            place
        }
        TIME_AND_ADDRESS => {
            need(pointer + 7 <= len, 2)?;
            let own = own_address(packet, net);
            own.write(Family::V4, packet.ip_mut().get_mut(place..).unwrap_or_default());
            found.time_wants_address = true;
            put(packet.ip_mut(), at + 2, pointer + 8);
            place + 4
        }
        PRESPECIFIED => {
            need(pointer + 7 <= len, 2)?;
            if net.address_type(Family::V4, read_addr(packet.ip(), place), None) == AddressType::Unicast {
                return Ok(());
            }
            put(packet.ip_mut(), at + 2, pointer + 8);
            place + 4
        }
        _ => return Ok(()),
    };
    found.time_wants_time = true;
    found.changed = true;
    Addr::v4(wall_ms).write(Family::V4, packet.ip_mut().get_mut(time..).unwrap_or_default());
    Ok(())
}

/// A source route that names this host goes on to its next hop (`ip_options_rcv_srr`).
fn follow_source_route(packet: &mut Packet, net: &Net) -> Result<(), BadOptions> {
    let refused = BadOptions::Drop(DropReason::BadOptions);
    let found = packet.meta.ip_options;
    // Nothing leads to its destination.
    let Some(route) = packet.meta.route else { return Err(refused) };
    if packet.meta.link_type != LinkType::Host {
        return Err(refused);
    }
    match route.kind {
        RouteType::Unicast if !found.strict => return Ok(()),
        // A strict route that does not name this host came astray.
        RouteType::Unicast => return Err(BadOptions::Problem(IcmpError::bad_header4(16))),
        RouteType::Local => {}
        _ => return Err(refused),
    }
    let at = usize::from(found.source_route);
    let (len, mut pointer) = (byte(packet.ip(), at + 1), byte(packet.ip(), at + 2));
    while pointer <= len {
        if pointer + 3 > len {
            return Err(BadOptions::Problem(IcmpError::bad_header4(found.source_route.saturating_add(2))));
        }
        let next = read_addr(packet.ip(), at + pointer - 1);
        let mut probe = packet.clone();
        next.write(Family::V4, probe.ip_mut().get_mut(16..).unwrap_or_default());
        probe.refresh().map_err(|_| refused)?;
        let route = net.route_input(&probe).map_err(|_| refused)?;
        match route.kind {
            RouteType::Local => {
                // The next hop is this host too.
                next.write(Family::V4, packet.ip_mut().get_mut(16..).unwrap_or_default());
                packet.refresh().map_err(|_| refused)?;
                packet.meta.route = Some(route);
                packet.meta.ip_options.changed = true;
                packet.forget_sum();
                pointer += 4;
            }
            RouteType::Unicast => {
                packet.meta.route = Some(route);
                packet.meta.ip_options.next_hop = Some(next);
                packet.meta.ip_options.changed = true;
                return Ok(());
            }
            _ => return Err(refused),
        }
    }
    Ok(())
}

/// The address this host is known by to the packet's sender (`fib_compute_spec_dst`).
pub(super) fn own_address(packet: &Packet, net: &Net) -> Addr {
    let family = packet.family();
    if packet.meta.route.is_some_and(|route| route.kind == RouteType::Local) {
        return packet.dst();
    }
    let src = packet.src();
    let nobody = src.as_u32() >> 24 == 0;
    let routed = || {
        let mark = packet.meta.iif.filter(|iif| net.sysctl.src_valid_mark(*iif)).map_or(0, |_| packet.meta.mark);
        let key = OutputKey { tos: packet.tos(), mark, ..OutputKey::to(family, src) };
        net.route_output(&key).ok()?.prefsrc
    };
    let selected = |scope| net.select_address(family, packet.meta.iif?, Some(src), scope);
    let own = if nobody { selected(Scope::Link) } else { routed().or_else(|| selected(Scope::Global)) };
    own.unwrap_or_default()
}

/// "Source route failed", for a strict route that asks for a neighbor ([`strict_route_fails`]).
pub const fn source_route_failed() -> IcmpError {
    IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::SOURCE_ROUTE_FAILED, 0)
}

fn need(condition: bool, offset: usize) -> Result<(), usize> {
    if condition { Ok(()) } else { Err(offset) }
}

fn byte(bytes: &[u8], at: usize) -> usize {
    bytes.get(at).copied().map_or(0, usize::from)
}

fn put(bytes: &mut [u8], at: usize, value: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value as u8;
    }
}

fn read_addr(bytes: &[u8], at: usize) -> Addr {
    Addr::read(Family::V4, bytes.get(at..).unwrap_or_default())
}

/// Writes an address `back` bytes before where the pointer of the option at `at` points.
fn write_before(bytes: &mut [u8], at: u8, back: usize, addr: Addr) {
    let at = usize::from(at);
    let place = (at + byte(bytes, at + 2)).saturating_sub(back);
    addr.write(Family::V4, bytes.get_mut(place..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{net, net_with, received, v4};
    use hairpin_wire::{build, proto};
    use proptest::prelude::*;

    const TIME: u32 = 0x0102_0304;

    fn packet(dst: &str, options: &[u8]) -> Packet {
        let ip = build::Ipv4 {
            src: v4("10.0.1.2"),
            dst: v4(dst),
            protocol: proto::UDP,
            options,
            payload: &[0; 8],
            ..Default::default()
        };
        received(&ip.to_vec())
    }

    /// The options after arrival, or where the offending byte is.
    fn arrive(dst: &str, options: &[u8]) -> Result<Vec<u8>, u32> {
        let mut packet = packet(dst, options);
        match check(&mut packet, &net(), TIME) {
            Ok(()) => Ok(packet.ip()[20..packet.head().l4].to_vec()),
            Err(BadOptions::Problem(error)) => Err(error.info >> 24),
            Err(BadOptions::Drop(_)) => Err(0),
        }
    }

    #[test]
    fn a_router_records_itself_twice() {
        let mut packet = packet("10.0.2.2", &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(&mut packet, &net(), TIME).unwrap();
        // On arrival: the address that the sender knows, which leaves the header's checksum wrong until it is forwarded.
        assert_eq!(packet.ip()[20..28], [7, 11, 8, 10, 0, 1, 1, 0]);
        assert!(!Ipv4::new(packet.ip()).unwrap().checksum_ok());
        forward(&mut packet, v4("10.0.2.1"));
        // On the way out the same place gets the address of that side.
        assert_eq!(packet.ip()[20..28], [7, 11, 8, 10, 0, 2, 1, 0]);
        assert!(Ipv4::new(packet.ip()).unwrap().checksum_ok());
    }

    #[test]
    fn time_stamps() {
        assert_eq!(arrive("10.0.2.2", &[68, 8, 5, 0, 0, 0, 0, 0]), Ok(vec![68, 8, 9, 0, 1, 2, 3, 4]));
        let with_address = [68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(arrive("10.0.2.2", &with_address), Ok(vec![68, 12, 13, 1, 10, 0, 1, 1, 1, 2, 3, 4]));
        // Full: one more host found no room.
        assert_eq!(arrive("10.0.2.2", &[68, 8, 9, 0x20, 1, 1, 1, 1]), Ok(vec![68, 8, 9, 0x30, 1, 1, 1, 1]));
        assert_eq!(arrive("10.0.2.2", &[68, 8, 9, 0xf0, 1, 1, 1, 1]), Err(23));
        // Somebody else's turn, and this host's.
        let other = [68, 12, 5, 3, 10, 0, 2, 2, 0, 0, 0, 0];
        assert_eq!(arrive("10.0.2.2", &other), Ok(other.to_vec()));
        let own = [68, 12, 5, 3, 10, 0, 2, 1, 0, 0, 0, 0];
        assert_eq!(arrive("10.0.2.2", &own), Ok(vec![68, 12, 13, 3, 10, 0, 2, 1, 1, 2, 3, 4]));
    }

    #[test]
    fn the_offending_byte_is_named() {
        for (options, at) in [
            (&[7, 2, 0, 0][..], 21),
            (&[7, 4, 3, 0], 22),
            (&[7, 10, 8, 1, 2, 3, 4, 0, 0, 0, 0, 0], 22),
            (&[7, 7, 8, 1, 2, 3, 4, 7, 7, 8, 1, 2, 3, 4, 0, 0], 27),
            (&[68, 3, 5, 0], 21),
            (&[68, 8, 4, 0, 0, 0, 0, 0], 22),
            (&[148, 3, 0, 0], 21),
            (&[30, 1, 0, 0], 20),
            (&[30, 9, 0, 0], 20),
            (&[1, 1, 1, 30], 23),
            (&[134, 6, 0, 0, 0, 1, 0, 0], 21),
            (&[134, 8, 0, 0, 0, 1, 0, 0], 22),
        ] {
            assert_eq!(arrive("10.0.2.2", options), Err(at), "{options:?}");
        }
        // Whatever follows the end is cleared.
        assert_eq!(arrive("10.0.2.2", &[1, 0, 9, 9]), Ok(vec![1, 0, 0, 0]));
        assert_eq!(arrive("10.0.2.2", &[148, 4, 0, 0]), Ok(vec![148, 4, 0, 0]));
    }

    #[test]
    fn source_routes_are_refused_or_followed() {
        let loose = [131, 7, 4, 10, 0, 2, 2, 0];
        assert_eq!(arrive("10.0.1.1", &loose), Err(0));
        let accepting = net_with(&[("net.ipv4.conf.all.accept_source_route", "1")]);
        let mut through = packet("10.0.1.1", &loose);
        assert_eq!(check(&mut through, &accepting, TIME), Ok(()));
        assert_eq!(through.meta.route.map(|route| route.kind), Some(RouteType::Unicast));
        forward(&mut through, v4("10.0.2.1"));
        assert_eq!((through.dst(), &through.ip()[20..27]), (v4("10.0.2.2"), &[131, 7, 8, 10, 0, 2, 1][..]));
        assert!(Ipv4::new(through.ip()).unwrap().checksum_ok());

        // A strict route that does not name this host came astray.
        let strict = [137, 7, 4, 10, 0, 2, 2, 0];
        let mut astray = packet("10.0.2.9", &strict);
        assert_eq!(check(&mut astray, &accepting, TIME), Err(BadOptions::Problem(IcmpError::bad_header4(16))));

        // An answer goes back the way it came.
        let travelled = [131, 11, 12, 10, 0, 1, 7, 10, 0, 1, 8, 0];
        let mut arrived = packet("10.0.1.1", &travelled);
        assert_eq!(check(&mut arrived, &accepting, TIME), Ok(()));
        let echo = Echo::of(&arrived, &accepting).unwrap();
        assert_eq!(echo.first_hop, Some(v4("10.0.1.8")));
        let back = echo.finish(v4("10.0.1.1"), v4("10.0.1.2"), TIME);
        assert_eq!(back, [131, 11, 4, 10, 0, 1, 7, 10, 0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn never_panics(
            options in prop::collection::vec(prop_oneof![Just(7u8), Just(68), Just(131), Just(137), Just(4), Just(11), any::<u8>()], 0..40),
            local in any::<bool>(),
        ) {
            let accepting = net_with(&[("net.ipv4.conf.all.accept_source_route", "1")]);
            let mut packet = packet(if local { "10.0.1.1" } else { "10.0.2.2" }, &options);
            let length = packet.length();
            let good = check(&mut packet, &accepting, TIME).is_ok();
            if let Some(echo) = Echo::of(&packet, &accepting) {
                let bytes = echo.finish(v4("10.0.1.1"), v4("10.0.1.2"), TIME);
                prop_assert!(bytes.len() % 4 == 0 && bytes.len() <= 40);
            }
            if good {
                forward(&mut packet, v4("10.0.2.1"));
            }
            prop_assert_eq!(packet.length(), length);
        }
    }
}
