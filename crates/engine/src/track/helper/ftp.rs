//! FTP (RFC 959, RFC 1123 section 4.1.2.6, RFC 2428): client or server announces where it waits for the data connection.
//!
//! Only what begins a line is read, and only when the line before it was seen to end: then whoever can write into the middle of a
//! line announces nothing. A command that is cut short by the end of its packet is dropped, for half of it cannot be translated.

use super::{Help, Helper};
use crate::fate::DropReason;
use crate::track::{Class, Direction};
use hairpin_wire::tcp::Tcp;
use hairpin_wire::{Addr, Family, proto};
use std::fmt::Write;
use std::net::Ipv6Addr;

pub(super) const HELPER: Helper =
    Helper { name: "ftp", protocols: &[proto::TCP], ipv4_only: false, max_expected: 1, timeout: 300, read: Some(help) };

fn help(this: &mut Help<'_, '_>) -> Result<(), DropReason> {
    // Nothing is announced before there was an answer.
    let Class::Established(dir) = this.class else { return Ok(()) };
    let Some(tcp) = Tcp::new(this.packet.l4()) else { return Ok(()) };
    let (seq, data) = (tcp.seq(), tcp.payload());
    let Some(last) = data.last() else { return Ok(()) };
    let line_end = (*last == b'\n').then(|| seq.wrapping_add(data.len() as u32));
    let said = if begins_line(this, dir, seq) { announcement(this, dir, data)? } else { None };
    let expected = match said {
        Some(said) => announce(this, dir, &said),
        None => Ok(()),
    };
    if let Some(line_end) = line_end {
        remember(this, dir, line_end);
    }
    expected
}

/// Whether a line ended just before this sequence number.
fn begins_line(this: &Help<'_, '_>, dir: Direction, seq: u32) -> bool {
    let ends = this.conn().ok().and_then(|conn| conn.extra()).map(|extra| extra.line_ends[dir.index()]);
    ends.is_some_and(|ends| ends.contains(&Some(seq)))
}

/// Remembers where a line ended: two places per direction, the older one gives way to what lies behind it.
fn remember(this: &mut Help<'_, '_>, dir: Direction, end: u32) {
    let Some(conn) = this.tracker.conns.get_mut(this.id) else { return };
    let ends = &mut conn.extra_mut().line_ends[dir.index()];
    let is_before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
    match *ends {
        [a, b] if a == Some(end) || b == Some(end) => {}
        [None, _] => ends[0] = Some(end),
        [_, None] => ends[1] = Some(end),
        [Some(a), Some(b)] => {
            let (oldest, place) = if is_before(a, b) { (a, 0) } else { (b, 1) };
            if is_before(oldest, end) {
                ends[place] = Some(end);
            }
        }
    }
}

/// An address and port that a line names, and where it names them.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    form: Form,
    /// Offset of the text that NAT replaces, from the start of the payload.
    at: usize,
    /// Its length in bytes.
    length: usize,
    addr: Addr,
    port: u16,
}

/// How a line names address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Six numbers with commas: PORT and 227.
    Numbers,
    /// `|1|address|port|`: EPRT.
    Extended,
    /// `|||port|`: 229.
    PortOnly,
}

/// A line that announces something.
struct Line {
    /// How it begins, in any case.
    begins: &'static [u8],
    /// The text that is looked at begins behind the first such byte.
    behind: Option<u8>,
    form: Form,
    /// The numbers must end with this byte; None for any that is no digit.
    ends: Option<u8>,
}

/// Lines that clients send, and lines that servers send.
static LINES: [[Line; 2]; 2] = [
    [
        Line { begins: b"PORT", behind: Some(b' '), form: Form::Numbers, ends: Some(b'\r') },
        Line { begins: b"EPRT", behind: Some(b' '), form: Form::Extended, ends: None },
    ],
    [
        Line { begins: b"227 ", behind: None, form: Form::Numbers, ends: None },
        Line { begins: b"229 ", behind: Some(b'('), form: Form::PortOnly, ends: None },
    ],
];

/// What the payload announces, if anything; an error when it is only the beginning of it.
fn announcement(this: &Help<'_, '_>, dir: Direction, data: &[u8]) -> Result<Option<Said>, DropReason> {
    let own = this.conn()?.tuple(dir);
    for line in &LINES[dir.index()] {
        match line.read(data, own.family, own.src) {
            Reading::Nothing => {}
            Reading::Partial => return Err(DropReason::Helper),
            Reading::Said(said) => return Ok(Some(said)),
        }
    }
    Ok(None)
}

