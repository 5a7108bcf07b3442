//! What the host says, and when it is silent.

use super::*;
use crate::link::IcmpError;
use crate::link::testing::{Answerer, net, net_with, received, v4, v6};
use crate::net::IfIndex;
use crate::packet::{LinkType, Origin, Packet, Sender};
use crate::route::{Route, RouteType};
use hairpin_wire::icmp::Icmp;
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::tcp::{ACK, FIN, PSH, RST, SYN, Tcp};
use hairpin_wire::{Addr, Family, build, icmp4, icmp6, proto};

fn udp4(dst: &str, ttl: u8, tos: u8, data: usize) -> Vec<u8> {
    let (src, dst) = (v4("10.0.1.2"), v4(dst));
    let payload = build::Udp { src_port: 5, dst_port: 8, payload: &vec![7; data] }.to_vec(Family::V4, src, dst);
    build::Ipv4 { src, dst, protocol: proto::UDP, ttl, tos, payload: &payload, ..Default::default() }.to_vec()
}

/// Source, destination, length, TOS, TTL, type, code, word, and the quote of an error.
fn summary(packet: &Packet) -> (String, usize, u8, u8, u8, u8, u32, Vec<u8>) {
    let ip = Ipv4::new(packet.ip()).unwrap();
    let icmp = Icmp::new(packet.l4()).unwrap();
    assert!(
        ip.checksum_ok() && icmp.checksum_ok(Family::V4, ip.src(), ip.dst()) && !ip.dont_fragment() && ip.id() != 0
    );
    let way = format!("{} > {}", ip.src().display(Family::V4), ip.dst().display(Family::V4));
    let quote = icmp.payload().to_vec();
    (way, packet.length(), ip.tos(), ip.ttl(), icmp.kind(), icmp.code(), icmp.rest(), quote)
}

#[test]
fn the_errors_of_a_router() {
    let mut a = Answerer::new(net());
    let way = "10.0.1.1 > 10.0.1.2".to_owned();

    let late = received(&udp4("10.0.2.2", 1, 0x12, 40));
    let error = icmp_error(&late, IcmpError::expired(Family::V4), &mut a.host()).unwrap();
    assert_eq!(summary(&error), (way.clone(), 96, 0xd2, 64, 11, 0, 0, late.ip().to_vec()));

    let large = received(&udp4("10.0.2.2", 64, 0, 1200));
    let error = icmp_error(&large, IcmpError::too_big(Family::V4, 1000), &mut a.host()).unwrap();
    assert_eq!(summary(&error), (way.clone(), 576, 0xc0, 64, 3, 4, 1000, large.ip()[..548].to_vec()));

    let closed = received(&udp4("10.0.1.1", 64, 0x10, 1));
    let error = icmp_error(&closed, IcmpError::port_unreachable(Family::V4), &mut a.host()).unwrap();
    assert_eq!(summary(&error), (way, 57, 0xd0, 64, 3, 3, 0, closed.ip().to_vec()));
    assert_eq!((error.meta.oif, error.meta.made_here), (Some(IfIndex(2)), true));
    assert_eq!(error.meta.origin, Origin::Local(Sender::Kernel));
}

#[test]
fn the_source_is_the_address_asked_or_one_towards_the_sender() {
    let mut a = Answerer::new(net());
    let src = |packet: &Packet, a: &mut Answerer| {
        icmp_error(packet, IcmpError::port_unreachable(Family::V4), &mut a.host()).map(|error| error.src())
    };
    // An address of the host on another device is the source, if the packet was for it.
    assert_eq!(src(&received(&udp4("10.0.2.11", 64, 0, 1)), &mut a), Some(v4("10.0.2.11")));
    assert_eq!(src(&received(&udp4("10.0.2.2", 64, 0, 1)), &mut a), Some(v4("10.0.1.1")));
    let mut nowhere = received(&udp4("192.0.2.1", 64, 0, 1));
    nowhere.meta.route = None;
    assert_eq!(src(&nowhere, &mut a), Some(v4("10.0.1.1")));
    let mut inbound = Answerer::new(net_with(&[("net.ipv4.icmp_errors_use_inbound_ifaddr", "1")]));
    let mut other = received(&udp4("10.0.2.2", 64, 0, 1));
    other.meta.iif = Some(IfIndex(3));
    assert_eq!(src(&other, &mut inbound), Some(v4("10.0.2.1")));
}

