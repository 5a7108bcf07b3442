//! The devices of a host file: how each is reached, what the kernel says of it, and opening it.

use crate::host_file::{DatapathKind, HostFile, LiveInterface, XdpMode};
use hairpin_datapath::capture::LinkType;
use hairpin_datapath::fault::Faulty;
use hairpin_datapath::features::xdp_features;
use hairpin_datapath::kernel_routes::{self, KernelRoute};
use hairpin_datapath::netlink::{self, KernelAddress};
use hairpin_datapath::packet::{Kit, PacketSocket};
use hairpin_datapath::pcap::Pcap;
use hairpin_datapath::queues::{InTurn, Threads};
use hairpin_datapath::record::Recorded;
use hairpin_datapath::sys::DeviceFacts;
use hairpin_datapath::tap::{Kind, Tap};
use hairpin_datapath::xdp::{self, Mode, Xdp};
use hairpin_datapath::{Datapath, sys};
use hairpin_engine::net::{IfIndex, LinkKind};
use hairpin_engine::setup::{NewAddress, NewHop, NewInterface, NewRoute, Setup};
use hairpin_wire::{Addr, Family, Mac, pcapng};
use std::fmt;
use std::io;
use std::path::Path;

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

fn failed(name: &str) -> impl FnOnce(io::Error) -> DeviceError {
    move |error| DeviceError { device: name.to_owned(), error }
}

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
    /// The kernel's number of a device that exists without us, while it does: the kernel says whether it is up.
    pub kernels: Option<u32>,
}

/// How a device will be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The datapath.
    pub kind: DatapathKind,
    /// Why.
    pub why: String,
}

/// How a device is reached.
pub fn choose(name: &str, live: &LiveInterface) -> Choice {
    let choice = |kind, why: &str| Choice { kind, why: why.to_owned() };
    match (live.datapath, &live.chosen) {
        (DatapathKind::Auto, _) => match sys::device(name) {
            Ok(_) if live.follow => {
                choice(DatapathKind::Packet, "it is followed, and a DHCP client must hear its answers")
            }
            Ok(facts) => suitable(name, &facts),
            Err(_) => choice(DatapathKind::Tap, "no such device exists, so it is made"),
        },
        (kind, Some(why)) => choice(kind, why),
        (kind, None) => choice(kind, "the file says so"),
    }
}

/// AF_XDP where the driver runs programs; a packet socket where that would cost more than it gives.
fn suitable(name: &str, facts: &DeviceFacts) -> Choice {
    let packet = |why: String| Choice { kind: DatapathKind::Packet, why };
    // Somebody on this machine is at the other end, and does not cut what he sends.
    if !Path::new(&format!("/sys/class/net/{name}/device")).exists() {
        return packet(
            "packet sockets keep the super-packets whole that a virtual device's other end sends".to_owned(),
        );
    }
    if facts.mtu > xdp::MAX_MTU {
        return packet(format!("packets of {} bytes are too long for AF_XDP", facts.mtu));
    }
    match xdp_features(facts.index) {
        Ok(features) if features.native() => {
            let copies = if features.zero_copy() { " and hands frames over without copying" } else { "" };
            Choice { kind: DatapathKind::Xdp, why: format!("the driver runs XDP programs{copies}") }
        }
        Ok(_) => packet("the driver runs no XDP programs".to_owned()),
        Err(error) => packet(format!("whether the driver runs XDP programs is not known: {error}")),
    }
}

/// Makes the choices that the file leaves, for as long as the gateway runs.
pub fn settle_choices(file: &mut HostFile) {
    for (interface, live) in file.setup.interfaces.iter().zip(&mut file.live.interfaces) {
        if live.datapath == DatapathKind::Auto {
            let Choice { kind, why } = choose(&interface.name, live);
            (live.datapath, live.chosen) = (kind, Some(why));
        }
    }
    let enough = are_cores_enough(file);
    for (interface, live) in file.setup.interfaces.iter().zip(&mut file.live.interfaces) {
        let count = queues_of(&interface.name, live);
        live.threads = live.threads.or_else(|| (count > 0).then_some(count > 1 && enough));
    }
}

/// Queues that will be opened; 0 where there are none.
fn queues_of(name: &str, live: &LiveInterface) -> usize {
    match (live.datapath, live.queues) {
        (DatapathKind::None | DatapathKind::Pcap, _) => 0,
        (_, Some(count)) => usize::from(count),
        (DatapathKind::Xdp, None) => xdp::queues_of(name) as usize,
        _ => 1,
    }
}

/// Whether a thread for each queue, and the loop, have a processor each. Threads that share one with the loop only add wake-ups.
fn are_cores_enough(file: &HostFile) -> bool {
    let interfaces = file.setup.interfaces.iter().zip(&file.live.interfaces);
    let queues: usize = interfaces.map(|(interface, live)| queues_of(&interface.name, live)).sum();
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > queues)
}

