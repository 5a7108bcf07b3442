//! Values of options: numbers, ranges, ports, addresses, masks, names, as iptables' own option parser reads them and in its words.
//!
//! Functions that take a [`Given`] read its first word, and their names follow iptables' value types (`XTTYPE_UINT32RC` is
//! [`number_range`]). Functions that take a text serve parts of a word and words after the first. What is a name is asked of
//! [`Parsed::names`]. Messages are those of iptables 1.8.11.

use crate::option::{Given, NameKind, Parsed, SyntaxError};
use hairpin_engine::rule::Listing;
use hairpin_wire::{Addr, Family, Mac, proto};
use std::fmt;
use std::net::Ipv6Addr;

/// The refusal of a value: `NAME: Bad value for "--OPT" option: "VALUE"`.
pub fn bad_value(parsed: &Parsed<'_>, given: &Given) -> SyntaxError {
    parsed
        .error(format_args!("Bad value for \"--{}\" option: \"{}\"", given.option.name, given.value()))
        .at(given.value())
}

/// What `strtoul(…, 0)` reads from the beginning of a text: white space, `+`, then a decimal, `0x` hexadecimal or `0` octal
/// number; and the rest. None when there is no number, when it is negative or exceeds 64 bits.
pub fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

/// The number that a text begins with, as `strtod` reads it, and what follows: after blanks and a sign, decimal with or without
/// an exponent, hexadecimal after `0x`, `inf` or `nan`.
pub fn split_float(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let starts = |word: &str| text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    for (word, number) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if starts(word) {
            return Some((sign * number, text.get(word.len()..)?));
        }
    }
    if let Some((number, rest)) = text.get(2..).filter(|_| starts("0x")).and_then(|hex| split_mantissa(hex, 16)) {
        let (exponent, rest) = split_exponent(rest, 'p');
        return Some((sign * number * f64::from(exponent).exp2(), rest));
    }
    let (_, rest) = split_mantissa(text, 10)?;
    let (_, rest) = split_exponent(rest, 'e');
    // Read as a whole, so that it is the nearest number.
    let number = text.get(..text.len() - rest.len())?.parse::<f64>().ok()?;
    Some((sign * number, rest))
}

/// Digits with at most one point among them; at least one digit.
fn split_mantissa(text: &str, radix: u32) -> Option<(f64, &str)> {
    let base = f64::from(radix);
    let (mut number, mut scale, mut digits, mut in_fraction) = (0.0, 1.0, 0, false);
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c.to_digit(radix) {
            Some(digit) => {
                number = number * base + f64::from(digit);
                scale *= if in_fraction { base } else { 1.0 };
                digits += 1;
            }
            None if c == '.' && !in_fraction => in_fraction = true,
            None => {
                end = at;
                break;
            }
        }
    }
    (digits > 0).then(|| (number / scale, text.get(end..).unwrap_or_default()))
}

/// An exponent after its letter, if there is one: the letter alone belongs to what follows.
fn split_exponent(text: &str, letter: char) -> (i32, &str) {
    let digits = text.strip_prefix([letter, letter.to_ascii_uppercase()]).and_then(|rest| {
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let (digits, after) = unsigned.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
        // One out of range is as good as the largest.
        let exponent = digits.parse::<i32>().unwrap_or(i32::MAX);
        Some((if rest.starts_with('-') { -exponent } else { exponent }, after))
    });
    digits.unwrap_or((0, text))
}

/// A number cut to 32 bits as x86 does it: by way of 64 bits with a sign, where what does not fit leaves nothing.
pub fn low_bits(number: f64) -> u32 {
    // i64::MIN as f64 is exact, and no smaller magnitude rounds up to it.
    let fits = number >= i64::MIN as f64 && number < -(i64::MIN as f64);
    if fits { number as i64 as u32 } else { 0 }
}

