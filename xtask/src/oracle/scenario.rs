//! A scenario directory: the router, its rules, what arrives, and what the kernel did with it. `oracle/README.md` says
//! what each file holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pcap::{self, Stamped};

/// A scenario as it lies on disk.
#[derive(Debug)]
pub struct Scenario {
    pub path: PathBuf,
    pub name: String,
    pub host: Host,
    pub rules4: String,
    pub rules6: Option<String>,
    /// The sets that rules name, as `ipset save` prints them.
    pub sets: Option<String>,
    pub meta: Meta,
    /// Interface and capture file, in the order of the interfaces: also the order of frames with equal times.
    pub inputs: Vec<(String, PathBuf)>,
}

/// `host.toml`: the router around the rules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    #[serde(default)]
    pub sysctl: toml::Table,
    #[serde(default)]
    pub interface: Vec<Interface>,
    #[serde(default)]
    pub route: Vec<Route>,
    #[serde(default)]
    pub rule: Vec<PolicyRule>,
    #[serde(default)]
    pub neighbor: Vec<Neighbor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    pub name: String,
    pub mac: String,
    #[serde(default = "usual_mtu")]
    pub mtu: u32,
    #[serde(default)]
    pub addresses: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub to: String,
    /// `unreachable`, `prohibit`, `blackhole`, `throw`, ...; an ordinary route without it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub via: Option<String>,
    pub dev: Option<String>,
    pub src: Option<String>,
    pub table: Option<toml::Value>,
    pub metric: Option<toml::Value>,
    /// Instead of `via` and `dev`: several ways.
    #[serde(default)]
    pub nexthop: Vec<NextHop>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHop {
    pub via: String,
    pub dev: String,
    pub weight: u8,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    pub from: Option<String>,
    pub to: Option<String>,
    pub iif: Option<String>,
    pub fwmark: Option<toml::Value>,
    pub table: Option<toml::Value>,
    pub priority: Option<toml::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    pub address: String,
    pub mac: String,
    pub dev: String,
}

/// `scenario.toml`: what the scenario is about and how strictly it can be held.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    #[serde(default)]
    pub about: String,
    /// What must be seen when it is recorded, or the scenario itself is wrong.
    #[serde(default)]
    pub wants: Vec<String>,
    /// It waits for seconds of real time when recorded.
    #[serde(default)]
    pub slow: bool,
    /// No frame need come out.
    #[serde(default)]
    pub silent: bool,
    pub statistical: Option<Shares>,
}

/// How a scenario with real dice is compared: by the shares of destinations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    pub iface: String,
    #[serde(default = "usual_sigma")]
    pub sigma: f64,
    pub share: BTreeMap<String, f64>,
}

/// One input frame on the common clock.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub micros: u64,
    pub iface: String,
    pub data: Vec<u8>,
}

/// What came of a scenario: the kernel's answer or a program's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub frames: BTreeMap<String, Vec<Stamped>>,
    pub rules4: String,
    pub rules6: Option<String>,
    pub conntrack: String,
    pub log: String,
    /// The sets in the end, where the scenario has some.
    pub sets: Option<String>,
}

impl Scenario {
    pub fn load(path: &Path) -> Result<Self, String> {
        let host: Host = from_toml(&path.join("host.toml"))?;
        let meta_file = path.join("scenario.toml");
        let meta = if meta_file.exists() { from_toml(&meta_file)? } else { Meta::default() };
        let inputs = host
            .interface
            .iter()
            .map(|i| (i.name.clone(), path.join("in").join(format!("{}.pcap", i.name))))
            .filter(|(_, file)| file.exists())
            .collect();
        let six = path.join("rules.v6");
        Ok(Self {
            path: path.to_path_buf(),
            name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            host,
            rules4: text(&path.join("rules.v4"))?,
            rules6: if six.exists() { Some(text(&six)?) } else { None },
            sets: text(&path.join("sets")).ok(),
            meta,
            inputs,
        })
    }

    /// All input frames in the order of the virtual clock.
    pub fn arrivals(&self) -> Result<Vec<Arrival>, String> {
        let mut out = Vec::new();
        for (iface, file) in &self.inputs {
            out.extend(pcap::read(file)?.into_iter().map(|f| Arrival {
                micros: f.micros,
                iface: iface.clone(),
                data: f.data,
            }));
        }
        out.sort_by_key(|a| a.micros);
        Ok(out)
    }

