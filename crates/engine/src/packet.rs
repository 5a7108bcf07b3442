//! A packet in the engine: its bytes, where its headers are (found once), and what the host knows about it.

use crate::nat::Manip;
use crate::net::IfIndex;
use crate::route::Route;
use crate::socket::Socket;
use crate::track::{Ahead, Tracked, Zone};
use hairpin_wire::ipv4::{self, Ipv4};
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, checksum, ethernet, proto};
use std::sync::Arc;

/// Bytes, headers and facts of one packet.
///
/// The buffer holds the link header (if any) and the network packet without link padding. Offsets given to methods count from
/// the first byte of the network header, as `u32`, `string --from` and the RFCs do.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    buf: Vec<u8>,
    l3: usize,
    head: Headers,
    /// What is known beside the bytes.
    pub meta: Meta,
}

/// Where the headers are and what rules compare most often. Kept in step with the bytes by [`Packet`]'s own methods.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The transport protocol: IPv4's protocol field, IPv6's last header found by walking the extension headers.
    pub protocol: u8,
    /// Offset of the transport header from the network header. For a later fragment: of its payload.
    pub l4: usize,
    /// Fragment offset in units of 8 bytes; 0 for whole packets and first fragments.
    pub fragment_offset: u16,
    /// More fragments follow.
    pub more_fragments: bool,
    /// IPv6: a fragment header is present (also on atomic fragments); its offset.
    pub fragment_header: Option<usize>,
    /// IPv6: the extension headers could not be walked to the end.
    pub broken: bool,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
}

impl Default for Headers {
    fn default() -> Self {
        Headers {
            family: Family::V4,
            protocol: 0,
            l4: 0,
            fragment_offset: 0,
            more_fragments: false,
            fragment_header: None,
            broken: false,
            src: Addr::UNSPECIFIED,
            dst: Addr::UNSPECIFIED,
        }
    }
}

/// What the host knows about a packet beside its bytes (the kernel's `sk_buff` fields that rules can see).
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Where it came from.
    pub origin: Origin,
    /// The device it arrived by, as `-i` sees it.
    pub iif: Option<IfIndex>,
    /// The device it will leave by, as `-o` sees it.
    pub oif: Option<IfIndex>,
    /// To whom the frame was addressed on the link.
    pub link_type: LinkType,
    /// What a device left undone.
    pub offload: Offload,
    /// Packet mark (`nfmark`).
    pub mark: u32,
    /// Queueing priority (CLASSIFY).
    pub priority: u32,
    /// The connection it belongs to.
    pub tracked: Tracked,
    /// It is this host's answer to an untracked packet: rules can neither take it out of tracking nor attach a template.
    pub answers_untracked: bool,
    /// Where its connection was found, when it was looked at ahead of its turn.
    pub(crate) ahead: Option<Ahead>,
    /// What `-j CT` asked for, until tracking has seen it.
    pub template: Option<Arc<Template>>,
    /// The route chosen for it.
    pub route: Option<Route>,
    /// `-j TRACE` was met.
    pub trace: bool,
    /// The sum of all bytes from the network header on when tracking found the transport checksum right on arrival
    /// (`CHECKSUM_COMPLETE`). Who asks later goes by this sum and not by the bytes, so what a rule spoils meanwhile may pass, and
    /// what it changes rightfully may be held for spoilt. IPv4 packets have 0 for it.
    pub checksum_seen: Option<u16>,
    /// Tracking found the transport checksum wrong on arrival.
    pub sum_was_wrong: bool,
    /// Largest L3 size of the fragments it was put together from; 0 when it came whole.
    pub max_fragment: u16,
    /// It was put together for tracking and not for this host alone, or is the copy of what the kernel's own sockets said, so that DF does not
    /// keep it from being cut.
    pub may_be_cut: bool,
    /// The largest of its fragments had DF.
    pub fragments_had_df: bool,
    /// IPv6: where the fragment header was that tracking took out; 0 when it took none. This host reads the headers behind it only,
    /// the first as what the packet's first header is named.
    pub cut_at: u16,
    /// The sizes of the fragments it was put together from, without their headers, in order; it leaves in the same if they fit.
    pub pieces: Vec<u16>,
    /// What was found in its IPv4 options on arrival.
    pub ip_options: crate::link::options::Found,
    /// The engine made it itself, about this host's own business (ICMP error, RST, echo reply).
    pub made_here: bool,
    /// A copy by TEE: the device by which it was to leave at first. POSTROUTING shows it as where the copy came from.
    pub copied_on: Option<IfIndex>,
    /// The socket that TPROXY handed it to.
    pub socket: Option<Arc<Socket>>,
}

