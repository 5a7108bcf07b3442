//! What this host does with a packet that is for it.

use super::IcmpError;
use super::options6::{self, OptionsHeader};
use super::receive::Reception;
use super::reply::checksum_ok;
use crate::fate::DropReason;
use crate::net::Net;
use crate::packet::{LinkType, Packet};
use crate::route::RouteType;
use crate::socket::Ends;
use hairpin_wire::icmp::Icmp;
use hairpin_wire::icmp6::parameter_problem::{HEADER_FIELD, NEXT_HEADER};
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::{Addr, Family, checksum, icmp4, icmp6, proto, tcp, udp};

/// What becomes of a packet for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A socket takes it, or the host itself learns from it (ICMP errors, replies).
    Deliver,
    /// It is answered.
    Answer(Answer),
    /// Gone, silently.
    Drop(DropReason),
    /// IPv6: a fragment, to be collected for [`super::FragUser::Deliver`]. The whole packet is to be asked about again.
    Fragment,
}

/// An answer of this host; made by [`super::reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`super::reply::echo_reply`].
    Echo,
    /// [`super::reply::timestamp_reply`].
    Timestamp,
    /// [`super::reply::tcp_reset`].
    Reset,
    /// [`super::reply::icmp_error`].
    Error(IcmpError),
}

/// The ports something listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenPorts(Vec<(u8, u16, Addr)>, bool);

impl OpenPorts {
    /// Every port: somebody else knows which are, and answers for the others.
    pub const fn all() -> OpenPorts {
        OpenPorts(Vec::new(), true)
    }

    /// Opens a port of a protocol at an address of this host; unspecified: at all of them, of both families.
    pub fn open(&mut self, protocol: u8, addr: Addr, port: u16) {
        let entry = (protocol, port, addr);
        if let Err(at) = self.0.binary_search(&entry) {
            self.0.insert(at, entry);
        }
    }

    /// Closes it again.
    pub fn close(&mut self, protocol: u8, addr: Addr, port: u16) {
        if let Ok(at) = self.0.binary_search(&(protocol, port, addr)) {
            self.0.remove(at);
        }
    }

    /// Whether somebody listens.
    pub fn is_open(&self, protocol: u8, addr: Addr, port: u16) -> bool {
        self.1
            || !self.0.is_empty()
                && [addr, Addr::UNSPECIFIED].iter().any(|addr| self.0.binary_search(&(protocol, port, *addr)).is_ok())
    }
}

/// What becomes of a packet for this host, after INPUT. `packet.meta.route` says as what it came here.
pub fn classify(packet: &Packet, ports: &OpenPorts, net: &Net) -> Local {
    let protocol = match packet.family() {
        Family::V4 => packet.protocol(),
        Family::V6 => match upper_layer(packet, net) {
            Ok(protocol) => protocol,
            Err(local) => return local,
        },
    };
    match (packet.family(), protocol) {
        (Family::V4, proto::ICMP) => icmp_v4(packet, net),
        (Family::V6, proto::ICMPV6) => icmp_v6(packet, net),
        (_, proto::TCP) => tcp(packet, ports, net),
        (_, proto::UDP | proto::UDPLITE) => udp(packet, protocol, ports, net),
        // The kernel itself takes them.
        (Family::V4, proto::IGMP) | (_, PIM) => Local::Deliver,
        (Family::V4, _) => {
            Local::Answer(Answer::Error(IcmpError::new(icmp4::UNREACHABLE, icmp4::unreachable::PROTOCOL, 0)))
        }
        // `upper_layer` gives none but those above.
        (Family::V6, _) => Local::Drop(DropReason::NoSocket),
    }
}

/// Protocol independent multicast (RFC 7761), for multicast routing.
const PIM: u8 = 103;

const BAD: Local = Local::Drop(DropReason::BadTransport);
const NOBODY: Local = Local::Drop(DropReason::NoSocket);

/// Checksums of so many bytes are reckoned at once, longer ones when somebody reads them (`CHECKSUM_BREAK`).
const CHECKSUM_BREAK: usize = 76;

/// As what a packet reached this host.
fn kind(packet: &Packet) -> RouteType {
    packet.meta.route.map_or(RouteType::Local, |route| route.kind)
}

/// The message, if it is long enough and its checksum is right.
fn readable_icmp(packet: &Packet) -> Option<Icmp<&[u8]>> {
    let right = |icmp: &Icmp<_>| packet.is_sum_kept() || icmp.checksum_ok(packet.family(), packet.src(), packet.dst());
    Icmp::new(packet.l4()).filter(right)
}

