//! `-j MARK`: change the packet's mark.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Target, Verdict};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const OPERATIONS: &[&str] = &["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"];

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "MARK",
    families: Families::Both,
    about: "change the packet's mark",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-xmark", &["value[/mask]"], "clear the bits of the mask, then XOR the value").excludes(OPERATIONS),
        Opt::new("set-mark", &["value[/mask]"], "clear the bits of the mask, then OR the value").excludes(OPERATIONS),
        Opt::new("and-mark", &["bits"], "AND").excludes(OPERATIONS),
        Opt::new("or-mark", &["bits"], "OR").excludes(OPERATIONS),
        Opt::new("xor-mark", &["bits"], "XOR").excludes(OPERATIONS),
    ],
    build,
    cases: &[
        Case::Same("--set-xmark 0xfeedcafe/0xfeedcafe"),
        Case::Saves("--set-mark 7", "--set-xmark 0x7/0xffffffff"),
        Case::Saves("--and-mark 0xf0", "--set-xmark 0x0/0xffffff0f"),
        Case::Saves("--or-mark 0xf", "--set-xmark 0xf/0xf"),
        Case::Saves("--xor-mark 0xf", "--set-xmark 0xf/0x0"),
        Case::Fails("", "One of"),
    ],
};

#[derive(Debug)]
struct Mark {
    value: u32,
    mask: u32,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let Some(given) = parsed.given.first() else {
        return Err(parsed.error("One of the --set-xmark, --{and,or,xor,set}-mark options is required"));
    };
    let bits = || value::number(parsed, given, 0, u64::from(u32::MAX)).map(|n| n as u32);
    let (value, mask) = match given.option.name {
        "set-xmark" => value::mark_mask(parsed, given)?,
        "set-mark" => value::mark_mask(parsed, given).map(|(v, m)| (v, m | v))?,
        "and-mark" => (0, !bits()?),
        "or-mark" => (bits()?, bits()?),
        _ => (bits()?, 0),
    };
    Ok(Arc::new(Mark { value, mask }))
}

impl Target for Mark {
    fn name(&self) -> &'static str {
        "MARK"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let mark = edit.look().mark();
        edit.set_mark((mark & !self.mask) ^ self.value);
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --set-xmark {:#x}/{:#x}", self.value, self.mask)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        value::list_mark_change(f, "MARK", self.value, self.mask)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp, udp6};
    use crate::testing_targets::act_in;
    use hairpin_engine::rule::Verdict;

    #[test]
    fn changes_the_bits_of_the_mask() {
        for packet in [udp(1, 2), udp6(1, 2)] {
            let mark = |rule: &str| {
                let mut probe = probe(packet.clone());
                probe.packet.meta.mark = 0xf0;
                assert_eq!(act_in(&mut probe, rule), Verdict::Continue);
                probe.packet.meta.mark
            };
            assert_eq!(mark("-j MARK --set-mark 0x5"), 0x5);
            assert_eq!(mark("-j MARK --set-mark 0x5/0xf"), 0xf5);
            assert_eq!(mark("-j MARK --set-xmark 0x5/0xff"), 0x5);
            assert_eq!(mark("-j MARK --and-mark 0x30"), 0x30);
            assert_eq!(mark("-j MARK --or-mark 0x3"), 0xf3);
            assert_eq!(mark("-j MARK --xor-mark 0xff"), 0x0f);
        }
    }
}
