//! Sets as text with times of the calendar, so that entries age while the gateway is down; and back.

use hairpin_engine::set::Sets;
use hairpin_engine::{Engine, Now};
use hairpin_ruleset::ipset;

/// Bytes of a part: much less than a section may have, so that taking it up is a step of bounded size.
const PART: usize = 8 << 20;

/// All sets with everything in them.
pub(super) fn saved(sets: &Sets, now: Now) -> Vec<u8> {
    ipset::dump(sets, now).into_bytes()
}

/// The text in whole lines, in parts that fit a section of the file.
pub(super) fn in_parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let most = rest.get(..PART).unwrap_or(rest);
        let end = match most.len() < rest.len() {
            true => most.iter().rposition(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1),
            false => rest.len(),
        };
        let (part, behind) = rest.split_at(end);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

/// Takes up sets from that text; what ran out meanwhile is left out.
///
/// # Errors
/// What of it was refused first; the rest is taken up.
pub(super) fn take_up(engine: &mut Engine, now: Now, text: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    ipset::take_up(text, engine.sets(), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hairpin_engine::set::{Entry, Ext, Kind, Options};
    use hairpin_engine::time::{Instant, Wall};
    use hairpin_wire::Addr;

    /// Both clocks go on by the seconds that the gateway was down; the monotonic one may begin anew.
    #[test]
    fn entries_age_while_the_gateway_is_down() {
        let before = Now { mono: Instant::from_secs(5000), wall: Wall(1_700_000_000_000_000_000) };
        let after = Now { mono: Instant::from_secs(3), wall: Wall(before.wall.0 + 100_000_000_000) };
        let mut sets = Sets::new(1);
        sets.create("s", Kind::HashIp, &Options { timeout: Some(600), ..Options::default() }, false).unwrap();
        for (n, timeout) in [(1, None), (2, Some(90)), (3, Some(0)), (4, Some(110))] {
            let ext = Ext { timeout, ..Ext::default() };
            let entry = Entry { ip: Some(Addr::v4(n)), ext, ..Entry::default() };
            sets.add("s", &entry, false, before.mono).unwrap();
        }
        let text = saved(&sets, before);
        let mut again = Sets::new(2);
        ipset::take_up(std::str::from_utf8(&text).unwrap(), &mut again, after).unwrap();
        let set = again.get("s").unwrap();
        let left: Vec<(u32, Option<u32>)> =
            set.elements(after.mono).map(|(elem, shown)| (elem.ip.as_u32(), shown.timeout)).collect();
        assert_eq!(left, [(1, Some(500)), (3, Some(0)), (4, Some(10))]);
        // Once more, onto what is there: nothing is refused, nothing is twice.
        ipset::take_up(std::str::from_utf8(&text).unwrap(), &mut again, after).unwrap();
        assert_eq!(again.get("s").unwrap().len(after.mono), 3);
    }

    #[test]
    fn parts_are_whole_lines() {
        let line = b"add \"s\" 10.0.0.1 until 1700000000000000000\n";
        let text = line.repeat(PART / line.len() + 10);
        let parts: Vec<&[u8]> = in_parts(&text).collect();
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|part| part.ends_with(b"\n") && part.len() <= PART));
        assert_eq!(parts.concat(), text);
        assert_eq!(in_parts(b"").count(), 0);
    }
}
