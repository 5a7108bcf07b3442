//! `cargo bench -p hairpin --bench sets`: what a large set costs: to load, to ask, to keep.
//!
//! A million addresses as `ipset save` prints them are read; then packets from addresses in the set and from others are asked about
//! with `-m set`, in an order that no cache foresees: one by one, and in batches as a device gives them, where the engine touches what
//! all will look at before it walks the first. Time is the thread's own CPU time, the best of a few rounds, for all that a packet's match
//! costs. `--count N` makes the set another size.

use hairpin_datapath::huge_pages;
use hairpin_engine::Packet;
use hairpin_engine::probe::{Answer, Loaded, Probe};
use hairpin_engine::rule::{Match, TableId};
use hairpin_engine::set::{Asked, Directions, Kind, Sets};
use hairpin_engine::time::Instant;
use hairpin_ruleset::ipset::read_saved;
use hairpin_ruleset::names::SystemNames;
use hairpin_wire::build::Udp;
use hairpin_wire::{Addr, Family};
use hairpin_xt::option::{Given, NoNames, Parsed};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;

/// As in the program.
#[global_allocator]
static ALLOCATOR: huge_pages::Allocator = huge_pages::Allocator;

const ROUNDS: usize = 5;
/// As many packets a device gives at once.
const BATCH: usize = 64;

fn main() {
    huge_pages::prefer();
    let options: Vec<String> = std::env::args().collect();
    let at = options.iter().position(|o| o == "--count");
    let count = at.and_then(|n| options.get(n + 1)?.parse().ok()).unwrap_or(1_000_000);
    println!(
        "{:<32} {:>10} {:>12} {:>23} {:>23}",
        "", "load", "bytes/entry", "in batches: found, not", "one by one: found, not"
    );
    for (title, kind, family, more) in [
        ("hash:ip", Kind::HashIp, Family::V4, ""),
        ("hash:ip inet6", Kind::HashIp, Family::V6, ""),
        ("hash:ip timeout counters", Kind::HashIp, Family::V4, "timeout 0 counters"),
        ("hash:net (three lengths)", Kind::HashNet, Family::V4, ""),
        ("hash:ip,port", Kind::HashIpPort, Family::V4, ""),
        ("hash:ip,port,ip", Kind::HashIpPortIp, Family::V4, ""),
        ("hash:net,port inet6", Kind::HashNetPort, Family::V6, ""),
    ] {
        let text = saved(kind, family, more, count);
        let (mut sets, mut best) = (Sets::new(1), f64::MAX);
        for _ in 0..3 {
            sets = Sets::new(1);
            let start = cpu();
            read_saved(&text, &mut sets, &SystemNames::new(), Instant::default()).expect("a saved set");
            best = best.min(cpu() - start);
        }
        let set = sets.get("s").expect("it was made");
        let entries = set.len(Instant::default());
        assert_eq!(entries, count);
        let bytes = set.memory() as f64 / entries as f64;
        let mut probe = Probe::new(packet(family, 0));
        *probe.sets.get_mut() = sets;
        let mut times = String::new();
        for together in [BATCH, 1] {
            for (expected, beyond) in [(Answer::Yes, false), (Answer::No, true)] {
                let nanos = asked(&mut probe, family, count, expected, beyond, together);
                let _ = write!(times, " {nanos:>8.1} ns");
            }
        }
        println!("{title:<32} {best:>8.3} s {bytes:>12.1} {times}");
    }
}

/// The set, as `ipset save` prints it. Addresses lie scattered: the count times an odd number.
fn saved(kind: Kind, family: Family, more: &str, count: usize) -> String {
    let family_word = if family == Family::V4 { "inet" } else { "inet6" };
    let mut text = format!("create s {kind} family {family_word} maxelem {count} {more} initval 7\n");
    for n in 0..count {
        let addr = address(family, n as u32).display(family);
        let _ = match kind {
            Kind::HashNet => writeln!(text, "add s {addr}/{}", [32, 31, 30][n % 3]),
            Kind::HashIpPort => writeln!(text, "add s {addr},udp:80"),
            Kind::HashIpPortIp => writeln!(text, "add s {addr},udp:80,0.0.0.1"),
            Kind::HashNetPort => writeln!(text, "add s {addr}/{},udp:80", [128, 127, 126][n % 3]),
            _ => writeln!(text, "add s {addr}"),
        };
    }
    text
}

