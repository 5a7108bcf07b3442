//! Rules: what a rule set is, how it is checked when loaded, and how a packet walks through it.
//!
//! [`Ruleset`] is the value that people edit. Loading it ([`compiled::Compiled::new`]) checks it as the kernel does and lays it
//! out flat; the result never changes and is shared by `Arc`. Counters and the memory of matches change with packets and so
//! belong to the engine ([`live::Live`]).

mod check;
pub mod compiled;
mod counter;
mod extension;
mod header;
mod listing;
mod live;
mod scan;
mod shared;
mod table;
mod verdict;
mod walk;

pub use check::{LoadError, LoadRefusal, check_rule, check_table, ends_chain, reach};
pub use compiled::Compiled;
pub use counter::Counter;
pub use extension::{Match, Memory, Needs, Place, Protocols, Refused, Scope, Target};
pub(crate) use header::HeaderSays;
pub use header::{AddrMatch, Header, IfMatch};
pub use listing::{Listing, NameKind, NumberNames};
pub use live::{Live, Memories, MemoryCell, SharedMemory};
pub use shared::{Shared, SharedKind, SharedNames, SharedUse, shared_uses};
pub use table::{Action, Chain, Policy, Rule, Ruleset, Table, TableId, Tables};
pub use verdict::{NatRange, RejectWith, SynProxy, Verdict};
pub(crate) use walk::{Stopped, Walk, walk};
