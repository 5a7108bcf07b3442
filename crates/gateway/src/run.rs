//! The loop: frames from devices, through the engine, to devices; and between two batches whatever else there is to do.

mod linger;
mod links;

use crate::devices::{self, Device, DeviceError, Missing};
use crate::host_file::{self, HostFile, HostFileError};
use crate::local::{self, HOST, Senders};
use crate::neighbors::{Deed, Neighbors};
use crate::queues::Queues;
use crate::rules::{self, RulesError};
use crate::seam::{Attendant, DeviceStats, Handle, Inbox, Moment, Stats};
use crate::watch::Watchers;
use hairpin_datapath::handover::Handover;
use hairpin_datapath::netlink::Netlink;
use hairpin_datapath::packet::Kit;
use hairpin_datapath::processor::Stay;
use hairpin_datapath::sys::{self, Signal, Signals, Waiter};
use hairpin_datapath::{Bytes, Caps, Outgoing, Received};
use hairpin_engine::event::Made;
use hairpin_engine::link::{OpenPorts, segment};
use hairpin_engine::net::{IfIndex, LinkKind, Net};
use hairpin_engine::packet::{GsoKind, Offload};
use hairpin_engine::rule::Compiled;
use hairpin_engine::setup::SetupError;
use hairpin_engine::{Batch, Engine, Fate, Instant, Now, Output, Packet, Setup, Wall};
use hairpin_wire::{Family, ethernet, icmp6, proto};
use linger::Linger;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Packets handled at once.
const BATCH: usize = 64;
/// Bytes handled at once, more or less: what was copied in is still in the processor's own cache when it is copied out. With 64
/// super-packets at once, bulk TCP is a tenth slower.
const BATCH_BYTES: usize = 256 << 10;
/// Rounds without a look at signals and news while packets keep coming.
const ROUNDS: u32 = 32;
/// What is waited for besides frames: [`Gateway::watch`].
const BEFORE_PORTS: usize = 3;
/// Between two ticks of the attendants.
const TICK: Duration = Duration::from_secs(1);

