//! `cargo bench`: what one packet costs on one core, by the exact path.
//!
//! Established UDP and TCP through MASQUERADE, over table sizes and rules in FORWARD; new connections; memory. Figures are the
//! engine's alone: a frame in memory is read into a packet, handled, and left there. Machines differ and are noisy, so compare
//! figures of one run. Time is the thread's own CPU time.
//!
//! `cargo bench -p hairpin -- --quick` leaves out 10 million connections and 10,000 rules; `--max N` bounds the connections,
//! `--timed N` the packets timed for each figure, and `--ten-rules` leaves 10 rules alone.

use hairpin_engine::engine::Batch;
use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::{Engine, Fate, Now, Output, Packet};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_wire::build::{Tcp, Udp, frame};
use hairpin_wire::{Addr, Family, Mac, ethernet, tcp};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;

const LAN: IfIndex = IfIndex(3);
const WAN: IfIndex = IfIndex(2);
const BATCH: usize = 256;

fn main() {
    let options: Vec<String> = std::env::args().collect();
    let quick = options.iter().any(|o| o == "--quick");
    let max = options.iter().position(|o| o == "--max").and_then(|n| options.get(n + 1)?.parse().ok());
    let max: usize = max.unwrap_or(if quick { 1_000_000 } else { 10_000_000 });
    let timed = options.iter().position(|o| o == "--timed").and_then(|n| options.get(n + 1)?.parse().ok());
    let timed: usize = timed.unwrap_or(400_000);
    let rules: &[usize] = if options.iter().any(|o| o == "--ten-rules") {
        &[10]
    } else if quick {
        &[0, 10, 1_000]
    } else {
        &[0, 10, 1_000, 10_000]
    };
    println!(
        "ns per packet, one core, established, MASQUERADE; FORWARD has that many address rules that do not match, then ACCEPT"
    );
    println!("{:>6} {:>11} {}", "", "connections", rules.iter().map(|n| format!("{n:>9} rules")).collect::<String>());
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        for conns in [10_000, 1_000_000, 10_000_000].into_iter().filter(|n| *n <= max) {
            let mut world = World::new(protocol);
            world.fill(conns);
            let figures: String = rules
                .iter()
                .map(|n| {
                    world.set_rules(*n);
                    format!("{:>15.0}", world.established(conns, timed))
                })
                .collect();
            println!("{:>6} {conns:>11} {figures}", protocol.name());
            if protocol == Protocol::Udp {
                println!("{:>6} {conns:>11} {:>15} bytes per connection", "", world.bytes() / conns);
            }
        }
    }
    for (conns, label) in
        [(1_000_000usize, "a table that grows from 0 to 1 million"), (1_000_000, "a table of 1 to 2 million")]
            .into_iter()
            .filter(|(n, _)| *n <= max)
    {
        let mut world = World::new(Protocol::Udp);
        world.set_rules(10);
        if label.contains('2') {
            world.fill(conns);
        }
        let per = world.new_connections(conns);
        println!("new UDP connections, 10 rules, {label}: {per:.0} ns each, {:.2} million a second", 1000.0 / per);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        }
    }
}

struct World {
    engine: Engine,
    protocol: Protocol,
    now: Now,
    packets: Vec<Packet>,
    fates: Vec<Fate>,
    out: Output,
    made: usize,
}

impl World {
    fn new(protocol: Protocol) -> World {
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
        let engine = Engine::new(hairpin_engine::Setup::new(net()), &now, 1);
        let mut world = World {
            engine,
            protocol,
            now,
            packets: vec![Packet::default(); BATCH],
            fates: vec![Fate::Held; BATCH],
            out: Output::default(),
            made: 0,
        };
        world.set_rules(10);
        world
    }

    fn set_rules(&mut self, count: usize) {
        let mut text = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                        :POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n\
                        *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
            .to_owned();
        for n in 0..count.saturating_sub(1) {
            text += &format!("-A FORWARD -s 172.16.{}.{}/32 -j DROP\n", n / 256, n % 256);
        }
        text += if count == 0 { "COMMIT\n" } else { "-A FORWARD -j ACCEPT\nCOMMIT\n" };
        let names = SystemNames::new();
        let options = RestoreOptions { file: "bench", counters: false, noflush: false, table: None, names: &names };
        let restored = restore(&Ruleset::new(Family::V4), text.as_bytes(), &options).expect("good rules");
        let compiled = Compiled::new(restored.ruleset).expect("good rules");
        self.engine.apply(&self.now, hairpin_engine::Change::Rules(Arc::new(compiled))).expect("good rules");
    }

