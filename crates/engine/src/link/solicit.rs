//! Asking for the link address of a next hop (RFC 826; RFC 4861, section 7.2.2), as far as this host's own rules see it.
//!
//! ARP is none of their business. A solicitation of IPv6 passes OUTPUT and POSTROUTING like any packet of this host, is counted there, and
//! leaves. The engine's neighbors are all known or not there, so nobody answers: what waited for the address is given up after three
//! questions in three seconds.

use crate::net::{IfIndex, Net, Scope};
use crate::packet::{Origin, Packet, Sender};
use crate::route::{Route, RouteType};
use crate::time::Instant;
use hairpin_wire::{Addr, Family, build, icmp6, proto};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two questions (`retrans_time_ms`).
const INTERVAL: Duration = Duration::from_secs(1);
/// Questions before the neighbor counts as not there (`mcast_solicit`).
const QUESTIONS: u8 = 3;
/// Packets that wait for one neighbor, and neighbors that are asked for at once; no more are kept.
const WAITING: usize = 100;
const NEIGHBORS: usize = 1024;

/// The neighbors that are being asked for.
#[derive(Debug, Default)]
pub(crate) struct Solicitor {
    asked: BTreeMap<Neighbor, Asking>,
    /// When each of them is due.
    due: BTreeSet<(Instant, Neighbor)>,
}

type Neighbor = (IfIndex, Addr, Family);

#[derive(Debug)]
struct Asking {
    questions: u8,
    waiting: Vec<Packet>,
}

/// What is to be done next for a neighbor.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this solicitation.
    Ask(Box<Packet>),
    /// Tell the senders of these packets.
    GiveUp(Vec<Packet>),
}

impl Solicitor {
    /// A packet waits for the link address of `target`. The first one has it asked for.
    pub(crate) fn wait(
        &mut self,
        packet: &Packet,
        dev: IfIndex,
        target: Addr,
        now: Instant,
        net: &Net,
    ) -> Option<Packet> {
        let neighbor = (dev, target, packet.family());
        let is_new = !self.asked.contains_key(&neighbor);
        if is_new && self.asked.len() >= NEIGHBORS {
            return None;
        }
        if is_new {
            self.due.insert((now + INTERVAL, neighbor));
        }
        let first = Asking { questions: 1, waiting: Vec::new() };
        let asking = self.asked.entry(neighbor).or_insert(first);
        if asking.waiting.len() == WAITING {
            asking.waiting.remove(0);
        }
        asking.waiting.push(packet.clone());
        if is_new { question(packet, dev, target, net) } else { None }
    }

    /// The next thing whose time has come.
    pub(crate) fn step(&mut self, now: Instant, net: &Net) -> Option<Step> {
        while let Some(first @ (due, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&first);
            let asking = self.asked.get_mut(&key)?;
            if asking.questions == QUESTIONS {
                return self.asked.remove(&key).map(|gone| Step::GiveUp(gone.waiting));
            }
            asking.questions += 1;
            self.due.insert((due + INTERVAL, key));
            if let Some(packet) = asking.waiting.last().and_then(|last| question(last, key.0, key.1, net)) {
                return Some(Step::Ask(Box::new(packet)));
            }
        }
        None
    }

    /// When [`Solicitor::step`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

/// IPv6's question. From the address of the packet that waits, if the device has it; else from the device's link-local one. Without that, none is sent.
fn question(packet: &Packet, dev: IfIndex, target: Addr, net: &Net) -> Option<Packet> {
    const SOURCE_LINK_ADDRESS: u8 = 1;
    const SOLICITED: u128 = (0xff02 << 112) | (1 << 32) | (0xff << 24);
    let device = net.interface(dev).filter(|_| packet.family() == Family::V6)?;
    let mut own = device.addresses.iter().filter(|a| a.family == Family::V6);
    let has_it = own.clone().any(|a| a.addr == packet.src());
    let src = if has_it { packet.src() } else { own.find(|a| a.scope == Scope::Link)?.addr };
    let dst = Addr(SOLICITED | target.0 & 0xff_ffff);
    let mut payload = target.0.to_be_bytes().to_vec();
    payload.extend([SOURCE_LINK_ADDRESS, 1]);
    payload.extend(device.mac.0);
    let message = build::Icmp { kind: icmp6::NEIGHBOUR_SOLICITATION, code: 0, rest: 0, payload: &payload };
    let payload = message.to_vec(Family::V6, src, dst);
    let ip =
        build::Ipv6 { src, dst, next_header: proto::ICMPV6, hop_limit: 255, payload: &payload, ..Default::default() };
    let mut question = Packet::from_ip(&ip.to_vec()).ok()?;
    question.meta.origin = Origin::Local(Sender::Kernel);
    question.meta.oif = Some(dev);
    question.meta.route = Some(Route {
        kind: RouteType::Multicast,
        oif: dev,
        gateway: None,
        prefsrc: Some(src),
        mtu: device.mtu,
        hop_limit: 0,
        advmss: 0,
        realm: 0,
        redirect: false,
    });
    Some(question)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::{net, v4, v6};

    fn from(src: &str) -> Packet {
        Packet::from_ip(&build::Udp::default().packet(Family::V6, v6(src), v6("2001:db8:1::9"))).unwrap()
    }

    #[test]
    fn three_questions_then_silence() {
        let (net, dev, target) = (net(), IfIndex(2), v6("2001:db8:1::9"));
        let mut s = Solicitor::default();
        let first = s.wait(&from("2001:db8:1::1"), dev, target, Instant(0), &net).unwrap();
        assert_eq!((first.src(), first.dst(), first.length()), (v6("2001:db8:1::1"), v6("ff02::1:ff00:9"), 72));
        assert!(s.wait(&from("2001:db8:1::1"), dev, target, Instant(0), &net).is_none());
        assert!(s.step(Instant(0), &net).is_none());
        for second in 1..3 {
            assert_eq!(s.next_timeout(), Some(Instant::from_secs(second)));
            assert!(matches!(s.step(Instant::from_secs(second), &net), Some(Step::Ask(_))));
            assert!(s.step(Instant::from_secs(second), &net).is_none());
        }
        let Some(Step::GiveUp(packets)) = s.step(Instant::from_secs(3), &net) else { panic!("still asked for") };
        assert_eq!((packets.len(), s.next_timeout()), (2, None));
    }

    #[test]
    fn arp_is_not_seen_but_gives_up_as_well() {
        let (net, dev) = (net(), IfIndex(2));
        let waiting =
            Packet::from_ip(&build::Udp::default().packet(Family::V4, v4("10.0.1.2"), v4("10.0.1.9"))).unwrap();
        let mut s = Solicitor::default();
        assert!(s.wait(&waiting, dev, v4("10.0.1.9"), Instant(0), &net).is_none());
        assert!(s.step(Instant::from_secs(2), &net).is_none());
        assert!(matches!(s.step(Instant::from_secs(3), &net), Some(Step::GiveUp(packets)) if packets.len() == 1));
    }

    #[test]
    fn a_stranger_is_asked_for_from_the_link_local_address_only() {
        let (net, dev, target) = (net(), IfIndex(2), v6("2001:db8:1::9"));
        assert!(Solicitor::default().wait(&from("2001:db8:7::7"), dev, target, Instant(0), &net).is_none());
    }
}
