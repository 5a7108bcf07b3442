//! Which options each type takes, and in which order they are printed.

use hairpin_engine::set::{Kind, Method, Part};

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `ipset add`
    Add,
    /// `ipset del`
    Del,
    /// `ipset test`
    Test,
}

impl Action {
    /// The command's name.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Add => "add",
            Action::Del => "del",
            Action::Test => "test",
        }
    }
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Range,
    From,
    To,
    Network,
    Family,
    Inet,
    Inet6,
    Markmask,
    Hashsize,
    Maxelem,
    Netmask,
    Bitmask,
    Timeout,
    Counters,
    Comment,
    Forceadd,
    Skbinfo,
    Bucketsize,
    Initval,
    Size,
    /// Options of old that mean nothing now: `probes`, `resize`, `gc`, and for some types `from`, `to`, `network`.
    Ignored(&'static str),
    Nomatch,
    Wildcard,
    Before,
    After,
    Packets,
    Bytes,
    EntryComment,
    Skbmark,
    Skbprio,
    Skbqueue,
}

impl Opt {
    /// Its word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Opt::Range => "range",
            Opt::From => "from",
            Opt::To => "to",
            Opt::Network => "network",
            Opt::Family => "family",
            Opt::Inet => "-4",
            Opt::Inet6 => "-6",
            Opt::Markmask => "markmask",
            Opt::Hashsize => "hashsize",
            Opt::Maxelem => "maxelem",
            Opt::Netmask => "netmask",
            Opt::Bitmask => "bitmask",
            Opt::Timeout => "timeout",
            Opt::Counters => "counters",
            Opt::Comment | Opt::EntryComment => "comment",
            Opt::Forceadd => "forceadd",
            Opt::Skbinfo => "skbinfo",
            Opt::Bucketsize => "bucketsize",
            Opt::Initval => "initval",
            Opt::Size => "size",
            Opt::Ignored(name) => name,
            Opt::Nomatch => "nomatch",
            Opt::Wildcard => "wildcard",
            Opt::Before => "before",
            Opt::After => "after",
            Opt::Packets => "packets",
            Opt::Bytes => "bytes",
            Opt::Skbmark => "skbmark",
            Opt::Skbprio => "skbprio",
            Opt::Skbqueue => "skbqueue",
        }
    }

    /// Whether a word follows it.
    pub(super) const fn has_value(self) -> bool {
        !matches!(
            self,
            Opt::Inet
                | Opt::Inet6
                | Opt::Counters
                | Opt::Comment
                | Opt::Forceadd
                | Opt::Skbinfo
                | Opt::Nomatch
                | Opt::Wildcard
        )
    }

    /// Its line in the help of a type; None for words that only old files have.
    pub(super) const fn help(self) -> Option<&'static str> {
        Some(match self {
            Opt::Family => "[family inet|inet6]|[-4|-6]",
            Opt::Markmask => "markmask VALUE",
            Opt::Hashsize => "[hashsize VALUE]",
            Opt::Maxelem => "[maxelem VALUE]",
            Opt::Netmask => "[netmask CIDR]",
            Opt::Bitmask => "[bitmask bitmask]",
            Opt::Timeout => "[timeout VALUE]",
            Opt::Counters => "[counters]",
            Opt::Comment => "[comment]",
            Opt::Forceadd => "[forceadd]",
            Opt::Skbinfo => "[skbinfo]",
            Opt::Bucketsize => "[bucketsize VALUE]",
            Opt::Initval => "[initval VALUE]",
            Opt::Size => "[size VALUE]",
            Opt::Nomatch => "[nomatch]",
            Opt::Wildcard => "[wildcard]",
            Opt::Before | Opt::After => "[before|after NAME]",
            Opt::Packets => "[packets VALUE]",
            Opt::Bytes => "[bytes VALUE]",
            Opt::EntryComment => "[comment \"string\"]",
            Opt::Skbmark => "[skbmark VALUE]",
            Opt::Skbprio => "[skbprio VALUE]",
            Opt::Skbqueue => "[skbqueue VALUE]",
            _ => return None,
        })
    }
}

