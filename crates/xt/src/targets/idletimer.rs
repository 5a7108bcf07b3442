//! `-j IDLETIMER`: note that there is traffic, for somebody who waits until there is none.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Place, Refused, Shared, SharedKind, Target, Verdict};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "IDLETIMER",
    families: Families::Both,
    about: "note that there is traffic (nobody is told when there is none)",
    kind: Kind::NoEffect("its timer shows only in files of sysfs, which are not here"),
    options: &[
        Opt::new("timeout", &["seconds"], "how long there must be none").required(),
        Opt::new("label", &["name"], "the timer's name").required(),
        Opt::switch("alarm", "wake the machine for it"),
    ],
    build,
    cases: &[
        Case::Same("--timeout 5 --label foo"),
        Case::Same("--timeout 5 --label foo --alarm"),
        Case::Saves("--timeout 5 --label a2345678901234567890123456789", "--timeout 5 --label a23456789012345678901234567"),
        Case::Fails("--timeout 4294967296 --label a", "out of range (0-4294967295)"),
        Case::Fails("--timeout 5", "must be specified"),
        Case::Fails("", "must be specified"),
    ],
};

/// The longest label in bytes; the rest is cut off.
const LABEL_MAX: usize = 27;
/// Longer time-outs would not fit the kernel's milliseconds.
const TIMEOUT_MAX: u32 = i32::MAX as u32 / 1000;

/// The kernel's timer shows in a file of sysfs, and there is none here: the packet goes on.
#[derive(Debug)]
struct IdleTimer {
    timeout: u32,
    label: String,
    alarm: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let timeout = value::number_u32(parsed, parsed.required("timeout")?)?;
    let label = parsed.required("label")?;
    Ok(Arc::new(IdleTimer {
        timeout,
        label: value::cut(label.value(), LABEL_MAX).to_owned(),
        alarm: parsed.has("alarm"),
    }))
}

impl Target for IdleTimer {
    fn name(&self) -> &'static str {
        "IDLETIMER"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --timeout {} --label {}", self.timeout, self.label)?;
        f.write_str(if self.alarm { " --alarm" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " timeout:{} label:{}", self.timeout, self.label)?;
        f.write_str(if self.alarm { " alarm" } else { "" })
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let refuse = |text: &str| Err(Refused::Invalid(format!("xt_idletimer: {text}")));
        if self.timeout == 0 {
            return refuse("timeout value is zero");
        }
        if self.timeout >= TIMEOUT_MAX {
            return refuse("timeout value is too big");
        }
        if self.label.is_empty() {
            return refuse("label is empty or not nul-terminated");
        }
        if self.label.contains('/') || matches!(self.label.as_str(), "." | "..") {
            return refuse("the label cannot be a file's name");
        }
        // The files that every device has in sysfs.
        if ["power", "subsystem", "uevent"].contains(&self.label.as_str()) {
            return refuse("the label is taken");
        }
        Ok(())
    }

    fn shares(&self) -> Option<Shared<'_>> {
        Some(Shared { kind: SharedKind::IdleTimer, name: &self.label, form: u32::from(self.alarm) })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{udp, udp6};
    use crate::testing_targets::changed;

    #[test]
    fn leaves_the_packet_and_goes_on() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            let after = changed("-j IDLETIMER --timeout 5 --label one", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
