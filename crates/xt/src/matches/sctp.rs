//! `-m sctp`: ports and chunks of an SCTP packet (RFC 9260).

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::ports::{DPORT, Ports, SPORT};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::sctp::{self, chunk};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "sctp",
    aliases: &[],
    families: Families::Both,
    about: "SCTP ports and chunks",
    kind: Kind::Evaluated,
    options: &[
        SPORT.twice("Only one `--source-port' allowed"),
        DPORT.twice("Only one `--destination-port' allowed"),
        Opt::new("chunk-types", &["all|any|only", "type[:flags][,type[:flags]...]"], "which chunks are in the packet")
            .inverts()
            .twice("Only one `--chunk-types' allowed")
            .too_few("--chunk-types requires two args"),
    ],
    build,
    cases: &[
        Case::Same("-p sctp|"),
        Case::Same("-p sctp|! --sport 1 --dport 5:65535"),
        Case::Saves("-p sctp|--dport :", "-p sctp|--dport 0:65535"),
        Case::Same("-p sctp|--chunk-types any DATA:IUbe,INIT,ABORT:t"),
        Case::Same("-p sctp|! --chunk-types only NONE"),
        Case::Saves("-p sctp|--chunk-types ALL all", "-p sctp|--chunk-types all ALL"),
        Case::Saves("-p sctp|--chunk-types any asconf,PAD,ASCONF_ACK", "-p sctp|--chunk-types any ASCONF_ACK,PAD,ASCONF"),
        Case::Fails("-p sctp|--chunk-types foo DATA", "Match type has to be one of \"ALL\", \"ANY\" or \"ONLY\""),
        Case::Fails("-p sctp|--chunk-types any FOO", "Unknown sctp chunk `FOO'"),
        Case::Fails("-p sctp|--chunk-types any INIT:t", "Invalid flags for chunk type 1"),
        Case::Fails("-p sctp|--sport 65536", "invalid port/service `65536' specified"),
    ],
};

#[derive(Debug)]
struct Sctp {
    sport: Option<Ports>,
    dport: Option<Ports>,
    chunks: Option<Chunks>,
}

#[derive(Debug)]
struct Chunks {
    mode: Mode,
    types: Types,
    flags: Vec<Flags>,
    inverted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    All,
    Any,
    Only,
}

/// A set of chunk types, one bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Types([u128; 2]);

impl Types {
    const NONE: Types = Types([0; 2]);
    const ALL: Types = Types([u128::MAX; 2]);

    const fn place(kind: u8) -> (usize, u128) {
        ((kind >> 7) as usize, 1 << (kind & 127))
    }

    fn contains(&self, kind: u8) -> bool {
        let (half, bit) = Types::place(kind);
        self.0[half] & bit != 0
    }

    fn insert(&mut self, kind: u8) {
        let (half, bit) = Types::place(kind);
        self.0[half] |= bit;
    }

    fn remove(&mut self, kind: u8) {
        let (half, bit) = Types::place(kind);
        self.0[half] &= !bit;
    }
}

/// Which flags of a chunk type must be set (upper case) or clear (lower case).
#[derive(Clone, Copy, Debug)]
struct Flags {
    kind: u8,
    mask: u8,
    value: u8,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let ports = |name: &str| parsed.get(name).map(|given| Ports::parse(parsed, given, proto::SCTP)).transpose();
    Ok(Arc::new(Sctp {
        sport: ports("source-port")?,
        dport: ports("destination-port")?,
        chunks: parsed.get("chunk-types").map(parse_chunks).transpose()?,
    }))
}

fn parse_chunks(given: &Given) -> Result<Chunks, SyntaxError> {
    let mode = match given.value().to_ascii_lowercase().as_str() {
        "all" => Mode::All,
        "any" => Mode::Any,
        "only" => Mode::Only,
        _ => {
            let message = "Match type has to be one of \"ALL\", \"ANY\" or \"ONLY\"";
            return Err(SyntaxError::parameter(message).at(given.value()));
        }
    };
    let list = given.words.get(1).map_or("", String::as_str);
    let mut chunks = Chunks { mode, types: Types::NONE, flags: Vec::new(), inverted: given.inverted };
    match list.to_ascii_lowercase().as_str() {
        "all" => chunks.types = Types::ALL,
        "none" => {}
        _ => {
            for word in list.split(',').filter(|word| !word.is_empty()) {
                parse_chunk(&mut chunks, word)?;
            }
        }
    }
    Ok(chunks)
}

