//! Packets that are for this host although their addresses do not lead here: what TPROXY hands to a proxy's socket, and what comes for
//! the connections that such a socket has.
//!
//! What the gateway writes to the host's TUN device is for the host, whatever its destination: a rule of the kernel's routing says so.
//! Connections are then found by their ends, but the first packet of one is for a socket that is bound elsewhere. For it the gateway
//! writes behind the packet's end which one, and a program at the device's entrance reads it there, finds the socket and gives it the
//! packet; IP cuts the rest off. Nobody else can write there: a packet ends for the gateway where its header says.

use crate::bpf::{self, Attach, EXIT, Insn, Program, insn, set};
use crate::sock_diag::{End, padded};
use crate::{sys, way};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// What is written behind a packet: `struct bpf_sock_tuple` (of 12 or 36 bytes), then the protocol.
const TAIL: usize = 40;
const PROTOCOL_AT: usize = 36;

/// The way, until it is dropped.
#[derive(Debug)]
pub struct Handover {
    name: String,
    program: io::Result<OwnedFd>,
}

impl Handover {
    /// Arranges it on a device of the gateway's own.
    pub fn arrange(name: &str) -> io::Result<Handover> {
        let index = sys::index_of(name)?;
        // One that was killed left its rules; the routes went with its device.
        way::undo(name);
        way::arrange(name, index)?;
        let program = bpf::load(Program::Traffic, "hairpin_hand", &code())
            .and_then(|program| bpf::attach(&program, index, Attach::Ingress));
        Ok(Handover { name: name.to_owned(), program })
    }

    /// Why sockets that are bound elsewhere get nothing.
    pub fn lacks(&self) -> Option<&io::Error> {
        self.program.as_ref().err()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        way::undo(&self.name);
    }
}

/// What to write behind a packet for the socket that listens there. Its address is of the packet's family.
pub fn tail(protocol: u8, listener: End) -> [u8; TAIL] {
    let mut tail = [0; TAIL];
    let port = listener.1.to_be_bytes();
    // Source and destination address, source and destination port; the source is nobody.
    match listener.0 {
        IpAddr::V4(addr) => {
            tail[4..8].copy_from_slice(&addr.octets());
            tail[10..12].copy_from_slice(&port);
        }
        addr @ IpAddr::V6(_) => {
            tail[16..32].copy_from_slice(&padded(addr));
            tail[34..36].copy_from_slice(&port);
        }
    }
    tail[PROTOCOL_AT] = protocol;
    tail
}

