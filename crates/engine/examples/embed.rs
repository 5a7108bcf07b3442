//! A NAT in a program of your own: a host, rules as text, packets in, packets out. No device, no root, no thread, no clock.
//!
//! `cargo run -p hairpin-engine --example embed`
#![expect(clippy::disallowed_macros, reason = "the engine prints nothing; a program around it may")]

use hairpin_engine::engine::Batch;
use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::setup::Setup as Host;
use hairpin_engine::{Engine, Fate, Now, Output, Packet, Setup};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_wire::build::{Udp, frame};
use hairpin_wire::{Addr, Family, Mac, ethernet};
use std::error::Error;
use std::sync::Arc;

const RULES: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
";

fn main() -> Result<(), Box<dyn Error>> {
    // The router: a home network on lan0, the world on wan0. Devices count from 1, which is lo.
    let mut setup = Setup::new(router()?);
    setup.rules4 = rules(RULES)?;
    let start = Now::from_unix_nanos(1_700_000_000_000_000_000);
    let mut engine = Engine::new(setup, &start, 0x5eed);
    let (wan, lan) = (IfIndex(2), IfIndex(3));

    // A question from inside, and the answer as the outside sends it: to the router's address.
    let client = (addr("192.168.1.2"), 5353);
    let server = (addr("198.51.100.7"), 53);
    let public = (addr("203.0.113.1"), 5353);
    let arriving = [(lan, datagram(client, server, b"question")), (wan, datagram(server, public, b"answer"))];

    let mut out = Output::default();
    for (n, (dev, frame)) in arriving.iter().enumerate() {
        // Time is an argument: here the packets come a millisecond apart.
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000 + n as u64 * 1_000_000);
        let mut packet = Packet::from_frame(frame).map_err(|e| format!("{e:?}"))?;
        packet.meta.iif = Some(*dev);
        println!("in   {}", packet.describe());
        let mut fates = [Fate::Held];
        engine.handle(&now, &mut Batch { packets: std::slice::from_mut(&mut packet), fates: &mut fates }, &mut out);
        println!("out  {}   {:?}", packet.describe(), fates[0]);
    }
    for (_, conn) in engine.state().conns() {
        println!(
            "conn {}",
            hairpin_engine::track::text::line(conn, Now::from_unix_nanos(1_700_000_000_002_000_000).mono)
        );
    }
    Ok(())
}

fn router() -> Result<Net, Box<dyn Error>> {
    let host = Host::default()
        .ethernet("wan0", &["203.0.113.1/24"])?
        .ethernet("lan0", &["192.168.1.1/24"])?
        .route("default via 203.0.113.254")?
        .neighbor("203.0.113.254 lladdr 02:00:00:00:00:11 dev wan0")?
        .neighbor("192.168.1.2 lladdr 02:00:00:00:00:22 dev lan0")?
        .sysctl("net.ipv4.ip_forward=1")?;
    Ok(host.build()?)
}

fn rules(text: &str) -> Result<Arc<Compiled>, Box<dyn Error>> {
    let names = SystemNames::new();
    let options = RestoreOptions { file: "rules", counters: false, noflush: false, table: None, names: &names };
    let restored = restore(&Ruleset::new(Family::V4), text.as_bytes(), &options).map_err(|e| e.to_string())?;
    Ok(Arc::new(Compiled::new(restored.ruleset)?))
}

fn datagram(from: (Addr, u16), to: (Addr, u16), payload: &[u8]) -> Vec<u8> {
    let udp = Udp { src_port: from.1, dst_port: to.1, payload };
    let (own, peer) = if from.1 == 53 { (mac(1), mac(0x11)) } else { (mac(2), mac(0x22)) };
    frame(own, peer, ethernet::IPV4, &udp.packet(Family::V4, from.0, to.0))
}

fn addr(text: &str) -> Addr {
    Addr::from_v4(text.parse().expect("an IPv4 address"))
}

const fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}
