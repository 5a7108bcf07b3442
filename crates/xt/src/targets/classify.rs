//! `-j CLASSIFY`: choose the class of the queueing discipline.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Scope, Target, Verdict};
use hairpin_engine::{Edit, Hook, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CLASSIFY",
    families: Families::Both,
    about: "set the queueing class",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-class", &["major:minor"], "the class, both parts in hexadecimal").required(),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|--set-class 0001:0002"),
        Case::Saves("@mangle FORWARD|--set-class 1:ffff", "--set-class 0001:ffff"),
        Case::Saves("@mangle FORWARD|--set-class 0x1:0x2", "--set-class 0001:0002"),
        Case::Saves("@mangle FORWARD|--set-class 12345:1x", "--set-class 2345:0001"),
        Case::Fails("@mangle FORWARD|--set-class 1:", "Bad class value \"1:\""),
        Case::Fails("@mangle FORWARD|--set-class 1.2", "Bad class value \"1.2\""),
        Case::Fails("@mangle FORWARD|", "must be specified"),
    ],
};

#[derive(Debug)]
struct Classify {
    major: u16,
    minor: u16,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let given = parsed.required("set-class")?;
    let text = given.value();
    let parts = scan_hex(text).and_then(|(major, rest)| {
        let (minor, _) = scan_hex(rest.strip_prefix(':')?)?;
        Some((major, minor))
    });
    match parts {
        // Each part has 16 bits; more are cut off.
        Some((major, minor)) => Ok(Arc::new(Classify { major: major as u16, minor: minor as u16 })),
        None => Err(SyntaxError::parameter(format!("Bad class value \"{text}\"")).at(text)),
    }
}

/// A hexadecimal number as C's `scanf` with `%x` reads it, and what follows it.
fn scan_hex(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let value = u64::from_str_radix(digits, 16).ok()? as u32;
    Some((if negative { value.wrapping_neg() } else { value }, rest))
}

impl Target for Classify {
    fn name(&self) -> &'static str {
        "CLASSIFY"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        edit.set_priority(u32::from(self.major) << 16 | u32::from(self.minor));
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --set-class {:04x}:{:04x}", self.major, self.minor)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " CLASSIFY set {:x}:{:x}", self.major, self.minor)
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Forward, Hook::Output, Hook::Postrouting]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::udp;
    use crate::testing_targets::changed;

    #[test]
    fn sets_the_priority() {
        assert_eq!(changed("-j CLASSIFY --set-class 1:ff", udp(1, 2)).meta.priority, 0x1_00ff);
    }
}
