//! `-m recent`: addresses seen lately, kept in lists that rules share by name. Follows `xt_recent.c`.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::packet::Sender;
use hairpin_engine::rule::{Listing, Match, Memory, Place, Refused};
use hairpin_engine::time::{HZ, Now};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const ACTIONS: &[&str] = &["set", "rcheck", "update", "remove"];

/// The longest name that fits.
macro_rules! long_name {
    () => {
        concat!(
            "n23456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.",
            "123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789"
        )
    };
}

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "recent",
    aliases: &[],
    families: Families::Both,
    about: "addresses seen lately, kept in a list",
    kind: Kind::Evaluated,
    options: &[
        Opt::switch("set", "put the address into the list; always true").inverts().excludes(ACTIONS),
        Opt::switch("rcheck", "the address is in the list").inverts().excludes(ACTIONS),
        Opt::switch("update", "as --rcheck, and note that it was seen again").inverts().excludes(ACTIONS),
        Opt::switch("remove", "take it out of the list; true if it was there").inverts().excludes(ACTIONS),
        Opt::new("seconds", &["seconds"], "only what was seen within these seconds"),
        Opt::switch("reap", "forget the oldest address when it is older than --seconds").needs(&["seconds"]),
        Opt::new("hitcount", &["hits"], "only what was seen at least so often"),
        Opt::switch("rttl", "the TTL is the same as well").excludes(&["set", "remove"]),
        Opt::new("name", &["name"], "the list; DEFAULT if not given"),
        Opt::new("mask", &["mask"], "what of the address counts"),
        Opt::switch("rsource", "the source address"),
        Opt::switch("rdest", "the destination address"),
    ],
    build,
    cases: &[
        Case::Saves("--set", "--set --name DEFAULT --mask 255.255.255.255 --rsource"),
        Case::Saves(
            "! --update --rttl --hitcount 3 --seconds 60 --reap --name a --mask 255.255.0.0 --rdest",
            "! --update --seconds 60 --reap --hitcount 3 --rttl --name a --mask 255.255.0.0 --rdest",
        ),
        Case::Saves("--rcheck --hitcount 0", "--rcheck --name DEFAULT --mask 255.255.255.255 --rsource"),
        // 203 characters, of which 199 stay.
        Case::Saves(
            concat!("--rcheck --name ", long_name!(), "wxyz"),
            concat!("--rcheck --name ", long_name!(), " --mask 255.255.255.255 --rsource"),
        ),
        Case::Same("! --remove --name c --mask 255.255.255.255 --rsource"),
        Case::Fails("--set --rttl", "cannot be used together"),
        Case::Fails("--rcheck --seconds 0", "out of range (1-4294967295)"),
        Case::Fails("--update --reap", "requires \"--seconds\""),
        Case::Fails("--set --rcheck", "cannot be used together"),
        Case::Fails("", "you must specify one of `--set', `--rcheck' `--update' or `--remove'"),
    ],
};

#[derive(Debug)]
struct Recent {
    family: Family,
    action: Action,
    inverted: bool,
    /// 0 for any age.
    seconds: u32,
    reap: bool,
    /// 0 for any number.
    hits: u32,
    ttl: bool,
    name: String,
    mask: Addr,
    /// The mask as the kernel keeps it for both families ([`wide_mask`]).
    wide: u128,
    destination: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Set,
    Check,
    Update,
    Remove,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let seconds = match parsed.get("seconds") {
        Some(given) => value::number(parsed, given, 1, u64::from(u32::MAX))? as u32,
        None => 0,
    };
    let name = match parsed.get("name") {
        Some(given) => value::cut(given.value(), MAX_NAME),
        None => "DEFAULT",
    };
    let hits = parsed.get("hitcount").map_or(Ok(0), |given| value::number_u32(parsed, given))?;
    let mask = parsed.get("mask").map_or(Ok(parsed.family.mask(128)), |given| value::host(parsed, given))?;
    let Some(given) = parsed.given.iter().find(|given| ACTIONS.contains(&given.option.name)) else {
        return Err(parsed.error("you must specify one of `--set', `--rcheck' `--update' or `--remove'"));
    };
    let action = match given.option.name {
        "set" => Action::Set,
        "rcheck" => Action::Check,
        "update" => Action::Update,
        _ => Action::Remove,
    };
    let side = parsed.given.iter().rev().find(|given| matches!(given.option.name, "rsource" | "rdest"));
    Ok(Arc::new(Recent {
        family: parsed.family,
        action,
        inverted: given.inverted,
        seconds,
        reap: parsed.has("reap"),
        hits,
        ttl: parsed.has("rttl"),
        name: name.to_owned(),
        mask,
        wide: wide_mask(parsed.family, parsed.has("mask").then_some(mask)),
        destination: side.is_some_and(|given| given.option.name == "rdest"),
    }))
}

