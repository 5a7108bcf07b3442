//! Numbers and addresses as the tool reads them: as C does.

use hairpin_wire::{Addr, Family};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What `strtoul` with base 0 makes of a text: as many digits as there are, 0 when there are none.
pub(super) fn number(text: &str) -> u32 {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, digits),
        _ if text.starts_with('0') => (8, text),
        _ => (10, text),
    };
    let value = digits
        .chars()
        .map_while(|c| c.to_digit(radix))
        .fold(0u64, |value, digit| value.saturating_mul(u64::from(radix)).saturating_add(u64::from(digit)));
    if negative { (value as u32).wrapping_neg() } else { value as u32 }
}

/// As [`number`] with base 10.
pub(super) fn decimal(text: &str) -> u32 {
    let digits = text.trim_start().chars().map_while(|c| c.to_digit(10));
    digits.fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit))) as u32
}

/// An address: IPv6, or IPv4 with all its short forms (`inet_aton`).
pub(super) fn address(text: &str) -> Option<(Family, Addr)> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Some((Family::V6, Addr::from_v6(v6)));
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some((Family::V4, Addr::from_v4(v4)));
    }
    let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 || !parts.iter().all(|part| is_number(part)) {
        return None;
    }
    let (last, before) = parts.split_last()?;
    let mut value = 0u32;
    for (n, part) in before.iter().enumerate() {
        value |= u32::from(u8::try_from(number(part)).ok()?) << (24 - 8 * n);
    }
    let room = 32 - 8 * before.len() as u32;
    let last = number(last);
    (room == 32 || last >> room == 0).then(|| (Family::V4, Addr::v4(value | last)))
}

/// `ADDRESS`, `ADDRESS:PORT`, `ADDRESS:PORT-PORT`, `[ADDRESS]:PORT`.
pub(super) fn host_and_ports(text: &str) -> (&str, Option<(u16, u16)>) {
    let (host, ports) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.matches(':').count() == 1 => text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p))),
        None => (text, None),
    };
    let ports = ports.map(|ports| {
        let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
        (number(low) as u16, number(high) as u16)
    });
    (host, ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, value) in [("80", 80), ("080", 0), ("0x1f", 31), ("017", 15), ("foo", 0), ("12foo", 12), ("0x", 0)] {
            assert_eq!(number(text), value, "{text}");
        }
        assert_eq!(number("4294967295"), u32::MAX);
    }

    #[test]
    fn addresses() {
        let v4 = |value| Some((Family::V4, Addr::v4(value)));
        assert_eq!(address("0"), v4(0));
        assert_eq!(address("10.1"), v4(0x0a00_0001));
        assert_eq!(address("10.0.0.1"), v4(0x0a00_0001));
        for bad in ["", "foo", "1.2.3.4.5", "1.256.3.4", "1.2.3."] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(host_and_ports("[2001:db8::1]:5"), ("2001:db8::1", Some((5, 5))));
        assert_eq!(host_and_ports("2001:db8::1"), ("2001:db8::1", None));
        assert_eq!(host_and_ports("10.0.0.1:5-7"), ("10.0.0.1", Some((5, 7))));
    }
}
