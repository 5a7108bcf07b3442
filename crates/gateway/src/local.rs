//! This machine's own traffic: a TUN device through which its processes send and receive, so that OUTPUT and INPUT see them.

use crate::devices::{Device, DeviceError};
use crate::harden;
use crate::names::User;
use hairpin_datapath::handover::{self, Handover};
use hairpin_datapath::owner::{Owners, Process, SocketKey, process_of};
use hairpin_datapath::sock_diag::SockDiag;
use hairpin_datapath::tap::{Kind, Tap};
use hairpin_datapath::{netlink, sys, way};
use hairpin_engine::net::{IfIndex, LO, LinkKind, Net};
use hairpin_engine::packet::{Origin, Owner, Sender};
use hairpin_engine::route::OutputKey;
use hairpin_engine::socket::{self, Ends, Socket};
use hairpin_engine::{Packet, State};
use hairpin_wire::{Addr, Family, icmp4, icmp6, proto};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender as Questions, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No device of the engine: what comes by it is this host's.
pub(crate) const HOST: IfIndex = IfIndex(0);

/// Packets on this device are as long as on most others.
const MTU: u32 = 1500;

/// Makes the device, with the host's addresses and routes.
pub(crate) fn open(name: &str, net: &Net) -> Result<Device, DeviceError> {
    let fail = |error| DeviceError { device: name.to_owned(), error };
    let tun = Tap::create(name, Kind::Tun, None, MTU, 1).map_err(fail)?.pop();
    let tun = tun.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
    // Answers come by this device whatever other routes there are.
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0");
    // The engine's own words (REJECT in OUTPUT) come from an address that is this machine's.
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"), "1");
    settle(name, net).map_err(fail)?;
    Ok(Device { index: HOST, name: name.to_owned(), kind: LinkKind::Bare, datapath: Box::new(tun), kernels: None })
}

