//! The cases in the files of the extensions hold: read, saved, read again.

mod common;

use common::{names_with_set, rules_of, run_with};
use hairpin_engine::rule::{Ruleset, TableId};
use hairpin_wire::Family;
use hairpin_xt::{Case, Families, MATCHES, TARGETS};

#[test]
fn every_case_of_every_match_holds() {
    let mut wrong = Vec::new();
    for spec in MATCHES {
        for case in spec.cases {
            for family in families(spec.families) {
                check(family, &format!("-m {}", spec.name), case, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_case_of_every_target_holds() {
    let mut wrong = Vec::new();
    for spec in TARGETS {
        for case in spec.cases {
            for family in families(spec.families) {
                check(family, &format!("-j {}", spec.name), case, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn lists_are_in_order_and_names_unique() {
    let ordered = |names: Vec<&str>| names.windows(2).all(|w| w[0] <= w[1]);
    assert!(ordered(MATCHES.iter().map(|m| m.name).collect()), "matches by name");
    assert!(ordered(TARGETS.iter().map(|t| t.name).collect()), "targets by name");
    for spec in MATCHES {
        let same = MATCHES.iter().filter(|m| m.name == spec.name && overlap(m.families, spec.families)).count();
        assert_eq!(same, 1, "match {}", spec.name);
        assert!(!spec.cases.is_empty(), "match {} has cases", spec.name);
    }
    for spec in TARGETS {
        let same = TARGETS.iter().filter(|t| t.name == spec.name && overlap(t.families, spec.families)).count();
        assert_eq!(same, 1, "target {}", spec.name);
        assert!(!spec.cases.is_empty(), "target {} has cases", spec.name);
    }
}

fn families(families: Families) -> Vec<Family> {
    [Family::V4, Family::V6].into_iter().filter(|f| families.has(*f)).collect()
}

fn overlap(a: Families, b: Families) -> bool {
    [Family::V4, Family::V6].into_iter().any(|f| a.has(f) && b.has(f))
}

fn check(family: Family, name: &str, case: &Case, wrong: &mut Vec<String>) {
    let (Case::Same(typed) | Case::Saves(typed, _) | Case::Fails(typed, _)) = *case;
    if is_foreign(family, typed) {
        return;
    }
    let saved = saved_as(family, name, &parts(typed)).map(|saved| own_part(name, &saved));
    let expected = match *case {
        Case::Same(_) => Ok(own_part(name, &parts(typed).rule(name))),
        Case::Saves(_, expected) => Ok(own_part(name, &full_masks(family, &parts(expected).rule(name)))),
        Case::Fails(_, text) => Err(text),
    };
    let what = match (saved, expected) {
        (Ok(saved), Ok(expected)) if saved == expected => return,
        (Ok(saved), Ok(expected)) => format!("saved as {saved:?} instead of {expected:?}"),
        (Err(why), Ok(_)) => why,
        (Ok(saved), Err(_)) => format!("accepted as {saved:?}"),
        (Err(why), Err(text)) if why.contains(text) => return,
        (Err(why), Err(text)) => format!("refused with {why:?}, which has no {text:?}"),
    };
    wrong.push(format!("{family} {name} {typed:?}: {what}"));
}

/// A rule from the extension's name on: what stands before may be saved in other words (`-p 6` as `-p tcp`).
fn own_part(name: &str, rule: &str) -> String {
    rule.find(name).map_or(rule, |at| &rule[at..]).to_owned()
}

/// A mask that a case expects by default is that of IPv4; IPv6 has its own full mask in its place.
fn full_masks(family: Family, rule: &str) -> String {
    match family {
        Family::V4 => rule.to_owned(),
        Family::V6 => rule
            .replace("mask 255.255.255.255", "mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
            .replace("mask 32 ", "mask 128 "),
    }
}

/// Whether a case has an address or a protocol of the other family and so is not for this one.
fn is_foreign(family: Family, text: &str) -> bool {
    let address = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 4 && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let v4_address = text.split(|c: char| !c.is_ascii_digit() && c != '.').any(address);
    let word = |wanted: &str| text.split([' ', '|']).any(|word| word == wanted);
    match family {
        Family::V4 => text.contains("::") || word("ipv6-icmp") || word("icmpv6"),
        Family::V6 => v4_address || word("icmp"),
    }
}

/// `@nat PREROUTING|-p tcp |--dport 80`: table and chain, what stands before the extension's name, what after.
#[derive(Clone, Copy)]
struct Parts<'a> {
    place: Option<(TableId, &'a str)>,
    before: &'a str,
    after: &'a str,
}

fn parts(text: &str) -> Parts<'_> {
    let (place, text) = match text.strip_prefix('@') {
        Some(rest) => {
            let (place, text) = rest.split_once('|').expect("a case that begins with @ has a |");
            let (table, chain) = place.split_once(' ').expect("@TABLE CHAIN|");
            (Some((TableId::from_name(table).expect("a table"), chain)), text)
        }
        None => (None, text),
    };
    let (before, after) = text.split_once('|').unwrap_or(("", text));
    Parts { place, before: before.trim(), after: after.trim() }
}

impl<'a> Parts<'a> {
    /// The place that the case names, else all; the first that the kernel would allow counts.
    fn places(&self) -> Vec<(TableId, &'a str)> {
        use TableId::{Filter, Mangle, Nat, Raw, Security};
        match self.place {
            Some(place) => vec![place],
            None => [(Filter, "FORWARD"), (Filter, "OUTPUT"), (Filter, "INPUT"), (Mangle, "FORWARD")]
                .into_iter()
                .chain([(Mangle, "PREROUTING"), (Mangle, "POSTROUTING"), (Nat, "PREROUTING"), (Nat, "POSTROUTING")])
                .chain([(Raw, "PREROUTING"), (Security, "INPUT")])
                .collect(),
        }
    }

    fn rule(&self, name: &str) -> String {
        let words: Vec<&str> = [self.before, name, self.after].into_iter().filter(|w| !w.is_empty()).collect();
        words.join(" ")
    }
}

/// The rule as saved; it must load, and read again and saved be the same.
fn saved_as(family: Family, name: &str, parts: &Parts<'_>) -> Result<String, String> {
    let (places, rule) = (parts.places(), parts.rule(name));
    let tries: Vec<_> = places.iter().map(|(table, chain)| append(family, *table, chain, &rule)).collect();
    let at = tries.iter().position(Result::is_ok).unwrap_or(0);
    let once = tries.into_iter().nth(at).expect("there is a place")?;
    let (table, chain) = places[at];
    let twice = append(family, table, chain, &once).map_err(|e| format!("{once:?} is not read again: {e}"))?;
    if once != twice {
        return Err(format!("saved {once:?}, then {twice:?}"));
    }
    Ok(once)
}

fn append(family: Family, table: TableId, chain: &str, rule: &str) -> Result<String, String> {
    let mut ruleset = Ruleset::new(family);
    run_with(&names_with_set(), &mut ruleset, &format!("-t {table} -A {chain} {rule}"))
        .map_err(|e| e.message().to_owned())?;
    let saved = rules_of(&ruleset, table, chain).concat();
    ruleset.check().map_err(|e| e.to_string())?;
    Ok(saved)
}
