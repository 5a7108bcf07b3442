//! `-m iprange`: addresses within a range.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "iprange",
    aliases: &[],
    families: Families::Both,
    about: "addresses within a range",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("src-range", &["from[-to]"], "the source is within the range").inverts(),
        Opt::new("dst-range", &["from[-to]"], "the destination is within the range").inverts(),
    ],
    build,
    cases: &[
        Case::Same("! --src-range 1.1.1.1-1.1.1.10 --dst-range 1.2.0.0-1.2.255.255"),
        Case::Saves("--src-range 1.2.3.4", "--src-range 1.2.3.4-1.2.3.4"),
        Case::Fails("--src-range 1.2.3.4-foo", "Bad value for \"--src-range\" option: \"foo\""),
        Case::Fails("--src-range 1.2.3.4-", "Bad value for \"--src-range\" option: \"\""),
        Case::Fails("", "You must specify `--src-range' or `--dst-range'"),
    ],
};

#[derive(Debug)]
struct IpRange {
    family: Family,
    source: Option<Range>,
    destination: Option<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    from: Addr,
    to: Addr,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let (mut source, mut destination) = (None, None);
    for given in &parsed.given {
        let side = if given.option.name == "src-range" { &mut source } else { &mut destination };
        *side = Some(parse_range(parsed, given)?);
    }
    if source.is_none() && destination.is_none() {
        return Err(SyntaxError::parameter("iprange match: You must specify `--src-range' or `--dst-range'"));
    }
    Ok(Arc::new(IpRange { family: parsed.family, source, destination }))
}

fn parse_range(parsed: &Parsed<'_>, given: &Given) -> Result<Range, SyntaxError> {
    let addr = |text: &str| {
        value::parse_network(parsed.family, text).ok_or_else(|| {
            parsed.error(format_args!("Bad value for \"--{}\" option: \"{text}\"", given.option.name)).at(text)
        })
    };
    let (from, to) = match given.value().split_once('-') {
        Some((from, to)) => (addr(from)?, addr(to)?),
        None => (addr(given.value())?, addr(given.value())?),
    };
    if from > to {
        parsed.notice(format!("xt_iprange: range {} is reversed and will never match", given.value()));
    }
    Ok(Range { from, to, inverted: given.inverted })
}

impl Match for IpRange {
    fn name(&self) -> &'static str {
        "iprange"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        self.source.is_none_or(|range| range.contains(look.src()))
            && self.destination.is_none_or(|range| range.contains(look.dst()))
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, range) in [("src-range", self.source), ("dst-range", self.destination)] {
            if let Some(Range { from, to, inverted }) = range {
                let (from, to) = (value::show_addr(self.family, from), value::show_addr(self.family, to));
                write!(f, "{} --{name} {from}-{to}", if inverted { " !" } else { "" })?;
            }
        }
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        for (name, range) in [("source", self.source), ("destination", self.destination)] {
            if let Some(Range { from, to, inverted }) = range {
                let (from, to) = (value::show_addr(self.family, from), value::show_addr(self.family, to));
                write!(f, " {name} IP range{} {from}-{to}", if inverted { " !" } else { "" })?;
            }
        }
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        let reversed = |range: Option<Range>| range.filter(|range| range.from > range.to);
        let range = reversed(self.source).or(reversed(self.destination))?;
        let (from, to) = (value::show_addr(self.family, range.from), value::show_addr(self.family, range.to));
        Some(format!("xt_iprange: range {from}-{to} is reversed and will never match"))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Range {
    fn contains(self, addr: Addr) -> bool {
        (self.from <= addr && addr <= self.to) != self.inverted
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, udp};

    #[test]
    fn both_ends_belong() {
        check("-m iprange --src-range 10.0.0.1-10.0.0.5", udp(1, 2), Yes);
        check("-m iprange --src-range 9.0.0.0-10.0.0.1", udp(1, 2), Yes);
        check("-m iprange --src-range 10.0.0.2-10.0.0.5", udp(1, 2), No);
        check("-m iprange ! --src-range 10.0.0.2-10.0.0.5 --dst-range 10.0.0.2", udp(1, 2), Yes);
        check("-m iprange --dst-range 10.0.0.5-10.0.0.1", udp(1, 2), No);
    }
}
