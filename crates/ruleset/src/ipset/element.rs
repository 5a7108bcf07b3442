//! Elements as people write them: `10.0.0.0/24,tcp:80-90`, `10.0.0.1-10.0.0.9`, `2001:db8::/32,eth0`.

use super::icmp::{ICMP, ICMPV6, find};
use super::syntax::{Action, Form, entry_opts, forms};
use super::{Problem, checked_name, number};
use hairpin_engine::net::IfName;
use hairpin_engine::set::{Entry, Kind, Neighbour};
use hairpin_wire::{Addr, Family, Mac, proto};
use hairpin_xt::option::{NameKind, Names};
use std::net::Ipv6Addr;

/// What the words of an element are read with.
pub(super) struct Reader<'a> {
    pub(super) kind: Kind,
    pub(super) family: Option<Family>,
    pub(super) action: Action,
    pub(super) names: &'a dyn Names,
    /// What should be said although it is no error.
    pub(super) warnings: Vec<String>,
    /// An ICMP of the other family, which the real program notices without stopping: it forgets the set and what it read of the
    /// element, and reads on as for IPv4.
    pub(super) lost: Option<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(kind: Kind, family: Option<Family>, action: Action, names: &'a dyn Names) -> Reader<'a> {
        Reader { kind, family, action, names, warnings: Vec::new(), lost: None }
    }

    /// Reads an element.
    pub(super) fn read(&mut self, text: &str) -> Result<Entry, Problem> {
        let mut entry = Entry::default();
        let forms = forms(self.kind);
        let (first, rest) = separated(text, ',').map_or((text, None), |(a, b)| (a, Some(b)));
        let is_optional = self.kind == Kind::BitmapIpMac;
        match (forms.len(), rest) {
            (1, Some(_)) if self.kind == Kind::ListSet => {
                self.set_with_neighbour(text, &mut entry)?;
                return Ok(entry);
            }
            (1, Some(_)) => {
                let text = format_args!("Elem separator in {text}, but settype {} supports none.", self.kind);
                return Err(Problem::syntax(text));
            }
            (2.., None) if !is_optional => {
                return Err(Problem::syntax(format_args!("Second element is missing from {text}.")));
            }
            _ => {}
        }
        let (second, third) = match rest.map(|rest| (rest, separated(rest, ','))) {
            None => (None, None),
            Some((rest, None)) if forms.len() > 2 => {
                let _ = rest;
                return Err(Problem::syntax(format_args!("Third element is missing from {text}.")));
            }
            Some((rest, None)) => (Some(rest), None),
            Some((_, Some(_))) if forms.len() == 2 => {
                let text = format_args!("Two elem separators in {text}, but settype {} supports one.", self.kind);
                return Err(Problem::syntax(text));
            }
            Some((_, Some((second, third)))) => (Some(second), Some(third)),
        };
        if third.is_some_and(|third| separated(third, ',').is_some()) {
            let text = format_args!("Three elem separators in {text}, but settype {} supports two.", self.kind);
            return Err(Problem::syntax(text));
        }
        let words = [Some(first), second, third];
        for (n, (form, word)) in forms.iter().zip(words).enumerate() {
            if let Some(word) = word {
                self.component(*form, n, word, &mut entry)?;
            }
        }
        Ok(entry)
    }

    fn component(&mut self, form: Form, n: usize, word: &str, entry: &mut Entry) -> Result<(), Problem> {
        match form {
            Form::Any | Form::Single | Form::Any4Single6 | Form::Any4Net6 => {
                let span = self.addresses(form, word)?;
                if n == 0 {
                    (entry.ip, entry.cidr, entry.ip_to) = (Some(span.from), span.cidr, span.to);
                } else {
                    (entry.ip2, entry.cidr2, entry.ip2_to) = (Some(span.from), span.cidr, span.to);
                }
            }
            Form::Mac => entry.mac = Some(mac(word)?),
            Form::Mark => entry.mark = Some(number(word, 0, u64::from(u32::MAX))? as u32),
            Form::ProtoPort => self.proto_port(word, entry)?,
            Form::Port => {
                self.proto_port(word, entry)?;
                if !matches!(entry.proto, Some(proto::TCP | proto::UDP)) {
                    return Err(Problem::syntax("Only protocols TCP and UDP are valid"));
                }
                entry.proto = None;
            }
            Form::Iface => {
                let (name, physdev) = word.strip_prefix("physdev:").map_or((word, false), |name| (name, true));
                let text = || format!("interface name '{name}' is longer than {} characters", IfName::MAX);
                entry.iface = Some(IfName::new(name).ok_or_else(|| Problem::syntax(text()))?);
                entry.physdev = physdev;
            }
            Form::Set => entry.name = Some(checked_name(word)?.to_owned()),
        }
        Ok(())
    }

    /// What was noticed on the way, what `test` does not take, and what no action takes.
    pub(super) fn check(&mut self, entry: &Entry) -> Result<(), Problem> {
        let takes_options = !entry_opts(self.kind, self.action).is_empty();
        let bug = |text: &str| Err(Problem::value(format!("There are {text}. It's a bug, please report the problem.")));
        if let Some(lost) = self.lost.take() {
            return match takes_options {
                true => Err(lost.and(format_args!("Invalid {} command: missing setname", self.action.name()))),
                false => bug("missing mandatory flags but can't check them"),
            };
        }
        self.check_ranges(entry)?;
        if self.kind == Kind::HashIpPortIp && entry.cidr2.is_some() {
            // A prefix length of all bits passes for one address, but not here.
            return bug(match takes_options {
                true => "not allowed options (28) but can't resolve them",
                false => "not allowed options (28) but option list is empty",
            });
        }
        Ok(())
    }

    /// What `test` does not take, nor a bitmap of addresses with link addresses: for that one a prefix length of all bits is one too.
    fn check_ranges(&self, entry: &Entry) -> Result<(), Problem> {
        let is_refused = self.action == Action::Test && self.kind != Kind::HashIp || self.kind == Kind::BitmapIpMac;
        if !is_refused {
            return Ok(());
        }
        let is_net = matches!(forms(self.kind).first(), Some(Form::Any4Net6));
        let what = match entry {
            Entry { cidr: Some(_), .. } if !is_net => "IP/CIDR range",
            Entry { ip_to: Some(_), .. } => "FROM-TO IP range",
            Entry { port_to: Some(_), .. } => "FROM-TO port range",
            _ => return Ok(()),
        };
        let family = match self.family {
            Some(Family::V4) => "inet",
            Some(Family::V6) => "inet6",
            None => "unspec",
        };
        let (kind, action) = (self.kind, self.action.name());
        Err(Problem::value(format!(
            "{what} is not allowed in command {action} with set type {kind} and family {family}"
        )))
    }

    /// `NAME,before,NAME`, as old files have it.
    fn set_with_neighbour(&self, text: &str, entry: &mut Entry) -> Result<(), Problem> {
        let mut words = text.splitn(3, ',');
        let wrong = || Problem::value("you must specify elements as setname,[before|after],setname");
        let (name, place, other) = (words.next(), words.next(), words.next());
        let (Some(name), Some(place), Some(other)) = (name, place, other) else { return Err(wrong()) };
        let name = checked_name(name)?.to_owned();
        let other = || checked_name(other).map(str::to_owned);
        entry.place = Some(match place {
            "before" => Neighbour::Before(other()?),
            "after" => Neighbour::After(other()?),
            _ => return Err(wrong()),
        });
        entry.name = Some(name);
        Ok(())
    }

    fn addresses(&mut self, form: Form, text: &str) -> Result<Span, Problem> {
        let family = self.family.unwrap_or(Family::V4);
        let slash = separated(text, '/');
        let has_range = range_after_escape(text);
        let is_single = form == Form::Single || (form == Form::Any4Single6 && family == Family::V6);
        if is_single && (has_range || slash.is_some_and(|(_, bits)| bits != family.bits().to_string())) {
            return Err(Problem::syntax(format_args!("plain IP address must be supplied: {text}")));
        }
        if form == Form::Any4Net6 && family == Family::V6 && has_range {
            return Err(Problem::syntax(format_args!("IP address or IP/cidr must be specified: {text}")));
        }
        self.span(family, text)
    }

    /// An address, a network or a range, whatever it is for.
    pub(super) fn span(&mut self, family: Family, text: &str) -> Result<Span, Problem> {
        if let Some((from, bits)) = separated(text, '/') {
            let cidr = number(bits, 0, 255)? as u8;
            if cidr > family.bits() {
                return Err(Problem::syntax(format_args!("'{bits}' is out of range 0-{}", family.bits())));
            }
            return Ok(Span { from: self.address(family, unescaped(from)?)?, cidr: Some(cidr), to: None });
        }
        match range(text)? {
            None => Ok(Span { from: self.address(family, unescaped(text)?)?, cidr: None, to: None }),
            Some((from, to)) => {
                let from = self.address(family, unescaped(from)?)?;
                Ok(Span { from, cidr: None, to: Some(self.address(family, unescaped(to)?)?) })
            }
        }
    }

    /// One address or the first of a host.
    pub(super) fn address(&mut self, family: Family, text: &str) -> Result<Addr, Problem> {
        let literal = match family {
            Family::V4 => dotted(text).map(Addr::v4),
            Family::V6 => text.parse::<Ipv6Addr>().ok().map(Addr::from_v6),
        };
        if let Some(addr) = literal {
            return Ok(addr);
        }
        let wrong = || Problem::syntax(format_args!("cannot parse {text}: resolving to {family} address failed"));
        // What looks like an address of the other family, or is empty, is no host.
        let is_host = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains([':', ' ', '/']);
        if !is_host || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        let hosts = self.names.hosts(family, text).map_err(|_| wrong())?;
        if hosts.len() > 1 {
            self.warnings.push(format!(
                "{text} resolves to multiple addresses: using only the first one returned by the resolver."
            ));
        }
        hosts.first().copied().ok_or_else(wrong)
    }

    fn proto_port(&mut self, text: &str, entry: &mut Entry) -> Result<(), Problem> {
        let Some((word, port)) = separated(text, ':') else {
            entry.proto = Some(proto::TCP);
            return self.ports(text, "tcp", proto::TCP, entry);
        };
        let protocol = self.protocol(word)?;
        entry.proto = Some(protocol);
        let family = self.family.unwrap_or(Family::V4);
        match protocol {
            proto::TCP | proto::SCTP | proto::UDP | proto::UDPLITE => return self.ports(port, word, protocol, entry),
            proto::ICMP if family == Family::V4 => entry.port = Some(icmp(port, ICMP, "ICMP")?),
            proto::ICMPV6 if family == Family::V6 => entry.port = Some(icmp(port, ICMPV6, "ICMPv6")?),
            proto::ICMP | proto::ICMPV6 => {
                let (name, only) = if protocol == proto::ICMP { ("ICMP", "inet") } else { ("ICMPv6", "inet6") };
                let text = format_args!("Protocol {name} can be used with family {only} only");
                (self.lost, self.family) = (Some(Problem::syntax(text)), None);
            }
            _ if port == "0" => entry.port = Some(0),
            _ => {
                let text = format_args!("Protocol {word} can be used with pseudo port value 0 only.");
                return Err(Problem::syntax(text));
            }
        }
        Ok(())
    }

    fn protocol(&self, word: &str) -> Result<u8, Problem> {
        let wrong = || Problem::syntax(format_args!("cannot parse '{word}' as a protocol"));
        let name = if word.eq_ignore_ascii_case("icmpv6") { "ipv6-icmp" } else { word };
        match self.names.number(NameKind::Protocol, name).and_then(|n| u8::try_from(n).ok()) {
            Some(0) => Err(Problem::syntax(format_args!("Unsupported protocol '{word}'"))),
            Some(number) => Ok(number),
            None => number(word, 0, 255).map(|n| n as u8).map_err(|_| wrong()),
        }
    }

    /// A port or a range of them, by number or name.
    pub(super) fn ports(
        &self,
        text: &str,
        protocol_word: &str,
        protocol: u8,
        entry: &mut Entry,
    ) -> Result<(), Problem> {
        let (from, to) = match range(text)? {
            Some((from, to)) => (from, Some(to)),
            None => (text, None),
        };
        // The end is read first.
        if let Some(to) = to {
            entry.port_to = Some(self.port(to, protocol_word, protocol)?);
        }
        entry.port = Some(self.port(from, protocol_word, protocol)?);
        Ok(())
    }

    fn port(&self, text: &str, protocol_word: &str, protocol: u8) -> Result<u16, Problem> {
        let Err(no_number) = number(text, 0, u64::from(u16::MAX)).map(|n| n as u16) else {
            return Ok(number(text, 0, u64::from(u16::MAX))? as u16);
        };
        let name = match text.strip_prefix('[') {
            Some(_) => unescaped(text)?,
            None => text,
        };
        match self.names.number(NameKind::Service(protocol), name).and_then(|n| u16::try_from(n).ok()) {
            Some(port) => Ok(port),
            None => {
                // The protocol's name is tried as a number on the way.
                let problem = match number(protocol_word, 0, 255) {
                    Err(no_number_either) => no_number.and(no_number_either),
                    Ok(_) => no_number,
                };
                Err(problem.and(format_args!("cannot parse '{text}' as a {protocol_word} port")))
            }
        }
    }
}

