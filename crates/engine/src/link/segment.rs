//! Cutting a super-packet into the segments that it stands for, where the way out does not do it.

use crate::packet::{GsoKind, Packet};
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Family, tcp};

/// The segments of a super-packet, complete with their checksums (`tcp_gso_segment`, `__udp_gso_segment`). A packet that is none comes
/// back alone.
pub fn segment(packet: &Packet) -> Vec<Packet> {
    let whole = || {
        let mut whole = packet.clone();
        whole.meta.offload.gso = None;
        whole.complete_checksum();
        vec![whole]
    };
    let Some(gso) = packet.meta.offload.gso else { return whole() };
    let head_len = packet.head().l4 + packet.transport_header_len();
    let size = usize::from(gso.size);
    let (Some(head), Some(payload)) = (packet.ip().get(..head_len), packet.ip().get(head_len..)) else {
        return whole();
    };
    if size == 0 || payload.is_empty() {
        return whole();
    }
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate();
    pieces
        .filter_map(|(n, data)| {
            let mut bytes = Vec::with_capacity(packet.link_header().len() + head_len + data.len());
            bytes.extend_from_slice(packet.link_header());
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(data);
            let l3 = packet.link_header().len();
            fix_network(bytes.get_mut(l3..)?, packet.family(), n)?;
            let transport = bytes.get_mut(l3 + packet.head().l4..)?;
            match gso.kind {
                GsoKind::Tcp => fix_tcp(transport, n * size, n == 0, n + 1 == count)?,
                GsoKind::Udp => fix_udp(transport)?,
            }
            let mut piece = packet.with_bytes(bytes)?;
            piece.meta.offload.gso = None;
            piece.complete_checksum();
            Some(piece)
        })
        .collect()
}

fn fix_network(ip: &mut [u8], family: Family, n: usize) -> Option<()> {
    let len = u16::try_from(ip.len()).ok()?;
    match family {
        Family::V4 => {
            let mut ip = Ipv4::new(ip)?;
            let id = ip.id().wrapping_add(n as u16);
            ip.set_total_len(len);
            ip.set_id(id);
            ip.fill_checksum();
        }
        Family::V6 => Ipv6::new(ip)?.set_payload_len(len.checked_sub(40)?),
    }
    Some(())
}

/// CWR is said once, FIN and PSH at the end.
fn fix_tcp(segment: &mut [u8], sent: usize, is_first: bool, is_last: bool) -> Option<()> {
    let mut tcp = tcp::Tcp::new(segment)?;
    tcp.set_seq(tcp.seq().wrapping_add(sent as u32));
    let mut flags = tcp.flags();
    if !is_first {
        flags &= !tcp::CWR;
    }
    if !is_last {
        flags &= !(tcp::FIN | tcp::PSH);
    }
    tcp.set_flags(flags);
    Some(())
}

fn fix_udp(datagram: &mut [u8]) -> Option<()> {
    let len = u16::try_from(datagram.len()).ok()?;
    datagram.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Checksum, Gso, Offload};
    use hairpin_wire::tcp::{ACK, CWR, FIN, PSH};
    use hairpin_wire::{Addr, build, checksum, proto};

    fn addr(n: u8) -> Addr {
        Addr::v4(0x0a00_0000 + u32::from(n))
    }

    fn super_packet(family: Family, kind: GsoKind, payload: &[u8], size: u16) -> Packet {
        let bytes =
            match kind {
                GsoKind::Tcp => {
                    let flags = ACK | PSH | FIN | CWR;
                    build::Tcp { src_port: 1, dst_port: 2, seq: u32::MAX - 9, flags, payload, ..Default::default() }
                        .packet(family, addr(1), addr(2))
                }
                GsoKind::Udp => build::Udp { src_port: 1, dst_port: 2, payload }.packet(family, addr(1), addr(2)),
            };
        let mut packet = Packet::from_ip(&bytes).unwrap();
        packet.meta.offload = Offload { checksum: Checksum::Partial, gso: Some(Gso { kind, size, ecn: true }) };
        packet
    }

    #[test]
    fn segments_carry_the_same_bytes_in_order() {
        let payload: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
        for family in [Family::V4, Family::V6] {
            for (kind, number) in [(GsoKind::Tcp, proto::TCP), (GsoKind::Udp, proto::UDP)] {
                let whole = super_packet(family, kind, &payload, 1000);
                let pieces = segment(&whole);
                assert_eq!(pieces.len(), 3);
                let mut got = Vec::new();
                for (n, piece) in pieces.iter().enumerate() {
                    let at = piece.head().l4 + piece.transport_header_len();
                    assert_eq!(piece.wire_length(), piece.length());
                    assert!(piece.length() <= whole.wire_length());
                    let sum = checksum::transport(family, piece.src(), piece.dst(), number, piece.l4());
                    assert_eq!(sum, 0, "{family} {kind:?} {n}");
                    if family == Family::V4 {
                        assert!(Ipv4::new(piece.ip()).unwrap().checksum_ok());
                    }
                    if kind == GsoKind::Tcp {
                        let tcp = tcp::Tcp::new(piece.l4()).unwrap();
                        assert_eq!(tcp.seq(), (u32::MAX - 9).wrapping_add(got.len() as u32));
                        assert_eq!(tcp.flags() & CWR != 0, n == 0);
                        assert_eq!(tcp.flags() & (FIN | PSH) != 0, n == 2);
                    }
                    got.extend_from_slice(&piece.ip()[at..]);
                }
                assert_eq!(got, payload);
            }
        }
    }

    #[test]
    fn an_open_checksum_is_settled_or_completed_after_any_change() {
        let mut packet = super_packet(Family::V4, GsoKind::Tcp, b"abc", 1000);
        packet.l4_mut()[0] ^= 7;
        packet.settle_checksum();
        let pseudo = checksum::pseudo_header(Family::V4, addr(1), addr(2), proto::TCP, 23);
        assert_eq!(tcp::Tcp::new(packet.l4()).unwrap().checksum(), !checksum::finish(pseudo));
        packet.complete_checksum();
        assert_eq!(checksum::transport(Family::V4, addr(1), addr(2), proto::TCP, packet.l4()), 0);
    }
}
