//! The rules of a chain as pieces, in blocks: so that one in the middle of many is found, put in and taken out without a walk over all.

use super::codec::{Reader, damaged};
use super::record::{self, Record};
use super::table::Fresh;
use hairpin_engine::rule::Counter;
use std::io;

/// How many pieces a block has at most.
const BLOCK: usize = 512;

#[derive(Debug)]
pub(super) enum Piece {
    /// Rules in the body.
    Run(Run),
    /// A rule that came since.
    Own { record: Vec<u8>, fresh: Option<Box<Fresh>> },
}

/// Rules in the body, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) count: usize,
    /// Their counters were set to zero since.
    pub(super) zeroed: bool,
}

impl Run {
    pub(super) fn new(start: u64, len: u64, count: usize) -> Run {
        Run { start, len, count, zeroed: false }
    }
}

impl Piece {
    pub(super) fn count(&self) -> usize {
        match self {
            Piece::Run(run) => run.count,
            Piece::Own { .. } => 1,
        }
    }
}

/// Pieces in order. No block is empty.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    blocks: Vec<Block>,
    rules: usize,
}

#[derive(Debug, Default)]
struct Block {
    pieces: Vec<Piece>,
    rules: usize,
}

/// Where a piece is, or would be. Good until the pieces change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    block: usize,
    piece: usize,
}

impl Pieces {
    /// One run.
    pub(super) fn of(run: Run) -> Pieces {
        let mut pieces = Pieces::default();
        if run.count > 0 {
            pieces.rules = run.count;
            pieces.blocks.push(Block { pieces: vec![Piece::Run(run)], rules: run.count });
        }
        pieces
    }

    /// How many rules they are.
    pub(super) fn rules(&self) -> usize {
        self.rules
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        *self = Pieces::default();
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.blocks.iter().flat_map(|block| &block.pieces)
    }

    /// The piece with the rule at this place, and how many of its rules stand before that one; None after the last.
    pub(super) fn find(&self, place: usize) -> Option<(Spot, usize)> {
        if place >= self.rules {
            return None;
        }
        let mut left = place;
        let block = self.blocks.iter().position(|block| {
            let is_in = left < block.rules;
            left -= if is_in { 0 } else { block.rules };
            is_in
        })?;
        let piece = self.blocks[block].pieces.iter().position(|piece| {
            let is_in = left < piece.count();
            left -= if is_in { 0 } else { piece.count() };
            is_in
        })?;
        Some((Spot { block, piece }, left))
    }

    /// The piece at a spot.
    pub(super) fn get(&self, spot: Spot) -> Option<&Piece> {
        self.blocks.get(spot.block)?.pieces.get(spot.piece)
    }

    /// The rule of this command at a place.
    pub(super) fn set_fresh(&mut self, place: usize, fresh: Box<Fresh>) {
        // Mostly it is the last.
        let piece = match place + 1 == self.rules {
            true => self.blocks.last_mut().and_then(|block| block.pieces.last_mut()),
            false => self.find(place).and_then(|(spot, _)| self.blocks[spot.block].pieces.get_mut(spot.piece)),
        };
        if let Some(Piece::Own { fresh: none, .. }) = piece {
            *none = Some(fresh);
        }
    }

    /// The spot of the piece that begins at this place, splitting a run where `cut` says that the rule begins in the body.
    fn split(&mut self, place: usize, cut: u64) -> io::Result<Spot> {
        let Some((spot, inside)) = self.find(place) else {
            if self.blocks.is_empty() {
                self.blocks.push(Block::default());
            }
            let block = self.blocks.len() - 1;
            return Ok(Spot { block, piece: self.blocks[block].pieces.len() });
        };
        if inside == 0 {
            return Ok(spot);
        }
        let pieces = &mut self.blocks[spot.block].pieces;
        let Piece::Run(run) = pieces[spot.piece] else { return Err(damaged()) };
        let front = cut.checked_sub(run.start).filter(|f| *f <= run.len).ok_or_else(damaged)?;
        let first = Run { len: front, count: inside, ..run };
        let second = Run { start: cut, len: run.len - front, count: run.count - inside, ..run };
        pieces.splice(spot.piece..=spot.piece, [Piece::Run(first), Piece::Run(second)]);
        Ok(Spot { piece: spot.piece + 1, ..spot })
    }

