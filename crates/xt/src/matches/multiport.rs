//! `-m multiport`: a list of ports and ranges of ports.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use hairpin_wire::proto;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const SIDES: &[&str] = &["source-ports", "destination-ports", "ports"];

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "multiport",
    aliases: &[],
    families: Families::Both,
    about: "one of a list of ports",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("source-ports", &["port[,port:port...]"], "the source port is in the list")
            .alias(&["sports"])
            .inverts()
            .excludes(SIDES),
        Opt::new("destination-ports", &["port[,port:port...]"], "the destination port is in the list")
            .alias(&["dports"])
            .inverts()
            .excludes(SIDES),
        Opt::new("ports", &["port[,port:port...]"], "either port is in the list").inverts().excludes(SIDES),
    ],
    build,
    cases: &[
        Case::Same("-p tcp|--sports 53,1024:65535"),
        Case::Same("-p udp|! --dports 1:2,5"),
        Case::Same("-p sctp|--ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14:15"),
        Case::Fails("-p tcp|--ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16", "too many ports specified"),
        Case::Fails("-p tcp|--ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "too many ports specified"),
        Case::Fails("-p tcp|--ports 5:3", "invalid portrange specified"),
        Case::Fails("-p tcp|--ports 1,,2", "invalid port/service `' specified"),
        Case::Fails("-p tcp|--sports 1 --dports 2", "cannot be used together"),
        Case::Fails("-p tcp|", "no ports specified"),
        Case::Fails("--ports 1", "multiport needs `-p tcp'"),
        Case::Fails("-p icmp|--ports 1", "multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP"),
        Case::Fails("! -p tcp|--ports 1", "multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP"),
    ],
};

#[derive(Debug)]
struct Multiport {
    side: Side,
    ports: Vec<(u16, u16)>,
    inverted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Destination,
    Either,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let Some(given) = parsed.given.first() else {
        return Err(SyntaxError::parameter("no ports specified"));
    };
    let protocol = protocol(parsed).map_err(|error| error.at(given.value()))?;
    let side = match given.option.name {
        "source-ports" => Side::Source,
        "destination-ports" => Side::Destination,
        _ => Side::Either,
    };
    Ok(Arc::new(Multiport { side, ports: parse_ports(parsed, given.value(), protocol)?, inverted: given.inverted }))
}

fn protocol(parsed: &Parsed<'_>) -> Result<u8, SyntaxError> {
    match parsed.protocol {
        None | Some((0, false)) => Err(SyntaxError::parameter(
            "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'",
        )),
        Some((protocol, false)) if PROTOCOLS.contains(&protocol) => Ok(protocol),
        Some(_) => Err(SyntaxError::parameter("multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP")),
    }
}

/// A port takes one of 15 slots, a range two.
fn parse_ports(parsed: &Parsed<'_>, text: &str, protocol: u8) -> Result<Vec<(u16, u16)>, SyntaxError> {
    let too_many = || SyntaxError::parameter("too many ports specified").at(text);
    let mut free: usize = SLOTS;
    let mut ports = Vec::new();
    for word in text.split(',') {
        let (from, to) = match word.split_once(':') {
            None => (word, None),
            Some((from, to)) => (from, Some(to)),
        };
        free = free.checked_sub(if to.is_some() { 2 } else { 1 }).ok_or_else(too_many)?;
        let from = value::service_port(parsed, from, protocol)?;
        let to = match to {
            None => from,
            Some(to) => {
                let to = value::service_port(parsed, to, protocol)?;
                if from >= to {
                    return Err(SyntaxError::parameter("invalid portrange specified").at(word));
                }
                to
            }
        };
        ports.push((from, to));
    }
    Ok(ports)
}

impl Match for Multiport {
    fn name(&self) -> &'static str {
        "multiport"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        let Some((source, destination)) = look.ports_of(4) else { return look.hotdrop() };
        let listed = |port: u16| self.ports.iter().any(|(from, to)| (*from..=*to).contains(&port));
        let fits = match self.side {
            Side::Source => listed(source),
            Side::Destination => listed(destination),
            Side::Either => listed(source) || listed(destination),
        };
        fits != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " !" } else { "" })?;
        f.write_str(match self.side {
            Side::Source => " --sports ",
            Side::Destination => " --dports ",
            Side::Either => " --ports ",
        })?;
        self.write_ports(f, |port| port)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Side::Source => " multiport sports ",
            Side::Destination => " multiport dports ",
            Side::Either => " multiport ports ",
        })?;
        f.write_str(if self.inverted { " !" } else { "" })?;
        self.write_ports(f, |port| listing.port(listing.protocol, port))
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if !header.protocol_inverted && PROTOCOLS.contains(&header.protocol) {
            return Ok(());
        }
        Err(Refused::Invalid("xt_multiport: the rule must name a protocol that has ports".to_owned()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Multiport {
    fn write_ports<T: fmt::Display>(&self, f: &mut fmt::Formatter<'_>, show: impl Fn(u16) -> T) -> fmt::Result {
        for (n, (from, to)) in self.ports.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { "," }, show(*from))?;
            if from != to {
                write!(f, ":{}", show(*to))?;
            }
        }
        Ok(())
    }
}

const SLOTS: usize = 15;

const PROTOCOLS: &[u8] = &[proto::TCP, proto::UDP, proto::UDPLITE, proto::SCTP, proto::DCCP];

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment, udp};
    use hairpin_wire::{Family, build};

    #[test]
    fn lists_and_ranges() {
        check("-p udp -m multiport --dports 53,67:68", udp(1, 68), Yes);
        check("-p udp -m multiport --dports 53,67:68", udp(68, 69), No);
        check("-p udp -m multiport --ports 53,67:68", udp(68, 69), Yes);
        check("-p udp -m multiport ! --ports 53,67:68", udp(68, 69), No);
        check("-p udp -m multiport ! --sports 53,67:68", udp(69, 53), Yes);
    }

    #[test]
    fn fragments_and_short_headers() {
        check("-p udp -m multiport ! --ports 53", later_fragment(17, 1, &[0; 20]), No);
        check("-p udp -m multiport ! --ports 53", build::ip(Family::V4, SRC, DST, 17, &[0; 3]), Hotdrop);
        check("-p udp -m multiport ! --ports 53", build::ip(Family::V4, SRC, DST, 17, &[0; 4]), Yes);
    }
}
