//! `-m connbytes`: how much the packet's connection has carried.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "connbytes",
    aliases: &[],
    families: Families::Both,
    about: "how much the packet's connection has carried",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("connbytes", &["from[:to]"], "at least so much, and at most").inverts().required(),
        Opt::new("connbytes-dir", &["original|reply|both"], "which direction is looked at").required(),
        Opt::new("connbytes-mode", &["packets|bytes|avgpkt"], "packets, bytes, or bytes for each packet").required(),
    ],
    build,
    cases: &[
        Case::Same("--connbytes 0:1000 --connbytes-mode packets --connbytes-dir both"),
        Case::Same("! --connbytes 5:10 --connbytes-mode avgpkt --connbytes-dir original"),
        Case::Same("! --connbytes 5 --connbytes-mode bytes --connbytes-dir reply"),
        Case::Saves(
            "--connbytes 1000: --connbytes-mode bytes --connbytes-dir both",
            "--connbytes 1000 --connbytes-mode bytes --connbytes-dir both",
        ),
        Case::Saves(
            "--connbytes : --connbytes-dir both --connbytes-mode bytes",
            "--connbytes 0 --connbytes-mode bytes --connbytes-dir both",
        ),
        Case::Fails("--connbytes 5 --connbytes-mode foo --connbytes-dir both", "Unknown --connbytes-mode `foo'"),
        Case::Fails("--connbytes 5 --connbytes-mode bytes --connbytes-dir foo", "Unknown --connbytes-dir `foo'"),
        Case::Fails("--connbytes 5 --connbytes-mode bytes", "must be specified"),
        Case::Fails("--connbytes 5:3 --connbytes-mode bytes --connbytes-dir both", "out of range"),
    ],
};

/// A `from` above `to` stands for what is not between them, as in the kernel.
#[derive(Debug)]
struct ConnBytes {
    from: u64,
    to: u64,
    what: What,
    direction: Direction,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Packets,
    Bytes,
    Average,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Original,
    Reply,
    Both,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let direction = parsed.get("connbytes-dir").map(parse_direction).transpose()?;
    let what = parsed.get("connbytes-mode").map(parse_what).transpose()?;
    let given = parsed.required("connbytes")?;
    let range = value::number_range(parsed, given, 0, u64::MAX)?;
    let to = if range.is_range { range.to } else { u64::MAX };
    let (from, to) = if given.inverted { (to, range.from) } else { (range.from, to) };
    parsed.required("connbytes-dir").and(parsed.required("connbytes-mode"))?;
    Ok(Arc::new(ConnBytes {
        from,
        to,
        what: what.unwrap_or(What::Packets),
        direction: direction.unwrap_or(Direction::Both),
    }))
}

fn parse_direction(given: &Given) -> Result<Direction, SyntaxError> {
    match given.value() {
        "original" => Ok(Direction::Original),
        "reply" => Ok(Direction::Reply),
        "both" => Ok(Direction::Both),
        other => Err(SyntaxError::parameter(format!("Unknown --connbytes-dir `{other}'")).at(other)),
    }
}

fn parse_what(given: &Given) -> Result<What, SyntaxError> {
    match given.value() {
        "packets" => Ok(What::Packets),
        "bytes" => Ok(What::Bytes),
        "avgpkt" => Ok(What::Average),
        other => Err(SyntaxError::parameter(format!("Unknown --connbytes-mode `{other}'")).at(other)),
    }
}

impl Match for ConnBytes {
    fn name(&self) -> &'static str {
        "connbytes"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        // Also when inverted: what is not counted does not fit.
        let Some([original, reply]) = look.conn_counters() else { return false };
        let counted = match self.direction {
            Direction::Original => original,
            Direction::Reply => reply,
            Direction::Both => original + reply,
        };
        let amount = match self.what {
            What::Packets => counted.packets,
            What::Bytes => counted.bytes,
            What::Average => counted.bytes.checked_div(counted.packets).unwrap_or(0),
        };
        if self.to >= self.from {
            (self.from..=self.to).contains(&amount)
        } else {
            amount < self.to || amount > self.from
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--", [" --connbytes-mode ", " --connbytes-dir "])
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        self.write(f, "", [" connbytes mode ", " connbytes direction "])
    }

    fn needs(&self) -> Needs {
        Needs::ACCOUNTING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ConnBytes {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str, [mode, direction]: [&str; 2]) -> fmt::Result {
        let inverted = self.from > self.to;
        let (from, to) = if inverted { (self.to, self.from) } else { (self.from, self.to) };
        write!(f, "{} {dashes}connbytes {from}", if inverted { " !" } else { "" })?;
        if to != 0 && to < u64::MAX {
            write!(f, ":{to}")?;
        }
        f.write_str(mode)?;
        f.write_str(match self.what {
            What::Packets => "packets",
            What::Bytes => "bytes",
            What::Average => "avgpkt",
        })?;
        f.write_str(direction)?;
        f.write_str(match self.direction {
            Direction::Original => "original",
            Direction::Reply => "reply",
            Direction::Both => "both",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, No, Yes, belongs, check_in, connection, probe, udp};
    use hairpin_engine::rule::Counter;
    use hairpin_engine::track::Class;

    #[test]
    fn counts() {
        let mut probe = probe(udp(5, 80));
        let counters = [Counter { packets: 3, bytes: 300 }, Counter { packets: 1, bytes: 1000 }];
        let id = connection(&mut probe, 17, 5, |conn| conn.set_counters(Some(counters)));
        belongs(&mut probe, id, Class::New);
        let mut ask = |rule: &str, expected: Answer| check_in(&mut probe, &format!("-m connbytes {rule}"), expected);
        ask("--connbytes 3 --connbytes-mode packets --connbytes-dir original", Yes);
        ask("--connbytes 3 --connbytes-mode packets --connbytes-dir reply", No);
        ask("--connbytes 1300:1300 --connbytes-mode bytes --connbytes-dir both", Yes);
        ask("! --connbytes 1300:1300 --connbytes-mode bytes --connbytes-dir both", Yes);
        ask("! --connbytes 1000:1300 --connbytes-mode bytes --connbytes-dir both", No);
        ask("--connbytes 325:325 --connbytes-mode avgpkt --connbytes-dir both", Yes);
        ask("--connbytes :99 --connbytes-mode avgpkt --connbytes-dir original", No);
    }

    #[test]
    fn what_is_not_counted() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir both", No);
        let id = connection(&mut probe, 17, 5, |_| {});
        belongs(&mut probe, id, Class::New);
        check_in(&mut probe, "-m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir both", No);
        check_in(&mut probe, "-m connbytes ! --connbytes 5:6 --connbytes-mode bytes --connbytes-dir both", No);
    }
}
