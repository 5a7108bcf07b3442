//! The running gateway as what a command acts on.
//!
//! Rules are read, changed, checked and laid out here, on the client's thread; the loop only puts the finished value in place, between
//! two batches. What the old rules counted meanwhile is added to the new ones.

use super::Context;
use super::live_sets::LiveSets;
use crate::rules;
use crate::seam::Moment;
use hairpin_commands::conntrack::table::{Connections, Cursor, EngineConnections, Handle, Piece, Trouble};
use hairpin_commands::{Access, Done, Failure, SetsAccess, State, Wait};
use hairpin_engine::account::{Account, AccountError, AccountRequest};
use hairpin_engine::rule::{Action, Compiled, Counter, Rule, Ruleset, Table, TableId};
use hairpin_engine::track::{ConnChange, ConnId, ExpectId, ExpectRecord, Record, TrackStats, Tuple, Wanted, Zone};
use hairpin_engine::{Change as EngineChange, Refused, Wall};
use hairpin_wire::{Addr, Family};
use hairpin_xt::option::{KnownSet, NameKind, Names, NumberNames};
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// The gateway, for one command.
pub(super) struct LiveState<'c> {
    context: &'c Context,
    turn: Option<MutexGuard<'c, ()>>,
    /// What was last read of each family, and what its rules had counted then.
    read: [Option<Reading>; 2],
    conns: LiveConnections<'c>,
    names: LiveNames<'c>,
    sets: LiveSets<'c>,
}

struct Reading {
    rules: Arc<Compiled>,
    counters: [Vec<Counter>; 5],
}

const GONE: &str = "hairpin: the gateway has ended";

impl<'c> LiveState<'c> {
    /// For a command of the process `client`.
    pub(super) fn new(context: &'c Context, client: Option<u32>) -> LiveState<'c> {
        LiveState {
            context,
            turn: None,
            read: [None, None],
            conns: LiveConnections { context, client },
            names: LiveNames { context },
            sets: LiveSets::new(context),
        }
    }

    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Moment<'_>) -> T + Send + 'static) -> Result<T, Failure> {
        self.context.handle.ask(work).map_err(|_| Failure::Unavailable(GONE.to_owned()))
    }

    fn read(&mut self, family: Family) -> Result<&Reading, Failure> {
        let reading = self.ask(move |moment| {
            let state = moment.engine.state();
            let counters = TableId::ALL.map(|table| state.counters(family, table).to_vec());
            Reading { rules: Arc::clone(state.rules(family)), counters }
        })?;
        Ok(self.read[index(family)].insert(reading))
    }
}

