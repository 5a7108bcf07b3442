//! What hosts say to each other: whole lives of connections, with the mishaps that real ones have.

use std::net::IpAddr;
use std::rc::Rc;

use super::build::{self, ACK, FIN, PSH, RST, SYN, Segment, Sum, URG, mss};
use super::stage::{End, Stage, Talk};
use super::{helped, odd};
use crate::oracle::frame::{AH, DCCP, ESP, GRE, ICMP, ICMP6, SCTP, TCP, UDP, UDPLITE};

/// A random conversation.
pub fn any<'s, 'a: 's>(stage: &'s Stage<'a>) -> Talk<'s> {
    let special = stage.world().special.filter(|_| stage.chance(35));
    match special {
        Some("sctp") => return Box::pin(sctp(stage)),
        Some("dccp") => return Box::pin(dccp(stage)),
        Some("udplite") => return Box::pin(udplite(stage)),
        Some("gre") => return Box::pin(gre(stage)),
        Some("ah") => return Box::pin(ipsec(stage, AH)),
        Some("esp") => return Box::pin(ipsec(stage, ESP)),
        _ => {}
    }
    match stage.weighted(&[10, 8, 4, 4, 2, 9, 3, 4, 2, 2, 1, 1, 1, 1]) {
        0 => Box::pin(tcp(stage)),
        1 => Box::pin(udp(stage)),
        2 => Box::pin(ping(stage)),
        3 => Box::pin(helped::ftp(stage)),
        4 => Box::pin(helped::tftp(stage)),
        5 => Box::pin(odd::packets(stage)),
        6 => Box::pin(collide(stage)),
        7 => Box::pin(big(stage)),
        8 => Box::pin(midstream(stage)),
        9 => Box::pin(sctp(stage)),
        10 => Box::pin(dccp(stage)),
        11 => Box::pin(udplite(stage)),
        12 => Box::pin(gre(stage)),
        _ => Box::pin(helped::irc(stage)),
    }
}

async fn tcp(stage: &Stage<'_>) {
    let client = stage.client(TCP, None);
    if let Some(server) = handshake(stage, &client, true).await {
        exchange(stage, &client, &server).await;
        close(stage, &client, &server).await;
    }
}

/// Opens a connection; the server's end, once it stands.
pub async fn handshake<'a>(stage: &Stage<'a>, client: &Rc<End<'a>>, rough: bool) -> Option<Rc<End<'a>>> {
    let rough = |percent| rough && stage.chance(percent);
    let first = Segment { options: syn_options(stage), ..client.next_segment(SYN) };
    let expected = stage.expect(client.world, TCP, &first.seq.to_be_bytes());
    stage.send(client, client.segment(first.clone())).await;
    if rough(15) {
        stage.send(client, client.stray(first.clone())).await;
    }
    let Some(server) = expected.end() else {
        if stage.chance(30) {
            stage.send(client, client.stray(first)).await;
        }
        if stage.chance(20) {
            stage.send(client, client.tcp(RST, b"")).await;
        }
        return None;
    };
    if rough(8) {
        let refusal = Segment { seq: 0, ..server.next_segment(RST | ACK) };
        stage.send(&server, server.stray(refusal)).await;
        if stage.chance(50) {
            stage.send(client, client.stray(first)).await;
        }
        return None;
    }
    if rough(5) {
        // The server remembers another connection.
        stage.send(&server, server.stray(Segment { seq: 77, ack: 78, ..server.next_segment(ACK) })).await;
        stage.send(client, client.stray(Segment { seq: 78, ..client.next_segment(RST) })).await;
    }
    if rough(5) {
        stage.send(&server, odd::error_about_last(stage, &server)).await;
    }
    let answer = Segment {
        options: syn_options(stage),
        window: stage.pick(&[64_240, 65_535, 0, 100]),
        ..server.next_segment(SYN | ACK)
    };
    if rough(5) {
        // Both open at once.
        stage.send(&server, server.segment(Segment { ack: 0, flags: SYN, ..answer.clone() })).await;
        let ack = client.ack.get();
        stage.send(client, client.stray(Segment { flags: SYN | ACK, ack, ..first })).await;
        let ack = server.ack.get();
        stage.send(&server, server.stray(Segment { ack, ..answer })).await;
    } else {
        stage.send(&server, server.segment(answer.clone())).await;
        if rough(10) {
            stage.send(&server, server.stray(answer)).await;
        }
    }
    if client.heard.get() == 0 && stage.chance(70) {
        return None;
    }
    stage.send(client, client.tcp(ACK, b"")).await;
    Some(server)
}

