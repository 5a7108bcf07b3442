//! Addresses of hosts, networks and links.

use super::{number_within, split_number};
use crate::option::{Given, Parsed, SyntaxError};
use hairpin_engine::rule::Listing;
use hairpin_wire::{Addr, Family, Mac};
use std::fmt;
use std::net::Ipv6Addr;

/// An address in numbers. IPv4 as `inet_aton` reads it: one to four parts, each decimal, octal or hexadecimal, the last part
/// filling what remains (`10.1` is 10.0.0.1). IPv6 as RFC 4291 writes it.
pub fn parse_addr(family: Family, text: &str) -> Option<Addr> {
    match family {
        Family::V6 => text.parse::<Ipv6Addr>().ok().map(Addr::from_v6),
        Family::V4 => {
            let (mut value, mut parts, mut rest) = (0u64, 0, text);
            loop {
                if !rest.starts_with(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                let (number, after) = split_number(rest)?;
                parts += 1;
                match after.strip_prefix('.') {
                    Some(after) if number <= 255 && parts < 4 => {
                        value |= number << (32 - 8 * parts);
                        rest = after;
                    }
                    Some(_) => return None,
                    None => {
                        let fits = after.is_empty() && number < 1 << (32 - 8 * (parts - 1));
                        return fits.then(|| Addr::v4((value | number) as u32));
                    }
                }
            }
        }
    }
}

/// An address in strict notation, four decimal parts for IPv4 (`inet_pton`).
pub fn parse_strict_addr(family: Family, text: &str) -> Option<Addr> {
    match family {
        Family::V6 => text.parse::<Ipv6Addr>().ok().map(Addr::from_v6),
        Family::V4 => text.parse::<std::net::Ipv4Addr>().ok().map(Addr::from_v4),
    }
}

/// A network mask: a prefix length, or the mask itself (`/24`, `/255.255.255.0`, `/0.0.0.255`).
pub fn parse_mask(family: Family, text: &str) -> Option<Addr> {
    match number_within(text, 0, u64::from(family.bits())) {
        Some(prefix) => Some(family.mask(prefix as u8)),
        None => parse_strict_addr(family, text),
    }
}

/// The prefix length of a mask; None when it is not a prefix.
pub fn prefix_of(family: Family, mask: Addr) -> Option<u8> {
    let prefix = (mask.0 << (128 - u32::from(family.bits()))).leading_ones() as u8;
    (family.mask(prefix) == mask).then_some(prefix)
}

/// The option's value as one address or the name of a host that has just one (`XTTYPE_HOST`).
pub fn host(parsed: &Parsed<'_>, given: &Given) -> Result<Addr, SyntaxError> {
    host_text(parsed, given.value())
}

fn host_text(parsed: &Parsed<'_>, text: &str) -> Result<Addr, SyntaxError> {
    if let Some(addr) = parse_addr(parsed.family, text) {
        return Ok(addr);
    }
    let refuse = |why: &str| SyntaxError::parameter(format!("getaddrinfo: {why}\n")).at(text);
    let other = match parsed.family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    if parse_addr(other, text).is_some() {
        return Err(refuse("Address family for hostname not supported"));
    }
    let addrs = parsed.names.hosts(parsed.family, text).map_err(|why| refuse(&why))?;
    match addrs.as_slice() {
        [addr, others @ ..] if others.iter().all(|other| other == addr) => Ok(*addr),
        _ => Err(SyntaxError::parameter(format!("{text} resolves to more than one address")).at(text)),
    }
}

/// The option's value as `ADDRESS[/MASK]` (`XTTYPE_HOSTMASK`). Bits of the address outside the mask stay.
pub fn host_mask(parsed: &Parsed<'_>, given: &Given) -> Result<(Addr, Addr), SyntaxError> {
    match given.value().split_once('/') {
        None => Ok((host_text(parsed, given.value())?, parsed.family.mask(128))),
        Some((addr, mask)) => Ok((host_text(parsed, addr)?, mask_text(parsed, given, mask)?)),
    }
}

/// The option's value as a prefix length or a mask; the result is the mask (`XTTYPE_PLENMASK`).
pub fn prefix_mask(parsed: &Parsed<'_>, given: &Given) -> Result<Addr, SyntaxError> {
    mask_text(parsed, given, given.value())
}

fn mask_text(parsed: &Parsed<'_>, given: &Given, text: &str) -> Result<Addr, SyntaxError> {
    let bits = parsed.family.bits();
    if let Some(prefix) = number_within(text, 0, u64::from(bits)) {
        return Ok(parsed.family.mask(prefix as u8));
    }
    parse_addr(parsed.family, text).ok_or_else(|| {
        let message = format_args!(
            "bad value for option \"--{}\", neither a valid network mask nor valid CIDR (0-{bits}).\n",
            given.option.name
        );
        parsed.error(message).at(text)
    })
}

/// `-s` and `-d`: an address whose missing parts are zero (`10.1` is 10.1.0.0), else a host name; all addresses of it.
pub fn network_hosts(names: &dyn crate::option::Names, family: Family, text: &str) -> Result<Vec<Addr>, SyntaxError> {
    if let Some(addr) = parse_network(family, text).or_else(|| parse_addr(family, text)) {
        return Ok(vec![addr]);
    }
    let hosts = names.hosts(family, text).unwrap_or_default();
    if hosts.is_empty() {
        return Err(SyntaxError::parameter(format!("host/network `{text}' not found")).at(text));
    }
    Ok(hosts)
}

/// A network number: up to four parts of 8 bits, those left out being 0; IPv6 in full.
pub fn parse_network(family: Family, text: &str) -> Option<Addr> {
    if family == Family::V6 {
        return parse_strict_addr(family, text);
    }
    let mut value = 0;
    for (i, part) in text.split('.').enumerate() {
        let byte = number_within(part, 0, 255)? as u32;
        value |= byte << (24u32.checked_sub(8 * i as u32)?);
    }
    Some(Addr::v4(value))
}

/// Six bytes in hexadecimal with `:` between (`XTTYPE_ETHERMAC`), each of at most two characters: also ` 5`, `-1` and nothing.
pub fn mac(given: &Given) -> Result<Mac, SyntaxError> {
    let bad = || SyntaxError::parameter("Invalid MAC address specified.").at(given.value());
    let mut fields = given.value().split(':');
    let mut bytes = [0; 6];
    for byte in &mut bytes {
        *byte = fields.next().and_then(mac_byte).ok_or_else(bad)?;
    }
    if fields.next().is_some() { Err(bad()) } else { Ok(Mac(bytes)) }
}

fn mac_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [] => Some(0),
        [b'-', digit] => char::from(*digit).to_digit(16).map(|n| (n as u8).wrapping_neg()),
        [b'+' | b' ' | b'\t' | b'\n', digit] => char::from(*digit).to_digit(16).map(|n| n as u8),
        [_] | [_, _] => u8::from_str_radix(text, 16).ok(),
        _ => None,
    }
}

