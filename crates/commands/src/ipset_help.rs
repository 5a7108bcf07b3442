//! The manual page of `ipset` and its completion, from the tables that read it.

use crate::help::{escaped, fish_quoted, head};
use crate::ipset::{OPTIONS, command_words};
use hairpin_engine::set::Kind;
use hairpin_ruleset::ipset::{Action, general_help, option_words, type_help};
use std::fmt::Write;

/// The manual page as troff.
pub(crate) fn manual(environment: &str) -> String {
    let mut out = String::new();
    head(&mut out, "ipset", "sets of addresses, networks, ports and more");
    out.push_str(
        ".SH SYNOPSIS\n.B ipset\n[options] command\n.SH DESCRIPTION\n\
         Makes, changes and shows the sets of a state file (HAIRPIN_STATE) or of a\nrunning gateway. Rules ask and change them with the set match and the SET target:\n\
         see\n.BR iptables\\-extensions (8).\n.SH COMMANDS AND OPTIONS\n",
    );
    as_it_is(&mut out, &general_help());
    out.push_str("With\n.B \\-\\-json\n(an addition of hairpin) list prints JSON for programs.\n.SH TYPES\n");
    for kind in Kind::ALL {
        let _ = writeln!(out, ".SS {}", escaped(kind.name()));
        as_it_is(&mut out, &type_help(Some(kind)));
    }
    out.push_str(environment);
    out.push_str(
        ".SH EXIT STATUS\n0 done; 1 refused, or not in the set; 2 wrong words;\n4 the sets cannot be reached.\n",
    );
    out
}

/// Lines as they are, without empty ones at the ends.
fn as_it_is(out: &mut String, text: &str) {
    out.push_str(".nf\n");
    for line in text.trim_matches('\n').lines() {
        let _ = writeln!(out, "{}", escaped(line));
    }
    out.push_str(".fi\n");
}

fn types() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
}

fn words_of(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// All words that follow an element in some type.
fn entry_words() -> Vec<&'static str> {
    let mut words: Vec<&str> = Kind::ALL.iter().flat_map(|kind| option_words(*kind, Some(Action::Add))).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// A function for bash, and what it completes.
pub(crate) fn bash() -> String {
    let commands = words_of(command_words());
    let options = words_of(OPTIONS.iter().map(|(_, long)| *long));
    let mut out = String::from("_hairpin_ipset() {\n  local cur=${COMP_WORDS[COMP_CWORD]} words\n");
    let _ = writeln!(out, "  case $COMP_CWORD:${{COMP_WORDS[1]}} in\n    1:*) words='{commands} {options}' ;;");
    out.push_str("    2:create) ;;\n    2:*|3:swap) words=$(\"${COMP_WORDS[0]}\" list -name 2>/dev/null) ;;\n");
    let _ = writeln!(out, "    3:create) words='{}' ;;", types());
    out.push_str("    *:create)\n      case ${COMP_WORDS[3]} in\n");
    for kind in Kind::ALL {
        let _ = writeln!(out, "        {}) words='{}' ;;", kind.name(), option_words(kind, None).join(" "));
    }
    let _ = writeln!(out, "      esac ;;\n    *:add) words='{} -exist' ;;", entry_words().join(" "));
    let _ = writeln!(out, "    *) words='{options}' ;;\n  esac");
    out.push_str("  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  __ltrim_colon_completions \"$cur\" 2>/dev/null\n  return 0\n}\n");
    out + "complete -F _hairpin_ipset ipset\n"
}

/// The same for fish.
pub(crate) fn fish() -> String {
    let quoted = fish_quoted;
    let mut out = String::from("complete -c ipset -f\n");
    let first = quoted("test (count (commandline -opc)) -eq 1");
    let _ = writeln!(out, "complete -c ipset -n {first} -a {}", quoted(&words_of(command_words())));
    let second = "test (count (commandline -opc)) -eq 2; and not __fish_seen_subcommand_from create";
    let sets = quoted("(ipset list -name 2>/dev/null)");
    let _ = writeln!(out, "complete -c ipset -n {} -a {sets}", quoted(second));
    let third = "test (count (commandline -opc)) -eq 3; and __fish_seen_subcommand_from create";
    let _ = writeln!(out, "complete -c ipset -n {} -a {}", quoted(third), quoted(&types()));
    for kind in Kind::ALL {
        let seen = format!("string match -q -- '* create * {} *' (commandline)", kind.name());
        let _ =
            writeln!(out, "complete -c ipset -n {} -a {}", quoted(&seen), quoted(&option_words(kind, None).join(" ")));
    }
    let adding = quoted("test (count (commandline -opc)) -ge 4; and __fish_seen_subcommand_from add");
    let _ = writeln!(out, "complete -c ipset -n {adding} -a {}", quoted(&entry_words().join(" ")));
    for (short, long) in OPTIONS.iter().filter(|(short, _)| *short != "-!") {
        let (short, long) = (short.trim_start_matches('-'), long.trim_start_matches('-'));
        let _ = writeln!(out, "complete -c ipset -s {short} -o {long}");
    }
    out
}
