//! Helpers: they read what a connection says to announce the next one, and change what it says when it is translated.
//!
//! A helper is attached by `-j CT --helper` to connections of its protocol; it sees every packet of them on its way out, before
//! sequence numbers are adjusted and the connection is confirmed. One file per helper; `HELPERS` is the list. Those of Linux's helpers
//! that are not evaluated are on it too, for rules may name and match them; they read nothing ([`exists`] tells).

mod ftp;
mod irc;
#[cfg(test)]
mod testing;
mod tftp;

use super::{
    Class, Conn, ConnId, Direction, ExpectError, ExpectId, ExpectNat, Expectation, Knobs, SourceMask, Status, Tracker,
    Tuple, expect, seq_adjust,
};
use crate::event::Event;
use crate::fate::DropReason;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::time::Now;
use hairpin_wire::tcp::Tcp;
use hairpin_wire::{Addr, Family, checksum, proto};

/// Whether Linux has a helper of this name for connections of this family and transport protocol, so that a rule may name it.
pub fn is_known(name: &str, family: Family, protocol: u8) -> bool {
    find(name).is_some_and(|helper| helper.protocols.contains(&protocol) && (family == Family::V4 || !helper.ipv4_only))
}

/// Whether the helper of this name is evaluated for connections of this transport protocol.
pub fn exists(name: &str, protocol: u8) -> bool {
    find(name).is_some_and(|helper| helper.protocols.contains(&protocol) && helper.read.is_some())
}

/// Lets the helper of the packet's connection, if it has one, read and change the packet.
///
/// # Errors
/// [`DropReason::Helper`]: the packet has half a command, so its sender must send it again in one piece; or what it announces cannot be
/// expected or translated.
pub(crate) fn run(
    tracker: &mut Tracker,
    packet: &mut Packet,
    id: ConnId,
    class: Class,
    surroundings: &mut Surroundings<'_>,
) -> Result<(), DropReason> {
    let Some(helper) = tracker.conns.get(id).and_then(Conn::helper).and_then(find) else { return Ok(()) };
    // What answers or comes with an ICMP error is not the connection's own speech.
    if class == Class::Related(Direction::Reply) || !helper.protocols.contains(&packet.protocol()) {
        return Ok(());
    }
    let Some(read) = helper.read else { return Ok(()) };
    read(&mut Help { tracker, packet, id, class, helper, surroundings })
}

/// What helpers need of the world.
pub(crate) struct Surroundings<'a> {
    /// The time.
    pub now: &'a Now,
    /// The settings.
    pub knobs: &'a Knobs,
    /// Where ports come from when the announced one is taken.
    pub rng: &'a Rng,
    /// Where messages go.
    pub events: &'a mut Vec<Event>,
}

/// The helper's own name for a name that a rule or a snapshot gives; None when there is no such helper.
pub fn own_name(name: &str) -> Option<&'static str> {
    find(name).map(|helper| helper.name)
}

/// All helpers.
static HELPERS: [Helper; 13] = [
    ftp::HELPER,
    irc::HELPER,
    tftp::HELPER,
    Helper::unread("amanda", &[proto::UDP]),
    Helper::unread("H.245", &[proto::UDP]),
    Helper::unread("netbios-ns", &[proto::UDP]).ipv4_only(),
    Helper::unread("pptp", &[proto::TCP]).ipv4_only(),
    Helper::unread("Q.931", &[proto::TCP]),
    Helper::unread("RAS", &[proto::UDP]),
    Helper::unread("sane", &[proto::TCP]),
    Helper::unread("sip", &[proto::TCP, proto::UDP]),
    Helper::unread("snmp", &[proto::UDP]).ipv4_only(),
    Helper::unread("snmp_trap", &[proto::UDP]).ipv4_only(),
];

fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.name == name)
}

/// A helper, and how much it may expect.
struct Helper {
    name: &'static str,
    /// Transport protocols of the connections that it reads.
    protocols: &'static [u8],
    ipv4_only: bool,
    /// How many connections one connection may announce at a time.
    max_expected: usize,
    /// Seconds that an announced connection is waited for.
    timeout: u32,
    /// What it does with a packet; None when it is known by name only.
    read: Option<Read>,
}

/// Reads a packet, changes it, announces connections.
type Read = fn(&mut Help<'_, '_>) -> Result<(), DropReason>;

impl Helper {
    /// One that is known by name only.
    const fn unread(name: &'static str, protocols: &'static [u8]) -> Helper {
        Helper { name, protocols, ipv4_only: false, max_expected: 1, timeout: 300, read: None }
    }

    const fn ipv4_only(self) -> Helper {
        Helper { ipv4_only: true, ..self }
    }
}

/// A packet before its connection's helper.
struct Help<'a, 's> {
    tracker: &'a mut Tracker,
    packet: &'a mut Packet,
    id: ConnId,
    class: Class,
    helper: &'static Helper,
    surroundings: &'a mut Surroundings<'s>,
}

