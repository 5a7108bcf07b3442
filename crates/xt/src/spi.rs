//! The security parameter index of an IPsec header: what `-m ah` (IPv4) and `-m esp` share.

use crate::numbers::Numbers;
use crate::option::{Parsed, SyntaxError};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::{ipsec, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Of which protocol a rule compares the index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ipsec {
    /// Authentication header.
    Ah,
    /// Encapsulating security payload.
    Esp,
}

/// A comparison of the index of a packet that is of the protocol.
#[derive(Debug)]
struct Test {
    ipsec: Ipsec,
    spis: Numbers,
}

/// Reads the option `ahspi` or `espspi`.
pub(crate) fn test(parsed: &Parsed<'_>, ipsec: Ipsec) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Test { ipsec, spis: Numbers::option(parsed, ipsec.option())? }))
}

impl Ipsec {
    fn protocol(self) -> u8 {
        match self {
            Ipsec::Ah => proto::AH,
            Ipsec::Esp => proto::ESP,
        }
    }

    fn option(self) -> &'static str {
        match self {
            Ipsec::Ah => "ahspi",
            Ipsec::Esp => "espspi",
        }
    }
}

impl Match for Test {
    fn name(&self) -> &'static str {
        match self.ipsec {
            Ipsec::Ah => "ah",
            Ipsec::Esp => "esp",
        }
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match ipsec::spi(self.ipsec.protocol(), look.l4()) {
            Some(spi) => self.spis.contains(spi),
            None => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spis.save(f, self.ipsec.option())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        // AH has its space whether an index follows or not.
        let (begin, name) = match self.ipsec {
            Ipsec::Ah => (" ah ", "spi"),
            Ipsec::Esp => (" esp", " spi"),
        };
        f.write_str(begin)?;
        self.spis.list(f, name)
    }

    fn scope(&self) -> Scope {
        let protocols = match self.ipsec {
            Ipsec::Ah => &[proto::AH],
            Ipsec::Esp => &[proto::ESP],
        };
        Scope { protocols: Protocols::Of(protocols), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
