//! A packet's way through one table at one hook (`ipt_do_table`).

use super::compiled::{FlatAction, FlatMatch, FlatRule, FlatTable};
use super::{Header, HeaderSays, Live, MemoryCell, Policy, TableId, Verdict};
use crate::account::Accounts;
use crate::event::{Event, Output, RuleSaid, TraceStep, TraceWhat};
use crate::fate::DropReason;
use crate::hook::Hook;
use crate::log_line::{LogFlags, log_line};
use crate::look::{Edit, Effects, Ground, Look, in_device, out_device};
use crate::net::{IfName, Net};
use crate::packet::{LinkType, Packet};
use crate::rng::Rng;
use crate::set::Sets;
use crate::socket::Ask;
use crate::time::Now;
use crate::track::Conns;
use hairpin_wire::Family;
use std::cell::RefCell;

/// The surroundings of a walk.
pub(crate) struct Walk<'a> {
    pub(crate) family: Family,
    pub(crate) table: TableId,
    pub(crate) hook: Hook,
    pub(crate) now: &'a Now,
    pub(crate) net: &'a Net,
    pub(crate) rng: &'a Rng,
    pub(crate) memories: &'a [MemoryCell],
    pub(crate) sets: &'a RefCell<Sets>,
    pub(crate) accounts: &'a RefCell<Accounts>,
    /// Who can be asked for sockets.
    pub(crate) asked: Option<&'a dyn Ask>,
    /// Where steps are noted, and the batch position they belong to; None when nobody wants to know.
    pub(crate) trace: Option<(&'a mut Output, usize)>,
}

/// Where a walk stopped for a copy to be sent, which may meet the same tables; and the chains to return to.
#[derive(Debug)]
pub(crate) struct Stopped {
    at: usize,
    stack: Vec<usize>,
}

/// Walks the packet through the table. The answer is Accept, Drop, Nat, Reject or Queue; Continue only when the walk stopped for a
/// copy to be sent: it goes on with what it left in `stopped`.
pub(crate) fn walk(
    live: &mut Live,
    walk: &mut Walk<'_>,
    packet: &mut Packet,
    conns: &mut Conns,
    effects: &mut Effects,
    stopped: &mut Option<Stopped>,
) -> Verdict {
    let Some((flat, counters, stack)) = live.parts(walk.table) else { return Verdict::Accept };
    let (Some(mut at), Some(policy)) = (flat.entry(walk.hook), flat.policy(walk.hook)) else {
        return Verdict::Accept;
    };
    stack.clear();
    if let Some(before) = stopped.take() {
        (at, *stack) = (before.at, before.stack);
    }
    let (hook, net) = (walk.hook, walk.net);
    let mut devices = None;
    let words = flat.scan.words(|| *devices.insert(device_names(packet, hook, net)));
    loop {
        // A trace shows every rule that was visited.
        if walk.trace.is_none() {
            at = flat.scan.next(at, packet.head(), words);
        }
        let (Some(rule), Some(counter)) = (flat.rules.get(at), counters.counters.get_mut(at)) else { break };
        let is_fit_known = rule.is_all_front && walk.trace.is_none() && !packet.head().broken;
        if !is_fit_known {
            let (iif, oif) = *devices.get_or_insert_with(|| device_names(packet, hook, net));
            match rule.header.matches(packet.head(), iif, oif) {
                HeaderSays::Yes => {}
                HeaderSays::No => {
                    walk.note(flat, rule, || RuleSaid::HeaderNo);
                    at += 1;
                    continue;
                }
                HeaderSays::Hotdrop => return walk.hotdrop(flat, rule, "-p"),
            }
        }
        let mut is_hotdrop = false;
        if !rule.matches.is_empty() {
            let tests = flat.matches.get(rule.matches.clone()).unwrap_or_default();
            match walk.ask(tests, &counters.cells, packet, conns, effects) {
                (Some(no), true) => return walk.hotdrop(flat, rule, no),
                (Some(no), false) => {
                    walk.note(flat, rule, || RuleSaid::MatchNo(no));
                    at += 1;
                    continue;
                }
                (None, wanted) => is_hotdrop = wanted,
            }
        }
        counter.add(packet.length());
        if packet.meta.trace {
            let line = trace_line(flat, rule, &Look::new(packet, conns, walk.ground(&RefCell::default())));
            effects.events.push(Event::Trace(line));
        }
        let step = match &rule.action {
            FlatAction::Target { target, memory } => {
                let slot = counters.cells.get(*memory as usize).copied().flatten();
                let told = RefCell::default();
                let verdict = target.act(&mut Edit::new(packet, conns, walk.ground(&told), effects, slot));
                // A match asked for the packet to be dropped and yet said yes (an inverted test of malformed SCTP chunks or DCCP
                // options): the rule counts and its target acts, but nothing saves the packet.
                if is_hotdrop {
                    return walk.hotdrop(flat, rule, "an inverted match");
                }
                walk.after_target(flat, rule, at, target.name(), verdict)
            }
            _ if is_hotdrop => return walk.hotdrop(flat, rule, "an inverted match"),
            _ => walk.step(flat, rule, at, policy, stack),
        };
        match step {
            Step::End(verdict) => return verdict,
            Step::To(next) => at = next,
        }
        if !effects.copies.is_empty() {
            *stopped = Some(Stopped { at, stack: std::mem::take(stack) });
            return Verdict::Continue;
        }
    }
    // Every chain ends with a hidden rule, so the walk cannot run off the end.
    effects.events.push(Event::Bug("a walk left its table"));
    Verdict::Drop(DropReason::Bug)
}

