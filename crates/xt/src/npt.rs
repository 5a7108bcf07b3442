//! Network prefix translation of IPv6 (RFC 6296), the two directions of it: the targets SNPT and DNPT.

use crate::option::{Given, Parsed, SyntaxError};
use crate::value;
use hairpin_engine::link::IcmpError;
use hairpin_engine::rule::{Listing, Place, Protocols, Refused, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hook, Hooks};
use hairpin_wire::{Addr, Family, checksum, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Which address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// SNPT.
    Source,
    /// DNPT.
    Destination,
}

impl Side {
    /// Where the address is in the IPv6 header.
    const fn offset(self) -> usize {
        match self {
            Side::Source => 8,
            Side::Destination => 24,
        }
    }

    const fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Prefix {
    addr: Addr,
    length: u8,
}

impl Prefix {
    fn has(self, addr: Addr) -> bool {
        addr.in_net(self.addr, Family::V6.mask(self.length))
    }
}

/// A translation of prefixes. It is the one target that changes an address itself: there is no connection that could.
#[derive(Debug)]
struct Npt {
    side: Side,
    from: Prefix,
    to: Prefix,
}

/// Makes either direction's.
pub(crate) fn build(parsed: &Parsed<'_>, side: Side) -> Result<Arc<dyn Target>, SyntaxError> {
    let get = |name: &str| match parsed.get(name) {
        Some(given) => prefix(parsed, given),
        None => Ok(Prefix { addr: Addr::UNSPECIFIED, length: 0 }),
    };
    let (from, to) = (get("src-pfx")?, get("dst-pfx")?);
    parsed.required("src-pfx").and(parsed.required("dst-pfx"))?;
    Ok(Arc::new(Npt { side, from, to }))
}

fn prefix(parsed: &Parsed<'_>, given: &Given) -> Result<Prefix, SyntaxError> {
    let (addr, mask) = value::host_mask(parsed, given)?;
    // A mask with holes counts as a full one, which the kernel then refuses as too long.
    Ok(Prefix { addr, length: value::prefix_of(parsed.family, mask).unwrap_or(parsed.family.bits()) })
}

impl Npt {
    /// The address with the new prefix.
    fn exchanged(&self, addr: Addr) -> Addr {
        let mask = Family::V6.mask(self.length());
        Addr((addr.0 & !mask.0) | (self.to.addr.0 & mask.0))
    }

    /// An address with the new prefix, with one word changed so that the checksum of the whole is what it was before. None when
    /// there is no word that could be changed.
    fn neutral(&self, addr: Addr) -> Option<Addr> {
        let word = |n: u32| (addr.0 >> (112 - 16 * n)) as u16;
        // Up to 48 bits of prefix leave the subnet; else the first word of the interface id that is not all ones (0xffff is
        // the other zero).
        let place = if self.length() <= 48 { 3 } else { (4..8).find(|n| word(*n) != 0xffff)? };
        let sum = |addr: Addr| checksum::sum(&addr.0.to_be_bytes());
        let taken = checksum::combine(sum(self.from.addr), u32::from(checksum::finish(sum(self.to.addr))));
        let adjusted = !checksum::finish(checksum::combine(u32::from(word(place)), taken));
        let adjusted = if adjusted == 0xffff { 0 } else { adjusted };
        let shift = 112 - 16 * place;
        Some(Addr(addr.0 & !(0xffff << shift) | u128::from(adjusted) << shift))
    }

    const fn length(&self) -> u8 {
        if self.from.length > self.to.length { self.from.length } else { self.to.length }
    }

    /// Translates the address of this side in the header at `at`; false when it could not be made neutral.
    fn rewrite(&self, packet: &mut [u8], at: usize, side: Side) -> bool {
        let at = at + side.offset();
        let Some(place) = packet.get_mut(at..at + 16) else { return false };
        let exchanged = self.exchanged(Addr::read(Family::V6, place));
        let neutral = self.neutral(exchanged);
        neutral.unwrap_or(exchanged).write(Family::V6, place);
        neutral.is_some()
    }

    /// Where the packet is that an ICMPv6 error quotes, if its other end has the prefix: there the error's receiver is told of
    /// a packet that it did not send like this.
    fn quoted(&self, packet: &[u8]) -> Option<usize> {
        const QUOTE: usize = 48;
        let is_error =
            packet.get(6) == Some(&proto::ICMPV6) && packet.get(40).is_some_and(|kind| (1..=4).contains(kind));
        let at = QUOTE + self.side.other().offset();
        let addr = packet.get(at..at + 16).filter(|_| is_error && packet.len() >= QUOTE + 40)?;
        self.from.has(Addr::read(Family::V6, addr)).then_some(QUOTE)
    }
}

impl Target for Npt {
    fn name(&self) -> &'static str {
        match self.side {
            Side::Source => "SNPT",
            Side::Destination => "DNPT",
        }
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let packet = edit.packet();
        let quoted = self.quoted(packet.ip());
        let done = self.rewrite(packet.ip_mut(), 0, self.side);
        if let Some(at) = quoted
            && done
        {
            self.rewrite(packet.ip_mut(), at, self.side.other());
        }
        // Nothing about lengths was changed, so the headers are where they were.
        let _ = packet.refresh();
        if done {
            return Verdict::Continue;
        }
        // Parameter problem, erroneous header field: RFC 6296, section 3.6 asks for destination unreachable, Linux sends this.
        edit.tell_sender(IcmpError::new(4, 0, self.side.offset() as u32));
        Verdict::Drop(DropReason::NatFailed)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (option, prefix) in self.prefixes() {
            if !prefix.addr.is_unspecified() || prefix.length != 0 {
                write!(f, " --{option} {}/{}", value::show_addr(Family::V6, prefix.addr), prefix.length)?;
            }
        }
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " {}", self.name())?;
        self.prefixes().into_iter().try_for_each(|(option, prefix)| {
            write!(f, " {option} {}/{}", value::show_addr(Family::V6, prefix.addr), prefix.length)
        })
    }

    fn scope(&self) -> Scope {
        let hooks = match self.side {
            Side::Source => Hooks::of(&[Hook::Input, Hook::Postrouting]),
            Side::Destination => Hooks::of(&[Hook::Prerouting, Hook::Output]),
        };
        Scope { tables: Tables::of(&[TableId::Mangle]), hooks, protocols: Protocols::Any }
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        for prefix in [self.from, self.to] {
            if prefix.length > 64 {
                return Err(Refused::Invalid("ip6t_NPT: a prefix of more than 64 bits".to_owned()));
            }
            if prefix.addr.masked(Family::V6.mask(prefix.length)) != prefix.addr {
                return Err(Refused::Invalid("ip6t_NPT: a prefix with bits behind its length".to_owned()));
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Npt {
    fn prefixes(&self) -> [(&'static str, Prefix); 2] {
        [("src-pfx", self.from), ("dst-pfx", self.to)]
    }
}
