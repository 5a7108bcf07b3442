//! `-m conntrack`: what connection tracking knows of the packet and its connection.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs};
use hairpin_engine::track::{Class, Conn, Direction, Status, Tracked};
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "conntrack",
    aliases: &[],
    families: Families::Both,
    about: "state and other facts of the packet's connection",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("ctstate", &["state[,state...]"], "INVALID, NEW, ESTABLISHED, RELATED, UNTRACKED, SNAT or DNAT").inverts(),
        Opt::new("ctproto", &["proto"], "the transport protocol").inverts(),
        Opt::new("ctorigsrc", &["address[/mask]"], "source in original direction").inverts(),
        Opt::new("ctorigdst", &["address[/mask]"], "destination in original direction").inverts(),
        Opt::new("ctreplsrc", &["address[/mask]"], "source in reply direction").inverts(),
        Opt::new("ctrepldst", &["address[/mask]"], "destination in reply direction").inverts(),
        Opt::new("ctorigsrcport", &["port[:port]"], "source port in original direction").inverts(),
        Opt::new("ctorigdstport", &["port[:port]"], "destination port in original direction").inverts(),
        Opt::new("ctreplsrcport", &["port[:port]"], "source port in reply direction").inverts(),
        Opt::new("ctrepldstport", &["port[:port]"], "destination port in reply direction").inverts(),
        Opt::new("ctstatus", &["status[,status...]"], "NONE, EXPECTED, SEEN_REPLY, ASSURED or CONFIRMED").inverts(),
        Opt::new("ctexpire", &["seconds[:seconds]"], "seconds that the connection has left").inverts(),
        Opt::new("ctdir", &["ORIGINAL|REPLY"], "direction of the packet"),
    ],
    build,
    cases: &[
        Case::Same("--ctstate NEW,ESTABLISHED"),
        Case::Same("! --ctstate SNAT,DNAT"),
        Case::Saves("--ctstate est,rel", "--ctstate RELATED,ESTABLISHED"),
        Case::Saves("--ctproto tcp", "--ctproto 6"),
        Case::Same("--ctstatus NONE"),
        Case::Same("! --ctstatus SEEN_REPLY,CONFIRMED"),
        Case::Same("--ctexpire 0:4294967295"),
        Case::Saves("--ctexpire 3:3", "--ctexpire 3"),
        Case::Saves("--ctorigsrcport :", "--ctorigsrcport 0:65535"),
        Case::Same("! --ctrepldstport 3:4"),
        Case::Same("--ctdir REPLY"),
        Case::Fails("--ctstate wrong", "Bad ctstate \"wrong\""),
        Case::Fails("--ctstate NEW,", "Bad ctstate \"\""),
        Case::Fails("--ctstatus foo", "Bad ctstatus \"foo\""),
        Case::Fails("--ctproto 0", "rule would never match protocol"),
        Case::Fails("! --ctproto 0", "condition would always match protocol"),
        Case::Fails("--ctdir orig", "Bad value for \"--ctdir\" option: \"orig\""),
        Case::Fails("! --ctdir REPLY", "cannot be inverted"),
        Case::Fails("--ctorigdstport 4:3", "negative"),
        Case::Fails("", "At least one option is required"),
    ],
};

/// The states that `--ctstate` and `--state` name, one bit each.
pub(super) const STATES: &[(&str, u8)] = &[
    ("INVALID", INVALID),
    ("NEW", NEW),
    ("RELATED", RELATED),
    ("ESTABLISHED", ESTABLISHED),
    ("UNTRACKED", UNTRACKED),
    ("SNAT", SNAT),
    ("DNAT", DNAT),
];

const INVALID: u8 = 1;
const NEW: u8 = 1 << 1;
const RELATED: u8 = 1 << 2;
const ESTABLISHED: u8 = 1 << 3;
const UNTRACKED: u8 = 1 << 4;
const SNAT: u8 = 1 << 5;
const DNAT: u8 = 1 << 6;

/// The state bit of a packet.
pub(super) fn state_of(look: &Look<'_>) -> u8 {
    match look.tracked() {
        // What `-j CT` attached before tracking counts as a connection's first packet.
        Tracked::No if look.template().is_some() => NEW,
        Tracked::No => INVALID,
        Tracked::Untracked => UNTRACKED,
        Tracked::Conn(_, Class::New) => NEW,
        Tracked::Conn(_, Class::Related(_)) => RELATED,
        Tracked::Conn(_, Class::Established(_)) => ESTABLISHED,
    }
}

