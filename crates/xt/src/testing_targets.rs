//! What the tests of targets share: a target from the words of a rule, what it saves, and what it does to a packet.

use crate::option::{Given, NoNames, Opt, Parsed, SyntaxError};
use crate::testing::{probe, split};
use crate::{Case, Families, TARGETS, TargetSpec, find_target};
use hairpin_engine::Packet;
use hairpin_engine::probe::Probe;
use hairpin_engine::rule::{TableId, Target, Verdict};
use hairpin_engine::track::{Class, Conn, ConnId, Tracked, Tuple, Zone};
use hairpin_wire::{Family, checksum, proto};
use std::fmt;
use std::sync::Arc;

/// The options in a text, by their full names.
pub(crate) fn options(known: &'static [Opt], text: &str) -> Vec<Given> {
    let mut given: Vec<Given> = Vec::new();
    let mut inverted = false;
    for word in split(text) {
        match word.strip_prefix("--") {
            _ if word == "!" => inverted = true,
            Some(name) => {
                let option = known.iter().find(|o| o.name == name || o.aliases.contains(&name));
                let option = option.unwrap_or_else(|| panic!("no option --{name}"));
                let name = if option.name == name {
                    option.name
                } else {
                    option.aliases.iter().find(|a| **a == name).copied().unwrap_or_default()
                };
                given.push(Given { option, name, inverted, words: Vec::new() });
                inverted = false;
            }
            None => given.last_mut().unwrap_or_else(|| panic!("stray word {word}")).words.push(word),
        }
    }
    given
}

/// A target as `-j NAME text` makes it in a rule with `before` (only `-p` counts).
pub(crate) fn target(
    spec: &'static TargetSpec,
    family: Family,
    before: &str,
    text: &str,
) -> Result<Arc<dyn Target>, SyntaxError> {
    let given = options(spec.options, text);
    for g in &given {
        let clash = given.iter().find(|h| h.option.name != g.option.name && g.option.excludes.contains(&h.option.name));
        if let Some(other) = clash {
            return Err(SyntaxError::parameter(format!("--{} cannot be used together with --{}", g.name, other.name)));
        }
        let mut same = given.iter().filter(|h| h.option.name == g.option.name);
        if !g.option.repeatable && same.nth(1).is_some() {
            return Err(SyntaxError::parameter(format!("--{} can only be used once", g.name)));
        }
        if let Some(needed) = g.option.needs.iter().find(|n| !given.iter().any(|h| h.option.name == **n)) {
            return Err(SyntaxError::parameter(format!("--{} also requires --{needed}", g.name)));
        }
    }
    if let Some(o) = spec.options.iter().find(|o| o.required && !given.iter().any(|g| g.option.name == o.name)) {
        return Err(SyntaxError::parameter(format!("option \"--{}\" must be specified", o.name)));
    }
    let parsed = Parsed {
        extension: spec.name,
        family,
        table: TableId::Filter,
        chain: "FORWARD",
        protocol: protocol(before),
        names: &NoNames,
        given,
        complete: true,
        notices: Default::default(),
    };
    (spec.build)(&parsed)
}

/// Lets the target of `rule` (`-p tcp -j TCPMSS --set-mss 1000`) act on what `probe` holds.
#[track_caller]
pub(crate) fn act_in(probe: &mut Probe, rule: &str) -> Verdict {
    let (before, target_words) = rule.split_once("-j ").unwrap_or_else(|| panic!("{rule}: -j is missing"));
    let (name, text) = target_words.split_once(' ').unwrap_or((target_words, ""));
    let family = probe.packet.family();
    let spec = find_target(name, family).unwrap_or_else(|| panic!("{rule}: no such target"));
    let built = target(spec, family, before, text).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let loaded = probe.load_target(built);
    probe.act(&loaded)
}

/// Lets the target of `rule` act on a network packet, which must go on, and gives the packet as it is then.
#[track_caller]
pub(crate) fn changed(rule: &str, packet: Vec<u8>) -> Packet {
    let mut probe = probe(packet);
    assert_eq!(act_in(&mut probe, rule), Verdict::Continue, "{rule}");
    probe.packet
}

/// Gives the packet of `probe` a connection with this mark.
#[track_caller]
pub(crate) fn track(probe: &mut Probe, mark: u32) -> ConnId {
    let original = Tuple::of_packet(&probe.packet).expect("a tuple");
    let reply = original.invert().expect("an inverse");
    let mut conn = Conn::new(original, reply, Zone::default(), probe.now.mono);
    conn.mark = mark;
    let id = probe.conns.insert_unconfirmed(conn).expect("room");
    probe.packet.meta.tracked = Tracked::Conn(id, Class::New);
    id
}

/// Whether the transport checksum of an unfragmented packet is right.
pub(crate) fn checksum_ok(packet: &Packet) -> bool {
    checksum::transport(packet.family(), packet.src(), packet.dst(), packet.protocol(), packet.l4()) == 0
        && (packet.family() == Family::V6 || checksum::checksum(&packet.ip()[..packet.head().l4]) == 0)
}

/// What `iptables-save` prints after `-j NAME`, without the first space.
pub(crate) fn saved(target: &dyn Target) -> String {
    struct Show<'a>(&'a dyn Target);
    impl fmt::Display for Show<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.save(f)
        }
    }
    Show(target).to_string().trim_start().to_owned()
}

fn protocol(before: &str) -> Option<(u8, bool)> {
    let words = split(before);
    let at = words.iter().position(|w| w == "-p")?;
    let number = match words.get(at + 1)?.as_str() {
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "sctp" => proto::SCTP,
        "dccp" => proto::DCCP,
        "udplite" => proto::UDPLITE,
        "icmp" => proto::ICMP,
        "icmpv6" => proto::ICMPV6,
        "gre" => proto::GRE,
        other => panic!("protocol {other} is not known to these tests"),
    };
    Some((number, at > 0 && words[at - 1] == "!"))
}

fn families(families: Families) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6].into_iter().filter(move |f| families.has(*f))
}

#[test]
fn the_cases_of_the_targets_hold() {
    for spec in TARGETS {
        for case in spec.cases {
            let (Case::Same(line) | Case::Saves(line, _) | Case::Fails(line, _)) = case;
            let line = if line.starts_with('@') { line.split_once('|').map_or("", |(_, rest)| rest) } else { line };
            let (before, text) = line.split_once('|').unwrap_or(("", line));
            // An address tells the family where the extension has both.
            let ambiguous = text.contains("::") || text.contains('.');
            for family in families(spec.families).filter(|f| !ambiguous || (*f == Family::V6) == text.contains("::")) {
                let built = target(spec, family, before, text);
                let what = format!("{family:?} {before} -j {} {text}", spec.name);
                match (case, built) {
                    (Case::Same(_), Ok(t)) => assert_eq!(saved(&*t), text, "{what}"),
                    (Case::Saves(_, want), Ok(t)) => {
                        assert_eq!(saved(&*t), *want, "{what}");
                        let again = target(spec, family, before, want).unwrap_or_else(|e| panic!("{what}: {e}"));
                        assert_eq!(saved(&*again), *want, "{what}");
                    }
                    (Case::Fails(_, why), Err(e)) => assert!(e.message.contains(why), "{what}: {e}"),
                    (Case::Fails(..), Ok(_)) => panic!("{what}: accepted"),
                    (_, Err(e)) => panic!("{what}: {e}"),
                }
            }
        }
    }
}
