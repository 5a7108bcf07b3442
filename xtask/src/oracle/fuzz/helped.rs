//! Conversations that announce others: FTP, TFTP, IRC.

use std::net::IpAddr;
use std::rc::Rc;

use super::build::{ACK, PSH, Segment, Sum};
use super::stage::{End, Endpoint, Stage};
use super::talks::{close, exchange, handshake};
use crate::oracle::frame::{TCP, UDP};

/// A control session of FTP; the data connections go where the other end was told to.
pub async fn ftp(stage: &Stage<'_>) {
    let client = stage.client(TCP, Some(21));
    let Some(server) = handshake(stage, &client, false).await else { return };
    if client.heard.get() == 0 {
        return;
    }
    let lines: [(&End<'_>, &[u8]); 5] = [
        (&server, b"220 ready\r\n"),
        (&client, b"USER anonymous\r\n"),
        (&server, b"331 password\r\n"),
        (&client, b"PASS x\r\n"),
        (&server, b"230 welcome\r\n"),
    ];
    let skip = if stage.chance(20) { stage.below(4) } else { 0 };
    for (end, line) in lines.into_iter().skip(skip) {
        stage.send(end, end.tcp(PSH | ACK, line)).await;
    }
    for _ in 0..1 + stage.below(if stage.deep { 4 } else { 2 }) {
        transfer(stage, &client, &server).await;
    }
    if stage.chance(50) {
        stage.send(&client, client.tcp(PSH | ACK, b"QUIT\r\n")).await;
        stage.send(&server, server.tcp(ACK, b"")).await;
        close(stage, &client, &server).await;
    }
}

/// One announcement, and the data connection that follows it.
async fn transfer<'a>(stage: &Stage<'a>, client: &Rc<End<'a>>, server: &Rc<End<'a>>) {
    let v6 = client.world.v6;
    let is_extended = v6 || stage.chance(30);
    let is_active = stage.chance(50);
    let (teller, asker) = if is_active { (client, server) } else { (server, client) };
    let place = (teller.me.0, if is_active { stage.port() } else { stage.pick(&[30_000, 50_001]) });
    if !is_active {
        let ask: &[u8] = if is_extended { b"EPSV\r\n" } else { b"PASV\r\n" };
        stage.send(client, client.tcp(PSH | ACK, ask)).await;
    }
    let line = announcement(stage, is_active, is_extended, place);
    let before = asker.heard.get();
    tell(stage, teller, asker, line.as_bytes()).await;
    if asker.heard.get() == before {
        return;
    }
    let told = told(&asker.payload(), asker.you.0);
    let due = asker.next_segment(ACK);
    stage.send(asker, asker.stray(Segment { options: sacks(stage, asker), ..due })).await;
    let Some(target) = told.filter(|t| t.0.is_ipv6() == v6) else { return };
    let from = if is_active { 20 } else { stage.port() };
    let data = stage.end(asker.world, &asker.iface, asker.mac, (asker.me.0, from), target, TCP);
    if let Some(other) = handshake(stage, &data, false).await {
        exchange(stage, &data, &other).await;
        close(stage, &data, &other).await;
    }
    if stage.chance(60) {
        stage.send(server, server.tcp(PSH | ACK, b"226 done\r\n")).await;
        stage.send(client, client.tcp(ACK, b"")).await;
    }
}

/// The line that names a place, written well or nearly so.
fn announcement(stage: &Stage<'_>, is_active: bool, is_extended: bool, place: Endpoint) -> String {
    let family = if place.0.is_ipv6() { 2 } else { 1 };
    let numbers = commas(place);
    let (line, odd) = match (is_active, is_extended) {
        (true, true) => {
            let bar = stage.pick(&['|', '|', '!']);
            let line = format!("EPRT {bar}{family}{bar}{}{bar}{}{bar}", place.0, place.1);
            (line, format!("eprt |{family}|{}|{}|", place.0, place.1))
        }
        (true, false) => (format!("PORT {numbers}"), format!("TYPE I\r\nport {numbers}")),
        (false, true) => {
            let line = format!("229 Entering Extended Passive Mode (|||{}|)", place.1);
            (line, format!("229 here (|{family}|{}|{}|)", place.0, place.1))
        }
        (false, false) => {
            (format!("227 Entering Passive Mode ({numbers})."), format!("227 Entering Passive Mode {numbers}"))
        }
    };
    let line = if stage.chance(15) { odd } else { line };
    line + stage.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r\n200 ok\r\n"])
}

/// Says a line at once or in two segments, perhaps a part of it again, before or after the answer.
async fn tell<'a>(stage: &Stage<'a>, teller: &Rc<End<'a>>, asker: &Rc<End<'a>>, line: &[u8]) {
    let start = teller.next_segment(PSH | ACK);
    if stage.chance(15) {
        let (one, two) = line.split_at(stage.below(line.len()));
        stage.send(teller, teller.tcp(PSH | ACK, one)).await;
        stage.send(teller, teller.tcp(PSH | ACK, two)).await;
    } else {
        stage.send(teller, teller.tcp(PSH | ACK, line)).await;
    }
    let heard = asker.payload();
    if stage.chance(20) {
        if stage.chance(50) {
            stage.send(asker, asker.tcp(ACK, b"")).await;
        }
        let again = if stage.chance(70) { line } else { &line[..stage.below(line.len())] };
        stage.send(teller, teller.stray(Segment { data: again.to_vec(), ..start })).await;
        // What was told first counts.
        if asker.payload().is_empty() && !heard.is_empty() {
            stage.send(asker, asker.tcp(ACK, b"")).await;
        }
    }
}

