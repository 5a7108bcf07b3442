//! `-j TCPMSS`: lower the maximum segment size that a TCP connection opens with.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::route::OutputKey;
use hairpin_engine::rule::{Listing, Match, Place, Protocols, Refused, Scope, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Event, Hook, Hooks, Look};
use hairpin_wire::tcp::{HEADER_LEN, MAX_HEADER_LEN, Tcp, option};
use hairpin_wire::{Family, checksum, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TCPMSS",
    families: Families::Both,
    about: "lower the maximum segment size of new TCP connections",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-mss", &["bytes"], "to this"),
        Opt::switch("clamp-mss-to-pmtu", "to what fits the way there and the way back"),
    ],
    build,
    cases: &[
        Case::Same("@mangle FORWARD|-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN |--set-mss 1400"),
        Case::Same("@mangle FORWARD|-p tcp -m tcp --tcp-flags SYN,RST SYN |--clamp-mss-to-pmtu"),
        Case::Fails("@mangle FORWARD|-p tcp |--set-mss 65516", "out of range (0-"),
        Case::Fails("@mangle FORWARD|-p tcp |", "At least one parameter is required"),
    ],
};

/// The two bytes of kind and length, and the two of the size.
const OPTION_LEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TcpMss {
    Set(u16),
    Clamp,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let most = match parsed.family {
        Family::V4 => 65_515,
        Family::V6 => 65_495,
    };
    // Both may be given: the last one counts.
    match parsed.given.last() {
        None => Err(SyntaxError::parameter("TCPMSS target: At least one parameter is required")),
        Some(given) if given.option.name == "set-mss" => {
            Ok(Arc::new(TcpMss::Set(value::number(parsed, given, 0, most)? as u16)))
        }
        Some(_) => {
            if let Some(given) = parsed.get("set-mss") {
                value::number(parsed, given, 0, most)?;
            }
            Ok(Arc::new(TcpMss::Clamp))
        }
    }
}

/// What a packet may hold on the way there and on the way back, without IP and TCP headers of the least size.
fn clamped(look: &Look<'_>) -> Result<u16, u32> {
    let headers = (look.family().header_len() + HEADER_LEN) as u32;
    let there = look.route().map_or(u32::MAX, |route| route.mtu);
    let back = look.net().route_output(&OutputKey::to(look.family(), look.src())).map_or(u32::MAX, |route| route.mtu);
    match there.min(back).checked_sub(headers) {
        None | Some(0) => Err(there.min(back)),
        // The kernel too keeps 16 bits of it.
        Some(mss) => Ok(mss as u16),
    }
}

/// Why a packet is not changed.
enum Stop {
    /// It may go on as it is.
    Leave,
    /// It cannot be a TCP segment.
    Malformed,
}

/// Lowers the option, or puts one in where there is none.
fn change(edit: &mut Edit<'_>, mss: u16, least: u16) -> Result<(), Stop> {
    let packet = edit.packet();
    let at = packet.head().l4;
    let length = packet.l4().len();
    let mut tcp = Tcp::new(packet.l4_mut()).ok_or(Stop::Malformed)?;
    let header_len = tcp.header_len();
    if header_len < HEADER_LEN || header_len > length {
        return Err(Stop::Malformed);
    }
    let mut from = 0;
    while let Some([kind, size, high, low, ..]) = tcp.options().get(from..) {
        if (*kind, *size) == (option::MSS, OPTION_LEN as u8) {
            let old = u16::from_be_bytes([*high, *low]);
            if old > mss {
                let check = checksum::update_u16(tcp.checksum(), old, mss);
                tcp.set_checksum(check);
                for (place, byte) in tcp.options_mut().iter_mut().skip(from + 2).zip(mss.to_be_bytes()) {
                    *place = byte;
                }
            }
            return Ok(());
        }
        from += if *kind <= option::NOP || *size == 0 { 1 } else { usize::from(*size) };
    }
    // Behind data there is no room, and the header cannot grow beyond what its length field says.
    if length > header_len || header_len >= MAX_HEADER_LEN {
        return Err(Stop::Leave);
    }
    // RFC 9293, section 3.7.1: without the option the peer must assume this size, so a larger one would be a promise that
    // nobody made.
    let mss = mss.min(least);
    let [high, low] = mss.to_be_bytes();
    let new = [option::MSS, OPTION_LEN as u8, high, low];
    let &[.., offset, flags] = tcp.as_bytes().get(..14).unwrap_or_default() else { return Err(Stop::Malformed) };
    let offset_new = offset.wrapping_add((OPTION_LEN as u8 / 4) << 4);
    let grown = u16::try_from(length + OPTION_LEN).map_err(|_| Stop::Leave)?;
    let mut check = checksum::update_u16(tcp.checksum(), length as u16, grown);
    check = checksum::update_u32(check, 0, u32::from_be_bytes(new));
    check = checksum::update_u16(check, u16::from_be_bytes([offset, flags]), u16::from_be_bytes([offset_new, flags]));
    if !packet.splice(at + HEADER_LEN, 0, &new) {
        return Err(Stop::Leave);
    }
    if let Some(mut tcp) = Tcp::new(packet.l4_mut()) {
        tcp.set_header_len(header_len + OPTION_LEN);
        tcp.set_checksum(check);
    }
    Ok(())
}

