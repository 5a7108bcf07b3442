//! Passing over rules whose addresses or protocol do not fit: what the walk compares first, side by side in memory.
//!
//! A rule whose header does not fit has no effect at all, so it may be passed over by any test that never passes over one that fits.

use super::{AddrMatch, Header};
use crate::packet::Headers;
use hairpin_wire::Family;

/// The front of each rule of a table, in its order: what it says of addresses and protocol. What it does not say, or inverted, is
/// masked out.
#[derive(Debug)]
pub(super) enum Scan {
    V4(Vec<Block<1>>),
    V6(Vec<Block<4>>),
}

/// The fronts of so many rules lie word by word side by side, so that a processor compares several at once.
const LANES: usize = 8;

/// The fronts of [`LANES`] rules in a row; addresses have `W` words.
#[derive(Clone, Debug)]
pub(super) struct Block<const W: usize> {
    src: [Words; W],
    dst: [Words; W],
    protocol: Words,
}

/// A word of each rule, and which of its bits count.
#[derive(Clone, Copy, Debug)]
struct Words {
    value: [u32; LANES],
    mask: [u32; LANES],
}

impl Scan {
    pub(super) fn new<'a>(family: Family, headers: impl Iterator<Item = &'a Header>) -> Scan {
        match family {
            Family::V4 => Scan::V4(blocks(headers, |bits| [bits as u32])),
            Family::V6 => Scan::V6(blocks(headers, words6)),
        }
    }

    /// The first rule from `at` on whose front fits. Every chain ends with a hidden rule that fits all.
    #[inline]
    pub(super) fn next(&self, at: usize, head: &Headers) -> usize {
        // What a rule with a protocol does to headers that cannot be walked is more than not to match.
        if head.broken {
            return at;
        }
        let protocol = u32::from(head.protocol);
        match self {
            Scan::V4(blocks) => first(blocks, at, [head.src.as_u32()], [head.dst.as_u32()], protocol),
            Scan::V6(blocks) => first(blocks, at, words6(head.src.0), words6(head.dst.0), protocol),
        }
    }
}

/// Whether a header says nothing but what its front holds.
pub(super) fn is_all_front(header: &Header) -> bool {
    !header.src.inverted
        && !header.dst.inverted
        && header.iif.is_absent()
        && header.oif.is_absent()
        && !(header.protocol_inverted && header.protocol != 0)
        && header.fragment.is_none()
}

#[inline]
fn first<const W: usize>(blocks: &[Block<W>], at: usize, src: [u32; W], dst: [u32; W], protocol: u32) -> usize {
    let (mut number, mut lane) = (at / LANES, at % LANES);
    // Often it is the very first, where rules differ by what is behind their fronts.
    if blocks.get(number).is_some_and(|block| block.miss(lane, src, dst, protocol) == 0) {
        return at;
    }
    while let Some(block) = blocks.get(number) {
        let mut fit = 0u32;
        for lane in 0..LANES {
            fit |= u32::from(block.miss(lane, src, dst, protocol) == 0) << lane;
        }
        let from_lane = fit & (!0 << lane);
        if from_lane != 0 {
            return number * LANES + from_lane.trailing_zeros() as usize;
        }
        (number, lane) = (number + 1, 0);
    }
    number * LANES
}

impl<const W: usize> Block<W> {
    /// Nothing fits.
    const EMPTY: Block<W> = {
        let any = Words { value: [0; LANES], mask: [0; LANES] };
        Block { src: [any; W], dst: [any; W], protocol: Words { value: [1; LANES], mask: [0; LANES] } }
    };

    fn put(&mut self, lane: usize, header: &Header, words: &impl Fn(u128) -> [u32; W]) {
        for (place, said) in [(&mut self.src, said(&header.src)), (&mut self.dst, said(&header.dst))] {
            for ((place, value), mask) in place.iter_mut().zip(words(said.0)).zip(words(said.1)) {
                place.put(lane, value, mask);
            }
        }
        let is_named = header.protocol != 0 && !header.protocol_inverted;
        let protocol = if is_named { (header.protocol.into(), 0xff) } else { (0, 0) };
        self.protocol.put(lane, protocol.0, protocol.1);
    }

