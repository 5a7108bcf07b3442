//! Values of options: numbers, ranges, ports, addresses, masks, names, as iptables' own option parser reads them and in its words.
//!
//! Functions that take a [`Given`](crate::option::Given) read its first word, and their names follow iptables' value types (`XTTYPE_UINT32RC` is
//! [`number_range`]). Functions that take a text serve parts of a word and words after the first. What is a name is asked of
//! [`Parsed::names`](crate::option::Parsed::names). Messages are those of iptables 1.8.11.

mod addr;
mod icmp;
mod mask;
mod named;
mod number;
mod port;
mod text;

pub use addr::*;
pub use icmp::*;
pub use mask::*;
pub use named::*;
pub use number::*;
pub use port::*;
pub use text::*;

#[cfg(test)]
mod testing {
    use crate::option::{Given, NoNames, Opt, Parsed, SyntaxError};
    use hairpin_engine::rule::TableId;
    use hairpin_wire::Family;

    /// Reads this text as an option's value.
    pub(super) fn with<T>(
        text: &str,
        read: impl FnOnce(&Parsed<'_>, &Given) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        static OPTION: Opt = Opt::new("opt", &["value"], "");
        let given = Given { option: &OPTION, name: "opt", inverted: false, words: vec![text.to_owned()] };
        let parsed = Parsed {
            extension: "ext",
            family: Family::V4,
            table: TableId::Filter,
            chain: "INPUT",
            protocol: None,
            names: &NoNames,
            given: Vec::new(),
            complete: true,
            notices: Default::default(),
        };
        read(&parsed, &given)
    }
}
