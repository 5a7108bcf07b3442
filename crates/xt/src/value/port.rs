//! Ports, services and protocols.

use super::parse_number;
use crate::option::{Given, NameKind, Parsed, SyntaxError};
use hairpin_wire::proto;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::with;

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
}
