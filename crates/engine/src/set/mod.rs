//! Sets of addresses, networks, ports and more: what `ipset` manages, `-m set` asks and `-j SET` changes. Follows
//! `net/netfilter/ipset`.
//!
//! [`Sets`] holds all of a host. Each has a place with a number that rules and lists refer to; [`Sets::swap`] exchanges what lies
//! at two places, so that rules see the other content at once. A set is a [`Kind`], its [`Options`] and a body: a bitmap, a hash
//! table or a list. One file says what an element is made of (`kind.rs`), one how people's ranges become elements
//! (`expand.rs`), one how packets do (`packet.rs`); no type has code of its own beyond those.
//!
//! Entries that ran out are gone for everyone who looks. Their memory is given back when new ones come.

mod ahead;
mod bitmap;
mod elem;
mod expand;
mod extensions;
mod hash;
mod key;
mod kind;
mod list;
mod packet;
mod table;

pub use ahead::Asked;
pub use elem::{Elem, Entry, Ext, Neighbour, SkbInfo};
pub use extensions::{Compare, Shown};
pub use kind::{Kind, Method, Part};
pub use packet::Directions;

use crate::look::Look;
use crate::rng::Rng;
use crate::time::Instant;
use bitmap::Bitmap;
use expand::Act;
use extensions::Touch;
use hairpin_wire::{Addr, Family};
use hash::Hash;
use list::{Beside, List};
use std::collections::BTreeMap;
use std::fmt;

/// As many sets as there can be.
pub const MOST_SETS: usize = 65_534;

/// Pointers to so many buckets are more than the kernel allocates at once (`INT_MAX` bytes).
const TOO_MANY_BUCKETS: u32 = 1 << 28;

/// Lists do not contain lists, so a look-up is at most this deep.
const DEEPEST: u8 = 2;

/// The place of a set: what rules and lists refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(u16);

/// The range of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Addresses from, to; or a network.
    Addresses {
        /// The first, or an address of the network.
        from: Addr,
        /// The last.
        to: Option<Addr>,
        /// The network's prefix length.
        cidr: Option<u8>,
    },
    /// Ports from, to.
    Ports(u16, u16),
}

/// With what a set is created. In a set: with what it was, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The family of its addresses; None for types without addresses.
    pub family: Option<Family>,
    /// A bitmap's range.
    pub range: Option<Range>,
    /// The default seconds of an entry to live, 0 for ever. None: entries have no time.
    pub timeout: Option<u32>,
    /// Entries count packets.
    pub counters: bool,
    /// Entries have comments.
    pub comment: bool,
    /// Entries have marks, priorities and queues for packets.
    pub skbinfo: bool,
    /// When it is full, a new entry takes the place of another.
    pub forceadd: bool,
    /// Buckets at the start.
    pub hashsize: Option<u32>,
    /// Entries at most.
    pub maxelem: Option<u32>,
    /// Entries of a bucket at most.
    pub bucketsize: Option<u8>,
    /// The secret of the hash.
    pub initval: Option<u32>,
    /// The prefix length to which addresses are cut.
    pub netmask: Option<u8>,
    /// The bits of addresses that count.
    pub bitmask: Option<Addr>,
    /// The bits of marks that count.
    pub markmask: Option<u32>,
    /// The size of a list.
    pub size: Option<u32>,
}

impl Options {
    /// What of addresses counts; None for all.
    fn address_mask(&self) -> Option<Addr> {
        let family = self.family.unwrap_or(Family::V4);
        self.bitmask.or_else(|| self.netmask.map(|n| family.mask(n)))
    }
}

