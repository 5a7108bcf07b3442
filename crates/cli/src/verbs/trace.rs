//! `hairpin trace`: what would happen to a packet, or what happens to the running gateway's.

use crate::applet::socket;
use crate::packet_words::{self, Said};
use crate::program::{Failure, Verb, say};
use crate::trace::{self, RuleTexts};
use crate::{host_file, live};
use hairpin_control::protocol::Request;
use hairpin_engine::link::OpenPorts;
use hairpin_engine::net::{IfIndex, IfName, LinkKind, Net};
use hairpin_engine::packet::{Origin, Sender};
use hairpin_engine::route::OutputKey;
use hairpin_engine::{Batch, Engine, Event, Fate, Now, Output, Packet, Setup};
use hairpin_gateway::watch::options::Options;
use hairpin_wire::{Family, ethernet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// The verb.
pub const VERB: Verb = Verb {
    name: "trace",
    about: "a packet's way through hooks, chains and rules: of one in words, or of the running gateway's",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin trace [--host FILE] [--rules FILE] [--rules6 FILE] [--sets FILE] [--json]
                     [--in DEVICE] PACKET [then [in DEVICE] PACKET | then reply] …
       hairpin trace --live [--count N] [--seconds N] [--rate N] [--json] [EXPRESSION]

Without --live: what would happen to a packet under a host file (gateway.toml, or what --host names) and its rules. No root, no
gateway. A PACKET is PROTOCOL SOURCE to DESTINATION, with ports behind addresses:

    hairpin trace --in lan0 udp 192.168.1.2:1234 to 1.1.1.1:53
    hairpin trace tcp 192.168.1.2:1234 to 203.0.113.9:80 then reply
    hairpin trace --in wan0 tcp '[2001:db8::1]:5000' to '[2001:db8:1::2]:22' syn ttl 3

  behind it           flags of tcp (syn if nothing is said): syn,ack; ttl N, tos N, data BYTES; of icmp: type N code N
  then                another packet afterwards; `then reply' is the answer to what left last
  --in DEVICE         where it arrives. Without it: where the way back goes, or from this host when the source is its own

With --live: packets of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock) as they come, until Ctrl-C. Nothing waits for who
reads: what comes faster than the rate or than it is read is left out, and counted.

  --count N           end after N packets
  --seconds N         end after N seconds
  --rate N            at most N packets a second (100)
  --json              one line of JSON for each packet

An EXPRESSION is in tcpdump's words: host ADDR, net ADDR/LENGTH, port N, portrange N-M, each with src or dst before it; tcp, udp, icmp,
icmp6, proto N, ip, ip6; in DEVICE, out DEVICE, on DEVICE; and, or, not, ( ). It fits a packet as it arrives or as it leaves: both
addresses of a translated one can be named. In a shell: hairpin trace --live 'host 10.0.0.2 and not port 22'
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match words.iter().position(|word| word == "--live") {
        Some(at) => {
            let mut words = words;
            words.remove(at);
            follow(&words)
        }
        None => account(&words),
    }
}

fn follow(words: &[String]) -> Result<(), Failure> {
    Options::of_trace(words).map_err(|why| Failure::usage(format!("trace: {why} (`hairpin help trace' says more)")))?;
    let outcome = live::ask_printing(&socket(), Request::verb("trace", words)).map_err(Failure::input)?;
    live::ended(&outcome)
}

/// What was said on the command line.
#[derive(Default)]
struct Asked {
    host: Option<PathBuf>,
    rules: [Option<PathBuf>; 2],
    sets: Option<PathBuf>,
    json: bool,
    packets: Vec<Said>,
}

fn parse(words: &[String]) -> Result<Asked, Failure> {
    let usage = |why: String| Failure::usage(format!("trace: {why} (`hairpin help trace' says more)"));
    let mut asked = Asked::default();
    let mut packet = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut file = || {
            let file = words.next().map(PathBuf::from);
            file.map(Some).ok_or_else(|| usage(format!("{word} needs a file behind it")))
        };
        match word.as_str() {
            "--host" => asked.host = file()?,
            "--rules" => asked.rules[0] = file()?,
            "--rules6" => asked.rules[1] = file()?,
            "--sets" => asked.sets = file()?,
            "--json" => asked.json = true,
            "--in" => packet.push("in".to_owned()),
            option if option.starts_with("--") => return Err(usage(format!("there is no option {option}"))),
            name if packet.is_empty() && asked.host.is_none() && name.ends_with(".toml") => {
                asked.host = Some(PathBuf::from(name));
            }
            _ => packet.push(word.clone()),
        }
    }
    asked.packets = packet_words::parse(&packet).map_err(usage)?;
    Ok(asked)
}

