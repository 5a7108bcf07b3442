//! `-m srh`: the IPv6 segment routing header (RFC 8754).

use crate::ext6::{Found, find, length};
use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "srh",
    aliases: &[],
    families: Families::V6,
    about: "a segment routing header",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("srh-next-hdr", &["protocol"], "what follows the header").inverts(),
        Opt::new("srh-hdr-len-eq", &["n"], "its length field is n").inverts(),
        Opt::new("srh-hdr-len-gt", &["n"], "its length field is above n").inverts(),
        Opt::new("srh-hdr-len-lt", &["n"], "its length field is below n").inverts(),
        Opt::new("srh-segs-left-eq", &["n"], "segments left are n").inverts(),
        Opt::new("srh-segs-left-gt", &["n"], "segments left are above n").inverts(),
        Opt::new("srh-segs-left-lt", &["n"], "segments left are below n").inverts(),
        Opt::new("srh-last-entry-eq", &["n"], "the last entry is n").inverts(),
        Opt::new("srh-last-entry-gt", &["n"], "the last entry is above n").inverts(),
        Opt::new("srh-last-entry-lt", &["n"], "the last entry is below n").inverts(),
        Opt::new("srh-tag", &["n"], "the tag is n").inverts(),
        Opt::new("srh-psid", &["address[/length]"], "the segment before the current one").inverts(),
        Opt::new("srh-nsid", &["address[/length]"], "the segment behind the current one").inverts(),
        Opt::new("srh-lsid", &["address[/length]"], "the last segment").inverts(),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("! --srh-next-hdr 17 --srh-segs-left-eq 1 --srh-last-entry-eq 4 ! --srh-tag 0"),
        Case::Same("--srh-psid a::/64 ! --srh-nsid b::/128 --srh-lsid c::/0"),
        Case::Saves("--srh-psid a::1", "--srh-psid a::1/128"),
        Case::Fails("--srh-next-hdr 256", "out of range (0-255)"),
        Case::Fails("--srh-tag 65536", "out of range (0-65535)"),
    ],
};

#[derive(Debug)]
struct Srh {
    next: Option<If<u8>>,
    length: Compared,
    segments_left: Compared,
    last_entry: Compared,
    tag: Option<If<u16>>,
    previous: Option<If<(Addr, Addr)>>,
    following: Option<If<(Addr, Addr)>>,
    last: Option<If<(Addr, Addr)>>,
}

#[derive(Clone, Copy, Debug)]
struct If<T> {
    value: T,
    inverted: bool,
}

/// A field compared in up to three ways, with one and the same number: the one typed last.
#[derive(Clone, Copy, Debug)]
struct Compared {
    number: u8,
    /// For equal, greater and less: whether it is inverted.
    ways: [Option<bool>; 3],
}

const WAYS: [(&str, Ordering); 3] = [("eq", Ordering::Equal), ("gt", Ordering::Greater), ("lt", Ordering::Less)];

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let segment = |name: &str| match parsed.get(name) {
        Some(given) => Ok(Some(If { value: value::host_mask(parsed, given)?, inverted: given.inverted })),
        None => Ok(None),
    };
    Ok(Arc::new(Srh {
        next: match parsed.get("srh-next-hdr") {
            Some(given) => Some(If { value: value::number_u8(parsed, given)?, inverted: given.inverted }),
            None => None,
        },
        length: compared(parsed, "srh-hdr-len")?,
        segments_left: compared(parsed, "srh-segs-left")?,
        last_entry: compared(parsed, "srh-last-entry")?,
        tag: match parsed.get("srh-tag") {
            Some(given) => Some(If { value: value::number_u16(parsed, given)?, inverted: given.inverted }),
            None => None,
        },
        previous: segment("srh-psid")?,
        following: segment("srh-nsid")?,
        last: segment("srh-lsid")?,
    }))
}

fn compared(parsed: &Parsed<'_>, field: &str) -> Result<Compared, SyntaxError> {
    let mut compared = Compared { number: 0, ways: [None; 3] };
    for given in &parsed.given {
        let Some(way) = given.option.name.strip_prefix(field).and_then(|rest| rest.strip_prefix('-')) else { continue };
        compared.number = value::number_u8(parsed, given)?;
        for ((name, _), place) in WAYS.iter().zip(&mut compared.ways) {
            if *name == way {
                *place = Some(given.inverted);
            }
        }
    }
    Ok(compared)
}

