//! TFTP (RFC 1350): the server answers a request from another port, to the port the request came from.

use super::{Help, Helper};
use crate::fate::DropReason;
use crate::track::{Direction, ExpectNat};
use hairpin_wire::proto;
use hairpin_wire::udp;

pub(super) const HELPER: Helper =
    Helper { name: "tftp", protocols: &[proto::UDP], max_expected: 1, timeout: 300, help };

/// Opcodes of the two requests.
const READ: [u8; 2] = [0, 1];
const WRITE: [u8; 2] = [0, 2];

fn help(this: &mut Help<'_, '_>) -> Result<(), DropReason> {
    let opcode = this.packet.l4().get(udp::HEADER_LEN..).and_then(|payload| payload.first_chunk::<2>());
    if !opcode.is_some_and(|opcode| [READ, WRITE].contains(opcode)) {
        return Ok(());
    }
    let answer = this.tuple(Direction::Reply)?;
    let mut expectation = this.expectation(proto::UDP, answer.src, answer.dst, answer.dst_id)?;
    if this.is_translated() {
        let request = this.tuple(Direction::Original)?;
        expectation.nat = Some(ExpectNat {
            saved_id: request.src_id,
            saved_addr: expectation.tuple.dst,
            direction: Direction::Reply,
        });
    }
    this.expect(expectation).map(|_| ()).map_err(|_| DropReason::Helper)
}
