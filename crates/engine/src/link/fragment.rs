//! Cutting packets to the size of a link, as `ip_fragment` and `ip6_fragment` do.
//!
//! A packet that was put together here ([`super::Reassembler`]) leaves in the pieces it came in, as long as they fit; any other
//! is cut into the largest pieces that do.

use crate::packet::{Origin, Packet};
use crate::rng::Rng;
use hairpin_wire::ipv4::{self, IpOption, Ipv4, options_iter};
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::{Family, build, proto};

/// What [`fit`] made of a packet.
#[derive(Debug)]
pub enum Fit {
    /// It may leave as it is.
    Whole,
    /// It leaves in these pieces, in this order. They have no link header; everything else that is known of the packet is
    /// known of each.
    Pieces(Vec<Packet>),
    /// It must not be cut: the sender is to be told this MTU.
    TooBig(u32),
    /// It cannot be cut and is gone: the headers that every piece repeats go on beyond the packet, or beyond the first of the
    /// fragments that it came in.
    Gone,
}

/// Whether forwarding must refuse the packet because it does not fit `mtu` and must not be cut (`ip_exceeds_mtu`,
/// `ip6_pkt_too_big`): the check before FORWARD.
pub fn exceeds(packet: &Packet, mtu: u32) -> bool {
    if packet.wire_length() <= mtu as usize {
        return false;
    }
    if packet.family() == Family::V4 && !dont_fragment(packet) {
        return false;
    }
    // A packet put together here may be cut again, into pieces as large as those that came.
    packet.meta.max_fragment == 0 || u32::from(packet.meta.max_fragment) > mtu
}

/// Makes the packet fit a link of `mtu` bytes, after POSTROUTING. `rng` gives the fragment identification of IPv6.
pub fn fit(packet: &Packet, mtu: u32, rng: &Rng) -> Fit {
    match packet.family() {
        Family::V4 => fit_v4(packet, mtu),
        Family::V6 => fit_v6(packet, mtu, rng),
    }
}

/// The smallest MTU of an IPv6 link (RFC 8200, section 5).
const MIN_MTU_V6: u32 = 1280;

fn fit_v4(packet: &Packet, mtu: u32) -> Fit {
    let max_fragment = u32::from(packet.meta.max_fragment);
    if packet.length() <= mtu as usize && max_fragment == 0 {
        return Fit::Whole;
    }
    if dont_fragment(packet) && (!packet.meta.may_be_cut || max_fragment > mtu) {
        return Fit::TooBig(mtu);
    }
    let Some(ip) = Ipv4::new(packet.ip()) else { return Fit::Whole };
    let header_len = ip.header_len();
    let limit = if max_fragment != 0 && max_fragment < mtu { max_fragment } else { mtu } as usize;
    let Some(room) = limit.checked_sub(header_len).filter(|room| *room >= 8) else {
        // The smallest link (68 bytes, RFC 791) has room for any header and 8 bytes; this one cannot carry IPv4.
        return Fit::TooBig(mtu);
    };
    let as_received = (!ip.is_fragment()).then(|| received_sizes(packet, header_len, header_len, room)).flatten();
    // Pieces that go on as they came lose DF; those cut anew have it when the largest received one had.
    let keep_df = as_received.is_none() && packet.meta.fragments_had_df;
    let payload = ip.payload();
    let mut header = ip.header().to_vec();
    let mut offset = ip.fragment_offset();
    let mut rest = payload;
    let mut sizes = as_received.unwrap_or_default().into_iter();
    let mut pieces = Vec::with_capacity(payload.len() / room + 1);
    while !rest.is_empty() {
        let len = sizes.next().unwrap_or_else(|| piece_len(rest.len(), room));
        let (now, later) = rest.split_at(len.min(rest.len()));
        rest = later;
        let more = !rest.is_empty() || ip.more_fragments();
        pieces.push(piece_v4(packet, &header, now, offset, more, keep_df));
        if offset == 0
            && let Some(mut header) = Ipv4::new(&mut header)
        {
            blank_uncopied(header.options_mut());
        }
        offset += (now.len() / 8) as u16;
    }
    Fit::Pieces(pieces.into_iter().flatten().collect())
}

