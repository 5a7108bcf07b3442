//! Linux netfilter as a library: packets and time in, packets and events out.
//!
//! Tables, hooks, chains, connection tracking, NAT, routing, fragments and ICMP of one host, as Linux has them. The engine reads no
//! clock, opens nothing, prints nothing and starts no thread; its callers bring packets and say what time it is. [`Engine`] has the
//! five calls. Rules and host are values that are made once ([`rule::Compiled`], [`setup::Setup::build`]) and shared; connections
//! and counters belong to one engine.
//!
//! A NAT between two slices of packets:
//!
//! ```
//! use hairpin_engine::rule::{Compiled, Ruleset};
//! use hairpin_engine::{Batch, Engine, Fate, Now, Output, Packet, Setup, net::IfIndex};
//! use hairpin_ruleset::{names::SystemNames, restore::{RestoreOptions, restore}};
//! use hairpin_wire::{Addr, Family, build::Udp};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The router. Devices count from 1, which is lo; link addresses do not matter on devices without them.
//! let mut host = hairpin_engine::setup::Setup::default()
//!     .ethernet("wan0", &["203.0.113.1/24"])?
//!     .ethernet("lan0", &["192.168.1.1/24"])?
//!     .route("default via 203.0.113.254")?
//!     .sysctl("net.ipv4.ip_forward=1")?;
//! host.interfaces.iter_mut().for_each(|i| i.kind = hairpin_engine::net::LinkKind::Bare);
//!
//! // The rules, as iptables-save prints them.
//! let text = b"*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n";
//! let names = SystemNames::new();
//! let options = RestoreOptions { file: "rules", counters: false, noflush: false, table: None, names: &names };
//! let rules = restore(&Ruleset::new(Family::V4), text, &options).map_err(|e| e.to_string())?.ruleset;
//!
//! let mut setup = Setup::new(host.build()?);
//! setup.rules4 = Arc::new(Compiled::new(rules)?);
//! let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
//! let mut engine = Engine::new(setup, &now, 42);
//!
//! // Two questions from inside.
//! let addr = |text: &str| text.parse().map(Addr::from_v4);
//! let (server, clients) = (addr("198.51.100.7")?, [addr("192.168.1.2")?, addr("192.168.1.3")?]);
//! let mut packets = Vec::new();
//! for client in clients {
//!     let question = Udp { src_port: 5353, dst_port: 53, payload: b"who?" }.packet(Family::V4, client, server);
//!     let mut packet = Packet::from_ip(&question).map_err(|e| format!("{e:?}"))?;
//!     packet.meta.iif = Some(IfIndex(3));
//!     packets.push(packet);
//! }
//! let mut fates = vec![Fate::Held; packets.len()];
//! engine.handle(&now, &mut Batch { packets: &mut packets, fates: &mut fates }, &mut Output::default());
//!
//! // Both leave by wan0 with the router's address; the second had to take another port.
//! for (packet, fate) in packets.iter().zip(&fates) {
//!     assert_eq!(*fate, Fate::Transmit { oif: IfIndex(2), to: None });
//!     assert_eq!(packet.src(), addr("203.0.113.1")?);
//! }
//! assert_eq!(packets[0].ports(), Some((5353, 53)));
//! assert_ne!(packets[1].ports(), Some((5353, 53)));
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embed.rs` does the same with Ethernet frames and the answer.

pub mod account;
pub mod ahead;
pub mod engine;
pub mod event;
pub mod fate;
pub mod hook;
pub mod jhash;
pub mod link;
pub mod log_line;
pub mod look;
mod manage;
pub mod nat;
pub mod net;
pub mod osf;
pub mod packet;
mod path;
pub mod probe;
pub mod queue;
mod reached;
pub mod rng;
pub mod route;
pub mod rule;
pub mod set;
pub mod setup;
pub mod socket;
mod steps;
pub mod sysctl;
pub mod time;
pub mod track;
pub mod words;

pub use engine::{Batch, Change, Engine, Refused, Setup, State};
pub use event::{Event, Made, Output, RuleSaid, TraceStep, TraceWhat};
pub use fate::{DropReason, Fate};
pub use hook::{Hook, Hooks};
pub use look::{Edit, Facts, Look};
pub use packet::Packet;
pub use time::{Instant, Now, Wall};
