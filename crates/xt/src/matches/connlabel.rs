//! `-m connlabel`: a label of the packet's connection, which the match may also set.

use crate::option::{Given, NameKind, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Needs, Place, Refused};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "connlabel",
    aliases: &[],
    families: Families::Both,
    about: "a label of the packet's connection",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("label", &["name|number"], "the connection has this label").inverts().required(),
        Opt::switch("set", "give it the label; the packet fits when that succeeds"),
    ],
    build,
    cases: &[
        Case::Same("! --label \"40\" --set"),
        Case::Saves("--label 127", "--label \"127\""),
        Case::Fails("--label foo", "label 'foo' not found or invalid value"),
        Case::Saves("--label 65536", "--label \"0\""),
        Case::Fails("--label -1", "label '-1' not found or invalid value"),
        Case::Fails("--label -5", "label '-5' not found or invalid value"),
        Case::Fails("--label 2147483648", "label '2147483648' not found or invalid value"),
        Case::Fails("--label \"\"", "Argument must have a minimum length of 1 characters"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct ConnLabel {
    bit: u16,
    name: Option<String>,
    inverted: bool,
    set: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("label")?;
    let bit = parse_label(parsed, given)?;
    Ok(Arc::new(ConnLabel {
        bit,
        name: parsed.names.name(NameKind::ConnLabel, u32::from(bit)),
        inverted: given.inverted,
        set: parsed.has("set"),
    }))
}

fn parse_label(parsed: &Parsed<'_>, given: &Given) -> Result<u16, SyntaxError> {
    let text = value::string(given, 1, usize::MAX)?;
    let named = parsed.names.number(NameKind::ConnLabel, text).and_then(|bit| u16::try_from(bit).ok());
    // The number goes through an int, which stands for none when it is negative, into 16 bits.
    let signed = || match text.strip_prefix('-') {
        Some(number) => value::parse_number(number).map(u64::wrapping_neg),
        None => value::parse_number(text),
    };
    let number = || signed().filter(|n| *n as i32 >= 0).map(|bit| bit as u16);
    named
        .or_else(number)
        .ok_or_else(|| SyntaxError::parameter(format!("label '{text}' not found or invalid value")).at(text))
}

impl Match for ConnLabel {
    fn name(&self) -> &'static str {
        "connlabel"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(labels) = look.conn_labels() else { return self.inverted };
        let bit = 1u128.checked_shl(u32::from(self.bit)).unwrap_or(0);
        if self.set {
            labels.set(labels.get() | bit);
        }
        (labels.get() & bit != 0) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --label " } else { " --label " })?;
        match &self.name {
            Some(name) => write!(f, "\"{name}\"")?,
            None => write!(f, "\"{}\"", self.bit)?,
        }
        f.write_str(if self.set { " --set" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " connlabel !" } else { " connlabel" })?;
        match &self.name {
            Some(name) => write!(f, " {name}")?,
            None => write!(f, " {}", self.bit)?,
        }
        f.write_str(if self.set { " set" } else { "" })
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.bit > LAST {
            return Err(Refused::Range(format!("xt_connlabel: label {} is above {LAST}", self.bit)));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs::LABELS
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A connection has 128 labels.
const LAST: u16 = 127;

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, belongs, check_in, connection, loads, parse, probe, udp};
    use hairpin_engine::track::Class;
    use hairpin_wire::Family;
    use std::cell::Cell;

    #[test]
    fn tests_and_sets() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m connlabel --label 5", No);
        check_in(&mut probe, "-m connlabel ! --label 5 --set", Yes);
        let plain = connection(&mut probe, 17, 5, |_| {});
        belongs(&mut probe, plain, Class::New);
        check_in(&mut probe, "-m connlabel --label 5 --set", No);
        let labelled = connection(&mut probe, 17, 6, |conn| conn.extra_mut().labels = Some(Cell::new(1 << 7)));
        belongs(&mut probe, labelled, Class::New);
        check_in(&mut probe, "-m connlabel --label 7", Yes);
        check_in(&mut probe, "-m connlabel --label 127", No);
        check_in(&mut probe, "-m connlabel ! --label 127 --set", No);
        check_in(&mut probe, "-m connlabel --label 127", Yes);
    }

    #[test]
    fn what_the_kernel_refuses() {
        assert!(loads(parse(Family::V4, "-m connlabel --label 127").unwrap()).is_ok());
        assert!(loads(parse(Family::V4, "-m connlabel --label 128").unwrap()).is_err());
    }
}