impl State for LiveState<'_> {
    fn names(&self) -> &dyn Names {
        &self.names
    }

    fn begin(&mut self, access: Access) -> Result<(), Failure> {
        let (Access::Look(wait) | Access::Write(wait)) = access else { return Ok(()) };
        let started = Instant::now();
        loop {
            match self.context.turn.try_lock() {
                Ok(turn) => self.turn = Some(turn),
                Err(TryLockError::Poisoned(poisoned)) => self.turn = Some(PoisonError::into_inner(poisoned)),
                Err(TryLockError::WouldBlock) => {
                    let over = match wait {
                        Wait::No => true,
                        Wait::Seconds(seconds) => started.elapsed() >= Duration::from_secs(u64::from(seconds)),
                        Wait::Forever => false,
                    };
                    if over {
                        const BUSY: &str = "Another app is currently holding the xtables lock.";
                        return Err(Failure::Unavailable(match wait {
                            Wait::Seconds(s) if s > 0 => format!("{BUSY} Stopped waiting after {s}s."),
                            _ => format!("{BUSY} Perhaps you want to use the -w option?"),
                        }));
                    }
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
            }
            return Ok(());
        }
    }

    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        let reading = self.read(family)?;
        Ok(rules::with_counters(&reading.rules, &reading.counters))
    }

    fn replace(&mut self, family: Family, tables: Vec<Table>) -> Result<(), Failure> {
        if self.read[index(family)].is_none() {
            self.read(family)?;
        }
        let Some(Reading { rules: old, counters: before }) = self.read[index(family)].take() else { return Ok(()) };
        let changed: Vec<TableId> = tables.iter().map(|table| table.id).collect();
        let mut new = (*old).clone();
        for table in tables {
            new = new.with_table(table)?;
        }
        let kept: Vec<(TableId, Vec<(usize, usize)>)> =
            changed.iter().map(|id| (*id, old.table(*id).zip(new.table(*id)).map_or(Vec::new(), kept_rules))).collect();
        let new = Arc::new(new);
        // Kept here until after the swap, so that letting go of a hundred thousand rules is not the loop's work.
        let (expected, replacement) = (Arc::clone(&old), Arc::clone(&new));
        let swapped = self.ask(move |moment| {
            let state = moment.engine.state();
            if !Arc::ptr_eq(state.rules(family), &expected) {
                return Ok(false);
            }
            let after: Vec<Vec<Counter>> = kept.iter().map(|(id, _)| state.counters(family, *id).to_vec()).collect();
            match moment.engine.apply(&moment.now, EngineChange::Rules(replacement)) {
                Err(Refused::Rules(why)) => return Err(Failure::from(why)),
                Err(Refused::NoConn) => return Ok(false),
                Ok(()) => {}
            }
            for ((id, pairs), after) in kept.iter().zip(&after) {
                let counted = pairs.iter().filter_map(|(old, new)| {
                    let (then, now) = (before[*id as usize].get(*old)?, after.get(*old)?);
                    Some((*new, minus(*now, *then)))
                });
                let counted: Vec<(usize, Counter)> = counted.filter(|(_, more)| *more != Counter::default()).collect();
                moment.engine.add_counters(family, *id, &counted);
            }
            Ok(true)
        })??;
        drop(old);
        if swapped {
            return Ok(());
        }
        let text = "hairpin: the rules were changed by something else meanwhile; nothing was done, try again";
        Err(Failure::Unavailable(text.to_owned()))
    }

    fn sets(&mut self) -> Result<SetsAccess<'_>, Failure> {
        Ok(SetsAccess { sets: Box::new(&mut self.sets), names: &self.names })
    }

    fn keep_sets(&mut self, _done: &Done) -> Result<(), Failure> {
        match self.sets.is_lost() {
            true => Err(Failure::Unavailable(GONE.to_owned())),
            false => Ok(()),
        }
    }

    fn account(&mut self, request: AccountRequest) -> Result<Result<Vec<Account>, AccountError>, Failure> {
        self.ask(move |moment| moment.engine.account(request))
    }

    fn connections(&mut self) -> Result<(&dyn Names, &mut dyn Connections), Failure> {
        Ok((&self.context.names, &mut self.conns))
    }
}

/// The system's names and the gateway's sets.
struct LiveNames<'c> {
    context: &'c Context,
}

impl std::fmt::Debug for LiveNames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveNames")
    }
}

impl NumberNames for LiveNames<'_> {
    fn name(&self, kind: NameKind, number: u32) -> Option<String> {
        self.context.names.name(kind, number)
    }

    fn host_name(&self, family: Family, addr: Addr) -> Option<String> {
        self.context.names.host_name(family, addr)
    }
}

impl Names for LiveNames<'_> {
    fn number(&self, kind: NameKind, name: &str) -> Option<u32> {
        self.context.names.number(kind, name)
    }

    fn has_list(&self, kind: NameKind) -> bool {
        self.context.names.has_list(kind)
    }

    fn hosts(&self, family: Family, name: &str) -> Result<Vec<Addr>, String> {
        self.context.names.hosts(family, name)
    }

    fn set(&self, name: &str) -> KnownSet {
        let name = name.to_owned();
        let family = self
            .context
            .handle
            .ask(move |moment| moment.engine.state().sets().get(&name).map(|set| set.options().family));
        family.ok().flatten().map_or(KnownSet::Missing, KnownSet::Of)
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.context.names.file(path)
    }
}

fn minus(a: Counter, b: Counter) -> Counter {
    Counter { packets: a.packets.saturating_sub(b.packets), bytes: a.bytes.saturating_sub(b.bytes) }
}

const fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// The rules and policies that both tables have, by their places among the counters of each: of chains of the same name what agrees
/// at the beginning and at the end. A command changes one place; what was restored from text agrees in nothing but policies.
fn kept_rules((old, new): (&Table, &Table)) -> Vec<(usize, usize)> {
    let mut starts = std::collections::BTreeMap::new();
    let mut at = 0;
    for chain in &old.chains {
        starts.insert(chain.name.as_str(), (at, chain));
        at += chain.rules.len() + 1;
    }
    let mut kept = Vec::new();
    let mut new_at = 0;
    for chain in &new.chains {
        let length = chain.rules.len();
        if let Some((old_at, before)) = starts.get(chain.name.as_str()) {
            let (a, b) = (&before.rules, &chain.rules);
            let head = a.iter().zip(b).take_while(|(a, b)| is_same(a, b)).count();
            let room = a.len().min(b.len()) - head;
            let tail = a.iter().rev().zip(b.iter().rev()).take(room).take_while(|(a, b)| is_same(a, b)).count();
            kept.extend((0..head).map(|n| (old_at + n, new_at + n)));
            // With the hidden end, which has the policy's counter.
            kept.extend((0..=tail).map(|n| (old_at + a.len() - n, new_at + length - n)));
        }
        new_at += length + 1;
    }
    kept
}

/// Whether one is a copy of the other.
fn is_same(a: &Rule, b: &Rule) -> bool {
    let same_action = match (&a.action, &b.action) {
        (Action::Target(a), Action::Target(b)) => Arc::ptr_eq(a, b),
        (Action::Jump(a), Action::Jump(b)) | (Action::Goto(a), Action::Goto(b)) => a == b,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    };
    let same_matches =
        || a.matches.len() == b.matches.len() && a.matches.iter().zip(&b.matches).all(|(a, b)| Arc::ptr_eq(a, b));
    same_action && a.header == b.header && same_matches()
}

/// The gateway's connections. Each call is a piece of work for the loop.
struct LiveConnections<'c> {
    context: &'c Context,
    /// Whose command it is, for those who watch.
    client: Option<u32>,
}

impl LiveConnections<'_> {
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut EngineConnections<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (hub, client) = (Arc::clone(&self.context.hub), self.client);
        let asked = self.context.handle.ask(move |moment| {
            let now = moment.now;
            let done = work(&mut EngineConnections { engine: &mut *moment.engine, now });
            let events = moment.engine.take_events(&now);
            hub.tell(moment.engine, &now, &events, client);
            done
        });
        asked.unwrap_or_else(|_| Err(Trouble::Unavailable(GONE.to_owned())))
    }
}

impl Connections for LiveConnections<'_> {
    fn wall(&mut self) -> Result<Wall, Trouble> {
        self.ask(|conns| conns.wall())
    }

    fn list(&mut self, from: Cursor) -> Result<Piece, Trouble> {
        self.ask(move |conns| conns.list(from))
    }

    fn find(&mut self, tuple: &Tuple, zone: Zone) -> Result<Option<(Handle<ConnId>, Record)>, Trouble> {
        let tuple = *tuple;
        self.ask(move |conns| conns.find(&tuple, zone))
    }

    fn create(&mut self, wanted: &Wanted) -> Result<(), Trouble> {
        let wanted = wanted.clone();
        self.ask(move |conns| conns.create(&wanted))
    }

    fn change(&mut self, id: Handle<ConnId>, changes: &ConnChange) -> Result<Record, Trouble> {
        let changes = changes.clone();
        self.ask(move |conns| conns.change(id, &changes))
    }

    fn delete(&mut self, id: Handle<ConnId>) -> Result<bool, Trouble> {
        self.ask(move |conns| conns.delete(id))
    }

    fn zero(&mut self, ids: &[Handle<ConnId>]) -> Result<(), Trouble> {
        for some in ids.chunks(4096) {
            let some = some.to_vec();
            self.ask(move |conns| conns.zero(&some))?;
        }
        Ok(())
    }

    fn flush(&mut self, family: Option<Family>) -> Result<(), Trouble> {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            next = self.ask(move |conns| {
                let (found, then) = conns.list(from)?;
                for (id, record) in found {
                    if family.is_none_or(|family| family == record.family()) {
                        conns.delete(id)?;
                    }
                }
                Ok(then)
            })?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<usize, Trouble> {
        self.ask(|conns| conns.count())
    }

    fn stats(&mut self) -> Result<Vec<TrackStats>, Trouble> {
        self.ask(|conns| conns.stats())
    }

    fn expectations(&mut self) -> Result<Vec<(Handle<ExpectId>, ExpectRecord)>, Trouble> {
        self.ask(|conns| conns.expectations())
    }

    fn delete_expectations(&mut self, ids: &[Handle<ExpectId>]) -> Result<(), Trouble> {
        let ids = ids.to_vec();
        self.ask(move |conns| conns.delete_expectations(&ids))
    }
}
