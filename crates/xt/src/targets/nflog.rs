//! `-j NFLOG`: hand the packet to a logger in user space.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Target, Verdict};
use hairpin_engine::event::NflogPacket;
use hairpin_engine::{Edit, Event};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "NFLOG",
    families: Families::Both,
    about: "hand the packet to a logger in user space",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("nflog-group", &["group"], "the group of loggers, 0 when not given"),
        Opt::new("nflog-prefix", &["prefix"], "what goes with it, up to 63 bytes"),
        Opt::new("nflog-range", &["bytes"], "has never had an effect").excludes(&["nflog-size"]),
        Opt::new("nflog-size", &["bytes"], "so much of the packet").excludes(&["nflog-range"]),
        Opt::new("nflog-threshold", &["packets"], "so many packets at a time"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("--nflog-prefix \"a b\" --nflog-group 5 --nflog-size 64 --nflog-threshold 7"),
        Case::Same("--nflog-range 5"),
        Case::Same("--nflog-size 0"),
        Case::Saves("--nflog-group 0 --nflog-range 0 --nflog-threshold 0", ""),
        Case::Fails("--nflog-group 65536", "out of range (0-65535)"),
        Case::Fails("--nflog-prefix \"\"", "minimum length of 1"),
        Case::Fails("--nflog-range 1 --nflog-size 1", "cannot be used together"),
    ],
};

/// The longest prefix in bytes; the rest is cut off.
const PREFIX_MAX: usize = 63;

#[derive(Debug)]
struct NfLog {
    group: u16,
    prefix: Arc<str>,
    range: u32,
    size: Option<u32>,
    threshold: u16,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let prefix = match parsed.get("nflog-prefix") {
        None => "",
        Some(given) => {
            let text = value::string(given, 1, usize::MAX)?;
            if text.contains('\n') {
                return Err(SyntaxError::parameter("Newlines not allowed in --log-prefix").at(text));
            }
            value::cut(text, PREFIX_MAX)
        }
    };
    let number = |name: &str| parsed.get(name).map(|given| value::number_u32(parsed, given)).transpose();
    let short = |name: &str| parsed.get(name).map_or(Ok(0), |given| value::number_u16(parsed, given));
    let log = NfLog {
        group: short("nflog-group")?,
        prefix: Arc::from(prefix),
        range: number("nflog-range")?.unwrap_or(0),
        size: number("nflog-size")?,
        threshold: short("nflog-threshold")?,
    };
    if parsed.has("nflog-range") && parsed.complete {
        parsed.notice(
            "warn: --nflog-range has never worked and is no longer supported, please use --nflog-size instead",
        );
    }
    Ok(Arc::new(log))
}

impl Target for NfLog {
    fn name(&self) -> &'static str {
        "NFLOG"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let (bytes, hook) = (look.bytes(), look.hook());
        let size = self.size.map_or(bytes.len(), |size| bytes.len().min(size as usize));
        let bytes = bytes.get(..size).unwrap_or(bytes).to_vec();
        let packet = NflogPacket {
            group: self.group,
            prefix: Arc::clone(&self.prefix),
            bytes,
            family: look.family(),
            hook,
            iif: look.iif().map(|device| device.index),
            oif: look.oif().map(|device| device.index),
            mark: look.mark(),
            link_header: look.link_header().to_vec(),
        };
        edit.event(Event::Nflog(Box::new(packet)));
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        self.write(f, "")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl NfLog {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        if !self.prefix.is_empty() {
            write!(f, " {dashes}nflog-prefix")?;
            value::save_string(f, &self.prefix)?;
        }
        if self.group != 0 {
            write!(f, " {dashes}nflog-group {}", self.group)?;
        }
        match (self.size, self.range) {
            (Some(size), _) => write!(f, " {dashes}nflog-size {size}")?,
            (None, 0) => {}
            (None, range) => write!(f, " {dashes}nflog-range {range}")?,
        }
        match self.threshold {
            0 => Ok(()),
            threshold => write!(f, " {dashes}nflog-threshold {threshold}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::Event;
    use hairpin_engine::rule::Verdict;

    #[test]
    fn hands_over_so_much() {
        let length = |rule| {
            let mut probe = probe(udp(1, 2));
            assert_eq!(act_in(&mut probe, rule), Verdict::Continue);
            match probe.events.as_slice() {
                [Event::Nflog(packet)] => (packet.group, packet.bytes.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(length("-j NFLOG --nflog-group 5"), (5, 38));
        assert_eq!(length("-j NFLOG --nflog-size 20"), (0, 20));
        assert_eq!(length("-j NFLOG --nflog-size 2000"), (0, 38));
    }
}