impl Meta {
    /// As [`Meta::default`], field by field in place: done for every packet.
    fn reset(&mut self) {
        let Meta { origin, iif, oif, link_type, offload, mark, priority, tracked, answers_untracked, ahead, .. } = self;
        (*origin, *iif, *oif, *link_type) = (Origin::Wire, None, None, LinkType::Host);
        (offload.checksum, offload.gso, *mark, *priority) = (Checksum::Bytes, None, 0, 0);
        (*tracked, *answers_untracked, *ahead) = (Tracked::No, false, None);
        let Meta { template, route, trace, checksum_seen, max_fragment, may_be_cut, fragments_had_df, .. } = self;
        (*template, *route, *trace, *checksum_seen) = (None, None, false, None);
        (*max_fragment, *may_be_cut, *fragments_had_df) = (0, false, false);
        let Meta { cut_at, pieces, ip_options, made_here, sum_was_wrong, copied_on, socket, .. } = self;
        (*cut_at, *made_here, *sum_was_wrong, *copied_on, *socket) = (0, false, false, None, None);
        pieces.clear();
        ip_options.reset();
    }
}

/// What the device that a packet came by left undone, or has done already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum.
    pub checksum: Checksum,
    /// Several segments in one: the packet is a super-packet.
    pub gso: Option<Gso>,
}

/// What is known of a transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it stands in the bytes, and they have to be looked at.
    #[default]
    Bytes,
    /// The device found it right.
    Good,
    /// It is not filled in: its place holds the sum of the pseudo header (`CHECKSUM_PARTIAL`).
    Partial,
}

/// Several segments or datagrams of one flow in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Of which protocol.
    pub kind: GsoKind,
    /// Payload of each but the last, in bytes.
    pub size: u16,
    /// The first has CWR.
    pub ecn: bool,
}

/// What a super-packet is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP segments.
    Tcp,
    /// UDP datagrams.
    Udp,
}

/// Where a packet came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// From a device.
    #[default]
    Wire,
    /// From this host; the socket that sent it, if any.
    Local(Sender),
}

/// The socket behind a local packet (`-m owner`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// None known.
    #[default]
    None,
    /// A socket of the kernel itself, without a file: echo replies, ICMP errors, RSTs.
    Kernel,
    /// A process's socket.
    Process(Arc<Owner>),
}

/// Who opened the socket a local packet comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// File system user id of the process that opened it.
    pub uid: u32,
    /// File system group id of the process that opened it.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Process id.
    pub pid: Option<u32>,
    /// Session id.
    pub sid: Option<u32>,
    /// Command name (`comm`, at most 15 bytes).
    pub command: Option<String>,
    /// The path of its control group below the root of the one hierarchy (cgroup v2); empty for the root.
    pub cgroup: String,
    /// The class of its control group in the net_cls controller; 0 for none.
    pub class: u32,
}

/// To whom a frame was addressed on its link (`-m pkttype`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkType {
    /// To this host.
    #[default]
    Host,
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
    /// To somebody else.
    OtherHost,
}

/// What a `-j CT` rule attaches to a packet before tracking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The zone of each direction.
    pub zone: Zone,
    /// The bits of the packet's mark that are the zone instead (`--zone mark`): all of the lower half, or none.
    pub mark_bits: Zone,
    /// Helper to attach (`ftp`, `tftp`).
    pub helper: Option<String>,
    /// The connection is opened for a client that SYNPROXY answered.
    pub proxied: bool,
}

impl Template {
    /// The zone for a packet that has this mark when it is tracked.
    pub const fn zone_for(&self, mark: u32) -> Zone {
        let (zone, bits, mark) = (self.zone, self.mark_bits, mark as u16);
        Zone { original: zone.original | mark & bits.original, reply: zone.reply | mark & bits.reply }
    }
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAPacket {
    /// Shorter than the link or network header.
    Short,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// Of a VLAN, which this device has no part in.
    OtherVlan,
    /// A version or header length that cannot be.
    BadHeader,
    /// Fewer bytes than the header's length field says.
    Truncated,
}

/// In place of the sum of an IPv4 packet: it is right.
const HOLDS: u16 = 0;

impl Packet {
    /// A packet from an Ethernet frame. See [`Packet::load_frame`].
    pub fn from_frame(frame: &[u8]) -> Result<Packet, NotAPacket> {
        let mut p = Packet::default();
        p.load_frame(frame)?;
        Ok(p)
    }

    /// A packet without a link header. See [`Packet::load_ip`].
    pub fn from_ip(bytes: &[u8]) -> Result<Packet, NotAPacket> {
        let mut p = Packet::default();
        p.load_ip(bytes)?;
        Ok(p)
    }

