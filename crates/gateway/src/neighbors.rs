//! Link addresses of next hops: asking for them (ARP, IPv6 neighbor discovery), answering those who ask, keeping what was learned
//! for as long as Linux does. It reads no clock and sends nothing itself: what is to be done comes out as [`Deed`]s.

use hairpin_engine::net::{IfIndex, Interface, LinkKind, Net, Scope};
use hairpin_engine::packet::{Origin, Sender};
use hairpin_engine::route::{AddressType, OutputKey, RouteType};
use hairpin_engine::sysctl::Conf4;
use hairpin_engine::{Instant, Packet};
use hairpin_wire::arp::{self, Arp};
use hairpin_wire::{Addr, Family, Mac, build, ethernet, icmp, icmp6, proto};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long an answer counts without being asked again (`base_reachable_time`).
const REACHABLE: Duration = Duration::from_secs(30);
/// How long after an entry was last used it is forgotten (`gc_stale_time`).
const FORGET: Duration = Duration::from_secs(60);
/// Between two questions (`retrans_time`).
const AGAIN: Duration = Duration::from_secs(1);
/// How often a question is asked (`mcast_solicit`, `ucast_solicit`).
const TRIES: u8 = 3;
/// Packets that wait for one answer; Linux counts bytes, which come to about so many.
const WAITING: usize = 101;
/// Packets that wait for all answers together: a scan of a large subnet must not fill the memory.
const WAITING_ALL: usize = 4096;
/// Entries at most (`gc_thresh3`).
pub const ENTRIES: usize = 1024;

/// Something to be done.
#[derive(Debug)]
pub enum Deed {
    /// A frame leaves as it is (ARP).
    Frame(IfIndex, Vec<u8>),
    /// A packet of this host sets out (neighbor discovery): rules see it.
    Send(Packet),
    /// A packet that waited leaves.
    Forward {
        /// By this device.
        dev: IfIndex,
        /// To this link address.
        to: Mac,
        /// The packet.
        packet: Packet,
    },
    /// Nobody answered: the sender is to be told.
    Unreachable(Packet),
}

type Key = (IfIndex, Family, Addr);

#[derive(Debug)]
struct Entry {
    mac: Option<Mac>,
    state: State,
    /// When the state ends.
    until: Instant,
    used: Instant,
    waiting: VecDeque<Packet>,
}

/// What is known of a neighbor, as `ip neighbor` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Asked, never answered yet.
    Incomplete(u8),
    /// Answered a short while ago.
    Reachable,
    /// Answered once; good until somebody uses it.
    Stale,
    /// Used meanwhile, and about to be asked again (0, delay), or being asked for so many times.
    Probe(u8),
    /// Did not answer. It is asked again when it is needed, but not before this state ends.
    Failed,
}

/// The table.
#[derive(Debug, Default)]
pub struct Neighbors {
    entries: BTreeMap<Key, Entry>,
    /// The last one found: most packets have the same next hop as the one before.
    last: Option<(Key, Mac, Instant)>,
    waiting: usize,
    /// Packets dropped because too many waited.
    pub overflowed: u64,
}

