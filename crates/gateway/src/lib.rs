//! The gateway: real devices, a clock and an engine, joined by one loop.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` | the loop |
//! | `run/plan.rs` | what a host file asks for, before anything is opened |
//! | `run/way.rs`, `run/frame.rs` | a batch's way from device to device |
//! | `run/links.rs` | devices that come, go and change |
//! | `run/linger.rs` | looking for more before going to sleep |
//! | `seam.rs` | how others act on the running gateway between two batches: [`Handle`], [`Attendant`], [`Moment`] |
//! | `devices.rs` | opening the devices of a host file |
//! | `control/` | the control socket: commands on the running gateway |
//! | `snapshot/` | connections, rules and counters kept over a restart |
//! | `watch/` | who looks at packets: which ones, and what came of them |
//! | `trace.rs` | a packet's way as text |
//! | `queues.rs` | packets that wait for a listener of NFQUEUE |
//! | `limits.rs` | limits, and warnings before one is reached |
//! | `logs.rs` | LOG's lines and NFLOG's packets, to where they are wanted |
//! | `metrics.rs` | numbers for Prometheus |
//! | `harden.rs` | what is given up once the devices are open |
//! | `notify.rs` | the service manager is told |
//! | `local.rs` | this machine's own traffic |
//! | `neighbors.rs` | link addresses of next hops: asking, answering, aging |
//! | `demo.rs` | `hairpin demo`: three networks in one process |
//! | `host_file.rs` | the host file, for replay too |
//! | `rules.rs`, `names.rs` | rule files and the system's names |

pub mod control;
pub mod demo;
pub mod devices;
pub mod harden;
pub mod host_file;
pub mod limits;
mod local;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod neighbors;
pub mod notify;
pub mod queues;
pub mod rules;
pub mod run;
pub mod seam;
pub mod snapshot;
pub mod trace;
pub mod watch;

pub use run::{Gateway, GatewayError};
pub use seam::{Attendant, Gone, Handle, Moment, Stats};

/// Tells the service manager, if there is one, that the gateway forwards.
pub fn notify_ready() {
    hairpin_datapath::sys::notify("READY=1");
}
