//! The two ends of a bench of packet rates: a source of UDP datagrams, and a sink that drops them at the device's entrance. Each is a
//! process of its own in its namespace, this program again.

use hairpin_datapath::packet::Kit;
use hairpin_datapath::quiet::Quiet;
use hairpin_datapath::source;
use hairpin_datapath::xdp::{Mode, Xdp};
use hairpin_wire::{checksum, proto};
use std::io::{Read, Write};

/// Flows from which each datagram has one of its own, as good as always.
const NEW: u32 = 1 << 30;

/// `source DEVICE ROUTER-MAC FLOWS`: small datagrams of so many flows, drawn at random, or with FLOWS `new` each of a flow of its own; as
/// fast as the kernel can make them, until it is ended.
pub(crate) fn source(words: &[String]) -> Result<(), String> {
    let [device, mac, flows] = words else { return Err("source DEVICE MAC FLOWS".to_owned()) };
    let mac: hairpin_wire::Mac = mac.parse().map_err(|_| format!("{mac}: no link address"))?;
    let flows = if flows == "new" { NEW } else { flows.parse().map_err(|_| "FLOWS: a number")? };
    let failed = |error: std::io::Error| format!("{device}: {error}");
    let facts = hairpin_datapath::sys::device(device).map_err(failed)?;
    source::flood(facts.index, &frame(mac.0, facts.mac), flows).map_err(failed)
}

/// An Ethernet frame of 60 bytes: 18 bytes of UDP to 203.0.113.9, whose ports and checksum the source fills in.
fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[0x08, 0x00]].concat();
    frame.extend([0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, proto::UDP, 0, 0, 192, 168, 1, 10, 203, 0, 113, 9]);
    let sum = checksum::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 26, 0, 0]);
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