fn piece_v4(whole: &Packet, header: &[u8], data: &[u8], offset: u16, more: bool, df: bool) -> Option<Packet> {
    let mut bytes = Vec::with_capacity(header.len() + data.len());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(data);
    let len = bytes.len() as u16;
    let mut ip = Ipv4::new(&mut bytes)?;
    ip.set_total_len(len);
    ip.set_flags_offset(df, more, offset);
    ip.fill_checksum();
    piece(whole, &bytes)
}

/// Options without the copy bit are in the first piece only; the others have no-operation bytes in their place. Stops, as the
/// kernel does, at the end of the list or at something malformed.
fn blank_uncopied(options: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = options.get_mut(at..) {
        let len = match options_iter(rest).next() {
            Some(IpOption::Nop { .. }) => 1,
            Some(IpOption::Option { data, .. }) => data.len() + 2,
            Some(IpOption::End { .. } | IpOption::Malformed { .. }) | None => return,
        };
        if let Some(option) = rest.get_mut(..len)
            && option.first().is_some_and(|kind| kind & ipv4::option::COPIED == 0)
        {
            option.fill(ipv4::option::NOP);
        }
        at += len;
    }
}

fn fit_v6(packet: &Packet, mtu: u32, rng: &Rng) -> Fit {
    let max_fragment = u32::from(packet.meta.max_fragment);
    let length = packet.length();
    if length <= mtu as usize && (max_fragment == 0 || length <= max_fragment as usize) {
        return Fit::Whole;
    }
    // A copy by TEE of what was received is none of the host's own, either.
    let is_own = matches!(packet.meta.origin, Origin::Local(_)) && packet.meta.iif.is_none();
    if max_fragment > mtu || max_fragment == 0 && !is_own {
        return Fit::TooBig(mtu);
    }
    let cut_at = usize::from(packet.meta.cut_at);
    let first_end = packet.meta.pieces.first().map_or(length, |first| cut_at + usize::from(*first));
    let readable = packet.ip().get(..first_end).unwrap_or(packet.ip());
    let Some((prefix_len, named_at)) = unfragmentable(readable) else { return Fit::Gone };
    let limit = if max_fragment == 0 { mtu } else { max_fragment.max(MIN_MTU_V6) } as usize;
    let Some(room) = limit.checked_sub(prefix_len + ipv6::FRAGMENT_LEN).filter(|room| *room >= 8) else {
        return Fit::TooBig(mtu);
    };
    let (prefix, payload) = packet.ip().split_at(prefix_len.min(length));
    let mut prefix = prefix.to_vec();
    let next = prefix.get_mut(named_at).map_or(proto::NONE, |next| std::mem::replace(next, proto::FRAGMENT));
    let id = nonzero(rng);
    let mut sizes = received_sizes(packet, cut_at, prefix_len, room).unwrap_or_default().into_iter();
    let mut pieces = Vec::with_capacity(payload.len() / room + 1);
    let (mut rest, mut offset) = (payload, 0u16);
    while !rest.is_empty() {
        let len = sizes.next().unwrap_or_else(|| piece_len(rest.len(), room));
        let (now, later) = rest.split_at(len.min(rest.len()));
        rest = later;
        let mut bytes = Vec::with_capacity(prefix.len() + ipv6::FRAGMENT_LEN + now.len());
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(&build::fragment_header(next, offset, !rest.is_empty(), id));
        bytes.extend_from_slice(now);
        let payload_len = (bytes.len() - ipv6::HEADER_LEN) as u16;
        if let Some(mut ip) = Ipv6::new(&mut bytes) {
            ip.set_payload_len(payload_len);
        }
        pieces.extend(piece(packet, &bytes));
        offset += (now.len() / 8) as u16;
    }
    Fit::Pieces(pieces)
}

/// Where the part of an IPv6 packet ends that every piece repeats, and where the byte is that names what follows
/// (`ip6_find_1stfragopt`): hop-by-hop options and routing headers, and destination options before a routing header. None when
/// the packet ends within.
fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
    let ip = Ipv6::new(packet)?;
    let (mut next, mut at, mut named_at, mut routed) = (ip.next_header(), ipv6::HEADER_LEN, 6, false);
    loop {
        match next {
            proto::HOPOPTS => {}
            proto::ROUTING => routed = true,
            proto::DSTOPTS if !routed => {}
            _ => return Some((at, named_at)),
        }
        let &[following, len, ..] = packet.get(at..)? else { return None };
        named_at = at;
        at += (usize::from(len) + 1) * 8;
        next = following;
        if at > packet.len() {
            return None;
        }
    }
}

