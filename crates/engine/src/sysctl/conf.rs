//! Settings of devices: once for `all`, once for `default`, once for each device; and how a change spreads among them.

use crate::net::IfIndex;

macro_rules! conf {
    ($(#[$enum_doc:meta])* $enum:ident; $($(#[$doc:meta])* $variant:ident $name:literal $all:literal $default:literal;)*) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Name, default of `all`, default elsewhere; in the order of the variants.
            pub(super) const TABLE: &'static [(&'static str, i32, i32)] = &[$(($name, $all, $default),)*];
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
    /// Take in-situ OAM.
    Ioam6Enabled "ioam6_enabled" 0 0;
    /// The device's number in it.
    Ioam6Id "ioam6_id" 65535 65535;
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
    /// Take a prefix's lifetime from them, however short.
    RaHonorPioLife "ra_honor_pio_life" 0 0;
    /// Take it from them that prefixes are to be delegated.
    RaHonorPioPflag "ra_honor_pio_pflag" 0 0;
    /// Seconds before its end that a temporary address is renewed.
    RegenMinAdvance "regen_min_advance" 2 2;
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
pub(super) struct Conf {
    pub(super) all: Vec<i32>,
    pub(super) default: Vec<i32>,
    /// By device number, `lo` first.
    pub(super) devices: Vec<Row>,
}

/// One device's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) values: Vec<i32>,
    /// Which were set on the device itself: a change of `default` leaves them alone (IPv4).
    pub(super) own: Vec<bool>,
}

impl Conf {
    pub(super) fn new(table: &[(&str, i32, i32)]) -> Conf {
        Conf {
            all: table.iter().map(|(_, all, _)| *all).collect(),
            default: table.iter().map(|(_, _, default)| *default).collect(),
            devices: Vec::new(),
        }
    }

    pub(super) fn all(&self, setting: usize) -> i32 {
        self.all.get(setting).copied().unwrap_or(0)
    }

    pub(super) fn device(&self, dev: IfIndex, setting: usize) -> i32 {
        let row = (dev.0 as usize).checked_sub(1).and_then(|row| self.devices.get(row));
        row.and_then(|row| row.values.get(setting)).or_else(|| self.default.get(setting)).copied().unwrap_or(0)
    }

    /// Sets one of IPv4's, with what follows from it elsewhere.
    pub(super) fn set4(&mut self, place: &Place, setting: usize, value: i32) {
        match place {
            Place::All => {
                let old = std::mem::replace(&mut self.all[setting], value);
                if setting == Conf4::Forwarding as usize && old != value {
                    // A router takes no redirects; devices, present and to come, follow.
                    self.all[Conf4::AcceptRedirects as usize] = i32::from(value == 0);
                    self.default[setting] = value;
                    for row in &mut self.devices {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Default => {
                self.default[setting] = value;
                if !Conf4::ONLY_FOR_NEW.iter().any(|only| *only as usize == setting) {
                    for row in self.devices.iter_mut().filter(|row| !row.own[setting]) {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Device(row) => {
                if let Some(row) = self.devices.get_mut(*row) {
                    row.values[setting] = value;
                    row.own[setting] = true;
                }
            }
        }
    }

    /// Sets one of IPv6's, with what follows from it elsewhere.
    pub(super) fn set6(&mut self, place: &Place, setting: usize, value: i32) {
        let spreads = [Conf6::Forwarding as usize, Conf6::ForceForwarding as usize, Conf6::DisableIpv6 as usize];
        match place {
            Place::All => {
                self.all[setting] = value;
                if spreads.contains(&setting) {
                    self.default[setting] = value;
                    for row in &mut self.devices {
                        row.values[setting] = value;
                    }
                }
            }
            Place::Default => self.default[setting] = value,
            Place::Device(row) => {
                if let Some(row) = self.devices.get_mut(*row) {
                    row.values[setting] = value;
                }
            }
        }
    }
}

/// Where a setting is made.
pub(super) enum Place {
    All,
    Default,
    Device(usize),
}
