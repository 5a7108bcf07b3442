//! The internet checksum (RFC 1071), its incremental form (RFC 1624), and the CRC of SCTP.
//!
//! A *partial sum* is a `u32` that stands for a 16-bit ones' complement sum of big-endian words. Partial sums are added
//! with [`combine`] and turned into the value of a checksum field by [`finish`]. Zero has two representations in ones'
//! complement; as in the kernel, a sum is the zero `0` only if every word summed was zero, otherwise it is `0xffff`.
//! Hence a checksum field is `0xffff` only over data that is all zero, and the incremental functions give the very bytes
//! a full computation gives.

use crate::addr::{Addr, Family};

/// The partial sum of `data`; an odd last byte counts as the high byte of a word.
#[inline]
pub fn sum(data: &[u8]) -> u32 {
    // Words are added in the machine's own byte order and the sum is swapped once at the end (RFC 1071, section 2B).
    // Four accumulators of 32-bit halves cannot overflow below 8 GiB, and the machine adds them side by side.
    let (blocks, mut rest) = data.as_chunks::<32>();
    let mut total = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
    // What is left is taken without a loop: most of what is summed is not longer.
    if let Some((words, behind)) = rest.split_first_chunk::<16>() {
        total += halves(words.as_chunks::<8>().0.iter().copied());
        rest = behind;
    }
    if let Some((word, behind)) = rest.split_first_chunk::<8>() {
        total += halves([*word].into_iter());
        rest = behind;
    }
    if let Some((word, behind)) = rest.split_first_chunk::<4>() {
        total += u64::from(u32::from_ne_bytes(*word));
        rest = behind;
    }
    if let Some((word, behind)) = rest.split_first_chunk::<2>() {
        total += u64::from(u16::from_ne_bytes(*word));
        rest = behind;
    }
    if let [byte] = rest {
        total += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    u32::from(u16::from_be(fold64(total)))
}

fn sum_blocks(blocks: &[[u8; 32]]) -> u64 {
    let mut lanes = [0u64; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane += halves([*word].into_iter());
        }
    }
    lanes.iter().sum()
}

/// The 32-bit halves of words, added.
#[inline(always)]
fn halves(words: impl Iterator<Item = [u8; 8]>) -> u64 {
    words.map(u64::from_ne_bytes).map(|word| (word & 0xffff_ffff) + (word >> 32)).sum()
}

/// Adds two partial sums. The bytes behind `b` must start at an even distance from those behind `a`.
#[inline]
pub const fn combine(a: u32, b: u32) -> u32 {
    let (total, carry) = a.overflowing_add(b);
    // After a carry the sum is at most 0xffff_fffe, so the end-around carry cannot overflow.
    total + carry as u32
}

/// Folds a partial sum to 16 bits and complements it: the value of the checksum field.
#[inline]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum of `data` on its own, as in an IPv4 header or an ICMP message. Zero if `data` holds a right checksum.
#[inline]
pub fn checksum(data: &[u8]) -> u16 {
    finish(sum(data))
}

/// The partial sum of the pseudo header of an upper layer (RFC 9293, section 3.1; RFC 8200, section 8.1).
///
/// `len` is the upper layer's length in bytes. IPv4 has 16 bits for it; a longer value is summed as two words.
#[inline]
pub const fn pseudo_header(family: Family, src: Addr, dst: Addr, proto: u8, len: u32) -> u32 {
    let addrs = combine(addr_sum(family, src), addr_sum(family, dst));
    combine(addrs, combine(proto as u32, len))
}

/// The checksum of an upper layer: `data` with its pseudo header. Zero if `data` holds a right checksum.
#[inline]
pub fn transport(family: Family, src: Addr, dst: Addr, proto: u8, data: &[u8]) -> u16 {
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    finish(combine(pseudo_header(family, src, dst, proto, len), sum(data)))
}

/// The checksum field `check` after a 16-bit word of the data changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub const fn update_u16(check: u16, old: u16, new: u16) -> u16 {
    !fold(!check as u32 + !old as u32 + new as u32)
}

/// As [`update_u16`] for a 32-bit word at an even offset.
#[inline]
pub const fn update_u32(check: u16, old: u32, new: u32) -> u16 {
    finish(combine(combine(!check as u32, !old), new))
}

