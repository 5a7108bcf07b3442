//! `--json`, hairpin's addition to `-L` and `-S`: one object for the table.

use hairpin_engine::rule::{Action, Chain, Counter, Ruleset, Table};
use hairpin_ruleset::json::text;
use hairpin_ruleset::list::ListOptions;
use hairpin_ruleset::save::rule_text;
use hairpin_xt::value;
use std::fmt::Write;

pub(crate) fn of_table(ruleset: &Ruleset, options: &ListOptions<'_>) -> String {
    let unused = Table::new(options.table);
    let table = ruleset.table(options.table).unwrap_or(&unused);
    let chains = table.chains.iter().filter(|c| options.chain.is_none_or(|only| only == c.name));
    let chains: Vec<String> = chains.map(|chain| of_chain(ruleset, chain, options)).collect();
    format!(
        "{{\"family\":{},\"table\":{},\"chains\":[{}]}}\n",
        text(&ruleset.family.to_string()),
        text(table.id.name()),
        chains.join(",")
    )
}

fn of_chain(ruleset: &Ruleset, chain: &Chain, options: &ListOptions<'_>) -> String {
    let mut rules = Vec::new();
    for (n, rule) in chain.rules.iter().enumerate() {
        if options.rule.is_some_and(|only| only as usize != n + 1) {
            continue;
        }
        let mut out = format!("{{\"number\":{}{}", n + 1, counters(rule.counter));
        let (kind, target) = match &rule.action {
            Action::None => ("target", None),
            Action::Accept => ("target", Some("ACCEPT")),
            Action::Drop => ("target", Some("DROP")),
            Action::Return => ("target", Some("RETURN")),
            Action::Queue => ("target", Some("QUEUE")),
            Action::Jump(name) => ("jump", Some(name.as_str())),
            Action::Goto(name) => ("goto", Some(name.as_str())),
            Action::Target(target) => ("target", Some(target.name())),
        };
        // Writing to a String cannot fail.
        let _ = write!(out, ",\"{kind}\":{}", target.map_or("null".to_owned(), text));
        let protocol = value::protocol_name(rule.header.protocol);
        let protocol = protocol.map_or_else(|| rule.header.protocol.to_string(), str::to_owned);
        let _ = write!(out, ",\"protocol\":{}", text(&protocol));
        let matches: Vec<String> = rule.matches.iter().map(|m| text(m.name())).collect();
        let _ = write!(out, ",\"matches\":[{}]", matches.join(","));
        let _ = write!(out, ",\"rule\":{}}}", text(&rule_text(ruleset.family, &chain.name, rule)));
        rules.push(out);
    }
    let policy = chain.policy.map_or("null".to_owned(), |policy| text(&policy.to_string()));
    format!(
        "{{\"name\":{},\"policy\":{policy}{},\"rules\":[{}]}}",
        text(&chain.name),
        counters(chain.counter),
        rules.join(",")
    )
}

fn counters(counter: Counter) -> String {
    format!(",\"packets\":{},\"bytes\":{}", counter.packets, counter.bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_quoted() {
        assert_eq!(super::text("a\"b\\c\n\u{1}"), "\"a\\\"b\\\\c\\n\\u0001\"");
    }
}
