//! What the commands say of themselves: `-h`, manual pages and shell completion, all from the tables that parse.

use crate::getopt::Flag;
use crate::program::Program;
use hairpin_ruleset::command::program;
use hairpin_ruleset::getopt::{BASE, BaseOption};
use hairpin_wire::Family;
use hairpin_xt::option::Opt;
use hairpin_xt::value::{self, IcmpType};
use hairpin_xt::{MATCHES, MatchSpec, TARGETS, TargetSpec, find_match, find_target};
use std::fmt::Write;

/// Where the help of an option begins on its line.
const COLUMN: usize = 34;

/// `iptables -h`, with the options of these extensions; `name` is what the program calls itself.
pub(crate) fn of_iptables(family: Family, name: &str, matches: &[&str], target: Option<&str>) -> String {
    let mut out = format!("{name} v{} (hairpin {})\n\n", crate::IPTABLES_VERSION, env!("CARGO_PKG_VERSION"));
    for (n, line) in USAGE.iter().enumerate() {
        let head = if n == 0 { "Usage:" } else { "      " };
        let _ = writeln!(out, "{head} {name} {line}");
    }
    out.push_str("\nCommands and options (long names may be shortened; `!' before a test inverts it):\n");
    for option in BASE.iter().filter(|o| shown(family, o)) {
        line(&mut out, &names(option), option.help);
    }
    for spec in matches.iter().filter_map(|name| find_match(name, family)) {
        extension(&mut out, &format!("{} match options", spec.name), spec.about, spec.options);
        match spec.name {
            "icmp" => icmp_types(&mut out, "ICMP", value::ICMP_TYPES),
            "icmp6" => icmp_types(&mut out, "ICMPv6", value::ICMPV6_TYPES),
            _ => {}
        }
    }
    if let Some(spec) = target.and_then(|name| find_target(name, family)) {
        extension(&mut out, &format!("{} target options", spec.name), spec.about, spec.options);
    }
    out
}

const USAGE: &[&str] = &[
    "-[ACD] chain rule-specification [options]",
    "-I chain [rulenum] rule-specification [options]",
    "-R chain rulenum rule-specification [options]",
    "-D chain rulenum [options]",
    "-[LS] [chain [rulenum]] [options]",
    "-[FZ] [chain] [options]",
    "-[NX] chain",
    "-E old-chain-name new-chain-name",
    "-P chain target [options]",
    "[-m match | -j target] -h",
];

/// `-h` of a smaller program.
pub(crate) fn of_flags(usage: &str, flags: &[Flag]) -> String {
    let mut out = format!("Usage: {usage}\n\n");
    for flag in flags {
        line(&mut out, &flag_names(flag), flag.help);
    }
    out
}

fn flag_names(flag: &Flag) -> String {
    let long = if flag.long.is_empty() { String::new() } else { format!(", --{}", flag.long) };
    let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
    format!("-{}{long}{value}", flag.short)
}

fn shown(family: Family, option: &BaseOption) -> bool {
    family == Family::V4 || option.long != "fragments"
}

fn names(option: &BaseOption) -> String {
    let short = if option.short == '0' { String::new() } else { format!("-{}, ", option.short) };
    match option.value {
        "" => format!("{short}--{}", option.long),
        value => format!("{short}--{} {value}", option.long),
    }
}

fn line(out: &mut String, names: &str, help: &str) {
    if names.len() + 2 < COLUMN {
        let _ = writeln!(out, "  {names:<width$}{help}", width = COLUMN - 2);
    } else {
        let _ = writeln!(out, "  {names}\n{:COLUMN$}{help}", "");
    }
}

fn extension(out: &mut String, title: &str, about: &str, options: &[Opt]) {
    let _ = writeln!(out, "\n{title}: {about}");
    for option in options {
        line(out, &option_names(option), option.help);
    }
}

/// The names of types and, indented, of their codes; programs (firewalld) read this list to know what may be used.
fn icmp_types(out: &mut String, title: &str, types: &[(&str, IcmpType)]) {
    let _ = write!(out, "\nValid {title} Types:");
    let mut before = None;
    for (name, kind) in types {
        let _ = match before.replace(*kind) == Some(*kind) {
            true => write!(out, " ({name})"),
            false if kind.from == kind.to => write!(out, "\n   {name}"),
            false => write!(out, "\n{name}"),
        };
    }
    out.push('\n');
}

fn option_names(option: &Opt) -> String {
    let mut out = String::new();
    if option.invertible {
        out.push_str("[!] ");
    }
    let _ = write!(out, "--{}", option.name);
    for alias in option.aliases {
        let _ = write!(out, ", --{alias}");
    }
    if !option.values.is_empty() {
        let values = option.values.join(" ");
        let _ = if option.optional { write!(out, " [{values}]") } else { write!(out, " {values}") };
    }
    out
}