    /// Puts a rule before the one at this place, or after the last.
    pub(super) fn insert(&mut self, place: usize, cut: u64, record: Vec<u8>) -> io::Result<()> {
        let spot = self.split(place, cut)?;
        let block = &mut self.blocks[spot.block];
        block.pieces.insert(spot.piece, Piece::Own { record, fresh: None });
        block.rules += 1;
        self.rules += 1;
        self.divide(spot);
        Ok(())
    }

    /// Divides a block that has become too large by a change at this spot.
    fn divide(&mut self, spot: Spot) {
        let Some(block) = self.blocks.get_mut(spot.block).filter(|block| block.pieces.len() > BLOCK) else { return };
        // Rules mostly come one after the other: a block that was filled from its end stays full.
        let keep = if spot.piece + 1 >= block.pieces.len() { BLOCK } else { BLOCK / 2 };
        let pieces = block.pieces.split_off(keep);
        let rules = pieces.iter().map(Piece::count).sum();
        block.rules -= rules;
        self.blocks.insert(spot.block + 1, Block { pieces, rules });
    }

    /// Takes the rule at this place out; `len` is its length in the body.
    pub(super) fn remove(&mut self, place: usize, cut: u64, len: u64) -> io::Result<()> {
        let spot = self.split(place, cut)?;
        let block = &mut self.blocks[spot.block];
        match block.pieces.get_mut(spot.piece) {
            Some(Piece::Run(run)) if run.count > 1 => {
                run.count -= 1;
                run.start += len;
                run.len = run.len.checked_sub(len).ok_or_else(damaged)?;
            }
            Some(_) => drop(block.pieces.remove(spot.piece)),
            None => return Err(damaged()),
        }
        block.rules -= 1;
        self.rules -= 1;
        if block.pieces.is_empty() {
            self.blocks.remove(spot.block);
        }
        self.divide(spot);
        Ok(())
    }

    /// Sets all counters to zero.
    pub(super) fn zero(&mut self) -> io::Result<()> {
        for piece in self.blocks.iter_mut().flat_map(|block| &mut block.pieces) {
            match piece {
                Piece::Run(run) => run.zeroed = true,
                Piece::Own { record, .. } => {
                    *record = record::with_counter(&Record::take(&mut Reader(record))?, Counter::default());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first byte of each rule, those of a run by their place in the body.
    fn shown(pieces: &Pieces) -> Vec<u64> {
        let of = |piece: &Piece| match piece {
            Piece::Run(run) => (0..run.count as u64).map(|n| run.start + n).collect::<Vec<_>>(),
            Piece::Own { record, .. } => vec![u64::from(record[0])],
        };
        pieces.iter().flat_map(of).collect()
    }

    #[test]
    fn any_changes_are_those_of_a_list() {
        let mut seed = 7_u64;
        let mut roll = |sides: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % sides
        };
        // Rules of one byte each, so that the cut of a rule is its number.
        let mut pieces = Pieces::of(Run::new(1000, 3000, 3000));
        let mut list: Vec<u64> = (1000..4000).collect();
        for step in 0..6000 {
            let grows = step < 3500 && roll(3) > 0;
            if grows || list.is_empty() {
                let place = roll(list.len() + 1);
                let cut = list.get(place).copied().unwrap_or(u64::MAX);
                let byte = roll(250) as u8;
                pieces.insert(place, cut, vec![byte]).expect("in range");
                list.insert(place, u64::from(byte));
            } else {
                let place = roll(list.len());
                let cut = list[place];
                pieces.remove(place, cut, 1).expect("in range");
                list.remove(place);
            }
            assert_eq!(pieces.rules(), list.len());
            if step % 500 == 0 {
                assert_eq!(shown(&pieces), list);
            }
        }
        assert_eq!(shown(&pieces), list);
    }

    #[test]
    fn a_full_block_is_halved() {
        let mut pieces = Pieces::default();
        for n in 0..3 * BLOCK {
            pieces.insert(n / 2, u64::MAX, vec![0]).expect("in range");
        }
        assert!(pieces.blocks.len() > 3 && pieces.blocks.iter().all(|b| (1..=BLOCK).contains(&b.pieces.len())));
        assert_eq!(pieces.blocks.iter().map(|b| b.rules).sum::<usize>(), 3 * BLOCK);
    }
}
