//! Settings of the host by Linux's names (`sysctl`), with the defaults of a fresh network namespace.
//!
//! Settings that change what this engine does are fields or methods; the others that Linux knows are taken, kept and have no
//! effect. Per-device settings exist three times, as in Linux: `all`, `default` and once for each device. How they combine is
//! different for every setting and is written here once, in the methods.

use crate::net::IfIndex;
use crate::track::Knobs;
use crate::words::nearest;
use hairpin_wire::Family;
use std::collections::BTreeMap;
use std::fmt;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `net.ipv4.*` without the per-device ones.
    pub ipv4: Ipv4Settings,
    /// `net.ipv6.*` without the per-device ones.
    pub ipv6: Ipv6Settings,
    /// `net.bridge.*`.
    pub bridge: BridgeSettings,
    /// `net.netfilter.nf_conntrack_*`.
    pub track: Knobs,
    /// ICMPv6 types that are rate limited, one bit each (`net.ipv6.icmp.ratemask`, written as a list: `0-1,3-127`).
    pub icmp6_ratemask: [u128; 2],
    conf4: Conf,
    conf6: Conf,
    /// Device names, in the order of their numbers.
    names: Vec<String>,
    /// Settings without effect that were set.
    inert: BTreeMap<&'static str, String>,
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// Linux has no such setting, or this program does not know it; the nearest known name.
    UnknownName {
        /// As given.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// A setting of a device that does not exist; the nearest known device.
    UnknownDevice {
        /// The device named.
        device: String,
        /// The nearest known device.
        suggestion: Option<String>,
    },
    /// Outside of what Linux takes.
    BadValue {
        /// As given.
        name: String,
        /// As given.
        value: String,
        /// What is taken.
        expected: String,
    },
    /// It can only be read.
    ReadOnly {
        /// As given.
        name: String,
    },
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did_you_mean = |f: &mut fmt::Formatter<'_>, suggestion: &Option<String>| match suggestion {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        };
        match self {
            SysctlError::UnknownName { name, suggestion } => {
                write!(f, "unknown setting {name}")?;
                did_you_mean(f, suggestion)
            }
            SysctlError::UnknownDevice { device, suggestion } => {
                write!(f, "there is no interface {device}")?;
                did_you_mean(f, suggestion)
            }
            SysctlError::BadValue { name, value, expected } => {
                write!(f, "{name} cannot be {value}: expected {expected}")
            }
            SysctlError::ReadOnly { name } => write!(f, "{name} can only be read"),
        }
    }
}

impl std::error::Error for SysctlError {}

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
            const NAMES: &'static [&'static str] = &[$(concat!($prefix, $name),)*];

            fn slot(&mut self, name: &str) -> Option<(&mut i64, std::ops::RangeInclusive<i64>)> {
                match name {
                    $(concat!($prefix, $name) => Some((&mut self.$field, $range)),)*
                    _ => None,
                }
            }

            fn value(&self, name: &str) -> Option<i64> {
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

macro_rules! conf {
    ($(#[$enum_doc:meta])* $enum:ident; $($(#[$doc:meta])* $variant:ident $name:literal $all:literal $default:literal;)*) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Name, default of `all`, default elsewhere; in the order of the variants.
            const TABLE: &'static [(&'static str, i32, i32)] = &[$(($name, $all, $default),)*];
        }
    };
}

conf! {
    /// The per-device settings of IPv4 (`net.ipv4.conf.DEVICE.*`).
    Conf4;
    /// Forward packets that arrive here.
    Forwarding "forwarding" 0 0;
    /// Reverse path filter: 0 off, 1 strict, 2 loose.
    RpFilter "rp_filter" 0 0;
    /// Send ICMP redirects.
    SendRedirects "send_redirects" 1 1;
    /// Take ICMP redirects.
    AcceptRedirects "accept_redirects" 1 1;
    /// Take redirects only to known gateways.
    SecureRedirects "secure_redirects" 1 1;
    /// All hosts of the link reach each other.
    SharedMedia "shared_media" 1 1;
    /// Take packets with a source route option.
    AcceptSourceRoute "accept_source_route" 0 1;
    /// 127.0.0.0/8 is ordinary here.
    RouteLocalnet "route_localnet" 0 0;
    /// Take packets whose source is an address of this host.
    AcceptLocal "accept_local" 0 0;
    /// The mark takes part in the reverse path lookup.
    SrcValidMark "src_valid_mark" 0 0;
    /// Log impossible addresses.
    LogMartians "log_martians" 0 0;
    /// Forward directed broadcasts.
    BcForwarding "bc_forwarding" 0 0;
    /// Drop unicast packets in link-level multicast frames.
    DropUnicastInL2Multicast "drop_unicast_in_l2_multicast" 0 0;
    /// Routes by a device without carrier do not count.
    IgnoreRoutesWithLinkdown "ignore_routes_with_linkdown" 0 0;
    /// When to answer ARP requests.
    ArpIgnore "arp_ignore" 0 0;
    /// Which source ARP requests have.
    ArpAnnounce "arp_announce" 0 0;
    /// Answer ARP requests only where the way back goes.
    ArpFilter "arp_filter" 0 0;
    /// Learn from gratuitous ARP.
    ArpAccept "arp_accept" 0 0;
    /// Announce own changes.
    ArpNotify "arp_notify" 0 0;
    /// Forget neighbors when the carrier goes.
    ArpEvictNocarrier "arp_evict_nocarrier" 1 1;
    /// Answer ARP for others.
    ProxyArp "proxy_arp" 0 0;
    /// Answer ARP for others on the same link.
    ProxyArpPvlan "proxy_arp_pvlan" 0 0;
    /// Ignore gratuitous ARP.
    DropGratuitousArp "drop_gratuitous_arp" 0 0;
    /// Multicast forwarding (set by a multicast routing daemon only).
    McForwarding "mc_forwarding" 0 0;
    /// Media of the same number need no redirect.
    MediumId "medium_id" 0 0;
    /// Forward packets from 0.0.0.0/8 as bootp relay does (unused by Linux).
    BootpRelay "bootp_relay" 0 0;
    /// A number for the administrator.
    Tag "tag" 0 0;
    /// No IPsec here.
    DisableXfrm "disable_xfrm" 0 0;
    /// No IPsec policy here.
    DisablePolicy "disable_policy" 0 0;
    /// IGMP version to speak.
    ForceIgmpVersion "force_igmp_version" 0 0;
    /// Milliseconds between IGMPv2 reports.
    Igmpv2Interval "igmpv2_unsolicited_report_interval" 10000 10000;
    /// Milliseconds between IGMPv3 reports.
    Igmpv3Interval "igmpv3_unsolicited_report_interval" 1000 1000;
    /// The next address of a subnet takes over when its first is removed.
    PromoteSecondaries "promote_secondaries" 0 0;
}

