//! Laws that hold for any host, rules and packets, tried on the recorded scenarios as they are and with damaged frames.

mod support;

use hairpin_engine::ahead::Prefetch;
use hairpin_engine::engine::Batch;
use hairpin_engine::net::IfIndex;
use hairpin_engine::packet::{Offload, Origin, Sender};
use hairpin_engine::rule::TableId;
use hairpin_engine::{DropReason, Engine, Event, Fate, Now, Output, Packet, RuleSaid, Setup, TraceWhat};
use hairpin_wire::build::Udp;
use hairpin_wire::{Addr, Family};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use support::{Dice, Frame, Scenario, connections, report, rules, saved, scenarios};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The scenarios, and each again with damaged frames, in several ways.
fn worlds(seed: u64) -> Vec<Scenario> {
    let mut worlds = scenarios();
    for n in 0..worlds.len() {
        for round in 0..2 {
            let damaged = worlds[n].mutated(seed + 1000 * round + n as u64);
            worlds.push(damaged);
        }
    }
    worlds
}

/// The frames in the order of their times, each by itself.
fn each_alone(scenario: &Scenario) -> Vec<(Now, Range<usize>)> {
    scenario.frames.iter().enumerate().map(|(n, frame)| (Now::from_unix_nanos(frame.nanos), n..n + 1)).collect()
}

/// Everything that came out of an engine, as text.
#[derive(Default, PartialEq, Eq)]
struct Story {
    /// For each frame: its fate, and the bytes of what was made for it and of itself.
    frames: Vec<String>,
    events: Vec<String>,
    /// Rules with counters, connections, drops: now and then, and at the end.
    states: Vec<String>,
    looked: usize,
}

impl Story {
    /// Looks at the engine's state if that was long ago; it costs more than a packet.
    fn look(&mut self, engine: &Engine, now: &Now, handled: usize, all: usize) {
        if handled < self.looked + 40 && handled != all {
            return;
        }
        self.looked = handled;
        let drops: Vec<_> = engine.state().drops().filter(|(_, n)| *n > 0).collect();
        let rules = FAMILIES.map(|family| saved(engine, family)).concat();
        self.states.push(format!("{rules}{}{drops:?}\n", connections(engine, now)));
    }

    fn told(fate: Fate, packet: &Packet, made: impl Iterator<Item = String>) -> String {
        let bytes = matches!(fate, Fate::Transmit { .. } | Fate::Deliver).then(|| packet.frame());
        made.collect::<String>() + &format!("{fate:?} {bytes:x?}")
    }
}

/// The frames in groups that arrive at once.
fn groups(frames: &[Frame], dice: &mut Dice) -> Vec<(Now, Range<usize>)> {
    let mut groups = Vec::new();
    let mut at = 0;
    while let Some(first) = frames.get(at) {
        let end = (at + 1 + dice.below(100)).min(frames.len());
        groups.push((Now::from_unix_nanos(first.nanos), at..end));
        at = end;
    }
    groups
}

fn one_by_one(scenario: &Scenario, groups: &[(Now, Range<usize>)], tracing: bool) -> (Story, Engine, Output) {
    let mut engine = scenario.engine();
    engine.set_tracing(tracing);
    let (mut story, mut out, mut packet) = (Story::default(), Output::default(), Packet::default());
    for (now, group) in groups {
        for frame in &scenario.frames[group.clone()] {
            out.clear();
            let fate = engine.receive_frame(now, frame.dev, &frame.bytes, &mut packet, &mut out);
            let made = out.made.iter().map(|m| format!("{:?} {:x?}, ", m.fate, m.packet.frame()));
            story.frames.push(Story::told(fate, &packet, made));
            story.events.extend(out.events.iter().map(|e| format!("{e:?}")));
        }
        story.look(&engine, now, group.end, scenario.frames.len());
    }
    (story, engine, out)
}