    /// The arguments of `replay` for this scenario.
    pub fn arguments(&self, output: &Path) -> Vec<String> {
        let file = |name: &str| self.path.join(name).to_string_lossy().into_owned();
        let mut out = vec!["--host".into(), file("host.toml"), "--rules".into(), file("rules.v4")];
        if self.rules6.is_some() {
            out.extend(["--rules6".into(), file("rules.v6")]);
        }
        if self.sets.is_some() {
            out.extend(["--sets".into(), file("sets")]);
        }
        for (iface, path) in &self.inputs {
            out.extend(["--input".into(), format!("{iface}={}", path.display())]);
        }
        out.extend(["--output".into(), output.to_string_lossy().into_owned()]);
        out
    }

    pub fn ifaces(&self) -> impl Iterator<Item = &str> {
        self.host.interface.iter().map(|i| i.name.as_str())
    }
}

impl Outcome {
    /// Reads what `who` wrote into a directory. A missing capture, rule file or connection list is an error.
    pub fn load(dir: &Path, scenario: &Scenario, who: &str) -> Result<Self, String> {
        let mut out = Self::default();
        for iface in scenario.ifaces() {
            let file = dir.join(format!("{iface}.pcap"));
            if !file.exists() {
                return Err(format!("{who} wrote no {iface}.pcap"));
            }
            out.frames.insert(iface.to_string(), pcap::read(&file)?);
        }
        let must = |name: &str| text(&dir.join(name)).map_err(|_| format!("{who} wrote no {name}"));
        out.rules4 = must("rules.v4")?;
        out.rules6 = if scenario.rules6.is_some() { Some(must("rules.v6")?) } else { None };
        out.conntrack = must("conntrack")?;
        out.log = text(&dir.join("log")).unwrap_or_default();
        out.sets = if scenario.sets.is_some() { Some(without_chance(&must("sets")?)) } else { None };
        Ok(out)
    }

    /// Writes the outcome into a directory, in place of whatever files it held.
    pub fn save(&self, dir: &Path) -> Result<(), String> {
        fresh(dir)?;
        for (iface, frames) in &self.frames {
            pcap::write(&dir.join(format!("{iface}.pcap")), frames)?;
        }
        put(&dir.join("rules.v4"), &self.rules4)?;
        if let Some(rules6) = &self.rules6 {
            put(&dir.join("rules.v6"), rules6)?;
        }
        put(&dir.join("conntrack"), &self.conntrack)?;
        if let Some(sets) = &self.sets {
            put(&dir.join("sets"), sets)?;
        }
        put(&dir.join("log"), &self.log)
    }
}

/// Saved sets without what no two runs have in common: secrets, and the exact seconds left.
pub fn without_chance(sets: &str) -> String {
    let mut out = String::new();
    for line in sets.lines() {
        let mut last = "";
        let words = line.split(' ').filter_map(|word| {
            let before = std::mem::replace(&mut last, word);
            match (before, word) {
                ("initval", _) | (_, "initval") => None,
                ("timeout", "0") => Some(word),
                ("timeout", _) if line.starts_with("add") => Some("SOME"),
                _ => Some(word),
            }
        });
        out += &(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    out
}

/// The scenario directories at or directly below the given paths, by name.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let is_one = |p: &Path| p.join("host.toml").exists();
    let mut out = Vec::new();
    for path in paths {
        if is_one(path) {
            out.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut below: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| is_one(p)).collect();
        if below.is_empty() {
            return Err(format!("no scenario at {}", path.display()));
        }
        below.sort();
        out.extend(below);
    }
    Ok(out)
}

/// Writes a new scenario (without `expected/`).
pub fn save(
    path: &Path,
    host: &Host,
    rules4: &str,
    rules6: Option<&str>,
    about: &str,
    arrivals: &[Arrival],
) -> Result<(), String> {
    fresh(&path.join("in"))?;
    put(&path.join("host.toml"), &host.to_toml())?;
    put(&path.join("rules.v4"), rules4)?;
    match rules6 {
        Some(rules6) => put(&path.join("rules.v6"), rules6)?,
        None => drop(fs::remove_file(path.join("rules.v6"))),
    }
    put(&path.join("scenario.toml"), &format!("about = {}\nsilent = true\n", quoted(about)))?;
    for i in &host.interface {
        let frames: Vec<Stamped> = arrivals
            .iter()
            .filter(|a| a.iface == i.name)
            .map(|a| Stamped { micros: a.micros, data: a.data.clone() })
            .collect();
        pcap::write(&path.join("in").join(format!("{}.pcap", i.name)), &frames)?;
    }
    Ok(())
}

/// Writes a text file.
pub fn put(path: &Path, content: &str) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}

