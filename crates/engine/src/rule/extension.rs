//! What a match and a target are to the engine. The extensions themselves live in `hairpin-xt`; the engine knows only this.

use super::{Listing, Shared, TableId, Tables, Verdict};
use crate::hook::Hooks;
use crate::look::{Edit, Look};
use crate::set::Directions;
use crate::time::Now;
use hairpin_wire::Family;
use std::any::Any;
use std::fmt;

/// A test on a packet (`-m NAME`). A value of this type is one use in one rule, with its options.
pub trait Match: fmt::Debug + Send + Sync {
    /// The name after `-m` that saving prints.
    fn name(&self) -> &'static str;

    /// Whether the packet fits. All it may know comes through `look`.
    fn matches(&self, look: &Look<'_>) -> bool;

    /// Exactly what `iptables-save` prints after `-m NAME`: each option with a space before it, nothing at the end.
    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Exactly what `iptables -L` prints for it, with the space it begins with. Where that has the words of `save`, it calls `save`.
    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result;

    /// Where it may be used.
    fn scope(&self) -> Scope {
        Scope::EVERYWHERE
    }

    /// Further conditions on the rule, as the kernel checks them when the rule is loaded.
    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let _ = place;
        Ok(())
    }

    /// What people should know about a rule with this match although it is accepted: where Linux behaves differently.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Why no engine takes a rule with this match, for what can only be read, saved and listed: it asks for what is not here.
    fn refused_here(&self) -> Option<&'static str> {
        None
    }

    /// What must be switched on while a rule with this match is loaded.
    fn needs(&self) -> Needs {
        Needs::NONE
    }

    /// The sets it asks or changes, by name. They must exist when the rule is loaded and cannot be removed while it is. It then has
    /// no memory of its own but their places: a `Vec<Option<SetId>>` in this order.
    fn sets(&self) -> &[String] {
        &[]
    }

    /// What of a packet it asks its first set about, if it only asks: a batch's look-ups in a large set are prepared together.
    fn asks(&self) -> Option<Directions> {
        None
    }

    /// The accounting object that it counts in. It must exist when the rule is loaded and cannot be removed while it is.
    fn account(&self) -> Option<&str> {
        None
    }

    /// What it shares with other rules by name and makes when it is not there yet ([`SharedNames`](super::SharedNames)).
    fn shares(&self) -> Option<Shared<'_>> {
        None
    }

    /// The estimators of rates that it reads, by name; they must be there ([`SharedNames`](super::SharedNames)).
    fn reads_estimators(&self) -> [Option<&str>; 2] {
        [None; 2]
    }

    /// What it remembers between packets, as it is when the rule is loaded.
    fn memory(&self, now: &Now) -> Memory {
        let _ = now;
        Memory::None
    }

    /// What of its own memory goes on over a restart, as numbers; nothing for most.
    fn keep(&self, memory: &(dyn Any + Send), now: &Now) -> Vec<u64> {
        let _ = (memory, now);
        Vec::new()
    }

    /// Takes up what [`keep`](Match::keep) gave before a restart; numbers that make no sense are let be.
    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], now: &Now) {
        let _ = (memory, kept, now);
    }

    /// For callers that need the concrete type back (listing, hardware, tests).
    fn as_any(&self) -> &dyn Any;
}

/// An action on a packet (`-j NAME`).
pub trait Target: fmt::Debug + Send + Sync {
    /// The name after `-j`.
    fn name(&self) -> &'static str;

