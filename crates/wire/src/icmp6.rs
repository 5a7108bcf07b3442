//! What ICMP messages of IPv6 mean (RFC 4443), with the types of neighbour discovery (RFC 4861) and multicast listener discovery
//! (RFC 2710, RFC 3810); their form is in [`icmp`](crate::icmp).

use crate::addr::{Addr, Family};

/// Destination unreachable, codes in [`mod@unreachable`].
pub const UNREACHABLE: u8 = 1;
/// Packet too big; the word is the MTU.
pub const TOO_BIG: u8 = 2;
/// Time exceeded, codes in [`time_exceeded`].
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem, codes in [`parameter_problem`]; the word is the offset of the offending byte.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request.
pub const ECHO: u8 = 128;
/// Answer to [`ECHO`].
pub const ECHO_REPLY: u8 = 129;
/// Multicast listener query.
pub const MLD_QUERY: u8 = 130;
/// Multicast listener report, version 1.
pub const MLD_REPORT: u8 = 131;
/// Multicast listener done.
pub const MLD_DONE: u8 = 132;
/// Router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect.
pub const REDIRECT: u8 = 137;
/// Node information query (RFC 4620).
pub const NODE_INFO_QUERY: u8 = 139;
/// Answer to [`NODE_INFO_QUERY`].
pub const NODE_INFO_REPLY: u8 = 140;
/// Multicast listener report, version 2.
pub const MLD2_REPORT: u8 = 143;
/// Multicast router advertisement (RFC 4286).
pub const MRD_ADVERTISEMENT: u8 = 151;
/// Multicast router solicitation (RFC 4286).
pub const MRD_SOLICITATION: u8 = 152;
/// Multicast router termination (RFC 4286).
pub const MRD_TERMINATION: u8 = 153;

/// Codes of [`UNREACHABLE`].
pub mod unreachable {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const ADMIN_PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Address unreachable.
    pub const ADDRESS: u8 = 3;
    /// Port unreachable.
    pub const PORT: u8 = 4;
    /// Source address failed ingress or egress policy.
    pub const POLICY: u8 = 5;
    /// Reject route.
    pub const REJECT_ROUTE: u8 = 6;
}

/// Codes of [`TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Hop limit ran out in transit.
    pub const HOP_LIMIT: u8 = 0;
    /// Fragments did not all arrive in time.
    pub const REASSEMBLY: u8 = 1;
}

/// Codes of [`PARAMETER_PROBLEM`].
pub mod parameter_problem {
    /// Erroneous header field.
    pub const HEADER_FIELD: u8 = 0;
    /// Unknown next header.
    pub const NEXT_HEADER: u8 = 1;
    /// Unknown option.
    pub const OPTION: u8 = 2;
}

/// Whether a message of this type is an error that quotes the packet it is about: all below 128.
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// The first address behind the header of a message: target of neighbour solicitation, advertisement and redirect, group of the
/// old multicast listener messages. Unspecified if the message ends before it.
pub fn target(payload: &[u8]) -> Addr {
    Addr::read(Family::V6, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address() {
        assert_eq!(target(&[6; 20]), Addr(u128::from_be_bytes([6; 16])));
        assert_eq!(target(&[6; 15]), Addr::UNSPECIFIED);
    }

    #[test]
    fn errors_are_below_128() {
        assert!(is_error(0) && is_error(127) && !is_error(ECHO) && !is_error(REDIRECT));
    }
}
