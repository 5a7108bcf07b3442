//! `-j CT`: say how a packet is to be tracked, before it is.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::packet::Template;
use hairpin_engine::rule::{Listing, Needs, Place, Protocols, Refused, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::track::{Zone, helper};
use hairpin_engine::{Edit, Hooks};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The events of a connection, in the order in which saving lists them.
const CT_EVENTS: &[&str] = &[
    "new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark",
];
/// The events of an expectation.
const EXP_EVENTS: &[&str] = &["new"];

/// The longest name of a helper in bytes; the rest is cut off.
const HELPER_MAX: usize = 15;
/// The longest name of a time-out policy in bytes.
const POLICY_MAX: usize = 31;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CT",
    families: Families::Both,
    about: "say how the packet is to be tracked",
    kind: Kind::Partly("policies of time-outs are kept and not used"),
    options: &[
        Opt::switch("notrack", "not at all"),
        Opt::new("helper", &["name"], "by this helper"),
        Opt::new("timeout", &["name"], "with this policy of time-outs"),
        Opt::new("ctevents", &["event[,event...]"], "report only these events of the connection"),
        Opt::new("expevents", &["event[,event...]"], "report only these events of expectations"),
        Opt::new("zone", &["id|mark"], "in this zone, or the one that the packet's mark names"),
        Opt::new("zone-orig", &["id|mark"], "in this zone in original direction only"),
        Opt::new("zone-reply", &["id|mark"], "in this zone in reply direction only"),
    ],
    build,
    cases: &[
        Case::Same("@raw PREROUTING|"),
        Case::Same("@raw PREROUTING|--notrack"),
        Case::Same("@raw PREROUTING|-p tcp |--helper ftp --ctevents new,destroy --expevents new --zone 5"),
        Case::Same("@raw PREROUTING|--zone mark"),
        Case::Same("@raw OUTPUT|--zone-orig 5"),
        Case::Same("@raw OUTPUT|--zone-reply mark"),
        Case::Saves("@raw OUTPUT|--zone-orig 5 --zone-reply 6", "--zone 6"),
        Case::Saves("@raw OUTPUT|--zone 5 --zone-reply 6", "--zone-reply 6"),
        Case::Saves("@raw OUTPUT|--zone 0x10", "--zone 16"),
        Case::Saves("@raw OUTPUT|--zone 0", ""),
        Case::Saves("@raw OUTPUT|--ctevents secmark,mark,new", "--ctevents new,mark,secmark"),
        Case::Fails("@raw OUTPUT|--zone 65536", "Cannot parse 65536 as a zone ID"),
        Case::Fails("@raw OUTPUT|--ctevents new,foo", "Unknown event type \"foo\""),
        Case::Fails("@raw OUTPUT|--expevents destroy", "Unknown event type \"destroy\""),
    ],
};

/// Which directions a zone is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Directions {
    original: bool,
    reply: bool,
}

#[derive(Debug)]
struct Ct {
    notrack: bool,
    helper: String,
    policy: String,
    ct_events: u16,
    exp_events: u16,
    zone: u16,
    zone_is_mark: bool,
    directions: Directions,
    template: Arc<Template>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let text = |name: &str, max: usize| parsed.get(name).map_or("", |g| value::cut(g.value(), max)).to_owned();
    let mut this = Ct {
        notrack: parsed.has("notrack"),
        helper: text("helper", HELPER_MAX),
        policy: text("timeout", POLICY_MAX),
        ct_events: parsed.get("ctevents").map_or(Ok(0), |g| events(g, CT_EVENTS))?,
        exp_events: parsed.get("expevents").map_or(Ok(0), |g| events(g, EXP_EVENTS))?,
        zone: 0,
        zone_is_mark: false,
        directions: Directions::default(),
        template: Arc::default(),
    };
    // The three share one place: the last one given counts, but a direction once named stays.
    for given in &parsed.given {
        match given.option.name {
            "zone" => {}
            "zone-orig" => this.directions.original = true,
            "zone-reply" => this.directions.reply = true,
            _ => continue,
        }
        this.zone_is_mark |= given.value() == "mark";
        if given.value() != "mark" {
            let id = value::number_within(given.value(), 0, u64::from(u16::MAX));
            this.zone = id.map(|id| id as u16).ok_or_else(|| {
                let message = format!("Cannot parse {} as a zone ID", given.value());
                SyntaxError::parameter(message).at(given.value())
            })?;
        }
    }
    let both = this.directions.original == this.directions.reply;
    let place = |value: u16| Zone {
        original: if both || this.directions.original { value } else { 0 },
        reply: if both || this.directions.reply { value } else { 0 },
    };
    let (zone, mark_bits) = if this.zone_is_mark { (0, u16::MAX) } else { (this.zone, 0) };
    this.template = Arc::new(Template {
        zone: place(zone),
        mark_bits: place(mark_bits),
        helper: (!this.helper.is_empty()).then(|| this.helper.clone()),
        proxied: false,
    });
    Ok(Arc::new(this))
}