pub async fn exchange<'a>(stage: &Stage<'a>, client: &Rc<End<'a>>, server: &Rc<End<'a>>) {
    for _ in 0..1 + stage.below(if stage.deep { 4 } else { 2 }) {
        let (a, b) = if stage.chance(50) { (client, server) } else { (server, client) };
        let start = a.next.get();
        let mut segments: Vec<Vec<u8>> = (0..stage.pick(&[1, 1, 2, 3]))
            .map(|n| {
                let data = match stage.below(4) {
                    0 => b"GET / HTTP/1.0\r\n\r\n".to_vec(),
                    _ => vec![b'A' + n; stage.pick(&[3, 50, 400])],
                };
                a.segment(Segment {
                    data,
                    window: stage.pick(&[64_240, 1000, 65_535]),
                    options: timestamps(stage),
                    ..a.next_segment(PSH | ACK)
                })
            })
            .collect();
        if stage.chance(30) {
            stage.shuffle(&mut segments);
        }
        if stage.chance(20) {
            segments.push(stage.pick(&segments));
        }
        for packet in segments {
            stage.send(a, packet).await;
        }
        let due = a.next_segment(ACK);
        let packet = match stage.below(100) {
            0..55 => {
                let mut options = Vec::new();
                if stage.chance(20) {
                    options = vec![1, 1, 5, 10];
                    options.extend(b.ack.get().to_be_bytes());
                    options.extend(b.ack.get().wrapping_add(100).to_be_bytes());
                }
                Some((b, Segment { options, window: stage.pick(&[64_240, 64_240, 0, 10]), ..b.next_segment(ACK) }))
            }
            // a keep-alive
            55..61 => Some((a, Segment { seq: a.next.get().wrapping_sub(1), ..due })),
            // far outside the window
            61..67 => Some((b, Segment { seq: b.next.get().wrapping_add(1 << 28), ..b.next_segment(ACK) })),
            67..72 => {
                Some((a, Segment { seq: start.wrapping_sub(100_000), data: b"old".to_vec(), flags: PSH | ACK, ..due }))
            }
            72..76 => Some((a, Segment { data: b"damaged".to_vec(), bad_sum: true, ..due })),
            // acknowledges what was never sent
            76..80 => Some((a, Segment { ack: a.ack.get().wrapping_add(1 << 27), ..due })),
            80..83 => Some((a, Segment { flags: ACK | URG, urgent: 3, data: b"urgent".to_vec(), ..due })),
            83..86 => Some((a, Segment { flags: SYN | ACK, ..due })),
            86..89 => Some((a, Segment { flags: ACK | 0xc0, data: b"congested".to_vec(), ..due })),
            89..92 if stage.deep => {
                stage.pause(2_200_000);
                None
            }
            _ => None,
        };
        match packet {
            Some((end, segment)) => stage.send(end, end.stray(segment)).await,
            None if b.heard.get() > 0 => stage.send(b, odd::error_about_last(stage, b)).await,
            None => {}
        }
    }
}

pub async fn close<'a>(stage: &Stage<'a>, client: &Rc<End<'a>>, server: &Rc<End<'a>>) {
    let (a, b) = if stage.chance(50) { (client, server) } else { (server, client) };
    match stage.below(100) {
        0..35 => {
            stage.send(a, a.tcp(FIN | ACK, b"")).await;
            stage.send(b, b.tcp(ACK, b"")).await;
            if stage.chance(30) {
                stage.send(b, b.tcp(PSH | ACK, b"half closed")).await;
                stage.send(a, a.tcp(ACK, b"")).await;
            }
            stage.send(b, b.tcp(FIN | ACK, b"")).await;
            stage.send(a, a.tcp(ACK, b"")).await;
        }
        35..60 => {
            stage.send(a, a.tcp(FIN | ACK, b"")).await;
            stage.send(b, b.tcp(FIN | ACK, b"")).await;
            stage.send(a, a.tcp(ACK, b"")).await;
        }
        60..70 => {
            let (first, second) = (a.tcp(FIN | ACK, b""), b.tcp(FIN | ACK, b""));
            stage.send(a, first).await;
            stage.send(b, second).await;
            stage.send(a, a.tcp(ACK, b"")).await;
            stage.send(b, b.tcp(ACK, b"")).await;
        }
        70..86 => {
            let off = stage.pick(&[0, 0, 0, 20, 0u32.wrapping_sub(20), 1 << 28]);
            let seq = a.next.get().wrapping_add(off);
            stage.send(a, a.stray(Segment { seq, ..a.next_segment(RST) })).await;
        }
        86..92 => stage.send(a, a.tcp(RST | ACK, b"")).await,
        _ => {}
    }
    if stage.chance(30) {
        let again = Segment { seq: a.next.get().wrapping_sub(1), ..a.next_segment(FIN | ACK) };
        stage.send(a, a.stray(again)).await;
    }
    if stage.chance(30) {
        // The same ports once more.
        let seq = client.next.get().wrapping_add(stage.pick(&[1, 100_000, 0u32.wrapping_sub(5)]));
        stage.send(client, client.stray(Segment { seq, options: mss(1460), ..client.next_segment(SYN) })).await;
        if stage.chance(50) {
            let answer =
                Segment { seq: 1, ack: seq.wrapping_add(1), options: mss(1460), ..server.next_segment(SYN | ACK) };
            stage.send(server, server.stray(answer)).await;
        }
    }
}