/// Reads a list of names; each may be any beginning of a name, of either case. `what` is for the refusal.
pub(super) fn parse_list(names: &[(&str, u8)], what: &str, text: &str) -> Result<u8, SyntaxError> {
    let mut bits = 0;
    let mut rest = text;
    loop {
        let (word, after) = rest.split_once(',').map_or((rest, None), |(word, after)| (word, Some(after)));
        let starts = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        match names.iter().find(|(name, _)| !word.is_empty() && starts(name)) {
            Some((_, bit)) => bits |= bit,
            None => return Err(SyntaxError::parameter(format!("Bad {what} \"{rest}\"")).at(word)),
        }
        match after {
            Some(after) => rest = after,
            None => return Ok(bits),
        }
    }
}

/// Writes the names of the bits with commas between.
pub(super) fn save_list(f: &mut fmt::Formatter<'_>, names: &[(&str, u8)], bits: u8) -> fmt::Result {
    let mut separator = "";
    for (name, _) in names.iter().filter(|(_, bit)| bits & bit != 0) {
        write!(f, "{separator}{name}")?;
        separator = ",";
    }
    Ok(())
}

/// One condition, perhaps inverted.
#[derive(Clone, Copy, Debug)]
struct If<T> {
    value: T,
    inverted: bool,
}

impl<T> If<T> {
    fn not(&self) -> &'static str {
        if self.inverted { " !" } else { "" }
    }
}

#[derive(Debug)]
struct Conntrack {
    family: Family,
    state: Option<If<u8>>,
    protocol: Option<If<u8>>,
    /// In the order of [`ADDRESSES`]: address and mask.
    addresses: [Option<If<(Addr, Addr)>>; 4],
    /// In the order of [`PORTS`]: lowest and highest.
    ports: [Option<If<(u16, u16)>>; 4],
    status: Option<If<u8>>,
    expires: Option<If<(u32, u32)>>,
    direction: Option<Direction>,
}

const ADDRESSES: [&str; 4] = ["ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"];
const PORTS: [&str; 4] = ["ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"];

const STATUSES: &[(&str, u8)] = &[("EXPECTED", 1), ("SEEN_REPLY", 2), ("ASSURED", 4), ("CONFIRMED", 8)];
const STATUSES_AND_NONE: &[(&str, u8)] =
    &[("NONE", 0), ("EXPECTED", 1), ("SEEN_REPLY", 2), ("ASSURED", 4), ("CONFIRMED", 8)];

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    if parsed.given.is_empty() {
        return Err(parsed.error("At least one option is required"));
    }
    let mut addresses = [None; 4];
    for (place, name) in addresses.iter_mut().zip(ADDRESSES) {
        *place = condition(parsed, name, |given| value::host_mask(parsed, given))?;
    }
    let mut ports = [None; 4];
    for (place, name) in ports.iter_mut().zip(PORTS) {
        *place = condition(parsed, name, |given| value::port_range(parsed, given))?;
    }
    Ok(Arc::new(Conntrack {
        family: parsed.family,
        state: condition(parsed, "ctstate", |given| parse_list(STATES, "ctstate", given.value()))?,
        protocol: condition(parsed, "ctproto", |given| protocol(parsed, given))?,
        addresses,
        ports,
        status: condition(parsed, "ctstatus", |given| parse_list(STATUSES_AND_NONE, "ctstatus", given.value()))?,
        expires: condition(parsed, "ctexpire", |given| {
            let range = value::number_range(parsed, given, 0, u64::from(u32::MAX))?;
            Ok((range.from as u32, range.to as u32))
        })?,
        direction: condition(parsed, "ctdir", |given| direction(parsed, given))?.map(|c| c.value),
    }))
}

fn condition<T>(
    parsed: &Parsed<'_>,
    name: &str,
    read: impl FnOnce(&Given) -> Result<T, SyntaxError>,
) -> Result<Option<If<T>>, SyntaxError> {
    match parsed.get(name) {
        Some(given) => Ok(Some(If { value: read(given)?, inverted: given.inverted })),
        None => Ok(None),
    }
}

