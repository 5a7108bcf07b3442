//! A timer wheel over jiffies whose timers live in the caller's array.
//!
//! Eleven levels of 64 lists: a timer is in the level of the highest group of six bits in which its jiffy differs from the wheel's,
//! so every list of a level fires before any list of the next one, and a timer moves down at most ten times. The lists are linked
//! through [`Links`] that the caller keeps for every timer; the wheel allocates nothing.

/// A timer's place in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    /// In no list.
    pub(super) const OUT: Links = Links { prev: u32::MAX, next: u32::MAX };

    /// Whether it is in a list.
    pub(super) fn is_linked(&self) -> bool {
        self.next != u32::MAX
    }
}

/// Where the caller keeps the links of the timers.
pub(super) trait Timers {
    /// The links of a timer.
    fn links(&mut self, timer: u32) -> Option<&mut Links>;
}

/// The wheel. Timers are numbers below 2^31.
#[derive(Clone, Debug)]
pub(super) struct Wheel {
    now: u64,
    occupied: [u64; LEVELS],
    heads: Box<[Links]>,
}

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11;
/// The list of those that are being fired, behind the last level's.
const PENDING: usize = LEVELS * SLOTS;
/// Heads of lists are numbered from here on.
const HEAD: u32 = 1 << 31;

impl Default for Wheel {
    fn default() -> Wheel {
        let heads = (0..=PENDING as u32).map(|n| Links { prev: HEAD | n, next: HEAD | n });
        Wheel { now: 0, occupied: [0; LEVELS], heads: heads.collect() }
    }
}

impl Wheel {
    /// The jiffy up to which everything has fired.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// When a list fires next; None when no timer is armed. No timer is due earlier.
    pub(super) fn next(&self) -> Option<u64> {
        self.first_list().map(|(_, jiffy)| jiffy)
    }

    /// Arms a timer that is in no list for a jiffy; one that is not in the future fires at the next.
    pub(super) fn arm(&mut self, timers: &mut impl Timers, timer: u32, jiffy: u64) {
        let jiffy = jiffy.max(self.now.saturating_add(1));
        let level = ((63 - (jiffy ^ self.now).leading_zeros()) / BITS) as usize;
        let slot = (jiffy >> (level as u32 * BITS)) as usize & (SLOTS - 1);
        let list = level * SLOTS + slot;
        let head = HEAD | list as u32;
        let last = self.heads.get(list).map_or(head, |links| links.prev);
        if let Some(links) = timers.links(timer) {
            *links = Links { prev: last, next: head };
        }
        self.set(timers, last, |links| links.next = timer);
        self.set(timers, head, |links| links.prev = timer);
        if let Some(bits) = self.occupied.get_mut(level) {
            *bits |= 1 << slot;
        }
    }

    /// Takes a timer out of its list; nothing when it is in none.
    pub(super) fn disarm(&mut self, timers: &mut impl Timers, timer: u32) {
        let Some(links) = timers.links(timer).filter(|links| links.is_linked()) else { return };
        let Links { prev, next } = std::mem::replace(links, Links::OUT);
        self.set(timers, prev, |links| links.next = next);
        self.set(timers, next, |links| links.prev = prev);
        if prev == next && prev & HEAD != 0 {
            self.clear_bit((prev & !HEAD) as usize);
        }
    }

    /// Takes the next timer out that may be due at `until` or before; the caller looks when it really is, and arms it again if that is
    /// later. To be called until it gives None; the wheel's time is then `until`.
    pub(super) fn fire(&mut self, timers: &mut impl Timers, until: u64) -> Option<u32> {
        loop {
            let first = self.heads.get(PENDING).map_or(HEAD, |head| head.next);
            if first & HEAD == 0 {
                self.disarm(timers, first);
                return Some(first);
            }
            let Some((list, jiffy)) = self.first_list().filter(|(_, jiffy)| *jiffy <= until) else {
                self.now = self.now.max(until);
                return None;
            };
            // From here on the timers of this list, armed again, belong to lower levels; so they wait in a list of their own.
            self.now = jiffy;
            self.move_to_pending(timers, list);
        }
    }