// Manual pages

/// The names of the manual pages there are, with their sections.
pub const PAGES: &[(&str, u8)] = &[
    ("iptables", 8),
    ("iptables-save", 8),
    ("iptables-restore", 8),
    ("ip6tables", 8),
    ("ip6tables-save", 8),
    ("ip6tables-restore", 8),
    ("iptables-extensions", 8),
    ("ipset", 8),
];

/// A manual page as troff.
pub fn manual(page: &str) -> Option<String> {
    let family = if page.starts_with("ip6") { Family::V6 } else { Family::V4 };
    match page {
        "iptables" | "ip6tables" => Some(manual_of_iptables(family)),
        "iptables-extensions" => Some(manual_of_extensions()),
        "ipset" => Some(crate::ipset_help::manual(SETS_ENVIRONMENT)),
        "iptables-save" | "ip6tables-save" => {
            Some(manual_of_flags(page, "print the rules as a rule file", "[options]", crate::iptables_save::FLAGS))
        }
        "iptables-restore" | "ip6tables-restore" => Some(manual_of_flags(
            page,
            "put the rules of a rule file in force",
            "[options] [file]",
            crate::iptables_restore::FLAGS,
        )),
        _ => None,
    }
}

/// When the texts of the manual pages were last looked at.
const DATE: &str = "2026-11-26";

pub(crate) fn head(out: &mut String, page: &str, about: &str) {
    let (title, version) = (page.to_uppercase(), env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, ".TH {title} 8 \"{DATE}\" \"hairpin {version}\"");
    let _ = writeln!(out, ".SH NAME\n{} \\- {}", escaped(page), escaped(about));
}

fn entry(out: &mut String, names: &str, help: &str) {
    let _ = writeln!(out, ".TP\n.B \"{}\"\n{}", escaped(names), filled(help));
}

fn manual_of_iptables(family: Family) -> String {
    let name = program(family);
    let mut out = String::new();
    head(&mut out, name, "rules for packets");
    out.push_str(".SH SYNOPSIS\n");
    for (n, line) in USAGE.iter().enumerate() {
        let _ = writeln!(out, "{}.B {name}\n{}", if n == 0 { "" } else { ".br\n" }, escaped(line));
    }
    let _ = writeln!(
        out,
        ".SH DESCRIPTION\nLooks at and changes the rules of a state file (HAIRPIN_STATE) or of a running\n\
         gateway, in the words of {name} {}.\nExtensions are described in\n.BR iptables-extensions (8).",
        crate::IPTABLES_VERSION
    );
    out.push_str(".SH COMMANDS AND OPTIONS\n");
    for option in BASE.iter().filter(|o| shown(family, o)) {
        entry(&mut out, &names(option), option.help);
    }
    entry(&mut out, "--json", "with --list or --list-rules: the table as one JSON value (an addition of hairpin)");
    out.push_str(ENVIRONMENT);
    out.push_str(
        ".SH EXIT STATUS\n0 done; 1 refused by the table; 2 wrong words; 3 no such table;\n\
         4 the rules cannot be reached, or another program has the lock.\n",
    );
    out
}

const ENVIRONMENT: &str = ".SH ENVIRONMENT\n\
.TP\n.B HAIRPIN_STATE\nThe file with the rules of both families, made on first use.\n\
.TP\n.B HAIRPIN_SOCKET\nThe control socket of a running gateway, used when there is no HAIRPIN_STATE;\n\
/run/hairpin/control.sock if not set.\n\
.TP\n.B HAIRPIN_HINTS\n1: lines that begin with `hint:' also where standard error is no terminal;\n\
0: never.\n\
.TP\n.B XTABLES_LOCKFILE\nA file that is locked before the state file, by all but iptables\\-save.\n";

const SETS_ENVIRONMENT: &str = ".SH ENVIRONMENT\n\
.TP\n.B HAIRPIN_STATE\nThe file with rules and sets, made on first use.\n\
.TP\n.B HAIRPIN_SOCKET\nThe control socket of a running gateway, used when there is no HAIRPIN_STATE;\n\
/run/hairpin/control.sock if not set.\n";

fn manual_of_flags(page: &str, about: &str, usage: &str, flags: &[Flag]) -> String {
    let mut out = String::new();
    head(&mut out, page, about);
    let _ = writeln!(out, ".SH SYNOPSIS\n.B {}\n{}\n.SH OPTIONS", escaped(page), escaped(usage));
    for flag in flags {
        entry(&mut out, &flag_names(flag), flag.help);
    }
    out.push_str(ENVIRONMENT);
    out
}

