//! IRC, direct client connections (DCC): a client tells another, through the server, where it waits. IPv4 only, as in the kernel.

use super::{Help, Helper};
use crate::event::Event;
use crate::fate::DropReason;
use crate::track::{Class, Direction, SourceMask};
use hairpin_wire::tcp::Tcp;
use hairpin_wire::{Addr, Family, proto};

pub(super) const HELPER: Helper =
    Helper { name: "irc", protocols: &[proto::TCP], ipv4_only: true, max_expected: 8, timeout: 300, read: Some(help) };

/// How much of a segment is read, in bytes.
const READ: usize = 4095;

/// What follows `DCC `, and announces an address and a port.
const COMMANDS: [&[u8]; 5] = [b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT "];

fn help(this: &mut Help<'_, '_>) -> Result<(), DropReason> {
    if this.class != Class::Established(Direction::Original) || this.packet.family() != Family::V4 {
        return Ok(());
    }
    let Some(tcp) = Tcp::new(this.packet.l4()) else { return Ok(()) };
    let data = tcp.payload();
    let data = data.get(..READ).unwrap_or(data).to_vec();
    let Some(mut at) = message(&data) else { return Ok(()) };
    while let Some(command) = next_command(&data, at) {
        at = command;
        let Some(word) = COMMANDS.iter().find(|word| data[command..].starts_with(word)) else { continue };
        return match arguments(&data, command + word.len()) {
            Some(said) if is_own(this, &said)? => announce(this, said),
            _ => Ok(()),
        };
    }
    Ok(())
}

/// Where to look for texts: in a private message behind its first word. What is too short for one is not looked at for that word.
fn message(data: &[u8]) -> Option<usize> {
    const PRIVATE: &[u8] = b"PRIVMSG ";
    let at = data.iter().position(|byte| !is_space(*byte))?;
    if at + 10 >= data.len() {
        return Some(at);
    }
    data.get(at..at + PRIVATE.len())?.eq_ignore_ascii_case(PRIVATE).then_some(at + PRIVATE.len())
}

/// Where the command behind the next text's `DCC ` begins; None when that text is something else, or there is none.
fn next_command(data: &[u8], at: usize) -> Option<usize> {
    const DCC: &[u8] = b" :\x01DCC ";
    /// Bytes of the shortest announcement, from the space before its text on.
    const SHORTEST: usize = 26;
    let end = data.len().saturating_sub(SHORTEST);
    let text = (at..end).find(|at| data[*at..].starts_with(b" :"))?;
    data[text..].starts_with(DCC).then_some(text + DCC.len())
}

/// An address and a port, and where they are named.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    at: usize,
    length: usize,
    addr: u32,
    port: u16,
}

/// Reads what stands behind a command's word: an argument, the address as one decimal number, the port.
fn arguments(data: &[u8], argument: usize) -> Option<Said> {
    /// Bytes that must follow an argument: `AAAAAAAA P`, 01, newline.
    const REST: usize = 12;
    // The space may not lie further on than this.
    let last = data.len().checked_sub(REST)?;
    let space = (argument..data.len()).find(|at| data[*at] == b' ')?;
    if space > last || !data[space + 1..].contains(&b'\n') {
        return None;
    }
    let start = space + 1;
    let (addr, end) = number(data, start);
    let blanks = data[end..].iter().take_while(|byte| **byte == b' ').count();
    let (port, end) = number(data, end + blanks);
    Some(Said { at: start, length: end - start, addr: addr as u32, port: port as u16 })
}