/// `MAC[/MAC]` or one of the words `unicast`, `multicast`, `broadcast`, `bga` (`XTTYPE_ETHERMACMASK`).
pub fn mac_mask(given: &Given) -> Result<(Mac, Mac), SyntaxError> {
    let text = given.value();
    let group = Mac([1, 0, 0, 0, 0, 0]);
    let named = match text.to_ascii_lowercase().as_str() {
        "unicast" => Some((Mac::ZERO, group)),
        "multicast" => Some((group, group)),
        "broadcast" => Some((Mac::BROADCAST, Mac::BROADCAST)),
        "bga" => Some((Mac([1, 0x80, 0xc2, 0, 0, 0]), Mac::BROADCAST)),
        _ => None,
    };
    let parsed = named.or_else(|| match text.split_once('/') {
        Some((mac, mask)) => mac.parse().ok().zip(mask.parse().ok()),
        None => text.parse().ok().map(|mac| (mac, Mac::BROADCAST)),
    });
    parsed.ok_or_else(|| SyntaxError::parameter("Invalid MAC/mask address specified.").at(text))
}

/// Writes `ADDRESS`, with `/PREFIX` or `/MASK` unless the mask is full.
pub fn save_host_mask(f: &mut dyn fmt::Write, family: Family, addr: Addr, mask: Addr) -> fmt::Result {
    write!(f, "{}", show_addr(family, addr))?;
    match prefix_of(family, mask) {
        Some(prefix) if prefix == family.bits() => Ok(()),
        Some(prefix) => write!(f, "/{prefix}"),
        None => write!(f, "/{}", show_addr(family, mask)),
    }
}

/// Writes an address as `iptables -L` shows it: by its name when names are wanted and it has one.
pub(crate) fn list_host_mask(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    addr: Addr,
    mask: Addr,
    listing: &Listing<'_>,
) -> fmt::Result {
    if addr.is_unspecified() && !listing.numeric {
        return f.write_str("anywhere");
    }
    match listing.host(family, addr) {
        Some(name) => f.write_str(&name)?,
        None => write!(f, "{}", show_addr(family, addr))?,
    }
    match prefix_of(family, mask) {
        Some(prefix) if prefix == family.bits() => Ok(()),
        Some(prefix) => write!(f, "/{prefix}"),
        None => write!(f, "/{}", show_addr(family, mask)),
    }
}

/// An address as `inet_ntop` writes it.
pub fn show_addr(family: Family, addr: Addr) -> impl fmt::Display {
    addr.display(family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::NoNames;

    #[test]
    fn addresses_are_inet_aton() {
        let v4 = |text: &str| parse_addr(Family::V4, text).map(|a| a.as_u32());
        assert_eq!(v4("10.1.2.3"), Some(0x0a010203));
        assert_eq!(v4("10.1"), Some(0x0a000001));
        assert_eq!(v4("0x0a000001"), Some(0x0a000001));
        assert_eq!(v4("010.0.0.1"), Some(0x08000001));
        assert_eq!(v4("1.2.3.256"), None);
        assert_eq!(v4("1.2.3.4.5"), None);
        assert_eq!(v4("1.2.3."), None);
        assert_eq!(v4("-1"), None);
        let network = |text: &str| network_hosts(&NoNames, Family::V4, text).map(|a| a[0].as_u32());
        assert_eq!(network("10.1").unwrap(), 0x0a010000);
        assert_eq!(network("1.2.3.300").unwrap_err().message, "host/network `1.2.3.300' not found");
    }

    #[test]
    fn masks_and_prefixes() {
        assert_eq!(parse_mask(Family::V4, "24"), Some(Family::V4.mask(24)));
        assert_eq!(parse_mask(Family::V4, "255.255.0.0"), Some(Family::V4.mask(16)));
        assert_eq!(parse_mask(Family::V4, "33"), None);
        assert_eq!(prefix_of(Family::V4, Addr::v4(0xff00_0000)), Some(8));
        assert_eq!(prefix_of(Family::V4, Addr::v4(0xff00_00ff)), None);
        assert_eq!(prefix_of(Family::V6, Family::V6.mask(61)), Some(61));
        assert_eq!(prefix_of(Family::V6, Addr(0)), Some(0));
    }
}
