//! `-m socket`: a socket of this host would take the packet. No sockets are known here, so it never fits.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::rule::{Listing, Match, Needs, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "socket",
    aliases: &[],
    families: Families::Both,
    about: "a socket of this host would take the packet; none is known here",
    kind: Kind::Partly("no socket of this host is known, so it never matches"),
    options: &[
        Opt::switch("transparent", "only sockets that are transparent"),
        Opt::switch("nowildcard", "also sockets that are bound to no address"),
        Opt::switch("restore-skmark", "give the packet the socket's mark"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Saves("--restore-skmark --nowildcard --transparent", "--transparent --nowildcard --restore-skmark"),
        Case::Fails("! --transparent", "cannot be inverted"),
    ],
};

#[derive(Debug)]
struct Socket {
    transparent: bool,
    no_wildcard: bool,
    restore_mark: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Socket {
        transparent: parsed.has("transparent"),
        no_wildcard: parsed.has("nowildcard"),
        restore_mark: parsed.has("restore-skmark"),
    }))
}

impl Match for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        false
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.transparent, " --transparent"),
            (self.no_wildcard, " --nowildcard"),
            (self.restore_mark, " --restore-skmark"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, text)| f.write_str(text))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" socket")?;
        self.save(f)
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Prerouting, Hook::Input]), ..Scope::EVERYWHERE }
    }

    fn needs(&self) -> Needs {
        Needs::DEFRAGMENT
    }

    fn warning(&self) -> Option<String> {
        Some("socket: the sockets of this host are not known here; this never matches".to_owned())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, check, udp};

    #[test]
    fn no_socket_is_known() {
        check("-m socket", udp(1, 2), No);
        check("-m socket --nowildcard", udp(1, 2), No);
    }
}
