//! Passive fingerprints of operating systems: what the first segment of a TCP connection looks like (`nfnetlink_osf.c`). They are read
//! from p0f's `pf.os`, as `nfnl_osf` loads it into the kernel.

use hairpin_wire::tcp::{self, Tcp};
use std::fmt;
use std::sync::Arc;

/// What is known, in the order of the file. Cloning shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints(Arc<[Fingerprint]>);

/// How a system's SYN looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The system's family: `Linux`.
    pub genre: String,
    /// Its version.
    pub version: String,
    /// More about it.
    pub subtype: String,
    /// The TTL it begins with.
    pub ttl: u8,
    window: Window,
    has_df: bool,
    length: u16,
    /// The options by kind and length.
    options: Vec<(u8, u8)>,
}

/// What the window must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    /// So much; 0 for anything.
    Is(u32),
    /// So many times the segment size.
    Segments(u32),
    /// So many times the segment size and its headers.
    Packets(u32),
    /// A multiple of it.
    MultipleOf(u32),
}

/// How the TTL is compared (`--ttl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlCheck {
    /// It is the system's.
    Same,
    /// It is at most the system's, or just that when the sender is on a network of the device.
    AtMost,
    /// Not at all.
    Ignored,
}

/// A line of a file of fingerprints that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFingerprint {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl fmt::Display for BadFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for BadFingerprint {}

/// The first segment of a connection, as far as a fingerprint tells.
#[derive(Clone, Copy, Debug)]
pub struct Syn<'a> {
    ttl: u8,
    has_df: bool,
    length: u16,
    window: u16,
    options: &'a [u8],
}

impl<'a> Syn<'a> {
    /// Of an IPv4 packet; None when it is no whole TCP header with SYN.
    pub fn of_packet(ip: &'a [u8]) -> Option<Syn<'a>> {
        let fixed = ip.first_chunk::<20>()?;
        let segment = ip.get(usize::from(fixed[0] & 15) * 4..)?;
        let header = Tcp::new(segment)?;
        if header.flags() & tcp::SYN == 0 {
            return None;
        }
        let end = usize::from(segment.get(12)? >> 4) * 4;
        let options = if end > tcp::HEADER_LEN { segment.get(tcp::HEADER_LEN..end)? } else { &[] };
        let (length, has_df) = (u16::from_be_bytes([fixed[2], fixed[3]]), fixed[6] & 0x40 != 0);
        Some(Syn { ttl: fixed[8], has_df, length, window: header.window(), options })
    }
}

impl Fingerprint {
    /// Whether the segment is one of this system. `is_near`: its sender is on a network of the device.
    pub fn fits(&self, syn: &Syn<'_>, check: TtlCheck, is_near: impl FnOnce() -> bool) -> bool {
        if syn.has_df != self.has_df || syn.length != self.length {
            return false;
        }
        let ttl = match check {
            TtlCheck::Same => syn.ttl == self.ttl,
            TtlCheck::Ignored => true,
            TtlCheck::AtMost => syn.ttl <= self.ttl || is_near() && syn.ttl == self.ttl,
        };
        ttl && self.segment_size(syn.options).is_some_and(|mss| self.window_fits(u32::from(syn.window), mss))
    }

    /// The segment size that the options tell, 0 when they tell none; None when they are others. Only the kinds are compared, at the
    /// places where this system has them.
    fn segment_size(&self, options: &[u8]) -> Option<u32> {
        let length: usize = self.options.iter().map(|(_, length)| usize::from(*length)).sum();
        if length != options.len() {
            return None;
        }
        let (mut at, mut mss) = (0, 0);
        for (kind, length) in &self.options {
            let option = options.get(at..)?;
            if option.first() != Some(kind) {
                return None;
            }
            if let (tcp::option::MSS, [_, _, high, low, ..]) = (*kind, option) {
                mss = u32::from(u16::from_be_bytes([*high, *low]));
            }
            at += usize::from(*length);
        }
        Some(mss)
    }

    /// Modems lower segment sizes, so the usual ones count, too.
    fn window_fits(&self, window: u32, mss: u32) -> bool {
        let sizes = [mss, 1460, 1448];
        match self.window {
            Window::Is(value) => value == 0 || window == value,
            Window::Segments(times) => sizes.iter().any(|size| window == times.wrapping_mul(*size)),
            Window::Packets(times) => sizes.iter().any(|size| window == times.wrapping_mul(size + 40)),
            Window::MultipleOf(value) => window.checked_rem(value) == Some(0),
        }
    }