conf! {
    /// The per-device settings of IPv6 (`net.ipv6.conf.DEVICE.*`).
    Conf6;
    /// Under `all`: forward packets. On a device: be a router there.
    Forwarding "forwarding" 0 0;
    /// Forward packets that arrive here even when `all.forwarding` is 0.
    ForceForwarding "force_forwarding" 0 0;
    /// Hop limit of packets made here.
    HopLimit "hop_limit" 64 64;
    /// Largest packet in bytes; 0: the device's own.
    Mtu "mtu" 1280 0;
    /// No IPv6.
    DisableIpv6 "disable_ipv6" 0 0;
    /// Take routing headers: negative none, 0 only type 2.
    AcceptSourceRoute "accept_source_route" 0 0;
    /// Take redirects.
    AcceptRedirects "accept_redirects" 1 1;
    /// Drop unicast packets in link-level multicast frames.
    DropUnicastInL2Multicast "drop_unicast_in_l2_multicast" 0 0;
    /// Choose source addresses of the outgoing device only.
    UseOifAddrsOnly "use_oif_addrs_only" 0 0;
    /// Routes by a device without carrier do not count.
    IgnoreRoutesWithLinkdown "ignore_routes_with_linkdown" 0 0;
    /// Take segment routing headers.
    Seg6Enabled "seg6_enabled" 0 0;
    /// Segment routing headers need an HMAC.
    Seg6RequireHmac "seg6_require_hmac" 0 0;
    /// Take RPL source routing headers.
    RplSegEnabled "rpl_seg_enabled" 0 0;
    /// Duplicate address detection.
    AcceptDad "accept_dad" 0 1;
    /// Take router advertisements.
    AcceptRa "accept_ra" 1 1;
    /// Take default routers from them.
    AcceptRaDefrtr "accept_ra_defrtr" 1 1;
    /// Take them from oneself.
    AcceptRaFromLocal "accept_ra_from_local" 0 0;
    /// Least hop limit to take from them.
    AcceptRaMinHopLimit "accept_ra_min_hop_limit" 1 1;
    /// Least lifetime to take from them.
    AcceptRaMinLft "accept_ra_min_lft" 0 0;
    /// Take the MTU from them.
    AcceptRaMtu "accept_ra_mtu" 1 1;
    /// Take prefixes from them.
    AcceptRaPinfo "accept_ra_pinfo" 1 1;
    /// Longest route to take from them.
    AcceptRaRtInfoMaxPlen "accept_ra_rt_info_max_plen" 0 0;
    /// Shortest route to take from them.
    AcceptRaRtInfoMinPlen "accept_ra_rt_info_min_plen" 0 0;
    /// Take router preferences from them.
    AcceptRaRtrPref "accept_ra_rtr_pref" 1 1;
    /// Learn from unsolicited neighbor advertisements.
    AcceptUntrackedNa "accept_untracked_na" 0 0;
    /// How link-local addresses are made.
    AddrGenMode "addr_gen_mode" 0 0;
    /// Make addresses from advertised prefixes.
    Autoconf "autoconf" 1 1;
    /// Probes of duplicate address detection.
    DadTransmits "dad_transmits" 1 1;
    /// No IPsec policy here.
    DisablePolicy "disable_policy" 0 0;
    /// Ignore unsolicited neighbor advertisements.
    DropUnsolicitedNa "drop_unsolicited_na" 0 0;
    /// Nonces in duplicate address detection.
    EnhancedDad "enhanced_dad" 1 1;
    /// MLD version to speak.
    ForceMldVersion "force_mld_version" 0 0;
    /// Always say the link address in advertisements.
    ForceTllao "force_tllao" 0 0;
    /// Keep addresses when the device goes down.
    KeepAddrOnDown "keep_addr_on_down" 0 0;
    /// Most automatic addresses.
    MaxAddresses "max_addresses" 16 16;
    /// Seconds of jitter of temporary addresses.
    MaxDesyncFactor "max_desync_factor" 600 600;
    /// Multicast forwarding (set by a multicast routing daemon only).
    McForwarding "mc_forwarding" 0 0;
    /// Milliseconds between MLDv1 reports.
    Mldv1Interval "mldv1_unsolicited_report_interval" 10000 10000;
    /// Milliseconds between MLDv2 reports.
    Mldv2Interval "mldv2_unsolicited_report_interval" 1000 1000;
    /// Forget neighbors when the carrier goes.
    NdiscEvictNocarrier "ndisc_evict_nocarrier" 1 1;
    /// Announce own changes.
    NdiscNotify "ndisc_notify" 0 0;
    /// Traffic class of neighbor discovery.
    NdiscTclass "ndisc_tclass" 0 0;
    /// Use addresses before detection is over.
    OptimisticDad "optimistic_dad" 0 0;
    /// Prefer such addresses as well.
    UseOptimistic "use_optimistic" 0 0;
    /// Answer neighbor solicitations for others.
    ProxyNdp "proxy_ndp" 0 0;
    /// Metric of advertised default routes.
    RaDefrtrMetric "ra_defrtr_metric" 1024 1024;
    /// Tries to make a temporary address.
    RegenMaxRetry "regen_max_retry" 3 3;
    /// Seconds between probes of routers.
    RouterProbeInterval "router_probe_interval" 60 60;
    /// Seconds before the first router solicitation.
    RouterSolicitationDelay "router_solicitation_delay" 1 1;
    /// Seconds between router solicitations.
    RouterSolicitationInterval "router_solicitation_interval" 4 4;
    /// Most seconds between router solicitations.
    RouterSolicitationMaxInterval "router_solicitation_max_interval" 3600 3600;
    /// Number of router solicitations; -1 for no limit.
    RouterSolicitations "router_solicitations" -1 -1;
    /// Ignore neighbor discovery in fragments.
    SuppressFragNdisc "suppress_frag_ndisc" 1 1;
    /// Preferred lifetime of temporary addresses.
    TempPreferedLft "temp_prefered_lft" 86400 86400;
    /// Lifetime of temporary addresses.
    TempValidLft "temp_valid_lft" 604_800 604_800;
    /// Temporary addresses.
    UseTempaddr "use_tempaddr" 0 0;
}

impl Conf4 {
    /// A change of these under `default` is for devices to come; a change of the others is also for every device that has no
    /// address yet and on which the setting was not made.
    const ONLY_FOR_NEW: [Conf4; 6] = [
        Conf4::Forwarding,
        Conf4::RouteLocalnet,
        Conf4::DropUnicastInL2Multicast,
        Conf4::DisableXfrm,
        Conf4::DisablePolicy,
        Conf4::PromoteSecondaries,
    ];
}

/// One family's per-device settings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conf {
    all: Vec<i32>,
    default: Vec<i32>,
    /// By device number, `lo` first.
    devices: Vec<Row>,
}

/// One device's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    values: Vec<i32>,
    /// Which were set on the device itself: a change of `default` leaves them alone (IPv4).
    own: Vec<bool>,
}

impl Conf {
    fn new(table: &[(&str, i32, i32)]) -> Conf {
        Conf {
            all: table.iter().map(|(_, all, _)| *all).collect(),
            default: table.iter().map(|(_, _, default)| *default).collect(),
            devices: Vec::new(),
        }
    }

