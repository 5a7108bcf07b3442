//! Numbers that iptables has names for: levels of the log, TOS, DSCP, units of time.

use super::{number_within, split_number};
use crate::option::{Given, SyntaxError};

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
    // What follows the name does not count.
    let begins = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let class = DSCP_CLASSES.iter().find(|(name, _)| begins(name));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_may_be_shortened() {
        assert_eq!(time_unit("s"), Some(1));
        assert_eq!(time_unit("sec"), Some(1));
        assert_eq!(time_unit("Min"), Some(60));
        assert_eq!(time_unit("days"), None);
        assert_eq!(time_unit(""), None);
    }
}