    /// A line `window:ttl:df:length:options:genre:version:subtype:details`.
    fn parse(line: &str) -> Result<Fingerprint, &'static str> {
        let fields: Vec<&str> = line.split(':').map(str::trim_start).collect();
        let [window, ttl, df, length, options, genre, version, subtype, _] = fields[..] else {
            return Err(
                "nine fields are expected, with a `:' between them: window:ttl:df:length:options:genre:version:subtype:details",
            );
        };
        let name = |text: &str| -> Result<String, &'static str> {
            let fits = text.len() <= MAX_NAME;
            if fits { Ok(text.to_owned()) } else { Err("a name is longer than 31 bytes") }
        };
        Ok(Fingerprint {
            genre: name(genre.strip_prefix(['@', '*']).unwrap_or(genre))?,
            version: name(version)?,
            subtype: name(subtype)?,
            ttl: number(ttl)?,
            window: Window::parse(window)?,
            has_df: number::<u8>(df)? != 0,
            length: number(length)?,
            options: parse_options(options)?,
        })
    }
}

impl Window {
    fn parse(text: &str) -> Result<Window, &'static str> {
        let times = |rest: &str| match rest {
            "*" => Ok(0),
            rest => number(rest.strip_prefix('%').unwrap_or(rest)),
        };
        if let Some(rest) = text.strip_prefix('S') {
            return times(rest).map(Window::Segments);
        }
        if let Some(rest) = text.strip_prefix('T') {
            return times(rest).map(Window::Packets);
        }
        match text.strip_prefix('%') {
            Some(rest) => match number(rest)? {
                0 => Err("a window cannot be a multiple of 0"),
                value => Ok(Window::MultipleOf(value)),
            },
            None if text == "*" => Ok(Window::Is(0)),
            None => number(text).map(Window::Is),
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
    text.trim_end().parse().map_err(|_| "a number is expected, or it is too large")
}

/// `M*,N,W0,S,T`: only kinds count.
fn parse_options(text: &str) -> Result<Vec<(u8, u8)>, &'static str> {
    let known = text.split(',').filter_map(|word| {
        Some(match word.trim_start().as_bytes().first()? {
            b'E' => (tcp::option::END, 1),
            b'N' => (tcp::option::NOP, 1),
            b'M' => (tcp::option::MSS, 4),
            b'W' => (tcp::option::WINDOW_SCALE, 3),
            b'S' => (tcp::option::SACK_PERMITTED, 2),
            b'T' => (tcp::option::TIMESTAMPS, 10),
            _ => return None,
        })
    });
    let options: Vec<(u8, u8)> = known.collect();
    if options.len() > MAX_OPTIONS { Err("more than 40 options") } else { Ok(options) }
}

/// `MAXGENRELEN` without the final zero byte.
const MAX_NAME: usize = 31;
/// `MAX_IPOPTLEN`
const MAX_OPTIONS: usize = 40;

impl Fingerprints {
    /// Reads a file. Empty lines and those that begin with `#` say nothing; of a fingerprint that is there twice the first counts.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(text: &str) -> Result<Fingerprints, BadFingerprint> {
        let mut all: Vec<Fingerprint> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let new = Fingerprint::parse(line).map_err(|problem| BadFingerprint { line: n + 1, problem })?;
            if !all.contains(&new) {
                all.push(new);
            }
        }
        Ok(Fingerprints(all.into()))
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Fingerprint> {
        self.0.iter()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense() {
        let refused = |text: &str| Fingerprints::parse(text).unwrap_err().line;
        assert_eq!(refused("# p0f\n\nS4:64:1:60:M*,S,T,N,W7:Linux:2.6\n"), 3);
        assert_eq!(refused("S4:64:1:60:M*:Linux:2.6::\nS4:300:1:60:M*:Linux:2.6::"), 2);
        assert_eq!(refused("%0:64:1:60:M*:Linux:2.6::"), 1);
        assert_eq!(Fingerprints::parse("# nothing\n").map(|all| all.is_empty()), Ok(true));
    }

    #[test]
    fn windows() {
        let fits = |text: &str, window, mss| {
            let line = format!("{text}:64:1:44:M*:Linux:2.6::");
            Fingerprint::parse(&line).unwrap().window_fits(window, mss)
        };
        assert!(fits("S4", 4 * 1000, 1000) && fits("S4", 4 * 1448, 1000) && !fits("S4", 4001, 1000));
        assert!(fits("T2", 2 * 1040, 1000) && !fits("T2", 2 * 1000, 1000));
        assert!(fits("%8192", 16_384, 0) && !fits("%8192", 1000, 0));
        assert!(fits("512", 512, 0) && fits("*", 77, 0) && !fits("512", 513, 0));
    }
}