/// Why something was refused, in the words of `ipset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no set of that name.
    NoSet,
    /// There is one already.
    SetExists,
    /// There are [`MOST_SETS`].
    TooManySets,
    /// The type has no such family.
    BadFamily,
    /// A netmask that is none.
    BadNetmask,
    /// A markmask of 0.
    BadMarkmask,
    /// Netmask and bitmask together.
    BothMasks,
    /// Rules or lists refer to it.
    InUse,
    /// Rules or lists refer to the set to be renamed.
    Referenced,
    /// The new name is taken.
    NewNameExists,
    /// The second set to be swapped does not exist.
    NoSecondSet,
    /// Their types differ.
    TypesDiffer,
    /// A prefix length that cannot be.
    BadCidr,
    /// Created without timeout.
    NoTimeout,
    /// Created without counters.
    NoCounters,
    /// Created without comment.
    NoComment,
    /// Created without skbinfo.
    NoSkbinfo,
    /// It is in the set already.
    ElementExists,
    /// It is not in the set.
    ElementMissing,
    /// Out of a bitmap's range.
    OutOfRange,
    /// A bitmap's range is too large.
    RangeTooLarge,
    /// No room.
    Full,
    /// A hash does not hold zero.
    NullElement,
    /// Protocol 0.
    BadProto,
    /// No protocol.
    MissingProto,
    /// A range where none can be.
    RangeUnsupported,
    /// A range of all addresses.
    WholeRange,
    /// The set to be put into a list does not exist.
    NoMember,
    /// It is a list itself.
    Loop,
    /// The set beside which it should stand does not exist.
    NoNeighbour,
    /// It is not in the list, or not there.
    NotBeside,
    /// Something needed is missing.
    Protocol,
    /// EINVAL.
    Invalid,
    /// ENOMEM: more buckets than the kernel can make.
    NoMemory,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetError::NoSet => "The set with the given name does not exist",
            SetError::SetExists => "Set cannot be created: set with the same name already exists",
            SetError::TooManySets => "Kernel error received: maximal number of sets reached, cannot create more.",
            SetError::BadFamily => "Protocol family not supported by the set type",
            SetError::BadNetmask => "The value of the netmask parameter is invalid",
            SetError::BadMarkmask => "The value of the markmask parameter is invalid",
            SetError::BothMasks => "Syntax error: bitmask and netmask are mutually exclusive, provide only one",
            SetError::InUse => "Set cannot be destroyed: it is in use by a kernel component",
            SetError::Referenced => "Set cannot be renamed: it is in use by another system",
            SetError::NewNameExists => "Set cannot be renamed: a set with the new name already exists",
            SetError::NoSecondSet => "Sets cannot be swapped: the second set does not exist",
            SetError::TypesDiffer => "The sets cannot be swapped: their type does not match",
            SetError::BadCidr => "The value of the CIDR parameter of the IP address is invalid",
            SetError::NoTimeout => "Timeout cannot be used: set was created without timeout support",
            SetError::NoCounters => "Packet/byte counters cannot be used: set was created without counter support",
            SetError::NoComment => "Comment cannot be used: set was created without comment support",
            SetError::NoSkbinfo => "Skbinfo mapping cannot be used: set was created without skbinfo support",
            SetError::ElementExists => "Element cannot be added to the set: it's already added",
            SetError::ElementMissing => "Element cannot be deleted from the set: it's not added",
            SetError::OutOfRange => "Element is out of the range of the set",
            SetError::RangeTooLarge => "The range you specified exceeds the size limit of the set type",
            SetError::Full => "Hash is full, cannot add more elements",
            SetError::NullElement => "Null-valued element, cannot be stored in a hash type of set",
            SetError::BadProto => "Invalid protocol specified",
            SetError::MissingProto => "Protocol missing, but must be specified",
            SetError::RangeUnsupported => "Range is not supported in the \"net\" component of the element",
            SetError::WholeRange => "Invalid range, covers the whole address space",
            SetError::NoMember => "Set to be added/deleted/tested as element does not exist.",
            SetError::Loop => "Sets with list:set type cannot be added to the set.",
            SetError::NoNeighbour => "The set to which you referred with 'before' or 'after' does not exist.",
            SetError::NotBeside => "The set to which you referred with 'before' or 'after' is not added to the set.",
            SetError::Protocol => "Kernel error received: ipset protocol error",
            SetError::Invalid => "Kernel error received: Invalid argument",
            SetError::NoMemory => "Kernel error received: Cannot allocate memory",
        })
    }
}

impl std::error::Error for SetError {}

/// What a look-up says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    No,
    Yes,
    /// An exception covers it.
    Except,
    /// It is there but wants its link address.
    Incomplete,
}

#[derive(Clone, Debug)]
enum Body {
    Bitmap(Bitmap),
    Hash(Hash),
    List(List),
}

/// A set.
#[derive(Clone, Debug)]
pub struct Set {
    kind: Kind,
    options: Options,
    body: Body,
    /// How often a packet found no room.
    full: u64,
}