    /// Takes an Ethernet frame into this packet's buffer, which is reused. Link padding is cut off; the network header's
    /// checksum is not looked at. All of `meta` is reset.
    pub fn load_frame(&mut self, frame: &[u8]) -> Result<(), NotAPacket> {
        match priority_tags(frame)? {
            0 => self.load(frame, ethernet::HEADER_LEN),
            tags => self.load(&without_tags(frame, tags), ethernet::HEADER_LEN),
        }
    }

    /// Takes a bare IP packet into this packet's buffer, which is reused. All of `meta` is reset.
    pub fn load_ip(&mut self, bytes: &[u8]) -> Result<(), NotAPacket> {
        self.load(bytes, 0)
    }

    /// As [`load_frame`](Packet::load_frame), but the buffers change places instead of being copied.
    pub fn swap_frame(&mut self, frame: &mut Vec<u8>) -> Result<(), NotAPacket> {
        match priority_tags(frame)? {
            0 => {}
            tags => *frame = without_tags(frame, tags),
        }
        self.swap(frame, ethernet::HEADER_LEN)
    }

    /// As [`load_ip`](Packet::load_ip), but the buffers change places instead of being copied.
    pub fn swap_ip(&mut self, bytes: &mut Vec<u8>) -> Result<(), NotAPacket> {
        self.swap(bytes, 0)
    }

    fn swap(&mut self, bytes: &mut Vec<u8>, l3: usize) -> Result<(), NotAPacket> {
        std::mem::swap(&mut self.buf, bytes);
        self.l3 = l3;
        self.meta.reset();
        self.refresh()
    }

    fn load(&mut self, bytes: &[u8], l3: usize) -> Result<(), NotAPacket> {
        self.buf.clear();
        self.buf.extend_from_slice(bytes);
        self.l3 = l3;
        self.meta.reset();
        self.refresh()
    }

    /// Takes the packet to keep it for a while, in a buffer of its own size: the one that it came in may have room for 64 KB, and
    /// stays here, empty.
    pub fn take_to_keep(&mut self) -> Packet {
        let mut packet = std::mem::take(self);
        if packet.buf.capacity() > 2 * packet.buf.len() + 256 {
            let own = packet.buf.as_slice().to_vec();
            self.buf = std::mem::replace(&mut packet.buf, own);
            self.buf.clear();
        }
        packet
    }

    /// Another packet with the same link header length and everything that is known of this one.
    pub(crate) fn with_bytes(&self, buf: Vec<u8>) -> Option<Packet> {
        let mut packet = Packet { buf, l3: self.l3, head: self.head, meta: self.meta.clone() };
        packet.refresh().ok()?;
        Some(packet)
    }

    /// Finds the headers anew after the bytes were changed, and cuts off what lies behind the packet's own length.
    pub fn refresh(&mut self) -> Result<(), NotAPacket> {
        let len = self.head.find(self.buf.get(self.l3..).unwrap_or_default())?;
        self.buf.truncate(self.l3 + len);
        Ok(())
    }

    /// Its headers.
    pub fn head(&self) -> &Headers {
        &self.head
    }

    /// Notes an address that was just written into the network header.
    pub(crate) fn set_head_addr(&mut self, side: Manip, addr: Addr) {
        match side {
            Manip::Src => self.head.src = addr,
            Manip::Dst => self.head.dst = addr,
        }
    }

    /// IPv4 or IPv6.
    pub fn family(&self) -> Family {
        self.head.family
    }

    /// Source address.
    pub fn src(&self) -> Addr {
        self.head.src
    }

    /// Destination address.
    pub fn dst(&self) -> Addr {
        self.head.dst
    }

    /// Transport protocol.
    pub fn protocol(&self) -> u8 {
        self.head.protocol
    }

    /// L3 length in bytes: IPv4 total length, or 40 plus IPv6 payload length. This is what rule counters add.
    pub fn length(&self) -> usize {
        self.buf.len() - self.l3
    }

    /// The network packet.
    pub fn ip(&self) -> &[u8] {
        &self.buf[self.l3..]
    }

