//! Finding an IPv6 extension header, for the matches on them.

use crate::option::{Parsed, SyntaxError};
use crate::value;
use hairpin_engine::Look;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::proto;
use std::fmt;

/// The answer of [`find`].
pub(crate) enum Found<'a> {
    /// From the header on to the end of the packet.
    At(&'a [u8]),
    /// The packet has none.
    Absent,
    /// The packet ends within its extension headers.
    Broken,
}

/// The first extension header of this kind (`ipv6_find_hdr`).
pub(crate) fn find<'a>(look: &Look<'a>, kind: u8) -> Found<'a> {
    let packet = look.bytes();
    let Some(ip) = Ipv6::new(packet) else { return Found::Broken };
    let mut walk = ip.extensions();
    for header in walk.by_ref() {
        // Of a routing header four bytes must be there, of others two.
        if header.kind == proto::ROUTING && header.offset + 4 > packet.len() {
            return Found::Broken;
        }
        if header.kind == kind {
            return packet.get(header.offset..).map_or(Found::Broken, Found::At);
        }
    }
    if walk.is_truncated() { Found::Broken } else { Found::Absent }
}

/// The length in bytes that the second byte of an options or routing header says; 0 when there is none.
pub(crate) fn length(header: &[u8]) -> usize {
    header.get(1).map_or(0, |units| (usize::from(*units) + 1) * 8)
}

/// One number, perhaps inverted; any when its option was not given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(Option<(u32, bool)>);

impl Number {
    pub(crate) fn option(parsed: &Parsed<'_>, name: &str) -> Result<Number, SyntaxError> {
        match parsed.get(name) {
            Some(given) => Ok(Number(Some((value::number_u32(parsed, given)?, given.inverted)))),
            None => Ok(Number(None)),
        }
    }

    pub(crate) fn is(self, number: usize) -> bool {
        self.0.is_none_or(|(wanted, inverted)| (wanted as usize == number) != inverted)
    }

    /// The number when it was given and not inverted.
    pub(crate) fn plain(self) -> Option<u32> {
        self.0.and_then(|(number, inverted)| (!inverted).then_some(number))
    }

    /// Prints `NAME:[!]n`.
    pub(crate) fn list(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self.0 {
            Some((number, inverted)) => write!(f, "{name}:{}{number}", if inverted { "!" } else { "" }),
            None => Ok(()),
        }
    }

    /// Prints ` [!] --NAME n`.
    pub(crate) fn save(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self.0 {
            Some((number, inverted)) => write!(f, "{} --{name} {number}", if inverted { " !" } else { "" }),
            None => Ok(()),
        }
    }
}