fn manual_of_extensions() -> String {
    let mut out = String::new();
    head(&mut out, "iptables-extensions", "matches and targets of iptables and ip6tables");
    out.push_str(".SH MATCHES\n");
    for MatchSpec { name, about, options, families, .. } in MATCHES {
        let _ = writeln!(out, ".SS {name}{}\n{}", only(*families), filled(about));
        options.iter().for_each(|option| entry(&mut out, &option_names(option), option.help));
    }
    out.push_str(".SH TARGETS\n");
    for TargetSpec { name, about, options, families, .. } in TARGETS {
        let _ = writeln!(out, ".SS {name}{}\n{}", only(*families), filled(about));
        options.iter().for_each(|option| entry(&mut out, &option_names(option), option.help));
    }
    out
}

fn only(families: hairpin_xt::Families) -> &'static str {
    match families {
        hairpin_xt::Families::V4 => " (IPv4)",
        hairpin_xt::Families::V6 => " (IPv6)",
        hairpin_xt::Families::Both => "",
    }
}

/// Text that troff takes as text.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Text that troff takes as text, in lines that people can read in the source.
fn filled(text: &str) -> String {
    const WIDTH: usize = 78;
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + word.len() + 1 > WIDTH {
            out += &(escaped(&line) + "\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &escaped(&line)
}

// Completion

/// The shells there are completions for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The completion script of a shell for all the programs.
pub fn completion(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => {
            Some(format!("#compdef {}\nautoload -U +X bashcompinit && bashcompinit\n{}", programs().join(" "), bash()))
        }
        "fish" => Some(fish()),
        _ => None,
    }
}

/// The names of the programs that are completed.
fn programs() -> Vec<&'static str> {
    let ours =
        |p: &Program| matches!(p, Program::Iptables(_) | Program::Save(_) | Program::Restore(_) | Program::Ipset);
    crate::NAMES.iter().filter(|(_, program)| ours(program)).map(|(name, _)| *name).collect()
}

/// The names of the programs of one kind.
fn named(kind: fn(&Program) -> bool) -> Vec<&'static str> {
    crate::NAMES.iter().filter(|(_, program)| kind(program)).map(|(name, _)| *name).collect()
}

fn base_words() -> String {
    let mut words = Vec::new();
    for option in BASE {
        words.push(format!("--{}", option.long));
        if option.short != '0' {
            words.push(format!("-{}", option.short));
        }
    }
    words.join(" ")
}

fn long_words(options: &[Opt]) -> String {
    let names = options.iter().flat_map(|o| std::iter::once(&o.name).chain(o.aliases));
    names.map(|name| format!("--{name}")).collect::<Vec<_>>().join(" ")
}

fn match_names() -> String {
    let mut names: Vec<&str> = MATCHES.iter().map(|m| m.name).collect();
    names.dedup();
    names.join(" ")
}

fn target_names() -> String {
    let mut names = vec!["ACCEPT", "DROP", "RETURN", "QUEUE"];
    names.extend(TARGETS.iter().map(|t| t.name));
    names.dedup();
    names.join(" ")
}

const TABLES: &str = "filter nat mangle raw security";
const PROTOCOLS: &str = "tcp udp icmp ipv6-icmp sctp dccp udplite esp ah gre all";

/// The match that `-p` alone brings.
fn of_protocol(protocol: &str) -> Option<&'static MatchSpec> {
    let name = if protocol == "ipv6-icmp" { "icmp6" } else { protocol };
    let found = find_match(name, Family::V4).or_else(|| find_match(name, Family::V6));
    found.filter(|spec| !spec.options.is_empty())
}

