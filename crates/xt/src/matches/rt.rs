//! `-m rt`: the IPv6 routing header.

use crate::ext6::{Found, Number, find, length};
use crate::numbers::Numbers;
use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "rt",
    aliases: &[],
    families: Families::V6,
    about: "a routing header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("rt-type", &["type"], "its type").inverts(),
        Opt::new("rt-segsleft", &["n[:n]"], "segments left").inverts(),
        Opt::new("rt-len", &["bytes"], "the header's length").inverts(),
        Opt::switch("rt-0-res", "the reserved field is 0 (type 0)"),
        Opt::new("rt-0-addrs", &["address[,address...]"], "its addresses (type 0)"),
        Opt::switch("rt-0-not-strict", "the addresses are among its own, in this order (type 0)"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("--rt-type 0 ! --rt-segsleft 1:23 ! --rt-len 42 --rt-0-res --rt-0-addrs ::1,2001:db8::2"),
        Case::Same("--rt-type 0 --rt-0-addrs ::1 --rt-0-not-strict"),
        Case::Saves("! --rt-segsleft :", "! --rt-segsleft 0:4294967295"),
        Case::Saves("--rt-segsleft 3:3", "--rt-segsleft 3"),
        Case::Fails("--rt-segsleft 4:3", "out of range"),
        Case::Fails("! --rt-type 0 --rt-0-res", "`--rt-type 0' required before `--rt-0-res'"),
        Case::Fails("--rt-0-addrs ::1", "`--rt-type 0' required before `--rt-0-addrs'"),
        Case::Fails("--rt-type 0 --rt-0-not-strict", "`--rt-0-addr ...' required before `--rt-0-not-strict'"),
        Case::Fails("--rt-type 0 --rt-0-addrs foo", "bad address: foo"),
    ],
};

#[derive(Debug)]
struct Rt {
    kind: Number,
    segments_left: Numbers,
    length: Number,
    reserved_is_zero: bool,
    addresses: Vec<Addr>,
    strict: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let kind = Number::option(parsed, "rt-type")?;
    let place = |name: &str| parsed.given.iter().position(|given| given.option.name == name);
    let needs = |name: &str, before: &str, message: &str, holds: bool| match place(name) {
        Some(at) if !holds || place(before).is_none_or(|before| before > at) => {
            Err(SyntaxError::parameter(format!("`{message}' required before `--{name}'")).at(format!("--{name}")))
        }
        _ => Ok(()),
    };
    let is_type_0 = kind.plain() == Some(0);
    needs("rt-0-res", "rt-type", "--rt-type 0", is_type_0)?;
    needs("rt-0-addrs", "rt-type", "--rt-type 0", is_type_0)?;
    needs("rt-0-not-strict", "rt-0-addrs", "--rt-0-addr ...", true)?;
    Ok(Arc::new(Rt {
        kind,
        segments_left: Numbers::option(parsed, "rt-segsleft")?,
        length: Number::option(parsed, "rt-len")?,
        reserved_is_zero: parsed.has("rt-0-res"),
        addresses: parsed.get("rt-0-addrs").map_or(Ok(Vec::new()), |given| parse_addresses(given.value()))?,
        strict: !parsed.has("rt-0-not-strict"),
    }))
}

fn parse_addresses(text: &str) -> Result<Vec<Addr>, SyntaxError> {
    let addresses = text.split(',').map(|word| {
        value::parse_strict_addr(Family::V6, word)
            .ok_or_else(|| SyntaxError::parameter(format!("bad address: {word}")).at(word))
    });
    let addresses: Vec<Addr> = addresses.collect::<Result<_, _>>()?;
    if addresses.len() > MOST_ADDRESSES {
        return Err(SyntaxError::parameter("too many addresses specified").at(text));
    }
    Ok(addresses)
}

impl Match for Rt {
    fn name(&self) -> &'static str {
        "rt"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let header = match find(look, proto::ROUTING) {
            Found::At(header) => header,
            Found::Absent => return false,
            Found::Broken => return look.hotdrop(),
        };
        let Some(&[_, _, kind, segments_left]) = header.first_chunk::<4>() else { return look.hotdrop() };
        let length = length(header);
        let Some(header) = header.get(..length) else { return look.hotdrop() };
        self.segments_left.contains(segments_left.into())
            && self.length.is(length)
            && self.kind.is(kind.into())
            && (!self.reserved_is_zero || header.get(4..8) == Some(&[0; 4]))
            && self.addresses_fit(header.get(8..).unwrap_or_default())
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.save(f, "rt-type")?;
        self.segments_left.save(f, "rt-segsleft")?;
        self.length.save(f, "rt-len")?;
        if self.reserved_is_zero {
            f.write_str(" --rt-0-res")?;
        }
        self.write_addresses(f, " --rt-0-addrs ")?;
        f.write_str(if self.strict { "" } else { " --rt-0-not-strict" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" rt")?;
        self.kind.list(f, " type")?;
        self.segments_left.list(f, " segsleft")?;
        self.length.list(f, " length")?;
        f.write_str(if self.reserved_is_zero { " reserved" } else { "" })?;
        self.write_addresses(f, " 0-addrs ")?;
        f.write_str(if self.strict { "" } else { " 0-not-strict" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Rt {
    fn write_addresses(&self, f: &mut fmt::Formatter<'_>, before: &str) -> fmt::Result {
        self.addresses.iter().enumerate().try_for_each(|(n, addr)| {
            write!(f, "{}{}", if n == 0 { before } else { "," }, value::show_addr(Family::V6, *addr))
        })
    }

    /// Strictly, the rule's addresses are those of the header; else they are met one after the other.
    fn addresses_fit(&self, list: &[u8]) -> bool {
        if self.addresses.is_empty() {
            return true;
        }
        let mut met = list.chunks_exact(16).map(|bytes| Addr::read(Family::V6, bytes));
        if self.strict {
            met.eq(self.addresses.iter().copied())
        } else {
            self.addresses.iter().all(|wanted| met.any(|addr| addr == *wanted))
        }
    }
}

/// `IP6T_RT_HOPS`.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use crate::testing::{DST6, Hotdrop, No, SRC6, Yes, check, udp6, v6};

    #[test]
    fn compares() {
        let mut header = vec![59, 4, 0, 1, 0, 0, 0, 0];
        header.extend(SRC6.0.to_be_bytes());
        header.extend(DST6.0.to_be_bytes());
        let packet = || v6(43, &header);
        check("-m rt --rt-type 0 --rt-segsleft 1 --rt-len 40 --rt-0-res", packet(), Yes);
        check("-m rt ! --rt-type 0", packet(), No);
        check("-m rt ! --rt-len 32 ! --rt-segsleft 2:", packet(), Yes);
        check("-m rt --rt-type 0 --rt-0-addrs 2001:db8::1,2001:db8::2", packet(), Yes);
        check("-m rt --rt-type 0 --rt-0-addrs 2001:db8::1", packet(), No);
        check("-m rt --rt-type 0 --rt-0-addrs 2001:db8::2 --rt-0-not-strict", packet(), Yes);
        check("-m rt --rt-type 0 --rt-0-addrs 2001:db8::2,2001:db8::1 --rt-0-not-strict", packet(), No);
        check("-m rt ! --rt-type 3", udp6(1, 2), No);
        // Longer than the packet.
        check("-m rt", v6(43, &header[..16]), Hotdrop);
    }
}
