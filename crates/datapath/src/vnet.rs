//! The header that Linux puts before a frame to say what its sender left undone (`struct virtio_net_hdr`).

use crate::Outgoing;
use hairpin_engine::packet::{Checksum, Gso, GsoKind, Offload};
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{checksum, proto};

/// Bytes of the header.
pub(crate) const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What a received header says. A kind of segmentation that is not known counts as none: the frame is then too long, and dropped
/// as such. A checksum that is open anywhere but in a TCP or UDP header right behind the network header (SCTP, tunnels) is filled in at
/// once.
pub(crate) fn parse(header: &[u8; LEN], frame: &mut [u8], network: usize) -> Offload {
    let [flags, kind, _, _, size_low, size_high, start_low, start_high, offset_low, offset_high] = *header;
    let start = usize::from(u16::from_ne_bytes([start_low, start_high]));
    let offset = usize::from(u16::from_ne_bytes([offset_low, offset_high]));
    let checksum = match flags {
        f if f & NEEDS_CSUM != 0 && is_usual(frame, network, start, offset) => Checksum::Partial,
        f if f & NEEDS_CSUM != 0 => {
            fill(frame, start, offset);
            Checksum::Bytes
        }
        f if f & DATA_VALID != 0 => Checksum::Good,
        _ => Checksum::Bytes,
    };
    let size = u16::from_ne_bytes([size_low, size_high]);
    let gso = match kind & !GSO_ECN {
        GSO_TCPV4 | GSO_TCPV6 => Some(GsoKind::Tcp),
        GSO_UDP_L4 => Some(GsoKind::Udp),
        _ => None,
    };
    let gso = gso.filter(|_| size > 0).map(|kind_of| Gso { kind: kind_of, size, ecn: kind & GSO_ECN != 0 });
    Offload { checksum, gso }
}

/// Whether the engine will find the transport header where the checksum begins.
fn is_usual(frame: &[u8], network: usize, start: usize, offset: usize) -> bool {
    let Some(ip) = frame.get(network..) else { return false };
    let (at, protocol) = match ip.first().map(|byte| byte >> 4) {
        Some(4) => (usize::from(ip[0] & 15) * 4, ip.get(9).copied()),
        Some(6) => match Ipv6::new(ip).and_then(|ip| ip.transport().ok()) {
            Some(transport) => (transport.offset, Some(transport.protocol)),
            None => return false,
        },
        _ => return false,
    };
    network + at == start && matches!((protocol, offset), (Some(proto::TCP), 16) | (Some(proto::UDP), 6))
}

fn fill(frame: &mut [u8], start: usize, offset: usize) {
    const SCTP: usize = 8;
    let Some(rest) = frame.get_mut(start..) else { return };
    if offset == SCTP && rest.len() >= 12 {
        rest[8..12].fill(0);
        let sum = checksum::crc32c(rest);
        rest[8..12].copy_from_slice(&sum.to_le_bytes());
    } else if rest.len() >= offset + 2 {
        // The place holds the sum of the pseudo header, which is thereby part of the whole.
        let sum = checksum::checksum(rest);
        rest[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The header of a frame to be sent.
pub(crate) fn emit(frame: &Outgoing<'_>) -> [u8; LEN] {
    let mut header = [0; LEN];
    if frame.offload == Offload::default() {
        return header;
    }
    let transport = u16::try_from(frame.transport).unwrap_or(u16::MAX);
    if frame.offload.checksum == Checksum::Partial {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&transport.to_ne_bytes());
        let offset: u16 = if frame.protocol == proto::TCP { 16 } else { 6 };
        header[8..10].copy_from_slice(&offset.to_ne_bytes());
    }
    if let Some(gso) = frame.offload.gso {
        let is_v6 = frame.bytes.get(frame.network).is_some_and(|first| first >> 4 == 6);
        let (kind, own) = match gso.kind {
            GsoKind::Tcp => {
                let words = frame.bytes.get(frame.transport + 12).map_or(5, |byte| byte >> 4);
                (if is_v6 { GSO_TCPV6 } else { GSO_TCPV4 }, u16::from(words) * 4)
            }
            GsoKind::Udp => (GSO_UDP_L4, 8),
        };
        header[1] = kind | if gso.ecn { GSO_ECN } else { GSO_NONE };
        header[2..4].copy_from_slice(&transport.saturating_add(own).to_ne_bytes());
        header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
    }
    header
}