impl Set {
    /// One like it, empty; a list keeps its members.
    fn outline(&self) -> Set {
        let body = match &self.body {
            Body::List(list) => Body::List(list.clone()),
            Body::Hash(_) | Body::Bitmap(_) => Body::Hash(Hash::new(self.kind, &self.options)),
        };
        Set { kind: self.kind, options: self.options.clone(), body, full: self.full }
    }

    fn new(kind: Kind, options: &Options, secret: u32) -> Result<Set, SetError> {
        let mut options = options.clone();
        options.family = match (kind.has_family(), kind.method()) {
            (false, _) => None,
            (true, Method::Bitmap) if options.family == Some(Family::V6) => return Err(SetError::BadFamily),
            (true, _) => Some(options.family.unwrap_or(Family::V4)),
        };
        let body = match kind.method() {
            Method::Bitmap => Body::Bitmap(Bitmap::new(kind, &mut options)?),
            Method::List => {
                options.size = Some(options.size.unwrap_or(8).max(4));
                Body::List(List::new(&options))
            }
            Method::Hash => {
                complete_hash_options(kind, &mut options, secret)?;
                Body::Hash(Hash::new(kind, &options))
            }
        };
        Ok(Set { kind, options, body, full: 0 })
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it was created.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The bytes it occupies.
    pub fn memory(&self) -> usize {
        let body = match &self.body {
            Body::Bitmap(bitmap) => bitmap.memory(),
            Body::Hash(hash) => hash.memory(),
            Body::List(list) => list.memory(),
        };
        size_of::<Set>() + body
    }

    /// How often it was too full for what a packet was to add (`maxelem`).
    pub fn full(&self) -> u64 {
        self.full
    }

    /// How many entries it has.
    pub fn len(&self, now: Instant) -> usize {
        match &self.body {
            Body::Bitmap(bitmap) => bitmap.positions(now).count(),
            Body::Hash(hash) if self.options.timeout.is_none() => hash.len(),
            Body::Hash(hash) => (0..hash.len()).filter(|at| !hash.is_over(*at, now)).count(),
            Body::List(list) => (0..list.members().len()).filter(|at| !list.ext.is_over(*at, now)).count(),
        }
    }

    /// Whether it has no entry.
    pub fn is_empty(&self, now: Instant) -> bool {
        self.len(now) == 0
    }

    /// Buckets: as many as the kernel would have come to have, about.
    pub fn hashsize(&self) -> Option<u32> {
        let Body::Hash(hash) = &self.body else { return None };
        let mut size = self.options.hashsize?;
        while hash.len() as u64 > u64::from(size) * 4 && size < 1 << 31 {
            size *= 2;
        }
        Some(size)
    }

    /// Entries of a bucket at most: with many devices to one network, as many as there are.
    pub fn bucketsize(&self) -> Option<u8> {
        let Body::Hash(hash) = &self.body else { return None };
        let devices = u8::try_from(hash.most_devices.next_multiple_of(2)).unwrap_or(u8::MAX);
        self.options.bucketsize.map(|size| size.max(devices))
    }

    /// Its elements with what they carry, in a fixed order. None of a list: see [`Sets::members`].
    pub fn elements(&self, now: Instant) -> impl Iterator<Item = (Elem, Shown<'_>)> + '_ {
        let (bitmap, hash) = match &self.body {
            Body::Bitmap(bitmap) => (Some(bitmap), None),
            Body::Hash(hash) => (None, Some(hash)),
            Body::List(_) => (None, None),
        };
        let of_bitmap =
            bitmap.into_iter().flat_map(move |b| b.positions(now).map(move |at| (b.get(at), b.shown(at, now))));
        let of_hash = hash.into_iter().flat_map(move |h| {
            let positions = (0..h.len()).filter(move |at| !h.is_over(*at, now));
            positions.filter_map(move |at| Some((h.get(at)?, h.shown(at, now))))
        });
        of_bitmap.chain(of_hash)
    }

    /// Whether creating `other` with `-exist` is content with this one (`same_set`). Families are not looked at.
    fn is_same(&self, other: &Set) -> bool {
        let key = |s: &Set| {
            let o = &s.options;
            let extensions = (o.timeout, o.counters, o.comment, o.skbinfo);
            (s.kind, extensions, o.maxelem, o.netmask, o.bitmask, o.markmask, o.size)
        };
        key(self) == key(other) && self.options.range == other.options.range
    }

    fn apply(&mut self, entry: &Entry, act: Act, exist: bool, now: Instant) -> Result<(), SetError> {
        if let Body::Bitmap(bitmap) = &self.body {
            expand::check_port(self.kind, bitmap.first, bitmap.last, entry)?;
        }
        extensions::check(&entry.ext, &self.options)?;
        let (kind, options) = (self.kind, &self.options);
        let tolerated = |result: Result<(), SetError>| match result {
            Err(SetError::ElementExists | SetError::ElementMissing) if exist => Ok(()),
            other => other,
        };
        match &mut self.body {
            Body::Bitmap(bitmap) => {
                let (first, last, step) = (bitmap.first, bitmap.last, bitmap.step);
                expand::bitmap(kind, first, last, step, entry, act, &mut |elem| match act {
                    Act::Add => bitmap.add(elem, &entry.ext, exist, options, now),
                    Act::Del => tolerated(bitmap.del(elem, now)),
                    Act::Test => match bitmap.test(elem, &Touch::default(), &mut SkbInfo::default(), now) {
                        Found::Yes | Found::Incomplete => Ok(()),
                        Found::No | Found::Except => Err(SetError::ElementMissing),
                    },
                })
            }
            Body::Hash(hash) => expand::hash(kind, options, entry, act, &mut |elem| match act {
                Act::Add => hash.add(elem, entry.nomatch, &entry.ext, exist, options, now),
                Act::Del => tolerated(hash.del(elem, now)),
                Act::Test => match hash.test(elem, &Touch::default(), &mut SkbInfo::default(), now) {
                    Found::Yes if !entry.nomatch => Ok(()),
                    Found::Except if entry.nomatch => Ok(()),
                    _ => Err(SetError::ElementMissing),
                },
            }),
            Body::List(_) => Err(SetError::Protocol),
        }
    }
}

fn complete_hash_options(kind: Kind, options: &mut Options, secret: u32) -> Result<(), SetError> {
    let bits = options.family.map_or(0, Family::bits);
    if options.markmask == Some(0) {
        return Err(SetError::BadMarkmask);
    }
    if kind == Kind::HashIpMark {
        options.markmask = Some(options.markmask.unwrap_or(u32::MAX));
    }
    if options.netmask.is_some_and(|n| n == 0 || n > bits) {
        return Err(SetError::BadNetmask);
    }
    if options.bitmask.is_some_and(|m| m.0 == 0) {
        return Err(SetError::BadNetmask);
    }
    if options.bitmask.is_some() && options.netmask.is_some() {
        return Err(SetError::BothMasks);
    }
    options.netmask = options.netmask.filter(|n| *n != bits);
    options.bitmask = options.bitmask.filter(|m| options.family.is_some_and(|f| *m != f.mask(bits)));
    let hashsize = options.hashsize.unwrap_or(1024).max(64).checked_next_power_of_two();
    options.hashsize = Some(hashsize.filter(|n| *n < TOO_MANY_BUCKETS).ok_or(SetError::NoMemory)?);
    options.maxelem = Some(options.maxelem.unwrap_or(65_536));
    let bucketsize = options.bucketsize.unwrap_or(12).clamp(2, 12);
    options.bucketsize = Some(bucketsize + bucketsize % 2);
    options.initval = Some(options.initval.unwrap_or(secret));
    Ok(())
}

#[derive(Clone, Debug)]
struct Slot {
    name: String,
    /// How many rules and lists refer to it.
    references: u32,
    set: Set,
}

impl Slot {
    fn outline(&self) -> Slot {
        Slot { name: self.name.clone(), references: self.references, set: self.set.outline() }
    }
}

/// How a rule asks a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Which of the packet's addresses and so on.
    pub directions: Directions,
    /// Only exceptions match.
    pub return_nomatch: bool,
    /// The entry found does not count the packet.
    pub skip_counters: bool,
    /// Nor do the entries of a list's sets.
    pub skip_subcounters: bool,
    /// What the entry's packet counter must be, the packet counted.
    pub packets: Option<Compare>,
    /// What its byte counter must be.
    pub bytes: Option<Compare>,
}

/// All sets of a host.
#[derive(Clone, Debug)]
pub struct Sets {
    slots: Vec<Option<Slot>>,
    names: BTreeMap<String, SetId>,
    seed: u64,
    /// How many secrets were made from the seed.
    secrets: u64,
}

impl Default for Sets {
    fn default() -> Sets {
        Sets::new(0)
    }
}

impl Sets {
    /// None. The secrets of the sets to come are from `seed`.
    pub fn new(seed: u64) -> Sets {
        Sets { slots: Vec::new(), names: BTreeMap::new(), seed, secrets: 0 }
    }

