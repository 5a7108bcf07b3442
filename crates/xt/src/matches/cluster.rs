//! `-m cluster`: the packet's connection falls to this node of a cluster, by a hash of its original source.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::jhash::jhash2;
use hairpin_engine::packet::LinkType;
use hairpin_engine::rule::{Listing, Match, Needs, Place, Refused};
use hairpin_engine::track::{Conn, Direction};
use hairpin_wire::Family;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "cluster",
    aliases: &[],
    families: Families::Both,
    about: "the packet's connection falls to this node of a cluster",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("cluster-total-nodes", &["n"], "how many nodes there are, 1 to 32").required(),
        Opt::new("cluster-local-node", &["n"], "the number of this node, from 1")
            .inverts()
            .excludes(&["cluster-local-nodemask"]),
        Opt::new("cluster-local-nodemask", &["mask"], "the numbers of this node as bits")
            .inverts()
            .excludes(&["cluster-local-node"]),
        Opt::new("cluster-hash-seed", &["seed"], "a number that all nodes agree on").required(),
    ],
    build,
    cases: &[
        Case::Same("--cluster-local-nodemask 0x00000003 --cluster-total-nodes 4 --cluster-hash-seed 0xffffffff"),
        Case::Saves(
            "--cluster-total-nodes 2 ! --cluster-local-node 2 --cluster-hash-seed 5",
            "! --cluster-local-nodemask 0x00000002 --cluster-total-nodes 2 --cluster-hash-seed 0x00000005",
        ),
        Case::Fails(
            "--cluster-total-nodes 2 --cluster-local-node 3 --cluster-hash-seed 1",
            "`--cluster-local-node' must be <= `--cluster-total-nodes'",
        ),
        Case::Fails("--cluster-total-nodes 33 --cluster-local-node 3 --cluster-hash-seed 1", "out of range (1-32)"),
        Case::Fails("--cluster-total-nodes 2 --cluster-hash-seed 1", "is missing"),
        Case::Fails("--cluster-total-nodes 2 --cluster-local-node 2", "must be specified"),
        Case::Fails(
            "--cluster-local-nodemask 3 --cluster-total-nodes 1 --cluster-hash-seed 5",
            "`--cluster-local-nodemask' too big for `--cluster-total-nodes'",
        ),
        Case::Fails("--cluster-local-node 2", "\"--cluster-total-nodes\" must be specified"),
        Case::Fails("--cluster-total-nodes 2 --cluster-local-node 3 --cluster-local-nodemask 1", "cannot be used together"),
    ],
};

#[derive(Debug)]
struct Cluster {
    nodes: u32,
    mask: u32,
    seed: u32,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let number = |name: &str, min: u64, max: u64| match parsed.get(name) {
        Some(given) => value::number(parsed, given, min, max).map(|n| n as u32),
        None => Ok(0),
    };
    let nodes = number("cluster-total-nodes", 1, MOST_NODES)?;
    let seed = number("cluster-hash-seed", 0, u64::from(u32::MAX))?;
    let node = number("cluster-local-node", 1, MOST_NODES)?;
    // The front end takes no larger mask.
    let mask = number("cluster-local-nodemask", 1, MOST_NODES)?;
    // Of the two the last counts, until they are refused as a pair.
    let of_node = parsed.given.iter().rfind(|given| given.option.name.starts_with("cluster-local"));
    let has_rest = parsed.has("cluster-total-nodes") && parsed.has("cluster-hash-seed");
    let of_node = of_node.is_some_and(|given| given.option.name == "cluster-local-node");
    let (mask, inverted) = match (parsed.get("cluster-local-node"), parsed.get("cluster-local-nodemask")) {
        (Some(given), _) => {
            if node > nodes && of_node && has_rest {
                let message = "cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'";
                return Err(SyntaxError::parameter(message).at(given.value()).late());
            }
            (1 << (node - 1), given.inverted)
        }
        (None, Some(given)) => {
            if u64::from(mask) >= 1 << nodes && has_rest {
                let message = "cluster match: `--cluster-local-nodemask' too big for `--cluster-total-nodes'";
                return Err(SyntaxError::parameter(message).at(given.value()).late());
            }
            (mask, given.inverted)
        }
        (None, None) => {
            let message = "cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing";
            return Err(SyntaxError::parameter(message));
        }
    };
    parsed.required("cluster-total-nodes").and(parsed.required("cluster-hash-seed"))?;
    Ok(Arc::new(Cluster { nodes, mask, seed, inverted }))
}

