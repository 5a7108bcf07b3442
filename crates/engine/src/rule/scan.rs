//! Passing over rules whose addresses or protocol do not fit: what the walk compares first, side by side in memory.
//!
//! A rule whose header does not fit has no effect at all, so it may be passed over by any test that never passes over one that fits.

use super::{AddrMatch, Header};
use crate::packet::Headers;
use hairpin_wire::Family;
use std::ops::{BitAnd, BitOr, BitXor};

/// The front of each rule of a table, in its order.
#[derive(Debug)]
pub(super) enum Scan {
    V4(Vec<Front<u32>>),
    V6(Vec<Front<u128>>),
}

/// What a rule says of addresses and protocol. What it does not say, or inverted, is masked out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<A> {
    src: A,
    src_mask: A,
    dst: A,
    dst_mask: A,
    protocol: u32,
    protocol_mask: u32,
}

impl Scan {
    pub(super) fn new<'a>(family: Family, headers: impl Iterator<Item = &'a Header>) -> Scan {
        match family {
            Family::V4 => Scan::V4(headers.map(|header| front(header, |bits| bits as u32)).collect()),
            Family::V6 => Scan::V6(headers.map(|header| front(header, |bits| bits)).collect()),
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
            Scan::V4(fronts) => first(fronts, at, head.src.as_u32(), head.dst.as_u32(), protocol),
            Scan::V6(fronts) => first(fronts, at, head.src.0, head.dst.0, protocol),
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
fn first<A>(fronts: &[Front<A>], at: usize, src: A, dst: A, protocol: u32) -> usize
where
    A: Copy + PartialEq + Default + BitAnd<Output = A> + BitXor<Output = A> + BitOr<Output = A>,
{
    let fits = |front: &Front<A>| {
        let addrs = (src & front.src_mask ^ front.src) | (dst & front.dst_mask ^ front.dst);
        addrs == A::default() && protocol & front.protocol_mask == front.protocol
    };
    at + fronts.get(at..).unwrap_or_default().iter().take_while(|front| !fits(front)).count()
}

fn front<A>(header: &Header, bits: impl Fn(u128) -> A) -> Front<A> {
    let (src, src_mask) = said(&header.src);
    let (dst, dst_mask) = said(&header.dst);
    let named = header.protocol != 0 && !header.protocol_inverted;
    Front {
        src: bits(src),
        src_mask: bits(src_mask),
        dst: bits(dst),
        dst_mask: bits(dst_mask),
        protocol: if named { header.protocol.into() } else { 0 },
        protocol_mask: if named { 0xff } else { 0 },
    }
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
            headers in prop::collection::vec(header(), 0..12),
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
                let next = scan.next(at, &head);
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
