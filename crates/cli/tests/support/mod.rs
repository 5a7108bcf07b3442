//! What the tests share: recorded scenarios as values, frames damaged under a seed, and a report for tests that fail.

#![allow(dead_code, reason = "each test uses its own part")]

use hairpin::capture::{Capture, LinkType};
use hairpin::replay::{Input, Merge};
use hairpin::trace::{self, RuleTexts};
use hairpin::{conntrack, host_file, names};
use hairpin_engine::net::{IfIndex, IfName};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::{Engine, Now, Output, Setup};
use hairpin_ruleset::ipset::read_saved;
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::Family;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Numbers from a seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// A frame that arrives.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) dev: IfIndex,
    pub(crate) nanos: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A host, its rules, and what arrives.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) setup: Setup,
    pub(crate) frames: Vec<Frame>,
}

/// The directory with the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every recorded scenario, by name.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(root().join("oracle/scenarios"))
        .expect("scenarios")
        .map(|entry| entry.expect("a directory").path())
        .collect();
    dirs.push(root().join("examples/home-router"));
    dirs.sort();
    assert!(dirs.len() > 90, "only {} scenarios", dirs.len());
    dirs.iter().map(|dir| Scenario::read(dir)).collect()
}

impl Scenario {
    /// Reads a directory with `host.toml`, rules, perhaps sets, and `in/`.
    pub(crate) fn read(dir: &Path) -> Scenario {
        let net = host_file::read(&dir.join("host.toml")).unwrap_or_else(|e| panic!("{e}"));
        let mut setup = Setup::new(net);
        let mut captures: Vec<PathBuf> =
            std::fs::read_dir(dir.join("in")).expect("captures").map(|e| e.expect("a file").path()).collect();
        captures.sort();
        let inputs = captures.iter().map(|path| {
            let name = path.file_stem().and_then(|n| IfName::new(n.to_str()?)).expect("a device");
            let dev = setup.net.interface_by_name(name).expect("a known device").index;
            Input { dev, capture: Capture::open(path).unwrap_or_else(|e| panic!("{e}")) }
        });
        let mut merge = Merge::new(inputs.collect());
        let mut frames = Vec::new();
        while merge
            .next(|a| {
                assert_eq!(a.info.link, LinkType::Ethernet, "{}", dir.display());
                frames.push(Frame { dev: a.dev, nanos: a.info.nanos, bytes: a.frame.to_vec() });
            })
            .unwrap_or_else(|e| panic!("{e}"))
        {}
        if let Ok(text) = std::fs::read_to_string(dir.join("sets")) {
            let start = Now::from_unix_nanos(frames.iter().map(|f| f.nanos).min().unwrap_or(0)).mono;
            let read = read_saved(&text, &mut setup.sets, system(), start);
            read.unwrap_or_else(|e| panic!("{}/sets: {e:?}", dir.display()));
        }
        let names = names::of_system().with_sets(&setup.sets);
        for (family, file) in [(Family::V4, "rules.v4"), (Family::V6, "rules.v6")] {
            let Ok(text) = std::fs::read(dir.join(file)) else { continue };
            let read = rules_with(family, &text, &names);
            let compiled = Arc::new(read.unwrap_or_else(|e| panic!("{}/{file}: {e}", dir.display())));
            match family {
                Family::V4 => setup.rules4 = compiled,
                Family::V6 => setup.rules6 = compiled,
            }
        }
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Scenario { name, setup, frames }
    }

    /// An engine of this host, which always makes the same choices.
    pub(crate) fn engine(&self) -> Engine {
        let start = self.frames.iter().map(|f| f.nanos).min().unwrap_or(0);
        Engine::new(self.setup.clone(), &Now::from_unix_nanos(start), 7)
    }

    /// The same host and rules, and frames that are damaged, doubled and out of order; their times still never go back.
    pub(crate) fn mutated(&self, seed: u64) -> Scenario {
        let dice = &mut Dice(seed);
        let mut frames: Vec<Frame> = Vec::new();
        for frame in &self.frames {
            let mut frame = frame.clone();
            match dice.below(8) {
                0 => frame.bytes.truncate(dice.below(frame.bytes.len() + 1)),
                1 | 2 => {
                    for _ in 0..=dice.below(4) {
                        let at = dice.below(frame.bytes.len());
                        if let Some(byte) = frame.bytes.get_mut(at) {
                            *byte ^= 1 << dice.below(8);
                        }
                    }
                }
                3 => frames.push(frame.clone()),
                _ => {}
            }
            frames.push(frame);
            let last = frames.len() - 1;
            if dice.one_in(6) {
                let other = last - dice.below(last.min(4) + 1);
                frames.swap(last, other);
            }
        }
        let mut times: Vec<u64> = frames.iter().map(|f| f.nanos).collect();
        times.sort_unstable();
        frames.iter_mut().zip(times).for_each(|(frame, nanos)| frame.nanos = nanos);
        Scenario { name: format!("{} mutated under {seed}", self.name), setup: self.setup.clone(), frames }
    }
}

/// Rules of a save file, counters included.
pub(crate) fn rules(family: Family, text: &[u8]) -> Result<Compiled, String> {
    rules_with(family, text, system())
}

/// The names that this machine knows, which are no sets.
fn system() -> &'static SystemNames {
    static NAMES: OnceLock<SystemNames> = OnceLock::new();
    NAMES.get_or_init(names::of_system)
}

fn rules_with(family: Family, text: &[u8], names: &SystemNames) -> Result<Compiled, String> {
    let options = RestoreOptions { file: "rules", counters: true, noflush: false, table: None, names };
    let restored = restore(&Ruleset::new(family), text, &options).map_err(|e| e.to_string())?;
    Compiled::new(restored.ruleset.clone()).map_err(|why| restored.refused(&why).to_string())
}

/// The rules of a family with their counters.
pub(crate) fn saved(engine: &Engine, family: Family) -> String {
    let state = engine.state();
    let ruleset = Ruleset { family, tables: state.rules(family).tables().cloned().collect() };
    save(&ruleset, &SaveOptions { counters: true, ..SaveOptions::default() }, |table| {
        Some(state.counters(family, table))
    })
}

/// The connections, each with its number.
pub(crate) fn connections(engine: &Engine, now: &Now) -> String {
    let all: Vec<String> = engine.state().conns().map(|(id, conn)| format!("{id:?} {conn:?}\n")).collect();
    all.concat() + &conntrack::listing(engine.state(), now.mono)
}

/// What a failing test prints: the rules, the connection table, and the way of the last packet.
pub(crate) fn report(engine: &Engine, frame: &Frame, number: usize, out: &Output) -> String {
    let state = engine.state();
    let texts = RuleTexts::new([state.rules(Family::V4), state.rules(Family::V6)]);
    let way = trace::text(state.net(), &texts, number as u64 + 1, frame.dev, frame.nanos, &out.trace);
    let table = conntrack::listing(state, Now::from_unix_nanos(frame.nanos).mono);
    format!("\n{}{}\n{table}\n{way}", saved(engine, Family::V4), saved(engine, Family::V6))
}
