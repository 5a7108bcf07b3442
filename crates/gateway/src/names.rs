//! The names that rules may use, from the lists of this system.

use hairpin_ruleset::names::SystemNames;
use hairpin_wire::{Addr, Family};
use hairpin_xt::option::{KnownSet, NameKind, Names, NumberNames};
use std::sync::OnceLock;

/// Services, protocols, users, groups, realms, device groups, connection labels, hosts and networks of this system, as far as its files can
/// be read, and well-known ones beside them.
pub fn of_system() -> SystemNames {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    SystemNames::new()
        .with_services(&read("/etc/services"))
        .with_protocols(&read("/etc/protocols"))
        .with_users(&read("/etc/passwd"))
        .with_groups(&read("/etc/group"))
        .with_hosts_file(&read("/etc/hosts"))
        .with_networks(&read("/etc/networks"))
        .with_numbered(NameKind::Realm, &read("/etc/iproute2/rt_realms"))
        .with_numbered(NameKind::DeviceGroup, &read("/etc/iproute2/group"))
        .with_numbered(NameKind::ConnLabel, &read("/etc/xtables/connlabel.conf"))
        .with_files(Box::new(|path| std::fs::read(path).map_err(|why| reason(&why))))
}

/// The system's words without Rust's number.
fn reason(why: &std::io::Error) -> String {
    why.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

/// [`of_system`], read when the first name is asked for: most commands ask for none.
#[derive(Debug, Default)]
pub struct WhenAsked(OnceLock<SystemNames>);

impl WhenAsked {
    fn names(&self) -> &SystemNames {
        self.0.get_or_init(of_system)
    }
}

impl NumberNames for WhenAsked {
    fn name(&self, kind: NameKind, number: u32) -> Option<String> {
        self.names().name(kind, number)
    }

    fn host_name(&self, family: Family, addr: Addr) -> Option<String> {
        self.names().host_name(family, addr)
    }
}

impl Names for WhenAsked {
    fn number(&self, kind: NameKind, name: &str) -> Option<u32> {
        self.names().number(kind, name)
    }

    fn has_list(&self, kind: NameKind) -> bool {
        self.names().has_list(kind)
    }

    fn hosts(&self, family: Family, name: &str) -> Result<Vec<Addr>, String> {
        self.names().hosts(family, name)
    }

    fn set(&self, name: &str) -> KnownSet {
        self.names().set(name)
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.names().file(path)
    }
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

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// The user of this name, from /etc/passwd.
pub fn user(name: &str) -> Option<User> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields: Vec<&str> =
        users.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields.first() == Some(&name))?;
    Some(User { name: name.to_owned(), uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}

/// The user that this process is.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
