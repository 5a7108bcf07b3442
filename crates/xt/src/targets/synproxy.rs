//! `-j SYNPROXY`: let clients prove that they exist before the server hears of them.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Needs, Place, Protocols, Refused, Scope, SynProxy, Target, Verdict};
use hairpin_engine::{DropReason, Edit, Hook, Hooks};
use hairpin_wire::proto;
use hairpin_wire::tcp::{ACK, FIN, RST, SYN};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "SYNPROXY",
    families: Families::Both,
    about: "let clients prove that they exist before the server hears of them",
    kind: Kind::Evaluated,
    options: &[
        Opt::switch("sack-perm", "offer selective acknowledgements"),
        Opt::switch("timestamp", "offer time stamps"),
        Opt::new("wscale", &["shift"], "offer this window scale"),
        Opt::new("mss", &["bytes"], "offer this segment size"),
        Opt::switch("ecn", "offer congestion notification"),
    ],
    build,
    cases: &[
        Case::Same("-p tcp |"),
        Case::Same("-p tcp |--sack-perm --timestamp --wscale 7 --mss 1460 --ecn"),
        Case::Saves("-p tcp |--ecn --mss 0 --wscale 0 --timestamp", "--timestamp --wscale 0 --mss 0 --ecn"),
        Case::Saves("-p tcp |--mss 65536", "--mss 0"),
        Case::Fails("-p tcp |--mss x", "bad value for option \"--mss\""),
    ],
};

#[derive(Debug)]
struct Proxy(SynProxy);

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    // Larger numbers lose their upper bits, as in iptables.
    let number = |name: &str| parsed.get(name).map(|given| value::number_u32(parsed, given)).transpose();
    Ok(Arc::new(Proxy(SynProxy {
        sack: parsed.has("sack-perm"),
        timestamp: parsed.has("timestamp"),
        scale: number("wscale")?.map(|n| n as u8),
        mss: number("mss")?.map(|n| n as u16),
        ecn: parsed.has("ecn"),
    })))
}

impl Target for Proxy {
    fn name(&self) -> &'static str {
        "SYNPROXY"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        match edit.look().tcp_flags().map(|flags| flags & (SYN | ACK | FIN | RST)) {
            Some(SYN) | Some(ACK) => Verdict::SynProxy(self.0),
            Some(_) => Verdict::Continue,
            None => Verdict::Drop(DropReason::Rule),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.sack { " --sack-perm" } else { "" })?;
        f.write_str(if self.0.timestamp { " --timestamp" } else { "" })?;
        if let Some(scale) = self.0.scale {
            write!(f, " --wscale {scale}")?;
        }
        if let Some(mss) = self.0.mss {
            write!(f, " --mss {mss}")?;
        }
        f.write_str(if self.0.ecn { " --ecn" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" SYNPROXY ")?;
        f.write_str(if self.0.sack { "sack-perm " } else { "" })?;
        f.write_str(if self.0.timestamp { "timestamp " } else { "" })?;
        if let Some(scale) = self.0.scale {
            write!(f, "wscale {scale} ")?;
        }
        if let Some(mss) = self.0.mss {
            write!(f, "mss {mss} ")?;
        }
        f.write_str(if self.0.ecn { "ecn " } else { "" })
    }

    fn scope(&self) -> Scope {
        Scope {
            hooks: Hooks::of(&[Hook::Input, Hook::Forward]),
            protocols: Protocols::Of(&[proto::TCP]),
            ..Scope::EVERYWHERE
        }
    }

    fn check(&self, place: &Place<'_>) -> Result<(), Refused> {
        let header = &place.rule.header;
        if header.protocol != proto::TCP || header.protocol_inverted {
            return Err(Refused::Invalid("xt_SYNPROXY: only valid for TCP".to_owned()));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, tcp};
    use crate::testing_targets::act_in;
    use hairpin_engine::rule::{SynProxy, Verdict};
    use hairpin_wire::tcp::{ACK, FIN, PSH, RST, SYN};

    #[test]
    fn what_the_engine_is_to_answer() {
        let verdict = |flags| act_in(&mut probe(tcp(1, 2, flags)), "-p tcp -j SYNPROXY --mss 1460 --ecn");
        let rule = Verdict::SynProxy(SynProxy { mss: Some(1460), ecn: true, ..SynProxy::default() });
        assert_eq!([SYN, ACK, ACK | PSH].map(verdict), [rule.clone(), rule.clone(), rule]);
        assert_eq!([SYN | ACK, FIN | ACK, RST, FIN].map(verdict), [const { Verdict::Continue }; 4]);
    }
}
