//! The range of security parameter indexes that the matches on IPsec and compressed packets share.

use crate::option::{Given, Parsed, SyntaxError};
use crate::value;
use std::fmt;

/// A range of indexes, perhaps inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spis {
    min: u32,
    max: u32,
    inverted: bool,
}

impl Spis {
    /// Every index.
    pub(crate) const ALL: Spis = Spis { min: 0, max: u32::MAX, inverted: false };

    /// The value of an option, or every index when it was not given.
    pub(crate) fn parse(parsed: &Parsed<'_>, given: Option<&Given>) -> Result<Spis, SyntaxError> {
        let Some(given) = given else { return Ok(Spis::ALL) };
        let range = value::number_range(parsed, given, 0, u64::from(u32::MAX))?;
        Ok(Spis { min: range.from as u32, max: range.to as u32, inverted: given.inverted })
    }

    /// Whether the index is in the range or, inverted, is not.
    pub(crate) const fn contains(self, spi: u32) -> bool {
        (self.min <= spi && spi <= self.max) != self.inverted
    }

    /// Prints `NAME[s]:[!]a[:b]`, and nothing for every index.
    pub(crate) fn list(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let not = if self.inverted { "!" } else { "" };
        match self {
            Spis::ALL => Ok(()),
            Spis { min, max, .. } if min == max => write!(f, "{name}:{not}{min}"),
            Spis { min, max, .. } => write!(f, "{name}s:{not}{min}:{max}"),
        }
    }

    /// Prints ` [!] --NAME a[:b]`, and nothing for every index.
    pub(crate) fn save(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        if self == Spis::ALL {
            return Ok(());
        }
        write!(f, "{} --{name} {}", if self.inverted { " !" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }
}