impl Match for Recent {
    fn name(&self) -> &'static str {
        "recent"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let now = look.now().mono.jiffies();
        let addr = if self.destination { look.dst() } else { look.src() };
        // The TTL as it was before this host took one off: of all that leaves and comes from no socket, answers of this host among it.
        let is_lowered = look.oif().is_some() && *look.sender() == Sender::None;
        let ttl = if is_lowered { look.ttl().wrapping_add(1) } else { look.ttl() };
        let Some(mut list) = look.memory::<List>() else { return false };
        let family = self.family;
        let addr = match family {
            Family::V4 => Addr::v4(addr.as_u32() & (list.mask >> 96) as u32),
            Family::V6 => Addr(addr.0 & list.mask),
        };
        let Some(at) = list.find(family, addr, if self.ttl { ttl } else { 0 }) else {
            if self.action == Action::Set {
                list.insert(family, addr, ttl, now);
            }
            return (self.action == Action::Set) != self.inverted;
        };
        let mut fits = match self.action {
            Action::Set => true,
            Action::Remove => {
                list.entries.remove(at);
                true
            }
            Action::Check | Action::Update => {
                let since = now.wrapping_sub(u64::from(self.seconds) * HZ);
                let recent = |stamp: &u64| self.seconds == 0 || !is_after(since, *stamp);
                let seen = list.entries.get(at).map_or(0, |entry| entry.stamps.iter().filter(|s| recent(s)).count());
                seen >= self.hits.max(1) as usize
            }
        };
        fits ^= self.inverted;
        let is_reaped = self.reap && list.reap(now.wrapping_sub(u64::from(self.seconds) * HZ));
        if self.action == Action::Set || self.action == Action::Update && fits {
            // What was reaped stood first.
            match (at, is_reaped) {
                (0, true) => {}
                (at, true) => list.touch(at - 1, ttl, now),
                (at, false) => list.touch(at, ttl, now),
            }
        }
        fits
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " !" } else { "" })?;
        f.write_str(match self.action {
            Action::Set => " --set",
            Action::Check => " --rcheck",
            Action::Update => " --update",
            Action::Remove => " --remove",
        })?;
        if self.seconds != 0 {
            write!(f, " --seconds {}", self.seconds)?;
        }
        if self.reap {
            f.write_str(" --reap")?;
        }
        if self.hits != 0 {
            write!(f, " --hitcount {}", self.hits)?;
        }
        if self.ttl {
            f.write_str(" --rttl")?;
        }
        write!(f, " --name {} --mask {}", self.name, value::show_addr(self.family, self.mask))?;
        f.write_str(if self.destination { " --rdest" } else { " --rsource" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! recent:" } else { " recent:" })?;
        f.write_str(match self.action {
            Action::Set => " SET",
            Action::Check => " CHECK",
            Action::Update => " UPDATE",
            Action::Remove => " REMOVE",
        })?;
        if self.seconds != 0 {
            write!(f, " seconds: {}", self.seconds)?;
        }
        f.write_str(if self.reap { " reap" } else { "" })?;
        if self.hits != 0 {
            write!(f, " hit_count: {}", self.hits)?;
        }
        f.write_str(if self.ttl { " TTL-Match" } else { "" })?;
        let side = if self.destination { "dest" } else { "source" };
        write!(f, " name: {} side: {side} mask: {}", self.name, value::show_addr(self.family, self.mask))
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let refuse = |text: String| Err(Refused::Invalid(format!("xt_recent: {text}")));
        let limited = self.seconds != 0 || self.hits != 0 || self.ttl || self.reap;
        if matches!(self.action, Action::Set | Action::Remove) && limited {
            return refuse("seconds and hits are for --rcheck and --update".to_owned());
        }
        if self.hits >= MAX_STAMPS {
            return refuse(format!("hitcount ({}) is larger than allowed maximum ({})", self.hits, MAX_STAMPS - 1));
        }
        if !value::is_proc_name(&self.name) {
            return refuse(format!("bad name \"{}\"", self.name));
        }
        Ok(())
    }

    fn memory(&self, _now: &Now) -> Memory {
        let stamps = match self.hits {
            0 => DEFAULT_STAMPS,
            hits => hits.checked_next_power_of_two().unwrap_or(MAX_STAMPS),
        };
        let list = List { mask: self.wide, most_stamps: stamps as usize, born: 0, entries: Vec::new() };
        let (kind, name) = ("recent", self.name.clone());
        Memory::Shared { kind, by_family: false, name, first: Box::new(list), join: List::join }
    }

    fn keep(&self, memory: &(dyn Any + Send), now: &Now) -> Vec<u64> {
        memory.downcast_ref::<List>().map_or(Vec::new(), |list| list.keep(now))
    }

    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], now: &Now) {
        if let Some(list) = memory.downcast_mut::<List>() {
            list.take_up(kept, now);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A mask as the kernel keeps it, where an IPv4 address is the first of four words: one list serves both families, with the mask of the
/// rule that made it. None: all of the address counts, in either family.
fn wide_mask(family: Family, given: Option<Addr>) -> u128 {
    match (family, given) {
        (_, None) => u128::MAX,
        (Family::V4, Some(mask)) => u128::from(mask.as_u32()) << 96,
        (Family::V6, Some(mask)) => mask.0,
    }
}

/// The addresses of one name, of both families. There are few, so they are searched one by one.
#[derive(Debug)]
struct List {
    /// That of the rule that made the list.
    mask: u128,
    most_stamps: usize,
    /// How many addresses were ever put in.
    born: u64,
    /// The longest untouched first.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    family: Family,
    addr: Addr,
    ttl: u8,
    born: u64,
    /// When it was seen, in jiffies: a ring.
    stamps: Vec<u64>,
    /// Where the next stamp goes; the ring's length before it turns to its begin.
    index: usize,
}

impl List {
    /// A rule that wants more stamps than the list has room for empties it.
    fn join(existing: &mut (dyn Any + Send), joining: &(dyn Any + Send)) {
        if let (Some(list), Some(joining)) = (existing.downcast_mut::<List>(), joining.downcast_ref::<List>())
            && joining.most_stamps > list.most_stamps
        {
            list.entries.clear();
            list.most_stamps = joining.most_stamps;
        }
    }

    /// The oldest entry of the address; a TTL of 0, on either side, stands for any.
    fn find(&self, family: Family, addr: Addr, ttl: u8) -> Option<usize> {
        let is_it = |entry: &Entry| entry.family == family && entry.addr == addr;
        let fits = |entry: &Entry| is_it(entry) && (ttl == entry.ttl || ttl == 0 || entry.ttl == 0);
        let found = self.entries.iter().enumerate().filter(|(_, entry)| fits(entry));
        found.min_by_key(|(_, entry)| entry.born).map(|(at, _)| at)
    }

    fn insert(&mut self, family: Family, addr: Addr, ttl: u8, now: u64) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.remove(0);
        }
        self.born += 1;
        self.entries.push(Entry { family, addr, ttl, born: self.born, stamps: vec![now], index: 1 });
    }

    fn touch(&mut self, at: usize, ttl: u8, now: u64) {
        if at >= self.entries.len() {
            return;
        }
        let mut entry = self.entries.remove(at);
        if entry.index >= self.most_stamps {
            entry.index = 0;
        }
        match entry.stamps.get_mut(entry.index) {
            Some(stamp) => *stamp = now,
            None => entry.stamps.push(now),
        }
        entry.index += 1;
        entry.ttl = ttl;
        self.entries.push(entry);
    }

    /// For each address: its two halves, TTL (with [`OF_V6`]), place in the ring, number of stamps, and the stamps as times of day.
    fn keep(&self, now: &Now) -> Vec<u64> {
        let mut kept = Vec::new();
        for entry in &self.entries {
            let addr = entry.addr.0;
            let family = if entry.family == Family::V6 { OF_V6 } else { 0 };
            kept.extend([(addr >> 64) as u64, addr as u64, u64::from(entry.ttl) | family, entry.index as u64]);
            kept.push(entry.stamps.len() as u64);
            kept.extend(entry.stamps.iter().map(|stamp| now.wall_ms_of(*stamp)));
        }
        kept
    }

    fn take_up(&mut self, mut kept: &[u64], now: &Now) {
        self.entries.clear();
        while let [high, low, ttl, index, count, rest @ ..] = kept {
            let Some((stamps, rest)) = rest.split_at_checked(*count as usize) else { return };
            kept = rest;
            let family = if ttl & OF_V6 != 0 { Family::V6 } else { Family::V4 };
            let (Ok(ttl), index) = (u8::try_from(ttl & !OF_V6), *index as usize) else { return };
            if stamps.is_empty() || stamps.len() > self.most_stamps || !(1..=stamps.len()).contains(&index) {
                continue;
            }
            if self.entries.len() < MAX_ENTRIES {
                self.born += 1;
                let stamps = stamps.iter().map(|stamp| now.jiffies_of(*stamp)).collect();
                let addr = Addr(u128::from(*high) << 64 | u128::from(*low));
                self.entries.push(Entry { family, addr, ttl, born: self.born, stamps, index });
            }
        }
    }

    /// Forgets the longest untouched entry if its last stamp is before `since`; says whether it did.
    fn reap(&mut self, since: u64) -> bool {
        let last = self.entries.first().and_then(|entry| entry.stamps.get(entry.index.checked_sub(1)?));
        let is_old = last.is_some_and(|last| is_after(since, *last));
        if is_old {
            self.entries.remove(0);
        }
        is_old
    }
}