/// Why a gateway does not start.
#[derive(Debug)]
pub enum GatewayError {
    /// The host file.
    HostFile(HostFileError),
    /// The host.
    Host(SetupError),
    /// A rule file.
    Rules(RulesError),
    /// A device.
    Device(DeviceError),
    /// The system.
    System(io::Error),
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayError::HostFile(e) => e.fmt(f),
            GatewayError::Host(e) => e.fmt(f),
            GatewayError::Rules(e) => e.fmt(f),
            GatewayError::Device(e) => e.fmt(f),
            GatewayError::System(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for GatewayError {}

impl From<io::Error> for GatewayError {
    fn from(error: io::Error) -> GatewayError {
        GatewayError::System(error)
    }
}

/// A running gateway.
pub struct Gateway {
    /// None where the files were given as text: they cannot be read anew.
    path: Option<PathBuf>,
    /// The host file as it is in force, with what the kernel says of its devices.
    file: HostFile,
    /// The same as it was written.
    written: HostFile,
    /// For devices that come later.
    kit: Kit,
    engine: Engine,
    ports: Vec<Port>,
    /// The port of each device of the engine, by number.
    port_of: Vec<Option<usize>>,
    /// The tag of each device of the engine that is one.
    tag_of: Vec<Option<u16>>,
    /// The port of this machine's own traffic.
    host_port: Option<usize>,
    senders: Senders,
    /// For sockets of this machine that packets' addresses do not lead to.
    handover: Option<Handover>,
    /// The rules that `senders` knows.
    seen_rules: [Arc<Compiled>; 2],
    neighbors: Neighbors,
    attendants: Vec<Box<dyn Attendant>>,
    watchers: Watchers,
    queues: Queues,
    signals: Signals,
    news: Netlink,
    handle: Handle,
    inbox: Inbox,
    waiter: Waiter,
    stats: Stats,
    work: Work,
    next_tick: Instant,
    stay: Stay,
    linger: Linger,
    end: bool,
    /// Ctrl-C is for somebody else.
    pub ignores_interrupt: bool,
}

struct Port {
    device: Device,
    /// There may be more frames than were taken.
    ready: bool,
    /// Frames to take at once: fewer while they are long.
    limit: usize,
    /// The last read failed, and it was said.
    failing: bool,
    /// Why the device cannot be opened again, as it was said.
    trouble: String,
    /// Tags that it carries for other devices.
    vlans: Vec<(u16, IfIndex)>,
}

impl Port {
    fn new(device: Device) -> Port {
        Port { device, ready: true, limit: BATCH, failing: false, trouble: String::new(), vlans: Vec::new() }
    }
}

/// What a batch needs, kept and reused.
struct Work {
    packets: Vec<Packet>,
    fates: Vec<Fate>,
    out: Output,
    arps: Vec<(IfIndex, Vec<u8>)>,
    deeds: Vec<Deed>,
    /// Segments of super-packets that the way out does not take whole.
    cuts: Vec<Made>,
    /// The frames for each port; empty between two batches.
    lists: Vec<Vec<Outgoing<'static>>>,
}

fn now() -> Now {
    Now { mono: Instant(sys::monotonic_nanos()), wall: Wall(sys::wall_nanos()) }
}

/// What a host file asks for: the host with what its devices say themselves, and the rules.
struct Plan {
    written: HostFile,
    file: HostFile,
    setup: Setup,
    notices: Vec<String>,
}

fn plan(path: &Path) -> Result<Plan, GatewayError> {
    plan_of(host_file::load(path).map_err(GatewayError::HostFile)?, Missing::Refused)
}

fn plan_of(mut written: HostFile, missing: Missing) -> Result<Plan, GatewayError> {
    devices::settle_choices(&mut written);
    let mut file = written.clone();
    devices::complete(&mut file, missing).map_err(GatewayError::Device)?;
    let mut setup = Setup::new(file.net().map_err(GatewayError::Host)?);
    setup.accounts = file.accounts.clone();
    let mut notices = Vec::new();
    for (path, family) in file.live.rules.iter().zip([Family::V4, Family::V6]) {
        let Some(path) = path else { continue };
        let loaded = rules::read(path, family).map_err(GatewayError::Rules)?;
        notices.extend(loaded.notices);
        match family {
            Family::V4 => setup.rules4 = loaded.rules,
            Family::V6 => setup.rules6 = loaded.rules,
        }
    }
    Ok(Plan { written, file, setup, notices })
}

/// What a host file would do, in words, without doing it.
pub fn check(path: &Path) -> Result<String, GatewayError> {
    use std::fmt::Write as _;
    let Plan { file, setup, notices, .. } = plan(path)?;
    let mut text = String::new();
    for (interface, live) in file.setup.interfaces.iter().zip(&file.live.interfaces) {
        let choice = devices::choose(&interface.name, live);
        let addresses: Vec<String> =
            interface.addresses.iter().map(|a| format!("{}/{}", a.addr.display(a.family), a.prefix)).collect();
        let how = match &live.vlan {
            Some(vlan) => format!("VLAN {} on {}", vlan.id, vlan.parent),
            None => {
                let kind = format!("{:?}", choice.kind).to_lowercase();
                format!("{kind} ({}){}", choice.why, devices::serving(&interface.name, live))
            }
        };
        let up = if interface.up { "up" } else { "down" };
        let _ = writeln!(
            text,
            "interface {}: {how}; {up}, {}, mtu {}, {}",
            interface.name,
            interface.mac,
            interface.mtu,
            if addresses.is_empty() { "no addresses".to_owned() } else { addresses.join(" ") }
        );
    }
    let _ = writeln!(text, "{} routes, {} static neighbors", file.setup.routes.len(), setup.net.neighbors.len());
    for (rules, path) in [&setup.rules4, &setup.rules6].into_iter().zip(&file.live.rules) {
        let Some(path) = path else { continue };
        let count: usize = rules.tables().flat_map(|t| &t.chains).map(|c| c.rules.len()).sum();
        let _ = writeln!(text, "{}: {count} rules", path.display());
    }
    for notice in notices {
        let _ = writeln!(text, "{notice}");
    }
    Ok(text)
}

impl Gateway {
    /// Reads the host file and opens the devices. From here on signals are held back: call this before other threads are made.
    /// `prepare` may change what the file says before it is done.
    pub fn open(
        path: &Path,
        attendants: Vec<Box<dyn Attendant>>,
        prepare: impl FnOnce(&mut HostFile) -> io::Result<()>,
    ) -> Result<Gateway, GatewayError> {
        let mut plan = plan(path)?;
        prepare(&mut plan.file)?;
        plan.notices.drain(..).for_each(|notice| eprintln!("{notice}"));
        let mut gateway = Gateway::with_plan(plan, attendants)?;
        for port in &gateway.ports {
            gateway.introduce(&port.device);
        }
        gateway.path = Some(path.to_owned());
        Ok(gateway)
    }

    /// A gateway of a host file that was read already, with these IPv4 rules.
    pub fn with_rules(file: HostFile, rules4: Arc<Compiled>) -> Result<Gateway, GatewayError> {
        let mut plan = plan_of(file, Missing::Refused)?;
        plan.setup.rules4 = rules4;
        Gateway::with_plan(plan, Vec::new())
    }

    fn with_plan(plan: Plan, attendants: Vec<Box<dyn Attendant>>) -> Result<Gateway, GatewayError> {
        let Plan { written, file, setup, .. } = plan;
        let signals = Signals::catch()?;
        let news = Netlink::watch()?;
        let stay = Stay::new(file.live.processor)?;
        let mut kit = Kit::new();
        let mut devices = devices::open(&file, &[], &mut kit).map_err(GatewayError::Device)?;
        let mut setup = setup;
        if let Some(name) = &file.live.host_device {
            devices.push(local::open(name, &setup.net).map_err(GatewayError::Device)?);
            setup.open_ports = OpenPorts::all();
        }
        let handover = file.live.host_device.as_deref().and_then(local::hand_over);
        let senders = match file.live.host_device {
            Some(_) => Senders::open(file.live.user.clone())?,
            None => Senders::none(),
        };
        let seen_rules = [Arc::clone(&setup.rules4), Arc::clone(&setup.rules6)];
        let (handle, inbox) = Handle::new()?;
        let mut engine = Engine::new(setup, &now(), sys::random()?);
        engine.set_sockets(file.live.host_device.as_deref().and_then(local::sockets));
        engine.set_prefetch(hairpin_datapath::prefetch::line());
        engine.set_resolving(true);
        let mut stats = Stats::default();
        for device in &devices {
            let datapath = device.datapath.describe();
            stats.devices.push(DeviceStats { name: device.name.clone(), datapath, ..DeviceStats::default() });
        }
        let mut gateway = Gateway {
            path: None,
            file,
            written,
            kit,
            engine,
            ports: devices.into_iter().map(Port::new).collect(),
            port_of: Vec::new(),
            tag_of: Vec::new(),
            host_port: None,
            senders,
            handover,
            seen_rules,
            neighbors: Neighbors::default(),
            attendants,
            watchers: Watchers::default(),
            queues: Queues::default(),
            signals,
            news,
            handle,
            inbox,
            waiter: Waiter::default(),
            stats,
            work: Work {
                packets: (0..BATCH).map(|_| Packet::default()).collect(),
                fates: vec![Fate::Held; BATCH],
                out: Output::default(),
                arps: Vec::new(),
                deeds: Vec::new(),
                cuts: Vec::new(),
                lists: Vec::new(),
            },
            next_tick: now().mono + TICK,
            stay,
            linger: Linger::default(),
            end: false,
            ignores_interrupt: false,
        };
        gateway.map_ports();
        gateway.senders.learn_rules(gateway.engine.state());
        Ok(gateway)
    }

    fn map_ports(&mut self) {
        let devices = self.engine.state().net().interfaces.len();
        self.host_port = None;
        self.port_of = vec![None; devices + 1];
        self.tag_of = vec![None; devices + 1];
        for (n, port) in self.ports.iter_mut().enumerate() {
            port.vlans.clear();
            if port.device.index == HOST {
                self.host_port = Some(n);
            } else if let Some(place) = self.port_of.get_mut(port.device.index.0 as usize) {
                *place = Some(n);
            }
        }
        let setup = &self.file.setup;
        for (n, live) in self.file.live.interfaces.iter().enumerate() {
            let Some(vlan) = &live.vlan else { continue };
            let dev = devices::index_of(setup, n).0 as usize;
            let parent = self.ports.iter_mut().enumerate().find(|(_, port)| port.device.name == vlan.parent);
            if let Some((parent, port)) = parent {
                port.vlans.push((vlan.id, IfIndex(dev as u32)));
                self.port_of[dev] = Some(parent);
                self.tag_of[dev] = Some(vlan.id);
            }
        }
    }

    /// Adds one who serves beside the packets; before [`Gateway::run`].
    pub fn attend(&mut self, attendant: Box<dyn Attendant>) {
        self.attendants.push(attendant);
    }

    /// The way to this gateway from other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The host file as it is in force.
    pub fn file(&self) -> &HostFile {
        &self.file
    }

    /// Forwards until a signal says that it is enough. `ready` is called when everything is in place.
    pub fn run(&mut self, ready: impl FnOnce()) -> Result<(), GatewayError> {
        let mut attendants = std::mem::take(&mut self.attendants);
        let handle = self.handle.clone();
        for attendant in &mut attendants {
            attendant.start(&mut self.moment(), &handle)?;
        }
        self.attendants = attendants;
        let mut goes_on = !self.was_told_before();
        if goes_on {
            self.settle_on_processor();
            self.announce();
            ready();
            self.watch();
        }
        let mut rounds = 0;
        while goes_on {
            let busy = self.take_in_all() || rounds > 0 && self.linger();
            rounds += 1;
            if busy && rounds < ROUNDS {
                continue;
            }
            rounds = 0;
            goes_on = self.look_around(busy)?;
        }
        for mut attendant in std::mem::take(&mut self.attendants) {
            attendant.stop(&mut self.moment());
        }
        Ok(())
    }

    /// Signals that came before it began. Whoever Ctrl-C is for afterwards, so early it is for the gateway.
    fn was_told_before(&mut self) -> bool {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Stop | Signal::Interrupt => return true,
                Signal::Reload => self.reload(),
            }
        }
        false
    }

