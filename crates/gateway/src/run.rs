//! The loop: frames from devices, through the engine, to devices; and between two batches whatever else there is to do.

mod frame;
mod linger;
mod links;
mod plan;
mod way;

pub use plan::check;

use crate::devices::{self, Device, DeviceError, Missing};
use crate::host_file::{HostFile, HostFileError};
use crate::local::{self, HOST, Senders};
use crate::neighbors::{Deed, Neighbors};
use crate::queues::Queues;
use crate::rules::RulesError;
use crate::seam::{Attendant, DeviceStats, Handle, Inbox, Moment, Stats};
use crate::watch::Watchers;
use hairpin_datapath::Outgoing;
use hairpin_datapath::handover::Handover;
use hairpin_datapath::netlink::Netlink;
use hairpin_datapath::packet::Kit;
use hairpin_datapath::processor::Stay;
use hairpin_datapath::sys::{self, Signal, Signals, Waiter};
use hairpin_engine::event::Made;
use hairpin_engine::link::OpenPorts;
use hairpin_engine::net::IfIndex;
use hairpin_engine::rule::Compiled;
use hairpin_engine::setup::SetupError;
use hairpin_engine::{Engine, Fate, Instant, Now, Output, Packet, Wall};
use hairpin_wire::Family;
use linger::Linger;
use plan::{Plan, plan, plan_of};
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
            for (port, stats) in self.ports.iter_mut().zip(&mut self.stats.devices) {
                stats.missed += port.device.datapath.missed();
            }
            self.settle_on_processor();
            let mut attendants = std::mem::take(&mut self.attendants);
            for attendant in &mut attendants {
                attendant.tick(&mut self.moment());
            }
            self.attendants = attendants;
        }
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