/// A number as `strtoul(…, 0)` reads it; the whole word must be one.
pub fn parse_number(text: &str) -> Option<u64> {
    split_number(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// A number within `min..=max`; the whole text must be one.
pub fn number_within(text: &str, min: u64, max: u64) -> Option<u64> {
    parse_number(text).filter(|n| (min..=max).contains(n))
}

/// The option's value as a number within `min..=max` (`XTTYPE_UINT8` to `XTTYPE_UINT64`).
pub fn number(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64) -> Result<u64, SyntaxError> {
    number_within(given.value(), min, max).ok_or_else(|| {
        let message =
            format_args!("bad value for option \"--{}\", or out of range ({min}-{max}).\n", given.option.name);
        parsed.error(message).at(given.value())
    })
}

/// [`number`] of 8 bits.
pub fn number_u8(parsed: &Parsed<'_>, given: &Given) -> Result<u8, SyntaxError> {
    number(parsed, given, 0, u64::from(u8::MAX)).map(|n| n as u8)
}

/// [`number`] of 16 bits.
pub fn number_u16(parsed: &Parsed<'_>, given: &Given) -> Result<u16, SyntaxError> {
    number(parsed, given, 0, u64::from(u16::MAX)).map(|n| n as u16)
}

/// [`number`] of 32 bits.
pub fn number_u32(parsed: &Parsed<'_>, given: &Given) -> Result<u32, SyntaxError> {
    number(parsed, given, 0, u64::from(u32::MAX)).map(|n| n as u32)
}

/// [`number`] of 64 bits.
pub fn number_u64(parsed: &Parsed<'_>, given: &Given) -> Result<u64, SyntaxError> {
    number(parsed, given, 0, u64::MAX)
}

/// A number or a range, as [`number_range`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub from: u64,
    /// The highest; the same as the lowest when only one number was given.
    pub to: u64,
    /// Whether there was a `:`.
    pub is_range: bool,
}

/// The option's value as `N`, `N:`, `:M`, `N:M` or `:` (`XTTYPE_UINT8RC` to `XTTYPE_UINT64RC`). What is left out is `min` or
/// `max`; `N` must not exceed `M`.
pub fn number_range(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64) -> Result<Range, SyntaxError> {
    let fields = numbers(parsed, given, min, max, 2)?;
    let from = fields.first().copied().unwrap_or(min);
    Ok(Range { from, to: fields.get(1).copied().unwrap_or(from), is_range: fields.len() > 1 })
}

/// The option's value as up to `count` numbers with `:` between, none below the one before.
pub fn numbers(parsed: &Parsed<'_>, given: &Given, min: u64, max: u64, count: usize) -> Result<Vec<u64>, SyntaxError> {
    let (name, mut lowest) = (given.option.name, min);
    let mut fields = Vec::new();
    let mut rest = given.value();
    loop {
        if fields.len() == count {
            let message = format_args!("Too many components for option \"--{name}\" (max: {count})\n");
            return Err(parsed.error(message).at(given.value()));
        }
        if rest.is_empty() || rest.starts_with(':') {
            fields.push(if fields.len() == 1 { max } else { lowest });
        } else {
            let Some((number, after)) = split_number(rest).filter(|(n, _)| (lowest..=max).contains(n)) else {
                let message = format_args!(
                    "bad value for option \"--{name}\" near \"{rest}\", or out of range ({lowest}-{max}).\n"
                );
                return Err(parsed.error(message).at(given.value()));
            };
            if !after.is_empty() && !after.starts_with(':') {
                let message = format_args!("Argument to \"--{name}\" has unexpected characters near \"{after}\".\n");
                return Err(parsed.error(message).at(given.value()));
            }
            fields.push(number);
            lowest = number;
            rest = after;
        }
        match rest.strip_prefix(':') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A floating point number within `min..=max` (`XTTYPE_DOUBLE`); `max` of 0 for no limits.
pub fn float(parsed: &Parsed<'_>, given: &Given, min: u32, max: u32) -> Result<f64, SyntaxError> {
    let in_range = |v: &f64| min == max || (f64::from(min)..=f64::from(max)).contains(v);
    given.value().trim_start().parse::<f64>().ok().filter(in_range).ok_or_else(|| {
        let message =
            format_args!("bad value for option \"--{}\", or out of range ({min}-{max}).\n", given.option.name);
        parsed.error(message).at(given.value())
    })
}

/// The option's value as a text of `min..=max` bytes (`XTTYPE_STRING`).
pub fn string(given: &Given, min: usize, max: usize) -> Result<&str, SyntaxError> {
    let text = given.value();
    if text.len() < min {
        let message = format!("Argument must have a minimum length of {min} characters\n");
        return Err(SyntaxError::parameter(message).at(text));
    }
    if text.len() > max {
        let message = format!("Argument must have a maximum length of {max} characters\n");
        return Err(SyntaxError::parameter(message).at(text));
    }
    Ok(text)
}

/// The beginning of a text that fits into `max` bytes, without half a character at its end.
pub fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// `VALUE[/MASK]` of 32 bits each (`XTTYPE_MARKMASK32`); without a mask all bits count.
pub fn mark_mask(parsed: &Parsed<'_>, given: &Given) -> Result<(u32, u32), SyntaxError> {
    let (name, text) = (given.option.name, given.value());
    let bad = || parsed.error(format_args!("bad integer value for option \"--{name}\", or out of range.\n")).at(text);
    let narrow = |n: u64| u32::try_from(n).map_err(|_| bad());
    let (value, rest) = split_number(text).ok_or_else(bad)?;
    let value = narrow(value)?;
    let (mask, rest) = match rest.strip_prefix('/') {
        Some(mask) => split_number(mask).ok_or_else(bad)?,
        None => (u64::from(u32::MAX), rest),
    };
    let mask = narrow(mask)?;
    if !rest.is_empty() {
        return Err(parsed.error(format_args!("trailing garbage after value for option \"--{name}\".\n")).at(text));
    }
    Ok((value, mask))
}

/// `VALUE[/MASK]` of 32 bits each, or a name of this kind, for which all bits count (`xtables_parse_val_mask`).
pub fn named_mask(parsed: &Parsed<'_>, given: &Given, kind: NameKind) -> Result<(u32, u32), SyntaxError> {
    let (name, text) = (given.option.name, given.value());
    let narrow = |n: u64| u32::try_from(n).ok();
    let number = split_number(text).and_then(|(n, rest)| Some((narrow(n)?, rest)));
    match number {
        Some((value, "")) => return Ok((value, u32::MAX)),
        Some((_, rest)) if !rest.starts_with('/') && !parsed.names.has_list(kind) => {
            let message = format_args!("trailing garbage after value for option \"--{name}\".\n");
            return Err(parsed.error(message).at(text));
        }
        Some((value, rest)) if rest.starts_with('/') => {
            let mask = rest.get(1..).and_then(split_number).and_then(|(n, rest)| Some((narrow(n)?, rest)));
            return match mask {
                Some((mask, "")) => Ok((value, mask)),
                Some(_) => {
                    let message = format_args!("trailing garbage after value for option \"--{name}\".\n");
                    Err(parsed.error(message).at(text))
                }
                None => {
                    let message = format_args!("bad integer value for option \"--{name}\", or out of range.\n");
                    Err(parsed.error(message).at(text))
                }
            };
        }
        _ => {}
    }
    parsed.names.number(kind, text).map(|value| (value, u32::MAX)).ok_or_else(|| {
        let message = match parsed.names.has_list(kind) {
            true => format!("could not map name {text} to an integer value for option \"--{name}\"."),
            false => format!("bad integer value for option \"--{name}\", or out of range.\n"),
        };
        parsed.error(message).at(text)
    })
}

/// A port by number, or by a service's name under the protocol of this number (`xtables_parse_port`).
pub fn service_port(parsed: &Parsed<'_>, text: &str, protocol: u8) -> Result<u16, SyntaxError> {
    lookup_port(parsed, text, protocol)
        .ok_or_else(|| SyntaxError::parameter(format!("invalid port/service `{text}' specified")).at(text))
}

/// `PORT`, `PORT:`, `:PORT`, `PORT:PORT` or `:`, each by number or service name (tcp, udp, sctp, dccp matches).
pub fn service_range(parsed: &Parsed<'_>, text: &str, protocol: u8) -> Result<(u16, u16), SyntaxError> {
    let Some((from, to)) = text.split_once(':') else {
        let port = service_port(parsed, text, protocol)?;
        return Ok((port, port));
    };
    let from_port = if from.is_empty() { 0 } else { service_port(parsed, from, protocol)? };
    let to_port = if to.is_empty() { u16::MAX } else { service_port(parsed, to, protocol)? };
    if from_port > to_port {
        return Err(SyntaxError::parameter("invalid portrange (min > max)").at(text));
    }
    Ok((from_port, to_port))
}

/// The option's value as a port (`XTTYPE_PORT`).
pub fn port(parsed: &Parsed<'_>, given: &Given) -> Result<u16, SyntaxError> {
    any_port(parsed, given.value())
}

/// The option's value as a port or a range with `:` (`XTTYPE_PORTRC`).
pub fn port_range(parsed: &Parsed<'_>, given: &Given) -> Result<(u16, u16), SyntaxError> {
    let text = given.value();
    let mut range = [0, u16::MAX];
    let mut previous = 0;
    let fields: Vec<&str> = text.split(':').collect();
    for (i, field) in fields.iter().enumerate() {
        let Some(place) = range.get_mut(i) else {
            let message = format_args!("Too many components for option \"--{}\" (max: 2)\n", given.option.name);
            return Err(parsed.error(message).at(text));
        };
        if field.is_empty() {
            continue;
        }
        let port = any_port(parsed, field)?;
        if port < previous {
            let message = format!("Port range {previous}-{port} is negative.\n");
            return Err(SyntaxError::parameter(message).at(text));
        }
        (*place, previous) = (port, port);
    }
    let [from, to] = range;
    Ok(if fields.len() == 1 { (from, from) } else { (from, to) })
}

/// A port as the resolver reads it: only decimal, and of larger numbers the lowest 16 bits count.
fn any_port(parsed: &Parsed<'_>, text: &str) -> Result<u16, SyntaxError> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.trim_start().trim_start_matches('+');
    let number = digits.parse::<u64>().ok().filter(|n| *n as i32 >= 0).map(|n| n as u16);
    number
        .or_else(|| parsed.names.number(NameKind::Service(0), text).and_then(|n| u16::try_from(n).ok()))
        .ok_or_else(|| SyntaxError::parameter(format!("Port \"{text}\" does not resolve to anything.\n")).at(text))
}

fn lookup_port(parsed: &Parsed<'_>, text: &str, protocol: u8) -> Option<u16> {
    match parse_number(text) {
        Some(number) => u16::try_from(number).ok(),
        None => parsed.names.number(NameKind::Service(protocol), text).and_then(|n| u16::try_from(n).ok()),
    }
}

/// The protocols that iptables knows without asking, the first name of each being the one it saves.
const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", proto::TCP),
    ("sctp", proto::SCTP),
    ("udp", proto::UDP),
    ("udplite", proto::UDPLITE),
    ("icmp", proto::ICMP),
    ("ipv6-icmp", proto::ICMPV6),
    ("icmpv6", proto::ICMPV6),
    ("esp", proto::ESP),
    ("ah", proto::AH),
    ("mobility-header", proto::MH),
    ("ipv6-mh", proto::MH),
    ("mh", proto::MH),
    ("dccp", proto::DCCP),
    ("ipcomp", 108),
    ("all", 0),
];

/// A protocol by number or name; 0 for `all` (`xtables_parse_protocol`).
pub fn protocol(names: &dyn crate::option::Names, text: &str) -> Result<u8, SyntaxError> {
    if let Some(number) = parse_number(text).and_then(|n| u8::try_from(n).ok()) {
        return Ok(number);
    }
    // /etc/protocols has each name in capitals too.
    let is_capitals = !names.has_list(NameKind::Protocol) && text.chars().all(|c| !c.is_ascii_lowercase());
    let found = |name: &str| *name == *text || is_capitals && name.eq_ignore_ascii_case(text);
    if let Some((_, number)) = PROTOCOLS.iter().find(|(name, _)| found(name)) {
        return Ok(*number);
    }
    names
        .number(NameKind::Protocol, text)
        .and_then(|n| u8::try_from(n).ok())
        .ok_or_else(|| SyntaxError::parameter(format!("unknown protocol \"{text}\" specified")).at(text))
}

/// The name that saving prints for a protocol; None where it prints the number.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, n)| *n == number).map(|(name, _)| *name)
}

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

/// The names of syslog levels, by number; the first name of a number is the usual one.
pub const SYSLOG_LEVELS: &[(&str, u8)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("error", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
    ("panic", 0),
];

/// A syslog level by number 0-7 or name (`XTTYPE_SYSLOGLEVEL`).
pub fn syslog_level(given: &Given) -> Result<u8, SyntaxError> {
    let text = given.value();
    if let Some(level) = number_within(text, 0, 7) {
        return Ok(level as u8);
    }
    let named = SYSLOG_LEVELS.iter().find(|(name, _)| *name == text);
    named
        .map(|(_, level)| *level)
        .ok_or_else(|| SyntaxError::parameter(format!("log level \"{text}\" unknown\n")).at(text))
}

/// The names of types of service (RFC 1349).
pub const TOS_NAMES: &[(&str, u8)] = &[
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];

/// `VALUE[/MASK]` of 8 bits each, or a name, for which the mask is `name_mask` (`XTTYPE_TOSMASK`).
pub fn tos_mask(given: &Given, name_mask: u8) -> Result<(u8, u8), SyntaxError> {
    let text = given.value();
    if let Some((value, rest)) = split_number(text).filter(|(n, _)| *n <= 255) {
        let mask = match rest.strip_prefix('/') {
            Some(mask) => number_within(mask, 0, 255),
            None => rest.is_empty().then_some(255),
        };
        return mask
            .map(|mask| (value as u8, mask as u8))
            .ok_or_else(|| SyntaxError::parameter(format!("Illegal value: \"{text}\"")).at(text));
    }
    let named = TOS_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    named
        .map(|(_, value)| (*value, name_mask))
        .ok_or_else(|| SyntaxError::parameter(format!("Symbolic name \"{text}\" is unknown")).at(text))
}

/// The classes of the DS field (RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622): name and code point.
pub const DSCP_CLASSES: &[(&str, u8)] = &[
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

/// A code point by the name of its class, of either case.
pub fn dscp_class(text: &str) -> Result<u8, SyntaxError> {
    let class = DSCP_CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    class
        .map(|(_, value)| *value)
        .ok_or_else(|| SyntaxError::parameter(format!("Invalid DSCP value `{text}'")).at(text))
}

/// The seconds of a unit of time: `second`, `minute`, `hour`, `day` or any beginning of one, of either case. None for others
/// and for the empty text.
pub fn time_unit(text: &str) -> Option<u32> {
    const UNITS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)];
    if text.is_empty() {
        return None;
    }
    UNITS
        .iter()
        .find(|(name, _)| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text)))
        .map(|(_, s)| *s)
}