    /// The network packet, to be edited. Call [`Packet::refresh`] after changing addresses, protocol or lengths.
    pub fn ip_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.l3..]
    }

    /// From the transport header on; empty when there is none.
    pub fn l4(&self) -> &[u8] {
        self.buf.get(self.l3 + self.head.l4..).unwrap_or_default()
    }

    /// From the transport header on, to be edited.
    pub fn l4_mut(&mut self) -> &mut [u8] {
        let at = (self.l3 + self.head.l4).min(self.buf.len());
        &mut self.buf[at..]
    }

    /// The link header; empty when there is none.
    pub fn link_header(&self) -> &[u8] {
        &self.buf[..self.l3]
    }

    /// Link header and network packet.
    pub fn frame(&self) -> &[u8] {
        &self.buf
    }

    /// Writes or replaces the Ethernet header.
    pub fn set_link_header(&mut self, dst: hairpin_wire::Mac, src: hairpin_wire::Mac) {
        let kind = match self.head.family {
            Family::V4 => ethernet::IPV4,
            Family::V6 => ethernet::IPV6,
        };
        let mut header = [0u8; ethernet::HEADER_LEN];
        header[..6].copy_from_slice(&dst.0);
        header[6..12].copy_from_slice(&src.0);
        header[12..].copy_from_slice(&kind.to_be_bytes());
        if self.l3 == ethernet::HEADER_LEN {
            self.buf[..ethernet::HEADER_LEN].copy_from_slice(&header);
        } else {
            self.buf.splice(..self.l3, header);
            self.l3 = ethernet::HEADER_LEN;
        }
    }

    /// Puts a VLAN tag into the Ethernet header.
    pub fn insert_tag(&mut self, tag: u16) {
        if self.l3 == ethernet::HEADER_LEN {
            let [high, low] = tag.to_be_bytes();
            self.buf.splice(12..12, [0x81, 0x00, high, low]);
            self.l3 += ethernet::VLAN_LEN;
        }
    }

    /// Writes something behind the packet's end, for whoever takes it next: from now on it is only to be sent.
    pub fn append(&mut self, tail: &[u8]) {
        self.buf.extend_from_slice(tail);
    }

    /// The neighbor it is sent to: its route's gateway, or its destination itself.
    pub fn next_hop(&self) -> Addr {
        self.meta.route.and_then(|route| route.gateway).unwrap_or(self.head.dst)
    }

    /// Takes the link header away.
    pub fn clear_link_header(&mut self) {
        self.buf.drain(..self.l3);
        self.l3 = 0;
    }

    /// Replaces `remove` bytes at `at` (from the network header) by `insert`, and mends the network header's length field and,
    /// for IPv4, its checksum. Transport checksums are the caller's. Nothing happens when the range is not inside the packet or
    /// the result would exceed 65,535 bytes; the return value says whether it was done.
    pub fn splice(&mut self, at: usize, remove: usize, insert: &[u8]) -> bool {
        let end = at.saturating_add(remove);
        let length = self.length() - remove.min(self.length()) + insert.len();
        if end > self.length() || length > usize::from(u16::MAX) {
            return false;
        }
        self.buf.splice(self.l3 + at..self.l3 + end, insert.iter().copied());
        self.fix_length();
        self.refresh().is_ok()
    }

    /// Cuts the packet to `length` bytes from the network header on, and mends the length field.
    pub fn cut(&mut self, length: usize) {
        if length < self.length() {
            self.buf.truncate(self.l3 + length);
            self.fix_length();
        }
    }

    fn fix_length(&mut self) {
        let length = self.length();
        match self.head.family {
            Family::V4 => {
                if let Some(mut ip) = Ipv4::new(self.ip_mut()) {
                    ip.set_total_len(length as u16);
                    ip.fill_checksum();
                }
            }
            Family::V6 => {
                if let Some(mut ip) = Ipv6::new(self.ip_mut()) {
                    ip.set_payload_len(length.saturating_sub(40) as u16);
                }
            }
        }
    }

    /// TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        let at = if self.head.family == Family::V4 { 8 } else { 7 };
        self.ip().get(at).copied().unwrap_or(0)
    }

    /// TOS byte or traffic class.
    pub fn tos(&self) -> u8 {
        match self.head.family {
            Family::V4 => self.ip().get(1).copied().unwrap_or(0),
            Family::V6 => Ipv6::new(self.ip()).map_or(0, |ip| ip.traffic_class()),
        }
    }

    /// Sets TTL or hop limit; mends IPv4's header checksum.
    pub fn set_ttl(&mut self, ttl: u8) {
        let family = self.head.family;
        let ip = self.ip_mut();
        match family {
            Family::V4 => {
                if let Some(fixed) = ip.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
                    let word =
                        |bytes: &[u8; ipv4::HEADER_LEN], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                    let (sum, old) = (word(fixed, 10), word(fixed, 8));
                    fixed[8] = ttl;
                    let sum = checksum::update_u16(sum, old, word(fixed, 8)).to_be_bytes();
                    fixed[10..12].copy_from_slice(&sum);
                }
            }
            Family::V6 => {
                if let Some(hop_limit) = ip.get_mut(7) {
                    *hop_limit = ttl;
                }
            }
        }
    }

    /// Sets the TOS byte or traffic class; mends IPv4's header checksum.
    pub fn set_tos(&mut self, tos: u8) {
        match self.head.family {
            Family::V4 => {
                if let Some(mut ip) = Ipv4::new(self.ip_mut()) {
                    ip.change_tos(tos);
                }
            }
            Family::V6 => {
                if let Some(mut ip) = Ipv6::new(self.ip_mut()) {
                    ip.set_traffic_class(tos);
                }
            }
        }
    }

    /// The sum of all bytes from the network header on, folded.
    fn total(&self) -> u16 {
        !checksum::finish(checksum::sum(self.ip()))
    }

    /// What [`Meta::checksum_seen`] keeps: in IPv4 nobody asks for the sum itself, only whether it still holds.
    pub(crate) fn sum_to_keep(&self) -> u16 {
        match self.head.family {
            Family::V4 => HOLDS,
            Family::V6 => self.total(),
        }
    }

    /// The destination was changed behind the back of the sum that tracking found right (a source route within this host): REJECT
    /// believes in it as before, who takes the packet does not.
    pub(crate) fn forget_sum(&mut self) {
        self.meta.checksum_seen = self.meta.checksum_seen.map(|_| !HOLDS);
    }

    /// As [`Packet::sum_to_keep`] for a packet whose transport checksum, if it has one, was found right just now. That says that the
    /// transport's bytes and the pseudo header add up to nothing; and behind the first 8 bytes, the header has what the pseudo header has.
    #[inline]
    pub(crate) fn sum_to_keep_of_right(&self) -> u16 {
        if self.head.family == Family::V4 {
            return HOLDS;
        }
        let has_checksum = match self.head.protocol {
            proto::TCP => true,
            proto::UDP => self.l4().get(6..8).is_some_and(|sum| sum != [0, 0]),
            _ => false,
        };
        let start =
            self.ip().first_chunk::<8>().filter(|_| has_checksum && self.head.l4 == hairpin_wire::ipv6::HEADER_LEN);
        let Some(start) = start else { return self.sum_to_keep() };
        let len = u32::try_from(self.l4().len()).unwrap_or(u32::MAX);
        let sum = checksum::combine(checksum::sum(start), !u32::from(self.head.protocol));
        let sum = !checksum::finish(checksum::combine(sum, !len));
        debug_assert_eq!(sum, self.sum_to_keep());
        sum
    }

    /// Whether the transport checksum need not be looked at: a device found it right, or it is not filled in yet.
    pub fn is_checksum_trusted(&self) -> bool {
        self.meta.offload.checksum != Checksum::Bytes
    }

    /// Bytes from the network header on of the largest packet on the wire that this one stands for.
    pub fn wire_length(&self) -> usize {
        match self.meta.offload.gso {
            Some(gso) => (self.head.l4 + self.transport_header_len() + usize::from(gso.size)).min(self.length()),
            None => self.length(),
        }
    }

    pub(crate) fn transport_header_len(&self) -> usize {
        match self.head.protocol {
            proto::TCP => self.l4().get(12).map_or(20, |byte| usize::from(byte >> 4) * 4),
            _ => 8,
        }
    }

    /// Puts the transport checksum into the state that `offload` names, before the packet leaves. Nothing else minds a checksum that is
    /// still open ([`Checksum::Partial`]): whatever was changed meanwhile, the sum of the pseudo header is reckoned here.
    pub fn settle_checksum(&mut self) {
        if self.meta.offload.checksum == Checksum::Partial {
            let sum = checksum::finish(self.pseudo_header());
            self.put_checksum(!sum);
        }
    }

    /// Fills in a transport checksum that was left open.
    pub fn complete_checksum(&mut self) {
        if self.meta.offload.checksum != Checksum::Partial {
            return;
        }
        self.put_checksum(0);
        let sum = checksum::finish(checksum::combine(self.pseudo_header(), checksum::sum(self.l4())));
        self.put_checksum(if self.head.protocol == proto::UDP { checksum::udp_nonzero(sum) } else { sum });
        self.meta.offload.checksum = Checksum::Good;
    }

    /// Fills in a transport checksum that was left open as a device does: what stands in its place is taken for the sum of the pseudo
    /// header, whatever became of the addresses.
    pub(crate) fn fill_checksum(&mut self) {
        if self.meta.offload.checksum == Checksum::Partial {
            let sum = checksum::finish(checksum::sum(self.l4()));
            // Whatever the protocol (`skb_checksum_help`).
            self.put_checksum(checksum::udp_nonzero(sum));
            self.meta.offload.checksum = Checksum::Good;
        }
    }

    fn pseudo_header(&self) -> u32 {
        let Headers { family, src, dst, protocol, .. } = self.head;
        checksum::pseudo_header(family, src, dst, protocol, u32::try_from(self.l4().len()).unwrap_or(u32::MAX))
    }

    /// What stands in the place of a transport checksum that is left open.
    pub(crate) fn open_checksum(&self) -> Option<u16> {
        let at = if self.head.protocol == proto::TCP { 16 } else { 6 };
        let place = self.l4().get(at..at + 2).filter(|_| self.meta.offload.checksum == Checksum::Partial)?;
        Some(u16::from_be_bytes([place[0], place[1]]))
    }

    pub(crate) fn put_checksum(&mut self, sum: u16) {
        let at = if self.head.protocol == proto::TCP { 16 } else { 6 };
        if let Some(place) = self.l4_mut().get_mut(at..at + 2) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Whether the sum that tracking reckoned still holds, so that the transport checksum is not looked at again. Every change of an
    /// IPv4 header is balanced by its own checksum. IPv6 takes the headers of now from the sum of then: addresses, which the pseudo
    /// header has too, and what is behind the headers may be others; a traffic class or hop limit that a rule changed spoils it.
    pub(crate) fn is_sum_kept(&self) -> bool {
        if self.is_checksum_trusted() {
            return true;
        }
        match self.head.family {
            Family::V4 => self.meta.checksum_seen == Some(HOLDS),
            Family::V6 => self.is_checksum_known(true),
        }
    }

    /// Whether the transport checksum counts as right without being looked at (`nf_ip_checksum` of a packet that tracking has seen):
    /// by the sum of then with the headers of now. Where packets do not come in, it is not asked at all.
    pub(crate) fn is_checksum_known(&self, comes_in: bool) -> bool {
        if self.is_checksum_trusted() {
            return true;
        }
        let Some(total) = self.meta.checksum_seen else { return false };
        if !comes_in || self.head.family == Family::V4 {
            return true;
        }
        let header = checksum::sum(self.ip().get(..self.head.l4).unwrap_or_default());
        let upper = checksum::combine(u32::from(total), u32::from(checksum::finish(header)));
        let len = u32::try_from(self.l4().len()).unwrap_or(u32::MAX);
        let pseudo = checksum::pseudo_header(Family::V6, self.head.src, self.head.dst, self.head.protocol, len);
        checksum::finish(checksum::combine(upper, pseudo)) == 0
    }

    /// A rule changed the packet's first `end` bytes: they are in one piece now, if the packet was put together from fragments
    /// (`skb_ensure_writable`). What the first lacked is taken from those behind it.
    #[inline]
    pub(crate) fn pull(&mut self, end: usize) {
        if !self.meta.pieces.is_empty() {
            self.pull_pieces(end);
        }
    }

    #[cold]
    fn pull_pieces(&mut self, end: usize) {
        let Some(first) = self.meta.pieces.first() else { return };
        let first_end = usize::from(*first)
            + match self.head.family {
                Family::V4 => self.head.l4,
                Family::V6 => usize::from(self.meta.cut_at),
            };
        let mut missing = end.min(self.length()).saturating_sub(first_end);
        while missing > 0
            && let [first, second, ..] = self.meta.pieces.as_mut_slice()
        {
            let taken = missing.min(usize::from(*second));
            *first += taken as u16;
            *second -= taken as u16;
            if *second == 0 {
                self.meta.pieces.remove(1);
            }
            missing -= taken;
        }
    }

    /// Whether this is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.head.fragment_offset != 0
    }

    /// Whether this is a fragment at all (an IPv6 atomic fragment is not).
    pub fn is_fragment(&self) -> bool {
        self.head.fragment_offset != 0 || self.head.more_fragments
    }

    /// Source and destination port of TCP, UDP, UDP-Lite, SCTP and DCCP; None for others, later fragments and cut headers.
    pub fn ports(&self) -> Option<(u16, u16)> {
        use proto::{DCCP, SCTP, TCP, UDP, UDPLITE};
        if self.is_later_fragment() || !matches!(self.head.protocol, TCP | UDP | UDPLITE | SCTP | DCCP) {
            return None;
        }
        match *self.l4() {
            [a, b, c, d, ..] => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
            _ => None,
        }
    }
}

