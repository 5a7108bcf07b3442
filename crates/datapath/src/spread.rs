//! Which of a device's queues a flow goes by, here and in the kernel.
//!
//! A datagram may be cut on its way, and only its first fragment has ports: so that the packets of a flow stay in one queue whatever
//! becomes of them, and therefore in their order, addresses alone decide, and ports only of TCP that is not cut. Network cards do the same.

use crate::bpf::{self, EXIT, Insn, Program, insn, set};
use hairpin_wire::{ethernet, proto};
use std::io;
use std::os::fd::OwnedFd;

/// Spreads what differs in few bits (the golden ratio).
const FACTOR: u32 = 0x9e37_79b9;

/// The queue, of so many, of a frame with or without an Ethernet header. Both directions of a flow have the same one.
pub(crate) fn queue_of(frame: &[u8], is_ethernet: bool, queues: usize) -> usize {
    let packet = if is_ethernet { network(frame) } else { Some(frame) };
    let sum = packet.and_then(|packet| match packet.first()? >> 4 {
        4 => sum4(packet),
        6 => sum6(packet),
        _ => None,
    });
    sum.map_or(0, |sum| (sum.wrapping_mul(FACTOR) >> 16) as usize % queues.max(1))
}

fn network(frame: &[u8]) -> Option<&[u8]> {
    let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    frame.get(ethernet::HEADER_LEN + if kind == ethernet::VLAN { 4 } else { 0 }..)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// In the upper half: what differs in addresses is rather in the lower one.
fn ports(packet: &[u8], at: usize) -> Option<u32> {
    word(packet, at).map(|both| (both & 0xffff_0000) ^ (both << 16))
}

fn sum4(packet: &[u8]) -> Option<u32> {
    let sum = word(packet, 12)? ^ word(packet, 16)?;
    let is_cut = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    let is_tcp = packet[9] == proto::TCP && !is_cut;
    let ports = if is_tcp { ports(packet, usize::from(packet[0] & 15) * 4)? } else { 0 };
    Some(sum ^ ports)
}

fn sum6(packet: &[u8]) -> Option<u32> {
    let mut sum = 0;
    for at in (8..40).step_by(4) {
        sum ^= word(packet, at)?;
    }
    let ports = if packet[6] == proto::TCP { ports(packet, 40)? } else { 0 };
    Some(sum ^ ports)
}

/// The same as a program, for what arrives: the kernel takes its result modulo the number of queues.
pub(crate) fn program() -> io::Result<OwnedFd> {
    bpf::load(Program::Filter, "hairpin_spread", &code())
}

/// Where the network header begins, for loads.
const NET: i32 = -0x10_0000;

const fn load(size: u8, at: i32) -> Insn {
    insn(0x20 | size, 0, 0, 0, NET + at)
}

const fn load_behind(size: u8, register: u8, at: i32) -> Insn {
    insn(0x40 | size, 0, register, 0, NET + at)
}

const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const BYTE: u8 = 0x10;

/// `dst = src`.
const fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}

/// `r7 ^= r0`.
const MIX: Insn = insn(0xaf, 7, 0, 0, 0);