/// Gives the device the host's addresses and no others, and makes it the way to where the host has a default route.
pub(crate) fn settle(name: &str, net: &Net) -> io::Result<()> {
    let index = sys::index_of(name)?;
    // What stays is not touched: sockets are bound to it.
    let wanted: Vec<_> = net
        .interfaces
        .iter()
        .filter(|i| i.index != LO)
        .flat_map(|i| &i.addresses)
        .filter(|address| !address.addr.is_link_local(address.family))
        .map(|address| (address.addr.to_ip(address.family), address.prefix))
        .collect();
    let there: Vec<_> = netlink::addresses()?.into_iter().filter(|a| a.index == index && !a.is_link_local()).collect();
    for old in there.iter().filter(|old| !wanted.contains(&(old.addr, old.prefix))) {
        way::lead_no_more(index, old.addr);
        netlink::remove_address(index, old.addr, old.prefix)?;
    }
    for (addr, prefix) in wanted {
        if !there.iter().any(|old| (old.addr, old.prefix) == (addr, prefix)) {
            netlink::add_address(index, addr, prefix)?;
        }
        // A kernel without routes of this kind keeps to itself what is for its own address.
        let _ = way::lead_out(index, addr);
    }
    for family in [Family::V4, Family::V6] {
        // Some address far away: what the host would send to it with.
        let far = match family {
            Family::V4 => Addr::v4(0x0808_0808),
            Family::V6 => Addr(0x2001_4860_4860 << 80 | 0x8888),
        };
        let Ok(route) = net.route_output(&OutputKey::to(family, far)) else { continue };
        let Some(source) = route.prefsrc else { continue };
        match netlink::add_default_device(index, source.to_ip(family)) {
            // A default route of the same metric is somebody else's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// The sockets of this host, as rules ask for them: the kernel is asked, each time.
#[derive(Debug)]
struct OpenSockets {
    /// Only the loop asks; nobody waits.
    diag: Mutex<SockDiag>,
    /// The kernel's number of the device by which their packets come.
    index: u32,
}

impl OpenSockets {
    fn ask(&self, ends: &Ends, remote: (Addr, u16)) -> Option<Arc<Socket>> {
        let family = ends.family;
        let end = |(addr, port): (Addr, u16)| (addr.to_ip(family), port);
        let diag = self.diag.try_lock().ok()?;
        let found = diag.find(ends.protocol, end(ends.local), end(remote), self.index)?;
        let own = |(ip, port): (IpAddr, u16)| {
            (if ip.is_unspecified() { Addr::UNSPECIFIED } else { Addr::from_ip(ip).1 }, port)
        };
        Some(Arc::new(Socket {
            protocol: ends.protocol,
            family,
            local: own(found.local),
            remote: (found.remote.1 != 0).then(|| own(found.remote)),
            device: None,
            transparent: found.transparent,
            mark: found.mark,
            owner: None,
        }))
    }
}

impl socket::Ask for OpenSockets {
    fn find(&self, ends: &Ends) -> Option<Arc<Socket>> {
        self.ask(ends, ends.remote)
    }

    fn listening(&self, ends: &Ends) -> Option<Arc<Socket>> {
        // Of TCP nobody is connected to nobody; a connected UDP socket hides those that listen.
        let remote = if ends.protocol == proto::TCP { (Addr::UNSPECIFIED, 0) } else { ends.remote };
        self.ask(ends, remote).filter(|socket| socket.remote.is_none())
    }
}

/// Whom rules ask for this host's sockets; None where the kernel does not answer.
pub(crate) fn sockets(name: &str) -> Option<Arc<dyn socket::Ask>> {
    let (diag, index) = (Mutex::new(SockDiag::open().ok()?), sys::index_of(name).ok()?);
    Some(Arc::new(OpenSockets { diag, index }))
}

/// Has packets find sockets of this host that their addresses do not lead to.
pub(crate) fn hand_over(name: &str) -> Option<Handover> {
    let handover = match Handover::arrange(name) {
        Ok(handover) => handover,
        Err(why) => {
            eprintln!("hairpin: {name}: what processes here say to each other passes the rules by: {why}");
            return None;
        }
    };
    if let Some(why) = handover.lacks() {
        eprintln!("hairpin: {name}: TPROXY has no way to sockets that are bound elsewhere: {why}");
    }
    Some(handover)
}

/// Each of its datagrams must say which socket it is for.
pub(crate) fn needs_cut(packet: &Packet) -> bool {
    packet.meta.offload.gso.is_some() && packet.meta.socket.as_ref().is_some_and(|socket| socket.remote.is_none())
}

/// Writes behind a packet for this host which socket it is for, where its addresses do not say so.
pub(crate) fn address_socket(packet: &mut Packet) {
    let Some(socket) = packet.meta.socket.as_deref().filter(|socket| socket.remote.is_none()) else { return };
    let listener = (socket.local.0.to_ip(socket.family), socket.local.1);
    packet.append(&handover::tail(socket.protocol, listener));
}

/// Finds out whose packets come by the device.
pub(crate) struct Senders {
    owners: Option<Owners>,
    processes: Option<Processes>,
    /// Some rule asks for more than the user.
    with_process: bool,
}

/// A thread that looks into other processes. It alone keeps the rights for that, and does nothing else; who asks is restricted in
/// ways (Landlock) that do not go with them.
struct Processes {
    questions: Questions<(u64, u32, u32)>,
    answers: Receiver<(u64, Option<Process>)>,
    asked: u64,
}

/// An answer is waited for so long; then the packet has a user, but no process.
const PATIENCE: Duration = Duration::from_millis(100);

impl Processes {
    fn start(user: Option<User>) -> io::Result<Processes> {
        let (questions, inbox) = channel::<(u64, u32, u32)>();
        let (out, answers) = channel();
        std::thread::Builder::new().name("owners".to_owned()).spawn(move || {
            let lacking = harden::become_looker(user.as_ref());
            lacking.iter().for_each(|line| eprintln!("hairpin: the thread that finds owners: {line}"));
            for (number, uid, inode) in inbox {
                if out.send((number, process_of(uid, inode))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Processes { questions, answers, asked: 0 })
    }

    fn find(&mut self, uid: u32, inode: u32) -> Option<Process> {
        self.asked += 1;
        self.questions.send((self.asked, uid, inode)).ok()?;
        loop {
            match self.answers.recv_timeout(PATIENCE).ok()? {
                (number, process) if number == self.asked => return process,
                // Of somebody who waited no longer.
                _ => {}
            }
        }
    }
}

impl Senders {
    /// Nobody is asked for before the device is there.
    pub(crate) fn none() -> Senders {
        Senders { owners: None, processes: None, with_process: false }
    }

    /// `user` is who the process will be.
    pub(crate) fn open(user: Option<User>) -> io::Result<Senders> {
        Ok(Senders { owners: Owners::open().ok(), processes: Some(Processes::start(user)?), with_process: false })
    }

    /// The rules may have changed.
    pub(crate) fn learn_rules(&mut self, state: State<'_>) {
        self.with_process = [Family::V4, Family::V6].into_iter().any(|family| {
            let tables = state.rules(family).tables();
            tables
                .flat_map(|t| &t.chains)
                .flat_map(|c| &c.rules)
                .flat_map(|r| &r.matches)
                .any(|m| matches!(m.name(), "owner" | "cgroup"))
        });
    }

    /// Marks a packet as one of this host, with its sender.
    pub(crate) fn mark(&mut self, packet: &mut Packet, now_nanos: u64) {
        packet.meta.iif = None;
        packet.meta.origin = Origin::Local(self.sender(packet, now_nanos));
    }

    fn sender(&mut self, packet: &Packet, now_nanos: u64) -> Sender {
        let family = packet.family();
        let has_ports = matches!(packet.protocol(), proto::TCP | proto::UDP);
        let (sport, dport) = match packet.ports() {
            Some(ports) if has_ports => ports,
            _ if has_ports => return Sender::None,
            _ => (echo_identifier(packet).unwrap_or(0), 0),
        };
        let key = SocketKey {
            protocol: packet.protocol(),
            src: packet.src().to_ip(family),
            sport,
            dst: packet.dst().to_ip(family),
            dport,
        };
        let Senders { owners, processes, with_process } = self;
        let processes = processes.as_mut().filter(|_| *with_process);
        let find = |uid, inode| processes.and_then(|processes| processes.find(uid, inode));
        let found = owners.as_mut().and_then(|owners| owners.find(key, now_nanos, find));
        match found {
            Some(owner) => {
                let process = owner.process.unwrap_or_default();
                let known = process.pid != 0;
                Sender::Process(Arc::new(Owner {
                    uid: owner.uid,
                    gid: process.gid,
                    groups: process.groups,
                    pid: known.then_some(process.pid),
                    sid: known.then_some(process.sid),
                    command: known.then_some(process.command),
                    cgroup: process.cgroup,
                    class: owner.class,
                }))
            }
            None if has_ports => Sender::Kernel,
            None => Sender::None,
        }
    }
}

/// What an echo request carries in place of a port.
fn echo_identifier(packet: &Packet) -> Option<u16> {
    let is_request = match (packet.protocol(), packet.l4().first()?) {
        (proto::ICMP, kind) => *kind == icmp4::ECHO,
        (proto::ICMPV6, kind) => *kind == icmp6::ECHO,
        _ => false,
    };
    let bytes: [u8; 2] = packet.l4().get(4..6)?.try_into().ok()?;
    is_request.then(|| u16::from_be_bytes(bytes))
}