/// As [`update_u16`] for an address, in the header or in the pseudo header.
#[inline]
pub const fn update_addr(check: u16, family: Family, old: Addr, new: Addr) -> u16 {
    match family {
        Family::V4 => update_u32(check, old.as_u32(), new.as_u32()),
        Family::V6 => {
            let out = addr_sum(Family::V6, Addr(!old.0));
            finish(combine(combine(!check as u32, out), addr_sum(Family::V6, new)))
        }
    }
}

/// The partial sum that a change of an address adds to the data: for [`update_by`], where several checksums cover it.
#[inline]
pub const fn addr_delta(family: Family, old: Addr, new: Addr) -> u32 {
    match family {
        Family::V4 => combine(!old.as_u32(), new.as_u32()),
        Family::V6 => combine(addr_sum(Family::V6, Addr(!old.0)), addr_sum(Family::V6, new)),
    }
}

/// As [`update_u16`] for changes whose partial sum is known: for each word, its old value complemented and its new one.
#[inline]
pub const fn update_by(check: u16, delta: u32) -> u16 {
    finish(combine(!check as u32, delta))
}

/// As [`update_u16`] for data that changed at an even offset, from a partial sum `old` to a partial sum `new`: for
/// payloads rewritten in place, and for changes of length together with the length field.
#[inline]
pub const fn update_sum(check: u16, old: u32, new: u32) -> u16 {
    finish(combine(combine(!check as u32, !fold(old) as u32), new))
}

/// The value to send for a computed UDP checksum: zero would mean "none" (RFC 768), so it becomes `0xffff`.
#[inline]
pub const fn udp_nonzero(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}

/// CRC32c (Castagnoli) of `data` with the usual initial and final complement (RFC 9260, appendix A).
pub fn crc32c(data: &[u8]) -> u32 {
    crc32c_finish(crc32c_update(CRC32C_INIT, data))
}

/// Initial state of a CRC32c computed in pieces.
pub const CRC32C_INIT: u32 = u32::MAX;

/// Continues a CRC32c computed in pieces, from the state [`CRC32C_INIT`].
pub fn crc32c_update(state: u32, data: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &CRC32C_TABLES;
    let look = |table: &[u32; 256], byte: u32| table[usize::from(byte as u8)];
    let mut crc = state;
    let (chunks, rest) = data.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in chunks {
        let low = crc ^ u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, g, h]);
        crc = look(t7, low) ^ look(t6, low >> 8) ^ look(t5, low >> 16) ^ look(t4, low >> 24);
        crc ^= look(t3, high) ^ look(t2, high >> 8) ^ look(t1, high >> 16) ^ look(t0, high >> 24);
    }
    for byte in rest {
        crc = (crc >> 8) ^ look(t0, crc ^ u32::from(*byte));
    }
    crc
}

/// Ends a CRC32c computed in pieces.
pub const fn crc32c_finish(state: u32) -> u32 {
    !state
}

/// Folds a partial sum to 16 bits; zero only for zero.
#[inline]
const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// Folds a 64-bit sum of words to 16 bits; zero only for zero.
#[inline]
const fn fold64(sum: u64) -> u16 {
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    let twice = ((once & 0xffff_ffff) + (once >> 32)) as u32;
    fold(twice)
}

#[inline]
const fn addr_sum(family: Family, addr: Addr) -> u32 {
    match family {
        Family::V4 => addr.as_u32(),
        Family::V6 => {
            let (high, low) = ((addr.0 >> 64) as u64, addr.0 as u64);
            fold64((high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)) as u32
        }
    }
}

/// Table `n` advances the CRC over a byte followed by `n` zero bytes.
static CRC32C_TABLES: [[u32; 256]; 8] = crc32c_tables();

