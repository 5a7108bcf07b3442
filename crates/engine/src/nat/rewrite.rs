//! Rewriting packets: the only code that changes addresses and ports.

use super::Manip;
use crate::packet::Packet;
use crate::track::Tuple;
use hairpin_wire::checksum::{self, update_u16};
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, proto};

const SCTP_HEADER_LEN: usize = 12;

/// What one side of a packet is changed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The address of that side.
    pub(super) addr: Addr,
    /// The ids of both sides: what ICMP and GRE have in their place belongs to one of them, whichever side it is.
    pub(super) src_id: u16,
    /// See there.
    pub(super) dst_id: u16,
}

impl Target {
    /// That side of a tuple.
    pub(super) const fn new(tuple: &Tuple, side: Manip) -> Target {
        let addr = match side {
            Manip::Src => tuple.src,
            Manip::Dst => tuple.dst,
        };
        Target { addr, src_id: tuple.src_id, dst_id: tuple.dst_id }
    }
}

/// Gives one side of the packet the address and key of `target` (`nf_nat_manip_pkt`). False when a header is cut.
#[inline(always)]
pub(super) fn packet(packet: &mut Packet, target: Target, side: Manip) -> bool {
    let (family, l4) = (packet.family(), packet.head().l4);
    let l4 = (!packet.is_later_fragment() && !packet.head().broken).then_some(l4);
    let protocol = packet.protocol();
    let old = match side {
        Manip::Src => packet.src(),
        Manip::Dst => packet.dst(),
    };
    let open = if packet.meta.made_here { packet.open_checksum() } else { None };
    if !edit(packet.ip_mut(), l4, protocol, Change::new(family, old, target, side)) {
        return false;
    }
    if let Some(l4) = l4 {
        let whole_tcp = protocol == proto::TCP && packet.length() >= l4 + 20;
        packet.pull(l4 + if whole_tcp { 20 } else { 8 });
    }
    packet.set_head_addr(side, target.addr);
    // The sum of the pseudo header, which does not know of prefixes that a rule translated before.
    if let Some(sum) = open {
        let delta = checksum::addr_delta(family, old, target.addr);
        packet.put_checksum(!checksum::finish(checksum::combine(u32::from(sum), delta)));
    }
    true
}

/// Changes the packet that an ICMP error quotes, on the side opposite to the packet's own; `error` is the message from the ICMP
/// header on, `sought` the protocol of its tuple. The ICMP checksum is the caller's. Whether a checksum was reckoned anew instead of mended; None when a header is cut.
pub(super) fn quoted(error: &mut [u8], family: Family, sought: u8, target: Target, side: Manip) -> Option<bool> {
    let inner = error.get_mut(8..)?;
    let (l4, protocol) = match family {
        Family::V4 => Ipv4::new(&*inner).map(|ip| (Some(ip.header_len()), ip.protocol()))?,
        Family::V6 => match Ipv6::new(&*inner)?.transport() {
            Ok(t) if !t.is_later_fragment() => (Some(t.offset), t.protocol),
            _ => (None, sought),
        },
    };
    let is_reckoned = protocol == proto::SCTP && l4.is_some_and(|l4| inner.len() >= l4 + SCTP_HEADER_LEN);
    let old = match (family, side) {
        (Family::V4, Manip::Src) => Ipv4::new(&*inner).map(|ip| ip.src()),
        (Family::V4, Manip::Dst) => Ipv4::new(&*inner).map(|ip| ip.dst()),
        (Family::V6, Manip::Src) => Ipv6::new(&*inner).map(|ip| ip.src()),
        (Family::V6, Manip::Dst) => Ipv6::new(&*inner).map(|ip| ip.dst()),
    };
    let change = Change::new(family, old?, target, side);
    edit(inner, l4, protocol, change).then_some(is_reckoned)
}

/// `ip` starts at a network header; `l4` is the transport header's offset in it, if it may be touched.
#[inline(always)]
fn edit(ip: &mut [u8], l4: Option<usize>, protocol: u8, change: Change) -> bool {
    if let Some(l4) = l4 {
        let Some(header) = ip.get_mut(l4..) else { return false };
        if !change.transport(header, protocol) {
            return false;
        }
    }
    let at = match (change.family, change.side) {
        (Family::V4, Manip::Src) => 12,
        (Family::V4, Manip::Dst) => 16,
        (Family::V6, Manip::Src) => 8,
        (Family::V6, Manip::Dst) => 24,
    };
    if change.family == Family::V4
        && let Some(header) = ip.first_chunk_mut::<12>()
    {
        let sum = change.mend(u16::from_be_bytes([header[10], header[11]]));
        header[10..].copy_from_slice(&sum.to_be_bytes());
    }
    change.target.addr.write(change.family, ip.get_mut(at..).unwrap_or_default());
    true
}

struct Change {
    family: Family,
    /// What the change of address adds to a sum over it.
    delta: u32,
    target: Target,
    side: Manip,
}

