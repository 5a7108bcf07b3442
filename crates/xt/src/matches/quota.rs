//! `-m quota`: so many bytes and no more.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Memory};
use hairpin_engine::time::Now;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "quota",
    aliases: &[],
    families: Families::Both,
    about: "so many bytes and no more",
    kind: Kind::Evaluated,
    options: &[Opt::new("quota", &["bytes"], "bytes that may pass").inverts().required()],
    build,
    cases: &[
        Case::Same("--quota 18446744073709551615"),
        Case::Same("! --quota 0"),
        Case::Saves("--quota 0x10", "--quota 16"),
        Case::Fails("--quota foo", "out of range (0-18446744073709551615)"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Quota {
    bytes: u64,
    inverted: bool,
}

/// What is left of it.
#[derive(Debug)]
struct Left(u64);

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("quota")?;
    Ok(Arc::new(Quota { bytes: value::number_u64(parsed, given)?, inverted: given.inverted }))
}

impl Match for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(mut left) = look.memory::<Left>() else { return false };
        match left.0.checked_sub(look.length() as u64) {
            Some(rest) => {
                left.0 = rest;
                !self.inverted
            }
            // A packet that does not fit ends it for smaller ones too.
            None => {
                left.0 = 0;
                self.inverted
            }
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --quota {}", if self.inverted { " !" } else { "" }, self.bytes)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " quota: {} bytes", self.bytes)
    }

    fn memory(&self, _now: &Now) -> Memory {
        Memory::Own(Box::new(Left(self.bytes)))
    }

    fn keep(&self, memory: &(dyn Any + Send), _now: &Now) -> Vec<u64> {
        memory.downcast_ref::<Left>().map_or(Vec::new(), |left| vec![left.0])
    }

    fn take_up(&self, memory: &mut (dyn Any + Send), kept: &[u64], _now: &Now) {
        if let (Some(left), &[bytes]) = (memory.downcast_mut::<Left>(), kept) {
            left.0 = bytes.min(self.bytes);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, load, probe, udp};
    use hairpin_engine::Packet;

    #[test]
    fn what_does_not_fit_ends_it() {
        let mut probe = probe(udp(1, 2));
        let loaded = load(&mut probe, "-m quota --quota 100");
        let inverted = load(&mut probe, "-m quota ! --quota 38");
        assert_eq!((probe.ask(&loaded), probe.ask(&loaded)), (Yes, Yes));
        assert_eq!((probe.ask(&inverted), probe.ask(&inverted)), (No, Yes));
        assert_eq!(probe.ask(&loaded), No);
        probe.packet = Packet::from_ip(&hairpin_wire::build::Ipv4::default().to_vec()).unwrap();
        assert_eq!(probe.ask(&loaded), No);
    }
}