/// A load beyond the end of the packet ends the program with 0.
fn code() -> Vec<Insn> {
    const JUMP: u8 = 0x05;
    const IF_EQUAL: u8 = 0x15;
    const IF_NOT: u8 = 0x55;
    let jump = |code: u8, over: usize, number: i32| insn(code, 0, 0, over as i16, number);
    let v6: Vec<Insn> = (8..40).step_by(4).flat_map(|at| [load(WORD, at), MIX]).chain([load(BYTE, 6)]).collect();
    let up = insn(0x67, 0, 0, 0, 16);
    let tcp = [load_behind(HALF, 8, 0), up, MIX, load_behind(HALF, 8, 2), up, MIX];
    // Both versions come to the test for TCP with the protocol in r0, and with r8 saying where the ports are.
    let ports = [copy(8, 0), load(BYTE, 9)];
    let length = [load(BYTE, 0), insn(0x57, 0, 0, 0, 15), insn(0x67, 0, 0, 0, 2)];
    let past_ports = length.len() + ports.len() + 1 + v6.len() + 1 + tcp.len();
    let mut v4 = vec![load(WORD, 12), MIX, load(WORD, 16), MIX, load(HALF, 6), insn(0x57, 0, 0, 0, 0x3fff)];
    v4.push(jump(IF_NOT, past_ports, 0));
    v4.extend(length.into_iter().chain(ports));
    // Where loads look for the packet, the sum, and where the ports are.
    let mut code = vec![copy(6, 1), set(7, 0), set(8, 40), load(BYTE, 0), insn(0x77, 0, 0, 0, 4)];
    code.extend([jump(IF_EQUAL, 3 + v4.len() + 1, 6), jump(IF_EQUAL, 2, 4), set(0, 0), EXIT]);
    code.extend(v4);
    code.push(jump(JUMP, v6.len(), 0));
    code.extend(v6);
    code.push(jump(IF_NOT, tcp.len(), i32::from(proto::TCP)));
    code.extend(tcp);
    // As 32-bit numbers: a factor, and the upper half of the product.
    code.extend([
        insn(0xb4, 0, 0, 0, FACTOR as i32),
        insn(0x2c, 7, 0, 0, 0),
        insn(0x74, 7, 0, 0, 16),
        copy(0, 7),
        EXIT,
    ]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, cut: u16, src: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = [[2; 12].as_slice(), &[0x08, 0x00]].concat();
        frame.extend([0x46, 0, 0, 60, 0, 0]);
        frame.extend(cut.to_be_bytes());
        frame.extend([64, protocol, 0, 0, 10, 0, 0, src, 203, 0, 113, 9, 0, 0, 0, 0]);
        ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
        frame.resize(80, 0);
        frame
    }

    fn v6(protocol: u8, src: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = [[2; 12].as_slice(), &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]].concat();
        frame.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, src]);
        frame.extend([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
        frame.resize(90, 0);
        frame
    }

    fn frames() -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for n in 0..60u8 {
            let ports = [1000 + u16::from(n) * 7, 80];
            for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
                for cut in [0, 0x4000, 0x2000, 0x2005] {
                    frames.push(v4(protocol, cut, n, ports));
                }
                frames.push(v6(protocol, n, ports));
            }
        }
        frames.push([[2; 12].as_slice(), &[0x08, 0x06], &[0; 46]].concat());
        frames
    }

    #[test]
    fn a_flow_has_one_queue_both_ways_and_flows_are_spread() {
        let queue = |frame: &[u8]| queue_of(frame, true, 4);
        for n in 0..60 {
            let there = v4(proto::TCP, 0, n, [1000, 80]);
            let mut back = there.clone();
            back.splice(26..34, [203, 0, 113, 9, 10, 0, 0, n]);
            back.splice(38..42, [0, 80, 3, 232]);
            assert_eq!(queue(&there), queue(&back));
            // Of a datagram's fragments only the first has ports.
            let [whole, first, second] = [0, 0x2000, 0x00b9].map(|cut| queue(&v4(proto::UDP, cut, n, [1000, 80])));
            assert_eq!((whole, first), (first, second));
            let mut tagged = there.clone();
            tagged.splice(12..12, [0x81, 0x00, 0x00, 0x0a]);
            assert_eq!(queue(&tagged), queue(&there));
            assert_eq!(queue_of(&there[14..], false, 4), queue(&there));
        }
        for protocol in [proto::TCP, proto::UDP] {
            let mut counts = [0; 4];
            (0..60).for_each(|n| counts[queue(&v4(protocol, 0, n, [1000 + u16::from(n), 80]))] += 1);
            assert!(counts.iter().all(|count| (6..30).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn short_frames_have_a_queue_too() {
        for frame in frames() {
            for len in 0..frame.len() {
                assert!(queue_of(&frame[..len], true, 3) < 3);
            }
        }
    }

    #[test]
    fn the_kernel_says_the_same() {
        let program = match program() {
            Ok(program) => program,
            Err(why) => return println!("skipped: {why}"),
        };
        for frame in frames() {
            let said = bpf::try_on(&program, &frame).unwrap().0 as usize;
            assert_eq!(said % 8, queue_of(&frame, true, 8), "{frame:02x?}");
        }
    }
}