const fn crc32c_tables() -> [[u32; 256]; 8] {
    // The Castagnoli polynomial 0x1EDC6F41 with its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 word by word, the definition the fast version must agree with.
    fn slow(data: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in data.chunks(2) {
            total += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn crc32c_of_known_data() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&counting), 0x46dd_794e);
    }

    #[test]
    fn zero_data_and_ones() {
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0; 64]), 0xffff);
        assert_eq!(checksum(&[0xff; 64]), 0);
        assert_eq!(combine(u32::MAX, u32::MAX), u32::MAX);
        assert_eq!((udp_nonzero(0), udp_nonzero(5)), (0xffff, 5));
    }

    /// Data that is not all zero, with a checksum word at the front.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 36..80).prop_map(|mut data| {
            data[2] = 1;
            data
        })
    }

    proptest! {
        #[test]
        fn fast_equals_slow(data in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(checksum(&data), slow(&data));
        }

        #[test]
        fn pieces_combine(data in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..100) {
            let at = (at * 2).min(data.len() & !1);
            let (a, b) = data.split_at(at);
            prop_assert_eq!(finish(combine(sum(a), sum(b))), checksum(&data));
        }

        #[test]
        fn incremental_u16_equals_full(mut data in message(), at in 2usize..16, new in prop_oneof![Just(0), Just(0xffff), any::<u16>()]) {
            let at = at * 2;
            let check = checksum(&data);
            let old = u16::from_be_bytes([data[at], data[at + 1]]);
            data[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u16(check, old, new), checksum(&data));
        }

        #[test]
        fn incremental_u32_equals_full(mut data in message(), at in 2usize..16, new in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]) {
            let at = at * 2;
            let check = checksum(&data);
            let old = u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
            data[at..at + 4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u32(check, old, new), checksum(&data));
        }

        #[test]
        fn incremental_addr_equals_full(
            data in message(), v6 in any::<bool>(),
            old in prop_oneof![Just(0), Just(u128::MAX), any::<u128>()],
            new in prop_oneof![Just(0), Just(u128::MAX), any::<u128>()],
            dst in any::<u128>(),
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let low = |n: u128| Addr(n & family.mask(128).0);
            let before = transport(family, low(old), low(dst), 6, &data);
            let after = transport(family, low(new), low(dst), 6, &data);
            prop_assert_eq!(update_addr(before, family, low(old), low(new)), after);
        }

        #[test]
        fn changes_add_up(
            data in message(), v6 in any::<bool>(),
            old in prop_oneof![Just(0), Just(u128::MAX), any::<u128>()],
            new in prop_oneof![Just(0), Just(u128::MAX), any::<u128>()],
            words in (prop_oneof![Just(0), Just(0xffff), any::<u16>()], prop_oneof![Just(0), Just(0xffff), any::<u16>()]),
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let (old, new) = (Addr(old & family.mask(128).0), Addr(new & family.mask(128).0));
            let check = checksum(&data);
            let step_by_step = update_u16(update_addr(check, family, old, new), words.0, words.1);
            let delta = combine(addr_delta(family, old, new), u32::from(!words.0) + u32::from(words.1));
            prop_assert_eq!(update_by(check, delta), step_by_step);
            prop_assert_eq!(update_by(check, addr_delta(family, old, new)), update_addr(check, family, old, new));
        }

        #[test]
        fn incremental_sum_equals_full(data in message(), new in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut changed = data[..8].to_vec();
            changed.extend(&new);
            prop_assert_eq!(update_sum(checksum(&data), sum(&data[8..]), sum(&new)), checksum(&changed));
        }

        #[test]
        fn pseudo_header_equals_its_bytes(src in any::<u128>(), dst in any::<u128>(), proto in any::<u8>(), len in any::<u16>()) {
            let mut bytes = src.to_be_bytes().to_vec();
            bytes.extend(dst.to_be_bytes());
            bytes.extend(u32::from(len).to_be_bytes());
            bytes.extend([0, 0, 0, proto]);
            let partial = pseudo_header(Family::V6, Addr(src), Addr(dst), proto, u32::from(len));
            prop_assert_eq!(finish(partial), checksum(&bytes));
            let mut bytes = (src as u32).to_be_bytes().to_vec();
            bytes.extend((dst as u32).to_be_bytes());
            bytes.extend([0, proto]);
            bytes.extend(len.to_be_bytes());
            let (src, dst) = (Addr::v4(src as u32), Addr::v4(dst as u32));
            prop_assert_eq!(finish(pseudo_header(Family::V4, src, dst, proto, u32::from(len))), checksum(&bytes));
        }

        #[test]
        fn crc_in_pieces(data in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..100) {
            let (a, b) = data.split_at(at.min(data.len()));
            prop_assert_eq!(crc32c_finish(crc32c_update(crc32c_update(CRC32C_INIT, a), b)), crc32c(&data));
        }
    }
}
