//! Strange packets: ICMP errors right and wrong, martians, options, broadcasts, headers that lie.

use std::net::{IpAddr, Ipv4Addr};

use super::build::{self, ACK, FIN, Head, PSH, RST, SYN, Segment, Sum, URG};
use super::stage::{End, Stage};
use super::world::{Person, World};
use crate::oracle::frame::{AH, DEST, FRAGMENT, Frame, HOP, ROUTING};

/// A few strange packets.
pub async fn packets(stage: &Stage<'_>) {
    let world = stage.world();
    for _ in 0..1 + stage.below(3) {
        let people: Vec<&Person> = world.people().collect();
        let from = stage.pick(&people).clone();
        let others: Vec<IpAddr> = world.addresses().into_iter().filter(|a| *a != from.addr).collect();
        let to = stage.pick(&others);
        let end = stage.end(world, &from.iface, from.mac, (from.addr, 0), (to, 0), 255);
        let port = stage.pick(&world.ports);
        let sent = match (from.addr, to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => odd4(stage, world, src, dst, port),
            (IpAddr::V6(_), _) => odd6(stage, world, from.addr, to, port),
            _ => Vec::new(),
        };
        for packet in sent {
            stage.send(&end, packet).await;
        }
    }
}

/// An ICMP error about what this end heard last, from itself or from somebody on the way.
pub fn error_about_last(stage: &Stage<'_>, end: &End<'_>) -> Vec<u8> {
    let about = end.last.borrow().clone();
    let framed = build::ethernet([0; 6], [0; 6], &about);
    let Some(to) = Frame::new(&framed).ip.map(|ip| ip.src) else { return Vec::new() };
    let others: Vec<IpAddr> = end.world.people().filter(|p| p.iface == end.iface).map(|p| p.addr).collect();
    let from = if stage.chance(70) { end.me.0 } else { stage.pick(&others) };
    error(stage, from, to, &about)
}

/// Extension headers that a whole conversation may carry.
pub fn dress(stage: &Stage<'_>, world: &World) -> Vec<(u8, Vec<u8>)> {
    let pad = build::options6(&[(1, &[0; 4])]);
    let via = stage.pick(&world.addresses());
    match stage.below(8) {
        0 => vec![(HOP, pad)],
        1 => vec![(DEST, pad)],
        2 => vec![(HOP, build::options6(&[(5, &[0, 0])])), (DEST, pad)],
        3 => vec![(DEST, build::options6(&[(62, b"skip"), (1, &[0; 8])]))],
        4 => vec![(ROUTING, build::routing6(stage.pick(&[0, 4]), 0, &[via]))],
        5 => vec![(DEST, pad.clone()), (ROUTING, build::routing6(0, 0, &[via, via])), (DEST, pad)],
        6 => vec![(FRAGMENT, fragment_header(0, stage.number()))],
        _ => vec![(AH, authentication())],
    }
}

fn error(stage: &Stage<'_>, from: IpAddr, to: IpAddr, about: &[u8]) -> Vec<u8> {
    let head = Head { ttl: stage.pick(&[64, 63, 250]), id: stage.number() as u16, ..Head::default() };
    let bad = stage.chance(3);
    if from.is_ipv6() {
        let (kind, word): ((u8, u8), u32) = stage.pick(&[
            ((1, 0), 0),
            ((1, 1), 0),
            ((1, 3), 0),
            ((1, 4), 0),
            ((1, 4), 0),
            ((2, 0), 1280),
            ((2, 0), 1300),
            ((3, 0), 0),
            ((3, 1), 0),
            ((4, 0), 6),
            ((4, 1), 40),
        ]);
        let quote = stage.pick(&[1232, 1232, 88, 48]).min(about.len());
        return build::icmp(from, to, kind, word.to_be_bytes(), &about[..quote], bad, &head);
    }
    let kind = stage.pick(&[(3, 3), (3, 1), (3, 4), (11, 0), (3, 13), (12, 0), (4, 0), (3, 3), (3, 2), (5, 1)]);
    let mtu: u16 = if kind == (3, 4) { stage.pick(&[1300, 576, 0]) } else { 0 };
    let quote = stage.pick(&[28, 28, 28, 40, 128, 548, 24, 20]).min(about.len());
    let mut quoted = about[..quote].to_vec();
    if stage.chance(5)
        && let Some(byte) = quoted.get_mut(22)
    {
        // About a flow that there is not.
        *byte ^= 0x55;
    }
    let [a, b] = mtu.to_be_bytes();
    build::icmp(from, to, kind, [0, 0, a, b], &quoted, bad, &head)
}

