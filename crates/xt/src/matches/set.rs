//! `-m set`: the packet is in a set. Follows `xt_set.c`.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::set_use::SetUse;
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_engine::set::{Ask, Compare, Directions, SetId, SkbInfo};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "set",
    aliases: &[],
    families: Families::Both,
    about: "the packet is in a set",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("match-set", &["name", "flags"], "the set, and for each component of its elements src or dst")
            .alias(&["set"])
            .inverts()
            .repeats(),
        Opt::switch("return-nomatch", "only exceptions of the set match").inverts().repeats(),
        Opt::switch("update-counters", "the element found counts the packet").inverts().repeats(),
        Opt::switch("update-subcounters", "so does the element of a list's set").inverts().repeats(),
        Opt::new("packets-eq", &["value"], "the element's packet counter is the value").inverts().repeats(),
        Opt::new("packets-lt", &["value"], "it is less").inverts().repeats(),
        Opt::new("packets-gt", &["value"], "it is more").inverts().repeats(),
        Opt::new("bytes-eq", &["value"], "the element's byte counter is the value").inverts().repeats(),
        Opt::new("bytes-lt", &["value"], "it is less").inverts().repeats(),
        Opt::new("bytes-gt", &["value"], "it is more").inverts().repeats(),
    ],
    build,
    cases: &[
        Case::Same("--match-set both src"),
        Case::Same("! --match-set both src,dst,src"),
        Case::Saves("--set both dst", "--match-set both dst"),
        Case::Saves("--match-set both srcx,dsty", "--match-set both src,dst"),
        Case::Saves(
            "! --bytes-eq 0x10 ! --update-counters ! --update-subcounters --return-nomatch --match-set both src",
            "--match-set both src --return-nomatch ! --update-counters ! --update-subcounters ! --bytes-eq 16",
        ),
        Case::Saves("--match-set both src --update-counters", "--match-set both src"),
        Case::Same("--match-set both src,dst --packets-lt 3 --bytes-gt 18446744073709551615"),
        Case::Fails("", "You must specify `--match-set' with proper arguments"),
        Case::Fails("--match-set both foo", "(the comma separated list of) 'src' or 'dst'"),
        Case::Fails("--match-set both src,", "(the comma separated list of) 'src' or 'dst'"),
        Case::Fails("--match-set both src,src,src,src,src,src,src", "Can't be more src/dst options than 6."),
        Case::Fails("--match-set both src --match-set both dst", "--match-set can be specified only once"),
        Case::Fails("--match-set both src ! --packets-lt 3", "--packets-lt option cannot be inverted"),
        Case::Fails("--match-set both src --packets-lt 3 --packets-eq 3", "only one of the --packets-[eq|lt|gt]"),
        Case::Fails("--match-set both src --bytes-eq x", "Cannot parse x as a counter value"),
        Case::Fails("--match-set both src ! --return-nomatch", "--return-nomatch flag cannot be inverted"),
    ],
};

#[derive(Debug)]
struct Set {
    of: SetUse,
    /// The name once more, as the engine asks for it.
    names: [String; 1],
    inverted: bool,
    ask: Ask,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let (mut of, mut inverted) = (None, false);
    let mut ask = Ask::default();
    for given in &parsed.given {
        match given.option.name {
            "match-set" => {
                if given.name == "set" {
                    parsed.notice("--set option deprecated, please use --match-set");
                }
                inverted = given.inverted;
                of = Some(SetUse::parse(parsed, given, of.as_ref())?);
            }
            "return-nomatch" if given.inverted => {
                return Err(SyntaxError::parameter("--return-nomatch flag cannot be inverted").at("--return-nomatch"));
            }
            "return-nomatch" => ask.return_nomatch = true,
            "update-counters" => ask.skip_counters |= given.inverted,
            "update-subcounters" => ask.skip_subcounters |= given.inverted,
            name if name.starts_with("packets") => ask.packets = Some(compare(given, "packets", ask.packets)?),
            _ => ask.bytes = Some(compare(given, "bytes", ask.bytes)?),
        }
    }
    let of = of.ok_or_else(|| SyntaxError::parameter("You must specify `--match-set' with proper arguments"))?;
    ask.directions = of.directions;
    Ok(Arc::new(Set { names: [of.name.clone()], of, inverted, ask }))
}