impl Help<'_, '_> {
    /// The connection.
    fn conn(&self) -> Result<&Conn, DropReason> {
        self.tracker.conns.get(self.id).ok_or(DropReason::Helper)
    }

    /// Its tuple in a direction.
    fn tuple(&self, direction: Direction) -> Result<Tuple, DropReason> {
        Ok(self.conn()?.tuple(direction))
    }

    /// Whether NAT changes the connection's addresses or ports.
    fn is_translated(&self) -> bool {
        self.conn().is_ok_and(|conn| conn.status.any(Status::SRC_NAT.union(Status::DST_NAT)))
    }

    /// A connection from `src` and any port to `dst` and `port`.
    fn expectation(&self, protocol: u8, src: Addr, dst: Addr, port: u16) -> Result<Expectation, DropReason> {
        let conn = self.conn()?;
        let family = conn.family();
        Ok(Expectation {
            tuple: Tuple { src, dst, src_id: 0, dst_id: port, protocol, family },
            mask: SourceMask::any_port(family),
            zone: conn.zone(),
            master: self.id,
            helper: None,
            class: 0,
            expires: expect::expiry(self.surroundings.now.mono, self.helper.timeout),
            is_permanent: false,
            is_inactive: false,
            nat: None,
        })
    }

    /// Expects it.
    fn expect(&mut self, expectation: Expectation) -> Result<ExpectId, ExpectError> {
        let max = usize::try_from(self.surroundings.knobs.expect_max).unwrap_or(usize::MAX);
        let expected = self.tracker.expectations.insert(expectation, self.helper.max_expected, max);
        match expected {
            Ok(_) => self.tracker.stats.expect_create += 1,
            Err(ExpectError::TableFull) => {
                self.tracker.stats.expect_full += 1;
                self.surroundings.events.push(Event::Kernel("nf_conntrack: expectation table full".into()));
            }
            Err(_) => {}
        }
        expected
    }

    /// Expects it at the announced port as the far end is to see it, or at another one above if that is taken; the port it got. The
    /// expected connection then goes to the announced port on the announcer's own side, in `direction` of this connection.
    fn expect_translated(&mut self, expectation: Expectation, direction: Direction) -> Option<(ExpectId, u16)> {
        /// Ports tried beside the announced one.
        const ATTEMPTS: u16 = 128;
        let announced = expectation.tuple.dst_id;
        let range = u16::MAX - announced;
        let mut expectation = expectation;
        expectation.nat = Some(ExpectNat { saved_id: announced, saved_addr: expectation.tuple.dst, direction });
        let mut attempts = range.min(ATTEMPTS);
        loop {
            match self.expect(expectation) {
                Ok(id) => return Some((id, expectation.tuple.dst_id)),
                Err(ExpectError::Busy) if attempts > 0 => attempts -= 1,
                Err(_) => return None,
            }
            let step = self.surroundings.rng.below(u32::from(range)) as u16;
            expectation.tuple.dst_id = announced.saturating_add(step);
        }
    }

    /// Expects no longer.
    fn unexpect(&mut self, id: ExpectId) {
        if self.tracker.expectations.remove(id).is_some() {
            self.tracker.stats.expect_delete += 1;
        }
    }

    /// Replaces `remove` bytes at `at` of a segment's payload, mends lengths and checksums, and remembers that what follows has other
    /// sequence numbers. False when the packet would become too long, or the range is not in the payload.
    fn mangle_tcp(&mut self, at: usize, remove: usize, insert: &[u8]) -> bool {
        let Some(tcp) = Tcp::new(self.packet.l4()).filter(Tcp::header_ok) else { return false };
        let (seq, start) = (tcp.seq(), self.packet.head().l4 + tcp.header_len());
        if !self.packet.splice(start + at, remove, insert) {
            return false;
        }
        let (family, src, dst) = (self.packet.family(), self.packet.src(), self.packet.dst());
        if let Some(mut tcp) = Tcp::new(self.packet.l4_mut()) {
            tcp.set_checksum(0);
            let sum = checksum::transport(family, src, dst, proto::TCP, tcp.as_bytes());
            tcp.set_checksum(sum);
        }
        let change = insert.len() as i64 - remove as i64;
        if let Some(conn) = self.tracker.conns.get_mut(self.id) {
            seq_adjust::note(conn, self.class.direction(), seq, change as i32);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_found_by_name_and_protocol() {
        assert!(exists("ftp", proto::TCP));
        assert!(!exists("ftp", proto::UDP));
        assert!(exists("tftp", proto::UDP));
        assert!(!exists("FTP", proto::TCP));
        assert!(!exists("sip", proto::UDP));
        assert!(is_known("sip", Family::V6, proto::UDP));
        assert!(is_known("irc", Family::V4, proto::TCP));
        assert!(!is_known("irc", Family::V6, proto::TCP));
        assert!(!is_known("irc", Family::V4, proto::UDP));
        assert_eq!(own_name("sip"), Some("sip"));
        assert_eq!(own_name("tftp"), Some("tftp"));
        assert_eq!(own_name("gopher"), None);
    }
}