#[test]
fn a_datagram_is_quoted_without_what_follows_it() {
    let mut a = Answerer::new(net());
    let mut bytes = udp4("10.0.1.1", 64, 0, 4);
    bytes.extend([9; 6]);
    let mut ip = Ipv4::new(&mut bytes).unwrap();
    ip.change_total_len(38);
    let packet = received(&bytes);
    let error = IcmpError::port_unreachable(Family::V4);
    assert_eq!(icmp_error(&packet, error, &mut a.host()).unwrap().length(), 28 + 32);
}

#[test]
fn some_are_never_told() {
    let mut a = Answerer::new(net());
    let told =
        |packet: &Packet, a: &mut Answerer| icmp_error(packet, IcmpError::expired(Family::V4), &mut a.host()).is_some();
    let icmp = |kind: u8| {
        let message = build::Icmp { kind, payload: &[0; 28], ..Default::default() };
        received(&message.packet(Family::V4, v4("10.0.1.3"), v4("10.0.2.2")))
    };
    let silent: Vec<u8> = (0..=60).filter(|kind| !told(&icmp(*kind), &mut Answerer::new(net()))).collect();
    assert_eq!(silent, [(1..=7).collect(), (9..=12).collect(), (19..=60).collect::<Vec<u8>>()].concat());

    let good = received(&udp4("10.0.2.2", 64, 0, 1));
    assert!(told(&good, &mut a));
    let mut group = good.clone();
    group.meta.link_type = LinkType::Multicast;
    assert!(!told(&group, &mut a));
    let mut later = good.clone();
    Ipv4::new(later.ip_mut()).unwrap().set_flags_offset(false, false, 1);
    later.refresh().unwrap();
    assert!(!told(&later, &mut a));
    let mut broadcast = good;
    broadcast.meta.route = broadcast.meta.route.map(|route| Route { kind: RouteType::Broadcast, ..route });
    assert!(!told(&broadcast, &mut a));
}

#[test]
fn bursts() {
    let count = |a: &mut Answerer, make: &dyn Fn(&mut Host<'_>) -> Option<Packet>| {
        (0..12).filter(|_| make(&mut a.host()).is_some()).count()
    };
    let closed = received(&udp4("10.0.1.1", 64, 0, 1));
    let port = IcmpError::port_unreachable(Family::V4);
    let mut a = Answerer::new(net());
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, port, host)), 6);
    a.now.mono.0 += 2_200_000_000;
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, port, host)), 2);
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::too_big(Family::V4, 1000), host)), 12);
    let mut a = Answerer::new(net());
    assert_eq!(count(&mut a, &|host| route_error(&closed, IcmpError::no_route(Family::V4), host)), 2);
    let mut a = Answerer::new(net_with(&[("net.ipv4.icmp_ratelimit", "0")]));
    assert_eq!(count(&mut a, &|host| route_error(&closed, IcmpError::no_route(Family::V4), host)), 5);

    let bytes = build::Udp::default().packet(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::1"));
    let closed = received(&bytes);
    let mut a = Answerer::new(net());
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::port_unreachable(Family::V6), host)), 6);
    a.now.mono.0 += 100_000_000;
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::port_unreachable(Family::V6), host)), 1);
    assert_eq!(count(&mut a, &|host| icmp_error(&closed, IcmpError::too_big(Family::V6, 1280), host)), 12);
}

