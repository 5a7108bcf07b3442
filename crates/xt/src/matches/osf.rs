//! `-m osf`: the operating system that a SYN looks like, by fingerprints in p0f's form.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::log_line::{LogFlags, log_line};
use hairpin_engine::osf::{Fingerprint, Syn, TtlCheck};
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_engine::{Event, Look};
use hairpin_wire::{Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "osf",
    aliases: &[],
    families: Families::V4,
    about: "the operating system that a SYN looks like, by the fingerprints that the host file names",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("genre", &["name"], "the operating system").inverts().required(),
        Opt::new("ttl", &["0..2"], "how the TTL is compared"),
        Opt::new("log", &["0..2"], "what is written to the log; any system fits then"),
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
    /// Read and saved; the kernel does not look at it.
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

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(syn) = Syn::of_packet(look.bytes()) else { return false };
        let check = match self.ttl {
            None | Some(0) => TtlCheck::Same,
            Some(1) => TtlCheck::AtMost,
            Some(_) => TtlCheck::Ignored,
        };
        let is_near = || {
            let addresses = look.iif().map_or(&[][..], |device| &device.addresses);
            let has = |prefix| look.src().masked(Family::V4.mask(prefix));
            let mut own = addresses.iter().filter(|own| own.family == Family::V4);
            own.any(|own| has(own.prefix) == own.addr.masked(Family::V4.mask(own.prefix)))
        };
        // A rule that logs takes every system for the one it asks for.
        let all = look.net().fingerprints.iter().filter(|system| self.log.is_some() || system.genre == self.genre);
        let mut fitting = all.filter(|system| system.fits(&syn, check, is_near));
        let Some(log) = self.log else { return fitting.next().is_some() };
        let mut found = false;
        for system in fitting {
            found = true;
            self.tell(look, Some(system));
            if log == LOG_FIRST {
                break;
            }
        }
        if !found {
            self.tell(look, None);
        }
        found
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
        self.inverted.then(|| "osf: the kernel does not look at the `!'; the rule means what it means without".to_owned())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Osf {
    /// A line of the kernel's log with the packet: the prefix ends with a line end of its own.
    fn tell(&self, look: &Look<'_>, system: Option<&Fingerprint>) {
        let Some((sport, dport)) = look.ports() else { return };
        let (src, dst) = (look.src().display(Family::V4), look.dst().display(Family::V4));
        let prefix = match system {
            Some(Fingerprint { genre, version, subtype, ttl, .. }) => {
                let hops = i32::from(*ttl) - i32::from(look.ttl());
                format!("{genre} [{version}:{subtype}] : {src}:{sport} -> {dst}:{dport} hops={hops}\n")
            }
            None => format!("Remote OS is not known: {src}:{sport} -> {dst}:{dport}\n"),
        };
        look.tell(Event::Log { level: NOTICE, line: log_line(look, value::cut(&prefix, MAX_PREFIX), LogFlags::TRACE) });
    }
}

/// `MAXGENRELEN` without the final zero byte.
const MAX_GENRE: usize = 31;
/// `NF_OSF_LOGLEVEL_FIRST`; 0 and 2 tell of all that fit.
const LOG_FIRST: u8 = 1;
/// `NF_LOG_PREFIXLEN` without the final zero byte.
const MAX_PREFIX: usize = 127;
/// The level of a line whose rule gives none.
const NOTICE: u8 = 5;

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, SRC, Yes, check_in, host, probe};
    use hairpin_engine::net::IfIndex;
    use hairpin_engine::osf::Fingerprints;
    use hairpin_engine::probe::Probe;
    use hairpin_engine::{Event, Hook};
    use hairpin_wire::{Family, build, tcp};

    /// A SYN of 44 bytes with DF, a segment size of 1000 and a window of four segments.
    fn syn(ttl: u8) -> Probe {
        let options = [2, 4, 0x03, 0xe8];
        let segment = build::Tcp { src_port: 5, dst_port: 80, flags: tcp::SYN, window: 4000, options: &options, ..Default::default() };
        let mut packet = segment.packet(Family::V4, SRC, DST);
        packet[6] |= 0x40;
        packet[8] = ttl;
        let mut probe = probe(packet);
        probe.hook = Hook::Prerouting;
        probe.net = host();
        probe.packet.meta.iif = Some(IfIndex(2));
        let text = "S4:64:1:44:M*:Linux:2.6:small:Linux 2.6\n%1000:128:1:44:M*:Windows:XP::Windows XP\n\
                    S4:64:1:44:N,M*:BSD:1::other options\n";
        probe.net.fingerprints = Fingerprints::parse(text).unwrap();
        probe
    }

    #[test]
    fn by_window_options_and_ttl() {
        check_in(&mut syn(64), "-p tcp -m osf --genre Linux", Yes);
        check_in(&mut syn(64), "-p tcp -m osf ! --genre Linux", Yes);
        check_in(&mut syn(64), "-p tcp -m osf --genre Windows", No);
        check_in(&mut syn(64), "-p tcp -m osf --genre BSD --ttl 2", No);
        check_in(&mut syn(63), "-p tcp -m osf --genre Linux", No);
        check_in(&mut syn(63), "-p tcp -m osf --genre Linux --ttl 1", Yes);
        check_in(&mut syn(128), "-p tcp -m osf --genre Linux --ttl 1", No);
        check_in(&mut syn(200), "-p tcp -m osf --genre Linux --ttl 2", Yes);
    }

    #[test]
    fn one_that_logs_takes_any() {
        let mut told = syn(63);
        check_in(&mut told, "-p tcp -m osf --genre BSD --ttl 2 --log 0", Yes);
        let lines: Vec<String> = told.told.borrow().iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("Linux [2.6:small] : 10.0.0.1:5 -> 10.0.0.2:80 hops=1"), "{lines:?}");
        let mut first = syn(63);
        check_in(&mut first, "-p tcp -m osf --genre BSD --ttl 2 --log 1", Yes);
        assert_eq!(first.told.borrow().len(), 1);
        let mut unknown = syn(1);
        check_in(&mut unknown, "-p tcp -m osf --genre BSD --log 1", No);
        assert!(matches!(&unknown.told.borrow()[..], [Event::Log { line, .. }] if line.starts_with("Remote OS is not known")));
    }
}
