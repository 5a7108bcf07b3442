//! Settings of the host by Linux's names (`sysctl`), with the defaults of a fresh network namespace.
//!
//! Settings that change what this engine does are fields or methods; the others that Linux knows are taken, kept and have no
//! effect. Per-device settings exist three times, as in Linux: `all`, `default` and once for each device. How they combine is
//! different for every setting and is written once, in `combined.rs`.

mod combined;
mod conf;
mod known;
mod plain;
#[cfg(test)]
mod tests;

use crate::net::IfIndex;
use crate::track::Knobs;
use crate::words::nearest;
use hairpin_wire::Family;
use std::collections::BTreeMap;
use std::fmt;

use conf::{Conf, Place, Row};
use known::{INERT, KNOBS, Knob, NETFILTER, RATEMASK6, READ_ONLY};

pub use conf::{Conf4, Conf6};
pub use plain::{BridgeSettings, Ipv4Settings, Ipv6Settings};

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `net.ipv4.*` without the per-device ones.
    pub ipv4: Ipv4Settings,
    /// `net.ipv6.*` without the per-device ones.
    pub ipv6: Ipv6Settings,
    /// `net.bridge.*`.
    pub bridge: BridgeSettings,
    /// `net.netfilter.nf_conntrack_*`.
    pub track: Knobs,
    /// ICMPv6 types that are rate limited, one bit each (`net.ipv6.icmp.ratemask`, written as a list: `0-1,3-127`).
    pub icmp6_ratemask: [u128; 2],
    conf4: Conf,
    conf6: Conf,
    /// Device names, in the order of their numbers.
    names: Vec<String>,
    /// Settings without effect that were set.
    inert: BTreeMap<&'static str, String>,
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// Linux has no such setting, or this program does not know it; the nearest known name.
    UnknownName {
        /// As given.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// A setting of a device that does not exist; the nearest known device.
    UnknownDevice {
        /// The device named.
        device: String,
        /// The nearest known device.
        suggestion: Option<String>,
    },
    /// Outside of what Linux takes.
    BadValue {
        /// As given.
        name: String,
        /// As given.
        value: String,
        /// What is taken.
        expected: String,
    },
    /// It can only be read.
    ReadOnly {
        /// As given.
        name: String,
    },
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did_you_mean = |f: &mut fmt::Formatter<'_>, suggestion: &Option<String>| match suggestion {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        };
        match self {
            SysctlError::UnknownName { name, suggestion } => {
                write!(f, "unknown setting {name}")?;
                did_you_mean(f, suggestion)
            }
            SysctlError::UnknownDevice { device, suggestion } => {
                write!(f, "there is no interface {device}")?;
                did_you_mean(f, suggestion)
            }
            SysctlError::BadValue { name, value, expected } => {
                write!(f, "{name} cannot be {value}: expected {expected}")
            }
            SysctlError::ReadOnly { name } => write!(f, "{name} can only be read"),
        }
    }
}

impl std::error::Error for SysctlError {}

impl Default for Sysctl {
    /// The settings of a fresh network namespace, without devices.
    fn default() -> Sysctl {
        let mut mask = [u128::MAX, 0];
        mask[0] &= !(1 << 2);
        Sysctl {
            ipv4: Ipv4Settings::default(),
            ipv6: Ipv6Settings::default(),
            bridge: BridgeSettings::default(),
            track: Knobs::default(),
            icmp6_ratemask: mask,
            conf4: Conf::new(Conf4::TABLE),
            conf6: Conf::new(Conf6::TABLE),
            names: Vec::new(),
            inert: BTreeMap::new(),
        }
    }
}

/// A name taken apart.
enum Target {
    Conf { family: Family, place: Place, setting: usize },
    IpForward,
    RateMask6,
    Plain(String),
}

impl Sysctl {
    /// Adds a device, which gets the `default` settings. Devices are added in the order of their numbers, `lo` first.
    pub fn add_device(&mut self, name: &str) {
        for conf in [&mut self.conf4, &mut self.conf6] {
            // A device that has got an address keeps its settings when `default` changes; `lo` always has one.
            let own = vec![self.names.is_empty(); conf.default.len()];
            conf.devices.push(Row { values: conf.default.clone(), own });
        }
        self.names.push(name.to_owned());
    }

