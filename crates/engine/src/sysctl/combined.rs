//! What `all` and a device's own setting say together: different for every setting, and written here once.

use super::{Conf4, Conf6, Sysctl};
use crate::net::IfIndex;
use hairpin_wire::Family;

impl Sysctl {
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
}
