//! A family's rules in the file: the index of tables and chains, the body of rules, and the changes since.

use super::codec::{Reader, Writer, damaged};
use super::container::{Container, Part, Section};
use super::operation::{Operation, table_of};
use super::pieces::Run;
use super::table::{StoredChain, StoredTable};
use hairpin_engine::rule::{Counter, Policy, TableId};
use hairpin_ruleset::restore::Tables;
use hairpin_wire::Family;
use std::collections::BTreeMap;
use std::io;

/// The tables in use, in the order of first use.
#[derive(Debug)]
pub(super) struct StoredRules {
    pub(super) family: Family,
    pub(super) tables: Vec<StoredTable>,
}

pub(super) const fn section(family: Family) -> Section {
    match family {
        Family::V4 => Section::Rules4,
        Family::V6 => Section::Rules6,
    }
}

impl StoredRules {
    /// None at all.
    pub(super) fn empty(family: Family) -> StoredRules {
        StoredRules { family, tables: Vec::new() }
    }

    /// Those in the file.
    pub(super) fn read(family: Family, container: &Container) -> io::Result<StoredRules> {
        let section = section(family);
        let mut rules = StoredRules::empty(family);
        let body = container.body(section);
        let index = container.index(section)?;
        let mut reader = Reader(&index);
        while !reader.0.is_empty() {
            let id = table_of(reader.u8()?)?;
            let count = reader.u32()?;
            let chains = (0..count).map(|_| read_chain(&mut reader)).collect::<io::Result<Vec<_>>>()?;
            rules.tables.push(StoredTable::new(family, id, chains, body.clone()));
        }
        for operation in container.operations(section)? {
            let (id, operation) = Operation::decode(operation)?;
            rules.used(id).repeat(&operation)?;
        }
        Ok(rules)
    }

    pub(super) fn table(&self, id: TableId) -> Option<&StoredTable> {
        self.tables.iter().find(|t| t.id() == id)
    }

    /// The table, taken into use when it was not.
    pub(super) fn table_mut(&mut self, id: TableId) -> &mut StoredTable {
        if self.table(id).is_none() {
            self.used(id).note_use();
        }
        self.used(id)
    }

    fn used(&mut self, id: TableId) -> &mut StoredTable {
        let at = match self.tables.iter().position(|t| t.id() == id) {
            Some(at) => at,
            None => {
                self.tables.push(StoredTable::unused(self.family, id));
                self.tables.len() - 1
            }
        };
        &mut self.tables[at]
    }

    /// Everything, with the changes folded in.
    pub(super) fn fold(&self) -> io::Result<Part> {
        let mut index = Writer::default();
        let mut body = Vec::new();
        for table in &self.tables {
            index.u8(table.id() as u8);
            index.u32(table.chains.len() as u32);
            for chain in table.in_order() {
                let start = body.len();
                table.each(chain, |record| {
                    record.write(&mut body);
                    Ok(())
                })?;
                write_chain(&mut index, chain, start, body.len() - start);
            }
        }
        Ok(Part { index: index.0, body })
    }
}

fn write_chain(index: &mut Writer, chain: &StoredChain, start: usize, len: usize) {
    index.text(&chain.name);
    index.u8(match chain.policy {
        None => 0,
        Some(Policy::Accept) => 1,
        Some(Policy::Drop) => 2,
    });
    index.u64(chain.counter.packets);
    index.u64(chain.counter.bytes);
    index.u64(start as u64);
    index.u64(len as u64);
    index.u64(chain.rules() as u64);
    index.u32(chain.calls.len() as u32);
    for (name, count) in &chain.calls {
        index.text(name);
        index.u32(*count);
    }
}

fn read_chain(reader: &mut Reader<'_>) -> io::Result<StoredChain> {
    let name = reader.text()?.to_owned();
    let policy = match reader.u8()? {
        0 => None,
        1 => Some(Policy::Accept),
        2 => Some(Policy::Drop),
        _ => return Err(damaged()),
    };
    let counter = Counter { packets: reader.u64()?, bytes: reader.u64()? };
    let run = Run::new(reader.u64()?, reader.u64()?, reader.u64()? as usize);
    let mut calls = BTreeMap::new();
    for _ in 0..reader.u32()? {
        calls.insert(reader.text()?.to_owned(), reader.u32()?);
    }
    Ok(StoredChain::stored(name, policy, counter, run, calls))
}

impl Tables for StoredRules {
    type Chains = StoredTable;

    fn open(&mut self, id: TableId) -> Result<StoredTable, String> {
        self.table_mut(id);
        let at = self.tables.iter().position(|t| t.id() == id).unwrap_or_default();
        Ok(std::mem::replace(&mut self.tables[at], StoredTable::unused(self.family, id)))
    }

    fn commit(&mut self, mut table: StoredTable, line: usize) {
        table.commit_line = line;
        if let Some(place) = self.tables.iter_mut().find(|t| t.id() == table.id()) {
            *place = table;
        }
    }
}
