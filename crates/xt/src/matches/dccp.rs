//! `-m dccp`: ports, packet type and options of a DCCP packet (RFC 4340).

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::ports::{DPORT, Ports, SPORT};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::dccp::{self, kind};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "dccp",
    aliases: &[],
    families: Families::Both,
    about: "DCCP ports, packet types and options",
    kind: Kind::Evaluated,
    options: &[
        SPORT,
        DPORT,
        Opt::new("dccp-types", &["type[,type...]"], "the packet is of one of these types").inverts(),
        Opt::new("dccp-option", &["number"], "this option is present").inverts(),
    ],
    build,
    cases: &[
        Case::Same("-p dccp|"),
        Case::Same("-p dccp|--sport 1:5 ! --dport 7"),
        Case::Saves("-p dccp|--sport :", "-p dccp|--sport 0:65535"),
        Case::Saves("-p dccp|! --dccp-types data,REQUEST", "-p dccp|! --dccp-types REQUEST,DATA"),
        Case::Same("-p dccp|--dccp-types INVALID ! --dccp-option 255"),
        Case::Fails("-p dccp|--dccp-types foo", "Unknown DCCP type `foo'"),
        Case::Fails("-p dccp|--dccp-option 0", "out of range (1-255)"),
    ],
};

#[derive(Debug)]
struct Dccp {
    sport: Option<Ports>,
    dport: Option<Ports>,
    /// One bit for each type.
    types: Option<(u16, bool)>,
    option: Option<(u8, bool)>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let ports = |name: &str| parsed.get(name).map(|given| Ports::resolve(parsed, given)).transpose();
    let option = match parsed.get("dccp-option") {
        Some(given) => Some((value::number(parsed, given, 1, 255)? as u8, given.inverted)),
        None => None,
    };
    Ok(Arc::new(Dccp {
        sport: ports("source-port")?,
        dport: ports("destination-port")?,
        types: parsed.get("dccp-types").map(parse_types).transpose()?,
        option,
    }))
}

fn parse_types(given: &Given) -> Result<(u16, bool), SyntaxError> {
    let words = given.value().split(',').filter(|word| !word.is_empty());
    let bits = words.into_iter().try_fold(0, |bits, word| {
        match TYPES.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            Some(bit) => Ok(bits | 1 << bit),
            None => Err(SyntaxError::parameter(format!("Unknown DCCP type `{word}'")).at(word)),
        }
    })?;
    Ok((bits, given.inverted))
}

impl Match for Dccp {
    fn name(&self) -> &'static str {
        "dccp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        let Some(header) = dccp::Dccp::new(look.l4()) else { return look.hotdrop() };
        self.sport.is_none_or(|ports| ports.contains(header.src_port()))
            && self.dport.is_none_or(|ports| ports.contains(header.dst_port()))
            && self.types.is_none_or(|(bits, inverted)| (bits & 1 << header.kind().min(INVALID) != 0) != inverted)
            && self.option.is_none_or(|(option, inverted)| match options(&header) {
                Some(options) => contains(options, option) != inverted,
                // The kernel inverts this answer too: the rule counts, and the packet ends.
                None => look.hotdrop() != inverted,
            })
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ports) = self.sport {
            ports.save(f, "sport")?;
        }
        if let Some(ports) = self.dport {
            ports.save(f, "dport")?;
        }
        if let Some((bits, inverted)) = self.types {
            f.write_str(if inverted { " ! --dccp-types " } else { " --dccp-types " })?;
            write_types(f, bits)?;
        }
        match self.option {
            Some((option, inverted)) => write!(f, "{} --dccp-option {option}", if inverted { " !" } else { "" }),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" dccp")?;
        self.sport.map_or(Ok(()), |ports| ports.list(f, "spt", proto::DCCP, listing))?;
        self.dport.map_or(Ok(()), |ports| ports.list(f, "dpt", proto::DCCP, listing))?;
        if let Some((bits, inverted)) = self.types {
            f.write_str(if inverted { " ! " } else { " " })?;
            if listing.numeric { write_numbers(f, bits)? } else { write_types(f, bits)? }
        }
        match self.option {
            Some((option, inverted)) => write!(f, " option={}{option}", if inverted { "!" } else { "" }),
            None => Ok(()),
        }
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::DCCP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn write_types(f: &mut fmt::Formatter<'_>, bits: u16) -> fmt::Result {
    let set = TYPES.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
    set.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
}

/// As numbers; the invalid types are all those from 10 on.
fn write_numbers(f: &mut fmt::Formatter<'_>, bits: u16) -> fmt::Result {
    let set = (0..16).filter(|number| bits & 1 << INVALID.min(*number) != 0);
    set.enumerate().try_for_each(|(n, number)| write!(f, "{}{number}", if n == 0 { "" } else { "," }))
}

/// The option bytes; None when the header's length is wrong or they are not there.
fn options<'a>(header: &'a dccp::Dccp<&'a [u8]>) -> Option<&'a [u8]> {
    let generic = if header.is_extended() { dccp::LONG_HEADER_LEN } else { dccp::HEADER_LEN };
    let specific = match header.kind() {
        kind::DATA => 0,
        kind::DATA_ACK | kind::ACK | kind::SYNC | kind::SYNC_ACK | kind::CLOSE | kind::CLOSE_REQ => 8,
        kind::REQUEST => 4,
        _ => 12,
    };
    let start = generic + specific;
    let len = header.header_len().checked_sub(start)?;
    if len == 0 { Some(&[]) } else { header.as_bytes().get(start..start + len) }
}

fn contains(options: &[u8], wanted: u8) -> bool {
    let mut at = 0;
    while let Some(option) = options.get(at) {
        if *option == wanted {
            return true;
        }
        at += if *option < 2 { 1 } else { options.get(at + 1).map_or(1, |len| usize::from(*len).max(1)) };
    }
    false
}

/// Numbers from here on, which mean nothing, are taken together.
const INVALID: u8 = 10;

/// In the order of their numbers.
const TYPES: [&str; 11] = [
    "REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID",
];

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check};
    use hairpin_wire::dccp::kind;
    use hairpin_wire::{Family, build, proto};

    fn packet(kind: u8, words: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 5, 0, 80, words, 0, 0, 0, kind << 1, 0, 0, 0];
        bytes.extend(rest);
        build::ip(Family::V4, SRC, DST, proto::DCCP, &bytes)
    }

    #[test]
    fn ports_types_and_options() {
        check("-p dccp -m dccp --sport 5 --dport 80", packet(kind::DATA, 3, &[]), Yes);
        check("-p dccp -m dccp --dccp-types REQUEST,DATA", packet(kind::DATA, 3, &[]), Yes);
        check("-p dccp -m dccp ! --dccp-types REQUEST,DATA", packet(kind::DATA, 3, &[]), No);
        check("-p dccp -m dccp --dccp-types INVALID", packet(15, 3, &[]), Yes);
        let request = packet(kind::REQUEST, 5, &[0, 0, 0, 0, 1, 32, 3, 0]);
        check("-p dccp -m dccp --dccp-option 32", request.clone(), Yes);
        check("-p dccp -m dccp --dccp-option 3", request.clone(), No);
        check("-p dccp -m dccp ! --dccp-option 3", request, Yes);
        check("-p dccp -m dccp ! --dccp-option 3", packet(kind::REQUEST, 3, &[0; 4]), Hotdrop);
        check("-p dccp -m dccp ! --dccp-option 3", packet(kind::REQUEST, 6, &[0; 4]), Hotdrop);
    }
}