fn odd4(stage: &Stage<'_>, world: &World, src: Ipv4Addr, dst: Ipv4Addr, port: u16) -> Vec<Vec<u8>> {
    let head = Head { ttl: stage.pick(&[64, 64, 64, 1, 2, 255, 0]), id: stage.number() as u16, ..Head::default() };
    let (s, d): (IpAddr, IpAddr) = (src.into(), dst.into());
    let at = |a: &[&str]| -> IpAddr { stage.pick(a).parse().unwrap_or(d) };
    let udp = |from: IpAddr, to: IpAddr, data: &[u8]| build::udp((from, 4000), (to, port), data, Sum::Right, &head);
    let with = |options: &[u8]| {
        build::udp((s, 4000), (d, port), b"options", Sum::Right, &Head { options: options.to_vec(), ..head.clone() })
    };
    let never = build::udp((d, port), (s, 40_000), b"never sent", Sum::Right, &head);
    let broadcast: Vec<IpAddr> = world
        .mine
        .iter()
        .filter_map(|(_, a)| if let IpAddr::V4(a) = a { Some(*a) } else { None })
        .map(|a| {
            let [x, y, z, _] = a.octets();
            IpAddr::from([x, y, z, 255])
        })
        .collect();
    let one = match stage.below(34) {
        0 => udp(s, stage.pick(&broadcast), b"broadcast"),
        1 => udp(s, at(&["255.255.255.255", "255.255.255.255", "10.7.0.0", "192.168.1.0"]), b"broadcast"),
        2 => udp(s, at(&["224.0.0.251", "239.1.2.3", "224.0.0.1"]), b"multicast"),
        3 => build::echo(s, stage.pick(&broadcast), 7, 1, b"to all", false, &head),
        4 => build::echo(s, at(&["255.255.255.255", "224.0.0.1"]), 7, 1, b"to all", false, &head),
        5 | 6 => {
            let kind = (stage.pick(&[3, 11, 12, 4, 5]), stage.below(5) as u8);
            let quote = stage.pick(&[28, 28, 20, 8]).min(never.len());
            build::icmp(s, d, kind, [0; 4], &never[..quote], false, &head)
        }
        7 => build::icmp(s, d, (stage.pick(&[15, 17, 9, 10, 30, 42]), 0), [0, 7, 0, 1], &[b'z'; 12], false, &head),
        8 => build::icmp(s, d, (stage.pick(&[0, 14, 16, 18]), 0), [0, 7, 0, 1], &[b'z'; 12], false, &head),
        9 => build::icmp(s, d, (8, stage.pick(&[0, 1])), [0, 9, 0, 1], b"echo", stage.chance(50), &head),
        10 => build::gre(s, d, &udp(s, d, b"in a tunnel"), &head),
        11 | 12 => {
            let proto = stage.pick(&[4, 41, 50, 51, 89, 103, 253, 0]);
            build::ip(s, d, proto, &[0, 0, 1, 0].repeat(1 + stage.below(6)), &head)
        }
        13 => build::ip(
            s,
            d,
            51,
            &[&[6, 4, 0, 0, 0, 0, 0xbe, 0xef][..], &[1; 16], b"\x01\x02\x03\x04abcd"].concat(),
            &head,
        ),
        14 => build::ip(s, d, 50, &[&[0, 0, 1, 0][..], &[1; 16]].concat(), &head),
        15 => {
            build::sctp((s, 5000), (d, port), 9, &[(0, 3, [&[0; 12][..], b"data"].concat())], stage.chance(30), &head)
        }
        16 => {
            let spoofed = stage.pick(&world.addresses());
            udp(spoofed, d, b"spoofed")
        }
        17 | 18 => udp(
            at(&["0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.9", "240.0.0.9", "192.168.1.255", "203.0.113.1"]),
            d,
            b"martian",
        ),
        19 => udp(s, at(&["127.0.0.1", "0.0.0.0", "240.0.0.1", "10.200.1.1", "100.100.100.100"]), b"to nowhere"),
        20 => build::udp((s, 0), (d, 0), b"no ports", Sum::Right, &head),
        21 => {
            let via = stage.pick(&world.addresses());
            let IpAddr::V4(via) = via else { return Vec::new() };
            let [a, b, c, e] = via.octets();
            match stage.below(7) {
                0 => with(&[7, 7, 4, 0, 0, 0, 0, 0]),
                1 => with(&[0x94, 4, 0, 0]),
                2 => with(&[0x83, 7, 4, a, b, c, e, 0]),
                3 => with(&[0x89, 7, 4, a, b, c, e, 0]),
                // A full one: into one with room routers write the time of day.
                4 => with(&[0x44, 12, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                5 => with(&[1, 1, 0x44, 3, 5]),
                _ => with(&[0x88, 4, 0, 1]),
            }
        }
        22 => build::udp((s, 4000), (d, port), b"sum of header", Sum::Right, &Head { bad_sum: true, ..head }),
        23 => build::ip(s, d, stage.pick(&[6, 17, 1, 132, 33, 136, 47]), &[1, 2, 3, 4, 5][..1 + stage.below(4)], &head),
        24 | 25 => strange_tcp(stage, (s, 4000), (d, port), &head),
        26 => {
            let options = stage.pick(&[
                &[2, 4, 5][..],
                &[2, 3, 5, 5],
                &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0x23, 0x28],
                &[0x22, 2],
                &[3, 3, 200],
                &[5, 0],
                &[8, 1],
            ]);
            let segment = Segment { flags: SYN, seq: 5, window: 1000, options: options.to_vec(), ..Segment::default() };
            build::tcp((s, 4000), (d, port), &segment, &head)
        }
        27 => build::udp((s, port), (s, port), b"to myself", Sum::Right, &head),
        28 => build::udp(
            (s, 4000),
            (d, port),
            b"length",
            Sum::Right,
            &Head { length: Some(stage.pick(&[300, 21, 29])), ..head },
        ),
        29 => {
            let mut packet = udp(s, d, b"no such header");
            packet[0] = stage.pick(&[0x44, 0x55, 0x4f, 0x65]);
            packet
        }
        30 => {
            // A length that UDP itself denies.
            let mut packet = udp(s, d, b"udp length");
            packet[24..26].copy_from_slice(&stage.pick(&[7u16, 200, 0]).to_be_bytes());
            packet
        }
        31 => build::udp(
            (s, 4000),
            (d, port),
            &[b'B'; 1472][..stage.pick(&[1372, 1400, 1472])],
            Sum::Right,
            &Head { df: true, ..head },
        ),
        32 => return build::fragments(&strange_tcp(stage, (s, 4000), (d, port), &head), 8, 0),
        _ => {
            return build::fragments(
                &build::echo(s, d, 9, 1, &[b'e'; 100], false, &head),
                stage.pick(&[24, 48, 88]),
                0,
            );
        }
    };
    vec![one]
}

fn strange_tcp(stage: &Stage<'_>, src: (IpAddr, u16), dst: (IpAddr, u16), head: &Head) -> Vec<u8> {
    let flags = stage.pick(&[
        SYN | FIN,
        SYN | RST,
        FIN | PSH | URG,
        0,
        63,
        URG,
        SYN | ACK,
        RST | ACK,
        FIN | ACK,
        SYN | 0xc0,
        SYN | PSH,
    ]);
    let segment = Segment { flags, seq: 5, ack: 6, window: 512, bad_sum: stage.chance(10), ..Segment::default() };
    build::tcp(src, dst, &segment, head)
}

fn odd6(stage: &Stage<'_>, world: &World, s: IpAddr, d: IpAddr, port: u16) -> Vec<Vec<u8>> {
    let head = Head {
        ttl: stage.pick(&[64, 64, 64, 1, 2, 255, 0]),
        tos: stage.pick(&[0, 0, 0xb8, 3]),
        flow: stage.pick(&[0, 0, 0x12345]),
        ..Head::default()
    };
    let at = |a: &[&str]| -> IpAddr { stage.pick(a).parse().unwrap_or(d) };
    let udp = |from: IpAddr, to: IpAddr, data: &[u8]| build::udp((from, 4000), (to, port), data, Sum::Right, &head);
    let never = build::udp((d, port), (s, 4000), b"never sent", Sum::Right, &head);
    let whole = match stage.below(3) {
        0 => udp(s, d, b"with headers"),
        1 => {
            let segment = Segment { flags: SYN, seq: 5, options: build::mss(1440), ..Segment::default() };
            build::tcp((s, 4000), (d, port), &segment, &head)
        }
        _ => build::echo(s, d, 9, 1, b"echo", false, &head),
    };
    let one = match stage.below(34) {
        0..11 => build::extended(&whole, &headers(stage, world)),
        11 => return build::fragments(&build::extended(&whole, &headers(stage, world)), 16, stage.number()),
        12 => {
            let mut out = build::fragments(&udp(s, d, b"twice"), 16, 7);
            out.truncate(1);
            out.extend(build::fragments(&udp(s, d, b"twice other"), 8, 7).into_iter().skip(1));
            return out;
        }
        13 => udp(s, at(&["ff02::1", "ff02::2", "ff05::2", "ff0e::1"]), b"multicast"),
        14 => build::echo(s, at(&["ff02::1", "ff0e::1", "2001:db8:1::"]), 9, 1, b"to all", false, &head),
        15 => error(stage, s, d, &never),
        16 => {
            let kind = stage.pick(&[(1, 2), (1, 9), (5, 0), (100, 0), (0, 0), (4, 2)]);
            build::icmp(s, d, kind, [0; 4], &never, false, &head)
        }
        17 => build::icmp(
            s,
            d,
            (stage.pick(&[129, 139, 140, 144, 150, 160, 200]), 0),
            [0, 7, 0, 1],
            &[b'z'; 12],
            false,
            &head,
        ),
        18 => build::icmp(s, d, (128, 0), [0, 9, 0, 1], b"echo", true, &head),
        19 => build::gre(s, d, b"inner inner inner inn", &head),
        20 => {
            build::ip(s, d, stage.pick(&[59, 1, 4, 41, 50, 103, 200, 253]), &[0, 0, 1, 0].repeat(stage.below(6)), &head)
        }
        21 => build::ip(
            s,
            d,
            stage.pick(&[6, 17, 58, 132, 0, 43, 44, 60, 136, 33]),
            &[0, 1, 2, 3, 4][..1 + stage.below(4)],
            &head,
        ),
        22 => build::sctp((s, 5000), (d, port), 9, &[(0, 3, vec![0; 16])], stage.chance(30), &head),
        23 => udp(stage.pick(&world.addresses()), d, b"spoofed"),
        24 => udp(at(&["::", "::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::1", "2001:db8:ffff::1"]), d, b"odd source"),
        25 => udp(s, at(&["::1", "::", "::ffff:10.0.0.1", "3fff::1", "fc00::5"]), b"odd destination"),
        26 => build::udp((s, 4000), (d, port), b"no sum", Sum::Absent, &head),
        27 => build::udp((s, 4000), (d, port), b"wrong sum", Sum::Wrong, &head),
        28 => build::udp(
            (s, 4000),
            (d, port),
            b"length",
            Sum::Right,
            &Head { length: Some(stage.pick(&[9, 200, 0])), ..head },
        ),
        29 | 30 => strange_tcp(stage, (s, 4000), (d, port), &head),
        31 => build::udp((s, port), (s, port), b"to myself", Sum::Right, &head),
        32 => {
            build::udp((s, 4000), (d, port), &[b'B'; 1452][..stage.pick(&[1240, 1352, 1400, 1452])], Sum::Right, &head)
        }
        _ => {
            return build::fragments(
                &build::echo(s, d, 9, 1, &[b'e'; 100], false, &head),
                stage.pick(&[24, 48, 88]),
                stage.number(),
            );
        }
    };
    vec![one]
}

/// A few extension headers, some of them wrong.
fn headers(stage: &Stage<'_>, world: &World) -> Vec<(u8, Vec<u8>)> {
    let list: [&[(u8, &[u8])]; 11] = [
        &[],
        &[(1, &[0; 4])],
        &[(5, &[0, 0])],
        &[(0x3e, b"skip")],
        &[(0x1e, &[0; 20])],
        &[(0x7e, b"drop")],
        &[(0xbe, b"tell")],
        &[(0xfe, b"tell")],
        &[(0xc2, &[0, 1, 0x11, 0x70])],
        &[(0xc9, &[0; 16])],
        &[(62, b"skip"), (1, &[])],
    ];
    let options = || build::options6(list[stage.below(list.len())]);
    let via = stage.pick(&world.addresses());
    match stage.below(12) {
        0 => vec![(HOP, options())],
        1 => vec![(DEST, options())],
        2 => vec![(HOP, options()), (DEST, options())],
        3 => vec![(ROUTING, build::routing6(0, stage.pick(&[0, 1]), &[via]))],
        4 => vec![(ROUTING, build::routing6(4, stage.pick(&[0, 1]), &[via]))],
        5 => vec![(ROUTING, build::routing6(stage.pick(&[2, 3, 253]), stage.pick(&[0, 1, 5]), &[via]))],
        6 => vec![(DEST, options()), (HOP, options())],
        7 => vec![(DEST, options()), (ROUTING, build::routing6(0, 0, &[via])), (DEST, options())],
        8 => vec![(FRAGMENT, fragment_header(stage.pick(&[0, 0, 0, 1, 8, 6]), stage.number()))],
        9 => vec![(AH, authentication())],
        10 => vec![(135, vec![0, 5, 0, 0, 0, 0, 0])],
        _ => vec![(DEST, [&[0xc8][..], &[0; 6]].concat())],
    }
}

fn fragment_header(field: u16, id: u32) -> Vec<u8> {
    [&[0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat()
}

/// An authentication header of 24 bytes, SPI 48879.
fn authentication() -> Vec<u8> {
    [&[4, 0, 0][..], &0xbeefu32.to_be_bytes(), &7u32.to_be_bytes(), &[0; 12]].concat()
}