/// An ICMP type with the codes it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// The type.
    pub kind: u8,
    /// The lowest code.
    pub from: u8,
    /// The highest code.
    pub to: u8,
}

const fn icmp(kind: u8, from: u8, to: u8) -> IcmpType {
    IcmpType { kind, from, to }
}

/// The names of ICMP types in the order in which iptables lists them. `any` is type 255 with all codes.
pub const ICMP_TYPES: &[(&str, IcmpType)] = &[
    ("any", icmp(255, 0, 255)),
    ("echo-reply", icmp(0, 0, 255)),
    ("pong", icmp(0, 0, 255)),
    ("destination-unreachable", icmp(3, 0, 255)),
    ("network-unreachable", icmp(3, 0, 0)),
    ("host-unreachable", icmp(3, 1, 1)),
    ("protocol-unreachable", icmp(3, 2, 2)),
    ("port-unreachable", icmp(3, 3, 3)),
    ("fragmentation-needed", icmp(3, 4, 4)),
    ("source-route-failed", icmp(3, 5, 5)),
    ("network-unknown", icmp(3, 6, 6)),
    ("host-unknown", icmp(3, 7, 7)),
    ("network-prohibited", icmp(3, 9, 9)),
    ("host-prohibited", icmp(3, 10, 10)),
    ("TOS-network-unreachable", icmp(3, 11, 11)),
    ("TOS-host-unreachable", icmp(3, 12, 12)),
    ("communication-prohibited", icmp(3, 13, 13)),
    ("host-precedence-violation", icmp(3, 14, 14)),
    ("precedence-cutoff", icmp(3, 15, 15)),
    ("source-quench", icmp(4, 0, 255)),
    ("redirect", icmp(5, 0, 255)),
    ("network-redirect", icmp(5, 0, 0)),
    ("host-redirect", icmp(5, 1, 1)),
    ("TOS-network-redirect", icmp(5, 2, 2)),
    ("TOS-host-redirect", icmp(5, 3, 3)),
    ("echo-request", icmp(8, 0, 255)),
    ("ping", icmp(8, 0, 255)),
    ("router-advertisement", icmp(9, 0, 255)),
    ("router-solicitation", icmp(10, 0, 255)),
    ("time-exceeded", icmp(11, 0, 255)),
    ("ttl-exceeded", icmp(11, 0, 255)),
    ("ttl-zero-during-transit", icmp(11, 0, 0)),
    ("ttl-zero-during-reassembly", icmp(11, 1, 1)),
    ("parameter-problem", icmp(12, 0, 255)),
    ("ip-header-bad", icmp(12, 0, 0)),
    ("required-option-missing", icmp(12, 1, 1)),
    ("timestamp-request", icmp(13, 0, 255)),
    ("timestamp-reply", icmp(14, 0, 255)),
    ("address-mask-request", icmp(17, 0, 255)),
    ("address-mask-reply", icmp(18, 0, 255)),
];