    /// The place of the set of this name.
    pub fn id(&self, name: &str) -> Option<SetId> {
        self.names.get(name).copied()
    }

    /// The set of this name.
    pub fn get(&self, name: &str) -> Option<&Set> {
        self.slot(self.id(name)?).map(|slot| &slot.set)
    }

    /// The name of the set at a place.
    pub fn name(&self, id: SetId) -> Option<&str> {
        self.slot(id).map(|slot| slot.name.as_str())
    }

    /// How many rules and lists refer to the set of this name.
    pub fn references(&self, name: &str) -> u32 {
        self.id(name).and_then(|id| self.slot(id)).map_or(0, |slot| slot.references)
    }

    /// All, in the order in which the kernel lists them: by place, lists last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Set)> {
        let all = || self.slots.iter().flatten();
        let plain = all().filter(|s| s.set.kind != Kind::ListSet);
        plain.chain(all().filter(|s| s.set.kind == Kind::ListSet)).map(|s| (s.name.as_str(), &s.set))
    }

    /// All of them without their entries, but lists with them.
    pub fn outline(&self) -> Sets {
        let slots = self.slots.iter().map(|slot| slot.as_ref().map(Slot::outline)).collect();
        Sets { slots, names: self.names.clone(), seed: self.seed, secrets: self.secrets }
    }