fn in_batches(scenario: &Scenario, groups: &[(Now, Range<usize>)], prefetch: Option<Prefetch>) -> Story {
    let mut engine = scenario.engine();
    engine.set_prefetch(prefetch);
    let (mut story, mut out) = (Story::default(), Output::default());
    for (now, group) in groups {
        out.clear();
        let frames = &scenario.frames[group.clone()];
        let read: Vec<Result<Packet, DropReason>> = frames
            .iter()
            .map(|frame| {
                let mut packet = Packet::default();
                engine.read_frame(frame.dev, &frame.bytes, Offload::default(), &mut packet).map(|()| packet)
            })
            .collect();
        let mut packets: Vec<Packet> = read.iter().flatten().cloned().collect();
        let mut fates = vec![Fate::Held; packets.len()];
        if !packets.is_empty() {
            engine.handle(now, &mut Batch { packets: &mut packets, fates: &mut fates }, &mut out);
        }
        let causes: Vec<usize> = out.made.iter().map(|m| m.cause).collect();
        assert!(causes.is_sorted(), "{}: {causes:?}", scenario.name);
        let mut handled = packets.iter().zip(&fates).enumerate();
        for packet in &read {
            story.frames.push(match packet {
                Err(reason) => Story::told(Fate::Drop(*reason), &Packet::default(), [].into_iter()),
                Ok(_) => {
                    let (n, (packet, fate)) = handled.next().expect("as many as were read");
                    let made = out.made.iter().filter(|m| m.cause == n);
                    let made = made.map(|m| format!("{:?} {:x?}, ", m.fate, m.packet.frame()));
                    Story::told(*fate, packet, made)
                }
            });
        }
        story.events.extend(out.events.iter().map(|e| format!("{e:?}")));
        story.look(&engine, now, group.end, scenario.frames.len());
    }
    story
}

/// Fails with the first difference and everything there is to see at that moment.
fn same(scenario: &Scenario, what: &str, groups: &[(Now, Range<usize>)], one: &Story, two: &Story) {
    if one == two {
        return;
    }
    let number = one.frames.iter().zip(&two.frames).position(|(a, b)| a != b);
    let event = one.events.iter().zip(&two.events).find(|(a, b)| a != b);
    // Once more with tracing, up to the frame at fault.
    let last = number.unwrap_or(scenario.frames.len() - 1);
    let cut = groups.iter().map(|(now, g)| (*now, g.start..g.end.min(last + 1))).filter(|(_, g)| !g.is_empty());
    let (_, engine, out) = one_by_one(scenario, &cut.collect::<Vec<_>>(), true);
    let frames = number.map(|n| (&one.frames[n], &two.frames[n]));
    let states = one.states.iter().zip(&two.states).find(|(a, b)| a != b);
    let (first, second) = states.unwrap_or((&one.states[0], &two.states[0]));
    panic!(
        "{}: {what}\nframe {number:?}: {frames:#?}\nevent: {event:#?}\n{first}\n--- and\n{second}{}",
        scenario.name,
        report(&engine, &scenario.frames[last], last, &out)
    );
}

#[test]
fn a_batch_is_its_packets_one_by_one() {
    for scenario in worlds(100) {
        let groups = groups(&scenario.frames, &mut Dice(scenario.frames.len() as u64));
        let single = one_by_one(&scenario, &groups, false).0;
        // With memory asked for ahead, and with memory waited for together.
        for prefetch in [hairpin_datapath::prefetch::line(), None] {
            let batches = in_batches(&scenario, &groups, prefetch);
            same(&scenario, "a batch differs from its packets", &groups, &single, &batches);
        }
    }
}

#[test]
fn tracing_changes_nothing() {
    for scenario in worlds(200) {
        let groups = each_alone(&scenario);
        let plain = one_by_one(&scenario, &groups, false).0;
        same(&scenario, "tracing makes a difference", &groups, &plain, &one_by_one(&scenario, &groups, true).0);
    }
}

#[test]
fn the_same_again_gives_the_same() {
    for scenario in worlds(300) {
        let groups = each_alone(&scenario);
        let first = one_by_one(&scenario, &groups, false).0;
        same(&scenario, "the second time differs", &groups, &first, &one_by_one(&scenario, &groups, false).0);
    }
}

/// Counters by family, table, chain and rule; rule 0 is the policy, and None the end of an own chain.
type Counts = BTreeMap<(Family, TableId, String, Option<usize>), u64>;

