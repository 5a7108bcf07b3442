//! From the wire and onto it: reception checks, fragments, the next hop.

use crate::fate::{DropReason, Fate};
use crate::hook::Hook;
use crate::link::{self, Fit, FragLimits, FragUser, Reassembled, Reception};
use crate::net::{IfIndex, Interface, LO, LinkKind};
use crate::packet::{LinkType, NotAPacket, Offload, Origin, Packet, Sender};
use crate::path::{Onward, Path};
use crate::route::{LinkAddress, Route, RouteType};
use crate::track::Tracked;
use hairpin_wire::{Addr, Family, Mac, ethernet};
use std::ops::ControlFlow::{Break, Continue};

impl Path<'_> {
    /// What is checked before any rule sees the packet.
    pub(crate) fn check_received(&mut self, p: &mut Packet) -> Onward {
        let Some(iif) = p.meta.iif else { return Break(Fate::Drop(DropReason::NoDevice)) };
        match link::receive::check(p, iif, &self.engine.net) {
            Reception::Good => Continue(()),
            Reception::Drop(reason) => Break(Fate::Drop(reason)),
            Reception::Problem(error) => {
                self.send_error(p, error);
                Break(Fate::Drop(DropReason::BadOptions))
            }
        }
    }

    /// While tracking is needed, no rule sees a fragment.
    pub(crate) fn collect_fragments(&mut self, hook: Hook, p: &mut Packet) -> Onward {
        // A later fragment may hide its protocol, so that its headers cannot be walked.
        if p.head().fragment_header.is_none() && !p.is_fragment() && !p.head().broken {
            return Continue(());
        }
        // Fragments of a copy by TEE that came back over `lo`.
        if p.meta.tracked == Tracked::Untracked {
            return Continue(());
        }
        let zone = p.meta.template.as_ref().map_or(0, |t| t.zone.original);
        let user = if hook == Hook::Output { FragUser::TrackOut(zone) } else { FragUser::TrackIn(zone) };
        self.collect(p, user)
    }

    /// Without tracking, fragments for this host are put together on the way to it.
    pub(crate) fn collect_local(&mut self, p: &mut Packet) -> Onward {
        if p.is_fragment() || p.head().broken { self.collect(p, FragUser::Deliver) } else { Continue(()) }
    }

    pub(crate) fn collect(&mut self, p: &mut Packet, user: FragUser) -> Onward {
        let engine = &mut *self.engine;
        let limits = FragLimits::of(&engine.net.sysctl, p.family(), user);
        match engine.reassembler.push(p, user, self.now.mono, &limits) {
            Reassembled::Whole => {
                p.meta.offload = Offload::default();
                p.meta.may_be_cut = user != FragUser::Deliver;
                Continue(())
            }
            Reassembled::Held => Break(Fate::Held),
            Reassembled::Drop(reason) => Break(Fate::Drop(reason)),
            Reassembled::Problem(error) => {
                self.send_error(p, error);
                Break(Fate::Drop(DropReason::BadFragment))
            }
        }
    }

    /// The fragments of a packet did not all come in time. IPv4 tells its sender if it was for this host, IPv6 in any case.
    pub(crate) fn fragment_expired(&mut self, first: &mut Packet, user: FragUser) {
        let family = first.family();
        if matches!(user, FragUser::TrackOut(_)) {
            return;
        }
        if family == Family::V4 {
            match self.engine.net.route_input(first) {
                Ok(route) if route.kind != RouteType::Unicast => first.meta.route = Some(route),
                _ => return,
            }
        }
        self.send_error(first, link::IcmpError::reassembly_expired(family));
    }

    /// Cuts a packet that the way out does not take whole.
    pub(crate) fn fit_mtu(&mut self, p: &mut Packet) -> Onward {
        let Some(route) = &p.meta.route else { return Break(Fate::Drop(DropReason::Bug)) };
        let mtu = self.engine.path_mtus.limit(p, route, &self.engine.net, self.now.mono);
        if p.meta.offload != Offload::default() {
            if p.wire_length() <= mtu as usize {
                return Continue(());
            }
            if p.meta.offload.gso.is_some() {
                return self.leave_in_segments(p);
            }
            p.fill_checksum();
        }
        // Nearly every packet.
        if p.length() <= mtu as usize && p.meta.max_fragment == 0 {
            return Continue(());
        }
        self.cut_to_fit(p, mtu)
    }

    #[inline(never)]
    fn cut_to_fit(&mut self, p: &mut Packet, mtu: u32) -> Onward {
        match link::fit(p, mtu, &self.engine.rng) {
            Fit::Whole => Continue(()),
            Fit::TooBig(mtu) => {
                self.send_error(p, link::IcmpError::too_big(p.family(), mtu));
                Break(Fate::Drop(DropReason::TooBig))
            }
            Fit::Gone => Break(Fate::Drop(DropReason::BadHeader)),
            Fit::Pieces(pieces) => {
                for mut piece in pieces {
                    self.trace_packet(&piece);
                    let fate = match self.transmit(&mut piece) {
                        Continue(fate) | Break(fate) => fate,
                    };
                    self.ended(fate);
                    self.give_out(piece, fate);
                }
                Break(Fate::Held)
            }
        }
    }

    /// A super-packet whose segments do not fit: each is told so, or cut, by itself (`ip_finish_output_gso`).
    fn leave_in_segments(&mut self, p: &mut Packet) -> Onward {
        for mut segment in link::segment(p) {
            let fate = match self.fit_mtu(&mut segment) {
                Continue(()) => match self.transmit(&mut segment) {
                    Continue(fate) | Break(fate) => fate,
                },
                Break(fate) => fate,
            };
            self.ended(fate);
            self.give_out(segment, fate);
        }
        Break(Fate::Held)
    }

    /// Gives the packet its link header; over `lo` it comes straight back.
    pub(crate) fn transmit(&mut self, p: &mut Packet) -> Onward<Fate> {
        let Some(Route { oif, gateway, .. }) = p.meta.route else { return Break(Fate::Drop(DropReason::Bug)) };
        if oif == LO {
            return Continue(self.loop_back(p));
        }
        let Some(device) = self.engine.net.interface(oif).filter(|d| d.up) else {
            return Break(Fate::Drop(DropReason::NoDevice));
        };
        let own = device.mac;
        if p.family() == Family::V6 && p.dst().is_multicast(Family::V6) {
            self.hear_own_group(p)?;
        }
        let next = gateway.map(|gateway| (p.family(), oif, gateway));
        let address = match (&self.engine.last_hop, &p.meta.route) {
            (Some((hop, mac)), _) if Some(*hop) == next => LinkAddress::Known(*mac),
            (_, Some(route)) => self.engine.net.link_address(p.family(), route, p.dst()),
            (_, None) => LinkAddress::Unknown,
        };
        let to = match address {
            LinkAddress::NotNeeded => {
                p.clear_link_header();
                None
            }
            LinkAddress::Known(mac) => {
                p.set_link_header(mac, own);
                self.engine.last_hop = next.map(|next| (next, mac));
                Some(mac)
            }
            LinkAddress::Unknown if self.engine.resolving => return Continue(Fate::Resolve { oif }),
            LinkAddress::Unknown => {
                self.ask_for_neighbor(p, oif, gateway);
                return Break(Fate::Drop(DropReason::NoNeighbor));
            }
        };
        if p.meta.made_here && p.meta.offload.gso.is_none() {
            p.fill_checksum();
        }
        Continue(Fate::Transmit { oif, to })
    }

    /// The packet waits for a neighbor; nobody will answer. IPv6 asks by packets that rules see.
    fn ask_for_neighbor(&mut self, p: &Packet, oif: IfIndex, gateway: Option<Addr>) {
        let target = gateway.unwrap_or(p.dst());
        let engine = &mut *self.engine;
        if let Some(question) = engine.solicitor.wait(p, oif, target, self.now.mono, &engine.net) {
            self.say(question);
        }
    }

    /// What leaves by `lo` waits until the packet being handled is done, then arrives with its connection and mark.
    fn loop_back(&mut self, p: &mut Packet) -> Fate {
        let mut again = std::mem::take(p);
        again.set_link_header(Mac::ZERO, Mac::ZERO);
        self.come_back(again, LO, LinkType::Host)
    }

    /// A host hears its own broadcasts, and what it sends to a group it has joined (`ip_mc_output`): a copy passes POSTROUTING before
    /// the packet itself does. This is IPv4; for IPv6 see [`Path::hear_own_group`].
    pub(crate) fn hear_oneself(&mut self, p: &Packet) {
        let Some(route) = p.meta.route.filter(|route| p.family() == Family::V4 && route.oif != LO) else { return };
        match route.kind {
            RouteType::Broadcast => self.hear_copy(p, route.oif, LinkType::Broadcast),
            RouteType::Multicast if self.engine.net.is_joined(Family::V4, route.oif, p.dst()) => {
                self.hear_copy(p, route.oif, LinkType::Multicast);
            }
            _ => {}
        }
    }

    /// IPv6 hears what goes to a group it has joined, by whatever route, when it is about to leave (`ip6_finish_output2`): the copy
    /// passes POSTROUTING once more. It keeps its route, so that one sent by way of a router is not delivered. Groups of the host itself
    /// do not leave it.
    fn hear_own_group(&mut self, p: &Packet) -> Onward {
        const OF_THE_HOST: u8 = 1;
        // What the kernel itself says to a group is neighbor discovery, which does not hear itself.
        let is_discovery = p.meta.origin == Origin::Local(Sender::Kernel);
        let oif = p.meta.route.as_ref().map(|route| route.oif);
        if let Some(oif) = oif.filter(|oif| !is_discovery && self.engine.net.is_joined(Family::V6, *oif, p.dst())) {
            self.hear_copy(p, oif, LinkType::Multicast);
            if p.ttl() == 0 {
                return Break(Fate::Drop(DropReason::TtlExpired));
            }
        }
        match (p.dst().0 >> 112) as u8 & 15 {
            ..=OF_THE_HOST => Break(Fate::Drop(DropReason::MartianDestination)),
            _ => Continue(()),
        }
    }

    /// A copy of what is sent comes back by the device that it leaves by, without a link header.
    fn hear_copy(&mut self, p: &Packet, dev: IfIndex, as_what: LinkType) {
        let mut copy = p.clone();
        (copy.meta.iif, copy.meta.copied_on) = (None, None);
        // A clone belongs to no socket.
        copy.meta.origin = Origin::Local(Sender::None);
        self.trace_packet(&copy);
        let fate = match self.pass_postrouting(&mut copy) {
            Break(fate) => fate,
            Continue(()) => {
                copy.clear_link_header();
                self.come_back(copy, dev, as_what)
            }
        };
        self.ended(fate);
    }

    fn come_back(&mut self, mut again: Packet, dev: IfIndex, as_what: LinkType) -> Fate {
        again.meta.iif = Some(dev);
        again.meta.oif = None;
        again.meta.link_type = as_what;
        again.meta.template = None;
        again.meta.copied_on = None;
        again.meta.pieces.clear();
        again.meta.max_fragment = 0;
        again.meta.cut_at = 0;
        self.engine.backlog.push_back(again);
        Fate::Held
    }
}