fn icmp_v4(packet: &Packet, net: &Net) -> Local {
    let message = packet.l4();
    let to_many = matches!(kind(packet), RouteType::Broadcast | RouteType::Multicast);
    let Some(icmp) = readable_icmp(packet) else { return BAD };
    let settings = &net.sysctl.ipv4;
    match icmp.kind() {
        icmp4::ECHO | icmp4::TIMESTAMP if to_many && settings.icmp_echo_ignore_broadcasts != 0 => NOBODY,
        icmp4::ECHO if settings.icmp_echo_ignore_all != 0 => NOBODY,
        icmp4::ECHO => Local::Answer(Answer::Echo),
        icmp4::TIMESTAMP if message.len() < 12 => BAD,
        icmp4::TIMESTAMP => Local::Answer(Answer::Timestamp),
        _ if to_many => NOBODY,
        icmp4::ECHO_REPLY | icmp4::TIMESTAMP_REPLY => Local::Deliver,
        kind if icmp4::is_error(kind) => Local::Deliver,
        _ => NOBODY,
    }
}

fn icmp_v6(packet: &Packet, net: &Net) -> Local {
    let Some(icmp) = readable_icmp(packet) else { return BAD };
    let settings = &net.sysctl.ipv6;
    let ignored = match kind(packet) {
        _ if settings.icmp_echo_ignore_all != 0 => true,
        RouteType::Multicast => settings.icmp_echo_ignore_multicast != 0,
        RouteType::Anycast => settings.icmp_echo_ignore_anycast != 0,
        _ => false,
    };
    match icmp.kind() {
        icmp6::ECHO if ignored => NOBODY,
        icmp6::ECHO => Local::Answer(Answer::Echo),
        _ => Local::Deliver,
    }
}

fn tcp(packet: &Packet, ports: &OpenPorts, net: &Net) -> Local {
    let segment = packet.l4();
    if packet.meta.link_type != LinkType::Host {
        return NOBODY;
    }
    let Some(header) = tcp::Tcp::new(segment).filter(tcp::Tcp::header_ok) else { return BAD };
    if !checksum_ok(packet, proto::TCP) {
        return BAD;
    }
    if ports.is_open(proto::TCP, packet.dst(), header.dst_port()) || has_socket(packet, proto::TCP, net) {
        return Local::Deliver;
    }
    if header.flags() & tcp::RST != 0 || kind(packet) != RouteType::Local {
        return NOBODY;
    }
    Local::Answer(Answer::Reset)
}

/// Whether TPROXY found a socket for it, or one is known that takes it.
fn has_socket(packet: &Packet, protocol: u8, net: &Net) -> bool {
    let find = || {
        let (sport, dport) = packet.ports()?;
        let (remote, local) = ((packet.src(), sport), (packet.dst(), dport));
        net.sockets.find(&Ends { protocol, family: packet.family(), remote, local, device: packet.meta.iif })
    };
    packet.meta.socket.is_some() || !net.sockets.is_empty() && find().is_some()
}

fn udp(packet: &Packet, protocol: u8, ports: &OpenPorts, net: &Net) -> Local {
    let datagram = packet.l4();
    let Some(header) = udp::Udp::new(datagram) else { return BAD };
    let said = usize::from(header.len());
    let length = match (packet.family(), protocol) {
        // No length means all: of a jumbogram (RFC 2675), and of UDP-Lite's coverage.
        (Family::V6, _) | (_, proto::UDPLITE) if said == 0 => datagram.len(),
        _ => said,
    };
    let Some(covered) = datagram.get(..length).filter(|_| length >= udp::HEADER_LEN) else { return BAD };
    // The pseudo header of UDP-Lite has the length of all, whatever is covered (RFC 3828, section 3.1).
    let pseudo_len = if protocol == proto::UDPLITE { datagram.len() } else { length };
    let (family, src, dst) = (packet.family(), packet.src(), packet.dst());
    let pseudo = checksum::pseudo_header(family, src, dst, protocol, pseudo_len as u32);
    let right = match header.checksum() {
        0 => family == Family::V4 && protocol == proto::UDP,
        _ => match packet.meta.checksum_seen {
            _ if packet.is_sum_kept() => true,
            // A sum that was reckoned before and does not fit any more is not reckoned again, unless the datagram is short:
            // one whose hop limit or traffic class a rule changed never arrives.
            Some(_) if length > CHECKSUM_BREAK => false,
            _ => checksum::finish(checksum::combine(pseudo, checksum::sum(covered))) == 0,
        },
    };
    if !right {
        return BAD;
    }
    let to_many = matches!(kind(packet), RouteType::Broadcast | RouteType::Multicast);
    if ports.is_open(protocol, dst, header.dst_port()) || has_socket(packet, protocol, net) {
        Local::Deliver
    } else if to_many {
        NOBODY
    } else {
        Local::Answer(Answer::Error(IcmpError::port_unreachable(family)))
    }
}