/// What a payload is to a [`Line`].
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Nothing,
    Partial,
    Said(Said),
}

impl Line {
    /// Reads a payload of which `own` is the sender's address.
    fn read(&self, data: &[u8], family: Family, own: Addr) -> Reading {
        let common = data.len().min(self.begins.len());
        if !data[..common].eq_ignore_ascii_case(&self.begins[..common]) {
            return Reading::Nothing;
        }
        if data.len() <= self.begins.len() {
            return Reading::Partial;
        }
        let start = match self.start(data) {
            Some(start) => start,
            None => return Reading::Partial,
        };
        let text = data.get(start..).unwrap_or_default();
        let found = match self.form {
            Form::Numbers => six_numbers(text, self.ends, family, own),
            Form::Extended => extended(text, family),
            Form::PortOnly => port_only(text).map(|(length, port)| (length, own, port)),
        };
        match found {
            Some((length, addr, port)) => Reading::Said(Said { form: self.form, at: start, length, addr, port }),
            None => Reading::Partial,
        }
    }

    /// Where the text begins: behind the byte to be skipped to, which must not be the last one; for 227 at the first digit.
    fn start(&self, data: &[u8]) -> Option<usize> {
        let begins = self.begins.len();
        let rest = data.get(begins..)?;
        match self.behind {
            Some(byte) => Some(begins + rest.iter().position(|b| *b == byte)? + 1),
            None => Some(begins + rest.iter().position(u8::is_ascii_digit)?),
        }
    }
}

/// Reads `N` numbers with `separator` between them. They must be followed by `end` (None: by anything) in the same packet; the length of
/// the text. Numbers are not limited: they wrap.
fn numbers<const N: usize>(text: &[u8], separator: u8, end: Option<u8>) -> Option<([u32; N], usize)> {
    let mut numbers = [0u32; N];
    let mut current = 0;
    for (at, byte) in text.iter().enumerate() {
        match *byte {
            digit @ b'0'..=b'9' => {
                let number = numbers.get_mut(current)?;
                *number = number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'));
            }
            byte if byte == separator => current += 1,
            byte if current + 1 == N && end.is_none_or(|end| end == byte) => return Some((numbers, at)),
            _ => return None,
        }
        if current >= N {
            return None;
        }
    }
    None
}

/// `192,0,2,1,200,10`: bytes of the address, bytes of the port. Parts above 255 run into each other.
fn six_numbers(text: &[u8], end: Option<u8>, family: Family, own: Addr) -> Option<(usize, Addr, u16)> {
    let ([a, b, c, d, high, low], length) = numbers::<6>(text, b',', end)?;
    let v4 = a << 24 | b << 16 | c << 8 | d;
    let addr = match family {
        Family::V4 => Addr::v4(v4),
        // The four bytes are laid over the beginning of the sender's own address, so this is another one.
        Family::V6 => Addr(own.0 & (u128::MAX >> 32) | u128::from(v4) << 96),
    };
    Some((length, addr, (high << 8 | low) as u16))
}

/// `|1|192.0.2.1|200|` or `|2|2001:db8::1|200|`, of the connection's own family.
fn extended(text: &[u8], family: Family) -> Option<(usize, Addr, u16)> {
    let delimiter = delimiter(text)?;
    let (kind, third) = (text[1], text[2]);
    let own_kind = match family {
        Family::V4 => b'1',
        Family::V6 => b'2',
    };
    if third != delimiter || kind != own_kind {
        return None;
    }
    let rest = text.get(3..)?;
    let (addr, length) = match family {
        Family::V4 => {
            let ([a, b, c, d], length) = numbers::<4>(rest, b'.', Some(delimiter))?;
            (Addr::v4(a << 24 | b << 16 | c << 8 | d), length)
        }
        Family::V6 => {
            let length = rest.iter().position(|byte| *byte == delimiter)?;
            let addr = std::str::from_utf8(&rest[..length]).ok()?.parse::<Ipv6Addr>().ok()?;
            (Addr::from_v6(addr), length)
        }
    };
    let (end, port) = port(text, 3 + length + 1, delimiter)?;
    (length != 0).then_some((end, addr, port))
}

/// `|||200|`.
fn port_only(text: &[u8]) -> Option<(usize, u16)> {
    let delimiter = delimiter(text)?;
    if text[1] != delimiter || text[2] != delimiter {
        return None;
    }
    port(text, 3, delimiter)
}

