//! The options that say what to do, with their chains and numbers.

use super::refusal::refuse_at;
use super::{MAX_NAME, Outcome, Parser, Reset, Verb, standard_action};
use crate::getopt::Extension;
use hairpin_xt::{find_match, find_target, value};

impl<'w, W: AsRef<str>> Parser<'_, 'w, W> {
    /// The option of a verb.
    pub(super) fn verb(&mut self, short: char, text: &'w str) -> Outcome {
        let owned = || text.to_owned();
        match short {
            'A' => self.set_verb(short, Verb::Append(owned()))?,
            'C' => self.set_verb(short, Verb::Check(owned()))?,
            'D' => {
                self.set_verb(short, Verb::Delete(owned()))?;
                if let Some(number) = self.number_to_delete()? {
                    self.verb = Some(Verb::DeleteNumber(owned(), number));
                }
            }
            'R' => {
                self.set_verb(short, Verb::Replace(owned(), 0))?;
                let number = self.rule_number()?.ok_or_else(|| self.refuse("-R requires a rule number"))?;
                self.verb = Some(Verb::Replace(owned(), number));
            }
            'I' => {
                self.set_verb(short, Verb::Insert(owned(), 1))?;
                let number = self.rule_number()?.unwrap_or(1);
                self.verb = Some(Verb::Insert(owned(), number));
            }
            'L' | 'S' => self.listing(short, text)?,
            'F' => {
                self.set_verb(short, Verb::Flush(None))?;
                self.verb = Some(Verb::Flush(self.optional_chain(text)));
            }
            'Z' => self.zero(text)?,
            'N' => {
                self.check_new_name(text)?;
                self.set_verb(short, Verb::New(owned()))?;
            }
            'X' => {
                self.set_verb(short, Verb::DeleteChain(None))?;
                self.verb = Some(Verb::DeleteChain(self.optional_chain(text)));
            }
            'E' => {
                self.set_verb(short, Verb::New(String::new()))?;
                let Some(new) = self.reader.argument() else {
                    return Err(self.refuse("-E requires old-chain-name and new-chain-name"));
                };
                self.check_new_name(new)?;
                self.verb = Some(Verb::Rename(owned(), new.to_owned()));
            }
            'P' => {
                self.set_verb(short, Verb::New(String::new()))?;
                let Some(policy) = self.reader.argument() else {
                    return Err(self.refuse("-P requires a chain and a policy"));
                };
                self.verb = Some(Verb::Policy(owned(), policy.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn set_verb(&mut self, letter: char, verb: Verb) -> Outcome {
        if self.inverted {
            return Err(self.refuse("unexpected '!' flag"));
        }
        if self.verb.is_some() {
            return Err(self.refuse(format!("Cannot use -{letter} with -{}", self.verb_letter)));
        }
        self.verb = Some(verb);
        self.verb_letter = letter;
        Ok(())
    }

    /// `-L` or `-S`, perhaps after `-Z`. Chain and number are those named last, whichever of the two named them.
    pub(super) fn listing(&mut self, letter: char, text: &'w str) -> Outcome {
        let (mut chain, mut rule, mut zero) = (None, None, Reset::Nothing);
        if let Some(Verb::Zero(zeroed, number)) = self.verb.take_if(|verb| matches!(verb, Verb::Zero(..))) {
            zero = if number.is_some() { Reset::Rule } else { Reset::Chains };
            (chain, rule) = (zeroed, number);
        }
        self.set_verb(letter, Verb::Zero(None, None))?;
        chain = self.optional_chain(text).or(chain);
        rule = self.rule_number()?.or(rule);
        self.verb = Some(match letter {
            'L' => Verb::List { chain, rule, zero },
            _ => Verb::ListRules { chain, rule, zero },
        });
        Ok(())
    }

    /// `-Z`, perhaps after `-L` or `-S`.
    pub(super) fn zero(&mut self, text: &'w str) -> Outcome {
        let is_first_zero = |verb: &mut Verb| {
            matches!(verb, Verb::List { zero: Reset::Nothing, .. } | Verb::ListRules { zero: Reset::Nothing, .. })
        };
        let listing = self.verb.take_if(is_first_zero);
        if matches!(self.verb, Some(Verb::List { .. } | Verb::ListRules { .. })) {
            self.verb_letter = 'Z';
        }
        self.set_verb('Z', Verb::Zero(None, None))?;
        let chain = self.optional_chain(text);
        let number = self.rule_number()?;
        let zero = if number.is_some() { Reset::Rule } else { Reset::Chains };
        self.verb = Some(match listing {
            Some(Verb::List { chain: c, rule, .. }) => Verb::List { chain: chain.or(c), rule: number.or(rule), zero },
            Some(Verb::ListRules { chain: c, rule, .. }) => {
                Verb::ListRules { chain: chain.or(c), rule: number.or(rule), zero }
            }
            _ => Verb::Zero(chain, number),
        });
        Ok(())
    }

    pub(super) fn optional_chain(&mut self, attached: &'w str) -> Option<String> {
        let chain = if attached.is_empty() { self.reader.argument() } else { Some(attached) };
        chain.map(str::to_owned)
    }

    pub(super) fn rule_number(&mut self) -> Outcome<Option<u32>> {
        let at = self.reader.position();
        let Some(text) = self.reader.argument() else { return Ok(None) };
        match value::number_within(text, 1, i32::MAX as u64) {
            Some(number) => Ok(Some(number as u32)),
            None => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
        }
    }

    /// A number after `-D CHAIN`, which is read in another way than those after other verbs: decimal, and of a larger one only the
    /// lower 32 bits count.
    pub(super) fn number_to_delete(&mut self) -> Outcome<Option<u32>> {
        let at = self.reader.position();
        let Some(text) = self.reader.argument() else { return Ok(None) };
        if text.contains(':') {
            return Err(refuse_at(at, "Rule ranges are not supported", text));
        }
        let digits = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let digits = digits.strip_prefix('+').unwrap_or(digits);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse().unwrap_or(u64::MAX) as u32 {
            0 => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
            _ if !is_number => Err(refuse_at(at, format!("Invalid rule number `{text}'"), text)),
            number => Ok(Some(number)),
        }
    }

    pub(super) fn check_new_name(&self, name: &str) -> Outcome {
        self.check_name_length(name)?;
        if let Some(first) = name.chars().next().filter(|c| matches!(c, '-' | '!')) {
            return Err(self.refuse(format!("chain name not allowed to start with `{first}'")));
        }
        // Without a name it is the standard target's.
        if name.is_empty() || standard_action(name).is_some() || find_target(name, self.context.family).is_some() {
            return Err(self.refuse("chain name may not clash with target name"));
        }
        if name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(self.refuse(format!("Invalid chain name `{name}'")));
        }
        Ok(())
    }

    pub(super) fn check_name_length(&self, name: &str) -> Outcome {
        if name.len() > MAX_NAME {
            let limit = MAX_NAME + 1;
            return Err(self.refuse(format!("chain name `{name}' too long (must be under {limit} chars)")));
        }
        Ok(())
    }

    /// What is left of a line that ends before its rule is known: what needs no rule is done all the same.
    pub(super) fn without_rules(&self) -> Verb {
        use Verb::{Append, Check, Delete, Insert, OtherFamily, Replace};
        match &self.verb {
            None | Some(Append(_) | Insert(..) | Replace(..) | Delete(_) | Check(_)) => OtherFamily,
            Some(verb) => verb.clone(),
        }
    }

    pub(super) fn help(&self) -> Verb {
        let mut matches: Vec<&'static str> = Vec::new();
        for used in &self.matches {
            if let Extension::Match(spec) = used.extension {
                matches.push(spec.name);
            }
        }
        if matches.is_empty() {
            matches.extend(find_match(&self.protocol_text, self.context.family).map(|m| m.name));
        }
        let target = match self.target.as_ref().map(|t| t.extension) {
            Some(Extension::Target(spec)) => Some(spec.name),
            _ => None,
        };
        Verb::Help { matches, target }
    }
}
