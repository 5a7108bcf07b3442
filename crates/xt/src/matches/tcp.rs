//! `-m tcp`: ports, flags and options of a TCP segment.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::ports::{DPORT, Ports, SPORT};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Protocols, Scope};
use hairpin_wire::{Family, proto, tcp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "tcp",
    aliases: &[],
    families: Families::Both,
    about: "TCP ports, flags and options",
    kind: Kind::Evaluated,
    options: &[
        SPORT.twice("Only one `--source-port' allowed"),
        DPORT.twice("Only one `--destination-port' allowed"),
        Opt::switch("syn", "of FIN, SYN, RST and ACK only SYN is set").inverts().twice(FLAGS_TWICE),
        Opt::new("tcp-flags", &["mask", "comp"], "of the flags in mask exactly those in comp are set")
            .inverts()
            .twice(FLAGS_TWICE),
        Opt::new("tcp-option", &["number"], "this option is present").inverts().twice("Only one `--tcp-option' allowed"),
    ],
    build,
    cases: &[
        Case::Same("-p tcp|"),
        Case::Same("-p tcp|--sport 1:1023 ! --dport 80"),
        Case::Saves("-p tcp|--sport :4 --dport 1024:", "-p tcp|--sport 0:4 --dport 1024:65535"),
        Case::Saves("-p tcp|--dport :", "-p tcp|"),
        Case::Saves("-p tcp|! --dport :", "-p tcp|! --dport 0:65535"),
        Case::Saves("-p tcp|--syn", "-p tcp|--tcp-flags FIN,SYN,RST,ACK SYN"),
        Case::Saves("-p tcp|--tcp-flags all none", "-p tcp|--tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE"),
        Case::Same("-p tcp|! --tcp-option 5"),
        Case::Fails("-p tcp|--sport 4:3", "invalid portrange (min > max)"),
        Case::Fails("-p tcp|--dport 65536", "invalid port/service `65536' specified"),
        Case::Fails("-p tcp|--tcp-option 0", "Bad TCP option \"0\""),
        Case::Fails("-p tcp|--tcp-flags SYN FOO", "Unknown TCP flag `FOO'"),
        Case::Fails("-p tcp|--syn --tcp-flags SYN SYN", "Only one of `--syn' or `--tcp-flags'  allowed"),
    ],
};

#[derive(Debug)]
struct Tcp {
    sport: Ports,
    dport: Ports,
    flags: Option<Flags>,
    option: Option<(u8, bool)>,
}

#[derive(Debug)]
struct Flags {
    mask: u8,
    comp: u8,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let flags = match (parsed.get("syn"), parsed.get("tcp-flags")) {
        (Some(_), Some(_)) => {
            return Err(SyntaxError::parameter(FLAGS_TWICE).at("--"));
        }
        (Some(syn), None) => Some(Flags { mask: SYN_MASK, comp: tcp::SYN, inverted: syn.inverted }),
        (None, Some(given)) => Some(Flags {
            mask: parse_flags(given.value())?,
            comp: parse_flags(given.words.get(1).map_or("", String::as_str))?,
            inverted: given.inverted,
        }),
        (None, None) => None,
    };
    let option = match parsed.get("tcp-option") {
        Some(given) => Some((parse_option(given.value())?, given.inverted)),
        None => None,
    };
    Ok(Arc::new(Tcp {
        sport: Ports::option(parsed, "source-port", proto::TCP)?,
        dport: Ports::option(parsed, "destination-port", proto::TCP)?,
        // A mask of nothing always holds, and is not kept.
        flags: flags.filter(|f| f.mask != 0 || f.inverted || f.comp != 0),
        option,
    }))
}

fn parse_flags(text: &str) -> Result<u8, SyntaxError> {
    text.split(',').filter(|word| !word.is_empty()).try_fold(0, |flags, word| {
        FLAGS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
            .map(|(_, bits)| flags | bits)
            .ok_or_else(|| SyntaxError::parameter(format!("Unknown TCP flag `{word}'")).at(word))
    })
}

