//! `-m policy`: the IPsec policy of the packet. Here nothing is ever encrypted, so only `--pol none` holds.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::hook::Hook;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "policy",
    aliases: &[],
    families: Families::Both,
    about: "the IPsec policy of the packet; here none ever has one",
    kind: Kind::Partly("nothing is ever encrypted, so only `--pol none` holds"),
    options: &[
        Opt::new("dir", &["in|out"], "how it was decrypted, or will be encrypted"),
        Opt::new("pol", &["none|ipsec"], "without or with IPsec"),
        Opt::switch("strict", "the whole policy, not one element of it"),
        Opt::new("reqid", &["id"], "the element's request id").inverts().repeats(),
        Opt::new("spi", &["spi"], "the element's security parameter index").inverts().repeats(),
        Opt::new("proto", &["ah|esp|ipcomp"], "the element's protocol").inverts().repeats(),
        Opt::new("mode", &["transport|tunnel"], "the element's mode").inverts().repeats(),
        Opt::new("tunnel-src", &["address[/mask]"], "the near end of the element's tunnel").inverts().repeats(),
        Opt::new("tunnel-dst", &["address[/mask]"], "the far end of the element's tunnel").inverts().repeats(),
        Opt::switch("next", "begins the next element").repeats().needs(&["strict"]),
    ],
    build,
    cases: &[
        Case::Same("--dir in --pol none"),
        Case::Saves("--dir in", "--dir in --pol ipsec"),
        Case::Saves("--dir in --pol none --reqid 5", "--dir in --pol none"),
        Case::Same("--dir in --pol ipsec --reqid 5 ! --spi 0x10 --proto ipcomp"),
        Case::Same(
            "--dir in --pol ipsec --strict --reqid 1 --spi 0x1 --proto esp --mode tunnel --tunnel-dst 10.0.0.0/8 \
             --tunnel-src 10.0.0.0/8 --next --reqid 2",
        ),
        Case::Fails("--pol none", "policy match: neither --dir in nor --dir out specified"),
        Case::Fails("--dir foo", "policy_match: invalid dir \"foo\""),
        Case::Fails("--dir in --pol foo", "policy match: invalid policy \"foo\""),
        Case::Fails("--dir in --pol none --strict", "policy none but --strict given"),
        Case::Fails("--dir in --pol ipsec --strict", "empty policy element 0"),
        Case::Fails("--dir in --pol ipsec --strict --reqid 1 --next", "empty policy element 1"),
        Case::Fails("--dir in --pol ipsec --reqid 1 --reqid 2", "double --reqid option"),
        Case::Fails("--dir in --pol ipsec --proto tcp", "protocol must be ah/esp/ipcomp"),
        Case::Fails(
            "--dir in --pol ipsec --proto esp --tunnel-dst 10.0.0.0/8",
            "--tunnel-src/--tunnel-dst is only valid in tunnel mode",
        ),
        Case::Fails(
            "--dir in --strict --reqid 1 --next --reqid 1 --next --reqid 1 --next --reqid 1 --next --reqid 1",
            "maximum policy depth reached",
        ),
    ],
};

#[derive(Debug)]
struct Policy {
    family: Family,
    incoming: bool,
    none: bool,
    strict: bool,
    elements: Vec<Element>,
}

#[derive(Debug, Default)]
struct Element {
    reqid: Option<If<u32>>,
    spi: Option<If<u32>>,
    protocol: Option<If<u8>>,
    tunnel: Option<If<bool>>,
    source: Option<If<(Addr, Addr)>>,
    destination: Option<If<(Addr, Addr)>>,
}

#[derive(Debug)]
struct If<T> {
    value: T,
    inverted: bool,
}

