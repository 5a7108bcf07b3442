//! Packets this host makes in answer to others: ICMP errors, echo replies, resets, redirects.
//!
//! Each function gives a finished packet without a link header, with the route it is to take in its `meta`, ready for OUTPUT;
//! or None, where Linux stays silent. Whether one is being sent already (Linux makes no ICMP message while it sends one) is the
//! caller's to know, and so is the connection an answer belongs to.

mod echo;
mod error;
mod finish;
mod intact;
mod price;
mod redirect;
mod reset;
#[cfg(test)]
mod tests;

use super::limit::IcmpLimiter;
use crate::net::Net;
use crate::rng::Rng;
use crate::route::path_mtu::PathMtus;
use crate::time::Now;

pub use echo::{echo_reply, timestamp_reply, wall_ms};
pub use error::{icmp_error, reject_unreachable, route_error};
pub(super) use intact::checksum_ok;
pub(crate) use intact::tcp_adds_up;
pub use redirect::redirect;
pub(crate) use reset::proxy_segment;
pub use reset::{reject_reset, tcp_reset};

/// What answering needs beside the packet answered.
#[derive(Debug)]
pub struct Host<'a> {
    /// Addresses, routes and settings.
    pub net: &'a Net,
    /// The rate limits.
    pub limiter: &'a mut IcmpLimiter,
    /// What is known of ways.
    pub(crate) path_mtus: &'a PathMtus,
    /// For identifications.
    pub rng: &'a Rng,
    /// The time.
    pub now: Now,
}
