//! What names in rules stand for: services, protocols, users, hosts.
//!
//! The lists of the system are texts here (`/etc/services` and so on): whoever runs the program reads the files. A name that
//! they do not have is looked for in a built-in list of well-known protocols, and services are where there is no list of services, so that a rule file means the same
//! on a machine without these files.

use hairpin_engine::set::Sets;
use hairpin_wire::{Addr, Family, proto};
use hairpin_xt::option::{KnownSet, NameKind, Names, NumberNames};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Names from the lists of a system and the built-in ones.
#[derive(Default)]
pub struct SystemNames {
    services: HashMap<(String, u8), u16>,
    service_names: HashMap<(u16, u8), String>,
    numbers: HashMap<(Kind, String), u32>,
    names: HashMap<(Kind, u32), String>,
    sets: BTreeMap<String, Option<Family>>,
    /// Addresses and names of a hosts file, in its order.
    host_list: Vec<(Family, Addr, String)>,
    network_list: Vec<(Addr, String)>,
    hosts: Option<HostLookup>,
    files: Option<FileLookup>,
}

/// Asks for the addresses of a host.
pub type HostLookup = Box<dyn Fn(Family, &str) -> Result<Vec<Addr>, String> + Send + Sync>;

/// Asks for the content of a file.
pub type FileLookup = Box<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

/// [`NameKind`] without services, which have two keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Protocol,
    User,
    Group,
    Realm,
    DeviceGroup,
    ConnLabel,
}

impl SystemNames {
    /// Only the built-in names; hosts and files are not asked for.
    pub fn new() -> SystemNames {
        SystemNames::default()
    }

    /// Adds the services of a text in the form of `/etc/services`.
    pub fn with_services(mut self, text: &str) -> SystemNames {
        for fields in lines(text) {
            let [name, place, aliases @ ..] = fields.as_slice() else { continue };
            let Some((port, protocol)) = place.split_once('/') else { continue };
            let (Ok(port), Some(protocol)) = (port.parse(), transport(protocol)) else { continue };
            self.service_names.entry((port, protocol)).or_insert_with(|| (*name).to_owned());
            for name in [name].into_iter().chain(aliases) {
                self.services.entry(((*name).to_owned(), protocol)).or_insert(port);
            }
        }
        self
    }

    /// Adds the protocols of a text in the form of `/etc/protocols`.
    pub fn with_protocols(mut self, text: &str) -> SystemNames {
        for fields in lines(text) {
            let [name, number, aliases @ ..] = fields.as_slice() else { continue };
            let Ok(number) = number.parse::<u8>() else { continue };
            for name in [name].into_iter().chain(aliases) {
                self.add(Kind::Protocol, name, u32::from(number));
            }
        }
        self
    }

    /// Adds the users of a text in the form of `/etc/passwd`.
    pub fn with_users(self, text: &str) -> SystemNames {
        self.colons(Kind::User, text)
    }

    /// Adds the groups of a text in the form of `/etc/group`.
    pub fn with_groups(self, text: &str) -> SystemNames {
        self.colons(Kind::Group, text)
    }

