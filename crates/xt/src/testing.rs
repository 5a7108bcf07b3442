//! What the tests of extensions share: a rule's options as text, packets, and one question.

use crate::option::{Given, NoNames, Opt, Parsed, SyntaxError};
use crate::{Case, MATCHES, MatchSpec, find_match};
use hairpin_engine::Packet;
use hairpin_engine::net::{IfIndex, IfName, Interface, LinkKind, Net};
pub(crate) use hairpin_engine::probe::Answer;
use hairpin_engine::probe::{Loaded, Probe};
use hairpin_engine::rule::{Action, Counter, Header, Match, Place, Refused, Rule, TableId};
use hairpin_engine::setup::{NewAddress, NewInterface, Setup};
use hairpin_engine::track::{Class, Conn, ConnId, Tracked, Tuple, Zone};
use hairpin_engine::{Hook, Hooks, Instant};
use hairpin_wire::{Addr, Family, Mac, build};
use std::fmt;
use std::sync::Arc;

pub(crate) use hairpin_engine::probe::Answer::{Hotdrop, No, Yes};

/// Asks the matches of `rule` (`-p tcp -m tcp --dport 80`) about one packet.
#[track_caller]
pub(crate) fn check(rule: &str, packet: Vec<u8>, expected: Answer) {
    let mut probe = probe(packet);
    check_in(&mut probe, rule, expected);
}

/// Asks the matches of `rule` in these surroundings.
#[track_caller]
pub(crate) fn check_in(probe: &mut Probe, rule: &str, expected: Answer) {
    let loaded = load(probe, rule);
    assert_eq!(probe.ask(&loaded), expected, "{rule}");
}

/// Loads the one match of `rule`, so that it can be asked more than once.
#[track_caller]
pub(crate) fn load(probe: &mut Probe, rule: &str) -> Loaded<dyn Match> {
    let built = parse(probe.packet.family(), rule);
    probe.load(built.unwrap_or_else(|error| panic!("{rule}: {error}")))
}

/// What the kernel says to a rule with this match alone, in filter FORWARD.
pub(crate) fn loads(built: Arc<dyn Match>) -> Result<(), Refused> {
    loads_at(built, Hook::Forward)
}

/// What the kernel says to a rule with this match alone, in the chain of a hook.
pub(crate) fn loads_at(built: Arc<dyn Match>, hook: Hook) -> Result<(), Refused> {
    let (header, counter) = (Header::default(), Counter::default());
    let rule = Rule { header, matches: vec![Arc::clone(&built)], action: Action::None, counter };
    let hooks = Hooks::of(&[hook]);
    built.check(&Place { family: Family::V4, table: TableId::Filter, hooks, rule: &rule })
}

/// A host with eth0 (number 2, 10.0.0.254/24) and eth1 (number 3, 192.168.1.1/24).
pub(crate) fn host() -> Net {
    let interface = |name: &str, addr: u32| {
        let address = NewAddress { family: Family::V4, addr: Addr::v4(addr), prefix: 24, scope: None, broadcast: None };
        let mut interface = NewInterface::ethernet(name, Mac([2, 0, 0, 0, 0, 1]));
        interface.addresses.push(address);
        interface
    };
    let interfaces = vec![interface("eth0", 0x0a00_00fe), interface("eth1", 0xc0a8_0101)];
    Setup { interfaces, ..Setup::default() }.build().expect("a host")
}

/// A confirmed connection from port `port` of [`SRC`] to port 80 of [`DST`], from now on for 60 seconds.
pub(crate) fn connection(probe: &mut Probe, protocol: u8, port: u16, change: impl FnOnce(&mut Conn)) -> ConnId {
    let family = Family::V4;
    let original = Tuple { src: SRC, dst: DST, src_id: port, dst_id: 80, protocol, family };
    let reply = Tuple { src: DST, dst: SRC, src_id: 80, dst_id: port, protocol, family };
    let mut conn = Conn::new(original, reply, Zone::default(), probe.now.mono);
    conn.expires = Instant::from_secs(60);
    change(&mut conn);
    let id = probe.conns.insert_unconfirmed(conn).expect("room for a connection");
    assert!(probe.conns.confirm(id, probe.now.mono));
    id
}

