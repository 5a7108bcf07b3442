//! What the NAT targets share: addresses and ports to map to, as typed and as saved.

use crate::option::{NameKind, Parsed, SyntaxError};
use crate::value;
use hairpin_engine::nat::Manip;
use hairpin_engine::rule::{Listing, NatRange, Needs, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hook, Hooks};
use hairpin_wire::{Family, proto};
use std::any::Any;
use std::fmt;

/// `-j SNAT` and `-j DNAT`: one side of the connection is mapped to addresses and ports that the rule names.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The side.
    pub(crate) side: Manip,
    /// Whose addresses they are.
    pub(crate) family: Family,
    /// Where to.
    pub(crate) range: NatRange,
}

impl Target for Mapping {
    fn name(&self) -> &'static str {
        match self.side {
            Manip::Src => "SNAT",
            Manip::Dst => "DNAT",
        }
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Nat(self.side, self.range)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Manip::Src => " --to-source ",
            Manip::Dst => " --to-destination ",
        })?;
        save_to(f, self.family, &self.range)?;
        write_flags(f, &self.range, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" to:")?;
        save_to(f, self.family, &self.range)?;
        write_flags(f, &self.range, "")
    }

    fn scope(&self) -> Scope {
        scope(match self.side {
            Manip::Src => &[Hook::Input, Hook::Postrouting],
            Manip::Dst => &[Hook::Prerouting, Hook::Output],
        })
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The table `nat` at these hooks.
pub(crate) fn scope(hooks: &[Hook]) -> Scope {
    Scope { tables: Tables::of(&[TableId::Nat]), hooks: Hooks::of(hooks), protocols: Protocols::Any }
}

/// Whether ports may be given: the rule names a protocol that has some (iptables does not look at `!`).
pub(crate) fn ports_allowed(parsed: &Parsed<'_>) -> bool {
    // The same list for both families: ip6tables too asks for ICMP and not for ICMPv6.
    const WITH_PORTS: [u8; 5] = [proto::TCP, proto::UDP, proto::SCTP, proto::DCCP, proto::ICMP];
    parsed.protocol.is_some_and(|(p, _)| WITH_PORTS.contains(&p))
}

/// `PORT`, `PORT-PORT` or `PORT-PORT/BASE` into the range; the first and the base may be services' names.
pub(crate) fn parse_ports(parsed: &Parsed<'_>, text: &str, range: &mut NatRange) -> Result<(), SyntaxError> {
    let refuse = |message: String| Err(SyntaxError::parameter(message).at(text));
    if !ports_allowed(parsed) {
        return refuse("Need TCP, UDP, SCTP or DCCP with port specification".to_owned());
    }
    let service = |name: &str| parsed.names.number(NameKind::Service(0), name).and_then(|n| u16::try_from(n).ok());
    let (low, rest) = match leading_port(text) {
        Some(found) => found,
        None => match service(text) {
            Some(port) => (port, ""),
            None => return refuse(format!("Port `{text}' not valid")),
        },
    };
    range.ports = Some((low, low));
    if rest.is_empty() {
        return Ok(());
    }
    if rest.starts_with(':') {
        return refuse("Invalid port:port syntax - use dash".to_owned());
    }
    let Some(upper) = rest.strip_prefix('-') else {
        return refuse(format!("Garbage after port value: `{rest}'"));
    };
    let Some((high, rest)) = leading_port(upper) else {
        return refuse(format!("Port `{upper}' not valid"));
    };
    if high < low {
        return refuse(format!("Port range `{upper}' funky"));
    }
    range.ports = Some((low, high));
    if rest.is_empty() {
        return Ok(());
    }
    let Some(base) = rest.strip_prefix('/') else {
        return refuse(format!("Garbage after port range: `{rest}'"));
    };
    let whole = leading_port(base).filter(|(port, rest)| *port != 0 && rest.is_empty()).map(|(port, _)| port);
    let Some(base_port) = whole.or_else(|| service(base)) else {
        return refuse(format!("Port `{base}' not valid"));
    };
    range.base = Some(base_port);
    Ok(())
}

/// `[ADDR[-ADDR]][:PORTS]` into the range. IPv6 needs brackets where ports follow; without them, one colon begins the ports
/// and more belong to the address.
pub(crate) fn parse_to(parsed: &Parsed<'_>, text: &str, range: &mut NatRange) -> Result<(), SyntaxError> {
    let (addrs, ports) = match text.split_once('[') {
        Some((_, inside)) => match inside.split_once(']') {
            Some((addrs, after)) if parsed.family == Family::V6 => (addrs, after.split_once(':').map(|(_, p)| p)),
            _ => return Err(SyntaxError::parameter("Invalid address format").at(text)),
        },
        // Two characters before the colon are taken for empty brackets, whatever they are.
        None => match text.split_once(':') {
            Some((before, ports)) if before.len() == 2 && !ports.contains(':') => {
                return parse_ports(parsed, ports, range);
            }
            Some(("", ports)) if !ports.contains(':') => return parse_ports(parsed, ports, range),
            Some((addrs, ports)) if !ports.contains(':') => (addrs, Some(ports)),
            _ => (text, None),
        },
    };
    if let Some(ports) = ports {
        parse_ports(parsed, ports, range)?;
    }
    let addr = |text: &str| {
        value::parse_strict_addr(parsed.family, text)
            .ok_or_else(|| SyntaxError::parameter(format!("Bad IP address \"{text}\"")).at(text))
    };
    range.addrs = Some(match addrs.split_once('-') {
        Some((low, high)) => (addr(low)?, addr(high)?),
        None => (addr(addrs)?, addr(addrs)?),
    });
    Ok(())
}

/// Writes `ADDR[-ADDR][:PORTS]`.
fn save_to(f: &mut fmt::Formatter<'_>, family: Family, range: &NatRange) -> fmt::Result {
    if let Some((low, high)) = range.addrs {
        let brackets = family == Family::V6 && range.ports.is_some();
        write!(f, "{}{}", if brackets { "[" } else { "" }, value::show_addr(family, low))?;
        if low != high {
            write!(f, "-{}", value::show_addr(family, high))?;
        }
        f.write_str(if brackets { "]" } else { "" })?;
    }
    if range.ports.is_some() {
        f.write_str(":")?;
        save_ports(f, range)?;
    }
    Ok(())
}

/// Writes `PORT[-PORT][/BASE]`.
fn save_ports(f: &mut fmt::Formatter<'_>, range: &NatRange) -> fmt::Result {
    let Some((low, high)) = range.ports else { return Ok(()) };
    write!(f, "{low}")?;
    if low != high {
        write!(f, "-{high}")?;
    }
    match range.base {
        Some(base) => write!(f, "/{base}"),
        None => Ok(()),
    }
}

/// Writes the ports behind `before`, if there are any, and the switches.
pub(crate) fn write_ports(f: &mut fmt::Formatter<'_>, range: &NatRange, before: &str, dashes: &str) -> fmt::Result {
    if range.ports.is_some() {
        f.write_str(before)?;
        save_ports(f, range)?;
    }
    write_flags(f, range, dashes)
}

/// Writes the switches, each with a space and `dashes` before it.
fn write_flags(f: &mut fmt::Formatter<'_>, range: &NatRange, dashes: &str) -> fmt::Result {
    let flags = [(range.random, "random"), (range.random_fully, "random-fully"), (range.persistent, "persistent")];
    flags.iter().filter(|(on, _)| *on).try_for_each(|(_, text)| write!(f, " {dashes}{text}"))
}

fn leading_port(text: &str) -> Option<(u16, &str)> {
    let (number, rest) = value::split_number(text)?;
    Some((u16::try_from(number).ok()?, rest))
}