/// Where a rule leads that fits.
enum Step {
    /// To the rule at this place.
    To(usize),
    End(Verdict),
}

/// The names that `-i` and `-o` compare with.
fn device_names(packet: &Packet, hook: Hook, net: &Net) -> (Option<IfName>, Option<IfName>) {
    let name = |index| net.interface(index).map(|device| device.name);
    (in_device(hook, packet).and_then(name), out_device(hook, packet).and_then(name))
}

impl Walk<'_> {
    fn ground<'g>(&'g self, told: &'g RefCell<Vec<Event>>) -> Ground<'g> {
        let Walk { table, hook, now, net, rng, memories, sets, accounts, asked, .. } = *self;
        Ground { hook, table, now, net, memories, sets, accounts, rng, asked, told }
    }

    /// What the matches of a rule say: the name of the first that says no, and whether one wants the packet dropped.
    #[inline]
    fn ask(
        &self,
        tests: &[FlatMatch],
        cells: &[Option<u32>],
        packet: &mut Packet,
        conns: &Conns,
        effects: &mut Effects,
    ) -> (Option<&'static str>, bool) {
        let told = RefCell::default();
        let look = Look::new(packet, conns, self.ground(&told));
        let refusal = tests.iter().find(|m| {
            look.set_slot(cells.get(m.memory as usize).copied().flatten());
            !m.test.matches(&look)
        });
        let (hotdrop, for_host, mark) = (look.is_hotdrop(), look.is_for_host(), look.new_mark());
        if for_host {
            packet.meta.link_type = LinkType::Host;
        }
        packet.meta.mark = mark;
        effects.events.append(&mut told.into_inner());
        (refusal.map(|no| no.test.name()), hotdrop)
    }

    /// Where a rule leads whose target said this.
    #[inline]
    fn after_target(
        &mut self,
        flat: &FlatTable,
        rule: &FlatRule,
        at: usize,
        name: &'static str,
        verdict: Verdict,
    ) -> Step {
        if verdict == Verdict::Continue {
            self.note(flat, rule, || RuleSaid::Counted(name));
            return Step::To(at + 1);
        }
        self.end(flat, rule, verdict)
    }

    /// Where a rule leads that is no extension's: on, into another chain or back, or to the end of the walk.
    #[inline]
    fn step(&mut self, flat: &FlatTable, rule: &FlatRule, at: usize, policy: usize, stack: &mut Vec<usize>) -> Step {
        match &rule.action {
            FlatAction::None | FlatAction::Target { .. } => {
                self.note(flat, rule, || RuleSaid::Counted(""));
                Step::To(at + 1)
            }
            FlatAction::Accept => self.end(flat, rule, Verdict::Accept),
            FlatAction::Drop => self.end(flat, rule, Verdict::Drop(DropReason::Rule)),
            FlatAction::Queue => self.end(flat, rule, Verdict::Queue { number: 0, bypass: false }),
            FlatAction::Return => {
                self.note(flat, rule, || RuleSaid::Returns);
                Step::To(stack.pop().unwrap_or(policy))
            }
            FlatAction::EndOfChain => Step::To(stack.pop().unwrap_or(policy)),
            FlatAction::Jump { to, chain } => {
                self.note(flat, rule, || RuleSaid::Enters(chain_name(flat, *chain)));
                stack.push(at + 1);
                Step::To(*to)
            }
            FlatAction::Goto { to, chain } => {
                self.note(flat, rule, || RuleSaid::Enters(chain_name(flat, *chain)));
                Step::To(*to)
            }
            FlatAction::Policy(policy) => {
                self.policy(flat, rule, *policy);
                Step::End(match policy {
                    Policy::Accept => Verdict::Accept,
                    Policy::Drop => Verdict::Drop(DropReason::Rule),
                })
            }
        }
    }

    fn hotdrop(&mut self, flat: &FlatTable, rule: &FlatRule, by: &'static str) -> Verdict {
        self.note(flat, rule, || RuleSaid::Hotdrop(by));
        Verdict::Drop(DropReason::Hotdrop)
    }

    #[inline]
    fn end(&mut self, flat: &FlatTable, rule: &FlatRule, verdict: Verdict) -> Step {
        self.note(flat, rule, || RuleSaid::Verdict(verdict.clone()));
        Step::End(verdict)
    }

    #[inline]
    fn note(&mut self, flat: &FlatTable, rule: &FlatRule, said: impl FnOnce() -> RuleSaid) {
        let is_hidden = matches!(rule.action, FlatAction::Policy(_) | FlatAction::EndOfChain);
        if let Some((out, cause)) = &mut self.trace
            && !is_hidden
        {
            let chain = chain_name(flat, rule.chain);
            let what =
                TraceWhat::Rule { family: self.family, table: self.table, chain, number: rule.number, said: said() };
            out.trace.push(TraceStep { cause: *cause, what });
        }
    }

    #[inline]
    fn policy(&mut self, flat: &FlatTable, rule: &FlatRule, policy: Policy) {
        if let Some((out, cause)) = &mut self.trace {
            let what = TraceWhat::Policy {
                family: self.family,
                table: self.table,
                chain: chain_name(flat, rule.chain),
                accepted: policy == Policy::Accept,
            };
            out.trace.push(TraceStep { cause: *cause, what });
        }
    }
}