fn counted(engine: &Engine) -> Counts {
    let state = engine.state();
    let mut counts = Counts::new();
    for family in FAMILIES {
        for table in state.rules(family).tables() {
            let mut counters = state.counters(family, table.id).iter();
            for chain in &table.chains {
                let end = chain.policy.map(|_| 0);
                for rule in (1..=chain.rules.len()).map(Some).chain([end]) {
                    let counter = counters.next().expect("a counter for every rule");
                    counts.insert((family, table.id, chain.name.clone(), rule), counter.packets);
                }
            }
            assert!(counters.next().is_none(), "a counter for nothing");
        }
    }
    counts
}

#[test]
fn every_packet_has_one_fate_and_counters_change_as_the_trace_says() {
    let mut rules_counted = 0;
    for scenario in worlds(400) {
        let mut engine = scenario.engine();
        engine.set_tracing(true);
        let (mut out, mut packet) = (Output::default(), Packet::default());
        let mut before = counted(&engine);
        let mut drops: Vec<(DropReason, u64)> = engine.state().drops().collect();
        for (number, frame) in scenario.frames.iter().enumerate() {
            out.clear();
            let now = Now::from_unix_nanos(frame.nanos);
            let fate = engine.receive_frame(&now, frame.dev, &frame.bytes, &mut packet, &mut out);
            let fail = |what: String| -> ! {
                panic!("{}, frame {}: {what}{}", scenario.name, number + 1, report(&engine, frame, number, &out))
            };
            if let Some(bug) = out.events.iter().find(|e| matches!(e, Event::Bug(_))) {
                fail(format!("{bug:?}"));
            }
            check_fates(fate, &out).unwrap_or_else(|what| fail(what));

            // Every drop is counted once, and nothing else is.
            let mut expected = drops.clone();
            let mut dropped: Vec<DropReason> = fates(&out).filter_map(dropped_for).collect();
            if !out.trace.iter().any(|s| matches!(s.what, TraceWhat::Packet(_))) {
                dropped.extend(dropped_for(fate));
            }
            for reason in dropped {
                expected.iter_mut().filter(|(r, _)| *r == reason).for_each(|(_, n)| *n += 1);
            }
            drops = engine.state().drops().collect();
            if drops != expected {
                fail(format!("drops: {drops:?}, the trace says {expected:?}"));
            }

            let after = counted(&engine);
            let mut said = before.clone();
            for step in &out.trace {
                let place = match &step.what {
                    TraceWhat::Rule {
                        said: RuleSaid::HeaderNo | RuleSaid::MatchNo(_) | RuleSaid::Hotdrop(_), ..
                    } => {
                        continue;
                    }
                    TraceWhat::Rule { family, table, chain, number, .. } => {
                        (*family, *table, chain.to_string(), Some(*number as usize))
                    }
                    TraceWhat::Policy { family, table, chain, .. } => (*family, *table, chain.to_string(), Some(0)),
                    _ => continue,
                };
                match said.get_mut(&place) {
                    Some(count) => *count += 1,
                    None => fail(format!("the trace names {place:?}, which is not there")),
                }
                rules_counted += 1;
            }
            // The hidden ends of own chains count, but are not told of.
            let wrong = said.iter().find(|(place, count)| place.3.is_some() && after.get(place) != Some(count));
            if let Some((place, count)) = wrong {
                fail(format!("{place:?} is at {:?}, the trace says {count}", after.get(place)));
            }
            before = after;
        }
    }
    assert!(rules_counted > 10_000, "only {rules_counted} rules and policies were counted");
}

fn fates(out: &Output) -> impl Iterator<Item = Fate> {
    out.trace.iter().filter_map(|s| match s.what {
        TraceWhat::Fate(fate) => Some(fate),
        _ => None,
    })
}

const fn dropped_for(fate: Fate) -> Option<DropReason> {
    match fate {
        Fate::Drop(reason) => Some(reason),
        _ => None,
    }
}

