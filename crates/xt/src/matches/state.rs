//! `-m state`: the state of the packet's connection, as `-m conntrack --ctstate` under an older name.

use super::conntrack::{STATES, parse_list, save_list, state_of};
use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "state",
    aliases: &[],
    families: Families::Both,
    about: "state of the packet's connection",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("state", &["state[,state...]"], "INVALID, NEW, ESTABLISHED, RELATED or UNTRACKED").inverts().required(),
    ],
    build,
    cases: &[
        Case::Same("--state INVALID"),
        Case::Same("! --state NEW,RELATED"),
        Case::Saves("--state ESTABLISHED,RELATED", "--state RELATED,ESTABLISHED"),
        Case::Fails("--state SNAT", "Bad state \"SNAT\""),
        Case::Fails("--state NEW,", "requires a list of states"),
        Case::Fails("--state ,", "Bad state \",\""),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct State {
    states: u8,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("state")?;
    // Without SNAT and DNAT, which came later.
    let parse = |text: &str| parse_list(STATES.get(..5).unwrap_or(STATES), "state", text);
    let is_unfinished = given.value().strip_suffix(',').is_some_and(|list| parse(list).is_ok());
    if is_unfinished || given.value().is_empty() {
        let message = "\"--state\" requires a list of states with no spaces, e.g. ESTABLISHED,RELATED";
        return Err(SyntaxError::parameter(message).at(given.value()));
    }
    let states = parse(given.value())?;
    Ok(Arc::new(State { states, inverted: given.inverted }))
}

impl Match for State {
    fn name(&self) -> &'static str {
        "state"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        (self.states & state_of(look) != 0) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --state " } else { " --state " })?;
        save_list(f, STATES, self.states)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! state " } else { " state " })?;
        save_list(f, STATES, self.states)
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, belongs, check_in, connection, probe, udp};
    use hairpin_engine::track::{Class, Direction};

    #[test]
    fn states() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m state --state INVALID", Yes);
        check_in(&mut probe, "-m state ! --state INVALID", No);
        let id = connection(&mut probe, 17, 5, |_| {});
        belongs(&mut probe, id, Class::Established(Direction::Original));
        check_in(&mut probe, "-m state --state RELATED,ESTABLISHED", Yes);
        check_in(&mut probe, "-m state --state NEW", No);
    }
}
