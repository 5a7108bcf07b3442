//! `cargo bench`: what one packet costs on one core, by the exact path.
//!
//! Established UDP and TCP through MASQUERADE, IPv4 and IPv6, over table sizes and rules in FORWARD; new connections; memory. Figures
//! are the engine's alone: a frame in memory is read into a packet, handled, and left there. Machines differ and are noisy, so compare
//! figures of one run. Time is the thread's own CPU time, and the best of a few rounds. Behind each row stands how much of the process
//! lies on huge pages: where the system had none to give, large tables cost more.
//!
//! `cargo bench -p hairpin -- --quick` leaves out 10 million connections and 10,000 rules; `--max N` bounds the connections,
//! `--timed N` the packets timed for each figure, `--rules N` and `--only UDP4|TCP4|UDP6|TCP6` leave the others out, `--established`
//! leaves out new connections. `--untimed` reads no clock, for instruction counters that cannot follow it there.

use hairpin_datapath::{huge_pages, prefetch};
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// As in the program.
#[global_allocator]
static ALLOCATOR: huge_pages::Allocator = huge_pages::Allocator;

const LAN: IfIndex = IfIndex(3);
const WAN: IfIndex = IfIndex(2);
const BATCH: usize = 256;
/// A figure is the best of so many rounds.
const ROUNDS: usize = 5;

static UNTIMED: AtomicBool = AtomicBool::new(false);

fn main() {
    huge_pages::prefer();
    let options: Vec<String> = std::env::args().collect();
    let has = |name: &str| options.iter().any(|o| o == name);
    let value = |name: &str| options.iter().position(|o| o == name).and_then(|n| options.get(n + 1).cloned());
    let number = |name: &str| value(name).and_then(|v| v.parse::<usize>().ok());
    let quick = has("--quick");
    UNTIMED.store(has("--untimed"), Ordering::Relaxed);
    let max = number("--max").unwrap_or(if quick { 1_000_000 } else { 10_000_000 });
    let timed = number("--timed").unwrap_or(400_000);
    let all_rules = [0, 10, 1_000, 10_000];
    let rules = match number("--rules") {
        Some(count) => vec![count],
        None => all_rules[..if quick { 3 } else { 4 }].to_vec(),
    };
    let kinds = Kind::ALL.into_iter().filter(|kind| value("--only").is_none_or(|only| only == kind.name()));

    println!(
        "ns per packet, one core, established, MASQUERADE; FORWARD has that many address rules, of which the last matches"
    );
    println!("{:>6} {:>11} {}", "", "connections", rules.iter().map(|n| format!("{n:>9} rules")).collect::<String>());
    for conns in [10_000, 1_000_000, 10_000_000].into_iter().filter(|n| *n <= max) {
        for kind in kinds.clone() {
            let mut world = World::new(kind);
            world.fill(conns);
            let mut figures = String::new();
            for count in &rules {
                world.set_rules(*count);
                figures += &format!("{:>15.0}", world.established(conns, timed));
            }
            println!(
                "{:>6} {conns:>11} {figures}   {} bytes per connection{}",
                kind.name(),
                world.bytes() / conns,
                on_huge_pages()
            );
        }
    }
    if has("--established") {
        return;
    }
    println!("new connections with 10 rules: ns for the first packet of each, and millions a second");
    for kind in kinds {
        for (from, count) in [(0, 1_000_000), (1_000_000, 1_000_000)].into_iter().filter(|(from, n)| from + n <= max) {
            let mut world = World::new(kind);
            world.fill(from);
            let per = world.new_connections(count);
            println!("{:>6} from {from:>9} to {:>9} {per:>8.0} {:>8.2}", kind.name(), from + count, 1000.0 / per);
        }
    }
}

/// The traffic of a row.
#[derive(Clone, Copy)]
struct Kind {
    family: Family,
    protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Udp,
    Tcp,
}

impl Kind {
    const ALL: [Kind; 4] = [
        Kind { family: Family::V4, protocol: Protocol::Udp },
        Kind { family: Family::V4, protocol: Protocol::Tcp },
        Kind { family: Family::V6, protocol: Protocol::Udp },
        Kind { family: Family::V6, protocol: Protocol::Tcp },
    ];

    const fn name(self) -> &'static str {
        match (self.protocol, self.family) {
            (Protocol::Udp, Family::V4) => "UDP4",
            (Protocol::Tcp, Family::V4) => "TCP4",
            (Protocol::Udp, Family::V6) => "UDP6",
            (Protocol::Tcp, Family::V6) => "TCP6",
        }
    }
}

struct World {
    engine: Engine,
    kind: Kind,
    now: Now,
    packets: Vec<Packet>,
    fates: Vec<Fate>,
    out: Output,
    made: usize,
}

