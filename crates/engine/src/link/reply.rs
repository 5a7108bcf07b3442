//! Packets this host makes in answer to others: ICMP errors, echo replies, resets, redirects.
//!
//! Each function gives a finished packet without a link header, with the route it is to take in its `meta`, ready for OUTPUT;
//! or None, where Linux stays silent.

use super::{IcmpError, IcmpLimiter};
use crate::net::Net;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::route::Route;
use crate::time::Now;

/// What answering needs beside the packet answered.
#[derive(Debug)]
pub struct Host<'a> {
    /// Addresses, routes and settings.
    pub net: &'a Net,
    /// The rate limits.
    pub limiter: &'a mut IcmpLimiter,
    /// For identifications.
    pub rng: &'a Rng,
    /// The time.
    pub now: Now,
}

/// An ICMP error about `about` (`icmp_send`, `icmpv6_send`). `about.meta.route` is its route, if it has one already.
pub fn icmp_error(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (about, error, host);
    None
}

/// The error of a packet that has no route (`ip_error`, `ip6_pkt_discard`): as [`icmp_error`], behind the limit of such errors.
pub fn route_error(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    icmp_error(about, error, host)
}

/// The answer to an echo request.
pub fn echo_reply(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (request, host);
    None
}

/// The answer to a timestamp request.
pub fn timestamp_reply(request: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (request, host);
    None
}

/// The RST of a closed TCP port (`tcp_v4_send_reset`).
pub fn tcp_reset(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (segment, host);
    None
}

/// The RST of REJECT (`nf_send_reset`).
pub fn reject_reset(segment: &Packet, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (segment, host);
    None
}

/// The ICMP error of REJECT (`nf_send_unreach`).
pub fn reject_unreachable(about: &Packet, error: IcmpError, host: &mut Host<'_>) -> Option<Packet> {
    icmp_error(about, error, host)
}

/// The redirect for a packet that leaves by the device it came by, if it is due (`ip_rt_send_redirect`). The route is the one
/// the packet takes.
pub fn redirect(about: &Packet, route: &Route, host: &mut Host<'_>) -> Option<Packet> {
    let _ = (about, route, host);
    None
}