fn protocol(parsed: &Parsed<'_>, given: &Given) -> Result<u8, SyntaxError> {
    match value::protocol(parsed.names, given.value())? {
        0 if given.inverted => Err(parsed.error("condition would always match protocol").at(given.value())),
        0 => Err(parsed.error("rule would never match protocol").at(given.value())),
        protocol => Ok(protocol),
    }
}

fn direction(parsed: &Parsed<'_>, given: &Given) -> Result<Direction, SyntaxError> {
    match given.value() {
        word if word.eq_ignore_ascii_case("ORIGINAL") => Ok(Direction::Original),
        word if word.eq_ignore_ascii_case("REPLY") => Ok(Direction::Reply),
        _ => Err(value::bad_value(parsed, given)),
    }
}

impl Match for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let conn = look.conn();
        if let Some(state) = &self.state {
            let mut bits = state_of(look);
            if let Some((conn, _)) = conn {
                bits |= if conn.status.has(Status::SRC_NAT) { SNAT } else { 0 };
                bits |= if conn.status.has(Status::DST_NAT) { DNAT } else { 0 };
            }
            if (state.value & bits != 0) == state.inverted {
                return false;
            }
        }
        match conn {
            // Without a connection the state decides alone, whatever else the rule asks.
            None => self.state.is_some(),
            Some((conn, class)) => {
                self.direction.is_none_or(|direction| direction == class.direction())
                    && self.tuples_fit(conn)
                    && self.status.is_none_or(|c| (u32::from(c.value) & conn.status.0 != 0) != c.inverted)
                    && self.expires.is_none_or(|c| expiry_fits(look, c))
            }
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--", None)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        self.write(f, "", Some(listing))
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Conntrack {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str, listing: Option<&Listing<'_>>) -> fmt::Result {
        if let Some(state) = &self.state {
            write!(f, "{} {dashes}ctstate ", state.not())?;
            save_list(f, STATES, state.value)?;
        }
        if let Some(protocol) = &self.protocol {
            write!(f, "{} {dashes}ctproto {}", protocol.not(), protocol.value)?;
        }
        for (name, address) in ADDRESSES.iter().zip(&self.addresses) {
            if let Some(address) = address {
                write!(f, "{} {dashes}{name} ", address.not())?;
                match listing {
                    None => value::save_host_mask(f, self.family, address.value.0, address.value.1)?,
                    Some(listing) => value::list_host_mask(f, self.family, address.value.0, address.value.1, listing)?,
                }
            }
        }
        for (name, ports) in PORTS.iter().zip(&self.ports) {
            if let Some(If { value: (from, to), .. }) = ports {
                write!(f, "{} {dashes}{name} {from}", ports.as_ref().map_or("", If::not))?;
                if from != to {
                    write!(f, ":{to}")?;
                }
            }
        }
        if let Some(status) = &self.status {
            write!(f, "{} {dashes}ctstatus ", status.not())?;
            if status.value == 0 {
                f.write_str("NONE")?;
            }
            save_list(f, STATUSES, status.value)?;
        }
        if let Some(expires) = &self.expires {
            let (from, to) = expires.value;
            write!(f, "{} {dashes}ctexpire {from}", expires.not())?;
            if from != to {
                write!(f, ":{to}")?;
            }
        }
        match self.direction {
            Some(Direction::Original) => write!(f, " {dashes}ctdir ORIGINAL"),
            Some(Direction::Reply) => write!(f, " {dashes}ctdir REPLY"),
            None => Ok(()),
        }
    }
}

impl Conntrack {
    fn tuples_fit(&self, conn: &Conn) -> bool {
        let [original, reply] = conn.tuples();
        let addresses = [original.src, original.dst, reply.src, reply.dst];
        let ports = [original.src_id, original.dst_id, reply.src_id, reply.dst_id];
        self.addresses
            .iter()
            .zip(addresses)
            .all(|(c, addr)| c.is_none_or(|c| addr.in_net(c.value.0, c.value.1) != c.inverted))
            && self.protocol.is_none_or(|c| (c.value == original.protocol) != c.inverted)
            && self
                .ports
                .iter()
                .zip(ports)
                .all(|(c, port)| c.is_none_or(|c| (c.value.0..=c.value.1).contains(&port) != c.inverted))
    }
}