impl World {
    fn new(kind: Kind) -> World {
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
        let mut engine = Engine::new(hairpin_engine::Setup::new(net()), &now, 1);
        engine.set_prefetch(prefetch::line());
        let mut world = World {
            engine,
            kind,
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
        let family = self.kind.family;
        for n in 0..count.saturating_sub(1) {
            text += &match family {
                Family::V4 => format!("-A FORWARD -s 172.16.{}.{}/32 -j DROP\n", n / 256, n % 256),
                Family::V6 => format!("-A FORWARD -s 2001:db8:77::{n:x}/128 -j DROP\n"),
            };
        }
        text += if count == 0 { "COMMIT\n" } else { "-A FORWARD -j ACCEPT\nCOMMIT\n" };
        let names = SystemNames::new();
        let options = RestoreOptions { file: "bench", counters: false, noflush: false, table: None, names: &names };
        let restored = restore(&Ruleset::new(family), text.as_bytes(), &options).expect("good rules");
        let compiled = Compiled::new(restored.ruleset).expect("good rules");
        self.engine.apply(&self.now, hairpin_engine::Change::Rules(Arc::new(compiled))).expect("good rules");
    }

    /// Opens connections until there are `count`, each answered.
    fn fill(&mut self, count: usize) {
        let from = self.made;
        self.made = count;
        let steps: &[(bool, u8)] = match self.kind.protocol {
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
        let flags = tcp::ACK | tcp::PSH;
        let batches = timed / BATCH / ROUNDS;
        let mut best = Duration::MAX;
        for round in 0..=ROUNDS {
            let mut spent = Duration::ZERO;
            for _ in 0..if round == 0 { 8 } else { batches } {
                let frames: Vec<Vec<u8>> = (0..BATCH).map(|_| self.frame(dice.below(conns), true, flags)).collect();
                spent += self.run(&frames, LAN);
            }
            // The first round warms the caches of the new rules.
            best = if round == 0 { best } else { best.min(spent) };
        }
        let sent = self.fates.iter().filter(|f| matches!(f, Fate::Transmit { .. })).count();
        assert_eq!(sent, BATCH, "{:?}", self.fates[0]);
        best.as_nanos() as f64 / (batches * BATCH) as f64
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
        let client = n as u32 % 65_521;
        let Kind { family, protocol } = self.kind;
        let (client, server, public) = match family {
            Family::V4 => (Addr::v4(0x0a00_0002 + client), Addr::v4(0xc633_0000 + group), Addr::v4(0xcb00_7101)),
            Family::V6 => {
                (Addr(CLIENTS6 | u128::from(client + 2)), Addr(SERVERS6 | u128::from(group + 1)), Addr(PUBLIC6 | 1))
            }
        };
        let (src, sport, dst, dport) = if outwards { (client, port, server, 443) } else { (server, 443, public, port) };
        let ip = match protocol {
            Protocol::Udp => Udp { src_port: sport, dst_port: dport, payload: &[0; 18] }.packet(family, src, dst),
            Protocol::Tcp => {
                // SYNs count one; everything later is an empty acknowledgement at the same place.
                let (mine, other) = if outwards { (1000, 5000) } else { (5000, 1000) };
                let seq = if flags & tcp::SYN != 0 { mine } else { mine + 1 };
                let ack = if flags & tcp::ACK != 0 { other + 1 } else { 0 };
                let window = 60_000;
                Tcp { src_port: sport, dst_port: dport, seq, ack, flags, window, ..Tcp::default() }
                    .packet(family, src, dst)
            }
        };
        let (own, peer) = if outwards { (mac(2), mac(0x30)) } else { (mac(1), mac(0x20)) };
        let ethertype = if family == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 };
        frame(own, peer, ethertype, &ip)
    }

    fn bytes(&self) -> usize {
        self.engine.state().tracker().conns.bytes()
    }
}

/// How much of this process lies on huge pages: with small ones each packet's memory costs walks through page tables as well. Nothing
/// where the system does not say.
fn on_huge_pages() -> String {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let sum = |name: &str| {
        let lines = smaps.lines().filter_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
        lines.filter_map(|kib| kib.trim().parse::<u64>().ok()).sum::<u64>() / 1024
    };
    match (sum("AnonHugePages:"), sum("Rss:")) {
        (_, 0) => String::new(),
        (huge, all) => format!(", {huge} of {all} MiB on huge pages"),
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    if UNTIMED.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// 2001:db8:1::/64.
const CLIENTS6: u128 = 0x2001_0db8_0001 << 80;
/// 2001:db8:9::/64.
const SERVERS6: u128 = 0x2001_0db8_0009 << 80;
/// 2001:db8:ff::/64.
const PUBLIC6: u128 = 0x2001_0db8_00ff << 80;

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
            .ethernet("eth0", &["203.0.113.1/24", "2001:db8:ff::1/64"])?
            .ethernet("eth1", &["10.0.0.1/8", "2001:db8:1::1/64"])?
            .route("default via 203.0.113.254")?
            .route("default via 2001:db8:ff::fe")?
            .neighbor("203.0.113.254 lladdr 02:00:00:00:00:20 dev eth0")?
            .neighbor("2001:db8:ff::fe lladdr 02:00:00:00:00:20 dev eth0")?
            .sysctl("net.ipv4.ip_forward=1")?
            .sysctl("net.ipv6.conf.all.forwarding=1")?
            .sysctl("net.netfilter.nf_conntrack_max=0")
    };
    host().expect("a good host").build().expect("a good host")
}
