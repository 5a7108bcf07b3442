//! Sequence numbers of TCP connections whose payload a helper made longer or shorter (`nf_conntrack_seqadj`).
//!
//! One end counts bytes that the other end never sees. What goes one way gets another sequence number behind the place of the
//! change, and what comes back acknowledges numbers as their sender counts them. Per direction one place is remembered: offsets
//! before it and behind it. A later change moves the place forward, and what was behind becomes what is before.

use super::{Conn, Direction, SeqAdjust, Status};
use crate::packet::Packet;
use hairpin_wire::checksum;
use hairpin_wire::proto;
use hairpin_wire::tcp::{self, Tcp, option};

impl SeqAdjust {
    /// The offset that applies to the sequence number `seq` of this direction, as its sender counts.
    pub(crate) fn offset_at(&self, seq: u32) -> i32 {
        if is_after(seq, self.position) { self.after } else { self.before }
    }

    /// Notes that the payload that begins at `seq` became `change` bytes longer. The same segment sent again changes nothing, as
    /// far as one place can tell.
    fn note(&mut self, seq: u32, change: i32) {
        if self.before == self.after || is_after(seq, self.position) {
            self.position = seq;
            self.before = self.after;
            self.after = self.after.wrapping_add(change);
        }
    }

    /// Turns a number that the receiver of this direction acknowledges back into one that its sender knows.
    fn undone(&self, ack: u32) -> u32 {
        let offset =
            if is_after(ack.wrapping_sub(self.before as u32), self.position) { self.after } else { self.before };
        ack.wrapping_sub(offset as u32)
    }
}

/// Notes that a helper made the payload of a segment that goes `dir` and begins at `seq`, as its sender counts, `change` bytes
/// longer.
pub(crate) fn note(conn: &mut Conn, dir: Direction, seq: u32, change: i32) {
    if change != 0 {
        conn.status.set(Status::SEQ_ADJUST);
        conn.extra_mut().seq_adjust[dir.index()].note(seq, change);
    }
}

/// All sequence numbers of this direction are `offset` more for the receiver (`nf_ct_seqadj_init`).
pub(crate) fn move_sequence(conn: &mut Conn, dir: Direction, offset: i32) {
    if offset != 0 {
        conn.status.set(Status::SEQ_ADJUST);
        let adjust = &mut conn.extra_mut().seq_adjust[dir.index()];
        (adjust.before, adjust.after) = (offset, offset);
    }
}

/// Corrects sequence number, acknowledgement and selective acknowledgements of a segment of `conn` that goes `dir`, and its checksum by
/// the difference. False when its options are malformed: then the packet is to be dropped. Does nothing for connections without
/// [`Status::SEQ_ADJUST`].
pub(crate) fn adjust(conn: &Conn, packet: &mut Packet, dir: Direction) -> bool {
    let Some(extra) = conn.extra().filter(|_| conn.status.has(Status::SEQ_ADJUST)) else { return true };
    if packet.protocol() != proto::TCP {
        return true;
    }
    let (this, other) = (&extra.seq_adjust[dir.index()], &extra.seq_adjust[dir.other().index()]);
    let Some(mut tcp) = Tcp::new(packet.l4_mut()).filter(Tcp::header_ok) else { return false };
    let seq = tcp.seq();
    let new_seq = seq.wrapping_add(this.offset_at(seq) as u32);
    tcp.set_seq(new_seq);
    mend(&mut tcp, seq, new_seq);
    if tcp.flags() & tcp::ACK == 0 {
        return true;
    }
    let ack = tcp.ack();
    let new_ack = other.undone(ack);
    tcp.set_ack(new_ack);
    mend(&mut tcp, ack, new_ack);
    adjust_sacks(&mut tcp, other)
}

/// Corrects the edges of every SACK block; false when the options are malformed.
fn adjust_sacks(tcp: &mut Tcp<&mut [u8]>, other: &SeqAdjust) -> bool {
    let mut at = 0;
    loop {
        let (kind, length) = match *tcp.options().get(at..).unwrap_or_default() {
            [] | [option::END, ..] => return true,
            [option::NOP, ..] => {
                at += 1;
                continue;
            }
            [_] => return false,
            [kind, length, ..] => (kind, usize::from(length)),
        };
        if length < 2 || at + length > tcp.options().len() {
            return false;
        }
        if kind == option::SACK && length >= 10 && (length - 2).is_multiple_of(8) {
            for edge in (at + 2..at + length).step_by(4) {
                adjust_edge(tcp, edge, other);
            }
        }
        at += length;
    }
}

/// Corrects the sequence number at this offset in the options.
fn adjust_edge(tcp: &mut Tcp<&mut [u8]>, at: usize, other: &SeqAdjust) {
    let Some(bytes) = tcp.options_mut().get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return };
    let old = u32::from_be_bytes(*bytes);
    let new = other.undone(old);
    *bytes = new.to_be_bytes();
    mend(tcp, old, new);
}

/// Mends the checksum after one number became another. As in the kernel, an odd offset is not looked at.
fn mend(tcp: &mut Tcp<&mut [u8]>, old: u32, new: u32) {
    if old != new {
        let sum = checksum::update_u32(tcp.checksum(), old, new);
        tcp.set_checksum(sum);
    }
}