    /// Whether it ended because [`Moment::end`] said so, and not by a signal.
    pub fn was_told_to_end(&self) -> bool {
        self.end
    }

    fn moment(&mut self) -> Moment<'_> {
        Moment {
            engine: &mut self.engine,
            now: now(),
            neighbors: &mut self.neighbors,
            stats: &self.stats,
            setup: &mut self.file.setup,
            queues: &mut self.queues,
            watchers: &mut self.watchers,
            end: &mut self.end,
        }
    }

    /// Waits until there is something to do (not at all while packets keep coming), and does what is not packets. False: it is
    /// time to end.
    fn look_around(&mut self, busy: bool) -> Result<bool, GatewayError> {
        let timeout = if busy { Duration::ZERO } else { self.time_to_wait() };
        self.waiter.wait(timeout)?;
        let began = sys::monotonic_nanos();
        for (n, port) in self.ports.iter_mut().enumerate() {
            port.ready |= self.waiter.is_ready(BEFORE_PORTS + n);
        }
        if self.waiter.is_ready(0) {
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::Interrupt if self.ignores_interrupt => {}
                    Signal::Stop | Signal::Interrupt => return Ok(false),
                    Signal::Reload => self.reload(),
                }
            }
        }
        if self.waiter.is_ready(1) {
            let mut moment = Moment {
                engine: &mut self.engine,
                now: now(),
                neighbors: &mut self.neighbors,
                stats: &self.stats,
                setup: &mut self.file.setup,
                queues: &mut self.queues,
                watchers: &mut self.watchers,
                end: &mut self.end,
            };
            self.inbox.serve(&mut moment);
        }
        if self.waiter.is_ready(2) && self.news.drain() {
            self.follow_links();
        }
        if self.waiter.is_ready(1) || self.waiter.is_ready(2) {
            let now = now();
            self.work.out.events = self.engine.take_events(&now);
            self.tell_events(&now);
        }
        self.timers();
        self.go_on_from_queues();
        self.stats.note_pause(sys::monotonic_nanos().saturating_sub(began));
        Ok(!self.end)
    }

    /// What is waited for: signals, work from other threads, news of devices, frames.
    fn watch(&mut self) {
        let others = [self.signals.fd(), self.inbox.wake.fd(), self.news.fd()];
        debug_assert_eq!(others.len(), BEFORE_PORTS);
        let ports = self.ports.iter().map(|port| port.device.datapath.fd());
        self.waiter.watch(others.into_iter().chain(ports));
    }

    /// Stays on a processor, or goes on to another one.
    fn settle_on_processor(&mut self) {
        let alone = self.file.live.interfaces.iter().all(|live| live.threads != Some(true));
        self.stay.settle(alone);
    }

    fn time_to_wait(&self) -> Duration {
        let timers = [self.engine.poll_timeout(), self.neighbors.next_timeout(), Some(self.next_tick)];
        let first = timers.into_iter().flatten().min().unwrap_or(self.next_tick);
        // Rounded up: waking a little early would only mean to wait again.
        Duration::from_nanos(first.since(Instant(sys::monotonic_nanos()))) + Duration::from_micros(50)
    }

    fn timers(&mut self) {
        let now = now();
        if self.engine.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.work.out.clear();
            self.engine.handle_timeout(&now, &mut self.work.out);
            self.pass_on(0, &now);
        }
        if self.neighbors.next_timeout().is_some_and(|due| due <= now.mono) {
            let net = Arc::clone(self.engine.state().net());
            self.neighbors.timeout(&net, now.mono, &mut self.work.deeds);
            self.carry_out(&now);
        }
        if self.next_tick <= now.mono {
            self.next_tick = now.mono + TICK;
            self.settle_on_processor();
            let mut attendants = std::mem::take(&mut self.attendants);
            for attendant in &mut attendants {
                attendant.tick(&mut self.moment());
            }
            self.attendants = attendants;
        }
    }

    /// Takes frames from all devices that may have some. Whether there were any.
    fn take_in_all(&mut self) -> bool {
        let mut busy = false;
        for n in 0..self.ports.len() {
            if self.ports[n].ready {
                busy |= self.take_in(n);
            }
        }
        busy
    }

    /// Looks for more frames for a moment before going to sleep, where that pays. Whether there were any.
    fn linger(&mut self) -> bool {
        if !self.linger.is_worth_a_try() {
            return false;
        }
        let end = sys::monotonic_nanos() + linger::NANOS;
        let mut found = false;
        while !found && sys::monotonic_nanos() < end {
            self.ports.iter_mut().for_each(|port| port.ready = true);
            found = self.take_in_all();
        }
        self.linger.note(found);
        found
    }

    /// Takes frames from one device and lets the engine handle them. Whether there were any.
    fn take_in(&mut self, n: usize) -> bool {
        if self.host_port == Some(n) {
            self.watch_rules();
        }
        let Gateway { engine, ports, work, stats, senders, .. } = &mut *self;
        let Port { device, vlans, limit: limit_of, .. } = &mut ports[n];
        let (own, kind) = (device.index, device.kind);
        let counts = &mut stats.devices[n];
        let Work { packets, arps, .. } = work;
        let (mut count, mut bytes_in) = (0, 0);
        let limit = *limit_of;
        let got = device.datapath.recv(limit, &mut |mut received| {
            counts.received += 1;
            counts.received_bytes += received.bytes.as_slice().len() as u64;
            bytes_in += received.bytes.as_slice().len();
            if own == HOST {
                if let Some(packet) = packets.get_mut(count) {
                    count += usize::from(load_own(received, packet, senders));
                }
                return;
            }
            let mut scratch = Vec::new();
            let Received { bytes, offload, vlan } = &mut received;
            let mut received = Received { bytes: bytes.reborrow(), offload: *offload, vlan: *vlan };
            let dev = match tag_of(&mut received, kind, &mut scratch) {
                None | Some(0) => own,
                Some(tag) => match vlans.iter().find(|(id, _)| *id == tag) {
                    Some((_, dev)) => *dev,
                    None => return,
                },
            };
            if kind == LinkKind::Ethernet && is_arp(received.bytes.as_slice()) {
                arps.push((dev, received.bytes.as_slice().to_vec()));
            } else if let Some(packet) = packets.get_mut(count) {
                count += usize::from(load(engine, dev, received, packet));
            }
        });
        let port = &mut ports[n];
        match got {
            Ok(got) => {
                port.ready = got == limit;
                port.limit = match bytes_in {
                    0..=BATCH_BYTES => {
                        if got == limit {
                            (limit * 2).min(BATCH)
                        } else {
                            limit
                        }
                    }
                    _ => (limit * BATCH_BYTES / bytes_in).max(1),
                };
                port.failing = false;
            }
            Err(error) => {
                port.ready = false;
                if !std::mem::replace(&mut port.failing, true) {
                    eprintln!("hairpin: {}: {error}", port.device.name);
                }
            }
        }
        let busy = count > 0 || !self.work.arps.is_empty();
        if busy {
            let now = now();
            self.hear_arps(&now);
            self.handle_batch(count, &now);
        }
        busy
    }

    fn hear_arps(&mut self, now: &Now) {
        if self.work.arps.is_empty() {
            return;
        }
        let net = Arc::clone(self.engine.state().net());
        for (dev, frame) in self.work.arps.drain(..) {
            self.neighbors.arp(&net, now.mono, dev, &frame, &mut self.work.deeds);
        }
        self.carry_out(now);
    }

    /// The first `count` packets go through the engine, and where they are to go.
    fn handle_batch(&mut self, count: usize, now: &Now) {
        if count == 0 {
            return;
        }
        let Work { packets, fates, out, .. } = &mut self.work;
        out.clear();
        let (packets, fates) = (&mut packets[..count], &mut fates[..count]);
        if !self.watchers.is_empty() {
            let watched = self.watchers.before(&self.engine, packets, now.mono);
            self.engine.trace_in_next_batch(watched);
        }
        self.engine.handle(now, &mut Batch { packets, fates }, out);
        self.stats.batches += 1;
        self.stats.packets += count as u64;
        let size = count.next_power_of_two().trailing_zeros() as usize;
        self.stats.batch_sizes[size.min(9)] += 1;
        self.pass_on(count, now);
        self.go_on_from_queues();
        self.stats.note_batch(count, sys::monotonic_nanos().saturating_sub(now.mono.0));
    }

    /// Everything that came out of the engine goes its way: what it made first, then the packet that caused it.
    fn pass_on(&mut self, count: usize, now: &Now) {
        self.tell_events(now);
        if !self.work.out.queued.is_empty() {
            self.queues.take(&mut self.work.out.queued, self.engine.state().net(), now);
        }
        self.find_next_hops(count, now);
        if !self.watchers.is_empty() {
            let Work { packets, fates, out, cuts, .. } = &self.work;
            self.watchers.after(&self.engine, &packets[..count], &fates[..count], out, cuts, now);
        }
        self.transmit(count);
        if !self.work.deeds.is_empty() {
            self.carry_out(now);
        }
    }

    /// Packets that a queue's listener decided about, or that found no room there, go on.
    fn go_on_from_queues(&mut self) {
        while let Some((queued, decision)) = self.queues.next_decided() {
            let now = now();
            self.work.out.clear();
            self.engine.resume(&now, queued, decision, &mut self.work.out);
            self.pass_on(0, &now);
        }
    }

    fn tell_events(&mut self, now: &Now) {
        let events = std::mem::take(&mut self.work.out.events);
        if !events.is_empty() {
            for attendant in &mut self.attendants {
                attendant.events(&self.engine, now, &events);
            }
        }
        self.work.out.events = events;
        self.work.out.events.clear();
    }

    /// Packets whose next hop is known get their link header; the others wait. What is for this host is taken.
    fn find_next_hops(&mut self, count: usize, now: &Now) {
        let Gateway { engine, work, neighbors, stats, ports, port_of, tag_of, host_port, .. } = &mut *self;
        let Work { packets, fates, out, deeds, cuts, .. } = work;
        cuts.clear();
        let net = engine.state().net();
        let made = out.made.iter_mut().map(|made| (made.cause, &mut made.packet, &mut made.fate));
        let batch = packets.iter_mut().zip(fates.iter_mut()).take(count).enumerate();
        for (cause, packet, fate) in batch.map(|(n, (packet, fate))| (n, packet, fate)).chain(made) {
            match *fate {
                Fate::Resolve { oif } => {
                    *fate = match neighbors.resolve(net, now.mono, oif, packet, deeds) {
                        Some(mac) => address(packet, net, oif, mac),
                        None => Fate::Held,
                    };
                }
                Fate::Deliver => {
                    stats.delivered += 1;
                    if is_discovery(packet) {
                        neighbors.discovery(net, now.mono, packet, deeds);
                        *fate = Fate::Held;
                    } else if let Some(port) = *host_port
                        && packet.meta.offload != Offload::default()
                        && (!finish(packet, ports[port].device.datapath.caps()) || local::needs_cut(packet))
                    {
                        cuts.extend(segment(packet).into_iter().map(|packet| Made { packet, fate: *fate, cause }));
                        *fate = Fate::Held;
                    }
                }
                Fate::Transmit { .. } | Fate::Drop(_) | Fate::Held => {}
            }
            if let Fate::Transmit { oif, .. } = *fate
                && let Some(tag) = tag_of.get(oif.0 as usize).copied().flatten()
            {
                packet.insert_tag(tag);
            }
            if let Fate::Transmit { oif, .. } = *fate
                && packet.meta.offload != Offload::default()
                && let Some(port) = port_of.get(oif.0 as usize).copied().flatten()
                && !finish(packet, ports[port].device.datapath.caps())
            {
                cuts.extend(segment(packet).into_iter().map(|packet| Made { packet, fate: *fate, cause }));
                *fate = Fate::Held;
            }
        }
    }

    /// Packets that are for a socket of this machine in particular say so.
    fn address_sockets(&mut self, count: usize) {
        let Work { packets, fates, out, cuts, .. } = &mut self.work;
        let batch = packets.iter_mut().zip(&*fates).take(count);
        let made = out.made.iter_mut().chain(cuts).map(|made| (&mut made.packet, &made.fate));
        batch
            .chain(made)
            .filter(|(_, fate)| **fate == Fate::Deliver)
            .for_each(|(packet, _)| local::address_socket(packet));
    }

    /// Hands the devices their frames.
    fn transmit(&mut self, count: usize) {
        if self.handover.as_ref().is_some_and(|handover| handover.lacks().is_none()) {
            self.address_sockets(count);
        }
        let Gateway { work, ports, port_of, stats, host_port, .. } = &mut *self;
        let Work { packets, fates, out, cuts, lists, .. } = &mut *work;
        lists.resize_with(ports.len(), Vec::new);
        let mut frames: Vec<Vec<Outgoing<'_>>> = std::mem::take(lists).into_iter().map(emptied).collect();
        let mut put = |packet, fate: &Fate| {
            let (port, frame) = match fate {
                Fate::Transmit { oif, .. } => (port_of.get(oif.0 as usize).copied().flatten(), outgoing(packet)),
                Fate::Deliver => (*host_port, to_host(packet)),
                _ => return,
            };
            if let Some(frames) = port.and_then(|port| frames.get_mut(port)) {
                frames.push(frame);
            }
        };
        let mut made = out.made.iter().peekable();
        let mut cuts = cuts.iter().peekable();
        for (n, (packet, fate)) in packets.iter().zip(fates.iter()).take(count).enumerate() {
            while let Some(made) = made.next_if(|made| made.cause <= n) {
                put(&made.packet, &made.fate);
            }
            while let Some(cut) = cuts.next_if(|cut| cut.cause <= n) {
                put(&cut.packet, &cut.fate);
            }
            put(packet, fate);
        }
        made.chain(cuts).for_each(|made| put(&made.packet, &made.fate));
        for ((port, frames), stats) in ports.iter_mut().zip(&frames).zip(&mut stats.devices) {
            if !frames.is_empty() {
                send(port, frames, stats);
            }
        }
        *lists = frames.into_iter().map(emptied).collect();
    }

    /// Does what neighbors asked for, until they ask for nothing more.
    fn carry_out(&mut self, now: &Now) {
        for _ in 0..4 {
            let deeds = std::mem::take(&mut self.work.deeds);
            if deeds.is_empty() {
                return;
            }
            for deed in deeds {
                self.carry_out_one(deed, now);
            }
        }
    }

    fn carry_out_one(&mut self, deed: Deed, now: &Now) {
        match deed {
            Deed::Frame(dev, frame) => self.send_frame(dev, &Outgoing::complete(&frame)),
            Deed::Forward { dev, to, mut packet } => {
                let net = Arc::clone(self.engine.state().net());
                let fate = address(&mut packet, &net, dev, to);
                self.work.out.clear();
                self.work.out.made.push(Made { packet, fate, cause: 0 });
                self.pass_on(0, now);
            }
            Deed::Send(packet) => {
                self.work.out.clear();
                let (mut packets, mut fates) = ([packet], [Fate::Held]);
                let mut batch = Batch { packets: &mut packets, fates: &mut fates };
                self.engine.handle(now, &mut batch, &mut self.work.out);
                let [packet] = packets;
                self.work.out.made.push(Made { packet, fate: fates[0], cause: 0 });
                self.pass_on(0, now);
            }
            Deed::Unreachable(packet) => {
                self.work.out.clear();
                self.engine.unresolved(now, &packet, &mut self.work.out);
                self.pass_on(0, now);
            }
        }
    }

    fn send_frame(&mut self, dev: IfIndex, frame: &Outgoing<'_>) {
        let Some(n) = self.port_of.get(dev.0 as usize).copied().flatten() else { return };
        let mut tagged = Vec::new();
        let frame = match (self.tag_of.get(dev.0 as usize).copied().flatten(), frame.bytes.split_at_checked(12)) {
            (Some(tag), Some((macs, rest))) => {
                tagged.extend_from_slice(macs);
                tagged.extend_from_slice(&[0x81, 0x00]);
                tagged.extend_from_slice(&tag.to_be_bytes());
                tagged.extend_from_slice(rest);
                &Outgoing::complete(&tagged)
            }
            _ => frame,
        };
        send(&mut self.ports[n], std::slice::from_ref(frame), &mut self.stats.devices[n]);
    }

    /// Tells every link who we are there.
    fn announce(&mut self) {
        let net = Arc::clone(self.engine.state().net());
        for n in 0..self.ports.len() {
            Neighbors::announce(&net, self.ports[n].device.index, &mut self.work.deeds);
        }
        self.carry_out(&now());
    }

    /// Whether rules ask for owners is looked at when they are others than before.
    fn watch_rules(&mut self) {
        let state = self.engine.state();
        let rules = [state.rules(Family::V4), state.rules(Family::V6)];
        if !rules.iter().zip(&self.seen_rules).all(|(a, b)| Arc::ptr_eq(a, b)) {
            self.seen_rules = rules.map(Arc::clone);
            self.senders.learn_rules(state);
        }
    }

    /// This machine's own device has the addresses of the host as it is now.
    fn settle_host(&self) {
        if let Some(name) = &self.file.live.host_device
            && let Err(error) = local::settle(name, self.engine.state().net())
        {
            eprintln!("hairpin: {name}: {error}");
        }
    }
}

