//! What changes about devices while the gateway runs: they go down and up, are deleted and made again, get other addresses and MTUs;
//! and a changed host file adds and takes away some.

use super::plan::{Plan, plan_of};
use super::{Gateway, GatewayError, Port, now};
use crate::devices::{self, Again, Device, DeviceError, Missing};
use crate::host_file::{self, HostFile, Live, LiveInterface};
use crate::local::HOST;
use crate::neighbors::Neighbors;
use crate::seam::{Attendant, DeviceStats};
use hairpin_datapath::absent::Absent;
use hairpin_datapath::sys;
use hairpin_engine::Change;
use hairpin_engine::account::AccountRequest;
use hairpin_engine::setup::NewInterface;
use std::io;
use std::sync::Arc;

impl Gateway {
    /// Says how a device is reached, and why if the choice was ours.
    pub(super) fn introduce(&self, device: &Device) {
        let live = interface_of(&self.file, &device.name).map(|(_, live)| live);
        let why = live.and_then(|live| live.chosen.as_ref()).map(|why| format!(" (chosen: {why})")).unwrap_or_default();
        eprintln!("hairpin: {}: {}{why}", device.name, device.datapath.describe());
    }

    /// The kernel told that something about devices changed: what it says now is what the host is from now on.
    pub(super) fn follow_links(&mut self) {
        self.follow_existence();
        let mut file = self.written.clone();
        if let Err(error) = devices::complete(&mut file, Missing::Down) {
            eprintln!("hairpin: the kernel's devices cannot be followed: {error}");
            return;
        }
        // A device that is there but could not be opened is as good as down.
        for port in self.ports.iter().filter(|port| !port.trouble.is_empty()) {
            if let Some(interface) = file.setup.interfaces.iter_mut().find(|i| i.name == port.device.name) {
                interface.up = false;
            }
        }
        // Settings made by hand stay.
        file.setup.sysctls.clone_from(&self.file.setup.sysctls);
        if file.setup == self.file.setup {
            return;
        }
        let net = match file.net() {
            Ok(net) => net,
            Err(error) => return eprintln!("hairpin: the host cannot be made anew: {error}"),
        };
        let mut changed = Vec::new();
        for (n, (old, new)) in self.file.setup.interfaces.iter().zip(&file.setup.interfaces).enumerate() {
            if old != new {
                tell(old, new);
                changed.push((devices::index_of(&file.setup, n), old.up != new.up || old.mac != new.mac));
            }
        }
        self.file = file;
        // A change of the host cannot be refused.
        let _ = self.engine.apply(&now(), Change::Net(Arc::new(net)));
        self.settle_host();
        let net = Arc::clone(self.engine.state().net());
        for (dev, is_another_link) in changed {
            if is_another_link {
                self.neighbors.forget(dev);
            }
            Neighbors::announce(&net, dev, &mut self.work.deeds);
        }
        self.carry_out(&now());
    }

    /// Devices that were deleted are let go; those that were made again are opened again.
    fn follow_existence(&mut self) {
        let Gateway { ports, file, kit, .. } = &mut *self;
        let mut is_other = false;
        for port in ports.iter_mut() {
            let Some((interface, live)) = interface_of(file, &port.device.name).filter(|(_, live)| live.is_kernels())
            else {
                continue;
            };
            let there = sys::index_of(&port.device.name).ok();
            if there == port.device.kernels {
                continue;
            }
            is_other = true;
            if port.device.kernels.take().is_some() {
                eprintln!("hairpin: {} is gone", port.device.name);
                port.device.datapath = Box::new(Absent);
            }
            port.trouble.clear();
            if there.is_some() {
                match devices::open_one(interface, live, kit, Again::Yes) {
                    Ok(datapath) => {
                        eprintln!("hairpin: {} is there again: {}", port.device.name, datapath.describe());
                        port.device.datapath = datapath;
                        port.device.kernels = there;
                        (port.ready, port.failing) = (true, false);
                    }
                    Err(error) => {
                        let trouble = error.to_string();
                        if port.trouble != trouble {
                            eprintln!("hairpin: {} cannot be opened again: {trouble}", port.device.name);
                        }
                        port.trouble = trouble;
                    }
                }
            }
        }
        if is_other {
            self.watch();
        }
    }

    /// Reads the files anew, and puts everything in place or nothing.
    pub(super) fn reload(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let read = host_file::load(&path).map_err(GatewayError::HostFile);
        let plan = read.and_then(|mut file| {
            devices::keep_numbers(&mut file, &self.written);
            plan_of(file, Missing::Down)
        });
        let done = plan.and_then(|plan| {
            let mut attendants = std::mem::take(&mut self.attendants);
            let done = self.replan(plan, &mut attendants);
            attendants.iter_mut().for_each(|attendant| attendant.settle(done.is_ok()));
            self.attendants = attendants;
            done
        });
        self.stats.reloaded = Some((now().wall, done.is_ok()));
        match done {
            Ok(()) => eprintln!("hairpin: {} is in force anew", path.display()),
            Err(error) => eprintln!("hairpin: nothing was changed: {error}"),
        }
    }