/// How a device's queues are served, for people; nothing where there is one, in the usual way.
pub fn serving(name: &str, live: &LiveInterface) -> String {
    match (queues_of(name, live), live.threads == Some(true)) {
        (0, _) | (1, false) => String::new(),
        (1, true) => ", with a thread of its own".to_owned(),
        (count, true) => format!(", {count} queues, each with a thread of its own"),
        (count, false) => format!(", {count} queues, served by one loop in turn"),
    }
}

/// Orders a changed file's interfaces so that those the engine knows keep their numbers: they come first, one that the file does not name
/// any more stays as a place without device and addresses, and new ones follow. What `auto` chose stays chosen.
pub fn keep_numbers(file: &mut HostFile, known: &HostFile) {
    let named = std::mem::take(&mut file.setup.interfaces);
    let mut named: Vec<Option<_>> =
        named.into_iter().zip(std::mem::take(&mut file.live.interfaces)).map(Some).collect();
    let mut put = |(interface, live)| {
        file.setup.interfaces.push(interface);
        file.live.interfaces.push(live);
    };
    for (old, old_live) in known.setup.interfaces.iter().zip(&known.live.interfaces).filter(|(i, _)| i.name != "lo") {
        let same = named.iter_mut().find(|new| new.as_ref().is_some_and(|(new, _)| new.name == old.name));
        match same.and_then(Option::take) {
            Some((interface, mut live)) => {
                if live.datapath == DatapathKind::Auto && old_live.chosen.is_some() {
                    (live.datapath, live.chosen) = (old_live.datapath, old_live.chosen.clone());
                }
                live.threads = live.threads.or(old_live.threads);
                put((interface, live));
            }
            None => put((
                NewInterface { up: false, addresses: Vec::new(), ..old.clone() },
                LiveInterface { has_mac: true, has_mtu: true, ..LiveInterface::default() },
            )),
        }
    }
    named.into_iter().flatten().for_each(put);
}

/// The number that the engine gives the n-th interface of a host file: `lo` is 1, the others count from 2.
pub fn index_of(setup: &Setup, n: usize) -> IfIndex {
    let before = setup.interfaces.iter().take(n).filter(|i| i.name != "lo").count();
    if setup.interfaces.get(n).is_some_and(|i| i.name == "lo") { IfIndex(1) } else { IfIndex(before as u32 + 2) }
}

/// What a device that does not exist means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The gateway does not start.
    Refused,
    /// It is down until it is there.
    Down,
}

