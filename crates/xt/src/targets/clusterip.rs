//! `-j CLUSTERIP`: one address for a cluster of machines. Linux 6.2 took it out in favour of `-m cluster`.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Place, Refused, Target, Verdict};
use hairpin_wire::Mac;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CLUSTERIP",
    families: Families::V4,
    about: "one address for a cluster of machines",
    kind: Kind::Refused("Linux has had none since 6.2; `-m cluster` does it"),
    options: &[
        Opt::switch("new", "make the address"),
        Opt::new("hashmode", &["mode"], "sourceip, sourceip-sourceport or sourceip-sourceport-destport"),
        Opt::new("clustermac", &["mac"], "the link address of all"),
        Opt::new("total-nodes", &["n"], "how many machines, up to 16"),
        Opt::new("local-node", &["n"], "which of them this is, from 1"),
        Opt::new("hash-init", &["number"], "where the hash starts"),
    ],
    build,
    cases: &[
        Case::Fails("--new", "Invalid parameter combination"),
        Case::Fails("--new --clustermac 00:aa:7b:47:f7:d7", "MAC has to be a multicast ethernet address"),
        Case::Fails("--new --hashmode foo", "Unknown hashmode \"foo\""),
    ],
};

const MODES: [&str; 3] = ["sourceip", "sourceip-sourceport", "sourceip-sourceport-destport"];

#[derive(Debug)]
struct ClusterIp {
    new: bool,
    mode: &'static str,
    mac: Mac,
    nodes: u16,
    node: u16,
    seed: u32,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let short = |name: &str| match parsed.get(name) {
        Some(given) => value::number(parsed, given, 0, MOST_NODES).map(|n| n as u16),
        None => Ok(0),
    };
    let cluster = ClusterIp {
        new: parsed.has("new"),
        mode: parsed.get("hashmode").map(parse_mode).transpose()?.unwrap_or(""),
        mac: parsed.get("clustermac").map(parse_mac).transpose()?.unwrap_or(Mac::ZERO),
        nodes: short("total-nodes")?,
        node: short("local-node")?,
        seed: parsed.get("hash-init").map_or(Ok(0), |given| value::number_u32(parsed, given))?,
    };
    let needed = ["hashmode", "clustermac", "total-nodes", "local-node"].iter().filter(|name| parsed.has(name)).count();
    let whole = cluster.new && needed == 4;
    if !parsed.given.is_empty() && !whole {
        return Err(SyntaxError::parameter("CLUSTERIP target: Invalid parameter combination"));
    }
    Ok(Arc::new(cluster))
}

fn parse_mode(given: &Given) -> Result<&'static str, SyntaxError> {
    let mode = MODES.iter().find(|mode| **mode == given.value());
    mode.copied().ok_or_else(|| {
        SyntaxError::parameter(format!("Unknown hashmode \"{}\"", given.value())).at(given.value())
    })
}

fn parse_mac(given: &Given) -> Result<Mac, SyntaxError> {
    let mac = value::mac(given)?;
    if mac.0[0] & 1 == 0 {
        return Err(SyntaxError::parameter("MAC has to be a multicast ethernet address").at(given.value()));
    }
    Ok(mac)
}

/// `CLUSTERIP_MAX_NODES`.
const MOST_NODES: u64 = 16;

impl Target for ClusterIp {
    fn name(&self) -> &'static str {
        "CLUSTERIP"
    }

    fn act(&self, _edit: &mut Edit<'_>) -> Verdict {
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.new {
            return Ok(());
        }
        write!(f, " --new --hashmode {} --clustermac {} --total-nodes {}", self.mode, self.mac, self.nodes)?;
        write!(f, " --local-node {} --hash-init {}", self.node, self.seed)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        if !self.new {
            return f.write_str(" CLUSTERIP");
        }
        write!(f, " CLUSTERIP hashmode={} clustermac={} total_nodes={}", self.mode, self.mac, self.nodes)?;
        write!(f, " local_node={} hash_init={}", self.node, self.seed)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        Err(Refused::Missing("there is no target CLUSTERIP since Linux 6.2".to_owned()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
