//! TFTP (RFC 1350): the server answers a request from another port, to the port the request came from.

use super::{Help, Helper};
use crate::fate::DropReason;
use crate::track::{Direction, ExpectNat};
use hairpin_wire::proto;
use hairpin_wire::udp;

pub(super) const HELPER: Helper = Helper {
    name: "tftp",
    protocols: &[proto::UDP],
    ipv4_only: false,
    max_expected: 1,
    timeout: 300,
    read: Some(help),
};

/// Opcodes of the two requests.
const READ: [u8; 2] = [0, 1];
const WRITE: [u8; 2] = [0, 2];

fn help(this: &mut Help<'_, '_>) -> Result<(), DropReason> {
    let opcode = this.packet.l4().get(udp::HEADER_LEN..).and_then(|payload| payload.first_chunk::<2>());
    if !opcode.is_some_and(|opcode| [READ, WRITE].contains(opcode)) {
        return Ok(());
    }
    let answer = this.tuple(Direction::Reply)?;
    let mut expectation = this.expectation(proto::UDP, answer.src, answer.dst, answer.dst_id)?;
    if this.is_translated() {
        let request = this.tuple(Direction::Original)?;
        expectation.nat = Some(ExpectNat {
            saved_id: request.src_id,
            saved_addr: expectation.tuple.dst,
            direction: Direction::Reply,
        });
    }
    this.expect(expectation).map(|_| ()).map_err(|_| DropReason::Helper)
}

#[cfg(test)]
mod tests {
    use crate::event::Event;
    use crate::fate::DropReason;
    use crate::track::helper::testing::Speech;
    use crate::track::{Class, Direction};

    const CLIENT: (&str, u16) = ("192.168.1.10", 40000);
    const SERVER: (&str, u16) = ("198.51.100.5", 69);

    #[test]
    fn requests_are_answered_from_another_port() {
        for request in ["\0\x01file\0octet\0", "\0\x02file\0octet\0"] {
            let mut plain = Speech::new("tftp", [CLIENT, CLIENT, SERVER, SERVER]);
            assert_eq!(plain.say(Class::New, 0, request).as_deref(), Ok(request));
            assert_eq!(plain.expected(), ["198.51.100.5 > 192.168.1.10 40000"]);
            assert_eq!(plain.say(Class::New, 0, request).as_deref(), Ok(request));
            assert_eq!(plain.expected(), ["198.51.100.5 > 192.168.1.10 40000"]);
        }
    }

    #[test]
    fn a_translated_client_is_answered_where_it_is_seen() {
        let mut masked = Speech::new("tftp", [CLIENT, ("203.0.113.1", 50000), SERVER, SERVER]);
        masked.say(Class::New, 0, "\0\x01file\0octet\0").unwrap();
        assert_eq!(masked.expected(), ["198.51.100.5 > 203.0.113.1 50000, reply to port 40000"]);
    }

    #[test]
    fn data_announces_nothing() {
        let mut plain = Speech::new("tftp", [CLIENT, CLIENT, SERVER, SERVER]);
        for text in ["", "\0", "\0\x03\0\x01abc", "\x01\0", "x"] {
            assert_eq!(plain.say(Class::Established(Direction::Reply), 0, text).as_deref(), Ok(text));
        }
        assert_eq!(plain.expected(), [""; 0]);
    }

    #[test]
    fn a_port_that_another_waits_at_is_refused() {
        let mut plain = Speech::new("tftp", [CLIENT, CLIENT, SERVER, SERVER]);
        plain.take(CLIENT);
        assert_eq!(plain.say(Class::New, 0, "\0\x01file\0octet\0"), Err(DropReason::Helper));
    }

    #[test]
    fn no_more_is_expected_than_the_limit() {
        let mut plain = Speech::new("tftp", [CLIENT, CLIENT, SERVER, SERVER]);
        plain.knobs.expect_max = 0;
        assert_eq!(plain.say(Class::New, 0, "\0\x01file\0octet\0"), Err(DropReason::Helper));
        assert_eq!((plain.expected().len(), plain.tracker.stats.expect_full), (0, 1));
        assert!(matches!(&plain.events[..], [Event::Kernel(text)] if text == "nf_conntrack: expectation table full"));
    }
}