/// What set out ended once, and what left or was delivered came out.
fn check_fates(fate: Fate, out: &Output) -> Result<(), String> {
    let left = |fate: &Fate| matches!(fate, Fate::Transmit { .. } | Fate::Deliver);
    let began = out.trace.iter().filter(|s| matches!(s.what, TraceWhat::Packet(_))).count();
    let ended: Vec<Fate> = fates(out).collect();
    if began == 0 {
        // Bytes that were no packet. Fragments that ran out of time may have been answered all the same.
        return if dropped_for(fate).is_some() { Ok(()) } else { Err(format!("{fate:?} without a way")) };
    }
    if !ended.contains(&fate) {
        return Err(format!("{fate:?} is not among {ended:?}"));
    }
    let (told, given) = (ended.iter().filter(|f| left(f)).count(), out.made.len() + usize::from(left(&fate)));
    if told != given {
        return Err(format!("{given} packets came out, {told} are said to"));
    }
    if ended.iter().any(|f| dropped_for(*f) == Some(DropReason::Bug)) {
        return Err("an internal error".to_owned());
    }
    // Also a packet cut into pieces, and each of these.
    if ended.len() != began {
        return Err(format!("{began} packets ended {} times", ended.len()));
    }
    Ok(())
}

#[test]
fn a_reply_undoes_its_translation() {
    let mut answered = 0;
    for seed in 0..250 {
        answered += translated_flows(seed);
    }
    assert!(answered > 2_000, "only {answered} answers");
}

const HOST: &str = r#"
[sysctl]
"net.ipv4.ip_forward" = 1
"net.ipv6.conf.all.forwarding" = 1

[[interface]]
name = "wan"
kind = "bare"
addresses = ["203.0.113.1/24", "203.0.113.2/24", "2001:db8:1::1/64"]

