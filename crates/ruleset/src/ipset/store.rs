//! All sets as one text, and back: with everything in them, and with times as points of the calendar.

use super::change::{Change, create_words, split_line};
use super::print::element_numbers;
use hairpin_engine::set::{Elem, Entry, Ext, Kind, Set, Sets, Shown};
use hairpin_engine::time::{Instant, Now};
use hairpin_wire::Family;
use std::fmt::Write;

/// Writes all sets down.
pub fn dump(sets: &Sets, now: Now) -> String {
    let mut out = String::new();
    for place in sets.in_places() {
        let Some((name, set)) = place else {
            out.push_str("free\n");
            continue;
        };
        let _ = writeln!(out, "create \"{name}\" {}{}", set.kind(), create_words(set.kind(), set.options()));
    }
    for (name, set) in sets.in_places().flatten() {
        dump_entries(&mut out, sets, name, set, now);
    }
    out
}

fn dump_entries(out: &mut String, sets: &Sets, name: &str, set: &Set, now: Now) {
    let (kind, family) = (set.kind(), set.options().family.unwrap_or(Family::V4));
    let of_list = sets.members(set, now.mono).map(|(member, shown)| (format!("\"{member}\""), false, shown));
    let text = |elem: &Elem| element_numbers(kind, family, elem);
    let others = set.elements(now.mono).map(|(elem, shown)| (text(&elem), elem.wildcard, shown));
    for (elem, wildcard, shown) in of_list.chain(others) {
        let _ = write!(out, "add \"{name}\" {elem}{}", if wildcard { " wildcard" } else { "" });
        write_shown(out, &shown, now);
        out.push('\n');
    }
}

fn write_shown(out: &mut String, shown: &Shown<'_>, now: Now) {
    let _ = match (shown.until, shown.timeout) {
        // In nanoseconds since 1970, whatever the other clock says then.
        (Some(until), _) => write!(out, " until {}", now.wall.0.saturating_add(until.since(now.mono))),
        (None, Some(seconds)) => write!(out, " timeout {seconds}"),
        (None, None) => Ok(()),
    };
    if let Some(counter) = shown.counter {
        let _ = write!(out, " packets {} bytes {}", counter.packets, counter.bytes);
    }
    if let Some(info) = shown.skbinfo.filter(|info| *info != Default::default()) {
        let _ = write!(out, " skbmark 0x{:x}/0x{:x}", info.mark, info.mask);
        let _ = write!(out, " skbprio {:x}:{:x} skbqueue {}", info.prio >> 16, info.prio & 0xffff, info.queue);
    }
    if let Some(comment) = shown.comment {
        let _ = write!(out, " comment \"{comment}\"");
    }
    if shown.nomatch {
        out.push_str(" nomatch");
    }
}

/// Reads [`dump`]'s text. What ran out meanwhile is left out.
///
/// # Errors
/// The first line that is none of `dump`'s.
pub fn load(text: &str, seed: u64, now: Now) -> Result<Sets, String> {
    let mut sets = Sets::new(seed);
    for line in text.lines() {
        load_line(&mut sets, line, now).map_err(|why| format!("{line}: {why}"))?;
    }
    Ok(sets)
}

/// Takes up [`dump`]'s text into sets that are there: sets of the same name and kind get the entries.
///
/// # Errors
/// The first line that is none of `dump`'s or not possible with the sets that are there; the others are taken up.
pub fn take_up(text: &str, sets: &mut Sets, now: Now) -> Result<(), String> {
    let mut first = Ok(());
    for line in text.lines().filter(|line| *line != "free") {
        let done = match line.starts_with("create ") {
            true => Change::from_words(line, sets)
                .map_err(|e| e.to_string())
                .and_then(|change| change.apply(sets, true, now.mono).map_err(|e| e.to_string())),
            false => load_line(sets, line, now),
        };
        if first.is_ok() {
            first = done.map_err(|why| format!("{line}: {why}"));
        }
    }
    first
}

fn load_line(sets: &mut Sets, line: &str, now: Now) -> Result<(), String> {
    if line == "free" {
        sets.leave_place();
        return Ok(());
    }
    let (line, until) = without_until(line);
    let until = until.map(|nanos| Instant(now.mono.0.saturating_add(nanos.saturating_sub(now.wall.0))));
    if until.is_some_and(|until| until <= now.mono) {
        return Ok(());
    }
    // Most lines of large sets are of this kind.
    if let Some(entry) = plain(&line, sets) {
        let (name, mut entry) = entry;
        entry.ext.until = until;
        return sets.add(&name, &entry, true, now.mono).map_err(|e| e.to_string());
    }
    let mut change = Change::from_words(&line, sets).map_err(|e| e.to_string())?;
    match &mut change {
        Change::Add(_, entry) => {
            entry.ext.until = until;
            entry.is_stored = true;
        }
        Change::Create(name, kind, options) => {
            return sets.create_last(name, *kind, options).map_err(|e| e.to_string());
        }
        _ => {}
    }
    change.apply(sets, true, now.mono).map_err(|e| e.to_string())
}

/// `add "NAME" ADDRESS` and nothing else, for a set of addresses.
fn plain(line: &str, sets: &Sets) -> Option<(String, Entry)> {
    let (name, element) = line.strip_prefix("add \"")?.split_once("\" ")?;
    let set = sets.get(name).filter(|set| set.kind() == Kind::HashIp)?;
    let ip = match set.options().family? {
        Family::V4 => hairpin_wire::Addr::from_v4(element.parse().ok()?),
        Family::V6 => hairpin_wire::Addr::from_v6(element.parse().ok()?),
    };
    Some((name.to_owned(), Entry { ip: Some(ip), ext: Ext::default(), ..Entry::default() }))
}

/// Takes ` until NANOS` out of a line. Comments come behind it.
fn without_until(line: &str) -> (String, Option<u64>) {
    let is_timed = line.starts_with("add ") && line.contains(" until ");
    if !is_timed {
        return (line.to_owned(), None);
    }
    let words = split_line(line);
    let Some(at) = words.iter().position(|w| w == "until").filter(|at| (3..=4).contains(at)) else {
        return (line.to_owned(), None);
    };
    let nanos = words.get(at + 1).and_then(|n| n.parse().ok());
    let rest = words.iter().enumerate().filter(|(n, _)| *n != at && *n != at + 1);
    (rest.map(|(_, word)| format!("\"{word}\"")).collect::<Vec<_>>().join(" "), nanos)
}
