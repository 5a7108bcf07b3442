//! The hash types: elements in a table, network sizes beside it.

use super::ahead::BATCH;
use super::elem::{Elem, Ext, SkbInfo};
use super::extensions::{Extensions, Shown, Touch};
use super::key::{Device, Ip4, Ip6, Key, Net4, Net6, One6, Wide4, Wide6};
use super::kind::{Kind, Part};
use super::table::Table;
use super::{Found, Options, SetError};
use crate::time::Instant;
use hairpin_wire::{Addr, Family};

/// How many devices one network may have (`AHASH_MAX_TUNED`).
const DEVICES_OF_A_NET: usize = 64;

#[derive(Clone, Debug)]
enum Store {
    Ip4(Table<Ip4>),
    Ip6(Table<Ip6>),
    Net4(Table<Net4>),
    Net6(Table<Net6>),
    Wide4(Table<Wide4>),
    Wide6(Table<Wide6>),
    One6(Table<One6>),
    Device(Table<Device>),
}

macro_rules! with_table {
    ($store:expr, $table:ident => $what:expr) => {
        match $store {
            Store::Ip4($table) => $what,
            Store::Ip6($table) => $what,
            Store::Net4($table) => $what,
            Store::Net6($table) => $what,
            Store::Wide4($table) => $what,
            Store::Wide6($table) => $what,
            Store::One6($table) => $what,
            Store::Device($table) => $what,
        }
    };
}

/// How many entries have each prefix length. A look-up tries the lengths that occur, longest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Nets {
    counts: Vec<(u8, u32)>,
}

impl Nets {
    fn add(&mut self, cidr: u8) {
        match self.counts.binary_search_by(|(c, _)| cidr.cmp(c)) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (cidr, 1)),
        }
    }

    fn remove(&mut self, cidr: u8) {
        if let Ok(at) = self.counts.binary_search_by(|(c, _)| cidr.cmp(c)) {
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
    }

    /// The longest prefix length that occurs: what a packet adds and deletes has it.
    pub(super) fn longest(&self) -> Option<u8> {
        self.counts.first().map(|(cidr, _)| *cidr)
    }

    fn nth(&self, n: usize) -> Option<u8> {
        self.counts.get(n).map(|(cidr, _)| *cidr)
    }
}

/// A set of one of the hash types.
#[derive(Clone, Debug)]
pub(super) struct Hash {
    family: Family,
    /// Whether the first and the second address are networks.
    pub(super) is_net: [bool; 2],
    store: Store,
    ext: Extensions,
    pub(super) nets: [Nets; 2],
    /// Where the next search for entries that ran out begins, and the next entry that must make room.
    cursor: usize,
    /// No entry runs out before this jiffy: a full set that packets want to add to is searched only when there is something to find.
    soonest: u64,
    /// The most devices that a network had.
    pub(super) most_devices: usize,
}

impl Hash {
    pub(super) fn new(kind: Kind, options: &Options) -> Hash {
        let family = options.family.unwrap_or(Family::V4);
        let initval = u64::from(options.initval.unwrap_or(0));
        let seed = (initval | initval << 32) ^ 0x5851_f42d_4c95_7f2d;
        let addresses = || kind.parts().iter().filter(|p| matches!(p, Part::Ip | Part::Net));
        let store = match (kind, family) {
            (Kind::HashIp, Family::V4) => Store::Ip4(Table::new(seed)),
            (Kind::HashIp, Family::V6) => Store::Ip6(Table::new(seed)),
            (Kind::HashNet, Family::V4) => Store::Net4(Table::new(seed)),
            (Kind::HashNet, Family::V6) => Store::Net6(Table::new(seed)),
            (Kind::HashNetIface, _) => Store::Device(Table::new(seed)),
            (_, Family::V4) => Store::Wide4(Table::new(seed)),
            (_, Family::V6) if addresses().count() < 2 => Store::One6(Table::new(seed)),
            (_, Family::V6) => Store::Wide6(Table::new(seed)),
        };
        let mut addresses = addresses();
        let is_net = [addresses.next() == Some(&Part::Net), addresses.next() == Some(&Part::Net)];
        Hash {
            family,
            is_net,
            store,
            ext: Extensions::new(options),
            nets: Default::default(),
            cursor: 0,
            soonest: u64::MAX,
            most_devices: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        with_table!(&self.store, table => table.len())
    }

    pub(super) fn get(&self, at: usize) -> Option<Elem> {
        with_table!(&self.store, table => table.get(at))
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Hash>() + with_table!(&self.store, table => table.memory()) + self.ext.memory()
    }

    /// Whether it is more than a processor keeps at hand.
    pub(super) fn is_large(&self) -> bool {
        const AT_HAND: usize = 512 << 10;
        with_table!(&self.store, table => table.memory()) > AT_HAND
    }

    /// Touches the places of these elements, or of the networks of this length that their first or second address is in. What comes
    /// back is of no use but to be used.
    pub(super) fn touch(&self, elems: &[Option<Elem>; BATCH], net: Option<(usize, u8)>) -> u64 {
        let mut positions = [usize::MAX; BATCH];
        let wants_positions = self.ext.is_any();
        let mut touched = with_table!(&self.store, table => {
            let key = |n: usize| {
                let elem = elems.get(n)?.as_ref()?;
                let key = table.key(elem);
                Some(match net {
                    None => key,
                    Some((0, cidr)) => key.with_net(self.masked(elem.ip, cidr), cidr),
                    Some((_, cidr)) => key.with_second_net(self.masked(elem.ip2, cidr), cidr),
                })
            };
            table.look_ahead(key, wants_positions, &mut positions)
        });
        if wants_positions {
            for at in positions {
                touched ^= self.ext.look_ahead(at);
            }
        }
        touched
    }

    /// The prefix lengths of the first or second address, longest first.
    pub(super) fn lengths(&self, which: usize) -> impl Iterator<Item = u8> + '_ {
        self.nets.get(which).into_iter().flat_map(|nets| nets.counts.iter().map(|(cidr, _)| *cidr))
    }