impl Match for Srh {
    fn name(&self) -> &'static str {
        "srh"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Found::At(header) = find(look, proto::ROUTING) else { return false };
        let Some(header) = header.get(..length(header)) else { return false };
        let Some(&[next, length, kind, left, last, _, high, low]) = header.first_chunk::<8>() else { return false };
        if kind != TYPE_SEGMENT_ROUTING || left > last {
            return false;
        }
        // The front end forgets to turn the number into network order: on Linux on little-endian machines the rule means the tag
        // with its bytes swapped.
        let tag = u16::from_le_bytes([high, low]);
        let is_segment = |condition: Option<If<(Addr, Addr)>>, exists: bool, at: usize| {
            condition.is_none_or(|c| {
                let place = exists.then(|| header.get(8 + at * 16..).and_then(|rest| rest.get(..16))).flatten();
                let fits = |bytes| Addr::read(Family::V6, bytes).in_net(c.value.0, c.value.1) != c.inverted;
                place.is_some_and(fits)
            })
        };
        self.next.is_none_or(|c| (next == c.value) != c.inverted)
            && self.length.holds(length)
            && self.segments_left.holds(left)
            && self.last_entry.holds(last)
            && self.tag.is_none_or(|c| (tag == c.value) != c.inverted)
            && is_segment(self.previous, left != last, usize::from(left) + 1)
            && is_segment(self.following, left != 0, usize::from(left).wrapping_sub(1))
            && is_segment(self.last, true, 0)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |inverted: bool| if inverted { " !" } else { "" };
        if let Some(If { value, inverted }) = self.next {
            write!(f, "{} --srh-next-hdr {value}", not(inverted))?;
        }
        self.length.save(f, "srh-hdr-len")?;
        self.segments_left.save(f, "srh-segs-left")?;
        self.last_entry.save(f, "srh-last-entry")?;
        if let Some(If { value, inverted }) = self.tag {
            write!(f, "{} --srh-tag {value}", not(inverted))?;
        }
        for (name, segment) in [("psid", self.previous), ("nsid", self.following), ("lsid", self.last)] {
            if let Some(If { value: (addr, mask), inverted }) = segment {
                let length = value::prefix_of(Family::V6, mask).unwrap_or(128);
                write!(f, "{} --srh-{name} {}/{length}", not(inverted), value::show_addr(Family::V6, addr))?;
            }
        }
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let not = |inverted: bool| if inverted { "!" } else { "" };
        f.write_str(" srh")?;
        if let Some(If { value, inverted }) = self.next {
            write!(f, " next-hdr:{}{value}", not(inverted))?;
        }
        self.length.list(f, "hdr-len")?;
        self.segments_left.list(f, "segs-left")?;
        self.last_entry.list(f, "last-entry")?;
        if let Some(If { value, inverted }) = self.tag {
            write!(f, " tag:{}{value}", not(inverted))?;
        }
        for (name, segment) in [("psid", self.previous), ("nsid", self.following), ("lsid", self.last)] {
            if let Some(If { value: (addr, mask), inverted }) = segment {
                let length = value::prefix_of(Family::V6, mask).unwrap_or(128);
                write!(f, " {name} {} {}/{length}", not(inverted), value::show_addr(Family::V6, addr))?;
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Compared {
    fn holds(self, field: u8) -> bool {
        let found = field.cmp(&self.number);
        self.ways
            .iter()
            .zip(WAYS)
            .all(|(way, (_, wanted))| way.is_none_or(|inverted| (found == wanted) != inverted))
    }

    fn list(self, f: &mut fmt::Formatter<'_>, field: &str) -> fmt::Result {
        for (way, (name, _)) in self.ways.iter().zip(WAYS) {
            if let Some(inverted) = way {
                write!(f, " {field}-{name}:{}{}", if *inverted { "!" } else { "" }, self.number)?;
            }
        }
        Ok(())
    }

    fn save(self, f: &mut fmt::Formatter<'_>, field: &str) -> fmt::Result {
        for (way, (name, _)) in self.ways.iter().zip(WAYS) {
            if let Some(inverted) = way {
                write!(f, "{} --{field}-{name} {}", if *inverted { " !" } else { "" }, self.number)?;
            }
        }
        Ok(())
    }
}

const TYPE_SEGMENT_ROUTING: u8 = 4;

#[cfg(test)]
mod tests {
    use crate::testing::{DST6, No, SRC6, Yes, check, udp6, v6};

    #[test]
    fn compares() {
        let packet = |left| {
            let mut header = vec![59, 4, 4, left, 1, 0, 0, 7];
            header.extend(SRC6.0.to_be_bytes());
            header.extend(DST6.0.to_be_bytes());
            v6(43, &header)
        };
        check("-m srh --srh-next-hdr 59 --srh-hdr-len-eq 4 --srh-tag 1792", packet(1), Yes);
        check("-m srh --srh-segs-left-lt 2 --srh-last-entry-gt 0", packet(1), Yes);
        check("-m srh ! --srh-segs-left-lt 2", packet(1), No);
        check("-m srh", packet(2), No);
        check("-m srh --srh-lsid 2001:db8::1", packet(1), Yes);
        check("-m srh --srh-nsid 2001:db8::1", packet(1), Yes);
        // At the first segment there is none before, at the last none behind.
        check("-m srh ! --srh-psid ::1", packet(1), No);
        check("-m srh --srh-psid 2001:db8::2", packet(0), Yes);
        check("-m srh ! --srh-nsid ::1", packet(0), No);
        check("-m srh", udp6(1, 2), No);
    }
}
