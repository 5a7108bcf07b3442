//! `-j LOG`: write a line about the packet to the kernel log.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::log_line::{LogFlags, log_line};
use hairpin_engine::rule::{Listing, Target, Verdict};
use hairpin_engine::{Edit, Event};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The level that is not written out when saving: warning.
const DEFAULT_LEVEL: u8 = 4;
/// The longest prefix in bytes; the rest is cut off.
const PREFIX_MAX: usize = 29;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "LOG",
    families: Families::Both,
    about: "write a line about the packet to the kernel log",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("log-level", &["level"], "syslog level, 0 to 7 or its name; warning when not given"),
        Opt::new("log-prefix", &["prefix"], "what the line begins with, up to 29 bytes"),
        Opt::switch("log-tcp-sequence", "with TCP sequence numbers"),
        Opt::switch("log-tcp-options", "with TCP options"),
        Opt::switch("log-ip-options", "with IP options"),
        Opt::switch("log-uid", "with the user id of the local sender"),
        Opt::switch("log-macdecode", "with link addresses and type taken apart"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("--log-prefix \"in: \" --log-level 1 --log-uid"),
        Case::Same("--log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode"),
        Case::Saves("--log-level debug --log-prefix a", "--log-prefix a --log-level 7"),
        Case::Saves("--log-level warning", ""),
        Case::Saves(
            "--log-prefix 12345678901234567890123456789012345",
            "--log-prefix 12345678901234567890123456789",
        ),
        Case::Fails("--log-level err", "log level \"err\" unknown"),
        Case::Fails("--log-prefix \"\"", "minimum length of 1"),
        Case::Fails("--log-prefix \"a\nb\"", "Newlines not allowed in --log-prefix"),
    ],
};

#[derive(Debug)]
struct Log {
    level: u8,
    prefix: String,
    flags: LogFlags,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let level = parsed.get("log-level").map_or(Ok(DEFAULT_LEVEL), value::syslog_level)?;
    let prefix = match parsed.get("log-prefix") {
        None => String::new(),
        Some(given) => {
            let text = value::string(given, 1, usize::MAX)?;
            if text.contains('\n') {
                return Err(SyntaxError::parameter("Newlines not allowed in --log-prefix").at(text));
            }
            value::cut(text, PREFIX_MAX).to_owned()
        }
    };
    let flags = LogFlags {
        tcp_sequence: parsed.has("log-tcp-sequence"),
        tcp_options: parsed.has("log-tcp-options"),
        ip_options: parsed.has("log-ip-options"),
        uid: parsed.has("log-uid"),
        macdecode: parsed.has("log-macdecode"),
    };
    Ok(Arc::new(Log { level, prefix, flags }))
}

impl Target for Log {
    fn name(&self) -> &'static str {
        "LOG"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let line = log_line(&edit.look(), &self.prefix, self.flags);
        edit.event(Event::Log { level: self.level, line });
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prefix.is_empty() {
            f.write_str(" --log-prefix")?;
            value::save_string(f, &self.prefix)?;
        }
        if self.level != DEFAULT_LEVEL {
            write!(f, " --log-level {}", self.level)?;
        }
        let switches = [
            (self.flags.tcp_sequence, " --log-tcp-sequence"),
            (self.flags.tcp_options, " --log-tcp-options"),
            (self.flags.ip_options, " --log-ip-options"),
            (self.flags.uid, " --log-uid"),
            (self.flags.macdecode, " --log-macdecode"),
        ];
        switches.iter().filter(|(on, _)| *on).try_for_each(|(_, text)| f.write_str(text))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        let flags = [
            (self.flags.tcp_sequence, 1, " tcp-sequence"),
            (self.flags.tcp_options, 2, " tcp-options"),
            (self.flags.ip_options, 4, " ip-options"),
            (self.flags.uid, 8, " uid"),
            (self.flags.macdecode, 32, " macdecode"),
        ];
        let set = flags.iter().filter(|(on, ..)| *on);
        if listing.numeric {
            write!(f, " LOG flags {} level {}", set.map(|(_, bit, _)| bit).sum::<u8>(), self.level)?;
        } else {
            write!(f, " LOG level {}", LEVELS.get(usize::from(self.level)).unwrap_or(&""))?;
            set.into_iter().try_for_each(|(.., text)| f.write_str(text))?;
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, " prefix \"{}\"", self.prefix) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What listing calls the levels.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp6};
    use crate::testing_targets::act_in;
    use hairpin_engine::Event;
    use hairpin_engine::rule::Verdict;

    #[test]
    fn writes_a_line_and_goes_on() {
        let mut probe = probe(udp6(5, 6));
        assert_eq!(act_in(&mut probe, "-j LOG --log-prefix six: --log-level 6"), Verdict::Continue);
        let Some(Event::Log { level: 6, line }) = probe.events.first() else { panic!("{:?}", probe.events) };
        let src = "SRC=2001:0db8:0000:0000:0000:0000:0000:0001";
        assert!(line.starts_with("six:IN= OUT= ") && line.contains(src), "{line}");
        assert!(line.contains("HOPLIMIT=64") && line.contains("PROTO=UDP SPT=5 DPT=6"), "{line}");
    }
}
