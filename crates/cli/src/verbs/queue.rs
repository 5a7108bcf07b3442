//! `hairpin queue`: a listener of NFQUEUE, to look at packets and as an example of one.

use crate::applet::socket;
use crate::program::{Failure, Verb, say};
use hairpin_control::protocol::{Frame, MAX_FRAME, Request};
use hairpin_control::queue::{Decided, QueuedPacket, Verdict};
use hairpin_engine::{Hook, Packet};
use hairpin_gateway::control::listening;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;

/// The verb.
pub const VERB: Verb = Verb {
    name: "queue",
    about: "listens on a queue of NFQUEUE of the running gateway and gives verdicts",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin queue NUMBER [--accept | --drop | --repeat] [--mark N] [--count N] [--quiet]
                     [--maxlen N] [--fail-open] [--copy N]

Listens on a queue of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock): packets that `-j NFQUEUE --queue-num NUMBER' gives
there are printed, and the same verdict is given for each. Programs that decide by themselves speak the same protocol: see the
documentation of hairpin_control::queue. Without a listener a queue's packets are dropped, or pass with --queue-bypass.

  --accept, --drop    what becomes of each packet (accept); --repeat walks its table again
  --mark N            its new mark
  --count N           end after N packets
  --quiet             print nothing
  --maxlen N          at most N packets wait (1024); what finds no room is dropped, or passes with --fail-open
  --copy N            get the first N bytes of each packet
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let usage = |why: String| Failure::usage(format!("queue: {why} (`hairpin help queue' says more)"));
    let (mut verdict, mut mark, mut count, mut quiet) = (Verdict::Accept, None, u64::MAX, false);
    let mut passed = Vec::new();
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().unwrap_or_default();
            let parsed = match text.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).ok(),
                None => text.parse::<u64>().ok(),
            };
            parsed.ok_or_else(|| usage(format!("{word} needs a number behind it, not `{text}'")))
        };
        match word.as_str() {
            "--accept" => verdict = Verdict::Accept,
            "--drop" => verdict = Verdict::Drop,
            "--repeat" => verdict = Verdict::Repeat,
            "--quiet" | "-q" => quiet = true,
            "--mark" => {
                let number = number()?;
                mark = Some(u32::try_from(number).map_err(|_| usage(format!("--mark {number}: it has 32 bits")))?);
            }
            "--count" => count = number()?,
            _ => passed.push(word),
        }
    }
    listening(&passed).map_err(usage)?;
    let socket = socket();
    let wrong =
        |why: &dyn std::fmt::Display| Failure::input(format!("queue: the gateway at {}: {why}", socket.display()));
    let mut stream = UnixStream::connect(&socket).map_err(|why| wrong(&why))?;
    Frame::Request(Request::verb("queue", &passed)).send(&mut stream).map_err(|why| wrong(&why))?;
    let mut error = Vec::new();
    loop {
        match Frame::read(&mut stream, MAX_FRAME).map_err(|why| wrong(&why))? {
            Frame::Queued(packet) => {
                if !quiet {
                    say(&text(&packet));
                }
                let decided = Decided { mark, ..Decided::plain(packet.id, verdict) };
                Frame::Decided(Box::new(decided)).send(&mut stream).map_err(|why| wrong(&why))?;
                count -= 1;
                if count == 0 {
                    Frame::Stop.send(&mut stream).map_err(|why| wrong(&why))?;
                    return Ok(());
                }
            }
            Frame::Stderr(bytes) => error.extend(bytes),
            Frame::End { code: 0, .. } => return Ok(()),
            Frame::End { code, .. } => {
                let text = String::from_utf8_lossy(&error).trim().trim_start_matches("hairpin: ").to_owned();
                return Err(Failure { code, message: text });
            }
            Frame::Refused(text) => return Err(Failure::input(format!("queue: {text}"))),
            _ => return Err(wrong(&"it speaks out of turn")),
        }
    }
}

fn text(packet: &QueuedPacket) -> String {
    let hook = Hook::ALL.get(usize::from(packet.hook)).map_or_else(String::new, ToString::to_string);
    let what = Packet::from_ip(&packet.bytes).map_or_else(|_| format!("{} bytes", packet.length), |p| p.describe());
    let device = |name: &str| if name.is_empty() { "-".to_owned() } else { name.to_owned() };
    let mark = if packet.mark == 0 { String::new() } else { format!(", mark {:#x}", packet.mark) };
    format!("{} {} {hook} {} > {}: {what}{mark}\n", packet.id, packet.table, device(&packet.iif), device(&packet.oif))
}