impl Headers {
    /// Finds the headers of a network packet and its length in bytes, which is never more than `bytes` holds. Nothing is changed
    /// where there is none.
    #[inline]
    fn find(&mut self, bytes: &[u8]) -> Result<usize, NotAPacket> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => self.find_v4(bytes),
            Some(6) => self.find_v6(bytes),
            Some(_) => Err(NotAPacket::BadHeader),
            None => Err(NotAPacket::Short),
        }
    }

    #[inline]
    fn find_v4(&mut self, bytes: &[u8]) -> Result<usize, NotAPacket> {
        let fixed = bytes.first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(NotAPacket::BadHeader)?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let addr = |at: usize| Addr::v4(u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]));
        let (header_len, total, fragment) = (usize::from(fixed[0] & 0x0f) * 4, usize::from(word(2)), word(6));
        if header_len < ipv4::HEADER_LEN || header_len > bytes.len() || total < header_len {
            return Err(NotAPacket::BadHeader);
        }
        if total > bytes.len() {
            return Err(NotAPacket::Truncated);
        }
        *self = Headers {
            family: Family::V4,
            protocol: fixed[9],
            l4: header_len,
            fragment_offset: fragment & 0x1fff,
            more_fragments: fragment & 0x2000 != 0,
            fragment_header: None,
            broken: false,
            src: addr(12),
            dst: addr(16),
        };
        Ok(total)
    }

    fn find_v6(&mut self, bytes: &[u8]) -> Result<usize, NotAPacket> {
        let ip = Ipv6::new(bytes).ok_or(NotAPacket::BadHeader)?;
        let total = 40 + usize::from(ip.payload_len());
        let bytes = bytes.get(..total).ok_or(NotAPacket::Truncated)?;
        // Nearly every packet: no extension header, so nothing to walk.
        if matches!(ip.next_header(), proto::TCP | proto::UDP) {
            let (protocol, src, dst) = (ip.next_header(), ip.src(), ip.dst());
            *self = Headers { family: Family::V6, protocol, l4: 40, src, dst, ..Headers::default() };
            return Ok(total);
        }
        let found = Ipv6::new(bytes).and_then(|ip| ip.transport().ok());
        let fragment = found.and_then(|t| t.fragment);
        *self = Headers {
            family: Family::V6,
            protocol: found.map_or(ip.next_header(), |t| t.protocol),
            l4: found.map_or(total, |t| t.offset),
            fragment_offset: fragment.map_or(0, |f| f.offset),
            more_fragments: fragment.is_some_and(|f| f.more),
            fragment_header: fragment.map(|f| f.header_offset),
            broken: found.is_none(),
            src: ip.src(),
            dst: ip.dst(),
        };
        Ok(total)
    }
}