[[interface]]
name = "lan"
kind = "bare"
addresses = ["192.168.1.1/24", "2001:db8:2::1/64"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "wan"

[[route]]
to = "::/0"
via = "2001:db8:1::fe"
dev = "wan"
"#;

/// A few flows out of the LAN and from outside through rules made under this seed; how many were answered.
fn translated_flows(seed: u64) -> usize {
    let dice = &mut Dice(seed);
    let family = FAMILIES[dice.below(4) / 3];
    let text = nat_rules(dice, family);
    let mut setup = Setup::new(hairpin::host_file::parse("host.toml", HOST).unwrap_or_else(|e| panic!("{e}")));
    let compiled = Arc::new(rules(family, text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}")));
    match family {
        Family::V4 => setup.rules4 = compiled,
        Family::V6 => setup.rules6 = compiled,
    }
    for port in [9, 53, 80, 3128, 3129, 3130, 4000] {
        setup.open_ports.open(17, Addr::UNSPECIFIED, port);
    }
    let mut engine = Engine::new(setup, &Now::from_unix_nanos(0), seed);
    engine.set_tracing(true);
    let mut answered = 0;
    for number in 0..20 {
        answered += usize::from(flow(&mut engine, dice, family, number));
    }
    answered
}

/// One packet and its answer. False when the packet goes nowhere, as when the ports to translate to are used up.
fn flow(engine: &mut Engine, dice: &mut Dice, family: Family, number: usize) -> bool {
    let (wan, lan) = (IfIndex(2), IfIndex(3));
    let (inside, outside) = match family {
        Family::V4 => ("192.168.1.", "198.51.100."),
        Family::V6 => ("2001:db8:2::", "2001:db8:9::"),
    };
    let own = match family {
        Family::V4 => "203.0.113.1",
        Family::V6 => "2001:db8:1::1",
    };
    let (dev, src, dst) = match dice.below(3) {
        0 => (wan, format!("{outside}{}", 1 + dice.below(9)), own.to_owned()),
        1 => (lan, format!("{inside}{}", 10 + dice.below(4)), own.to_owned()),
        _ => (lan, format!("{inside}{}", 10 + dice.below(4)), format!("{outside}{}", 1 + dice.below(9))),
    };
    let addr = |text: &str| Addr::from_ip(text.parse().expect("an address")).1;
    let (src, dst) = (addr(&src), addr(&dst));
    // Few ports, so that flows collide.
    let (sport, dport) = (500 + dice.below(30) as u16 * 40, [53, 80, 4000][dice.below(3)]);
    let ip = Udp { src_port: sport, dst_port: dport, payload: b"question" }.packet(family, src, dst);
    let now = Now::from_unix_nanos(1_000_000 * (number as u64 + 1));
    let frame = Frame { dev, nanos: now.mono.0, bytes: ip };
    let (mut packet, mut out) = (Packet::default(), Output::default());
    let fate = engine.receive_frame(&now, dev, &frame.bytes, &mut packet, &mut out);

    let Some((from_port, to_port)) = packet.ports() else { return false };
    let answer = Udp { src_port: to_port, dst_port: from_port, payload: b"answer" };
    let answer = answer.packet(family, packet.dst(), packet.src());
    let there = std::mem::take(&mut out.trace);
    let mut back = Packet::default();
    let fate_back = match fate {
        Fate::Transmit { oif, .. } => engine.receive_frame(&now, oif, &answer, &mut back, &mut out),
        Fate::Deliver => {
            back.load_ip(&answer).expect("a packet");
            back.meta.origin = Origin::Local(Sender::None);
            let mut fates = [Fate::Held];
            let packets = std::slice::from_mut(&mut back);
            engine.handle(&now, &mut Batch { packets, fates: &mut fates }, &mut out);
            fates[0]
        }
        Fate::Drop(_) | Fate::Held | Fate::Resolve { .. } => return false,
    };
    let arrived = matches!(fate_back, Fate::Transmit { oif, .. } if oif == dev);
    let ends = (back.src(), back.dst(), back.ports());
    if !arrived || ends != (dst, src, Some((dport, sport))) {
        let steps = there.into_iter().chain(std::mem::take(&mut out.trace));
        out.trace = steps.collect();
        panic!(
            "{src:?}:{sport} > {dst:?}:{dport} is answered by {fate_back:?} {}{}",
            back.describe(),
            report(engine, &frame, number, &out)
        );
    }
    true
}

/// A nat table with some of the things that people put there.
fn nat_rules(dice: &mut Dice, family: Family) -> String {
    let v4 = family == Family::V4;
    let servers = if v4 { "192.168.1.20-192.168.1.22" } else { "2001:db8:2::20-2001:db8:2::22" };
    let server = |port: &str| if v4 { format!("192.168.1.20{port}") } else { format!("[2001:db8:2::20]{port}") };
    let pool = if v4 { "203.0.113.1-203.0.113.2" } else { "2001:db8:1::1-2001:db8:1::2" };
    let own = |port: &str| if v4 { format!("203.0.113.2{port}") } else { format!("[2001:db8:1::1]{port}") };
    let (net, other) =
        if v4 { ("198.51.100.0/28", "198.51.100.16/28") } else { ("2001:db8:9::/64", "2001:db8:a::/64") };
    let (lan, seen) = if v4 { ("192.168.1.0/24", "203.0.113.0/24") } else { ("2001:db8:2::/64", "2001:db8:1::/64") };
    let to = [
        format!("-p udp --dport 53 -j DNAT --to-destination {}", server("")),
        format!("-p udp --dport 80 -j DNAT --to-destination {}", server(":8080")),
        format!("-p udp -j DNAT --to-destination {} --random", server(":5000-5009")),
        format!("-i wan -j DNAT --to-destination {servers} --persistent"),
        "-i lan -p udp --dport 53 -j REDIRECT".to_owned(),
        "-i lan -p udp --dport 80 -j REDIRECT --to-ports 3128-3130".to_owned(),
        "-p udp -j REDIRECT --to-ports 9 --random".to_owned(),
        format!("-i lan -d {net} -j NETMAP --to {other}"),
    ];
    let from = [
        "-o wan -j MASQUERADE".to_owned(),
        "-j MASQUERADE --random".to_owned(),
        "-o wan -p udp -j MASQUERADE --to-ports 40000-40019".to_owned(),
        "-p udp -j MASQUERADE --random-fully".to_owned(),
        format!("-o wan -j SNAT --to-source {pool}"),
        format!("-p udp -j SNAT --to-source {}", own(":6000-6029")),
        format!("-o wan -j SNAT --to-source {pool} --persistent --random-fully"),
        format!("-s {lan} -o wan -j NETMAP --to {seen}"),
    ];
    let mut text = "*nat\n".to_owned();
    for (chain, choices) in [("PREROUTING", to), ("POSTROUTING", from)] {
        for _ in 0..dice.below(3) {
            text += &format!("-A {chain} {}\n", choices[dice.below(choices.len())]);
        }
    }
    text + "COMMIT\n"
}
