//! What a host file asks for, worked out before anything is opened.

use super::GatewayError;
use crate::devices::{self, Missing};
use crate::host_file::{self, HostFile};
use crate::rules;
use hairpin_engine::Setup;
use hairpin_wire::Family;
use std::path::Path;

/// What a host file asks for: the host with what its devices say themselves, and the rules.
pub(super) struct Plan {
    pub(super) written: HostFile,
    pub(super) file: HostFile,
    pub(super) setup: Setup,
    pub(super) notices: Vec<String>,
}

pub(super) fn plan(path: &Path) -> Result<Plan, GatewayError> {
    plan_of(host_file::load(path).map_err(GatewayError::HostFile)?, Missing::Refused)
}

pub(super) fn plan_of(mut written: HostFile, missing: Missing) -> Result<Plan, GatewayError> {
    devices::settle_choices(&mut written);
    let mut file = written.clone();
    devices::complete(&mut file, missing).map_err(GatewayError::Device)?;
    let mut setup = Setup::new(file.net().map_err(GatewayError::Host)?);
    setup.accounts = file.accounts.clone();
    let mut notices = Vec::new();
    for (path, family) in file.live.rules.iter().zip([Family::V4, Family::V6]) {
        let Some(path) = path else { continue };
        let loaded = rules::read(path, family).map_err(GatewayError::Rules)?;
        notices.extend(loaded.notices);
        match family {
            Family::V4 => setup.rules4 = loaded.rules,
            Family::V6 => setup.rules6 = loaded.rules,
        }
    }
    Ok(Plan { written, file, setup, notices })
}

/// What a host file would do, in words, without doing it.
pub fn check(path: &Path) -> Result<String, GatewayError> {
    use std::fmt::Write as _;
    let Plan { file, setup, notices, .. } = plan(path)?;
    let mut text = String::new();
    for (interface, live) in file.setup.interfaces.iter().zip(&file.live.interfaces) {
        let choice = devices::choose(&interface.name, live);
        let addresses: Vec<String> =
            interface.addresses.iter().map(|a| format!("{}/{}", a.addr.display(a.family), a.prefix)).collect();
        let how = match &live.vlan {
            Some(vlan) => format!("VLAN {} on {}", vlan.id, vlan.parent),
            None => {
                let kind = format!("{:?}", choice.kind).to_lowercase();
                format!("{kind} ({}){}", choice.why, devices::serving(&interface.name, live))
            }
        };
        let up = if interface.up { "up" } else { "down" };
        let _ = writeln!(
            text,
            "interface {}: {how}; {up}, {}, mtu {}, {}",
            interface.name,
            interface.mac,
            interface.mtu,
            if addresses.is_empty() { "no addresses".to_owned() } else { addresses.join(" ") }
        );
    }
    let _ = writeln!(text, "{} routes, {} static neighbors", file.setup.routes.len(), setup.net.neighbors.len());
    for (rules, path) in [&setup.rules4, &setup.rules6].into_iter().zip(&file.live.rules) {
        let Some(path) = path else { continue };
        let count: usize = rules.tables().flat_map(|t| &t.chains).map(|c| c.rules.len()).sum();
        let _ = writeln!(text, "{}: {count} rules", path.display());
    }
    for notice in notices {
        let _ = writeln!(text, "{notice}");
    }
    Ok(text)
}
