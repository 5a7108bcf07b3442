//! `-m helper`: the packet's connection was announced by a connection with this helper.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "helper",
    aliases: &[],
    families: Families::Both,
    about: "the packet's connection was announced by one with this helper",
    kind: Kind::Evaluated,
    options: &[Opt::new("helper", &["name"], "the helper's name, perhaps with -PORT; empty for any").inverts().required()],
    build,
    cases: &[
        Case::Same("--helper ftp"),
        Case::Same("! --helper ftp-2121"),
        Case::Same("--helper \"\""),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct Helper {
    name: String,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("helper")?;
    Ok(Arc::new(Helper { name: value::cut(given.value(), MAX_BYTES).to_owned(), inverted: given.inverted }))
}

impl Match for Helper {
    fn name(&self) -> &'static str {
        "helper"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let master = look.conn().and_then(|(conn, _)| conn.master());
        let helper = master.and_then(|master| look.other_conn(master)?.helper());
        // The kernel compares as many bytes as the helper's own name has.
        let fits = helper.is_some_and(|helper| self.name.is_empty() || self.name.starts_with(helper));
        fits != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --helper" } else { " --helper" })?;
        value::save_string(f, &self.name)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " helper match {}\"{}\"", if self.inverted { "! " } else { "" }, self.name)
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The longest name with its final zero byte is 30.
const MAX_BYTES: usize = 29;

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, belongs, check_in, connection, probe, udp};
    use hairpin_engine::track::Class;

    #[test]
    fn the_announced_connection_fits() {
        let mut probe = probe(udp(5, 80));
        let master = connection(&mut probe, 6, 5, |conn| conn.extra_mut().helper = Some("ftp"));
        let data = connection(&mut probe, 6, 6, |conn| conn.extra_mut().master = Some(master));
        belongs(&mut probe, master, Class::New);
        check_in(&mut probe, "-m helper --helper ftp", No);
        check_in(&mut probe, "-m helper ! --helper ftp", Yes);
        belongs(&mut probe, data, Class::New);
        check_in(&mut probe, "-m helper --helper ftp", Yes);
        check_in(&mut probe, "-m helper --helper ftp-2121", Yes);
        check_in(&mut probe, "-m helper --helper tftp", No);
        check_in(&mut probe, "-m helper --helper \"\"", Yes);
        check_in(&mut probe, "-m helper ! --helper ftp", No);
    }
}