impl Packet {
    /// The packet in a few words, for traces: `192.168.1.2:5000 > 8.8.8.8:53 udp, ttl 64, 60 bytes`.
    pub fn describe(&self) -> String {
        let family = self.family();
        let end = |addr: Addr, port: Option<u16>| match (family, port) {
            (_, None) => addr.display(family).to_string(),
            (Family::V4, Some(port)) => format!("{}:{port}", addr.display(family)),
            (Family::V6, Some(port)) => format!("[{}]:{port}", addr.display(family)),
        };
        let ports = self.ports();
        let what = match (self.protocol(), self.l4()) {
            (proto::TCP, l4) => format!("tcp {}", tcp_flags(l4.get(13).copied().unwrap_or(0))),
            (proto::UDP, _) => "udp".to_owned(),
            (proto::ICMP | proto::ICMPV6, [kind, code, ..]) if !self.is_later_fragment() => {
                format!("icmp {kind}/{code}")
            }
            (protocol, _) => format!("protocol {protocol}"),
        };
        let fragment = match (self.head.fragment_offset, self.head.more_fragments) {
            (0, false) => String::new(),
            (at, more) => format!(", fragment at {}{}", u32::from(at) * 8, if more { "+" } else { "" }),
        };
        format!(
            "{} > {} {what}, ttl {}, {} bytes{fragment}{}",
            end(self.src(), ports.map(|p| p.0)),
            end(self.dst(), ports.map(|p| p.1)),
            self.ttl(),
            self.length(),
            if self.meta.mark == 0 { String::new() } else { format!(", mark {:#x}", self.meta.mark) },
        )
    }
}

