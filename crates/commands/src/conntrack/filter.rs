//! Which connections a command line means.

use super::options::{NatWish, Opt, Request, Side};
use hairpin_engine::track::{Direction, ProtoState, Record, Status, Tuple, Zone};
use hairpin_wire::Addr;

impl Request {
    /// Whether a connection is meant. `-U` takes mark, status, state and labels as what to change, not as what to find.
    pub(super) fn means(&self, record: &Record) -> bool {
        let changes = self.command == super::options::Command::Update;
        self.family.is_none_or(|family| family == record.family())
            && self.protocol.is_none_or(|protocol| protocol.0 == record.protocol())
            && self.id.is_none_or(|id| id == record.number)
            && self.networks_fit(record)
            && side_fits(&self.original, record.tuple(Direction::Original), self.masks)
            && side_fits(&self.reply, record.tuple(Direction::Reply), [None; 2])
            && self.zones_fit(record)
            && self.nat_fits(record)
            && self.labels.is_none_or(|labels| record.labels.unwrap_or(0) & labels == labels)
            && (changes || self.values_fit(record))
    }

    fn values_fit(&self, record: &Record) -> bool {
        self.mark.is_none_or(|(mark, mask)| record.mark & mask == mark)
            && self.status.is_none_or(|status| record.status.has(status))
            && self.state.is_none_or(|state| state_number(record) == Some(state))
            && tags(record).iter().zip(self.tags).all(|(tag, wish)| wish.is_none_or(|wish| *tag == Some(wish)))
    }

    fn networks_fit(&self, record: &Record) -> bool {
        let tuple = record.tuple(Direction::Original);
        [(self.original.src, self.masks[0], tuple.src), (self.original.dst, self.masks[1], tuple.dst)]
            .into_iter()
            .all(|(wish, mask, is)| wish.zip(mask).is_none_or(|(net, mask)| is.in_net(net, mask)))
    }

    fn zones_fit(&self, record: &Record) -> bool {
        // A zone is that of both directions, or each has its own; what is not so is 0.
        let Zone { original, reply } = record.zone;
        let (both, of) = if original == reply { (original, [0, 0]) } else { (0, [original, reply]) };
        let both = self.zone.is_none_or(|zone| zone == both);
        both && self.zones.iter().zip(of).all(|(wish, zone)| wish.is_none_or(|wish| wish == zone))
    }

    fn nat_fits(&self, record: &Record) -> bool {
        let any = self.has(Opt::AnyNat);
        let (source, destination) = (self.has(Opt::SrcNat) || any, self.has(Opt::DstNat) || any);
        // For -I and -U they are wishes.
        if !source && !destination {
            return true;
        }
        let [original, reply] = &record.tuples;
        let has = |done: Status, from: (Addr, u16), to: (Addr, u16), wish: NatWish| {
            record.status.has(done) && is_translated(from, to, wish)
        };
        let by_source = source
            && has(
                Status::SRC_NAT_DONE,
                (original.src, original.src_id),
                (reply.dst, far_id(reply, original.src_id, reply.dst_id)),
                self.source,
            );
        let by_destination = destination
            && has(
                Status::DST_NAT_DONE,
                (original.dst, original.dst_id),
                (reply.src, far_id(reply, original.dst_id, reply.src_id)),
                self.destination,
            );
        match (any, self.has(Opt::SrcNat), self.has(Opt::DstNat)) {
            (true, ..) => by_source || by_destination,
            (_, true, true) => by_source && by_destination,
            (_, true, false) => by_source,
            _ => by_destination,
        }
    }
}

/// The id that a translated port is compared by. For ICMP the tool compares what is at the ports' place: the same id on one side, and
/// type and code, which always differ, on the other.
fn far_id(reply: &Tuple, same: u16, other: u16) -> u16 {
    if reply.is_icmp() { reply.src_id ^ u16::from(reply.src_id == same) } else { other }
}

/// Whether an address or a port was translated, and to what is wished.
fn is_translated(from: (Addr, u16), to: (Addr, u16), wish: NatWish) -> bool {
    let (addr_changed, port_changed) = (from.0 != to.0, from.1 != to.1);
    match (wish.addr, wish.ports) {
        (None, None) => addr_changed || port_changed,
        (Some(addr), None) => addr_changed && to.0 == addr,
        (None, Some((port, _))) => port_changed && to.1 == port,
        (Some(addr), Some((port, _))) => addr_changed && to.0 == addr && port_changed && to.1 == port,
    }
}

fn side_fits(wish: &Side, tuple: &Tuple, masks: [Option<Addr>; 2]) -> bool {
    let addr = |wish: Option<Addr>, mask: Option<Addr>, is| mask.is_some() || wish.is_none_or(|wish| wish == is);
    addr(wish.src, masks[0], tuple.src)
        && addr(wish.dst, masks[1], tuple.dst)
        && wish.src_id.is_none_or(|id| id == tuple.src_id)
        && wish.dst_id.is_none_or(|id| id == tuple.dst_id)
}

/// The number of a connection's state in its protocol's list.
pub(super) fn state_number(record: &Record) -> Option<u8> {
    match record.proto {
        ProtoState::Tcp(tcp) => Some(tcp.state as u8),
        ProtoState::Sctp { state, .. } => Some(state),
        _ => None,
    }
}

/// SCTP's verification tags.
pub(super) fn tags(record: &Record) -> [Option<u32>; 2] {
    match record.proto {
        ProtoState::Sctp { tags, .. } => tags.map(Some),
        _ => [None; 2],
    }
}
