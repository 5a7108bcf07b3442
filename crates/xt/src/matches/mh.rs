//! `-m mh`: the type of an IPv6 mobility header (RFC 6275).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "mh",
    aliases: &["mobility-header", "ipv6-mh"],
    families: Families::V6,
    about: "the type of a mobility header",
    kind: Kind::Evaluated,
    options: &[Opt::new("mh-type", &["type[:type]"], "by number or name").inverts()],
    build,
    cases: &[
        Case::Same("-p 135|"),
        Case::Same("-p 135|! --mh-type 4"),
        Case::Saves("-p 135|--mh-type binding-refresh-request:coti", "-p 135|--mh-type 0:2"),
        Case::Saves("-p 135|--mh-type 3:", "-p 135|--mh-type 3:255"),
        Case::Saves("-p 135|--mh-type :", "-p 135|"),
        Case::Saves("-p 135|--mh-type \"\"", "-p 135|--mh-type 0"),
        Case::Saves("-p 135|! --mh-type :", "-p 135|! --mh-type 0:255"),
        Case::Fails("-p 135|--mh-type 4:3", "Invalid MH type range (min > max)"),
        Case::Fails("-p 135|--mh-type 256", "Invalid MH type `256'"),
    ],
};

#[derive(Debug)]
struct Mh {
    from: u8,
    to: u8,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let Some(given) = parsed.get("mh-type") else {
        return Ok(Arc::new(Mh { from: 0, to: 255, inverted: false }));
    };
    let kind = |text: &str, default: u8| if text.is_empty() { Ok(default) } else { parse_type(text) };
    let (from, to) = match given.value().split_once(':') {
        Some((from, to)) => (kind(from, 0)?, kind(to, 255)?),
        None => (parse_type(given.value())?, parse_type(given.value())?),
    };
    if from > to {
        return Err(SyntaxError::parameter("Invalid MH type range (min > max)").at(given.value()));
    }
    Ok(Arc::new(Mh { from, to, inverted: given.inverted }))
}

/// A number, a name, or the beginning of one, of either case.
fn parse_type(text: &str) -> Result<u8, SyntaxError> {
    if let Some(number) = value::number_within(text, 0, 255) {
        return Ok(number as u8);
    }
    let starts = |name: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let exact = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    exact
        .or_else(|| NAMES.iter().find(|(name, _)| starts(name)))
        .map(|(_, kind)| *kind)
        .ok_or_else(|| SyntaxError::parameter(format!("Invalid MH type `{text}'")).at(text))
}

impl Match for Mh {
    fn name(&self) -> &'static str {
        "mh"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match look.l4().first_chunk::<6>() {
            // Nothing may follow it (RFC 6275, section 6.1.1).
            Some([proto::NONE, _, kind, ..]) => (self.from..=self.to).contains(kind) != self.inverted,
            _ => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.from, self.to, self.inverted) == (0, 255, false) {
            return Ok(());
        }
        write!(f, "{} --mh-type {}", if self.inverted { " !" } else { "" }, self.from)?;
        if self.from == self.to { Ok(()) } else { write!(f, ":{}", self.to) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" mh")?;
        if (self.from, self.to, self.inverted) == (0, 255, false) {
            return Ok(());
        }
        let name = |number: u8| match NAMES.iter().find(|(_, n)| *n == number && !listing.numeric) {
            Some((name, _)) => (*name).to_owned(),
            None => number.to_string(),
        };
        write!(f, " {}{}", if self.inverted { "!" } else { "" }, name(self.from))?;
        if self.from == self.to { Ok(()) } else { write!(f, ":{}", name(self.to)) }
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::MH]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

const NAMES: &[(&str, u8)] = &[
    ("binding-refresh-request", 0),
    ("brr", 0),
    ("home-test-init", 1),
    ("hoti", 1),
    ("careof-test-init", 2),
    ("coti", 2),
    ("home-test", 3),
    ("hot", 3),
    ("careof-test", 4),
    ("cot", 4),
    ("binding-update", 5),
    ("bu", 5),
    ("binding-acknowledgement", 6),
    ("ba", 6),
    ("binding-error", 7),
    ("be", 7),
];

#[cfg(test)]
mod tests {
    use crate::testing::{Hotdrop, No, Yes, check, v6};

    #[test]
    fn compares() {
        let packet = |kind| v6(135, &[59, 0, kind, 0, 0, 0, 0, 0]);
        check("-p 135 -m mh --mh-type 5:7", packet(6), Yes);
        check("-p 135 -m mh ! --mh-type 5:7", packet(6), No);
        check("-p 135 -m mh", v6(135, &[17, 0, 5, 0, 0, 0, 0, 0]), Hotdrop);
        check("-p 135 -m mh", v6(135, &[59, 0, 5]), Hotdrop);
    }
}