/// A decimal number of any size, wrapped to 64 bits, and where it ends.
fn number(data: &[u8], start: usize) -> (u64, usize) {
    let digits = data.get(start..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    let (number, count) = digits.fold((0u64, 0), |(number, count), digit| {
        (number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')), count + 1)
    });
    (number, start + count)
}

fn is_space(byte: u8) -> bool {
    // As the kernel's table of characters has it, which is Latin-1.
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// Whether a client names its own address, as itself or as the server sees it. Others want to open a way to a third party.
fn is_own(this: &mut Help<'_, '_>, said: &Said) -> Result<bool, DropReason> {
    let (sender, seen) = (this.tuple(Direction::Original)?.src, this.tuple(Direction::Reply)?.dst);
    let addr = Addr::v4(said.addr);
    if said.port != 0 && (addr == sender || addr == seen) {
        return Ok(true);
    }
    let (sender, addr) = (sender.display(Family::V4), addr.display(Family::V4));
    let line = format!("Forged DCC command from {sender}: {addr}:{}", said.port);
    this.surroundings.events.push(Event::Kernel(line));
    Ok(false)
}

/// Expects what was announced: from anywhere, for the other client is unknown.
fn announce(this: &mut Help<'_, '_>, said: Said) -> Result<(), DropReason> {
    let answer = this.tuple(Direction::Reply)?;
    let mut expectation = this.expectation(proto::TCP, Addr::UNSPECIFIED, answer.dst, said.port)?;
    expectation.mask = SourceMask::ANY;
    if !this.is_translated() {
        return this.expect(expectation).map(|_| ()).map_err(|_| DropReason::Helper);
    }
    let (id, port) = this.expect_translated(expectation, Direction::Reply).ok_or(DropReason::Helper)?;
    let text = format!("{} {port}", answer.dst.as_u32());
    if this.mangle_tcp(said.at, said.length, text.as_bytes()) {
        return Ok(());
    }
    this.unexpect(id);
    Err(DropReason::Helper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::helper::testing::Speech;
    use proptest::prelude::*;

    const CLIENT: (&str, u16) = ("192.168.1.10", 40000);
    const SERVER: (&str, u16) = ("198.51.100.5", 6667);
    const OUTSIDE: (&str, u16) = ("203.0.113.1", 40000);

    /// 192.168.1.10 is 3232235786, 203.0.113.1 is 3405803777.
    const SEND: &str = "PRIVMSG bob :\x01DCC SEND file.txt 3232235786 5000 1234\x01\r\n";

    #[test]
    fn a_client_waits_for_anyone() {
        let mut plain = Speech::new("irc", [CLIENT, CLIENT, SERVER, SERVER]);
        assert_eq!(plain.client(1, SEND).as_deref(), Ok(SEND));
        assert_eq!(plain.expected(), ["0.0.0.0 > 192.168.1.10 5000"]);
    }

    #[test]
    fn a_translated_client_waits() {
        for addr in ["3232235786", "3405803777"] {
            let mut masked = masked();
            let line = format!("privmsg bob :\x01DCC CHAT chat {addr}  5000\x01\n");
            assert_eq!(masked.client(1, &line).as_deref(), Ok("privmsg bob :\x01DCC CHAT chat 3405803777 5000\x01\n"));
            assert_eq!(masked.expected(), ["0.0.0.0 > 203.0.113.1 5000, reply to port 5000"]);
        }
    }

    #[test]
    fn forged_announcements_are_reported() {
        for line in [SEND.replace("3232235786", "3232235787"), SEND.replace("5000", "0")] {
            let mut masked = masked();
            assert_eq!(masked.client(1, &line), Ok(line.clone()));
            assert_eq!(masked.expected(), [""; 0]);
            assert!(
                matches!(&masked.events[..], [Event::Kernel(text)] if text.starts_with("Forged DCC command from 192.168.1.10: "))
            );
        }
    }

    #[test]
    fn the_first_announcement_counts() {
        let own = "\x01DCC SEND y 3232235786 5000\x01 and more text\r\n";
        for (first, expected) in [("GIVE x 1 1", &["0.0.0.0 > 192.168.1.10 5000"][..]), ("SEND x 1 1", &[])] {
            let mut plain = Speech::new("irc", [CLIENT, CLIENT, SERVER, SERVER]);
            plain.client(1, &format!("PRIVMSG bob :\x01DCC {first}\x01 :{own}")).unwrap();
            assert_eq!(plain.expected(), expected);
        }
    }

    #[test]
    fn other_lines_pass() {
        let lines = [
            "PRIVMSG bob :hello, this is a longer line than the shortest\r\n".to_owned(),
            SEND.replace("PRIVMSG", "NOTICE0"),
            SEND.replace("SEND", "GIVE"),
            SEND.replace('\n', ""),
            "PRIVMSG".to_owned(),
            "\r\n  ".to_owned(),
        ];
        for line in lines {
            let mut masked = masked();
            assert_eq!(masked.client(1, &line), Ok(line.clone()));
            assert_eq!(masked.expected(), [""; 0]);
        }
        let mut masked = masked();
        assert_eq!(masked.server(1, SEND).as_deref(), Ok(SEND));
        assert_eq!(masked.expected(), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), 48u8..58], 0..80), keep in 0usize..60) {
            let begin = SEND.as_bytes();
            let mut masked = masked();
            let mut packet = masked.packet(Direction::Original, 1, &[&begin[..keep.min(begin.len())], &text[..]].concat());
            let _ = masked.run(Class::Established(Direction::Original), &mut packet);
        }
    }

    fn masked() -> Speech {
        Speech::new("irc", [CLIENT, OUTSIDE, SERVER, SERVER])
    }
}