/// Reads the bytes that a device received, up to where their headers are known. A super-packet may be longer than the device's MTU.
pub(crate) fn load(packet: &mut Packet, frame: &[u8], offload: Offload, device: &Interface) -> Result<(), DropReason> {
    let read = match device.kind {
        LinkKind::Bare => packet.load_ip(frame),
        _ if is_too_long(frame, offload, device) => return Err(DropReason::BadFrame),
        LinkKind::Ethernet | LinkKind::Loopback => packet.load_frame(frame),
    };
    packet.meta.offload = offload;
    finish(packet, device, read)
}

/// As [`load`], but the buffers change places.
pub(crate) fn take(
    packet: &mut Packet,
    frame: &mut Vec<u8>,
    offload: Offload,
    device: &Interface,
) -> Result<(), DropReason> {
    let read = match device.kind {
        LinkKind::Bare => packet.swap_ip(frame),
        _ if is_too_long(frame, offload, device) => return Err(DropReason::BadFrame),
        LinkKind::Ethernet | LinkKind::Loopback => packet.swap_frame(frame),
    };
    packet.meta.offload = offload;
    finish(packet, device, read)
}

/// A veth, as a card, takes what fits its MTU, the link header and a VLAN tag.
fn is_too_long(frame: &[u8], offload: Offload, device: &Interface) -> bool {
    frame.len() > device.mtu as usize + ethernet::HEADER_LEN + 4 && offload.gso.is_none()
}

fn finish(packet: &mut Packet, device: &Interface, read: Result<(), NotAPacket>) -> Result<(), DropReason> {
    packet.meta.iif = Some(device.index);
    read.map_err(|why| match why {
        NotAPacket::NotIp => DropReason::NotIp,
        NotAPacket::OtherVlan => DropReason::OtherHost,
        NotAPacket::Truncated => DropReason::Truncated,
        NotAPacket::Short | NotAPacket::BadHeader => DropReason::BadHeader,
    })
}