async fn midstream(stage: &Stage<'_>) {
    let client = stage.client(TCP, None);
    for n in 0..1 + stage.below(3) as u8 {
        let flags = stage.pick(&[ACK, PSH | ACK, FIN | ACK, SYN | ACK, RST, RST | ACK, 0, SYN | FIN]);
        stage.send(&client, client.tcp(flags, &[b'm', b'0' + n])).await;
    }
}

async fn udp(stage: &Stage<'_>) {
    let tag = stage.tag();
    let client = stage.client(UDP, None);
    let expected = stage.expect(client.world, UDP, &tag);
    let data = stage.pick(&[&b""[..], b"question", b"GET data", &[b'x'; 200]]);
    let sum = match stage.below(100) {
        0..4 => Sum::Wrong,
        4..9 => Sum::Absent,
        _ => Sum::Right,
    };
    stage.send(&client, client.udp(&[&tag, data].concat(), sum)).await;
    let server = expected.end();
    for _ in 0..stage.below(4) {
        match (&server, stage.below(100)) {
            (Some(server), 0..45) => {
                let data = stage.pick(&[&b"answer"[..], b"", &[b'd'; 200]]);
                stage.send(server, server.udp(data, Sum::Right)).await;
            }
            (Some(server), 45..60) => stage.send(server, odd::error_about_last(stage, server)).await,
            (_, 60..72) if client.heard.get() > 0 => {
                stage.send(&client, odd::error_about_last(stage, &client)).await;
            }
            (_, 72..76) if stage.deep => stage.pause(2_100_000),
            _ => {
                let absent = !client.world.v6 && stage.chance(10);
                let sum = if absent { Sum::Absent } else { Sum::Right };
                stage.send(&client, client.udp(&[&tag, &b"again"[..]].concat(), sum)).await;
            }
        }
    }
}

async fn ping(stage: &Stage<'_>) {
    let tag = stage.tag();
    let world = stage.world();
    let proto = if world.v6 { ICMP6 } else { ICMP };
    let client = stage.client_in(world, proto, None);
    let expected = stage.expect(world, proto, &tag);
    for n in 1..2 + stage.below(3) as u16 {
        client.head.borrow_mut().ttl = stage.pick(&[64, 64, 2, 1]);
        let data = [&tag[..], &vec![b'p'; stage.pick(&[4, 200, 200, 900, 1300])]].concat();
        stage.send(&client, client.echo(n, &data, false)).await;
        if let Some(server) = expected.end() {
            match stage.below(100) {
                0..75 => stage.send(&server, server.echo(n, &[&tag[..], b"pppp"].concat(), true)).await,
                75..88 => stage.send(&server, odd::error_about_last(stage, &server)).await,
                _ => {}
            }
        } else if client.heard.get() > 0 && stage.chance(40) {
            // The router itself answered: perhaps the next one meets a smaller path MTU.
            stage.send(&client, odd::error_about_last(stage, &client)).await;
        }
    }
}

/// Fragments and packets that are too long for the way out, in both directions.
async fn big(stage: &Stage<'_>) {
    let tag = stage.tag();
    let client = stage.client(UDP, None);
    client.head.borrow_mut().df = stage.chance(30);
    let expected = stage.expect(client.world, UDP, &tag);
    let data = [&tag[..], &vec![b'F'; stage.pick(&[700, 1300, 1440, 2500])]].concat();
    for piece in pieces(stage, client.udp(&data, Sum::Right)) {
        stage.send(&client, piece).await;
    }
    if let Some(server) = expected.end().filter(|_| stage.chance(80)) {
        server.head.borrow_mut().df = stage.chance(30);
        for piece in pieces(stage, server.udp(&vec![b'R'; stage.pick(&[600, 1400, 2000])], Sum::Right)) {
            stage.send(&server, piece).await;
        }
        if stage.chance(30) {
            stage.send(&server, odd::error_about_last(stage, &server)).await;
        }
    }
    if stage.chance(30) {
        stage.send(&client, client.udp(&[&tag[..], b"small"].concat(), Sum::Right)).await;
    }
}