/// The first byte of a text of more than three, which may be any printable one but a digit.
fn delimiter(text: &[u8]) -> Option<u8> {
    let first = *text.first().filter(|_| text.len() > 3)?;
    (matches!(first, 33..=126) && !first.is_ascii_digit()).then_some(first)
}

/// The port that begins at `start`, and where its delimiter ends. Port 0 is none; larger numbers wrap.
fn port(text: &[u8], start: usize, delimiter: u8) -> Option<(usize, u16)> {
    let mut port = 0u16;
    for (at, byte) in text.iter().enumerate().skip(start) {
        match *byte {
            byte if byte == delimiter => return (port != 0).then_some((at + 1, port)),
            digit @ b'0'..=b'9' => port = port.wrapping_mul(10).wrapping_add(u16::from(digit - b'0')),
            _ => return None,
        }
    }
    None
}

/// Expects what was announced. An address other than the sender's own announces nothing: it could open a way to a third party.
fn announce(this: &mut Help<'_, '_>, dir: Direction, said: &Said) -> Result<(), DropReason> {
    if said.addr != this.tuple(dir)?.src {
        return Ok(());
    }
    let back = this.tuple(dir.other())?;
    let expectation = this.expectation(proto::TCP, back.src, back.dst, said.port)?;
    if !this.is_translated() {
        return this.expect(expectation).map(|_| ()).map_err(|_| DropReason::Helper);
    }
    let (id, port) = this.expect_translated(expectation, dir.other()).ok_or(DropReason::Helper)?;
    let text = said.form.text(back.family, back.dst, port);
    if this.mangle_tcp(said.at, said.length, text.as_bytes()) {
        return Ok(());
    }
    this.unexpect(id);
    Err(DropReason::Helper)
}

impl Form {
    /// Address and port in this form.
    fn text(self, family: Family, addr: Addr, port: u16) -> String {
        match (self, family) {
            (Form::Numbers, _) => {
                let [a, b, c, d] = addr.as_u32().to_be_bytes();
                format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
            }
            (Form::Extended, Family::V4) => format!("|1|{}|{port}|", addr.display(family)),
            (Form::Extended, Family::V6) => format!("|2|{}|{port}|", in_full(addr)),
            (Form::PortOnly, _) => format!("|||{port}|"),
        }
    }
}

