//! The names that rules may use, from the lists of this system.

use hairpin_ruleset::names::SystemNames;

/// Services, protocols, users and groups of this system, as far as its files can be read, and well-known ones beside them.
pub fn of_system() -> SystemNames {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    SystemNames::new()
        .with_services(&read("/etc/services"))
        .with_protocols(&read("/etc/protocols"))
        .with_users(&read("/etc/passwd"))
        .with_groups(&read("/etc/group"))
}
