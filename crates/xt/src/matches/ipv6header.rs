//! `-m ipv6header`: which extension headers a packet has.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "ipv6header",
    aliases: &[],
    families: Families::V6,
    about: "which extension headers a packet has",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("header", &["header[,header...]"], "hop, dst, route, frag, auth, esp, none, prot, or their numbers")
            .inverts()
            .required(),
        Opt::switch("soft", "at least these headers, not just these"),
    ],
    build,
    cases: &[
        Case::Saves(
            "--header prot,none,esp,auth,frag,route,dst,hop",
            "--header hop-by-hop,ipv6-opts,ipv6-route,ipv6-frag,ah,esp,ipv6-nonxt,protocol",
        ),
        Case::Saves("! --header 0,60 --soft", "! --header hop-by-hop,ipv6-opts --soft"),
        Case::Fails("--header foo", "unknown header `foo' specified"),
        Case::Fails("--header \"\"", "ip6t_ipv6header: cannot parse header names"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Ipv6Header {
    headers: u8,
    soft: bool,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("header")?;
    let headers = given.value().split(',').filter(|word| !word.is_empty()).try_fold(0, |bits, word| {
        let number = value::number_within(word, 0, 255);
        NAMES
            .iter()
            .find(|(name, short, n, _)| [*name, *short].contains(&word) || Some(u64::from(*n)) == number)
            .map(|(_, _, _, bit)| bits | bit)
            .ok_or_else(|| SyntaxError::parameter(format!("unknown header `{word}' specified")).at(word))
    })?;
    if headers == 0 {
        return Err(SyntaxError::parameter("ip6t_ipv6header: cannot parse header names").at("--header"));
    }
    Ok(Arc::new(Ipv6Header { headers, soft: parsed.has("soft"), inverted: given.inverted }))
}

impl Match for Ipv6Header {
    fn name(&self) -> &'static str {
        "ipv6header"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(headers) = headers_of(look.bytes()) else { return false };
        if self.soft {
            // Inverted: none of them.
            let unlike = headers ^ self.headers ^ if self.inverted { u8::MAX } else { 0 };
            unlike & self.headers == 0
        } else {
            (headers == self.headers) != self.inverted
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --header " } else { " --header " })?;
        self.write_names(f)?;
        f.write_str(if self.soft { " --soft" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ipv6header flags:!" } else { " ipv6header flags:" })?;
        if listing.numeric { write!(f, "0x{:02X}", self.headers)? } else { self.write_names(f)? }
        f.write_str(if self.soft { " soft" } else { "" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Ipv6Header {
    fn write_names(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES.iter().filter(|(.., bit)| self.headers & bit != 0);
        set.enumerate().try_for_each(|(n, (name, ..))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

/// The bits of the headers met; None when the packet ends before the header that was named. This walk does not stop at
/// fragments.
fn headers_of(packet: &[u8]) -> Option<u8> {
    let mut next = *packet.get(6)?;
    let (mut at, mut headers) = (40, 0);
    loop {
        match next {
            proto::NONE => return Some(headers | NONE),
            proto::ESP => {
                // There must be room for the header to count.
                packet.get(at..at + 2)?;
                return Some(headers | ESP);
            }
            proto::HOPOPTS | proto::DSTOPTS | proto::ROUTING | proto::FRAGMENT | proto::AH => {}
            _ => return Some(headers | PROTOCOL),
        }
        let &[after, units] = packet.get(at..)?.first_chunk::<2>()?;
        headers |= NAMES.iter().find(|(_, _, n, _)| *n == next).map_or(0, |(.., bit)| *bit);
        at += match next {
            proto::FRAGMENT => 8,
            proto::AH => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        next = after;
        if at > packet.len() {
            return Some(if matches!(next, proto::NONE | proto::ESP) { headers } else { headers | PROTOCOL });
        }
    }
}

const ESP: u8 = 4;
const NONE: u8 = 2;
const PROTOCOL: u8 = 1;

/// Name, short name, number and bit, in the order in which they are saved.
const NAMES: &[(&str, &str, u8, u8)] = &[
    ("hop-by-hop", "hop", proto::HOPOPTS, 128),
    ("ipv6-opts", "dst", proto::DSTOPTS, 64),
    ("ipv6-route", "route", proto::ROUTING, 32),
    ("ipv6-frag", "frag", proto::FRAGMENT, 16),
    ("ah", "auth", proto::AH, 8),
    ("esp", "esp", proto::ESP, ESP),
    ("ipv6-nonxt", "none", proto::NONE, NONE),
    ("protocol", "prot", 255, PROTOCOL),
];

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp6, v6};

    #[test]
    fn exactly_or_at_least() {
        let packet = || v6(0, &[60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
        check("-m ipv6header --header hop,dst,prot", packet(), Yes);
        check("-m ipv6header --header hop,dst", packet(), No);
        check("-m ipv6header --header hop,dst --soft", packet(), Yes);
        check("-m ipv6header --header hop,frag --soft", packet(), No);
        check("-m ipv6header ! --header frag,esp --soft", packet(), Yes);
        check("-m ipv6header ! --header frag,hop --soft", packet(), No);
        check("-m ipv6header ! --header hop", packet(), Yes);
        check("-m ipv6header --header prot", udp6(1, 2), Yes);
        check("-m ipv6header --header none", v6(59, &[]), Yes);
        check("-m ipv6header ! --header none", v6(0, &[]), No);
    }
}
