//! `-m comment`: words for people, kept with the rule.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "comment",
    aliases: &[],
    families: Families::Both,
    about: "a comment on the rule; always true",
    kind: Kind::Evaluated,
    options: &[Opt::new("comment", &["text"], "the comment, at most 255 bytes").required()],
    build,
    cases: &[
        Case::Same("--comment foo"),
        Case::Same("--comment \"hi there\""),
        Case::Same("--comment \"\""),
        Case::Saves("--comment foo.bar", "--comment \"foo.bar\""),
        Case::Fails("", "must be specified"),
        Case::Fails("! --comment foo", "cannot be inverted"),
    ],
};

#[derive(Debug)]
struct Comment(String);

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("comment")?;
    Ok(Arc::new(Comment(value::string(given, 0, MAX_BYTES)?.to_owned())))
}

impl Match for Comment {
    fn name(&self) -> &'static str {
        "comment"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        true
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --comment")?;
        value::save_string(f, &self.0)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " /* {} */", self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `XT_MAX_COMMENT_LEN` with its final zero byte.
const MAX_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use crate::testing::{Yes, check, parse, udp};
    use hairpin_wire::Family;

    #[test]
    fn always_true_and_limited() {
        check("-m comment --comment no", udp(1, 2), Yes);
        assert!(parse(Family::V4, &format!("-m comment --comment {}", "x".repeat(255))).is_ok());
        assert!(parse(Family::V4, &format!("-m comment --comment {}", "x".repeat(256))).is_err());
    }
}
