//! `-j SYNPROXY`: this host shakes hands with a client in a server's name, then with the server in the client's, and from then on moves
//! sequence numbers and time stamps between the two (`nf_synproxy_core`).

use crate::fate::{DropReason, Fate};
use crate::link::reply;
use crate::link::synproxy::{Ends, Options, move_stamps};
use crate::net::LO;
use crate::packet::{Packet, Template};
use crate::path::{Onward, Path};
use crate::rule::SynProxy;
use crate::track::{Class, ConnId, Direction, ProtoState, Proxied, TcpState, Tracked, move_sequence};
use hairpin_wire::build;
use hairpin_wire::tcp::{ACK, CWR, ECE, FIN, RST, SYN, Tcp};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;

/// The packet's bytes went on in others.
const STOLEN: Onward = Break(Fate::Held);

impl Path<'_> {
    /// The rule's packet: a client's SYN is answered with a cookie, and the ACK that brings it back opens the connection to the server.
    pub(crate) fn proxy_client(&mut self, rule: &SynProxy, p: &Packet) -> Onward {
        let Some(segment) = Tcp::new(p.l4()).filter(|tcp| tcp.header_ok() && reply::tcp_adds_up(p)) else {
            return Break(Fate::Drop(DropReason::Rule));
        };
        match segment.flags() & (SYN | ACK | FIN | RST) {
            SYN => {
                self.answer_syn(rule, p, &segment);
                STOLEN
            }
            ACK => self.meet_cookie(p, &segment, segment.seq()),
            _ => Continue(()),
        }
    }

    fn answer_syn(&mut self, rule: &SynProxy, p: &Packet, syn: &Tcp<&[u8]>) {
        let given = Options::of(syn);
        let offered = given.offered(rule, syn.flags(), self.now.mono);
        let cookie = self.engine.cookies.make(&ends(p, syn), syn.seq(), given.mss, self.now.mono);
        // The size of the rule, not the client's own.
        let options = Options { mss: offered.mss.and(rule.mss), ..offered }.to_vec();
        let answer = build::Tcp {
            src_port: syn.dst_port(),
            dst_port: syn.src_port(),
            seq: cookie,
            ack: syn.seq().wrapping_add(1),
            flags: SYN | ACK | if offered.ecn { ECE } else { 0 },
            window: 0,
            options: &options,
            ..build::Tcp::default()
        };
        let owner = reply_class(p.meta.tracked);
        self.say_segment(p, true, &answer, owner, None);
    }

    /// `seq` is that of the first byte behind the handshake: one more than the segment's when it is a keep-alive.
    fn meet_cookie(&mut self, p: &Packet, ack: &Tcp<&[u8]>, seq: u32) -> Onward {
        let (isn, cookie) = (seq.wrapping_sub(1), ack.ack().wrapping_sub(1));
        let Some(mss) = self.engine.cookies.check(&ends(p, ack), isn, cookie, self.now.mono) else {
            return Break(Fate::Drop(DropReason::SynCookie));
        };
        let recalled = Options::of(ack).recalled(mss);
        let options = recalled.to_vec();
        let syn = build::Tcp {
            src_port: ack.src_port(),
            dst_port: ack.dst_port(),
            seq: isn,
            // Tells the connection that is made on the way which number the client knows.
            ack: cookie,
            flags: SYN | if recalled.ecn { ECE | CWR } else { 0 },
            window: ack.window(),
            options: &options,
            ..build::Tcp::default()
        };
        let template = Arc::new(Template { proxied: true, ..Template::default() });
        self.say_segment(p, false, &syn, Tracked::No, Some(template));
        STOLEN
    }

    /// A packet of a connection that this host opened for a client, about to leave (`ipv4_synproxy_hook`).
    pub(crate) fn proxy_known(&mut self, id: ConnId, class: Class, p: &mut Packet) -> Onward {
        let Some(conn) = self.engine.tracker.conns.get(id) else { return Continue(()) };
        let (ProtoState::Tcp(track), Some(proxied)) = (conn.proto, conn.proxied()) else { return Continue(()) };
        if p.meta.iif == Some(LO) {
            return Continue(());
        }
        let Some(segment) = Tcp::new(p.l4()).filter(Tcp::header_ok) else {
            return Break(Fate::Drop(DropReason::Rule));
        };
        let (flags, is_reply) = (segment.flags(), class.direction() == Direction::Reply);
        let mut now = proxied;
        match track.state {
            TcpState::Close if flags & RST != 0 && is_reply => {
                let offset = proxied.isn.wrapping_sub(segment.seq()).wrapping_add(1);
                self.move_numbers(id, class, offset);
            }
            TcpState::Close if flags & SYN == 0 || flags & ACK != 0 || is_reply => {}
            TcpState::Close | TcpState::SynSent => {
                if flags & SYN == 0 && flags & ACK != 0 && !is_reply {
                    return self.meet_cookie(p, &segment, segment.seq().wrapping_add(1));
                }
                now.stamp_offset = if track.state == TcpState::Close { 0 } else { now.stamp_offset };
                now.isn = segment.ack();
                now.stamp = Options::of(&segment).stamps.map_or(now.stamp, |(_, echo)| echo);
                self.note_proxied(id, now);
            }
            TcpState::SynRecv if flags & (SYN | ACK) == SYN | ACK => {
                return self.join(id, class, p, &segment, now, track.sides[0].max_window);
            }
            _ => {}
        }
        if now.stamp_offset != 0
            && let Some(mut segment) = Tcp::new(p.l4_mut())
        {
            move_stamps(&mut segment, now.stamp_offset, is_reply);
        }
        Continue(())
    }

    /// The server agrees: it gets the end of its handshake, and the client learns that the window is open.
    fn join(
        &mut self,
        id: ConnId,
        class: Class,
        p: &Packet,
        segment: &Tcp<&[u8]>,
        mut proxied: Proxied,
        window: u32,
    ) -> Onward {
        let given = Options::of(segment);
        if let Some((value, _)) = given.stamps {
            proxied.stamp_offset = value.wrapping_sub(proxied.stamp);
            self.note_proxied(id, proxied);
        }
        let stamps = |swapped: bool| {
            let stamps = given.stamps.map(|(value, echo)| if swapped { (echo, value) } else { (value, echo) });
            Options { stamps, ..Options::default() }.to_vec()
        };
        let to_server = build::Tcp {
            src_port: segment.dst_port(),
            dst_port: segment.src_port(),
            seq: segment.ack(),
            ack: segment.seq().wrapping_add(1),
            flags: ACK,
            window: window as u16,
            options: &stamps(true),
            ..build::Tcp::default()
        };
        self.say_segment(p, true, &to_server, Tracked::No, None);
        self.move_numbers(id, class, proxied.isn.wrapping_sub(segment.seq()));
        let to_client = build::Tcp {
            src_port: segment.src_port(),
            dst_port: segment.dst_port(),
            seq: segment.seq().wrapping_add(1),
            ack: segment.ack(),
            flags: ACK,
            window: segment.window() >> given.scale.unwrap_or(0),
            options: &stamps(false),
            ..build::Tcp::default()
        };
        self.say_segment(p, false, &to_client, reply_class(p.meta.tracked), None);
        STOLEN
    }

    fn note_proxied(&mut self, id: ConnId, proxied: Proxied) {
        if let Some(conn) = self.engine.tracker.conns.get_mut(id) {
            conn.extra_mut().proxied = Some(proxied);
        }
    }

    fn move_numbers(&mut self, id: ConnId, class: Class, offset: u32) {
        if let Some(conn) = self.engine.tracker.conns.get_mut(id) {
            move_sequence(conn, class.direction(), offset as i32);
        }
    }

    /// Sends a segment between the ends of `about`, as an answer to it or in its direction.
    fn say_segment(
        &mut self,
        about: &Packet,
        is_answer: bool,
        segment: &build::Tcp<'_>,
        owner: Tracked,
        template: Option<Arc<Template>>,
    ) {
        let (src, dst) = if is_answer { (about.dst(), about.src()) } else { (about.src(), about.dst()) };
        let Some(mut packet) = reply::proxy_segment(about.family(), src, dst, segment, &mut self.host()) else {
            return;
        };
        packet.meta.tracked = owner;
        packet.meta.template = template;
        self.say(packet);
    }
}

/// The connection of a packet, for an answer to it.
fn reply_class(tracked: Tracked) -> Tracked {
    match tracked {
        Tracked::Conn(id, _) => Tracked::Conn(id, Class::Established(Direction::Reply)),
        Tracked::No | Tracked::Untracked => Tracked::No,
    }
}

fn ends(p: &Packet, segment: &Tcp<&[u8]>) -> Ends {
    Ends { family: p.family(), src: p.src(), dst: p.dst(), ports: (segment.src_port(), segment.dst_port()) }
}