fn tcp4(dst: &str, flags: u8, seq: u32, ack: u32, tos: u8, payload: &[u8]) -> Packet {
    let (src, dst) = (v4("10.0.1.2"), v4(dst));
    let segment = build::Tcp { src_port: 5, dst_port: 8, seq, ack, flags, payload, ..Default::default() };
    let payload = segment.to_vec(Family::V4, src, dst);
    let ip = build::Ipv4 { src, dst, protocol: proto::TCP, tos, id: 99, payload: &payload, ..Default::default() };
    received(&ip.to_vec())
}

/// Source, TOS, flags, sequence and acknowledgment number; the rest is the same in every reset.
fn reset(packet: Option<Packet>) -> (Addr, u8, u8, u32, u32) {
    let packet = packet.unwrap();
    let ip = Ipv4::new(packet.ip()).unwrap();
    let tcp = Tcp::new(packet.l4()).unwrap();
    assert_eq!((packet.length(), ip.id(), ip.dont_fragment(), ip.ttl()), (40, 0, true, 64));
    assert_eq!((ip.dst(), tcp.src_port(), tcp.dst_port(), tcp.window()), (v4("10.0.1.2"), 8, 5, 0));
    assert!(checksum_ok(&packet, proto::TCP) && ip.checksum_ok());
    (ip.src(), ip.tos(), tcp.flags(), tcp.seq(), tcp.ack())
}

#[test]
fn resets_of_reject() {
    let mut a = Answerer::new(net());
    let mut answer = |packet: Packet| reject_reset(&packet, &mut a.host());
    let server = v4("10.0.2.2");
    let dst = "10.0.2.2";
    assert_eq!(reset(answer(tcp4(dst, SYN, 1000, 0, 8, b""))), (server, 0, RST | ACK, 0, 1001));
    assert_eq!(reset(answer(tcp4(dst, PSH | ACK, 1000, 5000, 0, b"hello"))), (server, 0, RST, 5000, 0));
    assert_eq!(reset(answer(tcp4(dst, SYN | FIN, 1000, 0, 0, b"hello"))), (server, 0, RST | ACK, 0, 1007));
    assert!(answer(tcp4(dst, RST, 1000, 0, 0, b"")).is_none());
    let mut bad = tcp4(dst, SYN, 1000, 0, 0, b"x");
    *bad.l4_mut().last_mut().unwrap() ^= 1;
    assert!(answer(bad).is_none());
}

#[test]
fn resets_of_closed_ports() {
    let mut a = Answerer::new(net());
    let mut answer = |packet: Packet| tcp_reset(&packet, &mut a.host());
    let own = v4("10.0.1.1");
    assert_eq!(reset(answer(tcp4("10.0.1.1", SYN, 7, 0, 0x10, b""))), (own, 0x10, RST | ACK, 0, 8));
    assert_eq!(reset(answer(tcp4("10.0.1.1", ACK, 7, 99, 0x10, b""))), (own, 0x10, RST, 99, 0));
    assert!(answer(tcp4("10.0.1.1", RST, 7, 99, 0, b"")).is_none());
    assert!(answer(tcp4("10.0.2.2", SYN, 7, 0, 0, b"")).is_none());
}

