//! The stage for conversations: they run against the live kernel, several at a time, and each end hears what comes out
//! of the router for it, so that it answers to the addresses and ports it sees, as a real host would.
//!
//! A conversation is an `async fn` that sends packets; between two of its packets others have their turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::build::{self, Head, Mac, Segment, Sum};
use super::dice::Dice;
use super::world::World;
use crate::oracle::frame::{ETH, FRAGMENT, Frame, ICMP, ICMP6, TCP};
use crate::oracle::kernel::{Departure, Lab};
use crate::oracle::scenario::Arrival;

/// The time of the first frame.
const START: u64 = 1_700_000_000_000_000;
/// Microseconds between two frames when the scenario is played again.
const GAP: u64 = 1_500;
/// How long an answer may take while the conversation is made: the router answers within the call that sends.
const PATIENCE: Duration = Duration::from_micros(400);
/// The longest frame that is sent.
const LONGEST: usize = 1514;
/// A conversation that fails at once sends nothing; so many of them end the scenario.
const FUTILE: usize = 200;

pub type Endpoint = (IpAddr, u16);
pub type Talk<'s> = Pin<Box<dyn Future<Output = ()> + 's>>;

/// Everything the conversations of one scenario share.
pub struct Stage<'a> {
    pub worlds: &'a [World],
    pub deep: bool,
    dice: RefCell<&'a mut Dice>,
    lab: &'a Lab,
    arrivals: RefCell<Vec<Arrival>>,
    clock: Cell<u64>,
    ends: RefCell<BTreeMap<Key, Rc<End<'a>>>>,
    waiting: RefCell<Vec<Waiting<'a>>>,
    next_port: Cell<u16>,
    next_tag: Cell<u32>,
    failure: RefCell<Option<String>>,
}

/// One end of a conversation: where it sits, its address, the other's as it sees it, what it has heard.
pub struct End<'a> {
    pub world: &'a World,
    pub iface: String,
    pub mac: Mac,
    pub router_mac: Mac,
    pub me: Endpoint,
    pub you: Endpoint,
    /// TCP: the next sequence number and the next one expected.
    pub next: Cell<u32>,
    pub ack: Cell<u32>,
    /// The last packet heard, and how many there were.
    pub last: RefCell<Vec<u8>>,
    pub heard: Cell<usize>,
    /// What its packets' headers look like.
    pub head: RefCell<Head>,
    /// IPv6 extension headers on all its packets.
    pub dress: Vec<(u8, Vec<u8>)>,
}

/// Who hears a frame: interface, protocol, the hearer and the speaker.
type Key = (String, u8, Endpoint, Endpoint);

/// Somebody is expected to appear at the other side: the first frame of an unknown pair that carries the tag is theirs.
struct Waiting<'a> {
    world: &'a World,
    proto: u8,
    tag: Vec<u8>,
    found: Rc<RefCell<Option<Rc<End<'a>>>>>,
}

/// The other side of a conversation, once it was reached.
pub struct Expected<'a>(Rc<RefCell<Option<Rc<End<'a>>>>>);

impl<'a> Expected<'a> {
    pub fn end(&self) -> Option<Rc<End<'a>>> {
        self.0.borrow().clone()
    }
}

impl<'a> Stage<'a> {
    pub fn new(dice: &'a mut Dice, worlds: &'a [World], lab: &'a Lab, deep: bool) -> Self {
        Self {
            worlds,
            deep,
            dice: RefCell::new(dice),
            lab,
            arrivals: RefCell::default(),
            clock: Cell::new(START),
            ends: RefCell::default(),
            waiting: RefCell::default(),
            next_port: Cell::new(20_000),
            next_tag: Cell::new(0),
            failure: RefCell::default(),
        }
    }

