//! `-j TPROXY`: hand the packet to a transparent proxy's socket on this host, without changing it.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Needs, Place, Protocols, Refused, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::socket::{Ends, Socket};
use hairpin_engine::{DropReason, Edit, Hook, Hooks, Look};
use hairpin_wire::{Addr, Family, proto, udp};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TPROXY",
    families: Families::Both,
    about: "hand the packet to a transparent proxy on this host",
    kind: Kind::Partly("offline of the sockets only those are known that the host file lists; without one packets are dropped, as by Linux while the proxy does not run"),
    options: &[
        Opt::new("on-port", &["port"], "the proxy's port; 0 for the packet's own").required(),
        Opt::new("on-ip", &["address"], "the proxy's address; the device's own when not given"),
        Opt::new("tproxy-mark", &["value[/mask]"], "mark the packet, for a routing rule"),
    ],
    build,
    cases: &[
        Case::Same("@mangle PREROUTING|-p tcp |--on-port 3128 --on-ip 10.0.0.1 --tproxy-mark 0x5/0x6"),
        Case::Same("@mangle PREROUTING|-p tcp |--on-port 3128 --on-ip 2001:db8::1 --tproxy-mark 0x5/0x6"),
        Case::Saves("@mangle PREROUTING|-p udp |--on-port 080 --on-ip 0.0.0.0", "--on-port 80 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0"),
        Case::Fails("@mangle PREROUTING|-p tcp |", "must be specified"),
    ],
};

#[derive(Debug)]
struct TProxy {
    family: Family,
    port: u16,
    addr: Addr,
    mark: (u32, u32),
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let addr = parsed.get("on-ip").map_or(Ok(Addr::UNSPECIFIED), |given| value::host(parsed, given))?;
    let mark = parsed.get("tproxy-mark").map_or(Ok((0, 0)), |given| value::mark_mask(parsed, given))?;
    Ok(Arc::new(TProxy {
        family: parsed.family,
        port: value::port(parsed, parsed.required("on-port")?)?,
        addr,
        mark,
    }))
}

impl Target for TProxy {
    fn name(&self) -> &'static str {
        "TPROXY"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let found = self.find(&edit.look());
        let Some(socket) = found.filter(|socket| socket.transparent) else {
            return Verdict::Drop(DropReason::NoSocket);
        };
        let mark = edit.look().mark() & !self.mark.1 ^ self.mark.0;
        edit.set_mark(mark);
        edit.hand_to(socket);
        Verdict::Accept
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addr = value::show_addr(self.family, self.addr);
        write!(f, " --on-port {} --on-ip {addr} --tproxy-mark {:#x}/{:#x}", self.port, self.mark.0, self.mark.1)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let addr = value::show_addr(self.family, self.addr);
        write!(f, " TPROXY redirect {addr}:{} mark {:#x}/{:#x}", self.port, self.mark.0, self.mark.1)
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Mangle]),
            hooks: Hooks::of(&[Hook::Prerouting]),
            protocols: Protocols::Any,
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if header.protocol_inverted || ![proto::TCP, proto::UDP].contains(&header.protocol) {
            return Err(Refused::Invalid("xt_TPROXY: Can be used only with -p tcp or -p udp".to_owned()));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs::DEFRAGMENT
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TProxy {
    /// The socket of a connection that the proxy has already, or the one that listens where the rule says.
    fn find(&self, look: &Look<'_>) -> Option<Arc<Socket>> {
        let (sport, dport) = look.ports_of(udp::HEADER_LEN)?;
        let (protocol, family) = (look.protocol(), look.family());
        let device = look.iif();
        let (remote, local) = ((look.src(), sport), (look.dst(), dport));
        let ends = Ends { protocol, family, remote, local, device: device.map(|device| device.index) };
        let sockets = look.sockets();
        let listener = || {
            let own = || device?.addresses.iter().find(|own| own.family == family && !own.secondary).map(|own| own.addr);
            let addr = Some(self.addr).filter(|addr| *addr != Addr::UNSPECIFIED).or_else(own).unwrap_or(look.dst());
            let port = if self.port == 0 { dport } else { self.port };
            sockets.listening(&Ends { local: (addr, port), ..ends })
        };
        sockets.connected(&ends).or_else(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::{Socket, proto};
    use crate::testing::{host, probe, udp, udp6};
    use crate::testing_targets::act_in;
    use hairpin_engine::net::IfIndex;
    use hairpin_engine::rule::Verdict;
    use hairpin_engine::socket::Sockets;
    use hairpin_engine::{DropReason, Hook};
    use hairpin_wire::{Addr, Family};

    #[test]
    fn drops_what_no_proxy_takes() {
        for (packet, rule) in
            [(udp(1, 2), "-p udp -j TPROXY --on-port 80"), (udp6(1, 2), "-p udp -j TPROXY --on-port 80 --on-ip 2001:db8::9")]
        {
            assert_eq!(act_in(&mut probe(packet), rule), Verdict::Drop(DropReason::NoSocket));
        }
    }

    #[test]
    fn the_proxy_at_the_devices_address() {
        let with = |local, transparent| {
            let mut probe = probe(udp(1, 2));
            probe.hook = Hook::Prerouting;
            probe.net = host();
            probe.packet.meta.iif = Some(IfIndex(2));
            probe.packet.meta.mark = 0x13;
            let (protocol, family, device, owner) = (proto::UDP, Family::V4, None, None);
            let socket = Socket { protocol, family, local, remote: None, device, transparent, mark: 0, owner };
            probe.net.sockets = Sockets::new(vec![socket]);
            let verdict = act_in(&mut probe, "-p udp -j TPROXY --on-port 3128 --tproxy-mark 0x1/0x3");
            (verdict == Verdict::Accept, probe.packet.meta.mark, probe.packet.meta.socket.is_some())
        };
        let own = Addr::v4(0x0a00_00fe);
        assert_eq!(with((own, 3128), true), (true, 0x11, true));
        assert_eq!(with((Addr::UNSPECIFIED, 3128), true), (true, 0x11, true));
        assert_eq!(with((own, 3128), false), (false, 0x13, false));
        assert_eq!(with((own, 3129), true), (false, 0x13, false));
    }
}
