//! The names that rules may use, from the lists of this system.

use hairpin_ruleset::names::SystemNames;
use hairpin_xt::option::NameKind;

/// Services, protocols, users, groups, realms, device groups and connection labels of this system, as far as its files can be read, and well-known ones beside them.
pub fn of_system() -> SystemNames {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    SystemNames::new()
        .with_services(&read("/etc/services"))
        .with_protocols(&read("/etc/protocols"))
        .with_users(&read("/etc/passwd"))
        .with_groups(&read("/etc/group"))
        .with_numbered(NameKind::Realm, &read("/etc/iproute2/rt_realms"))
        .with_numbered(NameKind::DeviceGroup, &read("/etc/iproute2/group"))
        .with_numbered(NameKind::ConnLabel, &read("/etc/xtables/connlabel.conf"))
}
