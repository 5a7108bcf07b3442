//! `-j ECN`: change the bits of explicit congestion notification.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Place, Protocols, Refused, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hooks};
use hairpin_wire::tcp::Tcp;
use hairpin_wire::{checksum, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "ECN",
    families: Families::V4,
    about: "change the ECN bits of TCP or IPv4",
    kind: Kind::Evaluated,
    options: &[
        Opt::switch("ecn-tcp-remove", "clear ECE and CWR in the TCP header").excludes(&["ecn-tcp-cwr", "ecn-tcp-ece"]),
        Opt::new("ecn-tcp-cwr", &["0|1"], "set CWR in the TCP header").excludes(&["ecn-tcp-remove"]),
        Opt::new("ecn-tcp-ece", &["0|1"], "set ECE in the TCP header").excludes(&["ecn-tcp-remove"]),
        Opt::new("ecn-ip-ect", &["0..3"], "set the ECT bits in the IPv4 header"),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|-p tcp |--ecn-tcp-remove"),
        Case::Same("@mangle FORWARD|-p tcp |--ecn-tcp-cwr 1"),
        Case::Same("@mangle FORWARD|-p tcp |--ecn-tcp-ece 1 --ecn-tcp-cwr 1 --ecn-ip-ect 1"),
        Case::Same("@mangle FORWARD|--ecn-ip-ect 3"),
        Case::Saves("@mangle FORWARD|-p tcp |--ecn-tcp-ece 0 --ecn-tcp-cwr 0", "--ecn-tcp-remove"),
        Case::Saves("@mangle FORWARD|-p tcp |--ecn-tcp-remove --ecn-ip-ect 1", "--ecn-tcp-ece 0 --ecn-tcp-cwr 0 --ecn-ip-ect 1"),
        Case::Fails("@mangle FORWARD|--ecn-ip-ect 4", "out of range (0-3)"),
        Case::Fails("@mangle FORWARD|-p tcp |--ecn-tcp-remove --ecn-tcp-cwr 1", "cannot be used together"),
        Case::Fails("@mangle FORWARD|", "An operation is required"),
    ],
};

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// Where the flags of a TCP header are.
const FLAGS: usize = 13;

#[derive(Debug)]
struct Ecn {
    ece: Option<bool>,
    cwr: Option<bool>,
    ect: Option<u8>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    if parsed.given.is_empty() {
        return Err(SyntaxError::parameter("ECN target: An operation is required"));
    }
    let number = |name: &str, max: u64| parsed.get(name).map(|g| value::number(parsed, g, 0, max)).transpose();
    let mut ecn = Ecn {
        ece: number("ecn-tcp-ece", 1)?.map(|n| n == 1),
        cwr: number("ecn-tcp-cwr", 1)?.map(|n| n == 1),
        ect: number("ecn-ip-ect", 3)?.map(|n| n as u8),
    };
    let at = |name: &str| parsed.given.iter().position(|given| given.option.name == name);
    if let Some(removed) = at("ecn-tcp-remove") {
        // It stands for both flags, and undoes what was said about IP before it.
        ecn.ect = ecn.ect.filter(|_| at("ecn-ip-ect") > Some(removed));
        (ecn.ece, ecn.cwr) = (Some(false), Some(false));
    }
    Ok(Arc::new(ecn))
}

impl Ecn {
    fn is_about_tcp(&self) -> bool {
        self.ece.is_some() || self.cwr.is_some()
    }

    fn flags(&self, now: u8) -> u8 {
        let set = |flags: u8, bit: u8, to: Option<bool>| match to {
            None => flags,
            Some(true) => flags | bit,
            Some(false) => flags & !bit,
        };
        set(set(now, ECE, self.ece), CWR, self.cwr)
    }
}

impl Target for Ecn {
    fn name(&self) -> &'static str {
        "ECN"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let (tos, protocol) = (look.tos(), look.protocol());
        if let Some(ect) = self.ect {
            edit.packet().set_tos(tos & !3 | ect);
        }
        if self.is_about_tcp() && protocol == proto::TCP {
            // The kernel does not ask whether this is a later fragment.
            let Some(mut tcp) = Tcp::new(edit.packet().l4_mut()) else {
                return Verdict::Drop(DropReason::Rule);
            };
            let &[.., above, now] = tcp.as_bytes().get(..=FLAGS).unwrap_or_default() else {
                return Verdict::Drop(DropReason::Rule);
            };
            let new = self.flags(now);
            if new != now {
                let word = |flags: u8| u16::from_be_bytes([above, flags]);
                let check = checksum::update_u16(tcp.checksum(), word(now), word(new));
                tcp.set_flags(new);
                tcp.set_checksum(check);
            }
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.ece, self.cwr, self.ect) == (Some(false), Some(false), None) {
            return f.write_str(" --ecn-tcp-remove");
        }
        if let Some(ece) = self.ece {
            write!(f, " --ecn-tcp-ece {}", u8::from(ece))?;
        }
        if let Some(cwr) = self.cwr {
            write!(f, " --ecn-tcp-cwr {}", u8::from(cwr))?;
        }
        match self.ect {
            Some(ect) => write!(f, " --ecn-ip-ect {ect}"),
            None => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" ECN")?;
        if (self.ece, self.cwr, self.ect) == (Some(false), Some(false), None) {
            return f.write_str(" TCP remove");
        }
        if let Some(ece) = self.ece {
            write!(f, " ECE={}", u8::from(ece))?;
        }
        if let Some(cwr) = self.cwr {
            write!(f, " CWR={}", u8::from(cwr))?;
        }
        match self.ect {
            Some(ect) => write!(f, " ECT codepoint={ect}"),
            None => Ok(()),
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if self.is_about_tcp() && (header.protocol != proto::TCP || header.protocol_inverted) {
            return Err(Refused::Invalid("ipt_ECN: cannot use operation on non-tcp rule".to_owned()));
        }
        Ok(())
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Mangle]), hooks: Hooks::ALL, protocols: Protocols::Any }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, SRC, udp};
    use crate::testing_targets::{changed, checksum_ok};
    use hairpin_wire::{Family, build, tcp};

    #[test]
    fn changes_flags_and_field_with_their_checksums() {
        let flags = tcp::SYN | tcp::ECE | tcp::CWR;
        let segment = || build::Tcp { flags, ..Default::default() }.packet(Family::V4, SRC, DST);
        let flags = |rule| {
            let packet = changed(rule, segment());
            assert!(checksum_ok(&packet));
            packet.l4()[13]
        };
        assert_eq!(flags("-p tcp -j ECN --ecn-tcp-remove"), tcp::SYN);
        assert_eq!(flags("-p tcp -j ECN --ecn-tcp-ece 0"), tcp::SYN | tcp::CWR);
        assert_eq!(flags("-p tcp -j ECN --ecn-ip-ect 2"), tcp::SYN | tcp::ECE | tcp::CWR);
        let packet = changed("-j ECN --ecn-ip-ect 2", udp(1, 2));
        assert!(checksum_ok(&packet));
        assert_eq!(packet.tos(), 2);
    }
}