/// The options of `create`, in the order in which a header prints them.
pub(super) fn create_opts(kind: Kind) -> Vec<Opt> {
    let extensions = [Opt::Timeout, Opt::Counters, Opt::Comment];
    match kind.method() {
        Method::Bitmap => {
            let mut opts = vec![Opt::Range];
            opts.extend((kind == Kind::BitmapIp).then_some(Opt::Netmask));
            opts.extend(extensions);
            opts.extend([Opt::Skbinfo, Opt::From, Opt::To]);
            opts.extend((kind != Kind::BitmapPort).then_some(Opt::Network));
            opts
        }
        Method::List => {
            let mut opts = vec![Opt::Size];
            opts.extend(extensions);
            opts.push(Opt::Skbinfo);
            opts
        }
        Method::Hash => {
            let mut opts = Vec::new();
            opts.extend(kind.has_family().then_some([Opt::Family, Opt::Inet, Opt::Inet6]).into_iter().flatten());
            opts.extend((kind == Kind::HashIpMark).then_some(Opt::Markmask));
            opts.extend([Opt::Hashsize, Opt::Maxelem]);
            if kind == Kind::HashIp {
                opts.extend([Opt::Netmask, Opt::Bitmask]);
            }
            opts.extend(extensions);
            opts.extend([Opt::Forceadd, Opt::Skbinfo, Opt::Bucketsize, Opt::Initval]);
            match kind {
                Kind::HashIpPort => opts.extend([Opt::Netmask, Opt::Bitmask]),
                Kind::HashNetNet => opts.extend([Opt::Bitmask, Opt::Netmask]),
                _ => {}
            }
            opts.extend(["probes", "resize", "gc"].map(Opt::Ignored));
            if matches!(kind, Kind::HashIpPort | Kind::HashIpPortIp | Kind::HashIpPortNet) {
                opts.extend(["from", "to", "network"].map(Opt::Ignored));
            }
            opts
        }
    }
}

/// The options of an action on an element, in the order in which an entry prints them.
pub(super) fn entry_opts(kind: Kind, action: Action) -> Vec<Opt> {
    let neighbours: &[Opt] = if kind == Kind::ListSet { &[Opt::Before, Opt::After] } else { &[] };
    match action {
        Action::Add => {
            let mut opts = vec![Opt::Timeout];
            opts.extend(kind.has_nets().then_some(Opt::Nomatch));
            opts.extend((kind == Kind::HashNetIface).then_some(Opt::Wildcard));
            opts.extend(neighbours);
            opts.extend([Opt::Packets, Opt::Bytes, Opt::EntryComment, Opt::Skbmark, Opt::Skbprio, Opt::Skbqueue]);
            opts
        }
        Action::Del => neighbours.to_vec(),
        Action::Test if kind.has_nets() => vec![Opt::Nomatch],
        Action::Test => neighbours.to_vec(),
    }
}

/// How a component of an element is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An address, a network or a range.
    Any,
    /// One address.
    Single,
    /// IPv4: as `Any`. IPv6: one address.
    Any4Single6,
    /// IPv4: as `Any`. IPv6: an address or a network.
    Any4Net6,
    Mac,
    Mark,
    /// Protocol and port, or a range of ports.
    ProtoPort,
    /// A port or a range of them; the protocol only says whose services a name is from.
    Port,
    Iface,
    Set,
}

/// How the components are written.
pub(super) fn forms(kind: Kind) -> Vec<Form> {
    let parts = kind.parts().iter().enumerate();
    parts
        .map(|(n, part)| match part {
            Part::Ip if kind == Kind::BitmapIp => Form::Any,
            Part::Ip if n > 0 || matches!(kind, Kind::BitmapIpMac | Kind::HashIpMac) => Form::Single,
            Part::Ip => Form::Any4Single6,
            Part::Net => Form::Any4Net6,
            Part::Mac => Form::Mac,
            Part::Mark => Form::Mark,
            Part::Port if kind == Kind::BitmapPort => Form::Port,
            Part::Port => Form::ProtoPort,
            Part::Iface => Form::Iface,
            Part::Set => Form::Set,
        })
        .collect()
}

/// Names of types that old files use.
const OLD_NAMES: &[(&str, Kind)] = &[
    ("ipmap", Kind::BitmapIp),
    ("macipmap", Kind::BitmapIpMac),
    ("portmap", Kind::BitmapPort),
    ("iphash", Kind::HashIp),
    ("machash", Kind::HashMac),
    ("ipmachash", Kind::HashIpMac),
    ("ipmarkhash", Kind::HashIpMark),
    ("ipporthash", Kind::HashIpPort),
    ("ipportiphash", Kind::HashIpPortIp),
    ("ipportnethash", Kind::HashIpPortNet),
    ("nethash", Kind::HashNet),
    ("netnethash", Kind::HashNetNet),
    ("netporthash", Kind::HashNetPort),
    ("netportnethash", Kind::HashNetPortNet),
    ("netifacehash", Kind::HashNetIface),
    ("setlist", Kind::ListSet),
];

/// The type of this name, of today or of old.
pub fn kind_named(name: &str) -> Option<Kind> {
    let old = || OLD_NAMES.iter().find(|(old, _)| *old == name).map(|(_, kind)| *kind);
    Kind::from_name(name).or_else(old)
}