    fn all(&self, setting: usize) -> i32 {
        self.all.get(setting).copied().unwrap_or(0)
    }

    fn device(&self, dev: IfIndex, setting: usize) -> i32 {
        let row = (dev.0 as usize).checked_sub(1).and_then(|row| self.devices.get(row));
        row.and_then(|row| row.values.get(setting)).or_else(|| self.default.get(setting)).copied().unwrap_or(0)
    }
}

impl Default for Sysctl {
    /// The settings of a fresh network namespace, without devices.
    fn default() -> Sysctl {
        let mut mask = [u128::MAX, 0];
        mask[0] &= !(1 << 2);
        Sysctl {
            ipv4: Ipv4Settings::default(),
            ipv6: Ipv6Settings::default(),
            bridge: BridgeSettings::default(),
            track: Knobs::default(),
            icmp6_ratemask: mask,
            conf4: Conf::new(Conf4::TABLE),
            conf6: Conf::new(Conf6::TABLE),
            names: Vec::new(),
            inert: BTreeMap::new(),
        }
    }
}

/// A name taken apart.
enum Target {
    Conf { family: Family, place: Place, setting: usize },
    IpForward,
    RateMask6,
    Plain(String),
}

enum Place {
    All,
    Default,
    Device(usize),
}

impl Sysctl {
    /// Adds a device, which gets the `default` settings. Devices are added in the order of their numbers, `lo` first.
    pub fn add_device(&mut self, name: &str) {
        for conf in [&mut self.conf4, &mut self.conf6] {
            // A device that has got an address keeps its settings when `default` changes; `lo` always has one.
            let own = vec![self.names.is_empty(); conf.default.len()];
            conf.devices.push(Row { values: conf.default.clone(), own });
        }
        self.names.push(name.to_owned());
    }

    /// Sets a number by its Linux name, `net.ipv4.ip_forward` or `net/ipv4/ip_forward`. In a dotted name a device's own dots
    /// may be written as they are or as slashes, as `sysctl` wants them.
    pub fn set(&mut self, name: &str, value: i64) -> Result<(), SysctlError> {
        match self.target(name)? {
            Target::RateMask6 => Err(bad(name, value, "a list of ICMPv6 types such as \"0-1,3-127\"")),
            Target::IpForward => self.set_conf(Family::V4, &Place::All, Conf4::Forwarding as usize, name, value),
            Target::Conf { family, place, setting } => self.set_conf(family, &place, setting, name, value),
            Target::Plain(plain) => self.set_plain(&plain, name, value),
        }
    }

    /// Sets a value given as text: a number, or what the setting has instead of one.
    pub fn set_text(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        if let Ok(number) = value.trim().parse() {
            return match self.target(name)? {
                Target::RateMask6 => self.set_ratemask6(name, value),
                _ => self.set(name, number),
            };
        }
        match self.target(name)? {
            Target::RateMask6 => self.set_ratemask6(name, value),
            Target::Plain(plain) => match INERT.iter().find(|known| **known == plain) {
                Some(known) => {
                    self.inert.insert(known, value.to_owned());
                    Ok(())
                }
                None => Err(bad(name, value, "a number")),
            },
            _ => Err(bad(name, value, "a number")),
        }
    }

    /// Reads a number by its Linux name.
    pub fn get(&self, name: &str) -> Result<i64, SysctlError> {
        let number = match self.target(name)? {
            Target::RateMask6 => None,
            Target::IpForward => Some(i64::from(self.conf4.all(Conf4::Forwarding as usize))),
            Target::Conf { family, place, setting } => {
                let conf = if family == Family::V4 { &self.conf4 } else { &self.conf6 };
                let row = match place {
                    Place::All => Some(&conf.all),
                    Place::Default => Some(&conf.default),
                    Place::Device(row) => conf.devices.get(row).map(|row| &row.values),
                };
                row.and_then(|row| row.get(setting)).map(|v| i64::from(*v))
            }
            Target::Plain(plain) => self
                .ipv4
                .value(&plain)
                .or_else(|| self.ipv6.value(&plain))
                .or_else(|| self.bridge.value(&plain))
                .or_else(|| plain.strip_prefix(NETFILTER).and_then(|rest| self.knob(rest)))
                .or_else(|| self.inert.get(plain.as_str()).and_then(|text| text.trim().parse().ok())),
        };
        number.ok_or_else(|| bad(name, "read", "a setting with a number"))
    }

