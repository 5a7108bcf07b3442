//! What `-j SYNPROXY` says to clients and servers: SYN cookies, time stamps that carry a client's options, and the segments with them
//! (`nf_synproxy_core`, `syncookies`).
//!
//! A cookie is a sequence number that only who has the secret can make: a hash of addresses and ports plus the client's own number,
//! with the minute in the upper eight bits and the choice of segment size, hidden under a hash of that minute, below. The client brings it
//! back, so nothing is remembered of who did not. What does not fit, its other options, goes into the low bits of the time stamp that the
//! client echoes.

use crate::rule::SynProxy;
use crate::time::Instant;
use hairpin_wire::tcp::{self, Tcp, option, options_iter};
use hairpin_wire::{Addr, Family};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The options of a SYN that a proxy speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    /// Value and echo.
    pub(crate) stamps: Option<(u32, u32)>,
    pub(crate) sack: bool,
    pub(crate) ecn: bool,
}

/// Larger window scales count as this one.
const MOST_SCALE: u8 = 14;

/// Below this bit a time stamp carries options instead of time.
const STAMP_BITS: u32 = 6;
/// In the place of a window scale: none.
const NO_SCALE: u32 = 0xf;
const STAMP_SACK: u32 = 1 << 4;
const STAMP_ECN: u32 = 1 << 5;

impl Options {
    /// The options of a segment (`synproxy_parse_options`).
    pub(crate) fn of(segment: &Tcp<&[u8]>) -> Options {
        let mut options = Options::default();
        for (kind, data) in options_iter(segment.options()) {
            match (kind, data) {
                (option::MSS, [high, low]) => options.mss = Some(u16::from_be_bytes([*high, *low])),
                (option::WINDOW_SCALE, [scale]) => options.scale = Some((*scale).min(MOST_SCALE)),
                (option::TIMESTAMPS, [a, b, c, d, e, f, g, h]) => {
                    options.stamps = Some((u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h])));
                }
                (option::SACK_PERMITTED, []) => options.sack = true,
                _ => {}
            }
        }
        options
    }

    /// What the SYN+ACK of a rule offers a client that offers this: what both have; without time stamps nothing can be carried.
    pub(crate) fn offered(self, rule: &SynProxy, flags: u8, now: Instant) -> Options {
        const ECN: u8 = tcp::ECE | tcp::CWR;
        let mss = self.mss.and(rule.mss);
        let Some((value, _)) = self.stamps.filter(|_| rule.timestamp) else {
            return Options { mss, ..Options::default() };
        };
        let scale = self.scale.filter(|_| rule.scale.is_some());
        let (sack, ecn) = (self.sack && rule.sack, flags & ECN == ECN && rule.ecn);
        let mut stamp = milliseconds(now) >> STAMP_BITS << STAMP_BITS;
        stamp |= scale.map_or(NO_SCALE, u32::from);
        stamp |= if sack { STAMP_SACK } else { 0 } | if ecn { STAMP_ECN } else { 0 };
        Options { mss, scale: scale.and(rule.scale), stamps: Some((stamp, value)), sack, ecn }
    }

    /// What a client that brings back a cookie had offered: the cookie tells the segment size, the echoed time stamp the rest.
    pub(crate) fn recalled(self, mss: u16) -> Options {
        let Some((_, echo)) = self.stamps else { return Options { mss: Some(mss), ..self } };
        let scale = match echo & 0xf {
            NO_SCALE => self.scale,
            scale => Some(scale as u8),
        };
        let (sack, ecn) = (self.sack || echo & STAMP_SACK != 0, echo & STAMP_ECN != 0);
        Options { mss: Some(mss), scale, sack, ecn, ..self }
    }

    /// The bytes, in the order in which Linux writes them (`synproxy_build_options`).
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20);
        if let Some(mss) = self.mss {
            bytes.extend([option::MSS, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        match (self.stamps, self.sack) {
            (Some(_), true) => bytes.extend([option::SACK_PERMITTED, 2]),
            (Some(_), false) => bytes.extend([option::NOP; 2]),
            (None, true) => bytes.extend([option::NOP, option::NOP, option::SACK_PERMITTED, 2]),
            (None, false) => {}
        }
        if let Some((value, echo)) = self.stamps {
            bytes.extend([option::TIMESTAMPS, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            bytes.extend([option::NOP, option::WINDOW_SCALE, 3, scale]);
        }
        bytes
    }
}

/// The clock of TCP's time stamps.
fn milliseconds(now: Instant) -> u32 {
    (now.0 / 1_000_000) as u32
}

/// The segment sizes a cookie can tell, by family (`msstab`).
const SIZES: [[u16; 4]; 2] = [[536, 1300, 1440, 1460], [1220, 1420, 1440, 8940]];

/// A cookie counts minutes, and is taken for one to two of them.
const PERIOD: u64 = 60 * 1_000_000_000;
const MOST_PERIODS: u32 = 2;
const HIDDEN: u32 = (1 << 24) - 1;

/// Makes and knows cookies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    secret: (u64, u64),
}

/// From where to where a client's segments go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) family: Family,
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) ports: (u16, u16),
}