    /// The bits that do not fit a rule; 0 if its front fits.
    #[inline(always)]
    fn miss(&self, lane: usize, src: [u32; W], dst: [u32; W], protocol: u32) -> u32 {
        let mut bits = self.protocol.miss(lane, protocol);
        for word in 0..W {
            bits |= self.src[word].miss(lane, src[word]) | self.dst[word].miss(lane, dst[word]);
        }
        bits
    }
}

impl Words {
    fn put(&mut self, lane: usize, value: u32, mask: u32) {
        self.value[lane] = value;
        self.mask[lane] = mask;
    }

    #[inline(always)]
    fn miss(&self, lane: usize, word: u32) -> u32 {
        word & self.mask[lane] ^ self.value[lane]
    }
}

fn blocks<'a, const W: usize>(
    headers: impl Iterator<Item = &'a Header>,
    words: impl Fn(u128) -> [u32; W],
) -> Vec<Block<W>> {
    let mut blocks = Vec::new();
    for (number, header) in headers.enumerate() {
        if number % LANES == 0 {
            blocks.push(Block::EMPTY);
        }
        if let Some(block) = blocks.last_mut() {
            block.put(number % LANES, header, &words);
        }
    }
    blocks
}

fn words6(bits: u128) -> [u32; 4] {
    [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
}

fn said(addr: &AddrMatch) -> (u128, u128) {
    if addr.inverted { (0, 0) } else { (addr.addr.0, addr.mask.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{HeaderSays, IfMatch};
    use hairpin_wire::Addr;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = Addr> {
        (0u128..4).prop_map(|n| Addr(0x0a00_0000 | n))
    }

    fn addr_match() -> impl Strategy<Value = AddrMatch> {
        (address(), prop_oneof![Just(0u128), Just(0xffff_ffff), Just(0xffff_fffe), Just(1)], any::<bool>())
            .prop_map(|(addr, mask, inverted)| AddrMatch { addr: Addr(addr.0 & mask), mask: Addr(mask), inverted })
    }

    fn header() -> impl Strategy<Value = Header> {
        let fragment = prop_oneof![Just(None), any::<bool>().prop_map(Some)];
        (addr_match(), addr_match(), 0u8..3, any::<bool>(), fragment, any::<bool>()).prop_map(
            |(src, dst, protocol, protocol_inverted, fragment, device)| Header {
                src,
                dst,
                protocol,
                protocol_inverted,
                fragment,
                iif: if device { IfMatch::new("eth0", false).unwrap_or_default() } else { IfMatch::default() },
                ..Header::default()
            },
        )
    }

    proptest! {
        /// What is passed over does not fit; what is all front and stopped at does.
        #[test]
        fn passes_over_nothing_that_fits(
            headers in prop::collection::vec(header(), 0..30),
            src in address(),
            dst in address(),
            protocol in 0u8..3,
            later in any::<bool>(),
            six in any::<bool>(),
            broken in any::<bool>(),
        ) {
            let family = if six { Family::V6 } else { Family::V4 };
            let broken = six && broken;
            let head = Headers { family, src, dst, protocol, fragment_offset: later.into(), broken, ..Headers::default() };
            let scan = Scan::new(family, headers.iter());
            let mut at = 0;
            while at < headers.len() {
                let next = scan.next(at, &head).min(headers.len());
                for header in &headers[at..next] {
                    prop_assert_eq!(header.matches(&head, None, None), HeaderSays::No);
                }
                if let Some(header) = headers.get(next)
                    && is_all_front(header)
                    && !broken
                {
                    prop_assert_eq!(header.matches(&head, None, None), HeaderSays::Yes);
                }
                at = next + 1;
            }
        }
    }
}