/// An address, a network or a range.
pub(super) struct Span {
    pub(super) from: Addr,
    pub(super) cidr: Option<u8>,
    pub(super) to: Option<Addr>,
}

/// Splits at a separator that is neither the first nor the last character.
fn separated(text: &str, separator: char) -> Option<(&str, &str)> {
    if text.starts_with(separator) || text.ends_with(separator) {
        return None;
    }
    text.split_once(separator)
}

/// Splits a range at its `-`. Names with a `-` in them stand in brackets.
fn range(text: &str) -> Result<Option<(&str, &str)>, Problem> {
    if !text.starts_with('[') {
        return Ok(separated(text, '-'));
    }
    let Some(end) = text.find(']') else {
        return Err(Problem::syntax(format_args!("cannot find closing escape character ']' in {text}")));
    };
    let rest = text.get(end + 1..).unwrap_or_default();
    match rest.strip_prefix('-') {
        _ if rest.is_empty() => Ok(None),
        Some(to) => Ok(Some((text.get(..=end).unwrap_or_default(), to))),
        None => {
            let escaped = text.get(..=end).unwrap_or_default();
            Err(Problem::syntax(format_args!("range separator expected after '{escaped}'")))
        }
    }
}

/// Whether there is a `-` outside of brackets.
fn range_after_escape(text: &str) -> bool {
    let rest = if text.starts_with('[') { text.find(']').and_then(|end| text.get(end..)) } else { Some(text) };
    rest.is_some_and(|rest| separated(rest, '-').is_some())
}

