//! `-m nfacct`: count packets in an accounting object. There are no such objects here, so no rule can be loaded with it, as
//! on Linux before `nfacct add` was run.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "nfacct",
    aliases: &[],
    families: Families::Both,
    about: "count packets in an accounting object; there are none here",
    kind: Kind::Refused("no accounting object can be made, so none is found"),
    options: &[Opt::new("nfacct-name", &["name"], "the object's name").required()],
    build,
    cases: &[Case::Fails("", "must be specified")],
};

#[derive(Debug)]
struct NfAcct(String);

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("nfacct-name")?;
    Ok(Arc::new(NfAcct(value::string(given, 1, MAX_NAME)?.to_owned())))
}

impl Match for NfAcct {
    fn name(&self) -> &'static str {
        "nfacct"
    }

    fn matches(&self, _look: &Look<'_>) -> bool {
        false
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --nfacct-name {}", self.0)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " nfacct-name  {}", self.0)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        Err(Refused::Missing(format!("xt_nfacct: accounting object `{}' does not exist", self.0)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `NFACCT_NAME_MAX` without the final zero byte.
const MAX_NAME: usize = 31;

#[cfg(test)]
mod tests {
    use crate::testing::{loads, parse};
    use hairpin_engine::rule::Refused;
    use hairpin_wire::Family;

    #[test]
    fn no_object_exists() {
        let built = parse(Family::V4, "-m nfacct --nfacct-name foo").unwrap();
        assert!(matches!(loads(built), Err(Refused::Missing(_))));
    }
}
