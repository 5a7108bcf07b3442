//! The few instructions that run in the kernel, and how they get there. They are short enough to be written as numbers.
//!
//! A program is attached by a link, which the kernel takes away with its last descriptor: also after `kill -9` nothing stays behind.

use crate::sys::{at, own};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// One instruction: `code:8 dst:4 src:4 off:16 imm:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Insn(u64);

/// An instruction of its parts.
pub(crate) const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    let bytes = [code, dst | src << 4];
    let word = u16::from_le_bytes(bytes) as u64;
    Insn(word | (off as u16 as u64) << 16 | (imm as u32 as u64) << 32)
}

/// `dst = imm`.
pub(crate) const fn set(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

/// Ends with the value of r0.
pub(crate) const EXIT: Insn = insn(0x95, 0, 0, 0, 0);

/// What kind of program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// At the entrance of a device, behind the packet sockets.
    Traffic,
    /// In the driver or right behind it.
    Xdp,
    /// Looks at a packet on its way to a socket.
    Filter,
}

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;

/// A map from queue to AF_XDP socket.
const MAP_TYPE_XSKMAP: u32 = 17;

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads (and for some calls writes) as many bytes as it is told.
    own(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) } as libc::c_int)
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Loads a program. Its text is Apache-2.0 or MIT as everything here; the kernel only asks whether it may use GPL-only helpers.
pub(crate) fn load(kind: Program, name: &str, code: &[Insn]) -> io::Result<OwnedFd> {
    const LICENSE: &CStr = c"Dual MIT/GPL";
    let mut attributes = ProgLoad {
        prog_type: match kind {
            Program::Traffic => 3,
            Program::Xdp => 6,
            Program::Filter => 1,
        },
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..ProgLoad::default()
    };
    for (place, byte) in attributes.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    call(BPF_PROG_LOAD, &mut attributes).map_err(at("a BPF program cannot be loaded"))
}

const BPF_PROG_TEST_RUN: libc::c_long = 10;

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context: [u64; 3],
    flags: u32,
    cpu: u32,
    batch_size: u32,
    rest: u32,
}

/// Has the kernel make so many copies of a frame, run an XDP program on each, and do with it what the program says.
pub(crate) fn run_on_copies(program: &OwnedFd, frame: &[u8], copies: u32) -> io::Result<()> {
    const LIVE_FRAMES: u32 = 1 << 1;
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: copies,
        flags: LIVE_FRAMES,
        batch_size: 64,
        ..TestRun::default()
    };
    try_it(&mut run).map_err(at("the kernel makes no frames"))
}

fn try_it(run: &mut TestRun) -> io::Result<()> {
    // SAFETY: the kernel reads the frame, which lives until the call is over, and writes its answer into the attributes.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, std::ptr::from_mut(run), size_of::<TestRun>()) };
    crate::sys::check(result as libc::c_int).map(drop)
}

/// What a program says about a frame with an Ethernet header, and the frame as it leaves it.
#[cfg(test)]
pub(crate) fn try_on(program: &OwnedFd, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
    let mut out = vec![0; frame.len()];
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        ..TestRun::default()
    };
    try_it(&mut run)?;
    Ok((run.retval, out))
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    /// Where traffic programs say before or after whom they run; nothing here.
    relative: [u64; 2],
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attach {
    /// At the entrance, behind the packet sockets (since Linux 6.6).
    Ingress,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
}

/// Attaches a program to a device for as long as the link lives.
pub(crate) fn attach(program: &OwnedFd, index: u32, where_to: Attach) -> io::Result<OwnedFd> {
    let (attach_type, flags) = match where_to {
        Attach::Ingress => (46, 0),
        Attach::XdpNative => (37, 1 << 2),
        Attach::XdpGeneric => (37, 1 << 1),
    };
    let prog_fd = program.as_raw_fd() as u32;
    call(BPF_LINK_CREATE, &mut LinkCreate { prog_fd, target_ifindex: index, attach_type, flags, relative: [0; 2] })
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// A map from queue number to AF_XDP socket.
pub(crate) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        ..MapCreate::default()
    };
    call(BPF_MAP_CREATE, &mut attributes).map_err(at("a map of sockets cannot be made"))
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts a socket into such a map.
pub(crate) fn put_socket(map: &OwnedFd, queue: u32, socket: &OwnedFd) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let mut attributes = MapUpdate {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: std::ptr::from_ref(&queue) as u64,
        value: std::ptr::from_ref(&fd) as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes, and a key and a value of four bytes, which live until the call is over.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, std::ptr::from_mut(&mut attributes), size_of::<MapUpdate>())
    };
    crate::sys::check(result as libc::c_int).map(drop)
}
