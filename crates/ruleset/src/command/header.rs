//! The options of the rule itself, and those of the call.

use super::{CommandError, Flag, MAX_NAME, Outcome, Parser, Seen, Use, restore_program, standard_action};
use crate::getopt::Extension;
use crate::{suggest, wait};
use hairpin_engine::rule::{Counter, IfMatch};
use hairpin_wire::{Family, proto};
use hairpin_xt::{find_match, find_target, value};
use std::borrow::Cow;

impl<'w, W: AsRef<str>> Parser<'_, 'w, W> {
    pub(super) fn set(&mut self, flag: Flag) -> Outcome {
        if self.has(flag) {
            return Err(self.refuse(format!("multiple {} options not allowed", flag.name())));
        }
        if self.inverted && !flag.inverts() {
            return Err(self.refuse(format!("cannot have ! before {}", flag.name())));
        }
        self.seen.push(Seen { flag, inverted: self.inverted, word: self.reader.current() });
        Ok(())
    }

    pub(super) fn seen(&self, flag: Flag) -> Option<Seen> {
        self.seen.iter().find(|s| s.flag == flag).copied()
    }

    pub(super) fn has(&self, flag: Flag) -> bool {
        self.seen(flag).is_some()
    }

    pub(super) fn set_protocol(&mut self, text: &'w str) -> Outcome {
        self.set(Flag::Protocol)?;
        let mut text = Cow::Borrowed(text);
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            text = Cow::Owned(text.to_ascii_lowercase());
        }
        let number = value::protocol(self.context.names, &text).map_err(|e| {
            let known = ["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "udplite", "dccp", "esp", "ah", "gre", "all"];
            CommandError { hint: suggest::nearest(&text, known), ..self.value_error(e) }
        })?;
        if number == 0 && self.inverted {
            return Err(self.refuse_value("rule would never match protocol", &text));
        }
        let headers = [proto::ROUTING, proto::FRAGMENT, proto::AH, proto::DSTOPTS];
        if self.context.family == Family::V6 && !self.inverted && headers.contains(&number) {
            self.notices.push(format!("Warning: never matched protocol: {text}. use extension match instead."));
        }
        self.protocol = Some((number, self.inverted));
        self.protocol_text = text;
        Ok(())
    }

    pub(super) fn interface(&mut self, flag: Flag, text: &str) -> Outcome<IfMatch> {
        if text.is_empty() {
            return Err(self.refuse("Empty interface is likely to be undesired"));
        }
        self.set(flag)?;
        value::interface(text).map_err(|e| self.value_error(e))?;
        if text.contains(['/', ' ']) {
            self.notices.push(format!(
                "Warning: weird character in interface `{text}' ('/' and ' ' are not allowed by the kernel)."
            ));
        }
        // The length was just looked at, so there is always one.
        Ok(IfMatch::new(text, self.inverted).unwrap_or_default())
    }

    pub(super) fn set_table(&mut self, text: &'w str) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected ! flag before --table"));
        }
        if self.context.restore {
            let program = restore_program(self.context.family);
            let mut error = self.refuse(format!("The -t option cannot be used in {program}.\n"));
            error.hint = Some("give the table by a line `*TABLE' above".to_owned());
            return Err(error);
        }
        self.table = Some(text);
        Ok(())
    }

    pub(super) fn set_wait(&mut self, letter: char, attached: Option<&'w str>) -> Outcome {
        if self.context.restore {
            return Err(self.refuse(format!("You cannot use `-{letter}' from iptables-restore")));
        }
        let text = attached.or_else(|| self.reader.argument());
        if letter == 'W' {
            wait::check_interval(text).map_err(|why| self.refuse(why))?;
            self.has_interval = true;
            self.notices.push(wait::INTERVAL_NOTICE.to_owned());
            return Ok(());
        }
        self.wait = Some(match text {
            None => None,
            Some(text) => wait::seconds(text).ok_or_else(|| self.refuse("wait seconds not numeric"))?,
        });
        Ok(())
    }

    pub(super) fn set_counters(&mut self, text: &'w str) -> Outcome {
        self.set(Flag::Counters)?;
        let (packets, bytes) = match text.split_once(',') {
            Some((packets, bytes)) => (packets, Some(bytes)),
            None => (text, self.reader.argument()),
        };
        let name = Flag::Counters.name();
        let Some(bytes) = bytes else {
            return Err(self.refuse(format!("{name} requires packet and byte counter")));
        };
        let Some(packets) = scan_counter(packets) else {
            return Err(self.refuse(format!("{name} packet counter not numeric")));
        };
        let Some(bytes) = scan_counter(bytes) else {
            return Err(self.refuse(format!("{name} byte counter not numeric")));
        };
        self.counters = Some(Counter { packets, bytes });
        Ok(())
    }

    pub(super) fn check_target_name(&self, name: &str) -> Outcome {
        if name.is_empty() {
            return Err(self.refuse("Invalid target name (too short)"));
        }
        if name.len() > MAX_NAME {
            return Err(self.refuse_value(format!("Invalid target name `{name}' ({MAX_NAME} chars max)"), name));
        }
        if name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(self.refuse_value(format!("Invalid target name `{name}'"), name));
        }
        Ok(())
    }

    pub(super) fn set_jump(&mut self, name: &'w str) -> Outcome {
        self.set(Flag::Jump)?;
        if name == "CONTINUE" {
            return Ok(());
        }
        self.check_target_name(name)?;
        if standard_action(name).is_none()
            && let Some(spec) = find_target(name, self.context.family)
        {
            let extension = Extension::Target(spec);
            self.target = Some(self.using(extension));
            self.reader.learn(extension);
        }
        self.jump = Some(name);
        Ok(())
    }

    pub(super) fn set_match(&mut self, name: &str) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected ! flag before --match"));
        }
        if name.len() > MAX_NAME {
            return Err(self.refuse_value(format!("Invalid match name \"{name}\" ({MAX_NAME} chars max)"), name));
        }
        let Some(spec) = find_match(name, self.context.family) else {
            let message = format!("Couldn't load match `{name}':No such file or directory\n");
            let known = hairpin_xt::MATCHES.iter().filter(|m| m.families.has(self.context.family)).map(|m| m.name);
            return Err(CommandError { hint: suggest::nearest(name, known), ..self.refuse_value(message, name) });
        };
        let extension = Extension::Match(spec);
        self.matches.push(self.using(extension));
        self.reader.learn(extension);
        Ok(())
    }

    pub(super) fn using(&self, extension: Extension) -> Use {
        Use {
            extension,
            name: extension.name(),
            word: self.reader.current(),
            given: Vec::new(),
            places: Vec::new(),
            protocol: self.protocol,
        }
    }
}

/// What `sscanf("%llu")` reads: blanks, a sign, digits; what follows does not count.
fn scan_counter(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let digits = digits.get(..end).filter(|d| !d.is_empty())?;
    let number = digits.parse().unwrap_or(u64::MAX);
    Some(if negative { number.wrapping_neg() } else { number })
}
