//! What the tests of helpers share: a connection that speaks.

use super::{HELPERS, Surroundings, run};
use crate::event::Event;
use crate::fate::DropReason;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::time::Now;
use crate::track::{Class, Conn, ConnId, Direction, Expectation, Knobs, Status, Tracker, Tuple, Zone};
use hairpin_wire::tcp::{ACK, Tcp};
use hairpin_wire::udp::Udp;
use hairpin_wire::{Addr, Family, build, checksum, proto};
use std::net::IpAddr;

/// A confirmed connection with a helper.
pub(crate) struct Speech {
    pub(crate) tracker: Tracker,
    pub(crate) id: ConnId,
    pub(crate) events: Vec<Event>,
    now: Now,
    pub(crate) knobs: Knobs,
    rng: Rng,
}

impl Speech {
    /// Between `client` and `server` (address and port); the server sees `client_seen`, and the client sees `server_seen`. They differ
    /// by NAT.
    pub(crate) fn new(helper: &'static str, [client, client_seen, server_seen, server]: [(&str, u16); 4]) -> Speech {
        let protocol = HELPERS.iter().find(|h| h.name == helper).unwrap().protocols[0];
        let tuple = |from: (&str, u16), to: (&str, u16)| {
            let ((family, src), (_, dst)) = (addr(from.0), addr(to.0));
            Tuple { src, dst, src_id: from.1, dst_id: to.1, protocol, family }
        };
        let now = Now::default();
        let mut conn = Conn::new(tuple(client, server_seen), tuple(server, client_seen), Zone::default(), now.mono);
        conn.extra_mut().helper = Some(helper);
        if client != client_seen {
            conn.status.set(Status::SRC_NAT);
        }
        if server != server_seen {
            conn.status.set(Status::DST_NAT);
        }
        let mut tracker = Tracker::default();
        let id = tracker.conns.insert_unconfirmed(conn).unwrap();
        tracker.conns.confirm(id, now.mono);
        Speech { tracker, id, events: Vec::new(), now, knobs: Knobs::default(), rng: Rng::new(1) }
    }

    pub(crate) fn conn(&self) -> &Conn {
        self.tracker.conns.get(self.id).unwrap()
    }

    /// The client says `text` in a segment that begins at `seq`; the text as it goes on.
    pub(crate) fn client(&mut self, seq: u32, text: &str) -> Result<String, DropReason> {
        self.say(Class::Established(Direction::Original), seq, text)
    }

    /// As [`Speech::client`], for the server.
    pub(crate) fn server(&mut self, seq: u32, text: &str) -> Result<String, DropReason> {
        self.say(Class::Established(Direction::Reply), seq, text)
    }

    /// A packet of this class says `text`.
    pub(crate) fn say(&mut self, class: Class, seq: u32, text: &str) -> Result<String, DropReason> {
        let mut packet = self.packet(class.direction(), seq, text.as_bytes());
        self.run(class, &mut packet)?;
        let (family, protocol) = (packet.family(), packet.protocol());
        assert_eq!(checksum::transport(family, packet.src(), packet.dst(), protocol, packet.l4()), 0);
        let payload = match protocol {
            proto::TCP => Tcp::new(packet.l4()).unwrap().payload().to_vec(),
            _ => Udp::new(packet.l4()).unwrap().payload().to_vec(),
        };
        Ok(String::from_utf8(payload).unwrap())
    }

    /// Lets the helper see a packet.
    pub(crate) fn run(&mut self, class: Class, packet: &mut Packet) -> Result<(), DropReason> {
        let mut around = Surroundings { now: &self.now, knobs: &self.knobs, rng: &self.rng, events: &mut self.events };
        run(&mut self.tracker, packet, self.id, class, &mut around)
    }

    /// A packet in this direction as it leaves: translated already.
    pub(crate) fn packet(&self, direction: Direction, seq: u32, payload: &[u8]) -> Packet {
        let way = self.conn().tuple(direction.other()).invert().unwrap();
        let Tuple { family, src, dst, src_id: src_port, dst_id: dst_port, .. } = way;
        let bytes = match way.protocol {
            proto::TCP => {
                let tcp = build::Tcp { src_port, dst_port, seq, flags: ACK, payload, ..build::Tcp::default() };
                tcp.packet(family, src, dst)
            }
            _ => build::Udp { src_port, dst_port, payload }.packet(family, src, dst),
        };
        Packet::from_ip(&bytes).unwrap()
    }

    /// What is expected, in words: `from > to`, then where NAT brings it.
    pub(crate) fn expected(&self) -> Vec<String> {
        self.tracker.expectations.iter().map(|(_, expected)| words(expected)).collect()
    }

    /// Makes the destination of a connection taken: another connection announced it.
    pub(crate) fn take(&mut self, to: (&str, u16)) {
        let (family, dst) = addr(to.0);
        let conn = self.conn();
        let tuple = Tuple { dst, dst_id: to.1, family, ..conn.tuple(Direction::Original) };
        let expectation = Expectation {
            tuple,
            mask: crate::track::SourceMask::ANY,
            zone: conn.zone(),
            master: ConnId { slot: 9, generation: 9 },
            helper: None,
            class: 0,
            expires: crate::time::Instant::from_secs(1000),
            is_permanent: false,
            is_inactive: false,
            nat: None,
        };
        self.tracker.expectations.insert(expectation, 0, usize::MAX).unwrap();
    }
}

fn words(expected: &Expectation) -> String {
    let Tuple { family, src, dst, dst_id, .. } = expected.tuple;
    let mut words = format!("{} > {} {dst_id}", src.display(family), dst.display(family));
    if let Some(nat) = expected.nat {
        let way = if nat.direction == Direction::Original { "original" } else { "reply" };
        words += &format!(", {way} to port {}", nat.saved_id);
    }
    words
}

fn addr(text: &str) -> (Family, Addr) {
    Addr::from_ip(text.parse::<IpAddr>().unwrap())
}
