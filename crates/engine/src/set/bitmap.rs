//! The bitmap types: a bit for each address or port of a range.

use super::elem::{Elem, Ext, SkbInfo};
use super::extensions::{Deadline, Extensions, Shown, Touch};
use super::kind::Kind;
use super::{Found, Options, Range, SetError};
use crate::time::Instant;
use hairpin_wire::{Addr, Family, Mac};

/// Addresses or ports of a range at most.
const MOST: u64 = 0x1_0000;

/// A set of one of the bitmap types.
#[derive(Clone, Debug)]
pub(super) struct Bitmap {
    is_ports: bool,
    pub(super) first: u32,
    pub(super) last: u32,
    /// How many addresses one bit stands for.
    pub(super) step: u64,
    bits: Vec<u64>,
    /// `bitmap:ip,mac`: the link address of each element; None while it is not known.
    macs: Option<Vec<Option<Mac>>>,
    ext: Extensions,
}

impl Bitmap {
    /// Checks the range; the options become what the kernel makes of them.
    pub(super) fn new(kind: Kind, options: &mut Options) -> Result<Bitmap, SetError> {
        let (first, last) = match options.range {
            Some(Range::Addresses { from, to: Some(to), .. }) => ordered(from.as_u32(), to.as_u32()),
            Some(Range::Addresses { from, cidr: Some(cidr), .. }) => {
                if cidr >= 32 {
                    return Err(SetError::BadCidr);
                }
                let mask = Family::V4.mask(cidr).as_u32();
                // bitmap:ip,mac keeps the address as the beginning.
                (from.as_u32() & mask, from.as_u32() | !mask)
            }
            Some(Range::Ports(from, to)) => ordered(u32::from(from), u32::from(to)),
            _ => return Err(SetError::Protocol),
        };
        let (mut first, mut last) = (first, last);
        let mut step = 1u64;
        let mut elements = u64::from(last - first) + 1;
        if let Some(netmask) = options.netmask
            && kind == Kind::BitmapIp
        {
            if netmask > 32 {
                return Err(SetError::BadNetmask);
            }
            let mask = Family::V4.mask(netmask).as_u32();
            first &= mask;
            last |= !mask;
            if netmask < 32 {
                let bits = common_bits(first, last).ok_or(SetError::OutOfRange)?;
                if netmask <= bits {
                    return Err(SetError::OutOfRange);
                }
                step = 1 << (32 - netmask);
                elements = 1 << (netmask - bits);
            }
        }
        if elements > MOST {
            return Err(SetError::RangeTooLarge);
        }
        let is_ports = kind == Kind::BitmapPort;
        options.range = Some(match is_ports {
            true => Range::Ports(first as u16, last as u16),
            false => Range::Addresses { from: Addr::v4(first), to: Some(Addr::v4(last)), cidr: None },
        });
        options.netmask = options.netmask.filter(|n| *n != 32);
        let elements = elements as usize;
        let mut ext = Extensions::new(options);
        ext.resize(elements);
        Ok(Bitmap {
            is_ports,
            first,
            last,
            step,
            bits: vec![0; elements.div_ceil(64)],
            macs: (kind == Kind::BitmapIpMac).then(|| vec![None; elements]),
            ext,
        })
    }

    pub(super) fn memory(&self) -> usize {
        let macs = self.macs.as_ref().map_or(0, |m| m.capacity() * size_of::<Option<Mac>>());
        size_of::<Bitmap>() + self.bits.capacity() * 8 + macs + self.ext.memory()
    }