/// Takes a frame into a packet; false when it is none.
fn load(engine: &mut Engine, dev: IfIndex, received: Received<'_>, packet: &mut Packet) -> bool {
    match received.bytes {
        Bytes::Own(bytes) => engine.take_frame(dev, bytes, received.offload, packet).is_ok(),
        Bytes::Shared(bytes) => engine.read_frame(dev, bytes, received.offload, packet).is_ok(),
    }
}

/// Takes a packet of this machine.
fn load_own(received: Received<'_>, packet: &mut Packet, senders: &mut Senders) -> bool {
    let read = match received.bytes {
        Bytes::Own(bytes) => packet.swap_ip(bytes),
        Bytes::Shared(bytes) => packet.load_ip(bytes),
    };
    packet.meta.offload = received.offload;
    senders.mark(packet, sys::monotonic_nanos());
    read.is_ok()
}

/// The VLAN tag of a frame, which is taken out.
fn tag_of<'a>(received: &mut Received<'a>, kind: LinkKind, scratch: &'a mut Vec<u8>) -> Option<u16> {
    if kind != LinkKind::Ethernet || received.vlan.is_some() {
        return received.vlan.map(|tag| tag & 0xfff);
    }
    let &[a, b, high, low] = received.bytes.as_slice().get(12..16)? else { return None };
    if u16::from_be_bytes([a, b]) != ethernet::VLAN {
        return None;
    }
    match &mut received.bytes {
        Bytes::Own(bytes) => drop(bytes.drain(12..16)),
        Bytes::Shared(bytes) => {
            scratch.extend_from_slice(&bytes[..12]);
            scratch.extend_from_slice(&bytes[16..]);
            received.bytes = Bytes::Own(scratch);
        }
    }
    Some(u16::from_be_bytes([high, low]) & 0xfff)
}