impl Target for TcpMss {
    fn name(&self) -> &'static str {
        "TCPMSS"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        if look.is_later_fragment() {
            return Verdict::Continue;
        }
        if look.tcp().is_none_or(|tcp| !tcp.header_ok()) {
            return Verdict::Drop(DropReason::Rule);
        }
        let least = match look.family() {
            Family::V4 => 536,
            Family::V6 => 1220,
        };
        let mss = match self {
            TcpMss::Set(mss) => *mss,
            TcpMss::Clamp => match clamped(&look) {
                Ok(mss) => mss,
                Err(mtu) => {
                    edit.event(Event::Kernel(format!("xt_TCPMSS: unknown or invalid path-MTU ({mtu})")));
                    return Verdict::Drop(DropReason::Rule);
                }
            },
        };
        match change(edit, mss, least) {
            Ok(()) | Err(Stop::Leave) => Verdict::Continue,
            Err(Stop::Malformed) => Verdict::Drop(DropReason::Rule),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpMss::Set(mss) => write!(f, " --set-mss {mss}"),
            TcpMss::Clamp => f.write_str(" --clamp-mss-to-pmtu"),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        match self {
            TcpMss::Set(mss) => write!(f, " TCPMSS set {mss}"),
            TcpMss::Clamp => f.write_str(" TCPMSS clamp to PMTU"),
        }
    }

    fn scope(&self) -> Scope {
        Scope { protocols: Protocols::Of(&[proto::TCP]), ..Scope::EVERYWHERE }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let routed = Hooks::of(&[Hook::Forward, Hook::Output, Hook::Postrouting]);
        if *self == TcpMss::Clamp && !place.hooks.minus(routed).is_empty() {
            return Err(Refused::Invalid(
                "xt_TCPMSS: path-MTU clamping only supported in FORWARD, OUTPUT and POSTROUTING hooks".to_owned(),
            ));
        }
        if !place.rule.matches.iter().any(|m| wants_syn(&**m)) {
            return Err(Refused::Invalid("xt_TCPMSS: Only works on TCP SYN packets".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether this is a tcp match that needs SYN to be set. Its saved form says so, whatever its insides are.
fn wants_syn(m: &dyn Match) -> bool {
    struct Saved<'a>(&'a dyn Match);
    impl fmt::Display for Saved<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.save(f)
        }
    }
    if m.name() != "tcp" {
        return false;
    }
    let saved = Saved(m).to_string();
    let words: Vec<&str> = saved.split_ascii_whitespace().collect();
    words.iter().position(|word| *word == "--tcp-flags").is_some_and(|at| {
        let inverted = at.checked_sub(1).and_then(|before| words.get(before)) == Some(&"!");
        let set = words.get(at + 2).is_some_and(|set| set.split(',').any(|flag| flag == "SYN"));
        set && !inverted
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, SRC, probe};
    use crate::testing_targets::{act_in, changed, checksum_ok};
    use hairpin_engine::rule::Verdict;
    use hairpin_engine::{DropReason, Packet};
    use hairpin_wire::{Addr, Family, build, tcp};

    fn segment(options: &[u8], payload: &[u8]) -> Vec<u8> {
        build::Tcp { src_port: 1, dst_port: 80, flags: tcp::SYN, options, payload, ..Default::default() }
            .packet(Family::V4, SRC, DST)
    }

    fn options(packet: &Packet) -> Vec<u8> {
        assert!(checksum_ok(packet));
        tcp::Tcp::new(packet.l4()).expect("a header").options().to_vec()
    }

    #[test]
    fn lowers_and_never_raises() {
        let mss = |value: u8| [1, 1, 2, 4, 5, value, 1, 1];
        assert_eq!(options(&changed("-j TCPMSS --set-mss 1290", segment(&mss(11), b""))), mss(10));
        assert_eq!(options(&changed("-j TCPMSS --set-mss 1290", segment(&mss(9), b""))), mss(9));
        // With data behind it too.
        assert_eq!(options(&changed("-j TCPMSS --set-mss 1290", segment(&mss(11), b"data"))), mss(10));
    }

    #[test]
    fn puts_one_in_where_there_is_room() {
        let packet = changed("-j TCPMSS --set-mss 1400", segment(&[1, 3, 3, 7], b""));
        assert_eq!(options(&packet), [2, 4, 2, 24, 1, 3, 3, 7]);
        assert_eq!(packet.length(), 48);
        assert_eq!(options(&changed("-j TCPMSS --set-mss 100", segment(&[], b""))), [2, 4, 0, 100]);
        assert!(options(&changed("-j TCPMSS --set-mss 100", segment(&[], b"data"))).is_empty());
        assert_eq!(options(&changed("-j TCPMSS --set-mss 100", segment(&[1; 40], b""))), [1; 40]);
        let v6 = build::Tcp { flags: tcp::SYN, ..Default::default() }.packet(Family::V6, Addr(1), Addr(2));
        assert_eq!(options(&changed("-j TCPMSS --set-mss 9000", v6)), [2, 4, 4, 196]);
    }

    #[test]
    fn drops_what_is_no_segment() {
        let mut cut = segment(&[2, 4, 5, 180], b"");
        cut.truncate(40);
        cut[3] = 40;
        let mut probe = probe(cut);
        assert_eq!(act_in(&mut probe, "-j TCPMSS --set-mss 5"), Verdict::Drop(DropReason::Rule));
    }
}
