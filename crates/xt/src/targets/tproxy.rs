//! `-j TPROXY`: hand the packet to a transparent proxy's socket on this host, without changing it.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Needs, Place, Protocols, Refused, Scope, TableId, Tables, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hook, Hooks};
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "TPROXY",
    families: Families::Both,
    about: "hand the packet to a transparent proxy on this host",
    kind: Kind::Partly("no socket here is transparent, so packets are dropped, as by Linux while the proxy does not run"),
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

/// No socket of this host is transparent, so there is never one to hand the packet to, and such a packet is dropped: what the
/// kernel does while the proxy is not running.
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

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Drop(DropReason::NoSocket)
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

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp, udp6};
    use crate::testing_targets::act_in;
    use hairpin_engine::DropReason;
    use hairpin_engine::rule::Verdict;

    #[test]
    fn drops_what_no_proxy_takes() {
        for (packet, rule) in
            [(udp(1, 2), "-p udp -j TPROXY --on-port 80"), (udp6(1, 2), "-p udp -j TPROXY --on-port 80 --on-ip 2001:db8::9")]
        {
            assert_eq!(act_in(&mut probe(packet), rule), Verdict::Drop(DropReason::NoSocket));
        }
    }
}