impl Neighbors {
    /// Entries and how many of them are in each state, by its name.
    pub fn count(&self) -> [(&'static str, usize); 6] {
        let mut counts = [("incomplete", 0), ("reachable", 0), ("stale", 0), ("delay", 0), ("probe", 0), ("failed", 0)];
        for entry in self.entries.values() {
            let at = match entry.state {
                State::Incomplete(_) => 0,
                State::Reachable => 1,
                State::Stale => 2,
                State::Probe(0) => 3,
                State::Probe(_) => 4,
                State::Failed => 5,
            };
            counts[at].1 += 1;
        }
        counts
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry: device, address, link address if known, state.
    pub fn list(&self) -> impl Iterator<Item = (IfIndex, Family, Addr, Option<Mac>, State)> {
        self.entries.iter().map(|((dev, family, addr), e)| (*dev, *family, *addr, e.mac, e.state))
    }

    /// A packet is to leave for its next hop: where to, if that is known; else it waits for the answer.
    pub fn resolve(
        &mut self,
        net: &Net,
        now: Instant,
        dev: IfIndex,
        packet: &mut Packet,
        deeds: &mut Vec<Deed>,
    ) -> Option<Mac> {
        let key = (dev, packet.family(), packet.next_hop());
        if let Some((last, mac, until)) = self.last
            && last == key
            && now < until
        {
            return Some(mac);
        }
        let family = packet.family();
        if !self.entries.contains_key(&key) && !self.make_room(now) {
            self.overflowed += 1;
            return None;
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            mac: None,
            state: State::Failed,
            until: now,
            used: now,
            waiting: VecDeque::new(),
        });
        entry.used = now;
        if let Some(mac) = entry.mac {
            if entry.state == State::Stale {
                entry.state = State::Probe(0);
                // Others may vouch for it first (`delay_first_probe_time`).
                entry.until = now + Duration::from_secs(5);
            }
            // Not for long, so that the entry's state is looked at again.
            self.last = Some((key, mac, entry.until.min(now + Duration::from_millis(500))));
            return Some(mac);
        }
        if entry.state == State::Failed {
            entry.state = State::Incomplete(1);
            entry.until = now + AGAIN;
            ask(net, key, packet.src(), None, deeds);
        }
        if entry.waiting.len() >= WAITING {
            entry.waiting.pop_front();
            self.waiting -= 1;
            self.overflowed += 1;
        }
        if self.waiting >= WAITING_ALL {
            self.overflowed += 1;
            return None;
        }
        self.waiting += 1;
        let mut waiting = packet.take_to_keep();
        // The connection's place in the table belongs to the packet that was handled, not to the one that waits.
        waiting.meta.oif = Some(dev);
        debug_assert_eq!(waiting.family(), family);
        entry.waiting.push_back(waiting);
        None
    }

    /// Room for one more entry: the one that was unused for longest goes.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < ENTRIES {
            return true;
        }
        let idle = self.entries.iter().filter(|(_, e)| e.waiting.is_empty() && e.used < now);
        let Some(key) = idle.min_by_key(|(_, e)| e.used).map(|(key, _)| *key) else { return false };
        self.entries.remove(&key);
        true
    }

    /// Somebody told his link address. `solicited`: in answer to a question; `make`: worth a new entry.
    fn learn(&mut self, now: Instant, key: Key, mac: Mac, solicited: bool, make: bool, deeds: &mut Vec<Deed>) {
        if mac.is_multicast() || mac == Mac::ZERO || key.2.is_unspecified() {
            return;
        }
        if !self.entries.contains_key(&key) {
            if !make || !self.make_room(now) {
                return;
            }
            let state = State::Stale;
            let entry = Entry { mac: Some(mac), state, until: now + FORGET, used: now, waiting: VecDeque::new() };
            self.entries.insert(key, entry);
            return;
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let changed = entry.mac.is_some_and(|old| old != mac);
        if entry.mac == Some(mac) && !solicited {
            return;
        }
        entry.mac = Some(mac);
        (entry.state, entry.until) =
            if solicited { (State::Reachable, now + REACHABLE) } else { (State::Stale, now + FORGET) };
        if changed {
            self.last = None;
        }
        self.waiting -= entry.waiting.len();
        deeds.extend(entry.waiting.drain(..).map(|packet| Deed::Forward { dev: key.0, to: mac, packet }));
    }

    /// An ARP frame arrived by this device.
    pub fn arp(&mut self, net: &Net, now: Instant, dev: IfIndex, frame: &[u8], deeds: &mut Vec<Deed>) {
        let Some(device) = net.interface(dev).filter(|d| d.up && d.kind == LinkKind::Ethernet) else { return };
        let Some(message) = frame.get(ethernet::HEADER_LEN..).and_then(Arp::parse) else { return };
        let sender = (dev, Family::V4, message.sender_ip);
        if net.owner(Family::V4, message.sender_ip).is_some() {
            // Our own address, or somebody who claims it.
            return;
        }
        let asked = message.operation == arp::REQUEST;
        let answer = asked && answers(net, device, &message);
        // Who asks us will hear from us soon; who announces himself is believed only if we knew him.
        self.learn(now, sender, message.sender_mac, message.operation == arp::REPLY, answer, deeds);
        if answer {
            let reply = message.reply(device.mac);
            deeds.push(Deed::Frame(dev, build::frame(message.sender_mac, device.mac, ethernet::ARP, &reply.emit())));
        }
    }

    /// A neighbor discovery message reached this host (INPUT let it pass).
    pub fn discovery(&mut self, net: &Net, now: Instant, packet: &Packet, deeds: &mut Vec<Deed>) {
        let Some(device) = packet.meta.iif.and_then(|dev| net.interface(dev)) else { return };
        if packet.ttl() != 255 {
            return;
        }
        let Some(icmp) = icmp::Icmp::new(packet.l4()) else { return };
        let target = icmp6::target(icmp.payload());
        match icmp.kind() {
            icmp6::NEIGHBOUR_SOLICITATION if packet.l4().len() >= 24 => {
                let mine = device.addresses.iter().any(|a| a.family == Family::V6 && a.addr == target);
                if !mine {
                    return;
                }
                if !packet.src().is_unspecified()
                    && let Some(mac) = link_option(packet.l4(), SOURCE_LINK)
                {
                    self.learn(now, (device.index, Family::V6, packet.src()), mac, false, true, deeds);
                }
                deeds.extend(advertisement(net, device, target, packet.src()).map(Deed::Send));
            }
            icmp6::NEIGHBOUR_ADVERTISEMENT if packet.l4().len() >= 24 => {
                if let Some(mac) = link_option(packet.l4(), TARGET_LINK) {
                    let solicited = icmp.rest() & SOLICITED != 0;
                    self.learn(now, (device.index, Family::V6, target), mac, solicited, false, deeds);
                }
            }
            _ => {}
        }
    }

    /// Says to everybody on the device's link who we are there: at start, and when addresses changed.
    pub fn announce(net: &Net, dev: IfIndex, deeds: &mut Vec<Deed>) {
        let Some(device) = net.interface(dev).filter(|d| d.up && d.kind == LinkKind::Ethernet) else { return };
        for address in &device.addresses {
            match address.family {
                Family::V4 => {
                    let message = Arp {
                        operation: arp::REQUEST,
                        sender_mac: device.mac,
                        sender_ip: address.addr,
                        target_mac: Mac::ZERO,
                        target_ip: address.addr,
                    };
                    let frame = build::frame(Mac::BROADCAST, device.mac, ethernet::ARP, &message.emit());
                    deeds.push(Deed::Frame(dev, frame));
                }
                Family::V6 => {
                    deeds.extend(advertisement(net, device, address.addr, Addr::UNSPECIFIED).map(Deed::Send));
                }
            }
        }
    }

    /// Forgets what was learned on a device that went away or changed.
    pub fn forget(&mut self, dev: IfIndex) {
        self.last = None;
        self.entries.retain(|(d, _, _), entry| {
            if *d == dev {
                self.waiting -= entry.waiting.len();
            }
            *d != dev
        });
    }

    /// Forgets everything that does not fit the host any more.
    pub fn forget_all(&mut self) {
        *self = Neighbors { overflowed: self.overflowed, ..Neighbors::default() };
    }

    /// When [`timeout`](Neighbors::timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.entries.values().map(|e| e.until).min()
    }

    /// Asks again, gives up, grows old.
    pub fn timeout(&mut self, net: &Net, now: Instant, deeds: &mut Vec<Deed>) {
        let due: Vec<Key> = self.entries.iter().filter(|(_, e)| e.until <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.last = None;
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let src = entry.waiting.front().map_or(Addr::UNSPECIFIED, Packet::src);
            match entry.state {
                State::Incomplete(tries) if tries < TRIES => {
                    entry.state = State::Incomplete(tries + 1);
                    entry.until = now + AGAIN;
                    ask(net, key, src, None, deeds);
                }
                State::Probe(tries) if tries < TRIES => {
                    entry.state = State::Probe(tries + 1);
                    entry.until = now + AGAIN;
                    ask(net, key, src, entry.mac, deeds);
                }
                State::Incomplete(_) | State::Probe(_) => {
                    entry.state = State::Failed;
                    entry.mac = None;
                    entry.until = now + AGAIN;
                    self.waiting -= entry.waiting.len();
                    deeds.extend(entry.waiting.drain(..).map(Deed::Unreachable));
                }
                State::Reachable => {
                    entry.state = State::Stale;
                    entry.until = entry.used.max(now) + FORGET;
                }
                State::Stale | State::Failed => {
                    self.entries.remove(&key);
                }
            }
        }
    }
}