/// The names of ICMPv6 types in the order in which ip6tables lists them.
pub const ICMPV6_TYPES: &[(&str, IcmpType)] = &[
    ("destination-unreachable", icmp(1, 0, 255)),
    ("no-route", icmp(1, 0, 0)),
    ("communication-prohibited", icmp(1, 1, 1)),
    ("beyond-scope", icmp(1, 2, 2)),
    ("address-unreachable", icmp(1, 3, 3)),
    ("port-unreachable", icmp(1, 4, 4)),
    ("failed-policy", icmp(1, 5, 5)),
    ("reject-route", icmp(1, 6, 6)),
    ("packet-too-big", icmp(2, 0, 255)),
    ("time-exceeded", icmp(3, 0, 255)),
    ("ttl-exceeded", icmp(3, 0, 255)),
    ("ttl-zero-during-transit", icmp(3, 0, 0)),
    ("ttl-zero-during-reassembly", icmp(3, 1, 1)),
    ("parameter-problem", icmp(4, 0, 255)),
    ("bad-header", icmp(4, 0, 0)),
    ("unknown-header-type", icmp(4, 1, 1)),
    ("unknown-option", icmp(4, 2, 2)),
    ("echo-request", icmp(128, 0, 255)),
    ("ping", icmp(128, 0, 255)),
    ("echo-reply", icmp(129, 0, 255)),
    ("pong", icmp(129, 0, 255)),
    ("mld-listener-query", icmp(130, 0, 255)),
    ("mld-listener-report", icmp(131, 0, 255)),
    ("mld-listener-done", icmp(132, 0, 255)),
    ("mld-listener-reduction", icmp(132, 0, 255)),
    ("router-solicitation", icmp(133, 0, 255)),
    ("router-advertisement", icmp(134, 0, 255)),
    ("neighbour-solicitation", icmp(135, 0, 255)),
    ("neighbor-solicitation", icmp(135, 0, 255)),
    ("neighbour-advertisement", icmp(136, 0, 255)),
    ("neighbor-advertisement", icmp(136, 0, 255)),
    ("redirect", icmp(137, 0, 255)),
];