/// The nth address: all differ, also without their last two bits.
fn address(family: Family, n: u32) -> Addr {
    let scattered = n.wrapping_mul(0x9e37_79b1 << 2) | 1 << 2;
    match family {
        Family::V4 => Addr::v4(scattered & 0x7fff_ffff),
        Family::V6 => Addr(0x2001_0db8 << 96 | u128::from(scattered) << 32 | 1),
    }
}

fn packet(family: Family, n: u32) -> Packet {
    let dst = if family == Family::V4 { Addr::v4(1) } else { Addr(1) };
    let bytes = Udp { src_port: 1, dst_port: 80, payload: b"" }.packet(family, address(family, n), dst);
    Packet::from_ip(&bytes).expect("a packet")
}

/// Nanoseconds for a packet of batches of this size.
fn asked(probe: &mut Probe, family: Family, count: usize, expected: Answer, beyond: bool, together: usize) -> f64 {
    const PACKETS: u32 = 400_000;
    // Packets that are given other addresses each time: they are in the cache, as those of a batch are.
    let mut batch: Vec<Packet> = (0..together).map(|_| packet(family, 0)).collect();
    let source = if family == Family::V4 { 12..16 } else { 8..24 };
    let turn = |packet: &mut Packet, n: u32| {
        let n = n.wrapping_mul(0x85eb_ca6b) % count as u32;
        let bytes = &mut packet.ip_mut()[source.clone()];
        address(family, n).write(family, bytes);
        // The same address with its highest bit turned is not in the set.
        bytes[0] ^= if beyond { 0x80 } else { 0 };
        let _ = packet.refresh();
    };
    let loaded = loaded(probe, family);
    let set = probe.sets.get_mut().id("s").expect("it was made");
    let ask_set = Asked { set, directions: Directions::new(&[true, false, false]) };
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (mut hits, mut n, start) = (0, 0, cpu());
        while n < PACKETS {
            for packet in &mut batch {
                turn(packet, n);
                n += 1;
            }
            if together > 1 {
                probe.sets.get_mut().look_ahead(ask_set, &batch);
            }
            for packet in &mut batch {
                std::mem::swap(&mut probe.packet, packet);
                hits += u32::from(probe.ask(&loaded) == expected);
                std::mem::swap(&mut probe.packet, packet);
            }
        }
        let with = cpu() - start;
        let (asked, start) = (n, cpu());
        n = 0;
        while n < PACKETS {
            for packet in &mut batch {
                turn(packet, n);
                n += 1;
            }
            for packet in &mut batch {
                std::mem::swap(&mut probe.packet, packet);
                std::hint::black_box(&probe.packet);
                std::mem::swap(&mut probe.packet, packet);
            }
        }
        best = best.min((with - (cpu() - start)) / f64::from(asked));
        assert_eq!(hits, asked);
    }
    best * 1e9
}

/// `-m set --match-set s src,dst,dst`.
fn loaded(probe: &mut Probe, family: Family) -> Loaded<dyn Match> {
    let spec = hairpin_xt::find_match("set", family).expect("there is -m set");
    let words = vec!["s".to_owned(), "src,dst,dst".to_owned()];
    let option = &spec.options[0];
    let given = vec![Given { option, name: option.name, inverted: false, words }];
    let parsed = Parsed {
        extension: "set",
        family,
        table: TableId::Filter,
        chain: "FORWARD",
        protocol: None,
        names: &NoNames,
        given,
        complete: true,
        notices: Default::default(),
    };
    probe.load((spec.build)(&parsed).expect("a match"))
}

fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
