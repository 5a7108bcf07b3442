//! The programs that are known, and the names they go by.

use hairpin_wire::Family;
use hairpin_wire::Family::{V4, V6};

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `iptables`, `ip6tables`.
    Iptables(Family),
    /// `iptables-save`, `ip6tables-save`.
    Save(Family),
    /// `iptables-restore`, `ip6tables-restore`.
    Restore(Family),
    /// `conntrack`.
    Conntrack,
    /// `ipset`.
    Ipset,
    /// `nfacct`.
    Nfacct,
}

/// Every name and its program: what a link to the program may be called, and what may be its first word.
pub const NAMES: &[(&str, Program)] = &[
    ("iptables", Program::Iptables(V4)),
    ("iptables-save", Program::Save(V4)),
    ("iptables-restore", Program::Restore(V4)),
    ("iptables-legacy", Program::Iptables(V4)),
    ("iptables-legacy-save", Program::Save(V4)),
    ("iptables-legacy-restore", Program::Restore(V4)),
    ("ip6tables", Program::Iptables(V6)),
    ("ip6tables-save", Program::Save(V6)),
    ("ip6tables-restore", Program::Restore(V6)),
    ("ip6tables-legacy", Program::Iptables(V6)),
    ("ip6tables-legacy-save", Program::Save(V6)),
    ("ip6tables-legacy-restore", Program::Restore(V6)),
    ("conntrack", Program::Conntrack),
    ("ipset", Program::Ipset),
    ("nfacct", Program::Nfacct),
];

/// The program of that name.
pub fn find(name: &str) -> Option<Program> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, program)| *program)
}

impl Program {
    /// The name it calls itself in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Program::Iptables(V4) => "iptables",
            Program::Iptables(V6) => "ip6tables",
            Program::Save(V4) => "iptables-save",
            Program::Save(V6) => "ip6tables-save",
            Program::Restore(V4) => "iptables-restore",
            Program::Restore(V6) => "ip6tables-restore",
            Program::Conntrack => "conntrack",
            Program::Ipset => "ipset",
            Program::Nfacct => "nfacct",
        }
    }
}