impl Change {
    #[inline(always)]
    fn new(family: Family, old: Addr, target: Target, side: Manip) -> Change {
        Change { family, delta: checksum::addr_delta(family, old, target.addr), target, side }
    }

    /// Changes the key in a transport header and mends its checksum. False when the header is too short to be translated.
    #[inline]
    fn transport(&self, header: &mut [u8], protocol: u8) -> bool {
        match protocol {
            proto::TCP => self.tcp(header),
            proto::UDP | proto::UDPLITE => self.udp(header, protocol == proto::UDPLITE),
            proto::SCTP => self.sctp(header),
            proto::ICMP => self.icmp(header),
            proto::ICMPV6 => self.icmp6(header),
            proto::GRE => self.gre(header),
            _ => true,
        }
    }

    const fn key(&self) -> u16 {
        match self.side {
            Manip::Src => self.target.src_id,
            Manip::Dst => self.target.dst_id,
        }
    }

    /// Puts the port in its place; the old one.
    #[inline]
    fn set_port(&self, ports: &mut [u8; 8]) -> u16 {
        let at = if self.side == Manip::Src { 0 } else { 2 };
        let old = u16::from_be_bytes([ports[at], ports[at + 1]]);
        ports[at..at + 2].copy_from_slice(&self.key().to_be_bytes());
        old
    }

    /// A checksum after the address changed.
    #[inline]
    fn mend(&self, sum: u16) -> u16 {
        checksum::update_by(sum, self.delta)
    }

    /// A checksum after both address and key changed.
    #[inline]
    fn mend_both(&self, sum: u16, old_key: u16) -> u16 {
        checksum::update_by(sum, checksum::combine(self.delta, u32::from(!old_key) + u32::from(self.key())))
    }

    #[inline]
    fn tcp(&self, header: &mut [u8]) -> bool {
        let Some(ports) = header.first_chunk_mut() else { return false };
        let old = self.set_port(ports);
        // A quoted header may end before the checksum.
        if let Some(header) = header.first_chunk_mut::<20>() {
            let sum = self.mend_both(u16::from_be_bytes([header[16], header[17]]), old);
            header[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        true
    }

    #[inline]
    fn udp(&self, header: &mut [u8], lite: bool) -> bool {
        let Some(header) = header.first_chunk_mut() else { return false };
        let old = self.set_port(header);
        let sum = u16::from_be_bytes([header[6], header[7]]);
        // UDP's 0 means "no checksum"; UDP-Lite has no such thing.
        if sum != 0 || lite {
            let sum = checksum::udp_nonzero(self.mend_both(sum, old));
            header[6..].copy_from_slice(&sum.to_be_bytes());
        }
        true
    }

    fn sctp(&self, header: &mut [u8]) -> bool {
        let Some(ports) = header.first_chunk_mut() else { return false };
        self.set_port(ports);
        if header.len() >= SCTP_HEADER_LEN {
            header[8..12].fill(0);
            let sum = checksum::crc32c(header);
            header[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        true
    }

    fn icmp(&self, header: &mut [u8]) -> bool {
        use hairpin_wire::icmp4::{ADDRESS_MASK_REPLY, ECHO, ECHO_REPLY, TIMESTAMP};
        if header.len() < 8 {
            return false;
        }
        // Echo, and the four pairs of queries from time stamp (13) to address mask reply (18).
        if matches!(header[0], ECHO | ECHO_REPLY | TIMESTAMP..=ADDRESS_MASK_REPLY)
            && let Some(old) = replace_u16(header, 4, self.target.src_id)
        {
            let sum = update_u16(read_u16(header, 2), old, self.target.src_id);
            replace_u16(header, 2, sum);
        }
        true
    }

    fn icmp6(&self, header: &mut [u8]) -> bool {
        use hairpin_wire::icmp6::{ECHO, ECHO_REPLY};
        if header.len() < 8 {
            return false;
        }
        let mut sum = self.mend(read_u16(header, 2));
        if matches!(header[0], ECHO | ECHO_REPLY)
            && let Some(old) = replace_u16(header, 4, self.target.src_id)
        {
            sum = update_u16(sum, old, self.target.src_id);
        }
        replace_u16(header, 2, sum);
        true
    }

    /// Only PPTP's call id on the destination side is ours to change (`gre_manip_pkt`).
    fn gre(&self, header: &mut [u8]) -> bool {
        // The header of version 1 is asked for whatever the version.
        if header.len() < 8 {
            return false;
        }
        let version = header[1] & 7;
        if version == 1 && self.side == Manip::Dst {
            return replace_u16(header, 6, self.target.dst_id).is_some();
        }
        true
    }
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[a, b]) => u16::from_be_bytes([a, b]),
        _ => 0,
    }
}

/// Puts `new` at `at` and gives back what was there.
fn replace_u16(bytes: &mut [u8], at: usize, new: u16) -> Option<u16> {
    let old = read_u16(bytes, at);
    bytes.get_mut(at..at + 2)?.copy_from_slice(&new.to_be_bytes());
    Some(old)
}