    /// Positions of the elements in the set.
    pub(super) fn positions(&self, now: Instant) -> impl Iterator<Item = usize> + '_ {
        let words = self.bits.iter().enumerate().filter(|(_, word)| **word != 0);
        let all =
            words.flat_map(|(n, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| n * 64 + bit));
        all.filter(move |at| self.is_pending(*at) || !self.ext.is_over(*at, now))
    }

    pub(super) fn get(&self, at: usize) -> Elem {
        let value = self.first.wrapping_add((at as u64 * self.step) as u32);
        match self.is_ports {
            true => Elem { port: value as u16, ..Elem::default() },
            false => Elem { ip: Addr::v4(value), mac: self.mac(at), ..Elem::default() },
        }
    }

    pub(super) fn shown(&self, at: usize, now: Instant) -> Shown<'_> {
        let mut shown = self.ext.shown(at, now);
        if self.is_pending(at) {
            shown.timeout = self.ext.deadline(at).map(Deadline::waiting_seconds);
            shown.until = None;
        }
        shown
    }

    /// The position of an element; None outside of the range.
    pub(super) fn position(&self, elem: &Elem) -> Option<usize> {
        let value = if self.is_ports { u32::from(elem.port) } else { elem.ip.as_u32() };
        if value < self.first || value > self.last {
            return None;
        }
        Some((u64::from(value - self.first) / self.step) as usize)
    }

    pub(super) fn add(
        &mut self,
        elem: &Elem,
        ext: &Ext,
        exist: bool,
        options: &Options,
        now: Instant,
    ) -> Result<(), SetError> {
        let at = self.position(elem).ok_or(SetError::OutOfRange)?;
        let default_timeout = options.timeout.unwrap_or(0);
        let was_pending = self.is_pending(at);
        let is_completed = was_pending && elem.mac.is_some();
        if self.is_set(at) && !is_completed && !self.is_over(at, now) && !exist {
            return Err(SetError::ElementExists);
        }
        let waited = self.ext.deadline(at).map(Deadline::waiting_seconds);
        let had_mac = self.is_set(at) && self.mac(at).is_some();
        if let Some(place) = self.macs.as_mut().and_then(|m| m.get_mut(at)) {
            // An address that is known stays unless another is given.
            *place = if had_mac { elem.mac.filter(|_| exist).or(*place) } else { elem.mac };
        }
        self.ext.store(at, ext, default_timeout, now);
        self.set(at, true);
        if self.macs.is_some() && options.timeout.is_some() {
            let given = ext.timeout.unwrap_or(default_timeout);
            // The time of an element begins when its link address becomes known.
            let deadline = match (is_completed, elem.mac) {
                (true, _) if given == default_timeout => Deadline::after(waited.unwrap_or(0), now),
                (_, Some(_)) if ext.until.is_some() => self.ext.deadline(at).unwrap_or(Deadline::NEVER),
                (_, Some(_)) => Deadline::after(given, now),
                (_, None) => Deadline::waiting(given),
            };
            self.ext.set_deadline(at, deadline);
        }
        Ok(())
    }

    pub(super) fn del(&mut self, elem: &Elem, now: Instant) -> Result<(), SetError> {
        let at = self.position(elem).ok_or(SetError::OutOfRange)?;
        let was_there = self.is_set(at) && !self.is_over(at, now);
        self.set(at, false);
        if was_there { Ok(()) } else { Err(SetError::ElementMissing) }
    }

    pub(super) fn test(&mut self, elem: &Elem, touch: &Touch, got: &mut SkbInfo, now: Instant) -> Found {
        let Some(at) = self.position(elem) else { return Found::No };
        if !self.is_set(at) {
            return Found::No;
        }
        if self.macs.is_some() {
            match (self.mac(at), elem.mac) {
                (Some(known), Some(asked)) if known != asked => return Found::No,
                (Some(_), Some(_)) => {}
                _ => return Found::Incomplete,
            }
        }
        if self.ext.touch(at, touch, got, now) { Found::Yes } else { Found::No }
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
    }

    fn is_set(&self, at: usize) -> bool {
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn set(&mut self, at: usize, on: bool) {
        if let Some(word) = self.bits.get_mut(at / 64) {
            let bit = 1 << (at % 64);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    fn mac(&self, at: usize) -> Option<Mac> {
        self.macs.as_ref().and_then(|m| m.get(at).copied().flatten())
    }

    /// In the set, but without its link address.
    fn is_pending(&self, at: usize) -> bool {
        self.macs.is_some() && self.is_set(at) && self.mac(at).is_none()
    }

    /// Whether it ran out. An element that waits for its link address passes for one that did: the kernel takes its seconds for a
    /// point of time long ago.
    fn is_over(&self, at: usize, now: Instant) -> bool {
        match self.is_pending(at) {
            true => self.ext.deadline(at).is_some_and(|d| d != Deadline::NEVER),
            false => self.ext.is_over(at, now),
        }
    }
}

fn ordered(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

/// The length of the prefix that is exactly this range (`range_to_mask`); None when there is none.
fn common_bits(from: u32, to: u32) -> Option<u8> {
    let mut mask = 0xffff_fffe_u32;
    let mut bits = 32u8;
    loop {
        bits -= 1;
        if bits == 0 || mask == 0 || to & mask == from {
            break;
        }
        mask <<= 1;
    }
    (mask != 0 || (from == 0 && to == u32::MAX)).then_some(bits)
}