fn tcp_flags(bits: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "without flags".to_owned() } else { set.join(",") }
}

/// How many bytes of VLAN tags a frame with an IP packet has in front of its type. Tags with the number 0 only give a priority
/// (IEEE 802.1Q) and are taken off.
#[inline]
fn priority_tags(frame: &[u8]) -> Result<usize, NotAPacket> {
    const NUMBER: u16 = 0xfff;
    let word = |at: usize| match frame.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(NotAPacket::Short),
    };
    let mut tags = 0;
    loop {
        match word(12 + tags)? {
            ethernet::IPV4 | ethernet::IPV6 => return Ok(tags),
            ethernet::VLAN | ethernet::QINQ if word(14 + tags)? & NUMBER != 0 => return Err(NotAPacket::OtherVlan),
            ethernet::VLAN | ethernet::QINQ => tags += ethernet::VLAN_LEN,
            _ => return Err(NotAPacket::NotIp),
        }
    }
}

fn without_tags(frame: &[u8], tags: usize) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, rest.get(tags..).unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_tags_are_taken_off() {
        let ip = b"E\0\0\x14\0\0\0\0@\x11\0\0\x0a\0\0\x01\x0a\0\0\x02";
        let frame = |tags: &[u8]| [&[2; 12][..], tags, &[8, 0], ip].concat();
        let plain = frame(&[]);
        let load = |tags: &[u8]| Packet::from_frame(&frame(tags)).map(|p| p.frame().to_vec());
        for tags in [&[0x81, 0, 0, 0][..], &[0x81, 0, 0xf0, 0], &[0x88, 0xa8, 0, 0, 0x81, 0, 0xe0, 0]] {
            assert_eq!(load(tags), Ok(plain.clone()));
            let (mut packet, mut bytes) = (Packet::default(), frame(tags));
            assert_eq!(packet.swap_frame(&mut bytes), Ok(()));
            assert_eq!(packet.frame(), plain);
        }
        assert_eq!(load(&[0x81, 0, 0, 7]), Err(NotAPacket::OtherVlan));
        assert_eq!(load(&[0x81, 0, 0, 0, 0x81, 0, 0, 7]), Err(NotAPacket::OtherVlan));
        assert_eq!(load(&[0x91, 0, 0, 0]), Err(NotAPacket::NotIp));
        assert_eq!(Packet::from_frame(&frame(&[0x81, 0, 0, 0])[..16]).err(), Some(NotAPacket::Short));
    }

    /// Nothing of the packet before is left: every field differs from its default first.
    #[test]
    fn loading_forgets_the_packet_before() {
        let ip = b"E\0\0\x14\0\0\0\0@\x11\0\0\x0a\0\0\x01\x0a\0\0\x02";
        let route = Route {
            kind: crate::route::RouteType::Local,
            oif: IfIndex(1),
            gateway: None,
            prefsrc: None,
            mtu: 9,
            hop_limit: 1,
            advmss: 1,
            realm: 1,
            redirect: true,
        };
        let found = crate::link::options::Found::of_everything();
        let meta = Meta {
            origin: Origin::Local(Sender::Kernel),
            iif: Some(IfIndex(1)),
            oif: Some(IfIndex(2)),
            link_type: LinkType::Broadcast,
            offload: Offload { checksum: Checksum::Good, gso: Some(Gso { kind: GsoKind::Tcp, size: 1, ecn: true }) },
            mark: 1,
            priority: 1,
            tracked: Tracked::Untracked,
            answers_untracked: true,
            ahead: crate::track::Tuple::of_packet(&Packet::from_ip(ip).unwrap()).map(|tuple| Ahead::new(&tuple, 1)),
            template: Some(Arc::default()),
            route: Some(route),
            trace: true,
            checksum_seen: Some(1),
            max_fragment: 1,
            may_be_cut: true,
            fragments_had_df: true,
            cut_at: 1,
            pieces: vec![1],
            ip_options: found,
            made_here: true,
            sum_was_wrong: true,
            copied_on: Some(IfIndex(2)),
            socket: Some(Arc::new(Socket {
                protocol: proto::UDP,
                family: Family::V4,
                local: (Addr::UNSPECIFIED, 1),
                remote: None,
                device: None,
                transparent: true,
                mark: 1,
                owner: None,
            })),
        };
        let mut packet = Packet { meta, ..Packet::default() };
        packet.load_ip(ip).unwrap();
        assert_eq!(format!("{:?}", packet.meta), format!("{:?}", Meta::default()));
    }

    #[test]
    fn what_is_kept_does_not_hold_a_receive_buffer() {
        let ip = b"E\0\0\x14\0\0\0\0@\x11\0\0\x0a\0\0\x01\x0a\0\0\x02";
        let mut frame = Vec::with_capacity(65_553);
        frame.extend_from_slice(ip);
        let mut packet = Packet::default();
        packet.swap_ip(&mut frame).unwrap();
        let kept = packet.take_to_keep();
        assert_eq!((kept.ip(), packet.frame().len()), (&ip[..], 0));
        assert!(kept.buf.capacity() < 1024 && packet.buf.capacity() > 65_000);
    }
}