    /// The network of this length in which an address is.
    pub(super) fn masked(&self, addr: Addr, cidr: u8) -> Addr {
        masked(self.family, addr, cidr)
    }

    pub(super) fn shown(&self, at: usize, now: Instant) -> Shown<'_> {
        self.ext.shown(at, now)
    }

    pub(super) fn is_over(&self, at: usize, now: Instant) -> bool {
        self.ext.is_over(at, now)
    }

    /// The prefix length of the first and the second address of what a packet adds.
    pub(super) fn packet_cidr(&self, which: usize) -> u8 {
        self.nets.get(which).and_then(Nets::longest).unwrap_or(self.family.bits())
    }

    pub(super) fn add(
        &mut self,
        elem: &Elem,
        nomatch: bool,
        ext: &Ext,
        exist: bool,
        options: &Options,
        now: Instant,
    ) -> Result<(), SetError> {
        let default_timeout = options.timeout.unwrap_or(0);
        if let Some(at) = self.find(elem) {
            if self.ext.is_over(at, now) {
                self.ext.reset(at);
            } else if !exist {
                return Err(SetError::ElementExists);
            }
            self.store(at, ext, default_timeout, now);
            self.ext.set_nomatch(at, nomatch, self.len());
            return Ok(());
        }
        self.forget_some(now);
        self.make_room(options, now)?;
        if let Store::Device(table) = &self.store {
            let asked = Device::pack(elem);
            let there = table.count_like(&asked, |k| k.is_beside(&asked));
            if there >= DEVICES_OF_A_NET {
                return Err(SetError::Full);
            }
            self.most_devices = self.most_devices.max(there + 1);
        }
        with_table!(&mut self.store, table => table.insert(Key::pack(elem)));
        self.count_nets(elem, Nets::add);
        self.ext.push();
        let at = self.len() - 1;
        self.store(at, ext, default_timeout, now);
        self.ext.set_nomatch(at, nomatch, at + 1);
        Ok(())
    }

    fn store(&mut self, at: usize, ext: &Ext, default_timeout: u32, now: Instant) {
        self.ext.store(at, ext, default_timeout, now);
        self.soonest = self.soonest.min(self.ext.ends(at));
    }

    pub(super) fn del(&mut self, elem: &Elem, now: Instant) -> Result<(), SetError> {
        let at = self.find(elem).ok_or(SetError::ElementMissing)?;
        let is_over = self.ext.is_over(at, now);
        self.remove(at);
        if is_over { Err(SetError::ElementMissing) } else { Ok(()) }
    }

    /// Whether the element is in the set. One whose networks are single addresses is looked for in all networks.
    pub(super) fn test(&mut self, elem: &Elem, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        let host = self.family.bits();
        let is_host = |which: usize, cidr: u8| !self.is_net[which] || cidr == host;
        match self.is_net {
            [false, false] => self.test_exact(elem, touch, got, now),
            _ if !is_host(0, elem.cidr) || !is_host(1, elem.cidr2) => self.test_exact(elem, touch, got, now),
            [true, false] => self.test_nets(elem, touch, got, now),
            [false, true] => self.test_second_nets(elem, touch, got, now),
            [true, true] => {
                let mut outer = 0;
                while let Some(cidr) = self.nets[0].nth(outer) {
                    let masked = Elem { ip: masked(self.family, elem.ip, cidr), cidr, ..*elem };
                    match self.test_second_nets(&masked, touch, got, now) {
                        Found::No => outer += 1,
                        found => return found,
                    }
                }
                Found::No
            }
        }
    }

    fn test_nets(&mut self, elem: &Elem, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        let mut n = 0;
        while let Some(cidr) = self.nets[0].nth(n) {
            n += 1;
            let ip = self.masked(elem.ip, cidr);
            let at = with_table!(&self.store, table => table.find(&table.key(elem).with_net(ip, cidr)));
            match self.found(at, touch, got, now) {
                Found::No if self.is_decided(elem, ip, cidr) => return Found::No,
                Found::No => {}
                found => return found,
            }
        }
        Found::No
    }

    /// A network that is in the set with other devices decides: shorter ones are not looked at.
    fn is_decided(&self, elem: &Elem, ip: Addr, cidr: u8) -> bool {
        let Store::Device(table) = &self.store else { return false };
        let asked = Device::pack(elem).with_net(ip, cidr);
        table.find(&asked).is_none() && table.count_like(&asked, |k| k.is_beside(&asked)) > 0
    }

    fn test_second_nets(&mut self, elem: &Elem, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        let mut n = 0;
        while let Some(cidr2) = self.nets[1].nth(n) {
            n += 1;
            let ip2 = self.masked(elem.ip2, cidr2);
            let at = with_table!(&self.store, table => table.find(&table.key(elem).with_second_net(ip2, cidr2)));
            match self.found(at, touch, got, now) {
                Found::No => {}
                found => return found,
            }
        }
        Found::No
    }

    fn test_exact(&mut self, elem: &Elem, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        let at = self.find(elem);
        self.found(at, touch, got, now)
    }

    /// What the entry at a position says, if there is one.
    fn found(&mut self, at: Option<usize>, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        match at {
            Some(at) if self.ext.touch(at, touch, got, now) => {
                if self.ext.is_nomatch(at) {
                    Found::Except
                } else {
                    Found::Yes
                }
            }
            _ => Found::No,
        }
    }

    pub(super) fn clear(&mut self) {
        with_table!(&mut self.store, table => table.clear());
        self.ext.clear();
        self.nets = Default::default();
        self.cursor = 0;
    }

    fn find(&self, elem: &Elem) -> Option<usize> {
        with_table!(&self.store, table => table.find(&Key::pack(elem)))
    }

    fn remove(&mut self, at: usize) {
        if let Some(elem) = self.get(at) {
            self.count_nets(&elem, Nets::remove);
        }
        with_table!(&mut self.store, table => table.swap_remove(at));
        self.ext.swap_remove(at);
    }

    fn count_nets(&mut self, elem: &Elem, change: fn(&mut Nets, u8)) {
        for (which, cidr) in [elem.cidr, elem.cidr2].into_iter().enumerate() {
            if self.is_net[which] {
                change(&mut self.nets[which], cidr);
            }
        }
    }

    /// Looks at two entries and lets go of those that ran out: with each new entry, so that old ones do not pile up.
    fn forget_some(&mut self, now: Instant) {
        for _ in 0..2 {
            self.cursor = if self.cursor >= self.len() { 0 } else { self.cursor };
            if self.ext.is_over(self.cursor, now) {
                self.remove(self.cursor);
            } else {
                self.cursor += 1;
            }
        }
    }

    /// Lets go of all entries that ran out.
    pub(super) fn forget_all(&mut self, now: Instant) {
        let (mut at, mut soonest) = (0, u64::MAX);
        while at < self.len() {
            if self.ext.is_over(at, now) {
                self.remove(at);
            } else {
                soonest = soonest.min(self.ext.ends(at));
                at += 1;
            }
        }
        self.soonest = soonest;
    }

    /// A full set has no room, unless entries ran out or `forceadd` lets one go. The kernel finds none to let go when the new entry's
    /// own bucket is empty, and refuses; here one always goes, as the manual promises.
    fn make_room(&mut self, options: &Options, now: Instant) -> Result<(), SetError> {
        let max = options.maxelem.unwrap_or(u32::MAX) as usize;
        if self.len() < max {
            return Ok(());
        }
        if self.soonest < now.jiffies() {
            self.forget_all(now);
        }
        if self.len() < max {
            return Ok(());
        }
        if options.forceadd && self.len() > 0 {
            let victim = self.cursor % self.len();
            self.remove(victim);
            self.cursor = victim + 1;
            return Ok(());
        }
        Err(SetError::Full)
    }
}

fn masked(family: Family, addr: Addr, cidr: u8) -> Addr {
    Addr(addr.0 & family.mask(cidr).0)
}