#[test]
fn rejects_only_what_is_intact() {
    let mut a = Answerer::new(net());
    let error = IcmpError::port_unreachable(Family::V4);
    let mut answers = |bytes: &[u8]| reject_unreachable(&received(bytes), error, &mut a.host()).is_some();
    let good = udp4("10.0.2.2", 63, 8, 1);
    assert!(answers(&good));
    let mut bad = good.clone();
    bad[28] ^= 1;
    assert!(!answers(&bad));
    bad[26..28].fill(0);
    assert!(answers(&bad));
    let (src, dst) = (v4("10.0.1.2"), v4("10.0.2.2"));
    assert!(!answers(&build::ip(Family::V4, src, dst, 99, b"x")));
    assert!(answers(&build::ip(Family::V4, src, dst, proto::GRE, b"x")));
    let six = |next, payload: &[u8]| build::ip(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:2::2"), next, payload);
    assert!(!answers(&six(200, b"x")));
    assert!(!answers(&six(proto::NONE, b"")));
    let mut fragment = build::fragment_header(proto::UDP, 0, true, 1).to_vec();
    fragment.extend([0, 1, 0, 2, 0, 40, 1, 1]);
    assert!(!answers(&six(proto::FRAGMENT, &fragment)));
    assert!(!answers(&six(proto::UDP, &[0, 1, 0, 2, 0, 40, 1, 1])));
}

#[test]
fn echo_and_time() {
    let mut a = Answerer::new(net());
    let (src, dst) = (v4("10.0.1.2"), v4("10.0.2.11"));
    let message = build::Echo { id: 3, seq: 4, payload: b"ping", ..Default::default() }.to_vec(Family::V4, src, dst);
    let request = build::Ipv4 { src, dst, protocol: proto::ICMP, tos: 0xb9, payload: &message, ..Default::default() };
    let reply = echo_reply(&received(&request.to_vec()), &mut a.host()).unwrap();
    assert_eq!(summary(&reply), ("10.0.2.11 > 10.0.1.2".into(), 32, 0xb9, 64, 0, 0, 3 << 16 | 4, b"ping".to_vec()));

    let message = build::Icmp { kind: icmp4::TIMESTAMP, code: 0, rest: 9, payload: &[1, 2, 3, 4, 5, 6, 7, 8] };
    let time = wall_ms(a.now).to_be_bytes();
    let reply = timestamp_reply(&received(&message.packet(Family::V4, src, dst)), &mut a.host()).unwrap();
    let expected = [&[1, 2, 3, 4][..], &time, &time].concat();
    assert_eq!(summary(&reply), ("10.0.2.11 > 10.0.1.2".into(), 40, 0, 64, 14, 0, 9, expected));

    let group = received(&build::Echo::default().packet(Family::V4, src, v4("10.0.1.255")));
    assert_eq!(echo_reply(&group, &mut a.host()).map(|reply| reply.src()), Some(v4("10.0.1.1")));
}

#[test]
fn ipv6_errors_and_echoes() {
    let mut a = Answerer::new(net());
    let (src, near, far) = (v6("2001:db8:1::2"), v6("2001:db8:1::1"), v6("2001:db8:2::2"));
    let large = build::Udp { src_port: 1, dst_port: 2, payload: &[0; 1400] }.packet(Family::V6, src, far);
    let error = icmp_error(&received(&large), IcmpError::too_big(Family::V6, 1280), &mut a.host()).unwrap();
    let ip = Ipv6::new(error.ip()).unwrap();
    let icmp = Icmp::new(error.l4()).unwrap();
    assert_eq!((error.length(), ip.src(), ip.dst(), ip.hop_limit(), ip.traffic_class()), (1280, near, src, 64, 0));
    assert_eq!((icmp.kind(), icmp.code(), icmp.rest(), icmp.payload()), (2, 0, 1280, &large[..1232]));
    assert!(icmp.checksum_ok(Family::V6, near, src) && ip.flow_label() != 0);
    assert!(icmp_error(&error, IcmpError::expired(Family::V6), &mut a.host()).is_none());

    let mut request = build::Echo::default().packet(Family::V6, src, near);
    Ipv6::new(&mut request).unwrap().set_traffic_class(0xb9);
    let reply = echo_reply(&received(&request), &mut a.host()).unwrap();
    assert_eq!((reply.src(), reply.tos(), reply.l4()[0]), (near, 0xb9, 129));
    let anycast = build::Echo::default().packet(Family::V6, src, v6("2001:db8:1::"));
    let reply = echo_reply(&received(&anycast), &mut a.host()).unwrap();
    assert_eq!(reply.src(), near);
    let mut plain = Answerer::new(net_with(&[("net.ipv6.auto_flowlabels", "0")]));
    let reply = echo_reply(&received(&request), &mut plain.host()).unwrap();
    assert_eq!(Ipv6::new(reply.ip()).unwrap().flow_label(), 0);
}

#[test]
fn groups_cause_few_errors_in_ipv6() {
    let mut a = Answerer::new(net());
    let hop = |option: u8| {
        let payload = [proto::NONE, 0, option, 4, 0, 0, 0, 0];
        received(&build::ip(Family::V6, v6("2001:db8:1::2"), v6("ff02::1"), proto::HOPOPTS, &payload))
    };
    let option = IcmpError::bad_header6(icmp6::parameter_problem::OPTION, 42);
    assert_eq!(icmp_error(&hop(0x9e), option, &mut a.host()).map(|error| error.src()), Some(v6("2001:db8:1::1")));
    assert!(icmp_error(&hop(0xde), option, &mut a.host()).is_none());
    assert!(icmp_error(&hop(0x9e), IcmpError::expired(Family::V6), &mut a.host()).is_none());
}

#[test]
fn redirects_name_the_next_hop_and_become_rare() {
    let mut a = Answerer::new(net());
    let packet = received(&udp4("10.0.1.3", 63, 0, 1));
    let route = packet.meta.route.unwrap();
    let error = redirect(&packet, &route, &mut a.host()).unwrap();
    let expected = ("10.0.1.1 > 10.0.1.2".into(), 57, 0xc0, 64, 5, 1, 0x0a00_0103, packet.ip().to_vec());
    assert_eq!(summary(&error), expected);
    assert!(redirect(&packet, &route, &mut a.host()).is_none());
    a.now.mono.0 += 60_000_000;
    assert!(redirect(&packet, &route, &mut a.host()).is_some());
}

#[test]
fn ipv6_redirects_come_from_the_link() {
    let udp = build::Udp { src_port: 1, dst_port: 2, payload: b"x" };
    let packet = received(&udp.packet(Family::V6, v6("2001:db8:1::2"), v6("2001:db8:1::7")));
    let route = packet.meta.route.unwrap();
    assert!(redirect(&packet, &route, &mut Answerer::new(net()).host()).is_none());
    let mut with_link_local = net();
    let own = with_link_local.interfaces[1].addresses[1];
    with_link_local.interfaces[1].addresses.push(crate::net::IfAddr { addr: v6("fe80::1"), ..own });
    let mut a = Answerer::new(with_link_local);
    let answer = redirect(&packet, &route, &mut a.host()).unwrap();
    let icmp = Icmp::new(answer.l4()).unwrap();
    assert_eq!((answer.src(), answer.dst(), answer.ttl()), (v6("fe80::1"), packet.src(), 255));
    assert_eq!((icmp.kind(), icmp6::target(icmp.payload()), icmp.rest()), (137, packet.dst(), 0));
    assert!(icmp.checksum_ok(Family::V6, answer.src(), answer.dst()));
    // 49 and 8 bytes in units of 8, the rest of the packet is left out.
    assert_eq!(icmp.payload()[32..40], [4, 7, 0, 0, 0, 0, 0, 0]);
    assert_eq!(icmp.payload()[40..], packet.ip()[..48]);
    assert_eq!((1..12).filter(|_| redirect(&packet, &route, &mut a.host()).is_some()).count(), 5);
}

#[test]
fn marks_are_reflected_if_asked() {
    let mut packet = received(&udp4("10.0.1.1", 64, 0, 1));
    packet.meta.mark = 7;
    let error = IcmpError::port_unreachable(Family::V4);
    let mark = |net| icmp_error(&packet, error, &mut Answerer::new(net).host()).map(|error| error.meta.mark);
    assert_eq!(mark(net()), Some(0));
    assert_eq!(mark(net_with(&[("net.ipv4.fwmark_reflect", "1")])), Some(7));
}
