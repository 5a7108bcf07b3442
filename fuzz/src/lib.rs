//! What each fuzz target does with its bytes. Whatever these are, nothing panics, and what is stated here holds.

use hairpin::capture::Capture;
use hairpin::host_file;
use hairpin_engine::net::IfIndex;
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::{DropReason, Engine, Event, Fate, Now, Output, Packet, Setup, TraceWhat};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::{Family, ethernet};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Frames, one after the other, arrive at a router whose rules look at everything. Each has two bytes before it: the device with
/// the kind of packet and the time since the one before, and its length.
pub fn packet(data: &[u8]) {
    let mut engine = router();
    engine.set_tracing(true);
    let mut data = data;
    let (mut now, mut packet, mut out) = (0, Packet::default(), Output::default());
    while let [what, length, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*length) * 2));
        data = rest;
        now += u64::from(what >> 3) * 300_000_000;
        let dev = IfIndex(2 + u32::from(what & 1));
        // Mostly a whole link header, so that little is wasted on finding one.
        let frame = match what >> 1 & 3 {
            0 => bytes.to_vec(),
            kind => {
                let mac = [2, 0, 0, 0, 0, 1 + (what & 1)];
                let kind = if kind == 1 { ethernet::IPV6 } else { ethernet::IPV4 };
                [&mac, &[2, 0, 0, 0, 0, 9][..], &kind.to_be_bytes(), bytes].concat()
            }
        };
        out.clear();
        let fate = engine.receive_frame(&Now::from_unix_nanos(now), dev, &frame, &mut packet, &mut out);
        one_fate(fate, &out);
    }
    engine.handle_timeout(&Now::from_unix_nanos(now + 1_000_000_000_000_000), &mut out);
    assert_eq!(engine.state().conns().count(), 0, "connections that never end");
}

/// Everything that set out ended once, and nothing is a bug.
fn one_fate(fate: Fate, out: &Output) {
    let count = |is: fn(&TraceWhat) -> bool| out.trace.iter().filter(|step| is(&step.what)).count();
    let (began, ended) = (count(|w| matches!(w, TraceWhat::Packet(_))), count(|w| matches!(w, TraceWhat::Fate(_))));
    assert_eq!(began, ended, "{fate:?} {:?}", out.trace);
    let bug = out.events.iter().find(|e| matches!(e, Event::Bug(_)));
    assert!(bug.is_none() && fate != Fate::Drop(DropReason::Bug), "{bug:?} {:?}", out.trace);
}

/// A save file of each family. What is accepted, saved and read again is the same.
pub fn rules(data: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let Some(once) = resaved(family, data) else { continue };
        // What iptables saves and does not read again, so that it is so here: a quote that is never closed takes the line's end into the
        // word, and no day of the month (`! --monthdays` with all of them) is saved as no word.
        if once.lines().any(|line| line.starts_with('"') || line.contains(" --monthdays  --")) {
            continue;
        }
        let twice = resaved(family, once.as_bytes()).unwrap_or_else(|| panic!("saved, then refused:\n{once}"));
        // Saving lists the table used last first, so that twice is the first order again.
        let thrice = resaved(family, twice.as_bytes()).unwrap_or_else(|| panic!("saved, then refused:\n{twice}"));
        assert_eq!(once, thrice, "{}", String::from_utf8_lossy(data));
    }
}

/// The text as it is saved after it was read; None when it is refused.
fn resaved(family: Family, text: &[u8]) -> Option<String> {
    let names = SystemNames::new();
    let options = RestoreOptions { file: "rules", counters: true, noflush: false, table: None, names: &names };
    let restored = match restore(&Ruleset::new(family), text, &options) {
        Ok(restored) => restored,
        Err(refused) => {
            assert!(refused.line > 0 && refused.column > 0 && refused.code > 0, "{refused:?}");
            assert!(!refused.to_string().is_empty());
            return None;
        }
    };
    if let Err(why) = Compiled::new(restored.ruleset.clone()) {
        assert!(restored.refused(&why).line > 0, "{why}");
        return None;
    }
    Some(save(&restored.ruleset, &SaveOptions { counters: true, ..SaveOptions::default() }, |_| None))
}

