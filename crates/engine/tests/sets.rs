//! Sets against a model that knows nothing of hashes: a list of elements, looked through from the beginning.

use hairpin_engine::net::IfName;
use hairpin_engine::set::{Entry, Ext, Kind, MOST_SETS, Options, Part, Range, SetError, Sets};
use hairpin_engine::time::Instant;
use hairpin_wire::{Addr, Family, Mac, proto};
use proptest::prelude::*;

/// One component as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Net(u128, u8),
    Port(u8, u16),
    Mac(u8),
    Mark(u32),
    Iface(u8),
}

#[derive(Clone, Debug)]
struct Item {
    pieces: Vec<Piece>,
    nomatch: bool,
    /// The second at whose end it runs out.
    until: Option<u64>,
}

#[derive(Debug, Default)]
struct Model {
    items: Vec<Item>,
}

impl Model {
    fn forget(&mut self, second: u64) {
        self.items.retain(|item| item.until.is_none_or(|until| second <= until));
    }

    fn add(&mut self, item: Item, exist: bool) -> Result<(), SetError> {
        match self.items.iter_mut().find(|i| i.pieces == item.pieces) {
            Some(_) if !exist => Err(SetError::ElementExists),
            Some(there) => {
                *there = item;
                Ok(())
            }
            None => {
                self.items.push(item);
                Ok(())
            }
        }
    }

    fn del(&mut self, pieces: &[Piece]) -> Result<(), SetError> {
        let before = self.items.len();
        self.items.retain(|item| item.pieces != pieces);
        if self.items.len() < before { Ok(()) } else { Err(SetError::ElementMissing) }
    }

    /// Of the items that cover the element, the one with the longest first, then the longest second prefix decides.
    fn test(&self, pieces: &[Piece], bits: u8) -> bool {
        let is_host = |p: &Piece| !matches!(p, Piece::Net(_, len) if *len != bits);
        if !pieces.iter().all(is_host) {
            return self.items.iter().any(|item| item.pieces == pieces && !item.nomatch);
        }
        let covers = |item: &&Item| {
            item.pieces.iter().zip(pieces).all(|(a, b)| match (a, b) {
                (Piece::Net(net, len), Piece::Net(ip, _)) => mask(*ip, *len, bits) == *net,
                (a, b) => a == b,
            })
        };
        let lengths = |item: &&Item| -> Vec<u8> {
            item.pieces.iter().filter_map(|p| if let Piece::Net(_, len) = p { Some(*len) } else { None }).collect()
        };
        self.items.iter().filter(covers).max_by_key(lengths).is_some_and(|item| !item.nomatch)
    }
}

fn mask(ip: u128, len: u8, bits: u8) -> u128 {
    let shift = u32::from(bits - len);
    ip.checked_shr(shift).and_then(|ip| ip.checked_shl(shift)).unwrap_or(0)
}