/// A packet in fragments: in order or not, one twice, one lost, two that overlap; or whole if it is short enough.
fn pieces(stage: &Stage<'_>, packet: Vec<u8>) -> Vec<Vec<u8>> {
    if packet.len() <= 1450 && stage.chance(30) {
        return vec![packet];
    }
    let id = stage.number();
    let mut out = build::fragments(&packet, stage.pick(&[256, 400, 552, 1232]), id);
    match stage.below(100) {
        0..25 => stage.shuffle(&mut out),
        25..32 => out.push(out[0].clone()),
        32..37 => drop(out.remove(stage.below(out.len()))),
        37..42 => {
            let others = build::fragments(&packet, stage.pick(&[248, 264, 560]), id);
            let n = stage.below(out.len());
            out.insert(n, others[n.min(others.len() - 1)].clone());
        }
        _ => {}
    }
    out
}

/// Several clients with one source port, one server.
async fn collide(stage: &Stage<'_>) {
    let world = stage.world();
    let (from, to) = (stage.pick(&[500, 1023, 20_000, 40_000]), stage.pick(&world.ports));
    let proto = stage.pick(&[TCP, UDP]);
    let outside: Vec<IpAddr> =
        world.far.iter().filter(|p| p.iface == "eth0").map(|p| p.addr).chain([world.primary("eth0")]).collect();
    let dst = stage.pick(&outside);
    let mut clients = world.near_on("eth1");
    stage.shuffle(&mut clients);
    let wanted = 2 + stage.below(3);
    for person in clients.into_iter().take(wanted) {
        let client = stage.end(world, &person.iface, person.mac, (person.addr, from), (dst, to), proto);
        let tag = stage.tag();
        if proto == UDP {
            let expected = stage.expect(world, proto, &tag);
            stage.send(&client, client.udp(&tag, Sum::Right)).await;
            if let Some(server) = expected.end().filter(|_| stage.chance(50)) {
                stage.send(&server, server.udp(b"answer", Sum::Right)).await;
            }
        } else {
            let syn = Segment { options: mss(1460), ..client.next_segment(SYN) };
            let expected = stage.expect(world, proto, &syn.seq.to_be_bytes());
            stage.send(&client, client.segment(syn)).await;
            if let Some(server) = expected.end().filter(|_| stage.chance(50)) {
                let answer = Segment { options: mss(1460), ..server.next_segment(SYN | ACK) };
                stage.send(&server, server.segment(answer)).await;
            }
        }
    }
}

async fn sctp(stage: &Stage<'_>) {
    let client = stage.client(SCTP, None);
    let (mine, yours) = (stage.number() | 1, stage.number() | 1);
    let init = |tag: u32| [&tag.to_be_bytes()[..], &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 5]].concat();
    let expected = stage.expect(client.world, SCTP, &mine.to_be_bytes());
    let say = |end: &End<'_>, tag, chunks: &[(u8, u8, Vec<u8>)], bad| {
        build::sctp(end.me, end.you, tag, chunks, bad, &end.head.borrow())
    };
    let tag = if stage.chance(92) { 0 } else { 5 };
    stage.send(&client, say(&client, tag, &[(1, 0, init(mine))], stage.chance(5))).await;
    let Some(server) = expected.end() else { return };
    stage.send(&server, say(&server, mine, &[(2, 0, init(yours))], false)).await;
    if stage.chance(15) {
        return stage.send(&server, say(&server, mine, &[(6, 0, vec![])], false)).await;
    }
    stage.send(&client, say(&client, yours, &[(10, 0, vec![7; 8])], false)).await;
    stage.send(&server, say(&server, mine, &[(11, 0, vec![])], false)).await;
    let data = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], b"data"].concat();
    stage.send(&client, say(&client, yours, &[(0, 3, data.clone())], stage.chance(15))).await;
    let tag = if stage.chance(85) { mine } else { 99 };
    stage.send(&server, say(&server, tag, &[(3, 0, vec![0; 12]), (0, 3, data)], false)).await;
    match stage.below(4) {
        0 => {
            stage.send(&client, say(&client, yours, &[(7, 0, vec![0; 4])], false)).await;
            stage.send(&server, say(&server, mine, &[(8, 0, vec![])], false)).await;
            stage.send(&client, say(&client, yours, &[(14, 0, vec![])], false)).await;
        }
        1 => stage.send(&client, say(&client, yours, &[(6, 0, vec![])], false)).await,
        2 => stage.send(&server, say(&server, mine, &[(4, 0, vec![0, 1, 0, 8, 1, 2, 3, 4])], false)).await,
        _ => {}
    }
}

