//! `-j LED`: blink a light for each packet.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Target, Verdict};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "LED",
    families: Families::Both,
    about: "blink a light (there is none here)",
    kind: Kind::NoEffect("there is no light"),
    options: &[
        Opt::new("led-trigger-id", &["name"], "the trigger's name, up to 16 bytes").required(),
        Opt::new("led-delay", &["ms|inf"], "how long the light stays on after a packet"),
        Opt::switch("led-always-blink", "blink even when the light is on already"),
    ],
    build,
    cases: &[
        Case::Same("--led-trigger-id \"foo\""),
        Case::Same("--led-trigger-id \"foo\" --led-delay 42 --led-always-blink"),
        Case::Saves("--led-trigger-id foo --led-delay INF", "--led-trigger-id \"foo\" --led-delay inf"),
        Case::Saves("--led-trigger-id foo --led-delay 0", "--led-trigger-id \"foo\""),
        Case::Fails("--led-trigger-id 12345678901234567", "maximum length of 16 characters"),
        Case::Fails("--led-trigger-id \"\"", "cannot be blank"),
        Case::Fails("", "must be specified"),
    ],
};

/// There is no light: the packet goes on.
#[derive(Debug)]
struct Led {
    trigger: String,
    /// In milliseconds; negative for ever.
    delay: i32,
    always_blink: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let delay = match parsed.get("led-delay").map(|given| given.value()) {
        None => 0,
        Some(text) if text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("inf")) => -1,
        Some(text) => value::number_within(text, 0, u64::from(u32::MAX)).map(|n| n as i32).ok_or_else(|| {
            SyntaxError::parameter("Delay value must be within range 0..4294967295").at(text)
        })?,
    };
    let given = parsed.required("led-trigger-id")?;
    let trigger = value::string(given, 0, 16)?;
    if trigger.is_empty() {
        return Err(SyntaxError::parameter("--led-trigger-id cannot be blank").at(trigger));
    }
    Ok(Arc::new(Led { trigger: trigger.to_owned(), delay, always_blink: parsed.has("led-always-blink") }))
}

impl Target for Led {
    fn name(&self) -> &'static str {
        "LED"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --led-trigger-id \"")?;
        self.write_trigger(f)?;
        f.write_str("\"")?;
        match self.delay {
            0 => {}
            delay if delay < 0 => f.write_str(" --led-delay inf")?,
            delay => write!(f, " --led-delay {delay}")?,
        }
        f.write_str(if self.always_blink { " --led-always-blink" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" led-trigger-id:\"")?;
        self.write_trigger(f)?;
        f.write_str("\"")?;
        match self.delay {
            0 => {}
            delay if delay < 0 => f.write_str(" led-delay:inf")?,
            delay => write!(f, " led-delay:{delay}ms")?,
        }
        f.write_str(if self.always_blink { " led-always-blink" } else { "" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Led {
    fn write_trigger(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.trigger.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{udp, udp6};
    use crate::testing_targets::changed;

    #[test]
    fn leaves_the_packet_and_goes_on() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            let after = changed("-j LED --led-trigger-id one", packet.clone());
            assert_eq!((after.ip(), after.meta.mark), (&packet[..], 0));
        }
    }
}