    fn replan(&mut self, plan: Plan, attendants: &mut [Box<dyn Attendant>]) -> Result<(), GatewayError> {
        self.refuse_others(&plan.written)?;
        refuse_sections(&self.written.live, &plan.written.live).map_err(GatewayError::System)?;
        for attendant in attendants {
            attendant.prepare(&plan.written.live).map_err(|error| GatewayError::System(with_advice(error)))?;
        }
        let open: Vec<&str> = self.ports.iter().map(|port| port.device.name.as_str()).collect();
        let new =
            devices::open(&plan.file, &open, &mut self.kit).map_err(|error| GatewayError::Device(advise(error)))?;
        plan.notices.iter().for_each(|notice| eprintln!("{notice}"));
        let now = now();
        let Plan { written, file, setup, .. } = plan;
        // Those that are there already count on.
        for account in setup.accounts.iter() {
            let _ = self.engine.account(AccountRequest::Add(account.clone()));
        }
        for (n, rules) in [setup.rules4, setup.rules6].into_iter().enumerate() {
            if file.live.rules[n].is_some() {
                let _ = self.engine.apply(&now, Change::Rules(rules));
            }
        }
        let _ = self.engine.apply(&now, Change::Net(setup.net));
        (self.file, self.written) = (file, written);
        self.close_others();
        for device in new {
            self.introduce(&device);
            let (name, datapath) = (device.name.clone(), device.datapath.describe());
            self.stats.devices.push(DeviceStats { name, datapath, ..DeviceStats::default() });
            self.ports.push(Port::new(device));
        }
        self.map_ports();
        self.watch();
        self.settle_host();
        self.neighbors.forget_all();
        self.announce();
        Ok(())
    }

    /// An open device stays as it is open, or goes.
    fn refuse_others(&self, written: &HostFile) -> Result<(), GatewayError> {
        for port in &self.ports {
            let name = &port.device.name;
            let (Some(old), Some(new)) = (interface_of(&self.written, name), interface_of(written, name)) else {
                continue;
            };
            if !is_gone(new.1) && way(old) != way(new) {
                let text = "how it is reached cannot be changed while it is open: take it out of the file, SIGHUP, put it in again, \
                            SIGHUP; or restart";
                let error = io::Error::new(io::ErrorKind::Unsupported, text);
                return Err(GatewayError::Device(DeviceError { device: name.clone(), error }));
            }
        }
        Ok(())
    }

    /// Lets go of devices that the file does not open any more.
    fn close_others(&mut self) {
        for n in (0..self.ports.len()).rev() {
            let device = &self.ports[n].device;
            let stays =
                device.index == HOST || interface_of(&self.file, &device.name).is_some_and(|(_, l)| !is_gone(l));
            if !stays {
                eprintln!("hairpin: {} is let go", device.name);
                self.ports.remove(n);
                self.stats.devices.remove(n);
            }
        }
    }
}

fn interface_of<'a>(file: &'a HostFile, name: &str) -> Option<(&'a NewInterface, &'a LiveInterface)> {
    file.setup.interfaces.iter().zip(&file.live.interfaces).find(|(interface, _)| interface.name == name)
}

/// The file does not open it.
fn is_gone(live: &LiveInterface) -> bool {
    live.datapath == crate::host_file::DatapathKind::None
}

/// All that opening a device depends on.
fn way((interface, live): (&NewInterface, &LiveInterface)) -> impl PartialEq {
    let LiveInterface { datapath, netns, queues, threads, xdp, follow, capture, faults, pcap, .. } = live.clone();
    (interface.kind, datapath, netns, queues, threads, xdp, follow, capture, faults, pcap)
}

/// What is opened once, with rights that are given up afterwards, or known to others by then.
fn refuse_sections(old: &Live, new: &Live) -> io::Result<()> {
    let same = [
        ("[control]", (&old.control, &old.control_group) == (&new.control, &new.control_group)),
        ("[state]", (&old.state, old.state_interval) == (&new.state, new.state_interval)),
        ("[metrics]", old.metrics == new.metrics),
        ("[host]", old.host_device == new.host_device),
        ("[run]", (&old.user, old.processor) == (&new.user, new.processor)),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((section, _)) => {
            let text = format!("{section} is read at start only: restart the gateway to change it");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
        None => Ok(()),
    }
}

fn advise(error: DeviceError) -> DeviceError {
    DeviceError { device: error.device, error: with_advice(error.error) }
}

/// Most rights were given up when the gateway was ready.
fn with_advice(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            format!("{error}; rights were given up when the gateway was ready: restart it to open this"),
        ),
        _ => error,
    }
}

/// Says what is other about an interface.
fn tell(old: &NewInterface, new: &NewInterface) {
    let name = &new.name;
    if old.up != new.up {
        eprintln!("hairpin: {name} is {}", if new.up { "up" } else { "down" });
    }
    if old.mtu != new.mtu {
        eprintln!("hairpin: {name} has an MTU of {}", new.mtu);
    }
    if old.mac != new.mac {
        eprintln!("hairpin: {name} has the address {}", new.mac);
    }
    if old.addresses != new.addresses {
        let addresses: Vec<String> =
            new.addresses.iter().map(|a| format!("{}/{}", a.addr.display(a.family), a.prefix)).collect();
        eprintln!(
            "hairpin: {name} has {}",
            if addresses.is_empty() { "no addresses".to_owned() } else { addresses.join(" ") }
        );
    }
}