/// Makes the packet one of this connection.
pub(crate) fn belongs(probe: &mut Probe, id: ConnId, class: Class) {
    probe.packet.meta.tracked = Tracked::Conn(id, class);
}

/// Surroundings for a network packet.
#[track_caller]
pub(crate) fn probe(packet: Vec<u8>) -> Probe {
    Probe::new(Packet::from_ip(&packet).unwrap_or_else(|error| panic!("{packet:02x?}: {error:?}")))
}

/// 10.0.0.1
pub(crate) const SRC: Addr = Addr::v4(0x0a00_0001);
/// 10.0.0.2
pub(crate) const DST: Addr = Addr::v4(0x0a00_0002);

/// A UDP datagram from [`SRC`] to [`DST`].
pub(crate) fn udp(src_port: u16, dst_port: u16) -> Vec<u8> {
    build::Udp { src_port, dst_port, payload: b"0123456789" }.packet(Family::V4, SRC, DST)
}

/// A UDP datagram from 2001:db8::1 to 2001:db8::2.
pub(crate) fn udp6(src_port: u16, dst_port: u16) -> Vec<u8> {
    build::Udp { src_port, dst_port, payload: b"0123456789" }.packet(Family::V6, SRC6, DST6)
}

/// An IPv6 packet from [`SRC6`] to [`DST6`] whose first header is `next`.
pub(crate) fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    build::ip(Family::V6, SRC6, DST6, next, payload)
}

/// 2001:db8::1
pub(crate) const SRC6: Addr = Addr(0x2001_0db8 << 96 | 1);
/// 2001:db8::2
pub(crate) const DST6: Addr = Addr(0x2001_0db8 << 96 | 2);

/// Adds a device to the host.
pub(crate) fn device(probe: &mut Probe, name: &str, kind: LinkKind) -> IfIndex {
    let index = IfIndex(probe.net.interfaces.len() as u32 + 1);
    probe.net.interfaces.push(Interface {
        index,
        name: IfName::new(name).expect("a short name"),
        kind,
        mac: Mac::ZERO,
        mtu: 1500,
        up: true,
        group: 0,
        addresses: Vec::new(),
    });
    index
}

/// A TCP segment from [`SRC`] to [`DST`].
pub(crate) fn tcp(src_port: u16, dst_port: u16, flags: u8) -> Vec<u8> {
    build::Tcp { src_port, dst_port, flags, ..Default::default() }.packet(Family::V4, SRC, DST)
}

/// A later fragment that holds only `payload`.
pub(crate) fn later_fragment(protocol: u8, fragment_offset: u16, payload: &[u8]) -> Vec<u8> {
    build::Ipv4 { src: SRC, dst: DST, protocol, fragment_offset, payload, ..Default::default() }.to_vec()
}

/// The one match of `rule`.
pub(crate) fn parse(family: Family, rule: &str) -> Result<Arc<dyn Match>, SyntaxError> {
    let words = split(rule);
    let mut words = words.iter().map(String::as_str).peekable();
    let (mut protocol, mut spec, mut given, mut inverted) = (None, None, Vec::new(), false);
    while let Some(word) = words.next() {
        match word {
            "!" => {
                inverted = true;
                continue;
            }
            "-p" => protocol = Some((number(words.next().expect("a protocol")), inverted)),
            "-m" => spec = Some(find_match(words.next().expect("a name"), family).expect("a known match")),
            option => {
                let spec: &MatchSpec = spec.expect("-m first");
                let name = option.strip_prefix("--").expect("an option");
                let (option, name) = find(spec, name).unwrap_or_else(|| panic!("option {name} of {}", spec.name));
                let mut values = Vec::new();
                for _ in option.values {
                    if option.optional && words.peek().is_none_or(|word| word.starts_with('-')) {
                        break;
                    }
                    values.push(words.next().expect("a value").to_owned());
                }
                given.push(Given { option, name, inverted, words: values });
            }
        }
        inverted = false;
    }
    let spec = spec.expect("a match");
    let parsed = Parsed {
        extension: spec.name,
        family,
        table: TableId::Filter,
        chain: "FORWARD",
        protocol,
        names: &NoNames,
        given,
        complete: true,
        notices: Default::default(),
    };
    // An extension's own conditions come before those of its table, but for a required option that is missing.
    match (spec.build)(&parsed) {
        Err(error) if !error.missing => Err(error),
        built => declared(spec, &parsed).and(built),
    }
}