    /// Puts a set in the place of the one of this name: what an [`outline`](Sets::outline) leaves out.
    pub fn fill_in(&mut self, name: &str, set: Set) {
        if let Some(slot) = self.id(name).and_then(|id| self.slot_mut(id)) {
            slot.set = set;
        }
    }

    /// All, by place; None for a place that the next set to be made may take.
    pub fn in_places(&self) -> impl Iterator<Item = Option<(&str, &Set)>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|s| (s.name.as_str(), &s.set)))
    }

    /// Leaves a place free behind the last set.
    pub fn leave_place(&mut self) {
        if self.slots.len() < MOST_SETS {
            self.slots.push(None);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The sets in a list, with what their entries carry.
    pub fn members<'a>(&'a self, list: &'a Set, now: Instant) -> impl Iterator<Item = (&'a str, Shown<'a>)> + 'a {
        let list = match &list.body {
            Body::List(list) => Some(list),
            Body::Bitmap(_) | Body::Hash(_) => None,
        };
        list.into_iter().flat_map(move |l| {
            let there = l.members().iter().enumerate().filter(move |(at, _)| !l.ext.is_over(*at, now));
            there.filter_map(move |(at, id)| Some((self.name(*id)?, l.shown(at, now))))
        })
    }

    /// Makes a set. With `exist`, one that is there and the same is as good.
    pub fn create(&mut self, name: &str, kind: Kind, options: &Options, exist: bool) -> Result<(), SetError> {
        self.secrets += 1;
        let secret = Rng::new(self.seed.wrapping_add(self.secrets)).next_u32();
        let set = Set::new(kind, options, secret)?;
        if let Some(there) = self.get(name) {
            return if exist && there.is_same(&set) { Ok(()) } else { Err(SetError::SetExists) };
        }
        let place = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        self.create_at(place, name, set)
    }

    /// Makes a set behind all others, whatever places are free.
    pub fn create_last(&mut self, name: &str, kind: Kind, options: &Options) -> Result<(), SetError> {
        let set = Set::new(kind, options, 0)?;
        if self.names.contains_key(name) {
            return Err(SetError::SetExists);
        }
        self.create_at(self.slots.len(), name, set)
    }

    fn create_at(&mut self, place: usize, name: &str, set: Set) -> Result<(), SetError> {
        let id = u16::try_from(place).ok().filter(|_| place < MOST_SETS).map(SetId).ok_or(SetError::TooManySets)?;
        let slot = Some(Slot { name: name.to_owned(), references: 0, set });
        match self.slots.get_mut(place) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.names.insert(name.to_owned(), id);
        Ok(())
    }

    /// Removes a set to which nothing refers.
    pub fn destroy(&mut self, name: &str, now: Instant) -> Result<(), SetError> {
        self.forget_members(now);
        let id = self.id(name).ok_or(SetError::NoSet)?;
        if self.references(name) > 0 {
            return Err(SetError::InUse);
        }
        self.remove(id);
        Ok(())
    }

    /// Removes all sets, if no rule and no list refers to any.
    pub fn destroy_all(&mut self, now: Instant) -> Result<(), SetError> {
        self.forget_members(now);
        if self.slots.iter().flatten().any(|slot| slot.references > 0) {
            return Err(SetError::InUse);
        }
        self.slots.clear();
        self.names.clear();
        Ok(())
    }

    /// Empties a set.
    pub fn flush(&mut self, name: &str) -> Result<(), SetError> {
        let id = self.id(name).ok_or(SetError::NoSet)?;
        self.empty(id);
        Ok(())
    }

    /// Empties all sets.
    pub fn flush_all(&mut self) {
        for id in self.names.values().copied().collect::<Vec<_>>() {
            self.empty(id);
        }
    }

    /// Gives a set another name.
    pub fn rename(&mut self, from: &str, to: &str, now: Instant) -> Result<(), SetError> {
        self.forget_members(now);
        let id = self.id(from).ok_or(SetError::NoSet)?;
        if self.references(from) > 0 {
            return Err(SetError::Referenced);
        }
        if self.names.contains_key(to) {
            return Err(SetError::NewNameExists);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), id);
        if let Some(slot) = self.slot_mut(id) {
            to.clone_into(&mut slot.name);
        }
        Ok(())
    }

    /// Exchanges the content of two sets. Whoever refers to one sees the other's from now on.
    pub fn swap(&mut self, from: &str, to: &str) -> Result<(), SetError> {
        let a = self.id(from).ok_or(SetError::NoSet)?;
        let b = self.id(to).ok_or(SetError::NoSecondSet)?;
        if a == b {
            return Ok(());
        }
        let (low, high) = (usize::from(a.0.min(b.0)), usize::from(a.0.max(b.0)));
        let (left, right) = self.slots.split_at_mut(high);
        let (Some(Some(one)), Some(Some(two))) = (left.get_mut(low), right.first_mut()) else {
            return Err(SetError::NoSet);
        };
        if !one.set.kind.is_like(two.set.kind) || one.set.options.family != two.set.options.family {
            return Err(SetError::TypesDiffer);
        }
        std::mem::swap(&mut one.set, &mut two.set);
        Ok(())
    }

    /// Adds the elements of an entry. With `exist`, those that are there take what the entry carries. What was added before one is
    /// refused stays.
    pub fn add(&mut self, name: &str, entry: &Entry, exist: bool, now: Instant) -> Result<(), SetError> {
        self.apply(name, entry, Act::Add, exist, now)
    }

    /// Deletes the elements of an entry. With `exist`, those that are not there do not matter.
    pub fn del(&mut self, name: &str, entry: &Entry, exist: bool, now: Instant) -> Result<(), SetError> {
        self.apply(name, entry, Act::Del, exist, now)
    }

    /// Whether the element is in the set. An element that cannot be is not.
    pub fn test(&mut self, name: &str, entry: &Entry, now: Instant) -> Result<bool, SetError> {
        match self.apply(name, entry, Act::Test, false, now) {
            Ok(()) => Ok(true),
            Err(SetError::NoSet) => Err(SetError::NoSet),
            Err(_) => Ok(false),
        }
    }

    fn apply(&mut self, name: &str, entry: &Entry, act: Act, exist: bool, now: Instant) -> Result<(), SetError> {
        let id = self.id(name).ok_or(SetError::NoSet)?;
        let slot = self.slot_mut(id).ok_or(SetError::NoSet)?;
        match slot.set.body {
            Body::List(_) => self.apply_to_list(id, entry, act, exist, now),
            Body::Bitmap(_) | Body::Hash(_) => slot.set.apply(entry, act, exist, now),
        }
    }

    fn apply_to_list(&mut self, id: SetId, entry: &Entry, act: Act, exist: bool, now: Instant) -> Result<(), SetError> {
        self.forget_members(now);
        let options = self.slot(id).map(|s| s.set.options.clone()).ok_or(SetError::NoSet)?;
        extensions::check(&entry.ext, &options)?;
        let member = entry.name.as_deref().ok_or(SetError::Protocol)?;
        let member = self.id(member).ok_or(SetError::NoMember)?;
        if self.slot(member).is_some_and(|s| s.set.kind == Kind::ListSet) {
            return Err(SetError::Loop);
        }
        let beside = match &entry.place {
            None => None,
            Some(place) => {
                let other = self.id(place.name()).ok_or(SetError::NoNeighbour)?;
                Some(if matches!(place, Neighbour::Before(_)) { Beside::Before(other) } else { Beside::After(other) })
            }
        };
        let Some(Slot { set: Set { body: Body::List(list), .. }, .. }) = self.slot_mut(id) else {
            return Err(SetError::Protocol);
        };
        match act {
            Act::Add => {
                if list.add(member, beside, &entry.ext, exist, &options, now)? {
                    self.refer(member);
                }
                Ok(())
            }
            Act::Del => match list.del(member, beside) {
                Ok(()) => {
                    self.release(member);
                    Ok(())
                }
                Err(SetError::ElementMissing) if exist => Ok(()),
                Err(e) => Err(e),
            },
            Act::Test if list.test(member, beside) => Ok(()),
            Act::Test => Err(SetError::ElementMissing),
        }
    }

    /// Whether a packet is in a set. What `--map-set` takes from the entry is put into `got`.
    pub fn matches(&mut self, id: SetId, look: &Look<'_>, ask: &Ask, got: &mut SkbInfo) -> bool {
        self.matches_at(id, look, ask, got, DEEPEST)
    }

    fn matches_at(&mut self, id: SetId, look: &Look<'_>, ask: &Ask, got: &mut SkbInfo, depth: u8) -> bool {
        let now = look.now().mono;
        let touch =
            Touch { count: (!ask.skip_counters).then(|| look.length() as u64), packets: ask.packets, bytes: ask.bytes };
        let Some(slot) = self.slot_mut(id) else { return false };
        if matches!(slot.set.body, Body::List(_)) {
            return depth > 0 && ask.directions.count() > 0 && self.matches_list(id, look, ask, &touch, got, depth);
        }
        let set = &mut slot.set;
        let Some(elem) = packet::element(set, look, ask.directions, true) else { return false };
        let found = match &mut set.body {
            Body::Bitmap(bitmap) => bitmap.test(&elem, &touch, got, now),
            Body::Hash(hash) => hash.test(&elem, &touch, got, now),
            Body::List(_) => Found::No,
        };
        match found {
            Found::No => false,
            Found::Yes => !(ask.return_nomatch && set.kind.has_nets()),
            Found::Except => ask.return_nomatch,
            Found::Incomplete => {
                // The packet tells the link address; its entry is complete from now on.
                let ext = packet_ext(look, None);
                if let Body::Bitmap(bitmap) = &mut set.body {
                    let _ = bitmap.add(&elem, &ext, false, &set.options, now);
                }
                true
            }
        }
    }

    fn matches_list(
        &mut self,
        id: SetId,
        look: &Look<'_>,
        ask: &Ask,
        touch: &Touch,
        got: &mut SkbInfo,
        depth: u8,
    ) -> bool {
        let now = look.now().mono;
        // Counters are compared in the list's own entries only.
        let skip_counters = ask.skip_counters || ask.skip_subcounters;
        let inner = Ask { packets: None, bytes: None, skip_counters, ..*ask };
        let mut at = 0;
        while let Some((position, member)) = self.list(id).and_then(|l| l.next(at, now)) {
            at = position + 1;
            if self.matches_at(member, look, &inner, got, depth - 1)
                && self.list_mut(id).is_some_and(|l| l.ext.touch(position, touch, got, now))
            {
                return true;
            }
        }
        false
    }

    /// Adds what the packet is to the set, as `-j SET --add-set` does. False: it cannot be, or it is there already.
    pub fn add_packet(
        &mut self,
        id: SetId,
        look: &Look<'_>,
        directions: Directions,
        exist: bool,
        timeout: Option<u32>,
    ) -> bool {
        let now = look.now().mono;
        let ext = packet_ext(look, timeout);
        self.change_by_packet(id, look, directions, DEEPEST, &mut |set, elem| match &mut set.body {
            Body::Bitmap(bitmap) => bitmap.add(elem, &ext, exist, &set.options, now).is_ok(),
            Body::Hash(hash) => {
                let added = hash.add(elem, false, &ext, exist, &set.options, now);
                set.full += u64::from(added == Err(SetError::Full));
                added.is_ok()
            }
            Body::List(_) => false,
        })
    }

    /// Deletes what the packet is to the set, as `-j SET --del-set` does.
    pub fn del_packet(&mut self, id: SetId, look: &Look<'_>, directions: Directions) -> bool {
        let now = look.now().mono;
        self.change_by_packet(id, look, directions, DEEPEST, &mut |set, elem| match &mut set.body {
            Body::Bitmap(bitmap) => bitmap.del(elem, now).is_ok(),
            Body::Hash(hash) => hash.del(elem, now).is_ok(),
            Body::List(_) => false,
        })
    }

    /// Changes a set, or the first of a list's sets that can be changed so.
    fn change_by_packet(
        &mut self,
        id: SetId,
        look: &Look<'_>,
        directions: Directions,
        depth: u8,
        change: &mut dyn FnMut(&mut Set, &Elem) -> bool,
    ) -> bool {
        let Some(slot) = self.slot_mut(id) else { return false };
        if matches!(slot.set.body, Body::List(_)) {
            let mut at = 0;
            while let Some((position, member)) = self.list(id).and_then(|l| l.next(at, look.now().mono)) {
                at = position + 1;
                if depth > 0 && self.change_by_packet(member, look, directions, depth - 1, change) {
                    return true;
                }
            }
            return false;
        }
        match packet::element(&slot.set, look, directions, false) {
            Some(elem) => change(&mut slot.set, &elem),
            None => false,
        }
    }

    /// A rule elsewhere refers to the set of this name.
    pub fn refer_to(&mut self, name: &str) {
        if let Some(id) = self.id(name) {
            self.refer(id);
        }
    }

    /// Something refers to the set at this place from now on.
    pub(crate) fn refer(&mut self, id: SetId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.references += 1;
        }
    }

    /// One reference less.
    pub(crate) fn release(&mut self, id: SetId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.references = slot.references.saturating_sub(1);
        }
    }

    /// Sets of lists whose time is over are referred to no longer.
    fn forget_members(&mut self, now: Instant) {
        for place in 0..self.slots.len() {
            let Some(Some(Slot { set: Set { body: Body::List(list), .. }, .. })) = self.slots.get_mut(place) else {
                continue;
            };
            for gone in list.forget(now) {
                self.release(gone);
            }
        }
    }

    fn empty(&mut self, id: SetId) {
        let gone = match self.slot_mut(id).map(|s| &mut s.set.body) {
            Some(Body::Bitmap(bitmap)) => {
                bitmap.clear();
                Vec::new()
            }
            Some(Body::Hash(hash)) => {
                hash.clear();
                Vec::new()
            }
            Some(Body::List(list)) => list.clear(),
            None => Vec::new(),
        };
        gone.into_iter().for_each(|member| self.release(member));
    }

    fn remove(&mut self, id: SetId) {
        let Some(slot) = self.slots.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        self.names.remove(&slot.name);
        for member in members_of(&slot.set) {
            self.release(member);
        }
    }

    fn slot(&self, id: SetId) -> Option<&Slot> {
        self.slots.get(usize::from(id.0))?.as_ref()
    }

    fn slot_mut(&mut self, id: SetId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    fn list(&self, id: SetId) -> Option<&List> {
        match &self.slot(id)?.set.body {
            Body::List(list) => Some(list),
            Body::Bitmap(_) | Body::Hash(_) => None,
        }
    }

    fn list_mut(&mut self, id: SetId) -> Option<&mut List> {
        match &mut self.slot_mut(id)?.set.body {
            Body::List(list) => Some(list),
            Body::Bitmap(_) | Body::Hash(_) => None,
        }
    }
}

/// What an entry that a packet makes carries: the packet is the first it counts.
fn packet_ext(look: &Look<'_>, timeout: Option<u32>) -> Ext {
    Ext { timeout, packets: Some(1), bytes: Some(look.length() as u64), ..Ext::default() }
}

fn members_of(set: &Set) -> Vec<SetId> {
    match &set.body {
        Body::List(list) => list.members().to_vec(),
        Body::Bitmap(_) | Body::Hash(_) => Vec::new(),
    }
}