impl Cookies {
    pub(crate) fn new(secret: (u64, u64)) -> Cookies {
        Cookies { secret }
    }

    /// The cookie for a SYN with this sequence number and segment size.
    pub(crate) fn make(&self, ends: &Ends, seq: u32, mss: Option<u16>, now: Instant) -> u32 {
        let sizes = &SIZES[usize::from(ends.family == Family::V6)];
        let size = sizes.iter().rposition(|size| *size <= mss.unwrap_or(0)).unwrap_or(0) as u32;
        let minute = minute(now);
        let hidden = self.hash(ends, minute, 1).wrapping_add(size) & HIDDEN;
        self.hash(ends, 0, 0).wrapping_add(seq).wrapping_add(minute << 24).wrapping_add(hidden)
    }

    /// The segment size that a cookie tells; None when it is none of ours, or too old. `seq` is the SYN's.
    pub(crate) fn check(&self, ends: &Ends, seq: u32, cookie: u32, now: Instant) -> Option<u16> {
        let rest = cookie.wrapping_sub(self.hash(ends, 0, 0)).wrapping_sub(seq);
        let minute = minute(now);
        let age = minute.wrapping_sub(rest >> 24) & 0xff;
        if age >= MOST_PERIODS {
            return None;
        }
        let size = rest.wrapping_sub(self.hash(ends, minute.wrapping_sub(age), 1)) & HIDDEN;
        SIZES[usize::from(ends.family == Family::V6)].get(size as usize).copied()
    }

    fn hash(&self, ends: &Ends, minute: u32, which: u8) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(&ends.src.0.to_be_bytes());
        hasher.write(&ends.dst.0.to_be_bytes());
        hasher.write_u16(ends.ports.0);
        hasher.write_u16(ends.ports.1);
        hasher.write_u32(minute);
        hasher.write_u8(which);
        hasher.finish() as u32
    }
}

fn minute(now: Instant) -> u32 {
    (now.0 / PERIOD) as u32
}