fn unescaped(text: &str) -> Result<&str, Problem> {
    match text.strip_prefix('[') {
        None => Ok(text),
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| Problem::syntax(format_args!("cannot find closing escape character ']' in {text}"))),
    }
}

/// An IPv4 address of one to four numbers, the last filling what is left (`inet_aton`, but without hexadecimal numbers, which
/// resolvers do not take).
fn dotted(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let numbers: Option<Vec<u64>> = text.split('.').map(hairpin_xt::value::parse_number).collect();
    let numbers = numbers?;
    let (last, bytes) = numbers.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|n| *n > 255) {
        return None;
    }
    let room = 32 - 8 * bytes.len() as u32;
    if *last >= 1 << room {
        return None;
    }
    let high = bytes.iter().fold(0u64, |all, n| all << 8 | n);
    u32::try_from(high << room | last).ok()
}

fn mac(text: &str) -> Result<Mac, Problem> {
    let wrong = || Problem::syntax(format_args!("cannot parse '{text}' as ethernet address"));
    let bytes: Vec<u8> = text.split(':').map_while(|part| u8::from_str_radix(part, 16).ok()).collect();
    match <[u8; 6]>::try_from(bytes) {
        Ok(bytes) if text.split(':').count() == 6 && text.len() <= 17 => Ok(Mac(bytes)),
        _ => Err(wrong()),
    }
}