/// What the declarations of the options demand.
fn declared(spec: &MatchSpec, parsed: &Parsed<'_>) -> Result<(), SyntaxError> {
    for given in &parsed.given {
        let option = given.option;
        let named = |name: &&&str| **name != option.name && parsed.has(name);
        if given.inverted && !option.invertible {
            return Err(parsed.error(format_args!("option \"--{}\" cannot be inverted.", option.name)));
        }
        if let Some(other) = option.excludes.iter().find(named) {
            return Err(parsed.error(format_args!("\"--{}\" cannot be used together with \"--{other}\".", option.name)));
        }
        if let Some(other) = option.needs.iter().find(|name| !parsed.has(name)) {
            return Err(parsed.error(format_args!("\"--{}\" also requires \"--{other}\".", option.name)));
        }
    }
    match spec.options.iter().find(|option| option.required && !parsed.has(option.name)) {
        Some(option) => Err(parsed.error(format_args!("option \"--{}\" must be specified", option.name))),
        None => Ok(()),
    }
}

fn find(spec: &MatchSpec, name: &str) -> Option<(&'static Opt, &'static str)> {
    spec.options.iter().find_map(|option| {
        let names = [&option.name].into_iter().chain(option.aliases);
        names.into_iter().find(|n| **n == name).map(|n| (option, *n))
    })
}

fn number(protocol: &str) -> u8 {
    match crate::value::protocol(&NoNames, protocol) {
        Ok(number) => number,
        Err(error) => panic!("{error}"),
    }
}

/// Words with double quotes and backslashes, as iptables-restore reads them.
pub(crate) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' if !quoted => words.extend(word.take()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

struct Saved<'a>(&'a dyn Match);

impl fmt::Display for Saved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.save(f)
    }
}

/// The rule that a case's text stands for.
fn rule_of(spec: &MatchSpec, text: &str) -> String {
    let (before, options) = text.split_once('|').unwrap_or(("", text));
    format!("{before} -m {} {options}", spec.name)
}

#[test]
fn cases_hold() {
    for spec in MATCHES {
        let family = if spec.families.has(Family::V4) { Family::V4 } else { Family::V6 };
        for case in spec.cases {
            let saves = |text: &str, saved: &str| {
                let rule = rule_of(spec, text);
                let built = parse(family, &rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
                let saved = saved.split_once('|').map_or(saved, |(_, options)| options);
                assert_eq!(Saved(&*built).to_string().trim_start(), saved, "{rule}");
                assert_eq!(built.name(), spec.name);
            };
            match case {
                Case::Same(text) => saves(text, text),
                Case::Saves(text, saved) => {
                    saves(text, saved);
                    saves(saved, saved);
                }
                Case::Fails(text, message) => {
                    let rule = rule_of(spec, text);
                    match parse(family, &rule) {
                        Ok(_) => panic!("{rule} was accepted"),
                        Err(error) => assert!(error.message.contains(message), "{rule}: {error}"),
                    }
                }
            }
        }
    }
}

#[test]
fn the_list_is_in_order() {
    assert!(MATCHES.windows(2).all(|pair| pair[0].name <= pair[1].name));
}