/// Moves the time stamp that an option of a segment holds, and its checksum: the server's clock is another one than the proxy's
/// (`synproxy_tstamp_adjust`).
pub(crate) fn move_stamps(segment: &mut Tcp<&mut [u8]>, offset: u32, is_reply: bool) {
    let mut at = 0;
    while let Some([kind, rest @ ..]) = segment.options().get(at..) {
        let length = match (*kind, rest.first()) {
            (option::END, _) | (_, None) => return,
            (option::NOP, _) => 1,
            (_, Some(length)) => usize::from(*length),
        };
        if length > 1 && *kind == option::TIMESTAMPS && length == 10 {
            // A reply tells the server's time, the client echoes it.
            let field = at + if is_reply { 2 } else { 6 };
            let Some(bytes) = segment.options_mut().get_mut(field..).and_then(|rest| rest.first_chunk_mut::<4>())
            else {
                return;
            };
            let old = u32::from_be_bytes(*bytes);
            let new = if is_reply { old.wrapping_sub(offset) } else { old.wrapping_add(offset) };
            *bytes = new.to_be_bytes();
            let sum = hairpin_wire::checksum::update_u32(segment.checksum(), old, new);
            segment.set_checksum(sum);
            return;
        }
        if length == 0 || (*kind != option::NOP && length < 2) {
            return;
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENDS: Ends =
        Ends { family: Family::V4, src: Addr(0xffff_0a00_0102), dst: Addr(0xffff_0a00_0202), ports: (57160, 80) };

    proptest! {
        #[test]
        fn a_cookie_is_known_for_one_to_two_minutes(secret in any::<(u64, u64)>(), seq in any::<u32>(), mss in any::<Option<u16>>(), at in 0u64..1 << 50, age in 0u64..400) {
            let cookies = Cookies::new(secret);
            let cookie = cookies.make(&ENDS, seq, mss, Instant(at));
            let then = Instant(at + age * 1_000_000_000);
            let told = cookies.check(&ENDS, seq, cookie, then);
            let periods = then.0 / PERIOD - at / PERIOD;
            prop_assert_eq!(told.is_some(), periods < u64::from(MOST_PERIODS));
            if let Some(told) = told {
                prop_assert!(SIZES[0].contains(&told) && (told <= mss.unwrap_or(0) || told == 536));
            }
            // Whoever changes anything is not known.
            prop_assert_eq!(cookies.check(&Ends { ports: (57161, 80), ..ENDS }, seq, cookie, then), None);
            prop_assert_eq!(cookies.check(&ENDS, seq, cookie ^ 1 << 31, then), None);
        }

        #[test]
        fn stamps_move_without_panic(options in prop::collection::vec(any::<u8>(), 0..40), offset in any::<u32>(), is_reply in any::<bool>()) {
            let mut bytes = hairpin_wire::build::Tcp { options: &options, ..Default::default() }.to_vec(Family::V4, ENDS.src, ENDS.dst);
            move_stamps(&mut Tcp::new(&mut bytes[..]).unwrap(), offset, is_reply);
        }
    }

    /// As a kernel answered (6.18): the options of a Linux client, with `--sack-perm --timestamp --wscale 7 --mss 1460`.
    #[test]
    fn options_come_back() {
        let rule = SynProxy { sack: true, timestamp: true, scale: Some(7), mss: Some(1460), ecn: false };
        let client =
            Options { mss: Some(1460), scale: Some(10), stamps: Some((2_754_271_637, 0)), sack: true, ecn: false };
        let now = Instant(13_844_599 * 1_000_000);
        let offered = client.offered(&rule, tcp::SYN, now);
        // 13844544 and scale 10 and SACK.
        assert_eq!(offered.stamps, Some((13_844_570, 2_754_271_637)));
        assert_eq!((offered.scale, offered.mss, offered.sack), (Some(7), Some(1460), true));
        let expected = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 211, 64, 90, 164, 42, 217, 149, 1, 3, 3, 7];
        assert_eq!(offered.to_vec(), expected);
        let answer = Options { stamps: Some((2_754_271_637, 13_844_570)), ..Options::default() };
        let recalled = answer.recalled(1460);
        assert_eq!(recalled, Options { stamps: answer.stamps, ..client });
        // Without time stamps nothing but the size can be offered.
        let plain = Options { stamps: None, ..client }.offered(&rule, tcp::SYN, now);
        assert_eq!(plain, Options { mss: Some(1460), ..Options::default() });
        assert_eq!(plain.to_vec(), [2, 4, 5, 0xb4]);
    }
}