/// `time_after`: jiffies wrap.
fn is_after(a: u64, b: u64) -> bool {
    (b.wrapping_sub(a) as i64) < 0
}

/// Marks an IPv6 address where a list is kept.
const OF_V6: u64 = 1 << 8;
/// The module's default for the number of addresses (`ip_list_tot`).
const MAX_ENTRIES: usize = 100;
const DEFAULT_STAMPS: u32 = 32;
const MAX_STAMPS: u32 = 65536;
/// `XT_RECENT_NAME_LEN` without the final zero byte.
const MAX_NAME: usize = 199;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, DST, No, SRC, Yes, load, probe};
    use hairpin_engine::probe::{Loaded, Probe};
    use hairpin_engine::{Instant, Packet};
    use hairpin_wire::build;

    fn ask(probe: &mut Probe, loaded: &Loaded<dyn Match>, host: u32, seconds: u64) -> Answer {
        ask_ttl(probe, loaded, host, 64, seconds)
    }

    fn ask_ttl(probe: &mut Probe, loaded: &Loaded<dyn Match>, host: u32, ttl: u8, seconds: u64) -> Answer {
        let packet = build::Ipv4 { src: Addr::v4(host), dst: DST, ttl, ..Default::default() }.to_vec();
        probe.packet = Packet::from_ip(&packet).unwrap();
        probe.now.mono = Instant::from_secs(seconds);
        probe.ask(loaded)
    }

    fn empty() -> Probe {
        probe(build::Ipv4 { src: SRC, dst: DST, ..Default::default() }.to_vec())
    }

    #[test]
    fn one_list_for_both_families_with_the_mask_of_its_maker() {
        let mut probe = empty();
        // The mask of an IPv4 rule leaves the first 24 bits of an IPv6 address.
        let first = load(&mut probe, "-m recent --rcheck --name a --mask 255.255.255.0");
        let six = |src: u128| {
            let src = Addr(0x2001_0db8 << 96 | src);
            Packet::from_ip(&build::ip(Family::V6, src, src, 17, &[0; 8])).unwrap()
        };
        probe.packet = six(1);
        let set = load(&mut probe, "-m recent --set --name a --mask ffff:ffff:ffff:ffff::");
        assert_eq!(probe.ask(&set), Yes);
        probe.packet = six(7 << 80);
        let check = load(&mut probe, "-m recent --rcheck --name a");
        assert_eq!(probe.ask(&check), Yes);
        assert_eq!(ask(&mut probe, &first, 1, 1), No);
    }

    #[test]
    fn set_check_remove() {
        let mut probe = empty();
        let check = load(&mut probe, "-m recent --rcheck --name a");
        let set = load(&mut probe, "-m recent --set --name a");
        let unset = load(&mut probe, "-m recent ! --set --name a");
        let remove = load(&mut probe, "-m recent --remove --name a");
        let other = load(&mut probe, "-m recent --rcheck --name b");
        assert_eq!(ask(&mut probe, &check, 1, 0), No);
        assert_eq!(ask(&mut probe, &remove, 1, 0), No);
        assert_eq!(ask(&mut probe, &set, 1, 0), Yes);
        assert_eq!(ask(&mut probe, &unset, 1, 0), No);
        assert_eq!(ask(&mut probe, &check, 1, 1000), Yes);
        assert_eq!(ask(&mut probe, &check, 2, 1000), No);
        assert_eq!(ask(&mut probe, &other, 1, 1000), No);
        assert_eq!(ask(&mut probe, &remove, 1, 1000), Yes);
        assert_eq!(ask(&mut probe, &check, 1, 1000), No);
    }

    #[test]
    fn seconds_and_hits() {
        let mut probe = empty();
        let set = load(&mut probe, "-m recent --set");
        let check = load(&mut probe, "-m recent --rcheck --seconds 10 --hitcount 2");
        let update = load(&mut probe, "-m recent --update --seconds 10");
        ask(&mut probe, &set, 1, 100);
        assert_eq!(ask(&mut probe, &check, 1, 101), No);
        ask(&mut probe, &set, 1, 105);
        assert_eq!(ask(&mut probe, &check, 1, 110), Yes);
        assert_eq!(ask(&mut probe, &check, 1, 111), No);
        assert_eq!(ask(&mut probe, &update, 1, 115), Yes);
        assert_eq!(ask(&mut probe, &check, 1, 115), Yes);
        assert_eq!(ask(&mut probe, &update, 1, 126), No);
    }

    #[test]
    fn the_ring_holds_the_next_power_of_two() {
        let mut probe = empty();
        let check = load(&mut probe, "-m recent --rcheck --seconds 100 --hitcount 3");
        let set = load(&mut probe, "-m recent --update");
        // The second rule names no hit count and so brings 32 stamps.
        assert_eq!(ask(&mut probe, &set, 1, 0), No);
        let put = load(&mut probe, "-m recent --set");
        for second in 0..40 {
            ask(&mut probe, &put, 1, second);
        }
        let many = load(&mut probe, "-m recent --rcheck --hitcount 32");
        assert_eq!(ask(&mut probe, &many, 1, 40), Yes);
        assert_eq!(ask(&mut probe, &check, 1, 137), Yes);
        assert_eq!(ask(&mut probe, &check, 1, 138), No);
        // A larger hit count empties the list.
        let more = load(&mut probe, "-m recent --rcheck --hitcount 33");
        assert_eq!(ask(&mut probe, &more, 1, 40), No);
        assert_eq!(ask(&mut probe, &check, 1, 40), No);
    }

    #[test]
    fn a_hundred_addresses() {
        let mut probe = empty();
        let set = load(&mut probe, "-m recent --set");
        let check = load(&mut probe, "-m recent --rcheck");
        for host in 1..=100 {
            ask(&mut probe, &set, host, 0);
        }
        ask(&mut probe, &set, 1, 1);
        ask(&mut probe, &set, 101, 1);
        assert_eq!(ask(&mut probe, &check, 2, 2), No);
        assert_eq!(ask(&mut probe, &check, 1, 2), Yes);
        assert_eq!(ask(&mut probe, &check, 3, 2), Yes);
    }

    #[test]
    fn masks_ttl_and_reaping() {
        let mut probe = empty();
        let set = load(&mut probe, "-m recent --set --mask 255.255.255.0");
        let check = load(&mut probe, "-m recent --rcheck --rttl");
        ask(&mut probe, &set, 0x0a00_0001, 0);
        assert_eq!(ask(&mut probe, &check, 0x0a00_0063, 0), Yes);
        assert_eq!(ask(&mut probe, &check, 0x0a00_0163, 0), No);
        assert_eq!(ask_ttl(&mut probe, &check, 0x0a00_0001, 63, 0), No);
        let reap = load(&mut probe, "-m recent --rcheck --seconds 5 --reap");
        assert_eq!(ask(&mut probe, &reap, 0x0a00_0001, 6), No);
        assert_eq!(ask(&mut probe, &check, 0x0a00_0001, 6), No);
    }

    /// The time that passed meanwhile counts.
    #[test]
    fn goes_on_after_a_restart() {
        let at = |mono: u64, wall: u64| Now {
            mono: hairpin_engine::Instant::from_secs(mono),
            wall: hairpin_engine::Wall(wall * 1_000_000_000),
        };
        let list = |entries| List { mask: u128::MAX, most_stamps: 4, born: 0, entries };
        let jiffies = |secs: u64| hairpin_engine::Instant::from_secs(secs).jiffies();
        let mut old = list(Vec::new());
        old.insert(Family::V4, Addr::v4(7), 64, jiffies(100));
        for secs in [110, 120, 130, 140] {
            old.touch(0, 63, jiffies(secs));
        }
        old.insert(Family::V4, Addr::v4(8), 1, jiffies(150));
        let kept = old.keep(&at(160, 1_000_160));
        // The machine was started anew 1000 seconds later: its clock is at 20.
        let mut new = list(Vec::new());
        new.take_up(&kept, &at(20, 1_001_160));
        assert_eq!(new.entries.iter().map(|e| (e.addr, e.ttl, e.index)).collect::<Vec<_>>(), [(Addr::v4(7), 63, 1), (Addr::v4(8), 1, 1)]);
        let age = |stamp: u64| jiffies(20).wrapping_sub(stamp);
        assert_eq!(new.entries[0].stamps.iter().map(|s| age(*s)).collect::<Vec<_>>(), [1020, 1050, 1040, 1030].map(jiffies));
        for length in 0..kept.len() {
            new.take_up(&kept[..length], &at(20, 1_001_160));
        }
        new.take_up(&[u64::MAX; 40], &at(20, 1_001_160));
        assert!(new.entries.is_empty());
    }

    #[test]
    fn what_leaves_from_no_socket_counts_with_the_ttl_it_had() {
        use hairpin_engine::packet::Origin;
        let mut probe = empty();
        let set = load(&mut probe, "-m recent --set");
        let check = load(&mut probe, "-m recent --rcheck --rttl");
        assert_eq!(ask_ttl(&mut probe, &set, 7, 64, 1), Yes);
        (probe.net, probe.hook) = (crate::testing::host(), hairpin_engine::Hook::Postrouting);
        let mut ask = |ttl: u8, origin: Origin| {
            let packet = build::Ipv4 { src: Addr::v4(7), dst: DST, ttl, ..Default::default() }.to_vec();
            probe.packet = Packet::from_ip(&packet).unwrap();
            probe.packet.meta.oif = Some(hairpin_engine::net::IfIndex(2));
            probe.packet.meta.origin = origin;
            probe.ask(&check)
        };
        assert_eq!((ask(63, Origin::Wire), ask(64, Origin::Wire)), (Yes, No));
        assert_eq!((ask(63, Origin::Local(Sender::None)), ask(64, Origin::Local(Sender::None))), (Yes, No));
        assert_eq!((ask(63, Origin::Local(Sender::Kernel)), ask(64, Origin::Local(Sender::Kernel))), (No, Yes));
    }
}
