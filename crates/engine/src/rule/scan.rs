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
    V4(Vec<Block>),
    V6(Vec<Front>),
}

/// The fronts of so many IPv4 rules lie word by word side by side, so that a processor compares several at once. Measured: 0.22 ns a rule
/// instead of 0.45. With IPv6's four words for an address that gains nothing.
const LANES: usize = 8;

/// The fronts of [`LANES`] IPv4 rules in a row.
#[derive(Clone, Debug)]
pub(super) struct Block {
    src: Words,
    dst: Words,
    protocol: Words,
}

/// A word of each rule, and which of its bits count.
#[derive(Clone, Copy, Debug)]
struct Words {
    value: [u32; LANES],
    mask: [u32; LANES],
}

/// The front of an IPv6 rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    src: u128,
    src_mask: u128,
    dst: u128,
    dst_mask: u128,
    protocol: u32,
    protocol_mask: u32,
}

impl Scan {
    pub(super) fn new<'a>(family: Family, headers: impl Iterator<Item = &'a Header>) -> Scan {
        let fronts = headers.map(Front::of);
        match family {
            Family::V4 => Scan::V4(blocks(fronts)),
            Family::V6 => Scan::V6(fronts.collect()),
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
            Scan::V4(blocks) => first4(blocks, at, head.src.as_u32(), head.dst.as_u32(), protocol),
            Scan::V6(fronts) => {
                let fits = |front: &Front| front.fits(head.src.0, head.dst.0, protocol);
                at + fronts.get(at..).unwrap_or_default().iter().take_while(|front| !fits(front)).count()
            }
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
fn first4(blocks: &[Block], at: usize, src: u32, dst: u32, protocol: u32) -> usize {
    let (mut number, mut from) = (at / LANES, at % LANES);
    while let Some(block) = blocks.get(number) {
        let misses = block.misses(src, dst, protocol);
        if misses.iter().fold(0, |any, miss| any | u32::from(*miss == 0)) != 0
            && let Some(found) = (from..LANES).find(|lane| misses[*lane] == 0)
        {
            return number * LANES + found;
        }
        (number, from) = (number + 1, 0);
    }
    number * LANES
}

impl Block {
    /// Nothing fits.
    const EMPTY: Block = {
        let any = Words { value: [0; LANES], mask: [0; LANES] };
        Block { src: any, dst: any, protocol: Words { value: [1; LANES], mask: [0; LANES] } }
    };

    fn put(&mut self, lane: usize, front: &Front) {
        self.src.put(lane, front.src as u32, front.src_mask as u32);
        self.dst.put(lane, front.dst as u32, front.dst_mask as u32);
        self.protocol.put(lane, front.protocol, front.protocol_mask);
    }

    /// Of each rule, the bits that do not fit; 0 if its front fits.
    #[inline(always)]
    fn misses(&self, src: u32, dst: u32, protocol: u32) -> [u32; LANES] {
        let miss = |words: &Words, lane: usize, word: u32| word & words.mask[lane] ^ words.value[lane];
        std::array::from_fn(|lane| {
            miss(&self.src, lane, src) | miss(&self.dst, lane, dst) | miss(&self.protocol, lane, protocol)
        })
    }
}

impl Words {
    fn put(&mut self, lane: usize, value: u32, mask: u32) {
        self.value[lane] = value;
        self.mask[lane] = mask;
    }
}

impl Front {
    fn of(header: &Header) -> Front {
        let (src, src_mask) = said(&header.src);
        let (dst, dst_mask) = said(&header.dst);
        let is_named = header.protocol != 0 && !header.protocol_inverted;
        let (protocol, protocol_mask) = if is_named { (header.protocol.into(), 0xff) } else { (0, 0) };
        Front { src, src_mask, dst, dst_mask, protocol, protocol_mask }
    }

    #[inline]
    fn fits(&self, src: u128, dst: u128, protocol: u32) -> bool {
        let addrs = (src & self.src_mask ^ self.src) | (dst & self.dst_mask ^ self.dst);
        addrs == 0 && protocol & self.protocol_mask == self.protocol
    }
}

fn blocks(fronts: impl Iterator<Item = Front>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (number, front) in fronts.enumerate() {
        if number % LANES == 0 {
            blocks.push(Block::EMPTY);
        }
        if let Some(block) = blocks.last_mut() {
            block.put(number % LANES, &front);
        }
    }
    blocks
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