/// Now and then what came beyond a gap is acknowledged by itself.
fn sacks(stage: &Stage<'_>, end: &End<'_>) -> Vec<u8> {
    if !stage.chance(20) {
        return Vec::new();
    }
    let at = |more: u32| end.ack.get().wrapping_add(more).to_be_bytes();
    [&[1, 1, 5, 18][..], &at(10), &at(30), &at(40), &at(41)].concat()
}

fn commas((address, port): Endpoint) -> String {
    format!("{},{},{}", address.to_string().replace('.', ","), port >> 8, port & 255)
}

/// The address and port that a line of FTP names.
fn told(payload: &[u8], default: IpAddr) -> Option<Endpoint> {
    let text = String::from_utf8_lossy(payload);
    if let Some((_, rest)) = text.split_once('|') {
        let fields: Vec<&str> = rest.split('|').collect();
        let address = fields.get(1).filter(|a| !a.is_empty()).map_or(Some(default), |a| a.parse().ok())?;
        return Some((address, fields.get(2)?.parse().ok()?));
    }
    let numbers: Vec<u8> = text
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .find(|part| part.split(',').count() == 6)?
        .split(',')
        .map_while(|n| n.parse().ok())
        .collect();
    let &[a, b, c, d, high, low] = &numbers[..] else { return None };
    Some(([a, b, c, d].into(), u16::from_be_bytes([high, low])))
}

/// A request to port 69; the answer comes from another port.
pub async fn tftp(stage: &Stage<'_>) {
    let tag = stage.tag();
    let client = stage.client(UDP, Some(69));
    let expected = stage.expect(client.world, UDP, &tag);
    let opcode = stage.pick(&[1, 1, 2, 5]);
    stage.send(&client, client.udp(&[&[0, opcode], &tag[..], b"\0octet\0"].concat(), Sum::Right)).await;
    let Some(server) = expected.end() else { return };
    let tag = stage.tag();
    let back = stage.expect(client.world, UDP, &tag);
    let data = stage.end(server.world, &server.iface, server.mac, (server.me.0, 3333), server.you, UDP);
    for block in 1..2 + stage.below(3) as u8 {
        stage.send(&data, data.udp(&[&[0, 3, 0, block], &tag[..]].concat(), Sum::Right)).await;
        if let Some(reader) = back.end() {
            stage.send(&reader, reader.udp(&[0, 4, 0, block], Sum::Right)).await;
        }
    }
}

/// A client of IRC that tells another one, through the server, where it waits.
pub async fn irc(stage: &Stage<'_>) {
    let client = stage.client(TCP, Some(6667));
    let Some(server) = handshake(stage, &client, false).await else { return };
    let IpAddr::V4(own) = client.me.0 else { return };
    for _ in 0..1 + stage.below(2) {
        let (address, port) = (u32::from(own), stage.port());
        let address = if stage.chance(10) { address + 1 } else { address };
        let line = match stage.below(6) {
            0 => format!("PRIVMSG bob :\u{1}DCC CHAT chat {address} {port}\u{1}\r\n"),
            1 => format!("PRIVMSG bob :\u{1}DCC RESUME a.txt {port} 100\u{1}\r\n"),
            2 => format!("  privmsg bob :\u{1}DCC MOVE a.txt {address} {port} 77\u{1}\r\n"),
            _ => format!("PRIVMSG bob :\u{1}DCC SEND file.txt {address} {port} 1234\u{1}\r\n"),
        };
        let before = server.heard.get();
        tell(stage, &client, &server, line.as_bytes()).await;
        if server.heard.get() == before {
            return;
        }
        let told = dcc_told(&server.payload());
        stage.send(&server, server.tcp(ACK, b"")).await;
        let Some(target) = told else { continue };
        let other = stage.end(server.world, &server.iface, server.mac, (server.me.0, stage.port()), target, TCP);
        if let Some(end) = handshake(stage, &other, false).await {
            exchange(stage, &other, &end).await;
            close(stage, &other, &end).await;
        }
    }
}

/// The address and port that a line of DCC names.
fn dcc_told(payload: &[u8]) -> Option<Endpoint> {
    let text = String::from_utf8_lossy(payload);
    let mut words = text.split_once("DCC ")?.1.split([' ', '\u{1}']).skip(2);
    let address: u32 = words.next()?.parse().ok()?;
    Some((IpAddr::V4(address.into()), words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_ftp_lines_name() {
        let here: IpAddr = "10.0.0.9".parse().unwrap();
        let said = |line: &[u8]| told(line, here).map(|(a, p)| format!("{a} {p}"));
        assert_eq!(said(b"PORT 192,168,1,10,78,32\r\n").unwrap(), "192.168.1.10 20000");
        assert_eq!(said(b"227 Entering Passive Mode (1,2,3,4,0,21).\r\n").unwrap(), "1.2.3.4 21");
        assert_eq!(said(b"EPRT |1|10.0.0.1|5000|\r\n").unwrap(), "10.0.0.1 5000");
        assert_eq!(said(b"229 Entering Extended Passive Mode (|||6446|)\r\n").unwrap(), "10.0.0.9 6446");
        assert_eq!(said(b"200 ok\r\n"), None);
        assert_eq!(said(b"PORT 1,2,3,4,5,999\r\n"), None);
    }

    #[test]
    fn what_lines_of_dcc_name() {
        let said = |line: &[u8]| dcc_told(line).map(|(a, p)| format!("{a} {p}"));
        assert_eq!(said(b"PRIVMSG bob :\x01DCC SEND f 3232235786 5000 12\x01\r\n").unwrap(), "192.168.1.10 5000");
        assert_eq!(said(b"PRIVMSG bob :hello\r\n"), None);
    }
}