/// A type by name or an unambiguous beginning of one, of either case, or `TYPE[/CODE]` in numbers.
pub fn icmp_type(family: Family, text: &str) -> Result<IcmpType, SyntaxError> {
    let (table, label) = match family {
        Family::V4 => (ICMP_TYPES, "ICMP"),
        Family::V6 => (ICMPV6_TYPES, "ICMPv6"),
    };
    let starts = |name: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    if let Some((_, exact)) = table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*exact);
    }
    let mut candidates = table.iter().filter(|(name, _)| starts(name));
    if let Some((first, found)) = candidates.next() {
        return match candidates.next() {
            None => Ok(*found),
            Some((second, _)) => {
                let message = format!("Ambiguous {label} type `{text}': `{first}' or `{second}'?");
                Err(SyntaxError::parameter(message).at(text))
            }
        };
    }
    let refuse = |what: &str| SyntaxError::parameter(format!("Unknown {label} {what} `{text}'")).at(text);
    let byte = |text: &str| split_number(text).and_then(|(n, rest)| Some((u8::try_from(n).ok()?, rest.to_owned())));
    let range = |text: &str| {
        let (from, rest) = byte(text)?;
        let (to, rest) = match rest.strip_prefix(':') {
            Some(to) => byte(to)?,
            None => (from, rest),
        };
        Some((from, to, rest))
    };
    let (kind, last, rest) = range(text).ok_or_else(|| refuse("type"))?;
    let (from, to, rest) = match rest.strip_prefix('/') {
        Some(code) => range(code).ok_or_else(|| refuse("code"))?,
        None => (0, 255, rest),
    };
    if let Some(odd) = rest.chars().next() {
        return Err(SyntaxError::parameter(format!("unknown character {odd}")).at(text));
    }
    if kind != last {
        return Err(SyntaxError::parameter(format!("{label} type range not supported")).at(text));
    }
    Ok(icmp(kind, from, to))
}