    /// A value as text; None for a setting that has no effect here and was not set.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn text(&self, name: &str) -> Result<Option<String>, SysctlError> {
        let plain = match self.target(name)? {
            Target::RateMask6 => return Ok(Some(self.ratemask6_text())),
            Target::Plain(plain) => plain,
            _ => return self.get(name).map(|number| Some(number.to_string())),
        };
        if let Some(text) = self.inert.get(plain.as_str()) {
            return Ok(Some(text.clone()));
        }
        if INERT.contains(&plain.as_str()) {
            return Ok(None);
        }
        match self.get(name) {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(SysctlError::UnknownName { name: name.to_owned(), suggestion: self.suggest(&plain) }),
        }
    }

    /// The name as `sysctl` prints it: with dots, and slashes for the dots in a device's name.
    pub fn shown(&self, name: &str) -> String {
        let plain = dotted(name);
        for prefix in ["net.ipv4.conf.", "net.ipv6.conf."] {
            if let Some((device, setting)) = plain.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
                return format!("{prefix}{}.{setting}", device.replace('.', "/"));
            }
        }
        plain
    }

    /// Every setting that has an effect here or was set, as `sysctl` prints its name, in order.
    pub fn names(&self) -> Vec<String> {
        let fixed = [Ipv4Settings::NAMES, Ipv6Settings::NAMES, BridgeSettings::NAMES].into_iter().flatten();
        let others = ["net.ipv4.ip_forward", RATEMASK6, "net.netfilter.nf_conntrack_count"];
        let mut names: Vec<String> = fixed.copied().chain(others).map(str::to_owned).collect();
        names.extend(self.inert.keys().map(|name| (*name).to_owned()));
        names.extend(KNOBS.iter().map(|(known, _)| format!("{NETFILTER}{known}")));
        let devices = ["all", "default"].into_iter().chain(self.names.iter().map(String::as_str));
        for device in devices.map(|device| device.replace('.', "/")) {
            for (prefix, table) in [("net.ipv4.conf.", Conf4::TABLE), ("net.ipv6.conf.", Conf6::TABLE)] {
                names.extend(table.iter().map(|(setting, ..)| format!("{prefix}{device}.{setting}")));
            }
        }
        names.sort();
        names
    }

    fn ratemask6_text(&self) -> String {
        let is_set = |kind: u32| kind < 256 && self.icmp6_ratemask[(kind >> 7) as usize] >> (kind & 127) & 1 != 0;
        let mut parts = Vec::new();
        let mut kind = 0;
        while kind < 256 {
            let first = kind;
            while is_set(kind) {
                kind += 1;
            }
            match kind - first {
                0 => kind += 1,
                1 => parts.push(first.to_string()),
                _ => parts.push(format!("{first}-{}", kind - 1)),
            }
        }
        parts.join(",")
    }

    /// A device's own value of a setting, not combined with `all`.
    pub fn conf4(&self, dev: IfIndex, setting: Conf4) -> i32 {
        self.conf4.device(dev, setting as usize)
    }

    /// A device's own value of a setting, not combined with `all`.
    pub fn conf6(&self, dev: IfIndex, setting: Conf6) -> i32 {
        self.conf6.device(dev, setting as usize)
    }

    /// Whether packets that arrive by `dev` are forwarded. IPv4: the device's own setting; IPv6: `all.forwarding`, or the
    /// device's `force_forwarding`.
    pub fn forwarding(&self, family: Family, dev: IfIndex) -> bool {
        match family {
            Family::V4 => self.conf4(dev, Conf4::Forwarding) != 0,
            Family::V6 => {
                self.conf6.all(Conf6::Forwarding as usize) != 0 || self.conf6(dev, Conf6::ForceForwarding) != 0
            }
        }
    }

    /// Reverse path filter: the greater of `all` and the device's: 0 off, 1 strict, else loose.
    pub fn rp_filter(&self, dev: IfIndex) -> i32 {
        self.either(dev, Conf4::RpFilter)
    }

    /// Whether ICMP redirects are sent: `all` or the device.
    pub fn send_redirects(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::SendRedirects) != 0
    }

    /// Whether all hosts of the link reach each other: `all` or the device.
    pub fn shared_media(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::SharedMedia) != 0
    }

    /// Whether only redirects to known gateways are taken: `all` or the device.
    pub fn secure_redirects(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::SecureRedirects) != 0
    }

    /// Whether redirects are taken. IPv4: `all` and the device where it forwards, `all` or the device where it does not;
    /// IPv6: the device, where it is not a router.
    pub fn accept_redirects(&self, family: Family, dev: IfIndex) -> bool {
        match family {
            Family::V4 if self.forwarding(family, dev) => self.both(dev, Conf4::AcceptRedirects),
            Family::V4 => self.either(dev, Conf4::AcceptRedirects) != 0,
            Family::V6 => self.conf6(dev, Conf6::Forwarding) == 0 && self.conf6(dev, Conf6::AcceptRedirects) != 0,
        }
    }

    /// Whether packets with a source route option are taken: `all` and the device.
    pub fn accept_source_route(&self, dev: IfIndex) -> bool {
        self.both(dev, Conf4::AcceptSourceRoute)
    }

    /// Which IPv6 routing headers are taken, the lesser of `all` and the device: negative none, 0 only type 2.
    pub fn accept_source_route6(&self, dev: IfIndex) -> i32 {
        let setting = Conf6::AcceptSourceRoute;
        self.conf6.all(setting as usize).min(self.conf6(dev, setting))
    }

    /// Whether 127.0.0.0/8 is ordinary on the device: `all` or the device.
    pub fn route_localnet(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::RouteLocalnet) != 0
    }

    /// Whether packets from an address of this host are taken: `all` or the device.
    pub fn accept_local(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::AcceptLocal) != 0
    }

    /// Whether the mark takes part in the reverse path lookup: `all` or the device.
    pub fn src_valid_mark(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::SrcValidMark) != 0
    }

    /// Whether impossible addresses are logged: `all` or the device.
    pub fn log_martians(&self, dev: IfIndex) -> bool {
        self.either(dev, Conf4::LogMartians) != 0
    }

    /// Whether directed broadcasts are forwarded: `all` and the device.
    pub fn bc_forwarding(&self, dev: IfIndex) -> bool {
        self.both(dev, Conf4::BcForwarding)
    }

    /// Whether unicast packets in link-level broadcast or multicast frames are dropped at delivery. IPv4: `all` or the device;
    /// IPv6: the device.
    pub fn drop_unicast_in_l2_multicast(&self, family: Family, dev: IfIndex) -> bool {
        match family {
            Family::V4 => self.either(dev, Conf4::DropUnicastInL2Multicast) != 0,
            Family::V6 => self.conf6(dev, Conf6::DropUnicastInL2Multicast) != 0,
        }
    }

    /// Hop limit of packets made here that leave by `dev`, when their route has none: 1..=255.
    pub fn hop_limit(&self, family: Family, dev: IfIndex) -> u8 {
        match family {
            Family::V4 => u8::try_from(self.ipv4.ip_default_ttl).unwrap_or(64),
            Family::V6 => u8::try_from(self.conf6(dev, Conf6::HopLimit)).unwrap_or(64),
        }
    }

    /// Whether IPv6 is off on the device.
    pub fn disable_ipv6(&self, dev: IfIndex) -> bool {
        self.conf6(dev, Conf6::DisableIpv6) != 0
    }

    /// The greater of `all` and the device's.
    fn either(&self, dev: IfIndex, setting: Conf4) -> i32 {
        self.conf4.all(setting as usize).max(self.conf4(dev, setting))
    }

    /// `all` and the device's.
    fn both(&self, dev: IfIndex, setting: Conf4) -> bool {
        self.conf4.all(setting as usize) != 0 && self.conf4(dev, setting) != 0
    }

    /// Finds out what a name stands for.
    fn target(&self, name: &str) -> Result<Target, SysctlError> {
        let plain = dotted(name);
        if plain == "net.ipv4.ip_forward" {
            return Ok(Target::IpForward);
        }
        if plain == RATEMASK6 {
            return Ok(Target::RateMask6);
        }
        for (prefix, family, table) in
            [("net.ipv4.conf.", Family::V4, Conf4::TABLE), ("net.ipv6.conf.", Family::V6, Conf6::TABLE)]
        {
            // The setting has no dots, so the last dot ends the device's name, whatever is in it.
            if let Some((device, setting)) = plain.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
                let Some(setting) = table.iter().position(|(known, ..)| *known == setting) else {
                    let known = table.iter().map(|(known, ..)| *known);
                    let suggestion = nearest(setting, known).map(|known| format!("{prefix}{device}.{known}"));
                    return Err(SysctlError::UnknownName { name: name.to_owned(), suggestion });
                };
                let place = match device {
                    "all" => Place::All,
                    "default" => Place::Default,
                    _ => match self.names.iter().position(|known| known == device) {
                        Some(row) => Place::Device(row),
                        None => {
                            let known = self.names.iter().map(String::as_str);
                            let suggestion = nearest(device, known).map(str::to_owned);
                            return Err(SysctlError::UnknownDevice { device: device.to_owned(), suggestion });
                        }
                    },
                };
                return Ok(Target::Conf { family, place, setting });
            }
        }
        Ok(Target::Plain(plain))
    }

    fn set_conf(
        &mut self,
        family: Family,
        place: &Place,
        setting: usize,
        name: &str,
        value: i64,
    ) -> Result<(), SysctlError> {
        let value = i32::try_from(value).map_err(|_| bad(name, value, "a number of 32 bits"))?;
        match family {
            Family::V4 => self.set_conf4(place, setting, value),
            Family::V6 => self.set_conf6(place, setting, value),
        }
        Ok(())
    }

    fn set_conf4(&mut self, place: &Place, setting: usize, value: i32) {
        let conf = &mut self.conf4;
        match place {
            Place::All => {
                let old = std::mem::replace(&mut conf.all[setting], value);
                if setting == Conf4::Forwarding as usize && old != value {
                    // A router takes no redirects; devices, present and to come, follow.
                    conf.all[Conf4::AcceptRedirects as usize] = i32::from(value == 0);
                    conf.default[setting] = value;
                    for row in &mut conf.devices {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Default => {
                conf.default[setting] = value;
                if !Conf4::ONLY_FOR_NEW.iter().any(|only| *only as usize == setting) {
                    for row in conf.devices.iter_mut().filter(|row| !row.own[setting]) {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Device(row) => {
                if let Some(row) = conf.devices.get_mut(*row) {
                    row.values[setting] = value;
                    row.own[setting] = true;
                }
            }
        }
    }

    fn set_conf6(&mut self, place: &Place, setting: usize, value: i32) {
        let conf = &mut self.conf6;
        let spreads = [Conf6::Forwarding as usize, Conf6::ForceForwarding as usize, Conf6::DisableIpv6 as usize];
        match place {
            Place::All => {
                conf.all[setting] = value;
                if spreads.contains(&setting) {
                    conf.default[setting] = value;
                    for row in &mut conf.devices {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Default => conf.default[setting] = value,
            Place::Device(row) => {
                if let Some(row) = conf.devices.get_mut(*row) {
                    row.values[setting] = value;
                }
            }
        }
    }

    fn set_plain(&mut self, plain: &str, name: &str, value: i64) -> Result<(), SysctlError> {
        let slot = self.ipv4.slot(plain).or_else(|| self.ipv6.slot(plain)).or_else(|| self.bridge.slot(plain));
        if let Some((slot, range)) = slot {
            if !range.contains(&value) {
                return Err(bad(name, value, &format!("{} to {}", range.start(), range.end())));
            }
            *slot = value;
            return Ok(());
        }
        // The first name is the one before Linux 2.6.20 gave the table its present one.
        let plain = if plain == "net.nf_conntrack_max" { "net.netfilter.nf_conntrack_max" } else { plain };
        if let Some(rest) = plain.strip_prefix(NETFILTER)
            && let Some(done) = self.set_knob(rest, value)
        {
            return done.map_err(|expected| bad(name, value, &expected));
        }
        if READ_ONLY.contains(&plain) {
            return Err(SysctlError::ReadOnly { name: name.to_owned() });
        }
        if let Some(known) = INERT.iter().find(|known| **known == plain) {
            self.inert.insert(known, value.to_string());
            return Ok(());
        }
        Err(SysctlError::UnknownName { name: name.to_owned(), suggestion: self.suggest(plain) })
    }

    fn suggest(&self, plain: &str) -> Option<String> {
        let fixed = [Ipv4Settings::NAMES, Ipv6Settings::NAMES, BridgeSettings::NAMES, INERT, &["net.ipv4.ip_forward"]];
        let knobs: Vec<String> = KNOBS.iter().map(|(known, _)| format!("{NETFILTER}{known}")).collect();
        let all = fixed.into_iter().flatten().copied().chain(knobs.iter().map(String::as_str));
        nearest(plain, all).map(str::to_owned)
    }

    fn set_ratemask6(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        let mut mask = [0u128; 2];
        for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u8>(), last.trim().parse::<u8>()) else {
                return Err(bad(name, value, "a list of ICMPv6 types such as \"0-1,3-127\""));
            };
            for kind in first..=last {
                mask[usize::from(kind >> 7)] |= 1 << (kind & 127);
            }
        }
        self.icmp6_ratemask = mask;
        Ok(())
    }

    fn knob(&self, rest: &str) -> Option<i64> {
        // Reading needs the same places as writing; the copy is small.
        let mut knobs = self.track.clone();
        let (_, place) = KNOBS.iter().find(|(known, _)| *known == rest)?;
        Some(match place(&mut knobs) {
            Knob::Flag(flag) => i64::from(*flag),
            Knob::Byte(byte) => i64::from(*byte),
            Knob::Word(word) => i64::from(*word),
        })
    }

    fn set_knob(&mut self, rest: &str, value: i64) -> Option<Result<(), String>> {
        let (_, place) = KNOBS.iter().find(|(known, _)| *known == rest)?;
        Some(match place(&mut self.track) {
            Knob::Flag(flag) => match value {
                0 | 1 => {
                    *flag = value == 1;
                    Ok(())
                }
                _ => Err("0 or 1".to_owned()),
            },
            Knob::Byte(byte) => match u8::try_from(value) {
                Ok(value) => {
                    *byte = value;
                    Ok(())
                }
                Err(_) => Err("0 to 255".to_owned()),
            },
            Knob::Word(word) => match i32::try_from(value).ok().and_then(|value| u32::try_from(value).ok()) {
                Some(value) => {
                    *word = value;
                    Ok(())
                }
                None => Err("0 to 2147483647".to_owned()),
            },
        })
    }
}

/// Where a setting of tracking is kept.
enum Knob<'a> {
    Flag(&'a mut bool),
    Byte(&'a mut u8),
    Word(&'a mut u32),
}

const NETFILTER: &str = "net.netfilter.";
const RATEMASK6: &str = "net.ipv6.icmp.ratemask";

type KnobPlace = fn(&mut Knobs) -> Knob<'_>;

/// The settings of tracking that have an effect.
const KNOBS: &[(&str, KnobPlace)] = &[
    ("nf_conntrack_checksum", |k| Knob::Flag(&mut k.checksum)),
    ("nf_conntrack_max", |k| Knob::Word(&mut k.max)),
    ("nf_conntrack_buckets", |k| Knob::Word(&mut k.buckets)),
    ("nf_conntrack_expect_max", |k| Knob::Word(&mut k.expect_max)),
    ("nf_conntrack_acct", |k| Knob::Flag(&mut k.accounting)),
    ("nf_conntrack_timestamp", |k| Knob::Flag(&mut k.timestamp)),
    ("nf_conntrack_tcp_loose", |k| Knob::Flag(&mut k.tcp_loose)),
    ("nf_conntrack_tcp_be_liberal", |k| Knob::Flag(&mut k.tcp_be_liberal)),
    ("nf_conntrack_tcp_ignore_invalid_rst", |k| Knob::Flag(&mut k.tcp_ignore_invalid_rst)),
    ("nf_conntrack_tcp_max_retrans", |k| Knob::Byte(&mut k.tcp_max_retrans)),
    ("nf_conntrack_tcp_timeout_syn_sent", |k| Knob::Word(&mut k.tcp_timeouts[1])),
    ("nf_conntrack_tcp_timeout_syn_recv", |k| Knob::Word(&mut k.tcp_timeouts[2])),
    ("nf_conntrack_tcp_timeout_established", |k| Knob::Word(&mut k.tcp_timeouts[3])),
    ("nf_conntrack_tcp_timeout_fin_wait", |k| Knob::Word(&mut k.tcp_timeouts[4])),
    ("nf_conntrack_tcp_timeout_close_wait", |k| Knob::Word(&mut k.tcp_timeouts[5])),
    ("nf_conntrack_tcp_timeout_last_ack", |k| Knob::Word(&mut k.tcp_timeouts[6])),
    ("nf_conntrack_tcp_timeout_time_wait", |k| Knob::Word(&mut k.tcp_timeouts[7])),
    ("nf_conntrack_tcp_timeout_close", |k| Knob::Word(&mut k.tcp_timeouts[8])),
    ("nf_conntrack_tcp_timeout_max_retrans", |k| Knob::Word(&mut k.tcp_timeout_max_retrans)),
    ("nf_conntrack_tcp_timeout_unacknowledged", |k| Knob::Word(&mut k.tcp_timeout_unacknowledged)),
    ("nf_conntrack_udp_timeout", |k| Knob::Word(&mut k.udp_timeout)),
    ("nf_conntrack_udp_timeout_stream", |k| Knob::Word(&mut k.udp_timeout_stream)),
    ("nf_conntrack_icmp_timeout", |k| Knob::Word(&mut k.icmp_timeout)),
    ("nf_conntrack_icmpv6_timeout", |k| Knob::Word(&mut k.icmpv6_timeout)),
    ("nf_conntrack_generic_timeout", |k| Knob::Word(&mut k.generic_timeout)),
    ("nf_conntrack_gre_timeout", |k| Knob::Word(&mut k.gre_timeout)),
    ("nf_conntrack_gre_timeout_stream", |k| Knob::Word(&mut k.gre_timeout_stream)),
    ("nf_conntrack_sctp_timeout_closed", |k| Knob::Word(&mut k.sctp_timeouts[1])),
    ("nf_conntrack_sctp_timeout_cookie_wait", |k| Knob::Word(&mut k.sctp_timeouts[2])),
    ("nf_conntrack_sctp_timeout_cookie_echoed", |k| Knob::Word(&mut k.sctp_timeouts[3])),
    ("nf_conntrack_sctp_timeout_established", |k| Knob::Word(&mut k.sctp_timeouts[4])),
    ("nf_conntrack_sctp_timeout_shutdown_sent", |k| Knob::Word(&mut k.sctp_timeouts[5])),
    ("nf_conntrack_sctp_timeout_shutdown_recd", |k| Knob::Word(&mut k.sctp_timeouts[6])),
    ("nf_conntrack_sctp_timeout_shutdown_ack_sent", |k| Knob::Word(&mut k.sctp_timeouts[7])),
    ("nf_conntrack_sctp_timeout_heartbeat_sent", |k| Knob::Word(&mut k.sctp_timeouts[8])),
];

/// Known to Linux and to be read only.
const READ_ONLY: &[&str] = &["net.netfilter.nf_conntrack_count", "net.ipv4.tcp_available_congestion_control"];

/// Known to Linux and without effect here: sockets, neighbor discovery, queues.
const INERT: &[&str] = &[
    "net.core.bpf_jit_enable",
    "net.core.default_qdisc",
    "net.core.devconf_inherit_init_net",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.optmem_max",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.rps_sock_flow_entries",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.fib_notify_on_flag_change",
    "net.ipv4.igmp_link_local_mcast_reports",
    "net.ipv4.igmp_max_memberships",
    "net.ipv4.igmp_max_msf",
    "net.ipv4.igmp_qrv",
    "net.ipv4.inet_peer_maxttl",
    "net.ipv4.inet_peer_minttl",
    "net.ipv4.inet_peer_threshold",
    "net.ipv4.ip_autobind_reuse",
    "net.ipv4.ip_dynaddr",
    "net.ipv4.ip_early_demux",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv4.nexthop_compat_mode",
    "net.ipv4.ping_group_range",
    "net.ipv4.raw_l3mdev_accept",
    "net.ipv4.route.error_burst",
    "net.ipv4.route.error_cost",
    "net.ipv4.route.flush",
    "net.ipv4.route.gc_elasticity",
    "net.ipv4.route.gc_interval",
    "net.ipv4.route.gc_thresh",
    "net.ipv4.route.gc_timeout",
    "net.ipv4.route.max_size",
    "net.ipv4.route.min_adv_mss",
    "net.ipv4.route.min_pmtu",
    "net.ipv4.route.mtu_expires",
    "net.ipv4.route.redirect_load",
    "net.ipv4.route.redirect_number",
    "net.ipv4.route.redirect_silence",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_adv_win_scale",
    "net.ipv4.tcp_allowed_congestion_control",
    "net.ipv4.tcp_app_win",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_backlog_ack_defer",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_challenge_ack_limit",
    "net.ipv4.tcp_child_ehash_entries",
    "net.ipv4.tcp_comp_sack_delay_ns",
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.tcp_comp_sack_slack_ns",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_dsack",
    "net.ipv4.tcp_early_demux",
    "net.ipv4.tcp_early_retrans",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_ecn_fallback",
    "net.ipv4.tcp_ecn_option",
    "net.ipv4.tcp_ecn_option_beacon",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_fack",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_frto",
    "net.ipv4.tcp_fwmark_accept",
    "net.ipv4.tcp_invalid_ratelimit",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_l3mdev_accept",
    "net.ipv4.tcp_limit_output_bytes",
    "net.ipv4.tcp_low_latency",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_reordering",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_min_rtt_wlen",
    "net.ipv4.tcp_min_snd_mss",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_mtu_probe_floor",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_no_ssthresh_metrics_save",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_pacing_ca_ratio",
    "net.ipv4.tcp_pacing_ss_ratio",
    "net.ipv4.tcp_pingpong_thresh",
    "net.ipv4.tcp_plb_cong_thresh",
    "net.ipv4.tcp_plb_enabled",
    "net.ipv4.tcp_plb_idle_rehash_rounds",
    "net.ipv4.tcp_plb_rehash_rounds",
    "net.ipv4.tcp_plb_suspend_rto_sec",
    "net.ipv4.tcp_probe_interval",
    "net.ipv4.tcp_probe_threshold",
    "net.ipv4.tcp_recovery",
    "net.ipv4.tcp_reordering",
    "net.ipv4.tcp_retrans_collapse",
    "net.ipv4.tcp_retries1",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_rto_max_ms",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_shrink_window",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_stdurg",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_thin_linear_timeouts",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tso_rtt_log",
    "net.ipv4.tcp_tso_win_divisor",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_tw_reuse_delay",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_workaround_signed_windows",
    "net.ipv4.udp_child_hash_entries",
    "net.ipv4.udp_early_demux",
    "net.ipv4.udp_hash_entries",
    "net.ipv4.udp_l3mdev_accept",
    "net.ipv4.udp_mem",
    "net.ipv4.udp_rmem_min",
    "net.ipv4.udp_wmem_min",
    "net.ipv4.xfrm4_gc_thresh",
    "net.ipv6.bindv6only",
    "net.ipv6.fib_notify_on_flag_change",
    "net.ipv6.flowlabel_consistency",
    "net.ipv6.flowlabel_state_ranges",
    "net.ipv6.idgen_delay",
    "net.ipv6.idgen_retries",
    "net.ipv6.ioam6_id",
    "net.ipv6.ioam6_id_wide",
    "net.ipv6.mld_max_msf",
    "net.ipv6.mld_qrv",
    "net.ipv6.neigh.default.gc_thresh1",
    "net.ipv6.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.ipv6.route.flush",
    "net.ipv6.route.gc_elasticity",
    "net.ipv6.route.gc_interval",
    "net.ipv6.route.gc_min_interval",
    "net.ipv6.route.gc_min_interval_ms",
    "net.ipv6.route.gc_thresh",
    "net.ipv6.route.gc_timeout",
    "net.ipv6.route.max_size",
    "net.ipv6.route.min_adv_mss",
    "net.ipv6.route.mtu_expires",
    "net.ipv6.route.skip_notify_on_dev_down",
    "net.ipv6.seg6_flowlabel",
    "net.ipv6.xfrm6_gc_thresh",
    "net.netfilter.nf_conntrack_dccp_loose",
    "net.netfilter.nf_conntrack_events",
    "net.netfilter.nf_conntrack_frag6_high_thresh",
    "net.netfilter.nf_conntrack_frag6_low_thresh",
    "net.netfilter.nf_conntrack_frag6_timeout",
    "net.netfilter.nf_conntrack_helper",
    "net.netfilter.nf_conntrack_log_invalid",
    "net.netfilter.nf_conntrack_sctp_timeout_heartbeat_acked",
    "net.netfilter.nf_conntrack_tcp_no_window_check",
    "net.netfilter.nf_flowtable_tcp_timeout",
    "net.netfilter.nf_flowtable_udp_timeout",
    "net.netfilter.nf_hooks_lwtunnel",
    "net.netfilter.nf_log.0",
    "net.netfilter.nf_log.1",
    "net.netfilter.nf_log.10",
    "net.netfilter.nf_log.2",
    "net.netfilter.nf_log.3",
    "net.netfilter.nf_log.4",
    "net.netfilter.nf_log.5",
    "net.netfilter.nf_log.6",
    "net.netfilter.nf_log.7",
    "net.netfilter.nf_log.8",
    "net.netfilter.nf_log.9",
    "net.netfilter.nf_log_all_netns",
    "net.unix.max_dgram_qlen",
];

/// A name in dots, whether it was written with slashes (`net/ipv4/conf/eth0.100/rp_filter`) or with slashes only for the dots
/// that do not separate (`net.ipv4.conf.eth0/100.rp_filter`): only a device's name has dots of its own, and it is found by what
/// stands before and behind it.
fn dotted(name: &str) -> String {
    name.strip_prefix("/proc/sys/").unwrap_or(name).replace('/', ".")
}

fn bad(name: &str, value: impl fmt::Display, expected: &str) -> SysctlError {
    SysctlError::BadValue { name: name.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LO;

    const ETH0: IfIndex = IfIndex(2);
    const VLAN: IfIndex = IfIndex(3);

    fn host(settings: &[(&str, i64)]) -> Sysctl {
        let mut sysctl = Sysctl::default();
        for name in ["lo", "eth0", "eth0.100"] {
            sysctl.add_device(name);
        }
        for (name, value) in settings {
            sysctl.set(name, *value).unwrap();
        }
        sysctl
    }

    #[test]
    fn a_fresh_namespace() {
        let sysctl = host(&[]);
        for (name, value) in [
            ("net.ipv4.ip_forward", 0),
            ("net.ipv4.ip_default_ttl", 64),
            ("net.ipv4.icmp_ratelimit", 1000),
            ("net.ipv4.icmp_ratemask", 6168),
            ("net.ipv4.icmp_msgs_burst", 50),
            ("net.ipv4.conf.all.accept_source_route", 0),
            ("net.ipv4.conf.eth0.accept_source_route", 1),
            ("net.ipv4.conf.default.send_redirects", 1),
            ("net.ipv4.conf.eth0.rp_filter", 0),
            ("net.ipv4.conf.eth0.shared_media", 1),
            ("net.ipv6.conf.all.hop_limit", 64),
            ("net.ipv6.auto_flowlabels", 1),
            ("net.ipv6.icmp.ratelimit", 100),
            ("net.netfilter.nf_conntrack_acct", 0),
            ("net.netfilter.nf_conntrack_checksum", 1),
            ("net.netfilter.nf_conntrack_tcp_timeout_established", 432_000),
            ("net.netfilter.nf_conntrack_sctp_timeout_heartbeat_sent", 30),
            ("net.netfilter.nf_conntrack_max", 262_144),
            ("net.bridge.bridge-nf-call-iptables", 1),
        ] {
            assert_eq!(sysctl.get(name), Ok(value), "{name}");
        }
        assert_eq!(sysctl.icmp6_ratemask, [!4, 0]);
        assert!(!sysctl.forwarding(Family::V4, ETH0) && !sysctl.forwarding(Family::V6, ETH0));
        assert!(sysctl.send_redirects(ETH0) && sysctl.shared_media(ETH0) && !sysctl.accept_source_route(ETH0));
        assert_eq!(sysctl.hop_limit(Family::V4, ETH0), 64);
    }

    #[test]
    fn names_have_dots_or_slashes() {
        for name in
            ["net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0.100.rp_filter"]
        {
            let sysctl = host(&[(name, 2)]);
            assert_eq!((sysctl.rp_filter(VLAN), sysctl.rp_filter(ETH0)), (2, 0), "{name}");
        }
        assert_eq!(host(&[("/proc/sys/net/ipv4/ip_default_ttl", 9)]).ipv4.ip_default_ttl, 9);
    }

    #[test]
    fn forwarding_spreads_in_the_order_of_writing() {
        let on = host(&[("net.ipv4.ip_forward", 1)]);
        assert!(on.forwarding(Family::V4, ETH0) && on.forwarding(Family::V4, LO));
        // A router takes no redirects unless both say so.
        assert_eq!(on.get("net.ipv4.conf.all.accept_redirects"), Ok(0));
        assert!(!on.accept_redirects(Family::V4, ETH0));
        assert_eq!(on.get("net.ipv4.conf.all.forwarding"), Ok(1));
        assert_eq!(on.get("net.ipv4.conf.default.forwarding"), Ok(1));

        let later_off = host(&[("net.ipv4.ip_forward", 1), ("net.ipv4.conf.eth0.forwarding", 0)]);
        assert!(!later_off.forwarding(Family::V4, ETH0) && later_off.forwarding(Family::V4, VLAN));
        let later_on = host(&[("net.ipv4.conf.eth0.forwarding", 0), ("net.ipv4.ip_forward", 1)]);
        assert!(later_on.forwarding(Family::V4, ETH0));
        // Writing what is there already changes nothing.
        let again = host(&[
            ("net.ipv4.ip_forward", 1),
            ("net.ipv4.conf.eth0.forwarding", 0),
            ("net.ipv4.conf.all.forwarding", 1),
        ]);
        assert!(!again.forwarding(Family::V4, ETH0));

        let six = host(&[("net.ipv6.conf.eth0.forwarding", 1)]);
        assert!(!six.forwarding(Family::V6, ETH0));
        assert!(host(&[("net.ipv6.conf.all.forwarding", 1)]).forwarding(Family::V6, ETH0));
        assert!(host(&[("net.ipv6.conf.eth0.force_forwarding", 1)]).forwarding(Family::V6, ETH0));
    }

    #[test]
    fn all_and_the_device_combine_in_their_own_way() {
        let with = |all: i64, dev: i64, name: &str| {
            host(&[(&format!("net.ipv4.conf.all.{name}"), all), (&format!("net.ipv4.conf.eth0.{name}"), dev)])
        };
        for (all, dev) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (1, 2)] {
            assert_eq!(with(all, dev, "rp_filter").rp_filter(ETH0), all.max(dev) as i32);
            let (either, both) = (all > 0 || dev > 0, all > 0 && dev > 0);
            assert_eq!(with(all, dev, "send_redirects").send_redirects(ETH0), either);
            assert_eq!(with(all, dev, "shared_media").shared_media(ETH0), either);
            assert_eq!(with(all, dev, "secure_redirects").secure_redirects(ETH0), either);
            assert_eq!(with(all, dev, "accept_redirects").accept_redirects(Family::V4, ETH0), either);
            assert_eq!(with(all, dev, "route_localnet").route_localnet(ETH0), either);
            assert_eq!(with(all, dev, "accept_local").accept_local(ETH0), either);
            assert_eq!(with(all, dev, "src_valid_mark").src_valid_mark(ETH0), either);
            assert_eq!(with(all, dev, "log_martians").log_martians(ETH0), either);
            assert_eq!(with(all, dev, "accept_source_route").accept_source_route(ETH0), both);
            assert_eq!(with(all, dev, "bc_forwarding").bc_forwarding(ETH0), both);
        }
    }

    #[test]
    fn default_is_for_devices_that_have_none_of_their_own() {
        let sysctl = host(&[
            ("net.ipv4.conf.eth0.rp_filter", 1),
            ("net.ipv4.conf.default.rp_filter", 2),
            ("net.ipv4.conf.default.route_localnet", 1),
        ]);
        assert_eq!((sysctl.rp_filter(ETH0), sysctl.rp_filter(VLAN), sysctl.rp_filter(LO)), (1, 2, 0));
        // This one is for new devices only.
        assert!(!sysctl.route_localnet(VLAN));
        let mut sysctl = sysctl;
        sysctl.add_device("eth1");
        assert!(sysctl.route_localnet(IfIndex(4)));
        assert_eq!(sysctl.rp_filter(IfIndex(4)), 2);
        // IPv6 copies nothing.
        assert_eq!(host(&[("net.ipv6.conf.default.hop_limit", 9)]).hop_limit(Family::V6, ETH0), 64);
        assert_eq!(host(&[("net.ipv6.conf.eth0.hop_limit", 9)]).hop_limit(Family::V6, ETH0), 9);
    }

    #[test]
    fn tracking_has_its_settings_by_name() {
        let mut sysctl = host(&[]);
        for (n, (name, _)) in KNOBS.iter().enumerate() {
            let name = format!("net.netfilter.{name}");
            let value = i64::from(n % 2 == 0);
            sysctl.set(&name, value).unwrap();
            assert_eq!(sysctl.get(&name), Ok(value), "{name}");
        }
        sysctl.set("net.netfilter.nf_conntrack_udp_timeout_stream", 7).unwrap();
        assert_eq!(sysctl.track.udp_timeout_stream, 7);
        sysctl.set("net.nf_conntrack_max", 9).unwrap();
        assert_eq!(sysctl.track.max, 9);
    }

    #[test]
    fn lists_and_words_are_taken_where_linux_has_them() {
        let mut sysctl = host(&[]);
        sysctl.set_text("net.ipv6.icmp.ratemask", "0-1,3-127,255").unwrap();
        assert_eq!(sysctl.icmp6_ratemask, [!4, 1 << 127]);
        sysctl.set_text("net.ipv6.icmp.ratemask", "5").unwrap();
        assert_eq!(sysctl.icmp6_ratemask, [1 << 5, 0]);
        sysctl.set_text("net.ipv6.icmp.ratemask", "").unwrap();
        assert_eq!(sysctl.icmp6_ratemask, [0, 0]);
        assert!(sysctl.set_text("net.ipv6.icmp.ratemask", "1-").is_err());
        sysctl.set_text("net.ipv4.tcp_congestion_control", "cubic").unwrap();
        sysctl.set_text("net.ipv4.ip_forward", " 1\n").unwrap();
        assert!(sysctl.forwarding(Family::V4, ETH0));
        assert!(sysctl.set_text("net.ipv4.ip_forward", "yes").is_err());
    }

    #[test]
    fn refusals_help() {
        let mut sysctl = host(&[]);
        let mut refusal = |name: &str, value| sysctl.set(name, value).unwrap_err().to_string();
        for (name, value, expected) in [
            ("net.ipv4.ip_forwad", 1, "unknown setting net.ipv4.ip_forwad; did you mean net.ipv4.ip_forward?"),
            ("net.ipv4.conf.eth0.rp_fliter", 1, "did you mean net.ipv4.conf.eth0.rp_filter?"),
            ("net.ipv4.conf.eth9.rp_filter", 1, "there is no interface eth9; did you mean eth0?"),
            ("net.ipv6.conf.wan.forwarding", 1, "there is no interface wan"),
            ("net.netfilter.nf_conntrack_udp_timeuot", 1, "did you mean net.netfilter.nf_conntrack_udp_timeout?"),
            ("net.ipv4.ip_default_ttl", 0, "net.ipv4.ip_default_ttl cannot be 0: expected 1 to 255"),
            ("net.ipv4.conf.all.rp_filter", 1 << 40, "expected a number of 32 bits"),
            ("net.netfilter.nf_conntrack_acct", 2, "expected 0 or 1"),
            ("net.netfilter.nf_conntrack_udp_timeout", -1, "expected 0 to 2147483647"),
            ("net.netfilter.nf_conntrack_count", 1, "can only be read"),
            ("kernel.hostname", 1, "unknown setting kernel.hostname"),
        ] {
            let text = refusal(name, value);
            assert!(text.contains(expected), "{text}");
        }
    }
}