    fn colons(mut self, kind: Kind, text: &str) -> SystemNames {
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), _, Some(Ok(number))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
                self.add(kind, name, number);
            }
        }
        self
    }

    /// Adds names of a list with the number first (`/etc/iproute2/rt_realms`, `/etc/iproute2/group`,
    /// `/etc/xtables/connlabel.conf`). Kinds that have no such list are left alone.
    pub fn with_numbered(mut self, kind: NameKind, text: &str) -> SystemNames {
        let Some(kind) = Kind::of(kind) else { return self };
        for fields in lines(text) {
            let [number, name, ..] = fields.as_slice() else { continue };
            if let Some(number) = hairpin_xt::value::number_within(number, 0, u64::from(u32::MAX)) {
                self.add(kind, name, number as u32);
            }
        }
        self
    }

    /// Knows these sets; without, there is none.
    pub fn with_sets(mut self, sets: &Sets) -> SystemNames {
        self.set_sets(sets);
        self
    }

    /// Knows these sets from now on and no other.
    pub fn set_sets(&mut self, sets: &Sets) {
        self.sets = sets.iter().map(|(name, set)| (name.to_owned(), set.options().family)).collect();
    }

    /// Adds the hosts of a text in the form of `/etc/hosts`.
    pub fn with_hosts_file(mut self, text: &str) -> SystemNames {
        for fields in lines(text) {
            let [addr, names @ ..] = fields.as_slice() else { continue };
            let Ok(ip) = addr.parse() else { continue };
            let (family, addr) = Addr::from_ip(ip);
            self.host_list.extend(names.iter().map(|name| (family, addr, (*name).to_owned())));
        }
        self
    }

    /// Adds the networks of a text in the form of `/etc/networks`.
    pub fn with_networks(mut self, text: &str) -> SystemNames {
        for fields in lines(text) {
            let [name, number, aliases @ ..] = fields.as_slice() else { continue };
            let Some(addr) = network_number(number) else { continue };
            self.network_list.extend([name].into_iter().chain(aliases).map(|name| (addr, (*name).to_owned())));
        }
        self
    }

    /// Asks this for the addresses of hosts that no hosts file has.
    pub fn with_hosts(self, lookup: HostLookup) -> SystemNames {
        SystemNames { hosts: Some(lookup), ..self }
    }

    /// Asks this for the content of files.
    pub fn with_files(self, lookup: FileLookup) -> SystemNames {
        SystemNames { files: Some(lookup), ..self }
    }

    fn add(&mut self, kind: Kind, name: &str, number: u32) {
        self.numbers.entry((kind, name.to_owned())).or_insert(number);
        self.names.entry((kind, number)).or_insert_with(|| name.to_owned());
    }
}

impl fmt::Debug for SystemNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemNames({} services, {} others)", self.services.len(), self.numbers.len())
    }
}

/// `127`, `127.0` and `127.0.0.0` are one network.
fn network_number(text: &str) -> Option<Addr> {
    let parts: Vec<u8> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let whole = parts.iter().copied().chain(std::iter::repeat(0)).take(4);
    (parts.len() <= 4).then(|| Addr::v4(whole.fold(0, |number, part| number << 8 | u32::from(part))))
}

impl NumberNames for SystemNames {
    fn name(&self, kind: NameKind, number: u32) -> Option<String> {
        match kind {
            NameKind::Service(0) => [proto::TCP, proto::UDP, proto::SCTP]
                .into_iter()
                .find_map(|protocol| self.name(NameKind::Service(protocol), number)),
            NameKind::Service(protocol) => {
                let port = u16::try_from(number).ok()?;
                self.service_names.get(&(port, protocol)).cloned()
            }
            _ => self.names.get(&(Kind::of(kind)?, number)).cloned(),
        }
    }

    fn host_name(&self, family: Family, addr: Addr) -> Option<String> {
        let listed = |(of, a, _): &&(Family, Addr, String)| (*of, *a) == (family, addr);
        let host = self.host_list.iter().find(listed).map(|(_, _, name)| name.clone());
        let network = || self.network_list.iter().find(|(a, _)| *a == addr).map(|(_, name)| name.clone());
        host.or_else(|| network().filter(|_| family == Family::V4))
    }
}

impl Names for SystemNames {
    fn number(&self, kind: NameKind, name: &str) -> Option<u32> {
        match kind {
            NameKind::Service(0) => [proto::TCP, proto::UDP, proto::SCTP]
                .into_iter()
                .find_map(|protocol| self.number(NameKind::Service(protocol), name)),
            NameKind::Service(protocol) => {
                let own = self.services.get(&(name.to_owned(), protocol)).copied();
                let known = || if self.services.is_empty() { well_known_service(name, protocol) } else { None };
                own.or_else(known).map(u32::from)
            }
            _ => {
                let own = self.numbers.get(&(Kind::of(kind)?, name.to_owned())).copied();
                own.or_else(|| match kind {
                    NameKind::Protocol => PROTOCOLS.iter().find(|(n, _)| *n == name).map(|(_, p)| u32::from(*p)),
                    NameKind::User | NameKind::Group if name == "root" => Some(0),
                    _ => None,
                })
            }
        }
    }

