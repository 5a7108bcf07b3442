//! Address translation: choosing a binding for a connection, and rewriting packets by it.

mod pick;
mod rewrite;

use crate::fate::DropReason;
use crate::hook::Hook;
use crate::net::IfIndex;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::rule::NatRange;
use crate::time::Instant;
use crate::track::{Class, Conn, ConnId, Conns, Direction, ExpectNat, Status};
use hairpin_wire::{Family, checksum, proto};
use rewrite::Target;

/// Which end of a packet is translated (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manip {
    /// The source: POSTROUTING and INPUT.
    Src,
    /// The destination: PREROUTING and OUTPUT.
    Dst,
}

impl Manip {
    /// The side that a hook translates. FORWARD translates nothing and counts as the source side.
    pub const fn at(hook: Hook) -> Manip {
        match hook {
            Hook::Prerouting | Hook::Output => Manip::Dst,
            Hook::Input | Hook::Forward | Hook::Postrouting => Manip::Src,
        }
    }

    /// The other side.
    pub const fn other(self) -> Manip {
        match self {
            Manip::Src => Manip::Dst,
            Manip::Dst => Manip::Src,
        }
    }

    /// The side of the original direction that a translation on this side of a packet going `direction` belongs to.
    pub const fn seen_from(self, direction: Direction) -> Manip {
        match direction {
            Direction::Original => self,
            Direction::Reply => self.other(),
        }
    }
}

/// Settles one side of a connection that is not confirmed yet (`nf_nat_setup_info`).
pub(crate) fn set_up(
    conns: &mut Conns,
    id: ConnId,
    range: &NatRange,
    side: Manip,
    oif: Option<IfIndex>,
    rng: &Rng,
    now: Instant,
) -> Result<(), DropReason> {
    let Some(conn) = conns.get(id) else { return Err(DropReason::NatFailed) };
    if conn.status.has(Status::CONFIRMED) {
        return Ok(());
    }
    if is_settled(conn, side) {
        return Err(DropReason::NatFailed);
    }
    // What is there looks like the inverse of what answers will be.
    let current = conn.tuple(Direction::Reply).invert().ok_or(DropReason::NatFailed)?;
    let mut pick = pick::Pick { conns, id, range, side, rng, now };
    let chosen = pick.tuple(&current).ok_or(DropReason::NatFailed)?;
    let reply = chosen.invert().ok_or(DropReason::NatFailed)?;
    let Some(conn) = conns.get_mut(id) else { return Err(DropReason::NatFailed) };
    if chosen != current {
        conn.set_tuple(Direction::Reply, reply);
        conn.status.set(changed_bit(side));
    }
    conn.status.set(settled_bit(side));
    if range.masquerade {
        conn.set_masquerade(oif);
    }
    if side == Manip::Src {
        conns.index_source(id);
        conns.note_source(chosen.family, chosen.src);
    }
    Ok(())
}

/// Settles a side that no rule wanted changed: the address stays, the port moves only when it would clash
/// (`nf_nat_alloc_null_binding`).
pub(crate) fn set_up_unchanged(
    conns: &mut Conns,
    id: ConnId,
    side: Manip,
    rng: &Rng,
    now: Instant,
) -> Result<(), DropReason> {
    let Some(conn) = conns.get(id) else { return Err(DropReason::NatFailed) };
    let addr = match side {
        Manip::Src => conn.tuple(Direction::Reply).dst,
        Manip::Dst => conn.tuple(Direction::Reply).src,
    };
    let range = NatRange { addrs: Some((addr, addr)), ..NatRange::default() };
    set_up(conns, id, &range, side, None, rng, now)
}

/// Settles both sides of a connection that a helper expected: it goes where its master goes (`nf_nat_follow_master`).
pub(crate) fn follow_master(
    conns: &mut Conns,
    id: ConnId,
    expected: &ExpectNat,
    rng: &Rng,
    now: Instant,
) -> Result<(), DropReason> {
    let master = conns.get(id).and_then(|c| c.extra()?.master).and_then(|m| conns.get(m));
    let Some(master) = master else { return Err(DropReason::NatFailed) };
    let seen = master.tuple(expected.direction.other());
    let source = NatRange { addrs: Some((seen.dst, seen.dst)), ..NatRange::default() };
    let port = expected.saved_id;
    let destination = NatRange { addrs: Some((seen.src, seen.src)), ports: Some((port, port)), ..NatRange::default() };
    set_up(conns, id, &source, Manip::Src, None, rng, now)?;
    set_up(conns, id, &destination, Manip::Dst, None, rng, now)
}