    fn move_to_pending(&mut self, timers: &mut impl Timers, list: usize) {
        const PENDING_HEAD: u32 = HEAD | PENDING as u32;
        let head = HEAD | list as u32;
        let Some(links) = self.heads.get_mut(list) else { return };
        let Links { prev: last, next: first } = std::mem::replace(links, Links { prev: head, next: head });
        self.set(timers, first, |links| links.prev = PENDING_HEAD);
        self.set(timers, last, |links| links.next = PENDING_HEAD);
        self.set(timers, PENDING_HEAD, |links| *links = Links { prev: last, next: first });
        self.clear_bit(list);
    }

    fn clear_bit(&mut self, list: usize) {
        if let Some(bits) = self.occupied.get_mut(list / SLOTS) {
            *bits &= !(1 << (list % SLOTS));
        }
    }

    /// The list that fires first, and when.
    fn first_list(&self) -> Option<(usize, u64)> {
        let (level, bits) = self.occupied.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let slot = bits.trailing_zeros() as usize;
        let shift = level as u32 * BITS;
        // The bits above this level are those of now.
        let above = self.now.checked_shr(shift + BITS).unwrap_or(0).checked_shl(shift + BITS).unwrap_or(0);
        Some((level * SLOTS + slot, above | (slot as u64) << shift))
    }

    fn set(&mut self, timers: &mut impl Timers, at: u32, change: impl FnOnce(&mut Links)) {
        let links = if at & HEAD == 0 { timers.links(at) } else { self.heads.get_mut((at & !HEAD) as usize) };
        if let Some(links) = links {
            change(links);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Array(Vec<Links>);

    impl Timers for Array {
        fn links(&mut self, timer: u32) -> Option<&mut Links> {
            self.0.get_mut(timer as usize)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Postpone(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    fn delays() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..5, 0u64..300, 0u64..10_000, 0u64..200_000_000, 0u64..1 << 40]
    }

    proptest! {
        /// Timers fire exactly when they are due, also those postponed without telling the wheel, and `next` is never late.
        #[test]
        fn fires_in_time(start in prop_oneof![Just(0u64), any::<u64>().prop_map(|n| n >> 20)], steps in prop::collection::vec(prop_oneof![
            (0u32..20, delays()).prop_map(|(t, d)| Step::Arm(t, d)),
            (0u32..20, delays()).prop_map(|(t, d)| Step::Postpone(t, d)),
            (0u32..20).prop_map(Step::Disarm),
            delays().prop_map(Step::Advance),
        ], 0..100)) {
            let mut wheel = Wheel::default();
            let mut timers = Array(vec![Links::OUT; 20]);
            let mut due = [None::<u64>; 20];
            let mut now = start;
            prop_assert_eq!(wheel.fire(&mut timers, now), None);
            for step in steps {
                match step {
                    Step::Arm(t, delay) => {
                        wheel.disarm(&mut timers, t);
                        wheel.arm(&mut timers, t, now + delay);
                        due[t as usize] = Some((now + delay).max(now + 1));
                    }
                    Step::Postpone(t, delay) => {
                        if let Some(when) = &mut due[t as usize] {
                            *when += delay;
                        }
                    }
                    Step::Disarm(t) => {
                        wheel.disarm(&mut timers, t);
                        due[t as usize] = None;
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = Vec::new();
                        while let Some(t) = wheel.fire(&mut timers, now) {
                            match due[t as usize] {
                                Some(when) if when > now => wheel.arm(&mut timers, t, when),
                                when => fired.push((t, when)),
                            }
                        }
                        fired.sort_unstable();
                        let want: Vec<_> = (0..20).filter(|t| due[*t as usize].is_some_and(|when| when <= now)).map(|t| (t, due[t as usize])).collect();
                        prop_assert_eq!(&fired, &want);
                        for (t, _) in fired {
                            due[t as usize] = None;
                        }
                        prop_assert_eq!(wheel.now(), now);
                    }
                }
                let first = due.iter().flatten().min();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next <= *first);
                    prop_assert!(next > now);
                }
            }
        }
    }
}
