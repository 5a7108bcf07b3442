//! `-j SYNPROXY` between a client and a server, segment by segment, as Linux 6.18 was seen to do it between namespaces. The router's own
//! sequence number and time stamp are chance there; here the test reads them off its answer, as the client does.

use hairpin_engine::engine::Batch;
use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::setup::Setup;
use hairpin_engine::{DropReason, Engine, Fate, Now, Output, Packet};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_wire::build::{Tcp, frame};
use hairpin_wire::tcp::{ACK, FIN, PSH, RST, SYN};
use hairpin_wire::{Addr, Family, Mac, checksum, ethernet, proto, tcp};
use std::sync::Arc;

const SERVER_SIDE: IfIndex = IfIndex(2);
const CLIENT_SIDE: IfIndex = IfIndex(3);
const CLIENT: (u32, u16) = (0x0a00_0102, 57160);
const SERVER: (u32, u16) = (0x0a00_0202, 80);
/// The client's first sequence number, and the server's.
const ISN: u32 = 2_404_121_339;
const SERVER_ISN: u32 = 1_008_830_564;
const CLIENT_STAMP: u32 = 2_754_271_637;
const SERVER_STAMP: u32 = 1_722_810_765;

/// What left: by which device, flags, sequence number, acknowledgement, window, options.
type Segment = (IfIndex, u8, u32, u32, u16, Vec<u8>);

struct World {
    engine: Engine,
    now: Now,
}

impl World {
    fn new() -> World {
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
        let mut engine = Engine::new(hairpin_engine::Setup::new(net()), &now, 1);
        let text = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -i eth1 -p tcp --syn -j CT --notrack\nCOMMIT\n\
                    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                    -A FORWARD -i eth1 -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --sack-perm --timestamp \
                    --wscale 7 --mss 1460\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n";
        let names = SystemNames::new();
        let options = RestoreOptions { file: "test", counters: false, noflush: false, table: None, names: &names };
        let restored = restore(&Ruleset::new(Family::V4), text.as_bytes(), &options).expect("good rules");
        let compiled = Compiled::new(restored.ruleset).expect("good rules");
        engine.apply(&now, hairpin_engine::Change::Rules(Arc::new(compiled))).expect("good rules");
        World { engine, now }
    }

    /// Sends a segment in; its fate, and what left.
    fn send(&mut self, from_client: bool, segment: &Tcp<'_>) -> (Fate, Vec<Segment>) {
        let (from, to, dev) = match from_client {
            true => (CLIENT, SERVER, CLIENT_SIDE),
            false => (SERVER, CLIENT, SERVER_SIDE),
        };
        let ip =
            Tcp { src_port: from.1, dst_port: to.1, ..*segment }.packet(Family::V4, Addr::v4(from.0), Addr::v4(to.0));
        let bytes = frame(Mac([2, 0, 0, 0, 0, dev.0 as u8 - 1]), Mac([2, 0, 0, 0, 0, 9]), ethernet::IPV4, &ip);
        let mut packet = Packet::from_frame(&bytes).expect("a good frame");
        packet.meta.iif = Some(dev);
        let (mut packets, mut fates, mut out) = ([packet], [Fate::Held], Output::default());
        self.engine.handle(&self.now, &mut Batch { packets: &mut packets, fates: &mut fates }, &mut out);
        let [packet] = packets;
        let mut all: Vec<Segment> = out.made.iter().filter_map(|made| left(&made.packet, made.fate)).collect();
        all.extend(left(&packet, fates[0]));
        (fates[0], all)
    }
}

fn left(packet: &Packet, fate: Fate) -> Option<Segment> {
    let Fate::Transmit { oif, .. } = fate else { return None };
    let mut packet = packet.clone();
    packet.complete_checksum();
    assert_eq!(checksum::transport(Family::V4, packet.src(), packet.dst(), proto::TCP, packet.l4()), 0, "its checksum");
    let to = if oif == CLIENT_SIDE { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    assert_eq!((packet.src(), packet.dst()), (Addr::v4(to.0.0), Addr::v4(to.1.0)));
    let tcp = tcp::Tcp::new(packet.l4()).expect("a TCP header");
    Some((oif, tcp.flags(), tcp.seq(), tcp.ack(), tcp.window(), tcp.options().to_vec()))
}

fn net() -> Net {
    let host = || {
        Setup::default()
            .ethernet("eth0", &["10.0.2.1/24"])?
            .ethernet("eth1", &["10.0.1.1/24"])?
            .neighbor("10.0.2.2 lladdr 02:00:00:00:00:20 dev eth0")?
            .neighbor("10.0.1.2 lladdr 02:00:00:00:00:30 dev eth1")?
            .sysctl("net.ipv4.ip_forward=1")?
            .sysctl("net.netfilter.nf_conntrack_tcp_loose=0")
    };
    host().expect("a good host").build().expect("a good host")
}

fn stamps(value: u32, echo: u32) -> Vec<u8> {
    let mut bytes = vec![1, 1, 8, 10];
    bytes.extend(value.to_be_bytes());
    bytes.extend(echo.to_be_bytes());
    bytes
}

fn all_options(value: u32, echo: u32, scale: u8) -> Vec<u8> {
    let mut bytes = vec![2, 4, 5, 0xb4, 4, 2];
    bytes.extend(&stamps(value, echo)[2..]);
    bytes.extend([1, 3, 3, scale]);
    bytes
}

fn word(options: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*options[at..].first_chunk().expect("an option"))
}

