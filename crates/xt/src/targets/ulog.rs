//! `-j ULOG`: packets to a program's log. Linux 3.17 took it out in favour of NFLOG.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Place, Refused, Target, Verdict};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "ULOG",
    families: Families::V4,
    about: "packets to a program's log",
    kind: Kind::Refused("Linux has had none since 3.17; NFLOG does it"),
    options: &[
        Opt::new("ulog-nlgroup", &["group"], "to the programs of this group, 1 to 32; 1 when not given"),
        Opt::new("ulog-prefix", &["prefix"], "what the line begins with, up to 32 bytes"),
        Opt::new("ulog-cprange", &["size"], "so much of the packet; all when not given"),
        Opt::new("ulog-qthreshold", &["packets"], "so many at a time, 1 to 50; 1 when not given"),
    ],
    build,
    cases: &[
        Case::Fails("--ulog-nlgroup 33", "out of range (1-32)"),
        Case::Fails("--ulog-qthreshold 51", "out of range (1-50)"),
    ],
};

#[derive(Debug)]
struct Ulog {
    group: u8,
    prefix: String,
    size: u64,
    threshold: u8,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let number = |name: &str, max: u64| match parsed.get(name) {
        Some(given) => value::number(parsed, given, 1, max).map(|n| n as u8),
        None => Ok(1),
    };
    Ok(Arc::new(Ulog {
        group: number("ulog-nlgroup", 32)?,
        prefix: match parsed.get("ulog-prefix") {
            Some(given) => value::cut(value::string(given, 1, usize::MAX)?, PREFIX_MAX).to_owned(),
            None => String::new(),
        },
        size: parsed.get("ulog-cprange").map_or(Ok(0), |given| value::number_u64(parsed, given))?,
        threshold: number("ulog-qthreshold", 50)?,
    }))
}

impl Ulog {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        if self.size != 0 {
            write!(f, " {dashes}{} {}", if dashes.is_empty() { "copy_range" } else { "ulog-cprange" }, self.size)?;
        }
        Ok(())
    }
}

impl Target for Ulog {
    fn name(&self) -> &'static str {
        "ULOG"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prefix.is_empty() {
            f.write_str(" --ulog-prefix")?;
            value::save_string(f, &self.prefix)?;
        }
        if self.group != 1 {
            write!(f, " --ulog-nlgroup {}", self.group)?;
        }
        self.write(f, "--")?;
        if self.threshold != 1 { write!(f, " --ulog-qthreshold {}", self.threshold) } else { Ok(()) }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " ULOG ")?;
        self.write(f, "")?;
        write!(f, " nlgroup {}", self.group)?;
        if !self.prefix.is_empty() {
            write!(f, " prefix \"{}\"", self.prefix)?;
        }
        write!(f, " queue_threshold {}", self.threshold)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        Err(Refused::Missing("there is no target ULOG since Linux 3.17".to_owned()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `ULOG_PREFIX_LEN` without the final zero byte.
const PREFIX_MAX: usize = 31;