/// The program. It lets everything pass.
fn code() -> Vec<Insn> {
    const COPY: u8 = 0xbf;
    const PUT: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const SHIFT_DOWN: u8 = 0x77;
    const NETWORK_ORDER: u8 = 0xdc;
    const WORD: u8 = 0x61;
    const SHORT: u8 = 0x69;
    const BYTE: u8 = 0x71;
    const IF_EQUAL: u8 = 0x15;
    const IF_OTHER: u8 = 0x55;
    const IF_BELOW: u8 = 0xa5;
    const IF_OTHER_THAN: u8 = 0x5d;
    const GO: u8 = 0x05;
    const CALL: u8 = 0x85;
    const LOAD_BYTES: i32 = 26;
    const FIND_TCP: i32 = 84;
    const FIND_UDP: i32 = 85;
    const RELEASE: i32 = 86;
    const ASSIGN: i32 = 124;
    /// The frame pointer.
    const FRAME: u8 = 10;
    const TAIL_LEN: i32 = TAIL as i32;
    const TAIL_AT: i32 = -48;
    const PROTOCOL: i16 = TAIL_AT as i16 + PROTOCOL_AT as i16;
    /// To the end.
    const PASS: i16 = i16::MAX;
    let lines: &[(u8, u8, u8, i16, i32)] = &[
        (COPY, 6, 1, 0, 0),
        // The length of all; a header and what is behind the packet must be there.
        (WORD, 7, 6, 0, 0),
        (IF_BELOW, 7, 0, PASS, 20 + TAIL_LEN),
        (COPY, 1, 6, 0, 0),
        (PUT, 2, 0, 0, 0),
        (COPY, 3, FRAME, 0, 0),
        (ADD, 3, 0, 0, -8),
        (PUT, 4, 0, 0, 8),
        (CALL, 0, 0, 0, LOAD_BYTES),
        (IF_OTHER, 0, 0, PASS, 0),
        (BYTE, 8, FRAME, -8, 0),
        (SHIFT_DOWN, 8, 0, 0, 4),
        (IF_EQUAL, 8, 0, 4, 6),
        (IF_OTHER, 8, 0, PASS, 4),
        // IPv4: the total length.
        (SHORT, 9, FRAME, -6, 0),
        (NETWORK_ORDER, 9, 0, 0, 16),
        (GO, 0, 0, 3, 0),
        // IPv6: the length behind the header.
        (SHORT, 9, FRAME, -4, 0),
        (NETWORK_ORDER, 9, 0, 0, 16),
        (ADD, 9, 0, 0, 40),
        // Is there just this behind it?
        (ADD, 9, 0, 0, TAIL_LEN),
        (IF_OTHER_THAN, 9, 7, PASS, 0),
        (COPY, 1, 6, 0, 0),
        (COPY, 2, 7, 0, 0),
        (ADD, 2, 0, 0, -TAIL_LEN),
        (COPY, 3, FRAME, 0, 0),
        (ADD, 3, 0, 0, TAIL_AT),
        (PUT, 4, 0, 0, TAIL_LEN),
        (CALL, 0, 0, 0, LOAD_BYTES),
        (IF_OTHER, 0, 0, PASS, 0),
        (BYTE, 9, FRAME, PROTOCOL, 0),
        (COPY, 1, 6, 0, 0),
        (COPY, 2, FRAME, 0, 0),
        (ADD, 2, 0, 0, TAIL_AT),
        (PUT, 3, 0, 0, 12),
        (IF_EQUAL, 8, 0, 1, 4),
        (PUT, 3, 0, 0, 36),
        // In this network namespace.
        (PUT, 4, 0, 0, -1),
        (PUT, 5, 0, 0, 0),
        (IF_EQUAL, 9, 0, 2, 17),
        (CALL, 0, 0, 0, FIND_TCP),
        (GO, 0, 0, 1, 0),
        (CALL, 0, 0, 0, FIND_UDP),
        (IF_EQUAL, 0, 0, PASS, 0),
        (COPY, 7, 0, 0, 0),
        (COPY, 1, 6, 0, 0),
        (COPY, 2, 7, 0, 0),
        (PUT, 3, 0, 0, 0),
        (CALL, 0, 0, 0, ASSIGN),
        (COPY, 1, 7, 0, 0),
        (CALL, 0, 0, 0, RELEASE),
    ];
    let end = lines.len() as i16;
    let of = |(n, &(code, dst, src, off, imm)): (usize, &(u8, u8, u8, i16, i32))| {
        insn(code, dst, src, if off == PASS { end - n as i16 - 1 } else { off }, imm)
    };
    lines.iter().enumerate().map(of).chain([set(0, 0), EXIT]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_kernel_takes_the_program() {
        match bpf::load(Program::Traffic, "hairpin_hand", &code()) {
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => println!("skipped: {why}"),
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_tail_is_a_tuple_of_nobody_and_the_listener() {
        let four = tail(6, (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3128));
        assert_eq!(four[..12], [0, 0, 0, 0, 192, 0, 2, 1, 0, 0, 0x0c, 0x38]);
        let six = tail(17, (IpAddr::V6(Ipv6Addr::LOCALHOST), 53));
        assert_eq!((&six[..31], &six[31..]), (&[0; 31][..], &[1, 0, 0, 0, 53, 17, 0, 0, 0][..]));
    }
}