/// The client's SYN and the answer to it: sequence number and time stamp.
fn greet(world: &mut World) -> (u32, u32) {
    let options = all_options(CLIENT_STAMP, 0, 10);
    let syn = Tcp { seq: ISN, flags: SYN, window: 64240, options: &options, ..Tcp::default() };
    let (fate, left) = world.send(true, &syn);
    assert_eq!((fate, left.len()), (Fate::Held, 1), "the server hears nothing: {left:?}");
    let (oif, flags, cookie, ack, window, options) = left[0].clone();
    assert_eq!((oif, flags, ack, window), (CLIENT_SIDE, SYN | ACK, ISN + 1, 0));
    let stamp = word(&options, 8);
    assert_eq!(options, all_options(stamp, CLIENT_STAMP, 7));
    // The client's scale, and that it takes selective acknowledgements.
    assert_eq!(stamp & 0x3f, 0x1a);
    (cookie, stamp)
}

#[test]
fn a_client_comes_to_its_server() {
    let mut world = World::new();
    let (cookie, stamp) = greet(&mut world);
    assert_eq!(world.engine.state().tracker().conns.count(), 0, "nothing is remembered of it");
    let plain = stamps(CLIENT_STAMP, stamp);
    let ack = Tcp { seq: ISN + 1, ack: cookie + 1, flags: ACK, window: 63, options: &plain, ..Tcp::default() };
    let (fate, left) = world.send(true, &ack);
    let syn = (SERVER_SIDE, SYN, ISN, cookie, 63, all_options(CLIENT_STAMP, stamp, 10));
    assert_eq!((fate, left), (Fate::Held, vec![syn]));

    let options = all_options(SERVER_STAMP, CLIENT_STAMP, 10);
    let (seq, ack) = (SERVER_ISN, ISN + 1);
    let syn_ack = Tcp { seq, ack, flags: SYN | ACK, window: 65160, options: &options, ..Tcp::default() };
    let (fate, left) = world.send(false, &syn_ack);
    // The kernel moves the time that the server told once too often here; the server does not mind.
    let ahead = SERVER_STAMP.wrapping_sub(stamp);
    let to_server =
        (SERVER_SIDE, ACK, ISN + 1, SERVER_ISN + 1, 63, stamps(CLIENT_STAMP, SERVER_STAMP.wrapping_add(ahead)));
    let to_client = (CLIENT_SIDE, ACK, cookie + 1, ISN + 1, 63, stamps(stamp, CLIENT_STAMP));
    assert_eq!((fate, left), (Fate::Held, vec![to_server, to_client]));

    // From here on numbers and times are moved in what passes.
    let plain = stamps(CLIENT_STAMP + 13, stamp);
    let (seq, ack) = (ISN + 1, cookie + 1);
    let data = Tcp { seq, ack, flags: ACK | PSH, window: 63, options: &plain, payload: b"abc", ..Tcp::default() };
    let (_, left) = world.send(true, &data);
    let expected = (SERVER_SIDE, ACK | PSH, ISN + 1, SERVER_ISN + 1, 63, stamps(CLIENT_STAMP + 13, SERVER_STAMP));
    assert_eq!(left, [expected]);
    let plain = stamps(SERVER_STAMP + 14, CLIENT_STAMP + 13);
    let (seq, ack) = (SERVER_ISN + 1, ISN + 4);
    let data = Tcp { seq, ack, flags: ACK | PSH, window: 64, options: &plain, payload: b"hello abc", ..Tcp::default() };
    let (_, left) = world.send(false, &data);
    let expected = (CLIENT_SIDE, ACK | PSH, cookie + 1, ISN + 4, 64, stamps(stamp.wrapping_add(14), CLIENT_STAMP + 13));
    assert_eq!(left, [expected]);
}

#[test]
fn who_brings_no_cookie_is_not_let_in() {
    let mut world = World::new();
    let (cookie, stamp) = greet(&mut world);
    let plain = stamps(CLIENT_STAMP, stamp);
    let ack = |ack| Tcp { seq: ISN + 1, ack, flags: ACK, window: 63, options: &plain, ..Tcp::default() };
    let refused = (Fate::Drop(DropReason::SynCookie), vec![]);
    // Nearby numbers would be cookies that tell another segment size; these are none.
    assert_eq!(world.send(true, &ack(cookie.wrapping_add(10))), refused);
    assert_eq!(world.send(true, &ack(cookie.wrapping_add(1 << 20))), refused);
    // Nor with one that is two minutes old.
    world.now.mono.0 += 121_000_000_000;
    assert_eq!(world.send(true, &ack(cookie + 1)), refused);
    // Other segments are for the next rule.
    for flags in [FIN | ACK, RST, SYN | ACK] {
        let (fate, left) = world.send(true, &Tcp { flags, ..ack(cookie + 1) });
        assert_eq!((fate, left), (Fate::Drop(DropReason::Rule), vec![]), "{flags:x}");
    }
    assert_eq!(world.engine.state().tracker().conns.count(), 0);
}