    /// Sets a number by its Linux name, `net.ipv4.ip_forward` or `net/ipv4/ip_forward`. In a dotted name a device's own dots
    /// may be written as they are or as slashes, as `sysctl` wants them.
    pub fn set(&mut self, name: &str, value: i64) -> Result<(), SysctlError> {
        match self.target(name)? {
            Target::RateMask6 => Err(bad(name, value, "a list of ICMPv6 types such as \"0-1,3-127\"")),
            Target::IpForward => self.set_conf(Family::V4, &Place::All, Conf4::Forwarding as usize, name, value),
            Target::Conf { family, place, setting } => self.set_conf(family, &place, setting, name, value),
            Target::Plain(plain) => self.set_plain(&plain, name, value),
        }
    }

    /// Sets a value given as text: a number, or what the setting has instead of one.
    pub fn set_text(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        if let Ok(number) = value.trim().parse() {
            return match self.target(name)? {
                Target::RateMask6 => self.set_ratemask6(name, value),
                _ => self.set(name, number),
            };
        }
        match self.target(name)? {
            Target::RateMask6 => self.set_ratemask6(name, value),
            Target::Plain(plain) => match INERT.iter().find(|known| **known == plain) {
                Some(known) => {
                    self.inert.insert(known, value.to_owned());
                    Ok(())
                }
                None => Err(bad(name, value, "a number")),
            },
            _ => Err(bad(name, value, "a number")),
        }
    }

    /// Reads a number by its Linux name.
    pub fn get(&self, name: &str) -> Result<i64, SysctlError> {
        let number = match self.target(name)? {
            Target::RateMask6 => None,
            Target::IpForward => Some(i64::from(self.conf4.all(Conf4::Forwarding as usize))),
            Target::Conf { family, place, setting } => {
                let conf = if family == Family::V4 { &self.conf4 } else { &self.conf6 };
                let row = match place {
                    Place::All => Some(&conf.all),
                    Place::Default => Some(&conf.default),
                    Place::Device(row) => conf.devices.get(row).map(|row| &row.values),
                };
                row.and_then(|row| row.get(setting)).map(|v| i64::from(*v))
            }
            Target::Plain(plain) => self
                .ipv4
                .value(&plain)
                .or_else(|| self.ipv6.value(&plain))
                .or_else(|| self.bridge.value(&plain))
                .or_else(|| plain.strip_prefix(NETFILTER).and_then(|rest| self.knob(rest)))
                .or_else(|| self.inert.get(plain.as_str()).and_then(|text| text.trim().parse().ok())),
        };
        number.ok_or_else(|| bad(name, "read", "a setting with a number"))
    }