/// A step of a test: what is done to which of a few elements.
#[derive(Clone, Debug)]
enum Step {
    Add { pick: [u8; 6], nomatch: bool, exist: bool, timeout: Option<u8> },
    Del { pick: [u8; 6] },
    Test { pick: [u8; 6] },
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pick = any::<[u8; 6]>;
    let step = prop_oneof![
        5 => (pick(), prop::bool::weighted(0.2), any::<bool>(), prop::option::of(1u8..9))
            .prop_map(|(pick, nomatch, exist, timeout)| Step::Add { pick, nomatch, exist, timeout }),
        2 => pick().prop_map(|pick| Step::Del { pick }),
        5 => pick().prop_map(|pick| Step::Test { pick }),
        1 => (1u8..4).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

/// The element of these dice for a type: as a person writes it and as the model has it.
fn element(kind: Kind, family: Family, pick: [u8; 6], is_test: bool) -> (Entry, Vec<Piece>) {
    let mut entry = Entry::default();
    let mut pieces = Vec::new();
    let bits = family.bits();
    let base: u128 = if family == Family::V4 { 0x0a00_0000 } else { 0x2001_0db8 << 96 };
    let mut addresses = 0;
    for part in kind.parts() {
        match part {
            Part::Ip | Part::Net => {
                let ip = base | u128::from(pick[addresses * 2] % 16 + 1);
                let is_net = *part == Part::Net;
                // Tests ask mostly about single addresses.
                let is_single = !is_net || (is_test && !pick[5].is_multiple_of(4));
                let len = if is_single { bits } else { bits - [0, 1, 2, 4][pick[addresses * 2 + 1] as usize % 4] };
                let cidr = is_net.then_some(len);
                pieces.push(Piece::Net(mask(ip, len, bits), len));
                match addresses {
                    0 => (entry.ip, entry.cidr) = (Some(Addr(ip)), cidr),
                    _ => (entry.ip2, entry.cidr2) = (Some(Addr(ip)), cidr),
                }
                addresses += 1;
            }
            Part::Port => {
                let (protocol, port) = ([proto::TCP, proto::UDP][pick[4] as usize % 2], u16::from(pick[4] % 5));
                entry.port = Some(port);
                if kind == Kind::BitmapPort {
                    pieces.push(Piece::Port(0, port));
                } else {
                    entry.proto = Some(protocol);
                    pieces.push(Piece::Port(protocol, port));
                }
            }
            Part::Mac => {
                entry.mac = Some(Mac([2, 0, 0, 0, 0, pick[4] % 4]));
                pieces.push(Piece::Mac(pick[4] % 4));
            }
            Part::Mark => {
                entry.mark = Some(u32::from(pick[4] % 4));
                pieces.push(Piece::Mark(u32::from(pick[4] % 4)));
            }
            Part::Iface => {
                entry.iface = IfName::new(["eth0", "eth1"][pick[4] as usize % 2]);
                pieces.push(Piece::Iface(pick[4] % 2));
            }
            Part::Set => {}
        }
    }
    (entry, pieces)
}

fn agrees(kind: Kind, family: Family, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut sets = Sets::new(5);
    let range = match kind {
        Kind::BitmapIp => Some(Range::Addresses { from: Addr::v4(0x0a00_0000), to: None, cidr: Some(24) }),
        Kind::BitmapPort => Some(Range::Ports(0, 99)),
        _ => None,
    };
    let options =
        Options { family: kind.has_family().then_some(family), timeout: Some(0), range, ..Options::default() };
    prop_assert_eq!(sets.create("s", kind, &options, false), Ok(()));
    let mut model = Model::default();
    let mut second = 1000;
    for step in steps {
        // In the middle of a second, so that no entry ends at this very moment.
        let now = Instant(second * 1_000_000_000 + 500_000_000);
        model.forget(second);
        match step {
            Step::Wait(seconds) => second += u64::from(*seconds),
            Step::Add { pick, nomatch, exist, timeout } => {
                let (entry, pieces) = element(kind, family, *pick, false);
                let nomatch = *nomatch && kind.has_nets();
                let ext = Ext { timeout: timeout.map(u32::from), ..Ext::default() };
                let until = timeout.map(|t| second + u64::from(t));
                let said = sets.add("s", &Entry { nomatch, ext, ..entry }, *exist, now);
                prop_assert_eq!(said, model.add(Item { pieces, nomatch, until }, *exist), "{:?}", step);
            }
            Step::Del { pick } => {
                let (entry, pieces) = element(kind, family, *pick, false);
                prop_assert_eq!(sets.del("s", &entry, false, now), model.del(&pieces), "{:?}", step);
            }
            Step::Test { pick } => {
                let (entry, pieces) = element(kind, family, *pick, true);
                prop_assert_eq!(sets.test("s", &entry, now), Ok(model.test(&pieces, family.bits())), "{:?}", step);
            }
        }
        let set = sets.get("s").expect("it is there");
        model.forget(second);
        let now = Instant(second * 1_000_000_000 + 500_000_000);
        prop_assert_eq!(set.len(now), model.items.len());
        prop_assert_eq!(set.elements(now).count(), model.items.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_type_agrees_with_a_list(steps in steps(), six in any::<bool>()) {
        use Kind::{
            BitmapIp, BitmapPort, HashIp, HashIpMac, HashIpMark, HashIpPort, HashIpPortIp, HashIpPortNet, HashMac, HashNet, HashNetNet,
            HashNetPort, HashNetPortNet,
        };
        let family = if six { Family::V6 } else { Family::V4 };
        for kind in [
            HashIp, HashMac, HashIpMac, HashIpMark, HashIpPort, HashIpPortIp, HashIpPortNet, HashNet, HashNetNet, HashNetPort,
            HashNetPortNet,
        ] {
            agrees(kind, family, &steps)?;
        }
        for kind in [BitmapIp, BitmapPort] {
            agrees(kind, Family::V4, &steps)?;
        }
    }

    /// A range is its addresses one by one; as networks it is the same addresses.
    #[test]
    fn ranges_are_their_addresses(from in 1u32..200, length in 0u32..60, gone in 0u32..60) {
        let now = Instant::default();
        let mut sets = Sets::new(5);
        let addr = |n: u32| Addr::v4(0x0a00_0000 + n);
        let span = |a: u32, b: u32| Entry { ip: Some(addr(a)), ip_to: Some(addr(b)), ..Entry::default() };
        for (name, kind) in [("ip", Kind::HashIp), ("net", Kind::HashNet), ("bit", Kind::BitmapIp)] {
            let range = (kind == Kind::BitmapIp).then_some(Range::Addresses { from: addr(0), to: Some(addr(400)), cidr: None });
            sets.create(name, kind, &Options { range, ..Options::default() }, false).expect("created");
            prop_assert_eq!(sets.add(name, &span(from + length, from), false, now), Ok(()));
            let end = from + gone.min(length);
            if kind != Kind::HashNet {
                prop_assert_eq!(sets.del(name, &span(from, end), false, now), Ok(()));
            }
            for n in from.saturating_sub(3)..from + length + 4 {
                let is_in = (from..=from + length).contains(&n) && (kind == Kind::HashNet || n > end);
                let entry = Entry { ip: Some(addr(n)), ..Entry::default() };
                prop_assert_eq!(sets.test(name, &entry, now), Ok(is_in), "{} {}", name, n);
            }
        }
    }
}

#[test]
fn the_most_specific_network_with_any_device_decides() {
    let now = Instant::default();
    let mut sets = Sets::new(1);
    sets.create("d", Kind::HashNetIface, &Options::default(), false).expect("created");
    let entry = |ip: u32, cidr: u8, name: &str| Entry {
        ip: Some(Addr::v4(ip)),
        cidr: Some(cidr),
        iface: IfName::new(name),
        ..Entry::default()
    };
    sets.add("d", &entry(0x0a00_0000, 24, "eth0"), false, now).expect("added");
    sets.add("d", &entry(0x0a00_0000, 8, "eth1"), false, now).expect("added");
    assert_eq!(sets.test("d", &entry(0x0a00_0001, 32, "eth1"), now), Ok(false));
    assert_eq!(sets.test("d", &entry(0x0a00_0101, 32, "eth1"), now), Ok(true));
    sets.add("d", &Entry { wildcard: true, ..entry(0x0a00_0000, 8, "ppp") }, false, now).expect("added");
    assert_eq!(sets.test("d", &entry(0x0a00_0101, 32, "ppp7"), now), Ok(true));
    // As many devices as one network may have.
    let added =
        (0..70).take_while(|n| sets.add("d", &entry(0x0b00_0000, 8, &format!("e{n}")), false, now).is_ok()).count();
    assert_eq!(added, 64);
}

#[test]
fn a_full_set_makes_room_only_with_forceadd() {
    let now = Instant::default();
    let mut sets = Sets::new(1);
    for (name, forceadd, timeout) in [("full", false, None), ("force", true, None), ("short", false, Some(1))] {
        let options = Options { maxelem: Some(3), forceadd, timeout, ..Options::default() };
        sets.create(name, Kind::HashIp, &options, false).expect("created");
        for n in 1..=3 {
            sets.add(name, &Entry { ip: Some(Addr::v4(n)), ..Entry::default() }, false, now).expect("there is room");
        }
    }
    let next = Entry { ip: Some(Addr::v4(9)), ..Entry::default() };
    assert_eq!(sets.add("full", &next, false, now), Err(SetError::Full));
    assert_eq!(sets.add("force", &next, false, now), Ok(()));
    assert_eq!(sets.get("force").map(|s| s.len(now)), Some(3));
    assert_eq!(sets.add("short", &next, false, now), Err(SetError::Full));
    assert_eq!(sets.add("short", &next, false, Instant::from_secs(2)), Ok(()));
    assert_eq!(sets.get("short").map(|s| s.len(Instant::from_secs(2))), Some(1));
}

#[test]
fn there_are_so_many_sets_and_no_more() {
    let mut sets = Sets::new(1);
    let options = Options { size: Some(4), ..Options::default() };
    for n in 0..MOST_SETS {
        sets.create_last(&format!("s{n}"), Kind::ListSet, &options).expect("there is a place");
    }
    assert_eq!(sets.create("more", Kind::ListSet, &options, false), Err(SetError::TooManySets));
    sets.destroy("s7", Instant::default()).expect("nothing refers to it");
    assert_eq!(sets.create("more", Kind::ListSet, &options, false), Ok(()));
}
