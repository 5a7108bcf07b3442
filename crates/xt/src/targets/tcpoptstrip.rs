//! `-j TCPOPTSTRIP`: blank out TCP options.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Protocols, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hooks};
use hairpin_wire::tcp::{HEADER_LEN, Tcp, option};
use hairpin_wire::{checksum, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TCPOPTSTRIP",
    families: Families::Both,
    about: "blank out TCP options",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("strip-options", &["option[,option...]"], "these, by number or name"),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|-p tcp |--strip-options 2,3,8"),
        Case::Saves("@mangle FORWARD|-p tcp |--strip-options md5,sack,sack-permitted,timestamp,wscale,mss", "--strip-options 2,3,4,5,8,19"),
        Case::Same("@mangle FORWARD|-p tcp |"),
        Case::Fails("@mangle FORWARD|-p tcp |--strip-options 256", "Bad TCP option value \"256\""),
        Case::Fails("@mangle FORWARD|-p tcp |--strip-options 3,,4", "Bad TCP option value \"\""),
        Case::Fails("@mangle FORWARD|-p tcp |--strip-options 1", "Option value may not be 0 or 1"),
        Case::Fails("@mangle FORWARD|-p tcp |--strip-options 3,wscale", "Option \"wscale\" already specified"),
    ],
};

const NAMES: &[(&str, u8)] = &[
    ("wscale", option::WINDOW_SCALE),
    ("mss", option::MSS),
    ("sack-permitted", option::SACK_PERMITTED),
    ("sack", option::SACK),
    ("timestamp", option::TIMESTAMPS),
    ("md5", option::MD5),
];

#[derive(Debug)]
struct TcpOptStrip {
    /// In order.
    options: Vec<u8>,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut options = Vec::new();
    for word in parsed.get("strip-options").iter().flat_map(|given| given.value().split(',')) {
        let refuse = |message: String| Err(SyntaxError::parameter(message).at(word));
        let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
        let Some(number) = named.or_else(|| value::number_within(word, 0, 255).map(|n| n as u8)) else {
            return refuse(format!("Bad TCP option value \"{word}\""));
        };
        if number < 2 {
            return refuse("Option value may not be 0 or 1".to_owned());
        }
        if options.contains(&number) {
            return refuse(format!("Option \"{word}\" already specified"));
        }
        options.push(number);
    }
    options.sort_unstable();
    Ok(Arc::new(TcpOptStrip { options }))
}

impl Target for TcpOptStrip {
    fn name(&self) -> &'static str {
        "TCPOPTSTRIP"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        if edit.look().is_later_fragment() {
            return Verdict::Continue;
        }
        let Some(mut tcp) = Tcp::new(edit.packet().l4_mut()) else {
            return Verdict::Drop(DropReason::Rule);
        };
        if !tcp.header_ok() {
            return Verdict::Drop(DropReason::Rule);
        }
        let (end, mut check, bytes) = (tcp.header_len(), tcp.checksum(), tcp.as_bytes());
        let mut header = bytes.get(..end).unwrap_or_default().to_vec();
        let mut at = HEADER_LEN;
        while let Some([kind, length, ..]) = header.get(at..) {
            let length = if *kind <= option::NOP || *length == 0 { 1 } else { usize::from(*length) };
            let stripped = self.options.contains(kind);
            let Some(bytes) = header.get_mut(at..at + length) else { break };
            if stripped {
                // Byte by byte, each in its half of a word: what the checksum is then is the same as the kernel's even
                // where it was wrong before.
                for (n, byte) in bytes.iter_mut().enumerate() {
                    let word = |b: u8| u16::from(b) << if (at + n).is_multiple_of(2) { 8 } else { 0 };
                    check = checksum::update_u16(check, word(*byte), word(option::NOP));
                    *byte = option::NOP;
                }
            }
            at += length;
        }
        tcp.set_checksum(check);
        let stripped = header.get(HEADER_LEN..).unwrap_or_default();
        for (place, byte) in tcp.options_mut().iter_mut().zip(stripped) {
            *place = *byte;
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = " --strip-options ";
        for number in &self.options {
            write!(f, "{before}{number}")?;
            before = ",";
        }
        Ok(())
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        let mut before = " TCPOPTSTRIP options ";
        for number in &self.options {
            match NAMES.iter().find(|(_, n)| n == number && !listing.numeric) {
                Some((name, _)) => write!(f, "{before}{name}")?,
                None => write!(f, "{before}{number}")?,
            }
            before = ",";
        }
        Ok(())
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Mangle]),
            hooks: Hooks::ALL,
            protocols: Protocols::Of(&[proto::TCP]),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, SRC};
    use crate::testing_targets::{changed, checksum_ok};
    use hairpin_wire::{Family, build, tcp};

    fn stripped(rule: &str, options: &[u8]) -> Vec<u8> {
        let segment = build::Tcp { flags: tcp::SYN, options, payload: b"odd", ..Default::default() };
        let packet = changed(rule, segment.packet(Family::V4, SRC, DST));
        assert!(checksum_ok(&packet));
        tcp::Tcp::new(packet.l4()).expect("a header").options().to_vec()
    }

    #[test]
    fn blanks_out_even_at_odd_places() {
        let rule = "-p tcp -j TCPOPTSTRIP --strip-options mss,wscale";
        assert_eq!(stripped(rule, &[1, 2, 4, 5, 180, 3, 3, 7]), [1; 8]);
        assert_eq!(stripped(rule, &[4, 2, 2, 4, 5, 180, 1, 1]), [4, 2, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn stops_at_an_option_that_runs_over_the_end() {
        let rule = "-p tcp -j TCPOPTSTRIP --strip-options mss";
        assert_eq!(stripped(rule, &[1, 1, 2, 4]), [1, 1, 2, 4]);
        assert_eq!(stripped(rule, &[5, 0, 2, 4, 9, 9, 1, 1]), [5, 0, 1, 1, 1, 1, 1, 1]);
    }
}