/// A packet for this machine, as its TUN device takes it.
fn to_host(packet: &Packet) -> Outgoing<'_> {
    Outgoing {
        bytes: packet.ip(),
        offload: packet.meta.offload,
        network: 0,
        transport: packet.head().l4,
        protocol: packet.protocol(),
    }
}

fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ethernet::ARP.to_be_bytes())
}

fn is_discovery(packet: &Packet) -> bool {
    packet.family() == Family::V6
        && packet.protocol() == proto::ICMPV6
        && matches!(packet.l4().first(), Some(&icmp6::NEIGHBOUR_SOLICITATION | &icmp6::NEIGHBOUR_ADVERTISEMENT))
}

fn address(packet: &mut Packet, net: &Net, oif: IfIndex, mac: hairpin_wire::Mac) -> Fate {
    let Some(device) = net.interface(oif) else { return Fate::Held };
    packet.set_link_header(mac, device.mac);
    Fate::Transmit { oif, to: Some(mac) }
}

/// Does what the way out does not do of what is left to do, as far as that needs no cutting. False: the packet is to be cut.
fn finish(packet: &mut Packet, caps: Caps) -> bool {
    match packet.meta.offload.gso.map(|gso| gso.kind) {
        Some(GsoKind::Tcp) if !caps.tcp_segmentation => return false,
        Some(GsoKind::Udp) if !caps.udp_segmentation => return false,
        _ => {}
    }
    if caps.checksum {
        packet.settle_checksum();
    } else {
        packet.complete_checksum();
    }
    true
}

fn outgoing(packet: &Packet) -> Outgoing<'_> {
    let network = packet.link_header().len();
    Outgoing {
        bytes: packet.frame(),
        offload: packet.meta.offload,
        network,
        transport: network + packet.head().l4,
        protocol: packet.protocol(),
    }
}

/// The same list without its frames, for other ones: collecting in place keeps its memory.
fn emptied<'a>(mut list: Vec<Outgoing<'_>>) -> Vec<Outgoing<'a>> {
    list.clear();
    list.into_iter().map(|_| Outgoing::complete(&[])).collect()
}

fn send(port: &mut Port, frames: &[Outgoing<'_>], stats: &mut DeviceStats) {
    let sent = port.device.datapath.send(frames).unwrap_or(0);
    stats.sent += sent as u64;
    stats.lost += (frames.len() - sent.min(frames.len())) as u64;
    stats.sent_bytes += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
}