/// Whether an ARP request is answered: for an address of ours (`arp_ignore`), or in place of others (`proxy_arp`).
fn answers(net: &Net, device: &Interface, message: &Arp) -> bool {
    let target = message.target_ip;
    if target.is_unspecified() || target.is_multicast(Family::V4) {
        return false;
    }
    let setting = |which| net.sysctl.conf4(device.index, which);
    let here = device.addresses.iter().any(|a| a.family == Family::V4 && a.addr == target);
    if net.address_type(Family::V4, target, None) == AddressType::Local && !target.is_loopback(Family::V4) {
        return match setting(Conf4::ArpIgnore) {
            0 => true,
            1 => here,
            2 => {
                let near = |a: &hairpin_engine::net::IfAddr| {
                    a.family == Family::V4 && message.sender_ip.in_net(a.addr, Family::V4.mask(a.prefix))
                };
                here && device.addresses.iter().any(near)
            }
            _ => false,
        };
    }
    if setting(Conf4::ProxyArp) == 0 || !net.sysctl.forwarding(Family::V4, device.index) {
        return false;
    }
    // For whom we would forward, unless he is on this very link.
    let key = OutputKey { src: None, ..OutputKey::to(Family::V4, target) };
    net.route_output(&key).is_ok_and(|route| route.kind == RouteType::Unicast && route.oif != device.index)
}