    /// Runs conversations, as `begin` makes them, until there are enough frames. Everything that was sent.
    pub fn run<'s>(&'s self, begin: impl Fn() -> Talk<'s>) -> Result<Vec<Arrival>, String> {
        let mut talks: Vec<Talk<'s>> = (0..self.below(3) + 1).map(|_| begin()).collect();
        let limit = self.pick(if self.deep { &[70, 90, 120] } else { &[30, 40, 50] });
        let mut context = Context::from_waker(Waker::noop());
        let mut futile = 0;
        while self.arrivals.borrow().len() < limit && futile < FUTILE {
            let n = self.below(talks.len());
            if talks[n].as_mut().poll(&mut context).is_ready() {
                talks[n] = begin();
                futile += 1;
            } else {
                futile = 0;
            }
            if let Some(e) = self.failure.take() {
                return Err(e);
            }
        }
        drop(talks);
        Ok(self.arrivals.take())
    }

    /// Sends a packet from an end, then gives others a turn.
    pub async fn send(&self, end: &End<'a>, packet: Vec<u8>) {
        let mut packet = packet;
        if !end.dress.is_empty() && packet.get(6) != Some(&FRAGMENT) {
            packet = build::extended(&packet, &end.dress);
        }
        let probe = build::ethernet(end.mac, end.router_mac, &packet);
        let dst = Frame::new(&probe).ip.map(|ip| ip.dst);
        let to = match dst {
            Some(dst) if dst != end.you.0 => end.world.mac_towards(dst, &end.iface),
            _ => end.router_mac,
        };
        let data = build::ethernet(end.mac, to, &packet);
        if packet.len() >= 20 && data.len() <= LONGEST {
            if let Err(e) = self.put(&end.iface, data) {
                self.failure.replace(Some(e));
            }
            Turn(false).await;
        }
    }

    /// Lets time pass before the next frame.
    pub fn pause(&self, micros: u64) {
        self.clock.set(self.clock.get() + micros);
    }

    /// A client that calls somebody on the given port (any of the usual ones without).
    pub fn client(&self, proto: u8, port: Option<u16>) -> Rc<End<'a>> {
        self.client_in(self.world(), proto, port)
    }

    pub fn client_in(&self, world: &'a World, proto: u8, port: Option<u16>) -> Rc<End<'a>> {
        let people: Vec<_> = world.people().collect();
        let person = people[self.below(people.len())];
        let mut others = Vec::new();
        for a in world.addresses().into_iter().filter(|a| *a != person.addr) {
            let own = world.mine.iter().any(|(_, m)| *m == a);
            let outside = world.far.iter().any(|p| p.addr == a && p.iface == "eth0");
            others.extend(vec![
                a;
                if own {
                    5
                } else if outside {
                    3
                } else {
                    1
                }
            ]);
        }
        let from = self.port();
        let to = if matches!(proto, ICMP | ICMP6) { from } else { port.unwrap_or(self.pick(&world.ports)) };
        let dst = others[self.below(others.len())];
        self.end(world, &person.iface, person.mac, (person.addr, from), (dst, to), proto)
    }

    /// An end at a known place.
    pub fn end(&self, world: &'a World, iface: &str, mac: Mac, me: Endpoint, you: Endpoint, proto: u8) -> Rc<End<'a>> {
        let mut head = Head {
            ttl: self.pick(&[64, 64, 64, 64, 128, 255, 3, 2]),
            tos: self.pick(&[0, 0, 0, 0x10, 0xb8, 2, 3]),
            id: self.number() as u16,
            df: proto == TCP || self.chance(15),
            ..Head::default()
        };
        let mut dress = Vec::new();
        if world.v6 {
            if self.chance(20) {
                head.flow = self.number() & 0xf_ffff;
            }
            if self.chance(20) {
                dress = super::odd::dress(self, world);
            }
        }
        let end = Rc::new(End {
            world,
            iface: iface.into(),
            mac,
            router_mac: world.router_mac(iface),
            me,
            you,
            next: Cell::new(self.number()),
            ack: Cell::new(0),
            last: RefCell::default(),
            heard: Cell::new(0),
            head: RefCell::new(head),
            dress,
        });
        self.ends.borrow_mut().insert((iface.into(), proto, me, you), end.clone());
        end
    }

    /// Expects a frame with the tag to reach somebody who is not known yet.
    pub fn expect(&self, world: &'a World, proto: u8, tag: &[u8]) -> Expected<'a> {
        let found = Rc::new(RefCell::new(None));
        self.waiting.borrow_mut().push(Waiting { world, proto, tag: tag.to_vec(), found: found.clone() });
        Expected(found)
    }

    /// Bytes that no other packet carries.
    pub fn tag(&self) -> Vec<u8> {
        self.next_tag.set(self.next_tag.get() + 1);
        format!("q{:04}", self.next_tag.get()).into_bytes()
    }

    /// A port that no other conversation uses.
    pub fn port(&self) -> u16 {
        let port = self.next_port.get() + 1 + self.below(3) as u16;
        self.next_port.set(port);
        port
    }

    pub fn world(&self) -> &'a World {
        &self.worlds[self.below(self.worlds.len())]
    }

    pub fn below(&self, n: usize) -> usize {
        self.dice.borrow_mut().below(n)
    }

    pub fn chance(&self, percent: usize) -> bool {
        self.dice.borrow_mut().chance(percent)
    }

    pub fn pick<T: Clone>(&self, items: &[T]) -> T {
        self.dice.borrow_mut().pick(items).clone()
    }

    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.dice.borrow_mut().shuffle(items);
    }

    pub fn weighted(&self, weights: &[usize]) -> usize {
        self.dice.borrow_mut().weighted(weights)
    }

    pub fn number(&self) -> u32 {
        self.dice.borrow_mut().bits() as u32
    }

    fn put(&self, iface: &str, data: Vec<u8>) -> Result<(), String> {
        self.lab.inject(iface, &data)?;
        let mut got = self.lab.waiting()?;
        if got.is_empty() {
            got = self.lab.until(Instant::now() + PATIENCE)?;
        }
        self.clock.set(self.clock.get() + GAP);
        self.arrivals.borrow_mut().push(Arrival { micros: self.clock.get(), iface: iface.into(), data });
        got.iter().for_each(|d| self.deliver(d));
        Ok(())
    }

    /// Hands a frame to whom it is meant for.
    fn deliver(&self, departure: &Departure) {
        let frame = Frame::new(&departure.data);
        let Some(ip) = &frame.ip else { return };
        if ip.later_fragment() {
            return;
        }
        let (from, to) = match (frame.ports(), frame.icmp()) {
            (Some(ports), _) => ports,
            (None, Some(_)) => {
                let id = crate::oracle::frame::be16(frame.data, ip.l4 + 4).unwrap_or(0);
                (id, id)
            }
            (None, None) => (0, 0),
        };
        let key = (departure.iface.clone(), ip.proto, (ip.dst, to), (ip.src, from));
        if !self.ends.borrow().contains_key(&key) {
            let is_request = frame.icmp().is_none_or(|(kind, _)| matches!(kind, 8 | 128));
            let body = frame.data.get(ip.l4..).unwrap_or_default();
            let fits = |w: &&Waiting<'a>| {
                w.proto == ip.proto && is_request && body.windows(w.tag.len()).any(|part| part == w.tag)
            };
            let Some((world, found)) = self.waiting.borrow().iter().find(fits).map(|w| (w.world, w.found.clone()))
            else {
                return;
            };
            let mac = |range: std::ops::Range<usize>| {
                frame.data.get(range).and_then(|m| Mac::try_from(m).ok()).unwrap_or_default()
            };
            let end = Rc::new(End {
                world,
                iface: departure.iface.clone(),
                mac: mac(0..6),
                router_mac: mac(6..12),
                me: key.2,
                you: key.3,
                next: Cell::new(self.number()),
                ack: Cell::new(0),
                last: RefCell::default(),
                heard: Cell::new(0),
                head: RefCell::new(Head { ttl: self.pick(&[64, 64, 128, 60]), df: ip.proto == TCP, ..Head::default() }),
                dress: Vec::new(),
            });
            found.replace(Some(end.clone()));
            self.ends.borrow_mut().insert(key.clone(), end);
        }
        if let Some(end) = self.ends.borrow().get(&key) {
            end.hear(&frame);
        }
    }
}