    /// The name by which the kernel knows it, which `iptables -L` shows.
    fn kernel_name(&self) -> &'static str {
        self.name()
    }

    /// Does it, and says what follows.
    fn act(&self, edit: &mut Edit<'_>) -> Verdict;

    /// Exactly what `iptables-save` prints after `-j NAME`: each option with a space before it, nothing at the end.
    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Exactly what `iptables -L` prints for it, with the space it begins with. Where that has the words of `save`, it calls `save`.
    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result;

    /// Where it may be used.
    fn scope(&self) -> Scope {
        Scope::EVERYWHERE
    }

    /// Further conditions on the rule, as the kernel checks them when the rule is loaded.
    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let _ = place;
        Ok(())
    }

    /// What must be switched on while a rule with this target is loaded.
    fn needs(&self) -> Needs {
        Needs::NONE
    }

    /// The sets it asks or changes, by name. They must exist when the rule is loaded and cannot be removed while it is. It then has
    /// no memory of its own but their places: a `Vec<Option<SetId>>` in this order.
    fn sets(&self) -> &[String] {
        &[]
    }

    /// What it shares with other rules by name and makes when it is not there yet ([`SharedNames`](super::SharedNames)).
    fn shares(&self) -> Option<Shared<'_>> {
        None
    }

    /// What it remembers between packets, as it is when the rule is loaded.
    fn memory(&self, now: &Now) -> Memory {
        let _ = now;
        Memory::None
    }

    /// For callers that need the concrete type back.
    fn as_any(&self) -> &dyn Any;
}

/// Which protocols a rule must name for an extension to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// No condition.
    Any,
    /// `-p` must be one of these, not inverted.
    Of(&'static [u8]),
}

/// Where an extension may be used (the kernel's `table`, `hooks` and `proto` fields of `struct xt_match`).
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Tables.
    pub tables: Tables,
    /// Hooks from which its chain may be reached.
    pub hooks: Hooks,
    /// Protocols.
    pub protocols: Protocols,
}

impl Scope {
    /// No restriction.
    pub const EVERYWHERE: Scope = Scope { tables: Tables::ALL, hooks: Hooks::ALL, protocols: Protocols::Any };
}

/// The place of a rule while it is being loaded.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its table.
    pub table: TableId,
    /// The hooks from which its chain can be reached.
    pub hooks: Hooks,
    /// The rule.
    pub rule: &'a super::Rule,
}

/// Why the kernel refuses a rule when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// EINVAL, with the line it writes to the kernel log.
    Invalid(String),
    /// ERANGE: "Numerical result out of range".
    Range(String),
    /// ENOENT: "No such file or directory" (a helper, a set).
    Missing(String),
    /// EEXIST.
    Exists(String),
}

/// What a rule switches on by being loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Nothing.
    pub const NONE: Needs = Needs(0);
    /// Connection tracking, and with it defragmentation.
    pub const TRACKING: Needs = Needs(1);
    /// Defragmentation alone.
    pub const DEFRAGMENT: Needs = Needs(2);
    /// Accounting of connections made from now on (connbytes).
    pub const ACCOUNTING: Needs = Needs(4 | 1);
    /// Labels on connections made from now on (connlabel).
    pub const LABELS: Needs = Needs(8 | 1);

    /// Both.
    pub const fn union(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What an extension remembers between packets. The engine keeps it; the extension opens it with
/// [`Look::memory`](crate::Look::memory).
pub enum Memory {
    /// Nothing.
    None,
    /// Its own, made anew whenever its table is loaded (limit, quota, statistic).
    Own(Box<dyn Any + Send>),
    /// Shared by all rules that give this kind and name, kept while one of them is loaded at all times (recent, hashlimit).
    Shared {
        /// The extension's name.
        kind: &'static str,
        /// Each family has its own.
        by_family: bool,
        /// The name in the rule.
        name: String,
        /// The initial value, used when none exists yet.
        first: Box<dyn Any + Send>,
        /// Called with the existing value and this rule's initial one when one exists already: for what a table that is in
        /// use takes over from a rule that joins it.
        join: fn(&mut (dyn Any + Send), &(dyn Any + Send)),
    },
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Memory::None => f.write_str("None"),
            Memory::Own(_) => f.write_str("Own"),
            Memory::Shared { kind, name, .. } => write!(f, "Shared({kind} {name})"),
        }
    }
}