/// Writes a type as `iptables -L` shows it: by its name in the table, or with `-n` and without a name in numbers.
pub(crate) fn list_icmp(
    f: &mut fmt::Formatter<'_>,
    table: &[(&str, IcmpType)],
    wanted: IcmpType,
    inverted: bool,
    numeric: bool,
) -> fmt::Result {
    let IcmpType { kind, from, to } = wanted;
    if let Some((name, _)) = table.iter().find(|(_, known)| *known == wanted && !numeric) {
        return write!(f, " {}{name}", if inverted { "!" } else { "" });
    }
    write!(f, "{}type {kind}", if inverted { " !" } else { "" })?;
    match (from, to) {
        (0, 255) => Ok(()),
        (from, to) if from == to => write!(f, " code {from}"),
        (from, to) => write!(f, " codes {from}-{to}"),
    }
}

/// Bytes from pairs of hexadecimal digits, with blanks allowed between pairs; None for anything else.
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b' ' {
            rest = after;
            continue;
        }
        let [second, after @ ..] = after else { return None };
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push((digit(*first)? * 16 + digit(*second)?) as u8);
        rest = after;
    }
    Some(bytes)
}

/// Whether the kernel could name a file in `/proc` so: not empty, `.` or `..`, and without `/`.
pub fn is_proc_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/')
}

