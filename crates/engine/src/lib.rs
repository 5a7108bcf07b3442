//! Linux netfilter as a library: packets and time in, packets and events out.
//!
//! The engine reads no clock, opens nothing, prints nothing and never iterates a hash map.

pub mod engine;
pub mod event;
pub mod fate;
pub mod hook;
pub mod jhash;
pub mod link;
pub mod log_line;
pub mod look;
pub mod nat;
pub mod net;
pub mod packet;
mod path;
pub mod probe;
pub mod rng;
pub mod route;
pub mod rule;
pub mod setup;
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
