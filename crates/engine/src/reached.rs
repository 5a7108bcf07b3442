//! Limits that packets ran into.
//!
//! Everything that packets make the engine keep has a limit with a name: a setting's where there is one. This tells which were met.

use crate::engine::State;
use crate::fate::DropReason;
use hairpin_wire::Family;

impl State<'_> {
    /// The limits that were reached since the start, and how often; those that never were are left out.
    ///
    /// `nf_conntrack_max`: connections that others had to make room for, or that found none. `nf_conntrack_expect_max`: expectations.
    /// `ipfrag_high_thresh`, `ip6frag_high_thresh`: fragments. `set NAME`: entries that a packet was to add beyond `maxelem`.
    /// `loop`: packets that this host sent to itself because of another packet.
    pub fn limits_reached(&self) -> Vec<(String, u64)> {
        let stats = self.tracker().stats;
        let dropped = |why| self.drops().find(|(reason, _)| *reason == why).map_or(0, |(_, count)| count);
        let fragments = self.fragments().over_limit;
        let fixed = [
            ("nf_conntrack_max", stats.early_drop + dropped(DropReason::TableFull)),
            ("nf_conntrack_expect_max", stats.expect_full),
            ("ipfrag_high_thresh", fragments[Family::V4 as usize]),
            ("ip6frag_high_thresh", fragments[Family::V6 as usize]),
            ("loop", dropped(DropReason::LoopLimit)),
        ];
        let sets = self.sets();
        let sets = sets.iter().map(|(name, set)| (format!("set {name}"), set.full()));
        let all = fixed.into_iter().map(|(name, count)| (name.to_owned(), count)).chain(sets);
        all.filter(|(_, count)| *count > 0).collect()
    }
}