    fn set(&self, name: &str) -> KnownSet {
        self.sets.get(name).map_or(KnownSet::Missing, |family| KnownSet::Of(*family))
    }

    fn has_list(&self, kind: NameKind) -> bool {
        Kind::of(kind).is_some_and(|kind| self.names.keys().any(|(k, _)| *k == kind))
    }

    fn hosts(&self, family: Family, name: &str) -> Result<Vec<Addr>, String> {
        // Networks go before hosts.
        if family == Family::V4
            && let Some((addr, _)) = self.network_list.iter().find(|(_, n)| n.eq_ignore_ascii_case(name))
        {
            return Ok(vec![*addr]);
        }
        // For the C library, a name of ::1 is also one of 127.0.0.1: a `localhost' of both is listed twice.
        let as_asked = |(of, addr, _): &(Family, Addr, String)| match (family, of) {
            (Family::V4, Family::V6) => (*addr == Addr(1)).then_some(Addr::v4(0x7f00_0001)),
            (asked, of) => (asked == *of).then_some(*addr),
        };
        let named = self.host_list.iter().filter(|(_, _, n)| n.eq_ignore_ascii_case(name));
        let listed: Vec<Addr> = named.filter_map(as_asked).collect();
        if !listed.is_empty() {
            return Ok(listed);
        }
        match &self.hosts {
            Some(lookup) => lookup(family, name),
            None => Err("Name or service not known".to_owned()),
        }
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        match &self.files {
            Some(lookup) => lookup(path),
            None => Err("No such file or directory".to_owned()),
        }
    }
}

impl Kind {
    fn of(kind: NameKind) -> Option<Kind> {
        Some(match kind {
            NameKind::Service(_) => return None,
            NameKind::Protocol => Kind::Protocol,
            NameKind::User => Kind::User,
            NameKind::Group => Kind::Group,
            NameKind::Realm => Kind::Realm,
            NameKind::DeviceGroup => Kind::DeviceGroup,
            NameKind::ConnLabel => Kind::ConnLabel,
        })
    }
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect())
}

fn transport(name: &str) -> Option<u8> {
    Some(match name {
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "sctp" => proto::SCTP,
        "dccp" => proto::DCCP,
        "udplite" => proto::UDPLITE,
        _ => return None,
    })
}

fn well_known_service(name: &str, protocol: u8) -> Option<u16> {
    let wanted = match protocol {
        proto::TCP => T,
        proto::UDP | proto::UDPLITE => U,
        proto::SCTP => S,
        _ => return None,
    };
    SERVICES.iter().find(|(n, _, over)| *n == name && over & wanted != 0).map(|(_, port, _)| *port)
}

const T: u8 = 1;
const U: u8 = 2;
const S: u8 = 4;