async fn dccp(stage: &Stage<'_>) {
    let client = stage.client(DCCP, None);
    let (mine, yours) = (u64::from(stage.number()), u64::from(stage.number()));
    let expected = stage.expect(client.world, DCCP, &(mine as u32).to_be_bytes());
    let say = |end: &End<'_>, kind, seq, ack| build::dccp(end.me, end.you, kind, seq, ack, &end.head.borrow());
    stage.send(&client, say(&client, 0, mine, None)).await;
    let Some(server) = expected.end() else { return };
    stage.send(&server, say(&server, 1, yours, Some(mine))).await;
    stage.send(&client, say(&client, 3, mine + 1, Some(yours))).await;
    stage.send(&server, say(&server, 4, yours + 1, Some(mine + 1))).await;
    if stage.chance(60) {
        stage.send(&client, say(&client, 6, mine + 2, Some(yours + 1))).await;
        stage.send(&server, say(&server, 7, yours + 2, Some(mine + 2))).await;
    }
}

async fn udplite(stage: &Stage<'_>) {
    let tag = stage.tag();
    let client = stage.client(UDPLITE, None);
    let expected = stage.expect(client.world, UDPLITE, &tag);
    let say = |end: &End<'_>, data: &[u8]| build::udplite(end.me, end.you, data, &end.head.borrow());
    stage.send(&client, say(&client, &tag)).await;
    if let Some(server) = expected.end() {
        stage.send(&server, say(&server, b"answer")).await;
        stage.send(&client, say(&client, b"again")).await;
    }
}

async fn gre(stage: &Stage<'_>) {
    let tag = stage.tag();
    let client = stage.client(GRE, Some(0));
    let (me, you) = ((client.me.0, 0), (client.you.0, 0));
    let client = stage.end(client.world, &client.iface, client.mac, me, you, GRE);
    let expected = stage.expect(client.world, GRE, &tag);
    let say = |end: &End<'_>, data: &[u8]| build::gre(end.me.0, end.you.0, data, &end.head.borrow());
    stage.send(&client, say(&client, &tag)).await;
    if let Some(server) = expected.end() {
        stage.send(&server, say(&server, b"answer")).await;
    }
}

/// AH (RFC 4302) or ESP (RFC 4303) with one of a few SPIs.
async fn ipsec(stage: &Stage<'_>, proto: u8) {
    let tag = stage.tag();
    let client = stage.client(proto, Some(0));
    let (me, you) = ((client.me.0, 0), (client.you.0, 0));
    let client = stage.end(client.world, &client.iface, client.mac, me, you, proto);
    let expected = stage.expect(client.world, proto, &tag);
    let spi: u32 = stage.pick(&[256, 5, 48_879]);
    let say = |end: &End<'_>, data: &[u8]| {
        let head: &[u8] = if proto == AH { &[59, 4, 0, 0] } else { &[] };
        let mut body = [head, &spi.to_be_bytes(), &[0, 0, 0, 7], data].concat();
        body.resize(body.len().max(24), 0);
        build::ip(end.me.0, end.you.0, proto, &body, &end.head.borrow())
    };
    stage.send(&client, say(&client, &tag)).await;
    if let Some(server) = expected.end() {
        stage.send(&server, say(&server, b"answer")).await;
    }
}

fn syn_options(stage: &Stage<'_>) -> Vec<u8> {
    match stage.below(6) {
        0 => vec![],
        1 => mss(1460),
        2 => [&mss(1460)[..], &[4, 2, 1, 3, 3, 7]].concat(),
        3 => [&mss(1220)[..], &[1, 3, 3, 14, 4, 2]].concat(),
        4 => [&mss(1460)[..], &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 2]].concat(),
        _ => [&mss(536)[..], &[3, 3, 15]].concat(),
    }
}

fn timestamps(stage: &Stage<'_>) -> Vec<u8> {
    if stage.chance(15) { vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 5] } else { vec![] }
}