/// Takes from the kernel's devices what the file leaves out: link address, MTU, whether they are up, and addresses and routes where they
/// are followed.
pub fn complete(file: &mut HostFile, missing: Missing) -> Result<(), DeviceError> {
    let mut followed = Vec::new();
    for (interface, live) in file.setup.interfaces.iter_mut().zip(&file.live.interfaces) {
        if !live.is_kernels() {
            continue;
        }
        let name = &interface.name;
        let facts = match sys::device(name) {
            Err(_) if missing == Missing::Down => {
                interface.up = false;
                continue;
            }
            facts => facts.map_err(failed(name))?,
        };
        if !facts.ethernet {
            let text = "it has no Ethernet headers; only Ethernet devices can be opened";
            return Err(failed(name)(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        if !live.has_mac {
            interface.mac = Mac(facts.mac);
        }
        if !live.has_mtu {
            interface.mtu = facts.mtu;
        }
        interface.up &= facts.up;
        if live.follow {
            followed.push((facts.index, name.clone()));
        }
    }
    if let Some((_, name)) = followed.first() {
        let addresses = netlink::addresses().map_err(failed(name))?;
        let routes = kernel_routes::routes().map_err(failed(name))?;
        for (index, name) in &followed {
            follow(&mut file.setup, name, addresses.iter().filter(|a| a.index == *index));
            follow_routes(&mut file.setup, name, routes.iter().filter(|r| r.index == *index));
        }
    }
    complete_vlans(file);
    for interface in &mut file.setup.interfaces {
        add_link_local(interface);
    }
    Ok(())
}

/// The kernel's addresses are ours, behind those of the file.
fn follow<'a>(setup: &mut Setup, name: &str, addresses: impl Iterator<Item = &'a KernelAddress>) {
    let Some(interface) = setup.interfaces.iter_mut().find(|i| i.name == name) else { return };
    for address in addresses {
        let (family, addr) = Addr::from_ip(address.addr);
        if !interface.addresses.iter().any(|own| own.family == family && own.addr == addr) {
            let new = NewAddress { family, addr, prefix: address.prefix, scope: None, broadcast: None };
            interface.addresses.push(new);
        }
    }
}

/// Routes by a device that is down do not exist, here as there. One that the file has too is the file's.
fn follow_routes<'a>(setup: &mut Setup, name: &str, routes: impl Iterator<Item = &'a KernelRoute>) {
    for route in routes {
        let family = if route.is_v6 { Family::V6 } else { Family::V4 };
        let to = route.to.map_or((Addr::UNSPECIFIED, 0), |to| (Addr::from_ip(to).1, route.prefix));
        let is_known =
            |own: &NewRoute| own.family == family && own.to == to && own.metric == route.metric && own.table.is_none();
        // A gateway of the other family is not understood.
        if setup.routes.iter().any(is_known) || route.via.is_some_and(|via| via.is_ipv6() != route.is_v6) {
            continue;
        }
        let mut new = NewRoute::to(family, to.0, to.1);
        let via = route.via.map(|via| Addr::from_ip(via).1);
        new.hops = vec![NewHop { via, dev: Some(name.to_owned()), onlink: route.onlink, ..NewHop::default() }];
        new.src = route.src.map(|src| Addr::from_ip(src).1);
        new.metric = route.metric;
        setup.routes.push(new);
    }
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
    let has_v6 = interface.addresses.iter().any(|a| a.family == Family::V6);
    let has_local = interface.addresses.iter().any(|a| a.family == Family::V6 && a.addr.is_link_local(Family::V6));
    if interface.name == "lo" || interface.kind != LinkKind::Ethernet || !has_v6 || has_local {
        return;
    }
    let [a, b, c, d, e, f] = interface.mac.0;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let addr = Addr((0xfe80 << 112) | u128::from(id));
    let local = NewAddress { family: Family::V6, addr, prefix: 64, scope: None, broadcast: None };
    interface.addresses.push(local);
}

const fn mode(mode: XdpMode) -> Mode {
    match mode {
        XdpMode::Auto => Mode::Auto,
        XdpMode::Native => Mode::Native,
        XdpMode::Generic => Mode::Generic,
    }
}

/// Opens every device that the file gives a datapath, but for those of these names. The file is [`complete`].
pub fn open(file: &HostFile, but: &[&str], kit: &mut Kit) -> Result<Vec<Device>, DeviceError> {
    let mut devices = Vec::new();
    for (n, (interface, live)) in file.setup.interfaces.iter().zip(&file.live.interfaces).enumerate() {
        let name = &interface.name;
        if live.datapath == DatapathKind::None || but.contains(&name.as_str()) {
            continue;
        }
        let datapath = open_one(interface, live, kit, Again::No).map_err(failed(name))?;
        let kernels = live.is_kernels().then(|| sys::index_of(name)).transpose().map_err(failed(name))?;
        let index = index_of(&file.setup, n);
        devices.push(Device { index, name: name.clone(), kind: interface.kind, datapath, kernels });
    }
    Ok(devices)
}

/// Whether a device was open before in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It was not.
    No,
    /// It was: what is kept of its frames is added to.
    Yes,
}

/// Opens one device, with the wrappers that the file asks for.
pub fn open_one(
    interface: &NewInterface,
    live: &LiveInterface,
    kit: &mut Kit,
    again: Again,
) -> io::Result<Box<dyn Datapath>> {
    let name = &interface.name;
    let netns = live.netns.as_deref();
    let link = match interface.kind {
        LinkKind::Ethernet => LinkType::Ethernet,
        _ => LinkType::RawIp,
    };
    let boxed = |queue| Box::new(queue) as Box<dyn Datapath>;
    let queues: Vec<Box<dyn Datapath>> = match live.datapath {
        DatapathKind::None | DatapathKind::Auto => return Err(io::ErrorKind::Unsupported.into()),
        DatapathKind::Packet => packet_sockets(name, live, kit)?,
        DatapathKind::Tap => Tap::create(name, Kind::Tap, netns, interface.mtu, live.queues.unwrap_or(1))?
            .into_iter()
            .map(boxed)
            .collect(),
        DatapathKind::Tun => Tap::create(name, Kind::Tun, netns, interface.mtu, live.queues.unwrap_or(1))?
            .into_iter()
            .map(boxed)
            .collect(),
        DatapathKind::Xdp => match xdp_queues(name, live, kit) {
            // The choice was ours, and there is another one; and a device that is back is better reached so than not at all.
            Err(error) if live.chosen.is_some() || again == Again::Yes => {
                eprintln!("hairpin: {name}: by a packet socket, for AF_XDP cannot be had: {error}");
                packet_sockets(name, live, kit)?
            }
            xdp => {
                if live.follow {
                    eprintln!(
                        "hairpin: {name}: AF_XDP takes every frame, so a DHCP client on it hears no answers; datapath = \"packet\" lets them through"
                    );
                }
                xdp?
            }
        },
        DatapathKind::Pcap => {
            let (read, write) = (live.pcap.read.as_deref(), live.pcap.write.as_deref());
            vec![Box::new(Pcap::open(name, link, read, write, live.pcap.pace)?)]
        }
    };
    let mut datapath = join(queues, live, interface.kind == LinkKind::Ethernet)?;
    if let Some(faults) = live.faults {
        datapath = Box::new(Faulty::new(datapath, faults)?);
    }
    if let Some(path) = &live.capture {
        let link = if link == LinkType::Ethernet { pcapng::ETHERNET } else { pcapng::RAW_IP };
        datapath = Box::new(Recorded::open(datapath, name, link, path, again == Again::Yes)?);
    }
    Ok(datapath)
}