/// Well-known services (IANA "Service Name and Transport Protocol Port Number Registry" and long-standing use): name, port,
/// over what.
#[rustfmt::skip]
const SERVICES: &[(&str, u16, u8)] = &[
    ("tcpmux", 1, T),
    ("echo", 7, T | U),
    ("discard", 9, T | U),
    ("null", 9, T | U),
    ("sink", 9, T | U),
    ("systat", 11, T),
    ("users", 11, T),
    ("daytime", 13, T | U),
    ("netstat", 15, T),
    ("qotd", 17, T),
    ("quote", 17, T),
    ("chargen", 19, T | U),
    ("source", 19, T | U),
    ("ttytst", 19, T | U),
    ("ftp-data", 20, T | U | S),
    ("fsp", 21, U),
    ("fspd", 21, U),
    ("ftp", 21, T | U | S),
    ("ssh", 22, T | U | S),
    ("telnet", 23, T | U),
    ("mail", 25, T),
    ("smtp", 25, T | U),
    ("time", 37, T | U),
    ("timserver", 37, T | U),
    ("nicname", 43, T),
    ("whois", 43, T),
    ("tacacs", 49, T | U),
    ("re-mail-ck", 50, T | U),
    ("dns", 53, T | U),
    ("domain", 53, T | U),
    ("bootps", 67, T | U),
    ("dhcps", 67, U),
    ("bootpc", 68, T | U),
    ("dhcpc", 68, U),
    ("tftp", 69, T | U),
    ("gopher", 70, T | U),
    ("finger", 79, T),
    ("http", 80, T | U | S),
    ("www", 80, T),
    ("link", 87, T),
    ("kerberos", 88, T | U),
    ("kerberos-sec", 88, T | U),
    ("kerberos5", 88, T | U),
    ("krb5", 88, T | U),
    ("iso-tsap", 102, T),
    ("tsap", 102, T),
    ("acr-nema", 104, T),
    ("dicom", 104, T),
    ("poppassd", 106, T),
    ("pop2", 109, T | U),
    ("pop-3", 110, T),
    ("pop3", 110, T | U),
    ("portmapper", 111, T | U),
    ("sunrpc", 111, T | U),
    ("vrrp", 112, T),
    ("auth", 113, T),
    ("authentication", 113, T),
    ("ident", 113, T),
    ("tap", 113, T),
    ("nntp", 119, T),
    ("readnews", 119, T),
    ("untp", 119, T),
    ("ntp", 123, T | U),
    ("epmap", 135, T),
    ("loc-srv", 135, T),
    ("msrpc", 135, T | U),
    ("netbios-ns", 137, T | U),
    ("netbios-dgm", 138, T | U),
    ("netbios-ssn", 139, T | U),
    ("imap", 143, T),
    ("imap2", 143, T),
    ("snmp", 161, T | U),
    ("snmp-trap", 162, T | U),
    ("snmptrap", 162, T | U),
    ("cmip-man", 163, T | U),
    ("cmip-agent", 164, T | U),
    ("mailq", 174, T),
    ("xdmcp", 177, U),
    ("bgp", 179, T | U | S),
    ("irc", 194, T | U),
    ("smux", 199, T),
    ("qmtp", 209, T),
    ("wais", 210, T),
    ("z3950", 210, T),
    ("ipx", 213, U),
    ("imap3", 220, T | U),
    ("ptp-event", 319, U),
    ("ptp-general", 320, U),
    ("rtsps", 322, T | U),
    ("pawserv", 345, T),
    ("zserv", 346, T),
    ("rpc2portmap", 369, T | U),
    ("codaauth2", 370, T | U),
    ("Clearcase", 371, U),
    ("clearcase", 371, U),
    ("ldap", 389, T | U),
    ("svrloc", 427, T | U),
    ("https", 443, T | U | S),
    ("quic", 443, U),
    ("snpp", 444, T),
    ("microsoft-ds", 445, T | U),
    ("smb", 445, T),
    ("kpasswd", 464, T | U),
    ("smtps", 465, T),
    ("ssmtp", 465, T),
    ("submissions", 465, T),
    ("urd", 465, T),
    ("saft", 487, T),
    ("isakmp", 500, T | U),
    ("biff", 512, U),
    ("comsat", 512, U),
    ("exec", 512, T),
    ("login", 513, T),
    ("who", 513, U),
    ("whod", 513, U),
    ("cmd", 514, T),
    ("shell", 514, T),
    ("syslog", 514, T | U),
    ("printer", 515, T),
    ("spooler", 515, T),
    ("talk", 517, U),
    ("ntalk", 518, U),
    ("route", 520, U),
    ("routed", 520, U),
    ("router", 520, U),
    ("gdomap", 538, T | U),
    ("uucp", 540, T),
    ("uucpd", 540, T),
    ("klogin", 543, T),
    ("krcmd", 544, T),
    ("kshell", 544, T | U),
    ("dhcpv6-client", 546, U),
    ("dhcpv6-server", 547, U),
    ("afpovertcp", 548, T),
    ("rtsp", 554, T | U),
    ("nntps", 563, T),
    ("snntp", 563, T),
    ("submission", 587, T | U),
    ("syslog-conn", 601, T | U),
    ("nqs", 607, T),
    ("asf-rmcp", 623, U),
    ("qmqp", 628, T),
    ("ipp", 631, T),
    ("rlzdbase", 635, T | U),
    ("ldaps", 636, T | U | S),
    ("ldp", 646, T | U),
    ("tinc", 655, T | U),
    ("silc", 706, T),
    ("kerberos-adm", 749, T),
    ("kdc", 750, T | U),
    ("kerberos-iv", 750, T | U),
    ("kerberos4", 750, T | U),
    ("kerberos-master", 751, T | U),
    ("kerberos_master", 751, U),
    ("passwd-server", 752, U),
    ("passwd_server", 752, U),
    ("hprop", 754, T),
    ("krb-prop", 754, T),
    ("krb5_prop", 754, T),
    ("krb_prop", 754, T),
    ("moira-db", 775, T),
    ("moira_db", 775, T),
    ("moira-update", 777, T),
    ("moira_update", 777, T),
    ("moira-ureg", 779, U),
    ("moira_ureg", 779, U),
    ("spamd", 783, T),
    ("domain-s", 853, T | U),
    ("supfilesrv", 871, T),
    ("rsync", 873, T | U),
    ("ftps-data", 989, T),
    ("ftps", 990, T),
    ("telnets", 992, T),
    ("imaps", 993, T | U),
    ("pop3s", 995, T | U),
    ("socks", 1080, T),
    ("proofd", 1093, T),
    ("rootd", 1094, T),
    ("rmiregistry", 1099, T),
    ("supfiledbg", 1127, T),
    ("skkserv", 1178, T),
    ("openvpn", 1194, T | U),
    ("predict", 1210, U),
    ("rmtcfg", 1236, T),
    ("xtel", 1313, T),
    ("xtelw", 1314, T),
    ("lotusnote", 1352, T),
    ("lotusnotes", 1352, T),
    ("ms-sql-s", 1433, T | U),
    ("ms-sql-m", 1434, T | U),
    ("ingreslock", 1524, T),
    ("datametrics", 1645, T | U),
    ("old-radius", 1645, T | U),
    ("old-radacct", 1646, T | U),
    ("sa-msg-port", 1646, T | U),
    ("kermit", 1649, T),
    ("groupwise", 1677, T),
    ("l2f", 1701, U),
    ("l2tp", 1701, U),
    ("h323gatedisc", 1718, T | U),
    ("h323gatestat", 1719, T | U),
    ("h323hostcall", 1720, T | U),
    ("pptp", 1723, T | U),
    ("radius", 1812, T | U),
    ("radacct", 1813, T | U),
    ("radius-acct", 1813, T | U),
    ("mqtt", 1883, T | U),
    ("ssdp", 1900, T | U),
    ("cisco-sccp", 2000, T),
    ("nfs", 2049, T | U | S),
    ("gnunet", 2086, T | U),
    ("rtcm-sc104", 2101, T | U),
    ("zephyr-srv", 2102, U),
    ("zephyr-clt", 2103, U),
    ("zephyr-hm", 2104, U),
    ("gsigatekeeper", 2119, T),
    ("iprop", 2121, T),
    ("gtp-control", 2123, U),
    ("gris", 2135, T),
    ("gtp-user", 2152, U),
    ("docker", 2375, T),
    ("docker-s", 2376, T),
    ("etcd-client", 2379, T),
    ("etcd-server", 2380, T),
    ("cvspserver", 2401, T),
    ("venus", 2430, T | U),
    ("venus-se", 2431, T | U),
    ("codasrv", 2432, T | U),
    ("codasrv-se", 2433, T | U),
    ("mon", 2583, T | U),
    ("zebrasrv", 2600, T),
    ("zebra", 2601, T),
    ("ripd", 2602, T),
    ("ripngd", 2603, T),
    ("ospfd", 2604, T),
    ("bgpd", 2605, T),
    ("ospf6d", 2606, T),
    ("ospfapi", 2607, T),
    ("isisd", 2608, T),
    ("dict", 2628, T),
    ("f5-globalsite", 2792, T),
    ("gsiftp", 2811, T),
    ("m3ua", 2905, S),
    ("gpsd", 2947, T),
    ("gds-db", 3050, T),
    ("gds_db", 3050, T),
    ("squid", 3128, T),
    ("icp", 3130, U),
    ("icpv2", 3130, U),
    ("isns", 3205, T | U),
    ("iscsi-target", 3260, T),
    ("mysql", 3306, T | U),
    ("ms-wbt-server", 3389, T | U),
    ("stun", 3478, T | U),
    ("turn", 3478, T | U),
    ("nut", 3493, T | U),
    ("distcc", 3632, T),
    ("daap", 3689, T),
    ("subversion", 3690, T),
    ("svn", 3690, T),
    ("bfd-control", 3784, U),
    ("bfd-echo", 3785, U),
    ("diameter", 3868, T | S),
    ("suucp", 4031, T),
    ("sysrqd", 4094, T),
    ("sieve", 4190, T),
    ("f5-iquery", 4353, T),
    ("epmd", 4369, T),
    ("remctl", 4373, T),
    ("ntske", 4460, T),
    ("ipsec-nat-t", 4500, T | U),
    ("fax", 4557, T),
    ("hylafax", 4559, T),
    ("iax", 4569, U),
    ("mtn", 4691, T),
    ("vxlan", 4789, U),
    ("radmin-port", 4899, T),
    ("lrrd", 4949, T),
    ("munin", 4949, T),
    ("sip", 5060, T | U | S),
    ("sip-tls", 5061, T | U),
    ("sips", 5061, T | U),
    ("jabber-client", 5222, T),
    ("xmpp-client", 5222, T),
    ("jabber-server", 5269, T),
    ("xmpp-server", 5269, T),
    ("xmpp-bosh", 5280, T),
    ("cfengine", 5308, T),
    ("stuns", 5349, T | U),
    ("mdns", 5353, T | U),
    ("llmnr", 5355, T | U),
    ("postgres", 5432, T | U),
    ("postgresql", 5432, T | U),
    ("rplay", 5555, U),
    ("freeciv", 5556, T),
    ("rptp", 5556, T),
    ("nrpe", 5666, T),
    ("nsca", 5667, T),
    ("amqps", 5671, T),
    ("amqp", 5672, T | S),
    ("canna", 5680, T),
    ("coap", 5683, T | U),
    ("coaps", 5684, T | U),
    ("rfb", 5900, T | U),
    ("vnc-server", 5900, T | U),
    ("wsman", 5985, T | U),
    ("wsmans", 5986, T | U),
    ("x11", 6000, T),
    ("x11-0", 6000, T),
    ("x11-1", 6001, T),
    ("x11-2", 6002, T),
    ("x11-3", 6003, T),
    ("x11-4", 6004, T),
    ("x11-5", 6005, T),
    ("x11-6", 6006, T),
    ("x11-7", 6007, T),
    ("geneve", 6081, U),
    ("gnutella-svc", 6346, T | U),
    ("gnutella-rtr", 6347, T | U),
    ("redis", 6379, T),
    ("sge-qmaster", 6444, T),
    ("sge_qmaster", 6444, T),
    ("sge-execd", 6445, T),
    ("sge_execd", 6445, T),
    ("mysql-proxy", 6446, T),
    ("syslog-tls", 6514, T),
    ("sane", 6566, T),
    ("sane-port", 6566, T),
    ("saned", 6566, T),
    ("ircd", 6667, T),
    ("babel", 6696, U),
    ("ircs-u", 6697, T),
    ("afs3-fileserver", 7000, U),
    ("bbs", 7000, T),
    ("afs3-callback", 7001, U),
    ("afs3-prserver", 7002, U),
    ("afs3-vlserver", 7003, U),
    ("afs3-kaserver", 7004, U),
    ("afs3-volser", 7005, U),
    ("afs3-bos", 7007, U),
    ("afs3-update", 7008, U),
    ("afs3-rmtsys", 7009, U),
    ("font-service", 7100, T),
    ("xfs", 7100, T),
    ("zope-ftp", 8021, T),
    ("http-alt", 8080, T),
    ("webcache", 8080, T),
    ("tproxy", 8081, T),
    ("omniorb", 8088, T),
    ("puppet", 8140, T),
    ("secure-mqtt", 8883, T | U),
    ("clc-build-daemon", 8990, T),
    ("xinetd", 9098, T),
    ("bacula-dir", 9101, T),
    ("bacula-fd", 9102, T),
    ("bacula-sd", 9103, T),
    ("git", 9418, T),
    ("xmms2", 9667, T),
    ("zope", 9673, T),
    ("webmin", 10000, T),
    ("zabbix-agent", 10050, T),
    ("zabbix-trapper", 10051, T),
    ("amanda", 10080, T),
    ("kamanda", 10081, T),
    ("amandaidx", 10082, T),
    ("amidxtape", 10083, T),
    ("nbd", 10809, T),
    ("dicom", 11112, T),
    ("memcache", 11211, T | U),
    ("hkp", 11371, T),
    ("amt-soap-http", 16992, T | U),
    ("sgi-cmsd", 17001, U),
    ("sgi-crsd", 17002, U),
    ("sgi-gcd", 17003, U),
    ("sgi-cad", 17004, T),
    ("db-lsp", 17500, T),
    ("dcap", 22125, T),
    ("gsidcap", 22128, T),
    ("wnn6", 22273, T),
    ("binkp", 24554, T),
    ("asp", 27374, T | U),
    ("csync2", 30865, T),
    ("mysqlx", 33060, T),
    ("dircproxy", 57000, T),
    ("tfido", 60177, T),
    ("fido", 60179, T),
];

