//! The port options that the matches on transport protocols share: `--sport` and `--dport`.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::value;
use hairpin_engine::Look;
use hairpin_engine::rule::Listing;
use hairpin_wire::Family;
use hairpin_wire::tcp::Tcp;
use std::fmt;

/// `--sport`.
pub(crate) const SPORT: Opt =
    Opt::new("source-port", &["port[:port]"], "source port or range of ports").alias(&["sport"]).inverts();
/// `--dport`.
pub(crate) const DPORT: Opt =
    Opt::new("destination-port", &["port[:port]"], "destination port or range of ports").alias(&["dport"]).inverts();

/// The TCP header as matches find it that do not ask for fragments: of a later IPv6 fragment Linux takes the network header
/// for it.
pub(crate) fn tcp_header<'a>(look: &Look<'a>) -> Option<Tcp<&'a [u8]>> {
    if look.family() == Family::V6 && look.is_later_fragment() { Tcp::new(look.bytes()) } else { look.tcp() }
}

/// A range of ports, perhaps inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    min: u16,
    max: u16,
    inverted: bool,
}

impl Ports {
    /// Every port.
    pub(crate) const ALL: Ports = Ports { min: 0, max: u16::MAX, inverted: false };

    /// The value of an option; names are services of `protocol`.
    pub(crate) fn parse(parsed: &Parsed<'_>, given: &Given, protocol: u8) -> Result<Ports, SyntaxError> {
        let (min, max) = value::service_range(parsed, given.value(), protocol)?;
        Ok(Ports { min, max, inverted: given.inverted })
    }

    /// The value of the option of this name, or every port when it was not given.
    pub(crate) fn option(parsed: &Parsed<'_>, name: &str, protocol: u8) -> Result<Ports, SyntaxError> {
        parsed.get(name).map_or(Ok(Ports::ALL), |given| Ports::parse(parsed, given, protocol))
    }

    /// As [`Ports::option`], but read as the resolver reads ports: by services of any protocol, and in its words.
    pub(crate) fn resolved(parsed: &Parsed<'_>, name: &str) -> Result<Ports, SyntaxError> {
        parsed.get(name).map_or(Ok(Ports::ALL), |given| Ports::resolve(parsed, given))
    }

    /// The value of an option as the resolver reads ports.
    pub(crate) fn resolve(parsed: &Parsed<'_>, given: &Given) -> Result<Ports, SyntaxError> {
        let (min, max) = value::port_range(parsed, given)?;
        Ok(Ports { min, max, inverted: given.inverted })
    }

    /// Whether the port is in the range or, inverted, is not.
    pub(crate) const fn contains(self, port: u16) -> bool {
        (self.min <= port && port <= self.max) != self.inverted
    }

    /// Prints ` NAME[s]:[!]a[:b]` with the names of services over `protocol`, and nothing for every port.
    pub(crate) fn list(
        self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        protocol: u8,
        listing: &Listing<'_>,
    ) -> fmt::Result {
        if self == Ports::ALL {
            return Ok(());
        }
        let not = if self.inverted { "!" } else { "" };
        let (min, max) = (listing.port(protocol, self.min), listing.port(protocol, self.max));
        if self.min == self.max { write!(f, " {name}:{not}{min}") } else { write!(f, " {name}s:{not}{min}:{max}") }
    }

    /// Prints ` [!] --NAME a[:b]`.
    pub(crate) fn save(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        write!(f, "{} --{name} {}", if self.inverted { " !" } else { "" }, self.min)?;
        if self.min == self.max { Ok(()) } else { write!(f, ":{}", self.max) }
    }
}
