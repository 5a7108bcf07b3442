//! A source of small datagrams that the kernel itself makes, for benches: several times what a packet socket can send, so that whoever
//! forwards them is the slowest. It takes a processor for itself.

use crate::bpf::{self, EXIT, Insn, Program, insn, set};
use hairpin_wire::{checksum, proto};
use std::io;
use std::os::fd::OwnedFd;

/// Where the UDP ports are in the frame: behind an Ethernet header and an IPv4 header without options.
const PORTS: i16 = 34;
/// Where the UDP checksum is.
const CHECKSUM: i16 = 40;
/// Frames at most, so that one who is forgotten ends.
const FRAMES: u32 = 1 << 28;

/// Sends copies of a frame by a device until the process is ended by a signal, or 2^28 frames were sent. The frame is UDP over IPv4, without
/// options and with ports and checksum of zero; each copy is of a flow drawn from so many, by its ports: source ports from 1024 on, 32,768 for each
/// destination port, which count from 9. Its checksum is right.
///
/// # Errors
/// The kernel makes no frames (Linux before 5.18), or this user may not have it make them.
pub fn flood(device: u32, frame: &[u8], flows: u32) -> io::Result<()> {
    bpf::run_on_copies(&program(device, frame, flows)?, frame, FRAMES)
}

fn program(device: u32, frame: &[u8], flows: u32) -> io::Result<OwnedFd> {
    let Some((addresses, udp)) = frame.get(26..PORTS as usize).zip(frame.get(PORTS as usize..)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let pseudo = [addresses, &[0, proto::UDP], &(udp.len() as u16).to_be_bytes()].concat();
    let sum = u32::from(!checksum::checksum(&[pseudo.as_slice(), udp].concat()));
    bpf::load(Program::Xdp, "hairpin_source", &code(device, frame.len() as i32, flows, sum))
}

/// Draws a flow, writes its ports and its checksum, and sends the frame by the device. `sum`: of all that the checksum covers but the ports.
fn code(device: u32, length: i32, flows: u32, sum: u32) -> Vec<Insn> {
    const RANDOM: i32 = 7;
    const REDIRECT: i32 = 23;
    const CALL: u8 = 0x85;
    const ADD: u8 = 0x07;
    /// `dst += src`.
    const PLUS: u8 = 0x0f;
    /// To the order of the network, 16 bits.
    const SWAP: u8 = 0xdc;
    const STORE: u8 = 0x6b;
    let copy = |dst: u8, src: u8| insn(0xbf, dst, src, 0, 0);
    vec![
        // The frame is as long as it is: the kernel wants to see that asked.
        insn(0x61, 6, 1, 0, 0),
        insn(0x61, 3, 1, 4, 0),
        copy(2, 6),
        insn(ADD, 2, 0, 0, length),
        insn(0xbd, 2, 3, 2, 0),
        set(0, 1),
        EXIT,
        insn(CALL, 0, 0, 0, RANDOM),
        // The flow, of so many.
        insn(0xb4, 1, 0, 0, flows as i32),
        insn(0x9c, 0, 1, 0, 0),
        copy(1, 0),
        insn(0x57, 1, 0, 0, 0x7fff),
        insn(ADD, 1, 0, 0, 1024),
        insn(0x77, 0, 0, 0, 15),
        insn(ADD, 0, 0, 0, 9),
        // The sum of both ports and the rest: what is above 16 bits is added twice.
        set(3, sum as i32),
        insn(PLUS, 3, 1, 0, 0),
        insn(PLUS, 3, 0, 0, 0),
        copy(4, 3),
        insn(0x77, 4, 0, 0, 16),
        insn(0x57, 3, 0, 0, 0xffff),
        insn(PLUS, 3, 4, 0, 0),
        copy(4, 3),
        insn(0x77, 4, 0, 0, 16),
        insn(PLUS, 3, 4, 0, 0),
        insn(0xa7, 3, 0, 0, -1),
        insn(SWAP, 3, 0, 0, 16),
        insn(STORE, 6, 3, CHECKSUM, 0),
        insn(SWAP, 1, 0, 0, 16),
        insn(STORE, 6, 1, PORTS, 0),
        insn(SWAP, 0, 0, 0, 16),
        insn(STORE, 6, 0, PORTS + 2, 0),
        set(1, device as i32),
        set(2, 0),
        insn(CALL, 0, 0, 0, REDIRECT),
        EXIT,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_copy_has_a_flow_and_a_right_checksum() {
        let mut frame =
            [[2; 12].as_slice(), &[0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, proto::UDP, 0, 0]].concat();
        frame.extend([192, 168, 1, 10, 203, 0, 113, 9, 0, 0, 0, 0, 0, 26, 0, 0]);
        frame.resize(60, 0xab);
        let program = match program(1, &frame, 100_000) {
            Ok(program) => program,
            Err(why) => return println!("skipped: {why}"),
        };
        let mut flows = BTreeSet::new();
        for _ in 0..2000 {
            let (_, out) = bpf::try_on(&program, &frame).unwrap();
            let port = |at: usize| u32::from(u16::from_be_bytes([out[at], out[at + 1]]));
            let flow = (port(36) - 9) << 15 | (port(34) - 1024);
            assert!(flow < 100_000, "{out:02x?}");
            flows.insert(flow);
            let pseudo = [&out[26..34], &[0, proto::UDP, 0, 26]].concat();
            assert_eq!(checksum::checksum(&[&pseudo, &out[34..]].concat()), 0, "{out:02x?}");
        }
        assert!(flows.len() > 1900, "{}", flows.len());
    }
}