fn chain_name(flat: &FlatTable, chain: u32) -> std::sync::Arc<str> {
    flat.chains.get(chain as usize).map_or_else(|| "?".into(), |c| c.name.clone())
}

/// The line of a traced packet: `TRACE: table:chain:type:number ` and the packet as LOG prints it with everything on.
///
/// The kernel takes every rule without conditions that ends a chain's walk (`-j ACCEPT`) for the chain's end, and calls it so.
fn trace_line(flat: &FlatTable, rule: &FlatRule, look: &Look<'_>) -> String {
    let chain = flat.chains.get(rule.chain as usize).map_or("?", |c| &c.name);
    let is_end = match rule.action {
        FlatAction::Policy(_) | FlatAction::EndOfChain => true,
        FlatAction::Accept | FlatAction::Drop | FlatAction::Return | FlatAction::Queue => {
            rule.matches.is_empty() && rule.header == Header::default()
        }
        _ => false,
    };
    let kind = match is_end {
        false => "rule",
        true if chain == look.hook().chain() => "policy",
        true => "return",
    };
    let prefix = format!("TRACE: {}:{chain}:{kind}:{} ", look.table(), rule.number);
    let flags = LogFlags { tcp_sequence: true, tcp_options: true, ip_options: true, uid: true, macdecode: false };
    log_line(look, &prefix, flags)
}