fn parse_option(text: &str) -> Result<u8, SyntaxError> {
    value::number_within(text, 1, 255)
        .map(|n| n as u8)
        .ok_or_else(|| SyntaxError::parameter(format!("Bad TCP option \"{text}\"")).at(text))
}

impl Match for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        match look.fragment_offset() {
            0 => {}
            // A fragment that would overwrite the flags of an earlier one (RFC 3128). For IPv6 the kernel counts bytes here, so
            // that there never is one.
            1 if look.family() == Family::V4 => return look.hotdrop(),
            _ => return false,
        }
        match look.ports_of(tcp::HEADER_LEN) {
            None => return look.hotdrop(),
            Some((sport, dport)) if !self.sport.contains(sport) || !self.dport.contains(dport) => return false,
            Some(_) => {}
        }
        if let Some(flags) = &self.flags {
            let Some(set) = look.tcp_flags() else { return look.hotdrop() };
            if (set & flags.mask == flags.comp) == flags.inverted {
                return false;
            }
        }
        match self.option {
            Some((option, inverted)) => has_option(look, option, inverted),
            None => true,
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sport != Ports::ALL {
            self.sport.save(f, "sport")?;
        }
        if self.dport != Ports::ALL {
            self.dport.save(f, "dport")?;
        }
        if let Some((option, inverted)) = self.option {
            write!(f, "{} --tcp-option {option}", if inverted { " !" } else { "" })?;
        }
        match &self.flags {
            Some(flags) if flags.mask != 0 || flags.inverted => {
                f.write_str(if flags.inverted { " ! --tcp-flags " } else { " --tcp-flags " })?;
                save_flags(f, flags.mask)?;
                f.write_str(" ")?;
                save_flags(f, flags.comp)
            }
            _ => Ok(()),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        f.write_str(" tcp")?;
        self.sport.list(f, "spt", proto::TCP, listing)?;
        self.dport.list(f, "dpt", proto::TCP, listing)?;
        if let Some((option, inverted)) = self.option {
            write!(f, " option={}{option}", if inverted { "!" } else { "" })?;
        }
        match &self.flags {
            Some(flags) if flags.mask != 0 || flags.inverted => {
                f.write_str(if flags.inverted { " flags:!" } else { " flags:" })?;
                if listing.numeric {
                    return write!(f, "0x{:02X}/0x{:02X}", flags.mask, flags.comp);
                }
                save_flags(f, flags.mask)?;
                f.write_str("/")?;
                save_flags(f, flags.comp)
            }
            _ => Ok(()),
        }
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::TCP]), ..Scope::EVERYWHERE }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The kernel's walk (`tcp_find_option`): unlike TCP's own, it goes on behind an end-of-list byte.
fn has_option(look: &Look<'_>, option: u8, inverted: bool) -> bool {
    let Some(segment) = look.tcp() else { return look.hotdrop() };
    let Some(len) = segment.header_len().checked_sub(tcp::HEADER_LEN) else { return look.hotdrop() };
    let options = segment.options();
    if options.len() < len {
        return look.hotdrop();
    }
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        if *kind == option {
            return !inverted;
        }
        at += if *kind < 2 { 1 } else { options.get(at + 1).map_or(1, |len| usize::from(*len).max(1)) };
    }
    inverted
}

fn save_flags(f: &mut fmt::Formatter<'_>, flags: u8) -> fmt::Result {
    let mut first = true;
    for (name, _) in FLAGS.iter().filter(|(_, bit)| bit.count_ones() == 1 && flags & bit != 0) {
        write!(f, "{}{name}", if first { "" } else { "," })?;
        first = false;
    }
    if first { f.write_str("NONE") } else { Ok(()) }
}

