//! A packet's way as text: for people, and as JSON.

use hairpin_engine::net::{IfIndex, Net};
use hairpin_engine::rule::{Compiled, RejectWith, TableId, Verdict};
use hairpin_engine::{Fate, RuleSaid, TraceStep, TraceWhat};
use hairpin_ruleset::save::rule_text;
use hairpin_wire::Family;
use std::sync::Arc;

/// The rules whose text is shown beside their verdict; the text is made when it is asked for.
#[derive(Clone, Debug, Default)]
pub struct RuleTexts(Vec<Arc<Compiled>>);

impl RuleTexts {
    /// The rules of both families.
    pub fn new(rules: [&Arc<Compiled>; 2]) -> RuleTexts {
        RuleTexts(rules.map(Arc::clone).to_vec())
    }

    fn get(&self, family: Family, table: TableId, chain: &str, number: u32) -> String {
        let compiled = self.0.iter().find(|rules| rules.family == family);
        let chain = compiled.and_then(|rules| rules.table(table)?.chains.iter().find(|c| c.name == chain));
        let Some(chain) = chain else { return String::new() };
        let rule = (number as usize).checked_sub(1).and_then(|n| chain.rules.get(n));
        let whole = rule.map_or(String::new(), |rule| rule_text(family, &chain.name, rule));
        whole.split_once(&format!("-A {} ", chain.name)).map_or(String::new(), |(_, text)| text.to_owned())
    }
}

/// The steps of one arrived frame, for people.
pub fn text(net: &Net, rules: &RuleTexts, arrived: u64, dev: IfIndex, nanos: u64, steps: &[TraceStep]) -> String {
    let mut out =
        format!("#{arrived} at {}.{:06} on {}\n", nanos / 1_000_000_000, nanos / 1000 % 1_000_000, name(net, dev));
    for step in steps {
        out += &match &step.what {
            TraceWhat::Packet(text) => format!("  packet {text}\n"),
            TraceWhat::Hook(hook) => format!("    {hook}\n"),
            TraceWhat::Rule { family, table, chain, number, said } => {
                let rule = rules.get(*family, *table, chain, *number);
                format!("      {table} {chain} rule {number}: {}    [{rule}]\n", said_text(said))
            }
            TraceWhat::Policy { table, chain, accepted, .. } => {
                format!("      {table} {chain} policy: {}\n", if *accepted { "ACCEPT" } else { "DROP" })
            }
            TraceWhat::Note(text) => format!("      {text}\n"),
            TraceWhat::Fate(fate) => format!("    = {}\n", fate_text(net, *fate)),
        };
    }
    out
}

/// The steps of one arrived frame as one line of JSON.
pub fn json(net: &Net, rules: &RuleTexts, arrived: u64, dev: IfIndex, nanos: u64, steps: &[TraceStep]) -> String {
    let steps: Vec<String> = steps
        .iter()
        .map(|step| match &step.what {
            TraceWhat::Packet(text) => format!("{{\"packet\":{}}}", json_string(text)),
            TraceWhat::Hook(hook) => format!("{{\"hook\":\"{hook}\"}}"),
            TraceWhat::Rule { family, table, chain, number, said } => format!(
                "{{\"table\":\"{table}\",\"chain\":{},\"rule\":{number},\"said\":{},\"text\":{}}}",
                json_string(chain),
                json_string(&said_text(said)),
                json_string(&rules.get(*family, *table, chain, *number))
            ),
            TraceWhat::Policy { table, chain, accepted, .. } => format!(
                "{{\"table\":\"{table}\",\"chain\":{},\"policy\":\"{}\"}}",
                json_string(chain),
                if *accepted { "ACCEPT" } else { "DROP" }
            ),
            TraceWhat::Note(text) => format!("{{\"note\":{}}}", json_string(text)),
            TraceWhat::Fate(fate) => format!("{{\"fate\":{}}}", json_string(&fate_text(net, *fate))),
        })
        .collect();
    format!(
        "{{\"frame\":{arrived},\"dev\":{},\"nanos\":{nanos},\"steps\":[{}]}}\n",
        json_string(&name(net, dev)),
        steps.join(",")
    )
}

/// A string as JSON.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            c if u32::from(c) < 0x20 => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn name(net: &Net, dev: IfIndex) -> String {
    if dev == IfIndex(0) {
        return "this host".to_owned();
    }
    net.interface(dev).map_or_else(|| format!("device {}", dev.0), |i| i.name.to_string())
}

fn said_text(said: &RuleSaid) -> String {
    match said {
        RuleSaid::HeaderNo => "no".to_owned(),
        RuleSaid::MatchNo(name) => format!("no (-m {name})"),
        RuleSaid::Hotdrop(name) => format!("malformed for {name}: dropped"),
        RuleSaid::Counted("") => "yes, counted".to_owned(),
        RuleSaid::Counted(target) => format!("yes, {target}"),
        RuleSaid::Enters(chain) => format!("yes, on to {chain}"),
        RuleSaid::Returns => "yes, RETURN".to_owned(),
        RuleSaid::Verdict(verdict) => format!("yes, {}", verdict_text(verdict)),
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Continue => "next rule".to_owned(),
        Verdict::Accept => "ACCEPT".to_owned(),
        Verdict::Drop(reason) => format!("DROP ({})", reason.text()),
        Verdict::Nat(side, _) => {
            format!("translate the {}", if *side == hairpin_engine::nat::Manip::Src { "source" } else { "destination" })
        }
        Verdict::Reject(RejectWith::TcpReset) => "REJECT with a RST".to_owned(),
        Verdict::Reject(RejectWith::Unreachable(code)) => format!("REJECT with unreachable code {code}"),
        Verdict::SynProxy(_) => "SYNPROXY".to_owned(),
        Verdict::Queue { number, .. } => format!("NFQUEUE {number}"),
    }
}

fn fate_text(net: &Net, fate: Fate) -> String {
    match fate {
        Fate::Transmit { oif, to: Some(mac) } => format!("leaves by {} to {mac}", name(net, oif)),
        Fate::Transmit { oif, to: None } => format!("leaves by {}", name(net, oif)),
        Fate::Resolve { oif } => format!("leaves by {} when its next hop answers", name(net, oif)),
        Fate::Deliver => "reaches a socket of this host".to_owned(),
        Fate::Drop(reason) => format!("ends here: {}", reason.text()),
        Fate::Held => "goes on in other packets, or waits".to_owned(),
    }
}
