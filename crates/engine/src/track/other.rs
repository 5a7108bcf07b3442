//! GRE, and the protocols that tracking knows nothing of.

use super::{Conn, Observe, ProtoState, Seen, Status};

/// Looks at a GRE packet: a stream as soon as both ends have spoken. The time-outs are the connection's own, for a helper may have
/// made them longer (PPTP).
pub(super) fn observe_gre(conn: &mut Conn, is_new: bool, context: &Observe<'_>) -> Seen {
    let knobs = context.knobs;
    if is_new {
        conn.proto = ProtoState::Gre { timeout: knobs.gre_timeout, stream_timeout: knobs.gre_timeout_stream };
    }
    let (timeout, stream_timeout) = match conn.proto {
        ProtoState::Gre { timeout, stream_timeout } => (timeout, stream_timeout),
        _ => (knobs.gre_timeout, knobs.gre_timeout_stream),
    };
    if conn.status.has(Status::SEEN_REPLY) {
        conn.refresh(context.now.mono, stream_timeout);
        if !conn.status.has(Status::NAT_CLASH) {
            conn.status.set(Status::ASSURED);
        }
    } else {
        conn.refresh(context.now.mono, timeout);
    }
    Seen::Accept
}

/// Looks at a packet of any other protocol.
pub(super) fn observe(conn: &mut Conn, context: &Observe<'_>) -> Seen {
    conn.refresh(context.now.mono, context.knobs.generic_timeout);
    Seen::Accept
}