fn packet_sockets(name: &str, live: &LiveInterface, kit: &mut Kit) -> io::Result<Vec<Box<dyn Datapath>>> {
    Ok(match live.queues.unwrap_or(1) {
        1 => vec![Box::new(PacketSocket::open(name, kit, live.follow)?)],
        queues => {
            let sockets = PacketSocket::open_queues(name, kit, live.follow, queues)?;
            sockets.into_iter().map(|socket| Box::new(socket) as Box<dyn Datapath>).collect()
        }
    })
}

/// One for all queues, or with threads one for each. A queue that is not opened would lose its frames.
fn xdp_queues(name: &str, live: &LiveInterface, kit: &Kit) -> io::Result<Vec<Box<dyn Datapath>>> {
    let xdp = Xdp::open(name, mode(live.xdp), kit, live.follow)?;
    if let Some(count) = live.queues
        && usize::from(count) != xdp.queues()
    {
        let text = format!(
            "AF_XDP opens every queue that the device has, which are {}: leave queues out, or change the device (`ethtool -L {name} combined \
             {count}')",
            xdp.queues()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(match live.threads == Some(true) {
        true => xdp.split().into_iter().map(|queue| Box::new(queue) as Box<dyn Datapath>).collect(),
        false => vec![Box::new(xdp)],
    })
}

/// Several queues are one device.
fn join(mut queues: Vec<Box<dyn Datapath>>, live: &LiveInterface, is_ethernet: bool) -> io::Result<Box<dyn Datapath>> {
    if live.threads == Some(true) {
        return Ok(Box::new(Threads::new(queues, is_ethernet)?));
    }
    match (queues.pop(), queues.is_empty()) {
        (Some(one), true) => Ok(one),
        (last, _) => {
            queues.extend(last);
            Ok(Box::new(InTurn::new(queues)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_file::load_text;

    #[test]
    fn queues_have_threads_where_there_are_processors_for_them() {
        let text = |queues: usize, more: &str| {
            format!(
                "[[interface]]\nname = \"a\"\ndatapath = \"tap\"\nqueues = {queues}\n{more}[[interface]]\nname = \"b\"\ndatapath = \"tap\"\n"
            )
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let settled = |text: &str| {
            let mut file = load_text("gateway.toml", text).unwrap();
            settle_choices(&mut file);
            file.live.interfaces
        };
        // One of them with one queue, and the loop.
        for queues in [2, cores.clamp(2, 60), cores.clamp(2, 60) + 1] {
            let live = settled(&text(queues, ""));
            assert_eq!(live[0].threads, Some(queues + 1 < cores), "{queues} queues, {cores} processors");
            assert_eq!(live[1].threads, Some(false));
        }
        let live = settled(&text(3, "threads = true\n"));
        assert_eq!(serving("a", &live[0]), ", 3 queues, each with a thread of its own");
        assert_eq!(serving("b", &live[1]), "");
        assert_eq!(serving("a", &settled(&text(3, "threads = false\n"))[0]), ", 3 queues, served by one loop in turn");
    }

    #[test]
    fn known_interfaces_keep_their_numbers() {
        let file = |names: &[&str]| {
            let text: String =
                names.iter().map(|name| format!("[[interface]]\nname = \"{name}\"\ndatapath = \"tap\"\n")).collect();
            load_text("gateway.toml", &text).unwrap()
        };
        let known = file(&["a", "b", "c"]);
        let mut new = file(&["d", "c", "a"]);
        keep_numbers(&mut new, &known);
        let names: Vec<&str> = new.setup.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert_eq!(new.live.interfaces[1].datapath, DatapathKind::None);
        assert!(!new.setup.interfaces[1].up);
        assert_eq!(index_of(&new.setup, 3), IfIndex(5));
        // And back: it takes its place again.
        let mut back = file(&["b"]);
        keep_numbers(&mut back, &new);
        assert_eq!(back.live.interfaces.iter().filter(|l| l.datapath == DatapathKind::Tap).count(), 1);
        assert_eq!((back.setup.interfaces[1].name.as_str(), back.setup.interfaces[1].up), ("b", true));
    }
}