fn parse_chunk(chunks: &mut Chunks, word: &str) -> Result<(), SyntaxError> {
    let (name, letters) = word.split_once(':').unwrap_or((word, ""));
    let Some((_, kind, valid)) = NAMES.iter().find(|(n, _, _)| n.eq_ignore_ascii_case(name)) else {
        return Err(SyntaxError::parameter(format!("Unknown sctp chunk `{name}'")).at(word));
    };
    chunks.types.insert(*kind);
    for letter in letters.chars() {
        let Some(bit) = flag_bit(valid, letter) else {
            return Err(SyntaxError::parameter(format!("Invalid flags for chunk type {kind}")).at(word));
        };
        let at = match chunks.flags.iter().position(|flags| flags.kind == *kind) {
            Some(at) => at,
            None if chunks.flags.len() == MOST_FLAGGED => {
                let message = "Number of chunk types with flags exceeds currently allowed limit.";
                return Err(SyntaxError::parameter(message).at(word));
            }
            None => {
                chunks.flags.push(Flags { kind: *kind, mask: 0, value: 0 });
                chunks.flags.len() - 1
            }
        };
        if let Some(flags) = chunks.flags.get_mut(at) {
            flags.mask |= bit;
            flags.value |= if letter.is_ascii_uppercase() { bit } else { 0 };
        }
    }
    Ok(())
}

/// The bit of a letter; the last letter of `valid` is the lowest bit.
fn flag_bit(valid: &str, letter: char) -> Option<u8> {
    match letter {
        // Bits without a name have this one, of which the front end takes the highest.
        '-' => Some(0x80),
        _ => {
            let at = valid.rfind(letter.to_ascii_uppercase())?;
            Some(1 << (valid.len() - 1 - at))
        }
    }
}

