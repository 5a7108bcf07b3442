//! What is looked at after the last word, and the command that comes of it.

use super::refusal::refuse_at;
use super::{Command, CommandError, Flag, Outcome, Parser, Verb, program, verb_chain};
use crate::{suggest, wait};
use hairpin_engine::rule::{Action, AddrMatch, Header, Rule, TableId};
use hairpin_wire::Addr;
use hairpin_xt::option::SyntaxError;
use hairpin_xt::value;

impl<'w, W: AsRef<str>> Parser<'_, 'w, W> {
    pub(super) fn finished(&self, verb: Verb) -> Command {
        Command {
            verb,
            table: self.context.table,
            rules: Vec::new(),
            counters: self.counters,
            verbose: self.verbose,
            numeric: self.has(Flag::Numeric),
            exact: self.has(Flag::Exact),
            line_numbers: self.has(Flag::LineNumbers),
            wait: self.wait,
            json: self.json,
            odd_words: None,
        }
    }

    pub(super) fn command(&mut self) -> Outcome<Command> {
        self.check_nat_drop()?;
        if self.has_interval && !wait::waits(self.wait) {
            return Err(self.refuse("--wait-interval only makes sense with --wait\n"));
        }
        let (matches, action) = self.build()?;
        if self.reader.position() < self.words.len() {
            return Err(refuse_at(self.reader.position(), "unknown arguments found on commandline", ""));
        }
        let Some(verb) = self.verb.clone() else { return Err(self.refuse("no command specified")) };
        if self.inverted {
            return Err(self.refuse("nothing appropriate following !"));
        }
        let sources = self.addresses(Flag::Source, self.source)?;
        let destinations = self.addresses(Flag::Destination, self.destination)?;
        self.check_not_inverted(&sources, &destinations)?;
        self.check_flags(&verb)?;
        if self.json && !matches!(verb, Verb::List { .. } | Verb::ListRules { .. }) {
            return Err(self.refuse("--json belongs to --list and --list-rules"));
        }
        let table = self.find_table()?;
        let mut command = Command { table, ..self.finished(verb) };
        if !matches!(
            command.verb,
            Verb::Append(_) | Verb::Insert(..) | Verb::Replace(..) | Verb::Delete(_) | Verb::Check(_)
        ) {
            return Ok(command);
        }
        let odd = |word: &W| {
            let bytes = word.as_ref().as_bytes();
            bytes.is_empty() || bytes.iter().any(|b| !b.is_ascii_graphic() || matches!(b, b'"' | b'\\'))
        };
        // rateest saves its mode once for bytes and once for packets, and takes it only once; time saves a list without days;
        // HMARK has no word for a mask with holes.
        let is_hmark = matches!(&action, Action::Target(target) if target.name() == "HMARK");
        let saves_oddly = is_hmark || matches.iter().any(|m| matches!(m.name(), "rateest" | "time"));
        if saves_oddly || self.words.iter().any(odd) {
            command.odd_words = Some(self.words.iter().map(|w| w.as_ref().to_owned()).collect());
        }
        let (protocol, protocol_inverted) = self.protocol.unwrap_or_default();
        // Of several addresses, `-R` takes the first.
        let wanted = if matches!(command.verb, Verb::Replace(..)) { 1 } else { usize::MAX };
        for &src in sources.iter().take(wanted) {
            for &dst in destinations.iter().take(wanted) {
                command.rules.push(Rule {
                    header: Header {
                        src,
                        dst,
                        iif: self.iif,
                        oif: self.oif,
                        protocol,
                        protocol_inverted,
                        fragment: self.seen(Flag::Fragment).map(|seen| !seen.inverted),
                    },
                    matches: matches.clone(),
                    action: action.clone(),
                    counter: self.counters.unwrap_or_default(),
                });
            }
        }
        Ok(command)
    }

    pub(super) fn check_nat_drop(&self) -> Outcome {
        let table = self.table.unwrap_or_else(|| self.context.table.name());
        let policy = matches!(&self.verb, Some(Verb::Policy(_, policy)) if policy == "DROP");
        if table == "nat" && (policy || self.jump == Some("DROP")) {
            let message =
                "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n";
            let word = self.seen(Flag::Jump).map(|seen| seen.word);
            let hint = Some("drop in the filter table, or in mangle or raw PREROUTING".to_owned());
            return Err(CommandError { error: SyntaxError::parameter(message).at("DROP"), word, hint });
        }
        Ok(())
    }

    pub(super) fn find_table(&self) -> Outcome<TableId> {
        let Some(name) = self.table else { return Ok(self.context.table) };
        TableId::from_name(name).ok_or_else(|| {
            let program = program(self.context.family);
            let why = "Table does not exist (do you need to insmod?)";
            let message = format!("can't initialize {program} table `{name}': {why}");
            let word = self.words.iter().position(|w| w.as_ref() == name);
            let hint = suggest::nearest(name, TableId::ALL.map(TableId::name));
            CommandError { error: SyntaxError { code: 3, ..SyntaxError::parameter(message).at(name) }, word, hint }
        })
    }

    pub(super) fn addresses(&self, flag: Flag, text: Option<&str>) -> Outcome<Vec<AddrMatch>> {
        let (Some(text), Some(seen)) = (text, self.seen(flag)) else { return Ok(vec![AddrMatch::default()]) };
        let family = self.context.family;
        let mut all = Vec::new();
        for part in text.split(',') {
            let part = part.trim_start();
            let refuse = |error: SyntaxError| CommandError { error, word: Some(seen.word + 1), hint: None };
            let (host, mask) = match part.rsplit_once('/') {
                None => (part, family.mask(128)),
                Some((host, mask)) => {
                    let error = || SyntaxError::parameter(format!("invalid mask `{mask}' specified")).at(mask);
                    (host, value::parse_mask(family, mask).ok_or_else(|| refuse(error()))?)
                }
            };
            // With an empty mask the address does not matter: "any/0".
            let hosts = match mask {
                Addr(0) => vec![Addr(0)],
                _ => value::network_hosts(self.context.names, family, host).map_err(refuse)?,
            };
            all.extend(hosts.into_iter().map(|addr| AddrMatch {
                addr: addr.masked(mask),
                mask,
                inverted: seen.inverted,
            }));
        }
        Ok(all)
    }

    pub(super) fn check_not_inverted(&self, sources: &[AddrMatch], destinations: &[AddrMatch]) -> Outcome {
        let inverted = |list: &[AddrMatch]| list.iter().any(|a| a.inverted);
        if sources.len() == 1 && destinations.len() == 1 {
            return Ok(());
        }
        let flag = if sources.len() > 1 { Flag::Source } else { Flag::Destination };
        let refuse = |message: &str| match self.seen(flag) {
            Some(seen) => refuse_at(seen.word + 1, message, ""),
            None => self.refuse(message),
        };
        if inverted(sources) || inverted(destinations) {
            return Err(refuse("! not allowed with multiple source or destination IP addresses"));
        }
        Ok(())
    }

    pub(super) fn check_flags(&self, verb: &Verb) -> Outcome {
        let misplaced = self.seen.iter().filter(|seen| !seen.flag.allowed(verb)).min_by_key(|seen| seen.flag);
        if let Some(seen) = misplaced {
            let message = format!("Illegal option `{}' with this command", seen.flag.name());
            return Err(refuse_at(seen.word, message, seen.flag.name()));
        }
        let chain = verb_chain(verb);
        self.check_name_length(chain)?;
        if !matches!(verb, Verb::Append(_) | Verb::Insert(..) | Verb::Replace(..) | Verb::Delete(_) | Verb::Check(_)) {
            return Ok(());
        }
        let impossible = match chain {
            "PREROUTING" | "INPUT" => self.seen(Flag::OutInterface),
            "POSTROUTING" | "OUTPUT" => self.seen(Flag::InInterface),
            _ => None,
        };
        if let Some(seen) = impossible {
            let name = seen.flag.name();
            let mut error = refuse_at(seen.word, format!("Can't use {name} with {chain}"), name);
            let which = if seen.flag == Flag::OutInterface { "outgoing" } else { "incoming" };
            error.hint = Some(format!("a packet in {chain} has no {which} device"));
            return Err(error);
        }
        Ok(())
    }
}