/// IP protocols (IANA "Assigned Internet Protocol Numbers" with the names that Unix systems use).
const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("ip-encap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ipsec-esp", 50),
    ("ah", 51),
    ("ipsec-ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ospfigp", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lists_come_first() {
        let names = SystemNames::new()
            .with_services("http 8888/tcp www # own\nodd 1/ddp\nbad\n")
            .with_protocols("mine 200 MINE\n")
            .with_users("alice:x:1000:1000::/:/bin/sh\n")
            .with_numbered(NameKind::Realm, "# id name\n0x10 isp\n7 other\n");
        let number = |kind, name: &str| names.number(kind, name);
        assert_eq!(number(NameKind::Service(proto::TCP), "http"), Some(8888));
        assert_eq!(number(NameKind::Service(proto::TCP), "www"), Some(8888));
        assert_eq!(number(NameKind::Service(proto::TCP), "ssh"), None, "not in the list that is there");
        let built_in = |protocol, name: &str| SystemNames::new().number(NameKind::Service(protocol), name);
        assert_eq!(built_in(proto::TCP, "ssh"), Some(22));
        assert_eq!(built_in(proto::UDP, "domain"), Some(53));
        assert_eq!(built_in(0, "ntp"), Some(123));
        assert_eq!(number(NameKind::Service(0), "odd"), None);
        assert_eq!(number(NameKind::Protocol, "mine"), Some(200));
        assert_eq!(number(NameKind::Protocol, "gre"), Some(47));
        assert_eq!(number(NameKind::User, "alice"), Some(1000));
        assert_eq!(number(NameKind::User, "root"), Some(0));
        assert_eq!(number(NameKind::Realm, "isp"), Some(16));
        assert_eq!(names.name(NameKind::Realm, 7).as_deref(), Some("other"));
        assert!(names.hosts(Family::V4, "example.org").is_err());
        let names = SystemNames::new()
            .with_networks("default 0.0.0.0\nloopback 127 lo\nlink-local 169.254 # x\nbad 1.2.3.4.5\n")
            .with_hosts_file("127.0.0.1 localhost");
        assert_eq!(names.hosts(Family::V4, "lo"), Ok(vec![Addr::v4(127 << 24)]));
        assert!(names.hosts(Family::V6, "lo").is_err() && names.hosts(Family::V4, "bad").is_err());
        assert_eq!(names.host_name(Family::V4, Addr::v4(169 << 24 | 254 << 16)).as_deref(), Some("link-local"));
        assert_eq!(names.host_name(Family::V4, Addr::v4(127 << 24 | 1)).as_deref(), Some("localhost"));
    }

    #[test]
    fn built_in_names_are_in_order() {
        assert!(SERVICES.windows(2).all(|w| (w[0].1, w[0].0) < (w[1].1, w[1].0)));
    }
}