impl Match for Sctp {
    fn name(&self) -> &'static str {
        "sctp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        let Some((sport, dport)) = look.ports_of(sctp::HEADER_LEN) else { return look.hotdrop() };
        self.sport.is_none_or(|ports| ports.contains(sport))
            && self.dport.is_none_or(|ports| ports.contains(dport))
            && self.chunks.as_ref().is_none_or(|chunks| match chunks.fit(look.l4()) {
                Some(fit) => fit != chunks.inverted,
                // The kernel inverts this answer too: the rule counts, and the packet ends.
                None => look.hotdrop() != chunks.inverted,
            })
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ports) = self.sport {
            ports.save(f, "sport")?;
        }
        if let Some(ports) = self.dport {
            ports.save(f, "dport")?;
        }
        let Some(chunks) = &self.chunks else { return Ok(()) };
        f.write_str(if chunks.inverted { " ! --chunk-types" } else { " --chunk-types" })?;
        chunks.write(f, false)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" sctp")?;
        self.sport.map_or(Ok(()), |ports| ports.list(f, "spt", proto::SCTP, listing))?;
        self.dport.map_or(Ok(()), |ports| ports.list(f, "dpt", proto::SCTP, listing))?;
        let Some(chunks) = &self.chunks else { return Ok(()) };
        f.write_str(if chunks.inverted { " !" } else { "" })?;
        chunks.write(f, listing.numeric)
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::SCTP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Chunks {
    /// None when the list of chunks is broken: a chunk header is cut, or a length is 0.
    fn fit(&self, packet: &[u8]) -> Option<bool> {
        let mut missing = self.types;
        let mut at = sctp::HEADER_LEN;
        loop {
            let &[kind, flags, high, low] = packet.get(at..)?.first_chunk::<4>()?;
            let len = u16::from_be_bytes([high, low]);
            if len == 0 {
                return None;
            }
            at += usize::from(len).next_multiple_of(4);
            let fits = self.types.contains(kind).then(|| self.flags_fit(kind, flags));
            match (self.mode, fits) {
                (Mode::Any, Some(true)) => return Some(true),
                (Mode::All, Some(true)) => missing.remove(kind),
                (Mode::Only, None | Some(false)) => return Some(false),
                _ => {}
            }
            if at >= packet.len() {
                break;
            }
        }
        Some(match self.mode {
            Mode::All => missing == Types::NONE,
            Mode::Any => false,
            Mode::Only => true,
        })
    }

    fn flags_fit(&self, kind: u8, flags: u8) -> bool {
        self.flags.iter().find(|f| f.kind == kind).is_none_or(|f| flags & f.mask == f.value)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, numeric: bool) -> fmt::Result {
        f.write_str(match self.mode {
            Mode::All => " all ",
            Mode::Any => " any ",
            Mode::Only => " only ",
        })?;
        match self.types {
            Types::ALL => f.write_str("ALL"),
            Types::NONE => f.write_str("NONE"),
            _ => self.write_list(f, numeric),
        }
    }

    fn write_list(&self, f: &mut fmt::Formatter<'_>, numeric: bool) -> fmt::Result {
        let mut separator = "";
        for (name, kind, valid) in NAMES.iter().filter(|(_, kind, _)| self.types.contains(*kind)) {
            f.write_str(separator)?;
            if numeric { write!(f, "0x{kind:04X}")? } else { f.write_str(name)? }
            separator = ",";
            let Some(flags) = self.flags.iter().find(|flags| flags.kind == *kind) else { continue };
            f.write_str(if flags.mask & 0x80 != 0 { ":-" } else { ":" })?;
            for letter in valid.chars() {
                match flag_bit(valid, letter) {
                    Some(bit) if flags.value & bit != 0 => write!(f, "{letter}")?,
                    Some(bit) if flags.mask & bit != 0 => write!(f, "{}", letter.to_ascii_lowercase())?,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Chunk types that may be given with flags in one rule.
const MOST_FLAGGED: usize = 4;

/// Name, number and the letters of the lowest flags, in the order in which they are saved.
const NAMES: &[(&str, u8, &str)] = &[
    ("DATA", chunk::DATA, "IUBE"),
    ("INIT", chunk::INIT, ""),
    ("INIT_ACK", chunk::INIT_ACK, ""),
    ("SACK", chunk::SACK, ""),
    ("HEARTBEAT", chunk::HEARTBEAT, ""),
    ("HEARTBEAT_ACK", chunk::HEARTBEAT_ACK, ""),
    ("ABORT", chunk::ABORT, "T"),
    ("SHUTDOWN", chunk::SHUTDOWN, ""),
    ("SHUTDOWN_ACK", chunk::SHUTDOWN_ACK, ""),
    ("ERROR", chunk::ERROR, ""),
    ("COOKIE_ECHO", chunk::COOKIE_ECHO, ""),
    ("COOKIE_ACK", chunk::COOKIE_ACK, ""),
    ("ECN_ECNE", chunk::ECNE, ""),
    ("ECN_CWR", chunk::CWR, ""),
    ("SHUTDOWN_COMPLETE", chunk::SHUTDOWN_COMPLETE, "T"),
    ("I_DATA", chunk::I_DATA, "IUBE"),
    ("ASCONF_ACK", chunk::ASCONF_ACK, ""),
    ("RE_CONFIG", chunk::RE_CONFIG, ""),
    ("PAD", chunk::PAD, ""),
    ("FORWARD_TSN", chunk::FORWARD_TSN, ""),
    ("ASCONF", chunk::ASCONF, ""),
    ("I_FORWARD_TSN", chunk::I_FORWARD_TSN, ""),
];

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check};
    use hairpin_wire::{Family, build};

    fn packet(chunks: &[u8]) -> Vec<u8> {
        build::Sctp { src_port: 5, dst_port: 80, tag: 1, chunks }.packet(Family::V4, SRC, DST)
    }

    const DATA: [u8; 8] = [0, 3, 0, 7, 1, 2, 3, 0];
    const SACK: [u8; 4] = [3, 0, 0, 4];

    #[test]
    fn any_all_and_only() {
        let both = [&DATA[..], &SACK[..]].concat();
        check("-p sctp -m sctp --chunk-types any SACK,INIT", packet(&both), Yes);
        check("-p sctp -m sctp --chunk-types all SACK,INIT", packet(&both), No);
        check("-p sctp -m sctp --chunk-types all SACK,DATA", packet(&both), Yes);
        check("-p sctp -m sctp --chunk-types only DATA", packet(&both), No);
        check("-p sctp -m sctp --chunk-types only DATA,SACK,INIT", packet(&both), Yes);
        check("-p sctp -m sctp ! --chunk-types only DATA", packet(&both), Yes);
    }

    #[test]
    fn flags() {
        check("-p sctp -m sctp --chunk-types any DATA:BE", packet(&DATA), Yes);
        check("-p sctp -m sctp --chunk-types any DATA:UBE", packet(&DATA), No);
        check("-p sctp -m sctp --chunk-types any DATA:uBE", packet(&DATA), Yes);
        check("-p sctp -m sctp --chunk-types only DATA:b", packet(&DATA), No);
    }

    #[test]
    fn broken_lists() {
        check("-p sctp -m sctp --chunk-types any INIT", packet(&[]), Hotdrop);
        check("-p sctp -m sctp --chunk-types any INIT", packet(&[0, 0, 0, 0]), Hotdrop);
        check("-p sctp -m sctp --chunk-types any INIT", packet(&[0, 0, 0, 4, 1]), Hotdrop);
        check("-p sctp -m sctp --chunk-types any DATA", packet(&[0, 0, 0, 4, 1]), Yes);
        check("-p sctp -m sctp --sport 5", packet(&[]), Yes);
        check("-p sctp -m sctp ! --sport 5", packet(&[]), No);
    }
}