    /// A value as text; None for a setting that has no effect here and was not set.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn text(&self, name: &str) -> Result<Option<String>, SysctlError> {
        let plain = match self.target(name)? {
            Target::RateMask6 => return Ok(Some(self.ratemask6_text())),
            Target::Plain(plain) => plain,
            _ => return self.get(name).map(|number| Some(number.to_string())),
        };
        if let Some(text) = self.inert.get(plain.as_str()) {
            return Ok(Some(text.clone()));
        }
        if INERT.contains(&plain.as_str()) {
            return Ok(None);
        }
        match self.get(name) {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(SysctlError::UnknownName { name: name.to_owned(), suggestion: self.suggest(&plain) }),
        }
    }

    /// The name as `sysctl` prints it: with dots, and slashes for the dots in a device's name.
    pub fn shown(&self, name: &str) -> String {
        let plain = dotted(name);
        for prefix in ["net.ipv4.conf.", "net.ipv6.conf."] {
            if let Some((device, setting)) = plain.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
                return format!("{prefix}{}.{setting}", device.replace('.', "/"));
            }
        }
        plain
    }

    /// Every setting that has an effect here or was set, as `sysctl` prints its name, in order.
    pub fn names(&self) -> Vec<String> {
        let fixed = [Ipv4Settings::NAMES, Ipv6Settings::NAMES, BridgeSettings::NAMES].into_iter().flatten();
        let others = ["net.ipv4.ip_forward", RATEMASK6, "net.netfilter.nf_conntrack_count"];
        let mut names: Vec<String> = fixed.copied().chain(others).map(str::to_owned).collect();
        names.extend(self.inert.keys().map(|name| (*name).to_owned()));
        names.extend(KNOBS.iter().map(|(known, _)| format!("{NETFILTER}{known}")));
        let devices = ["all", "default"].into_iter().chain(self.names.iter().map(String::as_str));
        for device in devices.map(|device| device.replace('.', "/")) {
            for (prefix, table) in [("net.ipv4.conf.", Conf4::TABLE), ("net.ipv6.conf.", Conf6::TABLE)] {
                names.extend(table.iter().map(|(setting, ..)| format!("{prefix}{device}.{setting}")));
            }
        }
        names.sort();
        names
    }

    fn ratemask6_text(&self) -> String {
        let is_set = |kind: u32| kind < 256 && self.icmp6_ratemask[(kind >> 7) as usize] >> (kind & 127) & 1 != 0;
        let mut parts = Vec::new();
        let mut kind = 0;
        while kind < 256 {
            let first = kind;
            while is_set(kind) {
                kind += 1;
            }
            match kind - first {
                0 => kind += 1,
                1 => parts.push(first.to_string()),
                _ => parts.push(format!("{first}-{}", kind - 1)),
            }
        }
        parts.join(",")
    }

    /// A device's own value of a setting, not combined with `all`.
    pub fn conf4(&self, dev: IfIndex, setting: Conf4) -> i32 {
        self.conf4.device(dev, setting as usize)
    }

    /// A device's own value of a setting, not combined with `all`.
    pub fn conf6(&self, dev: IfIndex, setting: Conf6) -> i32 {
        self.conf6.device(dev, setting as usize)
    }

    /// Finds out what a name stands for.
    fn target(&self, name: &str) -> Result<Target, SysctlError> {
        let plain = dotted(name);
        if plain == "net.ipv4.ip_forward" {
            return Ok(Target::IpForward);
        }
        if plain == RATEMASK6 {
            return Ok(Target::RateMask6);
        }
        for (prefix, family, table) in
            [("net.ipv4.conf.", Family::V4, Conf4::TABLE), ("net.ipv6.conf.", Family::V6, Conf6::TABLE)]
        {
            // The setting has no dots, so the last dot ends the device's name, whatever is in it.
            if let Some((device, setting)) = plain.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
                let Some(setting) = table.iter().position(|(known, ..)| *known == setting) else {
                    let known = table.iter().map(|(known, ..)| *known);
                    let suggestion = nearest(setting, known).map(|known| format!("{prefix}{device}.{known}"));
                    return Err(SysctlError::UnknownName { name: name.to_owned(), suggestion });
                };
                let place = match device {
                    "all" => Place::All,
                    "default" => Place::Default,
                    _ => match self.names.iter().position(|known| known == device) {
                        Some(row) => Place::Device(row),
                        None => {
                            let known = self.names.iter().map(String::as_str);
                            let suggestion = nearest(device, known).map(str::to_owned);
                            return Err(SysctlError::UnknownDevice { device: device.to_owned(), suggestion });
                        }
                    },
                };
                return Ok(Target::Conf { family, place, setting });
            }
        }
        Ok(Target::Plain(plain))
    }

    fn set_conf(
        &mut self,
        family: Family,
        place: &Place,
        setting: usize,
        name: &str,
        value: i64,
    ) -> Result<(), SysctlError> {
        let value = i32::try_from(value).map_err(|_| bad(name, value, "a number of 32 bits"))?;
        match family {
            Family::V4 => self.conf4.set4(place, setting, value),
            Family::V6 => self.conf6.set6(place, setting, value),
        }
        Ok(())
    }

    fn set_plain(&mut self, plain: &str, name: &str, value: i64) -> Result<(), SysctlError> {
        let slot = self.ipv4.slot(plain).or_else(|| self.ipv6.slot(plain)).or_else(|| self.bridge.slot(plain));
        if let Some((slot, range)) = slot {
            if !range.contains(&value) {
                return Err(bad(name, value, &format!("{} to {}", range.start(), range.end())));
            }
            *slot = value;
            return Ok(());
        }
        // The first name is the one before Linux 2.6.20 gave the table its present one.
        let plain = if plain == "net.nf_conntrack_max" { "net.netfilter.nf_conntrack_max" } else { plain };
        if let Some(rest) = plain.strip_prefix(NETFILTER)
            && let Some(done) = self.set_knob(rest, value)
        {
            return done.map_err(|expected| bad(name, value, &expected));
        }
        if READ_ONLY.contains(&plain) {
            return Err(SysctlError::ReadOnly { name: name.to_owned() });
        }
        if let Some(known) = INERT.iter().find(|known| **known == plain) {
            self.inert.insert(known, value.to_string());
            return Ok(());
        }
        Err(SysctlError::UnknownName { name: name.to_owned(), suggestion: self.suggest(plain) })
    }

    fn suggest(&self, plain: &str) -> Option<String> {
        let fixed = [Ipv4Settings::NAMES, Ipv6Settings::NAMES, BridgeSettings::NAMES, INERT, &["net.ipv4.ip_forward"]];
        let knobs: Vec<String> = KNOBS.iter().map(|(known, _)| format!("{NETFILTER}{known}")).collect();
        let all = fixed.into_iter().flatten().copied().chain(knobs.iter().map(String::as_str));
        nearest(plain, all).map(str::to_owned)
    }

    fn set_ratemask6(&mut self, name: &str, value: &str) -> Result<(), SysctlError> {
        let mut mask = [0u128; 2];
        for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u8>(), last.trim().parse::<u8>()) else {
                return Err(bad(name, value, "a list of ICMPv6 types such as \"0-1,3-127\""));
            };
            for kind in first..=last {
                mask[usize::from(kind >> 7)] |= 1 << (kind & 127);
            }
        }
        self.icmp6_ratemask = mask;
        Ok(())
    }

    fn knob(&self, rest: &str) -> Option<i64> {
        // Reading needs the same places as writing; the copy is small.
        let mut knobs = self.track.clone();
        let (_, place) = KNOBS.iter().find(|(known, _)| *known == rest)?;
        Some(match place(&mut knobs) {
            Knob::Flag(flag) => i64::from(*flag),
            Knob::Byte(byte) => i64::from(*byte),
            Knob::Word(word) => i64::from(*word),
        })
    }

    fn set_knob(&mut self, rest: &str, value: i64) -> Option<Result<(), String>> {
        let (_, place) = KNOBS.iter().find(|(known, _)| *known == rest)?;
        Some(match place(&mut self.track) {
            Knob::Flag(flag) => match value {
                0 | 1 => {
                    *flag = value == 1;
                    Ok(())
                }
                _ => Err("0 or 1".to_owned()),
            },
            Knob::Byte(byte) => match u8::try_from(value) {
                Ok(value) => {
                    *byte = value;
                    Ok(())
                }
                Err(_) => Err("0 to 255".to_owned()),
            },
            Knob::Word(word) => match i32::try_from(value).ok().and_then(|value| u32::try_from(value).ok()) {
                Some(value) => {
                    *word = value;
                    Ok(())
                }
                None => Err("0 to 2147483647".to_owned()),
            },
        })
    }
}

/// A name in dots, whether it was written with slashes (`net/ipv4/conf/eth0.100/rp_filter`) or with slashes only for the dots
/// that do not separate (`net.ipv4.conf.eth0/100.rp_filter`): only a device's name has dots of its own, and it is found by what
/// stands before and behind it.
fn dotted(name: &str) -> String {
    name.strip_prefix("/proc/sys/").unwrap_or(name).replace('/', ".")
}

fn bad(name: &str, value: impl fmt::Display, expected: &str) -> SysctlError {
    SysctlError::BadValue { name: name.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}