/// A plain value of `host.toml` as a command line or a sysctl file wants it: booleans are 0 and 1.
pub fn word(value: &toml::Value) -> String {
    match value {
        toml::Value::String(s) => s.clone(),
        toml::Value::Boolean(b) => u8::from(*b).to_string(),
        other => other.to_string(),
    }
}

impl Host {
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        if !self.sysctl.is_empty() {
            out.push_str("[sysctl]\n");
            for (key, value) in &self.sysctl {
                let _ = writeln!(out, "{} = {}", quoted(key), literal(value));
            }
            out.push('\n');
        }
        let text = |v: &Option<String>| v.as_deref().map(quoted);
        let value = |v: &Option<toml::Value>| v.as_ref().map(literal);
        for i in &self.interface {
            let addresses: Vec<String> = i.addresses.iter().map(|a| quoted(a)).collect();
            let rows = [
                ("name", Some(quoted(&i.name))),
                ("mac", Some(quoted(&i.mac))),
                ("mtu", Some(i.mtu.to_string())),
                ("addresses", Some(format!("[{}]", addresses.join(", ")))),
            ];
            section(&mut out, "interface", &rows);
        }
        for r in &self.route {
            let rows = [
                ("to", Some(quoted(&r.to))),
                ("type", text(&r.kind)),
                ("via", text(&r.via)),
                ("dev", text(&r.dev)),
                ("src", text(&r.src)),
                ("table", value(&r.table)),
                ("metric", value(&r.metric)),
                ("nexthop", (!r.nexthop.is_empty()).then(|| hops(&r.nexthop))),
            ];
            section(&mut out, "route", &rows);
        }
        for r in &self.rule {
            let rows = [
                ("from", text(&r.from)),
                ("to", text(&r.to)),
                ("iif", text(&r.iif)),
                ("fwmark", value(&r.fwmark)),
                ("table", value(&r.table)),
                ("priority", value(&r.priority)),
            ];
            section(&mut out, "rule", &rows);
        }
        for n in &self.neighbor {
            let rows =
                [("address", Some(quoted(&n.address))), ("mac", Some(quoted(&n.mac))), ("dev", Some(quoted(&n.dev)))];
            section(&mut out, "neighbor", &rows);
        }
        out
    }
}

fn hops(list: &[NextHop]) -> String {
    let hop = |h: &NextHop| format!("{{ via = {}, dev = {}, weight = {} }}", quoted(&h.via), quoted(&h.dev), h.weight);
    format!("[{}]", list.iter().map(hop).collect::<Vec<_>>().join(", "))
}

fn section(out: &mut String, name: &str, rows: &[(&str, Option<String>)]) {
    let _ = writeln!(out, "[[{name}]]");
    for (key, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    out.push('\n');
}

fn literal(value: &toml::Value) -> String {
    match value {
        toml::Value::String(s) => quoted(s),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn from_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    toml::from_str(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    let raw = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(String::from_utf8_lossy(&raw).into_owned())
}

/// An empty directory at `path`.
fn fresh(path: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path).map_err(fail)?;
    for entry in fs::read_dir(path).map_err(fail)? {
        fs::remove_file(entry.map_err(fail)?.path()).map_err(fail)?;
    }
    Ok(())
}

fn usual_mtu() -> u32 {
    1500
}

fn usual_sigma() -> f64 {
    5.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = r#"
[sysctl]
"net.ipv4.ip_forward" = 1
"net.ipv4.conf.all.rp_filter" = true
[[interface]]
name = "eth0"
mac = "02:00:00:00:01:01"
addresses = ["203.0.113.1/24"]
[[route]]
to = "10.0.0.0/8"
type = "unreachable"
table = 100
[[route]]
to = "10.9.0.0/16"
nexthop = [{ via = "203.0.113.254", dev = "eth0", weight = 1 }, { via = "203.0.113.10", dev = "eth0", weight = 3 }]
[[rule]]
fwmark = "0x1/0xf"
table = 100
priority = 1000
[[neighbor]]
address = "203.0.113.254"
mac = "02:aa:00:00:00:01"
dev = "eth0"
"#;

    #[test]
    fn host_survives_writing_and_reading() {
        let host: Host = toml::from_str(HOST).unwrap();
        let again: Host = toml::from_str(&host.to_toml()).unwrap();
        assert_eq!(format!("{host:?}"), format!("{again:?}"));
        assert_eq!(host.sysctl.keys().next().unwrap(), "net.ipv4.ip_forward", "sysctls keep their order");
        assert_eq!(word(&host.sysctl["net.ipv4.conf.all.rp_filter"]), "1");
        assert_eq!(host.interface[0].mtu, 1500);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Host>("[[route]]\nto = \"default\"\nscope = \"link\"\n").is_err());
    }
}
