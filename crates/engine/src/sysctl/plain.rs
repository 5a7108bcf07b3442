//! Settings that exist once.

macro_rules! settings {
    ($(#[$struct_doc:meta])* $struct:ident, $prefix:literal;
     $($(#[$doc:meta])* $field:ident $name:literal = $default:literal, $range:expr;)*) => {
        $(#[$struct_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $struct { $($(#[$doc])* pub $field: i64,)* }

        impl Default for $struct {
            fn default() -> Self { $struct { $($field: $default,)* } }
        }

        impl $struct {
            pub(super) const NAMES: &'static [&'static str] = &[$(concat!($prefix, $name),)*];

            pub(super) fn slot(&mut self, name: &str) -> Option<(&mut i64, std::ops::RangeInclusive<i64>)> {
                match name {
                    $(concat!($prefix, $name) => Some((&mut self.$field, $range)),)*
                    _ => None,
                }
            }

            pub(super) fn value(&self, name: &str) -> Option<i64> {
                match name {
                    $(concat!($prefix, $name) => Some(self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

const BOOL: std::ops::RangeInclusive<i64> = 0..=1;
const INT: std::ops::RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;
const COUNT: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
const SIZE: std::ops::RangeInclusive<i64> = 0..=i64::MAX;

settings! {
    /// Settings of IPv4. Numbers as `sysctl` shows them; times in the unit named.
    Ipv4Settings, "net.ipv4.";
    /// TTL of packets made here.
    ip_default_ttl "ip_default_ttl" = 64, 1..=255;
    /// Milliseconds for one token of a peer's ICMP bucket; 0 for no limit.
    icmp_ratelimit "icmp_ratelimit" = 1000, COUNT;
    /// ICMP types that are rate limited, one bit each.
    icmp_ratemask "icmp_ratemask" = 6168, INT;
    /// ICMP messages a second for all peers together.
    icmp_msgs_per_sec "icmp_msgs_per_sec" = 1000, COUNT;
    /// Size of the bucket of [`Ipv4Settings::icmp_msgs_per_sec`].
    icmp_msgs_burst "icmp_msgs_burst" = 50, COUNT;
    /// Answer no echo request.
    icmp_echo_ignore_all "icmp_echo_ignore_all" = 0, BOOL;
    /// Answer no echo or timestamp request to a broadcast or multicast address.
    icmp_echo_ignore_broadcasts "icmp_echo_ignore_broadcasts" = 1, BOOL;
    /// ICMP errors have the address of the device that the offender came by.
    icmp_errors_use_inbound_ifaddr "icmp_errors_use_inbound_ifaddr" = 0, BOOL;
    /// Do not log bogus errors.
    icmp_ignore_bogus_error_responses "icmp_ignore_bogus_error_responses" = 1, BOOL;
    /// Answer RFC 8335 probes.
    icmp_echo_enable_probe "icmp_echo_enable_probe" = 0, BOOL;
    /// Forward by learnt path MTUs.
    ip_forward_use_pmtu "ip_forward_use_pmtu" = 0, BOOL;
    /// A learnt path MTU below this is locked at it.
    min_pmtu "route.min_pmtu" = 552, COUNT;
    /// Seconds that a learnt path MTU is kept.
    mtu_expires "route.mtu_expires" = 600, COUNT;
    /// A forwarded packet's queueing priority follows its TOS.
    ip_forward_update_priority "ip_forward_update_priority" = 1, BOOL;
    /// Path MTU discovery of local sockets: 0 on.
    ip_no_pmtu_disc "ip_no_pmtu_disc" = 0, 0..=3;
    /// Sockets may bind to foreign addresses.
    ip_nonlocal_bind "ip_nonlocal_bind" = 0, BOOL;
    /// What is made in answer to a packet has its mark.
    fwmark_reflect "fwmark_reflect" = 0, BOOL;
    /// Seconds that fragments wait for each other.
    ipfrag_time "ipfrag_time" = 30, COUNT;
    /// Bytes of memory for fragments.
    ipfrag_high_thresh "ipfrag_high_thresh" = 4_194_304, SIZE;
    /// Unused by Linux.
    ipfrag_low_thresh "ipfrag_low_thresh" = 3_145_728, SIZE;
    /// Most fragments of one sender between two of the same packet; 0 for no limit.
    ipfrag_max_dist "ipfrag_max_dist" = 64, COUNT;
    /// What chooses among several next hops: 0 addresses, 1 ports too, 2 inner addresses, 3 chosen fields.
    fib_multipath_hash_policy "fib_multipath_hash_policy" = 0, 0..=3;
    /// Fields of policy 3.
    fib_multipath_hash_fields "fib_multipath_hash_fields" = 7, 1..=4095;
    /// Seed of the hash.
    fib_multipath_hash_seed "fib_multipath_hash_seed" = 0, 0..=u32::MAX as i64;
    /// Avoid next hops without a valid neighbor.
    fib_multipath_use_neigh "fib_multipath_use_neigh" = 0, BOOL;
    /// RSTs have the TOS of what they answer.
    tcp_reflect_tos "tcp_reflect_tos" = 0, BOOL;
}

settings! {
    /// Settings of IPv6.
    Ipv6Settings, "net.ipv6.";
    /// Flow labels of packets made here: 0 none, 1 automatic unless refused, 2 if asked for, 3 always.
    auto_flowlabels "auto_flowlabels" = 1, 0..=3;
    /// Bit 1: RSTs, 2: UDP, 4: echo replies have the flow label of what they answer.
    flowlabel_reflect "flowlabel_reflect" = 0, 0..=7;
    /// What is made in answer to a packet has its mark.
    fwmark_reflect "fwmark_reflect" = 0, BOOL;
    /// Milliseconds for one token of a peer's ICMPv6 bucket; 0 for no limit.
    icmp_ratelimit "icmp.ratelimit" = 100, COUNT;
    /// Answer no echo request.
    icmp_echo_ignore_all "icmp.echo_ignore_all" = 0, BOOL;
    /// Answer no echo request to a group.
    icmp_echo_ignore_multicast "icmp.echo_ignore_multicast" = 0, BOOL;
    /// Answer no echo request to an anycast address.
    icmp_echo_ignore_anycast "icmp.echo_ignore_anycast" = 0, BOOL;
    /// Errors about packets to an anycast address have that address.
    icmp_error_anycast_as_unicast "icmp.error_anycast_as_unicast" = 0, BOOL;
    /// Echo replies have the anycast address that was asked.
    anycast_src_echo_reply "anycast_src_echo_reply" = 0, BOOL;
    /// Seconds that a learnt path MTU is kept.
    mtu_expires "route.mtu_expires" = 600, COUNT;
    /// Seconds that fragments wait for each other.
    ip6frag_time "ip6frag_time" = 60, COUNT;
    /// Bytes of memory for fragments.
    ip6frag_high_thresh "ip6frag_high_thresh" = 4_194_304, SIZE;
    /// Unused by Linux.
    ip6frag_low_thresh "ip6frag_low_thresh" = 3_145_728, SIZE;
    /// Most options in a destination options header; negative: unknown ones are refused too.
    max_dst_opts_number "max_dst_opts_number" = 8, INT;
    /// Most options in a hop-by-hop options header; negative: unknown ones are refused too.
    max_hbh_opts_number "max_hbh_opts_number" = 8, INT;
    /// Longest destination options header in bytes.
    max_dst_opts_length "max_dst_opts_length" = 2_147_483_647, INT;
    /// Longest hop-by-hop options header in bytes.
    max_hbh_length "max_hbh_length" = 2_147_483_647, INT;
    /// What chooses among several next hops.
    fib_multipath_hash_policy "fib_multipath_hash_policy" = 0, 0..=3;
    /// Fields of policy 3.
    fib_multipath_hash_fields "fib_multipath_hash_fields" = 7, 1..=4095;
    /// Sockets may bind to foreign addresses.
    ip_nonlocal_bind "ip_nonlocal_bind" = 0, BOOL;
}

settings! {
    /// Settings of bridges.
    BridgeSettings, "net.bridge.";
    /// Bridged IPv4 packets pass the IPv4 hooks.
    call_iptables "bridge-nf-call-iptables" = 1, BOOL;
    /// Bridged IPv6 packets pass the IPv6 hooks.
    call_ip6tables "bridge-nf-call-ip6tables" = 1, BOOL;
    /// Bridged ARP packets pass the ARP hooks.
    call_arptables "bridge-nf-call-arptables" = 1, BOOL;
    /// PPPoE frames count as what they carry.
    filter_pppoe_tagged "bridge-nf-filter-pppoe-tagged" = 0, BOOL;
    /// VLAN frames count as what they carry.
    filter_vlan_tagged "bridge-nf-filter-vlan-tagged" = 0, BOOL;
    /// The input device is the bridge's VLAN device.
    pass_vlan_input_dev "bridge-nf-pass-vlan-input-dev" = 0, BOOL;
}