/// Asks who has the address: everybody, or the one who had it.
fn ask(net: &Net, (dev, family, target): Key, src: Addr, to: Option<Mac>, deeds: &mut Vec<Deed>) {
    let Some(device) = net.interface(dev).filter(|d| d.up) else { return };
    match family {
        Family::V4 => {
            let mine = |addr: &Addr| net.owner(Family::V4, *addr).is_some();
            let selected = || net.select_address(Family::V4, dev, Some(target), Scope::Link);
            let announce = net.sysctl.conf4(dev, Conf4::ArpAnnounce);
            let sender = Some(src).filter(|src| announce == 0 && mine(src)).or_else(selected).unwrap_or_default();
            let message = Arp {
                operation: arp::REQUEST,
                sender_mac: device.mac,
                sender_ip: sender,
                target_mac: Mac::ZERO,
                target_ip: target,
            };
            let to = to.unwrap_or(Mac::BROADCAST);
            deeds.push(Deed::Frame(dev, build::frame(to, device.mac, ethernet::ARP, &message.emit())));
        }
        Family::V6 => {
            let group = Addr((0xff02 << 112) | (1 << 32) | (0xff << 24) | (target.0 & 0x00ff_ffff));
            let dst = if to.is_some() { target } else { group };
            let Some(src) = net.select_address(Family::V6, dev, Some(target), Scope::Link) else { return };
            let body = discovery_body(target, SOURCE_LINK, device.mac);
            deeds.extend(discovery_packet(net, dev, src, dst, icmp6::NEIGHBOUR_SOLICITATION, 0, &body).map(Deed::Send));
        }
    }
}

