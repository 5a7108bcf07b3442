//! The steps of a packet's way that [`crate::path`] puts in order. Each joins rooms that do not know each other.

mod host;
pub(crate) mod link;
mod nat;
mod routing;
pub(crate) mod rules;
mod synproxy;
mod tracking;