fn events(given: &Given, names: &[&str]) -> Result<u16, SyntaxError> {
    given.value().split(',').try_fold(0, |bits, word| match names.iter().position(|name| *name == word) {
        Some(bit) => Ok(bits | 1 << bit),
        None => Err(SyntaxError::parameter(format!("Unknown event type \"{word}\"")).at(word)),
    })
}

impl Target for Ct {
    fn name(&self) -> &'static str {
        "CT"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        if self.notrack {
            edit.untrack();
        } else {
            edit.set_template(&self.template);
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" CT")?;
        self.write(f, "")
    }

    fn scope(&self) -> Scope {
        Scope { tables: Tables::of(&[TableId::Raw]), hooks: Hooks::ALL, protocols: Protocols::Any }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if self.notrack || (self.helper.is_empty() && self.policy.is_empty()) {
            return Ok(());
        }
        let protocol = (header.protocol != 0 && !header.protocol_inverted).then_some(header.protocol);
        if !self.helper.is_empty() {
            let Some(protocol) = protocol else {
                return Err(Refused::Missing(
                    "xt_CT: You must specify a L4 protocol and not use inversions on it".to_owned(),
                ));
            };
            if !helper::is_known(&self.helper, place.family, protocol) {
                return Err(Refused::Missing(format!("xt_CT: No such helper \"{}\"", self.helper)));
            }
        }
        if !self.policy.is_empty() {
            // There is no way to make a policy of time-outs yet, so any name is one that does not exist.
            return Err(match protocol {
                None => Refused::Invalid(
                    "xt_CT: You must specify a L4 protocol and not use inversions on it".to_owned(),
                ),
                Some(_) => Refused::Missing(format!("No such timeout policy \"{}\"", self.policy)),
            });
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        if self.notrack { Needs::NONE } else { Needs::TRACKING }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Ct {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        if self.notrack {
            write!(f, " {dashes}notrack")?;
        }
        if !self.helper.is_empty() {
            write!(f, " {dashes}helper {}", self.helper)?;
        }
        if !self.policy.is_empty() {
            write!(f, " {dashes}timeout {}", self.policy)?;
        }
        save_events(f, dashes, "ctevents", self.ct_events, CT_EVENTS)?;
        save_events(f, dashes, "expevents", self.exp_events, EXP_EVENTS)?;
        if !self.zone_is_mark && self.zone == 0 {
            return Ok(());
        }
        let option = match self.directions {
            Directions { original: true, reply: false } => "zone-orig",
            Directions { original: false, reply: true } => "zone-reply",
            _ => "zone",
        };
        write!(f, " {dashes}{option} ")?;
        if self.zone_is_mark { f.write_str("mark") } else { write!(f, "{}", self.zone) }
    }
}

fn save_events(f: &mut fmt::Formatter<'_>, dashes: &str, option: &str, bits: u16, names: &[&str]) -> fmt::Result {
    for (n, (_, name)) in names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).enumerate() {
        if n == 0 { write!(f, " {dashes}{option} {name}")? } else { write!(f, ",{name}")? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::track::{Tracked, Zone};

    #[test]
    fn the_first_one_counts() {
        let mut probe = probe(udp(1, 2));
        probe.packet.meta.mark = 0x1_0007;
        act_in(&mut probe, "-j CT --zone-orig mark");
        act_in(&mut probe, "-j CT --zone 9");
        act_in(&mut probe, "-j CT --notrack");
        let template = probe.packet.meta.template.as_deref().expect("a template");
        assert_eq!(template.zone_for(probe.packet.meta.mark), Zone { original: 7, reply: 0 });
        assert_eq!(probe.packet.meta.tracked, Tracked::No);
    }

    #[test]
    fn a_zone_is_for_both_directions_unless_one_is_named() {
        let zones = |rule| {
            let mut probe = probe(udp(1, 2));
            act_in(&mut probe, rule);
            let template = probe.packet.meta.template.take().expect("a template");
            (template.zone.original, template.zone.reply)
        };
        assert_eq!(zones("-j CT --zone 5"), (5, 5));
        assert_eq!(zones("-j CT --zone-reply 5"), (0, 5));
        assert_eq!(zones("-j CT --zone-reply 5 --zone-orig 6"), (6, 6));
    }
}
