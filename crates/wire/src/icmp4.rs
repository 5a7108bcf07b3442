//! What ICMP messages of IPv4 mean (RFC 792); their form is in [`icmp`](crate::icmp).

use crate::addr::Addr;

/// Answer to [`ECHO`].
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable, codes in [`mod@unreachable`].
pub const UNREACHABLE: u8 = 3;
/// Source quench (historic).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect, codes in [`redirect`].
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO: u8 = 8;
/// Router advertisement (RFC 1256).
pub const ROUTER_ADVERTISEMENT: u8 = 9;
/// Router solicitation (RFC 1256).
pub const ROUTER_SOLICITATION: u8 = 10;
/// Time exceeded, codes in [`time_exceeded`].
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Timestamp request.
pub const TIMESTAMP: u8 = 13;
/// Answer to [`TIMESTAMP`].
pub const TIMESTAMP_REPLY: u8 = 14;
/// Information request (historic).
pub const INFO_REQUEST: u8 = 15;
/// Answer to [`INFO_REQUEST`].
pub const INFO_REPLY: u8 = 16;
/// Address mask request (RFC 950, historic).
pub const ADDRESS_MASK: u8 = 17;
/// Answer to [`ADDRESS_MASK`].
pub const ADDRESS_MASK_REPLY: u8 = 18;

/// Codes of [`UNREACHABLE`] (RFC 792, RFC 1812 section 5.2.7.1).
pub mod unreachable {
    /// Network unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set; the low half of the word is the next hop's MTU (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    /// Network unknown.
    pub const NET_UNKNOWN: u8 = 6;
    /// Host unknown.
    pub const HOST_UNKNOWN: u8 = 7;
    /// Network administratively prohibited.
    pub const NET_PROHIBITED: u8 = 9;
    /// Host administratively prohibited.
    pub const HOST_PROHIBITED: u8 = 10;
    /// Network unreachable for this type of service.
    pub const NET_TOS: u8 = 11;
    /// Host unreachable for this type of service.
    pub const HOST_TOS: u8 = 12;
    /// Communication administratively prohibited.
    pub const ADMIN_PROHIBITED: u8 = 13;
    /// Host precedence violation.
    pub const PRECEDENCE_VIOLATION: u8 = 14;
    /// Precedence cut-off in effect.
    pub const PRECEDENCE_CUTOFF: u8 = 15;
}

/// Codes of [`REDIRECT`].
pub mod redirect {
    /// For the network.
    pub const NET: u8 = 0;
    /// For the host.
    pub const HOST: u8 = 1;
}

/// Codes of [`TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Time to live ran out in transit.
    pub const TTL: u8 = 0;
    /// Fragments did not all arrive in time.
    pub const REASSEMBLY: u8 = 1;
}

/// Whether a message of this type is an error that quotes the packet it is about.
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// MTU in a "fragmentation needed" message whose word behind the checksum is this.
pub const fn mtu(rest: u32) -> u16 {
    rest as u16
}

/// Offset of the offending byte in a parameter problem whose word behind the checksum is this.
pub const fn pointer(rest: u32) -> u8 {
    (rest >> 24) as u8
}

/// The better gateway in a redirect whose word behind the checksum is this.
pub const fn gateway(rest: u32) -> Addr {
    Addr::v4(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_behind_the_checksum() {
        assert_eq!((mtu(0x0203_0405), pointer(0x0203_0405)), (0x0405, 2));
        assert_eq!(gateway(0xc000_0201), Addr::v4(0xc000_0201));
    }

    #[test]
    fn five_types_are_errors() {
        let errors: Vec<u8> = (0..=255).filter(|kind| is_error(*kind)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }
}
