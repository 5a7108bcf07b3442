//! Settings by name: defaults, spreading, combining, refusals.

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
    let again =
        host(&[("net.ipv4.ip_forward", 1), ("net.ipv4.conf.eth0.forwarding", 0), ("net.ipv4.conf.all.forwarding", 1)]);
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