impl Match for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        // The switch gives every node the frames for the link address they share, which must be a multicast one.
        if look.link_type() == LinkType::Multicast && !look.dst().is_multicast(look.family()) {
            look.take_for_host();
        }
        let Some((conn, _)) = look.conn().filter(|_| look.template().is_none()) else { return false };
        let master = conn.master().and_then(|master| look.other_conn(master));
        (self.mask & 1 << self.node(master.unwrap_or(conn)) != 0) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.inverted { " !" } else { "" };
        write!(f, "{not} --cluster-local-nodemask {:#010x}", self.mask)?;
        write!(f, " --cluster-total-nodes {} --cluster-hash-seed {:#010x}", self.nodes, self.seed)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        let not = if self.inverted { "!" } else { "" };
        write!(f, " cluster {not}node_mask={:#010x}", self.mask)?;
        write!(f, " total_nodes={} hash_seed={:#010x}", self.nodes, self.seed)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if u64::from(self.mask) >= 1 << self.nodes {
            let message = "xt_cluster: node mask cannot exceed total number of nodes";
            return Err(Refused::Invalid(message.to_owned()));
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

impl Cluster {
    /// The node, from 0. Of an IPv6 address only the first word counts. Linux hashes the bytes in network order as
    /// numbers of the machine, here little-endian ones.
    fn node(&self, conn: &Conn) -> u32 {
        let source = conn.tuple(Direction::Original).src;
        let word = match conn.family() {
            Family::V4 => source.as_u32(),
            Family::V6 => (source.0 >> 96) as u32,
        };
        let hash = jhash2(&[word.swap_bytes()], self.seed);
        ((u64::from(hash) * u64::from(self.nodes)) >> 32) as u32
    }
}

const MOST_NODES: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{No, Yes, belongs, check_in, connection, loads, probe, udp};
    use hairpin_engine::track::{Class, Tuple};
    use hairpin_wire::Addr;

    #[test]
    fn each_source_has_one_node() {
        let mut probe = probe(udp(5, 80));
        check_in(&mut probe, "-m cluster --cluster-total-nodes 1 --cluster-local-node 1 --cluster-hash-seed 1", No);
        let mut nodes = [0; 2];
        for host in 0..64 {
            let id = connection(&mut probe, 17, 5, |conn| {
                let tuple = conn.tuple(Direction::Original);
                conn.set_tuple(Direction::Original, Tuple { src: Addr::v4(0x0a00_0100 + host), ..tuple });
            });
            belongs(&mut probe, id, Class::New);
            let first = "--cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 7";
            let loaded = crate::testing::load(&mut probe, &format!("-m cluster {first}"));
            let is_first = probe.ask(&loaded) == Yes;
            nodes[usize::from(is_first)] += 1;
            let second = "-m cluster --cluster-total-nodes 2 --cluster-local-node 2 --cluster-hash-seed 7";
            check_in(&mut probe, second, if is_first { No } else { Yes });
        }
        assert!(nodes.iter().all(|n| (20..44).contains(n)), "{nodes:?}");
    }

    #[test]
    fn what_the_kernel_refuses() {
        // The front end lets none of these through.
        let of_mask = |mask| Arc::new(Cluster { nodes: 2, mask, seed: 1, inverted: false });
        assert!(loads(of_mask(4)).is_err() && loads(of_mask(3)).is_ok());
    }
}
