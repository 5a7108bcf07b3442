//! `-j SET`: put what the packet is into a set, take it out, or take from the set what it says of it. Follows `xt_set.c`.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::set_use::SetUse;
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::rule::{Listing, Place, Refused, TableId, Target, Verdict};
use hairpin_engine::set::{Ask, SetId, SkbInfo};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Seconds that still fit the kernel's timers.
const LONGEST_TIMEOUT: u32 = u32::MAX / 1000;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "SET",
    families: Families::Both,
    about: "add the packet to a set or delete it, or map it by one",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("add-set", &["name", "flags"], "add what the packet is to this set").inverts().repeats(),
        Opt::new("timeout", &["value"], "for so many seconds").inverts().repeats(),
        Opt::switch("exist", "what is in the set already takes the time anew").inverts().repeats(),
        Opt::new("del-set", &["name", "flags"], "delete what the packet is from this set").inverts().repeats(),
        Opt::new("map-set", &["name", "flags"], "look the packet up in this set").inverts().repeats(),
        Opt::switch("map-mark", "its element's mark becomes the packet's").inverts().repeats(),
        Opt::switch("map-prio", "its element's priority becomes the packet's").inverts().repeats(),
        Opt::switch("map-queue", "its element's queue becomes the packet's").inverts().repeats(),
    ],
    build,
    cases: &[
        Case::Same("--add-set both src"),
        Case::Saves("! --add-set both src", "--add-set both src"),
        Case::Saves(
            "--exist --timeout 5 --del-set both dst --add-set both src,dst",
            "--add-set both src,dst --exist --timeout 5 --del-set both dst",
        ),
        Case::Same("--add-set both src --timeout 4294967294"),
        Case::Same("@mangle FORWARD|--add-set both src --del-set both dst --map-set both src --map-mark --map-prio --map-queue"),
        Case::Same("@mangle PREROUTING|--map-set both src --map-mark"),
        Case::Fails("", "You must specify either `--add-set' or `--del-set' or `--map-set'"),
        Case::Fails("--exist --del-set both src", "Flag `--exist' can be used with `--add-set' only"),
        Case::Fails("--timeout 5 --del-set both src", "Option `--timeout' can be used with `--add-set' only"),
        Case::Fails("--timeout 4294967295 --add-set both src", "out of range 0-4294967294"),
        Case::Fails("--map-set both src", "You must specify flags `--map-mark'"),
        Case::Fails("--map-prio --add-set both src", "Flag `--map-prio' can be used with `--map-set' only"),
        Case::Fails("--add-set both src --add-set both src", "--add-set can be specified only once"),
        Case::Fails("--add-set both src,foo", "'src' or 'dst'"),
    ],
};

#[derive(Debug)]
struct Set {
    add: Option<SetUse>,
    del: Option<SetUse>,
    map: Option<SetUse>,
    /// The names of those three that are there, in order, as the engine asks for them.
    names: Vec<String>,
    exist: bool,
    timeout: Option<u32>,
    mark: bool,
    prio: bool,
    queue: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let refuse = |text: &str| Err(SyntaxError::parameter(text));
    let (mut add, mut del, mut map, mut timeout) = (None, None, None, None);
    for given in &parsed.given {
        match given.option.name {
            "add-set" => add = Some(SetUse::parse(parsed, given, add.as_ref())?),
            "del-set" => del = Some(SetUse::parse(parsed, given, del.as_ref())?),
            "map-set" => map = Some(SetUse::parse(parsed, given, map.as_ref())?),
            "timeout" => {
                let max = u64::from(u32::MAX - 1);
                let Some(number) = value::number_within(given.value(), 0, max) else {
                    let message = format!("Invalid value for option --timeout or out of range 0-{max}");
                    return Err(SyntaxError::parameter(message).at(given.value()));
                };
                timeout = Some(number as u32);
            }
            _ => {}
        }
    }
    let [exist, mark, prio, queue] = ["exist", "map-mark", "map-prio", "map-queue"].map(|name| parsed.has(name));
    if add.is_none() && del.is_none() && map.is_none() {
        return refuse("You must specify either `--add-set' or `--del-set' or `--map-set'");
    }
    if add.is_none() && exist {
        return refuse("Flag `--exist' can be used with `--add-set' only");
    }
    if add.is_none() && timeout.is_some() {
        return refuse("Option `--timeout' can be used with `--add-set' only");
    }
    let maps = [("map-mark", mark), ("map-prio", prio), ("map-queue", queue)];
    match maps.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) if map.is_none() => {
            return refuse(&format!("Flag `--{name}' can be used with `--map-set' only"));
        }
        None if map.is_some() => {
            return refuse("You must specify flags `--map-mark' or '--map-prio` or `--map-queue'");
        }
        _ => {}
    }
    let names = [&add, &del, &map].into_iter().flatten().map(|of: &SetUse| of.name.clone()).collect();
    Ok(Arc::new(Set { add, del, map, names, exist, timeout, mark, prio, queue }))
}