/// Refuses a device name that the kernel could not hold: more than 15 bytes.
pub fn interface(text: &str) -> Result<(), SyntaxError> {
    if text.len() > 15 {
        let message = format!("interface name `{text}' must be shorter than 16 characters");
        return Err(SyntaxError::parameter(message).at(text));
    }
    Ok(())
}

/// Writes ` TEXT` as saving writes a free text (`xtables_save_string`): bare when it has only letters, digits, `_` and `-`;
/// else in double quotes, with a backslash before `"`, `\` and `'`.
pub fn save_string(f: &mut dyn fmt::Write, text: &str) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return write!(f, " {text}");
    }
    f.write_str(" \"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
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

/// Writes what MARK and CONNMARK do, in the shortest of iptables' words for it.
pub(crate) fn list_mark_change(f: &mut fmt::Formatter<'_>, target: &str, value: u32, mask: u32) -> fmt::Result {
    match (value, mask) {
        (0, mask) => write!(f, " {target} and {:#x}", !mask),
        (value, mask) if value == mask => write!(f, " {target} or {value:#x}"),
        (value, 0) => write!(f, " {target} xor {value:#x}"),
        (value, u32::MAX) => write!(f, " {target} set {value:#x}"),
        (value, mask) => write!(f, " {target} xset {value:#x}/{mask:#x}"),
    }
}

/// An address as `inet_ntop` writes it.
pub fn show_addr(family: Family, addr: Addr) -> impl fmt::Display {
    addr.display(family)
}

#[cfg(test)]
mod tests {
    #[test]
    fn floats_begin_as_in_c() {
        for (text, number, rest) in [
            ("1.5gbit", 1.5, "gbit"),
            (" +5kbit", 5.0, "kbit"),
            ("-1s", -1.0, "s"),
            ("1e3ms", 1000.0, "ms"),
            ("1e-2e", 0.01, "e"),
            ("1e", 1.0, "e"),
            ("1e+x", 1.0, "e+x"),
            (".5.5", 0.5, ".5"),
            ("5.", 5.0, ""),
            ("0x10kbit", 16.0, "kbit"),
            ("0x1p3", 8.0, ""),
            ("0x1.8", 1.5, ""),
            ("0x", 0.0, "x"),
            ("Inf", f64::INFINITY, ""),
            ("1e99999999999", f64::INFINITY, ""),
            ("1é", 1.0, "é"),
        ] {
            assert_eq!(super::split_float(text), Some((number, rest)), "{text}");
        }
        for text in ["", ".", "-", "e3", "x", "é"] {
            assert_eq!(super::split_float(text), None, "{text}");
        }
        assert!(super::split_float("nan").is_some_and(|(number, rest)| number.is_nan() && rest.is_empty()));
        assert_eq!([f64::NAN, f64::INFINITY, -1.0, 4294967297.9].map(super::low_bits), [0, 0, u32::MAX, 1]);
    }

    use super::*;
    use crate::option::{NoNames, Opt};
    use hairpin_engine::rule::TableId;

    #[test]
    fn numbers_are_strtoul() {
        assert_eq!(split_number("10:20"), Some((10, ":20")));
        assert_eq!(split_number("0x1fg"), Some((0x1f, "g")));
        assert_eq!(split_number("010"), Some((8, "")));
        assert_eq!(split_number("08"), Some((0, "8")));
        assert_eq!(split_number("0x"), Some((0, "x")));
        assert_eq!(split_number(" +5"), Some((5, "")));
        assert_eq!(split_number("-5"), None);
        assert_eq!(split_number(""), None);
        assert_eq!(split_number("18446744073709551616"), None);
        assert_eq!(parse_number("5x"), None);
    }

    #[test]
    fn ranges_have_defaults_and_an_order() {
        let range = |text: &str| with(text, |p, g| number_range(p, g, 0, 255).map(|r| (r.from, r.to)));
        assert_eq!(range("5").unwrap(), (5, 5));
        assert_eq!(range("5:").unwrap(), (5, 255));
        assert_eq!(range(":5").unwrap(), (0, 5));
        assert_eq!(range(":").unwrap(), (0, 255));
        assert_eq!(range("").unwrap(), (0, 0));
        assert!(range("5:4").unwrap_err().message.contains("near \"4\", or out of range (5-255)"));
        assert!(range("1:2:3").unwrap_err().message.contains("Too many components"));
        assert!(range("1-2").unwrap_err().message.contains("unexpected characters near \"-2\""));
        assert!(range("256").is_err());
    }

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

    #[test]
    fn ports_in_iptables_words() {
        let range = |text: &str| with(text, |p, g| service_range(p, g.value(), proto::TCP));
        assert_eq!(range("1:").unwrap(), (1, 65535));
        assert_eq!(range("5:4").unwrap_err().message, "invalid portrange (min > max)");
        assert_eq!(range("70000").unwrap_err().message, "invalid port/service `70000' specified");
        let range = |text: &str| with(text, port_range);
        assert_eq!(range(":5").unwrap(), (0, 5));
        assert_eq!(range("5:4").unwrap_err().message, "Port range 5-4 is negative.\n");
    }

    #[test]
    fn icmp_names_may_be_shortened() {
        assert_eq!(icmp_type(Family::V4, "echo-req"), Ok(icmp(8, 0, 255)));
        assert_eq!(icmp_type(Family::V4, "PING"), Ok(icmp(8, 0, 255)));
        assert_eq!(icmp_type(Family::V4, "3/4"), Ok(icmp(3, 4, 4)));
        let refused = |text| icmp_type(Family::V4, text).unwrap_err().message;
        assert_eq!(refused("echo"), "Ambiguous ICMP type `echo': `echo-reply' or `echo-request'?");
        assert_eq!(refused("256"), "Unknown ICMP type `256'");
        assert_eq!(refused("8/x"), "Unknown ICMP code `8/x'");
    }

    #[test]
    fn units_may_be_shortened() {
        assert_eq!(time_unit("s"), Some(1));
        assert_eq!(time_unit("sec"), Some(1));
        assert_eq!(time_unit("Min"), Some(60));
        assert_eq!(time_unit("days"), None);
        assert_eq!(time_unit(""), None);
    }

    #[test]
    fn strings_are_quoted_when_needed() {
        let saved = |text: &str| {
            let mut out = String::new();
            save_string(&mut out, text).unwrap();
            out
        };
        assert_eq!(saved("plain_1-x"), " plain_1-x");
        assert_eq!(saved(""), " \"\"");
        assert_eq!(saved("a b"), " \"a b\"");
        assert_eq!(saved("it's \"\\\""), " \"it\\'s \\\"\\\\\\\"\"");
    }

    #[test]
    fn hex_comes_in_pairs() {
        assert_eq!(hex_bytes("0a 0B0c"), Some(vec![10, 11, 12]));
        assert_eq!(hex_bytes("0a0"), None);
        assert_eq!(hex_bytes("zz"), None);
    }

    fn with<T>(text: &str, read: impl FnOnce(&Parsed<'_>, &Given) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
        static OPTION: Opt = Opt::new("opt", &["value"], "");
        let given = Given { option: &OPTION, name: "opt", inverted: false, words: vec![text.to_owned()] };
        let parsed = Parsed {
            extension: "ext",
            family: Family::V4,
            table: TableId::Filter,
            chain: "INPUT",
            protocol: None,
            names: &NoNames,
            given: Vec::new(),
            complete: true,
            notices: Default::default(),
        };
        read(&parsed, &given)
    }
}
