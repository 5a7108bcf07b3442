//! Before the packets of a batch are walked: the memory that their look-ups in large sets will wait for is touched, so that the waits
//! overlap. Nothing depends on what is found here, and nothing changes.

use super::elem::Elem;
use super::hash::Hash;
use super::kind::{Kind, Part};
use super::packet::Directions;
use super::{Body, Set, SetId, Sets};
use crate::packet::Packet;
use crate::track::Tuple;
use hairpin_wire::{Addr, proto};

/// As many packets are looked at together.
pub(super) const BATCH: usize = 64;

/// What a rule asks of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The set.
    pub set: SetId,
    /// Which of the packet's addresses and so on.
    pub directions: Directions,
}

impl Sets {
    /// Touches what these packets will look at in a set, if it is so large that they would wait for it.
    pub fn look_ahead(&self, asked: Asked, packets: &[Packet]) {
        let Some(set) = self.slot(asked.set).map(|slot| &slot.set) else { return };
        let Body::Hash(hash) = &set.body else { return };
        if !hash.is_large() || asked.directions.count() < set.kind.parts().len() {
            return;
        }
        for packets in packets.chunks(BATCH) {
            let mut elems = [None; BATCH];
            for (packet, place) in packets.iter().zip(&mut elems) {
                *place = element(set, packet, asked.directions);
            }
            hash.look_ahead(&elems);
        }
    }
}

/// The element that a packet is to a set as it arrives: without the details of [`super::packet::element`], and None where that needs
/// more than the packet's own bytes.
fn element(set: &Set, packet: &Packet, directions: Directions) -> Option<Elem> {
    let tuple = Tuple::of_packet(packet).filter(|t| set.options.family.is_none_or(|family| family == t.family))?;
    let mask = set.options.address_mask().map_or(u128::MAX, |mask| mask.0);
    let mut elem = Elem::default();
    let mut addresses = 0;
    for (part, is_source) in set.kind.parts().iter().zip(directions.iter()) {
        match part {
            Part::Ip | Part::Net => {
                let ip = if is_source { tuple.src } else { tuple.dst };
                let ip = if addresses == 0 || set.kind == Kind::HashNetNet { Addr(ip.0 & mask) } else { ip };
                let cidr = if *part == Part::Net { tuple.family.bits() } else { 0 };
                match addresses {
                    0 => (elem.ip, elem.cidr) = (ip, cidr),
                    _ => (elem.ip2, elem.cidr2) = (ip, cidr),
                }
                addresses += 1;
            }
            Part::Port => {
                elem.proto = tuple.protocol;
                elem.port = match tuple.protocol {
                    proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP if is_source => tuple.src_id,
                    proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP => tuple.dst_id,
                    proto::ICMP | proto::ICMPV6 => tuple.dst_id,
                    _ => 0,
                };
            }
            Part::Mark => elem.mark = packet.meta.mark & set.options.markmask.unwrap_or(u32::MAX),
            Part::Mac | Part::Iface | Part::Set => return None,
        }
    }
    Some(elem)
}

impl Hash {
    /// Touches what look-ups of these elements will wait for: of networks, in the longest few lengths there are.
    fn look_ahead(&self, elems: &[Option<Elem>; BATCH]) {
        const LENGTHS: usize = 4;
        let each_length = |which: usize| {
            let lengths = self.lengths(which).take(LENGTHS);
            lengths.fold(0, |touched, cidr| touched ^ self.touch(elems, Some((which, cidr))))
        };
        let touched = match self.is_net {
            [false, false] => self.touch(elems, None),
            [true, false] => each_length(0),
            [false, true] => each_length(1),
            // Of pairs there may be many.
            [true, true] => 0,
        };
        std::hint::black_box(touched);
    }
}