    /// Opens connections until there are `count`, each answered.
    fn fill(&mut self, count: usize) {
        let from = self.made;
        self.made = count;
        let steps: &[(bool, u8)] = match self.protocol {
            Protocol::Udp => &[(true, 0), (false, 0)],
            Protocol::Tcp => &[(true, tcp::SYN), (false, tcp::SYN | tcp::ACK), (true, tcp::ACK)],
        };
        for chunk in (from..count).step_by(BATCH) {
            let flows: Vec<usize> = (chunk..count.min(chunk + BATCH)).collect();
            for (outwards, flags) in steps {
                let frames: Vec<Vec<u8>> = flows.iter().map(|n| self.frame(*n, *outwards, *flags)).collect();
                self.run(&frames, if *outwards { LAN } else { WAN });
            }
        }
        assert_eq!(self.engine.state().tracker().conns.count(), count);
    }

    /// Nanoseconds per packet of random established connections.
    fn established(&mut self, conns: usize, timed: usize) -> f64 {
        let mut dice = Dice(42);
        let mut spent = Duration::ZERO;
        let flags = tcp::ACK | tcp::PSH;
        for round in 0..timed / BATCH + 8 {
            let frames: Vec<Vec<u8>> = (0..BATCH).map(|_| self.frame(dice.below(conns), true, flags)).collect();
            let took = self.run(&frames, LAN);
            // The first rounds warm the caches of the new rules.
            if round >= 8 {
                spent += took;
            }
        }
        let sent = self.fates.iter().filter(|f| matches!(f, Fate::Transmit { .. })).count();
        assert_eq!(sent, BATCH, "{:?}", self.fates[0]);
        spent.as_nanos() as f64 / (timed / BATCH * BATCH) as f64
    }

    /// Nanoseconds per first packet of a new connection.
    fn new_connections(&mut self, count: usize) -> f64 {
        let from = self.made;
        let mut spent = Duration::ZERO;
        for chunk in (from..from + count).step_by(BATCH) {
            let frames: Vec<Vec<u8>> = (chunk..chunk + BATCH).map(|n| self.frame(n, true, tcp::SYN)).collect();
            spent += self.run(&frames, LAN);
        }
        self.made += count;
        spent.as_nanos() as f64 / count as f64
    }

    fn run(&mut self, frames: &[Vec<u8>], dev: IfIndex) -> Duration {
        let packets = &mut self.packets[..frames.len()];
        let fates = &mut self.fates[..frames.len()];
        let start = cpu_time();
        for (packet, frame) in packets.iter_mut().zip(frames) {
            packet.load_frame(frame).expect("good frame");
            packet.meta.iif = Some(dev);
        }
        self.out.clear();
        self.engine.handle(&self.now, &mut Batch { packets, fates }, &mut self.out);
        cpu_time().saturating_sub(start)
    }

    /// The frame of flow `n`: 60,000 source ports for each of many clients, and servers so that every port can be kept.
    fn frame(&self, n: usize, outwards: bool, flags: u8) -> Vec<u8> {
        let (port, group) = ((1024 + n % 60_000) as u16, (n / 60_000) as u32);
        let client = Addr::v4(0x0a00_0002 + (n as u32 % 65_521));
        let server = Addr::v4(0xc633_0000 + group);
        let public = Addr::v4(0xcb00_7101);
        let (src, sport, dst, dport) = if outwards { (client, port, server, 443) } else { (server, 443, public, port) };
        let ip = match self.protocol {
            Protocol::Udp => Udp { src_port: sport, dst_port: dport, payload: &[0; 18] }.packet(Family::V4, src, dst),
            Protocol::Tcp => {
                // SYNs count one; everything later is an empty acknowledgement at the same place.
                let (mine, other) = if outwards { (1000, 5000) } else { (5000, 1000) };
                let seq = if flags & tcp::SYN != 0 { mine } else { mine + 1 };
                let ack = if flags & tcp::ACK != 0 { other + 1 } else { 0 };
                Tcp { src_port: sport, dst_port: dport, seq, ack, flags, window: 60_000, ..Tcp::default() }.packet(
                    Family::V4,
                    src,
                    dst,
                )
            }
        };
        let (own, peer) = if outwards { (mac(2), mac(0x30)) } else { (mac(1), mac(0x20)) };
        frame(own, peer, ethernet::IPV4, &ip)
    }

    fn bytes(&self) -> usize {
        self.engine.state().tracker().conns.bytes()
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Enough chance for choosing flows (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

const fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn net() -> Net {
    let host = || {
        hairpin_engine::setup::Setup::default()
            .ethernet("eth0", &["203.0.113.1/24"])?
            .ethernet("eth1", &["10.0.0.1/8"])?
            .route("default via 203.0.113.254")?
            .neighbor("203.0.113.254 lladdr 02:00:00:00:00:20 dev eth0")?
            .sysctl("net.ipv4.ip_forward=1")?
            .sysctl("net.netfilter.nf_conntrack_max=0")
    };
    host().expect("a good host").build().expect("a good host")
}