impl Target for Set {
    fn name(&self) -> &'static str {
        "SET"
    }

    fn sets(&self) -> &[String] {
        &self.names
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        if self.map.is_none() {
            return Ok(());
        }
        if place.table != TableId::Mangle {
            return Err(Refused::Invalid("--map-set only usable from mangle table".to_owned()));
        }
        // One such hook among them is enough for the kernel.
        let leaving = Hooks::of(&[Hook::Forward, Hook::Output, Hook::Postrouting]);
        let is_leaving = place.hooks.minus(leaving) != place.hooks;
        if (self.prio || self.queue) && !is_leaving {
            let text = "mapping of prio or/and queue is allowed only from OUTPUT/FORWARD/POSTROUTING chains";
            return Err(Refused::Invalid(text.to_owned()));
        }
        Ok(())
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let ids: Vec<Option<SetId>> = look.memory::<Vec<Option<SetId>>>().map(|ids| ids.clone()).unwrap_or_default();
        let mut ids = ids.into_iter();
        let Some(mut sets) = look.sets() else { return Verdict::Continue };
        if let Some(of) = &self.add
            && let Some(id) = ids.next().flatten()
        {
            let timeout = self.timeout.map(|seconds| seconds.min(LONGEST_TIMEOUT));
            sets.add_packet(id, &look, of.directions, self.exist, timeout);
        }
        if let Some(of) = &self.del
            && let Some(id) = ids.next().flatten()
        {
            sets.del_packet(id, &look, of.directions);
        }
        let Some(of) = &self.map else { return Verdict::Continue };
        let Some(id) = ids.next().flatten() else { return Verdict::Continue };
        let mut info = SkbInfo::default();
        let ask = Ask { directions: of.directions, ..Ask::default() };
        let is_in = sets.matches(id, &look, &ask, &mut info);
        let mark = look.mark();
        drop(sets);
        if is_in && self.mark {
            edit.set_mark((mark & !info.mask) ^ info.mark);
        }
        if is_in && self.prio {
            edit.set_priority(info.prio);
        }
        // Queues of devices are chosen outside.
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Set {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        if let Some(of) = &self.add {
            write!(f, " {dashes}add-set {of}")?;
        }
        if self.exist {
            write!(f, " {dashes}exist")?;
        }
        if let Some(seconds) = self.timeout {
            write!(f, " {dashes}timeout {seconds}")?;
        }
        if let Some(of) = &self.del {
            write!(f, " {dashes}del-set {of}")?;
        }
        if let Some(of) = &self.map {
            write!(f, " {dashes}map-set {of}")?;
        }
        for (name, is_given) in [("map-mark", self.mark), ("map-prio", self.prio), ("map-queue", self.queue)] {
            if is_given {
                write!(f, " {dashes}{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, SRC, probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::set::{Entry, Ext, Kind, Options};
    use hairpin_engine::time::Instant;
    use hairpin_wire::Addr;

    fn ip(ip: Addr) -> Entry {
        Entry { ip: Some(ip), ..Entry::default() }
    }

    #[test]
    fn adds_and_deletes() {
        let mut probe = probe(udp(1, 2));
        let now = Instant::default();
        probe.sets.get_mut().create("s", Kind::HashIp, &Options::default(), false).expect("created");
        act_in(&mut probe, "-j SET --add-set s src");
        assert_eq!(probe.sets.get_mut().test("s", &ip(SRC), now), Ok(true));
        assert_eq!(probe.sets.get_mut().test("s", &ip(DST), now), Ok(false));
        act_in(&mut probe, "-j SET --add-set s dst --del-set s src");
        assert_eq!(probe.sets.get_mut().test("s", &ip(SRC), now), Ok(false));
        assert_eq!(probe.sets.get_mut().test("s", &ip(DST), now), Ok(true));
    }

    #[test]
    fn an_entry_takes_its_time_anew_only_with_exist() {
        let mut probe = probe(udp(1, 2));
        let options = Options { timeout: Some(0), ..Options::default() };
        probe.sets.get_mut().create("s", Kind::HashIp, &options, false).expect("created");
        act_in(&mut probe, "-j SET --add-set s src --timeout 10");
        act_in(&mut probe, "-j SET --add-set s src --timeout 100");
        let left = |probe: &mut hairpin_engine::probe::Probe| {
            let sets = probe.sets.get_mut();
            sets.get("s").and_then(|s| s.elements(Instant::default()).next()?.1.timeout)
        };
        assert_eq!(left(&mut probe), Some(10));
        act_in(&mut probe, "-j SET --add-set s src --timeout 100 --exist");
        assert_eq!(left(&mut probe), Some(100));
    }

    #[test]
    fn maps_the_mark() {
        let mut probe = probe(udp(1, 2));
        let options = Options { skbinfo: true, ..Options::default() };
        let ext = Ext { skbmark: Some((0x12, 0xff)), skbprio: Some(0x1_0002), ..Ext::default() };
        let sets = probe.sets.get_mut();
        sets.create("s", Kind::HashIp, &options, false).expect("created");
        sets.add("s", &Entry { ext, ..ip(SRC) }, false, Instant::default()).expect("added");
        probe.packet.meta.mark = 0x3456;
        act_in(&mut probe, "-j SET --map-set s dst --map-mark --map-prio");
        assert_eq!((probe.packet.meta.mark, probe.packet.meta.priority), (0x3456, 0));
        act_in(&mut probe, "-j SET --map-set s src --map-mark --map-prio");
        assert_eq!((probe.packet.meta.mark, probe.packet.meta.priority), (0x3412, 0x1_0002));
    }
}