fn dont_fragment(packet: &Packet) -> bool {
    Ipv4::new(packet.ip()).is_some_and(|ip| ip.dont_fragment())
}

fn piece_len(left: usize, room: usize) -> usize {
    if left <= room { left } else { room & !7 }
}

/// The sizes in which the packet came, if it can leave so: they are still its length, and each has room. What every piece repeats
/// ends at `prefix_len` now and ended at `cut_at` then; the first piece holds what is between. A copy by TEE shares the fragments with
/// the packet itself, and may not leave as these.
fn received_sizes(packet: &Packet, cut_at: usize, prefix_len: usize, room: usize) -> Option<Vec<usize>> {
    if packet.meta.copied_on.is_some() {
        return None;
    }
    let mut sizes: Vec<usize> = packet.meta.pieces.iter().copied().map(usize::from).collect();
    *sizes.first_mut()? += cut_at.checked_sub(prefix_len)?;
    let (_, all_but_last) = sizes.split_last()?;
    let fits = sizes.iter().all(|len| (1..=room).contains(len));
    let aligned = all_but_last.iter().all(|len| len % 8 == 0);
    (fits && aligned && prefix_len + sizes.iter().sum::<usize>() == packet.length()).then_some(sizes)
}

fn piece(whole: &Packet, bytes: &[u8]) -> Option<Packet> {
    let mut piece = Packet::from_ip(bytes).ok()?;
    piece.meta = whole.meta.clone();
    piece.meta.pieces.clear();
    piece.meta.max_fragment = 0;
    Some(piece)
}