/// The protocol that takes an IPv6 packet, after all extension headers in front of it were obeyed (`ip6_input_finish`).
fn upper_layer(packet: &Packet, net: &Net) -> Result<u8, Local> {
    let bytes = packet.ip();
    let bad = Local::Drop(DropReason::BadOptions);
    let Some(ip) = Ipv6::new(bytes) else { return Err(bad) };
    let told = |code, at: usize| Err(Local::Answer(Answer::Error(IcmpError::bad_header6(code, at as u32))));
    let Some((mut next, mut at, mut named_at)) = first_header(packet, &ip) else { return Err(bad) };
    // A packet is cut once: a second fragment header is an error, also in what was put together.
    let mut was_cut = packet.meta.max_fragment != 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (following, len) = match *rest {
            [following, words, ..] => (following, (usize::from(words) + 1) * 8),
            _ => (proto::NONE, 8),
        };
        match next {
            proto::TCP | proto::UDP | proto::UDPLITE | proto::ICMPV6 | PIM => return Ok(next),
            proto::NONE => return Err(NOBODY),
            proto::DSTOPTS | proto::ROUTING if rest.len() < len => return Err(bad),
            proto::DSTOPTS => {
                let header = OptionsHeader {
                    hop_by_hop: false,
                    max_count: net.sysctl.ipv6.max_dst_opts_number,
                    max_length: net.sysctl.ipv6.max_dst_opts_length,
                };
                match options6::check(bytes, at, header) {
                    Reception::Good => {}
                    Reception::Drop(reason) => return Err(Local::Drop(reason)),
                    Reception::Problem(error) => return Err(Local::Answer(Answer::Error(error))),
                }
            }
            proto::ROUTING => {
                const RPL: u8 = 3;
                const SEGMENTS: u8 = 4;
                let (kind, left) = match *rest {
                    [_, _, kind, left, ..] => (kind, left),
                    _ => return Err(bad),
                };
                let to_many = packet.meta.link_type != LinkType::Host || packet.dst().is_multicast(Family::V6);
                // Neither RPL nor segment routing is switched on.
                if to_many || matches!(kind, RPL | SEGMENTS) {
                    return Err(bad);
                }
                if left != 0 {
                    return told(HEADER_FIELD, at + 2);
                }
            }
            proto::FRAGMENT => match *rest {
                [_, _, high, low, _, _, _, _, ..] if ip.payload_len() != 0 && !was_cut => {
                    if u16::from_be_bytes([high, low]) & 0xfff9 != 0 {
                        return Err(Local::Fragment);
                    }
                    was_cut = true;
                    named_at = at;
                    at += ipv6::FRAGMENT_LEN;
                    next = following;
                    continue;
                }
                _ => return told(HEADER_FIELD, at),
            },
            _ => return told(NEXT_HEADER, named_at),
        }
        named_at = at;
        at += len;
        next = following;
    }
}

