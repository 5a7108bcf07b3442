//! `-j NOTRACK`: keep the packet out of connection tracking.

use crate::option::{Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "NOTRACK",
    families: Families::Both,
    about: "keep the packet out of connection tracking",
    kind: Kind::Evaluated,
    options: &[],
    build,
    cases: &[Case::Same("@raw PREROUTING|"), Case::Same("@raw OUTPUT|")],
};

#[derive(Debug)]
struct NoTrack;

fn build(_parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    Ok(Arc::new(NoTrack))
}

impl Target for NoTrack {
    fn name(&self) -> &'static str {
        "NOTRACK"
    }

    fn kernel_name(&self) -> &'static str {
        "CT"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        edit.untrack();
        Verdict::Continue
    }

    fn save(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" NOTRACK")
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Raw]), hooks: Hooks::ALL, protocols: Protocols::Any }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::{act_in, track};
    use hairpin_engine::track::Tracked;

    #[test]
    fn leaves_what_is_tracked_already() {
        let mut new = probe(udp(1, 2));
        act_in(&mut new, "-j NOTRACK");
        assert_eq!(new.packet.meta.tracked, Tracked::Untracked);
        let mut known = probe(udp(1, 2));
        track(&mut known, 0);
        act_in(&mut known, "-j NOTRACK");
        assert!(matches!(known.packet.meta.tracked, Tracked::Conn(..)));
    }
}