const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const ROUTER: u32 = 1 << 31;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;

/// "This address is mine", to whoever asked, or to all.
fn advertisement(net: &Net, device: &Interface, mine: Addr, to: Addr) -> Option<Packet> {
    let (dst, solicited) = if to.is_unspecified() { (Addr((0xff02 << 112) | 1), 0) } else { (to, SOLICITED) };
    let router = if net.sysctl.forwarding(Family::V6, device.index) { ROUTER } else { 0 };
    let body = discovery_body(mine, TARGET_LINK, device.mac);
    let flags = router | solicited | OVERRIDE;
    discovery_packet(net, device.index, mine, dst, icmp6::NEIGHBOUR_ADVERTISEMENT, flags, &body)
}

fn discovery_body(target: Addr, option: u8, mac: Mac) -> Vec<u8> {
    let mut body = vec![0; 16];
    target.write(Family::V6, &mut body);
    body.extend_from_slice(&[option, 1]);
    body.extend_from_slice(&mac.0);
    body
}

fn discovery_packet(
    net: &Net,
    dev: IfIndex,
    src: Addr,
    dst: Addr,
    kind: u8,
    flags: u32,
    body: &[u8],
) -> Option<Packet> {
    let message = build::Icmp { kind, code: 0, rest: flags, payload: body }.to_vec(Family::V6, src, dst);
    let bytes = build::ip(Family::V6, src, dst, proto::ICMPV6, &message);
    let mut packet = Packet::from_ip(&bytes).ok()?;
    packet.set_ttl(255);
    packet.meta.origin = Origin::Local(Sender::Kernel);
    packet.meta.made_here = true;
    packet.meta.route = net.route_output(&OutputKey { oif: Some(dev), ..OutputKey::to(Family::V6, dst) }).ok();
    packet.meta.route?;
    Some(packet)
}