/// An ICMP type and code, by name or as `TYPE/CODE`.
fn icmp(text: &str, list: &[(&str, u8, u8)], what: &str) -> Result<u16, Problem> {
    if let Some(found) = find(list, text) {
        return Ok(found);
    }
    let Some((kind, code)) = separated(text, '/') else {
        return Err(Problem::value(format!("Cannot parse {text} as an {what} type/code.")));
    };
    Ok(u16::from_be_bytes([number(kind, 0, 255)? as u8, number(code, 0, 255)? as u8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_to_four_numbers() {
        assert_eq!(dotted("10.0.0.1"), Some(0x0a00_0001));
        assert_eq!(dotted("10.1"), Some(0x0a00_0001));
        assert_eq!(dotted("10"), Some(10));
        assert_eq!(dotted("010.0.0.1"), Some(0x0800_0001));
        assert_eq!(dotted("10.0.0.256"), None);
        assert_eq!(dotted("1.2.3.4.5"), None);
        assert_eq!(dotted("10..1"), None);
    }

    #[test]
    fn brackets_hold_names_with_a_dash() {
        assert_eq!(range("a-b").map_err(|e| e.message), Ok(Some(("a", "b"))));
        assert_eq!(range("[a-b]").map_err(|e| e.message), Ok(None));
        assert_eq!(range("[a-b]-[c-d]").map_err(|e| e.message), Ok(Some(("[a-b]", "[c-d]"))));
        assert!(range("[a-b").is_err());
        assert_eq!(range("-b").map_err(|e| e.message), Ok(None));
    }
}
