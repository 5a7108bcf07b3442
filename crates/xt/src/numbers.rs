//! A range of numbers as an option's value, perhaps inverted: indexes of IPsec and compressed packets, identifications of fragments.

use crate::option::{Parsed, SyntaxError};
use crate::value;
use std::fmt;

/// An inclusive range of 32-bit numbers, perhaps inverted; every number when its option was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    from: u32,
    to: u32,
    inverted: bool,
}

impl Numbers {
    const ALL: Numbers = Numbers { from: 0, to: u32::MAX, inverted: false };

    /// The value of an option, or every number when it was not given.
    pub(crate) fn option(parsed: &Parsed<'_>, name: &str) -> Result<Numbers, SyntaxError> {
        let Some(given) = parsed.get(name) else { return Ok(Numbers::ALL) };
        let range = value::number_range(parsed, given, 0, u64::from(u32::MAX))?;
        Ok(Numbers { from: range.from as u32, to: range.to as u32, inverted: given.inverted })
    }

    /// Whether the number is in the range or, inverted, is not.
    pub(crate) const fn contains(self, number: u32) -> bool {
        (self.from <= number && number <= self.to) != self.inverted
    }

    /// Prints `NAME[s]:[!]a[:b]`, and nothing for every number.
    pub(crate) fn list(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let not = if self.inverted { "!" } else { "" };
        match self {
            Numbers::ALL => Ok(()),
            Numbers { from, to, .. } if from == to => write!(f, "{name}:{not}{from}"),
            Numbers { from, to, .. } => write!(f, "{name}s:{not}{from}:{to}"),
        }
    }

    /// Prints ` [!] --NAME a[:b]`, and nothing for every number.
    pub(crate) fn save(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        if self == Numbers::ALL {
            return Ok(());
        }
        write!(f, "{} --{name} {}", if self.inverted { " !" } else { "" }, self.from)?;
        if self.from == self.to { Ok(()) } else { write!(f, ":{}", self.to) }
    }
}
