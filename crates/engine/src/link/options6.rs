//! The options of IPv6 hop-by-hop and destination options headers (RFC 8200, section 4.2), judged as `ip6_parse_tlv` does.

use super::IcmpError;
use super::receive::Reception;
use crate::fate::DropReason;
use hairpin_wire::icmp6::parameter_problem::{HEADER_FIELD, OPTION};
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family};

/// Which header the options are in, with its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionsHeader {
    /// Hop-by-hop options; else destination options.
    pub(super) hop_by_hop: bool,
    /// Most options but padding; negative: unknown ones are refused too.
    pub(super) max_count: i64,
    /// Longest header in bytes.
    pub(super) max_length: i64,
}

const PAD1: u8 = 0;
const PADN: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const CALIPSO: u8 = 7;
const IOAM: u8 = 0x31;
const JUMBO: u8 = 0xc2;

/// Judges the options header at `at` of the IPv6 packet `packet`.
pub(super) fn check(packet: &[u8], at: usize, header: OptionsHeader) -> Reception {
    let bad = Reception::Drop(DropReason::BadOptions);
    let Some(&[_, words, ..]) = packet.get(at..) else { return bad };
    let length = (usize::from(words) + 1) * 8;
    let Some(bytes) = packet.get(..at + length) else { return bad };
    if length as i64 > header.max_length {
        return bad;
    }
    let (mut offset, mut count, mut padding) = (at + 2, 0i64, 0usize);
    while let Some(option) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        let len = match *option {
            [PAD1, ..] => {
                padding += 1;
                1
            }
            [kind, len, ..] => {
                let len = usize::from(len) + 2;
                let Some(option) = option.get(..len) else { return bad };
                if kind == PADN {
                    padding += len;
                    if option.iter().skip(2).any(|byte| *byte != 0) {
                        return bad;
                    }
                } else {
                    count += 1;
                    if count > header.max_count.abs() {
                        return bad;
                    }
                    match judge(packet, offset, option, header) {
                        Reception::Good => padding = 0,
                        other => return other,
                    }
                }
                len
            }
            _ => return bad,
        };
        // Padding serves to align to 8 bytes; more of it is a covert channel.
        if padding > 7 {
            return bad;
        }
        offset += len;
    }
    Reception::Good
}

fn judge(packet: &[u8], offset: usize, option: &[u8], header: OptionsHeader) -> Reception {
    let bad = Reception::Drop(DropReason::BadOptions);
    let kind = option.first().copied().unwrap_or(PAD1);
    match kind {
        ROUTER_ALERT if header.hop_by_hop && option.len() == 4 => Reception::Good,
        ROUTER_ALERT if header.hop_by_hop => bad,
        // Taken only where a labelling domain is set up, which this host has none of.
        CALIPSO if header.hop_by_hop => bad,
        IOAM if header.hop_by_hop && offset.is_multiple_of(4) => Reception::Good,
        IOAM if header.hop_by_hop => bad,
        JUMBO if header.hop_by_hop => jumbo(packet, offset, option),
        _ if header.max_count < 0 => bad,
        // The two highest bits say what a node does that does not know the option.
        _ => match kind >> 6 {
            0 => Reception::Good,
            3 if destination(packet).is_multicast(Family::V6) => bad,
            2 | 3 => Reception::Problem(IcmpError::bad_header6(OPTION, offset as u32)),
            _ => bad,
        },
    }
}

/// A jumbogram (RFC 2675) cannot be in a frame of at most 65,535 bytes: it is malformed in one way or another.
fn jumbo(packet: &[u8], offset: usize, option: &[u8]) -> Reception {
    let &[_, _, a, b, c, d] = option else { return Reception::Drop(DropReason::BadOptions) };
    if offset % 4 != 2 {
        return Reception::Drop(DropReason::BadOptions);
    }
    if u32::from_be_bytes([a, b, c, d]) <= 0xffff {
        return Reception::Problem(IcmpError::bad_header6(HEADER_FIELD, offset as u32 + 2));
    }
    if Ipv6::new(packet).is_some_and(|ip| ip.payload_len() != 0) {
        return Reception::Problem(IcmpError::bad_header6(HEADER_FIELD, offset as u32));
    }
    Reception::Drop(DropReason::Truncated)
}