/// The link address in an option behind the target of a solicitation or advertisement.
fn link_option(message: &[u8], wanted: u8) -> Option<Mac> {
    let mut rest = message.get(24..)?;
    while let [kind, units, ..] = *rest {
        let len = usize::from(units) * 8;
        if len == 0 {
            return None;
        }
        if kind == wanted {
            return rest.get(2..8)?.try_into().ok().map(Mac);
        }
        rest = rest.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_engine::setup::Setup;

    const LAN: IfIndex = IfIndex(2);
    const HER: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn host(extra: &str) -> Net {
        let mut host = Setup::default()
            .ethernet("lan0", &["192.168.1.1/24", "fd00::1/64", "fe80::1/64"])
            .and_then(|h| h.ethernet("wan0", &["203.0.113.1/24"]))
            .and_then(|h| h.route("default via 203.0.113.254"))
            .and_then(|h| h.sysctl("net.ipv4.ip_forward=1"))
            .unwrap();
        if !extra.is_empty() {
            host = host.sysctl(extra).unwrap();
        }
        host.interfaces[0].mac = Mac([2, 0, 0, 0, 0, 1]);
        host.build().unwrap()
    }

    fn v4(text: &str) -> Addr {
        Addr::from_v4(text.parse().unwrap())
    }

    fn v6(text: &str) -> Addr {
        Addr::from_v6(text.parse().unwrap())
    }

    fn to(dst: &str) -> Packet {
        let udp = build::Udp { src_port: 1, dst_port: 2, payload: b"x" };
        let ip = match dst.contains(':') {
            true => udp.packet(Family::V6, v6("fd00:2::2"), v6(dst)),
            false => udp.packet(Family::V4, v4("198.51.100.1"), v4(dst)),
        };
        Packet::from_ip(&ip).unwrap()
    }

    fn arp(operation: u16, sender: &str, target: &str) -> Vec<u8> {
        let (sender_ip, target_ip) = (v4(sender), v4(target));
        let message = Arp { operation, sender_mac: HER, sender_ip, target_mac: Mac::ZERO, target_ip };
        build::frame(Mac::BROADCAST, HER, ethernet::ARP, &message.emit())
    }

    /// What an ARP frame says.
    fn said(deed: &Deed) -> Arp {
        match deed {
            Deed::Frame(_, frame) => Arp::parse(&frame[14..]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_waits_for_the_answer() {
        let (net, mut table, mut deeds) = (host(""), Neighbors::default(), Vec::new());
        let at = Instant::from_secs;
        assert_eq!(table.resolve(&net, at(1), LAN, &mut to("192.168.1.9"), &mut deeds), None);
        assert_eq!(table.resolve(&net, at(1), LAN, &mut to("192.168.1.9"), &mut deeds), None);
        assert_eq!(deeds.len(), 1, "one question for both");
        let question = said(&deeds[0]);
        assert_eq!((question.sender_ip, question.target_ip), (v4("192.168.1.1"), v4("192.168.1.9")));
        deeds.clear();
        table.arp(&net, at(1), LAN, &arp(arp::REPLY, "192.168.1.9", "192.168.1.1"), &mut deeds);
        assert_eq!(deeds.len(), 2);
        assert!(deeds.iter().all(|deed| matches!(deed, Deed::Forward { to, .. } if *to == HER)));
        deeds.clear();
        assert_eq!(table.resolve(&net, at(2), LAN, &mut to("192.168.1.9"), &mut deeds), Some(HER));
        assert!(deeds.is_empty());
    }

    #[test]
    fn nobody_answers() {
        let (net, mut table, mut deeds) = (host(""), Neighbors::default(), Vec::new());
        table.resolve(&net, Instant::from_secs(1), LAN, &mut to("192.168.1.9"), &mut deeds);
        let mut questions = 1;
        for second in 2..8 {
            deeds.clear();
            table.timeout(&net, Instant::from_secs(second), &mut deeds);
            questions += deeds.iter().filter(|deed| matches!(deed, Deed::Frame(..))).count();
            if let Some(Deed::Unreachable(packet)) = deeds.first() {
                assert_eq!((questions, packet.dst()), (3, v4("192.168.1.9")));
                assert_eq!(second, 4);
                return;
            }
        }
        panic!("the sender was not told");
    }

    #[test]
    fn an_old_entry_is_asked_again_while_it_is_used() {
        let (net, mut table, mut deeds) = (host(""), Neighbors::default(), Vec::new());
        let at = Instant::from_secs;
        table.resolve(&net, at(1), LAN, &mut to("192.168.1.9"), &mut deeds);
        table.arp(&net, at(1), LAN, &arp(arp::REPLY, "192.168.1.9", "192.168.1.1"), &mut deeds);
        table.timeout(&net, at(32), &mut deeds);
        deeds.clear();
        assert_eq!(table.resolve(&net, at(32), LAN, &mut to("192.168.1.9"), &mut deeds), Some(HER));
        table.timeout(&net, at(37), &mut deeds);
        // The question goes to her alone.
        assert!(matches!(&deeds[..], [Deed::Frame(_, frame)] if frame[..6] == HER.0));
        for second in 38..42 {
            table.timeout(&net, at(second), &mut deeds);
        }
        assert_eq!(table.resolve(&net, at(42), LAN, &mut to("192.168.1.9"), &mut deeds), None);
    }

    #[test]
    fn who_is_answered() {
        let answers = |net: &Net, target: &str| {
            let (mut table, mut deeds) = (Neighbors::default(), Vec::new());
            table.arp(net, Instant::default(), LAN, &arp(arp::REQUEST, "192.168.1.9", target), &mut deeds);
            deeds.first().map(|deed| said(deed).sender_ip) == Some(v4(target))
        };
        let net = host("");
        assert!(answers(&net, "192.168.1.1"));
        assert!(answers(&net, "203.0.113.1"), "any address of this host, as arp_ignore = 0 says");
        assert!(!answers(&net, "192.168.1.7") && !answers(&net, "198.51.100.1"));
        assert!(!answers(&host("net.ipv4.conf.lan0.arp_ignore=1"), "203.0.113.1"));
        let proxy = host("net.ipv4.conf.lan0.proxy_arp=1");
        assert!(answers(&proxy, "198.51.100.1"));
        assert!(!answers(&proxy, "192.168.1.7"), "she reaches him herself");
    }

    #[test]
    fn neighbor_discovery_asks_and_answers() {
        let (net, mut table, mut deeds) = (host(""), Neighbors::default(), Vec::new());
        let now = Instant::from_secs(1);
        assert_eq!(table.resolve(&net, now, LAN, &mut to("fd00::9"), &mut deeds), None);
        let Some(Deed::Send(question)) = deeds.pop() else { panic!("no question") };
        assert_eq!((question.dst(), question.ttl()), (v6("ff02::1:ff00:9"), 255));
        assert!(icmp::Icmp::new(question.l4()).unwrap().checksum_ok(Family::V6, question.src(), question.dst()));

        let body = discovery_body(v6("fd00::9"), TARGET_LINK, HER);
        let answer = build::Icmp { kind: icmp6::NEIGHBOUR_ADVERTISEMENT, code: 0, rest: SOLICITED, payload: &body };
        let (her, us) = (v6("fd00::9"), v6("fd00::1"));
        let ip = answer.packet(Family::V6, her, us);
        let mut answer = Packet::from_ip(&ip).unwrap();
        answer.meta.iif = Some(LAN);
        table.discovery(&net, now, &answer, &mut deeds);
        assert!(deeds.is_empty(), "from beyond the link it is not believed");
        answer.set_ttl(255);
        table.discovery(&net, now, &answer, &mut deeds);
        assert!(matches!(deeds.pop(), Some(Deed::Forward { to: HER, .. })));

        let body = discovery_body(us, SOURCE_LINK, HER);
        let asked = build::Icmp { kind: icmp6::NEIGHBOUR_SOLICITATION, code: 0, rest: 0, payload: &body };
        let ip = asked.packet(Family::V6, her, us);
        let mut asked = Packet::from_ip(&ip).unwrap();
        asked.meta.iif = Some(LAN);
        asked.set_ttl(255);
        table.discovery(&net, now, &asked, &mut deeds);
        let Some(Deed::Send(told)) = deeds.pop() else { panic!("no answer") };
        assert_eq!((told.src(), told.dst()), (us, her));
        assert_eq!(link_option(told.l4(), TARGET_LINK), Some(Mac([2, 0, 0, 0, 0, 1])));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (net, mut table, mut deeds) = (host(""), Neighbors::default(), Vec::new());
        let now = Instant::from_secs(1);
        for n in 0..ENTRIES as u32 + 500 {
            let mut packet = to(&std::net::Ipv4Addr::from(0xc0a8_0000 + (n << 1)).to_string());
            table.resolve(&net, now, LAN, &mut packet, &mut deeds);
        }
        for _ in 0..WAITING + 50 {
            table.resolve(&net, now, LAN, &mut to("192.168.0.0"), &mut deeds);
        }
        assert!(table.entries.len() <= ENTRIES && table.waiting <= WAITING_ALL);
        let longest = table.entries.values().map(|e| e.waiting.len()).max();
        assert_eq!(longest, Some(WAITING));
        assert_eq!(table.waiting, table.entries.values().map(|e| e.waiting.len()).sum::<usize>());
        table.forget(LAN);
        assert_eq!(table.waiting, 0);
    }
}
