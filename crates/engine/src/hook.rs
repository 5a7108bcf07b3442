//! The five hooks and what happens at each, in kernel order. The order exists once, here, as data.

use crate::nat::Manip;
use crate::rule::TableId;
use std::fmt;

/// A place in a packet's way where rules are asked (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Everything that arrived, before routing.
    Prerouting,
    /// What is for this host.
    Input,
    /// What passes through.
    Forward,
    /// What this host sends, after its first routing.
    Output,
    /// Everything about to leave.
    Postrouting,
}

/// One thing that happens at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Collect fragments until the packet is whole (only while tracking is needed).
    Defragment,
    /// Walk the rules of a table.
    Table(TableId),
    /// Find or make the packet's connection.
    Track,
    /// Set up and apply address translation of this side.
    Nat(Manip),
    /// Helpers, sequence adjustment, and entering a new connection into the table.
    Confirm,
}

impl Hook {
    /// All hooks, in Linux's numbering.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// Linux's number of the hook, 0..=4.
    pub const fn number(self) -> usize {
        self as usize
    }

    /// The name of the built-in chain at this hook.
    pub const fn chain(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }

    /// What happens here, in order. The reroute checks of OUTPUT belong to their tables (mangle and nat) and run with them.
    pub const fn steps(self) -> &'static [Step] {
        use Step::{Confirm, Defragment, Nat, Table, Track};
        use TableId::{Filter, Mangle, Raw, Security};
        match self {
            Hook::Prerouting => &[Defragment, Table(Raw), Track, Table(Mangle), Nat(Manip::Dst)],
            Hook::Input => &[Table(Mangle), Table(Filter), Table(Security), Nat(Manip::Src), Confirm],
            Hook::Forward => &[Table(Mangle), Table(Filter), Table(Security)],
            Hook::Output => {
                &[Defragment, Table(Raw), Track, Table(Mangle), Nat(Manip::Dst), Table(Filter), Table(Security)]
            }
            Hook::Postrouting => &[Table(Mangle), Nat(Manip::Src), Confirm],
        }
    }
}

/// The steps of each hook that do something under a rule set, worked out once when it is put in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan([Places; 5]);

/// Places in [`Hook::steps`], a bit for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places(u8);

impl Plan {
    /// The steps for which `is_needed` says yes.
    pub(crate) fn new(is_needed: impl Fn(Step) -> bool) -> Plan {
        Plan(Hook::ALL.map(|hook| {
            let needed = hook.steps().iter().zip(0..).filter(|(step, _)| is_needed(**step));
            Places(needed.fold(0, |bits, (_, place)| bits | 1 << place))
        }))
    }

    /// What is to be done at a hook.
    #[inline]
    pub(crate) fn at(&self, hook: Hook) -> Places {
        self.0[hook.number()]
    }
}

impl Places {
    /// Whether the rules leave the step at this place something to do.
    #[inline]
    pub(crate) const fn has_place(self, place: usize) -> bool {
        self.0 >> place & 1 != 0
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain())
    }
}

/// A set of hooks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks(u8);

impl Hooks {
    /// No hook.
    pub const NONE: Hooks = Hooks(0);
    /// All five.
    pub const ALL: Hooks = Hooks(0x1f);

    /// Just these.
    pub const fn of(hooks: &[Hook]) -> Hooks {
        let (mut bits, mut i) = (0, 0);
        while i < hooks.len() {
            bits |= 1 << hooks[i] as u8;
            i += 1;
        }
        Hooks(bits)
    }

    /// Whether `hook` is in the set.
    pub const fn contains(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u8) != 0
    }

    /// In either.
    pub const fn union(self, other: Hooks) -> Hooks {
        Hooks(self.0 | other.0)
    }

    /// In this one but not in the other.
    pub const fn minus(self, other: Hooks) -> Hooks {
        Hooks(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members in hook order.
    pub fn iter(self) -> impl Iterator<Item = Hook> {
        Hook::ALL.into_iter().filter(move |h| self.contains(*h))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for Hooks {
    /// As the kernel's messages list them: `PREROUTING/OUTPUT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, hook) in self.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { "/" }, hook)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_say_which_steps_are_left() {
        let is_no_table = |step: Step| !matches!(step, Step::Table(_));
        let plan = Plan::new(is_no_table);
        for hook in Hook::ALL {
            for (place, step) in hook.steps().iter().enumerate() {
                assert_eq!(plan.at(hook).has_place(place), is_no_table(*step));
                assert!(Plan::new(|_| true).at(hook).has_place(place));
                assert!(!Plan::new(|_| false).at(hook).has_place(place));
            }
        }
    }
}
