//! Matches and targets: one file each, one word each in the list below.
//!
//! A file holds everything about its extension: options, help, parsing, the form that `iptables-save` prints, evaluation, cases and
//! tests. Whoever needs to know an extension (parser, `--help`, completion, documentation, tests, fuzz seeds) walks
//! [`MATCHES`] and [`TARGETS`].

mod ext6;
mod hops;
mod nat_range;
mod npt;
mod numbers;
mod opts6;
mod ports;
mod rateest;
mod set_use;
mod spi;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_targets;

pub mod catalog;
pub mod option;
pub mod value;

use hairpin_engine::rule::{Match, Target};
use hairpin_wire::Family;
use option::{Opt, Parsed, SyntaxError};
use std::sync::Arc;

/// The families an extension exists for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// iptables only.
    V4,
    /// ip6tables only.
    V6,
    /// Both.
    Both,
}

impl Families {
    /// Whether it exists for this family.
    pub const fn has(self, family: Family) -> bool {
        matches!((self, family), (Families::Both, _) | (Families::V4, Family::V4) | (Families::V6, Family::V6))
    }
}

/// One line that must hold: input of the round-trip test, help example, fuzz seed, and input of the comparison with the real
/// iptables. The text is what follows `-m NAME` or `-j NAME`; text before a `|` stands before that (`-p tcp|--dport 80`); what
/// has a `|` itself begins with one.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    /// Accepted and saved as written.
    Same(&'static str),
    /// Accepted (first) and saved as the second.
    Saves(&'static str, &'static str),
    /// Refused; the message contains the second text.
    Fails(&'static str, &'static str),
}

/// What becomes of a rule with an extension. Whatever the kind, it is read, saved and listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The engine evaluates it.
    Evaluated,
    /// The engine evaluates it with what is known here; what is not, for this reason.
    Partly(&'static str),
    /// Accepted and without effect, for this reason.
    NoEffect(&'static str),
    /// Refused when it is loaded, for this reason.
    Refused(&'static str),
}

/// Everything about a match that is not in a rule.
#[derive(Debug)]
pub struct MatchSpec {
    /// The name after `-m`.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// iptables, ip6tables or both.
    pub families: Families,
    /// One line for people.
    pub about: &'static str,
    /// What becomes of a rule with it.
    pub kind: Kind,
    /// Its options.
    pub options: &'static [Opt],
    /// Makes one from options as typed.
    pub build: fn(&Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError>,
    /// Lines that must hold.
    pub cases: &'static [Case],
}

/// Everything about a target that is not in a rule.
#[derive(Debug)]
pub struct TargetSpec {
    /// The name after `-j`.
    pub name: &'static str,
    /// iptables, ip6tables or both.
    pub families: Families,
    /// One line for people.
    pub about: &'static str,
    /// What becomes of a rule with it.
    pub kind: Kind,
    /// Its options.
    pub options: &'static [Opt],
    /// Makes one from options as typed.
    pub build: fn(&Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError>,
    /// Lines that must hold. A line `@nat PREROUTING|` before the case names table and chain; filter FORWARD otherwise.
    pub cases: &'static [Case],
}

macro_rules! extensions {
    ($list:ident: $spec:ident in $dir:ident { $($file:ident),* $(,)? }) => {
        /// One module for each extension.
        pub mod $dir {
            $(pub mod $file;)*
        }

        /// All of them, in the order of their names.
        pub static $list: &[&$spec] = &[$(&$dir::$file::SPEC),*];
    };
}

extensions! { MATCHES: MatchSpec in matches {
    addrtype,
    ah,
    ah6,
    bpf,
    cgroup,
    cluster,
    comment,
    connbytes,
    connlabel,
    connlimit,
    connmark,
    conntrack,
    cpu,
    dccp,
    devgroup,
    dscp,
    dst,
    ecn,
    esp,
    eui64,
    frag,
    hashlimit,
    hbh,
    helper,
    hl,
    icmp,
    icmp6,
    ipcomp,
    iprange,
    ipv6header,
    ipvs,
    length,
    limit,
    mac,
    mark,
    mh,
    multiport,
    nfacct,
    osf,
    owner,
    physdev,
    pkttype,
    policy,
    quota,
    rateest,
    realm,
    recent,
    rpfilter,
    rt,
    sctp,
    set,
    socket,
    srh,
    state,
    statistic,
    string,
    tcp,
    tcpmss,
    time,
    tos,
    ttl,
    u32,
    udp,
    udplite,
} }

extensions! { TARGETS: TargetSpec in targets {
    audit,
    checksum,
    classify,
    clusterip,
    connmark,
    connsecmark,
    ct,
    dnat,
    dnpt,
    dscp,
    ecn,
    hl,
    hmark,
    idletimer,
    led,
    log,
    mark,
    masquerade,
    netmap,
    nflog,
    nfqueue,
    notrack,
    rateest,
    redirect,
    reject,
    reject6,
    secmark,
    set,
    snat,
    snpt,
    synproxy,
    tcpmss,
    tcpoptstrip,
    tee,
    tos,
    tproxy,
    trace,
    ttl,
    ulog,
} }

/// The match of that name (or alias) for a family.
pub fn find_match(name: &str, family: Family) -> Option<&'static MatchSpec> {
    MATCHES.iter().copied().find(|m| m.families.has(family) && (m.name == name || m.aliases.contains(&name)))
}

/// The target of that name for a family.
pub fn find_target(name: &str, family: Family) -> Option<&'static TargetSpec> {
    TARGETS.iter().copied().find(|t| t.families.has(family) && t.name == name)
}
