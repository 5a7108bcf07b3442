//! Opening the devices of a host file.

use crate::host_file::{DatapathKind, HostFile, LiveInterface, XdpMode};
use hairpin_datapath::packet::PacketSocket;
use hairpin_datapath::tap::{Kind, Tap};
use hairpin_datapath::xdp::{Mode, Xdp};
use hairpin_datapath::{Datapath, sys};
use hairpin_engine::net::{IfIndex, LinkKind};
use hairpin_engine::setup::{NewInterface, Setup};
use hairpin_wire::Mac;
use std::fmt;
use std::io;

/// A device that cannot be opened.
#[derive(Debug)]
pub struct DeviceError {
    /// Its name.
    pub device: String,
    /// Why, and what to do.
    pub error: io::Error,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface {}: {}", self.device, self.error)
    }
}

impl std::error::Error for DeviceError {}

/// An open device.
pub struct Device {
    /// Its number in the engine.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// How its frames look.
    pub kind: LinkKind,
    /// Where they come from and go to.
    pub datapath: Box<dyn Datapath>,
    /// The device exists without us: the kernel can say whether it is up.
    pub is_kernels: bool,
}

/// How a device will be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The datapath.
    pub kind: DatapathKind,
    /// Why, where the file leaves the choice.
    pub why: &'static str,
}

/// Chooses the datapath of a device.
pub fn choose(name: &str, live: &LiveInterface) -> Choice {
    match live.datapath {
        DatapathKind::Auto => match sys::device(name) {
            Ok(facts) if facts.ethernet => {
                Choice { kind: DatapathKind::Packet, why: "the device exists; packet sockets keep super-packets whole" }
            }
            Ok(_) => Choice { kind: DatapathKind::Packet, why: "the device exists" },
            Err(_) => Choice { kind: DatapathKind::Tap, why: "no such device exists, so it is made" },
        },
        kind => Choice { kind, why: "the file says so" },
    }
}

/// The number that the engine gives the n-th interface of a host file: `lo` is 1, the others count from 2.
pub fn index_of(setup: &Setup, n: usize) -> IfIndex {
    let before = setup.interfaces.iter().take(n).filter(|i| i.name != "lo").count();
    if setup.interfaces.get(n).is_some_and(|i| i.name == "lo") { IfIndex(1) } else { IfIndex(before as u32 + 2) }
}

/// Takes from the kernel's devices what the file leaves out: link address, MTU, whether they are up.
pub fn complete(file: &mut HostFile) -> Result<(), DeviceError> {
    let fail = |name: &str, error| DeviceError { device: name.to_owned(), error };
    for (interface, live) in file.setup.interfaces.iter_mut().zip(&file.live.interfaces) {
        if !matches!(choose(&interface.name, live).kind, DatapathKind::Packet | DatapathKind::Xdp) {
            continue;
        }
        let facts = sys::device(&interface.name).map_err(|e| fail(&interface.name, e))?;
        if !facts.ethernet {
            let text = "it has no Ethernet headers; only Ethernet devices can be opened";
            return Err(fail(&interface.name, io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        if !live.has_mac {
            interface.mac = Mac(facts.mac);
        }
        if !live.has_mtu {
            interface.mtu = facts.mtu;
        }
        interface.up &= facts.up;
    }
    complete_vlans(file);
    for interface in &mut file.setup.interfaces {
        add_link_local(interface);
    }
    Ok(())
}

/// A VLAN has its parent's link address and MTU, and is up with it.
fn complete_vlans(file: &mut HostFile) {
    let parents = file.setup.interfaces.clone();
    for (interface, live) in file.setup.interfaces.iter_mut().zip(&file.live.interfaces) {
        let Some(parent) = live.vlan.as_ref().and_then(|v| parents.iter().find(|p| p.name == v.parent)) else {
            continue;
        };
        if !live.has_mac {
            interface.mac = parent.mac;
        }
        if !live.has_mtu {
            interface.mtu = parent.mtu;
        }
        interface.up &= parent.up;
    }
}

/// Every IPv6 device has a link-local address; neighbors and routers talk by it.
fn add_link_local(interface: &mut NewInterface) {
    use hairpin_wire::{Addr, Family};
    let has_v6 = interface.addresses.iter().any(|a| a.family == Family::V6);
    let has_local = interface.addresses.iter().any(|a| a.family == Family::V6 && a.addr.is_link_local(Family::V6));
    if interface.name == "lo" || interface.kind != LinkKind::Ethernet || !has_v6 || has_local {
        return;
    }
    let [a, b, c, d, e, f] = interface.mac.0;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let addr = Addr((0xfe80 << 112) | u128::from(id));
    let local =
        hairpin_engine::setup::NewAddress { family: Family::V6, addr, prefix: 64, scope: None, broadcast: None };
    interface.addresses.push(local);
}

const fn mode(mode: XdpMode) -> Mode {
    match mode {
        XdpMode::Auto => Mode::Auto,
        XdpMode::Native => Mode::Native,
        XdpMode::Generic => Mode::Generic,
    }
}

/// Opens every device that the file gives a datapath. `file` is [`complete`].
pub fn open(file: &HostFile) -> Result<Vec<Device>, DeviceError> {
    let mut devices = Vec::new();
    for (n, (interface, live)) in file.setup.interfaces.iter().zip(&file.live.interfaces).enumerate() {
        let name = &interface.name;
        let netns = live.netns.as_deref();
        let choice = choose(name, live);
        let opened: io::Result<Box<dyn Datapath>> = match choice.kind {
            DatapathKind::None | DatapathKind::Auto => continue,
            DatapathKind::Packet => PacketSocket::open(name).map(|socket| Box::new(socket) as _),
            DatapathKind::Tap => Tap::create(name, Kind::Tap, netns, interface.mtu).map(|tap| Box::new(tap) as _),
            DatapathKind::Tun => Tap::create(name, Kind::Tun, netns, interface.mtu).map(|tun| Box::new(tun) as _),
            DatapathKind::Xdp => Xdp::open(name, mode(live.xdp)).map(|xdp| Box::new(xdp) as _),
        };
        let datapath = opened.map_err(|error| DeviceError { device: name.clone(), error })?;
        devices.push(Device {
            index: index_of(&file.setup, n),
            name: name.clone(),
            kind: interface.kind,
            datapath,
            is_kernels: matches!(choice.kind, DatapathKind::Packet | DatapathKind::Xdp),
        });
    }
    Ok(devices)
}