fn destination(packet: &[u8]) -> Addr {
    Ipv6::new(packet).map_or(Addr::UNSPECIFIED, |ip| ip.dst())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_wire::{build, proto};

    const HOP: OptionsHeader = OptionsHeader { hop_by_hop: true, max_count: 8, max_length: i32::MAX as i64 };

    fn hop(dst: Addr, options: &[u8]) -> Vec<u8> {
        let mut payload = vec![proto::UDP, ((options.len() + 2) / 8 - 1) as u8];
        payload.extend(options);
        payload.extend([0; 8]);
        build::ip(Family::V6, Addr(1 << 100), dst, proto::HOPOPTS, &payload)
    }

    fn verdict(options: &[u8]) -> Reception {
        check(&hop(Addr(2 << 100), options), 40, HOP)
    }

    #[test]
    fn the_high_bits_of_an_unknown_option_decide() {
        let bad = Reception::Drop(DropReason::BadOptions);
        assert_eq!(verdict(&[0x1e, 4, 0, 0, 0, 0]), Reception::Good);
        assert_eq!(verdict(&[0x5e, 4, 0, 0, 0, 0]), bad);
        let told = Reception::Problem(IcmpError::bad_header6(OPTION, 42));
        assert_eq!(verdict(&[0x9e, 4, 0, 0, 0, 0]), told);
        assert_eq!(verdict(&[0xde, 4, 0, 0, 0, 0]), told);
        let group = Addr(0xff02 << 112 | 1);
        assert_eq!(check(&hop(group, &[0xde, 4, 0, 0, 0, 0]), 40, HOP), bad);
        assert_eq!(check(&hop(group, &[0x9e, 4, 0, 0, 0, 0]), 40, HOP), told);
        let strict = OptionsHeader { max_count: -8, ..HOP };
        assert_eq!(check(&hop(Addr(2 << 100), &[0x1e, 4, 0, 0, 0, 0]), 40, strict), bad);
    }

    #[test]
    fn padding_is_short_and_zero() {
        let bad = Reception::Drop(DropReason::BadOptions);
        assert_eq!(verdict(&[1, 4, 0, 0, 0, 0]), Reception::Good);
        assert_eq!(verdict(&[0; 6]), Reception::Good);
        assert_eq!(verdict(&[1, 4, 0, 0, 1, 0]), bad);
        assert_eq!(verdict(&[0; 14]), bad);
        assert_eq!(verdict(&[1, 5, 0, 0, 0, 0]), bad);
    }

    #[test]
    fn jumbograms_do_not_come_in_frames() {
        let told = |offset| Reception::Problem(IcmpError::bad_header6(HEADER_FIELD, offset));
        assert_eq!(verdict(&[0xc2, 4, 0, 1, 0, 0]), told(42));
        assert_eq!(verdict(&[0xc2, 4, 0, 0, 0xff, 0xff]), told(44));
    }

    #[test]
    fn options_are_counted_and_must_be_there() {
        let bad = Reception::Drop(DropReason::BadOptions);
        let nine = [[0x1e, 0]; 9].concat();
        assert_eq!(verdict(&[&nine[..], &[1, 2, 0, 0]].concat()), bad);
        assert_eq!(verdict(&[&nine[..16], &[1, 4, 0, 0, 0, 0]].concat()), Reception::Good);
        let mut cut = hop(Addr(2 << 100), &[1, 4, 0, 0, 0, 0]);
        cut.truncate(47);
        assert_eq!(check(&cut, 40, HOP), bad);
        assert_eq!(check(&cut, 400, HOP), bad);
    }
}