/// The header that this host reads first, where it is, and where the byte is that names it. Hop-by-hop options were read before
/// PREROUTING; anywhere but in front they are not known.
///
/// Where tracking took a fragment header out, Linux goes on behind its place, though what stands there is named by the header in
/// front of it (`nf_ct_frag6_reasm` moves the transport header, `ip6_input_finish` looks up its name where it was on arrival).
fn first_header(packet: &Packet, ip: &Ipv6<&[u8]>) -> Option<(u8, usize, usize)> {
    let bytes = packet.ip();
    let (mut at, mut named_at) = (ipv6::HEADER_LEN, 6);
    let cut_at = usize::from(packet.meta.cut_at);
    if ip.next_header() == proto::HOPOPTS && cut_at != at {
        named_at = at;
        at += (usize::from(*bytes.get(at + 1)?) + 1) * 8;
    }
    Some((*bytes.get(named_at)?, at.max(cut_at), named_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{net, received, v4, v6};
    use hairpin_wire::build;
    use proptest::prelude::*;

    fn ask(packet: Packet) -> Local {
        classify(&packet, &OpenPorts::default(), &net())
    }

    fn v4_packet(protocol: u8, payload: &[u8]) -> Packet {
        received(&build::ip(Family::V4, v4("10.0.1.2"), v4("10.0.1.1"), protocol, payload))
    }

    fn v6_packet(next: u8, payload: &[u8]) -> Packet {
        received(&build::ip(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::1"), next, payload))
    }

    fn told(packet: Packet) -> Option<IcmpError> {
        match ask(packet) {
            Local::Answer(Answer::Error(error)) => Some(error),
            _ => None,
        }
    }

    #[test]
    fn closed_ports() {
        let (src, dst) = (v4("10.0.1.2"), v4("10.0.1.1"));
        let udp = build::Udp { src_port: 5, dst_port: 8, payload: b"x" };
        let tcp = build::Tcp { src_port: 5, dst_port: 8, flags: tcp::SYN, ..Default::default() };
        let closed = received(&udp.packet(Family::V4, src, dst));
        assert_eq!(told(closed.clone()), Some(IcmpError::new(3, 3, 0)));
        assert_eq!(ask(received(&tcp.packet(Family::V4, src, dst))), Local::Answer(Answer::Reset));
        let rst = build::Tcp { flags: tcp::RST, ..tcp };
        assert_eq!(ask(received(&rst.packet(Family::V4, src, dst))), NOBODY);
        let mut bad = udp.packet(Family::V4, src, dst);
        bad[28] ^= 1;
        assert_eq!(ask(received(&bad)), BAD);
        let mut bad = tcp.packet(Family::V4, src, dst);
        bad[39] ^= 1;
        assert_eq!(ask(received(&bad)), BAD);
        let mut broadcast = closed.clone();
        broadcast.meta.route =
            broadcast.meta.route.map(|route| crate::route::Route { kind: RouteType::Broadcast, ..route });
        assert_eq!(ask(broadcast), NOBODY);

        let mut ports = OpenPorts::default();
        ports.open(proto::UDP, Addr::UNSPECIFIED, 8);
        assert_eq!(classify(&closed, &ports, &net()), Local::Deliver);
        ports.close(proto::UDP, Addr::UNSPECIFIED, 8);
        ports.open(proto::UDP, v4("10.0.2.1"), 8);
        assert!(matches!(classify(&closed, &ports, &net()), Local::Answer(_)));
    }

    #[test]
    fn udp_without_checksum_or_length() {
        let datagram = |len: u8| [0, 1, 0, 2, 0, len, 0, 0, b'x', b'y'];
        assert_eq!(told(v4_packet(proto::UDP, &datagram(9))), Some(IcmpError::new(3, 3, 0)));
        assert_eq!(ask(v4_packet(proto::UDP, &datagram(0))), BAD);
        assert_eq!(ask(v4_packet(proto::UDP, &datagram(7))), BAD);
        assert_eq!(ask(v4_packet(proto::UDP, &datagram(11))), BAD);
        assert_eq!(ask(v6_packet(proto::UDP, &datagram(10))), BAD);
        assert_eq!(ask(v4_packet(proto::UDPLITE, &datagram(8))), BAD);
    }

    #[test]
    fn unknown_protocols() {
        assert_eq!(told(v4_packet(200, b"x")), Some(IcmpError::new(3, 2, 0)));
        assert_eq!(ask(v4_packet(PIM, b"x")), Local::Deliver);
        assert_eq!(told(v6_packet(200, b"x")), Some(IcmpError::new(4, 1, 6)));
        assert_eq!(ask(v6_packet(proto::NONE, b"x")), NOBODY);
    }

    #[test]
    fn queries() {
        let icmp = |kind, n: usize| {
            build::Icmp { kind, payload: &vec![0; n], ..Default::default() }.to_vec(Family::V4, Addr(0), Addr(0))
        };
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(icmp4::ECHO, 0))), Local::Answer(Answer::Echo));
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(icmp4::TIMESTAMP, 12))), Local::Answer(Answer::Timestamp));
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(icmp4::TIMESTAMP, 3))), BAD);
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(icmp4::ADDRESS_MASK, 4))), NOBODY);
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(icmp4::UNREACHABLE, 28))), Local::Deliver);
        assert_eq!(ask(v4_packet(proto::ICMP, &icmp(42, 28))), NOBODY);
        let mut bad = icmp(icmp4::ECHO, 0);
        bad[3] ^= 1;
        assert_eq!(ask(v4_packet(proto::ICMP, &bad)), BAD);
        let echo = build::Echo::default();
        let packet = |src: &str| received(&echo.packet(Family::V6, v6(src), v6("2001:db8:1::1")));
        assert_eq!(ask(packet("2001:db8:1::2")), Local::Answer(Answer::Echo));
        assert_eq!(ask(packet("::")), Local::Answer(Answer::Echo));
    }

    #[test]
    fn extension_headers_are_obeyed() {
        let udp = build::Udp::default().to_vec(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::1"));
        let behind = |next, header: &[u8]| {
            let mut payload = header.to_vec();
            payload.extend(&udp);
            v6_packet(next, &payload)
        };
        let refused = Some(IcmpError::new(1, 4, 0));
        assert_eq!(told(behind(proto::DSTOPTS, &[17, 0, 1, 4, 0, 0, 0, 0])), refused);
        assert_eq!(told(behind(proto::DSTOPTS, &[17, 0, 0xde, 4, 0, 0, 0, 0])), Some(IcmpError::new(4, 2, 42)));
        assert_eq!(told(behind(proto::DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0])), Some(IcmpError::new(4, 1, 40)));
        assert_eq!(told(behind(proto::HOPOPTS, &[17, 0, 1, 4, 0, 0, 0, 0])), refused);
        assert_eq!(told(behind(proto::ROUTING, &[17, 0, 0, 0, 0, 0, 0, 0])), refused);
        for kind in [0, 2, 77] {
            assert_eq!(told(behind(proto::ROUTING, &[17, 0, kind, 1, 0, 0, 0, 0])), Some(IcmpError::new(4, 0, 42)));
        }
        assert_eq!(ask(behind(proto::ROUTING, &[17, 0, 4, 0, 0, 0, 0, 0])), Local::Drop(DropReason::BadOptions));
        assert_eq!(told(behind(proto::FRAGMENT, &[17, 0, 0, 0, 0, 0, 0, 1])), refused);
        let first = behind(proto::FRAGMENT, &[17, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(ask(first), Local::Fragment);
        assert_eq!(ask(behind(proto::FRAGMENT, &[60, 0, 0, 8, 0, 0, 0, 1])), Local::Fragment);
        assert_eq!(
            told(behind(proto::FRAGMENT, &[44, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 2])),
            Some(IcmpError::new(4, 0, 48))
        );
        assert_eq!(told(v6_packet(proto::FRAGMENT, &[17, 0, 0])), Some(IcmpError::new(4, 0, 40)));
        assert_eq!(told(behind(51, &[17, 0, 0, 0, 0, 0, 0, 1])), Some(IcmpError::new(4, 1, 6)));
    }

    #[test]
    fn what_was_put_together_is_read_behind_the_place_of_the_fragment_header() {
        let (src, dst) = (v6("2001:db8:1::2"), v6("2001:db8:1::1"));
        let behind_options = |src_port| {
            let mut payload = vec![proto::UDP, 0, 1, 4, 0, 0, 0, 0];
            payload.extend(build::Udp { src_port, dst_port: 0x1e04, payload: &[0; 8] }.to_vec(Family::V6, src, dst));
            let mut packet = v6_packet(proto::DSTOPTS, &payload);
            packet.meta.cut_at = 48;
            packet
        };
        // The ports are taken for the head of an options header: 8 bytes with one option and nothing behind, or 1408 bytes.
        assert_eq!(ask(behind_options(0x3b00)), NOBODY);
        assert_eq!(ask(behind_options(0x04af)), Local::Drop(DropReason::BadOptions));
        let mut hidden = v6_packet(proto::HOPOPTS, &[proto::NONE, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(ask(hidden.clone()), NOBODY);
        hidden.meta.cut_at = 40;
        assert_eq!(told(hidden), Some(IcmpError::new(4, 1, 6)));
    }

    proptest! {
        #[test]
        fn never_panics(next in prop_oneof![Just(0u8), Just(1), Just(6), Just(17), Just(43), Just(44), Just(58), Just(60), any::<u8>()],
                        payload in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..80), six in any::<bool>()) {
            ask(if six { v6_packet(next, &payload) } else { v4_packet(next, &payload) });
        }
    }
}
