//! What this host says itself: ICMP errors, answers to what is sent to it, REJECT, redirects, copies.

use crate::engine::Engine;
use crate::fate::{DropReason, Fate};
use crate::hook::Hook;
use crate::link::local::{Answer, Local, classify};
use crate::link::options::{self, BadOptions};
use crate::link::reply::{self, Host};
use crate::link::{FragUser, IcmpError};
use crate::look;
use crate::packet::{Origin, Packet, Sender};
use crate::path::{Onward, Path};
use crate::route::OutputKey;
use crate::rule::RejectWith;
use crate::track::{Class, ProtoState, Status, TcpState, Tracked};
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::{Family, icmp4, icmp6};
use std::ops::ControlFlow::{Break, Continue};

/// Milliseconds in a day: ICMP and IP time stamps count them from midnight UTC.
const DAY_MS: u64 = 86_400_000;

impl Path<'_> {
    /// The packet reached this host: a socket takes it, it is answered, or it is nobody's.
    pub(crate) fn hand_to_host(&mut self, p: &mut Packet) -> Onward<Fate> {
        let mut local = classify(p, &self.engine.open_ports, &self.engine.net);
        if local == Local::Fragment {
            self.collect(p, FragUser::Deliver)?;
            local = classify(p, &self.engine.open_ports, &self.engine.net);
        }
        let answer = match local {
            Local::Deliver => {
                if p.protocol() == hairpin_wire::proto::icmp(p.family()) {
                    let Engine { path_mtus, net, .. } = &mut *self.engine;
                    path_mtus.hear(p, net, self.now.mono);
                }
                return Continue(Fate::Deliver);
            }
            Local::Drop(reason) => return Break(Fate::Drop(reason)),
            Local::Fragment => return Break(Fate::Drop(DropReason::BadFragment)),
            Local::Answer(answer) => answer,
        };
        match answer {
            Answer::Echo => self.say_icmp(|host| reply::echo_reply(p, host)),
            Answer::Timestamp => self.say_icmp(|host| reply::timestamp_reply(p, host)),
            Answer::Reset => {
                if let Some(reset) = reply::tcp_reset(p, &mut self.host()) {
                    self.say(reset);
                }
            }
            // The kernel's UDP forgets the connection before it looks for a socket (`nf_reset_ct`), so that its error is
            // tracked by what it quotes like any other.
            Answer::Error(error) if error == IcmpError::port_unreachable(p.family()) => {
                self.say_icmp(|host| reply::icmp_error(p, error, host));
            }
            Answer::Error(error) => self.send_error(p, error),
        }
        Break(Fate::Drop(DropReason::Answered))
    }

    /// An ICMP error about a packet. It belongs to the packet's connection, in the other direction.
    pub(crate) fn send_error(&mut self, about: &Packet, error: IcmpError) {
        self.say_icmp(|host| attached(reply::icmp_error(about, error, host), about));
    }

    /// The error of a packet without a route, which has a limit of its own.
    pub(crate) fn send_route_error(&mut self, about: &Packet, error: IcmpError) {
        self.say_icmp(|host| attached(reply::route_error(about, error, host), about));
    }

    /// Nobody answers for the packet's next hop (`ipv4_link_failure`, `ip6_link_failure`). This host tells itself, too.
    pub(crate) fn neighbor_failed(&mut self, about: &Packet) {
        self.send_error(about, IcmpError::host_unreachable(about.family()));
    }

    /// REJECT's answer.
    pub(crate) fn reject(&mut self, with: RejectWith, _hook: Hook, about: &Packet) {
        match with {
            RejectWith::Unreachable(code) => {
                let kind = match about.family() {
                    Family::V4 => icmp4::UNREACHABLE,
                    Family::V6 => icmp6::UNREACHABLE,
                };
                let error = IcmpError::new(kind, code, 0);
                self.say_icmp(|host| attached(reply::reject_unreachable(about, error, host), about));
            }
            RejectWith::TcpReset => {
                if let Some(reset) = attached(reply::reject_reset(about, &mut self.host()), about) {
                    self.close_connection(about);
                    self.say(reset);
                }
            }
        }
    }

    /// A RST by REJECT ends the connection for tracking too (`nf_ct_set_closing`).
    fn close_connection(&mut self, about: &Packet) {
        let Engine { tracker, knobs, .. } = &mut *self.engine;
        if let Tracked::Conn(id, _) = about.meta.tracked
            && let Some(conn) = tracker.conns.get_mut(id).filter(|conn| conn.status.has(Status::CONFIRMED))
            && let ProtoState::Tcp(tcp) = &mut conn.proto
        {
            tcp.state = TcpState::Close;
            conn.refresh(self.now.mono, knobs.tcp_timeouts[TcpState::Close as usize]);
            tracker.conns.rearm(id);
        }
    }

    /// Tells the sender that it could have sent to the next hop itself. The packet is forwarded all the same.
    pub(crate) fn redirect_sender(&mut self, p: &Packet) {
        let Some(route) = p.meta.route.filter(|r| r.redirect) else { return };
        match p.family() {
            Family::V4 => self.say_icmp(|host| attached(reply::redirect(p, &route, host), p)),
            // Neighbor discovery is on its own.
            Family::V6 => {
                if let Some(redirect) = reply::redirect(p, &route, &mut self.host()) {
                    self.say(redirect);
                }
            }
        }
    }

    /// IPv4 options of a received packet, after its routing.
    pub(crate) fn read_options(&mut self, p: &mut Packet) -> Onward {
        if p.family() == Family::V6 || p.head().l4 == 20 {
            return Continue(());
        }
        match options::check(p, &self.engine.net, self.wall_ms()) {
            Ok(()) => Continue(()),
            Err(BadOptions::Drop(reason)) => Break(Fate::Drop(reason)),
            Err(BadOptions::Problem(error)) => {
                self.send_error(p, error);
                Break(Fate::Drop(DropReason::BadOptions))
            }
        }
    }

    /// IPv4 options of a packet that is forwarded: record route and time stamps are filled in.
    pub(crate) fn write_options(&mut self, p: &mut Packet) {
        if p.family() == Family::V6 || p.head().l4 == 20 {
            return;
        }
        if let Some(route) = p.meta.route {
            let scope = crate::net::Scope::Global;
            let select = || self.engine.net.select_address(Family::V4, route.oif, route.gateway, scope);
            let own = route.prefsrc.or_else(select);
            options::forward(p, own.unwrap_or_default());
        }
    }

    /// A copy that TEE asked for: on its way to the gateway, outside of tracking. While it is sent nothing is copied, but when it comes
    /// back over `lo` it may be.
    pub(crate) fn send_copy(&mut self, copy: look::Copy, hook: Hook) {
        if self.engine.sending_copy {
            return;
        }
        let look::Copy { mut packet, gateway, oif, .. } = copy;
        // A device that is not there is no condition: the copy goes by whatever leads to the gateway.
        let oif = oif.and_then(|name| self.engine.net.interface_by_name(name)).map(|device| device.index);
        let family = packet.family();
        // The mark of the packet does not count.
        let key = OutputKey { tos: packet.tos(), oif, ..OutputKey::to(family, gateway) };
        let Ok(mut route) = self.engine.net.route_output(&key) else { return };
        // It meets the path MTU of the way to the gateway, as the packet itself would if it went there.
        let is_forwarded = packet.meta.origin == Origin::Wire && matches!(hook, Hook::Forward | Hook::Postrouting);
        let Engine { path_mtus, net, .. } = &*self.engine;
        route.mtu = path_mtus.of(family, gateway, &route, is_forwarded, net, self.now.mono);
        route.gateway = route.gateway.or(Some(gateway));
        packet.meta.copied_on = Some(route.oif);
        packet.meta.route = Some(route);
        packet.meta.tracked = Tracked::Untracked;
        packet.meta.template = None;
        // What the kernel's own sockets say may be cut, though the copy has DF.
        packet.meta.may_be_cut |= packet.meta.origin == Origin::Local(Sender::Kernel);
        packet.meta.origin = Origin::Local(Sender::None);
        if matches!(hook, Hook::Prerouting | Hook::Input) {
            packet.set_ttl(packet.ttl().wrapping_sub(1));
            // A sum that was reckoned is not looked at again where packets do not come in, be it wrong.
            if packet.meta.sum_was_wrong {
                packet.meta.checksum_seen.get_or_insert(1);
            }
        }
        forbid_fragments(&mut packet);
        self.engine.sending_copy = true;
        self.say_from(packet);
        self.engine.sending_copy = false;
    }

    fn wall_ms(&self) -> u32 {
        (self.now.wall.0 / 1_000_000 % DAY_MS) as u32
    }

    pub(super) fn host(&mut self) -> Host<'_> {
        let engine = &mut *self.engine;
        let Engine { net, limiter, path_mtus, rng, .. } = engine;
        Host { net, limiter, path_mtus, rng, now: *self.now }
    }

    /// Makes and sends an ICMP message, unless one is being sent already.
    fn say_icmp(&mut self, make: impl FnOnce(&mut Host<'_>) -> Option<Packet>) {
        if self.engine.sending_icmp {
            return;
        }
        if let Some(packet) = make(&mut self.host()) {
            self.engine.sending_icmp = true;
            self.say(packet);
            self.engine.sending_icmp = false;
        }
    }

    /// Sends a packet of this host's own making.
    pub(crate) fn say(&mut self, mut packet: Packet) {
        if packet.meta.origin == Origin::Wire {
            packet.meta.origin = Origin::Local(Sender::Kernel);
        }
        packet.meta.iif = None;
        self.say_from(packet);
    }

    /// Sends a packet of this host, as coming from the device that it names.
    fn say_from(&mut self, mut packet: Packet) {
        packet.meta.made_here = true;
        self.trace_packet(&packet);
        let borrowed = packet.meta.tracked != Tracked::No;
        let fate = match self.send(&mut packet) {
            Continue(fate) | Break(fate) => fate,
        };
        self.ended(fate);
        // An error's connection is that of the packet it is about, which may still be on its way.
        if !borrowed {
            self.release(&packet);
        }
        self.give_out(packet, fate);
    }
}

/// Copies must not be cut on their way, so that the listener sees what was there (`nf_dup_ipv4`).
fn forbid_fragments(packet: &mut Packet) {
    if packet.family() == Family::V4
        && let Some(mut ip) = Ipv4::new(packet.ip_mut())
    {
        let (more, offset) = (ip.more_fragments(), ip.fragment_offset());
        ip.set_flags_offset(true, more, offset);
        ip.fill_checksum();
    }
}

/// An error belongs to the connection of the packet it is about, in the other direction (`nf_conntrack_attach`). One about an untracked
/// packet is marked in the same way, but with no connection: tracking looks at it, rules can not prevent that.
fn attached(answer: Option<Packet>, about: &Packet) -> Option<Packet> {
    let mut answer = answer?;
    match about.meta.tracked {
        Tracked::Conn(id, class) => {
            answer.meta.tracked = Tracked::Conn(id, Class::Related(class.direction().other()));
        }
        Tracked::Untracked => answer.meta.answers_untracked = true,
        Tracked::No => {}
    }
    Some(answer)
}
