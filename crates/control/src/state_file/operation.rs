//! Changes of a table as they are written down and made again.

use super::codec::{Reader, Writer, damaged};
use hairpin_engine::rule::{Counter, Policy, TableId};
use std::io;

/// A change. Chains are named; places count from 0; `cut` is where in the body the rule at the place begins when a run of
/// rules must be split there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation<'a> {
    /// The table is taken into use.
    Use,
    /// All rules and own chains go.
    Reset,
    Insert {
        chain: &'a str,
        place: usize,
        cut: u64,
        record: &'a [u8],
    },
    Remove {
        chain: &'a str,
        place: usize,
        cut: u64,
        len: u64,
        callee: &'a str,
    },
    Clear {
        chain: &'a str,
    },
    Zero {
        chain: &'a str,
    },
    Create {
        chain: &'a str,
    },
    Delete {
        chain: &'a str,
    },
    Rename {
        chain: &'a str,
        to: &'a str,
    },
    Policy {
        chain: &'a str,
        policy: Policy,
        counter: Counter,
    },
}

impl<'a> Operation<'a> {
    pub(super) fn encode(&self, table: TableId) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(table as u8);
        let mut head = |kind: u8, chain: &str| {
            out.u8(kind);
            out.text(chain);
        };
        match *self {
            Operation::Use => head(0, ""),
            Operation::Reset => head(1, ""),
            Operation::Insert { chain, place, cut, record } => {
                head(2, chain);
                out.u64(place as u64);
                out.u64(cut);
                out.0.extend_from_slice(record);
            }
            Operation::Remove { chain, place, cut, len, callee } => {
                head(3, chain);
                out.u64(place as u64);
                out.u64(cut);
                out.u64(len);
                out.text(callee);
            }
            Operation::Clear { chain } => head(4, chain),
            Operation::Zero { chain } => head(5, chain),
            Operation::Create { chain } => head(6, chain),
            Operation::Delete { chain } => head(7, chain),
            Operation::Rename { chain, to } => {
                head(8, chain);
                out.text(to);
            }
            Operation::Policy { chain, policy, counter } => {
                head(9, chain);
                out.u8(u8::from(policy == Policy::Drop));
                out.u64(counter.packets);
                out.u64(counter.bytes);
            }
        }
        out.0
    }

    pub(super) fn decode(bytes: &'a [u8]) -> io::Result<(TableId, Operation<'a>)> {
        let mut reader = Reader(bytes);
        let table = table_of(reader.u8()?)?;
        let kind = reader.u8()?;
        let chain = reader.text()?;
        let operation = match kind {
            0 => Operation::Use,
            1 => Operation::Reset,
            2 => Operation::Insert { chain, place: reader.u64()? as usize, cut: reader.u64()?, record: reader.0 },
            3 => Operation::Remove {
                chain,
                place: reader.u64()? as usize,
                cut: reader.u64()?,
                len: reader.u64()?,
                callee: reader.text()?,
            },
            4 => Operation::Clear { chain },
            5 => Operation::Zero { chain },
            6 => Operation::Create { chain },
            7 => Operation::Delete { chain },
            8 => Operation::Rename { chain, to: reader.text()? },
            9 => Operation::Policy {
                chain,
                policy: if reader.u8()? == 0 { Policy::Accept } else { Policy::Drop },
                counter: Counter { packets: reader.u64()?, bytes: reader.u64()? },
            },
            _ => return Err(damaged()),
        };
        Ok((table, operation))
    }
}

/// The table of a number in the file.
pub(super) fn table_of(number: u8) -> io::Result<TableId> {
    TableId::ALL.into_iter().find(|t| *t as u8 == number).ok_or_else(damaged)
}
