//! A batch's way: frames from a device, through the engine and past the neighbors, to devices.

use super::frame::{address, emptied, finish, is_arp, is_discovery, load, load_own, outgoing, send, tag_of, to_host};
use super::{BATCH, BATCH_BYTES, Gateway, Port, Work, linger, now};
use crate::local::{self, HOST};
use crate::neighbors::Deed;
use hairpin_datapath::{Outgoing, Received, sys};
use hairpin_engine::event::Made;
use hairpin_engine::link::segment;
use hairpin_engine::net::{IfIndex, LinkKind};
use hairpin_engine::packet::Offload;
use hairpin_engine::{Batch, Fate, Now};
use std::sync::Arc;

impl Gateway {
    /// Takes frames from all devices that may have some. Whether there were any.
    pub(super) fn take_in_all(&mut self) -> bool {
        let mut busy = false;
        for n in 0..self.ports.len() {
            if self.ports[n].ready {
                busy |= self.take_in(n);
            }
        }
        busy
    }

    /// Looks for more frames for a moment before going to sleep, where that pays. Whether there were any.
    pub(super) fn linger(&mut self) -> bool {
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
    pub(super) fn pass_on(&mut self, count: usize, now: &Now) {
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
    pub(super) fn go_on_from_queues(&mut self) {
        while let Some((queued, decision)) = self.queues.next_decided() {
            let now = now();
            self.work.out.clear();
            self.engine.resume(&now, queued, decision, &mut self.work.out);
            self.pass_on(0, &now);
        }
    }

    pub(super) fn tell_events(&mut self, now: &Now) {
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
        let made = out.made.iter_mut().map(|made| (made.cause, made.after, &mut made.packet, &mut made.fate));
        let batch = packets.iter_mut().zip(fates.iter_mut()).take(count).enumerate();
        for (cause, after, packet, fate) in batch.map(|(n, (packet, fate))| (n, false, packet, fate)).chain(made) {
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
                        cuts.extend(segment(packet).into_iter().map(|packet| Made {
                            packet,
                            fate: *fate,
                            cause,
                            after,
                        }));
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
                cuts.extend(segment(packet).into_iter().map(|packet| Made { packet, fate: *fate, cause, after }));
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
            while let Some(made) = made.next_if(|made| made.before() <= n) {
                put(&made.packet, &made.fate);
            }
            while let Some(cut) = cuts.next_if(|cut| cut.before() <= n) {
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
    pub(super) fn carry_out(&mut self, now: &Now) {
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
                self.work.out.made.push(Made { packet, fate, cause: 0, after: false });
                self.pass_on(0, now);
            }
            Deed::Send(packet) => {
                self.work.out.clear();
                let (mut packets, mut fates) = ([packet], [Fate::Held]);
                let mut batch = Batch { packets: &mut packets, fates: &mut fates };
                self.engine.handle(now, &mut batch, &mut self.work.out);
                let [packet] = packets;
                self.work.out.made.push(Made { packet, fate: fates[0], cause: 0, after: false });
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
}
