//! `-m nfacct`: count packets in an accounting object, which must have been made before (`nfacct add`).

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::account::Account;
use hairpin_engine::rule::{Listing, Match, Memory};
use hairpin_engine::time::Now;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "nfacct",
    aliases: &[],
    families: Families::Both,
    about: "count packets in an accounting object; with a quota, what comes beyond it",
    kind: Kind::Partly("a rule file has no accounting objects: they are made in a host file or on the running gateway"),
    options: &[Opt::new("nfacct-name", &["name"], "the object's name").required()],
    build,
    cases: &[Case::Fails("", "must be specified")],
};

#[derive(Debug)]
struct NfAcct(String);

/// Where the object was found the last time.
#[derive(Debug, Default)]
struct Found(usize);

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("nfacct-name")?;
    Ok(Arc::new(NfAcct(value::string(given, 1, Account::MAX_NAME)?.to_owned())))
}

impl Match for NfAcct {
    fn name(&self) -> &'static str {
        "nfacct"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let (Some(mut accounts), Some(mut found)) = (look.accounts(), look.memory::<Found>()) else { return false };
        accounts.count(&self.0, &mut found.0, look.length())
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" --nfacct-name ")?;
        value::save_string(f, &self.0)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" nfacct-name ")?;
        value::save_string(f, &self.0)
    }

    fn account(&self) -> Option<&str> {
        Some(&self.0)
    }

    fn memory(&self, _now: &Now) -> Memory {
        Memory::Own(Box::new(Found::default()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check_in, probe, udp};
    use hairpin_engine::account::{Account, Quota};

    #[test]
    fn counts_and_lets_through_what_is_over_the_quota() {
        let mut probe = probe(udp(1, 2));
        let accounts = probe.accounts.get_mut();
        accounts.add(Account::new("other", None)).unwrap();
        accounts.add(Account::new("all", None)).unwrap();
        accounts.add(Account::new("one", Some(Quota::Packets(1)))).unwrap();
        check_in(&mut probe, "-m nfacct --nfacct-name all", Yes);
        check_in(&mut probe, "-m nfacct --nfacct-name one", No);
        check_in(&mut probe, "-m nfacct --nfacct-name one", Yes);
        check_in(&mut probe, "-m nfacct --nfacct-name none", No);
        let counted: Vec<(u64, u64)> = probe.accounts.get_mut().iter().map(|a| (a.packets, a.bytes)).collect();
        assert_eq!(counted, [(0, 0), (1, 38), (2, 76)]);
    }
}