impl<T> If<T> {
    fn not(&self) -> &'static str {
        if self.inverted { " !" } else { "" }
    }
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let refuse = |message: String| Err(SyntaxError::parameter(message));
    let incoming = match parsed.get("dir").map(Given::value) {
        Some("in") => Some(true),
        Some("out") => Some(false),
        Some(other) => return refuse(format!("policy_match: invalid dir \"{other}\"")).map_err(|e| e.at(other)),
        None => None,
    };
    let none = match parsed.get("pol").map(Given::value) {
        Some("none") => true,
        Some("ipsec") | None => false,
        Some(other) => return refuse(format!("policy match: invalid policy \"{other}\"")).map_err(|e| e.at(other)),
    };
    let strict = parsed.has("strict");
    let mut elements = parse_elements(parsed)?;
    let Some(incoming) = incoming else {
        return refuse("policy match: neither --dir in nor --dir out specified".to_owned());
    };
    if none {
        if strict {
            return refuse("policy match: policy none but --strict given".to_owned());
        }
        if elements.len() > 1 {
            return refuse("policy match: policy none but policy given".to_owned());
        }
        elements.clear();
    }
    for (n, element) in elements.iter().enumerate() {
        if strict && element.is_empty() {
            return refuse(format!(
                "policy match: empty policy element {n}. --strict is in effect, but at least one of reqid, spi, tunnel-src, \
                 tunnel-dst, proto or mode is required."
            ));
        }
        let is_tunnel = element.tunnel.as_ref().is_some_and(|tunnel| tunnel.value != tunnel.inverted);
        if (element.source.is_some() || element.destination.is_some()) && !is_tunnel {
            return refuse("policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode".to_owned());
        }
    }
    Ok(Arc::new(Policy { family: parsed.family, incoming, none, strict, elements }))
}

fn parse_elements(parsed: &Parsed<'_>) -> Result<Vec<Element>, SyntaxError> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    for given in &parsed.given {
        match given.option.name {
            "reqid" => put(&mut element.reqid, given, value::number_u32(parsed, given)?)?,
            "spi" => put(&mut element.spi, given, value::number_u32(parsed, given)?)?,
            "proto" => put(&mut element.protocol, given, protocol(parsed, given)?)?,
            "mode" => put(&mut element.tunnel, given, is_tunnel(given)?)?,
            "tunnel-src" => put(&mut element.source, given, value::host_mask(parsed, given)?)?,
            "tunnel-dst" => put(&mut element.destination, given, value::host_mask(parsed, given)?)?,
            "next" => {
                elements.push(std::mem::take(&mut element));
                if elements.len() == MOST_ELEMENTS {
                    return Err(SyntaxError::parameter("policy match: maximum policy depth reached").at("--next"));
                }
            }
            _ => {}
        }
    }
    elements.push(element);
    Ok(elements)
}

fn put<T>(place: &mut Option<If<T>>, given: &Given, value: T) -> Result<(), SyntaxError> {
    if place.is_some() {
        let name = given.option.name;
        return Err(SyntaxError::parameter(format!("policy match: double --{name} option")).at(format!("--{name}")));
    }
    *place = Some(If { value, inverted: given.inverted });
    Ok(())
}

fn protocol(parsed: &Parsed<'_>, given: &Given) -> Result<u8, SyntaxError> {
    match value::protocol(parsed.names, given.value())? {
        protocol @ (proto::AH | proto::ESP | IPCOMP) => Ok(protocol),
        _ => Err(SyntaxError::parameter("policy match: protocol must be ah/esp/ipcomp").at(given.value())),
    }
}

fn is_tunnel(given: &Given) -> Result<bool, SyntaxError> {
    match given.value() {
        "transport" => Ok(false),
        "tunnel" => Ok(true),
        other => Err(SyntaxError::parameter(format!("policy match: invalid mode \"{other}\"")).at(other)),
    }
}

