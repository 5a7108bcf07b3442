//! The rule set as people write it: tables of chains of rules.

use super::{Counter, Header, LoadError, Match, Target, check_table};
use crate::hook::{Hook, Hooks};
use hairpin_wire::Family;
use std::fmt;
use std::sync::Arc;

/// One of the five tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableId {
    /// Before connection tracking.
    Raw,
    /// Changing packets.
    Mangle,
    /// Translating addresses; sees only the first packet of a connection.
    Nat,
    /// Filtering.
    Filter,
    /// Mandatory access control.
    Security,
}

impl TableId {
    /// All five.
    pub const ALL: [TableId; 5] = [TableId::Raw, TableId::Mangle, TableId::Nat, TableId::Filter, TableId::Security];

    /// The name after `-t`.
    pub const fn name(self) -> &'static str {
        match self {
            TableId::Raw => "raw",
            TableId::Mangle => "mangle",
            TableId::Nat => "nat",
            TableId::Filter => "filter",
            TableId::Security => "security",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<TableId> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The hooks it has built-in chains for.
    pub const fn hooks(self) -> Hooks {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            TableId::Raw => Hooks::of(&[Prerouting, Output]),
            TableId::Mangle => Hooks::ALL,
            TableId::Nat => Hooks::of(&[Prerouting, Input, Output, Postrouting]),
            TableId::Filter | TableId::Security => Hooks::of(&[Input, Forward, Output]),
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables(u8);

impl Tables {
    /// All five.
    pub const ALL: Tables = Tables(0x1f);

    /// Just these.
    pub const fn of(tables: &[TableId]) -> Tables {
        let (mut bits, mut i) = (0, 0);
        while i < tables.len() {
            bits |= 1 << tables[i] as u8;
            i += 1;
        }
        Tables(bits)
    }

    /// Whether `table` is in the set.
    pub const fn contains(self, table: TableId) -> bool {
        self.0 & (1 << table as u8) != 0
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = TableId> {
        TableId::ALL.into_iter().filter(move |t| self.contains(*t))
    }
}

/// The end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Let through.
    Accept,
    /// Drop.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        })
    }
}

/// What a rule does with a packet that fits.
#[derive(Clone, Debug)]
pub enum Action {
    /// No target: only count.
    None,
    /// `-j ACCEPT`.
    Accept,
    /// `-j DROP`.
    Drop,
    /// `-j RETURN`.
    Return,
    /// `-j QUEUE`: NFQUEUE number 0.
    Queue,
    /// `-j CHAIN`.
    Jump(String),
    /// `-g CHAIN`.
    Goto(String),
    /// An extension.
    Target(Arc<dyn Target>),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Addresses, devices, protocol.
    pub header: Header,
    /// The matches, in the order written; the first that says no ends the rule.
    pub matches: Vec<Arc<dyn Match>>,
    /// What to do.
    pub action: Action,
    /// Its counter when loaded.
    pub counter: Counter,
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// At most 28 bytes.
    pub name: String,
    /// Built-in chains have one; user chains return.
    pub policy: Option<Policy>,
    /// The policy's counter when loaded.
    pub counter: Counter,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// One table of one family.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which.
    pub id: TableId,
    /// Built-in chains in hook order first, then user chains in the order of creation.
    pub chains: Vec<Chain>,
}

impl Table {
    /// The table with its empty built-in chains, policy ACCEPT.
    pub fn new(id: TableId) -> Table {
        let chains = id
            .hooks()
            .iter()
            .map(|hook| Chain {
                name: hook.chain().to_owned(),
                policy: Some(Policy::Accept),
                counter: Counter::default(),
                rules: Vec::new(),
            })
            .collect();
        Table { id, chains }
    }

    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|c| c.name == name)
    }

    /// The chain of that name, to be changed.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.chains.iter_mut().find(|c| c.name == name)
    }
}

/// All tables of one family that are in use.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// IPv4 or IPv6.
    pub family: Family,
    /// In the order in which they were first used.
    pub tables: Vec<Table>,
}

impl Ruleset {
    /// No table.
    pub fn new(family: Family) -> Ruleset {
        Ruleset { family, tables: Vec::new() }
    }

    /// Checks all tables as the kernel does when they are loaded ([`check_table`]).
    ///
    /// # Errors
    /// The first rule that the kernel refuses.
    pub fn check(&self) -> Result<(), LoadError> {
        self.tables.iter().try_for_each(|table| check_table(self.family, table))
    }

    /// The table, if it is in use.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|t| t.id == id)
    }

    /// The table; taken into use when it was not.
    pub fn table_mut(&mut self, id: TableId) -> &mut Table {
        let at = match self.tables.iter().position(|t| t.id == id) {
            Some(at) => at,
            None => {
                self.tables.push(Table::new(id));
                self.tables.len() - 1
            }
        };
        &mut self.tables[at]
    }
}
