//! The two ends of a bench of packet rates: a source of UDP datagrams, and a sink that drops them at the device's entrance. Each is a
//! process of its own in its namespace, this program again.

use hairpin_datapath::packet::{Kit, PacketSocket};
use hairpin_datapath::quiet::Quiet;
use hairpin_datapath::xdp::{Mode, Xdp};
use hairpin_datapath::{Datapath, Outgoing};
use hairpin_wire::{checksum, proto};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Frames handed over at once.
const BATCH: usize = 64;
/// Senders in the client's subnet: 192.168.1.10 to 192.168.1.209.
const SENDERS: u64 = 200;

/// `source DEVICE ROUTER-MAC FLOWS SECONDS`: small datagrams of so many flows, drawn at random, or with FLOWS `new` each of a flow of its
/// own; as fast as they go.
pub(crate) fn source(words: &[String]) -> Result<(), String> {
    let [device, mac, flows, seconds] = words else { return Err("source DEVICE MAC FLOWS SECONDS".to_owned()) };
    let mac: hairpin_wire::Mac = mac.parse().map_err(|_| format!("{mac}: no link address"))?;
    let flows: Option<u64> = (flows != "new").then(|| flows.parse()).transpose().map_err(|_| "FLOWS: a number")?;
    let seconds: f64 = seconds.parse().map_err(|_| "SECONDS: a number")?;
    let failed = |error: std::io::Error| format!("{device}: {error}");
    let own = hairpin_datapath::sys::device(device).map_err(failed)?.mac;
    let mut socket = PacketSocket::open(device, &mut Kit::new(), true).map_err(failed)?;
    let mut frames: Vec<Vec<u8>> = (0..BATCH).map(|_| frame(mac.0, own)).collect();
    let (mut sent, mut state) = (0u64, 1u64);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        for frame in &mut frames {
            let flow = match flows {
                Some(flows) => {
                    // xorshift: chance enough, and cheap.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state % flows
                }
                None => sent,
            };
            sent += 1;
            frame[26..30].copy_from_slice(&[192, 168, 1, 10 + (flow % SENDERS) as u8]);
            frame[34..36].copy_from_slice(&(1024 + (flow / SENDERS) as u16).to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum::checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let list: Vec<Outgoing<'_>> = frames.iter().map(|frame| Outgoing::complete(frame)).collect();
        socket.send(&list).map_err(failed)?;
    }
    Ok(())
}

/// An Ethernet frame of 60 bytes: 18 bytes of UDP, without a checksum, to 203.0.113.9:9.
fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[0x08, 0x00]].concat();
    frame.extend([0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, proto::UDP, 0, 0, 192, 168, 1, 10, 203, 0, 113, 9]);
    frame.extend([4, 0, 0, 9, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

/// `sink DEVICE KIND`: drops what arrives, until standard input ends. On a veth by an AF_XDP socket that nobody reads, which costs the
/// router's core least; elsewhere at the entrance of the kernel's stack.
pub(crate) fn sink(words: &[String]) -> Result<(), String> {
    let [device, kind] = words else { return Err("sink DEVICE KIND".to_owned()) };
    let failed = |error: std::io::Error| format!("{device}: {error}");
    let kit = Kit::new();
    let _holds: Box<dyn std::any::Any> = match kind.as_str() {
        "veth" => Box::new(Xdp::open(device, Mode::Native, &kit, true).map_err(failed)?),
        _ => Box::new(Quiet::make(device, &kit, true).map_err(failed)?),
    };
    println!("ready");
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}