fn nonzero(rng: &Rng) -> u32 {
    rng.next_u32().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_wire::Addr;

    fn v4(len: usize, options: &[u8], df: bool, fragment_offset: u16, more_fragments: bool) -> Packet {
        let ip = build::Ipv4 {
            src: Addr::v4(1),
            dst: Addr::v4(2),
            protocol: proto::UDP,
            id: 77,
            options,
            dont_fragment: df,
            fragment_offset,
            more_fragments,
            payload: &vec![7; len],
            ..Default::default()
        };
        Packet::from_ip(&ip.to_vec()).unwrap()
    }

    /// Length, offset in bytes, and whether more follow, of each piece.
    fn shapes(fit: Fit) -> Vec<(usize, usize, bool)> {
        let Fit::Pieces(pieces) = fit else { panic!("not cut: {fit:?}") };
        pieces
            .iter()
            .map(|piece| {
                let ip = Ipv4::new(piece.ip()).unwrap();
                assert!(ip.checksum_ok() && ip.id() == 77);
                (piece.length(), usize::from(ip.fragment_offset()) * 8, ip.more_fragments())
            })
            .collect()
    }

    #[test]
    fn cut_to_the_mtu() {
        let rng = Rng::new(1);
        assert!(matches!(fit(&v4(980, &[], true, 0, false), 1000, &rng), Fit::Whole));
        assert!(matches!(fit(&v4(981, &[], true, 0, false), 1000, &rng), Fit::TooBig(1000)));
        assert_eq!(shapes(fit(&v4(1208, &[], false, 0, false), 1000, &rng)), [(996, 0, true), (252, 976, false)]);
        // A fragment is cut again; only the last piece of the last one is the end.
        let middle = shapes(fit(&v4(1208, &[], false, 100, true), 1000, &rng));
        assert_eq!(middle, [(996, 800, true), (252, 1776, true)]);
    }

    #[test]
    fn options_without_the_copy_bit_are_in_the_first_only() {
        let options = [0x94, 4, 0, 0, 0x52, 4, 9, 9];
        let Fit::Pieces(pieces) = fit(&v4(1208, &options, false, 0, false), 1000, &Rng::new(1)) else { panic!() };
        let found: Vec<_> = pieces.iter().map(|piece| Ipv4::new(piece.ip()).unwrap().options().to_vec()).collect();
        assert_eq!(found, [options.to_vec(), vec![0x94, 4, 0, 0, 1, 1, 1, 1]]);
        // In a later fragment they are gone already; what is there stays.
        let Fit::Pieces(pieces) = fit(&v4(1208, &options, false, 9, false), 1000, &Rng::new(1)) else { panic!() };
        assert!(pieces.iter().all(|piece| Ipv4::new(piece.ip()).unwrap().options() == options));
    }

    #[test]
    fn what_was_put_together_leaves_as_it_came() {
        let rng = Rng::new(1);
        let mut packet = v4(1000, &[], true, 0, false);
        packet.meta.max_fragment = 500;
        packet.meta.may_be_cut = true;
        packet.meta.fragments_had_df = true;
        packet.meta.pieces = vec![480, 8, 512];
        assert!(!exceeds(&packet, 600) && exceeds(&packet, 400));
        assert!(matches!(fit(&packet, 400, &rng), Fit::TooBig(400)));
        // One piece does not fit the size of the largest: all are cut anew, and DF stays.
        let Fit::Pieces(pieces) = fit(&packet, 1500, &rng) else { panic!() };
        assert!(pieces.iter().all(|piece| Ipv4::new(piece.ip()).unwrap().dont_fragment() && piece.length() <= 500));
        packet.meta.max_fragment = 532;
        let Fit::Pieces(pieces) = fit(&packet, 1500, &rng) else { panic!() };
        assert!(pieces.iter().all(|piece| !Ipv4::new(piece.ip()).unwrap().dont_fragment()));
        assert_eq!(shapes(Fit::Pieces(pieces)), [(500, 0, true), (28, 480, true), (532, 488, false)]);
        // A helper made it longer.
        packet.meta.pieces = vec![480, 8, 504];
        assert_eq!(shapes(fit(&packet, 1500, &rng)), [(532, 0, true), (508, 512, false)]);
    }

    #[test]
    fn headers_of_ipv6_end_in_the_first_of_the_pieces() {
        // Destination options of 16 bytes, of which the first fragment had 8.
        let payload = [&[proto::UDP, 1][..], &[0; 14], &[7; 16]].concat();
        let ip = build::ip(Family::V6, Addr(1), Addr(2), proto::DSTOPTS, &payload);
        let mut packet = Packet::from_ip(&ip).unwrap();
        (packet.meta.max_fragment, packet.meta.cut_at) = (60, 40);
        packet.meta.pieces = vec![8, 24];
        for copied_on in [None, Some(crate::net::IfIndex(2))] {
            packet.meta.copied_on = copied_on;
            assert!(matches!(fit(&packet, 1500, &Rng::new(1)), Fit::Gone), "{copied_on:?}");
        }
        packet.meta.pieces = vec![24, 8];
        let sizes = |packet: &Packet| match fit(packet, 1500, &Rng::new(1)) {
            Fit::Pieces(pieces) => pieces.iter().map(Packet::length).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(sizes(&packet), [80]);
        // Behind the options: a copy does not leave in the sizes that came.
        packet.meta.cut_at = 56;
        packet.meta.pieces = vec![8, 8];
        assert_eq!(sizes(&packet), [80]);
        packet.meta.copied_on = None;
        assert_eq!(sizes(&packet), [72, 72]);
    }

    #[test]
    fn routers_do_not_cut_ipv6() {
        let rng = Rng::new(1);
        let mut packet = Packet::from_ip(&build::ip(Family::V6, Addr(1), Addr(2), proto::UDP, &[7; 1400])).unwrap();
        assert!(exceeds(&packet, 1280));
        assert!(matches!(fit(&packet, 1280, &rng), Fit::TooBig(1280)));
        packet.meta.origin = Origin::Local(Default::default());
        let Fit::Pieces(pieces) = fit(&packet, 1280, &rng) else { panic!() };
        let found: Vec<_> = pieces.iter().map(|piece| (piece.length(), piece.head().fragment_offset)).collect();
        assert_eq!(found, [(1280, 0), (216, 154)]);
        let ids: Vec<_> = pieces.iter().map(|piece| piece.ip()[44..48].to_vec()).collect();
        assert!(ids[0] == ids[1] && ids[0] != [0; 4]);
    }
}
