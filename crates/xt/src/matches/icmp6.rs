//! `-m icmp6`: type and code of an ICMPv6 message.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::value::{self, IcmpType};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::{Family, icmp, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "icmp6",
    aliases: &["icmpv6", "ipv6-icmp"],
    families: Families::V6,
    about: "ICMPv6 type and code",
    kind: Kind::Evaluated,
    options: &[Opt::new("icmpv6-type", &["type[/code]|name"], "the message is of this type").inverts().required()],
    build,
    cases: &[
        Case::Same("-p ipv6-icmp|--icmpv6-type 1/0"),
        Case::Same("-p ipv6-icmp|--icmpv6-type 2"),
        Case::Same("-p ipv6-icmp|! --icmpv6-type 1/0"),
        Case::Saves("-p ipv6-icmp|--icmpv6-type echo-request", "-p ipv6-icmp|--icmpv6-type 128"),
        Case::Saves("-p ipv6-icmp|--icmpv6-type neighbor-adv", "-p ipv6-icmp|--icmpv6-type 136"),
        Case::Fails("-p ipv6-icmp|--icmpv6-type 300", "Unknown ICMPv6 type `300'"),
        Case::Fails("-p ipv6-icmp|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Icmp6 {
    kind: IcmpType,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("icmpv6-type")?;
    let kind = value::icmp_type(Family::V6, given.value())?;
    Ok(Arc::new(Icmp6 { kind, inverted: given.inverted }))
}

impl Match for Icmp6 {
    fn name(&self) -> &'static str {
        "icmp6"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match *look.l4() {
            [kind, code, ..] if look.l4().len() >= icmp::HEADER_LEN => {
                (kind == self.kind.kind && (self.kind.from..=self.kind.to).contains(&code)) != self.inverted
            }
            _ => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --icmpv6-type {}", if self.inverted { " !" } else { "" }, self.kind.kind)?;
        if (self.kind.from, self.kind.to) == (0, 255) { Ok(()) } else { write!(f, "/{}", self.kind.from) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" ipv6-icmp")?;
        value::list_icmp(f, value::ICMPV6_TYPES, self.kind, self.inverted, listing.numeric)
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::ICMPV6]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST6, Hotdrop, No, SRC6, Yes, check};
    use hairpin_wire::{Family, build};

    #[test]
    fn types_and_codes() {
        let packet = |kind, code| build::Icmp { kind, code, ..Default::default() }.packet(Family::V6, SRC6, DST6);
        check("-p 58 -m icmp6 --icmpv6-type 128", packet(128, 7), Yes);
        check("-p 58 -m icmp6 --icmpv6-type 1/3", packet(1, 4), No);
        check("-p 58 -m icmp6 ! --icmpv6-type 1/3", packet(1, 4), Yes);
        check("-p 58 -m icmp6 --icmpv6-type 255", packet(1, 4), No);
        check("-p 58 -m icmp6 --icmpv6-type 1", build::ip(Family::V6, SRC6, DST6, 58, &[1; 7]), Hotdrop);
    }
}
