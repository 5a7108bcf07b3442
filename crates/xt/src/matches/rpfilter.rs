//! `-m rpfilter`: whether an answer would go back the way the packet came.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::Look;
use hairpin_engine::route::RouteType;
use hairpin_engine::rule::{Listing, Match, Scope, TableId, Tables};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "rpfilter",
    aliases: &[],
    families: Families::Both,
    about: "an answer would go back the way the packet came",
    kind: Kind::Evaluated,
    options: &[
        Opt::switch("loose", "by any device"),
        Opt::switch("validmark", "use the packet's mark for the route back"),
        Opt::switch("accept-local", "this host's own addresses are good sources"),
        Opt::switch("invert", "the packet fits when the test fails"),
    ],
    build,
    cases: &[
        Case::Same(""),
        Case::Same("--loose --validmark --accept-local --invert"),
        Case::Saves("--invert --loose", "--loose --invert"),
        Case::Fails("! --loose", "cannot be inverted"),
    ],
};

#[derive(Debug)]
struct RpFilter {
    loose: bool,
    with_mark: bool,
    accept_local: bool,
    invert: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    Ok(Arc::new(RpFilter {
        loose: parsed.has("loose"),
        with_mark: parsed.has("validmark"),
        accept_local: parsed.has("accept-local"),
        invert: parsed.has("invert"),
    }))
}

impl Match for RpFilter {
    fn name(&self) -> &'static str {
        "rpfilter"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let back = look.reverse_path(self.with_mark);
        let good_kind = match back.kind {
            Some(RouteType::Unicast) => true,
            Some(RouteType::Local) => self.accept_local,
            _ => false,
        };
        (back.exempt || good_kind && (self.loose || back.by_input_device)) != self.invert
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "--")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" rpfilter")?;
        self.write(f, "")
    }

    fn scope(&self) -> Scope {
        Scope {
            tables: Tables::of(&[TableId::Raw, TableId::Mangle]),
            hooks: Hooks::of(&[Hook::Prerouting]),
            ..Scope::EVERYWHERE
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl RpFilter {
    fn write(&self, f: &mut fmt::Formatter<'_>, dashes: &str) -> fmt::Result {
        let flags = [
            (self.loose, "loose"),
            (self.with_mark, "validmark"),
            (self.accept_local, "accept-local"),
            (self.invert, "invert"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, text)| write!(f, " {dashes}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, No, Yes, check_in, host, probe, udp};
    use hairpin_engine::net::{IfIndex, LO};
    use hairpin_engine::{Hook, Packet};
    use hairpin_wire::{Addr, Family, build};

    #[test]
    fn the_way_back() {
        let mut probe = probe(udp(1, 2));
        (probe.net, probe.hook) = (host(), Hook::Prerouting);
        let mut from = |src: u32, dev: IfIndex, rule: &str, expected| {
            probe.packet = Packet::from_ip(&build::ip(Family::V4, Addr::v4(src), DST, 17, &[])).unwrap();
            probe.packet.meta.iif = Some(dev);
            check_in(&mut probe, &format!("-m rpfilter {rule}"), expected);
        };
        from(0x0a00_0001, IfIndex(2), "", Yes);
        from(0x0a00_0001, IfIndex(2), "--invert", No);
        from(0x0a00_0001, IfIndex(3), "", No);
        from(0x0a00_0001, IfIndex(3), "--loose", Yes);
        // No route back at all.
        from(0x0808_0808, IfIndex(2), "--loose", No);
        from(0x0a00_00fe, IfIndex(2), "--loose", No);
        from(0x0a00_00fe, IfIndex(2), "--loose --accept-local", Yes);
        from(0x0808_0808, LO, "", Yes);
    }
}
