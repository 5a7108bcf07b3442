//! `-m icmp`: type and code of an ICMP message.

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
    name: "icmp",
    aliases: &[],
    families: Families::V4,
    about: "ICMP type and code",
    kind: Kind::Evaluated,
    options: &[Opt::new("icmp-type", &["type[/code]|name"], "the message is of this type").inverts().required()],
    build,
    cases: &[
        Case::Same("-p icmp|--icmp-type any"),
        Case::Same("-p icmp|! --icmp-type 8"),
        Case::Same("-p icmp|--icmp-type 3/0"),
        Case::Same("-p icmp|--icmp-type 255/255"),
        Case::Saves("-p icmp|--icmp-type 255", "-p icmp|--icmp-type any"),
        Case::Saves("-p icmp|--icmp-type fragmentation-needed", "-p icmp|--icmp-type 3/4"),
        Case::Saves("-p icmp|--icmp-type PING", "-p icmp|--icmp-type 8"),
        Case::Fails("-p icmp|--icmp-type echo-r", "Ambiguous ICMP type `echo-r': `echo-reply' or `echo-request'?"),
        Case::Fails("-p icmp|--icmp-type 256", "Unknown ICMP type `256'"),
        Case::Fails("-p icmp|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Icmp {
    kind: IcmpType,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("icmp-type")?;
    let kind = value::icmp_type(Family::V4, given.value())?;
    Ok(Arc::new(Icmp { kind, inverted: given.inverted }))
}

impl Match for Icmp {
    fn name(&self) -> &'static str {
        "icmp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        if look.is_later_fragment() {
            return false;
        }
        match *look.l4() {
            // Type 255 stands for every type and does not look at the code.
            [kind, code, ..] if look.l4().len() >= icmp::HEADER_LEN => {
                let fits = self.kind.kind == ANY
                    || (kind == self.kind.kind && (self.kind.from..=self.kind.to).contains(&code));
                fits != self.inverted
            }
            _ => look.hotdrop(),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --icmp-type " } else { " --icmp-type " })?;
        match self.kind {
            IcmpType { kind: ANY, from: 0, to: 255 } => f.write_str("any"),
            IcmpType { kind, from: 0, to: 255 } => write!(f, "{kind}"),
            IcmpType { kind, from, .. } => write!(f, "{kind}/{from}"),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" icmp")?;
        value::list_icmp(f, value::ICMP_TYPES, self.kind, self.inverted, listing.numeric)
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::ICMP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

const ANY: u8 = 255;

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment};
    use hairpin_wire::{Family, build};

    #[test]
    fn types_and_codes() {
        let packet = |kind, code| build::Icmp { kind, code, ..Default::default() }.packet(Family::V4, SRC, DST);
        check("-p icmp -m icmp --icmp-type 8", packet(8, 7), Yes);
        check("-p icmp -m icmp --icmp-type 3/1", packet(3, 1), Yes);
        check("-p icmp -m icmp --icmp-type 3/1", packet(3, 2), No);
        check("-p icmp -m icmp ! --icmp-type 3/1", packet(3, 2), Yes);
        check("-p icmp -m icmp --icmp-type any", packet(200, 2), Yes);
        check("-p icmp -m icmp --icmp-type 255/255", packet(200, 2), Yes);
        check("-p icmp -m icmp ! --icmp-type any", packet(200, 2), No);
    }

    #[test]
    fn fragments_and_short_headers() {
        check("-p icmp -m icmp --icmp-type any", later_fragment(1, 1, &[0; 20]), No);
        check("-p icmp -m icmp --icmp-type any", build::ip(Family::V4, SRC, DST, 1, &[8; 7]), Hotdrop);
    }
}