/// Whether this side of the connection is settled, changed or not.
pub(crate) fn is_settled(conn: &Conn, side: Manip) -> bool {
    conn.status.has(settled_bit(side))
}

/// Whether packets of this direction are changed on this side.
#[inline]
pub(crate) fn is_changed(conn: &Conn, direction: Direction, side: Manip) -> bool {
    conn.status.has(changed_bit(side.seen_from(direction)))
}

/// Translates a packet by its connection's binding, at a hook of this side (`nf_nat_packet`).
#[inline]
pub(crate) fn translate(conn: &Conn, class: Class, side: Manip, packet: &mut Packet) -> Result<(), DropReason> {
    let direction = class.direction();
    if !is_changed(conn, direction, side) {
        return Ok(());
    }
    let answer = direction.other();
    let target = if matches!(conn.protocol(), proto::ICMP | proto::ICMPV6) {
        Target::new(&conn.tuple(answer).invert().ok_or(DropReason::NatFailed)?, side)
    } else {
        let ((src, src_id), (dst, dst_id)) = (conn.destination(answer), conn.source(answer));
        Target { addr: if side == Manip::Src { src } else { dst }, src_id, dst_id }
    };
    if rewrite::packet(packet, target, side) { Ok(()) } else { Err(DropReason::NatFailed) }
}

/// Translates an ICMP error about a connection: the packet it quotes, and then the error itself like any packet of its
/// direction (`nf_nat_icmp_reply_translation`). `comes_in`: at a hook for packets that come in.
pub(crate) fn translate_error(
    conn: &Conn,
    class: Class,
    side: Manip,
    comes_in: bool,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let family = packet.family();
    let protocol = packet.protocol();
    let (src, dst) = (packet.src(), packet.dst());
    let sum = |bytes: &[u8], src, dst| match family {
        Family::V4 => checksum::checksum(bytes),
        Family::V6 => checksum::transport(family, src, dst, protocol, bytes),
    };
    if packet.l4().len() < 8 {
        return Err(DropReason::NatFailed);
    }
    if !packet.is_checksum_known(comes_in) {
        if sum(packet.l4(), src, dst) != 0 {
            return Err(DropReason::NatFailed);
        }
        packet.meta.checksum_seen = Some(packet.sum_to_keep());
    }
    let error = packet.l4_mut();
    let redirect = match family {
        Family::V4 => hairpin_wire::icmp4::REDIRECT,
        Family::V6 => hairpin_wire::icmp6::REDIRECT,
    };
    let both = Status::SRC_NAT_DONE.union(Status::DST_NAT_DONE);
    let changed = Status::SRC_NAT.union(Status::DST_NAT);
    if error[0] == redirect && (!conn.status.has(both) || conn.status.any(changed)) {
        return Err(DropReason::NatFailed);
    }
    let direction = class.direction();
    if !is_changed(conn, direction, side) {
        return Ok(());
    }
    let answer = conn.tuple(direction.other());
    let target = answer.invert().ok_or(DropReason::NatFailed)?;
    let quoted = Target::new(&answer, side.other());
    let is_reckoned =
        rewrite::quoted(error, family, answer.protocol, quoted, side.other()).ok_or(DropReason::NatFailed)?;
    error[2..4].fill(0);
    let new = sum(error, src, dst);
    error[2..4].copy_from_slice(&new.to_be_bytes());
    if is_reckoned {
        // As for SCTP itself, Linux now holds the whole packet's checksum for unseen (`sctp_manip_pkt`).
        packet.meta.checksum_seen = None;
    }
    if rewrite::packet(packet, Target::new(&target, side), side) { Ok(()) } else { Err(DropReason::NatFailed) }
}

const fn changed_bit(side: Manip) -> Status {
    match side {
        Manip::Src => Status::SRC_NAT,
        Manip::Dst => Status::DST_NAT,
    }
}

const fn settled_bit(side: Manip) -> Status {
    match side {
        Manip::Src => Status::SRC_NAT_DONE,
        Manip::Dst => Status::DST_NAT_DONE,
    }
}