/// An IPv6 address with all its zeros.
fn in_full(addr: Addr) -> String {
    (0..8).rev().fold(String::new(), |mut text, group| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:04x}{}", addr.0 >> (16 * group) & 0xffff, if group == 0 { "" } else { ":" });
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::Status;
    use crate::track::helper::testing::Speech;
    use proptest::prelude::*;

    const CLIENT: (&str, u16) = ("192.168.1.10", 40000);
    const SERVER: (&str, u16) = ("198.51.100.5", 21);
    const OUTSIDE: (&str, u16) = ("203.0.113.1", 40000);

    #[test]
    fn a_client_waits() {
        let mut plain = plain();
        assert_eq!(
            after_line(&mut plain, "PORT 192,168,1,10,200,10\r\n").as_deref(),
            Ok("PORT 192,168,1,10,200,10\r\n")
        );
        assert_eq!(plain.expected(), ["198.51.100.5 > 192.168.1.10 51210"]);
        let mut plain = self::plain();
        after_line(&mut plain, "eprt |1|192.168.1.10|6446|\r\n").unwrap();
        assert_eq!(plain.expected(), ["198.51.100.5 > 192.168.1.10 6446"]);
    }

    #[test]
    fn a_translated_client_waits() {
        let mut masked = masked();
        let said = after_line(&mut masked, "PORT 192,168,1,10,200,10\r\n");
        assert_eq!(said.as_deref(), Ok("PORT 203,0,113,1,200,10\r\n"));
        assert_eq!(masked.expected(), ["198.51.100.5 > 203.0.113.1 51210, reply to port 51210"]);
        let adjust = masked.conn().extra().unwrap().seq_adjust;
        assert!(masked.conn().status.has(Status::SEQ_ADJUST));
        assert_eq!((adjust[0].position, adjust[0].before, adjust[0].after), (1010, 0, -1));
        assert_eq!(adjust[1], Default::default());
        let mut masked = self::masked();
        let said = after_line(&mut masked, "EPRT !1!192.168.1.10!6446!\r\n");
        assert_eq!(said.as_deref(), Ok("EPRT |1|203.0.113.1|6446|\r\n"));
    }

    #[test]
    fn a_server_waits() {
        let mut plain = plain();
        answer_after_line(&mut plain, "227 Entering Passive Mode (198,51,100,5,200,10).\r\n").unwrap();
        assert_eq!(plain.expected(), ["192.168.1.10 > 198.51.100.5 51210"]);
        let mut plain = self::plain();
        answer_after_line(&mut plain, "227 =198,51,100,5,200,10\r\n").unwrap();
        assert_eq!(plain.expected(), ["192.168.1.10 > 198.51.100.5 51210"]);
        let mut plain = self::plain();
        answer_after_line(&mut plain, "229 Entering Extended Passive Mode (|||6446|)\r\n").unwrap();
        assert_eq!(plain.expected(), ["192.168.1.10 > 198.51.100.5 6446"]);
    }

    #[test]
    fn a_translated_server_waits() {
        let inside = ("10.0.0.2", 21);
        let mut forwarded = Speech::new("ftp", [CLIENT, CLIENT, SERVER, inside]);
        let said = answer_after_line(&mut forwarded, "227 Passive (10,0,0,2,200,10).\r\n");
        assert_eq!(said.as_deref(), Ok("227 Passive (198,51,100,5,200,10).\r\n"));
        assert_eq!(forwarded.expected(), ["192.168.1.10 > 198.51.100.5 51210, original to port 51210"]);
        let mut forwarded = Speech::new("ftp", [CLIENT, CLIENT, SERVER, inside]);
        let said = answer_after_line(&mut forwarded, "229 Passive (!!!6446!)\r\n");
        assert_eq!(said.as_deref(), Ok("229 Passive (|||6446|)\r\n"));
        assert!(!forwarded.conn().status.has(Status::SEQ_ADJUST));
    }

    #[test]
    fn a_port_that_is_taken_becomes_another() {
        let mut masked = masked();
        masked.take(("203.0.113.1", 51210));
        let said = after_line(&mut masked, "PORT 192,168,1,10,200,10\r\n").unwrap();
        assert!(said.starts_with("PORT 203,0,113,1,") && said != "PORT 203,0,113,1,200,10\r\n", "{said}");
        let expected = masked.expected();
        assert!(expected[1].ends_with(", reply to port 51210"), "{expected:?}");
        let mut plain = plain();
        plain.take(("192.168.1.10", 51210));
        assert_eq!(after_line(&mut plain, "PORT 192,168,1,10,200,10\r\n"), Err(DropReason::Helper));
    }

    #[test]
    fn the_last_port_has_no_other() {
        let mut masked = masked();
        masked.take(("203.0.113.1", 65535));
        assert_eq!(after_line(&mut masked, "PORT 192,168,1,10,255,255\r\n"), Err(DropReason::Helper));
    }

    #[test]
    fn only_lines_behind_lines_are_read() {
        let mut masked = masked();
        let line = "PORT 192,168,1,10,200,10\r\n";
        // The first line of all, and one that begins in the middle.
        assert_eq!(masked.client(1001, line).as_deref(), Ok(line));
        assert_eq!(masked.client(1030, line).as_deref(), Ok(line));
        assert_eq!(masked.expected(), [""; 0]);
        // Behind the end of the second.
        assert_eq!(masked.client(1056, line).as_deref(), Ok("PORT 203,0,113,1,200,10\r\n"));
        // Sent again while its beginning is remembered.
        assert_eq!(masked.client(1056, line).as_deref(), Ok("PORT 203,0,113,1,200,10\r\n"));
        assert_eq!(masked.expected().len(), 1);
    }

    #[test]
    fn two_line_ends_are_remembered() {
        let mut plain = plain();
        for (seq, text) in [(100, "a\n"), (200, "b\n"), (300, "c\n"), (50, "d\n")] {
            plain.client(seq, text).unwrap();
        }
        let extra = plain.conn().extra().unwrap();
        assert_eq!(extra.line_ends, [[Some(302), Some(202)], [None, None]]);
    }

    #[test]
    fn half_a_command_is_dropped() {
        for text in
            ["P", "port", "PORT ", "PORT 192,168,1,10,200", "PORT 192,168,1,10,200,10", "PORT x\r\n", "E", "EPRT |1|"]
        {
            assert_eq!(after_line(&mut plain(), text), Err(DropReason::Helper), "{text}");
        }
        // Another family, port 0, a port without end.
        for text in ["EPRT |2|::1|5|\r\n", "EPRT |1|1.2.3.4|0|\r\n", "EPRT |1|1.2.3.4|5\r\n", "EPRT 111.2.3.4151\r\n"] {
            assert_eq!(after_line(&mut plain(), text), Err(DropReason::Helper), "{text}");
        }
        for text in ["2", "227", "227 nothing here\r\n", "227 1,2,3,4,5", "229 (", "229 (|||)\r\n", "229 no\r\n"] {
            assert_eq!(answer_after_line(&mut plain(), text), Err(DropReason::Helper), "{text}");
        }
        assert_eq!(answer_after_line(&mut plain(), "227 1,2,3,4,5,6"), Err(DropReason::Helper));
    }

    #[test]
    fn other_lines_pass() {
        for text in ["USER me\r\n", "PASV\r\n", "227 1,2,3,4,5,6\r\n", "\n", "QUIT"] {
            assert_eq!(after_line(&mut plain(), text).as_deref(), Ok(text));
        }
        for text in ["220 hi\r\n", "PORT 1,2,3,4,5,6\r\n", "2271,2,3,4,5,6\r\n"] {
            assert_eq!(answer_after_line(&mut plain(), text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn another_address_announces_nothing() {
        let mut masked = masked();
        let line = "PORT 192,168,1,11,200,10\r\n";
        assert_eq!(after_line(&mut masked, line).as_deref(), Ok(line));
        assert_eq!(masked.expected(), [""; 0]);
        assert!(!masked.conn().status.has(Status::SEQ_ADJUST));
    }

    #[test]
    fn numbers_run_into_each_other() {
        // 192 << 24 | 168 << 16 | 0 << 8 | 266 is the client's address, and the port is 0 << 8 | 6446.
        let mut plain = plain();
        after_line(&mut plain, "PORT 192,168,0,266,0,6446\r\n").unwrap();
        assert_eq!(plain.expected(), ["198.51.100.5 > 192.168.1.10 6446"]);
    }

    #[test]
    fn ipv6() {
        let client = ("2001:db8::10", 40000);
        let server = ("2001:db8:1::5", 21);
        let mut masked = Speech::new("ftp", [client, ("2001:db8:2::1", 40000), server, server]);
        let said = after_line(&mut masked, "EPRT |2|2001:db8::10|6446|\r\n");
        assert_eq!(said.as_deref(), Ok("EPRT |2|2001:0db8:0002:0000:0000:0000:0000:0001|6446|\r\n"));
        assert_eq!(masked.expected(), ["2001:db8:1::5 > 2001:db8:2::1 6446, reply to port 6446"]);
        let mut plain = Speech::new("ftp", [client, client, server, server]);
        assert!(after_line(&mut plain, "PORT 192,168,1,10,200,10\r\n").is_ok());
        assert_eq!(plain.expected(), [""; 0]);
        assert_eq!(after_line(&mut plain, "EPRT |1|1.2.3.4|5|\r\n"), Err(DropReason::Helper));
    }

    #[test]
    fn only_answered_connections_are_read() {
        let mut plain = plain();
        plain.client(1000, "USER me\r\n").unwrap();
        plain.say(Class::New, 1009, "PORT 192,168,1,10,200,10\r\n").unwrap();
        assert_eq!(plain.expected(), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_panics(
            text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b','), Just(b'|'), Just(b'('), 48u8..58], 0..60),
            begin in 0usize..5, reply in any::<bool>(), cut in 0usize..30,
        ) {
            let text = [[&b"PORT "[..], b"EPRT |", b"227 ", b"229 (", b""][begin], &text[..]].concat();
            let dir = if reply { Direction::Reply } else { Direction::Original };
            let mut masked = masked();
            masked.say(Class::Established(dir), 1001, "USER me\r\n").unwrap();
            let whole = masked.packet(dir, 1010, &text);
            let _ = masked.run(Class::Established(dir), &mut whole.clone());
            let mut short = whole;
            short.cut(20 + cut);
            let _ = masked.run(Class::Established(dir), &mut short);
        }
    }

    fn plain() -> Speech {
        Speech::new("ftp", [CLIENT, CLIENT, SERVER, SERVER])
    }

    fn masked() -> Speech {
        Speech::new("ftp", [CLIENT, OUTSIDE, SERVER, SERVER])
    }

    fn after_line(speech: &mut Speech, text: &str) -> Result<String, DropReason> {
        speech.client(1001, "USER me\r\n").unwrap();
        speech.client(1010, text)
    }

    fn answer_after_line(speech: &mut Speech, text: &str) -> Result<String, DropReason> {
        speech.server(5001, "220 hello\r\n").unwrap();
        speech.server(5012, text)
    }
}
