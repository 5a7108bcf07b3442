//! `-m tcpmss`: the maximum segment size that a TCP segment announces.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::ports::tcp_header;
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::{proto, tcp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "tcpmss",
    aliases: &[],
    families: Families::Both,
    about: "the TCP option with the maximum segment size",
    kind: Kind::Evaluated,
    options: &[Opt::new("mss", &["size[:size]"], "the option's value").inverts().required()],
    build,
    cases: &[
        Case::Same("-p tcp|--mss 42"),
        Case::Same("-p tcp|! --mss 1:12345"),
        Case::Saves("-p tcp|--mss :5", "-p tcp|--mss 0:5"),
        Case::Fails("-p tcp|--mss 65536", "out of range"),
        Case::Fails("-p tcp|--mss 7:5", "out of range"),
        Case::Fails("-p tcp|", "must be specified"),
    ],
};

#[derive(Debug)]
struct TcpMss {
    min: u16,
    max: u16,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("mss")?;
    let range = value::number_range(parsed, given, 0, u64::from(u16::MAX))?;
    Ok(Arc::new(TcpMss { min: range.from as u16, max: range.to as u16, inverted: given.inverted }))
}

impl Match for TcpMss {
    fn name(&self) -> &'static str {
        "tcpmss"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(segment) = tcp_header(look) else { return look.hotdrop() };
        let Some(len) = segment.header_len().checked_sub(tcp::HEADER_LEN) else { return look.hotdrop() };
        let options = segment.options();
        if options.len() < len {
            return look.hotdrop();
        }
        match find_mss(options) {
            Some(mss) => (self.min..=self.max).contains(&mss) != self.inverted,
            None => self.inverted,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --mss {}", if self.inverted { " !" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " tcpmss match {}{}", if self.inverted { "!" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::TCP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The kernel's walk: an end-of-list byte does not end it.
fn find_mss(options: &[u8]) -> Option<u16> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [tcp::option::MSS, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [] => return None,
            [0 | 1, ..] | [_] => at += 1,
            [_, len, ..] => at += usize::from(*len).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check};
    use hairpin_wire::{Family, build};

    #[test]
    fn finds_the_option() {
        let segment = |options: &[u8]| build::Tcp { options, ..Default::default() }.packet(Family::V4, SRC, DST);
        check("-p tcp -m tcpmss --mss 1460", segment(&[2, 4, 5, 0xb4]), Yes);
        check("-p tcp -m tcpmss --mss :1459", segment(&[2, 4, 5, 0xb4]), No);
        check("-p tcp -m tcpmss ! --mss :1459", segment(&[1, 1, 3, 3, 9, 2, 4, 5, 0xb4]), Yes);
        check("-p tcp -m tcpmss --mss 1460", segment(&[0, 2, 4, 5, 0xb4]), Yes);
        check("-p tcp -m tcpmss --mss 0:65535", segment(&[1, 1, 1, 1]), No);
        check("-p tcp -m tcpmss --mss 0:65535", segment(&[]), No);
        check("-p tcp -m tcpmss ! --mss 0:65535", segment(&[]), Yes);
        let mut short = segment(&[]);
        short[32] = 0x60;
        check("-p tcp -m tcpmss ! --mss 0:65535", short, Hotdrop);
    }
}
