//! Serves `hairpin trace --live` and `hairpin capture`: packets that the loop noted, as text or as a capture, until it is enough.

use super::Context;
use super::clients::{answer, on_stop};
use crate::trace::{self, RuleTexts};
use crate::watch::options::{Form, Options};
use crate::watch::{Frame as SeenFrame, Seen, Wanted, Watcher};
use hairpin_commands::Outcome;
use hairpin_control::protocol::{Frame, PIECE, Request};
use hairpin_engine::net::{IfIndex, Net};
use hairpin_wire::pcapng;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A capture's packets are sent on at least so often.
const PATIENCE: Duration = Duration::from_millis(200);

/// What `trace` and `capture` ask for; None when the request is another.
pub(super) fn wanted(request: &Request) -> Option<Result<Options, Outcome>> {
    let options = match request.program.as_str() {
        "trace" => Options::of_trace(&request.words),
        "capture" => Options::of_capture(&request.words),
        _ => return None,
    };
    Some(options.map_err(|why| Outcome::failed(2, format!("hairpin: {}: {why}\n", request.program))))
}

/// Watches until the client says stop, goes away, or has what it asked for.
pub(super) fn watch(context: &Context, mut stream: UnixStream, options: Options) -> io::Result<()> {
    let wanted = Wanted {
        filter: options.filter.clone(),
        rate: options.rate,
        snap: if options.form == Form::Pcapng { options.snap } else { 0 },
    };
    let added = context.handle.ask(move |moment| {
        let net = moment.engine.state().net().clone();
        moment.watchers.add(wanted, &net, moment.now.mono).map(|watcher| (watcher, net))
    });
    let (watcher, net) = match added {
        Ok(Ok(added)) => added,
        Ok(Err(why)) => return answer(&mut stream, Outcome::failed(2, format!("hairpin: {why}\n"))),
        Err(gone) => return answer(&mut stream, Outcome::failed(1, format!("hairpin: {gone}\n"))),
    };
    let listening = on_stop(&stream, watcher.stopper())?;
    let mut writer = Writer { options: &options, capture: Capture::new(), shown: 0, sent: 0 };
    if options.form == Form::Pcapng {
        let start = writer.capture.begin(&net);
        writer.send(&mut stream, &start)?;
    }
    let missed = writer.follow(&watcher, &mut stream)?;
    drop(watcher);
    let what = if options.form == Form::Pcapng { "captured" } else { "shown" };
    let missed = match missed {
        0 => String::new(),
        n => format!(", {n} more not {what}: they came faster than the rate or than they were read"),
    };
    let said = format!("{} packets {what}{missed}\n", writer.shown);
    answer(&mut stream, Outcome { stderr: said.into_bytes(), ..Outcome::default() })?;
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = listening.join();
    Ok(())
}

struct Writer<'o> {
    options: &'o Options,
    capture: Capture,
    shown: u64,
    sent: u64,
}

impl Writer<'_> {
    /// Writes what comes; how many were missed.
    fn follow(&mut self, watcher: &Watcher, stream: &mut UnixStream) -> io::Result<u64> {
        let until = Instant::now().checked_add(self.options.time);
        loop {
            let left = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
            let batch = watcher.next(left.min(PATIENCE));
            let mut bytes = Vec::new();
            for seen in &batch.seen {
                if self.is_enough(bytes.len()) {
                    break;
                }
                self.shown += 1;
                self.write(seen, &mut bytes);
            }
            self.send(stream, &bytes)?;
            if self.is_enough(0) || left.is_zero() || batch.is_end {
                return Ok(batch.missed);
            }
        }
    }

    fn is_enough(&self, more: usize) -> bool {
        self.shown >= self.options.count || self.sent + more as u64 >= self.options.bytes
    }

    fn write(&mut self, seen: &Seen, out: &mut Vec<u8>) {
        let rules = RuleTexts::new([&seen.rules[0], &seen.rules[1]]);
        let dev = seen.arrived.as_ref().map_or(IfIndex(0), |frame| frame.dev);
        match self.options.form {
            Form::Text => {
                out.extend(trace::text(&seen.net, &rules, self.shown, dev, seen.nanos, &seen.steps).into_bytes());
            }
            Form::Json => {
                out.extend(trace::json(&seen.net, &rules, self.shown, dev, seen.nanos, &seen.steps).into_bytes());
            }
            Form::Pcapng => self.capture.add(out, seen, &rules, self.shown, self.options.snap),
        }
    }

    fn send(&mut self, stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
        self.sent += bytes.len() as u64;
        bytes.chunks(PIECE).try_for_each(|piece| Frame::Stdout(piece.to_vec()).send(stream))
    }
}

/// A capture being written: its interfaces in the order in which they were described.
struct Capture {
    devices: Vec<IfIndex>,
}

impl Capture {
    const fn new() -> Capture {
        Capture { devices: Vec::new() }
    }

    fn begin(&mut self, net: &Net) -> Vec<u8> {
        let mut out = Vec::new();
        pcapng::section(&mut out, concat!("hairpin ", env!("CARGO_PKG_VERSION")));
        for device in &net.interfaces {
            let is_ethernet = device.kind == hairpin_engine::net::LinkKind::Ethernet;
            self.describe(&mut out, net, device.index, is_ethernet);
        }
        out
    }

    fn describe(&mut self, out: &mut Vec<u8>, net: &Net, dev: IfIndex, is_ethernet: bool) -> u32 {
        let name = net.interface(dev).map_or_else(|| "host".to_owned(), |device| device.name.to_string());
        let link = if is_ethernet { pcapng::ETHERNET } else { pcapng::RAW_IP };
        pcapng::interface(out, &name, link, 0);
        self.devices.push(dev);
        self.devices.len() as u32 - 1
    }

    fn add(&mut self, out: &mut Vec<u8>, seen: &Seen, rules: &RuleTexts, number: u64, snap: usize) {
        let way = match &seen.arrived {
            Some(frame) => {
                let text = trace::text(&seen.net, rules, number, frame.dev, seen.nanos, &seen.steps);
                self.frame(out, seen, frame, snap, pcapng::Way::In, text.trim_end());
                format!("left because of #{number}")
            }
            None => "sent by the gateway itself, or after it had waited".to_owned(),
        };
        for frame in &seen.left {
            self.frame(out, seen, frame, snap, pcapng::Way::Out, &way);
        }
    }

    fn frame(
        &mut self,
        out: &mut Vec<u8>,
        seen: &Seen,
        frame: &SeenFrame,
        snap: usize,
        way: pcapng::Way,
        comment: &str,
    ) {
        let known = self.devices.iter().position(|dev| *dev == frame.dev);
        let interface = match known {
            Some(known) => known as u32,
            None => self.describe(out, &seen.net, frame.dev, frame.is_ethernet),
        };
        let bytes = &frame.bytes[..frame.bytes.len().min(snap)];
        let length = frame.length as u32;
        pcapng::packet(out, &pcapng::Packet { interface, nanos: seen.nanos, bytes, length, way, comment });
    }
}
