//! `-m socket`: a socket of this host would take the packet, of those that are known.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::rule::{Listing, Match, Needs, Scope};
use hairpin_engine::track::{Class, Direction, Status, Tuple};
use hairpin_engine::{Look, socket};
use hairpin_wire::icmp::{HEADER_LEN, Icmp};
use hairpin_wire::{Family, icmp4, proto, tcp, udp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "socket",
    aliases: &[],
    families: Families::Both,
    about: "a socket of this host would take the packet",
    kind: Kind::Partly("offline of the sockets only those are known that the host file lists; on the gateway those that are open on hairpin0's host"),
    options: &[
        Opt::switch("transparent", "only sockets that are transparent"),
        Opt::switch("nowildcard", "also sockets that are bound to no address"),
        Opt::switch("restore-skmark", "give the packet the socket's mark"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Saves("--restore-skmark --nowildcard --transparent", "--transparent --nowildcard --restore-skmark"),
        Case::Fails("! --transparent", "cannot be inverted"),
    ],
};

#[derive(Debug)]
struct Socket {
    transparent: bool,
    no_wildcard: bool,
    restore_mark: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(Socket {
        transparent: parsed.has("transparent"),
        no_wildcard: parsed.has("nowildcard"),
        restore_mark: parsed.has("restore-skmark"),
    }))
}

impl Match for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let Some(socket) = find(look) else { return false };
        let fits = (self.no_wildcard || !socket.is_wildcard()) && (!self.transparent || socket.transparent);
        if fits && self.restore_mark {
            look.give_mark(socket.mark);
        }
        fits
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.transparent, " --transparent"),
            (self.no_wildcard, " --nowildcard"),
            (self.restore_mark, " --restore-skmark"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, text)| f.write_str(text))
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" socket")?;
        self.save(f)
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Prerouting, Hook::Input]), ..Scope::EVERYWHERE }
    }

    fn needs(&self) -> Needs {
        Needs::DEFRAGMENT
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The socket that takes the packet, or the one whose packet an ICMP error quotes (`nf_sk_lookup_slow`).
fn find(look: &Look<'_>) -> Option<Arc<socket::Socket>> {
    if let Some(given) = look.socket() {
        return Some(Arc::clone(given));
    }
    let sockets = look.sockets();
    if sockets.is_empty() {
        return None;
    }
    let family = look.family();
    let (protocol, remote, mut local) = match look.protocol() {
        protocol @ (proto::TCP | proto::UDP) => {
            let room = if protocol == proto::TCP { tcp::HEADER_LEN } else { udp::HEADER_LEN };
            let (sport, dport) = look.ports_of(room)?;
            (protocol, (look.src(), sport), (look.dst(), dport))
        }
        proto::ICMP | proto::ICMPV6 => {
            let message = Icmp::new(look.l4())?;
            let is_error = match family {
                Family::V4 => icmp4::is_error(message.kind()),
                Family::V6 => message.kind() & 0x80 == 0,
            };
            let (quoted, _) = Tuple::of_bytes(family, look.l4().get(HEADER_LEN..).filter(|_| is_error)?)?;
            let is_known = matches!(quoted.protocol, proto::TCP | proto::UDP);
            let ends = (quoted.protocol, (quoted.dst, quoted.dst_id), (quoted.src, quoted.src_id));
            Some(ends).filter(|_| is_known)?
        }
        _ => return None,
    };
    // An answer to what was translated on its way out: the socket knows the address from before (IPv4 alone).
    if family == Family::V4
        && let Some((conn, Class::Established(Direction::Reply) | Class::Related(Direction::Reply))) = look.conn()
        && conn.status.has(Status::SRC_NAT_DONE)
    {
        let own = conn.tuple(Direction::Original);
        local = (own.src, own.src_id);
    }
    let device = look.iif().map(|device| device.index);
    sockets.find(&socket::Ends { protocol, family, remote, local, device })
}

#[cfg(test)]
mod tests {
    use super::socket::{Socket, Sockets};
    use crate::testing::{DST, No, SRC, Yes, check_in, probe, tcp, udp};
    use hairpin_engine::Hook;
    use hairpin_engine::probe::Probe;
    use hairpin_wire::{Addr, Family, build, icmp4, proto, tcp};

    fn received(packet: Vec<u8>, protocol: u8, local: Addr, transparent: bool) -> Probe {
        let mut probe = probe(packet);
        probe.hook = Hook::Prerouting;
        let (family, device, owner) = (Family::V4, None, None);
        let socket =
            Socket { protocol, family, local: (local, 80), remote: None, device, transparent, mark: 7, owner };
        probe.net.sockets = Sockets::new(vec![socket]);
        probe
    }

    #[test]
    fn listeners_at_an_address_and_at_any() {
        let at = |local| received(tcp(5, 80, tcp::SYN), proto::TCP, local, false);
        check_in(&mut at(DST), "-m socket", Yes);
        check_in(&mut at(Addr::UNSPECIFIED), "-m socket", No);
        check_in(&mut at(Addr::UNSPECIFIED), "-m socket --nowildcard", Yes);
        check_in(&mut at(SRC), "-m socket --nowildcard", No);
        check_in(&mut at(DST), "-m socket --transparent", No);
        check_in(&mut received(udp(5, 80), proto::UDP, DST, true), "-m socket --transparent", Yes);
        check_in(&mut received(udp(5, 81), proto::UDP, DST, true), "-m socket", No);
    }

    #[test]
    fn an_error_is_for_who_sent_what_it_quotes() {
        let sent = build::Udp { src_port: 80, dst_port: 5, payload: b"x" }.packet(Family::V4, DST, SRC);
        let error = |kind| build::Icmp { kind, code: 1, rest: 0, payload: &sent }.packet(Family::V4, SRC, DST);
        check_in(&mut received(error(icmp4::UNREACHABLE), proto::UDP, DST, false), "-m socket", Yes);
        check_in(&mut received(error(icmp4::ECHO), proto::UDP, DST, false), "-m socket", No);
    }
}