/// Whether the sequence number `a` lies after `b`.
fn is_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::testing;
    use hairpin_wire::{Addr, Family, build};
    use proptest::prelude::*;

    #[test]
    fn a_shorter_line_moves_what_follows() {
        // 26 bytes at 1010 became 24.
        let conn = noted(&[(1010, -2)]);
        let original = |seq| seen(&conn, Direction::Original, seq, 77).0;
        assert_eq!([1000, 1010, 1011, 1036].map(original), [1000, 1010, 1009, 1034]);
        let reply = |ack| seen(&conn, Direction::Reply, 500, ack).1;
        assert_eq!([1010, 1034, 1040].map(reply), [1010, 1036, 1042]);
    }

    #[test]
    fn a_later_change_makes_the_first_one_the_rule() {
        let conn = noted(&[(1010, -2), (1100, 5)]);
        let original = |seq| seen(&conn, Direction::Original, seq, 77).0;
        assert_eq!([1050, 1100, 1101, 1200].map(original), [1048, 1098, 1104, 1203]);
        let reply = |ack| seen(&conn, Direction::Reply, 500, ack).1;
        assert_eq!([1050, 1098, 1203].map(reply), [1052, 1100, 1200]);
    }

    #[test]
    fn the_same_line_again_counts_once() {
        assert_eq!(noted(&[(1010, -2), (1010, -2)]).extra().unwrap().seq_adjust[0].after, -2);
        assert_eq!(noted(&[(1010, -2), (900, 9)]).extra().unwrap().seq_adjust[0].after, -2);
        assert!(!noted(&[(1010, 0)]).status.has(Status::SEQ_ADJUST));
    }

    #[test]
    fn selective_acknowledgements_are_undone() {
        let conn = noted(&[(1010, -2)]);
        let options = [1, 1, 5, 18, 0, 0, 3, 0xf2, 0, 0, 4, 0x0a, 0, 0, 4, 0x4c, 0, 0, 4, 0xb0];
        let mut packet = segment(500, 1010, &options);
        assert!(adjust(&conn, &mut packet, Direction::Reply));
        // 1010 and 1034, 1100 and 1200.
        let expected = [1, 1, 5, 18, 0, 0, 3, 0xf2, 0, 0, 4, 0x0c, 0, 0, 4, 0x4e, 0, 0, 4, 0xb2];
        assert_eq!(Tcp::new(packet.l4()).unwrap().options(), expected);
        assert!(sum_ok(&packet));
    }

    #[test]
    fn malformed_options_are_refused() {
        let conn = noted(&[(1010, -2)]);
        for options in [&[5, 1, 0, 0][..], &[5, 40, 0, 0], &[1, 1, 1, 5]] {
            assert!(!adjust(&conn, &mut segment(500, 1010, options), Direction::Reply));
        }
        assert!(adjust(&conn, &mut segment(500, 1010, &[0, 5, 1, 1]), Direction::Reply));
    }

    proptest! {
        /// What an end sends, the other end acknowledges: after both corrections the sender finds its own number.
        #[test]
        fn acknowledgements_come_back(position in any::<u32>(), change in -30i32..30, ahead in 0u32..5000) {
            let adjust = SeqAdjust { position, before: 0, after: change };
            let seq = position.wrapping_add(60).wrapping_add(ahead);
            let sent = seq.wrapping_add(adjust.offset_at(seq) as u32);
            prop_assert_eq!(adjust.undone(sent), seq);
        }

        #[test]
        fn checksums_stay_right_and_nothing_panics(
            position in any::<u32>(), change in any::<i32>(), seq in any::<u32>(), ack in any::<u32>(),
            options in prop::collection::vec(any::<u8>(), 0..40), reply in any::<bool>(),
        ) {
            let conn = noted(&[(position, change)]);
            let mut packet = segment(seq, ack, &options);
            let dir = if reply { Direction::Reply } else { Direction::Original };
            adjust(&conn, &mut packet, dir);
            let is_even = !options.contains(&option::SACK);
            prop_assert!(!is_even || sum_ok(&packet));
        }
    }

    fn noted(changes: &[(u32, i32)]) -> Conn {
        let mut conn = testing::conn(proto::TCP);
        for (seq, change) in changes {
            note(&mut conn, Direction::Original, *seq, *change);
        }
        conn
    }

    fn segment(seq: u32, ack: u32, options: &[u8]) -> Packet {
        let tcp = build::Tcp { seq, ack, flags: tcp::ACK, options, ..build::Tcp::default() };
        Packet::from_ip(&tcp.packet(Family::V4, Addr::v4(1), Addr::v4(2))).unwrap()
    }

    fn seen(conn: &Conn, dir: Direction, seq: u32, ack: u32) -> (u32, u32) {
        let mut packet = segment(seq, ack, &[]);
        assert!(adjust(conn, &mut packet, dir));
        assert!(sum_ok(&packet));
        let tcp = Tcp::new(packet.l4()).unwrap();
        (tcp.seq(), tcp.ack())
    }

    fn sum_ok(packet: &Packet) -> bool {
        checksum::transport(Family::V4, packet.src(), packet.dst(), proto::TCP, packet.l4()) == 0
    }
}
