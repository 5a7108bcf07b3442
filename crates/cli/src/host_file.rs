//! The host file.
use hairpin_engine::net::Net;
use hairpin_engine::setup::Setup;
use std::path::Path;

/// Reads a host file.
pub fn read(path: &Path) -> Result<Net, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let v: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let mut s = Setup::default();
    let st = |v: &toml::Value| match v {
        toml::Value::String(s) => s.clone(),
        o => o.to_string(),
    };
    if let Some(t) = v.get("sysctl").and_then(|t| t.as_table()) {
        for (k, v) in t {
            s = s
                .sysctl(&format!(
                    "{k}={}",
                    match v {
                        toml::Value::Boolean(b) => (*b as i32).to_string(),
                        o => st(o),
                    }
                ))
                .map_err(|e| e.to_string())?;
        }
    }
    let arr = |n: &str| v.get(n).and_then(|a| a.as_array()).cloned().unwrap_or_default();
    for i in arr("interface") {
        let a: Vec<String> =
            i.get("addresses").and_then(|a| a.as_array()).map(|a| a.iter().map(st).collect()).unwrap_or_default();
        s = s
            .ethernet(i["name"].as_str().unwrap(), &a.iter().map(|s| s.as_str()).collect::<Vec<_>>())
            .map_err(|e| e.to_string())?;
        let l = s.interfaces.last_mut().unwrap();
        l.mac = i["mac"].as_str().unwrap().parse().map_err(|_| "mac")?;
        l.mtu = i.get("mtu").and_then(|m| m.as_integer()).unwrap_or(1500) as u32;
    }
    for r in arr("route") {
        let mut t = format!("{} {}", r.get("type").map(st).unwrap_or_default(), st(&r["to"]));
        for k in ["via", "dev", "src", "table", "metric"] {
            if let Some(x) = r.get(k) {
                t += &format!(" {k} {}", st(x));
            }
        }
        s = s.route(t.trim()).map_err(|e| e.to_string())?;
    }
    for r in arr("rule") {
        let mut t = String::new();
        for k in ["from", "to", "iif", "fwmark", "table", "priority"] {
            if let Some(x) = r.get(k) {
                t += &format!(" {k} {}", st(x));
            }
        }
        s = s.rule(t.trim()).map_err(|e| e.to_string())?;
    }
    for n in arr("neighbor") {
        s = s
            .neighbor(&format!("{} lladdr {} dev {}", st(&n["address"]), st(&n["mac"]), st(&n["dev"])))
            .map_err(|e| e.to_string())?;
    }
    s.build().map_err(|e| format!("{e:?}"))
}
