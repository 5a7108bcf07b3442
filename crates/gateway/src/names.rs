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

/// A group of this system and the users in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// The numbers of its members.
    pub members: Vec<u32>,
}

/// The group of this name, from /etc/group and /etc/passwd.
pub fn group(name: &str) -> Option<Group> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (groups, users) = (read("/etc/group"), read("/etc/passwd"));
    let fields: Vec<&str> = groups
        .lines()
        .map(|line| line.split(':').collect())
        .find(|fields: &Vec<&str>| fields.first() == Some(&name))?;
    let uid = |user: &str| {
        let line =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| line.first() == Some(&user))?;
        line.get(2)?.parse().ok()
    };
    let members = fields.get(3).map_or(Vec::new(), |users| users.split(',').filter_map(uid).collect());
    Some(Group { id: fields.get(2)?.parse().ok()?, members })
}

/// The user that this process is.
pub fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid())
}
