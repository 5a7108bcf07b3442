//! The settings of connection tracking (`net.netfilter.nf_conntrack_*`).

/// The settings, with the kernel's defaults. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Check transport checksums in PREROUTING (`nf_conntrack_checksum`).
    pub checksum: bool,
    /// Most connections; 0 for no limit (`nf_conntrack_max`).
    pub max: u32,
    /// Parts of the table that are searched for room when it is full (`nf_conntrack_buckets`): the more, the less is found. The table
    /// itself grows as it needs to.
    pub buckets: u32,
    /// Most expectations (`nf_conntrack_expect_max`).
    pub expect_max: u32,
    /// Count packets and bytes (`nf_conntrack_acct`).
    pub accounting: bool,
    /// Keep the time of confirmation (`nf_conntrack_timestamp`).
    pub timestamp: bool,
    /// Take up TCP connections whose beginning was not seen (`nf_conntrack_tcp_loose`).
    pub tcp_loose: bool,
    /// Let out-of-window segments pass as valid (`nf_conntrack_tcp_be_liberal`).
    pub tcp_be_liberal: bool,
    /// Let RSTs below the window pass (`nf_conntrack_tcp_ignore_invalid_rst`).
    pub tcp_ignore_invalid_rst: bool,
    /// After so many repeats of the same acknowledgement the shorter time-out counts (`nf_conntrack_tcp_max_retrans`).
    pub tcp_max_retrans: u8,
    /// By TCP state ([`super::TcpState`]'s number); the first is unused (`nf_conntrack_tcp_timeout_*`).
    pub tcp_timeouts: [u32; 10],
    /// `nf_conntrack_tcp_timeout_max_retrans`.
    pub tcp_timeout_max_retrans: u32,
    /// `nf_conntrack_tcp_timeout_unacknowledged`.
    pub tcp_timeout_unacknowledged: u32,
    /// `nf_conntrack_udp_timeout`.
    pub udp_timeout: u32,
    /// `nf_conntrack_udp_timeout_stream`.
    pub udp_timeout_stream: u32,
    /// `nf_conntrack_icmp_timeout`.
    pub icmp_timeout: u32,
    /// `nf_conntrack_icmpv6_timeout`.
    pub icmpv6_timeout: u32,
    /// `nf_conntrack_generic_timeout`.
    pub generic_timeout: u32,
    /// `nf_conntrack_gre_timeout`.
    pub gre_timeout: u32,
    /// `nf_conntrack_gre_timeout_stream`.
    pub gre_timeout_stream: u32,
    /// By SCTP state number; the first is unused (`nf_conntrack_sctp_timeout_*`).
    pub sctp_timeouts: [u32; 9],
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            checksum: true,
            max: 262_144,
            buckets: 262_144,
            expect_max: 4096,
            accounting: false,
            timestamp: false,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            tcp_timeouts: [0, 120, 60, 432_000, 120, 60, 30, 120, 10, 120],
            tcp_timeout_max_retrans: 300,
            tcp_timeout_unacknowledged: 300,
            udp_timeout: 30,
            udp_timeout_stream: 120,
            icmp_timeout: 30,
            icmpv6_timeout: 30,
            generic_timeout: 600,
            gre_timeout: 30,
            gre_timeout_stream: 180,
            sctp_timeouts: [0, 10, 3, 3, 210, 3, 3, 3, 30],
        }
    }
}