const FLAGS_TWICE: &str = "Only one of `--syn' or `--tcp-flags'  allowed";
const SYN_MASK: u8 = tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK;

const FLAGS: &[(&str, u8)] = &[
    ("FIN", tcp::FIN),
    ("SYN", tcp::SYN),
    ("RST", tcp::RST),
    ("PSH", tcp::PSH),
    ("ACK", tcp::ACK),
    ("URG", tcp::URG),
    ("ALL", 0x3f),
    ("NONE", 0),
];

#[cfg(test)]
mod tests {
    use crate::testing::{DST, Hotdrop, No, SRC, Yes, check, later_fragment, tcp, v6};
    use hairpin_wire::{Family, build, tcp};

    #[test]
    fn ports() {
        check("-p tcp -m tcp --dport 80", tcp(1, 80, 0), Yes);
        check("-p tcp -m tcp --dport 81:", tcp(1, 80, 0), No);
        check("-p tcp -m tcp ! --dport 80", tcp(1, 80, 0), No);
        check("-p tcp -m tcp --sport :1 ! --dport 81", tcp(1, 80, 0), Yes);
    }

    #[test]
    fn flags() {
        check("-p tcp -m tcp --syn", tcp(1, 2, tcp::SYN), Yes);
        check("-p tcp -m tcp --syn", tcp(1, 2, tcp::SYN | tcp::ACK), No);
        check("-p tcp -m tcp --syn", tcp(1, 2, tcp::SYN | tcp::ECE | tcp::PSH), Yes);
        check("-p tcp -m tcp ! --syn", tcp(1, 2, tcp::ACK), Yes);
        check("-p tcp -m tcp --tcp-flags ALL NONE", tcp(1, 2, tcp::CWR), Yes);
        // Nothing fits flags outside of the mask.
        check("-p tcp -m tcp --tcp-flags SYN ACK", tcp(1, 2, tcp::ACK), No);
    }

    #[test]
    fn fragments_and_short_headers() {
        check("-p tcp -m tcp", later_fragment(6, 2, &[0; 20]), No);
        check("-p tcp -m tcp ! --dport 5", later_fragment(6, 2, &[0; 20]), No);
        check("-p tcp -m tcp ! --dport 5", later_fragment(6, 1, &[0; 20]), Hotdrop);
        let later6 = [&build::fragment_header(6, 1, true, 7)[..], &[0; 24]].concat();
        check("-p tcp -m tcp ! --dport 5", v6(44, &later6), No);
        let short = build::ip(Family::V4, SRC, DST, 6, &[0; 19]);
        check("-p tcp -m tcp", short, Hotdrop);
    }

    #[test]
    fn options() {
        let segment = |options: &[u8]| build::Tcp { options, ..Default::default() }.packet(Family::V4, SRC, DST);
        check("-p tcp -m tcp --tcp-option 2", segment(&[2, 4, 5, 0xb4]), Yes);
        check("-p tcp -m tcp --tcp-option 3", segment(&[2, 4, 3, 3]), No);
        check("-p tcp -m tcp ! --tcp-option 3", segment(&[]), Yes);
        // The end of the list does not end the search, and a length of 0 counts as 1.
        check("-p tcp -m tcp --tcp-option 2", segment(&[0, 2, 4, 0]), Yes);
        check("-p tcp -m tcp --tcp-option 4", segment(&[9, 3, 4, 0]), No);
        check("-p tcp -m tcp --tcp-option 5", segment(&[9, 0, 0, 5]), Yes);
        // A data offset below 5, and options that are not there.
        let with_offset = |words: u8| {
            let mut packet = segment(&[]);
            packet[32] = words << 4;
            packet
        };
        check("-p tcp -m tcp --tcp-option 2", with_offset(4), Hotdrop);
        check("-p tcp -m tcp --tcp-option 2", with_offset(6), Hotdrop);
        check("-p tcp -m tcp --dport 0", with_offset(4), Yes);
    }
}