/// What would happen, from files.
fn account(words: &[String]) -> Result<(), Failure> {
    let asked = parse(words)?;
    let path = asked.host.clone().unwrap_or_else(|| PathBuf::from("gateway.toml"));
    let file = host_file::load(&path).map_err(|why| match asked.host {
        Some(_) => Failure::input(why),
        None => Failure::input(format!("{why} (--host FILE names another host file)")),
    })?;
    let mut setup = Setup::new(file.net().map_err(Failure::input)?);
    let now = Now::from_unix_nanos(jiff::Timestamp::now().as_nanosecond() as u64);
    if let Some(path) = &asked.sets {
        setup.sets = super::replay::read_sets(path, &now)?;
    }
    let names = crate::names::of_system().with_sets(&setup.sets);
    for (n, family) in [Family::V4, Family::V6].into_iter().enumerate() {
        let Some(path) = asked.rules[n].as_ref().or(file.live.rules[n].as_ref()) else { continue };
        let rules = super::replay::read_rules(path, family, &names)?;
        match family {
            Family::V4 => setup.rules4 = rules,
            Family::V6 => setup.rules6 = rules,
        }
    }
    if file.live.host_device.is_some() {
        setup.open_ports = OpenPorts::all();
    }
    let net = Arc::clone(&setup.net);
    let rules = RuleTexts::new([&setup.rules4, &setup.rules6]);
    let mut engine = Engine::new(setup, &now, super::replay::SEED);
    engine.set_resolving(true);
    engine.set_tracing(true);
    let mut left: Option<(IfIndex, Packet)> = None;
    let mut out = Output::default();
    for (n, said) in asked.packets.iter().enumerate() {
        let (dev, mut packet) = match said {
            Said::Packet { dev, ip } => arriving(&net, dev.as_deref(), ip)?,
            Said::Reply => {
                let (dev, packet) =
                    left.take().ok_or_else(|| Failure::input("trace: nothing left that could be answered"))?;
                let ip = packet_words::reply_to(&packet)
                    .ok_or_else(|| Failure::input(format!("trace: no answer to {} is known", packet.describe())))?;
                (dev, loaded(&net, dev, &ip)?)
            }
        };
        out.clear();
        let mut fates = [Fate::Held];
        engine.handle(&now, &mut Batch { packets: std::slice::from_mut(&mut packet), fates: &mut fates }, &mut out);
        let number = n as u64 + 1;
        let text = if asked.json {
            trace::json(&net, &rules, number, dev, now.wall.0, &out.trace)
        } else {
            trace::text(&net, &rules, number, dev, now.wall.0, &out.trace) + &logged(&out.events)
        };
        say(&text);
        let went = out.made.iter().map(|made| (made.fate, &made.packet)).chain([(fates[0], &packet)]);
        left = went.filter_map(|(fate, packet)| Some((oif(fate)?, packet.clone()))).next_back();
    }
    Ok(())
}

fn logged(events: &[Event]) -> String {
    let lines = events.iter().filter_map(|event| match event {
        Event::Log { line, .. } | Event::Trace(line) | Event::Kernel(line) => {
            Some(format!("    log: {}\n", line.trim_end()))
        }
        Event::Nflog(packet) => Some(format!("    NFLOG group {}: {}\n", packet.group, packet.prefix)),
        _ => None,
    });
    lines.collect()
}

const fn oif(fate: Fate) -> Option<IfIndex> {
    match fate {
        Fate::Transmit { oif, .. } | Fate::Resolve { oif } => Some(oif),
        Fate::Deliver | Fate::Drop(_) | Fate::Held => None,
    }
}

/// The packet at the device that it arrives by; 0 for this host's own.
fn arriving(net: &Net, dev: Option<&str>, ip: &[u8]) -> Result<(IfIndex, Packet), Failure> {
    let named = |name: &str| {
        let device = IfName::new(name).and_then(|name| net.interface_by_name(name));
        device.map(|device| device.index).ok_or_else(|| {
            let known: Vec<String> = net.interfaces.iter().map(|device| device.name.to_string()).collect();
            Failure::input(format!("trace: there is no device `{name}': there are {}", known.join(", ")))
        })
    };
    let packet = Packet::from_ip(ip).map_err(|why| Failure::input(format!("trace: {why:?}")))?;
    let dev = match dev {
        Some(name) => named(name)?,
        None => {
            let (family, src) = (packet.family(), packet.src());
            if net.interfaces.iter().any(|device| device.addresses.iter().any(|a| (a.family, a.addr) == (family, src)))
            {
                let mut packet = packet;
                packet.meta.origin = Origin::Local(Sender::None);
                return Ok((IfIndex(0), packet));
            }
            let back = net.route_output(&OutputKey::to(family, src));
            back.map_err(|_| {
                let src = src.display(family);
                Failure::input(format!("trace: no route leads back to {src}: say with --in where the packet arrives"))
            })?
            .oif
        }
    };
    Ok((dev, loaded(net, dev, ip)?))
}

/// The packet as this device hands it over.
fn loaded(net: &Net, dev: IfIndex, ip: &[u8]) -> Result<Packet, Failure> {
    let wrong = |why: &dyn std::fmt::Debug| Failure::input(format!("trace: {why:?}"));
    let Some(device) = net.interface(dev) else { return Err(wrong(&"no such device")) };
    let mut packet = Packet::default();
    if device.kind == LinkKind::Ethernet {
        let mut frame = device.mac.0.to_vec();
        // Some neighbor.
        frame.extend([2, 0, 0, 0, 0, 1]);
        let kind = if Family::of_packet(ip) == Some(Family::V6) { ethernet::IPV6 } else { ethernet::IPV4 };
        frame.extend(kind.to_be_bytes());
        frame.extend(ip);
        packet.load_frame(&frame).map_err(|why| wrong(&why))?;
    } else {
        packet.load_ip(ip).map_err(|why| wrong(&why))?;
    }
    packet.meta.iif = Some(dev);
    Ok(packet)
}