/// A host file. A host that is accepted takes a packet.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match host_file::parse("host.toml", text) {
        Ok(net) => {
            let dev = net.interfaces.last().map_or(IfIndex(1), |device| device.index);
            let mut engine = Engine::new(Setup::new(net), &Now::default(), 1);
            let (mut packet, mut out) = (Packet::default(), Output::default());
            for frame in [PING4, PING6] {
                engine.receive_frame(&Now::default(), dev, frame, &mut packet, &mut out);
            }
        }
        Err(refused) => assert!(refused.place.is_some_and(|(line, column)| line > 0 && column > 0), "{refused:?}"),
    }
}

const PING4: &[u8] = &[
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0xb7, 0xd6, 192, 168, 1, 9, 192, 168,
    1, 1, 8, 0, 0xf7, 0xff, 0, 0, 0, 0,
];
const PING6: &[u8] = &[
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 64, 0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 9, 0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 128, 0, 0x24, 0x80, 0, 0, 0, 0,
];

/// A capture. No frame is longer than the capture, and there is an end.
pub fn capture(data: &[u8]) {
    let source = Box::new(Cursor::new(data.to_vec()));
    let mut capture = match Capture::read(Path::new("capture"), source) {
        Ok(capture) => capture,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    let (mut frame, mut total) = (Vec::new(), 0);
    loop {
        match capture.next(&mut frame) {
            Ok(Some(_)) => total += frame.len() + 1,
            Ok(None) => break,
            Err(refused) => return assert!(refused.at as usize <= data.len(), "{refused}"),
        }
        assert!(total <= data.len(), "more frames than bytes");
    }
}

/// A router with something of everything in its rules, read once.
fn router() -> Engine {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    let setup = SETUP.get_or_init(|| {
        let net = host_file::parse("router.toml", include_str!("router.toml")).unwrap_or_else(|e| panic!("{e}"));
        let compiled = |family, file, text: &str| {
            let names = SystemNames::new();
            let options = RestoreOptions { file, counters: true, noflush: false, table: None, names: &names };
            let restored = restore(&Ruleset::new(family), text.as_bytes(), &options).unwrap_or_else(|e| panic!("{e}"));
            let rules = restored.ruleset.clone();
            Arc::new(Compiled::new(rules).unwrap_or_else(|why| panic!("{}", restored.refused(&why))))
        };
        Setup {
            rules4: compiled(Family::V4, "router.v4", include_str!("router.v4")),
            rules6: compiled(Family::V6, "router.v6", include_str!("router.v6")),
            ..Setup::new(net)
        }
    });
    Engine::new(setup.clone(), &Now::default(), 1)
}

/// Bytes at the control socket: a request is read, written and read again the same, or refused.
pub fn control(data: &[u8]) {
    use hairpin_control::protocol::{Frame, MAX_FRAME};
    if let Ok(frame) = Frame::read(&mut &data[..], MAX_FRAME) {
        let again = Frame::read(&mut &frame.encode()[..], MAX_FRAME);
        assert_eq!(again.ok(), Some(frame));
    }
    let _ = Frame::decode(data);
}

/// A snapshot's file: whole or refused. Its checksums are mended, or hardly any input would be looked into.
pub fn snapshot(data: &[u8]) {
    let _ = hairpin_gateway::snapshot::check(data);
    let mut mended = [&b"hairpin snapshot"[..], &1u32.to_be_bytes()].concat();
    for section in data.chunks(97).take(20) {
        let Some((kind, content)) = section.split_first() else { continue };
        let head = [&[kind % 8][..], &(content.len() as u32).to_be_bytes()].concat();
        let sum = crc32fast::hash(&[&head, content].concat());
        mended.extend([&head, content, &sum.to_be_bytes()].concat());
    }
    let _ = hairpin_gateway::snapshot::check(&mended);
}
