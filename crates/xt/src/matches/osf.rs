//! `-m osf`: the operating system that a SYN looks like. No fingerprints are loaded here, so it never fits, as on Linux
//! before `nfnl_osf` was run.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "osf",
    aliases: &[],
    families: Families::V4,
    about: "the operating system that a SYN looks like; no fingerprints are loaded here",
    kind: Kind::NoEffect("no fingerprints can be loaded, so it never matches"),
    options: &[
        Opt::new("genre", &["name"], "the operating system").inverts().required(),
        Opt::new("ttl", &["0..2"], "how the TTL is compared"),
        Opt::new("log", &["0..2"], "what is written to the log"),
    ],
    build,
    cases: &[
        Case::Same("-p tcp|--genre Linux"),
        Case::Saves("-p tcp|--log 2 --ttl 1 ! --genre Linux", "-p tcp|! --genre Linux --ttl 1 --log 2"),
        Case::Fails("-p tcp|--genre Linux --ttl 3", "out of range (0-2)"),
        Case::Fails("-p tcp|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Osf {
    genre: String,
    inverted: bool,
    ttl: Option<u8>,
    log: Option<u8>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let level = |name: &str| match parsed.get(name) {
        Some(given) => value::number(parsed, given, 0, 2).map(|n| Some(n as u8)),
        None => Ok(None),
    };
    let (ttl, log) = (level("ttl")?, level("log")?);
    let genre = parsed.required("genre")?;
    Ok(Arc::new(Osf {
        genre: value::cut(genre.value(), MAX_GENRE).to_owned(),
        inverted: genre.inverted,
        ttl,
        log,
    }))
}

impl Match for Osf {
    fn name(&self) -> &'static str {
        "osf"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        false
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --genre {}", if self.inverted { " !" } else { "" }, self.genre)?;
        if let Some(ttl) = self.ttl {
            write!(f, " --ttl {ttl}")?;
        }
        self.log.map_or(Ok(()), |log| write!(f, " --log {log}"))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " OS fingerprint match {}{}", if self.inverted { "! " } else { "" }, self.genre)
    }

    fn scope(&self) -> Scope {
        Scope {
            hooks: Hooks::of(&[Hook::Prerouting, Hook::Input, Hook::Forward]),
            protocols: Protocols::Of(&[proto::TCP]),
            ..Scope::EVERYWHERE
        }
    }

    fn warning(&self) -> Option<String> {
        Some("osf: no fingerprints can be loaded here; this never matches".to_owned())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `MAXGENRELEN` without the final zero byte.
const MAX_GENRE: usize = 31;

#[cfg(test)]
mod tests {
    use crate::testing::{No, check, tcp};
    use hairpin_wire::tcp;

    #[test]
    fn no_fingerprints() {
        check("-p tcp -m osf --genre Linux", tcp(1, 2, tcp::SYN), No);
        check("-p tcp -m osf ! --genre Linux", tcp(1, 2, tcp::SYN), No);
    }
}
