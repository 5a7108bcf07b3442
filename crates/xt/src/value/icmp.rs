//! Types and codes of ICMP by number and by name.

use super::split_number;
use crate::option::SyntaxError;
use hairpin_wire::Family;
use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