fn compare(given: &Given, what: &str, known: Option<Compare>) -> Result<Compare, SyntaxError> {
    let refuse = |text: String| Err(SyntaxError::parameter(text).at(format!("--{}", given.option.name)));
    if known.is_some() {
        return refuse(format!("only one of the --{what}-[eq|lt|gt] is allowed"));
    }
    let is_equal = given.option.name.ends_with("-eq");
    if given.inverted && !is_equal {
        return refuse(format!("--{} option cannot be inverted", given.option.name));
    }
    let Some(number) = value::parse_number(given.value()) else {
        let text = format!("Cannot parse {} as a counter value", given.value());
        return Err(SyntaxError::parameter(text).at(given.value()));
    };
    Ok(match given.option.name.rsplit('-').next() {
        Some("lt") => Compare::Less(number),
        Some("gt") => Compare::More(number),
        _ if given.inverted => Compare::NotEqual(number),
        _ => Compare::Equal(number),
    })
}

impl Match for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn sets(&self) -> &[String] {
        &self.names
    }

    fn asks(&self) -> Option<Directions> {
        Some(self.ask.directions)
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let id = look.memory::<Vec<Option<SetId>>>().and_then(|ids| ids.first().copied().flatten());
        let is_in = match (id, look.sets()) {
            (Some(id), Some(mut sets)) => sets.matches(id, look, &self.ask, &mut SkbInfo::default()),
            _ => false,
        };
        is_in != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Set {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        write!(f, "{} {dashes}match-set {}", if self.inverted { " !" } else { "" }, self.of)?;
        if self.ask.return_nomatch {
            write!(f, " {dashes}return-nomatch")?;
        }
        if self.ask.skip_counters {
            write!(f, " ! {dashes}update-counters")?;
        }
        if self.ask.skip_subcounters {
            write!(f, " ! {dashes}update-subcounters")?;
        }
        for (what, compare) in [("packets", self.ask.packets), ("bytes", self.ask.bytes)] {
            match compare {
                Some(Compare::Equal(n)) => write!(f, " {dashes}{what}-eq {n}")?,
                Some(Compare::NotEqual(n)) => write!(f, " ! {dashes}{what}-eq {n}")?,
                Some(Compare::Less(n)) => write!(f, " {dashes}{what}-lt {n}")?,
                Some(Compare::More(n)) => write!(f, " {dashes}{what}-gt {n}")?,
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{parse, probe, udp};
    use hairpin_engine::probe::Answer;
    use hairpin_engine::set::{Entry, Ext, Kind, Options};
    use hairpin_engine::time::Instant;
    use hairpin_wire::{Addr, Family};

    /// A datagram from 10.0.0.1 to 10.0.0.2 before a set with 10.0.0.1, counted from nothing.
    #[track_caller]
    fn check(rule: &str, expected: Answer) {
        let mut probe = probe(udp(1, 2));
        let sets = probe.sets.get_mut();
        let counting = Options { counters: true, ..Options::default() };
        sets.create("s", Kind::HashIp, &counting, false).expect("created");
        sets.create("n", Kind::HashNet, &Options::default(), false).expect("created");
        let ip = |ip: u32| Entry { ip: Some(Addr::v4(ip)), ..Entry::default() };
        sets.add("s", &Entry { ext: Ext::default(), ..ip(0x0a00_0001) }, false, Instant::default()).expect("added");
        sets.add("n", &Entry { cidr: Some(24), ..ip(0x0a00_0000) }, false, Instant::default()).expect("added");
        sets.add("n", &Entry { nomatch: true, ..ip(0x0a00_0001) }, false, Instant::default()).expect("added");
        let loaded = probe.load(parse(Family::V4, rule).expect("a rule"));
        assert_eq!(probe.ask(&loaded), expected, "{rule}");
    }

    #[test]
    fn asks_the_set() {
        check("-m set --match-set s src", Answer::Yes);
        check("-m set --match-set s dst", Answer::No);
        check("-m set ! --match-set s dst", Answer::Yes);
        check("-m set --match-set s src,dst", Answer::Yes);
        check("-m set --match-set gone src", Answer::No);
    }

    #[test]
    fn exceptions_are_out_unless_asked_for() {
        check("-m set --match-set n src", Answer::No);
        check("-m set --match-set n dst", Answer::Yes);
        check("-m set --match-set n src --return-nomatch", Answer::Yes);
        check("-m set --match-set n dst --return-nomatch", Answer::No);
    }

    #[test]
    fn the_packet_counts_before_counters_are_compared() {
        check("-m set --match-set s src --packets-eq 1", Answer::Yes);
        check("-m set --match-set s src --packets-eq 1 ! --update-counters", Answer::No);
        check("-m set --match-set s src ! --packets-eq 1", Answer::No);
        check("-m set --match-set s src --bytes-eq 38", Answer::Yes);
    }
}