fn bash() -> String {
    let mut out =
        String::from("# iptables of hairpin: options from the tables that parse them\n_hairpin_iptables() {\n");
    out.push_str("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words i\n");
    out.push_str("  case $prev in\n");
    let _ = writeln!(out, "    -m|--match) words='{}' ;;", match_names());
    let _ = writeln!(out, "    -j|--jump) words='{}' ;;", target_names());
    let _ = writeln!(out, "    -t|--table) words='{TABLES}' ;;");
    let _ = writeln!(out, "    -p|--protocol) words='{PROTOCOLS}' ;;");
    out.push_str(
        "    -A|-I|-D|-R|-C|-L|-S|-F|-Z|-N|-X|-E|-P|-g|--goto|--append|--insert|--delete|--replace|--check|--list|--list-rules|--flush|--zero)\n\
         \x20     local table=filter\n\
         \x20     for ((i = 1; i < COMP_CWORD - 1; i++)); do\n\
         \x20       case ${COMP_WORDS[i]} in -t|--table) table=${COMP_WORDS[i+1]} ;; esac\n\
         \x20     done\n\
         \x20     words=$(\"${COMP_WORDS[0]}\" -w 1 -t \"$table\" -S 2>/dev/null | awk '$1 == \"-P\" || $1 == \"-N\" { print $2 }') ;;\n",
    );
    let _ = writeln!(out, "    *) words='{}'", base_words());
    out.push_str(
        "      for ((i = 1; i < COMP_CWORD - 1; i++)); do\n        case ${COMP_WORDS[i]}:${COMP_WORDS[i+1]} in\n",
    );
    for spec in MATCHES.iter().filter(|m| !m.options.is_empty()) {
        let _ = writeln!(out, "          -m:{0}|--match:{0}) words+=' {1}' ;;", spec.name, long_words(spec.options));
    }
    for spec in TARGETS.iter().filter(|t| !t.options.is_empty()) {
        let _ = writeln!(out, "          -j:{0}|--jump:{0}) words+=' {1}' ;;", spec.name, long_words(spec.options));
    }
    for protocol in PROTOCOLS.split(' ') {
        if let Some(spec) = of_protocol(protocol) {
            let _ = writeln!(
                out,
                "          -p:{protocol}|--protocol:{protocol}) words+=' {}' ;;",
                long_words(spec.options)
            );
        }
    }
    out.push_str("        esac\n      done ;;\n  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n");
    let _ = writeln!(out, "complete -F _hairpin_iptables {}", named(|p| matches!(p, Program::Iptables(_))).join(" "));
    for (kind, flags) in smaller() {
        let words: Vec<String> = flags.iter().flat_map(flag_words).collect();
        let _ = writeln!(out, "complete -o default -W '{}' {}", words.join(" "), kind.join(" "));
    }
    out + &crate::ipset_help::bash()
}

fn smaller() -> [(Vec<&'static str>, &'static [Flag]); 2] {
    [
        (named(|p| matches!(p, Program::Save(_))), crate::iptables_save::FLAGS),
        (named(|p| matches!(p, Program::Restore(_))), crate::iptables_restore::FLAGS),
    ]
}

fn flag_words(flag: &Flag) -> Vec<String> {
    let long = (!flag.long.is_empty()).then(|| format!("--{}", flag.long));
    std::iter::once(format!("-{}", flag.short)).chain(long).collect()
}

/// A word of fish.
pub(crate) fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The options of an extension, for lines of which this condition says that it is in use.
fn fish_options(out: &mut String, program: &str, seen: &str, options: &[Opt]) {
    for option in options {
        for name in std::iter::once(&option.name).chain(option.aliases) {
            let (seen, help) = (fish_quoted(seen), fish_quoted(option.help));
            let _ = writeln!(out, "complete -c {program} -n {seen} -l {name} -d {help}");
        }
    }
}

fn fish() -> String {
    let mut out = String::from("# iptables of hairpin: options from the tables that parse them\n");
    let quoted = fish_quoted;
    for name in named(|p| matches!(p, Program::Iptables(_))) {
        for option in BASE {
            let short = if option.short == '0' { String::new() } else { format!(" -s {}", option.short) };
            let needs = if option.value.is_empty() { "" } else { " -x" };
            let _ = writeln!(out, "complete -c {name}{short} -l {}{needs} -d {}", option.long, quoted(option.help));
        }
        let _ = writeln!(out, "complete -c {name} -s t -l table -x -a {}", quoted(TABLES));
        let _ = writeln!(out, "complete -c {name} -s p -l protocol -x -a {}", quoted(PROTOCOLS));
        for option in BASE.iter().filter(|o| o.value.starts_with("chain")) {
            let chains = format!("({name} -w 1 -S 2>/dev/null | string replace -rf '^-[PN] (\\S+).*' '$1')");
            let _ =
                writeln!(out, "complete -c {name} -s {} -l {} -x -a {}", option.short, option.long, quoted(&chains));
        }
        for (protocol, spec) in PROTOCOLS.split(' ').filter_map(|p| Some((p, of_protocol(p)?))) {
            let seen = format!("string match -rq -- ' (-p|--protocol)[ =]?{protocol} ' (commandline)");
            fish_options(&mut out, name, &seen, spec.options);
        }
        let _ = writeln!(out, "complete -c {name} -s m -l match -x -a {}", quoted(&match_names()));
        let _ = writeln!(out, "complete -c {name} -s j -l jump -x -a {}", quoted(&target_names()));
        for spec in MATCHES {
            let seen = format!("__fish_seen_argument -s m; and string match -q -- '* {} *' (commandline)", spec.name);
            fish_options(&mut out, name, &seen, spec.options);
        }
        for spec in TARGETS {
            let seen = format!("string match -q -- '*-j {} *' (commandline)", spec.name);
            fish_options(&mut out, name, &seen, spec.options);
        }
    }
    for (names, flags) in smaller() {
        for name in names {
            for flag in flags.iter().filter(|f| !f.long.is_empty()) {
                let _ = writeln!(out, "complete -c {name} -s {} -l {} -d {}", flag.short, flag.long, quoted(flag.help));
            }
        }
    }
    out + &crate::ipset_help::fish()
}