impl Match for Policy {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        self.none
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Style { dashes: "--", numeric: false })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        self.write(f, Style { dashes: "", numeric: listing.numeric })
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let refuse = |text: &str| Err(Refused::Invalid(format!("xt_policy: {text}")));
        let reached = |hooks: &[Hook]| hooks.iter().any(|hook| place.hooks.contains(*hook));
        if !self.incoming && reached(&[Hook::Prerouting, Hook::Input]) {
            return refuse("output policy not valid in PREROUTING and INPUT");
        }
        if self.incoming && reached(&[Hook::Postrouting, Hook::Output]) {
            return refuse("input policy not valid in POSTROUTING and OUTPUT");
        }
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        (!self.none).then(|| "policy: there is no IPsec here; --pol ipsec never matches".to_owned())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How saving and listing differ.
#[derive(Clone, Copy)]
struct Style {
    /// Before each word; listing has none.
    dashes: &'static str,
    /// Protocols as numbers.
    numeric: bool,
}

impl Policy {
    fn write(&self, f: &mut fmt::Formatter<'_>, style: Style) -> fmt::Result {
        let Style { dashes, .. } = style;
        let saving = !dashes.is_empty();
        f.write_str(if saving { "" } else { " policy match" })?;
        write!(f, " {dashes}dir {}", if self.incoming { "in" } else { "out" })?;
        write!(f, " {dashes}pol {}", if self.none { "none" } else { "ipsec" })?;
        if self.strict {
            write!(f, " {dashes}strict")?;
        }
        for (n, element) in self.elements.iter().enumerate() {
            if saving {
                f.write_str(if n == 0 { "" } else { " --next" })?;
            } else if self.strict {
                write!(f, " [{n}]")?;
            }
            element.write(f, self.family, style)?;
        }
        Ok(())
    }
}

impl Element {
    fn is_empty(&self) -> bool {
        self.reqid.is_none()
            && self.spi.is_none()
            && self.protocol.is_none()
            && self.tunnel.is_none()
            && self.source.is_none()
            && self.destination.is_none()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, family: Family, Style { dashes, numeric }: Style) -> fmt::Result {
        if let Some(reqid) = &self.reqid {
            write!(f, "{} {dashes}reqid {}", reqid.not(), reqid.value)?;
        }
        if let Some(spi) = &self.spi {
            write!(f, "{} {dashes}spi {:#x}", spi.not(), spi.value)?;
        }
        if let Some(protocol) = &self.protocol {
            write!(f, "{} {dashes}proto ", protocol.not())?;
            match protocol.value {
                number if numeric => write!(f, "{number}")?,
                proto::AH => f.write_str("ah")?,
                proto::ESP => f.write_str("esp")?,
                _ => f.write_str("ipcomp")?,
            }
        }
        if let Some(tunnel) = &self.tunnel {
            write!(f, "{} {dashes}mode {}", tunnel.not(), if tunnel.value { "tunnel" } else { "transport" })?;
        }
        for (name, end) in [("tunnel-dst", &self.destination), ("tunnel-src", &self.source)] {
            if let Some(end) = end {
                write!(f, "{} {dashes}{name} ", end.not())?;
                value::save_host_mask(f, family, end.value.0, end.value.1)?;
            }
        }
        Ok(())
    }
}

const IPCOMP: u8 = 108;
/// `XT_POLICY_MAX_ELEM`.
const MOST_ELEMENTS: usize = 4;

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, loads_at, parse, udp};
    use hairpin_engine::Hook;
    use hairpin_wire::Family;

    #[test]
    fn nothing_is_encrypted() {
        check("-m policy --dir in --pol none", udp(1, 2), Yes);
        check("-m policy --dir in --pol ipsec", udp(1, 2), No);
        check("-m policy --dir in --pol ipsec ! --reqid 5", udp(1, 2), No);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused = |dir: &str, hook: Hook| {
            loads_at(parse(Family::V4, &format!("-m policy --dir {dir} --pol none")).unwrap(), hook).is_err()
        };
        assert!(refused("out", Hook::Input) && refused("out", Hook::Prerouting));
        assert!(refused("in", Hook::Output) && refused("in", Hook::Postrouting));
        assert!(!refused("in", Hook::Forward) && !refused("out", Hook::Forward));
    }
}