fn expiry_fits(look: &Look<'_>, condition: If<(u32, u32)>) -> bool {
    let (from, to) = condition.value;
    let left = look.conn_seconds_left().unwrap_or(0);
    (u64::from(from)..=u64::from(to)).contains(&left) != condition.inverted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{No, Yes, belongs, check_in, connection, probe, udp};
    use hairpin_engine::Instant;

    const REPLY: Class = Class::Established(Direction::Reply);

    #[test]
    fn states() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m conntrack --ctstate INVALID", Yes);
        check_in(&mut probe, "-m conntrack --ctstate UNTRACKED", No);
        probe.packet.meta.tracked = Tracked::Untracked;
        check_in(&mut probe, "-m conntrack --ctstate UNTRACKED", Yes);
        check_in(&mut probe, "-m conntrack ! --ctstate INVALID,NEW", Yes);
        let id = connection(&mut probe, 17, 5, |conn| conn.status.set(Status::DST_NAT));
        belongs(&mut probe, id, Class::New);
        check_in(&mut probe, "-m conntrack --ctstate NEW,RELATED", Yes);
        check_in(&mut probe, "-m conntrack --ctstate DNAT", Yes);
        check_in(&mut probe, "-m conntrack --ctstate SNAT", No);
        belongs(&mut probe, id, Class::Related(Direction::Reply));
        check_in(&mut probe, "-m conntrack --ctstate RELATED", Yes);
        check_in(&mut probe, "-m conntrack --ctstate ESTABLISHED", No);
    }

    /// Without a connection the state decides alone; without a state nothing fits, inverted or not.
    #[test]
    fn no_connection() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m conntrack --ctstate INVALID --ctorigsrc 1.2.3.4 --ctproto 6", Yes);
        check_in(&mut probe, "-m conntrack --ctorigsrc 10.0.0.1", No);
        check_in(&mut probe, "-m conntrack ! --ctorigsrc 1.2.3.4", No);
    }

    #[test]
    fn tuples() {
        let mut probe = probe(udp(5, 80));
        let id = connection(&mut probe, 17, 5, |_| {});
        belongs(&mut probe, id, REPLY);
        check_in(&mut probe, "-m conntrack --ctorigsrc 10.0.0.1 --ctorigdst 10.0.0.0/24 --ctproto 17", Yes);
        check_in(&mut probe, "-m conntrack --ctreplsrc 10.0.0.2 ! --ctrepldst 10.0.0.2", Yes);
        check_in(&mut probe, "-m conntrack --ctorigsrcport 1:5 --ctorigdstport 80 --ctreplsrcport 80:", Yes);
        check_in(&mut probe, "-m conntrack --ctrepldstport 6:", No);
        check_in(&mut probe, "-m conntrack ! --ctproto 17", No);
        check_in(&mut probe, "-m conntrack --ctdir REPLY", Yes);
        check_in(&mut probe, "-m conntrack --ctdir ORIGINAL", No);
    }

    #[test]
    fn status_and_expiry() {
        let mut probe = probe(udp(5, 80));
        let id = connection(&mut probe, 17, 5, |conn| conn.status.set(Status::SEEN_REPLY));
        belongs(&mut probe, id, REPLY);
        check_in(&mut probe, "-m conntrack --ctstatus ASSURED,SEEN_REPLY", Yes);
        check_in(&mut probe, "-m conntrack --ctstatus ASSURED", No);
        check_in(&mut probe, "-m conntrack --ctstatus CONFIRMED", Yes);
        // No status at all cannot be had.
        check_in(&mut probe, "-m conntrack --ctstatus NONE", No);
        check_in(&mut probe, "-m conntrack ! --ctstatus NONE", Yes);
        probe.now.mono = Instant::from_secs(10);
        let left = probe.conns.get(id).unwrap().seconds_left(probe.now.mono);
        check_in(&mut probe, &format!("-m conntrack --ctexpire {left}"), Yes);
        check_in(&mut probe, &format!("-m conntrack --ctexpire {}:", left + 1), No);
        check_in(&mut probe, &format!("-m conntrack ! --ctexpire :{}", left - 1), Yes);
    }
}