impl End<'_> {
    pub fn tcp(&self, flags: u8, data: &[u8]) -> Vec<u8> {
        self.segment(Segment { data: data.to_vec(), ..self.next_segment(flags) })
    }

    /// The segment that is due, without data.
    pub fn next_segment(&self, flags: u8) -> Segment {
        let ack = if flags & build::ACK != 0 { self.ack.get() } else { 0 };
        Segment { flags, seq: self.next.get(), ack, window: 64_240, ..Segment::default() }
    }

    /// Sends a segment, which moves the sequence number on if it is the one that is due.
    pub fn segment(&self, segment: Segment) -> Vec<u8> {
        if segment.seq == self.next.get() {
            let marks = u32::from(segment.flags & build::SYN != 0) + u32::from(segment.flags & build::FIN != 0);
            self.next.set(segment.seq.wrapping_add(segment.data.len() as u32 + marks));
        }
        build::tcp(self.me, self.you, &segment, &self.head.borrow())
    }

    /// A segment out of turn: it leaves the sequence number alone.
    pub fn stray(&self, segment: Segment) -> Vec<u8> {
        build::tcp(self.me, self.you, &segment, &self.head.borrow())
    }

    pub fn udp(&self, data: &[u8], sum: Sum) -> Vec<u8> {
        build::udp(self.me, self.you, data, sum, &self.head.borrow())
    }

    pub fn echo(&self, seq: u16, data: &[u8], reply: bool) -> Vec<u8> {
        build::echo(self.me.0, self.you.0, self.me.1, seq, data, reply, &self.head.borrow())
    }

    /// What the last TCP segment heard carried.
    pub fn payload(&self) -> Vec<u8> {
        let framed = build::ethernet([0; 6], [0; 6], &self.last.borrow());
        let Some(ip) = Frame::new(&framed).ip else { return Vec::new() };
        let header = framed.get(ip.l4 + 12).map_or(0, |b| usize::from(b >> 4) * 4);
        framed.get(ip.l4 + header..).unwrap_or_default().to_vec()
    }

    fn hear(&self, frame: &Frame<'_>) {
        let Some(ip) = &frame.ip else { return };
        self.last.replace(frame.data.get(ETH..ip.end).unwrap_or_default().to_vec());
        self.heard.set(self.heard.get() + 1);
        let (Some(flags), Some(seq)) = (frame.tcp_bits(), crate::oracle::frame::be32(frame.data, ip.l4 + 4)) else {
            return;
        };
        if ip.fragment.is_some() {
            return;
        }
        let header = frame.data.get(ip.l4 + 12).map_or(0, |b| usize::from(b >> 4) * 4);
        let marks = u32::from(flags & build::SYN != 0) + u32::from(flags & build::FIN != 0);
        let size = ip.end.saturating_sub(ip.l4 + header) as u32 + marks;
        if flags & build::SYN != 0 || seq.wrapping_sub(self.ack.get()) < 1 << 31 {
            self.ack.set(seq.wrapping_add(size));
        }
    }
}

/// Gives others their turn once.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
